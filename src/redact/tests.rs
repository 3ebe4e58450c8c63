use serde_json::json;

use super::patterns::{Action, PATTERNS};
use super::*;

fn redact(text: &str) -> String {
    let redactor = Redactor::new(Options::default());
    let file = redactor.path("f.log");
    String::from_utf8(redactor.text(&file, text.as_bytes()).as_bytes().to_vec()).expect("text stays text")
}

#[test]
fn every_row_of_the_table_hits_and_misses() {
    for pattern in PATTERNS {
        assert_eq!(redact(pattern.must_not), pattern.must_not, "{} must leave this alone", pattern.id);
        if pattern.action == Action::Placeholder {
            continue;
        }
        let (before, rest) = pattern.must.split_once('«').expect("marks the secret");
        let (secret, after) = rest.split_once('»').expect("marks the secret");
        let redacted = redact(&format!("{before}{secret}{after}"));
        assert!(!redacted.contains(secret), "{}: {redacted}", pattern.id);
        assert!(redacted.contains("redacted"), "{}: {redacted}", pattern.id);
    }
}

/// What is asked of the Kubernetes API and of Envoy's admin pages says why an answer failed.
#[test]
fn a_harmless_query_stays_readable() {
    for line in [
        "GET /api/v1/namespaces/mcp-system/pods?limit=500&labelSelector=app.kubernetes.io%2Fname%3Dmcp-gateway HTTP/1.1",
        "GET /api/v1/namespaces/a/pods/b-7c9d8b5f6d-x2x4v/log?container=broker&previous=true&timestamps=true&tailLines=500",
        "\"GET /config_dump?include_eds&resource=dynamic_active_clusters HTTP/1.1\" 200",
    ] {
        assert_eq!(redact(line), line);
    }
    let mixed = redact("GET /api/v1/pods?limit=500&code=hunter2x&state=hunter2y&watch=true HTTP/1.1");
    assert!(!mixed.contains("hunter2"), "{mixed}");
    assert!(mixed.starts_with("GET /api/v1/pods?limit=500&redacted.query."), "{mixed}");
    assert!(mixed.ends_with("&watch=true HTTP/1.1"), "{mixed}");
    for line in [
        "GET /api/v1/pods?limit=500&labelSelector=token%3Dhunter2x9 HTTP/1.1",
        "GET /api/v1/pods?hunter2x9 HTTP/1.1",
        r#"{"error":"{\"path\":\"/callback?session_state=hunter2x9\",\"code\":302}"}"#,
        "GET /api/v1/pods?limit=\u{1}hunter2x9 HTTP/1.1",
    ] {
        assert!(!redact(line).contains("hunter2x9"), "{}", redact(line));
    }
}

/// A word that announces a secret must not hide another one that begins with it.
#[test]
fn a_name_without_a_value_hides_nothing() {
    for word in ["jWt6ozzns4", "token7x", "secret.box", "cookie"] {
        let redacted = redact(&format!("user {word}@example.com logged in"));
        assert!(redacted.starts_with("user <redacted:email "), "{word}: {redacted}");
    }
}

