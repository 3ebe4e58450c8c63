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
}

impl BackendRef<'_> {
    /// The JSON pointer of a field in the route.
    #[must_use]
    pub fn pointer(&self, field: &str) -> String {
        format!("/spec/rules/{}/backendRefs/{}{field}", self.rule, self.index)
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

/// The backendRefs of all rules of a route.
#[must_use]
pub fn backend_refs(route: &Object) -> Vec<BackendRef<'_>> {
    let mut found = Vec::new();
    for (rule, value) in route.array("/spec/rules").iter().enumerate() {
        let list = value.get("backendRefs").and_then(Value::as_array).into_iter().flatten();
        for (index, backend) in list.enumerate() {
            let text = |key: &str| backend.get(key).and_then(Value::as_str);
            found.push(BackendRef {
                rule,
                index,
                group: text("group").unwrap_or_default(),
                kind: text("kind").unwrap_or("Service"),
                namespace: text("namespace").unwrap_or(route.namespace()),
                name: text("name").unwrap_or_default(),
                port: backend.get("port").and_then(Value::as_i64),
            });
        }
    }
    found
}
