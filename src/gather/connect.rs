//! From what a person typed and has in the environment to a client: kubeconfig, context,
//! impersonation, exec plugins, proxies, in-cluster. Every mistake becomes one line with a hint.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::client::{CERTIFICATE, CREDENTIALS, Refusal, one_line};
use super::discovery::NO_DISCOVERY;
use super::units;
use crate::error::CommandError;
use crate::redact::{self, Redactor};

/// How we name ourselves: program, version, system.
const USER_AGENT: http::HeaderValue =
    http::HeaderValue::from_static(concat!("oc-mcpgw/", env!("CARGO_PKG_VERSION"), " (gather; read-only)"));

/// How to reach the cluster: the flags that every `kubectl` user expects.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// Path to the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config, then in-cluster)
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The user of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The user to impersonate
    #[arg(long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
    /// A group to impersonate (repeatable)
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    pub impersonate_groups: Vec<String>,
    /// Bearer token for the API server
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Address and port of the API server
    #[arg(short = 's', long, value_name = "URL")]
    pub server: Option<String>,
    /// Do not check the certificate of the API server
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,
    /// How long a single request may take; 0 for no limit [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub request_timeout: Option<Duration>,
}

/// A way to a cluster.
pub struct Connected {
    /// The client. It does not retry by itself.
    pub client: kube::Client,
    /// The name of the cluster in the kubeconfig; `None` in a cluster or for a bare `--server`.
    pub cluster: Option<String>,
    /// The address of the API server, without user information.
    pub server: String,
    /// The namespace of the context.
    pub namespace: String,
}

