//! The report of an analysis, `mcpgw.report/v1`: what `analyze -o json` prints and what
//! `mcpgw/analysis/report.json` holds. Rules make it, renderers print it; nothing is computed here.
//!
//! A reader of an older version ignores fields it does not know; fields are added, never
//! renamed or given another meaning.

use serde::{Deserialize, Serialize};

/// The value of [`Report::schema_version`].
pub const SCHEMA_VERSION: &str = "mcpgw.report/v1";

/// Everything that an analysis of one bundle found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// The program that made the report.
    pub tool: Tool,
    /// The bundle that was read.
    pub bundle: BundleInfo,
    /// The counts.
    pub summary: Summary,
    /// Sorted: roots first, then severity, code, object.
    pub findings: Vec<Finding>,
    /// What could not be decided for want of evidence.
    pub unknown: Vec<Unknown>,
    /// How many rules ran and decided, and what was looked at: the context of "no findings".
    pub coverage: Coverage,
    /// What the user asked to leave out, and what came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressions: Vec<Suppression>,
    /// The objects that matter to the gateway and what needs what, for a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// What happened when, oldest first, for a picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Moment>,
}

impl Report {
    /// Counts the findings and the open questions anew, after some were left out.
    pub fn count(&mut self) {
        let of = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        self.summary = Summary {
            errors: of(Severity::Error),
            warnings: of(Severity::Warning),
            infos: of(Severity::Info),
            roots: self.findings.iter().filter(|finding| finding.caused_by.is_empty()).count(),
            unknown: self.unknown.len(),
        };
    }
}

/// The program that made a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// Always `oc-mcpgw`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Where the evidence came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleInfo {
    /// The cluster's name, where the bundle tells it.
    pub cluster: Option<String>,
    /// When the evidence was collected, RFC 3339; the time that ages and expiries refer to.
    pub collected_at: Option<String>,
    /// `gather`, `must-gather` or `files`.
    pub source: String,
}

/// The counts of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Findings of severity error.
    pub errors: usize,
    /// Findings of severity warning.
    pub warnings: usize,
    /// Findings of severity info.
    pub infos: usize,
    /// Findings that no other finding causes.
    pub roots: usize,
    /// Entries of [`Report::unknown`].
    pub unknown: usize,
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Rules that reached a verdict everywhere they applied.
    pub rules_decided: usize,
    /// Rules that lacked evidence somewhere.
    pub rules_unknown: usize,
    /// Objects read, by kind.
    pub objects: std::collections::BTreeMap<String, usize>,
    /// Log files read.
    pub logs: usize,
    /// Parts of the input that could not be read, one line each.
    pub skipped: Vec<String>,
    /// The codes, code prefixes or names that were asked for; empty when all were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// The least severity that was asked for; absent when all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

impl Coverage {
    /// Whether this rule was asked for.
    #[must_use]
    pub fn asked(&self, code: &str, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|typed| means(typed, code, name))
    }
}

/// Whether what was typed (a code, the beginning of one, a rule's name; any case) means this rule.
#[must_use]
pub fn means(typed: &str, code: &str, name: &str) -> bool {
    name.eq_ignore_ascii_case(typed)
        || typed.len() >= 2 && code.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed))
}

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something is broken.
    Error,
    /// Likely to break, or broken for some.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// One thing that is wrong, with its proof and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Stable within the report: `R1`, `R2`, … for roots, `S1`, … for consequences.
    pub id: String,
    /// The code of the catalogue, `MG213`.
    pub code: String,
    /// The name of the rule, `route-hostname-mismatch`.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line with the names in it.
    pub title: String,
    /// The objects it is about; the first is the subject.
    pub objects: Vec<ObjectRef>,
    /// What was observed, where. Never empty.
    pub evidence: Vec<Evidence>,
    /// What to do.
    pub remedy: Remedy,
    /// The findings that this one follows from; empty for a root.
    pub caused_by: Vec<String>,
    /// The findings whose effect hides this one: once they are repaired, this one shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden_behind: Vec<String>,
    /// The section of the troubleshooting chapter.
    pub section: String,
    /// How to read more: `explain MG213`.
    pub docs: String,
}

