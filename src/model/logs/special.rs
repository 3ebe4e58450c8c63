//! Messages whose fields need more than an attribute: Authorino's request pairs, NACKs, crashes.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use memchr::memmem;
use serde_json::Value;

use super::errors::{Denial, ErrorClass};
use super::format;
use super::{Fields, Reader, cut};
use crate::model::claims::Claims;

/// How many requests may be between Authorino's line about a request and the one about its answer.
const OPEN_REQUESTS: usize = 4096;

/// What a reader remembers from line to line.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The host of each of the last requests that Authorino announced.
    hosts: HashMap<String, String>,
    order: VecDeque<String>,
}

/// The text between this and the next quote, without reading the JSON around it.
fn json_text<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a str> {
    let start = memmem::find(line, key)? + key.len();
    let rest = &line[start..];
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// `incoming authorization request`: remembers the host under the request's id.
pub(super) fn authorino_request(reader: &mut Reader, line: &[u8]) {
    let (Some(id), Some(host)) = (json_text(line, b"\"request id\":\""), json_text(line, b"\"host\":\""))
    else {
        return;
    };
    if id.len() > 128 || host.len() > 256 {
        return;
    }
    let state = &mut reader.special;
    if state.hosts.insert(id.to_owned(), host.to_owned()).is_none() {
        state.order.push_back(id.to_owned());
        if state.order.len() > OPEN_REQUESTS
            && let Some(oldest) = state.order.pop_front()
        {
            state.hosts.remove(&oldest);
        }
    }
}

/// `outgoing authorization response`: `authorino.allowed`, or `authorino.denied` with the reason.
pub(super) fn authorino_response(reader: &mut Reader, line: &[u8]) {
    if memmem::find(line, b"\"authorized\":true").is_some() {
        let time = format::time_of(&line[..line.len().min(256)]).map(Cow::into_owned);
        let time = time.or_else(|| json_text(line, b"\"ts\":\"").map(str::to_owned));
        reader.add("authorino.allowed", &Vec::new(), line, time.as_deref());
        return;
    }
    let Some(parsed) = format::parse(line) else { return };
    if parsed.message != "outgoing authorization response" {
        return;
    }
    // At debug level the same answer is logged twice.
    if parsed.level == format::Level::Debug {
        return;
    }
    let response = parsed.attribute("response").unwrap_or_default();
    let object = parsed.json("object");
    let message = object
        .and_then(|o| o.get("message").or_else(|| o.get("Message")))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let id = parsed.attribute("request id").unwrap_or_default();
    let host = reader.special.hosts.get(id.as_ref()).cloned().unwrap_or_default();
    let fields: Fields<'_> =
        vec![("response", response), ("reason", Cow::Owned(reason(message))), ("host", Cow::Owned(host))];
    let time = parsed.time.as_deref().map(str::to_owned);
    reader.add("authorino.denied", &fields, line, time.as_deref());
}

/// The constant part of a denial's message: times, names and values differ from request to request.
fn reason(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    let known: &[(&str, &str)] = &[
        ("token is expired", "token is expired"),
        ("token is not yet valid", "token is not yet valid"),
        ("no such key", ""),
        ("failed to verify signature", "failed to verify signature"),
        ("failed to verify id token signature", "failed to verify signature"),
        ("missing openid connect configuration", "missing openid connect configuration"),
        ("malformed jwt", "malformed token"),
        ("credential not found", "credential not found"),
        ("the api key provided is invalid", "the API key is invalid"),
    ];
    for (phrase, name) in known {
        if let Some(at) = lower.find(phrase) {
            if !name.is_empty() {
                return (*name).to_owned();
            }
            // `no such key: groups` names the claim, which is the news.
            return cut(&message[at..], 120).lines().next().unwrap_or_default().to_owned();
        }
    }
    cut(message, 120).to_owned()
}

/// `ADS:LDS: ACK ERROR <proxy>.<namespace>-<n> <code>:<text>`.
pub(super) fn istiod_nack(reader: &mut Reader, line: &[u8]) {
    let Some(parsed) = format::parse(line) else { return };
    let Some((before, after)) = parsed.message.split_once(": ACK ERROR ") else { return };
    let kind = before.rsplit(':').next().unwrap_or_default();
    let (node, text) = after.split_once(' ').unwrap_or((after, ""));
    let node = node.rsplit_once('-').map_or(node, |(node, number)| {
        if number.bytes().all(|b| b.is_ascii_digit()) {
            node
        } else {
            after.split(' ').next().unwrap_or_default()
        }
    });
    let fields: Fields<'_> = vec![
        ("type", Cow::Borrowed(kind)),
        ("node", Cow::Borrowed(node)),
        ("text", Cow::Borrowed(cut(text, 240))),
    ];
    let time = parsed.time.as_deref();
    reader.add("istiod.nack", &fields, line, time);
}

