//! MG301-MG315: MCPGatewayExtensions: target, grant, conflicts, Secrets, reconciliation.

use super::gateways::{condition_evidence, condition_pointer};
use super::routes::grant_remedy;
use super::{Context, Draft, Findings, Rule, suggest};
use crate::declare_rule;
use crate::model::gateway_api::{GROUP, Reference, listeners, status};
use crate::model::mcp::{self, Extension, ExtensionFault, RegistrationFault};
use crate::model::{Object, kinds};
use crate::report::{Evidence, ObjectRef};

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &EXTENSION_TARGET_MISSING,
    &EXTENSION_REFERENCE_GRANT,
    &EXTENSION_PORT_CONFLICT,
    &EXTENSION_NAMESPACE_CONFLICT,
    &EXTENSION_LISTENER_MISSING,
    &EXTENSION_NOT_RECONCILED,
    &EXTENSION_CHAIN,
    &BROKER_NOT_READY,
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

/// Says that the missing evidence leaves this code undecided.
fn undecided(context: &Context<'_>, findings: &mut Findings, rule: &'static Rule) {
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
        draft.evidence(condition_evidence(object, &condition_pointer(&condition), &condition));
    }
    if let Some(first) = extension.first().filter(|first| first.code() != rule.code) {
        draft.hidden_behind(&[first.code()], object.reference());
    }
    draft.verify(format!(
        "oc -n {} wait --for=condition=Ready mcpgatewayextension/{} --timeout=120s",
        object.namespace(),
        object.name()
    ));
    draft
}

/// The command that sets fields of an extension.
fn patch(extension: &Object, merge: &str) -> String {
    format!(
        "oc -n {} patch mcpgatewayextension {} --type=merge -p '{merge}'",
        extension.namespace(),
        extension.name()
    )
}

declare_rule! {
    /// The Gateway that an extension targets does not exist
    ///
    /// ## What it means
    /// The controller cannot set the MCP gateway up: `Ready=False InvalidMCPGatewayExtension`,
    /// `invalid: gateway target NAMESPACE/NAME not found`.
    ///
    /// ## How it is decided
    /// `spec.targetRef` is looked up as the controller does: an empty `namespace` is *not* taken as
    /// the extension's own, it finds nothing at all (the message then shows `/NAME`).
    ///
    /// ## Causes
    /// A typo in name or namespace, the namespace left out, a deleted Gateway (then MG201 is the
    /// cause).
    ///
    /// ## How to confirm
    /// `oc get gateways -A`.
    ///
    /// ## How to fix
    /// Patch `spec.targetRef` with the command that is printed.
    ///
    /// ## When it may be a false alarm
    /// None known.
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
            let candidates = context.named("Gateway", name);
            let right = match candidates {
                [one] => one.namespace(),
                _ => object.namespace(),
            };
            report(
                findings,
                &EXTENSION_TARGET_MISSING,
                extension,
                "/spec/targetRef/namespace",
                format!("MCPGatewayExtension {} names no namespace for Gateway {name}", object.full_name()),
                "Set targetRef.namespace: the controller does not take the extension's own by default."
                    .to_owned(),
            )
            .evidence(object.evidence("/spec/targetRef/name"))
            .command(patch(object, &format!("{{\"spec\":{{\"targetRef\":{{\"namespace\":\"{right}\"}}}}}}")));
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
            draft.command(patch(object, &format!("{{\"spec\":{{\"targetRef\":{{\"name\":\"{right}\"}}}}}}")));
        } else if let [right] = elsewhere.as_slice() {
            draft.command(patch(
                object,
                &format!("{{\"spec\":{{\"targetRef\":{{\"namespace\":\"{}\"}}}}}}", right.namespace()),
            ));
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
    /// `Ready=False ReferenceGrantRequired`. The controller also empties the broker's configuration,
    /// so that all tools vanish.
    ///
    /// ## How it is decided
    /// A grant must stand in the *Gateway's* namespace, with an entry of `from` with group
    /// `mcp.kuadrant.io`, kind `MCPGatewayExtension` and the extension's namespace, and an entry of
    /// `to` with group `gateway.networking.k8s.io`, kind `Gateway` and no name or this one. Grants
    /// that are off in one field are named with the field.
    ///
    /// ## Causes
    /// No grant; a grant in the extension's namespace; one wrong field.
    ///
    /// ## How to confirm
    /// `oc -n GATEWAY_NAMESPACE get referencegrants -o yaml`.
    ///
    /// ## How to fix
    /// Apply the ReferenceGrant that is printed with the finding.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static EXTENSION_REFERENCE_GRANT = {
        code: "MG303", name: "extension-reference-grant", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "referencegrants"], since: "0.1.0",
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
    /// Two MCPGatewayExtensions target listeners on the same port of one Gateway. The router is put
    /// in per port, so only the older one is configured; the younger stays `Ready=False` with a
    /// message that starts with `conflict: listener port`.
    ///
    /// ## How it is decided
    /// The extensions of each Gateway are grouped by the port of their listener, also when the
    /// listeners have different names. The oldest wins, then the lower UID.
    ///
    /// ## Causes
    /// A second installation on a shared Gateway; a copy left behind by a migration.
    ///
    /// ## How to confirm
    /// `oc get mcpgatewayextensions -A -o yaml` and compare `targetRef` and the listener's port.
    ///
    /// ## How to fix
    /// Give the younger extension a listener on another port, another Gateway, or delete it.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static EXTENSION_PORT_CONFLICT = {
        code: "MG304", name: "extension-port-conflict", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "gateways"], since: "0.1.0",
        caused_by: [], check: extension_port_conflict,
    }
}

