//! Values that were read from Secrets, found again wherever they stand, in every encoding.
//!
//! **Order.** `gather` reads the Secrets of all namespaces that it follows before it writes anything
//! else, so that a value is known before the first byte that may hold it leaves. A Secret that is met
//! only later (a namespace found on the way) is learned before its namespace is written, and the scan of
//! the finished archive ([`super::verify`]) is the second look at what was written before. `redact` reads its input
//! twice for the same reason: first the Secrets, then everything.
//!
//! **What is searched for.** Every value of at least [`MIN_LEN`] bytes, without the white space around
//! it and also without a scheme word; the credentials within values that are configuration files,
//! connection strings or registry logins; the lines of private keys; long values in pieces. Not: values
//! that are the same everywhere (`true`, `admin`), certificates and CA bundles, and the names, addresses
//! and numbers that stand beside credentials (`host`, `port`, `username` when it looks like a name): they
//! are redacted where the structure shows them.
//!
//! **Memory.** About 1.2 KB per value of 40 bytes with all its encodings.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroize as _;

use super::joined::{self, Borders};
use super::needles::{Hit, LONGEST, Needles, SHORTEST};
use super::placeholder::{Kind, Style};
use super::text::{Engine, Found};

/// The shortest value that is searched for; shorter ones would hit by chance and are only redacted
/// where the structure shows them.
pub(super) const MIN_LEN: usize = SHORTEST;

/// Longer values are searched for in pieces of this length.
const PIECE: usize = 64;
/// So much of one value is learned; a larger one is no credential but a file.
const MAX_VALUE: usize = 64 * 1024;
/// At most so many forms are kept; beyond, a value is only learned raw and as base64.
const MAX_FORMS: usize = 400_000;

/// Values that are too common to be searched for.
const COMMON: &[&str] = &[
    "true",
    "false",
    "admin",
    "administrator",
    "default",
    "username",
    "password",
    "secret",
    "token",
    "example",
    "localhost",
    "kubernetes",
    "openshift",
    "cluster",
    "changeme",
    "bearer",
    "basic",
    "mcp-gateway",
    "mcp-system",
    "redis",
    "postgres",
    "postgresql",
    "keycloak",
    "service",
    "system",
    "enabled",
    "disabled",
    "kubeconfig",
    "production",
    "development",
    "staging",
    "metadata",
    "authorization",
    "credential",
    "credentials",
    "opaque",
    "string",
    "master",
    "nobody",
    "account",
    "undefined",
    "localdomain",
];

/// Keys of values that are not secrets themselves, as long as the value looks like what the key says.
const HARMLESS_KEYS: &[&str] = &[
    "namespace",
    "ca.crt",
    "tls.crt",
    "service-ca.crt",
    "ca-bundle.crt",
    "root-cert.pem",
    "cert-chain.pem",
    "ca-cert.pem",
    "host",
    "hostname",
    "port",
    "database",
    "dbname",
    "db",
    "user",
    "username",
    "issuer",
    "issuer_url",
    "issuerurl",
    "region",
    "endpoint",
    "bucket",
    "url",
    "uri",
    "address",
    "email",
    "client_id",
    "client-id",
    "clientid",
    "realm",
    "scope",
    "scopes",
    "type",
    "kind",
    "name",
    "version",
    "extra",
    "server",
    "domain",
    "public",
    "id",
];

/// What has been learned so far.
#[derive(Debug, Default)]
pub(super) struct Learned {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    values: BTreeSet<Vec<u8>>,
    snapshot: Arc<Needles>,
    dirty: bool,
}

impl Drop for State {
    fn drop(&mut self) {
        while let Some(mut value) = self.values.pop_first() {
            value.zeroize();
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} values)", self.values.len())
    }
}

impl Learned {
    /// Learns the value of a key of a Secret.
    pub(super) fn learn_entry(&self, engine: &Engine, key: &str, value: &[u8]) {
        let key = key.to_ascii_lowercase();
        if HARMLESS_KEYS.contains(&key.as_str()) && looks_harmless(value) {
            return;
        }
        self.learn_value(engine, value);
    }

