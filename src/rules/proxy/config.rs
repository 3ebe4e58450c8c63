//! MG225, MG226, MG228: listeners, rejections and routes in Envoy's live configuration.

use std::collections::BTreeSet;

use super::{admin_command, bound_ports, say_what_is_missing};
use crate::declare_rule;
use crate::model::envoy::json_evidence;
use crate::model::gateway_api::{Attachment, Verdict, hostnames, listeners, status};
use crate::model::workloads::Component;
use crate::report::Evidence;
use crate::rules::evidence::{self, short};
use crate::rules::{Context, Findings};
use crate::shell::shell;

declare_rule! {
    /// Envoy has no listener on the Gateway's port
    ///
    /// ## What it means
    /// Nobody listens on a port that the Gateway declares; clients see a refused or reset connection.
    ///
    /// ## How it is decided
    /// For each port with HTTP or HTTPS of a Gateway that the MCP gateway uses, the configuration dump of
    /// each running proxy pod (at least a minute old) must hold an active listener on that port, or on the
    /// port that the Gateway's Service maps it to. The title tells whether there is none, or one that waits
    /// for something (warming) or is not active. An HTTPS listener without `tls`, where `allowedListeners`
    /// lets ListenerSets bring theirs, needs none; ports with only TLS, TCP or UDP are left out, because
    /// Istio opens them with the first route.
    ///
    /// ## Causes
    /// - The listener is not programmed: its certificate is missing, or it is in conflict (MG205-MG207).
    /// - Its new configuration was rejected (MG226) or waits for something (warming).
    /// - No route is attached: Istio opens a listener nevertheless, other implementations may not.
    /// - The proxy is not connected to istiod (MG209).
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE exec POD -c istio-proxy -- pilot-agent request GET listeners`
    ///
    /// ## How to fix
    /// Repair the listener or istiod, as the causes say.
    ///
    /// ## When it may be a false alarm
    /// The listener was added seconds before the collection.
    pub(super) static ENVOY_NO_LISTENER = {
        code: "MG225", name: "envoy-no-listener", severity: Error, section: "1.2.3",
        needs: ["mcpgw/envoy config_dump", "gateways"], since: "0.1.0",
        caused_by: ["MG226", "MG202", "MG203", "MG205", "MG206", "MG207", "MG209", "MG235"],
        check: envoy_no_listener,
    }
}

fn envoy_no_listener(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &ENVOY_NO_LISTENER, findings);
    for group in context.proxies() {
        let gateway = group.gateway;
        let all = listeners(gateway);
        // For TCP and TLS Istio opens no port before a route is attached.
        let http = all.iter().filter(|l| matches!(l.protocol, "HTTP" | "HTTPS") && !l.holds_a_place(gateway));
        let ports: BTreeSet<i64> = http.map(|l| l.port).collect();
        for proxy in &group.proxies {
            let mut unknown = None;
            for port in &ports {
                let found = match proxy.listener_on(&bound_ports(context, gateway, *port)) {
                    Ok(found) => found,
                    Err(missing) => {
                        unknown = Some(missing);
                        break;
                    }
                };
                if found.as_ref().is_some_and(|l| l.is_active()) {
                    continue;
                }
                let Some(declared) = all.iter().find(|l| l.port == *port) else { continue };
                let state = match &found {
                    Some(l) if l.warming => "its listener waits for something (warming)",
                    Some(_) => "its listener is not active",
                    None => "there is none",
                };
                let title =
                    format!("Proxy {} has no listener on port {port}: {state}", proxy.pod.full_name());
                let draft = findings.report(
                    &ENVOY_NO_LISTENER,
                    gateway,
                    title,
                    gateway.evidence(&declared.pointer("/port")),
                    "Repair why the listener is not programmed; see the Gateway's status and istiod's log.",
                );
                draft.object(proxy.pod.reference());
                if let Ok(dump) = proxy.dump() {
                    let (pointer, value) = match &found {
                        Some(l) => (l.pointer.clone(), l.name.to_owned()),
                        None => {
                            let names: Vec<String> = proxy
                                .listeners()
                                .map(|all| all.iter().map(|l| l.name.to_owned()).collect())
                                .unwrap_or_default();
                            (String::new(), format!("dynamic listeners: {}", names.join(", ")))
                        }
                    };
                    draft.evidence(Evidence {
                        value: Some(value),
                        note: None,
                        ..json_evidence(&dump.file, &dump.value, &pointer, None)
                    });
                }
                draft.because_of(&["MG226", "MG235"], proxy.pod.reference());
                draft.command(shell!("oc -n {} describe gateway {}", gateway.namespace(), gateway.name()));
                draft.verify(admin_command(proxy.pod, "listeners"));
            }
            if let Some(missing) = unknown {
                findings.cannot_tell(&ENVOY_NO_LISTENER, missing);
            }
        }
    }
}

declare_rule! {
    /// Envoy has rejected its configuration
    ///
    /// ## What it means
    /// istiod sent a configuration that Envoy did not take; it goes on with the old one (or none). Newer
    /// changes to Gateways, routes and EnvoyFilters have no effect until the bad part is repaired.
    ///
    /// ## How it is decided
    /// One of these for a running proxy pod (at least a minute old) of a Gateway that the MCP gateway uses:
    ///
    /// - Its configuration dump carries an `error_state` (or `client_status: NACKED`) on a listener, cluster,
    ///   route, secret or discovered filter.
    /// - istiod logged `ACK ERROR` for that pod within the hour before the collection.
    /// - The proxy's own log (of the present run) says that a configuration was `rejected:`, the last time
    ///   within that hour.
    ///
    /// Log lines without a time count as recent.
    ///
    /// ## Causes
    /// An EnvoyFilter that does not fit the proxy's version or has a wrong field, a broken certificate, a
    /// wasm module that cannot be loaded, two listeners on one port.
    ///
    /// ## How to confirm
    /// `oc -n ISTIOD_NAMESPACE logs deployment/istiod | grep 'ACK ERROR'` (OpenShift's own:
    /// `istiod-openshift-gateway` in `openshift-ingress`), or
    /// `oc -n NAMESPACE logs POD -c istio-proxy | grep rejected`.
    ///
    /// ## How to fix
    /// The error text names the filter or resource: correct or remove it.
    ///
    /// ## When it may be a false alarm
    /// The error stays in the dump until the next successful update of the same resource, and the lines stay
    /// in the logs: what was repaired within the last hour may still be reported.
    pub(super) static ENVOY_REJECTED_CONFIG = {
        code: "MG226", name: "envoy-rejected-config", severity: Error, section: "1.2.3",
        needs: ["mcpgw/envoy config_dump", "istiod log"], since: "0.1.0", caused_by: ["MG206", "MG207"],
        check: envoy_rejected_config,
    }
}

fn envoy_rejected_config(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &ENVOY_REJECTED_CONFIG, findings);
    let nacks: Vec<_> = context
        .workloads()
        .component_logs(Component::Istiod)
        .flat_map(|(_, log)| log.digest.of("istiod.nack").map(move |record| (log, record)))
        .filter(|(_, record)| {
            let last = record.last_time.as_deref().and_then(|t| chrono::DateTime::parse_from_rfc3339(t).ok());
            match (context.now, last) {
                (Some(now), Some(last)) => (now - last.to_utc()).num_minutes() <= 60,
                _ => true,
            }
        })
        .collect();
    for group in context.proxies() {
        for proxy in &group.proxies {
            let pod = proxy.pod;
            let node = format!("{}.{}", pod.name(), pod.namespace());
            let mut shown = Vec::new();
            let mut details = String::new();
            match proxy.dump() {
                Ok(dump) => {
                    for rejection in dump.rejections() {
                        if details.is_empty() {
                            details = format!("{} {}: {}", rejection.kind, rejection.name, rejection.details);
                        }
                        shown.push(json_evidence(
                            &dump.file,
                            &dump.value,
                            &rejection.pointer,
                            Some("rejected by Envoy"),
                        ));
                    }
                }
                Err(missing) => findings.cannot_tell(&ENVOY_REJECTED_CONFIG, missing.clone()),
            }
            for (log, record) in &nacks {
                if record.field("node") == node {
                    if details.is_empty() {
                        details = format!("{} {}", record.field("type"), record.field("text"));
                    }
                    shown.push(evidence::record(log, record));
                }
            }
            for log in context.workloads().logs_of(pod).iter().filter(|log| !log.previous) {
                for record in log.digest.of("proxy.rejected").filter(|r| !evidence::is_past(context.now, r)) {
                    if details.is_empty() {
                        details = format!("{} {}", record.field("type"), record.field("text"));
                    }
                    shown.push(evidence::record(log, record));
                }
            }
            let Some(first) = shown.first().cloned() else { continue };
            let title =
                format!("Proxy {} rejects its configuration: {}", pod.full_name(), short(&details, 100));
            let draft = findings.report(
                &ENVOY_REJECTED_CONFIG,
                pod,
                title,
                first,
                "Correct or remove what the error names (most often an EnvoyFilter); Envoy keeps its old configuration until then.",
            );
            for evidence in shown {
                draft.evidence(evidence);
            }
            draft.object(group.gateway.reference());
            draft.command(shell!("oc get envoyfilters -n {}", pod.namespace()));
            draft.command(admin_command(pod, "config_dump?resource=dynamic_listeners"));
        }
    }
}

declare_rule! {
    /// An accepted HTTPRoute is not in Envoy
    ///
    /// ## What it means
    /// The route's status says Accepted, but the proxy has no virtual host for its hostnames: requests end
    /// with 404 (`NR route_not_found`).
    ///
    /// ## How it is decided
    /// For every HTTPRoute that the MCP gateway uses, that is at least a minute old and whose status for the
    /// Gateway is Accepted=True, the route configurations of each running proxy (at least a minute old) must
    /// hold a virtual host that serves one of the hostnames on which route and listener meet; where they meet
    /// nowhere by the specs, one of the route's own hostnames. Where neither route nor listener names a host
    /// the route is left out, and the paths within a virtual host are not compared.
    ///
    /// ## Causes
    /// The proxy is not connected to istiod, its update was rejected (MG226), it has no listener for the port
    /// (MG225), the references of the route are not resolved (MG211).
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE exec POD -c istio-proxy -- pilot-agent request GET config_dump`, and look for the
    /// host under `dynamic_route_configs`.
    ///
    /// ## How to fix
    /// Repair the connection or the rejected configuration. Restart the proxy only when both are well: a
    /// restart ends all open connections, event streams too.
    ///
    /// ## When it may be a false alarm
    /// An older route, or the listener, was changed within a minute before the collection.
    pub(super) static ENVOY_NO_ROUTE = {
        code: "MG228", name: "envoy-no-route", severity: Error, section: "1.2.3",
        needs: ["mcpgw/envoy config_dump", "httproutes"], since: "0.1.0", caused_by: ["MG226", "MG225", "MG209", "MG211", "MG235"],
        check: envoy_no_route,
    }
}

