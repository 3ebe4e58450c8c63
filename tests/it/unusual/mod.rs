//! Corners of the semantics: healthy installations that look broken, and faults that look healthy. Of each the
//! errors and warnings are compared in full, so that neither a miss nor a false alarm goes by.

mod chain;
mod data_plane;
mod deployed;
mod guides;
mod implementations;
mod logs;
mod policies;
mod reviewed;
mod routes;
mod specs;

use std::collections::BTreeSet;

use oc_mcpgw::report::Severity;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::fixture_kinds::{certificate, https_wildcard, openshift, two_gateways};

/// An installation, and the codes of all its errors and warnings: the root first (others with `+`), then what follows.
type Case = (&'static str, fn() -> Fixture, &'static [&'static str]);

const GATEWAY: [&str; 3] = ["Gateway", "gateway-system", "mcp-gateway"];
const EXTENSION: [&str; 3] = ["MCPGatewayExtension", "mcp-system", "mcp-gateway"];

#[test]
fn corners_are_judged_as_the_controllers_and_the_proxy_do() {
    let all = [
        NETWORKS,
        OBJECTS,
        data_plane::PROXIES,
        data_plane::POLICIES,
        data_plane::PASTS,
        chain::CHAINS,
        specs::SPECS,
        routes::ROUTES,
        deployed::DEPLOYED,
        implementations::IMPLEMENTATIONS,
        guides::GUIDES,
        logs::LOGS,
        policies::CONDITIONS,
        reviewed::REVIEWED,
    ];
    let mut wrong = Vec::new();
    for (name, fixture, expected) in all.into_iter().flatten() {
        let report = fixture().report();
        let grave: Vec<_> = report.findings.iter().filter(|f| f.severity != Severity::Info).collect();
        let found: BTreeSet<&str> = grave.iter().map(|f| f.code.as_str()).collect();
        let roots = grave.iter().filter(|f| f.caused_by.is_empty()).map(|f| f.code.as_str());
        let roots: BTreeSet<&str> = roots.collect();
        let own_roots = expected.iter().skip(1).filter(|code| code.starts_with('+'));
        let expected_roots: BTreeSet<&str> =
            expected.first().into_iter().chain(own_roots).map(|c| bare(c)).collect();
        if found != expected.iter().map(|code| bare(code)).collect() || roots != expected_roots {
            let lines: Vec<String> =
                grave.iter().map(|f| format!("  {} {:?} {}", f.code, f.caused_by, f.title)).collect();
            wrong.push(format!("{name}: expected {expected:?}, found\n{}", lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} corners:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_the_bundle_cannot_tell_is_said_and_nothing_else() {
    for (name, fixture, code) in chain::UNDECIDED {
        let report = fixture().report();
        assert!(
            report.unknown.iter().any(|u| u.codes.iter().any(|c| c == code)),
            "{name}: {code} is decided"
        );
        assert!(report.findings.iter().all(|f| f.code != *code), "{name}: {code} is reported");
    }
}

fn bare(code: &'static str) -> &'static str {
    code.trim_start_matches('+')
}

fn healthy() -> Fixture {
    Fixture::healthy()
}

fn at(fixture: Fixture, [kind, namespace, name]: [&str; 3], pointer: &str, value: Value) -> Fixture {
    fixture.set(kind, namespace, name, pointer, value)
}

/// Networks: what policies let through.
const NETWORKS: &[Case] = &[
    (
        "DNS of OpenShift listens on 5353, where policies see it",
        || broker_egress("{ports: [{protocol: UDP, port: 5353}, {protocol: TCP, port: 5353}]}"),
        &[],
    ),
    ("DNS by the name of its port", || broker_egress("{ports: [{protocol: UDP, port: dns}]}"), &[]),
    (
        "the session store has a port of its own",
        || store_on("6380", "{protocol: UDP, port: 53}, {protocol: TCP, port: 6380}"),
        &[],
    ),
    (
        "the session store's own port is closed",
        || store_on("6380", "{protocol: UDP, port: 53}, {protocol: TCP, port: 6379}"),
        &["MG232"],
    ),
    (
        "an egress firewall allows ranges, of which one may hold the host",
        || {
            firewall(
                "{type: Allow, to: {cidrSelector: 203.0.113.0/24}}, {type: Deny, to: {cidrSelector: 0.0.0.0/0}}",
            )
        },
        &[],
    ),
    (
        "an egress firewall denies other ports",
        || firewall("{type: Deny, to: {cidrSelector: 0.0.0.0/0}, ports: [{protocol: TCP, port: 25}]}"),
        &[],
    ),
    (
        "an egress firewall allows other ports before it denies all",
        || {
            firewall(
                "{type: Allow, to: {dnsName: tickets.vendor.example}, ports: [{protocol: TCP, port: 80}]}, {type: Deny, to: {cidrSelector: 0.0.0.0/0}}",
            )
        },
        &["MG511"],
    ),
    (
        "a server lets the broker in, but not the gateway",
        || {
            let ingress = "{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: mcp-system}}}]}]}";
            healthy().add(
                &network_policy("from-broker", ingress)
                    .replace("namespace: mcp-system}\nspec", "namespace: team-weather}\nspec"),
            )
        },
        &["MG232"],
    ),
];

fn network_policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: mcp-system}}\nspec: {spec}\n---\n"
    )
}

/// The broker may go out as the rule says, and to all namespaces and the internet.
fn broker_egress(rule: &str) -> Fixture {
    healthy().add(&network_policy(
        "egress",
        &format!(
            "{{podSelector: {{matchLabels: {{app.kubernetes.io/name: mcp-gateway}}}}, policyTypes: [Egress], egress: [{rule}, {{ports: [{{protocol: TCP}}]}}]}}"
        ),
    ))
}

fn store_on(port: &str, ports: &str) -> Fixture {
    at(healthy(), EXTENSION, "/spec/sessionStore", json!({"secretName": "sessions"})).add(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: sessions, namespace: mcp-system, labels: {{mcp.kuadrant.io/secret: 'true'}}}}\nstringData: {{CACHE_CONNECTION_STRING: \"rediss://user:not-a-real-password@sessions.cache.example:{port}/0\"}}\n---\n{}",
        network_policy("egress", &format!("{{podSelector: {{matchLabels: {{app.kubernetes.io/name: mcp-gateway}}}}, policyTypes: [Egress], egress: [{{ports: [{ports}, {{protocol: TCP, port: 443}}, {{protocol: TCP, port: 8080, endPort: 9999}}]}}]}}"))
    ))
}

fn firewall(rules: &str) -> Fixture {
    healthy().add(&format!(
        "apiVersion: k8s.ovn.org/v1\nkind: EgressFirewall\nmetadata: {{name: default, namespace: mcp-system}}\nspec: {{egress: [{rules}]}}\n"
    ))
}

/// Objects of the MCP gateway and of the Gateway API.
const OBJECTS: &[Case] = &[
    ("a disabled server is scaled to 0", disabled_and_scaled_down, &[]),
    ("a disabled server has no route any more", disabled_without_route, &[]),
    (
        "a registration is being deleted",
        || {
            deleting("MCPServerRegistration", "team-weather", "weather", "2026-09-14T10:29:55Z").set(
                "MCPServerRegistration",
                "team-weather",
                "weather",
                "/spec/targetRef/name",
                json!("gone"),
            )
        },
        &[],
    ),
    (
        "an extension has been waiting for its finalizer",
        || deleting(EXTENSION[0], EXTENSION[1], EXTENSION[2], "2026-09-14T09:30:00Z"),
        &["MG310", "MG311", "MG403"],
    ),
    ("a listener has a certificate for each name", two_certificates, &[]),
    ("the public host is not in the certificate of a listener for all hosts", other_public_host, &["MG206"]),
    ("the private host is a plain listener beside the public one", plain_hairpin, &[]),
    ("a Route for another path of the public host", route_for_docs, &[]),
    (
        "a Route that its router has not admitted",
        || {
            openshift().edit("Route", "openshift-ingress", "mcp-gateway", |route| {
        route["status"]["ingress"][0]["conditions"][0] = json!({"type": "Admitted", "status": "False", "reason": "HostAlreadyClaimed", "message": "a route in another namespace holds host"});
    })
        },
        &["MG218"],
    ),
    (
        "a Route to a port that the Service does not have",
        || {
            openshift().set(
                "Route",
                "openshift-ingress",
                "mcp-gateway",
                "/spec/port/targetPort",
                json!("mcps"),
            )
        },
        &["MG218"],
    ),
    (
        "a Route with TLS to the pod before a plain listener",
        || {
            openshift().set(
                "Route",
                "openshift-ingress",
                "mcp-gateway",
                "/spec/tls",
                json!({"termination": "passthrough"}),
            )
        },
        &["MG218"],
    ),
    (
        "only another controller has written a status",
        || {
            healthy().edit("HTTPRoute", "team-weather", "weather", |route| {
        let parent = &mut route["status"]["parents"][0];
        parent["controllerName"] = json!("kuadrant.io/policy-controller");
        parent["conditions"] = json!([{"type": "kuadrant.io/AuthPolicyAffected", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-08-26T07:00:05Z"}]);
    })
        },
        &["MG217", "MG403"],
    ),
    ("a Hostname that is a Service of the cluster", service_by_host, &[]),
    ("the CA bundle is no CA", no_ca, &["MG309", "MG311", "MG403"]),
    ("the session store's connection string is empty", empty_store, &["MG309", "MG311", "MG403"]),
    ("the CA of a server is a leaf", leaf_for_a_server, &["MG403"]),
    ("a mesh of OSSM 2 beside the built-in gateways", old_mesh_beside, &[]),
    ("an old version whose extensions name no listener", no_listeners, &["MG004"]),
    ("a Deployment named like the controller", || healthy().add(&dashboard()), &[]),
    ("evicted pods stay listed", evicted, &[]),
    ("a sidecar declares its ports, the server none", undeclared_port, &[]),
    ("a parentRef's port leads past the router", port_past_router, &["MG311"]),
    ("a BackendTLSPolicy beside a rule for connections", backend_tls_policy, &[]),
    ("the route's host is the external one", host_of_vendor, &[]),
    ("the broker is being rolled out", || rollout("2026-09-14T10:29:30Z"), &[]),
    ("the broker's rollout is stuck", || rollout("2026-09-14T09:29:30Z"), &["MG705", "MG312", "MG310"]),
    ("a server that has moved to another gateway", moved_server, &["MG422"]),
];

fn disabled_and_scaled_down() -> Fixture {
    let mut fixture = healthy()
        .set("MCPServerRegistration", "team-commerce", "inventory", "/spec/state", json!("Disabled"))
        .set("Deployment", "team-commerce", "inventory", "/spec/replicas", json!(0))
        .set(
            "Deployment",
            "team-commerce",
            "inventory",
            "/status",
            json!({"observedGeneration": 1, "conditions": []}),
        )
        .set("MCPVirtualServer", "mcp-system", "shop-assistant", "/spec/tools", json!(["orders_get_order"]));
    let pod = fixture.pod_of("team-commerce", "inventory");
    fixture = fixture.remove("Pod", "team-commerce", &pod).edit_all("EndpointSlice", |slice| {
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] == "inventory" {
            slice["endpoints"] = json!([]);
        }
    });
    disabled_in_config(fixture).refresh_answers()
}

fn disabled_in_config(fixture: Fixture) -> Fixture {
    use base64::Engine as _;
    let secret = fixture.installation.get("Secret", "mcp-system", "mcp-gateway-config").expect("a config");
    let data = secret["data"]["config.yaml"].as_str().expect("data");
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
    let before = String::from_utf8(bytes).expect("text");
    let after =
        before.replace("prefix: inventory_\n  state: Enabled", "prefix: inventory_\n  state: Disabled");
    assert_ne!(before, after, "the configuration has the server");
    fixture.config("mcp-system", &after)
}

fn disabled_without_route() -> Fixture {
    let fixture = healthy()
        .set("MCPServerRegistration", "team-commerce", "inventory", "/spec/state", json!("Disabled"))
        .remove("HTTPRoute", "team-commerce", "inventory")
        .set("MCPVirtualServer", "mcp-system", "shop-assistant", "/spec/tools", json!(["orders_get_order"]));
    disabled_in_config(fixture).refresh_answers()
}

fn deleting(kind: &str, namespace: &str, name: &str, since: &str) -> Fixture {
    healthy().edit(kind, namespace, name, |object| {
        object["metadata"]["deletionTimestamp"] = json!(since);
        object["metadata"]["finalizers"] = json!(["mcp.kuadrant.io/finalizer"]);
    })
}

fn tls_secret(name: &str, names: &[&str]) -> String {
    let pem: String = certificate(names, 2026, 2027).lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: gateway-system}}\ntype: kubernetes.io/tls\nstringData:\n  tls.key: not-a-real-key\n  tls.crt: |\n{pem}---\n"
    )
}

fn two_certificates() -> Fixture {
    https_wildcard().add(&tls_secret("other-tls", &["*.elsewhere.example.com"])).edit(
        GATEWAY[0],
        GATEWAY[1],
        GATEWAY[2],
        |gateway| {
            let references = &mut gateway["spec"]["listeners"][0]["tls"]["certificateRefs"];
            references
                .as_array_mut()
                .expect("references")
                .push(json!({"kind": "Secret", "name": "other-tls"}));
        },
    )
}

fn other_public_host() -> Fixture {
    let fixture = https_wildcard().edit(GATEWAY[0], GATEWAY[1], GATEWAY[2], |gateway| {
        gateway["spec"]["listeners"][0].as_object_mut().expect("a listener").remove("hostname");
    });
    // Without hostname the controller wants section names.
    at(fixture, EXTENSION, "/spec/publicHost", json!("mcp.tools.example.com"))
        .edit_all("HTTPRoute", |route| route["spec"]["parentRefs"][0]["sectionName"] = json!("mcps"))
        .edit_all("HTTPRoute", |route| {
            route["status"]["parents"][0]["parentRef"]["sectionName"] = json!("mcps");
        })
        .edit("Secret", "gateway-system", "tools-tls", |secret| {
            use base64::Engine as _;
            let pem = certificate(&["*.elsewhere.example.com"], 2026, 2027);
            secret["data"]["tls.crt"] = json!(base64::engine::general_purpose::STANDARD.encode(pem));
        })
}

/// The router calls back over a plain listener that only the cluster reaches.
fn plain_hairpin() -> Fixture {
    let fixture = https_wildcard()
        .edit(GATEWAY[0], GATEWAY[1], GATEWAY[2], |gateway| {
            let mut listener = gateway["spec"]["listeners"][0].clone();
            listener["name"] = json!("inside");
            listener["port"] = json!(8081);
            listener["protocol"] = json!("HTTP");
            listener.as_object_mut().expect("a listener").remove("tls");
            gateway["spec"]["listeners"].as_array_mut().expect("listeners").push(listener);
            let mut status = gateway["status"]["listeners"][0].clone();
            status["name"] = json!("inside");
            gateway["status"]["listeners"].as_array_mut().expect("listeners").push(status);
        })
        .edit("Service", "gateway-system", "mcp-gateway-istio", |service| {
            service["spec"]["ports"]
                .as_array_mut()
                .expect("ports")
                .push(json!({"name": "inside", "port": 8081, "targetPort": 8081}));
        });
    let host = "mcp-gateway-istio.gateway-system.svc.cluster.local:8081";
    let fixture = at(fixture, EXTENSION, "/spec/privateHost", json!(host));
    crate::faults::deployed(fixture, "--mcp-gateway-private-host", host).refresh_answers()
}

fn route_for_docs() -> Fixture {
    openshift().add(
        r#"
apiVersion: route.openshift.io/v1
kind: Route
metadata: {name: docs, namespace: docs, creationTimestamp: "2026-08-21T09:20:00Z"}
spec:
  host: mcp.apps.example.com
  path: /docs
  to: {kind: Service, name: docs, weight: 100}
status:
  ingress:
  - {host: mcp.apps.example.com, routerName: default, conditions: [{type: Admitted, status: "True"}]}
"#,
    )
}

/// Istio takes a Service of the cluster by its full name, too.
fn service_by_host() -> Fixture {
    let host = "weather.team-weather.svc.cluster.local";
    healthy().edit("HTTPRoute", "team-weather", "weather", |route| {
        let backend = &mut route["spec"]["rules"][0]["backendRefs"][0];
        backend["group"] = json!("networking.istio.io");
        backend["kind"] = json!("Hostname");
        backend["name"] = json!(host);
    })
}

fn unusable(reason: &str, message: &str, fixture: Fixture) -> Fixture {
    let fixture = crate::faults::extension_not_ready(fixture, reason, message);
    crate::faults::registrations_not_ready(fixture, "no valid mcpgatewayextensions configured")
}

fn labelled(name: &str, namespace: &str, key: &str, value: &str) -> String {
    let value: String = value.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{mcp.kuadrant.io/secret: 'true'}}}}\nstringData:\n  {key}: |-\n{value}\n"
    )
}