/// Secrets in running text, in every spelling that we know of; `hunter2x` must not survive.
const SPELLINGS: &[&str] = &[
    "Authorization: Bearer hunter2x9",
    "> authorization: Basic aHVudGVyMng6aHVudGVyMng=",
    "\"authorization\":\"Bearer hunter2x9\"",
    "\"Authorization\":[\"Bearer hunter2x9\"]",
    "{\\\"authorization\\\":\\\"Bearer hunter2x9\\\",\\\"a\\\":1}",
    "map[Authorization:[Bearer hunter2x9] Host:[mcp.example.com]]",
    "{Name:GITHUB_TOKEN Value:hunter2x9 ValueFrom:nil}",
    "name: GITHUB_TOKEN\n      value: hunter2x9",
    "\"name\":\"DB_PASSWORD\",\"value\":\"hunter2x9\"",
    "{\"key\":\"x-api-key\",\"value\":\"hunter2x9\"}",
    "{\"header\":{\"key\":\"authorization\",\"raw_value\":\"hunter2x9\"}}",
    "key: \"authorization\" value: \"Bearer hunter2x9\"",
    "'authorization', 'Bearer hunter2x9'",
    "headers=\"map[cookie:a=hunter2x9; b=hunter2x9]\"",
    "Cookie: session=hunter2x9; theme=dark",
    "set-cookie: id=hunter2x9; Path=/; HttpOnly",
    "x-api-key: hunter2x9",
    "X-Api-Key=hunter2x9 next=1",
    "time=2026 level=INFO msg=x token=hunter2x9 server=weather",
    "password = 'hunter2x9'",
    "password: hunter2x9",
    "\"password\" : \"hunter2x9\"",
    "db_password=hunter2x9,host=db",
    "PGPASSWORD=hunter2x9",
    "--token=hunter2x9 --v=2",
    "--token hunter2x9 --v=2",
    "[\"--token\",\"hunter2x9\"]",
    "- --mcp-router-key=hunter2x9",
    "- --token\n- hunter2x9\n",
    "postgres://app:hunter2x9@db:5432/x?sslmode=require",
    "redis://:hunter2x9@redis:6379/0",
    "redis://default:hunter2x9/with/slashes@redis:6379/0",
    "amqps://u:hunter2x9@rabbit,amqps://u:hunter2x9@rabbit2",
    "https://hunter2x9token@github.com/org/repo",
    "GET https://x.example.com/cb?code=hunter2x9&a=1",
    "access_token%3Dhunter2x9%26a%3Db",
    "%22password%22%3A%22hunter2x9%22",
    "password: |\n  hunter2x9\n  hunter2x9\nnext: 1",
    "token: >-\n    hunter2x9\n",
    "password: \"hunter2x9\n  hunter2x9\"\n",
    "api_key: hunter2x9",
    "Secret=hunter2x9 level=INFO",
    "apiKey=\"hunter2x9\"",
    "client_secret=hunter2x9&grant_type=x",
    "clientSecret: hunter2x9",
    "mcp-session-id: hunter2x9",
    "mcp_session_id=hunter2x9",
    "\"sessionId\":\"hunter2x9\"",
    "\"sub\":\"hunter2x9\"",
    "preferred_username=hunter2x9",
    "msg=\"tool call\" audit=true user=hunter2x9 tool=t session=hunter2x9",
    "Proxy-Authorization: Basic hunter2x9",
    "curl -H \"Authorization: Bearer hunter2x9\" https://x",
    "curl -H 'x-api-key: hunter2x9' https://x",
    "\"method\":\"tools/call\",\"params\":{\"name\":\"t\",\"arguments\":{\"q\":\"hunter2x9\",\"n\":{\"a\":[1]}}}",
    "\\\"arguments\\\":{\\\"q\\\":\\\"hunter2x9\\\"}}",
    "request.headers['x-api-key'] == 'hunter2x9'",
    "cGFzc3dvcmQ9aHVudGVyMng5Cg== and cGFzc3dvcmQ6IGh1bnRlcjJ4OWh1bnRlcjJ4OQ",
    "machine github.com login bob password hunter2x9",
    "curl -u admin:hunter2x9 https://x/",
    "curl -sSLu 'admin:hunter2x9' https://x/",
    "sshpass -p hunter2x9 ssh host",
    "mysql -uroot -phunter2x9 -h db",
    "redis-cli -h x -a hunter2x9 ping",
    "ldapsearch -D cn=admin -w hunter2x9",
    "oc login -u kubeadmin -p hunter2x9 https://api:6443",
    "openssl rsa -passin pass:hunter2x9",
    "openssl enc -d -aes-256-cbc -k hunter2x9 -in backup.enc",
    "x-functions-key: hunter2x9hunter",
    "fetching /maps/api?key=hunter2x9abc failed",
    "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 2\nhunter2hunter2hunter2\nhunter2==\nPrivate-MAC: 0a1b",
    "\"Private-Lines: 1\\nhunter2hunter2hunter2\\nPrivate-MAC: 0a1b\"",
    "kubectl create secret generic x --from-literal=a=hunter2x9",
    "ENV GITHUB_TOKEN hunter2x9",
    "kubeadm join 10.0.0.1:6443 --token hunter2x9 --certificate-key hunter2x9",
    "OAuth callback: /oauth2/callback?code=hunter2x9&state=hunter2x9%3A/foo",
    "Location: https://app/cb#id_token=hunter2x9&session_state=hunter2x9",
    "https://idp/sso?SAMLRequest=hunter2x9&RelayState=hunter2x9",
    "code_verifier=hunter2x9&code=hunter2x9&redirect_uri=x",
    "http.Header{\"Authorization\":[]string{\"Bearer hunter2x9\"}, \"X-Api-Key\":[]string{\"hunter2x9\"}}",
    "Authorization: Digest username=\"bob\", realm=\"x\", nonce=\"n\", response=\"hunter2x9\"",
    "Authorization: Token token=\"hunter2x9\"",
    "app:hunter2x9@tcp(db:3306)/x?parseTime=true",
    "jdbc:oracle:thin:scott/hunter2x9@db:1521/x",
    "<password>hunter2x9</password>",
    "login with passphrase \"hunter2x9\"",
    "db.password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  hunter2x9\n",
    "\"private_key_id\":\"hunter2x9\"",
    ":;AKIAIOSFODNN7EXAMPLEvalue/cGFzc3dvcmQ9aHVudGVyMg==",
    "password=<redacted:token len=4 h=01234567>hunter2x9",
    "password=<redacted:hunter2x9 len=4 h=01234567>",
];

