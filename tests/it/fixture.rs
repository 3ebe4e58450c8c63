//! The fixture language: a healthy installation, changed step by step, as a bundle, a report, or files.
//!
//! ```ignore
//! let report = Fixture::healthy()
//!     .edit("HTTPRoute", "team-weather", "weather", |route| route["spec"]["hostnames"] = json!(["weather.example.com"]))
//!     .report();
//! ```
//!
//! Changes act on what the cluster would hold: a change of a spec does not change the status that a
//! controller would write, so a test that wants it says so with [`Fixture::status`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oc_mcpgw::demo::{self, Installation, Refused};
use oc_mcpgw::model::{Bundle, Kind};
use oc_mcpgw::report::Report;
use oc_mcpgw::rules;
use serde_json::{Value, json};

/// When the conditions that a fixture sets have changed: 40 minutes before the collection.
const SINCE: &str = "2026-09-14T09:50:00Z";

/// An installation in the making.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The objects, logs and other files.
    pub installation: Installation,
    refused: Refused,
}

impl Fixture {
    /// The healthy installation of `oc_mcpgw::demo`.
    #[must_use]
    pub fn healthy() -> Self {
        // Reading the manifests takes longer than most tests of them.
        static HEALTHY: std::sync::LazyLock<Installation> = std::sync::LazyLock::new(demo::healthy);
        Self { installation: HEALTHY.clone(), refused: Refused::default() }
    }

    /// Some other installation, with nothing refused.
    #[must_use]
    pub fn from(installation: Installation) -> Self {
        Self { installation, refused: Refused::default() }
    }

    /// The installation of the `demo` command, with its three faults.
    #[must_use]
    pub fn faulty() -> Self {
        Self { installation: demo::faulty(), refused: Refused::default() }
    }

    /// Changes one object. An empty namespace means cluster-scoped; a Pod may be named by its Deployment.
    ///
    /// # Panics
    /// When there is no such object: a fixture that changes nothing would prove nothing.
    #[must_use]
    pub fn edit(mut self, kind: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let name = self.resolve(kind, namespace, name);
        let object = self.installation.get_mut(kind, namespace, &name);
        change(object.unwrap_or_else(|| panic!("the fixture has no {kind} {namespace}/{name}")));
        self
    }

    /// Changes every object of a kind.
    #[must_use]
    pub fn edit_all(mut self, kind: &str, mut change: impl FnMut(&mut Value)) -> Self {
        let mut objects = self.installation.objects.iter_mut().filter(|o| o["kind"] == kind).peekable();
        assert!(objects.peek().is_some(), "the fixture has no {kind}");
        objects.for_each(&mut change);
        self
    }

    /// Sets one field by its JSON pointer, making the objects on the way; `null` removes it.
    #[must_use]
    pub fn set(self, kind: &str, namespace: &str, name: &str, pointer: &str, value: Value) -> Self {
        self.edit(kind, namespace, name, |object| set_field(object, pointer, value))
    }

    /// Sets a condition of `/status/conditions` to this status, reason and message, observed at the
    /// current generation, and adds it if there is none of the type.
    #[must_use]
    pub fn status(self, kind: &str, namespace: &str, name: &str, condition: [&str; 4]) -> Self {
        self.edit(kind, namespace, name, |object| {
            let generation = object["metadata"]["generation"].clone();
            demo::set_condition(field(object, "/status/conditions"), condition, SINCE, &generation);
        })
    }

    /// Sets a condition of an HTTPRoute for its first parent.
    #[must_use]
    pub fn route_status(self, namespace: &str, name: &str, condition: [&str; 4]) -> Self {
        self.edit("HTTPRoute", namespace, name, |route| {
            let generation = route["metadata"]["generation"].clone();
            let conditions = field(route, "/status/parents/0/conditions");
            demo::set_condition(conditions, condition, SINCE, &generation);
        })
    }

