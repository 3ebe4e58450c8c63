//! MG402, MG404, MG418, MG419, MG421, MG423: what registrations and their routes say.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{hide, ready_command, strict};
use crate::declare_rule;
use crate::model::gateway_api::{
    self, Listener, ParentRef, attachments, backend_refs, hostnames, listeners, parent_refs,
};
use crate::model::mcp::{ExtensionFault, RegistrationFault};
use crate::model::workloads::Component;
use crate::model::{Object, Seen, kinds};
use crate::rules::{Context, Findings, remedy, suggest};
use crate::shell::{Command, shell};
use crate::term::counted;

declare_rule! {
    /// A registration names a namespace for its route, which is ignored
    ///
    /// ## What it means
    /// The controller looks for the HTTPRoute in the registration's own namespace whatever
    /// `targetRef.namespace` says: it finds none, or a route of the same name that was not meant.
    ///
    /// ## How it is decided
    /// `spec.targetRef.namespace` is set and differs from `metadata.namespace`. Whether a route of that name
    /// exists in either namespace is not asked: that is MG401.
    ///
    /// ## Causes
    /// The field exists in the API, and its documentation suggests that a ReferenceGrant is enough; no
    /// ReferenceGrant helps here.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get mcpserverregistration NAME -o jsonpath='{.spec.targetRef}'`.
    ///
    /// ## How to fix
    /// Where the route is in the other namespace, create the registration there (so do the printed
    /// commands), with the Secrets of `credentialRef` and `caCertSecretRef`. Where only the registration's
    /// own namespace has a route of this name, the command removes the field; do so, too, where both have
    /// one and this one was meant: `oc -n NAMESPACE patch mcpsr NAME --type=merge -p
    /// '{"spec":{"targetRef":{"namespace":null}}}'`.
    ///
    /// ## When it may be a false alarm
    /// The registration works with a route of the same name in its own namespace, and that route is the right
    /// one: then only the field is wrong. A later version of the controller may honour the field.
    pub(super) static REGISTRATION_TARGET_NAMESPACE = {
        code: "MG402", name: "registration-target-namespace", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: registration_target_namespace,
    }
}

fn registration_target_namespace(context: &Context<'_>, findings: &mut Findings) {
    for registration in &context.chain().registrations {
        let object = registration.object;
        let target = object.str("/spec/targetRef/namespace");
        if target.is_empty() || target == object.namespace() {
            continue;
        }
        let name = object.str("/spec/targetRef/name");
        let route = |namespace| context.bundle.find(&kinds::HTTP_ROUTE, namespace, name);
        let own = matches!((route(object.namespace()), route(target)), (Seen::Found(_), Seen::Absent));
        let draft = findings
            .report(
                &REGISTRATION_TARGET_NAMESPACE,
                object,
                format!(
                    "MCPServerRegistration {} targets a route in namespace {target}; the controller looks in {} only",
                    object.full_name(),
                    object.namespace()
                ),
                object.evidence("/spec/targetRef/namespace"),
                match own {
                    true => format!("Remove the namespace: HTTPRoute {name} is in {}.", object.namespace()),
                    false => format!("Create the registration in namespace {target}, where its HTTPRoute is."),
                },
            )
            .evidence(object.evidence("/spec/targetRef/name"));
        if own {
            let steps = json!([{"op": "remove", "path": "/spec/targetRef/namespace"}]);
            draft.command(remedy::patch(object, steps)).verify(ready_command(object));
            continue;
        }
        for command in remedy::moved(object, target, &[(".spec.targetRef.namespace", Value::Null)]) {
            draft.command(command);
        }
        draft.verify(super::ready_in(target, object));
    }
}

declare_rule! {
    /// The chain of a registration lacks a ReferenceGrant
    ///
    /// ## What it means
    /// Somewhere between the registration and its server a reference crosses namespaces without the
    /// ReferenceGrant that allows it, so that the registration cannot become ready or its requests
    /// fail.
    ///
    /// ## How it is decided
    /// Two places need a grant: the MCPGatewayExtension that targets a Gateway of another namespace (MG303;
    /// only while no valid extension serves the registration), and an HTTPRoute that sends to a Service of
    /// another namespace (MG216). The reference from a route to its Gateway needs none: `allowedRoutes`
    /// governs that. A backendRef of weight 0 is left out, and of several backendRefs the first one into
    /// another namespace is asked about.
    ///
    /// ## Causes
    /// See the finding that causes this one.
    ///
    /// ## How to confirm
    /// `oc get referencegrants -A`.
    ///
    /// ## How to fix
    /// Apply the ReferenceGrant of the cause.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static REGISTRATION_REFERENCE_GRANT = {
        code: "MG404", name: "registration-reference-grant", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations", "mcpgatewayextensions", "referencegrants", "gateways", "httproutes"], since: "0.1.0",
        caused_by: ["MG303", "MG216"], check: registration_reference_grant,
    }
}

