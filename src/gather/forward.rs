//! HTTP to a port of a pod: through pods/portforward, as kubectl does it over WebSocket, or, where
//! that is refused, through the API server's pod proxy. Only GET; nothing changes in the pod.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::client::{Api, Patience, Refusal, classify, one_line, segment, status_refusal};
use super::units::human_duration;

/// How long it may take until a pod answers.
const CONNECT: Duration = Duration::from_secs(15);
/// How long an answer may stay silent in the middle.
const IDLE: Duration = Duration::from_secs(15);
/// How long one answer may take as a whole.
const WHOLE: Duration = Duration::from_secs(180);

/// A port of a pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) port: u16,
}

impl std::fmt::Display for Port<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.pod, self.port)
    }
}

/// What a pod answered: the status, then the body piece by piece.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    body: Body,
    deadline: Instant,
    api: Api,
}

enum Body {
    Forwarded { body: hyper::body::Incoming, _forwarder: Forwarder },
    Proxied(Box<super::client::Answer>),
}

/// Ends a port-forward with its last user.
pub(super) struct Forwarder(kube::api::Portforwarder);

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens a stream to a port: the stream, what the kubelet may say of it, and what ends it.
pub(super) async fn open(
    api: &Api,
    port: Port<'_>,
) -> Result<
    (
        impl AsyncRead + AsyncWrite + Unpin + Send + use<>,
        impl Future<Output = Option<String>> + use<>,
        Forwarder,
    ),
    Refusal,
> {
    let pods: kube::Api<Pod> = kube::Api::namespaced(api.kube().clone(), port.namespace);
    let ports = [port.port];
    let mut forwarder = api
        .stream(|| async { pods.portforward(port.pod, &ports).await.map_err(|error| refused(&error)) })
        .await?;
    let lost = || Refusal::local("PortForward", "the port-forward gave no stream");
    let stream = forwarder.take_stream(port.port).ok_or_else(lost)?;
    let error = forwarder.take_error(port.port).ok_or_else(lost)?;
    Ok((stream, error, Forwarder(forwarder)))
}

/// Asks a port through a port-forward.
pub(crate) async fn forward(api: &Api, port: Port<'_>, path: &str, host: &str) -> Result<Reply, Refusal> {
    let limit = api.at_most(CONNECT);
    let deadline = Instant::now() + limit;
    let stop = api.stop().clone();
    let asking = async {
        let (stream, error, forwarder) = open(api, port).await?;
        let conversation = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|e| classify(&e))?;
            tokio::spawn(async move {
                // The answer tells how it ended; the connection has nothing to add.
                let _ = connection.await;
            });
            let request = Request::get(path)
                .header(header::HOST, host)
                .header(header::USER_AGENT, concat!("oc-mcpgw/", env!("CARGO_PKG_VERSION")))
                .header(header::CONNECTION, "close")
                .body(Empty::<Bytes>::new())
                .map_err(|e| Refusal::local("InvalidRequest", e.to_string()))?;
            sender.send_request(request).await.map_err(|e| classify(&e))
        };
        tokio::pin!(conversation);
        // Fused: the channel may have closed without a word before the conversation fails.
        let mut error = std::pin::pin!(error.fuse());
        let response = tokio::select! {
            biased;
            response = &mut conversation => match response {
                Ok(response) => response,
                Err(refusal) if error.is_terminated() => return Err(refusal),
                // The kubelet says on a channel of its own why a port cannot be reached.
                Err(refusal) => match tokio::time::timeout(Duration::from_secs(1), &mut error).await {
                    Ok(Some(message)) => return Err(unreachable(&message)),
                    _ => return Err(refusal),
                },
            },
            Some(message) = &mut error => return Err(unreachable(&message)),
        };
        Ok((response, forwarder))
    };
    let (response, forwarder) = tokio::select! {
        asked = timeout_at(deadline, asking) => {
            let message = || format!("the pod did not answer within {}", human_duration(limit));
            asked.map_err(|_| Refusal::local("Timeout", message()))??
        }
        why = stop.wait() => return Err(Refusal::local(super::client::CUT, why)),
    };
    let status = response.status();
    let body = Body::Forwarded { body: response.into_body(), _forwarder: forwarder };
    Ok(Reply { status, body, deadline: Instant::now() + WHOLE, api: api.clone() })
}

/// Asks a port through the API server's pod proxy.
pub(crate) async fn proxy(api: &Api, port: Port<'_>, path: &str) -> Result<Reply, Refusal> {
    let url = format!(
        "/api/v1/namespaces/{}/pods/{}:{}/proxy{path}",
        segment(port.namespace),
        segment(port.pod),
        port.port
    );
    let answer = api.open(&url, "*/*", Patience::Stream).await?;
    let body = Body::Proxied(Box::new(answer));
    Ok(Reply { status: StatusCode::OK, body, deadline: Instant::now() + WHOLE, api: api.clone() })
}

impl Reply {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        let body = match &mut self.body {
            Body::Proxied(answer) => return answer.chunk().await,
            Body::Forwarded { body, _forwarder: _ } => body,
        };
        let deadline = self.deadline.min(Instant::now() + self.api.at_most(IDLE));
        loop {
            let frame = tokio::select! {
                frame = timeout_at(deadline, body.frame()) => frame,
                why = self.api.stop().wait() => return Err(Refusal::local(super::client::CUT, why)),
            };
            match frame {
                Err(_) => return Err(Refusal::local("Timeout", "the answer came to a halt")),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(classify(&error)),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Why a port-forward was not opened.
pub(super) fn refused(error: &kube::Error) -> Refusal {
    match error {
        // The library's words for an answer that is no Status object, a proxy's page for example: what it
        // holds is read as everywhere.
        kube::Error::Api(status) if status.reason == "Failed to parse error data" => {
            let code = http::StatusCode::from_u16(status.code).unwrap_or(http::StatusCode::BAD_GATEWAY);
            status_refusal(code, status.message.as_bytes())
        }
        kube::Error::Api(status) => {
            let reason = if status.reason.is_empty() { "Refused" } else { &status.reason };
            Refusal {
                code: Some(status.code),
                reason: reason.to_owned(),
                message: one_line(&status.message, 300),
            }
        }
        kube::Error::UpgradeConnection(error) => {
            Refusal::local("NoWebSocket", format!("no WebSocket to the API server: {error}"))
        }
        other => classify(other),
    }
}

/// Nobody listens on the port, says the kubelet.
pub(super) fn unreachable(message: &str) -> Refusal {
    let reason = if message.contains("refused") { "ConnectionRefused" } else { "PortForward" };
    Refusal::local(reason, one_line(message, 300))
}
