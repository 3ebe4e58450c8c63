//! The chain of a bundle, resolved once: registration → route → Gateway → extension.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::extension::SecretUse;
use super::secret::Content;
use super::{Extension, ExtensionFault, Registration, RegistrationFault, extension, hostname, secret};
use crate::model::gateway_api::{
    self, Attachment, Granted, Grants, Listener, Outcome, Reference, allowed, attachments, backend_refs,
    hostnames, listeners, parent_refs, status,
};
use crate::model::workloads::Workloads;
use crate::model::{Bundle, Missing, Object, Seen, kinds, near};
use crate::shell::shell;

/// Namespace and name.
pub type Id<'a> = (&'a str, &'a str);

/// A route of the chain with what becomes of its parentRefs.
#[derive(Debug, Clone)]
pub struct RouteFacts<'a> {
    /// The route.
    pub object: &'a Object,
    /// One verdict per parentRef.
    pub attachments: Vec<Attachment<'a>>,
    /// The registrations (positions in [`Chain::registrations`]) that target it.
    pub registrations: Vec<usize>,
}

impl RouteFacts<'_> {
    /// Whether every parentRef to a Gateway is accepted, from the specs.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.attachments.iter().any(|a| a.outcome() == Outcome::Accepted)
    }
}

/// The chain.
#[derive(Debug)]
pub struct Chain<'a> {
    /// The extensions, by namespace and name.
    pub extensions: Vec<Extension<'a>>,
    /// The registrations, by namespace and name.
    pub registrations: Vec<Registration<'a>>,
    /// The routes that matter here: targets of registrations, and all that are attached to a
    /// Gateway with an extension. Routes of others are left alone.
    pub routes: BTreeMap<Id<'a>, RouteFacts<'a>>,
    /// The Gateways that matter here, also those that are named and do not exist.
    pub gateways: BTreeSet<Id<'a>>,
    /// The ReferenceGrants.
    pub grants: Grants<'a>,
    by_gateway: HashMap<Id<'a>, Vec<usize>>,
    /// The routes with a parentRef to a Gateway that exists.
    routes_of: HashMap<Id<'a>, BTreeSet<Id<'a>>>,
}

impl<'a> Chain<'a> {
    /// Resolves the chain; the cost grows with the objects, not with their products.
    #[must_use]
    pub fn new(workloads: &Workloads<'a>) -> Self {
        let bundle = workloads.bundle();
        let grants = Grants::new(bundle);
        let extensions = extensions(bundle, workloads, &grants);
        let mut by_gateway: HashMap<Id<'_>, Vec<usize>> = HashMap::new();
        for (at, extension) in extensions.iter().enumerate() {
            by_gateway.entry(extension.target()).or_default().push(at);
        }
        let mut chain = Self {
            extensions,
            registrations: Vec::new(),
            routes: BTreeMap::new(),
            gateways: by_gateway.keys().copied().filter(|(namespace, _)| !namespace.is_empty()).collect(),
            grants,
            by_gateway,
            routes_of: HashMap::new(),
        };
        chain.routes(bundle);
        for (id, facts) in &chain.routes {
            for gateway in facts.attachments.iter().filter_map(|a| a.gateway.found()) {
                chain.routes_of.entry((gateway.namespace(), gateway.name())).or_default().insert(*id);
            }
        }
        chain.registrations(bundle);
        chain.prefix_conflicts();
        chain
    }

    /// The extensions (positions) that target a Gateway.
    #[must_use]
    pub fn extensions_of(&self, gateway: Id<'a>) -> &[usize] {
        self.by_gateway.get(&gateway).map_or(&[], Vec::as_slice)
    }

