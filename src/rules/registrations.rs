//! MG401-MG423: MCPServerRegistrations: target, status, and what stands behind their routes.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::gateways::{condition_evidence, condition_pointer, is_ready};
use super::{Context, Draft, Findings, Rule, suggest};
use crate::declare_rule;
use crate::model::gateway_api::{BackendRef, Outcome, Verdict, backend_refs};
use crate::model::mcp::{Chain, Registration, RegistrationFault, SecretFault};
use crate::model::{Object, kinds, labels, workloads};
use crate::report::{ObjectRef, Severity};

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &REGISTRATION_TARGET_MISSING,
    &REGISTRATION_NOT_READY,
    &BACKEND_PODS,
    &BACKEND_SERVICE_MISSING,
    &BACKEND_NO_ENDPOINTS,
    &BACKEND_SELECTOR,
];

/// The codes of pods, Deployments and nodes that explain missing endpoints.
const WORKLOADS: [&str; 9] =
    ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"];

/// The command that waits for a registration.
pub(super) fn ready_command(registration: &Object) -> String {
    format!(
        "oc -n {} wait --for=condition=Ready mcpserverregistration/{} --timeout=120s",
        registration.namespace(),
        registration.name()
    )
}

/// Why the Gateway API accepts a route on the extension's port although the controller does not
/// see it there: the listener that takes it. `None` when the route really is elsewhere.
pub(super) fn strict<'a>(
    chain: &Chain<'a>,
    registration: &Registration<'a>,
    gateway: &Object,
    extensions: &[usize],
) -> Option<(crate::model::gateway_api::Listener<'a>, usize)> {
    let route = registration.route?;
    let facts = chain.route(route.namespace(), route.name())?;
    for attachment in &facts.attachments {
        let same = attachment.gateway.found().is_some_and(|g| g.full_name() == gateway.full_name());
        for (listener, verdict) in attachment.listeners.iter().filter(|_| same) {
            if !matches!(verdict, Verdict::Accepts(_)) {
                continue;
            }
            let on_port =
                |&&at: &&usize| chain.extensions[at].listener.is_some_and(|own| own.port == listener.port);
            if let Some(&at) = extensions.iter().find(on_port) {
                return Some((*listener, at));
            }
        }
    }
    None
}

/// The findings that a failing step of a registration shows as: codes and object.
pub(super) fn causes_of(
    context: &Context<'_>,
    registration: &Registration<'_>,
    fault: &RegistrationFault<'_>,
) -> Vec<(&'static [&'static str], ObjectRef)> {
    let object = registration.object.reference();
    match fault {
        RegistrationFault::RouteMissing => vec![(&["MG401", "MG402"], object)],
        RegistrationFault::NoGateway => {
            let Some(route) = registration.route else { return Vec::new() };
            let codes: &[&str] = &["MG210", "MG212", "MG213", "MG214", "MG217"];
            let mut found = vec![(codes, route.reference())];
            let facts = context.chain().routes.get(&(route.namespace(), route.name()));
            for attachment in facts.into_iter().flat_map(|f| &f.attachments) {
                if attachment.outcome() == Outcome::NoGateway {
                    let parent = attachment.parent;
                    let gateway = suggest::reference(&kinds::GATEWAY, parent.namespace, parent.name);
                    found.push((&["MG201"], gateway));
                }
            }
            found
        }
        RegistrationFault::NoExtension(..) => vec![(&["MG311"], object)],
        RegistrationFault::OtherListener(..) => vec![(&["MG311", "MG423"], object)],
        RegistrationFault::Shape(..) => vec![(&["MG419"], object)],
        RegistrationFault::ServiceMissing(backend) => {
            vec![(&["MG406"], suggest::reference(&kinds::SERVICE, backend.namespace, backend.name))]
        }
        RegistrationFault::Credential(SecretFault::Missing) => vec![(&["MG601"], object)],
        RegistrationFault::Credential(SecretFault::Label(_)) => vec![(&["MG602"], object)],
        RegistrationFault::Credential(SecretFault::Key(..)) => vec![(&["MG603"], object)],
        RegistrationFault::CaCertificate(_) => Vec::new(),
        RegistrationFault::PrefixConflict(_) => vec![(&["MG413"], object)],
    }
}

