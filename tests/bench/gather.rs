//! `gather` beside the same collection by `kubectl`, in sequence and eight at a time, against a
//! large served installation whose every answer comes some milliseconds late.
//!
//! `cargo bench --bench gather -- --full` is the full size (200 namespaces, 5,000 pods, 2 GiB of
//! logs); `--namespaces`, `--pods`, `--log-kib` and `--latency-ms` choose another, `--growth` shows
//! 50, 500 and 5,000 pods instead, `--no-kubectl` measures `gather` alone, and `--kubectl PATH` names
//! the program where `kubectl` is a wrapper around it, which would flatter us. `--serve FILE` only
//! serves, with a kubeconfig in this file. What `kubectl` collects
//! is exactly what `gather` asked for: one command for each of its requests, but no analysis. `--sample 10`
//! has it collect one namespace of ten only, and counts what that took ten times.
//!
//! `oc adm inspect` of the same namespaces is in the same table where it is installed (`$OC`, else `oc`);
//! it decides for itself what to ask for, and is sampled like `kubectl`. `--no-peers` leaves it out.
//! crust-gather is not: it creates a pod on every node, which a read-only server refuses, and waits for it.
//!
//! No request of `gather` may come twice or be answered with an error: the answer would have been
//! known beforehand.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use futures_util::StreamExt as _;
use oc_mcpgw::serve::{Background, router};

#[allow(unreachable_pub, dead_code, reason = "a bench has no outside; several share this")]
mod big;
#[allow(unreachable_pub, reason = "a bench has no outside")]
mod process;

/// What is measured.
#[derive(Clone)]
struct Settings {
    size: big::Size,
    latency: Duration,
    kubectl: Option<String>,
    growth: bool,
    peers: bool,
    /// Of how many namespaces `kubectl` collects one.
    sample: usize,
    serve: Option<std::path::PathBuf>,
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
    let is = |name: &str| arguments.iter().any(|argument| argument == name);
    let (namespaces, pods) = if is("--full") { (200, 25) } else { (20, 10) };
    let text = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).cloned()
    };
    let program = text("--kubectl");
    Settings {
        size: big::Size {
            namespaces: small("--namespaces", namespaces),
            servers: 1,
            pods: small("--pods", pods),
            log_bytes: number("--log-kib", 420) * 1024,
        },
        latency: Duration::from_millis(number("--latency-ms", 5)),
        kubectl: (!is("--no-kubectl")).then(|| program.unwrap_or_else(|| "kubectl".to_owned())),
        growth: is("--growth"),
        peers: !is("--no-peers"),
        sample: small("--sample", 1).max(1),
        serve: text("--serve").map(Into::into),
    }
}

