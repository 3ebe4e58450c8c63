//! `oc mcpgw demo`: everything at once, with a built-in installation in place of a cluster.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::Utc;

use crate::archive::{load, read};
use crate::cli::Global;
use crate::commands::filter::Filter;
use crate::commands::{analyze, gather, serve};
use crate::demo::{self, Refused};
use crate::error::{CommandError, CommandResult, Exit};
use crate::gather::progress::{self, Progress};
use crate::gather::{Options, Output, connect};
use crate::render::{self, TextOptions};
use crate::serve::{Background, Cluster};
use crate::term;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Where the archive goes: a file, or a directory [default: the current directory]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Serve the installation without its faults
    #[arg(long)]
    healthy: bool,
    /// Go on serving the installation for your own oc or kubectl, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Runs the command: serve, gather over HTTPS, analyze the archive, say what to try next.
pub(crate) fn run(args: DemoArgs, global: &Global) -> CommandResult {
    let installation = if args.healthy { demo::healthy() } else { demo::faulty() };
    // Ages are told from now on, so that everything in it happens today.
    let installation = installation.moved_to(Utc::now());
    let source = read::Memory(installation.files(&Refused::default()));
    let bundle = load::load(&source).map_err(CommandError::unusable)?;
    let cluster = Cluster::new(bundle, Arc::new(source));

    let server = Background::start(Arc::clone(&cluster), 0).map_err(CommandError::unusable)?;
    let kubeconfig = kubeconfig(&server)?;
    let progress = Progress::stderr(progress::SILENCE);
    progress.note(&format!("serving a built-in installation as a cluster on https://{}", server.address()));
    let options = Options {
        connection: connect::Connection {
            kubeconfig: Some(kubeconfig.to_path_buf()),
            ..connect::Connection::default()
        },
        output: args.output.map_or(Output::Here, Output::Path),
        ..Options::default()
    };
    let gathered = gather::run_until_signalled(options, &progress)?;
    progress.finish();
    drop(server);
    let Some(gathered) = gathered else { return Ok(Exit::Interrupted) };
    let Some(archive) = gathered.archive.path.clone() else {
        return Err(CommandError::unusable_message("the archive was not written to a file"));
    };

    let source = read::open(&archive).map_err(CommandError::unusable)?;
    let report = analyze::analysis(&*source, &Filter::default())
        .map_err(CommandError::unusable)?
        .for_program(&global.program);
    let options =
        TextOptions { bundle: Some(archive.display().to_string()), ..term::text_options(&global.program) };
    // The report ends with what to try next, with the path of the archive in it.
    term::print(&render::text(&report, &options))?;
    if args.keep {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        return runtime.block_on(serve::serve(serve::ServeArgs::until_signalled(), cluster, true));
    }
    Ok(if gathered.cut_short.is_some() { gather::exit(&gathered) } else { Exit::Ok })
}

/// The kubeconfig of the server in a file that only its owner can read, removed at the end.
fn kubeconfig(server: &Background) -> Result<tempfile::TempPath, CommandError> {
    let mut file = tempfile::Builder::new().prefix("mcpgw-demo-").suffix(".kubeconfig").tempfile()?;
    file.write_all(server.kubeconfig().as_bytes())?;
    Ok(file.into_temp_path())
}
