//! Faults and their remedies on every other kind of installation: what is found and repaired in the one that faults
//! are made for is found and repaired there too.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::controllers;
use crate::faults::{self, Fault};
use crate::fixes::{self, FIXES};
use crate::fixture::{Fixture, quietly};
use crate::fixture_kinds as kinds;
use crate::remedies::{self, World};

/// Faults that are none in a kind, although it has what they change: what is broken there does not matter, or is not
/// seen by design. Without a name, all of the code.
struct Harmless {
    kind: &'static str,
    why: &'static str,
    faults: &'static [(&'static str, &'static str)],
}

const HARMLESS: &[Harmless] = &[
    Harmless {
        kind: "external-servers-only",
        why: "The server that a log, an answer or a NetworkPolicy is about is not there.",
        faults: &[
            ("MG005", "log from the future"),
            ("MG606", "calls are refused, discovery is not"),
            ("MG232", "server takes only its own namespace"),
            ("MG415", "the controller has no line about it"),
            ("MG416", "the broker does not know a server"),
        ],
    },
    Harmless {
        kind: "openshift",
        why: "It is the right class, and a Route of another address stands in front.",
        faults: &[
            ("MG218", "the host resolves to something else inside"),
            ("MG313", "the private host is of another class"),
            ("MG812", "class of another controller"),
        ],
    },
    Harmless {
        kind: "two-gateways",
        why: "The other gateway's team has an entry for the same host, exported everywhere.",
        faults: &[
            ("MG501", ""),
            ("MG502", ""),
            ("MG503", ""),
            ("MG504", "the DestinationRule is gone"),
            ("MG505", "the DestinationRule's host has a typo"),
            ("MG506", "the DestinationRule begins no TLS"),
            ("MG511", "the mesh lets the broker reach registered hosts only"),
        ],
    },
    Harmless {
        kind: "https-wildcard",
        why: "The hosts are others, and the one listener takes routes of all namespaces, servers' and clients'.",
        faults: &[
            ("MG218", "the record points elsewhere"),
            ("MG214", "the namespace lacks the label"),
            ("MG423", "two labels under the wildcard"),
            ("MG230", "shop on the same port"),
        ],
    },
    Harmless {
        kind: "https-wildcard",
        why: "No policy asks for roles.",
        faults: &[("MG809", "tokens without roles")],
    },
    Harmless {
        kind: "no-kuadrant",
        why: "The kinds of policies are not installed, and nobody asks for tokens.",
        faults: &[
            ("MG001", "the policies were not collected"),
            ("MG701", ""),
            ("MG703", ""),
            ("MG708", ""),
            ("MG808", "no route on the path"),
            ("MG809", ""),
            ("MG810", ""),
            ("MG814", ""),
            ("MG815", ""),
        ],
    },
];

/// Where commands repair a fault in the default installation, but only a person can in this kind.
const PERSONAL: &[(&str, &str, &str, &str)] = &[
    (
        "two-gateways",
        "MG212",
        "the parent's namespace is left out",
        "Gateways of the name exist in two namespaces",
    ),
    ("two-gateways", "MG311", "no extension for the Gateway", "there are two Gateways with extensions"),
    (
        "two-gateways",
        "MG401",
        "the target is in another namespace",
        "two namespaces have a route of the name",
    ),
    ("two-gateways", "MG419", "a route without hostname", "its listeners have wildcards of two domains"),
    ("https-wildcard", "MG201", "the Gateway was deleted", "nobody knows the certificate of its listener"),
    ("no-kuadrant", "MG702", "the running gateway answers 401", "no policy tells who asks for credentials"),
    ("two-gateways", "MG234", "two servers with one host", "its listeners have wildcards of two domains"),
];

/// How many faults apply to each kind, at least.
const APPLIED: &[(&str, usize)] = &[
    ("0.6", 190),
    ("head", 191),
    ("openshift", 188),
    ("external-servers-only", 114),
    ("two-gateways", 184),
    ("https-wildcard", 165),
    ("no-kuadrant", 154),
];

