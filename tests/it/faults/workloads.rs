//! Faults of pods and Deployments: MG101-MG111.

use serde_json::{Value, json};

use super::Fault;
use crate::fixture::Fixture;

pub const FAULTS: &[Fault] = &[
    Fault { code: "MG101", name: "broker image denied", root: true, apply: broker_image_denied },
    Fault { code: "MG101", name: "server image name invalid", root: true, apply: invalid_image_name },
    Fault { code: "MG102", name: "server crashes again and again", root: true, apply: server_crashes },
    Fault {
        code: "MG102",
        name: "istiod killed for memory in a loop",
        root: true,
        apply: istiod_out_of_memory,
    },
    Fault { code: "MG103", name: "no node for the server", root: true, apply: unschedulable },
    Fault { code: "MG103", name: "volume without its Secret", root: true, apply: volume_without_secret },
    Fault { code: "MG104", name: "init container denied by RBAC", root: true, apply: init_denied },
    Fault { code: "MG104", name: "init container waits for ever", root: true, apply: init_stuck },
    Fault { code: "MG105", name: "controller exceeds its memory limit", root: true, apply: out_of_memory },
    Fault { code: "MG105", name: "liveness probe kills Authorino", root: true, apply: probe_kills },
    Fault { code: "MG106", name: "server does not become ready", root: true, apply: not_ready },
    Fault { code: "MG107", name: "server scaled to nothing", root: true, apply: scaled_to_zero },
    Fault { code: "MG107", name: "all its pods fail", root: false, apply: broker_image_denied },
    Fault {
        code: "MG108",
        name: "Istio missing when the controller starts",
        root: true,
        apply: no_envoyfilter_crd,
    },
    Fault { code: "MG108", name: "broker without session store", root: true, apply: no_redis },
    Fault { code: "MG108", name: "stale flag", root: true, apply: stale_flag },
    Fault { code: "MG108", name: "inotify limit, silently", root: true, apply: inotify_limit },
    Fault { code: "MG102", name: "known crash", root: false, apply: stale_flag },
    Fault { code: "MG109", name: "node under memory pressure", root: true, apply: node_pressure },
    Fault {
        code: "MG110",
        name: "Secret of an environment variable missing",
        root: true,
        apply: missing_secret,
    },
    Fault { code: "MG111", name: "quota exceeded", root: true, apply: quota_exceeded },
];

/// An event about a pod, as the kubelet or the scheduler writes it.
pub fn pod_event(
    fixture: Fixture,
    namespace: &str,
    deployment: &str,
    reason: &str,
    message: &str,
) -> Fixture {
    let pod = fixture.pod_of(namespace, deployment);
    event(fixture, namespace, "Pod", &pod, reason, message)
}

/// An event about any object.
pub fn event(
    mut fixture: Fixture,
    namespace: &str,
    kind: &str,
    name: &str,
    reason: &str,
    message: &str,
) -> Fixture {
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"namespace": namespace, "name": format!("{name}.{}", reason.to_lowercase()),
            "creationTimestamp": "2026-09-14T09:49:10Z", "uid": format!("event-{namespace}-{name}-{reason}")},
        "involvedObject": {"kind": kind, "namespace": namespace, "name": name},
        "reason": reason, "message": message, "type": "Warning", "count": 17,
        "firstTimestamp": "2026-09-14T09:49:10Z", "lastTimestamp": "2026-09-14T10:29:00Z",
    });
    fixture.installation.objects.push(event);
    fixture
}

fn container_status(pod: &mut Value) -> &mut Value {
    &mut pod["status"]["containerStatuses"][0]
}

