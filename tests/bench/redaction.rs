//! How fast redaction is: the full default set over logs, Envoy dumps and object lists, next to the same
//! detectors applied one regular expression after the other to every line, and to compressing the same
//! bytes.
//!
//! `cargo bench --bench redaction` prints tables; `cargo bench --bench redaction logs` (`Envoy`, `object`,
//! `memory`, `hostile`) only a part of them; with `quick` only
//! our own speed is taken. Texts that an enemy could write are measured at two sizes; a time that grows faster
//! than the text is an error.
//!
//! The throughput is that of one core: the processor time that the thread was given, where the system
//! tells it (Linux), so that a busy machine disturbs the figures less; the best of several runs.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use base64::Engine as _;
use oc_mcpgw::redact::verify::{Certainty, Scanner};
use oc_mcpgw::redact::{Options, Redactor, TextStream, expressions};
use regex::bytes::{NoExpand, Regex, RegexBuilder};

/// How much of each sort of text there is.
const SIZE: usize = 16 << 20;

/// A small generator of numbers, so that every run sees the same text.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn hex(&mut self, len: usize) -> String {
        (0..len).map(|_| char::from(b"0123456789abcdef"[(self.next() % 16) as usize])).collect()
    }

    fn letters(&mut self, len: usize) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..len).map(|_| char::from(ALPHABET[(self.next() % 62) as usize])).collect()
    }

    fn uuid(&mut self) -> String {
        format!("{}-{}-{}-{}-{}", self.hex(8), self.hex(4), self.hex(4), self.hex(4), self.hex(12))
    }
}

/// Lines of the broker, the controller, Envoy's access log and Authorino; one line in a hundred holds a secret.
static LOGS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut n = Numbers(1);
    let mut text = String::with_capacity(SIZE + 1024);
    let mut line = 0u64;
    while text.len() < SIZE {
        line += 1;
        let time = format!(
            "2026-11-22T{:02}:{:02}:{:02}.{:09}Z",
            line / 3600 % 24,
            line / 60 % 60,
            line % 60,
            n.next() % 1_000_000_000
        );
        let _ = match n.next() % 100 {
            0 => writeln!(
                text,
                "time={time} level=DEBUG msg=\"request headers\" authorization=\"Bearer {}\" component=router",
                n.letters(40)
            ),
            1..=20 => writeln!(
                text,
                "time={time} level=INFO msg=\"reconciling mcpserverregistration\" controller=mcpserverregistration controllerGroup=mcp.kuadrant.io namespace=team-{} name=server-{} reconcileID={}",
                n.next() % 40,
                n.next() % 400,
                n.uuid()
            ),
            21..=30 => writeln!(
                text,
                "time={time} level=ERROR msg=\"upstream connection failure\" component=broker \"upstream mcp server\"=team-{0}/server-{1}:p{1}_:server-{1}.mcp.local error=\"Post \\\"http://server-{1}.team-{0}.svc.cluster.local:8080/mcp\\\": dial tcp 10.128.{2}.{1}:8080: connect: connection refused\"",
                n.next() % 40,
                n.next() % 250,
                n.next() % 250
            ),
            31..=70 => writeln!(
                text,
                "[{time}] \"POST /mcp HTTP/1.1\" {} - via_upstream - \"-\" {} {} {} {} \"10.128.0.{}\" \"python-httpx/0.27\" \"{}\" \"mcp.example.com\" \"10.129.2.{}:8080\" outbound|8080||mcp-gateway.mcp-system.svc.cluster.local 10.128.2.9:49152 10.128.2.9:8443 10.128.0.2:{} - mcp-system.mcp-gateway-route.0",
                [200, 200, 200, 401, 503][(n.next() % 5) as usize],
                n.next() % 900,
                n.next() % 9000,
                n.next() % 100,
                n.next() % 90,
                n.next() % 250,
                n.uuid(),
                n.next() % 250,
                30000 + n.next() % 30000
            ),
            71..=85 => writeln!(
                text,
                "{{\"level\":\"info\",\"ts\":\"{time}\",\"logger\":\"authorino.service.auth\",\"msg\":\"outgoing authorization response\",\"request id\":\"{}\",\"authorized\":true,\"response\":\"OK\"}}",
                n.uuid()
            ),
            86..=95 => writeln!(
                text,
                "time={time} level=INFO msg=\"tool call\" component=router tool=server{}_forecast server=team-{}/server-{} status=200 request_id={} duration={}ms",
                n.next() % 400,
                n.next() % 40,
                n.next() % 400,
                n.uuid(),
                n.next() % 900
            ),
            _ => writeln!(
                text,
                "I1122 10:11:12.{:06}       1 event.go:364] Event(v1.ObjectReference{{Kind:\"Pod\", Namespace:\"team-{}\", Name:\"server-{}-{}-{}\", UID:\"{}\", APIVersion:\"v1\", ResourceVersion:\"{}\"}}): type: 'Normal' reason: 'Pulled' Container image \"quay.io/example/server@sha256:{}\" already present on machine",
                n.next() % 999_999,
                n.next() % 40,
                n.next() % 400,
                n.hex(9),
                n.hex(5),
                n.uuid(),
                n.next(),
                n.hex(64)
            ),
        };
    }
    text.into_bytes()
});

