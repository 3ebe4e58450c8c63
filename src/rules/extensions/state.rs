//! MG310-MG312: whether an extension is reconciled, serves anybody, and has a broker.

use super::{attach, each, hosts, log, report, undecided};
use crate::declare_rule;
use crate::model::gateway_api::{Attachment, Listener, Verdict, hostname, listeners, parent_refs, status};
use crate::model::json::Value;
use crate::model::mcp::{Extension, ExtensionFault, Registration, RegistrationFault};
use crate::model::workloads::Component;
use crate::model::{Object, kinds, near};
use crate::report::{Evidence, ObjectRef};
use crate::rules::gateways::condition_pointer;
use crate::rules::{Context, Draft, Findings, evidence, suggest};
use crate::shell::{Command, shell};

declare_rule! {
    /// The controller does not reconcile an extension
    ///
    /// ## What it means
    /// The status of the extension is missing, of an older generation, or does not follow from the specs:
    /// what it says cannot be trusted, and changes have no effect. Or the controller tries again and again
    /// and fails over something that the status does not say.
    ///
    /// ## How it is decided
    /// For an extension that is at least a minute old, the first of these that holds:
    ///
    /// - It has been marked for deletion for more than five minutes: the controller has not run its
    ///   finalizer.
    /// - It has no `Ready` condition (in old versions `Accepted`).
    /// - The condition's `observedGeneration` is below `metadata.generation`.
    /// - `Ready=True` although a step of the controller's evaluation fails.
    /// - `Ready=False` although none fails; undecided where evidence for a step is missing.
    /// - The controller's log (of the present run) has the same `Reconciler error` for the extension at least
    ///   three times, the last behind the last `reconciling mcpgatewayextension` and within twenty minutes of
    ///   the collection. Conflicts of two writers do not count.
    /// - `Ready=True` although the broker's Deployment still has another public host, private host, ping
    ///   interval or image (`RELATED_IMAGE_ROUTER_BROKER` of the only controller) than the controller would
    ///   give it. Only a Deployment that the extension owns is compared, and only settings that are known.
    ///
    /// What the controller's log says of the extension is shown with it.
    ///
    /// ## Causes
    /// The controller is down (its pods' findings are then the cause), lacks permissions, or crashed. For
    /// ReferenceGrants: the controller only watches the first entry of `from`, so that a grant whose matching
    /// entry comes later is not noticed until the next resync.
    ///
    /// ## How to confirm
    /// `oc -n CONTROLLER_NAMESPACE logs deployment/mcp-gateway-controller`: `reconciling mcpgatewayextension`
    /// must appear after a change. With Helm the Deployment is named after the release.
    ///
    /// ## How to fix
    /// Bring the controller back, then touch the extension:
    /// `oc -n NAMESPACE annotate mcpgatewayextension NAME oc-mcpgw/touched="$(date -u +%s)" --overwrite`.
    ///
    /// ## When it may be a false alarm
    /// Within seconds after a change of the extension, its Gateway or a grant; only the age of the extension
    /// is looked at. During an upgrade, until the controller has given the brokers their new image.
    pub(super) static EXTENSION_NOT_RECONCILED = {
        code: "MG310", name: "extension-not-reconciled", severity: Error, section: "1.2.3",
        needs: ["mcpgatewayextensions", "gateways", "referencegrants", "controller log", "pods", "deployments"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111", "MG006"],
        check: extension_not_reconciled,
    }
}

/// How long the controller may take to clean up behind an extension that is to be deleted.
const FINALIZED: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

fn extension_not_reconciled(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let object = extension.object;
        if context.is_younger(object, 60) {
            continue;
        }
        let name = object.full_name();
        let said = log::about(context, object);
        if object.is_deleting() {
            let since = object.time("/metadata/deletionTimestamp");
            let waited = context.now.zip(since).map(|(now, since)| now - since);
            let Some(waited) = waited.filter(|waited| *waited > FINALIZED) else { continue };
            let what = format!(
                "MCPGatewayExtension {name} is to be deleted for {}: nobody has run its finalizer",
                evidence::duration(waited)
            );
            not_reconciled(
                context,
                findings,
                object,
                &said,
                what,
                object.evidence("/metadata/deletionTimestamp"),
            )
            .evidence(object.evidence("/metadata/finalizers"));
            continue;
        }
        let Some(condition) = extension.ready() else {
            not_reconciled(
                context,
                findings,
                object,
                &said,
                format!("MCPGatewayExtension {name} has no status"),
                object.evidence("/status/conditions"),
            );
            continue;
        };
        let pointer = condition_pointer(&condition);
        let shown = object.evidence(&pointer);
        if status::is_stale(object, &condition) {
            let evidence = object.evidence(&format!("{pointer}/observedGeneration"));
            not_reconciled(
                context,
                findings,
                object,
                &said,
                format!("MCPGatewayExtension {name} has a status of an older generation"),
                evidence,
            )
            .evidence(object.evidence("/metadata/generation"));
        } else if let (true, Some(first)) = (condition.is_true(), extension.first()) {
            not_reconciled(
                context,
                findings,
                object,
                &said,
                format!("MCPGatewayExtension {name} says Ready, but the specs do not allow it"),
                shown,
            )
            .because_of(&[first.code()], object.reference());
        } else if condition.is_false() && extension.faults.is_empty() {
            if extension.unknown.is_empty() {
                not_reconciled(
                    context,
                    findings,
                    object,
                    &said,
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
        } else if let (true, Some(failing)) = (extension.faults.is_empty(), log::failing(context, object)) {
            not_reconciled(
                context,
                findings,
                object,
                &said,
                format!("The controller fails to reconcile MCPGatewayExtension {name}, which its status does not say"),
                failing,
            )
            .evidence(shown);
        } else if let (true, true, Some((what, is, wanted, [first, second]))) =
            (condition.is_true(), extension.faults.is_empty(), old_setting(context, extension))
        {
            not_reconciled(
                context,
                findings,
                object,
                &said,
                format!(
                    "The broker of MCPGatewayExtension {name} runs with {what} {is}, it should be {wanted}"
                ),
                first,
            )
            .evidence(second)
            .evidence(shown);
        }
    }
}

/// Makes the controller look at an extension again.
pub(in crate::rules) fn touch(extension: &Object) -> Command {
    shell!(
        "oc -n {} annotate mcpgatewayextension {} oc-mcpgw/touched=\"$(date -u +%s)\" --overwrite",
        extension.namespace(),
        extension.name()
    )
}

/// A setting with which the broker was deployed, and that the controller would have changed: its name, what it is,
/// what it should be, and the evidence of both.
fn old_setting<'a>(
    context: &Context<'a>,
    extension: &Extension<'a>,
) -> Option<(String, String, String, [Evidence; 2])> {
    let object = extension.object;
    let deployment = context.workloads().broker_deployment(object.namespace())?;
    let owned = deployment
        .array("/metadata/ownerReferences")
        .iter()
        .any(|owner| owner.get("kind").and_then(Value::as_str) == Some(kinds::MCP_GATEWAY_EXTENSION.kind));
    if !owned {
        return None;
    }
    let public = match (object.str("/spec/publicHost"), extension.gateway.zip(extension.listener)) {
        ("", Some((gateway, listener))) => Some(gateway.evidence(&listener.pointer("/hostname"))),
        ("", None) => None,
        _ => Some(object.evidence("/spec/publicHost")),
    };
    let private = object.str("/spec/privateHost");
    let interval = object.int("/spec/backendPingIntervalSeconds").map(|seconds| seconds.to_string());
    let wanted = [
        ("mcp-gateway-public-host", extension.public_host(), public),
        (
            "mcp-gateway-private-host",
            (!private.is_empty()).then(|| private.to_owned()),
            Some(object.evidence("/spec/privateHost")),
        ),
        ("mcp-check-interval", interval, Some(object.evidence("/spec/backendPingIntervalSeconds"))),
    ];
    let flags = wanted.into_iter().find_map(|(name, wanted, shown)| {
        let (is, pointer) = hosts::flag(deployment, name).filter(|(is, _)| !is.is_empty())?;
        let wanted = wanted.filter(|wanted| !wanted.eq_ignore_ascii_case(&is))?;
        Some((format!("--{name}"), is, wanted, [deployment.evidence(&pointer), shown?]))
    });
    flags.or_else(|| old_image(context, deployment))
}

/// The image, where it is not the one that the only controller gives to brokers.
fn old_image(context: &Context<'_>, deployment: &Object) -> Option<(String, String, String, [Evidence; 2])> {
    let [controller] = context.workloads().deployments_of(Component::Controller) else { return None };
    let containers = controller.array("/spec/template/spec/containers").iter().enumerate();
    let mut variables = containers.flat_map(|(c, container)| {
        let env = container.get("env").and_then(Value::as_array).into_iter().flatten().enumerate();
        env.map(move |(e, variable)| (format!("/spec/template/spec/containers/{c}/env/{e}"), variable))
    });
    let (pointer, wanted) = variables.find_map(|(pointer, variable)| {
        let is_image = variable.get("name").and_then(Value::as_str) == Some("RELATED_IMAGE_ROUTER_BROKER");
        let value = variable.get("value").and_then(Value::as_str).filter(|_| is_image)?;
        Some((format!("{pointer}/value"), value.to_owned()))
    })?;
    let at = "/spec/template/spec/containers/0/image";
    let is = deployment.str(at);
    let shown = [deployment.evidence(at), controller.evidence(&pointer)];
    (!is.is_empty() && is != wanted).then(|| ("image".to_owned(), is.to_owned(), wanted, shown))
}

/// Looks at the controller's Deployment, wherever it is and however it is called.
fn controller(context: &Context<'_>) -> Command {
    match context.workloads().deployments_of(Component::Controller) {
        [deployment] => shell!("oc -n {} get deployment {}", deployment.namespace(), deployment.name()),
        _ => "oc get deployments -A | grep mcp".into(),
    }
}

fn not_reconciled<'f>(
    context: &Context<'_>,
    findings: &'f mut Findings,
    object: &Object,
    said: &[Evidence],
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
    for evidence in said {
        draft.evidence(evidence.clone());
    }
    draft.command(controller(context)).command(touch(object)).verify(shell!(
        "oc -n {} get mcpgatewayextension {} -o jsonpath='{{.status.conditions}}'",
        namespace,
        name
    ));
    draft
}

