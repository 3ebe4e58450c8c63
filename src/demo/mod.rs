//! A built-in installation of an MCP gateway, as objects in files, and its faults.
//!
//! `installation/` holds what people and operators write, with the status that the controllers
//! add; [`workloads`] adds what a cluster makes of it (ReplicaSets, Pods, EndpointSlices, UIDs).
//! `logs/` holds a few lines of each container, [`live`] makes up what Envoy and the broker
//! answer, [`probes`] what clients get; [`files`] makes a bundle of it, [`faults`] breaks it
//! in three places. The `demo` command serves the result as a cluster, the tests build their bundles from it.
//!
//! All names, tokens and addresses are made up; times are around [`reference_time`] and can be
//! moved with [`Installation::moved_to`].

mod faults;
mod files;
mod live;
mod probes;
mod workloads;

pub use faults::faulty;
pub use files::Refused;

use chrono::{DateTime, SecondsFormat, TimeZone as _, Utc};
use regex::{Captures, Regex};
use serde_json::Value;

/// An installation: what a cluster would answer.
#[derive(Debug, Clone)]
pub struct Installation {
    /// The name of the cluster.
    pub cluster: String,
    /// The objects as the API server would send them, Secrets with their values.
    pub objects: Vec<Value>,
    /// The logs that the kubelets would send.
    pub logs: Vec<ContainerLog>,
    /// Further files by their path in an archive: answers of Envoy and of the broker.
    pub extras: Vec<(String, Vec<u8>)>,
    /// The time to which all other times relate: when the evidence is collected.
    pub time: DateTime<Utc>,
}

/// The log of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLog {
    /// The namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Whether it is the log of the run before the current one.
    pub previous: bool,
    /// The text.
    pub text: String,
}

/// The manifests, in an order in which one could apply them.
static MANIFESTS: &[&str] = &[
    include_str!("installation/crds.yaml"),
    include_str!("installation/cluster.yaml"),
    include_str!("installation/istio.yaml"),
    include_str!("installation/gateway.yaml"),
    include_str!("installation/mcp-gateway.yaml"),
    include_str!("installation/servers.yaml"),
    include_str!("installation/external.yaml"),
    include_str!("installation/kuadrant.yaml"),
    include_str!("installation/events.yaml"),
];

/// The logs: namespace, Deployment, container, text.
static LOGS: &[(&str, &str, &str, &str)] = &[
    ("istio-system", "istiod", "discovery", include_str!("logs/istiod.log")),
    ("gateway-system", "mcp-gateway-istio", "istio-proxy", include_str!("logs/istio-proxy.log")),
    ("mcp-system", "mcp-gateway-controller", "mcp-controller", include_str!("logs/mcp-controller.log")),
    ("mcp-system", "mcp-gateway", "mcp-gateway", include_str!("logs/mcp-gateway.log")),
    ("team-weather", "weather", "server", include_str!("logs/weather.log")),
    ("team-commerce", "orders", "server", include_str!("logs/orders.log")),
    ("team-commerce", "inventory", "server", include_str!("logs/inventory.log")),
    (
        "kuadrant-system",
        "kuadrant-operator-controller-manager",
        "manager",
        include_str!("logs/kuadrant-operator.log"),
    ),
    ("kuadrant-system", "authorino-operator", "manager", include_str!("logs/authorino-operator.log")),
    (
        "kuadrant-system",
        "limitador-operator-controller-manager",
        "manager",
        include_str!("logs/limitador-operator.log"),
    ),
    ("kuadrant-system", "dns-operator-controller-manager", "manager", include_str!("logs/dns-operator.log")),
    ("kuadrant-system", "authorino", "authorino", include_str!("logs/authorino.log")),
    ("kuadrant-system", "limitador-limitador", "limitador", include_str!("logs/limitador.log")),
];

/// When the evidence of the built-in installation was collected: 14 September 2026, 10:30 UTC.
#[must_use]
pub fn reference_time() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 9, 14, 10, 30, 0).single().unwrap_or_default()
}

