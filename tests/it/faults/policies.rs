//! Faults of Kuadrant's policies and services: MG706, MG801-MG815.

use serde_json::json;

use super::Fault;
use super::proxy::edit_answer;
use super::workloads::crashes;
use crate::fixture::Fixture;

pub const FAULTS: &[Fault] = &[
    Fault { code: "MG706", name: "policy conflicted", root: true, apply: conflicted },
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

fn conflicted(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = TOOLS;
    fixture.status(
        kind,
        namespace,
        name,
        ["Accepted", "False", "Conflicted", "AuthPolicy is conflicted by gateway-system/older"],
    )
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

fn not_enforced(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = TOOLS;
    fixture.status(
        kind,
        namespace,
        name,
        ["Enforced", "False", "Unknown", "AuthPolicy is not in the path to any existing routes"],
    )
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

fn authconfig_invalid(fixture: Fixture) -> Fixture {
    fixture.edit(
        "AuthConfig",
        "kuadrant-system",
        "5cb5ff7d6d13e7238fc1929537a75fe7cc730229de8d36d42a0cae839b6ac425",
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
