//! Corners of what the controller deploys and writes, and of the proxies beside it.

use serde_json::{Value, json};

use super::{Case, EXTENSION, at, healthy};
use crate::faults::edit_filters;
use crate::fixture::Fixture;

const FILTER: [&str; 3] = ["EnvoyFilter", "gateway-system", "mcp-ext-proc-mcp-system-gateway"];
const TYPED: &str = "/spec/configPatches/0/patch/value/typed_config";

/// What the controller deploys, and the proxies beside it.
pub const DEPLOYED: &[Case] = &[
    (
        "the filter hands no body over",
        || filter("/processing_mode/request_body_mode", json!("NONE")),
        &["MG227"],
    ),
    (
        "the filter streams bodies, as that of 0.7",
        || filter("/processing_mode/request_body_mode", json!("STREAMED")),
        &[],
    ),
    ("the filter asks the broker of another namespace", other_broker, &["MG227", "MG224"]),
    ("a proxy is one version behind", || proxy("docker.io/istio/proxyv2:1.28.3"), &[]),
    ("a proxy is two versions behind", || proxy("docker.io/istio/proxyv2:1.27.3"), &["MG004"]),
    ("a proxy is ahead of its istiod", || proxy("docker.io/istio/proxyv2:1.30.0"), &["MG004"]),
    ("a proxy of a vendor with numbers of its own", || proxy("registry.example.com/mesh/proxyv2:3.2.0"), &[]),
    (
        "the broker's image is not what the controller gives",
        || {
            healthy()
                .edit_broker(|container| container["image"] = json!("ghcr.io/kuadrant/mcp-gateway:v0.8.0"))
        },
        &["MG310"],
    ),
    (
        "the broker is asked less often than the spec says",
        || at(healthy(), EXTENSION, "/spec/backendPingIntervalSeconds", json!(30)),
        &["MG310"],
    ),
    (
        "a key on the command line that brokers no longer know",
        || {
            healthy().edit_broker(|container| {
                let command = container["command"].as_array_mut().expect("a command");
                command.push(json!("--session-signing-key=not-a-real-key"));
            })
        },
        &["MG007"],
    ),
    (
        "the kind of virtual servers is not installed",
        || {
            healthy()
                .remove("CustomResourceDefinition", "", "mcpvirtualservers.mcp.kuadrant.io")
                .remove_all("MCPVirtualServer", None)
        },
        &["MG003"],
    ),
    ("the broker's Service is gone", service_gone, &["MG215", "MG703"]),
    ("the broker's Deployment is gone", deployment_gone, &["MG312", "MG310"]),
];

fn filter(pointer: &str, value: Value) -> Fixture {
    at(healthy(), FILTER, &format!("{TYPED}{pointer}"), value)
}

/// The filter was written for another broker, and Envoy has it so.
fn other_broker() -> Fixture {
    let cluster = "outbound|50051||mcp-gateway.before.svc.cluster.local";
    edit_filters(filter("/grpc_service/envoy_grpc/cluster_name", json!(cluster)), |filters| {
        for filter in filters.iter_mut().filter(|f| f.to_string().contains("outbound|50051|")) {
            filter["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = json!(cluster);
        }
    })
}

fn proxy(image: &'static str) -> Fixture {
    healthy().edit("Pod", "gateway-system", "mcp-gateway-istio", |pod| {
        pod["spec"]["containers"][0]["image"] = json!(image);
    })
}

fn service_gone() -> Fixture {
    healthy().remove("Service", "mcp-system", "mcp-gateway")
}

fn deployment_gone() -> Fixture {
    let fixture = healthy();
    let pod = fixture.pod_of("mcp-system", "mcp-gateway");
    let set = pod.rsplit_once('-').expect("a pod's name").0.to_owned();
    fixture
        .remove("Pod", "mcp-system", &pod)
        .remove("ReplicaSet", "mcp-system", &set)
        .remove("Deployment", "mcp-system", "mcp-gateway")
        .edit_all("EndpointSlice", |slice| {
            if slice["metadata"]["labels"]["kubernetes.io/service-name"] == "mcp-gateway" {
                slice["endpoints"] = json!([]);
            }
        })
}

#[test]
fn what_the_controller_makes_is_asked_of_the_controller() {
    for (code, fixture) in [("MG215", service_gone()), ("MG312", deployment_gone())] {
        let report = fixture.report();
        let finding = report.findings.iter().find(|f| f.code == code).expect("the finding");
        let commands = finding.remedy.commands.join("\n");
        assert!(commands.contains("annotate mcpgatewayextension mcp-gateway"), "{code}: {commands}");
        assert!(!commands.contains("describe deployment"), "{code}: {commands}");
    }
}
