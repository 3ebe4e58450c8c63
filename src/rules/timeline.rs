//! What happened when: warning events, restarts, conditions that turned bad, first errors in logs.
//! Only the bundle's own times are used.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::model::json::Value;
use crate::model::logs::Record;
use crate::model::logs::format::{Level, parse};
use crate::model::object::{Condition, conditions};
use crate::model::{Bundle, Object, kinds};
use crate::report::{Moment, MomentKind, ObjectRef};

/// The latest moments are kept.
const MOMENTS: usize = 250;
/// How much of a message is kept, in characters.
const TEXT: usize = 300;

/// The kinds whose conditions are looked at.
const CONDITIONS: &[&kinds::Kind] = &[
    &kinds::MCP_SERVER_REGISTRATION,
    &kinds::MCP_VIRTUAL_SERVER,
    &kinds::MCP_GATEWAY_EXTENSION,
    &kinds::GATEWAY_CLASS,
    &kinds::GATEWAY,
    &kinds::HTTP_ROUTE,
    &kinds::AUTH_POLICY,
    &kinds::RATE_LIMIT_POLICY,
    &kinds::AUTH_CONFIG,
    &kinds::KUADRANT,
    &kinds::DEPLOYMENT,
    &kinds::POD,
    &kinds::NODE,
];

/// Conditions whose `True` is bad.
const BAD_WHEN_TRUE: &[&str] = &[
    "Conflicted",
    "Overlapping",
    "ReplicaFailure",
    "MemoryPressure",
    "DiskPressure",
    "PIDPressure",
    "NetworkUnavailable",
    "DisruptionTarget",
];

/// The moments of a bundle, oldest first.
pub(super) fn timeline(bundle: &Bundle) -> Vec<Moment> {
    let mut moments = Vec::new();
    events(bundle, &mut moments);
    restarts(bundle, &mut moments);
    for kind in CONDITIONS {
        for object in bundle.list(kind) {
            statuses(object, &mut moments);
        }
    }
    logs(bundle, &mut moments);
    moments.sort();
    moments.dedup();
    moments.split_off(moments.len().saturating_sub(MOMENTS))
}

fn moment(time: DateTime<Utc>, kind: MomentKind, object: ObjectRef, text: &str, file: &str) -> Moment {
    let mut cut: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = cut.char_indices().nth(TEXT) {
        cut.truncate(at);
        cut.push('…');
    }
    Moment {
        time: time.to_rfc3339_opts(SecondsFormat::Secs, true),
        kind,
        object,
        text: cut,
        file: file.to_owned(),
        line: None,
    }
}

fn time(value: Option<&Value>) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(value?.as_str()?).ok().map(|time| time.to_utc())
}

fn events(bundle: &Bundle, moments: &mut Vec<Moment>) {
    for event in bundle.list(&kinds::EVENT).filter(|event| event.str("/type") == "Warning") {
        let first = time(event.get("/firstTimestamp"))
            .or_else(|| time(event.get("/eventTime")))
            .or_else(|| event.created());
        let last = time(event.get("/series/lastObservedTime")).or_else(|| time(event.get("/lastTimestamp")));
        let involved = |key: &str| event.str(&format!("/involvedObject/{key}")).to_owned();
        let object = ObjectRef {
            api_version: involved("apiVersion"),
            kind: involved("kind"),
            namespace: Some(involved("namespace")).filter(|namespace| !namespace.is_empty()),
            name: involved("name"),
        };
        let count = event.int("/series/count").or_else(|| event.int("/count")).unwrap_or(1);
        let mut text = format!("{}: {}", event.str("/reason"), event.str("/message"));
        if count > 1 {
            text = format!("{} ({count} times) {}", event.str("/reason"), event.str("/message"));
        }
        for at in [first, last].into_iter().flatten() {
            moments.push(moment(at, MomentKind::Event, object.clone(), &text, event.file()));
        }
    }
}

