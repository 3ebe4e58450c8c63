//! A bundle that did not come from the gate, read through it: whoever reads it sees what `redact` would
//! have written, file by file, without a copy being made.
//!
//! A bundle of ours is known by its manifest, which must hold for every file (path, size, checksum): what was
//! added or changed afterwards makes it foreign, and so does a Secret with a payload. Nothing proves who
//! wrote a manifest. Whoever forges one with the right checksums holds the values in their hands, and gains
//! nothing that the files would not give them; `verify` looks for secrets whatever the manifest says.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Cursor, Read};
use std::sync::{Mutex, PoisonError};

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::manifest::{self, Manifest};
use super::read::{Entry, ReadError, Source, Visit};
use super::rewrite::{self, Objects};
use super::{load, path};
use crate::model::secret_shape;
use crate::redact::{Redactor, TextStream};

/// The largest file that is read as objects.
const OBJECTS: u64 = 512 << 20;
/// No kubelet lets a log grow to more than this, compressed or not.
const LOG: u64 = 4 << 30;
/// How much of a file tells what it is.
const START: u64 = 4096;
/// The largest manifest that is believed.
const MANIFEST: u64 = 256 << 20;

/// Whether a bundle is as our gate wrote it.
///
/// # Errors
/// The bundle as a whole cannot be read.
pub fn is_ours(source: &dyn Source) -> Result<bool, ReadError> {
    let Some(text) = source.read(path::MANIFEST, MANIFEST)? else { return Ok(false) };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else { return Ok(false) };
    if manifest.schema_version != manifest::SCHEMA_VERSION || manifest.files.is_empty() {
        return Ok(false);
    }
    let mut listed: BTreeMap<&str, &manifest::FileEntry> =
        manifest.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let redacted = listed.contains_key(path::REDACTION_REPORT);
    let mut holds = redacted;
    let problems = source.walk(&mut |entry, content| {
        if entry.path == path::MANIFEST {
            return Visit::Next;
        }
        holds = listed.remove(entry.path.as_str()).is_some_and(|file| {
            let mut hash = Hash(Sha256::new());
            let copied = io::copy(content, &mut hash);
            copied.is_ok_and(|bytes| bytes == file.bytes) && manifest::hex(hash.0) == file.sha256
        });
        if holds { Visit::Next } else { Visit::Stop }
    })?;
    Ok(holds && listed.is_empty() && problems.is_empty())
}

struct Hash(Sha256);

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a Secret of this bundle has a payload, which the gate would never have let through.
#[must_use]
pub fn holds_payload(bundle: &crate::model::Bundle) -> bool {
    bundle.list(&crate::model::kinds::SECRET).any(|secret| {
        secret_shape::values(&secret.value().to_json())
            .values()
            .any(|value| !value.is_empty() && !value.ends_with(b" bytes long"))
    })
}

/// A bundle behind the gate.
pub struct Gated {
    inner: Box<dyn Source>,
    redactor: Redactor,
    /// Paths that the gate changed, by what became of them.
    renamed: Mutex<HashMap<String, String>>,
}

impl std::fmt::Debug for Gated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gated").finish_non_exhaustive()
    }
}

impl Gated {
    /// Puts the gate before a bundle; the values of its Secrets are learned first.
    ///
    /// # Errors
    /// The bundle as a whole cannot be read.
    pub fn new(inner: Box<dyn Source>, redactor: Redactor) -> Result<Self, ReadError> {
        rewrite::learn(&*inner, &redactor)?;
        Ok(Self { inner, redactor, renamed: Mutex::default() })
    }

    /// What a path is called in the bundle itself.
    fn original(&self, path: &str) -> String {
        let renamed = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
        renamed.get(path).cloned().unwrap_or_else(|| path.to_owned())
    }

