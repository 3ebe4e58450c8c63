//! MG407, MG408, MG420: types, ports and protocols of the Services behind registered routes.

use serde_json::json;

use super::backends::{Backend, backends, users};
use super::selectors::{ROUTER_PORT, broker_services};
use crate::declare_rule;
use crate::model::istio::visibility::{host_matches, hosts};
use crate::model::json::Value;
use crate::model::{Object, kinds};
use crate::report::Severity;
use crate::rules::remedy;
use crate::rules::{Context, Draft, Findings};
use crate::shell::shell;

declare_rule! {
    /// A server's Service has an unusual type
    ///
    /// ## What it means
    /// A headless Service (`clusterIP: None`) has no address of its own, and one of type ExternalName
    /// is only a DNS alias. Both may work, but the MCP gateway is made and tested with ClusterIP
    /// Services: balancing, host names and TLS behave differently.
    ///
    /// ## How it is decided
    /// `spec.clusterIP` and `spec.type` of the Services behind routes with an enabled registration. One of
    /// type ExternalName is no fault where any ServiceEntry has its `externalName` (also by a wildcard).
    ///
    /// ## Causes
    /// The Service of a StatefulSet; an attempt to reach a server outside the cluster.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get service NAME`.
    ///
    /// ## How to fix
    /// Create a ClusterIP Service with the same selector and ports, and name it in the route; for servers
    /// outside use a ServiceEntry and a backendRef of kind Hostname. The commands make a copy of the
    /// Service without the headless address. (`oc expose service` makes an OpenShift Route, unless it is
    /// told `--generator=service/v2`.)
    ///
    /// ## When it may be a false alarm
    /// Whenever the server works: only the type is looked at. Headless Services of StatefulSets often do.
    pub(super) static BACKEND_SERVICE_TYPE = {
        code: "MG407", name: "backend-service-type", severity: Warning, section: "1.4",
        needs: ["services", "httproutes", "mcpserverregistrations", "serviceentries"], since: "0.1.0",
        caused_by: [], check: backend_service_type,
    }
}

fn each<'c, 'a>(context: &'c Context<'a>) -> impl Iterator<Item = (Backend<'c, 'a>, &'a Object)> {
    backends(context).filter_map(|backend| {
        let service = context.bundle.get(&kinds::SERVICE, backend.namespace, backend.name)?;
        Some((backend, service))
    })
}

fn backend_service_type(context: &Context<'_>, findings: &mut Findings) {
    for (backend, service) in each(context) {
        let (pointer, what) = if service.str("/spec/type") == "ExternalName" {
            let host = service.str("/spec/externalName");
            if context
                .bundle
                .list(&kinds::SERVICE_ENTRY)
                .any(|entry| hosts(entry).any(|h| host_matches(h, host)))
            {
                continue;
            }
            if let Err(missing) = context.bundle.collected(&kinds::SERVICE_ENTRY, None) {
                findings.cannot_tell(&BACKEND_SERVICE_TYPE, missing);
                continue;
            }
            ("/spec/type", "is of type ExternalName")
        } else if service.str("/spec/clusterIP") == "None" {
            ("/spec/clusterIP", "is headless")
        } else {
            continue;
        };
        let draft = findings.report(
            &BACKEND_SERVICE_TYPE,
            service,
            format!("Service {} {what}; a ClusterIP Service is expected", service.full_name()),
            service.evidence(pointer),
            "Send to a ClusterIP Service; for servers outside the cluster use a ServiceEntry and kind Hostname.",
        );
        users(draft, &backend);
        let name = format!("{}-mcp", service.name());
        if service.str("/spec/clusterIP") == "None" {
            // `oc expose service` would make a Route.
            let addresses = [".spec.clusterIP", ".spec.clusterIPs"].map(|field| (field, json!(null)));
            draft.command(remedy::copied(service, &name, &addresses));
            for (route, reference) in backend.routes {
                draft.command(remedy::patch(
                    route,
                    json!([{"op": "replace", "path": reference.pointer("/name"), "value": name}]),
                ));
            }
        }
        draft.verify(shell!("oc -n {} get service {}", service.namespace(), service.name()));
    }
}

