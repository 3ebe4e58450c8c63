//! Opening a bundle: our archives, must-gathers, inspect output, loose files, standard input.

use std::io::Read;
use std::path::Path;

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
        let mut found = false;
        self.walk(&mut |entry, content| {
            if entry.path != path {
                return Visit::Next;
            }
            found = true;
            visit(content);
            Visit::Stop
        })?;
        Ok(found)
    }
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
    Err(ReadError::NotABundle { path: path.display().to_string(), why: "not supported yet".to_owned() })
}
