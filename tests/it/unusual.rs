//! Corners of the semantics: healthy installations that look broken, and faults that look healthy. Of each the
//! errors and warnings are compared in full, so that neither a miss nor a false alarm goes by.

use std::collections::BTreeSet;

use oc_mcpgw::report::Severity;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::fixture_kinds::{certificate, https_wildcard, openshift, two_gateways};

/// An installation, and the codes of all its errors and warnings: the root first, then what follows from it.
type Case = (&'static str, fn() -> Fixture, &'static [&'static str]);

const GATEWAY: [&str; 3] = ["Gateway", "gateway-system", "mcp-gateway"];
const EXTENSION: [&str; 3] = ["MCPGatewayExtension", "mcp-system", "mcp-gateway"];

#[test]
fn corners_are_judged_as_the_controllers_and_the_proxy_do() {
    let all = [NETWORKS, OBJECTS, PROXIES, POLICIES, PASTS];
    let mut wrong = Vec::new();
    for (name, fixture, expected) in all.into_iter().flatten() {
        let report = fixture().report();
        let grave: Vec<_> = report.findings.iter().filter(|f| f.severity != Severity::Info).collect();
        let found: BTreeSet<&str> = grave.iter().map(|f| f.code.as_str()).collect();
        let roots = grave.iter().filter(|f| f.caused_by.is_empty()).map(|f| f.code.as_str());
        let roots: BTreeSet<&str> = roots.collect();
        if found != expected.iter().copied().collect()
            || roots != expected.first().copied().into_iter().collect()
        {
            let lines: Vec<String> =
                grave.iter().map(|f| format!("  {} {:?} {}", f.code, f.caused_by, f.title)).collect();
            wrong.push(format!("{name}: expected {expected:?}, found\n{}", lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{} corners:\n{}", wrong.len(), wrong.join("\n"));
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
    ("a Deployment named like the controller", || healthy().add(&dashboard()), &[]),
    ("evicted pods stay listed", evicted, &[]),
    ("a sidecar declares its ports, the server none", undeclared_port, &[]),
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
            route["status"]["parents"][0]["parentRef"]["sectionName"] = json!("mcps")
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
    at(
        fixture,
        EXTENSION,
        "/spec/privateHost",
        json!("mcp-gateway-istio.gateway-system.svc.cluster.local:8081"),
    )
    .refresh_answers()
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

/// Envoy and what is put into it.
const PROXIES: &[Case] = &[
    ("a processor of another product stands in the chain", || processor(true), &[]),
    ("only a processor of another product stands in the chain", || processor(false), &["MG223"]),
    ("a listener for TLS without routes is not in Envoy", tls_listener, &[]),
    ("a plain listener that only redirects", redirect, &[]),
];

/// Adds the filter of another product, whose service is away and which lets all pass then.
fn processor(with_ours: bool) -> Fixture {
    let foreign = json!({"name": "envoy.filters.http.ext_proc", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "failure_mode_allow": true,
        "grpc_service": {"envoy_grpc": {"cluster_name": "outbound|9002||picker.inference.svc.cluster.local"}}}});
    crate::faults::edit_answer(healthy(), "config_dump.json", |dump| {
        let sections = dump["configs"].as_array_mut().expect("sections");
        let listeners = sections.iter_mut().find(|s| s["dynamic_listeners"].is_array()).expect("listeners");
        for listener in listeners["dynamic_listeners"].as_array_mut().expect("listeners") {
            for chain in listener["active_state"]["listener"]["filter_chains"].as_array_mut().expect("chains")
            {
                let filters =
                    chain["filters"][0]["typed_config"]["http_filters"].as_array_mut().expect("filters");
                if !with_ours {
                    filters.retain(|f| !f.to_string().contains("outbound|50051|"));
                }
                filters.insert(0, foreign.clone());
            }
        }
    })
}

fn listener(fixture: Fixture, name: &str, port: i64, protocol: &str, more: &Value) -> Fixture {
    fixture.edit(GATEWAY[0], GATEWAY[1], GATEWAY[2], |gateway| {
        let mut added = json!({"name": name, "port": port, "protocol": protocol, "allowedRoutes": {"namespaces": {"from": "All"}}});
        added.as_object_mut().expect("a listener").extend(more.as_object().expect("fields").clone());
        gateway["spec"]["listeners"].as_array_mut().expect("listeners").push(added);
        let mut status = gateway["status"]["listeners"][0].clone();
        status["name"] = json!(name);
        status["attachedRoutes"] = json!(0);
        gateway["status"]["listeners"].as_array_mut().expect("listeners").push(status);
    })
}

fn tls_listener() -> Fixture {
    listener(healthy(), "databases", 5432, "TLS", &json!({"tls": {"mode": "Passthrough"}}))
}

fn redirect() -> Fixture {
    listener(healthy(), "web", 80, "HTTP", &json!({"hostname": "mcp.example.com"}))
        .add(
            r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect, namespace: gateway-system, generation: 1, creationTimestamp: "2026-09-01T10:00:00Z"}
spec:
  hostnames: [mcp.example.com]
  parentRefs: [{name: mcp-gateway, sectionName: web}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}]
status:
  parents:
  - controllerName: istio.io/gateway-controller
    parentRef: {group: gateway.networking.k8s.io, kind: Gateway, name: mcp-gateway, sectionName: web}
    conditions:
    - {type: Accepted, status: "True", reason: Accepted, message: Route was valid, observedGeneration: 1, lastTransitionTime: "2026-09-01T10:00:01Z"}
    - {type: ResolvedRefs, status: "True", reason: ResolvedRefs, message: All references resolved, observedGeneration: 1, lastTransitionTime: "2026-09-01T10:00:01Z"}
"#,
        )
        .refresh_answers()
}

/// Policies of Kuadrant.
const POLICIES: &[Case] = &[
    ("another application's issuer on a port of its own", other_listener_issuer, &[]),
    ("a policy on the broker's route trusts another issuer", route_issuer, &["MG707"]),
    ("clients come with API keys", api_keys, &[]),
    ("the Gateway's default policy gives way everywhere", default_overridden, &[]),
    ("a younger policy conflicts with the one in effect", younger_policy, &["MG706"]),
    ("only one of two gateways filters tools", one_wristband, &[]),
    ("a policy on a route has no filter in Envoy", route_policy_without_filter, &["MG814"]),
];

fn auth_policy(name: &str, target: &str, body: &str) -> String {
    let namespace = if target.contains("kind: HTTPRoute") { "mcp-system" } else { "gateway-system" };
    format!(
        r#"
apiVersion: kuadrant.io/v1
kind: AuthPolicy
metadata: {{name: {name}, namespace: {namespace}, generation: 1, creationTimestamp: "2026-08-27T07:10:00Z"}}
spec:
  targetRef: {{group: gateway.networking.k8s.io, {target}}}
  {body}
status:
  observedGeneration: 1
  conditions:
  - {{type: Accepted, status: "True", reason: Accepted, message: AuthPolicy has been accepted, observedGeneration: 1, lastTransitionTime: "2026-08-27T07:10:05Z"}}
  - {{type: Enforced, status: "True", reason: Enforced, message: AuthPolicy has been successfully enforced, observedGeneration: 1, lastTransitionTime: "2026-08-27T07:10:09Z"}}
"#
    )
}

const ROUTE: &str = "kind: HTTPRoute, name: mcp-gateway-route";

fn jwt(issuer: &str) -> String {
    format!(
        "{{when: [{{predicate: \"!request.path.contains('/.well-known')\"}}], rules: {{authentication: {{sso: {{jwt: {{issuerUrl: \"{issuer}\"}}}}}}, response: {{unauthenticated: {{headers: {{WWW-Authenticate: {{value: \"Bearer resource_metadata=http://mcp.example.com:8080/.well-known/oauth-protected-resource/mcp\"}}}}}}}}}}}}"
    )
}

fn other_listener_issuer() -> Fixture {
    listener(healthy(), "web", 8090, "HTTP", &json!({"hostname": "shop.example.com"})).refresh_answers().add(&auth_policy(
        "shop",
        "kind: Gateway, name: mcp-gateway, sectionName: web",
        "rules: {authentication: {sso: {jwt: {issuerUrl: \"https://shop.example.com/realms/customers\"}}}}",
    ))
}

fn route_issuer() -> Fixture {
    healthy().add(&auth_policy(
        "broker",
        ROUTE,
        &format!("defaults: {}", jwt("https://sso.example.com/realms/other")),
    ))
}

fn api_keys() -> Fixture {
    at(healthy(), EXTENSION, "/spec/oauthProtectedResource", Value::Null)
        .edit_broker(|container| {
            let variables = container["env"].as_array_mut().expect("env");
            variables.retain(|e| !e["name"].as_str().is_some_and(|n| n.starts_with("OAUTH_")));
        })
        .set(
            "AuthPolicy",
            "gateway-system",
            "mcp-authentication",
            "/spec/defaults/rules",
            json!({
            "authentication": {"keys": {"apiKey": {"selector": {"matchLabels": {"app": "mcp"}}},
                "credentials": {"authorizationHeader": {"prefix": "APIKEY"}}}}}),
        )
        .set("AuthPolicy", "gateway-system", "mcp-tool-access", "/spec/rules/response", Value::Null)
}

fn default_overridden() -> Fixture {
    healthy()
        .add(&auth_policy(
            "deny-all",
            "kind: Gateway, name: mcp-gateway",
            "defaults: {rules: {authorization: {deny: {opa: {rego: \"allow = false\"}}}}}",
        ))
        .status("AuthPolicy", "gateway-system", "deny-all", [
            "Enforced",
            "False",
            "Overridden",
            "AuthPolicy is overridden by [gateway-system/mcp-authentication gateway-system/mcp-tool-access]",
        ])
}

/// It demands credentials for everything, comes first by name, and is not in effect.
fn younger_policy() -> Fixture {
    healthy()
        .add(&auth_policy(
            "a-copy",
            "kind: Gateway, name: mcp-gateway, sectionName: mcp",
            "rules: {authentication: {sso: {jwt: {issuerUrl: \"https://sso.example.com/realms/mcp\"}}}}",
        ))
        .status(
            "AuthPolicy",
            "gateway-system",
            "a-copy",
            [
                "Accepted",
                "False",
                "Conflicted",
                "AuthPolicy is conflicted by gateway-system/mcp-authentication",
            ],
        )
        .edit("AuthPolicy", "gateway-system", "a-copy", |policy| {
            policy["status"]["conditions"]
                .as_array_mut()
                .expect("conditions")
                .retain(|c| c["type"] != "Enforced");
        })
}

/// The wristband of the first gateway's policy is nothing to the second.
fn one_wristband() -> Fixture {
    let pair = rcgen::KeyPair::generate().expect("randomness");
    crate::faults::wristband(two_gateways(), &pair, &pair)
}

fn route_policy_without_filter() -> Fixture {
    let fixture = healthy()
        .remove("AuthPolicy", "gateway-system", "mcp-authentication")
        .remove("AuthPolicy", "gateway-system", "mcp-tool-access")
        .add(&auth_policy(
            "broker",
            ROUTE,
            &format!("defaults: {}", jwt("https://sso.example.com/realms/mcp")),
        ));
    crate::faults::edit_answer(fixture, "config_dump.json", |dump| {
        let sections = dump["configs"].as_array_mut().expect("sections");
        let listeners = sections.iter_mut().find(|s| s["dynamic_listeners"].is_array()).expect("listeners");
        for listener in listeners["dynamic_listeners"].as_array_mut().expect("listeners") {
            for chain in listener["active_state"]["listener"]["filter_chains"].as_array_mut().expect("chains")
            {
                let filters =
                    chain["filters"][0]["typed_config"]["http_filters"].as_array_mut().expect("filters");
                filters.retain(|f| !f.to_string().contains("wasm"));
            }
        }
    })
}

/// What was repaired before the collection is no fault any more.
const PASTS: &[Case] = &[
    (
        "the issuer was away in the morning",
        || {
            authorino(
                "failed to discovery openid connect configuration",
                "\"endpoint\":\"https://sso.example.com/realms/mcp\",\"error\":\"dial tcp: lookup sso.example.com: no such host\"",
                1,
            )
        },
        &[],
    ),
    (
        "an issuer that no policy has any more",
        || {
            authorino(
                "failed to discovery openid connect configuration",
                "\"endpoint\":\"https://old.example.com/realms/mcp\",\"error\":\"oidc: issuer did not match the issuer returned by provider\"",
                1,
            )
        },
        &[],
    ),
    (
        "a claim was missing in the morning",
        || {
            authorino(
                "outgoing authorization response",
                "\"request id\":\"r-9\",\"authorized\":false,\"response\":\"PERMISSION_DENIED\",\"object\":{\"code\":7,\"message\":\"no such key: groups\"}",
                1,
            )
        },
        &[],
    ),
    (
        "tokens had expired in the morning",
        || {
            authorino(
                "outgoing authorization response",
                "\"request id\":\"r-9\",\"authorized\":false,\"response\":\"UNAUTHENTICATED\",\"object\":{\"code\":16,\"message\":\"oidc: token is expired\"}",
                5,
            )
        },
        &[],
    ),
    (
        "the broker has read the next configuration",
        || {
            healthy().append_log("mcp-system", "mcp-gateway", "mcp-gateway",
        "time=2026-09-14T08:10:00.000Z level=ERROR msg=\"failed to reload config, keeping previous\" error=\"yaml: line 2\"\n\
         time=2026-09-14T08:12:00.000Z level=INFO msg=\"config file changed\"\n\
         time=2026-09-14T08:12:00.000Z level=INFO msg=\"notifying observers of config change\"\n")
        },
        &[],
    ),
    (
        "the filter's service was slow in the morning",
        || {
            healthy().append_log("gateway-system", "mcp-gateway-istio", "istio-proxy",
        &"2026-09-14T06:20:00.151000Z\terror\tenvoy wasm external/envoy/source/extensions/common/wasm/context.cc:1157\twasm log: Failed to dispatch dynamic service\n".repeat(4))
        },
        &[],
    ),
];

fn authorino(message: &str, fields: &str, times: usize) -> Fixture {
    let line = format!(
        "{{\"level\":\"info\",\"ts\":\"2026-09-14T06:20:00Z\",\"logger\":\"authorino\",\"msg\":\"{message}\",{fields}}}\n"
    );
    healthy().append_log("kuadrant-system", "authorino", "authorino", &line.repeat(times))
}
