//! Putting a bundle together from what its files held, and deciding what absence means.
//!
//! Our own archives say themselves what was collected: the manifest. For others it is concluded,
//! and only as far as it is certain:
//!
//! * A list file of the must-gather layout (`namespaces/<ns>/<group>/<plural>.yaml`) is the answer
//!   to one list request, so it is complete for its namespace; `oc adm inspect` writes empty lists too.
//! * One file per object is what `oc adm inspect` writes for objects named on its command line, or
//!   for all of a kind. Custom resources are collected as all of a kind, so a folder of them is taken
//!   as complete for its namespace, and for every namespace of the bundle once the kind is seen in two.
//!   Built-in kinds are listed, so that single files of them (related objects of an operator) prove
//!   nothing about others.
//! * A list of loose files that has items of two or more namespaces was asked for in all of them.
//!   Otherwise it speaks for the namespace of its items only.
//! * A kind that the announced API groups do not have is not installed; the same holds, where those
//!   are missing, for a custom resource whose definition is not among all definitions.
//!
//! What an archive lost (a file that is missing, differs, or could not be parsed) makes the
//! collection that it belonged to partial: the lost object must not be taken for absent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::objects::{Contents, Keep, List};
use super::place::{self, Place, Scope};
use crate::archive::manifest::{FileEntry, Manifest, hex_of};
use crate::archive::path;
use crate::archive::read::{ReadError, breaks_off};
use crate::model::Bundle;
use crate::model::bundle::{Collection, ExtraFile, Failure, LogFile, Meta, Origin, Outcome};
use crate::model::kinds::{self, Kind};
use crate::model::{json, lean};

/// How many of the last lines of a log are kept where its pod is fine.
const FEW: usize = 5;

/// How many lost files are named one by one.
const NAMED: usize = 20;

/// What became of one file.
#[derive(Debug)]
pub(super) struct Held {
    /// Its position in the container.
    pub(super) number: usize,
    pub(super) path: Arc<str>,
    pub(super) bytes: u64,
    /// Its checksum.
    pub(super) sha256: [u8; 32],
    /// Not all of it was read on purpose, so its checksum says nothing.
    pub(super) truncated: bool,
    pub(super) facts: Facts,
    problems: Vec<String>,
}

/// What a file told.
#[derive(Debug)]
pub(super) enum Facts {
    Nothing,
    Manifest(Box<Manifest>, Value),
    Failures(Vec<Failure>),
    Time(DateTime<Utc>),
    Discovery(json::Value),
    Log(LogFile),
    Extra(ExtraFile),
    /// Whether the file could be parsed completely comes last.
    Objects(place::Objects, Contents, bool),
}

impl Held {
    pub(super) fn new(number: usize, path: &str, bytes: u64) -> Self {
        Self {
            number,
            path: path.into(),
            bytes,
            sha256: [0; 32],
            truncated: false,
            facts: Facts::Nothing,
            problems: Vec::new(),
        }
    }

    /// Notes what is wrong with the file, at which line if that is known.
    pub(super) fn problem(&mut self, line: Option<usize>, why: &str) {
        let place = line.map_or_else(String::new, |line| format!(" line {line}:"));
        self.problems.push(format!("{}:{place} {why}", self.path));
    }

    pub(super) fn problems_at(&mut self, problems: Vec<(Option<usize>, String)>) {
        for (line, why) in problems {
            self.problem(line, &why);
        }
    }
}

/// A bundle that is being put together. The files come in the order of the container.
#[derive(Default)]
pub(super) struct Assembly {
    keep: Keep,
    bundle: Bundle,
    /// Sizes and checksums, by path; none for what was not read whole.
    sums: BTreeMap<Arc<str>, Option<(u64, [u8; 32])>>,
    /// Problems of files that stand where a must-gather has objects, logs or evidence.
    in_tree: Vec<String>,
    /// Problems in the order of the files, of all of them.
    problems: Vec<String>,
    /// Whether the input has the layout of a must-gather.
    layout: bool,
    manifest: Option<(Manifest, Value)>,
    time: Option<DateTime<Utc>>,
    newest: Option<DateTime<Utc>>,
    discovery: Option<json::Value>,
    collected: Collected,
}

impl Assembly {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Takes the next file.
    pub(super) fn file(&mut self, file: Held) {
        let place = place::of(&file.path);
        let in_tree = !matches!(place, Place::Objects(place::Objects { scope: None, .. }));
        self.layout |= in_tree && !matches!(place, Place::Unknown | Place::Ignored);
        if in_tree {
            self.in_tree.extend_from_slice(&file.problems);
        }
        self.problems.extend(file.problems);
        self.sums.insert(Arc::clone(&file.path), (!file.truncated).then_some((file.bytes, file.sha256)));
        self.take(file.path, file.facts);
    }

