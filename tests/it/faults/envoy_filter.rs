//! Faults of the EnvoyFilter.

use serde_json::json;

use super::Fault;
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault { code: "MG219", name: "the controller may not write EnvoyFilters", root: true, apply: forbidden },
    Fault { code: "MG227", name: "the filter fails open", root: true, apply: fails_open },
    Fault { code: "MG233", name: "the extension is gone, its filter is not", root: true, apply: orphaned },
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

fn forbidden(fixture: Fixture) -> Fixture {
    missing(fixture).append_log(
        "mcp-system",
        "mcp-gateway-controller",
        "mcp-controller",
        "time=2026-09-14T10:20:00.000Z level=ERROR msg=\"Reconciler error\" controller=mcpgatewayextension \
         namespace=mcp-system name=mcp-gateway error=\"failed to create envoy filter: envoyfilters.networking.istio.io \
         is forbidden: User \\\"system:serviceaccount:mcp-system:mcp-controller\\\" cannot create resource \
         \\\"envoyfilters\\\" in API group \\\"networking.istio.io\\\" in the namespace \\\"gateway-system\\\"\"\n",
    )
}

fn fails_open(fixture: Fixture) -> Fixture {
    let pointer = "/spec/configPatches/0/patch/value/typed_config/failure_mode_allow";
    fixture.set(FILTER.0, FILTER.1, FILTER.2, pointer, json!(true)).refresh_answers()
}

/// A filter of a second extension that was deleted by force, for a port of no listener.
fn orphaned(fixture: Fixture) -> Fixture {
    let filter = fixture.installation.get(FILTER.0, FILTER.1, FILTER.2).expect("a filter").clone();
    let mut copy = filter;
    copy["metadata"]["name"] = json!("mcp-ext-proc-team-gone-gateway");
    copy["metadata"]["uid"] = json!("0c2fdc38-58f5-44b8-8d5b-000000000009");
    copy["metadata"]["labels"]["mcp.kuadrant.io/extension-namespace"] = json!("team-gone");
    copy["spec"]["configPatches"][0]["match"]["listener"]["portNumber"] = json!(9999);
    let mut fixture = fixture;
    fixture.installation.objects.push(copy);
    fixture
}
