//! Container logs on their way to the log parsers: cut into lines, in bounded memory.

use std::io::{self, Read};

use crate::model::logs::{Digest, Reader, Tail};

/// How much of a line the log parsers get; the rest is dropped. The longest lines worth reading
/// (a panic in one line, a JSON record with a stack trace) are far shorter.
const LINE: usize = 256 * 1024;

/// Cuts a stream of bytes into lines.
#[derive(Default)]
pub(super) struct Lines {
    reader: Reader,
    /// The beginning of a line whose end has not come yet.
    open: Vec<u8>,
    /// Whether there is such a line, even if nothing of it was kept.
    begun: bool,
    bytes: u64,
}

impl Lines {
    /// Takes the next piece of the stream.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            let line = &piece[from..end];
            from = end + 1;
            if self.begun {
                self.keep(line);
                let open = std::mem::take(&mut self.open);
                self.line(&open);
                self.open = open;
                self.open.clear();
                self.begun = false;
            } else {
                self.line(line);
            }
        }
        if from < piece.len() {
            self.begun = true;
            self.keep(&piece[from..]);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LINE - self.open.len();
        self.open.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.reader.line(&line[..line.len().min(LINE)]);
    }

    /// Ends the stream, and with it a last line without a line break: its size, and what
    /// [`Reader::finish`] says. The next stream may follow.
    pub(super) fn finish(&mut self) -> (u64, (u64, Tail, Digest)) {
        if self.begun {
            let open = std::mem::take(&mut self.open);
            self.line(&open);
            self.begun = false;
        }
        (std::mem::take(&mut self.bytes), self.reader.finish())
    }
}

/// Whether these are the first bytes of something gzip-compressed.
pub(super) fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b, 8])
}

/// A compressed log as a stream of its lines, up to the size that no kubelet lets a log reach.
pub(super) fn gunzip<'a>(content: impl Read + 'a) -> impl Read + 'a {
    const LARGEST: u64 = 4 << 30;
    flate2::read::MultiGzDecoder::new(content).take(LARGEST)
}

/// Reads a piece of up to `into.len()` bytes, fewer only at the end or before an error.
pub(super) fn fill(content: &mut dyn Read, into: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut at = 0;
    while at < into.len() {
        match content.read(&mut into[at..]) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (at, Some(error)),
        }
    }
    (at, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_the_pieces() {
        let text = b"one\r\n\ntwo \xff\0 three\nlast";
        // What was read before makes no difference either.
        let mut lines = Lines::default();
        for size in 1..text.len() {
            text.chunks(size).for_each(|piece| lines.push(piece));
            let (bytes, (count, tail, _)) = lines.finish();
            assert_eq!(bytes, text.len() as u64);
            let tail: Vec<&str> = tail.iter().map(|(_, line)| line).collect();
            assert_eq!((count, tail), (4, vec!["one", "", "two \u{fffd}\0 three", "last"]));
        }
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut lines = Lines::default();
        for _ in 0..64 {
            lines.push(&vec![b'x'; 1 << 20]);
            assert!(lines.open.capacity() <= 2 * LINE);
        }
        lines.push(b"\nshort\n");
        let (_, (count, tail, _)) = lines.finish();
        assert_eq!((count, tail.iter().next_back()), (2, Some((2, "short"))));
    }
}
