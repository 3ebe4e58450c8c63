//! What runs: the hosts of clusters with their health and counters, and the statistics.

use std::collections::HashMap;

use super::dump::{items, text};
use crate::model::json::Value;

/// One host of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Address and port.
    pub address: String,
    /// Whether Envoy sends it requests.
    pub healthy: bool,
    /// Why not, the words of Envoy.
    pub flags: String,
    /// Connections tried since the proxy's start.
    pub connections: u64,
    /// Of these, failed.
    pub connect_failures: u64,
    /// Requests.
    pub requests: u64,
    /// Of these, ended with an error (5xx, reset).
    pub errors: u64,
}

/// The hosts of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterHealth {
    /// The hosts.
    pub hosts: Vec<Host>,
}

impl ClusterHealth {
    /// How many hosts take requests.
    #[must_use]
    pub fn healthy(&self) -> usize {
        self.hosts.iter().filter(|h| h.healthy).count()
    }

    /// Whether there were connections, and all of them failed.
    #[must_use]
    pub fn never_connects(&self) -> bool {
        let tried: u64 = self.hosts.iter().map(|h| h.connections).sum();
        let failed: u64 = self.hosts.iter().map(|h| h.connect_failures).sum();
        tried >= 3 && failed >= tried
    }
}

/// A number of the admin port: JSON numbers, or strings for 64 bits.
fn number(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::Number(n)) => n.as_u64().unwrap_or(0),
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Reads `/clusters?format=json`.
pub(super) fn clusters_json(content: &[u8]) -> Option<HashMap<String, ClusterHealth>> {
    let value: Value = serde_json::from_slice(content).ok()?;
    let statuses = value.get("cluster_statuses")?.as_array()?;
    let mut found = HashMap::new();
    for status in statuses {
        let hosts = items(status, "host_statuses")
            .iter()
            .map(|host| {
                let socket = host.pointer("/address/socket_address");
                let address = socket
                    .map(|s| format!("{}:{}", text(s, "address"), number(s.get("port_value"))))
                    .unwrap_or_default();
                let counter = |name: &str| {
                    items(host, "stats")
                        .iter()
                        .find(|s| text(s, "name") == name)
                        .map_or(0, |s| number(s.get("value")))
                };
                let health = host.get("health_status");
                let mut flags = Vec::new();
                let eds = health.map(|h| text(h, "eds_health_status")).unwrap_or_default();
                if !matches!(eds, "" | "HEALTHY" | "DEGRADED" | "UNKNOWN") {
                    flags.push(eds.to_owned());
                }
                for (key, value) in health.and_then(Value::as_object).into_iter().flatten() {
                    if key.starts_with("failed_") && value.as_bool() == Some(true) {
                        flags.push(key.to_owned());
                    }
                }
                Host {
                    address,
                    healthy: flags.is_empty(),
                    flags: flags.join(","),
                    connections: counter("cx_total"),
                    connect_failures: counter("cx_connect_fail"),
                    requests: counter("rq_total"),
                    errors: counter("rq_error"),
                }
            })
            .collect();
        found.insert(text(status, "name").to_owned(), ClusterHealth { hosts });
    }
    Some(found)
}

/// Reads the text of `/clusters`: `cluster::address:port::key::value`.
pub(super) fn clusters_text(content: &str) -> HashMap<String, ClusterHealth> {
    let mut found: HashMap<String, ClusterHealth> = HashMap::new();
    for line in content.lines() {
        // A cluster's name has no `::`, an IPv6 address stands in brackets.
        let Some((cluster, rest)) = line.split_once("::") else { continue };
        let Some((rest, value)) = rest.rsplit_once("::") else { continue };
        let Some((address, key)) = rest.rsplit_once("::") else {
            found.entry(cluster.to_owned()).or_default();
            continue;
        };
        if !address.contains(':') {
            found.entry(cluster.to_owned()).or_default();
            continue;
        }
        let health = found.entry(cluster.to_owned()).or_default();
        let at = health.hosts.iter().position(|h| h.address == address).unwrap_or_else(|| {
            health.hosts.push(Host { address: address.to_owned(), healthy: true, ..Host::default() });
            health.hosts.len() - 1
        });
        let host = &mut health.hosts[at];
        let count = || value.parse().unwrap_or(0);
        match key {
            "health_flags" => {
                host.healthy = value == "healthy";
                if !host.healthy {
                    value.clone_into(&mut host.flags);
                }
            }
            "cx_total" => host.connections = count(),
            "cx_connect_fail" => host.connect_failures = count(),
            "rq_total" => host.requests = count(),
            "rq_error" => host.errors = count(),
            _ => {}
        }
    }
    found
}

/// The endpoints of a cluster in the configuration dump (`?include_eds`).
pub(super) fn endpoints(section: &Value, cluster: &str) -> Option<ClusterHealth> {
    let lists = ["dynamic_endpoint_configs", "static_endpoint_configs"];
    let config = lists
        .iter()
        .flat_map(|list| items(section, list))
        .find_map(|entry| entry.get("endpoint_config").filter(|c| text(c, "cluster_name") == cluster))?;
    let mut hosts = Vec::new();
    for group in items(config, "endpoints") {
        for endpoint in items(group, "lb_endpoints") {
            let socket = endpoint.pointer("/endpoint/address/socket_address");
            let status = text(endpoint, "health_status");
            hosts.push(Host {
                address: socket
                    .map(|s| format!("{}:{}", text(s, "address"), number(s.get("port_value"))))
                    .unwrap_or_default(),
                healthy: matches!(status, "" | "HEALTHY" | "DEGRADED" | "UNKNOWN"),
                flags: status.to_owned(),
                ..Host::default()
            });
        }
    }
    Some(ClusterHealth { hosts })
}

/// The statistics of `/stats`. Istio's default configuration keeps few of them, so that what is not
/// there is unknown and not zero.
#[derive(Debug)]
pub struct Stats {
    /// The file in the bundle.
    pub file: String,
    values: HashMap<String, (u64, u64)>,
}

impl Stats {
    pub(super) fn parse(file: &str, content: &str) -> Self {
        let values = content
            .lines()
            .enumerate()
            .filter_map(|(index, line)| {
                let (name, value) = line.rsplit_once(": ")?;
                Some((name.to_owned(), (value.trim().parse().ok()?, index as u64 + 1)))
            })
            .collect();
        Self { file: file.to_owned(), values }
    }

    /// A counter or gauge and its line; `None` when Envoy does not keep it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(u64, u64)> {
        self.values.get(name).copied()
    }
}
