//! Which ServiceEntries and DestinationRules a proxy sees, and which it uses for a host.

use crate::model::json::Value;
use crate::model::{Bundle, Object, kinds};

/// Whether an object is exported to a namespace: `exportTo` empty or `*` means all, `.` its own.
#[must_use]
pub fn is_visible(object: &Object, namespace: &str) -> bool {
    let list = object.array("/spec/exportTo");
    list.is_empty()
        || list.iter().filter_map(Value::as_str).any(|entry| match entry {
            "*" => true,
            "." => object.namespace() == namespace,
            other => other == namespace,
        })
}

/// Whether a host of Istio's configuration (exact, or `*.` for any number of labels) covers a host.
#[must_use]
pub fn host_matches(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    match pattern.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

/// The DestinationRule that a proxy of `client` uses for an external host: the client's namespace,
/// then the namespace of the host's ServiceEntry, then the root namespace; in each the exact host
/// before the longest wildcard.
#[must_use]
pub fn destination_rule<'a>(
    bundle: &'a Bundle,
    host: &str,
    client: &str,
    service: &str,
    root: &str,
) -> Option<&'a Object> {
    [client, service, root].into_iter().find_map(|namespace| {
        bundle
            .list_in(&kinds::DESTINATION_RULE, namespace)
            .filter(|rule| host_matches(rule.str("/spec/host"), host) && is_visible(rule, client))
            .max_by_key(|rule| {
                let pattern = rule.str("/spec/host");
                (!pattern.starts_with('*'), pattern.len())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    fn rule(namespace: &str, name: &str, host: &str, export: Value) -> Object {
        let value = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"namespace": namespace, "name": name}, "spec": {"host": host, "exportTo": export}});
        Object::new(value, "f".into(), None).expect("an object")
    }

    #[test]
    fn export_to_table() {
        let table = [
            (json!([]), "b", true),
            (json!(["*"]), "b", true),
            (json!(["."]), "b", false),
            (json!(["."]), "a", true),
            (json!(["b"]), "b", true),
            (json!(["c"]), "b", false),
            (json!(["bogus*"]), "b", false),
        ];
        for (export, namespace, expected) in table {
            assert_eq!(is_visible(&rule("a", "r", "h", export.clone()), namespace), expected, "{export}");
        }
    }

    #[test]
    fn lookup_order_of_destination_rules() {
        let mut bundle = Bundle::default();
        bundle.add_object(rule("servers", "exact", "api.vendor.example", json!([])));
        bundle.add_object(rule("servers", "hidden", "hidden.vendor.example", json!(["."])));
        bundle.add_object(rule("gateway", "wild", "*.vendor.example", json!([])));
        let found = |host: &str, client: &str| {
            destination_rule(&bundle, host, client, "servers", "istio-system").map(Object::name)
        };
        assert_eq!(found("api.vendor.example", "gateway"), Some("wild"), "the client's namespace is first");
        assert_eq!(found("api.vendor.example", "elsewhere"), Some("exact"));
        assert_eq!(found("hidden.vendor.example", "elsewhere"), None);
        assert_eq!(found("vendor.example", "gateway"), None);
    }
}
