//! How the analysis grows with the number of registrations: each with a route, a Service, a pod and
//! its endpoints, all on one Gateway. `cargo bench --bench analyze`.

use oc_mcpgw::demo;
use oc_mcpgw::model::bundle::{Collection, Outcome};
use oc_mcpgw::model::{Bundle, Object, kinds};
use oc_mcpgw::rules;
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// The healthy installation with this many more servers; every `broken`-th has a wrong hostname.
fn bundle(servers: usize, broken: usize) -> Bundle {
    let mut bundle = Bundle::default();
    let healthy = demo::healthy();
    bundle.meta.collected_at = Some(healthy.time);
    let mut add = |value: Value| {
        bundle.add_object(Object::new(value, "objects.yaml".into(), None).expect("an object"));
    };
    healthy.objects.into_iter().for_each(&mut add);
    for i in 0..servers {
        let namespace = if i % 2 == 0 { "team-weather" } else { "team-commerce" };
        let name = format!("server-{i}");
        let host = if broken > 0 && i % broken == 0 {
            format!("s{i}.example.org")
        } else {
            format!("s{i}.mcp.local")
        };
        let meta = json!({"namespace": namespace, "name": name, "generation": 1, "creationTimestamp": "2026-08-24T13:10:00Z"});
        let parent = json!({"name": "mcp-gateway", "namespace": "gateway-system", "sectionName": "mcps"});
        let labels = json!({"app": name});
        let accepted = json!([
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 1},
            {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": "", "observedGeneration": 1},
        ]);
        add(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": meta,
            "spec": {"hostnames": [host], "parentRefs": [parent], "rules": [{"backendRefs": [{"name": name, "port": 8080}]}]},
            "status": {"parents": [{"controllerName": "istio.io/gateway-controller", "parentRef": parent, "conditions": accepted}]}}));
        add(json!({"apiVersion": "mcp.kuadrant.io/v1", "kind": "MCPServerRegistration", "metadata": meta,
            "spec": {"targetRef": {"name": name}, "prefix": format!("s{i}_")},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": ""}]}}));
        add(json!({"apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"selector": labels, "ports": [{"port": 8080, "targetPort": 8080}]}}));
        let mut pod = meta.clone();
        pod["labels"] = labels.clone();
        add(json!({"apiVersion": "v1", "kind": "Pod", "metadata": pod,
            "spec": {"containers": [{"name": "server", "ports": [{"containerPort": 8080}]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "server", "ready": true, "restartCount": 0, "state": {"running": {}}}]}}));
        let mut slice = meta.clone();
        slice["labels"] = json!({"kubernetes.io/service-name": name});
        add(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice,
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": name}}]}));
    }
    for kind in kinds::ALL {
        bundle.add_collection(Collection {
            group: kind.group.to_owned(),
            version: kind.versions[0].to_owned(),
            kind: kind.kind.to_owned(),
            resource: kind.plural.to_owned(),
            namespace: None,
            outcome: Outcome::Complete,
            items: 0,
            why: None,
        });
    }
    bundle
}

#[divan::bench(args = [1_000, 10_000, 30_000], sample_count = 3, sample_size = 1)]
fn healthy(bencher: divan::Bencher<'_, '_>, servers: usize) {
    let bundle = bundle(servers, 0);
    bencher.bench_local(|| rules::analyze(divan::black_box(&bundle)));
}

#[divan::bench(args = [1_000, 10_000], sample_count = 3, sample_size = 1)]
fn half_broken(bencher: divan::Bencher<'_, '_>, servers: usize) {
    let bundle = bundle(servers, 2);
    bencher.bench_local(|| rules::analyze(divan::black_box(&bundle)));
}
