//! `allowedRoutes` of a listener: which namespaces and kinds of routes it takes.

use super::super::{Bundle, Missing, Object, Seen, kinds, labels};
use super::attach::Listener;
use crate::model::json::Value;
use crate::shell::shell;

/// Whether a listener takes routes of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// It does.
    Yes,
    /// It does not, and why, in words.
    No(String),
    /// The labels of the namespace were not collected.
    Unknown(Missing),
}

/// Whether a listener's `allowedRoutes.namespaces` admits this namespace. The default is `Same`.
#[must_use]
pub fn namespace(bundle: &Bundle, gateway: &Object, listener: &Listener<'_>, namespace: &str) -> Allowed {
    let rules = listener.value.pointer("/allowedRoutes/namespaces");
    let from = rules.and_then(|r| r.get("from")).and_then(Value::as_str).unwrap_or("Same");
    match from {
        "All" => Allowed::Yes,
        "Selector" => match rules.and_then(|r| r.get("selector")) {
            Some(selector) => by_selector(bundle, selector, namespace),
            // Refused by the API server of today; Istio admits all where one is stored.
            None => Allowed::Yes,
        },
        "None" => Allowed::No("the listener takes no routes at all (from: None)".to_owned()),
        _ if namespace == gateway.namespace() => Allowed::Yes,
        _ => Allowed::No(format!(
            "the listener takes routes only of the Gateway's own namespace {} (from: Same{})",
            gateway.namespace(),
            if rules.is_some() { "" } else { ", the default" }
        )),
    }
}

/// Whether a listener wants namespaces by a selector and has none.
#[must_use]
pub fn lacks_selector(listener: &Listener<'_>) -> bool {
    let rules = listener.value.pointer("/allowedRoutes/namespaces");
    rules.is_some_and(|r| {
        r.get("from").and_then(Value::as_str) == Some("Selector") && r.get("selector").is_none()
    })
}

fn by_selector(bundle: &Bundle, selector: &Value, namespace: &str) -> Allowed {
    const NAME: &str = "kubernetes.io/metadata.name";
    let uses = |key: &str| -> bool {
        let in_labels = selector.get("matchLabels").and_then(Value::as_object);
        let in_expressions = selector.get("matchExpressions").and_then(Value::as_array);
        in_labels.is_some_and(|l| l.keys().any(|k| k != key))
            || in_expressions
                .is_some_and(|list| list.iter().any(|e| e.get("key").and_then(Value::as_str) != Some(key)))
    };
    let object = match bundle.find(&kinds::NAMESPACE, "", namespace) {
        Seen::Found(object) => Some(object),
        // The name is known without the object.
        _ if !uses(NAME) => None,
        Seen::Unknown(missing) => return Allowed::Unknown(missing),
        Seen::Absent => {
            return Allowed::Unknown(Missing {
                what: format!("namespaces: the object of namespace {namespace} with its labels"),
                how: shell!("oc get namespace {} -o yaml", namespace),
            });
        }
    };
    let label = |key: &str| match object.and_then(|o| o.label(key)) {
        Some(value) => Some(value.to_owned()),
        None if key == NAME => Some(namespace.to_owned()),
        None => None,
    };
    if labels::matches(selector, &label) {
        return Allowed::Yes;
    }
    let has = object.and_then(Object::labels).map(labels::to_text).unwrap_or_default();
    let has = if has.is_empty() { "no labels".to_owned() } else { format!("labels {has}") };
    Allowed::No(format!("namespace {namespace} has {has}, the listener's selector wants {selector}"))
}

/// The kinds of routes that a listener takes by its protocol, unless `allowedRoutes.kinds` says so.
fn default_kinds(protocol: &str) -> &'static [&'static str] {
    match protocol {
        "HTTP" | "HTTPS" => &["HTTPRoute", "GRPCRoute"],
        "TLS" => &["TLSRoute", "TCPRoute"],
        "TCP" => &["TCPRoute"],
        "UDP" => &["UDPRoute"],
        _ => &[],
    }
}

/// Whether a listener takes routes of a kind of the Gateway API.
#[must_use]
pub fn kind(listener: &Listener<'_>, route_kind: &str) -> bool {
    let by_protocol = default_kinds(listener.protocol).contains(&route_kind);
    let Some(list) = listener.value.pointer("/allowedRoutes/kinds").and_then(Value::as_array) else {
        return by_protocol;
    };
    if list.is_empty() {
        return by_protocol;
    }
    list.iter().any(|entry| {
        let group = entry.get("group").and_then(Value::as_str).unwrap_or(super::GROUP);
        group == super::GROUP && entry.get("kind").and_then(Value::as_str) == Some(route_kind)
    }) && by_protocol
}
