//! Searches for very many exact strings at once, at a cost that hardly depends on how many.
//!
//! Every needle is known by a few windows of it, taken at consecutive offsets. The text is then looked at only
//! once per stride: wherever a needle stands, one of the looks falls on one of its windows. Windows are short,
//! so that the stride can be long; one look in thirty passes the first filter. A second one knows the same
//! windows with a few bytes more of their needles, and lets through hardly anything but needles. What it lets through is
//! compared as a whole.
//!
//! An Aho-Corasick automaton of the same strings (eighty thousand for ten thousand values) reads
//! every byte and misses the cache on most of them, which made redaction several times slower.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A class of needles by their length: windows of `width` bytes, one look per `stride`; the second filter takes
/// `more` bytes to them, from behind or from before the window.
#[derive(Debug, Clone, Copy)]
struct Class {
    shortest: usize,
    width: usize,
    stride: usize,
    more: usize,
}

/// The longest needle.
pub(super) const LONGEST: usize = 4096;

/// A needle of at least `shortest` bytes has `stride` windows: `width + stride - 1 <= shortest`. Each has `more`
/// bytes behind it or before it, and with them is no longer than eight bytes.
///
/// What a pass over the text costs is its stride. Where needles of the second class make a pass with a short
/// stride necessary, the long ones go with it and the third class is not used.
const CLASSES: [Class; 3] = [
    Class { shortest: 6, width: 4, stride: 3, more: 1 },
    Class { shortest: 8, width: 4, stride: 5, more: 2 },
    Class { shortest: 12, width: 6, stride: 7, more: 2 },
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

/// A set of hashes that may say yes to a few that are not in it: three bits for each, all in one word.
#[derive(Debug)]
struct Filter {
    words: Vec<u64>,
    shift: u32,
}

/// Words with three bits, one of which a hash chooses. To make them from the hash takes several times as long.
const MASKS: [u64; 256] = {
    let mut masks = [0u64; 256];
    let mut random = 1u64;
    let mut at = 0;
    while at < masks.len() {
        while masks[at].count_ones() < 3 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            masks[at] |= 1 << (random >> 58);
        }
        at += 1;
    }
    masks
};

impl Filter {
    /// Makes room for so many hashes, with this many bits for each or up to twice as many.
    fn new(hashes: usize, bits: usize) -> Self {
        let words = (hashes * bits / 64).clamp(64, 1 << 20).next_power_of_two();
        Self { words: vec![0; words], shift: 64 - words.trailing_zeros() }
    }

    /// The word of a hash, and its bits there. The upper half of a product is the good one.
    fn place(&self, hash: u64) -> (usize, u64) {
        #[expect(clippy::cast_possible_truncation, reason = "no more than twenty bits are left")]
        let word = (hash >> self.shift) as usize;
        let [_, _, _, _, mask, ..] = hash.to_le_bytes();
        (word, MASKS[usize::from(mask)])
    }

    fn insert(&mut self, hash: u64) {
        let (word, mask) = self.place(hash);
        self.words[word] |= mask;
    }

    fn may_hold(&self, hash: u64) -> bool {
        let (word, mask) = self.place(hash);
        self.words[word] & mask == mask
    }
}

