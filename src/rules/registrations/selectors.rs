//! MG410: Services, of servers and of the broker, that select no pod.

use std::collections::BTreeMap;

use serde_json::json;

use super::backends::{backends, users};
use crate::declare_rule;
use crate::model::json::{Map, Value};
use crate::model::mcp::Extension;
use crate::model::mcp::extension::{broker_service, names_listeners};
use crate::model::near::closest;
use crate::model::workloads::{is_over, selector};
use crate::model::{Object, kinds, labels};
use crate::rules::remedy;
use crate::rules::{Context, Draft, Findings};
use crate::shell::shell;

/// The port of the broker's Service at which Envoy calls the router.
pub(super) const ROUTER_PORT: i64 = 50051;

/// The Services of the brokers that the controller deploys, each once.
pub(super) fn broker_services<'c, 'a>(
    context: &'c Context<'a>,
) -> impl Iterator<Item = (&'c Extension<'a>, &'a Object)> {
    let mut seen = Vec::new();
    context.chain().extensions.iter().filter_map(move |extension| {
        let object = extension.object;
        // Before that, installations made their Services themselves.
        if object.is_deleting()
            || !names_listeners(context.bundle, object)
            || seen.contains(&object.namespace())
        {
            return None;
        }
        seen.push(object.namespace());
        Some((extension, broker_service(context.bundle, object)?))
    })
}

declare_rule! {
    /// The selector of an MCP server's Service matches no pod
    ///
    /// ## What it means
    /// No pod of the Service's namespace has all labels that the Service selects, so that it has no endpoint.
    /// For the broker's Service this cuts the gateway from the MCP router, and every request on its port
    /// fails.
    ///
    /// ## How it is decided
    /// `spec.selector` of the Services behind routes with an enabled registration, and of the Service
    /// `mcp-gateway` beside an extension whose broker is deployed, against the labels of the namespace's
    /// pods, and against the pod templates of its Deployments and StatefulSets: when a template fits and has
    /// no pods, the selector is right and the Deployment is to blame (MG107). A Service without selector is
    /// not judged.
    ///
    /// The pods meant are told by nearly the same labels and by the Service's own name (the first 500 pods of
    /// the namespace are compared); those that another Service selects only count when they carry this one's
    /// name. A patch is printed when all of them agree on it.
    ///
    /// ## Causes
    /// A typo in a label, a chart that changed its labels, a Service copied from another application.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get pods --show-labels`.
    ///
    /// ## How to fix
    /// Patch the selector, or the labels of the pod template.
    ///
    /// ## When it may be a false alarm
    /// The pods are of a DaemonSet or a Job and there is none at the moment: only Deployments and
    /// StatefulSets are asked for their templates.
    pub(super) static BACKEND_SELECTOR = {
        code: "MG410", name: "backend-selector", severity: Error, section: "1.4",
        needs: ["services", "pods", "deployments", "mcpserverregistrations", "httproutes"], since: "0.1.0",
        caused_by: [], check: backend_selector,
    }
}

/// Pods that a Service may mean, and the change of its selector that would select them: `null` for a label to
/// be left out.
struct Meant<'a> {
    pods: Vec<&'a Object>,
    change: Map,
}

/// Whether two texts are alike enough for one to be a slip of the other.
fn alike(one: &str, other: &str) -> bool {
    closest(one, std::iter::once((other, ()))).is_some()
}