declare_rule! {
    /// Ports of a server's Service and container do not agree
    ///
    /// ## What it means
    /// The Service leads to a port that the container does not have, or with a protocol other than
    /// TCP: connections are refused, or the Service gets no endpoint. The broker's Service may also lack the
    /// port at which the gateway's Envoy calls the router; then every request on the gateway's port fails.
    ///
    /// ## How it is decided
    /// For each Service port that the route names, the first of these that is true:
    /// - its protocol is not TCP: an error;
    /// - a named `targetPort` is no port name of the pods' containers (init containers included): an error,
    ///   as the endpoint has no port;
    /// - a numeric `targetPort` is declared by no container: a warning. Nothing is said where a container,
    ///   the mesh's proxy aside, declares no port at all, as containers need not.
    ///
    /// Of a Service without pods (MG410) only the protocol is judged; a port that the Service lacks is MG215.
    /// For the Service `mcp-gateway` of an extension the ports are 8080 and 50051, and 50051 must be there
    /// (an error): Envoy's cluster of the router is made from it.
    ///
    /// ## Causes
    /// A renamed container port; a typo; the Service of another application.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get service NAME -o yaml` and `oc -n NAMESPACE get pod POD -o yaml`.
    ///
    /// ## How to fix
    /// Set the Service's `targetPort` to the container's port, or its `protocol` to TCP. Give the broker's
    /// Service the port 50051.
    ///
    /// ## When it may be a false alarm
    /// A container that declares some ports and listens on another one (the warning).
    pub(super) static BACKEND_PORT = {
        code: "MG408", name: "backend-port", severity: Error, section: "1.4",
        needs: ["services", "pods", "httproutes", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: backend_port,
    }
}

fn container_ports<'a>(pods: &[&'a Object]) -> Vec<&'a Value> {
    pods.iter()
        .flat_map(|pod| pod.array("/spec/containers").iter().chain(pod.array("/spec/initContainers")))
        .filter_map(|container| container.get("ports").and_then(Value::as_array))
        .flatten()
        .collect()
}

fn backend_port(context: &Context<'_>, findings: &mut Findings) {
    for (backend, service) in each(context) {
        let wanted: Vec<i64> = backend.routes.iter().filter_map(|(_, b)| b.port).collect();
        leads_nowhere(context, findings, service, &wanted, |draft| users(draft, &backend));
    }
    for (extension, service) in broker_services(context) {
        let of = |draft: &mut Draft| {
            draft.object(extension.object.reference());
        };
        leads_nowhere(context, findings, service, &[8080, ROUTER_PORT], of);
        router_port(findings, service, of);
    }
}

/// The gateway's Envoy calls the router at a fixed port of the broker's Service.
fn router_port(findings: &mut Findings, service: &Object, users: impl Fn(&mut Draft)) {
    let ports = service.array("/spec/ports");
    let is = |port: &Value, key: &str| port.get(key).and_then(Value::as_i64) == Some(ROUTER_PORT);
    if service.str("/spec/type") == "ExternalName" || ports.iter().any(|port| is(port, "port")) {
        return;
    }
    let meant = ports
        .iter()
        .position(|port| is(port, "targetPort") || port.get("name").and_then(Value::as_str) == Some("grpc"));
    let draft = findings.report(
        &BACKEND_PORT,
        service,
        format!(
            "Service {} has no port {ROUTER_PORT}, at which Envoy calls the MCP router",
            service.full_name()
        ),
        service.evidence(&meant.map_or("/spec/ports".to_owned(), |at| format!("/spec/ports/{at}/port"))),
        "Give the Service the router's port; until then every request on the gateway's port fails.",
    );
    users(draft);
    let step = match meant {
        Some(at) => {
            json!([{"op": "replace", "path": format!("/spec/ports/{at}/port"), "value": ROUTER_PORT}])
        }
        None => json!([{"op": "add", "path": "/spec/ports/-",
            "value": {"name": "grpc", "port": ROUTER_PORT, "targetPort": ROUTER_PORT}}]),
    };
    draft.command(remedy::patch(service, step)).verify(shell!(
        "oc -n {} get service {} -o jsonpath='{{.spec.ports[*].port}}'",
        service.namespace(),
        service.name()
    ));
}

