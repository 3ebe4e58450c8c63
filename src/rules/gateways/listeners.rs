//! MG205-MG207: listeners: their conditions, certificates and ports.

use serde_json::json;

use super::{explain_reason, in_chain};
use crate::declare_rule;
use crate::model::certificates::{self, Validity};
use crate::model::gateway_api::{GROUP, Granted, Listener, Reference, conflicts, listeners};
use crate::model::json::{Map, Value};
use crate::model::object::{Condition, conditions};
use crate::model::secret_shape::{self, Shape};
use crate::model::{Missing, Object, Seen, kinds};
use crate::report::{Evidence, Severity};
use crate::rules::remedy;
use crate::rules::routes::grant_remedy;
use crate::rules::{Context, Draft, Findings, suggest};
use crate::shell::{Command, shell};

/// Days before its end from which on a certificate is worth a warning.
const EXPIRES_SOON: i64 = 30;

declare_rule! {
    /// A listener of a Gateway is not healthy
    ///
    /// ## What it means
    /// The listener is conflicted, not accepted, not programmed, or refers to something that cannot be
    /// resolved. Requests to it are refused, or get the answer of another listener. The Gateway as a whole
    /// may still say `Accepted=True` (reason `ListenersNotValid`).
    ///
    /// ## How it is decided
    /// `status.listeners[].conditions` of the Gateways of the MCP chain that are at least 30 seconds old:
    /// `Conflicted` must not be `True`; `Accepted`, `Programmed` and `ResolvedRefs` must be `True`.
    /// Conditions of other types and listeners that the spec no longer has are left out. There is one finding
    /// for a listener; the condition that says most is in its title.
    ///
    /// A listener without any status must have a protocol of the Gateway API (HTTP, HTTPS, TLS, TCP, UDP) or
    /// Istio's HBONE; this is judged at once, and in manifests.
    ///
    /// ## Causes
    /// A certificate that is missing or not granted (MG206), a port or hostname taken by another listener
    /// (MG207), a wrong kind in `allowedRoutes.kinds`, an unsupported protocol, a CA certificate for clients
    /// (`spec.tls.frontend`) that is missing or of no use.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe gateway NAME` lists the conditions of each listener.
    ///
    /// ## How to fix
    /// Follow the reason; repair the reported cause first. For an unsupported protocol the command removes
    /// the listener; where it is needed, give it another protocol instead.
    ///
    /// ## When it may be a false alarm
    /// The controller has not written the status since the last change of the Gateway; only the age of the
    /// Gateway itself is looked at. An implementation may know a protocol of its own that it has not reported
    /// yet.
    pub(super) static LISTENER_UNHEALTHY = {
        code: "MG205", name: "listener-unhealthy", severity: Error, section: "1.2.1",
        needs: ["gateways"], since: "0.1.0",
        caused_by: ["MG206", "MG207", "MG209", "MG208", "MG204"], check: listener_unhealthy,
    }
}

/// Whether a condition of a listener is as it should be; conditions of other types do not matter.
fn is_good(condition: &Condition<'_>) -> bool {
    match condition.kind {
        "Conflicted" => condition.status != "True",
        "Accepted" | "Programmed" | "ResolvedRefs" => condition.is_true(),
        _ => true,
    }
}

/// Reasons of conditions that no other rule explains.
const OF_THE_SPEC: [&str; 4] =
    ["UnsupportedProtocol", "InvalidRouteKinds", "InvalidCACertificateRef", "InvalidCACertificateKind"];

fn explain_listener(reason: &str) -> &'static str {
    match reason {
        "HostnameConflict" => {
            "Another listener has the same port, protocol and hostname: rename or remove one."
        }
        "ProtocolConflict" => "Another listener has the same port with a protocol that cannot share it.",
        "PortUnavailable" => "The port is taken or not allowed: choose another.",
        "UnsupportedProtocol" => {
            "The protocol is not supported by this GatewayClass: remove the listener, or give it HTTP, HTTPS, TLS or TCP."
        }
        "InvalidCertificateRef" => {
            "The Secret of certificateRefs is missing, or holds no valid certificate and key."
        }
        "RefNotPermitted" => {
            "The certificate's Secret is in another namespace and needs a ReferenceGrant there."
        }
        "InvalidRouteKinds" => "allowedRoutes.kinds names a kind that the listener's protocol does not take.",
        "InvalidCACertificateRef" | "InvalidCACertificateKind" => {
            "The CA certificate of spec.tls.frontend, by which clients are checked, is missing, of another kind than \
             ConfigMap or Secret, or without a certificate under ca.crt."
        }
        reason => explain_reason(reason),
    }
}

