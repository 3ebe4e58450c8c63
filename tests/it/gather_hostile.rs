//! Servers that mean no good, or are badly broken: lists without an end, answers without a measure,
//! namespaces that vanish meanwhile, pods that drip, values that are known too late.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::gather::{Fault, Served, archive, files, json, program, status, text};
use crate::gather_faults::names;
use crate::gather_peers::{ADMIN, gateway_port, head, peer, served};

fn answer(body: String) -> Response {
    ([("content-type", "application/json")], body).into_response()
}

#[test]
fn a_list_that_leads_back_is_given_up() {
    let circle: Fault = Arc::new(|asked| {
        let next = match asked.split_once("/team-weather/events?")?.1 {
            page if page.contains("continue=second") => "third",
            page if page.contains("continue=third") => "second",
            _ => "second",
        };
        Some(answer(format!(r#"{{"kind":"EventList","metadata":{{"continue":"{next}"}},"items":[]}}"#)))
    });
    let served = Served::with(&Fixture::healthy(), circle);
    let output = served.gather(&["--no-analyze", "--probe", "none"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let files = files(&archive(&output, served.directory.path()));
    let failures = json(&files, "mcpgw/failures.json");
    assert_eq!(failures.as_array().expect("a list").len(), 1, "{failures:#}");
    assert_eq!(failures[0]["reason"], "EndlessList");
    assert_eq!(failures[0]["what"], "list events in team-weather");
    let requests = served.requests.lock().expect("no panic").clone();
    let pages = requests.iter().filter(|asked| asked.contains("/team-weather/events?")).count();
    assert_eq!(pages, 3, "the first page, and each of the others once");
    assert!(files.contains_key("namespaces/team-weather/core/pods.yaml"));
    assert!(!files.contains_key("namespaces/team-weather/core/events.yaml"), "half a list is none");
}

/// The most memory of its own that a run has, in KiB: without the pages of the program, of which a debug
/// build has many.
#[cfg(target_os = "linux")]
fn peak(served: &Served, name: &str) -> (u64, std::process::Output) {
    let mut command = served.command();
    command.args(["--no-analyze", "--probe", "none", "-o", name]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program");
    let mut peak = 0;
    while child.try_wait().expect("the program").is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        peak = line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0).max(peak);
        std::thread::yield_now();
    }
    (peak, child.wait_with_output().expect("the program"))
}

#[cfg(target_os = "linux")]
#[test]
fn large_answers_to_every_request_do_not_add_up() {
    let (usual, _) = peak(&Served::of(&Fixture::healthy()), "usual.tar.gz");
    // Larger than anything is let be, and never whole; sixteen are asked for at the same time.
    let large: Fault = Arc::new(|asked| {
        asked.contains("/customresourcedefinitions/").then(|| {
            let begin = futures_util::stream::iter([r#"{"metadata":{"name":"x"},"spec":""#.to_owned()]);
            let much = futures_util::stream::repeat("x".repeat(256 << 10));
            let body = futures_util::StreamExt::chain(begin, much);
            let body = futures_util::StreamExt::map(body, Ok::<_, std::io::Error>);
            Response::new(axum::body::Body::from_stream(body))
        })
    });
    let served = Served::with(&Fixture::healthy(), large);
    let (much, output) = peak(&served, "large.tar.gz");
    assert_eq!(output.status.code(), Some(4));
    let files = files(&archive(&output, served.directory.path()));
    let failures = json(&files, "mcpgw/failures.json");
    assert!(failures.as_array().expect("a list").iter().all(|f| f["reason"] == "TooLarge"), "{failures:#}");
    let definitions: Vec<String> = served.requests.lock().expect("no panic").clone();
    let definitions = definitions.iter().filter(|asked| asked.contains("/customresourcedefinitions/"));
    assert!(definitions.count() > 16);
    assert!(much < usual + (256 << 10), "{much} KiB, usually {usual} KiB");
}

#[test]
fn a_namespace_that_vanishes_costs_what_it_held() {
    let count = Arc::new(AtomicUsize::new(0));
    let vanishes: Fault = Arc::new(move |asked| {
        let ours = asked.contains("/namespaces/team-weather");
        let gone = ours && count.fetch_add(1, Ordering::Relaxed) >= 6;
        gone.then(|| status(404, "NotFound", "namespaces \"team-weather\" not found"))
    });
    let served = Served::with(&Fixture::healthy(), vanishes);
    let output = served.gather(&["--probe", "none"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let archive = archive(&output, served.directory.path());
    let files = files(&archive);
    let failures = json(&files, "mcpgw/failures.json");
    let failures = failures.as_array().expect("a list");
    assert!(failures.iter().all(|f| f["namespace"] == "team-weather" && f["code"] == 404), "{failures:#?}");
    assert!(files.contains_key("namespaces/mcp-system/core/pods.yaml"));
    let verified = program().arg("verify").arg(&archive).output().expect("the program");
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified.stdout));
}

#[test]
fn a_pod_that_drips_costs_its_deadline() {
    // One byte after the other, slower than anybody can wait for, each soon enough to look alive.
    let drips = peer(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Long: ";
        for byte in head.iter().chain(std::iter::repeat(&b'x')) {
            // Whatever is asked; the time until there is nothing more to read is the pause.
            let _ = stream.read(&mut [0; 4096]);
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let served = served(&[(gateway_port(), drips)], Arc::new(|_| None));
    let begin = Instant::now();
    let output = served.gather(&["-o", "x.tar.gz", "--no-analyze", "--request-timeout", "1s"]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", text(&output.stderr));
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    let files = files(&archive(&output, served.directory.path()));
    for purpose in ["oauth-metadata", "tools-list", "unknown-path"] {
        let probe = json(&files, &format!("mcpgw/probes/{purpose}.mcp-system.mcp-gateway.json"));
        assert!(probe["status"].is_null(), "{purpose}: there never was a whole head: {probe:#}");
        assert_eq!(probe["error"]["reason"], "Timeout", "{purpose}: {probe:#}");
        assert!(probe["timings"]["totalMs"].as_u64().is_some_and(|ms| ms < 10_000), "{purpose}: {probe:#}");
    }
}

/// What a session is known by is learned from its first answer, after objects were written that may
/// repeat it: only the second look finds it then.
#[test]
fn what_is_known_too_late_keeps_the_archive_from_being_published() {
    let session = "harbour-lantern-copper-meadow-41";
    let fixture = Fixture::healthy()
        .edit("Service", "team-weather", "weather", |service| {
            service["metadata"]["annotations"]["example.com/note"] = json!(session);
        })
        .probe("tools-list.mcp-system.mcp-gateway", |probe| {
            probe["headers"]["mcp-session-id"] = json!(session);
        });
    let served = Served::of(&fixture);
    for format in ["tar.gz", "dir"] {
        let output = served.gather(&["-o", "x", "--format", format]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{format}: {stderr}");
        let error = stderr.lines().find(|line| line.starts_with("error: ")).expect("an error");
        assert!(error.contains("the archive was not published"), "{error}");
        assert!(error.contains("namespaces/team-weather/core/services.yaml line "), "the file: {error}");
        assert!(error.contains("value of a Secret"), "the rule: {error}");
        assert!(stderr.contains("\n  hint: name the value or the file in a --redact-rules file"), "{stderr}");
        assert!(!format!("{stderr}{}", text(&output.stdout)).contains(session), "never the value: {stderr}");
        assert_eq!(names(served.directory.path()), ["kubeconfig"], "{format}: nothing is left behind");
    }
}

/// `gather` looks a second time with the engine that `verify` is: what the one publishes the other may
/// not object to, least of all where code stands in a configuration.
#[test]
fn what_is_published_is_clean_for_verify() {
    use base64::Engine as _;
    let module: Vec<u8> =
        b"\0asm\x01\0\0\0".iter().copied().chain((0..2000).map(|n| (n * 7 % 251) as u8)).collect();
    let inline = base64::engine::general_purpose::STANDARD.encode(module);
    let settings = json!({"issuer": "https://idp.example.com", "client_secret": "v3ry-s3cret-Value-77",
        "rules": ["Authorization: Bearer abcdefghijklmnop"]});
    let plugin = json!({"name": "wasm", "root_id": "r",
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"inline_bytes": inline}}},
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": settings.to_string()}});
    let filter = json!({"name": "envoy.filters.http.wasm", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": plugin}});
    let dump = json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [
            {"name": "l", "active_state": {"listener": {"name": "l", "filter_chains": [{"filters": [
                {"name": "hcm", "typed_config": {"http_filters": [filter]}}]}]}}}]}]});
    let body = dump.to_string();
    let admin = peer(move |mut stream| {
        let (status, body) = match head(&mut stream) {
            head if head.starts_with("GET /config_dump") => ("200 OK", body.as_str()),
            _ => ("404 Not Found", ""),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        // Whoever asked may be gone.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    });
    let served = served(&[(ADMIN, admin)], Arc::new(|_| None));
    let output = served.gather(&["-o", "x.tar.gz", "--no-analyze"]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", text(&output.stderr));
    let archive = archive(&output, served.directory.path());
    let files = files(&archive);
    let (_, dump) = files.iter().find(|(path, _)| path.ends_with("/config_dump.json")).expect("the dump");
    let dump: Value = serde_json::from_slice(dump).expect("JSON");
    let said = dump.to_string();
    assert!(said.contains("envoy.filters.http.wasm") && said.contains("idp.example.com"), "{said}");
    assert!(!said.contains("v3ry-s3cret") && !said.contains("abcdefghijklmnop"), "{said}");
    let verified = program().arg("verify").arg(&archive).output().expect("the program");
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified.stdout));
}

/// Two bytes of a text may become a value of half a kilobyte: what counts is what it takes once parsed.
#[cfg(target_os = "linux")]
#[test]
fn answers_that_swell_when_they_are_parsed_do_not_add_up() {
    let (usual, _) = peak(&Served::of(&Fixture::healthy()), "usual.tar.gz");
    let body = format!(r#"{{"metadata":{{"name":"x"}},"spec":[{}0]}}"#, r#"{"a":0},"#.repeat(1_900_000));
    assert!(body.len() < 16 << 20);
    let swells: Fault =
        Arc::new(move |asked| asked.contains("/customresourcedefinitions/").then(|| answer(body.clone())));
    let served = Served::with(&Fixture::healthy(), swells);
    let (much, output) = peak(&served, "swells.tar.gz");
    assert_eq!(output.status.code(), Some(4));
    let files = files(&archive(&output, served.directory.path()));
    let failures = json(&files, "mcpgw/failures.json");
    assert!(failures.as_array().expect("a list").iter().all(|f| f["reason"] == "TooLarge"), "{failures:#}");
    assert!(much < usual + (256 << 10), "{much} KiB, usually {usual} KiB");
}

/// Ages, and what is expired, are judged by the clock of the cluster.
#[test]
fn the_clock_of_the_cluster_counts() {
    for hours in [-3, 3] {
        let there = move || chrono::Utc::now() + chrono::TimeDelta::hours(hours);
        let dated = move |mut response: Response| async move {
            let date = there().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            response.headers_mut().insert("date", date.parse().expect("a header"));
            response
        };
        let routes = crate::gather_faults::routes(&Fixture::healthy());
        let routes = routes.layer(axum::middleware::map_response(dated));
        let run = crate::gather_faults::Run::before(routes, vec![], &["--no-analyze", "--probe", "none"]);
        let stderr = text(&run.output.stderr);
        let way = if hours > 0 { "behind" } else { "ahead of" };
        let line = stderr.lines().find(|line| line.starts_with("the clock of this machine is "));
        let said = format!(" {way} that of the API server");
        assert!(line.is_some_and(|line| line.contains(&said)), "{stderr}");
        let manifest = json(&run.files, "mcpgw/manifest.json");
        for field in ["started", "ended"] {
            let time = manifest[field].as_str().expect("a time").parse::<chrono::DateTime<chrono::Utc>>();
            let apart = (time.expect("a time") - there()).num_seconds().abs();
            assert!(apart < 120, "{field} is {apart} s from the server's clock");
        }
    }
}

/// Whoever asks to be left alone for a day is left alone, and does not hold up the rest.
#[test]
fn a_server_that_wants_to_be_asked_tomorrow_is_not_waited_for() {
    use crate::gather_faults::{Run, routes};
    use crate::proxy::{Fault, Rule};
    let begin = Instant::now();
    let rule = Rule::on("GET *namespaces/team-weather/services?", Fault::RetryAfter(429, 100_000));
    let arguments = ["--no-analyze", "--probe", "none"];
    let run = Run::before(routes(&Fixture::healthy()), vec![rule.clone()], &arguments);
    assert_eq!((run.code(), run.failures.len()), (4, 1), "{:#?}", run.failures);
    let message = run.failures[0]["message"].as_str().expect("a message");
    assert!(message.contains("come again after 27h46m40s"), "{message}");
    assert_eq!(run.proxy.count("GET *namespaces/team-weather/services?"), 1);
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());

    // A server that is only busy for a while gets the time that it asks for.
    let busy = Rule::on("GET *namespaces/team-weather/services?", Fault::RetryAfter(429, 1)).times(5);
    let run = Run::before(routes(&Fixture::healthy()), vec![busy], &arguments);
    assert_eq!(run.code(), 0, "{:#?}", run.failures);
}

/// A server that is too busy for anything is left alone soon, whether it says so at once or only later.
#[test]
fn a_server_that_is_too_busy_for_everything_is_left_alone() {
    use crate::gather_faults::{Run, routes};
    use crate::proxy::{Fault, Rule};
    let begin = Instant::now();
    let busy = Rule::on("GET ", Fault::Status(429));
    let arguments = ["--no-analyze", "--probe", "none"];
    let run = Run::before(routes(&Fixture::healthy()), vec![busy.clone()], &arguments);
    assert_eq!(run.code(), 3);
    let whole = Run::before(routes(&Fixture::healthy()), vec![busy.after(30)], &arguments);
    assert_eq!(whole.code(), 4, "{:#?}", whole.failures);
    assert!(whole.failures.iter().all(|failure| failure["code"] == 429), "{:#?}", whole.failures);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

/// A group whose server answers with something else is not one that is not installed.
#[test]
fn rubbish_in_place_of_what_a_group_serves_is_said() {
    let rubbish: Fault = Arc::new(|asked| {
        match asked {
        "/apis" => Some(answer(
            json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [
                {"metadata": {"name": "gateway.networking.k8s.io"}, "versions": [{"version": "v1", "resources": "rubbish"}]},
                {"metadata": {"name": "mcp.kuadrant.io"}, "versions": [{"version": "v1"}]}]})
            .to_string(),
        )),
        _ => None,
    }
    });
    let served = Served::with(&Fixture::healthy(), rubbish);
    let output = served.gather(&["--no-analyze", "--probe", "none"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let files = files(&archive(&output, served.directory.path()));
    let failures = text(&files["mcpgw/failures.json"]);
    for kind in ["gateways.gateway.networking.k8s.io", "mcpserverregistrations.mcp.kuadrant.io"] {
        assert!(failures.contains(&format!("list {kind}")), "{failures}");
    }
    assert!(failures.contains("does not say what it serves"), "{failures}");
}
