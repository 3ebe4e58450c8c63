//! MG232: NetworkPolicies between the gateway, the broker and the MCP servers.

use super::{say_what_is_missing, targets};
use crate::declare_rule;
use crate::model::gateway_api::backend_refs;
use crate::model::json::Value;
use crate::model::network::{Barrier, Direction, Peer, Port, forbidding};
use crate::model::workloads::is_over;
use crate::model::{Bundle, Object, kinds, secret_shape};
use crate::rules::{Context, Findings, remedy};
use crate::shell::shell;

declare_rule! {
    /// A network policy cuts the way through the gateway
    ///
    /// ## What it means
    /// A connection that the MCP gateway needs is forbidden: from the gateway's proxy to the broker (8080)
    /// and the router (50051) or to an MCP server, or from the broker to an MCP server, to its session store
    /// or to DNS. Packets are dropped, so that the symptom is a timeout, not a refusal.
    ///
    /// ## How it is decided
    /// For each extension, with one living pod of each end; without a living broker pod nothing is judged.
    /// As the API defines it: a pod that any policy selects for a direction takes (or makes) only the
    /// connections that one of these policies allows; peers are matched by namespace and pod labels or IP
    /// block, ports by number or name. Both ends are evaluated: ingress of the target and egress of the
    /// source. MCP servers are those behind the Services of registered routes, of enabled registrations;
    /// hosts outside the cluster are MG511. Pods in the network of their node (`hostNetwork`) are bound by
    /// no policy.
    ///
    /// DNS (UDP) may be allowed on 53 or on 5353, where OpenShift's pods listen; the port of the session
    /// store is that of its connection string, else 6379. Before that AdminNetworkPolicies decide, in the
    /// order of their priorities, and for pods that no NetworkPolicy selects the BaselineAdminNetworkPolicy.
    /// What is not known (an address, the labels of a namespace) counts as allowed.
    ///
    /// ## Causes
    /// A default-deny policy in one of the namespaces without an exception for the MCP gateway.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe networkpolicy NAME`
    ///
    /// ## How to fix
    /// Add a policy that allows the connection; the finding names both ends and the port.
    ///
    /// ## When it may be a false alarm
    /// The network plugin's own policies allow it, or the plugin ignores policies.
    pub(super) static NETWORKPOLICY_BLOCKS_GATEWAY = {
        code: "MG232", name: "networkpolicy-blocks-gateway", severity: Error, section: "1.2.3",
        needs: ["networkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies", "namespaces", "pods", "services", "mcpserverregistrations", "httproutes"], since: "0.1.0", caused_by: [],
        check: networkpolicy_blocks_gateway,
    }
}

/// The name that a pod's containers give a port.
fn port_name(pod: &Object, number: i64) -> Option<&str> {
    pod.array("/spec/containers").iter().find_map(|container| {
        let ports = container.get("ports")?.as_array()?;
        ports
            .iter()
            .find(|p| p.get("containerPort").and_then(Value::as_i64) == Some(number))?
            .get("name")?
            .as_str()
    })
}

/// The port of the extension's session store, from what redaction keeps of its connection string; that of Redis and
/// its kin where it names none. `None` when there is no store.
fn store_port(bundle: &Bundle, extension: &Object) -> Option<i64> {
    const REDIS: i64 = 6379;
    let name = extension.str("/spec/sessionStore/secretName");
    if name.is_empty() {
        return None;
    }
    let secret = bundle.get(&kinds::SECRET, extension.namespace(), name);
    let shape =
        secret.and_then(|s| secret_shape::shapes(&s.value().to_json()).remove("CACHE_CONNECTION_STRING"));
    let url = shape.and_then(|shape| shape.url).unwrap_or_default();
    let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Some(port.unwrap_or(REDIS))
}

/// Ways that the same policies cut at the same end: one thing to repair.
struct Cut<'a, 'p> {
    barriers: Vec<Barrier<'a>>,
    pod: &'a Object,
    direction: Direction,
    port: Port<'p>,
    whats: Vec<String>,
    peers: Vec<Option<&'a Object>>,
}

