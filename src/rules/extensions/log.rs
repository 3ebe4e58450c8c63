//! What the controller's log says about one extension.

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::Object;
use crate::model::bundle::LogFile;
use crate::model::logs::Record;
use crate::model::workloads::Component;
use crate::report::Evidence;
use crate::rules::{Context, evidence};

/// How many different errors are shown.
const SHOWN: usize = 2;

/// An error that was met less often may have been a conflict, or the start of a dependency.
const AGAIN: u64 = 3;

/// The controller waits at most some 17 minutes until it tries again.
const LATEST: TimeDelta = TimeDelta::minutes(20);

/// Records of a template about an object, each with its log; those of the current run only.
fn records<'a>(
    context: &Context<'a>,
    template: &'static str,
    object: &Object,
) -> impl Iterator<Item = (&'a LogFile, &'a Record)> {
    let id = (object.namespace().to_owned(), object.name().to_owned());
    let logs = context.workloads().component_logs(Component::Controller).filter(|(_, log)| !log.previous);
    logs.flat_map(move |(_, log)| log.digest.of(template).map(move |record| (log, record)))
        .filter(move |(_, record)| record.field("namespace") == id.0 && record.field("name") == id.1)
}

/// Errors over the extension, those of two writers that met aside.
fn errors<'a>(context: &Context<'a>, object: &Object) -> impl Iterator<Item = (&'a LogFile, &'a Record)> {
    let errors = records(context, "controller.reconcile-error", object);
    errors.filter(|(_, record)| {
        matches!(record.field("controller"), "" | "mcpgatewayextension")
            && !record.sample.contains("the object has been modified")
    })
}

fn last(record: &Record) -> Option<DateTime<Utc>> {
    let time = record.last_time.as_deref().or(record.first_time.as_deref())?;
    DateTime::parse_from_rfc3339(time).ok().map(|time| time.to_utc())
}

/// What it says: the errors, else when the extension was last looked at, else that nothing is said although the
/// log begins before the extension or with the controller.
pub(super) fn about(context: &Context<'_>, object: &Object) -> Vec<Evidence> {
    let mut said: Vec<Evidence> =
        errors(context, object).take(SHOWN).map(|(log, record)| evidence::record(log, record)).collect();
    if !said.is_empty() {
        return said;
    }
    if let Some((log, record)) =
        records(context, "controller.extension", object).max_by_key(|(_, record)| last(record))
    {
        said.push(evidence::record(log, record));
        return said;
    }
    let mut logs = context.workloads().component_logs(Component::Controller);
    if let Some((_, log)) = logs.find(|(_, log)| !log.previous) {
        let first = log.digest.first_time.as_deref().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        let covers = log.digest.count("controller.start") > 0
            || first.is_some_and(|first| object.created().is_some_and(|created| first <= created));
        if covers && log.digest.overflow == 0 {
            said.push(Evidence {
                file: log.file.clone(),
                path: None,
                line: None,
                value: None,
                note: Some(format!("{} lines, none about {}", log.lines, object.full_name())),
            });
        }
    }
    said
}

/// The error that the controller meets again and again, to the end of its log.
pub(super) fn failing(context: &Context<'_>, object: &Object) -> Option<Evidence> {
    let tried = records(context, "controller.extension", object).filter_map(|(_, record)| last(record)).max();
    let (log, record) = errors(context, object).max_by_key(|(_, record)| last(record))?;
    let failed = last(record)?;
    let lasts = tried.is_none_or(|tried| failed >= tried)
        && context.now.is_some_and(|now| now.signed_duration_since(failed) <= LATEST);
    (record.count >= AGAIN && lasts).then(|| evidence::record(log, record))
}
