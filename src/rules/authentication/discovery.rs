//! MG701-MG704, MG715: how a client finds out where to get a token.

use serde_json::json;

use crate::declare_rule;
use crate::model::cel::Asked;
use crate::model::gateway_api::backend_refs;
use crate::model::json::Value;
use crate::model::kuadrant::Policy;
use crate::model::mcp::Extension;
use crate::model::probes::{Purpose, Recorded, WELL_KNOWN};
use crate::model::{Object, Seen, kinds};
use crate::rules::policies::{Entrance, say_what_is_missing};
use crate::rules::remedy;
use crate::rules::{Context, Findings};
use crate::shell::shell;

/// The entrance that takes MCP requests of an extension, and the policies that authenticate there.
pub(super) fn authenticating<'c, 'a>(
    context: &'c Context<'a>,
    extension: &Extension<'a>,
) -> Option<(&'c Entrance<'a>, Vec<Policy<'a>>)> {
    context.entrances(extension).iter().filter(|e| e.takes("/mcp")).find_map(|entrance| {
        let found = entrance.authenticating(context);
        (!found.is_empty()).then_some((entrance, found))
    })
}

/// Whether authentication is meant for an extension: a policy demands it, or OAuth is configured.
fn wants_authentication<'a>(context: &Context<'a>, extension: &Extension<'a>) -> bool {
    extension.object.get("/spec/oauthProtectedResource").is_some()
        || authenticating(context, extension).is_some()
}

declare_rule! {
    /// No route serves the OAuth metadata
    ///
    /// ## What it means
    /// Clients that get a 401 look for `/.well-known/oauth-protected-resource` on the public host to find out
    /// where to log in. No rule of any route serves it, so they cannot.
    ///
    /// ## How it is decided
    /// For an extension with authentication (an AuthPolicy in effect on its `/mcp`, or
    /// `spec.oauthProtectedResource`): a route takes `/mcp` of the public host, but no rule of an HTTPRoute
    /// that the Gateway accepts for that host matches `/.well-known/oauth-protected-resource` (Exact,
    /// PathPrefix or expression). Without a route for `/mcp` that one is the fault, and nothing is said here.
    ///
    /// ## Causes
    /// `httpRouteManagement: Disabled` and an own route without the path; the managed route was edited.
    ///
    /// ## How to confirm
    /// `curl -si http://HOST:PORT/.well-known/oauth-protected-resource` (`https` for a TLS listener)
    ///
    /// ## How to fix
    /// Add a rule with PathPrefix `/.well-known/oauth-protected-resource` to Service mcp-gateway, port 8080.
    /// From another namespace than the Service's this needs a ReferenceGrant.
    ///
    /// ## When it may be a false alarm
    /// The metadata is served by another host that the WWW-Authenticate header names, or only under
    /// `/.well-known/oauth-protected-resource/mcp`.
    pub(super) static WELLKNOWN_ROUTE_MISSING = {
        code: "MG701", name: "wellknown-route-missing", severity: Error, section: "1.7",
        needs: ["httproutes", "mcpgatewayextensions", "authpolicies", "gateways"], since: "0.1.0", caused_by: ["MG210", "MG213", "MG212", "MG214"],
        versions: "every supported version; from 0.5.1 on the controller writes the route, before it is written by hand",
        check: wellknown_route_missing,
    }
}

fn wellknown_route_missing(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &WELLKNOWN_ROUTE_MISSING, findings);
    for extension in &context.chain().extensions {
        if !wants_authentication(context, extension) || extension.meant_gateway.is_none() {
            continue;
        }
        let all = context.entrances(extension);
        // Without any entrance the route itself is the fault.
        let Some(route) = all.iter().find(|e| e.takes("/mcp")).and_then(|e| e.route) else { continue };
        if all.iter().any(|e| e.takes(WELL_KNOWN)) {
            continue;
        }
        let object = extension.object;
        let host = extension.public_host().unwrap_or_default();
        let title = format!("No HTTPRoute rule serves {WELL_KNOWN} on {host}");
        let draft = findings.report(
            &WELLKNOWN_ROUTE_MISSING,
            object,
            title,
            route.evidence("/spec/rules"),
            "Add a rule with this path prefix to Service mcp-gateway, port 8080.",
        );
        draft.object(route.reference());
        draft.command(remedy::patch(
            route,
            json!([{"op": "add", "path": "/spec/rules/-", "value": {
                "matches": [{"path": {"type": "PathPrefix", "value": WELL_KNOWN}}],
                "backendRefs": [{"name": "mcp-gateway", "namespace": object.namespace(), "port": 8080}],
            }}]),
        ));
        draft.verify(remedy::curl(extension, WELL_KNOWN));
    }
}

