//! Whole bundles: what must hold for every installation and every fault.

use oc_mcpgw::report::Severity;

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
            assert!(
                dump.contains("envoy.filters.http.ext_proc") && dump.contains("\"domains\""),
                "{kind}: {path}"
            );
        }
        let servers = installation.extras.iter().filter(|(path, _)| path.ends_with("status.json"));
        let registrations =
            installation.objects.iter().filter(|o| o["kind"] == "MCPServerRegistration").count();
        let total: u64 = servers
            .map(|(_, status)| {
                serde_json::from_slice::<serde_json::Value>(status).expect("JSON")["totalServers"]
                    .as_u64()
                    .unwrap_or(0)
            })
            .sum();
        assert_eq!(total, registrations as u64, "{kind}: servers of the brokers");
    }
}
