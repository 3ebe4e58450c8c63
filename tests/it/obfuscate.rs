//! Pseudonyms in whole bundles: the analysis stays the same, no original is left, everything still works.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

use aho_corasick::{AhoCorasick, MatchKind};
use oc_mcpgw::archive::read::{Memory, Source, Visit};
use oc_mcpgw::archive::write::{Format, Options, Target, Writer};
use oc_mcpgw::archive::{load, locate, rewrite, second_look};
use oc_mcpgw::redact::Redactor;
use oc_mcpgw::redact::obfuscate::{Entry, Names, What};
use oc_mcpgw::report::Report;
use oc_mcpgw::rules;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::fixture_kinds::healthy_kinds;
use crate::gather::{Served, program};

type Files = BTreeMap<String, Vec<u8>>;

/// The files of a bundle after `redact --obfuscate`, and the mapping.
fn obfuscated(files: &Files, what: &[What]) -> (Files, Vec<Entry>) {
    let source = Memory(files.clone());
    let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
    rewrite::learn(&source, &redactor).expect("a bundle");
    let redactor = match what {
        [] => redactor,
        what => {
            let mut names = Names::new(what.iter().copied().collect());
            rewrite::learn_names(&source, &mut names).expect("a bundle");
            redactor.obfuscating(&names.obfuscator())
        }
    };
    let writer = Writer::create(Options {
        target: Target::Memory,
        format: Format::Dir,
        root: "bundle".to_owned(),
        time: oc_mcpgw::demo::reference_time(),
    })
    .expect("a writer");
    let done = rewrite::rewrite(&source, &redactor, &writer).expect("a bundle");
    assert_eq!(done.left_out, Vec::<String>::new());
    let written = writer.source();
    if let Err(error) = second_look::look(&*written, &redactor) {
        panic!("{error}\n{:#?}", redactor.obfuscator().map(|o| o.mapping()));
    }
    let mapping = redactor.obfuscator().map(|obfuscator| obfuscator.mapping()).unwrap_or_default();
    (contents(&*written), mapping)
}

fn contents(source: &dyn Source) -> Files {
    let mut out = BTreeMap::new();
    source
        .walk(&mut |entry, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).expect("readable");
            out.insert(entry.path.clone(), bytes);
            Visit::Next
        })
        .expect("a bundle");
    out
}

fn report(files: &Files) -> Report {
    let source = Memory(files.clone());
    let bundle = load::load(&source).expect("a bundle");
    let mut report = rules::analyze(&bundle);
    locate::fill_lines(&mut report, &source);
    report
}

/// Puts the originals back, all at once: a pseudonym may be another's original.
struct Back {
    search: AhoCorasick,
    originals: Vec<String>,
}

impl Back {
    fn new(mapping: &[Entry]) -> Self {
        let mut pairs: Vec<(String, String)> =
            mapping.iter().map(|e| (e.pseudonym.clone(), e.original.clone())).collect();
        // Addresses that are parts of names.
        pairs.extend(
            mapping
                .iter()
                .filter(|e| e.kind == What::Ip && !e.original.contains([':', '/']))
                .map(|e| (e.pseudonym.replace('.', "-"), e.original.replace('.', "-"))),
        );
        // Labels alone: advice makes new hosts and names of them.
        for e in mapping.iter().filter(|e| e.kind == What::Host && !e.original.contains(['\\', '-', '_'])) {
            let labels = e.pseudonym.split('.').zip(e.original.split('.'));
            pairs.extend(
                labels.filter(|(new, old)| new != old).map(|(new, old)| (new.to_owned(), old.to_owned())),
            );
        }
        let (pseudonyms, originals): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let search =
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(pseudonyms).expect("names");
        Self { search, originals }
    }

    fn text(&self, text: &str) -> String {
        let mut out = String::new();
        self.search.replace_all_with(text, &mut out, |found, _, out| {
            let number = |at: Option<u8>| at.is_some_and(|b| b.is_ascii_digit());
            let bytes = text.as_bytes();
            let inside = number(found.start().checked_sub(1).map(|at| bytes[at]))
                || number(bytes.get(found.end()).copied());
            out.push_str(if inside {
                &text[found.range()]
            } else {
                &self.originals[found.pattern().as_usize()]
            });
            true
        });
        out
    }
}