/// Says that a fault stays invisible while an earlier step of the controller fails.
pub(super) fn hide(
    context: &Context<'_>,
    draft: &mut Draft,
    registration: &Registration<'_>,
    fault: &RegistrationFault<'_>,
) {
    let Some(first) = registration.faults.first() else { return };
    let same = std::mem::discriminant(first) == std::mem::discriminant(fault);
    for (codes, object) in causes_of(context, registration, first).into_iter().filter(|_| !same) {
        draft.hidden_behind(codes, object);
    }
}

declare_rule! {
    /// The HTTPRoute of a registration does not exist
    ///
    /// ## What it means
    /// `spec.targetRef` names an HTTPRoute that is not in the registration's namespace: the server is
    /// in no broker's configuration, `failed to get targeted httproute`.
    ///
    /// ## How it is decided
    /// The route is looked up as the controller does: by name in the registration's *own* namespace;
    /// `targetRef.namespace` is ignored.
    ///
    /// ## Causes
    /// A typo; the route lives in another namespace; it was deleted or renamed.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproutes`.
    ///
    /// ## How to fix
    /// Correct the name, or create route and registration in one namespace.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static REGISTRATION_TARGET_MISSING = {
        code: "MG401", name: "registration-target-missing", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations", "httproutes"], since: "0.1.0",
        caused_by: ["MG003", "MG402"], check: registration_target_missing,
    }
}

fn registration_target_missing(context: &Context<'_>, findings: &mut Findings) {
    for registration in &context.chain().registrations {
        let object = registration.object;
        for (code, missing) in &registration.unknown {
            if *code == "MG401" {
                findings.cannot_tell(&REGISTRATION_TARGET_MISSING, missing.clone());
            }
        }
        if !registration.faults.iter().any(|f| matches!(f, RegistrationFault::RouteMissing)) {
            continue;
        }
        let (namespace, name) = (object.namespace(), object.str("/spec/targetRef/name"));
        let near = suggest::sentence(context, &kinds::HTTP_ROUTE, namespace, name);
        let similar = suggest::similar(context, &kinds::HTTP_ROUTE, namespace, name);
        let draft = findings.report(
            &REGISTRATION_TARGET_MISSING,
            object,
            format!(
                "MCPServerRegistration {} targets HTTPRoute {namespace}/{name}, which does not exist",
                object.full_name()
            ),
            object.evidence("/spec/targetRef/name"),
            format!("Target an HTTPRoute of the registration's own namespace.{near}"),
        );
        draft.object(suggest::reference(&kinds::HTTP_ROUTE, namespace, name));
        if let Some(right) = similar {
            draft.command(format!(
                "oc -n {namespace} patch mcpserverregistration {} --type=merge -p \
                 '{{\"spec\":{{\"targetRef\":{{\"name\":\"{}\"}}}}}}'",
                object.name(),
                right.name()
            ));
        } else {
            draft.command("oc get httproutes -A");
        }
        draft.verify(ready_command(object));
    }
}

declare_rule! {
    /// A registration is not ready
    ///
    /// ## What it means
    /// The controller says that the server is not part of the gateway, and why. Clients do not see
    /// its tools.
    ///
    /// ## How it is decided
    /// The condition `Ready` (older or foreign versions: `Accepted`) is not `True`. The controller's
    /// steps are computed from the specs: the first that fails explains the message and is the cause;
    /// further ones are reported as hidden behind it. A missing status of a registration older than a
    /// minute, and a `Ready=True` that the specs contradict (warning), are reported too: the
    /// condition carries no generation, so that its age cannot be seen.
    ///
    /// ## Causes
    /// Anything between registration and backend; see the finding that causes this one.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get mcpserverregistration NAME -o yaml`.
    ///
    /// ## How to fix
    /// Repair the cause. The status follows within a minute; no restart is needed.
    ///
    /// ## When it may be a false alarm
    /// Within seconds after a change.
    static REGISTRATION_NOT_READY = {
        code: "MG403", name: "registration-not-ready", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations"], since: "0.1.0",
        caused_by: [
            "MG401", "MG402", "MG404", "MG406", "MG411", "MG412", "MG413", "MG417", "MG419", "MG423", "MG601",
            "MG602", "MG603", "MG605", "MG210", "MG211", "MG311", "MG312", "MG405", "MG409", "MG410", "MG310",
            "MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111",
        ],
        check: registration_not_ready,
    }
}

