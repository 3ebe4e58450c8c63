//! Text that was broken into lines by something that did not know what it broke: base64 at 64 or 76
//! columns, the parts of a long line that a container runtime marks with `P`, strings that YAML folds.
//!
//! What stands on both sides of such a border is put together, together with where it came from, so that a
//! known value is found across it.

use super::value::REACH;

/// So much on each side of a border is looked at; no form of a known value is longer.
const SIDE: usize = 512;
/// A line of base64 that was wrapped has at least so many characters.
const WRAPPED: usize = 40;

/// Pieces of a text, put together.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) bytes: Vec<u8>,
    /// Where in `bytes` each piece begins, and where it stood in the text.
    pieces: Vec<(usize, usize)>,
}

impl Joined {
    fn add(&mut self, text: &[u8], from: usize, to: usize) {
        self.pieces.push((self.bytes.len(), from));
        self.bytes.extend_from_slice(&text[from..to]);
    }

    /// Where a range stood in the text, if it goes over a border.
    pub(super) fn across(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let piece = |at: usize| self.pieces.partition_point(|(from, _)| *from <= at) - 1;
        let (first, last) = (piece(start), piece(end.checked_sub(1)?));
        let place = |piece: usize, at: usize| self.pieces[piece].1 + (at - self.pieces[piece].0);
        (first < last).then(|| (place(first, start), place(last, end - 1) + 1))
    }
}

/// The places of a text where base64 or a token may have been broken: where the text before one ends, and
/// where it goes on. Found once for all who look across them.
#[derive(Debug)]
pub(super) struct Borders(Vec<(usize, usize)>);

impl Borders {
    /// Finds them.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut borders = Vec::new();
        wrapped(text, &mut borders);
        borders.sort_unstable();
        Self(borders)
    }
}

/// Everything in a text that may have been one line.
pub(super) fn broken_lines(text: &[u8], borders: &Borders) -> Vec<Joined> {
    let mut borders = borders.0.clone();
    partial(text, &mut borders);
    borders.sort_unstable();
    put_together(text, &borders, REACH)
}

/// Base64 and web tokens that were wrapped: what follows a border is a line of nothing else.
pub(super) fn wrapped_runs(text: &[u8], borders: &Borders) -> Vec<Joined> {
    let mut borders = borders.0.clone();
    borders.retain(|&(_, next)| {
        let line = &text[next..text.len().min(next + SIDE)];
        let run = line.iter().take_while(|b| is_part(**b) || **b == b'=').count();
        let ends = matches!(line.get(run), None | Some(b'\n' | b'\r' | b'\\' | b'"' | b'\'' | b',' | b' '));
        ends && !line.starts_with(b"--")
    });
    put_together(text, &borders, REACH / 2)
}

/// Whether a byte may belong to base64 or to a web token.
fn is_part(byte: u8) -> bool {
    super::base64::is_character(byte) || byte == b'.'
}

/// What stands around borders that follow each other closely, together up to a length.
fn put_together(text: &[u8], borders: &[(usize, usize)], most: usize) -> Vec<Joined> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < borders.len() {
        let mut joined = Joined::default();
        let first = borders[at].0;
        joined.add(text, first.saturating_sub(SIDE), first);
        let mut from = borders[at].1;
        at += 1;
        while let Some(&(end, next)) = borders.get(at) {
            if end < from || end - from > SIDE || end - first > most {
                break;
            }
            joined.add(text, from, end);
            from = next;
            at += 1;
        }
        joined.add(text, from, text.len().min(from + SIDE));
        all.push(joined);
    }
    all
}

/// The text as it was before YAML folded it: a line break and the indentation behind it were one space.
pub(super) fn unfolded(text: &[u8]) -> Option<Joined> {
    let mut joined = Joined::default();
    let mut from = 0;
    for line in memchr::memchr_iter(b'\n', text) {
        let next = line + 1 + indentation(&text[line + 1..]);
        if next == line + 1 || line < from {
            continue;
        }
        // The indentation's last character stands for the space.
        joined.add(text, from, line);
        joined.pieces.push((joined.bytes.len(), next - 1));
        joined.bytes.push(b' ');
        from = next;
    }
    if joined.pieces.is_empty() {
        return None;
    }
    joined.add(text, from, text.len());
    Some(joined)
}

