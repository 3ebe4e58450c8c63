//! One thin file per command: its arguments, the calls, the exit code.

pub mod analyze;
pub(crate) mod catalogue;
pub mod check;
pub mod completion;
pub mod demo;
pub(crate) mod dry_run;
pub mod explain;
pub mod filter;
pub mod gather;
pub mod obfuscate;
pub mod redact;
pub mod rules;
pub mod serve;
pub(crate) mod suppress;
pub mod verify;

use crate::cli::{Cli, Command};
use crate::error::CommandResult;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> CommandResult {
    cli.global.color.apply();
    match cli.command {
        Command::Gather(args) => gather::run(*args, &cli.global),
        Command::Check(args) => check::run(*args, &cli.global),
        Command::Analyze(args) => analyze::run(args, &cli.global),
        Command::Redact(args) => redact::run(args, &cli.global),
        Command::Verify(args) => verify::run(args, &cli.global),
        Command::Explain(args) => explain::run(args, &cli.global),
        Command::Rules(args) => rules::run(args, &cli.global),
        Command::Serve(args) => serve::run(args, &cli.global),
        Command::Demo(args) => demo::run(args, &cli.global),
        Command::Completion(args) => completion::run(args),
        Command::Man(args) => completion::man(args),
    }
}
