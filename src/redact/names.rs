//! Which names announce a secret: one place for map keys, header names, environment variables,
//! flags, query parameters and the words before a `:` or `=` in a log line.

use super::placeholder::Kind;

/// Where a name stands, because some names only mean a secret in some places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A key of a map, or a word before `:` or `=` in a text.
    Field,
    /// An environment variable or a flag; `*_KEY` is a secret here.
    Env,
}

/// What a name announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// A secret of this kind.
    Secret(Kind),
    /// A header: its value goes to the end of the line and may begin with a scheme word.
    Header(Kind),
    /// A URL whose user part is the secret; the rest may stay.
    Connection,
}

/// Headers whose value nobody else may see, lower case, `-` for `_`.
const HEADERS: &[(&str, Kind)] = &[
    ("authorization", Kind::Authorization),
    ("proxy-authorization", Kind::Authorization),
    ("x-forwarded-authorization", Kind::Authorization),
    ("x-original-authorization", Kind::Authorization),
    ("cookie", Kind::Cookie),
    ("set-cookie", Kind::Cookie),
    ("x-api-key", Kind::Key),
    ("api-key", Kind::Key),
    ("x-goog-api-key", Kind::Key),
    ("x-auth-token", Kind::Token),
    ("x-access-token", Kind::Token),
    ("x-vault-token", Kind::Token),
    ("x-gitlab-token", Kind::Token),
    ("x-forwarded-access-token", Kind::Token),
    ("x-forwarded-id-token", Kind::Token),
    ("x-amz-security-token", Kind::Token),
    ("x-mcp-authorized", Kind::Token),
    ("router-key", Kind::Key),
    ("mcp-session-id", Kind::Session),
    ("x-mcp-verified-sub", Kind::User),
    ("x-forwarded-user", Kind::User),
    ("x-forwarded-email", Kind::User),
    ("x-forwarded-preferred-username", Kind::User),
    ("x-auth-request-user", Kind::User),
    ("x-auth-request-email", Kind::User),
    ("x-csrf-token", Kind::Token),
    ("x-functions-key", Kind::Key),
];

/// Words that, at the end of a name, say that the value is not the secret itself.
const HARMLESS_ENDS: &[&str] = &[
    "name",
    "names",
    "ref",
    "refs",
    "reference",
    "url",
    "uri",
    "urls",
    "endpoint",
    "endpoints",
    "path",
    "paths",
    "file",
    "files",
    "dir",
    "type",
    "types",
    "kind",
    "count",
    "counts",
    "length",
    "len",
    "size",
    "expiry",
    "expires",
    "expired",
    "expiration",
    "ttl",
    "timeout",
    "seconds",
    "minutes",
    "issuer",
    "audience",
    "audiences",
    "version",
    "status",
    "state",
    "mount",
    "namespace",
    "policy",
    "mode",
    "enabled",
    "disabled",
    "required",
    "method",
    "methods",
    "format",
    "prefix",
    "header",
    "headers",
    "selector",
    "algorithm",
    "alg",
    "rotation",
    "provider",
    "class",
    "template",
    "sources",
    "source",
    "review",
    "request",
    "response",
    "limit",
    "limits",
    "budget",
    "bucket",
    "duration",
    "lifetime",
    "usage",
    "per",
    "max",
    "min",
    "total",
    "key-name",
    "invalid",
    "valid",
    "present",
    "missing",
    "ok",
    "error",
    "errors",
    "elicitation",
    "exchange",
    "generator",
    "controller",
    "manager",
    "validation",
    "store",
    "volume",
    "id-claim",
    "claim",
    "claims",
    "scheme",
    "schemes",
    "location",
    "age",
    "period",
    "interval",
    "at",
];

/// Words before `key` that make it a secret key.
const KEY_WORDS: &[&str] = &[
    "api",
    "access",
    "private",
    "secret",
    "signing",
    "signature",
    "encryption",
    "router",
    "account",
    "shared",
    "master",
    "auth",
    "ssh",
    "session",
    "storage",
    "subscription",
    "license",
    "hmac",
    "encrypt",
    "crypt",
    "app",
    "admin",
    "service",
    "webhook",
    "consumer",
    "client",
];

