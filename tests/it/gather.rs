//! The program `oc-mcpgw gather` as a process, against `serve` over TLS.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use oc_mcpgw::archive::load::load;
use oc_mcpgw::archive::read::{self, Memory, Source};
use oc_mcpgw::model::bundle::{Bundle, Outcome};
use oc_mcpgw::model::{Object, kinds};
use oc_mcpgw::serve::{Background, Cluster, router};
use serde_json::Value;

use crate::fixture::Fixture;

/// What answers a request instead of the server; `None` lets it through.
pub type Fault = Arc<dyn Fn(&str) -> Option<Response> + Send + Sync>;

/// A served installation and a place to work.
pub struct Served {
    pub server: Background,
    pub directory: tempfile::TempDir,
    /// Every request, as `path?query`, in the order of arrival.
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Served {
    pub fn of(fixture: &Fixture) -> Self {
        Self::with(fixture, Arc::new(|_| None))
    }

    pub fn with(fixture: &Fixture, fault: Fault) -> Self {
        let files = Memory(fixture.files());
        let bundle = load(&files).expect("a bundle");
        Self::serving(bundle, Arc::new(files), fault)
    }

    pub fn serving(bundle: Bundle, files: Arc<dyn Source>, fault: Fault) -> Self {
        Self::cluster(&Cluster::new(bundle, files), fault)
    }

    pub fn cluster(cluster: &Arc<Cluster>, fault: Fault) -> Self {
        let cluster = Arc::clone(cluster);
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = requests.clone();
        let routes =
            router(cluster.clone()).layer(middleware::from_fn(move |request: Request, next: Next| {
                let (seen, fault) = (seen.clone(), fault.clone());
                async move {
                    let asked = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
                    seen.lock().expect("no panic").push(asked.clone());
                    match fault(&asked) {
                        Some(response) => response,
                        None => next.run(request).await,
                    }
                }
            }));
        let server = Background::start_with(cluster, routes, 0).expect("a server");
        let directory = tempfile::tempdir().expect("a directory");
        server.write_kubeconfig(&directory.path().join("kubeconfig")).expect("a kubeconfig");
        Self { server, directory, requests }
    }

    pub fn command(&self) -> Command {
        let mut command = program();
        command
            .current_dir(self.directory.path())
            .arg("gather")
            .arg("--kubeconfig")
            .arg(self.directory.path().join("kubeconfig"));
        command
    }

    pub fn gather(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().expect("the program")
    }

    pub fn url(&self) -> String {
        self.server.url()
    }
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oc-mcpgw"));
    for name in
        ["KUBECONFIG", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "KUBERNETES_SERVICE_HOST"]
    {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A Status as the API server gives it.
pub fn status(code: u16, reason: &str, message: &str) -> Response {
    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": message, "code": code});
    let code = StatusCode::from_u16(code).expect("a status");
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

/// The archive that a run named on standard output.
pub fn archive(output: &Output, directory: &Path) -> PathBuf {
    let stdout = text(&output.stdout);
    let first = stdout.lines().next().unwrap_or_else(|| panic!("no archive: {}", text(&output.stderr)));
    directory.join(first)
}

/// Every file of an archive.
pub fn files(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let source = read::open(archive).expect("an archive");
    let problems = source
        .walk(&mut |entry, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).expect("a whole file");
            files.insert(entry.path.clone(), bytes);
            read::Visit::Next
        })
        .expect("a readable archive");
    assert!(problems.is_empty(), "{problems:?}");
    files
}

pub fn json(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
    serde_json::from_slice(files.get(path).unwrap_or_else(|| panic!("no {path}"))).expect("JSON")
}

/// The places where two values differ, other than by what the redactor replaced.
pub fn differences(source: &Value, got: &Value, at: &str, out: &mut Vec<String>) {
    match (source, got) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let at = format!("{at}/{key}");
                match (a.get(key), b.get(key)) {
                    (Some(x), Some(y)) => differences(x, y, &at, out),
                    (Some(_), None) => out.push(format!("{at} is gone")),
                    (None, _) => out.push(format!("{at} is new")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(x, y, &format!("{at}/{i}"), out);
            }
        }
        (_, Value::String(text)) if text.contains("<redacted:") => {}
        _ if source == got => {}
        _ => out.push(format!("{at}: {source} became {got}")),
    }
}

fn id(object: &Object) -> String {
    format!("{} {}", object.kind(), object.full_name())
}

/// What a gather brought home.
pub fn gathered(served: &Served, arguments: &[&str], code: i32) -> BTreeMap<String, Vec<u8>> {
    let output = served.gather(arguments);
    assert_eq!(output.status.code(), Some(code), "{}\n{}", text(&output.stdout), text(&output.stderr));
    files(&archive(&output, served.directory.path()))
}

/// The one line of an error, and its hints.
pub fn refused(command: &mut Command, code: i32) -> String {
    let output = command.output().expect("the program");
    assert_eq!(output.status.code(), Some(code), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    let stderr = text(&output.stderr);
    let start = stderr.find("error: ").unwrap_or_else(|| panic!("no error: {stderr}"));
    assert!(stderr[start..].contains("\n  hint: "), "no hint: {stderr}");
    stderr[start..].to_owned()
}

/// The names that stand in a directory, apart from the kubeconfig.
pub fn left_behind(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).expect("a directory");
    let names = names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "kubeconfig").collect()
}

