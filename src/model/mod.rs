//! What the objects of a bundle mean: pure data and functions, no files, clock or printing.
//!
//! [`kinds`] is the table of the kinds we know, [`object`] a thin view over JSON, [`bundle`] the
//! lookup with three answers (found, absent, *not collected*). [`gateway_api`], [`mcp`] and the
//! others hold the semantics: what the controllers would decide from these objects.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod broker_config;
pub mod bundle;
pub mod cel;
pub mod certificates;
pub mod claims;
pub mod envoy;
pub mod gateway_api;
pub mod graph;
pub mod istio;
pub mod json;
pub mod kinds;
pub mod kuadrant;
pub mod labels;
pub mod lean;
pub mod logs;
pub mod mcp;
pub mod near;
pub mod network;
pub mod object;
pub mod probes;
pub mod public_key;
pub mod secret_shape;
pub mod workloads;
pub(crate) mod yaml;

pub use bundle::{Bundle, Missing, Seen};
pub use kinds::Kind;
pub use object::Object;
