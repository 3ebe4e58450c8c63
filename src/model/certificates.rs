//! Certificates: whether one is valid at a time, and which hosts it covers.
//!
//! The facts come from [`super::secret_shape`], read from the certificate itself or from what
//! redaction keeps of it.

use chrono::{DateTime, Utc};

use super::secret_shape::CertificateFacts;

/// Where a time stands in the validity of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Before its beginning.
    NotYet,
    /// Within it; this many days remain.
    Valid(i64),
    /// After its end.
    Expired,
    /// The certificate's times cannot be read.
    Unknown,
}

/// Judges a certificate at a time.
#[must_use]
pub fn validity(facts: &CertificateFacts, at: DateTime<Utc>) -> Validity {
    let time = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|t| t.to_utc());
    match (time(&facts.not_before), time(&facts.not_after)) {
        (Some(start), _) if at < start => Validity::NotYet,
        (_, Some(end)) if at > end => Validity::Expired,
        (_, Some(end)) => Validity::Valid((end - at).num_days()),
        _ => Validity::Unknown,
    }
}

/// How many days a certificate lives from its beginning to its end; as good as for ever where its times cannot be read.
#[must_use]
pub fn lifetime(facts: &CertificateFacts) -> i64 {
    let time = |text: &str| DateTime::parse_from_rfc3339(text).ok();
    let ends = time(&facts.not_before).zip(time(&facts.not_after));
    ends.map_or(i64::MAX, |(start, end)| (end - start).num_days())
}

/// Whether one of the certificate's names covers a host. A wildcard stands for exactly one label
/// (RFC 6125); a wildcard host is covered by the same wildcard only.
#[must_use]
pub fn covers(facts: &CertificateFacts, host: &str) -> bool {
    facts.names.iter().any(|name| {
        name.eq_ignore_ascii_case(host)
            || name.strip_prefix("*.").is_some_and(|domain| {
                host.split_once('.')
                    .is_some_and(|(label, rest)| label != "*" && rest.eq_ignore_ascii_case(domain))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_and_names() {
        let facts = CertificateFacts {
            names: vec!["*.mcp.example.com".to_owned(), "api.example.com".to_owned()],
            not_before: "2026-01-01T00:00:00Z".to_owned(),
            not_after: "2026-12-31T00:00:00Z".to_owned(),
            ..CertificateFacts::default()
        };
        let at = |text: &str| DateTime::parse_from_rfc3339(text).expect("a time").to_utc();
        assert_eq!(validity(&facts, at("2025-12-31T00:00:00Z")), Validity::NotYet);
        assert_eq!(validity(&facts, at("2026-12-01T00:00:00Z")), Validity::Valid(30));
        assert_eq!(validity(&facts, at("2027-01-01T00:00:00Z")), Validity::Expired);
        assert_eq!(validity(&CertificateFacts::default(), at("2027-01-01T00:00:00Z")), Validity::Unknown);
        for (host, expected) in [
            ("a.mcp.example.com", true),
            ("a.b.mcp.example.com", false),
            ("mcp.example.com", false),
            ("*.mcp.example.com", true),
            ("API.example.com", true),
            ("*.example.com", false),
            ("*.a.mcp.example.com", false),
        ] {
            assert_eq!(covers(&facts, host), expected, "{host}");
        }
    }
}
