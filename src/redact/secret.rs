//! Secrets: never a value.
//!
//! `data` and `stringData` keep their keys; a value becomes the base64 of `N bytes long`, as `oc adm inspect`
//! writes it, so that readers of must-gathers show what they always show. What rules may know stands
//! in the annotation [`ANNOTATION`], see [`crate::model::secret_shape`]. Service account tokens, Helm
//! releases and registry credentials keep their type and the length of their values alone.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::objects::Walk;

use crate::model::broker_config;
use crate::model::secret_shape::{self, ANNOTATION, Shape};

/// Types of which nothing but the lengths is kept.
const OPAQUE_TYPES: &[&str] = &[
    "kubernetes.io/service-account-token",
    "helm.sh/release.v1",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/dockercfg",
    "bootstrap.kubernetes.io/token",
];

/// Whether this is a Secret object.
pub(super) fn is_secret(value: &Value) -> bool {
    value.get("kind").and_then(Value::as_str) == Some("Secret")
        && value.get("apiVersion").and_then(Value::as_str).is_none_or(|version| version == "v1")
}

/// Whether a map within another object is a Secret, whatever it stands in.
pub(super) fn looks_like_secret(map: &Map<String, Value>) -> bool {
    map.get("kind").and_then(Value::as_str) == Some("Secret")
        && map.get("apiVersion").and_then(Value::as_str) == Some("v1")
        && (map.contains_key("data") || map.contains_key("stringData"))
}

/// Redacts a Secret in place.
pub(super) fn redact(walk: &Walk<'_>, secret: &mut Value, depth: usize) {
    let opaque = secret.get("type").and_then(Value::as_str).is_some_and(|t| OPAQUE_TYPES.contains(&t));
    // A Secret in a last-applied annotation, or one that was redacted before, keeps its old shape.
    let known: BTreeMap<String, Shape> = secret
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(ANNOTATION))
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let annotation = |name: &str| {
        let annotations = secret.pointer("/metadata/annotations");
        annotations.and_then(|a| a.get(name)).and_then(Value::as_str).map(str::to_owned)
    };
    let mut config = annotation(broker_config::ANNOTATION).and_then(|text| sane_config(&text));
    let mut shapes = BTreeMap::new();
    let values = secret_shape::values(secret);
    for (key, value) in &values {
        if let Some(len) = said_length(value) {
            if let Some(shape) = known.get(key).filter(|shape| shape.len == len) {
                shapes.insert(key.clone(), sane(shape));
            }
            continue;
        }
        walk.inner.count(walk.file, "secret");
        if key == broker_config::KEY && broker_config::is_config_secret(secret) {
            config = Some(broker_config::project(value, &|bytes| walk.inner.token(bytes)));
        }
        if !opaque {
            shapes.insert(key.clone(), Shape::of(value, &|bytes| walk.inner.token(bytes)));
        }
    }
    for field in ["data", "stringData"] {
        let Some(Value::Object(data)) = secret.get_mut(field) else {
            // Whatever else stands there is no Secret's payload that we understand.
            if let Some(other) = secret.get_mut(field).filter(|v| !v.is_null()) {
                *other = Value::Object(Map::new());
            }
            continue;
        };
        for (key, value) in data.iter_mut() {
            let len = values.get(key).map_or(0, |v| said_length(v).unwrap_or(v.len()));
            let said = format!("{len} bytes long");
            *value = Value::String(if field == "data" { BASE64_STANDARD.encode(said) } else { said });
        }
    }
    if let Some(metadata) = secret.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(ANNOTATION);
            annotations.remove(broker_config::ANNOTATION);
        }
    }
    // The rest of the object is an object like any other, and cannot be taken for a Secret's payload.
    if let Value::Object(map) = secret {
        let payload: Vec<(String, Value)> =
            ["data", "stringData"].into_iter().filter_map(|f| Some((f.to_owned(), map.remove(f)?))).collect();
        let mut rest = Value::Object(std::mem::take(map));
        walk.value(&mut rest, depth);
        if let Value::Object(rest) = rest {
            *map = rest;
        }
        map.extend(payload);
    }
    if depth > 0 {
        return;
    }
    let mut add = |name: &str, text: String| {
        if let Some(map) = secret.as_object_mut()
            && let Some(metadata) = map.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
            && let Some(annotations) =
                metadata.entry("annotations").or_insert_with(|| json!({})).as_object_mut()
        {
            annotations.insert(name.to_owned(), Value::String(text));
        }
    };
    if !shapes.is_empty()
        && let Ok(text) = serde_json::to_string(&shapes)
    {
        add(ANNOTATION, text);
    }
    if let Some(mut config) = config {
        walk.config(&mut config);
        add(broker_config::ANNOTATION, config.to_string());
    }
}

/// A projection that came with the input, in the form that we know and no other.
fn sane_config(text: &str) -> Option<Value> {
    let mut config: broker_config::BrokerConfig = serde_json::from_str(text).ok()?;
    let mut shapes: Vec<&mut Shape> = config.gateway_ca.iter_mut().collect();
    for server in &mut config.servers {
        shapes.extend(server.credential.iter_mut().chain(server.ca_cert.iter_mut()));
        if let Some(auth) = &mut server.auth {
            shapes.extend(
                auth.token.iter_mut().chain(auth.username.iter_mut()).chain(auth.password.iter_mut()),
            );
        }
    }
    for shape in shapes {
        *shape = sane(shape);
    }
    let mut config = serde_json::to_value(config).ok()?;
    // What the input did not say is not said now: twice is once.
    keep_said(&mut config, &serde_json::from_str(text).ok()?);
    Some(config)
}

/// Keeps the fields of a projection that the input has.
fn keep_said(config: &mut Value, input: &Value) {
    match (config, input) {
        (Value::Object(config), Value::Object(input)) => {
            config.retain(|key, _| input.contains_key(key));
            for (key, value) in config.iter_mut() {
                keep_said(value, &input[key.as_str()]);
            }
        }
        (Value::Array(config), Value::Array(input)) => {
            config.iter_mut().zip(input).for_each(|(config, input)| keep_said(config, input));
        }
        _ => {}
    }
}

/// The length that a redacted value tells.
fn said_length(value: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(value).ok()?.strip_suffix(" bytes long")?;
    (digits.len() <= 10 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// A shape that came with the input, without anything that could carry a value.
fn sane(shape: &Shape) -> Shape {
    let token = |token: &Option<String>| {
        token.clone().filter(|t| t.len() <= 16 && t.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let word =
        |text: &String| text.len() <= 40 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b' ');
    Shape {
        token: token(&shape.token),
        bare: token(&shape.bare),
        scheme: shape.scheme.clone().filter(|s| s.len() <= 12 && word(s)),
        pem: shape.pem.iter().filter(|label| word(label)).cloned().collect(),
        public_keys: shape.public_keys.iter().filter_map(|key| token(&Some(key.clone()))).collect(),
        ..shape.clone()
    }
}