/// Everything that a report says, line by line, without digests of the run and numbers of lines, sorted:
/// pseudonyms sort differently.
fn essence(report: &Report, back: Option<&Back>, values: bool) -> Vec<String> {
    let digest = regex::Regex::new("h[=-][0-9a-f]{8}").expect("an expression");
    let say = |text: String| {
        let text = back.map_or(text.clone(), |back| back.text(&text));
        digest.replace_all(&text, "h=").into_owned()
    };
    let mut lines = Vec::new();
    for finding in &report.findings {
        let mut evidence: Vec<String> = finding
            .evidence
            .iter()
            .map(|e| {
                let value = e.value.as_ref().filter(|_| values);
                say(format!("{} {:?} {value:?} {:?}", e.file, e.path, e.note))
            })
            .collect();
        evidence.sort();
        let objects: BTreeSet<String> = finding.objects.iter().map(|o| say(format!("{o:?}"))).collect();
        lines.push(format!(
            "{} {:?} {} {objects:?} {evidence:#?} {} {} roots {}",
            finding.code,
            finding.severity,
            say(finding.title.clone()),
            say(finding.remedy.text.clone()),
            say(finding.remedy.commands.join("\n")),
            finding.caused_by.is_empty(),
        ));
    }
    lines.extend(report.unknown.iter().map(|unknown| say(format!("{unknown:?}"))));
    lines.sort();
    lines
}

/// What the reports on a bundle, redacted only and obfuscated, say differently.
///
/// Values are compared with those of a bundle that was redacted; without values, with the original.
fn differences(name: &str, files: &Files, values: bool) -> Vec<String> {
    let plain = if values { obfuscated(files, &[]).0 } else { files.clone() };
    let (hidden, mapping) = obfuscated(files, &What::ALL);
    let back = Back::new(&mapping);
    let expected: BTreeSet<String> = essence(&report(&plain), None, values).into_iter().collect();
    let found: BTreeSet<String> = essence(&report(&hidden), Some(&back), values).into_iter().collect();
    let lost = expected.difference(&found).map(|line| format!("{name}: lost {line}"));
    let new = found.difference(&expected).map(|line| format!("{name}: new {line}"));
    lost.chain(new).collect()
}

