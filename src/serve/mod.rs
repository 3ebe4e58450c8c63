//! A read-only Kubernetes API server over a bundle.
//!
//! [`Cluster`] is a bundle made ready to be asked, [`router`] the API itself, which runs as well
//! without a socket (`kube::Client::new(router(cluster), "default")`), and [`Server`] binds it to
//! loopback with TLS, a token and a kubeconfig. What is served is what the bundle holds: a kind,
//! an object or a log that was not collected is refused with the reason or answered with a
//! `Warning` header, and nothing can be written.
//!
//! Time stands still at the moment of the collection: ages and `sinceSeconds` count from there,
//! and a watch sends what there is and then stays silent.

mod builtin;
mod catalog;
mod discovery;
mod exec;
mod live;
mod logs;
mod objects;
mod openapi;
mod portforward;
mod protobuf;
mod replay;
mod request;
mod review;
mod select;
mod server;
mod status;
mod table;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request};
use serde_json::Value;

use crate::archive::read::Source;
use crate::model::Bundle;
use catalog::Catalog;
use request::{Path, Query};
pub use server::{Background, Server};
use status::Status;

/// A bundle that is ready to be served.
pub struct Cluster {
    bundle: Bundle,
    source: Arc<dyn Source>,
    catalog: Catalog,
    now: DateTime<Utc>,
    git_version: Option<String>,
    resource_version: String,
    /// Turns true when the server ends, so that watches do.
    ended: tokio::sync::watch::Sender<bool>,
    /// Ports of pods that lead to servers of this machine instead of a replay.
    peers: RwLock<BTreeMap<(String, String, u16), SocketAddr>>,
}

impl Cluster {
    /// Lets port-forwards to this port of a pod lead to a server of this machine: a real one in the
    /// place of the replay of what was collected.
    pub fn lead_to(&self, namespace: &str, pod: &str, port: u16, peer: SocketAddr) {
        let key = (namespace.to_owned(), pod.to_owned(), port);
        self.peers.write().unwrap_or_else(PoisonError::into_inner).insert(key, peer);
    }

    /// That there is such a pod.
    fn has_pod(&self, namespace: &str, pod: &str) -> Result<(), status::Status> {
        match self.bundle.get_dynamic("", "Pod", namespace, pod) {
            Some(_) => Ok(()),
            None => Err(status::Status::no_such_object("", "pods", pod)),
        }
    }

