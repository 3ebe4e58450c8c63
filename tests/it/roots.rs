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
        // A missing API is reported per kind.
        let code = found.first().map_or("", |root| &root[..5]);
        let same = found.len() == 1 || (code == "MG003" && found.iter().all(|root| root.starts_with(code)));
        let right = same && (!fault.root || code == fault.code);
        if !right {
            wrong.push(format!("{} ({}): {found:#?}\n{}", fault.code, fault.name, outline(&report)));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), faults::all().len(), wrong.join("\n"));
}
