//! A thin, read-only view over one Kubernetes object.
//!
//! Objects stay JSON ([`Value`]): unknown fields survive, and versions of the same kind
//! differ less than their generated types would make one believe. Fields are addressed by JSON
//! pointer (`/spec/targetRef/name`).

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::model::json::{Map, Value};
use crate::report::{Evidence, ObjectRef};

/// One object and the place in the bundle where it stands.
#[derive(Debug, Clone)]
pub struct Object {
    value: Value,
    file: Arc<str>,
    /// The position in the `items` of the file, when the file is a list.
    item: Option<usize>,
}

/// One condition of a status.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'a> {
    /// The condition itself.
    pub value: &'a Value,
    /// `Ready`, `Accepted`, …
    pub kind: &'a str,
    /// `True`, `False`, `Unknown` or whatever else the controller wrote.
    pub status: &'a str,
    /// The reason, empty when there is none.
    pub reason: &'a str,
    /// The message, empty when there is none.
    pub message: &'a str,
    /// The generation that the controller had seen, if it says so.
    pub observed_generation: Option<i64>,
    /// The position in the list of conditions.
    pub index: usize,
}

impl Condition<'_> {
    /// Whether the status is `True`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// Whether the status is `False`.
    #[must_use]
    pub fn is_false(&self) -> bool {
        self.status == "False"
    }
}

impl Object {
    /// Takes a JSON value as an object of this file. `None` when it has no `kind`, `apiVersion`
    /// or name, that is, when it is no Kubernetes object.
    #[must_use]
    pub fn new(value: impl Into<Value>, file: Arc<str>, item: Option<usize>) -> Option<Self> {
        let value = value.into();
        let has =
            |pointer: &str| value.pointer(pointer).and_then(Value::as_str).is_some_and(|s| !s.is_empty());
        (has("/kind") && has("/apiVersion") && has("/metadata/name")).then_some(Self { value, file, item })
    }

    /// The whole object.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The file of the bundle that holds it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Its position in the `items` of that file, when the file is a list.
    #[must_use]
    pub fn item(&self) -> Option<usize> {
        self.item
    }

