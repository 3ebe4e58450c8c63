//! The gate for reports: evidence quotes foreign text, so that a report is rendered only after its
//! strings went through the redactor.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;

use super::{RedactedPath, Redactor};
use crate::report::{
    BundleInfo, Coverage, Evidence, Finding, Moment, ObjectRef, Remedy, Report, Topology, TopologyNode,
    Unknown,
};
use crate::shell::for_program;

/// A report that has passed the redactor: the only thing that a renderer takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactedReport(Report);

impl RedactedReport {
    /// The report with the commands of who has called this program `kubectl mcpgw`, else as it is.
    #[must_use]
    pub fn for_program(mut self, program: &str) -> Self {
        let report = &mut self.0;
        for remedy in report.findings.iter_mut().map(|finding| &mut finding.remedy) {
            let texts = remedy.commands.iter_mut().chain(&mut remedy.verify).chain([&mut remedy.text]);
            texts.for_each(|text| *text = for_program(program, text));
        }
        for unknown in &mut report.unknown {
            unknown.how_to_gather = for_program(program, &unknown.how_to_gather);
        }
        self
    }
}

impl Deref for RedactedReport {
    type Target = Report;

    fn deref(&self) -> &Report {
        &self.0
    }
}

impl Redactor {
    /// Redacts every string of a report that can quote the bundle.
    ///
    /// Codes, rule names, ids and pages are ours and stay as they are. The patterns below name every
    /// field, so that a new one cannot be forgotten.
    #[must_use]
    pub fn report(&self, report: Report) -> RedactedReport {
        let scrub = Scrub {
            redactor: self,
            file: self.path(crate::archive::path::REPORT_JSON),
            met: RefCell::default(),
        };
        let Report {
            schema_version,
            tool,
            bundle,
            summary,
            findings,
            unknown,
            coverage,
            suppressions,
            topology,
            timeline,
        } = report;
        let BundleInfo { cluster, collected_at, source } = bundle;
        let Coverage { rules_decided, rules_unknown, objects, logs, skipped, only, severity } = coverage;
        RedactedReport(Report {
            schema_version,
            tool,
            bundle: BundleInfo { cluster: scrub.option(cluster), collected_at, source },
            summary,
            findings: findings.into_iter().map(|finding| scrub.finding(finding)).collect(),
            unknown: unknown.into_iter().map(|unknown| scrub.unknown(unknown)).collect(),
            coverage: Coverage {
                rules_decided,
                rules_unknown,
                objects: objects.into_iter().map(|(kind, count)| (scrub.text(kind), count)).collect(),
                logs,
                skipped: scrub.all(skipped),
                only,
                severity,
            },
            // Written by the user on the command line or in a file of their own.
            suppressions,
            topology: topology.map(|topology| scrub.topology(topology)),
            timeline: timeline.into_iter().map(|moment| scrub.moment(moment)).collect(),
        })
    }
}

/// The redactor and the file that its counts belong to.
struct Scrub<'a> {
    redactor: &'a Redactor,
    file: RedactedPath,
    /// The digests of placeholders that this pass made, in the order in which they were met.
    met: RefCell<HashMap<String, usize>>,
}

/// How many hexadecimal digits of a digest a placeholder shows.
const DIGEST: usize = 8;

/// The first digest of a placeholder (`… h=1a2b3c4d>` or `….h-1a2b3c4d`) and where it stands.
fn digest(text: &str) -> Option<(usize, &str)> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find([' ', '.'])? + 1;
        let found = text[at..]
            .strip_prefix("h=")
            .or_else(|| text[at..].strip_prefix("h-"))
            .and_then(|rest| rest.get(..DIGEST))
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(digits) = found {
            return Some((at + 2, digits));
        }
        from = at;
    }
}

