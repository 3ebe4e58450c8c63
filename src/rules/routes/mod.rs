//! MG210-MG217, MG234: HTTPRoutes: parents, hostnames, allowed namespaces, backends, stale statuses, who comes first.

mod backends;
mod filters;
mod orphans;
mod shadowed;
mod stale;

pub(super) use backends::grant_remedy;
use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::{Context, Draft, Findings, Rule, suggest};
use crate::declare_rule;
use crate::model::gateway_api::{
    Attachment, Listener, Outcome, ParentRef, Refusal, Verdict, backend_refs, hostnames, status,
};
use crate::model::mcp::RouteFacts;
use crate::model::{Object, kinds};
use crate::report::ObjectRef;
use crate::rules::remedy;
use crate::shell::{Command, shell};

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &ROUTE_NOT_ACCEPTED,
    &ROUTE_REFS_UNRESOLVED,
    &ROUTE_PARENT_MISSING,
    &ROUTE_HOSTNAME_MISMATCH,
    &ROUTE_NOT_ALLOWED,
    &backends::BACKEND_MISSING,
    &backends::BACKEND_NOT_GRANTED,
    &stale::STATUS_STALE,
    &shadowed::ROUTE_SHADOWED,
];

/// The codes of our own verdict on a parentRef.
const PARENT_CODES: &[&str] = &["MG212", "MG213", "MG214"];

