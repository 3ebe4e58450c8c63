//! The command line: the commands and the options that all of them share. Doc comments are the help.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands;
use crate::term::{self, ColorChoice};

/// Collects, redacts and diagnoses an MCP gateway (Kuadrant/mcp-gateway).
#[derive(Debug, Parser)]
#[command(name = "oc-mcpgw", bin_name = "oc mcpgw", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// When to use colour: auto (on a terminal; NO_COLOR and CLICOLOR_FORCE count), always, never
    #[arg(
        long,
        value_enum,
        default_value_t,
        global = true,
        value_name = "WHEN",
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub color: ColorChoice,
    /// What the user types to run this program, for hints and next steps.
    #[arg(skip = PROGRAM.to_owned())]
    pub program: String,
}

/// What most users type.
const PROGRAM: &str = "oc mcpgw";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect from the cluster into one redacted archive and print the roots of what is wrong
    Gather(Box<commands::gather::GatherArgs>),
    /// Gather into memory and analyze, without an archive
    Check(Box<commands::check::CheckArgs>),
    /// Analyze a bundle offline: causes, evidence, remedies
    Analyze(commands::analyze::AnalyzeArgs),
    /// Redact an existing bundle, must-gather or directory the way gather would
    Redact(commands::redact::RedactArgs),
    /// Check a bundle's checksums and structure, and look for secrets that are still in it
    Verify(commands::verify::VerifyArgs),
    /// Print the page of a finding code
    Explain(commands::explain::ExplainArgs),
    /// List the rules with the evidence each needs
    Rules(commands::rules::RulesArgs),
    /// Serve a bundle as a read-only Kubernetes API on loopback
    Serve(commands::serve::ServeArgs),
    /// Show everything with a built-in faulty installation, no cluster needed
    Demo(commands::demo::DemoArgs),
    /// Print a completion script for a shell
    Completion(commands::completion::CompletionArgs),
    /// Print the manual page of the program or of a command, or write all of them
    Man(commands::completion::ManArgs),
}

/// Parses the arguments; on `--help`, `--version` or a mistake, prints what there is to say and
/// gives the exit code.
///
/// # Errors
/// The exit code: 0 for help and version, 2 for a mistake.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, u8> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = program(arguments.first());
    let parsed = command()
        .bin_name(program)
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(mut cli) => {
            program.clone_into(&mut cli.global.program);
            Ok(cli)
        }
        Err(error) if error.use_stderr() => {
            let mut stderr = anstream::stderr().lock();
            // A closed pipe is the only thing that can go wrong here, and nobody is left to tell.
            let _ = stderr.write_all(mistake(&error, program).as_bytes());
            Err(2)
        }
        Err(error) => {
            let _ = error.print();
            Err(0)
        }
    }
}

/// `oc mcpgw`, or `kubectl mcpgw` when the program was installed under that plugin's name.
fn program(name: Option<&OsString>) -> &'static str {
    let file = name.and_then(|name| Path::new(name).file_stem()).and_then(OsStr::to_str).unwrap_or_default();
    if file.starts_with("kubectl") { "kubectl mcpgw" } else { PROGRAM }
}

/// A mistake on the command line in the form of all our errors: one line, then hints.
fn mistake(error: &clap::Error, program: &str) -> String {
    let rendered = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return rendered;
    }
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = rendered.split("\n\n").map(one_line).filter(|text| !text.is_empty());
    let message = paragraphs.next().unwrap_or_else(|| "error: wrong usage".to_owned());
    let mut out = format!("{}\n", term::sanitize(&message));
    let mut command = program.to_owned();
    for paragraph in paragraphs {
        if let Some(tip) = paragraph.strip_prefix("tip: ") {
            out.push_str(&format!("  hint: {}\n", term::sanitize(tip)));
        } else if let Some(values) = paragraph.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            out.push_str(&format!("  hint: {}\n", term::sanitize(values)));
        } else if let Some(usage) = paragraph.strip_prefix("Usage: ") {
            // The words up to the first argument are the command that was meant.
            let words: Vec<&str> =
                usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
            command = words.join(" ");
        }
    }
    out.push_str(&format!("  hint: `{command} --help` shows how it is used\n"));
    out
}

/// The whole command line, for completions, the manual page and the tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}
