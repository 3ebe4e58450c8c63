//! Probes, answered as they were when the bundle was collected: the gateway's listeners and the
//! registered servers, with TLS where the record has it.
//!
//! The record holds the shape of each answer, not its body; what is sent is the least body of that
//! shape. The certificate is made anew with the names and dates of the recorded one.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::Response;
use chrono::{DateTime, Datelike as _};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::model::Bundle;
use crate::model::probes::{Probe, Purpose, probes};

/// The probes that went to one port of a pod.
fn at<'b>(
    bundle: &'b Bundle,
    namespace: &str,
    pod: &str,
    port: u16,
) -> impl Iterator<Item = Probe> + use<'b> {
    let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
    probes(bundle).into_iter().map(|recorded| recorded.probe).filter(move |probe| {
        let via = &probe.request.via;
        via.port == Some(port) && via.pod == pod && via.namespace == namespace && probe.skipped.is_none()
    })
}

/// Whether any probe was answered.
pub(super) fn any(bundle: &Bundle) -> bool {
    probes(bundle).iter().any(|recorded| recorded.probe.status.is_some())
}

/// Whether something listened on this port when it was probed.
pub(super) fn listens(bundle: &Bundle, namespace: &str, pod: &str, port: u16) -> bool {
    at(bundle, namespace, pod, port).any(|probe| probe.status.is_some() || probe.tls.is_some())
}

/// What speaks TLS on this port, if it did.
pub(super) fn tls(bundle: &Bundle, namespace: &str, pod: &str, port: u16) -> Option<Arc<ServerConfig>> {
    let peer = at(bundle, namespace, pod, port).find_map(|probe| probe.tls?.peer)?;
    let names: Vec<String> = peer.names.iter().filter(|name| !name.contains("://")).cloned().collect();
    let mut params = CertificateParams::new(names).ok()?;
    let common = peer.subject.split(',').find_map(|part| part.trim().strip_prefix("CN="));
    params.distinguished_name.push(DnType::CommonName, common.unwrap_or("unknown"));
    let day = |text: &str| {
        let time = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
        let small = |number: u32| u8::try_from(number).unwrap_or(1);
        Some(rcgen::date_time_ymd(time.year(), small(time.month()), small(time.day())))
    };
    params.not_before = day(&peer.not_before)?;
    params.not_after = day(&peer.not_after)?;
    let key = KeyPair::generate().ok()?;
    let certificate = params.self_signed(&key).ok()?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .ok()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

/// Answers a request as the port did; one that was not made then is not found.
pub(super) fn answer(
    bundle: &Bundle,
    (namespace, pod, port): (&str, &str, u16),
    request: &Request<Bytes>,
) -> Response {
    let rpc: Option<Value> = serde_json::from_slice(request.body()).ok();
    let method = rpc.as_ref().and_then(|rpc| rpc.get("method")?.as_str());
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut of_session = false;
    let found = at(bundle, namespace, pod, port).find(|probe| {
        of_session |= probe.purpose == Purpose::McpInitialize && probe.status == Some(200);
        let asked = &probe.request;
        asked.method == request.method().as_str()
            && asked.path == request.uri().path()
            && asked.host.eq_ignore_ascii_case(host)
            && asked.rpc.as_deref() == method
            && probe.status.is_some()
    });
    let Some(probe) = found else {
        // What belongs to a session that was recorded has no record of its own.
        let accepted = of_session && method.is_some_and(|method| method.starts_with("notifications/"));
        return plain(if accepted { StatusCode::ACCEPTED } else { StatusCode::NOT_FOUND }, Body::empty());
    };
    let status = probe.status.and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = plain(status.unwrap_or(StatusCode::BAD_GATEWAY), body(&probe));
    for (name, value) in &probe.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            continue;
        };
        if ![CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn plain(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// The least body of the recorded shape.
fn body(probe: &Probe) -> Body {
    let Some(shape) = probe.body.as_ref().filter(|shape| shape.json) else { return Body::empty() };
    let value = if let Some(error) = &shape.rpc_error {
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": error.code, "message": error.message}})
    } else if let Some(metadata) = &shape.metadata {
        json!({"resource": metadata.resource, "authorization_servers": metadata.authorization_servers})
    } else if let Some(server) = &shape.server {
        let capabilities: serde_json::Map<String, Value> =
            server.capabilities.iter().map(|name| (name.clone(), json!({}))).collect();
        json!({"jsonrpc": "2.0", "id": 1, "result": {
            "protocolVersion": server.protocol_version, "capabilities": capabilities,
            "serverInfo": {"name": server.name, "version": server.version}}})
    } else if let Some(tools) = &shape.tools {
        let tools: Vec<Value> = tools.iter().map(|name| json!({"name": name})).collect();
        json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}})
    } else {
        json!({})
    };
    let events = probe.header(CONTENT_TYPE.as_str()).starts_with("text/event-stream");
    if events { format!("event: message\ndata: {value}\n\n").into() } else { value.to_string().into() }
}
