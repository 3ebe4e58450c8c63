//! The timeline as a picture: one lane per object, age on a scale that gives the last minutes as much
//! room as the last weeks. Only geometry; the template draws.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::super::layout::{count, cut, one_line};
use crate::report::{Moment, MomentKind, ObjectRef, Report};

const LABEL: i64 = 340;
const WIDTH: i64 = 820;
const LANE: i64 = 24;
const HEAD: i64 = 30;
/// Lanes that are drawn; the table has everything.
const LANES: usize = 28;

#[derive(Serialize)]
pub(super) struct Chart {
    width: i64,
    height: i64,
    bottom: i64,
    left: i64,
    right: i64,
    ticks: Vec<Tick>,
    lanes: Vec<Lane>,
    marks: Vec<Mark>,
    omitted: String,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Tick {
    x: i64,
    label: String,
}

#[derive(Serialize)]
struct Lane {
    y: i64,
    text_y: i64,
    label: String,
    full: String,
}

#[derive(Serialize)]
struct Mark {
    kind: &'static str,
    x: i64,
    y: i64,
    text: String,
}

#[derive(Serialize)]
struct Row {
    time: String,
    kind: &'static str,
    object: String,
    text: String,
    place: String,
}

/// From the first to the last moment of an object.
struct Span<'a> {
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    object: &'a ObjectRef,
}

/// Places the timeline; `None` when nothing happened.
pub(super) fn chart(report: &Report) -> Option<Chart> {
    let moments: Vec<(DateTime<Utc>, &Moment)> =
        report.timeline.iter().filter_map(|moment| Some((time(&moment.time)?, moment))).collect();
    let (first, last) = (moments.first()?.0, moments.last()?.0);
    let now = report.bundle.collected_at.as_deref().and_then(time).unwrap_or(last).max(last);
    let oldest = (now - first).num_seconds().max(60);
    let x = |at: DateTime<Utc>| LABEL + WIDTH - scaled((now - at).num_seconds(), oldest);

    // The lanes whose latest moment is latest, shown in the order in which they began.
    let mut spans: BTreeMap<&ObjectRef, Span<'_>> = BTreeMap::new();
    for (at, moment) in &moments {
        let object = &moment.object;
        spans.entry(object).and_modify(|span| span.last = *at).or_insert(Span {
            first: *at,
            last: *at,
            object,
        });
    }
    let mut order: Vec<Span<'_>> = spans.into_values().collect();
    order.sort_by(|a, b| b.last.cmp(&a.last).then(a.object.cmp(b.object)));
    let omitted = order.len().saturating_sub(LANES);
    order.truncate(LANES);
    order.sort_by(|a, b| a.first.cmp(&b.first).then(a.object.cmp(b.object)));
    let mut row: BTreeMap<&ObjectRef, i64> = BTreeMap::new();
    let mut drawn = Vec::new();
    let mut y = HEAD + LANE / 2;
    for Span { object, .. } in order {
        let full = one_line(&object.to_string());
        row.insert(object, y);
        drawn.push(Lane {
            y,
            text_y: y + 4,
            label: cut(&full, 44).into_owned(),
            full: cut(&full, 400).into_owned(),
        });
        y += LANE;
    }
    let bottom = y - LANE / 2;
    let marks = moments
        .iter()
        .filter_map(|(at, moment)| {
            Some(Mark {
                kind: moment.kind.as_str(),
                x: x(*at),
                y: *row.get(&moment.object)?,
                text: format!(
                    "{} {} {}",
                    moment.time,
                    moment.kind.as_str(),
                    cut(&one_line(&moment.text), 300)
                ),
            })
        })
        .collect();
    Some(Chart {
        width: LABEL + WIDTH + 24,
        height: bottom + 12,
        bottom,
        left: LABEL,
        right: LABEL + WIDTH,
        ticks: ticks(oldest),
        lanes: drawn,
        marks,
        omitted: match omitted {
            0 => String::new(),
            number => format!("{} further back only in the table", count(number, "object is", "objects are")),
        },
        rows: moments.iter().map(|(_, moment)| table_row(moment)).collect(),
    })
}

fn table_row(moment: &Moment) -> Row {
    let file = cut(&one_line(&moment.file), 300).into_owned();
    Row {
        time: one_line(&moment.time),
        kind: kind(moment.kind),
        object: cut(&one_line(&moment.object.to_string()), 200).into_owned(),
        text: cut(&one_line(&moment.text), 400).into_owned(),
        place: moment.line.map_or(file.clone(), |line| format!("{file}:{line}")),
    }
}

fn kind(kind: MomentKind) -> &'static str {
    kind.as_str()
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

/// How far from the right an age stands, out of [`WIDTH`] for the oldest.
fn scaled(age: i64, oldest: i64) -> i64 {
    let logarithm = |seconds: i64| (1.0 + seconds.max(0) as f64 / 60.0).ln();
    (WIDTH as f64 * logarithm(age.min(oldest)) / logarithm(oldest)).round() as i64
}

/// Round ages that are not too near to each other.
fn ticks(oldest: i64) -> Vec<Tick> {
    let mut ticks = vec![Tick { x: LABEL + WIDTH, label: "collected".to_owned() }];
    let mut before = 0;
    for (seconds, label) in [
        (60, "1 min"),
        (300, "5 min"),
        (900, "15 min"),
        (3600, "1 h"),
        (6 * 3600, "6 h"),
        (86_400, "1 day"),
        (7 * 86_400, "1 week"),
        (30 * 86_400, "30 days"),
        (182 * 86_400, "6 months"),
        (730 * 86_400, "2 years"),
    ] {
        let x = scaled(seconds, oldest);
        if seconds <= oldest && x - before >= 64 {
            before = x;
            ticks.push(Tick { x: LABEL + WIDTH - x, label: label.to_owned() });
        }
    }
    if WIDTH - before >= 64 {
        ticks.push(Tick { x: LABEL, label: age(oldest) });
    }
    ticks
}

/// An age in its largest unit.
fn age(seconds: i64) -> String {
    match seconds {
        ..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => count(usize::try_from(seconds / 86_400).unwrap_or_default(), "day", "days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_runs_from_the_collection_to_the_oldest() {
        assert_eq!(scaled(0, 86_400), 0);
        assert_eq!(scaled(86_400, 86_400), WIDTH);
        assert!(scaled(600, 86_400) > WIDTH / 4, "the last ten minutes have room");
        let labels: Vec<String> = ticks(7200).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["collected", "1 min", "5 min", "15 min", "1 h", "2 h"]);
    }
}