    /// The extensions (positions) whose brokers serve a registration; while none does, those that mean a
    /// Gateway of its route.
    #[must_use]
    pub fn meant_extensions(&self, registration: &Registration<'a>) -> Vec<usize> {
        if !registration.extensions.is_empty() {
            return registration.extensions.clone();
        }
        let route = registration.route.and_then(|route| self.route(route.namespace(), route.name()));
        let gateways: Vec<&Object> =
            route.into_iter().flat_map(|r| &r.attachments).filter_map(|a| a.gateway.found()).collect();
        let means = |extension: &Extension<'_>| {
            extension.meant_gateway.is_some_and(|meant| gateways.iter().any(|g| std::ptr::eq(*g, meant)))
        };
        (0..self.extensions.len()).filter(|&at| means(&self.extensions[at])).collect()
    }

    /// The routes with a parentRef to this Gateway, whether or not it takes them.
    pub fn routes_of(&self, gateway: &'a Object) -> impl Iterator<Item = &RouteFacts<'a>> {
        let ids = self.routes_of.get(&(gateway.namespace(), gateway.name()));
        ids.into_iter().flatten().filter_map(|id| self.routes.get(id))
    }

    /// The facts of a route of the chain.
    #[must_use]
    pub fn route(&self, namespace: &'a str, name: &'a str) -> Option<&RouteFacts<'a>> {
        self.routes.get(&(namespace, name))
    }

    fn routes(&mut self, bundle: &'a Bundle) {
        let targets: BTreeSet<Id<'_>> = bundle
            .list(&kinds::MCP_SERVER_REGISTRATION)
            .flat_map(|registration| {
                let named = (registration.namespace(), registration.str("/spec/targetRef/name"));
                let meant = near::route(bundle, registration);
                [Some(named), meant.map(|route| (route.namespace(), route.name()))].into_iter().flatten()
            })
            .collect();
        let meant: BTreeSet<Id<'_>> = self
            .extensions
            .iter()
            .filter_map(|e| e.meant_gateway)
            .map(|g| (g.namespace(), g.name()))
            .collect();
        for route in bundle.list(&kinds::HTTP_ROUTE) {
            let id = (route.namespace(), route.name());
            let targeted = targets.contains(&id);
            let parents = parent_refs(route);
            let ours = |id: Id<'a>| self.by_gateway.contains_key(&id) || meant.contains(&id);
            let attached = parents.iter().any(|p| p.is_gateway() && ours((p.namespace, p.name)));
            if !targeted && !attached {
                continue;
            }
            if targeted {
                let named = parents.iter().filter(|p| p.is_gateway());
                self.gateways.extend(named.map(|p| (p.namespace, p.name)));
            }
            let facts = RouteFacts {
                object: route,
                attachments: attachments(bundle, route),
                registrations: Vec::new(),
            };
            self.routes.insert(id, facts);
        }
    }

    fn registrations(&mut self, bundle: &'a Bundle) {
        for object in bundle.list(&kinds::MCP_SERVER_REGISTRATION) {
            let registration = self.registration(bundle, object);
            let at = self.registrations.len();
            let route = registration.route.map(|route| (route.namespace(), route.name()));
            if let Some(route) = route.and_then(|id| self.routes.get_mut(&id)) {
                route.registrations.push(at);
            }
            self.registrations.push(registration);
        }
    }

    fn registration(&self, bundle: &'a Bundle, object: &'a Object) -> Registration<'a> {
        let mut verdict = Registration {
            object,
            route: None,
            faults: Vec::new(),
            unknown: Vec::new(),
            waits: None,
            extensions: Vec::new(),
        };
        if object.is_deleting() {
            // It is on its way out: what it refers to may be gone already.
            return verdict;
        }
        let namespace = object.namespace();
        match bundle.find(&kinds::HTTP_ROUTE, namespace, object.str("/spec/targetRef/name")) {
            Seen::Found(route) => verdict.route = Some(route),
            Seen::Absent => {
                // What is wrong beyond the wrong name is found too, as hidden behind it.
                verdict.route = near::route(bundle, object);
                verdict.faults.push(RegistrationFault::RouteMissing);
            }
            Seen::Unknown(missing) => verdict.unknown.push(("MG401", missing)),
        }
        if let Some(route) = verdict.route {
            self.gateways_of(bundle, route, &mut verdict);
            backend(bundle, route, &mut verdict);
        }
        let credential = object.str("/spec/credentialRef/name");
        if !credential.is_empty() {
            match secret::check(
                bundle,
                namespace,
                credential,
                true,
                Some((credential_key(object), Content::Any)),
            ) {
                Ok(faults) => {
                    verdict.faults.extend(faults.into_iter().map(RegistrationFault::Credential));
                }
                Err(missing) => verdict.unknown.push(("MG601", missing)),
            }
        }
        let ca = object.str("/spec/caCertSecretRef/name");
        if !ca.is_empty() {
            let key = match object.str("/spec/caCertSecretRef/key") {
                "" => "ca.crt",
                key => key,
            };
            // The limit is the controller's.
            match secret::check(bundle, namespace, ca, true, Some((key, Content::Authorities(65_536)))) {
                Ok(faults) => {
                    verdict.faults.extend(faults.into_iter().map(RegistrationFault::CaCertificate));
                }
                Err(missing) => verdict.unknown.push(("MG403", missing)),
            }
        }
        verdict
    }

    /// The steps about Gateways and extensions: a parent has accepted, a valid extension targets
    /// it, the route is attached to the extension's port.
    fn gateways_of(&self, bundle: &'a Bundle, route: &'a Object, verdict: &mut Registration<'a>) {
        let Some(facts) = self.routes.get(&(route.namespace(), route.name())) else { return };
        let has_accepted = |attachment: &&Attachment<'_>| {
            attachment.gateway.found().is_some()
                && (status::of_parent(route, &attachment.parent)
                    .any(|s| s.condition("Accepted").is_some_and(|c| c.is_true()))
                    || (route.is_manifest() && attachment.outcome() == Outcome::Accepted))
        };
        let accepted = facts.attachments.iter().any(|a| has_accepted(&a));
        let unseen = facts.attachments.iter().find_map(|attachment| match &attachment.gateway {
            Seen::Unknown(missing) => Some(missing.clone()),
            Seen::Found(_) if route.is_manifest() => match attachment.outcome() {
                Outcome::Unknown(missing) => Some(missing),
                _ => None,
            },
            Seen::Found(_) | Seen::Absent => None,
        });
        match unseen {
            _ if accepted => {}
            // The Gateway that has accepted the route may be among those that the bundle lacks.
            Some(missing) => verdict.unknown.push(("MG403", missing)),
            None => verdict.faults.push(RegistrationFault::NoGateway),
        }
        let hosts = hostnames(route);
        let mut seen = BTreeSet::new();
        let mut serving = BTreeSet::new();
        let mut mismatch = None;
        let mut none = None;
        // The controller goes on with the Gateways that have accepted the route; while none has, with those it names.
        for attachment in facts.attachments.iter().filter(|a| !accepted || has_accepted(a)) {
            let Some(gateway) = attachment.gateway.found() else { continue };
            let all = self.extensions_of((gateway.namespace(), gateway.name()));
            let parents =
                facts.attachments.iter().map(|a| &a.parent).filter(|p| {
                    p.is_gateway() && (p.namespace, p.name) == (gateway.namespace(), gateway.name())
                });
            let parents: Vec<_> = parents.collect();
            if !seen.insert((gateway.namespace(), gateway.name())) {
                continue;
            }
            let listeners: Vec<Listener<'_>> = listeners(gateway);
            let attached: Vec<usize> = all
                .iter()
                .copied()
                .filter(|&at| {
                    // An old version has the Gateway as a whole.
                    let whole = || self.extensions[at].unknown.iter().any(|(code, _)| *code == "MG306");
                    self.extensions[at].listener.map_or_else(whole, |l| {
                        parents.iter().any(|p| hostname::attaches(p, &hosts, &listeners, l.port))
                    })
                })
                .collect();
            serving.extend(attached.iter().copied());
            let valid: Vec<usize> =
                all.iter().copied().filter(|&at| is_valid(&self.extensions[at], gateway)).collect();
            let collected = bundle.collected(&kinds::MCP_GATEWAY_EXTENSION, None);
            if let (true, Err(missing)) = (all.is_empty(), collected) {
                // The extension may be among those that the bundle lacks.
                verdict.unknown.push(("MG311", missing));
            } else if let (true, Some(missing)) = (valid.is_empty(), self.settling(all)) {
                verdict.unknown.push(("MG311", missing.clone()));
                verdict.waits = Some(missing);
            } else if valid.is_empty() {
                // The extension that would serve the route if it were valid is the one to repair.
                let broken = if attached.is_empty() { all.to_vec() } else { attached };
                none = none.or(Some(RegistrationFault::NoExtension(gateway, broken)));
            } else if !valid.iter().any(|at| attached.contains(at)) {
                mismatch = mismatch.or(Some(RegistrationFault::OtherListener(gateway, valid)));
            }
        }
        let served = serving.iter().any(|&at| {
            let extension = &self.extensions[at];
            extension.gateway.is_some_and(|g| is_valid(extension, g))
        });
        // The first Gateway without extension aborts the controller's loop over them.
        match (none, mismatch) {
            (Some(none), _) => verdict.faults.push(none),
            (None, Some(mismatch)) if !served => verdict.faults.push(mismatch),
            _ => {}
        }
        verdict.extensions = serving.into_iter().collect();
    }

    /// What is still to be seen of the first of these extensions that is in order but for its broker's start, or for
    /// what the bundle lacks where no status tells the rest.
    fn settling(&self, extensions: &[usize]) -> Option<Missing> {
        let all = extensions.iter().map(|&at| &self.extensions[at]).filter(|e| e.faults.is_empty());
        let mut unknown = all.flat_map(|e| e.unknown.iter().map(|unknown| (e.object.is_manifest(), unknown)));
        unknown
            .find(|(manifest, (code, _))| *manifest || matches!(*code, "MG310" | "MG312"))
            .map(|(_, (_, missing))| missing.clone())
    }

    /// Two registrations of one extension with the same prefix: the older wins, then the lower UID.
    fn prefix_conflicts(&mut self) {
        let mut groups: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
        for (at, registration) in self.registrations.iter().enumerate() {
            if registration.prefix().is_empty() || registration.object.is_deleting() {
                continue;
            }
            for &extension in &registration.extensions {
                groups.entry((extension, registration.prefix())).or_default().push(at);
            }
        }
        let mut losers: BTreeMap<usize, &'a Object> = BTreeMap::new();
        for members in groups.values().filter(|members| members.len() > 1) {
            let objects: Vec<&Object> = members.iter().map(|&at| self.registrations[at].object).collect();
            let Some(winner) = objects.iter().copied().min_by(|a, b| older(a, b)) else { continue };
            for &at in members {
                if !std::ptr::eq(self.registrations[at].object, winner) {
                    losers.entry(at).or_insert(winner);
                }
            }
        }
        for (at, winner) in losers {
            let registration = &mut self.registrations[at];
            // Controllers that look for conflicts do so once they know the extensions and before they
            // look at the route's shape. Those up to 0.9 never do, and then another step explains
            // the status.
            let looks = registration.ready().is_none_or(|c| c.is_true() || c.reason == "PrefixConflict");
            let shape = registration.faults.iter().position(|fault| {
                !matches!(
                    fault,
                    RegistrationFault::RouteMissing
                        | RegistrationFault::NoGateway
                        | RegistrationFault::NoExtension(..)
                        | RegistrationFault::OtherListener(..)
                )
            });
            let position = shape.filter(|_| looks).unwrap_or(registration.faults.len());
            registration.faults.insert(position, RegistrationFault::PrefixConflict(winner));
        }
    }
}

