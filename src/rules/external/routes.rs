//! MG507, MG508: what routes to servers outside the cluster must look like.

use serde_json::json;

use super::{External, rewritten_to};
use crate::declare_rule;
use crate::model::Object;
use crate::model::gateway_api::{BackendRef, backend_refs, hostnames};
use crate::model::json::Value;
use crate::rules::remedy;
use crate::rules::{Context, Findings};
use crate::shell::shell;

/// The host that the backendRef's rule rewrites to, with its JSON pointer: by URLRewrite, or by a Host header that it
/// sets, which Istio takes for the same.
pub(super) fn rewrite<'a>(route: &'a Object, backend: &BackendRef<'_>) -> Option<(String, &'a str)> {
    let base = format!("/spec/rules/{}", backend.rule);
    for list in [format!("{base}/filters"), format!("{base}/backendRefs/{}/filters", backend.index)] {
        for (index, filter) in route.array(&list).iter().enumerate() {
            if let Some(host) = filter.pointer("/urlRewrite/hostname").and_then(Value::as_str) {
                return Some((format!("{list}/{index}/urlRewrite/hostname"), host));
            }
            let headers = filter.pointer("/requestHeaderModifier/set").and_then(Value::as_array);
            for (at, header) in headers.unwrap_or_default().iter().enumerate() {
                let field = |name: &str| header.get(name).and_then(Value::as_str);
                if let (Some(name), Some(host)) = (field("name"), field("value"))
                    && name.eq_ignore_ascii_case("host")
                {
                    return Some((format!("{list}/{index}/requestHeaderModifier/set/{at}/value"), host));
                }
            }
        }
    }
    None
}

