//! From files to a [`Bundle`]: reads objects, logs, manifest and failures; keeps going past what
//! is broken and says so.
//!
//! One thread goes through the container and inflates; others parse. What they find is put
//! together in the order of the files, so that the same input gives the same bundle. Memory:
//! the objects and digests themselves, and at most [`IN_FLIGHT`] bytes on their way to each worker.

mod block;
mod collected;
mod logs;
mod objects;
mod parse;
mod place;
mod room;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use self::collected::{Assembly, Facts, Held};
use self::objects::Keep;
use self::place::Place;
use self::room::{Piece, Room, Ticket};
use super::manifest::Manifest;
use super::read::{Entry, ReadError, Source, Visit};
use crate::model::bundle::{ExtraFile, Failure, LogFile};
use crate::model::json;
use crate::model::{Bundle, envoy};

/// How many bytes may wait between the thread that reads and those that parse, for each of these.
const IN_FLIGHT: usize = 1 << 20;

/// What a file takes while it waits, apart from its bytes: thousands of empty logs would be megabytes.
const JOB: usize = 4096;

/// The largest file of objects that is parsed: a list of some ten thousand pods.
const OBJECTS: u64 = 512 << 20;

/// The largest file of another sort that is kept; configuration dumps of large meshes reach 50 MiB.
const EXTRA: u64 = 64 << 20;

/// How much of such files is kept altogether.
const ALL_EXTRA: u64 = 192 << 20;

/// How much of a file with an unknown name is looked at to tell whether it holds objects.
const LOOK: usize = 4096;

/// A larger file than this is not believed in before it was read.
const BELIEVED: u64 = 1 << 20;

/// The documents of a file of objects, and whether all of it could be read.
pub(crate) fn documents(bytes: &[u8]) -> (Vec<serde_json::Value>, bool) {
    let parsed = parse::parse(bytes);
    (parsed.documents.iter().map(json::Value::to_json).collect(), parsed.problems.is_empty())
}

/// Loads everything that the analysis looks at.
///
/// # Errors
/// Only when the input as a whole cannot be read, or holds nothing that could be analyzed.
pub fn load(source: &dyn Source) -> Result<Bundle, ReadError> {
    load_with(source, Keep::All)
}

/// Loads what the rules look at: of objects and logs in which nothing is wrong, the fields and
/// lines that no rule reads are let go at once, so that a large installation fits into memory.
///
/// # Errors
/// As [`load`].
pub fn for_rules(source: &dyn Source) -> Result<Bundle, ReadError> {
    load_with(source, Keep::ForRules)
}

fn load_with(source: &dyn Source, keep: Keep) -> Result<Bundle, ReadError> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 8);
    let room = Room::new(workers * IN_FLIGHT);
    let queue = Queue::new(keep, &room);
    let walked = std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| queue.work());
        }
        let walked = walk(source, &queue);
        queue.close();
        walked
    });
    queue.finish().conclude(walked?)
}

/// Goes through the container and hands out the work.
fn walk(source: &dyn Source, queue: &Queue<'_>) -> Result<Vec<String>, ReadError> {
    let mut number = 0;
    let mut extra_left = ALL_EXTRA;
    source.walk(&mut |entry, content| {
        number += 1;
        let place = match place::of(&entry.path) {
            Place::Log(log) => {
                read_log(queue, number, entry, log, content);
                return Visit::Next;
            }
            place => place,
        };
        if place == Place::Extra
            && queue.keep == Keep::ForRules
            && entry.bytes > BELIEVED
            && envoy::is_dump(&entry.path)
        {
            queue.done(large_dump(Held::new(number, &entry.path, entry.bytes), content));
            return Visit::Next;
        }
        let limit = match place {
            Place::Objects(_) | Place::Unknown | Place::Manifest => OBJECTS,
            Place::Extra => EXTRA.min(extra_left),
            _ => EXTRA,
        };
        let mut bytes =
            Vec::with_capacity(usize::try_from(entry.bytes.min(limit).min(BELIEVED)).unwrap_or(0));
        let mut held = Held::new(number, &entry.path, entry.bytes);
        if place == Place::Unknown || (place == Place::Ignored && entry.bytes > limit) {
            bytes.resize(LOOK, 0);
            let (length, _) = logs::fill(content, &mut bytes);
            bytes.truncate(length);
            if place == Place::Ignored || !looks_like_objects(&bytes) {
                // Audit logs, databases, dumps of any size: not even read.
                held.truncated = true;
                queue.done(held);
                return Visit::Next;
            }
        }
        if let Err(error) = content.take(limit + 1).read_to_end(&mut bytes) {
            held.problem(None, &format!("cannot be read to its end: {error}"));
        }
        if bytes.len() as u64 > limit {
            held.problem(None, &format!("is larger than {} MiB and was left out", limit >> 20));
            held.truncated = true;
            queue.done(held);
            return Visit::Next;
        }
        if place == Place::Extra {
            extra_left -= bytes.len() as u64;
        }
        let ticket = queue.room.admit(JOB + bytes.len());
        queue.push(Job::Whole(ticket, held, place, bytes));
        Visit::Next
    })
}

