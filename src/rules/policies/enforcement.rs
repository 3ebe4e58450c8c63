//! MG801, MG809, MG813-MG815: what is really enforced, and against whom.

use std::collections::BTreeMap;

use super::{auth_policies, behind, say_what_is_missing};
use crate::declare_rule;
use crate::model::gateway_api::{Attachment, Outcome};
use crate::model::kuadrant::Policy;
use crate::model::logs::Record;
use crate::model::object::Condition;
use crate::model::workloads::Component;
use crate::model::{Missing, Object, kinds};
use crate::report::Evidence;
use crate::rules::evidence;
use crate::rules::{Context, Findings};
use crate::shell::shell;
use crate::term::counted;

declare_rule! {
    /// Authentication without authorization
    ///
    /// ## What it means
    /// Every user whom the identity server knows may call every tool.
    ///
    /// ## How it is decided
    /// AuthPolicies demand credentials for calls of the MCP gateway (target: one of its Gateways or routes),
    /// and none of all AuthPolicies that concern it, on whichever of its Gateways or routes, has an
    /// authorization rule. A policy on a listener that no route of the MCP gateway uses does not count.
    ///
    /// ## Causes
    /// Authorization was left for later, or is done by the MCP servers themselves.
    ///
    /// ## How to confirm
    /// `oc get authpolicies -A -o yaml | grep -A2 authorization:`
    ///
    /// ## How to fix
    /// Add authorization rules, for instance per tool by role.
    ///
    /// ## When it may be a false alarm
    /// Where every user may use every tool.
    pub(super) static NO_AUTHORIZATION = {
        code: "MG801", name: "no-authorization", severity: Info, section: "1.8",
        needs: ["authpolicies"], since: "0.1.0", caused_by: [],
        check: no_authorization,
    }
}

fn no_authorization(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &NO_AUTHORIZATION, findings);
    let policies = auth_policies(context);
    if policies.iter().any(|p| !p.rules("authorization").is_empty() && behind::is_on_a_way(context, p)) {
        return;
    }
    for policy in policies.iter().filter(|p| p.authenticates()) {
        let object = policy.object;
        let pointer =
            policy.rules("authentication").first().map_or("/spec".to_owned(), |(_, p, _)| p.clone());
        let title = format!("AuthPolicy {} authenticates, but nothing authorizes", object.full_name());
        findings
            .report(
                &NO_AUTHORIZATION,
                object,
                title,
                object.evidence(&pointer),
                "Add authorization rules where not every user may call every tool.",
            )
            .command(shell!("oc -n {} edit authpolicy {}", object.namespace(), object.name()))
            .verify(shell!(
                "oc -n {} get authpolicy {} -o jsonpath='{{.spec}}'",
                object.namespace(),
                object.name()
            ));
    }
}

declare_rule! {
    /// No token carries the roles that a policy asks for
    ///
    /// ## What it means
    /// An authorization rule reads `resource_access` from the token, and the tokens that were seen do not
    /// have that claim: every tool call is denied.
    ///
    /// ## How it is decided
    /// An expression of an AuthPolicy mentions `resource_access`; tokens of an issuer of that policy (their
    /// claim digests) were met in the logs of the gateway, the broker or Authorino, and not one lists the
    /// claim. How old the lines are, and which roles the claim has, is not asked.
    ///
    /// ## Causes
    /// The client in the identity server has no mapper for client roles, or the roles are named otherwise:
    /// the key is `NAMESPACE/REGISTRATION`, since 0.7 each role is `tool:NAME`.
    ///
    /// ## How to confirm
    /// `jq -rR 'split(".")[1]|gsub("-";"+")|gsub("_";"/")|@base64d|fromjson|.resource_access' TOKEN_FILE`
    ///
    /// ## How to fix
    /// Add the mapper for client roles to the client's scope, and the roles to the users.
    ///
    /// ## When it may be a false alarm
    /// The tokens in the log are of other clients of the issuer, or from before the mapper was added.
    pub(super) static ROLE_CLAIMS = {
        code: "MG809", name: "role-claims", severity: Warning, section: "1.8",
        needs: ["authpolicies", "logs with tokens (claim digests)", "gateways", "pods"], since: "0.1.0", caused_by: [],
        versions: "every supported version; from 0.7.0 on the roles are named `tool:NAME`",
        check: role_claims,
    }
}

