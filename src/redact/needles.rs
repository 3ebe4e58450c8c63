//! Searches for very many exact strings at once, at a cost that hardly depends on how many.
//!
//! Every needle is known by the hashes of a few windows of it, taken at consecutive offsets. The text
//! is then looked at only once per stride: wherever a needle stands, one of the looks falls on one of
//! its windows. A bit table in front of the hash map answers nearly every look with no.
//!
//! An Aho-Corasick automaton of the same strings (eighty thousand for ten thousand values) reads
//! every byte and misses the cache on most of them, which made redaction several times slower.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A class of needles by their length: windows of `width` bytes, one look per `stride`.
#[derive(Debug, Clone, Copy)]
struct Class {
    shortest: usize,
    width: usize,
    stride: usize,
}

/// The longest needle.
const LONGEST: usize = 4096;

/// A needle of at least `shortest` bytes has `stride` windows: `width + stride - 1 <= shortest`.
///
/// What a pass over the text costs is its stride. Where needles of the second class make a pass with a short
/// stride necessary, the long ones go with it and the third class is not used.
const CLASSES: [Class; 3] = [
    Class { shortest: 6, width: 4, stride: 3 },
    Class { shortest: 8, width: 4, stride: 5 },
    Class { shortest: 12, width: 6, stride: 7 },
];

/// The shortest needle.
pub(super) const SHORTEST: usize = CLASSES[0].shortest;

/// Passes on a hash that is good already.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Where in a needle of which length a window stands. Needles that agree in both share one entry, so that
/// secrets that begin alike do not make lists of thousands.
type WindowMap = HashMap<u64, Vec<(u16, u16)>, BuildHasherDefault<Ready>>;

/// The needles of one class.
#[derive(Debug)]
struct Table {
    class: Class,
    mask: u64,
    /// Four bits per window, all in the same word.
    bits: Vec<u64>,
    windows: WindowMap,
}

/// A set of strings to search for.
#[derive(Debug, Default)]
pub(super) struct Needles {
    needles: HashSet<Box<[u8]>>,
    tables: Vec<Table>,
    has_spaces: bool,
}

/// A place where a needle stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) start: usize,
    pub(super) end: usize,
}

