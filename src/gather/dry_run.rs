//! `gather --dry-run`: what would be read, whether that is allowed, and how much it would be.
//!
//! It asks the API server what it serves, posts reviews of the user's own rights, and, to estimate,
//! asks each permitted list for the metadata of one object, which comes with the number of the rest;
//! Secrets are not asked even that. Nothing is written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use super::client::{Api, Limits};
use super::connect::unreachable;
use super::discovery::{JSON, Served, list_path};
use super::list::METADATA;
use super::permissions::{self, Right, Who};
use super::progress::Progress;
use super::stop::Stop;
use super::wanted::{EVERYWHERE, FIRST, IN_NAMESPACES};
use super::{Options, journal, units};
use crate::error::CommandError;
use crate::model::kinds::{self, Kind};

/// The form of the answer for programs.
const SCHEMA_VERSION: &str = "mcpgw.plan/v1";
/// How many objects one page of a list holds.
const PAGE: u64 = 500;

/// A list that would be read.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// `httproutes.gateway.networking.k8s.io`.
    pub resource: String,
    /// Where: a namespace, or everywhere for `None`.
    pub namespace: Option<String>,
    /// How many objects there are; `None` where that was not asked or not allowed.
    pub objects: Option<u64>,
}

/// A right that is missing.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingRight {
    /// The right.
    #[serde(flatten)]
    pub right: Right,
    /// What the API server said.
    pub why: String,
    /// What the analysis cannot decide without it.
    pub consequence: String,
}

/// How much a collection would be; from counts, and from how fast the server answered.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// Objects that were counted.
    pub objects: u64,
    /// Pods among them.
    pub pods: u64,
    /// Requests, at most: lists by pages, two logs of each pod, the questions to running pods.
    pub requests: u64,
    /// Bytes of objects, roughly.
    pub object_bytes: u64,
    /// Bytes of logs, at most.
    pub log_bytes: u64,
    /// Seconds, roughly, without the time that logs take to arrive.
    pub seconds: u64,
}

/// What a collection would do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The version of this form.
    pub schema_version: &'static str,
    /// The API server.
    pub server: String,
    /// Who would ask.
    pub user: Who,
    /// `--namespace`; empty: the objects are followed wherever they lead.
    pub namespaces: Vec<String>,
    /// What would be listed.
    pub lists: Vec<Listing>,
    /// What would be read by name.
    pub by_name: Vec<String>,
    /// What running pods would be asked.
    pub probes: String,
    /// Requests side by side.
    pub concurrency: usize,
    /// When the collection would end with what is there, in seconds.
    pub timeout_seconds: u64,
    /// How many rights were checked.
    pub checked: usize,
    /// Those that are missing.
    pub missing: Vec<MissingRight>,
    /// Rights that could not be checked, and why.
    pub unchecked: Vec<String>,
    /// A role with what is missing, to apply; empty when nothing is.
    pub role: String,
    /// How much it would be.
    pub estimate: Estimate,
}

impl Plan {
    /// Whether everything is permitted.
    #[must_use]
    pub fn is_permitted(&self) -> bool {
        self.missing.is_empty() && self.unchecked.is_empty()
    }
}

/// The kinds that would be listed.
fn listed(served: &Served) -> Vec<&'static Kind> {
    let mut all: Vec<&'static Kind> =
        [&kinds::NAMESPACE, &kinds::SECRET].into_iter().chain(FIRST.iter().copied()).collect();
    all.extend(EVERYWHERE.iter().copied());
    all.extend(IN_NAMESPACES.iter().copied());
    all.retain(|kind| served.version(kind).is_some());
    all
}

