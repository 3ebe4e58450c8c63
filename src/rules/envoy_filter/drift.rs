//! MG219, MG227, MG233: EnvoyFilters that cannot be written, differ, or are left behind.
use crate::declare_rule;
use crate::model::istio::envoy_filter::{is_managed, owner, router_patches};
use crate::model::json::Value;
use crate::model::logs::Record;
use crate::model::mcp::Extension;
use crate::model::workloads::Component;
use crate::model::{Bundle, Object, Seen, kinds};
use crate::rules::proxy::other_revision;
use crate::rules::{Context, Findings, evidence, suggest};
use crate::shell::shell;

/// How many updates of one filter in the kept log make a loop.
const LOOP: u64 = 20;

declare_rule! {
    /// The controller cannot write an EnvoyFilter
    ///
    /// ## What it means
    /// The MCP controller's log shows errors when it creates or updates the EnvoyFilter of an extension. This
    /// never reaches the extension's status.
    ///
    /// ## How it is decided
    /// Records of the controller's log (the current and the previous one) about EnvoyFilters: `failed to
    /// create envoy filter`, `failed to update envoy filter`, or a reconciler error that names one. They
    /// count while the extension's filter is absent, or when the last of them has the time of the last line
    /// of the present run's log. A record that names no extension is taken for that of the only one.
    /// Without a log of the controller this stays undecided.
    ///
    /// ## Causes
    /// The controller may not write EnvoyFilters in the Gateway's namespace (RBAC); the EnvoyFilter API is
    /// not installed (MG003); a webhook of Istio refuses it.
    ///
    /// ## How to confirm
    /// `oc -n CONTROLLER_NAMESPACE logs deployment/mcp-gateway-controller | grep -i 'envoy *filter'`, and
    /// for RBAC `oc auth can-i create envoyfilters.networking.istio.io -n GATEWAY_NAMESPACE
    /// --as=system:serviceaccount:CONTROLLER_NAMESPACE:ACCOUNT`. The account is that of the controller's
    /// pod.
    ///
    /// ## How to fix
    /// By the error: install Istio, or repair the webhook. For RBAC restore the controller's own
    /// ClusterRole and binding from its installation; the commands of the finding make a role and a binding
    /// of their own for EnvoyFilters, which stay when the controller is removed. They are for the account
    /// of the controller's pod.
    ///
    /// ## When it may be a false alarm
    /// A conflict on update is retried and harmless; it is not counted while the filter exists and the log
    /// goes on after it.
    pub(super) static ENVOYFILTER_CREATE_FAILED = {
        code: "MG219", name: "envoyfilter-create-failed", severity: Error, section: "1.2.3",
        needs: ["controller log", "envoyfilters", "mcpgatewayextensions", "pods"], since: "0.1.0",
        caused_by: ["MG003"], versions: "from 0.5.1 on, where the controller writes the EnvoyFilter",
        check: envoyfilter_create_failed,
    }
}

