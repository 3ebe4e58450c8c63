//! MG302, MG307-MG309, MG313-MG315: what an extension's fields say.

use serde_json::json;

use super::hosts::flag;
use super::{each, report, undecided};
use crate::declare_rule;
use crate::model::gateway_api::hostname;
use crate::model::json::{Map, Value};
use crate::model::mcp::hostname::fault as fault_of_host;
use crate::model::mcp::{Extension, ExtensionFault, SECRET_LABEL, SecretFault, SecretUse};
use crate::model::{Object, kinds};
use crate::report::Evidence;
use crate::rules::installation::SECRET_FLAGS;
use crate::rules::{Context, Findings, remedy, suggest};
use crate::shell::{Command, shell};

declare_rule! {
    /// An extension targets something that is no Gateway
    ///
    /// ## What it means
    /// `spec.targetRef` has a group or kind other than `gateway.networking.k8s.io` and `Gateway`. Nothing is
    /// configured.
    ///
    /// ## How it is decided
    /// The two fields of the object; where one is absent its default counts. Today's CRD refuses other
    /// values, so this is met in manifests and on installations with an older CRD. The other fields of the
    /// target are not judged then.
    ///
    /// ## Causes
    /// A typo; a manifest that was written for another kind of target; the group of Istio's own Gateway
    /// (`networking.istio.io`).
    ///
    /// ## How to confirm
    /// `oc explain mcpgatewayextension.spec.targetRef`;
    /// `oc -n NAMESPACE get mcpgatewayextension NAME -o jsonpath='{.spec.targetRef}'`.
    ///
    /// ## How to fix
    /// Set group and kind, or leave them out: these are their defaults.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static EXTENSION_TARGET_KIND = {
        code: "MG302", name: "extension-target-kind", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions"], since: "0.1.0",
        caused_by: [], check: extension_target_kind,
    }
}

fn extension_target_kind(context: &Context<'_>, findings: &mut Findings) {
    for (extension, _) in each(context, "MG302") {
        let object = extension.object;
        let target = match (object.str("/spec/targetRef/kind"), object.str("/spec/targetRef/group")) {
            ("", group) => format!("an object of group {group:?} without kind"),
            (kind, group) if kind == kinds::GATEWAY.kind => format!("a {kind} of group {group:?}"),
            (kind, _) => format!("a {kind}"),
        };
        report(
            findings,
            &EXTENSION_TARGET_KIND,
            extension,
            "/spec/targetRef/kind",
            format!(
                "MCPGatewayExtension {} targets {target}, not a Gateway of the Gateway API",
                object.full_name()
            ),
            "Target a Gateway of the group gateway.networking.k8s.io.".to_owned(),
        )
        .evidence(object.evidence("/spec/targetRef/group"))
        .command(remedy::merge(
            object,
            json!({"spec": {"targetRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway"}}}),
        ));
    }
}

declare_rule! {
    /// An extension has no valid public host
    ///
    /// ## What it means
    /// The controller cannot tell under which host clients reach the MCP gateway:
    /// `listener … has no hostname and spec.publicHost is not set`, or `invalid public host`.
    ///
    /// ## How it is decided
    /// `spec.publicHost` without port, else the listener's hostname (`*.x` becomes `mcp.x`); it must be a DNS
    /// name (lower case letters, digits and `-`, at most 63 characters between dots and 253 in all) and no
    /// URL. It is judged once Gateway and listener are found. Whether the listener serves the host is not
    /// asked here.
    ///
    /// ## Causes
    /// A listener for all hosts; a URL or upper case letters in `publicHost`.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get mcpgatewayextension NAME -o jsonpath='{.spec.publicHost}'`;
    /// `oc -n GATEWAY_NAMESPACE get gateway NAME -o jsonpath='{.spec.listeners[*].hostname}'`.
    ///
    /// ## How to fix
    /// Set `spec.publicHost` to a host that the listener serves. Of a URL the command takes the host, in lower
    /// case. Where the listener does not serve that host, or it is still not valid, the command removes the
    /// field, so that the listener's own counts; where the listener has none, the command has `${PUBLIC_HOST}`
    /// for yours.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static EXTENSION_HOSTNAME = {
        code: "MG307", name: "extension-hostname", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "gateways"], since: "0.1.0",
        caused_by: [], versions: "from 0.5.1 on; before, an annotation named the host",
        check: extension_hostname,
    }
}

