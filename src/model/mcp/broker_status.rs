//! The broker's `/status`: which upstream servers it has, and how they are.
//!
//! Decoded leniently: versions before 0.7 have fewer fields.

use serde_json::Value;

use crate::model::{Bundle, Object};
use crate::report::Evidence;

/// One upstream server as the broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its position in `servers`.
    pub index: usize,
    /// `namespace/name` of the registration.
    pub name: String,
    /// Whether the broker can use it.
    pub ready: bool,
    /// What the broker says about it; holds the upstream's error.
    pub message: String,
    /// How many tools it offers, if the version says so.
    pub tools: Option<u64>,
    /// How many of its tools the broker refuses.
    pub invalid_tools: u64,
    /// How many of its prompts the broker refuses.
    pub invalid_prompts: u64,
    /// The protocol version that it speaks and the one expected, when they do not fit.
    pub protocol: Option<(String, String)>,
}

/// The status of one broker pod.
#[derive(Debug, Clone)]
pub struct BrokerStatus<'a> {
    /// The pod.
    pub pod: &'a Object,
    /// The file in the bundle.
    pub file: String,
    /// The servers.
    pub servers: Vec<Server>,
}

impl BrokerStatus<'_> {
    /// Evidence: one field of one server.
    #[must_use]
    pub fn evidence(&self, server: &Server, field: &str, value: impl Into<String>) -> Evidence {
        Evidence {
            file: self.file.clone(),
            path: Some(format!("servers[{}].{field}", server.index)),
            line: None,
            value: Some(value.into()),
            note: None,
        }
    }
}

/// The statuses of these broker pods, as far as they were collected and can be read.
#[must_use]
pub fn read<'a>(bundle: &Bundle, pods: &[&'a Object]) -> Vec<BrokerStatus<'a>> {
    pods.iter()
        .filter_map(|pod| {
            let file = format!("mcpgw/broker/{}/{}/status.json", pod.namespace(), pod.name());
            let value: Value = serde_json::from_slice(&bundle.extra(&file)?.content).ok()?;
            let servers = value.get("servers")?.as_array()?;
            let servers = servers.iter().enumerate().map(|(index, server)| read_server(index, server));
            Some(BrokerStatus { pod, file, servers: servers.collect() })
        })
        .collect()
}

fn read_server(index: usize, value: &Value) -> Server {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |key: &str| value.get(key).and_then(Value::as_u64);
    let id = text("/id");
    let name = match text("/name") {
        name if name.contains('/') => name,
        // The id is `<namespace>/<name>:<prefix>:<host>`.
        _ => id.split(':').next().unwrap_or_default().to_owned(),
    };
    let fits = value.pointer("/protocolValidation/isValid").and_then(Value::as_bool).unwrap_or(true);
    Server {
        index,
        name,
        ready: value.get("ready").and_then(Value::as_bool).unwrap_or(true),
        message: text("/message"),
        tools: number("totalTools"),
        invalid_tools: number("invalidTools").unwrap_or(0),
        invalid_prompts: number("invalidPrompts").unwrap_or(0),
        protocol: (!fits).then(|| {
            (text("/protocolValidation/supportedVersion"), text("/protocolValidation/expectedVersion"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::read_server;
    use serde_json::json;

    #[test]
    fn old_and_new_answers() {
        let old = read_server(
            0,
            &json!({"id": "team/weather:w_:weather.mcp.local", "ready": false, "message": "dial tcp: refused"}),
        );
        assert_eq!((old.name.as_str(), old.ready, old.tools), ("team/weather", false, None));
        let new = read_server(
            1,
            &json!({"name": "team/weather", "ready": true, "totalTools": 3, "invalidTools": 1,
                "protocolValidation": {"isValid": false, "supportedVersion": "2024-11-05", "expectedVersion": "2025-11-25"}}),
        );
        assert_eq!((new.tools, new.invalid_tools), (Some(3), 1));
        assert_eq!(new.protocol, Some(("2024-11-05".to_owned(), "2025-11-25".to_owned())));
    }
}
