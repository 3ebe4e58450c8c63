//! MG709-MG711: what a client without a token is told, and where a policy must stand to tell it.

use std::collections::HashMap;

use serde_json::json;

use super::discovery::authenticating;
use crate::declare_rule;
use crate::model::gateway_api::Verdict;
use crate::model::json::Value;
use crate::model::kinds;
use crate::model::kuadrant::Policy;
use crate::model::mcp::Extension;
use crate::model::probes::{Purpose, Recorded, WELL_KNOWN};
use crate::rules::policies::{Entrance, auth_policies, say_what_is_missing};
use crate::rules::remedy;
use crate::rules::{Context, Findings};
use crate::shell::shell;

declare_rule! {
    /// The 401 does not tell where the metadata is
    ///
    /// ## What it means
    /// MCP clients follow `WWW-Authenticate: Bearer resource_metadata=…` of the 401 to the metadata. Without
    /// it most clients give up.
    ///
    /// ## How it is decided
    /// The AuthPolicy in effect on the MCP path has no `WWW-Authenticate` among the headers of
    /// `response.unauthenticated`, neither under `spec.rules`, `spec.defaults.rules`, `spec.overrides.rules`
    /// nor `spec`; or a policy has it, and the 401 of the running gateway does not name `resource_metadata`
    /// (`mcpgw/probes/tools-list.*.json`).
    ///
    /// A policy that takes no tokens of an authorization server (API keys, client certificates) is not
    /// judged, unless the extension has `spec.oauthProtectedResource`. The value of the header is MG710.
    ///
    /// ## Causes
    /// The header was forgotten, or stands under `unauthorized`.
    ///
    /// ## How to confirm
    /// `curl -si http://HOST:PORT/mcp | grep -i www-authenticate` (`https` for a TLS listener)
    ///
    /// ## How to fix
    /// Add the header to the policy with the command that is printed. Where the policy has it and the 401
    /// does not, find who answers: another policy, or the broker.
    ///
    /// ## When it may be a false alarm
    /// Clients that are configured with the authorization server.
    pub(super) static WWW_AUTHENTICATE_MISSING = {
        code: "MG709", name: "www-authenticate-missing", severity: Warning, section: "1.7",
        needs: ["authpolicies", "gateways", "httproutes", "mcpgatewayextensions", "probes"], since: "0.1.0", caused_by: [],
        check: www_authenticate_missing,
    }
}

/// The URL of the metadata of an extension.
fn metadata_url(extension: &Extension<'_>) -> String {
    let host = extension.public_host().unwrap_or_else(|| "HOST".to_owned());
    let port = extension.listener.map_or(80, |l| l.port);
    let tls = extension.listener.is_some_and(|l| l.protocol == "HTTPS" || l.protocol == "TLS");
    match (tls, port) {
        (true, 443) => format!("https://{host}{WELL_KNOWN}/mcp"),
        (true, port) => format!("https://{host}:{port}{WELL_KNOWN}/mcp"),
        (false, 80) => format!("http://{host}{WELL_KNOWN}/mcp"),
        (false, port) => format!("http://{host}:{port}{WELL_KNOWN}/mcp"),
    }
}

/// Reports that the 401 of the running gateway lacks the header that the policy sets.
fn header_lost(
    findings: &mut Findings,
    extension: &Extension<'_>,
    entrance: &Entrance<'_>,
    policy: &Policy<'_>,
    silent: &Recorded<'_>,
) {
    let object = policy.object;
    let shown = match silent.probe.header("www-authenticate") {
        "" => silent.status_evidence(),
        header => silent.evidence("headers.www-authenticate", header),
    };
    let what = if silent.probe.header("www-authenticate").is_empty() {
        "has no WWW-Authenticate header"
    } else {
        "has a WWW-Authenticate header without resource_metadata"
    };
    let draft = findings.report(
        &WWW_AUTHENTICATE_MISSING,
        object,
        format!(
            "The 401 to {} {what}, although AuthPolicy {} sets it",
            silent.probe.request.line,
            object.full_name()
        ),
        shown,
        "Find who answers with the 401: another policy, or the broker; the header belongs to that answer.",
    );
    if let Some((pointer, _)) = policy.www_authenticate() {
        draft.evidence(object.evidence(&pointer));
    }
    draft.object(extension.object.reference());
    entrance.name_route(draft);
    draft.command(shell!(
        "oc -n {} get authpolicy {} -o jsonpath='{{.status.conditions}}'",
        object.namespace(),
        object.name()
    ));
    draft.verify(shell!("{} | grep -i www-authenticate", remedy::curl(extension, "/mcp")));
}