fn registration_reference_grant(context: &Context<'_>, findings: &mut Findings) {
    let chain = context.chain();
    for registration in &chain.registrations {
        let object = registration.object;
        let Some(route) = registration.route else { continue };
        let extension = registration.faults.iter().find_map(|fault| match fault {
            RegistrationFault::NoExtension(_, broken) => broken
                .iter()
                .map(|&at| &chain.extensions[at])
                .find(|e| e.faults.iter().any(|f| matches!(f, ExtensionFault::NoGrant(_)))),
            _ => None,
        });
        if let Some(extension) = extension {
            findings
                .report(
                    &REGISTRATION_REFERENCE_GRANT,
                    object,
                    format!(
                        "The chain of MCPServerRegistration {} lacks a ReferenceGrant for MCPGatewayExtension {}",
                        object.full_name(),
                        extension.object.full_name()
                    ),
                    extension.object.evidence("/spec/targetRef/namespace"),
                    "Apply the ReferenceGrant of the extension's finding.",
                )
                .because_of(&["MG303"], extension.object.reference())
                .command("oc get referencegrants -A")
                .verify(ready_command(object));
        }
        let elsewhere = |b: &gateway_api::BackendRef<'_>| b.is_service() && b.namespace != route.namespace();
        // Nobody asks about a backend that gets no requests.
        let backend = backend_refs(route).into_iter().find(|b| b.weight > 0 && elsewhere(b));
        let Some(backend) = backend else { continue };
        let reference = gateway_api::Reference {
            from_group: gateway_api::GROUP,
            from_kind: "HTTPRoute",
            from_namespace: route.namespace(),
            to_group: "",
            to_kind: "Service",
            to_namespace: backend.namespace,
            to_name: backend.name,
        };
        let granted = chain.grants.check(context.bundle, &reference);
        if let gateway_api::Granted::Unknown(missing) = &granted {
            findings.cannot_tell(&REGISTRATION_REFERENCE_GRANT, missing.clone());
        }
        if matches!(granted, gateway_api::Granted::No(_)) {
            findings
                .report(
                    &REGISTRATION_REFERENCE_GRANT,
                    object,
                    format!(
                        "The chain of MCPServerRegistration {} lacks a ReferenceGrant for Service {}/{}",
                        object.full_name(),
                        backend.namespace,
                        backend.name
                    ),
                    route.evidence(&backend.pointer("/namespace")),
                    "Apply the ReferenceGrant of the route's finding.",
                )
                .because_of(&["MG216"], route.reference())
                .command("oc get referencegrants -A")
                .verify(ready_command(object));
        }
    }
}

declare_rule! {
    /// A registration is disabled
    ///
    /// ## What it means
    /// `spec.state` is `Disabled`: the server is left out on purpose, and its status says so.
    ///
    /// ## How it is decided
    /// `spec.state` is `Disabled`. Nothing else is asked.
    ///
    /// ## Causes
    /// Somebody switched the server off.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get mcpserverregistration NAME -o jsonpath='{.spec.state}'`.
    ///
    /// ## How to fix
    /// Set `spec.state` to `Enabled` if that was not meant.
    ///
    /// ## When it may be a false alarm
    /// It is for information only.
    pub(super) static REGISTRATION_DISABLED = {
        code: "MG418", name: "registration-disabled", severity: Info, section: "1.4",
        needs: ["mcpserverregistrations"], since: "0.1.0",
        caused_by: [], versions: "from 0.7.0 on, which have `spec.state`",
        check: registration_disabled,
    }
}

fn registration_disabled(context: &Context<'_>, findings: &mut Findings) {
    for registration in context.chain().registrations.iter().filter(|r| r.is_disabled()) {
        let object = registration.object;
        findings
            .report(
                &REGISTRATION_DISABLED,
                object,
                format!("MCPServerRegistration {} is disabled", object.full_name()),
                object.evidence("/spec/state"),
                "Enable it, if it was not switched off on purpose.",
            )
            .command(remedy::merge(object, json!({"spec": {"state": "Enabled"}})))
            .verify(ready_command(object));
    }
}

