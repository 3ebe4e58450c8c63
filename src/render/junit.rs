//! JUnit XML, for pipelines: a test case per rule, or per finding where a rule found something.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, Report as Suites, TestCase, TestCaseStatus, TestSuite};

use super::layout::one_line;
use crate::redact::RedactedReport;
use crate::report::{Evidence, Finding, Severity, Unknown};
use crate::rules;

/// The report as JUnit XML. Findings of the severity `fails` or worse are failures, others pass with
/// their text as output; rules that could not decide are skipped tests.
#[must_use]
pub fn junit(report: &RedactedReport, fails: Option<Severity>) -> String {
    let mut findings: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in &report.findings {
        findings.entry(&finding.code).or_default().push(finding);
    }
    let mut open: BTreeMap<&str, Vec<&Unknown>> = BTreeMap::new();
    for unknown in &report.unknown {
        for code in &unknown.codes {
            open.entry(code).or_default().push(unknown);
        }
    }
    // Rules that this version does not know may stand in a report too.
    let mut codes: BTreeMap<&str, &str> = rules::all()
        .iter()
        .filter(|rule| report.coverage.asked(rule.code, rule.name))
        .map(|rule| (rule.code, rule.name))
        .collect();
    for finding in &report.findings {
        codes.entry(&finding.code).or_insert(&finding.name);
    }
    let mut suites: BTreeMap<String, TestSuite> = BTreeMap::new();
    for (code, name) in codes {
        let section = section(code);
        let suite = suites.entry(section.clone()).or_insert_with(|| TestSuite::new(section));
        let label = format!("{code} {name}");
        let found = findings.remove(code).unwrap_or_default();
        let undecided = open.remove(code).unwrap_or_default();
        for finding in &found {
            suite.add_test_case(of_finding(finding, &label, fails));
        }
        if !undecided.is_empty() {
            let mut status = TestCaseStatus::skipped();
            let reasons: Vec<String> = undecided
                .iter()
                .map(|unknown| format!("{}; to know it: {}", unknown.missing, unknown.how_to_gather))
                .collect();
            status.set_message(one_line(&format!("cannot tell: {}", reasons.join("; "))));
            suite.add_test_case(case(&label, code, status));
        } else if found.is_empty() {
            suite.add_test_case(case(&label, code, TestCaseStatus::success()));
        }
    }
    // What was left out on purpose belongs to no test; it stands with the first suite.
    let left_out: Vec<String> = report.suppression_lines().map(|line| one_line(&line)).collect();
    if let (Some(suite), false) = (suites.values_mut().next(), left_out.is_empty()) {
        suite.set_system_out(format!("suppressions:\n{}", left_out.join("\n")));
    }
    let mut report = Suites::new(&report.tool.name);
    report.add_test_suites(suites.into_values());
    let mut text = without_skipped(report.to_string().unwrap_or_default());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Takes the count of skipped tests off the root element: the schema of Jenkins' xUnit plugin, by
/// which other readers go too, has it on the suites only.
fn without_skipped(mut text: String) -> String {
    let root = text.find("<testsuites").and_then(|start| {
        let end = start + text[start..].find('>')?;
        let skipped = start + text[start..end].find(" skipped=\"")?;
        let value = skipped + " skipped=\"".len();
        Some(skipped..value + text[value..end].find('"')? + 1)
    });
    if let Some(attribute) = root {
        text.replace_range(attribute, "");
    }
    text
}

/// The suite of a code: the section of the catalogue that its first digit names.
fn section(code: &str) -> String {
    match code.get(2..3) {
        Some("0") => "bundle".to_owned(),
        Some(digit) => format!("section 1.{digit}"),
        None => "other".to_owned(),
    }
}

fn case(name: &str, code: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("mcpgw.{code}"));
    case
}

fn of_finding(finding: &Finding, label: &str, fails: Option<Severity>) -> TestCase {
    let subject = finding.objects.first().map(ToString::to_string).unwrap_or_default();
    let name = format!("{label}: {}", one_line(&subject));
    let description = description(finding);
    if fails.is_some_and(|worst| finding.severity <= worst) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status
            .set_message(one_line(&finding.title))
            .set_type(finding.severity.as_str())
            .set_description(description);
        case(&name, &finding.code, status)
    } else {
        let mut case = case(&name, &finding.code, TestCaseStatus::success());
        let title = one_line(&finding.title);
        case.set_system_out(format!("{}: {title}\n{description}", finding.severity.as_str()));
        case
    }
}

fn description(finding: &Finding) -> String {
    let mut lines = vec![format!("{} {} {}", finding.id, finding.code, finding.title)];
    if !finding.caused_by.is_empty() {
        lines.push(format!("follows from {}", finding.caused_by.join(", ")));
    }
    if !finding.hidden_behind.is_empty() {
        lines.push(format!("hidden behind {}", finding.hidden_behind.join(", ")));
    }
    lines.extend(finding.evidence.iter().map(observation));
    if !finding.remedy.text.is_empty() {
        lines.push(format!("fix: {}", finding.remedy.text));
    }
    lines.extend(finding.remedy.commands.iter().map(|command| format!("  {command}")));
    crate::term::sanitize(&lines.join("\n")).into_owned()
}

fn observation(evidence: &Evidence) -> String {
    let mut line = format!("because {}", evidence.file);
    if let Some(number) = evidence.line {
        line.push_str(&format!(":{number}"));
    }
    for part in [&evidence.path, &evidence.value, &evidence.note].into_iter().flatten() {
        line.push(' ');
        line.push_str(part);
    }
    line
}