fn www_authenticate_missing(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &WWW_AUTHENTICATE_MISSING, findings);
    for extension in &context.chain().extensions {
        let Some((entrance, policies)) = authenticating(context, extension) else { continue };
        let probe = context.probe(Purpose::ToolsList, extension.object);
        let silent = probe.filter(|r| {
            r.probe.status == Some(401) && !r.probe.header("www-authenticate").contains("resource_metadata")
        });
        if let Some(policy) = policies.iter().find(|p| p.www_authenticate().is_some()) {
            if let Some(silent) = silent {
                header_lost(findings, extension, entrance, policy, silent);
            }
            continue;
        }
        // Clients with API keys or certificates do not look for an authorization server.
        let by_tokens = extension.object.get("/spec/oauthProtectedResource").is_some()
            || policies.iter().any(Policy::takes_tokens);
        let Some(policy) = policies.first().filter(|_| by_tokens) else { continue };
        let object = policy.object;
        let title =
            format!("AuthPolicy {} sends no WWW-Authenticate header with its 401", object.full_name());
        let body = policy
            .bodies()
            .first()
            .map_or("", |(_, pointer, _)| pointer.trim_start_matches("/spec").trim_start_matches('/'));
        let value = format!("Bearer resource_metadata={}", metadata_url(extension));
        let rules = json!({"rules": {"response": {"unauthenticated": {"headers":
            {"WWW-Authenticate": {"value": value}}}}}});
        let patch = if body.is_empty() { json!({"spec": rules}) } else { json!({"spec": {body: rules}}) };
        let draft = findings.report(
            &WWW_AUTHENTICATE_MISSING,
            object,
            title,
            object.evidence(&format!(
                "/spec{}{}/rules/response",
                if body.is_empty() { "" } else { "/" },
                body
            )),
            format!("Add the header WWW-Authenticate with the value `{value}`."),
        );
        draft.object(extension.object.reference());
        entrance.name_route(draft);
        if let Some(silent) = silent {
            draft.evidence(silent.status_evidence());
        }
        draft.command(remedy::merge(object, patch));
        draft.verify(shell!("{} | grep -i www-authenticate", remedy::curl(extension, "/mcp")));
    }
}

declare_rule! {
    /// The WWW-Authenticate header points elsewhere
    ///
    /// ## What it means
    /// The 401 names a metadata URL that is not the MCP gateway's: clients ask the wrong host or path.
    ///
    /// ## How it is decided
    /// The header's value (a literal, not an expression) of a policy in effect on the MCP path has no
    /// `resource_metadata=`, or what stands there is no URL, or its host is not the extension's public host,
    /// or its path does not start with `/.well-known/oauth-protected-resource`. Scheme, port, quotes and a
    /// `/mcp` behind the path may differ, as a load balancer or Route in front may have others.
    ///
    /// The policies in effect on the servers' routes, where calls arrive after the router, are judged in the
    /// same way, if they name a `resource_metadata`.
    ///
    /// ## Causes
    /// Copied from an example, or the public host was changed since.
    ///
    /// ## How to confirm
    /// `curl -si http://HOST:PORT/mcp | grep -i www-authenticate` (`https` for a TLS listener)
    ///
    /// ## How to fix
    /// Correct the URL.
    ///
    /// ## When it may be a false alarm
    /// A proxy in front gives the gateway another public name.
    pub(super) static WWW_AUTHENTICATE_VALUE = {
        code: "MG710", name: "www-authenticate-value", severity: Error, section: "1.7",
        needs: ["authpolicies", "mcpgatewayextensions", "gateways", "httproutes"], since: "0.1.0", caused_by: [],
        check: www_authenticate_value,
    }
}

/// What is wrong with a header's value, if anything.
fn wrong_value(value: &str, host: &str) -> Option<String> {
    let Some((_, rest)) = value.split_once("resource_metadata=") else {
        return Some("it has no resource_metadata".to_owned());
    };
    let url = rest.trim_start_matches('"').split(['"', ',', ' ']).next().unwrap_or_default();
    let Some((_, rest)) = url.split_once("://") else { return Some(format!("{url} is no URL")) };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
    if !name.eq_ignore_ascii_case(host) {
        return Some(format!("its host is {name}, the public host is {host}"));
    }
    (!path.starts_with(WELL_KNOWN)).then(|| format!("its path is {path}"))
}

