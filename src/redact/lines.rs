//! Log lines that are known by their message: request lines, dumps, audit lines, bodies of answers.

use super::matcher::Matcher;
use super::placeholder::{self, Kind, Style};
use super::value::{self, BEHIND, Extent, Join, REACH, Value};
use super::words::harmless;

/// Parameters of the Kubernetes API and of Envoy's admin pages, whose values are names and numbers.
const HARMLESS_PARAMETERS: &[&[u8]] = &[
    b"allowWatchBookmarks",
    b"container",
    b"dryRun",
    b"fieldManager",
    b"fieldSelector",
    b"filter",
    b"follow",
    b"format",
    b"include_eds",
    b"includeObject",
    b"insecureSkipTLSVerifyBackend",
    b"labelSelector",
    b"limit",
    b"limitBytes",
    b"mask",
    b"ports",
    b"pretty",
    b"previous",
    b"propagationPolicy",
    b"resource",
    b"resourceVersion",
    b"resourceVersionMatch",
    b"sendInitialEvents",
    b"sinceSeconds",
    b"sinceTime",
    b"stderr",
    b"stdin",
    b"stdout",
    b"tailLines",
    b"timeout",
    b"timeoutSeconds",
    b"timestamps",
    b"tty",
    b"usedonly",
    b"watch",
];

/// No key that is looked for in a line is longer.
const LONGEST_KEY: usize = 16;

/// Whether a `name=value` of a query is one that anyone may read.
fn harmless_pair(pair: &[u8]) -> bool {
    let (name, value) = match memchr::memchr(b'=', pair) {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &b""[..]),
    };
    HARMLESS_PARAMETERS.contains(&name)
        && value.len() <= 512
        && value.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%,=/:!()+".contains(b))
}

