//! MG401-MG424: MCPServerRegistrations: target, status, and what stands behind their routes.

mod backends;
mod broker;
mod configuration;
mod path;
mod ports;
mod prefixes;
mod selectors;
mod shape;

pub(in crate::rules) use backends::{AllServed, served};
pub(super) use broker::{Configured, Failure, configurations, failures};
use serde_json::json;

use super::gateways::condition_pointer;
use super::workloads::grant_commands;
use super::{Context, Draft, Findings, Rule, remedy, suggest};
use crate::declare_rule;
use crate::model::gateway_api::{Outcome, Verdict};
use crate::model::logs::Denial;
use crate::model::mcp::{Chain, Registration, RegistrationFault, SECRET_LABEL, SecretFault};
use crate::model::{Object, kinds};
use crate::report::{ObjectRef, Severity};
use crate::shell::{Command, shell};

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &REGISTRATION_TARGET_MISSING,
    &REGISTRATION_NOT_READY,
    &shape::REGISTRATION_TARGET_NAMESPACE,
    &shape::REGISTRATION_REFERENCE_GRANT,
    &backends::BACKEND_PODS,
    &backends::BACKEND_SERVICE_MISSING,
    &ports::BACKEND_SERVICE_TYPE,
    &ports::BACKEND_PORT,
    &backends::BACKEND_NO_ENDPOINTS,
    &selectors::BACKEND_SELECTOR,
    &broker::BACKEND_PROTOCOL,
    &prefixes::PREFIX_INVALID,
    &prefixes::PREFIX_CONFLICT,
    &prefixes::PREFIX_NOT_APPLIED,
    &configuration::REGISTRATION_NOT_SEEN,
    &configuration::BROKER_STALE_CONFIG,
    &broker::BROKER_UPSTREAM_FAILING,
    &shape::REGISTRATION_DISABLED,
    &shape::ROUTE_SHAPE,
    &ports::BACKEND_TLS_PORT,
    &shape::VIRTUAL_SERVER_TOOLS,
    &configuration::STALE_SERVER_ENTRY,
    &shape::REGISTRATION_CHAIN_STRICT,
    &path::REGISTRATION_PATH,
];

/// The codes of pods, Deployments and nodes that explain missing endpoints.
const WORKLOADS: [&str; 9] =
    ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"];

/// The command that waits for a registration.
pub(super) fn ready_command(registration: &Object) -> Command {
    ready_in(registration.namespace(), registration)
}

/// The same for its copy in another namespace.
fn ready_in(namespace: &str, registration: &Object) -> Command {
    shell!(
        "oc -n {} wait --for=condition=Ready mcpserverregistration/{} --timeout=120s",
        namespace,
        registration.name()
    )
}

/// Why the Gateway API accepts a route on the extension's port although the controller does not
/// see it there: the listener that takes it. `None` when the route really is elsewhere.
pub(super) fn strict<'a>(
    chain: &Chain<'a>,
    registration: &Registration<'a>,
    gateway: &Object,
    extensions: &[usize],
) -> Option<(crate::model::gateway_api::Listener<'a>, usize)> {
    let route = registration.route?;
    let facts = chain.route(route.namespace(), route.name())?;
    for attachment in &facts.attachments {
        let same = attachment.gateway.found().is_some_and(|g| g.full_name() == gateway.full_name());
        for (listener, verdict) in attachment.listeners.iter().filter(|_| same) {
            if !matches!(verdict, Verdict::Accepts(_)) {
                continue;
            }
            let on_port =
                |&&at: &&usize| chain.extensions[at].listener.is_some_and(|own| own.port == listener.port);
            if let Some(&at) = extensions.iter().find(on_port) {
                return Some((*listener, at));
            }
        }
    }
    None
}