impl Cut<'_, '_> {
    fn is_same(&self, other: &Self) -> bool {
        let first = |cut: &Self| {
            cut.barriers.first().map(|(policy, pointer)| (policy.uid().to_owned(), pointer.clone()))
        };
        std::ptr::eq(self.pod, other.pod)
            && self.direction == other.direction
            && (self.port.number, self.port.protocol) == (other.port.number, other.port.protocol)
            && self.is_inside() == other.is_inside()
            && first(self) == first(other)
    }

    /// Whether the other ends are pods: a remedy for them names namespaces, one for the outside does not.
    fn is_inside(&self) -> bool {
        self.peers.iter().all(Option::is_some)
    }

    fn report(&self, findings: &mut Findings, extension: &Object) {
        let Self { barriers, pod, direction, port, whats, peers } = self;
        let Some((first, pointer)) = barriers.first() else { return };
        let namespaces: std::collections::BTreeSet<&str> =
            peers.iter().flatten().map(|peer| peer.namespace()).collect();
        let namespaces: Vec<&str> = namespaces.into_iter().collect();
        let what = match whats.as_slice() {
            [one] => one.clone(),
            [one, other] => format!("{one} and {other}"),
            [one, other, rest @ ..] => format!("{one}, {other} and {} more", rest.len()),
            [] => return,
        };
        let title = format!(
            "{} {} cuts {what} (port {}, {})",
            first.kind(),
            first.full_name(),
            port.number,
            direction.word().to_lowercase()
        );
        let of = match namespaces.as_slice() {
            [] => String::new(),
            [one] => format!(" for namespace {one}"),
            several => format!(" for namespaces {}", several.join(", ")),
        };
        let remedy = format!(
            "Allow it: {} of pods like {} {} port {}/{}{of}.",
            direction.word().to_lowercase(),
            pod.full_name(),
            if *direction == Direction::Ingress { "on" } else { "to" },
            port.number,
            port.protocol,
        );
        let draft =
            findings.report(&NETWORKPOLICY_BLOCKS_GATEWAY, first, title, first.evidence(pointer), remedy);
        for (policy, pointer) in &barriers[1..] {
            draft.object(policy.reference());
            draft.evidence(policy.evidence(pointer));
        }
        draft.object(extension.reference()).object(pod.reference());
        for peer in peers.iter().flatten().take(4) {
            draft.object(peer.reference());
        }
        let word = direction.word();
        if first.kind() == kinds::NETWORK_POLICY.kind {
            draft.command(shell!("oc -n {} describe networkpolicy", pod.namespace()));
            draft.commands(remedy::allow(pod, word, &namespaces, port.number, port.protocol));
            draft.verify(shell!("oc -n {} get networkpolicy", pod.namespace()));
        } else {
            draft.command(remedy::allow_before(first, word, &namespaces, port.number, port.protocol));
            draft.verify(shell!("oc get {} {} -o yaml", first.kind().to_lowercase(), first.name()));
        }
    }
}

