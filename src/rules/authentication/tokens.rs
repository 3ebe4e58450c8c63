//! MG705, MG707, MG708, MG712-MG714: rollouts, issuers, tokens and sessions.

use std::collections::BTreeMap;

use serde_json::json;

use super::discovery::broker_variable;
use crate::declare_rule;
use crate::model::cel::Asked;
use crate::model::gateway_api::listeners;
use crate::model::json::Value;
use crate::model::kuadrant::Policy;
use crate::model::logs::ErrorClass;
use crate::model::mcp::Extension;
use crate::model::workloads::Component;
use crate::model::{Object, kinds};
use crate::rules::evidence;
use crate::rules::policies::{auth_policies, say_what_is_missing};
use crate::rules::remedy;
use crate::rules::{Context, Findings};
use crate::shell::shell;

declare_rule! {
    /// A rollout is not finished
    ///
    /// ## What it means
    /// Pods still run with the old template: a changed variable, image or flag is not in effect everywhere.
    ///
    /// ## How it is decided
    /// For the Deployments of the broker, the controller and Authorino, with one of these titles: the
    /// Deployment's controller has not seen the last change (`observedGeneration` is behind); the rollout
    /// is paused; so many of the pods run the current template (`updatedReplicas` below `replicas`). A
    /// Deployment that made progress within the two minutes before the collection is left out, and so is
    /// one with 0 replicas (unless it is behind). `updatedReplicas` is left out of the status while it is
    /// 0, and read so.
    ///
    /// ## Causes
    /// New pods do not become Ready (other findings say why), or the rollout is paused.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE rollout status deployment/NAME`
    ///
    /// ## How to fix
    /// Repair the new pods; resume a paused rollout.
    ///
    /// ## When it may be a false alarm
    /// A rollout whose pods take longer than two minutes each.
    pub(super) static ROLLOUT_PENDING = {
        code: "MG705", name: "rollout-pending", severity: Warning, section: "1.7",
        needs: ["deployments"], since: "0.1.0",
        caused_by: ["MG101", "MG102", "MG103", "MG104", "MG106", "MG108", "MG110", "MG111"],
        check: rollout_pending,
    }
}

fn rollout_pending(context: &Context<'_>, findings: &mut Findings) {
    for component in [Component::Broker, Component::Controller, Component::Authorino] {
        for deployment in context.workloads().deployments_of(component) {
            if deployment.get("/status").is_none() {
                continue;
            }
            let wanted = deployment.int("/spec/replicas").unwrap_or(1);
            let replicas = deployment.int("/status/replicas").unwrap_or(0);
            let updated = deployment.int("/status/updatedReplicas").unwrap_or(0);
            let behind = match (deployment.int("/status/observedGeneration"), deployment.generation()) {
                (Some(observed), Some(generation)) => observed < generation,
                _ => false,
            };
            let old_pods = wanted > 0
                && replicas > 0
                && updated < replicas.min(wanted).max(1)
                // The API leaves out what is 0.
                && deployment.get("/status/observedGeneration").is_some();
            let mixed = wanted > 0 && replicas > updated && updated > 0;
            if !behind && !old_pods && !mixed {
                continue;
            }
            let since = deployment
                .condition("Progressing")
                .and_then(|c| deployment.time(&format!("/status/conditions/{}/lastUpdateTime", c.index)));
            if let (Some(now), Some(since)) = (context.now, since)
                && (now - since).num_seconds() < 120
            {
                continue;
            }
            let paused = deployment.get("/spec/paused").and_then(Value::as_bool) == Some(true);
            let what = if behind {
                "its controller has not seen the last change".to_owned()
            } else if paused {
                "its rollout is paused".to_owned()
            } else {
                format!("{updated} of {replicas} pods run the current template")
            };
            let title = format!("Deployment {} is not rolled out: {what}", deployment.full_name());
            let pointer = if behind { "/status/observedGeneration" } else { "/status/updatedReplicas" };
            let draft = findings.report(
                &ROLLOUT_PENDING,
                deployment,
                title,
                deployment.evidence(pointer),
                "Repair the new pods, or resume the rollout.",
            );
            draft.evidence(deployment.evidence("/metadata/generation"));
            let verb = if paused { "resume" } else { "status" };
            draft.command(shell!(
                "oc -n {} rollout {} deployment/{}",
                deployment.namespace(),
                verb,
                deployment.name()
            ));
            draft.verify(evidence::rollout(deployment));
        }
    }
    for extension in &context.chain().extensions {
        let namespace = extension.object.namespace();
        if context.workloads().broker_deployment(namespace).is_none()
            && let Err(missing) = context.bundle.collected(&kinds::DEPLOYMENT, Some(namespace))
        {
            findings.cannot_tell(&ROLLOUT_PENDING, missing);
        }
    }
}

