//! Evidence that rules need and the bundle lacks: what was refused, never asked for, lost from the archive, or
//! is a log that nobody collected.
//!
//! A rule says itself where a gap stops it. But what it did not find in the rest is no proof either, whether or not
//! it came across the gap; this is decided here for all rules alike, from the words of their `needs`.

use std::collections::BTreeMap;

use super::Context;
use crate::model::bundle::Outcome;
use crate::model::workloads::{Component, containers};
use crate::model::{Bundle, Kind, Missing, Object, kinds};
use crate::shell::shell;

/// How many pods one line names.
const NAMED: usize = 3;

/// The gaps of a bundle by the needs of the rules, found once for each need.
#[derive(Default)]
pub(super) struct Gaps {
    known: BTreeMap<&'static str, Option<Missing>>,
}

impl Gaps {
    /// What is missing of a need, if anything is.
    pub(super) fn of(&mut self, context: &Context<'_>, need: &'static str) -> Option<Missing> {
        self.known.entry(need).or_insert_with(|| find(context, need)).clone()
    }
}

fn find(context: &Context<'_>, need: &str) -> Option<Missing> {
    let bundle = context.bundle;
    let word = need.split_whitespace().next().unwrap_or_default();
    if let Some(kind) = kinds::ALL.iter().find(|kind| kind.plural == word) {
        return refused(bundle, kind).or_else(|| lost(bundle, |path| holds(path, kind)));
    }
    match need {
        "broker log" => logs(context, &[Component::Broker]),
        "controller log" => logs(context, &[Component::Controller]),
        "authorino log" => logs(context, &[Component::Authorino]),
        "istiod log" => logs(context, &[Component::Istiod]),
        "previous logs" => previous_logs(context),
        "broker /status" => lost(bundle, |path| path.starts_with("mcpgw/broker/")),
        _ if word == "mcpgw/envoy" => lost(bundle, |path| path.starts_with("mcpgw/envoy/")),
        _ if word == "probes" => lost(bundle, |path| path.starts_with("mcpgw/probes/")),
        _ if need.starts_with("gateway logs") => proxy_logs(context),
        _ if word == "logs" => {
            logs(context, &[Component::Controller, Component::Broker, Component::Authorino])
                .or_else(|| proxy_logs(context))
                .or_else(|| server_logs(context))
        }
        _ => None,
    }
}

/// A kind that was refused, failed or was never asked for.
fn refused(bundle: &Bundle, kind: &Kind) -> Option<Missing> {
    let mut of_kind = bundle.collections_of_kind(kind).peekable();
    if of_kind.peek().is_none() {
        return bundle.collected(kind, None).err();
    }
    let failed = of_kind.find(|c| c.outcome == Outcome::Failed)?;
    bundle.collected(kind, failed.namespace.as_deref()).err()
}

/// Whether a file of the archive holds objects of a kind.
fn holds(path: &str, kind: &Kind) -> bool {
    let of_namespace = kind.kind == "Namespace" && is_namespace(path);
    let folder = format!("/{}/{}", kind.group_dir(), kind.plural);
    of_namespace
        || path.find(&folder).is_some_and(|at| {
            let rest = &path[at + folder.len()..];
            rest.starts_with('/') || rest == ".yaml"
        })
}

/// `namespaces/NAME/NAME.yaml`.
fn is_namespace(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts.as_slice(), ["namespaces", name, file] if file.strip_suffix(".yaml") == Some(name))
}

/// A file that the archive once had.
fn lost(bundle: &Bundle, wanted: impl Fn(&str) -> bool) -> Option<Missing> {
    let mut files = bundle.meta.lost.iter().filter(|(path, _)| wanted(path));
    let (path, why) = files.next()?;
    let more = match files.count() {
        0 => String::new(),
        count => format!(", and {count} more"),
    };
    Some(Missing {
        what: format!("{path}: {why}{more}"),
        how: "transfer the archive again, or collect it anew: oc mcpgw gather".into(),
    })
}

/// Whether a pod has run, so that it has a log.
fn has_run(pod: &Object) -> bool {
    !pod.is_deleting() && containers(pod).iter().any(|c| c.is_running() || c.last_end().is_some())
}

/// The pods among these that have no current log in the bundle, as one gap.
fn without_log<'p>(
    context: &Context<'_>,
    what: &str,
    pods: impl Iterator<Item = &'p Object>,
) -> Option<Missing> {
    let lacks =
        |pod: &&Object| has_run(pod) && !context.workloads().logs_of(pod).iter().any(|log| !log.previous);
    let pods: Vec<&Object> = pods.filter(lacks).collect();
    let first = pods.first()?;
    let names: Vec<String> = pods.iter().take(NAMED).map(|pod| pod.full_name()).collect();
    let more = if pods.len() > NAMED { format!(" and {} more", pods.len() - NAMED) } else { String::new() };
    Some(Missing {
        what: format!("the log of the {what}: {}{more}", names.join(", ")),
        how: shell!("oc -n {} logs {} --all-containers", first.namespace(), first.name()),
    })
}

fn logs(context: &Context<'_>, components: &[Component]) -> Option<Missing> {
    components.iter().find_map(|component| {
        without_log(context, component.name(), context.workloads().component_pods(*component).iter().copied())
    })
}

fn proxy_logs(context: &Context<'_>) -> Option<Missing> {
    let proxies = context.proxies().iter().flat_map(|group| group.proxies.iter().map(|proxy| proxy.pod));
    without_log(context, "Gateway's proxy", proxies)
}

fn server_logs(context: &Context<'_>) -> Option<Missing> {
    let pods = context.workloads().interest().iter().flat_map(|interest| interest.pods.iter().copied());
    without_log(context, "workloads of the MCP gateway", pods)
}

/// A container that has ended without having succeeded, and whose log of then is not there.
fn previous_logs(context: &Context<'_>) -> Option<Missing> {
    let workloads = context.workloads();
    for pod in workloads.interest().iter().flat_map(|interest| interest.pods.iter().copied()) {
        for container in containers(pod) {
            let failed = container.last_terminated().is_some_and(|end| !end.succeeded());
            if failed && workloads.log_of(pod, container.name, true).is_none() {
                return Some(Missing {
                    what: format!("the previous log of {} of pod {}", container.describe(), pod.full_name()),
                    how: shell!(
                        "oc -n {} logs {} -c {} --previous",
                        pod.namespace(),
                        pod.name(),
                        container.name
                    ),
                });
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_kinds() {
        for (path, kind, expected) in [
            ("namespaces/a/core/pods.yaml", &kinds::POD, true),
            ("namespaces/a/core/pods/x.yaml", &kinds::POD, true),
            ("namespaces/a/pods/x/c/c/logs/current.log", &kinds::POD, false),
            ("namespaces/a/core/podsx.yaml", &kinds::POD, false),
            ("namespaces/a/gateway.networking.k8s.io/httproutes/r.yaml", &kinds::HTTP_ROUTE, true),
            ("cluster-scoped-resources/core/nodes/n.yaml", &kinds::NODE, true),
            ("namespaces/a/a.yaml", &kinds::NAMESPACE, true),
            ("namespaces/a/b.yaml", &kinds::NAMESPACE, false),
        ] {
            assert_eq!(holds(path, kind), expected, "{path} {}", kind.kind);
        }
    }
}