/// The ports of a Service, of those that are used, that lead to none of its pods' containers.
fn leads_nowhere(
    context: &Context<'_>,
    findings: &mut Findings,
    service: &Object,
    wanted: &[i64],
    users: impl Fn(&mut Draft),
) {
    let pods = context.workloads().pods_of_service(service);
    let declared = container_ports(&pods);
    // A container that declares nothing may listen anywhere; the mesh's proxy does not count.
    let silent = pods.iter().flat_map(|pod| pod.array("/spec/containers")).any(|container| {
        container.get("name").and_then(Value::as_str) != Some("istio-proxy")
            && container.get("ports").and_then(Value::as_array).is_none_or(<[Value]>::is_empty)
    });
    for (index, port) in service.array("/spec/ports").iter().enumerate() {
        let Some(number) = port.get("port").and_then(Value::as_i64).filter(|n| wanted.contains(n)) else {
            continue;
        };
        let base = format!("/spec/ports/{index}");
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        let target = port.get("targetPort").cloned().unwrap_or_else(|| Value::from(number));
        let known = declared.iter().any(|c| match &target {
            Value::String(name) => c.get("name").and_then(Value::as_str) == Some(&**name),
            target => c.get("containerPort") == Some(target),
        });
        let has: Vec<String> = declared
            .iter()
            .map(|c| {
                let name = c.get("name").and_then(Value::as_str).unwrap_or_default();
                format!("{} {name}", c.get("containerPort").unwrap_or(&Value::Null)).trim_end().to_owned()
            })
            .collect();
        let (pointer, title, severity) = if protocol != "TCP" {
            (
                format!("{base}/protocol"),
                format!("Port {number} of Service {} is {protocol}, MCP needs TCP", service.full_name()),
                Severity::Error,
            )
        } else if known || pods.is_empty() || (silent && target.is_number()) {
            continue;
        } else {
            (
                format!("{base}/targetPort"),
                format!(
                    "Port {number} of Service {} leads to {target}, which no container of its pods has",
                    service.full_name()
                ),
                if target.is_string() { Severity::Error } else { Severity::Warning },
            )
        };
        let draft = findings.report(
            &BACKEND_PORT,
            service,
            title,
            service.evidence(&pointer),
            match has.is_empty() {
                true => "Lead the Service to the port on which the server listens.".to_owned(),
                false => format!("Lead the Service to the container's port ({}).", has.join(", ")),
            },
        );
        draft.severity(severity);
        if let Some(pod) = pods.first() {
            draft.object(pod.reference()).evidence(pod.evidence("/spec/containers/0/ports"));
        }
        let value = if protocol == "TCP" {
            let same = |c: &&&Value| c.get("containerPort").and_then(Value::as_i64) == Some(number);
            let meant = declared.iter().find(same).or(declared.first());
            meant.and_then(|c| c.get("containerPort")).cloned()
        } else {
            Some(Value::from("TCP"))
        };
        draft.command(match value {
            Some(value) => remedy::patch(service, json!([{"op": "add", "path": pointer, "value": value}])),
            None => shell!("oc -n {} edit service {}", service.namespace(), service.name()),
        });
        users(draft);
        draft.verify(shell!(
            "oc -n {} get endpointslices -l kubernetes.io/service-name={} -o yaml",
            service.namespace(),
            service.name()
        ));
    }
}

declare_rule! {
    /// A route sends to a TLS port, but the broker speaks plain HTTP
    ///
    /// ## What it means
    /// The backendRef names a port that is for TLS by its number, while nothing tells the controller so: it
    /// writes an `http://` URL. The server then answers `Client sent an HTTP request to an HTTPS server`
    /// (400), or closes the connection.
    ///
    /// ## How it is decided
    /// Port or numeric `targetPort` 443, 6443 or 8443 of the Service, without `appProtocol: https`, a port
    /// named `https`, or `caCertSecretRef` in a registration of the Service: these are what makes the
    /// controller write `https://`. Only the numbers are known, not what listens there.
    ///
    /// ## Causes
    /// A server that ends TLS itself.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get service NAME -o yaml`.
    ///
    /// ## How to fix
    /// Set `appProtocol: https` on the Service's port (and a DestinationRule or BackendTLSPolicy for the
    /// Gateway), or use the server's plain port.
    ///
    /// ## When it may be a false alarm
    /// A server that speaks plain HTTP on such a port.
    pub(super) static BACKEND_TLS_PORT = {
        code: "MG420", name: "backend-tls-port", severity: Warning, section: "1.4",
        needs: ["httproutes", "services", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], versions: "every supported version; `caCertSecretRef` from 0.7.0 on",
        check: backend_tls_port,
    }
}

fn backend_tls_port(context: &Context<'_>, findings: &mut Findings) {
    const TLS_PORTS: [i64; 3] = [443, 6443, 8443];
    for (backend, service) in each(context) {
        let by_ca =
            backend.registrations.iter().any(|r| !r.object.str("/spec/caCertSecretRef/name").is_empty());
        for (route, reference) in backend.routes {
            let ports = service.array("/spec/ports").iter().enumerate();
            let found = ports.clone().find(|(_, p)| p.get("port").and_then(Value::as_i64) == reference.port);
            let Some((index, port)) = found else { continue };
            let text = |key: &str| port.get(key).and_then(Value::as_str).unwrap_or_default();
            let number = |key: &str| port.get(key).and_then(Value::as_i64).unwrap_or_default();
            let tls = TLS_PORTS.contains(&number("port")) || TLS_PORTS.contains(&number("targetPort"));
            let said = text("appProtocol").eq_ignore_ascii_case("https") || text("name") == "https" || by_ca;
            if !tls || said {
                continue;
            }
            let draft = findings.report(
                &BACKEND_TLS_PORT,
                route,
                format!(
                    "HTTPRoute {} sends to TLS port {} of Service {}, the broker will speak plain HTTP",
                    route.full_name(),
                    number("port"),
                    service.full_name()
                ),
                route.evidence(&reference.pointer("/port")),
                "Set appProtocol: https on the Service's port, or use the server's plain port.",
            );
            draft
                .object(service.reference())
                .evidence(service.evidence(&format!("/spec/ports/{index}")))
                .command(remedy::patch(service, json!([{"op": "add", "path": format!("/spec/ports/{index}/appProtocol"), "value": "https"}])))
                .verify(shell!("oc -n {} get service {} -o yaml", service.namespace(), service.name()));
        }
    }
}
