//! MG223-MG226, MG228-MG232: Envoy's live configuration and its traffic.

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[];
