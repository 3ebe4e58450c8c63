//! A proxy before `serve` that breaks what passes through it, by rule or at random.
//!
//! It speaks plain HTTP on loopback and hands requests to a router in this process, so that it
//! sees every request and can break the answer at any byte. `Proxy::start(routes, rules)` gives
//! the way in as a kubeconfig; [`Proxy::seen`] tells afterwards what was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How an answer is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status with a fitting `Status` object instead of the answer.
    Status(u16),
    /// The same with a `Retry-After` of so many seconds.
    RetryAfter(u16, u32),
    /// The answer comes later.
    Delay(Duration),
    /// The whole answer is promised, but the connection ends in order after so many bytes of it.
    Truncate(usize),
    /// The connection is reset after so many bytes of the body; at 0 before any answer.
    Reset(usize),
    /// No answer, ever.
    Hang,
    /// So many bytes of the body, then nothing more, ever.
    Stall(usize),
    /// The body is JSON that breaks off in the middle, yet complete as HTTP.
    BadJson,
    /// A login page with status 200, as some company's proxy sends it.
    LoginPage,
    /// The first item carries an annotation of so many bytes.
    Huge(usize),
    /// A log that never ends.
    Endless,
    /// One byte at a time, with this pause after each.
    Drip(Duration),
    /// The right answer under a content type of something else.
    WrongType,
}

/// Which requests a fault hits.
#[derive(Debug, Clone)]
pub struct Rule {
    pattern: String,
    exact: bool,
    fault: Fault,
    after: usize,
    times: usize,
}

impl Rule {
    /// Hits every request whose `METHOD path?query` holds the pieces of this pattern, which `*`
    /// separates, in their order: `GET /api/v1/*pods*limit=`.
    pub fn on(pattern: &str, fault: Fault) -> Self {
        Self { pattern: pattern.to_owned(), exact: false, fault, after: 0, times: usize::MAX }
    }

    /// Hits the requests whose `METHOD path` is this, whatever their query.
    pub fn exactly(request: &str, fault: Fault) -> Self {
        Self { exact: true, ..Self::on(request, fault) }
    }

    /// Only the first so many of them.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Only those after the first so many.
    pub fn after(mut self, after: usize) -> Self {
        self.after = after;
        self
    }

