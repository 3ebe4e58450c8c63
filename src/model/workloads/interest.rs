//! Which workloads must run for the MCP gateway to work, and as what.
//!
//! Found from the objects: the controller, the broker of each extension, the proxies of the
//! Gateways that extensions or registered routes use, istiod, Kuadrant's parts where policies are
//! used, and the servers behind registered routes. Everything else in a bundle is none of our
//! business, however broken it is.

use std::collections::{BTreeSet, HashMap};

use super::{Component, Workloads, selector};
use crate::model::json::Value;
use crate::model::{Object, kinds, near};
use crate::report::ObjectRef;

/// What a workload does for the MCP gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A part of the platform.
    Component(Component),
    /// The proxy of this Gateway (namespace, name).
    Gateway(String, String),
    /// The MCP server behind this Service (namespace, name).
    Backend(String, String),
}

impl Role {
    /// The role in a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Component(component) => component.name().to_owned(),
            Self::Gateway(namespace, name) => format!("proxy of Gateway {namespace}/{name}"),
            Self::Backend(namespace, name) => format!("MCP server behind Service {namespace}/{name}"),
        }
    }
}

/// One workload that must run.
#[derive(Debug, Clone)]
pub struct Interest<'a> {
    /// What it does.
    pub role: Role,
    /// The Deployment, StatefulSet, … or the pod itself when nothing owns it.
    pub owner: ObjectRef,
    /// The owner's object, if the bundle has it.
    pub object: Option<&'a Object>,
    /// Its pods, whatever their state.
    pub pods: Vec<&'a Object>,
}

/// The Gateways that extensions target or that registered routes name as parents.
#[must_use]
pub fn gateways<'a>(workloads: &Workloads<'a>) -> Vec<&'a Object> {
    let bundle = workloads.bundle();
    let mut names: BTreeSet<(&str, &str)> = BTreeSet::new();
    for extension in bundle.list(&kinds::MCP_GATEWAY_EXTENSION) {
        if let Some(gateway) = near::gateway(bundle, extension) {
            names.insert((gateway.namespace(), gateway.name()));
        }
    }
    for route in registered_routes(workloads) {
        for parent in route.array("/spec/parentRefs") {
            let field = |key: &str| parent.get(key).and_then(Value::as_str);
            if field("kind").unwrap_or("Gateway") == "Gateway" {
                names.insert((
                    field("namespace").unwrap_or_else(|| route.namespace()),
                    field("name").unwrap_or_default(),
                ));
            }
        }
    }
    names.into_iter().filter_map(|(namespace, name)| bundle.get(&kinds::GATEWAY, namespace, name)).collect()
}

/// The HTTPRoutes that enabled registrations target. The controller looks only into the registration's
/// own namespace, but a route elsewhere is meant all the same.
#[must_use]
pub fn registered_routes<'a>(workloads: &Workloads<'a>) -> Vec<&'a Object> {
    let bundle = workloads.bundle();
    let mut names: BTreeSet<(&str, &str)> = BTreeSet::new();
    let enabled = |registration: &&Object| registration.str("/spec/state") != "Disabled";
    for registration in bundle.list(&kinds::MCP_SERVER_REGISTRATION).filter(enabled) {
        let name = registration.str("/spec/targetRef/name");
        names.insert((registration.namespace(), name));
        if let Some(meant) = near::route(bundle, registration) {
            names.insert((meant.namespace(), meant.name()));
        }
        let namespace = registration.str("/spec/targetRef/namespace");
        if !namespace.is_empty() {
            names.insert((namespace, name));
        }
    }
    names
        .into_iter()
        .filter_map(|(namespace, name)| bundle.get(&kinds::HTTP_ROUTE, namespace, name))
        .collect()
}

/// The Services behind registered routes: namespace and name, whether they exist or not.
#[must_use]
pub fn backend_services<'a>(workloads: &Workloads<'a>) -> BTreeSet<(&'a str, &'a str)> {
    let mut services = BTreeSet::new();
    for route in registered_routes(workloads) {
        for rule in route.array("/spec/rules") {
            for backend in rule.get("backendRefs").and_then(Value::as_array).into_iter().flatten() {
                let field = |key: &str| backend.get(key).and_then(Value::as_str);
                // A kind that nobody knows is refused; the Service of that name is what was meant.
                if field("kind") != Some("Hostname") {
                    let namespace = field("namespace").unwrap_or_else(|| route.namespace());
                    services.insert((namespace, field("name").unwrap_or_default()));
                }
            }
        }
    }
    services
}