fn role_claims(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &ROLE_CLAIMS, findings);
    let workloads = context.workloads();
    let components = [Component::Authorino, Component::Broker];
    let mut logs: Vec<_> = components.iter().flat_map(|c| workloads.component_logs(*c)).collect();
    for group in context.proxies() {
        for proxy in &group.proxies {
            logs.extend(workloads.logs_of(proxy.pod).iter().map(|l| (proxy.pod, *l)));
        }
    }
    for policy in auth_policies(context) {
        let issuers: Vec<&str> = policy.issuers().iter().map(|(url, _)| *url).collect();
        let Some(expression) = policy.expressions().into_iter().find(|e| e.text.contains("resource_access"))
        else {
            continue;
        };
        let tokens: Vec<_> = logs
            .iter()
            .flat_map(|(_, log)| log.digest.of("jwt.digest").map(move |r| (*log, r)))
            .filter(|(_, r)| issuers.contains(&r.field("iss")))
            .collect();
        let has =
            |r: &crate::model::logs::Record| r.field("claims").split(' ').any(|c| c == "resource_access");
        if tokens.iter().any(|(_, r)| has(r)) {
            continue;
        }
        let Some((log, record)) = tokens.first() else { continue };
        let object = policy.object;
        let title = format!(
            "AuthPolicy {} needs resource_access roles, which no token in the logs carries",
            object.full_name()
        );
        findings
            .report(
                &ROLE_CLAIMS,
                object,
                title,
                object.evidence(&expression.pointer),
                "Let the identity server put client roles (resource_access) into the token.",
            )
            .evidence(evidence::record(log, record))
            .command(shell!("oc -n {} get authpolicy {} -o yaml", object.namespace(), object.name()));
    }
}

declare_rule! {
    /// Authorino has not taken an AuthConfig
    ///
    /// ## What it means
    /// The operator makes an AuthConfig of each path with a policy. One that Authorino refuses, or whose host
    /// another one holds, is not looked up: requests end with 404 and `X-Ext-Auth-Reason: Service not found`,
    /// or old rules stay in effect.
    ///
    /// ## How it is decided
    /// Only where AuthPolicies concern the MCP gateway. Four things are reported:
    /// - an AuthConfig that the operator manages has `Ready` False. For `HostsNotLinked` the AuthConfig that
    ///   has the same host is looked for in the specs;
    /// - an AuthPolicy says Enforced, and the cluster has no AuthConfig of the operator;
    /// - Authorino's current log denies at least three requests with `Service not found`, while all
    ///   AuthConfigs are ready;
    /// - that log says `host already taken`.
    ///
    /// What the log says counts when the last line is of the hour before the collection.
    ///
    /// ## Causes
    /// A CEL error in a rule (MG806), an unreachable issuer at start, two AuthConfigs with one host, an
    /// operator that does not write AuthConfigs (MG804).
    ///
    /// ## How to confirm
    /// `oc get authconfigs -A`
    ///
    /// ## How to fix
    /// Correct the rule that the message names. Of two AuthConfigs with one host delete the one that no
    /// policy made: the operator writes its own again. Where none exists, read the operator's log.
    ///
    /// ## When it may be a false alarm
    /// For seconds after a change. AuthConfigs, hosts and requests of other applications that use the same
    /// Kuadrant are reported as well.
    pub(super) static AUTHCONFIG_NOT_LINKED = {
        code: "MG813", name: "authconfig-not-linked", severity: Error, section: "1.8",
        needs: ["authconfigs", "authorino log"], since: "0.1.0", caused_by: ["MG806", "MG807", "MG805"],
        check: authconfig_not_linked,
    }
}

/// Whether the Kuadrant operator made an AuthConfig.
fn is_managed(config: &Object) -> bool {
    config.label("kuadrant.io/managed").is_some() || config.label("kuadrant.io/auth").is_some()
}