fn envoyfilter_create_failed(context: &Context<'_>, findings: &mut Findings) {
    let workloads = context.workloads();
    if context.chain().extensions.is_empty() {
        return;
    }
    let pods = workloads.component_pods(Component::Controller);
    if !pods.is_empty() && workloads.component_logs(Component::Controller).next().is_none() {
        let pod = pods[0];
        findings.cannot_tell(
            &ENVOYFILTER_CREATE_FAILED,
            crate::model::Missing {
                what: format!("the log of the MCP gateway's controller {}", pod.full_name()),
                how: shell!("oc -n {} logs {} --all-containers", pod.namespace(), pod.name()),
            },
        );
        return;
    }
    for (pod, log) in workloads.component_logs(Component::Controller) {
        for record in log.digest.of("controller.envoyfilter-error") {
            let named = (record.field("namespace"), record.field("name"));
            let all = &context.chain().extensions;
            let extension = all
                .iter()
                .find(|e| (e.object.namespace(), e.object.name()) == named)
                .or_else(|| all.first().filter(|_| all.len() == 1));
            let Some(extension) = extension else { continue };
            let absent = context.filters_of(extension).next().is_none();
            let ongoing =
                !log.previous && record.last_time.is_some() && record.last_time == log.digest.last_time;
            if !absent && !ongoing {
                continue;
            }
            let object = extension.object;
            let forbidden = record.sample.contains("forbidden") || record.field("class") == "forbidden";
            let remedy = if forbidden {
                "The controller may not write EnvoyFilters there: restore its ClusterRole and binding."
            } else {
                "Follow the message of the log: the controller retries by itself once the cause is gone."
            };
            let namespace = extension.target().0;
            let draft = findings.report(
                &ENVOYFILTER_CREATE_FAILED,
                object,
                format!(
                    "The controller cannot write the EnvoyFilter of MCPGatewayExtension {}",
                    object.full_name()
                ),
                evidence::record(log, record),
                remedy,
            );
            suggest::api_missing(context, draft, &kinds::ENVOY_FILTER);
            let account = match pod.str("/spec/serviceAccountName") {
                "" => "mcp-controller",
                name => name,
            };
            let account = format!("{}:{account}", log.namespace);
            if forbidden {
                draft
                    .command(
                        "oc create clusterrole mcp-controller-envoyfilters --verb=get,list,watch,create,update,patch,delete \
                         --resource=envoyfilters.networking.istio.io",
                    )
                    .command(shell!("oc create clusterrolebinding mcp-controller-envoyfilters \
                         --clusterrole=mcp-controller-envoyfilters --serviceaccount={}", account.as_str()));
            }
            draft
                .command(shell!(
                    "oc auth can-i create envoyfilters.networking.istio.io -n {} \
                     --as={}",
                    namespace,
                    format!("system:serviceaccount:{account}")
                ))
                .verify(shell!(
                    "oc get envoyfilters -n {} -l app.kubernetes.io/managed-by=mcp-gateway-controller",
                    namespace
                ));
        }
    }
}

declare_rule! {
    /// A managed EnvoyFilter differs from what the controller writes
    ///
    /// ## What it means
    /// Somebody else changes the EnvoyFilter: a hand, or a tool that syncs it from Git. Either the change
    /// weakens it (with `failure_mode_allow: true` requests pass unrouted while the broker is away), or two
    /// writers fight over it.
    ///
    /// ## How it is decided
    /// There are three findings of this code:
    ///
    /// - The ext_proc patch of each filter of an extension differs in what all versions of the controller
    ///   write: `operation: INSERT_FIRST`, `context: GATEWAY`, `failure_mode_allow: false`,
    ///   `mutation_rules.allow_all_routing: true`, `message_timeout: 10s`, `processing_mode` with
    ///   `request_header_mode: SEND` and a `request_body_mode` that hands the body over (`BUFFERED` or, in
    ///   0.6 and 0.7, `STREAMED`), and the cluster of the broker of its extension. Other fields are not
    ///   compared.
    /// - Its label `istio.io/rev` is not the Gateway's, or no istiod has this revision. Without the
    ///   configuration dump of any proxy this is MG223 instead.
    /// - A log of the controller has more than 20 updates of one filter, over whatever time it covers.
    ///
    /// ## Causes
    /// GitOps over a generated object; a manual change while debugging.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get envoyfilter NAME -o yaml --show-managed-fields` names the writers.
    ///
    /// ## How to fix
    /// Take the filter out of the tool that writes it, see that the controller runs, then delete the filter;
    /// the controller makes it again. For the revision, label the Gateway with that of its istiod.
    ///
    /// ## When it may be a false alarm
    /// A later version of the controller may write other values. A log of many weeks may hold more than 20
    /// updates that were meant.
    pub(super) static ENVOYFILTER_DRIFT = {
        code: "MG227", name: "envoyfilter-drift", severity: Warning, section: "1.2.3",
        needs: [
            "envoyfilters", "controller log", "mcpgatewayextensions", "gateways", "pods", "deployments",
            "mcpgw/envoy config_dump",
        ], since: "0.1.0",
        caused_by: ["MG221", "MG222", "MG223", "MG310"], versions: "from 0.5.1 on, where the controller writes the EnvoyFilter",
        check: envoyfilter_drift,
    }
}

