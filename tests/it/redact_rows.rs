//! What a bundle holds that others must not see, one sample at least for every sort of it, in the numbering
//! of the table of materials. A sample's secret stands at `@`; it must be gone, wherever the sample is put.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oc_mcpgw::redact::{Options, Redactor};
use serde_json::{Value, json};

use crate::redact::redacted;

/// What is no matter of the redactor: names of hosts and nodes stay unless pseudonyms are asked for (25), and the
/// content of Redis and of running processes is never collected (28).
const NOT_OURS: [u8; 2] = [25, 28];

/// Lines of logs, events and answers: the row, and the text.
const LINES: &[(u8, &str)] = &[
    (3, "GATEWAY_SIGNING_KEY=@"),
    (3, "JWT_SESSION_SIGNING_KEY: @"),
    (3, "command: [\"./mcp_gateway\", \"--session-signing-key=@\"]"),
    (4, "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI@\n-----END EC PRIVATE KEY-----"),
    (4, "\"signingKey\":\"-----BEGIN PRIVATE KEY-----\\nMIGHAgEAMB@\\n-----END PRIVATE KEY-----\\n\""),
    (5, "panic: failed to connect: rediss://default:@@redis.cache.svc:6379/0"),
    (5, "CACHE_CONNECTION_STRING=redis://:@@redis:6379/0"),
    (7, "level=INFO msg=\"command changed\" new=\"./mcp_gateway --mcp-router-key=@ --log-level=0\""),
    (7, "- --mcp-router-key @"),
    (8, "mcp-session-id: eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtY3AtZ2F0ZXdheSJ9.@"),
    (8, "\"mcp_session_id\":\"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJtY3Atcm91dGVyIn0.@\""),
    (9, "authorization: Bearer @"),
    (9, "Proxy-Authorization: Basic @"),
    (9, "X-API-Key: @"),
    (9, "set-cookie: session=@; Path=/; HttpOnly"),
    (
        10,
        "level=DEBUG msg=\"sending header processing instructions to envoy\" response=\"request_headers:{response:{header_mutation:{set_headers:{header:{key:x raw_value:@}}}}}\"",
    ),
    (10, "level=DEBUG msg=\"sending mcp body routing instructions to envoy\" response=@"),
    (
        10,
        "{\"level\":\"DEBUG\",\"msg\":\"sending response header processing instructions to envoy\",\"response\":{\"a\":\"@\"}}",
    ),
    (11, "level=INFO msg=\"tool call\" audit=true user=@ tool=weather_now server=team-a/weather status=200"),
    (11, "level=INFO msg=\"tool call\" session=@ audit=true tool=weather_now"),
    (12, "msg=\"token page sub mismatch\" expected=@ got=x"),
    (12, "msg=\"parsed authorized capabilities\" capabilities=\"map[tools:map[@:[a]]]\""),
    (
        13,
        "upstream returned HTTP 500: 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123 @",
    ),
    (
        14,
        "level=ERROR msg=\"failed\" route=\"&{Spec:{Rules:[{Filters:[{RequestHeaderModifier:{Set:[{Name:Authorization Value:Bearer @}]}}]}]}}\"",
    ),
    (
        14,
        "ERROR failed mcpserverregistration={\"metadata\":{\"annotations\":{\"kubectl.kubernetes.io/last-applied-configuration\":\"{\\\"spec\\\":{\\\"token\\\":\\\"@\\\"}}\"}}}",
    ),
    (19, "MY_SERVICE_TOKEN=@"),
    (19, "HTTPS_PROXY=http://user:@@proxy:3128"),
    (19, "OTEL_EXPORTER_OTLP_HEADERS=authorization=@"),
    (23, "[2026-11-22T10:11:12Z] \"GET /mcp?code=@&state=x HTTP/1.1\" 200 - via_upstream"),
    (23, "{\"path\":\"/callback?session_state=@\",\"response_code\":302}"),
    (23, "\"user\":\"@@example.com\""),
    (
        24,
        "{\"level\":\"debug\",\"logger\":\"authorino.service.auth.authpipeline\",\"msg\":\"evaluating for input\",\"input\":{\"context\":{\"a\":\"@\"}}}",
    ),
    (
        24,
        "{\"level\":\"debug\",\"logger\":\"authorino.service.auth.authpipeline.identity\",\"msg\":\"identity validated\",\"object\":{\"name\":\"@\"}}",
    ),
    (24, "{\"level\":\"debug\",\"msg\":\"fetched auth metadata\",\"object\":[\"@\"]}"),
    (26, "Error: secret \"x\" is invalid: password=@"),
    (26, "Back-off pulling image: unauthorized: https://robot:@@quay.io/v2/"),
    (
        27,
        "{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{\"name\":\"weather_now\",\"arguments\":{\"city\":\"@\"}}}",
    ),
    (
        27,
        "body={\\\"method\\\":\\\"tools/call\\\",\\\"params\\\":{\\\"name\\\":\\\"t\\\",\\\"arguments\\\":{\\\"q\\\":[\\\"@\\\"]}}}",
    ),
];

