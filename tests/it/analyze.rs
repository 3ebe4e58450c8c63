//! `analyze` as a person runs it: the real program over directories, archives and standard input.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::cli::program;
use crate::fixture::Fixture;

/// The forms of a report.
const FORMS: &[&str] = &["text", "json", "yaml", "markdown", "html", "sarif", "junit"];

fn faulty() -> Fixture {
    Fixture::healthy()
        .pod_waits("mcp-system", "mcp-gateway", "ImagePullBackOff", "unauthorized: authentication required")
        .set(
            "HTTPRoute",
            "team-weather",
            "weather",
            "/spec/hostnames",
            serde_json::json!(["weather.example.com"]),
        )
}

fn every_code() -> String {
    oc_mcpgw::rules::all().iter().map(|rule| rule.code).collect::<Vec<_>>().join(",")
}

fn analyze(bundle: &Path, arguments: &[&str]) -> Output {
    program().arg("analyze").arg(bundle).args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn codes(output: &Output) -> Vec<String> {
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().filter_map(|finding| finding["code"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_healthy_installation_ends_with_zero_and_says_what_was_looked_at() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = Fixture::healthy().write_dir(directory.path());
    let output = analyze(&bundle, &[]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(" rules found nothing wrong"), "{text}");
    assert!(text.contains("\nCOVERAGE\n  read "), "{text}");
}

#[test]
fn fail_on_decides_the_exit_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = faulty().write_dir(directory.path());
    for (arguments, expected) in [
        (&[][..], 1),
        (&["--fail-on", "error"], 1),
        (&["--fail-on", "warning"], 1),
        (&["--fail-on", "never"], 0),
        (&["--only", "MG002"], 0),
        (&["--only", "MG101"], 1),
        (&["--ignore", every_code().as_str()], 0),
    ] {
        for form in FORMS {
            let output = analyze(&bundle, &[arguments, &["-o", form]].concat());
            assert_eq!(output.status.code(), Some(expected), "{arguments:?} as {form}");
        }
    }
}

#[test]
fn findings_are_chosen_by_code_object_and_severity() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = faulty().write_dir(directory.path());
    let all = codes(&analyze(&bundle, &["-o", "json"]));
    assert!(all.iter().any(|code| code == "MG101") && all.iter().any(|code| code == "MG213"), "{all:?}");

    let only = codes(&analyze(&bundle, &["-o", "json", "--only", "mg2,image-pull"]));
    assert!(only.iter().all(|code| code.starts_with("MG2") || code == "MG101"), "{only:?}");
    assert!(only.len() < all.len() && only.iter().any(|code| code == "MG101"), "{only:?}");

    let there = codes(&analyze(&bundle, &["-o", "json", "--ignore", "MG213@team-weather/weather"]));
    assert!(there.iter().all(|code| code != "MG213"), "{there:?}");
    let elsewhere = codes(&analyze(&bundle, &["-o", "json", "--ignore", "MG213@team-weather/other"]));
    assert_eq!(elsewhere, all);

    let text = stdout(&analyze(&bundle, &["--ignore", "MG213"]));
    assert!(text.contains("CAUSE NOT SHOWN"), "consequences of an ignored root do not vanish:\n{text}");

    let severe: Value =
        serde_json::from_slice(&analyze(&bundle, &["-o", "json", "--severity", "error"]).stdout)
            .expect("a report");
    let findings = severe["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|finding| finding["severity"] == "error"));
    assert_eq!(severe["summary"]["errors"], findings.len());
    assert_eq!(severe["summary"]["warnings"], 0);
}

/// Where a part was asked for, nothing is said of the whole, and an open question is no good news.
#[test]
fn nothing_found_is_said_of_what_was_asked_for_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = faulty().write_dir(directory.path());
    let other = tempfile::tempdir().expect("a directory");
    let refused = crate::faults::named("MG001", "the policies were not collected", Fixture::healthy());
    let refused = refused.write_dir(other.path());
    let suppressed =
        format!("ok: {} rules found nothing that is not suppressed", oc_mcpgw::rules::all().len());
    for (bundle, arguments, expected) in [
        (&bundle, &["--only", "MG7"][..], "ok: Nothing found; only MG7 was asked for"),
        (
            &bundle,
            &["--only", "MG7,MG8", "--severity", "error"],
            "ok: Nothing found; only errors of MG7, MG8 were asked for",
        ),
        (&refused, &["--only", "MG711"], "Nothing found, but not decided either: only MG711 was asked for"),
        (&bundle, &["--ignore", "MG"], &suppressed),
    ] {
        let text = stdout(&analyze(bundle, arguments)).replace('\u{2713}', "ok:");
        let verdict = text.lines().nth(3).unwrap_or_default();
        assert!(verdict.starts_with(expected), "{arguments:?}: {text}");
    }
}

#[test]
fn a_report_goes_to_a_file_whole_or_not_at_all() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = faulty().write_dir(directory.path());
    let file = directory.path().join("report.html");
    for _ in 0..2 {
        let output = analyze(
            &bundle,
            &["-o", "html", "--output-file", file.to_str().expect("text"), "--fail-on", "never"],
        );
        assert_eq!(stdout(&output), "");
        let page = std::fs::read_to_string(&file).expect("a file");
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "the whole page");
    }
    let missing = directory.path().join("no/such/directory/report.json");
    let output = analyze(&bundle, &["--output-file", missing.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("error: cannot write ") && said.contains("  hint: "), "{said}");
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().starts_with(".mcpgw"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_form_is_the_same_bytes_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    // A secret in it is replaced by a placeholder, whose key must not show.
    let bundle = faulty()
        .pod_waits("mcp-system", "mcp-gateway", "ImagePullBackOff", "denied: password=Zq8-canary-7WpL2xVt")
        .write_dir(directory.path());
    for form in FORMS {
        let first = stdout(&analyze(&bundle, &["-o", form]));
        let second = stdout(&analyze(&bundle, &["-o", form]));
        let differs = first.lines().zip(second.lines()).find(|(a, b)| a != b);
        assert!(first == second, "{form} differs: {differs:?}");
        assert!(first.ends_with('\n') || *form == "html", "{form} ends with a line break");
    }
}

#[test]
fn standard_input_is_a_bundle_too() {
    let fixture = faulty();
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = fixture.write_dir(directory.path());
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all("bundle", &bundle).expect("an archive");
    let archive = archive.into_inner().expect("an archive");
    let output =
        program().args(["analyze", "-", "-o", "json"]).write_stdin(archive).output().expect("it starts");
    assert_eq!(codes(&output), codes(&analyze(&bundle, &["-o", "json"])));
}

#[test]
fn what_is_broken_in_a_bundle_is_said_and_the_rest_is_analyzed() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = faulty().write_dir(directory.path());
    let route = bundle.join("namespaces/team-commerce/gateway.networking.k8s.io/httproutes/orders.yaml");
    std::fs::write(&route, "apiVersion: v1\nkind: [unclosed\n  x: {").expect("a file");
    let output = analyze(&bundle, &[]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("MG101"), "the rest is analyzed:\n{text}");
    assert!(text.contains("httproutes/orders.yaml"), "what is broken is named:\n{text}");
}

