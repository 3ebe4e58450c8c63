//! Which namespaces matter, and why: from registrations, virtual servers and extensions along
//! their references to routes, gateways, certificates, backends, and to wherever control planes
//! run. Pure; no namespace is ever assumed by its name.

use std::collections::BTreeMap;

use crate::model::json::Value;
use crate::model::workloads::Component;
use crate::model::{Bundle, Object, kinds};

/// How much of a namespace is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// Objects, and the logs of control planes only: the namespace also hosts what is none of our
    /// business.
    ControlPlane,
    /// Objects and all logs.
    Full,
}

/// Why and how deep a namespace is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Followed {
    pub(crate) reason: String,
    pub(crate) depth: Depth,
}

/// The namespaces to read.
pub(crate) type Namespaces = BTreeMap<String, Followed>;

/// A Deployment of a control plane, found by its metadata.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Platform {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) component: Component,
}

/// Follows everything that is known so far.
pub(crate) fn follow(bundle: &Bundle, platform: &[Platform]) -> Namespaces {
    let mut found = Found::default();
    for extension in bundle.list(&kinds::MCP_GATEWAY_EXTENSION) {
        found.full(extension.namespace(), || format!("MCPGatewayExtension {}", extension.full_name()));
        let gateway = extension.str("/spec/targetRef/name");
        let namespace = or(extension.str("/spec/targetRef/namespace"), extension.namespace());
        found.gateway(bundle, namespace, gateway, &format!("MCPGatewayExtension {}", extension.full_name()));
    }
    for registration in bundle.list(&kinds::MCP_SERVER_REGISTRATION) {
        let why = format!("MCPServerRegistration {}", registration.full_name());
        found.full(registration.namespace(), || why.clone());
        let name = registration.str("/spec/targetRef/name");
        let namespace = or(registration.str("/spec/targetRef/namespace"), registration.namespace());
        found.full(namespace, || format!("HTTPRoute {namespace}/{name} of {why}"));
        // The controller looks in the registration's own namespace, whatever the reference says.
        for namespace in [namespace, registration.namespace()] {
            if let Some(route) = bundle.get(&kinds::HTTP_ROUTE, namespace, name) {
                found.route(bundle, route);
            }
        }
    }
    for server in bundle.list(&kinds::MCP_VIRTUAL_SERVER) {
        found.full(server.namespace(), || format!("MCPVirtualServer {}", server.full_name()));
    }
    for kind in [&kinds::KUADRANT, &kinds::AUTHORINO, &kinds::LIMITADOR] {
        for object in bundle.list(kind) {
            found.full(object.namespace(), || format!("{} {}", kind.kind, object.full_name()));
        }
    }
    for part in platform {
        let why = || format!("{} (Deployment {}/{})", part.component.name(), part.namespace, part.name);
        found.add(&part.namespace, Depth::ControlPlane, why);
    }
    found.namespaces
}

#[derive(Default)]
struct Found {
    namespaces: Namespaces,
}

impl Found {
    /// The first reason stays; the greater depth wins.
    fn add(&mut self, namespace: &str, depth: Depth, reason: impl FnOnce() -> String) {
        if namespace.is_empty() {
            return;
        }
        match self.namespaces.get_mut(namespace) {
            Some(known) => known.depth = known.depth.max(depth),
            None => {
                self.namespaces.insert(namespace.to_owned(), Followed { reason: reason(), depth });
            }
        }
    }

    fn full(&mut self, namespace: &str, reason: impl FnOnce() -> String) {
        self.add(namespace, Depth::Full, reason);
    }

    fn gateway(&mut self, bundle: &Bundle, namespace: &str, name: &str, because: &str) {
        self.full(namespace, || format!("Gateway {namespace}/{name} of {because}"));
        let Some(gateway) = bundle.get(&kinds::GATEWAY, namespace, name) else { return };
        for reference in array(gateway.get("/spec/listeners"))
            .iter()
            .flat_map(|listener| array(listener.pointer("/tls/certificateRefs")))
        {
            let namespace = text(reference, "namespace");
            let name = text(reference, "name");
            self.add(namespace, Depth::ControlPlane, || {
                format!("certificate {namespace}/{name} of Gateway {}", gateway.full_name())
            });
        }
    }

