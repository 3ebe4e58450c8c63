//! The faults: for every finding code at least one change of the healthy installation that raises it.
//!
//! A subject's faults stand in a file of the rules' name and are composed in [`all`]. The generic
//! tests below run on every entry.

mod authentication;
mod credentials;
mod envoy_filter;
mod extensions;
mod external;
mod gateways;
mod installation;
mod policies;
mod proxy;
mod registrations;
mod routes;
mod workloads;

pub use authentication::wristband;
pub use extensions::deployed;
pub use gateways::{extension_not_ready, registration_not_ready, registrations_not_ready};
pub use proxy::{edit_answer, edit_filters};
pub use registrations::broker_fails;
pub use workloads::crashes;

use crate::fixture::Fixture;

/// One way to break the healthy installation.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The code that must be reported.
    pub code: &'static str,
    /// What is broken, in a few words; unique.
    pub name: &'static str,
    /// Whether the finding of this code must be a root; `false` where the fault itself has another
    /// code and this one follows from it.
    pub root: bool,
    /// Breaks it.
    pub apply: fn(Fixture) -> Fixture,
}

/// Every fault of every subject.
pub fn all() -> Vec<&'static Fault> {
    let subjects: &[&[Fault]] = &[
        installation::FAULTS,
        workloads::FAULTS,
        gateways::FAULTS,
        routes::FAULTS,
        envoy_filter::FAULTS,
        extensions::FAULTS,
        registrations::FAULTS,
        external::FAULTS,
        credentials::FAULTS,
        proxy::FAULTS,
        authentication::FAULTS,
        policies::FAULTS,
    ];
    subjects.iter().copied().flatten().collect()
}

/// Breaks an installation in a way of this name.
pub fn named(code: &str, name: &str, fixture: Fixture) -> Fixture {
    let fault = all().into_iter().find(|fault| (fault.code, fault.name) == (code, name));
    (fault.expect("a fault of this name").apply)(fixture)
}

#[test]
fn every_fault_raises_its_code() {
    let mut wrong = Vec::new();
    for fault in all() {
        let report = (fault.apply)(Fixture::healthy()).report();
        let found: Vec<_> = report.findings.iter().filter(|f| f.code == fault.code).collect();
        if fault.code == "MG001" {
            // What is missing is said under `unknown`, with the rules that wait for it.
            if report.unknown.is_empty() || report.unknown.iter().any(|u| u.codes.is_empty()) {
                wrong.push(format!("MG001 ({}): nothing is undecided", fault.name));
            }
        } else if found.is_empty() {
            let instead: Vec<_> = report.findings.iter().map(|f| format!("{} {}", f.code, f.title)).collect();
            wrong.push(format!("{} ({}) was not found, but {instead:#?}", fault.code, fault.name));
        } else if fault.root && !found.iter().any(|f| f.caused_by.is_empty()) {
            let causes: Vec<_> = found.iter().flat_map(|f| &f.caused_by).collect();
            wrong.push(format!("{} ({}) is no root, but caused by {causes:?}", fault.code, fault.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A sentence with a count or an article in it is right for one, too.
#[test]
fn what_is_said_is_said_in_plain_english() {
    let mut wrong = std::collections::BTreeSet::new();
    for fault in all() {
        for finding in (fault.apply)(Fixture::healthy()).report().findings {
            for sentence in [finding.title, finding.remedy.text] {
                let words: Vec<&str> = sentence.split_whitespace().collect();
                // `0 of 1 replicas` is the field's way to say it.
                let many_of_one = |w: &[&str]| w[0] != "of" && w[1] == "1" && w[2].ends_with('s');
                let article = |w: &[&str]| matches!(w[0], "A" | "a") && w[1].starts_with("HTTP");
                let odd = ["object(s)", "pod(s)", "tool(s)", "?.", ".. ", "Affected: the"];
                if odd.iter().any(|odd| sentence.contains(odd))
                    || words.windows(3).any(many_of_one)
                    || words.windows(2).any(article)
                    || matches!(words.as_slice(), ["1", many, ..] if many.ends_with('s'))
                {
                    wrong.insert(format!("{}: {sentence}", finding.code));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_names_of_the_faults_are_unique() {
    let mut names: Vec<_> = all().iter().map(|f| (f.code, f.name)).collect();
    names.sort_unstable();
    let before = names.len();
    names.dedup();
    assert_eq!(names.len(), before);
}