fn forbid(paths: &'static [&'static str]) -> Fault {
    Arc::new(move |asked| {
        let path = asked.split('?').next().unwrap_or_default();
        let hit = paths.iter().any(|end| path.ends_with(end));
        hit.then(|| status(403, "Forbidden", "you may not list this"))
    })
}

#[test]
fn what_is_served_comes_home() {
    for fixture in [Fixture::healthy(), Fixture::faulty()] {
        let served = Served::of(&fixture);
        let files = gathered(&served, &[], 0);
        let home = load(&Memory(files.clone())).expect("a bundle");
        let source = fixture.bundle();
        assert_eq!(home.problems, Vec::<String>::new());
        let mut differ = Vec::new();
        for object in source.objects() {
            let mut here = home.list_dynamic(object.group(), object.kind());
            let Some(got) = here.find(|o| o.namespace() == object.namespace() && o.name() == object.name())
            else {
                panic!("{} was not gathered", id(object));
            };
            let mut found = Vec::new();
            differences(&object.value().to_json(), &got.value().to_json(), "", &mut found);
            // A Secret becomes its shape; the copy of what was applied is reduced.
            found.retain(|place| {
                !place.contains("/last-applied-configuration:")
                    && !(object.kind() == "Secret"
                        && (place.starts_with("/data/") || place == "/metadata/annotations is new"))
            });
            differ.extend(found.into_iter().map(|place| format!("{}: {place}", id(object))));
        }
        assert_eq!(differ, Vec::<String>::new());
        let originals = fixture.files();
        assert!(!source.logs().is_empty());
        for log in source.logs() {
            let (original, got) = (text(&originals[&log.file]), text(&files[&log.file]));
            for (a, b) in original.lines().zip(got.lines()) {
                assert!(b.ends_with(a) || b.contains("<redacted:"), "{}: {a:?} became {b:?}", log.file);
            }
            assert_eq!(original.lines().count(), got.lines().count(), "{}", log.file);
        }
        let manifest = json(&files, "mcpgw/manifest.json");
        let named: Vec<&str> = manifest["files"]
            .as_array()
            .expect("files")
            .iter()
            .map(|file| file["path"].as_str().expect("a path"))
            .collect();
        let there: Vec<&str> =
            files.keys().map(String::as_str).filter(|p| *p != "mcpgw/manifest.json").collect();
        assert_eq!(named, there);
        assert_eq!(json(&files, "mcpgw/failures.json"), serde_json::json!([]));
    }
}

