//! Faults of Kuadrant's policies and services: MG706, MG801-MG815.

use serde_json::json;

use super::Fault;
use super::proxy::edit_answer;
use super::workloads::crashes;
use crate::fixture::Fixture;

pub const FAULTS: &[Fault] = &[
    Fault {
        code: "MG706",
        name: "Authorino installed after the operator started",
        root: true,
        apply: dependency,
    },
    Fault { code: "MG801", name: "authorization rules removed", root: true, apply: no_authorization },
    Fault { code: "MG802", name: "policy beside the broker", root: true, apply: target_elsewhere },
    Fault { code: "MG706", name: "policy without target", root: false, apply: target_elsewhere },
    Fault { code: "MG803", name: "listener renamed", root: true, apply: wrong_section },
    Fault { code: "MG804", name: "operator crashes", root: false, apply: operator_down },
    Fault { code: "MG805", name: "Authorino crashes", root: false, apply: authorino_down },
    Fault { code: "MG806", name: "words instead of operators", root: true, apply: broken_cel },
    Fault { code: "MG807", name: "dotted header name", root: true, apply: dotted_header },
    Fault { code: "MG807", name: "what has gives is compared", root: true, apply: compared_has },
    Fault { code: "MG807", name: "always the same", root: true, apply: constant },
    Fault { code: "MG807", name: "metadata that no rule fetches", root: true, apply: no_evaluator },
    Fault { code: "MG807", name: "a pattern that RE2 refuses", root: true, apply: bad_pattern },
    Fault { code: "MG807", name: "a header in capitals", root: true, apply: capital_header },
    Fault { code: "MG807", name: "a name with a letter too many", root: true, apply: near_name },
    Fault { code: "MG808", name: "no route on the path", root: true, apply: not_enforced },
    Fault { code: "MG808", name: "expression refused", root: false, apply: broken_cel },
    Fault { code: "MG809", name: "tokens without roles", root: true, apply: no_roles },
    Fault { code: "MG810", name: "issuer refuses Authorino's pod", root: true, apply: issuer_refuses },
    Fault { code: "MG810", name: "issuer does not resolve", root: true, apply: issuer_unreachable },
    Fault { code: "MG811", name: "Limitador crashes", root: false, apply: limitador_down },
    Fault { code: "MG812", name: "class of another controller", root: true, apply: unknown_controller },
    Fault { code: "MG813", name: "host taken", root: true, apply: authconfig_invalid },
    Fault { code: "MG814", name: "auth cluster gone", root: true, apply: auth_cluster_missing },
    Fault { code: "MG815", name: "user without role", root: true, apply: denied },
];

const AUTHENTICATION: [&str; 3] = ["AuthPolicy", "gateway-system", "mcp-authentication"];
const TOOLS: [&str; 3] = ["AuthPolicy", "gateway-system", "mcp-tool-access"];

/// The operator looks for Authorino's operator when it starts, and never again.
fn dependency(fixture: Fixture) -> Fixture {
    let message = "[Authorino Operator] is not installed, please restart Kuadrant Operator pod once dependency has been installed";
    let later = json!("2026-09-13T08:00:00Z");
    [AUTHENTICATION, TOOLS]
        .into_iter()
        .fold(fixture, |fixture, [kind, namespace, name]| {
            fixture.status(kind, namespace, name, ["Accepted", "False", "MissingDependency", message]).edit(
                kind,
                namespace,
                name,
                |policy| {
                    let conditions = policy["status"]["conditions"].as_array_mut().expect("conditions");
                    conditions.retain(|c| c["type"] != "Enforced");
                },
            )
        })
        .set(
            "CustomResourceDefinition",
            "",
            "authorinos.operator.authorino.kuadrant.io",
            "/metadata/creationTimestamp",
            later.clone(),
        )
        .set("Deployment", "kuadrant-system", "authorino-operator", "/metadata/creationTimestamp", later)
}

fn no_authorization(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = TOOLS;
    fixture.set(kind, namespace, name, "/spec/rules/authorization", json!(null))
}

fn target_elsewhere(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = TOOLS;
    fixture
        .edit(kind, namespace, name, |policy| policy["metadata"]["namespace"] = json!("mcp-system"))
        .status(
            kind,
            "mcp-system",
            name,
            ["Accepted", "False", "TargetNotFound", "AuthPolicy target Gateway mcp-gateway was not found"],
        )
        .edit(kind, "mcp-system", name, |policy| {
            let conditions = policy["status"]["conditions"].as_array_mut().expect("conditions");
            conditions.retain(|c| c["type"] != "Enforced");
        })
}

fn wrong_section(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = TOOLS;
    fixture.set(kind, namespace, name, "/spec/targetRef/sectionName", json!("mcp-servers")).status(
        kind,
        namespace,
        name,
        ["Accepted", "False", "TargetNotFound", "AuthPolicy target Gateway mcp-gateway was not found"],
    )
}