fn extension_hostname(context: &Context<'_>, findings: &mut Findings) {
    for (extension, fault) in each(context, "MG307") {
        let object = extension.object;
        let (pointer, title) = match fault {
            ExtensionFault::PublicHost(why) => (
                "/spec/publicHost",
                format!("The publicHost of MCPGatewayExtension {} is not valid: {why}", object.full_name()),
            ),
            _ => (
                "/spec/publicHost",
                format!(
                    "MCPGatewayExtension {} has no public host, nor has its listener",
                    object.full_name()
                ),
            ),
        };
        let public = object.str("/spec/publicHost");
        let bare = public.rsplit("://").next().unwrap_or(public).split(['/', ':']).next().unwrap_or_default();
        let lower = bare.to_ascii_lowercase();
        let known = !lower.is_empty() && fault_of_host(&lower).is_none();
        let host = lower.as_str();
        let draft = report(
            findings,
            &EXTENSION_HOSTNAME,
            extension,
            pointer,
            title,
            "Set publicHost to the host name that clients use.".to_owned(),
        );
        if let (Some(gateway), Some(listener)) = (extension.gateway, extension.listener) {
            draft.evidence(gateway.evidence(&listener.pointer("/hostname"))).object(gateway.reference());
        }
        // One that the listener does not serve is no better without its scheme: the listener's own host is taken then.
        let served = extension.listener.is_none_or(|l| hostname::intersection(l.hostname, host).is_some());
        let own = extension.listener.is_some_and(|l| !l.hostname.is_empty());
        draft.command(if known && served {
            remedy::merge(object, json!({"spec": {"publicHost": host}}))
        } else if own {
            remedy::merge(object, json!({"spec": {"publicHost": null}}))
        } else {
            // Nobody but the reader knows it.
            shell!(
                "oc -n {} patch mcpgatewayextension {} --type=merge -p \"{{\\\"spec\\\":{{\\\"publicHost\\\":\\\"${{PUBLIC_HOST}}\\\"}}}}\"",
                object.namespace(),
                object.name()
            )
        });
    }
}

declare_rule! {
    /// A listener does not allow an extension's namespace
    ///
    /// ## What it means
    /// The controller applies the listener's `allowedRoutes` to the extension's namespace, because the
    /// broker's HTTPRoute lives there: `listener … does not allow routes from namespace …`.
    ///
    /// ## How it is decided
    /// `allowedRoutes.namespaces` of the targeted listener against the extension's namespace and its labels,
    /// as for HTTPRoutes (MG214), but `from: Selector` without a selector takes none: so the controller reads
    /// it. `allowedRoutes.kinds` is not looked at. A ReferenceGrant is needed besides, and does not replace
    /// it. Without the labels of the namespace, or the Gateway, the controller's message is believed when it
    /// is at least a minute old; else this stays undecided.
    ///
    /// ## Causes
    /// `from: Same` (the default) on a shared Gateway; a namespace without the label.
    ///
    /// ## How to confirm
    /// `oc get namespace NAME --show-labels` and compare with the listener.
    ///
    /// ## How to fix
    /// Label the namespace (`oc label namespace NAME KEY=VALUE`), or widen `allowedRoutes`. Where no label is
    /// wanted, the command writes `from: All`, which opens the listener to the routes of every namespace: where
    /// that is too much, write a `Selector`.
    ///
    /// ## When it may be a false alarm
    /// Where only the status is believed: the namespace or the listener was changed seconds ago.
    pub(super) static EXTENSION_NOT_ALLOWED = {
        code: "MG308", name: "extension-not-allowed", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "gateways", "namespaces (labels)"], since: "0.1.0",
        caused_by: [], versions: "from 0.5.1 on, where an extension names a listener",
        check: extension_not_allowed,
    }
}

