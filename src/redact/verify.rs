//! The second opinion: looks for secrets that are still there.
//!
//! This shares no code and no table with the redactor: no expression, no list of names, no notion of
//! a value's borders. It searches for fixed strings and looks at what stands around them, so that a
//! gap in the one is not a gap in the other. It says where and what kind, never the value.
//!
//! [`Certainty::Certain`] is what `gather` asks for before it publishes an archive: forms that nothing
//! harmless has. [`Certainty::Suspicious`] adds names with random-looking values and long random-looking
//! strings, for `verify`.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::archive::read::{ReadError, Source, Visit};

/// How sure a finding must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Only what is a secret by its form.
    Certain,
    /// Also what looks like one.
    Suspicious,
}

/// Something that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    /// The line, from 1; 0 for the path of the file.
    pub line: u64,
    /// What it looks like.
    pub kind: &'static str,
}

/// How much is looked at once.
const BLOCK: usize = 256 * 1024;
/// How much is looked at again with what follows.
const OVERLAP: usize = 16 * 1024;
/// More leaks of one file are not listed.
const MAX_LEAKS: usize = 100;

/// Tokens that their beginning gives away: the beginning, the fewest characters behind it, the kind.
const BEGINNINGS: &[(&str, usize, &str)] = &[
    ("ghp_", 20, "GitHub token"),
    ("gho_", 20, "GitHub token"),
    ("ghu_", 20, "GitHub token"),
    ("ghs_", 20, "GitHub token"),
    ("ghr_", 20, "GitHub token"),
    ("github_pat_", 22, "GitHub token"),
    ("glpat-", 18, "GitLab token"),
    ("xoxb-", 12, "Slack token"),
    ("xoxp-", 12, "Slack token"),
    ("xoxa-", 12, "Slack token"),
    ("AKIA", 16, "AWS access key"),
    ("ASIA", 16, "AWS access key"),
    ("AIzaSy", 30, "Google API key"),
    ("GOCSPX-", 20, "Google client secret"),
    ("sha256~", 40, "OpenShift token"),
    ("sk-ant-", 16, "Anthropic key"),
    ("sk-proj-", 16, "OpenAI key"),
    ("hf_", 30, "Hugging Face token"),
    ("npm_", 34, "npm token"),
    ("pypi-", 40, "PyPI token"),
    ("dckr_pat_", 20, "Docker token"),
    ("sk_live_", 16, "Stripe key"),
    ("rk_live_", 16, "Stripe key"),
    ("AGE-SECRET-KEY-1", 40, "age key"),
    ("hvs.", 22, "Vault token"),
];

/// Words at the end of a name that announce a secret, by what they announce.
const NAMES: &[(&[u8], &str)] = &[
    (b"password", "password"),
    (b"passwd", "password"),
    (b"passphrase", "password"),
    (b"secret", "secret"),
    (b"token", "token"),
    (b"apikey", "API key"),
    (b"api_key", "API key"),
    (b"api-key", "API key"),
    (b"access_key", "access key"),
    (b"router-key", "router key"),
    (b"signing_key", "signing key"),
    (b"private_key", "private key"),
    (b"credential", "credential"),
];

/// Looks through one file.
#[derive(Debug)]
pub struct Scanner {
    certainty: Certainty,
    buffer: Vec<u8>,
    /// Lines before the buffer.
    lines: u64,
    /// So much at the beginning of the buffer was looked at before.
    seen: usize,
    in_certificate: bool,
    leaks: Vec<Leak>,
}

impl Scanner {
    /// Begins a file.
    #[must_use]
    pub fn new(certainty: Certainty) -> Self {
        Self { certainty, buffer: Vec::new(), lines: 0, seen: 0, in_certificate: false, leaks: Vec::new() }
    }

    /// Looks through a name, such as a path in an archive.
    #[must_use]
    pub fn name(certainty: Certainty, name: &str) -> Vec<Leak> {
        let mut scanner = Self::new(certainty);
        scanner.push(name.as_bytes());
        scanner.finish()
    }