/// Lets the first container of a Deployment's pod crash in a loop.
pub fn crashes(
    fixture: Fixture,
    namespace: &str,
    deployment: &str,
    reason: &str,
    exit_code: i64,
    log: &str,
) -> Fixture {
    let container = fixture.edit("Pod", namespace, deployment, |pod| {
        let status = container_status(pod);
        status["restartCount"] = json!(11);
        status["lastState"] = json!({"terminated": {"exitCode": exit_code, "reason": reason,
            "startedAt": "2026-09-14T10:27:00Z", "finishedAt": "2026-09-14T10:27:02Z"}});
    });
    let pod = container.pod_of(namespace, deployment);
    let name =
        container.installation.get("Pod", namespace, &pod).expect("the pod")["status"]["containerStatuses"]
            [0]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
    container
        .log(namespace, deployment, &name, true, log)
        .log(namespace, deployment, &name, false, log)
        .pod_waits(
            namespace,
            deployment,
            "CrashLoopBackOff",
            &format!("back-off 5m0s restarting failed container={name} pod={pod}_{namespace}"),
        )
}

/// An init container before the others, in this state.
fn with_init(fixture: Fixture, namespace: &str, deployment: &str, state: &Value) -> Fixture {
    fixture.pod_waits(namespace, deployment, "PodInitializing", "").edit("Pod", namespace, deployment, |pod| {
        pod["spec"]["initContainers"] = json!([{"name": "setup", "image": "quay.io/example/setup:1"}]);
        let restarts = i64::from(state.get("waiting").is_some()) * 6;
        pod["status"]["initContainerStatuses"] = json!([{"name": "setup", "image": "quay.io/example/setup:1",
            "ready": false, "restartCount": restarts, "state": state,
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-09-14T10:27:02Z"}}}]);
        pod["status"]["phase"] = json!("Pending");
    })
}

fn broker_image_denied(fixture: Fixture) -> Fixture {
    let message = "Back-off pulling image: ErrImagePull: initializing source: unauthorized: access to the requested resource is not authorized";
    let fixture = fixture.pod_waits("mcp-system", "mcp-gateway", "ImagePullBackOff", message);
    let failed = "Failed to pull image: unauthorized: access to the requested resource is not authorized";
    pod_event(fixture, "mcp-system", "mcp-gateway", "Failed", failed)
}

fn invalid_image_name(fixture: Fixture) -> Fixture {
    fixture.pod_waits(
        "team-weather",
        "weather",
        "InvalidImageName",
        "Failed to apply default image tag \"quay.io/Example/weather\": couldn't parse image name: repository name must be lowercase",
    )
}

fn server_crashes(fixture: Fixture) -> Fixture {
    crashes(
        fixture,
        "team-weather",
        "weather",
        "Error",
        1,
        "{\"time\":\"2026-09-14T10:27:01.2Z\",\"level\":\"error\",\"msg\":\"cannot open forecast model\",\"path\":\"/models/eu\"}\n",
    )
}

fn istiod_out_of_memory(fixture: Fixture) -> Fixture {
    let limit = json!("256Mi");
    let pod = fixture.pod_of("istio-system", "istiod");
    let set = pod.rsplit_once('-').expect("a pod's name").0.to_owned();
    let of_template = "/spec/template/spec/containers/0/resources/limits/memory";
    crashes(
        fixture
            .set("Pod", "istio-system", &pod, "/spec/containers/0/resources/limits/memory", limit.clone())
            .set("ReplicaSet", "istio-system", &set, of_template, limit.clone())
            .set("Deployment", "istio-system", "istiod", of_template, limit),
        "istio-system",
        "istiod",
        "OOMKilled",
        137,
        "2026-09-14T10:27:01.000000Z\tinfo\tpush context initialized\n",
    )
}

fn unschedulable(fixture: Fixture) -> Fixture {
    let message = "0/2 nodes are available: 2 Insufficient memory. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.";
    let fixture = fixture.pod_waits("team-commerce", "orders", "ContainerCreating", "").edit(
        "Pod",
        "team-commerce",
        "orders",
        |pod| {
            pod["status"]["phase"] = json!("Pending");
            pod["spec"].as_object_mut().map(|spec| spec.remove("nodeName"));
            let status = pod["status"].as_object_mut().expect("a status");
            for gone in ["containerStatuses", "podIP", "podIPs", "hostIP", "startTime"] {
                status.remove(gone);
            }
            status.insert(
                "conditions".to_owned(),
                json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                    "lastTransitionTime": "2026-09-14T09:49:00Z"}]),
            );
        },
    );
    pod_event(fixture, "team-commerce", "orders", "FailedScheduling", message)
}