    /// The server that stands for this port of a pod.
    fn peer(&self, namespace: &str, pod: &str, port: u16) -> Option<SocketAddr> {
        let key = (namespace.to_owned(), pod.to_owned(), port);
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    /// Makes a bundle ready to be served; `source` holds the files of its logs.
    #[must_use]
    pub fn new(bundle: Bundle, source: Arc<dyn Source>) -> Arc<Self> {
        let catalog = Catalog::of(&bundle);
        let now = bundle.meta.collected_at.or_else(|| latest(&bundle)).unwrap_or_default();
        let manifest = bundle.meta.manifest.as_ref();
        let git_version = manifest
            .and_then(|manifest| manifest.get("serverVersion"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        let versions =
            bundle.objects().filter_map(|o| o.str("/metadata/resourceVersion").parse::<u64>().ok());
        let resource_version = versions.max().unwrap_or(1).to_string();
        let (ended, _) = tokio::sync::watch::channel(false);
        Arc::new(Self {
            bundle,
            source,
            catalog,
            now,
            git_version,
            resource_version,
            ended,
            peers: RwLock::default(),
        })
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// When the time of this cluster stands still.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Whether pods can be forwarded to: the bundle holds what a pod answered.
    fn has_streams(&self) -> bool {
        live::any(&self.bundle) || replay::any(&self.bundle)
    }

    /// Names what is served: equal bundles give equal digests, so that a client's cache of the
    /// discovery is valid exactly as long as it is true.
    fn digest(&self) -> String {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        hash.update(discovery::aggregated(&self.catalog, true, "v2", self.has_streams()).to_string());
        hash.update(discovery::aggregated(&self.catalog, false, "v2", self.has_streams()).to_string());
        hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("kinds", &self.catalog.resources().len()).finish_non_exhaustive()
    }
}

/// The latest time that any object tells, for bundles that do not say when they were collected.
fn latest(bundle: &Bundle) -> Option<DateTime<Utc>> {
    let times = bundle.objects().flat_map(|object| {
        let conditions = object.conditions().filter_map(|c| c.value.get("lastTransitionTime")?.as_str());
        let seen = ["/metadata/creationTimestamp", "/lastTimestamp", "/eventTime"].map(|p| object.str(p));
        conditions.chain(seen).filter_map(|text| DateTime::parse_from_rfc3339(text).ok()).collect::<Vec<_>>()
    });
    times.max().map(|time| time.with_timezone(&Utc))
}

/// The API over a bundle. It asks nobody for a token: that is [`Server`]'s part.
pub fn router(cluster: Arc<Cluster>) -> Router {
    Router::new().fallback(handle).with_state(cluster)
}

async fn handle(State(cluster): State<Arc<Cluster>>, request: Request<Body>) -> Response {
    let gzip = objects::accepts_gzip(request.headers());
    match answer(cluster, request).await {
        Ok(answer) => answer.into_response_with(gzip),
        Err(status) => status.into_response(),
    }
}

/// A successful answer.
enum Answer {
    /// A JSON document, with warnings for the person who asked.
    Json(Vec<u8>, Vec<String>),
    /// Plain text.
    Text(&'static str),
    /// A stream of some type.
    Stream(Body, &'static str, Vec<String>),
    /// What is no answer of the API itself.
    Other(Response),
}

impl Answer {
    fn document(value: &Value) -> Self {
        Self::Json(value.to_string().into_bytes(), Vec::new())
    }

    fn into_response_with(self, gzip: bool) -> Response {
        let (body, content_type, warnings, compressed) = match self {
            Self::Json(mut bytes, warnings) => {
                bytes.push(b'\n');
                let compressed = gzip.then(|| objects::compress(&bytes)).flatten();
                let done = compressed.is_some();
                (Body::from(compressed.unwrap_or(bytes)), "application/json", warnings, done)
            }
            Self::Text(text) => (Body::from(text), "text/plain; charset=utf-8", Vec::new(), false),
            Self::Stream(body, content_type, warnings) => (body, content_type, warnings, false),
            Self::Other(response) => return response,
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        headers.insert(http::header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if compressed {
            headers.insert(http::header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for warning in warnings {
            // RFC 7234 5.5: code, agent, quoted text. Clients of Kubernetes print the text.
            let quoted: String =
                warning.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
            let quoted = quoted.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
                headers.append(HeaderName::from_static("warning"), value);
            }
        }
        response
    }
}

/// How much of a posted body is read: a review is a few hundred bytes.
const BODY_LIMIT: usize = 64 * 1024;

async fn answer(cluster: Arc<Cluster>, mut request: Request<Body>) -> Result<Answer, Status> {
    let path = Path::parse(request.uri().path())?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if let Path::Resource { group, version, plural, name: None, namespace: None, .. } = &path
        && request.method() == Method::POST
        && version == "v1"
        && ["authentication.k8s.io", "authorization.k8s.io"].contains(&group.as_str())
    {
        let (group, plural) = (group.clone(), plural.clone());
        let body: Bytes = axum::body::to_bytes(request.into_body(), BODY_LIMIT)
            .await
            .map_err(|_| Status::bad_request("the body is too large for a review"))?;
        return match review::answer(&cluster, &group, &plural, &body) {
            Some(review) => review.map(|review| Answer::document(&review)),
            None => Err(read_only(&cluster)),
        };
    }
    if let Path::Resource {
        group, namespace: Some(namespace), plural, name: Some(name), sub: Some(sub), ..
    } = &path
        && group.is_empty()
        && plural == "pods"
        && ["exec", "attach", "portforward", "proxy"].contains(&sub.as_str())
    {
        return match sub.as_str() {
            "portforward" if cluster.has_streams() => {
                portforward::answer(&cluster, namespace, name, &query, &mut request).map(Answer::Other)
            }
            "exec" if exec::any(&cluster.bundle) => {
                exec::answer(&cluster, namespace, name, &query, &mut request).map(Answer::Other)
            }
            "proxy" if cluster.has_streams() => proxy(&cluster, namespace, name, &request).map(Answer::Other),
            _ => Err(Status::not_implemented(format!(
                "pods/{sub}: this server reads from a bundle, pod {name} does not run here"
            ))),
        };
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(read_only(&cluster));
    }
    let streams = cluster.has_streams();
    let catalog = &cluster.catalog;
    let accept =
        request.headers().get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let document = |value: Option<Value>| match value {
        Some(value) => Ok(Answer::document(&value)),
        None => Err(Status::no_such_path()),
    };
    match path {
        Path::Root => document(Some(discovery::root(catalog))),
        Path::Health => Ok(Answer::Text("ok")),
        Path::Version => document(Some(discovery::version(cluster.git_version.as_deref()))),
        Path::OpenApiV2 => document(Some(openapi::v2(cluster.git_version.as_deref()))),
        Path::OpenApiV3 => document(Some(openapi::v3_index(&cluster.bundle, &cluster.digest()))),
        Path::Schemas { group, version } => document(openapi::v3(&cluster.bundle, &group, &version)),
        Path::Discovery { core } => match request::aggregated(accept) {
            Some(version) => {
                let list = discovery::aggregated(catalog, core, version, streams);
                let content_type = match version {
                    "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                    _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
                };
                Ok(Answer::Stream(Body::from(format!("{list}\n")), content_type, Vec::new()))
            }
            None if core => document(Some(discovery::core_versions())),
            None => document(Some(discovery::group_list(catalog))),
        },
        Path::Group(group) => document(discovery::group(catalog, &group)),
        Path::Resources { group, version } => {
            document(discovery::resource_list(catalog, &group, &version, streams))
        }
        Path::Resource { group, version, namespace, plural, name, sub } => {
            let resource = catalog
                .by_plural(&group, &plural)
                .filter(|r| r.versions.contains(&version))
                .filter(|r| r.namespaced || namespace.is_none())
                .ok_or_else(Status::no_such_path)?;
            let namespace = namespace.as_deref();
            match (name.as_deref(), sub.as_deref()) {
                (None, _) => objects::list(&cluster, resource, &version, namespace, &query, accept),
                (Some(_), _) if resource.namespaced && namespace.is_none() => Err(Status::no_such_path()),
                (Some(name), None) => {
                    objects::get(&cluster, resource, &version, namespace, name, &query, accept)
                }
                (Some(name), Some("status")) if resource.status => {
                    objects::get(&cluster, resource, &version, namespace, name, &query, accept)
                }
                (Some(name), Some("log")) if group.is_empty() && plural == "pods" => {
                    logs::answer(&cluster, namespace.unwrap_or_default(), name, &query)
                }
                (Some(_), Some(_)) => Err(Status::no_such_path()),
            }
        }
    }
}

/// `pods/<pod>:<port>/proxy/<path>`: a request that the API server would pass on to the pod.
fn proxy(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    request: &Request<Body>,
) -> Result<Response, Status> {
    // `https:name:port` asks for TLS; no port means the pod's first one, which a client names better.
    let (pod, port) = match name.split(':').collect::<Vec<_>>().as_slice() {
        [pod, port] | ["http" | "", pod, port] => (*pod, port.parse::<u16>().ok()),
        _ => (name, None),
    };
    if cluster.bundle.get_dynamic("", "Pod", namespace, pod).is_none() {
        return Err(Status::no_such_object("", "pods", pod));
    }
    let Some(port) = port else {
        return Err(Status::bad_request("name the port: pods/<name>:<port>/proxy"));
    };
    let target = live::Port { namespace, pod, port };
    if !target.listens(&cluster.bundle) {
        return Err(Status::unavailable(format!(
            "error trying to reach service: dial tcp: port {port} of pod {pod}: connection refused"
        )));
    }
    // What follows `/api/v1/namespaces/<ns>/pods/<name>/proxy/`.
    let path = request.uri().path().splitn(9, '/').nth(8).unwrap_or_default();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri = format!("/{path}{query}").parse().map_err(|_| Status::bad_request("not a path"))?;
    Ok(target.answer(cluster, request.method(), &uri))
}

fn read_only(cluster: &Cluster) -> Status {
    let when = cluster.now.format("%Y-%m-%dT%H:%M:%SZ");
    Status::method_not_allowed(format!(
        "this is a read-only view of a bundle collected at {when}: nothing can be created, changed or deleted"
    ))
}
