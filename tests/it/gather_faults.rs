//! The program `gather` behind a proxy that breaks what passes: whatever happens, a valid archive
//! that says what is missing, and nothing secret in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use axum::Router;
use base64::Engine as _;
use oc_mcpgw::archive::load::load;
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::demo;
use oc_mcpgw::serve::{Cluster, router};
use serde_json::Value;

use crate::fixture::Fixture;
use crate::gather::{archive, files, json, program, text};
use crate::proxy::{Fault, Plan, Proxy, Rule};

/// What a run through a proxy left.
pub struct Run {
    pub proxy: Proxy,
    pub output: Output,
    pub files: BTreeMap<String, Vec<u8>>,
    pub failures: Vec<Value>,
}

impl Run {
    /// Gathers through a proxy and checks what must hold whatever it breaks.
    pub fn through(fixture: &Fixture, plan: impl Into<Plan>, arguments: &[&str]) -> Self {
        Self::before(routes(fixture), plan, arguments)
    }

    /// The same before an installation that is served already.
    pub fn before(routes: Router, plan: impl Into<Plan>, arguments: &[&str]) -> Self {
        let proxy = Proxy::start(routes, plan);
        let directory = tempfile::tempdir().expect("a directory");
        let kubeconfig = directory.path().join("kubeconfig");
        proxy.write_kubeconfig(&kubeconfig);
        let mut command = program();
        command.current_dir(directory.path()).arg("gather").arg("--kubeconfig").arg(&kubeconfig);
        let output = command.args(arguments).output().expect("the program");
        let said = || format!("{}{}", text(&output.stdout), text(&output.stderr));
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 3 | 4)), "{code:?}: {}", said());
        if code == Some(3) {
            let errors = text(&output.stderr).lines().filter(|line| line.starts_with("error: ")).count();
            assert_eq!(errors, 1, "{}", said());
            assert_eq!(names(directory.path()), ["kubeconfig"], "nothing is left behind");
            return Self { proxy, output, files: BTreeMap::new(), failures: Vec::new() };
        }
        let archive = archive(&output, directory.path());
        let files = files(&archive);
        let failures = json(&files, "mcpgw/failures.json");
        let failures = failures.as_array().or_else(|| failures["failures"].as_array()).cloned();
        let failures = failures.unwrap_or_default();
        let verified = program().arg("verify").arg(&archive).output().expect("the program");
        let verdict = text(&verified.stdout);
        assert!(
            verified.status.code() == Some(0)
                && verdict.contains("checksums compared: 0 leaks, 0 other problems"),
            "{verdict}{}",
            said()
        );
        let mut all = files.clone();
        all.insert("standard output".to_owned(), output.stdout.clone());
        all.insert("standard error".to_owned(), output.stderr.clone());
        nothing_secret(&all);
        assert_eq!(code == Some(4), !failures.is_empty(), "{failures:#?}");
        Self { proxy, output, files, failures }
    }

    pub fn code(&self) -> i32 {
        self.output.status.code().expect("a code")
    }

    /// The failure of a request that holds these words.
    fn failure(&self, what: &str) -> &Value {
        let found = self.failures.iter().find(|failure| failure.to_string().contains(what));
        found.unwrap_or_else(|| panic!("no failure about {what}: {:#?}", self.failures))
    }
}

/// The API of an installation.
pub fn routes(fixture: &Fixture) -> Router {
    let source = Memory(fixture.files());
    let bundle = load(&source).expect("a bundle");
    router(Cluster::new(bundle, Arc::new(source)))
}

pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// No value of a Secret stands anywhere, not even in a part of an answer that broke off.
pub fn nothing_secret(files: &BTreeMap<String, Vec<u8>>) {
    for secret in demo::healthy().objects.iter().filter(|object| object["kind"] == "Secret") {
        for (key, value) in secret["data"].as_object().into_iter().flatten() {
            let encoded = value.as_str().expect("base64");
            let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64");
            for (path, content) in files {
                let holds =
                    |needle: &[u8]| needle.len() >= 8 && memchr::memmem::find(content, needle).is_some();
                assert!(!holds(encoded.as_bytes()) && !holds(&bytes), "{path} holds the secret {key}");
            }
        }
    }
}

const WEATHER_SERVICES: &str = "namespaces/team-weather/core/services.yaml";