    /// Looks through everything that a reader gives.
    ///
    /// # Errors
    /// The reader's.
    pub fn read(certainty: Certainty, input: &mut dyn Read) -> std::io::Result<Vec<Leak>> {
        let mut scanner = Self::new(certainty);
        let mut piece = vec![0u8; 64 * 1024];
        loop {
            let read = input.read(&mut piece)?;
            if read == 0 {
                return Ok(scanner.finish());
            }
            scanner.push(&piece[..read]);
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        for part in piece.chunks(BLOCK) {
            self.buffer.extend_from_slice(part);
            if self.buffer.len() >= BLOCK + OVERLAP {
                // Up to the last line, so that lines are looked at whole unless they are huge.
                let end = memchr::memrchr(b'\n', &self.buffer[OVERLAP..])
                    .map_or(self.buffer.len(), |n| OVERLAP + n + 1);
                self.look(end);
                let keep = end.saturating_sub(OVERLAP);
                self.lines += memchr::memchr_iter(b'\n', &self.buffer[..keep]).count() as u64;
                self.buffer.drain(..keep);
                self.seen = end - keep;
            }
        }
    }

    /// Ends the file and gives what was found, in order.
    #[must_use]
    pub fn finish(mut self) -> Vec<Leak> {
        self.look(self.buffer.len());
        self.leaks.sort();
        self.leaks.dedup();
        self.leaks
    }

    fn look(&mut self, end: usize) {
        let text = std::mem::take(&mut self.buffer);
        let window = &text[..end];
        self.private_keys(window);
        self.beginnings(window);
        self.web_tokens(window);
        self.urls(window);
        self.schemes(window);
        self.encoded(window);
        if self.certainty == Certainty::Suspicious {
            self.names(window);
            self.random(window);
        }
        self.buffer = text;
    }

    fn leak(&mut self, text: &[u8], at: usize, kind: &'static str) {
        if self.leaks.len() < MAX_LEAKS {
            let line = self.lines + memchr::memchr_iter(b'\n', &text[..at]).count() as u64 + 1;
            self.leaks.push(Leak { line, kind });
        }
    }

    fn private_keys(&mut self, text: &[u8]) {
        for at in memchr::memmem::find_iter(text, "PRIVATE KEY") {
            let before = &text[at.saturating_sub(40)..at];
            if memchr::memmem::rfind(before, b"-----BEGIN").is_none() {
                continue;
            }
            // A mark in a sentence, as in documentation, is followed by no key.
            let rest = &text[at..text.len().min(at + 400)];
            let body =
                &rest[rest.iter().skip(11).position(|b| *b == b'-').map_or(11, |n| n + 16).min(rest.len())..];
            let material = body
                .split(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')))
                .any(|word| word.len() >= 24 && word.iter().any(u8::is_ascii_digit));
            if material {
                self.leak(text, at, "private key");
            }
        }
    }

    fn beginnings(&mut self, text: &[u8]) {
        for (beginning, fewest, kind) in BEGINNINGS {
            for at in memchr::memmem::find_iter(text, beginning) {
                if at > 0 && (text[at - 1].is_ascii_alphanumeric() || text[at - 1] == b'_') {
                    continue;
                }
                let rest = &text[at + beginning.len()..];
                let body = &rest[..rest
                    .iter()
                    .take(300)
                    .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
                    .count()];
                if body.len() >= *fewest && (body.iter().any(u8::is_ascii_digit) || body.len() > 30) {
                    self.leak(text, at, kind);
                }
            }
        }
    }

    fn web_tokens(&mut self, text: &[u8]) {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        // A long run of beginnings is read once.
        let mut run = 0;
        for at in memchr::memmem::find_iter(text, "eyJ") {
            let from = at.max(run);
            run = from + text[from..].iter().take_while(|b| is_part(b)).count();
            let header = run - at;
            if !(10..=OVERLAP).contains(&header) || text.get(run) != Some(&b'.') {
                continue;
            }
            let payload = text[run + 1..].iter().take(10).take_while(|b| is_part(b)).count();
            if payload < 10 {
                continue;
            }
            // Which algorithm it is stands near the beginning.
            let header = &text[at..at + header.min(1024)];
            let header = &header[..header.len() - usize::from(header.len() % 4 == 1)];
            if URL_SAFE_NO_PAD
                .decode(header)
                .is_ok_and(|json| memchr::memmem::find(&json, b"\"alg\"").is_some())
            {
                self.leak(text, at, "JSON web token");
            }
        }
    }

    fn urls(&mut self, text: &[u8]) {
        for at in memchr::memmem::find_iter(text, "://") {
            let rest = &text[at + 3..text.len().min(at + 1027)];
            let authority = &rest[..rest
                .iter()
                .position(|b| {
                    b.is_ascii_whitespace()
                        || matches!(b, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'\\' | b'`' | b',' | b')')
                })
                .unwrap_or(rest.len())];
            let Some(sign) = authority.iter().rposition(|b| *b == b'@') else { continue };
            let Some(colon) = authority[..sign].iter().position(|b| *b == b':') else { continue };
            let password = &authority[colon + 1..sign];
            let harmless = password.is_empty()
                || password.starts_with(b"redacted.")
                || password.iter().all(|b| matches!(b, b'*' | b'x' | b'X'))
                || password.starts_with(b"$")
                || password.starts_with(b"%");
            if !harmless {
                self.leak(text, at, "password in a URL");
            }
        }
    }

    /// `Bearer X` and `Basic X`, wherever they stand.
    fn schemes(&mut self, text: &[u8]) {
        for (word, fewest) in [("earer ", 12), ("EARER ", 12), ("asic ", 12)] {
            for at in memchr::memmem::find_iter(text, word) {
                if at == 0
                    || !matches!(text[at - 1], b'b' | b'B')
                    || (at > 1 && text[at - 2].is_ascii_alphanumeric())
                {
                    continue;
                }
                let rest = &text[at + word.len()..text.len().min(at + word.len() + 4096)];
                let value = &rest[..rest
                    .iter()
                    .take_while(|b| {
                        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'/' | b'~')
                    })
                    .count()];
                let random =
                    value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
                if value.len() < fewest || !random || value.starts_with(b"redacted") {
                    continue;
                }
                if word == "asic " {
                    let whole = &value[..value.len() - usize::from(value.len() % 4 == 1)];
                    if STANDARD_NO_PAD.decode(whole).is_ok_and(|d| d.contains(&b':') && d.is_ascii()) {
                        self.leak(text, at, "basic credentials");
                    }
                } else if rest.get(value.len()) != Some(&b'=')
                    || rest.get(value.len() + 1).is_none_or(|b| matches!(b, b'=' | b'"' | b' ' | b'\n'))
                {
                    self.leak(text, at, "bearer token");
                }
            }
        }
    }

    /// Base64 of what must not be there, at any of the three alignments.
    fn encoded(&mut self, text: &[u8]) {
        for (marker, kind) in [
            ("QmVhcmVyI", "bearer token in base64"),
            ("JlYXJlci", "bearer token in base64"),
            ("CZWFyZXIg", "bearer token in base64"),
            ("ZXlKaGJHY2", "JSON web token in base64"),
            ("V5SmhiR2Np", "JSON web token in base64"),
            ("leUpoYkdja", "JSON web token in base64"),
            ("BSSVZBVEUgS0VZLS0t", "private key in base64"),
            ("UFJJVkFURSBLRVktLS0", "private key in base64"),
            ("QUklWQVRFIEtFWS0tL", "private key in base64"),
        ] {
            for at in memchr::memmem::find_iter(text, marker) {
                let more = text[at + marker.len()..]
                    .iter()
                    .take(64)
                    .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_'))
                    .count();
                if more >= 8 {
                    self.leak(text, at, kind);
                }
            }
        }
    }

    /// Values behind a name that announces a secret.
    fn names(&mut self, text: &[u8]) {
        for at in memchr::memchr2_iter(b':', b'=', text) {
            if at < self.seen.saturating_sub(256) {
                continue;
            }
            let mut end = at;
            while end > 0 && matches!(text[end - 1], b' ' | b'"' | b'\'' | b'\\') && at - end < 6 {
                end -= 1;
            }
            let word = &text[end.saturating_sub(12)..end];
            let Some(last) = word.last() else { continue };
            if !matches!(last | 0x20, b'd' | b'e' | b't' | b'n' | b'y' | b'l') {
                continue;
            }
            let Some((_, kind)) = NAMES.iter().find(|(name, _)| {
                word.len() >= name.len() && word[word.len() - name.len()..].eq_ignore_ascii_case(name)
            }) else {
                continue;
            };
            let mut from = at + 1;
            while from < text.len()
                && from - at < 8
                && matches!(text[from], b' ' | b'"' | b'\'' | b'\\' | b'[' | b'=')
            {
                from += 1;
            }
            let rest = &text[from..text.len().min(from + 256)];
            let value = &rest[..rest
                .iter()
                .take_while(|b| {
                    b.is_ascii_graphic()
                        && !matches!(
                            b,
                            b'"' | b'\'' | b',' | b';' | b'&' | b'\\' | b'<' | b'>' | b')' | b']' | b'}'
                        )
                })
                .count()];
            // `N bytes long` in base64 is what stands for a value of a Secret.
            let length = STANDARD_NO_PAD
                .decode(&value[..value.iter().take_while(|b| **b != b'=').count()])
                .is_ok_and(|decoded| decoded.ends_with(b" bytes long"));
            if value.len() >= 8 && !length && !value.starts_with(b"redacted") && looks_random(value) {
                self.leak(text, at, kind);
            }
        }
    }

    /// Long strings that look random and are none of the random strings that are meant to be seen.
    fn random(&mut self, text: &[u8]) {
        let mut at = 0;
        for line in text.split_inclusive(|b| *b == b'\n') {
            let start = at;
            at += line.len();
            if line.starts_with(b"-----BEGIN CERT")
                || memchr::memmem::find(line, b"-----BEGIN CERTIFICATE").is_some()
            {
                self.in_certificate = true;
            }
            if memchr::memmem::find(line, b"-----END").is_some() {
                self.in_certificate = false;
                continue;
            }
            if self.in_certificate || line.len() < 40 {
                continue;
            }
            let mut word = 0;
            while word < line.len() {
                let len = line[word..]
                    .iter()
                    .take_while(|b| {
                        b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'_' | b'=' | b'-')
                    })
                    .count();
                let run = &line[word..word + len];
                if (40..=512).contains(&len) && is_opaque(run) && !announced_harmless(&line[..word], run) {
                    self.leak(text, start + word, "random-looking string");
                }
                word += len + 1;
            }
        }
    }
}

