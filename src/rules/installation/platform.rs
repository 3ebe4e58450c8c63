//! MG004-MG007: versions, clocks, the operators' state, logs that say too much.

use serde_json::json;

use super::skew::{Skew, skewed_proxy, tag};
use crate::declare_rule;
use crate::model::json::Value;
use crate::model::mcp::extension;
use crate::model::workloads::Component;
use crate::model::{Object, kinds};
use crate::rules::{Context, Findings};
use crate::rules::{evidence, remedy};
use crate::shell::{Command, shell};

declare_rule! {
    /// A version is not supported
    ///
    /// ## What it means
    /// A part is older than what the MCP gateway works with, or of another line of products: faults may come from
    /// that and have no other repair than an upgrade.
    ///
    /// ## How it is decided
    /// One of: OpenShift older than 4.16; Kubernetes older than 1.28; istiod older than 1.24; a
    /// ServiceMeshControlPlane (OSSM 2) and no Istio resource of OSSM 3 nor any other istiod; a proxy of the Gateway that is
    /// newer than every istiod, or more than one minor version older; objects of group `mcp.kagenti.com`; extensions
    /// whose kind has no `sectionName` yet (the MCP gateway until 0.5.0); an object
    /// applied as `mcp.kuadrant.io/v1alpha1` although the cluster no longer serves that version.
    ///
    /// ## Causes
    /// An upgrade that was not done, or done in part; old manifests in Git.
    ///
    /// ## How to confirm
    /// `oc version`, `oc get crd mcpgatewayextensions.mcp.kuadrant.io -o jsonpath='{.spec.versions[*].name}'`
    ///
    /// ## How to fix
    /// Upgrade the part; change manifests to `mcp.kuadrant.io/v1`.
    ///
    /// ## When it may be a false alarm
    /// A vendor that supports the version on its own.
    pub(super) static UNSUPPORTED_VERSION = {
        code: "MG004", name: "unsupported-version", severity: Warning, section: "1.1",
        needs: ["nodes (and clusterversions)", "deployments", "customresourcedefinitions", "pods"], since: "0.1.0", caused_by: [],
        versions: "every supported version; after 0.9.0 `v1alpha1` is no longer served",
        check: unsupported_version,
    }
}