/// What `config_dump` prints: clusters, routes with headers, filter configuration.
static DUMPS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut n = Numbers(2);
    let mut text = String::from("{\n \"configs\": [\n");
    while text.len() < SIZE {
        let (team, server) = (n.next() % 40, n.next() % 400);
        let _ = write!(
            text,
            "  {{\n   \"version_info\": \"2026-11-22T10:11:12Z/{}\",\n   \"cluster\": {{\n    \"@type\": \"type.googleapis.com/envoy.config.cluster.v3.Cluster\",\n    \"name\": \"outbound|8080||server-{server}.team-{team}.svc.cluster.local\",\n    \"type\": \"EDS\",\n    \"eds_cluster_config\": {{\n     \"eds_config\": {{\n      \"ads\": {{}},\n      \"initial_fetch_timeout\": \"0s\",\n      \"resource_api_version\": \"V3\"\n     }},\n     \"service_name\": \"outbound|8080||server-{server}.team-{team}.svc.cluster.local\"\n    }},\n    \"connect_timeout\": \"10s\",\n    \"circuit_breakers\": {{\n     \"thresholds\": [\n      {{\n       \"max_connections\": 4294967295,\n       \"max_pending_requests\": 4294967295,\n       \"track_remaining\": true\n      }}\n     ]\n    }},\n    \"metadata\": {{\n     \"filter_metadata\": {{\n      \"istio\": {{\n       \"services\": [\n        {{\n         \"namespace\": \"team-{team}\",\n         \"name\": \"server-{server}\",\n         \"host\": \"server-{server}.team-{team}.svc.cluster.local\"\n        }}\n       ]\n      }}\n     }}\n    }}\n   }},\n   \"last_updated\": \"2026-11-22T10:11:12.{:03}Z\"\n  }},\n",
            n.next(),
            n.next() % 1000
        );
        if n.next().is_multiple_of(20) {
            let _ = write!(
                text,
                "  {{\n   \"route\": {{\n    \"request_headers_to_add\": [\n     {{\n      \"header\": {{\n       \"key\": \"authorization\",\n       \"value\": \"Bearer {}\"\n      }}\n     }}\n    ]\n   }}\n  }},\n",
                n.letters(36)
            );
        }
    }
    text.push_str("  {}\n ]\n}\n");
    text.into_bytes()
});

