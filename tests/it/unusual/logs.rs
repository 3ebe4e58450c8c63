//! What logs say, in the formats in which they say it, and what they say on a healthy day.

use serde_json::json;

use super::{Case, healthy};
use crate::fixture::Fixture;

/// The cases.
pub const LOGS: &[Case] = &[
    (
        "the broker cannot list a server's tools, and was not asked for its status",
        || unasked(&repeated("failed to list tools", "context deadline exceeded")),
        &["MG417"],
    ),
    (
        "a server without prompts",
        || unasked(&repeated("failed to list prompts", "calling \"prompts/list\": Method not found")),
        &[],
    ),
    (
        "the broker makes no manager for a server",
        || unasked(&broker("10:29:00", "failed to create manager", "failed to parse CA certificate")),
        &["MG417"],
    ),
    (
        "the broker refuses tools, and was not asked for its status",
        || unasked(&broker("10:29:00", "invalid tools detected", "")),
        &["MG411"],
    ),
    (
        "one ping failed, and the next did not",
        || unasked(&broker("10:05:00", "upstream connection failure", "context deadline exceeded")),
        &[],
    ),
    (
        "Envoy closes the router's streams",
        || {
            let line = broker(
                "10:20:00",
                "[ext_proc] Process: Error receiving request",
                "rpc error: code = Canceled desc = context canceled",
            );
            broker_says(healthy(), &line.repeat(30))
        },
        &[],
    ),
    (
        "roles name a server that is not registered",
        || broker_says(healthy(), &server_line("upstream not found", "weather").repeat(5)),
        &["MG714"],
    ),
    (
        "the session store does not answer",
        || {
            let line = broker(
                "10:20:00",
                "failed to get session from cache",
                "dial tcp 10.96.3.3:6379: i/o timeout",
            );
            broker_says(healthy(), &line.repeat(5))
        },
        &["MG713"],
    ),
    (
        "the trusted header could not be read in the morning",
        || {
            let line =
                broker("06:20:00", "failed to parse x-mcp-authorized header", "no public key configured");
            broker_says(healthy(), &line)
        },
        &[],
    ),
    (
        "the proxy for outgoing requests does not resolve",
        || {
            crate::faults::broker_fails(
                healthy(),
                "team-platform/tickets",
                "Post \"https://tickets.vendor.example/mcp\": proxyconnect tcp: dial tcp: lookup proxy.corp.example: no such host",
            )
        },
        &["MG510", "MG417"],
    ),
    (
        "Envoy says itself that it rejects a listener",
        || {
            proxy_says(
                "2026-09-14T10:20:00.151000Z\twarning\tenvoy config external/envoy/source/extensions/config_subscription/grpc/delta_subscription_state.cc:269\tdelta config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) 0.0.0.0_8080: unknown filter\tthread=15\n",
            )
        },
        &["MG226"],
    ),
    (
        "an AuthorizationPolicy denies everything",
        || proxy_says(&access(403, "-", "rbac_access_denied_matched_policy[none]").repeat(30)),
        &["MG231"],
    ),
    (
        "a server breaks the protocol",
        || {
            proxy_says(
                &access(502, "UPE", "upstream_reset_before_response_started{protocol_error}").repeat(30),
            )
        },
        &["MG231"],
    ),
    (
        "clients leave their event streams",
        || proxy_says(&access(200, "DC", "downstream_remote_disconnect").repeat(30)),
        &[],
    ),
    ("Authorino knows no host that it is asked for", || authorino_denies(5, "Service not found"), &["MG813"]),
    (
        "the issuer was away when Authorino started, and tokens are refused since",
        || {
            let line = "{\"level\":\"error\",\"ts\":\"2026-09-14T06:20:00Z\",\"logger\":\"authorino\",\"msg\":\"failed to discovery openid connect configuration\",\"issuerUrl\":\"https://sso.example.com/realms/mcp\",\"error\":\"dial tcp: lookup sso.example.com: no such host\"}\n";
            authorino_denies(16, "missing openid connect configuration").append_log(
                "kuadrant-system",
                "authorino",
                "authorino",
                line,
            )
        },
        &["MG810", "MG708"],
    ),
];

fn server_line(message: &str, server: &str) -> String {
    format!(
        "{{\"time\":\"2026-09-14T10:20:00Z\",\"level\":\"ERROR\",\"msg\":\"{message}\",\"component\":\"broker\",\"server\":\"{server}\"}}\n"
    )
}

/// A line of the broker about the weather server.
fn broker(time: &str, message: &str, error: &str) -> String {
    let error = error.replace('"', "\\\"");
    format!(
        "time=2026-09-14T{time}.000Z level=ERROR msg=\"{message}\" component=broker sub-component=mcp-manager \"upstream mcp server\"=team-weather/weather:weather_:weather.mcp.local error=\"{error}\"\n"
    )
}

/// The same at each of the last checks.
fn repeated(message: &str, error: &str) -> String {
    (25..30).map(|minute| broker(&format!("10:{minute}:00"), message, error)).collect()
}

fn broker_says(fixture: Fixture, lines: &str) -> Fixture {
    fixture.append_log("mcp-system", "mcp-gateway", "mcp-gateway", lines)
}

/// The broker's log says it, and nobody asked for its status.
fn unasked(lines: &str) -> Fixture {
    let mut fixture = healthy();
    fixture.installation.extras.retain(|(path, _)| !path.starts_with("mcpgw/broker/"));
    broker_says(fixture, lines)
}

fn proxy_says(lines: &str) -> Fixture {
    healthy().append_log("gateway-system", "mcp-gateway-istio", "istio-proxy", lines)
}

/// A request for the weather server in Istio's text format.
fn access(code: u16, flags: &str, details: &str) -> String {
    format!(
        "[2026-09-14T10:20:00.000Z] \"POST /mcp HTTP/1.1\" {code} {flags} {details} - \"-\" 0 19 3 - \"203.0.113.40\" \"mcp-client/1.9\" \"r-1\" \"weather.mcp.local\" \"10.244.1.16:8080\" outbound|8080||weather.team-weather.svc.cluster.local - 10.244.2.11:8080 203.0.113.40:52110 - team-weather.weather.0\n"
    )
}

fn authorino_denies(code: u8, message: &str) -> Fixture {
    let response = if code == 16 { "UNAUTHENTICATED" } else { "NOT_FOUND" };
    let object = json!({"code": code, "message": message});
    let line = format!(
        "{{\"level\":\"info\",\"ts\":\"2026-09-14T10:20:00Z\",\"logger\":\"authorino.service.auth\",\"msg\":\"outgoing authorization response\",\"request id\":\"r-9\",\"authorized\":false,\"response\":\"{response}\",\"object\":{object}}}\n"
    );
    healthy().append_log("kuadrant-system", "authorino", "authorino", &line.repeat(5))
}
