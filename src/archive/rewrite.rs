//! Redacting a bundle that exists: every file goes through the redactor into a new archive.
//!
//! The input is read twice: first its Secrets, so that their values are known, then everything. Files
//! of objects are parsed and redacted by their structure; everything else is text. Logs that are
//! compressed are unpacked (the new archive compresses them itself), archives within the archive too.
//! What can be neither read as objects nor as text (images, core dumps, databases) is left out and said.
//! Nothing is written to disk on the way.

use std::collections::BTreeMap;
use std::io::{BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::manifest::{FileEntry, Manifest};
use super::read::{self, Entry, ReadError, Source, Visit};
use super::write::{WriteError, Writer};
use super::{load, path};
use crate::redact::obfuscate::Names;
use crate::redact::report::RedactionReport;
use crate::redact::{Redacted, RedactedPath, Redactor};
use crate::render;

/// The largest file that is read as objects; larger ones are left out, because a Secret in them cannot
/// be told from its surroundings.
const OBJECTS: u64 = 512 << 20;
/// How much of a file tells what it is.
const START: u64 = 4096;
/// The largest archive within an archive.
const NESTED: u64 = 512 << 20;
/// What made the files that are not in the input.
const SELF: &str = "oc-mcpgw redact";
/// What is rendered from the report, and rendered anew where names are replaced.
const RENDERED: [&str; 3] = [path::REPORT_TEXT, path::REPORT_HTML, path::REPORT_MARKDOWN];
/// How deep archives may be nested.
const DEPTH: usize = 3;

/// Why a bundle cannot be redacted.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The input cannot be read at all.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What became of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// How many files were written.
    pub files: usize,
    /// What was left out, and why: one line each, beginning with the path.
    pub left_out: Vec<String>,
    /// What could not be read to its end.
    pub problems: Vec<String>,
}

/// Learns the values of all Secrets of a bundle.
///
/// # Errors
/// The bundle as a whole cannot be read.
pub fn learn(source: &dyn Source, redactor: &Redactor) -> Result<(), ReadError> {
    learn_within(source, redactor, 0)
}

fn learn_within(source: &dyn Source, redactor: &Redactor, depth: usize) -> Result<(), ReadError> {
    source.walk(&mut |entry, content| {
        match form(&entry.path, entry.bytes) {
            Form::Objects => {
                let mut bytes = Vec::new();
                // A file that breaks off still has what came before.
                let _ = content.take(OBJECTS).read_to_end(&mut bytes);
                if mentions_secret(&bytes) {
                    for document in load::documents(&bytes).0 {
                        learn_objects(&document, redactor);
                    }
                }
            }
            Form::Archive if depth < DEPTH => {
                if let Ok(inner) = nested(&entry.path, content) {
                    // An archive that cannot be opened is left out later, and said then.
                    let _ = learn_within(&*inner, redactor, depth + 1);
                }
            }
            Form::Text => {
                let mut bytes = start_of(content);
                if hides_objects(&entry.path, &bytes) && entry.bytes <= OBJECTS {
                    let _ = content.take(OBJECTS).read_to_end(&mut bytes);
                    for document in load::documents(&bytes).0 {
                        learn_objects(&document, redactor);
                    }
                }
            }
            Form::Archive | Form::Gzip | Form::TooLarge => {}
        }
        Visit::Next
    })?;
    Ok(())
}

fn learn_objects(value: &Value, redactor: &Redactor) {
    let secret = value.get("kind").and_then(Value::as_str) == Some("Secret");
    if secret {
        redactor.learn_secret(value);
    }
    let of_secrets = value.get("kind").and_then(Value::as_str) == Some("SecretList");
    for item in value.get("items").and_then(Value::as_array).into_iter().flatten() {
        if of_secrets {
            redactor.learn_secret(item);
        } else {
            learn_objects(item, redactor);
        }
    }
}

fn mentions_secret(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"Secret").is_some()
}

