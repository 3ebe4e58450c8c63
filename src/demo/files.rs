//! An installation as a bundle: in memory for the rules, and as the files of an archive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::SecondsFormat;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{ContainerLog, Installation, identity};
use crate::archive::manifest::{FileEntry, Manifest, SCHEMA_VERSION};
use crate::archive::{path, yaml};
use crate::model::bundle::{Collection, ExtraFile, Failure, LogFile, Meta, Origin, Outcome};
use crate::model::{Bundle, Kind, Object, kinds, logs};

/// What a collection of an installation leaves out, as if it had been refused.
#[derive(Debug, Clone, Default)]
pub struct Refused {
    /// Kinds, in one namespace or (for `None`) everywhere.
    pub kinds: Vec<(&'static Kind, Option<String>)>,
}

impl Refused {
    fn whole(&self, kind: &Kind) -> bool {
        self.kinds.iter().any(|(k, namespace)| *k == kind && namespace.is_none())
    }

    fn holds(&self, kind: &Kind, namespace: &str) -> bool {
        self.kinds.iter().any(|(k, n)| *k == kind && n.as_deref().is_none_or(|n| n == namespace))
    }

    fn namespaces(&self, kind: &Kind) -> BTreeSet<&str> {
        self.kinds.iter().filter(|(k, _)| *k == kind).filter_map(|(_, n)| n.as_deref()).collect()
    }
}

/// Whether all objects of a kind in a namespace stand in one file.
fn is_listed(kind: &Kind) -> bool {
    kind.namespaced
        && matches!(kind.group, "" | "apps" | "autoscaling" | "discovery.k8s.io" | "networking.k8s.io")
}

/// The kind of an object, if the table of kinds has it.
fn kind_of(object: &Value) -> Option<&'static Kind> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    kinds::by_kind(group, identity(object).0)
}

/// The file of an object, and whether it is a list of all objects of the kind in the namespace.
fn file_of(object: &Value) -> (String, bool) {
    let (kind_name, namespace, name) = identity(object);
    match kind_of(object) {
        Some(kind) if *kind == kinds::NAMESPACE => (path::namespace(name), false),
        Some(kind) if is_listed(kind) => (path::list(kind, namespace), true),
        Some(kind) => (path::object(kind, namespace, name), false),
        None => {
            let group =
                object["apiVersion"].as_str().and_then(|v| v.split_once('/')).map_or("core", |(g, _)| g);
            let plural = format!("{}s", kind_name.to_lowercase());
            let scope = if namespace.is_empty() {
                "cluster-scoped-resources".to_owned()
            } else {
                format!("namespaces/{}", path::file_name(namespace))
            };
            (format!("{scope}/{group}/{plural}/{}.yaml", path::file_name(name)), false)
        }
    }
}

impl Installation {
    /// The installation as it would be analyzed after a collection in which nothing failed.
    #[must_use]
    pub fn bundle(&self) -> Bundle {
        self.bundle_without(&Refused::default())
    }

    /// The same, with some requests refused.
    #[must_use]
    pub fn bundle_without(&self, refused: &Refused) -> Bundle {
        self.bundle_with_logs(refused, self.read_logs())
    }

    /// The logs as the rules see them.
    fn read_logs(&self) -> Vec<LogFile> {
        let read = |log: &ContainerLog| {
            let mut reader = logs::Reader::default();
            log.text.lines().for_each(|line| reader.line(line.as_bytes()));
            let (lines, tail, digest) = reader.finish();
            LogFile {
                file: path::log(&log.namespace, &log.pod, &log.container, log.previous),
                namespace: log.namespace.clone(),
                pod: log.pod.clone(),
                container: log.container.clone(),
                previous: log.previous,
                bytes: log.text.len() as u64,
                lines,
                tail,
                digest,
            }
        };
        self.logs.iter().map(read).collect()
    }

