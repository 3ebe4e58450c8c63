use super::*;
use proptest::prelude::*;

fn digest(text: &str) -> Digest {
    let mut reader = Reader::default();
    text.lines().for_each(|line| reader.line(line.as_bytes()));
    reader.finish().2
}

/// Template, and fields as `name=value`, of the records of a text.
fn said(text: &str) -> Vec<String> {
    let mut out: Vec<String> = digest(text)
        .records
        .iter()
        .map(|r| {
            let fields: Vec<String> = r.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{} {}", r.template, fields.join(" ")).trim_end().to_owned()
        })
        .collect();
    out.sort();
    out
}

#[test]
fn each_format_is_read() {
    let cases: &[(&str, &str)] = &[
        // slog text, with kubectl's time in front and without.
        (
            r#"time=2026-09-14T10:00:00.1Z level=ERROR msg="upstream connection failure" component=broker "upstream mcp server"=team-a/weather:w_:weather.local error="dial tcp: lookup weather.team-a.svc: no such host" "consecutive failures"=2"#,
            "broker.upstream-failed class=dns server=team-a/weather",
        ),
        (
            r#"2026-09-14T10:00:00.123456789Z time=2026-09-14T10:00:00.1Z level=INFO msg="target route found " namespace=a name=b httproute=c"#,
            "controller.route-found name=b namespace=a",
        ),
        // slog JSON.
        (
            r#"{"time":"2026-09-14T10:00:00Z","level":"ERROR","msg":"failed to list tools","upstream mcp server":"a/b::h","error":"unexpected status code 401: Unauthorized"}"#,
            "broker.list-failed class=unauthorized server=a/b",
        ),
        // zap JSON with seconds since 1970.
        (
            r#"{"level":"error","ts":1789380000.5,"logger":"authorino.identity","msg":"failed to discovery openid connect configuration","endpoint":"https://sso/realms/x","error":"Get \"https://sso\": x509: certificate signed by unknown authority"}"#,
            r#"authorino.discovery-failed class=certificate error=Get "https://sso": x509: certificate signed by unknown authority issuer=https://sso/realms/x"#,
        ),
        // zap console.
        (
            "2026-09-14T10:00:00.1Z\tERROR\tcontroller\tReconciler error\t{\"controller\": \"mcpgatewayextension\", \"namespace\": \"a\", \"name\": \"b\", \"error\": \"failed to create envoy filter: forbidden\"}",
            "controller.envoyfilter-error class=forbidden controller=mcpgatewayextension name=b namespace=a",
        ),
        // Istio, Envoy, klog.
        (
            "2026-09-14T10:00:00.1Z\twarn\tads\tADS:LDS: ACK ERROR mcp-istio-x1.gw-3 Internal:Error adding/updating listener(s) 0.0.0.0_8080: bad",
            "istiod.nack node=mcp-istio-x1.gw text=Internal:Error adding/updating listener(s) 0.0.0.0_8080: bad type=LDS",
        ),
        (
            "2026-09-14T10:00:00.1Z\twarning\tenvoy config external/envoy/source/x.cc:138\tgRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding listener",
            "proxy.rejected text=Error adding listener type=Listener",
        ),
        (
            "2026-09-14T10:00:00.1Z\twarning\tenvoy config external/envoy/source/x.cc:226\tDeltaAggregatedResources gRPC config stream to xds-grpc closed since 40s ago: 14, connection error: desc = \"transport: Error while dialing: dial tcp 10.96.0.15:15012: connect: connection refused\"",
            "proxy.xds-lost class=refused status=14",
        ),
        (
            "2026-09-14T10:00:00.1Z\twarning\tenvoy config external/envoy/source/x.cc:152\tStreamAggregatedResources gRPC config stream closed: 16, authentication failure",
            "proxy.xds-lost class=other status=16",
        ),
        (
            "2026-09-14T10:00:00.1Z\tinfo\txdsproxy\tconnected to delta upstream XDS server: istiod.istio-system.svc:15012\tid=2",
            "proxy.xds-connected",
        ),
        (
            "[2026-09-14 10:00:00.123][12][warning][wasm] [source/context.cc:1] wasm log kuadrant: Failed to dispatch dynamic service",
            "wasm.dispatch-failed",
        ),
        (
            r#"E0914 10:00:00.123456       1 reflector.go:12] failed to list: secrets is forbidden: User "u" cannot list resource "secrets" in API group "" at the cluster scope"#,
            "rbac.denied namespace= resource=secrets user=u verb=list",
        ),
        // Crashes stand alone on their line.
        (
            "panic: unable to start manager : no matches for kind \"EnvoyFilter\" in version \"networking.istio.io/v1alpha3\"",
            "crash.envoyfilter-crd",
        ),
        (
            "panic: unable to start manager : dial tcp 10.0.0.1:443: connect: connection refused",
            "crash.manager",
        ),
        (
            "2026-09-14T10:00:00.123456789Z flag provided but not defined: -gateway-ca-cert",
            "crash.flag flag=-gateway-ca-cert",
        ),
        ("2026/09/14 10:00:00 Error reading config file: yaml: line 3", "crash.config"),
        ("panic: runtime error: invalid memory address or nil pointer dereference", "crash.panic"),
        (
            "time=2026-09-14T10:00:00Z level=ERROR msg=\"fsnotify watcher\" error=\"too many open files\"",
            "crash.inotify",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(said(line), [*expected], "{line}");
    }
}

#[test]
fn an_ordinary_end_of_the_connection_to_istiod_is_no_loss() {
    for end in [
        "14, closing transport due to: connection error: desc = \"error reading from server: EOF\", received prior goaway: code: NO_ERROR",
        "14, transport is closing",
        "13, ",
        "0, ",
    ] {
        let line = format!(
            "2026-09-14T10:00:00.1Z\twarning\tenvoy config\tStreamAggregatedResources gRPC config stream closed: {end}"
        );
        assert_eq!(said(&line), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn what_only_quotes_a_template_is_not_one() {
    for line in [
        r#"time=2026-09-14T10:00:00Z level=INFO msg="the user said panic: help""#,
        r#"time=2026-09-14T10:00:00Z level=INFO msg="request" path="/docs/upstream connection failure""#,
        "some text about too many open files",
        "user cannot find the page",
        "{\"msg\":\"level=DEBUG is documented\"}",
        "",
    ] {
        assert_eq!(said(line), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn access_logs_are_counted_by_what_happened() {
    let good = r#"[2026-09-14T10:24:31.498Z] "POST /mcp HTTP/1.1" 200 - via_upstream - "-" 312 1840 57 44 "203.0.113.40" "mcp-client/1.9" "8d6f" "weather.mcp.local" "10.244.1.16:8080" outbound|8080||weather.team-weather.svc.cluster.local 10.244.1.14:41000 10.244.1.14:8080 203.0.113.40:60000 - weather.0"#;
    let refused = r#"[2026-09-14T10:24:32.498Z] "POST /mcp HTTP/1.1" 503 UF upstream_reset_before_response_started{connection_failure,delayed_connect_error:_111} - "delayed_connect_error:_111" 0 91 0 - "-" "c" "8d70" "weather.mcp.local" "10.244.1.16:8080" outbound|8080||weather.team-weather.svc.cluster.local - 10.244.1.14:8080 203.0.113.40:60000 - weather.0"#;
    let spaces = r#"[2026-09-14T10:24:33.498Z] "POST /mcp HTTP/1.1" 500 - ext-proc error: failed to create session - "-" 0 0 0 - "-" "c" "8d71" "mcp.example.com" "-" - - 10.244.1.14:8080 203.0.113.40:60000 - -"#;
    let json = r#"{"start_time":"2026-09-14T10:24:34.498Z","method":"GET","response_code":404,"response_flags":"NR","response_code_details":"route_not_found","authority":"other.example.com","upstream_cluster":null,"downstream_local_address":"10.244.1.14:8080","route_name":null}"#;
    let default = r#"[2026-09-14T10:24:35.498Z] "GET / HTTP/1.1" 503 UH 0 19 0 - "10.0.0.1" "curl" "id" "a.example.com" "-""#;
    let quoting = r#"[2026-09-14T10:24:36.498Z] "POST /mcp HTTP/1.1" 500 - ext-proc_error:_failed_to_create_session_for_mcp_server:_calling_"initialize":_sending_"initialize":_Post_"http://10.0.0.9:8080/mcp":_upstream_returned_HTTP_503 - "-" 97 293 4 - "-" "c" "8d72" "mcp.example.com" "-" outbound|8080||mcp-gateway.mcp-system.svc.cluster.local - 10.244.1.14:8080 203.0.113.40:60000 - mcp.0"#;
    let text = [good, good, refused, spaces, json, default, quoting].join("\n");
    let digest = digest(&text);
    let found: Vec<(u64, &str, &str, &str, &str, &str, &str)> = digest
        .of(access::TEMPLATE)
        .map(|r| {
            (
                r.count,
                r.field("code"),
                r.field("flags"),
                r.field("details"),
                r.field("host"),
                r.field("port"),
                r.field("reason"),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (2, "200", "", "via_upstream", "weather.mcp.local", "8080", ""),
            (
                1,
                "503",
                "UF",
                "upstream_reset_before_response_started",
                "weather.mcp.local",
                "8080",
                "refused"
            ),
            (1, "500", "", "ext-proc error: failed to create session", "mcp.example.com", "8080", ""),
            (1, "404", "NR", "route_not_found", "other.example.com", "8080", ""),
            (1, "503", "UH", "", "a.example.com", "", ""),
            (
                1,
                "500",
                "",
                "ext-proc_error:_failed_to_create_session_for_mcp_server",
                "mcp.example.com",
                "8080",
                ""
            ),
        ]
    );
    assert_eq!(digest.records[0].field("cluster"), "outbound|8080||weather.team-weather.svc.cluster.local");
    assert_eq!(digest.records[0].field("route"), "weather.0");
    assert_eq!(digest.records[0].first_line, 1);
}

#[test]
fn authorinos_denials_carry_the_host_of_their_request() {
    let text = r#"{"level":"info","ts":"2026-09-14T10:24:31Z","logger":"authorino.service.auth","msg":"incoming authorization request","request id":"r1","object":{"request":{"http":{"id":"r1","method":"POST","path":"/mcp","host":"mcp.example.com"}}}}
{"level":"info","ts":"2026-09-14T10:24:31Z","logger":"authorino.service.auth","msg":"outgoing authorization response","request id":"r1","authorized":false,"response":"UNAUTHENTICATED","object":{"code":16,"status":302,"message":"oidc: token is expired (Token Expiry: 2026-09-14 10:00:00 +0000 UTC)"}}
{"level":"info","ts":"2026-09-14T10:24:32Z","logger":"authorino.service.auth","msg":"outgoing authorization response","request id":"r2","authorized":true,"response":"OK"}"#;
    assert_eq!(
        said(text),
        [
            "authorino.allowed",
            "authorino.denied host=mcp.example.com reason=token is expired response=UNAUTHENTICATED"
        ]
    );
}

#[test]
fn the_class_of_an_error_is_decided() {
    let cases = [
        ("dial tcp: lookup x on 10.0.0.10:53: no such host", ErrorClass::Dns),
        ("dial tcp 10.0.0.1:8080: connect: connection refused", ErrorClass::Refused),
        ("http: server gave HTTP response to HTTPS client", ErrorClass::HttpOnHttps),
        (
            "Post \"https://x\": tls: failed to verify certificate: x509: certificate is valid for a, not b",
            ErrorClass::Certificate,
        ),
        ("request failed with status 401: Unauthorized", ErrorClass::Unauthorized),
        ("context deadline exceeded (Client.Timeout exceeded while awaiting headers)", ErrorClass::Timeout),
        ("dial tcp 10.4.0.1:4010: connect: no route to host", ErrorClass::Unreachable),
        ("unexpected status code 503", ErrorClass::ServerError),
        ("read tcp: connection reset by peer", ErrorClass::Reset),
        ("proxyconnect tcp: dial tcp: lookup proxy.corp.example: no such host", ErrorClass::Proxy),
        ("calling \"ping\": Method not found", ErrorClass::Protocol),
        ("id 40123 is odd", ErrorClass::Other),
    ];
    for (text, expected) in cases {
        assert_eq!(ErrorClass::of(text), expected, "{text}");
        assert_eq!(ErrorClass::from_word(expected.as_str()), Some(expected));
    }
}

#[test]
fn memory_is_bounded_by_the_limits_not_by_the_log() {
    let mut reader = Reader::default();
    for number in 0..5_000 {
        let line = format!(
            r#"time=2026-09-14T10:00:00Z level=INFO msg="target route found " namespace=n{number} name=x"#
        );
        reader.line(line.as_bytes());
    }
    reader.line(&vec![b'x'; 8 << 20]);
    let (lines, tail, digest) = reader.finish();
    assert_eq!(lines, 5_001);
    assert_eq!(tail.len(), TAIL_LINES);
    assert_eq!(tail.iter().next_back().map(|(n, text)| (n, text.len())), Some((5_001, LINE_LIMIT)));
    assert_eq!(digest.records.len(), RECORD_LIMIT);
    assert_eq!(digest.overflow, 5_000 - RECORD_LIMIT as u64);
    assert_eq!(digest.first_time.as_deref(), Some("2026-09-14T10:00:00Z"));
}

proptest! {
    #[test]
    fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut reader = Reader::default();
        reader.line(&line);
        let _ = reader.finish();
    }

    #[test]
    fn no_line_that_looks_like_a_format_panics(
        start in "(time=|\\{\"msg\":\"|\\[2026-09-14T10:00:00Z\\] \"|E0914 10|2026/09/14 10:00:00|\\[2026-09-14 10:00:00.1\\]\\[|2026-09-14T10:00:00Z\t?|panic: )",
        middle in "(panic: |upstream connection failure|ACK ERROR| rejected: |\"authorized\":false|outgoing authorization response|eyJ|<redacted:jwt | cannot |inotify|)",
        rest in ".{0,80}",
    ) {
        let mut reader = Reader::default();
        reader.line(format!("{start}{middle}{rest}").as_bytes());
        reader.line(format!("{start}{rest}{middle}").as_bytes());
        let _ = reader.finish();
    }
}