    /// Changes the broker's container in its Deployment, ReplicaSet and Pod.
    #[must_use]
    pub fn edit_broker(self, change: impl Fn(&mut Value)) -> Self {
        let pod = self.pod_of("mcp-system", "mcp-gateway");
        let set = pod.rsplit_once('-').expect("a pod's name").0.to_owned();
        self.edit("Deployment", "mcp-system", "mcp-gateway", |d| {
            change(&mut d["spec"]["template"]["spec"]["containers"][0]);
        })
        .edit("ReplicaSet", "mcp-system", &set, |r| {
            change(&mut r["spec"]["template"]["spec"]["containers"][0]);
        })
        .edit("Pod", "mcp-system", &pod, |p| change(&mut p["spec"]["containers"][0]))
    }

    /// Sets the content of a gateway's config Secret.
    #[must_use]
    pub fn config(self, namespace: &str, yaml: &str) -> Self {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(yaml);
        self.set("Secret", namespace, "mcp-gateway-config", "/data/config.yaml", json!(data))
    }

    /// Changes the record of a probe, named as its file.
    ///
    /// # Panics
    /// When there is no such probe.
    #[must_use]
    pub fn probe(mut self, name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let file = oc_mcpgw::archive::path::probe(name);
        let found = self.installation.extras.iter_mut().find(|(path, _)| *path == file);
        let (_, content) = found.unwrap_or_else(|| panic!("the fixture has no probe {file}"));
        let mut probe: Value = serde_json::from_slice(content).expect("JSON");
        change(&mut probe);
        *content = serde_json::to_vec(&probe).expect("JSON");
        self
    }

    /// Removes an object.
    ///
    /// # Panics
    /// When there is no such object.
    #[must_use]
    pub fn remove(mut self, kind: &str, namespace: &str, name: &str) -> Self {
        let name = self.resolve(kind, namespace, name);
        assert!(
            self.installation.remove(kind, namespace, &name),
            "the fixture has no {kind} {namespace}/{name}"
        );
        self
    }

    /// Removes all objects of a kind, in one namespace or everywhere.
    #[must_use]
    pub fn remove_all(mut self, kind: &str, namespace: Option<&str>) -> Self {
        self.installation.objects.retain(|object| {
            object["kind"] != kind || namespace.is_some_and(|ns| object["metadata"]["namespace"] != ns)
        });
        self
    }

    /// Removes everything in a namespace, and the namespace.
    #[must_use]
    pub fn remove_namespace(mut self, namespace: &str) -> Self {
        self.installation.objects.retain(|object| {
            object["metadata"]["namespace"] != namespace
                && !(object["kind"] == "Namespace" && object["metadata"]["name"] == namespace)
        });
        self.installation.logs.retain(|log| log.namespace != namespace);
        self
    }

    /// Applies manifests, separated by `---`. Deployments and Services get what a cluster makes of them.
    #[must_use]
    pub fn add(mut self, yaml: &str) -> Self {
        self.installation.apply(yaml);
        self
    }

    /// Sets the log of a container; an empty text removes it. The pod may be named by its Deployment.
    #[must_use]
    pub fn log(mut self, namespace: &str, pod: &str, container: &str, previous: bool, text: &str) -> Self {
        let pod = self.resolve("Pod", namespace, pod);
        self.installation.set_log(namespace, &pod, container, previous, text);
        self
    }

    /// Appends lines to the current log of a container.
    #[must_use]
    pub fn append_log(mut self, namespace: &str, pod: &str, container: &str, lines: &str) -> Self {
        let pod = self.resolve("Pod", namespace, pod);
        self.installation.append_log(namespace, &pod, container, lines);
        self
    }

    /// Sets a file that is neither object nor log; an empty content removes it.
    #[must_use]
    pub fn extra(mut self, path: &str, content: &[u8]) -> Self {
        self.installation.set_extra(path, content);
        self
    }

    /// Lets Envoy and the brokers answer again, so that their answers follow the changed objects.
    #[must_use]
    pub fn refresh_answers(mut self) -> Self {
        self.installation.refresh_answers();
        self
    }

