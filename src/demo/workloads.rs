//! What a cluster makes of applied manifests: UIDs and other server-side fields, and the
//! ReplicaSets, Pods and EndpointSlices of Deployments and Services.
//!
//! Everything is derived from names, so that the same manifests always give the same objects. What
//! is already there stays as it is: a test that changes a Pod keeps its change.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::identity;

/// When pods that say nothing else were started: two days before the evidence is collected.
const STARTED: &str = "2026-09-12T06:19:50Z";
/// When they became ready.
const READY: &str = "2026-09-12T06:20:06Z";

/// Lets the cluster work until nothing is left to do.
pub(super) fn run(objects: &mut Vec<Value>) {
    let mut made = Vec::new();
    for deployment in objects.iter().filter(|o| identity(o).0 == "Deployment") {
        let set = replica_set(deployment);
        made.extend((0..replicas(deployment)).map(|n| pod(deployment, &set, n)));
        made.push(set);
    }
    add_missing(objects, made);
    for object in objects.iter_mut() {
        fill_defaults(object);
    }
    let slices: Vec<Value> = objects
        .iter()
        .filter(|o| identity(o).0 == "Service" && o.pointer("/spec/selector").is_some())
        .map(|service| endpoint_slice(service, objects))
        .collect();
    add_missing(objects, slices);
    fill_identity(objects);
    for deployment in objects.iter_mut().filter(|o| identity(o).0 == "Deployment") {
        let count = replicas(deployment);
        fill_rollout(deployment, count);
    }
}

/// The name of a pod of a Deployment.
pub(super) fn pod_name(namespace: &str, deployment: &str, number: u64) -> String {
    let suffix = safe_letters(&hash(&["Pod", namespace, deployment, &number.to_string()]), 5);
    format!("{}-{suffix}", replica_set_name(namespace, deployment))
}

fn replica_set_name(namespace: &str, deployment: &str) -> String {
    format!("{deployment}-{}", template_hash(namespace, deployment))
}

fn template_hash(namespace: &str, deployment: &str) -> String {
    safe_letters(&hash(&["ReplicaSet", namespace, deployment]), 9)
}

fn replicas(deployment: &Value) -> u64 {
    deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)
}

fn add_missing(objects: &mut Vec<Value>, made: Vec<Value>) {
    for object in made {
        if !objects.iter().any(|o| identity(o) == identity(&object)) {
            objects.push(object);
        }
    }
}

fn replica_set(deployment: &Value) -> Value {
    let (_, namespace, name) = identity(deployment);
    let hash = template_hash(namespace, name);
    let count = replicas(deployment);
    let mut template = deployment.pointer("/spec/template").cloned().unwrap_or_default();
    add_label(&mut template["metadata"], "pod-template-hash", &hash);
    let mut selector = deployment.pointer("/spec/selector").cloned().unwrap_or_default();
    if let Some(labels) = selector.get_mut("matchLabels").and_then(Value::as_object_mut) {
        labels.insert("pod-template-hash".to_owned(), json!(hash));
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": replica_set_name(namespace, name),
            "namespace": namespace,
            "creationTimestamp": deployment.pointer("/metadata/creationTimestamp"),
            "labels": template.pointer("/metadata/labels"),
            "annotations": {"deployment.kubernetes.io/desired-replicas": count.to_string(), "deployment.kubernetes.io/revision": "1"},
            "ownerReferences": [owner("apps/v1", "Deployment", name)],
        },
        "spec": {"replicas": count, "selector": selector, "template": template},
        "status": {"replicas": count, "fullyLabeledReplicas": count, "readyReplicas": count, "availableReplicas": count, "observedGeneration": 1},
    })
}