/// The first two numbers of a version, `v1.34.1+k3s` as (1, 34).
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').split(['.', '-', '+', '_']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn unsupported_version(context: &Context<'_>, findings: &mut Findings) {
    let bundle = context.bundle;
    let mut old = |object: &Object, pointer: &str, title: String, remedy: &str, command: Command| {
        findings
            .report(&UNSUPPORTED_VERSION, object, title, object.evidence(pointer), remedy)
            .command(command.clone())
            .verify(command);
    };
    for cluster in bundle.list(&kinds::CLUSTER_VERSION) {
        let text = cluster.str("/status/desired/version");
        if version(text).is_some_and(|v| v < (4, 16)) {
            old(
                cluster,
                "/status/desired/version",
                format!("OpenShift {text} is older than 4.16"),
                "Upgrade OpenShift.",
                "oc version".into(),
            );
        }
    }
    let oldest = bundle
        .list(&kinds::NODE)
        .filter_map(|node| Some((version(node.str("/status/nodeInfo/kubeletVersion"))?, node)))
        .min_by_key(|(v, node)| (*v, node.name().to_owned()));
    if let Some((_, node)) = oldest.filter(|(v, _)| *v < (1, 28)) {
        let text = node.str("/status/nodeInfo/kubeletVersion");
        old(
            node,
            "/status/nodeInfo/kubeletVersion",
            format!("Kubernetes {text} is older than 1.28"),
            "Upgrade the cluster.",
            "oc get nodes".into(),
        );
    }
    for istiod in context.workloads().deployments_of(Component::Istiod) {
        for (index, container) in istiod.array("/spec/template/spec/containers").iter().enumerate() {
            let tag = tag(container);
            if container.get("name").and_then(Value::as_str) == Some("discovery")
                && version(tag).is_some_and(|v| v < (1, 24))
            {
                old(
                    istiod,
                    &format!("/spec/template/spec/containers/{index}/image"),
                    format!("Istio {tag} is older than 1.24"),
                    "Upgrade Istio (OpenShift Service Mesh 3).",
                    shell!("oc -n {} get deployment {} -o wide", istiod.namespace(), istiod.name()),
                );
            }
        }
    }
    if let Some(Skew { proxy, pointer, title, restart }) = skewed_proxy(context) {
        let remedy = "Restart the Gateway's proxies, so that they have the version of istiod.";
        old(proxy, &pointer, title, remedy, restart);
    }
    // Without an Istio resource the control plane may still be another: that of OpenShift's own gateways.
    let others = context.workloads().deployments_of(Component::Istiod).iter();
    let only_old = others.clone().all(|istiod| istiod.label("maistra-version").is_some());
    if bundle.list(&kinds::ISTIO).next().is_none()
        && only_old
        && let Some(mesh) = bundle.list(&kinds::SERVICE_MESH_CONTROL_PLANE).next()
    {
        old(
            mesh,
            "/spec/version",
            format!(
                "The service mesh {} is OpenShift Service Mesh 2, which the MCP gateway does not support",
                mesh.full_name()
            ),
            "Move to OpenShift Service Mesh 3.",
            "oc get istio".into(),
        );
    }
    let legacy: Vec<String> = bundle
        .kinds()
        .filter(|(group, _)| *group == "mcp.kagenti.com")
        .map(|(_, kind)| kind.to_owned())
        .collect();
    for kind in legacy {
        if let Some(object) = bundle.list_dynamic("mcp.kagenti.com", &kind).next() {
            old(
                object,
                "/apiVersion",
                format!(
                    "{kind} {} is of group mcp.kagenti.com, which no supported version reads",
                    object.full_name()
                ),
                "Create it anew as mcp.kuadrant.io/v1.",
                "oc api-resources --api-group=mcp.kagenti.com".into(),
            );
        }
    }
    for kind in [&kinds::MCP_GATEWAY_EXTENSION, &kinds::MCP_SERVER_REGISTRATION, &kinds::MCP_VIRTUAL_SERVER] {
        let Some(definition) = bundle.get(&kinds::CUSTOM_RESOURCE_DEFINITION, "", &kind.resource()) else {
            continue;
        };
        let unserved: Vec<&str> = definition
            .array("/spec/versions")
            .iter()
            .filter(|v| v.get("served").and_then(Value::as_bool) == Some(false))
            .filter_map(|v| v.get("name")?.as_str())
            .collect();
        for object in bundle.list(kind) {
            let applied =
                object.annotation("kubectl.kubernetes.io/last-applied-configuration").unwrap_or_default();
            let stale = unserved.iter().find(|v| applied.contains(&format!("{}/{v}\"", kind.group)));
            if let Some(stale) = stale {
                old(
                    object,
                    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
                    format!(
                        "{} {} was applied as {stale}, which the cluster no longer serves",
                        kind.kind,
                        object.full_name()
                    ),
                    "Change the manifest to apiVersion mcp.kuadrant.io/v1.",
                    shell!("oc get crd {} -o jsonpath='{{.spec.versions[*].name}}'", kind.resource()),
                );
            }
        }
    }
    for extension in bundle.list(&kinds::MCP_GATEWAY_EXTENSION) {
        if extension.str("/spec/targetRef/sectionName").is_empty()
            && !extension::names_listeners(bundle, extension)
        {
            old(
                extension,
                "/spec/targetRef",
                format!(
                    "MCPGatewayExtension {} names no listener: the MCP gateway is older than 0.5.1",
                    extension.full_name()
                ),
                "Upgrade the MCP gateway.",
                shell!("oc get crd {} -o yaml", kinds::MCP_GATEWAY_EXTENSION.resource()),
            );
        }
    }
    if bundle.list(&kinds::NODE).next().is_none()
        && bundle.list(&kinds::CLUSTER_VERSION).next().is_none()
        && let Err(missing) = bundle.collected(&kinds::NODE, None)
    {
        findings.cannot_tell(&UNSUPPORTED_VERSION, missing);
    }
}

