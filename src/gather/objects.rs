//! Reading kinds: which ones, cluster-wide or in the followed namespaces, held in memory or
//! streamed into the archive, and how a refusal of the one leads to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::task::JoinSet;

use super::client::{Refusal, segment};
use super::cx::Cx;
use super::discovery::{JSON, list_path};
use super::follow::Namespaces;
use super::list::{ListError, Sink, list};
use super::out::{ListFile, ToListFile, ToObjects, complete, in_one_file, metadata};
use super::pods::{Pod, Pods, ToPods};
use super::probe::{Known, Tap};
use super::wanted::{EVERYWHERE, FIRST, IN_NAMESPACES};
use crate::archive::path;
use crate::archive::write::WriteError;
use crate::model::bundle::{Collection, Failure, Outcome};
use crate::model::kinds::{self, Kind};

/// How the reading of a kind ended.
#[derive(Debug)]
pub(crate) enum Read {
    /// All of it was read.
    Done,
    /// The user may not; nothing is recorded yet, because namespaces may still work.
    Forbidden(Refusal),
    /// It failed, which is recorded.
    Failed,
}

/// An entry of the manifest for a kind.
fn entry(
    kind: &Kind,
    version: &str,
    namespace: Option<&str>,
    outcome: Outcome,
    items: usize,
    why: Option<String>,
) -> Collection {
    Collection {
        group: kind.group.to_owned(),
        version: version.to_owned(),
        kind: kind.kind.to_owned(),
        resource: kind.plural.to_owned(),
        namespace: namespace.map(str::to_owned),
        outcome,
        items,
        why,
    }
}

/// The version in which to read a kind; records the kinds that are not served.
fn version(cx: &Cx, kind: &Kind) -> Option<String> {
    let version = cx.served.version(kind).map(str::to_owned);
    if version.is_none() {
        match cx.served.stale(kind) {
            None => cx.journal.collected(entry(kind, "", None, Outcome::NotInstalled, 0, None)),
            Some(why) => {
                let refusal =
                    Refusal { code: None, reason: "StaleDiscovery".to_owned(), message: why.to_owned() };
                cx.journal.list_failed(kind, "", None, &format!("/apis/{}", kind.group), 0, &refusal);
            }
        }
    }
    version
}

/// What narrows a list without losing what the rules need.
fn query(kind: &Kind) -> &'static str {
    // OLM copies every ClusterServiceVersion into every namespace; the original says all.
    if kind == &kinds::CLUSTER_SERVICE_VERSION { "?labelSelector=%21olm.copiedFrom" } else { "" }
}

/// Reads a kind into a sink and records how that went, except where the user may not.
async fn read(
    cx: &Cx,
    kind: &'static Kind,
    version: &str,
    namespace: Option<&str>,
    sink: &mut dyn Sink,
) -> Result<Read, WriteError> {
    let url = format!("{}{}", list_path(kind, version, namespace), query(kind));
    // What is held in memory as a whole is handed to the probes later.
    let listed = if cx.options.probes.any() && Known::wants(kind) && !FIRST.contains(&kind) {
        let mut tap = Tap::new(sink, kind, version);
        let listed = list(&cx.api, &url, None, &mut tap).await;
        tap.into(&cx.known);
        listed
    } else {
        list(&cx.api, &url, None, sink).await
    };
    match listed {
        Ok(listed) => {
            if let Some(note) = &listed.note {
                cx.journal.line(format!("list {}: {note}", kind.resource()));
            }
            cx.journal.collected(entry(
                kind,
                version,
                namespace,
                Outcome::Complete,
                listed.items,
                listed.note,
            ));
            Ok(Read::Done)
        }
        Err(ListError::Write(error)) => Err(error),
        Err(ListError::Refused(refusal)) if refusal.is_forbidden() => Ok(Read::Forbidden(refusal)),
        Err(ListError::Refused(refusal)) => {
            cx.journal.list_failed(kind, version, namespace, &url, 0, &refusal);
            Ok(Read::Failed)
        }
    }
}