impl Connection {
    /// Builds the client. Runs the exec credential plugin of the kubeconfig, if there is one;
    /// sends nothing to the server yet.
    ///
    /// # Errors
    /// One line that names the file, context or plugin at fault, and what to do.
    pub async fn connect(&self) -> Result<Connected, CommandError> {
        let (mut config, cluster) = self.config().await?;
        if let Some(server) = &self.server {
            config.cluster_url = parse_server(server)?;
        }
        if self.insecure_skip_tls_verify {
            config.accept_invalid_certs = true;
        }
        if let Some(token) = &self.token {
            // As for kubectl, the flag wins over everything that the kubeconfig says about the user.
            let mut user = AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() };
            user.impersonate = config.auth_info.impersonate.take();
            user.impersonate_groups = config.auth_info.impersonate_groups.take();
            config.auth_info = user;
        }
        if let Some(user) = &self.impersonate {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups =
                Some(self.impersonate_groups.clone()).filter(|groups| !groups.is_empty());
        }
        // We retry ourselves: kube would spend minutes on one dead aggregated API.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(10));
        // Audit logs and the server's flow control know us by this name.
        config.headers.push((http::header::USER_AGENT, USER_AGENT));
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = config.default_namespace.clone();
        let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
        let client = match kube::Client::try_from(config) {
            Ok(client) => client,
            Err(error) => return Err(client_error(error, plugin.as_deref())),
        };
        Ok(Connected { client, cluster, server, namespace })
    }

    /// The configuration before the flags, and the cluster's name.
    async fn config(&self) -> Result<(Config, Option<String>), CommandError> {
        let Some(kubeconfig) = self.read_kubeconfig()? else {
            if let Some(server) = &self.server {
                let mut config = Config::new(parse_server(server)?);
                config.proxy_url = environment_proxy(&config.cluster_url);
                return Ok((config, None));
            }
            return match Config::incluster() {
                Ok(config) => Ok((config, None)),
                Err(_) => Err(CommandError::unusable_message(
                    "no cluster is configured: there is no kubeconfig, and this is not a pod of a cluster",
                )
                .hint("log in with `oc login`, or name a file with --kubeconfig or $KUBECONFIG")),
            };
        };
        if kubeconfig.contexts.is_empty() && kubeconfig.clusters.is_empty() && self.server.is_none() {
            return Err(CommandError::unusable_message(format!(
                "{} names no cluster",
                self.kubeconfig_name()
            ))
            .hint("log in with `oc login`, or name another file with --kubeconfig or $KUBECONFIG"));
        }
        let options = KubeConfigOptions {
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        };
        let context = self.context.clone().or_else(|| kubeconfig.current_context.clone());
        let cluster = self.cluster.clone().or_else(|| {
            let context = context.as_deref()?;
            let named = kubeconfig.contexts.iter().find(|c| c.name == context)?;
            named.context.as_ref().map(|c| c.cluster.clone())
        });
        let own_proxy = kubeconfig
            .clusters
            .iter()
            .find(|c| Some(&c.name) == cluster.as_ref())
            .and_then(|c| c.cluster.as_ref()?.proxy_url.clone())
            .is_some_and(|proxy| !proxy.is_empty());
        let known: Vec<String> = kubeconfig.contexts.iter().map(|c| c.name.clone()).collect();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| self.kubeconfig_error(error, &known))?;
        if !own_proxy {
            // The library compares NO_PROXY with the proxy's address; what counts is the server's.
            config.proxy_url = environment_proxy(&config.cluster_url);
        }
        Ok((config, cluster))
    }

    /// The kubeconfig that is meant; `None` when there is none at the default place.
    fn read_kubeconfig(&self) -> Result<Option<Kubeconfig>, CommandError> {
        if let Some(path) = &self.kubeconfig {
            return Kubeconfig::read_from(path).map(Some).map_err(|error| self.kubeconfig_error(error, &[]));
        }
        if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
            // Like kubectl: files of the list that do not exist are skipped.
            let mut merged = None;
            for path in std::env::split_paths(&list).filter(|path| path.exists()) {
                let next = Kubeconfig::read_from(&path).map_err(|error| self.kubeconfig_error(error, &[]))?;
                merged = Some(match merged {
                    None => next,
                    Some(first) => {
                        Kubeconfig::merge(first, next).map_err(|error| self.kubeconfig_error(error, &[]))?
                    }
                });
            }
            if merged.is_none() && self.server.is_none() {
                return Err(CommandError::unusable_message(format!(
                    "$KUBECONFIG names no file that exists: {}",
                    list.to_string_lossy()
                ))
                .hint("log in with `oc login`, or correct $KUBECONFIG"));
            }
            return Ok(merged);
        }
        let default = std::env::home_dir().map(|home| home.join(".kube").join("config"));
        match default.filter(|path| path.exists()) {
            None => Ok(None),
            Some(path) => {
                Kubeconfig::read_from(path).map(Some).map_err(|error| self.kubeconfig_error(error, &[]))
            }
        }
    }

    /// How to name the kubeconfig in a message.
    fn kubeconfig_name(&self) -> String {
        match (&self.kubeconfig, std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty())) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(list)) => format!("$KUBECONFIG ({})", list.to_string_lossy()),
            (None, None) => "~/.kube/config".to_owned(),
        }
    }

    fn kubeconfig_error(&self, error: KubeconfigError, contexts: &[String]) -> CommandError {
        let name = self.kubeconfig_name();
        match error {
            KubeconfigError::ReadConfig(source, path) => {
                CommandError::unusable_message(format!("cannot read kubeconfig {}: {source}", path.display()))
                    .hint("name an existing file with --kubeconfig or $KUBECONFIG, or log in with `oc login`")
            }
            KubeconfigError::Parse(source) => {
                // The parser's own message may quote the file, and the file holds credentials.
                let place = position(&source.to_string());
                CommandError::unusable_message(format!("{name} is no kubeconfig: its YAML is broken{place}"))
                    .hint("repair the file, or name another one with --kubeconfig")
            }
            KubeconfigError::CurrentContextNotSet => {
                CommandError::unusable_message(format!("{name} has no current context"))
                    .hint(known_contexts(contexts))
            }
            KubeconfigError::LoadContext(context) => {
                let error = CommandError::unusable_message(format!("{name} has no context `{context}`"));
                let near = contexts
                    .iter()
                    .map(|known| (strsim::damerau_levenshtein(known, &context), known))
                    .filter(|(distance, _)| *distance <= 3)
                    .min();
                match near {
                    Some((_, near)) => error.hint(format!("did you mean --context {near}?")),
                    None => error.hint(known_contexts(contexts)),
                }
            }
            KubeconfigError::LoadClusterOfContext(cluster) => {
                CommandError::unusable_message(format!("{name} has no cluster `{cluster}`"))
                    .hint("see `oc config get-clusters`")
            }
            KubeconfigError::MissingClusterUrl => {
                CommandError::unusable_message(format!("{name}: the cluster of the context has no `server`"))
                    .hint("log in with `oc login`, or name it with --server")
            }
            other => CommandError::unusable(anyhow::Error::new(other).context(name))
                .hint("see `oc config view`, or log in again with `oc login`"),
        }
    }
}

