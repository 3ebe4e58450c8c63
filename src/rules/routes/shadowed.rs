//! MG234: routes that get nothing, because an older one has the same host and path.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{accepted, patch};
use crate::declare_rule;
use crate::model::gateway_api::paths::{matches, path_match};
use crate::model::gateway_api::{Listener, Verdict, backend_refs, hostnames};
use crate::model::mcp::RouteFacts;
use crate::model::mcp::extension::MANAGED_ROUTE;
use crate::model::{Missing, Object, kinds};
use crate::report::Severity;
use crate::rules::{Context, Findings};
use crate::shell::shell;

declare_rule! {
    /// An older HTTPRoute takes the requests of another
    ///
    /// ## What it means
    /// Two routes are attached to one listener with the same hostname and the same match. Both are accepted,
    /// and no status says so, but Envoy follows the older one only. Of a registered server the tools are
    /// listed all the same, because the broker asks the server directly; each call of them arrives at the
    /// server of the older route.
    ///
    /// ## How it is decided
    /// The matches (path, method, headers, parameters) of all rules of the routes that a Gateway of the MCP
    /// gateway takes, by listener and hostname. Where two routes have the same match, the one with the lower
    /// `creationTimestamp` wins, then the first by namespace and name, as the Gateway API wants it. Two
    /// routes make one finding, whichever of their matches meet; it is a warning when no registration targets
    /// the one that loses.
    ///
    /// Left out are rules that send to the same backends with the same filters, matches that overlap without
    /// being the same, routes that are being deleted, and pairs of which neither has a registration or leads
    /// to the broker. Without the times of creation it stays undecided.
    ///
    /// ## Causes
    /// A route was copied and kept its hostname; the controller's `mcp-gateway-route` is still there after
    /// `httpRouteManagement: Disabled`; two teams chose one name.
    ///
    /// ## How to confirm
    /// `oc get httproutes -A --sort-by=.metadata.creationTimestamp` and compare the hostnames; Envoy's routes
    /// (`config_dump`) hold both, the older first.
    ///
    /// ## How to fix
    /// Give the younger route a hostname of its own, or delete the one that is not wanted. The command
    /// replaces all hostnames of the younger route by one under the listener's wildcard; clients and DNS have
    /// to use it then.
    ///
    /// ## When it may be a false alarm
    /// The younger route waits on purpose until the older one is deleted.
    pub(super) static ROUTE_SHADOWED = {
        code: "MG234", name: "route-shadowed", severity: Error, section: "1.2.2",
        needs: ["httproutes", "gateways", "mcpgatewayextensions", "mcpserverregistrations", "namespaces (labels)"], since: "0.1.0",
        caused_by: [], check: route_shadowed,
    }
}

/// A match of a rule, at one hostname of one listener.
struct Claim<'c, 'a> {
    facts: &'c RouteFacts<'a>,
    gateway: &'a Object,
    listener: &'c Listener<'a>,
    rule: usize,
    path: &'a str,
}

/// What a rule does with the requests that it takes.
fn effect(route: &Object, rule: usize) -> String {
    let filters = route.get(&format!("/spec/rules/{rule}/filters")).map(|filters| filters.to_json());
    let refs = backend_refs(route).into_iter().filter(|b| b.rule == rule);
    let refs: Vec<String> = refs.map(|b| format!("{}/{} {:?}", b.namespace, b.name, b.port)).collect();
    format!("{filters:?} {refs:?}")
}

/// A match as text, the same for two that take the same requests.
fn written(value: &crate::model::json::Value) -> String {
    let path = path_match(value);
    let mut rest = value.to_json();
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("path");
    } else {
        rest = json!({});
    }
    format!("{} {} {rest}", path.kind, path.value)
}

/// Whether a route is one of the MCP gateway's: a server is registered with it, or it leads to the broker.
fn concerns(context: &Context<'_>, facts: &RouteFacts<'_>) -> bool {
    let broker = |b: &crate::model::gateway_api::BackendRef<'_>| {
        b.is_service()
            && b.name == "mcp-gateway"
            && context.bundle.list_in(&kinds::MCP_GATEWAY_EXTENSION, b.namespace).next().is_some()
    };
    !facts.registrations.is_empty() || backend_refs(facts.object).iter().any(broker)
}

