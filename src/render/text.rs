//! The report for a terminal: roots first, each with what proves it, what follows from it, what to
//! do and how to see that it worked; then what could not be known, and what to type next.
//!
//! Commands stand on lines of their own, indented by spaces only and never broken, so that they
//! can be copied.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use super::layout::{COMMAND_LIMIT, TEXT_LIMIT, count, cut, cut_end, one_line, thousands, width, wrap};
use super::paint::{BOLD, CYAN, DIM, GREEN, RED, TextOptions, YELLOW};
use super::view::{Consequence, Question, Root, View};
use crate::redact::RedactedReport;
use crate::report::{Evidence, Finding, Report, Severity};

/// Roots of one code that get a whole card; further ones are listed unless much follows from them.
const CARDS_PER_CODE: usize = 3;
/// Roots of one code that get a card because much follows from them.
const GRAVE_CARDS_PER_CODE: usize = 10;
/// From so many consequences on it is much.
const GRAVE: usize = 3;
/// Roots that are listed so.
const LISTED: usize = 20;
/// Consequences that are listed under a root before they are counted by code.
const CONSEQUENCES: usize = 8;
/// Observations that are shown for a finding.
const OBSERVATIONS: usize = 6;
/// Lines of a quoted log.
const QUOTED_LINES: usize = 12;
/// Open questions that are listed.
const QUESTIONS: usize = 8;
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
            let decided = report.coverage.rules_decided;
            if report.coverage.objects.is_empty() || decided == 0 {
                let text = "Nothing could be decided: the bundle holds no evidence that a rule needs";
                parts.push((text.to_owned(), YELLOW));
            } else {
                let mark = self.options.symbol("✓", "ok:");
                let rules = count(decided, "rule", "rules");
                parts.push((format!("{mark} {rules} found nothing wrong"), GREEN));
            }
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

    fn root(&mut self, root: &Root<'_>) {
        let finding = root.finding;
        self.line("");
        let hidden = hidden(finding);
        self.title(finding, 0, &hidden);
        let shown = if self.options.full { usize::MAX } else { OBSERVATIONS };
        for (at, evidence) in finding.evidence.iter().take(shown).enumerate() {
            self.observation(if at == 0 { "because" } else { "" }, evidence);
        }
        let more = finding.evidence.len().saturating_sub(shown);
        if more > 0 {
            self.part("", DIM, &format!("and {}", count(more, "more observation", "more observations")));
        }
        self.consequences(&root.consequences);
        self.remedy(finding);
        let (program, dot) = (&self.options.program, self.options.dot());
        let text = format!("{program} {}{dot}{}{dot}section {}", finding.docs, finding.name, finding.section);
        self.part("more", DIM, &text);
    }

    /// Further roots of a code, after its cards: the same cause and the same remedy elsewhere.
    fn more_roots(&mut self, more: &[&Root<'_>]) {
        let Some(first) = more.first() else { return };
        self.line("");
        let text = format!(
            "and {} more of {} {} (--verbose shows them whole)",
            thousands(more.len()),
            first.finding.code,
            first.finding.name
        );
        self.wrapped(CARD, DIM, &text);
        for root in more.iter().take(LISTED) {
            self.title(root.finding, CARD, &format!("{}{}", hidden(root.finding), follows(root)));
        }
        if more.len() > LISTED {
            self.wrapped(CARD, DIM, &format!("and {} more", thousands(more.len() - LISTED)));
        }
    }

    fn observation(&mut self, label: &str, evidence: &Evidence) {
        let fact = fact(evidence);
        match &fact {
            Fact::Line(text) => self.part(label, anstyle::Style::new(), text),
            Fact::Quote(note, lines) => {
                self.part(label, anstyle::Style::new(), note);
                let keep = if self.options.full { usize::MAX } else { QUOTED_LINES };
                let indent = CARD + LABEL + 2;
                let limit = self.options.width.saturating_sub(indent + 2).max(40);
                for line in &lines[lines.len().saturating_sub(keep)..] {
                    let bar = self.options.paint(DIM, self.options.symbol("│", "|"));
                    self.line(&format!("{:indent$}{bar} {}", "", cut_end(line, limit)));
                }
            }
        }
        self.pointer(evidence);
    }

    /// `file:LINE  field`, on one line where it fits.
    fn pointer(&mut self, evidence: &Evidence) {
        let options = self.options;
        let indent = CARD + LABEL + 2;
        let file = cut(&one_line(&evidence.file), TEXT_LIMIT).into_owned();
        let place = match evidence.line {
            Some(line) => format!("{file}:{line}"),
            None => file,
        };
        let path = evidence.path.as_deref().map(|path| cut(&one_line(path), TEXT_LIMIT).into_owned());
        let painted = options.link(&evidence.file, options.paint(DIM, &place));
        match path {
            Some(path) if indent + width(&place) + 2 + width(&path) <= options.width => {
                let path = options.paint(DIM, &path);
                self.line(&format!("{:indent$}{painted}  {path}", ""));
            }
            Some(path) => {
                self.line(&format!("{:indent$}{painted}", ""));
                let path = options.paint(DIM, &path);
                self.line(&format!("{:indent$}  {path}", ""));
            }
            None => self.line(&format!("{:indent$}{painted}", "")),
        }
    }

    fn consequences(&mut self, consequences: &[Consequence<'_>]) {
        if consequences.is_empty() {
            return;
        }
        let options = self.options;
        if options.full || consequences.len() <= CONSEQUENCES {
            for (at, consequence) in consequences.iter().enumerate() {
                self.consequence(if at == 0 { "therefore" } else { "" }, consequence);
            }
            return;
        }
        // Too many to read one by one: the first few, then how many of each code.
        let shown = CONSEQUENCES - 3;
        for (at, consequence) in consequences[..shown].iter().enumerate() {
            self.consequence(if at == 0 { "therefore" } else { "" }, consequence);
        }
        let mut codes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for consequence in &consequences[shown..] {
            *codes.entry((&consequence.finding.code, &consequence.finding.name)).or_default() += 1;
        }
        let more = thousands(consequences.len() - shown);
        let text = if let [((code, name), _)] = codes.iter().collect::<Vec<_>>().as_slice() {
            format!("and {more} more of {code} {name}")
        } else {
            let rest: Vec<String> = codes
                .into_iter()
                .map(|((code, name), number)| format!("{} {code} {name}", thousands(number)))
                .collect();
            format!("and {more} more: {}", rest.join(", "))
        };
        self.part("", DIM, &text);
    }

    fn consequence(&mut self, label: &str, consequence: &Consequence<'_>) {
        let options = self.options;
        let finding = consequence.finding;
        let lead = format!("{:<3} {}", finding.id, finding.code);
        let hang = CARD + LABEL + 2 + width(&lead) + 2;
        let mut text = cut(&one_line(&finding.title), TEXT_LIMIT).into_owned();
        text.push_str(&hidden(finding));
        if let Some(through) = consequence.through {
            let _ = write!(text, " (through {through})");
        }
        if !consequence.also.is_empty() {
            let _ = write!(text, " (also because of {})", consequence.also.join(", "));
        }
        for (at, line) in wrap(&text, options.width.saturating_sub(hang)).iter().enumerate() {
            if at == 0 {
                let gap = LABEL.saturating_sub(width(label));
                let label = options.paint(DIM, label);
                let mark = options.mark(finding.severity);
                self.line(&format!("{:CARD$}{label}{:gap$}{mark} {lead}  {line}", "", ""));
            } else {
                self.line(&format!("{:hang$}{line}", ""));
            }
        }
    }

    fn remedy(&mut self, finding: &Finding) {
        let text = one_line(&finding.remedy.text);
        if !text.is_empty() {
            self.part("fix", anstyle::Style::new(), &cut(&text, 3 * TEXT_LIMIT));
        }
        for command in &finding.remedy.commands {
            self.command(CARD + LABEL + 2, command);
        }
        for (at, command) in finding.remedy.verify.iter().enumerate() {
            if at == 0 {
                self.part("verify", anstyle::Style::new(), "repaired when this succeeds or shows it:");
            }
            self.command(CARD + LABEL + 2, command);
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

    fn coverage(&mut self, report: &Report, view: &View<'_>) {
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

    fn next(&mut self, report: &Report, view: &View<'_>) {
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
            let serve = format!("{program} serve {bundle} -- oc get mcpsr,mcpge,gateway,httproute -A");
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

/// What was observed, in words.
enum Fact {
    Line(String),
    /// A quotation of several lines and what it is.
    Quote(String, Vec<String>),
}

fn fact(evidence: &Evidence) -> Fact {
    let note = evidence.note.as_deref().map(one_line).unwrap_or_default();
    let field = evidence.path.as_deref().map(field_name).unwrap_or_default();
    let value = evidence.value.as_deref().unwrap_or_default();
    if value.trim_end().contains('\n') {
        let heading = if note.is_empty() { field } else { note };
        let heading = if heading.is_empty() { "it says".to_owned() } else { heading };
        let lines =
            crate::term::sanitize(value.trim_end()).lines().map(|line| line.replace('\t', "    ")).collect();
        return Fact::Quote(format!("{heading}:"), lines);
    }
    let value = cut(&one_line(value), TEXT_LIMIT).into_owned();
    let note = cut(&note, TEXT_LIMIT).into_owned();
    Fact::Line(match (field.is_empty(), value.is_empty(), note.is_empty()) {
        (false, false, true) => format!("{field}: {value}"),
        (false, false, false) => format!("{field}: {value} ({note})"),
        (false, true, false) if note == "absent" => format!("{field} is absent"),
        (false, true, false) => format!("{field}: {note}"),
        (true, false, false) => format!("{note}: {value}"),
        (true, false, true) => value,
        (true, true, false) => note,
        (false, true, true) => format!("{field} is empty"),
        (true, true, true) => "see".to_owned(),
    })
}

/// The end of a field path that still says something: `waiting.reason`, `hostnames[0]`.
fn field_name(path: &str) -> String {
    let path = one_line(path);
    let last = path.rsplit('.').next().unwrap_or(&path);
    let name = if path.ends_with("']") {
        path.rsplit("['").next().map_or(path.as_str(), |key| key.trim_end_matches("']"))
    } else {
        last
    };
    cut(name, 80).into_owned()
}
