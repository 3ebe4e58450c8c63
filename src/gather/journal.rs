//! What happened while collecting: refusals, how each kind was read, which namespaces were
//! followed and why, the lines of `gather.logs`. A refusal is an entry here, never an early return.

use std::collections::BTreeMap;
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
    /// How often the kubelet of a node kept silent since it answered last.
    silent_nodes: BTreeMap<String, u32>,
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

    /// Notes that a node's kubelet answered.
    pub(crate) fn node_answers(&self, node: &str) {
        self.inner().silent_nodes.remove(node);
    }

    /// Notes that the log of a container on this node was not given. Where the API server says that
    /// it cannot reach the kubelet, or the kubelet kept silent twice, its other logs are not asked
    /// for; an error of another kind is that of one log.
    pub(crate) fn node_refuses(&self, node: &str, refusal: &Refusal) {
        let strikes = if is_unreachable_kubelet(refusal) {
            DEAD
        } else if refusal.reason == "Timeout" || matches!(refusal.code, Some(502 | 504)) {
            1
        } else {
            return;
        };
        *self.inner().silent_nodes.entry(node.to_owned()).or_default() += strikes;
    }

    /// Whether a node's kubelet did not answer before.
    pub(crate) fn is_dead(&self, node: &str) -> bool {
        self.inner().silent_nodes.get(node).is_some_and(|strikes| *strikes >= DEAD)
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

/// How often a kubelet keeps silent before it counts as dead.
const DEAD: u32 = 2;

/// Whether the API server says that it could not connect to a kubelet: the words of Go's network
/// library around the kubelet's URL.
fn is_unreachable_kubelet(refusal: &Refusal) -> bool {
    let words =
        ["dial tcp", "connection refused", "no route to host", "i/o timeout", "TLS handshake timeout"];
    matches!(refusal.code, Some(500 | 502 | 503 | 504))
        && words.iter().any(|words| refusal.message.contains(words))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_kubelet_is_told_from_one_bad_log() {
        let status = |code: u16, message: &str| Refusal {
            code: Some(code),
            reason: "InternalError".to_owned(),
            message: message.to_owned(),
        };
        let dial = "Get \"https://10.0.0.7:10250/containerLogs/a/b/c\": dial tcp 10.0.0.7:10250: connect: connection refused";
        let silent = Refusal::local("Timeout", "no answer within 60s");
        let cases: [(&[Refusal], bool); 6] = [
            (&[status(500, dial)], true),
            (&[status(500, "failed to parse the log")], false),
            (&[status(500, "failed to parse the log"), status(500, "failed to parse the log")], false),
            (std::slice::from_ref(&silent), false),
            (&[silent.clone(), silent.clone()], true),
            (&[status(504, "the request timed out"), silent.clone()], true),
        ];
        for (refusals, dead) in cases {
            let journal = Journal::new(Progress::silent());
            refusals.iter().for_each(|refusal| journal.node_refuses("n", refusal));
            assert_eq!(journal.is_dead("n"), dead, "{refusals:?}");
            assert!(!journal.is_dead("other"));
        }
        let journal = Journal::new(Progress::silent());
        journal.node_refuses("n", &silent);
        journal.node_answers("n");
        journal.node_refuses("n", &silent);
        assert!(!journal.is_dead("n"), "it answered in between");
    }
}
