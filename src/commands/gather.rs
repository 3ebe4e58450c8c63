//! `oc mcpgw gather`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::archive::write::{Format, Target};
use crate::cli::Global;
use crate::commands::dry_run;
use crate::commands::obfuscate::{self, ObfuscateArgs};
use crate::commands::redact::RulesArgs;
use crate::error::{CommandError, CommandResult, Exit};
use crate::gather::connect::Connection;
use crate::gather::logs::Since;
use crate::gather::probe::Probes;
use crate::gather::progress::{Progress, SILENCE};
use crate::gather::run::{Gathered, gather};
use crate::gather::stop::Stop;
use crate::gather::{CONCURRENCY, MAX_LOG_BYTES, Options, Output, TIMEOUT, units};
use crate::model::bundle::Failure;
use crate::{render, term};

/// Arguments of `gather`.
#[derive(Debug, clap::Args)]
pub struct GatherArgs {
    /// Where the archive goes: a file, a directory (a file in it, named after the cluster and the
    /// time), or - for standard output
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The form of the archive
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// How large the archive may become: long logs are left out first, then logs of previous runs;
    /// objects always stay, and what was left out is recorded
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    max_size: Option<u64>,
    /// Only collect; do not analyze
    #[arg(long)]
    no_analyze: bool,
    /// Run as the must-gather image does: fill /must-gather (or --output) as a directory, honour
    /// $MUST_GATHER_SINCE and $MUST_GATHER_SINCE_TIME, end before `oc adm must-gather` gives up
    #[arg(long, conflicts_with = "format")]
    must_gather: bool,
    /// How long to be silent at most where standard error is no terminal [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration, env = "MCPGW_PROGRESS")]
    progress_every: Option<Duration>,
    /// Print the plan, check the permissions and estimate; collect nothing, write nothing. Exit code
    /// 4 when something is not permitted; then a role that grants it is printed
    #[arg(long, value_enum, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    dry_run: Option<dry_run::Form>,
    /// Rules of redaction.
    #[command(flatten)]
    rules: RulesArgs,
    /// Names and what becomes of them.
    #[command(flatten)]
    obfuscate: ObfuscateArgs,
    /// What is read, and how.
    #[command(flatten)]
    collect: CollectArgs,
}

/// What is read from a cluster, and how: the options that `gather` and `check` share.
#[derive(Debug, clap::Args)]
pub struct CollectArgs {
    /// Look in this namespace only (repeatable); by default the objects are followed wherever they lead
    #[arg(short, long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// Only logs newer than this, for example 24h
    #[arg(long, value_name = "DURATION", value_parser = units::duration, conflicts_with = "since_time")]
    since: Option<Duration>,
    /// Only logs since this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = rfc3339)]
    since_time: Option<DateTime<Utc>>,
    /// How much of each container's log is kept; head and tail stay, the cut is marked
    /// [default: 32MiB]
    #[arg(long, value_name = "SIZE", value_parser = log_bytes)]
    max_log_bytes: Option<u64>,
    /// After how long the collection ends with what is there [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    timeout: Option<Duration>,
    /// How many requests run side by side
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY as u16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// How many requests are begun per second at most
    #[arg(long, value_name = "N", value_parser = qps)]
    qps: Option<f64>,
    /// What running pods are asked: `http` reads Envoy's admin ports, status and metrics, and asks the
    /// gateway as a client without credentials would, all through port-forward; `mcp` speaks MCP with
    /// the registered servers (initialize, tools/list); `exec` resolves and reaches issuers and external
    /// hosts from inside existing pods, with what their images offer; `none` asks nothing
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Probe::Http], value_name = "WHAT")]
    probe: Vec<Probe>,
    /// How to reach the cluster.
    #[command(flatten)]
    connection: Connection,
}

impl CollectArgs {
    /// The options of a collection that goes to this place.
    pub(crate) fn options(self, output: Output) -> Options {
        Options {
            connection: self.connection,
            namespaces: self.namespaces,
            output,
            since: self.since.map(Since::Ago).or(self.since_time.map(Since::Time)),
            max_log_bytes: self.max_log_bytes.unwrap_or(MAX_LOG_BYTES),
            timeout: self.timeout.unwrap_or(TIMEOUT),
            concurrency: usize::from(self.concurrency),
            qps: self.qps,
            probes: if self.probe.contains(&Probe::None) {
                Probes::NONE
            } else {
                Probes {
                    http: self.probe.contains(&Probe::Http),
                    mcp: self.probe.contains(&Probe::Mcp),
                    exec: self.probe.contains(&Probe::Exec),
                }
            },
            ..Options::default()
        }
    }
}

/// What running pods are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Probe {
    /// Read through port-forward.
    Http,
    /// Speak MCP with the registered servers, through port-forward.
    Mcp,
    /// Resolve and reach hosts from inside existing pods.
    Exec,
    /// Nothing.
    None,
}

fn rfc3339(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.with_timezone(&Utc))
        .map_err(|_| format!("`{text}` is no time: write for example 2026-01-31T12:00:00Z"))
}

