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
use crate::redact::report::RedactionReport;
use crate::redact::{RedactedPath, Redactor};

/// The largest file that is read as objects; larger ones are left out, because a Secret in them cannot
/// be told from its surroundings.
const OBJECTS: u64 = 512 << 20;
/// The largest archive within an archive.
const NESTED: u64 = 512 << 20;
/// What made the files that are not in the input.
const SELF: &str = "oc-mcpgw redact";
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
            Form::Archive | Form::Text | Form::Gzip | Form::TooLarge => {}
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

/// Redacts all files of a bundle into an archive.
///
/// # Errors
/// The input as a whole cannot be read, or the output cannot be written.
pub fn rewrite(source: &dyn Source, redactor: &Redactor, writer: &Writer) -> Result<Rewritten, RewriteError> {
    let mut work =
        Work { redactor, writer, done: Rewritten::default(), manifest: None, report: None, failed: None };
    work.source(source, "", 0)?;
    if let Some(error) = work.failed {
        return Err(error.into());
    }
    let report = redactor.report_counts().and_before(work.report.take());
    let place = redactor.path(path::REDACTION_REPORT);
    let text = redactor.json(&place, &report);
    writer.add(place, SELF.to_owned(), &text)?;
    work.done.files += 1;
    if let Some(mut manifest) = work.manifest.take() {
        let before: BTreeMap<String, FileEntry> =
            manifest.files.drain(..).map(|f| (redactor.path(&f.path).as_str().to_owned(), f)).collect();
        manifest.files = writer.entries();
        for file in &mut manifest.files {
            if let Some(before) = before.get(&file.path) {
                file.source.clone_from(&before.source);
                file.truncated |= before.truncated;
            }
        }
        let place = redactor.path(path::MANIFEST);
        let text = redactor.json(&place, &manifest);
        writer.add(place, SELF.to_owned(), &text)?;
        work.done.files += 1;
    }
    Ok(work.done)
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

struct Work<'a> {
    redactor: &'a Redactor,
    writer: &'a Writer,
    done: Rewritten,
    manifest: Option<Manifest>,
    /// The redaction report of an earlier time.
    report: Option<RedactionReport>,
    failed: Option<WriteError>,
}

impl Work<'_> {
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

    fn left_out(&mut self, path: &str, why: &str) {
        self.done.left_out.push(format!("{}: {why}", self.redactor.path(path).as_str()));
    }

    fn file(&mut self, entry: &Entry, content: &mut dyn Read, depth: usize) -> Result<(), WriteError> {
        if self.redactor.drops(&entry.path) {
            self.left_out(&entry.path, "dropped by a rule");
            return Ok(());
        }
        match form(&entry.path, entry.bytes) {
            Form::Objects => self.objects(entry, content),
            Form::Text => self.text(&entry.path, content),
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
        let (documents, whole) = load::documents(&bytes);
        let place = self.redactor.path(&entry.path);
        let objects =
            whole && !documents.is_empty() && documents.iter().all(|d| d.is_object() || d.is_array());
        if !objects {
            // A Secret in a file that cannot be parsed cannot be told from its surroundings.
            if !whole && mentions_secret(&bytes) && memchr::memmem::find(&bytes, b"data").is_some() {
                self.left_out(&entry.path, "cannot be parsed, and may hold Secrets");
                return Ok(());
            }
            return self.text(&entry.path, &mut bytes.as_slice());
        }
        let json = entry.path.to_ascii_lowercase().ends_with(".json");
        let mut member = self.writer.member(place.clone(), source_of());
        for (index, document) in documents.into_iter().enumerate() {
            if json {
                member.write(&self.redactor.json(&place, &document))?;
            } else {
                if index > 0 {
                    member.write(&crate::redact::Redacted::literal("---\n"))?;
                }
                member.write(&self.redactor.object(&place, document).to_yaml())?;
            }
        }
        member.finish(false)?;
        self.done.files += 1;
        Ok(())
    }

    fn text(&mut self, name: &str, content: &mut dyn Read) -> Result<(), WriteError> {
        let place: RedactedPath = self.redactor.path(name);
        let mut piece = vec![0u8; 256 * 1024];
        let mut stream = self.redactor.stream(&place);
        let mut member = None;
        let mut truncated = false;
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
            if member.is_none() && piece[..read.min(8192)].contains(&0) {
                self.left_out(name, "is neither objects nor text");
                return Ok(());
            }
            let ready = stream.push(&piece[..read]);
            let member = member.get_or_insert_with(|| self.writer.member(place.clone(), source_of()));
            member.write(&ready)?;
        }
        let rest = stream.finish();
        let mut member = member.unwrap_or_else(|| self.writer.member(place.clone(), source_of()));
        member.write(&rest)?;
        member.finish(truncated)?;
        self.done.files += 1;
        Ok(())
    }
}

/// Where a member of the new archive comes from.
fn source_of() -> String {
    "the redacted bundle".to_owned()
}
