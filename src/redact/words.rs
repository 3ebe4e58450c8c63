//! Words that stand where a secret may stand: which are scheme words, prose, references or nothing at all.

use super::placeholder::Kind;

pub(super) fn is_scheme(word: &[u8]) -> bool {
    [
        "bearer",
        "basic",
        "token",
        "digest",
        "negotiate",
        "apikey",
        "api-key",
        "bot",
        "ntlm",
        "hawk",
        "aws4-hmac-sha256",
        "dpop",
        "bearer:",
    ]
    .iter()
    .any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// The length of the scheme word and the space behind it.
pub(super) fn scheme_word(value: &[u8]) -> Option<usize> {
    let word = value.iter().position(|b| matches!(b, b' ' | b'+' | b'%'))?;
    if !is_scheme(&value[..word]) {
        return None;
    }
    let skip = match value[word] {
        b'%' if value[word..].starts_with(b"%20") => 3,
        b'%' => return None,
        _ => 1 + value[word + 1..].iter().take_while(|b| **b == b' ').count(),
    };
    Some(word + skip)
}

/// A value without the punctuation of the sentence around it.
fn word(value: &[u8]) -> &[u8] {
    let end =
        value.iter().rposition(|b| !matches!(b, b',' | b';' | b'.' | b':' | b')')).map_or(0, |at| at + 1);
    &value[..end]
}

/// Values that say nothing.
pub(super) fn harmless(value: &[u8], kind: Kind) -> bool {
    let value = value.trim_ascii();
    if value.is_empty() {
        return true;
    }
    let lower = value.to_ascii_lowercase();
    // In a sentence a comma or a full stop follows: `mcp.kuadrant.io/secret=true, because …`.
    if matches!(word(&lower), b"true" | b"false" | b"null" | b"none") {
        return true;
    }
    if matches!(
        lower.as_slice(),
        b"null"
            | b"nil"
            | b"none"
            | b"<nil>"
            | b"<none>"
            | b"true"
            | b"false"
            | b"redacted"
            | b"[redacted]"
            | b"<redacted>"
            | b"***redacted***"
            | b"{}"
            | b"[]"
            | b"w3jlzgfjdgvkxq=="
            | b"undefined"
            | b"<unset>"
            | b"<set>"
            | b"<empty>"
            | b"..."
            | b"%s"
            | b"%v"
            | b"%q"
    ) {
        return true;
    }
    if lower.iter().all(|b| matches!(b, b'*' | b'x' | b'.' | b'-' | b'_'))
        && !lower.iter().all(|b| *b == b'x')
    {
        return true;
    }
    // A reference to a variable: `$(TOKEN)`, `${TOKEN}`, `$TOKEN`, `{{ .token }}`.
    if (value.starts_with(b"$(") && value.ends_with(b")"))
        || (value.starts_with(b"${") && value.ends_with(b"}"))
        || (value.starts_with(b"{{") && value.ends_with(b"}}"))
    {
        return value.len() < 80 && !value.windows(2).any(|w| w == b":-");
    }
    // The broker logs the first digits of a digest for a session, so that lines can be told together.
    if kind == Kind::Session
        && let Some(digest) = value.strip_prefix(b"sha256:")
    {
        return digest.len() == 12 && digest.iter().all(u8::is_ascii_hexdigit);
    }
    kind != Kind::Password && value.len() < 5 && value.iter().all(u8::is_ascii_digit)
}

/// Whether a value is the beginning of an element of a page, as in a rendered report: `<code>…`.
pub(super) fn is_element(value: &[u8], next: Option<&u8>) -> bool {
    let Some(name) = value.strip_prefix(b"<") else { return false };
    let name = name.strip_prefix(b"/").unwrap_or(name);
    matches!(next, Some(b'>' | b' '))
        && [
            &b"a"[..],
            b"b",
            b"br",
            b"code",
            b"dd",
            b"div",
            b"dt",
            b"em",
            b"i",
            b"li",
            b"p",
            b"pre",
            b"span",
            b"strong",
            b"td",
            b"th",
            b"tr",
        ]
        .contains(&name)
}

/// Whether a word stands before the name on the same line, as in running text.
pub(super) fn follows_a_word(text: &[u8], name: usize, floor: usize) -> bool {
    let low = floor.min(name).max(name.saturating_sub(8));
    let before = &text[low..name];
    let spaces = before.iter().rev().take_while(|b| **b == b' ').count();
    spaces > 0 && before.len() > spaces && before[before.len() - spaces - 1].is_ascii_alphanumeric()
}

/// Whether a value behind `token: ` in running text is just the next word.
pub(super) fn reads_like_prose(value: &[u8], kind: Kind) -> bool {
    let word = value
        .strip_suffix(b":")
        .or_else(|| value.strip_suffix(b","))
        .or_else(|| value.strip_suffix(b"."))
        .unwrap_or(value);
    let plain = !word.is_empty()
        && word.len() <= 14
        && word.iter().skip(1).all(u8::is_ascii_lowercase)
        && word[0].is_ascii_alphabetic();
    if kind == Kind::Password {
        return plain
            && [
                "context",
                "invalid",
                "failed",
                "error",
                "cannot",
                "unable",
                "not",
                "no",
                "is",
                "must",
                "the",
                "incorrect",
                "wrong",
                "expired",
                "required",
                "missing",
                "timeout",
                "connection",
                "dial",
                "rpc",
                "unauthorized",
                "unexpected",
                "authentication",
                "could",
            ]
            .iter()
            .any(|w| word.eq_ignore_ascii_case(w.as_bytes()));
    }
    plain || matches!(word, b"x509" | b"EOF" | b"oauth2" | b"HTTP" | b"OIDC" | b"JWT")
}

/// Whether this is `namespace/name`, as logs name a Secret object.
pub(super) fn names_an_object(value: &[u8]) -> bool {
    let Some(slash) = memchr::memchr(b'/', value) else { return false };
    is_object_name(&value[..slash]) && is_object_name(&value[slash + 1..])
}

/// Whether a value behind `Secret=` is a name, as controllers log an object by its kind:
/// `Secret=mcp-gateway-config namespace=mcp-system`.
pub(super) fn logged_by_kind(name: &[u8], value: &[u8], behind: &[u8]) -> bool {
    name == b"Secret" && behind.starts_with(b" namespace=") && is_object_name(value)
}

/// A name of an object, and no random text that would pass for one.
fn is_object_name(part: &[u8]) -> bool {
    !part.is_empty()
        && part.len() <= 63
        && part[0].is_ascii_lowercase()
        && part.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        && part.iter().filter(|b| b.is_ascii_digit()).count() * 3 <= part.len()
}
