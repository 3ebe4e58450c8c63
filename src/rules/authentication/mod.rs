//! MG701-MG715: OAuth discovery, tokens, sessions. (MG706 stands with the other policy statuses.)

mod challenge;
mod discovery;
mod tokens;
mod wristband;

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &discovery::WELLKNOWN_ROUTE_MISSING,
    &discovery::WELLKNOWN_PROTECTED,
    &discovery::WELLKNOWN_NOT_FOUND,
    &discovery::OAUTH_ENV_MISSING,
    &tokens::ROLLOUT_PENDING,
    &tokens::ISSUER_MISMATCH,
    &tokens::TOKEN_REJECTED,
    &challenge::WWW_AUTHENTICATE_MISSING,
    &challenge::WWW_AUTHENTICATE_VALUE,
    &challenge::AUTHPOLICY_MISPLACED,
    &tokens::TOKEN_TIME,
    &tokens::SESSION_CHURN,
    &wristband::TRUSTED_HEADERS,
    &discovery::OAUTH_RESOURCE,
];
