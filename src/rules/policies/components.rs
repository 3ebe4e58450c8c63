//! MG804, MG805, MG810-MG812: the parts of Kuadrant, and what they need to know and reach.

use std::collections::HashMap;

use super::{auth_policies, say_what_is_missing};
use crate::declare_rule;
use crate::model::kuadrant::Policy;
use crate::model::logs::Record;
use crate::model::probes::Purpose;
use crate::model::workloads::{Component, is_ready};
use crate::model::{Object, kinds};
use crate::report::Evidence;
use crate::rules::evidence;
use crate::rules::{Context, Findings, Rule};
use crate::shell::shell;

declare_rule! {
    /// The Kuadrant operator does not run
    ///
    /// ## What it means
    /// Policies are not read any more: changes to AuthPolicies, Gateways and routes have no effect, and
    /// statuses are of the past. What was enforced before goes on.
    ///
    /// ## How it is decided
    /// Policies concern the MCP gateway, and the operator's Deployment has no available replica, nor is a pod
    /// of the operator ready in its namespace. Where neither Deployment nor pod of the operator exists,
    /// nothing is claimed.
    ///
    /// ## Causes
    /// The faults of its pods (MG101-MG111), or it is scaled to 0.
    ///
    /// ## How to confirm
    /// `oc get pods -A -l control-plane=controller-manager | grep kuadrant`
    ///
    /// ## How to fix
    /// Repair its pod.
    ///
    /// ## When it may be a false alarm
    /// During an update of the operator.
    pub(super) static KUADRANT_OPERATOR_DOWN = {
        code: "MG804", name: "kuadrant-operator-down", severity: Error, section: "1.8",
        needs: ["deployments", "pods"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"],
        check: kuadrant_operator_down,
    }
}

declare_rule! {
    /// Authorino does not run
    ///
    /// ## What it means
    /// Every request that an AuthPolicy covers is denied: the filter in Envoy fails closed when Authorino
    /// does not answer within 200 ms (500).
    ///
    /// ## How it is decided
    /// AuthPolicies concern the MCP gateway, and Authorino's Deployment has no available replica, nor is a
    /// pod of Authorino ready in its namespace. The last three lines of its logs are shown. Where no
    /// Authorino exists at all, nothing is claimed here: the policies' status tells it (MG808).
    ///
    /// ## Causes
    /// The faults of its pods (MG101-MG111): a broken configuration, a CA that cannot be read, memory.
    ///
    /// ## How to confirm
    /// `oc get pods -A -l authorino-resource`
    ///
    /// ## How to fix
    /// Repair its pod.
    ///
    /// ## When it may be a false alarm
    /// During an update with one replica.
    pub(super) static AUTHORINO_DOWN = {
        code: "MG805", name: "authorino-down", severity: Error, section: "1.8",
        needs: ["deployments", "pods", "logs"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"],
        check: authorino_down,
    }
}

declare_rule! {
    /// A part of Kuadrant does not run
    ///
    /// ## What it means
    /// Limitador: rate limits are not counted, requests pass. The DNS operator: DNS records are not updated.
    /// The operators of Authorino and Limitador: their services are not reconciled.
    ///
    /// ## How it is decided
    /// Policies concern the MCP gateway, and the Deployment of one of these exists, has no available replica,
    /// and no pod of it is ready in its namespace. Or Authorino, Limitador and their operators run, and the
    /// Kuadrant resource says that it is not ready (`Ready` False).
    ///
    /// ## Causes
    /// The faults of its pods (MG101-MG111), or it is scaled to 0.
    ///
    /// ## How to confirm
    /// `oc get pods -A | grep -e limitador -e dns-operator -e authorino-operator`
    ///
    /// ## How to fix
    /// Repair its pod, or what the message of the Kuadrant resource names.
    ///
    /// ## When it may be a false alarm
    /// A part that is switched off because nothing uses it.
    pub(super) static KUADRANT_COMPONENT_DOWN = {
        code: "MG811", name: "kuadrant-component-down", severity: Warning, section: "1.8",
        needs: ["deployments", "pods"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"],
        check: kuadrant_component_down,
    }
}

fn kuadrant_operator_down(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &KUADRANT_OPERATOR_DOWN, findings);
    if !context.policies().is_empty() {
        down(
            context,
            &KUADRANT_OPERATOR_DOWN,
            Component::KuadrantOperator,
            "policies are not reconciled",
            findings,
        );
    }
}

fn authorino_down(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &AUTHORINO_DOWN, findings);
    if !auth_policies(context).is_empty() {
        down(context, &AUTHORINO_DOWN, Component::Authorino, "every protected request is denied", findings);
    }
}

fn kuadrant_component_down(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &KUADRANT_COMPONENT_DOWN, findings);
    if context.policies().is_empty() {
        return;
    }
    for (component, effect) in [
        (Component::Limitador, "rate limits are not counted"),
        (Component::DnsOperator, "DNS records are not updated"),
        (Component::AuthorinoOperator, "Authorino is not reconciled"),
        (Component::LimitadorOperator, "Limitador is not reconciled"),
    ] {
        down(context, &KUADRANT_COMPONENT_DOWN, component, effect, findings);
    }
    // Where a part does not run, that says it all.
    let parts = [
        Component::Authorino,
        Component::Limitador,
        Component::AuthorinoOperator,
        Component::LimitadorOperator,
    ];
    if parts.into_iter().any(|part| !dead(context, part).is_empty()) {
        return;
    }
    for kuadrant in context.bundle.list(&kinds::KUADRANT) {
        let Some(ready) = kuadrant.condition("Ready").filter(|c| c.is_false()) else { continue };
        let why = if ready.message.is_empty() { ready.reason } else { ready.message };
        findings
            .report(
                &KUADRANT_COMPONENT_DOWN,
                kuadrant,
                format!(
                    "Kuadrant {} is not ready ({}): {}",
                    kuadrant.full_name(),
                    ready.reason,
                    evidence::short(why, 80)
                ),
                kuadrant.evidence(&format!("/status/conditions/{}", ready.index)),
                "Repair the part that the message names; policies are not enforced anew until then.",
            )
            .command(shell!("oc -n {} get authorinos,limitadors,pods", kuadrant.namespace()))
            .verify(shell!(
                "oc -n {} wait --for=condition=Ready kuadrant/{} --timeout=120s",
                kuadrant.namespace(),
                kuadrant.name()
            ));
    }
}

