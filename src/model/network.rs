//! What network policies let through: NetworkPolicies as the Kubernetes API defines them, and the administrator's
//! policies around them (`AdminNetworkPolicy` before, `BaselineAdminNetworkPolicy` behind).
//!
//! A pod that any NetworkPolicy selects for a direction takes (or makes) only the connections that one of these
//! allows. An administrator's policy decides before that, the lowest priority number first, and the first rule that
//! fits: `Allow`, `Deny`, or `Pass` on to NetworkPolicies; the baseline decides for pods that no NetworkPolicy
//! selects. What cannot be known (an address, the labels of a namespace) counts as allowed: no false alarm.

use std::net::Ipv4Addr;

use super::istio::visibility::host_matches;
use super::workloads::in_namespace;
use super::{Bundle, Object, kinds, labels};
use crate::model::json::Value;

/// The way of a connection, as a pod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It comes in.
    Ingress,
    /// It goes out.
    Egress,
}

impl Direction {
    /// The word of `policyTypes`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::Egress => "Egress",
        }
    }

    /// The fields of a policy: its rules, and the peers of a rule.
    #[must_use]
    pub fn fields(self) -> (&'static str, &'static str) {
        match self {
            Self::Ingress => ("/spec/ingress", "from"),
            Self::Egress => ("/spec/egress", "to"),
        }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub enum Peer<'p> {
    /// A pod.
    Pod(&'p Object),
    /// A host outside the cluster, by name; its address is not known.
    Outside(&'p str),
    /// Something of which only the port is known.
    Unknown,
}

/// A port of a connection: its number, and the name that the target's container gives it.
#[derive(Debug, Clone)]
pub struct Port<'p> {
    /// The number.
    pub number: i64,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// The name of the container's port.
    pub name: Option<&'p str>,
}

/// A policy that forbids a connection, and the JSON pointer of what does.
pub type Barrier<'a> = (&'a Object, String);

/// The policies that forbid a pod a connection; empty when it is allowed.
#[must_use]
pub fn forbidding<'a>(
    bundle: &'a Bundle,
    pod: &Object,
    direction: Direction,
    peer: Peer<'_>,
    port: &Port<'_>,
) -> Vec<Barrier<'a>> {
    // Neither kind of policy applies to a pod in the network of its node.
    if pod.get("/spec/hostNetwork").and_then(Value::as_bool) == Some(true) {
        return Vec::new();
    }
    match administrators(bundle, pod, direction, peer, port) {
        Some(Said::Allow) => return Vec::new(),
        Some(Said::Deny(barrier)) => return vec![barrier],
        Some(Said::Pass) | None => {}
    }
    let policies = selecting(bundle, pod, direction);
    if policies.is_empty() {
        let baseline = bundle.list(&kinds::BASELINE_ADMIN_NETWORK_POLICY);
        return match baseline.into_iter().find_map(|p| says(bundle, p, pod, direction, peer, port)) {
            Some(Said::Deny(barrier)) => vec![barrier],
            Some(Said::Allow | Said::Pass) | None => Vec::new(),
        };
    }
    let (rules, peers) = direction.fields();
    let allowed = policies.iter().any(|policy| {
        policy.array(rules).iter().any(|rule| {
            let listed = rule.get(peers).and_then(Value::as_array).filter(|p| !p.is_empty());
            let fits = listed.is_none_or(|list| list.iter().any(|p| is_peer(bundle, policy, p, peer)));
            fits && allows_port(rule, port)
        })
    });
    if allowed {
        return Vec::new();
    }
    let (rules, _) = direction.fields();
    let shown = |policy: &Object| if policy.get(rules).is_some() { rules } else { "/spec" }.to_owned();
    policies.into_iter().map(|policy| (policy, shown(policy))).collect()
}

fn label_of<'o>(object: &'o Object) -> impl Fn(&str) -> Option<String> + 'o {
    move |key| object.label(key).map(str::to_owned)
}

/// The NetworkPolicies of a namespace that select a pod for a direction.
fn selecting<'a>(bundle: &'a Bundle, pod: &Object, direction: Direction) -> Vec<&'a Object> {
    in_namespace(bundle, &kinds::NETWORK_POLICY, pod.namespace())
        .filter(|policy| {
            let selects = policy.get("/spec/podSelector").is_none_or(|s| labels::matches(s, &label_of(pod)));
            let types = policy.array("/spec/policyTypes");
            let typed = if types.is_empty() {
                // The default: Ingress always, Egress when there are egress rules.
                direction == Direction::Ingress || policy.get("/spec/egress").is_some()
            } else {
                types.iter().any(|t| t.as_str() == Some(direction.word()))
            };
            selects && typed
        })
        .collect()
}

