//! Two hundred collections in a row, in one process with the server that they collect from: neither
//! memory nor open files may grow, of the collector or of the server.
//!
//! `cargo bench --bench soak`; `-- --runs 1000` for longer.

use std::io::Write as _;
use std::path::Path;

use oc_mcpgw::archive::write::Target;
use oc_mcpgw::gather::connect::Connection;
use oc_mcpgw::gather::progress::Progress;
use oc_mcpgw::gather::run::gather;
use oc_mcpgw::gather::stop::Stop;
use oc_mcpgw::gather::{Options, Output};
use oc_mcpgw::serve::Background;

#[allow(unreachable_pub, dead_code, reason = "a bench has no outside; several share this")]
mod big;

/// After so many runs caches and arenas have reached their size.
const WARM: usize = 40;

fn main() {
    // `cargo test --all-targets` runs benches too, and only wants to see that they start.
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let at = arguments.iter().position(|argument| argument == "--runs");
    let runs = at.and_then(|at| arguments.get(at + 1)).map_or(200, |n| n.parse().expect("a number"));
    let size = big::Size { namespaces: 3, servers: 1, pods: 4, log_bytes: 64 << 10 };
    let server = Background::start(big::cluster(size), 0).expect("loopback");
    let directory = tempfile::tempdir().expect("a directory");
    let kubeconfig = directory.path().join("kubeconfig");
    server.write_kubeconfig(&kubeconfig).expect("a kubeconfig");
    let mut seen: Vec<(u64, usize)> = Vec::new();
    for run in 0..runs {
        once(directory.path(), &kubeconfig);
        seen.push((resident_kib(), open_files()));
        if run % 20 == 19 {
            let (kib, files) = seen[run];
            say(&format!("{:>4} runs: {:>4} MiB resident, {files} open files\n", run + 1, kib >> 10));
        }
    }
    if runs >= 2 * WARM {
        // The quietest moment of the warm-up against the quietest of the end.
        let lowest = |part: &[(u64, usize)]| {
            let kib = part.iter().map(|(kib, _)| *kib).min().unwrap_or_default();
            (kib, part.iter().map(|(_, files)| *files).min().unwrap_or_default())
        };
        let (before, after) = (lowest(&seen[WARM / 2..WARM]), lowest(&seen[runs - WARM / 2..]));
        assert!(after.1 <= before.1, "open files grew from {} to {}", before.1, after.1);
        assert!(after.0 <= before.0 + before.0 / 4, "memory grew from {} to {} KiB", before.0, after.0);
    }
}

/// One collection, analysis included; its archive is removed again.
fn once(directory: &Path, kubeconfig: &Path) {
    let archive = directory.join("archive.tar.gz");
    let options = Options {
        connection: Connection { kubeconfig: Some(kubeconfig.to_owned()), ..Connection::default() },
        output: Output::Target(Target::Path(archive.clone())),
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let gathered = runtime
        .expect("a runtime")
        .block_on(async { gather(options, &Progress::silent(), &Stop::default()).await })
        .expect("an archive");
    assert_eq!((gathered.failures, gathered.cut_short), (0, None));
    std::fs::remove_file(archive).expect("the archive");
}

/// The memory of this process, 0 where the system does not tell (Linux does).
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or_default()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Prints; a closed pipe is no reason to panic.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
