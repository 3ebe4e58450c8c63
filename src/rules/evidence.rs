//! Evidence that is not a field of the subject: events, log lines, log records; and the ways to
//! name an object in a command. Shared by all subjects.

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::Object;
use crate::model::bundle::LogFile;
use crate::model::logs::Record;
use crate::report::{Evidence, ObjectRef};
use crate::shell::{Command, shell};

/// What an event says, with its reason, count and last time as the note.
#[must_use]
pub(crate) fn event(event: &Object) -> Evidence {
    let pointer = if event.get("/message").is_some() { "/message" } else { "/note" };
    let mut evidence = event.evidence(pointer);
    let mut note = format!("event {}", event.str("/reason"));
    let count =
        ["/count", "/series/count", "/deprecatedCount"].iter().find_map(|p| event.int(p)).unwrap_or(1);
    if count > 1 {
        note.push_str(&format!(", {count} times"));
    }
    if let Some(last) = event_time(event) {
        note.push_str(&format!(", last at {}", time(last)));
    }
    evidence.note = Some(note);
    evidence
}

/// When an event was last seen.
#[must_use]
pub(crate) fn event_time(event: &Object) -> Option<DateTime<Utc>> {
    [
        "/lastTimestamp",
        "/series/lastObservedTime",
        "/deprecatedLastTimestamp",
        "/eventTime",
        "/firstTimestamp",
    ]
    .iter()
    .find_map(|pointer| event.time(pointer))
    .or_else(|| event.created())
}

/// The latest event with one of these reasons.
#[must_use]
pub(crate) fn latest<'a>(events: &[&'a Object], reasons: &[&str]) -> Option<&'a Object> {
    events
        .iter()
        .copied()
        .filter(|e| reasons.contains(&e.str("/reason")))
        .max_by_key(|e| (event_time(e), e.name().to_owned()))
}

/// A line of a log.
#[must_use]
pub(crate) fn log_line(log: &LogFile, line: u64, text: &str, note: Option<&str>) -> Evidence {
    Evidence {
        file: log.file.clone(),
        path: None,
        line: Some(line),
        value: Some(text.to_owned()),
        note: note.map(str::to_owned),
    }
}

/// A message of a log: its first occurrence, with count and times as the note.
#[must_use]
pub(crate) fn record(log: &LogFile, record: &Record) -> Evidence {
    let mut note = match record.count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    match (&record.first_time, &record.last_time) {
        (Some(first), Some(last)) if first != last => note.push_str(&format!(", {first} to {last}")),
        (Some(first), _) => note.push_str(&format!(", at {first}")),
        _ => {}
    }
    log_line(log, record.first_line, &record.sample, Some(&note))
}

/// How long before the collection a log may have said something for the last time, for it to count as going on.
const LASTS: TimeDelta = TimeDelta::hours(1);

/// Whether a log has not said this again for longer than an hour before the collection, so that what was wrong is
/// probably repaired. Without times everything counts as going on.
#[must_use]
pub(crate) fn is_past(now: Option<DateTime<Utc>>, record: &Record) -> bool {
    let last = record.last_time.as_deref().and_then(|t| DateTime::parse_from_rfc3339(t).ok());
    now.zip(last).is_some_and(|(now, last)| now - last.to_utc() > LASTS)
}

/// The last lines of a log that say something, oldest first.
#[must_use]
pub(crate) fn last_lines(log: &LogFile, count: usize) -> Vec<Evidence> {
    let mut lines: Vec<Evidence> = log
        .tail
        .iter()
        .rev()
        .filter(|(_, text)| !text.trim().is_empty())
        .take(count)
        .map(|(line, text)| log_line(log, line, text, None))
        .collect();
    lines.reverse();
    lines
}

/// `deployment/mcp-gateway`, the way `oc` takes it.
#[must_use]
pub(crate) fn resource(object: &ObjectRef) -> String {
    format!("{}/{}", object.kind.to_lowercase(), object.name)
}

/// `oc -n team-a`, or `oc` for an object without namespace.
#[must_use]
pub(crate) fn oc(object: &ObjectRef) -> Command {
    match &object.namespace {
        Some(namespace) => shell!("oc -n {}", namespace),
        None => Command::from("oc"),
    }
}

/// RFC 3339 to the second.
#[must_use]
pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// `41 min`, `3 h`, `2 days`: how long, for people.
#[must_use]
pub(crate) fn duration(duration: chrono::TimeDelta) -> String {
    let seconds = duration.num_seconds().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The text cut to about this many characters, for titles.
#[must_use]
pub(crate) fn short(text: &str, limit: usize) -> String {
    let text = text.trim();
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    format!("{}…", cut.trim_end())
}

/// The command that waits for a Deployment's rollout.
#[must_use]
pub(crate) fn rollout(deployment: &Object) -> Command {
    shell!(
        "oc -n {} rollout status {} --timeout=120s",
        deployment.namespace(),
        resource(&deployment.reference())
    )
}
