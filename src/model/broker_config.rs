//! The gateway's config Secret (`mcp-gateway-config`, key `config.yaml`): which servers the broker
//! is told to use, without any credential.
//!
//! A redacted bundle holds the projection in the annotation [`ANNOTATION`] of the Secret (and, for
//! people, in `mcpgw/config-secret/<namespace>.yaml`); in a bundle that was not redacted it is
//! computed from the value. [`read`] does not tell its caller which it was. Field names are those of
//! the gateway's `internal/config`, of all versions (`toolPrefix` and `enabled` are older than `prefix`
//! and `state`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::secret_shape::{self, Shape};
use super::yaml;

/// The annotation of a redacted Secret that holds the projection, as JSON.
pub const ANNOTATION: &str = "mcpgw.kuadrant.io/config";
/// The key of the configuration in the Secret.
pub const KEY: &str = "config.yaml";
/// The name of the Secret.
pub const NAME: &str = "mcp-gateway-config";

/// The configuration of a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerConfig {
    /// The servers, in the order of the file.
    pub servers: Vec<Server>,
    /// The virtual servers.
    pub virtual_servers: Vec<VirtualServer>,
    /// The CA bundle for all servers.
    #[serde(rename = "gatewayCACertPEM", skip_serializing_if = "Option::is_none")]
    pub gateway_ca: Option<Shape>,
    /// Why the configuration cannot be read, if it cannot; the broker then keeps its old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// One server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// `namespace/name` of the registration.
    pub name: String,
    /// Where the broker reaches it, without user part and query.
    pub url: String,
    /// The host that the gateway routes to it.
    pub hostname: String,
    /// The prefix of its tools (`toolPrefix` in older versions).
    #[serde(alias = "toolPrefix")]
    pub prefix: String,
    /// `Enabled` or `Disabled`; older versions have `enabled`.
    pub state: Option<String>,
    /// Older versions' `enabled`.
    pub enabled: Option<bool>,
    /// Its categories.
    pub category: Vec<String>,
    /// Whether its tools are listed per user.
    pub user_specific_list: Option<String>,
    /// The shape of the value of its Authorization header.
    pub credential: Option<Shape>,
    /// The older way to say how to authenticate.
    pub auth: Option<Auth>,
    /// The shape of its CA bundle, with the facts of the certificates.
    pub ca_cert: Option<Shape>,
}

impl Server {
    /// Whether the broker is told not to use it.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.state.as_deref() == Some("Disabled") || (self.state.is_none() && self.enabled == Some(false))
    }

    /// The path of its URL.
    #[must_use]
    pub fn path(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        rest.find('/').map_or("/", |at| &rest[at..])
    }

    /// The namespace and the name of the registration.
    #[must_use]
    pub fn registration(&self) -> Option<(&str, &str)> {
        self.name.split_once('/')
    }
}

/// How to authenticate, in older versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Auth {
    /// The scheme.
    #[serde(rename = "type")]
    pub kind: String,
    /// The shape of the token.
    pub token: Option<Shape>,
    /// The shape of the user's name.
    pub username: Option<Shape>,
    /// The shape of the password.
    pub password: Option<Shape>,
}

/// A virtual server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualServer {
    /// `namespace/name`.
    pub name: String,
    /// The tools that it offers.
    pub tools: Vec<String>,
}

/// Whether a Secret is a gateway's config Secret.
#[must_use]
pub fn is_config_secret(secret: &Value) -> bool {
    secret.pointer("/metadata/name").and_then(Value::as_str) == Some(NAME)
        || secret.pointer("/metadata/labels/mcp.kuadrant.io~1aggregated").and_then(Value::as_str)
            == Some("true")
}

/// Reads the configuration out of the config Secret, redacted or not. `None` when the Secret has no
/// configuration, or when the bundle keeps nothing of it but its length.
#[must_use]
pub fn read(secret: &Value) -> Option<BrokerConfig> {
    let annotation =
        secret.pointer("/metadata/annotations").and_then(|a| a.get(ANNOTATION)).and_then(Value::as_str);
    if let Some(text) = annotation {
        return serde_json::from_str(text).ok();
    }
    let values = secret_shape::values(secret);
    let value = values.get(KEY)?;
    if value.ends_with(b" bytes long") {
        return None;
    }
    // Equality tokens of an original stay in memory; a plain hash is enough there.
    let token =
        |value: &[u8]| Sha256::digest(value)[..8].iter().map(|b| format!("{b:02x}")).collect::<String>();
    serde_json::from_value(project(value, &token)).ok()
}

