//! Faults of OAuth discovery, tokens and sessions: MG701-MG705, MG707-MG714.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::Fault;
use super::policies::authentication;
use crate::fixture::Fixture;

pub const FAULTS: &[Fault] = &[
    Fault { code: "MG701", name: "no rule for the metadata", root: true, apply: no_wellknown_rule },
    Fault { code: "MG702", name: "metadata behind the policy", root: true, apply: wellknown_protected },
    Fault { code: "MG703", name: "metadata answered with 404", root: true, apply: wellknown_404 },
    Fault { code: "MG704", name: "variables removed by the controller", root: true, apply: no_oauth },
    Fault { code: "MG705", name: "rollout paused", root: true, apply: paused },
    Fault { code: "MG707", name: "another realm", root: true, apply: other_realm },
    Fault { code: "MG708", name: "expired tokens", root: true, apply: expired },
    Fault { code: "MG702", name: "the running gateway answers 401", root: true, apply: wellknown_401 },
    Fault { code: "MG709", name: "the running gateway's 401 has no header", root: true, apply: header_lost },
    Fault { code: "MG709", name: "header forgotten", root: true, apply: no_header },
    Fault { code: "MG710", name: "header copied from an example", root: true, apply: wrong_header },
    Fault { code: "MG711", name: "policy on the servers' listener", root: true, apply: misplaced },
    Fault { code: "MG712", name: "tokens used for too long", root: true, apply: old_tokens },
    Fault { code: "MG713", name: "signing key made anew", root: true, apply: new_key },
    Fault { code: "MG715", name: "the resource is of an example", root: true, apply: other_resource },
    Fault { code: "MG714", name: "filtering enforced, header unset", root: true, apply: nobody_sets_header },
    Fault { code: "MG714", name: "signed with the key of another pair", root: true, apply: another_pair },
];

fn no_wellknown_rule(fixture: Fixture) -> Fixture {
    fixture
        .edit("HTTPRoute", "mcp-system", "mcp-gateway-route", |route| {
            route["spec"]["rules"].as_array_mut().expect("rules").retain(|r| r["name"] != "well-known");
        })
        .refresh_answers()
}

fn wellknown_protected(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = authentication();
    // Another predicate, which the remedy has to leave as it is.
    let when = json!([{"predicate": "request.path != '/healthz'"}]);
    fixture.set(kind, namespace, name, "/spec/defaults/when", when)
}

fn wellknown_404(fixture: Fixture) -> Fixture {
    fixture.probe("oauth-metadata.mcp-system.mcp-gateway", |probe| probe["status"] = json!(404))
}

fn wellknown_401(fixture: Fixture) -> Fixture {
    fixture.probe("oauth-metadata.mcp-system.mcp-gateway", |probe| probe["status"] = json!(401))
}

fn header_lost(fixture: Fixture) -> Fixture {
    fixture.probe("tools-list.mcp-system.mcp-gateway", |probe| {
        probe["headers"].as_object_mut().expect("headers").remove("www-authenticate");
    })
}

fn no_oauth(fixture: Fixture) -> Fixture {
    fixture
        .set("MCPGatewayExtension", "mcp-system", "mcp-gateway", "/spec/oauthProtectedResource", json!(null))
        .edit("Deployment", "mcp-system", "mcp-gateway", |deployment| {
            let env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
                .as_array_mut()
                .expect("variables");
            env.retain(|v| !v["name"].as_str().is_some_and(|n| n.starts_with("OAUTH_")));
        })
}

fn paused(fixture: Fixture) -> Fixture {
    fixture.edit("Deployment", "mcp-system", "mcp-gateway", |deployment| {
        deployment["spec"]["paused"] = json!(true);
        deployment["status"]["updatedReplicas"] = json!(0);
    })
}

fn other_realm(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = authentication();
    let pointer = "/spec/defaults/rules/authentication/sso-server/jwt/issuerUrl";
    fixture.set(kind, namespace, name, pointer, json!("https://sso.example.com/realms/staging"))
}

fn expired(fixture: Fixture) -> Fixture {
    let line = "{\"level\":\"info\",\"ts\":\"2026-09-14T10:20:00Z\",\"logger\":\"authorino.service.auth\",\"msg\":\"outgoing authorization response\",\"request id\":\"r-78\",\"authorized\":false,\"response\":\"UNAUTHENTICATED\",\"object\":{\"code\":16,\"message\":\"oidc: token is expired (Token Expiry: 2026-09-14 09:00:00 +0000 UTC)\"}}\n";
    fixture.append_log("kuadrant-system", "authorino", "authorino", &line.repeat(4))
}

