//! Faults of servers outside the cluster.

use serde_json::json;

use super::Fault;
use super::gateways::registration_not_ready;
use super::registrations::broker_fails;
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault { code: "MG501", name: "the ServiceEntry is gone", root: true, apply: entry_gone },
    Fault { code: "MG502", name: "the ServiceEntry's host has a typo", root: true, apply: entry_host },
    Fault { code: "MG503", name: "the ServiceEntry is not exported", root: true, apply: entry_export },
    Fault { code: "MG504", name: "the DestinationRule is gone", root: true, apply: rule_gone },
    Fault { code: "MG505", name: "the DestinationRule's host has a typo", root: true, apply: rule_host },
    Fault { code: "MG506", name: "the DestinationRule begins no TLS", root: true, apply: rule_tls },
    Fault { code: "MG507", name: "the backend's port is not the entry's", root: true, apply: backend_port },
    Fault { code: "MG508", name: "the host is not rewritten", root: true, apply: no_rewrite },
    Fault {
        code: "MG509",
        name: "the host does not resolve in the broker's pod",
        root: true,
        apply: unknown_inside,
    },
    Fault {
        code: "MG510",
        name: "the host does not answer the gateway's pod",
        root: true,
        apply: silent_inside,
    },
    Fault { code: "MG509", name: "the host does not resolve", root: true, apply: dns },
    Fault { code: "MG510", name: "the host does not answer", root: true, apply: timeout },
    Fault { code: "MG511", name: "a policy denies egress", root: true, apply: egress },
    Fault { code: "MG511", name: "the baseline denies the internet", root: true, apply: baseline },
    Fault {
        code: "MG511",
        name: "the mesh lets the broker reach registered hosts only",
        root: true,
        apply: registry_only,
    },
];

const ENTRY: (&str, &str, &str) = ("ServiceEntry", "team-platform", "tickets-vendor");
const RULE: (&str, &str, &str) = ("DestinationRule", "team-platform", "tickets-vendor");
const ROUTE: (&str, &str, &str) = ("HTTPRoute", "team-platform", "tickets");

/// What Istio writes for a host that it does not know.
fn not_found(fixture: Fixture) -> Fixture {
    fixture.route_status(
        ROUTE.1,
        ROUTE.2,
        ["ResolvedRefs", "False", "BackendNotFound", "backend(tickets.vendor.example) not found"],
    )
}

fn entry_gone(fixture: Fixture) -> Fixture {
    not_found(fixture.remove(ENTRY.0, ENTRY.1, ENTRY.2)).refresh_answers()
}

fn entry_host(fixture: Fixture) -> Fixture {
    let host = json!(["ticket.vendor.example"]);
    not_found(fixture.set(ENTRY.0, ENTRY.1, ENTRY.2, "/spec/hosts", host)).refresh_answers()
}

fn entry_export(fixture: Fixture) -> Fixture {
    fixture.set(ENTRY.0, ENTRY.1, ENTRY.2, "/spec/exportTo", json!(["."]))
}

fn rule_gone(fixture: Fixture) -> Fixture {
    fixture.remove(RULE.0, RULE.1, RULE.2)
}

fn rule_host(fixture: Fixture) -> Fixture {
    fixture.set(RULE.0, RULE.1, RULE.2, "/spec/host", json!("ticket.vendor.example"))
}

fn rule_tls(fixture: Fixture) -> Fixture {
    fixture.set(RULE.0, RULE.1, RULE.2, "/spec/trafficPolicy/tls", json!({"mode": "DISABLE"}))
}

fn backend_port(fixture: Fixture) -> Fixture {
    fixture.set(ROUTE.0, ROUTE.1, ROUTE.2, "/spec/rules/0/backendRefs/0/port", json!(8443)).refresh_answers()
}

fn no_rewrite(fixture: Fixture) -> Fixture {
    fixture.set(ROUTE.0, ROUTE.1, ROUTE.2, "/spec/rules/0/filters", json!([]))
}

fn fails(fixture: Fixture, message: &str) -> Fixture {
    let fixture = broker_fails(fixture, "team-platform/tickets", message);
    registration_not_ready(fixture, "team-platform", "tickets", message)
}

fn unknown_inside(fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("mcp-system", "mcp-gateway");
    let about = "team-platform.tickets.tickets.vendor.example";
    ["dns", "https"].iter().fold(fixture, |fixture, purpose| {
        fixture.probe(&format!("{purpose}.{about}.{pod}"), |probe| {
            probe["addresses"] = json!([]);
            probe["status"] = json!(null);
            probe["error"] = json!({"reason": "UnknownHost", "message": "the name does not resolve"});
        })
    })
}

fn silent_inside(fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("gateway-system", "mcp-gateway-istio");
    fixture.probe(&format!("https.team-platform.tickets.tickets.vendor.example.{pod}"), |probe| {
        probe["status"] = json!(null);
        probe["error"] = json!({"reason": "ConnectTimeout", "message": "curl: (28) Connection timed out"});
    })
}

fn dns(fixture: Fixture) -> Fixture {
    fails(fixture, "dial tcp: lookup tickets.vendor.example on 10.96.0.10:53: no such host")
}

fn timeout(fixture: Fixture) -> Fixture {
    fails(fixture, "dial tcp 203.0.113.7:443: i/o timeout")
}

/// The broker's pod has a sidecar, and the ServiceEntry is shown to the gateway alone.
fn registry_only(fixture: Fixture) -> Fixture {
    fixture
        .set(ENTRY.0, ENTRY.1, ENTRY.2, "/spec/exportTo", json!([".", "gateway-system"]))
        .edit_all("Pod", |pod| {
            if pod["metadata"]["namespace"] == "mcp-system"
                && pod["metadata"]["labels"]["app.kubernetes.io/name"] == "mcp-gateway"
            {
                let mut sidecar = pod["spec"]["containers"][0].clone();
                sidecar["name"] = json!("istio-proxy");
                let mut status = pod["status"]["containerStatuses"][0].clone();
                status["name"] = json!("istio-proxy");
                pod["spec"]["containers"].as_array_mut().expect("containers").push(sidecar);
                pod["status"]["containerStatuses"].as_array_mut().expect("statuses").push(status);
            }
        })
        .add(
            r"
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: mcp-system}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
",
        )
}

fn baseline(fixture: Fixture) -> Fixture {
    fixture.add(
        r"
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default}
spec:
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: mcp-system}}}
  egress:
  - {name: no-internet, action: Deny, to: [{networks: [0.0.0.0/0]}], ports: [{portNumber: {protocol: TCP, port: 443}}]}
",
    )
}

fn egress(fixture: Fixture) -> Fixture {
    fixture.add(
        r"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: inside-only, namespace: mcp-system}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/name: mcp-gateway}}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {}
",
    )
}