declare_rule! {
    /// No valid extension serves a registration's Gateway
    ///
    /// ## What it means
    /// The registration's route is attached to a Gateway (or a port of it) that no valid MCPGatewayExtension
    /// targets, so that the server is in no broker's configuration:
    /// `no valid mcpgatewayextensions configured`, or
    /// `no matching mcpgatewayextensions for attached listener`. Or the server is configured, but its calls
    /// do not reach the listener of its route; then the registration says `Ready`.
    ///
    /// ## How it is decided
    /// The chain registration → route → Gateway → extension is followed as the controller does. One of these
    /// is reported:
    ///
    /// - No extension targets the Gateway, or none that does is valid. One in the Gateway's own namespace
    ///   always is, one elsewhere needs its ReferenceGrant and `Ready=True`.
    /// - The route is not attached to the port of a valid extension's listener. A host that only the
    ///   controller refuses is MG423, a listener that does not exist MG212.
    /// - The controller takes the route, but the Gateway has it on another port: the controller does not look
    ///   at the `port` of a parentRef.
    /// - The extension's port has several HTTPS listeners, and the route is not on the one that has the
    ///   public host: a call stays within the routes of that listener.
    ///
    /// Of the Gateways of a route those count that have accepted it; while none has, those that it names.
    /// While a broker is starting, or extensions were not collected, this stays undecided.
    ///
    /// ## Causes
    /// No extension for that Gateway; an extension with a fault of its own (then that is the cause); a route
    /// on another listener's port.
    ///
    /// ## How to confirm
    /// `oc get mcpgatewayextensions -A -o yaml` and compare `targetRef` with the route's parentRefs.
    ///
    /// ## How to fix
    /// Repair or create the extension, or attach the route to the Gateway and port that one targets.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static EXTENSION_CHAIN = {
        code: "MG311", name: "extension-chain", severity: Error, section: "1.3",
        needs: ["mcpserverregistrations", "httproutes", "gateways", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: ["MG201", "MG212"], check: extension_chain,
    }
}

