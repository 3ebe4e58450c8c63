//! MG208, MG209: what implements a Gateway: its proxy, its class, its control plane.

use std::collections::BTreeMap;

use serde_json::json;

use super::{condition_pointer, create, in_chain};
use crate::declare_rule;
use crate::model::workloads::{gateway_workload_name, is_ready};
use crate::model::{Object, Seen, graph, kinds};
use crate::rules::remedy;
use crate::rules::{Context, Findings, suggest};
use crate::shell::shell;

declare_rule! {
    /// No ready proxy implements a Gateway
    ///
    /// ## What it means
    /// A Gateway is only a description; Istio deploys an Envoy proxy for it. No pod of that proxy is there,
    /// or none is Ready, or the Gateway's Service selects none of them: connections are refused or time out.
    ///
    /// ## How it is decided
    /// For each Gateway of the MCP chain that is at least two minutes old: its pods, their condition `Ready`
    /// (a pod that is being deleted is not ready), and, once one is Ready, the selector of its Service, which
    /// must select a pod.
    ///
    /// The pods are those with the label `gateway.networking.k8s.io/gateway-name` (in old versions
    /// `istio.io/gateway-name`) in the Gateway's namespace, else those of the Deployment that Istio names
    /// after Gateway and class, else those behind the Service that a manually deployed Gateway names in
    /// `spec.addresses`. A Service without selector is not judged.
    ///
    /// ## Causes
    /// The proxy's pods crash, cannot be pulled or scheduled (MG101-MG108), were scaled to 0 (MG107), or were
    /// never made because the class or its control plane is broken (MG209). Somebody edited the Service.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get pods -l gateway.networking.k8s.io/gateway-name=NAME`; for the Service
    /// `oc -n NAMESPACE get endpointslices -l kubernetes.io/service-name=SERVICE`.
    ///
    /// ## How to fix
    /// Repair the reported cause; the Deployment is Istio's, so do not edit it by hand. Of a Service of
    /// istiod's that selects nothing the command deletes it, so that istiod makes it again: a load balancer
    /// may give the new one another address. A Service that a person made is given a selector.
    ///
    /// ## When it may be a false alarm
    /// During a rollout of the proxy with a single replica. A Gateway of another implementation than
    /// Istio's is left out, unless an extension targets it.
    pub(super) static GATEWAY_PROXY_DOWN = {
        code: "MG208", name: "gateway-proxy-down", severity: Error, section: "1.2.1",
        needs: ["pods", "services", "deployments", "gateways"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111", "MG202", "MG209"],
        check: gateway_proxy_down,
    }
}

fn gateway_proxy_down(context: &Context<'_>, findings: &mut Findings) {
    for gateway in in_chain(context) {
        if context.is_younger(gateway, 120) {
            continue;
        }
        let (namespace, name) = (gateway.namespace(), gateway.name());
        let workloads = context.workloads();
        let pods = workloads.gateway_pods(gateway);
        let service = workloads.gateway_service(gateway);
        let label = format!("gateway.networking.k8s.io/gateway-name={name}");
        if pods.is_empty() {
            let class = context.bundle.get(&kinds::GATEWAY_CLASS, "", gateway.str("/spec/gatewayClassName"));
            let controller = class.map_or("", |class| class.str("/spec/controllerName"));
            // Other implementations run their proxies where they like; the MCP gateway needs Istio's.
            let foreign = !controller.is_empty()
                && !["istio.io/", "openshift.io/"].iter().any(|own| controller.starts_with(own));
            if foreign && context.chain().extensions_of((namespace, name)).is_empty() {
                continue;
            }
            if let Err(missing) = context.bundle.collected(&kinds::POD, Some(namespace)) {
                findings.cannot_tell(&GATEWAY_PROXY_DOWN, missing);
                continue;
            }
            let deployment = workloads.gateway_deployment(gateway);
            let (subject, pointer) =
                deployment.map_or((gateway, "/spec/gatewayClassName"), |d| (d, "/status/replicas"));
            let mut evidence = subject.evidence(pointer);
            evidence.note = Some(format!("no pod in {namespace} has the label {label}"));
            let draft = findings.report(
                &GATEWAY_PROXY_DOWN,
                gateway,
                format!("Gateway {namespace}/{name} has no proxy pod"),
                evidence,
                "Bring the proxy's Deployment back: repair the cause reported with this, or let istiod \
                 recreate it.",
            );
            if let Some(deployment) = deployment {
                draft.object(deployment.reference());
                draft.command(shell!("oc -n {} describe deployment {}", namespace, deployment.name()));
            }
            draft.verify(shell!("oc -n {} get pods -l {}", namespace, label));
            continue;
        }
        if !pods.iter().any(|pod| is_ready(pod)) {
            let pod = pods[0];
            let pointer = pod.condition("Ready").map(|c| condition_pointer(&c));
            let draft = findings.report(
                &GATEWAY_PROXY_DOWN,
                gateway,
                match pods.len() {
                    1 => format!("The proxy pod of Gateway {namespace}/{name} is not ready"),
                    several => {
                        format!("None of the {several} proxy pods of Gateway {namespace}/{name} is ready")
                    }
                },
                pod.evidence(pointer.as_deref().unwrap_or("/status/phase")),
                "Repair the proxy pods: their own findings or their logs say why they are not ready.",
            );
            for pod in pods.iter().take(5) {
                draft.object(pod.reference());
            }
            draft
                .command(shell!("oc -n {} describe pod {}", namespace, pod.name()))
                .command(shell!("oc -n {} logs {} -c istio-proxy --tail=50", namespace, pod.name()))
                .verify(shell!("oc -n {} get pods -l {}", namespace, label));
            continue;
        }
        let Some(service) = service.filter(|s| s.get("/spec/selector").is_some()) else { continue };
        if workloads.pods_of_service(service).is_empty() {
            // One that a person made and the Gateway names nobody makes again.
            let is_own = service.name() == gateway_workload_name(gateway) && service.namespace() == namespace;
            let draft = findings.report(
                &GATEWAY_PROXY_DOWN,
                gateway,
                format!("Service {} of Gateway {name} selects no proxy pod", service.full_name()),
                service.evidence("/spec/selector"),
                match is_own {
                    true => "Restore the Service's selector: delete the Service, istiod makes it again.",
                    false => "Let the Service select the proxy's pods.",
                },
            );
            draft.object(service.reference()).evidence(pods[0].evidence("/metadata/labels"));
            draft.command(match is_own {
                true => shell!("oc -n {} delete service {}", namespace, service.name()),
                false => {
                    let selector = json!({"gateway.networking.k8s.io/gateway-name": name});
                    remedy::patch(
                        service,
                        json!([{"op": "add", "path": "/spec/selector", "value": selector}]),
                    )
                }
            });
            draft.verify(shell!(
                "oc -n {} get endpointslices -l kubernetes.io/service-name={}",
                service.namespace(),
                service.name()
            ));
        }
    }
}

declare_rule! {
    /// A GatewayClass is missing, refused, or its control plane is down
    ///
    /// ## What it means
    /// Nobody implements the Gateways of this class: their specs are not read, their proxies not configured,
    /// their statuses do not change.
    ///
    /// ## How it is decided
    /// For the class of each Gateway of the MCP chain: it must exist; its condition `Accepted` must be
    /// there and `True` (a class younger than a minute may wait for it); and for Istio's and OpenShift's
    /// controllers one of the istiod Deployments that may serve it must have an available replica. For
    /// OpenShift's controller that is `istiod-openshift-gateway`, for Istio's every other Deployment with
    /// the label `app=istiod`, of whatever revision. Where the Deployments were not collected this stays
    /// undecided; where they were and there is no istiod, the control plane is taken to be elsewhere.
    ///
    /// ## Causes
    /// A typo in `gatewayClassName`; Istio (or OpenShift's Gateway API support) not installed; istiod crashes
    /// or is scaled to 0 (the pods' own findings are then the cause).
    ///
    /// ## How to confirm
    /// `oc get gatewayclass`; `oc get deployments -A -l app=istiod`.
    ///
    /// ## How to fix
    /// Correct the name, or install or repair the control plane. For a missing class the command names the
    /// class with a similar name, else the only accepted one of Istio or OpenShift.
    ///
    /// ## When it may be a false alarm
    /// Gateways that an istiod outside the cluster serves, while one inside, for other work, is scaled
    /// down.
    pub(super) static GATEWAYCLASS = {
        code: "MG209", name: "gatewayclass", severity: Error, section: "1.2.1",
        needs: ["gatewayclasses", "deployments (istiod)", "gateways"], since: "0.1.0",
        caused_by: ["MG003", "MG006", "MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"],
        check: gatewayclass,
    }
}

fn gatewayclass(context: &Context<'_>, findings: &mut Findings) {
    let mut classes: BTreeMap<&str, &Object> = BTreeMap::new();
    for gateway in in_chain(context) {
        classes.entry(gateway.str("/spec/gatewayClassName")).or_insert(gateway);
    }
    for (name, gateway) in classes {
        let class = match context.bundle.find(&kinds::GATEWAY_CLASS, "", name) {
            Seen::Found(class) => class,
            Seen::Unknown(missing) => {
                findings.cannot_tell(&GATEWAYCLASS, missing);
                continue;
            }
            Seen::Absent => {
                let similar = suggest::similar(context, &kinds::GATEWAY_CLASS, "", name)
                    .or_else(|| create::only_class(context));
                let near = similar.map(|o| format!(" Did you mean {}?", o.name())).unwrap_or_default();
                let draft = findings.report_on(
                    &GATEWAYCLASS,
                    suggest::reference(&kinds::GATEWAY_CLASS, "", name),
                    format!("GatewayClass {name} of Gateway {} does not exist", gateway.full_name()),
                    gateway.evidence("/spec/gatewayClassName"),
                    format!("Create the GatewayClass, or name an existing one.{near}"),
                );
                draft.object(gateway.reference()).verify(shell!(
                    "oc -n {} wait --for=condition=Accepted gateway/{} --timeout=120s",
                    gateway.namespace(),
                    gateway.name()
                ));
                draft.command(match similar {
                    Some(right) => {
                        remedy::merge(gateway, json!({"spec": {"gatewayClassName": right.name()}}))
                    }
                    None => "oc get gatewayclass".into(),
                });
                continue;
            }
        };
        let controller = class.str("/spec/controllerName");
        match class.condition("Accepted") {
            Some(condition) if condition.is_true() => {}
            None if class.is_manifest() => {}
            condition if !condition.is_some_and(|c| c.is_false()) && context.is_younger(class, 60) => {}
            condition => {
                let pointer = condition.map_or("/status/conditions".to_owned(), |c| condition_pointer(&c));
                let evidence = class.evidence(&pointer);
                findings
                    .report(
                        &GATEWAYCLASS,
                        class,
                        format!("GatewayClass {name} is not accepted by {controller}"),
                        evidence,
                        format!(
                            "Install or repair the control plane that implements {controller}, or use a \
                             class of one that runs."
                        ),
                    )
                    .evidence(class.evidence("/spec/controllerName"))
                    .command("oc get deployments -A -l app=istiod")
                    .verify(shell!("oc get gatewayclass {}", name));
                continue;
            }
        }
        let planes: Vec<&Object> = graph::control_planes(context.bundle, controller).collect();
        let down = |d: &&Object| !d.is_manifest() && d.int("/status/availableReplicas").unwrap_or(0) == 0;
        if let Some(plane) = planes.first().filter(|_| planes.iter().all(down)) {
            let draft = findings.report(
                &GATEWAYCLASS,
                class,
                format!(
                    "The control plane of GatewayClass {name} is down: Deployment {} has no available replica",
                    plane.full_name()
                ),
                plane.evidence("/status/availableReplicas"),
                "Bring istiod back; until then no Gateway, route or EnvoyFilter change takes effect.",
            );
            draft
                .object(plane.reference())
                .evidence(plane.evidence("/spec/replicas"))
                .command(shell!("oc -n {} describe deployment {}", plane.namespace(), plane.name()))
                .verify(shell!("oc -n {} rollout status deployment/{}", plane.namespace(), plane.name()));
        } else if planes.is_empty()
            && (controller.starts_with("istio.io/") || controller.starts_with("openshift.io/"))
            && let Err(missing) = context.bundle.collected(&kinds::DEPLOYMENT, None)
        {
            findings.cannot_tell(
                &GATEWAYCLASS,
                crate::model::Missing {
                    what: format!("the control plane (istiod) of GatewayClass {name}: {}", missing.what),
                    how: "oc get deployments -A -l app=istiod -o yaml".into(),
                },
            );
        }
    }
}
