//! The end of the report: what was read, what could not be known, and what to type next.

use std::fmt::Write as _;

use super::{LABEL, Printer};
use crate::render::layout::{TEXT_LIMIT, count, cut, one_line, thousands, width, wrap};
use crate::render::paint::{BOLD, CYAN, DIM};
use crate::render::view::{Question, View};
use crate::report::Report;
use crate::shell::for_program;

/// Open questions that are listed.
const QUESTIONS: usize = 8;

impl Printer<'_> {
    pub(super) fn coverage(&mut self, report: &Report, view: &View<'_>) {
        let options = self.options;
        let coverage = &report.coverage;
        self.line("");
        self.line(&options.paint(BOLD, "COVERAGE"));
        let objects: usize = coverage.objects.values().sum();
        let mut kinds: Vec<(&str, usize)> =
            coverage.objects.iter().map(|(kind, number)| (kind.as_str(), *number)).collect();
        kinds.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let limit = if options.full { usize::MAX } else { 8 };
        let mut named: Vec<String> = kinds
            .iter()
            .take(limit)
            .map(|(kind, number)| format!("{} {}", thousands(*number), cut(&one_line(kind), 60)))
            .collect();
        if kinds.len() > limit {
            named.push(format!("{} more kinds", kinds.len() - limit));
        }
        let mut read = count(objects, "object", "objects");
        if !named.is_empty() {
            let _ = write!(read, " ({})", named.join(", "));
        }
        let _ = write!(read, " and {}", count(coverage.logs, "log", "logs"));
        self.fact("read", &read);
        let rules = coverage.rules_decided + coverage.rules_unknown;
        let mut decided = format!("{} of {}", coverage.rules_decided, count(rules, "rule", "rules"));
        if coverage.rules_unknown > 0 {
            let _ = write!(
                decided,
                "; {} lacked evidence somewhere",
                count(coverage.rules_unknown, "rule", "rules")
            );
        }
        self.fact("decided", &decided);
        let limit = if options.full { usize::MAX } else { QUESTIONS };
        for (at, skipped) in coverage.skipped.iter().take(limit).enumerate() {
            let text = cut(&one_line(skipped), TEXT_LIMIT).into_owned();
            self.fact(if at == 0 { "not read" } else { "" }, &text);
        }
        self.more_of(coverage.skipped.len(), limit);
        let suppressions: Vec<String> = report.suppression_lines().collect();
        for (at, line) in suppressions.iter().take(limit).enumerate() {
            let text = cut(&one_line(line), TEXT_LIMIT).into_owned();
            self.fact(if at == 0 { "suppressed" } else { "" }, &text);
        }
        self.more_of(suppressions.len(), limit);
        for (at, question) in view.questions.iter().take(limit).enumerate() {
            self.question(if at == 0 { "unknown" } else { "" }, question);
        }
        self.more_of(view.questions.len(), limit);
    }

    fn more_of(&mut self, all: usize, limit: usize) {
        if all > limit {
            let text = format!("and {} more (--verbose lists them)", thousands(all - limit));
            self.fact("", &text);
        }
    }

    /// A line of the COVERAGE section.
    fn fact(&mut self, label: &str, text: &str) {
        let indent = 2 + LABEL;
        for (at, line) in wrap(text, self.options.width.saturating_sub(indent)).iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            let gap = LABEL.saturating_sub(width(label));
            let label = self.options.paint(DIM, label);
            self.line(&format!("  {label}{:gap$}{line}", ""));
        }
    }

    fn question(&mut self, label: &str, question: &Question<'_>) {
        let missing = cut(&one_line(question.missing), TEXT_LIMIT).into_owned();
        let mut codes = question.codes.iter().take(6).copied().collect::<Vec<_>>().join(", ");
        if question.codes.len() > 6 {
            let _ = write!(codes, " and {} more", question.codes.len() - 6);
        }
        self.fact(label, &format!("{missing} ({codes} undecided)"));
        self.command(2 + LABEL + 2, question.how);
    }

    pub(super) fn next(&mut self, report: &Report, view: &View<'_>) {
        let options = self.options;
        let program = &options.program;
        let mut commands = Vec::new();
        if let Some(root) = view.roots.first() {
            commands.push((format!("{program} {}", root.finding.docs), "the page of the first root"));
        }
        if let Some(bundle) = &options.bundle {
            let bundle = quoted(bundle);
            if !report.findings.is_empty() && !options.full {
                commands.push((format!("{program} analyze {bundle} --verbose"), "nothing folded or cut"));
            }
            let page = format!("{program} analyze {bundle} -o html --output-file report.html");
            commands.push((page, "the same with pictures, in one file"));
            let look = for_program(program, "oc get mcpsr,mcpge,gateway,httproute -A");
            let serve = format!("{program} serve {bundle} -- {look}");
            commands.push((serve, "look around as if it were the cluster"));
        }
        if commands.is_empty() {
            return;
        }
        self.line("");
        self.line(&options.paint(BOLD, "NEXT"));
        let widest = commands.iter().map(|(command, _)| width(command)).max().unwrap_or_default();
        for (command, why) in commands {
            let gap = widest - width(&command) + 2;
            let painted = options.paint(CYAN, &command);
            if 2 + widest + 4 + width(why) <= options.width {
                self.line(&format!("  {painted}{:gap$}{}", "", options.paint(DIM, &format!("# {why}"))));
            } else {
                self.line(&format!("  {painted}"));
            }
        }
    }
}

/// A file name as a word of a shell command.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@+,~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", crate::term::sanitize(word).replace('\'', "'\\''"))
    }
}
