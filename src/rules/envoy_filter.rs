//! MG219-MG222, MG227, MG233: the EnvoyFilter that puts the router into the Gateway.

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[];
