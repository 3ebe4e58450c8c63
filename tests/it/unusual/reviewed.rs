//! What a reading of the rules' pages against the rules found: false alarms, misses, and commands that would have
//! harmed or done nothing.

use serde_json::{Value, json};

use super::{Case, GATEWAY, at, healthy};
use crate::fixture::Fixture;
use crate::fixture_kinds::https_wildcard;

/// The cases.
pub const REVIEWED: &[Case] = &[
    ("another site on the public host, which the router sets itself", || site("mcp.example.com", "mcp"), &[]),
    ("another site on a host of its own", || site("shop.mcp.local", "mcps"), &["MG230"]),
    ("a wall before a server that is switched off", || walled(true), &[]),
    ("a wall before a server", || walled(false), &["MG232"]),
    ("policies do not apply to a pod in its node's network", in_the_network_of_the_node, &[]),
    ("a certificate that lives for 25 days and is renewed in time", || short_lived(20), &[]),
    ("a certificate that lives for 25 days and was not renewed", || short_lived(5), &["MG206"]),
    ("the controller of before could not write the filter", || cannot_write(true), &[]),
    ("clients without a session", || sessions("no session ID found"), &[]),
    ("clients with sessions that nobody knows", || sessions("session no longer valid"), &["MG713"]),
    ("Authorino cannot reach an issuer of another application", foreign_issuer, &[]),
    ("a paused rollout of which no pod is updated", paused, &["MG705"]),
    ("a credential without scheme word differs", other_credential, &["MG416"]),
    (
        "a registration names a namespace that its route is not in",
        || other_namespace("team-commerce"),
        &["MG402"],
    ),
    ("istiod was updated, and the proxy came back to it", istiod_updated, &[]),
    ("a GatewayClass that nobody has come to yet", || pending("2026-09-14T10:29:50Z"), &[]),
    ("a GatewayClass that nobody comes to", || pending("2026-09-14T09:00:00Z"), &["MG209"]),
];

#[test]
fn commands_keep_what_they_are_not_about() {
    let listener = "/spec/listeners/1/allowedRoutes";
    for (name, fixture, code, expected, unwanted) in [
        (
            "an expression of the selector is met by its label",
            at(
                healthy(),
                GATEWAY,
                listener,
                json!({"kinds": [{"kind": "HTTPRoute"}], "namespaces": {"from": "Selector",
                "selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["mcp"]}]}}}),
            ),
            "MG214",
            "label namespace team-weather tier=mcp",
            "from",
        ),
        (
            "the kinds of a listener stay",
            at(
                healthy(),
                GATEWAY,
                listener,
                json!({"kinds": [{"kind": "HTTPRoute"}], "namespaces": {"from": "Same"}}),
            ),
            "MG214",
            r#""path":"/spec/listeners/1/allowedRoutes/namespaces""#,
            "label",
        ),
        (
            "a filter of another product stays",
            with_filter_of_another_product(),
            "MG229",
            "delete envoyfilter my-router",
            "guard",
        ),
        (
            "mutual TLS stays mutual",
            tickets_rule(
                json!({"tls": {"mode": "MUTUAL", "credentialName": "tickets", "sni": "other.example"}}),
            ),
            "MG506",
            r#""path":"/spec/trafficPolicy/tls/sni""#,
            "SIMPLE",
        ),
        (
            "the level of the port is corrected",
            tickets_rule(
                json!({"portLevelSettings": [{"port": {"number": 443}, "tls": {"mode": "DISABLE"}}],
                "tls": {"mode": "SIMPLE"}}),
            ),
            "MG506",
            r#""path":"/spec/trafficPolicy/portLevelSettings/0/tls/mode""#,
            "merge",
        ),
        (
            "a rewrite of the path gets the host, too",
            at(
                healthy(),
                ["HTTPRoute", "team-platform", "tickets"],
                "/spec/rules/0/filters/0/urlRewrite",
                json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}),
            ),
            "MG508",
            r#""path":"/spec/rules/0/filters/0/urlRewrite/hostname""#,
            "filters/-",
        ),
        (
            "the registration stays where its route is",
            other_namespace("team-commerce"),
            "MG402",
            r#""op":"remove","path":"/spec/targetRef/namespace""#,
            "delete",
        ),
        (
            "a headless Service is copied, and no Route is made",
            at(healthy(), ["Service", "team-weather", "weather"], "/spec/clusterIP", json!("None")),
            "MG407",
            "weather-mcp",
            "expose",
        ),
    ] {
        let report = fixture.report();
        let of_code = report.findings.iter().filter(|finding| finding.code == code);
        let commands: Vec<&str> = of_code.flat_map(|f| &f.remedy.commands).map(String::as_str).collect();
        let commands = commands.join("\n");
        assert!(commands.contains(expected) && !commands.contains(unwanted), "{name}: {commands}");
    }
}

fn site(host: &str, section: &str) -> Fixture {
    let conditions = json!([
        {"type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": 1, "lastTransitionTime": "2026-09-01T10:00:01Z"},
        {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "observedGeneration": 1, "lastTransitionTime": "2026-09-01T10:00:01Z"}
    ]);
    let parent = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "mcp-gateway",
        "namespace": "gateway-system", "sectionName": section});
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "site", "namespace": "team-commerce", "generation": 1, "creationTimestamp": "2026-09-01T10:00:00Z"},
        "spec": {"hostnames": [host], "parentRefs": [parent], "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": "/docs"}}], "backendRefs": [{"name": "orders", "port": 9090}]}]},
        "status": {"parents": [{"controllerName": "istio.io/gateway-controller", "parentRef": parent, "conditions": conditions}]}});
    healthy().add(&route.to_string()).refresh_answers()
}