declare_rule! {
    /// Clocks differ
    ///
    /// ## What it means
    /// Times from different places cannot be compared, tokens are rejected as expired or not yet valid, certificates
    /// too.
    ///
    /// ## How it is decided
    /// The last line of a container's log, or the last heartbeat of a node, lies more than 60 s after the time at which
    /// the evidence was collected. Times before it prove nothing: something may just have been quiet.
    ///
    /// ## Causes
    /// A node without time synchronisation; a wrong clock of the machine that collected.
    ///
    /// ## How to confirm
    /// `oc debug node/NODE -- chroot /host chronyc tracking`
    ///
    /// ## How to fix
    /// Repair time synchronisation.
    ///
    /// ## When it may be a false alarm
    /// The collection took long: its time is that of its end, or of its start, depending on the tool.
    pub(super) static CLOCK_SKEW = {
        code: "MG005", name: "clock-skew", severity: Warning, section: "1.1",
        needs: ["logs", "nodes", "httproutes", "mcpserverregistrations", "pods", "services"], since: "0.1.0", caused_by: [],
        check: clock_skew,
    }
}

/// How far times may lie after the collection.
const TOLERANCE: i64 = 60;

fn clock_skew(context: &Context<'_>, findings: &mut Findings) {
    let Some(now) = context.now else { return };
    for node in context.bundle.list(&kinds::NODE) {
        let ahead = node
            .conditions()
            .filter_map(|c| {
                let pointer = format!("/status/conditions/{}/lastHeartbeatTime", c.index);
                Some((node.time(&pointer)?, pointer))
            })
            .max();
        if let Some((at, pointer)) = ahead.filter(|(at, _)| (*at - now).num_seconds() > TOLERANCE) {
            let title = format!(
                "The clock of node {} is {} ahead of the collection",
                node.name(),
                evidence::duration(at - now)
            );
            findings
                .report(
                    &CLOCK_SKEW,
                    node,
                    title,
                    node.evidence(&pointer),
                    "Repair time synchronisation on the node, or on the machine that collected.",
                )
                .command(shell!("oc debug node/{} -- chroot /host chronyc tracking", node.name()));
        }
    }
    let worst = context
        .workloads()
        .interest()
        .iter()
        .flat_map(|i| &i.pods)
        .flat_map(|pod| context.workloads().logs_of(pod).iter().map(move |log| (*pod, log)))
        .filter_map(|(pod, log)| {
            let at = chrono::DateTime::parse_from_rfc3339(log.digest.last_time.as_deref()?).ok()?.to_utc();
            ((at - now).num_seconds() > TOLERANCE).then_some((at, pod, log))
        })
        .max_by_key(|(at, pod, _)| (*at, pod.full_name()));
    if let Some((at, pod, log)) = worst
        && let Some((line, text)) = log.tail.iter().next_back()
    {
        let title = format!(
            "The clock of pod {} is {} ahead of the collection",
            pod.full_name(),
            evidence::duration(at - now)
        );
        findings
            .report(
                &CLOCK_SKEW,
                pod,
                title,
                evidence::log_line(log, line, text, Some("after the collection")),
                "Repair time synchronisation on the pod's node, or on the machine that collected.",
            )
            .command(shell!("oc -n {} get pod {} -o wide", pod.namespace(), pod.name()));
    }
}