/// The key of a credential, `token` unless the registration names another.
#[must_use]
pub fn credential_key(registration: &Object) -> &str {
    match registration.str("/spec/credentialRef/key") {
        "" => "token",
        key => key,
    }
}

/// The order of winners: oldest first, then the lower UID, then the name.
fn older(a: &Object, b: &Object) -> std::cmp::Ordering {
    let key = |o: &Object| (o.created().is_none(), o.created());
    key(a).cmp(&key(b)).then_with(|| a.uid().cmp(b.uid())).then_with(|| a.full_name().cmp(&b.full_name()))
}

/// Whether the controller counts an extension as valid for a Gateway when it looks from a
/// registration: in the Gateway's namespace always, elsewhere with a grant and `Ready=True`.
fn is_valid(extension: &Extension<'_>, gateway: &Object) -> bool {
    if extension.object.is_deleting() {
        return false;
    }
    if extension.object.namespace() == gateway.namespace() {
        return true;
    }
    if extension.object.is_manifest() {
        // Nobody has judged it yet: it is valid if its steps say so.
        return extension.faults.is_empty() && extension.unknown.is_empty();
    }
    !extension.faults.iter().any(|f| matches!(f, ExtensionFault::NoGrant(_)))
        && extension.ready().is_some_and(|c| c.is_true())
}