fn restarts(bundle: &Bundle, moments: &mut Vec<Moment>) {
    for pod in bundle.list(&kinds::POD) {
        for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
            for status in pod.array(list) {
                let Some(ended) = status.pointer("/lastState/terminated") else { continue };
                let Some(at) = time(ended.get("finishedAt")) else { continue };
                let text = |value: &Value, key: &str| {
                    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
                let number = status.get("restartCount").and_then(Value::as_i64).unwrap_or_default();
                let said = format!(
                    "container {} ended with code {code} ({}), restart {number}",
                    text(status, "name"),
                    text(ended, "reason")
                );
                moments.push(moment(at, MomentKind::Restart, pod.reference(), &said, pod.file()));
            }
        }
    }
}

/// The conditions of the status, of its listeners and of its parents.
fn statuses(object: &Object, moments: &mut Vec<Moment>) {
    for condition in object.conditions() {
        turned(object, "", &condition, moments);
    }
    for listener in object.array("/status/listeners") {
        let name = listener.get("name").and_then(Value::as_str).unwrap_or_default();
        for condition in conditions(listener.get("conditions")) {
            turned(object, &format!("listener {name} "), &condition, moments);
        }
    }
    for parent in object.array("/status/parents") {
        let name = parent.pointer("/parentRef/name").and_then(Value::as_str).unwrap_or_default();
        for condition in conditions(parent.get("conditions")) {
            turned(object, &format!("parent {name} "), &condition, moments);
        }
    }
}

fn turned(object: &Object, place: &str, condition: &Condition<'_>, moments: &mut Vec<Moment>) {
    // A finished pod is not ready either, and nothing is wrong with that.
    if object.kind() == "Pod" && condition.reason == "PodCompleted" {
        return;
    }
    let bad =
        if BAD_WHEN_TRUE.contains(&condition.kind) { condition.is_true() } else { condition.is_false() };
    let Some(at) = time(condition.value.get("lastTransitionTime")).filter(|_| bad) else { return };
    let mut text = format!("{place}{}={} {}", condition.kind, condition.status, condition.reason);
    if !condition.message.is_empty() {
        text.push_str(": ");
        text.push_str(condition.message);
    }
    moments.push(moment(at, MomentKind::Condition, object.reference(), &text, object.file()));
}

fn logs(bundle: &Bundle, moments: &mut Vec<Moment>) {
    for log in bundle.logs() {
        let object = ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: Some(log.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: log.pod.clone(),
        };
        for record in log.digest.records.iter().filter(|record| is_bad(record)) {
            let first = record.first_time.as_deref().and_then(|t| DateTime::parse_from_rfc3339(t).ok());
            let Some(first) = first else { continue };
            let times = if record.count > 1 { format!(" ({} times)", record.count) } else { String::new() };
            let text = format!("{}{times}: {}", log.container, record.sample);
            let mut moment = moment(first.to_utc(), MomentKind::Log, object.clone(), &text, &log.file);
            moment.line = Some(record.first_line);
            moments.push(moment);
        }
    }
}

/// Whether a message says that something is wrong: by its level, or because a program ended with it.
fn is_bad(record: &Record) -> bool {
    let level = parse(record.sample.as_bytes()).map_or(Level::Unknown, |line| line.level);
    match level {
        Level::Warn | Level::Error => true,
        Level::Debug | Level::Info => false,
        Level::Unknown => record.template.starts_with("crash."),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::report::MomentKind;

    #[test]
    fn what_broke_the_installation_is_on_the_timeline() {
        let report = crate::rules::analyze(&crate::demo::faulty().bundle());
        assert!(report.timeline.is_sorted_by(|a, b| a.time <= b.time));
        let kinds: BTreeSet<MomentKind> = report.timeline.iter().map(|moment| moment.kind).collect();
        assert!(kinds.contains(&MomentKind::Event), "{:#?}", report.timeline);
        assert!(kinds.contains(&MomentKind::Condition), "{:#?}", report.timeline);
        let collected = report.bundle.collected_at.expect("a time");
        assert!(report.timeline.iter().all(|moment| moment.time <= collected), "nothing is in the future");
    }
}
