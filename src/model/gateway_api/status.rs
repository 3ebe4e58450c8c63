//! What statuses say, and whether they are of this generation.

use super::{ParentRef, parent_ref};
use crate::model::Object;
use crate::model::json::Value;
use crate::model::object::{Condition, conditions};

/// An entry of a route's `status.parents`.
#[derive(Debug, Clone, Copy)]
pub struct ParentStatus<'a> {
    /// Its position.
    pub index: usize,
    /// The parentRef it is about.
    pub parent: ParentRef<'a>,
    /// The controller that wrote it.
    pub controller: &'a str,
    value: &'a Value,
}

impl<'a> ParentStatus<'a> {
    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<Condition<'a>> {
        conditions(self.value.get("conditions")).find(|c| c.kind == kind)
    }

    /// The JSON pointer of a condition in the route.
    #[must_use]
    pub fn pointer(&self, condition: &Condition<'_>) -> String {
        format!("/status/parents/{}/conditions/{}", self.index, condition.index)
    }
}

/// The entries of a route's `status.parents`.
#[must_use]
pub fn parents(route: &Object) -> Vec<ParentStatus<'_>> {
    route
        .array("/status/parents")
        .iter()
        .enumerate()
        .map(|(index, value)| ParentStatus {
            index,
            parent: parent_ref(value.get("parentRef").unwrap_or(&Value::Null), index, route.namespace()),
            controller: value.get("controllerName").and_then(Value::as_str).unwrap_or_default(),
            value,
        })
        .collect()
}

/// The entries about one parentRef of the spec.
pub fn of_parent<'a>(route: &'a Object, parent: &ParentRef<'_>) -> impl Iterator<Item = ParentStatus<'a>> {
    let wanted = (parent.group, parent.kind, parent.namespace, parent.name, parent.section, parent.port);
    parents(route).into_iter().filter(move |status| {
        let p = status.parent;
        (p.group, p.kind, p.namespace, p.name, p.section, p.port) == wanted
    })
}

/// Whether a condition was written for an older generation of the object.
#[must_use]
pub fn is_stale(object: &Object, condition: &Condition<'_>) -> bool {
    match (condition.observed_generation, object.generation()) {
        (Some(observed), Some(generation)) => observed < generation,
        _ => false,
    }
}
