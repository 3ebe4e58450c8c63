//! Pseudonyms for what is no secret, but says whose cluster it is: addresses, hosts, e-mail addresses, and
//! the names of namespaces, nodes and the cluster.
//!
//! It takes two looks. [`Names`] reads everything first, so that a name is known before the first byte is
//! written; [`Obfuscator`] then replaces, within the gate and after the secrets: strings of objects by
//! the meaning of their fields, everything by the tokens in it. The same original has the same pseudonym in
//! the whole bundle, and the relations that an analysis lives from stay: classes and subnets of
//! addresses, domains of hosts, the order of namespaces. [`Remains`] looks once more at what was
//! written, with code of its own.
//!
//! The key is drawn for each run and never stored. What stood for what is known to
//! [`Obfuscator::mapping`] alone.

mod address;
mod context;
mod learn;
mod object;
mod pseudonym;
mod remains;
mod stream;
mod text;
mod tokens;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use serde::Serialize;

use self::address::Addresses;
pub use self::learn::Names;
use self::learn::Pairs;
use self::pseudonym::Hosts;
pub use self::remains::Remains;
pub(super) use self::stream::Veil;
use self::text::Needle;
use crate::redact::placeholder::Key;

/// A kind of value that gets pseudonyms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// IPv4 and IPv6 addresses and networks.
    Ip,
    /// Host names outside the cluster.
    Host,
    /// E-mail addresses.
    Email,
    /// Namespaces, but those that every installation has.
    Namespace,
    /// Nodes.
    Node,
    /// The name and the identifiers of the cluster.
    Cluster,
}

impl What {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Ip, Self::Host, Self::Email, Self::Namespace, Self::Node, Self::Cluster];

    /// The word for it, as on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Host => "host",
            Self::Email => "email",
            Self::Namespace => "namespace",
            Self::Node => "node",
            Self::Cluster => "cluster",
        }
    }
}

/// One line of the mapping.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Entry {
    /// What it is.
    pub kind: What,
    /// What the cluster calls it.
    pub original: String,
    /// What the bundle calls it.
    pub pseudonym: String,
}

/// Replaces names by pseudonyms. Clones share the mapping.
#[derive(Debug, Clone)]
pub struct Obfuscator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    what: BTreeSet<What>,
    key: Key,
    namespaces: BTreeMap<String, String>,
    nodes: BTreeMap<String, String>,
    clusters: BTreeMap<String, String>,
    pairs: Pairs,
    addresses: Addresses,
    hosts: Hosts,
    /// Everything that is searched for by its letters.
    search: Option<AhoCorasick>,
    needles: Vec<Needle>,
    used: Mutex<BTreeMap<(What, String), String>>,
}

impl Obfuscator {
    fn new(names: Names) -> Self {
        let Names { what, key, namespaces, nodes, clusters, hosts: learned, pairs } = names;
        let hosts = Hosts::default();
        let wanted = |kind: What| what.contains(&kind);
        hosts.keep_typing_errors(&key, &learned);
        let namespaces =
            if wanted(What::Namespace) { pseudonym::namespaces(&namespaces) } else { BTreeMap::new() };
        let taken = nodes.clone();
        let nodes: BTreeMap<String, String> = nodes
            .into_iter()
            .filter(|_| wanted(What::Node))
            .map(|name| {
                let new = match name.contains('.') {
                    true => hosts.map(&key, &name),
                    false => match taken
                        .iter()
                        .find(|long| long.strip_prefix(&name).is_some_and(|r| r.starts_with('.')))
                    {
                        // The first label of a node that has a domain.
                        Some(long) => hosts.map(&key, long).split('.').next().unwrap_or_default().to_owned(),
                        None => pseudonym::node(&key, &name, &taken),
                    },
                };
                (name, new)
            })
            .collect();
        let clusters: BTreeMap<String, String> = clusters
            .into_iter()
            .filter(|_| wanted(What::Cluster))
            .map(|name| {
                let new = pseudonym::cluster(&key, &name);
                (name, new)
            })
            .collect();
        let zones: BTreeSet<String> =
            learned.iter().filter(|_| wanted(What::Host)).map(|host| text::zone(host).to_owned()).collect();
        let needles = text::needles(&zones, &namespaces, &nodes, &clusters);
        let search = text::search(&needles);
        let inner = Inner {
            what,
            key,
            namespaces,
            nodes,
            clusters,
            pairs,
            addresses: Addresses::new(),
            hosts,
            search,
            needles,
            used: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What is replaced.
    #[must_use]
    pub fn what(&self) -> &BTreeSet<What> {
        &self.inner.what
    }

    /// Everything that was replaced so far, sorted. It holds the originals: it belongs into a file of the user's
    /// own, never into a bundle.
    #[must_use]
    pub fn mapping(&self) -> Vec<Entry> {
        let used = self.inner.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.iter()
            .map(|((kind, original), pseudonym)| Entry {
                kind: *kind,
                original: original.clone(),
                pseudonym: pseudonym.clone(),
            })
            .collect()
    }

    /// How many originals of each kind were replaced.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (kind, _) in self.inner.used.lock().unwrap_or_else(PoisonError::into_inner).keys() {
            *counts.entry(kind.as_str().to_owned()).or_default() += 1;
        }
        counts
    }

    /// The text with pseudonyms; `None` when nothing in it has one.
    #[must_use]
    pub(super) fn text(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.inner.text(text, 0)
    }

    /// Replaces in a string.
    pub(super) fn string(&self, text: &mut String) {
        if let Some(new) = self.inner.text(text.as_bytes(), 0) {
            *text = String::from_utf8_lossy(&new).into_owned();
        }
    }

    /// Replaces in an object, by the meaning of its fields.
    pub(super) fn object(&self, value: &mut serde_json::Value) {
        self.inner.object(value);
    }

    /// The name of the root folder: the cluster's name stands in it whatever it is called.
    #[must_use]
    pub fn cluster(&self, name: &str) -> String {
        if let Some(new) = self.inner.clusters.get(name) {
            self.inner.record(What::Cluster, name, new);
            return new.clone();
        }
        let mut name = name.to_owned();
        self.string(&mut name);
        name
    }

    /// Searches what was written for originals that remain.
    #[must_use]
    pub fn remains(&self) -> Remains {
        Remains::new(&self.mapping())
    }
}

impl Inner {
    fn wants(&self, kind: What) -> bool {
        self.what.contains(&kind)
    }

    fn record(&self, kind: What, original: &str, pseudonym: &str) {
        if original == pseudonym {
            return;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.entry((kind, original.to_owned())).or_insert_with(|| pseudonym.to_owned());
    }

    /// The pseudonym of a name whose field says what it is.
    fn named(&self, kind: What, name: &str) -> Option<String> {
        let names = match kind {
            What::Namespace => &self.namespaces,
            What::Node => &self.nodes,
            What::Cluster => &self.clusters,
            What::Ip | What::Host | What::Email => return None,
        };
        let new = names.get(name)?;
        self.record(kind, name, new);
        Some(new.clone())
    }
}
