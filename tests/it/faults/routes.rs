//! Faults of HTTPRoutes.

use serde_json::json;

use super::Fault;
use super::gateways::registration_not_ready;
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault { code: "MG210", name: "no listener has the section", root: false, apply: section_typo },
    Fault { code: "MG211", name: "the Gateway refuses a filter", root: true, apply: filter_refused },
    Fault { code: "MG211", name: "a backend of an unknown kind", root: false, apply: unknown_kind },
    Fault { code: "MG211", name: "a Service by its host", root: false, apply: refused_reference },
    Fault { code: "MG212", name: "the section name has a typo", root: true, apply: section_typo },
    Fault { code: "MG212", name: "the parent's name has a typo", root: true, apply: parent_typo },
    Fault { code: "MG212", name: "the parent's namespace is left out", root: true, apply: parent_namespace },
    Fault { code: "MG213", name: "a hostname outside the listener's domain", root: true, apply: hostname },
    Fault { code: "MG214", name: "the namespace lacks the label", root: true, apply: not_allowed },
    Fault { code: "MG215", name: "a wrong port of the Service", root: true, apply: wrong_port },
    Fault { code: "MG215", name: "the backend gets no share of the requests", root: true, apply: no_weight },
    Fault { code: "MG215", name: "the Service is gone", root: false, apply: service_gone },
    Fault { code: "MG216", name: "no grant for a Service elsewhere", root: true, apply: not_granted },
    Fault { code: "MG217", name: "a generation behind", root: true, apply: stale },
    Fault { code: "MG217", name: "no status for a parent", root: true, apply: no_status },
    Fault { code: "MG234", name: "two servers with one host", root: true, apply: same_host },
];

const ROUTE: (&str, &str) = ("team-weather", "weather");

fn set(fixture: Fixture, pointer: &str, value: serde_json::Value) -> Fixture {
    fixture.set("HTTPRoute", ROUTE.0, ROUTE.1, pointer, value)
}

/// What Istio and the MCP controller write for a route that is not accepted.
fn refused(fixture: Fixture, reason: &str, message: &str) -> Fixture {
    let fixture = fixture.route_status(ROUTE.0, ROUTE.1, ["Accepted", "False", reason, message]);
    registration_not_ready(fixture, ROUTE.0, ROUTE.1, "no valid gateways for httproute")
}

/// Istio reports every error of a rule as one of its references.
fn filter_refused(fixture: Fixture) -> Fixture {
    let filter = json!({"type": "ExtensionRef",
        "extensionRef": {"group": "gateway.example.com", "kind": "BodyLimit", "name": "one-megabyte"}});
    set(fixture, "/spec/rules/0/filters", json!([filter])).route_status(
        ROUTE.0,
        ROUTE.1,
        ["ResolvedRefs", "False", "InvalidFilter", "unsupported filter type \"ExtensionRef\""],
    )
}

fn unknown_kind(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/rules/0/backendRefs/0/kind", json!("Sandwich"));
    let fixture = fixture.route_status(
        ROUTE.0,
        ROUTE.1,
        [
            "ResolvedRefs",
            "False",
            "InvalidKind",
            "referencing unsupported backendRef: group \"\" kind \"Sandwich\"",
        ],
    );
    registration_not_ready(fixture, ROUTE.0, ROUTE.1, "unsupported backend reference kind: Sandwich")
}

fn refused_reference(fixture: Fixture) -> Fixture {
    let host = "weather.team-weather.svc.cluster.local";
    let fixture = set(fixture, "/spec/rules/0/backendRefs/0/name", json!(host)).route_status(
        ROUTE.0,
        ROUTE.1,
        [
            "ResolvedRefs",
            "False",
            "InvalidDestination",
            "service name invalid; the name of the Service must be used, not the hostname.",
        ],
    );
    let message = format!("failed to get service {host}: services \"{host}\" not found");
    registration_not_ready(fixture, ROUTE.0, ROUTE.1, &message)
}

