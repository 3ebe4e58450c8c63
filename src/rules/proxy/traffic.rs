//! MG230, MG231: what shares the router's port, and what the access log says of the requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{say_what_is_missing, targets};
use crate::declare_rule;
use crate::model::broker_config::Server;
use crate::model::gateway_api::{Verdict, hostnames, paths};
use crate::model::json::Value;
use crate::model::logs::{ErrorClass, access};
use crate::model::mcp::Registration;
use crate::model::{Missing, Object};
use crate::rules::evidence;
use crate::rules::extensions::hosts::flag;
use crate::rules::routes::{by_host, leads_to_broker};
use crate::rules::{Context, Findings};
use crate::shell::shell;

declare_rule! {
    /// An unrelated HTTPRoute shares the router's port
    ///
    /// ## What it means
    /// The router's filter sees every request on the listener's port, whatever the listener, and sets the
    /// host of each to the MCP gateway's public host. A route of another application on the same port loses
    /// its host: its requests end at the MCP gateway or with 404.
    ///
    /// ## How it is decided
    /// An HTTPRoute is reported that a listener on the extension's port of its Gateway takes, unless:
    ///
    /// - A registration targets it, also one of another namespace.
    /// - It leads to the extension's broker, or the MCP controller manages it.
    /// - It takes the calls that the router sends to a server: the broker's configuration has a server with
    ///   its host and path.
    /// - It is for agents only (A2A, paths below `/a2a/`), and the broker is started with `--enable-a2a`:
    ///   such requests keep their host.
    /// - Its hosts on the listener include the MCP gateway's public host, which the router sets itself.
    /// - It is being deleted.
    ///
    /// ## Causes
    /// The Gateway was there before, for other applications, and the extension chose its port.
    ///
    /// ## How to confirm
    /// `curl -si -H 'Host: HOST' http://GATEWAY:PORT/` with a host of the route answers with the MCP
    /// gateway's page or 404.
    ///
    /// ## How to fix
    /// Give the MCP gateway a port (or a Gateway) of its own, or move the other route to another port.
    ///
    /// ## When it may be a false alarm
    /// A route that nobody uses.
    pub(super) static SHARED_LISTENER_PORT = {
        code: "MG230", name: "shared-listener-port", severity: Warning, section: "1.2.2",
        needs: ["httproutes", "gateways", "mcpgatewayextensions", "namespaces"], since: "0.1.0", caused_by: [],
        check: shared_listener_port,
    }
}

fn shared_listener_port(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &SHARED_LISTENER_PORT, findings);
    let targets_of = |r: &Registration<'_>| {
        let object = r.object;
        (object.str("/spec/targetRef/namespace").to_owned(), object.str("/spec/targetRef/name").to_owned())
    };
    let named: BTreeSet<(String, String)> = context.chain().registrations.iter().map(targets_of).collect();
    for target in targets(context) {
        let extension = target.extension.object;
        let public = target.extension.public_host();
        let mut servers_at: HashMap<&str, Vec<&Server>> = HashMap::new();
        let configured = context.configured(extension.namespace());
        for server in configured.iter().flat_map(|configured| &configured.config.servers) {
            servers_at.entry(server.hostname.as_str()).or_default().push(server);
        }
        for facts in context.chain().routes_of(target.gateway).filter(|f| f.registrations.is_empty()) {
            let route = facts.object;
            if route.label("app.kubernetes.io/managed-by") == Some("mcp-gateway-controller")
                || route.is_deleting()
            {
                continue;
            }
            // What the router itself sends to a host that the broker is configured with arrives, whatever became of
            // the registration.
            let hosts = hostnames(route);
            let known = hosts.iter().filter_map(|host| servers_at.get(host)).flatten();
            let known = known.into_iter().any(|server| paths::takes(route, "POST", server.path()));
            // A registration that names another namespace's route means it, and has a finding of its own.
            let meant = named.contains(&(route.namespace().to_owned(), route.name().to_owned()));
            if leads_to_broker(route, extension.namespace()) || known || meant {
                continue;
            }
            let agents = leads_to_agents(route);
            let broker = context.workloads().broker_deployment(extension.namespace());
            let passes = broker.and_then(|broker| flag(broker, "enable-a2a"));
            if agents && passes.is_some_and(|(value, _)| value != "false") {
                continue;
            }
            let shared = facts.attachments.iter().find_map(|attachment| {
                let gateway = attachment.gateway.found()?;
                if !std::ptr::eq(gateway, target.gateway) {
                    return None;
                }
                attachment.listeners.iter().find(|(listener, verdict)| {
                    listener.port == target.port && matches!(verdict, Verdict::Accepts(_))
                })
            });
            let Some((listener, verdict)) = shared else { continue };
            // The router sets this host itself.
            let of_public = |hosts: &Vec<String>| hosts.iter().any(|host| Some(host) == public.as_ref());
            if !agents && matches!(verdict, Verdict::Accepts(hosts) if of_public(hosts)) {
                continue;
            }
            let title = format!(
                "HTTPRoute {} shares port {} of Gateway {} with the MCP router and loses its host",
                route.full_name(),
                target.port,
                target.gateway.full_name()
            );
            let mut remedy = "Move this route, or the MCP gateway's listener, to another port.".to_owned();
            if agents {
                remedy +=
                    " Versions after 0.9.0 let requests to agents pass when the broker has --enable-a2a.";
            }
            let draft = findings.report(
                &SHARED_LISTENER_PORT,
                route,
                title,
                route.evidence("/spec/parentRefs"),
                remedy,
            );
            draft.evidence(target.gateway.evidence(&listener.pointer("/port")));
            draft.evidence(extension.evidence("/spec/targetRef"));
            draft.object(target.gateway.reference()).object(extension.reference());
            draft.command(shell!("oc -n {} edit httproute {}", route.namespace(), route.name()));
        }
    }
}

