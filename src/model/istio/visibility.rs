//! Which ServiceEntries and DestinationRules a proxy sees, and which it uses for a host.

use std::collections::HashMap;

use crate::model::json::{Map, Value};
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

/// The hosts of a ServiceEntry.
pub fn hosts(entry: &Object) -> impl Iterator<Item = &str> {
    entry.array("/spec/hosts").iter().filter_map(Value::as_str)
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

/// Whether a DestinationRule is for its own namespace only. One that chooses workloads always is.
fn is_private(rule: &Object) -> bool {
    let list = rule.array("/spec/exportTo");
    let own = |entry: &Value| matches!(entry.as_str(), Some(name) if name == "." || name == rule.namespace());
    selector(rule).is_some() || matches!(list, [one] if own(one))
}

/// The labels of the workloads that a DestinationRule chooses.
fn selector(rule: &Object) -> Option<&Map> {
    rule.get("/spec/workloadSelector/matchLabels").and_then(Value::as_object)
}

/// Of rules of one namespace those for the most specific host, of which the oldest with a policy comes first.
fn most_specific<'a>(rules: impl Iterator<Item = &'a Object>, host: &str) -> Vec<&'a Object> {
    let specific = |rule: &Object| {
        let pattern = rule.str("/spec/host");
        (!pattern.starts_with('*'), pattern.len())
    };
    let mut found: Vec<&Object> = rules.filter(|rule| host_matches(rule.str("/spec/host"), host)).collect();
    let best = found.iter().map(|rule| specific(rule)).max();
    found.retain(|rule| Some(specific(rule)) == best);
    found.sort_by_key(|rule| {
        let policy = rule.get("/spec/trafficPolicy").is_some();
        (selector(rule).is_none(), !policy, rule.created(), rule.name().to_owned())
    });
    found
}

/// The DestinationRules of a bundle, found by their hosts.
#[derive(Debug, Default)]
pub struct DestinationRules<'a> {
    /// By namespace and host in lower case; those with a wildcard have the host `*`.
    by_host: HashMap<&'a str, HashMap<String, Vec<&'a Object>>>,
}

impl<'a> DestinationRules<'a> {
    /// Sorts a bundle's rules by their hosts.
    #[must_use]
    pub fn new(bundle: &'a Bundle) -> Self {
        let mut by_host: HashMap<&str, HashMap<String, Vec<_>>> = HashMap::new();
        for rule in bundle.list(&kinds::DESTINATION_RULE) {
            let host = match rule.str("/spec/host") {
                wildcard if wildcard.starts_with('*') => "*".to_owned(),
                host => host.to_ascii_lowercase(),
            };
            by_host.entry(rule.namespace()).or_default().entry(host).or_default().push(rule);
        }
        Self { by_host }
    }

    /// The rules of a namespace that may be for a host.
    fn candidates(&self, namespace: &str, host: &str) -> impl Iterator<Item = &'a Object> {
        let rules = self.by_host.get(namespace);
        let exact = rules.and_then(|rules| rules.get(&host.to_ascii_lowercase()));
        let wildcards = rules.and_then(|rules| rules.get("*"));
        exact.into_iter().chain(wildcards).flatten().copied()
    }

    /// The rule that a proxy of `client` uses for an external host: the client's namespace, then the namespace of the
    /// host's ServiceEntry, then the root namespace; in each the exact host before the longest wildcard, and of several
    /// rules for one host the oldest. In the root namespace itself only what is private there comes first. `chosen`
    /// tells whether a rule's workload selector chooses the proxy.
    #[must_use]
    pub fn of(
        &self,
        host: &str,
        client: &str,
        service: &str,
        root: &str,
        chosen: impl Fn(&Map) -> bool,
    ) -> Option<&'a Object> {
        let own = self
            .candidates(client, host)
            .filter(|rule| match client == root {
                true => is_private(rule),
                false => is_visible(rule, client) || is_private(rule),
            })
            .filter(|rule| selector(rule).is_none_or(&chosen));
        let exported = |namespace| {
            let shared = self.candidates(namespace, host).filter(|rule| !is_private(rule));
            most_specific(shared, host).into_iter().find(|rule| is_visible(rule, client))
        };
        most_specific(own, host).first().copied().or_else(|| exported(service)).or_else(|| exported(root))
    }
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
        let chooses = |object: Object, label: &str| {
            let mut value = object.value().to_json();
            value["spec"]["workloadSelector"] = serde_json::json!({"matchLabels": {"app": label}});
            Object::new(value, "f".into(), None).expect("an object")
        };
        let everywhere = || json!([]);
        let mut bundle = Bundle::default();
        for object in [
            rule("servers", "exact", "api.vendor.example", everywhere()),
            rule("servers", "hidden", "hidden.vendor.example", json!(["."])),
            rule("gateway", "wild", "*.vendor.example", everywhere()),
            // For one other namespace: it stands before the wildcard, and is not for us.
            rule("servers", "for-others", "one.partner.example", json!(["others"])),
            rule("servers", "partners", "*.partner.example", everywhere()),
            rule("istio-system", "root-partners", "*.partner.example", everywhere()),
            rule("istio-system", "root-private", "private.partner.example", json!(["."])),
            // Two for one host: the first by name, as they have no age.
            rule("servers", "twice-b", "twice.example", everywhere()),
            rule("servers", "twice-a", "twice.example", everywhere()),
            chooses(rule("gateway", "chosen", "chosen.example", everywhere()), "gateway"),
            chooses(rule("gateway", "for-another", "another.example", everywhere()), "another"),
            rule("gateway", "for-all", "another.example", everywhere()),
            chooses(rule("servers", "never-exported", "servers.example", everywhere()), "gateway"),
        ] {
            bundle.add_object(object);
        }
        let chosen = |labels: &Map| labels.get("app").and_then(Value::as_str) == Some("gateway");
        let rules = DestinationRules::new(&bundle);
        for (host, client, expected) in [
            ("api.vendor.example", "gateway", Some("wild")),
            ("api.vendor.example", "elsewhere", Some("exact")),
            ("hidden.vendor.example", "elsewhere", None),
            ("vendor.example", "gateway", None),
            ("one.partner.example", "gateway", Some("root-partners")),
            ("two.partner.example", "gateway", Some("partners")),
            ("two.partner.example", "istio-system", Some("partners")),
            ("private.partner.example", "istio-system", Some("root-private")),
            ("twice.example", "gateway", Some("twice-a")),
            ("chosen.example", "gateway", Some("chosen")),
            ("another.example", "gateway", Some("for-all")),
            ("servers.example", "gateway", None),
        ] {
            let found = rules.of(host, client, "servers", "istio-system", chosen);
            assert_eq!(found.map(Object::name), expected, "{host} from {client}");
        }
    }
}