/// Finds the workloads that must run; each owner once per role, in a fixed order.
pub(super) fn find<'a>(workloads: &Workloads<'a>) -> Vec<Interest<'a>> {
    let bundle = workloads.bundle();
    let mut found = Vec::new();
    let uses_policies = [
        &kinds::AUTH_POLICY,
        &kinds::RATE_LIMIT_POLICY,
        &kinds::TOKEN_RATE_LIMIT_POLICY,
        &kinds::TLS_POLICY,
        &kinds::DNS_POLICY,
        &kinds::KUADRANT,
    ]
    .iter()
    .any(|kind| bundle.list(kind).next().is_some());
    let uses_mcp = [&kinds::MCP_GATEWAY_EXTENSION, &kinds::MCP_SERVER_REGISTRATION]
        .iter()
        .any(|kind| bundle.list(kind).next().is_some());
    let gateways = gateways(workloads);
    for component in Component::ALL {
        if component.is_kuadrant() && !uses_policies {
            continue;
        }
        if component == Component::Istiod && !uses_mcp {
            continue;
        }
        let mut deployments = workloads.deployments_of(component).to_vec();
        let mut pods = workloads.component_pods(component).to_vec();
        if component == Component::Istiod {
            deployments.retain(|d| serves(d, "/spec/template/metadata/labels", &gateways));
            pods.retain(|p| serves(p, "/metadata/labels", &gateways));
        }
        add(workloads, &mut found, &Role::Component(component), &deployments, &pods);
    }
    for gateway in gateways {
        let role = Role::Gateway(gateway.namespace().to_owned(), gateway.name().to_owned());
        let deployment = workloads.gateway_deployment(gateway);
        add(workloads, &mut found, &role, deployment.as_slice(), &workloads.gateway_pods(gateway));
    }
    for (namespace, name) in backend_services(workloads) {
        let service = bundle.get(&kinds::SERVICE, namespace, name);
        let role = Role::Backend(namespace.to_owned(), name.to_owned());
        let (mut deployments, mut pods) = (Vec::new(), Vec::new());
        match service.map(selector) {
            // A Service without selector has endpoints that somebody else makes.
            Some(None) => continue,
            Some(Some(selector)) => {
                deployments = workloads.deployments_matching(namespace, selector);
                pods = workloads.pods_matching(namespace, selector);
            }
            None => {}
        }
        if deployments.is_empty() && pods.is_empty() {
            // The Service is gone or selects nothing: the workload of its name is what was meant.
            for kind in [&kinds::DEPLOYMENT, &kinds::STATEFUL_SET] {
                let Some(workload) = bundle.get(kind, namespace, name) else { continue };
                deployments.push(workload);
                pods.extend(workloads.pods_of(workload.kind(), namespace, name).iter().copied());
            }
        }
        add(workloads, &mut found, &role, &deployments, &pods);
    }
    found
}

/// Whether an istiod serves one of the Gateways: the same revision, or one of the two names none.
fn serves(istiod: &Object, labels: &str, gateways: &[&Object]) -> bool {
    let revision = istiod.get(labels).and_then(|l| l.get("istio.io/rev")).and_then(Value::as_str);
    let Some(revision) = revision else { return true };
    gateways.is_empty()
        || gateways.iter().any(|gateway| {
            gateway.label("istio.io/rev").is_none_or(|wanted| wanted == revision || revision == "default")
        })
}

fn add<'a>(
    workloads: &Workloads<'a>,
    found: &mut Vec<Interest<'a>>,
    role: &Role,
    deployments: &[&'a Object],
    pods: &[&'a Object],
) {
    let mut known: HashMap<(String, Option<String>, String), usize> = HashMap::new();
    let id = |owner: &ObjectRef| (owner.kind.clone(), owner.namespace.clone(), owner.name.clone());
    for deployment in deployments {
        known.entry(id(&deployment.reference())).or_insert(found.len());
        found.push(Interest {
            role: role.clone(),
            owner: deployment.reference(),
            object: Some(deployment),
            pods: Vec::new(),
        });
    }
    for pod in pods {
        let owner = workloads.owner(pod);
        let at = *known.entry(id(&owner.reference)).or_insert(found.len());
        if at == found.len() {
            found.push(Interest {
                role: role.clone(),
                owner: owner.reference,
                object: owner.object,
                pods: Vec::new(),
            });
        }
        found[at].pods.push(pod);
    }
}
