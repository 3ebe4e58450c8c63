//! The formats of log lines: slog text and JSON, zap JSON and console, klog, Istio, Envoy, plain.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// How grave a line is, as far as its format tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Debug and finer.
    Debug,
    /// Information, notices.
    Info,
    /// Warnings.
    Warn,
    /// Errors and worse.
    Error,
    /// The format does not tell.
    #[default]
    Unknown,
}

impl Level {
    /// Reads `level=DEBUG+3`, `error`, `WARN`, `E`.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        let word = word.split(['+', '-']).next().unwrap_or_default();
        if word.len() > 9 {
            return Self::Unknown;
        }
        match word.to_ascii_lowercase().as_str() {
            "debug" | "trace" | "d" | "t" => Self::Debug,
            "info" | "notice" | "i" | "n" | "information" => Self::Info,
            "warn" | "warning" | "w" => Self::Warn,
            "error" | "err" | "fatal" | "panic" | "dpanic" | "critical" | "e" | "f" | "c" => Self::Error,
            _ => Self::Unknown,
        }
    }
}

/// A line whose format was recognised.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// When it was written.
    pub time: Option<Cow<'a, str>>,
    /// How grave it is.
    pub level: Level,
    /// The message without its attributes.
    pub message: Cow<'a, str>,
    attributes: Attributes<'a>,
}

#[derive(Debug)]
enum Attributes<'a> {
    None,
    /// `key=value "two words"="…"`.
    Text(&'a str),
    Json(Map<String, Value>),
}

impl Parsed<'_> {
    /// An attribute of the line: a string as it is, anything else as JSON.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<Cow<'_, str>> {
        match &self.attributes {
            Attributes::None => None,
            Attributes::Text(text) => text_attribute(text, key),
            Attributes::Json(map) => match map.get(key)? {
                Value::Null => None,
                Value::String(text) => Some(Cow::Borrowed(text.as_str())),
                other => Some(Cow::Owned(other.to_string())),
            },
        }
    }

    /// An attribute as JSON, for nested ones.
    #[must_use]
    pub fn json(&self, key: &str) -> Option<&Value> {
        match &self.attributes {
            Attributes::Json(map) => map.get(key),
            _ => None,
        }
    }

    /// The error of the line, under whichever name.
    #[must_use]
    pub fn error(&self) -> Option<Cow<'_, str>> {
        ["error", "err", "cause", "reason"].iter().find_map(|key| self.attribute(key))
    }
}

/// Reads a line. Any line can be read: at worst all of it is the message.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Parsed<'_>> {
    let text = std::str::from_utf8(line).ok()?;
    let (stamp, rest) = split_time(text);
    let mut parsed = parse_rest(rest)?;
    if parsed.time.is_none() {
        parsed.time = stamp.map(Cow::Borrowed);
    }
    Some(parsed)
}

fn parse_rest(rest: &str) -> Option<Parsed<'_>> {
    if rest.starts_with('{') {
        return parse_json(rest);
    }
    if rest.starts_with("time=") || rest.starts_with("ts=") || rest.starts_with("level=") {
        return Some(parse_slog(rest));
    }
    if let Some(parsed) = parse_envoy(rest).or_else(|| parse_klog(rest)) {
        return Some(parsed);
    }
    if let Some(parsed) = parse_tabs(rest) {
        return Some(parsed);
    }
    if let Some(parsed) = parse_go_log(rest) {
        return Some(parsed);
    }
    // `INFO text`, as Rust's tracing and many others write after the time.
    let (level, message) = match rest.split_once([' ', '\t']) {
        Some((word, tail)) if Level::parse(word) != Level::Unknown && word.len() > 1 => {
            (Level::parse(word), tail.trim_start())
        }
        _ => (Level::Unknown, rest),
    };
    Some(Parsed { time: None, level, message: Cow::Borrowed(message), attributes: Attributes::None })
}

