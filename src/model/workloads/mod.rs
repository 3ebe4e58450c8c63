//! Workloads: pods and their containers, who owns them, which Service selects them, which of them
//! an MCP gateway depends on.
//!
//! [`Workloads`] indexes a bundle once, so that every question costs what its answer costs, not a
//! walk over all objects. [`container`] reads the state of a pod's containers, [`components`] tells
//! the parts of the platform apart (controller, broker, istiod, Kuadrant), [`interest`] decides
//! which workloads have to run for the MCP gateway to work.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::bundle::LogFile;
use super::{Bundle, Missing, Object, kinds};
use crate::model::json::{Map, Value};
use crate::report::ObjectRef;

pub mod components;
pub mod container;
pub mod interest;

pub use components::Component;
pub use container::{Container, ContainerKind, containers};
pub use interest::{Interest, Role};

/// The label that Gateway API implementations put on everything they create for a Gateway.
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
/// The label that Istio before 1.20 used for the same purpose.
const OLD_GATEWAY_NAME_LABEL: &str = "istio.io/gateway-name";
/// The label of gateway proxies that Istio deploys itself, whatever the GatewayClass.
pub const GATEWAY_MANAGED_LABEL: &str = "gateway.istio.io/managed";

/// Objects by namespace, key and value of each of their labels.
type ByLabel<'a, T = &'a Object> = HashMap<(&'a str, &'a str, &'a str), Vec<T>>;

/// Those among objects that have all labels of a selector, in their order; none for an empty selector.
fn matching<'a>(
    index: &ByLabel<'a>,
    namespace: &str,
    selector: &Map,
    labels: impl Fn(&'a Object) -> Option<&'a Map>,
) -> Vec<&'a Object> {
    let lists = selector.iter().map(|(key, value)| {
        let value = value.as_str().unwrap_or_default();
        index.get(&(namespace, key, value)).map_or(&[][..], Vec::as_slice)
    });
    let Some(shortest) = lists.min_by_key(|list| list.len()) else { return Vec::new() };
    shortest.iter().copied().filter(|object| labels_contain(labels(object), selector)).collect()
}

/// The labels of the pods that a Deployment or StatefulSet makes.
fn template_labels(object: &Object) -> Option<&Map> {
    object.get("/spec/template/metadata/labels").and_then(Value::as_object)
}

/// Namespace and name of an object.
type Id<'a> = (&'a str, &'a str);

/// One address behind a Service.
#[derive(Debug, Clone)]
pub struct Endpoint<'a> {
    /// The IP address (or the host name of an FQDN slice).
    pub address: &'a str,
    /// The pod, where the slice names one.
    pub pod: Option<&'a str>,
    /// The EndpointSlice or Endpoints object that lists it.
    pub source: &'a Object,
    /// The JSON pointer of the endpoint within the source.
    pub pointer: String,
}

/// What stands behind a Service.
#[derive(Debug, Clone, Default)]
pub struct Endpoints<'a> {
    /// Addresses that take traffic.
    pub ready: Vec<Endpoint<'a>>,
    /// Addresses that do not: their pod is not Ready, or is going away.
    pub not_ready: Vec<Endpoint<'a>>,
    /// The EndpointSlices (or the Endpoints object) that say so; empty when there is none at all.
    pub sources: Vec<&'a Object>,
}

/// The top of a pod's owner chain.
#[derive(Debug, Clone)]
pub struct Owner<'a> {
    /// Its name: a Deployment, StatefulSet, DaemonSet, Job, or the pod itself when nothing owns it.
    pub reference: ObjectRef,
    /// The object, if the bundle has it.
    pub object: Option<&'a Object>,
}

/// What runs a component of the platform.
#[derive(Debug, Default)]
struct Part<'a> {
    deployments: Vec<&'a Object>,
    pods: Vec<&'a Object>,
    /// The first Deployment of each namespace.
    deployments_in: HashMap<&'a str, &'a Object>,
    pods_in: HashMap<&'a str, Vec<&'a Object>>,
}

