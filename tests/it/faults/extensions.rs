//! Faults of MCPGatewayExtensions.

use serde_json::json;

use super::Fault;
use super::gateways::{extension_not_ready, registration_not_ready, registrations_not_ready};
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault { code: "MG302", name: "the target is a Service", root: true, apply: target_kind },
    Fault { code: "MG307", name: "the public host is a URL", root: true, apply: public_host },
    Fault { code: "MG308", name: "the listener excludes the namespace", root: true, apply: not_allowed },
    Fault { code: "MG309", name: "the session store's Secret is gone", root: true, apply: session_store },
    Fault {
        code: "MG317",
        name: "a policy stops the router's own initialize",
        root: true,
        apply: hairpin_refused,
    },
    Fault { code: "MG313", name: "the private host is of another class", root: true, apply: private_host },
    Fault { code: "MG314", name: "two replicas without a store", root: true, apply: replicas },
    Fault { code: "MG315", name: "an annotation of before 0.6", root: true, apply: deprecated },
    Fault { code: "MG316", name: "the controller's route is gone", root: true, apply: no_route },
    Fault { code: "MG316", name: "nobody made a route", root: true, apply: no_own_route },
    Fault { code: "MG301", name: "the target's name has a typo", root: true, apply: target_typo },
    Fault { code: "MG301", name: "the target's namespace is empty", root: true, apply: target_namespace },
    Fault { code: "MG303", name: "the grant is gone", root: true, apply: no_grant },
    Fault { code: "MG303", name: "the grant is for another kind", root: true, apply: wrong_grant },
    Fault { code: "MG304", name: "a younger extension on the same port", root: true, apply: port_conflict },
    Fault {
        code: "MG305",
        name: "a second extension in the namespace",
        root: true,
        apply: namespace_conflict,
    },
    Fault { code: "MG306", name: "the listener's name has a typo", root: true, apply: listener_typo },
    Fault { code: "MG310", name: "a generation behind", root: true, apply: stale },
    Fault { code: "MG310", name: "no status at all", root: true, apply: no_status },
    Fault { code: "MG310", name: "the controller fails over and over", root: true, apply: failing },
    Fault { code: "MG310", name: "the broker has the public host of before", root: true, apply: old_host },
    Fault { code: "MG311", name: "no extension for the Gateway", root: true, apply: no_extension },
    Fault { code: "MG312", name: "the broker's image cannot be pulled", root: false, apply: broker_down },
];

const EXTENSION: (&str, &str, &str) = ("MCPGatewayExtension", "mcp-system", "mcp-gateway");
const INVALID: &str = "InvalidMCPGatewayExtension";

fn set(fixture: Fixture, pointer: &str, value: serde_json::Value) -> Fixture {
    fixture.set(EXTENSION.0, EXTENSION.1, EXTENSION.2, pointer, value)
}

/// The extension stays invalid: the registrations of other namespaces find no valid one.
fn invalid(fixture: Fixture, reason: &str, message: &str) -> Fixture {
    registrations_not_ready(
        extension_not_ready(fixture, reason, message),
        "no valid mcpgatewayextensions configured",
    )
}

fn target_typo(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/targetRef/name", json!("mcp-gatway"));
    invalid(fixture, INVALID, "invalid: gateway target gateway-system/mcp-gatway not found")
}

fn target_namespace(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/targetRef/namespace", serde_json::Value::Null);
    invalid(fixture, INVALID, "invalid: gateway target /mcp-gateway not found")
}

const GRANT_REQUIRED: &str =
    "invalid: ReferenceGrant required in gateway-system to allow cross-namespace reference from mcp-system";

fn no_grant(fixture: Fixture) -> Fixture {
    let fixture = fixture.remove("ReferenceGrant", "gateway-system", "allow-mcp-system");
    invalid(fixture, "ReferenceGrantRequired", GRANT_REQUIRED)
}

fn wrong_grant(fixture: Fixture) -> Fixture {
    let fixture = fixture.set(
        "ReferenceGrant",
        "gateway-system",
        "allow-mcp-system",
        "/spec/from/0/kind",
        json!("MCPGatewayExtensions"),
    );
    invalid(fixture, "ReferenceGrantRequired", GRANT_REQUIRED)
}