/// A list of pods as the API server sends it, one object per line.
static OBJECTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut n = Numbers(3);
    let mut text = String::with_capacity(SIZE + 4096);
    text.push_str(
        "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[\n",
    );
    while text.len() < SIZE {
        let name = format!("server-{}-{}-{}", n.next() % 400, n.hex(9), n.hex(5));
        let _ = writeln!(
            text,
            "{{\"metadata\":{{\"name\":\"{name}\",\"generateName\":\"server-\",\"namespace\":\"team-{}\",\"uid\":\"{}\",\"resourceVersion\":\"{}\",\"creationTimestamp\":\"2026-11-22T10:11:12Z\",\"labels\":{{\"app.kubernetes.io/name\":\"server\",\"pod-template-hash\":\"{}\"}},\"annotations\":{{\"k8s.ovn.org/pod-networks\":\"{{\\\"default\\\":{{\\\"ip_addresses\\\":[\\\"10.128.2.{}/23\\\"],\\\"mac_address\\\":\\\"0a:58:0a:80:02:5d\\\"}}}}\"}}}},\"spec\":{{\"volumes\":[{{\"name\":\"kube-api-access-{}\",\"projected\":{{\"sources\":[{{\"serviceAccountToken\":{{\"expirationSeconds\":3607,\"path\":\"token\"}}}},{{\"configMap\":{{\"name\":\"kube-root-ca.crt\",\"items\":[{{\"key\":\"ca.crt\",\"path\":\"ca.crt\"}}]}}}}],\"defaultMode\":420}}}}],\"containers\":[{{\"name\":\"server\",\"image\":\"quay.io/example/server@sha256:{}\",\"args\":[\"--port=8080\",\"--log-level=info\"],\"env\":[{{\"name\":\"LOG_LEVEL\",\"value\":\"info\"}},{{\"name\":\"API_TOKEN\",\"valueFrom\":{{\"secretKeyRef\":{{\"name\":\"server-credential\",\"key\":\"token\"}}}}}}],\"resources\":{{\"limits\":{{\"memory\":\"256Mi\"}}}},\"terminationMessagePath\":\"/dev/termination-log\",\"imagePullPolicy\":\"IfNotPresent\"}}],\"nodeName\":\"ip-10-0-{}-{}.eu-west-1.compute.internal\"}},\"status\":{{\"phase\":\"Running\",\"conditions\":[{{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"2026-11-22T10:12:12Z\"}}],\"podIP\":\"10.128.2.{}\",\"containerStatuses\":[{{\"name\":\"server\",\"ready\":true,\"restartCount\":0,\"containerID\":\"cri-o://{}\"}}]}}}},",
            n.next() % 40,
            n.uuid(),
            n.next(),
            n.hex(9),
            n.next() % 250,
            n.hex(5),
            n.hex(64),
            n.next() % 250,
            n.next() % 250,
            n.next() % 250,
            n.hex(64)
        );
    }
    text.push_str("]}\n");
    text.into_bytes()
});

/// The same list as a must-gather holds it.
static YAML: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut text = String::from("apiVersion: v1\nitems:\n");
    for line in OBJECTS.split(|b| *b == b'\n').filter(|line| line.starts_with(b"{\"metadata")) {
        if text.len() >= SIZE {
            break;
        }
        let object: serde_json::Value =
            serde_json::from_slice(line.strip_suffix(b",").unwrap_or(line)).expect("an object");
        let object = serde_yaml::to_string(&object).expect("an object");
        for (index, line) in object.lines().enumerate() {
            let _ = writeln!(text, "{} {line}", if index == 0 { "-" } else { " " });
        }
    }
    text.push_str("kind: PodList\n");
    text.into_bytes()
});

/// Values as credentials are: 8 to 47 letters and digits.
fn values(count: usize) -> Vec<String> {
    let mut n = Numbers(4);
    (0..count).map(|index| n.letters(8 + index % 40)).collect()
}

fn redactor(learned: usize) -> Redactor {
    let redactor = Redactor::new(Options::default());
    values(learned).iter().for_each(|value| redactor.learn(value.as_bytes()));
    redactor
}

