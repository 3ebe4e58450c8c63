//! Envoy's live configuration, as its admin port tells it: listeners with every filter chain,
//! clusters with the health of their hosts, routes, statistics, what was rejected.
//!
//! A tolerant walk over JSON by type URL; fields and types that are not known are passed over, so
//! that a newer Envoy is no obstacle. A dump that was cut off gives the sections that are whole, and
//! says so. What a dump does not have is unknown, not absent ([`Proxy::section`]).

use std::collections::{BTreeMap, HashMap};

use super::bundle::ExtraFile;
use super::workloads::Workloads;
use super::{Bundle, Missing, Object};
use crate::model::json::Value;
use crate::model::object::field_path;
use crate::report::Evidence;
use crate::shell::shell;

mod dump;
mod keep;
mod listener;
mod runtime;

pub use dump::{Dump, Rejection};
pub use keep::lean;
pub use listener::{Chain, HttpFilter, Listener};
pub use runtime::{ClusterHealth, Host, Stats};

/// The type URL (its last part) of the external processing filter.
pub const EXT_PROC: &str = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor";
/// The type URL (its last part) of a wasm filter.
pub const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
/// The type URL (its last part) of the connection manager.
const CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// What was collected from one Envoy.
#[derive(Debug)]
pub struct Proxy<'a> {
    /// Its pod.
    pub pod: &'a Object,
    /// The configuration dump, or what is missing.
    dump: Result<Dump, Missing>,
    /// Host health by cluster, from `/clusters`; the file it came from.
    health: Option<(String, HashMap<String, ClusterHealth>)>,
    /// The statistics, if they were collected.
    stats: Option<Stats>,
    /// `/ready`: the file and its text.
    pub ready: Option<(String, String)>,
    /// `/server_info`: the file and its JSON.
    pub server_info: Option<(String, Value)>,
}

/// Whether this is the place of a configuration dump.
#[must_use]
pub fn is_dump(path: &str) -> bool {
    path.ends_with("/config_dump.json")
}

/// The directory of a pod's Envoy files in the archive.
fn directory(pod: &Object) -> String {
    format!("mcpgw/envoy/{}/{}/", pod.namespace(), pod.name())
}

impl<'a> Proxy<'a> {
    /// Reads what the bundle has of a pod's Envoy.
    #[must_use]
    pub fn read(bundle: &'a Bundle, pod: &'a Object) -> Self {
        let directory = directory(pod);
        let file = |name: &str| bundle.extra(&format!("{directory}{name}"));
        let text = |f: &ExtraFile| String::from_utf8_lossy(&f.content).into_owned();
        let missing = |why: &str| Missing {
            what: format!("{directory}config_dump.json: {why}"),
            how: shell!(
                "oc -n {} exec {} -c istio-proxy -- pilot-agent request GET 'config_dump?include_eds'",
                pod.namespace(),
                pod.name()
            ),
        };
        let dump = match file("config_dump.json") {
            None => Err(missing("Envoy's configuration was not collected")),
            Some(f) => Dump::parse(&f.file, &f.content)
                .ok_or_else(|| missing("it is not an Envoy configuration dump")),
        };
        let health = file("clusters.json")
            .and_then(|f| Some((f.file.clone(), runtime::clusters_json(&f.content)?)))
            .or_else(|| {
                let f = file("clusters.txt").or_else(|| file("clusters.json"))?;
                let found = runtime::clusters_text(&text(f));
                (!found.is_empty()).then(|| (f.file.clone(), found))
            });
        Self {
            pod,
            dump,
            health,
            stats: file("stats.txt").map(|f| Stats::parse(&f.file, &text(f))),
            ready: file("ready.txt").map(|f| (f.file.clone(), text(f).trim().to_owned())),
            server_info: file("server_info.json")
                .and_then(|f| Some((f.file.clone(), serde_json::from_slice(&f.content).ok()?))),
        }
    }

    /// The configuration dump.
    ///
    /// # Errors
    /// What is missing, when it was not collected or cannot be read.
    pub fn dump(&self) -> Result<&Dump, &Missing> {
        self.dump.as_ref()
    }

    /// A section of the dump, by the last part of its type URL (`ListenersConfigDump`).
    ///
    /// # Errors
    /// What is missing, when the dump lacks the section.
    pub fn section(&self, name: &str) -> Result<(&Dump, usize, &Value), Missing> {
        let dump = self.dump.as_ref().map_err(Clone::clone)?;
        dump.section(name).map(|(at, value)| (dump, at, value)).ok_or_else(|| Missing {
            what: format!(
                "{}: it has no {name}{}",
                dump.file,
                if dump.truncated { ", it was cut off" } else { "" }
            ),
            how: shell!(
                "oc -n {} exec {} -c istio-proxy -- pilot-agent request GET 'config_dump?include_eds'",
                self.pod.namespace(),
                self.pod.name()
            ),
        })
    }

