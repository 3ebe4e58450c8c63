//! MG301-MG317: MCPGatewayExtensions: target, grant, conflicts, Secrets, reconciliation.

mod attach;
pub(super) mod hosts;
mod log;
mod route;
pub(super) mod settings;
mod state;
use serde_json::json;
pub(super) use state::touch;

use super::gateways::condition_pointer;
use super::routes::grant_remedy;
use super::{Context, Draft, Findings, Rule, suggest};
use crate::declare_rule;
use crate::model::gateway_api::{GROUP, Reference, listeners};
use crate::model::mcp::{self, Extension, ExtensionFault};
use crate::model::{Object, kinds};
use crate::rules::remedy;
use crate::shell::{Command, shell};

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &EXTENSION_TARGET_MISSING,
    &EXTENSION_REFERENCE_GRANT,
    &EXTENSION_PORT_CONFLICT,
    &EXTENSION_NAMESPACE_CONFLICT,
    &EXTENSION_LISTENER_MISSING,
    &settings::EXTENSION_TARGET_KIND,
    &settings::EXTENSION_HOSTNAME,
    &settings::EXTENSION_NOT_ALLOWED,
    &settings::EXTENSION_SECRET,
    &state::EXTENSION_NOT_RECONCILED,
    &state::EXTENSION_CHAIN,
    &state::BROKER_NOT_READY,
    &hosts::PRIVATE_HOST,
    &settings::SESSION_STORE_NEEDED,
    &settings::EXTENSION_DEPRECATED_CONFIG,
    &route::EXTENSION_ROUTE_MISSING,
    &hosts::HAIRPIN_FAILING,
];

/// Goes over the faults of one code: the extension, the fault, and whether it is not the first
/// failing step (which hides it).
fn each<'c, 'a>(
    context: &'c Context<'a>,
    code: &'static str,
) -> impl Iterator<Item = (&'c Extension<'a>, &'c ExtensionFault<'a>)> {
    context.chain().extensions.iter().flat_map(move |extension| {
        extension.faults.iter().filter(move |f| f.code() == code).map(move |f| (extension, f))
    })
}

/// Says that the missing evidence leaves this code undecided, or reports what the status tells instead.
fn undecided(context: &Context<'_>, findings: &mut Findings, rule: &'static Rule) {
    for (extension, fault) in each(context, rule.code) {
        let ExtensionFault::Said(_, message) = fault else { continue };
        let object = extension.object;
        let title = format!("MCPGatewayExtension {} is not ready: {message}", object.full_name());
        let remedy =
            format!("Do what the page of {} says; the bundle lacks what would show the place.", rule.code);
        report(findings, rule, extension, "/spec/targetRef", title, remedy).command(shell!(
            "oc -n {} describe mcpgatewayextension {}",
            object.namespace(),
            object.name()
        ));
    }
    for extension in &context.chain().extensions {
        for (code, missing) in &extension.unknown {
            if *code == rule.code {
                findings.cannot_tell(rule, missing.clone());
            }
        }
    }
}

/// Reports a fault of an extension: the field, the status as confirmation, what it hides behind.
fn report<'f>(
    findings: &'f mut Findings,
    rule: &'static Rule,
    extension: &Extension<'_>,
    pointer: &str,
    title: String,
    remedy: String,
) -> &'f mut Draft {
    let object = extension.object;
    let draft = findings.report(rule, object, title, object.evidence(pointer), remedy);
    if let Some(condition) = extension.ready() {
        draft.evidence(object.evidence(&condition_pointer(&condition)));
    }
    if let Some(first) = extension.first().filter(|first| first.code() != rule.code) {
        draft.hidden_behind(&[first.code()], object.reference());
    }
    draft.verify(shell!(
        "oc -n {} wait --for=condition=Ready mcpgatewayextension/{} --timeout=120s",
        object.namespace(),
        object.name()
    ));
    draft
}

/// Deletes an extension; nobody can wait for it to become ready then.
fn without(draft: &mut Draft, extension: &Object) {
    draft.command(shell!("oc -n {} delete mcpgatewayextension {}", extension.namespace(), extension.name()));
    draft.remedy.verify.clear();
}

/// The command that changes what an extension targets.
fn retarget(extension: &Object, field: &str, value: &str) -> Command {
    remedy::merge(extension, json!({"spec": {"targetRef": {field: value}}}))
}