/// Learns the names of a bundle: from its objects, its texts and its paths.
///
/// # Errors
/// The bundle as a whole cannot be read.
pub fn learn_names(source: &dyn Source, names: &mut Names) -> Result<(), ReadError> {
    learn_names_within(source, names, 0)
}

fn learn_names_within(source: &dyn Source, names: &mut Names, depth: usize) -> Result<(), ReadError> {
    source.walk(&mut |entry, content| {
        names.path(&entry.path);
        match form(&entry.path, entry.bytes) {
            Form::Objects => {
                let mut bytes = Vec::new();
                // A file that breaks off still has what came before.
                let _ = content.take(OBJECTS).read_to_end(&mut bytes);
                let (documents, whole) = load::documents(&bytes);
                documents.iter().for_each(|document| names.object(document));
                if !whole || entry.path == path::MANIFEST {
                    names.text(&bytes);
                }
                if entry.path == path::MANIFEST
                    && let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes)
                {
                    names.cluster(&manifest.cluster);
                    names.host(&manifest.cluster);
                }
            }
            Form::Archive if depth < DEPTH => {
                if let Ok(inner) = nested(&entry.path, content) {
                    // An archive that cannot be opened is left out later, and said then.
                    let _ = learn_names_within(&*inner, names, depth + 1);
                }
            }
            Form::Text => {
                let start = start_of(content);
                let mut content = start.as_slice().chain(content);
                if hides_objects(&entry.path, &start) && entry.bytes <= OBJECTS {
                    let mut bytes = Vec::new();
                    let _ = content.take(OBJECTS).read_to_end(&mut bytes);
                    let (documents, whole) = load::documents(&bytes);
                    documents.iter().for_each(|document| names.object(document));
                    if !whole {
                        names.text(&bytes);
                    }
                } else {
                    learn_text(&mut content, names);
                }
            }
            Form::Gzip => learn_text(&mut MultiGzDecoder::new(content), names),
            Form::Archive | Form::TooLarge => {}
        }
        Visit::Next
    })?;
    Ok(())
}

/// Learns from a text in pieces that end at lines.
fn learn_text(content: &mut dyn Read, names: &mut Names) {
    const PIECE: usize = 256 * 1024;
    let mut buffer = Vec::new();
    loop {
        let held = buffer.len();
        // What breaks off or is no text is said when it is rewritten.
        let read = content.take(PIECE as u64).read_to_end(&mut buffer).unwrap_or(0);
        if read == 0 || buffer[..buffer.len().min(8192)].contains(&0) {
            break;
        }
        let cut = memchr::memrchr(b'\n', &buffer).map_or(buffer.len(), |at| at + 1);
        // A line without an end is not gathered for ever.
        let cut = if cut <= held && buffer.len() > 8 * PIECE { buffer.len() } else { cut };
        names.text(&buffer[..cut]);
        buffer.drain(..cut);
    }
    names.text(&buffer);
}

/// Redacts all files of a bundle into an archive.
///
/// # Errors
/// The input as a whole cannot be read, or the output cannot be written.
pub fn rewrite(source: &dyn Source, redactor: &Redactor, writer: &Writer) -> Result<Rewritten, RewriteError> {
    let mut work = Work::new(redactor, writer);
    work.source(source, "", 0)?;
    if let Some(error) = work.failed {
        return Err(error.into());
    }
    work.reports()?;
    let report = redactor.report_counts().and_before(work.report.take());
    let place = redactor.path(path::REDACTION_REPORT);
    let text = redactor.json(&place, &report);
    writer.add(place, SELF.to_owned(), &text)?;
    work.done.files += 1;
    if let Some(mut manifest) = work.manifest.take() {
        // As a whole, before the files that are in the archive by now are named in it.
        let before: BTreeMap<String, FileEntry> = manifest
            .files
            .drain(..)
            .map(|mut f| {
                f.source = redactor.line(&f.source);
                (redactor.path(&f.path).as_str().to_owned(), f)
            })
            .collect();
        let mut manifest = obfuscated(manifest, redactor);
        manifest.files = writer.entries();
        for file in &mut manifest.files {
            if let Some(before) = before.get(&file.path) {
                file.source.clone_from(&before.source);
                file.truncated |= before.truncated;
            }
        }
        let redactor = redactor.without_names();
        let place = redactor.path(path::MANIFEST);
        let text = redactor.json(&place, &manifest);
        writer.add(place, SELF.to_owned(), &text)?;
        work.done.files += 1;
    }
    Ok(work.done)
}