declare_rule! {
    /// The route of a registration has a shape that the controller refuses
    ///
    /// ## What it means
    /// The controller turns a route into one server: it takes exactly one rule with one backendRef (a
    /// Service or a Hostname) and at least one hostname. Other routes may be fine for the Gateway, but
    /// the registration stays `has > 1 rule, which is unsupported` and the like.
    ///
    /// ## How it is decided
    /// In the controller's order, of which the first is reported: the first rule has no backendRef; there is
    /// more than one rule; more than one backendRef; no hostname; the backend is neither a Service nor a
    /// Hostname. Disabled registrations are judged, too.
    ///
    /// ## Causes
    /// A route shared by several servers, with weights, or without hostname.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproute NAME -o yaml`.
    ///
    /// ## How to fix
    /// Give each server a route of its own. Rules that differ in their matches only become one with the
    /// printed patch, unless they have names, which policies may target. A route without hostname gets one
    /// under the wildcard of its listener.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static ROUTE_SHAPE = {
        code: "MG419", name: "route-shape", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations", "httproutes"], since: "0.1.0",
        caused_by: [], check: route_shape,
    }
}

fn route_shape(context: &Context<'_>, findings: &mut Findings) {
    for registration in &context.chain().registrations {
        let Some(route) = registration.route else { continue };
        for fault in &registration.faults {
            let RegistrationFault::Shape(pointer, words) = fault else { continue };
            let object = registration.object;
            let draft = findings.report(
                &ROUTE_SHAPE,
                object,
                format!(
                    "The controller refuses the route of MCPServerRegistration {}: {words}",
                    object.full_name()
                ),
                route.evidence(pointer),
                "Give the server a route of its own with one rule, one backendRef and a hostname.",
            );
            draft
                .object(route.reference())
                .command(one_rule(route).or_else(|| with_host(context, route)).unwrap_or(shell!(
                    "oc -n {} edit httproute {}",
                    route.namespace(),
                    route.name()
                )))
                .verify(ready_command(object));
            hide(context, draft, registration, fault);
        }
    }
}

/// A patch that gives a route without hostname one of its own, under the only wildcard of the listeners that it
/// attaches to. `None` where it has a hostname, or where that host is another route's.
fn with_host(context: &Context<'_>, route: &Object) -> Option<Command> {
    if !hostnames(route).is_empty() {
        return None;
    }
    let attached = attachments(context.bundle, route);
    let domains: BTreeSet<&str> = attached
        .iter()
        .filter_map(|attachment| Some((attachment.parent, attachment.gateway.found()?)))
        .flat_map(|(parent, gateway)| {
            let section = move |l: &Listener<'_>| parent.section.is_none_or(|section| section == l.name);
            let port = move |l: &Listener<'_>| parent.port.is_none_or(|port| port == l.port);
            listeners(gateway).into_iter().filter(move |l| section(l) && port(l))
        })
        .filter_map(|listener| listener.hostname.strip_prefix("*."))
        .collect();
    let host = format!("{}.{}", route.name(), domains.first().filter(|_| domains.len() == 1)?);
    let taken =
        context.bundle.list(&kinds::HTTP_ROUTE).any(|other| hostnames(other).contains(&host.as_str()));
    (!taken).then(|| remedy::patch(route, json!([{"op": "add", "path": "/spec/hostnames", "value": [host]}])))
}

/// The most matches that the API takes in one rule.
const MATCHES: usize = 64;
/// How many prefixes are named.
const NAMED: usize = 12;

/// A patch that makes one rule of several which differ in nothing but their matches: the requests that the route
/// takes stay the same. Rules with names stay apart, because policies may target them.
fn one_rule(route: &Object) -> Option<Command> {
    let mut rules: Vec<Value> = route.array("/spec/rules").iter().map(|rule| rule.to_json()).collect();
    let mut matches = Vec::new();
    for rule in &mut rules {
        let fields = rule.as_object_mut()?;
        // A rule without matches takes everything, whatever the others match.
        matches.extend(fields.remove("matches")?.as_array()?.iter().cloned());
    }
    let first = rules.first()?;
    let backends = first["backendRefs"].as_array().map_or(0, Vec::len);
    if rules.len() < 2 || backends != 1 || rules.iter().any(|rule| rule != first) || matches.len() > MATCHES {
        return None;
    }
    let mut steps = vec![json!({"op": "replace", "path": "/spec/rules/0/matches", "value": matches})];
    steps.extend(
        (1..rules.len()).rev().map(|at| json!({"op": "remove", "path": format!("/spec/rules/{at}")})),
    );
    Some(remedy::patch(route, Value::from(steps)))
}

