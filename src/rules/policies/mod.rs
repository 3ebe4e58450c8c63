//! MG801-MG815, MG706: Kuadrant's policies, their expressions, and the services that enforce them.

mod attachment;
mod behind;
mod components;
mod enforcement;
mod entrances;
mod expressions;

use super::{Context, Findings, Rule};
use crate::model::gateway_api::listeners;
use crate::model::kuadrant::{POLICIES, Policy};
use crate::model::{Missing, Object, kinds};
pub(super) use attachment::leads_nowhere;
pub(super) use entrances::{Entrance, Entrances, entrances};
pub(super) use expressions::{Wrong, problems};

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &attachment::AUTHPOLICY_NOT_ACCEPTED,
    &enforcement::NO_AUTHORIZATION,
    &attachment::AUTHPOLICY_TARGET_MISSING,
    &attachment::AUTHPOLICY_SECTION,
    &components::KUADRANT_OPERATOR_DOWN,
    &components::AUTHORINO_DOWN,
    &expressions::CEL_SYNTAX,
    &expressions::CEL_REFERENCE,
    &attachment::POLICY_NOT_ENFORCED,
    &enforcement::ROLE_CLAIMS,
    &components::IDENTITY_SERVER_UNREACHABLE,
    &components::KUADRANT_COMPONENT_DOWN,
    &components::GATEWAY_CONTROLLER_NOT_KNOWN,
    &enforcement::AUTHCONFIG_NOT_LINKED,
    &enforcement::POLICY_FILTER_MISSING,
    &enforcement::DENIALS,
];

/// The policies that concern the MCP gateway: their target is one of its Gateways or routes, or they
/// stand in a namespace of one and their target does not exist there.
pub(super) fn ours<'a>(context: &Context<'a>) -> Vec<Policy<'a>> {
    let chain = context.chain();
    let bundle = context.bundle;
    let mut namespaces: std::collections::BTreeSet<&str> = chain.gateways.iter().map(|(ns, _)| *ns).collect();
    namespaces.extend(chain.routes.keys().map(|(ns, _)| *ns));
    namespaces.extend(chain.extensions.iter().map(|e| e.object.namespace()));
    let ours = |policy: &Policy<'_>| {
        let (namespace, name) = (policy.object.namespace(), policy.target_name());
        match policy.target_kind() {
            "Gateway" => {
                chain.gateways.contains(&(namespace, name))
                    || (namespaces.contains(namespace)
                        && bundle.get(&kinds::GATEWAY, namespace, name).is_none())
            }
            "HTTPRoute" => {
                chain.routes.contains_key(&(namespace, name))
                    || (namespaces.contains(namespace)
                        && bundle.get(&kinds::HTTP_ROUTE, namespace, name).is_none())
            }
            _ => false,
        }
    };
    POLICIES
        .iter()
        .flat_map(|kind| bundle.list(kind))
        .map(|object| Policy { object })
        .filter(|p| !p.object.is_deleting())
        .filter(ours)
        .collect()
}

/// The AuthPolicies among them.
pub(super) fn auth_policies<'a>(context: &Context<'a>) -> Vec<Policy<'a>> {
    context.policies().iter().copied().filter(|p| p.object.kind() == "AuthPolicy").collect()
}

/// Says what is missing to judge policies.
pub(super) fn say_what_is_missing(context: &Context<'_>, rule: &'static Rule, findings: &mut Findings) {
    let bundle = context.bundle;
    let mut gaps: Vec<Missing> = Vec::new();
    let mut namespaces: std::collections::BTreeSet<&str> =
        context.chain().gateways.iter().map(|(ns, _)| *ns).collect();
    namespaces.extend(context.chain().routes.keys().map(|(ns, _)| *ns));
    for namespace in namespaces {
        gaps.extend(bundle.collected(&kinds::AUTH_POLICY, Some(namespace)).err());
    }
    for missing in gaps {
        findings.cannot_tell(rule, missing);
    }
}

/// The names of a Gateway's listeners.
fn listener_names(gateway: &Object) -> Vec<&str> {
    listeners(gateway).iter().map(|l| l.name).collect()
}
