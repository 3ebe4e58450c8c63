//! MG109-MG111: nodes in trouble, containers that cannot be created, pods that are refused.

use std::collections::{BTreeMap, HashMap};

use super::{PodFault, Subject, report_faults, say_what_is_missing, wait_command};
use crate::declare_rule;
use crate::model::workloads::container::CONFIG_REASONS;
use crate::model::workloads::containers;
use crate::model::{Object, Seen, kinds};
use crate::rules::evidence::{self, oc, resource, short};
use crate::rules::{Context, Findings};
use crate::shell::{Command, shell};

declare_rule! {
    /// A node that runs a needed pod is in trouble
    ///
    /// ## What it means
    /// The node is not Ready or short of memory, disk or process ids; its pods may be slow, unreachable
    /// or evicted next.
    ///
    /// ## How it is decided
    /// A pod that the MCP gateway needs is on a node whose condition `Ready` is not True, or whose
    /// `MemoryPressure`, `DiskPressure`, `PIDPressure` or `NetworkUnavailable` is True.
    ///
    /// ## Causes
    /// A stopped kubelet, a full disk, too many pods, a broken network.
    ///
    /// ## How to confirm
    /// `oc describe node NODE`
    ///
    /// ## How to fix
    /// Repair the node, or drain it so that the pods move.
    ///
    /// ## When it may be a false alarm
    /// A node that was just restarted.
    pub(super) static NODE_TROUBLE = {
        code: "MG109", name: "node-trouble", severity: Warning, section: "1.1",
        needs: ["pods", "nodes", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: [],
        check: node_trouble,
    }
}

fn node_trouble(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &NODE_TROUBLE, findings);
    let mut by_node: BTreeMap<&str, Vec<(&Object, String)>> = BTreeMap::new();
    let all = context.subjects();
    for subject in all {
        for pod in &subject.pods {
            let node = pod.str("/spec/nodeName");
            if !node.is_empty() {
                by_node.entry(node).or_default().push((pod, subject.role()));
            }
        }
    }
    for (name, pods) in by_node {
        let node = match context.bundle.find(&kinds::NODE, "", name) {
            Seen::Found(node) => node,
            // A pod on a node that is gone is being deleted; nothing to say about the node.
            Seen::Absent => continue,
            Seen::Unknown(missing) => {
                findings.cannot_tell(&NODE_TROUBLE, missing);
                continue;
            }
        };
        let bad: Vec<_> = node
            .conditions()
            .filter(|c| match c.kind {
                "Ready" => !c.is_true(),
                "MemoryPressure" | "DiskPressure" | "PIDPressure" | "NetworkUnavailable" => c.is_true(),
                _ => false,
            })
            .collect();
        let Some(first) = bad.first() else { continue };
        let what: Vec<&str> =
            bad.iter().map(|c| if c.kind == "Ready" { "not Ready" } else { c.kind }).collect();
        let title =
            format!("Node {name} is in trouble ({}), {} needed pods are on it", what.join(", "), pods.len());
        let evidence = node.evidence(&format!("/status/conditions/{}", first.index));
        let draft = findings.report(
            &NODE_TROUBLE,
            node,
            title,
            evidence,
            "Repair the node, or drain it so that its pods move.",
        );
        for condition in &bad[1..] {
            draft.evidence(node.evidence(&format!("/status/conditions/{}", condition.index)));
        }
        for (pod, _) in &pods {
            draft.object(pod.reference());
            draft.evidence(pod.evidence("/spec/nodeName"));
        }
        draft.command(shell!("oc describe node {}", name));
        draft.verify(shell!("oc wait --for=condition=Ready node/{} --timeout=300s", name));
    }
}

