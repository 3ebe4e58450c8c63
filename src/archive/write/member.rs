//! One file of the archive while it is written.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::directory::persist;
use super::fit::weight;
use super::join::SMALL;
use super::leftover::{Leftover, has_ended};
use super::spool::{Block, fill_block};
use super::{Body, MEMORY, Shared, Stored, WriteError, make_folders, parent, partial};
use crate::redact::Redacted;

/// A member in the making; dropped without [`Member::finish`], it leaves no trace.
#[derive(Debug)]
pub struct Member {
    pub(super) shared: Arc<Shared>,
    pub(super) path: String,
    pub(super) source: String,
    pub(super) sha256: Sha256,
    pub(super) bytes: u64,
    /// What waits to be a block.
    pub(super) pending: Vec<u8>,
    pub(super) blocks: Vec<Block>,
    /// The file of its own, when a directory is filled and the member is not small.
    pub(super) file: Option<NamedTempFile>,
    /// Its temporary name.
    pub(super) leftover: Option<Leftover>,
    /// Our part of [`Shared::open`].
    pub(super) counted: u64,
}

impl Member {
    /// Appends redacted bytes. CPU-bound: call it off the reactor for large pieces.
    ///
    /// # Errors
    /// The spool cannot be written.
    pub fn write(&mut self, content: &Redacted) -> Result<(), WriteError> {
        let mut bytes = content.as_bytes();
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if fill_block(&mut self.pending, &mut bytes) {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// What the member takes of the archive's room so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.counted
    }

    /// How much room a byte of the member takes, as far as that is known.
    #[must_use]
    pub fn density(&self) -> f64 {
        let stored = self.bytes.saturating_sub(self.pending.len() as u64);
        if stored == 0 { 1.0 } else { self.counted as f64 / stored as f64 }
    }

    /// Moves what waits to where it is kept.
    fn flush(&mut self) -> Result<(), WriteError> {
        let mut written = self.pending.len() as u64;
        if let Some(directory) = self.shared.directory() {
            let path = directory.join(&self.path);
            let fail = |e| WriteError::io(&path, e);
            if has_ended() {
                return Err(fail(std::io::ErrorKind::Interrupted.into()));
            }
            if self.file.is_none() {
                make_folders(&directory, &self.path).map_err(fail)?;
                let file =
                    partial(&path, 0o666, |builder| builder.tempfile_in(parent(&path))).map_err(fail)?;
                self.leftover = Some(Leftover::new(file.path()));
                self.file = Some(file);
            }
            if let Some(file) = &mut self.file {
                file.write_all(&self.pending).map_err(fail)?;
            }
        } else {
            let block = self.shared.spool.store(&self.pending).map_err(|e| self.shared.spool_error(e))?;
            written = u64::from(block.compressed);
            self.blocks.push(block);
        }
        self.pending.clear();
        self.counted += written;
        self.shared.open.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the member. `truncated`: something was left out of it.
    ///
    /// # Errors
    /// The spool cannot be written.
    pub fn finish(mut self, truncated: bool) -> Result<(), WriteError> {
        let shared = Arc::clone(&self.shared);
        let body = if let Some(directory) = shared.directory() {
            self.flush()?;
            self.path = persist(self.file.take(), &directory, &self.path, shared.options.time)?;
            Body::File
        } else if self.blocks.is_empty() && self.bytes <= SMALL && self.reserve_memory() {
            Body::Memory(self.pending.clone())
        } else {
            if !self.pending.is_empty() {
                self.flush()?;
            }
            Body::Spooled(std::mem::take(&mut self.blocks))
        };
        let stored = Stored {
            path: std::mem::take(&mut self.path).into(),
            source: std::mem::take(&mut self.source).into(),
            bytes: self.bytes,
            sha256: std::mem::take(&mut self.sha256).finalize().into(),
            truncated,
            body,
        };
        let mut state = shared.state();
        state.weight += weight(&stored, shared.options.format);
        state.members.push(Arc::new(stored));
        Ok(())
    }

    fn reserve_memory(&self) -> bool {
        let mut state = self.shared.state();
        let fits = state.in_memory + self.pending.len() <= MEMORY;
        if fits {
            state.in_memory += self.pending.len();
        }
        fits
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.spool.take_back(std::mem::take(&mut self.pending));
        self.shared.open.fetch_sub(self.counted, Ordering::Relaxed);
        for block in &self.blocks {
            self.shared.spool.release(block);
        }
    }
}