fn pod(deployment: &Value, set: &Value, number: u64) -> Value {
    let (_, namespace, name) = identity(deployment);
    let pod = pod_name(namespace, name, number);
    let digest = hash(&["ip", namespace, name, &number.to_string()]);
    let node = 1 + digest[0] % 2;
    let template = set.pointer("/spec/template").cloned().unwrap_or_default();
    let mut spec = template.get("spec").cloned().unwrap_or_default();
    fill_pod_spec(&mut spec);
    spec["nodeName"] = json!(format!("worker-{node}"));
    let status_of = |container: &Value| {
        let image = container["image"].as_str().unwrap_or_default();
        let digest = hex(&hash(&["image", image]));
        let repository = image.rsplit_once(':').map_or(image, |(repository, _)| repository);
        json!({
            "name": container["name"],
            "image": image,
            "imageID": format!("{repository}@sha256:{digest}"),
            "containerID": format!("containerd://{}", hex(&hash(&["container", namespace, &pod]))),
            "ready": true,
            "started": true,
            "restartCount": 0,
            "state": {"running": {"startedAt": READY}},
            "lastState": {},
        })
    };
    let statuses: Vec<Value> = spec["containers"].as_array().into_iter().flatten().map(status_of).collect();
    let ip = format!("10.244.{node}.{}", 10 + digest[1] % 200);
    let condition = |kind: &str, time: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": time});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod,
            "namespace": namespace,
            "generateName": format!("{}-", replica_set_name(namespace, name)),
            "creationTimestamp": STARTED,
            "labels": template.pointer("/metadata/labels"),
            "annotations": template.pointer("/metadata/annotations").cloned().unwrap_or_else(|| json!({})),
            "ownerReferences": [owner("apps/v1", "ReplicaSet", identity(set).2)],
        },
        "spec": spec,
        "status": {
            "phase": "Running",
            "hostIP": format!("192.0.2.1{node}"),
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "startTime": STARTED,
            "qosClass": "Burstable",
            "conditions": [
                condition("PodReadyToStartContainers", STARTED),
                condition("Initialized", STARTED),
                condition("Ready", READY),
                condition("ContainersReady", READY),
                condition("PodScheduled", STARTED),
            ],
            "containerStatuses": statuses,
        },
    })
}

fn fill_pod_spec(spec: &mut Value) {
    set_default(spec, "restartPolicy", json!("Always"));
    set_default(spec, "dnsPolicy", json!("ClusterFirst"));
    set_default(spec, "serviceAccountName", json!("default"));
    set_default(spec, "terminationGracePeriodSeconds", json!(30));
    if let Some(containers) = spec.get_mut("containers").and_then(Value::as_array_mut) {
        for container in containers {
            set_default(container, "imagePullPolicy", json!("IfNotPresent"));
        }
    }
}

/// The EndpointSlice of a Service: one endpoint for each pod that its selector matches.
fn endpoint_slice(service: &Value, objects: &[Value]) -> Value {
    let (_, namespace, name) = identity(service);
    let selector = service.pointer("/spec/selector").and_then(Value::as_object).cloned().unwrap_or_default();
    let matches = |pod: &Value| {
        let labels = pod.pointer("/metadata/labels").and_then(Value::as_object);
        labels.is_some_and(|labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
    };
    let pods: Vec<&Value> = objects
        .iter()
        .filter(|o| {
            let (kind, of, _) = identity(o);
            kind == "Pod" && of == namespace && matches(o)
        })
        .collect();
    let container_port = |target: &Value| -> Value {
        let Some(wanted) = target.as_str() else { return target.clone() };
        let containers =
            pods.first().and_then(|pod| pod.pointer("/spec/containers")).and_then(Value::as_array);
        let mut ports =
            containers.into_iter().flatten().flat_map(|c| c["ports"].as_array().into_iter().flatten());
        ports.find(|p| p["name"] == wanted).map_or(Value::Null, |p| p["containerPort"].clone())
    };
    let ports: Vec<Value> = service
        .pointer("/spec/ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|port| {
            let mut endpoint = json!({"name": port["name"], "port": container_port(&port["targetPort"]), "protocol": port["protocol"]});
            if let Some(protocol) = port.get("appProtocol") {
                endpoint["appProtocol"] = protocol.clone();
            }
            endpoint
        })
        .collect();
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            let ready = is_ready(pod);
            json!({
                "addresses": [pod.pointer("/status/podIP")],
                "conditions": {"ready": ready, "serving": ready, "terminating": false},
                "nodeName": pod.pointer("/spec/nodeName"),
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": identity(pod).2},
            })
        })
        .collect();
    let mut labels = Map::new();
    labels.insert("kubernetes.io/service-name".to_owned(), json!(name));
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".to_owned(),
        json!("endpointslice-controller.k8s.io"),
    );
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-{}", safe_letters(&hash(&["EndpointSlice", namespace, name]), 5)),
            "namespace": namespace,
            "creationTimestamp": service.pointer("/metadata/creationTimestamp"),
            "labels": labels,
            "ownerReferences": [owner("v1", "Service", name)],
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    })
}

