//! MG701-MG714: OAuth metadata, authentication, sessions.

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[];
