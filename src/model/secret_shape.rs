//! What may be known of a value in a Secret: never the value, only its shape.
//!
//! A redacted bundle holds a Secret the way `oc adm inspect` writes it (`data.<key>` is the base64 of
//! `N bytes long`) plus the annotation [`ANNOTATION`], a JSON object from key to [`Shape`]. In a
//! bundle that was not redacted the same facts are computed from the values, so that a rule finds
//! the same in both: [`shapes`] does not tell its caller which it was.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::claims::Claims;

/// The annotation of a redacted Secret.
pub const ANNOTATION: &str = "mcpgw.kuadrant.io/shape";

/// The shape of one value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shape {
    /// Its length in bytes.
    pub len: usize,
    /// Equal values of one bundle have equal tokens. Absent when only the length is known.
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The token of the value without its scheme word and the white space around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bare: Option<String>,
    /// Whether all of it is printable text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub printable: Option<bool>,
    /// Whether it begins or ends with white space.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub white_space: bool,
    /// Whether it ends with a line break.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub trailing_newline: bool,
    /// The scheme word in front, as it is written: `Bearer`, `token`, `Basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The claim digest, when it is (or ends with) a JSON web token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<String>,
    /// Whether it is base64 of printable text once more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub base64: bool,
    /// The labels of the PEM blocks in it: `CERTIFICATE`, `EC PRIVATE KEY`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pem: Vec<String>,
    /// Its certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateFacts>,
    /// The fingerprints of its public keys, and of the public halves of its private keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<String>,
    /// What a connection string says apart from its credentials: `redis://host:6379/0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether it is hexadecimal digits alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hex: bool,
}

impl Shape {
    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The claims, when the value is a JSON web token.
    #[must_use]
    pub fn claims(&self) -> Option<Claims> {
        Claims::of_digest(&format!("<redacted:jwt {}>", self.jwt.as_deref()?))
    }

    /// Whether two values are equal; `None` when it cannot be known.
    #[must_use]
    pub fn same_value(&self, other: &Self) -> Option<bool> {
        if self.len != other.len {
            return Some(false);
        }
        Some(self.token.as_ref()? == other.token.as_ref()?)
    }

    /// Computes the shape of a value. `token` gives the equality token of bytes; without a run's key
    /// it may be any hash that stays in memory, see [`shapes`].
    pub fn of(value: &[u8], token: &dyn Fn(&[u8]) -> String) -> Self {
        let trimmed = value.trim_ascii();
        let text = std::str::from_utf8(value).ok();
        let scheme = scheme(trimmed);
        let bare = scheme.map_or(trimmed, |scheme| trimmed[scheme.len()..].trim_ascii());
        let pem = pem_labels(value);
        let is_pem = !pem.is_empty();
        let printable =
            text.is_some_and(|t| t.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r')));
        Self {
            len: value.len(),
            token: Some(token(value)),
            bare: (bare.len() != value.len()).then(|| token(bare)),
            printable: Some(printable),
            white_space: trimmed.len() != value.len() && !is_pem,
            trailing_newline: value.ends_with(b"\n") && !is_pem,
            scheme: scheme.map(|s| String::from_utf8_lossy(s).into_owned()),
            jwt: bare.starts_with(b"ey").then(|| Claims::of_token(bare)).flatten().map(|c| c.digest()),
            base64: !is_pem && is_base64_of_text(bare),
            certificates: if is_pem { certificates(value) } else { Vec::new() },
            public_keys: if is_pem { super::public_key::fingerprints(value) } else { Vec::new() },
            pem,
            url: text.and_then(|t| bare_url(t.trim())),
            hex: bare.len() >= 16 && bare.iter().all(u8::is_ascii_hexdigit),
        }
    }

    /// Reads what `oc adm inspect` leaves of a value: `N bytes long`.
    fn of_length(text: &[u8]) -> Option<Self> {
        let len = std::str::from_utf8(text).ok()?.strip_suffix(" bytes long")?.parse().ok()?;
        Some(Self { len, ..Self::default() })
    }
}

/// What is known of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateFacts {
    /// The subject, RFC 4514.
    pub subject: String,
    /// The issuer, RFC 4514.
    pub issuer: String,
    /// The names and addresses that it is valid for.
    pub names: Vec<String>,
    /// From when on it is valid, RFC 3339.
    pub not_before: String,
    /// Until when, RFC 3339.
    pub not_after: String,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// The serial number, hexadecimal.
    pub serial: String,
}

