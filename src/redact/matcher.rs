//! What a match of the automaton becomes: where the secret begins, where it ends, and where to go on.

use super::jwt;
use super::names::{Class, Met, Place};
use super::patterns::{Action, Pattern};
use super::placeholder::{self, Kind, Style};
use super::text::{Found, clinging};
use super::value::{self, BEHIND, Extent, Join, REACH, Value};
use super::words::{
    follows_a_word, harmless, is_element, is_scheme, logged_by_kind, names_an_object, reads_like_prose,
    scheme_word,
};

/// How far earlier matches of one pattern have looked ahead.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looked {
    /// The end of the line, word or run.
    pub(super) end: usize,
    /// The end of what was taken apart within it.
    pub(super) parts: usize,
    /// From where to where there is no line break.
    pub(super) bare: (usize, usize),
}

/// One match of the automaton, on its way to secrets.
pub(super) struct Matcher<'a> {
    pub(super) text: &'a [u8],
    /// Nothing before this belongs to this match.
    pub(super) floor: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) pattern: &'static Pattern,
    /// Where an earlier match of this pattern has looked to, when one looks far ahead: what repeats its
    /// beginning is not read again for each.
    pub(super) looked: &'a mut Looked,
    /// What the names of this text announce that were met last.
    pub(super) names: &'a mut Met,
    pub(super) found: &'a mut Vec<Found>,
}