fn networkpolicy_blocks_gateway(context: &Context<'_>, findings: &mut Findings) {
    let rule = &NETWORKPOLICY_BLOCKS_GATEWAY;
    say_what_is_missing(context, rule, findings);
    let bundle = context.bundle;
    let workloads = context.workloads();
    let mut unknown = std::collections::BTreeSet::new();
    for target in targets(context) {
        let extension = target.extension.object;
        let Some(broker) = workloads.broker_pods(extension.namespace()).iter().find(|p| !is_over(p)) else {
            continue;
        };
        let proxy = workloads.gateway_pods(target.gateway).into_iter().find(|p| !is_over(p));
        // (from, to, port, whose work it is)
        let mut ways: Vec<(&Object, Option<&Object>, Port<'_>, String)> = Vec::new();
        if let Some(proxy) = proxy {
            for (number, what) in [(8080, "the MCP broker"), (50051, "the MCP router")] {
                let port = Port { number, protocol: "TCP", name: port_name(broker, number) };
                ways.push((proxy, Some(broker), port, format!("the gateway to {what}")));
            }
        }
        // Policies see the port of the pod that answers: OpenShift's DNS has 5353 and calls it `dns`.
        let dns = [(53, "dns"), (5353, "dns")].map(|(number, name)| Port {
            number,
            protocol: "UDP",
            name: Some(name),
        });
        if dns
            .iter()
            .all(|port| !forbidding(bundle, broker, Direction::Egress, Peer::Unknown, port).is_empty())
        {
            ways.push((broker, None, dns[0].clone(), "the MCP broker to DNS".to_owned()));
        }
        if let Some(number) = store_port(bundle, extension) {
            let port = Port { number, protocol: "TCP", name: None };
            ways.push((broker, None, port, "the MCP broker to its session store".to_owned()));
        }
        let chain = context.chain();
        let enabled =
            chain.served_by(target.at).map(|at| &chain.registrations[at]).filter(|r| !r.is_disabled());
        for route in enabled.filter_map(|registration| registration.route) {
            for backend in backend_refs(route).iter().filter(|b| b.is_service()) {
                let (namespace, name) = (backend.namespace, backend.name);
                let Some(service_port) = backend.port else { continue };
                let Some(service) = bundle.get(&kinds::SERVICE, namespace, name) else { continue };
                let Some(pod) = workloads.pods_of_service(service).into_iter().find(|p| !is_over(p)) else {
                    continue;
                };
                let entry = service
                    .array("/spec/ports")
                    .iter()
                    .find(|p| p.get("port").and_then(Value::as_i64) == Some(service_port));
                let number = match entry.and_then(|e| e.get("targetPort")) {
                    Some(Value::Number(n)) => n.as_i64().unwrap_or(service_port),
                    Some(Value::String(name)) => pod
                        .array("/spec/containers")
                        .iter()
                        .filter_map(|c| c.get("ports")?.as_array())
                        .flatten()
                        .find(|p| p.get("name").and_then(Value::as_str) == Some(name))
                        .and_then(|p| p.get("containerPort")?.as_i64())
                        .unwrap_or(service_port),
                    _ => service_port,
                };
                let port = Port { number, protocol: "TCP", name: port_name(pod, number) };
                if let Some(proxy) = proxy {
                    let what = format!("the gateway to Service {namespace}/{name}");
                    ways.push((proxy, Some(pod), port.clone(), what));
                }
                ways.push((broker, Some(pod), port, format!("the MCP broker to Service {namespace}/{name}")));
            }
        }
        let mut cuts: Vec<Cut<'_, '_>> = Vec::new();
        for (from, to, port, what) in ways {
            for namespace in [Some(from), to].into_iter().flatten().map(Object::namespace) {
                if let Err(missing) = bundle.collected(&kinds::NETWORK_POLICY, Some(namespace)) {
                    unknown.insert(missing);
                }
            }
            let ends = [(Some(from), Direction::Egress, to), (to, Direction::Ingress, Some(from))];
            for (pod, direction, peer) in ends {
                let Some(pod) = pod else { continue };
                let end = peer.map_or(Peer::Unknown, Peer::Pod);
                let barriers = forbidding(bundle, pod, direction, end, &port);
                if barriers.is_empty() {
                    continue;
                }
                let cut = Cut {
                    barriers,
                    pod,
                    direction,
                    port: port.clone(),
                    whats: vec![what.clone()],
                    peers: vec![peer],
                };
                match cuts.iter_mut().find(|known| known.is_same(&cut)) {
                    Some(known) => {
                        known.whats.extend(cut.whats);
                        known.peers.extend(cut.peers);
                    }
                    None => cuts.push(cut),
                }
            }
        }
        for cut in &cuts {
            cut.report(findings, extension);
        }
    }
    for missing in unknown {
        findings.cannot_tell(rule, missing);
    }
}