declare_rule! {
    /// The installation itself is not healthy
    ///
    /// ## What it means
    /// The operator that should install or reconcile a part has not finished, or two of it are at work.
    ///
    /// ## How it is decided
    /// One of, for the packages of the MCP gateway, Kuadrant and the service mesh: a ClusterServiceVersion whose phase is
    /// neither Succeeded nor being replaced; a Subscription with `CatalogSourcesUnhealthy` or `ResolutionFailed`, or whose
    /// first InstallPlan waits for approval; more than one controller of the MCP gateway (it has no leader election); a
    /// CustomResourceDefinition of the MCP gateway that is not Established.
    ///
    /// ## Causes
    /// A catalog that cannot be reached, missing requirements, a manual approval that nobody gave, two installations.
    ///
    /// ## How to confirm
    /// `oc get csv,subscription,installplan -A`
    ///
    /// ## How to fix
    /// What the finding names.
    ///
    /// ## When it may be a false alarm
    /// During an installation.
    pub(super) static INSTALLATION_UNHEALTHY = {
        code: "MG006", name: "installation-unhealthy", severity: Error, section: "1.1",
        needs: ["clusterserviceversions", "subscriptions", "installplans", "deployments", "customresourcedefinitions"],
        since: "0.1.0", caused_by: [],
        check: installation_unhealthy,
    }
}

/// Whether a package or ClusterServiceVersion is one of ours.
fn is_ours(name: &str) -> bool {
    [
        "mcp-gateway",
        "kuadrant",
        "rhcl",
        "authorino",
        "limitador",
        "dns-operator",
        "servicemesh",
        "sailoperator",
    ]
    .iter()
    .any(|part| name.contains(part))
}

fn installation_unhealthy(context: &Context<'_>, findings: &mut Findings) {
    let bundle = context.bundle;
    for csv in bundle.list(&kinds::CLUSTER_SERVICE_VERSION).filter(|c| is_ours(c.name())) {
        let phase = csv.str("/status/phase");
        // Copies of a global operator's CSV in other namespaces say nothing new.
        if csv.str("/status/reason") == "Copied" || csv.label("olm.copiedFrom").is_some() {
            continue;
        }
        if phase.is_empty()
            || matches!(phase, "Succeeded" | "Replacing" | "Deleting")
            || context.is_younger(csv, 300)
        {
            continue;
        }
        let why = evidence::short(csv.str("/status/message"), 90);
        let title = format!("Operator {} is {phase}: {why}", csv.full_name());
        findings
            .report(
                &INSTALLATION_UNHEALTHY,
                csv,
                title,
                csv.evidence("/status/phase"),
                "Repair what the message names.",
            )
            .evidence(csv.evidence("/status/message"))
            .command(shell!("oc -n {} describe csv {}", csv.namespace(), csv.name()))
            .verify(shell!("oc -n {} get csv {}", csv.namespace(), csv.name()));
    }
    for subscription in bundle.list(&kinds::SUBSCRIPTION).filter(|s| is_ours(s.str("/spec/name"))) {
        for condition in subscription.conditions() {
            if matches!(condition.kind, "CatalogSourcesUnhealthy" | "ResolutionFailed") && condition.is_true()
            {
                let title = format!(
                    "Subscription {}: {} ({})",
                    subscription.full_name(),
                    condition.kind,
                    evidence::short(condition.message, 80)
                );
                findings
                    .report(
                        &INSTALLATION_UNHEALTHY,
                        subscription,
                        title,
                        subscription.evidence(&format!("/status/conditions/{}", condition.index)),
                        "Repair the catalog source, or the subscription's channel and version.",
                    )
                    .command("oc get catalogsources -A")
                    .verify(shell!(
                        "oc -n {} describe subscription {}",
                        subscription.namespace(),
                        subscription.name()
                    ));
            }
        }
        if subscription.str("/status/installedCSV").is_empty() {
            let namespace = subscription.namespace();
            for plan in bundle.list(&kinds::INSTALL_PLAN).filter(|p| p.namespace() == namespace) {
                if plan.str("/status/phase") == "RequiresApproval" {
                    let title = format!(
                        "InstallPlan {} of Subscription {} waits for approval",
                        plan.full_name(),
                        subscription.name()
                    );
                    findings
                        .report(&INSTALLATION_UNHEALTHY, plan, title, plan.evidence("/spec/approved"), "Approve the InstallPlan.")
                        .object(subscription.reference())
                        .evidence(plan.evidence("/status/phase"))
                        .command(shell!("oc -n {} patch installplan {} --type=merge -p '{{\"spec\":{{\"approved\":true}}}}'", namespace, plan.name()))
                        .verify(shell!("oc -n {} get csv", namespace));
                }
            }
        }
    }
    let controllers: Vec<&Object> = context
        .workloads()
        .deployments_of(Component::Controller)
        .iter()
        .copied()
        .filter(|d| d.int("/spec/replicas").unwrap_or(1) > 0)
        .collect();
    let replicas: i64 = controllers.iter().map(|d| d.int("/spec/replicas").unwrap_or(1)).sum();
    if replicas > 1
        && let Some(first) = controllers.first()
    {
        let title =
            format!("{replicas} controllers of the MCP gateway are at work; it has no leader election");
        let draft = findings.report(
            &INSTALLATION_UNHEALTHY,
            first,
            title,
            first.evidence("/spec/replicas"),
            "Keep one controller with one replica; two write against each other.",
        );
        for other in &controllers[1..] {
            draft.object(other.reference()).evidence(other.evidence("/spec/replicas"));
        }
        for extra in controllers.iter().skip(1) {
            draft.command(shell!(
                "oc -n {} scale deployment/{} --replicas=0",
                extra.namespace(),
                extra.name()
            ));
        }
        draft.command(shell!("oc -n {} scale deployment/{} --replicas=1", first.namespace(), first.name()));
    }
    for kind in [&kinds::MCP_GATEWAY_EXTENSION, &kinds::MCP_SERVER_REGISTRATION, &kinds::MCP_VIRTUAL_SERVER] {
        let Some(definition) = bundle.get(&kinds::CUSTOM_RESOURCE_DEFINITION, "", &kind.resource()) else {
            continue;
        };
        let Some(condition) = definition.condition("Established").filter(|c| c.is_false()) else { continue };
        let title = format!("CustomResourceDefinition {} is not Established", definition.name());
        findings
            .report(
                &INSTALLATION_UNHEALTHY,
                definition,
                title,
                definition.evidence(&format!("/status/conditions/{}", condition.index)),
                "Repair what the message names, commonly a conflict of names with another definition.",
            )
            .command(shell!("oc describe crd {}", definition.name()))
            .verify(shell!("oc wait --for=condition=Established crd/{} --timeout=60s", definition.name()));
    }
}