#[test]
fn every_spelling_is_found() {
    for text in SPELLINGS {
        let redacted = redact(text);
        assert!(!redacted.contains("hunter2"), "{text}\n{redacted}");
        assert!(redacted.contains("redacted"), "{text}\n{redacted}");
        assert!(!redacted.contains("aHVudGVyMn") && !redacted.contains("h1bnRlcj"), "{text}\n{redacted}");
        assert_eq!(redact(&redacted), redacted, "twice changes nothing");
    }
}

/// What a reader and the rules need.
const SURVIVORS: &[&str] = &[
    "time=2026-11-22T10:11:12.123456789Z level=INFO msg=\"reconciling mcpgatewayextension\" controller=mcpgatewayextension namespace=mcp-system name=mcp-gateway reconcileID=0b1f6f0e-2f0b-4b8e-9a55-0d2d0e0c1f11",
    "level=ERROR msg=\"upstream connection failure\" \"upstream mcp server\"=mcp-test/weather:weather_:weather.mcp.local error=\"dial tcp: lookup weather.mcp-test.svc.cluster.local: no such host\"",
    "failed to verify id token: oidc: token is expired (Token Expiry: 2026-11-22 10:11:12 +0000 UTC)",
    "secret mcp-gateway-config not found in namespace mcp-system",
    "secret \"mcp-system/credential\" is missing required data entry \"token\"",
    "failed to get secret: secrets \"weather-credential\" not found",
    "invalid token: signature is invalid",
    "secret=mcp-test/weather-credential",
    "time=2026-11-22T10:11:12.1Z level=INFO msg=findMCPServerRegistrationsForSecret Secret=mcp-gateway-config namespace=mcp-system \"total mcpservers\"=0",
    "image: quay.io/kuadrant/mcp-gateway@sha256:1f2d3c4b5a69788796a5b4c3d2e1f001f2d3c4b5a69788796a5b4c3d2e1f00aa",
    "pod mcp-gateway-7c9d8b5f6d-x2x4v on node ip-10-0-12-34.eu-west-1.compute.internal",
    "commit e5d18c99ab34cd56ef7890ab12cd34ef56ab78cd",
    "[2026-11-22T10:11:12.123Z] \"POST /mcp HTTP/1.1\" 503 UF upstream_reset_before_response_started{connection_failure} - \"-\" 91 145 0 - \"10.128.0.1\" \"curl/8\" \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\" \"mcp.example.com\"",
    "secretName: gateway-tls",
    "secretKeyRef: {key: key, name: mcp-gateway-session-signing-key}",
    "\"secretKeyRef\":{\"key\":\"token\",\"name\":\"weather\"}",
    "automountServiceAccountToken: false",
    "tokenExpirationSeconds: 3607",
    "auth.identity.realm_access.roles.exists(r, r == 'tool:weather')",
    "!request.path.contains('/.well-known/oauth-protected-resource')",
    "WWW-Authenticate: Bearer resource_metadata=https://mcp.example.com/.well-known/oauth-protected-resource/mcp",
    "Bearer realm=\"mcp\", error=\"invalid_token\"",
    "issuerUrl: https://keycloak.example.com/realms/mcp",
    "CACHE_CONNECTION_STRING",
    "--mcp-gateway-public-host=mcp.example.com --mcp-gateway-config=/config/config.yaml --log-level=0",
    "resourceVersion: \"123456789\"",
    "x509: certificate signed by unknown authority",
    "reason: SecretNotFound",
    "type: kubernetes.io/service-account-token",
    "MountVolume.SetUp failed for volume \"kube-api-access-x\" : failed to fetch token: context deadline exceeded",
    "sessions active: 3, tokens: 5, token_count=17",
    "goroutine 1 [running]: main.main() /go/pkg/mod/sigs.k8s.io/controller-runtime@v0.17.0/pkg/manager.go:12 +0x1d",
    "prefix weather_ for tool weather_get_forecast",
    "OAUTH_SCOPES_SUPPORTED=basic,groups",
    "kid abc not found in JWKS",
    "<p class=\"item\">No or wrong credentials: <code>unauthorized</code>, <code>denied</code>.</p>",
    "docker run -u 1000:1000 quay.io/a/b:1",
    "openssl x509 -in tls.crt -noout -subject; openssl req -keyout tls.key",
    "Private-Lines: a count of lines",
    "oc logs -p mcp-gateway-7c9d8b5f6d-x2x4v",
    "GET /api/v1/namespaces/mcp-system/pods/x/log?container=istio-proxy&previous=true&sinceTime=2026-11-22T10%3A11%3A12Z&timestamps=true",
    "/api/v1/namespaces/mcp-system/pods/x/log?container=istio-proxy&previous=true&sinceTime=2026-11-22T10:11:12Z",
    "ssl.session_reused: 3 secret_discovery.update_success: 1 sds.default.key_rotation_failed: 0",
    "grant_type=client_credentials response_type=code scope=openid",
    "user: system:serviceaccount:mcp-system:mcp-gateway",
    "annotations: serving-cert-secret-name: x-tls, credentialName: gateway-tls",
    "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];

#[test]
fn a_dump_goes_to_the_end_of_its_line_however_long_it_is() {
    let long = |size: usize| "\\\"page\\\": [hunter2 ".repeat(size / 17);
    for size in [50_000, 66_000, 130_000, 700_000, 9_000_000] {
        for (before, after) in [
            ("{\"msg\":\"identity validated\",\"object\":{\"all\":\"", "\"}}"),
            ("level=DEBUG msg=\"sending mcp body routing instructions to envoy\" response=\"", "\""),
            ("{\"method\":\"tools/call\",\"params\":{\"arguments\":{\"all\":\"", "\"}}}"),
            (
                "err=\"upstream returned HTTP 500: 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789",
                "\"",
            ),
        ] {
            let text = format!("first\n{before}{}{after}\nlast line\n", long(size));
            let redactor = Redactor::new(Options::default());
            let whole = redactor.text(&redactor.path("x.log"), text.as_bytes());
            let shown = String::from_utf8_lossy(whole.as_bytes());
            assert!(!shown.contains("hunter2"), "{size} {before}: {} bytes are left", shown.len());
            assert!(shown.starts_with("first\n") && shown.ends_with("\nlast line\n"), "{size} {before}");
            for piece in [1000, 65_536, 3_000_000] {
                let mut stream = redactor.stream(&redactor.path("x.log"));
                let mut out = Vec::new();
                for part in text.as_bytes().chunks(piece) {
                    out.extend_from_slice(stream.push(part).as_bytes());
                }
                out.extend_from_slice(stream.finish().as_bytes());
                assert!(out == whole.as_bytes(), "{size} in pieces of {piece}: {before}");
            }
        }
    }
}

#[test]
fn what_is_needed_survives() {
    for text in SURVIVORS {
        assert_eq!(redact(text), *text);
    }
}

#[test]
fn a_private_key_goes_whole_also_when_it_is_cut_off_or_escaped() {
    let body = "MHcCAQEEIBkZ0kZVhS9a8ZfZhunter2hunter2hunter2hunter2hunter2abcd";
    for text in [
        format!("x\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n{body}\n-----END RSA PRIVATE KEY-----\nmore"),
        format!("\"-----BEGIN PRIVATE KEY-----\\n{body}\\n-----END PRIVATE KEY-----\\n\" more"),
        format!("-----BEGIN EC PRIVATE KEY-----\n{body}\n{body}\n\nmore"),
        format!(
            "2026-11-22 -----BEGIN PRIVATE KEY-----\n2026-11-22 {body}\n2026-11-22 {body}\nmore words here"
        ),
    ] {
        let redacted = redact(&text);
        assert!(!redacted.contains("hunter2"), "{redacted}");
        assert!(redacted.contains("more"), "{redacted}");
        assert_eq!(redact(&redacted), redacted);
    }
}

#[test]
fn a_secret_object_keeps_its_shape_and_nothing_else() {
    let redactor = Redactor::new(Options::default());
    let file = redactor.path("s.yaml");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "weather", "namespace": "mcp-test", "labels": {"mcp.kuadrant.io/secret": "true"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration":
                "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"weather\"},\"stringData\":{\"token\":\"Bearer hunter2hunter2\\n\"}}"}},
        "data": {"token": "QmVhcmVyIGh1bnRlcjJodW50ZXIyCg==", "empty": ""},
    });
    let redacted = redactor.object(&file, secret.clone());
    let text = redacted.value().to_string();
    assert!(!text.contains("hunter2") && !text.contains("QmVhcmVy"), "{text}");
    let (before, after) =
        (crate::model::secret_shape::shapes(&secret), crate::model::secret_shape::shapes(redacted.value()));
    assert_eq!(after["token"].len, 22);
    assert_eq!(after["token"].scheme.as_deref(), Some("Bearer"));
    assert!(after["token"].trailing_newline && after["token"].white_space);
    assert!(after["empty"].is_empty());
    let facts = |shape: &crate::model::secret_shape::Shape| crate::model::secret_shape::Shape {
        token: None,
        bare: None,
        ..shape.clone()
    };
    for (key, shape) in &before {
        assert_eq!(facts(shape), facts(&after[key]), "{key}");
    }
    let again = redactor.object(&file, redacted.value().clone());
    assert_eq!(again, redacted, "twice changes nothing");
}