/// The policies that authenticate calls of each extension's servers, by the extensions' positions: these pass the
/// listeners of their routes.
fn on_the_way_to_servers<'a>(context: &Context<'a>) -> Vec<Vec<Policy<'a>>> {
    let chain = context.chain();
    let mut found: Vec<Vec<Policy<'a>>> = vec![Vec::new(); chain.extensions.len()];
    for registration in &chain.registrations {
        let Some(route) = registration.route else { continue };
        let Some(facts) = chain.route(route.namespace(), route.name()) else { continue };
        for &at in &registration.extensions {
            let Some(gateway) = chain.extensions[at].meant_gateway else { continue };
            let here = facts
                .attachments
                .iter()
                .filter(|a| a.gateway.found().is_some_and(|g| std::ptr::eq(g, gateway)));
            for (listener, verdict) in here.flat_map(|a| &a.listeners) {
                if !matches!(verdict, Verdict::Accepts(_)) {
                    continue;
                }
                let here = context.auth_policies().effective(gateway, listener.name, Some((route, "rule-1")));
                for policy in here.into_iter().filter(Policy::authenticates) {
                    if !found[at].iter().any(|f| std::ptr::eq(f.object, policy.object)) {
                        found[at].push(policy);
                    }
                }
            }
        }
    }
    found
}

fn www_authenticate_value(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &WWW_AUTHENTICATE_VALUE, findings);
    let on_the_way = on_the_way_to_servers(context);
    for (extension, behind) in context.chain().extensions.iter().zip(on_the_way) {
        let Some(host) = extension.public_host() else { continue };
        let Some((entrance, mut policies)) = authenticating(context, extension) else { continue };
        let at_entrance = policies.len();
        for policy in behind {
            if !policies.iter().any(|known| std::ptr::eq(known.object, policy.object)) {
                policies.push(policy);
            }
        }
        for (at, policy) in policies.into_iter().enumerate() {
            let Some((pointer, header)) = policy.www_authenticate() else { continue };
            let text = header.as_str().or_else(|| header.get("value").and_then(Value::as_str));
            // Behind the entrance the clients know the metadata already, unless they are led elsewhere.
            if at >= at_entrance && !text.is_some_and(|text| text.contains("resource_metadata=")) {
                continue;
            }
            let Some(why) = text.and_then(|text| wrong_value(text, &host)) else { continue };
            let object = policy.object;
            let title = format!("AuthPolicy {}: WWW-Authenticate is wrong, {why}", object.full_name());
            let shown = if header.is_string() { pointer.clone() } else { format!("{pointer}/value") };
            let value = format!("Bearer resource_metadata={}", metadata_url(extension));
            let draft = findings.report(
                &WWW_AUTHENTICATE_VALUE,
                object,
                title,
                object.evidence(&shown),
                format!("Set the header to `{value}`."),
            );
            draft
                .evidence(extension.object.evidence("/spec/publicHost"))
                .object(extension.object.reference());
            if at < at_entrance && entrance.route.is_none() {
                entrance.name_route(draft);
            }
            draft.command(remedy::patch(object, json!([{"op": "replace", "path": shown, "value": value}])));
            draft.verify(shell!("{} | grep -i www-authenticate", remedy::curl(extension, "/mcp")));
        }
    }
}

declare_rule! {
    /// No AuthPolicy is in effect on the public host
    ///
    /// ## What it means
    /// Everybody may use the MCP gateway without credentials, although authentication was set up.
    ///
    /// ## How it is decided
    /// An AuthPolicy that demands credentials has a `WWW-Authenticate` header with `resource_metadata`, and
    /// it targets this Gateway (or a listener of it), or the URL has the extension's public host: it was
    /// written for these clients. But no AuthPolicy with authentication is in effect on the listener, route
    /// and rule that take `/mcp` of the public host.
    ///
    /// Without such a policy nothing is said, also where `spec.oauthProtectedResource` is set. A policy whose
    /// `when` takes the metadata instead of the calls is MG702.
    ///
    /// ## Causes
    /// The policy targets another listener (the one of the servers' hosts), another Gateway, or nothing
    /// (MG802, MG803).
    ///
    /// ## How to confirm
    /// `curl -si http://HOST:PORT/mcp` does not answer 401 (`https` for a TLS listener)
    ///
    /// ## How to fix
    /// Let `spec.targetRef` name the Gateway (`kind`, `name`) with the listener of the public host as
    /// `sectionName`. A policy of another namespace than the Gateway's has to be created there. The
    /// commands do this to the policy that stands elsewhere: look first whether it is needed there, too.
    ///
    /// ## When it may be a false alarm
    /// Authentication is done in front of the gateway, or on purpose not at all.
    pub(super) static AUTHPOLICY_MISPLACED = {
        code: "MG711", name: "authpolicy-misplaced", severity: Error, section: "1.7",
        needs: ["authpolicies", "gateways", "httproutes", "mcpgatewayextensions"], since: "0.1.0", caused_by: ["MG802", "MG803", "MG706"],
        check: authpolicy_misplaced,
    }
}