fn extension_port_conflict(context: &Context<'_>, findings: &mut Findings) {
    for (extension, fault) in each(context, "MG304") {
        let ExtensionFault::PortConflict(winner, port) = fault else { continue };
        let object = extension.object;
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
                "Target a listener on another port, or remove one of the two; {} keeps the port because it is \
                 older.",
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
        draft.command(format!("oc -n {} delete mcpgatewayextension {}", object.namespace(), object.name()));
    }
}

declare_rule! {
    /// A namespace has more than one extension
    ///
    /// ## What it means
    /// The broker of an extension has a fixed name in its namespace, so that there can be only one
    /// extension per namespace. The younger one stays `Ready=False` with a message that starts with
    /// `conflict: namespace`.
    ///
    /// ## How it is decided
    /// The extensions are grouped by namespace. The oldest wins, then the lower UID.
    ///
    /// ## Causes
    /// A second extension for another listener created in the same namespace.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get mcpgatewayextensions`.
    ///
    /// ## How to fix
    /// Create the younger one in a namespace of its own.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static EXTENSION_NAMESPACE_CONFLICT = {
        code: "MG305", name: "extension-namespace-conflict", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions"], since: "0.1.0",
        caused_by: [], check: extension_namespace_conflict,
    }
}

fn extension_namespace_conflict(context: &Context<'_>, findings: &mut Findings) {
    for (extension, fault) in each(context, "MG305") {
        let ExtensionFault::NamespaceConflict(winner) = fault else { continue };
        let object = extension.object;
        report(
            findings,
            &EXTENSION_NAMESPACE_CONFLICT,
            extension,
            "/metadata/creationTimestamp",
            format!(
                "MCPGatewayExtension {} shares its namespace with the older {}",
                object.full_name(),
                winner.name()
            ),
            format!("Move it into a namespace of its own; {} stays because it is older.", winner.full_name()),
        )
        .object(winner.reference())
        .evidence(winner.evidence("/metadata/creationTimestamp"))
        .command(format!(
            "oc -n {} delete mcpgatewayextension {}",
            object.namespace(),
            object.name()
        ));
    }
}

declare_rule! {
    /// An extension names a listener that its Gateway does not have
    ///
    /// ## What it means
    /// `Ready=False`, `listener "NAME" not found on gateway …`: nothing is configured.
    ///
    /// ## How it is decided
    /// `spec.targetRef.sectionName` against the names of `spec.listeners` of the Gateway, exactly.
    ///
    /// ## Causes
    /// A typo, a renamed listener.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get gateway NAME -o jsonpath='{.spec.listeners[*].name}'`.
    ///
    /// ## How to fix
    /// Patch `sectionName` with the command that is printed.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static EXTENSION_LISTENER_MISSING = {
        code: "MG306", name: "extension-listener-missing", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "gateways"], since: "0.1.0",
        caused_by: [], check: extension_listener_missing,
    }
}

