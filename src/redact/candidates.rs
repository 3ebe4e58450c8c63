//! Where in a text a pattern of the table may begin, found without walking its automaton over every byte.
//!
//! Whatever a pattern matches begins with one of a few hundred strings of three or four bytes, which are taken
//! from the expressions themselves. The text is looked at in windows of three bytes, one for every two bytes: a
//! match that begins at an even place shows its first three bytes there, one that begins at an odd place its
//! second to fourth. What passes that is compared by its first four bytes. Case is folded throughout.
//!
//! About one byte in a hundred is left; the automaton of the whole table, anchored there, decides. That
//! costs a third of an automaton that reads everything, because no look has to wait for the one before it.
//!
//! The few patterns that begin with a single known byte (`@`) are found by that byte.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

/// How many bytes are looked at in one go: one bit of a word for every second one.
const BLOCK: usize = 64;
/// A window reaches so far behind its place, with the byte that is compared later.
const AHEAD: usize = 4;
/// The bits of the index into the first table, which has to stay in the innermost cache.
const FIRST_BITS: u32 = 15;
/// The bits of the index into the second.
const SECOND_BITS: u32 = 18;
/// How many single bytes may begin a pattern.
const SINGLE: usize = 2;

/// Makes upper case and lower case letters equal (and a few other bytes, which does no harm).
const FOLD: u32 = 0x2020_2020;

/// What the patterns of a table begin with.
#[derive(Debug)]
pub(super) struct Beginnings {
    /// Whether a window may belong to the beginning of a pattern, at an even place or at an odd one.
    first: Box<[u8; 1 << FIRST_BITS]>,
    /// One bit for each hash of four bytes.
    second: Box<[u64; 1 << (SECOND_BITS - 6)]>,
    single: [u8; SINGLE],
}

impl Beginnings {
    /// Reads the beginnings from the expressions.
    ///
    /// # Panics
    ///
    /// Where an expression may begin with anything, or more than two single bytes begin one. The table is a part
    /// of the program, and a test walks it.
    pub(super) fn of(expressions: &[&str]) -> Self {
        let mut all = Self {
            first: Box::new([0; 1 << FIRST_BITS]),
            second: Box::new([0; 1 << (SECOND_BITS - 6)]),
            single: [0; SINGLE],
        };
        let mut single = Vec::new();
        for expression in expressions {
            for literal in beginnings(expression) {
                match *literal {
                    [a, b, c] => (0..=u8::MAX).for_each(|any| all.add([a, b, c, any])),
                    [a, b, c, d] => all.add([a, b, c, d]),
                    [byte, ..] => single.push(byte),
                    [] => panic!("{expression} may begin with anything"),
                }
            }
        }
        single.sort_unstable();
        single.dedup();
        assert!((1..=SINGLE).contains(&single.len()), "these bytes begin patterns: {single:?}");
        for (slot, byte) in all.single.iter_mut().zip(single.iter().cycle()) {
            *slot = *byte;
        }
        all
    }

    fn add(&mut self, four: [u8; 4]) {
        let window = u32::from_le_bytes(four);
        self.first[first(window)] = 1;
        self.first[first(window >> 8)] = 1;
        let second = second(window);
        self.second[second / 64] |= 1 << (second % 64);
    }

    fn may_begin(&self, window: u32) -> bool {
        let second = second(window);
        self.second[second / 64] >> (second % 64) & 1 == 1
    }

    /// The places in a text, in order.
    pub(super) fn candidates<'a>(&'a self, text: &'a [u8]) -> Candidates<'a> {
        Candidates { beginnings: self, text, block: 0, windows: 0, next_block: 0, known: None, single: None }
    }

    /// One bit for each even place of a block in which a pattern may begin there or one byte before.
    fn windows(&self, block: &[u8; BLOCK + AHEAD]) -> u32 {
        // Eight windows at a time, which the compiler writes out: none has to wait for another.
        const TOGETHER: usize = 8;
        let mut windows = 0;
        for part in 0..BLOCK / 2 / TOGETHER {
            let mut bits = 0;
            for place in 0..TOGETHER {
                let at = (part * TOGETHER + place) * 2;
                let window = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
                bits |= u32::from(self.first[first(window)]) << place;
            }
            windows |= bits << (part * TOGETHER);
        }
        windows
    }
}

/// The places of a text in which a pattern may begin.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    beginnings: &'a Beginnings,
    text: &'a [u8],
    /// The block whose windows are looked at, and those that are left of it.
    block: usize,
    windows: u32,
    next_block: usize,
    /// The last place that was given, and the one where the next of the single bytes stands (or the end of the
    /// text).
    known: Option<usize>,
    single: Option<usize>,
}

