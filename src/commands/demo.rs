//! `oc mcpgw demo`.

use crate::error::{CommandError, CommandResult};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}

/// Runs the command.
pub(crate) fn run(args: DemoArgs) -> CommandResult {
    let _ = args;
    Err(CommandError::usage_message("demo is not built yet"))
}