fn operator_down(fixture: Fixture) -> Fixture {
    crashes(
        fixture,
        "kuadrant-system",
        "kuadrant-operator-controller-manager",
        "Error",
        1,
        "{\"level\":\"error\",\"ts\":\"2026-09-14T10:27:01Z\",\"logger\":\"setup\",\"msg\":\"unable to start manager\"}\n",
    )
}

fn authorino_down(fixture: Fixture) -> Fixture {
    crashes(
        fixture,
        "kuadrant-system",
        "authorino",
        "Error",
        1,
        "{\"level\":\"error\",\"ts\":\"2026-09-14T10:27:01Z\",\"logger\":\"authorino\",\"msg\":\"failed to load tls cert\"}\n",
    )
}

fn limitador_down(fixture: Fixture) -> Fixture {
    crashes(fixture, "kuadrant-system", "limitador-limitador", "Error", 1, "Error: invalid limits file\n")
}

fn tool_predicate(fixture: Fixture, predicate: &str) -> Fixture {
    let [kind, namespace, name] = TOOLS;
    let pointer = "/spec/rules/authorization/tool-access-check/patternMatching/patterns/0/predicate";
    fixture.set(kind, namespace, name, pointer, json!(predicate)).edit_all("AuthConfig", |config| {
        let check = &mut config["spec"]["authorization"]["tool-access-check"];
        if check.is_object() {
            check["patternMatching"]["patterns"][0]["predicate"] = json!(predicate);
        } else {
            config["spec"]
                .as_object_mut()
                .expect("a spec")
                .retain(|k, v| k != "authorization" || !v.is_null());
        }
    })
}

fn broken_cel(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = TOOLS;
    tool_predicate(fixture, "auth.identity.email_verified == true and request.method == 'POST'").status(kind, namespace, name, [
        "Enforced",
        "False",
        "Unknown",
        "AuthPolicy waiting for the following components to sync: [AuthConfig (d363163216ab269ff88e85ec748c4a74db3ebbef61570d9740b1017a5a6e44d4)]",
    ])
}

fn dotted_header(fixture: Fixture) -> Fixture {
    tool_predicate(fixture, "request.headers.x-mcp-toolname in auth.identity.tools")
}

fn near_name(fixture: Fixture) -> Fixture {
    tool_predicate(fixture, "requests.headers['x-mcp-toolname'] in auth.identity.tools")
}

fn compared_has(fixture: Fixture) -> Fixture {
    tool_predicate(fixture, "has(auth.identity.groups) == 'admins'")
}

fn constant(fixture: Fixture) -> Fixture {
    tool_predicate(fixture, "1 + 1 == 2")
}

fn no_evaluator(fixture: Fixture) -> Fixture {
    tool_predicate(fixture, "auth.metadata.userinfo.department == 'weather'")
}

fn bad_pattern(fixture: Fixture) -> Fixture {
    tool_predicate(fixture, "request.path.matches('^(?!/admin)')")
}

fn capital_header(fixture: Fixture) -> Fixture {
    tool_predicate(fixture, "request.headers['X-Mcp-Toolname'] in auth.identity.tools")
}

/// A policy on a listener that no route is attached to.
fn not_enforced(fixture: Fixture) -> Fixture {
    fixture
        .edit("Gateway", "gateway-system", "mcp-gateway", |gateway| {
            let listener = json!({"name": "admin", "port": 8090, "protocol": "HTTP", "hostname": "admin.example.com",
                "allowedRoutes": {"namespaces": {"from": "Same"}}});
            gateway["spec"]["listeners"].as_array_mut().expect("listeners").push(listener);
            let mut status = gateway["status"]["listeners"][1].clone();
            status["name"] = json!("admin");
            status["attachedRoutes"] = json!(0);
            gateway["status"]["listeners"].as_array_mut().expect("statuses").push(status);
        })
        .edit("Service", "gateway-system", "mcp-gateway-istio", |service| {
            let port = json!({"name": "admin", "port": 8090, "targetPort": 8090, "appProtocol": "http"});
            service["spec"]["ports"].as_array_mut().expect("ports").push(port);
        })
        .add(
            r#"
apiVersion: kuadrant.io/v1
kind: AuthPolicy
metadata: {name: mcp-admin, namespace: gateway-system, creationTimestamp: "2026-09-14T08:00:00Z"}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: mcp-gateway, sectionName: admin}
  rules:
    authentication:
      sso-server:
        jwt: {issuerUrl: "https://sso.example.com/realms/mcp"}
    authorization:
      administrators:
        patternMatching: {patterns: [{predicate: "'administrator' in auth.identity.realm_access.roles"}]}
status:
  observedGeneration: 1
  conditions:
  - {type: Accepted, status: "True", reason: Accepted, message: AuthPolicy has been accepted, observedGeneration: 1, lastTransitionTime: "2026-09-14T08:00:01Z"}
  - {type: Enforced, status: "False", reason: Unknown, message: AuthPolicy is not in the path to any existing routes, observedGeneration: 1, lastTransitionTime: "2026-09-14T08:00:01Z"}
"#,
        )
        .refresh_answers()
}

