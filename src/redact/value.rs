//! Where a value begins and ends, once a name has announced it: quotes at any level of escaping,
//! JSON, YAML (block scalars and folded strings too), Go's `%+v`, logfmt, headers, flags, URL
//! encoding, and pairs such as `name: X, value: Y`.
//!
//! Every look ahead is bounded by [`REACH`], every look behind by [`BEHIND`], so that a stream can
//! be cut anywhere and time stays linear.

use super::placeholder;

/// The most bytes that one match reaches from its beginning to its end.
pub(super) const REACH: usize = 64 * 1024;
/// The most bytes that are looked at before a match.
pub(super) const BEHIND: usize = 4 * 1024;

/// A value in a text, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) quoted: bool,
}

/// How a name and its value are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// `:`
    Colon,
    /// `=` and its relatives.
    Equals,
    /// `== "…"`, a comparison.
    Compare,
    /// `"key": "X", "value": "Y"`.
    Pair,
    /// `--flag value`, `["--flag", "value"]`.
    Flag,
}

/// A quotation mark as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// A quotation mark behind this many backslashes.
    Escaped(usize, u8),
    /// A quotation mark in the encoding of URLs or HTML.
    Literal(&'static [u8]),
}

fn quote_at(text: &[u8], at: usize) -> Option<(Quote, usize)> {
    let mut p = at;
    while p < text.len() && text[p] == b'\\' && p - at < 64 {
        p += 1;
    }
    match text.get(p) {
        Some(&q @ (b'"' | b'\'' | b'`')) => return Some((Quote::Escaped(p - at, q), p + 1)),
        _ if p > at => {
            return text[p..].starts_with(b"u0022").then_some((Quote::Literal(b"\\u0022"), p + 5));
        }
        _ => {}
    }
    [&b"%22"[..], b"%27", b"&quot;", b"&#34;", b"&#39;"]
        .into_iter()
        .find(|literal| text[at..].starts_with(literal))
        .map(|literal| (Quote::Literal(literal), at + literal.len()))
}

fn skip_spaces(text: &[u8], mut at: usize) -> usize {
    let limit = (at + 256).min(text.len());
    while at < limit && matches!(text[at], b' ' | b'\t') {
        at += 1;
    }
    at
}

/// Skips white space, also lines and escaped line breaks.
fn skip_blank(text: &[u8], mut at: usize) -> usize {
    let limit = (at + 512).min(text.len());
    loop {
        while at < limit && text[at].is_ascii_whitespace() {
            at += 1;
        }
        if at + 1 < limit && text[at] == b'\\' && matches!(text[at + 1], b'n' | b't' | b'r') {
            at += 2;
        } else {
            return at;
        }
    }
}

/// Finds the join behind a name that ends at `at`, and where the value (or its quote) begins.
pub(super) fn join(text: &[u8], at: usize, is_flag: bool, is_header: bool) -> Option<(Join, usize)> {
    let (quote, mut p) = match quote_at(text, at) {
        Some((quote, p)) => (Some(quote), p),
        None => (None, at),
    };
    let behind_quote = p;
    if text.get(p) == Some(&b']') {
        p += 1;
    }
    p = skip_spaces(text, p);
    let rest = &text[p..text.len().min(p + 64)];
    match rest {
        [b':', b':', ..] => return None,
        [b':', b'=', ..] => return Some((Join::Equals, p + 2)),
        [b':', b'/', b'/', ..] => return None,
        [b':', ..] => return Some((Join::Colon, p + 1)),
        [b'=', b'=', ..] | [b'=', b'~', ..] | [b'!', b'=', ..] => return Some((Join::Compare, p + 2)),
        [b'=', b'>', ..] => return Some((Join::Equals, p + 2)),
        [b'=', ..] => return Some((Join::Equals, p + 1)),
        [b'%', b'3', b'd' | b'D', ..] => return Some((Join::Equals, p + 3)),
        [b'%', b'3', b'a' | b'A', ..] => return Some((Join::Colon, p + 3)),
        [b'\\', b'u', b'0', b'0', b'3', b'd' | b'D', ..] => return Some((Join::Equals, p + 6)),
        _ => {}
    }
    // `"key":"X","value":"Y"`, `key: X` line `value: Y`, `{Name:X Value:Y}`.
    let mut q = skip_blank(text, behind_quote);
    if text.get(q) == Some(&b',') {
        q = skip_blank(text, q + 1);
    }
    if q > at {
        let (inner, word) = match quote_at(text, q) {
            Some((quote, p)) => (Some(quote), p),
            None => (None, q),
        };
        for name in [&b"value"[..], b"raw_value", b"rawValue", b"Value", b"RawValue"] {
            if text[word..].starts_with(name) {
                let mut p = word + name.len();
                if inner.is_some() {
                    match quote_at(text, p) {
                        Some((closing, after)) if Some(closing) == inner => p = after,
                        _ => return None,
                    }
                }
                p = skip_spaces(text, p);
                return matches!(text.get(p), Some(b':' | b'=')).then_some((Join::Pair, p + 1));
            }
        }
        // `'authorization', 'Bearer …'`, as Envoy's debug log and Python's tuples have it;
        // `"--token", "…"`.
        if let (Some(quote), Some((next, _))) = (quote, quote_at(text, q))
            && quote == next
            && (is_header || is_flag)
            && text[behind_quote..q].contains(&b',')
        {
            return Some((Join::Flag, q));
        }
        if is_flag && quote.is_none() {
            // YAML: `- --token` line `- …`.
            if text[at..q].contains(&b'\n') && text[q..].starts_with(b"- ") {
                let value = q + 2;
                return (!text[value..].starts_with(b"--")).then_some((Join::Flag, value));
            }
            if !text[at..q].contains(&b'\n')
                && text.get(q).is_some_and(|&b| b != b'-' && b != b'[' && b != b'<')
            {
                return Some((Join::Flag, q));
            }
        }
    }
    None
}

