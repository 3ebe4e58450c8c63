//! EnvoyFilters: which are the MCP controller's, what they patch, whom they select.

use std::collections::HashMap;

use crate::model::json::{Map, Value};
use crate::model::{Bundle, Object, kinds};

/// The name that the controller gives the filter of the extension in this namespace.
#[must_use]
pub fn filter_name(extension_namespace: &str) -> String {
    format!("mcp-ext-proc-{extension_namespace}-gateway")
}

/// Whether the MCP controller manages this filter, by label or by name.
#[must_use]
pub fn is_managed(filter: &Object) -> bool {
    filter.label("app.kubernetes.io/managed-by") == Some("mcp-gateway-controller")
        || filter.name().starts_with("mcp-ext-proc-")
}

/// The namespace and name of the extension that a filter was made for, from its labels.
#[must_use]
pub fn owner(filter: &Object) -> Option<(&str, &str)> {
    Some((
        filter.label("mcp.kuadrant.io/extension-namespace")?,
        filter.label("mcp.kuadrant.io/extension-name")?,
    ))
}

/// The EnvoyFilters of a bundle by the extension that the controller made them for.
#[derive(Debug)]
pub struct Filters<'a> {
    labelled: HashMap<(&'a str, &'a str), Vec<&'a Object>>,
    /// Without labels: by their name.
    named: HashMap<String, Vec<&'a Object>>,
}

impl<'a> Filters<'a> {
    /// Sorts the EnvoyFilters of a bundle.
    #[must_use]
    pub fn new(bundle: &'a Bundle) -> Self {
        let mut found = Self { labelled: HashMap::new(), named: HashMap::new() };
        for filter in bundle.list(&kinds::ENVOY_FILTER) {
            match owner(filter) {
                Some(owner) => found.labelled.entry(owner).or_default().push(filter),
                None => found.named.entry(filter.name().to_owned()).or_default().push(filter),
            }
        }
        found
    }

    /// Those of an extension, in whatever namespace they stand.
    pub fn of(&self, extension: &'a Object) -> impl Iterator<Item = &'a Object> {
        let labelled = self.labelled.get(&(extension.namespace(), extension.name()));
        let named = self.named.get(&filter_name(extension.namespace()));
        labelled.into_iter().chain(named).flatten().copied()
    }
}

/// The labels that a filter selects pods by. `None` when it applies to all pods of its namespace or
/// chooses by `targetRefs`.
#[must_use]
pub fn workload_labels(filter: &Object) -> Option<&Map> {
    if !filter.array("/spec/targetRefs").is_empty() {
        return None;
    }
    filter.get("/spec/workloadSelector/labels").and_then(Value::as_object).filter(|l| !l.is_empty())
}

/// Whether a filter inserts an MCP router on a listener port: an external processor that calls port 50051.
#[must_use]
pub fn inserts_router(filter: &Object, port: i64) -> bool {
    let calls_router = |pointer: &str| {
        let cluster =
            filter.str(&format!("{pointer}/patch/value/typed_config/grpc_service/envoy_grpc/cluster_name"));
        cluster.split('|').nth(1) == Some("50051")
    };
    router_patches(filter)
        .iter()
        .any(|(pointer, of_port)| of_port.is_none_or(|of_port| of_port == port) && calls_router(pointer))
}

/// The patches that insert an ext_proc HTTP filter: the JSON pointer of the patch and its port.
#[must_use]
pub fn router_patches(filter: &Object) -> Vec<(String, Option<i64>)> {
    filter
        .array("/spec/configPatches")
        .iter()
        .enumerate()
        .filter(|(_, patch)| {
            patch.get("applyTo").and_then(Value::as_str) == Some("HTTP_FILTER")
                && patch
                    .pointer("/patch/value/typed_config/@type")
                    .and_then(Value::as_str)
                    .is_some_and(|t| t.ends_with("ext_proc.v3.ExternalProcessor"))
        })
        .map(|(index, patch)| {
            let port = patch.pointer("/match/listener/portNumber").and_then(Value::as_i64);
            (format!("/spec/configPatches/{index}"), port)
        })
        .collect()
}