    /// Ends it; `walked` are the problems of the container.
    pub(super) fn conclude(mut self, walked: Vec<String>) -> Result<Bundle, ReadError> {
        let cut = walked.iter().any(|problem| breaks_off(problem));
        let mut problems = walked;
        // A must-gather holds other YAML and JSON than objects, in places of its own.
        problems.append(if self.layout { &mut self.in_tree } else { &mut self.problems });
        let empty = self.bundle.objects().next().is_none()
            && self.bundle.logs().is_empty()
            && self.manifest.is_none()
            && self.bundle.extras("").next().is_none();
        if empty {
            let why = "it holds no Kubernetes object, container log or file of a gather".to_owned();
            let why = problems.first().map_or_else(|| why.clone(), |first| format!("{why} ({first})"));
            return Err(ReadError::NotABundle { path: "the input".to_owned(), why });
        }
        Ok(self.bundle(problems, cut))
    }

    /// Lets go of the lines of a log in which nobody will look for the reason of a trouble.
    fn shorten(&self, log: &mut LogFile) {
        let pod = self.bundle.get(&kinds::POD, &log.namespace, &log.pod);
        if self.keep == Keep::ForRules && !log.previous && pod.is_some_and(|pod| lean::is_fine(pod.value())) {
            log.tail.keep_last(FEW);
        }
    }

    fn take(&mut self, path: Arc<str>, facts: Facts) {
        match facts {
            Facts::Nothing => {}
            Facts::Manifest(manifest, value) => self.manifest = Some((*manifest, value)),
            Facts::Failures(failures) => self.bundle.meta.failures = failures,
            Facts::Time(time) => self.time = self.time.max(Some(time)),
            Facts::Discovery(value) => self.discovery = Some(value),
            Facts::Log(mut log) => {
                self.shorten(&mut log);
                self.bundle.add_log(log);
            }
            Facts::Extra(extra) => self.bundle.add_extra(extra),
            Facts::Objects(place, contents, whole) => {
                self.newest = self.newest.max(contents.newest);
                self.collected.note(&path, &place, &contents, whole);
                if let Some(Scope::Namespace(namespace)) = &place.scope {
                    self.bundle.add_namespace(namespace);
                }
                for object in contents.objects {
                    self.bundle.add_object(object);
                }
            }
        }
    }

    fn bundle(mut self, mut problems: Vec<String>, cut: bool) -> Bundle {
        let mut meta = Meta {
            origin: if self.layout { Origin::MustGather } else { Origin::Files },
            failures: std::mem::take(&mut self.bundle.meta.failures),
            ..Meta::default()
        };
        if let Some((manifest, value)) = self.manifest {
            meta.origin = Origin::Gather;
            meta.cluster = Some(manifest.cluster).filter(|name| !name.is_empty());
            let time = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
            meta.collected_at = time(&manifest.ended).or_else(|| time(&manifest.started));
            meta.manifest = Some(value);
            let lost = lost(&manifest.files, &self.sums, &self.collected.broken);
            let mut collections = manifest.collections;
            for (path, why) in &lost {
                distrust(&mut collections, path, why);
            }
            let unnamed =
                lost.iter().filter(|(_, why)| !why.is_empty() && !why.starts_with("could not")).count();
            problems.extend(
                lost.iter()
                    .filter(|(_, why)| !why.starts_with("could not"))
                    .take(NAMED)
                    .map(|(path, why)| format!("{path}: {why}")),
            );
            if unnamed > NAMED {
                problems.push(format!(
                    "{}: {} more files are missing or differ",
                    path::MANIFEST,
                    unnamed - NAMED
                ));
            }
            meta.lost = lost;
            for collection in collections {
                self.bundle.add_collection(collection);
            }
        } else {
            meta.collected_at = self.time.or(self.newest);
            let namespaces = self.bundle.namespaces().clone();
            for collection in self.collected.conclude(&namespaces, cut) {
                self.bundle.add_collection(collection);
            }
            let not_installed = match &self.discovery {
                Some(discovery) => not_announced(discovery),
                None => not_defined(&self.bundle),
            };
            for collection in not_installed {
                self.bundle.add_collection(collection);
            }
        }
        if meta.cluster.is_none() {
            let infrastructure = self.bundle.list(&kinds::INFRASTRUCTURE).next();
            meta.cluster = infrastructure
                .map(|object| object.str("/status/infrastructureName"))
                .filter(|name| !name.is_empty())
                .map(str::to_owned);
        }
        self.bundle.meta = meta;
        self.bundle.problems = problems;
        self.bundle
    }
}

