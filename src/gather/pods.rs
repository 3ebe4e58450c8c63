//! What the later collectors need to know of a pod, taken while its list streams by: which
//! containers have which logs, the node, the ConfigMaps it refers to, what it is.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::list::Sink;
use super::out::{ListFile, Out, complete, metadata};
use crate::archive::path;
use crate::archive::write::WriteError;
use crate::model::workloads::{Component, components};
use crate::model::{Object, kinds};

/// The label that Istio and Envoy Gateway put on the pods of a Gateway.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// A log that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogName {
    pub(crate) container: String,
    pub(crate) previous: bool,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) logs: Vec<LogName>,
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) component: Option<Component>,
    /// The Gateway whose proxy it is.
    pub(crate) gateway: Option<String>,
    pub(crate) running: bool,
    /// Whether Services lead to it.
    pub(crate) ready: bool,
    /// Its labels, which Services select by.
    pub(crate) labels: Vec<(String, String)>,
    /// The ports of its metrics and of its health checks, for the parts that have them; 0 without.
    pub(crate) metrics_port: u16,
    pub(crate) health_port: u16,
    /// The ports of its containers that have a name.
    pub(crate) ports: Vec<(String, u16)>,
}

impl Pod {
    /// Takes what matters from a pod as the API server sent it.
    pub(crate) fn read(pod: &Value) -> Option<Self> {
        let name = Some(metadata(pod, "name")).filter(|name| !name.is_empty())?;
        let gateway = pod
            .pointer("/metadata/labels")
            .and_then(|labels| labels.get(GATEWAY_NAME))
            .and_then(Value::as_str)
            .map(str::to_owned);
        let object = Object::new(pod.clone(), "pod".into(), None);
        let component = object.as_ref().and_then(components::of_pod);
        let (metrics_port, health_port) = match component {
            Some(Component::Controller) => (listens(pod, METRICS, 8082), listens(pod, HEALTH, 8081)),
            Some(Component::Authorino) => (listens(pod, METRICS, 8080), listens(pod, HEALTH, 8081)),
            _ => (0, 0),
        };
        Some(Self {
            namespace: metadata(pod, "namespace").to_owned(),
            name: name.to_owned(),
            node: text(pod, "/spec/nodeName").to_owned(),
            logs: logs(pod),
            config_maps: config_maps(pod),
            component,
            metrics_port,
            health_port,
            gateway,
            running: text(pod, "/status/phase") == "Running",
            ready: array(pod, "/status/conditions")
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
            labels: pod
                .pointer("/metadata/labels")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            ports: array(pod, "/spec/containers")
                .iter()
                .flat_map(|container| array(container, "/ports"))
                .filter_map(|port| {
                    let number = u16::try_from(port["containerPort"].as_u64()?).ok()?;
                    Some((port["name"].as_str()?.to_owned(), number))
                })
                .collect(),
        })
    }
}

/// How a port is told: flags with an address, names of container ports.
type Told = (&'static [&'static str], &'static [&'static str]);
const METRICS: Told = (&["--metrics-addr", "--metrics-bind-address"], &["metrics", "http-metrics"]);
const HEALTH: Told = (
    &["--health-probe-addr", "--health-probe-bind-address"],
    &["health", "healthz", "health-probe", "probes"],
);

/// The port that a flag of a container or the name of one of its ports tells, else the default.
fn listens(pod: &Value, (flags, names): Told, default: u16) -> u16 {
    let port = |address: &str| address.rsplit(':').next()?.parse::<u16>().ok();
    for container in array(pod, "/spec/containers") {
        let words: Vec<&str> = ["/command", "/args"]
            .iter()
            .flat_map(|list| array(container, list))
            .filter_map(Value::as_str)
            .collect();
        for (index, word) in words.iter().enumerate() {
            let told = match word.split_once('=') {
                Some((flag, address)) if flags.contains(&flag) => port(address),
                None if flags.contains(word) => words.get(index + 1).and_then(|address| port(address)),
                _ => None,
            };
            if let Some(told) = told {
                return told;
            }
        }
        let named = array(container, "/ports")
            .iter()
            .find(|port| port["name"].as_str().is_some_and(|name| names.contains(&name)))
            .and_then(|port| u16::try_from(port["containerPort"].as_u64()?).ok());
        if let Some(named) = named {
            return named;
        }
    }
    default
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn array<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The logs that the kubelet has, by the rules with which it answers: a container that never
/// started has none; one that waits after a crash has only that of its last run, which is the
/// "previous" one; the previous log exists where a run has ended before.
fn logs(pod: &Value) -> Vec<LogName> {
    let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let mut logs = Vec::new();
    for status in lists.iter().flat_map(|list| array(pod, &format!("/status/{list}"))) {
        let Some(container) = status["name"].as_str() else { continue };
        let previous = status.pointer("/lastState/terminated").is_some_and(|t| !t.is_null());
        let has_run = ["running", "terminated"]
            .iter()
            .any(|state| status["state"].get(state).is_some_and(|state| !state.is_null()));
        if has_run {
            logs.push(LogName { container: container.to_owned(), previous: false });
        }
        if previous {
            logs.push(LogName { container: container.to_owned(), previous: true });
        }
    }
    logs
}

/// The ConfigMaps that a pod mounts or takes its environment from.
fn config_maps(pod: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |name: Option<&Value>| {
        if let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) {
            names.insert(name.to_owned());
        }
    };
    for volume in array(pod, "/spec/volumes") {
        add(volume.pointer("/configMap/name"));
        for source in array(volume, "/projected/sources") {
            add(source.pointer("/configMap/name"));
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in array(pod, &format!("/spec/{list}")) {
            for from in array(container, "/envFrom") {
                add(from.pointer("/configMapRef/name"));
            }
            for variable in array(container, "/env") {
                add(variable.pointer("/valueFrom/configMapKeyRef/name"));
            }
        }
    }
    names
}

/// The pods that were met. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pods {
    inner: Arc<Mutex<Vec<Pod>>>,
}