#[test]
fn healthy_installations_stay_healthy() {
    let mut wrong = Vec::new();
    for (name, fixture) in healthy_kinds() {
        wrong.extend(differences(name, &fixture.files(), true));
    }
    wrong.extend(differences("the demo", &Fixture::faulty().files(), true));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_analysis_of_every_fault_is_that_of_the_original() {
    let faults = crate::faults::all();
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let parts: Vec<_> = faults
            .chunks(faults.len().div_ceil(threads))
            .map(|part| {
                scope.spawn(move || {
                    let of = |fault: &&crate::faults::Fault| {
                        differences(fault.name, &(fault.apply)(Fixture::healthy()).files(), false)
                    };
                    part.iter().flat_map(of).collect::<Vec<_>>()
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names that stand nowhere else, and what the demo calls the same.
const CANARIES: &[(&str, &str)] = &[
    ("team-weather", "zqns-alpha"),
    ("team-commerce", "zqbeta77"),
    ("worker-1", "zqnode-one.corp.zqcanary.net"),
    ("worker-2", "zqnode-two.corp.zqcanary.net"),
    ("example.com", "apps.zqcanary.net"),
    ("10.244.1.", "10.171.93."),
    ("203.0.113.", "203.0.113.1"),
];

/// What no output may hold.
const FORBIDDEN: &[&str] = &[
    "zqns",
    "zqbeta",
    "zqnode",
    "zqcanary",
    "zqcluster",
    "zqeve",
    "10.171.93.",
    "198.51.100.77",
    "fd77:77::",
];

/// The faulty demo under other names, with more of them planted.
fn planted() -> Fixture {
    let mut fixture = Fixture::faulty();
    let rename =
        |text: &str| CANARIES.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new));
    let renamed =
        |value: &Value| -> Value { serde_json::from_str(&rename(&value.to_string())).expect("still JSON") };
    fixture.installation.objects = fixture.installation.objects.iter().map(renamed).collect();
    for log in &mut fixture.installation.logs {
        log.namespace = rename(&log.namespace);
        log.pod = rename(&log.pod);
        log.text = rename(&log.text);
    }
    for (path, content) in &mut fixture.installation.extras {
        *path = rename(path);
        if let Ok(text) = std::str::from_utf8(content) {
            *content = rename(text).into_bytes();
        }
    }
    fixture.installation.cluster = "zqcluster-prod".to_owned();
    let text = concat!(
        "dial tcp 198.51.100.77:443: connect: refused\\n",
        "lookup db.zqcanary.net on 10.171.93.10:53: no such host; peer [fd77:77::5]:8443\n",
        "reconcile zqns-alpha/weather by zqeve.person@zqcanary.net on node zqnode-one.corp.zqcanary.net\n",
        "{\"url\":\"https:\\/\\/a.b.zqcanary.net\\/x\",\"ns\":\"zqbeta77\",\"re\":\".*\\\\.apps\\\\.zqcanary\\\\.net\"}\n",
        "GET /api/v1/namespaces/zqbeta77/pods?fieldSelector=spec.nodeName%3Dzqnode-two.corp.zqcanary.net\n",
        "spiffe://cluster.local/ns/zqns-alpha/sa/weather outbound|8080||weather.zqns-alpha.svc.cluster.local\n",
        "cb=https%3A%2F%2Fa.zqcanary.net%2Fcb user=zqeve%40zqcanary.net system:serviceaccount:zqbeta77:orders\n",
        "begins at zqcluster-prod\n",
    );
    let pod = fixture.pod_of("zqns-alpha", "weather");
    fixture = fixture
        .append_log("zqns-alpha", &pod, "server", text)
        .edit_all("Pod", |pod| {
            pod["metadata"]["annotations"]["example/notes"] = json!(text);
            pod["metadata"]["annotations"]["a.zqcanary.net/owner"] = json!("zqeve@zqcanary.net");
        })
        .add(&format!(
            "apiVersion: v1\nkind: Event\nmetadata: {{name: zqns-alpha.1, namespace: zqns-alpha}}\n\
             involvedObject: {{kind: Pod, namespace: zqns-alpha, name: {pod}}}\nreason: Scheduled\n\
             message: Successfully assigned zqns-alpha/{pod} to zqnode-one.corp.zqcanary.net\n\
             lastTimestamp: 2026-09-14T10:00:00Z\nsource: {{host: zqnode-one.corp.zqcanary.net}}\n"
        ))
        .add(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes, namespace: zqns-alpha}\n\
             data: {list: \"namespaces:\\n- zqns-alpha\\n- zqbeta77\\nhost: x.zqcanary.net\\nnet: 10.171.93.0/24\"}\n",
        )
        .extra("mcpgw/envoy/zqns-alpha/zqgw/stats.txt", b"cluster.outbound|80||a.zqcanary.net.upstream_cx_total: 1\n");
    fixture
}

fn assert_clean(name: &str, bytes: &[u8]) {
    let lower = bytes.to_ascii_lowercase();
    for canary in FORBIDDEN {
        if let Some(at) = memchr::memmem::find(&lower, canary.as_bytes()) {
            let from = at.saturating_sub(80);
            let to = (at + 80).min(lower.len());
            panic!("{name} holds {canary}: {}", String::from_utf8_lossy(&lower[from..to]));
        }
    }
}

fn assert_no_canary(files: &Files) {
    for (path, content) in files {
        assert_clean("a path", path.as_bytes());
        assert_clean(path, content);
    }
}

#[test]
fn no_name_is_left_by_redact() {
    let mut files = planted().files();
    let wrapped = b"x eyJob3N0IjoiYS56cWNhbmFyeS5uZXQiLCJucyI6InpxbnMtYWxwaGEifQ== y\n".to_vec();
    files.insert("notes.txt".to_owned(), wrapped);
    let (files, mapping) = obfuscated(&files, &What::ALL);
    // Text in base64 is looked into.
    assert!(!String::from_utf8_lossy(&files["notes.txt"]).contains("eyJob3N0IjoiYS56"));
    assert_no_canary(&files);
    // Redaction leaves no e-mail address to be given a pseudonym.
    for kind in What::ALL.into_iter().filter(|kind| *kind != What::Email) {
        assert!(mapping.iter().any(|entry| entry.kind == kind), "no {kind:?} in the mapping");
    }
    assert!(
        mapping.iter().any(|e| e.original == "zqns-alpha" && e.pseudonym.starts_with("ns-")),
        "{mapping:?}"
    );
    // Classes and relations.
    let of = |original: &str| mapping.iter().find(|e| e.original == original).map(|e| e.pseudonym.clone());
    assert!(of("198.51.100.77").expect("met").starts_with("198.51.100."));
    assert!(of("fd77:77::5").expect("met").starts_with("fd"));
    let (host, domain) = (of("a.b.zqcanary.net").expect("met"), of("x.zqcanary.net").expect("met"));
    assert_eq!(host.split('.').count(), 4);
    assert_eq!(
        host.rsplitn(3, '.').take(2).collect::<Vec<_>>(),
        domain.rsplitn(3, '.').take(2).collect::<Vec<_>>()
    );
    let twice = obfuscated(&files, &[]).0;
    for (path, content) in &files {
        if !path.starts_with("mcpgw/redaction-report") && !path.starts_with("mcpgw/manifest") {
            assert_eq!(String::from_utf8_lossy(content), String::from_utf8_lossy(&twice[path]), "{path}");
        }
    }
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program")
}

#[test]
fn no_name_is_left_by_gather_and_the_mapping_is_the_users_own() {
    let served = Served::of(&planted());
    let directory = served.directory.path();
    let output =
        served.gather(&["--obfuscate", "all", "--mapping-out", "mapping.json", "-o", "bundle.tar.gz"]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_clean("standard output", &output.stdout);
    assert_clean("standard error", &output.stderr);
    assert!(text(&output.stdout).contains("mapping.json"), "{}", text(&output.stdout));

    let bundle = directory.join("bundle.tar.gz");
    let source = oc_mcpgw::archive::read::open(&bundle).expect("an archive");
    assert_no_canary(&contents(&*source));
    let unpacked = run(Command::new("tar").arg("-tzf").arg(&bundle));
    assert_clean("the root folder", &unpacked.stdout);

    let mapping = std::fs::read(directory.join("mapping.json")).expect("a mapping");
    let mapping: Vec<Value> = serde_json::from_slice(&mapping).expect("JSON");
    for original in ["zqns-alpha", "zqbeta77", "zqnode-one.corp.zqcanary.net"] {
        assert!(mapping.iter().any(|entry| entry["original"] == original), "{original}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = directory.join("mapping.json").metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    // Everything works on it, and says nothing else.
    for arguments in [
        &["analyze", "bundle.tar.gz", "--fail-on", "never", "-o", "json"][..],
        &["analyze", "bundle.tar.gz", "--fail-on", "never", "-o", "html"],
        &["verify", "bundle.tar.gz"],
    ] {
        let output = run(program().current_dir(directory).args(arguments));
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?} {told}");
        assert_clean("standard output", &output.stdout);
        assert_clean("standard error", &output.stderr);
    }

    // Nothing is overwritten.
    let again = served.gather(&["--obfuscate", "ip", "--mapping-out", "mapping.json", "-o", "other.tar.gz"]);
    assert_eq!(again.status.code(), Some(3), "{}", text(&again.stderr));
    assert!(!directory.join("other.tar.gz").exists());
    let into = served.gather(&["--obfuscate", "ip", "--mapping-out", "m.json", "--must-gather", "-o", "."]);
    assert_eq!(into.status.code(), Some(2), "{}", text(&into.stderr));
    assert!(!directory.join("m.json").exists());
}

#[test]
fn check_prints_pseudonyms() {
    let served = Served::of(&planted());
    let mut command = program();
    command.current_dir(served.directory.path()).args(["check", "--obfuscate", "all", "--fail-on", "never"]);
    let output = run(command.arg("--kubeconfig").arg("kubeconfig"));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_clean("standard output", &output.stdout);
    assert!(String::from_utf8_lossy(&output.stdout).contains("ns-"));
}

#[test]
fn kinds_that_were_not_asked_for_stay() {
    let (files, mapping) = obfuscated(&planted().files(), &[What::Namespace]);
    assert!(mapping.iter().all(|entry| entry.kind == What::Namespace), "{mapping:?}");
    let all: Vec<u8> = files.values().flatten().copied().collect();
    for kept in ["198.51.100.77", "a.b.zqcanary.net", "zqnode-one"] {
        assert!(memchr::memmem::find(&all, kept.as_bytes()).is_some(), "{kept}");
    }
    assert!(memchr::memmem::find(&all, b"zqns-alpha").is_none());
}
