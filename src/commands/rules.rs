//! `oc mcpgw rules`.

use crate::error::{CommandError, CommandResult};

/// Arguments of `rules`.
#[derive(Debug, clap::Args)]
pub struct RulesArgs {}

/// Runs the command.
pub(crate) fn run(args: RulesArgs) -> CommandResult {
    let _ = args;
    Err(CommandError::usage_message("rules is not built yet"))
}
