//! Faults of Envoy and of the way through the proxy: MG223-MG226, MG228-MG232, MG235.

use serde_json::{Value, json};

use super::Fault;
use crate::fixture::Fixture;

pub const FAULTS: &[Fault] = &[
    Fault { code: "MG223", name: "filter for another revision", root: true, apply: other_revision },
    Fault {
        code: "MG223",
        name: "filter newer than the proxy's configuration",
        root: true,
        apply: stale_proxy,
    },
    Fault { code: "MG224", name: "router drops all connections", root: true, apply: router_drops },
    Fault { code: "MG225", name: "no listener on the port", root: true, apply: no_listener },
    Fault { code: "MG226", name: "listener update rejected", root: true, apply: rejected },
    Fault { code: "MG226", name: "istiod logs a refusal", root: true, apply: nack },
    Fault { code: "MG228", name: "route not in Envoy", root: true, apply: no_route },
    Fault { code: "MG229", name: "filter copied by hand", root: true, apply: copied_filter },
    Fault { code: "MG230", name: "shop on the same port", root: true, apply: shared_port },
    Fault { code: "MG231", name: "timeouts of one server", root: true, apply: upstream_failures },
    Fault { code: "MG232", name: "default deny before the broker", root: true, apply: default_deny },
    Fault { code: "MG232", name: "server takes only its own namespace", root: true, apply: server_policy },
    Fault {
        code: "MG232",
        name: "an administrator denies the router's port",
        root: true,
        apply: administrator_denies,
    },
    Fault { code: "MG232", name: "the session store is out of reach", root: true, apply: store_policy },
    Fault { code: "MG235", name: "istiod is out of the proxy's reach", root: true, apply: out_of_reach },
];

/// Changes a JSON answer of the gateway's proxy.
pub fn edit_answer(mut fixture: Fixture, file: &str, change: impl FnOnce(&mut Value)) -> Fixture {
    let end = format!("/{file}");
    let (_, content) = fixture
        .installation
        .extras
        .iter_mut()
        .find(|(path, _)| path.starts_with("mcpgw/envoy/") && path.ends_with(&end))
        .expect("the answer");
    let mut value: Value = serde_json::from_slice(content).expect("JSON");
    change(&mut value);
    *content = value.to_string().into_bytes();
    fixture
}

fn section<'v>(dump: &'v mut Value, name: &str) -> &'v mut Value {
    dump["configs"]
        .as_array_mut()
        .expect("sections")
        .iter_mut()
        .find(|s| s["@type"].as_str().and_then(|t| t.rsplit('.').next()) == Some(name))
        .expect("the section")
}

/// Changes the HTTP filters of every filter chain in the configuration dump of the gateway's proxy.
pub fn edit_filters(fixture: Fixture, change: impl Fn(&mut Vec<Value>)) -> Fixture {
    edit_answer(fixture, "config_dump.json", |dump| {
        let listeners = &mut section(dump, "ListenersConfigDump")["dynamic_listeners"];
        for listener in listeners.as_array_mut().expect("listeners") {
            let chains = &mut listener["active_state"]["listener"]["filter_chains"];
            for chain in chains.as_array_mut().expect("chains") {
                let filters = &mut chain["filters"][0]["typed_config"]["http_filters"];
                change(filters.as_array_mut().expect("filters"));
            }
        }
    })
}

/// Takes the router's filter out of every chain of the dump.
fn without_router(fixture: Fixture) -> Fixture {
    edit_filters(fixture, |filters| {
        filters.retain(|f| {
            !f["typed_config"]["@type"].as_str().is_some_and(|t| t.contains("ExternalProcessor"))
        });
    })
}