/// The steps about the route's shape and its backend.
fn backend<'a>(bundle: &'a Bundle, route: &'a Object, verdict: &mut Registration<'a>) {
    let name = route.full_name();
    let rules = route.array("/spec/rules");
    let backends = backend_refs(route);
    let shape = if backends.first().is_none_or(|first| first.rule > 0) {
        Some(("/spec/rules", format!("HTTPRoute {name} has no backend references")))
    } else if rules.len() > 1 {
        Some(("/spec/rules", format!("HTTPRoute {name} has > 1 rule, which is unsupported")))
    } else if backends.len() > 1 {
        Some((
            "/spec/rules/0/backendRefs",
            format!("HTTPRoute {name} has > 1 backend reference, which is unsupported"),
        ))
    } else if hostnames(route).is_empty() {
        Some(("/spec/hostnames", format!("HTTPRoute {name} must have at least one hostname")))
    } else if !backends[0].is_service() && !backends[0].is_hostname() {
        Some((
            "/spec/rules/0/backendRefs/0/kind",
            format!("unsupported backend reference kind: {}", backends[0].kind),
        ))
    } else {
        None
    };
    if let Some((pointer, words)) = shape {
        verdict.faults.push(RegistrationFault::Shape(pointer, words));
    }
    for backend in backends.into_iter().filter(gateway_api::BackendRef::is_service) {
        match bundle.find(&kinds::SERVICE, backend.namespace, backend.name) {
            Seen::Found(_) => {}
            Seen::Absent => verdict.faults.push(RegistrationFault::ServiceMissing(backend)),
            Seen::Unknown(missing) => verdict.unknown.push(("MG406", missing)),
        }
    }
}

