//! Faults of the credentials of registrations.

use serde_json::json;

use super::Fault;
use super::gateways::registration_not_ready;
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault { code: "MG604", name: "the token ends with a line break", root: true, apply: line_break },
    Fault { code: "MG605", name: "the server refuses the token", root: true, apply: rejected },
    Fault { code: "MG606", name: "calls are refused, discovery is not", root: true, apply: calls_refused },
    Fault { code: "MG601", name: "the Secret is gone", root: true, apply: missing },
    Fault { code: "MG601", name: "the Secret's name has a typo", root: true, apply: typo },
    Fault { code: "MG602", name: "the Secret lacks the label", root: true, apply: label },
    Fault { code: "MG603", name: "the key has another name", root: true, apply: key },
];

const SECRET: (&str, &str, &str) = ("Secret", "team-commerce", "orders-credentials");

fn refused(fixture: Fixture, message: &str) -> Fixture {
    registration_not_ready(fixture, "team-commerce", "orders", message)
}

fn missing(fixture: Fixture) -> Fixture {
    refused(fixture.remove(SECRET.0, SECRET.1, SECRET.2), "credential secret orders-credentials not found")
}

fn typo(fixture: Fixture) -> Fixture {
    let registration = ("MCPServerRegistration", "team-commerce", "orders");
    let name = json!("order-credentials");
    refused(
        fixture.set(registration.0, registration.1, registration.2, "/spec/credentialRef/name", name),
        "credential secret order-credentials not found",
    )
}

fn label(fixture: Fixture) -> Fixture {
    refused(
        fixture.set(SECRET.0, SECRET.1, SECRET.2, "/metadata/labels", json!({})),
        "credential secret orders-credentials is missing required label mcp.kuadrant.io/secret=true",
    )
}

fn key(fixture: Fixture) -> Fixture {
    let fixture = fixture.edit(SECRET.0, SECRET.1, SECRET.2, |secret| {
        let value = secret["data"]["token"].clone();
        secret["data"] = json!({"api-key": value});
    });
    refused(fixture, "credential secret orders-credentials missing key token")
}

/// The token that the broker has, and a line break, in base64.
fn line_break(fixture: Fixture) -> Fixture {
    fixture.set(
        SECRET.0,
        SECRET.1,
        SECRET.2,
        "/data/token",
        json!("QmVhcmVyIG5vdC1hLXJlYWwtdG9rZW4tb3JkZXJzLTRjMWQK"),
    )
}

fn rejected(fixture: Fixture) -> Fixture {
    super::registrations::broker_fails(
        fixture,
        "team-commerce/orders",
        "upstream returned HTTP 401: unauthorized",
    )
}

fn calls_refused(fixture: Fixture) -> Fixture {
    fixture.append_log(
        "mcp-system",
        "mcp-gateway",
        "mcp-gateway",
        "time=2026-09-14T10:26:18.204Z level=INFO msg=\"tool call\" component=router audit=true \
         user=00000000-0000-4000-8000-00000000d300 tool=get_order server=team-commerce/orders status=401 \
         request_id=8d6f2f54-0009-4c1e-8f0f-1a2b3c4d0009 session=sha256:0a1b2c3d4e5f\n",
    )
}
