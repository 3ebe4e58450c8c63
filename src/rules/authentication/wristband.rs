//! The key pair of trusted headers: Authorino signs a wristband with the private half, the broker verifies it with
//! the public half. Source: "Festival Wristbands" of Authorino's documentation; the keys of a Secret tell their
//! fingerprints through redaction, see [`crate::model::public_key`].

use std::collections::BTreeSet;

use crate::model::json::Value;
use crate::model::kuadrant::Policy;
use crate::model::{Object, kinds, secret_shape};
use crate::rules::Context;

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
    pub(super) fn repair(&self) -> String {
        let entry = self.private_entry.replace('.', "\\.");
        format!(
            "oc -n {} get secret {} -o jsonpath='{{.data.{entry}}}' | base64 -d | openssl pkey -pubout | \
             oc -n {} create secret generic {} --from-file={ENTRY}=/dev/stdin --dry-run=client -o yaml | oc apply -f -",
            self.private.namespace(),
            self.private.name(),
            self.public.namespace(),
            self.public.name()
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
