//! Attaching a server's route to the listener that its gateway serves.

use serde_json::{Value, json};

use crate::model::Object;
use crate::model::gateway_api::{Listener, Outcome, ParentRef, attachments, listeners};
use crate::model::mcp::Extension;
use crate::rules::Context;
use crate::rules::remedy;
use crate::shell::Command;

/// A patch that attaches a route, in place of its parentRef to a Gateway, to a listener on the port of the only
/// extension of these that is in order. `None` where several are, or where no listener there takes the route's
/// hosts and namespace.
pub(super) fn command<'a: 'c, 'c>(
    context: &Context<'a>,
    route: &'a Object,
    instead_of: &Object,
    extensions: impl Iterator<Item = &'c Extension<'a>>,
) -> Option<Command> {
    let mut usable = extensions.filter(|extension| extension.faults.is_empty());
    let (extension, None) = (usable.next()?, usable.next()) else { return None };
    let (gateway, port) = (extension.gateway?, extension.listener?.port);
    let parent = attachments(context.bundle, route)
        .into_iter()
        .find(|a| a.gateway.found().is_some_and(|g| std::ptr::eq(g, instead_of)))?
        .parent;
    let on_port = listeners(gateway).into_iter().filter(|listener| listener.port == port);
    to(context, route, &parent, gateway, on_port)
}

/// A patch that attaches a route, in place of a parentRef, to the first of these listeners of a Gateway that takes it.
pub(super) fn to<'a>(
    context: &Context<'a>,
    route: &'a Object,
    parent: &ParentRef<'_>,
    gateway: &Object,
    mut candidates: impl Iterator<Item = Listener<'a>>,
) -> Option<Command> {
    candidates.find_map(|listener| {
        let reference = json!({"group": parent.group, "kind": parent.kind, "name": gateway.name(),
            "namespace": gateway.namespace(), "sectionName": listener.name});
        let mut value: Value = route.value().to_json();
        value["spec"]["parentRefs"] = json!([reference]);
        let attached = Object::new(value, route.file().into(), None)?;
        let taken = attachments(context.bundle, &attached).iter().all(|a| a.outcome() == Outcome::Accepted);
        let path = format!("/spec/parentRefs/{}", parent.index);
        taken.then(|| remedy::patch(route, json!([{"op": "replace", "path": path, "value": reference}])))
    })
}