const SECOND: &str = r#"
apiVersion: mcp.kuadrant.io/v1
kind: MCPGatewayExtension
metadata: {name: second, namespace: NAMESPACE, generation: 1, creationTimestamp: "2026-09-10T09:05:00Z", uid: 0c2fdc38-58f5-44b8-8d5b-000000000002}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: mcp-gateway, namespace: gateway-system, sectionName: mcps}
status:
  conditions:
  - {type: Ready, status: "False", reason: InvalidMCPGatewayExtension, message: "MESSAGE", observedGeneration: 1, lastTransitionTime: "2026-09-10T09:05:01Z"}
"#;

fn second(fixture: Fixture, namespace: &str, message: &str) -> Fixture {
    fixture.add(&SECOND.replace("NAMESPACE", namespace).replace("MESSAGE", message))
}

fn port_conflict(fixture: Fixture) -> Fixture {
    let grant = r"
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: allow-team-platform, namespace: gateway-system}
spec:
  from: [{group: mcp.kuadrant.io, kind: MCPGatewayExtension, namespace: team-platform}]
  to: [{group: gateway.networking.k8s.io, kind: Gateway}]
";
    let message = "conflict: listener port 8080 on gateway gateway-system/mcp-gateway is already configured by \
                   MCPGatewayExtension mcp-system/mcp-gateway (listener mcp)";
    second(fixture.add(grant), "team-platform", message)
}

fn namespace_conflict(fixture: Fixture) -> Fixture {
    let fixture = fixture.edit("Gateway", "gateway-system", "mcp-gateway", |gateway| {
        let mut listener = gateway["spec"]["listeners"][0].clone();
        listener["name"] = json!("other");
        listener["port"] = json!(8090);
        if let Some(list) = gateway["spec"]["listeners"].as_array_mut() {
            list.push(listener);
        }
        let mut status = gateway["status"]["listeners"][0].clone();
        status["name"] = json!("other");
        status["attachedRoutes"] = json!(0);
        if let Some(list) = gateway["status"]["listeners"].as_array_mut() {
            list.push(status);
        }
    });
    let message = "conflict: namespace mcp-system already has MCPGatewayExtension mcp-gateway (only one per namespace allowed)";
    let fixture = second(fixture, "mcp-system", message);
    fixture
        .set("MCPGatewayExtension", "mcp-system", "second", "/spec/targetRef/sectionName", json!("other"))
        .refresh_answers()
}

fn listener_typo(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/targetRef/sectionName", json!("mpc"));
    invalid(fixture, INVALID, "listener \"mpc\" not found on gateway gateway-system/mcp-gateway")
}

fn stale(fixture: Fixture) -> Fixture {
    fixture.edit(EXTENSION.0, EXTENSION.1, EXTENSION.2, |extension| {
        let generation = extension["metadata"]["generation"].as_i64().unwrap_or(1);
        extension["metadata"]["generation"] = json!(generation + 1);
    })
}

/// What the controller needs behind the status, which it writes first.
fn failing(fixture: Fixture) -> Fixture {
    ["10:22:01", "10:24:45", "10:28:40"].iter().fold(fixture, |fixture, time| {
        fixture.append_log(
            EXTENSION.1,
            "mcp-gateway-controller",
            "mcp-controller",
            &format!(
                "time=2026-09-14T{time}.000Z level=ERROR msg=\"Reconciler error\" controller=mcpgatewayextension \
                 namespace=mcp-system name=mcp-gateway error=\"reconcile failed: failed to create service account: \
                 serviceaccounts is forbidden: exceeded quota: no-more\"\n"
            ),
        )
    })
}

fn no_status(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/status", json!({}));
    registrations_not_ready(fixture, "no valid mcpgatewayextensions configured")
}

/// A second Gateway, as healthy as the first, that no extension targets, with a route of ours on it.
fn no_extension(mut fixture: Fixture) -> Fixture {
    let copies: Vec<_> = fixture
        .installation
        .objects
        .iter()
        .filter(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let kind = object["kind"].as_str().unwrap_or_default();
            object["metadata"]["namespace"] == "gateway-system"
                && (kind == "Gateway" || (name.starts_with("mcp-gateway-istio") && kind != "EndpointSlice"))
        })
        .map(|object| {
            let text = object.to_string();
            let text = text.replace("mcp-gateway-istio", "edge-istio").replace("\"mcp-gateway\"", "\"edge\"");
            let mut copy: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            if copy["kind"] == "Gateway" {
                let conditions = copy.pointer_mut("/status/listeners/0/conditions");
                if let Some(conditions) = conditions.and_then(serde_json::Value::as_array_mut) {
                    conditions.retain(|c| c["type"] != "MCPGatewayExtension");
                }
            }
            copy
        })
        .collect();
    fixture.installation.objects.extend(copies);
    let fixture = fixture
        .set("HTTPRoute", "team-weather", "weather", "/spec/parentRefs/0/name", json!("edge"))
        .set("HTTPRoute", "team-weather", "weather", "/status/parents/0/parentRef/name", json!("edge"));
    registration_not_ready(fixture, "team-weather", "weather", "no valid mcpgatewayextensions configured")
}

