//! Which names there are: learned from fields that carry them, before anything is replaced.
//!
//! "Anything with dots" is no host: API groups, label keys, file names and versions have dots too. A host is
//! what stands in a field for hosts or in a URL; from then on its domain is known, and whatever is in that
//! domain is replaced wherever it stands.

use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::LazyLock;

use regex::bytes::Regex;
use serde_json::{Map, Value};

use super::address::Addresses;
use super::pseudonym::Hosts;
use super::{Obfuscator, What, vocabulary};
use crate::redact::placeholder::Key;

/// How deep text may hold objects that hold text.
const DEPTH: usize = 8;

/// Names that were met, before they get pseudonyms.
#[derive(Debug)]
pub struct Names {
    pub(super) what: BTreeSet<What>,
    pub(super) key: Key,
    pub(super) namespaces: BTreeSet<String>,
    pub(super) nodes: BTreeSet<String>,
    pub(super) clusters: BTreeSet<String>,
    pub(super) hosts: BTreeSet<String>,
    pub(super) pairs: Pairs,
}

/// Which names stand in which namespaces, as hashes.
#[derive(Debug, Default)]
pub(super) struct Pairs(HashSet<u64>);

impl Pairs {
    fn hash(namespace: &str, name: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (namespace, name).hash(&mut hasher);
        hasher.finish()
    }

    fn add(&mut self, namespace: &str, name: &str) {
        self.0.insert(Self::hash(namespace, name));
    }

    /// Whether an object of this name stands in this namespace.
    pub(super) fn has(&self, namespace: &str, name: &str) -> bool {
        self.0.contains(&Self::hash(namespace, name))
    }
}

/// What the value of a field is by the field's name.
pub(super) fn class_of(key: &str) -> Option<What> {
    if key.len() > 64 {
        return None;
    }
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| plain.ends_with(ending));
    if ends(&["namespace", "namespaces", "kubernetesiometadataname"])
        || matches!(plain.as_str(), "ns" | "exportto")
    {
        Some(What::Namespace)
    } else if ends(&["nodename", "nodenames", "kubernetesiohostname"])
        || matches!(plain.as_str(), "node" | "host" | "hostname" | "nodes")
    {
        Some(What::Node)
    } else if ends(&["clustername", "clusterid", "infrastructurename", "clusterapicluster", "infraid"])
        || plain == "cluster"
    {
        Some(What::Cluster)
    } else {
        None
    }
}

/// Whether a field of this name says which cluster this is.
fn is_identity(key: &str) -> bool {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    ["clusterid", "infrastructurename", "clusterapicluster", "infraid"].iter().any(|end| plain.ends_with(end))
}

/// Whether a field of this name holds hosts.
fn is_host_field(key: &str) -> bool {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    [
        "host",
        "hosts",
        "hostname",
        "hostnames",
        "domain",
        "domains",
        "dnsnames",
        "dnsname",
        "commonname",
        "servername",
        "servernames",
        "sni",
        "snihosts",
        "externalname",
        "authority",
        "subjectaltnames",
        "altnames",
        "cname",
        "fqdn",
        "names",
        "address",
        "addresses",
        "targets",
        "server",
        "endpoint",
        "dns",
        "uri",
        "url",
    ]
    .iter()
    .any(|word| plain == *word)
        || ["host", "hostname", "hosts", "domain", "servername", "hostheader", "publichost", "privatehost"]
            .iter()
            .any(|word| plain.ends_with(word))
}

/// Hosts in text: behind a scheme, or behind a word that says so.
static HOSTS_IN_TEXT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"(?i-u)(?:[a-z][a-z0-9+]{1,12}(?:://|%3a%2f%2f)(?:[^\s/@"'<>\\]{1,200}@)?|\blookup |"#,
        r#"(?:authority|host(?:name)?s?|server_?name|sni|domain|fqdn|dns)[\\"']{0,4}\s?[:=]\s?[\[\\"']{0,4})"#,
        r"(?P<host>(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]{0,62}\.)+[a-z][a-z0-9-]{0,61}[a-z0-9])"
    ))
    .ok()
});

/// Endings of files, which are no top-level domains of hosts.
const FILES: &[&str] = &[
    "yaml", "yml", "json", "go", "py", "js", "ts", "rs", "java", "txt", "log", "conf", "cfg", "md", "html",
    "css", "crt", "key", "pem", "sock", "so", "proto", "wasm", "xml", "gz", "tar", "zip",
];

