//! The report for a terminal: roots first, each with what proves it, what follows from it, what to
//! do and how to see that it worked; then what could not be known, and what to type next.
//!
//! Commands stand on lines of their own, indented by spaces only and never broken, so that they
//! can be copied.

mod card;
mod ending;

use std::collections::{BTreeMap, HashSet};

use super::layout::{COMMAND_LIMIT, TEXT_LIMIT, count, cut, one_line, thousands, width, wrap};
use super::paint::{BOLD, CYAN, DIM, GREEN, RED, TextOptions, YELLOW};
use super::view::{Root, View, nothing_found};
use crate::redact::RedactedReport;
use crate::report::{Finding, Report, Severity};

/// Roots of one code that get a whole card; further ones are listed unless much follows from them.
const CARDS_PER_CODE: usize = 3;
/// Roots of one code that get a card because much follows from them.
const GRAVE_CARDS_PER_CODE: usize = 10;
/// From so many consequences on it is much.
const GRAVE: usize = 3;
/// Where the text of a card begins, and where its words begin after the label.
const CARD: usize = 4;
const LABEL: usize = 11;

/// The report for people.
#[must_use]
pub fn text(report: &RedactedReport, options: &TextOptions) -> String {
    let view = View::new(report);
    let mut printer = Printer { options, out: String::new() };
    printer.header(report);
    printer.verdict(report, &view);
    let folded = folded(&view, options);
    for root in &view.roots {
        let id = root.finding.id.as_str();
        // Told in the list under the last card of the code.
        if folded.listed.contains(id) {
            continue;
        }
        printer.root(root);
        let code = root.finding.code.as_str();
        if let Some(more) = folded.more.get(code).filter(|_| folded.last_card.get(code) == Some(&id)) {
            printer.more_roots(more);
        }
    }
    printer.loose(&view);
    printer.coverage(report, &view);
    printer.next(report, &view);
    printer.out
}

/// Which roots get no card of their own.
#[derive(Default)]
struct Folded<'a> {
    /// The roots that are only listed, by code.
    more: BTreeMap<&'a str, Vec<&'a Root<'a>>>,
    /// Their ids.
    listed: HashSet<&'a str>,
    /// The last root of each code that has a card.
    last_card: BTreeMap<&'a str, &'a str>,
}

/// Folds the roots beyond the first cards of their code.
fn folded<'a>(view: &'a View<'a>, options: &TextOptions) -> Folded<'a> {
    let mut folded = Folded::default();
    if options.full {
        return folded;
    }
    let mut cards: BTreeMap<&str, usize> = BTreeMap::new();
    for root in &view.roots {
        let (code, id) = (root.finding.code.as_str(), root.finding.id.as_str());
        let number = cards.entry(code).or_default();
        let cards = if root.consequences.len() < GRAVE { CARDS_PER_CODE } else { GRAVE_CARDS_PER_CODE };
        if *number >= cards {
            folded.more.entry(code).or_default().push(root);
        } else {
            *number += 1;
            folded.last_card.insert(code, id);
        }
    }
    // A list of one is no shorter than its card.
    folded.more.retain(|_, more| more.len() > 1);
    folded.listed = folded.more.values().flatten().map(|root| root.finding.id.as_str()).collect();
    folded
}

/// The roots in one line each, for the end of `gather`: what is wrong, and where to read more.
#[must_use]
pub fn roots(report: &RedactedReport, options: &TextOptions) -> String {
    let view = View::new(report);
    let mut printer = Printer { options, out: String::new() };
    printer.verdict(report, &view);
    if !view.roots.is_empty() {
        printer.line("");
    }
    for root in &view.roots {
        printer.title(root.finding, 0, &follows(root));
    }
    printer.out
}

struct Printer<'a> {
    options: &'a TextOptions,
    out: String,
}