declare_rule! {
    /// A virtual server lists tools that no server offers
    ///
    /// ## What it means
    /// The tools and prompts of an MCPVirtualServer are named as clients see them, with the prefix of their
    /// server. A name that no registration's prefix begins is offered by nobody, and clients of the
    /// virtual server do not get it.
    ///
    /// ## How it is decided
    /// Each name of `spec.tools` and `spec.prompts` against the prefixes of all registrations, whatever
    /// gateway they are on and whether or not they are enabled. While a registration without prefix exists,
    /// any name may be its tool, and nothing is claimed. Whether a server really has the tool behind its
    /// prefix is not asked.
    ///
    /// ## Causes
    /// The name was written without the prefix, or the prefix was changed.
    ///
    /// ## How to confirm
    /// `oc get mcpserverregistrations -A` shows the prefixes.
    ///
    /// ## How to fix
    /// Write the names with their prefixes.
    ///
    /// ## When it may be a false alarm
    /// A tool of a server that was put into the broker's configuration without a registration.
    pub(super) static VIRTUAL_SERVER_TOOLS = {
        code: "MG421", name: "virtual-server-tools", severity: Warning, section: "1.4",
        needs: ["mcpvirtualservers", "mcpserverregistrations"], since: "0.1.0",
        caused_by: ["MG414"], check: virtual_server_tools,
    }
}

/// The tool's name under the only prefix with which the bundle mentions it: in another virtual server, in the
/// roles of a policy, or because there is one server only.
fn with_prefix(context: &Context<'_>, prefixes: &[&str], tool: &str) -> Option<String> {
    let candidates: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix}{tool}")).collect();
    let listed = |name: &String| {
        let servers = context.bundle.list(&kinds::MCP_VIRTUAL_SERVER);
        let logs = || context.workloads().component_logs(Component::Broker);
        servers.into_iter().any(|s| s.array("/spec/tools").iter().any(|t| t.as_str() == Some(name)))
            || logs().any(|(_, log)| log.tail.iter().any(|(_, line)| line.contains(name.as_str())))
    };
    let mut known = candidates.iter().filter(|name| listed(name));
    match (known.next(), known.next(), candidates.as_slice()) {
        (Some(one), None, _) | (None, _, [one]) => Some(one.clone()),
        _ => None,
    }
}

fn virtual_server_tools(context: &Context<'_>, findings: &mut Findings) {
    let registrations = &context.chain().registrations;
    let mut prefixes: Vec<&str> = registrations.iter().map(super::Registration::prefix).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    if prefixes.contains(&"") {
        return;
    }
    for server in context.bundle.list(&kinds::MCP_VIRTUAL_SERVER) {
        if let Err(missing) = context.bundle.collected(&kinds::MCP_SERVER_REGISTRATION, None) {
            findings.cannot_tell(&VIRTUAL_SERVER_TOOLS, missing);
            return;
        }
        let unknown: Vec<(String, &str)> = ["tools", "prompts"]
            .into_iter()
            .flat_map(|list| {
                let names = server.array(&format!("/spec/{list}")).iter().enumerate();
                names.filter_map(move |(at, name)| Some((format!("/spec/{list}/{at}"), name.as_str()?)))
            })
            .filter(|(_, name)| {
                let mut starts = (1..=name.len()).filter_map(|length| name.get(..length));
                !starts.any(|start| prefixes.binary_search(&start).is_ok())
            })
            .collect();
        let Some((first, name)) = unknown.first() else { continue };
        let what = if unknown.iter().all(|(pointer, _)| pointer.starts_with("/spec/tools")) {
            "tool"
        } else {
            "tool or prompt"
        };
        let draft = findings.report(
            &VIRTUAL_SERVER_TOOLS,
            server,
            format!(
                "MCPVirtualServer {} lists {} that no server offers: {name}",
                server.full_name(),
                counted(unknown.len(), what)
            ),
            server.evidence(first),
            match prefixes.is_empty() {
                true => "Register the servers of these tools: there is no registration.".to_owned(),
                false => format!(
                    "Write tools with the prefix of their server: {}.",
                    suggest::some(&prefixes, NAMED)
                ),
            },
        );
        for (pointer, _) in unknown.iter().skip(1).take(5) {
            draft.evidence(server.evidence(pointer));
        }
        // The one server that lists or may list the tool under its prefix, where that can be told.
        let mut steps = Vec::new();
        for (pointer, tool) in &unknown {
            if let Some(name) = with_prefix(context, &prefixes, tool) {
                steps.push(json!({"op": "replace", "path": pointer, "value": name}));
            }
        }
        let (namespace, name) = (server.namespace(), server.name());
        draft
            .command(if steps.is_empty() {
                shell!("oc -n {} edit mcpvirtualserver {}", namespace, name)
            } else {
                remedy::patch(server, Value::from(steps))
            })
            .verify("oc get mcpserverregistrations -A");
    }
}

