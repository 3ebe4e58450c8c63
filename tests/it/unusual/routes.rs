//! Corners of routes: those that share a host, and those that clients and calls arrive at.

use serde_json::{Value, json};

use super::{Case, EXTENSION, at, healthy};
use crate::fixture::Fixture;

/// Routes for the hosts of clients and servers.
pub const ROUTES: &[Case] = &[
    (
        "a younger route sends to the same place",
        || with(&route("weather-2", SERVER, "/mcp", "weather:8080")),
        &[],
    ),
    (
        "a younger route sends elsewhere",
        || with(&route("weather-2", SERVER, "/mcp", "other:8080")),
        &["MG234", "+MG215"],
    ),
    (
        "a route for another path of a server's host",
        || with(&route("docs", SERVER, "/docs", "weather:8080")),
        &["MG230"],
    ),
    ("the route of one's own beside the one that was left", left_behind, &["MG234"]),
    ("a route of one's own that takes everything", || own("/"), &[]),
    ("a route of one's own that does not take /mcp", || own("/.well-known"), &["MG316"]),
    (
        "the controller's route lost its first rule",
        || {
            healthy()
                .edit("HTTPRoute", "mcp-system", "mcp-gateway-route", |route| {
                    route["spec"]["rules"].as_array_mut().expect("rules").remove(0);
                })
                .refresh_answers()
        },
        &["MG316"],
    ),
    (
        "a server's route takes one path only",
        || matching(json!([{"path": {"type": "Exact", "value": "/mcp"}}])),
        &[],
    ),
    ("a server's route takes everything", || matching(Value::Null), &[]),
    (
        "a server's route takes an expression",
        || matching(json!([{"path": {"type": "RegularExpression", "value": "/m.p"}}])),
        &[],
    ),
    ("a server's route takes GET only", || matching(json!([{"method": "GET"}])), &["MG424"]),
    ("another route of the host takes the server's path", other_route, &[]),
];

/// A host of a server, and its namespace.
const SERVER: [&str; 3] = ["team-weather", "weather.mcp.local", "mcps"];
/// The host of clients, and the namespace of the broker.
const CLIENTS: [&str; 3] = ["mcp-system", "mcp.example.com", "mcp"];

/// A route that is younger than all others, and accepted.
fn route(name: &str, [namespace, host, section]: [&str; 3], path: &str, backend: &str) -> String {
    let (service, port) = backend.split_once(':').expect("a Service and its port");
    let since = "2026-09-01T10:00:00Z";
    let parent = format!(
        "{{group: gateway.networking.k8s.io, kind: Gateway, name: mcp-gateway, namespace: gateway-system, sectionName: {section}}}"
    );
    let condition = |kind: &str| {
        format!(
            "{{type: {kind}, status: \"True\", reason: {kind}, message: \"\", observedGeneration: 1, lastTransitionTime: \"{since}\"}}"
        )
    };
    format!(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}, generation: 1, creationTimestamp: "{since}"}}
spec:
  hostnames: [{host}]
  parentRefs: [{parent}]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]
    backendRefs: [{{group: "", kind: Service, name: {service}, port: {port}, weight: 1}}]
status:
  parents:
  - controllerName: istio.io/gateway-controller
    parentRef: {parent}
    conditions: [{}, {}]
"#,
        condition("Accepted"),
        condition("ResolvedRefs")
    )
}

fn with(manifest: &str) -> Fixture {
    healthy().add(manifest).refresh_answers()
}

/// The controller no longer writes its route, and the one of before is still there.
fn left_behind() -> Fixture {
    at(healthy(), EXTENSION, "/spec/httpRouteManagement", json!("Disabled"))
        .add(&route("own", CLIENTS, "/mcp", "mcp-gateway:8080"))
        .refresh_answers()
}

fn own(path: &str) -> Fixture {
    left_behind()
        .remove("HTTPRoute", "mcp-system", "mcp-gateway-route")
        .set("HTTPRoute", "mcp-system", "own", "/spec/rules/0/matches/0/path/value", json!(path))
        .refresh_answers()
}

fn matching(matches: Value) -> Fixture {
    healthy().set("HTTPRoute", "team-weather", "weather", "/spec/rules/0/matches", matches).refresh_answers()
}

/// The server is at a path of its own, for which there is a second route.
fn other_route() -> Fixture {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let fixture = with(&route("weather-2", SERVER, "/v2", "weather:8080"));
    let secret = fixture.installation.get("Secret", "mcp-system", "mcp-gateway-config").expect("a config");
    let bytes = engine.decode(secret["data"]["config.yaml"].as_str().expect("data")).expect("base64");
    let before = String::from_utf8(bytes).expect("text");
    let after = before
        .replace("team-weather.svc.cluster.local:8080/mcp", "team-weather.svc.cluster.local:8080/v2/mcp");
    assert_ne!(before, after, "the configuration has the server");
    fixture
        .config("mcp-system", &after)
        .set("MCPServerRegistration", "team-weather", "weather", "/spec/path", json!("/v2/mcp"))
        .refresh_answers()
}

#[test]
fn a_route_that_was_left_behind_is_deleted_and_not_renamed() {
    let report = left_behind().report();
    let finding = report.findings.iter().find(|f| f.code == "MG234").expect("MG234");
    assert_eq!(finding.remedy.commands, ["oc -n mcp-system delete httproute mcp-gateway-route"]);
}

#[test]
fn which_route_comes_first_is_open_without_the_times() {
    let report = healthy()
        .set("HTTPRoute", "team-commerce", "orders", "/spec/hostnames", json!(["weather.mcp.local"]))
        .set("HTTPRoute", "team-commerce", "orders", "/metadata/creationTimestamp", Value::Null)
        .report();
    assert!(report.findings.iter().all(|f| f.code != "MG234"), "{report:#?}");
    assert!(report.unknown.iter().any(|u| u.codes.iter().any(|c| c == "MG234")), "{:#?}", report.unknown);
}