    /// The listeners, static ones left out.
    ///
    /// # Errors
    /// What is missing.
    pub fn listeners(&self) -> Result<Vec<Listener<'_>>, Missing> {
        let (dump, at, section) = self.section("ListenersConfigDump")?;
        Ok(listener::listeners(dump, at, section))
    }

    /// The listener that binds one of these ports, or is named after it.
    ///
    /// # Errors
    /// What is missing.
    pub fn listener_on(&self, ports: &[i64]) -> Result<Option<Listener<'_>>, Missing> {
        let mut all = self.listeners()?;
        let named = |l: &Listener<'_>| {
            l.name
                .rsplit_once('_')
                .and_then(|(_, port)| port.parse().ok())
                .is_some_and(|p: i64| ports.contains(&p))
        };
        let position = all
            .iter()
            .position(|l| l.port.is_some_and(|p| ports.contains(&p)) && l.is_active())
            .or_else(|| all.iter().position(|l| l.port.is_some_and(|p| ports.contains(&p)) || named(l)));
        Ok(position.map(|at| all.swap_remove(at)))
    }

    /// The clusters by name, each with the JSON pointer of its configuration.
    ///
    /// # Errors
    /// What is missing.
    pub fn clusters(&self) -> Result<BTreeMap<&str, (String, &Value)>, Missing> {
        let (_, at, section) = self.section("ClustersConfigDump")?;
        let mut found = BTreeMap::new();
        for list in ["static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters"] {
            for (index, entry) in dump::items(section, list).iter().enumerate() {
                let Some(cluster) = entry.get("cluster") else { continue };
                let Some(name) = cluster.get("name").and_then(Value::as_str) else { continue };
                found.insert(name, (format!("/configs/{at}/{list}/{index}/cluster"), cluster));
            }
        }
        Ok(found)
    }

    /// The health of a cluster's hosts: from `/clusters`, else from the endpoints of the dump.
    /// `None` when neither tells.
    #[must_use]
    pub fn health(&self, cluster: &str) -> Option<(String, ClusterHealth)> {
        if let Some((file, all)) = &self.health {
            return Some((file.clone(), all.get(cluster).cloned().unwrap_or_default()));
        }
        let (dump, _, section) = self.section("EndpointsConfigDump").ok()?;
        Some((dump.file.clone(), runtime::endpoints(section, cluster)?))
    }

    /// The statistics.
    #[must_use]
    pub fn stats(&self) -> Option<&Stats> {
        self.stats.as_ref()
    }

    /// The virtual hosts of all route configurations.
    ///
    /// # Errors
    /// What is missing.
    pub fn virtual_hosts(&self) -> Result<Vec<VirtualHost<'_>>, Missing> {
        let (_, at, section) = self.section("RoutesConfigDump")?;
        let mut found = Vec::new();
        for list in ["static_route_configs", "dynamic_route_configs"] {
            for (index, entry) in dump::items(section, list).iter().enumerate() {
                let Some(config) = entry.get("route_config") else { continue };
                let name = config.get("name").and_then(Value::as_str).unwrap_or_default();
                for (v, host) in dump::items(config, "virtual_hosts").iter().enumerate() {
                    found.push(VirtualHost {
                        config: name,
                        domains: dump::items(host, "domains").iter().filter_map(Value::as_str).collect(),
                        pointer: format!("/configs/{at}/{list}/{index}/route_config/virtual_hosts/{v}"),
                    });
                }
            }
        }
        Ok(found)
    }
}

/// A virtual host of a route configuration.
#[derive(Debug)]
pub struct VirtualHost<'d> {
    /// The name of the route configuration.
    pub config: &'d str,
    /// The domains, with or without port.
    pub domains: Vec<&'d str>,
    /// The JSON pointer of the virtual host.
    pub pointer: String,
}

impl VirtualHost<'_> {
    /// Whether requests for this host may land here: its name, with any port, or a wildcard over it.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        self.domains.iter().any(|domain| {
            let domain = domain.rsplit_once(':').map_or(*domain, |(name, port)| {
                if port == "*" || port.bytes().all(|b| b.is_ascii_digit()) { name } else { domain }
            });
            domain == host
                || domain.strip_prefix('*').is_some_and(|rest| {
                    rest.starts_with('.') && host.ends_with(rest) && host.len() > rest.len()
                })
        })
    }
}

/// The Envoys of a Gateway that run.
#[must_use]
pub fn proxies<'a>(workloads: &Workloads<'a>, gateway: &Object) -> Vec<&'a Object> {
    workloads
        .gateway_pods(gateway)
        .into_iter()
        .filter(|pod| !super::workloads::is_over(pod) && pod.str("/status/phase") == "Running")
        .collect()
}

/// Evidence from a JSON file: the field at a pointer, its value cut to what a person reads.
#[must_use]
pub fn json_evidence(file: &str, root: &Value, pointer: &str, note: Option<&str>) -> Evidence {
    const SHOWN: usize = 400;
    let value = root.pointer(pointer).map(|value| match value {
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    });
    let value = value.map(|text| {
        if text.len() <= SHOWN {
            return text;
        }
        let mut end = SHOWN;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}…", &text[..end])
    });
    Evidence {
        file: file.to_owned(),
        path: Some(field_path(pointer)),
        line: None,
        note: note.map(str::to_owned).or_else(|| value.is_none().then(|| "absent".to_owned())),
        value,
    }
}

#[cfg(test)]
mod tests;