/// The projection of a configuration: what may be known, credentials as [`Shape`]s.
pub(crate) fn project(config: &[u8], token: &dyn Fn(&[u8]) -> String) -> Value {
    let parsed: Result<Value, _> = yaml::document(config);
    let config = match parsed {
        Ok(Value::Object(config)) => config,
        Ok(Value::Null) => Map::new(),
        Ok(_) => return json!({"unreadable": "is not a mapping"}),
        // The message of the parser quotes the text, which may be a credential.
        Err(error) => {
            let place = error.location().map_or(String::new(), |at| format!(" in line {}", at.line()));
            return json!({"unreadable": format!("is not YAML{place}")});
        }
    };
    let shape = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        serde_json::to_value(Shape::of(text.as_bytes(), token)).unwrap_or_default()
    };
    let mut out = Map::new();
    for (key, value) in &config {
        let projected = match (key.as_str(), value) {
            ("servers", Value::Array(servers)) => {
                servers.iter().map(|server| project_server(server, &shape)).collect()
            }
            ("virtualServers", Value::Array(servers)) => servers
                .iter()
                .map(|server| json!({"name": text(server, "name"), "tools": strings(&server["tools"])}))
                .collect(),
            (_, Value::Null) => continue,
            // Whatever else there is may be, or hold, a secret.
            ("gatewayCACertPEM", value) => shape(value),
            _ => continue,
        };
        out.insert(key.clone(), projected);
    }
    Value::Object(out)
}

/// The credentials in a configuration, for the redactor to search for.
pub(crate) fn credentials(config: &[u8]) -> Vec<String> {
    let Ok(config) = yaml::document::<Value>(config) else { return Vec::new() };
    let mut found = Vec::new();
    for server in config.get("servers").and_then(Value::as_array).into_iter().flatten() {
        for pointer in ["/credential", "/auth/token", "/auth/password"] {
            found.extend(server.pointer(pointer).and_then(Value::as_str).map(str::to_owned));
        }
        // Credentials in the address.
        let url = text(server, "url");
        let authority = url
            .split_once("://")
            .map_or("", |(_, rest)| rest)
            .split(['/', '?', '#'])
            .next()
            .unwrap_or_default();
        let user = authority.rsplit_once('@').map(|(user, _)| user);
        found.extend(user.map(|user| user.split_once(':').map_or(user, |(_, password)| password).to_owned()));
    }
    found
}

fn project_server(server: &Value, shape: &dyn Fn(&Value) -> Value) -> Value {
    let mut out = Map::new();
    let Value::Object(server) = server else { return Value::Object(out) };
    for (key, value) in server {
        let projected = match (key.as_str(), value) {
            (_, Value::Null) => continue,
            ("url", Value::String(url)) => Value::String(bare_url(url)),
            (
                "name" | "hostname" | "prefix" | "toolPrefix" | "state" | "userSpecificList",
                Value::String(text),
            ) => Value::String(text.clone()),
            ("enabled", Value::Bool(enabled)) => Value::Bool(*enabled),
            ("category" | "tags", Value::Array(_)) => json!(strings(value)),
            ("category", Value::String(one)) => json!([one]),
            ("credential" | "caCert", value) => shape(value),
            ("auth", Value::Object(auth)) => {
                let mut inner = Map::new();
                for (key, value) in auth {
                    match key.as_str() {
                        "type" => inner.insert(
                            key.clone(),
                            Value::String(value.as_str().unwrap_or_default().to_owned()),
                        ),
                        "token" | "username" | "password" => inner.insert(key.clone(), shape(value)),
                        _ => None,
                    };
                }
                Value::Object(inner)
            }
            _ => continue,
        };
        out.insert(key.clone(), projected);
    }
    Value::Object(out)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn bare_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::*;

    #[test]
    fn a_projection_has_no_credential_and_reads_like_the_original() {
        let config = "servers:\n- name: mcp-test/weather\n  url: http://user:hunter2@weather.mcp-test.svc:8080/mcp?key=hunter2\n  hostname: weather.mcp.local\n  prefix: weather_\n  state: Enabled\n  credential: \"Bearer hunter2hunter2\"\n  auth: {type: bearer, token: hunter2}\n  unknown: hunter2\nvirtualServers:\n- name: a/b\n  tools: [weather_now]\nother: hunter2\n";
        let secret = json!({"kind": "Secret", "metadata": {"name": NAME}, "data": {KEY: BASE64_STANDARD.encode(config)}});
        let read_back = read(&secret).expect("a configuration");
        let server = &read_back.servers[0];
        assert_eq!(server.url, "http://weather.mcp-test.svc:8080/mcp");
        assert_eq!(server.prefix, "weather_");
        assert_eq!(server.credential.as_ref().and_then(|c| c.scheme.as_deref()), Some("Bearer"));
        assert_eq!(server.registration(), Some(("mcp-test", "weather")));
        let projection = project(config.as_bytes(), &|_| "00000000".into());
        assert!(!projection.to_string().contains("hunter2"), "{projection}");
        let redacted = json!({"metadata": {"annotations": {ANNOTATION: projection.to_string()}}});
        assert_eq!(read(&redacted).expect("a projection").servers[0].url, server.url);
        let broken = json!({"data": {KEY: BASE64_STANDARD.encode("servers: [hunter2")}});
        let why = read(&broken).and_then(|c| c.unreadable).expect("says why");
        assert!(!why.contains("hunter2"), "{why}");
    }
}
