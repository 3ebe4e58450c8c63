//! Faults of the EnvoyFilter.

use serde_json::json;

use super::Fault;
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault { code: "MG220", name: "the EnvoyFilter was deleted", root: true, apply: missing },
    Fault { code: "MG221", name: "the selector was edited", root: true, apply: selector },
    Fault { code: "MG221", name: "the filter is in another namespace", root: true, apply: namespace },
    Fault { code: "MG222", name: "the filter patches another port", root: true, apply: port },
];

const FILTER: (&str, &str, &str) = ("EnvoyFilter", "gateway-system", "mcp-ext-proc-mcp-system-gateway");

fn missing(fixture: Fixture) -> Fixture {
    fixture.remove(FILTER.0, FILTER.1, FILTER.2).refresh_answers()
}

fn selector(fixture: Fixture) -> Fixture {
    let labels = json!({"gateway.networking.k8s.io/gateway-name": "mcp-gateway-old"});
    fixture.set(FILTER.0, FILTER.1, FILTER.2, "/spec/workloadSelector/labels", labels).refresh_answers()
}

fn namespace(fixture: Fixture) -> Fixture {
    fixture.set(FILTER.0, FILTER.1, FILTER.2, "/metadata/namespace", json!("mcp-system")).refresh_answers()
}

fn port(fixture: Fixture) -> Fixture {
    let pointer = "/spec/configPatches/0/match/listener/portNumber";
    fixture.set(FILTER.0, FILTER.1, FILTER.2, pointer, json!(8443)).refresh_answers()
}
