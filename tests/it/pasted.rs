//! What a report prints for pasting is pasted into a real shell, with the worst that a bundle can hold in every
//! name, label and text: only the programs that were printed may run, and nothing that the bundle says.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use oc_mcpgw::demo::Installation;
use oc_mcpgw::report::Report;
use rayon::prelude::*;
use serde_json::Value;

use crate::faults;
use crate::fixture::Fixture;

/// Ends every sort of quotes, and then runs a program of its own.
const HOSTILE: &str = "'\"; intruder; $(intruder) `intruder` | intruder & \nintruder\nEOF\nintruder\n#";

/// The programs that remedies use.
const PROGRAMS: [&str; 13] = [
    "oc", "oc-mcpgw", "jq", "curl", "dig", "base64", "openssl", "printf", "grep", "head", "tail", "sed",
    "date",
];

/// Fields whose values decide how an object is read, not what is printed of it.
const KEPT: [&str; 14] = [
    "apiVersion",
    "kind",
    "group",
    "type",
    "protocol",
    "status",
    "state",
    "operation",
    "context",
    "phase",
    "mode",
    "from",
    "reason",
    "controllerName",
];

/// The installation with the end of every text of its objects replaced, alike in all places, so that what refers to
/// each other still does.
fn hostile(mut installation: Installation) -> Installation {
    fn spoil(key: &str, value: &mut Value) {
        match value {
            Value::String(text) if !KEPT.contains(&key) && !text.is_empty() => text.push_str(HOSTILE),
            Value::String(_) => {}
            Value::Array(items) => items.iter_mut().for_each(|item| spoil(key, item)),
            Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| spoil(key, value)),
            _ => {}
        }
    }
    for object in &mut installation.objects {
        for (key, value) in object.as_object_mut().into_iter().flatten() {
            spoil(key, value);
        }
    }
    installation
}

/// Every command of a report, and every way to get what was missing.
fn commands(report: &Report) -> Vec<String> {
    let remedies = report.findings.iter().flat_map(|f| f.remedy.commands.iter().chain(&f.remedy.verify));
    // Some evidence is to be had by no command; that is said in words.
    let missing = report.unknown.iter().map(|unknown| &unknown.how_to_gather);
    remedies.chain(missing.filter(|how| how.starts_with("oc "))).cloned().collect()
}

/// What a real shell starts when these are pasted: the shell knows stand-ins for the programs of the remedies only.
fn started(commands: &BTreeSet<String>) -> BTreeSet<String> {
    let mut script = String::from("PATH=/nowhere\ncommand_not_found_handle() { builtin echo \"$1\" >&3; }\n");
    for program in PROGRAMS {
        script.push_str(&format!("{program}() {{ builtin echo {program} >&3; }}\n"));
    }
    script.push_str("exec 3>&1 >/dev/null\n");
    for command in commands {
        script.push_str(command);
        script.push('\n');
    }
    let mut shell = Command::new("bash")
        .args(["--noprofile", "--norc", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash");
    shell.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("the script is read");
    let output = shell.wait_with_output().expect("bash ends");
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!complaints.contains("syntax error") && !complaints.contains("unexpected EOF"), "{complaints}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn nothing_that_a_bundle_says_is_run() {
    let faults = faults::all();
    let of = |fixture: &Fixture| commands(&fixture.report());
    let plain: BTreeSet<String> =
        faults.par_iter().flat_map_iter(|fault| of(&(fault.apply)(Fixture::healthy()))).collect();
    let known: BTreeSet<&str> = PROGRAMS.into_iter().collect();
    let programs = started(&plain);
    assert!(programs.iter().all(|program| known.contains(program.as_str())), "{programs:?}");
    assert!(programs.contains("oc") && programs.contains("jq"), "{programs:?}");
    // Of an ordinary installation everything is filled in, and is a word by itself.
    let gaps: Vec<_> = plain.iter().filter(|command| command.contains("${VALUE}")).collect();
    assert!(gaps.is_empty(), "{gaps:#?}");

    let spoilt: BTreeSet<String> = faults
        .par_iter()
        .flat_map_iter(|fault| {
            let broken = (fault.apply)(Fixture::healthy()).installation;
            of(&Fixture::from(hostile(broken)))
        })
        .collect();
    let carrying = spoilt.iter().filter(|command| command.contains("intruder")).count();
    assert!(carrying > 100, "only {carrying} commands of {} hold foreign text", spoilt.len());
    let programs = started(&spoilt);
    assert!(programs.iter().all(|program| known.contains(program.as_str())), "{programs:?}");
}