fn no_ca() -> Fixture {
    let fixture = at(healthy(), EXTENSION, "/spec/caCertBundleRef", json!({"name": "ca"}));
    let fixture =
        fixture.add(&labelled("ca", "mcp-system", "ca.crt", &certificate(&["sso.example.com"], 2026, 2027)));
    let message =
        "CA bundle in secret ca is invalid: certificate for \"sso.example.com\" is not a CA certificate";
    unusable("SecretInvalid", message, fixture)
}

fn empty_store() -> Fixture {
    let fixture = at(healthy(), EXTENSION, "/spec/sessionStore", json!({"secretName": "sessions"}));
    let fixture = fixture.add(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: sessions, namespace: mcp-system, labels: {mcp.kuadrant.io/secret: 'true'}}\nstringData: {CACHE_CONNECTION_STRING: ''}\n",
    );
    let message = "session store secret sessions has empty \"CACHE_CONNECTION_STRING\" value";
    unusable("SecretInvalid", message, fixture)
}

fn leaf_for_a_server() -> Fixture {
    let fixture = healthy()
        .set(
            "MCPServerRegistration",
            "team-weather",
            "weather",
            "/spec/caCertSecretRef",
            json!({"name": "ca"}),
        )
        .add(&labelled("ca", "team-weather", "ca.crt", &certificate(&["weather.example.com"], 2026, 2027)));
    crate::faults::registration_not_ready(
        fixture,
        "team-weather",
        "weather",
        "CA certificate secret ca is invalid: certificate for \"weather.example.com\" is not a CA certificate",
    )
}

