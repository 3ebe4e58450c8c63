//! The topology as a picture: columns from what is registered to the pods, curves for what needs
//! what, findings on the boxes. Only geometry; the template draws.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::layout::{count, cut, one_line};
use crate::report::{Report, Severity, Topology, TopologyEdge};

const BOX_WIDTH: usize = 192;
const BOX_HEIGHT: usize = 38;
/// What the style sheet makes of narrower pictures; few columns would be blown up.
const NARROWEST: usize = 860;
const COLUMN_GAP: usize = 46;
const ROW_GAP: usize = 10;
const MARGIN: usize = 8;
const HEAD: usize = 26;
/// Characters of a name that fit into a box.
const NAME: usize = 26;

#[derive(Serialize)]
pub(super) struct Picture {
    /// The width of a box.
    #[serde(rename = "box")]
    box_width: usize,
    width: usize,
    height: usize,
    heads: Vec<Head>,
    boxes: Vec<Node>,
    curves: Vec<Curve>,
    omitted: String,
}

#[derive(Serialize)]
struct Head {
    x: usize,
    label: &'static str,
}

#[derive(Serialize)]
struct Node {
    at: usize,
    x: usize,
    y: usize,
    kind: String,
    name: String,
    full: String,
    class: String,
    badge: String,
    link: String,
}

#[derive(Serialize)]
struct Curve {
    from: usize,
    to: usize,
    path: String,
    class: &'static str,
}

/// The columns and what stands in them.
const COLUMNS: &[(&str, &[&str])] = &[
    ("registered", &["MCPServerRegistration", "MCPVirtualServer"]),
    (
        "routes and rules",
        &[
            "HTTPRoute",
            "GRPCRoute",
            "MCPGatewayExtension",
            "EnvoyFilter",
            "AuthPolicy",
            "RateLimitPolicy",
            "TokenRateLimitPolicy",
            "TLSPolicy",
            "DNSPolicy",
        ],
    ),
    ("gateways", &["Gateway"]),
    ("services", &["Service", "ServiceEntry", "DestinationRule"]),
    ("workloads", &["Deployment", "StatefulSet"]),
    ("pods and the rest", &[]),
];

fn column(kind: &str) -> usize {
    COLUMNS.iter().position(|(_, kinds)| kinds.contains(&kind)).unwrap_or(COLUMNS.len() - 1)
}

