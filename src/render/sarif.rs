//! SARIF 2.1.0, for code scanning and viewers of findings.
//!
//! Own structures with the fields that we use; the names and section numbers are those of the
//! OASIS standard "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::layout::{cut, one_line};
use super::paint::address;
use crate::redact::RedactedReport;
use crate::report::{Evidence, Finding, Severity, Unknown};
use crate::rules::{self, Rule};

/// The base of all file addresses: the root of the bundle, wherever it is unpacked.
const BASE: &str = "BUNDLE";

/// The whole file (§3.13).
#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

/// One run of the tool (§3.14).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    invocations: [Invocation; 1],
    original_uri_base_ids: BTreeMap<&'static str, Base>,
    results: Vec<Outcome<'a>>,
    column_kind: &'static str,
}

/// §3.18
#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

/// §3.19
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'a> {
    name: &'a str,
    version: &'a str,
    semantic_version: &'a str,
    information_uri: &'static str,
    rules: Vec<Descriptor>,
}

/// A rule (§3.49).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    id: &'static str,
    name: String,
    short_description: Message,
    full_description: Message,
    help: Message,
    default_configuration: Configuration,
    properties: BTreeMap<&'static str, String>,
}

/// §3.50
#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

/// §3.11 and §3.12
#[derive(Serialize)]
struct Message {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    markdown: Option<String>,
}

/// §3.20
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_execution_notifications: Vec<Notification>,
}

/// What could not be decided, or not be read (§3.58).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification {
    level: &'static str,
    message: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<Reference>,
}

/// §3.52
#[derive(Serialize)]
struct Reference {
    id: String,
}

/// §3.14.14
#[derive(Serialize)]
struct Base {
    description: Message,
}

/// A result (§3.27).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    rule_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_index: Option<usize>,
    level: &'static str,
    message: Message,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Location>,
    partial_fingerprints: BTreeMap<&'static str, String>,
    properties: Properties<'a>,
}

/// What SARIF has no field for (§3.8).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'a> {
    id: &'a str,
    root: bool,
    caused_by: &'a [String],
    hidden_behind: &'a [String],
    remedy: &'a str,
    commands: &'a [String],
    verify: &'a [String],
}

/// §3.28
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    physical_location: PhysicalLocation,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

/// §3.29
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

/// §3.4
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
    uri_base_id: &'static str,
}

/// §3.30
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u64,
}

/// §3.33
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    name: String,
    fully_qualified_name: String,
    kind: &'static str,
}

/// The report as SARIF 2.1.0, pretty-printed.
#[must_use]
pub fn sarif(report: &RedactedReport) -> String {
    let mut codes: Vec<&'static Rule> =
        report.findings.iter().filter_map(|finding| rules::find(&finding.code)).collect();
    codes.extend(
        report.unknown.iter().flat_map(|unknown| &unknown.codes).filter_map(|code| rules::find(code)),
    );
    codes.sort_unstable_by_key(|rule| rule.code);
    codes.dedup_by_key(|rule| rule.code);

    let mut notifications: Vec<Notification> = report.unknown.iter().map(undecided).collect();
    notifications.extend(report.coverage.skipped.iter().map(|skipped| Notification {
        level: "warning",
        message: plain(format!("not read: {skipped}")),
        descriptor: None,
    }));
    notifications.extend(report.suppression_lines().map(|line| Notification {
        level: "note",
        message: plain(format!("suppression: {line}")),
        descriptor: None,
    }));
    let log = Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: &report.tool.name,
                    version: &report.tool.version,
                    semantic_version: &report.tool.version,
                    information_uri: env!("CARGO_PKG_REPOSITORY"),
                    rules: codes.iter().map(|rule| descriptor(rule)).collect(),
                },
            },
            invocations: [Invocation {
                execution_successful: true,
                tool_execution_notifications: notifications,
            }],
            original_uri_base_ids: [(
                BASE,
                Base { description: plain("The root of the bundle that was analyzed.".to_owned()) },
            )]
            .into(),
            results: report.findings.iter().map(|finding| outcome(finding, &codes)).collect(),
            column_kind: "utf16CodeUnits",
        }],
    };
    let mut text = serde_json::to_string_pretty(&log).unwrap_or_default();
    text.push('\n');
    text
}