impl Printer<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    /// Parts of a line with dots between them, broken only at the dots.
    fn parts(&mut self, parts: &[(String, anstyle::Style)]) {
        let dot = self.options.dot();
        let mut line = String::new();
        let mut columns = 0;
        for (part, style) in parts {
            if columns > 0 && columns + width(dot) + width(part) > self.options.width {
                self.line(&std::mem::take(&mut line));
                columns = 0;
            }
            if columns > 0 {
                line.push_str(&self.options.paint(DIM, dot));
                columns += width(dot);
            }
            line.push_str(&self.options.paint(*style, part));
            columns += width(part);
        }
        self.line(&line);
    }

    /// Wrapped text behind an indentation, in one style.
    fn wrapped(&mut self, indent: usize, style: anstyle::Style, text: &str) {
        for line in wrap(text, self.options.width.saturating_sub(indent)) {
            let painted = self.options.paint(style, &line);
            self.line(&format!("{:indent$}{painted}", ""));
        }
    }

    /// A part of a card: the label on its first line, the words beside it.
    fn part(&mut self, label: &str, style: anstyle::Style, text: &str) {
        let lines = wrap(text, self.options.width.saturating_sub(CARD + LABEL));
        for (at, line) in lines.iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            let gap = LABEL.saturating_sub(width(label));
            let label = self.options.paint(DIM, label);
            let painted = self.options.paint(style, line);
            self.line(&format!("{:CARD$}{label}{:gap$}{painted}", "", ""));
        }
    }

    /// A command on a line of its own; its own line breaks stay.
    fn command(&mut self, indent: usize, command: &str) {
        for line in crate::term::sanitize(command).lines() {
            let painted = self.options.paint(CYAN, &cut(line, COMMAND_LIMIT));
            self.line(&format!("{:indent$}{painted}", ""));
        }
    }

    fn header(&mut self, report: &Report) {
        let mut parts = vec![format!("{} {}", report.tool.name, report.tool.version)];
        match &report.bundle.cluster {
            Some(cluster) => parts.push(format!("cluster {}", cut(&one_line(cluster), 120))),
            None => parts.push("cluster not named in the bundle".to_owned()),
        }
        match &report.bundle.collected_at {
            Some(time) => parts.push(format!("collected {time}")),
            None => parts.push("time of collection not known".to_owned()),
        }
        parts.push(match report.bundle.source.as_str() {
            "files" => "from loose files".to_owned(),
            source => format!("from a {source} bundle"),
        });
        let objects: usize = report.coverage.objects.values().sum();
        parts.push(format!(
            "{}, {}",
            count(objects, "object", "objects"),
            count(report.coverage.logs, "log", "logs")
        ));
        let parts: Vec<_> = parts.into_iter().map(|part| (part, DIM)).collect();
        self.parts(&parts);
        self.line("");
    }

    fn verdict(&mut self, report: &Report, view: &View<'_>) {
        let plain = anstyle::Style::new();
        let mut parts = Vec::new();
        // Notes alone do not say that anything is wrong.
        if report.findings.iter().all(|finding| finding.severity == Severity::Info) {
            parts.push(match nothing_found(report) {
                (text, true) => (format!("{} {text}", self.options.symbol("✓", "ok:")), GREEN),
                (text, false) => (text, YELLOW),
            });
            match report.findings.len() {
                0 => {}
                number => parts.push((count(number, "note", "notes"), BOLD)),
            }
        } else {
            parts.push((count(view.roots.len(), "root cause", "root causes"), BOLD));
            for (severity, style, one, many) in [
                (Severity::Error, RED, "error", "errors"),
                (Severity::Warning, YELLOW, "warning", "warnings"),
                (Severity::Info, BOLD, "note", "notes"),
            ] {
                match view.roots_of(severity) {
                    0 => {}
                    number => parts.push((count(number, one, many), style)),
                }
            }
            match view.consequences() {
                0 => {}
                number => parts.push((count(number, "consequence", "consequences"), plain)),
            }
            match view.loose.len() {
                0 => {}
                number => {
                    let consequences = count(number, "consequence", "consequences");
                    parts.push((format!("{consequences} of a cause that is not shown"), plain));
                }
            }
        }
        match report.suppressed() {
            0 => {}
            number => parts.push((format!("{} suppressed", thousands(number)), plain)),
        }
        match view.questions.len() {
            0 => {}
            number => {
                let questions = count(number, "question", "questions");
                parts.push((format!("{questions} open, see COVERAGE"), plain));
            }
        }
        self.parts(&parts);
    }

    /// `✗ R1  MG101  title`, wrapped under the title.
    fn title(&mut self, finding: &Finding, indent: usize, rest: &str) {
        let options = self.options;
        let lead = format!("{:<3} {}", finding.id, finding.code);
        let hang = indent + 2 + width(&lead) + 2;
        let title = format!("{}{rest}", cut(&one_line(&finding.title), TEXT_LIMIT));
        for (at, line) in wrap(&title, options.width.saturating_sub(hang)).iter().enumerate() {
            let painted = options.paint(BOLD, line);
            if at == 0 {
                let lead = options.paint(BOLD, &lead);
                self.line(&format!("{:indent$}{} {lead}  {painted}", "", options.mark(finding.severity)));
            } else {
                self.line(&format!("{:hang$}{painted}", ""));
            }
        }
    }

    fn loose(&mut self, view: &View<'_>) {
        if view.loose.is_empty() {
            return;
        }
        self.line("");
        let heading = self.options.paint(BOLD, "CAUSE NOT SHOWN");
        self.line(&heading);
        self.wrapped(2, DIM, "A filter or a suppression hides the findings that these follow from.");
        for finding in &view.loose {
            self.title(finding, 2, &format!(" (follows from {})", finding.caused_by.join(", ")));
        }
    }
}

/// How much follows from a root, where that is not listed.
fn follows(root: &Root<'_>) -> String {
    match root.consequences.len() {
        0 => String::new(),
        number => format!(" ({})", count(number, "consequence", "consequences")),
    }
}

fn hidden(finding: &Finding) -> String {
    if finding.hidden_behind.is_empty() {
        return String::new();
    }
    format!(" [HIDDEN behind {}: shows once that is repaired]", finding.hidden_behind.join(", "))
}