/// Splits a name into lower-case words at `_ - . /` and at changes of case.
fn words(name: &[u8]) -> ([u8; 128], usize) {
    let mut out = [0u8; 128];
    let mut len = 0;
    let mut previous = b'-';
    for (index, &byte) in name.iter().enumerate() {
        if len + 2 > out.len() {
            break;
        }
        let separator = matches!(byte, b'_' | b'-' | b'.' | b'/' | b' ' | b':' | b'[' | b']' | b'\'');
        let next_lower = name.get(index + 1).is_some_and(u8::is_ascii_lowercase);
        let border = byte.is_ascii_uppercase()
            && (previous.is_ascii_lowercase()
                || previous.is_ascii_digit()
                || (previous.is_ascii_uppercase() && next_lower));
        if separator {
            if len > 0 && out[len - 1] != b'-' {
                out[len] = b'-';
                len += 1;
            }
        } else {
            if border && len > 0 && out[len - 1] != b'-' {
                out[len] = b'-';
                len += 1;
            }
            out[len] = byte.to_ascii_lowercase();
            len += 1;
        }
        previous = byte;
    }
    while len > 0 && out[len - 1] == b'-' {
        len -= 1;
    }
    (out, len)
}

/// What a name announces; `None` when its value may be read by anyone.
pub(crate) fn classify(name: &[u8], place: Place) -> Option<Class> {
    if name.len() < 3 || name.len() > 120 {
        return None;
    }
    let (buffer, len) = words(name);
    let Ok(words) = std::str::from_utf8(&buffer[..len]) else { return None };
    // `request.headers.authorization`, `headers[x-api-key]`: the header is the end of the name.
    let in_headers = words.contains("header");
    for (header, kind) in HEADERS {
        if words == *header
            || (in_headers && words.strip_suffix(header).is_some_and(|before| before.ends_with('-')))
        {
            return Some(Class::Header(*kind));
        }
    }
    let last = words.rsplit('-').next().unwrap_or_default();
    let before = words.strip_suffix(last).unwrap_or_default().trim_end_matches('-');
    let previous = before.rsplit('-').next().unwrap_or_default();
    if words.ends_with("key-data") || words == "private-key-id" {
        return Some(Class::Secret(Kind::Key));
    }
    // `password.txt` is a file that holds one.
    if matches!(last, "txt" | "value" | "val") && !before.is_empty() {
        return classify(before.as_bytes(), place);
    }
    if words.ends_with("otlp-headers") {
        return Some(Class::Secret(Kind::Env));
    }
    if HARMLESS_ENDS.contains(&last) {
        return None;
    }
    if last == "string" && previous == "connection" || matches!(last, "dsn" | "connectionstring") {
        return Some(Class::Connection);
    }
    if matches!(last, "password" | "passwd" | "passphrase" | "passcode" | "pwd")
        || last.ends_with("password")
        || last.ends_with("passwd")
        || last.ends_with("passphrase")
        || (place == Place::Env && matches!(last, "pass" | "pw"))
    {
        return Some(Class::Secret(Kind::Password));
    }
    // A number behind the word: `PASSWORD_2`, `token1`.
    if last.bytes().all(|b| b.is_ascii_digit()) && !before.is_empty() && before != words {
        return classify(before.as_bytes(), place);
    }
    if matches!(last, "public") || previous == "public" || words.contains("public-key") {
        return None;
    }
    if matches!(last, "token" | "jwt" | "bearer" | "otp")
        || (last.ends_with("token") && !last.ends_with("ptoken"))
    {
        return Some(Class::Secret(Kind::Token));
    }
    if matches!(last, "secret" | "psk" | "credential" | "credentials" | "creds")
        || (last.ends_with("secret") && last.len() > 6)
    {
        return Some(Class::Secret(Kind::Secret));
    }
    if matches!(
        last,
        "apikey"
            | "accesskey"
            | "secretkey"
            | "privatekey"
            | "signingkey"
            | "authkey"
            | "accountkey"
            | "sharedkey"
    ) || (last == "key" && KEY_WORDS.contains(&previous))
        || (place == Place::Env
            && last == "key"
            && !before.is_empty()
            && previous != "partition"
            && previous != "sort")
    {
        return Some(Class::Secret(Kind::Key));
    }
    if last == "id" && (previous == "session" || previous == "sid") && !before.ends_with("trace-session") {
        return Some(Class::Secret(Kind::Session));
    }
    if matches!(last, "sessionid" | "sid") || words == "jsessionid" || words == "phpsessid" {
        return Some(Class::Secret(Kind::Session));
    }
    if matches!(last, "cookie" | "cookies") {
        return Some(Class::Header(Kind::Cookie));
    }
    if last == "authorization" && previous == "proxy" {
        return Some(Class::Header(Kind::Authorization));
    }
    if words == "preferred-username" || words == "sub" || words == "upn" {
        return Some(Class::Secret(Kind::User));
    }
    if words == "arguments" {
        return Some(Class::Secret(Kind::Body));
    }
    if words == "dockerconfigjson" || words == "dockercfg" {
        return Some(Class::Secret(Kind::Env));
    }
    None
}