fn section_typo(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/parentRefs/0/sectionName", json!("mpcs"));
    let fixture = set(fixture, "/status/parents/0/parentRef/sectionName", json!("mpcs"));
    refused(fixture, "NoMatchingParent", "sectionName \"mpcs\" not found")
}

fn parent_typo(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/parentRefs/0/name", json!("mcp-gatway"));
    let fixture = set(fixture, "/status", json!({"parents": []}));
    registration_not_ready(fixture, ROUTE.0, ROUTE.1, "no valid gateways for httproute")
}

fn parent_namespace(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/parentRefs/0/namespace", serde_json::Value::Null);
    let fixture = set(fixture, "/status", json!({"parents": []}));
    registration_not_ready(fixture, ROUTE.0, ROUTE.1, "no valid gateways for httproute")
}

fn hostname(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/hostnames", json!(["weather.mcp.example.com"]));
    refused(fixture, "NoMatchingListenerHostname", "no hostnames matched parent hostname \"*.mcp.local\"")
}

fn not_allowed(fixture: Fixture) -> Fixture {
    let fixture = fixture.set("Namespace", "", ROUTE.0, "/metadata/labels", json!({"team": "weather"}));
    refused(
        fixture,
        "NotAllowedByListeners",
        "hostnames matched parent hostname \"*.mcp.local\", but namespace \"team-weather\" is not allowed by the parent",
    )
}

fn wrong_port(fixture: Fixture) -> Fixture {
    set(fixture, "/spec/rules/0/backendRefs/0/port", json!(8081))
}

fn no_weight(fixture: Fixture) -> Fixture {
    set(fixture, "/spec/rules/0/backendRefs/0/weight", json!(0))
}

/// The Service of the weather server is deleted, with its endpoints.
pub fn service_gone(mut fixture: Fixture) -> Fixture {
    fixture.installation.objects.retain(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let serves =
            object["metadata"]["labels"]["kubernetes.io/service-name"] == "weather" || name == "weather";
        !(object["metadata"]["namespace"] == ROUTE.0
            && ["Service", "EndpointSlice", "Endpoints"].contains(&kind)
            && serves)
    });
    let fixture = fixture.route_status(
        ROUTE.0,
        ROUTE.1,
        [
            "ResolvedRefs",
            "False",
            "BackendNotFound",
            "backend(weather.team-weather.svc.cluster.local) not found",
        ],
    );
    registration_not_ready(
        fixture,
        ROUTE.0,
        ROUTE.1,
        "failed to get service weather: services \"weather\" not found",
    )
}

fn not_granted(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/rules/0/backendRefs/0/namespace", json!("team-commerce"));
    let fixture = set(fixture, "/spec/rules/0/backendRefs/0/name", json!("orders"));
    let fixture = set(fixture, "/spec/rules/0/backendRefs/0/port", json!(9090));
    fixture.route_status(
        ROUTE.0,
        ROUTE.1,
        [
            "ResolvedRefs",
            "False",
            "RefNotPermitted",
            "backendRef orders/team-commerce not accessible to a HTTPRoute in namespace \"team-weather\" (missing a \
             ReferenceGrant?)",
        ],
    )
}

fn stale(fixture: Fixture) -> Fixture {
    fixture.edit("HTTPRoute", ROUTE.0, ROUTE.1, |route| {
        let generation = route["metadata"]["generation"].as_i64().unwrap_or(1);
        route["metadata"]["generation"] = json!(generation + 1);
    })
}

fn no_status(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/status", json!({"parents": []}));
    registration_not_ready(fixture, ROUTE.0, ROUTE.1, "no valid gateways for httproute")
}

/// The younger of two servers has the host of the older.
fn same_host(fixture: Fixture) -> Fixture {
    let route = fixture.installation.get("HTTPRoute", "team-weather", "weather").expect("a route");
    let hosts = route["spec"]["hostnames"].clone();
    fixture.set("HTTPRoute", "team-commerce", "orders", "/spec/hostnames", hosts).refresh_answers()
}