impl<'a> Part<'a> {
    /// Adds the Deployments' pods to those whose labels tell it, and sorts all by namespace.
    fn complete(&mut self, pods_by_owner: &HashMap<(String, String, String), Vec<&'a Object>>) {
        let mut known: HashSet<*const Object> =
            self.pods.iter().map(|pod| std::ptr::from_ref(*pod)).collect();
        for &deployment in &self.deployments {
            self.deployments_in.entry(deployment.namespace()).or_insert(deployment);
            let owner = [deployment.kind(), deployment.namespace(), deployment.name()].map(str::to_owned);
            let owned = pods_by_owner.get(&owner.into()).into_iter().flatten();
            self.pods.extend(owned.copied().filter(|pod| known.insert(std::ptr::from_ref(*pod))));
        }
        for &pod in &self.pods {
            self.pods_in.entry(pod.namespace()).or_default().push(pod);
        }
    }
}

/// The index.
#[derive(Debug)]
pub struct Workloads<'a> {
    bundle: &'a Bundle,
    pods_by_label: ByLabel<'a>,
    /// Deployments, then StatefulSets, by the labels of the pods that they make.
    makers_by_label: ByLabel<'a>,
    /// By one label of their selectors, and with their place among the Services.
    services_by_label: ByLabel<'a, (usize, &'a Object)>,
    pods_by_owner: HashMap<(String, String, String), Vec<&'a Object>>,
    slices: HashMap<Id<'a>, Vec<&'a Object>>,
    services: HashMap<&'a str, Vec<&'a Object>>,
    events: HashMap<(&'a str, &'a str, &'a str), Vec<&'a Object>>,
    /// By namespace and pod.
    logs: HashMap<&'a str, HashMap<&'a str, Vec<&'a LogFile>>>,
    parts: BTreeMap<Component, Part<'a>>,
    interest: std::sync::OnceLock<Vec<Interest<'a>>>,
}

impl<'a> Workloads<'a> {
    /// Indexes a bundle.
    #[must_use]
    pub fn new(bundle: &'a Bundle) -> Self {
        let mut index = Self {
            bundle,
            pods_by_label: HashMap::new(),
            makers_by_label: HashMap::new(),
            services_by_label: HashMap::new(),
            pods_by_owner: HashMap::new(),
            slices: HashMap::new(),
            services: HashMap::new(),
            events: HashMap::new(),
            logs: HashMap::new(),
            parts: BTreeMap::new(),
            interest: std::sync::OnceLock::new(),
        };
        for pod in bundle.list(&kinds::POD) {
            for (key, value) in pod.labels().into_iter().flatten() {
                if let Some(value) = value.as_str() {
                    index.pods_by_label.entry((pod.namespace(), key, value)).or_default().push(pod);
                }
            }
            let owner = index.owner(pod).reference;
            index
                .pods_by_owner
                .entry((owner.kind, owner.namespace.unwrap_or_default(), owner.name))
                .or_default()
                .push(pod);
            if let Some(component) = components::of_pod(pod) {
                index.parts.entry(component).or_default().pods.push(pod);
            }
        }
        for slice in bundle.list(&kinds::ENDPOINT_SLICE) {
            if let Some(service) = slice.label("kubernetes.io/service-name") {
                index.slices.entry((slice.namespace(), service)).or_default().push(slice);
            }
        }
        for (at, service) in bundle.list(&kinds::SERVICE).enumerate() {
            if let Some((key, value)) = selector(service).and_then(|selector| selector.iter().next()) {
                let label = (service.namespace(), key, value.as_str().unwrap_or_default());
                index.services_by_label.entry(label).or_default().push((at, service));
            }
            index.services.entry(service.namespace()).or_default().push(service);
        }
        for event in bundle.list(&kinds::EVENT).chain(bundle.list_dynamic("events.k8s.io", "Event")) {
            // The core API says `involvedObject`, `events.k8s.io` says `regarding`.
            let field = |name: &str| {
                let core = event.get("/involvedObject").or_else(|| event.get("/regarding"));
                core.and_then(|o| o.get(name)).and_then(Value::as_str).unwrap_or_default()
            };
            index.events.entry((field("kind"), field("namespace"), field("name"))).or_default().push(event);
        }
        for log in bundle.logs() {
            let of_namespace = index.logs.entry(log.namespace.as_str()).or_default();
            of_namespace.entry(log.pod.as_str()).or_default().push(log);
        }
        for deployment in bundle.list(&kinds::DEPLOYMENT).chain(bundle.list(&kinds::STATEFUL_SET)) {
            for (key, value) in template_labels(deployment).into_iter().flatten() {
                let label = (deployment.namespace(), key, value.as_str().unwrap_or_default());
                index.makers_by_label.entry(label).or_default().push(deployment);
            }
            if let Some(component) = components::of_deployment(deployment) {
                index.parts.entry(component).or_default().deployments.push(deployment);
            }
        }
        for part in index.parts.values_mut() {
            part.complete(&index.pods_by_owner);
        }
        index
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &'a Bundle {
        self.bundle
    }