declare_rule! {
    /// The backendRef to a server outside the cluster is wrong
    ///
    /// ## What it means
    /// The route does not lead to the external host: the backendRef has another name, kind or group, a
    /// namespace, no port, or a port that the ServiceEntry does not have.
    ///
    /// ## How it is decided
    /// For a backendRef of kind `Hostname` of a route with an enabled registration, the first of these that
    /// is true: its name only comes close to the host of the ServiceEntry to which the route rewrites; its
    /// group is not `networking.istio.io`; it names a namespace (Istio refuses the whole rule then); it has
    /// no port; its port is none of the ServiceEntry.
    ///
    /// A backendRef of kind `Service` whose name has dots is a host name in the wrong kind, unless it is a
    /// host of the cluster (`NAME.NAMESPACE.svc…`, see MG215 and MG406).
    ///
    /// ## Causes
    /// A manifest written from memory.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproute NAME -o yaml`.
    ///
    /// ## How to fix
    /// Use `{group: networking.istio.io, kind: Hostname, name: HOST, port: 443}`.
    ///
    /// ## When it may be a false alarm
    /// None known.
    pub(super) static EXTERNAL_BACKENDREF = {
        code: "MG507", name: "external-backendref", severity: Error, section: "1.5",
        needs: ["httproutes", "serviceentries", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: external_backendref,
    }
}

fn external_backendref(context: &Context<'_>, findings: &mut Findings) {
    for external in context.externals() {
        let (route, backend) = (external.route, &external.backend);
        let ports: Vec<i64> = external
            .entry
            .map(|entry| entry.array("/spec/ports").iter())
            .into_iter()
            .flatten()
            .filter_map(|p| p.get("number").and_then(Value::as_i64))
            .collect();
        let slip = rewritten_to(context, external);
        let (field, what, value) = if let Some((entry, index)) = slip {
            let host = entry.str(&format!("/spec/hosts/{index}"));
            ("/name", format!("should name {host}, to which the route rewrites"), json!(host))
        } else if backend.group != "networking.istio.io" {
            (
                "/group",
                format!("has the group {:?}, Hostname is of networking.istio.io", backend.group),
                json!("networking.istio.io"),
            )
        } else if route.get(&backend.pointer("/namespace")).is_some() {
            ("/namespace", "names a namespace, but a Hostname has none".to_owned(), json!(null))
        } else if backend.port.is_none() {
            ("/port", "names no port".to_owned(), json!(ports.first().unwrap_or(&443)))
        } else if external.entry.is_some() && !backend.port.is_some_and(|port| ports.contains(&port)) {
            (
                "/port",
                format!(
                    "names port {}, which the ServiceEntry does not have",
                    backend.port.unwrap_or_default()
                ),
                json!(ports.first().unwrap_or(&443)),
            )
        } else {
            continue;
        };
        let pointer = backend.pointer(field);
        let draft = findings.report(
            &EXTERNAL_BACKENDREF,
            route,
            format!("The backendRef of HTTPRoute {} to {} {what}", route.full_name(), backend.name),
            route.evidence(&pointer),
            "Name the external host as {group: networking.istio.io, kind: Hostname} with a port of its ServiceEntry.",
        );
        if let Some(entry) = external.entry {
            draft.object(entry.reference()).evidence(entry.evidence("/spec/ports"));
        } else if let Some((entry, index)) = slip {
            draft.object(entry.reference()).evidence(entry.evidence(&format!("/spec/hosts/{index}")));
        }
        for user in external.users() {
            draft.object(user);
        }
        let step = match value.is_null() {
            true => json!({"op": "remove", "path": pointer}),
            false => json!({"op": "add", "path": pointer, "value": value}),
        };
        draft.command(remedy::patch(route, json!([step]))).verify(shell!(
            "oc -n {} get httproute {} -o yaml",
            route.namespace(),
            route.name()
        ));
    }
    for facts in context.chain().routes.values().filter(|f| !f.registrations.is_empty()) {
        let route = facts.object;
        // A host of the cluster names a Service that is missing (MG215, MG406), nothing outside.
        let outside = |host: &str| host.contains('.') && host.split('.').nth(2) != Some("svc");
        for backend in backend_refs(route).iter().filter(|b| b.is_service() && outside(b.name)) {
            let pointer = format!("/spec/rules/{}/backendRefs/{}", backend.rule, backend.index);
            findings
                .report(
                    &EXTERNAL_BACKENDREF,
                    route,
                    format!("HTTPRoute {} names the host {} as a Service", route.full_name(), backend.name),
                    route.evidence(&backend.pointer("/name")),
                    "Name the external host as {group: networking.istio.io, kind: Hostname}.",
                )
                .evidence(route.evidence(&backend.pointer("/kind")))
                .command(remedy::patch(
                    route,
                    json!([
                        {"op": "add", "path": format!("{pointer}/group"), "value": "networking.istio.io"},
                        {"op": "add", "path": format!("{pointer}/kind"), "value": "Hostname"},
                    ]),
                ))
                .verify(shell!("oc -n {} get httproute {} -o yaml", route.namespace(), route.name()));
        }
    }
}

declare_rule! {
    /// The route does not rewrite the host to the external one
    ///
    /// ## What it means
    /// The server gets the gateway's internal host name in `Host` (and possibly in TLS), and answers
    /// 404, 421 or with another site.
    ///
    /// ## How it is decided
    /// The rule with a backendRef of kind `Hostname`, or the backendRef itself, needs a filter `URLRewrite`
    /// whose `hostname` is the same host (or a `RequestHeaderModifier` that sets the header `Host` to it).
    /// Reported is a rewrite to another host, and none at all, unless the host is the route's only hostname
    /// anyhow. Where the name of the backendRef is the wrong one, it is MG507.
    ///
    /// ## Causes
    /// The filter was left out, or names another host.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproute NAME -o yaml`.
    ///
    /// ## How to fix
    /// Add the filter with the command that is printed. A rule takes one `URLRewrite` only: where one
    /// rewrites the path already, the command adds `hostname` to that one.
    ///
    /// ## When it may be a false alarm
    /// A server that answers for any host, or expects another one.
    pub(super) static EXTERNAL_URLREWRITE = {
        code: "MG508", name: "external-urlrewrite", severity: Error, section: "1.5",
        needs: ["httproutes", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: external_urlrewrite,
    }
}

fn external_urlrewrite(context: &Context<'_>, findings: &mut Findings) {
    for external in context.externals() {
        let External { route, backend, .. } = &external;
        let host = backend.name;
        let found = rewrite(route, backend);
        let (pointer, what) = match &found {
            Some((_, hostname)) if hostname.eq_ignore_ascii_case(host) => continue,
            _ if rewritten_to(context, external).is_some() => continue,
            // The host that clients and the router ask for is the external one already.
            None if !hostnames(route).is_empty() && hostnames(route).iter().all(|h| *h == host) => continue,
            Some((pointer, hostname)) => {
                (pointer.clone(), format!("rewrites the host to {hostname}, not to {host}"))
            }
            None => (
                format!("/spec/rules/{}/filters", backend.rule),
                format!("does not rewrite the host to {host}"),
            ),
        };
        let operations = match &found {
            Some(_) => json!([{"op": "replace", "path": pointer, "value": host}]),
            None => {
                let filter = json!({"type": "URLRewrite", "urlRewrite": {"hostname": host}});
                let is_rewrite = |f: &Value| f.get("type").and_then(Value::as_str) == Some("URLRewrite");
                // Of this kind a rule has one at most.
                let (path, value) = if let Some(at) = route.array(&pointer).iter().position(is_rewrite) {
                    (format!("{pointer}/{at}/urlRewrite/hostname"), json!(host))
                } else if route.array(&pointer).is_empty() {
                    (pointer.clone(), json!([filter]))
                } else {
                    (format!("{pointer}/-"), filter)
                };
                json!([{"op": "add", "path": path, "value": value}])
            }
        };
        let draft = findings.report(
            &EXTERNAL_URLREWRITE,
            route,
            format!("HTTPRoute {} {what}", route.full_name()),
            route.evidence(&pointer),
            "Rewrite the host to the external one with a URLRewrite filter.",
        );
        draft.evidence(route.evidence(&backend.pointer("/name")));
        for user in external.users() {
            draft.object(user);
        }
        draft.command(remedy::patch(route, operations)).verify(shell!(
            "oc -n {} get httproute {} -o yaml",
            route.namespace(),
            route.name()
        ));
    }
}
