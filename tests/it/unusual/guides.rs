//! What the guides of the MCP gateway tell people to set up, and what users send of it.

use oc_mcpgw::model::kinds;
use oc_mcpgw::report::Severity;
use serde_json::{Value, json};

use super::{Case, EXTENSION, GATEWAY, at, healthy, unusable};
use crate::fixture::Fixture;

/// The cases.
pub const GUIDES: &[Case] = &[
    ("agents are reached through the router, which lets their requests pass", || agents(true), &[]),
    ("agents are reached through a router that knows nothing of them", || agents(false), &["MG230"]),
    ("only agents need tokens, of an issuer of their own", tokens_of_agents, &[]),
    ("a policy is for /mcp only", || when("request.path.startsWith('/mcp')"), &[]),
    ("a policy is for all but GET", || when("request.method != 'GET'"), &[]),
    ("a policy is for the metadata too", || when("request.path != '/'"), &["MG702"]),
    ("a server outside by an ExternalName, which the mesh knows", || external_name(true), &[]),
    (
        "a server outside by an ExternalName, which the mesh does not know",
        || external_name(false),
        &["MG407"],
    ),
    ("a registration means a route of another namespace", other_namespace, &["MG402", "MG401", "MG403"]),
    ("node ports lead to a Gateway without address", node_ports, &["MG204", "MG203"]),
    (
        "there is no grant in the cluster, and so no list of them",
        no_grants,
        &["MG303", "+MG002", "MG311", "MG403", "MG404"],
    ),
    (
        "only the own objects were sent: a grant is missing",
        || {
            sent(
                "ReferenceGrantRequired",
                "invalid: ReferenceGrant required in gateway-system to allow cross-namespace reference from mcp-system",
            )
        },
        &["MG303", "+MG002", "MG403"],
    ),
    (
        "only the own objects were sent: the Gateway is not there",
        || sent("InvalidMCPGatewayExtension", "invalid: gateway target gateway-system/mcp-gateway not found"),
        &["MG301", "+MG002", "MG403"],
    ),
    (
        "only the own objects were sent: the listener is not there",
        || {
            sent(
                "InvalidMCPGatewayExtension",
                "listener \"mcp\" not found on gateway gateway-system/mcp-gateway",
            )
        },
        &["MG306", "+MG002", "MG403"],
    ),
    (
        "only the own objects were sent: the broker is not ready",
        || sent("DeploymentNotReady", "broker-router deployment is not ready"),
        &["MG312", "+MG002", "MG403"],
    ),
    (
        "a Secret is missing, and nobody sends Secrets",
        || no_secrets("not found"),
        &["MG309", "+MG002", "MG311", "MG403"],
    ),
    (
        "a Secret has no label, and nobody sends Secrets",
        || no_secrets("is missing required label mcp.kuadrant.io/secret=true"),
        &["MG309", "+MG002", "MG311", "MG403"],
    ),
];

fn agents(known: bool) -> Fixture {
    let fixture = healthy()
        .add(
            r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: weather-agent, namespace: team-commerce, generation: 1, creationTimestamp: "2026-09-01T10:00:00Z"}
spec:
  parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: mcp-gateway, namespace: gateway-system, sectionName: mcp}]
  hostnames: [mcp.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /a2a/weather}}]
    backendRefs: [{group: "", kind: Service, name: orders, port: 9090, weight: 1}]
status:
  parents:
  - controllerName: istio.io/gateway-controller
    parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: mcp-gateway, namespace: gateway-system, sectionName: mcp}
    conditions:
    - {type: Accepted, status: "True", reason: Accepted, message: Route was valid, observedGeneration: 1, lastTransitionTime: "2026-09-01T10:00:01Z"}
    - {type: ResolvedRefs, status: "True", reason: ResolvedRefs, message: All references resolved, observedGeneration: 1, lastTransitionTime: "2026-09-01T10:00:01Z"}
"#,
        )
        .refresh_answers();
    if !known {
        return fixture;
    }
    fixture.edit_broker(|container| {
        container["command"].as_array_mut().expect("a command").push(json!("--enable-a2a"));
    })
}

fn tokens_of_agents() -> Fixture {
    let fixture =
        at(agents(true), EXTENSION, "/spec/oauthProtectedResource", Value::Null).edit_broker(|container| {
            let variables = container["env"].as_array_mut().expect("env");
            variables.retain(|e| !e["name"].as_str().is_some_and(|n| n.starts_with("OAUTH_")));
        });
    fixture.remove("AuthPolicy", "gateway-system", "mcp-tool-access").edit(
        "AuthPolicy",
        "gateway-system",
        "mcp-authentication",
        |policy| {
            let when = json!([
                {"predicate": "request.method == 'POST'"},
                {"predicate": "request.path.startsWith('/a2a/')"}
            ]);
            let spec = &mut policy["spec"];
            spec.as_object_mut().expect("a spec").remove("defaults");
            spec["targetRef"].as_object_mut().expect("a target").remove("sectionName");
            spec["rules"] = json!({
                "authentication": {"agents": {"when": when, "jwt": {"issuerUrl": "https://sso.example.com/realms/agents"}}},
                "authorization": {"agent": {"when": when, "patternMatching": {"patterns": [
                    {"predicate": "('agent:' + request.headers['x-a2a-agent']) in auth.identity.resource_access['a2a'].roles"}]}}}
            });
        },
    )
}