fn volume_without_secret(fixture: Fixture) -> Fixture {
    let fixture = fixture.pod_waits("team-commerce", "inventory", "ContainerCreating", "").edit(
        "Pod",
        "team-commerce",
        "inventory",
        |pod| {
            pod["status"]["phase"] = json!("Pending");
            for condition in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
                condition["lastTransitionTime"] = json!("2026-09-14T09:49:00Z");
            }
        },
    );
    pod_event(
        fixture,
        "team-commerce",
        "inventory",
        "FailedMount",
        "MountVolume.SetUp failed for volume \"db\" : secret \"inventory-db\" not found",
    )
}

fn init_denied(fixture: Fixture) -> Fixture {
    with_init(
        fixture,
        "team-weather",
        "weather",
        &json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container=setup"}}),
    )
    .log(
        "team-weather",
        "weather",
        "setup",
        true,
        "Error from server (Forbidden): configmaps \"models\" is forbidden: User \"system:serviceaccount:team-weather:weather\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"team-weather\"\n",
    )
}

fn init_stuck(fixture: Fixture) -> Fixture {
    with_init(fixture, "team-weather", "weather", &json!({"running": {"startedAt": "2026-09-14T09:49:00Z"}}))
        .log(
            "team-weather",
            "weather",
            "setup",
            false,
            "waiting for models-db:5432\nwaiting for models-db:5432\n",
        )
}

fn out_of_memory(fixture: Fixture) -> Fixture {
    fixture.edit("Pod", "mcp-system", "mcp-gateway-controller", |pod| {
        let status = container_status(pod);
        status["restartCount"] = json!(2);
        status["lastState"] = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled",
            "startedAt": "2026-09-14T06:00:00Z", "finishedAt": "2026-09-14T08:12:40Z"}});
    })
}

fn probe_kills(fixture: Fixture) -> Fixture {
    let fixture = fixture.edit("Pod", "kuadrant-system", "authorino", |pod| {
        let status = container_status(pod);
        status["restartCount"] = json!(2);
        status["lastState"] = json!({"terminated": {"exitCode": 0, "reason": "Completed",
            "startedAt": "2026-09-14T06:00:00Z", "finishedAt": "2026-09-14T10:29:00Z"}});
    });
    pod_event(
        fixture,
        "kuadrant-system",
        "authorino",
        "Killing",
        "Container authorino failed liveness probe, will be restarted",
    )
}

fn not_ready(fixture: Fixture) -> Fixture {
    let fixture = fixture.pod_not_ready("team-weather", "weather").edit("Pod", "team-weather", "weather", |pod| {
        pod["spec"]["containers"][0]["readinessProbe"] =
            json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "failureThreshold": 3});
    });
    pod_event(
        fixture,
        "team-weather",
        "weather",
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
    )
}

fn scaled_to_zero(mut fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("team-commerce", "orders");
    fixture = fixture.remove("Pod", "team-commerce", &pod);
    fixture.installation.logs.retain(|log| log.pod != pod);
    for object in &mut fixture.installation.objects {
        if object["metadata"]["namespace"] != "team-commerce" {
            continue;
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if object["kind"] == "EndpointSlice" && name.starts_with("orders") {
            object["endpoints"] = json!([]);
        }
        let workload = object["kind"] == "Deployment" || object["kind"] == "ReplicaSet";
        if workload && name.starts_with("orders") {
            object["spec"]["replicas"] = json!(0);
            object["status"] = json!({"observedGeneration": object["metadata"]["generation"].clone(), "replicas": 0,
                "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
                    "lastTransitionTime": "2026-09-12T06:20:00Z"}]});
        }
    }
    fixture
}

