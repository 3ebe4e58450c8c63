//! Collecting from a cluster: what to follow, how to ask, and what to do with a refusal.
//!
//! Reading order: [`connect`] (kubeconfig to client), `client` (bounds, deadlines, retries),
//! `discovery` (what is served), `list` and `split` (pages to objects), `follow` (which namespaces
//! matter, and why), [`run`] (the order of it all), `objects`, `secrets`, `pods` and [`logs`] (the
//! collectors), `out` (objects to files), `journal` (what happened), `close` (manifest, failures,
//! analysis). [`dry_run`] plans and checks [`permissions`]. Nothing here writes to the cluster: every
//! request is a GET, except reviews of the user's own rights, which the API wants posted and does not store.

pub(crate) mod client;
mod close;
pub mod connect;
mod cx;
mod discovery;
pub mod disk;
pub mod dry_run;
mod event_page;
mod follow;
mod forward;
mod journal;
mod list;
mod live;
pub mod logs;
mod objects;
mod out;
pub mod permissions;
mod pieces;
mod pods;
pub mod probe;
pub mod progress;
mod room;
pub mod run;
mod secrets;
mod split;
pub mod stop;
mod topology;
pub mod units;
mod wanted;
mod work;

pub(crate) use work::threads;

use std::time::Duration;

use crate::archive::write::{Format, Target};

/// What to collect, how, and where to put it.
#[derive(Debug, Clone)]
pub struct Options {
    /// How to reach the cluster.
    pub connection: connect::Connection,
    /// The namespaces to look in; empty: follow the objects wherever they lead.
    pub namespaces: Vec<String>,
    /// Where the archive goes.
    pub output: Output,
    /// In which form.
    pub format: Format,
    /// From when on logs are wanted.
    pub since: Option<logs::Since>,
    /// How much of one log is kept, in bytes.
    pub max_log_bytes: u64,
    /// How large the archive may become, in bytes; logs are left out for that.
    pub max_size: Option<u64>,
    /// After how long the archive is closed with what is there.
    pub timeout: Duration,
    /// How many requests run side by side.
    pub concurrency: usize,
    /// How many requests are begun per second.
    pub qps: Option<f64>,
    /// What running pods are asked.
    pub probes: probe::Probes,
    /// Whether to analyze what was collected.
    pub analyze: bool,
    /// How to redact, beyond what is always done.
    pub redact: crate::redact::Options,
}

/// Where the archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Beside us, named after its root folder.
    Here,
    /// A file; or, where that is an existing directory, a file in it named after the root folder.
    Path(std::path::PathBuf),
    /// This target as it is.
    Target(Target),
}

/// The default of `--max-log-bytes`.
pub const MAX_LOG_BYTES: u64 = 32 << 20;
/// The default of `--timeout`.
pub const TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// The default of `--concurrency`.
pub const CONCURRENCY: usize = 16;

impl Default for Options {
    fn default() -> Self {
        Self {
            connection: connect::Connection::default(),
            namespaces: Vec::new(),
            output: Output::Here,
            format: Format::default(),
            since: None,
            max_log_bytes: MAX_LOG_BYTES,
            max_size: None,
            timeout: TIMEOUT,
            concurrency: CONCURRENCY,
            qps: None,
            probes: probe::Probes::default(),
            analyze: true,
            redact: crate::redact::Options::default(),
        }
    }
}

impl Options {
    /// The options as words, for the manifest. Nothing of the connection: it may hold credentials.
    fn words(&self) -> std::collections::BTreeMap<String, String> {
        let mut words = std::collections::BTreeMap::new();
        let mut add = |key: &str, value: String| words.insert(key.to_owned(), value);
        if !self.namespaces.is_empty() {
            add("namespaces", self.namespaces.join(","));
        }
        match self.since {
            Some(logs::Since::Ago(ago)) => add("since", units::human_duration(ago)),
            Some(logs::Since::Time(time)) => add("sinceTime", time.to_rfc3339()),
            None => None,
        };
        add("maxLogBytes", self.max_log_bytes.to_string());
        if let Some(max_size) = self.max_size {
            add("maxSize", max_size.to_string());
        }
        add("timeout", units::human_duration(self.timeout));
        add("concurrency", self.concurrency.to_string());
        if let Some(qps) = self.qps {
            add("qps", qps.to_string());
        }
        add("probe", self.probes.words());
        add("analyze", self.analyze.to_string());
        words
    }
}
