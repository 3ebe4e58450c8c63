//! MG223-MG226, MG228-MG232, MG235: Envoy's live configuration and the way through the proxy.

mod config;
mod connection;
mod istiod;
mod network;
mod router;
mod traffic;

use super::{Context, Findings, Rule};
use crate::model::envoy::Proxy;
use crate::model::json::Value;
use crate::model::mcp::Extension;
use crate::model::{Missing, Object, kinds};
use crate::shell::{Command, shell};
pub(super) use router::other_revision;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &router::ROUTER_BYPASSED,
    &router::ROUTER_UNREACHABLE,
    &config::ENVOY_NO_LISTENER,
    &config::ENVOY_REJECTED_CONFIG,
    &config::ENVOY_NO_ROUTE,
    &router::ROUTER_DUPLICATED,
    &traffic::SHARED_LISTENER_PORT,
    &traffic::PROXY_ERRORS,
    &network::NETWORKPOLICY_BLOCKS_GATEWAY,
    &connection::PROXY_DISCONNECTED,
];

/// An extension's listener port as one proxy may know it.
struct Target<'c, 'a> {
    /// The extension's position in the chain.
    at: usize,
    extension: &'c Extension<'a>,
    gateway: &'a Object,
    port: i64,
    /// The port itself and the one that the Gateway's Service maps it to.
    ports: Vec<i64>,
    proxies: &'c [Proxy<'a>],
}

/// The extensions whose Gateway and listener exist, with the running proxies.
fn targets<'c, 'a>(context: &'c Context<'a>) -> Vec<Target<'c, 'a>> {
    let mut found = Vec::new();
    for (at, extension) in context.chain().extensions.iter().enumerate() {
        let (Some(gateway), Some(listener)) = (extension.meant_gateway, extension.meant_listener) else {
            continue;
        };
        let Some(group) = context.proxies_of(gateway) else { continue };
        found.push(Target {
            at,
            extension,
            gateway,
            port: listener.port,
            ports: bound_ports(context, gateway, listener.port),
            proxies: &group.proxies,
        });
    }
    found
}

/// The ports that Envoy may bind for a listener port: itself, and the Service's target port.
fn bound_ports(context: &Context<'_>, gateway: &Object, port: i64) -> Vec<i64> {
    let mut ports = vec![port];
    if let Some(service) = context.workloads().gateway_service(gateway) {
        for entry in service.array("/spec/ports") {
            if entry.get("port").and_then(Value::as_i64) == Some(port)
                && let Some(target) = entry.get("targetPort").and_then(Value::as_i64)
                && !ports.contains(&target)
            {
                ports.push(target);
            }
        }
    }
    ports
}

/// Says what is missing to find the proxies at all: extensions, Gateways, pods.
fn say_what_is_missing(context: &Context<'_>, rule: &'static Rule, findings: &mut Findings) {
    let mut gaps: Vec<Missing> = Vec::new();
    if context.bundle.list(&kinds::MCP_GATEWAY_EXTENSION).next().is_none() {
        gaps.extend(context.bundle.collected(&kinds::MCP_GATEWAY_EXTENSION, None).err());
    }
    for extension in &context.chain().extensions {
        let (namespace, name) = extension.target();
        match extension.gateway {
            None => {
                if let crate::model::Seen::Unknown(missing) =
                    context.bundle.find(&kinds::GATEWAY, namespace, name)
                {
                    gaps.push(missing);
                }
            }
            Some(gateway) => {
                gaps.extend(context.bundle.collected(&kinds::POD, Some(gateway.namespace())).err());
            }
        }
    }
    for missing in gaps {
        findings.cannot_tell(rule, missing);
    }
}

/// `oc -n NS exec POD -c istio-proxy -- pilot-agent request GET PATH`.
fn admin_command(pod: &Object, path: &str) -> Command {
    shell!("oc -n {} exec {} -c istio-proxy -- pilot-agent request GET {}", pod.namespace(), pod.name(), path)
}