/// The files of the manifest that are missing, differ or could not be parsed, and why.
fn lost(
    files: &[FileEntry],
    sums: &BTreeMap<Arc<str>, Option<(u64, [u8; 32])>>,
    broken: &BTreeSet<String>,
) -> Vec<(String, String)> {
    let mut lost = Vec::new();
    for file in files {
        let why = match sums.get(file.path.as_str()) {
            None => "is named in the manifest, but missing".to_owned(),
            Some(Some((bytes, _))) if *bytes != file.bytes => {
                format!("has {bytes} bytes, but the manifest says {}", file.bytes)
            }
            Some(Some((_, sha256))) if hex_of(sha256) != file.sha256 => {
                "differs from what was collected: its checksum is not that of the manifest".to_owned()
            }
            Some(_) if broken.contains(&file.path) => "could not be parsed completely".to_owned(),
            Some(_) => continue,
        };
        lost.push((file.path.clone(), why));
    }
    lost
}

/// Takes back what was said about the completeness of the kind that a lost file belonged to.
fn distrust(collections: &mut Vec<Collection>, path: &str, why: &str) {
    let Place::Objects(place) = place::of(path) else { return };
    let namespace = match &place.scope {
        Some(Scope::Namespace(namespace)) => Some(namespace.as_str()),
        Some(Scope::Cluster) | None => None,
    };
    for collection in collections {
        let same_place = match (&collection.namespace, namespace) {
            (Some(collected), Some(lost)) => path::file_name(collected) == lost,
            (None, _) => true,
            (Some(_), None) => false,
        };
        let same_kind = collection.group == place.group && collection.resource == place.plural;
        if same_kind && same_place && collection.outcome == Outcome::Complete {
            collection.outcome = Outcome::Partial;
            collection.why = Some(format!("{path} {why}"));
        }
    }
}

/// What the files of a bundle without manifest say about how they were collected.
#[derive(Default)]
struct Collected {
    /// By group and kind.
    kinds: BTreeMap<(String, String), Seen>,
    /// Files that could not be parsed completely.
    broken: BTreeSet<String>,
}

#[derive(Default)]
struct Seen {
    version: String,
    plural: String,
    /// Answers to a list request: the namespace (`None`: all, or cluster-scoped) and the outcome.
    lists: BTreeMap<Option<String>, Option<String>>,
    /// Namespaces with one file per object.
    folders: BTreeSet<Option<String>>,
    /// The first file of them that is broken.
    broken: Option<String>,
}

impl Collected {
    fn note(&mut self, path: &Arc<str>, place: &place::Objects, contents: &Contents, whole: bool) {
        if !whole {
            self.broken.insert(path.to_string());
        }
        let broken = (!whole).then(|| format!("{path} could not be parsed completely"));
        let namespace = match &place.scope {
            None => return self.note_loose(contents, broken.as_deref()),
            Some(Scope::Cluster) => None,
            Some(Scope::Namespace(namespace)) => Some(namespace.clone()),
        };
        // The kind as the objects call it; an empty or broken file is named by its path alone.
        let of_objects = contents.objects.first().map(|object| (object.version(), object.kind()));
        let listed = contents
            .lists
            .iter()
            .flat_map(|list| &list.kinds)
            .find(|(group, _, kind)| *group == place.group && !kind.is_empty());
        let known = kinds::by_plural(&place.group, &place.plural);
        let (version, kind) = match (of_objects, listed, known) {
            (Some((version, kind)), _, _) => (version.to_owned(), kind.to_owned()),
            (None, Some((_, version, kind)), _) => (version.clone(), kind.clone()),
            (None, None, Some(kind)) => (String::new(), kind.kind.to_owned()),
            (None, None, None) => return,
        };
        let seen = self.kinds.entry((place.group.clone(), kind)).or_default();
        seen.version = version;
        seen.plural.clone_from(&place.plural);
        if place.list {
            seen.lists.insert(namespace, broken);
        } else {
            seen.folders.insert(namespace);
            seen.broken = seen.broken.take().or(broken);
        }
    }

    fn note_loose(&mut self, contents: &Contents, broken: Option<&str>) {
        for List { kinds, namespaces, cluster_scoped } in &contents.lists {
            for (group, version, kind) in kinds {
                let seen = self.kinds.entry((group.clone(), kind.clone())).or_default();
                seen.version.clone_from(version);
                let namespaced = kinds::by_kind(group, kind).map_or(!cluster_scoped, |kind| kind.namespaced);
                if !namespaced || namespaces.len() >= 2 {
                    seen.lists.insert(None, broken.map(str::to_owned));
                } else {
                    for namespace in namespaces {
                        seen.lists.insert(Some(namespace.clone()), broken.map(str::to_owned));
                    }
                }
            }
        }
    }

