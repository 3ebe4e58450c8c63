//! ReferenceGrants: whether a reference into another namespace is allowed, and which field of
//! which grant is off when it is not.

use std::collections::HashMap;

use crate::model::json::Value;
use crate::model::{Bundle, Missing, Object, kinds};

/// A reference from one namespace into another.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    /// The group of the object that refers.
    pub from_group: &'a str,
    /// Its kind.
    pub from_kind: &'a str,
    /// Its namespace.
    pub from_namespace: &'a str,
    /// The group of the object that is referred to, empty for core.
    pub to_group: &'a str,
    /// Its kind.
    pub to_kind: &'a str,
    /// Its namespace: a grant must stand here.
    pub to_namespace: &'a str,
    /// Its name.
    pub to_name: &'a str,
}

/// A grant that almost allows a reference.
#[derive(Debug, Clone)]
pub struct NearMiss<'a> {
    /// The grant.
    pub grant: &'a Object,
    /// The JSON pointer of the field that is off.
    pub pointer: String,
    /// What is off, in words.
    pub why: String,
}

/// Whether a reference is allowed.
#[derive(Debug, Clone)]
pub enum Granted<'a> {
    /// This grant allows it, with its entry of this position in `from`.
    Yes(&'a Object, usize),
    /// No grant does; these come close.
    No(Vec<NearMiss<'a>>),
    /// The grants were not collected.
    Unknown(Missing),
}

/// How many near misses are worth naming.
const NEAR: usize = 5;

/// The ReferenceGrants of a bundle, indexed by what they allow.
#[derive(Debug, Default)]
pub struct Grants<'a> {
    by_from: HashMap<(&'a str, &'a str), Vec<&'a Object>>,
}

impl<'a> Grants<'a> {
    /// Indexes the grants.
    #[must_use]
    pub fn new(bundle: &'a Bundle) -> Self {
        let mut by_from: HashMap<(&str, &str), Vec<&Object>> = HashMap::new();
        for grant in bundle.list(&kinds::REFERENCE_GRANT) {
            for from in grant.array("/spec/from") {
                let namespace = text(from, "namespace");
                let list = by_from.entry((grant.namespace(), namespace)).or_default();
                if !list.last().is_some_and(|last| std::ptr::eq(*last, grant)) {
                    list.push(grant);
                }
            }
        }
        Self { by_from }
    }

    /// Whether a reference is allowed. References within a namespace always are: do not ask.
    #[must_use]
    pub fn check(&self, bundle: &'a Bundle, reference: &Reference<'_>) -> Granted<'a> {
        let candidates = self.by_from.get(&(reference.to_namespace, reference.from_namespace));
        for grant in candidates.into_iter().flatten() {
            if let (Some(from), true) = (allowing_from(grant, reference), allows_to(grant, reference)) {
                return Granted::Yes(grant, from);
            }
        }
        if let Err(missing) = bundle.collected(&kinds::REFERENCE_GRANT, Some(reference.to_namespace)) {
            return Granted::Unknown(missing);
        }
        Granted::No(near_misses(bundle, reference))
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn from_fields(reference: &Reference<'_>) -> [(&'static str, String); 3] {
    [
        ("group", reference.from_group.to_owned()),
        ("kind", reference.from_kind.to_owned()),
        ("namespace", reference.from_namespace.to_owned()),
    ]
}

fn allowing_from(grant: &Object, reference: &Reference<'_>) -> Option<usize> {
    grant
        .array("/spec/from")
        .iter()
        .position(|entry| from_fields(reference).iter().all(|(key, wanted)| text(entry, key) == wanted))
}

/// The MCP controller also takes an entry without kind; the API server refuses to store one, so
/// that the difference never shows.
fn allows_to(grant: &Object, reference: &Reference<'_>) -> bool {
    grant.array("/spec/to").iter().any(|entry| {
        text(entry, "group") == reference.to_group
            && text(entry, "kind") == reference.to_kind
            && (text(entry, "name").is_empty() || text(entry, "name") == reference.to_name)
    })
}

/// Grants of the right namespace that are off in one place, and right grants in a wrong namespace.
fn near_misses<'a>(bundle: &'a Bundle, reference: &Reference<'_>) -> Vec<NearMiss<'a>> {
    let mut found = Vec::new();
    for grant in bundle.list_in(&kinds::REFERENCE_GRANT, reference.to_namespace).take(100) {
        let from = allowing_from(grant, reference);
        if from.is_some() {
            found.extend(off_to(grant, reference));
        } else if allows_to(grant, reference) {
            found.extend(off_from(grant, reference));
        }
        if found.len() >= NEAR {
            break;
        }
    }
    if reference.from_namespace != reference.to_namespace {
        for grant in bundle.list_in(&kinds::REFERENCE_GRANT, reference.from_namespace).take(100) {
            if allowing_from(grant, reference).is_some() && allows_to(grant, reference) {
                found.push(NearMiss {
                    grant,
                    pointer: "/metadata/namespace".to_owned(),
                    why: format!(
                        "it stands in {}, where the reference comes from; a grant must stand in {}, \
                         where the reference leads to",
                        reference.from_namespace, reference.to_namespace
                    ),
                });
            }
        }
    }
    found.truncate(NEAR);
    found
}

