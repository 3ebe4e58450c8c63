//! The end of a collection: what it did, what failed, the topology, the analysis, the manifest.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};

use super::cx::Cx;
use super::objects::Scope;
use super::out::Out;
use super::{event_page, topology};
use crate::archive::manifest::{FileEntry, Manifest, SCHEMA_VERSION};
use crate::archive::read::{Entry, ReadError, Source, Visit};
use crate::archive::write::WriteError;
use crate::archive::{load, locate, path, rewrite};
use crate::model::bundle::Failure;
use crate::redact::report::{RedactionReport, SecondLook};
use crate::redact::{Redacted, RedactedReport};
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
    // Objects and logs tell the cluster's times: what is old or expired is judged by its clock.
    let ended = cx.api.clock().now();
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
        write_manifest(&self.plain, self.manifest)?;
        Ok(Closed {
            failures: self.failures,
            redactions: redaction.total(),
            second_look: looked,
            cut_short: self.cut_short,
            report: self.report,
        })
    }
}

/// How many entries of the manifest are values at the same time.
const ENTRIES: usize = 256;

/// Writes the manifest. Its lists have tens of thousands of entries in a large cluster, so they are
/// written part by part.
fn write_manifest(out: &Out, mut manifest: Manifest) -> Result<(), WriteError> {
    let place = out.redactor.path(path::MANIFEST);
    let collections = std::mem::take(&mut manifest.collections);
    let files = std::mem::take(&mut manifest.files);
    let comma = out.redactor.text(&place, b",");
    let mut member = out.writer.member(place.clone(), SELF.to_owned());
    let mut rest = out.redactor.json(&place, &manifest);
    let collections = collections.chunks(ENTRIES).map(|part| out.redactor.json(&place, &part));
    let files = files.chunks(ENTRIES).map(|part| out.redactor.json(&place, &part));
    // Fields are written in the order of their names.
    let lists: [(&str, Box<dyn Iterator<Item = Redacted>>); 2] =
        [("\"collections\": [", Box::new(collections)), ("\"files\": [", Box::new(files))];
    for (field, parts) in lists {
        // In a string, quotes are escaped, so that this is the field itself.
        let Some(at) = memchr::memmem::find(rest.as_bytes(), field.as_bytes()) else { continue };
        let (before, after) = rest.split_at(at + field.len());
        member.write(&before)?;
        for (number, part) in parts.enumerate() {
            if number > 0 {
                member.write(&comma)?;
            }
            // Without its own brackets: `[` before, and `]` with the end of the line after.
            let (_, part) = part.split_at(1);
            let end = part.len().saturating_sub(2);
            member.write(&part.split_at(end).0)?;
        }
        rest = after;
    }
    member.write(&rest)?;
    member.finish(false)
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
    let needed = Needed::of(out.writer.entries(), cx.options.analyze);
    manifest.files = needed.files;
    let mut preliminary = serde_json::to_vec(&manifest).unwrap_or_default();
    preliminary.shrink_to_fit();
    manifest.files = Vec::new();
    out.writer.settle();
    let inner = out.writer.source();
    let source = WithManifest { inner, manifest: preliminary, copies: needed.copies, logs: needed.logs };
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

/// What is read back of what was written. In a large cluster most files are logs and pods, and most of
/// the memory of the analysis is its view of them.
struct Needed {
    /// The files that hold objects, for which the manifest vouches.
    files: Vec<FileEntry>,
    /// Pods that stand in the list of their namespace, too.
    copies: BTreeSet<String>,
    /// Whether logs and answers of pods are read: topology and events need none.
    logs: bool,
}

impl Needed {
    fn of(entries: Vec<FileEntry>, logs: bool) -> Self {
        let lists: BTreeSet<String> = entries
            .iter()
            .filter_map(|entry| entry.path.strip_suffix("/core/pods.yaml").map(str::to_owned))
            .collect();
        let is_copy = |path: &str| {
            let Some((namespace, pod)) = path.split_once("/pods/") else { return false };
            lists.contains(namespace)
                && pod.split_once('/').is_some_and(|(pod, file)| file.strip_suffix(".yaml") == Some(pod))
        };
        let mut needed = Self { files: Vec::new(), copies: BTreeSet::new(), logs };
        for entry in entries {
            if is_copy(&entry.path) {
                needed.copies.insert(entry.path);
            } else if !entry.path.ends_with(".log") && !entry.path.starts_with("mcpgw/") {
                // Where it came from is nothing to the analysis.
                needed.files.push(FileEntry { source: String::new(), ..entry });
            }
        }
        needed
    }
}

/// What was written so far, together with the manifest as it stands: a bundle like any other.
struct WithManifest {
    inner: Box<dyn Source>,
    manifest: Vec<u8>,
    /// Files that are not read because others say the same.
    copies: BTreeSet<String>,
    /// Whether logs and answers of pods are read, too.
    logs: bool,
}

impl Source for WithManifest {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        let entry = Entry { path: path::MANIFEST.to_owned(), bytes: self.manifest.len() as u64 };
        if visit(&entry, &mut self.manifest.as_slice()) == Visit::Stop {
            return Ok(Vec::new());
        }
        self.inner.walk(&mut |entry, content| {
            let needless = entry.path.ends_with(".log") || entry.path.starts_with("mcpgw/");
            let skipped = self.copies.contains(&entry.path) || (!self.logs && needless);
            if skipped { Visit::Next } else { visit(entry, content) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_read_once_where_their_list_is_whole() {
        let entry = |path: &str| FileEntry { path: path.to_owned(), ..FileEntry::default() };
        let needed = Needed::of(
            vec![
                entry("namespaces/a/core/pods.yaml"),
                entry("namespaces/a/pods/p-1/p-1.yaml"),
                entry("namespaces/a/pods/p-1/c/c/logs/current.log"),
                entry("namespaces/b/pods/p-2/p-2.yaml"),
            ],
            true,
        );
        assert_eq!(needed.copies, BTreeSet::from(["namespaces/a/pods/p-1/p-1.yaml".to_owned()]));
        let files: Vec<&str> = needed.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(files, ["namespaces/a/core/pods.yaml", "namespaces/b/pods/p-2/p-2.yaml"]);
    }
}