declare_rule! {
    /// The issuer differs
    ///
    /// ## What it means
    /// Clients get their tokens from the authorization server that the metadata names; Authorino accepts
    /// those of `issuerUrl`. When the two differ, every token is rejected.
    ///
    /// ## How it is decided
    /// None of the `issuerUrl`s of an AuthPolicy that authenticates on the Gateway (on the extension's port
    /// of it) or on a route of the public host is among the extension's `authorizationServers` (or, without
    /// any, in the broker's `OAUTH_AUTHORIZATION_SERVERS`); a slash at the end does not count here. A rule
    /// that a `when` keeps away from requests for `/mcp` (that is for agents only) does not count either.
    ///
    /// Or Authorino's log says that the own document of an issuer that a policy still has names another
    /// issuer (`issuer did not match`), in the log of the present run; how old the line is does not matter.
    ///
    /// ## Causes
    /// Another realm, http instead of https, an internal name here and the public one there, a slash too
    /// much.
    ///
    /// ## How to confirm
    /// `curl -s ISSUER/.well-known/openid-configuration | jq .issuer`
    ///
    /// ## How to fix
    /// Use the exact issuer string of the identity server in both places. Ask the identity server which of
    /// the two it is: the printed patch changes the policy.
    ///
    /// ## When it may be a false alarm
    /// Several issuers with token exchange between them. A line of Authorino's log from before the identity
    /// server was corrected.
    pub(super) static ISSUER_MISMATCH = {
        code: "MG707", name: "issuer-mismatch", severity: Error, section: "1.7",
        needs: ["authpolicies", "mcpgatewayextensions", "authorino log", "gateways", "httproutes"], since: "0.1.0", caused_by: [],
        versions: "every supported version; `spec.oauthProtectedResource` from 0.7.0 on, before by variables of the broker",
        check: issuer_mismatch,
    }
}