#[test]
fn nothing_is_asked_twice_and_nothing_that_is_known() {
    let fixture = Fixture::healthy().edit("Pod", "team-weather", "weather", |pod| {
        pod["status"]["containerStatuses"][0]["lastState"] =
            serde_json::json!({"terminated": {"exitCode": 1}});
    });
    let pod = fixture.pod_of("team-weather", "weather");
    let served = Served::of(&fixture.log("team-weather", &pod, "server", true, "the end of the last run\n"));
    let files = gathered(&served, &[], 0);
    let mut requests = served.requests.lock().expect("no panic").clone();
    // Each question to a pod has a connection of its own.
    requests.retain(|request| !request.contains("/portforward?"));
    let mut once = requests.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), requests.len(), "{requests:#?}");
    let previous: Vec<&String> = requests.iter().filter(|r| r.contains("previous=true")).collect();
    assert_eq!(previous.len(), 1, "{previous:?}");
    let log = oc_mcpgw::archive::path::log("team-weather", &pod, "server", true);
    assert!(text(&files[&log]).ends_with("the end of the last run\n"));
}

#[test]
fn refusals_are_recorded_and_the_rest_goes_on() {
    let served = Served::with(&Fixture::healthy(), forbid(&["/secrets", "/nodes/worker-1", "/httproutes"]));
    let output = served.gather(&[]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("secrets (7 requests): Forbidden: you may not list this"),
        "{}",
        text(&output.stdout)
    );
    let files = files(&archive(&output, served.directory.path()));
    let failures = json(&files, "mcpgw/failures.json");
    let what: Vec<&str> =
        failures.as_array().expect("a list").iter().map(|f| f["what"].as_str().expect("what")).collect();
    assert!(what.contains(&"list secrets in mcp-system"), "{what:?}");
    assert!(what.contains(&"list httproutes.gateway.networking.k8s.io"), "{what:?}");
    assert!(what.contains(&"get nodes worker-1"), "{what:?}");
    for failure in failures.as_array().expect("a list") {
        assert_eq!(failure["code"], 403);
        assert_ne!(failure["consequence"], "");
    }
    let home = load(&Memory(files)).expect("a bundle");
    let collected = |resource: &str, namespace: Option<&str>| {
        let found =
            home.collections().iter().find(|c| c.resource == resource && c.namespace.as_deref() == namespace);
        found.map(|c| c.outcome)
    };
    assert_eq!(collected("secrets", Some("mcp-system")), Some(Outcome::Failed));
    assert_eq!(collected("pods", Some("mcp-system")), Some(Outcome::Complete));
    assert_eq!(collected("httproutes", None), Some(Outcome::Failed));
    assert_eq!(collected("httproutes", Some("team-weather")), Some(Outcome::Failed));
    assert!(home.find(&kinds::SECRET, "team-commerce", "orders-credentials").found().is_none());
    assert!(home.get(&kinds::NODE, "", "worker-2").is_some());
}

#[test]
fn where_the_whole_cluster_is_refused_namespaces_are_asked() {
    let fault: Fault = Arc::new(|asked| {
        let path = asked.split('?').next().unwrap_or_default();
        let inside = path.contains("/namespaces/");
        let discovery = matches!(path, "/api" | "/apis" | "/version");
        (!inside && !discovery).then(|| status(403, "Forbidden", "not cluster-wide"))
    });
    let served = Served::with(&Fixture::healthy(), fault);
    let files = gathered(&served, &["-n", "team-weather", "-n", "mcp-system"], 4);
    let home = load(&Memory(files)).expect("a bundle");
    assert!(home.get(&kinds::HTTP_ROUTE, "team-weather", "weather").is_some());
    assert!(home.get(&kinds::MCP_SERVER_REGISTRATION, "team-weather", "weather").is_some());
    assert_eq!(home.list(&kinds::GATEWAY).count(), 0, "outside of the namespaces that were asked for");
    assert!(home.collected(&kinds::HTTP_ROUTE, Some("team-weather")).is_ok());
    assert!(home.collected(&kinds::HTTP_ROUTE, Some("team-commerce")).is_err());
    assert!(home.collected(&kinds::ENVOY_FILTER, Some("mcp-system")).is_ok());
}