fn known_contexts(contexts: &[String]) -> String {
    if contexts.is_empty() {
        "log in with `oc login`".to_owned()
    } else {
        let shown: Vec<&str> = contexts.iter().take(8).map(String::as_str).collect();
        let more = if contexts.len() > shown.len() { ", …" } else { "" };
        format!("choose one with --context: {}{more}", shown.join(", "))
    }
}

/// Reads `--server` as kubectl does: a bare host means HTTPS.
fn parse_server(server: &str) -> Result<http::Uri, CommandError> {
    let url = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    match url.parse::<http::Uri>() {
        Ok(uri) if uri.host().is_some() && matches!(uri.scheme_str(), Some("https" | "http")) => Ok(uri),
        _ => Err(CommandError::usage_message(format!("--server {server} is no address of an API server"))
            .hint("write for example --server https://api.example.com:6443")),
    }
}

/// What went wrong while the client was built: certificates, keys, credential plugins. What a
/// plugin printed is never repeated, except the first line of its standard error, redacted: the rest may
/// be the very credential.
fn client_error(error: kube::Error, plugin: Option<&str>) -> CommandError {
    use kube::client::AuthError;
    let plugin = plugin.unwrap_or("(none)");
    let why = match &error {
        kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => {
            let stderr = String::from_utf8_lossy(&out.stderr);
            let first = stderr.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message");
            format!("failed with {}: {}", out.status, without_secrets(first))
        }
        kube::Error::Auth(AuthError::AuthExecStart(source)) => format!("cannot be run: {source}"),
        kube::Error::Auth(AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed) => {
            "did not print an ExecCredential".to_owned()
        }
        _ => {
            return CommandError::unusable(error)
                .hint("check certificates, keys and tokens of the kubeconfig (`oc config view`)");
        }
    };
    CommandError::unusable_message(format!("credential plugin `{plugin}` {why}"))
        .hint(format!("see that `{plugin}` is installed and works when run by hand, or log in again"))
}

/// Why the very first requests failed, and what to do.
pub(super) fn unreachable(connected: &Connected, refusal: &Refusal) -> CommandError {
    let server = &connected.server;
    let message =
        |what: &str| CommandError::unusable_message(format!("{what} {server}: {}", refusal.message));
    match (refusal.code, refusal.reason.as_str()) {
        (Some(401), _) => CommandError::unusable_message(format!(
            "the API server {server} does not accept your credentials: {}",
            refusal.message
        ))
        .hint("log in again (`oc login`), or name a valid token with --token"),
        (Some(403), _) => message("you may not even see what is served by")
            .hint("log in as a user of the cluster (`oc login`); `oc auth whoami` shows who you are"),
        (Some(code), _) => CommandError::unusable_message(format!(
            "{server} does not answer like a Kubernetes API server: {code} {}: {}",
            refusal.reason, refusal.message
        ))
        .hint("check the address (`oc cluster-info`), and proxies between here and there"),
        (None, NO_DISCOVERY) => CommandError::unusable_message(format!(
            "{server} does not answer like a Kubernetes API server: {}",
            refusal.message
        ))
        .hint("check the address (`oc cluster-info`), and proxies between here and there"),
        (None, CERTIFICATE) => CommandError::unusable_message(format!(
            "{server} does not accept your client certificate: {}",
            refusal.message
        ))
        .hint("log in again, or renew the certificate of the kubeconfig's user (`oc config view`)"),
        (None, "TlsError")
            if refusal.message.contains("expired") || refusal.message.contains("not valid yet") =>
        {
            message("no trusted connection to")
                .hint("is the clock of this machine right? else the certificate of the API server has to be renewed")
        }
        (None, "TlsError") => message("no trusted connection to").hint(
            "name the right certificate authority in the kubeconfig; --insecure-skip-tls-verify goes without",
        ),
        (None, "UnknownHost") => message("the name of the API server does not resolve:")
            .hint("check the address in the kubeconfig (`oc config view`), DNS and VPN"),
        (None, CREDENTIALS) => {
            CommandError::unusable_message(format!("no credentials for {server}: {}", refusal.message))
                .hint("log in again, or check the credential plugin of the kubeconfig")
        }
        (None, "InvalidAnswer") => message("this is no Kubernetes API server:")
            .hint("check the address in the kubeconfig, and whether a login page of a proxy answers"),
        (None, super::client::CUT) => CommandError::unusable_message(format!(
            "{} ended the run before {server} had answered",
            refusal.message
        ))
        .hint("nothing was collected; try again"),
        _ => message("cannot reach").hint("check the address in the kubeconfig, network, VPN and proxy"),
    }
}

