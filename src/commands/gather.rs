//! `oc mcpgw gather`.

use crate::error::{CommandError, CommandResult};

/// Arguments of `gather`.
#[derive(Debug, clap::Args)]
pub struct GatherArgs {}

/// Runs the command.
pub(crate) fn run(args: GatherArgs) -> CommandResult {
    let _ = args;
    Err(CommandError::usage_message("gather is not built yet"))
}
