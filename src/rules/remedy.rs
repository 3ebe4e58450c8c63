//! Commands that several remedies need: moving and recreating objects, making Secrets, allowing connections.
//!
//! All are complete: real names filled in, and `${NAME}` only for what nobody but the reader knows.

use serde_json::{Value, json};

use super::Draft;
use super::evidence::oc;
use crate::model::gateway_api::Listener;
use crate::model::mcp::Extension;
use crate::model::{Bundle, Object, kinds};
use crate::report::{ObjectRef, Remedy, Severity};
use crate::shell::{Command, Words, shell};

/// The resource word of an object for the command line.
fn word(object: &Object) -> String {
    object.kind().to_lowercase()
}

/// Merges fields into an object (RFC 7386).
#[must_use]
pub(super) fn merge(object: &Object, fields: Value) -> Command {
    let (kind, name) = (word(object), object.name());
    shell!("{} patch {} {} --type=merge -p {}", oc(&object.reference()), kind, name, fields)
}

/// Changes an object step by step (RFC 6902).
#[must_use]
pub(super) fn patch(object: &Object, steps: Value) -> Command {
    let (kind, name) = (word(object), object.name());
    shell!("{} patch {} {} --type=json -p {}", oc(&object.reference()), kind, name, steps)
}

/// Asks for a path of the MCP gateway as its clients do.
pub(super) fn curl(extension: &Extension<'_>, path: &str) -> Command {
    let port = extension.listener.map_or(8080, |l| l.port);
    let host = extension.public_host().unwrap_or_else(|| "HOST".to_owned());
    match extension.listener.is_some_and(|l| l.protocol == "HTTPS") {
        true => shell!("curl -sik https://{}:{}{}", host, port, path),
        false => shell!("curl -si http://{}:{}{}", host, port, path),
    }
}

/// Lets a listener take routes from a namespace: by the labels that its selector asks for, where the namespace lacks
/// them, else by opening the listener to all.
pub(super) fn admit(bundle: &Bundle, gateway: &Object, listener: &Listener<'_>, namespace: &str) -> Command {
    let namespaces = listener.value.pointer("/allowedRoutes/namespaces");
    let field = |key: &str| namespaces.and_then(|namespaces| namespaces.get(key));
    let by_selector = field("from").and_then(|from| from.as_str()) == Some("Selector");
    let selector =
        field("selector").filter(|_| by_selector).map(crate::model::json::Value::to_json).unwrap_or_default();
    let object = bundle.get(&kinds::NAMESPACE, "", namespace);
    let has = |key: &str, value: &str| object.is_some_and(|object| object.label(key) == Some(value));
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let mut words: Vec<String> = pairs
        .filter_map(|(key, value)| value.as_str().map(|value| (key, value)))
        .filter(|(key, value)| !has(key, value))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let is = object.and_then(|object| object.label(key));
        words.extend(match (expression["operator"].as_str().unwrap_or_default(), is) {
            ("In", is) if !is.is_some_and(|is| values.contains(&is)) => {
                values.first().map(|value| format!("{key}={value}"))
            }
            ("Exists", None) => Some(format!("{key}=true")),
            ("NotIn", Some(is)) if values.contains(&is) => Some(format!("{key}-")),
            ("DoesNotExist", Some(_)) => Some(format!("{key}-")),
            _ => None,
        });
    }
    if !words.is_empty() {
        return shell!("oc label namespace {} {} --overwrite", namespace, Words(&words));
    }
    // Its kinds stay as they are.
    let (pointer, value) = match listener.value.get("allowedRoutes") {
        Some(_) => ("/allowedRoutes/namespaces", json!({"from": "All"})),
        None => ("/allowedRoutes", json!({"namespaces": {"from": "All"}})),
    };
    patch(gateway, json!([{"op": "add", "path": listener.pointer(pointer), "value": value}]))
}

/// What the API server adds to an object, to be left out of a copy.
const SERVER_SIDE: &str =
    "del(.metadata.uid,.metadata.resourceVersion,.metadata.creationTimestamp,.metadata.generation,.status)";

/// The filter of `jq` that sets fields of a copy: each a path, made of constants only, and its value; `null` for
/// a field to be left out.
fn filter(edits: &[(&str, Value)]) -> String {
    edits.iter().fold(SERVER_SIDE.to_owned(), |filter, (path, value)| match value {
        Value::Null => format!("{filter} | del({path})"),
        value => format!("{filter} | {path}={value}"),
    })
}

/// Moves an object into another namespace: the copy first, so that nothing is lost between. Further edits are
/// paths of `jq` and their values.
#[must_use]
pub(super) fn moved(object: &Object, namespace: &str, edits: &[(&str, Value)]) -> [Command; 2] {
    let mut all = vec![(".metadata.namespace", json!(namespace))];
    all.extend(edits.iter().cloned());
    let (kind, from, name) = (word(object), object.namespace(), object.name());
    [
        shell!("oc -n {} get {} {} -o json | jq {} | oc apply -f -", from, kind, name, filter(&all)),
        shell!("oc -n {} delete {} {}", from, kind, name),
    ]
}

