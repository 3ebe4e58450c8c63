//! One HTTP request over a forwarded stream, with TLS where the listener has it: the answer, how
//! long each step took, and what the handshake showed.
//!
//! Redirects are not followed, bodies are bounded, everything has one deadline.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::super::client::{Api, CUT, Refusal, classify, one_line};
use super::super::forward::{self, Port};
use crate::model::probes::{Fault, Timings, Tls};
use crate::model::secret_shape;

/// How long one request may take as a whole.
const WHOLE: Duration = Duration::from_secs(12);
/// How much of a body is read.
const BODY_LIMIT: usize = 256 << 10;

/// A request.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) host: String,
    /// The server name of the handshake; `None` speaks plain HTTP.
    pub(super) sni: Option<String>,
    pub(super) headers: Vec<(&'static str, HeaderValue)>,
    pub(super) body: Bytes,
    /// The time, by the clock that is trusted: certificates are valid or not at it.
    pub(super) now: DateTime<Utc>,
    /// Whether what was read of a stream of events is enough.
    pub(super) enough: fn(&[u8]) -> bool,
}

/// What came back, as far as it came.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) head: Option<(StatusCode, HeaderMap)>,
    pub(super) body: Vec<u8>,
    pub(super) truncated: bool,
    pub(super) timings: Timings,
    pub(super) tls: Option<Tls>,
    pub(super) fault: Option<Fault>,
    /// The refusal of the port-forward itself: nothing was asked.
    pub(super) refused: Option<Refusal>,
}

fn fault(refusal: &Refusal) -> Fault {
    Fault { reason: refusal.reason.clone(), message: refusal.message.clone() }
}

fn since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Asks; whatever happens is in the answer.
pub(super) async fn ask(api: &Api, port: Port<'_>, request: Ask) -> Answer {
    let mut answer = Answer::default();
    let start = Instant::now();
    let stop = api.stop().clone();
    let limit = api.at_most(WHOLE);
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(limit, converse(api, port, request, &mut answer)) => outcome
            .unwrap_or_else(|_| Err(Refusal::local("Timeout", format!("no whole answer within {}", crate::gather::units::human_duration(limit))))),
        why = stop.wait() => Err(Refusal::local(CUT, why)),
    };
    answer.timings.total_ms = since(start);
    if let Err(refusal) = outcome {
        // With a head and part of a body there is an answer, only not all of it.
        if answer.head.is_some() && !answer.body.is_empty() {
            answer.truncated = true;
        } else {
            answer.fault.get_or_insert_with(|| fault(&refusal));
        }
    }
    answer
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn converse(api: &Api, port: Port<'_>, request: Ask, answer: &mut Answer) -> Result<(), Refusal> {
    let step = Instant::now();
    let (stream, error, _forwarder) = match forward::open(api, port).await {
        Ok(open) => open,
        Err(refusal) => {
            answer.refused = Some(refusal.clone());
            return Err(refusal);
        }
    };
    answer.timings.connect_ms = Some(since(step));
    let mut error: Pin<Box<dyn futures_util::future::FusedFuture<Output = Option<String>> + Send>> =
        Box::pin(error.fuse());
    let result = {
        let talking = talk(stream, request, answer);
        tokio::pin!(talking);
        tokio::select! {
            biased;
            result = &mut talking => result,
            Some(message) = &mut error => Err(forward::unreachable(&message)),
        }
    };
    if result.is_err() && answer.head.is_none() && !error.is_terminated() {
        // The kubelet says on a channel of its own why a port cannot be reached.
        if let Ok(Some(message)) = tokio::time::timeout(Duration::from_secs(1), &mut error).await {
            return Err(forward::unreachable(&message));
        }
    }
    result
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Ask,
    answer: &mut Answer,
) -> Result<(), Refusal> {
    let stream: Box<dyn Stream> = match &request.sni {
        None => Box::new(stream),
        Some(name) => {
            let step = Instant::now();
            let examined = Arc::new(Mutex::new(Tls::default()));
            let shaken = shake_hands(stream, name, &examined, request.now).await;
            answer.timings.tls_ms = Some(since(step));
            // What was seen stays, whether or not the handshake came to its end.
            let seen = std::mem::take(&mut *examined.lock().unwrap_or_else(PoisonError::into_inner));
            answer.tls = Some(seen);
            let stream = shaken?;
            let (_, connection) = stream.get_ref();
            if let Some(tls) = &mut answer.tls {
                tls.version =
                    connection.protocol_version().and_then(|v| v.as_str()).map(|v| v.replace('_', "."));
                let alpn = connection.alpn_protocol().map(|alpn| String::from_utf8_lossy(alpn).into_owned());
                tls.alpn = alpn;
            }
            Box::new(stream)
        }
    };
    let broken = |error: hyper::Error| {
        if error.is_parse() {
            return Refusal::local("NotHttp", one_line(&error.to_string(), 300));
        }
        classify(&error)
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = tokio::spawn(async move {
        // The answer tells how it ended; the connection has nothing to add.
        let _ = connection.await;
    });
    let _ends = Ends(connection);
    let mut builder = Request::builder()
        .method(request.method)
        .uri(&request.path)
        .header(header::HOST, &request.host)
        .header(header::USER_AGENT, concat!("oc-mcpgw/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close");
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    let body = Full::new(request.body);
    let sent = builder.body(body).map_err(|error| Refusal::local("InvalidRequest", error.to_string()))?;
    let step = Instant::now();
    let response = sender.send_request(sent).await.map_err(broken)?;
    answer.timings.first_byte_ms = Some(since(step));
    let (head, mut body) = response.into_parts();
    let events = head.headers.get(header::CONTENT_TYPE).is_some_and(is_event_stream);
    answer.head = Some((head.status, head.headers));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let room = BODY_LIMIT - answer.body.len();
        answer.body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            answer.truncated = true;
            break;
        }
        if events && (request.enough)(&answer.body) {
            break;
        }
    }
    Ok(())
}