declare_rule! {
    /// A Gateway does not accept an HTTPRoute
    ///
    /// ## What it means
    /// The route's status says `Accepted=False` for a parent. Where no other parent accepts it, requests for
    /// its hosts are answered with 404, and a registration that targets it becomes
    /// `no valid gateways for httproute`.
    ///
    /// ## How it is decided
    /// `status.parents[].conditions` of every route of the MCP chain, for the parentRefs that the spec still
    /// has: each `Accepted` that is not `True` is reported. The tool's own evaluation of the parentRef is
    /// attached: when it finds the reason (MG212, MG213, MG214), that is the cause. Istio shows one reason
    /// only, the highest of NotAllowedByListeners, NoMatchingListenerHostname, NoMatchingParent; our own
    /// evaluation looks at every listener. Where the specs fit, a filter of a type that Istio does not
    /// translate is looked for in the rules.
    ///
    /// ## Causes
    /// Wrong parentRef, hostnames that do not meet, a listener that does not admit the namespace or the kind,
    /// an invalid filter or match.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproute NAME -o yaml` and read `status.parents`.
    ///
    /// ## How to fix
    /// Repair the cause; where none was found, follow the message of the condition. For a filter that is not
    /// supported the command takes it out of the route: what it was meant for has to be done elsewhere.
    ///
    /// ## When it may be a false alarm
    /// The route or the Gateway was changed seconds ago, and the status still speaks of the time before.
    static ROUTE_NOT_ACCEPTED = {
        code: "MG210", name: "route-not-accepted", severity: Error, section: "1.2.2",
        needs: ["httproutes", "gateways", "namespaces (labels)", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: ["MG212", "MG213", "MG214", "MG202", "MG205", "MG207", "MG209"], check: route_not_accepted,
    }
}

fn route_not_accepted(context: &Context<'_>, findings: &mut Findings) {
    for facts in context.chain().routes.values() {
        let route = facts.object;
        for attachment in &facts.attachments {
            for entry in status::of_parent(route, &attachment.parent) {
                let Some(condition) = entry.condition("Accepted").filter(|c| !c.is_true()) else { continue };
                let (namespace, name) = (route.namespace(), route.name());
                let outcome = attachment.outcome();
                let refused = filters::filter(route).filter(|_| outcome == Outcome::Accepted);
                let remedy = match (&outcome, &refused) {
                    (Outcome::Accepted, Some(refused)) => refused.text.as_str(),
                    (Outcome::Accepted, None) => {
                        "The specs of route, Gateway and namespace fit: follow the message of the condition \
                         (a match that is not supported), or see whether the status is stale."
                    }
                    _ => "Repair the parentRef, hostname or allowedRoutes that is reported as the cause.",
                };
                let draft = findings.report(
                    &ROUTE_NOT_ACCEPTED,
                    route,
                    format!(
                        "HTTPRoute {namespace}/{name} is not accepted by Gateway {}/{}: {}",
                        attachment.parent.namespace, attachment.parent.name, condition.reason
                    ),
                    route.evidence(&entry.pointer(&condition)),
                    remedy,
                );
                refused.iter().for_each(|refused| refused.add_to(route, draft));
                draft.object(gateway_reference(attachment));
                match outcome {
                    Outcome::Accepted => {}
                    _ => {
                        draft.because_of(PARENT_CODES, route.reference());
                    }
                }
                draft
                    .command(shell!("oc -n {} get httproute {} -o yaml", namespace, name))
                    .verify(accepted(route));
            }
        }
    }
}

fn gateway_reference(attachment: &Attachment<'_>) -> ObjectRef {
    attachment.gateway.found().map_or_else(
        || suggest::reference(&kinds::GATEWAY, attachment.parent.namespace, attachment.parent.name),
        Object::reference,
    )
}

/// The command that shows whether the parents accept a route.
fn accepted(route: &Object) -> Command {
    shell!(
        "oc -n {} get httproute {} -o jsonpath='{{.status.parents[*].conditions[?(@.type==\"Accepted\")].status}}'",
        route.namespace(),
        route.name()
    )
}

/// Whether a route leads to the broker of the extension in a namespace.
pub(super) fn leads_to_broker(route: &Object, namespace: &str) -> bool {
    backend_refs(route).iter().any(|b| b.is_service() && b.name == "mcp-gateway" && b.namespace == namespace)
}

declare_rule! {
    /// References of an HTTPRoute are not resolved
    ///
    /// ## What it means
    /// The route's status says `ResolvedRefs=False`: at least one backend does not exist, is of an unknown
    /// kind, or may not be referred to. Requests to that rule are answered with 500.
    ///
    /// ## How it is decided
    /// `status.parents[].conditions` of every route of the MCP chain, for the parentRefs that the spec still
    /// has: each `ResolvedRefs` that is not `True` is reported. Missing Services (MG215, MG406) and missing
    /// grants (MG216) that our own evaluation finds are the causes. With several errors the status shows one
    /// reason only; a wrong kind wins over a missing backend. For `InvalidFilter` and `InvalidDestination`
    /// the filter or the host name is looked up in the rules.
    ///
    /// ## Causes
    /// A typo in a backendRef, a deleted Service, a Service in another namespace without ReferenceGrant, an
    /// external host without ServiceEntry. Istio reports a filter that it does not support here too
    /// (`InvalidFilter`), and a Service that is named by its host (`InvalidDestination`).
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproute NAME -o yaml` and read `status.parents`.
    ///
    /// ## How to fix
    /// Repair the cause; where none was found, follow the message of the condition. For a filter that is not
    /// supported the command takes it out of the route: what it was meant for has to be done elsewhere.
    ///
    /// ## When it may be a false alarm
    /// The backend or its grant was made seconds ago, and the status still speaks of the time before.
    static ROUTE_REFS_UNRESOLVED = {
        code: "MG211", name: "route-refs-unresolved", severity: Error, section: "1.2.2",
        needs: ["httproutes"], since: "0.1.0",
        caused_by: ["MG215", "MG216", "MG406", "MG501", "MG502", "MG503", "MG507"], check: route_refs_unresolved,
    }
}

fn route_refs_unresolved(context: &Context<'_>, findings: &mut Findings) {
    for facts in context.chain().routes.values() {
        let route = facts.object;
        for attachment in &facts.attachments {
            for entry in status::of_parent(route, &attachment.parent) {
                let Some(condition) = entry.condition("ResolvedRefs").filter(|c| !c.is_true()) else {
                    continue;
                };
                let (namespace, name) = (route.namespace(), route.name());
                let meaning = match condition.reason {
                    "BackendNotFound" => "A backend does not exist.",
                    "RefNotPermitted" => "A backend in another namespace needs a ReferenceGrant there.",
                    "InvalidKind" => "A backendRef has a kind that the Gateway's controller does not know.",
                    "InvalidDestination" => {
                        "A backendRef is malformed: a Service is named by its name and port, not by its \
                         host name."
                    }
                    _ => "Read the message; it comes from the Gateway's controller.",
                };
                let refused = match condition.reason {
                    "InvalidFilter" => filters::filter(route),
                    "InvalidDestination" => filters::host(route),
                    _ => None,
                };
                let remedy = refused.as_ref().map_or(meaning, |refused| &refused.text).to_owned();
                let draft = findings.report(
                    &ROUTE_REFS_UNRESOLVED,
                    route,
                    format!("HTTPRoute {namespace}/{name} has unresolved references: {}", condition.reason),
                    route.evidence(&entry.pointer(&condition)),
                    remedy,
                );
                refused.iter().for_each(|refused| refused.add_to(route, draft));
                // Nothing else explains these: what is missing besides is a fault of its own.
                match condition.reason {
                    "InvalidKind" => {
                        draft.because_of(&["MG419"], route.reference()).explains_itself();
                    }
                    "InvalidFilter" => {
                        draft.explains_itself();
                    }
                    _ => {}
                }
                draft.command(shell!("oc -n {} get httproute {} -o yaml", namespace, name)).verify(shell!(
                    "oc -n {} get httproute {} -o \
                         jsonpath='{{.status.parents[*].conditions[?(@.type==\"ResolvedRefs\")].status}}'",
                    namespace,
                    name
                ));
            }
        }
    }
}

declare_rule! {
    /// A parentRef of an HTTPRoute leads nowhere
    ///
    /// ## What it means
    /// The route names a Gateway that does not exist, a listener name or port that the Gateway does not have,
    /// or, although a server is registered with it, no Gateway at all. It is attached to nothing by this
    /// parentRef, and requests for its hosts get 404.
    ///
    /// ## How it is decided
    /// Each parentRef is resolved with the API's defaults (group, kind, the route's own namespace):
    ///
    /// - Its Gateway must exist. Istio writes no status entry at all for one that does not. A namespace that
    ///   was not collected is taken for a typo when nothing in the bundle nor the route's status knows it,
    ///   and the only Gateway of the name lives in a namespace that is called nearly the same.
    /// - A listener must have its `sectionName` and `port`; with both, the same listener must have both. Else
    ///   Istio writes `NoMatchingParent`.
    /// - The route of a registration that is enabled and not ready must name a Gateway in one of its
    ///   parentRefs: the MCP controller looks at nothing else.
    ///
    /// Otherwise ListenerSets and Services as parents are not judged.
    ///
    /// ## Causes
    /// A typo, also in the `kind`; a `namespace` left out although the Gateway lives elsewhere; a renamed
    /// listener; a route without `parentRefs`.
    ///
    /// ## How to confirm
    /// `oc get gateways -A`; `oc -n NAMESPACE get gateway NAME -o yaml`, and compare listener names and ports
    /// with the parentRef.
    ///
    /// ## How to fix
    /// Patch the field that is shown as evidence. The command is there where one Gateway or listener is close
    /// to what the parentRef names.
    ///
    /// ## When it may be a false alarm
    /// A route that is prepared for a Gateway which is yet to come.
    static ROUTE_PARENT_MISSING = {
        code: "MG212", name: "route-parent-missing", severity: Error, section: "1.2.2",
        needs: ["httproutes", "gateways", "mcpserverregistrations", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: ["MG003"], check: route_parent_missing,
    }
}

fn route_parent_missing(context: &Context<'_>, findings: &mut Findings) {
    for facts in context.chain().routes.values() {
        orphans::without_gateway(context, findings, facts);
        let route = facts.object;
        let (namespace, name) = (route.namespace(), route.name());
        for attachment in &facts.attachments {
            let parent = attachment.parent;
            let base = format!("/spec/parentRefs/{}", parent.index);
            match attachment.outcome() {
                Outcome::NoGateway => {
                    let near = suggest::sentence(context, &kinds::GATEWAY, parent.namespace, parent.name);
                    let draft = findings.report(
                        &ROUTE_PARENT_MISSING,
                        route,
                        format!(
                            "HTTPRoute {namespace}/{name} names Gateway {}/{}, which does not exist",
                            parent.namespace, parent.name
                        ),
                        route.evidence(&format!("{base}/name")),
                        format!("Correct the parentRef.{near}"),
                    );
                    draft.evidence(route.evidence(&format!("{base}/namespace")));
                    let gateway = suggest::reference(&kinds::GATEWAY, parent.namespace, parent.name);
                    draft.because_of(&["MG201"], gateway.clone()).object(gateway);
                    if let Some(right) =
                        suggest::similar(context, &kinds::GATEWAY, parent.namespace, parent.name)
                    {
                        patch(draft, route, &format!("{base}/name"), json!(right.name()));
                    } else if let [right] =
                        suggest::elsewhere(context, &kinds::GATEWAY, parent.namespace, parent.name).as_slice()
                    {
                        patch(draft, route, &format!("{base}/namespace"), json!(right.namespace()));
                    }
                    draft.verify(accepted(route));
                }
                Outcome::NoListener => no_listener(findings, facts, attachment, &base),
                Outcome::Unknown(missing) if attachment.gateway.found().is_none() => {
                    match slipped(context, route, &parent) {
                        Some(right) => other_namespace(findings, route, &parent, right),
                        None => findings.cannot_tell(&ROUTE_PARENT_MISSING, missing),
                    }
                }
                _ => {}
            }
        }
    }
}

/// The Gateway that a parentRef means although its namespace was not collected: the only one of the name, in a namespace
/// of nearly the same name, while the bundle has nothing of the one that is named, nor has the route's status.
fn slipped<'a>(context: &'a Context<'_>, route: &Object, parent: &ParentRef<'_>) -> Option<&'a Object> {
    let known = context.bundle.objects().any(|o| {
        o.namespace() == parent.namespace || (o.kind() == "Namespace" && o.name() == parent.namespace)
    });
    if known || status::of_parent(route, parent).next().is_some() {
        return None;
    }
    let all = suggest::elsewhere(context, &kinds::GATEWAY, parent.namespace, parent.name);
    let [right] = all.as_slice() else { return None };
    suggest::closest(parent.namespace, std::iter::once((right.namespace(), *right)))
}

fn other_namespace(findings: &mut Findings, route: &Object, parent: &ParentRef<'_>, right: &Object) {
    let pointer = format!("/spec/parentRefs/{}/namespace", parent.index);
    let draft = findings.report(
        &ROUTE_PARENT_MISSING,
        route,
        format!(
            "HTTPRoute {} names Gateway {}/{}, of whose namespace the bundle has nothing; {} exists",
            route.full_name(),
            parent.namespace,
            parent.name,
            right.full_name()
        ),
        route.evidence(&pointer),
        format!("Correct the parentRef. Did you mean namespace {}?", right.namespace()),
    );
    draft.object(right.reference()).evidence(right.evidence("/metadata/namespace"));
    patch(draft, route, &pointer, json!(right.namespace()));
    draft.verify(accepted(route));
}

/// Routes by the hosts that they name.
pub(super) fn by_host<'c, 'a>(
    routes: impl Iterator<Item = &'c RouteFacts<'a>>,
) -> HashMap<&'a str, Vec<&'c RouteFacts<'a>>>
where
    'a: 'c,
{
    let mut found: HashMap<&str, Vec<_>> = HashMap::new();
    for facts in routes {
        for host in hostnames(facts.object) {
            found.entry(host).or_default().push(facts);
        }
    }
    found
}

/// Adds the command that sets one field of an object.
fn patch(draft: &mut Draft, object: &Object, pointer: &str, value: serde_json::Value) {
    draft.command(remedy::patch(object, json!([{"op": "add", "path": pointer, "value": value}])));
}

fn no_listener(findings: &mut Findings, facts: &RouteFacts<'_>, attachment: &Attachment<'_>, base: &str) {
    let (route, parent) = (facts.object, attachment.parent);
    let Some(gateway) = attachment.gateway.found() else { return };
    let listeners: Vec<String> =
        attachment.listeners.iter().map(|(l, _)| format!("{} (port {})", l.name, l.port)).collect();
    let wanted = match (parent.section, parent.port) {
        (Some(section), Some(port)) => format!("listener {section} on port {port}"),
        (Some(section), None) => format!("listener {section}"),
        (None, Some(port)) => format!("a listener on port {port}"),
        (None, None) => "any listener".to_owned(),
    };
    let candidates = attachment.listeners.iter().map(|(l, _)| (l.name, l.name));
    let near = parent.section.and_then(|section| suggest::closest(section, candidates));
    let hint = near.map(|name| format!(" Did you mean {name}?")).unwrap_or_default();
    let field = if parent.section.is_some() { "sectionName" } else { "port" };
    let draft = findings.report(
        &ROUTE_PARENT_MISSING,
        route,
        format!(
            "HTTPRoute {} names {wanted}, which Gateway {} does not have",
            route.full_name(),
            gateway.full_name()
        ),
        route.evidence(&format!("{base}/{field}")),
        format!("Name a listener that exists: {}.{hint}", listeners.join(", ")),
    );
    draft.object(gateway.reference());
    for (listener, _) in attachment.listeners.iter().take(6) {
        let shown = if field == "port" { "/port" } else { "/name" };
        draft.evidence(gateway.evidence(&listener.pointer(shown)));
    }
    if let Some(near) = near {
        patch(draft, route, &format!("{base}/sectionName"), json!(near));
    }
    draft.verify(accepted(route));
}

declare_rule! {
    /// No hostname of an HTTPRoute meets the listener's
    ///
    /// ## What it means
    /// The route is for hosts that the listener does not serve, so that it is not attached
    /// (`NoMatchingListenerHostname`) and requests get 404.
    ///
    /// ## How it is decided
    /// The hostnames of the route are intersected with those of every listener that the parentRef may mean,
    /// as the Gateway API says: a wildcard `*.example.com` stands for one or more labels and not for
    /// `example.com` itself, an absent hostname stands for all, and wildcards work in both directions. It is
    /// reported when no listener takes the route and none refuses it for its namespace or kind (MG214). That
    /// the MCP controller is narrower is MG423.
    ///
    /// ## Causes
    /// A typo, another domain, a listener for exactly one host.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproute NAME -o jsonpath='{.spec.hostnames}'`;
    /// `oc -n NAMESPACE get gateway NAME -o jsonpath='{.spec.listeners[*].hostname}'`.
    ///
    /// ## How to fix
    /// Change the route's hostname to one under the listener's, attach the route to another listener, or add
    /// a listener for the host. The command replaces all hostnames of the route by one that the nearest
    /// listener serves; clients and DNS have to use it then.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static ROUTE_HOSTNAME_MISMATCH = {
        code: "MG213", name: "route-hostname-mismatch", severity: Error, section: "1.2.2",
        needs: ["httproutes", "gateways"], since: "0.1.0",
        caused_by: [], check: route_hostname_mismatch,
    }
}

