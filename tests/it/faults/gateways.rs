//! Faults of Gateways, GatewayClasses and their proxies.

use serde_json::{Value, json};

use super::Fault;
use super::workloads::event;
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault { code: "MG201", name: "the Gateway was deleted", root: true, apply: deleted },
    Fault { code: "MG202", name: "parameters of the Gateway are not valid", root: true, apply: not_accepted },
    Fault { code: "MG203", name: "no quota for the Gateway's Service", root: false, apply: no_quota },
    Fault { code: "MG204", name: "no quota for the Gateway's Service", root: true, apply: no_quota },
    Fault { code: "MG204", name: "the load balancer gives no address", root: true, apply: no_address },
    Fault {
        code: "MG205",
        name: "a listener of an unsupported protocol",
        root: true,
        apply: listener_unsupported,
    },
    Fault {
        code: "MG205",
        name: "a listener whose certificate is gone",
        root: false,
        apply: certificate_gone,
    },
    Fault { code: "MG206", name: "the certificate is gone", root: true, apply: certificate_gone },
    Fault { code: "MG207", name: "HTTP and HTTPS on one port", root: true, apply: port_conflict },
    Fault {
        code: "MG218",
        name: "the host resolves to something else inside",
        root: true,
        apply: resolves_elsewhere,
    },
    Fault { code: "MG218", name: "the record points elsewhere", root: true, apply: dns_elsewhere },
    Fault {
        code: "MG208",
        name: "the proxy's Service selects nothing",
        root: true,
        apply: service_selects_nothing,
    },
    Fault { code: "MG208", name: "the proxy pod does not start", root: false, apply: proxy_crashes },
    Fault { code: "MG209", name: "the GatewayClass has a typo", root: true, apply: class_typo },
    Fault { code: "MG209", name: "nobody accepts the GatewayClass", root: true, apply: class_not_accepted },
    Fault { code: "MG209", name: "istiod is down", root: false, apply: istiod_down },
];

const GATEWAY: (&str, &str, &str) = ("Gateway", "gateway-system", "mcp-gateway");
/// The routes of the registrations.
pub const ROUTES: [(&str, &str); 4] = [
    ("team-weather", "weather"),
    ("team-commerce", "orders"),
    ("team-commerce", "inventory"),
    ("team-platform", "tickets"),
];

/// What the MCP controller writes into every registration when this message is the outcome.
pub fn registrations_not_ready(mut fixture: Fixture, message: &str) -> Fixture {
    for (namespace, name) in ROUTES {
        fixture = registration_not_ready(fixture, namespace, name, message);
    }
    fixture
}

/// What the MCP controller writes into one registration.
pub fn registration_not_ready(fixture: Fixture, namespace: &str, name: &str, message: &str) -> Fixture {
    fixture.status("MCPServerRegistration", namespace, name, ["Ready", "False", "NotReady", message])
}

/// What the MCP controller writes into the extension.
pub fn extension_not_ready(fixture: Fixture, reason: &str, message: &str) -> Fixture {
    fixture.status("MCPGatewayExtension", "mcp-system", "mcp-gateway", ["Ready", "False", reason, message])
}

/// A Gateway whose status nobody has written: what the API server defaults it to.
fn waiting(fixture: Fixture) -> Fixture {
    let (kind, namespace, name) = GATEWAY;
    let pending = ["Unknown", "Pending", "Waiting for controller"];
    let condition = |kind: &'static str| [kind, pending[0], pending[1], pending[2]];
    fixture
        .set(kind, namespace, name, "/status", json!({"conditions": []}))
        .status(kind, namespace, name, condition("Accepted"))
        .status(kind, namespace, name, condition("Programmed"))
}

/// Takes the proxy away, as Istio does when nothing asks for it any more.
fn without_proxy(mut fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("gateway-system", "mcp-gateway-istio");
    fixture.installation.objects.retain(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        let labelled =
            object["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"] == "mcp-gateway";
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let proxy =
            ["Deployment", "ReplicaSet", "Pod", "Service", "ServiceAccount", "EndpointSlice", "Endpoints"];
        !(proxy.contains(&kind)
            && object["metadata"]["namespace"] == "gateway-system"
            && (labelled || name.starts_with("mcp-gateway-istio")))
    });
    fixture.installation.logs.retain(|log| log.pod != pod);
    fixture.installation.extras.retain(|(path, _)| !path.contains(&pod));
    fixture
}