/// Redacts in the pieces in which the network brings it.
fn stream(redactor: &Redactor, text: &[u8]) -> usize {
    let mut stream = redactor.stream(&redactor.path("bench.log"));
    let mut len = 0;
    for piece in text.chunks(64 * 1024) {
        len += stream.push(piece).len();
    }
    len + stream.finish().len()
}

/// The detectors as a person writes them who applies one expression after the other: each finds its secret
/// as a whole. The rows of the table that are whole expressions are taken as they are, one provider each.
fn one_by_one() -> Vec<Regex> {
    const NAMES: &str = r"passw(?:or)?d|passwd|passphrase|passcode|pwd|secret|token|credentials?|creds|authorization|cookies?|api[_.-]?key|(?:access|account|router|signing|private|encryption|shared|master|session|storage|auth|ssh|hmac|webhook|client|subscription)[_.-]?key|session[_-]?id|connection[_-]?string|dsn|sid|x-mcp-verified-sub|x-forwarded-(?:user|email|preferred-username)|x-auth-request-(?:user|email)|preferred_?username|sub|upn|dockerconfigjson|dockercfg|jwt|psk|otlp[_.-]headers|key-data";
    let mut all = Vec::new();
    for (id, expression) in expressions() {
        let whole: Vec<String> = match id {
            "placeholder" => Vec::new(),
            "jwt" => vec![r"ey[JA][A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*".to_owned()],
            "private-key" => vec![format!(r"{expression}[^\x22]*")],
            "base64-secret" => vec![format!(r"[A-Za-z0-9+/_-]*(?:{expression})[A-Za-z0-9+/_=-]*")],
            "registry-login" => vec![format!(r"{expression}[A-Za-z0-9+/=]*")],
            "url" => vec![
                r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/@\x22']+@".to_owned(),
                r"(?i)[?&;](?:sig|signature|code|key|auth|assertion|x-amz-signature|x-amz-credential|x-goog-signature|x-goog-credential|awsaccesskeyid|pass|pw|session|jwt|id_token_hint|code_verifier|nonce|state|samlresponse|samlrequest|login_hint|email|user)=[^&\s\x22']+".to_owned(),
            ],
            "email" => vec![r"[A-Za-z0-9._%+-]+(?:@|%40)[A-Za-z0-9.-]+\.[A-Za-z]{2,}".to_owned()],
            "audit" => vec![r"audit(?:=|\\?\x22:\s?)true.*\b(?:user|session)\\?\x22?[=:]\s?[^\s,]+".to_owned()],
            "dump" => vec![r"sending [a-z ]{1,40} instructions to envoy.*\bresponse\\?\x22?[=:].*".to_owned()],
            "authorino-dump" | "broker-dump" => vec![format!(
                r"(?:{expression}).*\b(?:input|object|metadata|identity|expected|got|capabilities|sub)\\?\x22?[=:].*"
            )],
            "upstream-body" => vec![format!(r"{expression}.{{80}}[^\x22]*")],
            "query" => vec![format!(r"(?:{expression})[^\s\x22'\\]+")],
            "scheme" => vec![format!(r"{expression}[A-Za-z0-9._~+/=%-]{{5,}}")],
            "name" => vec![
                // `name: value` in every spelling, `--flag value`, `key: name, value: value`.
                format!(r"(?i)[\w.-]*(?:{NAMES})(?:\\{{0,8}}[\x22']|%22)?\]?\s*(?::=|=>|[:=]|%3D|%3A)\s*(?:\\{{0,8}}[\x22']|%22|\[)*[^\s\x22',;\]\}}\\]+"),
                format!(r"(?i)--[\w-]*(?:{NAMES}|key)(?:[ =]|\x22\s*,\s*\x22)[^\s\x22']+"),
                format!(r"(?i)(?:key|name)[\x22']?\s*:\s*[\x22']?[\w.-]*(?:{NAMES}|_key|_pass)[\x22']?,?\s*[\x22']?(?:raw_?)?value[\x22']?\s*[:=]\s*[\x22']?[^\s\x22']+"),
                r"(?i)\barguments\\{0,8}\x22\s*:\s*\{.*\}".to_owned(),
            ],
            _ => alternatives(expression),
        };
        all.extend(whole);
    }
    all.iter().map(|e| RegexBuilder::new(e).unicode(false).build().expect("compiles")).collect()
}

