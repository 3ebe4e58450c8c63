//! MG105-MG107: containers that run, but badly; Deployments without a pod that works.

use chrono::TimeDelta;

use super::start::is_crash_loop;
use super::{PodFault, report_faults, say_what_is_missing, wait_command};
use crate::declare_rule;
use crate::model::json::Value;
use crate::model::workloads::{Component, Container, ContainerKind, Role, containers};
use crate::model::{Object, kinds};
use crate::report::Evidence;
use crate::rules::evidence::{self, duration, oc, resource};
use crate::rules::{Context, Findings};
use crate::shell::shell;

declare_rule! {
    /// A container is restarted often
    ///
    /// ## What it means
    /// A container that the MCP gateway needs runs, but was restarted more often than chance
    /// explains. Every restart of the broker ends the MCP sessions it holds.
    ///
    /// ## How it is decided
    /// For a container that does not crash in a loop (that is MG102), at the time of the collection:
    /// - its last run was ended by the kernel for memory (`OOMKilled`) within the last 24 h; or
    /// - it was restarted at least 3 times, the last time within the last hour; or
    /// - it was restarted at least 5 times, and more than once a day on average since the pod's
    ///   start; or
    /// - it was restarted, and an event of the last 24 h says that the kubelet killed it because its
    ///   liveness or startup probe failed.
    ///
    /// Where the bundle has no time, 5 restarts or an `OOMKilled` last run suffice. Restarts whose
    /// last run ended with exit code 0 and without a probe's kill count only by their rate.
    ///
    /// ## Causes
    /// A memory limit that is too low, a liveness probe that is too strict, crashes under load,
    /// reboots of the node.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe pod POD`, `oc -n NAMESPACE logs POD -c CONTAINER --previous`
    ///
    /// ## How to fix
    /// Raise the memory limit for `OOMKilled`, relax the probe for probe kills, otherwise repair what
    /// the previous log ends with.
    ///
    /// ## When it may be a false alarm
    /// Planned reboots of the node, or trials by hand.
    pub(super) static RESTARTS = {
        code: "MG105", name: "restarts", severity: Warning, section: "1.1",
        needs: ["pods", "events", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: ["MG109"],
        check: restarts,
    }
}

/// Why the restarts of a container are too many, or nothing.
fn too_many_restarts(
    pod: &Object,
    container: &Container<'_>,
    probe_kill: Option<&Object>,
    now: Option<chrono::DateTime<chrono::Utc>>,
) -> Option<&'static str> {
    let count = container.restarts();
    let end = container.last_terminated();
    let within = |limit: TimeDelta| match (now, end.and_then(|e| e.finished)) {
        (Some(now), Some(at)) => now - at <= limit,
        _ => true,
    };
    if count > 0 && probe_kill.is_some() {
        return Some("its probe fails and the kubelet kills it");
    }
    if end.is_some_and(|e| e.reason == "OOMKilled") && within(TimeDelta::hours(24)) {
        return Some("it exceeds its memory limit (OOMKilled)");
    }
    let clean = end.is_some_and(|e| e.succeeded());
    match now {
        Some(now) => {
            if count >= 3 && end.is_some() && !clean && within(TimeDelta::hours(1)) {
                return Some("the last time within the hour");
            }
            let started = pod.time("/status/startTime").or_else(|| pod.created())?;
            let days = i64::max(1, (now - started).num_days());
            (count >= 5 && count > days).then_some("more than once a day")
        }
        None => (count >= 5).then_some("the bundle does not tell when"),
    }
}

