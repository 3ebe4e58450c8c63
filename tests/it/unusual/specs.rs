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

#[test]
fn a_namespace_with_a_typo_gets_no_grant() {
    let report = healthy()
        .edit("HTTPRoute", "team-commerce", "orders", |route| {
            route["spec"]["rules"][0]["backendRefs"][0]["namespace"] = json!("team-comerce");
        })
        .report();
    let finding = report.findings.iter().find(|f| f.code == "MG216").expect("MG216");
    let commands = finding.remedy.commands.join("\n");
    assert!(
        !commands.contains("ReferenceGrant") && commands.contains("backendRefs/0/namespace"),
        "{commands}"
    );
    assert!(finding.remedy.text.contains("team-commerce"), "{}", finding.remedy.text);
}

#[test]
fn expressions_of_a_policy_that_is_attached_to_nothing_are_hidden_behind_that() {
    let report = healthy()
        .set("AuthPolicy", "gateway-system", "mcp-tool-access", "/spec/targetRef/sectionName", json!("mcp-s"))
        .edit("AuthPolicy", "gateway-system", "mcp-tool-access", |policy| {
            let text = policy
                .to_string()
                .replace("auth.identity.resource_access.exists", "auth.identity..resource_access.exists");
            *policy = serde_json::from_str(&text).expect("JSON");
        })
        .report();
    let id = |code: &str| report.findings.iter().find(|f| f.code == code).map(|f| f.id.clone());
    let syntax = report.findings.iter().find(|f| f.code == "MG806").expect("MG806");
    assert_eq!(syntax.hidden_behind, id("MG803").into_iter().collect::<Vec<_>>());
    let stale = report.findings.iter().find(|f| f.code == "MG217").expect("MG217");
    assert_eq!(stale.caused_by, id("MG803").into_iter().collect::<Vec<_>>());
}

#[test]
fn a_policy_on_the_way_to_servers_that_leads_clients_elsewhere_is_found() {
    let other =
        "Bearer resource_metadata=http://other.example.com:8080/.well-known/oauth-protected-resource/mcp";
    let report = healthy()
        .set(
            "AuthPolicy",
            "gateway-system",
            "mcp-tool-access",
            "/spec/rules/response/unauthenticated",
            json!({"headers": {"WWW-Authenticate": {"value": other}}}),
        )
        .report();
    let found: Vec<&str> = report.findings.iter().map(|f| f.code.as_str()).collect();
    assert!(found.contains(&"MG710"), "{found:?}");
}

#[test]
fn a_policy_is_judged_before_the_controller_has_written_the_route() {
    let report = healthy()
        .remove("ReferenceGrant", "gateway-system", "allow-mcp-system")
        .remove("HTTPRoute", "mcp-system", "mcp-gateway-route")
        .set("AuthPolicy", "gateway-system", "mcp-authentication", "/spec/defaults/when", json!(null))
        .report();
    let id = |code: &str| report.findings.iter().find(|f| f.code == code).map(|f| f.id.clone());
    let protected = report.findings.iter().find(|f| f.code == "MG702").expect("MG702");
    assert_eq!(protected.hidden_behind, id("MG303").into_iter().collect::<Vec<_>>());
    assert!(protected.caused_by.is_empty(), "{protected:#?}");
}

#[test]
fn a_registered_route_without_any_gateway_is_found_before_a_status_says_so() {
    for (parents, patch) in [
        (
            json!([{"kind": "Gatway", "name": "mcp-gateway", "namespace": "gateway-system"}]),
            "/spec/parentRefs/0/kind",
        ),
        (json!(null), "parentRefs"),
    ] {
        let report = healthy()
            .set("HTTPRoute", "team-weather", "weather", "/spec/parentRefs", parents)
            .set("HTTPRoute", "team-weather", "weather", "/status", json!(null))
            .set("MCPServerRegistration", "team-weather", "weather", "/status", json!(null))
            .report();
        let finding = report.findings.iter().find(|f| f.code == "MG212").expect("MG212");
        assert!(finding.remedy.commands[0].contains(patch), "{finding:#?}");
        let roots: Vec<&str> =
            report.findings.iter().filter(|f| f.caused_by.is_empty()).map(|f| f.code.as_str()).collect();
        assert_eq!(roots, ["MG212"], "{report:#?}");
    }
}
