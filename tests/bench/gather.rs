//! `gather` beside the same collection by `kubectl`, in sequence and eight at a time, against a
//! large served installation whose every answer comes some milliseconds late.
//!
//! `cargo bench --bench gather -- --namespaces 200 --pods 25 --log-kib 420 --latency-ms 5`;
//! `--no-kubectl` measures `gather` alone. What `kubectl` collects is exactly what `gather` asked
//! for: one command for each of its requests.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use futures_util::StreamExt as _;
use oc_mcpgw::serve::{Background, router};

#[allow(unreachable_pub, reason = "a bench has no outside")]
mod big;

/// What is measured.
struct Settings {
    size: big::Size,
    latency: Duration,
    kubectl: bool,
}

fn settings() -> Settings {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(default, |text| {
            text.parse().unwrap_or_else(|_| panic!("{name} {text}: not a whole number"))
        })
    };
    let small = |name: &str, default: u64| usize::try_from(number(name, default)).expect("a sane number");
    Settings {
        size: big::Size {
            namespaces: small("--namespaces", 20),
            servers: 1,
            pods: small("--pods", 10),
            log_bytes: number("--log-kib", 420) * 1024,
        },
        latency: Duration::from_millis(number("--latency-ms", 5)),
        kubectl: !arguments.iter().any(|argument| argument == "--no-kubectl"),
    }
}

/// What went over the wire.
#[derive(Default)]
struct Meter {
    requests: Mutex<Vec<String>>,
    bytes: AtomicU64,
}

impl Meter {
    /// The requests and bytes since the last time.
    fn take(&self) -> (Vec<String>, u64) {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        (requests, self.bytes.swap(0, Ordering::Relaxed))
    }
}

/// One line of the table.
struct Row {
    who: &'static str,
    time: Duration,
    peak_kib: Option<u64>,
    requests: usize,
    bytes: u64,
}

fn main() {
    // `cargo test --all-targets` runs benches too, and only wants to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let settings = settings();
    let cluster = big::cluster(settings.size);
    let meter = Arc::new(Meter::default());
    let (seen, latency) = (Arc::clone(&meter), settings.latency);
    let routes =
        router(Arc::clone(&cluster)).layer(middleware::from_fn(move |request: Request, next: Next| {
            let seen = Arc::clone(&seen);
            async move {
                let asked = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
                seen.requests.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
                tokio::time::sleep(latency).await;
                next.run(request).await.map(|body| {
                    Body::from_stream(body.into_data_stream().inspect(move |chunk| {
                        let length = chunk.as_ref().map_or(0, bytes::Bytes::len);
                        seen.bytes.fetch_add(length as u64, Ordering::Relaxed);
                    }))
                })
            }
        }));
    let server = Background::start_with(cluster, routes, 0).expect("loopback");
    let directory = tempfile::tempdir().expect("a directory");
    let kubeconfig = directory.path().join("kubeconfig");
    server.write_kubeconfig(&kubeconfig).expect("a kubeconfig");

    let (first, asked) = gather(&meter, directory.path(), &kubeconfig);
    let mut rows = vec![first];
    if settings.kubectl {
        let commands = directory.path().join("commands");
        std::fs::write(&commands, kubectl_commands(&asked)).expect("the commands");
        let sequence = "while read -r line; do eval \"$line\"; done < commands";
        let parallel = "xargs -P8 -d '\\n' -n1 sh -c 'eval \"$1\"' sh < commands";
        for (who, script) in [("kubectl, one by one", sequence), ("kubectl, xargs -P8", parallel)] {
            rows.push(kubectl(who, script, &meter, directory.path(), &kubeconfig));
        }
    }
    report(&settings, &rows);
}