/// Reads a configuration dump of any size and keeps what the rules read of it.
fn large_dump(mut held: Held, content: &mut dyn Read) -> Held {
    let mut counted = Counted { content, digest: Sha256::new(), bytes: 0, error: None };
    let lean = envoy::lean(&mut counted);
    // What stands behind the end, or after a break, counts for the checksum.
    let mut rest = vec![0; room::PIECE];
    while matches!(counted.read(&mut rest), Ok(1..)) {}
    let Counted { digest, bytes, error, .. } = counted;
    if let Some(error) = error {
        held.problem(None, &format!("cannot be read to its end: {error}"));
    }
    held.sha256 = digest.finalize().into();
    held.bytes = bytes;
    held.facts = Facts::Extra(ExtraFile { file: held.path.to_string(), content: lean });
    held
}

/// A reader that makes the checksum of what passes, and remembers why it ended.
struct Counted<'c> {
    content: &'c mut dyn Read,
    digest: Sha256,
    bytes: u64,
    error: Option<std::io::Error>,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.error.is_some() {
            return Ok(0);
        }
        match self.content.read(into) {
            Ok(read) => {
                self.digest.update(&into[..read]);
                self.bytes += read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.error = Some(error);
                Ok(0)
            }
        }
    }
}

fn read_log(queue: &Queue<'_>, number: usize, entry: &Entry, log: place::Log, content: &mut dyn Read) {
    let mut held = Held::new(number, &entry.path, entry.bytes);
    let ticket = queue.room.admit(JOB);
    let mut piece = queue.room.piece(usize::try_from(entry.bytes).unwrap_or(usize::MAX));
    let (length, mut error) = piece.fill(content);
    let whole = error.is_some() || entry.bytes <= length as u64;
    let (sender, pieces) = sync_channel::<Result<Piece<'_>, String>>(4);
    let job = |held| Job::Log(ticket, held, log, pieces);
    if whole {
        if let Some(error) = error {
            held.problem(None, &format!("cannot be read to its end: {error}"));
        }
        // There is room for it, so this does not wait.
        let _ = sender.send(Ok(piece));
        queue.push(job(held));
        return;
    }
    queue.push(job(held));
    let mut next = Ok(piece);
    // A worker that went away has panicked, which the end of its thread will tell.
    while sender.send(next).is_ok() && error.is_none() {
        let mut piece = queue.room.piece(usize::MAX);
        let (length, failed) = piece.fill(content);
        if length == 0 && failed.is_none() {
            return;
        }
        error = failed;
        next = Ok(piece);
    }
    if let Some(error) = error {
        let _ = sender.send(Err(error.to_string()));
    }
}

/// Work that waits for a thread.
enum Job<'r> {
    /// A file that was read whole.
    Whole(Ticket<'r>, Held, Place, Vec<u8>),
    /// A log whose pieces come as they are read; an error ends it.
    Log(Ticket<'r>, Held, place::Log, Receiver<Result<Piece<'r>, String>>),
}

struct Queue<'r> {
    state: Mutex<State<'r>>,
    changed: Condvar,
    /// What the files gave, put together as soon as all files before them have been.
    done: Mutex<Done>,
    keep: Keep,
    /// What may be on its way.
    room: &'r Room,
}

#[derive(Default)]
struct State<'r> {
    waiting: VecDeque<Job<'r>>,
    closed: bool,
}

/// Files in the order of the container, whatever the order in which they were read.
struct Done {
    assembly: Assembly,
    /// How many files have been put together.
    taken: usize,
    /// Files that wait for one before them.
    waiting: BTreeMap<usize, Held>,
}