/// The alternatives of an expression that stand in no bracket.
fn alternatives(expression: &str) -> Vec<String> {
    let flags = if expression.starts_with("(?i)") { "(?i)" } else { "" };
    let (mut depth, mut set, mut escaped) = (0, false, false);
    let mut all = vec![String::from(flags)];
    for c in expression[flags.len()..].chars() {
        match c {
            '|' if depth == 0 && !set => {
                all.push(String::from(flags));
                continue;
            }
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => set = true,
            ']' => set = false,
            '(' if !set => depth += 1,
            ')' if !set => depth -= 1,
            _ => {}
        }
        all.last_mut().expect("one at least").push(c);
    }
    all
}

/// Applies the detectors to every line; base64 that holds text is decoded and looked into.
fn line_by_line(detectors: &[Regex], run: &Regex, text: &[u8]) -> usize {
    let mut len = 0;
    for line in text.split_inclusive(|b| *b == b'\n') {
        let mut line = std::borrow::Cow::Borrowed(line);
        for detector in detectors {
            if let std::borrow::Cow::Owned(changed) = detector.replace_all(&line, NoExpand(b"<redacted>")) {
                line = changed.into();
            }
        }
        for blob in run.find_iter(&line) {
            let decoded = base64::prelude::BASE64_STANDARD.decode(blob.as_bytes());
            if let Ok(decoded) = decoded.as_deref().map(<[u8]>::trim_ascii)
                && decoded.iter().all(|b| (32..127).contains(b))
            {
                len += detectors.iter().filter(|detector| detector.is_match(decoded)).count();
            }
        }
        len += line.len();
    }
    len
}