/// Judges all extensions.
fn extensions<'a>(bundle: &'a Bundle, workloads: &Workloads<'a>, grants: &Grants<'a>) -> Vec<Extension<'a>> {
    let objects: Vec<&Object> = bundle.list(&kinds::MCP_GATEWAY_EXTENSION).collect();
    let mut oldest_here: HashMap<&str, &Object> = HashMap::new();
    let mut oldest_on_port: HashMap<(Id<'_>, i64), &Object> = HashMap::new();
    let mut found: Vec<Extension<'_>> =
        objects.into_iter().map(|object| judge(bundle, grants, object)).collect();
    for extension in found.iter().filter(|e| !e.object.is_deleting()) {
        let object = extension.object;
        let oldest = oldest_here.entry(object.namespace()).or_insert(object);
        if older(object, oldest).is_lt() {
            *oldest = object;
        }
        if let Some(listener) = extension.listener {
            let oldest = oldest_on_port.entry((extension.target(), listener.port)).or_insert(object);
            if older(object, oldest).is_lt() {
                *oldest = object;
            }
        }
    }
    for extension in found.iter_mut().filter(|e| !e.object.is_deleting()) {
        let object = extension.object;
        if let Some(winner) =
            oldest_here.get(object.namespace()).filter(|winner| !std::ptr::eq(**winner, object))
        {
            extension.faults.insert(0, ExtensionFault::NamespaceConflict(winner));
        }
        let port = extension.listener.map(|l| l.port);
        let winner = port.and_then(|port| oldest_on_port.get(&(extension.target(), port)));
        if let (Some(winner), Some(port)) = (winner.filter(|winner| !std::ptr::eq(**winner, object)), port) {
            let after_target = extension
                .faults
                .iter()
                .position(|f| matches!(f, ExtensionFault::Secret(..) | ExtensionFault::BrokerNotReady(_)))
                .unwrap_or(extension.faults.len());
            extension.faults.insert(after_target, ExtensionFault::PortConflict(winner, port));
        }
        broker(bundle, workloads, extension);
        if extension.faults.is_empty() && !extension.unknown.is_empty() {
            extension.faults.extend(said_fault(bundle, workloads, extension));
        }
    }
    found
}