/// Runs `gather` and gives what it asked for.
fn gather(meter: &Meter, directory: &Path, kubeconfig: &Path) -> (Row, Vec<String>) {
    meter.take();
    let begin = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_oc-mcpgw"))
        .args(["gather", "--no-analyze", "--kubeconfig"])
        .arg(kubeconfig)
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stderr = child.stderr.take().expect("a pipe");
    let said = std::thread::spawn(move || std::io::read_to_string(&mut stderr).unwrap_or_default());
    let mut peak_kib = None;
    let status = loop {
        peak_kib = high_water_mark(child.id()).max(peak_kib);
        match child.try_wait().expect("the program") {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let time = begin.elapsed();
    let said = said.join().unwrap_or_default();
    assert_eq!(status.code(), Some(0), "gather failed:\n{said}");
    let (asked, bytes) = meter.take();
    (Row { who: "oc-mcpgw gather", time, peak_kib, requests: asked.len(), bytes }, asked)
}

/// The most memory that a process ever had, where the system tells (Linux).
fn high_water_mark(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// The `kubectl` command for each request; discovery is `kubectl`'s own business.
fn kubectl_commands(asked: &[String]) -> String {
    let mut commands = String::new();
    for (number, asked) in asked.iter().enumerate() {
        let (path, query) = asked.split_once('?').unwrap_or((asked, ""));
        // Further pages are part of the first command.
        if query.contains("continue=") {
            continue;
        }
        let parts: Vec<&str> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .skip_while(|p| p.starts_with("bundle-"))
            .collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] if !rest.is_empty() => (String::new(), rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (format!(".{version}.{group}"), rest),
            _ => continue,
        };
        let what = match rest {
            ["namespaces", namespace, "pods", pod, "log"] => {
                let parameter = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key));
                let container = parameter("container=").unwrap_or_default();
                let previous = if parameter("previous=true").is_some() { " -p" } else { "" };
                format!("logs -n {namespace} {pod} -c {container}{previous} --timestamps")
            }
            ["namespaces", namespace, plural] => format!("get {plural}{group} -n {namespace} -o yaml"),
            ["namespaces", namespace, plural, name] => {
                format!("get {plural}{group} -n {namespace} {name} -o yaml")
            }
            [plural, name] => format!("get {plural}{group} {name} -o yaml"),
            [plural] => format!("get {plural}{group} -A -o yaml"),
            _ => continue,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(commands, "kubectl {what} > {number}.out");
    }
    commands
}

fn kubectl(who: &'static str, script: &str, meter: &Meter, directory: &Path, kubeconfig: &Path) -> Row {
    meter.take();
    let begin = Instant::now();
    let status = Command::new("sh")
        .args(["-c", script])
        .current_dir(directory)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", directory)
        .stderr(Stdio::null())
        .status()
        .expect("a shell");
    let time = begin.elapsed();
    assert!(status.success(), "{who} failed: is kubectl installed (kubernetes-client)?");
    let (asked, bytes) = meter.take();
    Row { who, time, peak_kib: None, requests: asked.len(), bytes }
}

fn report(settings: &Settings, rows: &[Row]) {
    let big::Size { namespaces, pods, log_bytes, .. } = settings.size;
    let mut text = format!(
        "{namespaces} namespaces, {} pods, {} MiB of logs, {} ms added to every answer\n\n\
         {:<22} {:>9} {:>7} {:>9} {:>9} {:>9}\n",
        namespaces * pods,
        ((namespaces * pods) as u64 * log_bytes) >> 20,
        settings.latency.as_millis(),
        "",
        "seconds",
        "factor",
        "peak MiB",
        "requests",
        "MiB",
    );
    for row in rows {
        let factor = row.time.as_secs_f64() / rows[0].time.as_secs_f64();
        let peak = row.peak_kib.map_or("-".to_owned(), |kib| (kib >> 10).to_string());
        let _ = writeln!(
            text,
            "{:<22} {:>9.1} {:>7.1} {:>9} {:>9} {:>9.1}",
            row.who,
            row.time.as_secs_f64(),
            factor,
            peak,
            row.requests,
            row.bytes as f64 / f64::from(1 << 20),
        );
    }
    // A closed pipe is no reason to panic.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
