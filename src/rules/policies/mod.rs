//! MG801-MG815, MG706: Kuadrant's policies, their expressions, and the services that enforce them.

mod attachment;
mod behind;
mod components;
mod enforcement;
mod expressions;

use super::{Context, Findings, Rule};
use crate::model::gateway_api::{Verdict, listeners};
use crate::model::kuadrant::{POLICIES, Policy};
use crate::model::{Missing, Object, kinds};
pub(super) use attachment::leads_nowhere;

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
pub(super) fn policies<'a>(context: &Context<'a>) -> Vec<Policy<'a>> {
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
    policies(context).into_iter().filter(|p| p.object.kind() == "AuthPolicy").collect()
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

/// A place where requests for the MCP gateway's public host arrive: listener, route, rule.
pub(super) struct Entrance<'c, 'a> {
    /// The extension.
    pub(super) extension: &'a Object,
    /// The Gateway.
    pub(super) gateway: &'a Object,
    /// The name of the listener.
    pub(super) listener: &'c str,
    /// The route.
    pub(super) route: &'a Object,
    /// The rule of the route: its name, or `rule-N` from 1.
    pub(super) rule: String,
    /// The JSON pointer of the rule.
    pub(super) pointer: String,
    /// Its path matches.
    pub(super) paths: Vec<(&'a str, &'a str)>,
}

impl Entrance<'_, '_> {
    /// Whether the rule takes requests for a path.
    pub(super) fn takes(&self, path: &str) -> bool {
        self.paths.iter().any(|(kind, value)| match *kind {
            "Exact" => *value == path,
            "RegularExpression" => value.contains("well-known") && path.contains("well-known"),
            _ => {
                let prefix = value.trim_end_matches('/');
                path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
            }
        })
    }
}

/// The entrances of every extension's public host.
pub(super) fn entrances<'c, 'a>(context: &'c Context<'a>) -> Vec<Entrance<'c, 'a>> {
    let mut found = Vec::new();
    for extension in &context.chain().extensions {
        let (Some(gateway), Some(host)) = (extension.meant_gateway, extension.public_host()) else {
            continue;
        };
        for facts in context.chain().routes.values() {
            let route = facts.object;
            for attachment in &facts.attachments {
                if !attachment.gateway.found().is_some_and(|g| std::ptr::eq(g, gateway)) {
                    continue;
                }
                // A route without hostnames has those of the listener.
                let serves = |name: &String| {
                    *name == host || name == "*" || name.strip_prefix('*').is_some_and(|d| host.ends_with(d))
                };
                let takes = attachment.listeners.iter().filter(
                    |(_, verdict)| matches!(verdict, Verdict::Accepts(hosts) if hosts.iter().any(serves)),
                );
                // The listener of the extension, where it is one of several.
                let own = extension.meant_listener.map_or("", |l| l.name);
                let Some((listener, _)) = takes
                    .max_by_key(|(listener, _)| (listener.name == own, std::cmp::Reverse(listener.index)))
                else {
                    continue;
                };
                for (index, rule) in route.array("/spec/rules").iter().enumerate() {
                    let name = rule
                        .get("name")
                        .and_then(|n| n.as_str())
                        .map_or_else(|| format!("rule-{}", index + 1), str::to_owned);
                    let matches = rule.get("matches").and_then(|m| m.as_array());
                    let mut paths: Vec<(&str, &str)> = matches
                        .into_iter()
                        .flatten()
                        .map(|m| {
                            let text =
                                |p: &str, default| m.pointer(p).and_then(|v| v.as_str()).unwrap_or(default);
                            (text("/path/type", "PathPrefix"), text("/path/value", "/"))
                        })
                        .collect();
                    if paths.is_empty() {
                        paths.push(("PathPrefix", "/"));
                    }
                    found.push(Entrance {
                        extension: extension.object,
                        gateway,
                        listener: listener.name,
                        route,
                        rule: name,
                        pointer: format!("/spec/rules/{index}"),
                        paths,
                    });
                }
            }
        }
    }
    found
}

/// The names of a Gateway's listeners.
fn listener_names(gateway: &Object) -> Vec<&str> {
    listeners(gateway).iter().map(|l| l.name).collect()
}