#[test]
fn without_any_permission_nothing_is_left_behind() {
    let fault: Fault = Arc::new(|asked| {
        let path = asked.split('?').next().unwrap_or_default();
        (!matches!(path, "/api" | "/apis" | "/version"))
            .then(|| status(403, "Forbidden", "user nobody may not"))
    });
    let served = Served::with(&Fixture::healthy(), fault);
    let error = refused(&mut served.command(), 3);
    assert!(error.contains("nothing can be read from"), "{error}");
    assert_eq!(left_behind(served.directory.path()), Vec::<String>::new());
}

#[test]
fn a_cluster_without_our_kinds_is_said_to_be_the_wrong_one() {
    let empty = Bundle::default();
    let fault: Fault = Arc::new(|asked| {
        let groups = serde_json::json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [
            {"metadata": {"name": "apps"}, "versions": []}]});
        asked.starts_with("/apis").then(|| axum::Json(groups).into_response())
    });
    let served = Served::serving(empty, Arc::new(Memory::default()), fault);
    let error = refused(&mut served.command(), 3);
    assert!(error.contains("serves neither the MCP gateway (mcp.kuadrant.io) nor"), "{error}");
    assert_eq!(left_behind(served.directory.path()), Vec::<String>::new());
}

#[test]
fn json_that_is_no_discovery_is_no_api_server() {
    let fault: Fault = Arc::new(|asked| {
        asked.starts_with("/api").then(|| axum::Json(serde_json::json!({"up": true})).into_response())
    });
    let served = Served::serving(Bundle::default(), Arc::new(Memory::default()), fault);
    let error = refused(&mut served.command(), 3);
    assert!(error.contains("does not answer like a Kubernetes API server"), "{error}");
    assert_eq!(left_behind(served.directory.path()), Vec::<String>::new());
}

/// A namespace with so many Events that their list has pages.
fn many_events(count: usize) -> Fixture {
    let events: String = (0..count)
        .map(|i| {
            format!(
                "---\napiVersion: v1\nkind: Event\nmetadata: {{name: e{i:05}, namespace: team-weather}}\n\
                 involvedObject: {{kind: Pod, name: p}}\nreason: Test\nmessage: number {i}\n"
            )
        })
        .collect();
    Fixture::healthy().add(&events)
}

#[test]
fn pages_that_expire_are_read_again() {
    let fault: Fault = Arc::new(|asked| {
        (asked.contains("/team-weather/events") && asked.contains("continue="))
            .then(|| status(410, "Expired", "the provided continue parameter is too old"))
    });
    let served = Served::with(&many_events(1100), fault);
    let files = gathered(&served, &[], 0);
    let events = text(&files["namespaces/team-weather/core/events.yaml"]);
    let before = Fixture::healthy().bundle().list_in(&kinds::EVENT, "team-weather").count();
    assert_eq!(events.lines().filter(|line| line.starts_with("- ")).count(), 1100 + before);
    let manifest = json(&files, "mcpgw/manifest.json");
    let collections = manifest["collections"].as_array().expect("collections");
    let of_events = collections.iter().find(|c| c["kind"] == "Event" && c["namespace"] == "team-weather");
    let of_events = of_events.expect("an entry");
    assert_eq!(of_events["outcome"], "complete");
    assert!(of_events["why"].as_str().is_some_and(|why| why.contains("410")), "{of_events}");
}

#[test]
fn a_busy_server_is_asked_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let fault: Fault = Arc::new(move |asked| {
        let busy = asked.contains("/gateways?") && count.fetch_add(1, Ordering::Relaxed) < 2;
        busy.then(|| {
            let mut response = status(429, "TooManyRequests", "later");
            response.headers_mut().insert("retry-after", "0".parse().expect("a header"));
            response
        })
    });
    let served = Served::with(&Fixture::healthy(), fault);
    let files = gathered(&served, &[], 0);
    assert!(
        files.contains_key("namespaces/gateway-system/gateway.networking.k8s.io/gateways/mcp-gateway.yaml")
    );
}