/// A manifest with pseudonyms.
pub(crate) fn obfuscated(manifest: Manifest, redactor: &Redactor) -> Manifest {
    let Some(obfuscator) = redactor.obfuscator() else { return manifest };
    let words: Vec<&str> = obfuscator.what().iter().map(|what| what.as_str()).collect();
    let cluster = obfuscator.cluster(&manifest.cluster);
    let place = redactor.path(path::MANIFEST);
    let text = redactor.json(&place, &manifest);
    let mut new: Manifest = serde_json::from_slice(text.as_bytes()).unwrap_or_else(|_| Manifest {
        // It cannot happen; and if it did, nothing of the old one may be told.
        ..Manifest::new("", chrono::DateTime::UNIX_EPOCH)
    });
    new.cluster = cluster;
    new.options.insert("obfuscate".to_owned(), words.join(","));
    new
}

/// Copies a collection into another archive with pseudonyms for its names; what is said of each file in
/// `entries` stays said.
///
/// # Errors
/// The collection cannot be read back, or the archive cannot be written.
pub(crate) fn copy(
    source: &dyn Source,
    entries: Vec<FileEntry>,
    redactor: &Redactor,
    writer: &Writer,
) -> Result<Rewritten, RewriteError> {
    let mut work = Work::new(redactor, writer);
    work.redacted_before = true;
    work.entries = entries
        .into_iter()
        .map(|mut entry| {
            entry.source = redactor.line(&entry.source);
            (std::mem::take(&mut entry.path), entry)
        })
        .collect();
    work.source(source, "", 0)?;
    match work.failed {
        Some(error) => Err(error.into()),
        None => Ok(work.done),
    }
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Objects,
    Archive,
    Gzip,
    Text,
    TooLarge,
}

fn form(path: &str, bytes: u64) -> Form {
    let lower = path.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
    if ends(&[".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".zip"]) {
        Form::Archive
    } else if ends(&[".gz"]) {
        Form::Gzip
    } else if ends(&[".yaml", ".yml", ".json"]) {
        if bytes > OBJECTS { Form::TooLarge } else { Form::Objects }
    } else {
        Form::Text
    }
}

/// The beginning of a file, by which objects are told from text.
fn start_of(content: &mut dyn Read) -> Vec<u8> {
    let mut start = Vec::new();
    // What cannot be read is said when the rest is read.
    let _ = content.take(START).read_to_end(&mut start);
    start
}

/// Opens an archive within an archive.
fn nested(path: &str, content: &mut dyn Read) -> Result<Box<dyn Source>, ReadError> {
    let mut bytes = Vec::new();
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    content.take(NESTED + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > NESTED {
        return Err(ReadError::Limit { path: path.to_owned(), limit: format!("{} MiB", NESTED >> 20) });
    }
    read::stream(path, Box::new(BufReader::new(Cursor::new(bytes))))
}

/// What a file of objects becomes.
pub(super) enum Objects {
    /// Its documents, one after the other.
    Redacted(Vec<Redacted>),
    /// It holds something else.
    None,
    /// It cannot be parsed, and a Secret in it could not be told from its surroundings.
    Unsafe,
}

/// Redacts a file of objects.
pub(super) fn objects(redactor: &Redactor, path: &str, place: &RedactedPath, bytes: &[u8]) -> Objects {
    let (documents, whole) = load::documents(bytes);
    let objects = whole && !documents.is_empty() && documents.iter().all(|d| d.is_object() || d.is_array());
    if !objects {
        let may_hold = !whole && mentions_secret(bytes) && memchr::memmem::find(bytes, b"data").is_some();
        return if may_hold { Objects::Unsafe } else { Objects::None };
    }
    let lower = path.to_ascii_lowercase();
    let yaml = lower.ends_with(".yaml") || lower.ends_with(".yml");
    let json = lower.ends_with(".json") || (!yaml && bytes.trim_ascii_start().starts_with(b"{"));
    let mut pieces = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        if json {
            pieces.push(redactor.json(place, &document));
        } else {
            if index > 0 {
                pieces.push(Redacted::literal("---\n"));
            }
            pieces.push(redactor.object(place, document).to_yaml());
        }
    }
    Objects::Redacted(pieces)
}

/// Whether a file holds objects although its name does not say so.
pub(super) fn hides_objects(path: &str, start: &[u8]) -> bool {
    !path.to_ascii_lowercase().ends_with(".log") && load::looks_like_objects(start)
}

struct Work<'a> {
    redactor: &'a Redactor,
    writer: &'a Writer,
    done: Rewritten,
    manifest: Option<Manifest>,
    /// The redaction report of an earlier time.
    report: Option<RedactionReport>,
    /// Renderings of the analysis that are made anew.
    rendered: Vec<String>,
    /// What is known of the files of the input, by their paths.
    entries: BTreeMap<String, FileEntry>,
    /// Whether the input went through the gate already, so that nothing need be left out for safety.
    redacted_before: bool,
    failed: Option<WriteError>,
}

