//! MG103: pods that are not placed on a node, or cannot be set up there.

use chrono::TimeDelta;

use super::{PodFault, report_faults, say_what_is_missing, wait_command};
use crate::declare_rule;
use crate::model::workloads::container::NORMAL_REASONS;
use crate::model::workloads::containers;
use crate::model::{Object, kinds};
use crate::report::Evidence;
use crate::rules::evidence::{self, short};
use crate::rules::{Context, Findings};
use crate::shell::{Command, shell};

declare_rule! {
    /// A pod stays Pending
    ///
    /// ## What it means
    /// A pod that the MCP gateway needs has no node, or its node cannot set it up: a volume, the
    /// network or the sandbox is missing. None of its containers run.
    ///
    /// ## How it is decided
    /// One of, for longer than 60 s: the condition `PodScheduled` is False (`Unschedulable`,
    /// `SchedulingGated`); the pod has a node, and its containers still wait with
    /// `ContainerCreating` or `PodInitializing` while no container has started. The finding quotes
    /// the scheduler's message and the latest event (`FailedScheduling`, `FailedMount`,
    /// `FailedAttachVolume`, `FailedCreatePodSandBox`, `NetworkNotReady`).
    ///
    /// ## Causes
    /// - Too little CPU or memory that is not yet requested by other pods.
    /// - Taints that the pod does not tolerate; a node selector or affinity that no node satisfies.
    /// - A PersistentVolumeClaim that is not bound, or bound in another zone.
    /// - A Secret or ConfigMap volume that does not exist.
    /// - The network plugin (Multus, Istio CNI) fails to set the sandbox up.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe pod POD`
    ///
    /// ## How to fix
    /// What the message names: free or add capacity, tolerate the taint, correct the selector, bind
    /// the claim, create the Secret or ConfigMap, repair the network plugin.
    ///
    /// ## When it may be a false alarm
    /// A cluster that adds nodes on demand needs some minutes for a new one.
    pub(super) static PENDING = {
        code: "MG103", name: "pending", severity: Error, section: "1.1",
        needs: ["pods", "events", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: ["MG109"],
        check: pending,
    }
}

/// How long a pod may be without node or sandbox.
const PENDING_LIMIT: TimeDelta = TimeDelta::seconds(60);

/// The events that tell why a pod is not set up.
const SETUP_EVENTS: &[&str] = &[
    "FailedMount",
    "FailedAttachVolume",
    "FailedMapVolume",
    "FailedCreatePodSandBox",
    "NetworkNotReady",
    "FailedPodSandBoxStatus",
    "VolumeResizeFailed",
];

fn pending(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &PENDING, findings);
    let workloads = context.workloads();
    for subject in context.subjects() {
        let mut faults = Vec::new();
        for pod in subject.pods.iter().copied().filter(|p| p.str("/status/phase") == "Pending") {
            let events = workloads.events_of(&pod.reference());
            faults.extend(unscheduled(context, pod, &events).or_else(|| not_set_up(context, pod, &events)));
        }
        report_faults(&PENDING, subject, faults, findings, |draft, _| {
            draft.verify(wait_command(&subject.owner));
        });
    }
}

/// Whether longer than the limit has passed since then; also when the bundle cannot tell.
fn long_since(context: &Context<'_>, since: Option<chrono::DateTime<chrono::Utc>>) -> bool {
    match (context.now, since) {
        (Some(now), Some(since)) => now - since > PENDING_LIMIT,
        _ => true,
    }
}

fn unscheduled<'a>(context: &Context<'_>, pod: &'a Object, events: &[&Object]) -> Option<PodFault<'a>> {
    let condition = pod.condition("PodScheduled").filter(|c| c.is_false())?;
    let pointer = format!("/status/conditions/{}", condition.index);
    let since = pod.time(&format!("{pointer}/lastTransitionTime")).or_else(|| pod.created());
    if !long_since(context, since) {
        return None;
    }
    let event = evidence::latest(events, &["FailedScheduling"]);
    let message = if condition.message.is_empty() {
        event.map(|e| e.str("/message")).unwrap_or_default()
    } else {
        condition.message
    };
    let (why, remedy, command) = explain_scheduling(condition.reason, message, pod);
    let mut shown = vec![pod.evidence(&pointer)];
    shown.extend(event.map(evidence::event));
    shown.extend(too_little(context, message, pod));
    Some(PodFault {
        pod,
        key: format!("unscheduled {why}"),
        what: format!("no node takes the pod ({why})"),
        evidence: shown,
        remedy,
        commands: vec![shell!("oc -n {} describe pod {}", pod.namespace(), pod.name()), command],
    })
}