/// Bits per character.
fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let total = value.len() as f64;
    counts.iter().filter(|c| **c > 0).map(|c| f64::from(*c) / total).map(|p| -p * p.log2()).sum()
}

/// Whether a value behind a suspicious name is one that a machine made up.
fn looks_random(value: &[u8]) -> bool {
    let digits = value.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = value.iter().filter(|b| b.is_ascii_alphabetic()).count();
    let upper = value.iter().filter(|b| b.is_ascii_uppercase()).count();
    let path_like =
        value.contains(&b'/') || value.contains(&b'(') || value.contains(&b'{') || value.contains(&b'$');
    digits >= 2
        && letters >= 4
        && !path_like
        && (upper >= 1 || digits >= 4)
        && entropy(value) > 3.2
        && !is_time(value)
}

fn is_time(value: &[u8]) -> bool {
    value.len() >= 10 && value[4] == b'-' && value[7] == b'-' && value[..4].iter().all(u8::is_ascii_digit)
}

/// Whether a run mixes cases and digits the way that encoded random bytes do.
fn is_opaque(run: &[u8]) -> bool {
    let upper = run.iter().filter(|b| b.is_ascii_uppercase()).count();
    let lower = run.iter().filter(|b| b.is_ascii_lowercase()).count();
    let digits = run.iter().filter(|b| b.is_ascii_digit()).count();
    let marks = run.len() - upper - lower - digits;
    // Names of types and paths have long stretches of lower case between few capitals.
    let longest_lower = run.split(|b| !b.is_ascii_lowercase()).map(<[u8]>::len).max().unwrap_or(0);
    upper * 5 >= run.len()
        && lower * 5 >= run.len()
        && digits >= 3
        && marks * 10 <= run.len()
        && longest_lower < 8
        && entropy(run) > 4.5
}

