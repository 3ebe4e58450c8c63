//! `oc mcpgw check`: gather into memory, analyze, write no archive.

use crate::archive::write::Target;
use crate::cli::Global;
use crate::commands::analyze::{FailOn, Format, analysis};
use crate::commands::filter::{Filter, FilterArgs};
use crate::commands::gather::{CollectArgs, exit, run_until_signalled};
use crate::commands::obfuscate::{self, ObfuscateArgs};
use crate::error::{CommandError, CommandResult, Exit};
use crate::gather::progress::{self, Progress};
use crate::gather::{Options, Output};
use crate::render::TextOptions;
use crate::term;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// How to print the report
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// Print everything in the text form: nothing folded, counted or cut
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// Exit with code 1 when a finding of this severity or worse remains
    #[arg(long, value_enum, default_value_t, value_name = "SEVERITY")]
    fail_on: FailOn,
    /// Names and what becomes of them.
    #[command(flatten)]
    obfuscate: ObfuscateArgs,
    /// What is read, and how.
    #[command(flatten)]
    collect: CollectArgs,
}

/// Runs the command.
pub(crate) fn run(args: CheckArgs, global: &Global) -> CommandResult {
    let filter = Filter::new(&args.filter)?;
    let mapping = args.obfuscate.mapping(&[])?;
    let redact = crate::redact::Options { obfuscate: args.obfuscate.what(), ..Default::default() };
    let options = args.collect.options(Output::Target(Target::Memory));
    let progress = Progress::stderr(progress::SILENCE);
    let gathered = run_until_signalled(Options { analyze: false, redact, ..options }, &progress)?;
    progress.finish();
    let Some(gathered) = gathered else { return Ok(Exit::Interrupted) };
    let Some(kept) = &gathered.kept else {
        return Err(CommandError::unusable_message("what was collected is gone"));
    };
    if let Some(line) = obfuscate::finish(mapping, gathered.obfuscator.as_ref())? {
        progress.note(&line);
    }
    let report = analysis(&*kept.0, &filter).map_err(CommandError::unusable)?.for_program(&global.program);
    let options = TextOptions { full: args.verbose, ..term::text_options(&global.program) };
    term::print(&args.output.render(&report, &options, args.fail_on))?;
    // Cut short, the report may lack what would have failed it.
    Ok(if exit(&gathered) == Exit::Interrupted { Exit::Interrupted } else { args.fail_on.exit(&report) })
}
