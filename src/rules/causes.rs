//! From drafts to a report: which finding causes which, ids, order, counts.
//!
//! A finding's causes come from what its rule says (`because_of`), else from the nearest objects
//! it depends on that have a finding of one of the rule's `caused_by` codes. Cycles are broken and
//! indirect links dropped, so that every consequence hangs under what directly explains it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Context, Draft, Findings, all, remedy};
use crate::model::graph::{Edge, Graph, Key, Node};
use crate::model::mcp::ExtensionFault;
use crate::model::{Bundle, Missing};
use crate::report::{
    BundleInfo, Coverage, Finding, ObjectRef, Report, SCHEMA_VERSION, Severity, Summary, Tool, Unknown,
};

/// How many direct causes of one finding are kept.
const CAUSES: usize = 16;
/// How many consequences and dependents of one root are counted to order the roots.
const COUNTED: usize = 1000;

/// Links the drafts to their causes and makes the report.
#[must_use]
pub fn report(context: &Context<'_>, findings: Findings) -> Report {
    let bundle = context.bundle;
    let (drafts, undecided) = findings.into_parts();
    let mut drafts = sorted(drafts);
    switched_off(context, &mut drafts);
    readyz_cascade(context, &mut drafts);
    let causes = link(&drafts, context.graph());
    let findings = number(context, &drafts, &causes);
    let unknown = unknowns(&undecided);
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    Report {
        schema_version: SCHEMA_VERSION.to_owned(),
        tool: Tool { name: "oc-mcpgw".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        bundle: BundleInfo {
            cluster: bundle.meta.cluster.clone(),
            collected_at: bundle
                .meta
                .collected_at
                .map(|t| t.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
            source: bundle.meta.origin.as_str().to_owned(),
        },
        summary: Summary {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            infos: count(Severity::Info),
            roots: findings.iter().filter(|f| f.caused_by.is_empty()).count(),
            unknown: unknown.len(),
        },
        coverage: coverage(bundle, &undecided),
        suppressions: Vec::new(),
        topology: super::topology::topology(context, &findings),
        timeline: super::timeline::timeline(bundle),
        findings,
        unknown,
    }
}

/// What is wrong with a registration that is switched off disturbs nobody, but would when it is switched on.
fn switched_off(context: &Context<'_>, drafts: &mut [Draft]) {
    let disabled = context.chain().registrations.iter().filter(|r| r.is_disabled());
    let disabled: BTreeSet<Key> = disabled.map(|r| Key::from(&r.object.reference())).collect();
    for draft in drafts.iter_mut().filter(|_| !disabled.is_empty()) {
        if disabled.contains(&Key::from(&draft.objects[0])) {
            draft.severity = Severity::Info;
        }
    }
}

/// A broker is not ready while it is configured with servers and reaches none of them (`/readyz`).
/// Then the servers are the cause of the broker, and not the other way round.
fn readyz_cascade(context: &Context<'_>, drafts: &mut [Draft]) {
    const SERVERS: [&str; 5] = ["MG417", "MG405", "MG406", "MG409", "MG410"];
    const BROKER: [&str; 3] = ["MG105", "MG106", "MG107"];
    let chain = context.chain();
    for (at, extension) in chain.extensions.iter().enumerate() {
        let Some(ExtensionFault::BrokerNotReady(Some(deployment))) =
            extension.faults.iter().find(|f| matches!(f, ExtensionFault::BrokerNotReady(_)))
        else {
            continue;
        };
        let broker = Key::from(&deployment.reference());
        let own = |draft: &Draft| {
            Key::from(&draft.objects[0]) == broker
                && !BROKER.contains(&draft.rule.code)
                && draft.severity == Severity::Error
        };
        if !drafts.iter().any(|d| Key::from(&d.objects[0]) == broker) || drafts.iter().any(own) {
            continue;
        }
        let failing: BTreeSet<Key> = drafts
            .iter()
            .filter(|d| SERVERS.contains(&d.rule.code) && d.severity == Severity::Error)
            .flat_map(|d| d.objects.iter().map(Key::from))
            .collect();
        let servers: Vec<crate::report::ObjectRef> = chain
            .served_by(at)
            .map(|registration| &chain.registrations[registration])
            .filter(|r| r.extensions.contains(&at) && !r.is_disabled())
            .map(|r| r.object.reference())
            .collect();
        if servers.is_empty() || !servers.iter().all(|server| failing.contains(&Key::from(server))) {
            continue;
        }
        for draft in drafts.iter_mut() {
            if Key::from(&draft.objects[0]) == broker && BROKER.contains(&draft.rule.code) {
                draft.because_of.clear();
                for server in servers.iter().take(CAUSES) {
                    draft.because_of(&SERVERS, server.clone());
                }
            }
        }
    }
}

/// By code and object; the same finding about the same objects is kept once.
fn sorted(mut drafts: Vec<Draft>) -> Vec<Draft> {
    drafts.sort_by(|a, b| (a.rule.code, &a.objects, &a.title).cmp(&(b.rule.code, &b.objects, &b.title)));
    drafts.dedup_by(|again, first| {
        again.rule.code == first.rule.code && again.objects == first.objects && again.title == first.title
    });
    drafts
}

/// The direct causes of each draft, acyclic and without indirect links.
fn link(drafts: &[Draft], graph: &Graph) -> Vec<Vec<usize>> {
    let hinted = hints(drafts, |draft| &draft.because_of);
    let nearest = nearest_causes(drafts, graph);
    let direct: Vec<Vec<usize>> = hinted
        .into_iter()
        .zip(nearest)
        .zip(drafts)
        .map(|((hinted, nearest), draft)| match hinted.is_empty() && !draft.explains_itself {
            true => nearest,
            false => hinted,
        })
        .collect();
    reduced(&acyclic(&direct))
}

/// Resolves pairs of codes and object to the findings that they mean.
fn hints<'d>(
    drafts: &'d [Draft],
    pairs: impl Fn(&'d Draft) -> &'d Vec<(Vec<&'static str>, crate::report::ObjectRef)>,
) -> Vec<Vec<usize>> {
    // Of an object's findings by code: the places of those about it, and of those that also name it. A Gateway is
    // named by thousands.
    let mut by_object: HashMap<Key, HashMap<&str, [Vec<usize>; 2]>> = HashMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        for (position, object) in draft.objects.iter().enumerate() {
            let by_code = by_object.entry(Key::from(object)).or_default();
            let lists = by_code.entry(draft.rule.code).or_default();
            lists[usize::from(position > 0)].push(at);
        }
    }
    drafts
        .iter()
        .enumerate()
        .map(|(at, draft)| {
            let mut found: Vec<usize> = Vec::new();
            for (codes, object) in pairs(draft) {
                let Some(by_code) = by_object.get(&Key::from(object)) else { continue };
                // The finding whose subject is the object; else one that is also about it.
                let first_of = |list: usize| {
                    let lists = codes.iter().filter_map(|code| by_code.get(code)).map(|lists| &lists[list]);
                    let mut first: Vec<usize> = lists
                        .flat_map(|list| list.iter().copied().filter(|&other| other != at).take(CAUSES))
                        .collect();
                    first.sort_unstable();
                    first.truncate(CAUSES);
                    first
                };
                let about = first_of(0);
                found.extend(if about.is_empty() { first_of(1) } else { about });
            }
            found.sort_unstable();
            found.dedup();
            found.truncate(CAUSES);
            found
        })
        .collect()
}

/// For each draft, the findings of its rule's `caused_by` codes on the nearest objects that its
/// subject depends on. One walk per rule over the reversed graph serves all its findings.
fn nearest_causes(drafts: &[Draft], graph: &Graph) -> Vec<Vec<usize>> {
    let subject: Vec<Option<Node>> = drafts.iter().map(|d| graph.node(&d.objects[0])).collect();
    let mut by_key: HashMap<Key, Vec<usize>> = HashMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        by_key.entry(Key::from(&draft.objects[0])).or_default().push(at);
    }
    let mut by_rule: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        if !draft.rule.caused_by.is_empty() {
            by_rule.entry(draft.rule.code).or_default().push(at);
        }
    }
    let mut causes = vec![Vec::new(); drafts.len()];
    for effects in by_rule.values() {
        let rule = drafts[effects[0]].rule;
        let is_cause = |at: &usize| {
            let code = drafts[*at].rule.code;
            code != rule.code && rule.caused_by.contains(&code)
        };
        // An object outside the graph has no dependencies, but may carry its own cause.
        for &effect in effects {
            let same = by_key.get(&Key::from(&drafts[effect].objects[0])).into_iter().flatten();
            causes[effect] = same.copied().filter(is_cause).take(CAUSES).collect();
        }
        let mut reached: HashMap<Node, Vec<usize>> = HashMap::new();
        for at in (0..drafts.len()).filter(is_cause) {
            if let Some(node) = subject[at] {
                reached.entry(node).or_default().push(at);
            }
        }
        if reached.is_empty() {
            continue;
        }
        let mut frontier: Vec<Node> = reached.keys().copied().collect();
        frontier.sort_unstable();
        while !frontier.is_empty() {
            let mut next: BTreeMap<Node, Vec<usize>> = BTreeMap::new();
            for node in frontier {
                for &dependent in graph.needed_by(node) {
                    if !reached.contains_key(&dependent) {
                        let list = next.entry(dependent).or_default();
                        list.extend(&reached[&node]);
                        list.sort_unstable();
                        list.dedup();
                        list.truncate(CAUSES);
                    }
                }
            }
            frontier = next.keys().copied().collect();
            reached.extend(next);
        }
        for &effect in effects {
            if let Some(found) = subject[effect].and_then(|node| reached.get(&node)) {
                causes[effect].clone_from(found);
            }
        }
    }
    causes
}

