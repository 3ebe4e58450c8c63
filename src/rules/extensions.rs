//! MG301-MG315: MCPGatewayExtensions and the broker.

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[];
