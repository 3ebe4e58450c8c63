//! `oc mcpgw completion` and `oc mcpgw man`.

use std::io::Write as _;
use std::path::PathBuf;

use crate::error::{CommandError, CommandResult, Exit};

/// Arguments of `completion`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell to complete in
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The command to print the page of; without it, the page of the program, which lists the commands
    command: Option<String>,
    /// Write the pages of the program and of all its commands into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output_dir: Option<PathBuf>,
}

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

/// Prints a manual page, or writes all of them.
pub(crate) fn man(args: ManArgs) -> CommandResult {
    // Built, so that the commands know their whole names; `help` has a page in `--help` alone.
    let mut program = crate::cli::command().disable_help_subcommand(true);
    program.build();
    if let Some(directory) = args.output_dir {
        let written =
            std::fs::create_dir_all(&directory).and_then(|()| clap_mangen::generate_to(program, &directory));
        return match written {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(CommandError::unusable_message(format_args!(
                "cannot write the manual pages into {}: {error}",
                directory.display()
            ))
            .hint("name a directory that you may write to")),
        };
    }
    let command = match args.command {
        None => program,
        Some(name) => match program.find_subcommand(&name) {
            Some(command) => command.clone(),
            None => {
                let names: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
                return Err(CommandError::usage_message(format_args!("there is no command {name:?}"))
                    .hint(format!("the commands are {}", names.join(", "))));
            }
        },
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(Exit::Ok)
}