    /// The same, with logs that were read before.
    #[must_use]
    pub fn bundle_with_logs(&self, refused: &Refused, logs: Vec<LogFile>) -> Bundle {
        let mut bundle = Bundle::new(Meta {
            cluster: Some(self.cluster.clone()),
            collected_at: Some(self.time),
            origin: Origin::Gather,
            manifest: None,
            failures: failures(refused),
            lost: Vec::new(),
        });
        for (file, objects) in self.by_file(refused) {
            let file: Arc<str> = file.into();
            for (item, value) in objects.items.into_iter().enumerate() {
                if let Some(object) =
                    Object::new(value.clone(), Arc::clone(&file), objects.list.then_some(item))
                {
                    bundle.add_object(object);
                }
            }
        }
        for log in logs {
            bundle.add_log(log);
        }
        for (file, content) in &self.extras {
            bundle.add_extra(ExtraFile { file: file.clone(), content: content.clone() });
        }
        for collection in self.collections(refused) {
            bundle.add_collection(collection);
        }
        bundle
    }

    /// The files of an archive of it, with manifest: not redacted, for tests and for `serve`, which
    /// plays the cluster with it.
    #[must_use]
    pub fn files(&self, refused: &Refused) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for (file, objects) in self.by_file(refused) {
            let mut text = String::new();
            if objects.list {
                let first = objects.items[0];
                text.push_str(&format!("apiVersion: {}\n", first["apiVersion"].as_str().unwrap_or_default()));
                text.push_str("items:\n");
                for item in &objects.items {
                    yaml::emit_item(item, 0, &mut text);
                }
                text.push_str(&format!("kind: {}List\n", identity(first).0));
            } else {
                yaml::emit(objects.items[0], 0, &mut text);
            }
            files.insert(file, text.into_bytes());
        }
        for log in &self.logs {
            let file = path::log(&log.namespace, &log.pod, &log.container, log.previous);
            files.insert(file, log.text.clone().into_bytes());
        }
        files.extend(self.extras.iter().cloned());
        files.insert(path::FAILURES.to_owned(), json_bytes(&failures(refused)));
        self.sealed(refused, files)
    }

    /// Files with a manifest that fits them, whatever was done to them since.
    #[must_use]
    pub fn sealed(
        &self,
        refused: &Refused,
        mut files: BTreeMap<String, Vec<u8>>,
    ) -> BTreeMap<String, Vec<u8>> {
        files.remove(path::MANIFEST);
        let manifest = self.manifest(refused, &files);
        files.insert(path::MANIFEST.to_owned(), json_bytes(&manifest));
        files
    }

    fn manifest(&self, refused: &Refused, files: &BTreeMap<String, Vec<u8>>) -> Manifest {
        let time = self.time.to_rfc3339_opts(SecondsFormat::Secs, true);
        Manifest {
            schema_version: SCHEMA_VERSION.to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.cluster.clone(),
            server_version: Some("v1.34.1".to_owned()),
            started: time.clone(),
            ended: time,
            cut_short: None,
            options: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            collections: self.collections(refused),
            files: files
                .iter()
                .map(|(path, content)| FileEntry {
                    path: path.clone(),
                    bytes: content.len() as u64,
                    sha256: Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect(),
                    source: "demo".to_owned(),
                    truncated: false,
                })
                .collect(),
        }
    }

    /// The objects by file, in the order of their names.
    fn by_file(&self, refused: &Refused) -> BTreeMap<String, FileObjects<'_>> {
        let mut files: BTreeMap<String, FileObjects<'_>> = BTreeMap::new();
        for object in &self.objects {
            if kind_of(object).is_some_and(|kind| refused.holds(kind, identity(object).1)) {
                continue;
            }
            let (file, list) = file_of(object);
            files.entry(file).or_insert_with(|| FileObjects { list, items: Vec::new() }).items.push(object);
        }
        for objects in files.values_mut() {
            objects.items.sort_by_key(|object| identity(object).2);
        }
        files
    }

    fn collections(&self, refused: &Refused) -> Vec<Collection> {
        let census = Census::of(&self.objects);
        let mut collections = Vec::new();
        for kind in kinds::ALL {
            let collection = |namespace: Option<&str>, outcome: Outcome, why: Option<&str>| Collection {
                group: kind.group.to_owned(),
                version: census.version(kind),
                kind: kind.kind.to_owned(),
                resource: kind.plural.to_owned(),
                namespace: namespace.map(str::to_owned),
                outcome,
                items: if outcome == Outcome::Complete { census.count(kind, namespace) } else { 0 },
                why: why.map(str::to_owned),
            };
            let some_namespaces = refused.namespaces(kind);
            if !census.serves(kind) {
                collections.push(collection(
                    None,
                    Outcome::NotInstalled,
                    Some("the API server does not serve it"),
                ));
            } else if refused.whole(kind) {
                collections.push(collection(None, Outcome::Failed, Some(REFUSAL)));
            } else if some_namespaces.is_empty() {
                collections.push(collection(None, Outcome::Complete, None));
            } else {
                for namespace in &census.namespaces {
                    collections.push(if some_namespaces.contains(namespace) {
                        collection(Some(namespace), Outcome::Failed, Some(REFUSAL))
                    } else {
                        collection(Some(namespace), Outcome::Complete, None)
                    });
                }
            }
        }
        collections
    }
}

