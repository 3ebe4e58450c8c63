//! What redaction must leave alone: over every healthy installation, each changed value is one that a
//! reviewed list names. Whoever adds a detector that eats more sees the place here.

use std::collections::BTreeMap;

use oc_mcpgw::archive::load;
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::redact::{Options, Redactor};
use serde_json::Value;

use crate::fixture_kinds::healthy_kinds;
use crate::redact::redacted;

/// Where healthy installations hold what others must not see: the kind (or the file) and the end of the
/// field's path, and why. `*` stands for one part.
const REVIEWED: &[(&str, &str, &str)] = &[
    ("Secret", "/data/*", "values of Secrets"),
    ("Secret", "/metadata/annotations/*", "the shape of what was there"),
    ("Deployment", "/command/*", "the router key of old versions can be derived from a UID"),
    ("ReplicaSet", "/command/*", "the same"),
    ("Pod", "/command/*", "the same"),
    ("a line of a log", "user", "who called a tool"),
    ("a line of a log", "jwt", "a token, which leaves its claims"),
    ("a line of a log", "learned", "the value of a Secret"),
];

/// What redaction did to a line, if it is nothing but placing placeholders: their kinds.
fn kinds<'a>(before: &str, after: &'a str) -> Option<Vec<&'a str>> {
    let mut parts = after.split("<redacted:");
    let mut rest = before.strip_prefix(parts.next()?)?;
    let mut kinds = Vec::new();
    for part in parts {
        let (inside, behind) = part.split_once('>')?;
        kinds.push(inside.split(' ').next()?);
        rest = if behind.is_empty() { "" } else { &rest[rest.find(behind)? + behind.len()..] };
    }
    (rest.is_empty() && !kinds.is_empty()).then_some(kinds)
}

#[derive(Default)]
struct Changes {
    /// By place: how many bytes, and an example.
    unreviewed: BTreeMap<String, (usize, String)>,
    bytes: usize,
    total: usize,
}

impl Changes {
    fn value(&mut self, kind: &str, pointer: &str, before: &Value, after: Option<&Value>) {
        match (before, after) {
            (Value::Object(before), Some(Value::Object(after))) => {
                for (key, value) in before {
                    let part = key.replace('~', "~0").replace('/', "~1");
                    self.value(kind, &format!("{pointer}/{part}"), value, after.get(key));
                }
            }
            (Value::Array(before), Some(Value::Array(after))) => {
                for (index, value) in before.iter().enumerate() {
                    self.value(kind, &format!("{pointer}/{index}"), value, after.get(index));
                }
            }
            _ => {
                let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let before = shown(before);
                self.total += before.len();
                let after = after.map_or_else(|| "(nothing)".to_owned(), shown);
                // Copies of objects in annotations lose the line break at their end.
                if before.trim_end() != after.trim_end() {
                    self.changed(kind, pointer, &before, &after);
                }
            }
        }
    }

    fn changed(&mut self, kind: &str, pointer: &str, before: &str, after: &str) {
        self.bytes += before.len();
        let ends_with = |pattern: &str| {
            let (pattern, parts): (Vec<&str>, Vec<&str>) =
                (pattern.trim_start_matches('/').split('/').collect(), pointer.split('/').collect());
            parts.len() >= pattern.len()
                && pattern.iter().rev().zip(parts.iter().rev()).all(|(p, part)| *p == "*" || p == part)
        };
        if !REVIEWED.iter().any(|(of, pattern, _)| *of == kind && ends_with(pattern)) {
            let place = format!("{kind} {pointer}");
            let entry =
                self.unreviewed.entry(place).or_insert_with(|| (0, format!("{before}\n    -> {after}")));
            entry.0 += before.len();
        }
    }
}

fn objects(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<(String, String, String), Value> {
    let bundle = load::load(&Memory(files.clone())).expect("a bundle");
    let part = |value: &Value, pointer: &str| {
        value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    bundle
        .objects()
        .map(|object| {
            let value = object.value().to_json();
            let value = &value;
            let id =
                (part(value, "/kind"), part(value, "/metadata/namespace"), part(value, "/metadata/name"));
            (id, value.clone())
        })
        .collect()
}

#[test]
fn nothing_that_a_reader_needs_disappears_from_a_healthy_installation() {
    let mut changes = Changes::default();
    for (name, fixture) in healthy_kinds() {
        let before = fixture.files();
        let after = redacted(&before, &Redactor::new(Options::default()));
        let (objects_before, objects_after) = (objects(&before), objects(&after));
        assert!(objects_before.len() > 50, "{name}: {} objects", objects_before.len());
        for (id, object) in &objects_before {
            changes.value(&id.0, "", object, objects_after.get(id));
        }
        let mut lines = 0;
        for (path, content) in &before {
            let text = String::from_utf8_lossy(content);
            // Objects were compared above; what we say of ourselves (sums, counts) differs.
            let of_ours = ["mcpgw/manifest.json", "mcpgw/redaction-report.json"];
            if path.ends_with(".yaml") || of_ours.iter().any(|file| path.ends_with(file)) {
                continue;
            }
            let again = after.get(path).unwrap_or_else(|| panic!("{name}: {path} is called something else"));
            let again = String::from_utf8_lossy(again);
            match (serde_json::from_str::<Value>(&text), serde_json::from_str::<Value>(&again)) {
                (Ok(before), Ok(after)) => changes.value(path, "", &before, Some(&after)),
                _ => {
                    assert_eq!(text.lines().count(), again.lines().count(), "{name}: {path}");
                    for (number, (before, after)) in text.lines().zip(again.lines()).enumerate() {
                        lines += 1;
                        changes.total += before.len();
                        if before == after {
                            continue;
                        }
                        match kinds(before, after) {
                            Some(kinds) => {
                                for kind in kinds {
                                    let pointer = format!("{path}:{}/{kind}", number + 1);
                                    changes.changed("a line of a log", &pointer, before, after);
                                }
                            }
                            None => changes.changed(path, &format!("/{}", number + 1), before, after),
                        }
                    }
                }
            }
        }
        assert!(lines > 20, "{name}: {lines} lines of logs");
    }
    let places: Vec<String> = changes
        .unreviewed
        .iter()
        .map(|(place, (bytes, example))| format!("{place} ({bytes} bytes): {example}"))
        .collect();
    assert!(
        places.is_empty(),
        "{} of {} bytes changed:\n{}",
        changes.bytes,
        changes.total,
        places.join("\n")
    );
    assert!(changes.bytes > 0, "the Secrets of a healthy installation are redacted");
}