fn walled(disabled: bool) -> Fixture {
    let fixture = healthy().add(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: team-weather}\n\
         spec: {podSelector: {}, policyTypes: [Ingress]}\n",
    );
    let state = if disabled { "Disabled" } else { "Enabled" };
    at(fixture, ["MCPServerRegistration", "team-weather", "weather"], "/spec/state", json!(state))
        .refresh_answers()
}

fn in_the_network_of_the_node() -> Fixture {
    let fixture = healthy().add(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: team-weather}\n\
         spec: {podSelector: {}, policyTypes: [Ingress]}\n",
    );
    at(fixture, ["Pod", "team-weather", "weather"], "/spec/hostNetwork", json!(true))
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// A certificate of 25 days of which so many are left.
fn short_lived(left: u32) -> Fixture {
    https_wildcard().edit("Secret", "gateway-system", "tools-tls", |secret| {
        use base64::Engine as _;
        let names = vec!["*.tools.example.com".to_owned()];
        let mut parameters = rcgen::CertificateParams::new(names).expect("names of a certificate");
        let end = rcgen::date_time_ymd(2026, 9, 15) + DAY * left;
        parameters.not_after = end;
        parameters.not_before = end - DAY * 25;
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        secret["data"]["tls.crt"] = json!(base64::engine::general_purpose::STANDARD.encode(pem));
    })
}

fn cannot_write(previous: bool) -> Fixture {
    let fixture = healthy();
    let pod = fixture.pod_of("mcp-system", "mcp-gateway-controller");
    let line = "time=2026-09-13T10:20:00.000Z level=ERROR msg=\"Reconciler error\" controller=mcpgatewayextension \
         namespace=mcp-system name=mcp-gateway error=\"failed to create envoy filter: envoyfilters.networking.istio.io \
         is forbidden: User \\\"system:serviceaccount:mcp-system:mcp-controller\\\" cannot create resource\"\n";
    fixture.log("mcp-system", &pod, "mcp-controller", previous, line)
}

fn sessions(error: &str) -> Fixture {
    let line = format!(
        "time=2026-09-14T10:20:00.1Z level=ERROR msg=\"session validation failed\" component=router-202511 error=\"{error}\"\n"
    );
    healthy().append_log("mcp-system", "mcp-gateway", "mcp-gateway", &line.repeat(12))
}

