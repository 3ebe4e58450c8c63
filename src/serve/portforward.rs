//! The kubelet's end of a port-forward, over WebSocket.
//!
//! Protocol `v4.channel.k8s.io`: each message begins with the number of its channel; the port at
//! position `i` of the request has channel `2i` for its data and `2i+1` for its error, and the
//! first message on each is the port's number, little endian. Source:
//! `pkg/kubelet/server/portforward/websocket.go` of Kubernetes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

use super::Cluster;
use super::live::Port;
use super::replay;
use super::request::Query;
use super::status::Status;

const PROTOCOL: &str = "v4.channel.k8s.io";
/// How much may be on its way in each direction of a port.
const BUFFER: usize = 64 * 1024;
/// More ports at once than anybody forwards.
const MAX_PORTS: usize = 16;

/// Accepts a port-forward and leaves it running; it ends with its connection or the server.
pub(super) fn answer(
    cluster: &Arc<Cluster>,
    namespace: &str,
    pod: &str,
    query: &Query,
    request: &mut Request<Body>,
) -> Result<Response, Status> {
    cluster.has_pod(namespace, pod)?;
    // First: kubectl speaks another protocol, which names its ports later.
    websocket_key(request.headers())?;
    let ports = ports(query)?;
    let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
    upgraded(cluster, request, move |cluster, socket| async move {
        forward(&cluster, &namespace, &pod, &ports, socket).await;
    })
}

/// A WebSocket to a client.
pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Turns a request into a WebSocket and leaves a conversation over it running.
pub(super) fn upgraded<F, C>(
    cluster: &Arc<Cluster>,
    request: &mut Request<Body>,
    converse: C,
) -> Result<Response, Status>
where
    C: FnOnce(Arc<Cluster>, Socket) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let key = websocket_key(request.headers())?;
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(Status::not_implemented("this needs a connection of its own"));
    };
    let accept = HeaderValue::try_from(derive_accept_key(&key))
        .map_err(|_| Status::bad_request("not a WebSocket handshake"))?;
    let cluster = Arc::clone(cluster);
    tokio::spawn(async move {
        let mut ended = cluster.ended.subscribe();
        let conversation = async {
            // A client that is gone by now has nobody to be told.
            let Ok(connection) = upgrade.await else { return };
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, None).await;
            converse(Arc::clone(&cluster), socket).await;
        };
        tokio::select! {
            () = conversation => {}
            _ = async { ended.wait_for(|ended| *ended).await.map(|ended| *ended) } => {}
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// The key of a WebSocket handshake that offers our protocol.
fn websocket_key(headers: &HeaderMap) -> Result<Vec<u8>, Status> {
    let has = |name: http::HeaderName, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(wanted))
    };
    if !has(UPGRADE, "websocket") || !has(SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err(Status::bad_request(format!(
            "this replay speaks to pods over WebSocket with the protocol {PROTOCOL}, which kubectl does not use \
             here; it answers `kubectl get --raw /api/v1/namespaces/NAMESPACE/pods/POD:PORT/proxy/PATH`"
        )));
    }
    let key =
        headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| Status::bad_request("not a WebSocket handshake"))?;
    Ok(key.as_bytes().to_vec())
}

fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let ports: Option<Vec<u16>> =
        query.all("ports").flat_map(|list| list.split(',')).map(|port| port.parse().ok()).collect();
    match ports {
        Some(ports) if (1..=MAX_PORTS).contains(&ports.len()) => Ok(ports),
        _ => Err(Status::bad_request(format!("query parameter \"ports\" must name 1 to {MAX_PORTS} ports"))),
    }
}

