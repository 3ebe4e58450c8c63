//! Corners of Envoy, of policies, and of what logs remember.

use serde_json::{Value, json};

use super::{Case, EXTENSION, GATEWAY, at, healthy};
use crate::fixture::Fixture;
use crate::fixture_kinds::two_gateways;

/// Envoy and what is put into it.
pub const PROXIES: &[Case] = &[
    ("a processor of another product stands in the chain", || processor(true), &[]),
    ("only a processor of another product stands in the chain", || processor(false), &["MG223"]),
    ("a listener for TLS without routes is not in Envoy", tls_listener, &[]),
    ("a proxy that has just started", started_now, &[]),
    ("a route's wildcard meets the listener's name", wildcard_meets_name, &[]),
    ("a plain listener that only redirects", redirect, &[]),
];

/// Adds the filter of another product, whose service is away and which lets all pass then.
fn processor(with_ours: bool) -> Fixture {
    let foreign = json!({"name": "envoy.filters.http.ext_proc", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "failure_mode_allow": true,
        "grpc_service": {"envoy_grpc": {"cluster_name": "outbound|9002||picker.inference.svc.cluster.local"}}}});
    crate::faults::edit_filters(healthy(), |filters| {
        if !with_ours {
            filters.retain(|f| !f.to_string().contains("outbound|50051|"));
        }
        filters.insert(0, foreign.clone());
    })
}

pub fn listener(fixture: Fixture, name: &str, port: i64, protocol: &str, more: &Value) -> Fixture {
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

/// A second pod of the proxy, twenty seconds old, to which istiod has sent nothing yet.
fn started_now() -> Fixture {
    let mut fixture = healthy();
    let name = fixture.pod_of("gateway-system", "mcp-gateway-istio");
    let mut pod = fixture.installation.get("Pod", "gateway-system", &name).expect("a pod").clone();
    let second = format!("{}-n3w1y", name.rsplit_once('-').expect("a name").0);
    pod["metadata"]["name"] = json!(second);
    pod["metadata"]["uid"] = json!("started-now");
    pod["metadata"]["creationTimestamp"] = json!("2026-09-14T10:29:40Z");
    fixture.installation.objects.push(pod);
    let dump = json!({"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump"},
        {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"}, {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump"}]});
    fixture
        .extra(&format!("mcpgw/envoy/gateway-system/{second}/config_dump.json"), dump.to_string().as_bytes())
        .log(
            "gateway-system",
            &second,
            "istio-proxy",
            false,
            "2026-09-14T10:29:45.000000Z\tinfo\tEnvoy proxy is starting\n",
        )
}

fn wildcard_meets_name() -> Fixture {
    let fixture = redirect().set(
        "HTTPRoute",
        "gateway-system",
        "redirect",
        "/spec/hostnames",
        json!(["*.example.com"]),
    );
    crate::faults::edit_answer(fixture, "config_dump.json", |dump| {
        let sections = dump["configs"].as_array_mut().expect("sections");
        let routes = sections.iter_mut().find(|s| s["dynamic_route_configs"].is_array()).expect("routes");
        let text = routes.to_string().replace("*.example.com", "mcp.example.com");
        *routes = serde_json::from_str(&text).expect("JSON");
    })
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
pub const POLICIES: &[Case] = &[
    ("another application's issuer on a port of its own", other_listener_issuer, &[]),
    ("a policy on the broker's route trusts another issuer", route_issuer, &["MG707"]),
    ("clients come with API keys", api_keys, &[]),
    ("the Gateway's default policy gives way everywhere", default_overridden, &[]),
    ("a younger policy conflicts with the one in effect", younger_policy, &["MG706"]),
    (
        "a policy was changed behind its operator's back",
        || {
            healthy().edit("AuthPolicy", "gateway-system", "mcp-authentication", |policy| {
                policy["metadata"]["generation"] = json!(2);
            })
        },
        &["MG217"],
    ),
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
    crate::faults::edit_filters(fixture, |filters| filters.retain(|f| !f.to_string().contains("wasm")))
}

/// What was repaired before the collection is no fault any more.
pub const PASTS: &[Case] = &[
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