fn broker_down(fixture: Fixture) -> Fixture {
    let fixture =
        fixture.pod_waits("mcp-system", "mcp-gateway", "ImagePullBackOff", "Back-off pulling image");
    invalid(fixture, "DeploymentNotReady", "broker-router deployment is not ready")
}

fn target_kind(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/targetRef/kind", json!("Service"));
    let fixture = set(fixture, "/spec/targetRef/group", json!(""));
    extension_not_ready(fixture, INVALID, "invalid: targetRef must be a Gateway")
}

fn public_host(fixture: Fixture) -> Fixture {
    let route = fixture.installation.get("HTTPRoute", "mcp-system", "mcp-gateway-route");
    let host = route.and_then(|route| route["spec"]["hostnames"][0].as_str()).expect("the public host");
    let url = format!("https://{host}/mcp");
    let message = format!("invalid public host \"{url}\": must be a hostname, not a URL");
    invalid(set(fixture, "/spec/publicHost", json!(url)), INVALID, &message)
}

fn not_allowed(fixture: Fixture) -> Fixture {
    let fixture = fixture
        .set(
            "Gateway",
            "gateway-system",
            "mcp-gateway",
            "/spec/listeners/0/allowedRoutes",
            json!({"namespaces": {"from": "Same"}}),
        )
        .route_status(
            "mcp-system",
            "mcp-gateway-route",
            [
                "Accepted",
                "False",
                "NotAllowedByListeners",
                "hostnames matched parent hostname \"mcp.example.com\", but namespace \"mcp-system\" is not allowed by \
                 the parent",
            ],
        );
    let message = "listener \"mcp\" on gateway gateway-system/mcp-gateway does not allow routes from namespace \"mcp-system\"";
    invalid(fixture, INVALID, message)
}

fn session_store(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/sessionStore", json!({"secretName": "redis"}));
    invalid(fixture, "SecretNotFound", "session store secret redis not found in namespace mcp-system")
}

fn private_host(fixture: Fixture) -> Fixture {
    const HOST: &str = "mcp-gateway-openshift-default.gateway-system.svc.cluster.local:8080";
    deployed(set(fixture, "/spec/privateHost", json!(HOST)), "--mcp-gateway-private-host", HOST)
}

/// The broker runs with this value of a flag that it has.
pub fn deployed(fixture: Fixture, flag: &str, value: &str) -> Fixture {
    fixture.edit_broker(|container| {
        for argument in container["command"].as_array_mut().expect("a command") {
            if argument.as_str().is_some_and(|a| a.split('=').next() == Some(flag)) {
                *argument = json!(format!("{flag}={value}"));
            }
        }
    })
}

fn replicas(fixture: Fixture) -> Fixture {
    fixture.set("Deployment", "mcp-system", "mcp-gateway", "/spec/replicas", json!(2)).edit(
        "Deployment",
        "mcp-system",
        "mcp-gateway",
        |deployment| {
            for field in ["replicas", "readyReplicas", "availableReplicas", "updatedReplicas"] {
                deployment["status"][field] = json!(2);
            }
        },
    )
}

fn deprecated(fixture: Fixture) -> Fixture {
    set(fixture, "/metadata/annotations", json!({"kuadrant.io/alpha-gateway-public-host": "mcp.example.com"}))
}

fn no_route(fixture: Fixture) -> Fixture {
    fixture.remove("HTTPRoute", "mcp-system", "mcp-gateway-route").refresh_answers()
}

fn no_own_route(fixture: Fixture) -> Fixture {
    no_route(set(fixture, "/spec/httpRouteManagement", json!("Disabled")))
}

fn old_host(fixture: Fixture) -> Fixture {
    deployed(fixture, "--mcp-gateway-public-host", "before.example.com")
}

fn hairpin_refused(fixture: Fixture) -> Fixture {
    let line = "time=2026-09-14T10:20:00.1Z level=ERROR msg=\"failed to get remote session \" component=router-202511 server=team-weather/weather error=\"failed to create session for mcp server: team-weather/weather: upstream returned HTTP 401: Unauthorized\"\n";
    fixture.append_log("mcp-system", "mcp-gateway", "mcp-gateway", &line.repeat(4))
}