    /// Learns a value, and the credentials within it.
    pub(super) fn learn_value(&self, engine: &Engine, value: &[u8]) {
        let value = &value[..value.len().min(MAX_VALUE)];
        let mut new = BTreeSet::new();
        let trimmed = value.trim_ascii();
        let is_certificate = memchr::memmem::find(trimmed, b"-----BEGIN CERTIFICATE").is_some();
        let is_public = memchr::memmem::find(trimmed, b"PUBLIC KEY-----").is_some();
        let is_private = memchr::memmem::find(trimmed, b"PRIVATE KEY").is_some();
        let is_file = trimmed.contains(&b'\n') || trimmed.starts_with(b"{") || trimmed.starts_with(b"[");
        if is_private {
            // The lines between the marks; wrapped another way, the encodings of the pieces still hit.
            for line in trimmed.split(|b| *b == b'\n').map(<[u8]>::trim_ascii) {
                if line.len() >= 16 && !line.starts_with(b"-----") {
                    pieces(line, &mut new);
                }
            }
        } else if !is_certificate && !is_public && !is_file {
            // Without the scheme word, which is no secret and stays readable elsewhere, too.
            let skip = super::words::scheme_word(trimmed).unwrap_or(0);
            pieces(trimmed[skip..].trim_ascii(), &mut new);
            // A value that is base64 once more is a fault that people make; the inner one is the secret.
            if let Some(inner) = super::base64::decode_text(trimmed) {
                pieces(inner.trim_ascii(), &mut new);
            }
        }
        // A configuration file, a connection string, a registry login: what stands in it as a secret.
        let mut found = Vec::new();
        engine.scan(trimmed, trimmed.len(), &Borders::of(trimmed), &mut found);
        for secret in &found {
            let inner = &trimmed[secret.start..secret.end];
            pieces(inner, &mut new);
            if secret.kind == Kind::Base64
                && let Some(decoded) = super::base64::decode(inner)
            {
                let login = decoded.split(|b| *b == b':').next_back().unwrap_or_default();
                pieces(login, &mut new);
            }
        }
        if is_file && found.is_empty() && !is_certificate && !is_public && !is_private {
            // A file in which nothing is told apart: its lines.
            for line in trimmed
                .split(|b| *b == b'\n')
                .map(<[u8]>::trim_ascii)
                .filter(|line| line.len() >= 16)
                .take(200)
            {
                pieces(line, &mut new);
            }
        }
        if new.is_empty() {
            return;
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for value in new {
            if state.values.insert(value) {
                state.dirty = true;
            }
        }
    }

    /// How many values are known.
    pub(super) fn len(&self) -> usize {
        self.state.read().unwrap_or_else(PoisonError::into_inner).values.len()
    }

    /// What to search for now. Rebuilt when something was learned since it was last asked for, so that
    /// learning many values in a row costs one build.
    pub(super) fn needles(&self) -> Arc<Needles> {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if !state.dirty {
                return Arc::clone(&state.snapshot);
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.dirty {
            let mut all = BTreeSet::new();
            for value in &state.values {
                let rich = all.len() < MAX_FORMS;
                forms(value, rich, &mut all);
            }
            state.snapshot = Arc::new(Needles::new(all));
            state.dirty = false;
        }
        Arc::clone(&state.snapshot)
    }

    /// Finds learned values in a text, all of those that begin before a place.
    pub(super) fn scan(&self, text: &[u8], limit: usize, borders: &Borders, found: &mut Vec<Found>) {
        let needles = self.needles();
        if needles.is_empty() {
            return;
        }
        let mut found_at = |start: usize, end: usize| {
            found.push(Found {
                context: start,
                start,
                end,
                is_open: false,
                kind: Kind::Learned,
                style: Style::Plain,
                rule: "learned",
            });
        };
        needles.search(&text[..text.len().min(limit.saturating_add(LONGEST))], &mut |hit| {
            let (start, end) = whole(text, hit);
            found_at(start, end);
        });
        let folded = needles.has_spaces().then(|| joined::unfolded(text)).flatten();
        for joined in joined::broken_lines(text, borders).iter().chain(&folded) {
            needles.search(&joined.bytes, &mut |hit| {
                let (start, end) = whole(&joined.bytes, hit);
                if let Some((start, end)) = joined.across(start, end) {
                    found_at(start, end);
                }
            });
        }
    }
}

/// A hit with what belongs to it when it is base64.
fn whole(text: &[u8], Hit { start, end }: Hit) -> (usize, usize) {
    if text[start..end].iter().all(|b| super::base64::is_character(*b)) {
        widen(text, start, end)
    } else {
        (start, end)
    }
}

/// Searches for known values in what is written already: the second look.
#[derive(Debug)]
pub struct LearnedScanner {
    needles: Arc<Needles>,
    buffer: Vec<u8>,
    lines: u64,
    hit: Option<u64>,
}

impl LearnedScanner {
    /// Needles are shorter than this.
    const OVERLAP: usize = 8 * 1024;
    const BLOCK: usize = 256 * 1024;

    pub(super) fn new(needles: Arc<Needles>) -> Self {
        Self { needles, buffer: Vec::new(), lines: 0, hit: None }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        if self.needles.is_empty() || self.hit.is_some() {
            return;
        }
        self.buffer.extend_from_slice(piece);
        if self.buffer.len() >= Self::BLOCK {
            self.look();
            let keep = self.buffer.len() - Self::OVERLAP;
            self.lines += memchr::memchr_iter(b'\n', &self.buffer[..keep]).count() as u64;
            self.buffer.drain(..keep);
        }
    }

    fn look(&mut self) {
        let mut first = None;
        self.needles.search(&self.buffer, &mut |hit| first = Some(first.unwrap_or(hit.start).min(hit.start)));
        if let (Some(at), None) = (first, self.hit) {
            self.hit = Some(self.lines + memchr::memchr_iter(b'\n', &self.buffer[..at]).count() as u64 + 1);
        }
    }

    /// Ends the text; the first line with a known value.
    #[must_use]
    pub fn finish(mut self) -> Option<u64> {
        if self.hit.is_none() {
            self.look();
        }
        self.hit
    }
}

/// Takes the characters in which a value ends that is part of a longer base64 text: a few bits of it
/// are in the characters on both sides.
fn widen(text: &[u8], start: usize, end: usize) -> (usize, usize) {
    let is_part = |at: usize| text.get(at).is_some_and(|b| super::base64::is_character(*b) || *b == b'=');
    let mixed = text[start..end].iter().any(u8::is_ascii_uppercase)
        && text[start..end].iter().any(u8::is_ascii_lowercase);
    if !mixed {
        return (start, end);
    }
    let low = start - (1..=4).take_while(|n| start >= *n && is_part(start - n)).count();
    let high = end + (0..4).take_while(|n| is_part(end + n)).count();
    (low, high)
}

/// Whether this is an address without credentials, as connection strings without a password are.
fn is_bare_url(value: &[u8]) -> bool {
    memchr::memmem::find(value, b"://").is_some_and(|n| n < 20)
        && !value.iter().any(|b| matches!(b, b'@' | b'?' | b'#') || b.is_ascii_whitespace())
        && value.len() < 128
        && value.split(|b| matches!(b, b'/' | b'.' | b':')).all(|part| part.len() < 24)
}

/// Whether a value is what its harmless key promises: a name, an address, a number, a certificate.
fn looks_harmless(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let text = text.trim();
    if text.contains("-----BEGIN CERTIFICATE") && !text.contains("PRIVATE KEY") {
        return true;
    }
    if text.contains('@') && text.contains("://") {
        return false;
    }
    text.len() <= 253
        && !text.contains("PRIVATE KEY")
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/' | '@' | ',' | ' '))
}

/// Adds a value, long ones in pieces that overlap at the end.
fn pieces(value: &[u8], out: &mut BTreeSet<Vec<u8>>) {
    let common = |part: &[u8]| COMMON.iter().any(|common| part.eq_ignore_ascii_case(common.as_bytes()));
    if value.len() < MIN_LEN || common(value) || super::words::harmless(value, Kind::Password) {
        return;
    }
    if value.starts_with(b"<redacted:") || value.ends_with(b" bytes long") || is_bare_url(value) {
        return;
    }
    // One character over and over, or digits that a port or a time may have.
    if value.iter().all(|b| *b == value[0]) || (value.len() < 10 && value.iter().all(u8::is_ascii_digit)) {
        return;
    }
    if value.len() <= 2 * PIECE {
        out.insert(value.to_vec());
    }
    if value.len() > PIECE {
        for piece in value.chunks_exact(PIECE) {
            out.insert(piece.to_vec());
        }
        out.insert(value[value.len() - PIECE..].to_vec());
    }
}

/// Adds a value in every encoding that is searched for.
fn forms(value: &[u8], rich: bool, out: &mut BTreeSet<Vec<u8>>) {
    out.insert(value.to_vec());
    for shift in 0..3usize {
        let mut padded = vec![0u8; shift];
        padded.extend_from_slice(value);
        let encoded = BASE64_STANDARD.encode(&padded);
        // Only the characters that no neighbour of the value has a part in.
        let core = &encoded[(shift * 8).div_ceil(6)..(padded.len() * 8) / 6];
        if core.contains(['+', '/']) {
            out.insert(core.replace('+', "-").replace('/', "_").into_bytes());
        }
        out.insert(core.as_bytes().to_vec());
    }
    let Ok(text) = std::str::from_utf8(value) else { return };
    if !rich || text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return;
    }
    // What encoders leave as it is: everything but letters and digits; the unreserved marks; also
    // what may stand in a path. Hexadecimal digits in either case.
    for kept in ["", "-._~", "-._~!*'()", "-._~!$&'()*+,;=:@/"] {
        for upper in [true, false] {
            let mut url = String::with_capacity(text.len() * 3);
            for byte in text.bytes() {
                if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
                    url.push(char::from(byte));
                } else if upper {
                    url.push_str(&format!("%{byte:02X}"));
                } else {
                    url.push_str(&format!("%{byte:02x}"));
                }
            }
            if url.contains("%20") {
                out.insert(url.replace("%20", "+").into_bytes());
            }
            out.insert(url.into_bytes());
        }
    }
    for escaped in ["", "<>&", "<>&+='", "/"] {
        let once = json_escape(text, escaped);
        out.insert(json_escape(&once, "").into_bytes());
        out.insert(once.into_bytes());
    }
    if text.contains('\'') {
        out.insert(text.replace('\'', "''").into_bytes());
    }
}

/// Escapes as JSON does, these characters too (`/` as `\/`, others as `\u00XX`).
fn json_escape(text: &str, also: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '/' if also.contains('/') => out.push_str("\\/"),
            c if u32::from(c) < 0x20 || also.contains(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}
