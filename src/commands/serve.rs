//! `oc mcpgw serve`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use crate::archive::{gated, read};
use crate::cli::Global;
use crate::commands::analyze;
use crate::error::{CommandError, CommandResult, Exit};
use crate::redact::Redactor;
use crate::serve::{Cluster, Server};
use crate::term;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// What to serve: an archive of `gather`, an unpacked directory, the output of `oc adm
    /// must-gather` or `oc adm inspect`, or files of `oc get -o yaml|json`; `-` reads standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Write the kubeconfig to this file and leave it there [default: a temporary file]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The port on 127.0.0.1 [default: any free one]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// A command to run against the bundle, with KUBECONFIG set; `serve` ends with its exit code
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl ServeArgs {
    /// No command, a temporary kubeconfig, and any free port, for a cluster that is there already.
    pub(crate) fn until_signalled() -> Self {
        Self { bundle: PathBuf::new(), kubeconfig: None, port: 0, command: Vec::new() }
    }
}

/// Runs the command.
pub(crate) fn run(args: ServeArgs, global: &Global) -> CommandResult {
    let source = read::open(&args.bundle).map_err(|error| analyze::refused(error, global))?;
    let redactor = || Redactor::new(crate::redact::Options::default());
    let (source, bundle, ours) =
        gated::open(source, redactor).map_err(|error| analyze::refused(error, global))?;
    let cluster = Cluster::new(bundle, Arc::from(source));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(args, cluster, ours))
}

/// Serves until a signal ends it, or as long as the user's command runs.
pub(crate) async fn serve(args: ServeArgs, cluster: Arc<Cluster>, ours: bool) -> CommandResult {
    let objects = cluster.bundle().objects().count();
    let server = Server::start(Arc::clone(&cluster), args.port).await.map_err(|error| {
        let what = anyhow::Error::new(error).context(format!("cannot listen on 127.0.0.1:{}", args.port));
        CommandError::unusable(what).hint("choose another --port, or leave it out for any free one")
    })?;
    // Signals are caught before anything is written, so that nothing is left behind.
    let mut signals = Signals::new()?;
    let kubeconfig = Kubeconfig::write(&server, args.kubeconfig)?;
    let outcome = match args.command.split_first() {
        Some((program, arguments)) => child(program, arguments, kubeconfig.path(), &mut signals).await,
        None => {
            let text = announcement(&server, &cluster, objects, &kubeconfig, ours);
            match term::print(&text) {
                Ok(()) => {
                    signals.end().await;
                    Ok(Exit::Ok)
                }
                Err(error) => Err(error.into()),
            }
        }
    };
    drop(kubeconfig);
    server.stop().await;
    outcome
}

/// What a person needs to begin: what is served, and the line to paste.
fn announcement(
    server: &Server,
    cluster: &Cluster,
    objects: usize,
    kubeconfig: &Kubeconfig,
    ours: bool,
) -> String {
    let redacted = if ours {
        ""
    } else {
        "\nIt is redacted on the way: `gather` did not write it, or it was changed since."
    };
    let bundle = &cluster.bundle().meta;
    let name = bundle.cluster.as_deref().unwrap_or("the bundle");
    let when = cluster.now().format("%Y-%m-%d %H:%M:%S UTC");
    let path = kubeconfig.path().display().to_string();
    let quoted = match path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+@%:,".contains(&b)) {
        true => path,
        false => format!("'{}'", path.replace('\'', "'\\''")),
    };
    let end = match kubeconfig {
        Kubeconfig::Temporary(_) => "Ctrl-C ends it and removes the kubeconfig.",
        Kubeconfig::Kept(_) => "Ctrl-C ends it.",
    };
    let text = format!(
        "Serving {name}, {objects} objects as of {when}, read-only on https://{}{redacted}\n\n  \
         export KUBECONFIG={quoted}\n  kubectl get mcpsr,mcpge,gateway,httproute -A\n\n{end}\n",
        server.address(),
    );
    term::sanitize(&text).into_owned()
}