/// Names one object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// `group/version`, or `v1` for the core group.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// The namespace; absent for a cluster-scoped object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    /// `HTTPRoute team-a/weather`, the way people write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// One observation: where it stands in the bundle and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// A path in the bundle.
    pub file: String,
    /// The field within the object, `spec.hostnames[0]`; absent for logs and whole files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The line in the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What was observed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What that means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What to do about a finding; the tool never does it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// In words.
    pub text: String,
    /// To paste, with the real names filled in.
    pub commands: Vec<String>,
    /// Proves that the repair worked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<String>,
}

/// Findings that the user asked to leave out (`--ignore`, `--suppress`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suppression {
    /// The code, the beginning of one, or the rule's name, as it was given.
    pub code: String,
    /// The object, as it was given; absent for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last day on which it holds, `2026-12-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// What came of it.
    pub state: SuppressionState,
    /// How many findings it matched.
    pub findings: usize,
}

/// What came of a [`Suppression`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuppressionState {
    /// It left findings out.
    Applied,
    /// It matched nothing.
    Unused,
    /// It ran out before the bundle was collected (or the bundle does not say when that was), so
    /// that its findings are shown.
    Expired,
}

impl std::fmt::Display for Suppression {
    /// `MG418 on team-a/weather until 2026-12-31 (moving)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.code)?;
        if let Some(object) = &self.object {
            write!(f, " on {object}")?;
        }
        if let Some(expires) = &self.expires {
            write!(f, " until {expires}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl Report {
    /// How many findings were left out.
    #[must_use]
    pub fn suppressed(&self) -> usize {
        let applied = self.suppressions.iter().filter(|s| s.state == SuppressionState::Applied);
        applied.map(|suppression| suppression.findings).sum()
    }

    /// What is to be said about the suppressions: a word and the suppression.
    pub fn suppression_lines(&self) -> impl Iterator<Item = String> + '_ {
        self.suppressions.iter().map(|suppression| match suppression.state {
            SuppressionState::Applied => format!("{} left out: {suppression}", suppression.findings),
            SuppressionState::Unused => format!("unused, remove it: {suppression}"),
            SuppressionState::Expired => {
                format!("expired, {} shown again: {suppression}", suppression.findings)
            }
        })
    }
}

/// The objects that matter to the gateway, bounded in number, and what needs what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// The objects.
    pub nodes: Vec<TopologyNode>,
    /// The dependencies between them.
    pub edges: Vec<TopologyEdge>,
    /// How many objects there was no room for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// One object of a [`Topology`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologyNode {
    /// The object.
    pub object: ObjectRef,
    /// Whether the bundle has it; what is only named by others does not exist or was not collected.
    pub present: bool,
    /// The findings about it, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// One dependency of a [`Topology`]: `from` does not work without `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologyEdge {
    /// A position in [`Topology::nodes`].
    pub from: usize,
    /// A position in [`Topology::nodes`].
    pub to: usize,
    /// `requires`, `createdBy`, `selects`, `enforces` or `routesTo`.
    pub kind: String,
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// When, RFC 3339 in UTC with seconds.
    pub time: String,
    /// What sort of thing.
    pub kind: MomentKind,
    /// To what.
    pub object: ObjectRef,
    /// In words.
    pub text: String,
    /// Where the bundle says so.
    pub file: String,
    /// The line in that file, from 1, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// What sort of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentKind {
    /// A container ended and was started again.
    Restart,
    /// A condition of a status turned bad.
    Condition,
    /// A warning event.
    Event,
    /// A message in a log, the first of its sort.
    Log,
}

impl MomentKind {
    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Condition => "condition",
            Self::Event => "event",
            Self::Log => "log",
        }
    }
}

/// A question that the bundle could not answer (finding code MG001).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unknown {
    /// The name of the rule.
    pub rule: String,
    /// The codes that stay undecided.
    pub codes: Vec<String>,
    /// Which evidence is missing, and why.
    pub missing: String,
    /// How to collect it.
    pub how_to_gather: String,
}