fn restarts(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &RESTARTS, findings);
    let workloads = context.workloads();
    for subject in context.subjects() {
        let mut faults = Vec::new();
        for pod in subject.pods.iter().copied() {
            for container in containers(pod) {
                let lives = matches!(container.kind, ContainerKind::Main | ContainerKind::Sidecar);
                if !lives || container.restarts() == 0 || is_crash_loop(&container, context) {
                    continue;
                }
                let events = workloads.events_of(&pod.reference());
                let path = format!("spec.containers{{{}}}", container.name);
                let recent = |event: &&Object| match (context.now, evidence::event_time(event)) {
                    (Some(now), Some(at)) => now - at <= TimeDelta::hours(24),
                    _ => true,
                };
                let kills: Vec<&Object> = events
                    .iter()
                    .copied()
                    .filter(|e| {
                        let field = e.str("/involvedObject/fieldPath");
                        (field.is_empty() || field == path)
                            && ["liveness probe", "startup probe"]
                                .iter()
                                .any(|p| e.str("/message").contains(p))
                    })
                    .filter(recent)
                    .collect();
                let kill = evidence::latest(&kills, &["Killing"]);
                let Some(why) = too_many_restarts(pod, &container, kill, context.now) else { continue };
                let mut shown = vec![pod.evidence(&container.status_pointer("restartCount"))];
                if let Some((end, pointer)) = container.last_end() {
                    shown.push(super::ended(pod, &end, &pointer));
                }
                shown.extend(kill.map(evidence::event));
                let memory = why.contains("memory");
                if memory && !container.spec_pointer.is_empty() {
                    shown.push(pod.evidence(&format!("{}/resources", container.spec_pointer)));
                }
                let (remedy, command) = if memory {
                    (
                        "Raise the container's memory limit.",
                        super::raise_memory(&subject.owner, pod, container.name).unwrap_or_else(|| {
                            shell!("oc -n {} describe pod {}", pod.namespace(), pod.name())
                        }),
                    )
                } else if kill.is_some() {
                    (
                        "Give the probe more time, or repair why the container does not answer it.",
                        shell!("oc -n {} describe pod {}", pod.namespace(), pod.name()),
                    )
                } else {
                    (
                        "Read how the previous run ended and repair it.",
                        shell!(
                            "oc -n {} logs {} -c {} --previous --tail=50",
                            pod.namespace(),
                            pod.name(),
                            container.name
                        ),
                    )
                };
                faults.push(PodFault {
                    pod,
                    key: format!("{} {why}", container.name),
                    what: format!(
                        "{} was restarted {}: {why}",
                        container.describe(),
                        if container.restarts() == 1 {
                            "once".to_owned()
                        } else {
                            format!("{} times", container.restarts())
                        }
                    ),
                    evidence: shown,
                    remedy: remedy.to_owned(),
                    commands: vec![command],
                });
            }
        }
        report_faults(&RESTARTS, subject, faults, findings, |draft, _| {
            draft.verify(shell!("oc -n {} get pods", subject.owner.namespace.as_deref().unwrap_or_default()));
        });
    }
}

