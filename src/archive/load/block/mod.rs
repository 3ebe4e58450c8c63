//! A fast reader of the regular part of YAML: block style as Go's libraries and our own emitter
//! write it, which is almost all that bundles hold.
//!
//! It gives up (`None`) on anything unusual: anchors, tags, comments, flow style, tabs, explicit
//! keys, folded block scalars, keys or numbers in odd notations, and on everything that is wrong.
//! The caller then takes the complete reader, which also has the error message. What this one
//! does return is what the complete one returns; a property test compares them.

use serde_json::Number;

use crate::model::json::{Key, Map, Value};

/// Reads a document.
pub(super) fn parse(text: &str) -> Option<Value> {
    if !is_usual(text) {
        return None;
    }
    let mut reader = Reader { text, line: None, next: 0 };
    reader.advance(true).ok()?;
    let value = match reader.line {
        Some(line) if line.column == 0 => reader.block(0, 0).ok()?,
        _ => return None,
    };
    reader.line.is_none().then_some(value)
}

/// Something that the complete reader must look at.
struct Unusual;

type Result<T> = std::result::Result<T, Unusual>;

/// Deeper than any object, and less deep than the complete reader allows.
const DEPTH: usize = 100;

/// The complete reader looks 1024 characters ahead for the colon of a key.
const KEY: usize = 1000;

/// Whether all characters are ones that need no thought: no control characters but line breaks
/// and tabs, no other line breaks, no byte order mark.
fn is_usual(text: &str) -> bool {
    let plain = text.bytes().all(|b| b >= 0x20 && b != 0x7f || b == b'\n' || b == b'\t');
    plain
        && (text.is_ascii()
            || !text.contains(|c| {
                matches!(
                    c,
                    '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
                )
            }))
}

/// The line that is looked at, or what is left of it.
#[derive(Clone, Copy)]
struct Line {
    /// The column of `from`.
    column: usize,
    /// Where its content begins in the text.
    from: usize,
    /// Where it ends, without spaces at its end.
    to: usize,
}

struct Reader<'a> {
    text: &'a str,
    line: Option<Line>,
    /// Where the line after it begins.
    next: usize,
}

