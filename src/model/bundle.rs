//! The bundle: objects by kind, namespace and name, logs, other files, and *what was not collected*.
//!
//! A lookup has three answers. [`Seen::Absent`] means that the evidence was collected and the
//! object is not there; [`Seen::Unknown`] that nobody can tell, with the reason and the way to
//! find out. A rule must never treat the second as the first.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::kinds::Kind;
use super::object::Object;
use crate::shell::{Command, shell};

/// How the evidence was collected, which decides what the absence of a file means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Our own archive: its manifest says what was asked for and answered.
    Gather,
    /// `oc adm must-gather` or `oc adm inspect`: a file per kind and namespace.
    MustGather,
    /// Loose `oc get -o yaml` output.
    #[default]
    Files,
}

impl Origin {
    /// The word of the report's `bundle.source`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gather => "gather",
            Self::MustGather => "must-gather",
            Self::Files => "files",
        }
    }
}

/// Facts about the bundle as a whole.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    /// The cluster's name, if known.
    pub cluster: Option<String>,
    /// When the evidence was collected: the "now" of every rule.
    pub collected_at: Option<DateTime<Utc>>,
    /// How it was collected.
    pub origin: Origin,
    /// The `mcpgw/manifest.json`, if there is one.
    pub manifest: Option<Value>,
    /// The entries of `mcpgw/failures.json`.
    pub failures: Vec<Failure>,
    /// Files of the manifest that are missing, differ or cannot be parsed, and why.
    pub lost: Vec<(String, String)>,
}

/// A request of the collection that failed, as `mcpgw/failures.json` records it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What was asked for: `list httproutes.gateway.networking.k8s.io in team-a`.
    pub what: String,
    /// The request path, `/apis/…`, or the pod and port of a stream.
    pub request: String,
    /// The HTTP status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// `Forbidden`, `Timeout`, `NotInstalled`, … a stable word.
    pub reason: String,
    /// The message of the server or of the client.
    pub message: String,
    /// What the analysis cannot decide because of it.
    pub consequence: String,
    /// The resource (`httproutes.gateway.networking.k8s.io`), when a list or get failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The namespace; absent for all namespaces or a cluster-scoped kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Whether the objects of one kind in one namespace were collected; an entry of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collection {
    /// The API group, empty for core.
    pub group: String,
    /// The version that was read, empty when the kind is not installed.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The plural resource name.
    pub resource: String,
    /// The namespace; absent: all namespaces, or a cluster-scoped kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `complete`, `partial`, `failed`, `notInstalled` or `metadataOnly`.
    pub outcome: Outcome,
    /// How many objects were read.
    pub items: usize,
    /// Why the outcome is not `complete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a list ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// All of it was read: what is not there does not exist.
    Complete,
    /// Only chosen objects were read by name (`get`), or the list broke off: absence proves nothing.
    Partial,
    /// Nothing was read.
    Failed,
    /// The API server does not serve the kind: no such object exists.
    NotInstalled,
}

/// Evidence that a bundle lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// What is missing and why, one line.
    pub what: String,
    /// How to collect it.
    pub how: Command,
}

/// The three answers of a lookup.
#[derive(Debug, Clone)]
pub enum Seen<'a> {
    /// The object is in the bundle.
    Found(&'a Object),
    /// It was looked for when the bundle was made, and does not exist.
    Absent,
    /// The bundle cannot tell.
    Unknown(Missing),
}