/// Whether a selector takes a namespace; `None` when its labels are not known.
fn takes_namespace(bundle: &Bundle, selector: &Value, namespace: &str) -> Option<bool> {
    const NAME: &str = "kubernetes.io/metadata.name";
    if let Some(object) = bundle.get(&kinds::NAMESPACE, "", namespace) {
        return Some(labels::matches(selector, &|key| {
            object.label(key).map(str::to_owned).or_else(|| (key == NAME).then(|| object.name().to_owned()))
        }));
    }
    // The name is known without the object.
    let pairs = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).unwrap_or_default();
    let keys = expressions.iter().filter_map(|e| e.get("key")?.as_str());
    let by_name = labels::matches(selector, &|key| (key == NAME).then(|| namespace.to_owned()));
    if pairs.clone().map(|(key, _)| key).chain(keys).all(|key| key == NAME) {
        return Some(by_name);
    }
    let other_name = |(key, value): (&str, &Value)| key == NAME && value.as_str() != Some(namespace);
    if pairs.clone().any(other_name) { Some(false) } else { None }
}

/// Whether a peer of a NetworkPolicy's rule is this one.
fn is_peer(bundle: &Bundle, policy: &Object, listed: &Value, peer: Peer<'_>) -> bool {
    if let Some(block) = listed.get("ipBlock") {
        let Peer::Pod(pod) = peer else { return true };
        let address = pod.str("/status/podIP").parse::<Ipv4Addr>();
        let cidr = block.get("cidr").and_then(Value::as_str).unwrap_or_default();
        let Ok(address) = address else { return true };
        let except = block.get("except").and_then(Value::as_array).into_iter().flatten();
        let excluded = except.filter_map(Value::as_str).any(|c| lies_in(address, c) == Some(true));
        return lies_in(address, cidr) != Some(false) && !excluded;
    }
    let pod = match peer {
        Peer::Pod(pod) => pod,
        Peer::Outside(_) => return false,
        Peer::Unknown => return true,
    };
    let namespace = match listed.get("namespaceSelector") {
        None => policy.namespace() == pod.namespace(),
        Some(selector) => takes_namespace(bundle, selector, pod.namespace()).unwrap_or(true),
    };
    namespace && listed.get("podSelector").is_none_or(|s| labels::matches(s, &label_of(pod)))
}

/// Whether an address lies in a range; `None` when the range cannot be read.
fn lies_in(address: Ipv4Addr, cidr: &str) -> Option<bool> {
    let (network, bits) = cidr.split_once('/')?;
    let network = u32::from(network.parse::<Ipv4Addr>().ok()?);
    let bits: u32 = bits.parse().ok().filter(|b| *b <= 32)?;
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Some(network & mask == u32::from(address) & mask)
}

fn allows_port(rule: &Value, port: &Port<'_>) -> bool {
    let Some(ports) = rule.get("ports").and_then(Value::as_array).filter(|p| !p.is_empty()) else {
        return true;
    };
    ports.iter().any(|entry| {
        if entry.get("protocol").and_then(Value::as_str).unwrap_or("TCP") != port.protocol {
            return false;
        }
        match entry.get("port") {
            None => true,
            Some(Value::String(name)) => port.name == Some(&**name) || name.parse() == Ok(port.number),
            Some(number) => {
                let first = number.as_i64().unwrap_or_default();
                let last = entry.get("endPort").and_then(Value::as_i64).unwrap_or(first);
                (first..=last).contains(&port.number)
            }
        }
    })
}

/// What an administrator's policy says to a connection.
enum Said<'a> {
    Allow,
    Deny(Barrier<'a>),
    Pass,
}

/// The first AdminNetworkPolicy that says anything, in the order of their priorities.
fn administrators<'a>(
    bundle: &'a Bundle,
    pod: &Object,
    direction: Direction,
    peer: Peer<'_>,
    port: &Port<'_>,
) -> Option<Said<'a>> {
    let mut policies: Vec<&Object> = bundle.list(&kinds::ADMIN_NETWORK_POLICY).collect();
    policies.sort_by_key(|p| (p.int("/spec/priority").unwrap_or(i64::MAX), p.name().to_owned()));
    policies.into_iter().find_map(|policy| says(bundle, policy, pod, direction, peer, port))
}