/// The findings that a failing step of a registration shows as: codes and object.
pub(super) fn causes_of(
    context: &Context<'_>,
    registration: &Registration<'_>,
    fault: &RegistrationFault<'_>,
) -> Vec<(&'static [&'static str], ObjectRef)> {
    let object = registration.object.reference();
    match fault {
        RegistrationFault::RouteMissing => vec![(&["MG401", "MG402"], object)],
        RegistrationFault::NoGateway => {
            let Some(route) = registration.route else { return Vec::new() };
            let codes: &[&str] = &["MG210", "MG212", "MG213", "MG214", "MG217"];
            let mut found = vec![(codes, route.reference())];
            let facts = context.chain().routes.get(&(route.namespace(), route.name()));
            for attachment in facts.into_iter().flat_map(|f| &f.attachments) {
                if attachment.outcome() == Outcome::NoGateway {
                    let parent = attachment.parent;
                    let gateway = suggest::reference(&kinds::GATEWAY, parent.namespace, parent.name);
                    found.push((&["MG201"], gateway));
                }
            }
            found
        }
        RegistrationFault::NoExtension(..) => vec![(&["MG311"], object)],
        RegistrationFault::OtherListener(..) => vec![(&["MG311", "MG423"], object)],
        RegistrationFault::Shape(..) => vec![(&["MG419"], object)],
        RegistrationFault::ServiceMissing(backend) => {
            vec![(&["MG406"], suggest::reference(&kinds::SERVICE, backend.namespace, backend.name))]
        }
        RegistrationFault::Credential(SecretFault::Missing) => vec![(&["MG601"], object)],
        RegistrationFault::Credential(SecretFault::Label(_)) => vec![(&["MG602"], object)],
        RegistrationFault::Credential(SecretFault::Key(..)) => vec![(&["MG603"], object)],
        RegistrationFault::Credential(SecretFault::Value(..)) => vec![(&["MG604"], object)],
        RegistrationFault::CaCertificate(_) => Vec::new(),
        RegistrationFault::PrefixConflict(_) => vec![(&["MG413"], object)],
    }
}

/// Says that a fault stays invisible while an earlier step of the controller fails.
pub(super) fn hide(
    context: &Context<'_>,
    draft: &mut Draft,
    registration: &Registration<'_>,
    fault: &RegistrationFault<'_>,
) {
    let Some(first) = registration.faults.first() else { return };
    let same = std::mem::discriminant(first) == std::mem::discriminant(fault);
    for (codes, object) in causes_of(context, registration, first).into_iter().filter(|_| !same) {
        draft.hidden_behind(codes, object);
    }
}

declare_rule! {
    /// The HTTPRoute of a registration does not exist
    ///
    /// ## What it means
    /// `spec.targetRef` names an HTTPRoute that is not in the registration's namespace: the server is
    /// in no broker's configuration, `failed to get targeted httproute`.
    ///
    /// ## How it is decided
    /// The route is looked up as the controller does: by name in the registration's *own* namespace;
    /// `targetRef.namespace` is ignored. A disabled registration is judged, too; one that is being deleted is
    /// not.
    ///
    /// ## Causes
    /// A typo; the route lives in another namespace; it was deleted or renamed.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproutes`.
    ///
    /// ## How to fix
    /// Correct the name, or create route and registration in one namespace. A registration that moves needs
    /// its Secrets (`credentialRef`, `caCertSecretRef`) in the new namespace, too.
    ///
    /// ## When it may be a false alarm
    /// The route is applied a moment after the registration: there is no time of grace.
    static REGISTRATION_TARGET_MISSING = {
        code: "MG401", name: "registration-target-missing", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations", "httproutes"], since: "0.1.0",
        caused_by: ["MG003", "MG402"], check: registration_target_missing,
    }
}