/// Proxies may still have a filter that istiod no longer reads.
fn relabelled(context: &Context<'_>, findings: &mut Findings, extension: &Extension<'_>, filter: &Object) {
    let Some(gateway) = extension.meant_gateway else { return };
    let group = context.proxies_of(gateway);
    // Without a look into Envoy this is all that is known, and a fault of the router (MG223).
    if !group.is_some_and(|group| group.proxies.iter().any(|proxy| proxy.dump().is_ok())) {
        return;
    }
    let Some((why, evidence)) = other_revision(context, gateway, filter) else { return };
    findings
        .report(
            &ENVOYFILTER_DRIFT,
            filter,
            format!("{why}: istiod no longer reads it"),
            evidence,
            "Delete the filter, the controller writes it again; label the Gateway with the revision of its istiod.",
        )
        .object(extension.object.reference())
        .because_of(&["MG223"], extension.object.reference())
        .command(shell!("oc -n {} delete envoyfilter {}", filter.namespace(), filter.name()))
        .verify(shell!(
            "oc -n {} get envoyfilter {} -o jsonpath='{{.metadata.labels}}'",
            filter.namespace(),
            filter.name()
        ));
}

fn envoyfilter_drift(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let namespace = extension.object.namespace();
        let cluster = format!("outbound|50051||mcp-gateway.{namespace}.svc.cluster.local");
        for filter in context.filters_of(extension) {
            relabelled(context, findings, extension, filter);
            for (patch, _) in router_patches(filter) {
                let config = format!("{patch}/patch/value/typed_config");
                let wanted = [
                    (format!("{patch}/patch/operation"), Value::from("INSERT_FIRST")),
                    (format!("{patch}/match/context"), Value::from("GATEWAY")),
                    (format!("{config}/failure_mode_allow"), Value::from(false)),
                    (format!("{config}/mutation_rules/allow_all_routing"), Value::from(true)),
                    (format!("{config}/grpc_service/envoy_grpc/cluster_name"), Value::from(cluster.as_str())),
                    (format!("{config}/message_timeout"), Value::from("10s")),
                    (format!("{config}/processing_mode/request_header_mode"), Value::from("SEND")),
                    (format!("{config}/processing_mode/request_body_mode"), Value::from("BUFFERED")),
                ];
                let absent = Value::Bool(false);
                let off: Vec<&(String, Value)> = wanted
                    .iter()
                    // An absent boolean is false.
                    .filter(|(pointer, value)| {
                        let own = filter.get(pointer).unwrap_or(&absent);
                        let streamed =
                            pointer.ends_with("/request_body_mode") && own.as_str() == Some("STREAMED");
                        own != value && !streamed
                    })
                    .collect();
                let Some((pointer, value)) = off.first() else { continue };
                let field = pointer.rsplit('/').next().unwrap_or_default();
                let draft = findings.report(
                    &ENVOYFILTER_DRIFT,
                    filter,
                    format!("EnvoyFilter {} was changed: {field} is not {value}", filter.full_name()),
                    filter.evidence(pointer),
                    "Delete the filter, the controller writes it again; take it out of whatever else writes it.",
                );
                for (pointer, _) in &off[1..] {
                    draft.evidence(filter.evidence(pointer));
                }
                draft
                    .object(extension.object.reference())
                    .command(shell!("oc -n {} delete envoyfilter {}", filter.namespace(), filter.name()))
                    .verify(shell!(
                        "oc -n {} get envoyfilter {} -o yaml --show-managed-fields",
                        filter.namespace(),
                        filter.name()
                    ));
            }
        }
    }
    for (_, log) in context.workloads().component_logs(Component::Controller) {
        let updates: Vec<&Record> = log.digest.of("controller.envoyfilter-update").collect();
        for record in updates.into_iter().filter(|r| r.count > LOOP) {
            let Some(extension) = context.chain().extensions.iter().find(|e| {
                (e.object.namespace(), e.object.name()) == (record.field("namespace"), record.field("name"))
            }) else {
                continue;
            };
            findings
                .report(
                    &ENVOYFILTER_DRIFT,
                    extension.object,
                    format!(
                        "The EnvoyFilter of MCPGatewayExtension {} is updated again and again ({} times)",
                        extension.object.full_name(),
                        record.count
                    ),
                    evidence::record(log, record),
                    "Two writers fight over the filter: take it out of whatever else writes it.",
                )
                .command("oc get envoyfilters -A -l app.kubernetes.io/managed-by=mcp-gateway-controller -o yaml --show-managed-fields");
        }
    }
}

