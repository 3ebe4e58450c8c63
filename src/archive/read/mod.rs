//! Opening a bundle: our archives, must-gathers, inspect output, loose files, standard input.

mod container;
mod directory;
mod limits;
mod root;
mod single;
mod sniff;
mod tarball;
mod zipped;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use self::container::{Container, Input};
use self::directory::Directory;
use self::single::{Bytes, Single};
use self::sniff::Form;
use self::zipped::Zipped;

/// Why a bundle cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system said no.
    #[error("cannot read {path}")]
    Io {
        /// What was to be read.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The input is no bundle in any form that we know.
    #[error("{path} is not a bundle: {why}")]
    NotABundle {
        /// The input.
        path: String,
        /// What it looks like instead.
        why: String,
    },
    /// A limit against bombs was hit.
    #[error("{path} exceeds the limit of {limit}")]
    Limit {
        /// The input, and the member in it.
        path: String,
        /// Which limit.
        limit: String,
    },
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, relative to the bundle's root, `/` between its parts, never with `..`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// What a visitor wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// Go on with the next file.
    Next,
    /// That is enough.
    Stop,
}

/// A bundle's files, wherever they are stored. Nothing is ever unpacked to disk.
pub trait Source: Send + Sync {
    /// Goes through all files once, in stored order. A file that cannot be read to its end is the
    /// visitor's to note; a container that breaks off ends the walk with `Ok` and one problem.
    ///
    /// # Errors
    /// Only what makes the bundle as a whole unreadable.
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError>;

    /// Reads one file up to `limit` bytes; `None` when there is no such file.
    ///
    /// # Errors
    /// The file exists, but cannot be read.
    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError>;

    /// Hands the visitor one file as a stream, in bounded memory whatever its size; `false` when
    /// there is no such file. A source that can find a file without a walk does better than this.
    ///
    /// # Errors
    /// The file exists, but cannot be read.
    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        on_the_way(|each| self.walk(each), path, visit)
    }
}

/// Goes through files until the one at this path, and hands it over; `false` when it does not come.
fn on_the_way<T>(
    walk: impl FnOnce(&mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<T, ReadError>,
    path: &str,
    visit: &mut dyn FnMut(&mut dyn Read),
) -> Result<bool, ReadError> {
    let mut found = false;
    walk(&mut |entry, content| {
        if entry.path != path {
            return Visit::Next;
        }
        found = true;
        visit(content);
        Visit::Stop
    })?;
    Ok(found)
}

/// A bundle in memory: path to content. For installations that are built rather than read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory(pub std::collections::BTreeMap<String, Vec<u8>>);

impl Source for Memory {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        for (path, content) in &self.0 {
            let entry = Entry { path: path.clone(), bytes: content.len() as u64 };
            if visit(&entry, &mut content.as_slice()) == Visit::Stop {
                break;
            }
        }
        Ok(Vec::new())
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.0.get(path).map(|content| content[..content.len().min(limit)].to_vec()))
    }

    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        let Some(content) = self.0.get(path) else { return Ok(false) };
        visit(&mut content.as_slice());
        Ok(true)
    }
}

/// Opens a bundle by path, or standard input for `-`.
///
/// # Errors
/// One line that says what the input is instead, for the person who named it.
pub fn open(path: &Path) -> Result<Box<dyn Source>, ReadError> {
    if path == Path::new("-") {
        return stream("standard input", Box::new(BufReader::with_capacity(256 << 10, io::stdin())));
    }
    let name = path.display().to_string();
    let io = |source| ReadError::Io { path: name.clone(), source };
    let metadata = path.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Ok(Box::new(Directory::open(path)?));
    }
    let file = || File::open(path).map(BufReader::new).map_err(io);
    if !metadata.is_file() {
        // A pipe (`<(oc get …)`): it can be read once only.
        return stream(&name, Box::new(file()?));
    }
    let (form, tar) = form(&name, &mut file()?)?;
    if form == Form::Zip {
        return Ok(Box::new(Zipped::open(name.clone(), Bytes::OnDisk(path.to_owned()))?));
    }
    if tar {
        return Ok(Box::new(Container::open(name, Input::File(path.to_owned()), form)?));
    }
    let file_name = path.file_name().map_or_else(|| name.clone(), |name| name.to_string_lossy().into_owned());
    let suffix = if form == Form::Gzip { ".gz" } else { ".zst" };
    let file_name = match form {
        Form::Text => file_name,
        _ => file_name.strip_suffix(suffix).unwrap_or(&file_name).to_owned(),
    };
    Ok(Box::new(Single { name: file_name, bytes: Bytes::OnDisk(path.to_owned()), compression: form }))
}

