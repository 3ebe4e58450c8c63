//! Writing an archive: members arrive in any order from many tasks, already redacted, and leave
//! sorted by path, so that the same input gives the same bytes.
//!
//! Each member is compressed while it arrives, in blocks of its own, and waits in one unlinked
//! temporary file beside the target (redacted and compressed, never plain) or in memory when it is
//! small. At the end the blocks are joined into one ordinary archive under a temporary name, which
//! is renamed when whole.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::read::Source;
use crate::redact::{Redacted, RedactedPath};

/// The form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// A gzip-compressed tar archive.
    #[default]
    #[value(name = "tar.gz", alias = "tgz")]
    TarGz,
    /// A Zstandard-compressed tar archive; smaller and faster, but some readers do not open it.
    #[value(name = "tar.zst", alias = "tzst")]
    TarZst,
    /// A zip archive.
    #[value(name = "zip")]
    Zip,
    /// A directory.
    #[value(name = "dir")]
    Dir,
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A new file, or a new directory for [`Format::Dir`].
    Path(PathBuf),
    /// An existing directory that is filled file by file (the must-gather image).
    Into(PathBuf),
    /// Standard output.
    Stdout,
    /// Nowhere: only [`Writer::source`] is wanted (`check`).
    Memory,
}

/// Why an archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The target exists.
    #[error("{path} already exists")]
    Exists {
        /// The target.
        path: String,
    },
    /// The file system said no.
    #[error("cannot write {path}")]
    Io {
        /// What was to be written.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// How to write.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// In which form.
    pub format: Format,
    /// The root folder of the archive.
    pub root: String,
    /// The modification time of every member: when the collection began.
    pub time: DateTime<Utc>,
}

/// An archive in the making. Clones write to the same archive, from any thread.
#[derive(Debug, Clone)]
pub struct Writer {}

impl Writer {
    /// Prepares the target; nothing stands under its final name until [`Writer::finish`].
    ///
    /// # Errors
    /// The target exists or cannot be written.
    pub fn create(options: Options) -> Result<Self, WriteError> {
        let _ = options;
        Ok(Self {})
    }

    /// Begins a member. `source` is the request that it comes from.
    #[must_use]
    pub fn member(&self, path: RedactedPath, source: String) -> Member {
        let _ = (path, source);
        Member {}
    }

    /// Writes a member that is whole in memory.
    ///
    /// # Errors
    /// The spool cannot be written.
    pub fn add(&self, path: RedactedPath, source: String, content: &Redacted) -> Result<(), WriteError> {
        let mut member = self.member(path, source);
        member.write(content)?;
        member.finish(false)
    }

    /// The entries of the members that are finished, sorted by path: the manifest's `files`.
    #[must_use]
    pub fn entries(&self) -> Vec<super::manifest::FileEntry> {
        Vec::new()
    }

    /// Reads back what was written so far, to analyze it before the archive is closed.
    #[must_use]
    pub fn source(&self) -> Box<dyn Source> {
        std::process::abort()
    }

    /// Joins the members, sorted by path, and gives the archive its final name.
    ///
    /// # Errors
    /// The target cannot be written; nothing is left under its final name then.
    pub fn finish(self) -> Result<Finished, WriteError> {
        Ok(Finished { path: None, bytes: 0, files: 0 })
    }

    /// Gives up: removes whatever stands under a temporary name.
    pub fn abandon(self) {}
}

/// A finished archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Where it stands, unless it went to standard output or nowhere.
    pub path: Option<PathBuf>,
    /// Its size.
    pub bytes: u64,
    /// How many files it holds.
    pub files: usize,
}

/// A member in the making; dropped without [`Member::finish`], it leaves no trace.
#[derive(Debug)]
pub struct Member {}

impl Member {
    /// Appends redacted bytes. CPU-bound: call it off the reactor for large pieces.
    ///
    /// # Errors
    /// The spool cannot be written.
    pub fn write(&mut self, content: &Redacted) -> Result<(), WriteError> {
        let _ = content;
        Ok(())
    }

    /// Ends the member. `truncated`: something was left out of it.
    ///
    /// # Errors
    /// The spool cannot be written.
    pub fn finish(self, truncated: bool) -> Result<(), WriteError> {
        let _ = truncated;
        Ok(())
    }
}