/// What a message of the controller means; for the versions that write it.
fn explain_message(message: &str) -> &'static str {
    let table: &[(&str, &str)] = &[
        ("failed to get targeted httproute", "The HTTPRoute is not in the registration's namespace."),
        ("no valid gateways for httproute", "No Gateway has accepted the HTTPRoute."),
        (
            "no valid mcpgatewayextensions configured",
            "No valid MCPGatewayExtension targets the Gateway of the HTTPRoute.",
        ),
        (
            "no matching mcpgatewayextensions for attached listener",
            "The MCPGatewayExtension targets another port, or the controller's narrower hostname matching \
             does not see the route on it.",
        ),
        ("credential secret", "The Secret of credentialRef is missing, unlabelled or lacks the key."),
        (
            "CA certificate",
            "The Secret of caCertSecretRef is missing, unlabelled, lacks the key or holds no CA.",
        ),
        ("failed to get service", "The Service of the HTTPRoute's backendRef does not exist."),
        ("conflict: prefix", "An older registration of the same gateway has the same prefix."),
        ("which is unsupported", "The HTTPRoute must have exactly one rule with one backendRef."),
        ("must have at least one hostname", "The HTTPRoute must have a hostname."),
        ("has no backend references", "The HTTPRoute has no backendRef."),
        ("unsupported backend reference kind", "The backendRef must be a Service or a Hostname."),
        ("not present in gateway yet", "The broker has not loaded the server (versions before 0.8)."),
        ("Validation failed", "The controller cannot reach the broker's /status (versions before 0.8)."),
    ];
    table.iter().find(|(part, _)| message.contains(part)).map_or("", |(_, meaning)| meaning)
}

fn registration_not_ready(context: &Context<'_>, findings: &mut Findings) {
    for registration in &context.chain().registrations {
        let object = registration.object;
        if registration.is_disabled() || object.is_deleting() || context.is_younger(object, 60) {
            continue;
        }
        let name = object.full_name();
        let first = registration.faults.first();
        let draft = match registration.ready() {
            None => findings.report(
                &REGISTRATION_NOT_READY,
                object,
                format!("MCPServerRegistration {name} has no status: the controller has not looked at it"),
                object.evidence("/status/conditions"),
                "See whether the MCP gateway's controller runs, and what it logs about this registration.",
            ),
            Some(condition) if !condition.is_true() && condition.reason != "Disabled" => {
                let meaning = explain_message(condition.message);
                let remedy = match (meaning, first) {
                    ("", Some(_)) => "Repair the cause that is reported with this.".to_owned(),
                    ("", None) => {
                        "The specs show no reason: follow the message, and see the controller's log."
                            .to_owned()
                    }
                    (meaning, _) => format!("{meaning} Repair the cause that is reported with this."),
                };
                let message = if condition.message.is_empty() { condition.reason } else { condition.message };
                findings.report(
                    &REGISTRATION_NOT_READY,
                    object,
                    format!("MCPServerRegistration {name} is not ready: {message}"),
                    condition_evidence(object, &condition_pointer(&condition), &condition),
                    remedy,
                )
            }
            Some(condition) => {
                let Some(_) = first.filter(|_| condition.is_true()) else { continue };
                let draft = findings.report(
                    &REGISTRATION_NOT_READY,
                    object,
                    format!("MCPServerRegistration {name} says Ready, but the specs no longer allow it"),
                    condition_evidence(object, &condition_pointer(&condition), &condition),
                    "The controller has not noticed the fault yet; repair the cause that is reported with this.",
                );
                draft.severity(Severity::Warning);
                draft
            }
        };
        if let Some(first) = first {
            for (codes, cause) in causes_of(context, registration, first) {
                draft.because_of(codes, cause);
            }
            if let RegistrationFault::NoExtension(_, broken) = first {
                for &at in broken.iter().take(4) {
                    draft.object(context.chain().extensions[at].object.reference());
                }
            }
        }
        draft
            .command(format!(
                "oc -n {} get mcpserverregistration {} -o yaml",
                object.namespace(),
                object.name()
            ))
            .verify(ready_command(object));
    }
}