/// What one administrator's policy says: its first rule that fits.
fn says<'a>(
    bundle: &'a Bundle,
    policy: &'a Object,
    pod: &Object,
    direction: Direction,
    peer: Peer<'_>,
    port: &Port<'_>,
) -> Option<Said<'a>> {
    // A subject of which the labels are not known is not taken for one that is denied.
    if !takes_pod(bundle, policy.get("/spec/subject")?, pod).unwrap_or(false) {
        return None;
    }
    let (rules, peers) = direction.fields();
    policy.array(rules).iter().enumerate().find_map(|(index, rule)| {
        let action = rule.get("action").and_then(Value::as_str).unwrap_or_default();
        let listed = rule.get(peers).and_then(Value::as_array).unwrap_or_default();
        let fits: Vec<Option<bool>> = listed.iter().map(|p| is_admin_peer(bundle, p, peer)).collect();
        let sure = fits.contains(&Some(true));
        let possible = sure || fits.contains(&None);
        let of_port = admin_port(rule, port);
        match action {
            "Deny" if sure && of_port == Some(true) => Some(Said::Deny((policy, format!("{rules}/{index}")))),
            // Where it is not known whether it allows, nothing behind it is sure to deny.
            "Allow" if possible && of_port != Some(false) => Some(Said::Allow),
            "Pass" if sure && of_port == Some(true) => Some(Said::Pass),
            _ => None,
        }
    })
}

/// Whether a subject (or a peer of kind `namespaces` or `pods`) takes a pod; `None` when that is not known.
fn takes_pod(bundle: &Bundle, subject: &Value, pod: &Object) -> Option<bool> {
    if let Some(selector) = subject.get("namespaces") {
        return takes_namespace(bundle, selector, pod.namespace());
    }
    let pods = subject.get("pods")?;
    let of_pod = pods.get("podSelector").is_none_or(|s| labels::matches(s, &label_of(pod)));
    if !of_pod {
        return Some(false);
    }
    takes_namespace(bundle, pods.get("namespaceSelector").unwrap_or(&Value::Null), pod.namespace())
}

/// Whether a peer of an administrator's rule is this one; `None` when that is not known.
fn is_admin_peer(bundle: &Bundle, listed: &Value, peer: Peer<'_>) -> Option<bool> {
    let list = |key: &str| {
        let list = listed.get(key).and_then(Value::as_array);
        list.map(|list| list.iter().filter_map(Value::as_str).collect::<Vec<&str>>())
    };
    if let Some(ranges) = list("networks") {
        if ranges.iter().any(|range| range.ends_with("/0")) {
            return Some(true);
        }
        let Peer::Pod(pod) = peer else { return None };
        let address = pod.str("/status/podIP").parse::<Ipv4Addr>().ok()?;
        return Some(ranges.iter().any(|range| lies_in(address, range) == Some(true)));
    }
    if let Some(names) = list("domainNames") {
        return match peer {
            Peer::Outside(host) => Some(names.iter().any(|name| host_matches(name, host))),
            Peer::Pod(_) => Some(false),
            Peer::Unknown => None,
        };
    }
    match peer {
        Peer::Pod(pod) if listed.get("nodes").is_none() => takes_pod(bundle, listed, pod),
        Peer::Pod(_) | Peer::Outside(_) => Some(false),
        Peer::Unknown => None,
    }
}