/// The healthy installation: version 0.9 upstream on Istio with Kuadrant, three MCP servers in
/// the cluster and one outside.
#[must_use]
pub fn healthy() -> Installation {
    static HEALTHY: std::sync::LazyLock<Installation> = std::sync::LazyLock::new(|| renamed(&[]));
    HEALTHY.clone()
}

/// The healthy installation with these texts replaced in every manifest and log, in this order:
/// the same installation under other names.
#[must_use]
pub fn renamed(replacements: &[(&str, &str)]) -> Installation {
    let rename =
        |text: &str| replacements.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let mut objects: Vec<Value> = Vec::new();
    for object in MANIFESTS.iter().flat_map(|text| parse(&rename(text))) {
        // Two namespaces may have become one.
        if !objects.iter().any(|o| identity(o) == identity(&object)) {
            objects.push(object);
        }
    }
    workloads::run(&mut objects);
    let mut installation = Installation {
        cluster: "demo".to_owned(),
        objects,
        logs: Vec::new(),
        extras: Vec::new(),
        time: reference_time(),
    };
    for (namespace, deployment, container, text) in LOGS {
        let (namespace, deployment) = (rename(namespace), rename(deployment));
        let pod = workloads::pod_name(&namespace, &deployment, 0);
        installation.set_log(&namespace, &pod, container, false, &rename(text));
    }
    installation.refresh_answers();
    installation
}

/// Reads a stream of YAML documents that is part of the program.
///
/// # Panics
/// When the text is not YAML, which the tests of this module rule out for the built-in files.
#[must_use]
pub fn parse(text: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("bug: a built-in manifest is not valid YAML"))
        .filter(|value| !value.is_null())
        .collect()
}