fn log_bytes(text: &str) -> Result<u64, String> {
    match units::bytes(text)? {
        bytes if bytes < 1024 => Err("the least is 1KiB".to_owned()),
        bytes => Ok(bytes),
    }
}

fn qps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(qps) if qps > 0.0 && qps.is_finite() => Ok(qps),
        _ => Err(format!("`{text}` is no number above 0")),
    }
}

/// How long a collection of the must-gather image may take: `oc adm must-gather` throws everything
/// away after 10 minutes, so that we end before.
const MUST_GATHER_TIMEOUT: Duration = Duration::from_secs(510);
/// Where the must-gather image writes to.
const MUST_GATHER: &str = "/must-gather";

/// The options of the must-gather image.
///
/// # Errors
/// An environment variable that cannot be understood, or no directory to fill.
fn must_gather(args: GatherArgs) -> Result<Options, CommandError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut collect = args.collect;
    if collect.since.is_none() && collect.since_time.is_none() {
        let wrong = |name: &str, why: String| {
            CommandError::usage_message(format!("${name}: {why}"))
                .hint("it is set by --since and --since-time")
        };
        if let Some(since) = variable("MUST_GATHER_SINCE") {
            collect.since = Some(units::duration(&since).map_err(|why| wrong("MUST_GATHER_SINCE", why))?);
        } else if let Some(time) = variable("MUST_GATHER_SINCE_TIME") {
            collect.since_time = Some(rfc3339(&time).map_err(|why| wrong("MUST_GATHER_SINCE_TIME", why))?);
        }
    }
    collect.timeout.get_or_insert(MUST_GATHER_TIMEOUT);
    let directory = args.output.unwrap_or_else(|| MUST_GATHER.into());
    if !directory.is_dir() {
        return Err(CommandError::unusable_message(format!("{} is no directory", directory.display()))
            .hint("name an existing one with --output"));
    }
    // Who names a size knows the disk better than the guess.
    let max_size = args.max_size.unwrap_or_else(|| crate::gather::disk::budget(&directory));
    let options = collect.options(Output::Target(Target::Into(directory)));
    Ok(Options { format: Format::Dir, max_size: Some(max_size), analyze: !args.no_analyze, ..options })
}

/// Runs the command.
pub(crate) fn run(args: GatherArgs, global: &Global) -> CommandResult {
    let form = args.dry_run;
    let silence = args.progress_every.unwrap_or(SILENCE);
    let redact = crate::redact::Options { obfuscate: args.obfuscate.what(), ..args.rules.options()? };
    let obfuscation = args.obfuscate.clone();
    let options = if args.must_gather {
        must_gather(args)?
    } else {
        let output = match args.output {
            None => Output::Here,
            Some(path) if path.as_os_str() == "-" => Output::Target(Target::Stdout),
            Some(path) => Output::Path(path),
        };
        let options = args.collect.options(output);
        Options { format: args.format, max_size: args.max_size, analyze: !args.no_analyze, ..options }
    };
    let options = Options { redact, ..options };
    if let Some(form) = form {
        return dry_run::run(options, form);
    }
    let to_stdout = options.output == Output::Target(Target::Stdout);
    let mapping = match &options.output {
        Output::Path(path) if options.format == Format::Dir && !path.is_dir() => {
            obfuscation.mapping(&[path])?
        }
        Output::Target(Target::Into(directory)) => obfuscation.mapping(&[directory])?,
        _ => obfuscation.mapping(&[])?,
    };
    let progress = Progress::stderr(silence);
    let Some(gathered) = run_until_signalled(options, &progress)? else {
        progress.finish();
        return Ok(Exit::Interrupted);
    };
    progress.finish();
    let pseudonyms = obfuscate::finish(mapping, gathered.obfuscator.as_ref())?;
    let summary = summary(&gathered, pseudonyms.as_deref(), global);
    if to_stdout {
        progress.note(&summary);
    } else {
        term::print(&summary)?;
    }
    Ok(exit(&gathered))
}

/// How a collection ends.
pub(crate) fn exit(gathered: &Gathered) -> Exit {
    match &gathered.cut_short {
        Some(why) if why.starts_with("SIG") => Exit::Interrupted,
        Some(_) => Exit::Partial,
        None if gathered.failures > 0 => Exit::Partial,
        None => Exit::Ok,
    }
}

/// Collects; a first signal closes the archive early, a second one gives up at once (`None`).
///
/// # Errors
/// Those of [`gather`].
pub(crate) fn run_until_signalled(
    options: Options,
    progress: &Progress,
) -> Result<Option<Gathered>, CommandError> {
    let threads = crate::gather::threads();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let stop = Stop::default();
    let outcome = runtime.block_on(async {
        let work = tokio::spawn({
            let (progress, stop) = (progress.clone(), stop.clone());
            async move { gather(options, &progress, &stop).await }
        });
        tokio::select! {
            done = work => match done {
                Ok(result) => result.map(Some),
                Err(panic) => Err(CommandError::unusable(panic)),
            },
            () = give_up(&stop, progress) => Ok(None),
        }
    });
    if matches!(outcome, Ok(None)) {
        crate::archive::write::remove_leftovers();
    }
    // Whatever is still under way would only keep the person waiting.
    runtime.shutdown_background();
    outcome
}

