//! MG801-MG815: Kuadrant policies, Authorino, CEL.

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[];
