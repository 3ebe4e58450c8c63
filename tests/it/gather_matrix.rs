//! Every fault against every class of request: the real program before a served installation, behind
//! a proxy that breaks one request of each class in the same way. Each run must leave a valid archive
//! without a secret in it; the table says what became of each request.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fixture::Fixture;
use crate::gather::{json, text};
use crate::gather_faults::{Run, routes};
use crate::proxy::{Fault, Rule};
use axum::Router;

/// A class of requests: one request of it, and what it brings home.
struct Class {
    name: &'static str,
    /// Which request is broken.
    request: String,
    /// The file that it fills.
    file: String,
    /// How its failure is called.
    failure: String,
}

/// What is broken, and how.
fn faults() -> Vec<(&'static str, Fault)> {
    let mut faults: Vec<(&'static str, Fault)> = [
        ("400", 400),
        ("401", 401),
        ("403", 403),
        ("404", 404),
        ("409", 409),
        ("410", 410),
        ("500", 500),
        ("503", 503),
        ("504", 504),
    ]
    .into_iter()
    .map(|(name, code)| (name, Fault::Status(code)))
    .collect();
    faults.extend([
        ("429, Retry-After: 1", Fault::RetryAfter(429, 1)),
        ("late", Fault::Delay(Duration::from_millis(200))),
        ("no answer", Fault::Hang),
        ("stalls", Fault::Stall(40)),
        ("slow drip", Fault::Drip(Duration::from_millis(6))),
        ("cut off", Fault::Truncate(40)),
        ("reset at once", Fault::Reset(0)),
        ("reset in the middle", Fault::Reset(40)),
        ("broken JSON", Fault::BadJson),
        ("login page", Fault::LoginPage),
        ("wrong content type", Fault::WrongType),
        ("an item of 20 MB", Fault::Huge(20_000_000)),
    ]);
    faults
}

/// Whether a fault of a body can hit what has none, or is no JSON.
fn applies(fault: &Fault, class: &str) -> bool {
    match fault {
        Fault::Huge(_) => matches!(class, "list" | "next page" | "object" | "secrets"),
        Fault::BadJson => class != "port-forward",
        Fault::Stall(_) | Fault::Truncate(_) | Fault::Drip(_) | Fault::WrongType => class != "port-forward",
        Fault::Reset(bytes) => *bytes == 0 || class != "port-forward",
        _ => true,
    }
}

/// An installation with one more run of a container, and a list of two pages.
fn installation() -> Fixture {
    let events: String = (0..600)
        .map(|n| {
            format!(
                "---\napiVersion: v1\nkind: Event\nmetadata: {{name: e{n:05}, namespace: team-commerce}}\n\
                 involvedObject: {{kind: Pod, name: p}}\nreason: Test\nmessage: number {n}\n"
            )
        })
        .collect();
    let fixture = Fixture::healthy().add(&events).edit("Pod", "team-commerce", "orders", |pod| {
        pod["status"]["containerStatuses"][0]["lastState"] =
            serde_json::json!({"terminated": {"exitCode": 1}});
    });
    let pod = fixture.pod_of("team-commerce", "orders");
    fixture.log(
        "team-commerce",
        &pod,
        "server",
        true,
        "2026-09-14T09:50:00Z the end of the last run, with some words\n",
    )
}

fn classes(fixture: &Fixture) -> Vec<Class> {
    let weather = fixture.pod_of("team-weather", "weather");
    let orders = fixture.pod_of("team-commerce", "orders");
    let broker = fixture.pod_of("mcp-system", "mcp-gateway");
    let class = |name, request: &str, file: String, failure: String| Class {
        name,
        request: request.to_owned(),
        file,
        failure,
    };
    let log = |namespace: &str, pod: &str, previous| {
        oc_mcpgw::archive::path::log(namespace, pod, "server", previous)
    };
    vec![
        class(
            "list",
            "GET *namespaces/team-weather/services?",
            "namespaces/team-weather/core/services.yaml".to_owned(),
            "list services in team-weather".to_owned(),
        ),
        class(
            "next page",
            "GET *team-commerce/events?*continue=",
            "namespaces/team-commerce/core/events.yaml".to_owned(),
            "list events in team-commerce".to_owned(),
        ),
        class(
            "object",
            "GET /api/v1/nodes/worker-1",
            "cluster-scoped-resources/core/nodes/worker-1.yaml".to_owned(),
            "get nodes worker-1".to_owned(),
        ),
        class(
            "secrets",
            "GET *namespaces/team-commerce/secrets?",
            "namespaces/team-commerce/core/secrets.yaml".to_owned(),
            "list secrets in team-commerce".to_owned(),
        ),
        class(
            "log",
            &format!("GET *pods/{weather}/log?"),
            log("team-weather", &weather, false),
            format!("log of server in team-weather/{weather}"),
        ),
        class(
            "previous log",
            &format!("GET *pods/{orders}/log?*previous=true"),
            log("team-commerce", &orders, true),
            format!("previous log of server in team-commerce/{orders}"),
        ),
        class(
            "port-forward",
            &format!("GET *pods/{broker}/portforward?*ports=8080"),
            oc_mcpgw::archive::path::broker("mcp-system", &broker, "status.json"),
            format!("/status of mcp-system/{broker}:8080"),
        ),
    ]
}