/// The Deployments of a component that have no available replica, and no ready pod beside them.
fn dead<'a>(context: &Context<'a>, component: Component) -> Vec<&'a Object> {
    let pods = context.workloads().component_pods(component);
    let available =
        |d: &Object| d.int("/status/availableReplicas").or_else(|| d.int("/status/readyReplicas"));
    let deployments = context.workloads().deployments_of(component).iter().copied();
    deployments
        .filter(|d| d.get("/status").is_some() && available(d).unwrap_or(0) == 0)
        .filter(|d| !pods.iter().any(|p| p.namespace() == d.namespace() && is_ready(p)))
        .collect()
}

/// Reports a component whose Deployment has no available replica.
fn down(
    context: &Context<'_>,
    rule: &'static Rule,
    component: Component,
    effect: &str,
    findings: &mut Findings,
) {
    let workloads = context.workloads();
    let deployments = workloads.deployments_of(component);
    let pods = workloads.component_pods(component);
    if deployments.is_empty() && pods.is_empty() {
        // Which namespace it should be in, nobody knows; only a whole list proves that there is none.
        if let Err(missing) = context.bundle.collected(&kinds::DEPLOYMENT, None)
            && component == Component::KuadrantOperator
        {
            findings.cannot_tell(rule, missing);
        }
        return;
    }
    for deployment in dead(context, component) {
        let title = format!("{} does not run ({}): {effect}", component.name(), deployment.full_name());
        let draft = findings.report(
            rule,
            deployment,
            title,
            deployment.evidence("/status/availableReplicas"),
            format!("Repair the pods of the {}.", component.name()),
        );
        draft.evidence(deployment.evidence("/spec/replicas"));
        for pod in pods.iter().filter(|p| p.namespace() == deployment.namespace()) {
            draft.object(pod.reference());
            for log in workloads.logs_of(pod) {
                for line in evidence::last_lines(log, 3) {
                    draft.evidence(line);
                }
            }
        }
        draft.because_of(
            &["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"],
            deployment.reference(),
        );
        draft.command(shell!("oc -n {} describe deployment {}", deployment.namespace(), deployment.name()));
        draft.verify(evidence::rollout(deployment));
    }
}

