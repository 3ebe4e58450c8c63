//! Which listeners a route attaches to, and why not to the others.
//!
//! Per listener Istio checks the port, the section name, then hostname and namespace together, then
//! the kind. One accepting listener is enough; among failures the status shows only the one of
//! highest rank, so all are kept here.

use super::allowed::{self, Allowed};
use super::{ParentRef, hostname, parent_refs};
use crate::model::json::Value;
use crate::model::{Bundle, Missing, Object, Seen, kinds};

/// A listener of a Gateway.
#[derive(Debug, Clone, Copy)]
pub struct Listener<'a> {
    /// Its position in `spec.listeners`.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    /// Its port.
    pub port: i64,
    /// Its protocol.
    pub protocol: &'a str,
    /// Its hostname, empty for all.
    pub hostname: &'a str,
    /// The whole of it.
    pub value: &'a Value,
}

impl Listener<'_> {
    /// The JSON pointer of a field of this listener in the Gateway.
    #[must_use]
    pub fn pointer(&self, field: &str) -> String {
        format!("/spec/listeners/{}{field}", self.index)
    }

    /// Whether it has no TLS where its protocol needs it, in a Gateway that ListenerSets may join: it only keeps the
    /// Gateway valid, and no proxy listens for it.
    #[must_use]
    pub fn holds_a_place(&self, gateway: &Object) -> bool {
        let joined = gateway.str("/spec/allowedListeners/namespaces/from");
        matches!(self.protocol, "HTTPS" | "TLS")
            && self.value.get("tls").is_none()
            && !matches!(joined, "" | "None")
    }

    /// The hostname in a sentence.
    #[must_use]
    pub fn hostname_text(&self) -> &str {
        if self.hostname.is_empty() { "any host" } else { self.hostname }
    }
}

/// The listeners of a Gateway.
#[must_use]
pub fn listeners(gateway: &Object) -> Vec<Listener<'_>> {
    gateway
        .array("/spec/listeners")
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
            Listener {
                index,
                name: text("name"),
                port: value.get("port").and_then(Value::as_i64).unwrap_or_default(),
                protocol: text("protocol"),
                hostname: text("hostname"),
                value,
            }
        })
        .collect()
}

/// Why a listener does not take a route, in the order in which Istio checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The parentRef names another port.
    Port,
    /// The parentRef names another listener.
    Section,
    /// No hostname of the route meets the listener's.
    Hostname,
    /// The route's namespace is not allowed, and why.
    Namespace(String),
    /// The listener does not take this kind of route.
    Kind,
}

/// What one listener says to a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the route, on these hostnames (`*` for all).
    Accepts(Vec<String>),
    /// It does not.
    Refuses(Refusal),
    /// Evidence is missing.
    Unknown(Missing),
}

/// A parentRef with what became of it.
#[derive(Debug, Clone)]
pub struct Attachment<'a> {
    /// The parentRef.
    pub parent: ParentRef<'a>,
    /// The Gateway it names.
    pub gateway: Seen<'a>,
    /// What each listener of the Gateway says, in their order.
    pub listeners: Vec<(Listener<'a>, Verdict)>,
}

/// The verdict over all listeners of a parentRef.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// At least one listener takes the route.
    Accepted,
    /// The parent is no Gateway: not judged here.
    Foreign,
    /// The Gateway does not exist.
    NoGateway,
    /// No listener has the name or port that the parentRef wants (`NoMatchingParent`).
    NoListener,
    /// No hostname meets (`NoMatchingListenerHostname`).
    NoHostname,
    /// The namespace or the kind is not allowed (`NotAllowedByListeners`).
    NotAllowed,
    /// Evidence is missing.
    Unknown(Missing),
}

impl Attachment<'_> {
    /// The verdict over all listeners, ranked as Istio reports it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if !self.parent.is_gateway() {
            return Outcome::Foreign;
        }
        match &self.gateway {
            Seen::Found(_) => {}
            Seen::Absent => return Outcome::NoGateway,
            Seen::Unknown(missing) => return Outcome::Unknown(missing.clone()),
        }
        let mut outcome = Outcome::NoListener;
        let mut unknown = None;
        for (_, verdict) in &self.listeners {
            match verdict {
                Verdict::Accepts(_) => return Outcome::Accepted,
                Verdict::Unknown(missing) => unknown = unknown.or(Some(missing.clone())),
                Verdict::Refuses(Refusal::Namespace(_) | Refusal::Kind) => outcome = Outcome::NotAllowed,
                Verdict::Refuses(Refusal::Hostname) if outcome == Outcome::NoListener => {
                    outcome = Outcome::NoHostname;
                }
                Verdict::Refuses(_) => {}
            }
        }
        unknown.map_or(outcome, Outcome::Unknown)
    }
}

/// The hostnames of a route.
#[must_use]
pub fn hostnames(route: &Object) -> Vec<&str> {
    route.array("/spec/hostnames").iter().filter_map(Value::as_str).collect()
}

/// Judges every parentRef of a route.
#[must_use]
pub fn attachments<'a>(bundle: &'a Bundle, route: &'a Object) -> Vec<Attachment<'a>> {
    let hosts = hostnames(route);
    parent_refs(route)
        .into_iter()
        .map(|parent| {
            let gateway = if parent.is_gateway() {
                bundle.find(&kinds::GATEWAY, parent.namespace, parent.name)
            } else {
                Seen::Absent
            };
            let listeners = gateway.found().map_or_else(Vec::new, |gateway| {
                listeners(gateway)
                    .into_iter()
                    .map(|listener| {
                        let verdict = judge(bundle, gateway, &listener, &parent, route, &hosts);
                        (listener, verdict)
                    })
                    .collect()
            });
            Attachment { parent, gateway, listeners }
        })
        .collect()
}

fn judge(
    bundle: &Bundle,
    gateway: &Object,
    listener: &Listener<'_>,
    parent: &ParentRef<'_>,
    route: &Object,
    hosts: &[&str],
) -> Verdict {
    if parent.port.is_some_and(|port| port != listener.port) {
        return Verdict::Refuses(Refusal::Port);
    }
    if parent.section.is_some_and(|section| section != listener.name) {
        return Verdict::Refuses(Refusal::Section);
    }
    let effective = hostname::effective(listener.hostname, hosts);
    if effective.is_empty() {
        return Verdict::Refuses(Refusal::Hostname);
    }
    let kind = allowed::kind(listener, route.kind());
    match allowed::namespace(bundle, gateway, listener, route.namespace()) {
        Allowed::No(why) => Verdict::Refuses(Refusal::Namespace(why)),
        _ if !kind => Verdict::Refuses(Refusal::Kind),
        Allowed::Unknown(missing) => Verdict::Unknown(missing),
        Allowed::Yes => Verdict::Accepts(effective),
    }
}
