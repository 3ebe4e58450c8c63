//! JSON web tokens in a text: where one ends, and what of it may stay.

use crate::model::claims::{Claims, decode_part};

/// The end of the token that begins at `at`, if it is one: a header that decodes to JSON and at
/// least the beginning of a second part.
pub(super) fn end(text: &[u8], at: usize) -> Option<usize> {
    let limit = (at + super::value::REACH).min(text.len());
    let part = |from: usize| {
        text[from..limit]
            .iter()
            .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+' | b'/' | b'=')))
            .map_or(limit, |n| from + n)
    };
    let first = part(at);
    if text.get(first) != Some(&b'.') {
        return None;
    }
    let header = decode_part(&text[at..first])?;
    if header.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return None;
    }
    let mut end = part(first + 1);
    if end < first + 5 {
        return None;
    }
    // A signed token has three parts, an encrypted one five.
    for _ in 0..3 {
        if text.get(end) != Some(&b'.') {
            break;
        }
        let next = part(end + 1);
        if next == end + 1 && end + 1 < text.len() && !matches!(text[end + 1], b'.') {
            // `….….` with an empty signature ends here.
            return Some(next);
        }
        end = next;
    }
    Some(end)
}

/// The facts that stay: see [`Claims`].
pub(super) fn digest(token: &[u8]) -> String {
    Claims::of_token(token).map(|claims| claims.digest()).unwrap_or_default()
}