fn off_from<'a>(grant: &'a Object, reference: &Reference<'_>) -> Option<NearMiss<'a>> {
    let wanted = from_fields(reference);
    let entries = grant.array("/spec/from").iter().enumerate();
    let (index, entry) = entries.max_by_key(|(index, entry)| {
        let right = wanted.iter().filter(|(key, wanted)| text(entry, key) == wanted).count();
        (right, std::cmp::Reverse(*index))
    })?;
    let off: Vec<&(&str, String)> =
        wanted.iter().filter(|(key, wanted)| text(entry, key) != wanted).collect();
    if off.len() > 2 {
        return None;
    }
    let why: Vec<String> = off
        .iter()
        .map(|(key, wanted)| format!("from.{key} is {:?}, wanted {wanted:?}", text(entry, key)))
        .collect();
    Some(NearMiss {
        grant,
        pointer: format!("/spec/from/{index}/{}", off.first().map_or("kind", |(key, _)| key)),
        why: why.join("; "),
    })
}

fn off_to<'a>(grant: &'a Object, reference: &Reference<'_>) -> Option<NearMiss<'a>> {
    let (index, entry) = grant.array("/spec/to").iter().enumerate().next()?;
    let mut off = Vec::new();
    for (key, wanted) in [("group", reference.to_group), ("kind", reference.to_kind)] {
        if text(entry, key) != wanted {
            off.push((key, wanted));
        }
    }
    if off.is_empty() {
        off.push(("name", reference.to_name));
    }
    let why: Vec<String> = off
        .iter()
        .map(|(key, wanted)| format!("to.{key} is {:?}, wanted {wanted:?}", text(entry, key)))
        .collect();
    Some(NearMiss { grant, pointer: format!("/spec/to/{index}/{}", off[0].0), why: why.join("; ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bundle::{Collection, Outcome};
    use crate::model::json::json;

    fn bundle(namespace: &str, from: Value, to: Value) -> Bundle {
        let mut bundle = Bundle::default();
        let value = json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
            "metadata": {"namespace": namespace, "name": "g"}, "spec": {"from": [from], "to": [to]}});
        bundle.add_object(Object::new(value, "g.yaml".into(), None).expect("an object"));
        bundle.add_collection(Collection {
            group: "gateway.networking.k8s.io".into(),
            version: "v1beta1".into(),
            kind: "ReferenceGrant".into(),
            resource: "referencegrants".into(),
            namespace: None,
            outcome: Outcome::Complete,
            items: 1,
            why: None,
        });
        bundle
    }

    #[test]
    fn each_wrong_field_is_named() {
        // The seven wrong grants of the conformance test HTTPRouteInvalidReferenceGrant, and the right one.
        let from = |g: &str, k: &str, n: &str| json!({"group": g, "kind": k, "namespace": n});
        let gateway = "gateway.networking.k8s.io";
        let table = [
            ("back", from(gateway, "HTTPRoute", "front"), json!({"group": "", "kind": "Service"}), "ok"),
            (
                "back",
                from(gateway, "HTTPRoute", "front"),
                json!({"group": "", "kind": "Service", "name": "svc"}),
                "ok",
            ),
            (
                "front",
                from(gateway, "HTTPRoute", "front"),
                json!({"group": "", "kind": "Service"}),
                "/metadata/namespace",
            ),
            (
                "back",
                from("", "HTTPRoute", "front"),
                json!({"group": "", "kind": "Service"}),
                "/spec/from/0/group",
            ),
            (
                "back",
                from(gateway, "Gateway", "front"),
                json!({"group": "", "kind": "Service"}),
                "/spec/from/0/kind",
            ),
            (
                "back",
                from(gateway, "HTTPRoute", "other"),
                json!({"group": "", "kind": "Service"}),
                "/spec/from/0/namespace",
            ),
            (
                "back",
                from(gateway, "HTTPRoute", "front"),
                json!({"group": "core", "kind": "Service"}),
                "/spec/to/0/group",
            ),
            (
                "back",
                from(gateway, "HTTPRoute", "front"),
                json!({"group": "", "kind": "Secret"}),
                "/spec/to/0/kind",
            ),
            (
                "back",
                from(gateway, "HTTPRoute", "front"),
                json!({"group": "", "kind": "Service", "name": "x"}),
                "/spec/to/0/name",
            ),
        ];
        let reference = Reference {
            from_group: gateway,
            from_kind: "HTTPRoute",
            from_namespace: "front",
            to_group: "",
            to_kind: "Service",
            to_namespace: "back",
            to_name: "svc",
        };
        for (namespace, from, to, expected) in table {
            let bundle = bundle(namespace, from.clone(), to.clone());
            let got = match Grants::new(&bundle).check(&bundle, &reference) {
                Granted::Yes(..) => "ok".to_owned(),
                Granted::No(near) => near.first().map(|n| n.pointer.clone()).unwrap_or_default(),
                Granted::Unknown(missing) => missing.what,
            };
            assert_eq!(got, expected, "{namespace} {from} {to}");
        }
        let empty = Bundle::default();
        assert!(matches!(Grants::new(&empty).check(&empty, &reference), Granted::Unknown(_)));
    }
}
