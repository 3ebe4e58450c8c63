//! MG235: whether the proxies have a connection to istiod.

use chrono::{DateTime, TimeDelta, Utc};

use crate::declare_rule;
use crate::model::bundle::LogFile;
use crate::model::logs::{ErrorClass, Record};
use crate::model::{graph, kinds};
use crate::rules::{Context, Findings, evidence};
use crate::shell::shell;

/// Envoy tries again at once and then less often, but within half a minute.
const LASTS: TimeDelta = TimeDelta::minutes(5);
/// istiod ends every connection now and then, and restarts with its updates.
const OFTEN: u64 = 3;

declare_rule! {
    /// A proxy has lost its connection to istiod
    ///
    /// ## What it means
    /// The proxy goes on with the configuration that it had. Changes of Gateways, routes, EnvoyFilters and
    /// endpoints do not reach it: a Service whose pods were replaced is sent to addresses that nobody has.
    /// A proxy pod that starts anew does not become Ready.
    ///
    /// ## How it is decided
    /// The log of the present run of a running proxy pod (at least a minute old) of a Gateway that the MCP
    /// gateway uses has at least three lines `gRPC config stream … closed` with a status of 14 (unavailable),
    /// 7 or 16 (refused), the last of them within the five minutes before the collection, and none about a new
    /// connection (`connected to upstream XDS server`) after it. Other statuses are those of an ordinary end, and so
    /// are `transport is closing`, `EOF` and `goaway`: istiod ends each connection after half an hour.
    /// Lines without a time, and a bundle without the time of its collection, decide nothing.
    ///
    /// ## Causes
    /// istiod does not run (then that is the cause), a NetworkPolicy between the namespaces, a Gateway of a
    /// revision whose istiod is gone, a token or root certificate that istiod no longer takes.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs POD | grep -i xds`, and `istioctl proxy-status` does not list the pod.
    ///
    /// ## How to fix
    /// Make istiod reachable from the pod on port 15012. Where istiod refuses the proxy, restart the proxy's
    /// Deployment, so that the pod gets a new token and the present root certificate.
    ///
    /// ## When it may be a false alarm
    /// While istiod is being updated.
    pub(super) static PROXY_DISCONNECTED = {
        code: "MG235", name: "proxy-disconnected", severity: Error, section: "1.2.3",
        needs: ["gateway logs", "gateways", "httproutes", "mcpgatewayextensions", "mcpserverregistrations", "pods"],
        since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG105", "MG106", "MG107", "MG209"],
        check: proxy_disconnected,
    }
}

fn last_time(record: &Record) -> Option<DateTime<Utc>> {
    let time = record.last_time.as_deref()?;
    DateTime::parse_from_rfc3339(time).ok().map(|time| time.to_utc())
}

/// What a log says of a connection that was lost and not found again: the latest such record.
fn lost(log: &LogFile, now: DateTime<Utc>) -> Option<&Record> {
    let records = || log.digest.of("proxy.xds-lost");
    let latest = records().max_by_key(|record| last_time(record))?;
    let last = last_time(latest)?;
    let again = log.digest.of("proxy.xds-connected").filter_map(last_time).max();
    let count: u64 = records().map(|record| record.count).sum();
    let lasts = now - last <= LASTS && again.is_none_or(|again| again < last);
    (count >= OFTEN && lasts).then_some(latest)
}

fn proxy_disconnected(context: &Context<'_>, findings: &mut Findings) {
    let Some(now) = context.now else { return };
    for group in context.proxies() {
        let gateway = group.gateway;
        let class = context.bundle.get(&kinds::GATEWAY_CLASS, "", gateway.str("/spec/gatewayClassName"));
        for proxy in &group.proxies {
            let pod = proxy.pod;
            let logs = context.workloads().logs_of(pod).iter().filter(|log| !log.previous);
            let Some((log, record)) = logs.filter_map(|log| Some((log, lost(log, now)?))).next() else {
                continue;
            };
            let why = ErrorClass::from_word(record.field("class")).unwrap_or(ErrorClass::Other);
            let draft = findings.report(
                &PROXY_DISCONNECTED,
                pod,
                format!("Proxy {} has lost its connection to istiod: {}", pod.full_name(), why.describe()),
                evidence::record(log, record),
                "Make istiod reachable from the proxy's pod on port 15012; until then it keeps its old configuration.",
            );
            draft.object(gateway.reference());
            if let Some(class) = class {
                draft.because_of(&["MG209"], class.reference());
                for plane in graph::control_planes(context.bundle, class.str("/spec/controllerName")) {
                    draft.because_of(PROXY_DISCONNECTED.caused_by, plane.reference());
                }
            }
            draft.command(shell!("oc -n {} logs {} --tail=200 | grep -i xds", pod.namespace(), pod.name()));
            draft.command("oc get deployments,services -A -l app=istiod");
            draft.verify(shell!(
                "oc -n {} logs {} --since=2m | grep -i 'connected to.*XDS server'",
                pod.namespace(),
                pod.name()
            ));
        }
    }
}
