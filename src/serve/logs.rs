//! Logs of containers: streamed from the bundle in bounded memory, with the parameters of
//! `pods/log` applied the way a kubelet does.

use std::io::Read;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use chrono::{DateTime, TimeDelta, Utc};

use super::request::Query;
use super::status::Status;
use super::{Answer, Cluster};
use crate::archive::read::Source;
use crate::model::Object;
use crate::model::bundle::LogFile;
use crate::model::json::Value;

/// How many bytes are read and sent at a time.
const CHUNK: usize = 64 * 1024;

/// Answers `/api/v1/namespaces/<ns>/pods/<pod>/log`.
pub(crate) fn answer(cluster: &Cluster, namespace: &str, pod: &str, query: &Query) -> Result<Answer, Status> {
    let object = cluster.bundle.get_dynamic("", "Pod", namespace, pod);
    let logs: Vec<&LogFile> = cluster.bundle.logs_of(namespace, pod).collect();
    if object.is_none() && logs.is_empty() {
        return Err(Status::no_such_object("", "pods", pod));
    }
    let container = container(object, &logs, pod, query.get("container"))?;
    let previous = query.flag("previous");
    let Some(log) = logs.iter().find(|log| log.container == container && log.previous == previous) else {
        return Err(no_log(object, pod, &container, previous));
    };
    let (filter, warnings) = filter(cluster, query, &*cluster.source, &log.file)?;
    Ok(Answer::Stream(stream(cluster, log.file.clone(), filter), "text/plain", warnings))
}

/// A file of the bundle as it is, streamed.
pub(crate) fn file(cluster: &Cluster, file: String) -> Body {
    stream(cluster, file, Filter::everything())
}

/// Reads a file on a thread of its own, as fast as the client takes it.
fn stream(cluster: &Cluster, file: String, filter: Filter) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(4);
    let source = Arc::clone(&cluster.source);
    tokio::task::spawn_blocking(move || send(&*source, &file, filter, &sender));
    Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }))
}

/// The names of a pod's containers of one sort (`containers`, `initContainers`, `ephemeralContainers`).
fn names<'a>(object: Option<&'a Object>, sort: &str) -> Vec<&'a str> {
    let list = object.map_or(&[][..], |object| object.array(&format!("/spec/{sort}")));
    list.iter().filter_map(|container| container.get("name")?.as_str()).collect()
}