/// What the status says of an extension whose specs the bundle cannot judge.
fn said_fault<'a>(
    bundle: &'a Bundle,
    workloads: &Workloads<'a>,
    extension: &Extension<'a>,
) -> Option<ExtensionFault<'a>> {
    if is_within(bundle, time_of(extension.object, "Ready", "lastTransitionTime"), 60) {
        return None;
    }
    let invalid =
        |part: &str| extension.says("InvalidMCPGatewayExtension").filter(|message| message.contains(part));
    // What the bundle has of the broker is judged by itself.
    let broker = || workloads.broker_deployment(extension.object.namespace()).is_none();
    let (code, message) = None
        .or_else(|| extension.says("ReferenceGrantRequired").map(|message| ("MG303", message)))
        .or_else(|| {
            extension.says("DeploymentNotReady").filter(|_| broker()).map(|message| ("MG312", message))
        })
        .or_else(|| invalid("invalid: gateway target").map(|message| ("MG301", message)))
        .or_else(|| invalid("not found on gateway").map(|message| ("MG306", message)))
        .or_else(|| invalid("does not allow routes").map(|message| ("MG308", message)))?;
    Some(ExtensionFault::Said(code, message))
}

/// The steps of one extension but the conflicts with others and the broker.
fn judge<'a>(bundle: &'a Bundle, grants: &Grants<'a>, object: &'a Object) -> Extension<'a> {
    let mut verdict = Extension {
        object,
        gateway: None,
        listener: None,
        meant_gateway: near::gateway(bundle, object),
        meant_listener: None,
        faults: Vec::new(),
        unknown: Vec::new(),
    };
    target(bundle, grants, &mut verdict);
    verdict.meant_listener = verdict.listener.or_else(|| meant_listener(&verdict));
    secrets(bundle, &mut verdict);
    if object.is_deleting() {
        // It is on its way out: what it refers to may be gone already.
        verdict.faults.clear();
    }
    verdict
}

/// The listener of the meant Gateway that has the wanted name, or comes closest to it.
fn meant_listener<'a>(verdict: &Extension<'a>) -> Option<Listener<'a>> {
    let section = verdict.object.str("/spec/targetRef/sectionName");
    let listeners = listeners(verdict.meant_gateway?);
    let same = listeners.iter().find(|l| l.name == section).copied();
    same.or_else(|| near::closest(section, listeners.iter().map(|l| (l.name, *l))))
}

/// The last step: the broker's Deployment. It is only made once the steps before have passed.
fn broker<'a>(bundle: &'a Bundle, workloads: &Workloads<'a>, verdict: &mut Extension<'a>) {
    let namespace = verdict.object.namespace();
    if verdict.object.is_deleting()
        || verdict.object.is_manifest()
        || verdict.faults.iter().any(|f| matches!(f, ExtensionFault::NamespaceConflict(_)))
    {
        // The Deployment of this namespace is the winner's, goes with its extension, or is yet to come.
        return;
    }
    match workloads.broker_deployment(namespace) {
        Some(deployment) => {
            let ready = deployment.int("/status/readyReplicas").unwrap_or(0);
            let wanted = deployment.int("/status/replicas").unwrap_or(0);
            let starts = ready == 0 && is_within(bundle, deployment.created(), 60);
            if starts || (ready > 0 && ready != wanted && is_rolling(bundle, deployment)) {
                // The controller waits for the end of it, requests do not.
                let what = format!("the end of the rollout of Deployment {}", deployment.full_name());
                let how = shell!("oc -n {} rollout status deployment/{}", namespace, deployment.name());
                verdict.unknown.push(("MG312", Missing { what, how }));
            } else if ready == 0 || ready != wanted {
                verdict.faults.push(ExtensionFault::BrokerNotReady(Some(deployment)));
            } else if is_behind(bundle, verdict, deployment) {
                let what = format!(
                    "the status of MCPGatewayExtension {}, whose broker has just become ready",
                    verdict.object.full_name()
                );
                let how = shell!("oc -n {} get mcpgatewayextension {}", namespace, verdict.object.name());
                verdict.unknown.push(("MG310", Missing { what, how }));
            }
        }
        None if verdict.faults.is_empty() && verdict.unknown.is_empty() => {
            match bundle.collected(&kinds::DEPLOYMENT, Some(namespace)) {
                Ok(()) => verdict.faults.push(ExtensionFault::BrokerNotReady(None)),
                Err(missing) => verdict.unknown.push(("MG312", missing)),
            }
        }
        None => {}
    }
}