/// From OpenShift 4.22 on there is no Istio resource of the built-in gateways.
fn old_mesh_beside() -> Fixture {
    openshift().remove_all("Istio", None).add(
        "apiVersion: maistra.io/v2\nkind: ServiceMeshControlPlane\nmetadata: {name: basic, namespace: legacy-mesh}\nspec: {version: v2.6}\n",
    )
}

fn no_listeners() -> Fixture {
    let fixture = at(healthy(), EXTENSION, "/spec/targetRef/sectionName", Value::Null);
    fixture.edit("CustomResourceDefinition", "", "mcpgatewayextensions.mcp.kuadrant.io", |definition| {
        for version in definition["spec"]["versions"].as_array_mut().expect("versions") {
            let target = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["targetRef"];
            *target = json!({"type": "object", "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}}});
        }
    })
}

fn dashboard() -> String {
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: mcp-gateway-controller-dashboard, namespace: tools, creationTimestamp: \"2026-08-21T08:00:00Z\"}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: dashboard}}\n  template:\n    metadata: {labels: {app: dashboard}}\n    spec: {containers: [{name: web, image: \"quay.io/example/dashboard:1\"}]}\n".to_owned()
}

/// The kubelet has evicted pods of the day before; their replacements run.
fn evicted() -> Fixture {
    let mut fixture = healthy();
    for (namespace, name) in
        [("mcp-system", "mcp-gateway"), ("team-weather", "weather"), ("gateway-system", "mcp-gateway-istio")]
    {
        let mut pod = fixture
            .installation
            .get("Pod", namespace, &fixture.pod_of(namespace, name))
            .expect("a pod")
            .clone();
        let old = format!(
            "{}-ev1ct",
            pod["metadata"]["name"].as_str().expect("a name").rsplit_once('-').expect("a name").0
        );
        pod["metadata"]["name"] = json!(old);
        pod["metadata"]["uid"] = json!(format!("evicted-{name}"));
        let container = pod["status"]["containerStatuses"][0]["name"].clone();
        pod["status"] = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory.",
            "conditions": [{"type": "Ready", "status": "False", "reason": "PodFailed", "lastTransitionTime": "2026-09-13T03:00:00Z"}],
            "containerStatuses": [{"name": container, "ready": false, "restartCount": 2, "image": "x",
                "state": {"terminated": {"exitCode": 137, "reason": "Error", "finishedAt": "2026-09-13T03:00:00Z"}}}]});
        fixture.installation.objects.push(pod);
    }
    fixture
}