declare_rule! {
    /// Logs or command lines hold more than they should
    ///
    /// ## What it means
    /// A part logs at debug level, where it writes tokens, headers or whole requests, or has a secret on its command
    /// line, where everybody who may read the Deployment sees it. This bundle was redacted; the cluster goes on.
    ///
    /// ## How it is decided
    /// At least five debug lines in the log of the controller, the broker or Authorino; a line of Authorino that dumps
    /// its input; or a flag of the broker that carries a secret (`--cache-connection-string`, `--session-signing-key`,
    /// `--gateway-signing-key`).
    ///
    /// ## Causes
    /// Debugging that was not switched off.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get deployment NAME -o jsonpath='{.spec.template.spec.containers[*].command}'`
    ///
    /// ## How to fix
    /// Set the level back to info; move secrets into Secrets.
    ///
    /// ## When it may be a false alarm
    /// While somebody is debugging.
    pub(super) static SENSITIVE_LOGGING = {
        code: "MG007", name: "sensitive-logging", severity: Warning, section: "1.1",
        needs: ["logs", "deployments", "pods"], since: "0.1.0", caused_by: [],
        check: sensitive_logging,
    }
}

/// Flags of the broker whose value is a secret.
pub(in crate::rules) const SECRET_FLAGS: &[&str] =
    &["cache-connection-string", "session-signing-key", "gateway-signing-key"];

/// Sets the log level in the resource that the pod was made for.
fn level_command(context: &Context<'_>, kind: &kinds::Kind, pod: &Object) -> Command {
    let owner = context.bundle.list_in(kind, pod.namespace()).next().map_or("${NAME}", Object::name);
    shell!(
        "oc -n {} patch {} {} --type=merge -p '{{\"spec\":{{\"logLevel\":\"info\"}}}}'",
        pod.namespace(),
        kind.kind.to_lowercase(),
        owner
    )
}

