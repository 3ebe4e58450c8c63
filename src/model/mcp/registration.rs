//! An `MCPServerRegistration` as the controller judges it.

use super::SecretFault;
use crate::model::gateway_api::BackendRef;
use crate::model::{Missing, Object};

/// A step of the controller's evaluation that fails.
#[derive(Debug, Clone)]
pub enum RegistrationFault<'a> {
    /// The HTTPRoute does not exist in the registration's namespace.
    RouteMissing,
    /// No parent of the route has accepted it, or its Gateway is gone.
    NoGateway,
    /// No valid extension targets this Gateway; these target it but are not valid.
    NoExtension(&'a Object, Vec<usize>),
    /// Extensions target the Gateway, but not the port that the route is attached to, as the
    /// controller sees it.
    OtherListener(&'a Object, Vec<usize>),
    /// More than one rule or backendRef, no hostname, … and the controller's words for it.
    Shape(&'static str, String),
    /// The Service does not exist.
    ServiceMissing(BackendRef<'a>),
    /// The credential.
    Credential(SecretFault<'a>),
    /// The CA certificate.
    CaCertificate(SecretFault<'a>),
    /// An older registration of the same extension has this prefix.
    PrefixConflict(&'a Object),
}

/// A registration with its verdict.
#[derive(Debug, Clone)]
pub struct Registration<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its route, if the bundle has it; else the one that it means ([`crate::model::near::route`]).
    pub route: Option<&'a Object>,
    /// The failing steps in the controller's order; the first explains the status.
    pub faults: Vec<RegistrationFault<'a>>,
    /// Evidence that was missing, with the codes that stay undecided.
    pub unknown: Vec<(&'static str, Missing)>,
    /// What is still to be seen of the extension that would serve it, whose broker is being started.
    pub waits: Option<Missing>,
    /// The extensions (positions in [`super::Chain::extensions`]) that serve it, or would if they
    /// were valid.
    pub extensions: Vec<usize>,
}

impl<'a> Registration<'a> {
    /// The condition that says whether it works: `Ready`, in older or foreign versions `Accepted`.
    #[must_use]
    pub fn ready(&self) -> Option<crate::model::object::Condition<'a>> {
        self.object.condition("Ready").or_else(|| self.object.condition("Accepted"))
    }

    /// Whether it is switched off on purpose.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.object.str("/spec/state") == "Disabled"
    }

    /// The prefix of its tools: `prefix`, before 0.7 `toolPrefix`.
    #[must_use]
    pub fn prefix(&self) -> &'a str {
        match self.object.str("/spec/prefix") {
            "" => self.object.str("/spec/toolPrefix"),
            prefix => prefix,
        }
    }

    /// The JSON pointer of the prefix.
    #[must_use]
    pub fn prefix_pointer(&self) -> &'static str {
        if self.object.str("/spec/prefix").is_empty() && !self.object.str("/spec/toolPrefix").is_empty() {
            "/spec/toolPrefix"
        } else {
            "/spec/prefix"
        }
    }
}