/// The host to which the 401 of a policy that authenticates leads clients for the metadata, in lower case; empty where
/// the value tells none.
fn named_host(policy: &Policy<'_>) -> Option<String> {
    let header = policy.www_authenticate()?.1.to_string();
    let (_, rest) = header.split_once("resource_metadata=")?;
    let host = rest.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    let host = host.split(['/', ':', '"', '\\', ',', ' ']).next().unwrap_or_default();
    policy.authenticates().then(|| host.to_ascii_lowercase())
}

fn authpolicy_misplaced(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &AUTHPOLICY_MISPLACED, findings);
    let mut by_host: HashMap<String, Vec<Policy<'_>>> = HashMap::new();
    for policy in auth_policies(context) {
        if let Some(host) = named_host(&policy) {
            by_host.entry(host).or_default().push(policy);
        }
    }
    for extension in &context.chain().extensions {
        let (Some(gateway), Some(listener)) = (extension.meant_gateway, extension.meant_listener) else {
            continue;
        };
        let mcp: Vec<_> = context.entrances(extension).iter().filter(|e| e.takes("/mcp")).collect();
        if mcp.is_empty() || authenticating(context, extension).is_some() {
            continue;
        }
        // One that takes what it is to leave alone, and the other way round, is MG702's.
        if context.auth_policies().on(gateway).iter().any(|p| p.takes_metadata_only().is_some()) {
            continue;
        }
        // The policy that protects the host may be among those that the bundle lacks, which is said above.
        let places = mcp.iter().map(|e| e.namespace()).chain([gateway.namespace()]);
        let mut gaps = places.filter_map(|ns| context.bundle.collected(&kinds::AUTH_POLICY, Some(ns)).err());
        if let Some(missing) = gaps.next() {
            findings.cannot_tell(&AUTHPOLICY_MISPLACED, missing);
            continue;
        }
        // A policy that was written for the clients of this extension: its 401 points to the metadata
        // of this host, or it stands on this Gateway.
        let here = context.auth_policies().on(gateway).iter().find(|p| named_host(p).is_some());
        let host = extension.public_host().unwrap_or_default().to_ascii_lowercase();
        let named = by_host.get(&host).map_or(&[][..], Vec::as_slice);
        // One that stands on another target is nearer to the fault than one that is where it was meant to be.
        let astray = named.iter().find(|p| !p.targets(gateway));
        let Some(policy) = astray.or(here).or(named.first()) else { continue };
        let object = policy.object;
        let place = policy.section().map(|s| format!(" section {s}")).unwrap_or_default();
        let title = format!(
            "No AuthPolicy protects {}: AuthPolicy {} targets {} {}{place}",
            extension.public_host().unwrap_or_default(),
            object.full_name(),
            policy.target_kind(),
            policy.target_name()
        );
        let draft = findings.report(
            &AUTHPOLICY_MISPLACED,
            extension.object,
            title,
            object.evidence("/spec/targetRef"),
            format!(
                "Let an AuthPolicy target Gateway {} with sectionName {}.",
                gateway.full_name(),
                listener.name
            ),
        );
        draft.evidence(gateway.evidence(&listener.pointer("/name")));
        draft.object(object.reference()).object(gateway.reference());
        for policy in here.into_iter().chain(named.iter().take(16)) {
            draft.because_of(&["MG802", "MG803", "MG706"], policy.object.reference());
        }
        if let Some(entrance) = mcp.first().filter(|e| e.route.is_none()) {
            entrance.name_route(draft);
        }
        let target = json!({"group": kinds::GATEWAY.group, "kind": kinds::GATEWAY.kind, "name": gateway.name(),
            "sectionName": listener.name});
        if policy.targets(gateway) {
            draft.command(remedy::merge(
                object,
                json!({"spec": {"targetRef": {"sectionName": listener.name}}}),
            ));
        } else if object.namespace() == gateway.namespace() {
            draft.command(remedy::merge(object, json!({"spec": {"targetRef": target}})));
        } else {
            // A policy targets what is in its own namespace.
            for command in remedy::moved(object, gateway.namespace(), &[(".spec.targetRef", target)]) {
                draft.command(command);
            }
        }
        draft.verify(remedy::curl(extension, "/mcp"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_must_lead_to_the_public_host() {
        let cases = [
            (
                "Bearer resource_metadata=http://mcp.example.com:8080/.well-known/oauth-protected-resource/mcp",
                None,
            ),
            (
                "Bearer realm=\"x\", resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource\"",
                None,
            ),
            ("Bearer", Some("it has no resource_metadata")),
            (
                "Bearer resource_metadata=http://other.example.com/.well-known/oauth-protected-resource",
                Some("its host is other.example.com, the public host is mcp.example.com"),
            ),
            ("Bearer resource_metadata=http://mcp.example.com/oauth", Some("its path is /oauth")),
        ];
        for (value, expected) in cases {
            assert_eq!(wrong_value(value, "mcp.example.com").as_deref(), expected, "{value}");
        }
    }
}