declare_rule! {
    /// Authorino cannot reach its identity server
    ///
    /// ## What it means
    /// Authorino cannot read the issuer's OpenID configuration or keys. Tokens of that issuer are not
    /// accepted: every client gets 401.
    ///
    /// ## How it is decided
    /// An AuthPolicy concerns the MCP gateway, and Authorino's current log has
    /// `failed to discovery openid connect configuration`, or a failing token introspection, with an error of
    /// the network or of TLS (DNS, refused, timeout, no route, connection broken, certificate, plain HTTP,
    /// 5xx), the last time within the hour before the collection, or with tokens refused for
    /// `missing openid connect configuration` within that hour. Or the host of a policy's issuer did not
    /// resolve or answer when it was asked from inside Authorino's pod (`--probe exec`).
    ///
    /// ## Causes
    /// A private name that does not resolve in the cluster, a missing CA, an egress policy, a proxy, an
    /// identity server that is down.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/authorino | grep 'openid connect'`
    ///
    /// ## How to fix
    /// Make the issuer's URL reachable from Authorino's pod: DNS or hostAliases, CA (`spec.volumes` of the
    /// Authorino resource), NetworkPolicy.
    ///
    /// ## When it may be a false alarm
    /// A short outage; the finding gives first and last time. Issuers that no AuthPolicy of the MCP gateway
    /// has are left out, but a failing introspection does not name its issuer.
    pub(super) static IDENTITY_SERVER_UNREACHABLE = {
        code: "MG810", name: "identity-server-unreachable", severity: Error, section: "1.7",
        needs: ["authorino log", "probes", "pods"], since: "0.1.0", caused_by: ["MG232", "MG511"],
        check: identity_server_unreachable,
    }
}