/// Whether a content type is that of server-sent events.
pub(super) fn is_event_stream(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// Ends a task with its owner.
struct Ends(tokio::task::JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    name: &str,
    examined: &Arc<Mutex<Tls>>,
    now: DateTime<Utc>,
) -> Result<tokio_rustls::client::TlsStream<S>, Refusal> {
    let tls = |why: String| Refusal::local("TlsError", one_line(&why, 300));
    let server = ServerName::try_from(name.to_owned()).map_err(|error| tls(format!("{name}: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let examiner = Examiner { provider: provider.clone(), examined: examined.clone(), now };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(examiner))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(server, stream).await.map_err(|error| {
        let refusal = classify(&error);
        // A peer that hangs up in the handshake has no certificate for this name, as a rule.
        tls(match refusal.reason.as_str() {
            "TlsError" => refusal.message,
            _ => format!("the peer ended the handshake: {}", refusal.message),
        })
    })
}

/// Examines the certificate of the peer and goes on whatever it is: the request holds nothing that
/// would have to be kept from a wrong peer, and the verdict is part of the record.
#[derive(Debug)]
struct Examiner {
    provider: Arc<CryptoProvider>,
    examined: Arc<Mutex<Tls>>,
    now: DateTime<Utc>,
}

/// What this machine trusts.
fn roots() -> Arc<RootCertStore> {
    static ROOTS: std::sync::OnceLock<Arc<RootCertStore>> = std::sync::OnceLock::new();
    let load = || {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    };
    ROOTS.get_or_init(load).clone()
}

impl ServerCertVerifier for Examiner {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        here: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let since_epoch = u64::try_from(self.now.timestamp()).map(Duration::from_secs);
        let now = since_epoch.map_or(here, UnixTime::since_unix_epoch);
        let verdict = WebPkiServerVerifier::builder_with_provider(roots(), self.provider.clone())
            .build()
            .map_err(|error| error.to_string())
            .and_then(|verifier| {
                verifier
                    .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                    .map_err(|error| error.to_string())
            });
        let mut examined = self.examined.lock().unwrap_or_else(PoisonError::into_inner);
        examined.chain = 1 + intermediates.len();
        examined.peer = secret_shape::certificate(end_entity);
        examined.verification = verdict.err().map(|why| one_line(&why, 300));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    fn request(sni: Option<&str>) -> Ask {
        Ask {
            method: Method::GET,
            path: "/x".to_owned(),
            host: "h.example.com".to_owned(),
            sni: sni.map(str::to_owned),
            headers: Vec::new(),
            body: Bytes::new(),
            now: Utc::now(),
            enough: |_| true,
        }
    }

    /// What comes of a peer that reads the request's head and then sends these bytes and hangs up.
    async fn told(bytes: Vec<u8>) -> (Answer, Option<Refusal>, String) {
        let (ours, mut theirs): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 20);
        let peer = tokio::spawn(async move {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                theirs.read_exact(&mut byte).await.expect("a request");
                seen.push(byte[0]);
            }
            // The client may hang up before it has read everything.
            let _ = theirs.write_all(&bytes).await;
            String::from_utf8_lossy(&seen).into_owned()
        });
        let mut answer = Answer::default();
        let result = talk(ours, request(None), &mut answer).await;
        (answer, result.err(), peer.await.expect("no panic"))
    }

    #[tokio::test]
    async fn answers_of_every_kind() {
        let (answer, refusal, seen) = told(
            b"HTTP/1.1 302 Found\r\nlocation: https://elsewhere.example/\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        )
        .await;
        assert!(
            refusal.is_none() && answer.head.is_some_and(|(status, _)| status == 302),
            "a redirect is an answer"
        );
        assert!(seen.starts_with("GET /x HTTP/1.1\r\nhost: h.example.com\r\n"), "{seen}");
        assert!(!seen.to_ascii_lowercase().contains("authorization"), "{seen}");

        let (answer, refusal, _) = told(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()).await;
        assert!(answer.head.is_none());
        assert_eq!(refusal.map(|refusal| refusal.reason).as_deref(), Some("NotHttp"));

        let (answer, refusal, _) = told(Vec::new()).await;
        assert!(answer.head.is_none() && refusal.is_some(), "a peer that hangs up has not answered");

        let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        endless.resize(BODY_LIMIT * 2, b'x');
        let (answer, _, _) = told(endless).await;
        assert!(answer.truncated && answer.body.len() == BODY_LIMIT, "{} bytes", answer.body.len());

        let (answer, _, _) =
            told(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\n".to_vec()).await;
        assert_eq!(answer.body, b"data: {}\n\n", "a stream ends for us when the answer is in it");
    }

    #[tokio::test]
    async fn a_peer_without_tls_is_said() {
        let (ours, mut theirs): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 16);
        let peer = tokio::spawn(async move {
            let mut hello = [0; 64];
            let _ = theirs.read(&mut hello).await;
            let _ = theirs.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        });
        let mut answer = Answer::default();
        let refusal = talk(ours, request(Some("h.example.com")), &mut answer).await.expect_err("no TLS");
        assert_eq!(refusal.reason, "TlsError");
        assert!(answer.tls.is_some_and(|tls| tls.peer.is_none()) && answer.timings.tls_ms.is_some());
        peer.await.expect("no panic");
    }
}
