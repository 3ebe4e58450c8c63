//! What happened while collecting: refusals, how each kind was read, which namespaces were
//! followed and why, the lines of `gather.logs`. A refusal is an entry here, never an early return.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{SecondsFormat, Utc};

use super::client::Refusal;
use super::progress::Progress;
use crate::model::bundle::{Collection, Failure, Outcome};
use crate::model::{Kind, kinds};

/// The journal of one collection. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    inner: Arc<Mutex<Inner>>,
    progress: Progress,
}

#[derive(Debug, Default)]
struct Inner {
    failures: Vec<Failure>,
    collections: Vec<Collection>,
    lines: Vec<String>,
    dead_nodes: BTreeSet<String>,
    not_begun: BTreeMap<&'static str, usize>,
}

/// Everything that the journal holds, sorted.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) failures: Vec<Failure>,
    pub(crate) collections: Vec<Collection>,
    pub(crate) lines: Vec<String>,
}

impl Journal {
    pub(crate) fn new(progress: Progress) -> Self {
        Self { inner: Arc::default(), progress }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to `gather.logs`.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        self.inner().lines.push(format!("{now} {}", text.as_ref()));
    }

    /// Records a request that failed, and what that means for the analysis.
    pub(crate) fn failure(&self, failure: Failure) {
        self.line(format!("failed: {}: {} {}", failure.what, failure.reason, failure.message));
        self.progress.failed();
        self.inner().failures.push(failure);
    }

    /// Records how the objects of a kind were read.
    pub(crate) fn collected(&self, collection: Collection) {
        self.inner().collections.push(collection);
    }

    /// Records a list that was refused or broke off.
    pub(crate) fn list_failed(
        &self,
        kind: &Kind,
        version: &str,
        namespace: Option<&str>,
        request: &str,
        items: usize,
        refusal: &Refusal,
    ) {
        let place = match namespace {
            Some(namespace) => format!(" in {namespace}"),
            None => String::new(),
        };
        self.collected(Collection {
            group: kind.group.to_owned(),
            version: version.to_owned(),
            kind: kind.kind.to_owned(),
            resource: kind.plural.to_owned(),
            namespace: namespace.map(str::to_owned),
            outcome: if items > 0 { Outcome::Partial } else { Outcome::Failed },
            items,
            why: Some(refusal.line()),
        });
        self.failure(Failure {
            what: format!("list {}{place}", kind.resource()),
            request: format!("GET {request}"),
            code: refusal.code,
            reason: refusal.reason.clone(),
            message: refusal.message.clone(),
            consequence: consequence(kind),
            resource: Some(kind.resource()),
            namespace: namespace.map(str::to_owned),
        });
    }

    /// Counts something that was not begun because the collection was cut short.
    pub(crate) fn not_begun(&self, what: &'static str) {
        *self.inner().not_begun.entry(what).or_default() += 1;
    }

    /// Notes that a node's kubelet does not answer; its other logs are not asked for.
    pub(crate) fn node_is_dead(&self, node: &str) {
        self.inner().dead_nodes.insert(node.to_owned());
    }

    /// Whether a node's kubelet did not answer before.
    pub(crate) fn is_dead(&self, node: &str) -> bool {
        self.inner().dead_nodes.contains(node)
    }

    /// Whether anything at all was read.
    pub(crate) fn has_evidence(&self) -> bool {
        self.inner().collections.iter().any(|c| matches!(c.outcome, Outcome::Complete | Outcome::Partial))
    }

    /// The first refusal, to explain that nothing was read.
    pub(crate) fn first_failure(&self) -> Option<Failure> {
        self.inner().failures.first().cloned()
    }

    /// Everything, sorted, with what was not begun as entries of its own.
    pub(crate) fn record(&self, cut: Option<&str>) -> Record {
        let inner = self.inner();
        let mut failures = inner.failures.clone();
        for (what, count) in &inner.not_begun {
            failures.push(Failure {
                what: format!("{count} {what} not read"),
                request: String::new(),
                code: None,
                reason: super::client::CUT.to_owned(),
                message: cut.unwrap_or("the collection was cut short").to_owned(),
                consequence: "what they would have shown is unknown; gather again with a longer --timeout"
                    .to_owned(),
                resource: None,
                namespace: None,
            });
        }
        failures.sort_by(|a, b| (&a.what, &a.request, &a.message).cmp(&(&b.what, &b.request, &b.message)));
        let mut collections = inner.collections.clone();
        collections.sort_by(|a, b| (&a.group, &a.kind, &a.namespace).cmp(&(&b.group, &b.kind, &b.namespace)));
        let mut lines = inner.lines.clone();
        lines.sort();
        Record { failures, collections, lines }
    }
}

/// What the analysis cannot decide without a kind.
pub(crate) fn consequence(kind: &Kind) -> String {
    let known: &[(&Kind, &str)] = &[
        (
            &kinds::SECRET,
            "whether Secrets exist, carry their labels and keys is unknown (MG206, MG309, MG6xx); \
            values of Secrets cannot be recognised elsewhere, only by their form",
        ),
        (&kinds::POD, "the state of workloads is unknown (MG1xx, MG208, MG405) and no logs are read"),
        (
            &kinds::EVENT,
            "reasons that only events tell (scheduling, pulls, admission) are missing (MG103, MG111)",
        ),
        (&kinds::NAMESPACE, "selectors over namespaces cannot be evaluated (MG214, MG308)"),
        (&kinds::MCP_SERVER_REGISTRATION, "nothing can be said about registered servers (MG4xx)"),
        (&kinds::MCP_GATEWAY_EXTENSION, "nothing can be said about extensions and brokers (MG3xx)"),
        (&kinds::GATEWAY, "nothing can be said about gateways and listeners (MG2xx)"),
        (&kinds::HTTP_ROUTE, "nothing can be said about routes (MG210-MG216, MG401)"),
        (&kinds::ENVOY_FILTER, "whether the router is in the path of requests is unknown (MG220-MG222)"),
        (&kinds::AUTH_POLICY, "nothing can be said about authentication and authorization (MG7xx, MG8xx)"),
        (&kinds::NODE, "trouble of nodes is unknown (MG109)"),
        (&kinds::ENDPOINT_SLICE, "whether Services have ready endpoints is unknown (MG409)"),
    ];
    match known.iter().find(|(k, _)| *k == kind) {
        Some((_, text)) => (*text).to_owned(),
        None => format!("rules that need {} cannot tell (MG001)", kind.resource()),
    }
}