/// What the pod asks for of the first resource that is short, and what nodes have of it altogether.
fn too_little(context: &Context<'_>, message: &str, pod: &Object) -> Vec<Evidence> {
    /// Enough to see whether any node is large enough.
    const NODES: usize = 3;
    let Some((_, rest)) = message.split_once("Insufficient ") else { return Vec::new() };
    let end = rest.find([',', ' ']).unwrap_or(rest.len());
    let resource = rest[..end].trim_end_matches('.').replace('~', "~0").replace('/', "~1");
    let containers = 0..pod.array("/spec/containers").len();
    let asked = containers.map(|n| format!("/spec/containers/{n}/resources/requests/{resource}"));
    let asked = asked.filter(|pointer| pod.get(pointer).is_some()).map(|pointer| pod.evidence(&pointer));
    let field = format!("/status/allocatable/{resource}");
    let nodes = context.bundle.list(&kinds::NODE).filter(|node| node.get(&field).is_some());
    asked.chain(nodes.take(NODES).map(|node| node.evidence(&field))).collect()
}

/// Why the scheduler finds no node: the causes, what to do, and a command.
fn explain_scheduling(reason: &str, message: &str, pod: &Object) -> (String, String, Command) {
    let namespace = pod.namespace();
    let nodes = Command::from("oc describe nodes");
    if reason == "SchedulingGated" {
        return (
            "a scheduling gate holds it".to_owned(),
            "Find who set spec.schedulingGates and let it lift the gate.".to_owned(),
            shell!("oc -n {} get pod {} -o jsonpath='{{.spec.schedulingGates}}'", namespace, pod.name()),
        );
    }
    let mut why = Vec::new();
    let mut remedies = Vec::new();
    let mut command = nodes;
    // The scheduler lists "N REASON" parts; preemption repeats them in other words.
    let said = message.split("preemption:").next().unwrap_or(message);
    for part in said.split([',', ':', '.']) {
        let part = part.trim();
        let part = part.trim_start_matches(|c: char| c.is_ascii_digit()).trim();
        if let Some(resource) = part.strip_prefix("Insufficient ") {
            why.push(format!("too little {resource}"));
            remedies.push(format!("Add nodes or free {resource}, or lower the pod's requests."));
        } else if part == "Too many pods" {
            why.push("too many pods on the nodes".to_owned());
            remedies.push("Add nodes or raise maxPods.".to_owned());
        } else if part.contains("untolerated taint") || part.contains("had taint") {
            why.push("untolerated taints".to_owned());
            remedies.push("Tolerate the taint or remove it from a node.".to_owned());
            command = "oc get nodes -o custom-columns=NODE:.metadata.name,TAINTS:.spec.taints".into();
        } else if part.contains("node affinity") || part.contains("node selector") {
            why.push("no node matches its selector or affinity".to_owned());
            remedies.push("Correct nodeSelector or affinity, or label a node.".to_owned());
            command = "oc get nodes --show-labels".into();
        } else if part.contains("PersistentVolumeClaim") || part.contains("persistentvolumeclaim") {
            why.push("a PersistentVolumeClaim is missing or unbound".to_owned());
            remedies
                .push("Create the claim, or give it a StorageClass that can provide the volume.".to_owned());
            command = shell!("oc -n {} get pvc", namespace);
        } else if part.contains("volume node affinity") {
            why.push("its volume is in another zone".to_owned());
            remedies.push("Add a node in the zone of the volume.".to_owned());
        } else if part.contains("free ports") {
            why.push("its host port is taken".to_owned());
            remedies.push("Free the host port or remove it from the pod.".to_owned());
        } else if part.contains("unschedulable") {
            why.push("nodes are cordoned".to_owned());
            remedies.push("Uncordon a node.".to_owned());
            command = "oc get nodes".into();
        }
    }
    why.dedup();
    remedies.dedup();
    if why.is_empty() {
        let text = if message.is_empty() { reason } else { message };
        return (short(text, 80), "Read the scheduler's message.".to_owned(), command);
    }
    (why.join(", "), remedies.join(" "), command)
}

