//! A text that arrives in pieces of any size.
//!
//! The stream keeps at most [`BLOCK`] + [`HOLD`] bytes (plus one piece) in memory. What it gives out
//! ends at a line, at least [`HOLD`] bytes before the end of what has arrived, and never within a
//! match; no match reaches further than that, so the result does not depend on the borders of the pieces.
//! A line longer than the block is cut where nothing was found, and [`BEHIND`] bytes before the cut are
//! scanned again with what follows, so that nothing is split.

use super::obfuscate::{Obfuscator, Veil};
use super::value::{BEHIND, REACH};
use super::{Inner, Redacted, text};
use std::sync::Arc;

/// How much is scanned at once.
const BLOCK: usize = 512 * 1024;
/// How much is held back: nothing that begins before it reaches further. It is scanned with the next block.
const HOLD: usize = REACH + BEHIND;
/// Where a cut is forced even within a match, so that memory stays bounded.
const MAX: usize = 4 * 1024 * 1024;

/// A text on its way through the redactor.
#[derive(Debug)]
pub struct TextStream {
    inner: Arc<Inner>,
    file: String,
    buffer: Vec<u8>,
    /// So much at the beginning of the buffer is out already and only serves as context.
    seen: usize,
    /// So much is waited for before the text is scanned again.
    enough: usize,
    /// Whether what comes up to the end of the line belongs to a secret that is out as a placeholder.
    in_secret: bool,
    /// The stage behind it, for names.
    veil: Veil,
}

impl TextStream {
    /// The bytes that a stream keeps, beside one piece: a block, what is held back behind it, and the context
    /// before it.
    pub const USUAL_MEMORY: usize = BLOCK + HOLD + BEHIND;
    /// The most bytes that it keeps, where a match leaves no place for a cut.
    pub const MOST_MEMORY: usize = 2 * MAX + BEHIND;

    pub(super) fn new(inner: Arc<Inner>, file: &str, obfuscator: Option<Obfuscator>) -> Self {
        Self {
            inner,
            file: file.to_owned(),
            buffer: Vec::new(),
            seen: 0,
            enough: BLOCK + HOLD,
            in_secret: false,
            veil: Veil::new(obfuscator),
        }
    }

    /// Takes the next piece, of any size, and gives what is ready.
    pub fn push(&mut self, piece: &[u8]) -> Redacted {
        let mut out = Vec::new();
        // A huge piece is taken in parts, so that memory does not grow with it.
        for mut part in piece.chunks(MAX) {
            if self.in_secret {
                let Some(end) = memchr::memchr(b'\n', part) else { continue };
                self.in_secret = false;
                part = &part[end..];
            }
            self.buffer.extend_from_slice(part);
            while self.buffer.len() - self.seen >= self.enough && self.flush(&mut out) {}
        }
        Redacted(self.veil.push(out))
    }

    /// Gives out a part of the buffer; `false` when a match reaches over all possible cuts.
    fn flush(&mut self, out: &mut Vec<u8>) -> bool {
        let upto = self.buffer.len().min(self.seen + MAX);
        let window = &self.buffer[..upto];
        let latest = window.len() - HOLD;
        let found = self.inner.scan_up_to(window, latest);
        if let Some(open) = rest_is_secret(window, latest, &found) {
            let rest = self.buffer[upto..].to_vec();
            let found: Vec<text::Found> = found.into_iter().take_while(|f| f.start < open).collect();
            self.buffer.truncate(upto);
            self.emit(&found, upto, out);
            self.buffer.clear();
            self.seen = 0;
            self.enough = BLOCK + HOLD;
            let end = memchr::memchr(b'\n', &rest);
            self.in_secret = end.is_none();
            self.buffer.extend_from_slice(&rest[end.unwrap_or(rest.len())..]);
            return true;
        }
        let cut = cut(window, self.seen, latest, &found)
            .or_else(|| (window.len() - self.seen >= MAX).then_some(latest));
        let Some(cut) = cut else {
            // Not again for each piece that arrives: what is scanned in vain at most doubles the work.
            self.enough = (2 * (window.len() - self.seen)).min(MAX);
            return false;
        };
        self.enough = BLOCK + HOLD;
        self.emit(&found, cut, out);
        let keep = line_start(&self.buffer, cut).max(cut.saturating_sub(BEHIND));
        self.buffer.drain(..keep);
        self.seen = cut - keep;
        true
    }

    fn emit(&self, found: &[text::Found], cut: usize, out: &mut Vec<u8>) {
        let seen = self.seen;
        let here: Vec<text::Found> = found
            .iter()
            .filter(|f| f.end > seen && f.start < cut)
            .map(|f| text::Found {
                start: f.start.max(seen) - seen,
                end: f.end.min(cut) - seen,
                context: 0,
                ..f.clone()
            })
            .collect();
        self.inner.replace(&self.file, &self.buffer[seen..cut], &here, out);
    }

    /// Ends the text and gives the rest.
    #[must_use]
    pub fn finish(mut self) -> Redacted {
        let mut out = Vec::new();
        let found = self.inner.scan(&self.buffer);
        self.emit(&found, self.buffer.len(), &mut out);
        Redacted(self.veil.finish(out))
    }
}

/// The end of a secret that goes on to the end of the last line that there is, if it began early enough to be known
/// whole.
fn rest_is_secret(text: &[u8], latest: usize, found: &[text::Found]) -> Option<usize> {
    let open = found.iter().rfind(|f| f.is_open && f.start < latest)?;
    memchr::memchr(b'\n', &text[open.end..]).is_none().then_some(open.end)
}

fn line_start(text: &[u8], at: usize) -> usize {
    let low = at.saturating_sub(BEHIND);
    memchr::memrchr(b'\n', &text[low..at]).map_or(low, |n| low + n + 1)
}

/// The last place in `seen..=latest` where the text may be cut: at a line if there is one, and in no match.
fn cut(text: &[u8], seen: usize, latest: usize, found: &[text::Found]) -> Option<usize> {
    // Matches as intervals from their context to their end, with what clings to them, by where they end.
    let end = |index: usize, f: &text::Found| {
        let rest = &text[f.end..];
        if f.is_open {
            return f.end + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        }
        let next = found.get(index + 1).map_or(text.len(), |next| next.start);
        f.end + text::clinging(&rest[..next.saturating_sub(f.end).min(rest.len())])
    };
    let mut taken: Vec<(usize, usize)> =
        found.iter().enumerate().map(|(index, f)| (f.context, end(index, f))).collect();
    taken.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::with_capacity(taken.len());
    for (start, end) in taken {
        match merged.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    let free = |at: usize| {
        let index = merged.partition_point(|(start, _)| *start < at);
        index == 0 || merged[index - 1].1 <= at
    };
    let mut at = latest;
    while let Some(n) = memchr::memrchr(b'\n', &text[seen..at]) {
        let line = seen + n + 1;
        if free(line) {
            return Some(line);
        }
        at = seen + n;
    }
    // No line: cut within one, before the match that reaches over the latest place.
    let index = merged.partition_point(|(start, _)| *start < latest);
    let at = if index > 0 && merged[index - 1].1 > latest { merged[index - 1].0 } else { latest };
    (at > seen).then_some(at)
}