    /// The pods of a namespace whose labels contain this selector. An empty selector matches none,
    /// as with Services.
    #[must_use]
    pub fn pods_matching(&self, namespace: &str, selector: &Map) -> Vec<&'a Object> {
        matching(&self.pods_by_label, namespace, selector, Object::labels)
    }

    /// The pods that a Service selects, whatever their state. Empty also for a Service without
    /// selector ([`selector`] tells the two apart).
    #[must_use]
    pub fn pods_of_service(&self, service: &Object) -> Vec<&'a Object> {
        selector(service).map_or_else(Vec::new, |s| self.pods_matching(service.namespace(), s))
    }

    /// The Services that select a pod.
    #[must_use]
    pub fn services_of_pod(&self, pod: &Object) -> Vec<&'a Object> {
        let labels =
            pod.labels().into_iter().flatten().filter_map(|(key, value)| Some((key, value.as_str()?)));
        let candidates =
            labels.filter_map(|(key, value)| self.services_by_label.get(&(pod.namespace(), key, value)));
        let selects = |service: &Object| {
            selector(service).is_some_and(|selector| labels_contain(pod.labels(), selector))
        };
        let mut found: Vec<_> =
            candidates.flatten().filter(|(_, service)| selects(service)).copied().collect();
        found.sort_unstable_by_key(|(at, _)| *at);
        found.into_iter().map(|(_, service)| service).collect()
    }

    /// The addresses behind a Service, from its EndpointSlices or, where the bundle has none, from
    /// its Endpoints object.
    ///
    /// # Errors
    /// What is missing, when neither was collected.
    pub fn endpoints(&self, namespace: &str, service: &str) -> Result<Endpoints<'a>, Missing> {
        let slices = self.slices.get(&(namespace, service)).map_or(&[][..], Vec::as_slice);
        let mut found = Endpoints { sources: slices.to_vec(), ..Endpoints::default() };
        if !slices.is_empty() {
            for slice in slices.iter().copied() {
                for (index, endpoint) in slice.array("/endpoints").iter().enumerate() {
                    // "nil should be interpreted as true" (EndpointConditions in discovery/v1).
                    let ready =
                        endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
                    let pod = endpoint
                        .get("targetRef")
                        .filter(|t| t.get("kind").and_then(Value::as_str) == Some("Pod"))
                        .and_then(|t| t.get("name"))
                        .and_then(Value::as_str);
                    for address in endpoint.get("addresses").and_then(Value::as_array).into_iter().flatten() {
                        let Some(address) = address.as_str() else { continue };
                        let pointer = format!("/endpoints/{index}");
                        let list = if ready { &mut found.ready } else { &mut found.not_ready };
                        list.push(Endpoint { address, pod, source: slice, pointer });
                    }
                }
            }
            return Ok(found);
        }
        if let Some(old) = self.bundle.get(&kinds::ENDPOINTS, namespace, service) {
            found.sources.push(old);
            for (s, subset) in old.array("/subsets").iter().enumerate() {
                for (field, list) in
                    [("addresses", &mut found.ready), ("notReadyAddresses", &mut found.not_ready)]
                {
                    let addresses = subset.get(field).and_then(Value::as_array).into_iter().flatten();
                    for (i, address) in addresses.enumerate() {
                        let Some(ip) = address.get("ip").and_then(Value::as_str) else { continue };
                        let pod = address.pointer("/targetRef/name").and_then(Value::as_str);
                        let pointer = format!("/subsets/{s}/{field}/{i}");
                        list.push(Endpoint { address: ip, pod, source: old, pointer });
                    }
                }
            }
            return Ok(found);
        }
        match self.bundle.collected(&kinds::ENDPOINT_SLICE, Some(namespace)) {
            Ok(()) => Ok(found),
            // Where the older kind is written at all, each Service has an object of it.
            Err(missing) => match self.bundle.collected(&kinds::ENDPOINTS, Some(namespace)) {
                Ok(()) if self.bundle.list_in(&kinds::ENDPOINTS, namespace).next().is_some() => Ok(found),
                _ => Err(missing),
            },
        }
    }

    /// The top of the owner chain of a pod: pod → ReplicaSet → Deployment, pod → StatefulSet, …
    /// A ReplicaSet that the bundle lacks is no obstacle: its name is the Deployment's name with
    /// the pod's `pod-template-hash`.
    #[must_use]
    pub fn owner(&self, pod: &'a Object) -> Owner<'a> {
        let Some(first) = controller_of(pod) else {
            // Some collectors drop owners; the selector then tells, as it does for a pod that is adopted.
            const COMPARED: usize = 500;
            let deployments = self.bundle.list_in(&kinds::DEPLOYMENT, pod.namespace()).take(COMPARED);
            let mut selecting = deployments.filter(|deployment| {
                let labels = deployment.get("/spec/selector/matchLabels").and_then(Value::as_object);
                labels.is_some_and(|selector| !selector.is_empty() && labels_contain(pod.labels(), selector))
            });
            return match (selecting.next(), selecting.next()) {
                (Some(only), None) => Owner { reference: only.reference(), object: Some(only) },
                _ => Owner { reference: pod.reference(), object: Some(pod) },
            };
        };
        if first.kind == "ReplicaSet" {
            let set = self.bundle.get(&kinds::REPLICA_SET, pod.namespace(), &first.name);
            let deployment = match set.map(controller_of) {
                Some(Some(owner)) => Some(owner.name),
                Some(None) => None,
                None => pod
                    .label("pod-template-hash")
                    .and_then(|hash| first.name.strip_suffix(hash)?.strip_suffix('-'))
                    .map(str::to_owned),
            };
            let Some(name) = deployment else { return Owner { reference: first, object: set } };
            let object = self.bundle.get(&kinds::DEPLOYMENT, pod.namespace(), &name);
            let reference = ObjectRef {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                namespace: Some(pod.namespace().to_owned()),
                name,
            };
            return Owner { reference, object };
        }
        let kind = match first.kind.as_str() {
            "StatefulSet" => Some(&kinds::STATEFUL_SET),
            "DaemonSet" => Some(&kinds::DAEMON_SET),
            _ => None,
        };
        let object = kind.and_then(|kind| self.bundle.get(kind, pod.namespace(), &first.name));
        Owner { reference: first, object }
    }

    /// The pods at the end of an owner's chain.
    #[must_use]
    pub fn pods_of(&self, kind: &str, namespace: &str, name: &str) -> &[&'a Object] {
        self.pods_by_owner
            .get(&(kind.to_owned(), namespace.to_owned(), name.to_owned()))
            .map_or(&[], Vec::as_slice)
    }

    /// The Deployments (or StatefulSets) that would make pods matching this selector, also while
    /// there is no pod at all.
    #[must_use]
    pub fn deployments_matching(&self, namespace: &str, selector: &Map) -> Vec<&'a Object> {
        matching(&self.makers_by_label, namespace, selector, template_labels)
    }

    /// The proxy pods of a Gateway, whatever their state.
    ///
    /// By the gateway-name label; else by the name that Istio gives the Deployment; else, for a
    /// Gateway that names an existing Service in `spec.addresses` (Istio's manual deployment), the
    /// pods of that Service.
    #[must_use]
    pub fn gateway_pods(&self, gateway: &Object) -> Vec<&'a Object> {
        for label in [GATEWAY_NAME_LABEL, OLD_GATEWAY_NAME_LABEL] {
            if let Some(pods) = self.pods_by_label.get(&(gateway.namespace(), label, gateway.name())) {
                return pods.clone();
            }
        }
        let named = self.pods_of("Deployment", gateway.namespace(), &gateway_workload_name(gateway));
        if !named.is_empty() {
            return named.to_vec();
        }
        self.manual_service(gateway).map_or_else(Vec::new, |service| self.pods_of_service(service))
    }

    /// The Service in front of a Gateway's proxy.
    #[must_use]
    pub fn gateway_service(&self, gateway: &Object) -> Option<&'a Object> {
        let services = self.services.get(gateway.namespace()).map_or(&[][..], Vec::as_slice);
        let labelled = services.iter().copied().find(|s| {
            [GATEWAY_NAME_LABEL, OLD_GATEWAY_NAME_LABEL]
                .iter()
                .any(|label| s.label(label) == Some(gateway.name()))
        });
        // The controller's own by its name: people give a NodePort Service of theirs the same labels.
        self.bundle
            .get(&kinds::SERVICE, gateway.namespace(), &gateway_workload_name(gateway))
            .or(labelled)
            .or_else(|| self.manual_service(gateway))
    }

    /// The Deployment of a Gateway's proxy.
    #[must_use]
    pub fn gateway_deployment(&self, gateway: &Object) -> Option<&'a Object> {
        let name = gateway_workload_name(gateway);
        if let Some(found) = self.bundle.get(&kinds::DEPLOYMENT, gateway.namespace(), &name) {
            return Some(found);
        }
        if let Some(found) = self.gateway_pods(gateway).iter().find_map(|pod| self.owner(pod).object) {
            return Some(found);
        }
        in_namespace(self.bundle, &kinds::DEPLOYMENT, gateway.namespace())
            .find(|d| d.label(GATEWAY_NAME_LABEL) == Some(gateway.name()))
    }

    /// The existing Service that a manually deployed Gateway points at.
    fn manual_service(&self, gateway: &Object) -> Option<&'a Object> {
        gateway.array("/spec/addresses").iter().find_map(|address| {
            let kind = address.get("type").and_then(Value::as_str).unwrap_or("IPAddress");
            if kind != "Hostname" {
                return None;
            }
            let host = address.get("value")?.as_str()?;
            let mut labels = host.split('.');
            let service = labels.next()?;
            let namespace = labels.next().unwrap_or_else(|| gateway.namespace());
            self.bundle.get(&kinds::SERVICE, namespace, service)
        })
    }

    /// The events about an object, in the bundle's order.
    #[must_use]
    pub fn events_of(&self, object: &ObjectRef) -> Vec<&'a Object> {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        self.events.get(&(object.kind.as_str(), namespace, object.name.as_str())).cloned().unwrap_or_default()
    }

    /// The logs of a pod.
    #[must_use]
    pub fn logs_of(&self, pod: &Object) -> &[&'a LogFile] {
        let of_namespace = self.logs.get(pod.namespace());
        of_namespace.and_then(|logs| logs.get(pod.name())).map_or(&[], Vec::as_slice)
    }

    /// The log of one container, its current run or the previous one.
    #[must_use]
    pub fn log_of(&self, pod: &Object, container: &str, previous: bool) -> Option<&'a LogFile> {
        self.logs_of(pod).iter().copied().find(|l| l.container == container && l.previous == previous)
    }

    /// The Deployments (or StatefulSets) of a component of the platform, wherever they run.
    #[must_use]
    pub fn deployments_of(&self, component: Component) -> &[&'a Object] {
        self.parts.get(&component).map_or(&[], |part| part.deployments.as_slice())
    }

    /// The pods of a component of the platform, wherever they run. Also found when the
    /// Deployments were not collected.
    #[must_use]
    pub fn component_pods(&self, component: Component) -> &[&'a Object] {
        self.parts.get(&component).map_or(&[], |part| part.pods.as_slice())
    }

    /// The logs (current and previous) of a component's pods.
    pub fn component_logs(
        &self,
        component: Component,
    ) -> impl Iterator<Item = (&'a Object, &'a LogFile)> + '_ {
        self.component_pods(component).iter().flat_map(|pod| self.logs_of(pod).iter().map(|log| (*pod, *log)))
    }

    /// The broker and router Deployment of an extension: the one that the controller creates in
    /// the extension's namespace.
    #[must_use]
    pub fn broker_deployment(&self, namespace: &str) -> Option<&'a Object> {
        self.parts.get(&Component::Broker)?.deployments_in.get(namespace).copied()
    }

    /// The broker and router pods of an extension's namespace.
    #[must_use]
    pub fn broker_pods(&self, namespace: &str) -> &[&'a Object] {
        let part = self.parts.get(&Component::Broker);
        part.and_then(|part| part.pods_in.get(namespace)).map_or(&[], Vec::as_slice)
    }

    /// The workloads that must run for the MCP gateway of this bundle to work.
    #[must_use]
    pub fn interest(&self) -> &[Interest<'a>] {
        self.interest.get_or_init(|| interest::find(self))
    }
}