fn route_shadowed(context: &Context<'_>, findings: &mut Findings) {
    let mut claims: BTreeMap<(String, usize, &str, String), Vec<Claim<'_, '_>>> = BTreeMap::new();
    for facts in context.chain().routes.values().filter(|f| !f.object.is_deleting()) {
        for attachment in &facts.attachments {
            let Some(gateway) = attachment.gateway.found() else { continue };
            for (listener, verdict) in &attachment.listeners {
                let Verdict::Accepts(hosts) = verdict else { continue };
                for (rule, value) in facts.object.array("/spec/rules").iter().enumerate() {
                    for (host, wanted) in
                        hosts.iter().flat_map(|h| matches(value).iter().map(move |m| (h, m)))
                    {
                        let place = (gateway.full_name(), listener.index, host.as_str(), written(wanted));
                        let path = path_match(wanted).value;
                        claims.entry(place).or_default().push(Claim { facts, gateway, listener, rule, path });
                    }
                }
            }
        }
    }
    // One finding for two routes, however many of their matches meet.
    let mut reported: BTreeSet<(String, String)> = BTreeSet::new();
    for ((_, _, host, _), claims) in &claims {
        let order = |claim: &Claim<'_, '_>| (claim.facts.object.created(), claim.facts.object.full_name());
        let Some(first) = claims.iter().min_by_key(|claim| order(claim)) else { continue };
        for claim in claims {
            let (winner, loser) = (first.facts.object, claim.facts.object);
            let same = std::ptr::eq(winner, loser) || effect(winner, first.rule) == effect(loser, claim.rule);
            let ours = concerns(context, first.facts) || concerns(context, claim.facts);
            if same || !ours || !reported.insert((winner.full_name(), loser.full_name())) {
                continue;
            }
            match (winner.created(), loser.created()) {
                (Some(older), Some(younger)) => lost(context, findings, host, first, claim, [older, younger]),
                _ => findings.cannot_tell(
                    &ROUTE_SHADOWED,
                    Missing {
                        what: format!(
                            "when HTTPRoutes {} and {} were created, which have the same host and path",
                            winner.full_name(),
                            loser.full_name()
                        ),
                        how: shell!("oc -n {} get httproute {} -o yaml", loser.namespace(), loser.name()),
                    },
                ),
            }
        }
    }
}

fn lost(
    context: &Context<'_>,
    findings: &mut Findings,
    host: &str,
    first: &Claim<'_, '_>,
    claim: &Claim<'_, '_>,
    times: [DateTime<Utc>; 2],
) {
    let (winner, loser) = (first.facts.object, claim.facts.object);
    let why = if times[0] < times[1] { "older" } else { "first by its name" };
    let draft = findings.report(
        &ROUTE_SHADOWED,
        loser,
        format!(
            "HTTPRoute {} gets no requests for {host}{}: HTTPRoute {}, which is {why}, has the same host and path",
            loser.full_name(),
            claim.path,
            winner.full_name()
        ),
        loser.evidence("/spec/hostnames"),
        "Give the younger route a hostname of its own, or delete the route that is not wanted.",
    );
    draft
        .evidence(loser.evidence(&format!("/spec/rules/{}/matches", claim.rule)))
        .evidence(winner.evidence("/spec/hostnames"))
        .evidence(loser.evidence("/metadata/creationTimestamp"))
        .evidence(winner.evidence("/metadata/creationTimestamp"))
        .object(winner.reference())
        .object(claim.gateway.reference());
    if claim.facts.registrations.is_empty() {
        draft.severity(Severity::Warning);
    }
    for &at in &claim.facts.registrations {
        draft.object(context.chain().registrations[at].object.reference());
    }
    let given_up = winner.name() == MANAGED_ROUTE
        && context
            .bundle
            .list_in(&kinds::MCP_GATEWAY_EXTENSION, winner.namespace())
            .any(|extension| extension.str("/spec/httpRouteManagement") == "Disabled");
    // A name under the listener's wildcard that no route has yet.
    let free = claim.listener.hostname.strip_prefix('*').map(|domain| format!("{}{domain}", loser.name()));
    let taken =
        |name: &String| context.chain().routes.values().any(|f| hostnames(f.object).contains(&name.as_str()));
    match free.filter(|name| !taken(name)) {
        _ if given_up => {
            draft.command(shell!("oc -n {} delete httproute {}", winner.namespace(), winner.name()));
        }
        Some(name) => {
            patch(draft, loser, "/spec/hostnames", Value::from(vec![name]));
        }
        None => {
            draft.command(shell!("oc -n {} edit httproute {}", loser.namespace(), loser.name()));
        }
    }
    draft.verify(accepted(loser));
}
