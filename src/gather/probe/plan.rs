//! Whom to ask for what: from the objects to probes that are still to be made, or that say why they
//! are not.

use super::super::pods::Pod;
use super::exec;
use crate::model::gateway_api::backend_refs;
use crate::model::json::Value;
use crate::model::kuadrant::auth_policies;
use crate::model::mcp::{Chain, Extension, Registration};
use crate::model::probes::{Probe, Purpose, Request, Subject, UNKNOWN_PATH, Via, WELL_KNOWN};
use crate::model::workloads::{Component, Workloads, selector};
use crate::model::{Bundle, Object, kinds};

/// The way of a request through a port-forward.
pub(super) const PORT_FORWARD: &str = "portforward";

pub(super) fn subject(object: &Object) -> Subject {
    Subject {
        kind: object.kind().to_owned(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
    }
}

fn skipped(purpose: Purpose, object: &Object, host: &str, why: impl Into<String>) -> Probe {
    let request = Request { host: host.to_owned(), ..Request::default() };
    Probe { skipped: Some(why.into()), ..Probe::new(purpose, subject(object), request) }
}

/// The port of the pods that a Service's port leads to: a number, the name of one of their ports,
/// or by default the same number.
fn target_port(service: Option<&Object>, port: i64, pod: &Pod) -> Option<u16> {
    let entry = service.and_then(|service| {
        let ports = service.array("/spec/ports").iter();
        ports.into_iter().find(|entry| entry.get("port").and_then(Value::as_i64) == Some(port))
    });
    let number = match entry.and_then(|entry| entry.get("targetPort")) {
        Some(Value::String(name)) => {
            pod.ports.iter().find(|(n, _)| **n == **name).map(|(_, p)| i64::from(*p))?
        }
        Some(target) => target.as_i64().filter(|target| *target != 0).unwrap_or(port),
        None => port,
    };
    u16::try_from(number).ok().filter(|number| *number != 0)
}

fn via(pod: &Pod, port: u16) -> Via {
    Via {
        way: PORT_FORWARD.to_owned(),
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        port: Some(port),
        ..Via::default()
    }
}

/// The questions to the gateways, one set for each extension.
pub(super) fn gateways(bundle: &Bundle, pods: &[Pod]) -> Vec<Probe> {
    let workloads = Workloads::new(bundle);
    let chain = Chain::new(&workloads);
    let mut probes = Vec::new();
    for extension in &chain.extensions {
        let host = extension.public_host();
        match entrance(&workloads, extension, host.as_deref(), pods) {
            Ok((request, host)) => {
                for (purpose, method, path, rpc) in [
                    (Purpose::OauthMetadata, "GET", WELL_KNOWN, None),
                    (Purpose::ToolsList, "POST", "/mcp", Some("tools/list")),
                    (Purpose::UnknownPath, "GET", UNKNOWN_PATH, None),
                ] {
                    let scheme = if request.sni.is_some() { "https" } else { "http" };
                    let request = Request {
                        line: format!("{method} {scheme}://{host}{path}"),
                        method: method.to_owned(),
                        path: path.to_owned(),
                        rpc: rpc.map(str::to_owned),
                        ..request.clone()
                    };
                    probes.push(Probe::new(purpose, subject(extension.object), request));
                }
            }
            Err(why) => {
                let host = host.as_deref().unwrap_or_default();
                probes.push(skipped(Purpose::OauthMetadata, extension.object, host, why));
            }
        }
    }
    probes
}

/// How to come to the listener of an extension, or why one cannot.
fn entrance(
    workloads: &Workloads<'_>,
    extension: &Extension<'_>,
    host: Option<&str>,
    pods: &[Pod],
) -> Result<(Request, String), String> {
    let (namespace, name) = extension.target();
    let gateway = extension.gateway.ok_or_else(|| format!("Gateway {namespace}/{name} was not read"))?;
    let listener =
        extension.listener.ok_or_else(|| format!("Gateway {} has no such listener", gateway.full_name()))?;
    let host = host.ok_or_else(|| {
        format!("no public host is known for listener {} of Gateway {}", listener.name, gateway.full_name())
    })?;
    if host.starts_with('*') || host.contains(['/', ' ']) {
        return Err(format!("the public host {host} is no host name"));
    }
    let tls = match listener.protocol {
        "HTTP" => false,
        "HTTPS" => true,
        other => return Err(format!("listener {} speaks {other}, not HTTP", listener.name)),
    };
    if listener.value.pointer("/tls/mode").and_then(Value::as_str) == Some("Passthrough") {
        return Err(format!("listener {} passes TLS through", listener.name));
    }
    let of_gateway = |pod: &&Pod| {
        pod.running && pod.namespace == gateway.namespace() && pod.gateway.as_deref() == Some(gateway.name())
    };
    // A pod that is ready serves what clients see.
    let pod = pods
        .iter()
        .filter(of_gateway)
        .max_by_key(|pod| (pod.ready, std::cmp::Reverse(&pod.name)))
        .ok_or_else(|| format!("no proxy pod of Gateway {} runs", gateway.full_name()))?;
    let service = workloads.gateway_service(gateway);
    let port = target_port(service, listener.port, pod)
        .ok_or_else(|| format!("port {} of listener {} leads to no port", listener.port, listener.name))?;
    let usual = if tls { 443 } else { 80 };
    let authority =
        if listener.port == usual { host.to_owned() } else { format!("{host}:{}", listener.port) };
    let request = Request {
        host: authority.clone(),
        sni: tls.then(|| host.to_owned()),
        via: via(pod, port),
        ..Request::default()
    };
    Ok((request, authority))
}

/// The way of a question from inside of a pod.
pub(super) const EXEC: &str = "exec";

/// The host, the port where one is named, and the scheme of a URL.
fn parts(url: &str) -> Option<(&str, &str, Option<u16>)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (authority, None),
    };
    matches!(scheme, "http" | "https").then_some((scheme, host, port))
}