/// Records that the user may not list a kind.
fn forbidden(cx: &Cx, kind: &Kind, version: &str, namespace: Option<&str>, refusal: &Refusal) {
    let url = list_path(kind, version, namespace);
    cx.journal.list_failed(kind, version, namespace, &url, 0, refusal);
}

/// The kinds of [`FIRST`], as they were read so far.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) objects: BTreeMap<&'static Kind, Vec<Value>>,
    /// Kinds that may not be listed cluster-wide, each with the namespaces that were asked instead.
    narrowed: BTreeMap<&'static Kind, (String, BTreeSet<String>, Refusal)>,
}

impl Held {
    /// Reads the kinds that decide what is followed, everywhere or in the given namespaces only.
    pub(crate) async fn read(cx: &Arc<Cx>, only: &BTreeSet<String>) -> Self {
        let mut held = Self::default();
        let mut tasks = JoinSet::new();
        for kind in FIRST.iter().copied() {
            let Some(version) = version(cx, kind) else { continue };
            if kind.namespaced && !only.is_empty() {
                let refusal = Refusal::local("Limited", "limited by --namespace");
                held.narrowed.insert(kind, (version, BTreeSet::new(), refusal));
                continue;
            }
            let cx = cx.clone();
            tasks.spawn(async move {
                let mut items: Vec<Value> = Vec::new();
                let read = read(&cx, kind, &version, None, &mut items).await;
                (kind, version, read, items)
            });
        }
        while let Some(joined) = tasks.join_next().await {
            let Ok((kind, version, read, items)) = joined else { continue };
            match read {
                Ok(Read::Forbidden(refusal)) if kind.namespaced => {
                    held.narrowed.insert(kind, (version, BTreeSet::new(), refusal));
                }
                Ok(Read::Forbidden(refusal)) => forbidden(cx, kind, &version, None, &refusal),
                Ok(_) => held.add(cx, kind, &version, items),
                Err(error) => cx.check(Err(error)),
            }
        }
        held
    }

    fn add(&mut self, cx: &Cx, kind: &'static Kind, version: &str, items: Vec<Value>) {
        for _ in &items {
            cx.progress.object();
        }
        let items = items.into_iter().map(|item| complete(kind, version, item));
        self.objects.entry(kind).or_default().extend(items);
    }

    /// Reads, in namespaces that were not asked yet, the kinds that may not be listed
    /// cluster-wide. Says whether anything was asked.
    pub(crate) async fn read_in(&mut self, cx: &Arc<Cx>, namespaces: &BTreeSet<String>) -> bool {
        let (mut tasks, mut any) = (cx.crew(), false);
        for (kind, (version, asked, _)) in &mut self.narrowed {
            for namespace in namespaces {
                if !asked.insert(namespace.clone()) {
                    continue;
                }
                any = true;
                let (cx, kind, version, namespace) = (cx.clone(), *kind, version.clone(), namespace.clone());
                tasks
                    .begin(async move {
                        let mut items: Vec<Value> = Vec::new();
                        let read = read(&cx, kind, &version, Some(&namespace), &mut items).await;
                        (kind, version, namespace, read, items)
                    })
                    .await;
            }
        }
        for (kind, version, namespace, read, items) in tasks.end().await {
            match read {
                Ok(Read::Forbidden(refusal)) => forbidden(cx, kind, &version, Some(&namespace), &refusal),
                Ok(_) => self.add(cx, kind, &version, items),
                Err(error) => cx.check(Err(error)),
            }
        }
        any
    }

    /// Whether some kinds were not read in the whole cluster.
    pub(crate) fn is_narrowed(&self) -> bool {
        !self.narrowed.is_empty()
    }

