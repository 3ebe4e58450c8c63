//! Faults of the credentials of registrations.

use serde_json::json;

use super::Fault;
use super::gateways::registration_not_ready;
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault { code: "MG601", name: "the Secret is gone", root: true, apply: missing },
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
