//! `oc mcpgw completion` and `oc mcpgw man`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

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
        return match write_pages(program, &directory) {
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
    std::io::stdout().write_all(page(clap_mangen::Man::new(command))?.as_bytes())?;
    Ok(Exit::Ok)
}

/// When the pages were last looked over; a release says when that was.
const DATE: &str = "2026-11-23";

/// Writes the page of the program and those of its commands.
fn write_pages(program: clap::Command, directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let commands: Vec<clap::Command> = program.get_subcommands().cloned().collect();
    for command in [program].into_iter().chain(commands).filter(|command| !command.is_hide_set()) {
        let man = clap_mangen::Man::new(command);
        std::fs::write(directory.join(man.get_filename()), page(man)?)?;
    }
    Ok(())
}

/// A page as `mandoc -T lint` wants it: with a date, without space at the end of lines, and one request
/// for a blank line where the generator gives three.
fn page(man: clap_mangen::Man) -> std::io::Result<String> {
    let program = concat!("oc-mcpgw ", env!("CARGO_PKG_VERSION"));
    let man = man.date(DATE).source(program).manual("oc-mcpgw");
    let mut page = Vec::new();
    man.render(&mut page)?;
    let page = String::from_utf8_lossy(&page);
    let mut text: String = page.lines().flat_map(|line| [line.trim_end(), "\n"]).collect();
    for (long, short) in
        [("\n.br\n\n.br\n", "\n.sp\n"), ("\n.sp\n.br\n", "\n.sp\n"), ("\n.br\n.sp\n", "\n.sp\n")]
    {
        text = text.replace(long, short);
    }
    Ok(text)
}