/// Places the topology; `None` when nothing is worth drawing.
pub(super) fn picture(topology: &Topology, report: &Report) -> Option<Picture> {
    let kind = |at: usize| topology.nodes[at].object.kind.as_str();
    let valid = |edge: &&TopologyEdge| edge.from < topology.nodes.len() && edge.to < topology.nodes.len();
    // Who made an object, and which operators a policy needs, is drawn only where something is wrong
    // with it: otherwise these lines hide the others.
    let edges: Vec<&TopologyEdge> = topology
        .edges
        .iter()
        .filter(valid)
        .filter(|edge| {
            let quiet = topology.nodes[edge.to].findings.is_empty();
            let background =
                matches!(edge.kind.as_str(), "createdBy" | "requires") && kind(edge.to) == "Deployment";
            !(background && quiet)
        })
        .collect();
    let used: BTreeSet<usize> = edges.iter().flat_map(|edge| [edge.from, edge.to]).collect();
    let drawn: Vec<usize> = (0..topology.nodes.len())
        .filter(|at| used.contains(at) || !topology.nodes[*at].findings.is_empty() || column(kind(*at)) == 0)
        .collect();
    if drawn.is_empty() {
        return None;
    }
    let columns = arrange(&drawn, &edges, topology);
    let mut place: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut heads = Vec::new();
    let mut x = MARGIN;
    let mut height = 0;
    for (number, members) in columns.iter().enumerate().filter(|(_, members)| !members.is_empty()) {
        heads.push(Head { x, label: COLUMNS[number].0 });
        for (row, at) in members.iter().enumerate() {
            let y = MARGIN + HEAD + row * (BOX_HEIGHT + ROW_GAP);
            place.insert(*at, (x, y));
            height = height.max(y + BOX_HEIGHT);
        }
        x += BOX_WIDTH + COLUMN_GAP;
    }
    let severities: BTreeMap<&str, (Severity, bool)> = report
        .findings
        .iter()
        .map(|finding| (finding.id.as_str(), (finding.severity, finding.caused_by.is_empty())))
        .collect();
    let boxes = place
        .iter()
        .map(|(&at, &(x, y))| {
            let node = &topology.nodes[at];
            // A filter may have taken findings out of the report.
            let about: Vec<(&str, Severity, bool)> = node
                .findings
                .iter()
                .filter_map(|id| {
                    severities.get(id.as_str()).map(|(severity, root)| (id.as_str(), *severity, *root))
                })
                .collect();
            let worst = about.iter().map(|(_, severity, _)| *severity).min();
            let mut class = worst.map_or("fine", Severity::as_str).to_owned();
            if about.iter().any(|(_, _, root)| *root) {
                class.push_str(" root");
            }
            if !node.present {
                class.push_str(" absent");
            }
            let full = one_line(&node.object.to_string());
            let name = match &node.object.namespace {
                Some(namespace) => format!("{namespace}/{}", node.object.name),
                None => node.object.name.clone(),
            };
            let badge = match about.as_slice() {
                [] => String::new(),
                [(id, ..)] => (*id).to_owned(),
                [(id, ..), rest @ ..] => format!("{id} +{}", rest.len()),
            };
            Node {
                at,
                x,
                y,
                kind: cut(&one_line(&node.object.kind), NAME).into_owned(),
                name: cut(&one_line(&name), NAME).into_owned(),
                full: if node.present {
                    cut(&full, 400).into_owned()
                } else {
                    format!("{} (not in the bundle)", cut(&full, 400))
                },
                class,
                badge,
                link: about.first().map(|(id, ..)| (*id).to_owned()).unwrap_or_default(),
            }
        })
        .collect();
    let curves = edges
        .iter()
        .filter_map(|edge| {
            let (from, to) = (*place.get(&edge.from)?, *place.get(&edge.to)?);
            let bad = !topology.nodes[edge.to].findings.is_empty()
                && !topology.nodes[edge.from].findings.is_empty();
            Some(Curve {
                from: edge.from,
                to: edge.to,
                path: curve(from, to),
                class: if bad { "bad" } else { "" },
            })
        })
        .collect();
    let omitted = match topology.omitted {
        0 => String::new(),
        number => format!("{} left out", count(number, "object is", "objects are")),
    };
    Some(Picture {
        box_width: BOX_WIDTH,
        width: (x - COLUMN_GAP + MARGIN).max(NARROWEST),
        height: height + MARGIN,
        heads,
        boxes,
        curves,
        omitted,
    })
}

/// The members of each column, moved near to what they are joined with.
fn arrange(drawn: &[usize], edges: &[&TopologyEdge], topology: &Topology) -> Vec<Vec<usize>> {
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); COLUMNS.len()];
    for &at in drawn {
        columns[column(&topology.nodes[at].object.kind)].push(at);
    }
    let mut joined: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for edge in edges {
        joined.entry(edge.from).or_default().push(edge.to);
        joined.entry(edge.to).or_default().push(edge.from);
    }
    let mut row: BTreeMap<usize, usize> = BTreeMap::new();
    let note = |column: &[usize], row: &mut BTreeMap<usize, usize>| {
        // Rows are spread over the height, so that short columns pull as strongly as long ones.
        let step = 100_000 / column.len().max(1);
        for (at, member) in column.iter().enumerate() {
            row.insert(*member, at * step + step / 2);
        }
    };
    for column in &columns {
        note(column, &mut row);
    }
    for sweep in 0..6 {
        for number in 0..columns.len() {
            let number = if sweep % 2 == 0 { number } else { columns.len() - 1 - number };
            let mut members = std::mem::take(&mut columns[number]);
            members.sort_by_key(|at| {
                let near = joined.get(at).map_or(&[][..], Vec::as_slice);
                let sum: usize = near.iter().filter_map(|other| row.get(other)).sum();
                let middle = sum.checked_div(near.len()).unwrap_or(usize::MAX);
                (middle, row.get(at).copied())
            });
            note(&members, &mut row);
            columns[number] = members;
        }
    }
    columns
}

/// From the right edge of one box to the left edge of another, or around the right side when both
/// stand in one column.
fn curve(from: (usize, usize), to: (usize, usize)) -> String {
    let (y1, y2) = (from.1 + BOX_HEIGHT / 2, to.1 + BOX_HEIGHT / 2);
    if from.0 == to.0 {
        let x = from.0 + BOX_WIDTH;
        let bend = x + COLUMN_GAP / 2;
        return format!("M{x} {y1} C{bend} {y1} {bend} {y2} {x} {y2}");
    }
    let (x1, x2) = if from.0 < to.0 { (from.0 + BOX_WIDTH, to.0) } else { (from.0, to.0 + BOX_WIDTH) };
    let middle = usize::midpoint(x1, x2);
    format!("M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}")
}
