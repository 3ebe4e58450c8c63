//! The order of a collection: connect, discover, find out what to follow, learn Secrets, then
//! everything else side by side, then close the archive, whatever happened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::client::{Api, Limits, Refusal};
use super::connect::{Connected, unreachable};
use super::cx::Cx;
use super::discovery::{JSON, Served};
use super::follow::{Depth, Platform, follow};
use super::journal::Journal;
use super::list::{METADATA, list};
use super::logs::{self, Lanes};
use super::objects::{self, Chosen, Held, Scope};
use super::out::{Out, complete, metadata};
use super::pods::{Pod, Pods};
use super::progress::Progress;
use super::stop::Stop;
use super::{Options, Output, close, live, permissions, probe, room, secrets};
use crate::archive::read::Source;
use crate::archive::rewrite::{self, RewriteError};
use crate::archive::write::{self, Finished, Format, Target, WriteError, Writer};
use crate::archive::{path, second_look};
use crate::error::CommandError;
use crate::model::json;
use crate::model::workloads::components;
use crate::model::{Bundle, Object, kinds};
use crate::redact::obfuscate::{Names, Obfuscator};
use crate::redact::report::SecondLook;
use crate::redact::{RedactedReport, Redactor};

/// What came of a collection.
#[derive(Debug)]
pub struct Gathered {
    /// The archive.
    pub archive: Finished,
    /// The name of the archive's root folder.
    pub root: String,
    /// The cluster's name, as the archive tells it.
    pub cluster: String,
    /// How many objects and logs were read.
    pub counts: (u64, u64),
    /// How many requests failed or were refused.
    pub failures: usize,
    /// The failures, for a summary.
    pub refused: Vec<crate::model::bundle::Failure>,
    /// How many values were redacted.
    pub redactions: u64,
    /// What the second look at the archive has cost; `None` when nothing is published.
    pub second_look: Option<SecondLook>,
    /// Why it ended early, if it did.
    pub cut_short: Option<String>,
    /// What is wrong, unless that was not wanted.
    pub report: Option<RedactedReport>,
    /// What gave the names in all of this their pseudonyms, if anything did.
    pub obfuscator: Option<Obfuscator>,
    /// Requests sent and bytes read.
    pub traffic: (u64, u64),
    /// What was collected, where it was written nowhere else.
    pub kept: Option<Kept>,
}

/// A collection that is held in memory, apart from what would be too much for it.
pub struct Kept(pub Box<dyn Source>);

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kept").finish_non_exhaustive()
    }
}

