//! Gateway API semantics: what a conforming implementation decides from the specs.
//!
//! [`hostname`] intersects hostnames, [`attach`] resolves parentRefs and judges each listener,
//! [`grants`] evaluates ReferenceGrants with the field that is off, [`backends`] resolves
//! backendRefs, [`mod@conflicts`] finds listeners that cannot share a port, [`mod@paths`] tells which requests a rule takes,
//! [`status`] reads conditions and their staleness. Where Istio differs from the
//! specification, Istio's behaviour is what is computed, as it is the data plane here.

pub mod allowed;
pub mod attach;
pub mod backends;
pub mod conflicts;
pub mod grants;
pub mod hostname;
pub mod paths;
pub mod status;

pub use attach::{Attachment, Listener, Outcome, Refusal, Verdict, attachments, hostnames, listeners};
pub use backends::{BackendRef, backend_refs, mirrors};
pub use conflicts::conflicts;
pub use grants::{Granted, Grants, NearMiss, Reference};

use super::object::Object;
use crate::model::json::Value;

/// The API group of the Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// One entry of a route's `spec.parentRefs` with its defaults applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParentRef<'a> {
    /// The position in the list.
    pub index: usize,
    /// The group, by default the Gateway API's.
    pub group: &'a str,
    /// The kind, by default `Gateway`.
    pub kind: &'a str,
    /// The namespace, by default the route's own.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// The listener's name, if only one is meant.
    pub section: Option<&'a str>,
    /// The listener's port, if only those are meant.
    pub port: Option<i64>,
}

impl ParentRef<'_> {
    /// Whether it names a Gateway (and not a Service or a ListenerSet).
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.group == GROUP && self.kind == "Gateway"
    }
}

/// The parentRefs of a route, defaults applied.
#[must_use]
pub fn parent_refs(route: &Object) -> Vec<ParentRef<'_>> {
    route
        .array("/spec/parentRefs")
        .iter()
        .enumerate()
        .map(|(index, value)| parent_ref(value, index, route.namespace()))
        .collect()
}

/// One parentRef (of a spec or of a status), defaults applied.
#[must_use]
pub fn parent_ref<'a>(value: &'a Value, index: usize, namespace: &'a str) -> ParentRef<'a> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    ParentRef {
        index,
        group: text("group").unwrap_or(GROUP),
        kind: text("kind").unwrap_or("Gateway"),
        namespace: text("namespace").unwrap_or(namespace),
        name: text("name").unwrap_or_default(),
        section: text("sectionName").filter(|s| !s.is_empty()),
        port: value.get("port").and_then(Value::as_i64),
    }
}