fn listener_unhealthy(context: &Context<'_>, findings: &mut Findings) {
    for gateway in in_chain(context) {
        let all = listeners(gateway);
        unknown_protocols(findings, gateway, &all);
        if context.is_younger(gateway, 30) {
            continue;
        }
        for (index, status) in gateway.array("/status/listeners").iter().enumerate() {
            let name = status.get("name").and_then(Value::as_str).unwrap_or_default();
            // A status of a listener that the spec no longer has is stale, not unhealthy.
            let Some(listener) = all.iter().find(|l| l.name == name) else { continue };
            let mut bad: Vec<Condition<'_>> =
                conditions(status.get("conditions")).filter(|c| !is_good(c)).collect();
            // The condition that says what is wrong, before those that only follow.
            bad.sort_by_key(|c| matches!(c.reason, "Invalid" | "NoValidCACertificate"));
            let Some(first) = bad.first() else { continue };
            let pointer = |c: &Condition<'_>| format!("/status/listeners/{index}/conditions/{}", c.index);
            let draft = findings.report(
                &LISTENER_UNHEALTHY,
                gateway,
                format!(
                    "Listener {name} of Gateway {} is not healthy: {}={} {}",
                    gateway.full_name(),
                    first.kind,
                    first.status,
                    first.reason
                ),
                gateway.evidence(&pointer(first)),
                explain_listener(first.reason),
            );
            for condition in &bad[1..] {
                draft.evidence(gateway.evidence(&pointer(condition)));
            }
            draft.evidence(gateway.evidence(&listener.pointer("/name")));
            // What is wrong in the spec is no effect of a proxy or a control plane that is away.
            if bad.iter().any(|c| OF_THE_SPEC.contains(&c.reason)) {
                draft.explains_itself();
            }
            if first.reason == "UnsupportedProtocol" {
                draft.command(without(gateway, listener));
            }
            verify(draft, gateway);
        }
    }
}

/// The protocols of the Gateway API, and that of Istio's waypoints; an implementation may know others, which its status
/// says.
const PROTOCOLS: [&str; 6] = ["HTTP", "HTTPS", "TLS", "TCP", "UDP", "HBONE"];