declare_rule! {
    /// A pod runs but does not become Ready
    ///
    /// ## What it means
    /// All containers of the pod run, yet it takes no traffic, because a readiness probe fails or a
    /// readiness gate is not met. A Service whose pods are all not Ready has no endpoint.
    ///
    /// ## How it is decided
    /// The pod's condition `Ready` is False although its containers run, for longer than their probes
    /// allow: `initialDelaySeconds + periodSeconds × failureThreshold + timeoutSeconds` of the
    /// readiness probe, after the same sum of the startup probe where there is one, and at least 30 s.
    /// Counted from the container's start and from the condition's last change, whichever is later.
    ///
    /// ## Causes
    /// For the MCP broker: its `/readyz` answers 503 while not one of the registered servers is
    /// ready; then the failing servers are the root (MG417, MG312). For a gateway's proxy: it has no
    /// configuration from istiod. For an MCP server: it does not answer its probe.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe pod POD` shows the probe's answer as the event `Unhealthy`.
    ///
    /// ## How to fix
    /// Repair why the probe fails; correct the probe if it asks the wrong port or path.
    ///
    /// ## When it may be a false alarm
    /// An application that needs longer to start than its probe says.
    pub(super) static NOT_READY = {
        code: "MG106", name: "not-ready", severity: Error, section: "1.1",
        needs: ["pods", "events", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: ["MG109"],
        check: not_ready,
    }
}

/// How long this container may run before it is ready, from its probes.
fn allowance(container: &Container<'_>) -> TimeDelta {
    let probe = |name: &str| container.spec.and_then(|s| s.get(name)).filter(|p| p.is_object());
    let seconds = |probe: &Value, field: &str, default: i64| {
        probe.get(field).and_then(Value::as_i64).unwrap_or(default).clamp(0, 86_400)
    };
    let sum = |probe: &Value| {
        seconds(probe, "initialDelaySeconds", 0)
            + seconds(probe, "periodSeconds", 10) * seconds(probe, "failureThreshold", 3)
            + seconds(probe, "timeoutSeconds", 1)
    };
    let total = probe("startupProbe").map_or(0, sum) + probe("readinessProbe").map_or(0, sum);
    TimeDelta::seconds(total.clamp(30, 86_400))
}

fn not_ready(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &NOT_READY, findings);
    let workloads = context.workloads();
    for subject in context.subjects() {
        let mut faults = Vec::new();
        for pod in subject.pods.iter().copied().filter(|p| p.str("/status/phase") == "Running") {
            let Some(ready) = pod.condition("Ready").filter(|c| !c.is_true()) else { continue };
            let all = containers(pod);
            let lives: Vec<&Container<'_>> = all
                .iter()
                .filter(|c| matches!(c.kind, ContainerKind::Main | ContainerKind::Sidecar))
                .collect();
            // Containers that do not run are the business of MG101, MG102, MG104 and MG110.
            if lives.is_empty() || !lives.iter().all(|c| c.is_running()) {
                continue;
            }
            if lives.iter().any(|c| is_crash_loop(c, context)) {
                continue;
            }
            let Some(now) = context.now else {
                findings.cannot_tell(
                    &NOT_READY,
                    crate::model::Missing {
                        what: "the time of the collection: how long a pod is not Ready cannot be told"
                            .to_owned(),
                        how: "oc mcpgw gather".into(),
                    },
                );
                continue;
            };
            let pointer = format!("/status/conditions/{}", ready.index);
            let changed = pod.time(&format!("{pointer}/lastTransitionTime"));
            let unready: Vec<&&Container<'_>> = lives.iter().filter(|c| !c.is_ready()).collect();
            let started = unready.iter().filter_map(|c| c.running_since()).max();
            let Some(since) = changed.max(started).or_else(|| pod.created()) else { continue };
            let allowed = unready.iter().map(|c| allowance(c)).max().unwrap_or(TimeDelta::seconds(30));
            if now - since <= allowed {
                continue;
            }
            let mut shown = vec![pod.evidence(&pointer)];
            for container in &unready {
                shown.push(pod.evidence(&container.status_pointer("ready")));
                let probe = format!("{}/readinessProbe", container.spec_pointer);
                if !container.spec_pointer.is_empty() && pod.get(&probe).is_some() {
                    shown.push(pod.evidence(&probe));
                }
            }
            let events = workloads.events_of(&pod.reference());
            let event = evidence::latest(&events, &["Unhealthy", "ProbeError"]);
            shown.extend(event.map(evidence::event));
            let names: Vec<&str> = unready.iter().map(|c| c.name).collect();
            let what = if names.is_empty() {
                format!("a readiness gate is not met for {}", duration(now - since))
            } else {
                let containers = if names.len() == 1 { "container" } else { "containers" };
                format!(
                    "{containers} {} not Ready for {} (allowed {})",
                    names.join(", "),
                    duration(now - since),
                    duration(allowed)
                )
            };
            let broker = subject.roles.contains(&Role::Component(Component::Broker));
            faults.push(PodFault {
                pod,
                key: format!("not ready {}", names.join(",")),
                what,
                evidence: shown,
                remedy: if broker {
                    "The broker's /readyz answers 503 while none of the registered servers is ready: repair the servers first.".to_owned()
                } else {
                    "Repair why the readiness probe fails.".to_owned()
                },
                commands: vec![
                    shell!("oc -n {} describe pod {}", pod.namespace(), pod.name()),
                    shell!("oc -n {} logs {} --tail=50", pod.namespace(), pod.name()),
                ],
            });
        }
        report_faults(&NOT_READY, subject, faults, findings, |draft, _| {
            draft.verify(wait_command(&subject.owner));
        });
    }
}

