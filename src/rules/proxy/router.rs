//! MG223, MG224, MG229: is the MCP router in every filter chain, once, and does it answer?

use super::{Target, admin_command, istiod, say_what_is_missing, targets};
use crate::declare_rule;
use crate::model::envoy::{Chain, HttpFilter, Listener, Proxy, json_evidence};
use crate::model::istio::envoy_filter;
use crate::model::mcp::extension::broker_service;
use crate::model::object::field_path;
use crate::model::workloads::Component;
use crate::model::{Object, kinds};
use crate::report::Evidence;
use crate::rules::evidence::oc;
use crate::rules::{Context, Draft, Findings};
use crate::shell::shell;

/// The EnvoyFilters of an extension in its Gateway's namespace.
fn filters_of<'a>(context: &Context<'a>, target: &Target<'_, 'a>) -> Vec<&'a Object> {
    let all = context.filters_of(target.extension);
    all.filter(|filter| filter.namespace() == target.gateway.namespace()).collect()
}

fn chain_name(chain: &Chain<'_>) -> String {
    match (chain.default, chain.server_names.as_slice()) {
        (true, _) => "the default filter chain".to_owned(),
        (false, []) => "the filter chain for all hosts".to_owned(),
        (false, names) => format!("the filter chain for {}", names.join(", ")),
    }
}

fn routers<'f, 'd>(chain: &'f Chain<'d>) -> Vec<&'f HttpFilter<'d>> {
    chain.filters.iter().flatten().filter(|f| f.is_router()).collect()
}

declare_rule! {
    /// Envoy does not ask the MCP router
    ///
    /// ## What it means
    /// The EnvoyFilter exists in the cluster, but not in the proxy's live configuration: requests on that
    /// port pass by the MCP router, so that `tools/call` is not routed and tokens are not checked by it. When
    /// only some filter chains lack it, only their hosts are affected.
    ///
    /// ## How it is decided
    /// In the configuration dump of every running proxy pod of the Gateway, the listener on the extension's
    /// port is looked up; every filter chain (the default one too) that has an HTTP connection manager must
    /// hold a filter of type `ext_proc.v3.ExternalProcessor` that calls port 50051 of a Service, whatever its
    /// name, and that is not switched off. Processors of other products do not count. Without such a listener
    /// MG225 is the fault. Pods that are younger than a minute and filters that are younger than 30 seconds
    /// are left out, and no filter is expected while the extension has an earlier fault.
    ///
    /// Why it is absent is decided in this order:
    ///
    /// - The EnvoyFilter does not exist (MG220).
    /// - Envoy rejects the update of a listener (MG226).
    /// - The filter's `istio.io/rev` is not the revision of the istiod that serves the Gateway.
    /// - An istiod is told to ignore selectors (`ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY=false`).
    /// - The filter's selector does not match the pod (MG221), or its port is another (MG222).
    /// - The listener in the proxy is older than the filter.
    /// - None of these: istiod has not applied it.
    ///
    /// Without any dump the revision alone is judged, from the labels of the EnvoyFilter, the Gateway and the
    /// istiods.
    ///
    /// ## Causes
    /// Those of the list.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE exec POD -c istio-proxy -- pilot-agent request GET config_dump | grep ext_proc`
    ///
    /// ## How to fix
    /// Repair the reason. Restart the proxy only when its configuration is stale although istiod is well: a
    /// restart ends all open connections, event streams too.
    ///
    /// ## When it may be a false alarm
    /// An existing EnvoyFilter or listener was changed seconds before the collection.
    pub(super) static ROUTER_BYPASSED = {
        code: "MG223", name: "router-bypassed", severity: Error, section: "1.2.3",
        needs: ["mcpgw/envoy config_dump", "envoyfilters", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: ["MG220", "MG221", "MG222", "MG226", "MG209", "MG235"],
        check: router_bypassed,
    }
}

/// The revisions of the istiods that run.
fn revisions<'a>(context: &Context<'a>) -> Vec<&'a str> {
    context
        .workloads()
        .deployments_of(Component::Istiod)
        .iter()
        .filter_map(|d| d.get("/spec/template/metadata/labels")?.get("istio.io/rev")?.as_str())
        .collect()
}

