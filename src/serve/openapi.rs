//! OpenAPI: the schemas of the CRDs in the bundle, so that `kubectl explain` works offline.
//!
//! Source: "OpenAPI V3" of the Kubernetes API documentation: `/openapi/v3` names a document for every group and
//! version. Built-in kinds have none here: a bundle does not hold their schemas.

use serde_json::{Map, Value, json};

use crate::model::Bundle;
use crate::model::json;
use crate::model::object::Object;

/// A Swagger document without schemas: enough for clients that insist on one.
pub(crate) fn v2(git_version: Option<&str>) -> Value {
    json!({
        "swagger": "2.0", "paths": {}, "definitions": {},
        "info": {"title": "Kubernetes", "version": git_version.unwrap_or("v0.0.0-unknown")},
    })
}

/// `/openapi/v3`: where the document of each group and version is. `digest` names what is served, so that
/// clients may keep the documents.
pub(crate) fn v3_index(bundle: &Bundle, digest: &str) -> Value {
    let mut paths = Map::new();
    for (crd, version) in served(bundle) {
        let path = format!("apis/{}/{}", crd.str("/spec/group"), name(version));
        let url = format!("/openapi/v3/{path}?hash={digest}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// `/openapi/v3/apis/GROUP/VERSION`, or nothing where no CRD of the bundle has this version.
pub(crate) fn v3(bundle: &Bundle, group: &str, wanted: &str) -> Option<Value> {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    let versions = served(bundle).filter(|(crd, v)| crd.str("/spec/group") == group && name(v) == wanted);
    for (crd, version) in versions {
        let kind = crd.str("/spec/names/kind");
        let gvk = json!({"group": group, "version": wanted, "kind": kind});
        let namespace = if crd.str("/spec/scope") == "Namespaced" { "namespaces/{namespace}/" } else { "" };
        let path = format!("/apis/{group}/{wanted}/{namespace}{}", crd.str("/spec/names/plural"));
        paths.insert(
            path,
            json!({"get": {"x-kubernetes-action": "list", "x-kubernetes-group-version-kind": gvk}}),
        );
        let mut schema =
            version.pointer("/schema/openAPIV3Schema").map_or_else(|| json!({}), json::Value::to_json);
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("x-kubernetes-group-version-kind".to_owned(), json!([gvk]));
        }
        let mut parts: Vec<&str> = group.split('.').rev().collect();
        parts.extend([wanted, kind]);
        schemas.insert(parts.join("."), schema);
    }
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "unversioned"},
            "paths": paths, "components": {"schemas": schemas},
        })
    })
}

/// The versions that are served, each with its CRD.
fn served(bundle: &Bundle) -> impl Iterator<Item = (&Object, &json::Value)> {
    bundle.list_dynamic("apiextensions.k8s.io", "CustomResourceDefinition").flat_map(|crd| {
        let versions = crd.array("/spec/versions").iter();
        versions
            .filter(|v| v.get("served") == Some(&json::Value::Bool(true)))
            .map(move |version| (crd, version))
    })
}

fn name(version: &json::Value) -> &str {
    version.get("name").and_then(json::Value::as_str).unwrap_or_default()
}
