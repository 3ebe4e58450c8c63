//! The text engine: one pass of one automaton finds where a secret may begin, small hand-written
//! parsers decide where it begins and ends, and a second pass puts placeholders there.
//!
//! Scanning never looks further than [`REACH`] ahead of and [`BEHIND`] before a match, whatever the
//! input is, and goes on behind what it has found: time is linear, and a stream cut
//! `REACH` before its end gives the same result as the whole text.

use regex_automata::Input;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use super::jwt;
use super::names::{self, Class, Place};
use super::patterns::{Action, PATTERNS, Pattern};
use super::placeholder::{self, Key, Kind, Style};
use super::value::{self, BEHIND, Extent, Join, REACH, Value};

/// How often base64 may hide base64.
const MAX_DEPTH: u8 = 3;

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the match began that led to it.
    pub(super) context: usize,
    /// Where the secret begins.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
    pub(super) kind: Kind,
    pub(super) style: Style,
    /// The row of the table.
    pub(super) rule: &'static str,
}

/// The compiled table.
#[derive(Debug)]
pub(super) struct Engine {
    regex: Regex,
}

impl Engine {
    /// Compiles the table, once per process.
    pub(super) fn shared() -> &'static Self {
        static ENGINE: std::sync::LazyLock<Engine> = std::sync::LazyLock::new(Engine::compile);
        &ENGINE
    }

    fn compile() -> Self {
        let expressions: Vec<&str> = PATTERNS.iter().map(|pattern| pattern.expression).collect();
        let regex = Regex::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(
                Regex::config()
                    .utf8_empty(false)
                    .nfa_size_limit(Some(64 << 20))
                    .hybrid_cache_capacity(16 << 20),
            )
            .build_many(&expressions)
            .expect("the table of patterns compiles; a test walks it");
        Self { regex }
    }

    /// Finds the secrets of a text, sorted by where they begin; they may overlap.
    pub(super) fn scan(&self, text: &[u8], found: &mut Vec<Found>) {
        self.scan_to_depth(text, 0, found);
        found.sort_by_key(|f| (f.start, std::cmp::Reverse(f.end)));
    }

    fn scan_to_depth(&self, text: &[u8], depth: u8, found: &mut Vec<Found>) {
        let mut at = 0;
        // What was found, or recognised as a placeholder, ends here. A word that announced nothing
        // may still be the beginning of something else: the `jwt` in `jwt7@example.com`.
        let mut floor = 0;
        while at < text.len() {
            let Some(hit) = self.regex.search(&Input::new(text).range(at..)) else { break };
            let pattern = &PATTERNS[hit.pattern().as_usize()];
            let known = found.len();
            let mut here = Matcher { text, floor, start: hit.start(), end: hit.end(), pattern, found };
            at = here.run().max(hit.start() + 1);
            if found.len() > known || matches!(pattern.action, Action::Placeholder) {
                floor = at;
            }
        }
        if depth < MAX_DEPTH {
            self.scan_base64(text, depth, found);
        }
    }

    /// Looks into runs of base64 that decode to text.
    fn scan_base64(&self, text: &[u8], depth: u8, found: &mut Vec<Found>) {
        for (start, end) in super::base64::runs(text) {
            let run = &text[start..end];
            let Some(decoded) = super::base64::decode_text(run) else { continue };
            let mut inner = Vec::new();
            self.scan_to_depth(&decoded, depth + 1, &mut inner);
            if !inner.is_empty() {
                found.push(Found {
                    context: start,
                    start,
                    end,
                    kind: Kind::Base64,
                    style: Style::Plain,
                    rule: "base64",
                });
            }
        }
    }
}

/// One match of the automaton, on its way to secrets.
struct Matcher<'a> {
    text: &'a [u8],
    /// Nothing before this belongs to this match.
    floor: usize,
    start: usize,
    end: usize,
    pattern: &'static Pattern,
    found: &'a mut Vec<Found>,
}