/// Whether a time lies within so many seconds before the collection.
fn is_within(bundle: &Bundle, time: Option<DateTime<Utc>>, seconds: i64) -> bool {
    time.zip(bundle.meta.collected_at).is_some_and(|(time, now)| (now - time).num_seconds() < seconds)
}

/// A time of a condition.
fn time_of(object: &Object, kind: &str, field: &str) -> Option<DateTime<Utc>> {
    let index = object.condition(kind)?.index;
    object.time(&format!("/status/conditions/{index}/{field}"))
}

/// Whether a Deployment's rollout went on within two minutes before the collection.
fn is_rolling(bundle: &Bundle, deployment: &Object) -> bool {
    is_within(bundle, time_of(deployment, "Progressing", "lastUpdateTime"), 120)
}

/// Whether an extension still waits for its broker, which became ready within the minute before the collection: the
/// controller looks again every few seconds.
fn is_behind(bundle: &Bundle, extension: &Extension<'_>, deployment: &Object) -> bool {
    let waits = extension.ready().is_some_and(|c| c.is_false() && c.reason == "DeploymentNotReady");
    let changes = [
        time_of(extension.object, "Ready", "lastTransitionTime"),
        time_of(deployment, "Available", "lastTransitionTime"),
        time_of(deployment, "Progressing", "lastUpdateTime"),
    ];
    waits && extension.faults.is_empty() && changes.into_iter().any(|time| is_within(bundle, time, 60))
}

fn target<'a>(bundle: &'a Bundle, grants: &Grants<'a>, verdict: &mut Extension<'a>) {
    let object = verdict.object;
    let text = |pointer: &str| object.str(pointer);
    let (group, kind) = (text("/spec/targetRef/group"), text("/spec/targetRef/kind"));
    if !(group.is_empty() || group == gateway_api::GROUP) || !(kind.is_empty() || kind == "Gateway") {
        verdict.faults.push(ExtensionFault::TargetKind);
        return;
    }
    let (namespace, name) = verdict.target();
    if namespace.is_empty() {
        verdict.faults.push(ExtensionFault::NamespaceEmpty);
        return;
    }
    let gateway = match bundle.find(&kinds::GATEWAY, namespace, name) {
        Seen::Found(gateway) => gateway,
        Seen::Absent => {
            verdict.faults.push(ExtensionFault::GatewayMissing);
            return;
        }
        Seen::Unknown(missing) => {
            verdict.unknown.push(("MG301", missing));
            return;
        }
    };
    verdict.gateway = Some(gateway);
    let section = text("/spec/targetRef/sectionName");
    verdict.listener = listeners(gateway).into_iter().find(|l| l.name == section);
    match verdict.listener {
        Some(listener) => on_listener(bundle, gateway, &listener, verdict),
        None if section.is_empty() && !extension::names_listeners(bundle, object) => {
            verdict.unknown.push((
                "MG306",
                Missing {
                    what: format!(
                        "the listener of MCPGatewayExtension {}: this version of the MCP gateway names none",
                        object.full_name()
                    ),
                    how: "upgrade the MCP gateway to 0.6 or newer".into(),
                },
            ));
        }
        None => verdict.faults.push(ExtensionFault::ListenerMissing),
    }
    if object.namespace() != namespace {
        let reference = Reference {
            from_group: super::GROUP,
            from_kind: "MCPGatewayExtension",
            from_namespace: object.namespace(),
            to_group: gateway_api::GROUP,
            to_kind: "Gateway",
            to_namespace: namespace,
            to_name: name,
        };
        match grants.check(bundle, &reference) {
            Granted::Yes(..) => {}
            Granted::No(near) => verdict.faults.push(ExtensionFault::NoGrant(near)),
            // A must-gather has no list of a kind of which the cluster has no object: the controller's word counts.
            Granted::Unknown(_) if verdict.says("ReferenceGrantRequired").is_some() => {
                verdict.faults.push(ExtensionFault::NoGrant(Vec::new()));
            }
            Granted::Unknown(missing) => verdict.unknown.push(("MG303", missing)),
        }
    }
}

