//! The steps of the controller's evaluation of an extension, in its order.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::extension::SecretUse;
use super::secret::Content;
use super::{Extension, ExtensionFault, Id, extension, hostname, secret};
use crate::model::gateway_api::{self, Granted, Grants, Listener, Reference, allowed, listeners};
use crate::model::workloads::Workloads;
use crate::model::{Bundle, Missing, Object, Seen, kinds, near};
use crate::shell::shell;

/// The order of winners: oldest first, then the lower UID, then the name.
pub(super) fn older(a: &Object, b: &Object) -> std::cmp::Ordering {
    let key = |o: &Object| (o.created().is_none(), o.created());
    key(a).cmp(&key(b)).then_with(|| a.uid().cmp(b.uid())).then_with(|| a.full_name().cmp(&b.full_name()))
}

/// Judges all extensions.
pub(super) fn extensions<'a>(
    bundle: &'a Bundle,
    workloads: &Workloads<'a>,
    grants: &Grants<'a>,
) -> Vec<Extension<'a>> {
    let objects: Vec<&Object> = bundle.list(&kinds::MCP_GATEWAY_EXTENSION).collect();
    let mut oldest_here: HashMap<&str, &Object> = HashMap::new();
    let mut oldest_on_port: HashMap<(Id<'_>, i64), &Object> = HashMap::new();
    let mut found: Vec<Extension<'_>> =
        objects.into_iter().map(|object| judge(bundle, grants, object)).collect();
    for extension in found.iter().filter(|e| !e.object.is_deleting()) {
        let object = extension.object;
        let oldest = oldest_here.entry(object.namespace()).or_insert(object);
        if older(object, oldest).is_lt() {
            *oldest = object;
        }
        if let Some(listener) = extension.listener {
            let oldest = oldest_on_port.entry((extension.target(), listener.port)).or_insert(object);
            if older(object, oldest).is_lt() {
                *oldest = object;
            }
        }
    }
    for extension in found.iter_mut().filter(|e| !e.object.is_deleting()) {
        let object = extension.object;
        if let Some(winner) =
            oldest_here.get(object.namespace()).filter(|winner| !std::ptr::eq(**winner, object))
        {
            extension.faults.insert(0, ExtensionFault::NamespaceConflict(winner));
        }
        let port = extension.listener.map(|l| l.port);
        let winner = port.and_then(|port| oldest_on_port.get(&(extension.target(), port)));
        if let (Some(winner), Some(port)) = (winner.filter(|winner| !std::ptr::eq(**winner, object)), port) {
            let after_target = extension
                .faults
                .iter()
                .position(|f| matches!(f, ExtensionFault::Secret(..) | ExtensionFault::BrokerNotReady(_)))
                .unwrap_or(extension.faults.len());
            extension.faults.insert(after_target, ExtensionFault::PortConflict(winner, port));
        }
        broker(bundle, workloads, extension);
        if extension.faults.is_empty() && !extension.unknown.is_empty() {
            extension.faults.extend(said_fault(bundle, workloads, extension));
        }
    }
    found
}

/// What the status says of an extension whose specs the bundle cannot judge.
fn said_fault<'a>(
    bundle: &'a Bundle,
    workloads: &Workloads<'a>,
    extension: &Extension<'a>,
) -> Option<ExtensionFault<'a>> {
    if is_within(bundle, time_of(extension.object, "Ready", "lastTransitionTime"), 60) {
        return None;
    }
    let invalid =
        |part: &str| extension.says("InvalidMCPGatewayExtension").filter(|message| message.contains(part));
    // What the bundle has of the broker is judged by itself.
    let broker = || workloads.broker_deployment(extension.object.namespace()).is_none();
    let (code, message) = None
        .or_else(|| extension.says("ReferenceGrantRequired").map(|message| ("MG303", message)))
        .or_else(|| {
            extension.says("DeploymentNotReady").filter(|_| broker()).map(|message| ("MG312", message))
        })
        .or_else(|| invalid("invalid: gateway target").map(|message| ("MG301", message)))
        .or_else(|| invalid("not found on gateway").map(|message| ("MG306", message)))
        .or_else(|| invalid("does not allow routes").map(|message| ("MG308", message)))?;
    Some(ExtensionFault::Said(code, message))
}

/// The steps of one extension but the conflicts with others and the broker.
fn judge<'a>(bundle: &'a Bundle, grants: &Grants<'a>, object: &'a Object) -> Extension<'a> {
    let mut verdict = Extension {
        object,
        gateway: None,
        listener: None,
        meant_gateway: near::gateway(bundle, object),
        meant_listener: None,
        faults: Vec::new(),
        unknown: Vec::new(),
    };
    target(bundle, grants, &mut verdict);
    verdict.meant_listener = verdict.listener.or_else(|| meant_listener(&verdict));
    secrets(bundle, &mut verdict);
    if object.is_deleting() {
        // It is on its way out: what it refers to may be gone already.
        verdict.faults.clear();
    }
    verdict
}