    /// `gateway.networking.k8s.io/v1`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.str("/apiVersion")
    }

    /// The API group, empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// The version without the group.
    #[must_use]
    pub fn version(&self) -> &str {
        self.api_version().rsplit('/').next().unwrap_or_default()
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.str("/kind")
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.str("/metadata/name")
    }

    /// The namespace, empty for a cluster-scoped object.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.str("/metadata/namespace")
    }

    /// `namespace/name`, or the name alone.
    #[must_use]
    pub fn full_name(&self) -> String {
        if self.namespace().is_empty() {
            self.name().to_owned()
        } else {
            format!("{}/{}", self.namespace(), self.name())
        }
    }

    /// The UID, empty when the bundle does not have it.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.str("/metadata/uid")
    }

    /// The generation of the spec, if the kind has one.
    #[must_use]
    pub fn generation(&self) -> Option<i64> {
        self.get("/metadata/generation").and_then(Value::as_i64)
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> Option<DateTime<Utc>> {
        self.time("/metadata/creationTimestamp")
    }

    /// Whether it was written by hand and never stored by an API server, which gives every object a
    /// UID, a version and a time of creation.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        ["/metadata/uid", "/metadata/resourceVersion", "/metadata/creationTimestamp", "/status"]
            .iter()
            .all(|field| self.get(field).is_none_or(Value::is_null))
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.get("/metadata/deletionTimestamp").is_some_and(|v| !v.is_null())
    }

    /// A label's value.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().and_then(|labels| labels.get(key)).and_then(Value::as_str)
    }

    /// All labels.
    #[must_use]
    pub fn labels(&self) -> Option<&Map> {
        self.get("/metadata/labels").and_then(Value::as_object)
    }

    /// An annotation's value.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.get("/metadata/annotations")?.get(key)?.as_str()
    }

    /// The value at a JSON pointer.
    #[must_use]
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer)
    }

    /// The string at a JSON pointer, empty when it is absent or no string.
    #[must_use]
    pub fn str(&self, pointer: &str) -> &str {
        self.get(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The integer at a JSON pointer.
    #[must_use]
    pub fn int(&self, pointer: &str) -> Option<i64> {
        self.get(pointer).and_then(Value::as_i64)
    }

    /// The array at a JSON pointer, empty when it is absent or no array.
    #[must_use]
    pub fn array(&self, pointer: &str) -> &[Value] {
        self.get(pointer).and_then(Value::as_array).unwrap_or_default()
    }

    /// The RFC 3339 time at a JSON pointer.
    #[must_use]
    pub fn time(&self, pointer: &str) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(self.str(pointer)).ok().map(|t| t.with_timezone(&Utc))
    }

    /// The conditions of `/status/conditions`.
    pub fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        conditions(self.get("/status/conditions"))
    }

    /// The condition of this type of `/status/conditions`.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<Condition<'_>> {
        self.conditions().find(|c| c.kind == kind)
    }

    /// Names the object for a report.
    #[must_use]
    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version().to_owned(),
            kind: self.kind().to_owned(),
            namespace: Some(self.namespace()).filter(|ns| !ns.is_empty()).map(str::to_owned),
            name: self.name().to_owned(),
        }
    }

    /// Evidence: the field at this JSON pointer with its value, or that it is absent. Of a Secret's data the keys at
    /// most: its values stay out of the report, whatever the bundle holds.
    #[must_use]
    pub fn evidence(&self, pointer: &str) -> Evidence {
        let of_data = pointer.strip_prefix("/data").or_else(|| pointer.strip_prefix("/stringData"));
        if self.kind() == "Secret" && of_data.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return match self.get(pointer) {
                Some(Value::Object(data)) => {
                    let keys: Vec<&str> = data.iter().map(|(key, _)| key).collect();
                    self.evidence_of(pointer, format!("keys: {}", keys.join(", ")))
                }
                Some(_) => self.evidence_of(pointer, "(a value)"),
                None => {
                    Evidence { value: None, note: Some("absent".to_owned()), ..self.evidence_of(pointer, "") }
                }
            };
        }
        let value = match self.get(pointer) {
            Some(Value::String(text)) => Some(text.to_string()),
            Some(value) => Some(
                container_state(pointer, value)
                    .or_else(|| condition_text(pointer, value))
                    .unwrap_or_else(|| value.to_string()),
            ),
            None => None,
        };
        Evidence {
            file: self.file.to_string(),
            path: Some(self.field_path(pointer)),
            line: None,
            note: value.is_none().then(|| "absent".to_owned()),
            value,
        }
    }

    /// Evidence: the field at this JSON pointer, shown by what is said of it in place of its value.
    #[must_use]
    pub fn evidence_of(&self, pointer: &str, said: impl Into<String>) -> Evidence {
        Evidence {
            file: self.file.to_string(),
            path: Some(self.field_path(pointer)),
            line: None,
            value: Some(said.into()),
            note: None,
        }
    }

    /// The path of a field in the file of the object, for people: `items[3].spec.hostnames[0]`.
    #[must_use]
    pub fn field_path(&self, pointer: &str) -> String {
        let path = field_path(pointer);
        match self.item {
            Some(index) if path.is_empty() || path.starts_with('[') => format!("items[{index}]{path}"),
            Some(index) => format!("items[{index}].{path}"),
            None => path,
        }
    }
}

/// The field path for people, `spec.hostnames[0]`, of a JSON pointer.
#[must_use]
pub fn field_path(pointer: &str) -> String {
    let mut path = String::new();
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit()) {
            path.push_str(&format!("[{token}]"));
        } else if token.contains(['.', '/', '[', ' ']) {
            path.push_str(&format!("['{token}']"));
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&token);
        }
    }
    path
}

