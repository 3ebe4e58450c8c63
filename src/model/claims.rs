//! What may be known of a JSON web token: the algorithm, who issued it for whom, when it is valid,
//! and the names of its claims; never who it is about, and never its signature.
//!
//! The same facts are read from a token (in a bundle that was not redacted) and from the claim
//! digest that redaction leaves in its place, `<redacted:jwt len=… h=… alg=RS256 iss=… …>`, so
//! that a rule finds the same in both.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

/// The longest text that a digest keeps of one claim, in bytes.
const MAX_CLAIM: usize = 200;
/// The most names that a digest keeps.
const MAX_NAMES: usize = 40;

/// The facts of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The algorithm of the signature.
    pub alg: Option<String>,
    /// The type in the header.
    pub typ: Option<String>,
    /// The issuer.
    pub iss: Option<String>,
    /// The audiences.
    pub aud: Vec<String>,
    /// The authorized party.
    pub azp: Option<String>,
    /// The scopes, separated by spaces.
    pub scope: Option<String>,
    /// When it expires, in seconds since 1970.
    pub exp: Option<i64>,
    /// When it was issued.
    pub iat: Option<i64>,
    /// From when on it is valid.
    pub nbf: Option<i64>,
    /// The names of all claims, sorted.
    pub names: Vec<String>,
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// Decodes a part of a token; a part that was cut off gives what is whole.
pub(crate) fn decode_part(part: &[u8]) -> Option<Vec<u8>> {
    let whole = if part.len() % 4 == 1 { &part[..part.len() - 1] } else { part };
    URL.decode(whole).or_else(|_| STANDARD.decode(whole)).ok()
}

impl Claims {
    /// Reads a token (three parts, base64url).
    #[must_use]
    pub fn of_token(token: &[u8]) -> Option<Self> {
        let mut parts = token.split(|b| *b == b'.');
        let header: Value = serde_json::from_slice(&decode_part(parts.next()?)?).ok()?;
        let mut claims = Self { alg: text(&header, "alg"), typ: text(&header, "typ"), ..Self::default() };
        // An encrypted token has no readable claims; its header still says what it is.
        let payload =
            parts.next().and_then(decode_part).and_then(|p| serde_json::from_slice::<Value>(&p).ok());
        let Some(Value::Object(payload)) = payload else { return Some(claims) };
        claims.names = payload.keys().map(|name| name.chars().take(64).collect()).take(MAX_NAMES).collect();
        claims.names.sort();
        let payload = Value::Object(payload);
        claims.iss = text(&payload, "iss");
        claims.azp = text(&payload, "azp");
        claims.scope = text(&payload, "scope");
        claims.aud = match payload.get("aud") {
            Some(Value::String(one)) => vec![cut(one)],
            Some(Value::Array(many)) => {
                many.iter().filter_map(Value::as_str).map(cut).take(MAX_NAMES).collect()
            }
            _ => Vec::new(),
        };
        let time =
            |name: &str| payload.get(name).and_then(|v| v.as_i64().or_else(|| v.as_f64().map(|f| f as i64)));
        claims.exp = time("exp");
        claims.iat = time("iat");
        claims.nbf = time("nbf");
        Some(claims)
    }

    /// The digest as it stands in a placeholder, `alg=RS256 iss=… claims=a|b`.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut out = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|v| !v.is_empty()) {
                out.push(format!("{name}={value}"));
            }
        };
        add("alg", self.alg.as_deref().map(escape));
        add("typ", self.typ.as_deref().map(escape));
        add("iss", self.iss.as_deref().map(escape));
        add("aud", list(&self.aud));
        add("azp", self.azp.as_deref().map(escape));
        add(
            "scope",
            self.scope.as_deref().map(|s| s.split_whitespace().map(escape).collect::<Vec<_>>().join("|")),
        );
        add("exp", self.exp.map(|t| t.to_string()));
        add("iat", self.iat.map(|t| t.to_string()));
        add("nbf", self.nbf.map(|t| t.to_string()));
        add("claims", list(&self.names));
        out.join(" ")
    }

    /// Reads a placeholder with a digest back; `None` when this is not one.
    #[must_use]
    pub fn of_digest(placeholder: &str) -> Option<Self> {
        let inner = placeholder.strip_prefix("<redacted:jwt ")?.split('>').next()?;
        let mut claims = Self::default();
        for word in inner.split(' ') {
            let Some((name, value)) = word.split_once('=') else { continue };
            let one = || Some(unescape(value));
            let many = || value.split('|').map(unescape).collect::<Vec<_>>();
            match name {
                "alg" => claims.alg = one(),
                "typ" => claims.typ = one(),
                "iss" => claims.iss = one(),
                "aud" => claims.aud = many(),
                "azp" => claims.azp = one(),
                "scope" => claims.scope = Some(many().join(" ")),
                "exp" => claims.exp = value.parse().ok(),
                "iat" => claims.iat = value.parse().ok(),
                "nbf" => claims.nbf = value.parse().ok(),
                "claims" => claims.names = many(),
                _ => {}
            }
        }
        Some(claims)
    }

    /// Finds the first token or digest in a text.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        if let Some(at) = text.find("<redacted:jwt ") {
            return Self::of_digest(&text[at..]);
        }
        let at = text.find("eyJ")?;
        let token = &text[at..];
        let end = token
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '=')))
            .unwrap_or(token.len());
        let token = &token[..end];
        (token.matches('.').count() >= 1).then(|| Self::of_token(token.as_bytes())).flatten()
    }
}

fn cut(value: &str) -> String {
    let mut end = value.len().min(MAX_CLAIM);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value[..end].to_owned()
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(cut)
}

fn list(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| values.iter().map(|v| escape(v)).collect::<Vec<_>>().join("|"))
}

/// Percent-encodes what could end a digest or break JSON, YAML or a log line around it.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/' | b':' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescape(value: &str) -> String {
    percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    fn token(header: &str, payload: &str) -> String {
        format!(
            "{}.{}.c2lnbmF0dXJl",
            BASE64_URL_SAFE_NO_PAD.encode(header),
            BASE64_URL_SAFE_NO_PAD.encode(payload)
        )
    }

    #[test]
    fn a_digest_says_what_the_token_says() {
        let token = token(
            r#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#,
            r#"{"iss":"https://sso.example.com/realms/mcp","aud":["mcp","account"],"azp":"cli","scope":"openid profile","sub":"hunter2","email":"eve@example.com","jti":"j","exp":1763800000,"iat":1763799000}"#,
        );
        let claims = Claims::of_token(token.as_bytes()).expect("a token");
        assert_eq!(claims.iss.as_deref(), Some("https://sso.example.com/realms/mcp"));
        assert_eq!(claims.names, ["aud", "azp", "email", "exp", "iat", "iss", "jti", "scope", "sub"]);
        let digest = claims.digest();
        for secret in ["hunter2", "eve@", "c2lnbmF0dXJl", "k1"] {
            assert!(!digest.contains(secret), "{digest}");
        }
        assert_eq!(
            Claims::find(&format!("x <redacted:jwt len=9 h=00000000 {digest}> y")),
            Some(claims.clone())
        );
        assert_eq!(Claims::find(&format!("Authorization: Bearer {token}")), Some(claims));
    }
}
