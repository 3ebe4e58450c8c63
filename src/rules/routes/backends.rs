//! MG215, MG216: the backends of HTTPRoutes and the grants for them.

use serde_json::json;

use super::patch;
use crate::declare_rule;
use crate::model::gateway_api::{self, BackendRef, Granted, Reference, backend_refs, mirrors};
use crate::model::json::Value;
use crate::model::{Missing, Object, Seen, kinds};
use crate::report::Severity;
use crate::rules::extensions::touch;
use crate::rules::{Context, Draft, Findings, suggest};
use crate::shell::{Command, shell};

/// The backends of a route to which something is sent: requests, or copies of them.
fn used(route: &Object) -> impl Iterator<Item = BackendRef<'_>> {
    backend_refs(route).into_iter().filter(|backend| backend.weight != 0).chain(mirrors(route))
}

/// Without a backend that only gets copies, requests are still answered.
fn copies_only(draft: &mut Draft, backend: &BackendRef<'_>) {
    if backend.mirror.is_some() {
        draft.severity(Severity::Warning);
    }
}

declare_rule! {
    /// A backendRef names a Service or port that does not exist
    ///
    /// ## What it means
    /// Requests to this rule of the route are answered with 500 (missing Service, no weight) or 503 (missing
    /// port).
    ///
    /// ## How it is decided
    /// Every backendRef of kind Service of the routes of the MCP chain: the Service must exist in its
    /// namespace, and `port` must be one of the Service's `spec.ports[].port` (not a targetPort). An
    /// ExternalName Service needs no ports. Istio does not check the port: the status says
    /// `ResolvedRefs=True` and requests still fail.
    ///
    /// A backend of weight 0 gets no requests and is not judged. When all backends of a rule have weight 0
    /// that is reported for routes of enabled registrations, unless the rule redirects. A backend that only
    /// gets copies of requests (RequestMirror) is a warning.
    ///
    /// External hosts (kind `Hostname`) are judged by MG501 to MG508. A backend of another kind, which the
    /// bundle does not hold, stays undecided.
    ///
    /// ## Causes
    /// A typo, a deleted Service, the container's port instead of the Service's, a weight that was set to 0.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get service` and compare names and ports.
    ///
    /// ## How to fix
    /// Correct the backendRef or create the Service. A missing Service of a registered server is reported as
    /// MG406 too, and that is the cause. The Service `mcp-gateway` is the MCP controller's: make it run, and
    /// touch the MCPGatewayExtension. For a wrong port the command takes the Service's port with that
    /// targetPort, else its first port: look whether this is the one you mean.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static BACKEND_MISSING = {
        code: "MG215", name: "backend-missing", severity: Error, section: "1.2.2",
        needs: ["httproutes", "services", "mcpserverregistrations"], since: "0.1.0",
        caused_by: ["MG406"], check: backend_missing,
    }
}

