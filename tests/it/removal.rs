//! Evidence that is lost never turns a finding into "fine": every single file of every bundle is taken away in
//! turn. A finding stays, or its rule says that it cannot tell; and nothing new is claimed of a healthy installation.
//!
//! The usual run takes a sample, the same every time; `MCPGW_REMOVE_ALL=1` takes every file.

use std::collections::BTreeSet;

use oc_mcpgw::archive::load;
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::report::{Report, Severity};
use oc_mcpgw::rules;
use rayon::prelude::*;

use crate::faults;
use crate::fixture::Fixture;
use crate::fixture_kinds::healthy_kinds;

/// How many files of each fault's bundle the usual run takes away.
const OF_A_FAULT: usize = 5;
/// How many of each healthy installation's.
const OF_A_KIND: usize = 12;

/// What became of the findings when one file was taken away.
#[derive(Debug, Default)]
struct Tally {
    files: usize,
    stayed: usize,
    undecided: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn join(mut self, other: Self) -> Self {
        self.files += other.files;
        self.stayed += other.stayed;
        self.undecided += other.undecided;
        self.wrong.extend(other.wrong);
        self
    }
}

/// Positions spread evenly over a list, beginning at another place for each bundle.
fn sample(number: usize, of: usize, wanted: usize) -> Vec<usize> {
    if std::env::var_os("MCPGW_REMOVE_ALL").is_some() || of <= wanted {
        return (0..of).collect();
    }
    let begin = number.wrapping_mul(7919) % of;
    (0..wanted).map(|step| (begin + step * of / wanted) % of).collect()
}

fn undecided(report: &Report) -> BTreeSet<&str> {
    report.unknown.iter().flat_map(|u| &u.codes).map(String::as_str).collect()
}

/// Takes files of a bundle away, one after the other.
fn removals(name: &str, number: usize, fixture: &Fixture, wanted: usize, healthy: bool) -> Tally {
    let files = fixture.files();
    let before = rules::analyze(&load::load(&Memory(files.clone())).expect("a bundle"));
    let mut tally = Tally::default();
    for at in sample(number, files.len(), wanted) {
        let mut files = files.clone();
        let path = files.keys().nth(at).expect("a file").clone();
        files.remove(&path);
        tally.files += 1;
        let after = rules::analyze(&load::load(&Memory(files)).expect("a bundle"));
        let unknown = undecided(&after);
        for finding in &before.findings {
            let same = |f: &&oc_mcpgw::report::Finding| {
                f.code == finding.code && f.objects.first() == finding.objects.first()
            };
            if after.findings.iter().any(|f| same(&f)) {
                tally.stayed += 1;
            } else if unknown.contains(finding.code.as_str()) {
                tally.undecided += 1;
            // What is said about the bundle as a whole goes by its cluster's name, which the manifest has.
            } else if finding.code != "MG002" || !after.findings.iter().any(|f| f.code == "MG002") {
                tally
                    .wrong
                    .push(format!("{name} without {path}: {} {} vanished", finding.code, finding.title));
            }
        }
        if healthy {
            let new = after.findings.iter().filter(|f| {
                f.severity != Severity::Info
                    && f.code != "MG002"
                    && !before
                        .findings
                        .iter()
                        .any(|b| b.code == f.code && b.objects.first() == f.objects.first())
            });
            tally.wrong.extend(new.map(|f| format!("{name} without {path}: {} {} is new", f.code, f.title)));
        }
    }
    tally
}

#[test]
fn a_lost_file_never_makes_a_finding_vanish() {
    let faults = faults::all();
    let tally = faults
        .par_iter()
        .enumerate()
        .map(|(number, fault)| {
            let name = format!("{} {}", fault.code, fault.name);
            removals(&name, number, &(fault.apply)(Fixture::healthy()), OF_A_FAULT, false)
        })
        .reduce(Tally::default, Tally::join);
    println!(
        "{} files taken away from the bundles of {} faults: {} findings stayed, {} became undecided, {} vanished",
        tally.files,
        faults.len(),
        tally.stayed,
        tally.undecided,
        tally.wrong.len()
    );
    assert!(tally.files >= faults.len() * OF_A_FAULT && tally.undecided > 0, "{tally:?}");
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
}

#[test]
fn a_lost_file_makes_nothing_of_a_healthy_installation_wrong() {
    let kinds = healthy_kinds();
    let tally = kinds
        .par_iter()
        .enumerate()
        .map(|(number, (name, fixture))| removals(name, number, fixture, OF_A_KIND, true))
        .reduce(Tally::default, Tally::join);
    println!(
        "{} files taken away from {} healthy installations: {} wrong",
        tally.files,
        kinds.len(),
        tally.wrong.len()
    );
    assert!(tally.files >= kinds.len() * OF_A_KIND, "{tally:?}");
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
}

#[test]
fn without_its_registration_nobody_knows_that_a_server_is_new() {
    let kinds = healthy_kinds();
    let (_, fixture) = kinds.iter().find(|(name, _)| *name == "just-registered").expect("the kind");
    let mut files = fixture.files();
    files
        .remove("namespaces/team-weather/mcp.kuadrant.io/mcpserverregistrations/weather.yaml")
        .expect("the registration");
    let report = rules::analyze(&load::load(&Memory(files)).expect("a bundle"));
    assert!(report.findings.iter().all(|finding| finding.code != "MG416"), "{:#?}", report.findings);
    assert!(undecided(&report).contains("MG416"));
}