/// The listener of the meant Gateway that has the wanted name, or comes closest to it.
fn meant_listener<'a>(verdict: &Extension<'a>) -> Option<Listener<'a>> {
    let section = verdict.object.str("/spec/targetRef/sectionName");
    let listeners = listeners(verdict.meant_gateway?);
    let same = listeners.iter().find(|l| l.name == section).copied();
    same.or_else(|| near::closest(section, listeners.iter().map(|l| (l.name, *l))))
}

/// The last step: the broker's Deployment. It is only made once the steps before have passed.
fn broker<'a>(bundle: &'a Bundle, workloads: &Workloads<'a>, verdict: &mut Extension<'a>) {
    let namespace = verdict.object.namespace();
    if verdict.object.is_deleting()
        || verdict.object.is_manifest()
        || verdict.faults.iter().any(|f| matches!(f, ExtensionFault::NamespaceConflict(_)))
    {
        // The Deployment of this namespace is the winner's, goes with its extension, or is yet to come.
        return;
    }
    match workloads.broker_deployment(namespace) {
        Some(deployment) => {
            let ready = deployment.int("/status/readyReplicas").unwrap_or(0);
            let wanted = deployment.int("/status/replicas").unwrap_or(0);
            let starts = ready == 0 && is_within(bundle, deployment.created(), 60);
            if starts || (ready > 0 && ready != wanted && is_rolling(bundle, deployment)) {
                // The controller waits for the end of it, requests do not.
                let what = format!("the end of the rollout of Deployment {}", deployment.full_name());
                let how = shell!("oc -n {} rollout status deployment/{}", namespace, deployment.name());
                verdict.unknown.push(("MG312", Missing { what, how }));
            } else if ready == 0 || ready != wanted {
                verdict.faults.push(ExtensionFault::BrokerNotReady(Some(deployment)));
            } else if is_behind(bundle, verdict, deployment) {
                let what = format!(
                    "the status of MCPGatewayExtension {}, whose broker has just become ready",
                    verdict.object.full_name()
                );
                let how = shell!("oc -n {} get mcpgatewayextension {}", namespace, verdict.object.name());
                verdict.unknown.push(("MG310", Missing { what, how }));
            }
        }
        None if verdict.faults.is_empty() && verdict.unknown.is_empty() => {
            match bundle.collected(&kinds::DEPLOYMENT, Some(namespace)) {
                Ok(()) => verdict.faults.push(ExtensionFault::BrokerNotReady(None)),
                Err(missing) => verdict.unknown.push(("MG312", missing)),
            }
        }
        None => {}
    }
}

/// Whether a time lies within so many seconds before the collection.
fn is_within(bundle: &Bundle, time: Option<DateTime<Utc>>, seconds: i64) -> bool {
    time.zip(bundle.meta.collected_at).is_some_and(|(time, now)| (now - time).num_seconds() < seconds)
}

/// A time of a condition.
fn time_of(object: &Object, kind: &str, field: &str) -> Option<DateTime<Utc>> {
    let index = object.condition(kind)?.index;
    object.time(&format!("/status/conditions/{index}/{field}"))
}

/// Whether a Deployment's rollout went on within two minutes before the collection.
fn is_rolling(bundle: &Bundle, deployment: &Object) -> bool {
    is_within(bundle, time_of(deployment, "Progressing", "lastUpdateTime"), 120)
}

/// Whether an extension still waits for its broker, which became ready within the minute before the collection: the
/// controller looks again every few seconds.
fn is_behind(bundle: &Bundle, extension: &Extension<'_>, deployment: &Object) -> bool {
    let waits = extension.ready().is_some_and(|c| c.is_false() && c.reason == "DeploymentNotReady");
    let changes = [
        time_of(extension.object, "Ready", "lastTransitionTime"),
        time_of(deployment, "Available", "lastTransitionTime"),
        time_of(deployment, "Progressing", "lastUpdateTime"),
    ];
    waits && extension.faults.is_empty() && changes.into_iter().any(|time| is_within(bundle, time, 60))
}