/// Opens a bundle that can be read only once. An archive stays a stream; anything else is held in
/// memory, up to a limit.
///
/// # Errors
/// As for [`open`].
pub fn stream(name: &str, mut input: Box<dyn BufRead + Send>) -> Result<Box<dyn Source>, ReadError> {
    let io = |source| ReadError::Io { path: name.to_owned(), source };
    let mut start = peek(&mut input, sniff::LOOK).map_err(io)?;
    let first = sniff::form(&start);
    if first == Form::Tar {
        let input = Box::new(Cursor::new(start).chain(input));
        return Ok(Box::new(Container::open(name.to_owned(), Input::once(input), first)?));
    }
    if matches!(first, Form::Gzip | Form::Zstd) {
        // Enough to inflate the first block of what may be a tar archive.
        start.append(&mut peek(&mut input, 256 << 10).map_err(io)?);
        if inflated_form(&start, first) == Form::Tar {
            let input = Box::new(Cursor::new(start).chain(input));
            return Ok(Box::new(Container::open(name.to_owned(), Input::once(input), first)?));
        }
    }
    let mut all = start;
    input.take(limits::STANDARD_INPUT).read_to_end(&mut all).map_err(io)?;
    if all.len() as u64 > limits::STANDARD_INPUT {
        return Err(ReadError::Limit {
            path: name.to_owned(),
            limit: format!(
                "{} MiB for what is no tar archive; save it to a file first",
                limits::STANDARD_INPUT >> 20
            ),
        });
    }
    let (form, _) = form(name, &mut all.as_slice())?;
    let bytes = Bytes::InMemory(all.into());
    if form == Form::Zip {
        return Ok(Box::new(Zipped::open(name.to_owned(), bytes)?));
    }
    Ok(Box::new(Single { name: "stdin.yaml".to_owned(), bytes, compression: form }))
}

/// The form of an input, and whether it is a tar archive underneath.
fn form(name: &str, input: &mut dyn Read) -> Result<(Form, bool), ReadError> {
    let not = |why: &str| Err(ReadError::NotABundle { path: name.to_owned(), why: why.to_owned() });
    let io = |source| ReadError::Io { path: name.to_owned(), source };
    let mut start = peek(input, sniff::LOOK).map_err(io)?;
    let form = sniff::form(&start);
    match form {
        Form::Empty => not("it is empty"),
        Form::Other(what) => not(what),
        Form::Text | Form::Zip => Ok((form, false)),
        Form::Tar => Ok((form, true)),
        Form::Gzip | Form::Zstd => {
            start.append(&mut peek(input, 256 << 10).map_err(io)?);
            match inflated_form(&start, form) {
                Form::Tar => Ok((form, true)),
                Form::Text => Ok((form, false)),
                Form::Empty => not("it is compressed, but empty or damaged from its beginning"),
                Form::Gzip | Form::Zstd | Form::Zip => not("it is compressed twice; unpack it once first"),
                Form::Other(what) => not(&format!("what is compressed in it is no bundle: {what}")),
            }
        }
    }
}

/// What the compressed bytes hold, as far as they go.
fn inflated_form(start: &[u8], compression: Form) -> Form {
    let mut inflated = Vec::new();
    if let Ok(input) = container::inflate(Box::new(start), compression, &limits::Watch::default()) {
        // The beginning is enough; that it breaks off is no surprise.
        let _ = input.take(sniff::LOOK as u64).read_to_end(&mut inflated);
    }
    sniff::form(&inflated)
}

/// What the problem of a container that ends too early says; see [`breaks_off`].
const BREAKS_OFF: &str = ": breaks off ";

/// Whether a problem of a walk says that the container ended too early, so that any file may be
/// missing.
#[must_use]
pub fn breaks_off(problem: &str) -> bool {
    problem.contains(BREAKS_OFF)
}

/// Reads up to so many bytes, fewer only at the end.
fn peek(input: &mut dyn Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    input.take(bytes as u64).read_to_end(&mut start)?;
    Ok(start)
}