    fn route(&mut self, bundle: &Bundle, route: &Object) {
        let why = format!("HTTPRoute {}", route.full_name());
        for parent in route.array("/spec/parentRefs") {
            if !matches!(text(parent, "kind"), "" | "Gateway") {
                continue;
            }
            let namespace = or(text(parent, "namespace"), route.namespace());
            self.gateway(bundle, namespace, text(parent, "name"), &why);
        }
        for backend in route.array("/spec/rules").iter().flat_map(|rule| array(rule.get("backendRefs"))) {
            if matches!(text(backend, "kind"), "" | "Service") {
                let namespace = or(text(backend, "namespace"), route.namespace());
                let name = text(backend, "name");
                self.full(namespace, || format!("Service {namespace}/{name} behind {why}"));
            }
        }
    }
}

fn or<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::model::json::json;

    use super::*;
    use crate::model::Kind;

    fn bundle(objects: &[(&Kind, &str, &str, Value)]) -> Bundle {
        let mut bundle = Bundle::default();
        for (kind, namespace, name, spec) in objects {
            let value = json!({"apiVersion": format!("{}/v1", kind.group), "kind": kind.kind,
                "metadata": {"namespace": namespace, "name": name}, "spec": spec});
            bundle.add_object(Object::new(value, "f".into(), None).expect("an object"));
        }
        bundle
    }

    #[test]
    fn references_are_followed_to_their_namespaces() {
        let bundle = bundle(&[
            (
                &kinds::MCP_GATEWAY_EXTENSION,
                "ext",
                "e",
                json!({"targetRef": {"name": "gw", "namespace": "gws"}}),
            ),
            (&kinds::MCP_SERVER_REGISTRATION, "team", "r", json!({"targetRef": {"name": "route"}})),
            (
                &kinds::HTTP_ROUTE,
                "team",
                "route",
                json!({"parentRefs": [{"name": "gw", "namespace": "gws"}, {"name": "other", "namespace": "more-gws"}],
                    "rules": [{"backendRefs": [{"name": "svc", "namespace": "backends"},
                        {"name": "x.example.com", "kind": "Hostname", "group": "networking.istio.io"}]}]}),
            ),
            (
                &kinds::GATEWAY,
                "gws",
                "gw",
                json!({"listeners": [{"tls": {"certificateRefs": [{"name": "c", "namespace": "certs"}, {"name": "d"}]}}]}),
            ),
            (
                &kinds::HTTP_ROUTE,
                "strangers",
                "route",
                json!({"rules": [{"backendRefs": [{"name": "svc"}]}]}),
            ),
            (&kinds::KUADRANT, "kuadrant", "k", json!({})),
        ]);
        let platform = [
            Platform { namespace: "istio".into(), name: "istiod".into(), component: Component::Istiod },
            Platform { namespace: "team".into(), name: "c".into(), component: Component::Controller },
        ];
        let followed = follow(&bundle, &platform);
        let shown: Vec<String> =
            followed.iter().map(|(ns, f)| format!("{ns} {:?}: {}", f.depth, f.reason)).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        backends Full: Service backends/svc behind HTTPRoute team/route
        certs ControlPlane: certificate certs/c of Gateway gws/gw
        ext Full: MCPGatewayExtension ext/e
        gws Full: Gateway gws/gw of MCPGatewayExtension ext/e
        istio ControlPlane: istiod (Deployment istio/istiod)
        kuadrant Full: Kuadrant kuadrant/k
        more-gws Full: Gateway more-gws/other of HTTPRoute team/route
        team Full: MCPServerRegistration team/r
        ");
    }
}