/// Collects from a cluster into one archive. Whatever throws `stop` ends it early with a valid
/// archive.
///
/// # Errors
/// The cluster cannot be used at all, or the archive cannot be written; nothing is left behind.
pub async fn gather(options: Options, progress: &Progress, stop: &Stop) -> Result<Gathered, CommandError> {
    let started = Utc::now();
    let options = Arc::new(options);
    progress.keep_alive();
    progress.phase("connecting");
    stop.after(options.timeout, format!("the deadline of {}", super::units::human_duration(options.timeout)));
    let connected = connect(&options, stop).await?;
    let limits = Limits::new(options.concurrency, options.qps, options.connection.request_timeout);
    let api = Api::new(connected.client.clone(), limits, stop.clone());

    progress.phase("discovering what the cluster serves");
    let served = Served::discover(&api).await.map_err(|refusal| unreachable(&connected, &refusal))?;
    if !served.has_any_of_ours() {
        return Err(CommandError::unusable_message(format!(
            "the cluster at {} serves neither the MCP gateway (mcp.kuadrant.io) nor Gateway API, Istio or Kuadrant",
            connected.server
        ))
        .hint("is this the right cluster? see `oc config get-contexts`, and choose with --context"));
    }
    let version = api.get_json("/version", JSON).await.ok();
    let server_version =
        version.as_ref().and_then(|version| version["gitVersion"].as_str()).map(str::to_owned);
    let cluster = cluster_name(&api, &served, &connected).await;
    let names = (!options.redact.obfuscate.is_empty()).then(|| Names::new(options.redact.obfuscate.clone()));
    let shown = names.as_ref().map_or_else(|| cluster.clone(), |names| names.cluster_pseudonym(&cluster));
    let root = path::root(&shown, started);
    let writer = create(&options, &root, started)?;
    // Names are known when everything is read; until then it waits, redacted, where nobody sees it.
    let collecting = match names {
        Some(_) => Writer::create(write::Options {
            target: Target::Memory,
            format: Format::Dir,
            root: root.clone(),
            time: started,
        })
        .map_err(write_error)?,
        None => writer.clone(),
    };
    let redactor = Redactor::new(options.redact.clone());
    let journal = Journal::new(progress.clone());
    journal.line(format!("oc-mcpgw {} gathers from {}", env!("CARGO_PKG_VERSION"), connected.server));
    if let Some(ahead) = api.clock().ahead() {
        let way = if ahead > 0 { "behind" } else { "ahead of" };
        let far = super::units::human_duration(std::time::Duration::from_secs(ahead.unsigned_abs()));
        let said = format!(
            "the clock of this machine is {far} {way} that of the API server; the archive's times are the server's"
        );
        journal.line(&said);
        progress.note(&said);
    }
    let out = Out { writer: collecting, redactor, progress: progress.clone() };
    let cx = Arc::new(Cx::new(api, served, out, journal, stop.clone(), options));

    let collected = collect(&cx, &connected).await;
    if let Some(error) = cx.fatal() {
        writer.abandon();
        return Err(write_error(error));
    }
    let scope = match collected {
        Ok(scope) => scope,
        Err(error) => {
            writer.abandon();
            return Err(error);
        }
    };
    write_role(&cx).await;
    room::close(&cx);
    let out = match names {
        Some(names) => {
            progress.phase("giving names their pseudonyms");
            let given =
                super::work::off_reactor(|| pseudonyms(&cx, names, &connected, &cluster, &scope, &writer));
            match given {
                Ok(out) => out,
                Err(error) => {
                    writer.abandon();
                    return Err(error);
                }
            }
        }
        None => cx.out.clone(),
    };
    progress.phase("closing the archive");
    let started = cx.api.clock().there(started);
    let identity = close::Identity { cluster: cluster.clone(), server_version, started };
    let closed = super::work::off_reactor(|| {
        let closing = close::close(&cx, &out, &identity, &scope).map_err(write_error)?;
        if cx.options.output == Output::Target(Target::Memory) {
            return closing.finish(None).map_err(write_error);
        }
        progress.phase("looking for what redaction may have missed");
        let begun = Instant::now();
        let looked = second_look::look(&*writer.source(), &out.redactor)?;
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let looked = SecondLook { files: looked.files, bytes: looked.bytes, milliseconds };
        let closed = closing.finish(Some(looked)).map_err(write_error)?;
        let last = |path: &str| close::LAST.contains(&path);
        second_look::look_at(&*writer.source(), &out.redactor, &last)?;
        Ok(closed)
    });
    let closed = match closed {
        Ok(closed) => closed,
        Err(error) => {
            writer.abandon();
            return Err(error);
        }
    };
    let kept = (cx.options.output == Output::Target(Target::Memory)).then(|| Kept(writer.source()));
    let to_stdout = cx.options.output == Output::Target(Target::Stdout);
    let archive = super::work::off_reactor(|| writer.finish()).map_err(|error| match error {
        WriteError::Io { source, .. } if to_stdout && source.kind() == std::io::ErrorKind::BrokenPipe => {
            CommandError::unusable_message("standard output was closed before the archive was whole")
                .hint("write to a file with --output PATH")
        }
        error => write_error(error),
    })?;
    let stats = cx.api.stats();
    Ok(Gathered {
        archive,
        root,
        cluster: shown,
        counts: progress.counts(),
        failures: closed.failures.len(),
        refused: closed.failures,
        redactions: closed.redactions,
        second_look: closed.second_look,
        cut_short: closed.cut_short,
        report: closed.report,
        obfuscator: out.redactor.obfuscator().cloned(),
        kept,
        traffic: (stats.requests.load(Ordering::Relaxed), stats.bytes.load(Ordering::Relaxed)),
    })
}

/// Connects. A credential plugin may wait for a person, or for ever, and it blocks its thread: it is not
/// waited for when the run ends.
async fn connect(options: &Arc<Options>, stop: &Stop) -> Result<Connected, CommandError> {
    let runtime = tokio::runtime::Handle::current();
    let connecting = tokio::task::spawn_blocking({
        let options = Arc::clone(options);
        move || runtime.block_on(options.connection.connect())
    });
    tokio::select! {
        connected = connecting => connected.map_err(CommandError::unusable)?,
        why = stop.wait() => Err(CommandError::unusable_message(format!(
            "{why} ended the run before there were credentials: a credential plugin of the kubeconfig does not end"
        ))
        .hint("run the plugin by hand (`oc config view` names it), or give a --token")),
    }
}