impl Matcher<'_> {
    pub(super) fn query(&mut self) -> usize {
        let start = self.end;
        let limit = self.text.len().min(start + REACH);
        let end = self.text[start..limit]
            .iter()
            .position(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'\\'))
            .map_or(limit, |n| start + n);
        // What is said to the Kubernetes API and to Envoy's own pages stays readable; other detectors still
        // look at it. Of anything else not even the names are known to be harmless.
        let mut at = start;
        let mut secret: Option<usize> = None;
        while at < end {
            let stop = memchr::memchr(b'&', &self.text[at..end]).map_or(end, |n| at + n);
            let pair = &self.text[at..stop];
            let done = placeholder::recognise(&self.text[at..end.max(limit)]).is_some();
            if harmless_pair(pair) || done {
                if let Some(from) = secret.take() {
                    self.push(from, at - 1, Kind::Query, Style::Url);
                }
                // A placeholder with spaces in it ends the query.
                if done && self.text[at] == b'<' {
                    return start;
                }
            } else {
                secret.get_or_insert(at);
            }
            at = stop + 1;
        }
        if let Some(from) = secret {
            self.push(from, end, Kind::Query, Style::Url);
        }
        start
    }

    /// The fields of a log line behind a message that dumps whole values.
    pub(super) fn dump(&mut self, keys: &[&str]) -> usize {
        let line = self.line_end(self.end);
        let from = self.end.max(self.looked.end.saturating_sub(LONGEST_KEY)).min(line);
        self.looked.end = line;
        // Nothing of this match reaches beyond: what repeats the message would else be read once for each.
        let text = &self.text[..line];
        for key in keys {
            let mut at = from;
            while let Some(n) = memchr::memmem::find(&text[at..], key.as_bytes()) {
                let word = at + n;
                at = word + key.len();
                let before = text[word - 1];
                if before.is_ascii_alphanumeric() || before == b'_' {
                    continue;
                }
                let Some((join, value)) = value::join(text, at, false, false) else { continue };
                if !matches!(join, Join::Colon | Join::Equals) {
                    continue;
                }
                let json = join == Join::Colon && matches!(text.get(value), Some(b'{' | b'['));
                let end = if json {
                    value::json_end(text, value)
                } else {
                    let mut end = value;
                    value::values(text, value, join, word, Extent::Line, &mut |v| end = end.max(v.end));
                    end
                };
                let start =
                    value + usize::from(!json && text.get(value).is_some_and(|b| matches!(b, b'"' | b'\'')));
                if start < end {
                    let known = self.found.len();
                    self.push_value(Value { start, end: end.min(line.max(start)), quoted: true }, Kind::Dump);
                    self.leave_open(known, line);
                }
                at = at.max(end.min(line));
                if at >= line {
                    break;
                }
            }
        }
        self.end
    }

    pub(super) fn audit(&mut self) -> usize {
        let low = self.start.saturating_sub(BEHIND);
        let from = memchr::memrchr(b'\n', &self.text[low..self.start]).map_or(low, |n| low + n + 1);
        let line = self.line_end(self.end);
        self.start = from;
        let from = from.max(self.looked.end.saturating_sub(LONGEST_KEY)).min(line);
        self.looked.end = line;
        for (key, kind) in [(&b"user"[..], Kind::User), (b"session", Kind::Session)] {
            let mut at = from;
            while let Some(n) = memchr::memmem::find(&self.text[at..line], key) {
                let word = at + n;
                at = word + key.len();
                if word > 0
                    && (self.text[word - 1].is_ascii_alphanumeric()
                        || matches!(self.text[word - 1], b'_' | b'-'))
                {
                    continue;
                }
                let Some((join @ (Join::Colon | Join::Equals), value)) =
                    value::join(self.text, at, false, false)
                else {
                    continue;
                };
                let mut values = Vec::new();
                value::values(self.text, value, join, word, Extent::Word, &mut |v| values.push(v));
                for value in values {
                    if !harmless(&self.text[value.start..value.end], kind) {
                        self.push_value(value, kind);
                    }
                }
            }
        }
        self.end
    }

    pub(super) fn upstream_body(&mut self) -> usize {
        const KEPT: usize = 80;
        // Within a body that an earlier match has cut already.
        if self.start < self.looked.end {
            return self.end;
        }
        let line = self.line_end(self.end);
        let end = self.text[self.end..line]
            .iter()
            .enumerate()
            .position(|(n, b)| {
                // A quote within the body is followed by more of it.
                *b == b'"'
                    && (n == 0 || self.text[self.end + n - 1] != b'\\')
                    && self.text.get(self.end + n + 1).is_none_or(|b| {
                        b.is_ascii_whitespace() || matches!(b, b',' | b'}' | b')' | b']' | b';' | b'\\')
                    })
            })
            .map_or(line, |n| self.end + n);
        // A placeholder counts as much as what it stands for, so that twice is once.
        let mut start = self.end;
        let mut kept = 0;
        while start < end && kept < KEPT {
            match placeholder::recognise(&self.text[start..]) {
                Some(len) => {
                    kept += placeholder::length(&self.text[start..start + len]);
                    start = self.placeholder_end(start, len);
                }
                None => {
                    kept += 1;
                    start += 1;
                }
            }
        }
        // Not within a character or an escape.
        while start < end && (self.text[start] & 0xC0 == 0x80 || self.text[start - 1] == b'\\') {
            start += 1;
        }
        if start < end {
            self.looked.end = end;
            if memchr::memmem::find(&self.text[self.end..end], b"redacted:body").is_none() {
                let known = self.found.len();
                self.push_rest(start, end, Kind::Body);
                self.leave_open(known, line);
            }
        }
        self.end
    }

    /// The end of the line, or how far a match reaches.
    fn line_end(&mut self, from: usize) -> usize {
        let limit = self.text.len().min(from + REACH - BEHIND);
        // Up to where an earlier match has looked, there is no end.
        let known = match self.looked.bare {
            (start, end) if start <= from && from <= end => end.min(limit),
            _ => from,
        };
        let end = memchr::memchr(b'\n', &self.text[known..limit]).map_or(limit, |n| known + n);
        self.looked.bare = (from, end);
        end
    }
}
