//! Routes of registrations that name no Gateway at all (MG212).

use serde_json::json;

use super::{ROUTE_PARENT_MISSING, accepted, patch};
use crate::model::gateway_api::{GROUP, Outcome, ParentRef};
use crate::model::mcp::RouteFacts;
use crate::model::near::closest;
use crate::model::{Object, kinds};
use crate::rules::{Context, Findings, remedy};

/// The Gateway that a parentRef of an unknown kind means: the one of its name.
fn meant<'a>(context: &Context<'a>, parent: &ParentRef<'_>) -> Option<&'a Object> {
    context.bundle.get(&kinds::GATEWAY, parent.namespace, parent.name)
}

/// The MCP controller asks the Gateways that the parents of a registration's route name. Without any, the server is in
/// no broker's configuration.
pub(super) fn without_gateway(context: &Context<'_>, findings: &mut Findings, facts: &RouteFacts<'_>) {
    let route = facts.object;
    let chain = context.chain();
    let waiting = facts
        .registrations
        .iter()
        .map(|&at| &chain.registrations[at])
        .find(|r| !r.is_disabled() && !r.object.is_deleting() && !r.ready().is_some_and(|c| c.is_true()));
    let Some(registration) = waiting else { return };
    if facts.attachments.iter().any(|a| a.outcome() != Outcome::Foreign) {
        return;
    }
    let parents: Vec<String> =
        facts.attachments.iter().map(|a| format!("{} {}", a.parent.kind, a.parent.name)).collect();
    let named = if parents.is_empty() { "it has no parentRefs".to_owned() } else { parents.join(", ") };
    let draft = findings.report(
        &ROUTE_PARENT_MISSING,
        route,
        format!("HTTPRoute {} names no Gateway: {named}", route.full_name()),
        route.evidence("/spec/parentRefs"),
        "Let a parentRef name the Gateway of the MCP gateway.",
    );
    draft.object(registration.object.reference());
    let slip = facts.attachments.iter().map(|a| a.parent).find(|parent| {
        let near = || closest(parent.kind, std::iter::once(("Gateway", ())));
        parent.group == GROUP && (meant(context, parent).is_some() || near().is_some())
    });
    let mut gateways = chain.extensions.iter().filter_map(|e| e.gateway.zip(e.listener));
    match (slip, gateways.next()) {
        (Some(parent), _) => {
            draft.evidence(route.evidence(&format!("/spec/parentRefs/{}/kind", parent.index)));
            patch(draft, route, &format!("/spec/parentRefs/{}/kind", parent.index), json!("Gateway"));
        }
        (None, Some((gateway, _))) if parents.is_empty() && gateways.next().is_none() => {
            let parent = json!({"name": gateway.name(), "namespace": gateway.namespace()});
            draft.command(remedy::merge(route, json!({"spec": {"parentRefs": [parent]}})));
        }
        _ => {
            draft.command("oc get gateways -A");
        }
    }
    draft.verify(accepted(route));
}
