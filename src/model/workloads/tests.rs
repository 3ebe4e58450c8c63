use super::*;
use crate::model::json::Value;
use crate::model::json::json;

fn bundle(objects: Vec<Value>) -> Bundle {
    let mut bundle = Bundle::default();
    for value in objects {
        bundle.add_object(Object::new(value, "f.yaml".into(), None).expect("an object"));
    }
    bundle
}

fn pod(namespace: &str, name: &str, labels: &Value, owner: Option<(&str, &str)>) -> Value {
    let owners = owner.map(
        |(kind, name)| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true}]),
    );
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels, "ownerReferences": owners},
        "spec": {"containers": [{"name": "app"}]}})
}

#[test]
fn a_service_selects_by_all_of_its_labels() {
    let bundle = bundle(vec![
        pod("a", "one", &json!({"app": "x", "tier": "web"}), None),
        pod("a", "two", &json!({"app": "x"}), None),
        pod("b", "other", &json!({"app": "x", "tier": "web"}), None),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "a", "name": "s"},
            "spec": {"selector": {"app": "x", "tier": "web"}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "a", "name": "none"},
            "spec": {"selector": {}}}),
    ]);
    let index = Workloads::new(&bundle);
    let names = |service: &str| -> Vec<&str> {
        let service = bundle.get(&kinds::SERVICE, "a", service).expect("a service");
        index.pods_of_service(service).iter().map(|p| p.name()).collect()
    };
    assert_eq!(names("s"), ["one"]);
    assert!(names("none").is_empty(), "an empty selector selects nothing");
    let one = bundle.get(&kinds::POD, "a", "one").expect("a pod");
    assert_eq!(index.services_of_pod(one).len(), 1);
}

#[test]
fn the_owner_chain_ends_at_the_deployment_even_without_its_replica_set() {
    let labels = json!({"pod-template-hash": "6c9f"});
    let with_set = bundle(vec![
        pod("a", "web-6c9f-x", &labels, Some(("ReplicaSet", "web-6c9f"))),
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"namespace": "a", "name": "web-6c9f",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "controller": true}]}}),
    ]);
    let without = bundle(vec![pod("a", "web-6c9f-x", &labels, Some(("ReplicaSet", "web-6c9f")))]);
    for bundle in [with_set, without] {
        let index = Workloads::new(&bundle);
        let pod = bundle.get(&kinds::POD, "a", "web-6c9f-x").expect("a pod");
        assert_eq!(index.owner(pod).reference.to_string(), "Deployment a/web");
        assert_eq!(index.pods_of("Deployment", "a", "web").len(), 1);
    }
    let bare = bundle(vec![pod("a", "p", &json!({}), None)]);
    let index = Workloads::new(&bare);
    let pod = bare.get(&kinds::POD, "a", "p").expect("a pod");
    assert_eq!(index.owner(pod).reference.to_string(), "Pod a/p");
}

#[test]
fn endpoints_come_from_slices_then_endpoints_and_may_be_unknown() {
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": "a", "name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "p"}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"]}]});
    let old = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"namespace": "a", "name": "old"},
        "subsets": [{"addresses": [{"ip": "10.0.0.4"}], "notReadyAddresses": [{"ip": "10.0.0.5"}]}]});
    let bundle = bundle(vec![slice, old]);
    let index = Workloads::new(&bundle);
    let found = index.endpoints("a", "s").expect("known");
    assert_eq!(found.ready.iter().map(|e| e.address).collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.3"]);
    assert_eq!(found.ready[0].pod, Some("p"));
    assert_eq!(found.not_ready[0].source.field_path(&found.not_ready[0].pointer), "endpoints[1]");
    let found = index.endpoints("a", "old").expect("known");
    assert_eq!((found.ready.len(), found.not_ready.len()), (1, 1));
    assert!(index.endpoints("a", "unheard-of").is_err(), "nobody collected the slices of this bundle");
}