impl Installation {
    /// The object, if there is one; an empty namespace means cluster-scoped.
    #[must_use]
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.iter().find(|object| is(object, kind, namespace, name))
    }

    /// The object, to be changed.
    pub fn get_mut(&mut self, kind: &str, namespace: &str, name: &str) -> Option<&mut Value> {
        self.objects.iter_mut().find(|object| is(object, kind, namespace, name))
    }

    /// Adds objects as somebody would apply them; the cluster adds what it makes of them (UIDs,
    /// and the ReplicaSets, Pods and EndpointSlices of new Deployments and Services). An object
    /// that exists is replaced.
    pub fn apply(&mut self, yaml: &str) {
        for object in parse(yaml) {
            let (kind, namespace, name) = identity(&object);
            let (kind, namespace, name) = (kind.to_owned(), namespace.to_owned(), name.to_owned());
            self.remove(&kind, &namespace, &name);
            self.objects.push(object);
        }
        workloads::run(&mut self.objects);
    }

    /// Removes the object; gives whether there was one.
    pub fn remove(&mut self, kind: &str, namespace: &str, name: &str) -> bool {
        let before = self.objects.len();
        self.objects.retain(|object| !is(object, kind, namespace, name));
        self.objects.len() < before
    }

    /// The name of a Deployment's pod: the first, or the one with this number.
    #[must_use]
    pub fn pod_of(&self, namespace: &str, deployment: &str) -> String {
        workloads::pod_name(namespace, deployment, 0)
    }

    /// Sets the log of a container; an empty text removes it.
    pub fn set_log(&mut self, namespace: &str, pod: &str, container: &str, previous: bool, text: &str) {
        self.logs.retain(|log| {
            !(log.namespace == namespace
                && log.pod == pod
                && log.container == container
                && log.previous == previous)
        });
        if !text.is_empty() {
            self.logs.push(ContainerLog {
                namespace: namespace.to_owned(),
                pod: pod.to_owned(),
                container: container.to_owned(),
                previous,
                text: text.to_owned(),
            });
        }
    }

    /// The log of a container's current run.
    #[must_use]
    pub fn log(&self, namespace: &str, pod: &str, container: &str) -> Option<&str> {
        self.logs
            .iter()
            .find(|l| l.namespace == namespace && l.pod == pod && l.container == container && !l.previous)
            .map(|log| log.text.as_str())
    }

    /// Appends lines to the log of a container's current run.
    pub fn append_log(&mut self, namespace: &str, pod: &str, container: &str, lines: &str) {
        let before = self.log(namespace, pod, container).unwrap_or_default().to_owned();
        self.set_log(namespace, pod, container, false, &(before + lines));
    }

    /// Sets a further file; an empty content removes it.
    pub fn set_extra(&mut self, path: &str, content: &[u8]) {
        self.extras.retain(|(p, _)| p != path);
        if !content.is_empty() {
            self.extras.push((path.to_owned(), content.to_vec()));
        }
    }

    /// Asks Envoy, the brokers and, as a client, the gateways and servers again: what they answer
    /// follows from the objects.
    pub fn refresh_answers(&mut self) {
        let folders = [
            "mcpgw/envoy/",
            "mcpgw/broker/",
            "mcpgw/controller/",
            "mcpgw/authorino/",
            crate::model::probes::FOLDER,
        ];
        self.extras.retain(|(path, _)| !folders.iter().any(|folder| path.starts_with(folder)));
        let answers = live::answers(self);
        self.extras.extend(answers);
        let answers = probes::answers(self);
        self.extras.extend(answers);
    }

    /// Sets a condition (type, status, reason, message) of an object (kind, namespace, name), in its
    /// `/status/conditions`, as a controller would: seen at the present generation, if the kind's
    /// controller says which generation it has seen.
    pub fn set_condition(&mut self, object: (&str, &str, &str), condition: [&str; 4], since: &str) {
        let (kind, namespace, name) = object;
        if let Some(object) = self.get_mut(kind, namespace, name) {
            let generation = object["metadata"]["generation"].clone();
            set_condition(&mut object["status"]["conditions"], condition, since, &generation);
        }
    }

    /// Makes a pod not ready, with what follows for its Deployment, its ReplicaSet and the endpoints.
    pub fn unready(&mut self, namespace: &str, deployment: &str, pod: &str) {
        workloads::unready(&mut self.objects, namespace, deployment, pod);
    }

    /// The same installation with every time moved, so that its collection falls on `time`.
    #[must_use]
    pub fn moved_to(mut self, time: DateTime<Utc>) -> Self {
        let by = time - self.time;
        let stamp =
            Regex::new(r"\b20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]+)?Z")
                .expect("bug: the expression for times is not valid");
        let shift = |text: &str| -> Option<String> {
            stamp.is_match(text).then(|| {
                let moved = stamp.replace_all(text, |found: &Captures<'_>| {
                    DateTime::parse_from_rfc3339(&found[0]).map_or_else(
                        |_| found[0].to_owned(),
                        |t| (t.with_timezone(&Utc) + by).to_rfc3339_opts(precision(&found[0]), true),
                    )
                });
                moved.into_owned()
            })
        };
        for object in &mut self.objects {
            shift_strings(object, &shift);
        }
        for log in &mut self.logs {
            if let Some(text) = shift(&log.text) {
                log.text = text;
            }
        }
        for (_, content) in &mut self.extras {
            if let Some(text) = std::str::from_utf8(content).ok().and_then(shift) {
                *content = text.into_bytes();
            }
        }
        self.time = time;
        self
    }
}

/// As many fractional digits as the text has.
fn precision(text: &str) -> SecondsFormat {
    match text.split_once('.').map_or(0, |(_, fraction)| fraction.len() - 1) {
        0 => SecondsFormat::Secs,
        1..=3 => SecondsFormat::Millis,
        4..=6 => SecondsFormat::Micros,
        _ => SecondsFormat::Nanos,
    }
}

