//! The API on a socket: loopback only, TLS with a certificate of this run, a random token, and the
//! kubeconfig that leads there.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::status::Status;
use super::{Cluster, router};

/// How long a client may take for its TLS handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may wait for the headers of its next request.
const IDLE: Duration = Duration::from_secs(120);
/// How long running answers may go on when the server ends.
const GRACE: Duration = Duration::from_secs(2);
/// The first line of every kubeconfig that we write, by which we know what we may overwrite.
const MARK: &str = "# Written by oc-mcpgw serve: leads to a bundle, not to a cluster.";

/// A bundle served on loopback. Dropped without [`Server::stop`], it ends as well, but abruptly.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    prefix: String,
    token: String,
    ca: String,
    name: String,
    cluster: Arc<Cluster>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Binds `127.0.0.1:port` (0: any free port) and starts to answer. Needs a runtime with I/O
    /// and time. A cluster has one server at a time.
    ///
    /// # Errors
    /// The port is taken, or there is no randomness for keys.
    pub async fn start(cluster: Arc<Cluster>, port: u16) -> std::io::Result<Self> {
        let routes = router(Arc::clone(&cluster));
        Self::start_with(cluster, routes, port).await
    }

    /// [`Server::start`] with a router that wraps or replaces the one of the cluster, for tests
    /// that need slow or faulty answers.
    ///
    /// # Errors
    /// The port is taken, or there is no randomness for keys.
    pub async fn start_with(cluster: Arc<Cluster>, routes: Router, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let (ca, config) = certificates(Utc::now()).map_err(std::io::Error::other)?;
        let mut random = [0; 24];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
        let prefix = format!("/bundle-{}", cluster.digest());
        let expected: Arc<str> = format!("Bearer {token}").into();
        let app = Router::new()
            .nest_service(&prefix, routes.clone())
            .fallback_service(routes)
            .layer(axum::middleware::from_fn_with_state(expected, authenticate));
        let (stop, stopped) = watch::channel(false);
        // A cluster may be served again, after the server before it has ended.
        cluster.ended.send_replace(false);
        let task = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), app, stopped));
        let name = cluster.bundle().meta.cluster.clone().unwrap_or_else(|| "bundle".to_owned());
        Ok(Self { address, prefix, token, ca, name, cluster, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for clients. Its path names what is served, because `kubectl` keeps what it has
    /// discovered for hours under the URL; without the path the server answers as well.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}{}", self.address, self.prefix)
    }

    /// The token of this run.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The certificate authority of this run, in PEM.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// The kubeconfig that leads here.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_for(&self.url(), &self.ca)
    }

    /// A kubeconfig with this server's token that leads to another URL, such as a proxy before it.
    #[must_use]
    pub fn kubeconfig_for(&self, url: &str, ca: &str) -> String {
        // JSON strings are YAML strings.
        let name = serde_json::Value::from(self.name.as_str());
        format!(
            "{MARK}\napiVersion: v1\nkind: Config\ncurrent-context: {name}\n\
             clusters:\n- name: {name}\n  cluster:\n    server: {url}\n    certificate-authority-data: {}\n\
             users:\n- name: bundle-reader\n  user:\n    token: {}\n\
             contexts:\n- name: {name}\n  context:\n    cluster: {name}\n    user: bundle-reader\n",
            STANDARD.encode(ca),
            self.token,
        )
    }

    /// Writes the kubeconfig, readable by its owner alone. Never overwrites a file that is not
    /// ours: it might be the way to a real cluster.
    ///
    /// # Errors
    /// `AlreadyExists` for a foreign file, and whatever the file system says.
    pub fn write_kubeconfig(&self, path: &Path) -> std::io::Result<()> {
        match std::fs::read_to_string(path) {
            Ok(text) if !text.starts_with(MARK) => {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::AlreadyExists,
                    "the file exists and was not written by serve",
                ));
            }
            Ok(_) => std::fs::remove_file(path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)?.write_all(self.kubeconfig().as_bytes())
    }

    /// Ends: no new connections, watches end at once, other answers get a moment.
    pub async fn stop(self) {
        self.cluster.ended.send_replace(true);
        self.stop.send_replace(true);
        // The task only fails by a panic of its own, which it has reported then.
        let _ = self.task.await;
    }
}

/// A server with a runtime of its own, for callers that are not asynchronous.
#[derive(Debug)]
pub struct Background {
    server: Option<Server>,
    runtime: tokio::runtime::Runtime,
}

impl Background {
    /// Starts a server on a thread of its own.
    ///
    /// # Errors
    /// No thread, no port, or no randomness.
    pub fn start(cluster: Arc<Cluster>, port: u16) -> std::io::Result<Self> {
        let routes = router(Arc::clone(&cluster));
        Self::start_with(cluster, routes, port)
    }

    /// [`Server::start_with`] on a thread of its own.
    ///
    /// # Errors
    /// No thread, no port, or no randomness.
    pub fn start_with(cluster: Arc<Cluster>, routes: Router, port: u16) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let server = Some(runtime.block_on(Server::start_with(cluster, routes, port))?);
        Ok(Self { server, runtime })
    }
}

impl std::ops::Deref for Background {
    type Target = Server;

    fn deref(&self) -> &Server {
        // Only dropping takes the server out.
        #[expect(clippy::unwrap_used, reason = "the server is there until the drop")]
        self.server.as_ref().unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

/// Lets only those in who have the token.
async fn authenticate(State(expected): State<Arc<str>>, request: Request<Body>, next: Next) -> Response {
    let given = request.headers().get(http::header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    if given.is_some_and(|given| same(given, expected.as_bytes())) {
        next.run(request).await
    } else {
        Status::unauthorized().into_response()
    }
}

/// Compares in a time that does not tell where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Waits until the server is to end, or is gone.
async fn over(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    app: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = over(&mut stopped) => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, acceptor.clone(), app.clone(), stopped.clone()));
            }
            // Too many open files, or a client that went away: the next may be better.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // What is not done then is broken off with the set.
    let _ = tokio::time::timeout(GRACE, all).await;
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    app: Router,
    mut stopped: watch::Receiver<bool>,
) {
    // Answers are written whole: waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else { return };
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)).with_upgrades();
    let mut serving = std::pin::pin!(serving);
    // A connection that breaks is the client's to notice.
    let _ = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = over(&mut stopped) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
}

/// A certificate authority that lives as long as this run, in PEM, and a server certificate of it
/// for loopback. The keys are never written anywhere.
fn certificates(
    now: DateTime<Utc>,
) -> Result<(String, ServerConfig), Box<dyn std::error::Error + Send + Sync>> {
    let day = |time: DateTime<Utc>| {
        // Months and days are small.
        let small = |number: u32| u8::try_from(number).unwrap_or(1);
        rcgen::date_time_ymd(time.year(), small(time.month()), small(time.day()))
    };
    // Some clients refuse certificates that last for years, and clocks differ by hours.
    let (from, until) = (day(now - TimeDelta::days(1)), day(now + TimeDelta::days(300)));
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "oc-mcpgw serve");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = (from, until);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    leaf.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = (from, until);
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &authority)?;

    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(leaf.der().to_vec())],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((authority.pem(), config))
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        for (a, b) in [("abc", "abd"), ("abc", "ab"), ("", "a")] {
            assert!(!same(a.as_bytes(), b.as_bytes()));
        }
    }
}