/// What went over the wire.
#[derive(Default)]
struct Meter {
    requests: Mutex<Vec<String>>,
    /// Those that were answered with an error.
    refused: Mutex<Vec<String>>,
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
#[derive(Default)]
struct Row {
    who: String,
    /// What the reader of the line should know.
    note: Option<String>,
    time: Duration,
    cpu: Duration,
    peak_kib: u64,
    requests: usize,
    bytes: u64,
}

fn main() {
    // `cargo test --all-targets` runs benches too, and only wants to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let settings = settings();
    if let Some(kubeconfig) = &settings.serve {
        let (server, _) = serve(settings.size, settings.latency);
        server.write_kubeconfig(kubeconfig).expect("a kubeconfig");
        // For whoever wants to look closer: until standard input ends.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        return;
    }
    if settings.growth {
        let rows = [2, 20, 200].map(|namespaces| {
            let size = big::Size { namespaces, pods: 25, ..settings.size };
            let mut row =
                measure(size, &Settings { kubectl: None, peers: false, ..settings.clone() }).remove(0);
            row.who = format!("{} pods", namespaces * size.pods);
            row
        });
        return report(&settings, &rows);
    }
    report(&settings, &measure(settings.size, &settings));
}

/// Serves an installation of this size, metered.
fn serve(size: big::Size, latency: Duration) -> (Background, Arc<Meter>) {
    let cluster = big::cluster(size);
    let meter = Arc::new(Meter::default());
    let seen = Arc::clone(&meter);
    let routes =
        router(Arc::clone(&cluster)).layer(middleware::from_fn(move |request: Request, next: Next| {
            let seen = Arc::clone(&seen);
            async move {
                let asked = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
                seen.requests.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
                tokio::time::sleep(latency).await;
                let answer = next.run(request).await;
                if answer.status().is_client_error() || answer.status().is_server_error() {
                    let refused = format!("{} {asked}", answer.status());
                    seen.refused.lock().unwrap_or_else(PoisonError::into_inner).push(refused);
                }
                answer.map(|body| {
                    Body::from_stream(body.into_data_stream().inspect(move |chunk| {
                        let length = chunk.as_ref().map_or(0, bytes::Bytes::len);
                        seen.bytes.fetch_add(length as u64, Ordering::Relaxed);
                    }))
                })
            }
        }));
    (Background::start_with(cluster, routes, 0).expect("loopback"), meter)
}

/// Serves an installation of this size, and has it collected by `gather` and by `kubectl`.
fn measure(size: big::Size, settings: &Settings) -> Vec<Row> {
    let (server, meter) = serve(size, settings.latency);
    let directory = tempfile::tempdir().expect("a directory");
    let kubeconfig = directory.path().join("kubeconfig");
    server.write_kubeconfig(&kubeconfig).expect("a kubeconfig");

    let (first, asked) = gather(&meter, directory.path(), &kubeconfig);
    let mut rows = vec![first];
    if let Some(program) = &settings.kubectl {
        let (whole, sampled) = kubectl_commands(program, &asked, settings.sample);
        // The first command fills the cache of what the server has.
        let sequence = "while read -r line; do eval \"$line\"; done < commands";
        let parallel = "xargs -P8 -d '\\n' -n1 sh -c 'eval \"$1\"' sh < commands";
        for (who, script) in [("kubectl, one by one", sequence), ("kubectl, xargs -P8", parallel)] {
            let collect = |commands: &str| {
                std::fs::write(directory.path().join("commands"), commands).expect("the commands");
                by_kubectl(who, script, &meter, directory.path(), &kubeconfig)
            };
            let mut row = collect(&whole);
            let times = u32::try_from(settings.sample).expect("a sane number");
            let part = if sampled.is_empty() { None } else { Some(collect(&sampled)) };
            if let Some(part) = part {
                row.time += part.time * times;
                row.requests += part.requests * settings.sample;
                row.bytes += part.bytes * u64::from(times);
            }
            rows.push(row);
        }
    }
    if settings.peers {
        rows.push(inspect(&asked, settings, &meter, directory.path(), &kubeconfig));
    }
    rows
}

/// A program that an environment variable names, else the usual one of the `PATH`.
fn program(variable: &str, usual: &str) -> String {
    std::env::var(variable).ok().filter(|path| !path.is_empty()).unwrap_or_else(|| usual.to_owned())
}

/// Runs another collector, if it is there, and says what it cost.
fn peer(who: &str, program: &str, arguments: &[String], meter: &Meter, directory: &Path) -> Row {
    let mut row = Row { who: who.to_owned(), ..Row::default() };
    let found = Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        row.note = Some(format!("not found: left out (`{program}`)"));
        return row;
    }
    meter.take();
    meter.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env("HOME", directory).stdout(Stdio::null());
    let run = process::run(&mut command);
    let (asked, bytes) = meter.take();
    let refused = std::mem::take(&mut *meter.refused.lock().unwrap_or_else(PoisonError::into_inner));
    let mut notes = Vec::new();
    if !run.status.success() {
        let last = run.stderr.lines().last().unwrap_or_default();
        notes.push(format!("{}; {}", run.status, last.chars().take(160).collect::<String>()));
    }
    if !refused.is_empty() {
        notes.push(format!("{} requests were answered with an error", refused.len()));
    }
    Row {
        time: run.time,
        cpu: run.cpu,
        peak_kib: run.peak_kib,
        requests: asked.len(),
        bytes,
        note: (!notes.is_empty()).then(|| notes.join("; ")),
        ..row
    }
}

/// `oc adm inspect` of every namespace that `gather` read: first those that are read once, then the sample.
fn inspect(asked: &[String], settings: &Settings, meter: &Meter, directory: &Path, kubeconfig: &Path) -> Row {
    let namespaces: BTreeSet<&str> = asked
        .iter()
        .filter_map(|path| path.split_once("/namespaces/")?.1.split_once('/'))
        .map(|(namespace, _)| namespace)
        .collect();
    let (mut whole, mut sampled) = (Vec::new(), Vec::new());
    for namespace in namespaces {
        match is_in_sample(namespace, settings.sample) {
            Some(false) => {}
            Some(true) if settings.sample > 1 => sampled.push(format!("ns/{namespace}")),
            _ => whole.push(format!("ns/{namespace}")),
        }
    }
    let run = |namespaces: Vec<String>, into: &str| {
        let mut arguments = vec!["adm".to_owned(), "inspect".to_owned(), format!("--dest-dir={into}")];
        arguments.push(format!("--kubeconfig={}", kubeconfig.display()));
        arguments.extend(namespaces);
        peer("oc adm inspect", &program("OC", "oc"), &arguments, meter, directory)
    };
    let mut row = run(whole, "inspect");
    if row.requests > 0 && !sampled.is_empty() {
        let times = u32::try_from(settings.sample).expect("a sane number");
        let part = run(sampled, "inspect-sample");
        row.time += part.time * times;
        row.cpu += part.cpu * times;
        row.requests += part.requests * settings.sample;
        row.bytes += part.bytes * u64::from(times);
        row.peak_kib = row.peak_kib.max(part.peak_kib);
        let memory = "its memory is that of the sample";
        row.note = Some(
            part.note.map_or_else(|| memory.to_owned(), |note| format!("{memory}; of the sample: {note}")),
        );
    }
    row
}