/// Which container is meant, by the rules and in the words of the API server.
fn container(
    object: Option<&Object>,
    logs: &[&LogFile],
    pod: &str,
    wanted: Option<&str>,
) -> Result<String, Status> {
    let mut regular = names(object, "containers");
    let (init, ephemeral) = (names(object, "initContainers"), names(object, "ephemeralContainers"));
    if object.is_none() {
        // Logs without their pod: the files tell the containers.
        regular = logs.iter().map(|log| log.container.as_str()).collect();
        regular.sort_unstable();
        regular.dedup();
    }
    if let Some(wanted) = wanted {
        let known = [&regular, &init, &ephemeral].iter().any(|names| names.contains(&wanted));
        if !known && !logs.iter().any(|log| log.container == wanted) {
            return Err(Status::bad_request(format!("container {wanted} is not valid for pod {pod}")));
        }
        return Ok(wanted.to_owned());
    }
    match regular.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {pod}"))),
        several => {
            let mut message = format!(
                "a container name must be specified for pod {pod}, choose one of: [{}]",
                several.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            if !ephemeral.is_empty() {
                message.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}

/// Why there is no log: the container never ran, had no run before, or nobody collected it.
fn no_log(object: Option<&Object>, pod: &str, container: &str, previous: bool) -> Status {
    let statuses = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let status = object.and_then(|object| {
        let all = statuses.iter().flat_map(|sort| object.array(&format!("/status/{sort}")));
        all.into_iter().find(|status| status.get("name").and_then(Value::as_str) == Some(container))
    });
    if previous {
        let ran_before = status.is_some_and(|status| {
            status.get("restartCount").and_then(Value::as_i64).unwrap_or_default() > 0
                || status.pointer("/lastState/terminated").is_some()
        });
        if !ran_before && status.is_some() {
            return Status::bad_request(format!(
                "previous terminated container \"{container}\" in pod \"{pod}\" not found"
            ));
        }
    } else if let Some(waiting) = status.and_then(|status| status.pointer("/state/waiting")) {
        let reason = waiting.get("reason").and_then(Value::as_str).unwrap_or("waiting");
        return Status::bad_request(format!(
            "container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}"
        ));
    }
    let which = if previous { "previous log" } else { "log" };
    Status::not_found(format!(
        "the {which} of container \"{container}\" in pod \"{pod}\" is not in the bundle: it was not collected"
    ))
}

/// What the parameters ask for.
fn filter(
    cluster: &Cluster,
    query: &Query,
    source: &dyn Source,
    file: &str,
) -> Result<(Filter, Vec<String>), Status> {
    let positive = |key: &str| match query.number(key)? {
        Some(number) if number < 0 => {
            Err(Status::bad_request(format!("{key}: must be greater than or equal to 0")))
        }
        number => Ok(number),
    };
    let tail = positive("tailLines")?;
    let limit = positive("limitBytes")?;
    let since_seconds = positive("sinceSeconds")?;
    let since_time = query
        .get("sinceTime")
        .map(|text| {
            DateTime::parse_from_rfc3339(text)
                .map(|time| time.with_timezone(&Utc))
                .map_err(|_| Status::bad_request(format!("sinceTime={text}: not a time in RFC 3339")))
        })
        .transpose()?;
    if since_seconds.is_some() && since_time.is_some() {
        return Err(Status::bad_request("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let since = since_time
        .or_else(|| since_seconds.and_then(|s| cluster.now.checked_sub_signed(TimeDelta::try_seconds(s)?)));
    let survey = survey(source, file, tail.is_some())?;
    let mut warnings = Vec::new();
    if since.is_some() && !survey.stamped {
        warnings.push("the log was stored without timestamps: the beginning could not be cut off".to_owned());
    }
    let skip = tail.map_or(0, |tail| survey.lines.saturating_sub(u64::try_from(tail).unwrap_or_default()));
    let filter = Filter {
        skip,
        since: since.filter(|_| survey.stamped),
        strip: survey.stamped && !query.flag("timestamps"),
        left: limit.map_or(u64::MAX, |limit| u64::try_from(limit).unwrap_or_default()),
        stamped: survey.stamped,
        ..Filter::everything()
    };
    Ok((filter, warnings))
}

/// What must be known of a log before its first byte is sent.
#[derive(Debug, Default, PartialEq, Eq)]
struct Survey {
    lines: u64,
    /// Whether a kubelet has put its timestamps before the lines.
    stamped: bool,
}

/// Reads a log once, all of it only if its lines must be counted.
fn survey(source: &dyn Source, file: &str, count: bool) -> Result<Survey, Status> {
    let mut survey = Survey::default();
    let mut failed = None;
    let found = source.stream(file, &mut |content| {
        let (mut buffer, mut first, mut unfinished) = (vec![0; CHUNK], true, false);
        loop {
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let chunk = &buffer[..length];
                    if first {
                        survey.stamped = chunk.split(|b| *b == b'\n').take(10).any(is_stamped);
                        first = false;
                        if !count {
                            return;
                        }
                    }
                    survey.lines += memchr::memchr_iter(b'\n', chunk).count() as u64;
                    unfinished = chunk.last() != Some(&b'\n');
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        survey.lines += u64::from(unfinished);
    });
    match (found, failed) {
        (Ok(true), None) => Ok(survey),
        (Ok(true), Some(error)) => Err(Status::internal(format!("cannot read {file}: {error}"))),
        (Ok(false), _) => Err(Status::not_found(format!("{file} is not in the bundle any more"))),
        (Err(error), _) => Err(Status::internal(error.to_string())),
    }
}

/// The longest timestamp, `2026-11-22T10:00:00.000000000+00:00`.
const STAMP: usize = 35;

/// The time before the first space of a line, and the length of both.
fn stamp(line: &[u8]) -> Option<(DateTime<Utc>, usize)> {
    let end = memchr::memchr(b' ', &line[..line.len().min(STAMP + 1)])?;
    let text = std::str::from_utf8(&line[..end]).ok()?;
    if !text.contains('T') {
        return None;
    }
    DateTime::parse_from_rfc3339(text).ok().map(|time| (time.with_timezone(&Utc), end + 1))
}

/// Whether a line begins with the timestamp of a kubelet: to the nanosecond, then one space.
/// Programs that write times of their own are content with less.
fn is_stamped(line: &[u8]) -> bool {
    stamp(line).is_some_and(|(_, length)| {
        let digits = line[..length].iter().skip_while(|b| **b != b'.').skip(1);
        digits.take_while(|b| b.is_ascii_digit()).count() >= 7
    })
}

/// Where in a line the filter stands.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// At its start: its timestamp is still being collected.
    Start,
    /// Behind it; whether the line is wanted.
    Inside(bool),
}

/// Applies the parameters to a log that comes in pieces. Holds at most the length of a timestamp.
#[derive(Debug)]
struct Filter {
    /// How many lines are still to be left out.
    skip: u64,
    since: Option<DateTime<Utc>>,
    strip: bool,
    stamped: bool,
    /// How many bytes may still be sent.
    left: u64,
    head: Vec<u8>,
    line: Line,
    /// Whether the last line was wanted: lines without a timestamp follow their predecessor.
    last: bool,
}

impl Filter {
    /// Lets everything through.
    fn everything() -> Self {
        Self {
            skip: 0,
            since: None,
            strip: false,
            stamped: false,
            left: u64::MAX,
            head: Vec::new(),
            line: Line::Start,
            last: true,
        }
    }

    /// Takes the next piece; false when nothing after it is wanted.
    fn push(&mut self, mut piece: &[u8], out: &mut Vec<u8>) -> bool {
        while !piece.is_empty() && self.left > 0 {
            let end = memchr::memchr(b'\n', piece).map(|at| at + 1);
            if self.line == Line::Start && self.skip == 0 && self.stamped {
                let wanted = (STAMP + 1).saturating_sub(self.head.len());
                let take = end.unwrap_or(piece.len()).min(wanted);
                self.head.extend_from_slice(&piece[..take]);
                piece = &piece[take..];
                if self.head.len() > STAMP || self.head.ends_with(b"\n") {
                    self.decide(out);
                }
                continue;
            }
            let take = end.unwrap_or(piece.len());
            let send = match self.line {
                Line::Start => self.skip == 0,
                Line::Inside(wanted) => wanted,
            };
            if send {
                self.send(&piece[..take], out);
            }
            if end.is_some() {
                self.skip = self.skip.saturating_sub(u64::from(!send));
                self.line = Line::Start;
            } else {
                self.line = Line::Inside(send);
            }
            piece = &piece[take..];
        }
        self.left > 0
    }

    /// The start of a line is there: decides whether it is wanted, and sends what it has of it.
    fn decide(&mut self, out: &mut Vec<u8>) {
        let head = std::mem::take(&mut self.head);
        let stamp = stamp(&head);
        let wanted = match (self.since, stamp) {
            (Some(since), Some((time, _))) => time >= since,
            (Some(_), None) => self.last,
            (None, _) => true,
        };
        self.last = wanted;
        if wanted {
            let from = stamp.filter(|_| self.strip).map_or(0, |(_, length)| length);
            self.send(&head[from..], out);
        }
        self.line = if head.ends_with(b"\n") { Line::Start } else { Line::Inside(wanted) };
    }

    /// Ends the log: a last line that was shorter than a timestamp is still held.
    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.head.is_empty() {
            self.decide(out);
        }
    }

    fn send(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        out.extend_from_slice(&bytes[..take]);
        self.left -= take as u64;
    }
}

/// Reads the log on a thread of its own; a client that goes away ends it.
fn send(
    source: &dyn Source,
    file: &str,
    mut filter: Filter,
    sender: &tokio::sync::mpsc::Sender<std::io::Result<Bytes>>,
) {
    let outcome = source.stream(file, &mut |content: &mut dyn Read| {
        let mut buffer = vec![0; CHUNK];
        let mut out = Vec::new();
        loop {
            let more = match content.read(&mut buffer) {
                Ok(0) => {
                    filter.finish(&mut out);
                    false
                }
                Ok(length) => filter.push(&buffer[..length], &mut out),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => true,
                Err(error) => {
                    // The connection breaks off, so that nobody takes the rest for the whole.
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            };
            if !out.is_empty() && sender.blocking_send(Ok(std::mem::take(&mut out).into())).is_err() {
                return;
            }
            if !more {
                return;
            }
        }
    });
    if let Err(error) = outcome {
        let _ = sender.blocking_send(Err(std::io::Error::other(error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOG: &str = "2026-11-22T10:00:00.000000001Z one\n\
                       2026-11-22T10:00:10.000000001Z two\n\
                       a line of the collector\n\
                       2026-11-22T10:00:20.000000001Z three\n";

    fn run(text: &str, size: usize, change: impl Fn(&mut Filter)) -> String {
        let stamped = text.split('\n').any(|line| is_stamped(line.as_bytes()));
        let mut filter = Filter { strip: stamped, stamped, ..Filter::everything() };
        change(&mut filter);
        let mut out = Vec::new();
        if text.as_bytes().chunks(size).all(|piece| filter.push(piece, &mut out)) {
            filter.finish(&mut out);
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn parameters_are_applied_whatever_the_pieces() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).expect("a time").with_timezone(&Utc);
        for size in [1, 2, 7, 34, 35, 36, 37, 1000] {
            assert_eq!(run(LOG, size, |_| ()), "one\ntwo\na line of the collector\nthree\n", "{size}");
            assert_eq!(run(LOG, size, |f| f.strip = false), LOG, "{size}");
            assert_eq!(run(LOG, size, |f| f.skip = 3), "three\n", "{size}");
            assert_eq!(run(LOG, size, |f| f.skip = 9), "", "{size}");
            assert_eq!(run(LOG, size, |f| f.left = 5), "one\nt", "{size}");
            let since = at("2026-11-22T10:00:05Z");
            assert_eq!(
                run(LOG, size, |f| f.since = Some(since)),
                "two\na line of the collector\nthree\n",
                "{size}"
            );
            assert_eq!(run(LOG, size, |f| f.since = Some(at("2026-11-22T10:00:15Z"))), "three\n", "{size}");
        }
    }

    #[test]
    fn times_of_the_program_itself_are_kept() {
        for log in ["2026-11-22T10:00:00Z started\n", "2026-11-22T10:00:00.123Z\tINFO\tstarted\n", "x\ny"] {
            assert_eq!(run(log, 3, |_| ()), log);
        }
    }

    proptest! {
        #[test]
        fn the_tail_is_the_last_lines(lines in proptest::collection::vec("[a-c ]{0,50}", 0..20), skip in 0u64..25, size in 1usize..60) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let expected: String =
                lines.iter().skip(usize::try_from(skip).expect("small")).map(|line| format!("{line}\n")).collect();
            prop_assert_eq!(run(&text, size, |f| f.skip = skip), expected);
        }
    }
}
