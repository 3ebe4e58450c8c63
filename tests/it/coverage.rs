//! The catalogue of finding codes against what the program has: no code without its rule, its whole
//! page, a fault that raises it, and a healthy installation in which the rule had what it needs.

use std::collections::{BTreeMap, BTreeSet};

use oc_mcpgw::model::{Bundle, kinds};
use oc_mcpgw::rules::{self, Rule};

use crate::faults;
use crate::fixture_kinds::healthy_kinds;

/// The catalogue: code, severity and name, a line each. It is part of the public interface: a line is
/// added when a rule is added, and never changed.
const CATALOGUE: &str = include_str!("catalogue.txt");

/// What every page tells.
const HEADINGS: [&str; 6] = [
    "What it means",
    "How it is decided",
    "Causes",
    "How to confirm",
    "How to fix",
    "When it may be a false alarm",
];

#[test]
fn the_rules_are_the_catalogue() {
    let here: Vec<String> =
        rules::all().iter().map(|r| format!("{} {} {}", r.code, r.severity.as_str(), r.name)).collect();
    let there: Vec<&str> = CATALOGUE.lines().collect();
    assert!(there.len() >= 137, "{}", there.len());
    assert_eq!(here, there);
}

#[test]
fn every_page_is_whole() {
    let mut wrong = Vec::new();
    for rule in rules::all() {
        let sections = sections(rule.page);
        for heading in HEADINGS {
            let text = sections.get(heading).map_or("", String::as_str);
            if text.len() < 10 {
                wrong.push(format!("{}: \"{heading}\" says {text:?}", rule.code));
            }
        }
        if rule.title().trim().len() < 8 || rule.title().trim().ends_with('.') {
            wrong.push(format!("{}: the title is {:?}", rule.code, rule.title()));
        }
        let version = |text: &str| text.split('.').filter(|n| n.parse::<u32>().is_ok()).count() == 3;
        if !version(rule.since) || rule.versions.is_empty() || !rule.section.starts_with("1.") {
            wrong.push(format!("{}: {} {} {}", rule.code, rule.since, rule.versions, rule.section));
        }
        // What is said to cause it must exist.
        let causes = rule.caused_by.iter().filter(|cause| rules::find(cause).is_none());
        wrong.extend(causes.map(|cause| format!("{} is caused by {cause}, which does not exist", rule.code)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The text under each heading of a page.
fn sections(page: &str) -> BTreeMap<&str, String> {
    let mut sections = BTreeMap::<&str, String>::new();
    let mut heading = "";
    for line in page.lines().map(str::trim) {
        match line.strip_prefix("## ") {
            Some(next) => heading = next,
            None => sections.entry(heading).or_default().push_str(line),
        }
    }
    sections
}

#[test]
fn every_code_has_a_fault() {
    let raised: BTreeSet<&str> = faults::all().iter().map(|fault| fault.code).collect();
    let missing: Vec<&str> =
        rules::all().iter().map(|rule| rule.code).filter(|code| !raised.contains(code)).collect();
    assert!(missing.is_empty(), "no fault raises {missing:?}");
}

/// Silence proves nothing when a rule had nothing to look at: for each there is a healthy installation
/// with every kind of evidence that it needs, in which it decided. That it looked is shown by
/// its faults, which are one change of such an installation.
#[test]
fn every_rule_has_decided_on_a_healthy_installation_that_has_what_it_needs() {
    let mut open: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut done = BTreeSet::new();
    for (kind, fixture) in healthy_kinds() {
        let bundle = fixture.bundle();
        let report = rules::analyze(&bundle);
        for rule in rules::all().iter().filter(|rule| rule.code != "MG001") {
            let lacks: Vec<&str> =
                rule.needs.iter().copied().filter(|need| !has_evidence(&bundle, need)).collect();
            let undecided = report.unknown.iter().any(|u| u.codes.iter().any(|code| code == rule.code));
            if lacks.is_empty() && !undecided && report.findings.iter().all(|f| f.code != rule.code) {
                done.insert(rule.code);
            } else {
                open.entry(rule.code).or_default().push(format!("{kind} lacks {lacks:?}"));
            }
        }
    }
    open.retain(|code, _| !done.contains(code));
    assert!(open.is_empty(), "{open:#?}");
    assert_eq!(done.len(), rules::all().len() - 1);
}

/// Whether a bundle holds evidence of this sort. A need is a plural resource, or a word for logs,
/// Envoy's answers, the broker's, or probes; alternatives are joined by `or`.
fn has_evidence(bundle: &Bundle, need: &str) -> bool {
    if need.contains(" or ") {
        return need.split(" or ").any(|one| has_evidence(bundle, one));
    }
    let extras = |prefix: &str| bundle.extras(prefix).next().is_some();
    let word = need.split_whitespace().next().unwrap_or_default();
    let of_word: Vec<_> = kinds::ALL.iter().filter(|kind| kind.plural == word).collect();
    if !of_word.is_empty() {
        return of_word.iter().any(|kind| bundle.list(kind).next().is_some());
    }
    match word {
        "mcpgw/envoy" => extras("mcpgw/envoy/"),
        "broker" if need.contains("/status") => extras("mcpgw/broker/"),
        "probes" => extras("mcpgw/probes/"),
        // The files about the collection itself are looked at by the tests of archives.
        "manifest" | "failures" | "discovery" => true,
        "previous" => bundle.logs().iter().any(|log| log.previous),
        _ if need.contains("log") => !bundle.logs().is_empty(),
        _ => false,
    }
}

/// The needs of a rule are words that mean something.
#[test]
fn every_need_is_known() {
    let words = ["mcpgw/envoy", "probes", "manifest", "failures", "discovery", "previous"];
    let known = |rule: &Rule, need: &str| {
        let word = need.split_whitespace().next().unwrap_or_default();
        let known = kinds::ALL.iter().any(|kind| kind.plural == word)
            || words.contains(&word)
            || need == "broker /status"
            || need.contains("log");
        (!known).then(|| format!("{}: {need}", rule.code))
    };
    let unknown: Vec<String> =
        rules::all().iter().flat_map(|rule| rule.needs.iter().filter_map(|need| known(rule, need))).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}
