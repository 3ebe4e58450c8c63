//! MG201-MG209, MG218: Gateways, GatewayClasses, listeners, their proxies and addresses.

mod create;
mod dns;
mod listeners;
mod proxies;
mod reasons;

use std::collections::BTreeMap;

use super::{Context, Findings, Rule, suggest};
use crate::declare_rule;
use crate::model::gateway_api::status;
use crate::model::json::Value;
use crate::model::object::Condition;
use crate::model::{Object, Seen, kinds};
use crate::report::Severity;
use crate::shell::shell;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &GATEWAY_MISSING,
    &GATEWAY_NOT_ACCEPTED,
    &GATEWAY_NOT_PROGRAMMED,
    &GATEWAY_NO_ADDRESS,
    &listeners::LISTENER_UNHEALTHY,
    &listeners::LISTENER_CERTIFICATE,
    &listeners::LISTENER_PORT_CONFLICT,
    &proxies::GATEWAY_PROXY_DOWN,
    &proxies::GATEWAYCLASS,
    &dns::DNS_MISMATCH,
];

declare_rule! {
    /// A Gateway that is referred to does not exist
    ///
    /// ## What it means
    /// An MCPGatewayExtension (`spec.targetRef`) or an HTTPRoute (`spec.parentRefs`) names a Gateway
    /// that is not in the cluster. Nothing listens for these requests: clients get a refused
    /// connection, or an answer of whatever else owns the address.
    ///
    /// ## How it is decided
    /// Every Gateway that the MCP chain names is looked up by namespace and name. A Gateway that only
    /// one object names, while one with a similar name (or of the same name in another namespace)
    /// exists, is a mistake of that object: then MG301 or MG212 says so instead.
    ///
    /// ## Causes
    /// The Gateway was deleted or never applied; it was created in another namespace; a name was
    /// changed on one side only.
    ///
    /// ## How to confirm
    /// `oc get gateways -A` and compare with the field shown as evidence. The MCP controller reports
    /// `invalid: gateway target NAMESPACE/NAME not found`; Istio writes no status entry at all for
    /// the parentRef of a route.
    ///
    /// ## How to fix
    /// Create the Gateway, or correct the references. Where the class, the port and the hosts are known from what
    /// is left, the command creates it with the listeners that are referred to.
    ///
    /// ## When it may be a false alarm
    /// Never while Gateways of that namespace were collected: the API has one name space for them.
    static GATEWAY_MISSING = {
        code: "MG201", name: "gateway-missing", severity: Error, section: "1.2.1",
        needs: ["gateways", "mcpgatewayextensions", "httproutes"], since: "0.1.0",
        caused_by: ["MG003"], check: gateway_missing,
    }
}

/// Who names a Gateway, and where.
fn referrers<'a>(context: &Context<'a>) -> BTreeMap<(&'a str, &'a str), Vec<(&'a Object, String)>> {
    let chain = context.chain();
    let mut found: BTreeMap<(&str, &str), Vec<(&Object, String)>> = BTreeMap::new();
    for extension in &chain.extensions {
        found
            .entry(extension.target())
            .or_default()
            .push((extension.object, "/spec/targetRef/name".to_owned()));
    }
    for route in chain.routes.values() {
        for attachment in &route.attachments {
            let parent = attachment.parent;
            if parent.is_gateway() {
                let pointer = format!("/spec/parentRefs/{}/name", parent.index);
                let list = found.entry((parent.namespace, parent.name)).or_default();
                if !list.iter().rev().take(4).any(|(object, _)| std::ptr::eq(*object, route.object)) {
                    list.push((route.object, pointer));
                }
            }
        }
    }
    found
}

/// Whether a missing Gateway is a slip of the one object that names it.
fn is_slip(context: &Context<'_>, namespace: &str, name: &str, referrers: usize) -> bool {
    referrers == 1
        && (suggest::similar(context, &kinds::GATEWAY, namespace, name).is_some()
            || !suggest::elsewhere(context, &kinds::GATEWAY, namespace, name).is_empty())
}

fn gateway_missing(context: &Context<'_>, findings: &mut Findings) {
    for ((namespace, name), list) in referrers(context) {
        if namespace.is_empty() {
            continue;
        }
        match context.bundle.find(&kinds::GATEWAY, namespace, name) {
            Seen::Found(_) => continue,
            Seen::Unknown(missing) => {
                findings.cannot_tell(&GATEWAY_MISSING, missing);
                continue;
            }
            Seen::Absent => {}
        }
        if is_slip(context, namespace, name, list.len()) {
            continue;
        }
        let near = suggest::sentence(context, &kinds::GATEWAY, namespace, name);
        let (first, pointer) = &list[0];
        let draft = findings.report_on(
            &GATEWAY_MISSING,
            suggest::reference(&kinds::GATEWAY, namespace, name),
            format!(
                "Gateway {namespace}/{name} does not exist, but {} to it",
                match list.len() {
                    1 => "1 object refers".to_owned(),
                    several => format!("{several} objects refer"),
                }
            ),
            first.evidence(pointer),
            format!("Create the Gateway {namespace}/{name}, or correct the references to it.{near}"),
        );
        for (object, pointer) in list.iter().skip(1).take(7) {
            draft.evidence(object.evidence(pointer));
        }
        draft
            .command(create::command(context, namespace, name).unwrap_or("oc get gateways -A".into()))
            .verify(shell!("oc -n {} get gateway {}", namespace, name));
    }
}