fn other_revision(fixture: Fixture) -> Fixture {
    let fixture =
        fixture.edit("EnvoyFilter", "gateway-system", "mcp-ext-proc-mcp-system-gateway", |filter| {
            filter["metadata"]["labels"]["istio.io/rev"] = json!("canary");
        });
    let fixture = fixture.edit("Deployment", "istio-system", "istiod", |istiod| {
        istiod["spec"]["template"]["metadata"]["labels"]["istio.io/rev"] = json!("default");
    });
    without_router(fixture)
}

fn stale_proxy(fixture: Fixture) -> Fixture {
    let fixture =
        fixture.edit("EnvoyFilter", "gateway-system", "mcp-ext-proc-mcp-system-gateway", |filter| {
            filter["metadata"]["creationTimestamp"] = json!("2026-09-14T09:00:00Z");
        });
    without_router(fixture)
}

fn router_drops(fixture: Fixture) -> Fixture {
    edit_answer(fixture, "clusters.json", |clusters| {
        for cluster in clusters["cluster_statuses"].as_array_mut().expect("clusters") {
            if cluster["name"].as_str().is_some_and(|n| n.starts_with("outbound|50051||mcp-gateway")) {
                for host in cluster["host_statuses"].as_array_mut().expect("hosts") {
                    host["stats"] = json!([{"name": "cx_total", "value": "42"}, {"name": "cx_connect_fail", "value": "42"}]);
                }
            }
        }
    })
}

fn no_listener(fixture: Fixture) -> Fixture {
    edit_answer(fixture, "config_dump.json", |dump| {
        section(dump, "ListenersConfigDump")["dynamic_listeners"] = json!([]);
    })
}

fn rejected(fixture: Fixture) -> Fixture {
    edit_answer(fixture, "config_dump.json", |dump| {
        section(dump, "ListenersConfigDump")["dynamic_listeners"][0]["error_state"] = json!({
            "last_update_attempt": "2026-09-14T10:20:00Z",
            "details": "Error adding/updating listener(s) 0.0.0.0_8080: Didn't find a registered implementation for 'envoy.filters.http.custom'",
        });
    })
}

/// The proxy tries to come back to istiod, and does not.
fn out_of_reach(fixture: Fixture) -> Fixture {
    let line = |minute: u32| {
        format!(
            "2026-09-14T10:{minute}:10.151000Z\twarning\tenvoy config external/envoy/source/extensions/config_subscription/grpc/grpc_stream.h:226\t\
             DeltaAggregatedResources gRPC config stream to xds-grpc closed since 40s ago: 14, connection error: desc = \
             \"transport: Error while dialing: dial tcp 10.96.0.15:15012: i/o timeout\"\tthread=15\n"
        )
    };
    let lines: String = (24..30).map(line).collect();
    fixture.append_log("gateway-system", "mcp-gateway-istio", "istio-proxy", &lines)
}

fn nack(fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("gateway-system", "mcp-gateway-istio");
    let line = format!(
        "2026-09-14T10:20:00.151000Z\twarn\tdelta\tADS:LDS: ACK ERROR {pod}.gateway-system-1 Internal:Error adding/updating listener(s) 0.0.0.0_8080: unknown filter\n"
    );
    fixture.append_log("istio-system", "istiod", "discovery", &line)
}

fn no_route(fixture: Fixture) -> Fixture {
    edit_answer(fixture, "config_dump.json", |dump| {
        for config in
            section(dump, "RoutesConfigDump")["dynamic_route_configs"].as_array_mut().expect("configs")
        {
            let hosts = config["route_config"]["virtual_hosts"].as_array_mut().expect("hosts");
            hosts.retain(|h| h["domains"][0] != "weather.mcp.local");
        }
    })
}

fn copied_filter(mut fixture: Fixture) -> Fixture {
    let mut copy = fixture
        .installation
        .get("EnvoyFilter", "gateway-system", "mcp-ext-proc-mcp-system-gateway")
        .expect("the filter")
        .clone();
    copy["metadata"] = json!({"name": "my-router", "namespace": "gateway-system", "uid": "copy-of-the-router",
        "creationTimestamp": "2026-09-14T07:00:00Z"});
    fixture.installation.objects.push(copy);
    fixture.refresh_answers()
}