declare_rule! {
    /// The OAuth metadata demands credentials
    ///
    /// ## What it means
    /// A client needs the metadata to get a token, and gets 401 for it: nobody can log in.
    ///
    /// ## How it is decided
    /// The AuthPolicy in effect on the rule that serves `/.well-known/oauth-protected-resource` has
    /// authentication rules, and neither a `when` that keeps a GET of the path out (conditions about method
    /// and path are evaluated, others count when they mention `well-known`) nor an anonymous rule that takes
    /// it.
    ///
    /// Or the path answered 401 or 403 when it was asked through the gateway's listener without credentials
    /// (`mcpgw/probes/oauth-metadata.*.json`): the policy that authenticates there is named, or, without any,
    /// the title says that no AuthPolicy tells why.
    ///
    /// ## Causes
    /// The policy targets the whole listener without excluding the path; or its condition lacks the `!`, so
    /// that it protects the metadata alone; or Istio's AuthorizationPolicy or a filter denies the path.
    ///
    /// ## How to confirm
    /// `curl -si http://HOST:PORT/.well-known/oauth-protected-resource` answers 401 (`https` for a TLS
    /// listener)
    ///
    /// ## How to fix
    /// Add `when: [{predicate: "!request.path.contains('/.well-known')"}]` to the policy.
    ///
    /// ## When it may be a false alarm
    /// The policy's rules let anonymous requests for this path pass in another way.
    pub(super) static WELLKNOWN_PROTECTED = {
        code: "MG702", name: "wellknown-protected", severity: Error, section: "1.7",
        needs: ["authpolicies", "httproutes", "probes", "gateways", "mcpgatewayextensions"], since: "0.1.0", caused_by: [],
        check: wellknown_protected,
    }
}

fn wellknown_protected(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &WELLKNOWN_PROTECTED, findings);
    for extension in &context.chain().extensions {
        let probe = context.probe(Purpose::OauthMetadata, extension.object);
        if let Some(missing) = probe.and_then(Recorded::missing) {
            findings.cannot_tell(&WELLKNOWN_PROTECTED, missing);
        }
        let denied = probe.filter(|r| matches!(r.probe.status, Some(401 | 403)));
        // A rule of its own comes before one that takes everything.
        let serving = context.entrances(extension).iter().filter(|e| e.takes(WELL_KNOWN));
        let Some(entrance) = serving.min_by_key(|e| e.takes("/mcp")) else { continue };
        let guards = entrance.demanding(context, Asked::METADATA);
        let here = entrance.authenticating(context);
        let at_path = || here.first();
        let Some(policy) = guards.first().or_else(|| denied.and_then(|_| at_path())) else {
            if let Some(denied) = denied {
                denied_by_something(findings, extension, entrance, denied);
            }
            continue;
        };
        let object = policy.object;
        let pointer =
            policy.rules("authentication").first().map_or("/spec".to_owned(), |(_, p, _)| p.clone());
        let title = format!("AuthPolicy {} demands credentials for {WELL_KNOWN}", object.full_name());
        let draft = findings.report(
            &WELLKNOWN_PROTECTED,
            object,
            title,
            object.evidence(&pointer),
            "Keep the path out of the policy with a `when` predicate.",
        );
        entrance.show_rule(draft);
        entrance.name_route(draft);
        draft.object(extension.object.reference());
        if let Some(denied) = denied {
            draft.evidence(denied.status_evidence());
        }
        let body = policy.bodies().first().map_or("/spec", |(_, pointer, _)| *pointer);
        let predicate = json!({"predicate": "!request.path.contains(\"/.well-known\")"});
        // All predicates must hold: one more leaves those that are there as they are.
        let step = if let Some(wrong) = policy.takes_metadata_only() {
            draft.evidence(object.evidence(&wrong));
            json!({"op": "replace", "path": wrong, "value": predicate["predicate"]})
        } else if object.array(&format!("{body}/when")).is_empty() {
            json!({"op": "add", "path": format!("{body}/when"), "value": [predicate]})
        } else {
            json!({"op": "add", "path": format!("{body}/when/-"), "value": predicate})
        };
        draft.command(remedy::patch(object, json!([step])));
        draft.verify(remedy::curl(extension, WELL_KNOWN));
    }
}