declare_rule! {
    /// A container cannot be created
    ///
    /// ## What it means
    /// The kubelet has the image, but cannot make the container: a Secret, ConfigMap or key that it
    /// refers to is missing, or its command cannot be run.
    ///
    /// ## How it is decided
    /// A container of a needed pod waits with `CreateContainerConfigError`, `CreateContainerError`,
    /// `RunContainerError` or one of their kin. The missing object and key are read from the message.
    ///
    /// ## Causes
    /// A Secret that was not created or was deleted, a wrong key, `runAsNonRoot` with an image that
    /// runs as root, a command that does not exist.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe pod POD`
    ///
    /// ## How to fix
    /// Create the object or key that the finding names.
    ///
    /// ## When it may be a false alarm
    /// The object was created a moment ago; the kubelet tries again within a minute.
    pub(super) static CONTAINER_CONFIG = {
        code: "MG110", name: "container-config", severity: Error, section: "1.1",
        needs: ["pods", "events", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: ["MG309"],
        check: container_config,
    }
}

/// The missing kind, name and key in a kubelet's message.
fn missing_reference(message: &str) -> Option<(&'static str, String, Option<String>)> {
    // `couldn't find key K in Secret NS/NAME`
    if let Some(rest) = message.split("couldn't find key ").nth(1) {
        let mut words = rest.split_whitespace();
        let key = words.next()?.to_owned();
        let kind = match (words.next(), words.next()) {
            (Some("in"), Some("Secret")) => "Secret",
            (Some("in"), Some("ConfigMap")) => "ConfigMap",
            _ => return None,
        };
        let name = words.next()?.rsplit('/').next()?.trim_end_matches(['"', '.', ',']).to_owned();
        return Some((kind, name, Some(key)));
    }
    // `secret "NAME" not found`
    for (word, kind) in [("secret \"", "Secret"), ("configmap \"", "ConfigMap")] {
        let Some(rest) = message.split(word).nth(1) else { continue };
        let (name, after) = rest.split_once('"')?;
        if after.contains("not found") {
            return Some((kind, name.to_owned(), None));
        }
    }
    None
}

/// Adds a key from a file that the reader has, to the object or to a new one.
fn add_key(context: &Context<'_>, namespace: &str, kind: &str, name: &str, key: &str) -> Command {
    let word = kind.to_lowercase();
    let exists = context.bundle.get_dynamic("", kind, namespace, name).is_some();
    match (exists, word.as_str()) {
        (true, word) => {
            shell!("oc -n {} set data {}/{} --from-file={}=\"${{VALUE_FILE}}\"", namespace, word, name, key)
        }
        (false, word) => {
            let word = if word == "secret" { "secret generic".into() } else { shell!("{}", word) };
            shell!("oc -n {} create {} {} --from-file={}=\"${{VALUE_FILE}}\"", namespace, word, name, key)
        }
    }
}

fn container_config(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &CONTAINER_CONFIG, findings);
    let workloads = context.workloads();
    for subject in context.subjects() {
        let mut faults = Vec::new();
        for pod in subject.pods.iter().copied() {
            for container in containers(pod) {
                let Some((reason, message)) = container.waiting() else { continue };
                if !CONFIG_REASONS.contains(&reason) {
                    continue;
                }
                let events = workloads.events_of(&pod.reference());
                let event = evidence::latest(&events, &["Failed", "FailedMount"]);
                let said = if message.is_empty() {
                    event.map(|e| e.str("/message")).unwrap_or_default()
                } else {
                    message
                };
                let namespace = pod.namespace();
                let (what, remedy, command) = match missing_reference(said) {
                    Some((kind, name, Some(key))) => (
                        format!("key {key} of {kind} {name} is missing"),
                        format!("Add key {key} to {kind} {name}."),
                        add_key(context, namespace, kind, &name, &key),
                    ),
                    Some((kind, name, None)) => (
                        format!("{kind} {name} is missing"),
                        format!("Create {kind} {name}, or let its controller do it."),
                        shell!("oc -n {} get {} {}", namespace, kind.to_lowercase(), name),
                    ),
                    None => (
                        format!("{reason}: {}", short(said, 100)),
                        "Repair what the kubelet's message names.".to_owned(),
                        shell!("oc -n {} describe pod {}", namespace, pod.name()),
                    ),
                };
                let mut shown = super::waits(pod, &container);
                shown.extend(event.map(evidence::event));
                faults.push(PodFault {
                    pod,
                    key: format!("{} {what}", container.name),
                    what: format!("{} cannot be created: {what}", container.describe()),
                    evidence: shown,
                    remedy,
                    commands: vec![command],
                });
            }
        }
        report_faults(&CONTAINER_CONFIG, subject, faults, findings, |draft, _| {
            draft.verify(wait_command(&subject.owner));
        });
    }
}

