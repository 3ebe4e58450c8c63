//! What the analysis keeps of an object. A bundle of a large installation holds tens of thousands
//! of pods that are fine, and as JSON values they take many times the memory of their text; what
//! no rule reads is let go while the bundle is read.
//!
//! Only fields are dropped, or lists as a whole: an item never changes its place, because evidence
//! points at it. The exception is the conditions of a healthy pod, which no evidence points at.

use super::json::{Map, Value};

/// Fields of the metadata of any object.
const METADATA: [&str; 3] = ["managedFields", "generateName", "selfLink"];

/// Fields of the spec of a pod that is fine.
const POD_SPEC: [&str; 14] = [
    "affinity",
    "dnsPolicy",
    "enableServiceLinks",
    "imagePullSecrets",
    "nodeSelector",
    "overhead",
    "preemptionPolicy",
    "priority",
    "schedulerName",
    "securityContext",
    "serviceAccount",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
];

/// Fields of a container of a pod that is fine.
const CONTAINER: [&str; 11] = [
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "securityContext",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "volumeMounts",
];

/// Fields of the status of a container of a pod that is fine.
const CONTAINER_STATUS: [&str; 6] =
    ["allocatedResources", "containerID", "imageID", "resources", "user", "volumeMounts"];

/// Fields of the status of a pod that is fine.
const POD_STATUS: [&str; 3] = ["hostIPs", "podIPs", "qosClass"];

/// Volumes that a pod cannot start without.
const NEEDED_VOLUMES: [&str; 4] = ["name", "configMap", "persistentVolumeClaim", "secret"];

/// The long lists in the status of a Node.
const NODE_STATUS: [&str; 4] = ["images", "volumesAttached", "volumesInUse", "config"];

/// Drops what no rule reads.
pub fn lean(object: &mut Value) {
    if let Some(metadata) = object.field_mut("metadata") {
        drop_fields(metadata, &METADATA);
    }
    let kind = |kind: &str| object.get("kind").and_then(Value::as_str) == Some(kind);
    if kind("Pod") && is_fine(object) {
        pod(object);
    } else if kind("ReplicaSet") && is_owned_by_deployment(object) {
        // Its Deployment has the same.
        if let Some(spec) = object.field_mut("spec") {
            drop_fields(spec, &["template", "selector"]);
        }
        // Only what it could not do is told by no one else.
        if let Some(status) = object.field_mut("status") {
            status.retain(|key, _| key == "conditions");
        }
    } else if kind("Node")
        && let Some(status) = object.field_mut("status")
    {
        drop_fields(status, &NODE_STATUS);
    }
}

/// Whether a pod runs, is Ready, and no container of it ever ended in a way that tells something.
#[must_use]
pub fn is_fine(pod: &Value) -> bool {
    let status = |list: &str| pod.get("status").and_then(|status| status.get(list)).and_then(Value::as_array);
    let runs = |container: &Value| {
        let last = container.get("lastState").and_then(Value::as_object);
        container.get("ready").and_then(Value::as_bool) == Some(true)
            && container.get("restartCount").and_then(Value::as_i64) == Some(0)
            && container.pointer("/state/running").is_some()
            && last.is_none_or(Map::is_empty)
    };
    let is_ready = status("conditions").into_iter().flatten().any(|condition| {
        let is = |key: &str, value: &str| condition.get(key).and_then(Value::as_str) == Some(value);
        is("type", "Ready") && is("status", "True")
    });
    let beside = ["initContainerStatuses", "ephemeralContainerStatuses"];
    is_ready
        && pod.pointer("/status/phase").and_then(Value::as_str) == Some("Running")
        && pod.pointer("/metadata/deletionTimestamp").is_none_or(Value::is_null)
        && status("containerStatuses").is_some_and(|list| !list.is_empty() && list.iter().all(runs))
        && beside.iter().all(|list| status(list).is_none_or(<[Value]>::is_empty))
}

fn pod(pod: &mut Value) {
    if let Some(spec) = pod.field_mut("spec") {
        drop_fields(spec, &POD_SPEC);
        each(spec, "containers", |container| drop_fields(container, &CONTAINER));
        each(spec, "volumes", |volume| volume.retain(|key, _| NEEDED_VOLUMES.contains(&key)));
    }
    if let Some(status) = pod.field_mut("status") {
        drop_fields(status, &POD_STATUS);
        each(status, "containerStatuses", |container| drop_fields(container, &CONTAINER_STATUS));
        if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
            let mut kept = std::mem::take(conditions).into_vec();
            kept.retain(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
            *conditions = kept.drain(..).collect();
        }
    }
}

fn is_owned_by_deployment(object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|o| o.get("kind").and_then(Value::as_str) == Some("Deployment"))
}

fn drop_fields(map: &mut Map, fields: &[&str]) {
    map.retain(|key, _| !fields.contains(&key));
}

fn each(map: &mut Map, list: &str, change: impl Fn(&mut Map)) {
    let items = map.get_mut(list).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn running() -> serde_json::Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n", "managedFields": [{}], "labels": {"app": "x"}},
            "spec": {"nodeName": "n1", "tolerations": [{"key": "a"}],
                "containers": [{"name": "c", "ports": [{"containerPort": 80}], "resources": {"limits": {"memory": "1Gi"}}}],
                "volumes": [{"name": "t", "projected": {"sources": []}}, {"name": "s", "secret": {"secretName": "s"}}]},
            "status": {"phase": "Running", "qosClass": "Burstable",
                "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "lastState": {},
                    "containerID": "x", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}})
    }

    #[test]
    fn a_pod_that_is_fine_keeps_what_others_refer_to() {
        let mut pod = Value::from(running());
        lean(&mut pod);
        assert_eq!(
            pod.to_json(),
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "n", "labels": {"app": "x"}},
                "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"containerPort": 80}]}],
                    "volumes": [{"name": "t"}, {"name": "s", "secret": {"secretName": "s"}}]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [{"name": "c", "ready": true, "restartCount": 0, "lastState": {},
                        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}})
        );
    }

    #[test]
    fn a_pod_with_any_trouble_is_kept_whole() {
        for (pointer, value) in [
            ("/status/phase", json!("Pending")),
            ("/status/conditions/1/status", json!("False")),
            ("/status/containerStatuses/0/ready", json!(false)),
            ("/status/containerStatuses/0/restartCount", json!(1)),
            ("/status/containerStatuses/0/state", json!({"waiting": {}})),
            ("/status/containerStatuses/0/lastState", json!({"terminated": {}})),
        ] {
            let mut pod = running();
            *pod.pointer_mut(pointer).expect("a field") = value;
            let mut expected = pod.clone();
            expected["metadata"].as_object_mut().expect("an object").remove("managedFields");
            let mut pod = Value::from(pod);
            lean(&mut pod);
            assert_eq!(pod.to_json(), expected, "{pointer}");
        }
    }
}
