//! Roots and consequences: what the causal graph makes of faults, alone and together.

use oc_mcpgw::report::{Finding, Report};

use crate::faults;
use crate::fixture::Fixture;

/// The roots of a report as `CODE subject`.
fn roots(report: &Report) -> Vec<String> {
    let roots = report.findings.iter().filter(|f| f.caused_by.is_empty());
    roots.map(line).collect()
}

fn line(finding: &Finding) -> String {
    format!("{} {}", finding.code, finding.objects[0])
}

/// The whole report in short, for messages of failing tests.
fn outline(report: &Report) -> String {
    let lines = report.findings.iter().map(|f| {
        format!("  {} {} by {:?} hidden {:?}: {}", f.id, line(f), f.caused_by, f.hidden_behind, f.title)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_faulty_installation_has_its_three_roots() {
    let report = Fixture::faulty().report();
    let mut found = roots(&report);
    found.sort();
    let expected = [
        "MG101 Deployment mcp-system/mcp-gateway",
        "MG213 HTTPRoute team-weather/weather",
        "MG602 MCPServerRegistration team-commerce/orders",
    ];
    assert_eq!(found, expected, "{}", outline(&report));
    let hidden = report.findings.iter().find(|f| f.code == "MG602").expect("found above");
    assert!(!hidden.hidden_behind.is_empty(), "{}", outline(&report));
}

/// One fault is one root, whatever follows from it.
#[test]
fn every_fault_is_one_root() {
    let mut wrong = Vec::new();
    for fault in faults::all() {
        let report = (fault.apply)(Fixture::healthy()).report();
        let found = roots(&report);
        // One fault may show on several objects: a missing API per kind, a closed way per port.
        let code = found.first().map_or("", |root| &root[..5]);
        let same = !found.is_empty() && found.iter().all(|root| root.starts_with(code));
        let right = same && (!fault.root || code == fault.code);
        if !right {
            wrong.push(format!("{} ({}): {found:#?}\n{}", fault.code, fault.name, outline(&report)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), faults::all().len(), wrong.join("\n"));
}

/// A fault at which the broker's only server is the reason that everything on the port fails.
fn only_server_down() -> Fixture {
    let mut fixture = Fixture::healthy();
    for (namespace, name) in
        [("team-commerce", "orders"), ("team-commerce", "inventory"), ("team-platform", "tickets")]
    {
        fixture =
            fixture.remove("MCPServerRegistration", namespace, name).remove("HTTPRoute", namespace, name);
    }
    let config = "servers:\n- name: team-weather/weather\n  url: http://weather.team-weather.svc.cluster.local:8080/mcp\n  \
                  hostname: weather.mcp.local\n  prefix: weather_\n  state: Enabled\n";
    let fixture = fixture
        .config("mcp-system", config)
        .remove("MCPVirtualServer", "mcp-system", "shop-assistant")
        .refresh_answers()
        .pod_waits("team-weather", "weather", "ImagePullBackOff", "Back-off pulling image")
        .pod_not_ready("mcp-system", "mcp-gateway");
    let fixture =
        faults::broker_fails(fixture, "team-weather/weather", "dial tcp: connect: connection refused");
    let fixture = fixture.status(
        "MCPGatewayExtension",
        "mcp-system",
        "mcp-gateway",
        ["Ready", "False", "DeploymentNotReady", "broker-router deployment is not ready"],
    );
    fixture.status(
        "MCPServerRegistration",
        "team-weather",
        "weather",
        ["Ready", "False", "NotReady", "no valid mcpgatewayextensions configured"],
    )
}

#[test]
fn one_dead_server_explains_the_dead_port() {
    let report = only_server_down().report();
    let found = roots(&report);
    assert_eq!(found, ["MG101 Deployment team-weather/weather"], "{}", outline(&report));
    for code in ["MG312", "MG403", "MG417"] {
        assert!(report.findings.iter().any(|f| f.code == code), "{code} is missing\n{}", outline(&report));
    }
}

/// Pairs of faults of this analysis: each fault's root must be found also beside another's, and no
/// root that neither has alone. Faults that touch the same thing may hide or become each other.
#[test]
fn pairs_of_faults_keep_their_roots() {
    let all = faults::all();
    let alone: Vec<Vec<String>> =
        all.iter().map(|fault| roots(&(fault.apply)(Fixture::healthy()).report())).collect();
    let (mut expected, mut found, mut right, mut pairs) = (0usize, 0usize, 0usize, 0usize);
    let mut missed = std::collections::BTreeMap::<String, usize>::new();
    for step in [7usize, 61] {
        for (first, one) in all.iter().enumerate() {
            let second = (first * 3 + step) % all.len();
            let applied = std::panic::catch_unwind(|| (all[second].apply)((one.apply)(Fixture::healthy())));
            // A fault that removes what the other changes cannot be combined with it.
            let Ok(fixture) = applied else { continue };
            let together = roots(&fixture.report());
            let mut wanted: Vec<&String> = alone[first].iter().chain(&alone[second]).collect();
            wanted.sort();
            wanted.dedup();
            pairs += 1;
            expected += wanted.len();
            found += together.len();
            right += wanted.iter().filter(|w| together.contains(w)).count();
            for lost in wanted.into_iter().filter(|w| !together.contains(w)) {
                *missed.entry(format!("{lost} ({} with {})", one.code, all[second].code)).or_default() += 1;
            }
        }
    }
    let percent = |part: usize, whole: usize| part * 100 / whole.max(1);
    let (recall, precision) = (percent(right, expected), percent(right, found));
    println!(
        "{pairs} pairs: recall of roots {recall} %, precision {precision} % ({right} of {expected}, {found} found)"
    );
    println!("{missed:#?}");
    assert!(
        pairs > 200 && recall >= 85 && precision >= 85,
        "{pairs} pairs: {recall} %, {precision} %: {missed:#?}"
    );
}
