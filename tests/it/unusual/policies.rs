//! Corners of what policies and configurations say: conditions as they are evaluated, and what refers to what.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Case, at, healthy};
use crate::fixture::Fixture;

const AUTHENTICATION: [&str; 3] = ["AuthPolicy", "gateway-system", "mcp-authentication"];
const TOOLS: [&str; 3] = ["AuthPolicy", "gateway-system", "mcp-tool-access"];
const TICKETS: [&str; 3] = ["HTTPRoute", "team-platform", "tickets"];

/// The cases.
pub const CONDITIONS: &[Case] = &[
    ("a policy takes /mcp alone", || when("request.path.startsWith('/mcp')"), &[]),
    ("a policy's condition lacks its negation", || when("request.path.contains('/.well-known')"), &["MG702"]),
    ("a policy lets everybody read the metadata", anonymous, &[]),
    ("a condition is a string", || tools("'tool:' + request.headers['x-mcp-toolname']"), &["MG807"]),
    (
        "a header behind a dot has capital letters",
        || tools("request.headers.Authorization != ''"),
        &["MG807"],
    ),
    ("a function has a value too many", || tools("request.path.startsWith('/mcp', '/')"), &["MG807"]),
    (
        "a policy stands in another namespace than its Gateway",
        || {
            healthy().edit(AUTHENTICATION[0], AUTHENTICATION[1], AUTHENTICATION[2], |policy| {
                policy["metadata"]["namespace"] = json!("mcp-system");
            })
        },
        &["MG802", "MG711", "MG217"],
    ),
    ("enforced policies without any AuthConfig", || healthy().remove_all("AuthConfig", None), &["MG813"]),
    (
        "Kuadrant waits for something",
        || {
            let condition = ["Ready", "False", "AuthorinoNotReady", "Authorino is not ready"];
            healthy().status("Kuadrant", "kuadrant-system", "kuadrant", condition)
        },
        &["MG811"],
    ),
    ("the metadata is answered with 500", || metadata(|probe| probe["status"] = json!(500)), &["MG703"]),
    (
        "the metadata is a page",
        || metadata(|probe| probe["body"] = json!({"bytes": 612, "contentType": "text/html"})),
        &["MG703"],
    ),
    ("a server that is Ready is not in the configuration", not_configured, &["MG416"]),
    (
        "the configuration has a credential of the past",
        || {
            let token =
                base64::engine::general_purpose::STANDARD.encode("Bearer not-a-real-token-orders-5d2e");
            healthy().set("Secret", "team-commerce", "orders-credentials", "/data/token", json!(token))
        },
        &["MG416"],
    ),
    (
        "a virtual server lists a prompt without prefix",
        || {
            healthy().set(
                "MCPVirtualServer",
                "mcp-system",
                "shop-assistant",
                "/spec/prompts",
                json!(["order_summary"]),
            )
        },
        &["MG421"],
    ),
    (
        "a backendRef's host has a typo",
        || at(healthy(), TICKETS, "/spec/rules/0/backendRefs/0/name", json!("tickets.vender.example")),
        &["MG507"],
    ),
    (
        "a route sets the Host header instead of rewriting",
        || {
            let set = json!([{"name": "Host", "value": "tickets.vendor.example"}]);
            let filter = json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": set}}]);
            at(healthy(), TICKETS, "/spec/rules/0/filters", filter)
        },
        &[],
    ),
    ("a DestinationRule's Secret is nowhere", || with_ca("other"), &["MG506"]),
    ("a DestinationRule's Secret holds only the CA", || with_ca("vendor-cacert"), &[]),
];

fn when(predicate: &str) -> Fixture {
    at(healthy(), AUTHENTICATION, "/spec/defaults/when", json!([{"predicate": predicate}]))
}

fn anonymous() -> Fixture {
    let rule = json!({"anonymous": {}, "priority": 1, "when": [{"predicate": "request.path.contains('/.well-known')"}]});
    let fixture = at(healthy(), AUTHENTICATION, "/spec/defaults/when", Value::Null);
    at(fixture, AUTHENTICATION, "/spec/defaults/rules/authentication/everybody", rule)
}

fn tools(predicate: &str) -> Fixture {
    let pointer = "/spec/rules/authorization/tool-access-check/patternMatching/patterns/0/predicate";
    at(healthy(), TOOLS, pointer, json!(predicate))
}

fn metadata(change: impl FnOnce(&mut Value)) -> Fixture {
    healthy().probe("oauth-metadata.mcp-system.mcp-gateway", change)
}

fn not_configured() -> Fixture {
    let servers = "servers:\n- name: team-weather/weather\n  url: http://weather.team-weather.svc.cluster.local:8080/mcp\n  hostname: weather.mcp.local\n  prefix: weather_\n  state: Enabled\n- name: team-commerce/orders\n  url: http://orders.team-commerce.svc.cluster.local:9090/mcp\n  hostname: orders.mcp.local\n  prefix: orders_\n  state: Enabled\n  credential: Bearer not-a-real-token-orders-4c1d\n- name: team-platform/tickets\n  url: https://tickets.vendor.example/mcp\n  hostname: tickets.mcp.local\n  prefix: tickets_\n  state: Enabled\n  credential: Bearer not-a-real-token-tickets-77f0\n";
    healthy().config("mcp-system", servers).refresh_answers()
}

/// The rule for the external server takes its CA from a Secret, and there is one of this name.
fn with_ca(name: &str) -> Fixture {
    let pointer = "/spec/trafficPolicy/tls/credentialName";
    at(healthy(), ["DestinationRule", "team-platform", "tickets-vendor"], pointer, json!("vendor")).add(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: gateway-system}}\nstringData: {{ca.crt: not-a-real-certificate}}\n"
    ))
}