/// Objects: the row, and the object with `@` for its secret; `@64` is the secret in base64.
fn objects() -> Vec<(u8, Value)> {
    let secret = |name: &str, kind: &str, labels: Value, data: Value| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": name, "namespace": "mcp-system", "labels": labels}, "data": data})
    };
    let pod = |env: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "mcp-system"},
        "spec": {"containers": [{"name": "c", "image": "quay.io/a/b:1", "env": env}]}})
    };
    vec![
        (1, secret("any", "Opaque", json!({}), json!({"a": "@64", "b": "@64"}))),
        (
            1,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "@"}}),
        ),
        (
            2,
            json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "mcp-gateway-config", "namespace": "mcp-system"},
            "stringData": {"config.yaml": "servers:\n- name: team-a/weather\n  url: https://u:@@weather.example.com/mcp?key=@\n  hostname: weather.mcp.local\n  prefix: weather_\n  credential: Bearer @\n  auth: {token: '@', username: u, password: '@'}\nglobalGuardrails:\n  url: https://g.example.com/?token=@\n"}}),
        ),
        (3, secret("mcp-gateway-session-signing-key", "Opaque", json!({}), json!({"key": "@64"}))),
        (4, secret("trusted-private", "Opaque", json!({}), json!({"key": "@64"}))),
        (
            5,
            secret(
                "cache",
                "Opaque",
                json!({"mcp.kuadrant.io/secret": "true"}),
                json!({"CACHE_CONNECTION_STRING": "@64"}),
            ),
        ),
        (6, secret("weather", "Opaque", json!({"mcp.kuadrant.io/secret": "true"}), json!({"token": "@64"}))),
        (
            7,
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r", "namespace": "mcp-system"},
            "spec": {"template": {"spec": {"containers": [{"name": "c", "command": ["./mcp_gateway", "--mcp-router-key=@"]}]}}}}),
        ),
        (
            15,
            json!({"apiVersion": "authorino.kuadrant.io/v1beta3", "kind": "AuthConfig", "metadata": {"name": "a"}, "spec": {
            "authorization": {"o": {"opa": {"rego": "allow { input.k == \"@\" }"}}},
            "metadata": {"m": {"http": {"url": "https://m", "headers": {"authorization": {"value": "Bearer @"}}, "sharedSecretRef": {"name": "x", "key": "y"}}}},
            "response": {"success": {"headers": {"x-api-key": {"plain": {"value": "@"}}}}}}}),
        ),
        (
            16,
            secret(
                "api-key",
                "Opaque",
                json!({"authorino.kuadrant.io/managed-by": "authorino"}),
                json!({"api_key": "@64"}),
            ),
        ),
        (
            17,
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "h"}, "spec": {"rules": [{
            "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {
                "set": [{"name": "Authorization", "value": "Bearer @"}], "add": [{"name": "cookie", "value": "a=@"}]}}]}]}}),
        ),
        (
            18,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"s\"},\"stringData\":{\"a\":\"@\"}}"}}}),
        ),
        (
            19,
            pod(
                json!([{"name": "SOME_TOKEN", "value": "@"}, {"name": "DB_PASSWORD", "value": "@"}, {"name": "TLS_KEY", "value": "@"}]),
            ),
        ),
        (20, secret("sh.helm.release.v1.x.v1", "helm.sh/release.v1", json!({}), json!({"release": "@64"}))),
        (21, secret("sa", "kubernetes.io/service-account-token", json!({}), json!({"token": "@64"}))),
        (
            21,
            secret("pull", "kubernetes.io/dockerconfigjson", json!({}), json!({".dockerconfigjson": "@64"})),
        ),
        (21, secret("tls", "kubernetes.io/tls", json!({}), json!({"tls.key": "@64", "tls.crt": ""}))),
        (
            22,
            json!({"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump",
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "{\"apiKey\":\"@\"}"},
            "private_key": {"inline_string": "@"},
            "request_headers_to_add": [{"header": {"key": "authorization", "value": "Bearer @"}}],
            "node": {"metadata": {"ANNOTATIONS": {"x": "password=@"}}}}]}),
        ),
        (
            26,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "c",
            "lastState": {"terminated": {"message": "panic: redis://:@@redis:6379: connection refused"}}}]}}),
        ),
    ]
}

