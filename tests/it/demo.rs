//! `oc-mcpgw demo` as a process: the whole chain, from a served cluster to the report of an archive.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use oc_mcpgw::archive::read::{self, Visit};
use oc_mcpgw::report::Severity;
use oc_mcpgw::{demo, rules};

use crate::serve_command::{announcement, interrupt};

fn oc_mcpgw(arguments: &[&str], directory: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oc-mcpgw"))
        .args(arguments)
        .current_dir(directory)
        .env("NO_COLOR", "1")
        .env_remove("KUBECONFIG")
        .output()
        .expect("the program runs")
}

fn archive_in(directory: &std::path::Path) -> PathBuf {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(paths.len(), 1, "one archive and nothing else: {paths:?}");
    paths.remove(0)
}

#[test]
fn the_demo_gathers_and_diagnoses() {
    let directory = tempfile::tempdir().expect("a directory");
    let begun = Instant::now();
    let output = oc_mcpgw(&["demo"], directory.path());
    let took = begun.elapsed();
    let (said, noted) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{noted}");
    // Generous, because tests run side by side and without optimisation; the promise is 5 s.
    assert!(took < Duration::from_secs(20), "it took {took:?}");

    let archive = archive_in(directory.path());
    let name = archive.file_name().expect("a name").to_string_lossy().into_owned();
    for expected in ["3 root causes", "MG101", "MG213", "MG602", "NEXT", &name] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    for command in ["explain MG", "analyze ", "serve "] {
        assert!(said.contains(command), "no `{command}` to try next in\n{said}");
    }
    assert!(noted.contains("https://127.0.0.1:"), "{noted}");

    // The archive alone says the same.
    let again = oc_mcpgw(&["analyze", &name], directory.path());
    assert_eq!(again.status.code(), Some(1), "errors were found");
    assert!(String::from_utf8_lossy(&again.stdout).contains("3 root causes"));
}

#[test]
fn nothing_secret_leaves_the_demo() {
    let secrets = [
        "not-a-real-token-orders-4c1d",
        "not-a-real-token-tickets-77f0",
        "0dd5e55104fa4e0000",
        "ada@example.com",
        "eyJhbGciOiJSUzI1NiIs",
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let output = oc_mcpgw(&["demo"], directory.path());
    let mut texts =
        vec![("standard output".to_owned(), output.stdout), ("standard error".to_owned(), output.stderr)];
    let source = read::open(&archive_in(directory.path())).expect("an archive");
    let problems = source
        .walk(&mut |entry, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).expect("readable");
            texts.push((entry.path.clone(), bytes));
            Visit::Next
        })
        .expect("an archive");
    assert_eq!(problems, [""; 0]);
    assert!(texts.len() > 100, "the archive has many files");
    for (place, text) in texts {
        let text = String::from_utf8_lossy(&text);
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} stands in {place}");
        }
    }
}

#[test]
fn the_healthy_demo_finds_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = oc_mcpgw(&["demo", "--healthy", "-o", "healthy.tar.gz"], directory.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let output = oc_mcpgw(&["analyze", "healthy.tar.gz", "--fail-on", "warning"], directory.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_kept_demo_is_a_cluster_like_the_one_that_it_gathered_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(env!("CARGO_BIN_EXE_oc-mcpgw"))
        .args(["demo", "--keep", "--healthy", "-o", "first.tar.gz"])
        .current_dir(directory.path())
        .env("NO_COLOR", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program");
    let (announced, _output) = announcement(&mut child);
    let line = announced.lines().find_map(|line| line.trim().strip_prefix("export KUBECONFIG="));
    let config = line.expect("a line to paste").to_owned();
    let output = oc_mcpgw(&["gather", "--kubeconfig", &config, "-o", "again.tar.gz"], directory.path());
    interrupt(&child);
    child.wait().expect("the end");
    // Objects, logs, and what Envoy and the broker answer through port-forward: nothing is refused.
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_output_that_exists_is_said_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("mine.tar.gz"), "mine").expect("a file");
    let output = oc_mcpgw(&["demo", "-o", "mine.tar.gz"], directory.path());
    assert_ne!(output.status.code(), Some(0));
    let noted = String::from_utf8_lossy(&output.stderr);
    let error = noted.lines().find(|line| line.starts_with("error:")).expect("an error");
    assert!(error.contains("mine.tar.gz"), "{noted}");
    assert_eq!(std::fs::read(directory.path().join("mine.tar.gz")).expect("still there"), b"mine");
}

#[test]
fn moving_the_installation_in_time_changes_no_finding() {
    let now = rules::analyze(&demo::faulty().bundle());
    let later = demo::faulty().moved_to(demo::reference_time() + chrono::Duration::days(400));
    let later = rules::analyze(&later.bundle());
    let codes = |report: &oc_mcpgw::report::Report| -> Vec<(String, Severity)> {
        report.findings.iter().map(|f| (f.code.clone(), f.severity)).collect()
    };
    assert_eq!(codes(&now), codes(&later));
}
