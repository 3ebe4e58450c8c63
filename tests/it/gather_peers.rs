//! Pods that keep silent, answer too much, or are reached through a busy API server: over the wire, with
//! sockets of this machine behind the port-forward.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oc_mcpgw::archive::load::load;
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::serve::Cluster;

use crate::fixture::Fixture;
use crate::gather::{Fault, Served, archive, files, json, status, text};

pub const ADMIN: u16 = 15000;

/// A peer that does this with every connection; it lives as long as the tests.
pub fn peer(each: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("an address");
    let each = Arc::new(each);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = Arc::clone(&each);
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

/// The healthy installation, with these peers behind ports of the gateway's pod.
pub fn served(peers: &[(u16, SocketAddr)], fault: Fault) -> Served {
    let fixture = Fixture::healthy();
    let source = Memory(fixture.files());
    let cluster = Cluster::new(load(&source).expect("a bundle"), Arc::new(source));
    let pod = fixture.pod_of("gateway-system", "mcp-gateway-istio");
    for (port, peer) in peers {
        cluster.lead_to("gateway-system", &pod, *port, *peer);
    }
    Served::cluster(&cluster, fault)
}

/// The port of the gateway's pod that the probes go to.
pub fn gateway_port() -> u16 {
    let files = Fixture::healthy().files();
    let probe = json(&files, "mcpgw/probes/tools-list.mcp-system.mcp-gateway.json");
    u16::try_from(probe["request"]["via"]["port"].as_u64().expect("a port")).expect("a port")
}

#[test]
fn pods_that_keep_silent_cost_their_deadline() {
    let silent = peer(|mut stream| {
        // Reads whatever comes, and never says a word.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let served = served(&[(ADMIN, silent), (gateway_port(), silent)], Arc::new(|_| None));
    let begin = Instant::now();
    let output = served.gather(&["-o", "x.tar.gz", "--request-timeout", "1s"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    let files = files(&archive(&output, served.directory.path()));
    let failures = json(&files, "mcpgw/failures.json");
    let of_envoy: Vec<(&str, &str)> = failures
        .as_array()
        .expect("a list")
        .iter()
        .map(|failure| {
            (failure["reason"].as_str().expect("a reason"), failure["message"].as_str().expect("words"))
        })
        .collect();
    let waited =
        of_envoy.iter().filter(|(_, message)| *message == "the pod did not answer within 1s").count();
    assert_eq!(waited, 2, "{failures:#}");
    assert!(of_envoy.contains(&("PortDoesNotAnswer", "this port kept silent before")), "{failures:#}");
    let probe = json(&files, "mcpgw/probes/tools-list.mcp-system.mcp-gateway.json");
    assert!(probe["error"].to_string().contains("within 1s"), "{probe:#}");
    assert!(probe["status"].is_null(), "{probe:#}");
    assert!(files.keys().any(|path| path.starts_with("mcpgw/broker/")), "other pods answer");
}

#[test]
fn a_busy_server_is_asked_again_for_a_port_forward() {
    for code in [429, 503] {
        let once: Mutex<BTreeSet<String>> = Mutex::default();
        let busy: Fault = Arc::new(move |asked| {
            let first =
                asked.contains("/portforward") && once.lock().expect("no panic").insert(asked.to_owned());
            first.then(|| status(code, "TooManyRequests", "come again later"))
        });
        let served = Served::with(&Fixture::healthy(), busy);
        let output = served.gather(&["-o", "x.tar.gz", "--no-analyze"]);
        assert_eq!(output.status.code(), Some(0), "{code}: {}", text(&output.stdout));
        let files = files(&archive(&output, served.directory.path()));
        for file in ["config_dump.json", "stats.txt", "ready.txt"] {
            let there = files.keys().any(|path| path.starts_with("mcpgw/envoy/") && path.ends_with(file));
            assert!(there, "{code}: no {file}");
        }
    }
}

/// The head of a request, as text; empty where the connection ended.
pub fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_exact(&mut byte).is_err() {
            return String::new();
        }
        head.push(byte[0]);
    }
    text(&head)
}

/// How large the dump of a large mesh is.
const DUMP: usize = 60 << 20;

/// Answers `/config_dump` with clusters up to that size, everything else with 404.
fn large_dump(mut stream: TcpStream) {
    let asked = head(&mut stream);
    let mut send = |bytes: &[u8]| stream.write_all(bytes).is_ok();
    if !asked.starts_with("GET /config_dump") {
        let _ = send(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return;
    }
    let begin = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
        {\"configs\":[{\"@type\":\"type.googleapis.com/envoy.admin.v3.ClustersConfigDump\",\
        \"dynamic_active_clusters\":[";
    let mut sent = 0;
    let mut number = 0;
    let mut going = send(begin.as_bytes());
    while going && sent < DUMP {
        let comma = if number == 0 { "" } else { "," };
        let metadata = "x".repeat(4000);
        let cluster = format!(
            "{comma}{{\"version_info\":\"1\",\"cluster\":{{\"name\":\"outbound|80||s{number}.n.svc.cluster.local\",\
             \"type\":\"EDS\",\"metadata\":{{\"note\":\"{metadata}\"}}}}}}"
        );
        sent += cluster.len();
        number += 1;
        going = send(cluster.as_bytes());
    }
    let _ = send(b"]}]}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_dump_of_a_large_mesh_is_collected_and_analyzed_in_bounded_memory() {
    let served = served(&[(ADMIN, peer(large_dump))], Arc::new(|_| None));
    let peak = |arguments: &[&str]| {
        let mut command = served.command();
        command.args(arguments);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().expect("the program");
        let mut peak = 0;
        while child.try_wait().expect("the program").is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            // Without the pages of the program itself, which a debug build has many of.
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
            peak = line.trim().trim_end_matches(" kB").trim().parse().unwrap_or(0).max(peak);
            std::thread::yield_now();
        }
        (peak, child.wait_with_output().expect("the program"))
    };
    let (without, _) = peak(&["-o", "without.tar.gz", "--probe", "none"]);
    // Collected, redacted, looked through, read back and analyzed.
    let (with, output) = peak(&["-o", "with.tar.gz"]);
    let files = files(&archive(&output, served.directory.path()));
    let (_, dump) = files.iter().find(|(path, _)| path.ends_with("/config_dump.json")).expect("the dump");
    assert!(dump.len() > DUMP, "{}", dump.len());
    assert!(with < without + (24 << 10), "{with} KiB with a dump of 60 MiB, {without} KiB without");
    let report = json(&files, "mcpgw/analysis/report.json").to_string();
    assert!(report.contains("config_dump.json"), "the rules have read it: {report}");
}
