//! The part of the dependency graph that a person wants to see: what leads from a registered server
//! to its pods, with the findings on it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::Context;
use crate::model::graph::{Edge, Graph, Key, Node};
use crate::model::{Bundle, kinds};
use crate::report::{Finding, ObjectRef, Topology, TopologyEdge, TopologyNode};

/// More objects than these make no picture.
const NODES: usize = 300;

/// Where the picture begins: what a person registers with the gateway.
const STARTS: &[&str] =
    &["MCPServerRegistration", "MCPVirtualServer", "MCPGatewayExtension", "AuthPolicy", "RateLimitPolicy"];

/// What is drawn besides what has findings.
const SHOWN: &[&str] = &[
    "MCPServerRegistration",
    "MCPVirtualServer",
    "MCPGatewayExtension",
    "HTTPRoute",
    "GRPCRoute",
    "Gateway",
    "EnvoyFilter",
    "AuthPolicy",
    "RateLimitPolicy",
    "TokenRateLimitPolicy",
    "TLSPolicy",
    "DNSPolicy",
    "Service",
    "ServiceEntry",
    "DestinationRule",
    "Deployment",
    "StatefulSet",
    "Pod",
];

/// What hangs on a Gateway or a route without being needed by anything.
const ATTACHED: &[&str] =
    &["EnvoyFilter", "AuthPolicy", "RateLimitPolicy", "TokenRateLimitPolicy", "TLSPolicy", "DNSPolicy"];

/// The picture of a bundle; `None` when there is nothing to draw.
pub(super) fn topology(context: &Context<'_>, findings: &[Finding]) -> Option<Topology> {
    let graph = context.graph();
    let mut about: BTreeMap<Node, Vec<String>> = BTreeMap::new();
    for finding in findings {
        // The subject alone: the other objects are its circumstances.
        if let Some(node) = finding.objects.first().and_then(|subject| graph.node(subject)) {
            about.entry(node).or_default().push(finding.id.clone());
        }
    }
    let (chosen, omitted) = choose(graph, &about);
    if chosen.is_empty() {
        return None;
    }
    let position: HashMap<Node, usize> = chosen.iter().enumerate().map(|(at, node)| (*node, at)).collect();
    let mut edges: Vec<(usize, usize, &'static str)> = Vec::new();
    for (from, &node) in chosen.iter().enumerate() {
        for (needed, edge) in steps(graph, node) {
            if let Some(&to) = position.get(&needed) {
                edges.push((from, to, word(edge)));
            }
        }
    }
    edges.sort_unstable();
    edges.dedup_by_key(|(from, to, _)| (*from, *to));
    let nodes = chosen
        .iter()
        .map(|&node| {
            let (object, present) = reference(context.bundle, graph.key(node));
            TopologyNode { object, present, findings: about.remove(&node).unwrap_or_default() }
        })
        .collect();
    let edges =
        edges.into_iter().map(|(from, to, kind)| TopologyEdge { from, to, kind: kind.to_owned() }).collect();
    Some(Topology { nodes, edges, omitted })
}

/// The nodes to draw, sorted by their keys, and how many there was no room for.
fn choose(graph: &Graph, about: &BTreeMap<Node, Vec<String>>) -> (Vec<Node>, usize) {
    let kind = |node: Node| graph.key(node).kind.as_str();
    let mut queue: VecDeque<Node> = about.keys().copied().collect();
    queue.extend((0..u32::try_from(graph.len()).unwrap_or(Node::MAX)).filter(|&n| STARTS.contains(&kind(n))));
    let mut seen = vec![false; graph.len()];
    let mut chosen = Vec::new();
    let mut omitted = 0;
    while let Some(node) = queue.pop_front() {
        if std::mem::replace(&mut seen[node as usize], true) {
            continue;
        }
        if !SHOWN.contains(&kind(node)) && !about.contains_key(&node) {
            continue;
        }
        if chosen.len() == NODES {
            omitted += 1;
        } else {
            chosen.push(node);
        }
        queue.extend(steps(graph, node).map(|(needed, _)| needed));
        if matches!(kind(node), "Gateway" | "HTTPRoute") {
            queue.extend(graph.needed_by(node).iter().copied().filter(|&n| ATTACHED.contains(&kind(n))));
        }
    }
    chosen.sort_unstable_by(|&a, &b| graph.key(a).cmp(graph.key(b)));
    (chosen, omitted)
}

/// What a node needs, with ReplicaSets left out: a Deployment selects its pods.
fn steps(graph: &Graph, node: Node) -> impl Iterator<Item = (Node, Edge)> + '_ {
    graph.needs(node).iter().flat_map(move |&(needed, edge)| {
        if graph.key(needed).kind == "ReplicaSet" {
            graph.needs(needed).to_vec()
        } else {
            vec![(needed, edge)]
        }
    })
}

fn word(edge: Edge) -> &'static str {
    match edge {
        Edge::Requires => "requires",
        Edge::CreatedBy => "createdBy",
        Edge::Selects => "selects",
        Edge::Enforces => "enforces",
        Edge::RoutesTo => "routesTo",
    }
}

/// The object of a key with the version in which the bundle has it, and whether it has it.
fn reference(bundle: &Bundle, key: &Key) -> (ObjectRef, bool) {
    let kind = kinds::by_kind(&key.group, &key.kind);
    if let Some(object) = kind.and_then(|kind| bundle.get(kind, &key.namespace, &key.name)) {
        return (object.reference(), true);
    }
    let version = kind.and_then(|kind| kind.versions.first()).copied().unwrap_or("v1");
    let api_version =
        if key.group.is_empty() { version.to_owned() } else { format!("{}/{version}", key.group) };
    let object = ObjectRef {
        api_version,
        kind: key.kind.clone(),
        namespace: Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        name: key.name.clone(),
    };
    (object, false)
}

#[cfg(test)]
mod tests {
    use crate::report::Topology;

    fn names(topology: &Topology) -> Vec<String> {
        topology.nodes.iter().map(|node| node.object.to_string()).collect()
    }

    #[test]
    fn a_registration_leads_to_its_pods() {
        let report = crate::rules::analyze(&crate::demo::faulty().bundle());
        let topology = report.topology.expect("a picture");
        let names = names(&topology);
        for kind in ["MCPServerRegistration", "HTTPRoute", "Gateway", "MCPGatewayExtension", "Service", "Pod"]
        {
            assert!(names.iter().any(|name| name.starts_with(kind)), "no {kind} in {names:#?}");
        }
        assert!(!names.iter().any(|name| name.starts_with("ReplicaSet")), "{names:#?}");
        assert_eq!(topology.omitted, 0);
        for edge in &topology.edges {
            assert!(edge.from < topology.nodes.len() && edge.to < topology.nodes.len());
        }
        let with_findings: Vec<_> = topology.nodes.iter().flat_map(|node| &node.findings).collect();
        assert!(!with_findings.is_empty(), "the picture shows where the faults are");
    }

    #[test]
    fn an_empty_bundle_has_no_picture() {
        let report = crate::rules::analyze(&crate::model::Bundle::default());
        assert_eq!(report.topology, None);
        assert_eq!(report.timeline, []);
    }
}