fn extension_not_allowed(context: &Context<'_>, findings: &mut Findings) {
    undecided(context, findings, &EXTENSION_NOT_ALLOWED);
    for (extension, fault) in each(context, "MG308") {
        let ExtensionFault::NotAllowed(why) = fault else { continue };
        let (Some(gateway), Some(listener)) = (extension.gateway, extension.listener) else { continue };
        let object = extension.object;
        let draft = report(
            findings,
            &EXTENSION_NOT_ALLOWED,
            extension,
            "/metadata/namespace",
            format!(
                "Listener {} of Gateway {} does not allow MCPGatewayExtension {}",
                listener.name,
                gateway.full_name(),
                object.full_name()
            ),
            format!("Admit the extension's namespace: {why}."),
        );
        draft.object(gateway.reference());
        draft.evidence.insert(0, gateway.evidence(&listener.pointer("/allowedRoutes")));
        if let Some(namespace) = context.bundle.get(&kinds::NAMESPACE, "", object.namespace()) {
            draft.evidence(namespace.evidence("/metadata/labels"));
        }
        draft.command(remedy::admit(context.bundle, gateway, &listener, object.namespace()));
    }
}

declare_rule! {
    /// A Secret that an extension needs cannot be used
    ///
    /// ## What it means
    /// The Secret for trusted headers, the session store, the CA bundle or guardrails is missing, lacks the
    /// label without which the controller does not see it, lacks its key, or holds a value that is of no use:
    /// `SecretNotFound`, `SecretInvalid`, `GuardrailsSecretNotFound`.
    ///
    /// ## How it is decided
    /// The Secrets are looked up in the extension's namespace. The label is `mcp.kuadrant.io/secret: "true"`:
    ///
    /// - trusted headers (`spec.trustedHeadersKey`): the key `key`. With `generate: Enabled` the Secret is
    ///   the controller's own and not judged.
    /// - session store (`spec.sessionStore`): the label and the key `CACHE_CONNECTION_STRING`, not empty.
    /// - CA bundle (`spec.caCertBundleRef`): the label and its key (`ca.crt` unless another is named), with
    ///   PEM certificates of CAs only, of at most 262144 bytes (the public parts of certificates and lengths
    ///   survive redaction).
    /// - guardrails (annotation `mcp.kuadrant.io/guardrails-ref`): the label; the content is not judged.
    ///
    /// Where the bundle has no Secrets, the message of the extension's status is believed, else this stays
    /// undecided.
    ///
    /// ## Causes
    /// A typo, another namespace, a missing label, the certificate of a server in place of its CA's.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get secret NAME --show-labels`; `oc -n NAMESPACE describe secret NAME` lists the
    /// keys.
    ///
    /// ## How to fix
    /// Create the Secret, add the key, or label it:
    /// `oc -n NAMESPACE label secret NAME mcp.kuadrant.io/secret=true`.
    ///
    /// ## When it may be a false alarm
    /// Where only the status is believed: the Secret was made seconds ago.
    pub(super) static EXTENSION_SECRET = {
        code: "MG309", name: "extension-secret", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "secrets (labels, key names)"], since: "0.1.0",
        caused_by: [],
        versions: "every supported version; the session store from 0.6.0 on, the Secret of a CA from 0.8.0 on, that of guardrails after 0.9.0",
        check: extension_secret,
    }
}

/// The key of the CA bundle.
fn ca_key(extension: &Object) -> &str {
    match extension.str("/spec/caCertBundleRef/key") {
        "" => "ca.crt",
        key => key,
    }
}