/// The objects of a kind in a namespace, for a namespace that does not live as long as the bundle.
pub(crate) fn in_namespace<'a>(
    bundle: &'a Bundle,
    kind: &kinds::Kind,
    namespace: &str,
) -> impl Iterator<Item = &'a Object> {
    // The bundle's own copy of the name lives long enough.
    let owned = bundle.namespaces().get(namespace).map_or("", String::as_str);
    bundle.list_in(kind, owned).filter(|object| !object.namespace().is_empty())
}

/// The selector of a Service, if it has one with at least one label.
#[must_use]
pub fn selector(service: &Object) -> Option<&Map> {
    service.get("/spec/selector").and_then(Value::as_object).filter(|s| !s.is_empty())
}

/// Whether these labels contain all of the selector's.
#[must_use]
pub fn labels_contain(labels: Option<&Map>, selector: &Map) -> bool {
    selector.iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
}

/// Whether a pod is Ready and not on its way out.
#[must_use]
pub fn is_ready(pod: &Object) -> bool {
    !pod.is_deleting() && pod.condition("Ready").is_some_and(|c| c.is_true())
}

/// Whether a pod has ended or is ending in the ordinary way: completed, being deleted, or failed as a whole (evicted)
/// while its owner makes another in its place.
#[must_use]
pub fn is_over(pod: &Object) -> bool {
    let phase = pod.str("/status/phase");
    pod.is_deleting()
        || phase == "Succeeded"
        || (phase == "Failed" && !pod.array("/metadata/ownerReferences").is_empty())
}

/// The name that Istio gives a Gateway's Deployment and Service: `<gateway>-<class>`, or what the
/// Gateway's annotation overrides it with.
#[must_use]
pub fn gateway_workload_name(gateway: &Object) -> String {
    if let Some(name) = gateway.annotation("gateway.istio.io/name-override") {
        return name.to_owned();
    }
    format!("{}-{}", gateway.name(), gateway.str("/spec/gatewayClassName"))
}

/// The owner reference that controls an object.
fn controller_of(object: &Object) -> Option<ObjectRef> {
    let owners = object.array("/metadata/ownerReferences");
    let field = |o: &Value, key: &str| o.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    owners
        .iter()
        .find(|o| o.get("controller").and_then(Value::as_bool) == Some(true))
        .or_else(|| owners.first())
        .map(|o| ObjectRef {
            api_version: field(o, "apiVersion"),
            kind: field(o, "kind"),
            namespace: Some(object.namespace().to_owned()).filter(|ns| !ns.is_empty()),
            name: field(o, "name"),
        })
}

#[cfg(test)]
mod tests;