impl<'a> Seen<'a> {
    /// The object, if it was found.
    #[must_use]
    pub fn found(&self) -> Option<&'a Object> {
        match self {
            Self::Found(object) => Some(object),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

/// The log of one container.
#[derive(Debug, Clone, Default)]
pub struct LogFile {
    /// The path in the bundle.
    pub file: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Whether it is the log of the container's previous run.
    pub previous: bool,
    /// Its size.
    pub bytes: u64,
    /// Its number of lines.
    pub lines: u64,
    /// The last lines, oldest first, each with its line number (from 1).
    pub tail: super::logs::Tail,
    /// What the log parsers made of it.
    pub digest: super::logs::Digest,
}

/// A file that is neither an object nor a container log (Envoy dumps, probes, broker status).
#[derive(Debug, Clone)]
pub struct ExtraFile {
    /// The path in the bundle.
    pub file: String,
    /// Its content; readers bound its size.
    pub content: Vec<u8>,
}

/// Two names that belong together: group and kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Two(Box<str>, Box<str>);

/// Both forms of two names, owned and borrowed, so that looking something up copies nothing.
trait Pair {
    fn pair(&self) -> (&str, &str);
}

impl Pair for Two {
    fn pair(&self) -> (&str, &str) {
        (&self.0, &self.1)
    }
}

impl Pair for (&str, &str) {
    fn pair(&self) -> (&str, &str) {
        *self
    }
}

impl From<(&str, &str)> for Two {
    fn from((first, second): (&str, &str)) -> Self {
        Self(first.into(), second.into())
    }
}

impl<'a> Borrow<dyn Pair + 'a> for Two {
    fn borrow(&self) -> &(dyn Pair + 'a) {
        self
    }
}

impl PartialEq for dyn Pair + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.pair() == other.pair()
    }
}

impl Eq for dyn Pair + '_ {}

impl PartialOrd for dyn Pair + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Pair + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pair().cmp(&other.pair())
    }
}

/// Everything that was read from a bundle.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Facts about the whole.
    pub meta: Meta,
    /// Problems met while reading: broken YAML, cut archives, checksums that differ. One line each,
    /// starting with the path.
    pub problems: Vec<String>,
    /// Objects of which the bundle has another state that counts instead. One line each, starting with the path.
    left_out: Vec<String>,
    objects: BTreeMap<Two, BTreeMap<Two, Object>>,
    logs: Vec<LogFile>,
    extra: BTreeMap<String, ExtraFile>,
    collections: Vec<Collection>,
    /// Where in `collections` those of a group and kind stand, by namespace.
    collections_of: BTreeMap<Two, BTreeMap<Option<String>, Vec<usize>>>,
    /// Namespaces of which the bundle holds anything.
    namespaces: BTreeSet<String>,
}

/// What tells the newer of two states of an object: a later creation, then a higher generation, then a higher version
/// of the resource, which API servers count up.
fn age(object: &Object) -> (Option<DateTime<Utc>>, Option<i64>, Option<u64>) {
    let version = object.str("/metadata/resourceVersion").parse().ok();
    (object.created(), object.generation(), version)
}

/// Whether one state of an object cannot have become the other by its controllers alone: another object of the same
/// name, or another content. What two versions of an API call the same is not compared.
fn contradicts(one: &Object, other: &Object) -> bool {
    let is_other = !one.uid().is_empty() && !other.uid().is_empty() && one.uid() != other.uid();
    fn content(object: &Object) -> BTreeMap<&str, &super::json::Value> {
        let fields = object.value().as_object().into_iter().flatten();
        fields.filter(|(key, _)| !matches!(*key, "metadata" | "status")).collect()
    }
    is_other || (one.api_version() == other.api_version() && content(one) != content(other))
}

impl Bundle {
    /// An empty bundle.
    #[must_use]
    pub fn new(meta: Meta) -> Self {
        Self { meta, ..Self::default() }
    }

    /// Adds an object. Of two with the same identity the newer one is kept, else the first; must-gathers hold pods
    /// twice. Where one says something else than the other, that is noted.
    pub fn add_object(&mut self, object: Object) {
        if !object.namespace().is_empty() {
            self.namespaces.insert(object.namespace().to_owned());
        }
        let kind = (object.group(), object.kind());
        let name = Two::from((object.namespace(), object.name()));
        if !self.objects.contains_key(&kind as &dyn Pair) {
            self.objects.insert(kind.into(), BTreeMap::new());
        }
        let Some(same_kind) = self.objects.get_mut(&kind as &dyn Pair) else { return };
        let Some(first) = same_kind.get(&name) else {
            same_kind.insert(name, object);
            return;
        };
        let is_newer = age(&object) > age(first);
        let (kept, other) = if is_newer { (&object, first) } else { (first, &object) };
        if contradicts(kept, other) {
            let (kind, full_name) = (other.kind(), other.full_name());
            let line = format!(
                "{}: {kind} {full_name} differs from the one in {}, which counts",
                other.file(),
                kept.file()
            );
            if self.left_out.last() != Some(&line) {
                self.left_out.push(line);
            }
        }
        if is_newer {
            same_kind.insert(name, object);
        }
    }