impl<'r> Queue<'r> {
    fn new(keep: Keep, room: &'r Room) -> Self {
        let done = Done { assembly: Assembly::new(keep), taken: 0, waiting: BTreeMap::new() };
        Self { state: Mutex::default(), changed: Condvar::new(), done: Mutex::new(done), keep, room }
    }

    fn lock(&self) -> MutexGuard<'_, State<'r>> {
        // Nobody panics while holding the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the job for a worker.
    fn push(&self, job: Job<'r>) {
        self.lock().waiting.push_back(job);
        self.changed.notify_one();
    }

    fn done(&self, held: Held) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let done = &mut *done;
        done.waiting.insert(held.number, held);
        while let Some(next) = done.waiting.remove(&(done.taken + 1)) {
            done.taken += 1;
            done.assembly.file(next);
        }
    }

    fn finish(self) -> Assembly {
        let mut done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Every number was given, so that nothing waits.
        std::mem::take(&mut done.waiting).into_values().for_each(|file| done.assembly.file(file));
        done.assembly
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Works until the queue is closed and empty.
    fn work(&self) {
        let mut lines = logs::Lines::default();
        let mut state = self.lock();
        loop {
            let Some(job) = state.waiting.pop_front() else {
                if state.closed {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            self.done(work(job, self, &mut lines));
            state = self.lock();
        }
    }
}

/// Does a job. A panic over one file is a bug; it costs that file, not the others, and above all
/// not the wait for a worker that no longer exists.
fn work(job: Job<'_>, queue: &Queue<'_>, lines: &mut logs::Lines) -> Held {
    let (Job::Whole(_, held, ..) | Job::Log(_, held, ..)) = &job;
    let (number, path) = (held.number, held.path.clone());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match job {
        Job::Whole(_room, held, place, bytes) => whole(held, place, bytes, queue.keep),
        Job::Log(_room, held, log, pieces) => log_of(held, log, &pieces, lines),
    }));
    outcome.unwrap_or_else(|_| {
        *lines = logs::Lines::default();
        let mut held = Held::new(number, &path, 0);
        held.truncated = true;
        held.problem(None, "bug: reading it failed in an unforeseen way; please report it");
        held
    })
}

/// The manifest as the rules see it. As values, the entries of ten thousands of files would be larger than
/// the files.
fn without_lists(fields: &BTreeMap<String, &RawValue>) -> Value {
    let value = |name: &str, field: &RawValue| match name {
        "files" | "collections" => Value::Null,
        // It was parsed as part of the whole.
        _ => serde_json::from_str(field.get()).unwrap_or_default(),
    };
    fields.iter().map(|(name, field)| (name.clone(), value(name, field))).collect()
}

/// Makes of a file what its place promises.
fn whole(mut held: Held, place: Place, bytes: Vec<u8>, keep: Keep) -> Held {
    held.sha256 = Sha256::digest(&bytes).into();
    held.bytes = bytes.len() as u64;
    match place {
        Place::Manifest => match serde_json::from_slice::<BTreeMap<String, &RawValue>>(&bytes) {
            Ok(fields) => match serde_json::from_slice::<Manifest>(&bytes) {
                Ok(manifest) => held.facts = Facts::Manifest(Box::new(manifest), without_lists(&fields)),
                Err(error) => held.problem(None, &format!("is no manifest that this version reads: {error}")),
            },
            Err(error) => held.problem(Some(error.line()), &error.to_string()),
        },
        Place::Failures => match serde_json::from_slice::<Vec<Failure>>(&bytes) {
            Ok(failures) => held.facts = Facts::Failures(failures),
            Err(error) => held.problem(Some(error.line()), &error.to_string()),
        },
        Place::Timestamp => {
            if let Some(time) = timestamp(&bytes) {
                held.facts = Facts::Time(time);
            }
        }
        Place::Discovery => {
            let parsed = parse::parse(&bytes);
            if let Some(document) = parsed.documents.into_iter().next() {
                held.facts = Facts::Discovery(document);
            }
            held.problems_at(parsed.problems);
        }
        Place::Extra => {
            held.facts = Facts::Extra(ExtraFile { file: held.path.to_string(), content: bytes });
        }
        Place::Objects(place) => parse_objects(&mut held, place, &bytes, keep),
        // Its content has told.
        Place::Unknown => parse_objects(&mut held, place::Objects::default(), &bytes, keep),
        Place::Ignored | Place::Log(_) => {}
    }
    held
}

fn parse_objects(held: &mut Held, place: place::Objects, bytes: &[u8], keep: Keep) {
    let parsed = parse::parse(bytes);
    let whole = parsed.problems.is_empty();
    held.problems_at(parsed.problems);
    let mut contents = objects::objects(parsed.documents, &held.path, keep);
    for problem in std::mem::take(&mut contents.problems) {
        held.problem(None, &problem);
    }
    held.facts = Facts::Objects(place, contents, whole);
}

/// Whether a file whose name tells nothing begins like objects do.
pub(crate) fn looks_like_objects(bytes: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(LOOK)]);
    start.lines().take(40).any(|line| {
        let line = line.trim_start_matches('\u{feff}').trim_start();
        [
            "apiVersion:",
            "kind:",
            "items:",
            "\"apiVersion\":",
            "\"kind\":",
            "\"items\":",
            "{\"apiVersion\"",
            "{\"kind\"",
        ]
        .iter()
        .any(|field| line.starts_with(field))
    })
}