/// Copies what was collected into the archive, with pseudonyms for the names in it.
fn pseudonyms(
    cx: &Cx,
    mut names: Names,
    connected: &Connected,
    cluster: &str,
    scope: &Scope,
    writer: &Writer,
) -> Result<Out, CommandError> {
    let collected = cx.out.writer.source();
    rewrite::learn_names(&*collected, &mut names).map_err(CommandError::unusable)?;
    names.cluster(cluster);
    names.host(cluster);
    names.host(&connected.server);
    let existing = scope.existing.iter().flatten();
    scope.namespaces.keys().chain(existing).for_each(|namespace| names.namespace(namespace));
    let redactor = cx.out.redactor.obfuscating(&names.obfuscator());
    let entries = cx.out.writer.entries();
    let copied = rewrite::copy(&*collected, entries, &redactor, writer).map_err(|error| match error {
        RewriteError::Write(error) => write_error(error),
        RewriteError::Read(error) => CommandError::unusable(error),
    })?;
    for line in copied.left_out.iter().chain(&copied.problems) {
        cx.journal.failure(crate::model::bundle::Failure {
            what: "give names their pseudonyms".to_owned(),
            request: "nothing was asked of the cluster".to_owned(),
            code: None,
            reason: "LeftOut".to_owned(),
            message: line.clone(),
            consequence: "this file is not, or not wholly, in the archive".to_owned(),
            resource: None,
            namespace: None,
        });
    }
    Ok(Out { writer: writer.clone(), redactor, progress: cx.progress.clone() })
}

/// Reads everything into the archive.
///
/// # Errors
/// Nothing at all could be read.
async fn collect(cx: &Arc<Cx>, connected: &Connected) -> Result<Arc<Scope>, CommandError> {
    cx.progress.phase("finding out what to follow");
    let only: BTreeSet<String> = cx.options.namespaces.iter().cloned().collect();
    let (mut held, (names, names_refused), platform) =
        tokio::join!(Held::read(cx, &only), objects::namespaces(cx), platform(cx, &only));
    let existing: Option<BTreeSet<String>> = match &names_refused {
        None if !names.is_empty() => Some(names.iter().map(|n| metadata(n, "name").to_owned()).collect()),
        _ => None,
    };
    let scope = settle(cx, connected, &mut held, only, existing, &platform).await;
    held.record_refusals(cx);
    for (namespace, followed) in &scope.namespaces {
        cx.journal.line(format!("follows namespace {namespace}: {}", followed.reason));
    }
    if !cx.journal.has_evidence() && !cx.stop.is_cut() {
        return Err(no_permission(cx, connected));
    }

    cx.progress.phase(&format!("reading the Secrets of {} namespaces", scope.namespaces.len()));
    secrets::collect(cx, &scope).await;

    cx.progress.phase(&format!("reading objects of {} namespaces", scope.namespaces.len()));
    let pods = Pods::default();
    if cx.options.probes.any() {
        cx.known
            .keep(held.objects.iter().filter(|(kind, _)| probe::Known::wants(kind)).flat_map(|(_, all)| all));
    }
    let written = super::work::off_reactor(|| {
        write_namespaces(cx, names)?;
        write_discovery(cx)?;
        held.write(cx)
    });
    cx.check(written);
    let mut choices = vec![Chosen {
        kind: &kinds::CUSTOM_RESOURCE_DEFINITION,
        namespace: String::new(),
        names: cx.served.definitions(),
    }];
    if cx.served.version(&kinds::CLUSTER_OPERATOR).is_some() {
        let names = BTreeSet::from(["ingress".to_owned()]);
        choices.push(Chosen { kind: &kinds::CLUSTER_OPERATOR, namespace: String::new(), names });
    }
    if let Some(refusal) = names_refused {
        cx.journal.list_failed(&kinds::NAMESPACE, "v1", None, "/api/v1/namespaces", 0, &refusal);
        let names = scope.namespaces.keys().cloned().collect();
        choices.push(Chosen { kind: &kinds::NAMESPACE, namespace: String::new(), names });
    }
    tokio::join!(
        objects::in_namespaces(cx, &scope, &pods),
        objects::everywhere(cx, &scope),
        objects::chosen(cx, choices),
    );

    let pods = pods.all();
    cx.progress.phase(&format!("reading the logs of {} pods", pods.len()));
    tokio::join!(
        objects::chosen(cx, objects::of_pods(&pods)),
        async {
            if cx.options.probes.http {
                live::collect(cx, &pods).await;
            }
        },
        probe::collect(cx, &pods),
        read_logs(cx, &scope, &platform, &pods)
    );
    Ok(scope)
}

