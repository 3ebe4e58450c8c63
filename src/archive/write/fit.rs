//! Keeping an archive below a size: which members go first.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Body, Format, Stored, Writer};
use crate::archive::manifest::FileEntry;
use crate::archive::path;

/// From this size on a log counts as long.
pub(crate) const LONG: u64 = 1 << 20;

/// What a member costs beside its content: headers, and its line of the manifest.
const ENTRY: u64 = 400;

/// What is still to come when the members are weighed: manifest, failures, reports.
const REST: u64 = 64 * 1024;

/// Whose turn it is to go when room is scarce: the first goes first. Objects and files of our own
/// never go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// A current log that is long, or of which something was left out already.
    LongLog,
    /// The log of a previous run.
    PreviousLog,
    /// A current log that is short.
    ShortLog,
}

impl Turn {
    /// Whose turn it is at this path, with so much content; `None` for what stays.
    fn of(path: &str, bytes: u64, truncated: bool) -> Option<Self> {
        Some(match path::log_run(path)? {
            path::Run::Current if bytes >= LONG || truncated => Self::LongLog,
            path::Run::Previous => Self::PreviousLog,
            path::Run::Current => Self::ShortLog,
        })
    }
}

impl Writer {
    /// About how many bytes the archive has so far, with what is being written. It will not be
    /// larger than that, unless most of it cannot be compressed.
    #[must_use]
    pub fn size(&self) -> u64 {
        REST + self.shared.state().weight + self.shared.open.load(Ordering::Relaxed)
    }

    /// The same without what is being written.
    #[must_use]
    pub fn settled_size(&self) -> u64 {
        REST + self.shared.state().weight
    }

    /// Whether anything could make room for a log whose turn is this.
    #[must_use]
    pub fn can_make_room(&self, turn: Turn) -> bool {
        let state = self.shared.state();
        state.members.iter().any(|member| turn_of(member).is_some_and(|other| other < turn))
    }

    /// Leaves out logs until the archive, apart from what is being written, is not larger than
    /// `limit`: in their turn, the largest first. Objects and files of our own stay whatever their
    /// size. Gives what was left out, for the list of failures.
    pub fn fit(&self, limit: u64) -> Vec<FileEntry> {
        self.leave_out(limit, |_| true)
    }

    /// The same for the sake of a log whose turn is this: only what goes before it makes room.
    pub fn make_room(&self, limit: u64, turn: Turn) -> Vec<FileEntry> {
        self.leave_out(limit, |other| other < turn)
    }

    fn leave_out(&self, limit: u64, may: impl Fn(Turn) -> bool) -> Vec<FileEntry> {
        let mut size = self.settled_size();
        if size <= limit {
            return Vec::new();
        }
        let format = self.shared.options.format;
        let directory = self.shared.directory();
        let mut state = self.shared.state();
        let mut logs: Vec<(Turn, u64, Arc<Stored>)> = state
            .members
            .iter()
            .filter_map(|member| Some((turn_of(member)?, weight(member, format), Arc::clone(member))))
            .filter(|(turn, _, _)| may(*turn))
            .collect();
        // The path decides between equals, so that the same input gives the same archive.
        logs.sort_by(|a, b| (a.0, b.1, &a.2.path).cmp(&(b.0, a.1, &b.2.path)));
        let mut left_out = Vec::new();
        for (_, weight, member) in logs {
            if size <= limit {
                break;
            }
            size -= weight;
            state.weight -= weight;
            left_out.push(member);
        }
        state.members.retain(|member| !left_out.iter().any(|gone| Arc::ptr_eq(gone, member)));
        for member in &left_out {
            match &member.body {
                Body::Memory(bytes) => state.in_memory -= bytes.len(),
                Body::Spooled(blocks) => blocks.iter().for_each(|block| self.shared.spool.release(block)),
                Body::File => {
                    if let Some(directory) = &directory {
                        // A file that stays although it should go is still redacted.
                        let _ = fs::remove_file(directory.join(&*member.path));
                    }
                }
            }
        }
        drop(state);
        left_out.sort_by(|a, b| a.path.cmp(&b.path));
        left_out.iter().map(|member| member.entry(member.path.to_string())).collect()
    }
}

/// What a member adds to the archive.
pub(super) fn weight(member: &Stored, format: Format) -> u64 {
    let content = match &member.body {
        _ if format == Format::Dir => member.bytes,
        Body::File => member.bytes,
        Body::Spooled(blocks) => blocks.iter().map(|block| u64::from(block.compressed)).sum(),
        // Compressed only at the end; text shrinks to less than that.
        Body::Memory(bytes) => bytes.len() as u64 / 2,
    };
    content + ENTRY
}

fn turn_of(member: &Stored) -> Option<Turn> {
    Turn::of(&member.path, member.bytes, member.truncated)
}
