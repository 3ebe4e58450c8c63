//! MG415, MG416, MG422: how a registration comes through the controller into the broker's configuration.

use std::collections::HashSet;

use chrono::TimeDelta;

use super::broker::{status_command, statuses};
use crate::declare_rule;
use crate::model::broker_config;
use crate::model::object::Condition;
use crate::model::secret_shape::Shape;
use crate::model::workloads::Component;
use crate::model::{Object, Seen, kinds};
use crate::rules::credentials::credential;
use crate::rules::{Context, Findings, evidence, suggest};
use crate::shell::{Command, shell};

/// How long it may take until the kubelet brings a changed Secret into a pod, and a little more.
const DELAY: TimeDelta = TimeDelta::minutes(3);

declare_rule! {
    /// The controller has not seen a registration
    ///
    /// ## What it means
    /// The controller's log reaches back before the registration was created, and has no line about
    /// it: the controller does not watch its namespace or its version of the API, or is stuck.
    ///
    /// ## How it is decided
    /// Lines of the controller's reconciliation (`main reconcile logic starting for`, `target route found`,
    /// `valid gateways discovered`, `failed to find any valid gateways`, `Reconciler error`) carry namespace
    /// and name. The current log must begin before the registration was created, or hold the start of the
    /// controller, and it (or the previous log) must name other registrations in such lines: a log without
    /// names, or with too many different lines to keep, proves nothing. A registration younger than 60
    /// seconds or being deleted is not judged.
    ///
    /// ## Causes
    /// A controller that is restricted to some namespaces; a registration of an API version that is no
    /// longer served.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/mcp-gateway-controller | grep NAME`.
    ///
    /// ## How to fix
    /// Touch the registration (an annotation), and see whether a line appears.
    ///
    /// ## When it may be a false alarm
    /// A controller that logs only errors: then it names only registrations that fail.
    pub(super) static REGISTRATION_NOT_SEEN = {
        code: "MG415", name: "registration-not-seen", severity: Warning, section: "1.4",
        needs: ["mcpserverregistrations", "controller log", "pods"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"],
        check: registration_not_seen,
    }
}

/// Lets the controller look at a registration again.
fn touch(object: &Object) -> Command {
    shell!(
        "oc -n {} annotate mcpserverregistration {} oc-mcpgw/touched=\"$(date -u +%s)\" --overwrite",
        object.namespace(),
        object.name()
    )
}

fn registration_not_seen(context: &Context<'_>, findings: &mut Findings) {
    let logs: Vec<_> =
        context.workloads().component_logs(Component::Controller).map(|(_, log)| log).collect();
    let Some(log) = logs.iter().find(|log| !log.previous) else { return };
    let mut seen: std::collections::BTreeSet<(&str, &str)> = std::collections::BTreeSet::new();
    for template in [
        "controller.registration",
        "controller.route-found",
        "controller.gateways-found",
        "controller.no-gateways",
        "controller.reconcile-error",
    ] {
        for log in &logs {
            seen.extend(log.digest.of(template).map(|r| (r.field("namespace"), r.field("name"))));
        }
    }
    // Lines without names (other versions) or too many of them prove nothing.
    if logs.iter().any(|log| log.digest.overflow > 0) || !seen.iter().any(|(_, name)| !name.is_empty()) {
        return;
    }
    let starts = log.digest.count("controller.start") > 0;
    let first = log.digest.first_time.as_deref().and_then(|t| chrono::DateTime::parse_from_rfc3339(t).ok());
    for registration in &context.chain().registrations {
        let object = registration.object;
        let covers =
            starts || first.is_some_and(|first| object.created().is_some_and(|created| first <= created));
        let id = (object.namespace(), object.name());
        if !covers || seen.contains(&id) || context.is_younger(object, 60) || object.is_deleting() {
            continue;
        }
        let evidence = crate::report::Evidence {
            file: log.file.clone(),
            path: None,
            line: None,
            value: None,
            note: Some(format!(
                "{} lines since {}, none about {}",
                log.lines,
                log.digest.first_time.as_deref().unwrap_or("the start"),
                object.full_name()
            )),
        };
        findings
            .report(
                &REGISTRATION_NOT_SEEN,
                object,
                format!(
                    "The controller's log has no line about MCPServerRegistration {}",
                    object.full_name()
                ),
                evidence,
                "Touch the registration and watch the controller's log; look which namespaces it watches.",
            )
            .evidence(object.evidence("/metadata/creationTimestamp"))
            .command(touch(object))
            .verify(shell!("oc -n {} logs {} --since=1m", log.namespace, log.pod));
    }
}

declare_rule! {
    /// The broker works with an old configuration
    ///
    /// ## What it means
    /// The config Secret lists a server that the broker does not have, or lacks one that is Ready or holds an
    /// old credential of it, or the broker could not load a changed configuration and keeps the old one.
    ///
    /// ## How it is decided
    /// Four things are reported:
    /// - the config Secret lacks a registration that says Ready;
    /// - the credential in the config Secret differs from the one in the Secret of `credentialRef`. They
    ///   are compared without scheme word and white space around them;
    /// - enabled servers of `mcp-gateway-config` are not among the servers of the broker's `/status`, by
    ///   name;
    /// - the broker's current log has `failed to reload config`, and no later line of a change that was read.
    ///
    /// The kubelet brings a changed Secret into the pod within about two minutes: a server that was
    /// registered, or became ready, less than three minutes before the collection is not judged in the first
    /// three cases. A config Secret that cannot be read is left out of the first two.
    ///
    /// ## Causes
    /// A Secret that was edited or restored by hand; a configuration that does not parse; a volume that is
    /// not updated (subPath); a hung broker.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE exec deployment/mcp-gateway -- grep ' name:' /config/config.yaml` lists the servers
    /// without their credentials; compare with the broker's `/status`.
    ///
    /// ## How to fix
    /// Where the Secret lacks a server or has an old credential, or cannot be loaded: touch the registration
    /// (the command is printed), so that the controller writes its entry again. Where the broker is behind
    /// the Secret: wait two minutes, then restart the broker with
    /// `oc -n NAMESPACE rollout restart deployment/mcp-gateway`.
    ///
    /// ## When it may be a false alarm
    /// Within about two minutes after the Secret was written for another reason than a new registration: a
    /// changed token, or a config Secret that was deleted and made again (MG422).
    pub(super) static BROKER_STALE_CONFIG = {
        code: "MG416", name: "broker-stale-config", severity: Warning, section: "1.4",
        needs: ["secrets (config)", "broker /status", "broker log", "mcpgatewayextensions", "mcpserverregistrations", "gateways", "httproutes", "pods"], since: "0.1.0",
        caused_by: ["MG403", "MG602"], check: broker_stale_config,
    }
}

/// How many servers evidence names.
const NAMED: usize = 20;

/// Names of servers, not of thousands.
fn listed<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> String {
    suggest::first(names, NAMED)
}

/// Whether a server was registered, or became ready, so recently that the kubelet may not have brought its entry
/// yet. The Secret itself does not tell when it was written.
fn is_new(context: &Context<'_>, registration: &Object) -> bool {
    let Some(now) = context.now else { return false };
    let since = |index: usize| registration.time(&format!("/status/conditions/{index}/lastTransitionTime"));
    let became = registration.conditions().filter(Condition::is_true).filter_map(|c| since(c.index));
    registration.created().into_iter().chain(became).any(|time| now.signed_duration_since(time) < DELAY)
}

/// What the controller has not brought into the config Secret although the registration says Ready.
fn not_written(context: &Context<'_>, findings: &mut Findings) {
    for kind in [&kinds::MCP_SERVER_REGISTRATION, &kinds::GATEWAY, &kinds::HTTP_ROUTE] {
        if let Err(missing) = context.bundle.collected(kind, None) {
            findings.cannot_tell(&BROKER_STALE_CONFIG, missing);
        }
    }
    let chain = context.chain();
    for registration in &chain.registrations {
        let object = registration.object;
        let name = object.full_name();
        let ready = object.conditions().find(|c| c.kind == "Ready").filter(Condition::is_true);
        let Some(ready) = ready.filter(|_| !object.is_deleting() && !registration.is_disabled()) else {
            continue;
        };
        if is_new(context, object) {
            continue;
        }
        for extension in registration.extensions.iter().map(|&at| &chain.extensions[at]) {
            let namespace = extension.object.namespace();
            let Some(configured) = context.configured(namespace) else { continue };
            let (secret, config) = (configured.secret, &configured.config);
            if config.unreadable.is_some() {
                continue;
            }
            let (what, shown) = match configured.server(&name) {
                None => (
                    format!("lacks {name}, which says Ready"),
                    format!("lists {}", listed(config.servers.iter().map(|s| s.name.as_str()))),
                ),
                Some(server) => {
                    // Without a scheme word and white space around it a value is bare as it is.
                    let bare = |shape: &Shape| shape.bare.clone().or_else(|| shape.token.clone());
                    let given =
                        credential(context, object).and_then(|(secret, shape)| Some((secret, bare(&shape)?)));
                    let used = server.credential.as_ref().and_then(bare);
                    let (Some((given, bare)), Some(used)) = (given, used) else { continue };
                    if bare == used {
                        continue;
                    }
                    (
                        format!("has another credential for {name} than Secret {}", given.full_name()),
                        format!("another credential for {name}"),
                    )
                }
            };
            let shown = secret.evidence_of("/data/config.yaml", shown);
            findings
                .report(
                    &BROKER_STALE_CONFIG,
                    object,
                    format!("The broker's configuration in {namespace} {what}"),
                    shown,
                    "Touch the registration, so that the controller writes its entry again.",
                )
                .evidence(object.evidence(&format!("/status/conditions/{}", ready.index)))
                .object(secret.reference())
                .object(extension.object.reference())
                .because_of(&["MG403", "MG602"], object.reference())
                .command(touch(object))
                .verify(shell!("oc -n {} get secret {} -o yaml", namespace, broker_config::NAME));
        }
    }
}

fn broker_stale_config(context: &Context<'_>, findings: &mut Findings) {
    not_written(context, findings);
    for status in statuses(context) {
        let namespace = status.pod.namespace();
        let Some(configured) = context.configured(namespace) else {
            if let Seen::Unknown(missing) =
                context.bundle.find(&kinds::SECRET, namespace, broker_config::NAME)
            {
                findings.cannot_tell(&BROKER_STALE_CONFIG, missing);
            }
            continue;
        };
        let (secret, config) = (configured.secret, &configured.config);
        let known: HashSet<&str> = status.servers.iter().map(|s| s.name.as_str()).collect();
        let enabled = config.servers.iter().filter(|s| !s.is_disabled()).map(|s| s.name.as_str());
        let mut lacking: Vec<&str> = Vec::new();
        for name in enabled.filter(|name| !known.contains(name)) {
            let registration = name.split_once('/').map(|(namespace, name)| {
                context.bundle.find(&kinds::MCP_SERVER_REGISTRATION, namespace, name)
            });
            match registration {
                // It may be one that was registered just now.
                Some(Seen::Unknown(missing)) => findings.cannot_tell(&BROKER_STALE_CONFIG, missing),
                Some(Seen::Found(registration)) if is_new(context, registration) => {}
                _ => lacking.push(name),
            }
        }
        let Some(first) = lacking.first() else { continue };
        let seen =
            secret.evidence_of("/data/config.yaml", format!("lists {}", listed(lacking.iter().copied())));
        let draft = findings.report(
            &BROKER_STALE_CONFIG,
            status.pod,
            format!(
                "Broker {} does not know {} of {} configured servers: {first}",
                status.pod.full_name(),
                lacking.len(),
                config.servers.len()
            ),
            seen,
            "Wait two minutes for the kubelet; then restart the broker.",
        );
        draft.evidence.push(crate::report::Evidence {
            file: status.file.clone(),
            path: Some("servers".to_owned()),
            line: None,
            value: Some(listed(status.servers.iter().map(|s| s.name.as_str()))),
            note: None,
        });
        draft
            .object(secret.reference())
            .command(shell!("oc -n {} rollout restart deployment/mcp-gateway", namespace))
            .verify(status_command(&status, first));
    }
    for (pod, log) in context.workloads().component_logs(Component::Broker) {
        // A change that came later was read.
        let read = log.digest.of("broker.config-changed").filter_map(|r| r.last_time.as_deref()).max();
        let failed = log.digest.of("broker.config-reload-failed").filter(|_| !log.previous);
        for record in
            failed.filter(|r| r.last_time.as_deref().zip(read).is_none_or(|(failed, read)| read <= failed))
        {
            findings
                .report(
                    &BROKER_STALE_CONFIG,
                    pod,
                    format!(
                        "Broker {} cannot load its changed configuration and keeps the old one",
                        pod.full_name()
                    ),
                    evidence::record(log, record),
                    "Make the controller write the configuration again: touch a registration.",
                )
                .command(shell!("oc -n {} logs {} --tail=100", pod.namespace(), pod.name()))
                .verify(shell!("oc -n {} logs {} --since=3m", pod.namespace(), pod.name()));
        }
    }
}

declare_rule! {
    /// The configuration still lists a server that nobody registered
    ///
    /// ## What it means
    /// The config Secret has an entry whose MCPServerRegistration does not exist: the broker goes on
    /// offering (or trying) a server that should be gone.
    ///
    /// ## How it is decided
    /// The entries of `mcp-gateway-config` are named `namespace/name` after their registrations. An entry is
    /// left over when no such registration exists, or when its route is on another Gateway: all extensions
    /// that serve the registration are then in other namespaces. The second is only claimed while neither
    /// these extensions nor this one have a fault. Entries with other names are not judged.
    ///
    /// ## Causes
    /// A registration that was deleted by force, or whose removal failed (`failed to remove server
    /// from config secret` in the controller's log).
    ///
    /// ## How to confirm
    /// `oc get mcpserverregistrations -A` and compare with the broker's `/status`.
    ///
    /// ## How to fix
    /// Delete the config Secret: the controller writes it again from the registrations (tools may be away for
    /// two minutes, until the kubelet has brought the new Secret). Where it is not written within a minute,
    /// annotate a registration.
    ///
    /// ## When it may be a false alarm
    /// Entries that were added to the Secret by hand, and the seconds after a registration was deleted.
    pub(super) static STALE_SERVER_ENTRY = {
        code: "MG422", name: "stale-server-entry", severity: Warning, section: "1.4",
        needs: ["secrets (config)", "mcpserverregistrations", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: ["MG003"], check: stale_server_entry,
    }
}

fn stale_server_entry(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let namespace = extension.object.namespace();
        let Some(configured) = context.configured(namespace) else { continue };
        let (secret, config) = (configured.secret, &configured.config);
        for server in &config.servers {
            let Some((owner, name)) = server.registration() else { continue };
            match context.bundle.find(&kinds::MCP_SERVER_REGISTRATION, owner, name) {
                Seen::Found(object) => {
                    // It may have moved to another Gateway, and left its entry here.
                    let chain = context.chain();
                    let serving = chain.registration_of(object.namespace(), object.name());
                    let serving: Vec<_> = serving
                        .into_iter()
                        .flat_map(|r| &r.extensions)
                        .map(|&at| &chain.extensions[at])
                        .collect();
                    // With a fault in an extension it is not known where the server belongs.
                    let clear = extension.faults.is_empty() && serving.iter().all(|e| e.faults.is_empty());
                    let here = serving.iter().any(|e| e.object.namespace() == namespace);
                    if !clear || serving.is_empty() || here {
                        continue;
                    }
                    let evidence = secret.evidence_of("/data/config.yaml", format!("lists {}", server.name));
                    findings
                        .report(
                            &STALE_SERVER_ENTRY,
                            secret,
                            format!(
                                "The configuration of {namespace} lists {}, whose route is on another Gateway",
                                server.name
                            ),
                            evidence,
                            "Delete the config Secret, the controller writes it again from the registrations.",
                        )
                        .object(object.reference())
                        .object(extension.object.reference())
                        .evidence(object.evidence("/spec/targetRef/name"))
                        .command(shell!("oc -n {} delete secret {}", namespace, broker_config::NAME))
                        .verify(shell!("oc -n {} get mcpserverregistration {} -o yaml", owner, name));
                }
                Seen::Unknown(missing) => findings.cannot_tell(&STALE_SERVER_ENTRY, missing),
                Seen::Absent => {
                    let evidence = secret.evidence_of("/data/config.yaml", format!("lists {}", server.name));
                    let draft = findings.report(
                        &STALE_SERVER_ENTRY,
                        secret,
                        format!(
                            "The configuration of {namespace} lists {}, which no MCPServerRegistration owns",
                            server.name
                        ),
                        evidence,
                        "Delete the config Secret, the controller writes it again from the registrations.",
                    );
                    draft
                        .object(suggest::reference(&kinds::MCP_SERVER_REGISTRATION, owner, name))
                        .object(extension.object.reference())
                        .command(shell!("oc -n {} delete secret {}", namespace, broker_config::NAME))
                        .verify(shell!("oc -n {} get mcpserverregistrations", owner));
                    suggest::api_missing(context, draft, &kinds::MCP_SERVER_REGISTRATION);
                }
            }
        }
    }
}
