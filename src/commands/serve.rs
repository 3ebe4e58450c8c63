//! `oc mcpgw serve`.

use crate::error::{CommandError, CommandResult};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {}

/// Runs the command.
pub(crate) fn run(args: ServeArgs) -> CommandResult {
    let _ = args;
    Err(CommandError::usage_message("serve is not built yet"))
}