    /// Objects of which the bundle has another state that counts instead. One line each, starting with the path.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Adds the log of a container.
    pub fn add_log(&mut self, log: LogFile) {
        self.namespaces.insert(log.namespace.clone());
        self.logs.push(log);
    }

    /// Adds a file of another sort.
    pub fn add_extra(&mut self, file: ExtraFile) {
        self.extra.insert(file.file.clone(), file);
    }

    /// Says that (and how) the objects of a kind were collected.
    pub fn add_collection(&mut self, collection: Collection) {
        let kind = Two::from((collection.group.as_str(), collection.kind.as_str()));
        let of_kind = self.collections_of.entry(kind).or_default();
        of_kind.entry(collection.namespace.clone()).or_default().push(self.collections.len());
        self.collections.push(collection);
    }

    /// Notes that the bundle has something of this namespace.
    pub fn add_namespace(&mut self, namespace: &str) {
        self.namespaces.insert(namespace.to_owned());
    }

    /// All objects of a kind, by namespace and name.
    pub fn list(&self, kind: &Kind) -> impl Iterator<Item = &Object> {
        self.list_dynamic(kind.group, kind.kind)
    }

    /// All objects of a kind that the table does not need to know.
    pub fn list_dynamic(&self, group: &str, kind: &str) -> impl Iterator<Item = &Object> {
        self.objects.get(&(group, kind) as &dyn Pair).into_iter().flat_map(BTreeMap::values)
    }

