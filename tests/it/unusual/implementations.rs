//! Corners in which Istio, the MCP controller and the Gateway API read the same objects each in its own way.

use serde_json::{Value, json};

use super::data_plane::listener;
use super::{Case, EXTENSION, GATEWAY, at, healthy};
use crate::faults::{self, extension_not_ready, registrations_not_ready};
use crate::fixture::Fixture;

const BROKER_ROUTE: [&str; 3] = ["HTTPRoute", "mcp-system", "mcp-gateway-route"];
const ENTRY: [&str; 3] = ["ServiceEntry", "team-platform", "tickets-vendor"];

/// The cases.
pub const IMPLEMENTATIONS: &[Case] = &[
    (
        "a backend without weight need not exist",
        || backend(json!({"name": "canary", "port": 80, "weight": 0})),
        &[],
    ),
    (
        "a server is taken out by its registration and by the weight of its backend",
        || {
            healthy()
                .set("MCPServerRegistration", "team-weather", "weather", "/spec/state", json!("Disabled"))
                .status(
                    "MCPServerRegistration",
                    "team-weather",
                    "weather",
                    ["Ready", "False", "Disabled", "server is disabled"],
                )
                .set("HTTPRoute", "team-weather", "weather", "/spec/rules/0/backendRefs/0/weight", json!(0))
        },
        &[],
    ),
    (
        "a backend that gets copies only does not exist",
        || mirror(json!({"name": "shadow", "port": 80}), "BackendNotFound"),
        &["MG215", "MG211"],
    ),
    (
        "a backend that gets copies only is not granted",
        || mirror(json!({"name": "weather", "namespace": "team-weather", "port": 8080}), "RefNotPermitted"),
        &["MG216", "MG211"],
    ),
    ("one backend is of an unknown kind, another is missing", kind_and_missing, &["MG211", "+MG215"]),
    ("a route is on a listener that gives way to another", on_refused_listener, &["MG207", "MG217"]),
    ("a listener only holds the place of those of ListenerSets", place_holder, &[]),
    ("a listener wants a selector and has none", no_selector, &["MG308", "MG311", "MG403"]),
    ("a kind is refused, whatever the labels of the namespace", kind_refused, &["MG214", "+MG002", "MG217"]),
    ("the public host has a path", host_with_path, &["MG307", "MG311", "MG403"]),
    (
        "the host of an external server has a namespace",
        || {
            let pointer = "/spec/rules/0/backendRefs/0/namespace";
            let fixture =
                healthy().set("HTTPRoute", "team-platform", "tickets", pointer, json!("team-platform"));
            let why = [
                "ResolvedRefs",
                "False",
                "InvalidDestination",
                "namespace may not be set with Hostname type",
            ];
            fixture.route_status("team-platform", "tickets", why)
        },
        &["MG507", "MG211"],
    ),
    ("the ServiceEntry is in the Gateway's namespace, not the route's", entry_elsewhere, &["MG503", "MG211"]),
    (
        "a proxy is down, and a listener has a protocol that nobody supports",
        || {
            let fixture = faults::named("MG205", "a listener of an unsupported protocol", healthy());
            faults::named("MG208", "the proxy's Service selects nothing", fixture)
        },
        &["MG205", "+MG208"],
    ),
];

fn backend(backend: Value) -> Fixture {
    healthy().edit(BROKER_ROUTE[0], BROKER_ROUTE[1], BROKER_ROUTE[2], |route| {
        route["spec"]["rules"][0]["backendRefs"].as_array_mut().expect("backends").push(backend);
    })
}

fn unresolved(fixture: Fixture, reason: &'static str) -> Fixture {
    let why = ["ResolvedRefs", "False", reason, "a reference of the route"];
    fixture.route_status(BROKER_ROUTE[1], BROKER_ROUTE[2], why)
}

fn mirror(backend: Value, reason: &'static str) -> Fixture {
    let fixture = healthy().edit(BROKER_ROUTE[0], BROKER_ROUTE[1], BROKER_ROUTE[2], |route| {
        let filter = json!({"type": "RequestMirror", "requestMirror": {"backendRef": backend}});
        route["spec"]["rules"][0]["filters"].as_array_mut().expect("filters").push(filter);
    });
    unresolved(fixture, reason)
}

fn kind_and_missing() -> Fixture {
    let fixture = backend(json!({"group": "cache.example", "kind": "Cache", "name": "answers"})).edit(
        BROKER_ROUTE[0],
        BROKER_ROUTE[1],
        BROKER_ROUTE[2],
        |route| route["spec"]["rules"][2]["backendRefs"][0]["name"] = json!("mcp-gatewy"),
    );
    unresolved(fixture, "InvalidKind")
}