/// A Service behind registered routes.
struct Backend<'c, 'a> {
    namespace: &'a str,
    name: &'a str,
    /// The routes that send to it, with the backendRef.
    routes: Vec<(&'a Object, BackendRef<'a>)>,
    registrations: Vec<&'c Registration<'a>>,
}

/// The Services behind the routes of all enabled registrations.
fn backends<'c, 'a>(context: &'c Context<'a>) -> Vec<Backend<'c, 'a>> {
    let chain = context.chain();
    let mut found: BTreeMap<(&str, &str), Backend<'c, 'a>> = BTreeMap::new();
    for facts in chain.routes.values() {
        let registrations: Vec<&Registration<'a>> =
            facts.registrations.iter().map(|&at| &chain.registrations[at]).collect();
        if registrations.iter().all(|r| r.is_disabled()) {
            continue;
        }
        for backend in backend_refs(facts.object).into_iter().filter(BackendRef::is_service) {
            let (namespace, name) = (backend.namespace, backend.name);
            let entry = found.entry((namespace, name)).or_insert_with(|| Backend {
                namespace,
                name,
                routes: Vec::new(),
                registrations: Vec::new(),
            });
            entry.routes.push((facts.object, backend));
            entry.registrations.extend(registrations.iter().copied());
        }
    }
    found.into_values().collect()
}

/// Adds routes and registrations of a Service to a finding.
fn users(draft: &mut Draft, backend: &Backend<'_, '_>) {
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
    /// The pods that the Service selects: their containers' states and their condition `Ready`.
    /// Finished pods and pods that are being deleted do not count. Some ready pods make it a warning.
    ///
    /// ## Causes
    /// See the findings of the pods (MG101-MG111), which cause this one.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get pods -l SELECTOR`, then `oc describe pod` and `oc logs --previous`.
    ///
    /// ## How to fix
    /// Repair the application; the gateway follows by itself.
    ///
    /// ## When it may be a false alarm
    /// During a rollout.
    static BACKEND_PODS = {
        code: "MG405", name: "backend-pods", severity: Error, section: "1.4",
        needs: ["services", "pods"], since: "0.1.0",
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
                container.status_pointer("state/waiting"),
            );
        }
        if let Some(end) = container.terminated().filter(|end| !end.succeeded()) {
            return (
                format!("container {} ended: {}", container.name, end.describe()),
                container.status_pointer("state/terminated"),
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
            .command(format!("oc -n {namespace} describe pod {}", first.name()))
            .command(format!("oc -n {namespace} logs {} --all-containers --tail=50", first.name()))
            .verify(format!("oc -n {namespace} get endpointslices -l kubernetes.io/service-name={name}"));
    }
}

declare_rule! {
    /// The Service of an MCP server does not exist
    ///
    /// ## What it means
    /// The HTTPRoute of a registration sends to a Service that is not in the cluster. The registration
    /// stays `failed to get service`, the route `ResolvedRefs=False BackendNotFound`.
    ///
    /// ## How it is decided
    /// Every backendRef of kind Service of a registered route is looked up in its namespace (the
    /// route's own, unless it names another).
    ///
    /// ## Causes
    /// The application is not deployed; its Service has another name or lives in another namespace.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get services`.
    ///
    /// ## How to fix
    /// Create the Service, or correct the backendRef.
    ///
    /// ## When it may be a false alarm
    /// None known.
    static BACKEND_SERVICE_MISSING = {
        code: "MG406", name: "backend-service-missing", severity: Error, section: "1.4",
        needs: ["httproutes", "services"], since: "0.1.0",
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
            draft.command(format!(
                "oc -n {} patch httproute {} --type=json -p \
                 '[{{\"op\":\"replace\",\"path\":\"{}\",\"value\":\"{}\"}}]'",
                route.namespace(),
                route.name(),
                reference.pointer("/name"),
                right.name()
            ));
        } else {
            draft.command(format!("oc -n {namespace} get services"));
        }
        draft.verify(format!("oc -n {namespace} get service {name}"));
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
    /// The EndpointSlices of the Service (or its Endpoints object) hold no ready address. An endpoint
    /// without `conditions.ready` counts as ready, as Kubernetes says.
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
    /// A Service of type ExternalName has no endpoints and is not judged.
    static BACKEND_NO_ENDPOINTS = {
        code: "MG409", name: "backend-no-endpoints", severity: Error, section: "1.4",
        needs: ["services", "endpointslices"], since: "0.1.0",
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
        draft
            .command(format!("oc -n {namespace} describe service {name}"))
            .verify(format!("oc -n {namespace} get endpointslices -l kubernetes.io/service-name={name}"));
    }
}