    fn matches(&self, request: &str) -> bool {
        if self.exact {
            return request.split('?').next() == Some(&self.pattern);
        }
        let mut rest = request;
        self.pattern.split('*').all(|piece| match rest.find(piece) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    }
}

/// What decides about a request.
#[derive(Debug, Clone)]
pub enum Plan {
    /// The first rule that hits.
    Rules(Vec<Rule>),
    /// One of so many requests, chosen by this seed, the request and how often it was made, so
    /// that a run can be repeated whatever the order of its requests.
    Random { seed: u64, one_in: u64 },
}

impl From<Vec<Rule>> for Plan {
    fn from(rules: Vec<Rule>) -> Self {
        Self::Rules(rules)
    }
}

/// What passed through.
#[derive(Debug, Default)]
struct Record {
    requests: Mutex<Vec<String>>,
    attempts: Mutex<BTreeMap<String, usize>>,
    hits: Mutex<Vec<usize>>,
    faults: AtomicU64,
    bytes: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    /// Notes a request and finds the fault for it.
    fn decide(&self, plan: &Plan, request: &str) -> Option<Fault> {
        locked(&self.requests).push(request.to_owned());
        let attempt = {
            let mut attempts = locked(&self.attempts);
            let attempt = attempts.entry(request.to_owned()).or_default();
            *attempt += 1;
            *attempt
        };
        let fault = match plan {
            Plan::Rules(rules) => {
                let mut hits = locked(&self.hits);
                hits.resize(rules.len(), 0);
                rules.iter().zip(hits.iter_mut()).find_map(|(rule, hits)| {
                    if !rule.matches(request) {
                        return None;
                    }
                    *hits += 1;
                    let hit = *hits > rule.after && *hits - rule.after <= rule.times;
                    hit.then(|| rule.fault.clone())
                })
            }
            Plan::Random { seed, one_in } => {
                let number = mix(*seed, request, attempt);
                number.is_multiple_of(*one_in).then(|| random_fault(number / one_in))
            }
        };
        self.faults.fetch_add(u64::from(fault.is_some()), Ordering::Relaxed);
        fault
    }
}

/// FNV-1a over what decides, and a last stir so that all bits count.
fn mix(seed: u64, request: &str, attempt: usize) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(request.bytes()).chain(attempt.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// Faults that end at once; what hangs has tests of its own.
fn random_fault(number: u64) -> Fault {
    match number % 10 {
        0 => Fault::Status(403),
        1 => Fault::Status(404),
        2 => Fault::Status(410),
        3 => Fault::RetryAfter(429, 1),
        4 => Fault::Status(500),
        5 => Fault::Status(503),
        6 => Fault::Truncate(usize::try_from(number / 10 % 200).unwrap_or_default()),
        7 => Fault::Reset(usize::try_from(number / 10 % 200).unwrap_or_default()),
        8 => Fault::BadJson,
        _ => Fault::LoginPage,
    }
}

/// A running proxy; it ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    record: Arc<Record>,
    // Its drop ends all connections.
    _runtime: tokio::runtime::Runtime,
}

impl Proxy {
    /// Starts a proxy before these routes.
    pub fn start(routes: Router, plan: impl Into<Plan>) -> Self {
        let plan = Arc::new(plan.into());
        let record = Arc::new(Record::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("loopback");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::clone(&record);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, routes.clone(), Arc::clone(&plan), Arc::clone(&seen)));
            }
        });
        Self { address, record, _runtime: runtime }
    }

    /// The URL of the API behind the proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig that leads here.
    pub fn write_kubeconfig(&self, path: &Path) {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: proxy\n\
             clusters: [{{name: proxy, cluster: {{server: '{}'}}}}]\n\
             users: [{{name: proxy, user: {{token: through-the-proxy}}}}]\n\
             contexts: [{{name: proxy, context: {{cluster: proxy, user: proxy}}}}]\n",
            self.url()
        );
        std::fs::write(path, text).expect("a kubeconfig");
    }

    /// What was asked, in order: `GET /api/v1/pods?limit=500`.
    pub fn seen(&self) -> Vec<String> {
        locked(&self.record.requests).clone()
    }

    /// How many of the requests hold these pieces, as in [`Rule::on`].
    pub fn count(&self, pattern: &str) -> usize {
        let rule = Rule::on(pattern, Fault::Hang);
        locked(&self.record.requests).iter().filter(|request| rule.matches(request)).count()
    }

    /// How many requests were answered with a fault.
    pub fn faults(&self) -> u64 {
        self.record.faults.load(Ordering::Relaxed)
    }

    /// How many bytes of bodies were sent.
    pub fn bytes(&self) -> u64 {
        self.record.bytes.load(Ordering::Relaxed)
    }
}

/// A connection that can be reset instead of closed.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Closing with unsent data thrown away is what sends a RST.
            self.stream.set_zero_linger().expect("a socket");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn connection(stream: TcpStream, routes: Router, plan: Arc<Plan>, record: Arc<Record>) {
    let reset = Arc::new(AtomicBool::new(false));
    let wire = Wire { stream, reset: Arc::clone(&reset) };
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (routes, plan) = (routes.clone(), Arc::clone(&plan));
        let (record, reset) = (Arc::clone(&record), Arc::clone(&reset));
        async move { answer(request.map(Body::new), routes, &plan, record, reset).await }
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(wire), service);
    // Broken connections are this proxy's business.
    let _ = serving.with_upgrades().await;
}