impl Matcher<'_> {
    /// Adds what is secret here and returns where to go on.
    pub(super) fn run(&mut self) -> usize {
        match self.pattern.action {
            Action::Placeholder => match placeholder::recognise(&self.text[self.start..]) {
                Some(len) => self.behind_placeholder(self.start, len),
                None => self.end,
            },
            Action::Whole(kind) => {
                self.push(self.start, self.end, kind, Style::Plain);
                self.end
            }
            Action::After(mark, kind) => {
                let matched = &self.text[self.start..self.end];
                let skip = memchr::memchr(mark, matched).map_or(0, |n| n + 1);
                self.push(self.start + skip, self.end, kind, Style::Plain);
                self.end
            }
            Action::Rest(kind) => self.rest(kind),
            Action::Line(kind) => {
                let limit = self.text.len().min(self.end + REACH);
                let end = memchr::memchr(b'\n', &self.text[self.end..limit]).map_or(limit, |n| self.end + n);
                self.push_value(Value { start: self.end, end, quoted: true }, kind)
            }
            Action::Name => self.name(),
            Action::Jwt => self.jwt(self.start).unwrap_or(self.start + 3),
            Action::Url => self.url(),
            Action::Email => self.email(),
            Action::Pem => self.pem(),
            Action::PuttyLines => self.putty_lines(),
            Action::Scheme => self.scheme(),
            Action::Base64 => self.base64(),
            Action::Login => self.login(),
            Action::RequestQuery => self.query(),
            Action::Dump(keys) => self.dump(keys),
            Action::Audit => self.audit(),
            Action::UpstreamBody => self.upstream_body(),
        }
    }

    pub(super) fn push(&mut self, start: usize, end: usize, kind: Kind, style: Style) {
        if start < end {
            let context = self.start.min(start);
            let rule = self.pattern.id;
            self.found.push(Found { context, start, end, is_open: false, kind, style, rule });
        }
    }

    /// Says of a value that was found since there were `known` and that ends where looking ahead ended, that the
    /// rest of its line belongs to it.
    pub(super) fn leave_open(&mut self, known: usize, limit: usize) {
        let goes_on = self.text.get(limit).is_some_and(|b| *b != b'\n');
        if let Some(last) = self.found[known..].last_mut().filter(|last| goes_on && last.end >= limit) {
            last.is_open = true;
        }
    }

    /// A word that may be part of a name: extends it, asks what it announces, finds the value.
    fn name(&mut self) -> usize {
        let text = self.text;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let low = self.floor.max(self.start.saturating_sub(96));
        let mut left = self.start;
        while left > low && is_name(text[left - 1]) {
            left -= 1;
        }
        let high = text.len().min(self.start + 96);
        let mut right = self.start;
        // A name does not reach into the mark of a PEM block that follows it directly.
        while right < high && is_name(text[right]) && !text[right..].starts_with(b"-----") {
            right += 1;
        }
        let resume = right.max(self.start + 1);
        while right > left && matches!(text[right - 1], b'.' | b'-') {
            right -= 1;
        }
        let dashes = text[left..right].iter().take_while(|b| **b == b'-').count();
        let is_flag = dashes > 0;
        left += dashes;
        // An escaped line break before the name: `\npassword`.
        if left < right && left > 0 && text[left - 1] == b'\\' && matches!(text[left], b'n' | b't' | b'r') {
            left += 1;
        }
        if left >= right {
            return resume;
        }
        let name = &text[left..right];
        let shouting = !name.iter().any(u8::is_ascii_lowercase);
        let place = if is_flag || shouting { Place::Env } else { Place::Field };
        let Some(class) = self.names.classify(name, place) else { return resume };
        let is_header = matches!(class, Class::Header(_));
        let Some((join, at)) = value::join(text, right, is_flag, is_header) else { return resume };
        self.start = left;
        let kind = match class {
            Class::Secret(kind) | Class::Header(kind) => kind,
            Class::Connection => return at.max(resume),
        };
        if kind == Kind::Body {
            // JSON-RPC arguments: whatever they are.
            let at = at + text[at..].iter().take(64).take_while(|b| b.is_ascii_whitespace()).count();
            let end = value::json_end(text, at);
            if text[at..end].len() > 2 {
                self.push_value(Value { start: at, end, quoted: true }, kind);
            }
            return end.max(resume);
        }
        let extent = if is_header && join != Join::Equals { Extent::Line } else { Extent::Word };
        let quoted_name = matches!(text.get(right), Some(b'"' | b'\'' | b'\\'));
        let prose =
            join == Join::Colon && !quoted_name && !is_header && follows_a_word(text, left, self.floor);
        let mut values: Vec<Value> = Vec::new();
        let resume = value::values(text, at, join, left, extent, &mut |v| values.push(v)).max(resume);
        let mut go_on = resume;
        for value in values {
            let content = &text[value.start..value.end];
            if harmless(content, kind) || (prose && !value.quoted && reads_like_prose(content, kind)) {
                continue;
            }
            if is_element(content, text.get(value.end)) {
                continue;
            }
            if join == Join::Compare && !is_header && !value.quoted {
                continue;
            }
            if !shouting && name.eq_ignore_ascii_case(b"secret") && names_an_object(content)
                || logged_by_kind(name, content, &text[value.end..])
            {
                continue;
            }
            if is_header {
                go_on = go_on.max(self.header(value, kind));
            } else {
                go_on = go_on.max(self.push_value(value, kind));
            }
        }
        go_on
    }

    /// Credentials behind an optional scheme word.
    fn header(&mut self, mut value: Value, kind: Kind) -> usize {
        if let Some(skip) = scheme_word(&self.text[value.start..value.end]) {
            value.start += skip;
        } else if !value.quoted && value.start < value.end {
            // `Authorization=Bearer abc` ended at the first word, which is only the scheme.
            let word = &self.text[value.start..value.end];
            if is_scheme(word) && self.text.get(value.end) == Some(&b' ') {
                let start = value.end + 1;
                let Value { end, .. } = unquoted(self.text, start);
                value = Value { start, end, quoted: false };
            }
        }
        if harmless(&self.text[value.start..value.end], kind) {
            return value.end;
        }
        self.push_value(value, kind)
    }

    /// Adds a value, minding placeholders that stand in it already and tokens that it is.
    pub(super) fn push_value(&mut self, value: Value, kind: Kind) -> usize {
        let Value { start, mut end, quoted } = value;
        let text = self.text;
        while end > start && matches!(text[end - 1], b' ' | b'\t' | b'\r') {
            end -= 1;
        }
        if let Some(len) = placeholder::recognise(&text[start..]) {
            let after = self.placeholder_end(start, len);
            if after < end {
                self.push_rest(after, end, kind);
            } else if !quoted {
                return self.behind_placeholder(start, len);
            }
            // The facts in the placeholder are scanned like any text.
            return start + len;
        }
        let known = self.found.len();
        if jwt::end(text, start) == Some(end) {
            self.push(start, end, Kind::Jwt, Style::Plain);
        } else {
            self.push(start, end, kind, Style::Plain);
        }
        if value.end - start >= REACH {
            self.leave_open(known, value.end);
        }
        end
    }

    /// What directly follows a placeholder within one value is a part of the secret.
    pub(super) fn push_rest(&mut self, start: usize, end: usize, kind: Kind) {
        let rest = &self.text[start..end];
        let mut at = start;
        // More placeholders may follow, as in a cookie of several values.
        while at < end {
            let Some(len) = placeholder::recognise(&self.text[at..]) else { break };
            at = self.placeholder_end(at, len);
        }
        if at >= end || rest.iter().all(|b| b.is_ascii_whitespace() || b.is_ascii_punctuation()) {
            return;
        }
        self.push(at, end, kind, Style::Plain);
    }

    /// The end of the placeholder that begins at `start` and whose fixed part has this length.
    pub(super) fn placeholder_end(&self, start: usize, len: usize) -> usize {
        let at = start + len;
        let is_open = self.text[start] == b'<' && self.text[at - 1] != b'>';
        if !is_open || self.text.get(at) != Some(&b' ') {
            return at;
        }
        let limit = (at + REACH).min(self.text.len());
        match self.text[at..limit].iter().position(|b| matches!(b, b'>' | b'<' | b'\n' | b'"' | b'\'')) {
            Some(n) if self.text[at + n] == b'>' => at + n + 1,
            _ => at,
        }
    }

    /// Goes on behind a placeholder; what clings to it is as secret as what it stands for.
    fn behind_placeholder(&mut self, start: usize, len: usize) -> usize {
        let at = start + len;
        let end = self.placeholder_end(start, len);
        if end == at && self.text[at - 1] != b'>' {
            return at;
        }
        let clinging = clinging(&self.text[end..]);
        if clinging > 3 {
            self.push(end, end + clinging, Kind::Token, Style::Plain);
            // What the placeholder itself says is scanned on.
        }
        at
    }

    /// A value that begins where the match ends.
    fn rest(&mut self, kind: Kind) -> usize {
        let start = self.end;
        let quote = self.text[start - 1];
        let quote = matches!(quote, b'"' | b'\'').then_some(quote);
        let limit = self.text.len().min(start + 1024);
        let end = self.text[start..limit]
            .iter()
            .position(|b| match quote {
                Some(quote) => *b == quote || *b == b'\n',
                None => {
                    b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'&' | b'<' | b'\\' | b'@')
                }
            })
            .map_or(limit, |n| start + n);
        let value = &self.text[start..end];
        // A placeholder begins with the mark that ends a word.
        let done = placeholder::recognise(&self.text[start..]).is_some();
        if done || harmless(value, kind) || reads_like_prose(value, Kind::Password) {
            return start;
        }
        self.push_value(Value { start, end, quoted: quote.is_some() }, kind)
    }

    fn jwt(&mut self, at: usize) -> Option<usize> {
        let end = jwt::end_beyond(self.text, at, &mut self.looked.end)?;
        self.push(at, end, Kind::Jwt, Style::Plain);
        Some(end)
    }

    fn pem(&mut self) -> usize {
        let text = self.text;
        let from = self.end;
        let limit = text.len().min(self.start + REACH);
        // Up to where an earlier mark has looked, there is no end.
        let unknown = from.max(self.looked.end.saturating_sub(8)).min(limit);
        self.looked.end = limit;
        if let Some(n) = memchr::memmem::find(&text[unknown..limit], b"-----END") {
            let n = unknown - from + n;
            self.looked.end = from + n;
            let behind = from + n + 8;
            let close = memchr::memmem::find(&text[behind..limit.min(behind + 80)], b"-----")
                .map_or(behind, |n| behind + n + 5);
            // A placeholder between the marks: redacted already.
            let body = text[from..from + n].trim_ascii();
            if placeholder::recognise(body) == Some(body.len()) {
                return from;
            }
            self.push(self.start, close, Kind::PrivateKey, Style::Plain);
            return close;
        }
        // Cut off: whatever looks like key material goes.
        let mut end = from;
        while end < limit {
            let line = memchr::memchr(b'\n', &text[end..limit]).map_or(limit, |n| end + n + 1);
            let words = text[end..line].trim_ascii();
            let last = words
                .rsplit(|b| b.is_ascii_whitespace() || *b == b'"')
                .find(|w| !w.is_empty())
                .unwrap_or_default();
            let material = last
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'\\' | b'-'));
            if end > from && (!material || words.is_empty() || last.len() < 16) {
                break;
            }
            end = line;
        }
        while end > from && text[end - 1].is_ascii_whitespace() {
            end -= 1;
        }
        self.push(self.start, end, Kind::PrivateKey, Style::Plain);
        end
    }

    /// Lines of base64 up to one that is none, in a file or in a string.
    fn putty_lines(&mut self) -> usize {
        let limit = self.text.len().min(self.end + REACH / 2);
        let window = &self.text[self.end..limit];
        let key = window
            .iter()
            .take_while(|b| {
                b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'\r' | b'\n' | b'\\')
            })
            .count();
        // The word before the next colon names what follows.
        let key = match window.get(key) {
            Some(b'-' | b':') => {
                window[..key].iter().rposition(|b| matches!(b, b'\n' | b'\\')).unwrap_or(key)
            }
            _ => key,
        };
        let trimmed = window[..key].trim_ascii_end();
        self.push(self.end, self.end + trimmed.len(), Kind::PrivateKey, Style::Plain);
        self.end + trimmed.len()
    }

    fn scheme(&mut self) -> usize {
        let start = self.end - 1;
        let basic = self.text[self.start..].to_ascii_lowercase_prefix(b"basic");
        let limit = self.text.len().min(start + REACH);
        let known = start.max(self.looked.end).min(limit);
        let end = self.text[known..limit]
            .iter()
            .position(|b| {
                !(b.is_ascii_alphanumeric()
                    || matches!(b, b'.' | b'_' | b'~' | b'+' | b'/' | b'-' | b'=' | b'%'))
            })
            .map_or(limit, |n| known + n);
        self.looked.end = end;
        let marks = self.text[start..end].iter().rev().take(16).take_while(|b| matches!(b, b'.' | b'-'));
        let end = end - marks.count();
        let word = &self.text[start..end];
        if let Some(end) = jwt::end(self.text, start) {
            self.push(start, end, Kind::Jwt, Style::Plain);
            return end;
        }
        let secret = if basic {
            is_login(word)
        } else {
            // `realm=…`, `resource_metadata=…` of a challenge; anything else before a `=` is a token.
            let head = &word[..word.len().min(25)];
            let name = head.iter().position(|b| *b == b'=').unwrap_or(head.len());
            let parameter = name < head.len()
                && word[..name].iter().all(|b| b.is_ascii_lowercase() || *b == b'_')
                && !word[name..].iter().all(|b| *b == b'=');
            let body = &head[..name];
            let digits = body.iter().any(u8::is_ascii_digit);
            let upper = body.iter().skip(1).any(u8::is_ascii_uppercase);
            !parameter && word.len() >= 6 && (digits || upper || word.len() >= 24)
        };
        if secret && placeholder::recognise(word).is_none() {
            self.push(start, end, Kind::Token, Style::Plain);
            return end;
        }
        self.end - 1
    }

    /// The whole run of base64 around a match.
    fn base64(&mut self) -> usize {
        let is_base64 = |b: &u8| super::base64::is_character(*b) || *b == b'=';
        let low = self.floor.max(self.start.saturating_sub(BEHIND)).min(self.start);
        let left = self.start - self.text[low..self.start].iter().rev().take_while(|b| is_base64(b)).count();
        let high = self.text.len().min(self.end + REACH - BEHIND);
        let right = self.end + self.text[self.end..high].iter().take_while(|b| is_base64(b)).count();
        if right - left < 12 {
            return self.end;
        }
        self.start = left;
        self.push(left, right, Kind::Base64, Style::Plain);
        right
    }

    fn login(&mut self) -> usize {
        let start = self.end - 8;
        let rest = &self.text[start..self.text.len().min(start + 4096)];
        let bare = rest.iter().take_while(|b| super::base64::is_character(**b)).count();
        let len = bare + rest[bare..].iter().take(2).take_while(|b| **b == b'=').count();
        if is_login(&self.text[start..start + len]) {
            self.push(start, start + len, Kind::Authorization, Style::Plain);
        }
        start + len
    }
}

/// Whether this is base64 of `user:password`. Stops at the first byte that is in no login.
fn is_login(word: &[u8]) -> bool {
    let mut colon = false;
    for part in word.chunks(64) {
        let Some(decoded) = super::base64::decode(part) else { return false };
        if !decoded.iter().all(|b| (32..127).contains(b)) {
            return false;
        }
        colon = colon || decoded.contains(&b':');
    }
    colon
}

fn unquoted(text: &[u8], start: usize) -> Value {
    let mut end = start;
    value::values(text, start, Join::Equals, start, Extent::Word, &mut |v| end = v.end);
    Value { start, end, quoted: false }
}

trait Prefix {
    fn to_ascii_lowercase_prefix(&self, prefix: &[u8]) -> bool;
}

impl Prefix for [u8] {
    /// Whether this begins with a prefix (given in lower case), whatever its case.
    fn to_ascii_lowercase_prefix(&self, prefix: &[u8]) -> bool {
        self.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }
}