fn extension_listener_missing(context: &Context<'_>, findings: &mut Findings) {
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
            draft.command(patch(
                object,
                &format!("{{\"spec\":{{\"targetRef\":{{\"sectionName\":\"{right}\"}}}}}}"),
            ));
        }
    }
}

declare_rule! {
    /// The controller does not reconcile an extension
    ///
    /// ## What it means
    /// The status of the extension is missing, of an older generation, or does not follow from the
    /// specs: what it says cannot be trusted, and changes have no effect.
    ///
    /// ## How it is decided
    /// No `Ready` condition; `observedGeneration` below `metadata.generation`; `Ready=True` although a
    /// step of the controller's evaluation fails; or `Ready=False` although none fails.
    ///
    /// ## Causes
    /// The controller is down (its pods' findings are then the cause), lacks permissions, or crashed.
    /// For ReferenceGrants: the controller only watches the first entry of `from`, so that a grant
    /// whose matching entry comes later is not noticed until the next resync.
    ///
    /// ## How to confirm
    /// `oc logs deployment/mcp-gateway-controller` of its namespace: `reconciling mcpgatewayextension`
    /// must appear after a change.
    ///
    /// ## How to fix
    /// Bring the controller back, then touch the extension.
    ///
    /// ## When it may be a false alarm
    /// Within seconds after a change; objects younger than a minute are not judged.
    static EXTENSION_NOT_RECONCILED = {
        code: "MG310", name: "extension-not-reconciled", severity: Error, section: "1.2.3",
        needs: ["mcpgatewayextensions", "gateways", "referencegrants", "controller log"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111", "MG006"],
        check: extension_not_reconciled,
    }
}

fn extension_not_reconciled(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let object = extension.object;
        if context.is_younger(object, 60) || object.is_deleting() {
            continue;
        }
        let name = object.full_name();
        let Some(condition) = extension.ready() else {
            not_reconciled(
                findings,
                object,
                format!("MCPGatewayExtension {name} has no status"),
                object.evidence("/status/conditions"),
            );
            continue;
        };
        let pointer = condition_pointer(&condition);
        let shown = condition_evidence(object, &pointer, &condition);
        if status::is_stale(object, &condition) {
            let evidence = object.evidence(&format!("{pointer}/observedGeneration"));
            not_reconciled(
                findings,
                object,
                format!("MCPGatewayExtension {name} has a status of an older generation"),
                evidence,
            )
            .evidence(object.evidence("/metadata/generation"));
        } else if let (true, Some(first)) = (condition.is_true(), extension.first()) {
            not_reconciled(
                findings,
                object,
                format!("MCPGatewayExtension {name} says Ready, but the specs do not allow it"),
                shown,
            )
            .because_of(&[first.code()], object.reference());
        } else if condition.is_false() && extension.faults.is_empty() {
            if extension.unknown.is_empty() {
                not_reconciled(
                    findings,
                    object,
                    format!(
                        "MCPGatewayExtension {name} says {}, but the specs show no reason for it",
                        condition.reason
                    ),
                    shown,
                );
            } else {
                for (_, missing) in &extension.unknown {
                    findings.cannot_tell(&EXTENSION_NOT_RECONCILED, missing.clone());
                }
            }
        }
    }
}

fn not_reconciled<'f>(
    findings: &'f mut Findings,
    object: &Object,
    title: String,
    evidence: Evidence,
) -> &'f mut Draft {
    let (namespace, name) = (object.namespace(), object.name());
    let draft = findings.report(
        &EXTENSION_NOT_RECONCILED,
        object,
        title,
        evidence,
        "See whether the controller runs and what it logs, then touch the extension to make it look again.",
    );
    draft
        .command("oc get deployments -A -l app=mcp-controller")
        .command(format!(
            "oc -n {namespace} annotate mcpgatewayextension {name} mcpgw.example.com/touched=\"$(date -u +%s)\" --overwrite"
        ))
        .verify(format!("oc -n {namespace} get mcpgatewayextension {name} -o jsonpath='{{.status.conditions}}'"));
    draft
}

