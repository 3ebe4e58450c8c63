//! Where requests for the public host of an extension arrive: listener, route, rule; also before the controller has
//! written the route.

use std::collections::HashMap;

use crate::model::cel::Asked;
use crate::model::gateway_api::paths::{PathMatch, paths};
use crate::model::gateway_api::{Verdict, hostname};
use crate::model::json::Value;
use crate::model::kuadrant::Policy;
use crate::model::mcp::extension::{MANAGED_ROUTE, names_listeners};
use crate::model::mcp::{Extension, ExtensionFault};
use crate::model::probes::WELL_KNOWN;
use crate::model::{Object, kinds};
use crate::rules::{Context, Draft};

/// A place where requests for the public host of an extension arrive.
pub(in crate::rules) struct Entrance<'a> {
    extension: &'a Object,
    /// The code of the extension's first fault.
    fault: Option<&'static str>,
    /// The Gateway.
    pub(in crate::rules) gateway: &'a Object,
    listener: &'a str,
    /// The route. `None`: the controller writes it once the extension is in order.
    pub(in crate::rules) route: Option<&'a Object>,
    /// The rule of the route: its name, or `rule-N` from 1.
    rule: String,
    /// The JSON pointer of the rule.
    pub(in crate::rules) pointer: String,
    /// Its path matches.
    paths: Vec<PathMatch<'a>>,
}

impl<'a> Entrance<'a> {
    /// Whether the rule takes requests for a path.
    pub(in crate::rules) fn takes(&self, path: &str) -> bool {
        self.paths.iter().any(|own| own.takes(path))
    }

    /// The AuthPolicies in effect here that demand credentials of clients.
    pub(in crate::rules) fn authenticating(&self, context: &Context<'a>) -> Vec<Policy<'a>> {
        self.demanding(context, Asked::CALL)
    }

    /// The AuthPolicies in effect here that demand credentials for a request.
    pub(in crate::rules) fn demanding(&self, context: &Context<'a>, asked: Asked) -> Vec<Policy<'a>> {
        let route = self.route.map(|route| (route, self.rule.as_str()));
        let mut found = context.auth_policies().effective(self.gateway, self.listener, route);
        found.retain(|policy| policy.demands(asked));
        found
    }

    /// The namespace of the route.
    pub(in crate::rules) fn namespace(&self) -> &'a str {
        self.route.unwrap_or(self.extension).namespace()
    }

    /// Says of a finding that it is about the route; or about one that is yet to be written, so that the finding shows
    /// once the extension is in order.
    pub(in crate::rules) fn name_route(&self, draft: &mut Draft) {
        match (self.route, self.fault) {
            (Some(route), _) => {
                draft.object(route.reference());
            }
            (None, Some(code)) => {
                draft.hidden_behind(&[code], self.extension.reference());
            }
            (None, None) => {}
        }
    }

    /// Shows the rule, or what the controller will write it from.
    pub(in crate::rules) fn show_rule(&self, draft: &mut Draft) {
        draft.evidence(match self.route {
            Some(route) => route.evidence(&self.pointer),
            None => self.extension.evidence("/spec/targetRef"),
        });
    }
}

/// The entrances of every extension's public host.
pub(in crate::rules) struct Entrances<'a>(HashMap<(&'a str, &'a str), Vec<Entrance<'a>>>);

impl<'a> Entrances<'a> {
    /// Those of an extension.
    pub(in crate::rules) fn of(&self, extension: &'a Object) -> &[Entrance<'a>] {
        self.0.get(&(extension.namespace(), extension.name())).map_or(&[], Vec::as_slice)
    }
}

/// Finds the entrances of all extensions; rules ask the context, which keeps them.
pub(in crate::rules) fn entrances<'a>(context: &Context<'a>) -> Entrances<'a> {
    let all = context.chain().extensions.iter();
    let id = |extension: &Extension<'a>| (extension.object.namespace(), extension.object.name());
    Entrances(all.map(|extension| (id(extension), of_extension(context, extension))).collect())
}

fn of_extension<'a>(context: &Context<'a>, extension: &Extension<'a>) -> Vec<Entrance<'a>> {
    let mut found = Vec::new();
    let (Some(gateway), Some(host)) = (extension.meant_gateway, extension.public_host()) else {
        return found;
    };
    let fault = extension.first().map(|first| first.code());
    for facts in context.chain().routes_of(gateway) {
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
            let Some((listener, _)) =
                takes.max_by_key(|(listener, _)| (listener.name == own, std::cmp::Reverse(listener.index)))
            else {
                continue;
            };
            for (index, rule) in route.array("/spec/rules").iter().enumerate() {
                let name = rule
                    .get("name")
                    .and_then(Value::as_str)
                    .map_or_else(|| format!("rule-{}", index + 1), str::to_owned);
                found.push(Entrance {
                    extension: extension.object,
                    fault,
                    gateway,
                    listener: listener.name,
                    route: Some(route),
                    rule: name,
                    pointer: format!("/spec/rules/{index}"),
                    paths: paths(rule),
                });
            }
        }
    }
    if !found.iter().any(|entrance| entrance.takes("/mcp")) {
        found.extend(to_come(context, extension, gateway, &host));
    }
    found
}

/// The rules of the route that the controller will write once the extension is in order.
fn to_come<'a>(
    context: &Context<'a>,
    extension: &Extension<'a>,
    gateway: &'a Object,
    host: &str,
) -> Vec<Entrance<'a>> {
    let object = extension.object;
    let Some(listener) = extension.meant_listener.as_ref() else { return Vec::new() };
    let written = context.bundle.get(&kinds::HTTP_ROUTE, object.namespace(), MANAGED_ROUTE).is_some();
    // Where several extensions want one place, nobody knows who is to go elsewhere.
    let conflicts = extension.faults.iter().any(|f| matches!(f, ExtensionFault::NamespaceConflict(_)));
    let chain = context.chain();
    let others = chain.extensions_of((gateway.namespace(), gateway.name())).iter();
    let shares = others.map(|&at| &chain.extensions[at]).any(|other| {
        !std::ptr::eq(other.object, object)
            && !other.object.is_deleting()
            && other.meant_listener.is_some_and(|own| own.port == listener.port)
    });
    // A route that is refused as its extension is comes in once that is repaired.
    let refused = extension.faults.iter().any(|f| matches!(f, ExtensionFault::NotAllowed(_)));
    if (written && !refused)
        || conflicts
        || shares
        || object.is_deleting()
        || object.str("/spec/httpRouteManagement") == "Disabled"
        || !names_listeners(context.bundle, object)
        || hostname::intersection(listener.hostname, host).is_none()
        || context.bundle.collected(&kinds::HTTP_ROUTE, Some(object.namespace())).is_err()
    {
        return Vec::new();
    }
    [("mcp", "/mcp"), ("well-known", WELL_KNOWN)]
        .into_iter()
        .map(|(rule, path)| Entrance {
            extension: object,
            fault: extension.first().map(|first| first.code()),
            gateway,
            listener: listener.name,
            route: None,
            rule: rule.to_owned(),
            pointer: String::new(),
            paths: vec![PathMatch { kind: "PathPrefix", value: path }],
        })
        .collect()
}
