//! Envoy's access logs, Istio's text format, Envoy's default one, and JSON: how often which host
//! and cluster answered with which status, response flags and details.
//!
//! Every request counts, the good ones too, so that a rate can be told. Each record of template
//! `access` has the fields `code`, `flags`, `details`, `host`, `cluster`, `port` (where the client
//! connected to), `route`, and `reason` (the class of an upstream's transport failure).

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;

use super::errors::ErrorClass;
use super::format;
use super::{Fields, Reader};

/// The name of the template.
pub const TEMPLATE: &str = "access";

/// What the MCP router says, when the details are an error that it answered with itself: `ext-proc
/// error: …`, which newer Envoys write with underscores for spaces.
#[must_use]
pub fn router_error(details: &str) -> Option<String> {
    let said = details.strip_prefix("ext-proc")?.replace('_', " ");
    said.trim_start().strip_prefix("error:").map(|said| said.trim().to_owned())
}

/// The quotes of Istio's text format behind the details: five fields and the transport failure.
const QUOTES: usize = 12;

/// Whether a line can be of an access log: `[2026-…] "…` or JSON with response flags.
pub(super) fn looks_like(line: &[u8]) -> bool {
    let line = after_time(line);
    match line.first() {
        // Envoy's own log has a space between date and time, the access log a `T`.
        Some(b'[') => {
            line.get(11) == Some(&b'T')
                && line.get(1).is_some_and(u8::is_ascii_digit)
                && line.get(5) == Some(&b'-')
        }
        Some(b'{') => memmem::find(&line[..line.len().min(4096)], b"\"response_flags\"").is_some(),
        _ => false,
    }
}

/// The line behind the time that kubectl puts in front with `--timestamps`.
fn after_time(line: &[u8]) -> &[u8] {
    // The shortest such time is 20 bytes; a line that starts with anything but a digit has none.
    if !line.first().is_some_and(u8::is_ascii_digit) {
        return line;
    }
    match memchr::memchr(b' ', &line[..line.len().min(40)]) {
        Some(at) if at >= 20 => &line[at + 1..],
        _ => line,
    }
}

/// Counts the request of a line.
pub(super) fn read(reader: &mut Reader, line: &[u8]) {
    let inner = after_time(line);
    let Ok(text) = std::str::from_utf8(inner) else { return };
    let entry = if text.starts_with('{') { Entry::json(text) } else { Entry::text(text) };
    let Some(entry) = entry else { return };
    let mut details = entry.details.split(['{', '(']).next().unwrap_or_default();
    if router_error(details).is_some() {
        // Only the router's own words, without the error that it passes on.
        details = details.match_indices(':').nth(1).map_or(details, |(at, _)| &details[..at]);
    }
    let mut fields: Fields<'_> = vec![
        ("code", Cow::Borrowed(&entry.code)),
        ("flags", Cow::Borrowed(none(&entry.flags))),
        ("details", Cow::Borrowed(none(details))),
        ("host", Cow::Borrowed(none(&entry.host))),
        ("cluster", Cow::Borrowed(none(&entry.cluster))),
        ("port", Cow::Borrowed(none(&entry.port))),
        ("route", Cow::Borrowed(none(&entry.route))),
    ];
    let failure = none(&entry.failure);
    // The failure of a refused connection stands in the details.
    let said = if failure.is_empty() { entry.details.as_ref() } else { failure };
    if !failure.is_empty() || entry.details.contains("connection_failure") {
        fields.push(("reason", Cow::Borrowed(ErrorClass::of(said).as_str())));
    }
    reader.add(TEMPLATE, &fields, line, entry.time.as_deref());
}

/// The text, unless it is Envoy's `-` for nothing.
fn none(text: &str) -> &str {
    if text == "-" { "" } else { text }
}

#[derive(Debug, Default)]
struct Entry<'a> {
    time: Option<Cow<'a, str>>,
    code: Cow<'a, str>,
    flags: Cow<'a, str>,
    details: Cow<'a, str>,
    failure: Cow<'a, str>,
    host: Cow<'a, str>,
    cluster: Cow<'a, str>,
    port: Cow<'a, str>,
    route: Cow<'a, str>,
}