fn indentation(text: &[u8]) -> usize {
    text.iter().take(64).take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// The borders of wrapped base64: where the text before them ends and the text behind begins.
fn wrapped(text: &[u8], borders: &mut Vec<(usize, usize)>) {
    let mut at = 0;
    // A run of so many characters has one of them at every such distance: most of the text is not looked at.
    while let Some(&byte) = text.get(at + WRAPPED - 1) {
        let probe = at + WRAPPED - 1;
        if !is_part(byte) {
            at = probe + 1;
            continue;
        }
        let end = probe + text[probe..].iter().take_while(|b| is_part(**b)).count();
        // Few runs end with their line: how long one is matters only then.
        if let Some(after) = line_break(text, end)
            && text[at.max(end.saturating_sub(WRAPPED))..end].iter().rev().all(|b| is_part(*b))
            && end - at >= WRAPPED
        {
            let next = after + indentation(&text[after..]);
            if goes_on(&text[next..]) {
                borders.push((end, next));
            }
        }
        at = end;
    }
}

/// Whether a line may begin with the rest of what was broken before it: neither with something else, nor as an entry of
/// a YAML list or with a key of a mapping.
fn goes_on(line: &[u8]) -> bool {
    let run = line.iter().take(SIDE).take_while(|b| is_part(**b)).count();
    run > 0 && !line.starts_with(b"- ") && !matches!(line[run..], [b':', b' ' | b'\n' | b'\r', ..])
}

/// The end of the line break that stands at a place: `\n`, `\r\n`, or within a string the same with backslashes.
fn line_break(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    match rest {
        [b'\n', ..] => return Some(at + 1),
        [b'\r', b'\n', ..] => return Some(at + 2),
        _ => {}
    }
    let escape = |from: usize, letter: u8| {
        let slashes = rest[from..].iter().take(64).take_while(|b| **b == b'\\').count();
        (slashes > 0 && rest.get(from + slashes) == Some(&letter)).then_some(from + slashes + 1)
    };
    escape(escape(0, b'r').unwrap_or(0), b'n').map(|len| at + len)
}

/// The borders of lines that a container runtime wrote in parts: `<time> stdout P <part>`.
fn partial(text: &[u8], borders: &mut Vec<(usize, usize)>) {
    for mark in memchr::memmem::find_iter(text, b" P ") {
        let Some(stream) = stream_before(text, mark) else { continue };
        let limit = text.len().min(mark + REACH);
        let Some(end) = memchr::memchr(b'\n', &text[mark..limit]).map(|n| mark + n) else { continue };
        // Lines of the other stream may stand between.
        let mut line = end + 1;
        for _ in 0..8 {
            let head = &text[line..text.len().min(line + 64)];
            let next = [&b" P "[..], b" F "].iter().find_map(|tag| {
                let at = line + memchr::memmem::find(head, tag)?;
                (stream_before(text, at)? == stream).then_some(at + 3)
            });
            if let Some(next) = next {
                borders.push((end, next));
                break;
            }
            let limit = text.len().min(line + REACH);
            let Some(n) = memchr::memchr(b'\n', &text[line..limit]) else { break };
            line += n + 1;
        }
    }
}

/// The name of the stream in `<time> stdout`, if that ends at `at` and begins a line.
fn stream_before(text: &[u8], at: usize) -> Option<&[u8]> {
    let low = at.saturating_sub(64);
    let line = memchr::memrchr(b'\n', &text[low..at]).map_or(low, |n| low + n + 1);
    let head = &text[line..at];
    let space = memchr::memchr(b' ', head)?;
    let time = &head[..space];
    let is_time = time.len() >= 20 && time[0].is_ascii_digit() && time.contains(&b'T');
    (is_time && matches!(&head[space + 1..], b"stdout" | b"stderr")).then(|| &head[space + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_found_and_ranges_across_them_are_mapped_back() {
        let wrapped = format!("x: {}\r\n   {}==\n", "QUJD".repeat(19), "REVG".repeat(4));
        let partial = "2026-11-22T10:11:12.1Z stdout P one-half-\n2026-11-22T10:11:12.1Z stderr F other\n2026-11-22T10:11:12.2Z stdout F other-half\n";
        for (text, left, right) in [(wrapped.as_str(), "QUJD", "REVG"), (partial, "one-half-", "other-half")]
        {
            let joined = broken_lines(text.as_bytes(), &Borders::of(text.as_bytes()));
            assert_eq!(joined.len(), 1, "{text}");
            let both = format!("{left}{right}");
            let at = memchr::memmem::find(&joined[0].bytes, both.as_bytes()).expect("put together");
            let (start, end) = joined[0].across(at, at + both.len()).expect("goes over the border");
            assert!(text[start..end].starts_with(left) && text[start..end].ends_with(right), "{text}");
            assert_eq!(joined[0].across(at, at + left.len()), None);
        }
        let folded = unfolded(b"a: one\n  two\nb: x").expect("is folded");
        let at = memchr::memmem::find(&folded.bytes, b"one two").expect("put together");
        assert_eq!(folded.across(at, at + 7), Some((3, 12)));
        let digest = "a".repeat(64);
        for next in ["containerID: x", "- name: x", "", "{}"] {
            let yaml = format!("  imageID: quay.io/x@sha256:{digest}\n  {next}\n");
            assert!(broken_lines(yaml.as_bytes(), &Borders::of(yaml.as_bytes())).is_empty(), "{yaml}");
        }
        let plain = b"plain\nlines of\ntext P with a mark\n";
        assert!(broken_lines(plain, &Borders::of(plain)).is_empty());
    }
}
