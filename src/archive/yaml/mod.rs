//! The YAML emitter: block style, keys sorted, every string that a YAML 1.1 reader could take for
//! something else quoted. Libraries of the libyaml family write `yes` or `12:30` without quotes,
//! which readers in Go turn into booleans and numbers.
//!
//! The output looks like that of `oc get -o yaml`: sequences stand at the column of their key,
//! texts of several lines are literal blocks. A string is written plain only if no reader can
//! take it for anything else; in doubt it is quoted. What cannot stand in a literal block or in
//! single quotes unharmed (control characters, tabs, U+0085, U+FEFF, …) is escaped in double quotes.

use serde_json::{Number, Value};

/// How deep block style goes. Deeper values are written in flow style (JSON), without recursion.
/// The readers of YAML that we know stop at 128 levels or earlier.
const BLOCK_DEPTH: usize = 128;

/// The longest text that may stand as a key without `? `: YAML readers look 1024 characters ahead
/// for the colon, and an escape takes up to ten.
const SIMPLE_KEY: usize = 100;

/// Appends a value as a YAML document, indented by `indent` levels of two spaces.
pub fn emit(value: &Value, indent: usize, out: &mut String) {
    pad(indent, out);
    node(value, indent, 0, Place::Document, out);
}

/// Appends a value as an item of a sequence (`- …`).
pub fn emit_item(value: &Value, indent: usize, out: &mut String) {
    pad(indent, out);
    out.push('-');
    node(value, indent, 0, Place::Item, out);
}

/// What stands before a node on its line, which decides how it may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Only indentation.
    Document,
    /// The dash of a sequence.
    Item,
    /// A key and its colon.
    Value,
}

/// Comes to where a collection begins, and says whether that is the line of what it belongs to.
fn begins_on_the_line(place: Place, out: &mut String) -> bool {
    match place {
        Place::Document => true,
        Place::Item => {
            out.push(' ');
            true
        }
        Place::Value => {
            out.push('\n');
            false
        }
    }
}

/// Writes a node and the end of its line. `indent` is the column (in levels) of the key or dash
/// that it belongs to, `depth` how many nodes it stands in.
fn node(value: &Value, indent: usize, depth: usize, place: Place, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() && depth < BLOCK_DEPTH => {
            // A mapping begins on the line of its dash, but below its key.
            let inner = match place {
                Place::Document => indent,
                Place::Item | Place::Value => indent + 1,
            };
            let mut same_line = begins_on_the_line(place, out);
            for (key, value) in map {
                if !same_line {
                    pad(inner, out);
                }
                same_line = false;
                if key.len() <= SIMPLE_KEY {
                    scalar(key, out);
                } else {
                    out.push_str("? ");
                    scalar(key, out);
                    out.push('\n');
                    pad(inner, out);
                }
                out.push(':');
                node(value, inner, depth + 1, Place::Value, out);
            }
        }
        Value::Array(list) if !list.is_empty() && depth < BLOCK_DEPTH => {
            let inner = if place == Place::Item { indent + 1 } else { indent };
            let mut same_line = begins_on_the_line(place, out);
            for item in list {
                if !same_line {
                    pad(inner, out);
                }
                same_line = false;
                out.push('-');
                node(item, inner, depth + 1, Place::Item, out);
            }
        }
        Value::String(text) if place != Place::Document && is_literal(text) => literal(text, indent + 1, out),
        _ => {
            if place != Place::Document {
                out.push(' ');
            }
            match value {
                Value::Null => out.push_str("null"),
                Value::Bool(true) => out.push_str("true"),
                Value::Bool(false) => out.push_str("false"),
                Value::Number(n) => number(n, out),
                Value::String(text) => scalar(text, out),
                Value::Array(_) | Value::Object(_) => flow(value, out),
            }
            out.push('\n');
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    const SPACES: &str = "                                                                ";
    let mut left = indent * 2;
    while left > 0 {
        let n = left.min(SPACES.len());
        out.push_str(&SPACES[..n]);
        left -= n;
    }
}

/// A number that YAML 1.1 readers take for one too: their exponents need a point and a sign.
fn number(number: &Number, out: &mut String) {
    let text = number.to_string();
    match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            out.push_str(mantissa);
            if !mantissa.contains('.') {
                out.push_str(".0");
            }
            out.push('e');
            if !exponent.starts_with(['-', '+']) {
                out.push('+');
            }
            out.push_str(exponent);
        }
        None => out.push_str(&text),
    }
}

/// A text on one line: plain, in single quotes, or escaped in double quotes.
fn scalar(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push_str(text);
    } else if text.contains(['"', '\\']) && text.chars().all(is_printable) {
        out.push('\'');
        for (n, part) in text.split('\'').enumerate() {
            if n > 0 {
                out.push_str("''");
            }
            out.push_str(part);
        }
        out.push('\'');
    } else {
        double_quoted(text, out);
    }
}

// The classes of bytes, as bits of a table.
/// May begin a plain scalar.
const FIRST: u8 = 1;
/// May stand inside a plain scalar.
const INNER: u8 = 2;
/// May stand inside a plain scalar, but a space before or after it decides.
const CAREFUL: u8 = 4;
/// Stands for itself in double quotes.
const QUOTED: u8 = 8;