declare_rule! {
    /// The Gateway that an extension targets does not exist
    ///
    /// ## What it means
    /// The controller cannot set the MCP gateway up: `Ready=False InvalidMCPGatewayExtension`,
    /// `invalid: gateway target NAMESPACE/NAME not found`.
    ///
    /// ## How it is decided
    /// `spec.targetRef` is looked up as the controller does: an empty `namespace` is *not* taken as the
    /// extension's own, it finds nothing at all (the message then shows `/NAME`). An extension that is being
    /// deleted is left out. Where the Gateways of that namespace were not collected, the controller's message
    /// is believed when it is at least a minute old; else this stays undecided.
    ///
    /// ## Causes
    /// A typo in name or namespace, the namespace left out, a deleted Gateway (then MG201 is the cause).
    ///
    /// ## How to confirm
    /// `oc get gateways -A`; `oc -n NAMESPACE get mcpgatewayextension NAME -o jsonpath='{.spec.targetRef}'`.
    ///
    /// ## How to fix
    /// Patch `spec.targetRef`. The command is there where a Gateway of the namespace has a similar name, or
    /// only one Gateway elsewhere has this name; a Gateway of another namespace needs a ReferenceGrant there
    /// too (MG303).
    ///
    /// ## When it may be a false alarm
    /// A later controller may take an empty namespace for the extension's own; MG310 then says that the
    /// status is `Ready` all the same.
    static EXTENSION_TARGET_MISSING = {
        code: "MG301", name: "extension-target-missing", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "gateways"], since: "0.1.0",
        caused_by: ["MG003"], check: extension_target_missing,
    }
}

fn extension_target_missing(context: &Context<'_>, findings: &mut Findings) {
    undecided(context, findings, &EXTENSION_TARGET_MISSING);
    for (extension, fault) in each(context, "MG301") {
        let object = extension.object;
        let (namespace, name) = extension.target();
        if matches!(fault, ExtensionFault::NamespaceEmpty) {
            let right = extension.meant_gateway.filter(|g| g.name() == name).map(Object::namespace);
            let draft = report(
                findings,
                &EXTENSION_TARGET_MISSING,
                extension,
                "/spec/targetRef/namespace",
                format!("MCPGatewayExtension {} names no namespace for Gateway {name}", object.full_name()),
                "Set targetRef.namespace: the controller does not take the extension's own by default."
                    .to_owned(),
            );
            draft.evidence(object.evidence("/spec/targetRef/name"));
            for gateway in context.named("Gateway", name).iter().take(3) {
                draft.evidence(gateway.evidence("/metadata/namespace"));
            }
            draft.command(match right {
                Some(right) => retarget(object, "namespace", right),
                None => shell!("oc get gateways -A"),
            });
            continue;
        }
        let near = suggest::sentence(context, &kinds::GATEWAY, namespace, name);
        let similar = suggest::similar(context, &kinds::GATEWAY, namespace, name).map(Object::name);
        let elsewhere = suggest::elsewhere(context, &kinds::GATEWAY, namespace, name);
        let gateway = suggest::reference(&kinds::GATEWAY, namespace, name);
        let draft = report(
            findings,
            &EXTENSION_TARGET_MISSING,
            extension,
            "/spec/targetRef/name",
            format!(
                "MCPGatewayExtension {} targets Gateway {namespace}/{name}, which does not exist",
                object.full_name()
            ),
            format!("Target a Gateway that exists.{near}"),
        );
        draft
            .evidence(object.evidence("/spec/targetRef/namespace"))
            .because_of(&["MG201"], gateway.clone())
            .object(gateway);
        if let Some(right) = similar {
            draft.command(retarget(object, "name", right));
        } else if let [right] = elsewhere.as_slice() {
            draft.command(retarget(object, "namespace", right.namespace()));
        } else {
            draft.command("oc get gateways -A");
        }
    }
}