/// The last line of the file `timestamp`, as Go prints a time: `2026-04-22 10:00:00.1 +0000 UTC m=+0.1`.
fn timestamp(bytes: &[u8]) -> Option<DateTime<Utc>> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
    let mut times = text.lines().filter_map(|line| {
        let line = line.trim();
        let rfc3339 = DateTime::parse_from_rfc3339(line).ok();
        let mut words = line.split_whitespace();
        let go = match (words.next(), words.next(), words.next()) {
            (Some(day), Some(time), Some(zone)) => {
                DateTime::parse_from_str(&format!("{day} {time} {zone}"), "%Y-%m-%d %H:%M:%S%.f %z").ok()
            }
            _ => None,
        };
        rfc3339.or(go).map(|time| time.to_utc())
    });
    times.next_back()
}

/// Reads a log to its end, inflating it if it is compressed in itself.
fn log_of(
    mut held: Held,
    log: place::Log,
    pieces: &Receiver<Result<Piece<'_>, String>>,
    lines: &mut logs::Lines,
) -> Held {
    let mut stream = Pieces { pieces, current: None, at: 0, digest: Sha256::new(), bytes: 0, error: None };
    stream.advance();
    if logs::is_gzip(stream.current()) {
        let mut inflated = logs::gunzip(&mut stream);
        let mut piece = vec![0; room::PIECE];
        loop {
            let (length, error) = logs::fill(&mut inflated, &mut piece);
            lines.push(&piece[..length]);
            if let Some(error) = error {
                held.problem(None, &format!("cannot be inflated to its end: {error}"));
            }
            if length < piece.len() {
                break;
            }
        }
        drop(inflated);
        // What stands after the compressed part counts for the checksum.
        while stream.advance() {}
    } else {
        loop {
            lines.push(stream.current());
            if !stream.advance() {
                break;
            }
        }
    }
    held.bytes = stream.bytes;
    if let Some(error) = stream.error.take() {
        held.problem(None, &format!("cannot be read to its end: {error}"));
    }
    held.sha256 = stream.digest.finalize().into();
    let (bytes, (count, tail, digest)) = lines.finish();
    held.facts = Facts::Log(LogFile {
        file: held.path.to_string(),
        namespace: log.namespace,
        pod: log.pod,
        container: log.container,
        previous: log.previous,
        bytes,
        lines: count,
        tail,
        digest,
    });
    held
}

/// The pieces of a log, as they come and as one stream.
struct Pieces<'a, 'r> {
    pieces: &'a Receiver<Result<Piece<'r>, String>>,
    current: Option<Piece<'r>>,
    at: usize,
    digest: Sha256,
    bytes: u64,
    error: Option<String>,
}

impl Pieces<'_, '_> {
    fn current(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], Piece::bytes)
    }

    /// Goes to the next piece; `false` at the end.
    fn advance(&mut self) -> bool {
        self.at = 0;
        self.current = None;
        match self.pieces.recv() {
            Ok(Ok(piece)) => {
                self.digest.update(piece.bytes());
                self.bytes += piece.bytes().len() as u64;
                self.current = Some(piece);
                true
            }
            Ok(Err(error)) => {
                self.error = Some(error);
                false
            }
            Err(_) => false,
        }
    }
}

impl Read for Pieces<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.current().len() {
            if !self.advance() {
                return Ok(0);
            }
        }
        let rest = &self.current()[self.at..];
        let n = into.len().min(rest.len());
        into[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}