impl Pods {
    pub(crate) fn add(&self, pods: Vec<Pod>) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).extend(pods);
    }

    /// All of them, by namespace and name.
    pub(crate) fn all(&self) -> Vec<Pod> {
        let mut all = self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all
    }
}

/// Writes pods twice, as the readers of must-gathers want them, and remembers what matters.
pub(crate) struct ToPods {
    pub(crate) file: ListFile,
    out: Out,
    version: String,
    source: String,
    copied: BTreeSet<String>,
    pub(crate) pods: Vec<Pod>,
}

impl ToPods {
    pub(crate) fn new(out: &Out, version: &str, namespace: &str, source: String) -> Self {
        Self {
            file: ListFile::new(out, &kinds::POD, version, namespace, source.clone()),
            out: out.clone(),
            version: version.to_owned(),
            source,
            copied: BTreeSet::new(),
            pods: Vec::new(),
        }
    }
}

impl Sink for ToPods {
    fn restart(&mut self) {
        self.file.forget();
        self.pods.clear();
    }

    fn item(&mut self, item: Value) -> Result<(), WriteError> {
        let item = complete(&kinds::POD, &self.version, item);
        self.pods.extend(Pod::read(&item));
        let (namespace, name) = (metadata(&item, "namespace").to_owned(), metadata(&item, "name").to_owned());
        let redacted = self.file.add(item)?;
        if self.copied.insert(name.clone()) {
            let place = self.out.redactor.path(&path::pod(&namespace, &name));
            self.out.writer.add(place, self.source.clone(), &redacted.to_yaml())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_logs_that_exist_are_asked_for() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "status": {
            "initContainerStatuses": [{"name": "init", "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [
                {"name": "runs", "state": {"running": {}}, "lastState": {}},
                {"name": "restarted", "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}},
                {"name": "crashes", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {}}},
                {"name": "never", "state": {"waiting": {"reason": "ImagePullBackOff"}}},
            ],
            "ephemeralContainerStatuses": [{"name": "debug", "state": {"running": {}}}]}});
        let names: Vec<String> = logs(&pod)
            .iter()
            .map(|l| format!("{}{}", l.container, if l.previous { " -p" } else { "" }))
            .collect();
        assert_eq!(names, ["init", "runs", "restarted", "restarted -p", "crashes -p", "debug"]);
    }

    #[test]
    fn ports_of_metrics_and_health() {
        let pod = |container: Value| json!({"spec": {"containers": [container]}});
        let table = [
            (json!({"args": ["--metrics-addr=:9999"]}), 9999),
            (json!({"command": ["./x", "--metrics-bind-address", "0.0.0.0:9998"]}), 9998),
            (json!({"ports": [{"name": "metrics", "containerPort": 9997}]}), 9997),
            (json!({"args": ["--metrics-addr=0"]}), 0),
            (json!({"args": ["--metrics-addr"]}), 8082),
            (json!({}), 8082),
        ];
        for (container, port) in table {
            assert_eq!(listens(&pod(container.clone()), METRICS, 8082), port, "{container}");
        }
    }

    #[test]
    fn config_maps_from_every_place() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {
            "nodeName": "node-1",
            "volumes": [{"configMap": {"name": "a"}}, {"projected": {"sources": [{"configMap": {"name": "b"}}]}}],
            "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "d"}}],
                "env": [{"valueFrom": {"configMapKeyRef": {"name": "e", "key": "k"}}}, {"value": "x"}]}]}});
        let read = Pod::read(&pod).expect("a pod");
        assert_eq!(read.config_maps.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "d", "e"]);
        assert_eq!(read.node, "node-1");
        assert!(Pod::read(&json!({"metadata": {}})).is_none());
    }
}