/// Drops the links that close a cycle. The walk goes in the order of the drafts, so that the same
/// links are dropped every time.
fn acyclic(direct: &[Vec<usize>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut mark = vec![Mark::New; direct.len()];
    let mut kept = vec![Vec::new(); direct.len()];
    for start in 0..direct.len() {
        if mark[start] != Mark::New {
            continue;
        }
        mark[start] = Mark::Open;
        let mut path = vec![(start, 0usize)];
        while let Some((at, next)) = path.pop() {
            let Some(&cause) = direct[at].get(next) else {
                mark[at] = Mark::Done;
                continue;
            };
            path.push((at, next + 1));
            match mark[cause] {
                Mark::Open => {}
                Mark::Done => kept[at].push(cause),
                Mark::New => {
                    kept[at].push(cause);
                    mark[cause] = Mark::Open;
                    path.push((cause, 0));
                }
            }
        }
    }
    kept
}

/// Drops a cause that is also the cause of another cause.
fn reduced(direct: &[Vec<usize>]) -> Vec<Vec<usize>> {
    direct
        .iter()
        .map(|causes| {
            if causes.len() < 2 {
                return causes.clone();
            }
            let mut beyond: BTreeSet<usize> = BTreeSet::new();
            let mut open: Vec<usize> = causes.iter().flat_map(|&c| direct[c].iter().copied()).collect();
            while let Some(at) = open.pop() {
                if beyond.len() < COUNTED && beyond.insert(at) {
                    open.extend(&direct[at]);
                }
            }
            causes.iter().copied().filter(|c| !beyond.contains(c)).collect()
        })
        .collect()
}

/// Gives ids and the final order, and turns drafts into findings.
fn number(context: &Context<'_>, drafts: &[Draft], causes: &[Vec<usize>]) -> Vec<Finding> {
    let mut effects = vec![Vec::new(); drafts.len()];
    for (effect, list) in causes.iter().enumerate() {
        for &cause in list {
            effects[cause].push(effect);
        }
    }
    let served = served(context);
    // The one that blocks most comes first: what breaks something before what may, then by the servers that need it,
    // by what follows from it, by its own severity.
    let mut roots: Vec<usize> = (0..drafts.len()).filter(|&at| causes[at].is_empty()).collect();
    roots.sort_by_cached_key(|&at| {
        let (worst, count, named) = consequences(at, drafts, &effects);
        let needing = servers(context.graph(), &served, &drafts[at].objects[0]);
        (worst, Reverse(needing.max(named)), Reverse(count), drafts[at].severity, at)
    });
    let mut ids = vec![String::new(); drafts.len()];
    for (position, &at) in roots.iter().enumerate() {
        ids[at] = format!("R{}", position + 1);
    }
    let mut order: Vec<usize> = (0..drafts.len()).collect();
    // The drafts are already in the order of code and object.
    order.sort_by_key(|&at| (!causes[at].is_empty(), drafts[at].severity, at));
    let followers = order.iter().filter(|&&at| !causes[at].is_empty());
    for (position, &at) in followers.enumerate() {
        ids[at] = format!("S{}", position + 1);
    }
    let hidden = hints(drafts, |draft| &draft.hidden_behind);
    order
        .into_iter()
        .map(|at| {
            let draft = &drafts[at];
            let name = |list: &[usize]| list.iter().map(|&other| ids[other].clone()).collect();
            Finding {
                id: ids[at].clone(),
                code: draft.rule.code.to_owned(),
                name: draft.rule.name.to_owned(),
                severity: draft.severity,
                title: draft.title.clone(),
                objects: draft.objects.clone(),
                evidence: draft.evidence.clone(),
                remedy: remedy::with_proof(draft, context.bundle),
                caused_by: name(&causes[at]),
                hidden_behind: name(&hidden[at]),
                section: draft.rule.section.to_owned(),
                docs: format!("explain {}", draft.rule.code),
            }
        })
        .collect()
}

/// How many registered servers each extension serves, or would if it were in order.
fn served(context: &Context<'_>) -> HashMap<Node, usize> {
    let (chain, graph) = (context.chain(), context.graph());
    let mut found = HashMap::new();
    for registration in chain.registrations.iter().filter(|r| !r.is_disabled()) {
        for at in chain.meant_extensions(registration) {
            if let Some(node) = graph.node(&chain.extensions[at].object.reference()) {
                *found.entry(node).or_default() += 1;
            }
        }
    }
    found
}

/// How many registered servers need this object to work, itself counted: by their own references, or as servers of an
/// extension that needs it.
fn servers(graph: &Graph, served: &HashMap<Node, usize>, object: &ObjectRef) -> usize {
    let Some(node) = graph.node(object) else { return 0 };
    // A filter acts for the extension that it was made for.
    let maker =
        graph.needs(node).iter().filter(|(_, edge)| *edge == Edge::CreatedBy).map(|(maker, _)| *maker);
    let mut open: Vec<Node> =
        std::iter::once(node).chain(maker.filter(|_| object.kind == "EnvoyFilter")).collect();
    let mut seen: HashSet<Node> = open.iter().copied().collect();
    let (mut found, mut through) = (0, 0);
    while let Some(node) = open.pop() {
        found += usize::from(graph.key(node).kind == "MCPServerRegistration");
        through += served.get(&node).copied().unwrap_or_default();
        if seen.len() < COUNTED {
            open.extend(graph.needed_by(node).iter().copied().filter(|next| seen.insert(*next)));
        }
    }
    found.max(through)
}

/// The worst severity of a finding and of what follows from it, directly or not; how many follow, and how many registered
/// servers they are about.
fn consequences(root: usize, drafts: &[Draft], effects: &[Vec<usize>]) -> (Severity, usize, usize) {
    let mut seen = BTreeSet::new();
    let mut named: HashSet<&ObjectRef> = HashSet::new();
    let mut worst = drafts[root].severity;
    let mut open = effects[root].clone();
    while let Some(at) = open.pop() {
        if seen.len() >= COUNTED {
            break;
        }
        if seen.insert(at) {
            worst = worst.min(drafts[at].severity);
            named.extend(drafts[at].objects.first().filter(|o| o.kind == "MCPServerRegistration"));
            open.extend(&effects[at]);
        }
    }
    (worst, seen.len(), named.len())
}

/// One entry per missing piece of evidence, with all the rules that want it.
fn unknowns(undecided: &BTreeSet<(&'static str, &'static str, Missing)>) -> Vec<Unknown> {
    let mut by_missing: BTreeMap<&Missing, BTreeMap<&str, &str>> = BTreeMap::new();
    for (rule, code, missing) in undecided {
        by_missing.entry(missing).or_default().insert(code, rule);
    }
    by_missing
        .into_iter()
        .map(|(missing, rules)| Unknown {
            rule: rules.values().copied().collect::<Vec<_>>().join(", "),
            codes: rules.keys().map(|&code| code.to_owned()).collect(),
            missing: missing.what.clone(),
            how_to_gather: missing.how.text().to_owned(),
        })
        .collect()
}

fn coverage(bundle: &Bundle, undecided: &BTreeSet<(&'static str, &'static str, Missing)>) -> Coverage {
    let unknown: BTreeSet<&str> = undecided.iter().map(|(_, code, _)| *code).collect();
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, kind) in bundle.kinds() {
        *groups.entry(kind).or_default() += 1;
    }
    let mut objects = BTreeMap::new();
    for (group, kind) in bundle.kinds() {
        let unique = groups.get(kind) == Some(&1) || group.is_empty();
        let name = if unique { kind.to_owned() } else { format!("{kind}.{group}") };
        objects.insert(name, bundle.list_dynamic(group, kind).count());
    }
    Coverage {
        only: Vec::new(),
        severity: None,
        rules_decided: all().len() - unknown.len(),
        rules_unknown: unknown.len(),
        objects,
        logs: bundle.logs().len(),
        skipped: bundle.problems.iter().chain(bundle.left_out()).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_cut_and_indirect_links_dropped() {
        // 0 <- 1 <- 2, 2 also names 0, and 0 names 2.
        let direct = vec![vec![2], vec![0], vec![0, 1]];
        assert_eq!(acyclic(&direct), [vec![2], vec![], vec![1]]);
        let direct = vec![vec![], vec![0], vec![0, 1]];
        assert_eq!(reduced(&acyclic(&direct)), [vec![], vec![0], vec![1]]);
    }
}
