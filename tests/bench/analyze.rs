//! What `analyze` costs and how that grows: the real program over bundles on disk, each a large
//! installation in the layout of our archives; and how fast logs are read.
//!
//! `cargo bench --bench analyze`; `-- --full` adds 100,000 objects, 10,000 registrations and
//! 500 MB of logs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::SecondsFormat;
use oc_mcpgw::archive::manifest::{FileEntry, Manifest, sha256};
use oc_mcpgw::archive::{path, yaml};
use oc_mcpgw::model::bundle::{Collection, Outcome};
use oc_mcpgw::model::{Kind, kinds, logs};
use serde_json::Value;

#[allow(unreachable_pub, dead_code, reason = "a bench has no outside; two of them share this")]
mod big;
#[allow(unreachable_pub, reason = "a bench has no outside")]
mod process;

/// One bundle to make.
struct Case {
    name: &'static str,
    size: big::Size,
    /// Every so many-th route names a host that no listener has; 0 for none.
    broken: usize,
    servers: Servers,
    /// How many tenants with a Gateway each, in place of the teams of `size`.
    tenants: usize,
}

/// Where servers run.
#[derive(Clone, Copy, PartialEq)]
enum Servers {
    /// In pods of the cluster.
    Pods,
    /// Elsewhere, behind a Service with addresses that somebody has entered.
    Addresses,
    /// Elsewhere, behind a ServiceEntry and a DestinationRule.
    Outside,
}

impl Case {
    fn servers(&self) -> usize {
        self.tenants + self.size.namespaces * self.size.servers
    }
}

/// As many teams of ten servers with two pods each as give about this many objects.
fn objects(name: &'static str, objects: usize, log_bytes: u64, broken: usize) -> Case {
    let namespaces = (objects / 100).max(1);
    let size = big::Size { namespaces, servers: 10, pods: 2, log_bytes };
    Case { name, size, broken, servers: Servers::Pods, tenants: 0 }
}

/// As many registrations without pods, each with its route and what leads to it, in so many namespaces.
fn servers(name: &'static str, servers: usize, namespaces: usize, kind: Servers) -> Case {
    let size = big::Size { namespaces, servers: servers / namespaces, pods: 0, log_bytes: 0 };
    Case { name, size, broken: 0, servers: kind, tenants: 0 }
}

/// As many tenants, each with a Gateway, an extension with its broker, policies and a server.
fn tenants(name: &'static str, tenants: usize) -> Case {
    let size = big::Size { namespaces: 0, servers: 0, pods: 0, log_bytes: 0 };
    Case { name, size, broken: 0, servers: Servers::Pods, tenants }
}

fn main() {
    // `cargo test --all-targets` runs benches too, and only wants to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let full = std::env::args().any(|argument| argument == "--full");
    let mut cases = vec![
        objects("1k", 1_000, 0, 0),
        objects("10k", 10_000, 0, 0),
        objects("10k, every 10th broken", 10_000, 0, 10),
        servers("1k, no pods", 250, 25, Servers::Addresses),
        servers("10k, no pods", 2_500, 250, Servers::Addresses),
        servers("10,000 servers, no pods", 10_000, 1_000, Servers::Addresses),
        servers("the same, one namespace", 10_000, 1, Servers::Addresses),
        Case { broken: 1, ..servers("the same, all broken", 10_000, 1_000, Servers::Addresses) },
        servers("1,000 outside", 1_000, 100, Servers::Outside),
        servers("10,000 outside", 10_000, 1_000, Servers::Outside),
        servers("the same, one namespace", 10_000, 1, Servers::Outside),
        tenants("100 Gateways", 100),
        tenants("1,000 Gateways", 1_000),
    ];
    if full {
        cases.push(servers("100k, no pods", 25_000, 2_500, Servers::Addresses));
        cases.push(objects("100k", 100_000, 0, 0));
        cases.push(objects("100k, every 10th broken", 100_000, 0, 10));
        // As the benchmark of gather has them.
        let size = big::Size { namespaces: 200, servers: 5, pods: 5, log_bytes: 20_000 };
        cases.push(Case { name: "5,000 pods and logs", size, broken: 0, servers: Servers::Pods, tenants: 0 });
        // 500 namespaces of 20 pods and 50,000 bytes for each make 500 MB.
        cases.push(objects("50k and logs", 50_000, 50_000, 0));
    }
    // For a profiler: `-- --write DIRECTORY` only makes the bundles.
    let mut arguments = std::env::args().skip_while(|argument| argument != "--write");
    if let Some(directory) = arguments.nth(1) {
        for (number, case) in cases.iter().enumerate() {
            write(&Path::new(&directory).join(format!("{number:02} {}", case.name)), case);
        }
        return;
    }
    log_speed();
    let mut table = format!(
        "\n{:<24} {:>8} {:>8} {:>6} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6} {:>8}\n",
        "",
        "objects",
        "servers",
        "logs",
        "load s",
        "rules s",
        "lines s",
        "render",
        "all s",
        "CPU s",
        "MiB",
        "findings"
    );
    for case in &cases {
        let directory = tempfile::tempdir().expect("a directory");
        let objects = write(directory.path(), case);
        // The least disturbed of three.
        let measured = (0..3).map(|_| analyze(directory.path())).min_by_key(|m| m.run.time).expect("three");
        let phase = |name: &str| measured.phases.get(name).copied().unwrap_or_default() / 1e3;
        let size = case.size;
        let _ = writeln!(
            table,
            "{:<24} {:>8} {:>8} {:>6} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>6} {:>8}",
            case.name,
            objects,
            case.servers(),
            (size.log_bytes * (size.namespaces * size.servers * size.pods) as u64) / 1_000_000,
            phase("load"),
            phase("rules"),
            phase("locate"),
            phase("render"),
            measured.run.time.as_secs_f64(),
            measured.run.cpu.as_secs_f64(),
            measured.run.peak_kib >> 10,
            measured.findings,
        );
    }
    say(&table);
}

