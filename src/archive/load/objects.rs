//! From the documents of a file to objects, and to what they tell about the collection as a whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::json::Value;
use crate::model::kinds::by_kind;
use crate::model::{Object, lean};
use chrono::{DateTime, Utc};

/// A list that a file held, whatever became of its items.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// The groups, versions and kinds of its items, or of the list itself (`HTTPRouteList`).
    pub(super) kinds: BTreeSet<(String, String, String)>,
    /// The namespaces of its items.
    pub(super) namespaces: BTreeSet<String>,
    /// Whether some item stands in no namespace.
    pub(super) cluster_scoped: bool,
}

/// Everything that one file gives.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) objects: Vec<Object>,
    pub(super) lists: Vec<List>,
    /// The newest time at which something happened to one of the objects.
    pub(super) newest: Option<DateTime<Utc>>,
    /// Documents that are no Kubernetes objects, items without a name.
    pub(super) problems: Vec<String>,
    keep: Keep,
}

/// What is kept of the objects and logs of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Keep {
    /// Everything, for whoever shows the objects themselves.
    #[default]
    All,
    /// What the rules read.
    ForRules,
}

/// Takes the documents of a file apart.
pub(super) fn objects(documents: Vec<Value>, file: &Arc<str>, keep: Keep) -> Contents {
    let mut contents = Contents { keep, ..Contents::default() };
    let several = documents.len() > 1;
    for (n, document) in documents.into_iter().enumerate() {
        match document {
            Value::Object(ref map)
                if map.get("items").is_some_and(|items| items.is_array() || items.is_null()) =>
            {
                list(document, file, &mut contents);
            }
            // What `jq .items` leaves.
            Value::Array(items) => {
                for item in items {
                    one(item, file, None, &mut contents);
                }
            }
            // A broken template, the words of an error: whoever wrote it meant objects to stand here.
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {
                let place = if several { format!("document {}: ", n + 1) } else { String::new() };
                contents.problems.push(format!("{place}a single value stands where an object is expected"));
            }
            // Comments between two marks, and mappings that are something else than an object.
            document if text(&document, "/kind").is_empty() => {}
            // An object of a file of several documents is addressed like an item of a list.
            document => one(document, file, several.then_some(n), &mut contents),
        }
    }
    contents
}

fn list(mut document: Value, file: &Arc<str>, contents: &mut Contents) {
    let api_version = text(&document, "/apiVersion").to_owned();
    let kind = text(&document, "/kind").to_owned();
    let item_kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
    let mut seen = List::default();
    if let Some(kind) = item_kind {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
        seen.kinds.insert((group.to_owned(), version.to_owned(), kind.to_owned()));
    }
    let items = document.as_object_mut().and_then(|map| map.get_mut("items")).map(Value::take);
    let Some(Value::Array(items)) = items else {
        contents.lists.push(seen);
        return;
    };
    let before = contents.objects.len();
    for (n, mut item) in items.into_iter().enumerate() {
        // The API server leaves out what the list says already.
        if let (Some(kind), Some(map)) = (item_kind, item.as_object_mut()) {
            for (field, value) in [("kind", kind), ("apiVersion", api_version.as_str())] {
                if !map.contains_key(field) {
                    map.insert(field, value.into());
                }
            }
        }
        one(item, file, Some(n), contents);
    }
    for object in &contents.objects[before..] {
        seen.kinds.insert((object.group().to_owned(), object.version().to_owned(), object.kind().to_owned()));
        if object.namespace().is_empty() {
            seen.cluster_scoped = true;
        } else {
            seen.namespaces.insert(object.namespace().to_owned());
        }
    }
    contents.lists.push(seen);
}

fn one(mut value: Value, file: &Arc<str>, item: Option<usize>, contents: &mut Contents) {
    newest(&value, &mut contents.newest);
    if let Some(metadata) = value.field_mut("metadata") {
        // Often half of an object, and about who wrote it rather than what it is.
        metadata.retain(|field, _| field != "managedFields");
    }
    if contents.keep == Keep::ForRules {
        lean::lean(&mut value);
    }
    let kind = text(&value, "/kind").to_owned();
    let place = || item.map_or_else(String::new, |n| format!("items[{n}]: "));
    match Object::new(value, Arc::clone(file), item) {
        // A manifest that leaves its namespace to whoever applies it. Nothing can be said about what
        // it refers to, nor what refers to it.
        Some(object)
            if object.namespace().is_empty()
                && by_kind(object.group(), object.kind()).is_some_and(|kind| kind.namespaced) =>
        {
            let (place, name) = (place(), object.name());
            contents.problems.push(format!("{place}{kind} {name} names no namespace and was left out"));
        }
        Some(object) => contents.objects.push(object),
        None => {
            let what = if kind.is_empty() { "an object without a kind" } else { kind.as_str() };
            let place = place();
            contents.problems.push(format!("{place}{what} has no name, kind or apiVersion and was left out"));
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The fields that tell when something happened, never when something will.
const PAST: [&str; 13] = [
    "creationTimestamp",
    "eventTime",
    "finishedAt",
    "firstTimestamp",
    "lastHeartbeatTime",
    "lastProbeTime",
    "lastTimestamp",
    "lastTransitionTime",
    "lastUpdateTime",
    "renewTime",
    "startTime",
    "startedAt",
    "time",
];

/// Raises `newest` to the newest time that an object tells.
fn newest(value: &Value, newest: &mut Option<DateTime<Utc>>) {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(list) => open.extend(list),
            Value::Object(map) => {
                for (key, value) in map {
                    match value {
                        Value::String(text) if text.len() >= 20 && PAST.contains(&key) => {
                            let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
                            *newest = (*newest).max(time);
                        }
                        // The specification says what shall be, not what was.
                        Value::Array(_) | Value::Object(_) if key != "spec" && key != "data" => {
                            open.push(value);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    #[test]
    fn lists_of_every_make_give_whole_objects() {
        let file: Arc<str> = "f.yaml".into();
        let contents = objects(
            vec![
                json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRouteList", "items": [
                    {"metadata": {"name": "a", "namespace": "x", "managedFields": [{"time": "2026-01-02T00:00:00Z"}]}},
                    {"metadata": {"namespace": "x"}}]}),
                json!({"apiVersion": "v1", "kind": "List", "items": [
                    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "y"}}]}),
                json!({"apiVersion": "v1", "kind": "PodList", "items": null}),
                json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
                    "spec": {"startTime": "2030-01-01T00:00:00Z"}, "status": {"notAfter": "2031-01-01T00:00:00Z"}}),
                json!("just text"),
            ],
            &file,
            Keep::All,
        );
        let names: Vec<_> =
            contents.objects.iter().map(|o| format!("{} {}", o.kind(), o.full_name())).collect();
        assert_eq!(names, ["HTTPRoute x/a", "Pod y/p", "Node n"]);
        assert!(contents.objects[0].get("/metadata/managedFields").is_none());
        assert_eq!(contents.newest.map(|t| t.to_rfc3339()).as_deref(), Some("2026-01-02T00:00:00+00:00"));
        assert_eq!(contents.lists.len(), 3);
        assert_eq!(
            contents.problems,
            [
                "items[1]: HTTPRoute has no name, kind or apiVersion and was left out",
                "document 5: a single value stands where an object is expected"
            ]
        );
    }
}
