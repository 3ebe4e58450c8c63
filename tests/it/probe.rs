//! Probes over the wire: the real program, port-forwards and commands replayed by `serve`.

use std::collections::BTreeMap;

use oc_mcpgw::archive::read;
use oc_mcpgw::model::probes::{Probe, Purpose};
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::gather::{Fault, Served, archive, status, text};

/// The probes of a gather with these arguments, and every byte of its archive.
fn probed(served: &Served, arguments: &[&str], code: i32) -> (BTreeMap<String, Probe>, Vec<u8>) {
    let mut all = vec!["-o", "probed.tar"];
    all.extend(arguments);
    let output = served.gather(&all);
    assert_eq!(output.status.code(), Some(code), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let path = archive(&output, served.directory.path());
    let mut probes = BTreeMap::new();
    let mut bytes = Vec::new();
    let source = read::open(&path).expect("an archive");
    source
        .walk(&mut |entry, content| {
            let mut file = Vec::new();
            content.read_to_end(&mut file).expect("readable");
            if let Some(name) = entry.path.strip_prefix("mcpgw/probes/") {
                let probe: Probe = serde_json::from_slice(&file).expect("a probe");
                probes.insert(name.trim_end_matches(".json").to_owned(), probe);
            }
            bytes.extend(file);
            read::Visit::Next
        })
        .expect("a whole archive");
    bytes.extend(output.stdout);
    bytes.extend(output.stderr);
    (probes, bytes)
}

const METADATA: &str = "oauth-metadata.mcp-system.mcp-gateway";
const TOOLS: &str = "tools-list.mcp-system.mcp-gateway";

#[test]
fn gateways_servers_and_hosts_answer() {
    let served = Served::of(&Fixture::healthy());
    let (probes, _) = probed(&served, &["--probe", "http,mcp,exec"], 0);
    assert_eq!(probes[METADATA].status, Some(200));
    let metadata = probes[METADATA].body.as_ref().and_then(|body| body.metadata.clone()).expect("metadata");
    assert_eq!(metadata.authorization_servers, ["https://sso.example.com/realms/mcp"]);
    assert_eq!(probes[TOOLS].status, Some(401));
    assert!(probes[TOOLS].header("www-authenticate").contains("resource_metadata="));
    assert_eq!(probes["unknown-path.mcp-system.mcp-gateway"].status, Some(404));

    let server = probes["mcp-initialize.team-weather.weather"].body.clone().and_then(|body| body.server);
    assert_eq!(server.expect("a server").protocol_version, "2025-11-25");
    let tools = probes["mcp-tools.team-weather.weather"].body.clone().and_then(|body| body.tools);
    assert_eq!(tools.expect("tools")[0], "get_weather");
    assert_eq!(probes["mcp-initialize.team-commerce.orders"].status, Some(401), "credentials are not sent");
    let outside = &probes["mcp-initialize.team-platform.tickets"];
    assert!(outside.skipped.as_deref().is_some_and(|why| why.contains("outside")), "{outside:?}");

    let asked: Vec<&Probe> =
        probes.values().filter(|p| matches!(p.purpose, Purpose::Dns | Purpose::Https)).collect();
    assert_eq!(asked.len(), 7, "{:?}", probes.keys());
    for probe in asked {
        assert!(probe.error.is_none() && probe.skipped.is_none(), "{probe:?}");
        assert!(probe.status == Some(200) || !probe.addresses.is_empty(), "{probe:?}");
        assert!(!probe.request.via.command.iter().any(|word| word == "sh"), "{probe:?}");
    }
    let requests = served.requests.lock().expect("no panic");
    assert!(requests.iter().any(|request| request.contains("/exec?")), "commands went over the wire");
}

#[test]
fn by_default_no_command_runs_and_no_server_is_asked() {
    let served = Served::of(&Fixture::healthy());
    let (probes, _) = probed(&served, &[], 0);
    assert_eq!(probes.len(), 3, "{:?}", probes.keys());
    assert!(!served.requests.lock().expect("no panic").iter().any(|request| request.contains("/exec")));
}

#[test]
fn controller_and_authorino_tell_their_health_and_metrics() {
    let served = Served::of(&Fixture::healthy());
    let output = served.gather(&["-o", "parts.tar", "--no-analyze"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let source = read::open(&archive(&output, served.directory.path())).expect("an archive");
    let mut files = Vec::new();
    let seen = source.walk(&mut |entry, _| {
        files.push(entry.path.clone());
        read::Visit::Next
    });
    seen.expect("a whole archive");
    for part in ["controller/mcp-system/", "authorino/kuadrant-system/"] {
        for file in ["/healthz.txt", "/readyz.txt", "/metrics.txt"] {
            let there = |path: &&String| path.starts_with(&format!("mcpgw/{part}")) && path.ends_with(file);
            assert_eq!(files.iter().filter(there).count(), 1, "{part}{file} in {files:#?}");
        }
    }
}

#[test]
fn a_certificate_is_examined() {
    let https = |fixture: Fixture| {
        fixture
            .edit("Gateway", "gateway-system", "mcp-gateway", |gateway| {
                let listener = &mut gateway["spec"]["listeners"][0];
                listener["protocol"] = json!("HTTPS");
                listener["port"] = json!(443);
                listener["tls"] = json!({"certificateRefs": [{"name": "mcp-tls"}]});
            })
            .refresh_answers()
    };
    let expired = |probe: &mut Value| {
        probe["tls"]["peer"]["names"] = json!(["other.example.com"]);
        probe["tls"]["peer"]["notAfter"] = json!("2026-01-02T00:00:00Z");
        probe["tls"]["peer"]["notBefore"] = json!("2025-01-02T00:00:00Z");
    };
    let mut fixture = https(Fixture::healthy());
    for name in [METADATA, TOOLS, "unknown-path.mcp-system.mcp-gateway"] {
        fixture = fixture.probe(name, expired);
    }
    let served = Served::of(&fixture);
    let (probes, _) = probed(&served, &["--no-analyze"], 0);
    let probe = &probes[METADATA];
    assert_eq!(probe.status, Some(200), "{probe:?}");
    assert_eq!(probe.request.sni.as_deref(), Some("mcp.example.com"));
    assert_eq!(probe.request.line, "GET https://mcp.example.com/.well-known/oauth-protected-resource");
    let tls = probe.tls.as_ref().expect("a handshake");
    assert_eq!((tls.version.as_deref(), tls.alpn.as_deref()), (Some("TLSv1.3"), Some("http/1.1")));
    let peer = tls.peer.as_ref().expect("a certificate");
    assert_eq!(
        (peer.names.as_slice(), peer.not_after.as_str()),
        (&["other.example.com".to_owned()][..], "2026-01-02T00:00:00Z")
    );
    assert!(tls.verification.is_some(), "such a certificate is not trusted");
    assert!(probe.timings.tls_ms.is_some());
}

#[test]
fn what_servers_answer_keeps_its_secrets() {
    let secrets = ["canary-cookie-5d1f0a", "canary-key-77aa31bc", "canary-bearer-90fe2211"];
    let fixture = Fixture::healthy()
        .probe("mcp-initialize.team-weather.weather", |probe| {
            probe["headers"]["set-cookie"] = json!(format!("session={}; Path=/", secrets[0]));
            probe["headers"]["x-api-key"] = json!(secrets[1]);
            probe["headers"]["mcp-session-id"] = json!(format!("sid-{}", secrets[1]));
        })
        .probe("mcp-tools.team-weather.weather", |probe| {
            probe["body"]["tools"] = json!(null);
            let message = format!("no tools for {}: Authorization: Bearer {}", secrets[0], secrets[2]);
            probe["body"]["rpcError"] = json!({"code": -32001, "message": message});
        });
    let served = Served::of(&fixture);
    let (probes, bytes) = probed(&served, &["--probe", "mcp"], 0);
    let tools = probes["mcp-tools.team-weather.weather"].body.clone().expect("a body");
    assert_eq!(tools.rpc_error.expect("an error").code, -32001);
    let bytes = String::from_utf8_lossy(&bytes);
    for secret in secrets {
        assert!(!bytes.contains(secret), "{secret} leaked");
    }
}

#[test]
fn a_shut_way_is_no_finding() {
    let fault: Fault = std::sync::Arc::new(|asked| {
        let shut = asked.contains("/portforward") || asked.contains("/exec?");
        shut.then(|| status(403, "Forbidden", "you may not"))
    });
    let served = Served::with(&Fixture::healthy(), fault);
    let (probes, bytes) = probed(&served, &["--probe", "http,mcp,exec"], 4);
    for probe in probes.values().filter(|probe| probe.skipped.is_none()) {
        assert!(probe.error.as_ref().is_some_and(|fault| !fault.is_evidence()), "{probe:?}");
    }
    let said = String::from_utf8_lossy(&bytes);
    assert!(said.contains("what clients see of the gateway is unknown"), "the consequence is recorded");
    assert!(said.contains("what can be reached from inside the cluster is unknown"), "also of commands");
    let requests = served.requests.lock().expect("no panic");
    assert!(
        requests.iter().filter(|request| request.contains("/exec?")).count() <= 4,
        "a refusal is remembered"
    );
    let report = read::open(&served.directory.path().join("probed.tar")).expect("an archive");
    let report = report.read("mcpgw/analysis/report.json", 1 << 24).expect("readable").expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let found: Vec<&Value> = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter(|finding| !finding["code"].as_str().is_some_and(|code| code.starts_with("MG00")))
        .collect();
    assert!(found.is_empty(), "an unknown is no finding: {found:#?}");
    let undecided = report["unknown"].to_string();
    for code in ["MG702", "MG703", "MG411"] {
        assert!(undecided.contains(code), "{code} is undecided: {undecided}");
    }
}