fn backend_missing(context: &Context<'_>, findings: &mut Findings) {
    for facts in context.chain().routes.values() {
        let route = facts.object;
        let chain = context.chain();
        if facts.registrations.iter().any(|&at| !chain.registrations[at].is_disabled()) {
            sends_nothing(findings, route);
        }
        for backend in &used(route).collect::<Vec<_>>() {
            // Hosts outside the cluster have rules of their own (MG501-MG508).
            if !backend.is_service() {
                if !backend.is_hostname() {
                    other_kind(context, findings, route, backend);
                }
                continue;
            }
            let (namespace, name) = (backend.namespace, backend.name);
            match context.bundle.find(&kinds::SERVICE, namespace, name) {
                Seen::Unknown(missing) => findings.cannot_tell(&BACKEND_MISSING, missing),
                Seen::Absent => {
                    let near = suggest::sentence(context, &kinds::SERVICE, namespace, name);
                    let service = suggest::reference(&kinds::SERVICE, namespace, name);
                    let draft = findings.report(
                        &BACKEND_MISSING,
                        route,
                        format!(
                            "HTTPRoute {} sends to Service {namespace}/{name}, which does not exist",
                            route.full_name()
                        ),
                        route.evidence(&backend.pointer("/name")),
                        format!("Correct the backendRef, or create the Service.{near}"),
                    );
                    draft.object(service);
                    copies_only(draft, backend);
                    let mut extensions = context.bundle.list_in(&kinds::MCP_GATEWAY_EXTENSION, namespace);
                    if let Some(extension) = extensions.next().filter(|_| name == "mcp-gateway") {
                        // The controller makes this Service, and nobody else.
                        "See whether the MCP controller runs, then touch the extension, so that it makes the Service again."
                            .clone_into(&mut draft.remedy.text);
                        draft.object(extension.reference()).command(touch(extension));
                    } else if let Some(right) = suggest::similar(context, &kinds::SERVICE, namespace, name) {
                        patch(draft, route, &backend.pointer("/name"), json!(right.name()));
                    }
                    draft.verify(shell!("oc -n {} get service {}", namespace, name));
                }
                Seen::Found(service) => backend_port(findings, route, backend, service),
            }
        }
    }
}

/// The rule of a registered route whose backends all have weight 0: it answers every request with 500.
fn sends_nothing(findings: &mut Findings, route: &Object) {
    for (index, rule) in route.array("/spec/rules").iter().enumerate() {
        let filters = rule.get("filters").and_then(Value::as_array).unwrap_or_default();
        let redirects = filters.iter().any(|f| f.get("requestRedirect").is_some());
        let all = backend_refs(route);
        let mut here = all.iter().filter(|backend| backend.rule == index).peekable();
        let Some(first) = here.peek().copied().filter(|_| !redirects) else { continue };
        if here.any(|backend| backend.weight != 0) {
            continue;
        }
        let weight = first.pointer("/weight");
        let draft = findings.report(
            &BACKEND_MISSING,
            route,
            format!(
                "HTTPRoute {} sends no request to its server: the backend has weight 0",
                route.full_name()
            ),
            route.evidence(&weight),
            "Give the backend a weight; to take the server out, disable its registration instead.",
        );
        patch(draft, route, &weight, json!(1));
        draft.verify(shell!(
            "oc -n {} get httproute {} -o jsonpath='{{.spec.rules[*].backendRefs[*].weight}}'",
            route.namespace(),
            route.name()
        ));
    }
}

/// A backend of a kind that is no Service: what the bundle does not hold can be neither right nor wrong.
fn other_kind(
    context: &Context<'_>,
    findings: &mut Findings,
    route: &Object,
    backend: &gateway_api::BackendRef<'_>,
) {
    let gateway_api::BackendRef { group, kind, namespace, name, .. } = *backend;
    if context.bundle.get_dynamic(group, kind, namespace, name).is_some() {
        return;
    }
    let resource = kind.to_lowercase();
    let resource = if group.is_empty() { resource } else { format!("{resource}.{group}") };
    findings.cannot_tell(
        &BACKEND_MISSING,
        Missing {
            what: format!("{kind} {namespace}/{name} to which HTTPRoute {} sends", route.full_name()),
            how: shell!("oc -n {} get {} {} -o yaml", namespace, resource, name),
        },
    );
}

