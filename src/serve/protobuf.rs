//! As much of Kubernetes' protobuf as `kubectl` posts: the reviews of one's own rights.
//!
//! Clients send built-in kinds in protobuf by default and take JSON back. Source of the numbers:
//! `generated.proto` of `k8s.io/apimachinery/pkg/runtime` and `k8s.io/api/authorization/v1`.

use serde_json::{Map, Value, json};

/// What every protobuf message of Kubernetes begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The fields of a message that hold bytes: number and content. `None` for anything malformed.
fn fields(mut message: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                varint(&mut message)?;
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                fields.push((key >> 3, message.get(..length)?));
                message = &message[length..];
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(fields)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn field(message: &[u8], number: u64) -> Option<&[u8]> {
    fields(message)?.into_iter().rev().find(|(n, _)| *n == number).map(|(_, content)| content)
}

/// The strings of a message, by the names that they have in JSON.
fn strings(message: &[u8], names: &[(u64, &str)]) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    for (number, content) in fields(message)? {
        if let Some((_, name)) = names.iter().find(|(n, _)| *n == number) {
            map.insert((*name).to_owned(), std::str::from_utf8(content).ok()?.into());
        }
    }
    Some(map)
}

/// Reads a review in protobuf as the JSON that it stands for; `None` when it is malformed.
pub(super) fn review(body: &[u8], plural: &str) -> Option<Value> {
    let raw = field(body.strip_prefix(MAGIC)?, 2)?;
    let Some(spec) = field(raw, 2) else { return Some(json!({})) };
    let mut fields = Map::new();
    if plural == "selfsubjectrulesreviews" {
        return Some(json!({"spec": strings(spec, &[(1, "namespace")])?}));
    }
    if let Some(attributes) = field(spec, 1) {
        let names = [
            (1, "namespace"),
            (2, "verb"),
            (3, "group"),
            (4, "version"),
            (5, "resource"),
            (6, "subresource"),
            (7, "name"),
        ];
        fields.insert("resourceAttributes".to_owned(), strings(attributes, &names)?.into());
    }
    if let Some(attributes) = field(spec, 2) {
        fields.insert(
            "nonResourceAttributes".to_owned(),
            strings(attributes, &[(1, "path"), (2, "verb")])?.into(),
        );
    }
    Some(json!({"spec": fields}))
}

/// Whether a body is in protobuf.
pub(super) fn is(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        [&[number << 3 | 2, length], content].concat()
    }

    #[test]
    fn an_access_review_is_read() {
        let attributes = [bytes(1, b"team"), bytes(2, b"list"), bytes(5, b"pods")].concat();
        let spec = bytes(1, &attributes);
        let raw = [bytes(1, b""), bytes(2, &spec)].concat();
        let body = [MAGIC, &bytes(1, b""), &bytes(2, &raw)].concat();
        let expected = json!({"namespace": "team", "verb": "list", "resource": "pods"});
        assert_eq!(
            review(&body, "selfsubjectaccessreviews"),
            Some(json!({"spec": {"resourceAttributes": expected}}))
        );
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = review(&[MAGIC, &body].concat(), "selfsubjectaccessreviews");
        }
    }
}