    /// What was refused so far.
    pub(crate) fn refusals(&self) -> &Refused {
        &self.refused
    }

    /// Lets the collection of a kind be refused, in one namespace or everywhere.
    #[must_use]
    pub fn uncollected(mut self, kind: &'static Kind, namespace: Option<&str>) -> Self {
        self.refused.kinds.push((kind, namespace.map(str::to_owned)));
        self
    }

    /// Makes the containers of a Deployment's pod wait for this reason, and lets the workload
    /// controllers say what they would: pod not ready, Deployment and ReplicaSet without ready
    /// replicas, endpoint not ready.
    #[must_use]
    pub fn pod_waits(self, namespace: &str, deployment: &str, reason: &str, message: &str) -> Self {
        self.edit("Pod", namespace, deployment, |pod| {
            if let Some(statuses) = pod["status"]["containerStatuses"].as_array_mut() {
                for status in statuses {
                    status["ready"] = json!(false);
                    status["started"] = json!(false);
                    status["state"] = json!({"waiting": {"reason": reason, "message": message}});
                }
            }
        })
        .pod_not_ready(namespace, deployment)
    }

    /// Makes a Deployment's pod not ready, with what follows for its Deployment and endpoints.
    #[must_use]
    pub fn pod_not_ready(mut self, namespace: &str, deployment: &str) -> Self {
        let pod = self.resolve("Pod", namespace, deployment);
        self.installation.unready(namespace, deployment, &pod);
        self
    }

    /// The name of the pod of a Deployment.
    #[must_use]
    pub fn pod_of(&self, namespace: &str, deployment: &str) -> String {
        self.installation.pod_of(namespace, deployment)
    }

    /// What the rules see.
    #[must_use]
    pub fn bundle(&self) -> Bundle {
        self.installation.bundle_without(&self.refused)
    }

    /// What the analysis says.
    #[must_use]
    pub fn report(&self) -> Report {
        rules::analyze(&self.bundle())
    }

    /// The codes that the analysis reports, sorted, each once.
    #[must_use]
    pub fn codes(&self) -> Vec<String> {
        let mut codes: Vec<String> = self.report().findings.into_iter().map(|f| f.code).collect();
        codes.sort();
        codes.dedup();
        codes
    }

    /// The files of an archive of it, with manifest.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.installation.files(&self.refused)
    }

    /// Writes the files below a directory, in a root folder of their own, and gives its path.
    pub fn write_dir(&self, directory: &Path) -> PathBuf {
        let root = directory.join("bundle");
        for (path, content) in self.files() {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a file has a parent")).expect("a directory");
            std::fs::write(path, content).expect("a file");
        }
        root
    }

    /// The full name of a Pod, where only its Deployment is named.
    fn resolve(&self, kind: &str, namespace: &str, name: &str) -> String {
        if kind == "Pod" && self.installation.get("Deployment", namespace, name).is_some() {
            self.pod_of(namespace, name)
        } else {
            name.to_owned()
        }
    }
}

thread_local! {
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Does what may find that a fixture lacks something, without the noise (and the time) of a panic's backtrace.
pub fn quietly<T>(act: impl FnOnce() -> T) -> Option<T> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    QUIET.set(true);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).ok();
    QUIET.set(false);
    result
}

/// The field at a JSON pointer; what is missing on the way is made.
pub fn field<'a>(object: &'a mut Value, pointer: &str) -> &'a mut Value {
    let mut at = object;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        at = match token.parse::<usize>() {
            Ok(index) if at.is_array() => &mut at[index],
            _ => &mut at[&token],
        };
    }
    at
}

fn set_field(object: &mut Value, pointer: &str, value: Value) {
    if !value.is_null() {
        *field(object, pointer) = value;
        return;
    }
    let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
    let key = key.replace("~1", "/").replace("~0", "~");
    match field(object, parent) {
        Value::Object(fields) => drop(fields.remove(&key)),
        Value::Array(items) => drop(items.remove(key.parse().expect("an index"))),
        _ => {}
    }
}