fn no_roles(fixture: Fixture) -> Fixture {
    fixture.append_log(
        "gateway-system",
        "mcp-gateway-istio",
        "istio-proxy",
        "2026-09-14T10:24:31.498000Z\tinfo\tauthorization <redacted:jwt len=812 h=1f2e3d4c alg=RS256 iss=https://sso.example.com/realms/mcp aud=mcp exp=1789389600 claims=aud|exp|iss|sub>\n",
    )
}

fn issuer_refuses(fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("kuadrant-system", "authorino");
    fixture.probe(&format!("https.gateway-system.mcp-authentication.sso.example.com.{pod}"), |probe| {
        probe["status"] = json!(null);
        probe["error"] = json!({"reason": "ConnectionRefused", "message": "curl: (7) Failed to connect"});
    })
}

fn issuer_unreachable(fixture: Fixture) -> Fixture {
    fixture.append_log(
        "kuadrant-system",
        "authorino",
        "authorino",
        "{\"level\":\"error\",\"ts\":\"2026-09-14T10:20:00Z\",\"logger\":\"authorino.identity\",\"msg\":\"failed to discovery openid connect configuration\",\"endpoint\":\"https://sso.example.com/realms/mcp\",\"error\":\"Get \\\"https://sso.example.com/realms/mcp/.well-known/openid-configuration\\\": dial tcp: lookup sso.example.com on 10.96.0.10:53: no such host\"}\n",
    )
}

fn unknown_controller(fixture: Fixture) -> Fixture {
    fixture.edit("Deployment", "kuadrant-system", "kuadrant-operator-controller-manager", |operator| {
        for variable in
            operator["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().expect("variables")
        {
            if variable["name"] == "ISTIO_GATEWAY_CONTROLLER_NAMES" {
                variable["value"] = json!("openshift.io/gateway-controller/v1");
            }
        }
    })
}

/// Somebody made an AuthConfig by hand, a copy of one that the operator manages.
fn authconfig_invalid(fixture: Fixture) -> Fixture {
    let host = "5cb5ff7d6d13e7238fc1929537a75fe7cc730229de8d36d42a0cae839b6ac425";
    let copy = json!({"apiVersion": "authorino.kuadrant.io/v1beta3", "kind": "AuthConfig",
        "metadata": {"name": "debugging", "namespace": "mcp-system", "creationTimestamp": "2026-08-25T16:00:00Z"},
        "spec": {"hosts": [host], "authentication": {"nobody": {"anonymous": {}}}},
        "status": {"conditions": [
            {"type": "Available", "status": "True", "reason": "HostsLinked", "lastTransitionTime": "2026-08-25T16:00:01Z"},
            {"type": "Ready", "status": "True", "reason": "Reconciled", "lastTransitionTime": "2026-08-25T16:00:01Z"}]}});
    fixture.add(&copy.to_string()).edit(
        "AuthConfig",
        "kuadrant-system",
        host,
        |config| {
            config["status"]["conditions"] = json!([
                {"type": "Available", "status": "False", "reason": "HostsNotLinked", "message": "one or more hosts are not linked to the resource", "lastTransitionTime": "2026-09-14T09:50:00Z"},
                {"type": "Ready", "status": "False", "reason": "HostsNotLinked", "message": "one or more hosts are not linked to the resource", "lastTransitionTime": "2026-09-14T09:50:00Z"}]);
        },
    )
}

fn auth_cluster_missing(fixture: Fixture) -> Fixture {
    edit_answer(fixture, "config_dump.json", |dump| {
        for section in dump["configs"].as_array_mut().expect("sections") {
            if let Some(clusters) = section["dynamic_active_clusters"].as_array_mut() {
                clusters.retain(|c| c["cluster"]["name"] != "kuadrant-auth-service");
            }
        }
    })
}

fn denied(fixture: Fixture) -> Fixture {
    fixture.append_log(
        "kuadrant-system",
        "authorino",
        "authorino",
        "{\"level\":\"info\",\"ts\":\"2026-09-14T10:20:00Z\",\"logger\":\"authorino.service.auth\",\"msg\":\"outgoing authorization response\",\"request id\":\"r-77\",\"authorized\":false,\"response\":\"PERMISSION_DENIED\",\"object\":{\"code\":7,\"message\":\"Unauthorized\"}}\n",
    )
}

/// The policy that authenticates, for the faults of authentication.
pub const fn authentication() -> [&'static str; 3] {
    AUTHENTICATION
}
