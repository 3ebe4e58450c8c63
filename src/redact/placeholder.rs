//! What stands where a secret stood: `<redacted:TYPE len=N h=XXXXXXXX>`.
//!
//! `len` is the number of bytes of the value, `h` the first four bytes of an HMAC-SHA-256 of it under
//! a key that is drawn anew for every run and never stored: equal secrets have equal placeholders
//! within a bundle, and nobody can try out guesses afterwards. Where `<`, `>` and spaces would
//! break the surroundings (the user part of a URL, a path), the same facts are written as
//! `redacted.TYPE.len-N.h-XXXXXXXX`.
//!
//! A placeholder that is met again is left alone, so redacting twice changes nothing. Only the
//! exact syntax with a type of [`Kind`] is accepted, so that a look-alike cannot carry a secret.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What a redacted value was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A value of a Secret object.
    Secret,
    /// A value that was read from a Secret, met elsewhere.
    Learned,
    /// A password or passphrase.
    Password,
    /// A token of any provider, or the value of something named a token.
    Token,
    /// An API key, signing key, access key.
    Key,
    /// A private key.
    PrivateKey,
    /// A JSON web token; its placeholder goes on with the claim digest.
    Jwt,
    /// The credentials of an authorization header.
    Authorization,
    /// A cookie.
    Cookie,
    /// A session identifier.
    Session,
    /// A name or number of a person.
    User,
    /// An e-mail address.
    Email,
    /// The user part of a URL.
    Userinfo,
    /// A query of a URL, or a value in it.
    Query,
    /// The body of an answer or request.
    Body,
    /// A dump that a debug level log line writes.
    Dump,
    /// Base64 that something secret was found in.
    Base64,
    /// A value of a sensitive environment variable or argument.
    Env,
    /// Program text that may hold secrets (rego, Lua).
    Code,
    /// Matched by a rule of the user.
    Custom,
}

impl Kind {
    /// Every kind, for the recogniser.
    const ALL: [Self; 20] = [
        Self::Secret,
        Self::Learned,
        Self::Password,
        Self::Token,
        Self::Key,
        Self::PrivateKey,
        Self::Jwt,
        Self::Authorization,
        Self::Cookie,
        Self::Session,
        Self::User,
        Self::Email,
        Self::Userinfo,
        Self::Query,
        Self::Body,
        Self::Dump,
        Self::Base64,
        Self::Env,
        Self::Code,
        Self::Custom,
    ];

    /// The word in the placeholder.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Learned => "learned",
            Self::Password => "password",
            Self::Token => "token",
            Self::Key => "key",
            Self::PrivateKey => "private-key",
            Self::Jwt => "jwt",
            Self::Authorization => "authorization",
            Self::Cookie => "cookie",
            Self::Session => "session",
            Self::User => "user",
            Self::Email => "email",
            Self::Userinfo => "userinfo",
            Self::Query => "query",
            Self::Body => "body",
            Self::Dump => "dump",
            Self::Base64 => "base64",
            Self::Env => "env",
            Self::Code => "code",
            Self::Custom => "custom",
        }
    }
}

/// How a placeholder is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `<redacted:TYPE len=N h=XXXXXXXX>`.
    Plain,
    /// `redacted.TYPE.len-N.h-XXXXXXXX`, valid in URLs and paths.
    Url,
}