declare_rule! {
    /// A Deployment that must run has no available replica
    ///
    /// ## What it means
    /// A part that the MCP gateway needs does not run at all.
    ///
    /// ## How it is decided
    /// A Deployment or StatefulSet that the MCP gateway needs has `availableReplicas` 0, and has had
    /// so for more than 60 s. The finding says whether it is scaled to 0, whether pods cannot be
    /// created, or which fault its pods have (then that fault is the cause).
    ///
    /// ## Causes
    /// - `spec.replicas` is 0: somebody scaled it down, or an autoscaler did.
    /// - Pods cannot be created: quota, admission, a missing service account (MG111).
    /// - Pods exist and fail: MG101-MG106, MG108, MG110.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get deployment NAME`, `oc -n NAMESPACE describe replicaset -l …`
    ///
    /// ## How to fix
    /// Scale it up, or repair the cause.
    ///
    /// ## When it may be a false alarm
    /// A part that is switched off on purpose, and nothing should use it.
    pub(super) static NO_REPLICAS = {
        code: "MG107", name: "no-replicas", severity: Error, section: "1.1",
        needs: ["deployments", "replicasets", "pods", "events", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG108", "MG110", "MG111", "MG109"],
        check: no_replicas,
    }
}

fn no_replicas(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &NO_REPLICAS, findings);
    let workloads = context.workloads();
    for subject in context.subjects() {
        if !matches!(subject.owner.kind.as_str(), "Deployment" | "StatefulSet") {
            continue;
        }
        let Some(object) = subject.object else {
            let kind =
                if subject.owner.kind == "Deployment" { &kinds::DEPLOYMENT } else { &kinds::STATEFUL_SET };
            if let Err(missing) = context.bundle.collected(kind, subject.owner.namespace.as_deref()) {
                findings.cannot_tell(&NO_REPLICAS, missing);
            }
            continue;
        };
        // A dump without status says nothing.
        if object.get("/status").is_none() || object.is_deleting() {
            continue;
        }
        let available =
            object.int("/status/availableReplicas").or_else(|| object.int("/status/readyReplicas"));
        if available.unwrap_or(0) > 0 {
            continue;
        }
        let condition = object.condition("Available");
        let changed = condition
            .and_then(|c| object.time(&format!("/status/conditions/{}/lastTransitionTime", c.index)))
            .or_else(|| object.created());
        if let (Some(now), Some(since)) = (context.now, changed)
            && now - since <= TimeDelta::seconds(60)
        {
            continue;
        }
        let wanted = object.int("/spec/replicas").unwrap_or(1);
        let mut shown: Vec<Evidence> = Vec::new();
        let (what, remedy, command) = if wanted == 0 {
            shown.push(object.evidence("/spec/replicas"));
            (
                "is scaled to 0".to_owned(),
                "Scale it up.".to_owned(),
                shell!("{} scale {} --replicas=1", oc(&subject.owner), resource(&subject.owner)),
            )
        } else {
            shown.push(object.evidence("/status/availableReplicas"));
            shown.push(object.evidence("/spec/replicas"));
            shown.extend(condition.map(|c| object.evidence(&format!("/status/conditions/{}", c.index))));
            let failure = object.condition("ReplicaFailure").filter(|c| c.is_true());
            if let Some(failure) = failure {
                shown.push(object.evidence(&format!("/status/conditions/{}", failure.index)));
            }
            let created = evidence::latest(&workloads.events_of(&subject.owner), &["FailedCreate"]);
            shown.extend(created.map(evidence::event));
            let pods = subject.pods.len();
            let what = match (pods, failure) {
                (0, Some(failure)) => format!("has no pods, they cannot be created ({})", failure.reason),
                (0, None) => format!("has no pods, {wanted} wanted"),
                (1, _) => format!("has 0 of {wanted} replicas available, 1 pod exists"),
                (pods, _) => format!("has 0 of {wanted} replicas available, {pods} pods exist"),
            };
            (
                what,
                "Repair why its pods are not created or not Ready.".to_owned(),
                shell!("{} describe {}", oc(&subject.owner), resource(&subject.owner)),
            )
        };
        let Some(first) = shown.first().cloned() else { continue };
        let title = format!("{} {what}: {}", subject.owner, subject.role());
        let draft = findings.report(&NO_REPLICAS, object, title, first, remedy);
        for evidence in shown {
            draft.evidence(evidence);
        }
        for pod in &subject.pods {
            draft.object(pod.reference());
        }
        if wanted > 0 {
            draft.because_of(
                &["MG101", "MG102", "MG103", "MG104", "MG106", "MG108", "MG110", "MG111"],
                subject.owner.clone(),
            );
        }
        draft.command(command);
        draft.verify(wait_command(&subject.owner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    fn pod(restarts: i64, last: &Value) -> Object {
        let value = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "a", "name": "p", "creationTimestamp": "2026-07-01T00:00:00Z"},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"containerStatuses": [{"name": "c", "restartCount": restarts,
                "state": {"running": {}}, "lastState": last}]}});
        Object::new(value, "f".into(), None).expect("an object")
    }

    #[test]
    fn restarts_count_by_rate_and_reason() {
        let now = chrono::DateTime::parse_from_rfc3339("2026-07-11T00:00:00Z").ok().map(|t| t.to_utc());
        let ended = |at: &str, reason: &str, code: i64| json!({"terminated": {"finishedAt": at, "reason": reason, "exitCode": code}});
        let cases = [
            (1, ended("2026-07-05T00:00:00Z", "Error", 1), None, "one old restart is nothing"),
            (
                1,
                ended("2026-07-10T12:00:00Z", "OOMKilled", 137),
                Some("it exceeds its memory limit (OOMKilled)"),
                "recent OOM",
            ),
            (1, ended("2026-07-05T12:00:00Z", "OOMKilled", 137), None, "an old OOM"),
            (
                3,
                ended("2026-07-10T23:30:00Z", "Error", 2),
                Some("the last time within the hour"),
                "three, recent",
            ),
            (9, ended("2026-07-09T00:00:00Z", "Error", 1), None, "nine in ten days"),
            (
                11,
                ended("2026-07-09T00:00:00Z", "Error", 1),
                Some("more than once a day"),
                "eleven in ten days",
            ),
        ];
        for (count, last, expected, case) in cases {
            let pod = pod(count, &last);
            let all = containers(&pod);
            assert_eq!(too_many_restarts(&pod, &all[0], None, now), expected, "{case}");
        }
    }

    #[test]
    fn probes_decide_how_long_not_ready_is_allowed() {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": "p"},
            "spec": {"containers": [
                {"name": "none"},
                {"name": "broker", "readinessProbe": {"initialDelaySeconds": 5, "periodSeconds": 10, "failureThreshold": 3}},
                {"name": "slow", "startupProbe": {"periodSeconds": 10, "failureThreshold": 30},
                    "readinessProbe": {"periodSeconds": 5, "failureThreshold": 1, "timeoutSeconds": 2}}]}});
        let pod = Object::new(value, "f".into(), None).expect("an object");
        let seconds: Vec<i64> = containers(&pod).iter().map(|c| allowance(c).num_seconds()).collect();
        assert_eq!(seconds, [30, 36, 308]);
    }
}