    /// Records the cluster-wide refusals that no namespace could make good for.
    pub(crate) fn record_refusals(&self, cx: &Cx) {
        for (kind, (version, asked, refusal)) in &self.narrowed {
            if refusal.is_forbidden() {
                let mut refusal = refusal.clone();
                if !asked.is_empty() {
                    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
                    refusal.message = format!(
                        "{} (read in these namespaces instead: {})",
                        refusal.message,
                        asked.join(", ")
                    );
                }
                forbidden(cx, kind, version, None, &refusal);
            }
        }
    }

    /// Writes everything into the archive.
    pub(crate) fn write(self, cx: &Cx) -> Result<(), WriteError> {
        for (kind, objects) in self.objects {
            for object in objects {
                let version = object["apiVersion"].as_str().unwrap_or_default();
                let version = version.rsplit('/').next().unwrap_or_default().to_owned();
                let namespace = Some(metadata(&object, "namespace"))
                    .filter(|_| self.narrowed.contains_key(kind))
                    .filter(|namespace| !namespace.is_empty());
                let source = format!("GET {}", list_path(kind, &version, namespace));
                cx.out.object(kind, object, source)?;
            }
        }
        Ok(())
    }
}

/// Where to look: limits, and what is known to exist.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// `--namespace`; empty for everywhere.
    pub(crate) only: BTreeSet<String>,
    /// The followed namespaces.
    pub(crate) namespaces: Namespaces,
    /// Every namespace of the cluster, where they could be listed.
    pub(crate) existing: Option<BTreeSet<String>>,
}

/// Reads the kinds that are looked for everywhere into the archive.
pub(crate) async fn everywhere(cx: &Arc<Cx>, scope: &Arc<Scope>) {
    let mut tasks = cx.crew();
    for kind in EVERYWHERE.iter().copied() {
        let Some(version) = version(cx, kind) else { continue };
        let (cx, scope) = (cx.clone(), scope.clone());
        tasks
            .begin(async move {
                let mut in_each = kind.namespaced && !scope.only.is_empty();
                if !in_each {
                    match stream(&cx, kind, &version, None).await {
                        Ok(Read::Forbidden(refusal)) => {
                            forbidden(&cx, kind, &version, None, &refusal);
                            in_each = kind.namespaced;
                        }
                        other => cx.check(other.map(drop)),
                    }
                }
                if in_each {
                    for namespace in scope.namespaces.keys() {
                        match stream(&cx, kind, &version, Some(namespace)).await {
                            Ok(Read::Forbidden(refusal)) => {
                                forbidden(&cx, kind, &version, Some(namespace), &refusal);
                            }
                            other => cx.check(other.map(drop)),
                        }
                    }
                }
            })
            .await;
    }
    tasks.end().await;
}

/// Reads a kind straight into the archive, in the form that its readers expect.
async fn stream(
    cx: &Cx,
    kind: &'static Kind,
    version: &str,
    namespace: Option<&str>,
) -> Result<Read, WriteError> {
    let source = format!("GET {}", list_path(kind, version, namespace));
    if kind == &kinds::INFRASTRUCTURE {
        // Readers of must-gathers want this one as a list, and none rather than an empty one.
        let mut items: Vec<Value> = Vec::new();
        let outcome = read(cx, kind, version, namespace, &mut items).await?;
        if !items.is_empty() {
            let mut file = ListFile::at(&cx.out, path::cluster_list(kind), kind, version, source);
            for item in items {
                file.add(complete(kind, version, item))?;
            }
            file.finish(false)?;
        }
        return Ok(outcome);
    }
    match namespace.filter(|_| in_one_file(kind)) {
        Some(place) => {
            let mut sink = ToListFile::new(ListFile::new(&cx.out, kind, version, place, source), version);
            let outcome = read(cx, kind, version, namespace, &mut sink).await?;
            if matches!(outcome, Read::Done) {
                sink.file.finish(false)?;
            }
            Ok(outcome)
        }
        None => {
            let mut sink = ToObjects::new(&cx.out, kind, version, source);
            read(cx, kind, version, namespace, &mut sink).await
        }
    }
}

