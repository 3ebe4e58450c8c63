//! The kinds that the tool knows: one table for discovery, gathering, serving and the rules.
//!
//! `versions` is the order of preference; discovery decides which one a cluster serves.
//! Kinds outside this table (foreign CRDs in a bundle) still work everywhere: the table adds
//! names, it does not limit.

/// One kind of the Kubernetes API.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The kind, `HTTPRoute`.
    pub kind: &'static str,
    /// The resource name in URLs and archive paths, `httproutes`.
    pub plural: &'static str,
    /// The short names that `oc get` knows.
    pub short: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// The versions to try, best first.
    pub versions: &'static [&'static str],
}

impl Kind {
    /// The group as a directory of the archive: `core` stands for the empty group.
    #[must_use]
    pub fn group_dir(&self) -> &'static str {
        if self.group.is_empty() { "core" } else { self.group }
    }

    /// `httproutes.gateway.networking.k8s.io`, the way `oc` and RBAC spell it.
    #[must_use]
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $id:ident = $group:literal, $kind:literal, $plural:literal, [$($short:literal),*], $scope:ident, [$($version:literal),+];)+) => {
        $(#[doc = concat!("`", $kind, "`, group `", $group, "`.")] $(#[$doc])* pub static $id: Kind = Kind {
            group: $group, kind: $kind, plural: $plural, short: &[$($short),*],
            namespaced: kinds!(@ $scope), versions: &[$($version),+],
        };)+

        /// Every kind of the table.
        pub static ALL: &[&Kind] = &[$(&$id),+];
    };
    (@ namespaced) => { true };
    (@ cluster) => { false };
}

