//! `oc mcpgw rules`.

use crate::cli::Global;
use crate::commands::catalogue;
use crate::error::{CommandResult, Exit};
use crate::rules::{self, Rule};
use crate::term;

/// Arguments of `rules`.
#[derive(Debug, clap::Args)]
pub struct RulesArgs {
    /// Only these codes, code prefixes (MG2) or rule names
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    code: Vec<String>,
    /// How to print the list
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: ListFormat,
}

/// The forms of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum ListFormat {
    /// A table
    #[default]
    Text,
    /// Every field, with the pages
    Json,
    /// The same as YAML
    Yaml,
    /// A table for documents
    Markdown,
}

/// Runs the command.
pub(crate) fn run(args: RulesArgs, global: &Global) -> CommandResult {
    let patterns = catalogue::patterns(&args.code)?;
    let chosen: Vec<&'static Rule> = rules::all()
        .iter()
        .copied()
        .filter(|rule| patterns.is_empty() || patterns.iter().any(|p| p.matches(rule.code, rule.name)))
        .collect();
    let text = match args.output {
        ListFormat::Text => catalogue::table(&chosen, &term::text_options(&global.program)),
        ListFormat::Json => catalogue::json(&chosen),
        ListFormat::Yaml => catalogue::yaml(&chosen),
        ListFormat::Markdown => catalogue::markdown(&chosen),
    };
    term::print(&text)?;
    Ok(Exit::Ok)
}
