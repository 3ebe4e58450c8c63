//! The card of a root: what proves it, what follows from it, what to do, how to see that it worked.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{CARD, LABEL, Printer, follows, hidden};
use crate::render::layout::{TEXT_LIMIT, count, cut, cut_end, one_line, thousands, width, wrap};
use crate::render::paint::DIM;
use crate::render::view::{Consequence, Root};
use crate::report::{Evidence, Finding};

/// Roots of one code that are listed after its cards.
const LISTED: usize = 20;
/// Consequences that are listed under a root before they are counted by code.
const CONSEQUENCES: usize = 8;
/// Observations that are shown for a finding.
const OBSERVATIONS: usize = 6;
/// Lines of a quoted log.
const QUOTED_LINES: usize = 12;

impl Printer<'_> {
    pub(super) fn root(&mut self, root: &Root<'_>) {
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
        if !root.effect.is_empty() {
            self.part("effect", anstyle::Style::new(), &format!("on {}", root.effect));
        }
        self.consequences(&root.consequences);
        self.remedy(finding);
        let (program, dot) = (&self.options.program, self.options.dot());
        let text = format!("{program} {}{dot}{}{dot}section {}", finding.docs, finding.name, finding.section);
        self.part("more", DIM, &text);
    }

    /// Further roots of a code, after its cards: the same cause and the same remedy elsewhere.
    pub(super) fn more_roots(&mut self, more: &[&Root<'_>]) {
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
        let ids =
            |list: &[Consequence<'_>]| list.iter().map(|c| c.finding.id.len()).max().unwrap_or(0).max(3);
        if options.full || consequences.len() <= CONSEQUENCES {
            let ids = ids(consequences);
            for (at, consequence) in consequences.iter().enumerate() {
                self.consequence(if at == 0 { "therefore" } else { "" }, consequence, ids);
            }
            return;
        }
        // Too many to read one by one: the first few, then how many of each code.
        let shown = CONSEQUENCES - 3;
        let ids = ids(&consequences[..shown]);
        for (at, consequence) in consequences[..shown].iter().enumerate() {
            self.consequence(if at == 0 { "therefore" } else { "" }, consequence, ids);
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

    /// One of a list whose ids are so wide.
    fn consequence(&mut self, label: &str, consequence: &Consequence<'_>, ids: usize) {
        let options = self.options;
        let finding = consequence.finding;
        let lead = format!("{:<ids$} {}", finding.id, finding.code);
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