fn backend_port(
    findings: &mut Findings,
    route: &Object,
    backend: &gateway_api::BackendRef<'_>,
    service: &Object,
) {
    let ports = service.array("/spec/ports");
    let number = |port: &Value| port.get("port").and_then(Value::as_i64);
    let offered: Vec<i64> = ports.iter().filter_map(number).collect();
    if ports.iter().any(|port| number(port).is_some() && number(port) == backend.port) {
        return;
    }
    // An ExternalName Service needs no ports.
    if ports.is_empty() && service.str("/spec/type") == "ExternalName" && backend.port.is_some() {
        return;
    }
    let title = match backend.port {
        Some(port) => format!(
            "HTTPRoute {} sends to port {port}, which Service {} does not have",
            route.full_name(),
            service.full_name()
        ),
        None => format!("HTTPRoute {} names no port of Service {}", route.full_name(), service.full_name()),
    };
    let target = ports.iter().position(|port| {
        port.get("targetPort").and_then(Value::as_i64).is_some_and(|t| Some(t) == backend.port)
    });
    let hint = match target {
        Some(index) => format!(" That is the targetPort; the Service's port is {}.", offered[index]),
        None => String::new(),
    };
    let draft = findings.report(
        &BACKEND_MISSING,
        route,
        title,
        route.evidence(&backend.pointer("/port")),
        format!(
            "Name a port of the Service: {}.{hint}",
            offered.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
        ),
    );
    draft.object(service.reference()).evidence(service.evidence("/spec/ports"));
    copies_only(draft, backend);
    if let Some(right) = target.map(|index| &offered[index]).or(offered.first()) {
        patch(draft, route, &backend.pointer("/port"), json!(right));
    }
    draft.verify(shell!(
        "oc -n {} get service {} -o jsonpath='{{.spec.ports[*].port}}'",
        service.namespace(),
        service.name()
    ));
}

declare_rule! {
    /// A backend in another namespace is not granted
    ///
    /// ## What it means
    /// The route sends to a Service of another namespace, and no ReferenceGrant there allows it:
    /// `ResolvedRefs=False RefNotPermitted`, requests are answered with 500.
    ///
    /// ## How it is decided
    /// A grant must stand in the Service's namespace and have an entry of `from` with group
    /// `gateway.networking.k8s.io`, kind `HTTPRoute` and the route's namespace, and an entry of `to` with
    /// group `""`, kind `Service` and no name or this one. Grants that are off in one field are named with
    /// the field. Backends of weight 0 are left out, and one that only gets copies of requests
    /// (RequestMirror) is a warning. Whether the Service exists is another question (MG215).
    ///
    /// ## Causes
    /// No grant, a grant in the route's namespace instead of the Service's, one wrong field, a typo in the
    /// backendRef's namespace.
    ///
    /// ## How to confirm
    /// `oc -n SERVICE_NAMESPACE get referencegrants -o yaml`.
    ///
    /// ## How to fix
    /// Apply the ReferenceGrant that is printed with the finding, if the owner of the Service's namespace
    /// agrees; it allows this Service only. Where the namespace does not exist, correct or remove it in the
    /// backendRef.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static BACKEND_NOT_GRANTED = {
        code: "MG216", name: "backend-not-granted", severity: Error, section: "1.2.2",
        needs: ["httproutes", "referencegrants"], since: "0.1.0",
        caused_by: ["MG003"], check: backend_not_granted,
    }
}

fn backend_not_granted(context: &Context<'_>, findings: &mut Findings) {
    for facts in context.chain().routes.values() {
        let route = facts.object;
        for backend in &used(route).filter(BackendRef::is_service).collect::<Vec<_>>() {
            if backend.namespace == route.namespace() {
                continue;
            }
            let reference = Reference {
                from_group: gateway_api::GROUP,
                from_kind: "HTTPRoute",
                from_namespace: route.namespace(),
                to_group: "",
                to_kind: "Service",
                to_namespace: backend.namespace,
                to_name: backend.name,
            };
            match context.chain().grants.check(context.bundle, &reference) {
                Granted::Yes(..) => {}
                Granted::Unknown(missing) => findings.cannot_tell(&BACKEND_NOT_GRANTED, missing),
                Granted::No(near) => {
                    let draft = findings.report(
                        &BACKEND_NOT_GRANTED,
                        route,
                        format!(
                            "HTTPRoute {} may not send to Service {}/{}: no ReferenceGrant in {}",
                            route.full_name(),
                            backend.namespace,
                            backend.name,
                            backend.namespace
                        ),
                        route.evidence(&backend.pointer("/namespace")),
                        "Allow the reference with a ReferenceGrant in the Service's namespace.",
                    );
                    draft.object(suggest::reference(&kinds::SERVICE, backend.namespace, backend.name));
                    copies_only(draft, backend);
                    match no_namespace(context, route, backend) {
                        None => grant_remedy(draft, &reference, &near),
                        Some(right) => other_namespace(draft, route, backend, right),
                    }
                }
            }
        }
    }
}