/// `gRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: <text>`, or `delta config for …`.
pub(super) fn proxy_rejected(reader: &mut Reader, line: &[u8]) {
    let Some(parsed) = format::parse(line) else { return };
    let Some((before, text)) = parsed.message.split_once(" rejected: ") else { return };
    if !["gRPC config for ", "delta config for ", "xds"].iter().any(|start| before.contains(start)) {
        return;
    }
    let kind = before.rsplit('.').next().unwrap_or_default();
    let fields: Fields<'_> = vec![("type", Cow::Borrowed(kind)), ("text", Cow::Borrowed(cut(text, 240)))];
    reader.add("proxy.rejected", &fields, line, parsed.time.as_deref());
}

/// `StreamAggregatedResources gRPC config stream to xds-grpc closed since 40s ago: 14, no healthy upstream`, with the
/// statuses (of gRPC) of a server that is away or refuses; older versions do not name the cluster, and the first such
/// line gives no age. istiod ends each connection after half an hour, which says 14 as well, and is left out.
pub(super) fn xds_lost(reader: &mut Reader, line: &[u8]) {
    let Some(parsed) = format::parse(line) else { return };
    let Some((_, rest)) = parsed.message.split_once(" closed") else { return };
    let Some((status, why)) = rest.split_once(": ").and_then(|(_, rest)| rest.split_once(',')) else {
        return;
    };
    let ordinary = ["transport is closing", "EOF", "goaway"].iter().any(|end| why.contains(end));
    if !ordinary && matches!(status, "7" | "14" | "16") {
        let class = ErrorClass::of(why).as_str();
        let fields: Fields<'_> = vec![("class", Cow::Borrowed(class)), ("status", Cow::Borrowed(status))];
        reader.add("proxy.xds-lost", &fields, line, parsed.time.as_deref());
    }
}

/// Envoy cannot load a wasm module: `wasm … fetch … failed`, in scope wasm.
pub(super) fn wasm_fetch(reader: &mut Reader, line: &[u8]) {
    let has = |needle: &[u8]| memmem::find(line, needle).is_some();
    if !(has(b"fail") || has(b"error")) || !(has(b"fetch") || has(b"load") || has(b"pull")) {
        return;
    }
    let Some(parsed) = format::parse(line) else { return };
    let grave = matches!(parsed.level, format::Level::Error | format::Level::Warn);
    let message = parsed.message.to_ascii_lowercase();
    let about = message.contains("wasm") || message.contains("module");
    if grave && about && ["fetch", "load", "pull"].iter().any(|w| message.contains(w)) {
        let fields: Fields<'_> = vec![("class", Cow::Borrowed(ErrorClass::of(&message).as_str()))];
        reader.add("wasm.fetch-failed", &fields, line, parsed.time.as_deref());
    }
}