/// Which kinds and how many objects an installation has.
struct Census<'a> {
    namespaces: BTreeSet<&'a str>,
    /// The objects of a kind by namespace.
    counts: BTreeMap<&'static Kind, BTreeMap<&'a str, usize>>,
    /// The version in which the objects of a kind stand there.
    versions: BTreeMap<&'static Kind, &'a str>,
    /// The definitions by name, with their served versions.
    definitions: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Census<'a> {
    fn of(objects: &'a [Value]) -> Self {
        let mut census = Self {
            namespaces: BTreeSet::new(),
            counts: BTreeMap::new(),
            versions: BTreeMap::new(),
            definitions: BTreeMap::new(),
        };
        for object in objects {
            let (_, namespace, name) = identity(object);
            if !namespace.is_empty() {
                census.namespaces.insert(namespace);
            }
            let Some(kind) = kind_of(object) else { continue };
            *census.counts.entry(kind).or_default().entry(namespace).or_default() += 1;
            let version =
                object["apiVersion"].as_str().and_then(|v| v.rsplit('/').next()).unwrap_or_default();
            census.versions.entry(kind).or_insert(version);
            if *kind == kinds::CUSTOM_RESOURCE_DEFINITION {
                let versions = object.pointer("/spec/versions").and_then(Value::as_array);
                let names = versions.into_iter().flatten().filter_map(|v| v["name"].as_str());
                census.definitions.insert(name, names.collect());
            }
        }
        census
    }

    /// How many objects of a kind there are, in one namespace or in all.
    fn count(&self, kind: &Kind, namespace: Option<&str>) -> usize {
        let Some(counts) = self.counts.get(kind) else { return 0 };
        match namespace {
            Some(namespace) => counts.get(namespace).copied().unwrap_or_default(),
            None => counts.values().sum(),
        }
    }

    /// Whether the API server of the installation serves a kind: built-in, or defined, or aggregated.
    fn serves(&self, kind: &Kind) -> bool {
        let built_in = matches!(
            kind.group,
            "" | "apps" | "autoscaling" | "discovery.k8s.io" | "networking.k8s.io" | "apiextensions.k8s.io"
        );
        built_in || self.definitions.contains_key(kind.resource().as_str()) || self.counts.contains_key(kind)
    }

    /// The version in which the objects of a kind were read.
    fn version(&self, kind: &Kind) -> String {
        let defined = || {
            let versions = self.definitions.get(kind.resource().as_str())?;
            kind.versions.iter().copied().find(|version| versions.contains(version))
        };
        self.versions.get(kind).copied().or_else(defined).unwrap_or_default().to_owned()
    }
}

/// The objects of one file.
struct FileObjects<'a> {
    list: bool,
    items: Vec<&'a Value>,
}

/// Why a refused list was not read.
const REFUSAL: &str = "403 Forbidden";

fn failures(refused: &Refused) -> Vec<Failure> {
    let failure = |(kind, namespace): &(&'static Kind, Option<String>)| {
        let place =
            namespace.as_deref().map_or_else(|| "all namespaces".to_owned(), |ns| format!("namespace {ns}"));
        Failure {
            what: format!("list {} in {place}", kind.resource()),
            request: format!("/{}", kind.resource()),
            code: Some(403),
            reason: "Forbidden".to_owned(),
            message: format!("User \"demo\" cannot list resource \"{}\" in {place}", kind.plural),
            consequence: format!("what depends on {} cannot be decided", kind.plural),
            resource: Some(kind.resource()),
            namespace: namespace.clone(),
        }
    };
    refused.kinds.iter().map(failure).collect()
}

fn json_bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("bug: a manifest is always valid JSON")
}
