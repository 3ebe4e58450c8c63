//! The report as one HTML file: no network, opens from disk under a strict policy, light and dark,
//! prints, searchable, with the topology and the timeline as pictures.
//!
//! The template escapes everything; only the style sheet and the script are put in as they are, and
//! the policy allows exactly these two by their digests.

use base64::Engine as _;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::layout::{COMMAND_LIMIT, count, cut, one_line, thousands};
use super::page::{Block, blocks};
use super::view::{Consequence, View, nothing_found};
use crate::redact::RedactedReport;
use crate::report::{Evidence, Finding, Report, Severity};
use crate::rules;

mod chart;
mod picture;

const TEMPLATE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// How much of a foreign text is shown, in columns.
const TEXT: usize = 600;
/// How many lines of a quotation.
const LINES: usize = 60;
/// How many consequences of one root are shown before the rest is folded.
const FOLDED: usize = 25;

#[derive(Serialize)]
struct Page {
    style: &'static str,
    script: &'static str,
    policy: String,
    title: String,
    cluster: String,
    line: Vec<String>,
    verdict: String,
    healthy: bool,
    tiles: Vec<Tile>,
    roots: Vec<Card>,
    loose: Vec<Card>,
    /// Consequences of one root that are shown before the rest is folded.
    folded: usize,
    picture: Option<picture::Picture>,
    chart: Option<chart::Chart>,
    coverage: CoverageView,
    pages: Vec<RulePage>,
}

#[derive(Serialize)]
struct Tile {
    number: String,
    label: String,
    class: &'static str,
}

#[derive(Serialize)]
struct Card {
    id: String,
    code: String,
    known: bool,
    name: String,
    severity: &'static str,
    title: String,
    note: String,
    effect: String,
    objects: Vec<String>,
    evidence: Vec<Fact>,
    consequences: Vec<Self>,
    fix: String,
    commands: Vec<String>,
    verify: Vec<String>,
    section: String,
}

#[derive(Serialize)]
struct Fact {
    place: String,
    path: String,
    note: String,
    value: String,
    quote: bool,
}

#[derive(Serialize)]
struct CoverageView {
    read: String,
    kinds: Vec<String>,
    decided: String,
    only: String,
    skipped: Vec<String>,
    suppressions: Vec<String>,
    questions: Vec<QuestionView>,
}

#[derive(Serialize)]
struct QuestionView {
    missing: String,
    how: String,
    codes: Vec<String>,
}

#[derive(Serialize)]
struct RulePage {
    code: &'static str,
    name: &'static str,
    blocks: Vec<BlockView>,
}

#[derive(Serialize)]
struct BlockView {
    kind: &'static str,
    /// Text and code in turns, beginning with text.
    runs: Vec<String>,
}

/// The report as one HTML file.
#[must_use]
pub fn html(report: &RedactedReport) -> String {
    let page = page(report);
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let rendered = environment
        .add_template("report.html", TEMPLATE)
        .and_then(|()| environment.get_template("report.html"))
        .and_then(|template| template.render(Value::from(Serde(&page))));
    // The template is a part of the program and is rendered by every test of this module.
    rendered.expect("the template fits its page")
}

fn page(report: &Report) -> Page {
    let view = View::new(report);
    let cluster = report.bundle.cluster.as_deref().map_or_else(
        || "a cluster that the bundle does not name".to_owned(),
        |name| cut(&one_line(name), 120).into_owned(),
    );
    let objects: usize = report.coverage.objects.values().sum();
    let (verdict, healthy) = verdict(report, &view);
    let mut codes: Vec<&str> = report.findings.iter().map(|finding| finding.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    Page {
        style: STYLE,
        script: SCRIPT,
        policy: format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
            digest(STYLE),
            digest(SCRIPT)
        ),
        title: format!("MCP gateway report: {cluster}"),
        cluster,
        line: vec![
            report.bundle.collected_at.as_deref().map_or_else(
                || "time of collection not known".to_owned(),
                |time| format!("collected {}", one_line(time)),
            ),
            format!("source: {}", one_line(&report.bundle.source)),
            format!(
                "{}, {}",
                count(objects, "object", "objects"),
                count(report.coverage.logs, "log", "logs")
            ),
            format!("{} {}", report.tool.name, report.tool.version),
        ],
        verdict,
        healthy,
        tiles: tiles(&view),
        roots: view
            .roots
            .iter()
            .map(|root| {
                let consequences = root.consequences.iter().map(consequence).collect();
                Card { consequences, effect: root.effect.clone(), ..card(root.finding) }
            })
            .collect(),
        folded: FOLDED,
        loose: view
            .loose
            .iter()
            .map(|finding| Card {
                note: format!("follows from {}, which is not shown", finding.caused_by.join(", ")),
                ..card(finding)
            })
            .collect(),
        picture: report.topology.as_ref().and_then(|topology| picture::picture(topology, report)),
        chart: chart::chart(report),
        coverage: coverage(report, &view),
        pages: codes.into_iter().filter_map(rule_page).collect(),
    }
}

/// `sha256-…`, as a content security policy names what it allows.
fn digest(text: &str) -> String {
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes())))
}

fn verdict(report: &Report, view: &View<'_>) -> (String, bool) {
    if report.findings.iter().any(|finding| finding.severity != Severity::Info) {
        let mut text = count(view.roots.len(), "root cause", "root causes");
        match view.consequences() {
            0 => {}
            number => text.push_str(&format!(" with {}", count(number, "consequence", "consequences"))),
        }
        return (text, false);
    }
    nothing_found(report)
}

