//! What pods answered when the bundle was collected: Envoy's admin port and the broker's ports,
//! replayed from the files of the bundle, for port-forwards and for the pod proxy.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode, Uri};

use super::{Cluster, logs};
use crate::archive::path;
use crate::model::Bundle;

/// Envoy's admin port in the proxies of Istio.
const ENVOY_ADMIN: u16 = 15000;
/// The broker's public port, and the one of its metrics.
const BROKER: u16 = 8080;
const BROKER_METRICS: u16 = 9090;

/// Whether the bundle holds an answer of any pod.
pub(super) fn any(bundle: &Bundle) -> bool {
    ["mcpgw/envoy/", "mcpgw/broker/", "mcpgw/controller/", "mcpgw/authorino/"]
        .iter()
        .any(|folder| bundle.extras(folder).next().is_some())
}

/// One port of one pod.
#[derive(Debug, Clone)]
pub(super) struct Port<'a> {
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) port: u16,
}

impl Port<'_> {
    /// Whether the bundle holds an answer from this port; otherwise nobody listens there.
    pub(super) fn listens(&self, bundle: &Bundle) -> bool {
        let any = |folder: String| bundle.extras(&folder).next().is_some();
        match self.port {
            ENVOY_ADMIN => any(path::envoy(self.namespace, self.pod, "")),
            BROKER if any(path::broker(self.namespace, self.pod, "")) => true,
            BROKER_METRICS if bundle.extra(&self.file("broker", "metrics.txt")).is_some() => true,
            // The record does not say on which of its ports a component answered what.
            _ => self.component(bundle).is_some(),
        }
    }

    /// The component that the pod is, where its answers are in the bundle.
    fn component(&self, bundle: &Bundle) -> Option<&'static str> {
        let mut parts = ["controller", "authorino"].into_iter();
        parts.find(|part| bundle.extras(&self.file(part, "")).next().is_some())
    }

    fn file(&self, part: &str, name: &str) -> String {
        path::component(part, self.namespace, self.pod, name)
    }

    /// The file that answers a request. Envoy has some documents in two forms: the text is for
    /// people, and only the other is collected.
    fn find(&self, bundle: &Bundle, uri: &Uri) -> Option<(String, &'static str)> {
        let name = uri.path().trim_matches('/');
        let sane = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        let component = self.component(bundle).filter(|_| self.port != ENVOY_ADMIN);
        let metrics = name == "metrics";
        let of_broker = self.port != ENVOY_ADMIN && component.is_none();
        if !sane || (of_broker && metrics != (self.port == BROKER_METRICS)) {
            return None;
        }
        let part = component.unwrap_or(if self.port == ENVOY_ADMIN { "envoy" } else { "broker" });
        let wants_json = uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "format=json"));
        let forms: &[_] = match (self.port, name) {
            (ENVOY_ADMIN, "listeners" | "clusters" | "stats") if wants_json => {
                &[("json", "application/json")]
            }
            (ENVOY_ADMIN, "listeners" | "clusters" | "stats") => &[("txt", "text/plain; charset=UTF-8")],
            _ => &[("json", "application/json"), ("txt", "text/plain; charset=UTF-8")],
        };
        let mut files =
            forms.iter().map(|(ending, kind)| (self.file(part, &format!("{name}.{ending}")), *kind));
        files.find(|(file, _)| bundle.extra(file).is_some())
    }

    /// Answers a request as the pod did.
    pub(super) fn answer(&self, cluster: &Cluster, method: &Method, uri: &Uri) -> Response {
        if method != Method::GET {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "this pod is a replay: it only answers GET\n");
        }
        let Some((file, content_type)) = self.find(&cluster.bundle, uri) else {
            return plain(StatusCode::NOT_FOUND, "the bundle holds no answer to this request\n");
        };
        let mut response = Response::new(logs::file(cluster, file));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