impl<'a> Work<'a> {
    fn new(redactor: &'a Redactor, writer: &'a Writer) -> Self {
        Self {
            redactor,
            writer,
            done: Rewritten::default(),
            manifest: None,
            report: None,
            rendered: Vec::new(),
            entries: BTreeMap::new(),
            redacted_before: false,
            failed: None,
        }
    }

    /// Where a member of the new archive comes from, and whether something is missing from it already.
    fn origin(&self, path: &str) -> (String, bool) {
        match self.entries.get(path) {
            Some(entry) => (entry.source.clone(), entry.truncated),
            None => ("the redacted bundle".to_owned(), false),
        }
    }

    fn source(&mut self, source: &dyn Source, folder: &str, depth: usize) -> Result<(), ReadError> {
        let problems = source.walk(&mut |entry, content| {
            let entry = Entry { path: format!("{folder}{}", entry.path), bytes: entry.bytes };
            match self.file(&entry, content, depth) {
                Ok(()) => Visit::Next,
                Err(error) => {
                    self.failed = Some(error);
                    Visit::Stop
                }
            }
        })?;
        self.done.problems.extend(problems);
        Ok(())
    }

    /// Renders the report of the analysis anew, from the one that has pseudonyms: in a page, names are cut and
    /// escaped, so that they cannot be found one by one.
    fn reports(&mut self) -> Result<(), RewriteError> {
        let rendered = std::mem::take(&mut self.rendered);
        if rendered.is_empty() {
            return Ok(());
        }
        let text = self.writer.source().read(path::REPORT_JSON, OBJECTS)?.unwrap_or_default();
        // Its names have their pseudonyms already.
        let plain = self.redactor.without_names();
        let Ok(report) = serde_json::from_slice(&text) else {
            for name in rendered {
                self.left_out(&name, "cannot be rendered without a report that can be read");
            }
            return Ok(());
        };
        let report = plain.report(report);
        for name in rendered {
            let text = match name.as_str() {
                path::REPORT_HTML => render::html(&report),
                path::REPORT_MARKDOWN => render::markdown(&report),
                _ => render::text(&report, &render::TextOptions { full: true, ..Default::default() }),
            };
            let place = plain.path(&name);
            let text = plain.text(&place, text.as_bytes());
            self.writer.add(place, SELF.to_owned(), &text)?;
            self.done.files += 1;
        }
        Ok(())
    }

    fn left_out(&mut self, path: &str, why: &str) {
        self.done.left_out.push(format!("{}: {why}", self.redactor.path(path).as_str()));
    }

