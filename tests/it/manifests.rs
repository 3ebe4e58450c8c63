//! Manifests, as somebody keeps them in Git: objects that no API server has stored and no controller has seen. What
//! they say is judged; what only controllers and kubelets write is neither missing nor wrong.

use std::collections::{BTreeMap, BTreeSet};

use oc_mcpgw::archive::load;
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::report::{Report, Severity};
use oc_mcpgw::rules;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::faults;
use crate::fixture::Fixture;
use crate::fixture_kinds::healthy_kinds;

/// Kinds that only controllers and kubelets write.
const MADE: &[&str] = &[
    "Pod",
    "ReplicaSet",
    "EndpointSlice",
    "Event",
    "Node",
    "AuthConfig",
    "DNSRecord",
    "ClusterServiceVersion",
    "InstallPlan",
    "ClusterVersion",
    "ClusterOperator",
    "CustomResourceDefinition",
];

/// Whether a person wrote it, or a controller.
fn is_written(object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    let made = labels["app.kubernetes.io/managed-by"] == "mcp-gateway-controller"
        || labels["mcp.kuadrant.io/aggregated"] == "true"
        || labels["kuadrant.io/managed"] == "true"
        || !labels["gateway.networking.k8s.io/gateway-name"].is_null();
    !made
        && object["metadata"]["ownerReferences"].is_null()
        && !MADE.contains(&object["kind"].as_str().unwrap_or_default())
}

/// The analysis of the manifests of an installation, in one file.
fn judged(fixture: &Fixture) -> Report {
    let objects = fixture.installation.objects.iter().filter(|object| is_written(object));
    let items: Vec<Value> = objects
        .map(|object| {
            let mut object = object.clone();
            object.as_object_mut().expect("an object").remove("status");
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            for stored in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
                metadata.remove(stored);
            }
            object
        })
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let files = BTreeMap::from([("manifests.json".to_owned(), serde_json::to_vec(&list).expect("JSON"))]);
    rules::analyze(&load::load(&Memory(files)).expect("a bundle"))
}

#[test]
fn the_manifests_of_a_healthy_installation_have_no_findings() {
    let kinds = healthy_kinds();
    let wrong: Vec<String> = kinds
        .par_iter()
        .flat_map_iter(|(kind, fixture)| {
            let findings = judged(fixture).findings.into_iter().filter(|f| f.severity != Severity::Info);
            findings
                .map(move |f| format!("{kind}: {} {}: {:?}", f.code, f.title, f.evidence))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}

/// Faults that only a running installation can show.
const RUNNING: &[&str] = &[
    // What the bundle itself lacks.
    "the policies were not collected",
    "a list was refused",
    // What controllers say of it, or have not said.
    "parameters of the Gateway are not valid",
    "no quota for the Gateway's Service",
    "the load balancer gives no address",
    "nobody accepts the GatewayClass",
    "istiod is down",
    "the Gateway refuses a filter",
    "a generation behind",
    "no status for a parent",
    "no status at all",
    "the config Secret cannot be written",
    "Authorino installed after the operator started",
    // The status of a fault that the manifests show by another code.
    "a listener whose certificate is gone",
    "no listener has the section",
    "a backend of an unknown kind",
    "a Service by its host",
    "policy without target",
    // In what controllers make: the Gateway's Service, the broker's Deployment, Secret and route.
    "the private host is of another class",
    "two replicas without a store",
    "the broker's image cannot be pulled",
    "an entry that nobody registered",
    "no rule for the metadata",
    "the controller's route is gone",
    "nobody made a route",
    "variables removed by the controller",
    "rollout paused",
    "filtering enforced, header unset",
    // What the running gateway answers.
    "metadata answered with 404",
    "the running gateway answers 401",
    "the running gateway's 401 has no header",
];

#[test]
fn what_manifests_say_is_judged() {
    let lost: Vec<String> = faults::all()
        .into_par_iter()
        .filter(|fault| !RUNNING.contains(&fault.name))
        .filter_map(|fault| {
            let report = judged(&(fault.apply)(Fixture::healthy()));
            let found = report.findings.iter().any(|f| f.code == fault.code);
            let undecided = report.unknown.iter().any(|u| u.codes.iter().any(|c| c == fault.code));
            let codes: BTreeSet<&str> = report.findings.iter().map(|f| f.code.as_str()).collect();
            (!found && !undecided).then(|| format!("{} {}: found {codes:?}", fault.code, fault.name))
        })
        .collect();
    assert!(lost.is_empty(), "{} faults:\n{}", lost.len(), lost.join("\n"));
}
