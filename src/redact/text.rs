//! The text engine: one pass finds where a pattern of the table may begin, one automaton of the whole table
//! says which does, small hand-written parsers decide where the secret begins and ends, and a second pass puts
//! placeholders there.
//!
//! Scanning never looks further than [`REACH`] ahead of and [`BEHIND`] before a match, whatever the
//! input is, and goes on behind what it has found: time is linear, and a stream cut
//! `REACH` before its end gives the same result as the whole text.

use std::sync::Arc;

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::{Pool, PoolGuard};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, PatternID};

use super::candidates::Beginnings;
use super::joined::{self, Borders};
use super::jwt;
use super::matcher::{Looked, Matcher};
use super::names::Met;
use super::patterns::{Action, PATTERNS};
use super::placeholder::{Key, Kind, Style};
use super::value::{BEHIND, REACH};

/// No more rows than this are in the table.
const PATTERNS_AT_MOST: usize = 64;
const _: () = assert!(PATTERNS.len() <= PATTERNS_AT_MOST);

/// How often base64 may hide base64.
const MAX_DEPTH: u8 = 3;

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the match began that led to it.
    pub(super) context: usize,
    /// Where the secret begins.
    pub(super) start: usize,
    /// Where it ends, or so much of it as was looked at.
    pub(super) end: usize,
    /// Whether it goes on behind that, to the end of its line.
    pub(super) is_open: bool,
    pub(super) kind: Kind,
    pub(super) style: Style,
    /// The row of the table.
    pub(super) rule: &'static str,
}

/// Makes the room in which an automaton builds its states.
type NewCache = Box<dyn Fn() -> Cache + Send + Sync>;
type CacheGuard<'a> = PoolGuard<'a, Cache, NewCache>;