/// Reports that the metadata is denied although no AuthPolicy of the bundle does it.
fn denied_by_something(
    findings: &mut Findings,
    extension: &Extension<'_>,
    entrance: &Entrance<'_>,
    denied: &Recorded<'_>,
) {
    let title = format!(
        "{} was answered with {}, and no AuthPolicy says why",
        denied.probe.request.line,
        denied.probe.status.unwrap_or_default()
    );
    let draft = findings.report(
        &WELLKNOWN_PROTECTED,
        entrance.route.unwrap_or(extension.object),
        title,
        denied.status_evidence(),
        "Find what demands credentials for the path (Istio's AuthorizationPolicy and RequestAuthentication, a filter), and spare it.",
    );
    entrance.show_rule(draft);
    draft
        .object(extension.object.reference())
        .command(shell!(
            "oc -n {} get authorizationpolicies,requestauthentications,wasmplugins,envoyfilters",
            entrance.gateway.namespace()
        ))
        .verify(remedy::curl(extension, WELL_KNOWN));
}

declare_rule! {
    /// The OAuth metadata is not found
    ///
    /// ## What it means
    /// A rule serves the well-known path, and requests for it end with 404, 5xx or something that is no
    /// metadata.
    ///
    /// ## How it is decided
    /// For an extension with authentication and a route that serves `/.well-known/oauth-protected-resource`:
    /// the Service of the rule does not exist; or the path answered 404, 5xx, or 200 without JSON metadata,
    /// when it was asked through the gateway's listener with the public host
    /// (`mcpgw/probes/oauth-metadata.*.json`). 401 and 403 are MG702.
    ///
    /// ## Causes
    /// The rule leads to the wrong Service; the host differs; another route takes the path before.
    ///
    /// ## How to confirm
    /// `curl -si http://HOST:PORT/.well-known/oauth-protected-resource` (`https` for a TLS listener)
    ///
    /// ## How to fix
    /// Let the rule lead to Service mcp-gateway, port 8080.
    ///
    /// ## When it may be a false alarm
    /// The probe came while the broker or the gateway was being restarted; or the WWW-Authenticate header
    /// sends clients to another host.
    pub(super) static WELLKNOWN_NOT_FOUND = {
        code: "MG703", name: "wellknown-not-found", severity: Error, section: "1.7",
        needs: ["httproutes", "services", "probes", "gateways", "mcpgatewayextensions"], since: "0.1.0", caused_by: ["MG701", "MG215", "MG228", "MG312", "MG224", "MG232", "MG223", "MG805", "MG814"],
        check: wellknown_not_found,
    }
}