declare_rule! {
    /// No valid extension serves a registration's Gateway
    ///
    /// ## What it means
    /// The registration's route is attached to a Gateway (or a port of it) that no valid
    /// MCPGatewayExtension targets, so that the server is in no broker's configuration: `no valid
    /// mcpgatewayextensions configured`, or `no matching mcpgatewayextensions for attached listener`.
    ///
    /// ## How it is decided
    /// The chain registration → route → Gateway → extension is followed as the controller does: an
    /// extension in the Gateway's own namespace always counts, one elsewhere needs its ReferenceGrant
    /// and `Ready=True`; then the route must be attached to the port of the extension's listener.
    ///
    /// ## Causes
    /// No extension for that Gateway; an extension with a fault of its own (then that is the cause);
    /// a route on another listener's port.
    ///
    /// ## How to confirm
    /// `oc get mcpgatewayextensions -A` and compare `targetRef` with the route's parentRefs.
    ///
    /// ## How to fix
    /// Repair or create the extension, or attach the route to the Gateway and port that one targets.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static EXTENSION_CHAIN = {
        code: "MG311", name: "extension-chain", severity: Error, section: "1.3",
        needs: ["mcpserverregistrations", "httproutes", "gateways", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: ["MG201", "MG212"], check: extension_chain,
    }
}

fn extension_chain(context: &Context<'_>, findings: &mut Findings) {
    let chain = context.chain();
    for registration in &chain.registrations {
        let Some(route) = registration.route else { continue };
        for fault in &registration.faults {
            let object = registration.object;
            match fault {
                RegistrationFault::NoExtension(gateway, broken) => {
                    if broken.is_empty()
                        && let Err(missing) = context.bundle.collected(&kinds::MCP_GATEWAY_EXTENSION, None)
                    {
                        findings.cannot_tell(&EXTENSION_CHAIN, missing);
                        continue;
                    }
                    let what = if broken.is_empty() { "no" } else { "no valid" };
                    let draft = findings.report(
                        &EXTENSION_CHAIN,
                        object,
                        format!(
                            "MCPServerRegistration {} has no gateway: {what} MCPGatewayExtension targets Gateway {}",
                            object.full_name(),
                            gateway.full_name()
                        ),
                        route.evidence("/spec/parentRefs/0"),
                        if broken.is_empty() {
                            "Create an MCPGatewayExtension for this Gateway, or attach the route to a Gateway \
                             that has one."
                        } else {
                            "Repair the MCPGatewayExtension; its own findings say what is wrong with it."
                        },
                    );
                    draft.object(route.reference()).object(gateway.reference());
                    for &at in broken.iter().take(4) {
                        let extension = &chain.extensions[at];
                        because_of_extension(draft, extension);
                        if let Some(condition) = extension.ready() {
                            draft.evidence(condition_evidence(
                                extension.object,
                                &condition_pointer(&condition),
                                &condition,
                            ));
                        } else {
                            draft.evidence(extension.object.evidence("/spec/targetRef"));
                        }
                    }
                    if broken.is_empty() {
                        misdirected(context, draft, gateway);
                    }
                    super::registrations::hide(context, draft, registration, fault);
                    draft
                        .command("oc get mcpgatewayextensions -A")
                        .verify(super::registrations::ready_command(object));
                }
                RegistrationFault::OtherListener(gateway, valid)
                    if super::registrations::strict(chain, registration, gateway, valid).is_none() =>
                {
                    let draft = findings.report(
                        &EXTENSION_CHAIN,
                        object,
                        format!(
                            "The route of MCPServerRegistration {} is on a port of Gateway {} that no MCPGatewayExtension targets",
                            object.full_name(),
                            gateway.full_name()
                        ),
                        route.evidence("/spec/parentRefs/0"),
                        "Attach the route to a listener on the extension's port (sectionName), or target this \
                         port with an extension of its own.",
                    );
                    draft
                        .object(route.reference())
                        .object(gateway.reference())
                        .because_of(&["MG212", "MG213"], route.reference());
                    for &at in valid.iter().take(4) {
                        let extension = &chain.extensions[at];
                        draft.evidence(extension.object.evidence("/spec/targetRef/sectionName"));
                        draft.because_of(&["MG306"], extension.object.reference());
                        if let Some(listener) = extension.listener {
                            draft.evidence(gateway.evidence(&listener.pointer("/port")));
                        }
                    }
                    super::registrations::hide(context, draft, registration, fault);
                    draft
                        .command("oc get mcpgatewayextensions -A")
                        .verify(super::registrations::ready_command(object));
                }
                _ => {}
            }
        }
    }
}

