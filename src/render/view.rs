//! The order in which every form tells a report: roots, under each what follows from it, then what
//! is left over; open questions grouped by the evidence that would answer them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::layout::count;
use crate::report::{Coverage, Finding, ObjectRef, Report, Severity, Unknown};

/// A report arranged for reading.
pub(super) struct View<'a> {
    /// The roots, the one that blocks most first.
    pub(super) roots: Vec<Root<'a>>,
    /// Findings whose cause is not in the report (a filter hides it).
    pub(super) loose: Vec<&'a Finding>,
    /// Open questions, one per missing piece of evidence.
    pub(super) questions: Vec<Question<'a>>,
}

/// A finding that nothing else causes.
pub(super) struct Root<'a> {
    pub(super) finding: &'a Finding,
    /// What follows from it, nearest first.
    pub(super) consequences: Vec<Consequence<'a>>,
    /// How many of the registered servers it or what follows from it is about: `3 of 4 servers`; empty for none.
    pub(super) effect: String,
}

/// A finding that follows from a root.
pub(super) struct Consequence<'a> {
    pub(super) finding: &'a Finding,
    /// The consequence in between, when the root is not the direct cause.
    pub(super) through: Option<&'a str>,
    /// The other roots that also cause it.
    pub(super) also: Vec<&'a str>,
}

/// A missing piece of evidence and the codes that wait for it.
pub(super) struct Question<'a> {
    pub(super) missing: &'a str,
    pub(super) how: &'a str,
    pub(super) codes: Vec<&'a str>,
}

impl<'a> View<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let by_id: BTreeMap<&str, &Finding> =
            report.findings.iter().map(|finding| (finding.id.as_str(), finding)).collect();
        let mut effects: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
        for finding in &report.findings {
            for cause in &finding.caused_by {
                effects.entry(cause.as_str()).or_default().push(finding);
            }
        }
        // Which roots lead to a finding, in the same order, and through which finding first.
        let mut causes: BTreeMap<&str, Vec<(&str, Option<&str>)>> = BTreeMap::new();
        let mut roots: Vec<&Finding> = report.findings.iter().filter(|f| f.caused_by.is_empty()).collect();
        // The ids of roots count from the one that blocks most.
        roots.sort_by_key(|root| root.id.get(1..).and_then(|id| id.parse::<usize>().ok()));
        let mut reached: Vec<Vec<&Finding>> = Vec::with_capacity(roots.len());
        for root in &roots {
            let mut seen: BTreeSet<&str> = BTreeSet::from([root.id.as_str()]);
            let mut queue = VecDeque::from([root.id.as_str()]);
            let mut order = Vec::new();
            while let Some(id) = queue.pop_front() {
                for &effect in effects.get(id).into_iter().flatten() {
                    if seen.insert(&effect.id) {
                        let through = Some(id).filter(|id| *id != root.id);
                        causes.entry(&effect.id).or_default().push((root.id.as_str(), through));
                        queue.push_back(&effect.id);
                        order.push(effect);
                    }
                }
            }
            reached.push(order);
        }
        let roots = roots
            .iter()
            .zip(reached)
            .map(|(root, order)| Root {
                finding: root,
                effect: effect(report, std::iter::once(*root).chain(order.iter().copied())),
                consequences: order
                    .into_iter()
                    .filter_map(|finding| {
                        let causes = causes.get(finding.id.as_str())?;
                        // Told once, under the first root that leads to it.
                        let (first, through) = *causes.first()?;
                        (first == root.id).then(|| Consequence {
                            finding,
                            through,
                            also: causes[1..].iter().map(|(root, _)| *root).collect(),
                        })
                    })
                    .collect(),
            })
            .collect();
        let loose = report
            .findings
            .iter()
            .filter(|f| !f.caused_by.is_empty() && !causes.contains_key(f.id.as_str()))
            .filter(|f| by_id.contains_key(f.id.as_str()))
            .collect();
        Self { roots, loose, questions: questions(&report.unknown) }
    }

    /// How many findings stand under a root.
    pub(super) fn consequences(&self) -> usize {
        self.roots.iter().map(|root| root.consequences.len()).sum()
    }

    /// How many roots have this severity.
    pub(super) fn roots_of(&self, severity: Severity) -> usize {
        self.roots.iter().filter(|root| root.finding.severity == severity).count()
    }
}