fn wellknown_not_found(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &WELLKNOWN_NOT_FOUND, findings);
    for extension in &context.chain().extensions {
        if !wants_authentication(context, extension) {
            continue;
        }
        let probe = context.probe(Purpose::OauthMetadata, extension.object);
        if let Some(missing) = probe.and_then(Recorded::missing) {
            findings.cannot_tell(&WELLKNOWN_NOT_FOUND, missing);
        }
        let not_found = probe.and_then(|r| {
            let no_metadata = || r.probe.body.as_ref().is_some_and(|b| b.bytes > 0 && b.metadata.is_none());
            match r.probe.status? {
                404 => Some((r, "404".to_owned())),
                status @ 500..=599 => Some((r, status.to_string())),
                200 if no_metadata() => Some((r, "200, but no metadata".to_owned())),
                _ => None,
            }
        });
        let at = context.entrances(extension).iter().find(|e| e.takes(WELL_KNOWN));
        let Some((entrance, route)) = at.and_then(|e| Some((e, e.route?))) else { continue };
        let gone = backend_refs(route)
            .into_iter()
            .filter(|b| b.is_service() && entrance.pointer == format!("/spec/rules/{}", b.rule))
            .find(|b| matches!(context.bundle.find(&kinds::SERVICE, b.namespace, b.name), Seen::Absent));
        let (title, shown) = match (&gone, not_found) {
            (Some(backend), _) => (
                format!(
                    "The rule for {WELL_KNOWN} leads to Service {}/{}, which does not exist",
                    backend.namespace, backend.name
                ),
                route.evidence(&backend.pointer("")),
            ),
            (None, Some((probe, with))) => {
                (format!("{} was answered with {with}", probe.probe.request.line), probe.status_evidence())
            }
            (None, None) => continue,
        };
        let draft = findings.report(
            &WELLKNOWN_NOT_FOUND,
            route,
            title,
            shown,
            "Let the rule lead to Service mcp-gateway, port 8080, on the public host.",
        );
        entrance.show_rule(draft);
        draft.object(extension.object.reference());
        draft.command(shell!("oc -n {} edit httproute {}", route.namespace(), route.name()));
        draft.verify(remedy::curl(extension, WELL_KNOWN));
    }
}

declare_rule! {
    /// The OAuth metadata names another resource
    ///
    /// ## What it means
    /// Clients compare the `resource` of the metadata with the URL that they were given (RFC 9728), and
    /// refuse to log in when they differ.
    ///
    /// ## How it is decided
    /// The host of `spec.oauthProtectedResource.resource`, or, where that is not set, of what the gateway
    /// answered as `resource` (`mcpgw/probes/oauth-metadata.*.json`), is not the extension's public host.
    /// Scheme, port and path are not compared: what stands in front of the Gateway may change them.
    ///
    /// ## Causes
    /// The value was copied from an example, or the public host was changed.
    ///
    /// ## How to confirm
    /// `curl -s http://HOST:PORT/.well-known/oauth-protected-resource | jq .resource` (`https` for a TLS
    /// listener)
    ///
    /// ## How to fix
    /// Write the URL that clients use into `spec.oauthProtectedResource.resource`.
    ///
    /// ## When it may be a false alarm
    /// Clients that use another host than the public one, which something in front of the Gateway replaces.
    pub(super) static OAUTH_RESOURCE = {
        code: "MG715", name: "oauth-resource", severity: Warning, section: "1.7",
        needs: ["mcpgatewayextensions", "probes", "gateways"], since: "0.1.0", caused_by: [],
        versions: "every supported version; set by hand in the broker's environment before 0.7.0",
        check: oauth_resource,
    }
}

/// The host of a URL, without port.
fn host_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.split(':').next().filter(|host| !host.is_empty())
}

fn oauth_resource(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &OAUTH_RESOURCE, findings);
    const POINTER: &str = "/spec/oauthProtectedResource/resource";
    for extension in &context.chain().extensions {
        let object = extension.object;
        let Some(public) = extension.public_host() else { continue };
        let probe = context.probe(Purpose::OauthMetadata, object);
        let answered =
            probe.and_then(|r| Some((r, r.probe.body.as_ref()?.metadata.as_ref()?.resource.as_str())));
        let written = Some(object.str(POINTER)).filter(|url| !url.is_empty());
        let (url, shown) = match (written, answered) {
            (Some(url), _) => (url, object.evidence(POINTER)),
            (None, Some((probe, url))) => (url, probe.evidence("body.metadata.resource", url)),
            (None, None) => continue,
        };
        let Some(host) = host_of(url).filter(|host| !host.eq_ignore_ascii_case(&public)) else { continue };
        let right = url.replacen(host, &public, 1);
        findings
            .report(
                &OAUTH_RESOURCE,
                object,
                format!(
                    "The OAuth metadata of MCPGatewayExtension {} is about {host}, not {public}",
                    object.full_name()
                ),
                shown,
                "Write the URL that clients use into spec.oauthProtectedResource.resource.",
            )
            .command(remedy::merge(object, json!({"spec": {"oauthProtectedResource": {"resource": right}}})))
            .verify(remedy::curl(extension, WELL_KNOWN));
    }
}

