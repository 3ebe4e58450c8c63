//! MG714: the key pair of trusted headers. Authorino signs a wristband with the private half, the broker verifies it with
//! the public half. Source: "Festival Wristbands" of Authorino's documentation; the keys of a Secret tell their
//! fingerprints through redaction, see [`crate::model::public_key`].

use std::collections::BTreeSet;

use serde_json::json;

use super::discovery::broker_variable;
use super::tokens::concerning;
use crate::declare_rule;
use crate::model::json::Value;
use crate::model::kuadrant::Policy;
use crate::model::logs::Record;
use crate::model::{Object, kinds, secret_shape};
use crate::rules::policies::say_what_is_missing;
use crate::rules::remedy;
use crate::rules::{Context, Findings, evidence};
use crate::shell::{Command, shell};

/// Two Secrets whose keys are no pair.
pub(super) struct Mismatch<'a> {
    /// With the private key, which a policy's wristband is signed with.
    pub(super) private: &'a Object,
    /// The entry of the Secret in which that stands.
    private_entry: String,
    /// With the public key, which the extension's broker verifies with.
    pub(super) public: &'a Object,
}

impl Mismatch<'_> {
    /// A command that writes the public half of the private key into the other Secret; neither key is printed.
    pub(super) fn repair(&self) -> Command {
        let entry = self.private_entry.replace('.', "\\.");
        shell!(
            "oc -n {} get secret {} -o jsonpath={} | base64 -d | openssl pkey -pubout | \
             oc -n {} create secret generic {} --from-file={}=/dev/stdin --dry-run=client -o yaml | oc apply -f -",
            self.private.namespace(),
            self.private.name(),
            format!("{{.data.{entry}}}"),
            self.public.namespace(),
            self.public.name(),
            ENTRY
        )
    }
}

/// The entry that the controller mounts as the public key.
const ENTRY: &str = "key";

/// The Secrets of this extension's key and of the policy's wristband, where both are known and are no pair.
pub(super) fn mismatch<'a>(
    context: &Context<'a>,
    extension: &Object,
    policy: &Policy<'_>,
) -> Option<Mismatch<'a>> {
    let name = extension.str("/spec/trustedHeadersKey/secretName");
    let public = context.bundle.get(&kinds::SECRET, extension.namespace(), name)?;
    let verifies: BTreeSet<String> = fingerprints(public).into_iter().map(|(_, key)| key).collect();
    let signing = signing_key(policy)?;
    // The Secret stands where the AuthConfig is made, which is beside Kuadrant or Authorino.
    let makers = [&kinds::AUTH_CONFIG, &kinds::AUTHORINO, &kinds::KUADRANT];
    let namespaces: BTreeSet<&str> =
        makers.into_iter().flat_map(|kind| context.bundle.list(kind)).map(Object::namespace).collect();
    let signing: Vec<(&Object, String, String)> = namespaces
        .into_iter()
        .filter_map(|namespace| context.bundle.get(&kinds::SECRET, namespace, signing))
        .flat_map(|secret| fingerprints(secret).into_iter().map(move |(entry, key)| (secret, entry, key)))
        .collect();
    if verifies.is_empty() || signing.iter().any(|(_, _, key)| verifies.contains(key)) {
        return None;
    }
    let (private, private_entry, _) = signing.into_iter().next()?;
    Some(Mismatch { private, private_entry, public })
}

/// The name of the Secret that the wristband in the header is signed with: the first of the list.
fn signing_key<'a>(policy: &Policy<'a>) -> Option<&'a str> {
    policy.bodies().into_iter().find_map(|(_, _, body)| {
        let success = body.pointer("/rules/response/success").or_else(|| body.pointer("/response/success"));
        let headers = success?.get("headers")?.as_object()?;
        headers.iter().find_map(|(name, value)| {
            let name = value.get("key").and_then(Value::as_str).unwrap_or(name);
            let ours = ["x-mcp-authorized", "x-authorized-tools"];
            ours.iter().find(|header| name.eq_ignore_ascii_case(header))?;
            value.pointer("/wristband/signingKeyRefs/0/name")?.as_str()
        })
    })
}