declare_rule! {
    /// An extension may not refer to a Gateway of another namespace
    ///
    /// ## What it means
    /// The extension targets a Gateway of another namespace, and no ReferenceGrant there allows it:
    /// `Ready=False ReferenceGrantRequired`. The controller also empties the broker's configuration, so that
    /// all tools vanish.
    ///
    /// ## How it is decided
    /// A grant must stand in the *Gateway's* namespace, with an entry of `from` with group `mcp.kuadrant.io`,
    /// kind `MCPGatewayExtension` and the extension's namespace, and an entry of `to` with group
    /// `gateway.networking.k8s.io`, kind `Gateway` and no name or this one. Grants that are off in one field
    /// are named with the field. Where the bundle has no list of grants, or not the Gateway, the controller's
    /// `ReferenceGrantRequired` is believed. A Gateway that does not exist is MG301 alone.
    ///
    /// ## Causes
    /// No grant; a grant in the extension's namespace; one wrong field.
    ///
    /// ## How to confirm
    /// `oc -n GATEWAY_NAMESPACE get referencegrants -o yaml`.
    ///
    /// ## How to fix
    /// Apply the ReferenceGrant that is printed with the finding; it allows this Gateway only. The listener's
    /// `allowedRoutes` must admit the extension's namespace besides (MG308).
    ///
    /// ## When it may be a false alarm
    /// Where only the status is believed: the grant was made seconds ago.
    static EXTENSION_REFERENCE_GRANT = {
        code: "MG303", name: "extension-reference-grant", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "referencegrants", "gateways"], since: "0.1.0",
        caused_by: ["MG003"], check: extension_reference_grant,
    }
}

fn extension_reference_grant(context: &Context<'_>, findings: &mut Findings) {
    undecided(context, findings, &EXTENSION_REFERENCE_GRANT);
    for (extension, fault) in each(context, "MG303") {
        let ExtensionFault::NoGrant(near) = fault else { continue };
        let object = extension.object;
        let (namespace, name) = extension.target();
        let reference = Reference {
            from_group: mcp::GROUP,
            from_kind: "MCPGatewayExtension",
            from_namespace: object.namespace(),
            to_group: GROUP,
            to_kind: "Gateway",
            to_namespace: namespace,
            to_name: name,
        };
        let draft = report(
            findings,
            &EXTENSION_REFERENCE_GRANT,
            extension,
            "/spec/targetRef/namespace",
            format!(
                "MCPGatewayExtension {} may not target Gateway {namespace}/{name}: no ReferenceGrant in {namespace}",
                object.full_name()
            ),
            "Allow the reference with a ReferenceGrant in the Gateway's namespace.".to_owned(),
        );
        draft.object(suggest::reference(&kinds::GATEWAY, namespace, name));
        grant_remedy(draft, &reference, near);
    }
}

declare_rule! {
    /// Another extension owns the listener's port
    ///
    /// ## What it means
    /// Two MCPGatewayExtensions target listeners on the same port of one Gateway. The router is put in per
    /// port, so only the older one is configured; the younger stays `Ready=False` with a message that starts
    /// with `conflict: listener port`.
    ///
    /// ## How it is decided
    /// The extensions of each Gateway are grouped by the port of their listener, also when the listeners have
    /// different names. The one with the lowest `creationTimestamp` wins, then the lower UID. Extensions that
    /// are being deleted do not count, and two of one namespace are MG305 instead.
    ///
    /// ## Causes
    /// A second installation on a shared Gateway; a copy left behind by a migration.
    ///
    /// ## How to confirm
    /// `oc get mcpgatewayextensions -A -o yaml` and compare `targetRef` and the listener's port.
    ///
    /// ## How to fix
    /// Give the younger extension a listener on another port (`sectionName`) or another Gateway, or delete
    /// it. The command deletes it, with its broker if it has one: keep a copy if it is the one that you want.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static EXTENSION_PORT_CONFLICT = {
        code: "MG304", name: "extension-port-conflict", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "gateways"], since: "0.1.0",
        caused_by: [], versions: "from 0.5.1 on by port; before, a Gateway could have one extension",
        check: extension_port_conflict,
    }
}

fn extension_port_conflict(context: &Context<'_>, findings: &mut Findings) {
    for (extension, fault) in each(context, "MG304") {
        let ExtensionFault::PortConflict(winner, port) = fault else { continue };
        let object = extension.object;
        if object.namespace() == winner.namespace() {
            // They may not share the namespace in the first place (MG305), and one of them must go.
            continue;
        }
        let draft = report(
            findings,
            &EXTENSION_PORT_CONFLICT,
            extension,
            "/spec/targetRef/sectionName",
            format!(
                "MCPGatewayExtension {} loses port {port} of its Gateway to the older {}",
                object.full_name(),
                winner.full_name()
            ),
            format!(
                "Delete it, or let it target a listener on another port; {} keeps the port because it is older.",
                winner.full_name()
            ),
        );
        draft
            .object(winner.reference())
            .evidence(winner.evidence("/spec/targetRef/sectionName"))
            .evidence(winner.evidence("/metadata/creationTimestamp"))
            .evidence(object.evidence("/metadata/creationTimestamp"));
        if let (Some(gateway), Some(listener)) = (extension.gateway, extension.listener) {
            draft.evidence(gateway.evidence(&listener.pointer("/port")));
        }
        without(draft, object);
    }
}