#[test]
fn what_passes_by_itself_costs_nothing() {
    let services = "GET *namespaces/team-weather/services?";
    for fault in [Fault::RetryAfter(429, 0), Fault::Status(503), Fault::Reset(100), Fault::Truncate(100)] {
        let run = Run::through(&Fixture::healthy(), vec![Rule::on(services, fault.clone()).times(1)], &[]);
        assert_eq!(run.code(), 0, "{fault:?}: {:#?}{}", run.failures, text(&run.output.stderr));
        assert!(run.files.contains_key(WEATHER_SERVICES), "{fault:?}");
        assert_eq!(run.proxy.count(services), 2, "{fault:?}");
    }
}

#[test]
fn pages_that_expire_once_are_read_again() {
    let events: String = (0..1200)
        .map(|n| {
            format!(
                "---\napiVersion: v1\nkind: Event\nmetadata: {{name: e{n:05}, namespace: team-weather}}\n\
                 involvedObject: {{kind: Pod, name: p}}\nreason: Test\nmessage: number {n}\n"
            )
        })
        .collect();
    let expired = Rule::on("GET *team-weather/events?*continue=", Fault::Status(410)).times(1);
    let run = Run::through(&Fixture::healthy().add(&events), vec![expired], &[]);
    assert_eq!(run.code(), 0, "{:#?}{}", run.failures, text(&run.output.stderr));
    let list = text(&run.files["namespaces/team-weather/core/events.yaml"]);
    assert!((0..1200).all(|n| list.contains(&format!("name: e{n:05}\n"))), "all of them are there, once");
    assert_eq!(list.matches("name: e00000\n").count(), 1);
}

#[test]
fn a_log_that_never_ends_is_cut() {
    let log = Rule::on("GET *team-weather/pods/weather-*log?", Fault::Endless);
    let run = Run::through(&Fixture::healthy(), vec![log], &["--max-log-bytes", "64KiB", "--timeout", "10s"]);
    assert_eq!(run.code(), 4);
    let pod = Fixture::healthy().pod_of("team-weather", "weather");
    let path = oc_mcpgw::archive::path::log("team-weather", &pod, "server", false);
    let kept = run.files.get(&path).map_or(0, Vec::len);
    assert!(kept < 80 << 10, "{kept} bytes of an endless log");
    assert!(json(&run.files, "mcpgw/manifest.json")["cutShort"].is_string());
}

#[test]
fn a_log_that_hangs_costs_one_log() {
    let log = Rule::on("GET *team-weather/pods/weather-*log?", Fault::Hang);
    let run = Run::through(&Fixture::healthy(), vec![log], &["--request-timeout", "1s", "--timeout", "20s"]);
    assert_eq!(run.code(), 4);
    run.failure("weather");
    let others = run.files.keys().filter(|path| path.ends_with("current.log")).count();
    assert!(others > 8, "only {others} logs");
}

#[test]
fn discovery_that_breaks_is_said() {
    // The aggregated form is one document: when it breaks, the older form must do.
    let once = vec![Rule::on("GET /apis", Fault::Status(500)).times(1)];
    let run = Run::through(&Fixture::healthy(), once, &[]);
    assert!(run.code() == 0 || run.code() == 4, "{:#?}", run.failures);
    assert!(run.files.contains_key(WEATHER_SERVICES));
    let run = Run::through(&Fixture::healthy(), vec![Rule::on("GET /api", Fault::Status(500))], &[]);
    assert_eq!(run.code(), 3, "nothing can be had without discovery");
}

#[test]
fn an_item_of_many_megabytes_is_no_harm() {
    let rules = vec![Rule::on("GET *namespaces/team-weather/services?", Fault::Huge(8 << 20))];
    let run = Run::through(&Fixture::healthy(), rules, &["--no-analyze"]);
    assert!(matches!(run.code(), 0 | 4), "{:#?}", run.failures);
    assert!(run.files.contains_key(WEATHER_SERVICES) || !run.failures.is_empty());
}

#[test]
fn whatever_breaks_by_chance_the_archive_is_valid() {
    let mut faults = 0;
    for seed in 0..12 {
        let run = Run::through(&Fixture::healthy(), Plan::Random { seed, one_in: 6 }, &["--timeout", "60s"]);
        faults += run.proxy.faults();
    }
    assert!(faults > 100, "only {faults} faults in twelve runs");
}
