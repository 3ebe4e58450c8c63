//! Whole bundles: what must hold for every installation and every fault.

use oc_mcpgw::report::Severity;

use crate::fixture::Fixture;

#[test]
fn a_healthy_installation_has_no_findings() {
    let report = Fixture::healthy().report();
    let findings: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.severity != Severity::Info)
        .map(|f| format!("{} {}: {:#?}", f.code, f.title, f.evidence))
        .collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert_eq!(report.unknown, [], "everything was collected, so everything can be decided");
}
