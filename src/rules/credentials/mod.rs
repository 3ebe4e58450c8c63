//! MG601-MG606: the credentials that registrations use towards their servers.

mod values;
use serde_json::json;

use super::registrations::{hide, ready_command};
use super::{Context, Findings, Rule, suggest};
use crate::declare_rule;
use crate::model::mcp::chain::credential_key;
use crate::model::mcp::{Registration, RegistrationFault, SECRET_LABEL, SecretFault};
use crate::model::{Object, kinds};
use crate::rules::remedy;
use crate::shell::shell;
pub(super) use values::credential;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &CREDENTIAL_SECRET_MISSING,
    &CREDENTIAL_SECRET_LABEL,
    &CREDENTIAL_SECRET_KEY,
    &values::CREDENTIAL_FORMAT,
    &values::CREDENTIAL_REJECTED,
    &values::CREDENTIAL_SCOPE,
];

/// The name of the Secret of a registration's credential.
fn secret_name(registration: &Object) -> &str {
    registration.str("/spec/credentialRef/name")
}

/// Goes over the faults of credentials.
fn each<'c, 'a>(
    context: &'c Context<'a>,
) -> impl Iterator<Item = (&'c Registration<'a>, &'c RegistrationFault<'a>, &'c SecretFault<'a>)> {
    context.chain().registrations.iter().filter(|r| !r.is_disabled()).flat_map(|registration| {
        registration.faults.iter().filter_map(move |fault| match fault {
            RegistrationFault::Credential(secret) => Some((registration, fault, secret)),
            _ => None,
        })
    })
}

fn undecided(context: &Context<'_>, findings: &mut Findings, rule: &'static Rule) {
    for registration in &context.chain().registrations {
        for (_, missing) in registration.unknown.iter().filter(|(code, _)| *code == "MG601") {
            findings.cannot_tell(rule, missing.clone());
        }
    }
}

declare_rule! {
    /// The Secret of a registration's credential does not exist
    ///
    /// ## What it means
    /// The broker has no credential for the server: the registration stays `credential secret NAME
    /// not found`, and the server is not in the configuration.
    ///
    /// ## How it is decided
    /// `spec.credentialRef.name` of an enabled registration is looked up among the Secrets of the
    /// registration's namespace; only names, labels and key names of Secrets are read.
    ///
    /// ## Causes
    /// A typo; the Secret is in another namespace; an external secret store did not deliver it.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get secrets -l mcp.kuadrant.io/secret=true`.
    ///
    /// ## How to fix
    /// Create the Secret with the label in the registration's namespace, or correct the name. The value goes
    /// into the header as it is: `Bearer TOKEN`, without a line break.
    ///
    /// ## When it may be a false alarm
    /// An external secret store delivers the Secret a moment later.
    static CREDENTIAL_SECRET_MISSING = {
        code: "MG601", name: "credential-secret-missing", severity: Error, section: "1.6",
        needs: ["mcpserverregistrations", "secrets (names)"], since: "0.1.0",
        caused_by: [], check: credential_secret_missing,
    }
}

fn credential_secret_missing(context: &Context<'_>, findings: &mut Findings) {
    undecided(context, findings, &CREDENTIAL_SECRET_MISSING);
    for (registration, fault, secret) in each(context) {
        if !matches!(secret, SecretFault::Missing) {
            continue;
        }
        let object = registration.object;
        let (namespace, name) = (object.namespace(), secret_name(object));
        let near = suggest::sentence(context, &kinds::SECRET, namespace, name);
        let draft = findings.report(
            &CREDENTIAL_SECRET_MISSING,
            object,
            format!(
                "Secret {namespace}/{name} of MCPServerRegistration {} does not exist",
                object.full_name()
            ),
            object.evidence("/spec/credentialRef/name"),
            format!("Create the Secret with the label {SECRET_LABEL}=true, or correct credentialRef.{near}"),
        );
        draft.object(suggest::reference(&kinds::SECRET, namespace, name)).verify(ready_command(object));
        // A Secret for credentials of nearly that name is the one that was meant.
        let meant = suggest::similar(context, &kinds::SECRET, namespace, name);
        match meant.filter(|secret| secret.label(SECRET_LABEL) == Some("true")) {
            Some(meant) => {
                draft.object(meant.reference()).evidence(meant.evidence("/metadata/name"));
                draft.command(remedy::merge(
                    object,
                    json!({"spec": {"credentialRef": {"name": meant.name()}}}),
                ));
            }
            None => {
                let file = "\"${TOKEN_FILE}\"";
                draft.commands(remedy::secret(namespace, name, credential_key(object), file));
            }
        }
        hide(context, draft, registration, fault);
    }
}