#[test]
fn learned_values_are_found_in_every_encoding() {
    use ::base64::prelude::*;
    let redactor = Redactor::new(Options::default());
    let value = "s3cr+t/VALUE&\"quoted";
    redactor.learn(value.as_bytes());
    let file = redactor.path("f.log");
    for text in [
        value.to_owned(),
        BASE64_STANDARD.encode(value),
        BASE64_STANDARD.encode(format!("x{value}y")),
        BASE64_STANDARD.encode(format!("xx{value}y")),
        BASE64_URL_SAFE_NO_PAD.encode(value),
        "s3cr%2Bt%2FVALUE%26%22quoted".to_owned(),
        serde_json::to_string(value).expect("JSON"),
    ] {
        let redacted = redactor.text(&file, format!("a {text} b").as_bytes());
        let redacted = String::from_utf8_lossy(redacted.as_bytes()).into_owned();
        assert!(
            redacted.starts_with("a ") && redacted.ends_with(" b") && redacted.contains("redacted:learned"),
            "{text}: {redacted}"
        );
        assert!(!redacted.contains(&text[1..9]), "{text}: {redacted}");
    }
}

#[test]
fn a_stream_gives_what_the_whole_text_gives() {
    let redactor = Redactor::new(Options::default());
    let file = redactor.path("f.log");
    let mut text = String::new();
    for n in 0..12_000 {
        text.push_str(SPELLINGS[n % SPELLINGS.len()]);
        text.push('\n');
        text.push_str(SURVIVORS[n % SURVIVORS.len()]);
        text.push('\n');
    }
    let whole = redactor.text(&file, text.as_bytes());
    for size in [1000usize, 65_537, 1 << 20] {
        let mut stream = redactor.stream(&file);
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            out.extend_from_slice(stream.push(piece).as_bytes());
        }
        out.extend_from_slice(stream.finish().as_bytes());
        assert!(out == whole.as_bytes(), "pieces of {size} bytes");
    }
}