fn identity_server_unreachable(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &IDENTITY_SERVER_UNREACHABLE, findings);
    let policies = auth_policies(context);
    if policies.is_empty() {
        return;
    }
    let mut said = std::collections::BTreeSet::new();
    for (pod, log) in
        context.workloads().component_logs(Component::Authorino).filter(|(_, log)| !log.previous)
    {
        // Authorino tries again with the next token; while that fails, it says so again.
        // Clients that are told of a missing configuration show that it is still missing.
        let missing = "missing openid connect configuration";
        let told = |r: &Record| r.field("reason") == missing && !evidence::is_past(context.now, r);
        let still = log.digest.of("authorino.denied").any(told);
        let lasting = |r: &&Record| still || !evidence::is_past(context.now, r);
        for record in log.digest.records.iter().filter(lasting) {
            let discovery = record.template == "authorino.discovery-failed";
            if !discovery && record.template != "authorino.introspection" {
                continue;
            }
            let class = crate::model::logs::ErrorClass::from_word(record.field("class"));
            use crate::model::logs::ErrorClass as Class;
            let Some(class) = class.filter(|c| {
                matches!(
                    c,
                    Class::Dns
                        | Class::Refused
                        | Class::Timeout
                        | Class::Unreachable
                        | Class::Certificate
                        | Class::Tls
                        | Class::HttpOnHttps
                        | Class::Reset
                        | Class::ServerError
                )
            }) else {
                continue;
            };
            let named = Some(record.field("issuer")).filter(|i| !i.is_empty());
            let of_policy = |issuer: &str| {
                let mut issuers = policies.iter().flat_map(Policy::issuers);
                issuers.any(|(url, _)| issuer.starts_with(url.trim_end_matches('/')))
            };
            // Authorino serves other applications, too, and its log speaks of issuers that no policy has any more.
            if named.is_some_and(|issuer| !of_policy(issuer)) {
                continue;
            }
            let issuer = named.unwrap_or("the issuer");
            said.insert(url_host(issuer).to_owned());
            let title = format!("Authorino cannot reach {issuer}: {}", class.describe());
            let draft = findings.report(
                &IDENTITY_SERVER_UNREACHABLE,
                pod,
                title,
                evidence::record(log, record),
                "Make the issuer reachable from Authorino's pod: name resolution, CA certificate, egress policy.",
            );
            for policy in &policies {
                for (url, pointer) in policy.issuers() {
                    if url == issuer || issuer.starts_with(url) || issuer == "the issuer" {
                        draft.object(policy.object.reference());
                        draft.evidence(policy.object.evidence(&pointer));
                    }
                }
            }
            draft.command(shell!("oc -n {} logs {} | grep 'openid connect'", pod.namespace(), pod.name()));
            if named.is_none() {
                continue;
            }
            draft.verify(shell!("oc -n {} run mcpgw-probe --rm -i --restart=Never --image=registry.access.redhat.com/ubi9/ubi-minimal -- curl -sS {}/.well-known/openid-configuration", pod.namespace(), issuer.trim_end_matches('/').trim_end_matches("/.well-known/openid-configuration")));
        }
    }
    for probe in context.probes() {
        let record = &probe.probe;
        let (host, via) = (&record.request.host, &record.request.via);
        let asked = matches!(record.purpose, Purpose::Dns | Purpose::Https);
        let failed = record.error.as_ref().filter(|fault| asked && fault.is_evidence());
        let Some(fault) = failed else { continue };
        let Some(pod) = context.bundle.get(&kinds::POD, &via.namespace, &via.pod) else { continue };
        let authorino = context.workloads().component_pods(Component::Authorino);
        if !authorino.iter().any(|known| std::ptr::eq(*known, pod)) {
            continue;
        }
        let concerned: Vec<_> = policies
            .iter()
            .flat_map(|policy| policy.issuers().into_iter().map(move |(url, pointer)| (policy, url, pointer)))
            .filter(|(_, url, _)| url_host(url) == host)
            .collect();
        // A name that does not resolve is not reached either: one finding for a host.
        if concerned.is_empty() || !said.insert(host.clone()) {
            continue;
        }
        let draft = findings.report(
            &IDENTITY_SERVER_UNREACHABLE,
            pod,
            format!("Authorino cannot reach {}: {}", concerned[0].1, fault.message),
            probe.error_evidence(),
            "Make the issuer reachable from Authorino's pod: name resolution, CA certificate, egress policy.",
        );
        for (policy, _, pointer) in &concerned {
            draft.object(policy.object.reference()).evidence(policy.object.evidence(pointer));
        }
        draft.command(shell!("oc -n {} logs {} | grep 'openid connect'", pod.namespace(), pod.name()));
        draft.verify("oc mcpgw check --probe exec --only MG810");
    }
}

/// The host in a URL, without port and credentials.
fn url_host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(host, _)| host)
}

declare_rule! {
    /// Kuadrant does not know the Gateway's controller
    ///
    /// ## What it means
    /// The Kuadrant operator enforces policies only on Gateways whose class is of a controller that it knows.
    ///
    /// ## How it is decided
    /// For each Gateway of the MCP gateway with policies: the `controllerName` of its GatewayClass is not in
    /// the operator's variable `ISTIO_GATEWAY_CONTROLLER_NAMES` (comma-separated), and is not Envoy
    /// Gateway's. Without the variable: it is OpenShift's controller (`openshift.io/…`), and a policy of the
    /// Gateway is not `Enforced`.
    ///
    /// ## Causes
    /// OpenShift's own class (`openshift.io/gateway-controller/v1`) with an operator that was configured for
    /// Istio only; a class of another implementation.
    ///
    /// ## How to confirm
    /// `oc get gatewayclasses`, and
    /// `oc -n NAMESPACE set env deployment/kuadrant-operator-controller-manager --list`
    ///
    /// ## How to fix
    /// Add the controller's name to the variable, in the operator's Subscription (`spec.config.env`) where
    /// there is one: OLM undoes a change of the Deployment. The variable replaces the default
    /// `istio.io/gateway-controller`, which the command therefore names, too.
    ///
    /// ## When it may be a false alarm
    /// An operator version that knows the name without being told.
    pub(super) static GATEWAY_CONTROLLER_NOT_KNOWN = {
        code: "MG812", name: "gateway-controller-not-known", severity: Error, section: "1.8",
        needs: ["gatewayclasses", "deployments", "authpolicies", "gateways"], since: "0.1.0", caused_by: [],
        check: gateway_controller_not_known,
    }
}

