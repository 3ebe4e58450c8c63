//! `mcpgw/topology.json`: for each registration the chain to its route, gateways and extensions,
//! resolved as far as the objects go. Pure; quotes names only.

use serde::Serialize;

use crate::model::json::Value;
use crate::model::{Bundle, Object, kinds};

/// The version of the form.
const SCHEMA: &str = "mcpgw.topology/v1";

/// The whole of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Topology {
    schema_version: &'static str,
    registrations: Vec<Chain>,
    extensions: Vec<Extension>,
}

/// A registration and where it leads.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Chain {
    registration: String,
    route: Link,
    gateways: Vec<GatewayLink>,
    backends: Vec<Link>,
}

/// A reference, and whether it leads anywhere.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    kind: String,
    name: String,
    /// `found`, `absent` or `unknown`.
    state: &'static str,
}

/// A Gateway above a route, with the extensions that sit on it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GatewayLink {
    #[serde(flatten)]
    gateway: Link,
    #[serde(skip_serializing_if = "String::is_empty")]
    section: String,
    extensions: Vec<String>,
}

/// An extension and its gateway.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Extension {
    extension: String,
    gateway: Link,
    section: String,
}

fn or<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

fn link(bundle: &Bundle, kind: &crate::model::Kind, namespace: &str, name: &str) -> Link {
    let state = match bundle.find(kind, namespace, name) {
        crate::model::Seen::Found(_) => "found",
        crate::model::Seen::Absent => "absent",
        crate::model::Seen::Unknown(_) => "unknown",
    };
    Link { kind: kind.kind.to_owned(), name: format!("{namespace}/{name}"), state }
}

/// The Gateway that an extension targets: namespace and name.
fn target(extension: &Object) -> (&str, &str) {
    let namespace = or(extension.str("/spec/targetRef/namespace"), extension.namespace());
    (namespace, extension.str("/spec/targetRef/name"))
}

/// Resolves the chains of a bundle.
pub(crate) fn topology(bundle: &Bundle) -> Topology {
    let extensions = bundle
        .list(&kinds::MCP_GATEWAY_EXTENSION)
        .map(|extension| {
            let (namespace, name) = target(extension);
            Extension {
                extension: extension.full_name(),
                gateway: link(bundle, &kinds::GATEWAY, namespace, name),
                section: extension.str("/spec/targetRef/sectionName").to_owned(),
            }
        })
        .collect();
    let registrations = bundle.list(&kinds::MCP_SERVER_REGISTRATION).map(|r| chain(bundle, r)).collect();
    Topology { schema_version: SCHEMA, registrations, extensions }
}

fn chain(bundle: &Bundle, registration: &Object) -> Chain {
    // The controller looks in the registration's own namespace, whatever the reference says.
    let (namespace, name) = (registration.namespace(), registration.str("/spec/targetRef/name"));
    let route = bundle.get(&kinds::HTTP_ROUTE, namespace, name);
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut gateways = Vec::new();
    let mut backends = Vec::new();
    for parent in route.map_or(&[][..], |route| route.array("/spec/parentRefs")) {
        let (parent_namespace, parent_name) = (text(parent, "namespace"), text(parent, "name"));
        let parent_namespace = or(&parent_namespace, namespace);
        gateways.push(GatewayLink {
            gateway: link(bundle, &kinds::GATEWAY, parent_namespace, &parent_name),
            section: text(parent, "sectionName"),
            extensions: bundle
                .list(&kinds::MCP_GATEWAY_EXTENSION)
                .filter(|extension| target(extension) == (parent_namespace, parent_name.as_str()))
                .map(Object::full_name)
                .collect(),
        });
    }
    for rule in route.map_or(&[][..], |route| route.array("/spec/rules")) {
        let references = rule.get("backendRefs").and_then(Value::as_array);
        for backend in references.into_iter().flatten() {
            let (backend_namespace, name) = (text(backend, "namespace"), text(backend, "name"));
            match text(backend, "kind").as_str() {
                "" | "Service" => {
                    let backend_namespace = or(&backend_namespace, namespace);
                    backends.push(link(bundle, &kinds::SERVICE, backend_namespace, &name));
                }
                other => backends.push(Link { kind: other.to_owned(), name, state: "unknown" }),
            }
        }
    }
    Chain {
        registration: registration.full_name(),
        route: link(bundle, &kinds::HTTP_ROUTE, namespace, name),
        gateways,
        backends,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_chain_is_resolved() {
        let mut bundle = Bundle::default();
        for value in [
            json!({"apiVersion": "mcp.kuadrant.io/v1", "kind": "MCPServerRegistration",
                "metadata": {"namespace": "team", "name": "r"}, "spec": {"targetRef": {"name": "route"}}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"namespace": "team", "name": "route"}, "spec": {
                    "parentRefs": [{"name": "gw", "namespace": "gws", "sectionName": "mcp"}],
                    "rules": [{"backendRefs": [{"name": "svc"}]}]}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"namespace": "gws", "name": "gw"}}),
            json!({"apiVersion": "mcp.kuadrant.io/v1", "kind": "MCPGatewayExtension",
                "metadata": {"namespace": "ext", "name": "e"}, "spec": {"targetRef": {"name": "gw", "namespace": "gws", "sectionName": "mcp"}}}),
        ] {
            bundle.add_object(Object::new(value, "f".into(), None).expect("an object"));
        }
        let json = serde_json::to_value(topology(&bundle)).expect("json");
        assert_eq!(
            json["registrations"],
            json!([{"registration": "team/r",
                "route": {"kind": "HTTPRoute", "name": "team/route", "state": "found"},
                "gateways": [{"kind": "Gateway", "name": "gws/gw", "state": "found", "section": "mcp", "extensions": ["ext/e"]}],
                "backends": [{"kind": "Service", "name": "team/svc", "state": "unknown"}]}])
        );
    }
}
