//! What `explain`, `rules` and the filters of `analyze` share: finding a rule by what was typed, and
//! the catalogue in its forms.

use serde::Serialize;

use crate::error::CommandError;
use crate::render::{self, TextOptions};
use crate::rules::{self, Rule};

/// No rule answers to what was typed.
pub(crate) struct NotFound {
    /// The nearest code or name.
    pub(crate) near: Option<String>,
}

/// The rule of a code or name, in any case.
pub(crate) fn find(typed: &str) -> Result<&'static Rule, NotFound> {
    let typed = typed.trim();
    rules::find(typed)
        .or_else(|| rules::find(&typed.to_ascii_lowercase()))
        .ok_or_else(|| NotFound { near: near(typed) })
}

/// The code or name that was probably meant.
fn near(typed: &str) -> Option<String> {
    let typed = typed.to_ascii_lowercase();
    // `213` or `mg-213` mean MG213; a word of a name means the name.
    let digits: String = typed.chars().filter(char::is_ascii_digit).collect();
    if let Some(rule) = rules::all().iter().find(|rule| !digits.is_empty() && rule.code[2..] == digits) {
        return Some(rule.code.to_owned());
    }
    let scored = rules::all().iter().flat_map(|rule| {
        [(rule.code.to_ascii_lowercase(), rule.code), (rule.name.to_owned(), rule.name)]
            .map(|(candidate, shown)| (strsim::jaro_winkler(&typed, &candidate), shown))
    });
    let (score, shown) = scored.fold((0.0, ""), |best, next| if next.0 > best.0 { next } else { best });
    (score > 0.8).then(|| shown.to_owned())
}

/// Which codes are meant: a whole code, the beginning of one, or a rule's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    /// Takes what was typed, if it can name anything.
    ///
    /// # Errors
    /// A usage error that names the nearest code.
    pub(crate) fn new(typed: &str) -> Result<Self, CommandError> {
        let typed = typed.trim();
        let pattern = Self(typed.to_owned());
        if !typed.is_empty() && rules::all().iter().any(|rule| pattern.matches(rule.code, rule.name)) {
            return Ok(pattern);
        }
        let error = CommandError::usage_message(format!("no finding code begins with \"{typed}\""));
        Err(match near(typed) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("`oc mcpgw rules` lists the codes"),
        })
    }

    /// Whether it means this code.
    pub(crate) fn matches(&self, code: &str, name: &str) -> bool {
        crate::report::means(&self.0, code, name)
    }

    /// What was typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// [`Pattern::new`] for each.
///
/// # Errors
/// The first that names nothing.
pub(crate) fn patterns(typed: &[String]) -> Result<Vec<Pattern>, CommandError> {
    typed.iter().map(|typed| Pattern::new(typed)).collect()
}

/// A rule as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    code: &'static str,
    name: &'static str,
    severity: &'static str,
    title: &'static str,
    section: &'static str,
    needs: &'static [&'static str],
    since: &'static str,
    versions: &'static str,
    caused_by: &'static [&'static str],
    page: String,
}

impl Entry {
    fn new(rule: &Rule) -> Self {
        Self {
            code: rule.code,
            name: rule.name,
            severity: rule.severity.as_str(),
            title: rule.title(),
            section: rule.section,
            needs: rule.needs,
            since: rule.since,
            versions: rule.versions,
            caused_by: rule.caused_by,
            page: source(rule),
        }
    }
}

/// The page as Markdown, without the space that a doc comment puts before each line.
fn source(rule: &Rule) -> String {
    let mut page = String::with_capacity(rule.page.len());
    for line in rule.page.lines() {
        page.push_str(line.strip_prefix(' ').unwrap_or(line).trim_end());
        page.push('\n');
    }
    page
}

/// The list for a terminal.
pub(crate) fn table(rules: &[&'static Rule], options: &TextOptions) -> String {
    let rows: Vec<[String; 5]> = rules
        .iter()
        .map(|rule| {
            [
                rule.code.to_owned(),
                rule.severity.as_str().to_owned(),
                rule.name.to_owned(),
                rule.section.to_owned(),
                rule.needs.join(", "),
            ]
        })
        .collect();
    render::table(["CODE", "SEVERITY", "NAME", "SECTION", "NEEDS"], &rows, options)
}

/// The list as JSON.
pub(crate) fn json(rules: &[&'static Rule]) -> String {
    let entries: Vec<Entry> = rules.iter().map(|rule| Entry::new(rule)).collect();
    let mut text = serde_json::to_string_pretty(&entries).unwrap_or_default();
    text.push('\n');
    text
}

/// The list as YAML.
pub(crate) fn yaml(rules: &[&'static Rule]) -> String {
    let entries: Vec<Entry> = rules.iter().map(|rule| Entry::new(rule)).collect();
    let mut text = String::new();
    crate::archive::yaml::emit(&serde_json::to_value(&entries).unwrap_or_default(), 0, &mut text);
    text
}

/// The list as a Markdown table.
pub(crate) fn markdown(rules: &[&'static Rule]) -> String {
    let mut text =
        "| code | severity | name | section | means | needs |\n|---|---|---|---|---|---|\n".to_owned();
    for rule in rules {
        let cells = [
            rule.code,
            rule.severity.as_str(),
            rule.name,
            rule.section,
            rule.title().trim(),
            &rule.needs.join(", "),
        ]
        .map(|cell| cell.replace('|', "\\|"));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// One page as Markdown.
pub(crate) fn markdown_page(rule: &Rule) -> String {
    format!("# {} {}\n\n{}", rule.code, rule.name, source(rule))
}

/// One page as JSON.
pub(crate) fn json_page(rule: &Rule) -> String {
    let mut text = serde_json::to_string_pretty(&Entry::new(rule)).unwrap_or_default();
    text.push('\n');
    text
}
