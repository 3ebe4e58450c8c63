//! What the log parsers make of a container's log: message templates with counts and times.
//!
//! A log is read line by line by a [`Reader`], which keeps a bounded [`Digest`] and the last lines.
//! One automaton over the literals of all templates ([`templates`]) decides whether a line can
//! matter; only then is its format read ([`mod@format`]: slog text and JSON, zap, klog, Istio, plain)
//! and its message compared with the template. Access logs of Envoy ([`access`]) are counted by
//! host, cluster, status and flags. A format that nobody knows gives nothing, not noise.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::collections::hash_map::{DefaultHasher, HashMap};
use std::hash::{Hash as _, Hasher as _};

pub mod access;
pub mod errors;
pub mod format;
mod special;
pub mod templates;

pub use errors::{Denial, ErrorClass};

/// The digest of one log, bounded in size whatever the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digest {
    /// The message templates that were met.
    pub records: Box<[Record]>,
    /// How many messages matched a template, but with fields that were too many to keep apart.
    pub overflow: u64,
    /// The time of the first line that has one, RFC 3339.
    pub first_time: Option<String>,
    /// The time of the last line that has one.
    pub last_time: Option<String>,
}

impl Digest {
    /// The records of one template.
    pub fn of<'a>(&'a self, template: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |r| r.template == template)
    }

    /// How often a template was met.
    #[must_use]
    pub fn count(&self, template: &str) -> u64 {
        self.of(template).map(|r| r.count).sum()
    }
}

/// The last lines of a log. A large bundle has thousands of them, so they are one text, not many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// The number of the first of them, from 1.
    first: u64,
    text: Box<str>,
    /// Where each line ends in the text.
    ends: Box<[u32]>,
}

impl Tail {
    /// Of these lines, whose first one has this number.
    fn new(first: u64, lines: &VecDeque<Vec<u8>>) -> Self {
        let mut text = String::with_capacity(lines.iter().map(Vec::len).sum());
        let ends = lines.iter().map(|line| {
            text.push_str(&String::from_utf8_lossy(line));
            // A few lines of bounded length.
            u32::try_from(text.len()).unwrap_or(u32::MAX)
        });
        Self { first, ends: ends.collect(), text: text.into() }
    }

    /// The lines, oldest first, each with its number (from 1).
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &str)> {
        (0..self.ends.len()).map(|at| (self.first + at as u64, self.line(at)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Lets go of all but the last so many.
    pub fn keep_last(&mut self, count: usize) {
        let drop = self.ends.len().saturating_sub(count);
        if drop > 0 {
            let from = self.ends[drop - 1];
            *self = Self {
                first: self.first + drop as u64,
                text: self.text[from as usize..].into(),
                ends: self.ends[drop..].iter().map(|end| end - from).collect(),
            };
        }
    }

    fn line(&self, at: usize) -> &str {
        let from = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.text[from..self.ends[at] as usize]
    }
}

/// A message template of the catalogue, met at least once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The stable name of the template.
    pub template: &'static str,
    /// How often it was met (with these fields).
    pub count: u64,
    /// The line of its first occurrence, from 1.
    pub first_line: u64,
    /// The text of its first occurrence, cut to a bounded length.
    pub sample: Box<str>,
    /// The time of the first occurrence, RFC 3339, if the line has one.
    pub first_time: Option<String>,
    /// The time of the last occurrence.
    pub last_time: Option<String>,
    /// The fields that tell occurrences apart, in the order of their names.
    pub fields: Box<[(&'static str, Box<str>)]>,
}

impl Record {
    /// A field, empty when the message did not have it.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| *field == name).map_or("", |(_, value)| value)
    }
}

/// The fields of one occurrence.
pub(crate) type Fields<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// How many of the last lines are kept.
pub const TAIL_LINES: usize = 40;
/// How much of a line is kept.
pub const LINE_LIMIT: usize = 4096;
/// How much of a line is searched and parsed; a longer JSON line gives nothing.
const PARSE_LIMIT: usize = 64 * 1024;
/// How many different records one log may have.
const RECORD_LIMIT: usize = 768;
/// How much of a line a record keeps as its sample.
const SAMPLE_LIMIT: usize = 1024;
/// How long a field of a record may be.
const FIELD_LIMIT: usize = 256;

/// Reads a log line by line.
#[derive(Debug, Default)]
pub struct Reader {
    records: Vec<Record>,
    by_key: HashMap<u64, usize>,
    overflow: u64,
    tail: VecDeque<Vec<u8>>,
    /// Lines of earlier logs, whose room is used again.
    spare: Vec<Vec<u8>>,
    lines: u64,
    first_time: Option<String>,
    special: special::State,
}

impl Reader {
    /// Takes one line without its line break.
    pub fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.lines += 1;
        self.remember(line);
        let line = &line[..line.len().min(PARSE_LIMIT)];
        if self.first_time.is_none() && self.lines <= 50 {
            self.first_time = format::time_of(line).map(Cow::into_owned);
        }
        if access::looks_like(line) {
            access::read(self, line);
            return;
        }
        templates::read(self, line);
    }

    /// The number of lines, the last of them, and the digest. What is read after that is another log.
    pub fn finish(&mut self) -> (u64, Tail, Digest) {
        let last_time = self.tail.iter().rev().find_map(|line| format::time_of(line)).map(Cow::into_owned);
        let first = self.lines - self.tail.len() as u64 + 1;
        let tail = Tail::new(first, &self.tail);
        self.spare.extend(self.tail.drain(..));
        self.by_key.clear();
        self.special = special::State::default();
        let digest = Digest {
            records: std::mem::take(&mut self.records).into(),
            overflow: std::mem::take(&mut self.overflow),
            first_time: self.first_time.take(),
            last_time,
        };
        (std::mem::take(&mut self.lines), tail, digest)
    }

    /// Keeps the line as one of the last; the buffers are used again.
    fn remember(&mut self, line: &[u8]) {
        let old = if self.tail.len() == TAIL_LINES { self.tail.pop_front() } else { self.spare.pop() };
        let mut buffer = old.unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(&line[..line.len().min(LINE_LIMIT)]);
        self.tail.push_back(buffer);
    }

    /// Counts an occurrence of a template.
    fn add(&mut self, template: &'static str, fields: &Fields<'_>, line: &[u8], time: Option<&str>) {
        let mut hasher = DefaultHasher::new();
        template.hash(&mut hasher);
        for (name, value) in fields {
            name.hash(&mut hasher);
            cut(value, FIELD_LIMIT).hash(&mut hasher);
        }
        let key = hasher.finish();
        if let Some(&at) = self.by_key.get(&key) {
            let record = &mut self.records[at];
            record.count += 1;
            if let Some(time) = time {
                let last = record.last_time.get_or_insert_default();
                last.clear();
                last.push_str(time);
            }
            return;
        }
        if self.records.len() == RECORD_LIMIT {
            self.overflow += 1;
            return;
        }
        self.by_key.insert(key, self.records.len());
        let mut fields: Box<[(&'static str, Box<str>)]> =
            fields.iter().map(|(name, value)| (*name, cut(value, FIELD_LIMIT).into())).collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        self.records.push(Record {
            template,
            count: 1,
            first_line: self.lines,
            sample: cut(&String::from_utf8_lossy(&line[..line.len().min(SAMPLE_LIMIT + 4)]), SAMPLE_LIMIT)
                .into(),
            first_time: time.map(str::to_owned),
            last_time: time.map(str::to_owned),
            fields,
        });
    }
}

/// The text cut to at most this many bytes, between characters.
fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