fn issuer_mismatch(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &ISSUER_MISMATCH, findings);
    let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
    for extension in &context.chain().extensions {
        let object = extension.object;
        let mut servers: Vec<String> = object
            .array("/spec/oauthProtectedResource/authorizationServers")
            .iter()
            .filter_map(|s| s.as_str().map(str::to_owned))
            .collect();
        let mut shown = object.evidence("/spec/oauthProtectedResource/authorizationServers");
        if servers.is_empty()
            && let Some(broker) = context.workloads().broker_deployment(object.namespace())
            && let Some((value, pointer)) = broker_variable(broker, "OAUTH_AUTHORIZATION_SERVERS")
        {
            servers = value.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect();
            shown = broker.evidence(&format!("{pointer}/value"));
        }
        if servers.is_empty() {
            continue;
        }
        for policy in concerning(context, extension) {
            // Another application may have a port of the Gateway, and an issuer, of its own.
            let gateway = extension.meant_gateway;
            let elsewhere = policy.section().is_some_and(|section| match gateway {
                Some(gateway) => {
                    let listener = listeners(gateway).into_iter().find(|l| l.name == section);
                    policy.targets(gateway)
                        && listener.zip(extension.meant_listener).is_some_and(|(l, own)| l.port != own.port)
                }
                // Of a Gateway that is not there only the names of listeners are known.
                None => {
                    policy.target_kind() == "Gateway" && section != object.str("/spec/targetRef/sectionName")
                }
            });
            if elsewhere {
                continue;
            }
            let issuers = policy.issuers_for(Asked::CALL);
            if issuers.is_empty() || issuers.iter().any(|(url, _)| servers.iter().any(|s| same(s, url))) {
                continue;
            }
            let Some((issuer, pointer)) = issuers.first() else { continue };
            let title = format!(
                "AuthPolicy {} trusts issuer {issuer}, clients are sent to {}",
                policy.object.full_name(),
                servers.join(", ")
            );
            let draft = findings.report(
                &ISSUER_MISMATCH,
                policy.object,
                title,
                policy.object.evidence(pointer),
                "Use the identity server's exact issuer string in both places.",
            );
            draft.evidence(shown.clone()).object(object.reference());
            draft.command(remedy::patch(
                policy.object,
                json!([{"op": "replace", "path": pointer, "value": servers[0]}]),
            ));
            draft.verify(shell!(
                "curl -s {}/.well-known/openid-configuration | jq .issuer",
                servers[0].trim_end_matches('/')
            ));
        }
    }
    let policies = auth_policies(context);
    if policies.is_empty() {
        return;
    }
    let trusted: Vec<&str> = policies.iter().flat_map(|p| p.issuers()).map(|(url, _)| url).collect();
    for (pod, log) in
        context.workloads().component_logs(Component::Authorino).filter(|(_, log)| !log.previous)
    {
        let other = log.digest.of("authorino.discovery-failed").find(|r| {
            // Of an issuer that no policy has any more the log may still speak.
            let of_policy = |url: &&str| r.field("issuer").starts_with(url.trim_end_matches('/'));
            r.field("error").contains("issuer did not match") && trusted.iter().any(of_policy)
        });
        if let Some(record) = other {
            let title =
                format!("The issuer's own document names another issuer than {}", record.field("issuer"));
            let draft = findings.report(
                &ISSUER_MISMATCH,
                pod,
                title,
                evidence::record(log, record),
                "Set issuerUrl to the issuer that the document names, to the letter.",
            );
            for policy in &policies {
                draft.object(policy.object.reference());
            }
            draft.command(shell!("oc -n {} logs {} | grep 'did not match'", pod.namespace(), pod.name()));
            draft.verify(shell!(
                "curl -s {}/.well-known/openid-configuration | jq .issuer",
                record.field("issuer").trim_end_matches('/')
            ));
        }
    }
}

declare_rule! {
    /// Tokens are rejected
    ///
    /// ## What it means
    /// Clients send credentials that Authorino does not accept.
    ///
    /// ## How it is decided
    /// Authorino's current log has at least three answers `UNAUTHENTICATED` with the same reason: expired,
    /// not yet valid, wrong signature, malformed, unknown key, issuer's configuration missing, or another
    /// one; the last of them within the hour before the collection. Requests without any credential are not
    /// counted: that is how a login begins. The host of the requests is not asked; without any AuthPolicy
    /// of the MCP gateway nothing is said.
    ///
    /// ## Causes
    /// Tokens that clients do not renew, another realm, a clock that is off, keys that were rotated.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/authorino | grep UNAUTHENTICATED`
    ///
    /// ## How to fix
    /// Expired: let the client renew its token. Not yet valid: bring the clocks together. Signature: compare
    /// the token's issuer with the policy's, and restart Authorino after keys were rotated. Configuration
    /// missing: see MG810. Else compare the kind of credential with the policy's rules.
    ///
    /// ## When it may be a false alarm
    /// Clients of other applications that use the same Authorino; somebody who tries tokens.
    pub(super) static TOKEN_REJECTED = {
        code: "MG708", name: "token-rejected", severity: Warning, section: "1.7",
        needs: ["authorino log", "pods", "authpolicies"], since: "0.1.0", caused_by: ["MG707", "MG810"],
        check: token_rejected,
    }
}

