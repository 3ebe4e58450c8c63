//! What stands behind the status of a policy: what its operator missed at its start, a rival, routes that are not
//! there.

use super::listener_names;
use crate::model::gateway_api::Verdict;
use crate::model::kuadrant::Policy;
use crate::model::workloads::Component;
use crate::model::{Object, kinds};
use crate::rules::evidence::time;
use crate::rules::{Context, Draft};
use crate::shell::shell;

/// The names in `MissingDependency` and the CustomResourceDefinition by which the operator looks for each at its
/// start, and never again (`isAuthorinoOperatorInstalled` and its like).
const DEPENDENCIES: [(&str, &str); 4] = [
    ("Authorino Operator", "authorinos.operator.authorino.kuadrant.io"),
    ("Limitador Operator", "limitadors.limitador.kuadrant.io"),
    ("Gateway API provider", "envoyfilters.networking.istio.io"),
    ("Gateway API", "httproutes.gateway.networking.k8s.io"),
];

/// Says whether what the operator missed is there by now, and restarts it.
pub(super) fn missing_dependency(context: &Context<'_>, message: &str, draft: &mut Draft) {
    let mut there = Vec::new();
    let mut absent = Vec::new();
    let names = message.trim_start_matches('[').split(']').next().unwrap_or_default();
    for name in names.split(", ") {
        let Some((name, definition)) = DEPENDENCIES.iter().find(|(known, _)| name.starts_with(known)) else {
            continue;
        };
        match context.bundle.get(&kinds::CUSTOM_RESOURCE_DEFINITION, "", definition) {
            Some(definition) => there.push((*name, definition)),
            None => absent.push(*name),
        }
    }
    let Some(operator) = context.workloads().deployments_of(Component::KuadrantOperator).first() else {
        return;
    };
    let pods = context.workloads().component_pods(Component::KuadrantOperator);
    let started = pods.iter().filter_map(|pod| pod.created().map(|at| (at, *pod))).max_by_key(|(at, _)| *at);
    for (name, definition) in &there {
        draft.object(definition.reference()).evidence(definition.evidence("/metadata/creationTimestamp"));
        if let (Some((start, pod)), Some(created)) = (started, definition.created())
            && created > start
        {
            draft.evidence(pod.evidence("/metadata/creationTimestamp"));
            draft.remedy.text = format!(
                "{name} was installed at {}, after the Kuadrant operator started at {}: restart the operator.",
                time(created),
                time(start)
            );
        }
    }
    if absent.is_empty() {
        draft.command(shell!(
            "oc -n {} rollout restart deployment/{}",
            operator.namespace(),
            operator.name()
        ));
    } else {
        draft.remedy.text =
            format!("Install {} first, then restart the Kuadrant operator.", absent.join(" and "));
    }
}

/// The older policy on the same target and section, which the operator takes instead.
pub(super) fn rival<'a>(policies: &[Policy<'a>], policy: &Policy<'_>) -> Option<&'a Object> {
    let same = |other: &&Policy<'a>| {
        other.object.kind() == policy.object.kind()
            && !std::ptr::eq(other.object, policy.object)
            && (other.object.namespace(), other.target_kind(), other.target_name(), other.section())
                == (policy.object.namespace(), policy.target_kind(), policy.target_name(), policy.section())
    };
    let oldest =
        policies.iter().filter(same).min_by_key(|other| (other.object.created(), other.object.name()))?;
    let age = |object: &Object| (object.created(), object.name().to_owned());
    (age(oldest.object) < age(policy.object)).then_some(oldest.object)
}

/// Whether a policy may be on the way of a route of the MCP gateway: all but those on a listener that exists and that
/// none of these routes names or fits.
pub(super) fn is_on_a_way(context: &Context<'_>, policy: &Policy<'_>) -> bool {
    let Some(section) = policy.section().filter(|_| policy.target_kind() == "Gateway") else { return true };
    let (namespace, name) = (policy.object.namespace(), policy.target_name());
    let Some(gateway) = context.bundle.get(&kinds::GATEWAY, namespace, name) else { return true };
    if !listener_names(gateway).contains(&section) {
        return true;
    }
    let attachments = context.chain().routes.values().flat_map(|facts| &facts.attachments);
    attachments.filter(|a| (a.parent.namespace, a.parent.name) == (namespace, name)).any(|attachment| {
        let mut of_section = attachment.listeners.iter().filter(|(listener, _)| listener.name == section);
        attachment.parent.section.is_none_or(|named| named == section)
            && (attachment.parent.section.is_some()
                || of_section.any(|(_, verdict)| !matches!(verdict, Verdict::Refuses(_))))
    })
}

/// Says which routes could bring requests to the policy's target and do not: none is attached, or the parent takes
/// none of them.
pub(super) fn no_routes(context: &Context<'_>, policy: &Policy<'_>, draft: &mut Draft) {
    const ROUTE_CODES: &[&str] = &["MG210", "MG212", "MG213", "MG214"];
    let mut refused = Vec::new();
    let mut attached = false;
    for facts in context.chain().routes.values() {
        let route = facts.object;
        for attachment in &facts.attachments {
            let of_gateway = attachment.gateway.found().is_some_and(|gateway| policy.targets(gateway));
            let named = attachment.parent.section.is_none_or(|s| policy.section().is_none_or(|own| own == s));
            if !(policy.targets(route) || (of_gateway && named)) {
                continue;
            }
            let takes = attachment.listeners.iter().any(|(listener, verdict)| {
                matches!(verdict, Verdict::Accepts(_))
                    && (policy.targets(route) || policy.section().is_none_or(|own| own == listener.name))
            });
            attached |= takes;
            if !takes {
                refused.push(route);
            }
        }
    }
    for route in refused.iter().take(5) {
        draft.object(route.reference()).evidence(route.evidence("/spec/parentRefs"));
        draft.because_of(ROUTE_CODES, route.reference());
    }
    let target = match policy.section() {
        Some(section) => format!("listener {section} of Gateway {}", policy.target_name()),
        None => format!("{} {}", policy.target_kind(), policy.target_name()),
    };
    if refused.is_empty() && !attached && policy.target_kind() == "Gateway" {
        draft.remedy.text = format!(
            "No HTTPRoute is attached to {target}: attach the one that the policy should protect, or delete the \
             policy."
        );
    }
}
