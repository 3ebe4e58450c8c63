//! The structural redactor: what an object's fields mean decides before any pattern does.
//!
//! It knows Secrets (never their values), pairs such as environment variables and headers, command
//! lines, annotations that hold whole objects, and fields whose name announces a secret; every
//! string that is left, and every key of a map, then goes through the text engine.

use serde_json::{Map, Value};

use super::names::{self, Class, Place};
use super::placeholder::{Kind, Style};
use super::{Inner, secret, words};

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
                self.object(item, depth);
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
        if value.get("kind").and_then(Value::as_str) == Some("Route")
            && let Some(Value::String(key)) = value.pointer_mut("/spec/tls/key")
        {
            self.secret_string(key, Kind::PrivateKey, "route-key");
        }
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
            self.value(item, depth);
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
        self.key_material(map);
        for (key, value) in map.iter_mut() {
            self.field(key, value, depth);
        }
        self.keys(map);
    }

    /// `{name: X, value: Y}` and its relatives: environment variables, headers, parameters.
    fn pair(&self, map: &mut Map<String, Value>) {
        // A variable whose name says nothing can hold a key all the same.
        if map.contains_key("name")
            && map.len() <= 2
            && let Some(Value::String(text)) = map.get_mut("value")
            && looks_like_a_key(text)
        {
            self.secret_string(text, Kind::Env, "random-value");
        }
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

    /// The secret members of a JSON web key (`d`, `k` and the primes); the public ones stay.
    fn key_material(&self, map: &mut Map<String, Value>) {
        if !map.contains_key("kty") {
            return;
        }
        for key in ["d", "k", "p", "q", "dp", "dq", "qi", "oth"] {
            if let Some(Value::String(text)) = map.get_mut(key) {
                self.secret_string(text, Kind::PrivateKey, "web-key");
            }
        }
    }

    /// Where a field that announces a secret holds an object, the strings in it that are the value: Envoy's
    /// data sources, Authorino's `plain`.
    fn sources(&self, value: &mut Value, kind: Kind) {
        let Value::Object(map) = value else { return };
        for (key, value) in map.iter_mut() {
            match (key.as_str(), value) {
                (
                    "inline_string" | "inlineString" | "inline_bytes" | "inlineBytes" | "value" | "plain"
                    | "literal",
                    Value::String(text),
                ) => {
                    self.secret_string(text, kind, "field");
                }
                ("value" | "plain", inner) => self.sources(inner, kind),
                _ => {}
            }
        }
    }

    fn field(&self, key: &str, value: &mut Value, depth: usize) {
        if let Value::String(text) = value {
            let rule = match key {
                // Program text: what secrets are in it cannot be told.
                "rego" | "allValues" => Some(Kind::Code),
                "inline_code" | "inlineCode" => Some(Kind::Code),
                "client-key-data" | "clientKeyData" | "private_key_id" => Some(Kind::Key),
                "auth" if base64_login(text) => Some(Kind::Authorization),
                _ => None,
            };
            if let Some(kind) = rule {
                self.secret_string(text, kind, "field");
                return;
            }
        }
        // Program text again: Envoy's wasm modules and Lua scripts, where they are sent along.
        let program = match key {
            "vm_config" | "vmConfig" => value.pointer_mut("/code/local"),
            "default_source_code" | "defaultSourceCode" => Some(&mut *value),
            _ => None,
        };
        if let Some(program) = program {
            self.sources(program, Kind::Code);
        }
        // `metadata.annotations` name Secrets (`…/auth-secret: name`) more often than they hold them.
        if let Value::String(text) = value
            && key.contains('/')
            && (key.ends_with("secret") || key.ends_with("secret-name"))
            && is_object_name(text)
        {
            return;
        }

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
            (Some(Class::Secret(kind) | Class::Header(kind)), inner @ Value::Object(_)) => {
                // Kuadrant: `headers: {authorization: {plain: {value: …}}}`, `{value: …}`.
                self.sources(inner, kind);
            }
            _ => {}
        }
        self.value(value, depth);
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
        if words::harmless(text.as_bytes(), kind) || super::is_placeholder(text) {
            return;
        }
        let skip = words::scheme_word(text.as_bytes()).unwrap_or(0);
        let (scheme, rest) = text.split_at(skip);
        if super::is_placeholder(rest) || words::harmless(rest.as_bytes(), kind) {
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

/// Whether a value is one that a machine made up: mixed cases and digits without any word in them.
fn looks_like_a_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    let allowed =
        bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'_' | b'-'));
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    let upper = bytes.iter().filter(|b| b.is_ascii_uppercase()).count();
    let lower = bytes.iter().filter(|b| b.is_ascii_lowercase()).count();
    let word = bytes.split(|b| !b.is_ascii_lowercase()).map(<[u8]>::len).max().unwrap_or(0);
    (20..=512).contains(&bytes.len()) && allowed && digits >= 3 && upper >= 3 && lower >= 3 && word < 7
}

/// Whether this is base64 of `user:password`, as registry logins are written.
fn base64_login(text: &str) -> bool {
    super::base64::decode(text.as_bytes())
        .is_some_and(|login| login.contains(&b':') && login.iter().all(|b| (32..127).contains(b)))
}

/// Whether this can be the name of an object.
fn is_object_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'/'))
        && text.bytes().filter(u8::is_ascii_digit).count() * 3 <= text.len()
}