/// Whether a namespace is one of those that stand for the others of a large installation.
fn is_in_sample(namespace: &str, one_of: usize) -> Option<bool> {
    let number: usize = namespace.strip_prefix("team-")?.parse().ok()?;
    Some(number.is_multiple_of(one_of))
}

/// Runs `gather`, analysis and second look included, and gives what it asked for.
fn gather(meter: &Meter, directory: &Path, kubeconfig: &Path) -> (Row, Vec<String>) {
    meter.take();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oc-mcpgw"));
    command.args(["gather", "--kubeconfig"]).arg(kubeconfig).current_dir(directory).stdout(Stdio::null());
    let run = process::run(&mut command);
    assert_eq!(run.status.code(), Some(0), "gather failed:\n{}", run.stderr);
    let (asked, bytes) = meter.take();
    let refused = std::mem::take(&mut *meter.refused.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(refused.is_empty(), "asked for what cannot be had: {refused:#?}");
    let mut sorted = asked.clone();
    sorted.sort();
    let twice: Vec<&[String]> = sorted.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    // A port-forward is a stream: each of the ports of a pod has its own.
    let twice: Vec<_> = twice.into_iter().filter(|pair| !pair[0].contains("/portforward")).collect();
    assert!(twice.is_empty(), "asked twice: {twice:#?}");
    let row = Row {
        who: "oc-mcpgw gather".to_owned(),
        time: run.time,
        cpu: run.cpu,
        peak_kib: run.peak_kib,
        requests: asked.len(),
        bytes,
        note: None,
    };
    (row, asked)
}

/// The `kubectl` command for each request; discovery is `kubectl`'s own business. First those that run
/// once, then those of the sample.
fn kubectl_commands(program: &str, asked: &[String], one_of: usize) -> (String, String) {
    let (mut whole, mut sampled) = (String::new(), String::new());
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
        let commands = match rest {
            ["namespaces", namespace, ..] => match is_in_sample(namespace, one_of) {
                Some(false) => continue,
                Some(true) if one_of > 1 => &mut sampled,
                _ => &mut whole,
            },
            _ => &mut whole,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(commands, "{program} {what} > {number}.out");
    }
    (whole, sampled)
}

fn by_kubectl(who: &str, script: &str, meter: &Meter, directory: &Path, kubeconfig: &Path) -> Row {
    meter.take();
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(directory).stdout(Stdio::null());
    let run = process::run(command.env("KUBECONFIG", kubeconfig).env("HOME", directory));
    assert!(run.status.success(), "{who} failed: is kubectl installed (kubernetes-client)?\n{}", run.stderr);
    let (asked, bytes) = meter.take();
    // Memory and processor time are those of the shell, so that they say nothing.
    Row { who: who.to_owned(), time: run.time, requests: asked.len(), bytes, ..Row::default() }
}

fn report(settings: &Settings, rows: &[Row]) {
    let big::Size { namespaces, pods, log_bytes, .. } = settings.size;
    let size = if settings.growth {
        format!("{} KiB of log for each pod", log_bytes >> 10)
    } else {
        let logs = ((namespaces * pods) as u64 * log_bytes) >> 20;
        format!("{namespaces} namespaces, {} pods, {logs} MiB of logs", namespaces * pods)
    };
    let mut text = format!(
        "{size}, {} ms added to every answer{}\n\n\
         {:<22} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9}\n",
        settings.latency.as_millis(),
        match settings.sample {
            1 => String::new(),
            n => format!("; kubectl and oc collected one namespace of {n}, counted {n} times"),
        },
        "",
        "seconds",
        "factor",
        "CPU s",
        "peak MiB",
        "requests",
        "MiB",
    );
    for row in rows.iter().filter(|row| row.requests > 0) {
        let factor = row.time.as_secs_f64() / rows[0].time.as_secs_f64();
        let known = |number: f64| if number > 0.0 { format!("{number:.1}") } else { "-".to_owned() };
        let _ = writeln!(
            text,
            "{:<22} {:>9.1} {:>7.1} {:>9} {:>9} {:>9} {:>9.1}",
            row.who,
            row.time.as_secs_f64(),
            factor,
            known(row.cpu.as_secs_f64()),
            known(row.peak_kib as f64 / 1024.0),
            row.requests,
            row.bytes as f64 / f64::from(1 << 20),
        );
    }
    for row in rows {
        if let Some(note) = &row.note {
            let _ = writeln!(text, "{}: {note}", row.who);
        }
    }
    // A closed pipe is no reason to panic.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
