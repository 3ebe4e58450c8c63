//! MG001-MG007: the bundle itself, and how the parts are installed.

mod bundle;
mod platform;
mod skew;

use super::Rule;
pub(super) use platform::SECRET_FLAGS;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &bundle::EVIDENCE_MISSING,
    &bundle::BUNDLE_INCOMPLETE,
    &bundle::API_NOT_INSTALLED,
    &platform::UNSUPPORTED_VERSION,
    &platform::CLOCK_SKEW,
    &platform::INSTALLATION_UNHEALTHY,
    &platform::SENSITIVE_LOGGING,
];
