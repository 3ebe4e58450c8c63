//! The columns of the kinds that come with Kubernetes and OpenShift, as their users know them.
//! Source: `k8s.io/kubernetes/pkg/printers/internalversion`.

use chrono::{DateTime, Utc};

use super::resources::{self as r};
use super::{Cell, Column, age_of, name, pod};
use crate::model::Object;
use crate::model::json::Value;

type Definition = (&'static str, &'static str, i64, fn(&Object, DateTime<Utc>) -> Value);

/// A column that everyone sees.
const fn col(name: &'static str, cell: fn(&Object, DateTime<Utc>) -> Value) -> Definition {
    (name, "string", 0, cell)
}

/// A column of `-o wide`.
const fn wide(name: &'static str, cell: fn(&Object, DateTime<Utc>) -> Value) -> Definition {
    (name, "string", 1, cell)
}

const AGE: Definition = col("Age", age_of);
const CONTAINERS: Definition = wide("Containers", r::containers);
const IMAGES: Definition = wide("Images", r::images);
const SELECTOR: Definition = wide("Selector", r::selector);

/// The columns of a built-in kind; `None` for kinds that have none of their own.
#[rustfmt::skip]
pub(super) fn of(group: &str, kind: &str) -> Option<Vec<Column>> {
    let columns: &[Definition] = match (group, kind) {
        ("", "Pod") => &[
            col("Ready", pod::ready), col("Status", pod::status), col("Restarts", pod::restarts), AGE,
            wide("IP", |o, _| r::or_none(o.str("/status/podIP"))), wide("Node", |o, _| r::or_none(o.str("/spec/nodeName"))),
            wide("Nominated Node", |o, _| r::or_none(o.str("/status/nominatedNodeName"))),
            wide("Readiness Gates", pod::gates),
        ],
        ("", "Service") => &[
            col("Type", |o, _| o.str("/spec/type").into()), col("Cluster-IP", |o, _| r::or_none(o.str("/spec/clusterIP"))),
            col("External-IP", r::external_ip), col("Port(s)", r::service_ports), AGE,
            wide("Selector", |o, _| r::pairs(o.get("/spec/selector"))),
        ],
        ("apps", "Deployment") => &[
            col("Ready", |o, _| r::fraction(o, "/status/readyReplicas", "/spec/replicas")),
            ("Up-to-date", "integer", 0, |o, _| r::count(o, "/status/updatedReplicas")),
            ("Available", "integer", 0, |o, _| r::count(o, "/status/availableReplicas")), AGE,
            CONTAINERS, IMAGES, SELECTOR,
        ],
        ("apps", "ReplicaSet") | ("", "ReplicationController") => &[
            ("Desired", "integer", 0, |o, _| r::count(o, "/spec/replicas")),
            ("Current", "integer", 0, |o, _| r::count(o, "/status/replicas")),
            ("Ready", "integer", 0, |o, _| r::count(o, "/status/readyReplicas")), AGE,
            CONTAINERS, IMAGES, SELECTOR,
        ],
        ("apps", "StatefulSet") => &[
            col("Ready", |o, _| r::fraction(o, "/status/readyReplicas", "/spec/replicas")), AGE, CONTAINERS, IMAGES,
        ],
        ("apps", "DaemonSet") => &[
            ("Desired", "integer", 0, |o, _| r::count(o, "/status/desiredNumberScheduled")),
            ("Current", "integer", 0, |o, _| r::count(o, "/status/currentNumberScheduled")),
            ("Ready", "integer", 0, |o, _| r::count(o, "/status/numberReady")),
            ("Up-to-date", "integer", 0, |o, _| r::count(o, "/status/updatedNumberScheduled")),
            ("Available", "integer", 0, |o, _| r::count(o, "/status/numberAvailable")),
            col("Node Selector", |o, _| r::pairs(o.get("/spec/template/spec/nodeSelector"))), AGE,
            CONTAINERS, IMAGES, SELECTOR,
        ],
        ("batch", "Job") => &[
            col("Status", r::job_status), col("Completions", |o, _| r::fraction(o, "/status/succeeded", "/spec/completions")),
            col("Duration", r::job_duration), AGE, CONTAINERS, IMAGES, SELECTOR,
        ],
        ("batch", "CronJob") => &[
            col("Schedule", |o, _| o.str("/spec/schedule").into()), col("Timezone", |o, _| r::or_none(o.str("/spec/timeZone"))),
            ("Suspend", "boolean", 0, |o, _| o.get("/spec/suspend").cloned().unwrap_or(false.into())),
            ("Active", "integer", 0, |o, _| o.array("/status/active").len().into()),
            col("Last Schedule", |o, now| r::since(o.time("/status/lastScheduleTime"), now)), AGE,
        ],
        ("autoscaling", "HorizontalPodAutoscaler") => &[
            col("Reference", |o, _| format!("{}/{}", o.str("/spec/scaleTargetRef/kind"), o.str("/spec/scaleTargetRef/name")).into()),
            ("MinPods", "string", 0, |o, _| o.int("/spec/minReplicas").map_or("<unset>".into(), |n| n.to_string().into())),
            ("MaxPods", "integer", 0, |o, _| r::count(o, "/spec/maxReplicas")),
            ("Replicas", "integer", 0, |o, _| r::count(o, "/status/currentReplicas")), AGE,
        ],
        ("", "Node") => &[
            col("Status", r::node_status), col("Roles", r::node_roles), AGE,
            col("Version", |o, _| o.str("/status/nodeInfo/kubeletVersion").into()),
            wide("Internal-IP", |o, _| r::node_address(o, "InternalIP")), wide("External-IP", |o, _| r::node_address(o, "ExternalIP")),
            wide("OS-Image", |o, _| r::or_unknown(o.str("/status/nodeInfo/osImage"))),
            wide("Kernel-Version", |o, _| r::or_unknown(o.str("/status/nodeInfo/kernelVersion"))),
            wide("Container-Runtime", |o, _| r::or_unknown(o.str("/status/nodeInfo/containerRuntimeVersion"))),
        ],
        ("", "Namespace") => &[col("Status", |o, _| o.str("/status/phase").into()), AGE],
        ("", "Event") | ("events.k8s.io", "Event") => return Some(events()),
        ("", "Secret") => &[
            col("Type", |o, _| o.str("/type").into()), ("Data", "integer", 0, |o, _| r::entries(o, &["/data"])), AGE,
        ],
        ("", "ConfigMap") => &[("Data", "integer", 0, |o, _| r::entries(o, &["/data", "/binaryData"])), AGE],
        ("", "ServiceAccount") => &[("Secrets", "integer", 0, |o, _| o.array("/secrets").len().into()), AGE],
        ("", "Endpoints") => &[col("Endpoints", r::endpoints), AGE],
        ("discovery.k8s.io", "EndpointSlice") => &[
            col("AddressType", |o, _| o.str("/addressType").into()), col("Ports", r::slice_ports),
            col("Endpoints", r::slice_endpoints), AGE,
        ],
        ("networking.k8s.io", "NetworkPolicy") => &[col("Pod-Selector", |o, _| r::label_selector(o.get("/spec/podSelector"))), AGE],
        ("networking.k8s.io", "Ingress") => &[
            col("Class", |o, _| r::or_none(o.str("/spec/ingressClassName"))), col("Hosts", r::ingress_hosts),
            col("Address", |o, _| r::ingress_points(o, usize::MAX).into()),
            col("Ports", |o, _| if o.array("/spec/tls").is_empty() { "80".into() } else { "80, 443".into() }), AGE,
        ],
        ("", "PersistentVolumeClaim") => &[
            col("Status", r::claim_status), col("Volume", |o, _| o.str("/spec/volumeName").into()),
            col("Capacity", |o, _| o.str("/status/capacity/storage").into()),
            col("Access Modes", |o, _| r::access_modes(o, "/status/accessModes")),
            col("StorageClass", |o, _| o.str("/spec/storageClassName").into()),
            col("VolumeAttributesClass", |o, _| r::or_unset(o.str("/spec/volumeAttributesClassName"))), AGE,
            wide("VolumeMode", |o, _| r::or_unset(o.str("/spec/volumeMode"))),
        ],
        ("", "PersistentVolume") => &[
            col("Capacity", |o, _| o.str("/spec/capacity/storage").into()),
            col("Access Modes", |o, _| r::access_modes(o, "/spec/accessModes")),
            col("Reclaim Policy", |o, _| o.str("/spec/persistentVolumeReclaimPolicy").into()),
            col("Status", |o, _| o.str("/status/phase").into()),
            col("Claim", |o, _| match (o.str("/spec/claimRef/namespace"), o.str("/spec/claimRef/name")) {
                (_, "") => "".into(),
                (namespace, name) => format!("{namespace}/{name}").into(),
            }),
            col("StorageClass", |o, _| o.str("/spec/storageClassName").into()),
            col("VolumeAttributesClass", |o, _| r::or_unset(o.str("/spec/volumeAttributesClassName"))),
            col("Reason", |o, _| o.str("/status/reason").into()), AGE,
            wide("VolumeMode", |o, _| r::or_unset(o.str("/spec/volumeMode"))),
        ],
        ("", "ResourceQuota") => &[
            col("Request", |o, _| r::quota(o, false)), col("Limit", |o, _| r::quota(o, true)), AGE,
        ],
        ("policy", "PodDisruptionBudget") => &[
            col("Min Available", |o, _| r::or_na(o.get("/spec/minAvailable"))),
            col("Max Unavailable", |o, _| r::or_na(o.get("/spec/maxUnavailable"))),
            ("Allowed Disruptions", "integer", 0, |o, _| r::count(o, "/status/disruptionsAllowed")), AGE,
        ],
        ("apiextensions.k8s.io", "CustomResourceDefinition")
        | ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            &[col("Created At", |o, _| o.str("/metadata/creationTimestamp").into())]
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &[
            col("Role", |o, _| format!("{}/{}", o.str("/roleRef/kind"), o.str("/roleRef/name")).into()), AGE,
            wide("Users", |o, _| r::subjects(o, "User")), wide("Groups", |o, _| r::subjects(o, "Group")),
            wide("ServiceAccounts", |o, _| r::subjects(o, "ServiceAccount")),
        ],
        ("storage.k8s.io", "StorageClass") => &[
            col("Provisioner", |o, _| o.str("/provisioner").into()), col("ReclaimPolicy", |o, _| o.str("/reclaimPolicy").into()),
            col("VolumeBindingMode", |o, _| o.str("/volumeBindingMode").into()),
            ("AllowVolumeExpansion", "boolean", 0, |o, _| o.get("/allowVolumeExpansion").cloned().unwrap_or(false.into())), AGE,
        ],
        ("coordination.k8s.io", "Lease") => &[col("Holder", |o, _| o.str("/spec/holderIdentity").into()), AGE],
        ("route.openshift.io", "Route") => &[
            col("Host/Port", |o, _| o.str("/spec/host").into()), col("Path", |o, _| o.str("/spec/path").into()),
            col("Services", r::route_services), col("Port", |o, _| r::or_all(o.get("/spec/port/targetPort"))),
            col("Termination", r::route_termination), col("Wildcard", |o, _| match o.str("/spec/wildcardPolicy") {
                "" => "None".into(),
                policy => policy.into(),
            }),
        ],
        _ => return None,
    };
    Some(build(col("Name", name), columns))
}

/// Events begin with their time, and their name is of no interest.
fn events() -> Vec<Column> {
    build(
        col("Last Seen", r::event_last_seen),
        &[
            col("Type", |o, _| o.str("/type").into()),
            col("Reason", |o, _| o.str("/reason").into()),
            col("Object", r::event_object),
            wide("Subobject", |o, _| o.str("/involvedObject/fieldPath").into()),
            wide("Source", r::event_source),
            col("Message", |o, _| match o.str("/message") {
                "" => o.str("/note").trim().into(),
                message => message.trim().into(),
            }),
            wide("First Seen", r::event_first_seen),
            ("Count", "integer", 1, r::event_count),
            wide("Name", name),
        ],
    )
}

fn build(first: Definition, rest: &[Definition]) -> Vec<Column> {
    let column = |&(name, kind, priority, cell): &Definition| Column {
        name: name.to_owned(),
        kind,
        priority,
        cell: Cell::Builtin(cell),
    };
    std::iter::once(&first).chain(rest).map(column).collect()
}