fn tiles(view: &View<'_>) -> Vec<Tile> {
    let tile = |number: usize, label: &str, class| Tile {
        number: thousands(number),
        label: label.to_owned(),
        class,
    };
    let (errors, warnings) = (view.roots_of(Severity::Error), view.roots_of(Severity::Warning));
    let notes = view.roots_of(Severity::Info);
    // The roots by severity, as the text form counts them.
    vec![
        tile(view.roots.len(), if view.roots.len() == 1 { "root" } else { "roots" }, "plain"),
        tile(errors, if errors == 1 { "error" } else { "errors" }, "error"),
        tile(warnings, if warnings == 1 { "warning" } else { "warnings" }, "warning"),
        tile(notes, if notes == 1 { "note" } else { "notes" }, "info"),
        tile(
            view.questions.len(),
            if view.questions.len() == 1 { "open question" } else { "open questions" },
            "plain",
        ),
    ]
}

/// Foreign text of one line.
fn text(foreign: &str) -> String {
    cut(&one_line(foreign), TEXT).into_owned()
}

/// Foreign text of several lines.
fn lines(foreign: &str) -> String {
    let safe = crate::term::sanitize(foreign.trim_end());
    let all: Vec<&str> = safe.lines().collect();
    let kept = &all[all.len().saturating_sub(LINES)..];
    kept.iter().map(|line| super::layout::cut_end(line, TEXT)).collect::<Vec<_>>().join("\n")
}

/// A command, whole.
fn typed(command: &str) -> String {
    let safe = crate::term::sanitize(command.trim_end());
    safe.lines().map(|line| cut(line, COMMAND_LIMIT)).collect::<Vec<_>>().join("\n")
}

fn card(finding: &Finding) -> Card {
    let hidden = if finding.hidden_behind.is_empty() {
        String::new()
    } else {
        format!("hidden behind {}: shows once that is repaired", finding.hidden_behind.join(", "))
    };
    Card {
        id: finding.id.clone(),
        code: finding.code.clone(),
        known: rules::find(&finding.code).is_some(),
        name: finding.name.clone(),
        severity: finding.severity.as_str(),
        title: text(&finding.title),
        note: hidden,
        effect: String::new(),
        objects: finding.objects.iter().map(|object| text(&object.to_string())).collect(),
        evidence: finding.evidence.iter().map(fact).collect(),
        consequences: Vec::new(),
        fix: text(&finding.remedy.text),
        commands: finding.remedy.commands.iter().map(|command| typed(command)).collect(),
        verify: finding.remedy.verify.iter().map(|command| typed(command)).collect(),
        section: finding.section.clone(),
    }
}

fn consequence(consequence: &Consequence<'_>) -> Card {
    let mut card = card(consequence.finding);
    let mut notes: Vec<String> =
        Some(std::mem::take(&mut card.note)).filter(|note| !note.is_empty()).into_iter().collect();
    notes.extend(consequence.through.map(|through| format!("through {through}")));
    if !consequence.also.is_empty() {
        notes.push(format!("also because of {}", consequence.also.join(", ")));
    }
    card.note = notes.join("; ");
    card
}

fn fact(evidence: &Evidence) -> Fact {
    let value = evidence.value.as_deref().unwrap_or_default();
    let quote = value.trim_end().contains('\n');
    let file = cut(&one_line(&evidence.file), TEXT).into_owned();
    Fact {
        place: evidence.line.map_or(file.clone(), |line| format!("{file}:{line}")),
        path: evidence.path.as_deref().map(text).unwrap_or_default(),
        note: evidence.note.as_deref().map(text).unwrap_or_default(),
        value: if quote { lines(value) } else { text(value) },
        quote,
    }
}

fn coverage(report: &Report, view: &View<'_>) -> CoverageView {
    let coverage = &report.coverage;
    let objects: usize = coverage.objects.values().sum();
    let rules = coverage.rules_decided + coverage.rules_unknown;
    let mut kinds: Vec<(&String, &usize)> = coverage.objects.iter().collect();
    kinds.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    CoverageView {
        read: format!("{} and {}", count(objects, "object", "objects"), count(coverage.logs, "log", "logs")),
        kinds: kinds
            .into_iter()
            .map(|(kind, number)| format!("{} {}", thousands(*number), text(kind)))
            .collect(),
        decided: format!(
            "{} of {} decided everywhere",
            coverage.rules_decided,
            count(rules, "rule", "rules")
        ),
        only: coverage.only.join(", "),
        skipped: coverage.skipped.iter().map(|skipped| text(skipped)).collect(),
        suppressions: report.suppression_lines().map(|line| text(&line)).collect(),
        questions: view
            .questions
            .iter()
            .map(|question| QuestionView {
                missing: text(question.missing),
                how: typed(question.how),
                codes: question.codes.iter().map(|code| (*code).to_owned()).collect(),
            })
            .collect(),
    }
}

fn rule_page(code: &str) -> Option<RulePage> {
    let rule = rules::find(code)?;
    let runs = |text: &str| text.split('`').map(str::to_owned).collect::<Vec<_>>();
    let blocks = blocks(rule.page)
        .into_iter()
        .map(|block| match block {
            Block::Heading(text) => BlockView { kind: "heading", runs: runs(&text) },
            Block::Paragraph(text) => BlockView { kind: "paragraph", runs: runs(&text) },
            Block::Item(_, text) => BlockView { kind: "item", runs: runs(&text) },
            Block::Code(lines) | Block::Table(lines) => {
                BlockView { kind: "code", runs: vec![lines.join("\n")] }
            }
        })
        .collect();
    Some(RulePage { code: rule.code, name: rule.name, blocks })
}
