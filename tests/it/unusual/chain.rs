//! Corners of the chain from a registration to its gateway: listeners, names with typos, starts, kinds of backends.

use serde_json::{Value, json};

use super::{Case, EXTENSION, GATEWAY, at, healthy};
use crate::faults::{self, edit_answer, extension_not_ready};
use crate::fixture::Fixture;
use crate::fixture_kinds::https_wildcard;

/// The cases; a code with `+` is a root of its own beside the first.
pub const CHAINS: &[Case] = &[
    (
        "an extension's target has a typo, and its private host another",
        || {
            let fixture = at(healthy(), EXTENSION, "/spec/targetRef/name", json!("mcp-gatewai"));
            at(
                fixture,
                EXTENSION,
                "/spec/privateHost",
                json!("mcp-gateway.gateway-system.svc.cluster.local:8080"),
            )
        },
        &["MG301", "+MG313", "MG310", "MG311", "MG403"],
    ),
    (
        "a route's listener has a typo, and the one that is meant is on the extension's port",
        || faults::named("MG212", "the section name has a typo", healthy()),
        &["MG212", "MG210", "MG403"],
    ),
    (
        "a route's listener has a typo, and the one that is meant has no extension",
        other_port_misspelt,
        &["MG212", "+MG225", "MG311", "MG403"],
    ),
    ("servers are on another HTTPS listener than clients", split_tls, &["MG311"]),
    ("another application has an HTTPS listener on the port", foreign_tls, &[]),
    ("the router's filter and its endpoints are gone", no_filter_no_endpoints, &["MG223", "+MG224"]),
    ("the broker has just become ready", || behind("2026-09-14T10:29:45Z"), &[]),
    ("the broker became ready long ago", || behind("2026-09-14T09:29:45Z"), &["MG310", "MG311", "MG403"]),
    (
        "the broker crashes over an obsolete flag",
        obsolete_flag,
        &["MG315", "MG108", "MG102", "MG107", "MG310", "MG312"],
    ),
];

/// An installation, and the code that would decide what cannot be decided there.
pub type Open = (&'static str, fn() -> Fixture, &'static str);

/// What cannot be decided.
pub const UNDECIDED: &[Open] = &[
    ("the backend is of a kind that nobody collected", inference_pool, "MG215"),
    ("the broker has just become ready", || behind("2026-09-14T10:29:45Z"), "MG310"),
];

/// The listener that is meant is on a port that no extension targets.
fn other_port_misspelt() -> Fixture {
    let fixture =
        super::data_plane::listener(healthy(), "servers", 8081, "HTTP", &json!({"hostname": "*.mcp.local"}));
    let fixture = faults::named("MG212", "the section name has a typo", fixture);
    fixture.set("HTTPRoute", "team-weather", "weather", "/spec/parentRefs/0/sectionName", json!("serverz"))
}

/// The public host has a listener of its own, the servers share a wildcard, both on 8443.
fn split_tls() -> Fixture {
    let fixture = https_wildcard().edit(GATEWAY[0], GATEWAY[1], GATEWAY[2], |gateway| {
        for list in ["/spec/listeners", "/status/listeners"] {
            let list = gateway.pointer_mut(list).and_then(Value::as_array_mut).expect("listeners");
            let mut public = list[0].clone();
            public["name"] = json!("public");
            if public.get("hostname").is_some() {
                public["hostname"] = json!("mcp.tools.example.com");
            }
            list.push(public);
        }
    });
    let to_public = |parent: &mut Value| parent["sectionName"] = json!("public");
    at(fixture, EXTENSION, "/spec/targetRef/sectionName", json!("public"))
        .edit_all("AuthPolicy", |policy| policy["spec"]["targetRef"]["sectionName"] = json!("public"))
        .edit("HTTPRoute", "mcp-system", "mcp-gateway-route", |route| {
            to_public(&mut route["spec"]["parentRefs"][0]);
            to_public(&mut route["status"]["parents"][0]["parentRef"]);
        })
        .refresh_answers()
}

/// Another application has an HTTPS listener of its own on the port.
fn foreign_tls() -> Fixture {
    https_wildcard()
        .edit(GATEWAY[0], GATEWAY[1], GATEWAY[2], |gateway| {
            for list in ["/spec/listeners", "/status/listeners"] {
                let list = gateway.pointer_mut(list).and_then(Value::as_array_mut).expect("listeners");
                let mut docs = list[0].clone();
                docs["name"] = json!("docs");
                if docs.get("hostname").is_some() {
                    docs["hostname"] = json!("docs.tools.example.com");
                }
                list.push(docs);
            }
        })
        .refresh_answers()
}

fn no_filter_no_endpoints() -> Fixture {
    let fixture = faults::edit_filters(healthy(), |filters| {
        filters.retain(|f| {
            !f["typed_config"]["@type"].as_str().is_some_and(|t| t.contains("ExternalProcessor"))
        });
    });
    edit_answer(fixture, "clusters.json", |clusters| {
        for status in clusters["cluster_statuses"].as_array_mut().expect("clusters") {
            if status["name"].as_str().is_some_and(|name| name.contains("|50051|")) {
                status["host_statuses"] = json!([]);
            }
        }
    })
}

/// All of the broker is ready since then; the controller has not looked again.
fn behind(since: &str) -> Fixture {
    let fixture =
        extension_not_ready(healthy(), "DeploymentNotReady", "broker-router deployment is not ready");
    let fixture = faults::registrations_not_ready(fixture, "no valid mcpgatewayextensions configured");
    fixture.edit("Deployment", "mcp-system", "mcp-gateway", |deployment| {
        for condition in deployment["status"]["conditions"].as_array_mut().expect("conditions") {
            condition["lastTransitionTime"] = json!(since);
            condition["lastUpdateTime"] = json!(since);
        }
    })
}

fn obsolete_flag() -> Fixture {
    faults::crashes(
        healthy().edit_broker(|container| {
            container["command"]
                .as_array_mut()
                .expect("a command")
                .push(json!("--gateway-ca-cert=/ca/ca.crt"));
        }),
        "mcp-system",
        "mcp-gateway",
        "Error",
        2,
        "flag provided but not defined: -gateway-ca-cert\nUsage of ./mcp_gateway:\n  -cache-connection-string string\n",
    )
}

/// A route of another team on the Gateway, to a backend that needs a definition of its own.
fn inference_pool() -> Fixture {
    healthy().edit("HTTPRoute", "team-weather", "weather", |route| {
        route["spec"]["rules"][0]["backendRefs"][0] = json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "weather", "port": 8000});
    })
}