/// The canary of a sample: letters and digits, different for each.
fn canary(index: usize) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(index as u64 + 1);
    (0..24)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(
                b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"[(state >> 33) as usize % 57],
            )
        })
        .collect()
}

/// Puts the canary in; of `@@` the second one stays, as it separates a user from a host.
fn fill(text: &str, canary: &str) -> String {
    text.replace("@type", "\u{1}type")
        .replace("@64", &BASE64_STANDARD.encode(canary))
        .replace("@@", "\u{2}\u{1}")
        .replace(['@', '\u{2}'], canary)
        .replace('\u{1}', "@")
}

fn assert_gone(row: u8, canary: &str, sample: &str, shown: &str) {
    for form in [canary.to_owned(), BASE64_STANDARD.encode(canary).trim_end_matches('=').to_owned()] {
        for window in form.as_bytes().windows(8) {
            let window = std::str::from_utf8(window).expect("ASCII");
            assert!(!shown.contains(window), "row {row}: {window} of {canary} is left\n{sample}\n{shown}");
        }
    }
}

#[test]
fn every_sort_of_secret_has_samples_and_none_is_left_of_them() {
    let mut rows = BTreeSet::from(NOT_OURS);
    for (index, (row, template)) in LINES.iter().enumerate() {
        rows.insert(*row);
        let canary = canary(index);
        let line = fill(template, &canary);
        let redactor = Redactor::new(Options::default());
        let file = redactor.path("a.log");
        let escaped = Value::String(line.clone()).to_string();
        for text in [
            line.clone(),
            format!("2026-11-22T10:11:12.123456789Z {line}\r\nthe next line\r\n"),
            json!({"level": "error", "error": line}).to_string(),
            json!({"log": json!({"error": escaped}).to_string()}).to_string(),
            format!("blob {} end", BASE64_STANDARD.encode(&line)),
        ] {
            let once = redactor.text(&file, text.as_bytes());
            assert_gone(*row, &canary, &text, &String::from_utf8_lossy(once.as_bytes()));
            let twice = redactor.text(&file, once.as_bytes());
            assert_eq!(twice, once, "row {row}: twice is once\n{text}");
        }
    }
    for (index, (row, template)) in objects().into_iter().enumerate() {
        rows.insert(row);
        let canary = canary(1000 + index);
        let text = fill(&template.to_string(), &canary);
        let object: Value = serde_json::from_str(&text).expect("stays JSON");
        let redactor = Redactor::new(Options::default());
        let file = redactor.path("a.yaml");
        let once = redactor.object(&file, object.clone());
        assert_gone(row, &canary, &text, &once.value().to_string());
        assert_eq!(redactor.object(&file, once.value().clone()), once, "row {row}: twice is once");
        // The same object, somewhere in another one, and as a file of any bundle.
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [object]});
        assert_gone(row, &canary, &text, &redactor.object(&file, list).value().to_string());
        for path in ["namespaces/x/object.yaml", "cluster-scoped-resources/x.json"] {
            let files = BTreeMap::from([(path.to_owned(), text.clone().into_bytes())]);
            for content in redacted(&files, &redactor).values() {
                assert_gone(row, &canary, &text, &String::from_utf8_lossy(content));
            }
        }
    }
    assert_eq!(rows, (1..=28).collect(), "every row of the table of materials has a sample");
}