/// Makes the Secret that an extension needs.
fn create(namespace: &str, name: &str, usage: SecretUse, extension: &Object) -> Command {
    let (key, file) = match usage {
        SecretUse::TrustedHeaders => ("key", "\"${PUBLIC_KEY_FILE}\""),
        SecretUse::SessionStore => ("CACHE_CONNECTION_STRING", "\"${CONNECTION_STRING_FILE}\""),
        SecretUse::CaBundle => (ca_key(extension), "\"${CA_FILE}\""),
        SecretUse::Guardrails => ("key", "\"${KEY_FILE}\""),
    };
    let [made, labelled] = remedy::secret(namespace, name, key, file);
    shell!("{} && {}", made, labelled)
}

/// The bundle does not have the Secret: the controller's status alone says what is wrong with it.
fn said_of_secret(
    context: &Context<'_>,
    findings: &mut Findings,
    extension: &Extension<'_>,
    (usage, name, message): (SecretUse, &str, &str),
) {
    let (object, namespace) = (extension.object, extension.object.namespace());
    let label = shell!("oc -n {} label secret {} {}=true --overwrite", namespace, name, SECRET_LABEL);
    let (remedy, command) = if message.contains("not found") {
        let near = suggest::sentence(context, &kinds::SECRET, namespace, name);
        (format!("Create the Secret.{near}"), create(namespace, name, usage, object))
    } else if message.contains("label") {
        (format!("Label the Secret {SECRET_LABEL}=true: the controller sees no other Secrets."), label)
    } else {
        let look = shell!("oc -n {} describe secret {}", namespace, name);
        ("Write what this use of the Secret needs.".to_owned(), look)
    };
    let title = format!(
        "Secret {namespace}/{name} ({}) of MCPGatewayExtension {} cannot be used: {message}",
        usage.describe(),
        object.full_name()
    );
    report(findings, &EXTENSION_SECRET, extension, usage.pointer(), title, remedy)
        .object(suggest::reference(&kinds::SECRET, namespace, name))
        .command(command);
}

fn extension_secret(context: &Context<'_>, findings: &mut Findings) {
    undecided(context, findings, &EXTENSION_SECRET);
    for (extension, fault) in each(context, "MG309") {
        if let ExtensionFault::SecretSaid(usage, name, message) = fault {
            said_of_secret(context, findings, extension, (*usage, name, message));
        }
        let ExtensionFault::Secret(usage, name, fault) = fault else { continue };
        let object = extension.object;
        let namespace = object.namespace();
        let what = format!("Secret {namespace}/{name} ({})", usage.describe());
        let (title, remedy, command, evidence): (String, String, Command, Option<Evidence>) = match fault {
            SecretFault::Missing => (
                format!("{what} of MCPGatewayExtension {} does not exist", object.full_name()),
                format!("Create the Secret.{}", suggest::sentence(context, &kinds::SECRET, namespace, name)),
                create(namespace, name, *usage, object),
                None,
            ),
            SecretFault::Label(secret) => (
                format!("{what} of MCPGatewayExtension {} lacks its label", object.full_name()),
                format!("Label the Secret {SECRET_LABEL}=true: the controller sees no other Secrets."),
                shell!("oc -n {} label secret {} {}=true --overwrite", namespace, name, SECRET_LABEL),
                Some(secret.evidence("/metadata/labels")),
            ),
            SecretFault::Key(secret, present) => {
                let evidence = secret.evidence_of("/data", format!("keys: {}", present.join(", ")));
                (
                    format!("{what} of MCPGatewayExtension {} lacks its key", object.full_name()),
                    "Add the key that this use of the Secret needs.".to_owned(),
                    shell!("oc -n {} describe secret {}", namespace, name),
                    Some(evidence),
                )
            }
            SecretFault::Value(secret, why) => {
                let key = match usage {
                    SecretUse::SessionStore => "CACHE_CONNECTION_STRING",
                    _ => ca_key(object),
                };
                let evidence = secret.evidence_of(
                    &format!("/data/{}", key.replace('~', "~0").replace('/', "~1")),
                    why.clone(),
                );
                (
                    format!(
                        "{what} of MCPGatewayExtension {} cannot be used: {key} {why}",
                        object.full_name()
                    ),
                    "Write a value that this use of the Secret needs.".to_owned(),
                    shell!(
                        "oc -n {} set data secret/{} --from-file={}=\"${{VALUE_FILE}}\"",
                        namespace,
                        name,
                        key
                    ),
                    Some(evidence),
                )
            }
        };
        let draft = report(findings, &EXTENSION_SECRET, extension, usage.pointer(), title, remedy);
        draft.object(suggest::reference(&kinds::SECRET, namespace, name)).command(command);
        if let Some(evidence) = evidence {
            draft.evidence(evidence);
        }
    }
}