kinds! {
    // The MCP gateway.
    MCP_GATEWAY_EXTENSION = "mcp.kuadrant.io", "MCPGatewayExtension", "mcpgatewayextensions", ["mcpge"], namespaced, ["v1", "v1alpha1"];
    MCP_SERVER_REGISTRATION = "mcp.kuadrant.io", "MCPServerRegistration", "mcpserverregistrations", ["mcpsr"], namespaced, ["v1", "v1alpha1"];
    MCP_VIRTUAL_SERVER = "mcp.kuadrant.io", "MCPVirtualServer", "mcpvirtualservers", ["mcpvs"], namespaced, ["v1", "v1alpha1"];
    // Gateway API.
    GATEWAY_CLASS = "gateway.networking.k8s.io", "GatewayClass", "gatewayclasses", ["gc"], cluster, ["v1", "v1beta1"];
    GATEWAY = "gateway.networking.k8s.io", "Gateway", "gateways", ["gtw"], namespaced, ["v1", "v1beta1"];
    HTTP_ROUTE = "gateway.networking.k8s.io", "HTTPRoute", "httproutes", [], namespaced, ["v1", "v1beta1"];
    GRPC_ROUTE = "gateway.networking.k8s.io", "GRPCRoute", "grpcroutes", [], namespaced, ["v1", "v1alpha2"];
    REFERENCE_GRANT = "gateway.networking.k8s.io", "ReferenceGrant", "referencegrants", ["refgrant"], namespaced, ["v1", "v1beta1", "v1alpha2"];
    BACKEND_TLS_POLICY = "gateway.networking.k8s.io", "BackendTLSPolicy", "backendtlspolicies", ["btlspolicy"], namespaced, ["v1", "v1alpha3"];
    // Istio.
    ENVOY_FILTER = "networking.istio.io", "EnvoyFilter", "envoyfilters", [], namespaced, ["v1alpha3"];
    SERVICE_ENTRY = "networking.istio.io", "ServiceEntry", "serviceentries", ["se"], namespaced, ["v1", "v1beta1", "v1alpha3"];
    DESTINATION_RULE = "networking.istio.io", "DestinationRule", "destinationrules", ["dr"], namespaced, ["v1", "v1beta1", "v1alpha3"];
    VIRTUAL_SERVICE = "networking.istio.io", "VirtualService", "virtualservices", ["vs"], namespaced, ["v1", "v1beta1", "v1alpha3"];
    SIDECAR = "networking.istio.io", "Sidecar", "sidecars", [], namespaced, ["v1", "v1beta1", "v1alpha3"];
    WASM_PLUGIN = "extensions.istio.io", "WasmPlugin", "wasmplugins", [], namespaced, ["v1alpha1"];
    TELEMETRY = "telemetry.istio.io", "Telemetry", "telemetries", ["telemetry"], namespaced, ["v1", "v1alpha1"];
    AUTHORIZATION_POLICY = "security.istio.io", "AuthorizationPolicy", "authorizationpolicies", ["ap"], namespaced, ["v1", "v1beta1"];
    REQUEST_AUTHENTICATION = "security.istio.io", "RequestAuthentication", "requestauthentications", ["ra"], namespaced, ["v1", "v1beta1"];
    PEER_AUTHENTICATION = "security.istio.io", "PeerAuthentication", "peerauthentications", ["pa"], namespaced, ["v1", "v1beta1"];
    ISTIO = "sailoperator.io", "Istio", "istios", [], cluster, ["v1", "v1alpha1"];
    ISTIO_REVISION = "sailoperator.io", "IstioRevision", "istiorevisions", ["istiorev"], cluster, ["v1", "v1alpha1"];
    ISTIO_REVISION_TAG = "sailoperator.io", "IstioRevisionTag", "istiorevisiontags", ["istiorevtag"], cluster, ["v1", "v1alpha1"];
    ISTIO_CNI = "sailoperator.io", "IstioCNI", "istiocnis", [], cluster, ["v1", "v1alpha1"];
    SERVICE_MESH_CONTROL_PLANE = "maistra.io", "ServiceMeshControlPlane", "servicemeshcontrolplanes", ["smcp"], namespaced, ["v2"];
    // Kuadrant.
    AUTH_POLICY = "kuadrant.io", "AuthPolicy", "authpolicies", [], namespaced, ["v1", "v1beta3", "v1beta2"];
    RATE_LIMIT_POLICY = "kuadrant.io", "RateLimitPolicy", "ratelimitpolicies", [], namespaced, ["v1", "v1beta3", "v1beta2"];
    TOKEN_RATE_LIMIT_POLICY = "kuadrant.io", "TokenRateLimitPolicy", "tokenratelimitpolicies", [], namespaced, ["v1alpha1"];
    TLS_POLICY = "kuadrant.io", "TLSPolicy", "tlspolicies", [], namespaced, ["v1", "v1alpha1"];
    DNS_POLICY = "kuadrant.io", "DNSPolicy", "dnspolicies", [], namespaced, ["v1", "v1alpha1"];
    DNS_RECORD = "kuadrant.io", "DNSRecord", "dnsrecords", [], namespaced, ["v1alpha1"];
    KUADRANT = "kuadrant.io", "Kuadrant", "kuadrants", [], namespaced, ["v1beta1"];
    AUTHORINO = "operator.authorino.kuadrant.io", "Authorino", "authorinos", [], namespaced, ["v1beta1"];
    AUTH_CONFIG = "authorino.kuadrant.io", "AuthConfig", "authconfigs", [], namespaced, ["v1beta3", "v1beta2"];
    LIMITADOR = "limitador.kuadrant.io", "Limitador", "limitadors", [], namespaced, ["v1alpha1"];
    // Operators and OpenShift.
    SUBSCRIPTION = "operators.coreos.com", "Subscription", "subscriptions", ["sub", "subs"], namespaced, ["v1alpha1"];
    CLUSTER_SERVICE_VERSION = "operators.coreos.com", "ClusterServiceVersion", "clusterserviceversions", ["csv", "csvs"], namespaced, ["v1alpha1"];
    INSTALL_PLAN = "operators.coreos.com", "InstallPlan", "installplans", ["ip"], namespaced, ["v1alpha1"];
    CATALOG_SOURCE = "operators.coreos.com", "CatalogSource", "catalogsources", ["catsrc"], namespaced, ["v1alpha1"];
    OPERATOR_GROUP = "operators.coreos.com", "OperatorGroup", "operatorgroups", ["og"], namespaced, ["v1"];
    ROUTE = "route.openshift.io", "Route", "routes", [], namespaced, ["v1"];
    CLUSTER_VERSION = "config.openshift.io", "ClusterVersion", "clusterversions", [], cluster, ["v1"];
    INFRASTRUCTURE = "config.openshift.io", "Infrastructure", "infrastructures", [], cluster, ["v1"];
    CLUSTER_OPERATOR = "config.openshift.io", "ClusterOperator", "clusteroperators", ["co"], cluster, ["v1"];
    CLUSTER_DNS = "config.openshift.io", "DNS", "dnses", [], cluster, ["v1"];
    CLUSTER_INGRESS = "config.openshift.io", "Ingress", "ingresses", [], cluster, ["v1"];
    CLUSTER_PROXY = "config.openshift.io", "Proxy", "proxies", [], cluster, ["v1"];
    INGRESS_CONTROLLER = "operator.openshift.io", "IngressController", "ingresscontrollers", [], namespaced, ["v1"];
    ADMIN_NETWORK_POLICY = "policy.networking.k8s.io", "AdminNetworkPolicy", "adminnetworkpolicies", ["anp"], cluster, ["v1alpha1"];
    BASELINE_ADMIN_NETWORK_POLICY = "policy.networking.k8s.io", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies", ["banp"], cluster, ["v1alpha1"];
    EGRESS_FIREWALL = "k8s.ovn.org", "EgressFirewall", "egressfirewalls", [], namespaced, ["v1"];
    CERTIFICATE = "cert-manager.io", "Certificate", "certificates", ["cert", "certs"], namespaced, ["v1"];
    ISSUER = "cert-manager.io", "Issuer", "issuers", [], namespaced, ["v1"];
    // Kubernetes.
    CUSTOM_RESOURCE_DEFINITION = "apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", ["crd", "crds"], cluster, ["v1"];
    NAMESPACE = "", "Namespace", "namespaces", ["ns"], cluster, ["v1"];
    NODE = "", "Node", "nodes", ["no"], cluster, ["v1"];
    POD = "", "Pod", "pods", ["po"], namespaced, ["v1"];
    SERVICE = "", "Service", "services", ["svc"], namespaced, ["v1"];
    SERVICE_ACCOUNT = "", "ServiceAccount", "serviceaccounts", ["sa"], namespaced, ["v1"];
    ENDPOINTS = "", "Endpoints", "endpoints", ["ep"], namespaced, ["v1"];
    CONFIG_MAP = "", "ConfigMap", "configmaps", ["cm"], namespaced, ["v1"];
    SECRET = "", "Secret", "secrets", [], namespaced, ["v1"];
    EVENT = "", "Event", "events", ["ev"], namespaced, ["v1"];
    RESOURCE_QUOTA = "", "ResourceQuota", "resourcequotas", ["quota"], namespaced, ["v1"];
    PERSISTENT_VOLUME_CLAIM = "", "PersistentVolumeClaim", "persistentvolumeclaims", ["pvc"], namespaced, ["v1"];
    DEPLOYMENT = "apps", "Deployment", "deployments", ["deploy"], namespaced, ["v1"];
    REPLICA_SET = "apps", "ReplicaSet", "replicasets", ["rs"], namespaced, ["v1"];
    STATEFUL_SET = "apps", "StatefulSet", "statefulsets", ["sts"], namespaced, ["v1"];
    DAEMON_SET = "apps", "DaemonSet", "daemonsets", ["ds"], namespaced, ["v1"];
    HORIZONTAL_POD_AUTOSCALER = "autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", ["hpa"], namespaced, ["v2", "v1"];
    ENDPOINT_SLICE = "discovery.k8s.io", "EndpointSlice", "endpointslices", [], namespaced, ["v1"];
    NETWORK_POLICY = "networking.k8s.io", "NetworkPolicy", "networkpolicies", ["netpol"], namespaced, ["v1"];
}

/// The kind with this group and kind name, if the table has it.
#[must_use]
pub fn by_kind(group: &str, kind: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|k| k.group == group && k.kind == kind)
}

/// The kind with this group and plural resource name, if the table has it.
#[must_use]
pub fn by_plural(group: &str, plural: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|k| k.group == group && k.plural == plural)
}