impl Names {
    /// Nothing known yet; `what` is to be replaced.
    #[must_use]
    pub fn new(what: BTreeSet<What>) -> Self {
        Self {
            what,
            key: Key::random(),
            namespaces: BTreeSet::new(),
            nodes: BTreeSet::new(),
            clusters: BTreeSet::new(),
            hosts: BTreeSet::new(),
            pairs: Pairs::default(),
        }
    }

    /// What is to be replaced.
    #[must_use]
    pub fn what(&self) -> &BTreeSet<What> {
        &self.what
    }

    /// What a cluster will be called, to name an archive before anything is collected.
    #[must_use]
    pub fn cluster_pseudonym(&self, name: &str) -> String {
        let wants = |what: What| self.what.contains(&what);
        if vocabulary::keeps_cluster(name) {
            return name.to_owned();
        }
        if wants(What::Cluster) {
            return super::pseudonym::cluster(&self.key, name);
        }
        // A cluster without a name is called like the host of its API server.
        match name.parse::<IpAddr>() {
            Ok(ip) if wants(What::Ip) => Addresses::new().map(&self.key, ip).to_string(),
            Err(_) if wants(What::Host) && name.contains('.') && !vocabulary::is_public(name) => {
                Hosts::default().map(&self.key, &name.to_ascii_lowercase())
            }
            _ => name.to_owned(),
        }
    }

    /// Learns the name of a namespace.
    pub fn namespace(&mut self, name: &str) {
        if is_label(name) {
            self.namespaces.insert(name.to_owned());
        }
    }

    /// Learns the name of a node.
    pub fn node(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        if name.is_empty() || name.len() > 253 || name == "localhost" || name.parse::<IpAddr>().is_ok() {
            return;
        }
        if !name.split('.').all(is_label) {
            return;
        }
        if let Some((short, _)) = name.split_once('.') {
            self.nodes.insert(short.to_owned());
        }
        self.nodes.insert(name);
    }

    /// Learns a name or an identifier of the cluster.
    pub fn cluster(&mut self, name: &str) {
        if !vocabulary::keeps_cluster(name) && name.len() <= 253 && !name.contains(['\n', '"']) {
            self.clusters.insert(name.to_owned());
        }
    }

    /// Learns a host; what is none (an address, one label, a name inside the cluster) is passed over.
    pub fn host(&mut self, text: &str) {
        let mut host = text.trim().to_ascii_lowercase();
        if let Some((_, rest)) = host.split_once("://") {
            host = rest.to_owned();
        }
        let host = host.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        let host = host.strip_prefix("*.").unwrap_or(host).trim_end_matches('.');
        let labels: Vec<&str> = host.split('.').collect();
        let Some(top) = labels.last().filter(|_| labels.len() >= 2) else { return };
        let valid = |label: &&str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if !labels.iter().all(valid)
            || top.len() < 2
            || !top.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            || FILES.contains(top)
            || is_internal(host)
            || vocabulary::is_public(host)
        {
            return;
        }
        self.hosts.insert(host.to_owned());
    }

    /// Learns from a text: the hosts of its URLs.
    pub fn text(&mut self, text: &[u8]) {
        let Some(expression) = HOSTS_IN_TEXT.as_ref().filter(|_| self.what.contains(&What::Host)) else {
            return;
        };
        for found in expression.captures_iter(text) {
            if let Some(host) = found.name("host").and_then(|host| std::str::from_utf8(host.as_bytes()).ok())
            {
                self.host(host);
            }
        }
    }

    /// Learns from an object, or a list of objects.
    pub fn object(&mut self, object: &Value) {
        self.value("", object, 0);
    }