/// Evidence of a bundle that nobody has redacted: nothing secret may be repeated in any form.
#[test]
fn a_foreign_bundle_does_not_leak_through_the_report() {
    let canary = "Zq8-canary-7WpL2xVt";
    let bearer = format!("Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.{canary}");
    let directory = tempfile::tempdir().expect("a directory");
    let message =
        format!("unauthorized: {bearer}; https://admin:{canary}@registry.example.com/v2; password={canary}");
    let bundle = faulty()
        .pod_waits("mcp-system", "mcp-gateway", "ImagePullBackOff", &message)
        .add(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: foreign, namespace: mcp-system}}\nstringData: {{token: {canary}}}\n"
        ))
        .log("mcp-system", "mcp-gateway", "mcp-gateway", true, &format!("panic: cannot use token {canary}\n"))
        .write_dir(directory.path());
    for form in FORMS {
        let text = stdout(&analyze(&bundle, &["-o", form, "--fail-on", "never"]));
        assert!(!text.contains(canary), "the {form} form leaks:\n{text}");
        assert!(text.contains("MG101"), "{form}");
    }
}

/// The fixtures' own evidence holds no secret outside Secrets, so that the gate must leave every
/// title and every command as the rule wrote it.
#[test]
fn the_gate_leaves_our_own_words_alone() {
    let mut wrong = Vec::new();
    let redactor = oc_mcpgw::redact::Redactor::new(oc_mcpgw::redact::Options::default());
    for fault in crate::faults::all() {
        let report = (fault.apply)(Fixture::healthy()).report();
        let redacted = redactor.report(report.clone());
        for (before, after) in report.findings.iter().zip(&redacted.findings) {
            if (&before.title, &before.remedy) != (&after.title, &after.remedy) {
                wrong.push(format!("{} ({}): {} {:#?}", before.code, fault.name, after.title, after.remedy));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn suppressions_have_a_reason_and_an_end_and_are_told_when_they_are_of_no_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = faulty().write_dir(directory.path());
    let file = directory.path().join("suppressions.yaml");
    std::fs::write(
        &file,
        "suppressions:\n\
         - {code: MG213, object: team-weather/weather, reason: moved next week, expires: 2099-12-31}\n\
         - {code: MG101, reason: an old story, expires: 2020-01-31}\n\
         - {code: MG601, object: Secret a/b, reason: never seen}\n",
    )
    .expect("a file");
    let suppress = ["--suppress", file.to_str().expect("text")];
    let output = analyze(&bundle, &[&suppress[..], &["-o", "json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let found = codes(&output);
    assert!(
        !found.iter().any(|code| code == "MG213") && found.iter().any(|code| code == "MG101"),
        "{found:?}"
    );
    let states: Vec<_> =
        report["suppressions"].as_array().expect("a list").iter().map(|s| &s["state"]).collect();
    assert_eq!(states, ["applied", "expired", "unused"]);
    let text = stdout(&analyze(&bundle, &suppress));
    for line in [
        "1 left out: MG213 on team-weather/weather until 2099-12-31 (moved next week)",
        "expired, 1 shown again: MG101 until 2020-01-31 (an old story)",
        "unused, remove it: MG601 on Secret a/b (never seen)",
        "1 suppressed",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    for form in FORMS {
        let text = stdout(&analyze(&bundle, &[&suppress[..], &["-o", form]].concat()));
        assert!(text.contains("never seen"), "the {form} form does not tell the unused suppression");
    }

    std::fs::write(&file, "suppressions:\n- {code: MG213, until: 2099}\n").expect("a file");
    let output = analyze(&bundle, &suppress);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("error: ") && said.contains("suppressions.yaml") && said.contains("until"),
        "{said}"
    );
}

#[test]
fn timings_go_to_standard_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = Fixture::healthy().write_dir(directory.path());
    let output = analyze(&bundle, &["--timings", "-o", "json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let phases: Vec<&str> = said.lines().filter_map(|line| line.split("  ").next()).collect();
    let (phases, rules) = phases.split_at_checked(9).expect("nine phases");
    assert_eq!(
        phases,
        ["open", "load", "learn secrets", "rules", "locate", "redact", "render", "write", "all"],
        "{said}"
    );
    assert!(rules.len() == 5 && rules.iter().all(|line| line.starts_with("rule MG")), "{said}");
    assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok());
}

#[test]
fn manifests_are_judged_by_what_they_say_not_by_what_no_controller_wrote_yet() {
    let directory = tempfile::tempdir().expect("a directory");
    let manifests = concat!(
        "# what somebody is about to apply\n---\n",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: web\n  namespace: edge\n",
        "spec:\n  gatewayClassName: istio\n  listeners:\n",
        "  - {name: mcp, port: 8080, protocol: HTTP, hostname: mcp.example.com}\n---\n",
        "apiVersion: mcp.kuadrant.io/v1\nkind: MCPGatewayExtension\nmetadata: {name: mcp, namespace: edge}\n",
        "spec:\n  targetRef:\n    name: web\n    namespace: edge\n    sectionName: mpc\n---\n",
        "apiVersion: mcp.kuadrant.io/v1\nkind: MCPGatewayExtension\nmetadata: {name: nowhere}\n",
        "spec: {targetRef: {name: web, sectionName: mcp}}\n",
    );
    std::fs::write(directory.path().join("manifests.yaml"), manifests).expect("a file");
    let output = analyze(directory.path(), &["-o", "json", "--fail-on", "never"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let mut seen = codes(&output);
    seen.sort();
    assert_eq!(seen, ["MG002", "MG306"], "{report:#}");
    let said = report.to_string();
    assert!(said.contains("nowhere names no namespace and was left out"), "{said}");
    let section = report["findings"].as_array().and_then(|f| f.iter().find(|f| f["code"] == "MG306"));
    let evidence = &section.expect("the section")["evidence"][0];
    assert_eq!(
        (evidence["line"].as_u64(), evidence["value"].as_str()),
        (Some(20), Some("mpc")),
        "{evidence}"
    );
}

/// The whole report as a person sees it, of an installation that is well, of the demo, and of one in which much is
/// broken at once. Read a difference as a user would.
#[test]
fn whole_reports() {
    let broken = Fixture::faulty()
        .remove("ReferenceGrant", "gateway-system", "allow-mcp-system")
        .set(
            "Service",
            "team-commerce",
            "inventory",
            "/spec/selector",
            serde_json::json!({"app": "inventroy"}),
        )
        .set(
            "AuthPolicy",
            "gateway-system",
            "mcp-authentication",
            "/spec/defaults/when",
            serde_json::json!(null),
        )
        .remove("DestinationRule", "team-platform", "tickets-vendor")
        .uncollected(&oc_mcpgw::model::kinds::NETWORK_POLICY, None);
    for (name, fixture) in [("healthy", Fixture::healthy()), ("demo", Fixture::faulty()), ("broken", broken)]
    {
        let directory = tempfile::tempdir().expect("a directory");
        let bundle = fixture.write_dir(directory.path());
        let text = stdout(&analyze(&bundle, &["--color", "never"]));
        let place = directory.path().to_string_lossy().into_owned();
        let text = text.replace(&place, "DIRECTORY").replace(env!("CARGO_PKG_VERSION"), "VERSION");
        insta::assert_snapshot!(format!("report_{name}"), text);
    }
}