fn registration_target_missing(context: &Context<'_>, findings: &mut Findings) {
    for registration in &context.chain().registrations {
        let object = registration.object;
        for (code, missing) in &registration.unknown {
            if *code == "MG401" {
                findings.cannot_tell(&REGISTRATION_TARGET_MISSING, missing.clone());
            }
        }
        if !registration.faults.iter().any(|f| matches!(f, RegistrationFault::RouteMissing)) {
            continue;
        }
        let (namespace, name) = (object.namespace(), object.str("/spec/targetRef/name"));
        let near = suggest::sentence(context, &kinds::HTTP_ROUTE, namespace, name);
        let similar = suggest::similar(context, &kinds::HTTP_ROUTE, namespace, name);
        let draft = findings.report(
            &REGISTRATION_TARGET_MISSING,
            object,
            format!(
                "MCPServerRegistration {} targets HTTPRoute {namespace}/{name}, which does not exist",
                object.full_name()
            ),
            object.evidence("/spec/targetRef/name"),
            format!("Target an HTTPRoute of the registration's own namespace.{near}"),
        );
        draft.object(suggest::reference(&kinds::HTTP_ROUTE, namespace, name));
        let mut home = namespace;
        if let Some(right) = similar {
            draft.command(remedy::merge(object, json!({"spec": {"targetRef": {"name": right.name()}}})));
        } else if let [there] = suggest::elsewhere(context, &kinds::HTTP_ROUTE, namespace, name).as_slice() {
            home = there.namespace();
            draft.commands(remedy::moved(object, home, &[]));
        } else {
            draft.command("oc get httproutes -A");
        }
        draft.verify(ready_in(home, object));
    }
}

declare_rule! {
    /// A registration is not ready
    ///
    /// ## What it means
    /// The controller says that the server is not part of the gateway, and why. Clients do not see
    /// its tools.
    ///
    /// ## How it is decided
    /// The condition `Ready` (older or foreign versions: `Accepted`). Three things are reported: there is no
    /// condition at all; the condition is not `True`; or it says `True` and the specs contradict it (a
    /// warning: the condition carries no generation, so that its age cannot be seen).
    ///
    /// The controller's steps are computed from the specs: the first that fails explains the message and is
    /// the cause; further ones are reported as hidden behind it. A fault of the Secret of `caCertSecretRef`
    /// has no code of its own and is told here. Disabled registrations, those that are being deleted, and
    /// those younger than 60 seconds are not judged. Nor is one that says `Ready` with a prefix that
    /// another has (MG413): versions up to 0.9.0 do not look.
    ///
    /// ## Causes
    /// Anything between registration and backend; see the finding that causes this one.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get mcpserverregistration NAME -o yaml`.
    ///
    /// ## How to fix
    /// Repair the cause. The status follows within a minute; no restart is needed. Where the message says
    /// what the API server forbids the controller, the commands grant it. Where there is no condition, see
    /// whether the controller runs, and touch the registration.
    ///
    /// ## When it may be a false alarm
    /// Within seconds after a change of an older registration, its route or its Secrets.
    static REGISTRATION_NOT_READY = {
        code: "MG403", name: "registration-not-ready", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations", "httproutes", "gateways", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: [
            "MG401", "MG402", "MG404", "MG406", "MG411", "MG412", "MG413", "MG417", "MG419", "MG423", "MG601",
            "MG602", "MG603", "MG605", "MG210", "MG211", "MG301", "MG303", "MG306", "MG308", "MG309", "MG311", "MG312", "MG405", "MG409", "MG410", "MG310",
            "MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111",
        ],
        versions: "every supported version; until 0.7.1 `Ready` waits for the broker, from 0.8.0 on only for the configuration",
        check: registration_not_ready,
    }
}