fn envoy_no_route(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &ENVOY_NO_ROUTE, findings);
    for group in context.proxies() {
        let gateway = group.gateway;
        for proxy in &group.proxies {
            let hosts = match proxy.virtual_hosts() {
                Ok(hosts) => hosts,
                Err(missing) => {
                    findings.cannot_tell(&ENVOY_NO_ROUTE, missing);
                    continue;
                }
            };
            let domains: BTreeSet<&str> = hosts.iter().flat_map(|h| h.domains.iter().copied()).collect();
            for facts in context.chain().routes_of(gateway) {
                let route = facts.object;
                let accepted = status::parents(route).into_iter().find_map(|parent| {
                    let here = parent.parent.is_gateway()
                        && parent.parent.namespace == gateway.namespace()
                        && parent.parent.name == gateway.name();
                    let condition = parent.condition("Accepted").filter(|c| here && c.is_true())?;
                    Some(parent.pointer(&condition))
                });
                let (Some(accepted), false) = (accepted, context.is_younger(route, 60)) else { continue };
                // Where a wildcard meets a name, Envoy has what both have in common.
                let here = |a: &&Attachment<'_>| a.gateway.found().is_some_and(|g| std::ptr::eq(g, gateway));
                let verdicts = facts.attachments.iter().filter(here).flat_map(|a| &a.listeners);
                let mut wanted: Vec<&str> = verdicts
                    .filter_map(|(_, verdict)| match verdict {
                        Verdict::Accepts(hosts) => Some(hosts.iter().map(String::as_str)),
                        _ => None,
                    })
                    .flatten()
                    .filter(|host| *host != "*")
                    .collect();
                if wanted.is_empty() {
                    wanted = hostnames(route);
                }
                let served = |host: &str| {
                    domains.contains(host) || domains.contains("*") || hosts.iter().any(|h| h.serves(host))
                };
                if wanted.is_empty() || wanted.iter().any(|host| served(host)) {
                    continue;
                }
                let title = format!(
                    "HTTPRoute {} is accepted, but proxy {} has no route for {}",
                    route.full_name(),
                    proxy.pod.full_name(),
                    wanted.join(", ")
                );
                let draft = findings.report(
                    &ENVOY_NO_ROUTE,
                    route,
                    title,
                    route.evidence(&accepted),
                    "Check the proxy's connection to istiod and what it rejected; restart the proxy when both are well.",
                );
                draft.evidence(route.evidence("/spec/hostnames"));
                if let Ok((dump, at, _)) = proxy.section("RoutesConfigDump") {
                    let known: Vec<&str> = domains.iter().copied().take(12).collect();
                    draft.evidence(Evidence {
                        file: dump.file.clone(),
                        path: Some(format!("configs[{at}].dynamic_route_configs")),
                        line: None,
                        value: Some(format!("domains: {}", known.join(", "))),
                        note: None,
                    });
                }
                draft.object(gateway.reference()).object(proxy.pod.reference());
                draft.because_of(&["MG226", "MG235"], proxy.pod.reference());
                draft.because_of(&["MG225"], gateway.reference());
                draft.command(admin_command(proxy.pod, "config_dump?resource=dynamic_route_configs"));
                if let Some(deployment) = context.workloads().gateway_deployment(gateway) {
                    draft.command(shell!(
                        "oc -n {} rollout restart deployment/{}",
                        deployment.namespace(),
                        deployment.name()
                    ));
                }
                draft.verify(shell!("oc -n {} describe httproute {}", route.namespace(), route.name()));
            }
        }
    }
}
