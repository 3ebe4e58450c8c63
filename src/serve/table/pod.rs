//! What `kubectl get pods` says of a pod: one word for its state, and its restarts. Source:
//! `printPod` of `k8s.io/kubernetes/pkg/printers/internalversion`.

use chrono::{DateTime, Utc};

use super::age;
use crate::model::Object;
use crate::model::json::Value;

/// The columns that need a look at all containers.
#[derive(Debug, Default)]
pub(super) struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<DateTime<Utc>>,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// `Error`, or the signal or exit code where the runtime gives no reason.
fn termination(status: &Value) -> Option<String> {
    let state = status.pointer("/state/terminated")?;
    Some(match (text(state, "/reason"), number(state, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(state, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    })
}

impl Summary {
    fn of(pod: &Object) -> Self {
        let sidecars: Vec<&str> = pod
            .array("/spec/initContainers")
            .iter()
            .filter(|container| text(container, "/restartPolicy") == "Always")
            .map(|container| text(container, "/name"))
            .collect();
        let mut summary = Self {
            total: pod.array("/spec/containers").len() + sidecars.len(),
            reason: pod.str("/status/phase").to_owned(),
            ..Self::default()
        };
        if !pod.str("/status/reason").is_empty() {
            summary.reason = pod.str("/status/reason").to_owned();
        }
        if pod.condition("PodScheduled").is_some_and(|c| c.reason == "SchedulingGated") {
            summary.reason = "SchedulingGated".to_owned();
        }
        let initializing = summary.init_containers(pod, &sidecars);
        if !initializing || pod.condition("Initialized").is_some_and(|c| c.is_true()) {
            summary.containers(pod, &sidecars);
        }
        let ended = ["Succeeded", "Failed"].contains(&pod.str("/status/phase"));
        if pod.is_deleting() && pod.str("/status/reason") == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if pod.is_deleting() && !ended {
            summary.reason = "Terminating".to_owned();
        }
        summary
    }

    fn restarted(&mut self, status: &Value) {
        self.restarts += number(status, "/restartCount");
        let ended = DateTime::parse_from_rfc3339(text(status, "/lastState/terminated/finishedAt"));
        self.last_restart = self.last_restart.max(ended.ok().map(|time| time.with_timezone(&Utc)));
    }

    /// Goes through the init containers up to the first that is not done; whether there is one.
    fn init_containers(&mut self, pod: &Object, sidecars: &[&str]) -> bool {
        for (position, status) in pod.array("/status/initContainerStatuses").iter().enumerate() {
            self.restarted(status);
            let ended = status.pointer("/state/terminated");
            if ended.is_some_and(|state| number(state, "/exitCode") == 0) {
                continue;
            }
            if sidecars.contains(&text(status, "/name")) && flag(status, "/started") {
                self.ready += usize::from(flag(status, "/ready"));
                continue;
            }
            let waiting = text(status, "/state/waiting/reason");
            self.reason = match termination(status) {
                Some(reason) => format!("Init:{reason}"),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{position}/{}", pod.array("/spec/initContainers").len()),
            };
            return true;
        }
        false
    }

    fn containers(&mut self, pod: &Object, sidecars: &[&str]) {
        (self.restarts, self.last_restart) = (0, None);
        for status in pod.array("/status/initContainerStatuses") {
            if sidecars.contains(&text(status, "/name")) {
                self.restarted(status);
            }
        }
        let mut running = false;
        for status in pod.array("/status/containerStatuses").iter().rev() {
            self.restarted(status);
            let waiting = text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(reason) = termination(status) {
                self.reason = reason;
            } else if flag(status, "/ready") && status.pointer("/state/running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = pod.condition("Ready").is_some_and(|c| c.is_true());
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

/// `1/2`
pub(super) fn ready(pod: &Object, _: DateTime<Utc>) -> Value {
    let summary = Summary::of(pod);
    format!("{}/{}", summary.ready, summary.total).into()
}

/// `CrashLoopBackOff`
pub(super) fn status(pod: &Object, _: DateTime<Utc>) -> Value {
    Summary::of(pod).reason.into()
}

/// `7 (3m ago)`
pub(super) fn restarts(pod: &Object, now: DateTime<Utc>) -> Value {
    let summary = Summary::of(pod);
    match summary.last_restart {
        Some(last) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, age::since(Some(last), now)).into()
        }
        _ => summary.restarts.to_string().into(),
    }
}

/// `1/2`, or `<none>` without readiness gates.
pub(super) fn gates(pod: &Object, _: DateTime<Utc>) -> Value {
    let gates = pod.array("/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = |gate: &&Value| pod.condition(text(gate, "/conditionType")).is_some_and(|c| c.is_true());
    format!("{}/{}", gates.iter().filter(open).count(), gates.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    fn row(status: Value, init: Value) -> String {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": init}, "status": status});
        let pod = Object::new(pod, "f".into(), None).expect("an object");
        let now = DateTime::parse_from_rfc3339("2026-11-22T12:00:00Z").expect("a time").with_timezone(&Utc);
        [ready(&pod, now), status_of(&pod, now), restarts(&pod, now)]
            .map(|cell| cell.as_str().unwrap_or("?").to_owned())
            .join(" ")
    }

    fn status_of(pod: &Object, now: DateTime<Utc>) -> Value {
        status(pod, now)
    }

    #[test]
    fn pods_are_summed_up_like_kubectl_does() {
        let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
        let crash = json!({"ready": false, "restartCount": 5, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2026-11-22T11:57:00Z"}}});
        let done = json!({"ready": false, "restartCount": 0, "state": {"terminated": {"reason": "Completed", "exitCode": 0}}});
        let failed = json!({"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 3}}});
        for (status, init, expected) in [
            (
                json!({"phase": "Running", "containerStatuses": [running, running]}),
                json!([]),
                "2/2 Running 0",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, crash]}),
                json!([]),
                "1/2 CrashLoopBackOff 5 (3m ago)",
            ),
            (json!({"phase": "Running", "containerStatuses": [done, running]}), json!([]), "1/2 NotReady 0"),
            (json!({"phase": "Pending"}), json!([]), "0/2 Pending 0"),
            (json!({"phase": "Failed", "reason": "Evicted"}), json!([]), "0/2 Evicted 0"),
            (
                json!({"phase": "Pending", "initContainerStatuses": [failed]}),
                json!([{"name": "i"}]),
                "0/2 Init:ExitCode:3 1",
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
                json!([{"name": "i"}]),
                "0/2 Init:0/1 0",
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, running],
                    "initContainerStatuses": [{"name": "i", "started": true, "ready": true, "state": {"running": {}}}]}),
                json!([{"name": "i", "restartPolicy": "Always"}]),
                "3/3 Running 0",
            ),
        ] {
            assert_eq!(row(status.clone(), init), expected, "{status}");
        }
    }
}
