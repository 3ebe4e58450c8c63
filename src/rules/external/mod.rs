//! MG501-MG511: MCP servers outside the cluster.

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[];