declare_rule! {
    /// Pods are refused at admission
    ///
    /// ## What it means
    /// The workload wants pods, and the API server does not let them be created.
    ///
    /// ## How it is decided
    /// A Deployment or StatefulSet that the MCP gateway needs has fewer pods than it wants, and its
    /// condition `ReplicaFailure` or an event `FailedCreate` of it or its ReplicaSet says why.
    ///
    /// ## Causes
    /// - No security context constraint admits the pod (`unable to validate against any security context
    ///   constraint`), or the namespace's Pod Security level forbids it (`violates PodSecurity`).
    /// - `exceeded quota`, or a quota that wants limits on every container.
    /// - An admission webhook denies it or cannot be reached.
    /// - The service account does not exist.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get events --field-selector reason=FailedCreate`
    ///
    /// ## How to fix
    /// What the finding names: grant the constraint, raise the quota, repair the webhook, create the
    /// service account.
    ///
    /// ## When it may be a false alarm
    /// Never while pods are lacking.
    pub(super) static ADMISSION_DENIED = {
        code: "MG111", name: "admission-denied", severity: Error, section: "1.1",
        needs: ["deployments", "replicasets", "events", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: [],
        check: admission_denied,
    }
}

/// Who refused, what to do, and a command.
fn explain_refusal(message: &str, namespace: &str, account: &str) -> (String, String, Command) {
    if message.contains("security context constraint") {
        return (
            "no security context constraint admits them".into(),
            format!(
                "Make the pod's securityContext fit restricted-v2, or grant service account {account} a constraint that admits it."
            ),
            shell!("oc adm policy who-can use scc restricted-v2 -n {}", namespace),
        );
    }
    if message.contains("violates PodSecurity") {
        return (
            "the namespace's Pod Security level forbids them".into(),
            "Make the pod's securityContext fit the level, or change the namespace's level.".into(),
            shell!("oc get namespace {} --show-labels", namespace),
        );
    }
    if message.contains("exceeded quota") || message.contains("failed quota") {
        return (
            "a quota is exceeded".into(),
            "Raise the quota, free what uses it, or set the requests and limits that it wants.".into(),
            raised_quota(message, namespace)
                .unwrap_or_else(|| shell!("oc -n {} describe resourcequota", namespace)),
        );
    }
    if message.contains("admission webhook") || message.contains("failed calling webhook") {
        let name = message.split('"').nth(1).unwrap_or("a webhook");
        return (
            format!("admission webhook {name} refuses them"),
            "Satisfy the webhook, or repair it when it cannot be called.".into(),
            "oc get validatingwebhookconfigurations,mutatingwebhookconfigurations".into(),
        );
    }
    if message.contains("serviceaccount") && message.contains("not found") {
        return (
            format!("service account {account} does not exist"),
            format!("Create service account {account}."),
            shell!("oc -n {} get serviceaccount {}", namespace, account),
        );
    }
    (
        short(message, 100),
        "Repair what the message names.".into(),
        shell!("oc -n {} get events --field-selector reason=FailedCreate", namespace),
    )
}

/// The patch that raises a quota to what is used and requested, from the words of the quota's admission:
/// `exceeded quota: NAME, requested: pods=1,…, used: pods=4,…, limited: pods=4,…`. Only amounts in the same
/// unit are added.
fn raised_quota(message: &str, namespace: &str) -> Option<Command> {
    let rest = message.split("exceeded quota: ").nth(1)?;
    let (name, rest) = rest.split_once(", requested: ")?;
    let (requested, rest) = rest.split_once(", used: ")?;
    let (used, _) = rest.split_once(", limited: ")?;
    let amounts = |text: &str| -> BTreeMap<String, (u64, String)> {
        let pairs = text.split(',').filter_map(|pair| pair.trim().split_once('='));
        pairs
            .filter_map(|(what, amount)| {
                let digits = amount.find(|c: char| !c.is_ascii_digit()).unwrap_or(amount.len());
                Some((what.to_owned(), (amount[..digits].parse().ok()?, amount[digits..].to_owned())))
            })
            .collect()
    };
    let (requested, used) = (amounts(requested), amounts(used));
    let mut hard = serde_json::Map::new();
    for (what, (more, unit)) in &requested {
        let (before, of) = used.get(what)?;
        if of != unit && *before != 0 {
            return None;
        }
        hard.insert(what.clone(), format!("{}{unit}", before.checked_add(*more)?).into());
    }
    if hard.is_empty() {
        return None;
    }
    let patch = serde_json::json!({"spec": {"hard": hard}});
    Some(shell!("oc -n {} patch resourcequota {} --type=merge -p {}", namespace, name, patch))
}

fn lacks_pods(subject: &Subject<'_>) -> Option<bool> {
    let object = subject.object?;
    let wanted = object.int("/spec/replicas").unwrap_or(1);
    Some(
        object.int("/status/replicas").unwrap_or(0) < wanted
            || subject.pods.len() < usize::try_from(wanted).unwrap_or(0),
    )
}

fn admission_denied(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &ADMISSION_DENIED, findings);
    let workloads = context.workloads();
    let mut sets: HashMap<(&str, &str), Vec<&Object>> = HashMap::new();
    for set in context.bundle.list(&kinds::REPLICA_SET) {
        for owner in set.array("/metadata/ownerReferences") {
            if let Some(name) = owner.get("name").and_then(|n| n.as_str()) {
                sets.entry((set.namespace(), name)).or_default().push(set);
            }
        }
    }
    for subject in context.subjects() {
        let Some(object) = subject.object.filter(|_| lacks_pods(subject) == Some(true)) else { continue };
        let mut events = workloads.events_of(&subject.owner);
        let owned = sets.get(&(object.namespace(), object.name())).map_or(&[][..], Vec::as_slice);
        for set in owned {
            events.extend(workloads.events_of(&set.reference()));
        }
        let failure = object.condition("ReplicaFailure").filter(|c| c.is_true());
        let event = evidence::latest(&events, &["FailedCreate"]);
        let message = failure.map(|c| c.message).or_else(|| event.map(|e| e.str("/message")));
        let Some(message) = message else { continue };
        let account = object.str("/spec/template/spec/serviceAccountName");
        let account = if account.is_empty() { "default" } else { account };
        let (what, remedy, command) = explain_refusal(message, object.namespace(), account);
        let mut shown = Vec::new();
        shown.extend(failure.map(|c| object.evidence(&format!("/status/conditions/{}", c.index))));
        shown.extend(event.map(evidence::event));
        let Some(first) = shown.first().cloned() else { continue };
        let title = format!("{}: pods are refused, {what}", subject.owner);
        let draft = findings.report(&ADMISSION_DENIED, object, title, first, remedy);
        for evidence in shown {
            draft.evidence(evidence);
        }
        draft.evidence(object.evidence("/spec/replicas"));
        draft.command(command);
        draft.command(shell!("{} describe {}", oc(&subject.owner), resource(&subject.owner)));
        draft.verify(wait_command(&subject.owner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_reference_is_read_from_the_kubelets_message() {
        let cases = [
            ("secret \"a\" not found", Some(("Secret", "a".to_owned(), None))),
            ("configmap \"c\" not found", Some(("ConfigMap", "c".to_owned(), None))),
            (
                "couldn't find key token in Secret ns/creds",
                Some(("Secret", "creds".to_owned(), Some("token".to_owned()))),
            ),
            ("container has runAsNonRoot and image will run as root", None),
        ];
        for (message, expected) in cases {
            assert_eq!(missing_reference(message), expected, "{message}");
        }
    }

    #[test]
    fn who_refused_is_told_apart() {
        let cases = [
            (
                "pods \"x-\" is forbidden: unable to validate against any security context constraint: []",
                "no security context constraint admits them",
            ),
            ("pods \"x\" is forbidden: exceeded quota: q, requested: pods=1", "a quota is exceeded"),
            (
                "admission webhook \"v.example.com\" denied the request: no",
                "admission webhook v.example.com refuses them",
            ),
            (
                "error looking up service account a/b: serviceaccount \"b\" not found",
                "service account b does not exist",
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(explain_refusal(message, "a", "b").0, expected, "{message}");
        }
    }
}