fn extension_chain(context: &Context<'_>, findings: &mut Findings) {
    let chain = context.chain();
    for registration in &chain.registrations {
        let Some(route) = registration.route else { continue };
        for (_, missing) in registration.unknown.iter().filter(|(code, _)| *code == "MG311") {
            findings.cannot_tell(&EXTENSION_CHAIN, missing.clone());
        }
        out_of_reach(context, findings, registration, route);
        for fault in &registration.faults {
            let object = registration.object;
            match fault {
                RegistrationFault::NoExtension(gateway, broken) => {
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
                            draft.evidence(extension.object.evidence(&condition_pointer(&condition)));
                        } else {
                            draft.evidence(extension.object.evidence("/spec/targetRef"));
                        }
                    }
                    if broken.is_empty() {
                        misdirected(context, draft, gateway);
                    }
                    crate::rules::registrations::hide(context, draft, registration, fault);
                    draft
                        .command(
                            attach::command(context, route, gateway, chain.extensions.iter())
                                .filter(|_| broken.is_empty())
                                .unwrap_or("oc get mcpgatewayextensions -A".into()),
                        )
                        .verify(crate::rules::registrations::ready_command(object));
                }
                RegistrationFault::OtherListener(gateway, valid)
                    if crate::rules::registrations::strict(chain, registration, gateway, valid).is_none()
                        && !misnamed(route, gateway, valid.iter().map(|&at| &chain.extensions[at])) =>
                {
                    let draft = findings.report(
                        &EXTENSION_CHAIN,
                        object,
                        format!(
                            "The route of MCPServerRegistration {} is attached to no port of Gateway {} that an MCPGatewayExtension targets",
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
                    crate::rules::registrations::hide(context, draft, registration, fault);
                    draft
                        .command(
                            attach::command(
                                context,
                                route,
                                gateway,
                                valid.iter().map(|&at| &chain.extensions[at]),
                            )
                            .unwrap_or("oc get mcpgatewayextensions -A".into()),
                        )
                        .verify(crate::rules::registrations::ready_command(object));
                }
                _ => {}
            }
        }
    }
}