/// What lies across the place where a stream cuts, and what begins or ends there.
#[test]
fn a_stream_cuts_through_nothing() {
    use ::base64::prelude::*;
    const HELD: usize = value::REACH + value::BEHIND;
    const CUT: usize = TextStream::USUAL_MEMORY - value::BEHIND - HELD;
    let redactor = Redactor::new(Options::default());
    redactor.learn(b"learned-hunter2-value");
    let file = redactor.path("f.log");
    let wrapped = BASE64_STANDARD.encode("token: hunter2hunter2 ".repeat(9));
    let wrapped: Vec<&str> =
        wrapped.as_bytes().chunks(64).filter_map(|c| std::str::from_utf8(c).ok()).collect();
    let wrapped = wrapped.join("\n");
    let long = "QmVhcmVyIGh1bnRlcjI".repeat(700);
    let others = ["a learned-hunter2-value here", &wrapped, &long];
    for secret in SPELLINGS.iter().chain(&others) {
        for (filler, before) in [("-\n", 0), (". ", secret.len() / 2), ("- ", secret.len())] {
            let mut text = filler.repeat(CUT / 2);
            text.truncate(CUT - before);
            text.push_str(secret);
            text.push_str(&filler.repeat(80 * 1024 / 2));
            let whole = redactor.text(&file, text.as_bytes());
            let mut stream = redactor.stream(&file);
            // So much makes the stream give out what is before the cut.
            let (first, rest) = text.as_bytes().split_at(CUT + HELD);
            let mut out = stream.push(first).as_bytes().to_vec();
            assert!(!out.is_empty());
            out.extend_from_slice(stream.push(rest).as_bytes());
            out.extend_from_slice(stream.finish().as_bytes());
            assert!(out == whole.as_bytes(), "{secret} {before} bytes before the cut, among {filler:?}");
        }
    }
}

