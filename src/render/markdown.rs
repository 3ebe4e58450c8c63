//! The report for a support case: Markdown of at most sixty lines, roots first.
//!
//! Everything foreign is escaped, or stands in a code span or a fence that it cannot close.

use std::fmt::Write as _;

use super::layout::{COMMAND_LIMIT, count, cut, one_line};
use super::view::{Root, View, nothing_found};
use crate::redact::RedactedReport;
use crate::report::{Evidence, Report, Severity};

/// The most lines that a case gets.
const LINES: usize = 60;
/// The most columns of one foreign text.
const TEXT: usize = 240;

/// The report as Markdown.
#[must_use]
pub fn markdown(report: &RedactedReport) -> String {
    let view = View::new(report);
    let head = head(report, &view);
    let foot = foot(report, &view);
    let room = LINES - head.len() - foot.len();
    let mut lines = head;
    lines.extend(roots(&view, room));
    lines.extend(foot);
    debug_assert!(lines.len() <= LINES, "the parts are cut to fit");
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn head(report: &Report, view: &View<'_>) -> Vec<String> {
    let mut counts = Vec::new();
    for (severity, one, many) in [
        (Severity::Error, "error", "errors"),
        (Severity::Warning, "warning", "warnings"),
        (Severity::Info, "note", "notes"),
    ] {
        match view.roots_of(severity) {
            0 => {}
            number => counts.push(count(number, one, many)),
        }
    }
    let title = if view.roots.is_empty() {
        match nothing_found(report) {
            (_, true) => "nothing wrong found".to_owned(),
            (text, false) => text,
        }
    } else {
        format!("{} ({})", count(view.roots.len(), "root cause", "root causes"), counts.join(", "))
    };
    let objects: usize = report.coverage.objects.values().sum();
    vec![
        format!("# MCP gateway: {title}"),
        String::new(),
        format!(
            "Cluster {}, collected {} ({}), {} and {}, analyzed by {} {}.",
            report.bundle.cluster.as_deref().map_or_else(|| "not named".to_owned(), code),
            report.bundle.collected_at.as_deref().map_or("at an unknown time", |time| time),
            text(&report.bundle.source),
            count(objects, "object", "objects"),
            count(report.coverage.logs, "log", "logs"),
            report.tool.name,
            report.tool.version
        ),
        String::new(),
    ]
}

/// The roots in the most detail that fits: as cards, shorter cards, or a list that is cut.
fn roots(view: &View<'_>, room: usize) -> Vec<String> {
    for (observations, consequences, commands) in [(6, 8, 12), (3, 4, 6), (2, 2, 3), (1, 1, 0)] {
        let lines: Vec<String> =
            view.roots.iter().flat_map(|root| card(root, observations, consequences, commands)).collect();
        if lines.len() <= room {
            return lines;
        }
    }
    let mut lines = Vec::new();
    for (at, root) in view.roots.iter().enumerate() {
        let left = view.roots.len() - at;
        if lines.len() + 2 >= room && left > 1 {
            lines.push(format!("- and {} more", count(left, "root cause", "root causes")));
            break;
        }
        let follows = match root.consequences.len() {
            0 => String::new(),
            number => format!(" ({} follow)", number),
        };
        let finding = root.finding;
        lines.push(format!(
            "- **{} {}** {}: {}{follows}",
            finding.id,
            finding.code,
            finding.severity.as_str(),
            text(&finding.title)
        ));
    }
    lines.push(String::new());
    lines
}

fn card(root: &Root<'_>, observations: usize, consequences: usize, commands: usize) -> Vec<String> {
    let finding = root.finding;
    let mut lines = vec![format!(
        "## {} {} {} ({})",
        finding.id,
        finding.code,
        text(&finding.title),
        finding.severity.as_str()
    )];
    if !finding.hidden_behind.is_empty() {
        lines.push(format!("- **hidden** behind {}", finding.hidden_behind.join(", ")));
    }
    for evidence in finding.evidence.iter().take(observations) {
        lines.push(format!("- {}", observation(evidence)));
    }
    match finding.evidence.len().saturating_sub(observations) {
        0 => {}
        more => lines.push(format!("- and {}", count(more, "more observation", "more observations"))),
    }
    if !root.effect.is_empty() {
        lines.push(format!("- **effect** on {}", root.effect));
    }
    for consequence in root.consequences.iter().take(consequences) {
        let finding = consequence.finding;
        lines.push(format!("- follows: {} {} {}", finding.id, finding.code, text(&finding.title)));
    }
    match root.consequences.len().saturating_sub(consequences) {
        0 => {}
        more => lines.push(format!("- and {}", count(more, "more consequence", "more consequences"))),
    }
    let mut fix = String::new();
    if !finding.remedy.text.is_empty() {
        let _ = write!(fix, "- **fix:** {}", text(&finding.remedy.text));
        lines.push(fix);
    }
    let typed: Vec<&str> = finding.remedy.commands.iter().flat_map(|command| command.lines()).collect();
    if !typed.is_empty() && typed.len() <= commands {
        let fence = "`".repeat(longest_run(&typed, '`').max(2) + 1);
        lines.push(fence.clone());
        lines.extend(typed.iter().map(|line| cut(&crate::term::sanitize(line), COMMAND_LIMIT).into_owned()));
        lines.push(fence);
    }
    lines.push(String::new());
    lines
}

fn observation(evidence: &Evidence) -> String {
    let place = match evidence.line {
        Some(line) => code(&format!("{}:{line}", evidence.file)),
        None => code(&evidence.file),
    };
    let mut said = String::new();
    if let Some(path) = &evidence.path {
        said.push_str(&code(path));
    }
    if let Some(value) = evidence.value.as_deref().filter(|value| !value.trim().is_empty()) {
        if !said.is_empty() {
            said.push_str(" = ");
        }
        said.push_str(&code(value));
    }
    if let Some(note) = &evidence.note {
        if !said.is_empty() {
            said.push_str(", ");
        }
        said.push_str(&text(note));
    }
    if said.is_empty() { place } else { format!("{said} ({place})") }
}

fn foot(report: &Report, view: &View<'_>) -> Vec<String> {
    let coverage = &report.coverage;
    let rules = coverage.rules_decided + coverage.rules_unknown;
    let mut lines = vec![
        "## Coverage".to_owned(),
        format!("- {} of {} decided everywhere", coverage.rules_decided, count(rules, "rule", "rules")),
    ];
    let shown = 4;
    for question in view.questions.iter().take(shown) {
        let codes = question.codes.iter().take(6).copied().collect::<Vec<_>>().join(", ");
        lines.push(format!(
            "- not known: {} ({codes}); to know it: {}",
            text(question.missing),
            code(question.how)
        ));
    }
    match view.questions.len().saturating_sub(shown) {
        0 => {}
        more => lines.push(format!("- and {}", count(more, "more open question", "more open questions"))),
    }
    for line in report.suppression_lines().take(3) {
        lines.push(format!("- suppressed: {}", text(&line)));
    }
    match report.suppressions.len().saturating_sub(3) {
        0 => {}
        more => lines.push(format!("- and {}", count(more, "more suppression", "more suppressions"))),
    }
    for skipped in coverage.skipped.iter().take(2) {
        lines.push(format!("- not read: {}", text(skipped)));
    }
    match coverage.skipped.len().saturating_sub(2) {
        0 => {}
        more => lines.push(format!("- and {} not read", count(more, "more part", "more parts"))),
    }
    if !view.loose.is_empty() {
        lines.push(format!(
            "- {} of causes that a filter hides",
            count(view.loose.len(), "finding is a consequence", "findings are consequences")
        ));
    }
    lines
}

/// Foreign text as Markdown that shows it and does nothing else.
fn text(foreign: &str) -> String {
    let line = one_line(foreign);
    let line = cut(&line, TEXT);
    let mut out = String::with_capacity(line.len() + 8);
    for c in line.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Nobody is to be called to a case by a name in an object.
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Foreign text as a code span.
fn code(foreign: &str) -> String {
    let line = one_line(foreign);
    let line = cut(&line, TEXT);
    if line.is_empty() {
        return "(empty)".to_owned();
    }
    let ticks = "`".repeat(longest_run(&[&line], '`') + 1);
    // A span that begins or ends with a tick needs spaces, which Markdown removes again.
    if line.starts_with('`') || line.ends_with('`') {
        format!("{ticks} {line} {ticks}")
    } else {
        format!("{ticks}{line}{ticks}")
    }
}

fn longest_run(lines: &[&str], wanted: char) -> usize {
    let mut longest = 0;
    for line in lines {
        let mut run = 0;
        for c in line.chars() {
            run = if c == wanted { run + 1 } else { 0 };
            longest = longest.max(run);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(
            text("<b>*x*</b> [a](b) @team\n# h"),
            "&lt;b&gt;\\*x\\*&lt;/b&gt; \\[a\\](b) &#64;team \\# h"
        );
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`a"), "`` `a ``");
        assert_eq!(code(""), "(empty)");
    }
}
