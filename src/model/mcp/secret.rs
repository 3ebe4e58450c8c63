//! What the controller demands of a Secret: existence, its label, a key.

use super::SECRET_LABEL;
use crate::model::json::{Map, Value};
use crate::model::{Bundle, Missing, Object, Seen, kinds};

/// What is wrong with a Secret.
#[derive(Debug, Clone)]
pub enum SecretFault<'a> {
    /// It does not exist.
    Missing,
    /// The label `mcp.kuadrant.io/secret` is not `"true"`: the controller does not see the Secret.
    Label(&'a Object),
    /// The key is not among its keys.
    Key(&'a Object, Vec<&'a str>),
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
    key: Option<&str>,
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
    if let Some(key) = key
        && !present.contains(&key)
    {
        faults.push(SecretFault::Key(secret, present));
    }
    Ok(faults)
}
