//! Redaction of whole bundles: the analysis stays the same, nothing secret is left, twice is once.

use std::collections::BTreeMap;

use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::archive::write::{Format, Options, Target, Writer};
use oc_mcpgw::archive::{load, rewrite};
use oc_mcpgw::redact::Redactor;
use oc_mcpgw::report::Report;
use oc_mcpgw::rules;

use crate::fixture::Fixture;
use crate::fixture_kinds::healthy_kinds;

/// The files of a bundle after `redact`.
pub fn redacted(files: &BTreeMap<String, Vec<u8>>, redactor: &Redactor) -> BTreeMap<String, Vec<u8>> {
    let source = Memory(files.clone());
    rewrite::learn(&source, redactor).expect("a bundle");
    let writer = Writer::create(Options {
        target: Target::Memory,
        format: Format::Dir,
        root: "bundle".to_owned(),
        time: oc_mcpgw::demo::reference_time(),
    })
    .expect("a writer");
    let done = rewrite::rewrite(&source, redactor, &writer).expect("a bundle");
    assert_eq!(done.left_out, Vec::<String>::new());
    let mut out = BTreeMap::new();
    writer
        .source()
        .walk(&mut |entry, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).expect("memory");
            out.insert(entry.path.clone(), bytes);
            oc_mcpgw::archive::read::Visit::Next
        })
        .expect("a bundle");
    out
}

fn report(files: &BTreeMap<String, Vec<u8>>) -> Report {
    let bundle = load::load(&Memory(files.clone())).expect("a bundle");
    rules::analyze(&bundle)
}

/// A report without the numbers of lines, which YAML of another layout changes.
fn essence(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&format!("{} {} {} {:?}\n", finding.id, finding.code, finding.title, finding.objects));
    }
    for unknown in &report.unknown {
        text.push_str(&format!("{unknown:?}\n"));
    }
    text
}

#[test]
fn the_analysis_of_a_redacted_bundle_is_that_of_the_original() {
    for (name, fixture) in healthy_kinds() {
        let files = fixture.files();
        let redacted = redacted(&files, &Redactor::new(oc_mcpgw::redact::Options::default()));
        assert_eq!(essence(&report(&redacted)), essence(&report(&files)), "{name}");
    }
    let files = Fixture::faulty().files();
    let redacted = redacted(&files, &Redactor::new(oc_mcpgw::redact::Options::default()));
    assert_eq!(essence(&report(&redacted)), essence(&report(&files)));
}

/// Redacts a bundle twice, each time with another key.
pub fn assert_twice_is_once(name: &str, files: &BTreeMap<String, Vec<u8>>) {
    let once = redacted(files, &Redactor::new(oc_mcpgw::redact::Options::default()));
    let twice = redacted(&once, &Redactor::new(oc_mcpgw::redact::Options::default()));
    for (path, content) in &once {
        assert_eq!(String::from_utf8_lossy(&twice[path]), String::from_utf8_lossy(content), "{name}: {path}");
    }
}

#[test]
fn redacting_twice_changes_nothing() {
    assert_twice_is_once("faulty", &Fixture::faulty().files());
    for (name, fixture) in healthy_kinds() {
        assert_twice_is_once(name, &fixture.files());
    }
}

fn run(arguments: &[&str], input: &[u8]) -> std::process::Output {
    let mut command = crate::cli::program();
    command.arg("redact").args(arguments).write_stdin(input).output().expect("runs")
}

/// A log that somebody wants to paste stays a log.
#[test]
fn a_single_file_becomes_a_single_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let input = directory.path().join("broker.log");
    let log = "level=INFO msg=x token=hunter2hunter2\nSecret data follows\n";
    std::fs::write(&input, log).expect("written");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let assert_redacted = |shown: &[u8]| {
        let shown = String::from_utf8_lossy(shown);
        assert!(shown.starts_with("level=INFO msg=x token=<redacted:token len=14 h="), "{shown}");
        assert!(shown.ends_with(">\nSecret data follows\n"), "{shown}");
    };
    for arguments in [
        [path("broker.log"), "-o".to_owned(), "-".to_owned()],
        ["-".to_owned(), "-o".to_owned(), "-".to_owned()],
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = run(&arguments, log.as_bytes());
        assert_redacted(&output.stdout);
        assert_eq!(output.status.code(), Some(0));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("1 redaction by 1 rule"), "{told}");
        assert!(told.contains("looked through again before publishing: "), "{told}");
    }
    let (to, from) = (path("safe.log"), path("broker.log"));
    assert_eq!(run(&[&from, "-o", &to], b"").status.code(), Some(0));
    assert_redacted(&std::fs::read(&to).expect("a file"));
    // Nothing is overwritten.
    let again = run(&[&from, "-o", &to], b"");
    assert_eq!(again.status.code(), Some(3), "{}", String::from_utf8_lossy(&again.stderr));
    assert_redacted(&std::fs::read(&to).expect("a file"));
    // Who asks for an archive gets one.
    for (arguments, magic) in [
        (vec![from.as_str(), "-o", "-", "--format", "tar.gz"], &b"\x1f\x8b"[..]),
        (vec![from.as_str(), "-o", "-", "--format", "zip"], b"PK"),
    ] {
        assert!(run(&arguments, b"").stdout.starts_with(magic), "{arguments:?}");
    }
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hunter2hunter2}\n";
    let shown = run(&["-", "-o", "-"], secret.as_bytes()).stdout;
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("kind: Secret") && !shown.contains("hunter2"), "{shown}");
}