impl Matcher<'_> {
    /// Adds what is secret here and returns where to go on.
    fn run(&mut self) -> usize {
        match self.pattern.action {
            Action::Placeholder => match placeholder::recognise(&self.text[self.start..]) {
                Some(len) => self.behind_placeholder(self.start + len),
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
            Action::Name => self.name(),
            Action::Jwt => self.jwt(self.start).unwrap_or(self.start + 3),
            Action::Url => self.url(),
            Action::Email => self.email(),
            Action::Pem => self.pem(),
            Action::Scheme => self.scheme(),
            Action::Base64 => self.base64(),
            Action::Login => self.login(),
            Action::RequestQuery => self.query(),
            Action::Dump(keys) => self.dump(keys),
            Action::Audit => self.audit(),
            Action::UpstreamBody => self.upstream_body(),
        }
    }

    fn push(&mut self, start: usize, end: usize, kind: Kind, style: Style) {
        if start < end {
            let context = self.start.min(start);
            self.found.push(Found { context, start, end, kind, style, rule: self.pattern.id });
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
        let Some(class) = names::classify(name, place) else { return resume };
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
            if join == Join::Compare && !is_header && !value.quoted {
                continue;
            }
            if !shouting && name.eq_ignore_ascii_case(b"secret") && names_an_object(content) {
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
    fn push_value(&mut self, value: Value, kind: Kind) -> usize {
        let Value { start, mut end, quoted } = value;
        let text = self.text;
        while end > start && matches!(text[end - 1], b' ' | b'\t' | b'\r') {
            end -= 1;
        }
        if let Some(len) = placeholder::recognise(&text[start..]) {
            let after = self.placeholder_end(start + len);
            if after < end {
                self.push_rest(after, end, kind);
            } else if !quoted {
                return self.behind_placeholder(start + len);
            }
            // The facts in the placeholder are scanned like any text.
            return start + len;
        }
        if jwt::end(text, start) == Some(end) {
            self.push(start, end, Kind::Jwt, Style::Plain);
        } else {
            self.push(start, end, kind, Style::Plain);
        }
        end
    }

    /// What directly follows a placeholder within one value is a part of the secret.
    fn push_rest(&mut self, start: usize, end: usize, kind: Kind) {
        let rest = &self.text[start..end];
        let mut at = start;
        // More placeholders may follow, as in a cookie of several values.
        while at < end {
            let Some(len) = placeholder::recognise(&self.text[at..]) else { break };
            at = self.placeholder_end(at + len);
        }
        if at >= end || rest.iter().all(|b| b.is_ascii_whitespace() || b.is_ascii_punctuation()) {
            return;
        }
        self.push(at, end, kind, Style::Plain);
    }

    /// The end of the placeholder whose fixed part ends at `at`.
    fn placeholder_end(&self, at: usize) -> usize {
        if self.text[at - 1] == b'>' || self.text.get(at) != Some(&b' ') {
            return at;
        }
        let limit = (at + REACH).min(self.text.len());
        match self.text[at..limit].iter().position(|b| matches!(b, b'>' | b'<' | b'\n' | b'"' | b'\'')) {
            Some(n) if self.text[at + n] == b'>' => at + n + 1,
            _ => at,
        }
    }

    /// Goes on behind a placeholder; what clings to it is as secret as what it stands for.
    fn behind_placeholder(&mut self, at: usize) -> usize {
        let end = self.placeholder_end(at);
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

    fn jwt(&mut self, at: usize) -> Option<usize> {
        let end = jwt::end(self.text, at)?;
        self.push(at, end, Kind::Jwt, Style::Plain);
        Some(end)
    }

    fn url(&mut self) -> usize {
        let text = self.text;
        let from = self.end;
        let limit = text.len().min(from + 4096);
        let stop = text[from..limit]
            .iter()
            .position(|b| {
                b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'`' | b'\\' | b'>' | b'{' | b'|')
            })
            .map_or(limit, |n| from + n);
        let url = &text[from..stop];
        let authority = url.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(url.len());
        let mut at_sign = memchr::memrchr(b'@', &url[..authority]);
        if at_sign.is_none()
            && let Some(colon) = memchr::memchr(b':', &url[..authority])
            && !url[colon + 1..authority].iter().all(u8::is_ascii_digit)
            && url[0] != b'['
        {
            // A password with `/`, `?` or `#` in it that nobody encoded.
            at_sign = memchr::memchr(b',', url)
                .map_or_else(|| memchr::memrchr(b'@', url), |comma| memchr::memrchr(b'@', &url[..comma]));
        }
        let mut go_on = from;
        if let Some(at_sign) = at_sign {
            let user = &url[..at_sign];
            // `https://<redacted…>@host` and `https://redacted.userinfo…@host` are ours.
            let colon = memchr::memchr(b':', user);
            let secret = colon.map_or(0, |colon| colon + 1);
            let done = placeholder::recognise(&user[secret..]).is_some_and(|len| len == user.len() - secret);
            if !done && secret < user.len() {
                self.push(from + secret, from + at_sign, Kind::Userinfo, Style::Url);
            }
            if let Some(colon) = colon
                && memchr::memchr(b'@', &user[..colon]).is_some()
            {
                self.push(from, from + colon, Kind::Userinfo, Style::Url);
            }
            go_on = from + at_sign + 1;
        }
        if let Some(question) = memchr::memchr(b'?', &url[go_on - from..]) {
            self.query_values(go_on + question + 1, stop);
        }
        go_on
    }

    /// Values of query parameters that are secrets only in a query.
    fn query_values(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at < end {
            let stop = memchr::memchr2(b'&', b';', &self.text[at..end]).map_or(end, |n| at + n);
            let pair = &self.text[at..stop];
            if let Some(equals) = memchr::memchr(b'=', pair) {
                let name = pair[..equals].to_ascii_lowercase();
                let sensitive = matches!(
                    name.as_slice(),
                    b"sig"
                        | b"signature"
                        | b"code"
                        | b"key"
                        | b"auth"
                        | b"assertion"
                        | b"x-amz-signature"
                        | b"x-amz-credential"
                        | b"x-goog-signature"
                        | b"x-goog-credential"
                        | b"awsaccesskeyid"
                        | b"pass"
                        | b"pw"
                        | b"session"
                        | b"jwt"
                        | b"id_token_hint"
                        | b"code_verifier"
                        | b"nonce"
                        | b"state"
                        | b"sv_sig"
                        | b"samlresponse"
                        | b"samlrequest"
                        | b"login_hint"
                        | b"email"
                        | b"user"
                );
                let value = at + equals + 1;
                if sensitive && value < stop && placeholder::recognise(&self.text[value..]).is_none() {
                    self.push(value, stop, Kind::Query, Style::Url);
                }
            }
            at = stop + 1;
        }
    }

    fn email(&mut self) -> usize {
        let text = self.text;
        let low = self.floor.max(self.start.saturating_sub(64));
        let mut left = self.start;
        while left > low
            && (text[left - 1].is_ascii_alphanumeric() || matches!(text[left - 1], b'.' | b'_' | b'+' | b'-'))
        {
            left -= 1;
        }
        while left < self.start && matches!(text[left], b'.' | b'-') {
            left += 1;
        }
        let high = text.len().min(self.end + 253);
        let mut right = self.end;
        while right < high && (text[right].is_ascii_alphanumeric() || matches!(text[right], b'.' | b'-')) {
            right += 1;
        }
        while right > self.end && matches!(text[right - 1], b'.' | b'-') {
            right -= 1;
        }
        let domain = &text[self.end..right];
        let Some(dot) = memchr::memrchr(b'.', domain) else { return self.end };
        let top = &domain[dot + 1..];
        let unit = matches!(
            top,
            b"service"
                | b"socket"
                | b"timer"
                | b"mount"
                | b"target"
                | b"slice"
                | b"scope"
                | b"device"
                | b"path"
        );
        if left == self.start || top.len() < 2 || unit || !top.iter().all(u8::is_ascii_alphabetic) || dot == 0
        {
            return self.end;
        }
        // `git@github.com:org/repo` is an address of a repository, not of a person.
        if &text[left..self.start] == b"git" {
            return self.end;
        }
        self.push(left, right, Kind::Email, Style::Plain);
        right
    }

    fn pem(&mut self) -> usize {
        let text = self.text;
        let from = self.end;
        let limit = text.len().min(self.start + REACH);
        if let Some(n) = memchr::memmem::find(&text[from..limit], b"-----END") {
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

    fn scheme(&mut self) -> usize {
        let start = self.end - 1;
        let basic = self.text[self.start..].to_ascii_lowercase_prefix(b"basic");
        let end = self.text[start..]
            .iter()
            .take(REACH)
            .position(|b| {
                !(b.is_ascii_alphanumeric()
                    || matches!(b, b'.' | b'_' | b'~' | b'+' | b'/' | b'-' | b'=' | b'%'))
            })
            .map_or(self.text.len().min(start + REACH), |n| start + n);
        let mut end = end;
        while end > start && matches!(self.text[end - 1], b'.' | b'-') {
            end -= 1;
        }
        let word = &self.text[start..end];
        if let Some(end) = jwt::end(self.text, start) {
            self.push(start, end, Kind::Jwt, Style::Plain);
            return end;
        }
        let body = word.iter().position(|b| *b == b'=').map_or(word, |n| &word[..n]);
        let parameter = body.len() + 1 < word.len() && !word[body.len()..].iter().all(|b| *b == b'=')
            || matches!(body, b"realm" | b"error" | b"scope" | b"resource_metadata" | b"error_description");
        let digits = body.iter().any(u8::is_ascii_digit);
        let upper = body.iter().skip(1).any(u8::is_ascii_uppercase);
        let secret = if basic {
            super::base64::decode(word).is_some_and(|decoded| {
                decoded.contains(&b':') && decoded.iter().all(|b| (32..127).contains(b))
            })
        } else {
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
        let low = self.floor.max(self.start.saturating_sub(BEHIND));
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
        let is_base64 = |b: &u8| super::base64::is_character(*b) || *b == b'=';
        let start = self.end - 8;
        let len = self.text[start..].iter().take(4096).take_while(|b| is_base64(b)).count();
        let login = super::base64::decode(&self.text[start..start + len]);
        if login.is_some_and(|login| login.contains(&b':') && login.iter().all(|b| (32..127).contains(b))) {
            self.push(start, start + len, Kind::Authorization, Style::Plain);
        }
        start + len
    }

    fn query(&mut self) -> usize {
        let start = self.end;
        let limit = self.text.len().min(start + REACH);
        let end = self.text[start..limit]
            .iter()
            .position(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'\\'))
            .map_or(limit, |n| start + n);
        if placeholder::recognise(&self.text[start..]).is_some() {
            return start;
        }
        self.push(start, end, Kind::Query, Style::Url);
        end.max(start)
    }

    /// The fields of a log line behind a message that dumps whole values.
    fn dump(&mut self, keys: &[&str]) -> usize {
        let line = self.line_end(self.end);
        for key in keys {
            let mut at = self.end;
            while let Some(n) = memchr::memmem::find(&self.text[at..line], key.as_bytes()) {
                let word = at + n;
                at = word + key.len();
                let before = self.text[word - 1];
                if before.is_ascii_alphanumeric() || before == b'_' {
                    continue;
                }
                let Some((join, value)) = value::join(self.text, at, false, false) else { continue };
                if !matches!(join, Join::Colon | Join::Equals) {
                    continue;
                }
                let json = join == Join::Colon && matches!(self.text.get(value), Some(b'{' | b'['));
                let end = if json {
                    value::json_end(self.text, value)
                } else {
                    let mut end = value;
                    value::values(self.text, value, join, word, Extent::Line, &mut |v| end = end.max(v.end));
                    end
                };
                let start = value
                    + usize::from(!json && self.text.get(value).is_some_and(|b| matches!(b, b'"' | b'\'')));
                if start < end {
                    self.push_value(Value { start, end: end.min(line.max(start)), quoted: true }, Kind::Dump);
                }
                at = at.max(end.min(line));
                if at >= line {
                    break;
                }
            }
        }
        self.end
    }

    fn audit(&mut self) -> usize {
        let low = self.start.saturating_sub(BEHIND);
        let from = memchr::memrchr(b'\n', &self.text[low..self.start]).map_or(low, |n| low + n + 1);
        let line = self.line_end(self.end);
        self.start = from;
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

    fn upstream_body(&mut self) -> usize {
        const KEPT: usize = 80;
        let line = self.line_end(self.end);
        let end = self.text[self.end..line]
            .iter()
            .enumerate()
            .position(|(n, b)| *b == b'"' && (n == 0 || self.text[self.end + n - 1] != b'\\'))
            .map_or(line, |n| self.end + n);
        if end > self.end + KEPT {
            let mut start = self.end + KEPT;
            // Not within a character, an escape or a placeholder.
            while start < end && (self.text[start] & 0xC0 == 0x80 || self.text[start - 1] == b'\\') {
                start += 1;
            }
            let window = &self.text[self.end..end];
            if memchr::memmem::find(window, b"redacted:body").is_none() {
                self.push(start, end, Kind::Body, Style::Plain);
            }
        }
        self.end
    }

    fn line_end(&self, from: usize) -> usize {
        let limit = self.text.len().min(from + REACH - BEHIND);
        memchr::memchr(b'\n', &self.text[from..limit]).map_or(limit, |n| from + n)
    }
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

fn unquoted(text: &[u8], start: usize) -> Value {
    let mut end = start;
    value::values(text, start, Join::Equals, start, Extent::Word, &mut |v| end = v.end);
    Value { start, end, quoted: false }
}

fn is_scheme(word: &[u8]) -> bool {
    [
        "bearer",
        "basic",
        "token",
        "digest",
        "negotiate",
        "apikey",
        "api-key",
        "bot",
        "ntlm",
        "hawk",
        "aws4-hmac-sha256",
        "dpop",
        "bearer:",
    ]
    .iter()
    .any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// The length of the scheme word and the space behind it.
pub(super) fn scheme_word(value: &[u8]) -> Option<usize> {
    let word = value.iter().position(|b| matches!(b, b' ' | b'+' | b'%'))?;
    if !is_scheme(&value[..word]) {
        return None;
    }
    let skip = match value[word] {
        b'%' if value[word..].starts_with(b"%20") => 3,
        b'%' => return None,
        _ => 1 + value[word + 1..].iter().take_while(|b| **b == b' ').count(),
    };
    Some(word + skip)
}

/// A value without the punctuation of the sentence around it.
fn word(value: &[u8]) -> &[u8] {
    let end =
        value.iter().rposition(|b| !matches!(b, b',' | b';' | b'.' | b':' | b')')).map_or(0, |at| at + 1);
    &value[..end]
}

/// Values that say nothing.
pub(super) fn harmless(value: &[u8], kind: Kind) -> bool {
    let value = value.trim_ascii();
    if value.is_empty() {
        return true;
    }
    let lower = value.to_ascii_lowercase();
    // In a sentence a comma or a full stop follows: `mcp.kuadrant.io/secret=true, because …`.
    if matches!(word(&lower), b"true" | b"false" | b"null" | b"none") {
        return true;
    }
    if matches!(
        lower.as_slice(),
        b"null"
            | b"nil"
            | b"none"
            | b"<nil>"
            | b"<none>"
            | b"true"
            | b"false"
            | b"redacted"
            | b"[redacted]"
            | b"<redacted>"
            | b"***redacted***"
            | b"{}"
            | b"[]"
            | b"w3jlzgfjdgvkxq=="
            | b"undefined"
            | b"<unset>"
            | b"<set>"
            | b"<empty>"
            | b"..."
            | b"%s"
            | b"%v"
            | b"%q"
    ) {
        return true;
    }
    if lower.iter().all(|b| matches!(b, b'*' | b'x' | b'.' | b'-' | b'_'))
        && !lower.iter().all(|b| *b == b'x')
    {
        return true;
    }
    // A reference to a variable: `$(TOKEN)`, `${TOKEN}`, `$TOKEN`, `{{ .token }}`.
    if (value.starts_with(b"$(") && value.ends_with(b")"))
        || (value.starts_with(b"${") && value.ends_with(b"}"))
        || (value.starts_with(b"{{") && value.ends_with(b"}}"))
    {
        return value.len() < 80 && !value.windows(2).any(|w| w == b":-");
    }
    kind != Kind::Password && value.len() < 5 && value.iter().all(u8::is_ascii_digit)
}

/// Whether a word stands before the name on the same line, as in running text.
fn follows_a_word(text: &[u8], name: usize, floor: usize) -> bool {
    let low = floor.min(name).max(name.saturating_sub(8));
    let before = &text[low..name];
    let spaces = before.iter().rev().take_while(|b| **b == b' ').count();
    spaces > 0 && before.len() > spaces && before[before.len() - spaces - 1].is_ascii_alphanumeric()
}

/// Whether a value behind `token: ` in running text is just the next word.
fn reads_like_prose(value: &[u8], kind: Kind) -> bool {
    let word = value
        .strip_suffix(b":")
        .or_else(|| value.strip_suffix(b","))
        .or_else(|| value.strip_suffix(b"."))
        .unwrap_or(value);
    let plain = !word.is_empty()
        && word.len() <= 14
        && word.iter().skip(1).all(u8::is_ascii_lowercase)
        && word[0].is_ascii_alphabetic();
    if kind == Kind::Password {
        return plain
            && [
                "context",
                "invalid",
                "failed",
                "error",
                "cannot",
                "unable",
                "not",
                "no",
                "is",
                "must",
                "the",
                "incorrect",
                "wrong",
                "expired",
                "required",
                "missing",
                "timeout",
                "connection",
                "dial",
                "rpc",
                "unauthorized",
                "unexpected",
                "authentication",
                "could",
            ]
            .iter()
            .any(|w| word.eq_ignore_ascii_case(w.as_bytes()));
    }
    plain || matches!(word, b"x509" | b"EOF" | b"oauth2" | b"HTTP" | b"OIDC" | b"JWT")
}

/// Whether this is `namespace/name`, as logs name a Secret object.
fn names_an_object(value: &[u8]) -> bool {
    let Some(slash) = memchr::memchr(b'/', value) else { return false };
    let label = |part: &[u8]| {
        !part.is_empty()
            && part.len() <= 63
            && part[0].is_ascii_lowercase()
            && part.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
            && part.iter().filter(|b| b.is_ascii_digit()).count() * 3 <= part.len()
    };
    label(&value[..slash]) && label(&value[slash + 1..])
}

/// Puts placeholders where secrets are. Overlapping ones become one, which is as long as all of them.
/// Calls `count` for each.
pub(super) fn replace(
    key: &Key,
    text: &[u8],
    found: &[Found],
    out: &mut Vec<u8>,
    count: &mut dyn FnMut(&'static str),
) {
    let mut at = 0;
    let mut next = 0;
    while next < found.len() {
        let first = &found[next];
        let (mut start, mut end) = (first.start, first.end);
        let mut best = first;
        next += 1;
        while next < found.len() && found[next].start < end {
            let other = &found[next];
            if other.end > end {
                end = other.end;
                // A token is told apart even when a wider match covers it.
                if other.start == start {
                    best = other;
                }
            }
            next += 1;
        }
        start = start.max(at);
        if start >= end {
            continue;
        }
        // What clings to a placeholder is taken for a part of the secret when it is met again; so it is now.
        let clinging = clinging(&text[end..]);
        if clinging > 3 && found.get(next).is_none_or(|next| next.start >= end + clinging) {
            end += clinging;
        }
        out.extend_from_slice(&text[at..start]);
        let value = &text[start..end];
        let shown = placeholder_of(key, best.kind, best.style, value);
        out.extend_from_slice(shown.as_bytes());
        count(best.rule);
        at = end;
    }
    out.extend_from_slice(&text[at..]);
}

/// How much of what directly follows a placeholder belongs to it.
fn clinging(text: &[u8]) -> usize {
    text.iter()
        .take(REACH)
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'_' | b'~' | b'!' | b'$'))
        .count()
}

/// The placeholder of a value as it stands in a text.
pub(super) fn placeholder_of(key: &Key, kind: Kind, style: Style, value: &[u8]) -> String {
    let is_token = value.starts_with(b"e") && jwt::end(value, 0) == Some(value.len());
    let (kind, digest) = if is_token { (Kind::Jwt, jwt::digest(value)) } else { (kind, String::new()) };
    key.placeholder(kind, style, &plain(value), &digest)
}

/// The value as it was before JSON escaped it, so that equal secrets stay equal.
fn plain(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if !value.contains(&b'\\') {
        return std::borrow::Cow::Borrowed(value);
    }
    let mut quoted = Vec::with_capacity(value.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(value);
    quoted.push(b'"');
    match serde_json::from_slice::<String>(&quoted) {
        Ok(text) => std::borrow::Cow::Owned(text.into_bytes()),
        Err(_) => std::borrow::Cow::Borrowed(value),
    }
}