/// The Gateways of the chain that exist.
pub(super) fn in_chain<'a>(context: &Context<'a>) -> Vec<&'a Object> {
    let chain = context.chain();
    let found = chain.gateways.iter();
    found.filter_map(|(namespace, name)| context.bundle.get(&kinds::GATEWAY, namespace, name)).collect()
}

/// The JSON pointer of a condition of `/status/conditions`.
pub(super) fn condition_pointer(condition: &Condition<'_>) -> String {
    format!("/status/conditions/{}", condition.index)
}

/// What a reason of a Gateway's or listener's condition means and what to do, for people.
fn explain_reason(reason: &str) -> &'static str {
    match reason {
        "Pending" => "No controller has worked on it yet: check the GatewayClass and its control plane.",
        "ListenersNotValid" => "At least one listener is invalid: its own conditions say which and why.",
        "Invalid" => "The Gateway's spec has an error that its message names.",
        "InvalidParameters" => "The object of spec.infrastructure.parametersRef is missing or not valid.",
        "UnsupportedAddress" => "An entry of spec.addresses has a type that the controller does not support.",
        "NoResources" => "The control plane has no infrastructure for it: check quota and its pods.",
        "AddressNotAssigned" => {
            "The load balancer gave the Gateway's Service no address: check the cloud provider or MetalLB, \
             or put an OpenShift Route in front of a ClusterIP Service."
        }
        "AddressNotUsable" => "The requested address is taken or does not belong to this cluster.",
        _ => "Read the message; it comes from the Gateway's controller.",
    }
}

declare_rule! {
    /// A Gateway is not accepted by its controller
    ///
    /// ## What it means
    /// The Gateway's condition `Accepted` is not `True`: its controller refuses the spec, or no controller
    /// has looked at it. No listener of it works, so no MCP request arrives.
    ///
    /// ## How it is decided
    /// The condition `Accepted` of every Gateway that an MCPGatewayExtension targets or a registered
    /// HTTPRoute names as its parent: `False` and `Unknown` are reported. A Gateway younger than 30 seconds
    /// is left out, and so is one without the condition (MG217). The reason is explained:
    ///
    /// - `InvalidParameters` and `Invalid`: `spec.infrastructure.parametersRef`, if there is one, must name a
    ///   ConfigMap of the Gateway's namespace, as Istio wants it.
    /// - `NoResources`, `AddressNotUsable`, `AddressNotAssigned`: while the Gateway has no Service, a
    ///   ResourceQuota of its namespace without room for one.
    ///
    /// A missing GatewayClass or control plane (MG209) is reported as the cause.
    ///
    /// ## Causes
    /// Wrong GatewayClass, unsupported address type, invalid parameters, control plane down.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe gateway NAME` shows the condition with its message and the events.
    ///
    /// ## How to fix
    /// Follow the reason; repair the GatewayClass first if it is reported too. Where `parametersRef` is the
    /// reason the command takes it out, or gives it the name of a ConfigMap that is called nearly the same;
    /// without it the proxy has Istio's defaults. Of a ConfigMap that exists look first at what it holds.
    ///
    /// ## When it may be a false alarm
    /// The controller has not written its status yet, although the Gateway is older than 30 seconds. With the
    /// reason `Invalid` another field than `parametersRef` may be at fault: the condition's message decides.
    static GATEWAY_NOT_ACCEPTED = {
        code: "MG202", name: "gateway-not-accepted", severity: Error, section: "1.2.1",
        needs: ["gateways"], since: "0.1.0",
        caused_by: ["MG209", "MG003", "MG205", "MG206", "MG207"], check: gateway_not_accepted,
    }
}

fn gateway_not_accepted(context: &Context<'_>, findings: &mut Findings) {
    gateway_condition(context, findings, &GATEWAY_NOT_ACCEPTED, "Accepted", "is not accepted");
}

