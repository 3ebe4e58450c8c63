//! The class of an error, from the text that Go's libraries, Envoy and the API server use for it.

use std::sync::LazyLock;

use regex::Regex;

/// What went wrong between two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// The proxy for outgoing requests cannot be used.
    Proxy,
    /// The name does not resolve.
    Dns,
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// No way to the address.
    Unreachable,
    /// The certificate is not trusted, expired, or for another name.
    Certificate,
    /// The other side speaks plain HTTP where TLS was expected.
    HttpOnHttps,
    /// The other side speaks TLS where plain HTTP was expected.
    HttpsOnHttp,
    /// TLS fails for another reason.
    Tls,
    /// HTTP 401.
    Unauthorized,
    /// HTTP 403, or a refusal by RBAC.
    Forbidden,
    /// HTTP 404.
    NotFound,
    /// HTTP 429.
    RateLimited,
    /// Another HTTP 4xx.
    ClientError,
    /// HTTP 5xx.
    ServerError,
    /// The connection broke.
    Reset,
    /// The other side does not speak the protocol that was expected.
    Protocol,
    /// Nothing of the above.
    Other,
}

/// The phrases of each class, the more specific first; all in lower case.
static PHRASES: &[(ErrorClass, &[&str])] = &[
    // Whatever fails then fails on the way to the proxy, not to the host.
    (ErrorClass::Proxy, &["proxyconnect"]),
    (
        ErrorClass::HttpOnHttps,
        &[
            "server gave http response to https client",
            "first record does not look like a tls handshake",
            "wrong_version_number",
        ],
    ),
    (
        ErrorClass::HttpsOnHttp,
        &["client sent an http request to an https server", "malformed http response \"\\x15"],
    ),
    (
        ErrorClass::Certificate,
        &[
            "x509:",
            "certificate_verify_failed",
            "certificate signed by unknown authority",
            "certificate has expired",
            "certificate is valid for",
            "bad certificate",
        ],
    ),
    (
        ErrorClass::Dns,
        &[
            "no such host",
            "server misbehaving",
            "name or service not known",
            "temporary failure in name resolution",
            "could not resolve",
            "dns_resolution_failure",
            "dns resolution failed",
            "getaddrinfo",
        ],
    ),
    (ErrorClass::Refused, &["connection refused", "connect_error:_111", "error:_111", "econnrefused"]),
    (ErrorClass::Unreachable, &["no route to host", "network is unreachable", "host is unreachable"]),
    (
        ErrorClass::Timeout,
        &[
            "i/o timeout",
            "deadline exceeded",
            "timeout exceeded",
            "timed out",
            "connection_timeout",
            "connection timeout",
            "client.timeout",
            "etimedout",
            "request timeout",
        ],
    ),
    (ErrorClass::Unauthorized, &["401", "unauthorized", "unauthenticated", "invalid_token"]),
    (ErrorClass::Forbidden, &["403", "forbidden", "permission denied", "permission_denied"]),
    (ErrorClass::RateLimited, &["429", "too many requests", "rate limit"]),
    // JSON-RPC: the path is right, the server does not know the method.
    (ErrorClass::Protocol, &["method not found"]),
    (ErrorClass::NotFound, &["404", "not found"]),
    (
        ErrorClass::ServerError,
        &[
            "status code 5",
            "status code: 5",
            "status 5",
            "500 internal",
            "502",
            "503",
            "504",
            "bad gateway",
            "service unavailable",
        ],
    ),
    (
        ErrorClass::ClientError,
        &["status code 4", "status code: 4", "status 4", "400 bad request", "405", "406", "415"],
    ),
    (ErrorClass::Tls, &["tls:", "tls handshake", "openssl", "handshake failure"]),
    (
        ErrorClass::Reset,
        &[
            "connection reset",
            "broken pipe",
            "unexpected eof",
            ": eof",
            "connection closed",
            "server closed",
            "goaway",
        ],
    ),
    (
        ErrorClass::Protocol,
        &[
            "unsupported protocol version",
            "protocol version",
            "invalid character",
            "failed to unmarshal",
            "parse error",
            "jsonrpc",
            "unexpected content type",
            "unsupported content type",
            "malformed http",
        ],
    ),
];

