//! The dependency graph of the objects: who needs whom to work.
//!
//! An edge leads from an object to one it depends on: a registration to its route, a route to its
//! Gateway and its Services, a Service to its pods, a pod to its node. A fault of the second breaks
//! the first, so causes are looked for along the edges. Objects that are only named (a Service that
//! does not exist) are nodes too.

use std::collections::HashMap;
use std::sync::Arc;

use super::object::Object;
use super::workloads::{Component, Workloads};
use super::{Bundle, kinds};
use crate::model::json::Value;
use crate::report::ObjectRef;

/// Why one object depends on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edge {
    /// Names it in its spec and does not work without it.
    Requires,
    /// Is made, or kept up to date, by it.
    CreatedBy,
    /// Is implemented by what it selects.
    Selects,
    /// Has an effect only on it.
    Enforces,
    /// Sends requests to it.
    RoutesTo,
}

/// Identifies an object whatever its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The API group, empty for core.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace, empty for a cluster-scoped object.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }

    fn of(object: &Object) -> Self {
        Self::new(object.group(), object.kind(), object.namespace(), object.name())
    }
}

impl From<&ObjectRef> for Key {
    fn from(reference: &ObjectRef) -> Self {
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        Self::new(group, &reference.kind, reference.namespace.as_deref().unwrap_or_default(), &reference.name)
    }
}

/// A position in the graph.
pub type Node = u32;

/// The graph of one bundle.
#[derive(Debug, Default)]
pub struct Graph {
    index: HashMap<Arc<Key>, Node>,
    keys: Vec<Arc<Key>>,
    needs: Vec<Vec<(Node, Edge)>>,
    needed_by: Vec<Vec<Node>>,
}

impl Graph {
    /// Builds the graph; the cost grows with objects and references, not with their product.
    #[must_use]
    pub fn new(workloads: &Workloads<'_>) -> Self {
        let bundle = workloads.bundle();
        let mut graph = Self::default();
        graph.registrations(bundle);
        graph.routes(bundle);
        graph.gateways(bundle, workloads);
        graph.extensions(bundle, workloads);
        graph.workloads(bundle, workloads);
        graph.istio(bundle);
        graph.kuadrant(bundle, workloads);
        for list in &mut graph.needs {
            list.sort_unstable();
            list.dedup();
        }
        for list in &mut graph.needed_by {
            list.sort_unstable();
            list.dedup();
        }
        graph
    }

    /// How many nodes there are; they are numbered from 0.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The node of an object, if anything depends on it or it depends on anything.
    #[must_use]
    pub fn node(&self, object: &ObjectRef) -> Option<Node> {
        self.index.get(&Key::from(object)).copied()
    }

    /// The object of a node.
    #[must_use]
    pub fn key(&self, node: Node) -> &Key {
        &self.keys[node as usize]
    }

    /// What this object depends on.
    #[must_use]
    pub fn needs(&self, node: Node) -> &[(Node, Edge)] {
        &self.needs[node as usize]
    }

    /// What depends on this object.
    #[must_use]
    pub fn needed_by(&self, node: Node) -> &[Node] {
        &self.needed_by[node as usize]
    }

    fn add(&mut self, key: Key) -> Node {
        if let Some(&node) = self.index.get(&key) {
            return node;
        }
        let node = Node::try_from(self.keys.len()).unwrap_or(Node::MAX);
        let key = Arc::new(key);
        self.keys.push(Arc::clone(&key));
        self.index.insert(key, node);
        self.needs.push(Vec::new());
        self.needed_by.push(Vec::new());
        node
    }

    fn edge(&mut self, from: Key, edge: Edge, to: Key) {
        if from == to {
            return;
        }
        let (from, to) = (self.add(from), self.add(to));
        self.needs[from as usize].push((to, edge));
        self.needed_by[to as usize].push(from);
    }