fn window_at(text: &[u8], at: usize, mask: u64) -> u64 {
    let value = match text.get(at..at + 8) {
        Some(eight) => u64::from_le_bytes([
            eight[0], eight[1], eight[2], eight[3], eight[4], eight[5], eight[6], eight[7],
        ]),
        None => {
            let mut eight = [0u8; 8];
            let rest = &text[at..];
            eight[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(eight)
        }
    };
    let mixed = (value & mask).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}

fn probe(bits: &[u64], hash: u64) -> (usize, u64) {
    // The upper half of the hash, scaled to the number of words.
    let word = (((hash >> 32) * bits.len() as u64) >> 32) as usize;
    let bit = |n: u32| 1 << ((hash >> (6 * n)) & 63);
    (word, bit(0) | bit(1) | bit(2) | bit(3))
}

impl Needles {
    /// Prepares the search. Needles shorter than [`SHORTEST`] or longer than [`LONGEST`] are left out.
    pub(super) fn new(needles: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let needles: HashSet<Box<[u8]>> = needles
            .into_iter()
            .filter(|n| (SHORTEST..=LONGEST).contains(&n.len()))
            .map(Vec::into_boxed_slice)
            .collect();
        let mut tables = Vec::new();
        let short = needles.iter().any(|n| n.len() >= CLASSES[1].shortest && n.len() < CLASSES[2].shortest);
        let used = if short { &CLASSES[..2] } else { &CLASSES[..] };
        for (index, &class) in used.iter().enumerate() {
            let longer = used.get(index + 1).map_or(usize::MAX, |next| next.shortest);
            let of_class: Vec<&[u8]> = needles
                .iter()
                .map(|n| &**n)
                .filter(|n| n.len() >= class.shortest && n.len() < longer)
                .collect();
            if !of_class.is_empty() {
                tables.push(Table::new(class, &of_class));
            }
        }
        let has_spaces = needles.iter().any(|n| n.contains(&b' '));
        Self { needles, tables, has_spaces }
    }

    /// Whether there is nothing to search for.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Whether a space stands in a needle, at which YAML may fold it.
    pub(super) fn has_spaces(&self) -> bool {
        self.has_spaces
    }

    /// Finds every place where a needle stands, in no order.
    pub(super) fn search(&self, text: &[u8], hit: &mut dyn FnMut(Hit)) {
        for table in &self.tables {
            table.search(&self.needles, text, hit);
        }
    }
}

impl Table {
    fn new(class: Class, of_class: &[&[u8]]) -> Self {
        let mask = if class.width >= 8 { u64::MAX } else { (1u64 << (class.width * 8)) - 1 };
        let windows_total = of_class.len() * class.stride;
        // Twelve bits for each window: more would tell apart a few more looks, but fall out of the cache, which
        // costs every look far more.
        let words = (windows_total * 12).div_ceil(64).clamp(64, 1 << 20);
        let mut table = Self { class, mask, bits: vec![0; words], windows: WindowMap::default() };
        for &needle in of_class {
            // Many secrets begin alike (`sk-proj-…`): take windows where few others are. The two alphabets of
            // base64 differ in two marks: where those are not, both forms share their windows.
            let last = needle.len() - (class.width + class.stride - 1);
            let base = [0, last, last / 2, last / 4, last / 4 * 3]
                .into_iter()
                .min_by_key(|&base| {
                    let span = &needle[base..base + class.width + class.stride - 1];
                    let others: usize = (0..class.stride)
                        .map(|n| table.windows.get(&window_at(needle, base + n, mask)).map_or(0, Vec::len))
                        .sum();
                    let marks = span.iter().any(|b| matches!(b, b'+' | b'/' | b'-' | b'_'));
                    (others / (2 * class.stride), marks)
                })
                .unwrap_or(0);
            for offset in base..base + class.stride {
                let hash = window_at(needle, offset, mask);
                let (word, bits) = probe(&table.bits, hash);
                table.bits[word] |= bits;
                #[expect(clippy::cast_possible_truncation, reason = "needles are shorter")]
                let entry = (offset as u16, needle.len() as u16);
                let places = table.windows.entry(hash).or_default();
                if !places.contains(&entry) {
                    places.push(entry);
                }
            }
        }
        table
    }

    fn search(&self, needles: &HashSet<Box<[u8]>>, text: &[u8], hit: &mut dyn FnMut(Hit)) {
        if text.len() < self.class.width {
            return;
        }
        let mut at = 0;
        let last = text.len() - self.class.width;
        while at <= last {
            let hash = window_at(text, at, self.mask);
            let (word, bits) = probe(&self.bits, hash);
            if self.bits[word] & bits == bits {
                self.look(needles, text, at, hash, hit);
            }
            at += self.class.stride;
        }
    }

    #[cold]
    fn look(
        &self,
        needles: &HashSet<Box<[u8]>>,
        text: &[u8],
        at: usize,
        hash: u64,
        hit: &mut dyn FnMut(Hit),
    ) {
        for &(offset, len) in self.windows.get(&hash).map_or(&[][..], Vec::as_slice) {
            let Some(start) = at.checked_sub(usize::from(offset)) else { continue };
            let end = start + usize::from(len);
            if text.get(start..end).is_some_and(|candidate| needles.contains(candidate)) {
                hit(Hit { start, end });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_needle_is_found_wherever_it_stands() {
        let needles: Vec<Vec<u8>> =
            (6..80usize).map(|len| (0..len).map(|n| b'a' + ((n * 7 + len) % 26) as u8).collect()).collect();
        let set = Needles::new(needles.clone());
        for (id, needle) in needles.iter().enumerate() {
            for pad in 0..20 {
                let mut text = vec![b'.'; pad];
                text.extend_from_slice(needle);
                text.extend_from_slice(&vec![b'.'; 20 - pad]);
                let mut hits = Vec::new();
                set.search(&text, &mut |hit| hits.push((hit.start, hit.end)));
                assert!(hits.contains(&(pad, pad + needle.len())), "needle {id} at {pad}");
                // At the very end of a text, too.
                text.truncate(pad + needle.len());
                hits.clear();
                set.search(&text, &mut |hit| hits.push((hit.start, hit.end)));
                assert!(hits.contains(&(pad, pad + needle.len())), "needle {id} at the end");
            }
        }
    }

    #[test]
    fn secrets_that_begin_alike_do_not_slow_the_search() {
        let set =
            Needles::new((0..5000u32).map(|n| {
                format!("sk-proj-same-beginning-{:08x}", n.wrapping_mul(2_654_435_761)).into_bytes()
            }));
        let longest = set.tables.iter().flat_map(|t| t.windows.values()).map(Vec::len).max().unwrap_or(0);
        assert!(longest < 100, "{longest} needles share a window");
    }
}