/// The shapes of all values of a Secret, by key, whichever form the bundle has it in.
#[must_use]
pub fn shapes(secret: &Value) -> BTreeMap<String, Shape> {
    let annotated: BTreeMap<String, Shape> = secret
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(ANNOTATION))
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    // The tokens of an original stay in memory; a plain hash is enough there.
    let token =
        |value: &[u8]| Sha256::digest(value)[..8].iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut shapes = BTreeMap::new();
    for (key, value) in values(secret) {
        let shape = annotated
            .get(&key)
            .cloned()
            .or_else(|| Shape::of_length(&value))
            .unwrap_or_else(|| Shape::of(&value, &token));
        shapes.insert(key, shape);
    }
    shapes
}

/// The decoded values of a Secret by key; `stringData` wins, as it does in the API server.
pub(crate) fn values(secret: &Value) -> BTreeMap<String, Vec<u8>> {
    let mut values = BTreeMap::new();
    if let Some(data) = secret.get("data").and_then(Value::as_object) {
        for (key, value) in data {
            let text = value.as_str().unwrap_or_default();
            let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let bytes = BASE64_STANDARD.decode(&compact).unwrap_or_else(|_| text.as_bytes().to_vec());
            values.insert(key.clone(), bytes);
        }
    }
    if let Some(data) = secret.get("stringData").and_then(Value::as_object) {
        for (key, value) in data {
            values.insert(key.clone(), value.as_str().unwrap_or_default().as_bytes().to_vec());
        }
    }
    values
}

/// The scheme word in front of credentials.
fn scheme(value: &[u8]) -> Option<&[u8]> {
    let space = value.iter().position(|b| *b == b' ')?;
    let word = &value[..space];
    ["bearer", "token", "basic", "apikey", "digest", "negotiate", "bot"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
        .then_some(word)
}

fn is_base64_of_text(value: &[u8]) -> bool {
    value.len() >= 8
        && value.len().is_multiple_of(4)
        && BASE64_STANDARD.decode(value).is_ok_and(|decoded| {
            decoded.len() >= 6
                && decoded.iter().all(|b| (32..127).contains(b) || matches!(b, b'\n' | b'\r' | b'\t'))
        })
}

fn pem_labels(value: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(value) else { return Vec::new() };
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .filter(|label| {
            label.len() < 40
                && label.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ')
        })
        .map(str::to_owned)
        .take(100)
        .collect()
}

/// The URL in a value without its credentials and its query; `None` when it is no URL.
fn bare_url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme.is_empty()
        || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        || rest.contains(char::is_whitespace)
    {
        return None;
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    // The last `@` ends the credentials, also where a password holds marks that nobody encoded.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    Some(format!("{scheme}://{rest}"))
}

/// The facts of a certificate in DER; `None` when it is none.
#[must_use]
pub fn certificate(der: &[u8]) -> Option<CertificateFacts> {
    use x509_cert::der::Decode as _;
    x509_cert::Certificate::from_der(der).ok().map(|certificate| certificate_facts(&certificate))
}

/// The facts of the certificates in PEM text; what cannot be read is left out.
#[must_use]
pub fn certificates(pem: &[u8]) -> Vec<CertificateFacts> {
    let Ok(text) = std::str::from_utf8(pem) else { return Vec::new() };
    let mut facts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("-----BEGIN CERTIFICATE-----") {
        let body = &rest[at + 27..];
        let Some(end) = body.find("-----END CERTIFICATE-----") else { break };
        let compact: String = body[..end].chars().filter(|c| !c.is_whitespace()).collect();
        if let Ok(der) = BASE64_STANDARD.decode(compact) {
            facts.extend(certificate(&der));
        }
        rest = &body[end..];
    }
    facts
}

fn certificate_facts(certificate: &x509_cert::Certificate) -> CertificateFacts {
    use x509_cert::ext::pkix::name::GeneralName;
    use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
    let body = certificate.tbs_certificate();
    let time = |time: x509_cert::time::Time| {
        chrono::DateTime::from_timestamp(
            i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX),
            0,
        )
        .map(|t| t.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        .unwrap_or_default()
    };
    let names = match body.get_extension::<SubjectAltName>() {
        Ok(Some((_, names))) => names
            .0
            .iter()
            .filter_map(|name| match name {
                GeneralName::DnsName(name) => Some(name.to_string()),
                GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
                GeneralName::IpAddress(bytes) => match bytes.as_bytes() {
                    [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
                    other => {
                        <[u8; 16]>::try_from(other).ok().map(|b| std::net::Ipv6Addr::from(b).to_string())
                    }
                },
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    let is_ca =
        matches!(body.get_extension::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca);
    CertificateFacts {
        subject: body.subject().to_string(),
        issuer: body.issuer().to_string(),
        names,
        not_before: time(body.validity().not_before),
        not_after: time(body.validity().not_after),
        is_ca,
        serial: body.serial_number().as_bytes().iter().map(|b| format!("{b:02x}")).collect(),
    }
}