/// Whether all of a route's paths are those of agents, as the router tells them.
fn leads_to_agents(route: &Object) -> bool {
    let rules = route.array("/spec/rules");
    let paths = |rule: &Value| {
        let matches = rule.get("matches").and_then(Value::as_array).unwrap_or_default();
        !matches.is_empty()
            && matches.iter().all(|m| {
                let path = m.pointer("/path/value").and_then(Value::as_str).unwrap_or("/");
                m.pointer("/path/type").and_then(Value::as_str) != Some("RegularExpression")
                    && (path == "/a2a" || path.starts_with("/a2a/"))
            })
    };
    !rules.is_empty() && rules.iter().all(paths)
}

declare_rule! {
    /// The proxy's access log shows failing requests
    ///
    /// ## What it means
    /// A part of the requests through the Gateway fails in the proxy itself, not in the MCP server.
    ///
    /// ## How it is decided
    /// The access logs of the Gateway's proxies (of the present run, as far as the bundle has them) are
    /// counted for each proxy by host and kind of error. A kind is reported when at least 5 requests for the
    /// host, and at least 1 % of all for it, ended with one of the response flags NR, UH, UF, UC, UT, UO,
    /// URX, UPE, NC, or with an error of the router's filter (`ext_proc_error…`) or of the router itself
    /// (`ext-proc_error:…`) in the response details. Denials by Istio's AuthorizationPolicy
    /// (`rbac_access_denied…`) are reported when they are at least 90 %. Clients that leave (DC) do not
    /// count, nor do errors of which the last is older than an hour. Istio writes no access log unless it is
    /// told to: then nothing is found.
    ///
    /// ## Causes
    /// | flag or detail | meaning |
    /// |---|---|
    /// | NR `route_not_found` | no route for host and path |
    /// | NR `filter_chain_not_found` | no TLS listener for the server name |
    /// | UH | the cluster has no healthy endpoint |
    /// | UF | the connection to the backend fails |
    /// | UC, UT, UO, URX | the backend closes, is too slow, overloaded; retries are used up |
    /// | NC | the backend's cluster does not exist |
    /// | UPE | the backend's answer breaks the protocol, often TLS or HTTP/2 where the other was expected |
    /// | `rbac_access_denied…` | an AuthorizationPolicy of the Gateway's proxies |
    /// | `ext_proc_error…` | the MCP router does not answer |
    /// | `ext-proc_error:…` | the MCP router answers with an error, mostly because a server fails (MG417) |
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/GATEWAY-CLASS -c istio-proxy | grep ' UF '`
    ///
    /// ## How to fix
    /// Repair the cluster that the finding names; other findings usually say why.
    ///
    /// ## When it may be a false alarm
    /// An outage that was repaired within the last hour (the finding gives first and last time). Scanners
    /// that ask for paths which nobody serves (NR).
    pub(super) static PROXY_ERRORS = {
        code: "MG231", name: "proxy-errors", severity: Warning, section: "1.2",
        needs: ["gateway logs (access log)", "httproutes"], since: "0.1.0",
        caused_by: ["MG224", "MG228", "MG225", "MG409", "MG405", "MG408", "MG410", "MG406", "MG101", "MG102", "MG103",
            "MG104", "MG106", "MG107", "MG108", "MG110", "MG111", "MG232", "MG312", "MG501", "MG502", "MG509", "MG510",
            "MG211", "MG215", "MG417"],
        check: proxy_errors,
    }
}

/// The details of a request that Istio's AuthorizationPolicy denies.
const RBAC: &str = "rbac_access_denied";

/// What a flag or detail means, if it is an error of the proxy.
fn explain(flags: &str, details: &str, reason: &str) -> Option<String> {
    if details.starts_with("ext_proc_error") {
        let what = if details.contains("timeout") {
            "the MCP router answers too late"
        } else {
            "the MCP router cannot be called"
        };
        return Some(format!("{what} ({details})"));
    }
    if details.starts_with(RBAC) {
        return Some(format!("Istio's AuthorizationPolicy denies them ({details})"));
    }
    if let Some(said) = access::router_error(details) {
        return Some(format!("the MCP router gives up: {said}"));
    }
    let failure = ErrorClass::from_word(reason).filter(|c| *c != ErrorClass::Other);
    flags.split(',').find_map(|flag| {
        let text = match flag {
            "NR" if details == "filter_chain_not_found" => {
                "no TLS listener serves the server name (NR filter_chain_not_found)"
            }
            "NR" => "no route matches host and path (NR)",
            "UH" => "the backend has no healthy endpoint (UH)",
            "UF" => {
                return Some(failure.map_or_else(
                    || "the connection to the backend fails (UF)".to_owned(),
                    |class| format!("the connection to the backend fails, {} (UF)", class.describe()),
                ));
            }
            "UC" => "the backend closes the connection (UC)",
            "UT" => "the backend answers too late (UT)",
            "UO" => "the backend's limits are exceeded (UO)",
            "URX" => "all retries fail (URX)",
            "NC" => "the backend's cluster does not exist (NC)",
            "UPE" => "the backend breaks the protocol (UPE)",
            _ => return None,
        };
        Some(text.to_owned())
    })
}

fn proxy_errors(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &PROXY_ERRORS, findings);
    let chain = context.chain();
    let everywhere = by_host(chain.routes.values());
    let targets = targets(context);
    for group in context.proxies() {
        let gateway = group.gateway;
        let here = by_host(chain.routes_of(gateway));
        for proxy in &group.proxies {
            let pod = proxy.pod;
            let logs = context.workloads().logs_of(pod);
            if logs.is_empty() {
                findings.cannot_tell(
                    &PROXY_ERRORS,
                    Missing {
                        what: format!("logs of the Gateway's proxy {}", pod.full_name()),
                        how: shell!("oc -n {} logs {} -c istio-proxy", pod.namespace(), pod.name()),
                    },
                );
                continue;
            }
            let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
            let mut errors: BTreeMap<(&str, String), (u64, Vec<_>)> = BTreeMap::new();
            for log in logs.iter().filter(|l| !l.previous) {
                for record in log.digest.of(access::TEMPLATE) {
                    let host = record.field("host").split(':').next().unwrap_or_default();
                    *totals.entry(host).or_default() += record.count;
                    if let Some(what) =
                        explain(record.field("flags"), record.field("details"), record.field("reason"))
                    {
                        let entry = errors.entry((host, what)).or_default();
                        entry.0 += record.count;
                        entry.1.push((*log, record));
                    }
                }
            }
            for ((host, what), (count, records)) in errors {
                let total = totals.get(host).copied().unwrap_or(count).max(1);
                if count < 5
                    || count * 100 < total
                    // Who denies some requests means it; who denies nearly all, hardly.
                    || (what.contains(RBAC) && count * 10 < total * 9)
                    || records.iter().all(|(_, record)| evidence::is_past(context.now, record))
                {
                    continue;
                }
                let clusters: std::collections::BTreeSet<&str> =
                    records.iter().map(|(_, r)| r.field("cluster")).filter(|c| !c.is_empty()).collect();
                let shown_host = if host.is_empty() { "(no host)" } else { host };
                let title = format!(
                    "{count} of {total} requests for {shown_host} fail in proxy {}: {what}",
                    pod.full_name()
                );
                let Some((log, record)) = records.first() else { continue };
                let routes = here.get(host).or_else(|| everywhere.get(host)).map_or(&[][..], Vec::as_slice);
                let route = routes.first().map(|facts| facts.object);
                let subject = route.map_or_else(|| gateway.reference(), crate::model::Object::reference);
                let remedy = match clusters.iter().next() {
                    _ if what.contains(RBAC) => {
                        "Let the AuthorizationPolicy of the Gateway's proxies allow these requests."
                            .to_owned()
                    }
                    Some(cluster) => format!("Repair what stands behind cluster {cluster}."),
                    None => "Repair the route or listener for this host.".to_owned(),
                };
                let draft =
                    findings.report_on(&PROXY_ERRORS, subject, title, evidence::record(log, record), remedy);
                for (log, record) in records.iter().skip(1).take(4) {
                    draft.evidence(evidence::record(log, record));
                }
                draft.object(gateway.reference()).object(pod.reference());
                // The server behind the host, or any of them where the router speaks for a server.
                let gives_up = what.contains("MCP router gives up");
                let here = || targets.iter().filter(|target| std::ptr::eq(target.gateway, gateway));
                let of_route = routes.iter().flat_map(|facts| &facts.registrations).copied();
                let concerned: BTreeSet<usize> = match gives_up {
                    true => here().flat_map(|target| chain.served_by(target.at)).collect(),
                    false => of_route.collect(),
                };
                for at in concerned {
                    draft.because_of(&["MG417"], chain.registrations[at].object.reference());
                }
                if what.contains("MCP router") {
                    for target in here() {
                        draft.because_of(&["MG224", "MG312", "MG232"], target.extension.object.reference());
                    }
                }
                if what.contains(RBAC) {
                    draft.command(shell!("oc -n {} get authorizationpolicies -o yaml", pod.namespace()));
                }
                draft.command(shell!(
                    "oc -n {} logs {} -c istio-proxy | grep {}",
                    pod.namespace(),
                    pod.name(),
                    host
                ));
                draft.verify(shell!(
                    "oc -n {} logs {} -c istio-proxy --since=5m",
                    pod.namespace(),
                    pod.name()
                ));
            }
        }
    }
}