fn route_hostname_mismatch(context: &Context<'_>, findings: &mut Findings) {
    for facts in context.chain().routes.values() {
        for attachment in &facts.attachments {
            if attachment.outcome() != Outcome::NoHostname {
                continue;
            }
            let Some(gateway) = attachment.gateway.found() else { continue };
            let route = facts.object;
            let refused: Vec<_> = attachment
                .listeners
                .iter()
                .filter(|(_, verdict)| *verdict == Verdict::Refuses(Refusal::Hostname))
                .map(|(listener, _)| listener)
                .collect();
            let served: Vec<&str> = refused.iter().map(|l| l.hostname_text()).collect();
            let hosts = suggest::some(&hostnames(route), 3);
            let draft = findings.report(
                &ROUTE_HOSTNAME_MISMATCH,
                route,
                format!(
                    "HTTPRoute {} is for {hosts}, but Gateway {} serves {} there",
                    route.full_name(),
                    gateway.full_name(),
                    suggest::some(&served, 3)
                ),
                route.evidence("/spec/hostnames/0"),
                "Use a hostname under the listener's, or attach the route to the listener that serves it.",
            );
            draft.object(gateway.reference());
            for index in 1..hostnames(route).len().min(5) {
                draft.evidence(route.evidence(&format!("/spec/hostnames/{index}")));
            }
            for listener in refused.iter().take(6) {
                draft.evidence(gateway.evidence(&listener.pointer("/hostname")));
            }
            let nearest = |host: &str| {
                // Below a wildcard there is room for a host; the host of a listener is somebody's already.
                refused.iter().map(|l| l.hostname).rev().max_by_key(|right| {
                    let labels = host.rsplit('.').zip(right.rsplit('.'));
                    (right.starts_with("*."), labels.take_while(|(a, b)| a == b).count())
                })
            };
            if let Some((host, right)) =
                hostnames(route).first().and_then(|host| Some((host, nearest(host)?)))
            {
                let label = host.split('.').next().unwrap_or(host);
                let fixed = match right.strip_prefix("*.") {
                    Some(domain) => format!("{label}.{domain}"),
                    None => right.to_owned(),
                };
                patch(draft, route, "/spec/hostnames", json!([fixed]));
            }
            draft.verify(accepted(route));
        }
    }
}