    fn registrations(&mut self, bundle: &Bundle) {
        for registration in bundle.list(&kinds::MCP_SERVER_REGISTRATION) {
            let namespace = registration.namespace();
            let route = registration.str("/spec/targetRef/name");
            self.edge(
                Key::of(registration),
                Edge::Requires,
                Key::new(kinds::HTTP_ROUTE.group, "HTTPRoute", namespace, route),
            );
            for pointer in ["/spec/credentialRef/name", "/spec/caCertSecretRef/name"] {
                let name = registration.str(pointer);
                if !name.is_empty() {
                    self.edge(Key::of(registration), Edge::Requires, Key::new("", "Secret", namespace, name));
                }
            }
            // Not to its extension: the broker reaches servers by itself, and its rules say when an
            // extension is the reason.
        }
    }

    fn routes(&mut self, bundle: &Bundle) {
        let mut entries: HashMap<&str, Vec<Key>> = HashMap::new();
        for entry in bundle.list(&kinds::SERVICE_ENTRY) {
            for host in entry.array("/spec/hosts").iter().filter_map(Value::as_str) {
                entries.entry(host).or_default().push(Key::of(entry));
            }
        }
        for rule in bundle.list(&kinds::DESTINATION_RULE) {
            for entry in entries.get(rule.str("/spec/host")).into_iter().flatten() {
                self.edge(entry.clone(), Edge::Requires, Key::of(rule));
            }
        }
        for kind in [&kinds::HTTP_ROUTE, &kinds::GRPC_ROUTE] {
            for route in bundle.list(kind) {
                for (namespace, name) in parent_gateways(route) {
                    self.edge(
                        Key::of(route),
                        Edge::Requires,
                        Key::new(kinds::GATEWAY.group, "Gateway", &namespace, &name),
                    );
                }
                let rules = route.array("/spec/rules").iter();
                let backends =
                    rules.filter_map(|rule| rule.get("backendRefs").and_then(Value::as_array)).flatten();
                for backend in backends {
                    let text = |key: &str| backend.get(key).and_then(Value::as_str);
                    let name = text("name").unwrap_or_default();
                    match text("kind").unwrap_or("Service") {
                        "Service" => {
                            let namespace = text("namespace").unwrap_or(route.namespace());
                            self.edge(
                                Key::of(route),
                                Edge::RoutesTo,
                                Key::new("", "Service", namespace, name),
                            );
                        }
                        "Hostname" => {
                            for entry in entries.get(name).into_iter().flatten() {
                                self.edge(Key::of(route), Edge::RoutesTo, entry.clone());
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn gateways(&mut self, bundle: &Bundle, workloads: &Workloads<'_>) {
        for gateway in bundle.list(&kinds::GATEWAY) {
            let namespace = gateway.namespace();
            let class = gateway.str("/spec/gatewayClassName");
            self.edge(
                Key::of(gateway),
                Edge::Requires,
                Key::new(kinds::GATEWAY_CLASS.group, "GatewayClass", "", class),
            );
            for listener in gateway.array("/spec/listeners") {
                let references = listener.pointer("/tls/certificateRefs").and_then(Value::as_array);
                for reference in references.into_iter().flatten() {
                    let text = |key: &str| reference.get(key).and_then(Value::as_str);
                    let namespace = text("namespace").unwrap_or(namespace);
                    let secret = Key::new("", "Secret", namespace, text("name").unwrap_or_default());
                    self.edge(Key::of(gateway), Edge::Requires, secret);
                }
            }
            let proxy = workloads.gateway_service(gateway).into_iter();
            let proxy = proxy.chain(workloads.gateway_deployment(gateway));
            for object in proxy.chain(workloads.gateway_pods(gateway)) {
                self.edge(Key::of(gateway), Edge::Selects, Key::of(object));
            }
        }
        for class in bundle.list(&kinds::GATEWAY_CLASS) {
            for control_plane in control_planes(bundle, class.str("/spec/controllerName")) {
                self.edge(Key::of(class), Edge::CreatedBy, Key::of(control_plane));
            }
        }
    }

    fn extensions(&mut self, bundle: &Bundle, workloads: &Workloads<'_>) {
        let controllers: Vec<Key> =
            workloads.deployments_of(Component::Controller).iter().map(|d| Key::of(d)).collect();
        for extension in bundle.list(&kinds::MCP_GATEWAY_EXTENSION) {
            let namespace = extension.namespace();
            let text = |pointer: &str| extension.str(pointer);
            let target = match text("/spec/targetRef/namespace") {
                "" => namespace,
                other => other,
            };
            let gateway = Key::new(kinds::GATEWAY.group, "Gateway", target, text("/spec/targetRef/name"));
            self.edge(Key::of(extension), Edge::Requires, gateway);
            self.edge(
                Key::of(extension),
                Edge::Requires,
                Key::new("apps", "Deployment", namespace, "mcp-gateway"),
            );
            for controller in &controllers {
                self.edge(Key::of(extension), Edge::CreatedBy, controller.clone());
            }
            for pointer in [
                "/spec/trustedHeadersKey/secretName",
                "/spec/sessionStore/secretName",
                "/spec/caCertBundleRef/name",
                "/metadata/annotations/mcp.kuadrant.io~1guardrails-ref",
            ] {
                if !text(pointer).is_empty() {
                    self.edge(
                        Key::of(extension),
                        Edge::Requires,
                        Key::new("", "Secret", namespace, text(pointer)),
                    );
                }
            }
            for route in ["mcp-gateway-route", "mcp-gateway-tokens-route"] {
                if let Some(route) = bundle.get(&kinds::HTTP_ROUTE, namespace, route) {
                    self.edge(Key::of(route), Edge::CreatedBy, Key::of(extension));
                }
            }
        }
        for registration in bundle.list(&kinds::MCP_SERVER_REGISTRATION) {
            for controller in &controllers {
                self.edge(Key::of(registration), Edge::CreatedBy, controller.clone());
            }
        }
    }

    fn workloads(&mut self, bundle: &Bundle, workloads: &Workloads<'_>) {
        for service in bundle.list(&kinds::SERVICE) {
            let pods = workloads.pods_of_service(service);
            for pod in &pods {
                self.edge(Key::of(service), Edge::Selects, Key::of(pod));
                let owner = Key::from(&workloads.owner(pod).reference);
                self.edge(Key::of(service), Edge::Selects, owner);
            }
            if let (true, Some(selector)) = (pods.is_empty(), super::workloads::selector(service)) {
                for deployment in workloads.deployments_matching(service.namespace(), selector) {
                    self.edge(Key::of(service), Edge::Selects, Key::of(deployment));
                }
            }
        }
        let owned = [&kinds::POD, &kinds::REPLICA_SET].into_iter().flat_map(|kind| bundle.list(kind));
        for object in owned {
            for owner in object.array("/metadata/ownerReferences") {
                let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
                let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
                let owner = Key::new(group, text("kind"), object.namespace(), text("name"));
                self.edge(owner, Edge::Selects, Key::of(object));
            }
        }
        for pod in bundle.list(&kinds::POD) {
            let node = pod.str("/spec/nodeName");
            if !node.is_empty() {
                self.edge(Key::of(pod), Edge::Requires, Key::new("", "Node", "", node));
            }
            for (kind, name) in pod_references(pod) {
                self.edge(Key::of(pod), Edge::Requires, Key::new("", kind, pod.namespace(), &name));
            }
        }
        // A CSV is as healthy as the Deployments that the operator lifecycle manager made for it.
        for deployment in bundle.list(&kinds::DEPLOYMENT) {
            if let Some(owner) = deployment.label("olm.owner") {
                let csv = Key::new(
                    kinds::CLUSTER_SERVICE_VERSION.group,
                    "ClusterServiceVersion",
                    deployment.label("olm.owner.namespace").unwrap_or(deployment.namespace()),
                    owner,
                );
                self.edge(csv, Edge::Requires, Key::of(deployment));
            }
        }
    }

    fn istio(&mut self, bundle: &Bundle) {
        for filter in bundle.list(&kinds::ENVOY_FILTER) {
            if let (Some(name), Some(namespace)) = (
                filter.label("mcp.kuadrant.io/extension-name"),
                filter.label("mcp.kuadrant.io/extension-namespace"),
            ) {
                let extension =
                    Key::new(kinds::MCP_GATEWAY_EXTENSION.group, "MCPGatewayExtension", namespace, name);
                self.edge(Key::of(filter), Edge::CreatedBy, extension);
            }
            let gateway = filter
                .str("/spec/workloadSelector/labels/gateway.networking.k8s.io~1gateway-name")
                .to_owned();
            if !gateway.is_empty() {
                self.edge(
                    Key::of(filter),
                    Edge::Selects,
                    Key::new(kinds::GATEWAY.group, "Gateway", filter.namespace(), &gateway),
                );
            }
        }
    }

    fn kuadrant(&mut self, bundle: &Bundle, workloads: &Workloads<'_>) {
        let deployments = |component: Component| -> Vec<Key> {
            workloads.deployments_of(component).iter().map(|d| Key::of(d)).collect()
        };
        let operators = deployments(Component::KuadrantOperator);
        let authorino = deployments(Component::Authorino);
        let limitador = deployments(Component::Limitador);
        let instances: Vec<Key> = bundle.list(&kinds::KUADRANT).map(Key::of).collect();
        for instance in &instances {
            for needed in operators.iter().chain(&authorino).chain(&limitador) {
                self.edge(instance.clone(), Edge::Requires, needed.clone());
            }
        }
        for config in bundle.list(&kinds::AUTH_CONFIG) {
            for needed in &authorino {
                self.edge(Key::of(config), Edge::Enforces, needed.clone());
            }
        }
        for kind in [
            &kinds::AUTH_POLICY,
            &kinds::RATE_LIMIT_POLICY,
            &kinds::TOKEN_RATE_LIMIT_POLICY,
            &kinds::TLS_POLICY,
            &kinds::DNS_POLICY,
        ] {
            for policy in bundle.list(kind) {
                let text = |pointer: &str| policy.str(pointer);
                let target = Key::new(
                    text("/spec/targetRef/group"),
                    text("/spec/targetRef/kind"),
                    policy.namespace(),
                    text("/spec/targetRef/name"),
                );
                self.edge(Key::of(policy), Edge::Enforces, target);
                let enforcers = if kind.kind == "AuthPolicy" { &authorino } else { &limitador };
                for needed in operators.iter().chain(enforcers).chain(&instances) {
                    self.edge(Key::of(policy), Edge::Requires, needed.clone());
                }
            }
        }
    }
}

/// The control plane Deployments (istiod) that may serve a GatewayClass of this controller: the
/// one of OpenShift's ingress operator for its class, the others for Istio's own.
pub fn control_planes<'a>(
    bundle: &'a Bundle,
    controller: &str,
) -> impl Iterator<Item = &'a Object> + use<'a> {
    let openshift = controller.starts_with("openshift.io/");
    let istio = openshift || controller.starts_with("istio.io/");
    bundle.list(&kinds::DEPLOYMENT).filter(move |deployment| {
        let istiod = deployment.label("app") == Some("istiod")
            || deployment.str("/spec/template/metadata/labels/app") == "istiod";
        istio && istiod && (deployment.name() == "istiod-openshift-gateway") == openshift
    })
}

/// The Gateways that a route names as parents, as namespace and name.
fn parent_gateways(route: &Object) -> Vec<(String, String)> {
    super::gateway_api::parent_refs(route)
        .into_iter()
        .filter(super::gateway_api::ParentRef::is_gateway)
        .map(|parent| (parent.namespace.to_owned(), parent.name.to_owned()))
        .collect()
}

/// The Secrets, ConfigMaps and claims that a pod cannot start without.
fn pod_references(pod: &Object) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut note = |kind: &'static str, value: Option<&Value>| {
        if let Some(name) = value.and_then(Value::as_str) {
            found.push((kind, name.to_owned()));
        }
    };
    for volume in pod.array("/spec/volumes") {
        note("Secret", volume.pointer("/secret/secretName"));
        note("ConfigMap", volume.pointer("/configMap/name"));
        note("PersistentVolumeClaim", volume.pointer("/persistentVolumeClaim/claimName"));
    }
    for list in ["/spec/initContainers", "/spec/containers"] {
        for container in pod.array(list) {
            let all = |key: &str| container.get(key).and_then(Value::as_array).into_iter().flatten();
            for variable in all("env") {
                note("Secret", variable.pointer("/valueFrom/secretKeyRef/name"));
                note("ConfigMap", variable.pointer("/valueFrom/configMapKeyRef/name"));
            }
            for source in all("envFrom") {
                note("Secret", source.pointer("/secretRef/name"));
                note("ConfigMap", source.pointer("/configMapRef/name"));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}