/// Of how many registered servers these findings speak.
fn effect<'f>(report: &Report, findings: impl Iterator<Item = &'f Finding>) -> String {
    const KIND: &str = "MCPServerRegistration";
    let all = report.coverage.objects.get(KIND).copied().unwrap_or_default();
    // What a finding about one server also names is not touched by it, such as the winner of a conflict.
    let of = |finding: &'f Finding| match finding.objects.first() {
        Some(subject) if subject.kind == KIND => std::slice::from_ref(subject),
        _ => finding.objects.as_slice(),
    };
    let drawn = report.topology.as_ref().filter(|topology| topology.omitted == 0);
    let exists = |object: &ObjectRef| {
        drawn.is_none_or(|drawn| drawn.nodes.iter().any(|node| node.present && node.object == *object))
    };
    let named: BTreeSet<(&Option<String>, &str)> = findings
        .filter(|finding| finding.severity != Severity::Info)
        .flat_map(of)
        .filter(|object| object.kind == KIND && exists(object))
        .map(|object| (&object.namespace, object.name.as_str()))
        .collect();
    // A name that leads nowhere is no server of the bundle.
    match named.len().min(all) {
        0 => String::new(),
        number => format!("{number} of {}", count(all, "server", "servers")),
    }
}

fn questions(unknown: &[Unknown]) -> Vec<Question<'_>> {
    let mut grouped: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for entry in unknown {
        grouped
            .entry((&entry.missing, &entry.how_to_gather))
            .or_default()
            .extend(entry.codes.iter().map(String::as_str));
    }
    grouped
        .into_iter()
        .map(|((missing, how), codes)| Question { missing, how, codes: codes.into_iter().collect() })
        .collect()
}

/// The headline of a report without errors and warnings, and whether it is good news: not where hardly a rule could
/// decide anything, and not of everything where a part was asked for.
pub(super) fn nothing_found(report: &Report) -> (String, bool) {
    let coverage = &report.coverage;
    let (decided, undecided) = (coverage.rules_decided, coverage.rules_unknown);
    let rules = count(decided, "rule", "rules");
    let asked = asked(coverage);
    if coverage.objects.is_empty() || decided == 0 {
        ("Nothing could be decided: the bundle holds no evidence that a rule needs".to_owned(), false)
    } else if !asked.is_empty() && !report.unknown.is_empty() {
        (format!("Nothing found, but not decided either: only {asked} asked for"), false)
    } else if undecided > decided {
        let all = decided + undecided;
        (format!("Hardly anything could be decided: {decided} of {all} rules, which found nothing"), false)
    } else if !asked.is_empty() {
        (format!("Nothing found; only {asked} asked for"), true)
    } else if report.suppressed() > 0 {
        (format!("{rules} found nothing that is not suppressed"), true)
    } else {
        (format!("{rules} found nothing wrong"), true)
    }
}

/// What `--only` and `--severity` left to be told, with its verb: `MG2, MG7 were`; empty for everything.
fn asked(coverage: &Coverage) -> String {
    let codes = coverage.only.join(", ");
    let verb = if coverage.only.len() == 1 { "was" } else { "were" };
    let what = match coverage.severity {
        None | Some(Severity::Info) => "",
        Some(Severity::Warning) => "errors and warnings",
        Some(Severity::Error) => "errors",
    };
    match (codes.is_empty(), what.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!("{what} were"),
        (false, true) => format!("{codes} {verb}"),
        (false, false) => format!("{what} of {codes} were"),
    }
}