/// Another AuthConfig with a host of this one: Authorino links a host to the first that claims it.
fn holder<'a>(context: &Context<'a>, config: &'a Object) -> Option<(&'a Object, &'a str)> {
    fn hosts(config: &Object) -> impl Iterator<Item = &str> {
        config.array("/spec/hosts").iter().filter_map(|host| host.as_str())
    }
    let others = context.bundle.list(&kinds::AUTH_CONFIG).filter(|other| !std::ptr::eq(*other, config));
    others.filter(|other| !other.is_deleting()).find_map(|other| {
        hosts(config).find(|host| hosts(other).any(|h| h == *host)).map(|host| (other, host))
    })
}

fn authconfig_not_linked(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &AUTHCONFIG_NOT_LINKED, findings);
    let policies = auth_policies(context);
    if policies.is_empty() {
        return;
    }
    if context.bundle.list(&kinds::AUTH_CONFIG).next().is_none()
        && let Err(missing) = context.bundle.collected(&kinds::AUTH_CONFIG, None)
    {
        findings.cannot_tell(&AUTHCONFIG_NOT_LINKED, missing);
    }
    for config in context.bundle.list(&kinds::AUTH_CONFIG) {
        if !is_managed(config) {
            continue;
        }
        let Some(condition) = config.condition("Ready").filter(|c| c.is_false()) else { continue };
        let available = config.condition("Available").filter(|c| c.is_false());
        let why = if condition.message.is_empty() { condition.reason } else { condition.message };
        let title = format!(
            "AuthConfig {} is not in effect ({}): {}",
            config.full_name(),
            condition.reason,
            evidence::short(why, 80)
        );
        let holder = (condition.reason == "HostsNotLinked").then(|| holder(context, config)).flatten();
        let remedy = match holder {
            Some((other, host)) => format!(
                "AuthConfig {} holds the host {host} already, and Authorino links a host to one only: delete the one \
                 that no policy made.",
                other.full_name()
            ),
            None => "Correct the AuthPolicy's rule that the message names; Authorino answers 404 or by old rules until then."
                .to_owned(),
        };
        let draft = findings.report(
            &AUTHCONFIG_NOT_LINKED,
            config,
            title,
            config.evidence(&format!("/status/conditions/{}", condition.index)),
            remedy,
        );
        if let Some((other, host)) = holder {
            let at = other.array("/spec/hosts").iter().position(|h| h.as_str() == Some(host)).unwrap_or(0);
            draft.object(other.reference()).evidence(other.evidence(&format!("/spec/hosts/{at}")));
            if !is_managed(other) {
                draft.command(shell!("oc -n {} delete authconfig {}", other.namespace(), other.name()));
            }
        }
        if let Some(available) = available {
            draft.evidence(config.evidence(&format!("/status/conditions/{}", available.index)));
        }
        // Only the policies whose expressions are in it can be the reason.
        let text = config.value().to_string();
        for policy in &policies {
            let inside = policy.expressions().iter().any(|e| text.contains(e.text.trim()))
                || policy.issuers().iter().any(|(url, _)| text.contains(url));
            if inside {
                draft.object(policy.object.reference());
                draft.because_of(&["MG806", "MG807"], policy.object.reference());
            }
        }
        draft.command(shell!("oc -n {} describe authconfig {}", config.namespace(), config.name()));
        draft.verify(shell!(
            "oc -n {} wait --for=condition=Ready authconfig/{} --timeout=60s",
            config.namespace(),
            config.name()
        ));
    }
    nothing_linked(context, &policies, findings);
    for (pod, log) in
        context.workloads().component_logs(Component::Authorino).filter(|(_, log)| !log.previous)
    {
        for record in log.digest.of("authorino.host-taken").filter(|r| !evidence::is_past(context.now, r)) {
            let title = format!("Two AuthConfigs claim host {}", record.field("host"));
            findings
                .report(&AUTHCONFIG_NOT_LINKED, pod, title, evidence::record(log, record), "Delete the AuthConfig that should not hold the host.")
                .command("oc get authconfigs -A -o custom-columns=NS:.metadata.namespace,NAME:.metadata.name,HOSTS:.spec.hosts")
                .verify("oc get authconfigs -A");
        }
    }
}