/// Everything that a collection needs to be allowed, with what is undecided without it.
fn rights(options: &Options, served: &Served, create_streams: bool) -> Vec<(Right, String)> {
    let mut rights = Vec::new();
    let everywhere = [None];
    let only: Vec<Option<&str>> = options.namespaces.iter().map(|ns| Some(ns.as_str())).collect();
    let places = |namespaced: bool| if namespaced && !only.is_empty() { &only[..] } else { &everywhere[..] };
    for kind in listed(served) {
        for place in places(kind.namespaced) {
            rights.push((Right::new("list", kind.group, kind.plural, *place), journal::consequence(kind)));
        }
    }
    for kind in
        [&kinds::CUSTOM_RESOURCE_DEFINITION, &kinds::NODE, &kinds::CLUSTER_OPERATOR, &kinds::CONFIG_MAP]
    {
        if served.version(kind).is_some() {
            for place in places(kind.namespaced) {
                rights.push((Right::new("get", kind.group, kind.plural, *place), journal::consequence(kind)));
            }
        }
    }
    let streams: &[&str] = if create_streams { &["get", "create"] } else { &["get"] };
    let mut of_pods = vec![("pods/log", &["get"][..], "what the parts say of themselves is unknown")];
    if options.probes.any() && served.port_forward {
        let text =
            "what Envoy, brokers, gateways and servers answer is unknown (MG223-MG231, MG411, MG702, MG703)";
        of_pods.push(("pods/portforward", streams, text));
    }
    if options.probes.exec {
        let text = "what can be reached from inside the cluster is unknown (MG218, MG509, MG510, MG810)";
        of_pods.push(("pods/exec", streams, text));
    }
    for (resource, verbs, consequence) in of_pods {
        for place in places(true) {
            for verb in verbs {
                rights.push((Right::new(verb, "", resource, *place), consequence.to_owned()));
            }
        }
    }
    rights
}

/// Whether the API server wants `create` for streams that begin with a GET.
fn wants_create(version: Option<&Value>) -> bool {
    let minor = version.and_then(|version| version["minor"].as_str()).unwrap_or_default();
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<u32>().is_ok_and(|minor| minor >= 35)
}

/// Makes the plan.
///
/// # Errors
/// The cluster cannot be used at all.
pub async fn plan(options: Options, progress: &Progress, stop: &Stop) -> Result<Plan, CommandError> {
    progress.keep_alive();
    progress.phase("connecting");
    let connected = options.connection.connect().await?;
    let limits = Limits::new(options.concurrency, options.qps, options.connection.request_timeout);
    let api = Api::new(connected.client.clone(), limits, stop.clone());
    stop.after(options.timeout, format!("the deadline of {}", units::human_duration(options.timeout)));
    progress.phase("discovering what the cluster serves");
    let served = Served::discover(&api).await.map_err(|refusal| unreachable(&connected, &refusal))?;
    let version = api.get_json("/version", JSON).await.ok();
    let user = permissions::who(&api).await;

    progress.phase("checking permissions");
    let wanted = rights(&options, &served, wants_create(version.as_ref()));
    let begun = (Instant::now(), api.stats().requests.load(Ordering::Relaxed));
    let checked = wanted.len();
    let (missing, unchecked) = check(&api, options.concurrency, wanted).await;
    let refused: BTreeSet<Right> = missing.iter().map(|missing| missing.right.clone()).collect();

    progress.phase("counting");
    let lists = count(&api, &served, &options, &refused).await;
    let requests = api.stats().requests.load(Ordering::Relaxed).saturating_sub(begun.1).max(1);
    let pace = begun.0.elapsed().div_f64(requests as f64);
    let estimate = estimate(&lists, &options, pace);
    Ok(Plan {
        schema_version: SCHEMA_VERSION,
        server: connected.server,
        namespaces: options.namespaces.clone(),
        by_name: by_name(&served),
        probes: options.probes.words(),
        concurrency: options.concurrency,
        timeout_seconds: options.timeout.as_secs(),
        checked,
        role: if refused.is_empty() {
            String::new()
        } else {
            permissions::role(&user, &with_streams(refused))
        },
        user,
        lists,
        missing,
        unchecked,
        estimate,
    })
}

/// What a role needs for a stream: both verbs, whatever the version of the server.
fn with_streams(mut rights: BTreeSet<Right>) -> BTreeSet<Right> {
    let streams: Vec<Right> = rights
        .iter()
        .filter(|r| matches!(r.resource.as_str(), "pods/portforward" | "pods/exec"))
        .cloned()
        .collect();
    for right in streams {
        rights.insert(Right { verb: "create".to_owned(), ..right.clone() });
        rights.insert(Right { verb: "get".to_owned(), ..right });
    }
    rights
}

fn by_name(served: &Served) -> Vec<String> {
    [&kinds::CUSTOM_RESOURCE_DEFINITION, &kinds::NODE, &kinds::CONFIG_MAP, &kinds::CLUSTER_OPERATOR]
        .into_iter()
        .filter(|kind| served.version(kind).is_some())
        .map(Kind::resource)
        .collect()
}