/// Whether an administrator's rule is about a port; `None` when a name is not known.
fn admin_port(rule: &Value, port: &Port<'_>) -> Option<bool> {
    let Some(ports) = rule.get("ports").and_then(Value::as_array).filter(|p| !p.is_empty()) else {
        return Some(true);
    };
    let mut unknown = false;
    for entry in ports {
        let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or("TCP");
        let number = |pointer: &str| entry.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
        let fits = if entry.get("portNumber").is_some() {
            text("/portNumber/protocol") == port.protocol && number("/portNumber/port") == port.number
        } else if entry.get("portRange").is_some() {
            text("/portRange/protocol") == port.protocol
                && (number("/portRange/start")..=number("/portRange/end")).contains(&port.number)
        } else {
            let name = entry.get("namedPort").and_then(Value::as_str);
            unknown |= port.name.is_none();
            name.is_some() && name == port.name
        };
        if fits {
            return Some(true);
        }
    }
    if unknown { None } else { Some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    fn object(value: Value) -> Object {
        Object::new(value, "f".into(), None).expect("an object")
    }

    fn pod(namespace: &str, app: &str) -> Object {
        object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": app,
            "labels": {"app": app}}, "status": {"podIP": "10.0.0.7"}}))
    }

    fn network_policy(egress: Value) -> Object {
        object(
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "a", "name": "np"},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}}),
        )
    }

    fn admin(kind: &str, priority: i64, egress: Value) -> Object {
        object(
            json!({"apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": kind, "metadata": {"name": format!("p{priority}")},
            "spec": {"priority": priority, "subject": {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}}, "egress": egress}}),
        )
    }

    fn bundle(policies: Vec<Object>) -> Bundle {
        let mut bundle = Bundle::default();
        for namespace in ["a", "b"] {
            bundle.add_object(object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"tier": namespace}}})));
        }
        for policy in policies {
            bundle.add_object(policy);
        }
        bundle
    }

    fn barriers(policies: Vec<Object>, peer: Peer<'_>, port: i64) -> Vec<String> {
        let bundle = bundle(policies);
        let port = Port { number: port, protocol: "TCP", name: None };
        let found = forbidding(&bundle, &pod("a", "broker"), Direction::Egress, peer, &port);
        found.into_iter().map(|(policy, pointer)| format!("{}{pointer}", policy.name())).collect()
    }

    #[test]
    fn egress_of_network_policies_to_the_outside() {
        let table = [
            (json!([]), false),
            (json!([{}]), true),
            (json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]), true),
            (json!([{"to": [{"namespaceSelector": {}}]}]), false),
            (json!([{"ports": [{"port": 53, "protocol": "UDP"}]}]), false),
            (json!([{"ports": [{"port": 443}]}]), true),
            (json!([{"ports": [{"port": 400, "endPort": 500}]}]), true),
            (json!([{"ports": [{"port": 80}]}]), false),
        ];
        for (egress, allowed) in table {
            let found = barriers(vec![network_policy(egress.clone())], Peer::Outside("api.example.com"), 443);
            assert_eq!(found.is_empty(), allowed, "{egress}: {found:?}");
        }
    }

    #[test]
    fn the_administrator_decides_before_and_behind_network_policies() {
        let rule = |action: &str, to: Value| json!([{"action": action, "to": [to]}]);
        let everywhere = || json!({"networks": ["0.0.0.0/0"]});
        let range = || json!({"networks": ["203.0.113.0/24"]});
        let host = |name: &str| json!({"domainNames": [name]});
        let anp = |priority, egress| admin("AdminNetworkPolicy", priority, egress);
        let banp = |egress| admin("BaselineAdminNetworkPolicy", 0, egress);
        let closed = || network_policy(json!([]));
        let open = || network_policy(json!([{}]));
        let cases: Vec<(&str, Vec<Object>, &[&str])> = vec![
            ("nothing", vec![], &[]),
            ("denied before", vec![open(), anp(5, rule("Deny", everywhere()))], &["p5/spec/egress/0"]),
            ("allowed before", vec![closed(), anp(5, rule("Allow", host("*.example.com")))], &[]),
            ("passed on", vec![closed(), anp(5, rule("Pass", everywhere()))], &["np/spec/egress"]),
            (
                "the lower number first",
                vec![anp(9, rule("Deny", everywhere())), anp(5, rule("Allow", everywhere()))],
                &[],
            ),
            // `Pass` ends the administrator's say, also that of the next priority.
            (
                "passed over another",
                vec![anp(9, rule("Deny", everywhere())), anp(5, rule("Pass", everywhere()))],
                &[],
            ),
            (
                "a range that may hold the host",
                vec![anp(9, rule("Deny", everywhere())), anp(5, rule("Allow", range()))],
                &[],
            ),
            ("a denied range that may not", vec![anp(5, rule("Deny", range()))], &[]),
            ("another host", vec![anp(5, rule("Deny", host("other.example.com")))], &[]),
            ("namespaces are inside", vec![anp(5, rule("Deny", json!({"namespaces": {}})))], &[]),
            ("the baseline", vec![banp(rule("Deny", everywhere()))], &["p0/spec/egress/0"]),
            ("the baseline behind a policy", vec![open(), banp(rule("Deny", everywhere()))], &[]),
        ];
        for (name, policies, expected) in cases {
            assert_eq!(barriers(policies, Peer::Outside("api.example.com"), 443), expected, "{name}");
        }
    }

    #[test]
    fn pods_and_ports_of_administrators() {
        let table = [
            (json!({"namespaces": {"matchLabels": {"tier": "b"}}}), json!(null), true),
            (json!({"namespaces": {"matchLabels": {"tier": "a"}}}), json!(null), false),
            (
                json!({"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "server"}}}}),
                json!(null),
                true,
            ),
            (
                json!({"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}}),
                json!(null),
                false,
            ),
            (json!({"networks": ["10.0.0.0/8"]}), json!(null), true),
            (json!({"networks": ["192.168.0.0/16"]}), json!(null), false),
            (json!({"nodes": {}}), json!(null), false),
            (json!({"namespaces": {}}), json!([{"portNumber": {"protocol": "TCP", "port": 8080}}]), true),
            (json!({"namespaces": {}}), json!([{"portNumber": {"protocol": "UDP", "port": 8080}}]), false),
            (json!({"namespaces": {}}), json!([{"portRange": {"start": 8000, "end": 9000}}]), true),
            (json!({"namespaces": {}}), json!([{"namedPort": "mcp"}]), false),
        ];
        let server = pod("b", "server");
        for (to, ports, denied) in table {
            let rules = json!([{"action": "Deny", "to": [to.clone()], "ports": ports.clone()}]);
            let found = barriers(vec![admin("AdminNetworkPolicy", 1, rules)], Peer::Pod(&server), 8080);
            assert_eq!(!found.is_empty(), denied, "{to} {ports}");
        }
    }
}