/// How far an unquoted value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// One word.
    Word,
    /// To the end of the line, or to the quote around it all.
    Line,
}

/// Calls `each` for every value behind a join at `at`, and returns where to go on.
pub(super) fn values(
    text: &[u8],
    at: usize,
    join: Join,
    name_at: usize,
    extent: Extent,
    each: &mut dyn FnMut(Value),
) -> usize {
    let mut p = skip_spaces(text, at);
    // YAML tags.
    while text[p..].starts_with(b"!!") || text[p..].starts_with(b"!vault ") {
        let word = text[p..].iter().take(32).position(|b| b.is_ascii_whitespace()).unwrap_or(0);
        if word == 0 {
            break;
        }
        p = skip_spaces(text, p + word);
    }
    if join == Join::Colon
        && let Some((start, end)) = block_scalar(text, p, name_at)
    {
        each(Value { start, end, quoted: true });
        return end;
    }
    if let Some((quote, start)) = quote_at(text, p) {
        let end = closing(text, start, quote);
        each(Value { start, end, quoted: true });
        return end;
    }
    // Go's `[]string{"…"}`.
    let go = text[p..].starts_with(b"[]string{");
    match text.get(p) {
        Some(b'[') => {
            p += if go { b"[]string{".len() } else { 1 };
            let limit = (p + REACH).min(text.len());
            let mut first = true;
            loop {
                p = skip_blank(text, p);
                if p >= limit {
                    return p.min(text.len());
                }
                if let Some((quote, start)) = quote_at(text, p) {
                    let end = closing(text, start, quote);
                    each(Value { start, end, quoted: true });
                    p = quote_at(text, end).map_or(end, |(_, after)| after);
                } else if first && text[p] != b']' && text[p] != b'{' && text[p] != b'[' {
                    // Go's `[Bearer abc]`, a YAML flow sequence.
                    let end = memchr::memchr2(b']', b'\n', &text[p..limit]).map_or(limit, |n| p + n);
                    each(Value { start: p, end, quoted: false });
                    return end;
                } else {
                    return p;
                }
                first = false;
                p = skip_blank(text, p);
                if text.get(p) == Some(&b',') {
                    p += 1;
                } else {
                    return p;
                }
            }
        }
        Some(b'{') | None => p,
        Some(_) if join == Join::Compare => p,
        Some(_) => {
            let end = match extent {
                Extent::Word => word_end(text, p),
                Extent::Line => line_end(text, p),
            };
            each(Value { start: p, end, quoted: false });
            end
        }
    }
}

/// The end of the string whose opening quote ends at `start`.
fn closing(text: &[u8], start: usize, quote: Quote) -> usize {
    let limit = (start + REACH).min(text.len());
    let window = &text[start..limit];
    match quote {
        Quote::Literal(literal) => {
            // The quote first, which is near: a line may be long.
            let quote = memchr::memmem::find(window, literal);
            let quote = quote.filter(|quote| memchr::memchr(b'\n', &window[..*quote]).is_none());
            quote.map_or_else(|| word_end(text, start), |quote| start + quote)
        }
        Quote::Escaped(level, mark) => {
            let mut p = 0;
            let mut first_line = None;
            while let Some(n) = memchr::memchr2(mark, b'\n', &window[p..]) {
                let at = p + n;
                if window[at] == b'\n' {
                    first_line.get_or_insert(at);
                    // A folded string goes on indented; anything else means that the quote was no quote.
                    if level > 0 || !matches!(window.get(at + 1), Some(b' ' | b'\t' | b'\n' | b'\r')) {
                        break;
                    }
                    p = at + 1;
                    continue;
                }
                let slashes = window[..at].iter().rev().take_while(|b| **b == b'\\').count();
                if mark == b'\'' && level == 0 && window.get(at + 1) == Some(&b'\'') {
                    p = at + 2;
                    continue;
                }
                let closes = if level == 0 { slashes % 2 == 0 || mark != b'"' } else { slashes <= level };
                if closes {
                    return start + at - if level == 0 { 0 } else { slashes };
                }
                p = at + 1;
            }
            start + first_line.unwrap_or(window.len())
        }
    }
}

