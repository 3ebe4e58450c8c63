//! The names of fields. Those that Kubernetes, Istio and Envoy use everywhere are numbers.

use std::fmt;
use std::sync::LazyLock;

use serde::de::{Deserialize, Deserializer, Visitor};

/// The name of a field.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Name);

/// Each name has one form only: a known one is never a text of its own.
#[derive(Clone, PartialEq, Eq)]
enum Name {
    /// A position in [`KNOWN`].
    Known(u16),
    Own(Box<str>),
}

impl Key {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Known(number) => KNOWN[usize::from(*number)],
            Name::Own(name) => name,
        }
    }
}

impl Key {
    /// What [`Key::is`] needs to know of a name: its number, if it is known.
    pub(super) fn lookup(name: &str) -> Option<u16> {
        known(name)
    }

    /// Whether it is this name, whose number (or that it has none) was looked up.
    pub(super) fn is(&self, wanted: Option<u16>, name: &str) -> bool {
        match (&self.0, wanted) {
            (Name::Known(number), Some(wanted)) => *number == wanted,
            (Name::Own(own), None) => **own == *name,
            _ => false,
        }
    }
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Self(known(name).map_or_else(|| Name::Own(name.into()), Name::Known))
    }
}

impl From<String> for Key {
    fn from(name: String) -> Self {
        Self(known(&name).map_or_else(|| Name::Own(name.into_boxed_str()), Name::Known))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        Ok(name.into())
    }

    fn visit_string<E>(self, name: String) -> Result<Key, E> {
        Ok(name.into())
    }
}

/// The size of the table below: a power of two, several times as large as there are names.
const PLACES: usize = 4096;

/// No name stands here.
const FREE: u16 = u16::MAX;

/// Where a name is looked for first: its length, and a few of its letters, tell most names apart.
fn place(name: &[u8]) -> usize {
    let letter = |at: usize| usize::from(name.get(at).copied().unwrap_or(0));
    let mixed = name.len()
        ^ letter(0) << 2
        ^ letter(name.len() / 2) << 4
        ^ letter(name.len() / 3) << 7
        ^ letter(name.len().wrapping_sub(1)) << 5
        ^ letter(name.len().wrapping_sub(3)) << 3;
    mixed % PLACES
}

/// The number of a known name.
fn known(name: &str) -> Option<u16> {
    static TABLE: LazyLock<Vec<u16>> = LazyLock::new(|| {
        let mut table = vec![FREE; PLACES];
        for (number, name) in (0..).zip(KNOWN) {
            let mut at = place(name.as_bytes());
            while table[at] != FREE {
                at = (at + 1) % PLACES;
            }
            table[at] = number;
        }
        table
    });
    let table = &*TABLE;
    let mut at = place(name.as_bytes());
    loop {
        let number = table[at];
        if number == FREE {
            return None;
        }
        if KNOWN[usize::from(number)] == name {
            return Some(number);
        }
        at = (at + 1) % PLACES;
    }
}

