//! An `MCPGatewayExtension` as the controller judges it.

use super::SecretFault;
use crate::model::gateway_api::{Listener, NearMiss, status};
use crate::model::json::Value;
use crate::model::{Bundle, Missing, Object, kinds};

/// Which of the extension's Secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretUse {
    /// `spec.trustedHeadersKey.secretName`.
    TrustedHeaders,
    /// `spec.sessionStore.secretName`.
    SessionStore,
    /// `spec.caCertBundleRef.name`.
    CaBundle,
    /// The annotation `mcp.kuadrant.io/guardrails-ref`.
    Guardrails,
}

impl SecretUse {
    /// What it is for, in a sentence.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::TrustedHeaders => "trusted headers",
            Self::SessionStore => "session store",
            Self::CaBundle => "CA bundle",
            Self::Guardrails => "guardrails",
        }
    }

    /// The JSON pointer of the name in the extension.
    #[must_use]
    pub fn pointer(self) -> &'static str {
        match self {
            Self::TrustedHeaders => "/spec/trustedHeadersKey/secretName",
            Self::SessionStore => "/spec/sessionStore/secretName",
            Self::CaBundle => "/spec/caCertBundleRef/name",
            Self::Guardrails => "/metadata/annotations/mcp.kuadrant.io~1guardrails-ref",
        }
    }
}

/// Whether extensions of this version name a listener: those until 0.5.0 have a Gateway only, which the schema of the
/// installed kind tells.
#[must_use]
pub fn names_listeners(bundle: &Bundle, extension: &Object) -> bool {
    const TARGET: &str = "/schema/openAPIV3Schema/properties/spec/properties/targetRef/properties";
    let name = kinds::MCP_GATEWAY_EXTENSION.resource();
    let definition = bundle.get(&kinds::CUSTOM_RESOURCE_DEFINITION, "", &name);
    let versions = definition.map(|d| d.array("/spec/versions")).unwrap_or_default();
    let version =
        versions.iter().find(|v| v.get("name").and_then(Value::as_str) == Some(extension.version()));
    let fields = version.and_then(|v| v.pointer(TARGET)).and_then(Value::as_object);
    fields.is_none_or(|fields| fields.contains_key("sectionName"))
}

/// The route that the controller writes beside an extension.
pub const MANAGED_ROUTE: &str = "mcp-gateway-route";

/// The Service that the controller makes for the broker and router of an extension.
#[must_use]
pub fn broker_service<'a>(bundle: &'a Bundle, extension: &Object) -> Option<&'a Object> {
    bundle.get(&kinds::SERVICE, extension.namespace(), "mcp-gateway")
}