/// Waits for signals: the first throws the switch, the second ends this.
async fn give_up(stop: &Stop, progress: &Progress) {
    let mut signals = Signals::new();
    let first = signals.next().await;
    stop.cut(first);
    progress.note(&format!("{first}: closing the archive with what is there; once more gives up"));
    let second = signals.next().await;
    progress.note(&format!("{second}: given up, no archive was written"));
}

/// SIGINT, SIGTERM, and SIGHUP of a terminal that is gone.
struct Signals {
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    interrupt: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    hang_up: Option<tokio::signal::unix::Signal>,
    /// Never waited for: with a handler a write beyond the limit of file sizes (`ulimit -f`) is an
    /// error like a full disk instead of the end of the process.
    #[cfg(unix)]
    _file_size: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            terminate: signal(SignalKind::terminate()).ok(),
            interrupt: signal(SignalKind::interrupt()).ok(),
            hang_up: if heeds_hang_up() { signal(SignalKind::hangup()).ok() } else { None },
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).ok(),
        }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    #[cfg(unix)]
    async fn next(&mut self) -> &'static str {
        async fn wait(signal: &mut Option<tokio::signal::unix::Signal>) {
            match signal {
                Some(signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = wait(&mut self.interrupt) => "SIGINT",
            () = wait(&mut self.terminate) => "SIGTERM",
            () = wait(&mut self.hang_up) => "SIGHUP",
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "SIGINT",
            Err(_) => std::future::pending().await,
        }
    }
}

/// Whether SIGHUP would end the program; `nohup` has it ignored, and that must stay so. Where the
/// system does not tell, it is left as it is.
#[cfg(unix)]
fn heeds_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is that of signal 1, which is SIGHUP.
    ignored.is_some_and(|mask| mask & 1 == 0)
}

/// How many lines of failures the summary has.
const FAILURES_SHOWN: usize = 8;

/// Failures in one line per resource and reason.
fn grouped(failures: &[Failure]) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Failure>> = BTreeMap::new();
    for failure in failures {
        let resource = failure.resource.as_deref().unwrap_or(&failure.what);
        groups.entry((resource, &failure.reason)).or_default().push(failure);
    }
    let line = |((resource, reason), failures): ((&str, &str), Vec<&Failure>)| {
        let places = match failures.as_slice() {
            [one] => one.namespace.as_ref().map(|ns| format!(" in {ns}")).unwrap_or_default(),
            many => format!(" ({} requests)", many.len()),
        };
        let message = &failures[0].message;
        crate::gather::client::one_line(&format!("{resource}{places}: {reason}: {message}"), 160)
    };
    groups.into_iter().map(line).collect()
}

/// What a person sees at the end.
///
/// It uses the names of the archive, because it is often passed on; `pseudonyms` says so.
pub(crate) fn summary(gathered: &Gathered, pseudonyms: Option<&str>, global: &Global) -> String {
    let mut text = String::new();
    let size = units::human_bytes(gathered.archive.bytes);
    let files = gathered.archive.files;
    if let Some(path) = &gathered.archive.path {
        let _ = writeln!(text, "{}", path.display());
    }
    let (objects, logs) = gathered.counts;
    let _ = writeln!(
        text,
        "  {size}, {files} files: {objects} objects, {logs} logs of cluster {}; {} redacted",
        term::sanitize(&gathered.cluster),
        units::count(gathered.redactions, "value")
    );
    if let Some(pseudonyms) = pseudonyms {
        let _ = writeln!(text, "  {pseudonyms}");
    }
    if let Some(looked) = gathered.second_look {
        let _ = writeln!(text, "{}", crate::commands::redact::told(&looked));
    }
    if let Some(why) = &gathered.cut_short {
        let _ = writeln!(text, "  cut short by {why}: the archive holds what was read until then");
    }
    if gathered.failures > 0 {
        let _ = writeln!(
            text,
            "  {} refused or failed; mcpgw/failures.json says what that means:",
            units::count(gathered.failures, "request")
        );
        let groups = grouped(&gathered.refused);
        for line in groups.iter().take(FAILURES_SHOWN) {
            let _ = writeln!(text, "    {}", term::sanitize(line));
        }
        if groups.len() > FAILURES_SHOWN {
            let _ = writeln!(text, "    and {} more of other kinds", groups.len() - FAILURES_SHOWN);
        }
    }
    if gathered.refused.iter().any(|failure| failure.code == Some(403)) {
        let _ = writeln!(
            text,
            "  a role that grants what was refused: {} in the archive, or `{} gather --dry-run`",
            crate::archive::path::MISSING_PERMISSIONS,
            global.program
        );
    }
    if let Some(report) = &gathered.report {
        text.push('\n');
        let options = term::text_options(&global.program);
        let bundle = gathered.archive.path.as_ref().map(|path| path.display().to_string());
        text.push_str(&render::roots(report, &render::TextOptions { bundle, ..options }));
    }
    text
}
