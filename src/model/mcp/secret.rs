//! What the controller demands of a Secret: existence, its label, a key.

use super::SECRET_LABEL;
use crate::model::json::{Map, Value};
use crate::model::{Bundle, Missing, Object, Seen, kinds, secret_shape};

/// What is wrong with a Secret.
#[derive(Debug, Clone)]
pub enum SecretFault<'a> {
    /// It does not exist.
    Missing,
    /// The label `mcp.kuadrant.io/secret` is not `"true"`: the controller does not see the Secret.
    Label(&'a Object),
    /// The key is not among its keys.
    Key(&'a Object, Vec<&'a str>),
    /// The value of the key cannot be used, and why.
    Value(&'a Object, String),
}

/// What a value of a Secret must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Anything, also nothing.
    Any,
    /// Not empty.
    Filled,
    /// PEM certificates of CAs, of at most this many bytes.
    Authorities(usize),
}

/// Why a value cannot be used, as far as its shape tells.
fn value_fault(secret: &Object, key: &str, content: Content) -> Option<String> {
    let shapes = secret_shape::shapes(&secret.value().to_json());
    let shape = shapes.get(key).filter(|_| content != Content::Any)?;
    match content {
        _ if shape.is_empty() => Some("is empty".to_owned()),
        Content::Authorities(most) if shape.len > most => {
            Some(format!("has {} bytes, at most {most} are read", shape.len))
        }
        // Only the length is known of a value that another tool has redacted.
        Content::Authorities(_) if shape.printable.is_some() && shape.certificates.is_empty() => {
            Some("holds no PEM certificate".to_owned())
        }
        Content::Authorities(_) => {
            let leaf = shape.certificates.iter().find(|certificate| !certificate.is_ca)?;
            Some(format!("holds the certificate of {}, which is no CA", leaf.subject))
        }
        Content::Any | Content::Filled => None,
    }
}

/// The key names of a Secret, sorted.
#[must_use]
pub fn keys(secret: &Object) -> Vec<&str> {
    let mut keys: Vec<&str> = ["/data", "/stringData"]
        .iter()
        .filter_map(|pointer| secret.get(pointer).and_then(Value::as_object))
        .flat_map(Map::keys)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// All that is wrong with a Secret, in the order in which the controller finds it.
///
/// # Errors
/// What is missing, when the Secrets of the namespace were not collected.
pub fn check<'a>(
    bundle: &'a Bundle,
    namespace: &str,
    name: &str,
    labelled: bool,
    key: Option<(&str, Content)>,
) -> Result<Vec<SecretFault<'a>>, Missing> {
    let secret = match bundle.find(&kinds::SECRET, namespace, name) {
        Seen::Found(secret) => secret,
        Seen::Absent => return Ok(vec![SecretFault::Missing]),
        Seen::Unknown(missing) => return Err(missing),
    };
    let mut faults = Vec::new();
    if labelled && secret.label(SECRET_LABEL) != Some("true") {
        faults.push(SecretFault::Label(secret));
    }
    let present = keys(secret);
    match key {
        Some((key, _)) if !present.contains(&key) => faults.push(SecretFault::Key(secret, present)),
        Some((key, content)) => {
            faults.extend(value_fault(secret, key, content).map(|why| SecretFault::Value(secret, why)));
        }
        None => {}
    }
    Ok(faults)
}