const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphabetic() || b == b'/' {
            class |= FIRST;
        }
        if b.is_ascii_alphanumeric()
            || matches!(b, b'_' | b'.' | b'/' | b'+' | b'@' | b'(' | b')' | b'=' | b'-')
            || matches!(b, b',' | b';' | b'\'' | b'"' | b'*' | b'&' | b'!' | b'|' | b'>' | b'<' | b'%' | b'^')
            || matches!(b, b'$' | b'~' | b'\\' | b'`' | b'?' | b'[' | b']' | b'{' | b'}')
        {
            class |= INNER;
        }
        if matches!(b, b' ' | b':' | b'#') {
            class |= CAREFUL;
        }
        if b >= 0x20 && b < 0x7f && b != b'"' && b != b'\\' {
            class |= QUOTED;
        }
        table[byte] = class;
        byte += 1;
    }
    table
};

/// Whether every reader takes the text, written without quotes, for this very string.
fn is_plain(text: &str) -> bool {
    // `-v` and `--port=80` are common, and no number once a letter follows.
    let dashes = text.strip_prefix("--").or_else(|| text.strip_prefix('-'));
    let bytes = dashes.unwrap_or(text).as_bytes();
    let Some(first) = bytes.first() else { return false };
    if CLASS[usize::from(*first)] & FIRST == 0 {
        return false;
    }
    let mut before = *first;
    for (n, &byte) in bytes.iter().enumerate().skip(1) {
        let class = CLASS[usize::from(byte)];
        if class & INNER == 0 {
            let fine = match byte {
                // Not at the end, and not before a comment.
                b' ' => n + 1 < bytes.len(),
                // A colon ends a key when a space or nothing follows.
                b':' => n + 1 < bytes.len() && bytes[n + 1] != b' ',
                b'#' => before != b' ',
                _ => false,
            };
            if class & CAREFUL == 0 || !fine {
                return false;
            }
        }
        before = byte;
    }
    bytes.len() > 5 || !is_word(text)
}

/// Whether a YAML 1.1 or 1.2 reader takes the word for a boolean or null.
fn is_word(text: &str) -> bool {
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text))
}

/// Whether a character may stand unescaped in single quotes and literal blocks: YAML's printable
/// characters without tabs and without what some version of YAML takes for a line break.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\0'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        c => !matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff),
    }
}

/// Whether a text of several lines can be a literal block.
fn is_literal(text: &str) -> bool {
    if !text.contains('\n') {
        return false;
    }
    // A line of nothing but spaces is where readers differ; a text of nothing but line breaks too.
    let mut any = false;
    for line in text.split('\n') {
        if line.is_empty() {
            continue;
        }
        any = true;
        let printable = if line.is_ascii() {
            line.bytes().all(|b| (0x20..0x7f).contains(&b))
        } else {
            line.chars().all(is_printable)
        };
        if !printable || line.bytes().all(|b| b == b' ') {
            return false;
        }
    }
    any
}

/// Writes a literal block after its key or dash.
fn literal(text: &str, indent: usize, out: &mut String) {
    out.push_str(" |");
    if text.starts_with([' ', '\n']) {
        // The reader cannot guess the indentation from a first line like that.
        out.push('2');
    }
    let body = match text.strip_suffix('\n') {
        None => {
            out.push('-');
            text
        }
        Some(body) => {
            if body.ends_with('\n') {
                out.push('+');
            }
            body
        }
    };
    out.push('\n');
    for line in body.split('\n') {
        if !line.is_empty() {
            pad(indent, out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn double_quoted(text: &str, out: &mut String) {
    out.push('"');
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        if (c.is_ascii() && CLASS[c as usize] & QUOTED != 0) || (!c.is_ascii() && is_printable(c)) {
            continue;
        }
        out.push_str(&text[plain_from..at]);
        plain_from = at + c.len_utf8();
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

/// Writes a value in flow style on one line, with a stack of its own.
fn flow(value: &Value, out: &mut String) {
    enum Open<'a> {
        List(std::slice::Iter<'a, Value>),
        Map(serde_json::map::Iter<'a>),
    }
    let mut stack: Vec<(Open<'_>, bool)> = Vec::new();
    let mut next = Some(value);
    loop {
        match next.take() {
            Some(Value::Array(list)) => {
                out.push('[');
                stack.push((Open::List(list.iter()), true));
            }
            Some(Value::Object(map)) => {
                out.push('{');
                stack.push((Open::Map(map.iter()), true));
            }
            Some(Value::Null) => out.push_str("null"),
            Some(Value::Bool(b)) => out.push_str(if *b { "true" } else { "false" }),
            Some(Value::Number(n)) => number(n, out),
            Some(Value::String(text)) => double_quoted(text, out),
            None => {}
        }
        let Some((open, first)) = stack.last_mut() else { return };
        let comma = if std::mem::take(first) { "" } else { ", " };
        match open {
            Open::List(items) => match items.next() {
                Some(item) => {
                    out.push_str(comma);
                    next = Some(item);
                }
                None => {
                    out.push(']');
                    stack.pop();
                }
            },
            Open::Map(entries) => match entries.next() {
                Some((key, value)) => {
                    out.push_str(comma);
                    double_quoted(key, out);
                    out.push_str(": ");
                    next = Some(value);
                }
                None => {
                    out.push('}');
                    stack.pop();
                }
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