const OTHER_REVISION: &str = "Label the Gateway with the revision (not a tag) of its istiod; the controller copies it to the EnvoyFilter.";

/// Whether an EnvoyFilter is for another istiod than the one that serves its Gateway: istiod reads only what
/// carries its own revision; an absent label counts for every revision.
pub(in crate::rules) fn other_revision(
    context: &Context<'_>,
    gateway: &Object,
    filter: &Object,
) -> Option<(String, Evidence)> {
    let revision = filter.label("istio.io/rev")?;
    let serving = revisions(context);
    let wanted = gateway.label("istio.io/rev");
    let known = serving.is_empty() || serving.contains(&revision);
    if wanted.is_none_or(|wanted| wanted == revision) && known {
        return None;
    }
    let of = wanted.map_or_else(|| serving.join(", "), str::to_owned);
    let name = filter.full_name();
    Some((
        format!("EnvoyFilter {name} is for Istio revision {revision}, the Gateway is served by {of}"),
        filter.evidence("/metadata/labels/istio.io~1rev"),
    ))
}

/// The controller copies the Gateway's label to the filter.
fn relabel(context: &Context<'_>, gateway: &Object, filter: &Object, draft: &mut Draft) {
    if let [revision] = revisions(context).as_slice()
        && filter.label("istio.io/rev").is_some_and(|own| own != *revision)
    {
        draft.command(shell!(
            "oc -n {} label gateway {} istio.io/rev={} --overwrite",
            gateway.namespace(),
            gateway.name(),
            revision
        ));
    }
}

/// Without a look into Envoy the specs tell whether istiod gives it the filter at all.
fn never_read(context: &Context<'_>, findings: &mut Findings, target: &Target<'_, '_>, filter: &Object) {
    let gateway = target.gateway;
    let Some((why, evidence)) = other_revision(context, gateway, filter) else { return };
    let title = format!("No proxy of Gateway {} asks the MCP router: {why}", gateway.full_name());
    let draft = findings.report(&ROUTER_BYPASSED, target.extension.object, title, evidence, OTHER_REVISION);
    draft.object(gateway.reference()).object(filter.reference()).explains_itself();
    relabel(context, gateway, filter, draft);
    draft.verify(shell!(
        "oc -n {} get envoyfilter {} -o jsonpath='{{.metadata.labels}}'",
        filter.namespace(),
        filter.name()
    ));
}

/// Why the filter is not in the proxy.
fn reason(
    context: &Context<'_>,
    target: &Target<'_, '_>,
    filter: Option<&Object>,
    proxy: &Proxy<'_>,
    listener: &Listener<'_>,
) -> (String, String, Vec<Evidence>) {
    let Some(filter) = filter else {
        return (
            "its EnvoyFilter does not exist".to_owned(),
            "Let the controller write the EnvoyFilter.".to_owned(),
            Vec::new(),
        );
    };
    let name = filter.full_name();
    if let Some(rejected) =
        proxy.dump().ok().and_then(|d| d.rejections().into_iter().find(|r| r.kind == "listener"))
    {
        return (
            format!(
                "Envoy rejects the update of listener {}: {}",
                rejected.name,
                crate::rules::evidence::short(&rejected.details, 80)
            ),
            "Repair what Envoy rejects.".to_owned(),
            Vec::new(),
        );
    }
    if let Some((why, evidence)) = other_revision(context, target.gateway, filter) {
        return (why, OTHER_REVISION.to_owned(), vec![evidence]);
    }
    if let Some((istiod, evidence)) = istiod::ignores_selectors(context, filter) {
        let why = format!("istiod {} ignores the selectors of EnvoyFilters for Gateways", istiod.full_name());
        return (why, "Let istiod heed selectors, as it does by default.".to_owned(), vec![evidence]);
    }
    if let Some(labels) = envoy_filter::workload_labels(filter)
        && !labels.iter().all(|(key, value)| proxy.pod.label(key) == value.as_str())
    {
        return (
            format!("the selector of EnvoyFilter {name} does not match the proxy"),
            "Restore the selector gateway.networking.k8s.io/gateway-name of the EnvoyFilter.".to_owned(),
            vec![filter.evidence("/spec/workloadSelector")],
        );
    }
    let patches = envoy_filter::router_patches(filter);
    if !patches.is_empty() && !patches.iter().any(|(_, port)| port.is_none_or(|p| target.ports.contains(&p)))
    {
        return (
            format!("EnvoyFilter {name} patches another port than {}", target.port),
            "Let the controller write the EnvoyFilter again; its port must be the listener's.".to_owned(),
            vec![filter.evidence(&format!("{}/match/listener/portNumber", patches[0].0))],
        );
    }
    let updated = chrono::DateTime::parse_from_rfc3339(listener.last_updated).ok().map(|t| t.to_utc());
    if let (Some(updated), Some(created)) = (updated, filter.created())
        && updated < created
    {
        return (
            format!("the proxy's configuration is older than EnvoyFilter {name}"),
            "Check istiod and the proxy's connection to it; then restart the proxy.".to_owned(),
            vec![filter.evidence("/metadata/creationTimestamp")],
        );
    }
    (
        format!("istiod has not applied EnvoyFilter {name}"),
        "Look into istiod's log for the EnvoyFilter; then restart the proxy to force a new configuration."
            .to_owned(),
        vec![filter.evidence("/spec")],
    )
}