/// Routes whose parents nobody has accepted: Istio leaves no entry for a Gateway that is not its own.
fn routes_without_status(fixture: Fixture) -> Fixture {
    let mut fixture =
        fixture.set("HTTPRoute", "mcp-system", "mcp-gateway-route", "/status", json!({"parents": []}));
    for (namespace, name) in ROUTES {
        fixture = fixture.set("HTTPRoute", namespace, name, "/status", json!({"parents": []}));
    }
    fixture
}

fn deleted(fixture: Fixture) -> Fixture {
    let (kind, namespace, name) = GATEWAY;
    let fixture = routes_without_status(without_proxy(fixture).remove(kind, namespace, name));
    let fixture = registrations_not_ready(fixture, "no valid gateways for httproute");
    extension_not_ready(
        fixture,
        "InvalidMCPGatewayExtension",
        "invalid: gateway target gateway-system/mcp-gateway not found",
    )
}

/// Istio takes the options of a proxy from a ConfigMap, and refuses the Gateway while it is not there.
fn not_accepted(fixture: Fixture) -> Fixture {
    let (kind, namespace, name) = GATEWAY;
    let reference = json!({"group": "", "kind": "ConfigMap", "name": "gateway-options"});
    let message = format!("parametersRef ConfigMap {namespace}/gateway-options does not exist");
    fixture.set(kind, namespace, name, "/spec/infrastructure/parametersRef", reference).status(
        kind,
        namespace,
        name,
        ["Accepted", "False", "InvalidParameters", &message],
    )
}

/// A quota of the namespace leaves no room for the Gateway's Service, which Istio cannot make therefore.
fn no_quota(fixture: Fixture) -> Fixture {
    let (kind, namespace, name) = GATEWAY;
    let host = "mcp-gateway-istio.gateway-system.svc.cluster.local";
    let message = format!("Failed to assign to any requested addresses: hostname \"{host}\" not found");
    fixture
        .add(
            "{apiVersion: v1, kind: ResourceQuota, metadata: {name: edge, namespace: gateway-system}, \
             spec: {hard: {services.loadbalancers: '0'}}, \
             status: {hard: {services.loadbalancers: '0'}, used: {services.loadbalancers: '0'}}}",
        )
        .remove("Service", namespace, "mcp-gateway-istio")
        .remove_all("EndpointSlice", Some(namespace))
        .set(kind, namespace, name, "/status/addresses", Value::Null)
        .status(kind, namespace, name, ["Programmed", "False", "AddressNotUsable", &message])
}

/// The cloud has no address left, and says so in an event of the Service.
fn no_address(fixture: Fixture) -> Fixture {
    let (kind, namespace, name) = GATEWAY;
    let fixture = event(
        fixture,
        namespace,
        "Service",
        "mcp-gateway-istio",
        "SyncLoadBalancerFailed",
        "Error syncing load balancer: failed to ensure load balancer: googleapi: Error 403: Quota 'IN_USE_ADDRESSES' \
         exceeded. Limit: 8.0 in region europe-west3., quotaExceeded",
    );
    fixture
        .set(kind, namespace, name, "/status/addresses", Value::Null)
        .set("Service", namespace, "mcp-gateway-istio", "/status", json!({"loadBalancer": {}}))
        .status(
            kind,
            namespace,
            name,
            [
                "Programmed",
                "False",
                "AddressNotAssigned",
                "Assigned to service(s) mcp-gateway-istio.gateway-system.svc.cluster.local:8080, but failed to assign \
                 to all requested addresses: address pending for hostname \
                 \"mcp-gateway-istio.gateway-system.svc.cluster.local\"",
            ],
        )
}

fn service_selects_nothing(fixture: Fixture) -> Fixture {
    fixture.set(
        "Service",
        "gateway-system",
        "mcp-gateway-istio",
        "/spec/selector",
        json!({"gateway.networking.k8s.io/gateway-name": "mcp-gw"}),
    )
}

fn proxy_crashes(fixture: Fixture) -> Fixture {
    fixture.pod_waits("gateway-system", "mcp-gateway-istio", "ImagePullBackOff", "Back-off pulling image")
}