declare_rule! {
    /// Several broker replicas share no session store
    ///
    /// ## What it means
    /// Sessions live in the memory of one broker. With more than one replica and no shared store a client's
    /// next request may reach a broker that does not know its session.
    ///
    /// ## How it is decided
    /// The broker's Deployment wants more than one replica (`spec.replicas`), and there is neither
    /// `spec.sessionStore` in the extension nor the variable `CACHE_CONNECTION_STRING` or the flag
    /// `--cache-connection-string` in the Deployment. Variables that come from a whole ConfigMap or Secret
    /// (`envFrom`) are not seen.
    ///
    /// ## Causes
    /// The Deployment was scaled, or an autoscaler did it.
    ///
    /// ## How to confirm
    /// The broker's log has `session validation failed`; with a store it starts with
    /// `cache using external redis store`.
    ///
    /// ## How to fix
    /// Configure `spec.sessionStore` (Redis), or scale to one replica, as the command does. An autoscaler has
    /// to be told too.
    ///
    /// ## When it may be a false alarm
    /// All clients speak the stateless protocol of 2026, or the connection string comes from `envFrom`.
    pub(super) static SESSION_STORE_NEEDED = {
        code: "MG314", name: "session-store-needed", severity: Warning, section: "1.3",
        needs: ["mcpgatewayextensions", "deployments"], since: "0.1.0",
        caused_by: [], versions: "every supported version; `spec.sessionStore` from 0.6.0 on, before by a flag or a variable",
        check: session_store_needed,
    }
}

fn session_store_needed(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let object = extension.object;
        let namespace = object.namespace();
        let Some(deployment) = context.workloads().broker_deployment(namespace) else { continue };
        let replicas = deployment.int("/spec/replicas").unwrap_or(1);
        let by_env = deployment.array("/spec/template/spec/containers").iter().any(|container| {
            let env = container.get("env").and_then(Value::as_array).into_iter().flatten();
            env.filter_map(|e| e.get("name").and_then(Value::as_str))
                .any(|name| name == "CACHE_CONNECTION_STRING")
        });
        let stored = !object.str("/spec/sessionStore/secretName").is_empty()
            || by_env
            || flag(deployment, "cache-connection-string").is_some();
        if replicas <= 1 || stored {
            continue;
        }
        findings
            .report(
                &SESSION_STORE_NEEDED,
                object,
                format!(
                    "MCPGatewayExtension {} runs {replicas} broker replicas without a session store",
                    object.full_name()
                ),
                deployment.evidence("/spec/replicas"),
                "Configure spec.sessionStore, or scale the broker to one replica.",
            )
            .object(deployment.reference())
            .evidence(object.evidence("/spec/sessionStore"))
            .command(shell!("oc -n {} scale deployment/{} --replicas=1", namespace, deployment.name()))
            .verify(shell!("oc -n {} get deployment {}", namespace, deployment.name()));
    }
}

