//! MG412-MG414: the prefixes of the tools of registrations.

use super::{hide, ready_command};
use crate::declare_rule;
use crate::model::json::Value;
use crate::model::mcp::RegistrationFault;
use crate::model::workloads::Component;
use crate::model::{Object, kinds};
use crate::rules::{Context, Findings, evidence, remedy};
use serde_json::json;

/// Whether a prefix is one that the API allows: `^[a-z0-9][a-z0-9_]*$`.
fn is_prefix(prefix: &str) -> bool {
    !prefix.is_empty()
        && !prefix.starts_with('_')
        && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

declare_rule! {
    /// A prefix has characters that are not allowed
    ///
    /// ## What it means
    /// The prefix becomes the beginning of each tool's name. With other characters clients or the
    /// broker refuse the names.
    ///
    /// ## How it is decided
    /// `spec.prefix` (before 0.7 `spec.toolPrefix`), if it is not empty, must match `^[a-z0-9][a-z0-9_]*$`.
    ///
    /// ## Causes
    /// A hyphen, a space or an upper case letter; today's CRD refuses them, older ones did not.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get mcpserverregistration NAME -o jsonpath='{.spec}'`.
    ///
    /// ## How to fix
    /// Recreate the registration with another prefix: the field cannot be changed once it is set. Its tools
    /// are away for a moment and come back under new names, which virtual servers and roles have to follow.
    ///
    /// ## When it may be a false alarm
    /// A version until 0.6.1 takes any prefix, and clients that accept hyphens or capital letters work with
    /// it. The update to 0.7 is what fails then.
    pub(super) static PREFIX_INVALID = {
        code: "MG412", name: "prefix-invalid", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations"], since: "0.1.0",
        caused_by: [], versions: "until 0.6.1; from 0.7.0 on the API server refuses such a prefix",
        check: prefix_invalid,
    }
}

fn prefix_invalid(context: &Context<'_>, findings: &mut Findings) {
    for registration in &context.chain().registrations {
        let prefix = registration.prefix();
        if prefix.is_empty() || is_prefix(prefix) {
            continue;
        }
        let object = registration.object;
        let mut fixed: String =
            prefix.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        fixed = fixed.trim_start_matches('_').to_owned();
        if fixed.is_empty() {
            fixed = free_prefix(context, object);
        }
        recreate(
            findings.report(
                &PREFIX_INVALID,
                object,
                format!("The prefix {prefix:?} of MCPServerRegistration {} is not valid", object.full_name()),
                object.evidence(registration.prefix_pointer()),
                format!(
                    "Recreate the registration with a prefix of lower case letters, digits and '_', such as \
                     {fixed:?}; the field cannot be changed."
                ),
            ),
            object,
            registration.prefix_pointer(),
            &fixed,
        );
    }
}

/// Recreates a registration with another prefix: the field cannot be changed once it is set.
fn recreate(draft: &mut crate::rules::Draft, object: &Object, pointer: &str, prefix: &str) {
    let path = pointer.replace('/', ".");
    draft.command(remedy::recreated(object, &[(&path, json!(prefix))])).verify(ready_command(object));
}

/// A prefix that no registration of the bundle has: the registration's name, or with its namespace.
fn free_prefix(context: &Context<'_>, object: &Object) -> String {
    let clean = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
    };
    let short = format!("{}_", clean(object.name()));
    if context.chain().with_prefix(&short).any(|other| !std::ptr::eq(other.object, object)) {
        return format!("{}_{short}", clean(object.namespace()));
    }
    short
}