/// Nobody has learned them, and no line alone shows them.
#[test]
fn secrets_in_wrapped_base64_are_found() {
    use ::base64::prelude::*;
    let kubeconfig =
        "apiVersion: v1\nkind: Config\nusers:\n- name: admin\n  user:\n    token: hunter2hunter2\n";
    let header =
        BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT","kid":"a-key-with-a-long-name"}"#);
    let payload =
        BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"hunter2hunter2","iss":"https://sso.example.com"}"#);
    let token = format!("{header}.{payload}.hunter2hunter2hunter2");
    for (what, bare) in [
        ("kubeconfig", BASE64_STANDARD.encode(kubeconfig)),
        (
            "key",
            BASE64_STANDARD.encode(format!(
                "{} ghp_16C7e42F292c6912E7710c838347Ae178B4a {}",
                "x".repeat(30),
                "y".repeat(40)
            )),
        ),
        ("token", token.clone()),
        ("token in base64", BASE64_STANDARD.encode(token)),
    ] {
        for columns in [60, 64, 76] {
            for newline in ["\n", "\r\n", "\n    ", "\\n"] {
                let lines: Vec<&str> =
                    bare.as_bytes().chunks(columns).map(|l| std::str::from_utf8(l).expect("ASCII")).collect();
                let text = format!("data:{newline}{}\nafter: that\n", lines.join(newline));
                let redacted = redact(&text);
                for line in &lines {
                    assert!(line.len() < 9 || !redacted.contains(&line[1..9]), "{what}: {text}\n{redacted}");
                }
                assert!(redacted.ends_with("\nafter: that\n"), "{what}: {redacted}");
                assert_eq!(redact(&redacted), redacted, "twice is once");
            }
        }
    }
    // Certificates and digests are wrapped, too.
    let harmless = format!(
        "ca: |\n  -----BEGIN CERTIFICATE-----\n  {}\n  {}\n  -----END CERTIFICATE-----\n",
        "MIIBszCCAVmgAwIBAgIUQ0pW8Ww1tq1v8YhTgM3gXk9X0t8wCgYIKoZIzj0EAwIw",
        "AwIBAgIUQ0pW8Ww1tq1v8YhTgM3gXk9X0t8wCgYIKoZIzj0EAwIwabcdefghijkl"
    );
    assert_eq!(redact(&harmless), harmless);
}