/// The fingerprints of a Secret's keys, with the entries in which they stand.
fn fingerprints(secret: &Object) -> Vec<(String, String)> {
    secret_shape::shapes(&secret.value().to_json())
        .into_iter()
        .flat_map(|(entry, shape)| shape.public_keys.into_iter().map(move |key| (entry.clone(), key)))
        .collect()
}

declare_rule! {
    /// Tool filtering by trusted header cannot work
    ///
    /// ## What it means
    /// The broker filters tools by the signed header `x-mcp-authorized`. It cannot verify the header, or
    /// demands one that nobody sets: users see no tools.
    ///
    /// ## How it is decided
    /// The first of these that is true of an extension:
    /// - the broker is started with `--enforce-capability-filtering` (or `--enforce-tool-filtering`) and no
    ///   AuthPolicy of the Gateway or of the public host's routes sets `x-mcp-authorized`
    ///   (`x-authorized-tools` before 0.7);
    /// - an AuthPolicy sets it, and the extension has no `spec.trustedHeadersKey`, nor the broker the
    ///   variable `TRUSTED_HEADER_PUBLIC_KEY`;
    /// - the public key in that Secret is not the half of the private key that the policy's wristband is
    ///   signed with (the fingerprints of both survive redaction);
    /// - the broker's current log says that it cannot parse the header;
    /// - it says at least three times `upstream not found` for a server that no registration has: the header
    ///   names it.
    ///
    /// What the log says counts when the last line is of the hour before the collection.
    ///
    /// ## Causes
    /// The key pair does not belong together, the policy lacks the wristband, the claim's name is of another
    /// version.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/mcp-gateway | grep -e x-mcp-authorized -e 'upstream not found'`
    ///
    /// ## How to fix
    /// Set `spec.trustedHeadersKey` to the public key of the pair whose private key signs the policy's
    /// wristband; let the policy set the header, or remove the flag; name servers `NAMESPACE/NAME` after
    /// their registrations where the roles are given.
    ///
    /// ## When it may be a false alarm
    /// The header is set by something in front of the gateway. A log line of a registration that was deleted.
    pub(super) static TRUSTED_HEADERS = {
        code: "MG714", name: "trusted-headers", severity: Warning, section: "1.7",
        needs: ["deployments", "authpolicies", "broker log", "mcpgatewayextensions", "gateways", "httproutes", "secrets (shape of values)"],
        since: "0.1.0", caused_by: ["MG309"],
        versions: "every supported version; the header is `x-authorized-tools` until 0.6.1, `x-mcp-authorized` from 0.7.0 on",
        check: trusted_headers,
    }
}

/// The argument of the broker that demands the header, and its pointer.
fn enforcement(deployment: &Object) -> Option<String> {
    deployment.array("/spec/template/spec/containers").iter().enumerate().find_map(|(c, container)| {
        ["command", "args"].iter().find_map(|list| {
            let arguments = container.get(*list)?.as_array()?;
            let at = arguments.iter().filter_map(|a| a.as_str()).position(|a| {
                let flag = a.trim_start_matches('-');
                flag == "enforce-capability-filtering"
                    || flag == "enforce-tool-filtering"
                    || flag == "enforce-capability-filtering=true"
                    || flag == "enforce-tool-filtering=true"
            })?;
            Some(format!("/spec/template/spec/containers/{c}/{list}/{at}"))
        })
    })
}