fn no_header(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = authentication();
    fixture.set(kind, namespace, name, "/spec/defaults/rules/response/unauthenticated/headers", json!(null))
}

fn wrong_header(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = authentication();
    let pointer = "/spec/defaults/rules/response/unauthenticated/headers/WWW-Authenticate/value";
    let value = "Bearer resource_metadata=http://mcp.127-0-0-1.sslip.io:8888/.well-known/oauth-protected-resource/mcp";
    fixture.set(kind, namespace, name, pointer, json!(value))
}

fn misplaced(fixture: Fixture) -> Fixture {
    let [kind, namespace, name] = authentication();
    fixture.set(kind, namespace, name, "/spec/targetRef/sectionName", json!("mcps"))
}

fn old_tokens(fixture: Fixture) -> Fixture {
    let line = "2026-09-14T10:24:31.498000Z\tinfo\tauthorization <redacted:jwt len=812 h=1f2e3d4c alg=RS256 iss=https://sso.example.com/realms/mcp aud=mcp exp=1789370000 claims=aud|exp|iss|resource_access|sub>\n";
    fixture.append_log("gateway-system", "mcp-gateway-istio", "istio-proxy", &line.repeat(3))
}

fn new_key(fixture: Fixture) -> Fixture {
    let line = "time=2026-09-14T10:20:00.1Z level=ERROR msg=\"session validation failed\" component=router-202511 error=\"session no longer valid\"\n";
    fixture
        .append_log("mcp-system", "mcp-gateway", "mcp-gateway", &line.repeat(12))
        .append_log(
            "mcp-system",
            "mcp-gateway-controller",
            "mcp-controller",
            "time=2026-09-14T10:10:00.1Z level=INFO msg=\"regenerating corrupted session signing key\" namespace=mcp-system name=mcp-gateway\n",
        )
}

/// A policy that sets a wristband, and an extension that verifies it, with the keys of these pairs.
pub fn wristband(fixture: Fixture, signs: &rcgen::KeyPair, verifies: &rcgen::KeyPair) -> Fixture {
    let [kind, namespace, name] = authentication();
    let base64 = |pem: String| BASE64_STANDARD.encode(pem);
    let (private, public) = (base64(signs.serialize_pem()), base64(verifies.public_key_pem()));
    fixture
        .add(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: wristband-key, namespace: kuadrant-system}}, data: {{key.pem: {private}}}}}"
        ))
        .add(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: trusted-headers, namespace: mcp-system}}, data: {{key: {public}}}}}"
        ))
        .edit(kind, namespace, name, |policy| {
            policy["spec"]["defaults"]["rules"]["response"]["success"] = json!({"headers": {"x-mcp-authorized": {
                "wristband": {
                    "issuer": "https://sso.example.com/wristband",
                    "tokenDuration": 300,
                    "signingKeyRefs": [{"name": "wristband-key", "algorithm": "ES256"}],
                }
            }}});
        })
        .edit("MCPGatewayExtension", "mcp-system", "mcp-gateway", |extension| {
            extension["spec"]["trustedHeadersKey"] = json!({"secretName": "trusted-headers"});
        })
}

fn another_pair(fixture: Fixture) -> Fixture {
    let [signs, verifies] = [(); 2].map(|()| rcgen::KeyPair::generate().expect("randomness"));
    wristband(fixture, &signs, &verifies)
}

fn nobody_sets_header(fixture: Fixture) -> Fixture {
    fixture.edit("Deployment", "mcp-system", "mcp-gateway", |deployment| {
        let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
        container["command"].as_array_mut().expect("a command").push(json!("--enforce-capability-filtering"));
    })
}

fn other_resource(fixture: Fixture) -> Fixture {
    let resource = json!("http://mcp.127-0-0-1.sslip.io:8001/mcp");
    fixture
        .set(
            "MCPGatewayExtension",
            "mcp-system",
            "mcp-gateway",
            "/spec/oauthProtectedResource/resource",
            resource.clone(),
        )
        .edit_broker(move |container| {
            let variables = container["env"].as_array_mut().expect("env");
            for variable in variables.iter_mut().filter(|v| v["name"] == "OAUTH_RESOURCE") {
                variable["value"] = resource.clone();
            }
        })
        .refresh_answers()
}