/// Reads the kinds of each followed namespace into the archive, and remembers the pods.
pub(crate) async fn in_namespaces(cx: &Arc<Cx>, scope: &Arc<Scope>, pods: &Pods) {
    let mut tasks = cx.crew();
    for kind in IN_NAMESPACES.iter().copied() {
        let kind = if kind == &kinds::ENDPOINT_SLICE && cx.served.version(kind).is_none() {
            &kinds::ENDPOINTS
        } else {
            kind
        };
        let Some(version) = version(cx, kind) else { continue };
        for namespace in scope.namespaces.keys() {
            if scope.existing.as_ref().is_some_and(|existing| !existing.contains(namespace)) {
                // The answer is known: there is nothing in a namespace that does not exist.
                let why = Some("the namespace does not exist".to_owned());
                cx.journal.collected(entry(kind, &version, Some(namespace), Outcome::Complete, 0, why));
                continue;
            }
            let (cx, pods) = (cx.clone(), pods.clone());
            let (version, namespace) = (version.clone(), namespace.clone());
            tasks
                .begin(async move {
                    let result = namespaced(&cx, kind, &version, &namespace, &pods).await;
                    cx.check(result);
                })
                .await;
        }
    }
    tasks.end().await;
}

async fn namespaced(
    cx: &Cx,
    kind: &'static Kind,
    version: &str,
    namespace: &str,
    pods: &Pods,
) -> Result<(), WriteError> {
    let outcome = if kind == &kinds::POD {
        let source = format!("GET {}", list_path(kind, version, Some(namespace)));
        let mut sink = ToPods::new(&cx.out, version, namespace, source);
        let outcome = read(cx, kind, version, Some(namespace), &mut sink).await?;
        if matches!(outcome, Read::Done) {
            sink.file.finish(false)?;
        }
        pods.add(sink.pods);
        outcome
    } else {
        stream(cx, kind, version, Some(namespace)).await?
    };
    if let Read::Forbidden(refusal) = outcome {
        forbidden(cx, kind, version, Some(namespace), &refusal);
        if kind == &kinds::ENDPOINT_SLICE
            && let Some(version) = cx.served.version(&kinds::ENDPOINTS)
        {
            let outcome = stream(cx, &kinds::ENDPOINTS, version, Some(namespace)).await?;
            if let Read::Forbidden(refusal) = outcome {
                forbidden(cx, &kinds::ENDPOINTS, version, Some(namespace), &refusal);
            }
        }
    }
    Ok(())
}

/// Reads all Namespaces, whose labels selectors need. Where that is refused, the followed ones one
/// by one. Gives the names of all, if they are known.
pub(crate) async fn namespaces(cx: &Arc<Cx>) -> (Vec<Value>, Option<Refusal>) {
    let mut items: Vec<Value> = Vec::new();
    match read(cx, &kinds::NAMESPACE, "v1", None, &mut items).await {
        Ok(Read::Forbidden(refusal)) => (Vec::new(), Some(refusal)),
        Ok(_) => (items, None),
        Err(error) => {
            cx.check(Err(error));
            (Vec::new(), None)
        }
    }
}

/// Objects that are read by name, because reading all of their kind would be too much.
pub(crate) struct Chosen {
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: String,
    pub(crate) names: BTreeSet<String>,
}

/// Reads objects by name. One that does not exist is no failure.
pub(crate) async fn chosen(cx: &Arc<Cx>, choices: Vec<Chosen>) {
    let mut tasks = cx.crew();
    for choice in choices {
        let Some(version) = version(cx, choice.kind) else { continue };
        let cx = cx.clone();
        tasks
            .begin(async move {
                let result = chosen_of_kind(&cx, &choice, &version).await;
                cx.check(result);
            })
            .await;
    }
    tasks.end().await;
}

