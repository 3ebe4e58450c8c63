//! `oc mcpgw analyze`.

use crate::error::{CommandError, CommandResult};

/// Arguments of `analyze`.
#[derive(Debug, clap::Args)]
pub struct AnalyzeArgs {}

/// Runs the command.
pub(crate) fn run(args: AnalyzeArgs) -> CommandResult {
    let _ = args;
    Err(CommandError::usage_message("analyze is not built yet"))
}