declare_rule! {
    /// A managed EnvoyFilter is left behind
    ///
    /// ## What it means
    /// The extension of this EnvoyFilter no longer exists, but the filter does, and it fails closed: every
    /// request on its port is answered with 500, because the router's Service is gone.
    ///
    /// ## How it is decided
    /// EnvoyFilters with the label `app.kubernetes.io/managed-by: mcp-gateway-controller`, or with a name
    /// that starts with `mcp-ext-proc-`, whose labels name an MCPGatewayExtension that does not exist.
    /// Without these labels the name tells: `mcp-ext-proc-NAMESPACE-gateway`, for a namespace without any
    /// extension. While the extensions of that namespace were not collected this stays undecided.
    ///
    /// ## Causes
    /// The extension or its namespace was deleted by force, so that its finalizer did not run; the controller
    /// was removed first.
    ///
    /// ## How to confirm
    /// `oc get mcpgatewayextensions -A`, and compare with
    /// `oc -n NAMESPACE get envoyfilter NAME --show-labels`.
    ///
    /// ## How to fix
    /// Delete the EnvoyFilter.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static ENVOYFILTER_ORPHANED = {
        code: "MG233", name: "envoyfilter-orphaned", severity: Error, section: "1.2.3",
        needs: ["envoyfilters", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: ["MG003"], versions: "from 0.5.1 on, where the controller writes the EnvoyFilter",
        check: envoyfilter_orphaned,
    }
}

/// The namespace that a managed filter's name was made for.
fn named_for(filter: &Object) -> Option<&str> {
    filter.name().strip_prefix("mcp-ext-proc-")?.strip_suffix("-gateway")
}

fn lookup<'a>(bundle: &'a Bundle, filter: &Object) -> Option<(Seen<'a>, String)> {
    if let Some((namespace, name)) = owner(filter) {
        let seen = bundle.find(&kinds::MCP_GATEWAY_EXTENSION, namespace, name);
        return Some((seen, format!("{namespace}/{name}")));
    }
    let namespace = named_for(filter)?;
    let seen = match bundle.list_in(&kinds::MCP_GATEWAY_EXTENSION, namespace).next() {
        Some(extension) => Seen::Found(extension),
        None => match bundle.collected(&kinds::MCP_GATEWAY_EXTENSION, Some(namespace)) {
            Ok(()) => Seen::Absent,
            Err(missing) => Seen::Unknown(missing),
        },
    };
    Some((seen, format!("of namespace {namespace}")))
}

fn envoyfilter_orphaned(context: &Context<'_>, findings: &mut Findings) {
    for filter in context.bundle.list(&kinds::ENVOY_FILTER).filter(|f| is_managed(f)) {
        let Some((seen, who)) = lookup(context.bundle, filter) else { continue };
        match seen {
            Seen::Found(_) => {}
            Seen::Unknown(missing) => findings.cannot_tell(&ENVOYFILTER_ORPHANED, missing),
            Seen::Absent => {
                let draft = findings.report(
                    &ENVOYFILTER_ORPHANED,
                    filter,
                    format!(
                        "EnvoyFilter {} is left over: its MCPGatewayExtension {who} does not exist",
                        filter.full_name()
                    ),
                    filter.evidence("/metadata/labels"),
                    "Delete the filter: it makes every request on its port fail.",
                );
                suggest::api_missing(context, draft, &kinds::MCP_GATEWAY_EXTENSION);
                draft
                    .command(shell!("oc -n {} delete envoyfilter {}", filter.namespace(), filter.name()))
                    .verify(shell!("oc -n {} get envoyfilters", filter.namespace()));
            }
        }
    }
}