/// Whether the route names a listener that the Gateway lacks (MG212), and nothing says that the one it means is on a
/// port without extension.
fn misnamed<'a>(
    route: &Object,
    gateway: &Object,
    extensions: impl Iterator<Item = &'a Extension<'a>>,
) -> bool {
    let listeners = listeners(gateway);
    let targeted: Vec<i64> = extensions.filter_map(|e| e.listener).map(|l| l.port).collect();
    parent_refs(route)
        .iter()
        .filter(|p| p.is_gateway() && (p.namespace, p.name) == (gateway.namespace(), gateway.name()))
        .filter_map(|parent| parent.section)
        .filter(|section| listeners.iter().all(|l| l.name != *section))
        .any(|section| {
            let meant = near::closest(section, listeners.iter().map(|l| (l.name, l.port)));
            meant.is_none_or(|port| targeted.contains(&port))
        })
}

/// The HTTPS listener at which clients of an extension arrive: Envoy chooses it by the public host, the most specific
/// hostname first, whatever listener the extension names.
fn entry<'a>(extension: &Extension<'a>, gateway: &'a Object, port: i64) -> Option<Listener<'a>> {
    let public = extension.public_host()?;
    listeners(gateway)
        .into_iter()
        .filter(|l| l.port == port && l.protocol == "HTTPS")
        .filter(|l| hostname::intersection(l.hostname, &public).as_deref() == Some(public.as_str()))
        .max_by_key(|l| (!l.hostname.is_empty() && !l.hostname.starts_with('*'), l.hostname.len()))
}