    fn conclude(self, namespaces: &BTreeSet<String>, cut: bool) -> Vec<Collection> {
        let mut collections = Vec::new();
        for ((group, kind), seen) in self.kinds {
            let known = kinds::by_kind(&group, &kind);
            let resource = known.map_or(seen.plural.clone(), |kind| kind.plural.to_owned());
            let mut add = |namespace: Option<String>, why: Option<String>| {
                collections.push(Collection {
                    group: group.clone(),
                    version: seen.version.clone(),
                    kind: kind.clone(),
                    resource: resource.clone(),
                    namespace,
                    outcome: if why.is_some() { Outcome::Partial } else { Outcome::Complete },
                    items: 0,
                    why,
                });
            };
            let doubt = if let Some(broken) = seen.broken {
                Some(broken)
            } else if cut {
                Some("the archive breaks off, so that objects may be missing".to_owned())
            } else if !listed_one_by_one(&group, &kind) {
                Some("the bundle holds single objects of it, no list".to_owned())
            } else {
                None
            };
            let in_namespaces = seen.folders.iter().flatten().count();
            for folder in &seen.folders {
                if !seen.lists.contains_key(folder) {
                    add(folder.clone(), doubt.clone());
                }
            }
            if in_namespaces >= 2 && doubt.is_none() {
                for namespace in namespaces {
                    let namespace = Some(namespace.clone());
                    if !seen.folders.contains(&namespace) && !seen.lists.contains_key(&namespace) {
                        add(namespace, None);
                    }
                }
            }
            for (namespace, why) in seen.lists {
                add(namespace, why);
            }
        }
        collections
    }
}

/// Whether a folder with one file per object is the form in which all objects of the kind are
/// collected: custom resources, and the cluster-scoped kinds that every must-gather holds whole.
fn listed_one_by_one(group: &str, kind: &str) -> bool {
    let built_in = group.is_empty()
        || !group.contains('.')
        || (group.ends_with(".k8s.io") && !matches!(group, "gateway.networking.k8s.io"));
    !built_in || matches!((group, kind), ("", "Node") | ("apiextensions.k8s.io", "CustomResourceDefinition"))
}

/// The kinds of our table that the announced API groups do not have.
fn not_announced(discovery: &json::Value) -> Vec<Collection> {
    let groups = discovery.get("items").and_then(json::Value::as_array).unwrap_or_default();
    if groups.is_empty() {
        return Vec::new();
    }
    let serves = |kind: &Kind| {
        let group = groups
            .iter()
            .find(|g| g.pointer("/metadata/name").and_then(json::Value::as_str) == Some(kind.group));
        let versions = group.and_then(|group| group.get("versions")).and_then(json::Value::as_array);
        versions.into_iter().flatten().any(|version| {
            // A server that did not answer may have the kind.
            let stale = version.get("freshness").and_then(json::Value::as_str) == Some("Stale");
            let resources = version.get("resources").and_then(json::Value::as_array);
            stale
                || resources.into_iter().flatten().any(|resource| {
                    resource.get("resource").and_then(json::Value::as_str) == Some(kind.plural)
                })
        })
    };
    kinds::ALL
        .iter()
        .filter(|kind| !kind.group.is_empty() && !serves(kind))
        .map(|kind| not_installed(kind, "the API server does not announce it"))
        .collect()
}

/// The custom resources of our table that no CustomResourceDefinition defines, if the bundle has
/// all of those.
fn not_defined(bundle: &Bundle) -> Vec<Collection> {
    /// Fewer were picked by name: any OpenShift cluster has hundreds, a plain one with Gateway API
    /// and a mesh some twenty.
    const ALL_OF_THEM: usize = 20;
    let definitions: BTreeSet<&str> =
        bundle.list(&kinds::CUSTOM_RESOURCE_DEFINITION).map(|definition| definition.name()).collect();
    let all = bundle.collected(&kinds::CUSTOM_RESOURCE_DEFINITION, None).is_ok();
    if !all || definitions.len() < ALL_OF_THEM {
        return Vec::new();
    }
    kinds::ALL
        .iter()
        .filter(|kind| is_custom(kind) && !definitions.contains(kind.resource().as_str()))
        .map(|kind| not_installed(kind, "no CustomResourceDefinition defines it"))
        .collect()
}

/// Whether the kind is served from a CustomResourceDefinition, not by an API server of its own.
fn is_custom(kind: &Kind) -> bool {
    let by_kubernetes = !kind.group.contains('.')
        || (kind.group.ends_with(".k8s.io") && kind.group != "gateway.networking.k8s.io");
    !by_kubernetes && kind.group != "route.openshift.io"
}

fn not_installed(kind: &Kind, why: &str) -> Collection {
    Collection {
        group: kind.group.to_owned(),
        version: String::new(),
        kind: kind.kind.to_owned(),
        resource: kind.plural.to_owned(),
        namespace: None,
        outcome: Outcome::NotInstalled,
        items: 0,
        why: Some(why.to_owned()),
    }
}