/// What a message of the controller means; for the versions that write it.
fn explain_message(message: &str) -> &'static str {
    let table: &[(&str, &str)] = &[
        ("failed to get targeted httproute", "The HTTPRoute is not in the registration's namespace."),
        ("no valid gateways for httproute", "No Gateway has accepted the HTTPRoute."),
        (
            "no valid mcpgatewayextensions configured",
            "No valid MCPGatewayExtension targets the Gateway of the HTTPRoute.",
        ),
        (
            "no matching mcpgatewayextensions for attached listener",
            "The MCPGatewayExtension targets another port, or the controller's narrower hostname matching \
             does not see the route on it.",
        ),
        ("credential secret", "The Secret of credentialRef is missing, unlabelled or lacks the key."),
        (
            "CA certificate",
            "The Secret of caCertSecretRef is missing, unlabelled, lacks the key or holds no CA.",
        ),
        ("failed to get service", "The Service of the HTTPRoute's backendRef does not exist."),
        ("conflict: prefix", "An older registration of the same gateway has the same prefix."),
        ("which is unsupported", "The HTTPRoute must have exactly one rule with one backendRef."),
        ("must have at least one hostname", "The HTTPRoute must have a hostname."),
        ("has no backend references", "The HTTPRoute has no backendRef."),
        ("unsupported backend reference kind", "The backendRef must be a Service or a Hostname."),
        ("not present in gateway yet", "The broker has not loaded the server (versions before 0.8)."),
        ("Validation failed", "The controller cannot reach the broker's /status (versions before 0.8)."),
    ];
    table.iter().find(|(part, _)| message.contains(part)).map_or("", |(_, meaning)| meaning)
}

fn registration_not_ready(context: &Context<'_>, findings: &mut Findings) {
    for registration in &context.chain().registrations {
        let object = registration.object;
        if registration.is_disabled() || object.is_deleting() || context.is_younger(object, 60) {
            continue;
        }
        let name = object.full_name();
        let first = registration.faults.first();
        // One that says Ready may be wrong as well.
        if let (None, Some(missing)) = (first, &registration.waits) {
            findings.cannot_tell(&REGISTRATION_NOT_READY, missing.clone());
            continue;
        }
        let mut denial = None;
        let draft = match registration.ready() {
            None => findings.report(
                &REGISTRATION_NOT_READY,
                object,
                format!("MCPServerRegistration {name} has no status: the controller has not looked at it"),
                object.evidence("/status/conditions"),
                "See whether the MCP gateway's controller runs, and what it logs about this registration; touch the \
                 registration to make it look again.",
            ),
            Some(condition) if !condition.is_true() && condition.reason != "Disabled" => {
                let meaning = explain_message(condition.message);
                denial = Denial::parse(condition.message).filter(|_| first.is_none());
                let remedy = match (meaning, first) {
                    _ if denial.is_some() => {
                        let said = denial.as_ref().map(|d| (d.verb.as_str(), d.resource.as_str(), d.user.as_str()));
                        let (verb, resource, user) = said.unwrap_or_default();
                        format!("The API server refuses {user} to {verb} {resource}: grant it the right.")
                    }
                    ("", Some(_)) => "Repair the cause that is reported with this.".to_owned(),
                    ("", None) => {
                        "The specs show no reason: follow the message, and see the controller's log."
                            .to_owned()
                    }
                    (meaning, _) => format!("{meaning} Repair the cause that is reported with this."),
                };
                let message = if condition.message.is_empty() { condition.reason } else { condition.message };
                findings.report(
                    &REGISTRATION_NOT_READY,
                    object,
                    format!("MCPServerRegistration {name} is not ready: {message}"),
                    object.evidence(&condition_pointer(&condition)),
                    remedy,
                )
            }
            Some(condition) => {
                // Versions until 0.9.0 do not look at other prefixes.
                let overdue = |fault: &&RegistrationFault<'_>| !matches!(fault, RegistrationFault::PrefixConflict(_));
                let Some(_) = first.filter(overdue).filter(|_| condition.is_true()) else { continue };
                let draft = findings.report(
                    &REGISTRATION_NOT_READY,
                    object,
                    format!("MCPServerRegistration {name} says Ready, but the specs no longer allow it"),
                    object.evidence(&condition_pointer(&condition)),
                    "The controller has not noticed the fault yet; repair the cause that is reported with this.",
                );
                draft.severity(Severity::Warning);
                draft
            }
        };
        if let Some(first) = first {
            for (codes, cause) in causes_of(context, registration, first) {
                draft.because_of(codes, cause);
            }
            if let RegistrationFault::CaCertificate(fault) = first {
                ca_certificate(draft, object, fault);
            }
            if let RegistrationFault::NoExtension(_, broken) = first {
                for &at in broken.iter().take(4) {
                    draft.object(context.chain().extensions[at].object.reference());
                }
            }
        }
        // The way to the extension is not in the bundle, but there is only one, and it is faulty.
        if let ([extension], None, Some(condition)) =
            (context.chain().extensions.as_slice(), first, registration.ready())
            && let Some(fault) = extension.first()
            && condition.message.starts_with("no valid mcpgatewayextensions")
        {
            draft.because_of(&[fault.code()], extension.object.reference());
        }
        if let Some(denial) = &denial {
            draft.commands(grant_commands(denial));
        }
        if first.is_none() && registration.ready().is_none() {
            draft.command(shell!(
                "oc -n {} annotate mcpserverregistration {} oc-mcpgw/touched=\"$(date -u +%s)\" --overwrite",
                object.namespace(),
                object.name()
            ));
        }
        draft
            .command(shell!(
                "oc -n {} get mcpserverregistration {} -o yaml",
                object.namespace(),
                object.name()
            ))
            .verify(ready_command(object));
    }
}