declare_rule! {
    /// Two registrations of one gateway share a prefix, or their tools collide
    ///
    /// ## What it means
    /// Tools of both servers would have the same names. The older registration keeps the prefix, the
    /// younger stays `PrefixConflict` (or, before that reason existed, its tools are dropped with
    /// `tool conflict detected` in the broker's log).
    ///
    /// ## How it is decided
    /// Registrations whose routes reach the same extension and that have exactly the same prefix: the oldest
    /// wins, then the lower UID; a disabled one counts too, one that is being deleted does not. For other
    /// registrations, the broker's current log about conflicts of tools or prompts
    /// (`tool conflict detected`), however old the line is.
    ///
    /// ## Causes
    /// A copied registration; two teams with the same idea.
    ///
    /// ## How to confirm
    /// `oc get mcpserverregistrations -A` shows the prefixes.
    ///
    /// ## How to fix
    /// Recreate the younger registration with a prefix of its own. Its tools get new names, which virtual
    /// servers and roles have to follow.
    ///
    /// ## When it may be a false alarm
    /// A line of the broker's log from before the prefixes were made distinct.
    pub(super) static PREFIX_CONFLICT = {
        code: "MG413", name: "prefix-conflict", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations", "broker log", "gateways", "httproutes", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: [],
        versions: "every supported version; after 0.9.0 the controller refuses the later one with reason `PrefixConflict`",
        check: prefix_conflict,
    }
}

fn prefix_conflict(context: &Context<'_>, findings: &mut Findings) {
    let mut losers = Vec::new();
    for registration in &context.chain().registrations {
        for fault in &registration.faults {
            let RegistrationFault::PrefixConflict(winner) = fault else { continue };
            let object = registration.object;
            losers.push(object.full_name());
            let draft = findings.report(
                &PREFIX_CONFLICT,
                object,
                format!(
                    "MCPServerRegistration {} has the prefix {:?} of the older {}",
                    object.full_name(),
                    registration.prefix(),
                    winner.full_name()
                ),
                object.evidence(registration.prefix_pointer()),
                "Recreate the younger registration with a prefix of its own.",
            );
            draft.object(winner.reference()).evidence(winner.evidence(registration.prefix_pointer()));
            draft.evidence(winner.evidence("/metadata/creationTimestamp"));
            recreate(draft, object, registration.prefix_pointer(), &free_prefix(context, object));
            hide(context, draft, registration, fault);
        }
    }
    let logs = context.workloads().component_logs(Component::Broker);
    for (_, log) in logs.filter(|(_, log)| !log.previous) {
        for record in log.digest.of("broker.tool-conflict") {
            let server = record.field("server");
            let registration =
                context.chain().server(server).filter(|_| !losers.iter().any(|loser| loser == server));
            let Some(registration) = registration else { continue };
            let object = registration.object;
            let draft = findings.report(
                &PREFIX_CONFLICT,
                object,
                format!("Tools of MCPServerRegistration {server} collide with those of another server"),
                evidence::record(log, record),
                "Give the servers distinct prefixes.",
            );
            draft.evidence(object.evidence(registration.prefix_pointer()));
            recreate(draft, object, registration.prefix_pointer(), &free_prefix(context, object));
        }
    }
}

declare_rule! {
    /// A prefix is not applied
    ///
    /// ## What it means
    /// The registration was written with `toolPrefix`, but this version calls the field `prefix` (or
    /// the other way round): the API server drops the unknown field without a word, and the tools
    /// appear without prefix.
    ///
    /// ## How it is decided
    /// One of these three:
    /// - the manifest that was last applied (an annotation, of which redaction keeps the field names) has the
    ///   one field, the object has neither, and the CRD's schema lacks that field;
    /// - the object has one of the two fields, and the CRD's schema of its version lacks it;
    /// - the controller's log says that the prefix cannot be applied (`failed to generate prefix`,
    ///   `conflict: prefix`), the last time within the hour before the collection.
    ///
    /// Without the CustomResourceDefinition in the bundle only the log is asked.
    ///
    /// ## Causes
    /// A manifest of before 0.7 on a newer installation, or the reverse.
    ///
    /// ## How to confirm
    /// `oc explain mcpserverregistration.spec` shows the field's name.
    ///
    /// ## How to fix
    /// Rename the field in the manifest, and recreate the registration. After `conflict: prefix` choose
    /// another prefix (MG413).
    ///
    /// ## When it may be a false alarm
    /// The prefix was taken out on purpose by another tool than `oc apply`, which leaves the annotation as it
    /// was.
    pub(super) static PREFIX_NOT_APPLIED = {
        code: "MG414", name: "prefix-not-applied", severity: Warning, section: "1.4",
        needs: ["mcpserverregistrations", "customresourcedefinitions", "controller log"], since: "0.1.0",
        caused_by: ["MG413"],
        versions: "from 0.7.0 on, which renamed `toolPrefix` to `prefix`",
        check: prefix_not_applied,
    }
}