/// The kubeconfig, where it stands.
#[derive(Debug)]
enum Kubeconfig {
    /// Removed at the end.
    Temporary(tempfile::TempPath),
    /// Where the user wanted it.
    Kept(PathBuf),
}

impl Kubeconfig {
    fn write(server: &Server, wanted: Option<PathBuf>) -> Result<Self, CommandError> {
        let failed = |error: std::io::Error, path: &Path| {
            let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
            let what = anyhow::Error::new(error).context(format!("cannot write {}", path.display()));
            let error = if exists { CommandError::usage(what) } else { CommandError::unusable(what) };
            error.hint("choose another --kubeconfig, or leave it out for a temporary file")
        };
        if let Some(path) = wanted {
            server.write_kubeconfig(&path).map_err(|error| failed(error, &path))?;
            // The command that runs next may have another working directory.
            return Ok(Self::Kept(std::path::absolute(&path).unwrap_or(path)));
        }
        let directory = std::env::temp_dir();
        let file = tempfile::Builder::new()
            .prefix("mcpgw-")
            .suffix(".kubeconfig")
            .tempfile_in(&directory)
            .and_then(|mut file| {
                // Temporary files are their owner's alone (0600) from the start.
                std::io::Write::write_all(&mut file, server.kubeconfig().as_bytes())?;
                Ok(file)
            })
            .map_err(|error| failed(error, &directory))?;
        Ok(Self::Temporary(file.into_temp_path()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(path) => path,
            Self::Kept(path) => path,
        }
    }
}

/// Runs the user's command and passes signals on to it.
async fn child(
    program: &OsString,
    arguments: &[OsString],
    kubeconfig: &Path,
    signals: &mut Signals,
) -> CommandResult {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::inherit());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // What a shell says and does: 127 for a command that is not there, 126 for one that cannot run.
            let (code, why) = match error.kind() {
                std::io::ErrorKind::NotFound => (127, "command not found".to_owned()),
                _ => (126, error.to_string()),
            };
            let name = program.to_string_lossy();
            let line = format!("error: cannot run {}: {why}", term::sanitize(&name));
            // Nobody is left to tell when standard error is closed.
            let _ = std::io::Write::write_all(&mut anstream::stderr(), format!("{line}\n").as_bytes());
            return Ok(Exit::Child(code));
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => return Ok(Exit::Child(code(status?))),
            signal = signals.next() => pass_on(&child, signal),
        }
    }
}

/// The exit code as a shell tells it: 128 and the number of the signal for a command that one killed.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind};

/// The signals that end a program.
#[cfg(unix)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: tokio::signal::unix::signal(SignalKind::interrupt())?,
            terminate: tokio::signal::unix::signal(SignalKind::terminate())?,
            hangup: tokio::signal::unix::signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> rustix::process::Signal {
        tokio::select! {
            _ = self.interrupt.recv() => rustix::process::Signal::INT,
            _ = self.terminate.recv() => rustix::process::Signal::TERM,
            _ = self.hangup.recv() => rustix::process::Signal::HUP,
        }
    }

    async fn end(&mut self) {
        self.next().await;
    }
}

/// A terminal sends Ctrl-C to all of its foreground programs, so the command has it already;
/// anything else only came to us.
#[cfg(unix)]
fn pass_on(child: &tokio::process::Child, signal: rustix::process::Signal) {
    use std::io::IsTerminal as _;
    if signal == rustix::process::Signal::INT && std::io::stdin().is_terminal() {
        return;
    }
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
        // It can only fail when the command has ended in between.
        let _ = rustix::process::kill_process(id, signal);
    }
}

/// Ctrl-C, which is all that other systems have.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Without a handler the default one ends us.
        let _ = tokio::signal::ctrl_c().await;
    }

    async fn end(&mut self) {
        self.next().await;
    }
}

#[cfg(not(unix))]
fn pass_on(_: &tokio::process::Child, (): ()) {}