/// Random strings that everybody may see: digests, public keys, certificates, tokens of a list.
fn announced_harmless(before: &[u8], run: &[u8]) -> bool {
    // As pages and manifests write the digest of a script or style.
    let is_digest = |form: &[u8], base64: usize| run.starts_with(form) && run.len() == form.len() + base64;
    if is_digest(b"sha256-", 44) || is_digest(b"sha384-", 64) || is_digest(b"sha512-", 88) {
        return true;
    }
    if run.starts_with(b"MII")
        || run.starts_with(b"LS0tLS1CRUdJTiBDRVJU")
        || run.starts_with(b"LS0tLS1CRUdJTiBQVUJM")
    {
        return true;
    }
    if STANDARD_NO_PAD
        .decode(&run[..run.len() / 4 * 4])
        .is_ok_and(|decoded| decoded.ends_with(b" bytes long") || decoded.starts_with(b"-----BEGIN CERT"))
    {
        return true;
    }
    let tail = before[before.len().saturating_sub(48)..].to_ascii_lowercase();
    [
        "sha256",
        "sha512",
        "digest",
        "hash",
        "checksum",
        "cabundle",
        "certificate",
        "x5c",
        "x5t",
        "\"n\":",
        "\"x\":",
        "\"y\":",
        "kid",
        "continue",
        "fingerprint",
        "etag",
        "integrity",
        "nonce",
        "h1:",
        "public",
    ]
    .iter()
    .any(|word| memchr::memmem::find(&tail, word.as_bytes()).is_some())
}

