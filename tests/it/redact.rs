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

#[test]
fn redacting_twice_changes_nothing() {
    let files = Fixture::faulty().files();
    let once = redacted(&files, &Redactor::new(oc_mcpgw::redact::Options::default()));
    let twice = redacted(&once, &Redactor::new(oc_mcpgw::redact::Options::default()));
    for (path, content) in &once {
        assert_eq!(String::from_utf8_lossy(&twice[path]), String::from_utf8_lossy(content), "{path}");
    }
}