declare_rule! {
    /// The selector of an MCP server's Service matches no pod
    ///
    /// ## What it means
    /// No pod of the Service's namespace has all labels that the Service selects, so that it has no
    /// endpoint.
    ///
    /// ## How it is decided
    /// `spec.selector` against the labels of the namespace's pods, and against the pod templates of
    /// its Deployments: when a template fits and has no pods, the selector is right and the Deployment
    /// is to blame (MG107). The pods with the most labels in common are shown.
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
    /// None known. A Service without selector is not judged.
    static BACKEND_SELECTOR = {
        code: "MG410", name: "backend-selector", severity: Error, section: "1.4",
        needs: ["services", "pods", "deployments"], since: "0.1.0",
        caused_by: [], check: backend_selector,
    }
}

/// The pods whose labels have most pairs (or else keys) of the selector.
fn nearest_pods<'a>(
    context: &Context<'a>,
    namespace: &str,
    selector: &Map<String, Value>,
) -> Vec<&'a Object> {
    let score = |pod: &Object| {
        let same = selector.iter().filter(|(k, v)| pod.label(k) == v.as_str()).count();
        let keys = selector.keys().filter(|k| pod.label(k).is_some()).count();
        same * 10 + keys
    };
    let mut pods: Vec<(usize, &Object)> = context
        .bundle
        .list_in(&kinds::POD, namespace)
        .take(500)
        .map(|pod| (score(pod), pod))
        .filter(|(score, _)| *score > 0)
        .collect();
    pods.sort_by_key(|(score, pod)| (std::cmp::Reverse(*score), pod.name()));
    pods.into_iter().map(|(_, pod)| pod).take(3).collect()
}

fn backend_selector(context: &Context<'_>, findings: &mut Findings) {
    for backend in backends(context) {
        let (namespace, name) = (backend.namespace, backend.name);
        let Some(service) = context.bundle.get(&kinds::SERVICE, namespace, name) else { continue };
        let Some(selector) = workloads::selector(service).filter(|s| !s.is_empty()) else { continue };
        if !context.workloads().pods_of_service(service).is_empty() {
            continue;
        }
        if let Err(missing) = context.bundle.collected(&kinds::POD, Some(namespace)) {
            findings.cannot_tell(&BACKEND_SELECTOR, missing);
            continue;
        }
        if !context.workloads().deployments_matching(namespace, selector).is_empty() {
            continue;
        }
        let near = nearest_pods(context, namespace, selector);
        let draft = findings.report(
            &BACKEND_SELECTOR,
            service,
            format!("Service {namespace}/{name} selects no pod: {}", labels::to_text(selector)),
            service.evidence("/spec/selector"),
            match near.first() {
                Some(pod) => {
                    format!("Select the labels of the application's pods; {} comes closest.", pod.name())
                }
                None => "Select the labels of the application's pods, or deploy the application.".to_owned(),
            },
        );
        for pod in &near {
            draft.evidence(pod.evidence("/metadata/labels"));
        }
        users(draft, &backend);
        // Only the labels that the selector names are to be changed, to what the pod has.
        if let Some(pod) = near.first() {
            let fixed: Map<String, Value> =
                selector.keys().filter_map(|k| pod.label(k).map(|v| (k.clone(), Value::from(v)))).collect();
            if !fixed.is_empty() {
                draft.command(format!(
                    "oc -n {namespace} patch service {name} --type=merge -p '{{\"spec\":{{\"selector\":{}}}}}'",
                    Value::from(fixed)
                ));
            }
        }
        draft
            .command(format!("oc -n {namespace} get pods --show-labels"))
            .verify(format!("oc -n {namespace} get endpointslices -l kubernetes.io/service-name={name}"));
    }
}
