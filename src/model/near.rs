//! Near misses: the object that a name which leads nowhere may have meant.
//!
//! Rules name it in their remedies, and judge what stands behind it, so that a fault behind a wrong
//! reference is found together with the reference.

use super::json::Value;
use super::{Bundle, Kind, Object, Seen, kinds};

/// How many objects of a namespace are compared with a name.
pub const COMPARED: usize = 500;

/// The candidate whose text comes closest to this one, if any is close.
pub fn closest<'c, T>(wanted: &str, candidates: impl Iterator<Item = (&'c str, T)>) -> Option<T> {
    let mut best: Option<(f64, T)> = None;
    for (text, candidate) in candidates {
        if text == wanted {
            continue;
        }
        let part = text.len().min(wanted.len()) >= 4 && (text.contains(wanted) || wanted.contains(text));
        // One letter wrong, missing, too many, or two exchanged, also where the name is short.
        let slip = text.len().min(wanted.len()) >= 3 && strsim::osa_distance(wanted, text) == 1;
        let score = strsim::jaro_winkler(wanted, text).max(if part { 0.9 } else { 0.0 }).max(if slip {
            0.89
        } else {
            0.0
        });
        if score >= 0.88 && best.as_ref().is_none_or(|(first, _)| score > *first) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The object of the namespace whose name comes closest, if any is close.
#[must_use]
pub fn similar<'a>(bundle: &'a Bundle, kind: &Kind, namespace: &str, name: &str) -> Option<&'a Object> {
    closest(name, bundle.list_in(kind, namespace).take(COMPARED).map(|o| (o.name(), o)))
}

/// The Gateway that an extension targets, or, where its `targetRef` leads nowhere, the one that it
/// most likely means: of the same name in whatever namespace, or of a similar name where it looks.
#[must_use]
pub fn gateway<'a>(bundle: &'a Bundle, extension: &Object) -> Option<&'a Object> {
    let (namespace, name) =
        (extension.str("/spec/targetRef/namespace"), extension.str("/spec/targetRef/name"));
    match bundle.find(&kinds::GATEWAY, namespace, name) {
        Seen::Found(gateway) => return Some(gateway),
        // It may well exist, so that no other is meant.
        Seen::Unknown(_) if !namespace.is_empty() => return None,
        Seen::Unknown(_) | Seen::Absent => {}
    }
    let same: Vec<&Object> = bundle.list(&kinds::GATEWAY).filter(|gateway| gateway.name() == name).collect();
    match same.as_slice() {
        [only] => Some(only),
        [] => similar(bundle, &kinds::GATEWAY, namespace, name),
        several => of_extension(bundle, extension, several)
            .or_else(|| similar(bundle, &kinds::GATEWAY, namespace, name)),
    }
}

/// Of several Gateways of one name the one that is an extension's: where its EnvoyFilter still stands, or where a
/// grant is for its namespace, or in its own namespace.
fn of_extension<'a>(bundle: &'a Bundle, extension: &Object, gateways: &[&'a Object]) -> Option<&'a Object> {
    let (namespace, name) = (extension.namespace(), extension.name());
    let filters = bundle.list(&kinds::ENVOY_FILTER).filter(|filter| {
        filter.label("mcp.kuadrant.io/extension-namespace") == Some(namespace)
            && filter.label("mcp.kuadrant.io/extension-name") == Some(name)
    });
    let filtered: Vec<&str> = filters.map(Object::namespace).collect();
    let grants = bundle.list(&kinds::REFERENCE_GRANT).filter(|grant| {
        grant.array("/spec/from").iter().any(|from| {
            let is = |key: &str, value: &str| from.get(key).and_then(Value::as_str) == Some(value);
            is("kind", "MCPGatewayExtension") && is("namespace", namespace)
        })
    });
    let granted: Vec<&str> = grants.map(Object::namespace).collect();
    let only = |places: &[&str]| {
        let mut fitting = gateways.iter().copied().filter(|gateway| places.contains(&gateway.namespace()));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    only(&filtered).or_else(|| only(&granted)).or_else(|| only(&[namespace]))
}

/// The HTTPRoute that a registration means although it names another that does not exist: one of a
/// similar name, or of the registration's own, that no other registration targets. `None` where the
/// named one exists, or may exist.
#[must_use]
pub fn route<'a>(bundle: &'a Bundle, registration: &'a Object) -> Option<&'a Object> {
    let (namespace, name) = (registration.namespace(), registration.str("/spec/targetRef/name"));
    if !matches!(bundle.find(&kinds::HTTP_ROUTE, namespace, name), Seen::Absent) {
        return None;
    }
    let own = || bundle.get(&kinds::HTTP_ROUTE, namespace, registration.name());
    let meant = similar(bundle, &kinds::HTTP_ROUTE, namespace, name).or_else(own)?;
    let mut others = bundle.list_in(&kinds::MCP_SERVER_REGISTRATION, namespace).take(COMPARED);
    let taken = others.any(|other| other.str("/spec/targetRef/name") == meant.name());
    (!taken).then_some(meant)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn close_names() {
        let names = ["weather", "orders", "inventory"];
        let near = |wanted: &str| closest(wanted, names.iter().map(|n| (*n, *n)));
        assert_eq!(near("wether"), Some("weather"));
        assert_eq!(near("orders-route"), Some("orders"));
        assert_eq!(near("payments"), None);
        assert_eq!(near("weather"), None);
    }
}