    fn value(&mut self, key: &str, value: &Value, depth: usize) {
        match value {
            Value::String(text) => self.string(key, text, depth),
            Value::Array(items) => items.iter().for_each(|item| self.value(key, item, depth)),
            Value::Object(map) => self.map(map, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn map(&mut self, map: &Map<String, Value>, depth: usize) {
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let kind = text("kind").unwrap_or_default();
        if kind == "CustomResourceDefinition" {
            // Descriptions full of examples; nothing in them is of this cluster.
            return;
        }
        if let (Some(namespace), Some(name)) = (text("namespace"), text("name")) {
            self.pairs.add(namespace, name);
        }
        let named = map
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .and_then(Value::as_str)
            .or(text("name"));
        match (kind, named) {
            ("Namespace" | "Project", Some(name)) => self.namespace(name),
            ("Node", Some(name)) => self.node(name),
            ("Infrastructure", _) => {
                if let Some(name) =
                    map.get("status").and_then(|s| s.get("infrastructureName")).and_then(Value::as_str)
                {
                    self.cluster(name);
                }
            }
            ("Istio" | "IstioRevision" | "IstioOperator", _) => {
                let values = map.get("spec").and_then(|spec| spec.get("values"));
                let name = values.and_then(|values| values.pointer("/global/multiCluster/clusterName"));
                if let Some(name) = name.and_then(Value::as_str) {
                    self.cluster(name);
                }
            }
            ("ClusterVersion", _) => {
                if let Some(id) = map.get("spec").and_then(|s| s.get("clusterID")).and_then(Value::as_str) {
                    self.cluster(id);
                }
            }
            ("NamespaceList" | "NodeList", _) => {
                for name in map.get("items").and_then(Value::as_array).into_iter().flatten() {
                    let Some(name) = name.pointer("/metadata/name").and_then(Value::as_str) else { continue };
                    if kind == "NodeList" { self.node(name) } else { self.namespace(name) }
                }
            }
            _ => {}
        }
        // `{name: POD_NAMESPACE, value: test}`, `{type: Hostname, value: …}`.
        if let (Some(name), Some(value)) = (text("name").or(text("type")).or(text("key")), text("value")) {
            self.string(name, value, depth);
        }
        if let (Some(name), Some(Value::Array(values))) = (text("key"), map.get("values")) {
            values.iter().for_each(|value| self.value(name, value, depth));
        }
        for (key, value) in map {
            // The manifest: `namespaces: {name: reason}`.
            if key == "namespaces"
                && map.contains_key("schemaVersion")
                && let Value::Object(names) = value
            {
                names.keys().for_each(|name| self.namespace(name));
            }
            self.value(key, value, depth);
        }
    }

    fn string(&mut self, key: &str, text: &str, depth: usize) {
        match class_of(key) {
            Some(What::Namespace) => text.split(',').for_each(|name| self.namespace(name.trim())),
            Some(What::Node) if key.to_ascii_lowercase().ends_with("nodename") => self.node(text),
            // Envoy calls its upstreams clusters, too: only fields that cannot mean those.
            Some(What::Cluster) if is_identity(key) => self.cluster(text),
            _ => {}
        }
        if self.what.contains(&What::Host) && is_host_field(key) {
            // Istio: `namespace/host`.
            for host in text.split([',', ' ']) {
                let host = if host.contains("://") { host } else { host.rsplit('/').next().unwrap_or(host) };
                self.host(host);
            }
        }
        let trimmed = text.trim();
        if depth < DEPTH
            && (trimmed.starts_with('{') || trimmed.starts_with('['))
            && let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str::<Value>(trimmed)
        {
            self.value("", &inner, depth + 1);
            return;
        }
        self.text(text.as_bytes());
    }

    /// Learns from the path of a file in a bundle.
    pub fn path(&mut self, path: &str) {
        let parts: Vec<&str> = path.split('/').collect();
        for window in parts.windows(2) {
            match window {
                ["namespaces", name] => {
                    self.namespace(name.trim_end_matches(".yaml").trim_end_matches(".json"));
                }
                ["nodes", name] => self.node(name.trim_end_matches(".yaml").trim_end_matches(".json")),
                _ => {}
            }
        }
        for window in parts.windows(3) {
            if let ["mcpgw", "envoy" | "broker" | "config-secret", name] = window {
                self.namespace(name.trim_end_matches(".yaml"));
            }
        }
        // `mcpgw-gather-<cluster>-<time>`, when a whole tree is the input.
        if let Some(rest) = parts.first().and_then(|root| root.strip_prefix("mcpgw-gather-"))
            && let Some((cluster, _)) = rest.rsplit_once('-')
        {
            self.cluster(cluster);
        }
    }

    /// Ends the learning and gives everything that is known its pseudonym.
    #[must_use]
    pub fn obfuscator(mut self) -> Obfuscator {
        // `service.namespace` looks like a host, and is none.
        let namespaces = &self.namespaces;
        self.hosts.retain(|host| !host.split_once('.').is_some_and(|(_, rest)| namespaces.contains(rest)));
        Obfuscator::new(self)
    }
}

/// Whether this is a valid name of a namespace.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a host is a name that the cluster gives to its Services and pods.
fn is_internal(host: &str) -> bool {
    host.ends_with(".svc")
        || host.contains(".svc.")
        || host.ends_with(".cluster.local")
        || host.ends_with(".pod")
}
