//! `mcpgw/manifest.json` and `mcpgw/failures.json`: what was asked for, what came, what did not.

use serde::{Deserialize, Serialize};

use crate::model::bundle::Collection;

/// The version of the manifest's form; readers accept older ones.
pub const SCHEMA_VERSION: &str = "mcpgw.manifest/v1";

/// The manifest of an archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// The version of the program.
    pub tool_version: String,
    /// The cluster's name, as the kubeconfig or the cluster itself calls it.
    pub cluster: String,
    /// The version that the API server reports.
    #[serde(default)]
    pub server_version: Option<String>,
    /// When the collection began, RFC 3339.
    pub started: String,
    /// When it ended.
    pub ended: String,
    /// Whether a signal, a deadline or a full disk ended it early, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_short: Option<String>,
    /// The options that shaped it, as words.
    pub options: std::collections::BTreeMap<String, String>,
    /// The namespaces that were followed, each with the reason.
    pub namespaces: std::collections::BTreeMap<String, String>,
    /// How each kind was collected, where.
    pub collections: Vec<Collection>,
    /// Every other file of the archive, sorted by path.
    pub files: Vec<FileEntry>,
}

/// One file of the archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// The path under the root folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// The request that it came from (`GET /api/v1/…`), or what made it.
    pub source: String,
    /// Whether something was left out of it (a byte limit, a stream that broke off).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}
