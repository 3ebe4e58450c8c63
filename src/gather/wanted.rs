//! Which kinds are read: first, wherever they are, in each followed namespace.

use crate::model::kinds::{self, Kind};

/// What decides which namespaces are followed: read first, held in memory, small.
pub(crate) static FIRST: &[&Kind] = &[
    &kinds::MCP_GATEWAY_EXTENSION,
    &kinds::MCP_SERVER_REGISTRATION,
    &kinds::MCP_VIRTUAL_SERVER,
    &kinds::GATEWAY_CLASS,
    &kinds::GATEWAY,
    &kinds::HTTP_ROUTE,
    &kinds::KUADRANT,
    &kinds::AUTHORINO,
    &kinds::LIMITADOR,
];

/// Custom resources and cluster-scoped kinds, read wherever they are.
pub(crate) static EVERYWHERE: &[&Kind] = &[
    &kinds::GRPC_ROUTE,
    &kinds::REFERENCE_GRANT,
    &kinds::BACKEND_TLS_POLICY,
    &kinds::ENVOY_FILTER,
    &kinds::SERVICE_ENTRY,
    &kinds::DESTINATION_RULE,
    &kinds::VIRTUAL_SERVICE,
    &kinds::SIDECAR,
    &kinds::WASM_PLUGIN,
    &kinds::TELEMETRY,
    &kinds::AUTHORIZATION_POLICY,
    &kinds::REQUEST_AUTHENTICATION,
    &kinds::PEER_AUTHENTICATION,
    &kinds::ISTIO,
    &kinds::ISTIO_REVISION,
    &kinds::ISTIO_REVISION_TAG,
    &kinds::ISTIO_CNI,
    &kinds::SERVICE_MESH_CONTROL_PLANE,
    &kinds::AUTH_POLICY,
    &kinds::RATE_LIMIT_POLICY,
    &kinds::TOKEN_RATE_LIMIT_POLICY,
    &kinds::TLS_POLICY,
    &kinds::DNS_POLICY,
    &kinds::DNS_RECORD,
    &kinds::AUTH_CONFIG,
    &kinds::SUBSCRIPTION,
    &kinds::CATALOG_SOURCE,
    &kinds::ADMIN_NETWORK_POLICY,
    &kinds::BASELINE_ADMIN_NETWORK_POLICY,
    &kinds::CLUSTER_VERSION,
    &kinds::INFRASTRUCTURE,
    &kinds::CLUSTER_DNS,
    &kinds::CLUSTER_INGRESS,
    &kinds::CLUSTER_PROXY,
    &kinds::INGRESS_CONTROLLER,
];

/// What is read in each followed namespace. Pods come first: logs wait for them.
pub(crate) static IN_NAMESPACES: &[&Kind] = &[
    &kinds::POD,
    &kinds::SERVICE,
    &kinds::ENDPOINT_SLICE,
    &kinds::DEPLOYMENT,
    &kinds::REPLICA_SET,
    &kinds::STATEFUL_SET,
    &kinds::DAEMON_SET,
    &kinds::EVENT,
    &kinds::NETWORK_POLICY,
    &kinds::HORIZONTAL_POD_AUTOSCALER,
    &kinds::RESOURCE_QUOTA,
    &kinds::PERSISTENT_VOLUME_CLAIM,
    &kinds::SERVICE_ACCOUNT,
    &kinds::CLUSTER_SERVICE_VERSION,
    &kinds::INSTALL_PLAN,
    &kinds::OPERATOR_GROUP,
    &kinds::ROUTE,
    &kinds::EGRESS_FIREWALL,
    &kinds::CERTIFICATE,
    &kinds::ISSUER,
];
