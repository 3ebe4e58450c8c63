//! How fast redaction is: the full default set over logs, Envoy dumps and object lists, next to the same
//! expressions applied one after the other to every line, and to compressing the same bytes.
//!
//! `cargo bench --bench redaction`; the throughput is that of one core.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use oc_mcpgw::redact::{Options, Redactor, expressions};

/// How much of each sort of text there is.
const SIZE: usize = 16 << 20;

fn main() {
    divan::main();
}

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

fn redactor(learned: usize) -> Redactor {
    let redactor = Redactor::new(Options::default());
    let mut n = Numbers(4);
    for index in 0..learned {
        let len = 12 + index % 40;
        redactor.learn(n.letters(len).as_bytes());
    }
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

fn run(bencher: Bencher<'_, '_>, text: &'static [u8], learned: usize) {
    let redactor = redactor(learned);
    // What is built at first use is not what is measured.
    stream(&redactor, &text[..1 << 20]);
    bencher.counter(BytesCount::of_slice(text)).bench_local(|| stream(&redactor, black_box(text)));
}

/// The same expressions, one after the other, line by line; what is found is only counted.
fn one_by_one(bencher: Bencher<'_, '_>, text: &'static [u8]) {
    let text = &text[..2 << 20];
    let regexes: Vec<regex::bytes::Regex> = expressions()
        .map(|e| regex::bytes::RegexBuilder::new(e).unicode(false).build().expect("compiles"))
        .collect();
    bencher.counter(BytesCount::of_slice(text)).bench_local(|| {
        let mut found = 0usize;
        for line in black_box(text).split_inclusive(|b| *b == b'\n') {
            for regex in &regexes {
                found += regex.find_iter(line).count();
            }
        }
        found
    });
}

fn gzip(bencher: Bencher<'_, '_>, text: &'static [u8]) {
    bencher.counter(BytesCount::of_slice(text)).bench_local(|| {
        let mut encoder = flate2::write::GzEncoder::new(std::io::sink(), flate2::Compression::new(6));
        encoder.write_all(black_box(text)).expect("a sink");
        encoder.finish().is_ok()
    });
}

#[divan::bench_group(sample_count = 5, sample_size = 1)]
mod logs {
    use super::*;

    #[divan::bench]
    fn redact(bencher: Bencher<'_, '_>) {
        run(bencher, &LOGS, 0);
    }

    #[divan::bench]
    fn redact_with_10000_learned(bencher: Bencher<'_, '_>) {
        run(bencher, &LOGS, 10_000);
    }

    #[divan::bench]
    fn a_one_expression_after_the_other(bencher: Bencher<'_, '_>) {
        one_by_one(bencher, &LOGS);
    }

    #[divan::bench]
    fn b_gzip_6(bencher: Bencher<'_, '_>) {
        gzip(bencher, &LOGS);
    }
}

#[divan::bench_group(sample_count = 5, sample_size = 1)]
mod envoy_dumps {
    use super::*;

    #[divan::bench]
    fn redact(bencher: Bencher<'_, '_>) {
        run(bencher, &DUMPS, 0);
    }

    #[divan::bench]
    fn redact_with_10000_learned(bencher: Bencher<'_, '_>) {
        run(bencher, &DUMPS, 10_000);
    }

    #[divan::bench]
    fn a_one_expression_after_the_other(bencher: Bencher<'_, '_>) {
        one_by_one(bencher, &DUMPS);
    }

    #[divan::bench]
    fn b_gzip_6(bencher: Bencher<'_, '_>) {
        gzip(bencher, &DUMPS);
    }
}

#[divan::bench_group(sample_count = 5, sample_size = 1)]
mod object_lists {
    use super::*;

    #[divan::bench]
    fn redact(bencher: Bencher<'_, '_>) {
        run(bencher, &OBJECTS, 0);
    }

    #[divan::bench]
    fn redact_with_10000_learned(bencher: Bencher<'_, '_>) {
        run(bencher, &OBJECTS, 10_000);
    }

    /// The structural redactor, without parsing.
    #[divan::bench]
    fn redact_parsed_objects(bencher: Bencher<'_, '_>) {
        let text: &[u8] = &OBJECTS;
        let redactor = redactor(0);
        let items: Vec<serde_json::Value> = text
            .split(|b| *b == b'\n')
            .filter_map(|line| serde_json::from_slice(line.strip_suffix(b",")?).ok())
            .collect();
        let file = redactor.path("pods.yaml");
        bencher.counter(BytesCount::of_slice(text)).with_inputs(|| items.clone()).bench_local_values(
            |items| items.into_iter().map(|item| redactor.object(&file, item)).collect::<Vec<_>>(),
        );
    }

    #[divan::bench]
    fn a_one_expression_after_the_other(bencher: Bencher<'_, '_>) {
        one_by_one(bencher, &OBJECTS);
    }

    #[divan::bench]
    fn b_gzip_6(bencher: Bencher<'_, '_>) {
        gzip(bencher, &OBJECTS);
    }
}

/// The scan of the finished archive, by the engine of its own.
#[divan::bench_group(sample_count = 5, sample_size = 1)]
mod second_look {
    use super::*;
    use oc_mcpgw::redact::verify::{Certainty, Scanner};

    #[divan::bench(args = [Certainty::Certain, Certainty::Suspicious])]
    fn logs(bencher: Bencher<'_, '_>, certainty: Certainty) {
        let text: &[u8] = &LOGS;
        bencher
            .counter(BytesCount::of_slice(text))
            .bench_local(|| Scanner::read(certainty, &mut black_box(text)));
    }
}