/// Names that objects of many kinds and the answers of Envoy have; each once.
static KNOWN: [&str; 403] = [
    "accepted",
    "accessModes",
    "active_state",
    "add",
    "address",
    "addressType",
    "addresses",
    "affinity",
    "allocatable",
    "allowPrivilegeEscalation",
    "allowed",
    "allowedRoutes",
    "annotations",
    "apiGroup",
    "apiGroups",
    "apiVersion",
    "app",
    "architecture",
    "args",
    "attachedRoutes",
    "audience",
    "auth",
    "authentication",
    "authorization",
    "authorizationServers",
    "availableReplicas",
    "backendRefs",
    "blockOwnerDeletion",
    "bootID",
    "bytes",
    "canonical_name",
    "capabilities",
    "capacity",
    "certificateRefs",
    "claims",
    "cluster",
    "clusterIP",
    "clusterIPs",
    "cluster_name",
    "clusters",
    "code",
    "command",
    "component",
    "conditions",
    "conditionsKind",
    "config",
    "configMap",
    "configMapKeyRef",
    "configMapRef",
    "configPatches",
    "connect_timeout",
    "containerID",
    "containerName",
    "containerPort",
    "containerStatuses",
    "containers",
    "controller",
    "controllerName",
    "controllerRevision",
    "count",
    "cpu",
    "creationTimestamp",
    "credentialRef",
    "daemonEndpoints",
    "data",
    "decorator",
    "defaultMode",
    "deletionTimestamp",
    "deprecatedCount",
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "deprecatedSource",
    "divisor",
    "dnsPolicy",
    "domains",
    "downwardAPI",
    "drop",
    "dynamic_active_clusters",
    "dynamic_endpoint_configs",
    "dynamic_listeners",
    "dynamic_route_configs",
    "effect",
    "email",
    "emptyDir",
    "enableServiceLinks",
    "endpoint",
    "endpoint_config",
    "endpoints",
    "env",
    "envFrom",
    "envoy_grpc",
    "error",
    "eventTime",
    "exact",
    "exec",
    "exitCode",
    "exp",
    "expectedVersion",
    "expirationSeconds",
    "exportTo",
    "externalTrafficPolicy",
    "failureThreshold",
    "failure_mode_allow",
    "fieldPath",
    "fieldRef",
    "file",
    "filterChains",
    "filter_chains",
    "filter_metadata",
    "filters",
    "finalizers",
    "finishedAt",
    "first",
    "firstTimestamp",
    "from",
    "fsGroup",
    "fullyLabeledReplicas",
    "gateway",
    "gatewayClassName",
    "generateName",
    "generation",
    "group",
    "groups",
    "grpc_service",
    "headers",
    "health_status",
    "heartbeat",
    "host",
    "hostIP",
    "hostIPs",
    "hostPort",
    "hostname",
    "hostnames",
    "hosts",
    "http",
    "httpGet",
    "http_filters",
    "id",
    "ignored",
    "image",
    "imageID",
    "imagePullPolicy",
    "imagePullSecrets",
    "images",
    "include_request_attempt_count",
    "info",
    "ingress",
    "initContainerStatuses",
    "initContainers",
    "initialDelaySeconds",
    "internalTrafficPolicy",
    "invert_match",
    "involvedObject",
    "ip",
    "ipFamilies",
    "ipFamilyPolicy",
    "istio",
    "items",
    "jwt",
    "kernelVersion",
    "key",
    "kind",
    "kuadrant",
    "kubeProxyVersion",
    "kubeletVersion",
    "labelSelector",
    "labels",
    "last",
    "lastHeartbeatTime",
    "lastProbeTime",
    "lastSeen",
    "lastState",
    "lastTimestamp",
    "lastTransitionTime",
    "lastUpdateTime",
    "last_updated",
    "lb_endpoints",
    "level",
    "lifecycle",
    "limits",
    "listener",
    "listeners",
    "livenessProbe",
    "loadBalancer",
    "load_assignment",
    "load_balancing_weight",
    "local",
    "locality",
    "log",
    "machineID",
    "managed",
    "managedFields",
    "match",
    "matchExpressions",
    "matchLabelKeys",
    "matchLabels",
    "matches",
    "maxSurge",
    "maxUnavailable",
    "max_grpc_timeout",
    "memory",
    "message",
    "metadata",
    "method",
    "metrics",
    "minReadySeconds",
    "mode",
    "mountPath",
    "msg",
    "name",
    "names",
    "namespace",
    "namespaceSelector",
    "no",
    "node",
    "nodeInfo",
    "nodeName",
    "nodePort",
    "nodeSelector",
    "note",
    "object",
    "observedGeneration",
    "operatingSystem",
    "operation",
    "operator",
    "optional",
    "options",
    "osImage",
    "ownerReference",
    "ownerReferences",
    "parentRef",
    "parentRefs",
    "parents",
    "patch",
    "path",
    "paths",
    "patternMatching",
    "periodSeconds",
    "phase",
    "plural",
    "podCIDR",
    "podCIDRs",
    "podIP",
    "podIPs",
    "podSelector",
    "policyTypes",
    "port",
    "portName",
    "port_value",
    "ports",
    "preemptionPolicy",
    "preferredDuringSchedulingIgnoredDuringExecution",
    "prefix",
    "priority",
    "priorityClassName",
    "privileged",
    "processing_mode",
    "programmed",
    "progressDeadlineSeconds",
    "projected",
    "properties",
    "protocol",
    "providerID",
    "qosClass",
    "readOnly",
    "readOnlyRootFilesystem",
    "readiness",
    "readinessProbe",
    "ready",
    "readyReplicas",
    "reason",
    "regarding",
    "release",
    "replicas",
    "reporter",
    "reportingComponent",
    "reportingController",
    "request",
    "requests",
    "require_tls",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "resolution",
    "resource",
    "resourceFieldRef",
    "resourceVersion",
    "resources",
    "response",
    "restartCount",
    "restartPolicy",
    "retry_policy",
    "revisionHistoryLimit",
    "rollingUpdate",
    "route",
    "route_config",
    "route_config_name",
    "routes",
    "rules",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "running",
    "safe_regex",
    "schedulerName",
    "schema",
    "scope",
    "seccompProfile",
    "secret",
    "secretKeyRef",
    "secretName",
    "sectionName",
    "securityContext",
    "selector",
    "selfLink",
    "series",
    "server",
    "serverInfo",
    "serviceAccount",
    "serviceAccountName",
    "serviceAccountToken",
    "services",
    "serving",
    "sessionAffinity",
    "set",
    "sizeBytes",
    "sni",
    "socket_address",
    "source",
    "sources",
    "spec",
    "startTime",
    "started",
    "startedAt",
    "startupProbe",
    "stat_prefix",
    "state",
    "static_clusters",
    "stats",
    "status",
    "strategy",
    "string_match",
    "subPath",
    "subjects",
    "successThreshold",
    "supportedKinds",
    "supportedVersion",
    "swap",
    "systemUUID",
    "taints",
    "target",
    "targetPort",
    "targetRef",
    "targetRefs",
    "tcpSocket",
    "template",
    "terminated",
    "terminating",
    "terminationGracePeriodSeconds",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "time",
    "timeout",
    "timeoutSeconds",
    "tls",
    "to",
    "token",
    "tolerationSeconds",
    "tolerations",
    "tools",
    "topologyKey",
    "topologySpreadConstraints",
    "totalTools",
    "trafficPolicy",
    "transport_socket",
    "transport_socket_match",
    "ts",
    "type",
    "typed_config",
    "uid",
    "unavailableReplicas",
    "unreadyReplicas",
    "updatedReplicas",
    "url",
    "urlRewrite",
    "user",
    "value",
    "valueFrom",
    "values",
    "verbs",
    "version",
    "version_info",
    "versions",
    "virtual_hosts",
    "volume",
    "volumeMounts",
    "volumes",
    "volumesAttached",
    "volumesInUse",
    "waiting",
    "weight",
    "when",
    "workload",
    "workloadSelector",
    "zone",
];