impl ErrorClass {
    /// Decides the class of an error's text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let lower = super::cut(text, 4096).to_ascii_lowercase();
        for (class, phrases) in PHRASES {
            if phrases.iter().any(|phrase| contains_word(&lower, phrase)) {
                return *class;
            }
        }
        Self::Other
    }

    /// The stable word used as a record's field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Certificate => "certificate",
            Self::HttpOnHttps => "http-on-https",
            Self::HttpsOnHttp => "https-on-http",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::RateLimited => "rate-limited",
            Self::ClientError => "client-error",
            Self::ServerError => "server-error",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Other => "other",
        }
    }

    /// The class of a record's field.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        PHRASES.iter().map(|(class, _)| *class).chain([Self::Other]).find(|class| class.as_str() == word)
    }

    /// What it means, in a few words after "because".
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Proxy => "the proxy for outgoing requests cannot be used",
            Self::Dns => "the host name does not resolve",
            Self::Refused => "the connection is refused",
            Self::Timeout => "there is no answer in time",
            Self::Unreachable => "there is no route to the host",
            Self::Certificate => "the certificate is not accepted",
            Self::HttpOnHttps => "the other side speaks plain HTTP on a port where TLS was expected",
            Self::HttpsOnHttp => "the other side expects TLS, and plain HTTP was sent",
            Self::Tls => "the TLS handshake fails",
            Self::Unauthorized => "the credential is missing or not accepted (401)",
            Self::Forbidden => "access is refused (403)",
            Self::NotFound => "the path does not exist (404)",
            Self::RateLimited => "there were too many requests (429)",
            Self::ClientError => "the request is refused (4xx)",
            Self::ServerError => "the other side fails (5xx)",
            Self::Reset => "the connection breaks off",
            Self::Protocol => "the other side does not speak the protocol that was expected",
            Self::Other => "of an error of another kind",
        }
    }
}

/// Whether the text contains the phrase; a number must not be part of a longer one.
fn contains_word(text: &str, phrase: &str) -> bool {
    if !phrase.bytes().all(|b| b.is_ascii_digit()) {
        return text.contains(phrase);
    }
    text.match_indices(phrase).any(|(at, _)| {
        let part =
            |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-'));
        let before = at.checked_sub(1).and_then(|i| text.as_bytes().get(i));
        let after = text.as_bytes().get(at + phrase.len());
        !part(before) && !after.is_some_and(u8::is_ascii_alphanumeric)
    })
}

/// A refusal of the API server, as RBAC words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Who was refused.
    pub user: String,
    /// What it wanted to do.
    pub verb: String,
    /// With what, `secrets` or `gateways.gateway.networking.k8s.io`.
    pub resource: String,
    /// In which namespace; cluster-wide without one.
    pub namespace: Option<String>,
}

impl Denial {
    /// Reads `User "…" cannot VERB resource "R" in API group "G" [in the namespace "N"]`, also
    /// with the quotes escaped as in JSON and slog text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        static DENIAL: LazyLock<Option<Regex>> = LazyLock::new(|| {
            Regex::new(
                r#"User \\?"([^"\\]+)\\?" cannot ([a-z]+) resource \\?"([^"\\]+)\\?" in API group \\?"([^"\\]*)\\?"(?: in the namespace \\?"([^"\\]+)\\?")?"#,
            )
            .ok()
        });
        if !text.contains(" cannot ") {
            return None;
        }
        let found = DENIAL.as_ref()?.captures(text)?;
        let group = &found[4];
        Some(Self {
            user: found[1].to_owned(),
            verb: found[2].to_owned(),
            resource: if group.is_empty() { found[3].to_owned() } else { format!("{}.{group}", &found[3]) },
            namespace: found.get(5).map(|ns| ns.as_str().to_owned()),
        })
    }
}