/// Whether the namespace of a backendRef does not exist, and the one that was meant: the only one with a Service of the
/// name, or of several the one that is called nearly the same.
fn no_namespace<'a>(
    context: &'a Context<'_>,
    route: &Object,
    backend: &BackendRef<'_>,
) -> Option<Option<&'a Object>> {
    let bundle = context.bundle;
    if !matches!(bundle.find(&kinds::NAMESPACE, "", backend.namespace), Seen::Absent)
        || bundle.list_in(&kinds::SERVICE, backend.namespace).next().is_some()
    {
        return None;
    }
    let all = suggest::elsewhere(context, &kinds::SERVICE, backend.namespace, backend.name);
    let own = || all.iter().find(|service| service.namespace() == route.namespace());
    let near = suggest::closest(backend.namespace, all.iter().map(|service| (service.namespace(), service)));
    Some(near.or_else(own).or(all.first().filter(|_| all.len() == 1)).copied())
}

/// A grant in a namespace that does not exist would help nobody.
fn other_namespace(draft: &mut Draft, route: &Object, backend: &BackendRef<'_>, right: Option<&Object>) {
    let pointer = backend.pointer("/namespace");
    draft.remedy.text = format!("Namespace {} does not exist: correct the backendRef.", backend.namespace);
    match right {
        Some(right) => {
            draft.remedy.text.push_str(&format!(" Did you mean {}?", right.namespace()));
            draft.object(right.reference()).evidence(right.evidence("/metadata/namespace"));
            if right.namespace() == route.namespace() {
                draft.command(crate::rules::remedy::patch(route, json!([{"op": "remove", "path": pointer}])));
            } else {
                patch(draft, route, &pointer, json!(right.namespace()));
            }
        }
        None => {
            draft.command(shell!("oc get services -A --field-selector metadata.name={}", backend.name));
        }
    }
    draft.verify(shell!(
        "oc -n {} get httproute {} -o jsonpath='{{.status.parents[*].conditions[?(@.type==\"ResolvedRefs\")].status}}'",
        route.namespace(),
        route.name()
    ));
}

/// Adds the near misses as evidence, the grant to apply, and how to check it.
pub(in crate::rules) fn grant_remedy(
    draft: &mut Draft,
    reference: &Reference<'_>,
    near: &[gateway_api::NearMiss<'_>],
) {
    for miss in near {
        let mut evidence = miss.grant.evidence(&miss.pointer);
        evidence.note = Some(format!("ReferenceGrant {}: {}", miss.grant.full_name(), miss.why));
        draft.evidence(evidence);
    }
    if let Some(first) = near.first() {
        draft.remedy.text.push_str(&format!(
            " ReferenceGrant {} comes close, but {}.",
            first.grant.full_name(),
            first.why
        ));
    }
    let Reference { from_group, from_kind, from_namespace, to_group, to_kind, to_namespace, to_name } =
        reference;
    let name = format!("allow-{from_namespace}-{}", from_kind.to_lowercase());
    let grant = json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": name, "namespace": to_namespace},
        "spec": {
            "from": [{"group": from_group, "kind": from_kind, "namespace": from_namespace}],
            "to": [{"group": to_group, "kind": to_kind, "name": to_name}],
        },
    });
    draft.command(Command::from("oc apply -f -").reading_yaml(&grant)).verify(shell!(
        "oc -n {} get referencegrant {} -o yaml",
        to_namespace,
        name
    ));
}