/// The end of an unquoted word.
fn word_end(text: &[u8], start: usize) -> usize {
    let limit = (start + REACH).min(text.len());
    let mut p = start;
    while p < limit {
        match text[p] {
            b if b.is_ascii_whitespace() || b < 0x20 => break,
            b'"' | b'\'' | b'`' | b'&' | b'>' => break,
            b'<' => match placeholder::recognise(&text[p..limit]) {
                Some(_) => break,
                None => p += 1,
            },
            // An escaped quote or line break ends the word; other backslashes belong to it.
            b'\\' => match text.get(p + 1) {
                Some(b'n' | b'r' | b't' | b'"' | b'\'' | b'\\') => break,
                _ => p += 1,
            },
            b',' | b';' | b')' | b']' | b'}' | b'|' => {
                // Passwords hold such marks; they end the word only before what is no password.
                let rest = &text[p..limit.min(p + 48)];
                let marks =
                    rest.iter().take_while(|b| matches!(b, b',' | b';' | b')' | b']' | b'}' | b'|')).count();
                let after = &rest[marks..];
                let ends = match after.first() {
                    None => true,
                    Some(b) if b.is_ascii_whitespace() => true,
                    Some(b'"' | b'\'' | b'\\' | b'<' | b'&' | b'.') => true,
                    Some(_) => {
                        let word = after
                            .iter()
                            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
                            .count();
                        word > 0 && matches!(after.get(word), Some(b'=' | b':'))
                    }
                };
                if ends {
                    break;
                }
                p += 1;
            }
            _ => p += 1,
        }
    }
    p
}

/// The end of the line, or of the quoted text that this line is in.
fn line_end(text: &[u8], start: usize) -> usize {
    let limit = (start + REACH).min(text.len());
    let mut p = start;
    while p < limit {
        match text[p] {
            b'\n' | b'\r' | b'"' | b'`' => break,
            b'\'' => break,
            b'<' if placeholder::recognise(&text[p..limit]).is_some() => break,
            b']' => break,
            b'\\' if matches!(text.get(p + 1), Some(b'n' | b'r' | b'"' | b'\'' | b'\\')) => break,
            _ => p += 1,
        }
    }
    p
}

/// The lines of a YAML block scalar (`|`, `>`) that begins at `at`, for a key at `name_at`.
fn block_scalar(text: &[u8], at: usize, name_at: usize) -> Option<(usize, usize)> {
    if !matches!(text.get(at), Some(b'|' | b'>')) {
        return None;
    }
    let mut p = at + 1;
    while p < text.len() && p - at < 4 && matches!(text[p], b'+' | b'-' | b'0'..=b'9') {
        p += 1;
    }
    p = skip_spaces(text, p);
    if text.get(p) == Some(&b'\r') {
        p += 1;
    }
    if text.get(p) != Some(&b'\n') {
        return None;
    }
    let from = name_at.saturating_sub(BEHIND);
    let line = memchr::memrchr(b'\n', &text[from..name_at]).map_or(from, |n| from + n + 1);
    let indent = text[line..name_at].iter().take_while(|b| matches!(b, b' ' | b'-')).count();
    let limit = (at + REACH).min(text.len());
    let mut start = None;
    let mut end = p + 1;
    let mut next = p + 1;
    while next < limit {
        let stop = memchr::memchr(b'\n', &text[next..limit]).map_or(limit, |n| next + n);
        let depth = text[next..stop].iter().take_while(|b| **b == b' ').count();
        if next + depth < stop && text[next + depth] != b'\r' {
            if depth <= indent {
                break;
            }
            start.get_or_insert(next + depth);
            end = stop;
        }
        next = stop + 1;
    }
    start.map(|start| (start, end))
}

/// The end of the JSON value (object, list or string) that begins at `at`.
pub(super) fn json_end(text: &[u8], at: usize) -> usize {
    let limit = (at + REACH).min(text.len());
    let mut depth = 0usize;
    let mut p = at;
    while p < limit {
        match text[p] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return p + 1;
                }
            }
            b'\n' => return p,
            b'"' | b'\\' => {
                if let Some((quote @ Quote::Escaped(level, b'"'), start)) = quote_at(text, p) {
                    let end = closing(text, start, quote);
                    p = (end + level + 1).min(limit);
                    if depth == 0 {
                        return p;
                    }
                    continue;
                }
            }
            _ => {}
        }
        p += 1;
    }
    p.min(text.len())
}