fn foreign_issuer() -> Fixture {
    healthy().append_log(
        "kuadrant-system",
        "authorino",
        "authorino",
        "{\"level\":\"error\",\"ts\":\"2026-09-14T10:20:00Z\",\"logger\":\"authorino.identity\",\"msg\":\"failed to discovery openid connect configuration\",\"endpoint\":\"https://login.shop.example/realms/shop\",\"error\":\"Get \\\"https://login.shop.example/realms/shop/.well-known/openid-configuration\\\": dial tcp: lookup login.shop.example on 10.96.0.10:53: no such host\"}\n",
    )
}

fn paused() -> Fixture {
    healthy().edit("Deployment", "mcp-system", "mcp-gateway", |deployment| {
        deployment["spec"]["paused"] = json!(true);
        deployment["status"].as_object_mut().expect("a status").remove("updatedReplicas");
    })
}

fn other_credential() -> Fixture {
    use base64::Engine as _;
    let fixture = healthy();
    let secret = fixture.installation.get("Secret", "mcp-system", "mcp-gateway-config").expect("a config");
    let text = secret["data"]["config.yaml"].as_str().expect("base64");
    let text = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    let text = String::from_utf8(text)
        .expect("YAML")
        .replace("Bearer not-a-real-token-orders-4c1d", "not-a-real-old-one");
    fixture.config("mcp-system", &text).set(
        "Secret",
        "team-commerce",
        "orders-credentials",
        "/data/token",
        json!(base64::engine::general_purpose::STANDARD.encode("not-a-real-new-one")),
    )
}

fn other_namespace(namespace: &str) -> Fixture {
    at(
        healthy(),
        ["MCPServerRegistration", "team-weather", "weather"],
        "/spec/targetRef/namespace",
        json!(namespace),
    )
}

fn istiod_updated() -> Fixture {
    let lost = |second: u32| {
        format!(
            "2026-09-14T10:29:{second}.1Z\twarning\tenvoy config external/envoy/source/x.h:226\tStreamAggregatedResources gRPC config stream to xds-grpc closed since 9s ago: 14, no healthy upstream\tthread=15\n"
        )
    };
    let lines: String = (10..20).map(lost).collect();
    let again = "2026-09-14T10:29:21.1Z\tinfo\txdsproxy\tconnected to upstream XDS server: istiod.istio-system.svc:15012\tid=9\n";
    healthy().append_log("gateway-system", "mcp-gateway-istio", "istio-proxy", &(lines + again))
}

fn pending(created: &str) -> Fixture {
    healthy().edit("GatewayClass", "", "istio", |class| {
        class["metadata"]["creationTimestamp"] = json!(created);
        class["status"] = json!({"conditions": [{"type": "Accepted", "status": "Unknown", "reason": "Pending",
            "message": "Waiting for controller", "lastTransitionTime": "1970-01-01T00:00:00Z"}]});
    })
}

fn with_filter_of_another_product() -> Fixture {
    let mut fixture = healthy();
    let of = ["EnvoyFilter", "gateway-system", "mcp-ext-proc-mcp-system-gateway"];
    let filter = fixture.installation.get(of[0], of[1], of[2]).expect("the filter").clone();
    let copy = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut copy = filter.clone();
        copy["metadata"] = json!({"name": name, "namespace": "gateway-system", "uid": format!("uid-of-{name}"),
            "creationTimestamp": "2026-09-14T07:00:00Z"});
        change(&mut copy);
        copy
    };
    let cluster = "/spec/configPatches/0/patch/value/typed_config/grpc_service/envoy_grpc/cluster_name";
    let guard = copy("guard", &|filter| {
        *filter.pointer_mut(cluster).expect("a cluster") =
            json!("outbound|9443||guard.security.svc.cluster.local");
    });
    fixture.installation.objects.extend([copy("my-router", &|_| {}), guard]);
    fixture.refresh_answers()
}

fn tickets_rule(policy: Value) -> Fixture {
    at(healthy(), ["DestinationRule", "team-platform", "tickets-vendor"], "/spec/trafficPolicy", policy)
}