    /// A file as the gate lets it through.
    fn through<'a>(&self, name: &str, content: &'a mut dyn Read) -> Box<dyn Read + 'a> {
        let start = start_of(content);
        let whole = Cursor::new(start.clone()).chain(content);
        if !start.starts_with(&[0x1f, 0x8b, 8]) {
            return self.plain(name, start, whole);
        }
        let mut inflated = MultiGzDecoder::new(whole).take(LOG);
        let start = start_of(&mut inflated);
        let whole = Cursor::new(start.clone()).chain(inflated);
        self.plain(name.strip_suffix(".gz").unwrap_or(name), start, whole)
    }

    fn plain<'a>(&self, name: &str, start: Vec<u8>, content: impl Read + 'a) -> Box<dyn Read + 'a> {
        let place = self.redactor.path(name);
        let lower = name.to_ascii_lowercase();
        let named = [".yaml", ".yml", ".json"].iter().any(|ending| lower.ends_with(ending));
        if !named && !rewrite::hides_objects(name, &start) {
            return Box::new(Redacting {
                content,
                stream: Some(self.redactor.stream(&place)),
                ready: Cursor::default(),
            });
        }
        let mut bytes = Vec::new();
        if let Err(error) = content.take(OBJECTS + 1).read_to_end(&mut bytes) {
            // What came before the error is shown, and the error told.
            let shown = Cursor::new(self.objects(name, &place, &bytes));
            return Box::new(shown.chain(Broken(Some(error))));
        }
        if bytes.len() as u64 > OBJECTS {
            return Box::new(Broken(Some(io::Error::other("too large to be redacted as objects"))));
        }
        Box::new(Cursor::new(self.objects(name, &place, &bytes)))
    }

    fn objects(&self, name: &str, place: &crate::redact::RedactedPath, bytes: &[u8]) -> Vec<u8> {
        match rewrite::objects(&self.redactor, name, place, bytes) {
            Objects::Redacted(pieces) => pieces.iter().flat_map(|piece| piece.as_bytes()).copied().collect(),
            Objects::None => self.redactor.text(place, bytes).as_bytes().to_vec(),
            // A Secret in it could not be told from its surroundings.
            Objects::Unsafe => Vec::new(),
        }
    }
}

/// The beginning of a file.
fn start_of(content: &mut dyn Read) -> Vec<u8> {
    let mut start = Vec::new();
    // An error comes again when the rest is read.
    let _ = content.take(START).read_to_end(&mut start);
    start
}

impl Source for Gated {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        let problems = self.inner.walk(&mut |entry, content| {
            let place = self.redactor.path(&entry.path);
            if place.as_str() != entry.path {
                let mut renamed = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
                renamed.insert(place.as_str().to_owned(), entry.path.clone());
            }
            let shown = Entry { path: place.as_str().to_owned(), bytes: entry.bytes };
            visit(&shown, &mut *self.through(&entry.path, content))
        })?;
        Ok(problems.iter().map(|problem| self.redactor.line(problem)).collect())
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let mut bytes = Vec::new();
        let mut failed = None;
        let found = self.stream(path, &mut |content| {
            failed = content.take(limit).read_to_end(&mut bytes).err();
        })?;
        match failed {
            Some(source) => Err(ReadError::Io { path: path.to_owned(), source }),
            None => Ok(found.then_some(bytes)),
        }
    }

    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        let original = self.original(path);
        self.inner.stream(&original, &mut |content| visit(&mut *self.through(&original, content)))
    }
}

/// A text on its way through the redactor.
struct Redacting<R> {
    content: R,
    /// Taken when the text has ended.
    stream: Option<TextStream>,
    ready: Cursor<Vec<u8>>,
}

impl<R: Read> Read for Redacting<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.ready.read(into)?;
            if n > 0 || into.is_empty() {
                return Ok(n);
            }
            let Some(stream) = &mut self.stream else { return Ok(0) };
            let mut piece = vec![0u8; 64 * 1024];
            let read = match self.content.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let redacted = if read == 0 {
                match self.stream.take() {
                    Some(stream) => stream.finish(),
                    None => return Ok(0),
                }
            } else {
                stream.push(&piece[..read])
            };
            self.ready = Cursor::new(redacted.as_bytes().to_vec());
        }
    }
}

/// Tells an error once.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Loads a bundle for showing it: as it is when it is ours, else from behind the gate. The last part tells
/// which it was.
///
/// # Errors
/// The bundle as a whole cannot be read.
pub fn open(
    source: Box<dyn Source>,
    redactor: impl FnOnce() -> Redactor,
) -> Result<(Box<dyn Source>, crate::model::Bundle, bool), ReadError> {
    if is_ours(&*source)? {
        let bundle = load::load(&*source)?;
        if !holds_payload(&bundle) {
            return Ok((source, bundle, true));
        }
    }
    let gated = Gated::new(source, redactor())?;
    let bundle = load::load(&gated)?;
    Ok((Box::new(gated), bundle, false))
}