/// Names that were met last, with what they announce: in most texts the same few come over and over.
#[derive(Debug, Default)]
pub(super) struct Met {
    names: [Known; SLOTS],
}

/// So many names are kept.
const SLOTS: usize = 32;

/// What a name announces in a place, once there is one.
#[derive(Debug, Default)]
struct Known {
    name: Vec<u8>,
    place: Option<Place>,
    class: Option<Class>,
}

impl Met {
    /// What [`classify`] says.
    pub(super) fn classify(&mut self, name: &[u8], place: Place) -> Option<Class> {
        let [first, .., last] = name else { return classify(name, place) };
        let slot = name.len() ^ usize::from(*first) << 1 ^ usize::from(*last) << 2;
        let known = &mut self.names[slot % SLOTS];
        if known.place != Some(place) || known.name != name {
            known.name.clear();
            known.name.extend_from_slice(name);
            known.place = Some(place);
            known.class = classify(name, place);
        }
        known.class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_announce_a_secret() {
        for name in [
            "password",
            "DB_PASSWORD",
            "dbPassword",
            "pgpassword",
            "rootPasswd",
            "PASSWORD_2",
            "token",
            "access_token",
            "accessToken",
            "id-token",
            "GITHUB_TOKEN",
            "clientSecret",
            "client_secret",
            "secret",
            "aws_secret_access_key",
            "apiKey",
            "api_key",
            "API-KEY",
            "x-api-key",
            "Authorization",
            "Proxy-Authorization",
            "Set-Cookie",
            "mcp-session-id",
            "mcp_session_id",
            "sessionId",
            "mcp-router-key",
            "router-key",
            "GATEWAY_SIGNING_KEY",
            "JWT_SESSION_SIGNING_KEY",
            "request.headers.authorization",
            "CACHE_CONNECTION_STRING",
            "cache-connection-string",
            "credential",
            "privateKey",
            "sub",
            "preferred_username",
        ] {
            assert!(classify(name.as_bytes(), Place::Field).is_some(), "{name}");
        }
        for name in ["TLS_KEY", "MY_KEY", "SMTP_PASS"] {
            assert!(classify(name.as_bytes(), Place::Env).is_some(), "{name}");
        }
    }

    #[test]
    fn names_that_do_not() {
        for name in [
            "secretName",
            "secretKeyRef",
            "tokenURL",
            "token_url",
            "maxTokens",
            "tokens",
            "token_count",
            "tokenExpirationSeconds",
            "automountServiceAccountTokenPath",
            "key",
            "name",
            "publicKey",
            "TRUSTED_HEADER_PUBLIC_KEY",
            "authorization-policy",
            "credentialRef",
            "passwordPolicy",
            "secrets",
            "SecretNotFound",
            "imagePullSecrets",
            "tokenReview",
            "cookieName",
            "subject",
            "prefix",
            "topic",
            "resource_name",
            "monkey",
            "keyName",
            "issuer",
            "www-authenticate",
            "deprecated",
        ] {
            assert_eq!(classify(name.as_bytes(), Place::Field), None, "{name}");
        }
        assert_eq!(classify(b"PUBLIC_KEY", Place::Env), None);
        assert_eq!(classify(b"OAUTH_SCOPES_SUPPORTED", Place::Env), None);
    }
}