/// Checks rights side by side.
async fn check(api: &Api, lanes: usize, wanted: Vec<(Right, String)>) -> (Vec<MissingRight>, Vec<String>) {
    let gate = Arc::new(tokio::sync::Semaphore::new(lanes.max(1)));
    let mut tasks = JoinSet::new();
    for (right, consequence) in wanted {
        let (api, gate) = (api.clone(), gate.clone());
        tasks.spawn(async move {
            let _lane = gate.acquire().await;
            let refused = permissions::refused(&api, &right).await;
            (right, consequence, refused)
        });
    }
    let (mut missing, mut unchecked) = (Vec::new(), Vec::new());
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok((_, _, Ok(None))) => {}
            Ok((right, consequence, Ok(Some(why)))) => missing.push(MissingRight { right, why, consequence }),
            Ok((right, _, Err(refusal))) => unchecked.push(format!("{}: {}", right.words(), refusal.line())),
            Err(error) => unchecked.push(error.to_string()),
        }
    }
    missing.sort_by(|a, b| a.right.cmp(&b.right));
    unchecked.sort();
    (missing, unchecked)
}

/// Counts the objects of each permitted list.
async fn count(api: &Api, served: &Served, options: &Options, refused: &BTreeSet<Right>) -> Vec<Listing> {
    let mut tasks = JoinSet::new();
    let only: Vec<Option<String>> = options.namespaces.iter().cloned().map(Some).collect();
    for kind in listed(served) {
        let everywhere = [None];
        let places = if kind.namespaced && !only.is_empty() { &only[..] } else { &everywhere[..] };
        for place in places {
            let right = Right::new("list", kind.group, kind.plural, place.as_deref());
            let allowed = !refused.contains(&right) && kind != &kinds::SECRET;
            let Some(version) = served.version(kind) else { continue };
            let url = format!("{}?limit=1", list_path(kind, version, place.as_deref()));
            let (api, place, resource) = (api.clone(), place.clone(), kind.resource());
            tasks.spawn(async move {
                let answer = if allowed { api.get_json(&url, METADATA).await.ok() } else { None };
                let objects = answer.map(|list| {
                    let seen = list["items"].as_array().map_or(0, Vec::len) as u64;
                    seen + list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default()
                });
                Listing { resource, namespace: place, objects }
            });
        }
    }
    let mut lists = tasks.join_all().await;
    lists.sort_by(|a, b| (&a.resource, &a.namespace).cmp(&(&b.resource, &b.namespace)));
    lists
}

/// What an object takes on the wire, roughly: managed fields make most of it.
const OBJECT_BYTES: u64 = 4 << 10;

fn estimate(lists: &[Listing], options: &Options, pace: Duration) -> Estimate {
    let of = |list: &Listing| list.objects.unwrap_or_default();
    let objects: u64 = lists.iter().map(of).sum();
    let pods: u64 = lists.iter().filter(|list| list.resource == "pods").map(of).sum();
    let pages: u64 = lists.iter().map(|list| of(list).div_ceil(PAGE).max(1)).sum();
    let live = if options.probes.http { 10 } else { 0 } + if options.probes.mcp { 4 } else { 0 };
    let requests = 4 + pages + 2 * pods + live;
    let log_bytes = (pods * options.max_log_bytes).min(options.max_size.unwrap_or(u64::MAX));
    Estimate {
        objects,
        pods,
        requests,
        object_bytes: objects * OBJECT_BYTES,
        log_bytes,
        seconds: (pace.as_secs_f64() * requests as f64).ceil() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_servers_want_create_for_streams() {
        for (minor, expected) in [("34", false), ("35", true), ("35+", true), ("", false), ("4x", false)] {
            let version = serde_json::json!({"minor": minor});
            assert_eq!(wants_create(Some(&version)), expected, "{minor}");
        }
        assert!(!wants_create(None));
    }

    #[test]
    fn the_estimate_follows_the_counts() {
        let list = |resource: &str, objects| Listing { resource: resource.into(), namespace: None, objects };
        let lists = [list("pods", Some(1001)), list("secrets", None), list("services", Some(0))];
        let options = Options { max_log_bytes: 10, ..Options::default() };
        let estimate = estimate(&lists, &options, Duration::from_millis(10));
        assert_eq!((estimate.objects, estimate.pods, estimate.log_bytes), (1001, 1001, 10_010));
        assert_eq!(estimate.requests, 4 + 3 + 1 + 1 + 2002 + 10);
        assert_eq!(estimate.seconds, 21);
    }
}
