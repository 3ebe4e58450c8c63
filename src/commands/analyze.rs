//! `oc mcpgw analyze`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::archive::read::{ReadError, Source};
use crate::archive::{load, locate, read};
use crate::cli::Global;
use crate::commands::filter::{self, Filter};
use crate::error::{CommandError, CommandResult, Exit};
use crate::model::kinds;
use crate::redact::{RedactedReport, Redactor};
use crate::render::{self, TextOptions};
use crate::report::{Finding, Report, Severity};
use crate::rules::{self, Rule};
use crate::{redact, term};

/// Arguments of `analyze`.
#[derive(Debug, clap::Args)]
pub struct AnalyzeArgs {
    /// What to analyze: an archive of `gather` (.tar.gz, .tgz, .tar, .tar.zst, .zip), an unpacked
    /// directory, the output of `oc adm must-gather` or `oc adm inspect`, or files of
    /// `oc get -o yaml|json`; `-` reads standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Further bundles, which are refused with a hint
    #[arg(hide = true)]
    further: Vec<PathBuf>,
    /// How to print the report
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// Write the report to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Print everything in the text form: nothing folded, counted or cut
    #[arg(short, long)]
    verbose: bool,
    /// Print to standard error how long each phase and the slowest rules took
    #[arg(long)]
    timings: bool,
    #[command(flatten)]
    filter: filter::FilterArgs,
    /// Exit with code 1 when a finding of this severity or worse remains
    #[arg(long, value_enum, default_value_t, value_name = "SEVERITY")]
    fail_on: FailOn,
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// mcpgw.report/v1
    Json,
    /// The same as YAML
    Yaml,
    /// At most 60 lines, for a support case
    Markdown,
    /// One self-contained page with pictures
    Html,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML, for pipelines
    Junit,
}

impl Format {
    /// The report in this form.
    pub(crate) fn render(self, report: &RedactedReport, options: &TextOptions, fail_on: FailOn) -> String {
        match self {
            Self::Text => render::text(report, options),
            Self::Json => render::json(report),
            Self::Yaml => render::yaml(report),
            Self::Markdown => render::markdown(report),
            Self::Html => render::html(report),
            Self::Sarif => render::sarif(report),
            Self::Junit => render::junit(report, fail_on.mildest()),
        }
    }
}

/// From which severity on findings fail the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum FailOn {
    /// Errors
    #[default]
    Error,
    /// Errors and warnings
    Warning,
    /// Any finding
    Info,
    /// Nothing
    Never,
}

impl FailOn {
    /// The mildest severity that fails the command.
    fn mildest(self) -> Option<Severity> {
        match self {
            Self::Error => Some(Severity::Error),
            Self::Warning => Some(Severity::Warning),
            Self::Info => Some(Severity::Info),
            Self::Never => None,
        }
    }

    /// How a command with this report ends.
    #[must_use]
    pub fn exit(self, report: &Report) -> Exit {
        let fails = |finding: &Finding| self.mildest().is_some_and(|mildest| finding.severity <= mildest);
        if report.findings.iter().any(fails) { Exit::Findings } else { Exit::Ok }
    }
}

/// Runs the command.
pub(crate) fn run(args: AnalyzeArgs, global: &Global) -> CommandResult {
    if !args.further.is_empty() {
        let number = args.further.len() + 1;
        let error = CommandError::usage_message(format!("analyze takes one bundle, but {number} were named"));
        return Err(error.hint("run it once for each, or put the files into one directory and name that"));
    }
    let bundle = &args.bundle;
    let filter = Filter::new(&args.filter)?;
    let unusable = |error: ReadError| refused(error, global);
    let mut timings = Timings::start();
    let source = read::open(bundle).map_err(unusable)?;
    timings.phase("open");
    let report = timed(&*source, &filter, &mut timings).map_err(unusable)?.for_program(&global.program);

    let options = TextOptions { full: args.verbose, ..text_options(&args, bundle, global) };
    let text = args.output.render(&report, &options, args.fail_on);
    timings.phase("render");
    match &args.output_file {
        Some(file) => write(file, text.as_bytes())?,
        None => term::print(&text)?,
    }
    timings.phase("write");
    if args.timings {
        timings.print();
    }
    Ok(args.fail_on.exit(&report))
}

