//! The archive: its paths, how it is written and how any bundle is read.
//!
//! [`path`] is the only place that knows where things stand in an archive; [`mod@write`] takes only
//! what the redactor made; [`read`] opens our archives, must-gathers, inspect output and loose
//! files; [`gated`] puts the redactor before a bundle that is not ours; [`load`] turns what was read into a [`crate::model::Bundle`]; [`manifest`] is
//! `mcpgw/manifest.json`; [`yaml`] the emitter and [`locate`] the way back from a field to a line.

pub mod gated;
pub mod load;
pub mod locate;
pub mod manifest;
pub mod path;
pub mod read;
pub mod rewrite;
pub mod second_look;
pub mod write;
pub mod yaml;
