//! MG201-MG209, MG218: Gateways, GatewayClasses, listeners, their proxies and addresses.

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[];