declare_rule! {
    /// The Secret of a registration's credential lacks its label
    ///
    /// ## What it means
    /// The controller only sees Secrets with the label `mcp.kuadrant.io/secret: "true"`. Without it
    /// the registration is refused (some versions say `not found`), and a changed token is not noticed.
    ///
    /// ## How it is decided
    /// The label's value must be exactly the string `true`, in the Secret of `credentialRef` of an enabled
    /// registration. The Secret of `caCertSecretRef` is judged in MG403, those of an extension in MG309.
    ///
    /// ## Causes
    /// The Secret was created without the label, or recreated by a tool that does not know it.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get secret NAME --show-labels`.
    ///
    /// ## How to fix
    /// Label it with the command that is printed.
    ///
    /// ## When it may be a false alarm
    /// A version before 0.6.0, which looks for a label of the group mcp.kagenti.com.
    static CREDENTIAL_SECRET_LABEL = {
        code: "MG602", name: "credential-secret-label", severity: Error, section: "1.6",
        needs: ["mcpserverregistrations", "secrets (labels)"], since: "0.1.0",
        caused_by: [], versions: "from 0.6.0 on; before, the label was of the group mcp.kagenti.com",
        check: credential_secret_label,
    }
}

fn credential_secret_label(context: &Context<'_>, findings: &mut Findings) {
    undecided(context, findings, &CREDENTIAL_SECRET_LABEL);
    for (registration, fault, secret) in each(context) {
        let SecretFault::Label(secret) = secret else { continue };
        let object = registration.object;
        let found = match secret.label(SECRET_LABEL) {
            Some(value) => format!("has the label with value {value:?}"),
            None => "lacks the label".to_owned(),
        };
        let draft = findings.report(
            &CREDENTIAL_SECRET_LABEL,
            object,
            format!(
                "Secret {} of MCPServerRegistration {} {found} {SECRET_LABEL}",
                secret.full_name(),
                object.full_name()
            ),
            secret.evidence("/metadata/labels"),
            format!("Label the Secret {SECRET_LABEL}=true: the controller sees no other Secrets."),
        );
        draft
            .object(secret.reference())
            .evidence(object.evidence("/spec/credentialRef/name"))
            .command(shell!(
                "oc -n {} label secret {} {}=true --overwrite",
                secret.namespace(),
                secret.name(),
                SECRET_LABEL
            ))
            .verify(ready_command(object));
        hide(context, draft, registration, fault);
    }
}

declare_rule! {
    /// The Secret of a registration's credential lacks the key
    ///
    /// ## What it means
    /// `credentialRef.key` (by default `token`) is not among the keys of the Secret: the registration
    /// stays `credential secret NAME missing key KEY`.
    ///
    /// ## How it is decided
    /// The key names of the Secret of an enabled registration; values are not needed. A key that comes close,
    /// or the Secret's only one, is offered.
    ///
    /// ## Causes
    /// Another key was used (`api-key`, `apiKey`), and `credentialRef.key` was left to its default.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe secret NAME` lists key names and sizes.
    ///
    /// ## How to fix
    /// Name the right key in `credentialRef.key`, or add the key to the Secret.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static CREDENTIAL_SECRET_KEY = {
        code: "MG603", name: "credential-secret-key", severity: Error, section: "1.6",
        needs: ["mcpserverregistrations", "secrets (key names)"], since: "0.1.0",
        caused_by: [], check: credential_secret_key,
    }
}

fn credential_secret_key(context: &Context<'_>, findings: &mut Findings) {
    undecided(context, findings, &CREDENTIAL_SECRET_KEY);
    for (registration, fault, secret) in each(context) {
        let SecretFault::Key(secret, present) = secret else { continue };
        let object = registration.object;
        let wanted = credential_key(object);
        let keys = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
        let near = suggest::closest(wanted, present.iter().map(|k| (*k, *k)))
            .or_else(|| (present.len() == 1).then(|| present[0]));
        // The value stays out of the report, whatever the bundle holds.
        let evidence = secret.evidence_of("/data", format!("keys: {keys}"));
        let draft = findings.report(
            &CREDENTIAL_SECRET_KEY,
            object,
            format!(
                "Secret {} of MCPServerRegistration {} has no key {wanted:?}",
                secret.full_name(),
                object.full_name()
            ),
            evidence,
            format!(
                "Name one of the Secret's keys in credentialRef.key ({keys}), or add the key {wanted:?}."
            ),
        );
        draft.object(secret.reference()).evidence(object.evidence("/spec/credentialRef"));
        if let Some(right) = near {
            draft.command(remedy::merge(object, json!({"spec": {"credentialRef": {"key": right}}})));
        } else {
            draft.command(shell!("oc -n {} describe secret {}", secret.namespace(), secret.name()));
        }
        draft.verify(ready_command(object));
        hide(context, draft, registration, fault);
    }
}
