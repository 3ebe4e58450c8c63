//! The room that `--max-size` leaves: what has to go for the sake of what matters more, and the
//! record of it. Objects come before logs of previous runs, those before long logs; a short log
//! costs so little that it comes before both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::{Refusal, one_line};
use super::cx::Cx;
use super::units::human_bytes;
use crate::archive::manifest::FileEntry;
use crate::archive::write::{LONG, Turn};
use crate::model::bundle::Failure;

/// How much of a log is read between two looks at the room.
const STEP: u64 = 512 << 10;
/// With less room than this no log is worth asking for.
const LEAST: u64 = 1 << 10;

/// Whether a log need not be asked for, because there is no room and nothing would make any.
pub(crate) fn is_used_up(cx: &Cx, previous: bool) -> bool {
    let writer = &cx.out.writer;
    cx.options.max_size.is_some_and(|limit| {
        let turn = if previous { Turn::PreviousLog } else { Turn::ShortLog };
        writer.settled_size() + LEAST > limit && !writer.can_make_room(turn)
    })
}

/// What the logs that are being read will still need for their ends. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promised(Arc<AtomicU64>);

/// How far the reading of a log is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Bytes read.
    pub(crate) read: u64,
    /// Bytes of the archive's room that they take.
    pub(crate) taken: u64,
    /// How much room a byte takes.
    pub(crate) density: f64,
    /// Bytes of its end that are to be kept if the head ends now.
    pub(crate) tail: u64,
}

/// The part of one log in the archive's room.
#[derive(Debug)]
pub(crate) struct Share {
    promised: Promised,
    own: u64,
}

impl Promised {
    /// The share of one more log.
    pub(crate) fn share(&self) -> Share {
        Share { promised: self.clone(), own: 0 }
    }
}

impl Share {
    /// Whether more of the head of a log may be kept. A short one is always read to its end: only
    /// then is it known to be short. A long one has to share the room with what else is being read,
    /// and leaves room for its end; that of a previous run has not, because current ones make room.
    pub(crate) fn is_there(&mut self, cx: &Cx, previous: bool, log: Progress) -> bool {
        let Some(limit) = cx.options.max_size else { return true };
        if log.read < LONG {
            return true;
        }
        let writer = &cx.out.writer;
        // The end will be about as dense as the beginning; and what waits comes with it.
        let end = ((log.tail + STEP) as f64 * log.density).ceil() as u64;
        if !previous {
            self.promised.0.fetch_add(end, Ordering::Relaxed);
            self.promised.0.fetch_sub(self.own, Ordering::Relaxed);
            self.own = end;
            return writer.size() + self.promised.0.load(Ordering::Relaxed) <= limit;
        }
        record(cx, &writer.make_room(limit.saturating_sub(log.taken + end), Turn::PreviousLog));
        writer.settled_size() + log.taken + end <= limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.promised.0.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// Leaves out what has no room after something was written.
pub(crate) fn settle(cx: &Cx) {
    if let Some(limit) = cx.options.max_size {
        record(cx, &cx.out.writer.fit(limit));
    }
}

/// Says at the end that there is more than wanted although no log is left.
pub(crate) fn close(cx: &Cx) {
    settle(cx);
    let Some(limit) = cx.options.max_size else { return };
    let size = cx.out.writer.size();
    if size > limit {
        cx.journal.line(format!(
            "larger than --max-size {}: without logs it is still about {}",
            human_bytes(limit),
            human_bytes(size)
        ));
    }
}

/// The refusal of a log for which there is no room.
pub(crate) fn none() -> Refusal {
    Refusal::local("NoRoom", "the room of the archive (--max-size) is used up")
}

fn record(cx: &Cx, left_out: &[FileEntry]) {
    for file in left_out {
        let refusal = none();
        cx.journal.failure(Failure {
            what: format!("keep {}", one_line(&file.path, 300)),
            request: file.source.clone(),
            code: None,
            reason: refusal.reason,
            message: format!("{}: {} left out", refusal.message, human_bytes(file.bytes)),
            consequence: "what only this log tells is unknown; gather again with a larger --max-size"
                .to_owned(),
            resource: Some("pods/log".to_owned()),
            namespace: None,
        });
    }
}
