//! Whole bundles: what must hold for every installation and every fault.

use std::collections::{BTreeMap, BTreeSet};

use oc_mcpgw::archive::load;
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::demo::Refused;
use oc_mcpgw::redact::{Options, Redactor};
use oc_mcpgw::report::{Report, Severity};
use oc_mcpgw::{model, rules};
use rayon::prelude::*;
use serde_json::Value;

use crate::faults;
use crate::fixture::Fixture;
use crate::fixture_kinds::healthy_kinds;

#[test]
fn a_healthy_installation_has_no_findings() {
    let mut wrong = Vec::new();
    for (name, fixture) in healthy_kinds() {
        let report = fixture.report();
        let findings = report.findings.iter().filter(|f| f.severity != Severity::Info);
        wrong.extend(findings.map(|f| format!("{name}: {} {}: {:#?}", f.code, f.title, f.evidence)));
        // Everything was collected, so everything can be decided.
        wrong.extend(report.unknown.iter().map(|unknown| format!("{name}: {unknown:?}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_parts_of_every_healthy_installation_fit_together() {
    for (kind, fixture) in healthy_kinds() {
        let installation = &fixture.installation;
        for log in &installation.logs {
            assert!(
                installation.get("Pod", &log.namespace, &log.pod).is_some(),
                "{kind}: a log of {}/{}",
                log.namespace,
                log.pod
            );
        }
        for object in &installation.objects {
            let name = format!(
                "{kind}: {} {}/{}",
                object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]
            );
            if let Some(namespace) = object["metadata"]["namespace"].as_str() {
                assert!(installation.get("Namespace", "", namespace).is_some(), "{name}: no such namespace");
            }
            for owner in object["metadata"]["ownerReferences"].as_array().into_iter().flatten() {
                assert!(owner["uid"].is_string(), "{name}: its owner does not exist");
            }
            for endpoint in object["endpoints"].as_array().into_iter().flatten() {
                assert_eq!(endpoint["conditions"]["ready"], true, "{name}");
            }
        }
        let dumps = installation.extras.iter().filter(|(path, _)| path.ends_with("config_dump.json"));
        for (path, dump) in dumps {
            let dump = String::from_utf8(dump.clone()).expect("text");
            // A Gateway beside ours has no router.
            let router = dump.contains("envoy.filters.http.ext_proc") || path.contains("/internal-istio-");
            assert!(router && dump.contains("\"domains\""), "{kind}: {path}");
        }
        let registrations =
            installation.objects.iter().filter(|o| o["kind"] == "MCPServerRegistration").count();
        // Every broker of a namespace knows the same servers.
        let mut known: BTreeMap<&str, u64> = BTreeMap::new();
        for (path, status) in installation.extras.iter().filter(|(path, _)| path.ends_with("status.json")) {
            let status: Value = serde_json::from_slice(status).expect("JSON");
            let servers = status["totalServers"].as_u64().unwrap_or(0);
            let namespace = path.split('/').nth(2).expect("a namespace");
            assert_eq!(*known.entry(namespace).or_insert(servers), servers, "{kind}: {path}");
        }
        let total: u64 = known.values().sum();
        assert_eq!(total, registrations as u64, "{kind}: servers of the brokers");
    }
}

/// The faulty installation, and every healthy one.
fn installations() -> Vec<(&'static str, Fixture)> {
    let mut all = healthy_kinds();
    all.push(("faulty", Fixture::faulty()));
    all
}

#[test]
fn an_archive_tells_what_the_installation_tells() {
    for (kind, fixture) in installations() {
        let source = Memory(fixture.files());
        let loaded = load::load(&source).expect("a bundle");
        assert_eq!(loaded.problems, [""; 0], "{kind}");
        assert_eq!(loaded.objects().count(), fixture.installation.objects.len(), "{kind}");
        assert_eq!(rules::analyze(&loaded), fixture.report(), "{kind}");
    }
}

#[test]
fn redaction_changes_no_finding() {
    // Every fault is a bundle of its own, so that both cores work.
    let cases: Vec<(String, Fixture)> = installations()
        .into_iter()
        .map(|(kind, fixture)| (kind.to_owned(), fixture))
        .chain(
            faults::all()
                .into_iter()
                .map(|f| (format!("{} {}", f.code, f.name), (f.apply)(Fixture::healthy()))),
        )
        .collect();
    let wrong: Vec<String> = cases
        .par_iter()
        .filter_map(|(name, fixture)| {
            let before = essence(&fixture.report());
            let files = fixture.installation.sealed(fixture.refusals(), redacted(&fixture.files()));
            let files = Memory(files);
            let report = rules::analyze(&load::for_rules(&files).expect("a bundle"));
            // What is let go for want of a rule that reads it is missed by none.
            let of_all = rules::analyze(&load::load(&files).expect("a bundle"));
            if report != of_all {
                return Some(format!("{name}: {of_all:#?}\nbecame {report:#?} with what rules read"));
            }
            let after = essence(&report);
            (before != after).then(|| format!("{name}: {before:#?}\nbecame {after:#?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a report says, without the values that redaction may shorten: codes, subjects, causes.
fn essence(report: &Report) -> Vec<String> {
    let finding = |f: &oc_mcpgw::report::Finding| {
        let objects: Vec<String> = f.objects.iter().map(ToString::to_string).collect();
        format!("{} {} {:?} {} caused by {:?}", f.id, f.code, f.severity, objects.join(", "), f.caused_by)
    };
    let unknown =
        report.unknown.iter().map(|unknown| format!("unknown {:?} {}", unknown.codes, unknown.missing));
    report.findings.iter().map(finding).chain(unknown).collect()
}

#[test]
fn refused_evidence_never_hides_a_finding_silently() {
    let cases: Vec<(String, Fixture)> = faults::all()
        .into_iter()
        .map(|f| (format!("{} {}", f.code, f.name), (f.apply)(Fixture::healthy())))
        .chain([("the demo".to_owned(), Fixture::faulty())])
        .collect();
    let wrong: Vec<String> = cases
        .par_iter()
        .flat_map_iter(|(name, fixture)| {
            let before = fixture.report();
            let bundle = fixture.bundle();
            let kinds = model::kinds::ALL.iter().filter(|kind| bundle.list(kind).next().is_some());
            let lost = kinds.flat_map(|kind| {
                // The logs are the same every time, and reading them is the larger part of the work.
                let refused = Refused { kinds: vec![(*kind, None)] };
                let without = fixture.installation.bundle_with_logs(&refused, bundle.logs().to_vec());
                let lost = match still_found(&before, &without) {
                    true => Vec::new(),
                    false => vanished(&before, &rules::analyze(&without)),
                };
                lost.into_iter()
                    .map(move |lost| format!("{name}: without {} {lost} is lost", kind.resource()))
            });
            lost.collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether the rules of the findings find every one of them here, too. Each rule reports only its own code, so
/// that no other rule has to run, and most pairs of fault and kind need no whole analysis.
fn still_found(before: &Report, bundle: &model::Bundle) -> bool {
    let context = rules::Context::new(bundle);
    let mut found = rules::Findings::default();
    let codes: BTreeSet<&str> = before.findings.iter().map(|f| f.code.as_str()).collect();
    for rule in codes.iter().filter_map(|code| rules::find(code)) {
        (rule.check)(&context, &mut found);
    }
    before.findings.iter().all(|f| {
        found
            .drafts()
            .iter()
            .any(|draft| draft.rule.code == f.code && draft.objects.first() == f.objects.first())
    })
}

/// The findings that are neither in the second report nor said to be undecided there.
fn vanished(before: &Report, after: &Report) -> Vec<String> {
    let undecided: BTreeSet<&str> = after.unknown.iter().flat_map(|u| &u.codes).map(String::as_str).collect();
    before
        .findings
        .iter()
        .filter(|f| !undecided.contains(f.code.as_str()))
        .filter(|f| {
            !after.findings.iter().any(|a| a.code == f.code && a.objects.first() == f.objects.first())
        })
        .map(|f| format!("{} on {}", f.code, f.objects.first().map_or_else(String::new, ToString::to_string)))
        .collect()
}

/// Redacts the files of an archive the way a collection does: Secrets are learned first.
fn redacted(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let redactor = Redactor::new(Options::default());
    let source = Memory(files.clone());
    let bundle = load::load(&source).expect("a bundle");
    for secret in bundle.list(&model::kinds::SECRET) {
        redactor.learn_secret(&secret.value().to_json());
    }
    files
        .iter()
        .map(|(path, content)| {
            let name = redactor.path(path);
            let mut content = content.clone();
            if path.ends_with(".yaml") {
                let mut value: Value = serde_yaml::from_slice(&content).expect("YAML");
                match value.get_mut("items").and_then(Value::as_array_mut) {
                    Some(items) => {
                        for item in items {
                            *item = redactor.object(&name, item.take()).value().clone();
                        }
                    }
                    None => value = redactor.object(&name, value).value().clone(),
                }
                content = serde_json::to_vec(&value).expect("JSON");
            } else if !path.starts_with("mcpgw/manifest") {
                content = redactor.text(&name, &content).as_bytes().to_vec();
            }
            (name.as_str().to_owned(), content)
        })
        .collect()
}

#[test]
fn a_failure_counts_until_the_broker_has_got_over_it() {
    for (hour, expected) in [("10:2", vec!["MG417"]), ("09:1", vec![])] {
        let mut fixture = Fixture::healthy();
        fixture.installation.extras.retain(|(path, _)| !path.ends_with("status.json"));
        let lines: String = (6..10)
            .map(|minute| {
                format!(
                    "time=2026-09-14T{hour}{minute}:00.1Z level=ERROR msg=\"upstream connection failure\" \
                     component=broker \"upstream mcp server\"=team-weather/weather:weather_:weather.mcp.local \
                     error=\"dial tcp 10.0.0.9:9090: connect: connection refused\" \"consecutive failures\"=9\n"
                )
            })
            .collect();
        let report = fixture.append_log("mcp-system", "mcp-gateway", "mcp-gateway", &lines).report();
        let seen: Vec<&str> = report.findings.iter().map(|f| f.code.as_str()).collect();
        assert_eq!(seen, expected, "{hour}");
    }
}

#[test]
fn a_missing_ca_certificate_is_named_and_nothing_else_is_blamed() {
    let message = "CA certificate secret weather-ca not found";
    let report = Fixture::healthy()
        .set(
            "MCPServerRegistration",
            "team-weather",
            "weather",
            "/spec/caCertSecretRef",
            serde_json::json!({"name": "weather-ca", "key": "ca.crt"}),
        )
        .status("MCPServerRegistration", "team-weather", "weather", ["Ready", "False", "NotReady", message])
        .report();
    let [finding] = report.findings.as_slice() else { panic!("{:#?}", report.findings) };
    assert_eq!((finding.code.as_str(), finding.caused_by.len()), ("MG403", 0), "{finding:#?}");
    let commands = finding.remedy.commands.join("\n");
    assert!(
        commands.contains("create secret generic weather-ca --from-file=ca.crt=\"${CA_FILE}\""),
        "{commands}"
    );
}