declare_rule! {
    /// A Gateway is not programmed
    ///
    /// ## What it means
    /// The Gateway's spec is understood, but its proxy, Service or address is not in place: the condition
    /// `Programmed` is not `True`.
    ///
    /// ## How it is decided
    /// The condition `Programmed` of every Gateway of the MCP chain: `False` and `Unknown` are reported, with
    /// the reason explained as for MG202. A Gateway younger than 30 seconds is left out, and so is one
    /// without the condition (MG217). Istio's `Programmed` reflects the Service (address, port, pods), not
    /// whether Envoy took the configuration; MG225 and MG226 look at that.
    ///
    /// With `NoResources`, `AddressNotUsable` or `AddressNotAssigned`, while the Gateway has no Service, the
    /// ResourceQuotas of its namespace are read: one that has no room for Services, load balancers or node
    /// ports is the reason.
    ///
    /// `AddressNotAssigned` is a warning only where clients come another way: the Gateway's Service is of
    /// type ClusterIP or NodePort, a Route leads to it of which a router has written a status, or another
    /// NodePort Service has the same selector.
    ///
    /// ## Causes
    /// No address was assigned (MG204), the proxy has no running pod (MG208), a listener is invalid, the
    /// GatewayClass or its control plane is broken (MG209), a quota forbids the Service.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe gateway NAME`;
    /// `oc -n NAMESPACE get service,pods -l gateway.networking.k8s.io/gateway-name=NAME`.
    ///
    /// ## How to fix
    /// Follow the reason, or repair the cause that is reported with it.
    ///
    /// ## When it may be a false alarm
    /// Where addresses are never assigned on purpose (a ClusterIP Service behind an OpenShift Route) some
    /// Istio versions leave `Programmed=False` with `AddressNotAssigned`; then it is a warning only.
    static GATEWAY_NOT_PROGRAMMED = {
        code: "MG203", name: "gateway-not-programmed", severity: Error, section: "1.2.1",
        needs: ["gateways"], since: "0.1.0",
        caused_by: ["MG202", "MG204", "MG205", "MG206", "MG207", "MG208", "MG209", "MG003"],
        check: gateway_not_programmed,
    }
}

fn gateway_not_programmed(context: &Context<'_>, findings: &mut Findings) {
    gateway_condition(context, findings, &GATEWAY_NOT_PROGRAMMED, "Programmed", "is not programmed");
}

fn gateway_condition(
    context: &Context<'_>,
    findings: &mut Findings,
    rule: &'static Rule,
    kind: &str,
    what: &str,
) {
    for gateway in in_chain(context) {
        // An absent condition is no `False`: MG217 tells that nobody reconciles the Gateway.
        let Some(condition) = gateway.condition(kind) else { continue };
        if condition.is_true() || context.is_younger(gateway, 30) {
            continue;
        }
        let (namespace, name) = (gateway.namespace(), gateway.name());
        let reason = if condition.reason.is_empty() { condition.status } else { condition.reason };
        let behind = match condition.reason {
            "InvalidParameters" | "Invalid" => reasons::parameters(context, gateway),
            "NoResources" | "AddressNotUsable" | "AddressNotAssigned" => reasons::quota(context, gateway),
            _ => None,
        };
        let remedy =
            behind.as_ref().map_or(explain_reason(condition.reason), |behind| &behind.text).to_owned();
        let draft = findings.report(
            rule,
            gateway,
            format!("Gateway {namespace}/{name} {what}: {reason}"),
            gateway.evidence(&condition_pointer(&condition)),
            remedy,
        );
        if let Some(behind) = behind {
            behind.add_to(draft);
        }
        // Nothing else is wrong, and clients do not come by that address.
        if condition.reason == "AddressNotAssigned" && in_front(context, gateway).is_some() {
            draft.severity(Severity::Warning);
        }
        if status::is_stale(gateway, &condition) {
            draft.evidence(gateway.evidence("/metadata/generation"));
        }
        draft.command(shell!("oc -n {} describe gateway {}", namespace, name)).verify(shell!(
            "oc -n {} wait --for=condition={} gateway/{} --timeout=120s",
            namespace,
            kind,
            name
        ));
    }
}