/// How a fault ended in an installation of another kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The kind does not have what the fault breaks.
    NotApplicable,
    /// Nothing is found, or something else.
    NotRaised(String),
    /// It is found; its remedy is tried in the other half.
    Found,
    /// No command repairs it.
    Person,
    Solved,
    Wrong(String),
}

/// A kind of installation.
struct Kind {
    name: &'static str,
    /// What faults change.
    healthy: Fixture,
    /// Whether what they have changed gets the names of OpenShift.
    on_openshift: bool,
    world: World,
}

impl Kind {
    fn new(name: &'static str, healthy: Fixture, on_openshift: bool) -> Self {
        let world = World::new(&named(healthy.clone(), on_openshift));
        Self { name, healthy, on_openshift, world }
    }
}

/// Every fault is found in every kind that has what it breaks. Of two remedies one is tried, another in the next
/// kind; with `MCPGW_ALL_KINDS` all.
#[test]
fn every_fault_is_found_and_repaired_in_every_kind() {
    let all = std::env::var_os("MCPGW_ALL_KINDS").is_some();
    let kinds = [
        Kind::new("0.6", kinds::version_0_6(), false),
        Kind::new("head", kinds::head(), false),
        Kind::new("openshift", kinds::before_openshift(), true),
        Kind::new("external-servers-only", kinds::external_servers_only(), false),
        Kind::new("two-gateways", kinds::two_gateways(), false),
        Kind::new("https-wildcard", kinds::https_wildcard(), false),
        Kind::new("no-kuadrant", kinds::no_kuadrant(), false),
    ];
    let faults = faults::all();
    let trials: Vec<(usize, usize)> =
        (0..kinds.len()).flat_map(|kind| (0..faults.len()).map(move |fault| (kind, fault))).collect();
    let outcomes: Vec<(&str, &Fault, Outcome)> = trials
        .into_par_iter()
        .map(|(kind, fault)| {
            let remedy = all || (kind + fault) % 2 == 0;
            (kinds[kind].name, faults[fault], tried(&kinds[kind], faults[fault], remedy))
        })
        .collect();
    let mut counts: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    let mut unused: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    unused.extend(HARMLESS.iter().flat_map(|h| h.faults.iter().map(|f| (h.kind, f.0, f.1))));
    unused.extend(PERSONAL.iter().map(|p| (p.0, p.1, p.2)));
    let mut wrong = Vec::new();
    for &(kind, fault, ref outcome) in &outcomes {
        let row = |name| (kind, fault.code, name);
        let harmless = HARMLESS.iter().any(|h| {
            h.kind == kind
                && h.faults.iter().any(|f| f.0 == fault.code && (f.1.is_empty() || f.1 == fault.name))
        });
        let personal = PERSONAL.iter().any(|p| (p.0, p.1, p.2) == row(fault.name));
        let count = counts.entry(kind).or_default();
        match (outcome, harmless, personal) {
            (Outcome::Found, false, _) => count[0] += 1,
            (Outcome::Solved, false, false) => count[1] += 1,
            (Outcome::Person, false, true) => count[2] += 1,
            (Outcome::NotRaised(_) | Outcome::Wrong(_) | Outcome::Found, true, false) => count[3] += 1,
            (Outcome::NotApplicable, _, false) => count[4] += 1,
            (outcome, ..) => wrong.push(format!(
                "{kind}: {} {}: {outcome:?}, in the tables: {harmless}, {personal}",
                fault.code, fault.name
            )),
        }
        if *outcome != Outcome::NotApplicable {
            unused.remove(&row(fault.name));
            unused.remove(&row(""));
        }
    }
    wrong.extend(unused.iter().map(|row| format!("{row:?} is in a table and does not occur")));
    wrong
        .extend(HARMLESS.iter().filter(|h| h.why.is_empty()).map(|h| format!("{} without a reason", h.kind)));
    wrong.extend(PERSONAL.iter().filter(|p| p.3.is_empty()).map(|p| format!("{p:?} without a reason")));
    let applied = |counts: &[usize; 5]| counts[0] + counts[1] + counts[2];
    let applies: Vec<(&str, usize)> = kinds.iter().map(|k| (k.name, applied(&counts[k.name]))).collect();
    println!("found only, found and repaired, by a person, harmless, not applicable: {counts:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A kind in which faults silently stop to apply would prove less every day.
    for ((kind, applied), least) in applies.iter().zip(APPLIED) {
        assert!(
            (*kind, *applied) >= *least && *kind == least.0,
            "{kind}: {applied} faults apply, {least:?} did"
        );
    }
}

/// Whether a fault has changed anything.
fn differs(healthy: &Fixture, broken: &Fixture) -> bool {
    let (before, after) = (&healthy.installation, &broken.installation);
    let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
    let extras = before.extras.len() != after.extras.len()
        || before
            .extras
            .iter()
            .zip(&after.extras)
            .any(|(a, b)| a != b && (a.0 != b.0 || json(&a.1).is_none() || json(&a.1) != json(&b.1)));
    before.objects != after.objects
        || before.logs != after.logs
        || extras
        || healthy.refusals().kinds.len() != broken.refusals().kinds.len()
}

/// An installation under the names that it has on OpenShift, or as it is.
fn named(fixture: Fixture, on_openshift: bool) -> Fixture {
    if on_openshift { kinds::on_openshift(fixture) } else { fixture }
}

/// Faults are made for the names of the default installation, and so are fixes: on OpenShift both are renamed.
fn tried(kind: &Kind, fault: &Fault, remedy: bool) -> Outcome {
    let Some(unnamed) = quietly(|| (fault.apply)(kind.healthy.clone())) else {
        return Outcome::NotApplicable;
    };
    if !differs(&kind.healthy, &unnamed) {
        return Outcome::NotApplicable;
    }
    let broken = named(unnamed.clone(), kind.on_openshift);
    let report = broken.report();
    let found = report.findings.iter().any(|f| f.code == fault.code)
        // What is missing is said under `unknown`.
        || fault.code == "MG001" && report.unknown.iter().any(|u| !u.codes.is_empty());
    if !found {
        return Outcome::NotRaised(format!("{:?}", kind.world.bad(&report)));
    }
    if !remedy {
        return Outcome::Found;
    }
    let fix = FIXES.iter().find(|fix| fix.fault == (fault.code, fault.name));
    let after = match fix {
        Some(fix) => {
            let steps = || {
                let take = |state, step: &fixes::Step| fixes::take(*step, state, &kind.healthy.installation);
                named(fix.steps.iter().fold(unnamed, take), kind.on_openshift)
            };
            match quietly(steps) {
                Some(after) => after,
                None => return Outcome::Wrong("a step cannot be taken".to_owned()),
            }
        }
        None => match remedies::commanded(&kind.world, &broken, &report) {
            Ok(Some(after)) => after,
            Ok(None) => return Outcome::Person,
            Err(error) => return Outcome::Wrong(error),
        },
    };
    let left = kind.world.bad(&after.report());
    if left.is_empty() { Outcome::Solved } else { Outcome::Wrong(format!("{left:#?}")) }
}

/// What is renamed is the installation that is called healthy.
#[test]
fn the_renamed_installation_is_that_of_openshift() {
    // Addresses and identifiers are made of names.
    let sorted = |fixture: Fixture| {
        let objects = fixture.installation.objects.iter();
        let written = objects.filter(|o| o["kind"] != "EndpointSlice" && o["kind"] != "Pod");
        let mut objects: Vec<String> = written
            .map(|o| {
                let mut spec = o["spec"].clone();
                if let Some(address) = spec.get_mut("clusterIP") {
                    *address = serde_json::Value::Null;
                }
                format!("{:?} {} {spec}", controllers::identity(o), o["metadata"]["labels"])
            })
            .collect();
        objects.sort();
        objects
    };
    let renamed = sorted(kinds::on_openshift(kinds::before_openshift()));
    let healthy = sorted(kinds::openshift());
    let only = |of: &[String], not: &[String]| -> Vec<String> {
        of.iter().filter(|object| !not.contains(object)).cloned().collect()
    };
    assert_eq!(only(&renamed, &healthy), only(&healthy, &renamed));
}