declare_rule! {
    /// A listener does not allow an HTTPRoute
    ///
    /// ## What it means
    /// The listener's `allowedRoutes` excludes the route's namespace or kind (`NotAllowedByListeners`); the
    /// route is not attached and requests get 404.
    ///
    /// ## How it is decided
    /// For every listener that the parentRef may mean and whose hostname fits: `allowedRoutes.namespaces`
    /// (`Same` by default, `All`, `None`, or `Selector` evaluated in full against the labels of the
    /// Namespace) and `allowedRoutes.kinds` (by default HTTP and HTTPS listeners take HTTPRoutes, others do
    /// not). It is reported when no listener takes the route; routes of one namespace that one listener
    /// refuses for the same reason are one finding. Without the Namespace object a selector cannot be decided
    /// and the report says so. `from: Selector` without a selector is read as Istio reads it (all); other
    /// implementations refuse it. A ReferenceGrant has no say in this: it is not what lets a route attach to
    /// a Gateway.
    ///
    /// ## Causes
    /// A namespace without the label that the selector wants; `from: Same` (the default) for a Gateway in
    /// another namespace; a listener for TLS or TCP; `kinds` without HTTPRoute.
    ///
    /// ## How to confirm
    /// `oc get namespace NAME --show-labels` and compare with the listener's selector.
    ///
    /// ## How to fix
    /// Label the namespace (`oc label namespace NAME KEY=VALUE`), or widen `allowedRoutes`. Where no label is
    /// wanted, the command writes `from: All`, which opens the listener to the routes of every namespace: where
    /// that is too much, write a `Selector`.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static ROUTE_NOT_ALLOWED = {
        code: "MG214", name: "route-not-allowed", severity: Error, section: "1.2.2",
        needs: ["httproutes", "gateways", "namespaces (labels)", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: [], check: route_not_allowed,
    }
}