/// A server that the controller hands to an extension although its calls do not reach it: the Gateway has its route on
/// another port, where no router is (the controller does not look at the port of a parentRef), or on another HTTPS
/// listener of the same port. Of these each has a table of routes of its own, and a call stays within the one at which it
/// arrived.
fn out_of_reach<'a>(
    context: &Context<'a>,
    findings: &mut Findings,
    registration: &Registration<'a>,
    route: &'a Object,
) {
    let chain = context.chain();
    let Some(facts) = chain.route(route.namespace(), route.name()) else { return };
    for &at in &registration.extensions {
        let extension = &chain.extensions[at];
        let (Some(gateway), Some(listener)) = (extension.gateway, extension.listener) else { continue };
        let entry =
            if listener.protocol == "HTTPS" { entry(extension, gateway, listener.port) } else { None };
        let here = |a: &&Attachment<'_>| a.gateway.found().is_some_and(|g| std::ptr::eq(g, gateway));
        let verdicts = || {
            let attachments = facts.attachments.iter().filter(here);
            attachments.flat_map(|a| a.listeners.iter().map(move |(l, verdict)| (a, l, verdict)))
        };
        let is_reached = |l: &Listener<'_>| match entry {
            Some(entry) => l.index == entry.index,
            None => l.port == listener.port,
        };
        // A refusal of the whole route is not this fault, and one that cannot be decided is none.
        let reached = verdicts().any(|(_, l, verdict)| {
            is_reached(l) && matches!(verdict, Verdict::Accepts(_) | Verdict::Unknown(_))
        });
        let elsewhere = verdicts().find(|(_, _, verdict)| matches!(verdict, Verdict::Accepts(_)));
        let Some((attachment, first, _)) = elsewhere.filter(|_| !reached) else { continue };
        let object = registration.object;
        let (title, remedy, field) = match entry.filter(|_| first.port == listener.port) {
            Some(entry) => (
                format!(
                    "The route of MCPServerRegistration {} is on listener {} of Gateway {}, its calls arrive at listener {}",
                    object.full_name(),
                    first.name,
                    gateway.full_name(),
                    entry.name
                ),
                "Attach the route to the listener of the public host; one HTTPS listener with a wildcard has to hold the \
                 public host and all servers, as Envoy looks for the route of a call only among those of the listener at \
                 which it arrived.",
                "/hostname",
            ),
            None => (
                format!(
                    "The route of MCPServerRegistration {} is on port {} of Gateway {}, its MCPGatewayExtension on port {}",
                    object.full_name(),
                    first.port,
                    gateway.full_name(),
                    listener.port
                ),
                "Attach the route to a listener on the extension's port; the controller does not look at the port of a \
                 parentRef, and reports the registration as ready.",
                "/port",
            ),
        };
        let parent = &attachment.parent;
        let evidence = route.evidence(&format!("/spec/parentRefs/{}", parent.index));
        let candidates = listeners(gateway).into_iter().filter(|l| is_reached(l));
        let command = attach::to(context, route, parent, gateway, candidates)
            .unwrap_or_else(|| shell!("oc -n {} edit gateway {}", gateway.namespace(), gateway.name()));
        findings
            .report(&EXTENSION_CHAIN, object, title, evidence, remedy)
            .object(route.reference())
            .object(gateway.reference())
            .object(extension.object.reference())
            .evidence(gateway.evidence(&first.pointer(field)))
            .evidence(gateway.evidence(&entry.unwrap_or(listener).pointer(field)))
            .command(command)
            .verify(crate::rules::registrations::ready_command(object));
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
pub(in crate::rules) fn because_of_extension(draft: &mut Draft, extension: &Extension<'_>) {
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
    /// The Deployment `mcp-gateway` in the extension's namespace is not ready. It holds the router too, and
    /// the router is asked about *every* request on the listener's port and fails closed: while no replica is
    /// ready, not only MCP, everything on that port is answered with 500 or 503. The extension stays
    /// `DeploymentNotReady`, its EnvoyFilter is not written (one that is there stays), and registrations of
    /// other namespaces become `no valid mcpgatewayextensions configured`.
    ///
    /// ## How it is decided
    /// One of these:
    ///
    /// - `status.readyReplicas` of the Deployment is 0; in its first minute this is undecided.
    /// - Some replicas are ready, but not all of `status.replicas`, and its rollout has not moved for two
    ///   minutes. Requests still pass then; the controller waits for the rest.
    /// - There is no such Deployment although nothing else is wrong with the extension.
    /// - The Deployments were not collected, and the status has said `DeploymentNotReady` for a minute.
    ///
    /// A broker that is running but has no server it can reach is not ready either (`/readyz`): then the
    /// failing servers are the cause. The loser of two extensions in one namespace (MG305) is left out.
    ///
    /// ## Causes
    /// The pod cannot be pulled, scheduled or started (MG101-MG111); every registered server fails (MG417,
    /// MG405, MG409); the controller is down and has not made the Deployment; it was scaled to 0.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get deployment mcp-gateway`; `oc -n NAMESPACE logs deployment/mcp-gateway`.
    ///
    /// ## How to fix
    /// Repair the cause. Restarting the gateway's proxy does not help.
    ///
    /// ## When it may be a false alarm
    /// During a rollout with a single replica.
    pub(super) static BROKER_NOT_READY = {
        code: "MG312", name: "broker-not-ready", severity: Error, section: "1.3",
        needs: ["deployments", "mcpgatewayextensions", "broker log"], since: "0.1.0",
        caused_by: [
            "MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111", "MG417", "MG705",
        ],
        versions: "from 0.5.1 on, where the controller deploys the broker",
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
                    deployment
                        .int("/spec/replicas")
                        .unwrap_or(1)
                        .max(deployment.int("/status/replicas").unwrap_or(0))
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
            match deployment {
                Some(deployment) if deployment.int("/status/readyReplicas").unwrap_or(0) > 0 => {
                    "Repair the broker's pods: some are ready and answer for all."
                }
                Some(_) => {
                    "Repair the broker's pods. Until then every request on the listener's port fails, MCP or not."
                }
                None => {
                    "See whether the controller runs and what it logs, then touch the extension, so that it makes the \
                     Deployment. Until then every request on the listener's port fails, MCP or not."
                }
            }
            .to_owned(),
        );
        draft.evidence.insert(0, evidence);
        draft.object(reference);
        if deployment.is_some() {
            draft
                .command(shell!("oc -n {} describe deployment mcp-gateway", namespace))
                .command(shell!("oc -n {} logs deployment/mcp-gateway --tail=50", namespace));
        } else {
            draft.command(controller(context)).command(touch(object));
        }
    }
}