/// The limit of inotify instances, which ends the broker when it starts to watch its configuration.
pub(super) fn inotify(reader: &mut Reader, line: &[u8]) {
    let Some(parsed) = format::parse(line) else { return };
    let error = parsed.error().unwrap_or_default();
    let said = format!("{} {error}", parsed.message).to_ascii_lowercase();
    let limit = said.contains("too many open files") || said.contains("no space left on device");
    let watch = said.contains("inotify") || said.contains("watcher") || said.contains("fsnotify");
    if limit && watch {
        reader.add("crash.inotify", &Vec::new(), line, parsed.time.as_deref());
    }
}

/// The API server refused something for want of a permission.
pub(super) fn rbac_denied(reader: &mut Reader, line: &[u8]) {
    let Ok(text) = std::str::from_utf8(line) else { return };
    let Some(denial) = Denial::parse(text) else { return };
    let time = format::time_of(line).map(Cow::into_owned);
    let fields: Fields<'_> = vec![
        ("user", Cow::Owned(denial.user)),
        ("verb", Cow::Owned(denial.verb)),
        ("resource", Cow::Owned(denial.resource)),
        ("namespace", Cow::Owned(denial.namespace.unwrap_or_default())),
    ];
    reader.add("rbac.denied", &fields, line, time.as_deref());
}

/// A line at debug level: only counted. The level stands near the start, never in the message.
pub(super) fn debug_line(reader: &mut Reader, line: &[u8]) {
    let start = &line[..line.len().min(160)];
    let found = [&b"level=DEBUG"[..], b"\"level\":\"debug\"", b"\"level\":\"DEBUG\""]
        .iter()
        .filter_map(|literal| memmem::find(start, literal))
        .min();
    let message = [&b"msg="[..], b"\"msg\":"].iter().filter_map(|m| memmem::find(start, m)).min();
    if found.is_some_and(|at| message.is_none_or(|message| at < message)) {
        let time = format::time_of(start).map(Cow::into_owned);
        reader.add("log.debug", &Vec::new(), line, time.as_deref());
    }
}

/// How many seconds the clocks of an identity server and of a node may differ before a token counts as used
/// outside its lifetime.
const TOLERANCE: i64 = 60;

/// A JSON web token, or the digest of its claims that redaction leaves.
pub(super) fn jwt_digest(reader: &mut Reader, line: &[u8]) {
    let Ok(text) = std::str::from_utf8(line) else { return };
    let Some(claims) = Claims::find(text) else { return };
    let time = format::time_of(line).map(Cow::into_owned);
    let mut fields: Fields<'_> =
        vec![("iss", Cow::Owned(claims.iss.unwrap_or_default())), ("aud", Cow::Owned(claims.aud.join(" ")))];
    // Times differ from token to token; whether one was expired at its line is the news.
    let at =
        time.as_deref().and_then(|t| chrono::DateTime::parse_from_rfc3339(t).ok()).map(|t| t.timestamp());
    let verdict = match (at, claims.exp, claims.nbf) {
        (Some(at), Some(exp), _) if exp < at - TOLERANCE => "expired",
        (Some(at), _, Some(nbf)) if nbf > at + TOLERANCE => "not-yet-valid",
        (Some(_), Some(_), _) => "valid",
        _ => "unknown",
    };
    fields.push(("verdict", Cow::Borrowed(verdict)));
    fields.push(("claims", Cow::Owned(claims.names.join(" "))));
    reader.add("jwt.digest", &fields, line, time.as_deref());
}

/// The name and fields of a crash, told apart by what stands behind the literal.
pub(super) fn crash<'a>(name: &'static str, rest: &'a str) -> (&'static str, Fields<'a>) {
    match name {
        "crash.envoyfilter-crd" if !rest.contains("EnvoyFilter") => ("crash.manager", Vec::new()),
        "crash.flag" => {
            let flag = rest.rsplit(": ").next().unwrap_or_default().trim();
            ("crash.flag", vec![("flag", Cow::Borrowed(flag))])
        }
        "crash.redis" | "crash.ca-bundle" => {
            (name, vec![("class", Cow::Borrowed(ErrorClass::of(rest).as_str()))])
        }
        _ => (name, Vec::new()),
    }
}