/// The seconds that this thread has run, or that have passed where the system does not tell.
fn seconds() -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .map_or_else(|| START.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

/// Megabytes per second, the best of several runs, each long enough for the clock of the system.
fn speed(len: usize, mut run: impl FnMut() -> usize) -> f64 {
    black_box(run());
    (0..RUNS)
        .map(|_| {
            let start = seconds();
            let mut bytes = 0;
            while seconds() - start < 0.15 {
                black_box(run());
                bytes += len;
            }
            bytes as f64 / 1e6 / (seconds() - start)
        })
        .fold(0.0, f64::max)
}

/// How often each figure is taken.
const RUNS: usize = 5;

/// The detectors, and all values with their encodings as one more expression.
fn with_values(values: &[String]) -> Vec<Regex> {
    let mut all = one_by_one();
    let mut forms = Vec::new();
    for value in values {
        forms.push(value.clone());
        for shift in 0..3usize {
            let padded = [&b"\0\0"[..shift], value.as_bytes()].concat();
            let encoded = base64::prelude::BASE64_STANDARD.encode(&padded);
            // Only the characters that no neighbour of the value has a part in.
            let core = &encoded[(shift * 8).div_ceil(6)..padded.len() * 8 / 6];
            forms.push(regex::escape(core));
            forms.push(regex::escape(&core.replace('+', "-").replace('/', "_")));
        }
    }
    forms.sort_unstable();
    forms.dedup();
    let alternation = RegexBuilder::new(&forms.join("|"))
        .unicode(false)
        .size_limit(1 << 30)
        .dfa_size_limit(64 << 20)
        .build();
    all.push(alternation.expect("compiles"));
    all
}

/// How many values are learned where some are.
const VALUES: usize = 10_000;

/// How the figures of one sort of text came out.
fn measure(name: &str, text: &[u8], quick: bool, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let (plain, loaded) = (redactor(0), redactor(VALUES));
    let part = &text[..2 << 20];
    let (mut fast, mut with_learned) = (0f64, 0f64);
    // In turns, so that a busy moment hits both.
    for _ in 0..3 {
        fast = fast.max(speed(text.len(), || stream(&plain, text)));
        with_learned = with_learned.max(speed(text.len(), || stream(&loaded, text)));
    }
    if quick {
        return writeln!(
            out,
            "{name}: {fast:.0}, with values {with_learned:.0} ({:.2} ×)",
            fast / with_learned
        );
    }
    let run = Regex::new(r"[A-Za-z0-9+/_-]{16,}={0,2}").expect("compiles");
    let detectors = one_by_one();
    let naive = speed(part.len(), || line_by_line(&detectors, &run, part));
    let detectors = with_values(&values(VALUES));
    let naive_learned = speed(part.len(), || line_by_line(&detectors, &run, part));
    let gzip = speed(part.len(), || {
        let mut encoder = flate2::write::GzEncoder::new(std::io::sink(), flate2::Compression::new(6));
        encoder.write_all(black_box(part)).expect("a sink");
        usize::from(encoder.finish().is_ok())
    });
    let certain =
        speed(text.len(), || usize::from(Scanner::read(Certainty::Certain, &mut black_box(text)).is_ok()));
    writeln!(
        out,
        "| {name} | {fast:.0} | {with_learned:.0} ({:.2} ×) | {naive:.1} ({:.0} ×) | {naive_learned:.1} ({:.0} ×) | {gzip:.0} ({:.1} ×) | {certain:.0} |",
        fast / with_learned,
        fast / naive,
        with_learned / naive_learned,
        fast / gzip
    )
}

/// Texts that repeat what makes a detector look ahead or behind.
const HOSTILE: &[(&str, &str)] = &[
    ("beginnings of web tokens", "eyJ"),
    ("web tokens that end soon", "eyJhbGciOi=.eyJ"),
    ("equals signs", "="),
    ("names and equals signs", "token=="),
    ("quotes", "\""),
    ("names and quotes", "password:\""),
    ("names and escaped quotes", "\\\"password\\\":\\\""),
    ("backslashes", "\\"),
    ("backslashes and quotes", "\\\\\\\"token\\\\\\\":"),
    ("marks of keys", "-----BEGIN PRIVATE KEY-----\n"),
    ("marks of keys in one line", "-----BEGIN PRIVATE KEY-----"),
    ("borders of addresses", "://"),
    ("addresses within addresses", "https://a?b=https://a?sig="),
    ("addresses with commas", "a://b:c,"),
    ("at signs", "a@b."),
    ("braces", "{"),
    ("arguments", "\"arguments\":{"),
    ("lists", "token:[["),
    ("base64", "QmVhcmVy"),
    ("base64 of base64", "ZXlKaGJH"),
    ("percent signs", "%"),
    ("encoded equals signs", "token%3D%22"),
    ("scheme words", "bearer+a=basic+"),
    ("lines that go on", "password: \"a\n  "),
    ("blocks", "token: |\n\n"),
    ("deeper blocks", "token: |\n  "),
    ("wrapped base64", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9w\n "),
    ("parts of lines", "2026-11-22T10:11:12.123456789Z stdout P token\n"),
    ("bodies of answers", "upstream returned HTTP 500: "),
    ("dumps", "identity validated object="),
    ("audit lines", "audit=true user="),
    ("queries", "GET /a?b&"),
    ("keys side by side", "AKIAIOSFODNN7EXAMPLE+"),
    ("placeholders", "<redacted:token len=3 h=01234567 "),
    ("logins", "\"auth\":\"AAAAAAAA"),
    ("white space", "token \t"),
];

/// Redacts hostile texts of two sizes; a time that grows with the square of the size is an error.
fn hostile(out: &mut impl std::io::Write) -> std::io::Result<()> {
    const SMALL: usize = 256 << 10;
    let redactor = redactor(100);
    writeln!(
        out,
        "\n| hostile text | redact, MB/s | four times as long | second look, MB/s | four times as long |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    let mut slow = Vec::new();
    for (name, fragment) in HOSTILE {
        let texts = [SMALL, 4 * SMALL].map(|len| fragment.repeat(len / fragment.len()));
        let [small, large] =
            texts.each_ref().map(|text| once(text.len(), || stream(&redactor, text.as_bytes())));
        let [look_small, look_large] = texts.each_ref().map(|text| {
            once(text.len(), || {
                let mut text = black_box(text.as_bytes());
                usize::from(Scanner::read(Certainty::Suspicious, &mut text).is_ok())
            })
        });
        writeln!(out, "| {name} | {small:.1} | {large:.1} | {look_small:.1} | {look_large:.1} |")?;
        // Of the square, a quarter of the speed would be left; and no text may be slow at any size.
        if large < small / 2.5 || look_large < look_small / 2.5 || large < 5.0 || look_large < 5.0 {
            slow.push(*name);
        }
    }
    if slow.is_empty() {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("not linear: {}", slow.join(", "))))
    }
}

/// Megabytes per second, the best of three runs, each long enough for the clock of the system.
fn once(len: usize, mut run: impl FnMut() -> usize) -> f64 {
    (0..3)
        .map(|_| {
            let start = seconds();
            let mut bytes = 0;
            while seconds() - start < 0.05 {
                black_box(run());
                bytes += len;
            }
            bytes as f64 / 1e6 / (seconds() - start)
        })
        .fold(0.0, f64::max)
}

/// A figure of the memory of this process, in MiB, where the system tells it.
fn memory(figure: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(figure)).unwrap_or_default();
    let kib: f64 = line.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
    kib / 1024.0
}

