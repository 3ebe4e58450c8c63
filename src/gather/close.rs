//! The end of a collection: what it did, what failed, the topology, the analysis, the manifest.

use std::io::Read;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};

use super::cx::Cx;
use super::objects::Scope;
use super::out::Out;
use super::{event_page, topology};
use crate::archive::manifest::{Manifest, SCHEMA_VERSION};
use crate::archive::read::{Entry, ReadError, Source, Visit};
use crate::archive::write::WriteError;
use crate::archive::{load, locate, path, rewrite};
use crate::model::bundle::Failure;
use crate::redact::RedactedReport;
use crate::redact::report::{RedactionReport, SecondLook};
use crate::{render, rules};

/// Who made the archive of what, when.
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) server_version: Option<String>,
    pub(crate) started: DateTime<Utc>,
}

/// Everything is written but what is said of the redaction, and the manifest.
pub(crate) struct Closing {
    out: Out,
    plain: Out,
    manifest: Manifest,
    failures: Vec<Failure>,
    cut_short: Option<String>,
    report: Option<RedactedReport>,
}

/// What the closing found.
pub(crate) struct Closed {
    pub(crate) failures: Vec<Failure>,
    pub(crate) redactions: u64,
    pub(crate) second_look: Option<SecondLook>,
    pub(crate) cut_short: Option<String>,
    pub(crate) report: Option<RedactedReport>,
}

const SELF: &str = "oc-mcpgw";

/// Writes everything that the collection says of itself but [`LAST`].
/// What comes from the cluster goes through `out` as it is; what is read back from the archive has its
/// pseudonyms already.
pub(crate) fn close(
    cx: &Cx,
    out: &Out,
    identity: &Identity,
    scope: &Arc<Scope>,
) -> Result<Closing, WriteError> {
    let ended = Utc::now();
    let cut_short = cx.stop.why();
    if let Some(why) = &cut_short {
        cx.journal.line(format!("cut short: {why}"));
    }
    cx.journal.line("closes the archive");
    let record = cx.journal.record(cut_short.as_deref());
    let version = format!("mcpgw-gather\n{}\n", env!("CARGO_PKG_VERSION"));
    out.text(path::VERSION, SELF, version.as_bytes())?;
    // The form in which Go prints a time, because that is what readers of must-gathers parse.
    let go = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S%.9f +0000 UTC").to_string();
    out.text(path::TIMESTAMP, SELF, format!("{}\n{}\n", go(identity.started), go(ended)).as_bytes())?;
    out.text(path::GATHER_LOG, SELF, (record.lines.join("\n") + "\n").as_bytes())?;
    out.json(path::FAILURES, SELF, &record.failures)?;

    let manifest = Manifest {
        schema_version: SCHEMA_VERSION.to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: identity.cluster.clone(),
        server_version: identity.server_version.clone(),
        started: identity.started.to_rfc3339_opts(SecondsFormat::Secs, true),
        ended: ended.to_rfc3339_opts(SecondsFormat::Secs, true),
        cut_short: cut_short.clone(),
        options: cx.options.words(),
        namespaces: scope.namespaces.iter().map(|(ns, f)| (ns.clone(), f.reason.clone())).collect(),
        collections: record.collections,
        files: Vec::new(),
    };
    let mut manifest = rewrite::obfuscated(manifest, &out.redactor);
    let plain = Out { redactor: out.redactor.without_names(), ..out.clone() };
    let report = analyze(cx, &plain, &mut manifest)?;
    let failures = shown(record.failures, out);
    Ok(Closing { out: out.clone(), plain, manifest, failures, cut_short, report })
}

/// What [`Closing::finish`] writes.
pub(crate) const LAST: [&str; 2] = [path::REDACTION_REPORT, path::MANIFEST];

impl Closing {
    /// Writes what redaction did and what its second look has cost, and at last the manifest.
    pub(crate) fn finish(mut self, looked: Option<SecondLook>) -> Result<Closed, WriteError> {
        let redaction = RedactionReport { second_look: looked, ..self.out.redactor.report_counts() };
        self.out.json(path::REDACTION_REPORT, SELF, &redaction)?;
        self.manifest.files = self.out.writer.entries();
        self.plain.json(path::MANIFEST, SELF, &self.manifest)?;
        Ok(Closed {
            failures: self.failures,
            redactions: redaction.total(),
            second_look: looked,
            cut_short: self.cut_short,
            report: self.report,
        })
    }
}

/// The failures as the archive tells them.
fn shown(failures: Vec<Failure>, out: &Out) -> Vec<Failure> {
    if out.redactor.obfuscator().is_none() {
        return failures;
    }
    let place = out.redactor.path(path::FAILURES);
    serde_json::from_slice(out.redactor.json(&place, &failures).as_bytes()).unwrap_or_default()
}

/// Reads the archive back, writes topology, event page and, if wanted, the reports.
fn analyze(cx: &Cx, out: &Out, manifest: &mut Manifest) -> Result<Option<RedactedReport>, WriteError> {
    manifest.files = out.writer.entries();
    let preliminary = serde_json::to_vec(&manifest).unwrap_or_default();
    // Topology and events need no log; reading them all back would only take time.
    let source = WithManifest { inner: out.writer.source(), manifest: preliminary, logs: cx.options.analyze };
    let bundle = match load::for_rules(&source) {
        Ok(bundle) => bundle,
        Err(error) => {
            cx.journal.line(format!("the archive cannot be read back for the analysis: {error}"));
            return Ok(None);
        }
    };
    out.json(path::TOPOLOGY, SELF, &topology::topology(&bundle))?;
    out.text(path::EVENT_FILTER, SELF, event_page::page(&bundle).as_bytes())?;
    if !cx.options.analyze {
        return Ok(None);
    }
    let mut report = rules::analyze(&bundle);
    // The report needs room of its own.
    drop(bundle);
    locate::fill_lines(&mut report, &source);
    let report = out.redactor.report(report);
    out.text(path::REPORT_JSON, SELF, render::json(&report).as_bytes())?;
    let options = render::TextOptions { full: true, ..render::TextOptions::default() };
    out.text(path::REPORT_TEXT, SELF, render::text(&report, &options).as_bytes())?;
    out.text(path::REPORT_HTML, SELF, render::html(&report).as_bytes())?;
    out.text(path::REPORT_MARKDOWN, SELF, render::markdown(&report).as_bytes())?;
    Ok(Some(report))
}

/// What was written so far, together with the manifest as it stands: a bundle like any other.
struct WithManifest {
    inner: Box<dyn Source>,
    manifest: Vec<u8>,
    /// Whether logs are read, too.
    logs: bool,
}

impl Source for WithManifest {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        let entry = Entry { path: path::MANIFEST.to_owned(), bytes: self.manifest.len() as u64 };
        if visit(&entry, &mut self.manifest.as_slice()) == Visit::Stop {
            return Ok(Vec::new());
        }
        self.inner.walk(&mut |entry, content| {
            if !self.logs && entry.path.ends_with(".log") { Visit::Next } else { visit(entry, content) }
        })
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        if path == crate::archive::path::MANIFEST {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            return Ok(Some(self.manifest[..self.manifest.len().min(limit)].to_vec()));
        }
        self.inner.read(path, limit)
    }

    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        if path == crate::archive::path::MANIFEST {
            visit(&mut self.manifest.as_slice());
            return Ok(true);
        }
        self.inner.stream(path, visit)
    }
}
