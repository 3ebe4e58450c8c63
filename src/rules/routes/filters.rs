//! What Istio refuses in the rules of an HTTPRoute: filters that it does not know, hosts in place of Services.

use serde_json::json;

use crate::model::Object;
use crate::model::json::Value;
use crate::rules::{Draft, remedy};

/// A part of a route that its controller does not take, and the patch without it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The JSON pointer of the part.
    pub pointer: String,
    /// What it is and what to do, in a sentence.
    pub text: String,
    /// The JSON patch, where only one is right.
    pub patch: Option<serde_json::Value>,
}

impl Refused {
    /// Adds the part and the patch without it to a finding about the route.
    pub(super) fn add_to(&self, route: &Object, draft: &mut Draft) {
        draft
            .evidence(route.evidence(&self.pointer))
            .commands(self.patch.iter().map(|patch| remedy::patch(route, patch.clone())));
    }
}

/// The types that Istio translates in a rule (`createHTTPFilters` of its Gateway controller).
const OF_RULES: [&str; 6] = [
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestRedirect",
    "RequestMirror",
    "URLRewrite",
    "CORS",
];

/// The types that it translates in a backendRef.
const OF_BACKENDS: [&str; 2] = ["RequestHeaderModifier", "ResponseHeaderModifier"];

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).unwrap_or_default()
}

/// The first filter of a type that Istio refuses: the whole route is not translated then.
pub(super) fn filter(route: &Object) -> Option<Refused> {
    for (index, rule) in route.array("/spec/rules").iter().enumerate() {
        let place = format!("/spec/rules/{index}");
        let mut lists = vec![(place.clone(), list(rule, "filters"), &OF_RULES[..])];
        for (number, backend) in list(rule, "backendRefs").iter().enumerate() {
            lists.push((format!("{place}/backendRefs/{number}"), list(backend, "filters"), &OF_BACKENDS[..]));
        }
        for (place, filters, known) in lists {
            for (number, filter) in filters.iter().enumerate() {
                let kind = text(filter, "type");
                if known.contains(&kind) {
                    continue;
                }
                let pointer = format!("{place}/filters/{number}");
                let patch = json!([
                    {"op": "test", "path": format!("{pointer}/type"), "value": kind},
                    {"op": "remove", "path": pointer},
                ]);
                return Some(Refused {
                    text: format!(
                        "Rule {index} has a filter of type {kind}, which the Gateway's controller does not support: \
                         take it out of the route, and do in the server or a policy what it was meant for."
                    ),
                    patch: Some(patch),
                    pointer,
                });
            }
        }
    }
    None
}

/// The first backendRef that names a Service by its host, which has dots.
pub(super) fn host(route: &Object) -> Option<Refused> {
    for (index, rule) in route.array("/spec/rules").iter().enumerate() {
        for (number, backend) in list(rule, "backendRefs").iter().enumerate() {
            let (name, kind) = (text(backend, "name"), text(backend, "kind"));
            if !name.contains('.') || !matches!(kind, "" | "Service") || !text(backend, "group").is_empty() {
                continue;
            }
            let pointer = format!("/spec/rules/{index}/backendRefs/{number}/name");
            let mut labels = name.split('.');
            let (service, namespace) = (labels.next()?, labels.next()?);
            let of_cluster = labels.next() == Some("svc");
            let named = if text(backend, "namespace").is_empty() {
                route.namespace()
            } else {
                text(backend, "namespace")
            };
            let patch = (of_cluster && namespace == named)
                .then(|| json!([{"op": "replace", "path": pointer, "value": service}]));
            return Some(Refused {
                text: format!(
                    "Rule {index} names its backend by the host {name}: a Service is named by its name and port{}.",
                    if patch.is_some() { format!(", here {service}") } else { String::new() }
                ),
                patch,
                pointer,
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(rule: serde_json::Value) -> Object {
        let value = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"namespace": "team", "name": "r"}, "spec": {"rules": [{}, rule]}});
        Object::new(value, "f".into(), None).expect("an object")
    }

    #[test]
    fn filters_that_are_refused() {
        let of = |kind: &str| json!([{"type": "URLRewrite"}, {"type": kind}]);
        for (rule, expected) in [
            (json!({"filters": of("ExtensionRef")}), Some("/spec/rules/1/filters/1")),
            (json!({"filters": of("CORS")}), None),
            (
                json!({"backendRefs": [{"name": "a", "filters": of("RequestHeaderModifier")}]}),
                Some("/spec/rules/1/backendRefs/0/filters/0"),
            ),
            (json!({"backendRefs": [{"name": "a"}]}), None),
        ] {
            assert_eq!(filter(&route(rule.clone())).map(|r| r.pointer).as_deref(), expected, "{rule}");
        }
    }

    #[test]
    fn hosts_that_are_no_names() {
        for (backend, expected) in [
            (json!({"name": "weather"}), None),
            (json!({"name": "weather.team.svc.cluster.local"}), Some(Some("weather"))),
            (json!({"name": "weather.other.svc.cluster.local"}), Some(None)),
            (json!({"name": "weather.other.svc", "namespace": "other"}), Some(Some("weather"))),
            (json!({"name": "tickets.vendor.example"}), Some(None)),
            (
                json!({"name": "tickets.vendor.example", "kind": "Hostname", "group": "networking.istio.io"}),
                None,
            ),
        ] {
            let refused = host(&route(json!({"backendRefs": [backend.clone()]})));
            let found = refused.map(|r| r.patch.map(|p| p.to_string().contains("\"value\":\"weather\"")));
            assert_eq!(found, expected.map(|e| e.map(|_| true)), "{backend}");
        }
    }
}