/// Runs a port-forward to its end.
async fn forward<S>(
    cluster: &Arc<Cluster>,
    namespace: &str,
    pod: &str,
    ports: &[u16],
    socket: WebSocketStream<S>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sink, mut stream) = socket.split();
    let (sender, mut receiver) = mpsc::channel::<(u8, Bytes)>(8);
    let mut writers = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for (channel, &port) in (0..).step_by(2).zip(ports) {
        let begin = Bytes::copy_from_slice(&port.to_le_bytes());
        for channel in [channel, channel + 1] {
            // The receiver lives until the end of this function.
            let _ = sender.send((channel, begin.clone())).await;
        }
        let target = Port { namespace, pod, port };
        let peer = cluster.peer(namespace, pod, port);
        let replayed =
            target.listens(&cluster.bundle) || replay::listens(&cluster.bundle, namespace, pod, port);
        if peer.is_some() || replayed {
            let (ours, theirs) = tokio::io::duplex(BUFFER);
            let (reader, writer) = tokio::io::split(ours);
            writers.push(Some(writer));
            match peer {
                Some(peer) => tasks.spawn(relay(peer, theirs)),
                None => tasks.spawn(serve(
                    Arc::clone(cluster),
                    namespace.to_owned(),
                    pod.to_owned(),
                    port,
                    theirs,
                )),
            };
            tasks.spawn(read(channel, reader, sender.clone()));
        } else {
            writers.push(None);
            let refused = format!(
                "an error occurred forwarding {port} -> {port}: error forwarding port {port} to pod {pod}: \
                 failed to connect to localhost:{port}: connection refused"
            );
            let _ = sender.send((channel + 1, refused.into())).await;
        }
    }
    drop(sender);
    let to_client = async {
        while let Some((channel, bytes)) = receiver.recv().await {
            let mut message = Vec::with_capacity(bytes.len() + 1);
            message.push(channel);
            message.extend_from_slice(&bytes);
            if sink.send(Message::binary(message)).await.is_err() {
                return;
            }
        }
        // All ports have ended.
        let _ = sink.close().await;
    };
    let from_client = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(bytes) => to_pod(&mut writers, &bytes).await,
                Message::Close(_) => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        () = to_client => {}
        () = from_client => {}
    }
}

/// Hands a message to the port of its channel; what is for no port is dropped, as a kubelet does.
async fn to_pod(writers: &mut [Option<WriteHalf<DuplexStream>>], message: &[u8]) {
    let Some((&channel, bytes)) = message.split_first() else { return };
    if channel % 2 == 0
        && let Some(Some(writer)) = writers.get_mut(usize::from(channel / 2))
    {
        // A port that has closed does not take any more.
        let _ = writer.write_all(bytes).await;
    }
}

/// Reads what a port answers until it closes.
async fn read(channel: u8, mut reader: ReadHalf<DuplexStream>, sender: mpsc::Sender<(u8, Bytes)>) {
    let mut buffer = vec![0; BUFFER / 4];
    while let Ok(length) = reader.read(&mut buffer).await {
        if length == 0 || sender.send((channel, Bytes::copy_from_slice(&buffer[..length]))).await.is_err() {
            return;
        }
    }
}

/// The pod's end: a server of this machine.
async fn relay(peer: SocketAddr, mut stream: DuplexStream) {
    let relayed = async {
        let mut connection = TcpStream::connect(peer).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut connection).await
    };
    // However it ends, the client sees its connection end.
    let _: std::io::Result<_> = relayed.await;
}

/// How much of a request's body is read.
const REQUEST_LIMIT: usize = 256 * 1024;

/// The pod's end: HTTP over the forwarded stream, within TLS where that was so.
async fn serve(cluster: Arc<Cluster>, namespace: String, pod: String, port: u16, stream: DuplexStream) {
    match replay::tls(&cluster.bundle, &namespace, &pod, port) {
        None => serve_http(cluster, namespace, pod, port, stream).await,
        Some(config) => {
            // A handshake that fails is told to the client by TLS itself.
            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await {
                serve_http(cluster, namespace, pod, port, stream).await;
            }
        }
    }
}

async fn serve_http<S>(cluster: Arc<Cluster>, namespace: String, pod: String, port: u16, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (cluster, namespace, pod) = (Arc::clone(&cluster), namespace.clone(), pod.clone());
        async move {
            let target = Port { namespace: &namespace, pod: &pod, port };
            if target.listens(&cluster.bundle) {
                return Ok::<_, Infallible>(target.answer(&cluster, request.method(), request.uri()));
            }
            let (head, body) = request.into_parts();
            let body = Limited::new(body, REQUEST_LIMIT).collect().await.map(|body| body.to_bytes());
            let request = Request::from_parts(head, body.unwrap_or_default());
            Ok(replay::answer(&cluster.bundle, (&namespace, &pod, port), &request))
        }
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = serving.await;
}