impl<'a> Reader<'a> {
    /// Goes to the next line that is not blank. Comments are skipped only at the beginning.
    fn advance(&mut self, comments: bool) -> Result<()> {
        let bytes = self.text.as_bytes();
        self.line = None;
        while self.next < bytes.len() {
            let start = self.next;
            let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |n| start + n);
            self.next = (end + 1).min(bytes.len());
            let column = bytes[start..end].iter().take_while(|b| **b == b' ').count();
            let from = start + column;
            match bytes[from..end].first() {
                None => continue,
                Some(b'#') if comments => continue,
                Some(b'#' | b'\t') => return Err(Unusual),
                Some(_) => {}
            }
            let spaces = bytes[from..end].iter().rev().take_while(|b| **b == b' ').count();
            self.line = Some(Line { column, from, to: end - spaces });
            return Ok(());
        }
        Ok(())
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        &self.text[from..to]
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(b'\n')
    }

    /// Whether the line begins with the dash of a sequence.
    fn is_dash(&self, line: Line) -> bool {
        self.byte(line.from) == b'-' && (line.from + 1 == line.to || self.byte(line.from + 1) == b' ')
    }

    /// Reads a sequence or mapping that begins at the line, whose column is given.
    fn block(&mut self, column: usize, depth: usize) -> Result<Value> {
        let Some(line) = self.line else { return Err(Unusual) };
        if depth > DEPTH {
            return Err(Unusual);
        }
        if self.is_dash(line) { self.sequence(column, depth) } else { self.mapping(column, depth) }
    }

    fn sequence(&mut self, column: usize, depth: usize) -> Result<Value> {
        let mut list = Vec::new();
        while let Some(line) = self.line {
            if line.column != column || !self.is_dash(line) {
                if line.column > column {
                    return Err(Unusual);
                }
                break;
            }
            let mut from = line.from + 1;
            while from < line.to && self.byte(from) == b' ' {
                from += 1;
            }
            if from >= line.to {
                self.advance(false)?;
                let inner = self.line.map(|line| line.column).filter(|inner| *inner > column);
                list.push(match inner {
                    Some(inner) => self.block(inner, depth + 1)?,
                    None => Value::Null,
                });
                continue;
            }
            let inner = Line { column: column + from - line.from, from, to: line.to };
            let is_block = self.is_dash(inner) || self.key(inner)?.is_some();
            if is_block {
                self.line = Some(inner);
                list.push(self.block(inner.column, depth + 1)?);
            } else {
                list.push(self.scalar(from, line.to, column)?);
            }
        }
        Ok(list.into())
    }

    fn mapping(&mut self, column: usize, depth: usize) -> Result<Value> {
        let mut fields: Vec<(Key, Value)> = Vec::new();
        while let Some(line) = self.line {
            if line.column < column {
                break;
            }
            if line.column > column || self.is_dash(line) {
                return Err(Unusual);
            }
            let Some((key, mut from)) = self.key(line)? else { return Err(Unusual) };
            while from < line.to && self.byte(from) == b' ' {
                from += 1;
            }
            let value = if from < line.to {
                self.scalar(from, line.to, column)?
            } else {
                self.advance(false)?;
                match self.line {
                    Some(inner) if inner.column > column => self.block(inner.column, depth + 1)?,
                    // A sequence may stand at the column of its key.
                    Some(inner) if inner.column == column && self.is_dash(inner) => {
                        self.sequence(column, depth + 1)?
                    }
                    _ => Value::Null,
                }
            };
            fields.push((key, value));
        }
        Ok(Value::Object(fields.into_iter().collect()))
    }

    /// The key that the line begins with, and the place after its colon; `None` if there is none.
    fn key(&self, line: Line) -> Result<Option<(Key, usize)>> {
        let quote = self.byte(line.from);
        if matches!(quote, b'"' | b'\'') {
            let Some((key, end)) = self.quoted_on_line(line)? else { return Ok(None) };
            let colon = end < line.to && self.byte(end) == b':';
            if !colon || (end + 1 < line.to && self.byte(end + 1) != b' ') {
                return Ok(None);
            }
            return if end - line.from > KEY { Err(Unusual) } else { Ok(Some((key.into(), end + 1))) };
        }
        let text = self.slice(line.from, line.to);
        let colon = memchr::memchr_iter(b':', text.as_bytes())
            .find(|at| at + 1 == text.len() || text.as_bytes()[at + 1] == b' ');
        let Some(colon) = colon else { return Ok(None) };
        let key = &text[..colon];
        if key.len() > KEY || key.ends_with(' ') || !is_plain(key) {
            return Err(Unusual);
        }
        match resolve(key)? {
            Value::String(key) => Ok(Some((Key::from(&*key), line.from + colon + 1))),
            _ => Err(Unusual),
        }
    }

    /// Reads the scalar (or empty collection) that stands between the places, and on further lines
    /// deeper than `parent`; then goes to the line after it.
    fn scalar(&mut self, from: usize, to: usize, parent: usize) -> Result<Value> {
        match self.byte(from) {
            b'"' | b'\'' => {
                let text = self.quoted(from, parent)?;
                return Ok(text.into());
            }
            b'|' => return self.literal(from, to, parent).map(Value::from),
            b'{' | b'[' => {
                let value = match self.slice(from, to) {
                    "{}" => Value::Object(Map::default()),
                    "[]" => Value::Array(Box::default()),
                    _ => return Err(Unusual),
                };
                self.advance(false)?;
                // Nothing can continue it.
                return if self.line.is_some_and(|line| line.column > parent) {
                    Err(Unusual)
                } else {
                    Ok(value)
                };
            }
            _ => {}
        }
        let first = self.slice(from, to);
        if !is_plain(first) || has_colon(first) {
            return Err(Unusual);
        }
        let mut end = to;
        let mut joined: Option<String> = None;
        loop {
            self.advance(false)?;
            let Some(line) = self.line.filter(|line| line.column > parent) else { break };
            let part = self.slice(line.from, line.to);
            if !is_continued(part) || has_colon(part) {
                return Err(Unusual);
            }
            let breaks = memchr::memchr_iter(b'\n', &self.text.as_bytes()[end..line.from]).count();
            let joined = joined.get_or_insert_with(|| first.to_owned());
            fold(breaks, joined);
            joined.push_str(part);
            end = line.to;
        }
        match joined {
            None => resolve(first),
            Some(text) => resolve(&text),
        }
    }

    /// The quoted text at the beginning of a line, if it ends there, and the place after it.
    fn quoted_on_line(&self, line: Line) -> Result<Option<(String, usize)>> {
        let mut at = line.from;
        let text = self.quoted_from(&mut at, line.to, usize::MAX)?;
        Ok(text.map(|text| (text, at)))
    }

    /// Reads a quoted text that nothing follows on its last line.
    fn quoted(&mut self, from: usize, parent: usize) -> Result<String> {
        let mut at = from;
        let Some(text) = self.quoted_from(&mut at, self.text.len(), parent)? else { return Err(Unusual) };
        let bytes = self.text.as_bytes();
        while bytes.get(at) == Some(&b' ') {
            at += 1;
        }
        if at < bytes.len() && bytes[at] != b'\n' {
            return Err(Unusual);
        }
        self.next = (at + 1).min(bytes.len());
        self.advance(false)?;
        // Nothing can continue it.
        if self.line.is_some_and(|line| line.column > parent) { Err(Unusual) } else { Ok(text) }
    }

    /// Reads a quoted text up to `to`; `None` if it does not end before. Further lines must be
    /// deeper than `parent`.
    fn quoted_from(&self, at: &mut usize, to: usize, parent: usize) -> Result<Option<String>> {
        let bytes = &self.text.as_bytes()[..to];
        let quote = bytes[*at];
        *at += 1;
        let mut text = String::new();
        // What stands before here is escaped, and stays if a line ends.
        let mut kept = 0;
        loop {
            let rest = &bytes[*at..];
            let stop = if quote == b'"' {
                memchr::memchr3(b'"', b'\\', b'\n', rest)
            } else {
                memchr::memchr2(b'\'', b'\n', rest)
            };
            let Some(stop) = stop else { return Ok(None) };
            text.push_str(&self.text[*at..*at + stop]);
            *at += stop + 1;
            match rest[stop] {
                b'\'' if bytes.get(*at) == Some(&b'\'') => {
                    text.push('\'');
                    *at += 1;
                }
                b'"' | b'\'' => return Ok(Some(text)),
                b'\n' => {
                    if text.contains('\t') {
                        return Err(Unusual);
                    }
                    let trimmed = text.trim_end_matches(' ').len().max(kept);
                    text.truncate(trimmed);
                    let Some(breaks) = self.continued(at, to, parent)? else { return Ok(None) };
                    fold(breaks + 1, &mut text);
                    kept = text.len();
                }
                _ => {
                    // A text that ends with a backslash does not end its quotes.
                    let Some(escaped) = bytes.get(*at).copied() else { return Ok(None) };
                    *at += 1;
                    if escaped == b'\n' {
                        // The line break is escaped: it counts for nothing, spaces before it do.
                        if to < self.text.len() {
                            return Ok(None);
                        }
                        match self.continued(at, to, parent)? {
                            Some(0) => {}
                            Some(_) => return Err(Unusual),
                            None => return Ok(None),
                        }
                    } else {
                        text.push(self.unescape(escaped, at)?);
                    }
                    kept = text.len();
                }
            }
        }
    }

    /// Goes to the first character of the next line that is not blank; how many blank ones there
    /// were. `None` when the text ends.
    fn continued(&self, at: &mut usize, to: usize, parent: usize) -> Result<Option<usize>> {
        let bytes = &self.text.as_bytes()[..to];
        let mut blank = 0;
        loop {
            let column = bytes[*at..].iter().take_while(|b| **b == b' ').count();
            *at += column;
            match bytes.get(*at) {
                None => return Ok(None),
                Some(b'\n') => {
                    blank += 1;
                    *at += 1;
                }
                Some(b'\t') => return Err(Unusual),
                Some(_) if column <= parent => return Err(Unusual),
                Some(_) => return Ok(Some(blank)),
            }
        }
    }

    fn unescape(&self, escaped: u8, at: &mut usize) -> Result<char> {
        let digits = match escaped {
            b'0' => return Ok('\0'),
            b'a' => return Ok('\u{7}'),
            b'b' => return Ok('\u{8}'),
            b't' => return Ok('\t'),
            b'n' => return Ok('\n'),
            b'v' => return Ok('\u{b}'),
            b'f' => return Ok('\u{c}'),
            b'r' => return Ok('\r'),
            b'e' => return Ok('\u{1b}'),
            b' ' | b'"' | b'/' | b'\\' => return Ok(char::from(escaped)),
            b'N' => return Ok('\u{85}'),
            b'_' => return Ok('\u{a0}'),
            b'L' => return Ok('\u{2028}'),
            b'P' => return Ok('\u{2029}'),
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            _ => return Err(Unusual),
        };
        let hex = self.text.get(*at..*at + digits).ok_or(Unusual)?;
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Unusual);
        }
        *at += digits;
        u32::from_str_radix(hex, 16).ok().and_then(char::from_u32).ok_or(Unusual)
    }

    /// Reads a literal block, whose header stands between the places.
    fn literal(&mut self, from: usize, to: usize, parent: usize) -> Result<String> {
        let bytes = self.text.as_bytes();
        let mut indent = None;
        let mut chomp = b' ';
        for &b in &bytes[from + 1..to] {
            match b {
                b'1'..=b'9' if indent.is_none() => indent = Some(parent + usize::from(b - b'0')),
                b'-' | b'+' if chomp == b' ' => chomp = b,
                _ => return Err(Unusual),
            }
        }
        let mut text = String::new();
        // Line breaks that belong to the text only if more of it follows, or if they are kept.
        let mut breaks = 0;
        let mut leading = 0;
        let mut at = self.next;
        while at < bytes.len() {
            let Some(end) = memchr::memchr(b'\n', &bytes[at..]).map(|n| at + n) else { return Err(Unusual) };
            let spaces = bytes[at..end].iter().take_while(|b| **b == b' ').count();
            let blank = at + spaces == end;
            if !blank && bytes[at + spaces] == b'\t' && indent.is_none_or(|indent| spaces < indent) {
                return Err(Unusual);
            }
            if blank && indent.is_none_or(|indent| spaces <= indent) {
                if indent.is_none() {
                    leading = leading.max(spaces);
                }
                breaks += 1;
            } else {
                let column = match indent {
                    Some(indent) => indent,
                    None if spaces <= parent => break,
                    None if leading > spaces => return Err(Unusual),
                    None => *indent.insert(spaces),
                };
                if spaces < column {
                    if spaces > parent {
                        return Err(Unusual);
                    }
                    break;
                }
                text.extend(std::iter::repeat_n('\n', breaks));
                text.push_str(&self.text[at + column..end]);
                breaks = 1;
            }
            at = end + 1;
        }
        match chomp {
            // Blank lines alone are where readers have their own ideas.
            _ if text.is_empty() => return Err(Unusual),
            b'-' => {}
            b'+' => text.extend(std::iter::repeat_n('\n', breaks)),
            _ => text.push('\n'),
        }
        self.next = at;
        self.advance(false)?;
        Ok(text)
    }
}

