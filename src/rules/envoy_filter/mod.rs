//! MG219-MG222, MG227, MG233: the EnvoyFilter that puts the router into the gateway's proxy.

mod drift;

use super::{Context, Findings, Rule, suggest};
use crate::declare_rule;
use crate::model::istio::envoy_filter::{filter_name, is_managed, router_patches, workload_labels};
use crate::model::kinds;
use crate::model::workloads::is_ready;
use crate::shell::shell;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &drift::ENVOYFILTER_CREATE_FAILED,
    &ENVOYFILTER_MISSING,
    &ENVOYFILTER_SELECTOR,
    &ENVOYFILTER_PORT,
    &drift::ENVOYFILTER_DRIFT,
    &drift::ENVOYFILTER_ORPHANED,
];

declare_rule! {
    /// An extension's EnvoyFilter is absent
    ///
    /// ## What it means
    /// The EnvoyFilter is what makes the gateway's Envoy ask the router about each request. Without it MCP
    /// requests pass the proxy unrouted: `initialize` may work, `tools/call` does not.
    ///
    /// ## How it is decided
    /// For every MCPGatewayExtension that is at least two minutes old, is not being deleted, and whose
    /// evaluation finds nothing wrong: an EnvoyFilter with the extension's labels
    /// (`mcp.kuadrant.io/extension-namespace` and `-name`), or without them and with the name
    /// `mcp-ext-proc-NAMESPACE-gateway`, is looked for in all namespaces. One in a wrong namespace is MG221.
    /// While the extension has an earlier fault (its broker is not ready, for example) the filter is not
    /// expected: the controller writes it last. While something of the extension cannot be judged this stays
    /// undecided.
    ///
    /// ## Causes
    /// It was deleted and the controller is down; the controller may not write EnvoyFilters in the Gateway's
    /// namespace (MG219); the EnvoyFilter API is not installed (MG003).
    ///
    /// ## How to confirm
    /// `oc get envoyfilters -A -l app.kubernetes.io/managed-by=mcp-gateway-controller`, and the controller's
    /// log for `failed to create envoy filter`.
    ///
    /// ## How to fix
    /// Repair the controller, then make it reconcile:
    /// `oc -n NAMESPACE annotate mcpgatewayextension NAME oc-mcpgw/touched="$(date -u +%s)" --overwrite`.
    ///
    /// ## When it may be a false alarm
    /// A filter that was made by hand, under another name and without the extension's labels, does the work.
    static ENVOYFILTER_MISSING = {
        code: "MG220", name: "envoyfilter-missing", severity: Error, section: "1.2.3",
        needs: ["envoyfilters", "mcpgatewayextensions", "gateways"], since: "0.1.0",
        caused_by: ["MG219", "MG003", "MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"],
        versions: "from 0.5.1 on, where the controller writes the EnvoyFilter",
        check: envoyfilter_missing,
    }
}

fn envoyfilter_missing(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let Some(gateway) = extension.meant_gateway else { continue };
        let object = extension.object;
        if !extension.faults.is_empty() || object.is_deleting() || context.is_younger(object, 120) {
            continue;
        }
        if context.filters_of(extension).next().is_some() {
            continue;
        }
        let namespace = gateway.namespace();
        if let Err(missing) = context.bundle.collected(&kinds::ENVOY_FILTER, Some(namespace)) {
            findings.cannot_tell(&ENVOYFILTER_MISSING, missing);
            continue;
        }
        if !extension.unknown.is_empty() {
            for (_, missing) in &extension.unknown {
                findings.cannot_tell(&ENVOYFILTER_MISSING, missing.clone());
            }
            continue;
        }
        let name = filter_name(object.namespace());
        let filter = suggest::reference(&kinds::ENVOY_FILTER, namespace, &name);
        let ready = extension.ready();
        let pointer =
            ready.map_or("/status/conditions".to_owned(), |c| format!("/status/conditions/{}", c.index));
        let draft = findings
            .report_on(
                &ENVOYFILTER_MISSING,
                object.reference(),
                format!(
                    "EnvoyFilter {namespace}/{name} of MCPGatewayExtension {} does not exist",
                    object.full_name()
                ),
                object.evidence(&pointer),
                "Make the controller write it again: see its log for the reason, then touch the extension.",
            )
            .object(filter)
            .object(gateway.reference())
            .evidence(object.evidence("/spec/targetRef"))
            .command(shell!(
                "oc -n {} annotate mcpgatewayextension {} oc-mcpgw/touched=\"$(date -u +%s)\" --overwrite",
                object.namespace(),
                object.name()
            ))
            .verify(shell!("oc -n {} get envoyfilter {}", namespace, name));
        suggest::api_missing(context, draft, &kinds::ENVOY_FILTER);
    }
}