fn router_bypassed(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &ROUTER_BYPASSED, findings);
    for target in targets(context) {
        // While the extension itself is at fault, the filter is not expected.
        let filters = filters_of(context, &target);
        if filters.is_empty() && !target.extension.faults.is_empty() {
            continue;
        }
        if filters.is_empty()
            && let Err(missing) =
                context.bundle.collected(&kinds::ENVOY_FILTER, Some(target.gateway.namespace()))
        {
            findings.cannot_tell(&ROUTER_BYPASSED, missing);
            continue;
        }
        if filters.iter().any(|f| context.is_younger(f, 30)) {
            continue;
        }
        if let (Some(filter), true) = (filters.first(), target.proxies.iter().all(|p| p.dump().is_err())) {
            never_read(context, findings, &target, filter);
        }
        for proxy in target.proxies {
            let listener = match proxy.listener_on(&target.ports) {
                Ok(Some(listener)) => listener,
                Ok(None) => continue,
                Err(missing) => {
                    findings.cannot_tell(&ROUTER_BYPASSED, missing);
                    continue;
                }
            };
            let http: Vec<&Chain<'_>> = listener.chains.iter().filter(|c| c.filters.is_some()).collect();
            let bare: Vec<&&Chain<'_>> = http.iter().filter(|c| routers(c).is_empty()).collect();
            let (Some(first), Ok(dump)) = (bare.first(), proxy.dump()) else { continue };
            let (why, remedy, more) = reason(context, &target, filters.first().copied(), proxy, &listener);
            let place = if bare.len() == http.len() {
                format!("no filter chain of port {}", target.port)
            } else {
                format!(
                    "{} of {} filter chains of port {}, {},",
                    http.len() - bare.len(),
                    http.len(),
                    target.port,
                    chain_name(first)
                )
            };
            let title = if bare.len() == http.len() {
                format!("Proxy {} asks the MCP router in {place}: {why}", proxy.pod.full_name())
            } else {
                format!("Proxy {} asks the MCP router only in {place} lacks it: {why}", proxy.pod.full_name())
            };
            let shown = json_evidence(
                &dump.file,
                &dump.value,
                &format!("{}/filter_chain_match", first.pointer),
                Some("has no ext_proc filter of the MCP router"),
            );
            let shown =
                Evidence { path: Some(field_path(&first.pointer)), value: Some(names(first)), ..shown };
            let extension = target.extension.object;
            let draft = findings.report(&ROUTER_BYPASSED, extension, title, shown, remedy);
            for evidence in more {
                draft.evidence(evidence);
            }
            draft.object(target.gateway.reference()).object(proxy.pod.reference());
            // The faults of the EnvoyFilter name its extension.
            draft.because_of(&["MG221", "MG222"], extension.reference());
            let namespace = target.gateway.namespace();
            match filters.first() {
                Some(filter) => {
                    draft.object(filter.reference());
                    draft.because_of(&["MG221", "MG222"], filter.reference());
                    draft.command(shell!("oc -n {} get envoyfilter {} -o yaml", namespace, filter.name()));
                }
                None => {
                    draft.because_of(&["MG220"], extension.reference());
                }
            }
            draft.because_of(&["MG226", "MG235"], proxy.pod.reference());
            if let Some(filter) = filters.first() {
                relabel(context, target.gateway, filter, draft);
                istiod::heed_selectors(context, filter, draft);
            }
            if let Some(deployment) = context.workloads().gateway_deployment(target.gateway) {
                draft.command(shell!("oc -n {} rollout restart deployment/{}", namespace, deployment.name()));
            }
            draft.verify(shell!(
                "{} | grep -c ext_proc.v3.ExternalProcessor",
                admin_command(proxy.pod, "config_dump")
            ));
        }
    }
}