fn undeclared_port() -> Fixture {
    let fixture =
        healthy().set("Service", "team-commerce", "orders", "/spec/ports/0/targetPort", json!(9090));
    fixture.edit("Pod", "team-commerce", "orders", |pod| {
        pod["spec"]["containers"][0].as_object_mut().expect("a container").remove("ports");
        pod["spec"]["containers"]
            .as_array_mut()
            .expect("containers")
            .push(json!({"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.29.0",
            "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}]}));
        let mut status = pod["status"]["containerStatuses"][0].clone();
        status["name"] = json!("istio-proxy");
        pod["status"]["containerStatuses"].as_array_mut().expect("statuses").push(status);
    })
}

/// The second gateway's broker still has a server of the first.
fn moved_server() -> Fixture {
    let fixture = two_gateways();
    let servers = |fixture: &Fixture, namespace: &str| {
        use base64::Engine as _;
        let secret = fixture.installation.get("Secret", namespace, "mcp-gateway-config").expect("a config");
        let data = secret["data"]["config.yaml"].as_str().expect("data");
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).expect("base64"))
            .expect("text")
    };
    let first = servers(&fixture, "mcp-system");
    let weather =
        first.split("- name: ").find(|entry| entry.starts_with("team-weather/weather")).expect("the server");
    let second = servers(&fixture, "mcp-b");
    let mut lines = second.trim_end().to_owned();
    lines.push_str(&format!("\n- name: {weather}"));
    fixture.config("mcp-b", &lines).refresh_answers()
}

/// Without sectionName the controller goes by the hostname, Istio by the port.
fn port_past_router() -> Fixture {
    let fixture = data_plane::listener(healthy(), "other", 8081, "HTTP", &json!({"hostname": "*.mcp.local"}));
    let parent = |parent: &mut Value| {
        parent.as_object_mut().expect("a parentRef").remove("sectionName");
        parent["port"] = json!(8081);
    };
    fixture
        .edit("HTTPRoute", "team-weather", "weather", |route| {
            parent(&mut route["spec"]["parentRefs"][0]);
            parent(&mut route["status"]["parents"][0]["parentRef"]);
        })
        .refresh_answers()
}

fn backend_tls_policy() -> Fixture {
    healthy()
        .set("DestinationRule", "team-platform", "tickets-vendor", "/spec/trafficPolicy", json!({"connectionPool": {"http": {"maxRetries": 2}}}))
        .add("apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: tickets, namespace: team-platform}\nspec:\n  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: tickets-vendor}]\n  validation: {hostname: tickets.vendor.example, wellKnownCACertificates: System}\n")
}

fn host_of_vendor() -> Fixture {
    data_plane::listener(healthy(), "vendors", 8080, "HTTP", &json!({"hostname": "*.vendor.example"}))
        .edit("HTTPRoute", "team-platform", "tickets", |route| {
            route["spec"]["hostnames"] = json!(["tickets.vendor.example"]);
            route["spec"]["rules"][0].as_object_mut().expect("a rule").remove("filters");
            route["spec"]["parentRefs"][0]["sectionName"] = json!("vendors");
            route["status"]["parents"][0]["parentRef"]["sectionName"] = json!("vendors");
        })
        .refresh_answers()
}

/// A second pod of the next template has not become ready yet.
fn rollout(since: &str) -> Fixture {
    healthy().edit("Deployment", "mcp-system", "mcp-gateway", |deployment| {
        let status = &mut deployment["status"];
        status["replicas"] = json!(2);
        status["updatedReplicas"] = json!(1);
        status["unavailableReplicas"] = json!(1);
        let conditions = status["conditions"].as_array_mut().expect("conditions");
        conditions.retain(|c| c["type"] != "Progressing");
        conditions.push(json!({"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": since, "lastTransitionTime": since}));
    })
}
