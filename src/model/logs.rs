//! What the log parsers make of a container's log: message templates with counts and times.
//!
//! A log is read line by line by a [`Reader`], which keeps a bounded [`Digest`] and the last lines.

/// The digest of one log, bounded in size whatever the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Digest {
    /// The message templates that were met.
    pub records: Vec<Record>,
}

/// A message template of the catalogue, met at least once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The stable name of the template.
    pub template: String,
    /// How often it was met (with these fields).
    pub count: u64,
    /// The line of its first occurrence, from 1.
    pub first_line: u64,
    /// The text of its first occurrence, cut to a bounded length.
    pub sample: String,
    /// The time of the first occurrence, RFC 3339, if the line has one.
    pub first_time: Option<String>,
    /// The time of the last occurrence.
    pub last_time: Option<String>,
    /// The fields that tell occurrences apart.
    pub fields: std::collections::BTreeMap<String, String>,
}

/// Reads a log line by line.
#[derive(Debug, Default)]
pub struct Reader {
    digest: Digest,
    tail: std::collections::VecDeque<(u64, String)>,
    lines: u64,
}

/// How many of the last lines are kept.
pub const TAIL_LINES: usize = 40;
/// How much of a line is kept.
pub const LINE_LIMIT: usize = 4096;

impl Reader {
    /// Takes one line without its line break.
    pub fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        let text = String::from_utf8_lossy(&line[..line.len().min(LINE_LIMIT)]).into_owned();
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back((self.lines, text));
    }

    /// The number of lines, the last of them, and the digest.
    #[must_use]
    pub fn finish(self) -> (u64, Vec<(u64, String)>, Digest) {
        (self.lines, self.tail.into(), self.digest)
    }
}
