//! The structural redactor: what an object's fields mean decides before any pattern does.
//!
//! It knows Secrets (never their values), pairs such as environment variables and headers, command
//! lines, annotations that hold whole objects, and fields whose name announces a secret; every
//! string that is left, and every key of a map, then goes through the text engine.

use serde_json::{Map, Value};

use super::names::{self, Class, Place};
use super::placeholder::{Kind, Style};
use super::{Inner, secret, text};

/// How deep objects may hold text that holds objects.
const MAX_DEPTH: usize = 6;

/// Annotations that are a copy of a whole object.
const COPIES: &[&str] =
    &["kubectl.kubernetes.io/last-applied-configuration", "objectset.rio.cattle.io/applied"];

/// A walk through one object.
pub(super) struct Walk<'a> {
    pub(super) inner: &'a Inner,
    pub(super) file: &'a str,
}

impl Walk<'_> {
    /// Redacts an object, or a list of objects.
    pub(super) fn object(&self, value: &mut Value, depth: usize) {
        if let Some(Value::Array(items)) = value.get_mut("items") {
            for item in items {
                // Items of a typed list may lack their kind; a Secret is one nevertheless.
                self.object(item, depth + 1);
            }
        }
        let list_of_secrets = value.get("kind").and_then(Value::as_str) == Some("SecretList");
        if list_of_secrets && let Some(Value::Array(items)) = value.get_mut("items") {
            for item in items {
                secret::redact(self, item, depth);
            }
        }
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            // Who wrote which field helps nobody here, and is a third of many objects.
            metadata.remove("managedFields");
        }
        self.inner.rules.fields(value, &mut |field| self.custom(field));
        if secret::is_secret(value) {
            secret::redact(self, value, depth);
            return;
        }
        self.value(value, depth);
    }

    /// Redacts a value as a whole, because a rule of the user names it.
    fn custom(&self, value: &mut Value) {
        let mut text = match value {
            Value::Null => return,
            Value::String(text) => std::mem::take(text),
            ref other => other.to_string(),
        };
        self.secret_string(&mut text, Kind::Custom, "user:fields");
        *value = Value::String(text);
    }

    /// Redacts whatever a value holds.
    pub(super) fn value(&self, value: &mut Value, depth: usize) {
        match value {
            Value::String(text) => self.string(text, depth),
            Value::Array(items) => self.array(items, depth),
            Value::Object(map) => self.map(map, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The projection of a broker's configuration: its strings are text, its shapes stay.
    pub(super) fn config(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(redacted) = self.inner.text(self.file, text.as_bytes()) {
                    *text = String::from_utf8_lossy(&redacted).into_owned();
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.config(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.config(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn array(&self, items: &mut [Value], depth: usize) {
        // `["--token", "x"]`: the value of a flag stands in the next item.
        let mut sensitive = None;
        for item in items {
            if let (Some(kind), Value::String(text)) = (sensitive.take(), &mut *item)
                && !text.starts_with('-')
            {
                self.secret_string(text, kind, "argument");
                continue;
            }
            if let Value::String(text) = &*item
                && text.starts_with('-')
                && !text.contains(['=', ' '])
                && let Some(Class::Secret(kind) | Class::Header(kind)) =
                    names::classify(text.trim_start_matches('-').as_bytes(), Place::Env)
            {
                sensitive = Some(kind);
            }
            self.value(item, depth + 1);
        }
    }

    fn map(&self, map: &mut Map<String, Value>, depth: usize) {
        if secret::looks_like_secret(map) {
            let mut value = Value::Object(std::mem::take(map));
            secret::redact(self, &mut value, depth);
            if let Value::Object(redacted) = value {
                *map = redacted;
            }
            return;
        }
        self.pair(map);
        for (key, value) in map.iter_mut() {
            self.field(key, value, depth);
        }
        self.keys(map);
    }

    /// `{name: X, value: Y}` and its relatives: environment variables, headers, parameters.
    fn pair(&self, map: &mut Map<String, Value>) {
        let name = ["name", "key", "header", "headerName", "header_name", "Name", "Key"]
            .iter()
            .find_map(|key| map.get(*key).and_then(Value::as_str));
        let Some(name) = name else { return };
        let shouting = !name.bytes().any(|b| b.is_ascii_lowercase());
        let class = names::classify(name.as_bytes(), if shouting { Place::Env } else { Place::Field });
        let Some(Class::Secret(kind) | Class::Header(kind)) = class else { return };
        for key in ["value", "raw_value", "rawValue", "Value"] {
            match map.get_mut(key) {
                Some(Value::String(text)) => self.secret_string(text, kind, "pair"),
                Some(Value::Object(inner)) if key == "value" => {
                    // Authorino: `{name: …, value: {plain: …}}`.
                    if let Some(Value::String(text)) = inner.get_mut("plain") {
                        self.secret_string(text, kind, "pair");
                    }
                }
                _ => {}
            }
        }
    }

    fn field(&self, key: &str, value: &mut Value, depth: usize) {
        if COPIES.contains(&key)
            && let Value::String(text) = value
        {
            self.copy(text, depth);
            return;
        }
        if self.inner.rules.names(key) {
            self.custom(value);
            return;
        }
        if key == "openshift.io/token-secret.value"
            && let Value::String(text) = value
        {
            self.secret_string(text, Kind::Token, "annotation");
            return;
        }
        let shouting = !key.bytes().any(|b| b.is_ascii_lowercase());
        let place = if shouting { Place::Env } else { Place::Field };
        match (names::classify(key.as_bytes(), place), &mut *value) {
            (Some(Class::Secret(kind) | Class::Header(kind)), Value::String(text)) => {
                self.secret_string(text, kind, "field");
                return;
            }
            (Some(Class::Secret(kind) | Class::Header(kind)), Value::Array(items)) => {
                for item in items.iter_mut() {
                    if let Value::String(text) = item {
                        self.secret_string(text, kind, "field");
                    }
                }
            }
            (Some(Class::Secret(Kind::Password)), Value::Number(number)) => {
                let mut text = number.to_string();
                self.secret_string(&mut text, Kind::Password, "field");
                *value = Value::String(text);
                return;
            }
            (Some(Class::Header(kind)), Value::Object(inner)) => {
                // Kuadrant: `headers: {authorization: {plain: {value: …}}}`, `{value: …}`.
                for pointer in ["value", "plain"] {
                    match inner.get_mut(pointer) {
                        Some(Value::String(text)) => self.secret_string(text, kind, "field"),
                        Some(Value::Object(plain)) => {
                            if let Some(Value::String(text)) = plain.get_mut("value") {
                                self.secret_string(text, kind, "field");
                            }
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        self.value(value, depth + 1);
    }

    /// A copy of an object as JSON text: treated as what it is.
    fn copy(&self, text: &mut String, depth: usize) {
        if text.is_empty() {
            return;
        }
        match serde_json::from_str::<Value>(text) {
            Ok(mut value) if depth < MAX_DEPTH => {
                self.object(&mut value, depth + 1);
                *text = value.to_string();
            }
            _ => self.string(text, MAX_DEPTH),
        }
    }

    /// A string: objects and lists in it are walked, everything else is text.
    pub(super) fn string(&self, text: &mut String, depth: usize) {
        if text.len() < 4 {
            return;
        }
        let trimmed = text.trim();
        let json = (trimmed.starts_with('{') && trimmed.ends_with('}'))
            || (trimmed.starts_with('[') && trimmed.ends_with(']'));
        if json
            && depth < MAX_DEPTH
            && let Ok(mut value @ (Value::Object(_) | Value::Array(_))) =
                serde_json::from_str::<Value>(trimmed)
        {
            let before = value.clone();
            self.object(&mut value, depth + 1);
            if value != before {
                *text = value.to_string();
            }
            return;
        }
        if let Some(redacted) = self.inner.text(self.file, text.as_bytes()) {
            *text = String::from_utf8_lossy(&redacted).into_owned();
        }
    }

    /// A string that is a secret as a whole, but for a scheme word, a URL's harmless parts and what
    /// only refers to a secret.
    pub(super) fn secret_string(&self, text: &mut String, kind: Kind, rule: &'static str) {
        if text::harmless(text.as_bytes(), kind) || super::is_placeholder(text) {
            return;
        }
        let skip = text::scheme_word(text.as_bytes()).unwrap_or(0);
        let (scheme, rest) = text.split_at(skip);
        if super::is_placeholder(rest) || text::harmless(rest.as_bytes(), kind) {
            return;
        }
        let shown = self.inner.placeholder(kind, Style::Plain, rest.as_bytes());
        let redacted = format!("{scheme}{shown}");
        self.inner.count(self.file, rule);
        *text = redacted;
    }

    /// Keys are text too.
    fn keys(&self, map: &mut Map<String, Value>) {
        let changed: Vec<(String, String)> = map
            .keys()
            .filter(|key| key.len() >= 6)
            .filter_map(|key| {
                let redacted = self.inner.text(self.file, key.as_bytes())?;
                Some((key.clone(), String::from_utf8_lossy(&redacted).into_owned()))
            })
            .collect();
        for (old, new) in changed {
            if let Some(value) = map.remove(&old) {
                map.insert(new, value);
            }
        }
    }
}