/// The state of a container in words: `waiting: CrashLoopBackOff, back-off 5m0s …`. `None` for other fields, and for
/// a state of another form.
fn container_state(pointer: &str, value: &Value) -> Option<String> {
    const STATES: [&str; 3] = ["waiting", "terminated", "running"];
    let (_, field) = pointer.rsplit_once('/')?;
    let map = value.as_object()?;
    let (name, inner) = match field {
        "state" | "lastState" if map.len() == 1 => map.iter().find(|(name, _)| STATES.contains(name))?,
        _ if STATES.contains(&field) && pointer.contains("tate/") => (field, value),
        _ => return None,
    };
    let text = |key: &str| inner.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let number = |key: &str| inner.get(key).and_then(Value::as_i64).filter(|number| *number != 0);
    let mut parts: Vec<String> = text("reason").map(str::to_owned).into_iter().collect();
    parts.extend(number("exitCode").map(|code| format!("exit code {code}")));
    parts.extend(number("signal").map(|signal| format!("signal {signal}")));
    parts.extend(text("startedAt").filter(|_| name == "running").map(|time| format!("since {time}")));
    parts.extend(text("finishedAt").map(|time| format!("at {time}")));
    parts.extend(text("message").map(|message| message.trim().to_owned()));
    Some(if parts.is_empty() { name.to_owned() } else { format!("{name}: {}", parts.join(", ")) })
}

/// A condition in words: `Ready=False DeploymentNotReady: broker-router deployment is not ready`. `None` for other fields.
fn condition_text(pointer: &str, value: &Value) -> Option<String> {
    let (list, index) = pointer.rsplit_once('/')?;
    if !list.ends_with("/conditions") || !index.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut words = format!("{}={}", value.get("type")?.as_str()?, text("status"));
    for (before, said) in [(" ", text("reason")), (": ", text("message").trim())] {
        if !said.is_empty() {
            words.push_str(before);
            words.push_str(said);
        }
    }
    Some(words)
}

/// Reads a list of conditions, wherever it stands (a status, a listener, a route's parent).
pub fn conditions(list: Option<&Value>) -> impl Iterator<Item = Condition<'_>> {
    list.and_then(Value::as_array).unwrap_or_default().iter().enumerate().filter_map(|(index, value)| {
        let field = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        Some(Condition {
            value,
            kind: value.get("type")?.as_str()?,
            status: field("status"),
            reason: field("reason"),
            message: field("message"),
            observed_generation: value.get("observedGeneration").and_then(Value::as_i64),
            index,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    #[test]
    fn conditions_are_shown_in_words() {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "reason": "NotReady", "message": "it waits", "observedGeneration": 1},
            {"type": "Done", "status": "True"}, {"kind": "other"}]}});
        let object = Object::new(object, "f".into(), None).expect("an object");
        for (field, expected) in [
            ("0", "Ready=False NotReady: it waits"),
            ("0/reason", "NotReady"),
            ("1", "Done=True"),
            ("2", r#"{"kind":"other"}"#),
        ] {
            let evidence = object.evidence(&format!("/status/conditions/{field}"));
            assert_eq!(evidence.value.as_deref(), Some(expected), "{field}");
        }
    }

    #[test]
    fn states_of_containers_are_shown_in_words() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"containerStatuses": [
            {"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
             "lastState": {"terminated": {"reason": "Error", "exitCode": 2, "finishedAt": "2026-01-01T00:00:00Z"}}},
            {"state": {}, "lastState": {"new": {}}, "ready": true}]}});
        let pod = Object::new(pod, "f".into(), None).expect("an object");
        for (field, expected) in [
            ("0/state", "waiting: CrashLoopBackOff, back-off 5m0s"),
            ("0/state/waiting", "waiting: CrashLoopBackOff, back-off 5m0s"),
            ("0/state/waiting/reason", "CrashLoopBackOff"),
            ("0/lastState", "terminated: Error, exit code 2, at 2026-01-01T00:00:00Z"),
            ("1/state", "{}"),
            ("1/lastState", r#"{"new":{}}"#),
            ("1/ready", "true"),
        ] {
            let evidence = pod.evidence(&format!("/status/containerStatuses/{field}"));
            assert_eq!(evidence.value.as_deref(), Some(expected), "{field}");
        }
    }
}