/// The key of one run.
pub(crate) struct Key(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Draws a key.
    pub(crate) fn random() -> Self {
        let mut key = Zeroizing::new([0u8; 32]);
        if getrandom::fill(key.as_mut_slice()).is_err() {
            // The standard library seeds its hash maps from the same source by other calls; a key
            // must differ between runs even where the system call is not allowed.
            use std::hash::{BuildHasher as _, Hasher as _};
            for chunk in key.chunks_mut(8) {
                let mut hasher = std::hash::RandomState::new().build_hasher();
                hasher.write_u8(1);
                chunk.copy_from_slice(&hasher.finish().to_le_bytes());
            }
        }
        Self(key)
    }

    /// The keyed digest of a value.
    pub(super) fn digest(&self, value: &[u8]) -> [u8; 32] {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else {
            return [0; 32];
        };
        mac.update(value);
        mac.finalize().into_bytes().into()
    }

    /// The equality token of a value.
    pub(crate) fn token(&self, value: &[u8]) -> String {
        let digest = self.digest(value);
        format!("{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
    }

    /// The placeholder of a value; `digest` are facts that may stay, already escaped.
    pub(crate) fn placeholder(&self, kind: Kind, style: Style, value: &[u8], digest: &str) -> String {
        let (word, len, token) = (kind.as_str(), value.len(), self.token(value));
        match style {
            Style::Plain if digest.is_empty() => format!("<redacted:{word} len={len} h={token}>"),
            Style::Plain => format!("<redacted:{word} len={len} h={token} {digest}>"),
            Style::Url => format!("redacted.{word}.len-{len}.h-{token}"),
        }
    }
}

/// The length of the placeholder that this text begins with, without the facts behind it and the
/// closing bracket: those are scanned like any text.
pub(crate) fn recognise(text: &[u8]) -> Option<usize> {
    let (rest, separator, equals, plain) = if let Some(rest) = text.strip_prefix(b"<redacted:") {
        (rest, b' ', b'=', true)
    } else {
        (text.strip_prefix(b"redacted.")?, b'.', b'-', false)
    };
    let word = Kind::ALL
        .iter()
        .map(|kind| kind.as_str().as_bytes())
        .find(|word| rest.strip_prefix(*word).is_some_and(|after| after.first() == Some(&separator)))?;
    let rest = &rest[word.len() + 1..];
    let rest = rest.strip_prefix(b"len")?;
    let rest = rest.strip_prefix(&[equals])?;
    let digits = rest.iter().take(12).take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 10 {
        return None;
    }
    let rest = rest[digits..].strip_prefix(&[separator, b'h', equals])?;
    let token = rest.get(..8)?;
    if !token.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut used = text.len() - rest.len() + 8;
    match rest.get(8) {
        Some(b'>') if plain => used += 1,
        Some(b' ') if plain => {}
        Some(b) if !plain && (b.is_ascii_alphanumeric() || *b == b'_') => return None,
        _ if plain => return None,
        _ => {}
    }
    Some(used)
}

/// How many bytes a recognised placeholder stands for.
pub(crate) fn length(placeholder: &[u8]) -> usize {
    let at = memchr::memmem::find(placeholder, b"len").map_or(0, |at| at + 4);
    placeholder[at..]
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .fold(0usize, |len, digit| len.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}

/// The placeholder within which a range of a text stands, if it stands in one.
pub(crate) fn covering(text: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let low = start.saturating_sub(64);
    for at in (low..=start).rev() {
        if matches!(text.get(at), Some(b'<' | b'r'))
            && let Some(len) = recognise(&text[at..])
            && at + len >= end
        {
            return Some((at, at + len));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_recognised_and_a_look_alike_is_not() {
        let key = Key::random();
        for kind in Kind::ALL {
            for style in [Style::Plain, Style::Url] {
                let text = key.placeholder(kind, style, b"hunter22", "");
                assert_eq!(recognise(text.as_bytes()), Some(text.len()), "{text}");
                let followed = format!("{text}, and more");
                assert_eq!(recognise(followed.as_bytes()), Some(text.len()), "{followed}");
            }
        }
        for look_alike in [
            "<redacted:hunter22 len=4 h=01234567>",
            "<redacted:token len=hunter22 h=01234567>",
            "<redacted:token len=4 h=hunter22>",
            "<redacted:token len=4 h=0123456>",
            "<redacted:token len=12345678901 h=01234567>",
            "<redacted:token len=4  h=01234567>",
            "redacted.token.len-4.h-012345678",
        ] {
            assert_eq!(recognise(look_alike.as_bytes()), None, "{look_alike}");
        }
    }

    #[test]
    fn equal_values_have_equal_tokens_and_only_within_a_run() {
        let (key, other) = (Key::random(), Key::random());
        assert_eq!(key.token(b"a"), key.token(b"a"));
        assert_ne!(key.token(b"a"), key.token(b"b"));
        assert_ne!(key.token(b"a"), other.token(b"a"));
    }
}
