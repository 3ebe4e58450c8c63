//! The containers of a pod: what each waits for, how it ended, how often it was restarted.

use chrono::{DateTime, Utc};

use crate::model::Object;
use crate::model::json::Value;

/// Waiting reasons of an image that cannot be had (kubelet `pkg/kubelet/images`).
pub const IMAGE_REASONS: &[&str] = &[
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "ErrImageNotFound",
];

/// Waiting reasons of a container whose configuration cannot be realised (kubelet
/// `pkg/kubelet/kuberuntime` and `pkg/kubelet/container`).
pub const CONFIG_REASONS: &[&str] = &[
    "CreateContainerConfigError",
    "CreateContainerError",
    "PreCreateHookError",
    "PreStartHookError",
    "PostStartHookError",
    "RunContainerError",
    "ContainerCannotRun",
];

/// Waiting reasons of an ordinary start.
pub const NORMAL_REASONS: &[&str] = &["ContainerCreating", "PodInitializing", ""];

/// Which list of the pod a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerKind {
    /// Runs to its end before the main containers start.
    Init,
    /// An init container with `restartPolicy: Always`: keeps running beside the main ones.
    Sidecar,
    /// The pod's work.
    Main,
    /// Added by `oc debug`.
    Ephemeral,
}

/// How a container ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The reason, `OOMKilled`, `Error`, `Completed`.
    pub reason: &'a str,
    /// The exit code.
    pub exit_code: Option<i64>,
    /// The signal, if one ended it.
    pub signal: Option<i64>,
    /// The termination message, often the last lines of the log.
    pub message: &'a str,
    /// When it had started.
    pub started: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished: Option<DateTime<Utc>>,
}

impl Ended<'_> {
    /// `exit code 1 (Error)`, the way people say it.
    #[must_use]
    pub fn describe(&self) -> String {
        let code = match (self.exit_code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit code".to_owned(),
        };
        if self.reason.is_empty() || self.reason == "Error" {
            code
        } else {
            format!("{}, {code}", self.reason)
        }
    }

    /// Whether it ended with success.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit_code == Some(0)
    }
}

/// One container of a pod, specification and status side by side.
#[derive(Debug, Clone)]
pub struct Container<'a> {
    /// Its list.
    pub kind: ContainerKind,
    /// Its name.
    pub name: &'a str,
    /// Its specification; absent only in broken pods.
    pub spec: Option<&'a Value>,
    /// The JSON pointer of the specification within the pod.
    pub spec_pointer: String,
    /// Its status; absent until the kubelet has seen the pod.
    pub status: Option<&'a Value>,
    /// The JSON pointer of the status within the pod, empty without one.
    pub pointer: String,
}

impl<'a> Container<'a> {
    /// The reason and message of a waiting container.
    #[must_use]
    pub fn waiting(&self) -> Option<(&'a str, &'a str)> {
        let waiting = self.status?.pointer("/state/waiting")?;
        Some((text(waiting, "reason"), text(waiting, "message")))
    }

    /// How the current run ended, while no new one has begun.
    #[must_use]
    pub fn terminated(&self) -> Option<Ended<'a>> {
        self.status?.pointer("/state/terminated").map(ended)
    }

    /// How the run before the current one ended.
    #[must_use]
    pub fn last_terminated(&self) -> Option<Ended<'a>> {
        self.status?.pointer("/lastState/terminated").map(ended)
    }

    /// How the container ended last, in this run or the one before.
    #[must_use]
    pub fn last_end(&self) -> Option<(Ended<'a>, String)> {
        let at = |state: &str| format!("{}/{state}/terminated", self.pointer);
        self.terminated()
            .map(|end| (end, at("state")))
            .or_else(|| self.last_terminated().map(|end| (end, at("lastState"))))
    }

    /// Since when the container runs.
    #[must_use]
    pub fn running_since(&self) -> Option<DateTime<Utc>> {
        time(self.status?.pointer("/state/running")?, "startedAt")
    }

    /// Whether the container runs now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status.is_some_and(|s| s.pointer("/state/running").is_some())
    }

    /// How often the kubelet restarted it.
    #[must_use]
    pub fn restarts(&self) -> i64 {
        self.status.and_then(|s| s.get("restartCount")).and_then(Value::as_i64).unwrap_or(0)
    }

    /// Whether the kubelet calls it ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.and_then(|s| s.get("ready")).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The image that was asked for.
    #[must_use]
    pub fn image(&self) -> &'a str {
        self.spec
            .map(|s| text(s, "image"))
            .filter(|i| !i.is_empty())
            .unwrap_or_else(|| self.status.map(|s| text(s, "image")).unwrap_or_default())
    }

    /// The JSON pointer of a field of the status, `state/waiting`.
    #[must_use]
    pub fn status_pointer(&self, field: &str) -> String {
        format!("{}/{field}", self.pointer)
    }

    /// What the container is called in a sentence: `container "broker"`, `init container "setup"`.
    #[must_use]
    pub fn describe(&self) -> String {
        let kind = match self.kind {
            ContainerKind::Init => "init container",
            ContainerKind::Sidecar => "sidecar container",
            ContainerKind::Main => "container",
            ContainerKind::Ephemeral => "ephemeral container",
        };
        format!("{kind} {}", self.name)
    }
}

/// The containers of a pod: init containers and sidecars first, in the order of the lists.
#[must_use]
pub fn containers(pod: &Object) -> Vec<Container<'_>> {
    let lists = [
        ("initContainers", "initContainerStatuses", ContainerKind::Init),
        ("containers", "containerStatuses", ContainerKind::Main),
        ("ephemeralContainers", "ephemeralContainerStatuses", ContainerKind::Ephemeral),
    ];
    let mut all = Vec::new();
    for (spec_list, status_list, kind) in lists {
        let specs = pod.get("/spec").and_then(|s| s.get(spec_list)).and_then(Value::as_array);
        let statuses = pod.get("/status").and_then(|s| s.get(status_list)).and_then(Value::as_array);
        let statuses = statuses.unwrap_or_default();
        let mut seen = vec![false; statuses.len()];
        for (index, spec) in specs.into_iter().flatten().enumerate() {
            let name = text(spec, "name");
            let status = statuses.iter().position(|s| text(s, "name") == name);
            if let Some(position) = status {
                seen[position] = true;
            }
            let sidecar = kind == ContainerKind::Init && text(spec, "restartPolicy") == "Always";
            all.push(Container {
                kind: if sidecar { ContainerKind::Sidecar } else { kind },
                name,
                spec: Some(spec),
                spec_pointer: format!("/spec/{spec_list}/{index}"),
                status: status.map(|position| &statuses[position]),
                pointer: status.map(|p| format!("/status/{status_list}/{p}")).unwrap_or_default(),
            });
        }
        // A dump that lacks the specification still has statuses worth reading.
        for (position, status) in statuses.iter().enumerate().filter(|(p, _)| !seen[*p]) {
            all.push(Container {
                kind,
                name: text(status, "name"),
                spec: None,
                spec_pointer: String::new(),
                status: Some(status),
                pointer: format!("/status/{status_list}/{position}"),
            });
        }
    }
    all
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn time(value: &Value, key: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text(value, key)).ok().map(|t| t.with_timezone(&Utc))
}

fn ended(value: &Value) -> Ended<'_> {
    Ended {
        reason: text(value, "reason"),
        exit_code: value.get("exitCode").and_then(Value::as_i64),
        signal: value.get("signal").and_then(Value::as_i64).filter(|s| *s != 0),
        message: text(value, "message"),
        started: time(value, "startedAt"),
        finished: time(value, "finishedAt"),
    }
}