declare_rule! {
    /// A namespace has more than one extension
    ///
    /// ## What it means
    /// The broker of an extension has a fixed name in its namespace, so that there can be only one extension
    /// per namespace. The younger one stays `Ready=False` with a message that starts with
    /// `conflict: namespace`.
    ///
    /// ## How it is decided
    /// The extensions are grouped by namespace; those that are being deleted do not count. The one with the
    /// lowest `creationTimestamp` wins, then the lower UID.
    ///
    /// ## Causes
    /// A second extension for another listener created in the same namespace.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get mcpgatewayextensions --sort-by=.metadata.creationTimestamp`.
    ///
    /// ## How to fix
    /// Create the younger one in a namespace of its own. The command deletes it from this one: keep a copy if
    /// you need it.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static EXTENSION_NAMESPACE_CONFLICT = {
        code: "MG305", name: "extension-namespace-conflict", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions"], since: "0.1.0",
        caused_by: [], versions: "from 0.5.1 on, where the broker is deployed for the extension",
        check: extension_namespace_conflict,
    }
}

fn extension_namespace_conflict(context: &Context<'_>, findings: &mut Findings) {
    for (extension, fault) in each(context, "MG305") {
        let ExtensionFault::NamespaceConflict(winner) = fault else { continue };
        let object = extension.object;
        let draft = report(
            findings,
            &EXTENSION_NAMESPACE_CONFLICT,
            extension,
            "/metadata/creationTimestamp",
            format!(
                "MCPGatewayExtension {} shares its namespace with the older {}",
                object.full_name(),
                winner.name()
            ),
            format!(
                "Delete it, or move it into a namespace of its own; {} stays because it is older.",
                winner.full_name()
            ),
        );
        draft.object(winner.reference()).evidence(winner.evidence("/metadata/creationTimestamp"));
        without(draft, object);
    }
}

declare_rule! {
    /// An extension names a listener that its Gateway does not have
    ///
    /// ## What it means
    /// `Ready=False`, `listener "NAME" not found on gateway …`: nothing is configured.
    ///
    /// ## How it is decided
    /// `spec.targetRef.sectionName` against the names of `spec.listeners` of the Gateway, exactly; an empty
    /// one names none. Listeners of ListenerSets do not count for the controller either. Where the Gateway
    /// was not collected, the controller's message is believed when it is at least a minute old. For
    /// extensions of a version without `sectionName` this stays undecided.
    ///
    /// ## Causes
    /// A typo, a renamed listener.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get gateway NAME -o jsonpath='{.spec.listeners[*].name}'`.
    ///
    /// ## How to fix
    /// Patch `sectionName`. The command is there where one listener has a similar name, or the Gateway has
    /// only one.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static EXTENSION_LISTENER_MISSING = {
        code: "MG306", name: "extension-listener-missing", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "gateways"], since: "0.1.0",
        caused_by: [],
        versions: "from 0.5.1 on, which requires `sectionName`",
        check: extension_listener_missing,
    }
}

fn extension_listener_missing(context: &Context<'_>, findings: &mut Findings) {
    undecided(context, findings, &EXTENSION_LISTENER_MISSING);
    for (extension, _) in each(context, "MG306") {
        let (object, Some(gateway)) = (extension.object, extension.gateway) else { continue };
        let section = object.str("/spec/targetRef/sectionName");
        let all = listeners(gateway);
        let names: Vec<&str> = all.iter().map(|l| l.name).collect();
        let near = suggest::closest(section, names.iter().map(|n| (*n, *n)));
        let hint = near.map(|n| format!(" Did you mean {n}?")).unwrap_or_default();
        let draft = report(
            findings,
            &EXTENSION_LISTENER_MISSING,
            extension,
            "/spec/targetRef/sectionName",
            format!(
                "MCPGatewayExtension {} names listener {section:?}, which Gateway {} does not have",
                object.full_name(),
                gateway.full_name()
            ),
            format!("Name one of its listeners: {}.{hint}", names.join(", ")),
        );
        draft.object(gateway.reference());
        for listener in all.iter().take(6) {
            draft.evidence(gateway.evidence(&listener.pointer("/name")));
        }
        if let Some(right) = near.or_else(|| (names.len() == 1).then(|| names[0])) {
            draft.command(retarget(object, "sectionName", right));
        }
    }
}