declare_rule! {
    /// An extension has settings that this version ignores or rejects
    ///
    /// ## What it means
    /// Annotations of versions before 0.6, or flags that the controller no longer manages, are still in use:
    /// they have no effect, or keep the broker from starting after the next update.
    ///
    /// ## How it is decided
    /// Annotations `kuadrant.io/alpha-*` on the extension, whatever the version; and, where the extension was
    /// read as `mcp.kuadrant.io/v1` (0.8 and later), the flags `--gateway-ca-cert` and `--mcp-router-key` in
    /// the broker's Deployment. `--session-signing-key` is reported as a secret on the command line (MG007).
    ///
    /// ## Causes
    /// An upgrade without the migration of its guide.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get mcpgatewayextension NAME -o yaml`;
    /// `oc -n NAMESPACE get deployment mcp-gateway -o yaml`.
    ///
    /// ## How to fix
    /// Move the settings into the spec (`publicHost`, `backendPingIntervalSeconds`, `httpRouteManagement`,
    /// `targetRef.sectionName`, `caCertBundleRef`), and only then remove the old ones: the commands remove,
    /// they do not move. Taking a flag out of the Deployment starts the broker anew.
    ///
    /// ## When it may be a false alarm
    /// Annotations that were left on purpose for a way back.
    pub(super) static EXTENSION_DEPRECATED_CONFIG = {
        code: "MG315", name: "extension-deprecated-config", severity: Warning, section: "1.3",
        needs: ["mcpgatewayextensions", "deployments"], since: "0.1.0",
        caused_by: [],
        versions: "from 0.5.0 on, which ignores the annotations of 0.4; brokers from 0.8.0 on end over `--gateway-ca-cert`",
        check: extension_deprecated_config,
    }
}

/// Flags of the broker that current versions ignore, or do not know and end over.
pub(in crate::rules) const OBSOLETE_FLAGS: [&str; 3] =
    ["gateway-ca-cert", "mcp-router-key", "session-signing-key"];

fn extension_deprecated_config(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let object = extension.object;
        let annotations = object.get("/metadata/annotations").and_then(Value::as_object);
        let old: Vec<&str> = annotations
            .into_iter()
            .flat_map(Map::keys)
            .filter(|key| key.starts_with("kuadrant.io/alpha-"))
            .collect();
        if let Some(first) = old.first() {
            let pointer = |key: &str| format!("/metadata/annotations/{}", key.replace('/', "~1"));
            let draft = findings.report(
                &EXTENSION_DEPRECATED_CONFIG,
                object,
                format!("MCPGatewayExtension {} has annotations of versions before 0.6", object.full_name()),
                object.evidence(&pointer(first)),
                "Move them into the spec; the annotations have no effect.",
            );
            for key in &old {
                draft.evidence(object.evidence(&pointer(key)));
                draft.command(shell!(
                    "oc -n {} annotate mcpgatewayextension {} {}-",
                    object.namespace(),
                    object.name(),
                    key
                ));
            }
            draft.verify(shell!(
                "oc -n {} get mcpgatewayextension {} -o jsonpath='{{.metadata.annotations}}'",
                object.namespace(),
                object.name()
            ));
        }
        let Some(deployment) = context.workloads().broker_deployment(object.namespace()) else { continue };
        if object.version() != "v1" {
            continue;
        }
        // A secret on the command line is a finding of its own (MG007), with the same remedy.
        let obsolete = OBSOLETE_FLAGS.into_iter().filter(|name| !SECRET_FLAGS.contains(name));
        for name in obsolete {
            let Some((value, pointer)) = flag(deployment, name) else { continue };
            let mut evidence = deployment.evidence(&pointer);
            // The value may be a secret.
            evidence.value = Some(format!("--{name}"));
            findings
                .report(
                    &EXTENSION_DEPRECATED_CONFIG,
                    object,
                    format!(
                        "The broker of MCPGatewayExtension {} has the obsolete flag --{name}",
                        object.full_name()
                    ),
                    evidence,
                    "Remove the flag from the Deployment; current brokers do not know it or ignore it.",
                )
                .object(deployment.reference())
                // A flag with its value in the next word takes two.
                .command(remedy::patch(
                    deployment,
                    vec![json!({"op": "remove", "path": pointer}); if value.is_empty() { 2 } else { 1 }]
                        .into(),
                ))
                .verify(shell!(
                    "oc -n {} get deployment {} -o jsonpath='{{.spec.template.spec.containers[0].command}}'",
                    deployment.namespace(),
                    deployment.name()
                ));
        }
    }
}
