//! What remedies print is tried: the commands of each fault's roots are applied to the objects, the
//! controllers have their say, and then nothing may be wrong any more.
//!
//! What controllers do afterwards is imitated, not assumed: see `controllers`. Whatever the specs still have wrong,
//! the rules see in the specs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use oc_mcpgw::demo::{ContainerLog, Installation};
use oc_mcpgw::report::Report;
use rayon::prelude::*;

use crate::commands::{self, Done};
use crate::controllers;
use crate::faults::{self, Fault};
use crate::fixes::{self, FIXES, Fix};
use crate::fixture::Fixture;

/// A healthy installation of one kind, and what is said about it.
#[derive(Debug)]
pub struct World {
    /// The installation as it is with nothing wrong.
    pub healthy: Installation,
    normal: BTreeSet<String>,
}

impl World {
    /// The world of a healthy installation.
    pub fn new(healthy: &Fixture) -> Self {
        Self { healthy: healthy.installation.clone(), normal: said(&healthy.report()) }
    }

    /// What a report says beyond that of the healthy installation: findings, be they for information only, and what
    /// it cannot tell.
    pub fn bad(&self, report: &Report) -> Vec<String> {
        said(report).difference(&self.normal).cloned().collect()
    }
}

/// The installation that faults are made for.
static DEFAULT: LazyLock<World> = LazyLock::new(|| World::new(&Fixture::healthy()));

/// Why a remedy cannot be tried to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// No command is printed that would repair it: `fixes` says what a person does.
    Person,
    /// The evidence is a log, a status or a probe of the past: with or without the commands it is no longer there
    /// when somebody collects again, so that its absence proves nothing.
    Past,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Solved,
    Not(Why),
    Wrong(String),
}

/// The code and the name of a fault.
type Name = (&'static str, &'static str);

/// The commands of these end the cause; what was logged, or the status that was old, passes by itself.
const PAST: &[Name] = &[
    ("MG007", "broker at debug level"),
    ("MG217", "a generation behind"),
    ("MG217", "no status for a parent"),
    ("MG403", "no status at all"),
    ("MG310", "a generation behind"),
    ("MG310", "no status at all"),
    ("MG310", "the controller fails over and over"),
    ("MG415", "the controller has no line about it"),
];

