//! Keeping an archive below a size: which members go first.

use std::fs;
use std::sync::Arc;

use super::{Body, Format, Stored, Writer};
use crate::archive::manifest::FileEntry;
use crate::archive::path;

/// From this size on a log counts as long.
const LONG: u64 = 1 << 20;

/// What a member costs beside its content: headers, and its line of the manifest.
const ENTRY: u64 = 400;

/// What is still to come when the members are weighed: manifest, failures, reports.
const REST: u64 = 64 * 1024;

impl Writer {
    /// About how many bytes the archive has so far. It will not be larger than that, unless most of
    /// it cannot be compressed.
    #[must_use]
    pub fn size(&self) -> u64 {
        let format = self.shared.options.format;
        REST + self.shared.state().members.iter().map(|member| weight(member, format)).sum::<u64>()
    }

    /// Leaves out logs until the archive is not larger than `limit`: first long logs, then those of
    /// previous runs, then the others, the largest of them first. Objects and files of our own stay
    /// whatever their size. Gives what was left out, for the list of failures.
    pub fn fit(&self, limit: u64) -> Vec<FileEntry> {
        let format = self.shared.options.format;
        let mut size = self.size();
        let directory = self.shared.directory();
        let mut state = self.shared.state();
        let mut logs: Vec<(u8, u64, Arc<Stored>)> = state
            .members
            .iter()
            .filter_map(|member| Some((rank(member)?, weight(member, format), Arc::clone(member))))
            .collect();
        // The path decides between equals, so that the same input gives the same archive.
        logs.sort_by(|a, b| (a.0, b.1, &a.2.path).cmp(&(b.0, a.1, &b.2.path)));
        let mut left_out = Vec::new();
        for (_, weight, member) in logs {
            if size <= limit {
                break;
            }
            size -= weight;
            left_out.push(member);
        }
        state.members.retain(|member| !left_out.iter().any(|gone| Arc::ptr_eq(gone, member)));
        for member in &left_out {
            match &member.body {
                Body::Memory(bytes) => state.in_memory -= bytes.len(),
                // The spool is gone when the archive is finished.
                Body::Spooled(_) => {}
                Body::File => {
                    if let Some(directory) = &directory {
                        // A file that stays although it should go is still redacted.
                        let _ = fs::remove_file(directory.join(&member.path));
                    }
                }
            }
        }
        drop(state);
        left_out.sort_by(|a, b| a.path.cmp(&b.path));
        left_out.iter().map(|member| member.entry(member.path.clone())).collect()
    }
}

/// What a member adds to the archive.
fn weight(member: &Stored, format: Format) -> u64 {
    let content = match &member.body {
        _ if format == Format::Dir => member.bytes,
        Body::File => member.bytes,
        Body::Spooled(blocks) => blocks.iter().map(|block| u64::from(block.compressed)).sum(),
        // Compressed only at the end; text shrinks to less than that.
        Body::Memory(bytes) => bytes.len() as u64 / 2,
    };
    content + ENTRY
}

/// When it is a log's turn to go; `None` for what stays.
fn rank(member: &Stored) -> Option<u8> {
    match path::log_run(&member.path)? {
        path::Run::Current if member.bytes >= LONG => Some(0),
        path::Run::Previous => Some(1),
        path::Run::Current => Some(2),
    }
}