fn class_typo(fixture: Fixture) -> Fixture {
    let (kind, namespace, name) = GATEWAY;
    let fixture = fixture.set(kind, namespace, name, "/spec/gatewayClassName", json!("isto"));
    let fixture = routes_without_status(waiting(without_proxy(fixture)));
    registrations_not_ready(fixture, "no valid gateways for httproute")
}

fn class_not_accepted(fixture: Fixture) -> Fixture {
    let fixture = fixture.set(
        "GatewayClass",
        "",
        "istio",
        "/status/conditions",
        json!([{"type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z"}]),
    );
    let fixture = routes_without_status(waiting(without_proxy(fixture)));
    registrations_not_ready(fixture, "no valid gateways for httproute")
}

fn istiod_down(fixture: Fixture) -> Fixture {
    fixture.pod_waits("istio-system", "istiod", "ImagePullBackOff", "Back-off pulling image")
}

/// Sets a condition of a listener's status.
fn listener_status(
    fixture: Fixture,
    index: usize,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
) -> Fixture {
    fixture.edit(GATEWAY.0, GATEWAY.1, GATEWAY.2, |gateway| {
        let conditions = &mut gateway["status"]["listeners"][index]["conditions"];
        for condition in conditions.as_array_mut().into_iter().flatten() {
            if condition["type"] == kind {
                condition["status"] = json!(status);
                condition["reason"] = json!(reason);
                condition["message"] = json!(message);
            }
        }
    })
}

/// Adds a listener (with a healthy status) to the Gateway.
fn add_listener(fixture: Fixture, listener: Value) -> Fixture {
    fixture.edit(GATEWAY.0, GATEWAY.1, GATEWAY.2, |gateway| {
        let mut status = gateway["status"]["listeners"][1].clone();
        status["name"] = listener["name"].clone();
        status["attachedRoutes"] = json!(0);
        gateway["status"]["listeners"].as_array_mut().expect("statuses").push(status);
        gateway["spec"]["listeners"].as_array_mut().expect("listeners").push(listener);
    })
}

fn listener_unsupported(fixture: Fixture) -> Fixture {
    let listener =
        json!({"name": "quic", "port": 9443, "protocol": "example.com/QUIC", "hostname": "quic.example.com"});
    let message = "protocol \"example.com/QUIC\" is unsupported";
    listener_status(add_listener(fixture, listener), 2, "Accepted", "False", "UnsupportedProtocol", message)
}

fn certificate_gone(fixture: Fixture) -> Fixture {
    let listener = json!({"name": "https", "port": 8443, "protocol": "HTTPS", "hostname": "mcp.example.com",
        "tls": {"certificateRefs": [{"name": "mcp-example-com-tls"}]}});
    let message = "invalid certificate reference /Secret/mcp-example-com-tls. secret gateway-system/mcp-example-com-tls not found";
    let fixture = add_listener(fixture, listener);
    let fixture = listener_status(fixture, 2, "ResolvedRefs", "False", "InvalidCertificateRef", message);
    listener_status(fixture, 2, "Programmed", "False", "Invalid", "Bad TLS configuration")
}

fn port_conflict(fixture: Fixture) -> Fixture {
    let listener = json!({"name": "raw", "port": 8080, "protocol": "TCP"});
    let fixture = add_listener(fixture, listener);
    let fixture = listener_status(
        fixture,
        2,
        "Conflicted",
        "True",
        "ProtocolConflict",
        "Listener with conflicting protocol",
    );
    listener_status(fixture, 2, "Accepted", "False", "ProtocolConflict", "Listener with conflicting protocol")
}

fn resolves_elsewhere(fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("gateway-system", "mcp-gateway-istio");
    fixture.probe(&format!("dns.mcp-system.mcp-gateway.mcp.example.com.{pod}"), |probe| {
        probe["addresses"] = json!(["203.0.113.99"]);
    })
}

fn dns_elsewhere(fixture: Fixture) -> Fixture {
    fixture.add(
        r"
apiVersion: kuadrant.io/v1alpha1
kind: DNSRecord
metadata: {name: mcp-gateway-mcp, namespace: gateway-system}
spec:
  rootHost: mcp.example.com
  endpoints:
  - {dnsName: mcp.example.com, recordType: A, recordTTL: 60, targets: [198.51.100.99]}
status:
  conditions:
  - {type: Ready, status: 'True', reason: ProviderSuccess, message: Provider ensured the dns record}
",
    )
}
