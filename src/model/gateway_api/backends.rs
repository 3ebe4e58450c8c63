//! The backendRefs of a route, defaults applied.

use crate::model::Object;
use crate::model::json::Value;

/// One backendRef.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendRef<'a> {
    /// The position of its rule.
    pub rule: usize,
    /// Its position in the rule.
    pub index: usize,
    /// The group, by default core.
    pub group: &'a str,
    /// The kind, by default `Service`.
    pub kind: &'a str,
    /// The namespace, by default the route's.
    pub namespace: &'a str,
    /// The name: of a Service, or an external host name for the kind `Hostname`.
    pub name: &'a str,
    /// The Service's port.
    pub port: Option<i64>,
    /// Its share of the requests; with 0 it gets none, and nobody looks whether it exists.
    pub weight: i64,
    /// The position of the filter that sends it copies of requests; requests themselves go to backends without.
    pub mirror: Option<usize>,
}

impl BackendRef<'_> {
    /// The JSON pointer of a field in the route.
    #[must_use]
    pub fn pointer(&self, field: &str) -> String {
        match self.mirror {
            Some(filter) => {
                format!("/spec/rules/{}/filters/{filter}/requestMirror/backendRef{field}", self.rule)
            }
            None => format!("/spec/rules/{}/backendRefs/{}{field}", self.rule, self.index),
        }
    }

    /// Whether it names a Service.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }

    /// Whether it names a host outside the cluster the way Istio offers it.
    #[must_use]
    pub fn is_hostname(&self) -> bool {
        self.kind == "Hostname"
    }
}

fn backend_ref<'a>(route: &'a Object, value: &'a Value, rule: usize, index: usize) -> BackendRef<'a> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let int = |key: &str| value.get(key).and_then(Value::as_i64);
    BackendRef {
        rule,
        index,
        group: text("group").unwrap_or_default(),
        kind: text("kind").unwrap_or("Service"),
        namespace: text("namespace").unwrap_or(route.namespace()),
        name: text("name").unwrap_or_default(),
        port: int("port"),
        weight: int("weight").unwrap_or(1),
        mirror: None,
    }
}

/// The entries of a list in each rule of a route, with the positions of the rule and the entry.
fn in_rules<'a>(route: &'a Object, list: &str) -> impl Iterator<Item = (usize, usize, &'a Value)> {
    let rules = route.array("/spec/rules").iter().enumerate();
    rules.flat_map(move |(rule, value)| {
        let entries = value.get(list).and_then(Value::as_array).unwrap_or_default();
        entries.iter().enumerate().map(move |(index, entry)| (rule, index, entry))
    })
}

/// The backendRefs of all rules of a route.
#[must_use]
pub fn backend_refs(route: &Object) -> Vec<BackendRef<'_>> {
    in_rules(route, "backendRefs")
        .map(|(rule, index, entry)| backend_ref(route, entry, rule, index))
        .collect()
}

/// The backends to which the rules of a route send copies of requests.
#[must_use]
pub fn mirrors(route: &Object) -> Vec<BackendRef<'_>> {
    in_rules(route, "filters")
        .filter_map(|(rule, index, filter)| {
            let backend = backend_ref(route, filter.pointer("/requestMirror/backendRef")?, rule, index);
            Some(BackendRef { mirror: Some(index), ..backend })
        })
        .collect()
}