impl Candidates<'_> {
    /// The first place at or behind `from`, which never goes back.
    pub(super) fn next(&mut self, from: usize) -> Option<usize> {
        let single = match self.single {
            Some(single) if single >= from => single,
            _ => {
                let [one, other] = self.beginnings.single;
                let rest = self.text.get(from..).unwrap_or_default();
                let single = memchr::memchr2(one, other, rest).map_or(self.text.len(), |n| from + n);
                *self.single.insert(single)
            }
        };
        match self.next_window(from) {
            Some(window) => Some(window.min(single)),
            None => (single < self.text.len()).then_some(single),
        }
    }

    fn next_window(&mut self, from: usize) -> Option<usize> {
        if let Some(known) = self.known.filter(|known| *known >= from) {
            return Some(known);
        }
        loop {
            while self.windows != 0 {
                let place = self.block + 2 * self.windows.trailing_zeros() as usize;
                // The odd place first.
                for at in [place.wrapping_sub(1), place] {
                    if at >= from && at < self.text.len() && self.beginnings.may_begin(self.four(at)) {
                        self.known = Some(at);
                        return self.known;
                    }
                }
                self.windows &= self.windows - 1;
            }
            self.block = self.next_block.max(from);
            if self.block >= self.text.len() {
                return None;
            }
            self.next_block = self.block + BLOCK;
            let rest = &self.text[self.block..];
            self.windows = match rest.first_chunk() {
                Some(block) => self.beginnings.windows(block),
                None => {
                    let mut block = [0; BLOCK + AHEAD];
                    block[..rest.len()].copy_from_slice(rest);
                    self.beginnings.windows(&block)
                }
            };
        }
    }

    /// Four bytes of the text; zeros stand behind its end.
    fn four(&self, at: usize) -> u32 {
        let rest = &self.text[at..];
        let four = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut four = [0; 4];
            four[..rest.len()].copy_from_slice(rest);
            four
        });
        u32::from_le_bytes(four)
    }
}

/// What every match of an expression begins with: three or four bytes, or fewer where it says no more.
fn beginnings(expression: &str) -> Vec<Vec<u8>> {
    let hir = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(expression)
        .expect("the table of patterns compiles; a test walks it");
    let mut extractor = Extractor::new();
    // With many more, four bytes of a class in a row would be written out.
    extractor
        .kind(ExtractKind::Prefix)
        .limit_class(256)
        .limit_repeat(4)
        .limit_literal_len(4)
        .limit_total(2048);
    let literals = extractor.extract(&hir);
    let literals = literals.literals().expect("every pattern begins with something known");
    literals.iter().map(|literal| literal.as_bytes().to_vec()).collect()
}

fn first(window: u32) -> usize {
    // The fourth byte falls out.
    (((window | FOLD) << 8).wrapping_mul(0x9E37_79B1) >> (32 - FIRST_BITS)) as usize
}

fn second(window: u32) -> usize {
    ((window | FOLD).wrapping_mul(0x85EB_CA6B) >> (32 - SECOND_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use regex_automata::Input;
    use regex_automata::meta::Regex;
    use regex_automata::util::syntax;

    use super::*;
    use crate::redact::patterns::PATTERNS;

    fn places(beginnings: &Beginnings, text: &[u8]) -> Vec<usize> {
        let mut candidates = beginnings.candidates(text);
        let mut places = Vec::new();
        while let Some(at) = candidates.next(places.last().map_or(0, |last: &usize| *last + 1)) {
            places.push(at);
        }
        places
    }

    #[test]
    fn no_match_of_the_table_begins_elsewhere() {
        let expressions: Vec<&str> = PATTERNS.iter().map(|pattern| pattern.expression).collect();
        let whole = Regex::builder()
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .configure(Regex::config().utf8_empty(false))
            .build_many(&expressions)
            .expect("compiles");
        let beginnings = Beginnings::of(&expressions);
        let examples: Vec<&str> = PATTERNS.iter().map(|pattern| pattern.must).collect();
        // At every distance from the borders of blocks, and at the end of a text.
        for pad in 0..BLOCK + AHEAD {
            for text in examples.iter().map(|text| text.replace(['«', '»'], "")) {
                for text in [&text, &text.to_uppercase()] {
                    let text = format!("{}{text}", ".".repeat(pad));
                    let places = places(&beginnings, text.as_bytes());
                    let mut at = 0;
                    while let Some(found) = whole.search(&Input::new(&text).range(at..)) {
                        assert!(places.contains(&found.start()), "{pad}: {found:?} in {text}");
                        at = found.start() + 1;
                    }
                }
            }
        }
    }

    #[test]
    fn places_are_given_in_order_from_anywhere_on() {
        let beginnings = Beginnings::of(&["(?i)secret", "@", "eyJ[a-z]"]);
        let text = b"a@b Secret x eyJa, eyJ0".repeat(9);
        let all = places(&beginnings, &text);
        assert!(all.is_sorted() && all.len() == 27, "{all:?}");
        for from in 0..text.len() {
            let next = beginnings.candidates(&text).next(from);
            assert_eq!(next, all.iter().copied().find(|at| *at >= from), "from {from}");
        }
        for end in 0..text.len() {
            let cut = places(&beginnings, &text[..end]);
            assert!(cut.iter().eq(all.iter().filter(|at| cut.contains(at))), "cut at {end}");
        }
    }

    #[test]
    fn ordinary_text_has_few_places() {
        let expressions: Vec<&str> = PATTERNS.iter().map(|pattern| pattern.expression).collect();
        let beginnings = Beginnings::of(&expressions);
        let text = "time=2026-11-22T10:11:12Z level=INFO msg=\"reconciling mcpserverregistration\" \
                    controllerGroup=mcp.kuadrant.io namespace=team-7 name=server-42\n"
            .repeat(20);
        let places = places(&beginnings, text.as_bytes()).len();
        assert!(places * 50 < text.len(), "{places} in {} bytes", text.len());
    }
}