/// Foreign text as one bounded line, redacted like everything that is written.
fn without_secrets(text: &str) -> String {
    let redactor = Redactor::new(redact::Options::default());
    let redacted = redactor.text(&redactor.path("stderr"), text.as_bytes());
    one_line(&String::from_utf8_lossy(redacted.as_bytes()), 300)
}

/// ` at line 3` from a parser's message, without anything else of it.
fn position(message: &str) -> String {
    let digits = message.split_once("line ").map(|(_, rest)| rest).unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    if end == 0 { String::new() } else { format!(" at line {}", &digits[..end]) }
}

/// The proxy that the environment asks for, for this server.
fn environment_proxy(server: &http::Uri) -> Option<http::Uri> {
    let read = |names: &[&str]| {
        names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    };
    let proxy = match server.scheme_str() {
        Some("http") => read(&["HTTP_PROXY", "http_proxy"])?,
        _ => read(&["HTTPS_PROXY", "https_proxy"])?,
    };
    let no_proxy = read(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
    if bypasses_proxy(server.host().unwrap_or_default(), server.port_u16(), &no_proxy) {
        return None;
    }
    let url = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
    url.parse().ok()
}

/// Whether `NO_PROXY` exempts a host, by the rules of Go's `httpproxy`: `*`, names with their
/// subdomains, `.suffix`, addresses, CIDR blocks, each with an optional port; loopback always.
fn bypasses_proxy(host: &str, port: Option<u16>, no_proxy: &str) -> bool {
    use std::net::IpAddr;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        if entry.is_empty() {
            return false;
        }
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return match (network.parse::<IpAddr>(), bits.parse::<u32>(), address) {
                (Ok(network), Ok(bits), Some(address)) => in_network(address, network, bits),
                _ => false,
            };
        }
        let (name, wanted) = match entry.rsplit_once(':') {
            Some((name, digits)) if !name.contains(':') && digits.parse::<u16>().is_ok() => {
                (name, digits.parse::<u16>().ok())
            }
            _ => (entry.as_str(), None),
        };
        if wanted.is_some() && wanted != port {
            return false;
        }
        let name = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(exempt) = name.parse::<IpAddr>() {
            return address == Some(exempt);
        }
        let name = name.trim_start_matches('*');
        match name.strip_prefix('.') {
            Some(suffix) => host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')),
            None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
        }
    })
}

fn in_network(address: std::net::IpAddr, network: std::net::IpAddr, bits: u32) -> bool {
    use std::net::IpAddr;
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_as_go_reads_it() {
        let cases = [
            ("api.example.com", "example.com", true),
            ("api.example.com", ".example.com", true),
            ("example.com", ".example.com", false),
            ("example.com", "example.com", true),
            ("badexample.com", "example.com", false),
            ("api.example.com", "*", true),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("fd00::1", "fd00::/16", true),
            ("api.example.com", "other.com, api.example.com:6443", true),
            ("api.example.com", "api.example.com:443", false),
            ("localhost", "", true),
            ("127.0.0.1", "", true),
            ("api.example.com", "", false),
        ];
        for (host, no_proxy, exempt) in cases {
            assert_eq!(bypasses_proxy(host, Some(6443), no_proxy), exempt, "{host} in {no_proxy:?}");
        }
    }

    #[test]
    fn a_bare_host_means_https() {
        let uri = parse_server("api.example.com:6443").expect("a server");
        assert_eq!(uri.to_string(), "https://api.example.com:6443/");
        assert!(parse_server("ftp://api").is_err());
        assert!(parse_server("").is_err());
    }
}
