//! `oc mcpgw completion` and `oc mcpgw man`.

use std::io::Write as _;

use crate::error::{CommandResult, Exit};

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell to complete in
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {}

/// Prints the completion script.
pub(crate) fn run(args: CompletionArgs) -> CommandResult {
    // Generated into memory first: the generator panics when a pipe is closed under it.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::command(), "oc-mcpgw", &mut script);
    if args.shell == clap_complete::Shell::Bash {
        // The generator spells the hyphen of the program's name in two ways, so that no label of a
        // command would ever match; the tests run the script.
        script = String::from_utf8_lossy(&script).replace("oc__subcmd__mcpgw", "oc__mcpgw").into_bytes();
    }
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Ok)
}

/// Prints the manual page.
pub(crate) fn man(_args: ManArgs) -> CommandResult {
    let mut page = Vec::new();
    clap_mangen::Man::new(crate::cli::command()).render(&mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(Exit::Ok)
}