/// The questions from inside of pods of the chain: the issuers from Authorino, hosts outside from
/// brokers and gateways, the public hosts from the gateways.
pub(super) fn inside(bundle: &Bundle, pods: &[Pod]) -> Vec<Probe> {
    let workloads = Workloads::new(bundle);
    let chain = Chain::new(&workloads);
    let mut probes: Vec<Probe> = Vec::new();
    let best = |wanted: &dyn Fn(&Pod) -> bool| {
        let candidates = pods.iter().filter(|pod| pod.running && wanted(pod));
        candidates.max_by_key(|pod| (pod.ready, std::cmp::Reverse((&pod.namespace, &pod.name))))
    };
    let of_gateway = |gateway: &Object| {
        best(&|pod| pod.namespace == gateway.namespace() && pod.gateway.as_deref() == Some(gateway.name()))
    };
    let mut ask = |object: &Object, pod: Option<&Pod>, host: &str, url: Option<String>| {
        for (purpose, line) in [
            (Purpose::Dns, Some(format!("resolve {host}"))),
            (Purpose::Https, url.map(|url| format!("GET {url}"))),
        ] {
            let Some(line) = line else { continue };
            let (Some(pod), true) = (pod, exec::is_host(host)) else {
                let why = match pod {
                    None => "no pod that could ask runs",
                    Some(_) => "this is no host name",
                };
                probes.push(skipped(purpose, object, host, why));
                continue;
            };
            let preferred = ["istio-proxy", "mcp-gateway", "authorino", "envoy"];
            let containers = || pod.logs.iter().filter(|log| !log.previous).map(|log| log.container.as_str());
            let container =
                containers().find(|name| preferred.contains(name)).or_else(|| containers().next());
            let via = Via {
                way: EXEC.to_owned(),
                namespace: pod.namespace.clone(),
                pod: pod.name.clone(),
                container: container.map(str::to_owned),
                ..Via::default()
            };
            let known = |other: &Probe| {
                other.purpose == purpose && other.request.host == host && other.request.via.pod == pod.name
            };
            if probes.iter().any(known) {
                continue;
            }
            let request = Request { line, host: host.to_owned(), via, ..Request::default() };
            probes.push(Probe::new(purpose, subject(object), request));
        }
    };
    let authorino = best(&|pod| pod.component == Some(Component::Authorino));
    for policy in auth_policies(bundle) {
        for (issuer, _) in policy.issuers() {
            let Some((scheme, host, port)) = parts(issuer) else { continue };
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            ask(policy.object, authorino, host, Some(format!("{scheme}://{host}{port}/")));
        }
    }
    for registration in chain.registrations.iter().filter(|registration| !registration.is_disabled()) {
        let Some(route) = registration.route else { continue };
        for backend in backend_refs(route).iter().filter(|backend| backend.is_hostname()) {
            let url = match backend.port.unwrap_or(443) {
                443 => format!("https://{}/", backend.name),
                80 => format!("http://{}/", backend.name),
                port => format!("https://{}:{port}/", backend.name),
            };
            for &at in &registration.extensions {
                let extension = &chain.extensions[at];
                let namespace = extension.object.namespace();
                let broker =
                    best(&|pod| pod.component == Some(Component::Broker) && pod.namespace == namespace);
                ask(registration.object, broker, backend.name, Some(url.clone()));
                if let Some(gateway) = extension.gateway {
                    ask(registration.object, of_gateway(gateway), backend.name, Some(url.clone()));
                }
            }
        }
    }
    for extension in &chain.extensions {
        if let (Some(gateway), Some(host)) = (extension.gateway, extension.public_host()) {
            ask(extension.object, of_gateway(gateway), &host, None);
        }
    }
    probes
}

