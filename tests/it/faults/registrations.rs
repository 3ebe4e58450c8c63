//! Faults of MCPServerRegistrations and of what stands behind their routes.

use serde_json::json;

use super::Fault;
use super::gateways::registration_not_ready;
use super::routes::service_gone;
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault { code: "MG401", name: "the target's name has a typo", root: true, apply: target_typo },
    Fault { code: "MG401", name: "the target is in another namespace", root: true, apply: target_elsewhere },
    Fault { code: "MG403", name: "the config Secret cannot be written", root: true, apply: not_ready },
    Fault { code: "MG403", name: "no status at all", root: true, apply: no_status },
    Fault { code: "MG405", name: "the server's image cannot be pulled", root: false, apply: pods },
    Fault { code: "MG406", name: "the Service is gone", root: true, apply: service_gone },
    Fault { code: "MG409", name: "the server is not ready", root: false, apply: pods },
    Fault { code: "MG410", name: "the selector has a typo", root: true, apply: selector },
];

const REGISTRATION: (&str, &str, &str) = ("MCPServerRegistration", "team-weather", "weather");

fn set(fixture: Fixture, pointer: &str, value: serde_json::Value) -> Fixture {
    fixture.set(REGISTRATION.0, REGISTRATION.1, REGISTRATION.2, pointer, value)
}

fn target_typo(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/targetRef/name", json!("wether"));
    registration_not_ready(
        fixture,
        "team-weather",
        "weather",
        "failed to get targeted httproute HTTPRoute.gateway.networking.k8s.io \"wether\" not found",
    )
}

fn target_elsewhere(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/targetRef/name", json!("orders"));
    registration_not_ready(
        fixture,
        "team-weather",
        "weather",
        "failed to get targeted httproute HTTPRoute.gateway.networking.k8s.io \"orders\" not found",
    )
}

fn not_ready(fixture: Fixture) -> Fixture {
    registration_not_ready(
        fixture,
        "team-weather",
        "weather",
        "failed to write config: secrets \"mcp-gateway-config\" is forbidden",
    )
}

fn no_status(fixture: Fixture) -> Fixture {
    set(fixture, "/status", json!({}))
}

fn pods(fixture: Fixture) -> Fixture {
    fixture.pod_waits("team-weather", "weather", "ImagePullBackOff", "Back-off pulling image")
}

fn selector(mut fixture: Fixture) -> Fixture {
    for object in &mut fixture.installation.objects {
        let service = object["metadata"]["labels"]["kubernetes.io/service-name"] == "weather";
        if object["metadata"]["namespace"] == "team-weather" && service {
            object["endpoints"] = json!([]);
        }
    }
    fixture.set("Service", "team-weather", "weather", "/spec/selector", json!({"app": "wether"}))
}