declare_rule! {
    /// The broker has no OAuth configuration
    ///
    /// ## What it means
    /// Clients are told to authenticate, but the metadata names no authorization server: they cannot log in.
    ///
    /// ## How it is decided
    /// An AuthPolicy with authentication is in effect on the MCP path and has a rule with `jwt.issuerUrl`,
    /// the extension has no `spec.oauthProtectedResource`, and no container of the broker's Deployment has
    /// the variable `OAUTH_AUTHORIZATION_SERVERS` in its `env`. Policies with API keys or client certificates
    /// only are not judged.
    ///
    /// ## Causes
    /// It was never set; or it was set with `oc set env` and the controller of 0.7 or newer has removed it.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE set env deployment/mcp-gateway --list | grep OAUTH`
    ///
    /// ## How to fix
    /// Set `spec.oauthProtectedResource.authorizationServers` of the extension (0.7 and newer). Before 0.7
    /// set the variable in the Deployment.
    ///
    /// ## When it may be a false alarm
    /// Clients that bring a token without discovery (service accounts). A variable that comes from `envFrom`.
    pub(super) static OAUTH_ENV_MISSING = {
        code: "MG704", name: "oauth-env-missing", severity: Error, section: "1.7",
        needs: ["deployments", "mcpgatewayextensions", "authpolicies", "gateways", "httproutes"], since: "0.1.0", caused_by: [],
        versions: "every supported version; `spec.oauthProtectedResource` sets them from 0.7.0 on, before they are set by hand",
        check: oauth_env_missing,
    }
}

/// The value of a variable of the broker, and its pointer.
pub(super) fn broker_variable<'a>(deployment: &'a Object, name: &str) -> Option<(&'a str, String)> {
    deployment.array("/spec/template/spec/containers").iter().enumerate().find_map(|(c, container)| {
        let env = container.get("env")?.as_array()?;
        let (e, variable) =
            env.iter().enumerate().find(|(_, v)| v.get("name").and_then(Value::as_str) == Some(name))?;
        let value = variable.get("value").and_then(Value::as_str).unwrap_or_default();
        Some((value, format!("/spec/template/spec/containers/{c}/env/{e}")))
    })
}

fn oauth_env_missing(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &OAUTH_ENV_MISSING, findings);
    for extension in &context.chain().extensions {
        let object = extension.object;
        let Some((_, policies)) = authenticating(context, extension) else { continue };
        let uses_jwt = policies.iter().any(|p| !p.issuers().is_empty());
        if !uses_jwt || object.get("/spec/oauthProtectedResource").is_some() {
            continue;
        }
        let Some(broker) = context.workloads().broker_deployment(object.namespace()) else {
            if let Err(missing) = context.bundle.collected(&kinds::DEPLOYMENT, Some(object.namespace())) {
                findings.cannot_tell(&OAUTH_ENV_MISSING, missing);
            }
            continue;
        };
        if broker_variable(broker, "OAUTH_AUTHORIZATION_SERVERS").is_some() {
            continue;
        }
        let title = format!(
            "MCPGatewayExtension {} has no OAuth configuration, but authentication is demanded",
            object.full_name()
        );
        let draft = findings.report(
            &OAUTH_ENV_MISSING,
            object,
            title,
            object.evidence("/spec/oauthProtectedResource"),
            "Set spec.oauthProtectedResource with the authorization servers.",
        );
        draft.evidence(broker.evidence("/spec/template/spec/containers/0/env"));
        draft.object(broker.reference());
        let mut issuer = "https://ISSUER";
        for policy in &policies {
            draft.object(policy.object.reference());
            if let Some((url, pointer)) = policy.issuers().first() {
                issuer = url;
                draft.evidence(policy.object.evidence(pointer));
            }
        }
        draft.command(remedy::merge(
            object,
            json!({"spec": {"oauthProtectedResource": {"authorizationServers": [issuer]}}}),
        ));
        draft.verify(remedy::curl(extension, WELL_KNOWN));
    }
}
