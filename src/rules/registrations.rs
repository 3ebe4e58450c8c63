//! MG401-MG423: MCPServerRegistrations, virtual servers and the servers behind them.

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[];