async fn answer(
    mut request: Request<Body>,
    routes: Router,
    plan: &Plan,
    record: Arc<Record>,
    reset: Arc<AtomicBool>,
) -> Result<Response<Body>, std::io::Error> {
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let name = format!("{} {target}", request.method());
    let fault = record.decide(plan, &name);
    if fault.is_some() {
        // Broken bodies are easier to count when they are not compressed.
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    let response = match fault {
        None => forward(routes, request).await,
        Some(Fault::Status(code)) => status(code, None),
        Some(Fault::RetryAfter(code, seconds)) => status(code, Some(seconds)),
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            forward(routes, request).await
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset(0)) => {
            reset.store(true, Ordering::Relaxed);
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        Some(Fault::Truncate(bytes)) => cut(forward(routes, request).await, bytes, End::Close).await,
        Some(Fault::Reset(bytes)) => cut(forward(routes, request).await, bytes, End::Reset(reset)).await,
        Some(Fault::Stall(bytes)) => cut(forward(routes, request).await, bytes, End::Never).await,
        Some(Fault::BadJson) => {
            let (mut parts, body) = whole(forward(routes, request).await).await;
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(body.slice(..body.len() / 2)))
        }
        Some(Fault::LoginPage) => {
            let mut response = Response::new(Body::from("<!DOCTYPE html><title>Log in</title>"));
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, html);
            response
        }
        Some(Fault::Huge(bytes)) => {
            let (mut parts, body) = whole(forward(routes, request).await).await;
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(inflate(&body, bytes)))
        }
        Some(Fault::Drip(pause)) => {
            let (parts, body) = whole(forward(routes, request).await).await;
            let drops = futures_util::stream::unfold(body, move |mut rest| async move {
                if rest.is_empty() {
                    return None;
                }
                tokio::time::sleep(pause).await;
                let drop = rest.split_to(1);
                Some((Ok::<_, Infallible>(drop), rest))
            });
            Response::from_parts(parts, Body::from_stream(drops))
        }
        Some(Fault::WrongType) => {
            let mut response = forward(routes, request).await;
            let pdf = HeaderValue::from_static("application/pdf");
            response.headers_mut().insert(header::CONTENT_TYPE, pdf);
            response
        }
        Some(Fault::Endless) => {
            let line = Bytes::from_static(b"2026-09-14T10:00:00.000000001Z again and again\n");
            let lines = futures_util::stream::repeat_with(move || Ok::<_, Infallible>(line.clone()));
            Response::new(Body::from_stream(lines))
        }
    };
    Ok(response.map(|body| {
        let counted = body.into_data_stream().inspect(move |chunk| {
            let length = chunk.as_ref().map_or(0, Bytes::len);
            record.bytes.fetch_add(length as u64, Ordering::Relaxed);
        });
        Body::from_stream(counted)
    }))
}

async fn forward(mut routes: Router, request: Request<Body>) -> Response<Body> {
    let Ok(response) = tower_service::Service::call(&mut routes, request).await;
    response
}

async fn whole(response: Response<Body>) -> (http::response::Parts, Bytes) {
    let (parts, body) = response.into_parts();
    (parts, axum::body::to_bytes(body, usize::MAX).await.expect("a body from this process"))
}

/// How a body ends that is cut.
enum End {
    Close,
    Reset(Arc<AtomicBool>),
    Never,
}

