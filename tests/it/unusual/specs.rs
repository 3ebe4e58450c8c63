//! Faults that the specs show, whatever the status and the proxies say.

use serde_json::json;

use super::{Case, healthy};
use crate::fixture::Fixture;

const BROKER: [&str; 3] = ["Service", "mcp-system", "mcp-gateway"];

/// The cases.
pub const SPECS: &[Case] = &[
    (
        "the broker's Service selects nothing",
        || super::at(healthy(), BROKER, "/spec/selector", json!({"app.kubernetes.io/name": "mcp-gatewy"})),
        &["MG410"],
    ),
    ("the broker's Service has no port for the router", || router_port(healthy()), &["MG408"]),
    (
        "the broker's Service selects nothing, and its pods were not collected",
        || {
            super::at(healthy(), BROKER, "/spec/selector", json!({"app.kubernetes.io/name": "mcp-gatewy"}))
                .uncollected(&oc_mcpgw::model::kinds::POD, Some("mcp-system"))
        },
        &["MG002"],
    ),
    ("the router's filter is for another revision, and Envoy was not asked", without_envoy, &["MG223"]),
    ("the router's filter was labelled with another revision, and Envoy still has it", canary, &["MG227"]),
    (
        "a namespace with a typo is not in the bundle",
        || {
            healthy()
                .edit("HTTPRoute", "team-commerce", "orders", |route| {
                    route["spec"]["parentRefs"][0]["namespace"] = json!("gateway-sytem");
                })
                .uncollected(&oc_mcpgw::model::kinds::GATEWAY, Some("gateway-sytem"))
        },
        &["MG212", "+MG002"],
    ),
];

fn without_envoy() -> Fixture {
    let mut fixture = canary();
    fixture.installation.extras.retain(|(path, _)| !path.starts_with("mcpgw/envoy/"));
    fixture
}

fn canary() -> Fixture {
    healthy().set(
        "EnvoyFilter",
        "gateway-system",
        "mcp-ext-proc-mcp-system-gateway",
        "/metadata/labels/istio.io~1rev",
        json!("canary"),
    )
}

#[test]
fn one_namespace_without_its_label_is_one_root() {
    let report = healthy()
        .edit("Namespace", "", "team-commerce", |namespace| {
            namespace["metadata"]["labels"] =
                json!({"kubernetes.io/metadata.name": "team-commerce", "mcp.example.com/servers": "allow"});
        })
        .report();
    let found: Vec<_> = report.findings.iter().filter(|f| f.code == "MG214").collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let routes: Vec<&str> =
        found[0].objects.iter().filter(|o| o.kind == "HTTPRoute").map(|o| o.name.as_str()).collect();
    assert_eq!(routes, ["inventory", "orders"]);
    assert_eq!(report.findings.iter().filter(|f| f.caused_by.is_empty()).count(), 1);
}

fn router_port(fixture: Fixture) -> Fixture {
    fixture.edit(BROKER[0], BROKER[1], BROKER[2], |service| {
        let ports = service["spec"]["ports"].as_array_mut().expect("ports");
        let grpc = ports.iter_mut().find(|port| port["port"] == 50051).expect("the router's port");
        grpc["port"] = json!(50052);
    })
}

#[test]
fn the_selector_of_one_application_is_not_led_to_another() {
    let report = healthy()
        .set("Service", "team-commerce", "orders", "/spec/selector", json!({"app": "order"}))
        .report();
    let finding = report.findings.iter().find(|f| f.code == "MG410").expect("MG410");
    let patch = finding.remedy.commands.iter().find(|c| c.contains("patch")).expect("a patch");
    assert!(patch.contains(r#""app":"orders""#) && !patch.contains("inventory"), "{patch}");
    // Nothing tells which of the others is meant.
    let report = healthy()
        .set("Service", "team-commerce", "orders", "/spec/selector", json!({"tier": "backend"}))
        .report();
    let finding = report.findings.iter().find(|f| f.code == "MG410").expect("MG410");
    assert!(!finding.remedy.text.contains("inventory"), "{}", finding.remedy.text);
}