fn token_rejected(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &TOKEN_REJECTED, findings);
    // The clients of other applications are none of ours.
    if auth_policies(context).is_empty() {
        return;
    }
    for (pod, log) in
        context.workloads().component_logs(Component::Authorino).filter(|(_, log)| !log.previous)
    {
        let mut groups: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        let denied = log.digest.of("authorino.denied").filter(|r| !evidence::is_past(context.now, r));
        for record in denied.filter(|r| r.field("response") == "UNAUTHENTICATED") {
            let reason = record.field("reason");
            if !reason.is_empty() && !reason.contains("credential not found") {
                groups.entry(reason).or_default().push(record);
            }
        }
        for (reason, records) in groups {
            let count: u64 = records.iter().map(|r| r.count).sum();
            if count < 3 {
                continue;
            }
            let lower = reason.to_ascii_lowercase();
            let remedy = if lower.contains("expired") {
                "Let the client renew its token; check clocks and token lifetimes."
            } else if lower.contains("not yet valid") {
                "Bring the clocks of the identity server and the nodes together."
            } else if lower.contains("signature") {
                "Check that the token's issuer is the policy's; restart Authorino after keys were rotated."
            } else if lower.contains("missing openid connect configuration") {
                "Authorino could not read the issuer's configuration: make the issuer reachable."
            } else {
                "Check what kind of credential the clients send against the policy's authentication rules."
            };
            let Some(first) = records.first() else { continue };
            let title = format!("Authorino rejected {count} credentials: {}", evidence::short(reason, 80));
            let draft = findings.report(&TOKEN_REJECTED, pod, title, evidence::record(log, first), remedy);
            for record in records.iter().skip(1).take(4) {
                draft.evidence(evidence::record(log, record));
            }
            for policy in auth_policies(context).iter().filter(|p| p.authenticates()) {
                draft.object(policy.object.reference());
                draft.because_of(&["MG707"], policy.object.reference());
            }
            draft.because_of(&["MG810"], pod.reference());
            draft.command(shell!(
                "oc -n {} logs {} | grep '\"authorized\":false'",
                pod.namespace(),
                pod.name()
            ));
            draft.verify(shell!("oc -n {} logs {} --since=5m", pod.namespace(), pod.name()));
        }
    }
}

declare_rule! {
    /// A token was used outside its lifetime
    ///
    /// ## What it means
    /// A token in the evidence was already expired, or not yet valid, when the line with it was written.
    ///
    /// ## How it is decided
    /// The claim digests of tokens in the logs of the gateway, the broker and Authorino are compared with the
    /// time of their line: it must be more than 60 seconds after the end or before the beginning of the
    /// token's lifetime, in at least three lines of one log with the same issuer and claims, the last of them
    /// within the hour before the collection.
    ///
    /// ## Causes
    /// A client that does not renew its token; clocks that differ.
    ///
    /// ## How to confirm
    /// `jq -rR 'split(".")[1]|gsub("-";"+")|gsub("_";"/")|@base64d|fromjson|.exp|todate' TOKEN_FILE`
    ///
    /// ## How to fix
    /// Renew the token in the client; check the clocks.
    ///
    /// ## When it may be a false alarm
    /// A test with an old token; a line that tells of a token long after it was used.
    pub(super) static TOKEN_TIME = {
        code: "MG712", name: "token-time", severity: Warning, section: "1.7",
        needs: ["logs with tokens (claim digests)", "gateways", "pods"], since: "0.1.0", caused_by: ["MG005"],
        check: token_time,
    }
}