fn no_envoyfilter_crd(fixture: Fixture) -> Fixture {
    crashes(
        fixture,
        "mcp-system",
        "mcp-gateway-controller",
        "Error",
        2,
        "panic: unable to start manager : no matches for kind \"EnvoyFilter\" in version \"networking.istio.io/v1alpha3\"\n\ngoroutine 1 [running]:\nmain.main()\n\t/workspace/cmd/main.go:158 +0x1fc5\n",
    )
}

fn no_redis(fixture: Fixture) -> Fixture {
    crashes(
        fixture,
        "mcp-system",
        "mcp-gateway",
        "Error",
        2,
        "time=2026-09-14T10:27:00.1Z level=INFO msg=\"cache using external redis store\"\npanic: failed to connect to redis: dial tcp 10.96.3.3:6379: connect: connection refused\n\ngoroutine 1 [running]:\nmain.main()\n",
    )
}

fn stale_flag(fixture: Fixture) -> Fixture {
    let fixture = fixture.edit_broker(|container| {
        let command = container["command"].as_array_mut().expect("a command");
        command.push(json!("--session-cache-size=512"));
    });
    crashes(
        fixture,
        "mcp-system",
        "mcp-gateway",
        "Error",
        2,
        "flag provided but not defined: -session-cache-size\nUsage of ./mcp_gateway:\n  -cache-connection-string string\n",
    )
}

fn inotify_limit(fixture: Fixture) -> Fixture {
    crashes(
        fixture,
        "mcp-system",
        "mcp-gateway",
        "Error",
        1,
        "time=2026-09-14T10:27:00.1Z level=INFO msg=\"jwt session manager configured\"\n",
    )
}

fn node_pressure(fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("team-weather", "weather");
    let node = fixture.installation.get("Pod", "team-weather", &pod).expect("the pod")["spec"]["nodeName"]
        .as_str()
        .expect("a node")
        .to_owned();
    fixture.status(
        "Node",
        "",
        &node,
        [
            "MemoryPressure",
            "True",
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
        ],
    )
}

fn missing_secret(fixture: Fixture) -> Fixture {
    fixture.pod_waits(
        "team-commerce",
        "orders",
        "CreateContainerConfigError",
        "couldn't find key token in Secret team-commerce/orders-upstream",
    )
}

fn quota_exceeded(fixture: Fixture) -> Fixture {
    let message = "pods \"orders-5d8f-\" is forbidden: exceeded quota: team, requested: pods=1, used: pods=4, limited: pods=4";
    let fixture = scaled_to_zero(fixture).add(
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: team, namespace: team-commerce}, \
         spec: {hard: {pods: '4'}}, status: {hard: {pods: '4'}, used: {pods: '4'}}}",
    );
    let mut fixture = fixture.edit("Deployment", "team-commerce", "orders", |deployment| {
        deployment["spec"]["replicas"] = json!(1);
        deployment["status"] = json!({"observedGeneration": 1, "unavailableReplicas": 1, "conditions": [
            {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
                "lastTransitionTime": "2026-09-14T09:49:00Z"},
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message,
                "lastTransitionTime": "2026-09-14T09:49:00Z"}]});
    });
    let set = fixture
        .installation
        .objects
        .iter_mut()
        .find(|o| {
            o["kind"] == "ReplicaSet"
                && o["metadata"]["name"].as_str().is_some_and(|n| n.starts_with("orders"))
        })
        .expect("the replica set");
    set["spec"]["replicas"] = json!(1);
    let name = set["metadata"]["name"].as_str().expect("a name").to_owned();
    event(fixture, "team-commerce", "ReplicaSet", &name, "FailedCreate", message)
}