/// Follows references until nothing new is found: where kinds may not be listed cluster-wide, each
/// new namespace is asked for them, which may lead on.
async fn settle(
    cx: &Arc<Cx>,
    connected: &Connected,
    held: &mut Held,
    only: BTreeSet<String>,
    existing: Option<BTreeSet<String>>,
    platform: &[Platform],
) -> Arc<Scope> {
    const ROUNDS: usize = 16;
    let mut scope = Scope { only, existing, ..Scope::default() };
    for round in 0..ROUNDS {
        let mut bundle = Bundle::default();
        for object in held.objects.values().flatten() {
            let object = Object::new(object.clone(), "held".into(), None);
            if let Some(object) = object {
                bundle.add_object(object);
            }
        }
        scope.namespaces = follow(&bundle, platform);
        let given = |reason: &str| super::follow::Followed { reason: reason.to_owned(), depth: Depth::Full };
        if scope.only.is_empty() {
            // Without a view of the whole cluster, the context's own namespace is where to begin.
            if held.is_narrowed() && scope.namespaces.is_empty() {
                scope.namespaces.insert(connected.namespace.clone(), given("the namespace of the context"));
            }
        } else {
            scope.namespaces.retain(|namespace, _| scope.only.contains(namespace));
            for namespace in &scope.only {
                scope.namespaces.entry(namespace.clone()).or_insert_with(|| given("asked for"));
            }
        }
        let known: BTreeSet<String> = scope.namespaces.keys().cloned().collect();
        if !held.read_in(cx, &known).await || round + 1 == ROUNDS {
            break;
        }
    }
    Arc::new(scope)
}

/// Finds the Deployments of control planes, cluster-wide and by their metadata alone.
async fn platform(cx: &Arc<Cx>, only: &BTreeSet<String>) -> Vec<Platform> {
    let mut found = Vec::new();
    let places: Vec<Option<&str>> =
        if only.is_empty() { vec![None] } else { only.iter().map(|ns| Some(ns.as_str())).collect() };
    for place in places {
        let Some(version) = cx.served.version(&kinds::DEPLOYMENT) else { break };
        let url = super::discovery::list_path(&kinds::DEPLOYMENT, version, place);
        let mut items: Vec<Value> = Vec::new();
        if let Err(super::list::ListError::Refused(refusal)) =
            list(&cx.api, &url, Some(METADATA), &mut items).await
        {
            cx.journal.failure(crate::model::bundle::Failure {
                what: "find control planes".to_owned(),
                request: format!("GET {url}"),
                code: refusal.code,
                reason: refusal.reason.clone(),
                message: refusal.message.clone(),
                consequence:
                    "control planes (controller, istiod, Kuadrant) are found only in followed namespaces"
                        .to_owned(),
                resource: Some(kinds::DEPLOYMENT.resource()),
                namespace: place.map(str::to_owned),
            });
        }
        for item in &items {
            let name = metadata(item, "name");
            let labels = item.pointer("/metadata/labels").cloned().map(json::Value::from);
            let labels = labels.as_ref().and_then(json::Value::as_object);
            if let Some(component) = components::of_metadata(name, labels) {
                let namespace = metadata(item, "namespace").to_owned();
                found.push(Platform { namespace, name: name.to_owned(), component });
            }
        }
    }
    found.sort();
    found
}

/// Reads the logs that exist: of all pods where the namespace is ours, of control planes and
/// gateway proxies elsewhere.
async fn read_logs(cx: &Arc<Cx>, scope: &Arc<Scope>, platform: &[Platform], pods: &[Pod]) {
    let lanes = Lanes::new((cx.options.concurrency / 2).clamp(1, 6));
    let mut tasks = cx.crew();
    let mut wanted = Vec::new();
    for pod in pods {
        let depth = scope.namespaces.get(&pod.namespace).map(|followed| followed.depth);
        let of_platform = || {
            pod.component.is_some()
                || platform
                    .iter()
                    .any(|p| p.namespace == pod.namespace && pod.name.starts_with(&format!("{}-", p.name)))
        };
        if depth != Some(Depth::Full) && !of_platform() {
            continue;
        }
        let pod = Arc::new(pod.clone());
        for log in pod.logs.clone() {
            wanted.push((pod.clone(), log));
        }
    }
    // Previous logs are short and tell why something died; then what belongs to the gateway itself:
    // when room or time is scarce, they are there already.
    wanted.sort_by_key(|(pod, log)| (!log.previous, pod.component.is_none() && pod.gateway.is_none()));
    for (pod, log) in wanted {
        let (cx, lane) = (cx.clone(), lanes.lane().await);
        tasks
            .begin(async move {
                let result = logs::collect(&cx, lane, &pod, &log).await;
                cx.check(result);
            })
            .await;
    }
    tasks.end().await;
}

