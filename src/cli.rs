//! The command line: the commands and the options that all of them share. Doc comments are the help.

use std::ffi::OsString;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::commands;
use crate::term::ColorChoice;

/// Collects, redacts and diagnoses an MCP gateway (Kuadrant/mcp-gateway).
#[derive(Debug, Parser)]
#[command(name = "oc-mcpgw", bin_name = "oc mcpgw", version, propagate_version = true, max_term_width = 100)]
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
    /// When to use colour
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN")]
    pub color: ColorChoice,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect from the cluster into one redacted archive and print the roots of what is wrong
    Gather(commands::gather::GatherArgs),
    /// Analyze a bundle offline: causes, evidence, remedies
    Analyze(commands::analyze::AnalyzeArgs),
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
    /// Print the manual page
    Man(commands::completion::ManArgs),
}

/// Parses the arguments; on `--help`, `--version` or a mistake, prints what clap says and gives
/// the exit code.
///
/// # Errors
/// The exit code: 0 for help and version, 2 for a mistake.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, u8> {
    Cli::try_parse_from(arguments).map_err(|error| {
        // A closed pipe is the only thing that can go wrong here, and nobody is left to tell.
        let _ = error.print();
        if error.use_stderr() { 2 } else { 0 }
    })
}

/// The whole command line, for completions, the manual page and the tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}