/// Prints; a closed pipe is no reason to panic.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes the bundle and gives the number of its objects.
fn write(root: &Path, case: &Case) -> usize {
    let mut files: BTreeMap<String, FileEntry> = BTreeMap::new();
    let mut lists: BTreeMap<(String, String), (String, usize)> = BTreeMap::new();
    let mut namespaces = BTreeSet::new();
    let mut logs = Vec::new();
    let (mut count, mut routes) = (0, 0);
    let mut add = |path: String, content: &[u8]| {
        let file = root.join(&path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(&file, content).expect("a file");
        let entry = FileEntry {
            path: path.clone(),
            bytes: content.len() as u64,
            sha256: sha256(content),
            source: "bench".to_owned(),
            truncated: false,
        };
        files.insert(path, entry);
    };
    let keep = |mut object: Value| {
        if case.servers == Servers::Addresses && of_team(&object) && !runs_elsewhere(&mut object) {
            return;
        }
        count += 1;
        let group = object["apiVersion"].as_str().and_then(|v| v.split_once('/')).map_or("", |(g, _)| g);
        let kind = object["kind"].as_str().unwrap_or_default();
        let Some(kind) = kinds::by_kind(group, kind) else { return };
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        if kind == &kinds::HTTP_ROUTE {
            routes += 1;
            if case.broken > 0 && routes % case.broken == 0 {
                object["spec"]["hostnames"] = serde_json::json!([format!("{name}.example.org")]);
            }
        }
        if !namespace.is_empty() {
            namespaces.insert(namespace.clone());
        }
        let one_file = matches!(kind.group, "" | "apps" | "discovery.k8s.io") && !namespace.is_empty();
        if one_file {
            let version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
            let (list, items) = lists.entry((path::list(kind, &namespace), version)).or_default();
            *items += 1;
            yaml::emit_item(&object, 0, list);
        }
        if !one_file || kind == &kinds::POD {
            let mut text = String::new();
            yaml::emit(&object, 0, &mut text);
            let place = if kind == &kinds::POD {
                path::pod(&namespace, &name)
            } else {
                path::object(kind, &namespace, &name)
            };
            add(place, text.as_bytes());
        }
    };
    if case.tenants > 0 {
        big::tenants(case.tenants, keep);
    } else {
        let model = if case.servers == Servers::Outside { big::OUTSIDE } else { big::INSIDE };
        big::installation(case.size, model, keep, |log| logs.push(log));
    }
    for ((path, version), (items, _)) in lists {
        add(path, format!("---\napiVersion: {version}\nitems:\n{items}kind: List\n").as_bytes());
    }
    for log in logs.iter().filter(|log| log.bytes > 0) {
        let mut content = Vec::new();
        big::Log::new(&log.file, log.bytes).read_to_end(&mut content).expect("a log");
        add(log.file.clone(), &content);
    }
    let now = oc_mcpgw::demo::reference_time();
    let mut manifest = Manifest::new("bench", now);
    manifest.ended = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    manifest.files = files.into_values().collect();
    let collection = |kind: &Kind, namespace: Option<&String>| Collection {
        group: kind.group.to_owned(),
        version: kind.versions[0].to_owned(),
        kind: kind.kind.to_owned(),
        resource: kind.plural.to_owned(),
        namespace: namespace.cloned(),
        outcome: Outcome::Complete,
        items: 0,
        why: None,
    };
    for kind in kinds::ALL {
        if kind.namespaced && matches!(kind.group, "" | "apps" | "discovery.k8s.io") {
            manifest.collections.extend(namespaces.iter().map(|namespace| collection(kind, Some(namespace))));
        } else {
            manifest.collections.push(collection(kind, None));
        }
    }
    fs::create_dir_all(root.join("mcpgw")).expect("a folder");
    fs::write(root.join(path::MANIFEST), serde_json::to_vec(&manifest).expect("JSON")).expect("a file");
    count
}

/// Whether an object is of one of the teams that were made up.
fn of_team(object: &Value) -> bool {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    namespace.strip_prefix("team-").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

/// Makes the Service of a server one for addresses that somebody else has entered, as of a machine outside of the
/// cluster. `false` for what such a server does not have.
fn runs_elsewhere(object: &mut Value) -> bool {
    match object["kind"].as_str() {
        Some("Service") => {
            object["spec"].as_object_mut().expect("a spec").remove("selector");
        }
        Some("EndpointSlice") => {
            for endpoint in object["endpoints"].as_array_mut().expect("a list") {
                endpoint.as_object_mut().expect("an object").remove("targetRef");
            }
            object["metadata"].as_object_mut().expect("an object").remove("ownerReferences");
        }
        Some("HTTPRoute" | "MCPServerRegistration") => {}
        _ => return false,
    }
    true
}

/// What one run cost.
struct Measured {
    run: process::Run,
    /// The phases of `--timings`, in milliseconds.
    phases: BTreeMap<String, f64>,
    findings: usize,
}

fn analyze(bundle: &Path) -> Measured {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oc-mcpgw"));
    command.args(["analyze", "--timings", "--fail-on", "never", "-o", "json"]).arg(bundle);
    let output = tempfile::NamedTempFile::new().expect("a file");
    command.arg("--output-file").arg(output.path()).stdout(Stdio::null());
    let run = process::run(&mut command);
    assert!(run.status.success(), "analyze failed:\n{}", run.stderr);
    let phases = run.stderr.lines().filter_map(|line| {
        let (name, took) = line.strip_suffix(" ms")?.rsplit_once(' ')?;
        Some((name.trim().to_owned(), took.parse().ok()?))
    });
    let phases = phases.collect();
    let report: Value =
        serde_json::from_slice(&fs::read(output.path()).expect("a report")).expect("a report in JSON");
    Measured { phases, findings: report["findings"].as_array().map_or(0, Vec::len), run }
}

/// Reads logs of each format as they lie in memory, on one core.
fn log_speed() {
    const BYTES: usize = 64 << 20;
    let json = "{\"time\":\"2026-09-14T10:11:12.131415Z\",\"level\":\"INFO\",\"msg\":\"tools/call\",\"tool\":\"forecast\",\"session\":\"%\",\"took_ms\":12}\n";
    let slog = "time=2026-09-14T10:11:12.131Z level=INFO msg=\"handling request\" component=router method=tools/call session=%\n";
    let zap = "2026-09-14T10:11:12Z\tINFO\treconciling\t{\"controller\": \"mcpserverregistration\", \"namespace\": \"team\", \"name\": \"%\"}\n";
    let access = "[2026-09-14T10:11:12.131Z] \"POST /mcp HTTP/1.1\" 200 - via_upstream - \"-\" 120 340 12 11 \"10.0.0.1\" \"client/1.0\" \"%\" \"mcp.example.com\" \"10.1.2.3:8080\" outbound|8080||srv.team.svc.cluster.local 10.1.2.4:55555 10.1.2.5:8080 10.0.0.1:4444 - default\n";
    let plain = "Sep 14 10:11:12 host server[12]: accepted connection % from 10.0.0.1, all is well so far\n";
    say("log format        MB/s\n");
    for (name, line) in
        [("JSON", json), ("slog text", slog), ("zap", zap), ("Envoy access", access), ("plain", plain)]
    {
        let mut text = String::with_capacity(BYTES + 1024);
        let mut number = 7_u64;
        while text.len() < BYTES {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(&line.replace('%', &format!("{number:016x}")));
        }
        let took = (0..3).map(|_| read_log(text.as_bytes())).min().unwrap_or(Duration::MAX);
        say(&format!("{name:<14} {:>7.0}\n", text.len() as f64 / 1e6 / took.as_secs_f64()));
    }
}

fn read_log(text: &[u8]) -> Duration {
    let begin = Instant::now();
    let mut reader = logs::Reader::default();
    for line in text.split(|byte| *byte == b'\n') {
        reader.line(line);
    }
    black_box(reader.finish());
    begin.elapsed()
}
