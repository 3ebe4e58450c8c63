//! Commands that several remedies need: moving and recreating objects, making Secrets, allowing connections.
//!
//! All are complete: real names filled in, and `${NAME}` only for what nobody but the reader knows.

use serde_json::{Value, json};

use crate::model::Object;

/// The resource word of an object for the command line.
fn word(object: &Object) -> String {
    object.kind().to_lowercase()
}

/// What the API server adds to an object, to be left out of a copy.
const SERVER_SIDE: &str =
    "del(.metadata.uid,.metadata.resourceVersion,.metadata.creationTimestamp,.metadata.generation,.status)";

/// Moves an object into another namespace: the copy first, so that nothing is lost between. Further edits are
/// steps of `jq`.
#[must_use]
pub(super) fn moved(object: &Object, namespace: &str, edits: &[String]) -> [String; 2] {
    let mut filter = format!("{SERVER_SIDE} | .metadata.namespace=\"{namespace}\"");
    for edit in edits {
        filter.push_str(&format!(" | {edit}"));
    }
    let (kind, from, name) = (word(object), object.namespace(), object.name());
    [
        format!("oc -n {from} get {kind} {name} -o json | jq '{filter}' | oc apply -f -"),
        format!("oc -n {from} delete {kind} {name}"),
    ]
}

/// Deletes an object and makes it again, for fields that cannot be changed.
#[must_use]
pub(super) fn recreated(object: &Object, edits: &[String]) -> String {
    let mut filter = SERVER_SIDE.to_owned();
    for edit in edits {
        filter.push_str(&format!(" | {edit}"));
    }
    let (kind, namespace, name) = (word(object), object.namespace(), object.name());
    format!("oc -n {namespace} get {kind} {name} -o json | jq '{filter}' | oc replace --force -f -")
}

/// Makes a Secret from a file that the reader has, with the label by which the controller finds it.
#[must_use]
pub(super) fn secret(namespace: &str, name: &str, key: &str, variable: &str) -> [String; 2] {
    [
        format!("oc -n {namespace} create secret generic {name} --from-file={key}=\"${{{variable}}}\""),
        format!("oc -n {namespace} label secret {name} mcp.kuadrant.io/secret=true"),
    ]
}

/// The memory limit twice as high: `256Mi` becomes `512Mi`. `None` when it is no number with a unit.
#[must_use]
pub(super) fn doubled(limit: &str) -> Option<String> {
    let digits = limit.find(|c: char| !c.is_ascii_digit()).unwrap_or(limit.len());
    let number: u64 = limit[..digits].parse().ok()?;
    let unit = &limit[digits..];
    let known = ["", "Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"].contains(&unit);
    known.then(|| format!("{}{unit}", number.saturating_mul(2)))
}

/// The labels that tell a pod's siblings from other pods of the namespace: without those of one rollout.
fn lasting_labels(pod: &Object) -> serde_json::Map<String, Value> {
    const OF_ONE_ROLLOUT: [&str; 5] = [
        "pod-template-hash",
        "controller-revision-hash",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "pod-template-generation",
    ];
    let labels = pod.labels().cloned().unwrap_or_default();
    let lasting = labels.iter().filter(|(key, _)| !OF_ONE_ROLLOUT.contains(key));
    lasting.map(|(key, value)| (key.to_owned(), value.to_json())).collect()
}

/// A NetworkPolicy that lets a pod and its siblings be reached (`Ingress`) or go out (`Egress`) on a port, from or
/// to a namespace or everywhere. It is only of use where another policy selects the pods already: then it adds
/// to what is allowed. `None` for a pod without labels: a policy for it would select the whole namespace.
#[must_use]
pub(super) fn allow(
    pod: &Object,
    direction: &str,
    namespaces: &[&str],
    port: i64,
    protocol: &str,
) -> Option<String> {
    let labels = lasting_labels(pod);
    if labels.is_empty() {
        return None;
    }
    let (rules, peers) = if direction == "Ingress" { ("ingress", "from") } else { ("egress", "to") };
    let mut rule = json!({"ports": [{"port": port, "protocol": protocol}]});
    if !namespaces.is_empty() {
        let of = |name: &&str| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        rule[peers] = namespaces.iter().map(of).collect();
    }
    // Two servers of one namespace may need the same port.
    let app =
        ["app.kubernetes.io/name", "app", "k8s-app"].iter().find_map(|key| pod.label(key)).unwrap_or("pods");
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": format!("allow-{app}-{rules}-{port}"), "namespace": pod.namespace()},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": [direction], rules: [rule]},
    });
    Some(format!("oc apply -f - <<<'{policy}'"))
}

/// Lets an administrator's policy allow a connection before its other rules: to or from namespaces, or everywhere.
#[must_use]
pub(super) fn allow_before(
    policy: &Object,
    direction: &str,
    namespaces: &[&str],
    port: i64,
    protocol: &str,
) -> String {
    let (rules, peers) = if direction == "Ingress" { ("ingress", "from") } else { ("egress", "to") };
    let of = |name: &&str| json!({"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    let everywhere = || json!([{"networks": ["0.0.0.0/0"]}]);
    let listed: Value =
        if namespaces.is_empty() { everywhere() } else { namespaces.iter().map(of).collect() };
    let rule = json!({"name": "mcp-gateway", "action": "Allow", peers: listed,
        "ports": [{"portNumber": {"protocol": protocol, "port": port}}]});
    let step = json!([{"op": "add", "path": format!("/spec/{rules}/0"), "value": rule}]);
    format!("oc patch {} {} --type=json -p '{step}'", word(policy), policy.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_limits() {
        for (limit, expected) in [
            ("256Mi", Some("512Mi")),
            ("1Gi", Some("2Gi")),
            ("1000", Some("2000")),
            ("1.5Gi", None),
            ("", None),
        ] {
            assert_eq!(doubled(limit).as_deref(), expected, "{limit}");
        }
    }

    #[test]
    fn an_allowing_policy_selects_the_siblings_and_no_more() {
        let pod = |labels: Value| {
            let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "n", "name": "p", "labels": labels}});
            Object::new(value, "f".into(), None).expect("an object")
        };
        let command = allow(&pod(json!({"app": "a", "pod-template-hash": "x"})), "Egress", &[], 443, "TCP");
        let command = command.expect("a policy");
        assert!(
            command.contains("\"matchLabels\":{\"app\":\"a\"}") && !command.contains("\"to\""),
            "{command}"
        );
        assert_eq!(allow(&pod(json!({"pod-template-hash": "x"})), "Egress", &[], 443, "TCP"), None);
    }
}