/// Looks through all files of a bundle, their paths included: what was found, by path and line.
///
/// # Errors
/// The bundle as a whole cannot be read.
pub fn scan(source: &dyn Source, certainty: Certainty) -> Result<Vec<(String, Leak)>, ReadError> {
    let mut leaks = Vec::new();
    source.walk(&mut |entry, content| {
        let mut of_file = Scanner::name(certainty, &entry.path);
        for leak in &mut of_file {
            leak.line = 0;
        }
        // What cannot be read to its end was looked at as far as it goes; the reader of the bundle says so.
        if let Ok(more) = Scanner::read(certainty, content) {
            of_file.extend(more);
        }
        leaks.extend(of_file.into_iter().map(|leak| (entry.path.clone(), leak)));
        Visit::Next
    })?;
    leaks.sort();
    Ok(leaks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<&'static str> {
        let mut scanner = Scanner::new(Certainty::Suspicious);
        scanner.push(text.as_bytes());
        scanner.finish().into_iter().map(|leak| leak.kind).collect()
    }

    #[test]
    fn leaks_are_found_where_they_are() {
        for (text, kind) in [
            ("a\nx ghp_16C7e42F292c6912E7710c838347Ae178B4a", "GitHub token"),
            ("a\nAuthorization: Bearer abcdef0123456789", "bearer token"),
            ("a\nBasic YWRtaW46aHVudGVyMg==", "basic credentials"),
            ("a\nredis://default:hunter2@redis:6379/0", "password in a URL"),
            ("a\neyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.c2lnbmF0dXJl", "JSON web token"),
            ("a\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBkZ0kZVhS9a8ZfZabcd0123456789\n", "private key"),
            ("a\nCgZ0b2tlbhIHQmVhcmVyIGh1bnRlcjIxMjM0NTY3ODk", "bearer token in base64"),
            ("a\nDB_PASSWORD=Xk29vLq81zPa", "password"),
            ("a\nvalue 9Kd83hFmQz71LxPw0VbN5tYs2RgJ6cEaUo4HiTMW81q", "random-looking string"),
        ] {
            let mut scanner = Scanner::new(Certainty::Suspicious);
            for piece in text.as_bytes().chunks(3) {
                scanner.push(piece);
            }
            let leaks = scanner.finish();
            assert!(leaks.contains(&Leak { line: 2, kind }), "{text}: {leaks:?}");
        }
    }

    #[test]
    fn what_the_redactor_leaves_is_no_leak() {
        for text in [
            "Authorization: Bearer <redacted:authorization len=16 h=01234567>",
            "redis://default:redacted.userinfo.len-7.h-01234567@redis:6379/0",
            "password: <redacted:password len=7 h=01234567>",
            "image: quay.io/kuadrant/mcp-gateway@sha256:1f2d3c4b5a69788796a5b4c3d2e1f001f2d3c4b5a69788796a5b4c3d2e1f00aa",
            "style-src &#x27;sha256-vrPq2mDXh3+puqUdz7OIZdiK4G4zfj+2Po2zQvfBu10=&#x27;; img-src data:",
            "uid: f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "tokenExpirationSeconds: 3607",
            "secret: mcp-gateway-config",
            "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ0pW8Ww1tq1v8YhTgM3gXk9X0t8wCgYIKoZIzj0EAwIw\n-----END CERTIFICATE-----",
            "WWW-Authenticate: Bearer resource_metadata=https://mcp.example.com/.well-known/oauth-protected-resource",
            "/apis/gateway.networking.k8s.io/v1/namespaces/mcp-system/httproutes/mcp-gateway-route",
            "token: 2026-11-22T10:11:12Z",
        ] {
            assert_eq!(kinds(text), Vec::<&str>::new(), "{text}");
        }
    }
}