#[test]
fn broken_answers_cost_only_what_they_answer() {
    let fault: Fault = Arc::new(|asked| {
        let json = [("content-type", "application/json")];
        if asked.contains("/team-weather/services?") {
            return Some((json, r#"{"kind":"ServiceList","items":[{"metadata":{"name":"x""#).into_response());
        }
        if asked.contains("/envoyfilters?") {
            return Some(([("content-type", "text/html")], "<html>login</html>").into_response());
        }
        if asked.contains("/authpolicies?") {
            return Some((json, r#"{"items":[3]}"#).into_response());
        }
        asked.contains("/team-commerce/events?").then(|| status(500, "InternalError", "etcd is gone"))
    });
    let served = Served::with(&Fixture::healthy(), fault);
    let files = gathered(&served, &[], 4);
    let failures = text(&files["mcpgw/failures.json"]);
    for what in [
        "services in team-weather",
        "envoyfilters",
        "authpolicies",
        "events in team-commerce",
        "etcd is gone",
    ] {
        assert!(failures.contains(what), "{what}: {failures}");
    }
    assert!(!files.contains_key("namespaces/team-weather/core/services.yaml"), "half a list is no list");
    assert!(files.contains_key("namespaces/team-commerce/core/services.yaml"));
}

#[test]
fn the_same_cluster_gives_the_same_files() {
    let served = Served::of(&Fixture::faulty());
    let first = gathered(&served, &["-o", "first.tar.gz"], 0);
    let second = gathered(&served, &["-o", "second.tar.gz"], 0);
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    // Each run has a key of its own, so that placeholders cannot be compared across bundles.
    let token = regex::Regex::new("h=[0-9a-z]+|[0-9a-f]{8,}").expect("an expression");
    let of_the_run = ["gather.logs", "timestamp", "mcpgw/manifest.json"];
    for (path, content) in first.iter().filter(|(path, _)| !of_the_run.contains(&path.as_str())) {
        let [a, b] = [(&first, content), (&second, &second[path])].map(|(files, content)| {
            let manifest = json(files, "mcpgw/manifest.json");
            ["started", "ended"]
                .iter()
                .fold(text(content), |text, key| text.replace(manifest[key].as_str().expect("a time"), "NOW"))
        });
        // When a probe was made, and how long it took, belongs to the run as well.
        let of_probes = ["\"date\": ", "\"time\": ", "\"connectMs\": ", "\"firstByteMs\": ", "\"totalMs\": "];
        // And what the second look has read: the times of the run have more or fewer digits.
        let of_the_look = ["\"bytes\": ", "\"milliseconds\": "];
        let of_the_run = |line: &&str| {
            let keys: &[&str] = match path.as_str() {
                "mcpgw/redaction-report.json" => &of_the_look,
                path if path.starts_with("mcpgw/probes/") => &of_probes,
                _ => &[],
            };
            !keys.iter().any(|key| line.trim_start().starts_with(key))
        };
        for (a, b) in a.lines().filter(of_the_run).zip(b.lines().filter(of_the_run)) {
            assert_eq!(token.replace_all(a, "*"), token.replace_all(b, "*"), "{path}");
        }
    }
}

#[test]
fn check_reports_without_an_archive() {
    let check = |served: &Served, arguments: &[&str]| {
        let mut command = program();
        command.current_dir(served.directory.path()).arg("check").arg("--kubeconfig");
        command.arg(served.directory.path().join("kubeconfig")).args(arguments).output().expect("the program")
    };
    let healthy = Served::of(&Fixture::healthy());
    let output = check(&healthy, &[]);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let faulty = Served::of(&Fixture::faulty());
    let output = check(&faulty, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let codes: Vec<&str> = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|finding| finding["code"].as_str().expect("a code"))
        .collect();
    assert!(codes.contains(&"MG101") && codes.contains(&"MG213"), "{codes:?}");
    let output = check(&faulty, &["--fail-on", "never", "--only", "MG213"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("MG213") && !text(&output.stdout).contains("MG101"));
    assert_eq!(left_behind(faulty.directory.path()), Vec::<String>::new());
}