fn shared_port(fixture: Fixture) -> Fixture {
    fixture
        .add(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {kubernetes.io/metadata.name: shop, mcp.example.com/servers: allowed}}\n---\n\
             apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: \"quay.io/example/web:1\", ports: [{containerPort: 8080}]}]}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: web}, ports: [{name: http, port: 8080, targetPort: 8080}]}\n---\n\
             apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: shop, generation: 1, creationTimestamp: \"2026-09-01T10:00:00Z\"}\nspec:\n  hostnames: [shop.mcp.local]\n  parentRefs: [{name: mcp-gateway, namespace: gateway-system, sectionName: mcps}]\n  rules: [{backendRefs: [{name: web, port: 8080}]}]\nstatus:\n  parents:\n  - controllerName: istio.io/gateway-controller\n    parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: mcp-gateway, namespace: gateway-system, sectionName: mcps}\n    conditions:\n    - {type: Accepted, status: \"True\", reason: Accepted, message: Route was valid, observedGeneration: 1, lastTransitionTime: \"2026-09-01T10:00:01Z\"}\n    - {type: ResolvedRefs, status: \"True\", reason: ResolvedRefs, message: All references resolved, observedGeneration: 1, lastTransitionTime: \"2026-09-01T10:00:01Z\"}\n",
        )
        .refresh_answers()
}

fn upstream_failures(fixture: Fixture) -> Fixture {
    let line = "[2026-09-14T10:27:01.498Z] \"POST /mcp HTTP/1.1\" 503 UF upstream_reset_before_response_started{connection_timeout} - \"-\" 312 91 10000 - \"203.0.113.40\" \"mcp-client/1.9\" \"8d6f2f54-0009-4c1e-8f0f-1a2b3c4d0009\" \"weather.mcp.local\" \"10.244.1.16:8080\" outbound|8080||weather.team-weather.svc.cluster.local - 10.244.1.14:8080 203.0.113.40:60000 - team-weather.weather.0\n";
    fixture.append_log("gateway-system", "mcp-gateway-istio", "istio-proxy", &line.repeat(7))
}

fn default_deny(fixture: Fixture) -> Fixture {
    fixture.add(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: default-deny, namespace: mcp-system}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n",
    )
}

/// All that the broker needs is allowed, except for the store that was added later.
fn store_policy(fixture: Fixture) -> Fixture {
    fixture
        .set(
            "MCPGatewayExtension",
            "mcp-system",
            "mcp-gateway",
            "/spec/sessionStore",
            serde_json::json!({"secretName": "session-store"}),
        )
        .add(
            r"
apiVersion: v1
kind: Secret
metadata: {name: session-store, namespace: mcp-system, labels: {mcp.kuadrant.io/secret: 'true'}}
data: {CACHE_CONNECTION_STRING: cmVkaXM6Ly9yZWRpcy5jYWNoZS5zdmM6NjM3OQ==}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: broker-egress, namespace: mcp-system}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/name: mcp-gateway}}
  policyTypes: [Egress]
  egress:
  - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 1, endPort: 6378}, {protocol: TCP, port: 6380, endPort: 65535}]
",
        )
}

fn administrator_denies(fixture: Fixture) -> Fixture {
    fixture.add(
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: only-http}\nspec:\n  priority: 10\n  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: mcp-system}}}\n  ingress:\n  - {name: no-grpc, action: Deny, from: [{namespaces: {}}], ports: [{portNumber: {protocol: TCP, port: 50051}}]}\n",
    )
}

fn server_policy(fixture: Fixture) -> Fixture {
    fixture.add(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: same-namespace, namespace: team-weather}\nspec:\n  podSelector: {}\n  policyTypes: [Ingress]\n  ingress: [{from: [{podSelector: {}}]}]\n",
    )
}
