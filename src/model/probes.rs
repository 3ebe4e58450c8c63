//! Probes: what gather asked of the running installation, and what came back.
//!
//! One probe is one file `mcpgw/probes/<purpose>.<namespace>.<name>.json`, written by gather,
//! replayed by `serve`, read by the rules. It holds the request, the status, the headers, how long
//! each step took, what the TLS handshake showed, and the shape of the body; never the body. A probe
//! that was not made is a file, too: [`Probe::skipped`] says why.
//!
//! A probe without an answer ([`Probe::error`]) is evidence only where the error says something of
//! the installation ([`Fault::is_evidence`]); a port-forward that was refused says nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::secret_shape::CertificateFacts;
use super::{Bundle, Missing};
use crate::report::Evidence;

/// The version of the record.
pub const SCHEMA_VERSION: &str = "mcpgw.probe/v1";
/// Where the records stand in an archive.
pub const FOLDER: &str = "mcpgw/probes/";
/// Where OAuth clients look for the metadata of a protected resource (RFC 9728).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// A path that no route is meant to serve.
pub const UNKNOWN_PATH: &str = "/oc-mcpgw-probe-of-an-unknown-path";

/// What a probe wants to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Whether a client without credentials gets the OAuth metadata of the gateway.
    #[default]
    OauthMetadata,
    /// What the gateway answers to `tools/list` without credentials.
    ToolsList,
    /// What the gateway answers to a path that nobody serves.
    UnknownPath,
    /// Whether a registered server speaks MCP: `initialize`.
    McpInitialize,
    /// Which tools a registered server has: `tools/list`.
    McpTools,
    /// Whether a name resolves inside the cluster.
    Dns,
    /// Whether a host outside can be reached from inside the cluster.
    Https,
}

impl Purpose {
    /// The word in the record and in the name of its file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OauthMetadata => "oauth-metadata",
            Self::ToolsList => "tools-list",
            Self::UnknownPath => "unknown-path",
            Self::McpInitialize => "mcp-initialize",
            Self::McpTools => "mcp-tools",
            Self::Dns => "dns",
            Self::Https => "https",
        }
    }
}

/// The object for whose sake something was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// `MCPGatewayExtension`, `MCPServerRegistration`, `AuthPolicy`, …
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The way by which a request went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Via {
    /// `portforward` or `exec`.
    pub way: String,
    /// The namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container, for `exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The port of the pod, for `portforward`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The command, for `exec`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
}

/// What was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    /// The request in one line: `GET https://mcp.example.com/…`, `resolve api.example.com`.
    pub line: String,
    /// The HTTP method; empty where it is no HTTP.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// The path; empty where it is no HTTP.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The Host header, or the name that was to be resolved.
    pub host: String,
    /// The server name of the TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// The JSON-RPC method in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<String>,
    /// By which way.
    pub via: Via,
}

/// How long each step took, in milliseconds from its own beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timings {
    /// Until the stream to the port was open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// The TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ms: Option<u64>,
    /// From the request until the head of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// All of it, until the body had ended.
    pub total_ms: u64,
}

/// What the TLS handshake showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// `TLSv1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The protocol that the peer chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// The certificate of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<CertificateFacts>,
    /// How many certificates the peer sent.
    pub chain: usize,
    /// Why a client with the trust of the machine that asked would refuse the certificate. The
    /// request was made all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<String>,
}

/// The shape of the body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Body {
    /// How many bytes were read.
    pub bytes: u64,
    /// Whether there were more than were read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The media type.
    pub content_type: String,
    /// Whether it is JSON (for a stream of events: whether the event that answers is).
    pub json: bool,
    /// The error of a JSON-RPC answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc_error: Option<RpcError>,
    /// What OAuth metadata says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// What a server says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
    /// The names of the tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
}

/// The error of a JSON-RPC answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RpcError {
    /// Its code.
    pub code: i64,
    /// Its message.
    pub message: String,
}

/// The fields of OAuth metadata that decide whether a client finds its way (RFC 9728).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// `resource`.
    pub resource: String,
    /// `authorization_servers`.
    pub authorization_servers: Vec<String>,
}

/// What a server says of itself when it is initialized.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Server {
    /// `protocolVersion`.
    pub protocol_version: String,
    /// `serverInfo.name`.
    pub name: String,
    /// `serverInfo.version`.
    pub version: String,
    /// The names of its capabilities.
    pub capabilities: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// A stable word: `ConnectionRefused`, `Timeout`, `TlsError`, `Forbidden`, `UnknownHost`, …
    pub reason: String,
    /// What the peer, the kubelet or the client said.
    pub message: String,
}

impl Fault {
    /// Whether it says something of the installation, not only of the way to it.
    #[must_use]
    pub fn is_evidence(&self) -> bool {
        matches!(
            self.reason.as_str(),
            "ConnectionRefused" | "UnknownHost" | "TlsError" | "Unreachable" | "ConnectTimeout" | "NotHttp"
        )
    }
}