/// The questions to the registered servers: `initialize`; what follows is asked when it succeeds.
pub(super) fn servers(bundle: &Bundle, pods: &[Pod]) -> Vec<Probe> {
    let workloads = Workloads::new(bundle);
    let chain = Chain::new(&workloads);
    let probe = |registration: &Registration<'_>| {
        let object = registration.object;
        match server(bundle, registration, pods) {
            Ok(request) => Probe::new(Purpose::McpInitialize, subject(object), request),
            Err((host, why)) => skipped(Purpose::McpInitialize, object, &host, why),
        }
    };
    chain.registrations.iter().map(probe).collect()
}

fn server(
    bundle: &Bundle,
    registration: &Registration<'_>,
    pods: &[Pod],
) -> Result<Request, (String, String)> {
    let nowhere = |why: String| (String::new(), why);
    if registration.is_disabled() {
        return Err(nowhere("it is disabled".to_owned()));
    }
    let route = registration.route.ok_or_else(|| nowhere("its HTTPRoute was not read".to_owned()))?;
    let backends = backend_refs(route);
    let backend =
        backends.first().ok_or_else(|| nowhere(format!("HTTPRoute {} has no backend", route.full_name())))?;
    let at = |why: String| (backend.name.to_owned(), why);
    if !backend.is_service() {
        return Err(at(format!(
            "{} is outside of the cluster, which is not asked from the administrator's machine",
            backend.name
        )));
    }
    let service = bundle
        .get(&kinds::SERVICE, backend.namespace, backend.name)
        .ok_or_else(|| at(format!("Service {}/{} was not read", backend.namespace, backend.name)))?;
    let port = backend.port.ok_or_else(|| at(format!("HTTPRoute {} names no port", route.full_name())))?;
    let labels =
        selector(service).ok_or_else(|| at(format!("Service {} selects no pods", service.full_name())))?;
    let selected = |pod: &&Pod| {
        let has = |(key, value): (&str, &Value)| {
            pod.labels.iter().any(|(k, v)| k == key && Some(v.as_str()) == value.as_str())
        };
        pod.running && pod.namespace == service.namespace() && labels.iter().all(has)
    };
    let pod = pods
        .iter()
        .filter(selected)
        .max_by_key(|pod| (pod.ready, std::cmp::Reverse(&pod.name)))
        .ok_or_else(|| at(format!("no pod of Service {} runs", service.full_name())))?;
    let target = target_port(Some(service), port, pod)
        .ok_or_else(|| at(format!("port {port} of Service {} leads to no port", service.full_name())))?;
    let host = format!("{}.{}.svc.cluster.local", service.name(), service.namespace());
    // Istio and the controller take these two as the sign of TLS.
    let tls = service.array("/spec/ports").iter().any(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        entry.get("port").and_then(Value::as_i64) == Some(port)
            && (text("appProtocol") == "https" || text("name").split('-').next() == Some("https"))
    });
    let path = match registration.object.str("/spec/path") {
        "" => "/mcp",
        path => path,
    };
    let scheme = if tls { "https" } else { "http" };
    Ok(Request {
        line: format!("POST {scheme}://{host}:{port}{path}"),
        method: "POST".to_owned(),
        path: path.to_owned(),
        host: format!("{host}:{port}"),
        sni: tls.then_some(host),
        rpc: Some("initialize".to_owned()),
        via: via(pod, target),
    })
}
