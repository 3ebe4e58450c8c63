//! MG405, MG406, MG409: the Services and pods behind registered routes.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Registration, WORKLOADS};
use crate::declare_rule;
use crate::model::gateway_api::{BackendRef, backend_refs};
use crate::model::workloads::is_ready;
use crate::model::{Object, kinds, workloads};
use crate::report::Severity;
use crate::rules::gateways::condition_pointer;
use crate::rules::remedy;
use crate::rules::{Context, Draft, Findings, suggest};
use crate::shell::{Command, shell};

/// A Service behind registered routes.
pub(super) struct Backend<'c, 'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The routes that send to it, with the backendRef.
    pub(super) routes: &'c [(&'a Object, BackendRef<'a>)],
    pub(super) registrations: Vec<&'c Registration<'a>>,
}

/// The Services behind the routes of all enabled registrations.
pub(super) fn backends<'c, 'a>(context: &'c Context<'a>) -> impl Iterator<Item = Backend<'c, 'a>> {
    let all = &context.chain().registrations;
    context.served().iter().map(|(&(namespace, name), served)| Backend {
        namespace,
        name,
        routes: &served.routes,
        registrations: served.registrations.iter().map(|&at| &all[at]).collect(),
    })
}

/// A Service behind enabled registrations.
#[derive(Default)]
pub(in crate::rules) struct Served<'a> {
    /// The routes that send to it, with the backendRef.
    routes: Vec<(&'a Object, BackendRef<'a>)>,
    /// Their registrations, as positions in the chain.
    registrations: Vec<usize>,
}

/// By namespace and name, the Services behind enabled registrations.
pub(in crate::rules) type AllServed<'a> = BTreeMap<(&'a str, &'a str), Served<'a>>;

/// Finds them; several rules ask, so that the context does this once.
pub(in crate::rules) fn served<'a>(context: &Context<'a>) -> AllServed<'a> {
    let chain = context.chain();
    let mut found = AllServed::new();
    for facts in chain.routes.values() {
        if facts.registrations.iter().all(|&at| chain.registrations[at].is_disabled()) {
            continue;
        }
        for backend in backend_refs(facts.object) {
            let (namespace, name) = (backend.namespace, backend.name);
            // A reference of an unknown kind is refused for that; the Service of its name was meant.
            let meant =
                || !backend.is_hostname() && context.bundle.get(&kinds::SERVICE, namespace, name).is_some();
            if !backend.is_service() && !meant() {
                continue;
            }
            let entry = found.entry((namespace, name)).or_default();
            entry.routes.push((facts.object, backend));
            entry.registrations.extend(&facts.registrations);
        }
    }
    found
}

/// Adds routes and registrations of a Service to a finding.
pub(super) fn users(draft: &mut Draft, backend: &Backend<'_, '_>) {
    for (route, _) in backend.routes.iter().take(3) {
        draft.object(route.reference());
    }
    for registration in backend.registrations.iter().take(3) {
        draft.object(registration.object.reference());
    }
}