/// One probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// What it wants to know.
    pub purpose: Purpose,
    /// For whose sake.
    pub subject: Subject,
    /// What was asked.
    pub request: Request,
    /// When, RFC 3339.
    pub time: String,
    /// The HTTP status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The headers of the answer, names in lower case.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long it took.
    pub timings: Timings,
    /// What the TLS handshake showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The shape of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// The addresses of a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// Why it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

impl Probe {
    /// A probe that is still to be made.
    #[must_use]
    pub fn new(purpose: Purpose, subject: Subject, request: Request) -> Self {
        Self { schema_version: SCHEMA_VERSION.to_owned(), purpose, subject, request, ..Self::default() }
    }

    /// The path of its file in an archive.
    #[must_use]
    pub fn file(&self) -> String {
        let Subject { namespace, name, .. } = &self.subject;
        let mut file = format!("{}.{namespace}.{name}", self.purpose.as_str());
        if matches!(self.purpose, Purpose::Dns | Purpose::Https) {
            // The same host is asked from several pods.
            file = format!("{file}.{}.{}", self.request.host, self.request.via.pod);
        }
        crate::archive::path::probe(&file)
    }

    /// A header of the answer; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Whether it is about this object.
    #[must_use]
    pub fn is_about(&self, object: &super::Object) -> bool {
        self.subject.kind == object.kind()
            && self.subject.namespace == object.namespace()
            && self.subject.name == object.name()
    }
}

/// A probe with the file that holds it.
#[derive(Debug, Clone)]
pub struct Recorded<'a> {
    /// The file.
    pub file: &'a str,
    /// The probe.
    pub probe: Probe,
}

impl Recorded<'_> {
    /// A field of the record as evidence; `path` as in `tls.peer.notAfter`.
    #[must_use]
    pub fn evidence(&self, path: &str, value: impl Into<String>) -> Evidence {
        Evidence {
            file: self.file.to_owned(),
            path: Some(path.to_owned()),
            line: None,
            value: Some(value.into()),
            note: Some(format!("the answer to {}", self.probe.request.line)),
        }
    }

    /// The status as evidence.
    #[must_use]
    pub fn status_evidence(&self) -> Evidence {
        self.evidence("status", self.probe.status.unwrap_or_default().to_string())
    }

    /// What cannot be known because the way to the answer was shut, not the answer wrong.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        let fault = self.probe.error.as_ref().filter(|fault| !fault.is_evidence())?;
        Some(Missing {
            what: format!("probe {}: {}: {}", self.probe.request.line, fault.reason, fault.message),
            how: "oc mcpgw gather, by a user who may create pods/portforward".into(),
        })
    }

    /// The error as evidence.
    #[must_use]
    pub fn error_evidence(&self) -> Evidence {
        let fault = self.probe.error.clone().unwrap_or_default();
        let note = format!("{} from pod {}", self.probe.request.line, self.probe.request.via.pod);
        Evidence {
            note: Some(note),
            ..self.evidence("error.message", format!("{}: {}", fault.reason, fault.message))
        }
    }
}

/// The probes of a bundle. Files of another schema are left out.
#[must_use]
pub fn probes(bundle: &Bundle) -> Vec<Recorded<'_>> {
    bundle
        .extras(FOLDER)
        .filter_map(|file| {
            let probe: Probe = serde_json::from_slice(&file.content).ok()?;
            (probe.schema_version == SCHEMA_VERSION).then_some(Recorded { file: &file.file, probe })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let subject = Subject { kind: "MCPGatewayExtension".into(), namespace: "n".into(), name: "e".into() };
        let request = Request { line: "GET https://h/".into(), host: "h".into(), ..Request::default() };
        let mut probe = Probe::new(Purpose::ToolsList, subject, request);
        probe.status = Some(401);
        probe.headers.insert("www-authenticate".into(), "Bearer".into());
        probe.tls = Some(Tls { version: Some("TLSv1.3".into()), ..Tls::default() });
        let json = serde_json::to_vec(&probe).expect("JSON");
        assert_eq!(serde_json::from_slice::<Probe>(&json).expect("a probe"), probe);
        assert_eq!(probe.file(), "mcpgw/probes/tools-list.n.e.json");
        let mut bundle = Bundle::default();
        bundle.add_extra(crate::model::bundle::ExtraFile { file: probe.file(), content: json });
        let other = br#"{"schemaVersion": "mcpgw.probe/v9", "status": 401}"#.to_vec();
        let file = format!("{FOLDER}other.json");
        bundle.add_extra(crate::model::bundle::ExtraFile { file, content: other });
        assert_eq!(probes(&bundle).len(), 1);
    }
}