fn trusted_headers(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &TRUSTED_HEADERS, findings);
    for extension in &context.chain().extensions {
        let object = extension.object;
        let workloads = context.workloads();
        // Policies of other Gateways are nothing to this one.
        let concerned = concerning(context, extension);
        let setter = concerned
            .iter()
            .find(|p| p.sets_header("x-mcp-authorized") || p.sets_header("x-authorized-tools"));
        let broker = workloads.broker_deployment(object.namespace());
        let key = object.get("/spec/trustedHeadersKey").is_some()
            || broker.is_some_and(|d| broker_variable(d, "TRUSTED_HEADER_PUBLIC_KEY").is_some());
        let enforced = broker.and_then(|d| Some((d, enforcement(d)?)));
        let told = |template: &'static str| {
            let pods = workloads.broker_pods(object.namespace()).iter();
            pods.flat_map(|pod| workloads.logs_of(pod)).filter(|log| !log.previous).find_map(|log| {
                let lasts = |r: &&Record| !evidence::is_past(context.now, r);
                log.digest.of(template).find(lasts).map(|record| (log, record))
            })
        };
        let log = told("broker.trusted-header");
        // A server that is registered may have been away only for a while.
        let registered = |name: &str| context.chain().server(name).is_some();
        let stranger = told("broker.unknown-server").filter(|(_, record)| {
            let name = record.field("server");
            record.count >= 3 && !name.is_empty() && !registered(name)
        });
        let mut keys = None;
        let (title, shown, remedy) = if let (Some((deployment, pointer)), None) = (&enforced, setter) {
            (
                "the broker demands x-mcp-authorized, and no AuthPolicy sets it".to_owned(),
                deployment.evidence(pointer),
                "Let an AuthPolicy add the wristband as header x-mcp-authorized, or remove the flag.",
            )
        } else if let (Some(policy), false) = (setter, key) {
            (
                format!(
                    "AuthPolicy {} sets x-mcp-authorized, and the extension has no trustedHeadersKey",
                    policy.object.full_name()
                ),
                object.evidence("/spec/trustedHeadersKey"),
                "Set spec.trustedHeadersKey.secretName to the Secret with the public key of the wristband's pair.",
            )
        } else if let Some(pair) = setter.and_then(|policy| mismatch(context, object, policy)) {
            let title = format!(
                "Secret {} signs x-mcp-authorized, and the key in Secret {} is not its public half",
                pair.private.full_name(),
                pair.public.full_name()
            );
            keys = Some(pair);
            (
                title,
                object.evidence("/spec/trustedHeadersKey/secretName"),
                "Write the public half of the wristband's key into the Secret of trustedHeadersKey.",
            )
        } else if let Some((log, record)) = log {
            (
                format!(
                    "the broker cannot read x-mcp-authorized: {}",
                    evidence::short(record.field("error"), 80)
                ),
                evidence::record(log, record),
                "Make the public key in trustedHeadersKey and the private key of the wristband one pair.",
            )
        } else if let Some((log, record)) = stranger {
            (
                format!(
                    "x-mcp-authorized names the server {}, which is not registered",
                    record.field("server")
                ),
                evidence::record(log, record),
                "Name servers NAMESPACE/NAME after their registrations where the roles are given.",
            )
        } else {
            continue;
        };
        let title =
            format!("Tool filtering of MCPGatewayExtension {} cannot work: {title}", object.full_name());
        let draft = findings.report(&TRUSTED_HEADERS, object, title, shown, remedy);
        if let Some(policy) = setter {
            draft.object(policy.object.reference());
        }
        if let Some(broker) = broker {
            draft.object(broker.reference());
        }
        if let Some(pair) = keys {
            draft.object(pair.private.reference()).evidence(pair.private.evidence("/metadata/name"));
            draft.object(pair.public.reference()).command(pair.repair());
        }
        draft.because_of(&["MG309"], object.reference());
        if let (Some((deployment, pointer)), None) = (&enforced, setter) {
            draft.command(remedy::patch(deployment, json!([{"op": "remove", "path": pointer}])));
        }
        draft.command(shell!(
            "oc -n {} get mcpgatewayextension {} -o jsonpath='{{.spec.trustedHeadersKey}}'",
            object.namespace(),
            object.name()
        ));
    }
}