/// Reports that Authorino has no AuthConfig for what it is asked: none exists, or it says so itself.
fn nothing_linked(context: &Context<'_>, policies: &[Policy<'_>], findings: &mut Findings) {
    let remedy =
        "Read the operator's log: it writes an AuthConfig for every rule of a route that a policy covers.";
    let command = shell!("oc get authconfigs -A -l kuadrant.io/managed=true");
    let configs: Vec<&Object> = context.bundle.list(&kinds::AUTH_CONFIG).filter(|c| is_managed(c)).collect();
    let enforced = policies.iter().find_map(|p| {
        let condition = p.object.condition("Enforced").filter(Condition::is_true)?;
        Some((p.object, format!("/status/conditions/{}", condition.index)))
    });
    if let Some((policy, pointer)) = enforced
        && configs.is_empty()
        && context.bundle.collected(&kinds::AUTH_CONFIG, None).is_ok()
    {
        let title = format!("AuthPolicy {} says Enforced, but there is no AuthConfig", policy.full_name());
        findings
            .report(&AUTHCONFIG_NOT_LINKED, policy, title, policy.evidence(&pointer), remedy)
            .command(command)
            .verify("oc get authconfigs -A");
        return;
    }
    // One that is not in effect is reported by itself.
    if configs.iter().any(|c| c.condition("Ready").is_some_and(|c| c.is_false())) {
        return;
    }
    for (pod, log) in
        context.workloads().component_logs(Component::Authorino).filter(|(_, log)| !log.previous)
    {
        let told =
            |r: &&Record| r.field("reason") == "Service not found" && !evidence::is_past(context.now, r);
        for record in log.digest.of("authorino.denied").filter(told).filter(|record| record.count >= 3) {
            let title =
                format!("Authorino has no AuthConfig for {} requests: they end with 404", record.count);
            findings
                .report(&AUTHCONFIG_NOT_LINKED, pod, title, evidence::record(log, record), remedy)
                .command(command.clone())
                .verify(shell!("oc -n {} logs {} --since=5m", pod.namespace(), pod.name()));
        }
    }
}

declare_rule! {
    /// An enforced policy has no filter in Envoy
    ///
    /// ## What it means
    /// The status says Enforced, but the proxy does not call Authorino: requests pass unchecked. Or the
    /// filter is there and cannot reach its service: requests end with 500.
    ///
    /// ## How it is decided
    /// An AuthPolicy of the Gateway, or of a route that the Gateway accepts, is Enforced=True and older than
    /// 60 seconds (the first such policy is named). In the configuration dump of a running proxy:
    /// - no filter chain has a wasm or external authorization filter: requests pass unchecked;
    /// - there is a wasm filter, and the cluster `kuadrant-auth-service` is absent or has no healthy host:
    ///   requests end with 500.
    ///
    /// Also: the proxy's current log has an error of Kuadrant's filter at least three times, the last within
    /// the hour before the collection. Chains of one proxy that differ are not told apart, and whose wasm
    /// module it is, is not asked.
    ///
    /// ## Causes
    /// The EnvoyFilters of the operator are missing, of another revision, or rejected (MG226); the wasm
    /// module cannot be loaded; Authorino is down (MG805) or slow.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE exec POD -c istio-proxy -- pilot-agent request GET config_dump | grep -c kuadrant`
    ///
    /// ## How to fix
    /// Look into the operator's log, and restart the operator:
    /// `oc -n NAMESPACE rollout restart deployment/kuadrant-operator-controller-manager`. Delete an
    /// EnvoyFilter of Kuadrant only while the operator runs: until it is written again, requests pass
    /// unchecked.
    ///
    /// ## When it may be a false alarm
    /// A policy or route that was attached within seconds before the proxy's configuration was read.
    pub(super) static POLICY_FILTER_MISSING = {
        code: "MG814", name: "policy-filter-missing", severity: Error, section: "1.8",
        needs: ["mcpgw/envoy config_dump and clusters", "authpolicies", "gateway logs", "gateways", "httproutes", "pods"], since: "0.1.0",
        caused_by: ["MG226", "MG804", "MG805", "MG812", "MG225"],
        versions: "every supported version; Kuadrant before 1.5.0 uses a WasmPlugin, later an EnvoyFilter",
        check: policy_filter_missing,
    }
}