/// The names of a chain's HTTP filters.
fn names(chain: &Chain<'_>) -> String {
    let names: Vec<&str> = chain.filters.iter().flatten().map(|f| f.name).collect();
    format!("http_filters: {}", names.join(", "))
}

declare_rule! {
    /// Envoy cannot reach the MCP router
    ///
    /// ## What it means
    /// The router's filter fails closed: while Envoy cannot call the router on port 50051, every request on
    /// the listener's port ends with 500 or 503, MCP or not.
    ///
    /// ## How it is decided
    /// For every proxy pod (at least a minute old) with a listener on the extension's port, the cluster that
    /// the router's external processing filter names (where no filter chain has it, the one of the
    /// EnvoyFilter) is looked up:
    ///
    /// - It is not among Envoy's clusters.
    /// - It has no host, or no healthy one (from `clusters`, else from the endpoints of the dump).
    /// - Envoy has tried at least three connections since it started, and all of them failed.
    ///
    /// Without the clusters, or their health, this stays undecided.
    ///
    /// ## Causes
    /// - The broker's pod is not Ready, so its Service has no endpoint.
    /// - The Service mcp-gateway selects no pod (MG410) or has no port 50051 (MG408).
    /// - It does not exist, or istiod hides it from the Gateway (`exportTo`, `discoverySelectors`,
    ///   `Sidecar`); the cluster's domain is not `cluster.local`.
    /// - A NetworkPolicy cuts the gateway from port 50051 (MG232).
    /// - The EnvoyFilter was changed and names another cluster (MG227), or is left over (MG233).
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE exec POD -c istio-proxy -- pilot-agent request GET clusters | grep 50051`
    ///
    /// ## How to fix
    /// Make the broker Ready; let the gateway's namespace reach port 50051.
    ///
    /// ## When it may be a false alarm
    /// During a rollout of the broker with a single replica.
    pub(super) static ROUTER_UNREACHABLE = {
        code: "MG224", name: "router-unreachable", severity: Error, section: "1.2.3",
        needs: ["mcpgw/envoy config_dump and clusters", "envoyfilters"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111", "MG232", "MG233", "MG312",
            "MG408", "MG410"],
        check: router_unreachable,
    }
}

/// Where a router's filter names its cluster.
const CLUSTER: &str = "/typed_config/grpc_service/envoy_grpc/cluster_name";

/// The cluster that an EnvoyFilter wants to be asked, also where no filter chain of Envoy has the filter.
fn meant_cluster(filter: &Object) -> Option<(&str, Evidence)> {
    envoy_filter::router_patches(filter).into_iter().find_map(|(patch, _)| {
        let pointer = format!("{patch}/patch/value{CLUSTER}");
        let cluster = filter.get(&pointer)?.as_str().filter(|cluster| !cluster.is_empty())?;
        Some((cluster, filter.evidence(&pointer)))
    })
}

fn router_unreachable(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &ROUTER_UNREACHABLE, findings);
    for target in targets(context) {
        for proxy in target.proxies {
            let clusters = match proxy.clusters() {
                Ok(clusters) => clusters,
                Err(missing) => {
                    findings.cannot_tell(&ROUTER_UNREACHABLE, missing);
                    continue;
                }
            };
            let Ok(Some(listener)) = proxy.listener_on(&target.ports) else { continue };
            let Ok(dump) = proxy.dump() else { continue };
            let used = listener.chains.iter().flat_map(routers).find(|f| !f.cluster().is_empty());
            let filters = filters_of(context, &target);
            let Some((cluster, named)) = used
                .map(|filter| {
                    let mut named =
                        json_evidence(&dump.file, &dump.value, &format!("{}{CLUSTER}", filter.pointer), None);
                    if named.value.is_none() {
                        named.value = Some(filter.cluster().to_owned());
                        named.note = None;
                    }
                    (filter.cluster(), named)
                })
                .or_else(|| filters.first().and_then(|filter| meant_cluster(filter)))
            else {
                continue;
            };
            let mut shown = vec![named];
            let what = if clusters.contains_key(cluster) {
                let Some((file, health)) = proxy.health(cluster) else {
                    findings.cannot_tell(
                        &ROUTER_UNREACHABLE,
                        crate::model::Missing {
                            what: format!("health of Envoy's clusters in pod {}", proxy.pod.full_name()),
                            how: admin_command(proxy.pod, "clusters?format=json"),
                        },
                    );
                    continue;
                };
                let evidence = |value: String| Evidence {
                    file: file.clone(),
                    path: Some(format!("cluster_statuses[{cluster}]")),
                    line: None,
                    value: Some(value),
                    note: None,
                };
                if health.hosts.is_empty() {
                    shown.push(evidence("no hosts".to_owned()));
                    "its cluster has no endpoint"
                } else if health.healthy() == 0 {
                    let flags: Vec<String> =
                        health.hosts.iter().map(|h| format!("{} {}", h.address, h.flags)).collect();
                    shown.push(evidence(flags.join("; ")));
                    "none of its endpoints is healthy"
                } else if health.never_connects() {
                    let hosts: Vec<String> = health
                        .hosts
                        .iter()
                        .map(|h| {
                            format!(
                                "{} cx_connect_fail={} of cx_total={}",
                                h.address, h.connect_failures, h.connections
                            )
                        })
                        .collect();
                    shown.push(evidence(hosts.join("; ")));
                    "every connection to it fails"
                } else {
                    continue;
                }
            } else {
                "its cluster does not exist in Envoy"
            };
            let extension = target.extension.object;
            let title = format!("Proxy {} cannot reach the MCP router: {what}", proxy.pod.full_name());
            let first = shown.remove(0);
            let draft = findings.report(
                &ROUTER_UNREACHABLE,
                extension,
                title,
                first,
                "Make the broker's pod Ready and its port 50051 reachable from the gateway's pods; until then every request on the port fails.",
            );
            for evidence in shown {
                draft.evidence(evidence);
            }
            draft.object(target.gateway.reference()).object(proxy.pod.reference());
            let namespace = extension.namespace();
            if let Some(broker) = context.workloads().broker_deployment(namespace) {
                draft.object(broker.reference());
                draft.because_of(
                    &["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111"],
                    broker.reference(),
                );
            }
            draft.because_of(&["MG232", "MG312"], extension.reference());
            // A filter that names another cluster than the broker's was changed, and is asked for what is not there.
            for filter in filters.iter().filter(|f| meant_cluster(f).is_some_and(|(own, _)| own == cluster)) {
                draft.because_of(&["MG227"], filter.reference());
            }
            if let Some(service) = broker_service(context.bundle, target.extension.object) {
                draft.object(service.reference()).because_of(&["MG408", "MG410"], service.reference());
            }
            draft.command(shell!(
                "oc -n {} get pods,endpointslices -l app.kubernetes.io/name=mcp-gateway",
                namespace
            ));
            draft.command(shell!("{} describe service mcp-gateway", oc(&extension.reference())));
            draft.verify(shell!("{} | grep '50051.*health_flags'", admin_command(proxy.pod, "clusters")));
        }
    }
}

declare_rule! {
    /// Envoy asks two routers on one port
    ///
    /// ## What it means
    /// A filter chain holds two external processing filters: each request passes both, each rewrites the
    /// host, and either one that fails closes the port.
    ///
    /// ## How it is decided
    /// In the configuration dump of a running proxy (at least a minute old), a filter chain of the
    /// extension's port has more than one filter of type `ext_proc.v3.ExternalProcessor` that calls an MCP
    /// router (port 50051) and is not switched off. The first such chain of a proxy is reported.
    ///
    /// ## Causes
    /// Two extensions on one port (MG304), the filter of an extension that no longer exists (MG233), a copy
    /// of the EnvoyFilter made by hand.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get envoyfilters --show-labels`, and `oc get mcpgatewayextensions -A`.
    ///
    /// ## How to fix
    /// Delete the EnvoyFilter that no extension owns. The commands delete every EnvoyFilter of the Gateway's
    /// namespace that inserts an external processor with a cluster of port 50051 on this port, and that the
    /// controller did not make.
    ///
    /// ## When it may be a false alarm
    /// Another product inserts an ext_proc filter on purpose that also uses port 50051.
    pub(super) static ROUTER_DUPLICATED = {
        code: "MG229", name: "router-duplicated", severity: Error, section: "1.2.3",
        needs: ["mcpgw/envoy config_dump"], since: "0.1.0", caused_by: ["MG304", "MG233"],
        check: router_duplicated,
    }
}