/// The whole way from files to a report that may be shown: load, decide, choose, locate, redact.
///
/// Evidence of a foreign bundle quotes what nobody has redacted yet, so that values of the Secrets
/// in it are learned first and found wherever the report repeats them.
///
/// # Errors
/// Only when the bundle as a whole cannot be read.
pub(crate) fn analysis(source: &dyn Source, filter: &Filter) -> Result<RedactedReport, ReadError> {
    timed(source, filter, &mut Timings::start())
}

fn timed(source: &dyn Source, filter: &Filter, timings: &mut Timings) -> Result<RedactedReport, ReadError> {
    let bundle = load::for_rules(source)?;
    timings.phase("load");
    let redactor = Redactor::new(redact::Options::default());
    for secret in bundle.list(&kinds::SECRET) {
        redactor.learn_secret(&secret.value().to_json());
    }
    timings.phase("learn secrets");
    let rules = Mutex::new(Vec::new());
    let mut report = rules::watched(&bundle, |rule, check| {
        let start = Instant::now();
        check();
        rules.lock().unwrap_or_else(PoisonError::into_inner).push((rule, start.elapsed()));
    });
    // The report needs room of its own. To take tens of thousands of objects apart takes a while, which
    // nobody needs to wait for; without another thread it is done here.
    let _ = std::thread::Builder::new().spawn(move || drop(bundle));
    timings.phase("rules");
    timings.rules = rules.into_inner().unwrap_or_default();
    filter.apply(&mut report);
    locate::fill_lines(&mut report, source);
    timings.phase("locate");
    let report = redactor.report(report);
    timings.phase("redact");
    Ok(report)
}

/// How many of the rules `--timings` names.
const SLOWEST: usize = 5;

/// How long each phase and each rule took (`--timings`).
struct Timings {
    last: Instant,
    phases: Vec<(&'static str, Duration)>,
    rules: Vec<(&'static Rule, Duration)>,
}

impl Timings {
    fn start() -> Self {
        Self { last: Instant::now(), phases: Vec::new(), rules: Vec::new() }
    }

    /// Ends a phase.
    fn phase(&mut self, name: &'static str) {
        let now = Instant::now();
        self.phases.push((name, now - self.last));
        self.last = now;
    }

    fn print(&self) {
        let mut stderr = std::io::stderr().lock();
        let all: Duration = self.phases.iter().map(|(_, took)| *took).sum();
        for (name, took) in self.phases.iter().chain([&("all", all)]) {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(stderr, "{name:<14} {:>9.3} ms", took.as_secs_f64() * 1e3);
        }
        let mut slowest = self.rules.clone();
        slowest.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
        for (rule, took) in slowest.into_iter().take(SLOWEST) {
            let _ =
                writeln!(stderr, "rule {:<9} {:>9.3} ms  {}", rule.code, took.as_secs_f64() * 1e3, rule.name);
        }
    }
}

/// Says what can be done about an input that cannot be read.
pub(crate) fn refused(error: ReadError, global: &Global) -> CommandError {
    let program = &global.program;
    let hint = match &error {
        ReadError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            format!("name an archive or a directory; `{program} gather` makes one from a cluster")
        }
        ReadError::Io { .. } => "check the path and its permissions".to_owned(),
        ReadError::NotABundle { .. } => format!(
            "a bundle is an archive or a directory of `{program} gather`, `oc adm must-gather`, \
             `oc adm inspect`, or files of `oc get -o yaml`"
        ),
        ReadError::Limit { .. } => {
            "unpack it and name the directory, if you trust where it comes from".to_owned()
        }
    };
    CommandError::unusable(error).hint(hint)
}

fn text_options(args: &AnalyzeArgs, bundle: &Path, global: &Global) -> TextOptions {
    let named = Some(bundle.display().to_string()).filter(|name| name != "-");
    let options = if args.output_file.is_some() {
        TextOptions { program: global.program.clone(), ..TextOptions::default() }
    } else {
        term::text_options(&global.program)
    };
    let links = options.links.filter(|_| bundle.is_dir()).and_then(|_| {
        let absolute = std::path::absolute(bundle).ok()?;
        Some(format!("file://{}/", render::address(absolute.to_str()?)))
    });
    TextOptions { bundle: named, links, ..options }
}

/// Writes the report under its final name at once, so that nobody reads half of it.
fn write(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::unusable(anyhow::Error::new(error).context(format!("cannot write {}", path.display())))
            .hint("choose another --output-file, or leave it out to print the report")
    };
    // What is no ordinary file (/dev/null, a pipe) is written to, not replaced.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let mut file = std::fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
        return file.write_all(content).map_err(failed);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".mcpgw-report-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The umask decides who else may read it, as for any file that a program writes.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(directory).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