/// Names the extensions as the cause that were probably meant for this Gateway, but miss it.
fn misdirected(context: &Context<'_>, draft: &mut Draft, gateway: &Object) {
    for extension in &context.chain().extensions {
        let misses = extension
            .faults
            .iter()
            .any(|f| matches!(f, ExtensionFault::GatewayMissing | ExtensionFault::NamespaceEmpty));
        let (_, name) = extension.target();
        let meant =
            name == gateway.name() || suggest::closest(name, std::iter::once((gateway.name(), ()))).is_some();
        if misses && meant {
            draft
                .because_of(&["MG301"], extension.object.reference())
                .evidence(extension.object.evidence("/spec/targetRef/name"));
        }
    }
}

/// Names the first fault of an extension, or that it is not reconciled, as the cause.
pub(super) fn because_of_extension(draft: &mut Draft, extension: &Extension<'_>) {
    let reference: ObjectRef = extension.object.reference();
    match extension.first() {
        Some(first) => draft.because_of(&[first.code()], reference),
        None => draft.because_of(&["MG310"], reference),
    };
}

declare_rule! {
    /// The broker of an extension is not ready
    ///
    /// ## What it means
    /// The Deployment `mcp-gateway` in the extension's namespace has no ready replica. It holds the
    /// router too, and the router is asked about *every* request on the listener's port and fails
    /// closed: not only MCP, everything on that port is answered with 500 or 503. The extension stays
    /// `DeploymentNotReady`, its EnvoyFilter is not written, and registrations of other namespaces
    /// become `no valid mcpgatewayextensions configured`.
    ///
    /// ## How it is decided
    /// `status.readyReplicas` of the Deployment is 0 or below `status.replicas`, or there is no such
    /// Deployment although nothing else is wrong with the extension. A broker that is running but has
    /// no server it can reach is not ready either (`/readyz`): then the failing servers are the cause.
    ///
    /// ## Causes
    /// The pod cannot be pulled, scheduled or started (MG101-MG111); every registered server fails
    /// (MG417, MG405, MG409); the controller is down and has not made the Deployment.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get deployment mcp-gateway`; `oc -n NAMESPACE logs deployment/mcp-gateway`.
    ///
    /// ## How to fix
    /// Repair the cause. Restarting the gateway's proxy does not help.
    ///
    /// ## When it may be a false alarm
    /// During a rollout with a single replica.
    static BROKER_NOT_READY = {
        code: "MG312", name: "broker-not-ready", severity: Error, section: "1.3",
        needs: ["deployments", "mcpgatewayextensions", "broker log"], since: "0.1.0",
        caused_by: [
            "MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111", "MG417",
        ],
        check: broker_not_ready,
    }
}

fn broker_not_ready(context: &Context<'_>, findings: &mut Findings) {
    undecided(context, findings, &BROKER_NOT_READY);
    for (extension, fault) in each(context, "MG312") {
        let ExtensionFault::BrokerNotReady(deployment) = fault else { continue };
        let object = extension.object;
        let namespace = object.namespace();
        let (evidence, reference, what) = match deployment {
            Some(deployment) => (
                deployment.evidence("/status/readyReplicas"),
                deployment.reference(),
                format!(
                    "{} of {} replicas are ready",
                    deployment.int("/status/readyReplicas").unwrap_or(0),
                    deployment.int("/status/replicas").unwrap_or(0)
                ),
            ),
            None => (
                object.evidence("/spec/targetRef"),
                suggest::reference(&kinds::DEPLOYMENT, namespace, "mcp-gateway"),
                "its Deployment does not exist".to_owned(),
            ),
        };
        let draft = report(
            findings,
            &BROKER_NOT_READY,
            extension,
            "/spec/targetRef/sectionName",
            format!("The broker of MCPGatewayExtension {} is not ready: {what}", object.full_name()),
            "Repair the broker's pods. Until then every request on the listener's port fails, MCP or not."
                .to_owned(),
        );
        draft.evidence.insert(0, evidence);
        draft
            .object(reference)
            .command(format!("oc -n {namespace} describe deployment mcp-gateway"))
            .command(format!("oc -n {namespace} logs deployment/mcp-gateway --tail=50"));
    }
}