/// The cluster through which Kuadrant's filter calls Authorino.
const AUTH_CLUSTER: &str = "kuadrant-auth-service";

fn policy_filter_missing(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &POLICY_FILTER_MISSING, findings);
    for group in context.proxies() {
        let gateway = group.gateway;
        let routes = context.chain().routes_of(gateway).filter(|facts| {
            let here = |a: &Attachment<'_>| a.gateway.found().is_some_and(|g| std::ptr::eq(g, gateway));
            facts.attachments.iter().any(|a| here(a) && a.outcome() == Outcome::Accepted)
        });
        let policies = context.auth_policies();
        let mut candidates =
            policies.on(gateway).iter().chain(routes.flat_map(|facts| policies.on(facts.object)));
        let enforced = candidates.find(|p| {
            p.object.condition("Enforced").is_some_and(|c| c.is_true()) && !context.is_younger(p.object, 60)
        });
        let Some(policy) = enforced else { continue };
        for proxy in &group.proxies {
            let listeners = match proxy.listeners() {
                Ok(listeners) => listeners,
                Err(missing) => {
                    findings.cannot_tell(&POLICY_FILTER_MISSING, missing);
                    continue;
                }
            };
            let chains: Vec<_> =
                listeners.iter().flat_map(|l| &l.chains).filter(|c| c.filters.is_some()).collect();
            let guards =
                |f: &crate::model::envoy::HttpFilter<'_>| f.is_wasm() || f.kind.contains("ext_authz");
            let guarded = chains.iter().any(|c| c.filters.iter().flatten().any(guards));
            let mut shown: Vec<Evidence> = Vec::new();
            let Ok(dump) = proxy.dump() else { continue };
            let note = |path: String, value: String| Evidence {
                file: dump.file.clone(),
                path: Some(path),
                line: None,
                value: Some(value),
                note: None,
            };
            let what = if chains.is_empty() {
                continue;
            } else if !guarded {
                let names: Vec<&str> = chains[0].filters.iter().flatten().map(|f| f.name).collect();
                shown.push(note(
                    crate::model::object::field_path(&chains[0].pointer),
                    format!("http_filters: {}", names.join(", ")),
                ));
                "it has no filter for it: requests pass unchecked"
            } else {
                let Ok(clusters) = proxy.clusters() else { continue };
                let native =
                    chains.iter().any(|c| c.filters.iter().flatten().any(|f| f.kind.contains("ext_authz")));
                if native {
                    continue;
                }
                if clusters.contains_key(AUTH_CLUSTER) {
                    match proxy.health(AUTH_CLUSTER) {
                        Some((_, health)) if health.healthy() == 0 => {
                            shown.push(note(
                                "clusters".to_owned(),
                                format!("{AUTH_CLUSTER}: {} hosts, 0 healthy", health.hosts.len()),
                            ));
                            "its service has no healthy host: requests end with 500"
                        }
                        _ => continue,
                    }
                } else {
                    shown.push(note("configs".to_owned(), format!("clusters: {AUTH_CLUSTER} is absent")));
                    "the cluster of its service is absent: requests end with 500"
                }
            };
            let object = policy.object;
            let title = format!(
                "AuthPolicy {} is enforced by status only: in proxy {} {what}",
                object.full_name(),
                proxy.pod.full_name()
            );
            let Some(first) = shown.first().cloned() else { continue };
            let draft = findings.report(
                &POLICY_FILTER_MISSING,
                object,
                title,
                first,
                "Look into the Kuadrant operator's log and at its EnvoyFilters in the Gateway's namespace.",
            );
            if let Some(condition) = object.condition("Enforced") {
                draft.evidence(object.evidence(&format!("/status/conditions/{}", condition.index)));
            }
            draft.object(gateway.reference()).object(proxy.pod.reference());
            draft.because_of(&["MG226"], proxy.pod.reference());
            for authorino in context.workloads().deployments_of(Component::Authorino) {
                draft.because_of(&["MG805"], authorino.reference());
            }
            draft.command(shell!(
                "oc -n {} get envoyfilters,wasmplugins -l kuadrant.io/managed=true",
                gateway.namespace()
            ));
            draft.verify(shell!("oc -n {} get authpolicy {}", object.namespace(), object.name()));
        }
        for proxy in &group.proxies {
            for log in context.workloads().logs_of(proxy.pod).iter().filter(|log| !log.previous) {
                let errors: Vec<_> = log
                    .digest
                    .records
                    .iter()
                    .filter(|r| r.template.starts_with("wasm.") && r.count >= 3)
                    .filter(|r| !evidence::is_past(context.now, r))
                    .collect();
                let Some(first) = errors.first() else { continue };
                let title = format!(
                    "Kuadrant's filter fails in proxy {}: {}",
                    proxy.pod.full_name(),
                    first.template.trim_start_matches("wasm.")
                );
                let draft = findings.report(
                    &POLICY_FILTER_MISSING,
                    policy.object,
                    title,
                    evidence::record(log, first),
                    "Make Authorino answer within the filter's timeout (200 ms), and the module loadable.",
                );
                for record in errors.iter().skip(1) {
                    draft.evidence(evidence::record(log, record));
                }
                draft.object(gateway.reference()).object(proxy.pod.reference());
                for authorino in context.workloads().deployments_of(Component::Authorino) {
                    draft.because_of(&["MG805"], authorino.reference());
                }
                draft.command(shell!(
                    "oc -n {} logs {} -c istio-proxy | grep wasm",
                    gateway.namespace(),
                    proxy.pod.name()
                ));
                draft.verify(shell!(
                    "oc -n {} logs {} -c istio-proxy --since=5m",
                    gateway.namespace(),
                    proxy.pod.name()
                ));
            }
        }
    }
}

