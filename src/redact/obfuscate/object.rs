//! Objects: the name of a field tells what its value is, where letters alone would not.

use serde_json::{Map, Value};

use super::learn::class_of;
use super::{Inner, What};

/// How deep text may hold objects that hold text.
const DEPTH: usize = 8;

impl Inner {
    /// Replaces in an object, or a list of objects.
    pub(super) fn object(&self, value: &mut Value) {
        self.value("", value, 0);
    }

    fn value(&self, key: &str, value: &mut Value, depth: usize) {
        match value {
            Value::String(text) => self.field(key, text, depth),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(key, item, depth)),
            Value::Object(map) => self.map(key, map, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn map(&self, own: &str, map: &mut Map<String, Value>, depth: usize) {
        let kind = match map.get("kind").and_then(Value::as_str) {
            Some("Namespace" | "Project") => Some(What::Namespace),
            Some("Node") => Some(What::Node),
            _ => None,
        };
        if let Some(kind) = kind {
            if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
                self.whole(kind, metadata.get_mut("name"));
            }
            self.whole(kind, map.get_mut("name"));
        }
        let of_items = match map.get("kind").and_then(Value::as_str) {
            Some("NamespaceList") => Some(What::Namespace),
            Some("NodeList") => Some(What::Node),
            _ => None,
        };
        if let (Some(kind), Some(Value::Array(items))) = (of_items, map.get_mut("items")) {
            items.iter_mut().for_each(|item| self.whole(kind, item.pointer_mut("/metadata/name")));
        }
        // `{name: POD_NAMESPACE, value: test}`, `{key: kubernetes.io/metadata.name, values: [test]}`.
        let announced = ["name", "key"].iter().find_map(|key| map.get(*key)?.as_str()).map(str::to_owned);
        if let Some(kind) = announced.as_deref().and_then(class_of) {
            self.whole(kind, map.get_mut("value"));
            if let Some(Value::Array(values)) = map.get_mut("values") {
                values.iter_mut().for_each(|value| self.whole(kind, Some(value)));
            }
        }
        let keys_are_namespaces = class_of(own) == Some(What::Namespace);
        let renamed: Vec<(String, String)> = map
            .keys()
            .filter_map(|key| {
                let named = keys_are_namespaces.then(|| self.named(What::Namespace, key)).flatten();
                let new = named.or_else(|| {
                    let new = self.text(key.as_bytes(), 0)?;
                    Some(String::from_utf8_lossy(&new).into_owned())
                })?;
                Some((key.clone(), new))
            })
            .collect();
        for (key, value) in map.iter_mut() {
            self.value(key, value, depth);
        }
        // Taken out first, so that a pseudonym that is another's original is not lost.
        let taken: Vec<(String, Value)> =
            renamed.into_iter().filter_map(|(old, new)| Some((new, map.remove(&old)?))).collect();
        map.extend(taken);
    }

    /// Replaces a name that stands alone.
    fn whole(&self, kind: What, value: Option<&mut Value>) {
        if let Some(Value::String(text)) = value {
            self.names(kind, text);
        }
    }

    /// Replaces one name, or several with commas between.
    fn names(&self, kind: What, text: &mut String) -> bool {
        if let Some(new) = self.named(kind, text) {
            *text = new;
            return true;
        }
        if kind != What::Namespace || !text.contains(',') {
            return false;
        }
        let mut changed = false;
        let parts: Vec<String> = text
            .split(',')
            .map(|part| match self.named(kind, part.trim()) {
                Some(new) => {
                    changed = true;
                    part.replace(part.trim(), &new)
                }
                None => part.to_owned(),
            })
            .collect();
        if changed {
            *text = parts.join(",");
        }
        changed
    }

    fn field(&self, key: &str, text: &mut String, depth: usize) {
        if let Some(kind) = class_of(key)
            && self.names(kind, text)
        {
            return;
        }
        let trimmed = text.trim();
        if depth < DEPTH
            && (trimmed.starts_with('{') || trimmed.starts_with('['))
            && let Ok(mut inner @ (Value::Object(_) | Value::Array(_))) =
                serde_json::from_str::<Value>(trimmed)
        {
            let before = inner.clone();
            self.value("", &mut inner, depth + 1);
            if inner != before {
                *text = inner.to_string();
            }
            return;
        }
        if let Some(new) = self.text(text.as_bytes(), 0) {
            *text = String::from_utf8_lossy(&new).into_owned();
        }
    }
}