/// The Secret with the CA certificate has no code of its own: what is wrong with it is told here.
fn ca_certificate(draft: &mut Draft, registration: &Object, fault: &SecretFault<'_>) {
    let (namespace, name) = (registration.namespace(), registration.str("/spec/caCertSecretRef/name"));
    let key = match registration.str("/spec/caCertSecretRef/key") {
        "" => "ca.crt",
        key => key,
    };
    draft.explains_itself().evidence(registration.evidence("/spec/caCertSecretRef/name"));
    match fault {
        SecretFault::Missing => {
            draft.remedy.text = format!("Create Secret {namespace}/{name} with the CA certificate.");
            draft
                .command(shell!(
                    "oc -n {} create secret generic {} --from-file={}=\"${{CA_FILE}}\"",
                    namespace,
                    name,
                    key
                ))
                .command(shell!("oc -n {} label secret {} {}=true", namespace, name, SECRET_LABEL));
        }
        SecretFault::Label(secret) => {
            draft.remedy.text =
                format!("Label Secret {namespace}/{name}: the controller sees no other Secrets.");
            draft.object(secret.reference()).evidence(secret.evidence("/metadata/labels")).command(shell!(
                "oc -n {} label secret {} {}=true --overwrite",
                namespace,
                name,
                SECRET_LABEL
            ));
        }
        SecretFault::Value(secret, why) => {
            draft.remedy.text = format!(
                "Write PEM certificates of CAs into key {key} of Secret {namespace}/{name}: it {why}."
            );
            let shown = secret
                .evidence_of(&format!("/data/{}", key.replace('~', "~0").replace('/', "~1")), why.clone());
            draft.object(secret.reference()).evidence(shown).command(shell!(
                "oc -n {} set data secret/{} --from-file={}=\"${{CA_FILE}}\"",
                namespace,
                name,
                key
            ));
        }
        SecretFault::Key(secret, present) => {
            draft.remedy.text = format!(
                "Add the key {key} to Secret {namespace}/{name} (it has {}), or name the key that holds the \
                 certificate.",
                suggest::some(present, 5)
            );
            draft.object(secret.reference()).evidence(secret.evidence("/data")).command(shell!(
                "oc -n {} set data secret/{} --from-file={}=\"${{CA_FILE}}\"",
                namespace,
                name,
                key
            ));
        }
    }
}
