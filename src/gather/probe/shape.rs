//! What is kept of a body: its size and form, the error of JSON-RPC, the few fields that rules read.

use http::{HeaderMap, header};
use serde_json::Value;

use super::super::client::one_line;
use super::wire::is_event_stream;
use crate::model::probes::{Body, Metadata, Purpose, RpcError, Server};

/// The id of every JSON-RPC request that is sent.
pub(super) const ID: u64 = 1;
/// How much of a foreign text is kept.
const TEXT_LIMIT: usize = 300;
/// How many names of tools are kept.
const TOOLS: usize = 1000;

/// The shape of a body.
pub(super) fn of(headers: &HeaderMap, body: &[u8], truncated: bool, purpose: Purpose) -> Body {
    let content_type = headers.get(header::CONTENT_TYPE);
    let value: Option<Value> = match content_type {
        Some(value) if is_event_stream(value) => answer_event(body),
        _ => serde_json::from_slice(body).ok(),
    };
    let mut shape = Body {
        bytes: body.len() as u64,
        truncated,
        content_type: content_type
            .map(|v| one_line(&String::from_utf8_lossy(v.as_bytes()), 120))
            .unwrap_or_default(),
        json: value.is_some(),
        ..Body::default()
    };
    let Some(value) = value else { return shape };
    if let Some(error) = value.get("error").filter(|error| error.is_object()) {
        let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
        shape.rpc_error = Some(RpcError { code, message: text(error, "/message") });
    }
    match purpose {
        Purpose::OauthMetadata => {
            shape.metadata = value.is_object().then(|| Metadata {
                resource: text(&value, "/resource"),
                authorization_servers: texts(&value, "/authorization_servers", 20),
            });
        }
        Purpose::McpInitialize => {
            shape.server = value.get("result").map(|result| Server {
                protocol_version: text(result, "/protocolVersion"),
                name: text(result, "/serverInfo/name"),
                version: text(result, "/serverInfo/version"),
                capabilities: result
                    .get("capabilities")
                    .and_then(Value::as_object)
                    .map(|all| all.keys().take(20).map(|key| one_line(key, 60)).collect())
                    .unwrap_or_default(),
            });
        }
        Purpose::McpTools | Purpose::ToolsList => {
            let tools = value.pointer("/result/tools").and_then(Value::as_array);
            shape.tools =
                tools.map(|tools| tools.iter().take(TOOLS).map(|tool| text(tool, "/name")).collect());
        }
        _ => {}
    }
    shape
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).map(|text| one_line(text, TEXT_LIMIT)).unwrap_or_default()
}

fn texts(value: &Value, pointer: &str, most: usize) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).take(most).map(|text| one_line(text, TEXT_LIMIT)).collect()
}

/// Whether what was read of a stream of events holds the answer.
pub(super) fn has_answer(body: &[u8]) -> bool {
    answer_event(body).is_some()
}

/// The event of a stream that answers the request; servers may send notifications before.
fn answer_event(body: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(body);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    // What follows the last blank line is not whole yet.
    let (whole, _) = text.rsplit_once("\n\n")?;
    whole.split("\n\n").find_map(|event| {
        let data: Vec<&str> = event
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        let value: Value = serde_json::from_str(&data.join("\n")).ok()?;
        (value.get("id").and_then(Value::as_u64) == Some(ID)).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    #[test]
    fn the_answer_is_found_among_events() {
        let events = b": hello\n\nevent: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\r\n\r\n\
            data: {\"jsonrpc\":\"2.0\",\"id\":1,\ndata: \"result\":{\"tools\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}\n\n";
        assert!(has_answer(events));
        assert!(!has_answer(&events[..events.len() - 1]), "the event has not ended");
        let shape = of(&headers("text/event-stream; charset=utf-8"), events, false, Purpose::McpTools);
        assert_eq!(shape.tools, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert!(shape.json);
    }

    #[test]
    fn bodies_that_are_no_json_have_a_size_only() {
        let shape = of(&headers("text/html"), b"<html>secret</html>", true, Purpose::OauthMetadata);
        assert_eq!(
            shape,
            Body { bytes: 19, truncated: true, content_type: "text/html".into(), ..Body::default() }
        );
    }

    #[test]
    fn metadata_servers_and_errors() {
        let json = headers("application/json");
        let body =
            br#"{"resource":"https://h/mcp","authorization_servers":["https://idp"],"other":"secret"}"#;
        let metadata = of(&json, body, false, Purpose::OauthMetadata).metadata.expect("metadata");
        assert_eq!((metadata.resource.as_str(), metadata.authorization_servers.len()), ("https://h/mcp", 1));
        let body = br#"{"id":1,"result":{"protocolVersion":"2025-11-25","serverInfo":{"name":"s","version":"1"},"capabilities":{"tools":{}}}}"#;
        let server = of(&json, body, false, Purpose::McpInitialize).server.expect("a server");
        assert_eq!((server.protocol_version.as_str(), server.capabilities.len()), ("2025-11-25", 1));
        let body = br#"{"id":1,"error":{"code":-32600,"message":"no\nsession"}}"#;
        let error = of(&json, body, false, Purpose::ToolsList).rpc_error.expect("an error");
        assert_eq!(error, RpcError { code: -32600, message: "no session".into() });
    }
}
