//! The Gateway that everything refers to and nobody has: a manifest made of what the references say about it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::model::gateway_api::hostnames;
use crate::model::{Object, kinds};
use crate::rules::Context;
use crate::shell::Command;

/// The controllers whose Gateways the MCP gateway works with: Istio's and OpenShift's own.
const CONTROLLERS: [&str; 2] = ["istio.io/gateway-controller", "openshift.io/gateway-controller/v1"];

/// The ports of TLS, whose certificate no reference names.
const TLS: [i64; 2] = [443, 8443];

/// The one accepted class of a controller that the MCP gateway works with, if there is no other.
pub(super) fn only_class<'a>(context: &Context<'a>) -> Option<&'a Object> {
    let mut classes = context.bundle.list(&kinds::GATEWAY_CLASS).filter(|class| {
        CONTROLLERS.contains(&class.str("/spec/controllerName"))
            && class.condition("Accepted").is_some_and(|c| c.is_true())
    });
    classes.next().filter(|_| classes.next().is_none())
}

/// A command that creates a missing Gateway with the listeners that are referred to. `None` unless everything it
/// needs is known: the one accepted class, the port (the router's EnvoyFilter, which outlives the Gateway, has it),
/// and a host for each listener, no two alike.
pub(super) fn command(context: &Context<'_>, namespace: &str, name: &str) -> Option<Command> {
    let class = only_class(context)?;
    let filters = context.bundle.list(&kinds::ENVOY_FILTER).filter(|filter| {
        let selected = filter.str("/spec/workloadSelector/labels/gateway.networking.k8s.io~1gateway-name");
        filter.namespace() == namespace && selected == name
    });
    let ports: BTreeSet<i64> =
        filters.filter_map(|f| f.int("/spec/configPatches/0/match/listener/portNumber")).collect();
    let port = *ports.first().filter(|port| ports.len() == 1 && !TLS.contains(port))?;

    let mut hosts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let chain = context.chain();
    for extension in chain.extensions.iter().filter(|e| e.target() == (namespace, name)) {
        hosts.entry(extension.object.str("/spec/targetRef/sectionName")).or_default();
    }
    for route in chain.routes.values() {
        for parent in route.attachments.iter().map(|a| a.parent) {
            if parent.is_gateway() && (parent.namespace, parent.name) == (namespace, name) {
                hosts.entry(parent.section?).or_default().extend(hostnames(route.object));
            }
        }
    }
    let mut taken = BTreeSet::new();
    let mut listeners = Vec::new();
    for (section, hosts) in hosts {
        let host = common(&hosts).filter(|host| !section.is_empty() && taken.insert(host.clone()))?;
        listeners.push(json!({"name": section, "port": port, "protocol": "HTTP", "hostname": host,
            "allowedRoutes": {"namespaces": {"from": "All"}}}));
    }
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"gatewayClassName": class.name(), "listeners": listeners},
    });
    let manifest = gateway.to_string();
    let complete = !gateway["spec"]["listeners"].as_array()?.is_empty();
    complete.then(|| Command::from("oc apply -f -").reading(&manifest))
}

/// The host of a listener for these: the only one, or the wildcard of the domain that they share.
fn common(hosts: &BTreeSet<&str>) -> Option<String> {
    let first = hosts.first()?;
    if hosts.len() == 1 {
        return Some((*first).to_owned());
    }
    let (_, domain) = first.split_once('.')?;
    let same = hosts.iter().all(|host| host.split_once('.').is_some_and(|(_, d)| d == domain));
    (same && domain.contains('.')).then(|| format!("*.{domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_listener() {
        for (hosts, expected) in [
            (&["mcp.example.com"][..], Some("mcp.example.com")),
            (&["a.mcp.local", "b.mcp.local"], Some("*.mcp.local")),
            (&["a.mcp.local", "b.example.com"], None),
            (&["a.local", "b.local"], None),
            (&[], None),
        ] {
            assert_eq!(common(&hosts.iter().copied().collect()).as_deref(), expected, "{hosts:?}");
        }
    }
}