/// What the controller says of a Secret that the extension names.
fn said<'a>(extension: &Extension<'a>, name: &str) -> Option<&'a str> {
    ["SecretNotFound", "SecretInvalid", "GuardrailsSecretNotFound"]
        .into_iter()
        .find_map(|reason| extension.says(reason))
        .filter(|message| message.split_whitespace().any(|word| word == name))
}

fn on_listener<'a>(
    bundle: &'a Bundle,
    gateway: &'a Object,
    listener: &Listener<'a>,
    verdict: &mut Extension<'a>,
) {
    let object = verdict.object;
    let public = object.str("/spec/publicHost");
    if public.is_empty() && listener.hostname.is_empty() {
        verdict.faults.push(ExtensionFault::NoHostname);
    } else if public.contains("://") {
        verdict.faults.push(ExtensionFault::PublicHost("it is a URL; a hostname is wanted".to_owned()));
    } else if let Some(why) = verdict.stated_host().as_deref().and_then(hostname::fault) {
        verdict.faults.push(ExtensionFault::PublicHost(why));
    }
    match allowed::namespace(bundle, gateway, listener, object.namespace()) {
        // Istio takes all then, the controller none.
        allowed::Allowed::Yes if allowed::lacks_selector(listener) => {
            verdict.faults.push(ExtensionFault::NotAllowed(
                "from: Selector stands there without a selector".to_owned(),
            ));
        }
        allowed::Allowed::Yes => {}
        allowed::Allowed::No(why) => verdict.faults.push(ExtensionFault::NotAllowed(why)),
        allowed::Allowed::Unknown(missing) => verdict.unknown.push(("MG308", missing)),
    }
}

fn secrets<'a>(bundle: &'a Bundle, verdict: &mut Extension<'a>) {
    let object = verdict.object;
    let generated = object.str("/spec/trustedHeadersKey/generate") == "Enabled";
    let ca_key = match object.str("/spec/caCertBundleRef/key") {
        "" => "ca.crt",
        key => key,
    };
    for (usage, labelled, key) in [
        (SecretUse::TrustedHeaders, false, Some(("key", Content::Any))),
        (SecretUse::SessionStore, true, Some(("CACHE_CONNECTION_STRING", Content::Filled))),
        // The limit is the controller's.
        (SecretUse::CaBundle, true, Some((ca_key, Content::Authorities(262_144)))),
        (SecretUse::Guardrails, true, None),
    ] {
        let name = object.str(usage.pointer());
        if name.is_empty() || (usage == SecretUse::TrustedHeaders && generated) {
            continue;
        }
        match secret::check(bundle, object.namespace(), name, labelled, key) {
            Ok(faults) => verdict
                .faults
                .extend(faults.into_iter().map(|f| ExtensionFault::Secret(usage, name.to_owned(), f))),
            Err(missing) => match said(verdict, name) {
                Some(message) => {
                    verdict.faults.push(ExtensionFault::SecretSaid(usage, name.to_owned(), message));
                }
                None => verdict.unknown.push(("MG309", missing)),
            },
        }
    }
}