/// Promises the whole body and sends the beginning.
async fn cut(response: Response<Body>, bytes: usize, end: End) -> Response<Body> {
    let (mut parts, body) = whole(response).await;
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let begin = body.slice(..bytes.min(body.len().saturating_sub(1)));
    let first = futures_util::stream::once(async move { Ok(begin) });
    let last = futures_util::stream::once(async move {
        // Lets the beginning reach the client first.
        tokio::task::yield_now().await;
        match end {
            End::Close => {}
            End::Reset(reset) => reset.store(true, Ordering::Relaxed),
            End::Never => std::future::pending().await,
        }
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    Response::from_parts(parts, Body::from_stream(first.chain(last)))
}

fn inflate(body: &[u8], bytes: usize) -> Vec<u8> {
    let mut document: serde_json::Value = serde_json::from_slice(body).expect("a document of serve");
    let item = if document["items"].is_array() { &mut document["items"][0] } else { &mut document };
    item["metadata"]["annotations"]["huge"] = "x".repeat(bytes).into();
    document.to_string().into_bytes()
}

fn status(code: u16, retry_after: Option<u32>) -> Response<Body> {
    let (reason, message) = match code {
        400 => ("BadRequest", "the server does not understand the request"),
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "this is forbidden by the test"),
        404 => ("NotFound", "the server could not find the requested resource"),
        409 => ("Conflict", "the object has been modified"),
        410 => ("Expired", "The provided continue parameter is too old"),
        429 => ("TooManyRequests", "the server has received too many requests"),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504 => ("Timeout", "the request timed out in the server"),
        _ => ("InternalError", "an error on the server has prevented the request from succeeding"),
    };
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn proxy(rules: Vec<Rule>) -> Proxy {
        let routes = Router::new().fallback(|| async { axum::Json(serde_json::json!({"items": [{}, {}]})) });
        Proxy::start(routes, rules)
    }

    /// What a client without any intelligence gets, and how the connection ended.
    fn get(proxy: &Proxy, path: &str) -> (String, std::io::Result<usize>) {
        let mut stream = std::net::TcpStream::connect(proxy.address).expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
        let mut text = String::new();
        let end = stream.read_to_string(&mut text);
        (text, end)
    }

    #[test]
    fn every_fault_does_what_it_says() {
        let proxy = proxy(vec![
            Rule::on("GET /forbidden", Fault::Status(403)),
            Rule::on("GET /busy", Fault::RetryAfter(429, 7)).times(1),
            Rule::on("GET /cut", Fault::Truncate(5)),
            Rule::on("GET /reset", Fault::Reset(0)),
            Rule::on("GET /page*continue=", Fault::Status(410)).after(1),
            Rule::on("GET /bad", Fault::BadJson),
            Rule::on("GET /login", Fault::LoginPage),
            Rule::on("GET /huge", Fault::Huge(1000)),
        ]);
        let first = |path: &str| get(&proxy, path).0.lines().next().unwrap_or_default().to_owned();
        assert_eq!(first("/fine"), "HTTP/1.1 200 OK");
        assert_eq!(first("/forbidden"), "HTTP/1.1 403 Forbidden");
        let (busy, _) = get(&proxy, "/busy");
        assert!(busy.contains("retry-after: 7") && busy.contains("TooManyRequests"), "{busy}");
        assert_eq!(first("/busy"), "HTTP/1.1 200 OK", "only once");
        let (cut, _) = get(&proxy, "/cut");
        assert!(cut.contains("content-length: 17") && cut.ends_with("\r\n\r\n{\"ite"), "{cut}");
        let (_, end) = get(&proxy, "/reset");
        assert_eq!(end.expect_err("reset").kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(first("/page?continue=a"), "HTTP/1.1 200 OK");
        assert_eq!(first("/page?continue=b"), "HTTP/1.1 410 Gone");
        let (bad, _) = get(&proxy, "/bad");
        assert!(bad.contains("{\"items\"\r\n") && bad.ends_with("0\r\n\r\n"), "half a document: {bad}");
        assert!(get(&proxy, "/login").0.contains("text/html"));
        assert!(get(&proxy, "/huge").0.len() > 1000);
        assert_eq!((proxy.count("GET /page"), proxy.faults()), (2, 8));
        assert!(proxy.bytes() > 1000 && proxy.seen().len() == 11);
    }

    #[test]
    fn chance_can_be_repeated() {
        let plan = Plan::Random { seed: 7, one_in: 3 };
        let run = || {
            let record = Record::default();
            (0..300).map(|n| record.decide(&plan, &format!("GET /{}", n % 100))).collect::<Vec<_>>()
        };
        let faults = run();
        assert_eq!(faults, run());
        let hit = faults.iter().flatten().count();
        assert!((60..140).contains(&hit), "about one in three, not {hit}");
    }
}