/// Protocols that no status speaks of, as no controller has looked yet.
fn unknown_protocols(findings: &mut Findings, gateway: &Object, all: &[Listener<'_>]) {
    let statuses = gateway.array("/status/listeners");
    let is_judged =
        |l: &Listener<'_>| statuses.iter().any(|s| s.get("name").and_then(Value::as_str) == Some(l.name));
    for listener in all.iter().filter(|l| !PROTOCOLS.contains(&l.protocol) && !is_judged(l)) {
        let draft = findings.report(
            &LISTENER_UNHEALTHY,
            gateway,
            format!(
                "Listener {} of Gateway {} has protocol {}, which is none of the Gateway API's",
                listener.name,
                gateway.full_name(),
                listener.protocol
            ),
            gateway.evidence(&listener.pointer("/protocol")),
            explain_listener("UnsupportedProtocol"),
        );
        draft.command(without(gateway, listener));
        verify(draft, gateway);
    }
}

/// The command that takes a listener out.
fn without(gateway: &Object, listener: &Listener<'_>) -> Command {
    let patch = json!([
        {"op": "test", "path": listener.pointer("/name"), "value": listener.name},
        {"op": "remove", "path": listener.pointer("")},
    ]);
    remedy::patch(gateway, patch)
}

fn verify(draft: &mut Draft, gateway: &Object) {
    draft.verify(shell!("oc -n {} describe gateway {}", gateway.namespace(), gateway.name()));
}

declare_rule! {
    /// The certificate of a listener cannot be used
    ///
    /// ## What it means
    /// TLS connections to the listener fail, or clients refuse the certificate. This is an error when the
    /// certificate is missing, not granted, unreadable, expired, not yet valid or for other names, and a
    /// warning when it ends within 30 days, and within the last third of its life.
    ///
    /// ## How it is decided
    /// Each HTTPS listener, and each TLS listener that terminates, of the Gateways of the MCP chain:
    ///
    /// - It must name a certificate in `tls.certificateRefs`. One with `tls.options` need not, nor one
    ///   without `tls` where `allowedListeners` lets ListenerSets bring their own.
    /// - Each reference must be to a Secret that exists, is granted when it is in another namespace, and has
    ///   the keys `tls.crt` and `tls.key`.
    /// - The first certificate of `tls.crt` must be valid at the time of the collection.
    /// - A name (SAN) of one of the listener's certificates must cover the listener's hostname (a wildcard
    ///   stands for one label), or, where the listener has none, the public host of the MCPGatewayExtension
    ///   that targets it.
    ///
    /// Of each reference the first fault is reported. Whether the key belongs to the certificate and who
    /// issued it is not judged: only the public part of a certificate is ever kept.
    ///
    /// ## Causes
    /// A Secret that cert-manager has not made yet, a missing ReferenceGrant, a renewal that failed, a
    /// certificate for another domain, or one that names the host in its subject (CN) only.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get secret NAME -o jsonpath='{.data.tls\.crt}' | base64 -d | openssl x509 -text`.
    ///
    /// ## How to fix
    /// Create or renew the certificate; look at the Certificate object if cert-manager owns it.
    ///
    /// ## When it may be a false alarm
    /// Something in front of the Gateway ends TLS and shows clients another certificate.
    pub(super) static LISTENER_CERTIFICATE = {
        code: "MG206", name: "listener-certificate", severity: Error, section: "1.2.1",
        needs: ["gateways", "secrets (certificates)", "referencegrants", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: [], check: listener_certificate,
    }
}

fn listener_certificate(context: &Context<'_>, findings: &mut Findings) {
    for gateway in in_chain(context) {
        for listener in listeners(gateway) {
            let passthrough =
                listener.value.pointer("/tls/mode").and_then(Value::as_str) == Some("Passthrough");
            if !matches!(listener.protocol, "HTTPS" | "TLS") || passthrough {
                continue;
            }
            let references = listener.value.pointer("/tls/certificateRefs").and_then(Value::as_array);
            let references = references.unwrap_or_default();
            let options = listener.value.pointer("/tls/options").and_then(Value::as_object);
            if references.is_empty() && options.is_none_or(Map::is_empty) && !listener.holds_a_place(gateway)
            {
                findings
                    .report(
                        &LISTENER_CERTIFICATE,
                        gateway,
                        format!(
                            "Listener {} of Gateway {} names no certificate",
                            listener.name,
                            gateway.full_name()
                        ),
                        gateway.evidence(&listener.pointer("/tls")),
                        "Name the Secret with certificate and key in tls.certificateRefs.",
                    )
                    .verify(shell!("oc -n {} describe gateway {}", gateway.namespace(), gateway.name()));
            }
            // With several certificates Envoy chooses the one that fits.
            let chosen = references.iter().any(|reference| is_for(context, gateway, &listener, reference));
            for (index, reference) in references.iter().enumerate() {
                certificate(context, findings, gateway, &listener, (index, reference), chosen);
            }
        }
    }
}

/// The host that a listener's certificate must be for: its own, else the public host of the extension that
/// targets it.
fn served_host(
    context: &Context<'_>,
    gateway: &Object,
    listener: &Listener<'_>,
) -> Option<(String, Evidence)> {
    if !listener.hostname.is_empty() {
        return Some((listener.hostname.to_owned(), gateway.evidence(&listener.pointer("/hostname"))));
    }
    let chain = context.chain();
    chain.extensions_of((gateway.namespace(), gateway.name())).iter().find_map(|&at| {
        let extension = &chain.extensions[at];
        extension.listener.filter(|own| own.index == listener.index)?;
        Some((extension.public_host()?, extension.object.evidence("/spec/publicHost")))
    })
}

/// Whether the Secret of a certificateRef holds a certificate for the listener's host.
fn is_for(context: &Context<'_>, gateway: &Object, listener: &Listener<'_>, reference: &Value) -> bool {
    let text = |key: &str| reference.get(key).and_then(Value::as_str);
    let namespace = text("namespace").unwrap_or(gateway.namespace());
    let secret = context.bundle.get(&kinds::SECRET, namespace, text("name").unwrap_or_default());
    let shape = secret.and_then(|secret| secret_shape::shapes(&secret.value().to_json()).remove("tls.crt"));
    let host = served_host(context, gateway, listener);
    let leaf = shape.as_ref().and_then(|shape| shape.certificates.first());
    leaf.zip(host).is_some_and(|(leaf, (host, _))| certificates::covers(leaf, &host))
}

/// Judges one certificateRef; the first fault of it is reported. `chosen`: one of the listener's certificates is for
/// its host, so that the others need not be.
fn certificate(
    context: &Context<'_>,
    findings: &mut Findings,
    gateway: &Object,
    listener: &Listener<'_>,
    (index, reference): (usize, &Value),
    chosen: bool,
) {
    let text = |key: &str| reference.get(key).and_then(Value::as_str);
    let namespace = text("namespace").unwrap_or(gateway.namespace());
    let name = text("name").unwrap_or_default();
    let pointer = listener.pointer(&format!("/tls/certificateRefs/{index}"));
    let here = format!("listener {} of Gateway {}", listener.name, gateway.full_name());
    let report = |findings: &mut Findings,
                  title: String,
                  evidence: Vec<Evidence>,
                  remedy: String,
                  severity: Severity| {
        let mut evidence = evidence.into_iter();
        let first = evidence.next().unwrap_or_else(|| gateway.evidence(&pointer));
        let draft = findings.report(&LISTENER_CERTIFICATE, gateway, title, first, remedy);
        for more in evidence {
            draft.evidence(more);
        }
        draft.severity(severity).object(suggest::reference(&kinds::SECRET, namespace, name)).command(shell!(
            "oc -n {} describe secret {}",
            namespace,
            name
        ));
        verify(draft, gateway);
    };
    let field = gateway.evidence(&pointer);
    if text("kind").is_some_and(|kind| kind != "Secret") || text("group").is_some_and(|g| !g.is_empty()) {
        report(
            findings,
            format!("The certificate of {here} is no Secret"),
            vec![field],
            "Only Secrets of the core group hold certificates.".to_owned(),
            Severity::Error,
        );
        return;
    }
    if namespace != gateway.namespace() {
        let grant = Reference {
            from_group: GROUP,
            from_kind: "Gateway",
            from_namespace: gateway.namespace(),
            to_group: "",
            to_kind: "Secret",
            to_namespace: namespace,
            to_name: name,
        };
        match context.chain().grants.check(context.bundle, &grant) {
            Granted::Yes(..) => {}
            Granted::Unknown(missing) => findings.cannot_tell(&LISTENER_CERTIFICATE, missing),
            Granted::No(near) => {
                let draft = findings.report(
                    &LISTENER_CERTIFICATE,
                    gateway,
                    format!("{here} may not use Secret {namespace}/{name}: no ReferenceGrant in {namespace}"),
                    field,
                    "Allow the reference with a ReferenceGrant in the Secret's namespace.",
                );
                grant_remedy(draft, &grant, &near);
                return;
            }
        }
    }
    let secret = match context.bundle.find(&kinds::SECRET, namespace, name) {
        Seen::Found(secret) => secret,
        Seen::Unknown(missing) => {
            findings.cannot_tell(&LISTENER_CERTIFICATE, missing);
            return;
        }
        Seen::Absent => {
            let near = suggest::sentence(context, &kinds::SECRET, namespace, name);
            let title = format!("Secret {namespace}/{name} with the certificate of {here} does not exist");
            let remedy = "Create the Secret (type kubernetes.io/tls), or see why cert-manager has not.";
            let draft =
                findings.report(&LISTENER_CERTIFICATE, gateway, title, field, format!("{remedy}{near}"));
            draft.object(suggest::reference(&kinds::SECRET, namespace, name)).command(shell!(
                "oc -n {} create secret tls {} --cert=\"${{CERTIFICATE_FILE}}\" --key=\"${{KEY_FILE}}\"",
                namespace,
                name
            ));
            verify(draft, gateway);
            return;
        }
    };
    let shapes = secret_shape::shapes(&secret.value().to_json());
    let missing: Vec<&str> =
        ["tls.crt", "tls.key"].into_iter().filter(|key| !shapes.contains_key(*key)).collect();
    if !missing.is_empty() {
        let keys = secret
            .evidence_of("/data", format!("keys: {}", shapes.keys().cloned().collect::<Vec<_>>().join(", ")));
        report(
            findings,
            format!("Secret {namespace}/{name} of {here} lacks {}", missing.join(" and ")),
            vec![keys, field],
            "A TLS Secret has the keys tls.crt and tls.key.".to_owned(),
            Severity::Error,
        );
        return;
    }
    let Some(shape) = shapes.get("tls.crt") else { return };
    let host = served_host(context, gateway, listener);
    let wanted = host.as_ref().filter(|_| !chosen).map(|(host, _)| host.as_str());
    match content_fault(context, wanted, shape) {
        Ok(None) => {}
        Ok(Some((what, value, severity))) => {
            let seen = secret.evidence_of("/data/tls.crt", value);
            let remedy = "Renew or replace the certificate; with cert-manager, see its Certificate object.";
            report(
                findings,
                format!("The certificate of {here} {what}"),
                std::iter::once(seen).chain(host.map(|(_, shown)| shown)).collect(),
                remedy.to_owned(),
                severity,
            );
        }
        Err(why) => findings.cannot_tell(
            &LISTENER_CERTIFICATE,
            Missing {
                what: format!("the certificate in Secret {namespace}/{name}: {why}"),
                how: shell!("oc -n {} get secret {} -o jsonpath='{{.data.tls\\.crt}}'", namespace, name),
            },
        ),
    }
}

/// What is wrong with a certificate, with the value that shows it.
fn content_fault(
    context: &Context<'_>,
    host: Option<&str>,
    shape: &Shape,
) -> Result<Option<(String, String, Severity)>, &'static str> {
    let Some(leaf) = shape.certificates.first() else {
        // Only the length is known of a value that another tool has redacted.
        return match shape.printable {
            None => Err("the bundle keeps only its length"),
            Some(_) => Ok(Some((
                "cannot be read: tls.crt holds no certificate".to_owned(),
                format!("{} bytes, PEM blocks: {}", shape.len, shape.pem.join(", ")),
                Severity::Error,
            ))),
        };
    };
    let validity = context.now.map_or(Validity::Unknown, |now| certificates::validity(leaf, now));
    Ok(match validity {
        Validity::Expired => Some((
            format!("expired on {}", leaf.not_after),
            format!("notAfter {}", leaf.not_after),
            Severity::Error,
        )),
        Validity::NotYet => Some((
            format!("is not valid before {}", leaf.not_before),
            format!("notBefore {}", leaf.not_before),
            Severity::Error,
        )),
        _ if host.is_some_and(|host| !certificates::covers(leaf, host)) => Some((
            format!("is not for {}", host.unwrap_or_default()),
            format!("names: {}", leaf.names.join(", ")),
            Severity::Error,
        )),
        Validity::Valid(left) if left < EXPIRES_SOON.min(certificates::lifetime(leaf) / 3) => Some((
            format!("expires in {left} days, on {}", leaf.not_after),
            format!("notAfter {}", leaf.not_after),
            Severity::Warning,
        )),
        Validity::Valid(_) | Validity::Unknown => None,
    })
}

declare_rule! {
    /// Listeners of a Gateway conflict over a port
    ///
    /// ## What it means
    /// Two listeners have the same port and hostname, or protocols that cannot share a port. Istio keeps the
    /// first and refuses the later one.
    ///
    /// ## How it is decided
    /// The listeners of each Gateway of the MCP chain are compared by port, in their order:
    ///
    /// - HTTP, TLS-based protocols (HTTPS, TLS) and TCP exclude each other, whatever the hostnames. UDP has
    ///   ports of its own.
    /// - Within HTTP and within HTTPS and TLS, the same hostname twice conflicts (upper and lower case are
    ///   the same; no hostname is a hostname too).
    /// - Two TCP or two UDP listeners on one port always conflict.
    ///
    /// A listener that is refused is not held against those after it. Different Gateways normally have
    /// addresses of their own and are not compared, nor are listeners of ListenerSets.
    ///
    /// ## Causes
    /// A listener added for HTTPS on the port of HTTP; a copied listener.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe gateway NAME`: the condition `Conflicted` with reason `HostnameConflict` or
    /// `ProtocolConflict`.
    ///
    /// ## How to fix
    /// Give the later listener another port or hostname, or remove it. The command removes it: look first
    /// whether routes or an MCPGatewayExtension name it.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static LISTENER_PORT_CONFLICT = {
        code: "MG207", name: "listener-port-conflict", severity: Error, section: "1.2.1",
        needs: ["gateways"], since: "0.1.0",
        caused_by: [], check: listener_port_conflict,
    }
}