async fn chosen_of_kind(cx: &Arc<Cx>, choice: &Chosen, version: &str) -> Result<(), WriteError> {
    let kind = choice.kind;
    let namespace = Some(choice.namespace.as_str()).filter(|_| kind.namespaced);
    let base = list_path(kind, version, namespace);
    let mut requests = cx.crew();
    for name in choice.names.clone() {
        let (cx, url) = (cx.clone(), format!("{base}/{}", segment(&name)));
        let version = version.to_owned();
        requests
            .begin(async move {
                let object = match cx.api.get_held(&url, JSON).await {
                    Ok(object) => object,
                    Err(refusal) => return Ok((name, url, Err(refusal))),
                };
                if in_one_file(kind) {
                    return Ok((name, url, Ok(Some(complete(kind, &version, object.release())))));
                }
                // Definitions are large: each is written as soon as it is there.
                let write = |object| by_itself(&cx, kind, complete(kind, &version, object), &url);
                super::work::heavy(|| object.work(write)).await?;
                Ok((name, url, Ok(None)))
            })
            .await;
    }
    let mut found: BTreeMap<String, Option<Value>> = BTreeMap::new();
    let mut refused: Option<Refusal> = None;
    let mut gone: Vec<String> = Vec::new();
    for answered in requests.end().await {
        let (name, url, answer) = answered?;
        match answer {
            Ok(object) => {
                found.insert(name, object);
            }
            Err(refusal) if refusal.is_not_found() => gone.push(name),
            Err(refusal) => {
                // One refusal stands for all of the same kind in the same place.
                if refused.is_none() && !refusal.is_cut() {
                    cx.journal.failure(Failure {
                        what: format!("get {} {name}", kind.resource()),
                        request: format!("GET {url}"),
                        code: refusal.code,
                        reason: refusal.reason.clone(),
                        message: refusal.message.clone(),
                        consequence: super::journal::consequence(kind),
                        resource: Some(kind.resource()),
                        namespace: namespace.map(str::to_owned),
                    });
                }
                refused = Some(refusal);
            }
        }
    }
    gone.sort();
    for name in gone {
        cx.journal.line(format!("{} {name} does not exist in {}", kind.kind, choice.namespace));
    }
    let why = match &refused {
        Some(refusal) => refusal.line(),
        None => "only those that something refers to were read, by name".to_owned(),
    };
    let outcome = if found.is_empty() && refused.is_some() { Outcome::Failed } else { Outcome::Partial };
    cx.journal.collected(entry(kind, version, namespace, outcome, found.len(), Some(why)));
    if !in_one_file(kind) {
        return Ok(());
    }
    let source = format!("GET {base}/…, by name");
    let mut file = ListFile::new(&cx.out, kind, version, &choice.namespace, source);
    super::work::heavy(|| {
        for object in found.into_values().flatten() {
            file.add(object)?;
        }
        file.finish(false)
    })
    .await
}

/// Writes an object that was asked for by its name as a file of its own.
fn by_itself(cx: &Cx, kind: &Kind, object: Value, url: &str) -> Result<(), WriteError> {
    if kind == &kinds::NAMESPACE {
        let place = path::namespace(metadata(&object, "name"));
        return cx.out.object_at(&place, object, format!("GET {url}"));
    }
    cx.out.object(kind, object, format!("GET {url}"))
}

/// What the pods of the followed namespaces make worth reading: their nodes, their ConfigMaps.
pub(crate) fn of_pods(pods: &[Pod]) -> Vec<Chosen> {
    let nodes: BTreeSet<String> =
        pods.iter().map(|pod| pod.node.clone()).filter(|node| !node.is_empty()).collect();
    let mut choices = Vec::new();
    if !nodes.is_empty() {
        choices.push(Chosen { kind: &kinds::NODE, namespace: String::new(), names: nodes });
    }
    let mut config_maps: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for pod in pods {
        config_maps.entry(&pod.namespace).or_default().extend(pod.config_maps.iter().cloned());
    }
    for (namespace, names) in config_maps {
        if !names.is_empty() {
            choices.push(Chosen { kind: &kinds::CONFIG_MAP, namespace: namespace.to_owned(), names });
        }
    }
    choices
}
