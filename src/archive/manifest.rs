//! `mcpgw/manifest.json` and `mcpgw/failures.json`: what was asked for, what came, what did not.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

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
    pub options: BTreeMap<String, String>,
    /// The namespaces that were followed, each with the reason.
    pub namespaces: BTreeMap<String, String>,
    /// How each kind was collected, where.
    pub collections: Vec<Collection>,
    /// Every other file of the archive, sorted by path.
    pub files: Vec<FileEntry>,
}

impl Manifest {
    /// The manifest of a collection that begins now.
    #[must_use]
    pub fn new(cluster: &str, started: DateTime<Utc>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: cluster.to_owned(),
            server_version: None,
            started: rfc3339(started),
            ended: rfc3339(started),
            cut_short: None,
            options: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            collections: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Ends it: `files` are [`super::write::Writer::entries`], taken when everything but the
    /// manifest itself is in the archive.
    pub fn close(&mut self, files: Vec<FileEntry>, ended: DateTime<Utc>) {
        self.ended = rfc3339(ended);
        self.files = files;
        self.collections.sort_by(|a, b| {
            (&a.group, &a.resource, &a.namespace).cmp(&(&b.group, &b.resource, &b.namespace))
        });
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The SHA-256 of a text, in hexadecimal: what `sha256sum` prints.
#[must_use]
pub fn sha256(content: &[u8]) -> String {
    hex(Sha256::new_with_prefix(content))
}

/// The digest in hexadecimal.
pub(crate) fn hex(digest: Sha256) -> String {
    hex_of(&digest.finalize())
}

/// Bytes in hexadecimal.
pub(crate) fn hex_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One file of the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