declare_rule! {
    /// An extension's EnvoyFilter selects no proxy of the Gateway
    ///
    /// ## What it means
    /// The EnvoyFilter exists and has no effect: istiod applies it only to pods of its own namespace (or of
    /// all namespaces from the root namespace) whose labels contain its `workloadSelector`. Requests bypass
    /// the router.
    ///
    /// ## How it is decided
    /// For each EnvoyFilter of an extension (by its labels, else by its name): its namespace must be the
    /// Gateway's, unless another filter of the extension is there; and there its `workloadSelector.labels`
    /// must be among the labels of at least one proxy pod of the Gateway. A filter without selector takes all
    /// pods of its namespace, and one with `targetRefs` is not judged by its selector. While the Gateway has
    /// no pod that is the fault (MG208).
    ///
    /// ## Causes
    /// The filter was edited or copied into another namespace; the extension was pointed at another Gateway;
    /// the Gateway's pods lost the label `gateway.networking.k8s.io/gateway-name` (a hand-made Deployment).
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get pods --show-labels`, and compare with
    /// `oc -n NAMESPACE get envoyfilter NAME -o jsonpath='{.spec.workloadSelector}'`.
    ///
    /// ## How to fix
    /// See that the controller runs, then delete the filter: the controller writes it again as it must be.
    /// Touch the extension if it does not.
    ///
    /// ## When it may be a false alarm
    /// A filter in Istio's root namespace has effect in all namespaces; it is reported all the same.
    static ENVOYFILTER_SELECTOR = {
        code: "MG221", name: "envoyfilter-selector", severity: Error, section: "1.2.3",
        needs: ["envoyfilters", "pods", "mcpgatewayextensions", "gateways"], since: "0.1.0",
        caused_by: ["MG208"], versions: "from 0.5.1 on, where the controller writes the EnvoyFilter",
        check: envoyfilter_selector,
    }
}

fn envoyfilter_selector(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let Some(gateway) = extension.meant_gateway else { continue };
        let filters: Vec<_> = context.filters_of(extension).collect();
        let in_place = filters.iter().any(|f| f.namespace() == gateway.namespace());
        for filter in filters {
            let namespace = gateway.namespace();
            if filter.namespace() != namespace {
                // The Gateway's own filter does the work; a stray copy does not matter.
                if in_place {
                    continue;
                }
                findings
                    .report(
                        &ENVOYFILTER_SELECTOR,
                        filter,
                        format!(
                            "EnvoyFilter {} is not in the namespace of Gateway {}",
                            filter.full_name(),
                            gateway.full_name()
                        ),
                        filter.evidence("/metadata/namespace"),
                        "Delete the filter; the controller writes it into the Gateway's namespace.",
                    )
                    .object(gateway.reference())
                    .object(extension.object.reference())
                    .evidence(extension.object.evidence("/spec/targetRef/namespace"))
                    .command(shell!("oc -n {} delete envoyfilter {}", filter.namespace(), filter.name()))
                    .verify(shell!("oc -n {} get envoyfilter {}", namespace, filter.name()));
                continue;
            }
            let Some(selector) = workload_labels(filter) else { continue };
            let pods = context.workloads().gateway_pods(gateway);
            if pods.is_empty() {
                if let Err(missing) = context.bundle.collected(&kinds::POD, Some(namespace)) {
                    findings.cannot_tell(&ENVOYFILTER_SELECTOR, missing);
                }
                // Without any pod MG208 is the fault.
                continue;
            }
            let selected = context.workloads().pods_matching(namespace, selector);
            if pods.iter().any(|pod| selected.iter().any(|other| std::ptr::eq(*other, *pod))) {
                continue;
            }
            let pod = pods.iter().copied().find(|pod| is_ready(pod)).unwrap_or(pods[0]);
            findings
                .report(
                    &ENVOYFILTER_SELECTOR,
                    filter,
                    format!(
                        "EnvoyFilter {} selects no proxy pod of Gateway {}",
                        filter.full_name(),
                        gateway.full_name()
                    ),
                    filter.evidence("/spec/workloadSelector/labels"),
                    format!(
                        "Delete the filter; the controller writes it again with the selector \
                         gateway.networking.k8s.io/gateway-name={}.",
                        gateway.name()
                    ),
                )
                .object(gateway.reference())
                .object(extension.object.reference())
                .evidence(pod.evidence("/metadata/labels"))
                .command(shell!("oc -n {} delete envoyfilter {}", namespace, filter.name()))
                .verify(shell!(
                    "oc -n {} get envoyfilter {} -o jsonpath='{{.spec.workloadSelector}}'",
                    namespace,
                    filter.name()
                ));
        }
    }
}

declare_rule! {
    /// An extension's EnvoyFilter patches another port
    ///
    /// ## What it means
    /// The filter's `match.listener.portNumber` is not the port of the listener that the extension targets,
    /// so that the router is put into another listener or into none.
    ///
    /// ## How it is decided
    /// Every ext_proc patch of the extension's EnvoyFilters in the Gateway's namespace against
    /// `spec.listeners[].port` of the targeted listener; where the target has a wrong name, of the listener
    /// that it most likely means. A patch without `portNumber` is for all ports and left out, and so are
    /// filters that the controller does not manage.
    ///
    /// ## Causes
    /// The listener's port was changed and the controller has not reconciled; the filter was edited.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get envoyfilter NAME -o yaml` and compare with the Gateway's listener.
    ///
    /// ## How to fix
    /// See that the controller runs, then delete the filter: the controller writes it again. Touch the
    /// extension if it does not.
    ///
    /// ## When it may be a false alarm
    /// The listener's port was changed seconds ago. Whether the live proxy has the filter is MG223.
    static ENVOYFILTER_PORT = {
        code: "MG222", name: "envoyfilter-port", severity: Error, section: "1.2.3",
        needs: ["envoyfilters", "gateways", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: [], versions: "from 0.5.1 on, where the controller writes the EnvoyFilter",
        check: envoyfilter_port,
    }
}

fn envoyfilter_port(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let (Some(gateway), Some(listener)) = (extension.meant_gateway, extension.meant_listener) else {
            continue;
        };
        for filter in context.filters_of(extension) {
            if filter.namespace() != gateway.namespace() || !is_managed(filter) {
                continue;
            }
            for (pointer, port) in router_patches(filter) {
                let Some(port) = port.filter(|port| *port != listener.port) else { continue };
                findings
                    .report(
                        &ENVOYFILTER_PORT,
                        filter,
                        format!(
                            "EnvoyFilter {} patches port {port}, but listener {} of Gateway {} is on port {}",
                            filter.full_name(),
                            listener.name,
                            gateway.full_name(),
                            listener.port
                        ),
                        filter.evidence(&format!("{pointer}/match/listener/portNumber")),
                        "Delete the filter; the controller writes it again for the right port.",
                    )
                    .object(gateway.reference())
                    .object(extension.object.reference())
                    .evidence(gateway.evidence(&listener.pointer("/port")))
                    .command(shell!("oc -n {} delete envoyfilter {}", filter.namespace(), filter.name()))
                    .verify(shell!("oc -n {} get envoyfilter {} -o jsonpath='{{.spec.configPatches[*].match.listener.portNumber}}'", filter.namespace(), filter.name()));
            }
        }
    }
}
