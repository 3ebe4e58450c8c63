//! Limits against input that is made to exhaust the reader, and the reader that keeps them.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::rc::Rc;

/// How many members a container may have. The largest must-gathers have some hundred thousand.
pub(super) const MEMBERS: usize = 1_000_000;

/// How many bytes a container may hold when inflated: three times a bundle with 20 GiB of logs.
pub(super) const TOTAL: u64 = 64 << 30;

/// From this size on the ratio is looked at: less than this can do no harm, as nothing is kept.
const RATIO_FROM: u64 = 1 << 30;

/// How many times larger a container may be than its compressed form. Logs reach 10 to 50; a
/// deflate stream of nothing but zeros 1030.
const RATIO: u64 = 250;

/// How many bytes the extension headers of one tar member (long names) may take.
pub(super) const TAR_EXTENSION: u64 = 1 << 20;

/// How much of standard input is held in memory when it cannot be read as a stream.
pub(super) const STANDARD_INPUT: u64 = 256 << 20;

/// Members up to this size are kept for a second look, …
pub(super) const CACHED_MEMBER: u64 = 1 << 20;

/// … as long as all of them together stay below this.
pub(super) const CACHE: u64 = 48 << 20;

/// How deep directories are followed.
pub(super) const DEPTH: usize = 64;

/// How the inflating went, for whoever started it.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Rc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    compressed: Cell<u64>,
    inflated: Cell<u64>,
    limit: RefCell<Option<String>>,
}

impl Watch {
    /// Counts what is read of the compressed form.
    pub(super) fn compressed<R: Read>(&self, inner: R) -> Compressed<R> {
        Compressed { inner, watch: self.clone() }
    }

    /// Counts what someone else reads of the compressed form.
    pub(super) fn add_compressed(&self, bytes: u64) {
        self.0.compressed.set(self.0.compressed.get().saturating_add(bytes));
    }

    /// Stops when a limit is exceeded.
    pub(super) fn inflated<R: Read>(&self, inner: R) -> Inflated<R> {
        Inflated { inner, watch: self.clone() }
    }

    /// The limit that was exceeded.
    pub(super) fn limit(&self) -> Option<String> {
        self.0.limit.borrow().clone()
    }
}

/// See [`Watch::compressed`].
pub(super) struct Compressed<R> {
    inner: R,
    watch: Watch,
}

impl<R: Read> Read for Compressed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.watch.add_compressed(n as u64);
        Ok(n)
    }
}

/// See [`Watch::inflated`].
pub(super) struct Inflated<R> {
    inner: R,
    watch: Watch,
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        let watched = &*self.watch.0;
        let total = watched.inflated.get() + n as u64;
        watched.inflated.set(total);
        let limit = if total > TOTAL {
            Some(format!("{} GiB of content", TOTAL >> 30))
        } else if total > RATIO_FROM && total / RATIO > watched.compressed.get() {
            Some(format!("{RATIO} times its compressed size, which no real bundle reaches"))
        } else {
            None
        };
        match limit {
            None => Ok(n),
            Some(limit) => {
                *watched.limit.borrow_mut() = Some(limit.clone());
                Err(io::Error::other(format!("exceeds the limit of {limit}")))
            }
        }
    }
}