#[test]
fn components_are_told_apart_by_their_objects() {
    let deployment = |name: &str, labels: Value, container: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "n", "name": name},
            "spec": {"template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": container}]}}}})
    };
    let cases = [
        (deployment("x", json!({}), "mcp-controller"), Some(Component::Controller)),
        (
            deployment("y", json!({"app.kubernetes.io/name": "mcp-gateway-controller"}), "c"),
            Some(Component::Controller),
        ),
        (
            deployment(
                "mcp-gateway",
                json!({"app.kubernetes.io/name": "mcp-gateway", "app.kubernetes.io/managed-by": "mcp-gateway-controller"}),
                "mcp-gateway",
            ),
            Some(Component::Broker),
        ),
        (
            deployment("istiod-openshift-gateway", json!({"app": "istiod"}), "discovery"),
            Some(Component::Istiod),
        ),
        (
            deployment("authorino", json!({"authorino-resource": "authorino"}), "authorino"),
            Some(Component::Authorino),
        ),
        (
            deployment(
                "kuadrant-operator-controller-manager",
                json!({"control-plane": "controller-manager"}),
                "manager",
            ),
            Some(Component::KuadrantOperator),
        ),
        (
            deployment("other-controller-manager", json!({"control-plane": "controller-manager"}), "manager"),
            None,
        ),
        (deployment("mcp-gateway-controller-istio", json!({GATEWAY_NAME_LABEL: "g"}), "istio-proxy"), None),
    ];
    for (value, expected) in cases {
        let object = Object::new(value, "f".into(), None).expect("an object");
        assert_eq!(components::of_deployment(&object), expected, "{}", object.name());
    }
}

#[test]
fn a_gateway_finds_its_proxies_by_label_name_or_address() {
    let gateway = |name: &str, addresses: Value| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"namespace": "g", "name": name},
            "spec": {"gatewayClassName": "istio", "addresses": addresses}})
    };
    let bundle = bundle(vec![
        gateway("labelled", json!(null)),
        pod("g", "l", &json!({GATEWAY_NAME_LABEL: "labelled"}), None),
        gateway("named", json!(null)),
        pod(
            "g",
            "named-istio-1-2",
            &json!({"pod-template-hash": "1"}),
            Some(("ReplicaSet", "named-istio-1")),
        ),
        gateway("manual", json!([{"type": "Hostname", "value": "ingress.mesh.svc.cluster.local"}])),
        pod("mesh", "m", &json!({"istio": "ingressgateway"}), None),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "mesh", "name": "ingress"},
            "spec": {"selector": {"istio": "ingressgateway"}}}),
    ]);
    let index = Workloads::new(&bundle);
    for (gateway, expected) in [("labelled", "l"), ("named", "named-istio-1-2"), ("manual", "m")] {
        let object = bundle.get(&kinds::GATEWAY, "g", gateway).expect("a gateway");
        let pods: Vec<&str> = index.gateway_pods(object).iter().map(|p| p.name()).collect();
        assert_eq!(pods, [expected], "{gateway}");
    }
}

#[test]
fn containers_pair_specification_and_status() {
    let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "a", "name": "p"},
        "spec": {"initContainers": [{"name": "i"}, {"name": "proxy", "restartPolicy": "Always"}],
            "containers": [{"name": "b", "image": "x:1"}, {"name": "a"}]},
        "status": {"containerStatuses": [
            {"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}},
            {"name": "b", "ready": true, "state": {"running": {"startedAt": "2026-07-01T00:00:00Z"}}}]}});
    let pod = Object::new(value, "f".into(), None).expect("an object");
    let all = containers(&pod);
    let kinds: Vec<_> = all.iter().map(|c| (c.name, c.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("i", ContainerKind::Init),
            ("proxy", ContainerKind::Sidecar),
            ("b", ContainerKind::Main),
            ("a", ContainerKind::Main)
        ]
    );
    assert!(all[0].status.is_none());
    assert!(all[2].is_ready() && all[2].is_running() && all[2].image() == "x:1");
    assert_eq!(all[3].waiting().map(|(reason, _)| reason), Some("CrashLoopBackOff"));
    let (end, pointer) = all[3].last_end().expect("an end");
    assert_eq!(end.describe(), "OOMKilled, exit code 137");
    assert_eq!(pointer, "/status/containerStatuses/0/lastState/terminated");
}