fn token_time(context: &Context<'_>, findings: &mut Findings) {
    let workloads = context.workloads();
    let mut logs: Vec<_> =
        [Component::Authorino, Component::Broker].iter().flat_map(|c| workloads.component_logs(*c)).collect();
    for group in context.proxies() {
        for proxy in &group.proxies {
            logs.extend(workloads.logs_of(proxy.pod).iter().map(|l| (proxy.pod, *l)));
        }
    }
    for (pod, log) in logs {
        for record in log.digest.of("jwt.digest") {
            let verdict = record.field("verdict");
            if !matches!(verdict, "expired" | "not-yet-valid")
                || record.count < 3
                || evidence::is_past(context.now, record)
            {
                continue;
            }
            let what = if verdict == "expired" { "expired" } else { "not yet valid" };
            let title = format!(
                "A token of issuer {} was {what} when {} wrote its line ({} times)",
                record.field("iss"),
                pod.full_name(),
                record.count
            );
            findings
                .report(
                    &TOKEN_TIME,
                    pod,
                    title,
                    evidence::record(log, record),
                    "Let the client renew its token; check the clocks.",
                )
                .command(shell!("oc -n {} logs {} | tail", pod.namespace(), pod.name()));
        }
    }
}

declare_rule! {
    /// Sessions are lost
    ///
    /// ## What it means
    /// Clients come with MCP sessions that the router does not know any more, and have to start over.
    ///
    /// ## How it is decided
    /// The broker's log has at least ten `session validation failed` of requests that carried a session,
    /// the last within the hour before the collection. The first reason that is seen is named: several
    /// replicas without `spec.sessionStore`; the signing key was made anew (a line of the controller's
    /// log); the broker was restarted; else that none is visible.
    ///
    /// Or its current log has at least three errors of reading the session store
    /// (`failed to get session from cache`, `session resurrection failed`), the last within that hour.
    ///
    /// ## Causes
    /// Those three, or a session store that loses data.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/mcp-gateway | grep 'session validation failed'`
    ///
    /// ## How to fix
    /// Keep the key, stop the restarts, configure `spec.sessionStore` for more than one replica.
    ///
    /// ## When it may be a false alarm
    /// Clients that keep sessions for longer than `--session-length` (a day).
    pub(super) static SESSION_CHURN = {
        code: "MG713", name: "session-churn", severity: Warning, section: "1.7",
        needs: ["broker log", "controller log", "pods", "mcpgatewayextensions"], since: "0.1.0", caused_by: ["MG105", "MG102", "MG314", "MG309", "MG232"],
        versions: "from 0.5.1 on, which validates sessions; until 0.6.1 the answer is 404, later 401",
        check: session_churn,
    }
}

/// Reports that a broker cannot read or write the sessions of its store.
fn store_unreachable(context: &Context<'_>, extension: &Object, pod: &Object, findings: &mut Findings) {
    for log in context.workloads().logs_of(pod).iter().filter(|log| !log.previous) {
        let told = ["router.session-cache", "broker.resurrection-failed"];
        let told = told.into_iter().flat_map(|template| log.digest.of(template));
        let lasting: Vec<_> = told.filter(|r| !evidence::is_past(context.now, r)).collect();
        let count: u64 = lasting.iter().map(|r| r.count).sum();
        let Some(first) = lasting.first().filter(|_| count >= 3) else { continue };
        let class = ErrorClass::from_word(first.field("class")).unwrap_or(ErrorClass::Other);
        let title =
            format!("Broker {} cannot read sessions from its store: {}", pod.full_name(), class.describe());
        let remedy =
            "Make the session store reachable from the broker's pod, with the key that wrote the sessions.";
        let draft = findings.report(&SESSION_CHURN, extension, title, evidence::record(log, first), remedy);
        for record in lasting.iter().skip(1).take(4) {
            draft.evidence(evidence::record(log, record));
        }
        if let Some(store) =
            extension.get("/spec/sessionStore").and(Some(extension.evidence("/spec/sessionStore")))
        {
            draft.evidence(store);
        }
        draft.object(pod.reference()).because_of(&["MG309", "MG232"], extension.reference());
        draft.command(shell!("oc -n {} logs {} | grep -i session", pod.namespace(), pod.name()));
        draft.verify(shell!("oc -n {} logs {} --since=5m | grep -c 'session'", pod.namespace(), pod.name()));
    }
}