/// A step of the controller's evaluation that fails.
#[derive(Debug, Clone)]
pub enum ExtensionFault<'a> {
    /// An older extension of the same namespace.
    NamespaceConflict(&'a Object),
    /// `targetRef` names something that is no Gateway.
    TargetKind,
    /// `targetRef.namespace` is empty: the controller looks in no namespace at all.
    NamespaceEmpty,
    /// The Gateway does not exist.
    GatewayMissing,
    /// `sectionName` names no listener.
    ListenerMissing,
    /// The listener has no hostname, and `publicHost` is not set.
    NoHostname,
    /// `publicHost` is not a hostname, and why.
    PublicHost(String),
    /// The listener's `allowedRoutes` excludes the extension's namespace, and why.
    NotAllowed(String),
    /// No ReferenceGrant allows the reference; these come close.
    NoGrant(Vec<NearMiss<'a>>),
    /// An older extension owns the port of the Gateway.
    PortConflict(&'a Object, i64),
    /// A Secret that it needs.
    Secret(SecretUse, String, SecretFault<'a>),
    /// A Secret that it needs and the bundle does not have, and what the controller says of it.
    SecretSaid(SecretUse, String, &'a str),
    /// The bundle lacks what would show the fault, but the status tells it: its code, and the message.
    Said(&'static str, &'a str),
    /// The broker's Deployment is not ready (`None`: it does not exist).
    BrokerNotReady(Option<&'a Object>),
}

impl ExtensionFault<'_> {
    /// The finding code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Said(code, _) => code,
            Self::NamespaceEmpty | Self::GatewayMissing => "MG301",
            Self::TargetKind => "MG302",
            Self::NoGrant(_) => "MG303",
            Self::PortConflict(..) => "MG304",
            Self::NamespaceConflict(_) => "MG305",
            Self::ListenerMissing => "MG306",
            Self::NoHostname | Self::PublicHost(_) => "MG307",
            Self::NotAllowed(_) => "MG308",
            Self::Secret(..) | Self::SecretSaid(..) => "MG309",
            Self::BrokerNotReady(_) => "MG312",
        }
    }
}

/// An extension with its verdict.
#[derive(Debug, Clone)]
pub struct Extension<'a> {
    /// The object.
    pub object: &'a Object,
    /// The Gateway it targets, if the bundle has it.
    pub gateway: Option<&'a Object>,
    /// The listener it targets, if it exists.
    pub listener: Option<Listener<'a>>,
    /// The Gateway that it means: its target, or the one that comes closest to it.
    pub meant_gateway: Option<&'a Object>,
    /// The listener that it means: its target, or the one that comes closest to it.
    pub meant_listener: Option<Listener<'a>>,
    /// The failing steps in the controller's order; the first explains the status.
    pub faults: Vec<ExtensionFault<'a>>,
    /// Evidence that was missing, with the codes that stay undecided.
    pub unknown: Vec<(&'static str, Missing)>,
}

impl<'a> Extension<'a> {
    /// The namespace and name of the Gateway it targets, as written.
    #[must_use]
    pub fn target(&self) -> (&'a str, &'a str) {
        (self.object.str("/spec/targetRef/namespace"), self.object.str("/spec/targetRef/name"))
    }

    /// The first failing step, which explains the status.
    #[must_use]
    pub fn first(&self) -> Option<&ExtensionFault<'a>> {
        self.faults.first()
    }

    /// The host as the controller takes it from `publicHost`, less the port, or from the listener.
    #[must_use]
    pub fn stated_host(&self) -> Option<String> {
        match self.object.str("/spec/publicHost") {
            "" => self.public_host(),
            spec => match spec.split_once(':') {
                Some((host, port)) if !port.contains(':') => Some(host.to_owned()),
                _ => Some(spec.to_owned()),
            },
        }
    }

    /// The host that clients use: `publicHost` without port, else the listener's hostname, with
    /// `mcp.` for a wildcard. `None` when there is none.
    #[must_use]
    pub fn public_host(&self) -> Option<String> {
        let spec = self.object.str("/spec/publicHost");
        if !spec.is_empty() {
            // A URL or a path is refused, but says which host is meant.
            let host = spec.split_once("://").map_or(spec, |(_, rest)| rest);
            let host = host.split('/').next().unwrap_or(host);
            return Some(host.split(':').next().unwrap_or(host).to_owned());
        }
        let hostname = self.meant_listener?.hostname;
        match hostname.strip_prefix("*.") {
            Some(domain) => Some(format!("mcp.{domain}")),
            None => (!hostname.is_empty()).then(|| hostname.to_owned()),
        }
    }

    /// The condition that says whether it works: `Ready`, in older or foreign versions `Accepted`.
    #[must_use]
    pub fn ready(&self) -> Option<crate::model::object::Condition<'a>> {
        self.object.condition("Ready").or_else(|| self.object.condition("Accepted"))
    }

    /// The message with which the controller gives this reason for the extension as it is now.
    #[must_use]
    pub fn says(&self, reason: &str) -> Option<&'a str> {
        let condition = self.ready()?;
        let current = !status::is_stale(self.object, &condition);
        (condition.is_false() && condition.reason == reason && current).then_some(condition.message)
    }
}