fn plain(text: String) -> Message {
    Message { text, markdown: None }
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

fn descriptor(rule: &Rule) -> Descriptor {
    let page: String = rule
        .page
        .lines()
        .skip(1)
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line).trim_end()))
        .collect();
    let title = rule.title().trim().to_owned();
    Descriptor {
        id: rule.code,
        name: pascal_case(rule.name),
        short_description: plain(title.clone()),
        full_description: plain(title),
        help: Message { text: page.trim().to_owned(), markdown: Some(page.trim().to_owned()) },
        default_configuration: Configuration { level: level(rule.severity) },
        properties: [("section", rule.section.to_owned()), ("since", rule.since.to_owned())].into(),
    }
}

/// `RouteHostnameMismatch`: the form that SARIF asks for (§3.49.7).
fn pascal_case(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let mut chars = word.chars();
            chars
                .next()
                .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + chars.as_str())
        })
        .collect()
}

fn undecided(unknown: &Unknown) -> Notification {
    Notification {
        level: "note",
        message: plain(format!(
            "{} could not decide: {}. To know it: {}",
            unknown.codes.join(", "),
            unknown.missing,
            unknown.how_to_gather
        )),
        descriptor: unknown.codes.first().map(|code| Reference { id: code.clone() }),
    }
}

fn outcome<'a>(finding: &'a Finding, codes: &[&'static Rule]) -> Outcome<'a> {
    let logical: Vec<LogicalLocation> = finding
        .objects
        .iter()
        .map(|object| LogicalLocation {
            name: object.name.clone(),
            fully_qualified_name: format!(
                "{}/{}/{}/{}",
                object.api_version,
                object.kind,
                object.namespace.as_deref().unwrap_or_default(),
                object.name
            ),
            kind: "object",
        })
        .collect();
    let mut locations = finding.evidence.iter().map(location);
    let first = locations.next().map(|location| Location { logical_locations: logical, ..location });
    let mut text = finding.title.clone();
    if !finding.remedy.text.is_empty() {
        text.push_str(". To repair it: ");
        text.push_str(&finding.remedy.text);
    }
    Outcome {
        rule_id: &finding.code,
        rule_index: codes.iter().position(|rule| rule.code == finding.code),
        level: level(finding.severity),
        message: plain(text),
        locations: first.into_iter().collect(),
        related_locations: locations
            .enumerate()
            .map(|(at, location)| Location { id: Some(at + 1), ..location })
            .collect(),
        partial_fingerprints: [("mcpgwFinding/v1", fingerprint(finding))].into(),
        properties: Properties {
            id: &finding.id,
            root: finding.caused_by.is_empty(),
            caused_by: &finding.caused_by,
            hidden_behind: &finding.hidden_behind,
            remedy: &finding.remedy.text,
            commands: &finding.remedy.commands,
            verify: &finding.remedy.verify,
        },
    }
}

fn location(evidence: &Evidence) -> Location {
    let mut said = evidence.path.clone().unwrap_or_default();
    for (before, part) in [(": ", &evidence.value), (" - ", &evidence.note)] {
        if let Some(part) = part.as_deref().filter(|part| !part.is_empty()) {
            if !said.is_empty() {
                said.push_str(before);
            }
            said.push_str(&cut(&one_line(part), 1000));
        }
    }
    Location {
        id: None,
        physical_location: PhysicalLocation {
            artifact_location: ArtifactLocation { uri: relative(&evidence.file), uri_base_id: BASE },
            region: evidence.line.map(|start_line| Region { start_line }),
        },
        logical_locations: Vec::new(),
        message: Some(said).filter(|said| !said.is_empty()).map(plain),
    }
}

/// A path as a relative reference: what could be taken for a scheme or an authority is encoded.
fn relative(file: &str) -> String {
    address(file.trim_start_matches('/'))
        .replace(':', "%3A")
        .replace('[', "%5B")
        .replace(']', "%5D")
        .replace('^', "%5E")
        .replace('|', "%7C")
}

/// Tells the same finding in two reports, whatever else is in them.
fn fingerprint(finding: &Finding) -> String {
    let mut digest = Sha256::new();
    digest.update(finding.code.as_bytes());
    for object in &finding.objects {
        let group = object.api_version.split_once('/').map_or("", |(group, _)| group);
        for part in [group, &object.kind, object.namespace.as_deref().unwrap_or_default(), &object.name] {
            digest.update([0]);
            digest.update(part.as_bytes());
        }
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