/// Go's `log` package: `2026/09/14 10:27:01 text`.
fn parse_go_log(text: &str) -> Option<Parsed<'_>> {
    let bytes = text.as_bytes();
    if bytes.get(4) != Some(&b'/') || bytes.get(7) != Some(&b'/') || bytes.get(13) != Some(&b':') {
        return None;
    }
    let (year, month, day) = (text.get(..4)?, text.get(5..7)?, text.get(8..10)?);
    let (clock, message) = (text.get(11..19)?, text.get(20..)?);
    Some(Parsed {
        time: Some(Cow::Owned(format!("{year}-{month}-{day}T{clock}Z"))),
        level: Level::Unknown,
        message: Cow::Borrowed(message),
        attributes: Attributes::None,
    })
}

fn parse_json(text: &str) -> Option<Parsed<'_>> {
    let mut map: Map<String, Value> = serde_json::from_str(text).ok()?;
    let mut take = |keys: &[&str]| keys.iter().find_map(|key| map.remove(*key));
    let time = take(&["time", "ts", "timestamp", "@timestamp"]).and_then(json_time).map(Cow::Owned);
    let level = match take(&["level", "lvl", "severity"]) {
        Some(Value::String(word)) => Level::parse(&word),
        _ => Level::Unknown,
    };
    let message = match take(&["msg", "message", "Msg"]) {
        Some(Value::String(message)) => message,
        _ => String::new(),
    };
    Some(Parsed { time, level, message: Cow::Owned(message), attributes: Attributes::Json(map) })
}

/// RFC 3339 text, or seconds (zap's default) or milliseconds since 1970.
fn json_time(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text).filter(|t| t.len() <= 40),
        Value::Number(number) => {
            let number = number.as_f64().filter(|n| n.is_finite() && *n > 0.0)?;
            let millis = if number > 1e11 { number } else { number * 1000.0 };
            // Beyond the year 10000 it is no time.
            #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
            let millis = if millis < 2.5e14 { millis as i64 } else { return None };
            let time = chrono::DateTime::from_timestamp_millis(millis)?;
            Some(time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        }
        _ => None,
    }
}

fn parse_slog(text: &str) -> Parsed<'_> {
    let get = |key: &str| text_attribute(text, key);
    Parsed {
        time: get("time").or_else(|| get("ts")),
        level: get("level").map_or(Level::Unknown, |l| Level::parse(&l)),
        message: get("msg").unwrap_or_default(),
        attributes: Attributes::Text(text),
    }
}

/// The value of a key in `key=value "quoted key"="quoted \"value\""`.
fn text_attribute<'a>(text: &'a str, key: &str) -> Option<Cow<'a, str>> {
    let mut rest = text;
    // A line of many attributes must not cost more than a line of few.
    for _ in 0..200 {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let (name, tail) = if rest.starts_with('"') {
            let (name, tail) = quoted(rest)?;
            (name, tail.strip_prefix('=')?)
        } else {
            let end = rest.find(['=', ' '])?;
            if rest.as_bytes()[end] == b' ' {
                rest = &rest[end..];
                continue;
            }
            (Cow::Borrowed(&rest[..end]), &rest[end + 1..])
        };
        let (value, tail) = if tail.starts_with('"') {
            quoted(tail)?
        } else {
            let end = tail.find(' ').unwrap_or(tail.len());
            (Cow::Borrowed(&tail[..end]), &tail[end..])
        };
        if name == key {
            return Some(value);
        }
        rest = tail;
    }
    None
}