impl Scrub<'_> {
    fn text(&self, text: String) -> String {
        if text.is_empty() {
            return text;
        }
        let redacted = self.redactor.text(&self.file, text.as_bytes());
        if redacted.as_bytes() == text.as_bytes() {
            return text;
        }
        self.counted(&text, &String::from_utf8_lossy(redacted.as_bytes()))
    }

    /// Replaces the keyed digests of new placeholders by numbers. The key is drawn anew for every
    /// run, but the report of one bundle is the same bytes every time; within the report equal
    /// secrets still have equal placeholders. What the bundle itself holds keeps its digests.
    fn counted(&self, before: &str, after: &str) -> String {
        let mut out = String::with_capacity(after.len());
        let mut rest = after;
        while let Some((at, digest)) = digest(rest) {
            out.push_str(&rest[..at]);
            if before.contains(digest) {
                out.push_str(digest);
            } else {
                let mut met = self.met.borrow_mut();
                let next = met.len() + 1;
                let number = *met.entry(digest.to_owned()).or_insert(next);
                out.push_str(&format!("{number:08}"));
            }
            rest = &rest[at + DIGEST..];
        }
        out.push_str(rest);
        out
    }

    fn option(&self, text: Option<String>) -> Option<String> {
        text.map(|text| self.text(text))
    }

    fn all(&self, texts: Vec<String>) -> Vec<String> {
        texts.into_iter().map(|text| self.text(text)).collect()
    }

    fn object(&self, object: ObjectRef) -> ObjectRef {
        let ObjectRef { api_version, kind, namespace, name } = object;
        ObjectRef {
            api_version: self.text(api_version),
            kind: self.text(kind),
            namespace: self.option(namespace),
            name: self.text(name),
        }
    }

    fn evidence(&self, evidence: Evidence) -> Evidence {
        let Evidence { file, path, line, value, note } = evidence;
        Evidence {
            file: self.text(file),
            value: self.value(path.as_deref(), value),
            path: self.option(path),
            line,
            note: self.option(note),
        }
    }

    /// A value is redacted together with the name of its field, because a pattern such as
    /// `password: …` needs both.
    fn value(&self, path: Option<&str>, value: Option<String>) -> Option<String> {
        let value = value?;
        let key = path
            .and_then(|path| path.rsplit(['.', '[', '/', '\'']).find(|part| !part.is_empty()))
            .filter(|key| key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
        let Some(key) = key.filter(|_| !value.contains('\n')) else {
            return Some(self.text(value));
        };
        let together = self.text(format!("{key}: {value}"));
        let rest = together.strip_prefix(key).and_then(|rest| rest.strip_prefix(": "));
        Some(match rest {
            Some(rest) => rest.to_owned(),
            None => self.text(value),
        })
    }

    fn finding(&self, finding: Finding) -> Finding {
        let Finding {
            id,
            code,
            name,
            severity,
            title,
            objects,
            evidence,
            remedy,
            caused_by,
            hidden_behind,
            section,
            docs,
        } = finding;
        let Remedy { text, commands, verify } = remedy;
        Finding {
            id,
            code,
            name,
            severity,
            title: self.text(title),
            objects: objects.into_iter().map(|object| self.object(object)).collect(),
            evidence: evidence.into_iter().map(|evidence| self.evidence(evidence)).collect(),
            remedy: Remedy { text: self.text(text), commands: self.all(commands), verify: self.all(verify) },
            caused_by,
            hidden_behind,
            section,
            docs,
        }
    }

    fn unknown(&self, unknown: Unknown) -> Unknown {
        let Unknown { rule, codes, missing, how_to_gather } = unknown;
        Unknown { rule, codes, missing: self.text(missing), how_to_gather: self.text(how_to_gather) }
    }

    fn topology(&self, topology: Topology) -> Topology {
        let Topology { nodes, edges, omitted } = topology;
        let node = |node| {
            let TopologyNode { object, present, findings } = node;
            TopologyNode { object: self.object(object), present, findings }
        };
        Topology { nodes: nodes.into_iter().map(node).collect(), edges, omitted }
    }

    fn moment(&self, moment: Moment) -> Moment {
        let Moment { time, kind, object, text, file, line } = moment;
        Moment { time, kind, object: self.object(object), text: self.text(text), file: self.text(file), line }
    }
}