/// Makes a copy of an object under another name, with further edits as for [`moved`].
#[must_use]
pub(super) fn copied(object: &Object, as_name: &str, edits: &[(&str, Value)]) -> Command {
    let mut all = vec![(".metadata.name", json!(as_name))];
    all.extend(edits.iter().cloned());
    let (kind, namespace, name) = (word(object), object.namespace(), object.name());
    shell!("oc -n {} get {} {} -o json | jq {} | oc apply -f -", namespace, kind, name, filter(&all))
}

/// Deletes an object and makes it again, for fields that cannot be changed.
#[must_use]
pub(super) fn recreated(object: &Object, edits: &[(&str, Value)]) -> Command {
    let (kind, namespace, name) = (word(object), object.namespace(), object.name());
    shell!(
        "oc -n {} get {} {} -o json | jq {} | oc replace --force -f -",
        namespace,
        kind,
        name,
        filter(edits)
    )
}

/// Makes a Secret from a file that the reader has, with the label by which the controller finds it. The file's
/// place is a constant: `"${TOKEN_FILE}"`.
#[must_use]
pub(super) fn secret(namespace: &str, name: &str, key: &str, file: &'static str) -> [Command; 2] {
    [
        shell!(
            "oc -n {} create secret generic {} --from-file={}={}",
            namespace,
            name,
            key,
            Command::from(file)
        ),
        shell!("oc -n {} label secret {} mcp.kuadrant.io/secret=true", namespace, name),
    ]
}

/// The remedy of a finding, with the tool's own look at the cluster behind commands that do not decide by themselves:
/// whether what they print is right, the reader would have to know.
#[must_use]
pub(super) fn with_proof(draft: &Draft, bundle: &Bundle) -> Remedy {
    let mut remedy = draft.remedy.clone();
    if remedy.verify.iter().any(|command| decides(command, &draft.objects, bundle)) {
        return remedy;
    }
    // What was logged before the repair stays in the log.
    let logged = draft.evidence.iter().any(|evidence| evidence.file.ends_with(".log"));
    let since = Command::from(if logged { " --since 5m" } else { "" });
    // The exit code is to tell it, too.
    let fail_on = Command::from(match draft.severity {
        Severity::Error => "",
        Severity::Warning => " --fail-on warning",
        Severity::Info => " --fail-on info",
    });
    remedy.verify.push(shell!("oc mcpgw check --only {}{}{}", draft.rule.code, since, fail_on).into_text());
    remedy
}

/// Whether a command fails before the repair and succeeds after it: it waits for a rollout, or for a condition that is
/// not met yet, or it asks this tool.
fn decides(command: &str, objects: &[ObjectRef], bundle: &Bundle) -> bool {
    let Some((_, waited)) = command.split_once(" wait --for=condition=") else {
        return command.contains(" rollout status ") || command.starts_with("oc mcpgw ");
    };
    let mut words = waited.split_whitespace();
    let (condition, resource) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let subject = objects.iter().find(|object| {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        format!("{}/{}", object.kind.to_lowercase(), object.name) == resource
            && (namespace.is_empty() || command.contains(&format!(" -n {namespace} ")))
    });
    let met = |object: &ObjectRef| {
        let (group, _) = object.api_version.split_once('/').unwrap_or_default();
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let object = bundle.get_dynamic(group, &object.kind, namespace, &object.name);
        object.and_then(|o| o.condition(condition)).is_some_and(|c| c.status == "True")
    };
    !subject.is_some_and(met)
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
) -> Option<Command> {
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
    Some(Command::from("oc apply -f -").reading(&policy.to_string()))
}

/// Lets an administrator's policy allow a connection before its other rules: to or from namespaces, or everywhere.
#[must_use]
pub(super) fn allow_before(
    policy: &Object,
    direction: &str,
    namespaces: &[&str],
    port: i64,
    protocol: &str,
) -> Command {
    let (rules, peers) = if direction == "Ingress" { ("ingress", "from") } else { ("egress", "to") };
    let of = |name: &&str| json!({"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    let everywhere = || json!([{"networks": ["0.0.0.0/0"]}]);
    let listed: Value =
        if namespaces.is_empty() { everywhere() } else { namespaces.iter().map(of).collect() };
    let rule = json!({"name": "mcp-gateway", "action": "Allow", peers: listed,
        "ports": [{"portNumber": {"protocol": protocol, "port": port}}]});
    let step = json!([{"op": "add", "path": format!("/spec/{rules}/0"), "value": rule}]);
    shell!("oc patch {} {} --type=json -p {}", word(policy), policy.name(), step)
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
        let command = command.expect("a policy").into_text();
        assert!(
            command.contains("\"matchLabels\":{\"app\":\"a\"}") && !command.contains("\"to\""),
            "{command}"
        );
        assert_eq!(allow(&pod(json!({"pod-template-hash": "x"})), "Egress", &[], 443, "TCP"), None);
    }
}