declare_rule! {
    /// Requests are denied by authorization
    ///
    /// ## What it means
    /// Policies work and deny. Whether they should, only their owners know.
    ///
    /// ## How it is decided
    /// Authorino's current log has answers `PERMISSION_DENIED`, grouped by reason and host. One is enough,
    /// and how old it is does not matter.
    ///
    /// ## Causes
    /// A user without the role, or a rule that is too strict.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/authorino | grep '"authorized":false'`
    ///
    /// ## How to fix
    /// Give the user the role, or correct the rule.
    ///
    /// ## When it may be a false alarm
    /// Denials are what policies are for. Those of other applications that use the same Authorino are
    /// counted, too.
    pub(super) static DENIALS = {
        code: "MG815", name: "denials", severity: Info, section: "1.8",
        needs: ["authorino log", "pods"], since: "0.1.0", caused_by: [],
        check: denials,
    }
}

fn denials(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &DENIALS, findings);
    if context.policies().is_empty() {
        return;
    }
    let pods = context.workloads().component_pods(Component::Authorino);
    for pod in pods {
        if context.workloads().logs_of(pod).is_empty() {
            findings.cannot_tell(
                &DENIALS,
                Missing {
                    what: format!("log of Authorino's pod {}", pod.full_name()),
                    how: shell!("oc -n {} logs {}", pod.namespace(), pod.name()),
                },
            );
        }
    }
    for (pod, log) in
        context.workloads().component_logs(Component::Authorino).filter(|(_, log)| !log.previous)
    {
        let mut groups: BTreeMap<(&str, &str), Vec<_>> = BTreeMap::new();
        for record in log.digest.of("authorino.denied").filter(|r| r.field("response") == "PERMISSION_DENIED")
        {
            groups.entry((record.field("reason"), record.field("host"))).or_default().push(record);
        }
        for ((reason, host), records) in groups {
            let count: u64 = records.iter().map(|r| r.count).sum();
            let place = if host.is_empty() { String::new() } else { format!(" for {host}") };
            let title = format!(
                "Authorino denied {}{place}: {}",
                counted(count, "request"),
                evidence::short(reason, 80)
            );
            let Some(first) = records.first() else { continue };
            findings
                .report(
                    &DENIALS,
                    pod,
                    title,
                    evidence::record(log, first),
                    "Check whether the users should have the role that the rule asks for.",
                )
                .command(shell!(
                    "oc -n {} logs {} | grep '\"authorized\":false'",
                    pod.namespace(),
                    pod.name()
                ))
                .verify(shell!("oc -n {} logs {} --since=5m", pod.namespace(), pod.name()));
        }
    }
}