fn listener_port_conflict(context: &Context<'_>, findings: &mut Findings) {
    for gateway in in_chain(context) {
        let all = listeners(gateway);
        for conflict in conflicts(&all) {
            let (first, later) = (&all[conflict.first], &all[conflict.later]);
            let (field, what) = match conflict.protocol {
                true => ("/protocol", "protocols that cannot share a port"),
                false => ("/hostname", "the same hostname"),
            };
            let draft = findings.report(
                &LISTENER_PORT_CONFLICT,
                gateway,
                format!(
                    "Listeners {} and {} of Gateway {} share port {} with {what}",
                    first.name,
                    later.name,
                    gateway.full_name(),
                    later.port
                ),
                gateway.evidence(&later.pointer(field)),
                format!(
                    "Remove listener {}, or give it another port or hostname; Istio keeps {}.",
                    later.name, first.name
                ),
            );
            draft
                .evidence(gateway.evidence(&first.pointer(field)))
                .evidence(gateway.evidence(&later.pointer("/port")))
                .command(remedy::patch(
                    gateway,
                    json!([
                        {"op": "test", "path": later.pointer("/name"), "value": later.name},
                        {"op": "remove", "path": later.pointer("")},
                    ]),
                ));
            verify(draft, gateway);
        }
    }
}