fn session_churn(context: &Context<'_>, findings: &mut Findings) {
    let workloads = context.workloads();
    for extension in &context.chain().extensions {
        let object = extension.object;
        for pod in workloads.broker_pods(object.namespace()) {
            store_unreachable(context, object, pod, findings);
            for log in workloads.logs_of(pod) {
                let records: Vec<_> = log
                    .digest
                    .of("router.session-invalid")
                    // Who sends none has lost none.
                    .filter(|r| !r.field("error").contains("no session ID"))
                    .filter(|r| !evidence::is_past(context.now, r))
                    .collect();
                let count: u64 = records.iter().map(|r| r.count).sum();
                let Some(first) = records.first().filter(|_| count >= 10) else { continue };
                let broker = workloads.broker_deployment(object.namespace());
                let replicas = broker.and_then(|d| d.int("/spec/replicas")).unwrap_or(1);
                let stored = object.get("/spec/sessionStore").is_some();
                let new_key = workloads.component_logs(Component::Controller).find_map(|(_, log)| {
                    log.digest.of("controller.signing-key-new").next().map(|r| (log, r))
                });
                let restarts: i64 = crate::model::workloads::containers(pod)
                    .iter()
                    .map(crate::model::workloads::Container::restarts)
                    .sum();
                let (why, remedy) = if replicas > 1 && !stored {
                    (
                        format!("{replicas} replicas share no session store"),
                        "Configure spec.sessionStore, or run one replica.",
                    )
                } else if new_key.is_some() {
                    (
                        "the signing key was made anew".to_owned(),
                        "Keep Secret mcp-gateway-session-signing-key; clients have to start new sessions once.",
                    )
                } else if restarts > 0 {
                    (
                        format!("the broker was restarted {restarts} times"),
                        "Stop the restarts, or configure spec.sessionStore.",
                    )
                } else {
                    (
                        "no reason is visible".to_owned(),
                        "Look at how long clients keep their sessions (--session-length).",
                    )
                };
                let title = format!("Broker {} refused {count} sessions: {why}", pod.full_name());
                let draft =
                    findings.report(&SESSION_CHURN, object, title, evidence::record(log, first), remedy);
                draft.object(pod.reference());
                if let Some(broker) = broker {
                    draft.object(broker.reference()).evidence(broker.evidence("/spec/replicas"));
                    draft.because_of(&["MG105", "MG102"], broker.reference());
                }
                draft.because_of(&["MG314"], object.reference());
                if let Some((log, record)) = new_key {
                    draft.evidence(evidence::record(log, record));
                }
                draft.command(shell!(
                    "oc -n {} get pods -l app.kubernetes.io/name=mcp-gateway",
                    object.namespace()
                ));
            }
        }
    }
}

/// The policies that target the extension's Gateway, or a route on which its public host is reached.
pub(super) fn concerning<'a>(context: &Context<'a>, extension: &Extension<'a>) -> Vec<Policy<'a>> {
    let all = context.auth_policies();
    let mut found = match extension.meant_gateway {
        Some(gateway) => all.on(gateway),
        // Also while the Gateway that both name does not exist.
        None => all.named("Gateway", extension.target().0, extension.target().1),
    }
    .to_vec();
    for route in context.entrances(extension).iter().filter_map(|e| e.route) {
        for policy in all.on(route) {
            if !found.iter().any(|known| std::ptr::eq(known.object, policy.object)) {
                found.push(*policy);
            }
        }
    }
    found.sort_by_cached_key(|p| p.object.full_name());
    found
}