/// One line break becomes a space, several lose one.
fn fold(breaks: usize, text: &mut String) {
    if breaks == 1 {
        text.push(' ');
    } else {
        text.extend(std::iter::repeat_n('\n', breaks - 1));
    }
}

/// Whether the text can begin a plain scalar and hold no comment.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let first = match bytes {
        [b'-' | b'?' | b':'] | [b'-' | b'?' | b':', b' ', ..] => return false,
        [first, ..] => *first,
        [] => return false,
    };
    let indicator = b",[]{}#&*!|>'\"%@`?:<=".contains(&first);
    !indicator && !text.starts_with("---") && !text.starts_with("...") && is_continued(text)
}

/// Whether the text can stand in a plain scalar that has begun.
fn is_continued(text: &str) -> bool {
    let bytes = text.as_bytes();
    let comment = memchr::memchr_iter(b'#', bytes).any(|at| at == 0 || bytes[at - 1] == b' ');
    !comment && memchr::memchr(b'\t', bytes).is_none()
}

/// Whether a colon in it would make a key of what stands before it.
fn has_colon(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b':', bytes).any(|at| at + 1 == bytes.len() || bytes[at + 1] == b' ')
}

/// What a plain scalar means to the complete reader.
fn resolve(text: &str) -> Result<Value> {
    let Some(&first) = text.as_bytes().first() else { return Ok(Value::Null) };
    if first.is_ascii_alphabetic() || first == b'/' || first == b'_' || first >= 0x80 {
        let word = match text {
            "null" | "Null" | "NULL" => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            text => text.into(),
        };
        return Ok(word);
    }
    if first == b'.'
        && !matches!(
            text.as_bytes().get(1),
            Some(b'0'..=b'9' | b'i' | b'I' | b'n' | b'N' | b'_' | b'e' | b'E')
        )
    {
        // `.: {}` stands in most managed fields.
        return Ok(text.into());
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if matches!(first, b'~' | b'+' | b'.')
        || ["0x", "0o", "0b", "+", "-", "."].iter().any(|p| digits.starts_with(p))
    {
        // Rare notations of null and numbers; options such as `--v=2` are no numbers.
        let is_option =
            digits.strip_prefix('-').unwrap_or(digits).starts_with(|c: char| c.is_ascii_alphabetic());
        return if first == b'-' && is_option { Ok(text.into()) } else { Err(Unusual) };
    }
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') {
            return Ok(text.into());
        }
        let number = if first == b'-' {
            text.parse::<i64>().map(Number::from)
        } else {
            text.parse::<u64>().map(Number::from)
        };
        return number.map(Value::Number).map_err(|_| Unusual);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Number::from_f64(number).map_or(Value::Null, Value::Number)),
        _ => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests;