impl<'a> Entry<'a> {
    /// `[time] "METHOD PATH PROTOCOL" CODE FLAGS DETAILS TERMINATION "FAILURE" … "AUTHORITY"
    /// "UPSTREAM" CLUSTER LOCAL DOWNSTREAM-LOCAL DOWNSTREAM-REMOTE SNI ROUTE`.
    fn text(line: &'a str) -> Option<Self> {
        let (time, rest) = line.strip_prefix('[')?.split_once("] \"")?;
        let (_, rest) = rest.split_once("\" ")?;
        // The details may quote what they tell, so the fields in quotes are counted from the end.
        let quote = memchr::memrchr_iter(b'"', rest.as_bytes()).nth(QUOTES - 1).or_else(|| rest.find('"'))?;
        let (status, rest) = (&rest[..quote], &rest[quote + 1..]);
        let mut words = status.split_ascii_whitespace();
        let code = words.next().filter(|c| c.bytes().all(|b| b.is_ascii_digit()))?;
        let flags = words.next()?;
        let third = words.next().unwrap_or_default();
        let numbers = !third.is_empty() && third.bytes().all(|b| b.is_ascii_digit());
        let mut entry = Self {
            time: Some(Cow::Borrowed(time)),
            code: Cow::Borrowed(code),
            flags: Cow::Borrowed(flags),
            ..Self::default()
        };
        // What is quoted and what is not take turns from here on.
        let mut parts = rest.split('"');
        if numbers {
            // Envoy's default: "XFF" "UA" "ID" "AUTHORITY" "UPSTREAM", and nothing behind.
            entry.host = Cow::Borrowed(parts.nth(6).unwrap_or_default());
            return Some(entry);
        }
        // All but the last word between flags and quote are the details, which may contain spaces.
        let start = status.find(third).unwrap_or(status.len());
        let between = status[start..].trim_end();
        entry.details =
            Cow::Borrowed(between.rsplit_once(' ').map_or(between, |(details, _)| details.trim_end()));
        entry.failure = Cow::Borrowed(parts.next().unwrap_or_default());
        // numbers, XFF, space, UA, space, ID, space, AUTHORITY, space, UPSTREAM, the rest.
        entry.host = Cow::Borrowed(parts.nth(7).unwrap_or_default());
        let tail = parts.nth(2).unwrap_or_default();
        let mut words = tail.split_ascii_whitespace();
        entry.cluster = Cow::Borrowed(words.next().unwrap_or_default());
        let downstream = words.nth(1).unwrap_or_default();
        entry.port = Cow::Borrowed(downstream.rsplit_once(':').map_or("", |(_, port)| port));
        entry.route = Cow::Borrowed(words.nth(2).unwrap_or_default());
        Some(entry)
    }

    /// Istio's JSON encoding; other keys are skipped without being read.
    fn json(line: &'a str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Json<'a> {
            #[serde(borrow, default)]
            start_time: Option<Cow<'a, str>>,
            #[serde(default)]
            response_code: serde_json::Value,
            #[serde(borrow, default)]
            response_flags: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            response_code_details: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            upstream_transport_failure_reason: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            authority: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            upstream_cluster: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            downstream_local_address: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            route_name: Option<Cow<'a, str>>,
        }
        let json: Json<'a> = serde_json::from_str(line).ok()?;
        let code = match json.response_code {
            serde_json::Value::Number(number) => Cow::Owned(number.to_string()),
            serde_json::Value::String(text) => Cow::Owned(text),
            _ => return None,
        };
        let local = json.downstream_local_address.unwrap_or_default();
        let port = local.rsplit_once(':').map_or(String::new(), |(_, port)| port.to_owned());
        Some(Self {
            time: json.start_time.or_else(|| format::time_of(line.as_bytes())),
            code,
            flags: json.response_flags.unwrap_or_default(),
            details: json.response_code_details.unwrap_or_default(),
            failure: json.upstream_transport_failure_reason.unwrap_or_default(),
            host: json.authority.unwrap_or_default(),
            cluster: json.upstream_cluster.unwrap_or_default(),
            port: Cow::Owned(port),
            route: json.route_name.unwrap_or_default(),
        })
    }
}
