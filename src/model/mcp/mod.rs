//! What the MCP gateway's controller would decide, in its order.
//!
//! [`extension`] and [`registration`] list *all* failing steps: the first explains the message in
//! the status, the others are hidden behind it; [`steps`] are those of an extension. [`chain`] joins registrations, routes, Gateways and
//! extensions of a bundle once. [`hostname`] is the controller's own matching, which is narrower
//! than the Gateway API's. Facts are of Kuadrant/mcp-gateway 0.6 to 0.9 and its main branch.

pub mod broker_status;
pub mod chain;
pub mod extension;
pub mod hostname;
pub mod registration;
pub mod secret;
mod steps;

pub use chain::{Chain, RouteFacts};
pub use extension::{Extension, ExtensionFault, SecretUse};
pub use registration::{Registration, RegistrationFault};
pub use secret::SecretFault;

/// Namespace and name.
pub type Id<'a> = (&'a str, &'a str);

/// The API group.
pub const GROUP: &str = "mcp.kuadrant.io";
/// The label that makes the controller see a Secret.
pub const SECRET_LABEL: &str = "mcp.kuadrant.io/secret";
