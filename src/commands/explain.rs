//! `oc mcpgw explain`.

use crate::cli::Global;
use crate::commands::catalogue;
use crate::error::{CommandError, CommandResult, Exit};
use crate::rules::{self, Rule};
use crate::shell::for_program;
use crate::{render, term};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// A finding code (MG213) or the name of its rule; without one, lists all of them
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// How to print the page
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: PageFormat,
}

/// The forms of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum PageFormat {
    /// For the terminal
    #[default]
    Text,
    /// The page as it was written
    Markdown,
    /// The page and everything the catalogue knows about the code
    Json,
}

/// Runs the command.
pub(crate) fn run(args: ExplainArgs, global: &Global) -> CommandResult {
    let Some(code) = args.code else {
        let list = match args.output {
            PageFormat::Text => catalogue::table(rules::all(), &term::text_options(&global.program)),
            PageFormat::Markdown => catalogue::markdown(rules::all()),
            PageFormat::Json => catalogue::json(rules::all()),
        };
        term::print(&list)?;
        return Ok(Exit::Ok);
    };
    let rule = catalogue::find(&code).map_err(|error| match error {
        catalogue::NotFound { near: Some(near) } => {
            CommandError::usage_message(format!("there is no finding code or rule \"{code}\""))
                .hint(format!("did you mean {near}?"))
        }
        catalogue::NotFound { near: None } => {
            CommandError::usage_message(format!("there is no finding code or rule \"{code}\""))
                .hint(format!("`{} rules` lists them", global.program))
        }
    })?;
    let text = match args.output {
        PageFormat::Text => terminal(rule, global),
        PageFormat::Markdown => catalogue::markdown_page(rule),
        PageFormat::Json => catalogue::json_page(rule),
    };
    term::print(&text)?;
    Ok(Exit::Ok)
}

fn terminal(rule: &Rule, global: &Global) -> String {
    let options = term::text_options(&global.program);
    format!(
        "{}\n{}\n\n{}",
        render::heading(&format!("{} {}", rule.code, rule.name), &options),
        render::dim(
            &format!(
                "{} by default, section {} of the troubleshooting chapter, since {}; concerns {}; needs {}",
                rule.severity.as_str(),
                rule.section,
                rule.since,
                rule.versions,
                if rule.needs.is_empty() {
                    "nothing in particular".to_owned()
                } else {
                    rule.needs.join(", ")
                }
            ),
            &options
        ),
        render::page(&for_program(&global.program, rule.page), &options)
    )
}
