//! JSON web tokens in a text: where one ends, and what of it may stay.

use crate::model::claims::{Claims, decode_part};

/// So many characters of a header tell whether it is one.
const SAMPLE: usize = 64;

/// The end of the token that begins at `at`, if it is one: a header that decodes to JSON and at
/// least the beginning of a second part.
pub(super) fn end(text: &[u8], at: usize) -> Option<usize> {
    end_beyond(text, at, &mut 0)
}

/// The same for one token after the other of a text. `looked` is where the characters end that the part
/// before has, so that a long run of beginnings is not read again for each of them.
pub(super) fn end_beyond(text: &[u8], at: usize, looked: &mut usize) -> Option<usize> {
    let limit = (at + super::value::REACH).min(text.len());
    let is_character = |b: &u8| super::base64::is_character(*b);
    let part = |from: usize| {
        let from = from.min(limit);
        text[from..limit].iter().position(|b| !(is_character(b) || *b == b'=')).map_or(limit, |n| from + n)
    };
    let from = at.max(*looked).min(limit);
    let bare = text[from..limit].iter().position(|b| !is_character(b)).map_or(limit, |n| from + n);
    *looked = bare;
    let first = bare + text[bare..limit].iter().take(2).take_while(|b| **b == b'=').count();
    if text.get(first) != Some(&b'.') {
        return None;
    }
    // The beginning is enough, and takes the same time for headers of any length.
    let sample = &text[at..bare.min(at + SAMPLE)];
    let header = decode_part(&sample[..sample.len() - usize::from(sample.len() % 4 == 1)])?;
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