/// Whether the CRD's schema of the object's version has this field of the spec; `None` when the
/// bundle cannot tell.
fn schema_has(context: &Context<'_>, object: &Object, field: &str) -> Option<bool> {
    let name = kinds::MCP_SERVER_REGISTRATION.resource();
    let crd = context.bundle.get(&kinds::CUSTOM_RESOURCE_DEFINITION, "", &name)?;
    let version = crd
        .array("/spec/versions")
        .iter()
        .find(|v| v.get("name").and_then(Value::as_str) == Some(object.version()))?;
    let properties = version.pointer("/schema/openAPIV3Schema/properties/spec/properties")?.as_object()?;
    Some(properties.contains_key(field))
}

fn prefix_not_applied(context: &Context<'_>, findings: &mut Findings) {
    for registration in &context.chain().registrations {
        let object = registration.object;
        let applied =
            object.annotation("kubectl.kubernetes.io/last-applied-configuration").unwrap_or_default();
        for (old, new) in [("toolPrefix", "prefix"), ("prefix", "toolPrefix")] {
            let written = applied.contains(&format!("\"{old}\""))
                || applied.contains(&format!("spec.{old}"))
                || applied.contains(&format!("spec/{old}"));
            let stored = object.get(&format!("/spec/{old}")).is_some();
            let missing = schema_has(context, object, old) == Some(false);
            let dropped = written && !stored && object.get(&format!("/spec/{new}")).is_none() && missing;
            if !(dropped || (stored && missing)) {
                continue;
            }
            let pointer = if stored {
                format!("/spec/{old}")
            } else {
                "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration".to_owned()
            };
            let draft = findings.report(
                &PREFIX_NOT_APPLIED,
                object,
                format!(
                    "MCPServerRegistration {} sets {old}, which this version calls {new}",
                    object.full_name()
                ),
                object.evidence(&pointer),
                format!("Rename {old} to {new} in the manifest and recreate the registration."),
            );
            draft.evidence(object.evidence(&format!("/spec/{new}")));
            let value = match object.str(&format!("/spec/{old}")) {
                "" => free_prefix(context, object),
                stored => stored.to_owned(),
            };
            draft
                .command(remedy::recreated(
                    object,
                    &[
                        (&format!(".spec.{old}"), serde_json::Value::Null),
                        (&format!(".spec.{new}"), json!(value)),
                    ],
                ))
                .verify(ready_command(object));
        }
    }
    for (_, log) in context.workloads().component_logs(Component::Controller) {
        for record in log.digest.of("controller.prefix").filter(|r| !evidence::is_past(context.now, r)) {
            let registration =
                context.chain().registration_of(record.field("namespace"), record.field("name"));
            let Some(registration) = registration else { continue };
            findings
                .report(
                    &PREFIX_NOT_APPLIED,
                    registration.object,
                    format!(
                        "The controller cannot apply the prefix of MCPServerRegistration {}",
                        registration.object.full_name()
                    ),
                    evidence::record(log, record),
                    "Follow the message of the log; a prefix must be unique and of lower case letters, digits and '_'.",
                )
                .evidence(registration.object.evidence(registration.prefix_pointer()))
                .command("oc get mcpserverregistrations -A")
                .verify(ready_command(registration.object));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_prefix;

    #[test]
    fn prefixes() {
        for (prefix, expected) in [
            ("weather_", true),
            ("s1_", true),
            ("Weather_", false),
            ("a-b", false),
            ("_a", false),
            ("a b", false),
        ] {
            assert_eq!(is_prefix(prefix), expected, "{prefix}");
        }
    }
}