fn when(predicate: &str) -> Fixture {
    healthy()
        .set(
            "AuthPolicy",
            "gateway-system",
            "mcp-authentication",
            "/spec/defaults/when",
            json!([{"predicate": predicate}]),
        )
        .refresh_answers()
}

fn external_name(known: bool) -> Fixture {
    let fixture = healthy().edit("Service", "team-commerce", "orders", |service| {
        service["spec"]["type"] = json!("ExternalName");
        service["spec"]["externalName"] = json!("orders.example.com");
    });
    if !known {
        return fixture;
    }
    fixture.add(
        r#"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: orders, namespace: team-commerce, creationTimestamp: "2026-08-24T13:00:00Z"}
spec:
  hosts: [orders.example.com]
  ports: [{number: 9090, name: http, protocol: HTTP}]
  location: MESH_EXTERNAL
  resolution: DNS
"#,
    )
}

/// Others have redacted the broker's configuration, so that it does not say whose host it is.
fn other_namespace() -> Fixture {
    let fixture = healthy()
        .edit("MCPServerRegistration", "team-weather", "weather", |registration| {
            registration["metadata"]["namespace"] = json!("mcp-system");
            registration["spec"]["targetRef"]["namespace"] = json!("team-weather");
        })
        .config("mcp-system", "612 bytes long")
        .append_log(
            "mcp-system",
            "mcp-gateway-controller",
            "mcp-controller",
            "time=2026-09-12T06:20:01.700Z level=INFO msg=\"main reconcile logic starting for\" \
             controller=mcpserverregistration namespace=mcp-system name=weather\n",
        );
    crate::faults::registration_not_ready(
        fixture,
        "mcp-system",
        "weather",
        "failed to get target HTTPRoute: HTTPRoute.gateway.networking.k8s.io \"weather\" not found",
    )
}

/// As on a laptop without load balancer. The Service of the node ports has the labels of the Gateway's own and comes
/// before it by name.
fn node_ports() -> Fixture {
    healthy()
        .status(GATEWAY[0], GATEWAY[1], GATEWAY[2], [
            "Programmed",
            "False",
            "AddressNotAssigned",
            "Assigned to service(s) mcp-gateway-istio.gateway-system.svc.cluster.local:8080, but failed to assign to all requested addresses: address pending",
        ])
        .set(GATEWAY[0], GATEWAY[1], GATEWAY[2], "/status/addresses", json!([]))
        .set("Service", "gateway-system", "mcp-gateway-istio", "/status/loadBalancer", json!({}))
        .add(
            r#"
apiVersion: v1
kind: Service
metadata:
  name: mcp-gateway-box
  namespace: gateway-system
  creationTimestamp: "2026-08-20T08:45:02Z"
  labels: {gateway.istio.io/managed: istio.io-gateway-controller, gateway.networking.k8s.io/gateway-name: mcp-gateway}
spec:
  type: NodePort
  clusterIP: 10.96.14.21
  selector: {gateway.networking.k8s.io/gateway-name: mcp-gateway}
  ports:
  - {name: mcp, port: 8080, targetPort: 8080, nodePort: 30080}
  - {name: https, port: 8443, targetPort: 8443, nodePort: 30082}
"#,
        )
}

#[test]
fn a_gateway_that_clients_reach_by_another_way_is_no_error() {
    let report = node_ports().report();
    assert!(report.findings.iter().all(|finding| finding.severity != Severity::Error));
}

fn no_grants() -> Fixture {
    unusable(
        "ReferenceGrantRequired",
        "invalid: ReferenceGrant required in gateway-system to allow cross-namespace reference from mcp-system",
        healthy().remove_all("ReferenceGrant", None),
    )
    .uncollected(&kinds::REFERENCE_GRANT, None)
}

fn no_secrets(what: &str) -> Fixture {
    let fixture = at(healthy(), EXTENSION, "/spec/sessionStore", json!({"secretName": "sessions"}));
    let reason = if what.contains("label") { "SecretInvalid" } else { "SecretNotFound" };
    unusable(reason, &format!("session store secret sessions {what}"), fixture)
        .uncollected(&kinds::SECRET, None)
}

/// What people paste first: the extension and the registrations, with their statuses.
fn sent(reason: &str, message: &str) -> Fixture {
    let mut fixture = unusable(reason, message, healthy());
    let own = ["MCPGatewayExtension", "MCPServerRegistration", "Namespace", "CustomResourceDefinition"];
    fixture.installation.objects.retain(|object| own.iter().any(|kind| object["kind"] == *kind));
    fixture.installation.logs.clear();
    fixture.installation.extras.clear();
    let others = kinds::ALL.iter().copied().filter(|kind| !own.contains(&kind.kind));
    others.fold(fixture, |fixture, kind| fixture.uncollected(kind, None))
}
