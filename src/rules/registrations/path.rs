//! MG424: whether the route of a server takes the calls that the router sends to it.

use serde_json::json;

use super::ready_command;
use crate::declare_rule;
use crate::model::gateway_api::{hostnames, paths};
use crate::model::mcp::RegistrationFault;
use crate::rules::routes::by_host;
use crate::rules::{Context, Findings, remedy};

declare_rule! {
    /// A server's route does not take calls at the server's path
    ///
    /// ## What it means
    /// The broker asks a server for its tools directly, at the path of the registration; a call of a tool
    /// goes through the Gateway, with the same path. No match of the server's HTTPRoute takes it, so that all
    /// tools are listed, and each call is answered with 404.
    ///
    /// ## How it is decided
    /// `spec.path` (`/mcp` where it is not set; without a query) against the matches of the route that the
    /// registration targets, and of other routes that share one of its hostnames: path, and method `POST`.
    /// Headers and parameters are left out: a match that asks for some is taken as fitting, and so is an
    /// expression that cannot be read. A disabled registration, or one whose route the controller refuses
    /// (MG419), is not judged. Where the route's name is nearly right (MG401), the route that was meant is.
    ///
    /// ## Causes
    /// `spec.path` was changed and the route was not; a route with a path of its own, made before the server
    /// was registered.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproute NAME -o jsonpath='{.spec.rules[*].matches}'`; `route_not_found` in the
    /// proxy's access log for the server's host.
    ///
    /// ## How to fix
    /// Add a match for the path to the route, or correct `spec.path`.
    ///
    /// ## When it may be a false alarm
    /// A route with a wildcard over the hostname takes the path: hostnames of routes are compared letter by
    /// letter.
    pub(super) static REGISTRATION_PATH = {
        code: "MG424", name: "registration-path", severity: Error, section: "1.4",
        needs: ["mcpserverregistrations", "httproutes"], since: "0.1.0",
        caused_by: [], check: registration_path,
    }
}

fn registration_path(context: &Context<'_>, findings: &mut Findings) {
    let chain = context.chain();
    let by_host = by_host(chain.routes.values());
    for registration in &chain.registrations {
        let object = registration.object;
        let Some(route) = registration.route else { continue };
        // Until the route is one that the controller takes, its shape is the fault.
        let shape = |f: &RegistrationFault<'_>| matches!(f, RegistrationFault::Shape(..));
        if registration.is_disabled() || object.is_deleting() || registration.faults.iter().any(shape) {
            continue;
        }
        let path = match object.str("/spec/path") {
            "" => "/mcp",
            path => path.split('?').next().unwrap_or(path),
        };
        let hosts = hostnames(route);
        let mut others = hosts.iter().filter_map(|host| by_host.get(host)).flatten();
        let taken =
            paths::takes(route, "POST", path) || others.any(|other| paths::takes(other.object, "POST", path));
        if taken {
            continue;
        }
        let wanted = json!({"path": {"type": "PathPrefix", "value": path}});
        let draft = findings.report(
            &REGISTRATION_PATH,
            object,
            format!(
                "HTTPRoute {} takes no calls at {path}, the path of MCPServerRegistration {}: its tools are listed, and \
                 calling them gives 404",
                route.full_name(),
                object.full_name()
            ),
            object.evidence("/spec/path"),
            "Add a match for the path to the route, or correct spec.path.",
        );
        draft
            .evidence(route.evidence("/spec/rules/0/matches"))
            .object(route.reference())
            .command(remedy::patch(
                route,
                json!([{"op": "add", "path": "/spec/rules/0/matches/-", "value": wanted}]),
            ))
            .verify(ready_command(object));
        if registration.faults.iter().any(|f| matches!(f, RegistrationFault::RouteMissing)) {
            draft.hidden_behind(&["MG401", "MG402"], object.reference());
        }
    }
}