fn not_set_up<'a>(context: &Context<'_>, pod: &'a Object, events: &[&Object]) -> Option<PodFault<'a>> {
    if pod.str("/spec/nodeName").is_empty() {
        return None;
    }
    let all = containers(pod);
    let idle = all.iter().all(|c| match c.waiting() {
        Some((reason, _)) => NORMAL_REASONS.contains(&reason),
        None => c.status.is_none(),
    });
    let scheduled = pod.condition("PodScheduled");
    let since = scheduled
        .and_then(|c| pod.time(&format!("/status/conditions/{}/lastTransitionTime", c.index)))
        .or_else(|| pod.created());
    if !idle || !long_since(context, since) {
        return None;
    }
    let event = evidence::latest(events, SETUP_EVENTS);
    let message = event.map(|e| e.str("/message")).unwrap_or_default();
    // Without a time and without an event there is only a start like any other.
    if event.is_none() && (context.now.is_none() || since.is_none()) {
        return None;
    }
    let waiting = all.iter().find(|c| c.waiting().is_some());
    let mut shown =
        waiting.map_or_else(|| vec![pod.evidence("/status/phase")], |container| super::waits(pod, container));
    shown.extend(event.map(evidence::event));
    let (why, remedy) = explain_setup(event.map(|e| e.str("/reason")).unwrap_or_default(), message);
    let mut commands = vec![shell!("oc -n {} describe pod {}", pod.namespace(), pod.name())];
    if let Some(name) = why.strip_prefix("its volume needs Secret ").and_then(|w| w.split(',').next()) {
        // All files of a directory: the keys are known to the program alone.
        commands.push(shell!(
            "oc -n {} create secret generic {} --from-file=\"${{DIRECTORY_OF_ITS_FILES}}\"",
            pod.namespace(),
            name
        ));
    }
    Some(PodFault {
        pod,
        key: format!("setup {why}"),
        what: format!("the node does not set the pod up ({why})"),
        evidence: shown,
        remedy,
        commands,
    })
}

fn explain_setup(reason: &str, message: &str) -> (String, String) {
    // `MountVolume.SetUp failed for volume "v" : secret "s" not found`
    for kind in ["secret", "configmap"] {
        let Some(start) = message.find(&format!("{kind} \"")) else { continue };
        let name = message[start..].split('"').nth(1).unwrap_or_default();
        if message[start..].contains("not found") && !name.is_empty() {
            let command = if kind == "secret" { "Secret" } else { "ConfigMap" };
            return (
                format!("its volume needs {command} {name}, which does not exist"),
                format!("Create {command} {name} in the pod's namespace, or let its controller do it."),
            );
        }
    }
    match reason {
        "FailedMount" | "FailedAttachVolume" | "FailedMapVolume" | "VolumeResizeFailed" => {
            ("a volume cannot be mounted".to_owned(), "Repair the volume that the event names.".to_owned())
        }
        "FailedCreatePodSandBox" | "NetworkNotReady" | "FailedPodSandBoxStatus" => (
            "the pod's network or sandbox fails".to_owned(),
            "Repair the network plugin on the node (also Istio CNI, if it is used).".to_owned(),
        ),
        _ => ("no event tells why".to_owned(), "Look at the kubelet's log on the node.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    #[test]
    fn the_schedulers_message_is_explained() {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": "p"}});
        let pod = Object::new(value, "f".into(), None).expect("an object");
        let cases = [
            (
                "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
                "too little cpu, untolerated taints",
            ),
            (
                "0/6 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: not eligible",
                "a PersistentVolumeClaim is missing or unbound",
            ),
            (
                "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
                "no node matches its selector or affinity",
            ),
            ("something new", "something new"),
        ];
        for (message, expected) in cases {
            assert_eq!(explain_scheduling("Unschedulable", message, &pod).0, expected);
        }
    }

    #[test]
    fn a_missing_volume_source_is_named() {
        let (why, _) = explain_setup(
            "FailedMount",
            "MountVolume.SetUp failed for volume \"config\" : secret \"mcp-gateway-config\" not found",
        );
        assert_eq!(why, "its volume needs Secret mcp-gateway-config, which does not exist");
        assert_eq!(explain_setup("FailedMount", "timed out").0, "a volume cannot be mounted");
    }
}
