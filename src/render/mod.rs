//! From a report to bytes, one file per form; nothing is computed here.
//!
//! A renderer takes a [`RedactedReport`] and nothing else of the bundle. [`view`] is the order in
//! which all forms tell a report.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod html;
mod junit;
mod layout;
mod markdown;
mod page;
mod paint;
mod sarif;
mod table;
mod text;
mod view;

pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use page::page;
pub use paint::{TextOptions, address, dim, heading};
pub use sarif::sarif;
pub use table::table;
pub use text::{roots, text};

use crate::redact::RedactedReport;

/// The report as pretty-printed JSON, `mcpgw.report/v1`, with a line break at its end.
#[must_use]
pub fn json(report: &RedactedReport) -> String {
    let mut text = serde_json::to_string_pretty(&**report).unwrap_or_default();
    text.push('\n');
    text
}

/// The report as YAML, the same fields as [`json`].
#[must_use]
pub fn yaml(report: &RedactedReport) -> String {
    let mut text = String::new();
    crate::archive::yaml::emit(&serde_json::to_value(&**report).unwrap_or_default(), 0, &mut text);
    text
}