/// What breaks a line does not know what it breaks.
#[test]
fn learned_values_are_found_across_broken_lines() {
    use ::base64::prelude::*;
    let redactor = Redactor::new(Options::default());
    let values = ["s3cr3tVALUE0123456789", "correct horse battery staple"];
    values.iter().for_each(|value| redactor.learn(value.as_bytes()));
    let file = redactor.path("f.log");
    let check = |text: &str, halves: &[&str]| {
        let redacted = redactor.text(&file, text.as_bytes());
        let shown = String::from_utf8_lossy(redacted.as_bytes()).into_owned();
        for half in halves {
            assert!(!shown.contains(half), "{half}: {text}\n{shown}");
        }
        assert_eq!(redactor.text(&file, redacted.as_bytes()), redacted, "twice is once: {text}");
    };
    for columns in [64, 76] {
        for before in columns - 20..columns {
            let encoded =
                BASE64_STANDARD.encode(format!("{}{}{}", "x".repeat(before), values[0], "y".repeat(50)));
            for (newline, text) in
                [("\n", ""), ("\r\n", ""), ("\n    ", "data: |\n    "), ("\\n", "\"data\":\"")]
            {
                let lines: Vec<&str> = encoded
                    .as_bytes()
                    .chunks(columns)
                    .map(|l| std::str::from_utf8(l).expect("ASCII"))
                    .collect();
                let text = format!("{text}{}\n", lines.join(newline));
                let redacted = redactor.text(&file, text.as_bytes());
                let joined: Vec<u8> =
                    String::from_utf8_lossy(redacted.as_bytes()).replace("\\n", "").into_bytes();
                // Of the value only what is left of the line breaks would give it away.
                let bare: Vec<u8> = joined.into_iter().filter(|b| base64::is_character(*b)).collect();
                for skip in 0..4 {
                    let decoded = base64::decode(bare.get(skip..).unwrap_or_default()).unwrap_or_default();
                    assert!(memchr::memmem::find(&decoded, &values[0].as_bytes()[..8]).is_none(), "{text}");
                }
            }
        }
    }
    check(
        "2026-11-22T10:11:12.123456789Z stdout P a long line with s3cr3tVALUE\n2026-11-22T10:11:12.123456789Z stderr F another\n2026-11-22T10:11:12.123456790Z stdout F 0123456789 and its end\n",
        &["s3cr3tVALUE", "0123456789 and"],
    );
    check(
        "note: the phrase is correct horse\n  battery staple, they say\n",
        &["correct horse", "battery staple"],
    );
    check(
        "note: \"the phrase is correct\n    horse battery\n    staple\"\n",
        &["correct", "horse battery", "staple"],
    );
}