/// The controller that the operator knows without being told; the variable takes its place.
const KNOWN: &str = "istio.io/gateway-controller";

/// The operator's variable and its pointer.
fn controller_names(operator: &Object) -> Option<(String, String)> {
    operator.array("/spec/template/spec/containers").iter().enumerate().find_map(|(c, container)| {
        let env = container.get("env")?.as_array()?;
        let (e, variable) = env.iter().enumerate().find(|(_, v)| {
            v.get("name").and_then(|n| n.as_str()) == Some("ISTIO_GATEWAY_CONTROLLER_NAMES")
        })?;
        Some((
            variable.get("value")?.as_str()?.to_owned(),
            format!("/spec/template/spec/containers/{c}/env/{e}/value"),
        ))
    })
}

fn gateway_controller_not_known(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &GATEWAY_CONTROLLER_NOT_KNOWN, findings);
    let mut policies: HashMap<_, Vec<&Policy<'_>>> = HashMap::new();
    for policy in context.policies() {
        let target = (policy.target_kind(), policy.object.namespace(), policy.target_name());
        policies.entry(target).or_default().push(policy);
    }
    let Some(operator) = context.workloads().deployments_of(Component::KuadrantOperator).first() else {
        return;
    };
    let names = controller_names(operator);
    for (namespace, name) in &context.chain().gateways {
        let Some(gateway) = context.bundle.get(&kinds::GATEWAY, namespace, name) else { continue };
        let Some(class) =
            context.bundle.get(&kinds::GATEWAY_CLASS, "", gateway.str("/spec/gatewayClassName"))
        else {
            continue;
        };
        let Some(concerned) = policies.get(&(gateway.kind(), *namespace, *name)) else { continue };
        let controller = class.str("/spec/controllerName");
        let unenforced =
            concerned.iter().any(|p| !p.object.condition("Enforced").is_some_and(|c| c.is_true()));
        let known = match &names {
            Some((list, _)) => {
                list.split(',').any(|n| n.trim() == controller)
                    || controller.starts_with("gateway.envoyproxy.io/")
            }
            None => !(controller.starts_with("openshift.io/") && unenforced),
        };
        if known || controller.is_empty() {
            continue;
        }
        let title =
            format!("Kuadrant does not know {controller}, the controller of Gateway {}", gateway.full_name());
        let evidence: Evidence = names.as_ref().map_or_else(
            || operator.evidence("/spec/template/spec/containers/0/env"),
            |(_, pointer)| operator.evidence(pointer),
        );
        let draft = findings.report(
            &GATEWAY_CONTROLLER_NOT_KNOWN,
            gateway,
            title,
            class.evidence("/spec/controllerName"),
            format!("Add {controller} to ISTIO_GATEWAY_CONTROLLER_NAMES of the Kuadrant operator."),
        );
        draft.evidence(evidence).object(class.reference()).object(operator.reference());
        for policy in concerned {
            draft.object(policy.object.reference());
        }
        let list = names
            .as_ref()
            .map_or_else(|| format!("{KNOWN},{controller}"), |(list, _)| format!("{list},{controller}"));
        draft.command(shell!(
            "oc -n {} set env deployment/{} ISTIO_GATEWAY_CONTROLLER_NAMES={}",
            operator.namespace(),
            operator.name(),
            list
        ));
        draft.verify(shell!("oc -n {} get authpolicy -o wide", namespace));
    }
}
