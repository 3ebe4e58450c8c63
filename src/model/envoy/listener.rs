//! Listeners, their filter chains, and the HTTP filters of each chain.

use super::dump::{Dump, items, text, type_of};
use super::{CONNECTION_MANAGER, EXT_PROC, WASM};
use crate::model::json::Value;

/// A listener that Envoy got from istiod.
#[derive(Debug)]
pub struct Listener<'d> {
    /// Its name, `0.0.0.0_8080`.
    pub name: &'d str,
    /// The port it binds, where one of its states tells.
    pub port: Option<i64>,
    /// Whether it serves traffic.
    active: bool,
    /// Whether a new version waits for something (a certificate, a route).
    pub warming: bool,
    /// The last time it changed, RFC 3339.
    pub last_updated: &'d str,
    /// Its filter chains, the default one last.
    pub chains: Vec<Chain<'d>>,
    /// The JSON pointer of the listener.
    pub pointer: String,
}

impl Listener<'_> {
    /// Whether it serves traffic.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }
}

/// A filter chain.
#[derive(Debug)]
pub struct Chain<'d> {
    /// The server names (SNI) that choose it; empty for all.
    pub server_names: Vec<&'d str>,
    /// Whether it is the listener's default chain.
    pub default: bool,
    /// The HTTP filters in their order; `None` when the chain has no connection manager (plain TCP).
    pub filters: Option<Vec<HttpFilter<'d>>>,
    /// The name of its route configuration.
    pub route_config: &'d str,
    /// The JSON pointer of the chain.
    pub pointer: String,
}

/// An HTTP filter of a chain.
#[derive(Debug)]
pub struct HttpFilter<'d> {
    /// Its name, which says nothing about its type.
    pub name: &'d str,
    /// The type, without `type.googleapis.com/`, also out of a `TypedStruct` or of ECDS.
    pub kind: &'d str,
    /// Its configuration.
    pub config: &'d Value,
    /// Whether it is switched off.
    pub disabled: bool,
    /// The JSON pointer of the filter.
    pub pointer: String,
}

impl HttpFilter<'_> {
    /// Whether it is an external processor.
    #[must_use]
    pub fn is_ext_proc(&self) -> bool {
        self.kind == EXT_PROC && !self.disabled
    }

    /// Whether it is the MCP router's: an external processor that calls port 50051 of a Service. Other products have
    /// processors of their own. One whose cluster is not in the dump is taken for the router's.
    #[must_use]
    pub fn is_router(&self) -> bool {
        self.is_ext_proc() && (self.cluster().is_empty() || self.cluster().starts_with("outbound|50051|"))
    }

    /// Whether it is a wasm filter.
    #[must_use]
    pub fn is_wasm(&self) -> bool {
        self.kind == WASM && !self.disabled
    }

    /// The cluster that an external processor calls.
    #[must_use]
    pub fn cluster(&self) -> &str {
        self.config
            .pointer("/grpc_service/envoy_grpc/cluster_name")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// Reads the dynamic listeners of a section.
pub(super) fn listeners<'d>(dump: &'d Dump, at: usize, section: &'d Value) -> Vec<Listener<'d>> {
    items(section, "dynamic_listeners")
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let states = ["active_state", "warming_state", "draining_state"];
            let state = states.iter().find_map(|s| Some((*s, entry.get(*s).filter(|v| v.is_object())?)));
            let pointer = format!("/configs/{at}/dynamic_listeners/{index}");
            let listener = state.and_then(|(_, value)| value.get("listener"));
            let base = format!("{pointer}/{}/listener", state.map_or("active_state", |(name, _)| name));
            Listener {
                name: text(entry, "name"),
                port: listener
                    .and_then(|l| l.pointer("/address/socket_address/port_value"))
                    .and_then(Value::as_i64)
                    .or_else(|| text(entry, "name").rsplit_once('_').and_then(|(_, p)| p.parse().ok())),
                active: entry.get("active_state").is_some_and(Value::is_object),
                warming: entry.get("warming_state").is_some_and(Value::is_object),
                last_updated: state.map(|(_, value)| text(value, "last_updated")).unwrap_or_default(),
                chains: listener.map(|l| chains(dump, l, &base)).unwrap_or_default(),
                pointer,
            }
        })
        .collect()
}

fn chains<'d>(dump: &'d Dump, listener: &'d Value, base: &str) -> Vec<Chain<'d>> {
    let listed = items(listener, "filter_chains")
        .iter()
        .enumerate()
        .map(|(index, chain)| (chain, false, format!("{base}/filter_chains/{index}")));
    let default = listener
        .get("default_filter_chain")
        .filter(|c| c.is_object())
        .map(|chain| (chain, true, format!("{base}/default_filter_chain")));
    listed
        .chain(default)
        .map(|(chain, default, pointer)| {
            let manager = items(chain, "filters").iter().enumerate().find_map(|(index, filter)| {
                let config = filter.get("typed_config")?;
                (type_name(config) == CONNECTION_MANAGER).then_some((index, unwrap(config)))
            });
            Chain {
                server_names: chain
                    .pointer("/filter_chain_match/server_names")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect(),
                default,
                filters: manager.map(|(index, manager)| {
                    http_filters(dump, manager, &format!("{pointer}/filters/{index}/typed_config"))
                }),
                route_config: manager
                    .and_then(|(_, m)| {
                        m.pointer("/rds/route_config_name").or_else(|| m.pointer("/route_config/name"))
                    })
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
                pointer,
            }
        })
        .collect()
}

fn http_filters<'d>(dump: &'d Dump, manager: &'d Value, base: &str) -> Vec<HttpFilter<'d>> {
    items(manager, "http_filters")
        .iter()
        .enumerate()
        .map(|(index, filter)| {
            let name = text(filter, "name");
            // The configuration stands here, or is discovered under the filter's name.
            let config = filter.get("typed_config").or_else(|| discovered(dump, name));
            let declared =
                filter.pointer("/config_discovery/type_urls/0").and_then(Value::as_str).unwrap_or_default();
            HttpFilter {
                name,
                kind: config.map_or(short_type(declared), type_name),
                config: config.map_or(&Value::Null, unwrap),
                disabled: filter.get("disabled").and_then(Value::as_bool).unwrap_or(false),
                pointer: format!("{base}/http_filters/{index}"),
            }
        })
        .collect()
}

/// The configuration of a filter that is delivered by extension configuration discovery.
fn discovered<'d>(dump: &'d Dump, name: &str) -> Option<&'d Value> {
    dump.sections("EcdsConfigDump")
        .flat_map(|(_, section)| items(section, "ecds_filters"))
        .filter_map(|entry| entry.get("ecds_filter"))
        .find(|filter| text(filter, "name") == name)
        .and_then(|filter| filter.get("typed_config"))
}

fn short_type(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// The type of a message, out of its `TypedStruct` where it is wrapped in one.
fn type_name(config: &Value) -> &str {
    let outer = short_type(type_of(config));
    if outer.ends_with(".TypedStruct") { short_type(text(config, "type_url")) } else { outer }
}

/// The fields of a message, out of its `TypedStruct` where it is wrapped in one.
fn unwrap(config: &Value) -> &Value {
    if type_of(config).ends_with(".TypedStruct") { config.get("value").unwrap_or(config) } else { config }
}