fn sensitive_logging(context: &Context<'_>, findings: &mut Findings) {
    let workloads = context.workloads();
    for component in [Component::Controller, Component::Broker, Component::Authorino] {
        for (pod, log) in workloads.component_logs(component).filter(|(_, log)| !log.previous) {
            let dumps = log.digest.of("authorino.debug-dump").next();
            let debug = log.digest.of("log.debug").find(|r| r.count >= 5);
            let Some(record) = dumps.or(debug) else { continue };
            let title = format!("{} ({}) logs at debug level", component.name(), pod.full_name());
            let remedy = match component {
                Component::Broker => "Set spec.logLevel of the MCPGatewayExtension to info.",
                Component::Authorino => "Set spec.logLevel of the Authorino resource to info.",
                _ => "Set --log-level of the controller to 0.",
            };
            // The line itself stays out: it is what should not be written.
            let mut shown = evidence::record(log, record);
            shown.value = Some(format!("debug line, {} of them", record.count));
            findings
                .report(&SENSITIVE_LOGGING, pod, title, shown, remedy)
                .command(match component {
                    Component::Broker => level_command(context, &kinds::MCP_GATEWAY_EXTENSION, pod),
                    Component::Authorino => level_command(context, &kinds::AUTHORINO, pod),
                    _ => shell!("oc -n {} edit deployment mcp-gateway-controller", pod.namespace()),
                })
                .verify(shell!("oc -n {} logs {} --since=5m", pod.namespace(), pod.name()));
        }
    }
    for broker in workloads.deployments_of(Component::Broker) {
        for (c, container) in broker.array("/spec/template/spec/containers").iter().enumerate() {
            for list in ["command", "args"] {
                for (index, argument) in
                    container.get(list).and_then(Value::as_array).into_iter().flatten().enumerate()
                {
                    let flag = argument
                        .as_str()
                        .unwrap_or_default()
                        .trim_start_matches('-')
                        .split('=')
                        .next()
                        .unwrap_or_default();
                    if !SECRET_FLAGS.contains(&flag) {
                        continue;
                    }
                    let pointer = format!("/spec/template/spec/containers/{c}/{list}/{index}");
                    let mut shown = broker.evidence(&pointer);
                    shown.value = Some(format!("--{flag}"));
                    let title = format!(
                        "Deployment {} has a secret on its command line (--{flag})",
                        broker.full_name()
                    );
                    let draft = findings
                        .report(
                            &SENSITIVE_LOGGING,
                            broker,
                            title,
                            shown,
                            match flag {
                                "cache-connection-string" => "Name a Secret in spec.sessionStore of the extension instead.",
                                _ => "Remove the flag: the controller gives the broker a key of its own, from a Secret.",
                            },
                        );
                    let namespace = broker.namespace();
                    let extension = context.bundle.list_in(&kinds::MCP_GATEWAY_EXTENSION, namespace).next();
                    if let (Some(extension), "cache-connection-string") = (extension, flag) {
                        let key = "CACHE_CONNECTION_STRING";
                        for command in remedy::secret(
                            namespace,
                            "mcp-session-store",
                            key,
                            "\"${CONNECTION_STRING_FILE}\"",
                        ) {
                            draft.command(command);
                        }
                        draft.command(remedy::merge(
                            extension,
                            json!({"spec": {"sessionStore": {"secretName": "mcp-session-store"}}}),
                        ));
                    }
                    // A flag with its value in the next word takes two.
                    let words = if argument.as_str().is_some_and(|a| a.contains('=')) { 1 } else { 2 };
                    let step = json!({"op": "remove", "path": pointer});
                    draft.command(remedy::patch(broker, serde_json::Value::from(vec![step; words])));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("v1.34.1+k3s1"), Some((1, 34)));
        assert!(version("4.9.12") < version("4.16.0"));
        assert_eq!(version("sha256"), None);
        assert_eq!(version(""), None);
    }
}