fn router_duplicated(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &ROUTER_DUPLICATED, findings);
    for target in targets(context) {
        for proxy in target.proxies {
            let listener = match proxy.listener_on(&target.ports) {
                Ok(Some(listener)) => listener,
                Ok(None) => continue,
                Err(missing) => {
                    findings.cannot_tell(&ROUTER_DUPLICATED, missing);
                    continue;
                }
            };
            let Ok(dump) = proxy.dump() else { continue };
            let double = listener.chains.iter().find_map(|chain| {
                let routers = routers(chain);
                (routers.len() > 1).then_some((chain, routers))
            });
            let Some((chain, routers)) = double else { continue };
            let extension = target.extension.object;
            let namespace = target.gateway.namespace();
            let inserting: Vec<&Object> = context
                .bundle
                .list_in(&kinds::ENVOY_FILTER, namespace)
                .filter(|filter| envoy_filter::inserts_router(filter, target.port))
                .collect();
            let managed: Vec<&Object> = context
                .chain()
                .extensions
                .iter()
                .flat_map(|extension| context.filters_of(extension))
                .collect();
            let is_managed = |filter: &Object| {
                filter.label("app.kubernetes.io/managed-by") == Some("mcp-gateway-controller")
                    || managed.iter().any(|known| std::ptr::eq(*known, filter))
            };
            let by_hand: Vec<&Object> =
                inserting.iter().copied().filter(|filter| !is_managed(filter)).collect();
            let title = format!(
                "Proxy {} has {} MCP router filters in {} of port {}",
                proxy.pod.full_name(),
                routers.len(),
                chain_name(chain),
                target.port
            );
            let shown: Vec<Evidence> = routers
                .iter()
                .map(|f| Evidence {
                    file: dump.file.clone(),
                    path: Some(field_path(&f.pointer)),
                    line: None,
                    value: Some(format!("{} calls {}", f.name, f.cluster())),
                    note: None,
                })
                .collect();
            let Some(first) = shown.first().cloned() else { continue };
            let draft = findings.report(
                &ROUTER_DUPLICATED,
                extension,
                title,
                first,
                "Delete the EnvoyFilter that no extension owns, or move one extension to another port.",
            );
            for evidence in shown {
                draft.evidence(evidence);
            }
            draft.object(target.gateway.reference()).object(proxy.pod.reference());
            for filter in inserting {
                draft.object(filter.reference());
                draft.because_of(&["MG233"], filter.reference());
            }
            draft.because_of(&["MG304"], extension.reference());
            match by_hand.as_slice() {
                [] => {
                    draft.command(shell!("oc -n {} get envoyfilters --show-labels", namespace));
                }
                copies => {
                    for copy in copies {
                        draft.command(shell!("oc -n {} delete envoyfilter {}", namespace, copy.name()));
                    }
                }
            }
        }
    }
}