declare_rule! {
    /// A Gateway has no address
    ///
    /// ## What it means
    /// `status.addresses` of the Gateway is empty, so nothing outside (and no DNS record) can lead to it.
    ///
    /// ## How it is decided
    /// `status.addresses` of every Gateway of the MCP chain that is at least two minutes old and that its
    /// controller has worked on (`Programmed` is there and not `Unknown`).
    ///
    /// It is a warning where clients may come another way: the Gateway's Service is of type ClusterIP or
    /// NodePort, a Route leads to it of which a router has written a status, or another NodePort Service has
    /// the same selector.
    ///
    /// The last warning event of the Service and its `loadBalancerClass` say why; without a Service, an
    /// exhausted ResourceQuota does.
    ///
    /// ## Causes
    /// No load balancer implementation (bare metal without MetalLB), none for the Service's
    /// `loadBalancerClass`, a quota of the cloud provider or of the namespace, a requested address that is
    /// taken.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get service -l gateway.networking.k8s.io/gateway-name=NAME`: `EXTERNAL-IP` shows
    /// `<pending>`. `oc -n NAMESPACE describe service SERVICE` shows the events with the reason.
    ///
    /// ## How to fix
    /// Install or repair the load balancer, or raise the quota. Or let the proxy have a ClusterIP Service and
    /// put a Route in front:
    /// `oc -n NAMESPACE annotate gateway NAME networking.istio.io/service-type=ClusterIP`.
    ///
    /// ## When it may be a false alarm
    /// Clients reach the proxy by other means. A ClusterIP or NodePort Service, or a Route, makes it a
    /// warning; a load balancer that was made by hand does not.
    static GATEWAY_NO_ADDRESS = {
        code: "MG204", name: "gateway-no-address", severity: Error, section: "1.2.1",
        needs: ["gateways", "services"], since: "0.1.0",
        caused_by: ["MG202", "MG209", "MG003"], check: gateway_no_address,
    }
}

fn gateway_no_address(context: &Context<'_>, findings: &mut Findings) {
    for gateway in in_chain(context) {
        let worked_on = gateway.condition("Programmed").is_some_and(|c| c.status != "Unknown");
        if !worked_on || !gateway.array("/status/addresses").is_empty() || context.is_younger(gateway, 120) {
            continue;
        }
        let (namespace, name) = (gateway.namespace(), gateway.name());
        let service = context.workloads().gateway_service(gateway);
        let kind = service.map_or("", |s| s.str("/spec/type"));
        let behind = match service {
            Some(service) => reasons::load_balancer(context, service),
            None => reasons::quota(context, gateway),
        };
        let mut remedy = match (kind, service) {
            ("LoadBalancer", _) => {
                "The Gateway's Service waits for a load balancer: install or repair it (cloud provider, \
                 MetalLB), or make the Service ClusterIP and put a Route in front."
            }
            (_, None) => "The Gateway has no Service: read why its controller cannot make one.",
            _ => "Give the Gateway's Service an address, or put a Route in front of it.",
        }
        .to_owned();
        match (&behind, service) {
            (Some(behind), Some(_)) => remedy = format!("{remedy} {}", behind.text),
            (Some(behind), None) => remedy.clone_from(&behind.text),
            _ => {}
        }
        let draft = findings.report(
            &GATEWAY_NO_ADDRESS,
            gateway,
            format!("Gateway {namespace}/{name} has no address"),
            gateway.evidence("/status/addresses"),
            remedy,
        );
        if let Some(service) = service {
            draft.evidence(service.evidence("/spec/type"));
            draft.evidence(service.evidence("/status/loadBalancer"));
            draft.object(service.reference());
            draft.command(shell!("oc -n {} describe service {}", namespace, service.name()));
        }
        if let Some(behind) = behind {
            behind.add_to(draft);
        }
        if let Some(front) = in_front(context, gateway) {
            draft.severity(Severity::Warning);
            if let Some(service) = service.filter(|service| !std::ptr::eq(*service, front)) {
                draft.evidence(service.evidence("/spec/selector"));
                draft.evidence(front.evidence(if front.kind() == "Route" {
                    "/spec/to"
                } else {
                    "/spec/type"
                }));
                draft.object(front.reference());
            }
        }
        draft.verify(shell!("oc -n {} get gateway {} -o jsonpath='{{.status.addresses}}'", namespace, name));
    }
}

/// What brings clients to a Gateway's proxy that has no address of its own: its Service, which something may stand in
/// front of, a Route that leads to the Service, or another Service with a node port for the same pods.
fn in_front<'a>(context: &Context<'a>, gateway: &Object) -> Option<&'a Object> {
    let service = context.workloads().gateway_service(gateway)?;
    if ["ClusterIP", "NodePort"].contains(&service.str("/spec/type")) {
        return Some(service);
    }
    let namespace = gateway.namespace();
    let route = context.bundle.list_in(&kinds::ROUTE, namespace).find(|route| {
        let admitted = |ingress: &Value| {
            let conditions = ingress.get("conditions").and_then(Value::as_array).unwrap_or_default();
            let of_kind = |c: &&Value| c.get("type").and_then(Value::as_str) == Some("Admitted");
            let status = conditions.iter().find(of_kind).and_then(|c| c.get("status")?.as_str());
            status != Some("False")
        };
        route.str("/spec/to/name") == service.name() && route.array("/status/ingress").iter().any(admitted)
    });
    let selector = service.get("/spec/selector").map(Value::to_json);
    let same_pods = |other: &&Object| {
        other.str("/spec/type") == "NodePort"
            && selector.is_some()
            && other.get("/spec/selector").map(Value::to_json) == selector
    };
    route.or_else(|| context.bundle.list_in(&kinds::SERVICE, namespace).find(same_pods))
}
