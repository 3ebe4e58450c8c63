//! Filling a directory: files that appear whole, folders with the time of the collection.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tempfile::NamedTempFile;

use super::leftover::{Leftover, has_ended};
use super::{Body, Shared, Stored, WriteError, free_name, parent};

/// The directory that is filled.
#[derive(Debug)]
pub(super) enum Directory {
    /// Removed when dropped.
    Staging(tempfile::TempDir, Leftover),
    Final(PathBuf),
}

impl Directory {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Staging(directory, _) => directory.path(),
            Self::Final(path) => path,
        }
    }
}

impl Shared {
    /// Gives every folder the time of the collection (a file has it since it was finished), and a
    /// staging directory its final name.
    pub(super) fn settle_directory(
        &self,
        target: &Path,
        members: &[(String, Arc<Stored>)],
    ) -> Result<(), WriteError> {
        let mut state = self.state();
        let Some(directory) = state.directory.take() else {
            return Err(WriteError::io(target, io::ErrorKind::NotFound.into()));
        };
        let mut folders: Vec<PathBuf> = members
            .iter()
            .flat_map(|(path, _)| path.match_indices('/').map(|(at, _)| directory.path().join(&path[..at])))
            .collect();
        folders.sort();
        folders.dedup();
        for folder in folders.iter().rev() {
            set_time(folder, self.options.time);
        }
        // Someone may have taken away what was written: half a collection is none.
        for (path, member) in members {
            let place = directory.path().join(&*member.path);
            if matches!(member.body, Body::File) && place.symlink_metadata().is_err() {
                return Err(WriteError::io(&target.join(path), io::ErrorKind::NotFound.into()));
            }
        }
        if let Directory::Staging(staging, _leftover) = directory {
            set_time(staging.path(), self.options.time);
            // A rename replaces an empty directory, so what came in between is looked for here.
            if target.symlink_metadata().is_ok() {
                return Err(WriteError::Exists { path: target.display().to_string() });
            }
            if has_ended() {
                return Err(WriteError::io(target, io::ErrorKind::Interrupted.into()));
            }
            fs::rename(staging.path(), target).map_err(|e| WriteError::io(target, e))?;
            // It is no longer there under the old name; there is nothing to remove.
            let _ = staging.keep();
            sync_directory(&parent(target));
        }
        state.directory = Some(Directory::Final(target.to_owned()));
        Ok(())
    }
}

/// Sets the modification time, which readers of must-gathers take for the time of the collection.
/// Some file systems cannot; the evidence is the same without it.
fn set_time(path: &Path, time: DateTime<Utc>) {
    if let Ok(file) = File::open(path) {
        let _ = file.set_modified(time.into());
    }
}

/// Gives a file its name in the directory, the next free one if that is taken by another member.
pub(super) fn persist(
    file: Option<NamedTempFile>,
    directory: &Path,
    path: &str,
    time: DateTime<Utc>,
) -> Result<String, WriteError> {
    let Some(mut file) = file else {
        return Err(WriteError::io(&directory.join(path), io::ErrorKind::NotFound.into()));
    };
    // On the open file: later it may be read-only to us.
    let _ = file.as_file().set_modified(time.into());
    loop {
        let name = free_name(path, |path| directory.join(path).symlink_metadata().is_ok());
        let target = directory.join(&name);
        match file.persist_noclobber(&target) {
            Ok(_) => return Ok(name),
            // Someone was faster: the next name.
            Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => file = e.file,
            Err(e) => return Err(WriteError::io(&target, e.error)),
        }
    }
}

/// Makes a rename durable where the system knows how; elsewhere the system does it in its own time.
pub(super) fn sync_directory(path: &Path) {
    if let Ok(directory) = File::open(path) {
        let _ = directory.sync_all();
    }
}