declare_rule! {
    /// Pods of an MCP server do not run
    ///
    /// ## What it means
    /// Pods behind the Service of a registered server crash, wait or are not ready. With none ready
    /// the server is away; with some it may answer now and then.
    ///
    /// ## How it is decided
    /// The pods that the Service of an enabled registration selects: the condition `Ready` decides, and the
    /// finding shows what keeps the first one from it (a container that waits or ended with an error, no
    /// node, or only `not ready`). Finished pods and pods that are being deleted do not count. Some ready
    /// pods make it a warning. A Service that selects no pod is MG410.
    ///
    /// ## Causes
    /// See the findings of the pods (MG101-MG111), which cause this one.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get pods -l SELECTOR`, then `oc -n NAMESPACE describe pod POD` and
    /// `oc -n NAMESPACE logs POD --previous`.
    ///
    /// ## How to fix
    /// Repair the application; the gateway follows by itself.
    ///
    /// ## When it may be a false alarm
    /// During a rollout and while pods start: there is no time of grace.
    pub(super) static BACKEND_PODS = {
        code: "MG405", name: "backend-pods", severity: Error, section: "1.4",
        needs: ["services", "pods", "mcpserverregistrations", "httproutes"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"],
        check: backend_pods,
    }
}

/// What keeps a pod from being ready, in a few words, with the JSON pointer.
fn trouble(pod: &Object) -> (String, String) {
    for container in workloads::containers(pod) {
        if let Some((reason, _)) = container.waiting() {
            return (
                format!("container {} waits: {reason}", container.name),
                container.status_pointer("state/waiting/reason"),
            );
        }
        if let Some(end) = container.terminated().filter(|end| !end.succeeded()) {
            return (
                format!("container {} ended: {}", container.name, end.describe()),
                container.status_pointer("state/terminated/exitCode"),
            );
        }
    }
    match pod.condition("PodScheduled").filter(|c| c.is_false()) {
        Some(condition) => (format!("not scheduled: {}", condition.reason), condition_pointer(&condition)),
        None => {
            let pointer = pod.condition("Ready").map(|c| condition_pointer(&c));
            ("not ready".to_owned(), pointer.unwrap_or_else(|| "/status/phase".to_owned()))
        }
    }
}

fn backend_pods(context: &Context<'_>, findings: &mut Findings) {
    for backend in backends(context) {
        let (namespace, name) = (backend.namespace, backend.name);
        let Some(service) = context.bundle.get(&kinds::SERVICE, namespace, name) else { continue };
        let pods: Vec<&Object> = context
            .workloads()
            .pods_of_service(service)
            .into_iter()
            .filter(|pod| !pod.is_deleting() && !matches!(pod.str("/status/phase"), "Succeeded" | "Failed"))
            .collect();
        let bad: Vec<&Object> = pods.iter().copied().filter(|pod| !is_ready(pod)).collect();
        if pods.is_empty() {
            if workloads::selector(service).is_some()
                && let Err(missing) = context.bundle.collected(&kinds::POD, Some(namespace))
            {
                findings.cannot_tell(&BACKEND_PODS, missing);
            }
            continue;
        }
        let Some(first) = bad.first() else { continue };
        let (what, pointer) = trouble(first);
        let draft = findings.report(
            &BACKEND_PODS,
            service,
            format!(
                "{} of {} pods behind Service {namespace}/{name} are not ready: {}: {what}",
                bad.len(),
                pods.len(),
                first.name()
            ),
            first.evidence(&pointer),
            "Repair the application's pods; their events and logs say why they do not run.",
        );
        for pod in bad.iter().take(4) {
            draft.object(pod.reference()).evidence(pod.evidence(&trouble(pod).1));
        }
        users(draft, &backend);
        if bad.len() < pods.len() {
            draft.severity(Severity::Warning);
        }
        draft
            .command(shell!("oc -n {} describe pod {}", namespace, first.name()))
            .command(shell!("oc -n {} logs {} --all-containers --tail=50", namespace, first.name()))
            .verify(shell!("oc -n {} get endpointslices -l kubernetes.io/service-name={}", namespace, name));
    }
}

/// Makes a Service for the Deployment of the same name: for the container port that is named like one of
/// MCP's, has the number that the route wants, or is the only one.
fn expose(context: &Context<'_>, namespace: &str, name: &str, port: Option<i64>) -> Option<Command> {
    let deployment = context.bundle.get(&kinds::DEPLOYMENT, namespace, name)?;
    let ports: Vec<i64> = deployment
        .array("/spec/template/spec/containers")
        .iter()
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten()
        .filter_map(|port| port.get("containerPort")?.as_i64())
        .collect();
    let port = port?;
    let target = ports
        .iter()
        .copied()
        .find(|p| *p == port)
        .or_else(|| ports.first().copied().filter(|_| ports.len() == 1))?;
    Some(shell!(
        "oc -n {} expose deployment/{} --name={} --port={} --target-port={}",
        namespace,
        name,
        name,
        port,
        target
    ))
}

declare_rule! {
    /// The Service of an MCP server does not exist
    ///
    /// ## What it means
    /// The HTTPRoute of a registration sends to a Service that does not exist in the namespace where it is
    /// looked for. The registration stays `failed to get service`, the route
    /// `ResolvedRefs=False BackendNotFound`.
    ///
    /// ## How it is decided
    /// Every backendRef of kind Service of a route with an enabled registration is looked up in its namespace
    /// (the route's own, unless it names another). A weight of 0 makes no difference: the controller looks
    /// for the Service all the same.
    ///
    /// ## Causes
    /// The application is not deployed; its Service has another name or lives in another namespace.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get services`.
    ///
    /// ## How to fix
    /// Create the Service, or correct the backendRef. Where a Deployment has the name of the Service, the
    /// command makes the Service for it.
    ///
    /// ## When it may be a false alarm
    /// The Service is created a moment after the route: there is no time of grace.
    pub(super) static BACKEND_SERVICE_MISSING = {
        code: "MG406", name: "backend-service-missing", severity: Error, section: "1.4",
        needs: ["httproutes", "services", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: backend_service_missing,
    }
}

fn backend_service_missing(context: &Context<'_>, findings: &mut Findings) {
    for backend in backends(context) {
        let (namespace, name) = (backend.namespace, backend.name);
        match context.bundle.find(&kinds::SERVICE, namespace, name) {
            crate::model::Seen::Found(_) => continue,
            crate::model::Seen::Unknown(missing) => {
                findings.cannot_tell(&BACKEND_SERVICE_MISSING, missing);
                continue;
            }
            crate::model::Seen::Absent => {}
        }
        let (Some((route, reference)), false) = (backend.routes.first(), backend.registrations.is_empty())
        else {
            continue;
        };
        let near = suggest::sentence(context, &kinds::SERVICE, namespace, name);
        let draft = findings.report_on(
            &BACKEND_SERVICE_MISSING,
            suggest::reference(&kinds::SERVICE, namespace, name),
            format!(
                "Service {namespace}/{name} of MCPServerRegistration {} does not exist",
                backend.registrations[0].object.full_name()
            ),
            route.evidence(&reference.pointer("/name")),
            format!("Create the Service, or correct the backendRef of the HTTPRoute.{near}"),
        );
        users(draft, &backend);
        if let Some(right) = suggest::similar(context, &kinds::SERVICE, namespace, name) {
            draft.command(remedy::patch(
                route,
                json!([{"op": "replace", "path": reference.pointer("/name"), "value": right.name()}]),
            ));
        } else if let Some(command) = expose(context, namespace, name, reference.port) {
            draft.command(command);
        } else {
            draft.command(shell!("oc -n {} get services", namespace));
        }
        draft.verify(shell!("oc -n {} get service {}", namespace, name));
    }
}

declare_rule! {
    /// The Service of an MCP server has no ready endpoint
    ///
    /// ## What it means
    /// Envoy and the broker have nowhere to send requests of this server: 503 (`UH`), and the broker
    /// cannot list its tools.
    ///
    /// ## How it is decided
    /// The EndpointSlices of the Service (or, without any, its Endpoints object) hold no ready address. An
    /// endpoint without `conditions.ready` counts as ready, as Kubernetes says. Only Services behind enabled
    /// registrations are judged; a Service that does not exist is MG406, and one of type ExternalName has no
    /// endpoints and is not judged.
    ///
    /// ## Causes
    /// The selector matches no pod (MG410), the pods are not ready (MG405), the Deployment has no
    /// replica (MG107).
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get endpointslices -l kubernetes.io/service-name=NAME`.
    ///
    /// ## How to fix
    /// Repair the cause that is reported with it.
    ///
    /// ## When it may be a false alarm
    /// While the only pod starts or is replaced: there is no time of grace.
    pub(super) static BACKEND_NO_ENDPOINTS = {
        code: "MG409", name: "backend-no-endpoints", severity: Error, section: "1.4",
        needs: ["services", "endpointslices", "mcpserverregistrations", "httproutes"], since: "0.1.0",
        caused_by: [
            "MG410", "MG405", "MG408", "MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110",
            "MG111",
        ],
        check: backend_no_endpoints,
    }
}

fn backend_no_endpoints(context: &Context<'_>, findings: &mut Findings) {
    for backend in backends(context) {
        let (namespace, name) = (backend.namespace, backend.name);
        let Some(service) = context.bundle.get(&kinds::SERVICE, namespace, name) else { continue };
        if service.str("/spec/type") == "ExternalName" {
            continue;
        }
        let endpoints = match context.workloads().endpoints(namespace, name) {
            Ok(endpoints) => endpoints,
            Err(missing) => {
                findings.cannot_tell(&BACKEND_NO_ENDPOINTS, missing);
                continue;
            }
        };
        if !endpoints.ready.is_empty() {
            continue;
        }
        let evidence = match (endpoints.not_ready.first(), endpoints.sources.first()) {
            (Some(endpoint), _) => endpoint.source.evidence(&endpoint.pointer),
            (None, Some(source)) => source.evidence("/endpoints"),
            (None, None) => {
                let mut evidence = service.evidence("/spec/selector");
                evidence.note = Some("the Service has no EndpointSlice".to_owned());
                evidence
            }
        };
        let draft = findings.report(
            &BACKEND_NO_ENDPOINTS,
            service,
            format!(
                "Service {namespace}/{name} has no ready endpoint ({} not ready)",
                endpoints.not_ready.len()
            ),
            evidence,
            "Repair the pods or the selector behind the Service.",
        );
        // With the right selector and no pod, the Deployment is what is to repair.
        if let Some(selector) = workloads::selector(service) {
            for deployment in context.workloads().deployments_matching(namespace, selector) {
                if context.workloads().pods_of_service(service).is_empty() {
                    draft.because_of(&WORKLOADS, deployment.reference());
                }
            }
        }
        users(draft, &backend);
        draft.command(shell!("oc -n {} describe service {}", namespace, name)).verify(shell!(
            "oc -n {} get endpointslices -l kubernetes.io/service-name={}",
            namespace,
            name
        ));
    }
}