declare_rule! {
    /// The controller's matching is narrower than the Gateway's
    ///
    /// ## What it means
    /// The Gateway accepts the route on the port of the extension, but the MCP controller does not see
    /// it there: the registration stays `no matching mcpgatewayextensions for attached listener`.
    ///
    /// ## How it is decided
    /// Valid extensions target the route's Gateway, but by the controller's matching the route is on none of
    /// their ports; and the Gateway API accepts it on a listener of such a port. Without `sectionName` the
    /// controller compares hostnames itself: a listener `*.example.com` matches exactly one label
    /// (`a.b.example.com` does not), a wildcard of the route matches the same wildcard only, and listeners
    /// without hostname are passed over. A route without hostnames is MG419.
    ///
    /// ## Causes
    /// A host with two labels under a wildcard listener; a wildcard host in the route; a listener for
    /// all hosts.
    ///
    /// ## How to confirm
    /// The route says `Accepted=True`, the registration `no matching mcpgatewayextensions …`.
    ///
    /// ## How to fix
    /// Name the listener in the route's parentRef (`sectionName`): then hostnames are not compared. Of
    /// several parentRefs the command changes the first that names this Gateway.
    ///
    /// ## When it may be a false alarm
    /// A later version of the controller may match as the Gateway API does.
    pub(super) static REGISTRATION_CHAIN_STRICT = {
        code: "MG423", name: "registration-chain-strict", severity: Warning, section: "1.4",
        needs: ["mcpserverregistrations", "httproutes", "gateways", "mcpgatewayextensions", "namespaces"], since: "0.1.0",
        caused_by: [], check: registration_chain_strict,
    }
}

fn registration_chain_strict(context: &Context<'_>, findings: &mut Findings) {
    let chain = context.chain();
    for registration in &chain.registrations {
        let Some(route) = registration.route else { continue };
        for fault in &registration.faults {
            let RegistrationFault::OtherListener(gateway, valid) = fault else { continue };
            let Some((listener, at)) = strict(chain, registration, gateway, valid) else { continue };
            let hosts = hostnames(route);
            if hosts.is_empty() {
                // The controller wants a hostname in any case (MG419), and without one matches none.
                continue;
            }
            let object = registration.object;
            let to_gateway = |p: &ParentRef<'_>| {
                p.is_gateway() && (p.namespace, p.name) == (gateway.namespace(), gateway.name())
            };
            let Some(parent) = parent_refs(route).into_iter().find(to_gateway) else { continue };
            let section = format!("/spec/parentRefs/{}/sectionName", parent.index);
            let draft = findings.report(
                &REGISTRATION_CHAIN_STRICT,
                object,
                format!(
                    "The Gateway accepts {} on listener {}, but the MCP controller does not",
                    hosts.join(", "),
                    listener.name
                ),
                route.evidence("/spec/hostnames/0"),
                "Name the listener in the route's parentRef (sectionName).",
            );
            draft
                .object(route.reference())
                .object(gateway.reference())
                .object(chain.extensions[at].object.reference())
                .evidence(gateway.evidence(&listener.pointer("/hostname")))
                .evidence(route.evidence(&section))
                .command(remedy::patch(
                    route,
                    json!([{"op": "add", "path": section, "value": listener.name}]),
                ))
                .verify(ready_command(object));
            hide(context, draft, registration, fault);
        }
    }
}