/// The needles of one class.
#[derive(Debug)]
struct Table {
    class: Class,
    /// The windows as they are, and with the bytes more.
    narrow: Filter,
    wide: Filter,
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

/// The hash of so many bytes of a text, eight at most; zeros stand behind its end.
fn hash_at(text: &[u8], at: usize, width: usize) -> u64 {
    let rest = &text[at..];
    let eight = rest.first_chunk().copied().unwrap_or_else(|| {
        let mut eight = [0u8; 8];
        eight[..rest.len()].copy_from_slice(rest);
        eight
    });
    hash(u64::from_le_bytes(eight), width)
}

fn hash(eight: u64, width: usize) -> u64 {
    (eight & (u64::MAX >> (64 - 8 * width))).wrapping_mul(0x9E37_79B9_7F4A_7C15)
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
        let Class { width, stride, more, .. } = class;
        let mut windows = WindowMap::default();
        let mut narrow = HashSet::<u64, BuildHasherDefault<Ready>>::default();
        for &needle in of_class {
            // Many secrets begin alike (`sk-proj-…`): take windows where few others are. The two alphabets of
            // base64 differ in two marks: where those are not, both forms share their windows.
            let last = needle.len() - (width + stride - 1);
            let base = [0, last, last / 2, last / 4, last / 4 * 3]
                .into_iter()
                .min_by_key(|&base| {
                    let span = &needle[base..base + width + stride - 1];
                    let others: usize = (0..stride)
                        .map(|n| wide_window(needle, base + n, class))
                        .map(|wide| windows.get(&hash_at(needle, wide, width + more)).map_or(0, Vec::len))
                        .sum();
                    let marks = span.iter().any(|b| matches!(b, b'+' | b'/' | b'-' | b'_'));
                    (others / (2 * stride), marks)
                })
                .unwrap_or(0);
            for offset in base..base + stride {
                narrow.insert(hash_at(needle, offset, width));
                let wide = wide_window(needle, offset, class);
                #[expect(clippy::cast_possible_truncation, reason = "needles are shorter")]
                let entry = (wide as u16, needle.len() as u16);
                let places = windows.entry(hash_at(needle, wide, width + more)).or_default();
                if !places.contains(&entry) {
                    places.push(entry);
                }
            }
        }
        // More bits would tell apart a few more looks, but fall out of the cache, which costs every look far more.
        let mut table = Self {
            class,
            narrow: Filter::new(narrow.len(), 16),
            wide: Filter::new(windows.len(), 10),
            windows,
        };
        narrow.iter().for_each(|hash| table.narrow.insert(*hash));
        table.windows.keys().for_each(|hash| table.wide.insert(*hash));
        table
    }

    fn search(&self, needles: &HashSet<Box<[u8]>>, text: &[u8], hit: &mut dyn FnMut(Hit)) {
        // With the stride known, the compiler writes out the looks.
        match self.class.stride {
            3 => self.search_by::<3>(needles, text, hit),
            5 => self.search_by::<5>(needles, text, hit),
            _ => self.search_by::<7>(needles, text, hit),
        }
    }

    fn search_by<const STRIDE: usize>(
        &self,
        needles: &HashSet<Box<[u8]>>,
        text: &[u8],
        hit: &mut dyn FnMut(Hit),
    ) {
        debug_assert_eq!(STRIDE, self.class.stride);
        const TOGETHER: usize = 8;
        let width = self.class.width;
        let mut at = 0;
        while let Some(block) = text.get(at..at + TOGETHER * STRIDE + 8) {
            for n in 0..TOGETHER {
                let Some(&eight) = block[n * STRIDE..].first_chunk() else { continue };
                if self.narrow.may_hold(hash(u64::from_le_bytes(eight), width)) {
                    self.look(needles, text, at + n * STRIDE, hit);
                }
            }
            at += TOGETHER * STRIDE;
        }
        while at + width <= text.len() {
            if self.narrow.may_hold(hash_at(text, at, width)) {
                self.look(needles, text, at, hit);
            }
            at += STRIDE;
        }
    }

    /// Compares what stands around a window that may be one of a needle.
    fn look(&self, needles: &HashSet<Box<[u8]>>, text: &[u8], at: usize, hit: &mut dyn FnMut(Hit)) {
        let Class { width, more, .. } = self.class;
        for wide in [Some(at), at.checked_sub(more)].into_iter().flatten() {
            if wide + width + more > text.len() {
                continue;
            }
            let hash = hash_at(text, wide, width + more);
            if self.wide.may_hold(hash) {
                self.compare(needles, text, wide, hash, hit);
            }
        }
    }

    #[cold]
    fn compare(
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

/// Where the window with the bytes more begins: they stand behind it, or before it where the needle ends too soon.
fn wide_window(needle: &[u8], offset: usize, class: Class) -> usize {
    if offset + class.width + class.more <= needle.len() { offset } else { offset - class.more }
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