/// What became of the request of a class.
fn outcome(run: &Run, class: &Class) -> &'static str {
    let said = run.failures.iter().any(|failure| failure["what"].as_str() == Some(&class.failure));
    let manifest = json(&run.files, "mcpgw/manifest.json");
    let files = manifest["files"].as_array().expect("files");
    let entry = files.iter().find(|file| file["path"].as_str() == Some(&class.file));
    let cut = entry.is_some_and(|entry| entry["truncated"] == true);
    match (entry.is_some(), cut, said) {
        (true, false, false) => "whole",
        (true, true, true) => "part, said",
        (false, _, true) => "said",
        (false, _, false) => "not there",
        (true, true, false) => "part, NOT SAID",
        (true, false, true) => "whole, but SAID",
    }
}

/// Runs every piece of work, some side by side: most of them wait.
pub fn side_by_side<T: Sync, R: Send>(work: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, R>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(piece) = work.get(place) else { break };
                    let result = run(piece);
                    results.lock().expect("no panic").insert(place, result);
                }
            });
        }
    });
    results.into_inner().expect("no panic").into_values().collect()
}

/// The cells of a table, in columns.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&header).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().chain([&header]).map(|row| row[column].len()).max().unwrap_or(0);
            text.push_str(&format!("{cell:<width$}  "));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

const ARGUMENTS: &[&str] = &["--request-timeout", "3s", "--timeout", "60s", "--no-analyze"];

fn matrix(routes: &Router, classes: &[Class], times: usize) -> String {
    let rows = side_by_side(&faults(), |(name, fault)| {
        let hit: Vec<&Class> = classes.iter().filter(|class| applies(fault, class.name)).collect();
        let rules: Vec<Rule> =
            hit.iter().map(|class| Rule::on(&class.request, fault.clone()).times(times)).collect();
        let run = Run::before(routes.clone(), rules, ARGUMENTS);
        for failure in &run.failures {
            for field in ["what", "request", "reason", "message", "consequence"] {
                assert!(failure[field].as_str().is_some_and(|text| !text.is_empty()), "{name}: {failure:#}");
            }
        }
        let cell = |class: &Class| {
            if !hit.iter().any(|other| std::ptr::eq(*other, class)) {
                return "-".to_owned();
            }
            // Three tries, each of which finds up to three pooled connections closed under its hands;
            // and a list is begun anew twice.
            let asked = run.proxy.count(&class.request);
            assert!(asked <= 27, "{name}: {} was asked {asked} times", class.request);
            outcome(&run, class).to_owned()
        };
        let mut row = vec![(*name).to_owned()];
        row.extend(classes.iter().map(cell));
        row
    });
    let mut header = vec!["fault"];
    header.extend(classes.iter().map(|class| class.name));
    table(&header, &rows)
}

#[test]
fn every_fault_against_every_class_of_request() {
    let fixture = installation();
    let (routes, classes) = (routes(&fixture), classes(&fixture));
    let for_good = matrix(&routes, &classes, usize::MAX);
    let once = matrix(&routes, &classes, 1);
    insta::assert_snapshot!("faults", format!("Every time:\n\n{for_good}\nThe first time only:\n\n{once}"));
}

/// What becomes of a run whose discovery is broken: everything depends on it.
#[test]
fn every_fault_against_discovery() {
    let routes = routes(&Fixture::healthy());
    let faults: Vec<(&str, Fault)> =
        faults().into_iter().filter(|(_, fault)| !matches!(fault, Fault::Huge(_))).collect();
    let columns = [("every time", usize::MAX), ("the first time only", 1)];
    let rows = side_by_side(&faults, |(name, fault)| {
        let cell = |(_, times): &(&str, usize)| {
            let rule = Rule::exactly("GET /apis", fault.clone()).times(*times);
            let run = Run::before(routes.clone(), vec![rule], ARGUMENTS);
            match run.code() {
                0 => "whole".to_owned(),
                4 => "said".to_owned(),
                3 => {
                    let stderr = text(&run.output.stderr);
                    assert!(stderr.contains("\n  hint: "), "{name}: {stderr}");
                    "refused".to_owned()
                }
                other => panic!("{name}: {other}"),
            }
        };
        let mut row = vec![(*name).to_owned()];
        row.extend(columns.iter().map(cell));
        row
    });
    insta::assert_snapshot!("discovery", table(&["fault", columns[0].0, columns[1].0], &rows));
}