/// Reads a quoted string at the start of the text, and what follows it.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let mut any = false;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => {
                escaped = true;
                any = true;
            }
            b'"' => {
                let raw = &inner[..at];
                let value = if any { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) };
                return Some((value, &inner[at + 1..]));
            }
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// `[2026-09-14 10:27:01.123][12][warning][config] [source/…] message`, Envoy's own log.
fn parse_envoy(text: &str) -> Option<Parsed<'_>> {
    let (stamp, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (date, clock) = stamp.split_once(' ')?;
    if date.len() != 10 || clock.len() < 8 {
        return None;
    }
    let (_, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let (level, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let (_, rest) = rest.strip_prefix('[')?.split_once(']')?;
    let rest = rest.trim_start();
    let message = match rest.strip_prefix('[').and_then(|r| r.split_once("] ")) {
        Some((_, message)) => message,
        None => rest,
    };
    Some(Parsed {
        time: Some(Cow::Owned(format!("{date}T{clock}Z"))),
        level: Level::parse(level),
        message: Cow::Borrowed(message),
        attributes: Attributes::None,
    })
}

/// `E0914 10:27:01.123456       1 file.go:12] message`.
fn parse_klog(text: &str) -> Option<Parsed<'_>> {
    let bytes = text.as_bytes();
    let date = bytes.get(1..5)?;
    if !matches!(bytes[0], b'I' | b'W' | b'E' | b'F')
        || !date.iter().all(u8::is_ascii_digit)
        || bytes.get(5) != Some(&b' ')
    {
        return None;
    }
    let (_, message) = text.split_once("] ")?;
    // Structured klog: `"message" key="value"`.
    let (message, attributes) = match quoted(message) {
        Some((inner, rest)) => (inner, Attributes::Text(rest)),
        None => (Cow::Borrowed(message), Attributes::None),
    };
    Some(Parsed { time: None, level: Level::parse(&text[..1]), message, attributes })
}

/// `info<TAB>ads<TAB>message` (Istio) and `ERROR<TAB>logger<TAB>message<TAB>{json}` (zap's console).
fn parse_tabs(text: &str) -> Option<Parsed<'_>> {
    let (word, rest) = text.split_once('\t')?;
    let level = Level::parse(word);
    if level == Level::Unknown {
        return None;
    }
    let (head, attributes) = match rest.rfind("\t{") {
        Some(at) => match serde_json::from_str(&rest[at + 1..]) {
            Ok(map) => (&rest[..at], Attributes::Json(map)),
            Err(_) => (rest, Attributes::None),
        },
        None => (rest, Attributes::None),
    };
    let message = match head.split_once('\t') {
        // A scope or logger name has no space.
        Some((scope, message)) if !scope.contains(' ') => message,
        _ => head,
    };
    Some(Parsed { time: None, level, message: Cow::Borrowed(message), attributes })
}

/// Splits a time at the start of a line (kubectl's, Istio's, zap's) from the rest.
#[must_use]
pub fn split_time(text: &str) -> (Option<&str>, &str) {
    let Some(end) = time_end(text.as_bytes()) else { return (None, text) };
    let rest = &text[end..];
    match rest.strip_prefix([' ', '\t']) {
        Some(tail) => (Some(&text[..end]), tail.trim_start_matches([' ', '\t'])),
        None if rest.is_empty() => (Some(text), rest),
        None => (None, text),
    }
}

/// Where an RFC 3339 time that starts the line ends.
fn time_end(line: &[u8]) -> Option<usize> {
    let digits =
        |range: std::ops::Range<usize>| line.get(range).is_some_and(|b| b.iter().all(u8::is_ascii_digit));
    let byte = |at: usize, wanted: u8| line.get(at) == Some(&wanted);
    let date =
        digits(0..4) && byte(4, b'-') && digits(5..7) && byte(7, b'-') && digits(8..10) && byte(10, b'T');
    if !date || !digits(11..13) || !byte(13, b':') || !digits(14..16) || !byte(16, b':') || !digits(17..19) {
        return None;
    }
    let mut end = 19;
    if byte(end, b'.') {
        end += 1;
        while line.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
    }
    match line.get(end)? {
        b'Z' => Some(end + 1),
        b'+' | b'-' if digits(end + 1..end + 3) => {
            let colon = usize::from(byte(end + 3, b':'));
            digits(end + 3 + colon..end + 5 + colon).then_some(end + 5 + colon)
        }
        _ => None,
    }
}

/// The time of a line, without reading the rest of it where that can be helped.
#[must_use]
pub fn time_of(line: &[u8]) -> Option<Cow<'_, str>> {
    if let Some(end) = time_end(line) {
        return std::str::from_utf8(&line[..end]).ok().map(Cow::Borrowed);
    }
    for prefix in [&b"time="[..], b"time=\"", b"["] {
        if let Some(rest) = line.strip_prefix(prefix)
            && let Some(end) = time_end(rest)
        {
            return std::str::from_utf8(&rest[..end]).ok().map(Cow::Borrowed);
        }
    }
    if line.starts_with(b"{") || line.starts_with(b"[") {
        return parse(line).and_then(|parsed| parsed.time.map(|time| Cow::Owned(time.into_owned())));
    }
    None
}