fn target<'a>(bundle: &'a Bundle, grants: &Grants<'a>, verdict: &mut Extension<'a>) {
    let object = verdict.object;
    let text = |pointer: &str| object.str(pointer);
    let (group, kind) = (text("/spec/targetRef/group"), text("/spec/targetRef/kind"));
    if !(group.is_empty() || group == gateway_api::GROUP) || !(kind.is_empty() || kind == "Gateway") {
        verdict.faults.push(ExtensionFault::TargetKind);
        return;
    }
    let (namespace, name) = verdict.target();
    if namespace.is_empty() {
        verdict.faults.push(ExtensionFault::NamespaceEmpty);
        return;
    }
    let gateway = match bundle.find(&kinds::GATEWAY, namespace, name) {
        Seen::Found(gateway) => gateway,
        Seen::Absent => {
            verdict.faults.push(ExtensionFault::GatewayMissing);
            return;
        }
        Seen::Unknown(missing) => {
            verdict.unknown.push(("MG301", missing));
            return;
        }
    };
    verdict.gateway = Some(gateway);
    let section = text("/spec/targetRef/sectionName");
    verdict.listener = listeners(gateway).into_iter().find(|l| l.name == section);
    match verdict.listener {
        Some(listener) => on_listener(bundle, gateway, &listener, verdict),
        None if section.is_empty() && !extension::names_listeners(bundle, object) => {
            verdict.unknown.push((
                "MG306",
                Missing {
                    what: format!(
                        "the listener of MCPGatewayExtension {}: this version of the MCP gateway names none",
                        object.full_name()
                    ),
                    how: "upgrade the MCP gateway to 0.6 or newer".into(),
                },
            ));
        }
        None => verdict.faults.push(ExtensionFault::ListenerMissing),
    }
    if object.namespace() != namespace {
        let reference = Reference {
            from_group: super::GROUP,
            from_kind: "MCPGatewayExtension",
            from_namespace: object.namespace(),
            to_group: gateway_api::GROUP,
            to_kind: "Gateway",
            to_namespace: namespace,
            to_name: name,
        };
        match grants.check(bundle, &reference) {
            Granted::Yes(..) => {}
            Granted::No(near) => verdict.faults.push(ExtensionFault::NoGrant(near)),
            // A must-gather has no list of a kind of which the cluster has no object: the controller's word counts.
            Granted::Unknown(_) if verdict.says("ReferenceGrantRequired").is_some() => {
                verdict.faults.push(ExtensionFault::NoGrant(Vec::new()));
            }
            Granted::Unknown(missing) => verdict.unknown.push(("MG303", missing)),
        }
    }
}

/// What the controller says of a Secret that the extension names.
fn said<'a>(extension: &Extension<'a>, name: &str) -> Option<&'a str> {
    ["SecretNotFound", "SecretInvalid", "GuardrailsSecretNotFound"]
        .into_iter()
        .find_map(|reason| extension.says(reason))
        .filter(|message| message.split_whitespace().any(|word| word == name))
}

fn on_listener<'a>(
    bundle: &'a Bundle,
    gateway: &'a Object,
    listener: &Listener<'a>,
    verdict: &mut Extension<'a>,
) {
    let object = verdict.object;
    let public = object.str("/spec/publicHost");
    if public.is_empty() && listener.hostname.is_empty() {
        verdict.faults.push(ExtensionFault::NoHostname);
    } else if public.contains("://") {
        verdict.faults.push(ExtensionFault::PublicHost("it is a URL; a hostname is wanted".to_owned()));
    } else if let Some(why) = verdict.stated_host().as_deref().and_then(hostname::fault) {
        verdict.faults.push(ExtensionFault::PublicHost(why));
    }
    match allowed::namespace(bundle, gateway, listener, object.namespace()) {
        // Istio takes all then, the controller none.
        allowed::Allowed::Yes if allowed::lacks_selector(listener) => {
            verdict.faults.push(ExtensionFault::NotAllowed(
                "from: Selector stands there without a selector".to_owned(),
            ));
        }
        allowed::Allowed::Yes => {}
        allowed::Allowed::No(why) => verdict.faults.push(ExtensionFault::NotAllowed(why)),
        allowed::Allowed::Unknown(missing) => verdict.unknown.push(("MG308", missing)),
    }
}

fn secrets<'a>(bundle: &'a Bundle, verdict: &mut Extension<'a>) {
    let object = verdict.object;
    let generated = object.str("/spec/trustedHeadersKey/generate") == "Enabled";
    let ca_key = match object.str("/spec/caCertBundleRef/key") {
        "" => "ca.crt",
        key => key,
    };
    for (usage, labelled, key) in [
        (SecretUse::TrustedHeaders, false, Some(("key", Content::Any))),
        (SecretUse::SessionStore, true, Some(("CACHE_CONNECTION_STRING", Content::Filled))),
        // The limit is the controller's.
        (SecretUse::CaBundle, true, Some((ca_key, Content::Authorities(262_144)))),
        (SecretUse::Guardrails, true, None),
    ] {
        let name = object.str(usage.pointer());
        if name.is_empty() || (usage == SecretUse::TrustedHeaders && generated) {
            continue;
        }
        match secret::check(bundle, object.namespace(), name, labelled, key) {
            Ok(faults) => verdict
                .faults
                .extend(faults.into_iter().map(|f| ExtensionFault::Secret(usage, name.to_owned(), f))),
            Err(missing) => match said(verdict, name) {
                Some(message) => {
                    verdict.faults.push(ExtensionFault::SecretSaid(usage, name.to_owned(), message));
                }
                None => verdict.unknown.push(("MG309", missing)),
            },
        }
    }
}