/// How well a pod fits a Service that does not select it, with the change of the selector. `None` where nothing
/// tells that it is meant.
fn fit(context: &Context<'_>, service: &Object, selector: &Map, pod: &Object) -> Option<(usize, Map)> {
    const NAMES: [&str; 3] = ["app.kubernetes.io/name", "app", "k8s-app"];
    let name = service.name();
    let carries =
        |key: &&str| pod.label(key).is_some_and(|own| own == name || service.label(key) == Some(own));
    let named =
        NAMES.iter().any(carries) || pod.name().strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    if !named && !context.workloads().services_of_pod(pod).is_empty() {
        return None;
    }
    let mut score = if named { 2 } else { 0 };
    let mut change = Map::default();
    for (key, value) in selector {
        let value = value.as_str().unwrap_or_default();
        match pod.label(key) {
            Some(own) if own == value => score += 3,
            Some(own) => {
                score += if alike(value, own) { 2 } else { 0 };
                change.insert(key, Value::from(own));
            }
            // The same value under nearly the same key.
            None => {
                let labels = pod.labels().into_iter().flatten();
                let other =
                    labels.filter(|(_, own)| own.as_str() == Some(value)).find(|(k, _)| alike(key, k));
                change.insert(key, Value::Null);
                if let Some((other, own)) = other {
                    score += 2;
                    change.insert(other, own.clone());
                }
            }
        }
    }
    // A selector of which nothing is left would select nothing, too.
    let kept = selector.keys().any(|key| change.get(key).is_none_or(|v| *v != Value::Null))
        || change.iter().any(|(_, v)| *v != Value::Null);
    (score >= 2 && kept && !change.is_empty()).then_some((score, change))
}

/// The pods that fit best. Several entries where they need different changes.
fn meant<'a>(context: &Context<'a>, service: &Object, selector: &Map) -> Vec<Meant<'a>> {
    let mut best = 0;
    let mut found: BTreeMap<String, Meant<'a>> = BTreeMap::new();
    for pod in context.bundle.list_in(&kinds::POD, service.namespace()).take(500).filter(|pod| !is_over(pod))
    {
        let Some((score, change)) = fit(context, service, selector, pod) else { continue };
        if score > best {
            best = score;
            found.clear();
        }
        if score == best {
            let group = found.entry(Value::from(change.clone()).to_string());
            group.or_insert_with(|| Meant { pods: Vec::new(), change }).pods.push(pod);
        }
    }
    found.into_values().collect()
}

fn backend_selector(context: &Context<'_>, findings: &mut Findings) {
    for backend in backends(context) {
        let Some(service) = context.bundle.get(&kinds::SERVICE, backend.namespace, backend.name) else {
            continue;
        };
        selects_nothing(context, findings, service, |draft| users(draft, &backend));
    }
    for (extension, service) in broker_services(context) {
        if context.workloads().broker_deployment(service.namespace()).is_some() {
            selects_nothing(context, findings, service, |draft| {
                draft.object(extension.object.reference());
            });
        }
    }
}

fn selects_nothing(
    context: &Context<'_>,
    findings: &mut Findings,
    service: &Object,
    users: impl Fn(&mut Draft),
) {
    let (namespace, name) = (service.namespace(), service.name());
    let Some(selector) = selector(service).filter(|s| !s.is_empty()) else { return };
    if !context.workloads().pods_of_service(service).is_empty() {
        return;
    }
    if let Err(missing) = context.bundle.collected(&kinds::POD, Some(namespace)) {
        findings.cannot_tell(&BACKEND_SELECTOR, missing);
        return;
    }
    if !context.workloads().deployments_matching(namespace, selector).is_empty() {
        return;
    }
    let meant = meant(context, service, selector);
    let near: Vec<&Object> = meant.iter().filter_map(|group| group.pods.first().copied()).take(3).collect();
    let remedy = match near.as_slice() {
        [] => "Select the labels of the application's pods, or deploy the application.".to_owned(),
        [pod] => format!("Select the labels of the application's pods; {} comes closest.", pod.name()),
        several => {
            let names: Vec<&str> = several.iter().map(|pod| pod.name()).collect();
            format!("Select the labels of the application's pods; {} come equally close.", names.join(", "))
        }
    };
    let draft = findings.report(
        &BACKEND_SELECTOR,
        service,
        format!("Service {namespace}/{name} selects no pod: {}", labels::to_text(selector)),
        service.evidence("/spec/selector"),
        remedy,
    );
    for pod in &near {
        draft.evidence(pod.evidence("/metadata/labels"));
    }
    users(draft);
    // Which of several is meant, only the reader knows.
    if let [only] = meant.as_slice() {
        let change = Value::from(only.change.clone()).to_json();
        draft.command(remedy::merge(service, json!({"spec": {"selector": change}})));
    }
    draft.command(shell!("oc -n {} get pods --show-labels", namespace)).verify(shell!(
        "oc -n {} get endpointslices -l kubernetes.io/service-name={}",
        namespace,
        name
    ));
}
