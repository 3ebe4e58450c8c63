//! Why a request was not answered: refusals as values, with a stable word and one line.

use http::StatusCode;

/// Why a request was not answered with what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status, if there was an answer.
    pub(crate) code: Option<u16>,
    /// A stable word: the `reason` of the server's Status, or our own (`Timeout`, `TlsError`, …).
    pub(crate) reason: String,
    /// The message of the server or of the client, one line.
    pub(crate) message: String,
}

impl Refusal {
    /// A refusal without an answer of the server.
    pub(crate) fn local(reason: &str, message: impl Into<String>) -> Self {
        Self { code: None, reason: reason.to_owned(), message: message.into() }
    }

    /// Whether the user may not do this.
    #[must_use]
    pub(crate) fn is_forbidden(&self) -> bool {
        self.code == Some(403)
    }

    /// Whether it does not exist.
    #[must_use]
    pub(crate) fn is_not_found(&self) -> bool {
        self.code == Some(404)
    }

    /// Whether the collection as a whole was ended.
    #[must_use]
    pub(crate) fn is_cut(&self) -> bool {
        self.reason == CUT
    }

    /// `403 Forbidden: …` in one line.
    #[must_use]
    pub(crate) fn line(&self) -> String {
        match self.code {
            Some(code) => format!("{code} {}: {}", self.reason, self.message),
            None => format!("{}: {}", self.reason, self.message),
        }
    }
}

/// The reason of a request that was not made, or not ended, because the collection was cut short.
pub(crate) const CUT: &str = "CutShort";

/// The reason of an answer that is larger than anything a cluster would say.
pub(crate) const TOO_LARGE: &str = "TooLarge";

/// The reason of a request that was not sent because the kubeconfig's user has no credentials any more.
pub(crate) const CREDENTIALS: &str = "Credentials";

/// The reason of a server, or of what stands before it, that does not take our client certificate.
pub(crate) const CERTIFICATE: &str = "ClientCertificate";

/// Whether a peer ended the handshake because of our certificate: without one of ours, these alerts make
/// no sense.
fn is_about_us(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

/// Reads the server's Status object, or whatever a proxy on the way said instead.
pub(crate) fn status_refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let field = |key: &str| {
        let text = parsed.as_ref()?.get(key)?.as_str()?.trim();
        (!text.is_empty()).then(|| one_line(text, 500))
    };
    let is_status = parsed.as_ref().is_some_and(|value| value["kind"] == "Status");
    let canonical = status.canonical_reason().unwrap_or("Error").replace(' ', "");
    let (reason, message) = if is_status {
        (field("reason"), field("message"))
    } else {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let shown = if text.starts_with('<') { String::new() } else { one_line(text, 200) };
        (None, Some(shown).filter(|text| !text.is_empty()))
    };
    Refusal {
        code: Some(status.as_u16()),
        reason: reason.unwrap_or(canonical),
        message: message.unwrap_or_else(|| "the server gave no reason".to_owned()),
    }
}

/// Foreign text as one bounded line.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > limit {
        let cut = (0..=limit).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// Gives an error of the client a stable word and one line.
pub(crate) fn classify(error: &(dyn std::error::Error + 'static)) -> Refusal {
    let mut chain: Vec<&(dyn std::error::Error + 'static)> = vec![error];
    while chain.len() < 16 {
        let last = chain[chain.len() - 1];
        // The source of an I/O error is the source of what it wraps; the wrapped error itself would
        // be skipped.
        let wrapped = last.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match wrapped.map(|inner| -> &(dyn std::error::Error + 'static) { inner }).or_else(|| last.source()) {
            Some(next) => chain.push(next),
            None => break,
        }
    }
    // While requests are made it stands in the chain as it is; while the client is built, wrapped.
    let auth = chain.iter().find_map(|error| {
        error.downcast_ref::<kube::client::AuthError>().or_else(|| {
            match error.downcast_ref::<kube::Error>() {
                Some(kube::Error::Auth(auth)) => Some(auth),
                _ => None,
            }
        })
    });
    if let Some(auth) = auth {
        // Whatever a plugin printed may be the very credential.
        let message = match auth {
            kube::client::AuthError::AuthExecRun { out, .. } => {
                format!("the plugin failed with {}", out.status)
            }
            kube::client::AuthError::AuthExecParse(_) => "the plugin printed no ExecCredential".to_owned(),
            other => one_line(&other.to_string(), 300),
        };
        return Refusal::local(CREDENTIALS, message);
    }
    for cause in &chain {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            if let rustls::Error::AlertReceived(alert) = tls
                && is_about_us(*alert)
            {
                return Refusal::local(CERTIFICATE, one_line(&tls.to_string(), 300));
            }
            return Refusal::local("TlsError", one_line(&tls.to_string(), 300));
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind;
            let reason = match io.kind() {
                ErrorKind::ConnectionRefused => "ConnectionRefused",
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "ConnectionReset",
                ErrorKind::ConnectionAborted | ErrorKind::UnexpectedEof => "ConnectionClosed",
                ErrorKind::TimedOut => "Timeout",
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "Unreachable",
                _ if io.to_string().contains("lookup address") => "UnknownHost",
                _ => continue,
            };
            return Refusal::local(reason, one_line(&io.to_string(), 300));
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled())
        {
            return Refusal::local("ConnectionClosed", one_line(&hyper.to_string(), 300));
        }
    }
    let last = chain[chain.len() - 1].to_string();
    Refusal::local("NetworkError", one_line(&last, 300))
}

/// One part of a URL path.
pub(crate) fn segment(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEEP: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
    // A name that is nothing but dots would climb in the path.
    if text.chars().all(|c| c == '.') {
        return text.replace('.', "%2E");
    }
    utf8_percent_encode(text, KEEP).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_object_speaks_for_itself() {
        let body = br#"{"kind":"Status","reason":"Forbidden","message":"pods is\nforbidden","code":403}"#;
        let refusal = status_refusal(StatusCode::FORBIDDEN, body);
        assert_eq!(refusal.line(), "403 Forbidden: pods is forbidden");
        let html = status_refusal(StatusCode::BAD_GATEWAY, b"<html><h1>Bad</h1></html>");
        assert_eq!(html.line(), "502 BadGateway: the server gave no reason");
        let text = status_refusal(StatusCode::NOT_FOUND, b"404 page not found\n");
        assert_eq!(text.line(), "404 NotFound: 404 page not found");
    }

    #[test]
    fn a_refused_certificate_of_ours_is_no_trouble_with_theirs() {
        use rustls::{AlertDescription, CertificateError, Error};
        for (error, reason) in [
            (Error::AlertReceived(AlertDescription::CertificateExpired), CERTIFICATE),
            (Error::AlertReceived(AlertDescription::UnknownCA), CERTIFICATE),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), "TlsError"),
            (Error::InvalidCertificate(CertificateError::Expired), "TlsError"),
        ] {
            let wrapped = std::io::Error::new(std::io::ErrorKind::InvalidData, error.clone());
            assert_eq!(classify(&wrapped).reason, reason, "{error}");
        }
    }

    #[test]
    fn names_cannot_leave_their_part_of_the_path() {
        assert_eq!(segment("a/../b?x"), "a%2F..%2Fb%3Fx");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("mcp-gateway.v1"), "mcp-gateway.v1");
    }
}