fn shift_strings(value: &mut Value, shift: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(moved) = shift(text) {
                *text = moved;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shift_strings(item, shift)),
        Value::Object(fields) => fields.values_mut().for_each(|field| shift_strings(field, shift)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Sets a condition (type, status, reason, message) in a list of conditions, and adds it if there
/// is none of its type. `observedGeneration` is kept up where it is used.
pub fn set_condition(conditions: &mut Value, condition: [&str; 4], since: &str, generation: &Value) {
    let [kind, status, reason, message] = condition;
    if !conditions.is_array() {
        *conditions = serde_json::json!([]);
    }
    let Some(list) = conditions.as_array_mut() else { return };
    let index = list.iter().position(|c| c["type"] == kind).unwrap_or_else(|| {
        list.push(serde_json::json!({"type": kind, "observedGeneration": generation}));
        list.len() - 1
    });
    let Some(fields) = list[index].as_object_mut() else { return };
    if fields.contains_key("observedGeneration") {
        fields.insert("observedGeneration".to_owned(), generation.clone());
    }
    for (key, value) in
        [("status", status), ("reason", reason), ("message", message), ("lastTransitionTime", since)]
    {
        fields.insert(key.to_owned(), Value::from(value));
    }
}

/// Kind, namespace and name of an object.
fn identity(object: &Value) -> (&str, &str, &str) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    (text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

fn is(object: &Value, kind: &str, namespace: &str, name: &str) -> bool {
    identity(object) == (kind, namespace, name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_object_is_whole_and_unique() {
        let installation = healthy();
        let mut seen = BTreeSet::new();
        for object in &installation.objects {
            let (kind, namespace, name) = identity(object);
            let full = format!("{kind} {namespace}/{name}");
            assert!(!kind.is_empty() && !name.is_empty() && object["apiVersion"].is_string(), "{full}");
            assert!(object["metadata"]["uid"].is_string(), "{full}");
            assert!(object.get("stringData").is_none(), "{full}");
            for owner in object["metadata"]["ownerReferences"].as_array().into_iter().flatten() {
                assert!(owner["uid"].is_string(), "{full}: its owner {owner} does not exist");
            }
            assert!(seen.insert(full.clone()), "{full} stands there twice");
            if !namespace.is_empty() {
                assert!(installation.get("Namespace", "", namespace).is_some(), "{full}: no such namespace");
            }
        }
    }

    #[test]
    fn every_service_has_a_ready_endpoint_and_every_log_a_pod() {
        let installation = healthy();
        for slice in installation.objects.iter().filter(|o| identity(o).0 == "EndpointSlice") {
            let ready = slice["endpoints"]
                .as_array()
                .is_some_and(|e| e.iter().any(|e| e["conditions"]["ready"] == true));
            assert!(ready, "{}", slice["metadata"]["name"]);
            assert!(
                slice["ports"].as_array().is_some_and(|p| p.iter().all(|p| p["port"].is_u64())),
                "{slice}"
            );
        }
        let pods = installation.objects.iter().filter(|o| identity(o).0 == "Pod").count();
        assert_eq!(pods, installation.logs.len());
        for log in &installation.logs {
            assert!(installation.get("Pod", &log.namespace, &log.pod).is_some(), "{}", log.pod);
        }
    }

    #[test]
    fn times_move_together() {
        let to = reference_time() + chrono::Duration::days(40);
        let moved = healthy().moved_to(to);
        let heartbeat = moved
            .get("Node", "", "worker-1")
            .and_then(|n| n.pointer("/status/conditions/0/lastHeartbeatTime"));
        assert_eq!(heartbeat.and_then(Value::as_str), Some("2026-10-24T10:27:12Z"));
        let pod = moved.pod_of("gateway-system", "mcp-gateway-istio");
        let log = moved.log("gateway-system", &pod, "istio-proxy").expect("a log");
        assert!(
            log.contains("[2026-10-24T10:24:31.498Z]") && log.contains("2026-10-22T06:20:00.500000Z"),
            "{log}"
        );
        assert_eq!(moved.moved_to(reference_time()).objects, healthy().objects);
    }
}
