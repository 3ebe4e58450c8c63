//! The second look for names: what was replaced somewhere must stand nowhere. It shares no code with
//! what replaces; it only knows the mapping.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};

use super::{Entry, What, vocabulary};

/// How much is held before it is looked through.
const BLOCK: usize = 256 * 1024;
/// No original is longer.
const OVERLAP: usize = 1024;

/// Searches a text that arrives in pieces for originals.
#[derive(Debug)]
pub struct Remains {
    search: Option<AhoCorasick>,
    kinds: Vec<What>,
    buffer: Vec<u8>,
    lines: u64,
    hit: Option<(u64, What)>,
}

impl Remains {
    pub(super) fn new(mapping: &[Entry]) -> Self {
        let pseudonyms: BTreeSet<&str> = mapping.iter().map(|entry| entry.pseudonym.as_str()).collect();
        let mut patterns: Vec<String> = Vec::new();
        let mut kinds = Vec::new();
        for Entry { kind, original, .. } in mapping {
            // A pseudonym may happen to be another's original: both are addresses of one network.
            if pseudonyms.contains(original.as_str()) || original.len() < 3 {
                continue;
            }
            let forms = match kind {
                What::Ip | What::Host | What::Email => vec![original.clone()],
                _ if vocabulary::is_distinctive(original) => vec![original.clone()],
                // An ordinary word is told from itself only where nothing else can stand.
                What::Namespace => vec![
                    format!("/namespaces/{original}/"),
                    format!(".{original}.svc.cluster.local"),
                    format!("system:serviceaccount:{original}:"),
                ],
                What::Node => vec![format!("/nodes/{original}.yaml")],
                What::Cluster => Vec::new(),
            };
            kinds.extend(forms.iter().map(|_| *kind));
            patterns.extend(forms);
        }
        let search = (!patterns.is_empty())
            .then(|| {
                AhoCorasick::builder()
                    .ascii_case_insensitive(true)
                    .match_kind(MatchKind::Standard)
                    .build(patterns)
                    .ok()
            })
            .flatten();
        Self { search, kinds, buffer: Vec::new(), lines: 0, hit: None }
    }

    /// Begins another text.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self {
            search: self.search.clone(),
            kinds: self.kinds.clone(),
            buffer: Vec::new(),
            lines: 0,
            hit: None,
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        if self.search.is_none() || self.hit.is_some() {
            return;
        }
        self.buffer.extend_from_slice(piece);
        if self.buffer.len() >= BLOCK {
            self.look(false);
            let done = self.buffer.len() - OVERLAP;
            self.lines += memchr::memchr_iter(b'\n', &self.buffer[..done]).count() as u64;
            self.buffer.drain(..done);
        }
    }

    fn look(&mut self, end: bool) {
        let Some(search) = &self.search else { return };
        for found in search.find_overlapping_iter(&self.buffer) {
            let at_end = found.end() == self.buffer.len();
            if at_end && !end {
                continue;
            }
            let kind = self.kinds[found.pattern().as_usize()];
            if stands_alone(&self.buffer, found.start(), found.end(), kind) {
                let lines = memchr::memchr_iter(b'\n', &self.buffer[..found.start()]).count() as u64;
                self.hit = Some((self.lines + lines + 1, kind));
                return;
            }
        }
    }

    /// Ends the text: the first line with an original, and what it is.
    #[must_use]
    pub fn finish(mut self) -> Option<(u64, What)> {
        if self.hit.is_none() {
            self.look(true);
        }
        self.hit
    }
}

/// Whether a match is no part of a longer word or number.
fn stands_alone(text: &[u8], start: usize, end: usize, kind: What) -> bool {
    let before = start.checked_sub(1).map(|at| text[at]);
    let after = text.get(end).copied();
    let word = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric());
    if kind == What::Ip {
        let digits = |byte: Option<u8>, next: Option<u8>| {
            matches!(byte, Some(b'.' | b':')) && next.is_some_and(|b| b.is_ascii_hexdigit())
        };
        let further = start.checked_sub(2).map(|at| text[at]);
        // `Browser/120.0.0.0` is a version.
        let version = before == Some(b'/') && further.is_some_and(|b| b.is_ascii_alphabetic());
        let goes_on = after == Some(b'.') && digits(after, text.get(end + 1).copied());
        return !(word(before) || word(after) || version || digits(before, further) || goes_on);
    }
    // Hosts and names may be parts of paths; a letter before or behind makes another word of them.
    let joins = |edge: u8, next: Option<u8>| edge.is_ascii_alphanumeric() && word(next);
    !joins(text[start], before) && !joins(text[end - 1], after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: What, original: &str, pseudonym: &str) -> Entry {
        Entry { kind, original: original.to_owned(), pseudonym: pseudonym.to_owned() }
    }

    /// What is found in a text that comes in pieces of this size.
    fn found(text: &str, piece: usize) -> Option<(u64, What)> {
        let mapping = [
            entry(What::Namespace, "acme-prod", "ns-abc234"),
            entry(What::Namespace, "test", "ns-abc235"),
            entry(What::Host, "mcp.acme.net", "hx.hy.net"),
            entry(What::Ip, "10.1.2.3", "10.9.8.7"),
            entry(What::Ip, "10.9.8.7", "10.5.5.5"),
        ];
        let mut remains = Remains::new(&mapping).fresh();
        text.as_bytes().chunks(piece).for_each(|piece| remains.push(piece));
        remains.finish()
    }

    #[test]
    fn originals_that_remain_are_found_where_they_are() {
        for (text, expected) in [
            ("a\nin acme-prod-gateway", Some((2, What::Namespace))),
            ("a\n\nhttps://MCP.acme.net/x", Some((3, What::Host))),
            ("dial 10.1.2.3:80", Some((1, What::Ip))),
            ("/api/v1/namespaces/test/pods", Some((1, What::Namespace))),
            // A pseudonym, though another's original; parts of other words and numbers; plain words.
            ("dial 10.9.8.7:80 110.1.2.3 10.1.2.30 xacme-prod acme-production a test", None),
        ] {
            for piece in [1, 7, 1000] {
                assert_eq!(found(text, piece), expected, "{text}");
            }
        }
        let long = format!("{}\nacme-prod", "filler line\n".repeat(60_000));
        assert_eq!(found(&long, 50_000), Some((60_002, What::Namespace)));
    }
}
