//! `oc mcpgw explain`.

use crate::error::{CommandError, CommandResult};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {}

/// Runs the command.
pub(crate) fn run(args: ExplainArgs) -> CommandResult {
    let _ = args;
    Err(CommandError::usage_message("explain is not built yet"))
}
