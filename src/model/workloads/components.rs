//! The parts of the platform, told apart by what their objects say, never by their namespace.

use crate::model::Object;
use crate::model::json::{Map, Value};

/// A part of the platform that runs in pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The MCP gateway's controller.
    Controller,
    /// The MCP broker and router of an extension.
    Broker,
    /// Istio's control plane.
    Istiod,
    /// Kuadrant's (Connectivity Link's) operator.
    KuadrantOperator,
    /// Authorino, the authorization service.
    Authorino,
    /// The operator that deploys Authorino.
    AuthorinoOperator,
    /// Limitador, the rate-limit service.
    Limitador,
    /// The operator that deploys Limitador.
    LimitadorOperator,
    /// Kuadrant's DNS operator.
    DnsOperator,
}

impl Component {
    /// Every component.
    pub const ALL: [Self; 9] = [
        Self::Controller,
        Self::Broker,
        Self::Istiod,
        Self::KuadrantOperator,
        Self::Authorino,
        Self::AuthorinoOperator,
        Self::Limitador,
        Self::LimitadorOperator,
        Self::DnsOperator,
    ];

    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Controller => "MCP gateway controller",
            Self::Broker => "MCP broker and router",
            Self::Istiod => "istiod",
            Self::KuadrantOperator => "Kuadrant operator",
            Self::Authorino => "Authorino",
            Self::AuthorinoOperator => "Authorino operator",
            Self::Limitador => "Limitador",
            Self::LimitadorOperator => "Limitador operator",
            Self::DnsOperator => "DNS operator",
        }
    }

    /// Whether it belongs to Kuadrant: needed only where policies are used.
    #[must_use]
    pub fn is_kuadrant(self) -> bool {
        !matches!(self, Self::Controller | Self::Broker | Self::Istiod)
    }
}

/// The component that a Deployment (or StatefulSet) is, if any.
#[must_use]
pub fn of_deployment(deployment: &Object) -> Option<Component> {
    let labels = deployment.get("/spec/template/metadata/labels").and_then(Value::as_object);
    let containers = deployment.array("/spec/template/spec/containers");
    classify(&|known| deployment.name() == known, labels, containers)
}

/// The component that a Deployment is, as far as its metadata tells; for a collector that has not
/// read the Deployment itself.
#[must_use]
pub fn of_metadata(name: &str, labels: Option<&Map>) -> Option<Component> {
    // Authorino's operator labels the pods, not always the Deployment.
    classify(&|known| name == known, labels, &[])
        .or_else(|| (name == "authorino").then_some(Component::Authorino))
}

/// The component that a pod belongs to, if any.
#[must_use]
pub fn of_pod(pod: &Object) -> Option<Component> {
    classify(&|known| is_pod_of(pod.name(), known), pod.labels(), pod.array("/spec/containers"))
}

/// Whether a pod's name is that of a Deployment with the two parts that are made up: `NAME-5c4d7f6b88-zx81q`.
fn is_pod_of(pod: &str, deployment: &str) -> bool {
    let made_up = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let rest = pod.strip_prefix(deployment).and_then(|rest| rest.strip_prefix('-'));
    rest.and_then(|rest| rest.split_once('-'))
        .is_some_and(|(set, random)| made_up(set) && made_up(random) && random.len() == 5)
}

/// `is` tells whether the object is, or is made by, a Deployment of this name.
fn classify(is: &dyn Fn(&str) -> bool, labels: Option<&Map>, containers: &[Value]) -> Option<Component> {
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str).unwrap_or_default();
    let container =
        |wanted: &str| containers.iter().any(|c| c.get("name").and_then(Value::as_str) == Some(wanted));
    // A gateway's proxy may be called anything, also `mcp-controller-gateway`.
    if !label(super::GATEWAY_NAME_LABEL).is_empty() || !label(super::GATEWAY_MANAGED_LABEL).is_empty() {
        return None;
    }
    if container("mcp-controller")
        || label("app") == "mcp-controller"
        || label("app.kubernetes.io/name") == "mcp-gateway-controller"
    {
        return Some(Component::Controller);
    }
    if label("app.kubernetes.io/name") == "mcp-gateway"
        && label("app.kubernetes.io/managed-by") == "mcp-gateway-controller"
    {
        return Some(Component::Broker);
    }
    if label("app") == "istiod" || label("istio") == "pilot" {
        return Some(Component::Istiod);
    }
    if !label("authorino-resource").is_empty() {
        return Some(Component::Authorino);
    }
    if label("control-plane") == "authorino-operator" || is("authorino-operator") {
        return Some(Component::AuthorinoOperator);
    }
    if !label("limitador-resource").is_empty() || label("app") == "limitador" {
        return Some(Component::Limitador);
    }
    // These operators share the label `control-plane=controller-manager` with half of the world.
    let by_name = [
        ("kuadrant-operator-controller-manager", Component::KuadrantOperator),
        ("limitador-operator-controller-manager", Component::LimitadorOperator),
        ("dns-operator-controller-manager", Component::DnsOperator),
        ("mcp-gateway-controller", Component::Controller),
    ];
    by_name.iter().find(|(name, _)| is(name)).map(|(_, component)| *component)
}