/// The second listener for a host is refused, and Istio writes no status for what is only on it.
fn on_refused_listener() -> Fixture {
    listener(healthy(), "again", 8080, "HTTP", &json!({"hostname": "mcp.example.com"})).edit(
        BROKER_ROUTE[0],
        BROKER_ROUTE[1],
        BROKER_ROUTE[2],
        |route| {
            let mut parent = route["spec"]["parentRefs"][0].clone();
            parent["sectionName"] = json!("again");
            route["spec"]["parentRefs"].as_array_mut().expect("parents").push(parent);
        },
    )
}

fn place_holder() -> Fixture {
    at(
        listener(healthy(), "sets", 443, "HTTPS", &json!({})),
        GATEWAY,
        "/spec/allowedListeners",
        json!({"namespaces": {"from": "All"}}),
    )
}

fn refused(fixture: Fixture, message: &'static str) -> Fixture {
    let fixture = extension_not_ready(fixture, "Invalid", message);
    registrations_not_ready(fixture, "no valid mcpgatewayextensions configured")
}

fn no_selector() -> Fixture {
    let fixture = at(
        healthy(),
        GATEWAY,
        "/spec/listeners/0/allowedRoutes",
        json!({"namespaces": {"from": "Selector"}}),
    );
    refused(
        fixture,
        "listener \"mcp\" on gateway gateway-system/mcp-gateway does not allow routes from namespace \"mcp-system\"",
    )
}

fn kind_refused() -> Fixture {
    at(healthy(), GATEWAY, "/spec/listeners/1/allowedRoutes/kinds", json!([{"kind": "GRPCRoute"}]))
        .uncollected(&oc_mcpgw::model::kinds::NAMESPACE, None)
}

fn host_with_path() -> Fixture {
    let fixture = at(healthy(), EXTENSION, "/spec/publicHost", json!("mcp.example.com/mcp"));
    refused(fixture, "invalid public host \"mcp.example.com/mcp\"")
}

fn entry_elsewhere() -> Fixture {
    let move_it = |object: &mut Value| object["metadata"]["namespace"] = json!("gateway-system");
    let fixture = healthy().edit(ENTRY[0], ENTRY[1], ENTRY[2], move_it).edit(
        "DestinationRule",
        ENTRY[1],
        ENTRY[2],
        move_it,
    );
    let why = ["ResolvedRefs", "False", "BackendNotFound", "backend(tickets.vendor.example) not found"];
    fixture.route_status("team-platform", "tickets", why)
}

#[test]
fn a_gateway_that_has_not_accepted_a_route_does_not_count() {
    let fixture = healthy()
        .add(
            r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: inside, namespace: gateway-system, generation: 1, creationTimestamp: "2026-08-20T08:45:00Z"}
spec:
  gatewayClassName: istio
  listeners: [{name: inside, port: 8081, protocol: HTTP, hostname: inside.example.com, allowedRoutes: {namespaces: {from: All}}}]
"#,
        )
        .edit("HTTPRoute", "team-weather", "weather", |route| {
            let parent = json!({"name": "inside", "namespace": "gateway-system"});
            route["spec"]["parentRefs"].as_array_mut().expect("parents").push(parent);
        });
    let report = fixture.report();
    let about: Vec<&str> = report.findings.iter().map(|f| f.code.as_str()).collect();
    assert!(about.contains(&"MG213"), "the hostnames do not meet: {about:?}");
    assert!(!about.contains(&"MG311") && !about.contains(&"MG403"), "{about:?}");
}

#[test]
fn istiod_that_ignores_selectors_is_told_to_heed_them() {
    let filters = |filters: &mut Vec<Value>| filters.retain(|f| !f.to_string().contains("outbound|50051|"));
    let report = faults::edit_filters(healthy(), filters)
        .edit("Deployment", "istio-system", "istiod", |istiod| {
            let container = &mut istiod["spec"]["template"]["spec"]["containers"][0];
            let variable = json!({"name": "ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY", "value": "false"});
            container["env"].as_array_mut().expect("env").push(variable);
        })
        .report();
    let finding = report.findings.iter().find(|f| f.code == "MG223").expect("MG223");
    assert!(finding.title.contains("ignores the selectors"), "{}", finding.title);
    let command = "oc -n istio-system set env deployment/istiod ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY-";
    assert!(finding.remedy.commands.iter().any(|c| c == command), "{:?}", finding.remedy.commands);
}