    /// All objects of a kind in one namespace.
    pub fn list_in<'a, 'n>(
        &'a self,
        kind: &Kind,
        namespace: &'n str,
    ) -> impl Iterator<Item = &'a Object> + use<'a, 'n> {
        let objects = self.objects.get(&(kind.group, kind.kind) as &dyn Pair);
        let from = Two::from((namespace, ""));
        objects
            .into_iter()
            .flat_map(move |objects| objects.range(from.clone()..))
            .take_while(move |(id, _)| &*id.0 == namespace)
            .map(|(_, object)| object)
    }

    /// Every object, by group, kind, namespace and name.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values().flat_map(BTreeMap::values)
    }

    /// The groups and kinds that the bundle holds objects of.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, &str)> {
        self.objects.keys().map(Pair::pair)
    }

    /// The object, if the bundle has it; [`Bundle::find`] also tells why it does not.
    #[must_use]
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Object> {
        self.get_dynamic(kind.group, kind.kind, namespace, name)
    }

    /// [`Bundle::get`] for a kind that the table does not need to know.
    #[must_use]
    pub fn get_dynamic(&self, group: &str, kind: &str, namespace: &str, name: &str) -> Option<&Object> {
        self.objects.get(&(group, kind) as &dyn Pair)?.get(&(namespace, name) as &dyn Pair)
    }

    /// Looks an object up: found, absent, or not to be known.
    #[must_use]
    pub fn find(&self, kind: &Kind, namespace: &str, name: &str) -> Seen<'_> {
        if let Some(object) = self.get(kind, namespace, name) {
            return Seen::Found(object);
        }
        match self.collected(kind, Some(namespace).filter(|_| kind.namespaced)) {
            Ok(()) => Seen::Absent,
            Err(missing) => Seen::Unknown(missing),
        }
    }

    /// Whether all objects of a kind (in one namespace, or in all for `None`) were collected, so
    /// that what the bundle does not have does not exist.
    ///
    /// # Errors
    /// What is missing, why, and how to collect it.
    pub fn collected(&self, kind: &Kind, namespace: Option<&str>) -> Result<(), Missing> {
        let missing = |why: &str| {
            let place = match namespace {
                Some(namespace) => format!(" in namespace {namespace}"),
                None if kind.namespaced => " in all namespaces".to_owned(),
                None => String::new(),
            };
            let resource = kind.resource();
            let how = match namespace {
                Some(namespace) => shell!("oc get {} -n {} -o yaml", resource, namespace),
                None if kind.namespaced => shell!("oc get {} -A -o yaml", resource),
                None => shell!("oc get {} -o yaml", resource),
            };
            Missing { what: format!("{resource}{place}: {why}"), how }
        };
        let of_kind = self.collections_of.get(&(kind.group, kind.kind) as &dyn Pair);
        let in_place = |place: Option<&str>| {
            let places = of_kind.and_then(|places| places.get(&place.map(str::to_owned)));
            places.into_iter().flatten().copied()
        };
        // A collection of all namespaces covers each of them.
        let mut covering: Vec<usize> = in_place(None).collect();
        if namespace.is_some() {
            covering.extend(in_place(namespace));
            covering.sort_unstable();
        }
        let mut why_not: Option<&Collection> = None;
        for collection in covering.into_iter().map(|at| &self.collections[at]) {
            match collection.outcome {
                Outcome::Complete | Outcome::NotInstalled => return Ok(()),
                Outcome::Partial | Outcome::Failed => why_not = Some(collection),
            }
        }
        if let Some(collection) = why_not {
            return Err(missing(collection.why.as_deref().unwrap_or("was not read completely")));
        }
        match self.meta.origin {
            Origin::Gather => Err(missing("was not asked for")),
            Origin::MustGather | Origin::Files => Err(missing("the bundle holds no list of it")),
        }
    }

    /// Whether the cluster does not serve this kind at all, as far as the bundle knows.
    #[must_use]
    pub fn not_installed(&self, kind: &Kind) -> bool {
        self.collections_of_kind(kind).any(|collection| collection.outcome == Outcome::NotInstalled)
    }

    /// What is known of how a kind was collected, by namespace.
    pub fn collections_of_kind(&self, kind: &Kind) -> impl Iterator<Item = &Collection> {
        let of_kind = self.collections_of.get(&(kind.group, kind.kind) as &dyn Pair);
        let places = of_kind.into_iter().flat_map(BTreeMap::values).flatten();
        places.map(|at| &self.collections[*at])
    }

    /// What is known of how kinds were collected.
    #[must_use]
    pub fn collections(&self) -> &[Collection] {
        &self.collections
    }

    /// The logs.
    #[must_use]
    pub fn logs(&self) -> &[LogFile] {
        &self.logs
    }

    /// The logs of one pod.
    pub fn logs_of<'a>(&'a self, namespace: &'a str, pod: &'a str) -> impl Iterator<Item = &'a LogFile> {
        self.logs.iter().filter(move |log| log.namespace == namespace && log.pod == pod)
    }

    /// A file that is neither object nor log.
    #[must_use]
    pub fn extra(&self, path: &str) -> Option<&ExtraFile> {
        self.extra.get(path)
    }

    /// The files under a path prefix that are neither object nor log.
    pub fn extras<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a ExtraFile> {
        self.extra
            .range(prefix.to_owned()..)
            .map(|(_, file)| file)
            .take_while(move |f| f.file.starts_with(prefix))
    }

    /// The namespaces of which the bundle holds anything.
    #[must_use]
    pub fn namespaces(&self) -> &BTreeSet<String> {
        &self.namespaces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kinds;
    use serde_json::json;

    fn route(namespace: &str, name: &str) -> Object {
        let value = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"namespace": namespace, "name": name}});
        Object::new(value, "f.yaml".into(), None).expect("an object")
    }

    fn collection(namespace: Option<&str>, outcome: Outcome) -> Collection {
        Collection {
            group: "gateway.networking.k8s.io".into(),
            version: "v1".into(),
            kind: "HTTPRoute".into(),
            resource: "httproutes".into(),
            namespace: namespace.map(str::to_owned),
            outcome,
            items: 0,
            why: (outcome == Outcome::Failed).then(|| "403 Forbidden".into()),
        }
    }

    #[test]
    fn what_was_not_collected_is_not_absent() {
        let mut bundle = Bundle::new(Meta { origin: Origin::Gather, ..Meta::default() });
        bundle.add_object(route("a", "r"));
        bundle.add_collection(collection(Some("a"), Outcome::Complete));
        bundle.add_collection(collection(Some("b"), Outcome::Failed));
        assert!(matches!(bundle.find(&kinds::HTTP_ROUTE, "a", "r"), Seen::Found(_)));
        assert!(matches!(bundle.find(&kinds::HTTP_ROUTE, "a", "other"), Seen::Absent));
        let Seen::Unknown(missing) = bundle.find(&kinds::HTTP_ROUTE, "b", "r") else {
            panic!("must not be known")
        };
        assert_eq!(missing.what, "httproutes.gateway.networking.k8s.io in namespace b: 403 Forbidden");
        assert!(matches!(bundle.find(&kinds::HTTP_ROUTE, "c", "r"), Seen::Unknown(_)));
    }

    #[test]
    fn of_two_states_the_newer_one_counts_and_a_contradiction_is_noted() {
        let state = |file: &str, metadata: Value, spec: Value, status: &str| {
            let mut value = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"namespace": "a", "name": "r"}, "spec": spec, "status": {"is": status}});
            for (key, field) in metadata.as_object().expect("a map") {
                value["metadata"][key] = field.clone();
            }
            Object::new(value, file.into(), None).expect("an object")
        };
        let (old, new) = (json!({"hostnames": ["old"]}), json!({"hostnames": ["new"]}));
        let noted = "differs from the one in";
        for (first, second, kept, note) in [
            // The same in a list and in a file of its own.
            ((json!({"generation": 2}), &new, ""), (json!({"generation": 2}), &new, ""), "first", None),
            (
                (json!({"generation": 3}), &new, ""),
                (json!({"generation": 2}), &old, ""),
                "first",
                Some("second"),
            ),
            (
                (json!({"generation": 1}), &old, ""),
                (json!({"generation": 2}), &new, ""),
                "second",
                Some("first"),
            ),
            // Made anew: its generations begin again.
            (
                (
                    json!({"generation": 7, "uid": "u1", "creationTimestamp": "2026-01-01T00:00:00Z"}),
                    &old,
                    "",
                ),
                (
                    json!({"generation": 1, "uid": "u2", "creationTimestamp": "2026-02-01T00:00:00Z"}),
                    &old,
                    "",
                ),
                "second",
                Some("first"),
            ),
            // Only its controllers wrote in between: the later state counts, and nothing contradicts.
            (
                (json!({"generation": 2, "resourceVersion": "99"}), &new, "False"),
                (json!({"generation": 2, "resourceVersion": "100"}), &new, "True"),
                "second",
                None,
            ),
            // Manifests do not tell which is newer.
            ((json!({}), &old, ""), (json!({}), &new, ""), "first", Some("second")),
        ] {
            let mut bundle = Bundle::default();
            bundle.add_object(state("first", first.0.clone(), first.1.clone(), first.2));
            bundle.add_object(state("second", second.0.clone(), second.1.clone(), second.2));
            let found = bundle.get(&kinds::HTTP_ROUTE, "a", "r").expect("one of them");
            assert_eq!(found.file(), kept, "{first:?} {second:?}");
            let lines: Vec<String> = note
                .map(|other| format!("{other}: HTTPRoute a/r {noted} {kept}, which counts"))
                .into_iter()
                .collect();
            assert_eq!(bundle.left_out(), lines, "{first:?} {second:?}");
        }
    }

    #[test]
    fn list_in_stays_in_its_namespace() {
        let mut bundle = Bundle::default();
        for (namespace, name) in [("a", "x"), ("a", "y"), ("aa", "z"), ("b", "x")] {
            bundle.add_object(route(namespace, name));
        }
        let names: Vec<_> = bundle.list_in(&kinds::HTTP_ROUTE, "a").map(Object::full_name).collect();
        assert_eq!(names, ["a/x", "a/y"]);
    }
}
