//! The conversation with a registered server: `initialize`, `notifications/initialized`, `tools/list`,
//! and the end of the session. No credentials are sent: a 401 is an answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::Run;
use super::shape::ID;
use crate::model::probes::{Probe, Purpose};

/// The version of the protocol that is offered; the server may answer with an older one.
const PROTOCOL: &str = "2025-11-25";
const SESSION: &str = "mcp-session-id";

/// The message of a JSON-RPC method.
pub(super) fn message(rpc: &str) -> Bytes {
    let message = match rpc {
        "initialize" => json!({
            "jsonrpc": "2.0", "id": ID, "method": rpc,
            "params": {
                "protocolVersion": PROTOCOL, "capabilities": {},
                "clientInfo": {"name": "oc-mcpgw", "version": env!("CARGO_PKG_VERSION")},
            },
        }),
        notification if notification.starts_with("notifications/") => {
            json!({"jsonrpc": "2.0", "method": notification})
        }
        other => json!({"jsonrpc": "2.0", "id": ID, "method": other, "params": {}}),
    };
    message.to_string().into()
}

/// Talks to a server and writes what came of it.
pub(super) async fn talk(run: &Run, probe: Probe) {
    let (initialized, headers) = run.make(probe, Vec::new()).await;
    run.write(&initialized);
    let server = initialized.body.as_ref().and_then(|body| body.server.as_ref());
    let Some(server) = server.filter(|server| !server.protocol_version.is_empty()) else { return };
    let session = with_session(&headers, &server.protocol_version);
    let next = |method: &str, rpc: Option<&str>| {
        let mut next =
            Probe::new(Purpose::McpTools, initialized.subject.clone(), initialized.request.clone());
        next.request.method = method.to_owned();
        next.request.rpc = rpc.map(str::to_owned);
        next
    };
    // Its answer is empty; what matters shows in the next.
    run.make(next("POST", Some("notifications/initialized")), session.clone()).await;
    let tools = run.make(next("POST", Some("tools/list")), session.clone()).await.0;
    run.write(&tools);
    if headers.contains_key(SESSION) {
        // A client that needs a session no more says so; servers that do not care answer 405.
        run.make(next("DELETE", None), session).await;
    }
}

/// The headers that continue a session.
fn with_session(headers: &HeaderMap, version: &str) -> Vec<(&'static str, HeaderValue)> {
    let mut all = Vec::new();
    if let Some(session) = headers.get(SESSION) {
        all.push((SESSION, session.clone()));
    }
    if let Ok(version) = HeaderValue::from_str(version) {
        all.push(("mcp-protocol-version", version));
    }
    all
}
