//! What stands under a temporary name, so that it can be removed by whoever ends the program at
//! once: then no destructor runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct All {
    paths: BTreeSet<PathBuf>,
    /// Nothing new is begun any more.
    ended: bool,
}

static ALL: Mutex<All> = Mutex::new(All { paths: BTreeSet::new(), ended: false });

fn all() -> MutexGuard<'static, All> {
    // The set is whole at every moment.
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file or directory under a temporary name; forgotten when this is dropped.
#[derive(Debug)]
pub(super) struct Leftover(PathBuf);

impl Leftover {
    pub(super) fn new(path: &Path) -> Self {
        all().paths.insert(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        all().paths.remove(&self.0);
    }
}

/// Whether the program is being ended at once.
pub(super) fn has_ended() -> bool {
    all().ended
}

/// Removes whatever stands under a temporary name, for a program that ends at once while archives
/// are still being written. Nothing can be written afterwards.
pub fn remove_leftovers() {
    let mut all = all();
    all.ended = true;
    for path in std::mem::take(&mut all.paths) {
        // What cannot be removed is left to the user under its telling name.
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}