/// A fault is repaired by the commands that its report prints, or else by the fix that a person makes: none has
/// neither, and none that has commands is left to a person.
#[test]
fn every_remedy_repairs_its_fault() {
    let faults = faults::all();
    let outcomes: Vec<(&Fault, Outcome)> = faults.par_iter().map(|fault| (*fault, trial(fault))).collect();
    let count = |wanted: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|(_, o)| wanted(o)).count();
    println!(
        "{} faults: {} repaired by the printed commands, {} of them of the past, {} by what a person does",
        outcomes.len(),
        count(&|o| matches!(o, Outcome::Solved | Outcome::Not(Why::Past))),
        count(&|o| *o == Outcome::Not(Why::Past)),
        count(&|o| *o == Outcome::Not(Why::Person)),
    );
    let mut wrong = Vec::new();
    let mut fixes: BTreeMap<Name, &Fix> = FIXES.iter().map(|fix| (fix.fault, fix)).collect();
    assert_eq!(fixes.len(), FIXES.len(), "a fault has two fixes");
    let mut past: BTreeSet<Name> = PAST.iter().copied().collect();
    for (fault, outcome) in &outcomes {
        let name = (fault.code, fault.name);
        match (outcome, fixes.remove(&name), past.remove(&name)) {
            (Outcome::Solved, None, false)
            | (Outcome::Not(Why::Past), None, true)
            | (Outcome::Not(Why::Person), Some(_), false) => {}
            (Outcome::Not(Why::Person), None, _) => {
                wrong.push(format!("{name:?} has neither commands that repair it nor a fix"));
            }
            (outcome, fix, past) => {
                wrong.push(format!("{name:?}: {outcome:?}, but the tables say {fix:?}, past: {past}"));
            }
        }
    }
    wrong
        .extend(fixes.keys().chain(&past).map(|fault| format!("{fault:?} is in a table and does not exist")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fix_repairs_its_fault() {
    let wrong: Vec<String> = FIXES.par_iter().filter_map(|fix| tried(fix).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Takes the steps of a fix: each changes something, none can be left out, and after all nothing is wrong.
fn tried(fix: &Fix) -> Result<(), String> {
    let (code, name) = fix.fault;
    let broken = faults::named(code, name, Fixture::healthy());
    let report = broken.report();
    let of_roots = |wanted: &dyn Fn(&str) -> bool| {
        report.findings.iter().filter(|f| f.caused_by.is_empty()).any(|f| wanted(&f.remedy.text))
    };
    if fix.says.is_empty() || !of_roots(&|text| text.contains(fix.says)) {
        let texts: Vec<_> =
            report.findings.iter().map(|f| format!("{}: {}", f.code, f.remedy.text)).collect();
        return Err(format!("{:?}: no root says {:?}: {texts:#?}", fix.fault, fix.says));
    }
    let mut state = broken.clone();
    for step in fix.steps {
        let before = state.installation.clone();
        let refused = !state.refusals().kinds.is_empty();
        state = fixes::take(*step, state, &DEFAULT.healthy);
        let after = &state.installation;
        let texts = |logs: &[ContainerLog]| -> Vec<String> { logs.iter().map(|l| l.text.clone()).collect() };
        let same = before.objects == after.objects
            && before.extras == after.extras
            && texts(&before.logs) == texts(&after.logs)
            && refused != state.refusals().kinds.is_empty();
        if same {
            return Err(format!("{:?}: {step:?} changes nothing", fix.fault));
        }
    }
    let still = DEFAULT.bad(&state.report());
    if !still.is_empty() {
        return Err(format!("{:?}: after the fix: {still:#?}", fix.fault));
    }
    for without in (0..fix.steps.len()).filter(|_| fix.steps.len() > 1) {
        let others = fix.steps.iter().enumerate().filter(|(at, _)| *at != without);
        let state =
            others.fold(broken.clone(), |state, (_, step)| fixes::take(*step, state, &DEFAULT.healthy));
        if DEFAULT.bad(&state.report()).is_empty() {
            return Err(format!("{:?}: {:?} is superfluous", fix.fault, fix.steps[without]));
        }
    }
    Ok(())
}

fn trial(fault: &Fault) -> Outcome {
    let broken = (fault.apply)(Fixture::healthy());
    let report = broken.report();
    let code = report.findings.iter().find(|f| f.caused_by.is_empty()).map_or("", |root| &root.code);
    let after = match commanded(&DEFAULT, &broken, &report) {
        Ok(Some(after)) => after,
        Ok(None) => return Outcome::Not(Why::Person),
        Err(error) => return Outcome::Wrong(error),
    };
    // Without the commands, time and controllers alone must not repair it, or the trial proves nothing.
    let mut control = broken;
    controllers::work(&mut control, &DEFAULT.healthy, None);
    let later = control.report();
    let persists = !DEFAULT.bad(&later).is_empty() || later.findings.iter().any(|f| f.code == code);
    let left = DEFAULT.bad(&after.report());
    match (left.is_empty(), persists) {
        (true, true) => Outcome::Solved,
        (true, false) => Outcome::Not(Why::Past),
        (false, _) => Outcome::Wrong(format!("after the remedy: {left:#?}")),
    }
}

/// What is printed to prove a repair can end well after it, and could not before: a command that waits for what was met
/// all the time, or for an object that the remedy deletes, proves nothing.
#[test]
fn what_verifies_a_repair_tells_before_from_after() {
    let wrong: Vec<String> = faults::all().par_iter().flat_map_iter(|fault| unproven(fault)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn unproven(fault: &Fault) -> Vec<String> {
    let broken = (fault.apply)(Fixture::healthy());
    let report = broken.report();
    let after = commanded(&DEFAULT, &broken, &report).ok().flatten();
    let mut wrong = Vec::new();
    for finding in &report.findings {
        let name = |what: &str| format!("{:?}: {} {what}", (fault.code, fault.name), finding.code);
        let mut proofs = 0;
        for command in &finding.remedy.verify {
            let words: Vec<&str> = command.split_whitespace().collect();
            let asks = command.starts_with("oc mcpgw ");
            let grave = finding.severity == oc_mcpgw::report::Severity::Error;
            if asks && command.contains(" --only ") && !grave && !command.contains("--fail-on") {
                wrong.push(name(&format!("succeeds whatever is found: {command}")));
            }
            let Some(at) = words.iter().position(|word| word.starts_with("--for=condition=")) else {
                proofs += usize::from(asks || command.contains(" rollout status "));
                continue;
            };
            let condition = &words[at]["--for=condition=".len()..];
            let namespace = words.iter().position(|word| *word == "-n").map_or("", |n| words[n + 1]);
            let (kind, object) = words[at + 1].split_once('/').expect("kind/name");
            let find = |installation: &Installation| {
                installation.objects.iter().find(|o| is(o, kind, namespace, object)).cloned()
            };
            let met = |object: &serde_json::Value| {
                let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
                conditions.any(|c| c["type"] == condition && c["status"] == "True")
            };
            proofs += usize::from(!find(&broken.installation).is_some_and(|object| met(&object)));
            if finding.caused_by.is_empty()
                && after.as_ref().is_some_and(|after| find(&after.installation).is_none())
            {
                wrong.push(name(&format!("waits for what is gone: {command}")));
            }
        }
        if proofs == 0 {
            wrong.push(name(&format!("proves nothing: {:?}", finding.remedy.verify)));
        }
    }
    wrong
}

fn is(object: &serde_json::Value, kind: &str, namespace: &str, name: &str) -> bool {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    text(&object["kind"]).to_lowercase() == kind
        && text(&object["metadata"]["namespace"]) == namespace
        && text(&object["metadata"]["name"]) == name
}

/// The installation after the commands of a report's roots were run and the controllers have seen it; `None` where
/// the commands leave something to a person.
///
/// # Errors
/// A command that does not work, or that changes nothing.
pub fn commanded(world: &World, broken: &Fixture, report: &Report) -> Result<Option<Fixture>, String> {
    let roots: Vec<_> = report.findings.iter().filter(|f| f.caused_by.is_empty()).collect();
    let mut after = broken.clone();
    let mut done = Done::default();
    for command in roots.iter().flat_map(|root| &root.remedy.commands) {
        if let Err(error) = commands::run(&mut after.installation, &mut done, command) {
            let person = error.starts_with("nobody says what");
            return if person { Ok(None) } else { Err(format!("{command}: {error}")) };
        }
    }
    if done.touched.is_empty() {
        let pretended = roots.iter().flat_map(|r| &r.remedy.commands).find(|c| commands::changes(c));
        return pretended.map_or(Ok(None), |command| Err(format!("{command} changes nothing")));
    }
    controllers::work(&mut after, &world.healthy, Some(&done));
    Ok(Some(after))
}

fn said(report: &Report) -> BTreeSet<String> {
    let findings = report.findings.iter().map(|f| format!("{} {}", f.code, f.title));
    let open = report.unknown.iter().map(|u| format!("cannot tell {}: {}", u.codes.join(","), u.missing));
    findings.chain(open).collect()
}