    fn file(&mut self, entry: &Entry, content: &mut dyn Read, depth: usize) -> Result<(), WriteError> {
        if self.redactor.drops(&entry.path) {
            self.left_out(&entry.path, "dropped by a rule");
            return Ok(());
        }
        if self.redactor.obfuscator().is_some() && RENDERED.contains(&entry.path.as_str()) {
            self.rendered.push(entry.path.clone());
            return Ok(());
        }
        match form(&entry.path, entry.bytes) {
            Form::Objects => self.objects(entry, content),
            Form::Text => {
                let start = start_of(content);
                let mut content = start.as_slice().chain(content);
                if hides_objects(&entry.path, &start) && entry.bytes <= OBJECTS {
                    return self.objects(entry, &mut content);
                }
                self.text(&entry.path, &mut content)
            }
            Form::Gzip => {
                let name = entry.path[..entry.path.len() - 3].to_owned();
                self.text(&name, &mut MultiGzDecoder::new(content))
            }
            Form::TooLarge => {
                self.left_out(&entry.path, "too large to be read as objects");
                Ok(())
            }
            Form::Archive if depth < DEPTH => {
                match nested(&entry.path, content) {
                    Ok(inner) => {
                        if let Err(error) = self.source(&*inner, &format!("{}/", entry.path), depth + 1) {
                            self.left_out(&entry.path, &error.to_string());
                        }
                    }
                    Err(error) => self.left_out(&entry.path, &error.to_string()),
                }
                Ok(())
            }
            Form::Archive => {
                self.left_out(&entry.path, "archives are nested too deeply");
                Ok(())
            }
        }
    }

    fn objects(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), WriteError> {
        let mut bytes = Vec::new();
        if let Err(error) = content.take(OBJECTS).read_to_end(&mut bytes) {
            self.done.problems.push(format!("{}: {error}", self.redactor.path(&entry.path).as_str()));
        }
        if entry.path == path::MANIFEST
            && let Ok(manifest) = serde_json::from_slice(&bytes)
        {
            self.manifest = Some(manifest);
            return Ok(());
        }
        if entry.path == path::REDACTION_REPORT
            && let Ok(report) = serde_json::from_slice(&bytes)
        {
            self.report = Some(report);
            return Ok(());
        }
        let place = self.redactor.path(&entry.path);
        let pieces = match objects(self.redactor, &entry.path, &place, &bytes) {
            Objects::Redacted(pieces) => pieces,
            Objects::Unsafe if !self.redacted_before => {
                self.left_out(&entry.path, "cannot be parsed, and may hold Secrets");
                return Ok(());
            }
            Objects::Unsafe | Objects::None => return self.text(&entry.path, &mut bytes.as_slice()),
        };
        let (origin, truncated) = self.origin(&entry.path);
        let mut member = self.writer.member(place, origin);
        for piece in &pieces {
            member.write(piece)?;
        }
        member.finish(truncated)?;
        self.done.files += 1;
        Ok(())
    }

    fn text(&mut self, name: &str, content: &mut dyn Read) -> Result<(), WriteError> {
        let place: RedactedPath = self.redactor.path(name);
        let mut piece = vec![0u8; 256 * 1024];
        let mut stream = self.redactor.stream(&place);
        let mut member = None;
        let (origin, mut truncated) = self.origin(name);
        loop {
            let read = match content.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.done.problems.push(format!("{}: {error}", place.as_str()));
                    truncated = true;
                    break;
                }
            };
            if !self.redacted_before && member.is_none() && piece[..read.min(8192)].contains(&0) {
                self.left_out(name, "is neither objects nor text");
                return Ok(());
            }
            let ready = stream.push(&piece[..read]);
            let member = member.get_or_insert_with(|| self.writer.member(place.clone(), origin.clone()));
            member.write(&ready)?;
        }
        let rest = stream.finish();
        let mut member = member.unwrap_or_else(|| self.writer.member(place.clone(), origin));
        member.write(&rest)?;
        member.finish(truncated)?;
        self.done.files += 1;
        Ok(())
    }
}