/// Writes a role that would grant what was refused.
async fn write_role(cx: &Cx) {
    let missing = permissions::of_failures(&cx.journal.record(None).failures);
    if missing.is_empty() {
        return;
    }
    // Only somebody who is to be given a role needs to be known.
    let who = permissions::who(&cx.api).await;
    let role = permissions::role(&who, &missing);
    cx.check(cx.out.text(path::MISSING_PERMISSIONS, "oc-mcpgw", role.as_bytes()));
}

fn write_namespaces(cx: &Cx, namespaces: Vec<Value>) -> Result<(), WriteError> {
    for namespace in namespaces {
        let place = path::namespace(metadata(&namespace, "name"));
        let namespace = complete(&kinds::NAMESPACE, "v1", namespace);
        cx.out.object_at(&place, namespace, "GET /api/v1/namespaces".to_owned())?;
    }
    Ok(())
}

fn write_discovery(cx: &Cx) -> Result<(), WriteError> {
    for (name, document) in &cx.served.documents {
        let place = cx.out.redactor.path(&path::discovery(name));
        let document = cx.out.redactor.object(&place, document.clone());
        cx.out.writer.add(place, format!("GET /{name}"), &document.to_yaml())?;
    }
    Ok(())
}

/// What to call the cluster: as OpenShift does itself, else as the kubeconfig does.
async fn cluster_name(api: &Api, served: &Served, connected: &Connected) -> String {
    if let Some(name) = &connected.cluster {
        return name.clone();
    }
    if let Some(version) = served.version(&kinds::INFRASTRUCTURE) {
        let url = format!("/apis/{}/{version}/infrastructures/cluster", kinds::INFRASTRUCTURE.group);
        if let Ok(infrastructure) = api.get_json(&url, JSON).await
            && let Some(name) = infrastructure.pointer("/status/infrastructureName").and_then(Value::as_str)
        {
            return name.to_owned();
        }
    }
    let host = connected.server.split("://").last().unwrap_or_default();
    let host = host.split(['/', ':']).next().unwrap_or_default();
    if host.is_empty() { "cluster".to_owned() } else { host.to_owned() }
}

fn create(options: &Options, root: &str, time: DateTime<Utc>) -> Result<Writer, CommandError> {
    let extension = match options.format {
        Format::TarGz => ".tar.gz",
        Format::TarZst => ".tar.zst",
        Format::Zip => ".zip",
        Format::Dir => "",
    };
    let named = format!("{root}{extension}");
    let target = match &options.output {
        Output::Here => Target::Path(named.into()),
        Output::Path(path) if path.is_dir() => Target::Path(path.join(named)),
        Output::Path(path) => Target::Path(path.clone()),
        Output::Target(target) => target.clone(),
    };
    Writer::create(write::Options { target, format: options.format, root: root.to_owned(), time })
        .map_err(write_error)
}

fn write_error(error: WriteError) -> CommandError {
    let exists = matches!(error, WriteError::Exists { .. });
    let error = CommandError::unusable(error);
    if exists {
        error.hint("choose another --output, or remove it first")
    } else {
        error.hint("choose another place with --output, with enough room and permission to write")
    }
}

fn no_permission(cx: &Cx, connected: &Connected) -> CommandError {
    let first = cx.journal.first_failure();
    let why = first.map(|first| {
        let refusal = Refusal { code: first.code, reason: first.reason, message: first.message };
        format!(" (first refusal: {}: {})", first.what, refusal.line())
    });
    let why = why.unwrap_or_default();
    CommandError::unusable_message(format!(
        "nothing can be read from {}: every list was refused or failed{why}",
        connected.server
    ))
    .hint("ask for the rights to list the MCP gateway's objects, or limit the search to your namespaces with -n")
}