/// Makes a pod not ready and lets the controllers of Kubernetes say what they would about it.
pub(super) fn unready(objects: &mut [Value], namespace: &str, deployment: &str, pod: &str) {
    const SINCE: &str = "2026-09-14T09:49:00Z";
    for object in objects.iter_mut().filter(|o| identity(o).1 == namespace) {
        let (kind, _, name) = identity(object);
        match kind {
            "Pod" if name == pod => {
                let containers: Vec<String> = object["status"]["containerStatuses"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                    .map(|status| {
                        status["ready"] = json!(false);
                        status["name"].as_str().unwrap_or_default().to_owned()
                    })
                    .collect();
                if object["status"]["containerStatuses"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|s| s["state"]["waiting"].is_object())
                    && object["status"]["containerStatuses"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .all(|s| s["restartCount"] == 0)
                {
                    object["status"]["phase"] = json!("Pending");
                }
                for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
                    if condition["type"] == "Ready" || condition["type"] == "ContainersReady" {
                        condition["status"] = json!("False");
                        condition["reason"] = json!("ContainersNotReady");
                        condition["message"] =
                            json!(format!("containers with unready status: [{}]", containers.join(" ")));
                        condition["lastTransitionTime"] = json!(SINCE);
                    }
                }
            }
            "Deployment" if name == deployment => {
                let status = &mut object["status"];
                for gone in ["readyReplicas", "availableReplicas"] {
                    status.as_object_mut().and_then(|s| s.remove(gone));
                }
                status["unavailableReplicas"] = status["replicas"].clone();
                for condition in status["conditions"].as_array_mut().into_iter().flatten() {
                    if condition["type"] == "Available" {
                        condition["status"] = json!("False");
                        condition["reason"] = json!("MinimumReplicasUnavailable");
                        condition["message"] = json!("Deployment does not have minimum availability.");
                        condition["lastTransitionTime"] = json!(SINCE);
                    }
                }
            }
            "ReplicaSet" if name == replica_set_name(namespace, deployment) => {
                for gone in ["readyReplicas", "availableReplicas"] {
                    object["status"].as_object_mut().and_then(|s| s.remove(gone));
                }
            }
            "EndpointSlice" => {
                for endpoint in object["endpoints"].as_array_mut().into_iter().flatten() {
                    if endpoint["targetRef"]["name"] == pod {
                        endpoint["conditions"] =
                            json!({"ready": false, "serving": false, "terminating": false});
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether the pod's `Ready` condition is true.
pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// What the API server fills in by itself.
fn fill_defaults(object: &mut Value) {
    let (kind, namespace, name) = identity(object);
    match kind {
        "Namespace" => {
            let name = name.to_owned();
            set_default(object, "spec", json!({"finalizers": ["kubernetes"]}));
            add_label(&mut object["metadata"], "kubernetes.io/metadata.name", &name);
        }
        "Service" => {
            let digest = hash(&["clusterIP", namespace, name]);
            let spec = &mut object["spec"];
            set_default(spec, "clusterIP", json!(format!("10.96.{}.{}", digest[0], digest[1])));
            set_default(spec, "type", json!("ClusterIP"));
            set_default(spec, "sessionAffinity", json!("None"));
            if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) {
                for port in ports {
                    set_default(port, "protocol", json!("TCP"));
                    let number = port["port"].clone();
                    set_default(port, "targetPort", number);
                }
            }
            set_default(object, "status", json!({"loadBalancer": {}}));
        }
        "Secret" => encode_secret(object),
        "Deployment" => {
            if let Some(spec) = object.pointer_mut("/spec/template/spec") {
                fill_pod_spec(spec);
            }
            set_default(&mut object["metadata"], "annotations", json!({}));
            object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("1");
            set_default(
                &mut object["spec"],
                "strategy",
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
            );
        }
        _ => {}
    }
}

/// Manifests write Secrets as `stringData`; the API server stores and sends `data`.
fn encode_secret(secret: &mut Value) {
    let Some(Value::Object(plain)) = secret.as_object_mut().and_then(|s| s.remove("stringData")) else {
        return;
    };
    let encoded: BTreeMap<String, String> = plain
        .into_iter()
        .filter_map(|(key, value)| {
            Some((key, base64::engine::general_purpose::STANDARD.encode(value.as_str()?)))
        })
        .collect();
    secret["data"] = json!(encoded);
}

/// The status that the Deployment controller writes when all its pods are ready.
fn fill_rollout(deployment: &mut Value, count: u64) {
    if deployment.get("status").is_some() {
        return;
    }
    let created = deployment.pointer("/metadata/creationTimestamp").cloned().unwrap_or_default();
    let (_, namespace, name) = identity(deployment);
    let set = replica_set_name(namespace, name);
    deployment["status"] = json!({
        "observedGeneration": deployment.pointer("/metadata/generation"),
        "replicas": count,
        "updatedReplicas": count,
        "readyReplicas": count,
        "availableReplicas": count,
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability.", "lastUpdateTime": READY, "lastTransitionTime": READY},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": format!("ReplicaSet \"{set}\" has successfully progressed."), "lastUpdateTime": READY, "lastTransitionTime": created},
        ],
    });
}

/// UID, resource version, generation, and the UIDs in references to other objects.
fn fill_identity(objects: &mut [Value]) {
    for (number, object) in objects.iter_mut().enumerate() {
        let (kind, namespace, name) = identity(object);
        let uid = uid(kind, namespace, name);
        let has_generation =
            object.get("spec").is_some() && !matches!(kind, "Service" | "Node" | "Namespace");
        let metadata = &mut object["metadata"];
        set_default(metadata, "uid", json!(uid));
        set_default(metadata, "resourceVersion", json!((48_211 + 7 * number).to_string()));
        set_default(metadata, "creationTimestamp", json!(STARTED));
        if has_generation {
            set_default(metadata, "generation", json!(1));
        }
    }
    let uids: BTreeMap<(String, String, String), Value> = objects
        .iter()
        .map(|o| {
            let (kind, namespace, name) = identity(o);
            ((kind.to_owned(), namespace.to_owned(), name.to_owned()), o["metadata"]["uid"].clone())
        })
        .collect();
    for object in objects.iter_mut() {
        let namespace = identity(object).1.to_owned();
        let find = |reference: &Value| {
            let text = |key: &str| reference[key].as_str().unwrap_or_default().to_owned();
            uids.get(&(text("kind"), namespace.clone(), text("name"))).cloned()
        };
        let fill = |reference: &mut Value| {
            if let Some(uid) = find(reference) {
                set_default(reference, "uid", uid);
            }
        };
        if let Some(owners) = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut) {
            owners.iter_mut().for_each(fill);
        }
        if let Some(involved) = object.get_mut("involvedObject") {
            fill(involved);
        }
        if let Some(endpoints) = object.get_mut("endpoints").and_then(Value::as_array_mut) {
            endpoints.iter_mut().filter_map(|e| e.get_mut("targetRef")).for_each(fill);
        }
    }
}

fn owner(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "controller": true, "blockOwnerDeletion": true})
}

fn add_label(metadata: &mut Value, key: &str, value: &str) {
    set_default(metadata, "labels", json!({}));
    metadata["labels"][key] = json!(value);
}

fn set_default(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.entry(key.to_owned()).or_insert(value);
    }
}

/// A UID of version 4's form that depends only on what it names.
fn uid(kind: &str, namespace: &str, name: &str) -> String {
    let h = hex(&hash(&["uid", kind, namespace, name]));
    format!("{}-{}-4{}-a{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..32])
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    digest.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Letters of the alphabet that Kubernetes uses for generated names: no vowels, no look-alikes.
fn safe_letters(digest: &[u8; 32], count: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    digest.iter().take(count).map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}