/// What is needed beside the text itself.
fn peak(out: &mut impl std::io::Write) -> std::io::Result<()> {
    let text = &*LOGS;
    let empty = memory("VmRSS:");
    black_box(stream(&redactor(0), text));
    let engine = memory("VmRSS:");
    black_box(stream(&redactor(VALUES), text));
    let peak = memory("VmHWM:");
    writeln!(
        out,
        "\nMemory: the engine and one stream {:.0} MiB; with {VALUES} values learned {:.0} MiB at the peak. A stream keeps {} KiB, and never more than {} KiB, whatever the length of its lines.",
        engine - empty,
        peak - empty,
        TextStream::USUAL_MEMORY / 1024,
        TextStream::MOST_MEMORY / 1024
    )
}

fn main() -> std::io::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let quick = wanted.iter().any(|wanted| wanted == "quick");
    let wanted: Vec<String> = wanted.into_iter().filter(|wanted| wanted != "quick").collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str()));
    let mut out = std::io::stdout().lock();
    if is_wanted("memory") {
        // First, while nothing else has been in memory.
        peak(&mut out)?;
    }
    let texts: [(&str, &LazyLock<Vec<u8>>); 4] = [
        ("logs", &LOGS),
        ("Envoy dumps", &DUMPS),
        ("object lists, YAML", &YAML),
        ("object lists, JSON", &OBJECTS),
    ];
    if !quick && texts.iter().any(|(name, _)| is_wanted(name)) {
        writeln!(
            out,
            "\n| MB/s on one core | redact | with {VALUES} values learned (time ×) | (a) {} expressions one by one (redact is faster by) | (a) with the values as one more expression | (b) gzip 6 (redact is faster by) | second look |",
            one_by_one().len()
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|")?;
    }
    for (name, text) in texts {
        if is_wanted(name) {
            measure(name, text, quick, &mut out)?;
        }
    }
    if is_wanted("hostile") {
        hostile(&mut out)?;
    }
    Ok(())
}
