//! MG001-MG007: the bundle itself, and how the parts are installed.

mod bundle;

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] =
    &[&bundle::EVIDENCE_MISSING, &bundle::BUNDLE_INCOMPLETE, &bundle::API_NOT_INSTALLED];
