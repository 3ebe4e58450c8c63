//! Commands in pods, replayed: a command that a probe of the bundle ran ends as it ended then, any
//! other is not there.
//!
//! Protocol `v4.channel.k8s.io`: the first byte of a message is its channel, 1 for the standard
//! output, 2 for the standard error, 3 for the Status at the end.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures_util::SinkExt as _;
use http::Request;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::request::Query;
use super::status::Status;
use super::{Cluster, portforward};
use crate::model::Bundle;
use crate::model::probes::{Probe, Purpose, probes};

/// Whether any command was run.
pub(super) fn any(bundle: &Bundle) -> bool {
    probes(bundle).iter().any(|recorded| !recorded.probe.request.via.command.is_empty())
}

/// Runs a command as it ran when the bundle was collected.
pub(super) fn answer(
    cluster: &Arc<Cluster>,
    namespace: &str,
    pod: &str,
    query: &Query,
    request: &mut Request<Body>,
) -> Result<Response, Status> {
    cluster.has_pod(namespace, pod)?;
    let command: Vec<String> = query.all("command").map(str::to_owned).collect();
    let messages = replay(&cluster.bundle, namespace, pod, &command);
    portforward::upgraded(cluster, request, move |_, mut socket| async move {
        for (channel, text) in messages {
            let mut message = vec![channel];
            message.extend_from_slice(text.as_bytes());
            if socket.send(Message::binary(message)).await.is_err() {
                return;
            }
        }
        // Nothing follows.
        let _ = socket.close(None).await;
    })
}

/// What a command prints, and its end.
fn replay(bundle: &Bundle, namespace: &str, pod: &str, command: &[String]) -> Vec<(u8, String)> {
    let ran = probes(bundle).into_iter().map(|recorded| recorded.probe).find(|probe| {
        let via = &probe.request.via;
        via.namespace == namespace && via.pod == pod && !command.is_empty() && via.command == command
    });
    let Some(probe) = ran else {
        let name = command.first().map(String::as_str).unwrap_or_default();
        let why = format!("exec: \"{name}\": executable file not found in $PATH: unknown");
        return vec![(3, json!({"metadata": {}, "status": "Failure", "message": why}).to_string())];
    };
    let (stdout, exit) = printed(&probe);
    let stderr = probe.error.map(|fault| fault.message).unwrap_or_default();
    let status = match exit {
        0 => json!({"metadata": {}, "status": "Success"}),
        code => json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with exit code {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}}),
    };
    let said: [(u8, String); 3] = [(1, stdout), (2, stderr), (3, Value::to_string(&status))];
    said.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

/// The standard output and the exit code that make the record.
fn printed(probe: &Probe) -> (String, i32) {
    let reason = probe.error.as_ref().map(|fault| fault.reason.as_str());
    if probe.purpose == Purpose::Dns {
        let lines: Vec<String> =
            probe.addresses.iter().map(|a| format!("{a} STREAM {}\n", probe.request.host)).collect();
        return (lines.concat(), if reason.is_some() { 2 } else { 0 });
    }
    let exit = match reason {
        None => 0,
        Some("UnknownHost") => 6,
        Some("ConnectionRefused" | "Unreachable") => 7,
        Some("ConnectTimeout") => 28,
        Some("TlsError") => 35,
        Some("CertificateNotTrusted") => 60,
        Some("ConnectionClosed") => 52,
        Some(_) => 2,
    };
    let seconds = |ms: Option<u64>| ms.unwrap_or_default() as f64 / 1000.0;
    let (connect, tls) = (seconds(probe.timings.connect_ms), seconds(probe.timings.tls_ms));
    let first = connect + tls + seconds(probe.timings.first_byte_ms);
    let status = probe.status.unwrap_or_default();
    (format!("mcpgw {status:03} {connect:.6} {:.6} {first:.6} {first:.6}", connect + tls), exit)
}
