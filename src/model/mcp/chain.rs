//! The chain of a bundle, resolved once: registration → route → Gateway → extension.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::secret::Content;
use super::steps::{extensions, older};
use super::{Extension, ExtensionFault, Id, Registration, RegistrationFault, hostname, secret};
use crate::model::gateway_api::{
    self, Attachment, Grants, Listener, Outcome, attachments, backend_refs, hostnames, listeners,
    parent_refs, status,
};
use crate::model::workloads::Workloads;
use crate::model::{Bundle, Missing, Object, Seen, kinds, near};

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
    /// The extensions that mean a Gateway, whether or not they name it.
    meaning: HashMap<Id<'a>, Vec<usize>>,
    /// The registrations by name.
    registered: HashMap<Id<'a>, usize>,
    /// The registrations by prefix.
    by_prefix: HashMap<&'a str, Vec<usize>>,
    /// Of each extension the registrations that it serves or is meant by.
    served: Vec<Vec<usize>>,
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
        let mut meaning: HashMap<Id<'_>, Vec<usize>> = HashMap::new();
        for (at, extension) in extensions.iter().enumerate() {
            by_gateway.entry(extension.target()).or_default().push(at);
            if let Some(gateway) = extension.meant_gateway {
                meaning.entry((gateway.namespace(), gateway.name())).or_default().push(at);
            }
        }
        let mut chain = Self {
            extensions,
            registrations: Vec::new(),
            routes: BTreeMap::new(),
            gateways: by_gateway.keys().copied().filter(|(namespace, _)| !namespace.is_empty()).collect(),
            grants,
            by_gateway,
            meaning,
            registered: HashMap::new(),
            by_prefix: HashMap::new(),
            served: Vec::new(),
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
        chain.served = vec![Vec::new(); chain.extensions.len()];
        for (at, registration) in chain.registrations.iter().enumerate() {
            for extension in chain.meant_extensions(registration) {
                chain.served[extension].push(at);
            }
        }
        chain
    }

    /// The registration of this namespace and name.
    #[must_use]
    pub fn registration_of(&self, namespace: &str, name: &str) -> Option<&Registration<'a>> {
        self.registered.get(&(namespace, name)).map(|&at| &self.registrations[at])
    }

    /// The registrations with a prefix.
    pub fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &Registration<'a>> {
        self.by_prefix.get(prefix).into_iter().flatten().map(|&at| &self.registrations[at])
    }

    /// The registration of a server as the broker calls it: `NAMESPACE/NAME`.
    #[must_use]
    pub fn server(&self, full_name: &str) -> Option<&Registration<'a>> {
        let (namespace, name) = full_name.split_once('/')?;
        self.registration_of(namespace, name)
    }

    /// The registrations (positions) that mean an extension (a position), as [`Self::meant_extensions`] tells.
    pub fn served_by(&self, extension: usize) -> impl Iterator<Item = usize> + '_ {
        self.served[extension].iter().copied()
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
        let gateways = route.into_iter().flat_map(|r| &r.attachments).filter_map(|a| a.gateway.found());
        let meaning = gateways.filter_map(|g| self.meaning.get(&(g.namespace(), g.name()))).flatten();
        meaning.copied().collect::<BTreeSet<usize>>().into_iter().collect()
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
            self.registered.insert((object.namespace(), object.name()), at);
            self.by_prefix.entry(registration.prefix()).or_default().push(at);
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