fn route_not_allowed(context: &Context<'_>, findings: &mut Findings) {
    type Refused<'c, 'a> = Vec<(&'a Object, &'a Object, &'c Listener<'a>, String)>;
    let mut groups: BTreeMap<(String, &str, &str, &str), Refused<'_, '_>> = BTreeMap::new();
    for facts in context.chain().routes.values() {
        for attachment in &facts.attachments {
            let Some(gateway) = attachment.gateway.found() else { continue };
            let route = facts.object;
            match attachment.outcome() {
                Outcome::Unknown(missing) => {
                    findings.cannot_tell(&ROUTE_NOT_ALLOWED, missing);
                    continue;
                }
                Outcome::NotAllowed => {}
                _ => continue,
            }
            for (listener, verdict) in &attachment.listeners {
                let (why, field) = match verdict {
                    Verdict::Refuses(Refusal::Namespace(why)) => (why.clone(), "/allowedRoutes/namespaces"),
                    Verdict::Refuses(Refusal::Kind) => {
                        ("the listener does not take HTTPRoutes".to_owned(), "/allowedRoutes/kinds")
                    }
                    _ => continue,
                };
                let place = (gateway.full_name(), listener.name, route.namespace(), field);
                groups.entry(place).or_default().push((route, gateway, listener, why));
            }
        }
    }
    // One fault of a namespace or a listener, however many routes it refuses.
    for ((_, _, namespace, field), refused) in groups {
        let (route, gateway, listener, why) = &refused[0];
        let (routes, which): (_, Vec<String>) = match refused.as_slice() {
            [_] => ("HTTPRoute", vec![route.full_name()]),
            several => ("HTTPRoutes", several.iter().take(4).map(|(route, ..)| route.full_name()).collect()),
        };
        let more = match refused.len() {
            0..=4 => String::new(),
            all => format!(" and {} more", all - 4),
        };
        let draft = findings.report(
            &ROUTE_NOT_ALLOWED,
            route,
            format!(
                "Listener {} of Gateway {} does not allow {routes} {}{more}",
                listener.name,
                gateway.full_name(),
                which.join(", ")
            ),
            gateway.evidence(&listener.pointer(field)),
            format!("Admit the {}: {why}.", if refused.len() == 1 { "route" } else { "routes" }),
        );
        for (route, ..) in &refused {
            draft.object(route.reference());
        }
        draft.object(gateway.reference());
        // The managed route of an extension is refused because its extension is.
        for &at in context.chain().extensions_of((gateway.namespace(), gateway.name())) {
            let extension = context.chain().extensions[at].object;
            if extension.namespace() == namespace {
                draft.because_of(&["MG308"], extension.reference());
            }
        }
        if let Some(object) = context.bundle.get(&kinds::NAMESPACE, "", namespace) {
            draft.evidence(object.evidence("/metadata/labels"));
        }
        if field == "/allowedRoutes/namespaces" {
            draft.command(remedy::admit(context.bundle, gateway, listener, namespace));
        } else if matches!(listener.protocol, "HTTP" | "HTTPS") {
            patch(draft, gateway, &listener.pointer("/allowedRoutes/kinds/-"), json!({"kind": route.kind()}));
        }
        for (route, ..) in refused.iter().take(4) {
            draft.verify(accepted(route));
        }
    }
}
