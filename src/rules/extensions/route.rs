//! MG316: whether a route takes the requests of clients at all.

use super::touch;
use crate::declare_rule;
use crate::model::gateway_api::Outcome;
use crate::model::mcp::Extension;
use crate::model::mcp::extension::{MANAGED_ROUTE, names_listeners};
use crate::model::probes::WELL_KNOWN;
use crate::model::{Object, kinds};
use crate::rules::routes::leads_to_broker;
use crate::rules::{Context, Findings, remedy};
use crate::shell::{Command, shell};

declare_rule! {
    /// No route takes the requests of MCP clients
    ///
    /// ## What it means
    /// Clients send their requests to `/mcp` on the public host. No HTTPRoute takes them there, so that all
    /// are answered with 404, while the extension says Ready.
    ///
    /// ## How it is decided
    /// For an extension that is otherwise in order, at least a minute old and not being deleted: no rule of a
    /// route that a listener of its Gateway takes for the public host matches the path `/mcp`. Methods and
    /// headers are not looked at. A route to the broker, or the controller's `mcp-gateway-route`, that its
    /// Gateway does not accept is another finding (MG212, MG213, MG214), and then this one is not reported.
    /// Where evidence about the extension, or the routes of its and the Gateway's namespace, is missing, it
    /// stays silent or undecided.
    ///
    /// ## Causes
    /// The controller's route `mcp-gateway-route` was deleted or edited while the controller was away;
    /// `httpRouteManagement: Disabled` and no route of one's own, or one for another host or path.
    ///
    /// ## How to confirm
    /// `curl -si http://HOST:PORT/mcp` (`https` for an HTTPS listener) answers 404; `oc get httproutes -A`.
    ///
    /// ## How to fix
    /// With `httpRouteManagement: Enabled` see that the controller runs, and let it write the route: the
    /// command deletes a route that was edited, or touches the extension. With `Disabled` the command applies
    /// a route `mcp-public`, with rules for `/mcp` and the well-known path.
    ///
    /// ## When it may be a false alarm
    /// Clients come over something else than an HTTPRoute, such as a VirtualService of Istio.
    pub(super) static EXTENSION_ROUTE_MISSING = {
        code: "MG316", name: "extension-route-missing", severity: Error, section: "1.2.2",
        needs: [
            "mcpgatewayextensions", "gateways", "httproutes", "namespaces (labels)", "referencegrants", "deployments",
            "secrets (labels, key names)",
        ], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG107", "MG108", "MG110", "MG111", "MG006", "MG310"],
        versions: "from 0.5.1 on, where the controller writes the route",
        check: extension_route_missing,
    }
}

fn extension_route_missing(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let object = extension.object;
        let settled = extension.faults.is_empty() && extension.unknown.is_empty();
        if !settled
            || object.is_deleting()
            || context.is_younger(object, 60)
            || !names_listeners(context.bundle, object)
        {
            continue;
        }
        if context.entrances(extension).iter().any(|e| e.route.is_some() && e.takes("/mcp"))
            || is_refused(context, object)
        {
            continue;
        }
        // One's own route stands beside the broker or beside the Gateway.
        let places = [object.namespace(), extension.target().0];
        let refused =
            places.iter().find_map(|ns| context.bundle.collected(&kinds::HTTP_ROUTE, Some(ns)).err());
        if let Some(missing) = refused {
            findings.cannot_tell(&EXTENSION_ROUTE_MISSING, missing);
            continue;
        }
        missing(context, findings, extension);
    }
}

/// Whether a route to the broker is there, but its Gateway does not accept it, or that cannot be decided.
fn is_refused(context: &Context<'_>, extension: &Object) -> bool {
    let own = |route: &Object| {
        leads_to_broker(route, extension.namespace())
            || route.namespace() == extension.namespace() && route.name() == MANAGED_ROUTE
    };
    let mut routes = context.chain().routes.values().filter(|facts| own(facts.object));
    routes.any(|facts| facts.attachments.iter().any(|a| a.outcome() != Outcome::Accepted))
}

fn missing(context: &Context<'_>, findings: &mut Findings, extension: &Extension<'_>) {
    let object = extension.object;
    let (namespace, name) = (object.namespace(), object.name());
    let host = extension.public_host().unwrap_or_default();
    let (gateway_namespace, gateway) = extension.target();
    let written = context.bundle.get(&kinds::HTTP_ROUTE, namespace, MANAGED_ROUTE);
    let is_managed = object.str("/spec/httpRouteManagement") != "Disabled";
    let (evidence, remedy, command): (_, &str, Command) = match written.filter(|_| is_managed) {
        Some(route) => (
            route.evidence("/spec/rules"),
            "Delete the route, the controller writes it again; see whether the controller runs.",
            shell!("oc -n {} delete httproute {}", namespace, MANAGED_ROUTE),
        ),
        None if is_managed => (
            object.evidence("/spec/targetRef"),
            "See whether the controller runs and what it logs, then touch the extension, so that it writes the route again.",
            touch(object),
        ),
        None => (
            object.evidence("/spec/httpRouteManagement"),
            "The controller is told not to write a route: apply one, or set httpRouteManagement to Enabled.",
            apply(object, &host, (gateway_namespace, gateway)),
        ),
    };
    let draft = findings.report(
        &EXTENSION_ROUTE_MISSING,
        object,
        format!(
            "No HTTPRoute takes requests for /mcp on {host}, the public host of MCPGatewayExtension {name}"
        ),
        evidence,
        remedy,
    );
    draft.evidence(object.evidence("/spec/targetRef/sectionName"));
    if let Some(route) = written {
        draft.object(route.reference()).evidence(route.evidence("/spec/hostnames"));
    }
    draft.because_of(&["MG310"], object.reference()).command(command);
    draft.verify(remedy::curl(extension, "/mcp"));
}

/// The route that the controller would write.
fn apply(extension: &Object, host: &str, (namespace, gateway): (&str, &str)) -> Command {
    shell!(
        "oc apply -f - <<'EOF'\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: mcp-public\n  \
         namespace: {}\nspec:\n  hostnames:\n  - {}\n  parentRefs:\n  - name: {}\n    namespace: {}\n    sectionName: {}\n  \
         rules:\n  - matches:\n    - path:\n        type: PathPrefix\n        value: /mcp\n    filters:\n    \
         - type: RequestHeaderModifier\n      requestHeaderModifier:\n        remove: [mcp-init-host, router-key]\n    \
         backendRefs:\n    - name: mcp-gateway\n      port: 8080\n  - matches:\n    - path:\n        type: PathPrefix\n        \
         value: {}\n    backendRefs:\n    - name: mcp-gateway\n      port: 8080\nEOF",
        extension.namespace(),
        host,
        gateway,
        namespace,
        extension.str("/spec/targetRef/sectionName"),
        WELL_KNOWN
    )
}