/// The compiled table.
pub(super) struct Engine {
    beginnings: Beginnings,
    automaton: Arc<DFA>,
    caches: Pool<Cache, NewCache>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Compiles the table, once per process.
    pub(super) fn shared() -> &'static Self {
        static ENGINE: std::sync::LazyLock<Engine> = std::sync::LazyLock::new(Engine::compile);
        &ENGINE
    }

    fn compile() -> Self {
        let expressions: Vec<&str> = PATTERNS.iter().map(|pattern| pattern.expression).collect();
        let automaton = DFA::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(64 << 20)))
            .configure(DFA::config().match_kind(MatchKind::LeftmostFirst).cache_capacity(16 << 20))
            .build_many(&expressions)
            .expect("the table of patterns compiles; a test walks it");
        let automaton = Arc::new(automaton);
        let for_caches = Arc::clone(&automaton);
        let caches: Pool<Cache, NewCache> = Pool::new(Box::new(move || for_caches.create_cache()));
        Self { beginnings: Beginnings::of(&expressions), automaton, caches }
    }

    /// The pattern that matches at a place, and where its match ends.
    fn match_at(&self, cache: &mut Cache, text: &[u8], at: usize) -> Option<(PatternID, usize)> {
        let input = Input::new(text).range(at..).anchored(Anchored::Yes);
        let half = self
            .automaton
            .try_search_fwd(cache, &input)
            .expect("an automaton that gives up on nothing: no byte makes it quit, its cache may be cleared");
        half.map(|half| (half.pattern(), half.offset()))
    }

    /// Finds the secrets of a text that begin before a place, sorted by where they begin; they may overlap.
    pub(super) fn scan(&self, text: &[u8], limit: usize, borders: &Borders, found: &mut Vec<Found>) {
        // Not within a run of base64, which is looked into as a whole. A secret begins before what shows it.
        let limit = text.len().min(limit.saturating_add(BEHIND + 1));
        let run = text[limit..].iter().take_while(|b| super::base64::is_character(**b)).count();
        let padding = text[limit + run..].iter().take(2).take_while(|b| **b == b'=').count();
        self.scan_to_depth(&mut self.caches.get(), text, limit + run + padding, borders, 0, found);
        found.sort_by_key(|f| (f.start, std::cmp::Reverse(f.end)));
    }

    fn scan_to_depth(
        &self,
        cache: &mut CacheGuard<'_>,
        text: &[u8],
        limit: usize,
        borders: &Borders,
        depth: u8,
        found: &mut Vec<Found>,
    ) {
        let mut at = 0;
        // What was found, or recognised as a placeholder, ends here. A word that announced nothing
        // may still be the beginning of something else: the `jwt` in `jwt7@example.com`.
        let mut floor = 0;
        let mut looked = [Looked::default(); PATTERNS_AT_MOST];
        let mut names = Met::default();
        let mut candidates = self.beginnings.candidates(text);
        while let Some(start) = candidates.next(at) {
            if start >= limit {
                break;
            }
            let Some((index, end)) = self.match_at(cache, text, start) else {
                at = start + 1;
                continue;
            };
            let pattern = &PATTERNS[index.as_usize()];
            let looked = &mut looked[index.as_usize()];
            let known = found.len();
            let mut here = Matcher { text, floor, start, end, pattern, looked, names: &mut names, found };
            at = here.run().max(start + 1);
            if matches!(pattern.action, Action::Placeholder) {
                // What clings to it is looked into, but belongs to nothing behind it.
                floor = found[known..].iter().map(|f| f.end).max().unwrap_or(at).max(at);
            } else if found.len() > known {
                floor = at;
            }
        }
        if depth < MAX_DEPTH {
            found.sort_unstable_by_key(|f| f.start);
            self.scan_base64(cache, text, limit, borders, depth, found);
        }
    }

    /// Looks into runs of base64 that decode to text.
    fn scan_base64(
        &self,
        cache: &mut CacheGuard<'_>,
        text: &[u8],
        limit: usize,
        borders: &Borders,
        depth: u8,
        found: &mut Vec<Found>,
    ) {
        let known = found.len();
        let mut next = 0;
        for (start, end) in super::base64::runs(&text[..limit]) {
            if self.hides_a_secret(cache, &text[start..end], depth) {
                found.push(whole(start, end, Kind::Base64, "base64"));
                continue;
            }
            // What is left of it between secrets.
            while next < known && found[next].end <= start {
                next += 1;
            }
            let mut from = start;
            let mut inside = next;
            while inside < known && found[inside].start < end {
                let (to, behind) = (found[inside].start, found[inside].end);
                self.rest_of_run(cache, text, (start, end), (from, to), depth, found);
                // What clings to a secret goes with it, up to the next one: beside each other, each would
                // else look over all that follow.
                let limit = found[inside + 1..known].first().map_or(end, |next| next.start.min(end));
                let clinging = clinging(&text[behind..limit.max(behind)]);
                from = from.max(behind + if clinging > 3 { clinging } else { 0 });
                inside += 1;
            }
            self.rest_of_run(cache, text, (start, end), (from, end), depth, found);
        }
        // The same where it was broken into lines, and web tokens that were.
        for joined in joined::wrapped_runs(text, borders) {
            for (start, end) in super::base64::runs(&joined.bytes) {
                if let Some((from, to)) = joined.across(start, end)
                    && self.hides_a_secret(cache, &joined.bytes[start..end], depth)
                {
                    found.push(whole(from, to, Kind::Base64, "base64"));
                }
            }
            let mut looked = 0;
            for start in memchr::memmem::find_iter(&joined.bytes, b"eyJ") {
                if let Some(end) = jwt::end_beyond(&joined.bytes, start, &mut looked)
                    && let Some((from, to)) = joined.across(start, end)
                {
                    found.push(whole(from, to, Kind::Jwt, "jwt"));
                }
            }
        }
    }

    /// Looks into a part of a run of base64, if it is one and no more than a part.
    fn rest_of_run(
        &self,
        cache: &mut CacheGuard<'_>,
        text: &[u8],
        run: (usize, usize),
        (start, end): (usize, usize),
        depth: u8,
        found: &mut Vec<Found>,
    ) {
        let is_part = (start, end) != run && start < end && end - start >= super::base64::MIN_RUN;
        if is_part && self.hides_a_secret(cache, &text[start..end], depth) {
            found.push(whole(start, end, Kind::Base64, "base64"));
        }
    }

    /// Whether a run of base64 decodes to a text with a secret in it.
    fn hides_a_secret(&self, cache: &mut CacheGuard<'_>, run: &[u8], depth: u8) -> bool {
        let Some(decoded) = super::base64::decode_text(run) else { return false };
        let mut inner = Vec::new();
        self.scan_to_depth(cache, &decoded, decoded.len(), &Borders::of(&decoded), depth + 1, &mut inner);
        !inner.is_empty()
    }
}

/// A secret that nothing around it has led to.
fn whole(start: usize, end: usize, kind: Kind, rule: &'static str) -> Found {
    Found { context: start, start, end, is_open: false, kind, style: Style::Plain, rule }
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
        let (mut start, mut end, mut is_open) = (first.start, first.end, first.is_open);
        let mut best = first;
        next += 1;
        while next < found.len() && found[next].start < end {
            let other = &found[next];
            is_open |= other.is_open;
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
        // It goes no further than to the next secret.
        let limit = found.get(next).map_or(text.len(), |next| next.start);
        let clinging = clinging(&text[end..limit]);
        if clinging > 3 {
            end += clinging;
        }
        out.extend_from_slice(&text[at..start]);
        let value = &text[start..end];
        let shown = placeholder_of(key, best.kind, best.style, value);
        out.extend_from_slice(shown.as_bytes());
        count(best.rule);
        at = end;
        if is_open {
            at = memchr::memchr(b'\n', &text[end..]).map_or(text.len(), |n| end + n);
        }
    }
    out.extend_from_slice(&text[at..]);
}

/// How much of what directly follows a placeholder belongs to it.
pub(super) fn clinging(text: &[u8]) -> usize {
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
