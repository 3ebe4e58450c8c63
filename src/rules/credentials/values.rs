//! MG604-MG606: what the credentials are worth.

use std::collections::{HashMap, HashSet};

use super::secret_name;
use crate::declare_rule;
use crate::model::bundle::LogFile;
use crate::model::json::Value;
use crate::model::logs::{ErrorClass, Record};
use crate::model::mcp::chain::credential_key;
use crate::model::secret_shape::{self, Shape};
use crate::model::workloads::Component;
use crate::model::{Object, kinds};
use crate::report::Evidence;
use crate::rules::registrations::{failures, ready_command};
use crate::rules::{Context, Findings, evidence};
use crate::shell::{Command, shell};

/// The Secret of a registration's credential and the shape of its value.
pub(in crate::rules) fn credential<'a>(
    context: &Context<'a>,
    registration: &Object,
) -> Option<(&'a Object, Shape)> {
    let name = secret_name(registration);
    let secret = context.bundle.get(&kinds::SECRET, registration.namespace(), name)?;
    let shape = secret_shape::shapes(&secret.value().to_json()).remove(credential_key(registration))?;
    Some((secret, shape))
}

/// Evidence of a shape; never the value.
fn shape_evidence(secret: &Object, key: &str, what: String) -> Evidence {
    secret.evidence_of(&format!("/data/{}", key.replace('~', "~0").replace('/', "~1")), what)
}

declare_rule! {
    /// A credential has a bad form
    ///
    /// ## What it means
    /// The value goes into the `Authorization` header as it is. An empty value, white space or a line
    /// break around it, or a token that has expired, is refused by the server.
    ///
    /// ## How it is decided
    /// The shape of the value of an enabled registration's credential (redaction keeps it), the first of
    /// these that is true: it is empty; it ends with a line break; it has white space around it; it is (or
    /// ends with) a JSON web token that expired before the collection; it has no scheme word, and the
    /// server refuses it with 401 or 403. Of a Secret that another tool has redacted only the length is
    /// known. A value that was encoded twice, or a token that is not yet valid, is not told.
    ///
    /// ## Causes
    /// `echo` without `-n`; a token that was not renewed; a token without `Bearer`.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get secret NAME -o jsonpath='{.data.KEY}' | base64 -d | tail -c 1 | od -c`
    ///
    /// ## How to fix
    /// Write the value again without line break, with its scheme: `Bearer TOKEN`.
    ///
    /// ## When it may be a false alarm
    /// A server that ignores white space, or the expiry of its tokens.
    pub(super) static CREDENTIAL_FORMAT = {
        code: "MG604", name: "credential-format", severity: Warning, section: "1.6",
        needs: ["secrets (shape of values)", "broker /status", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: credential_format,
    }
}

/// The registrations (namespace and name) whose server refuses the broker's credential.
fn refused<'a>(context: &Context<'a>) -> HashSet<(&'a str, &'a str)> {
    failures(context)
        .iter()
        .filter(|f| matches!(f.class, ErrorClass::Unauthorized | ErrorClass::Forbidden))
        .map(|f| (f.registration.object.namespace(), f.registration.object.name()))
        .collect()
}

fn credential_format(context: &Context<'_>, findings: &mut Findings) {
    let failing = refused(context);
    for registration in &context.chain().registrations {
        let object = registration.object;
        if secret_name(object).is_empty() || registration.is_disabled() {
            continue;
        }
        let Some((secret, shape)) = credential(context, object) else { continue };
        let expiry = shape.claims().and_then(|claims| claims.exp);
        let what = if shape.is_empty() {
            "is empty".to_owned()
        } else if shape.trailing_newline {
            "ends with a line break".to_owned()
        } else if shape.white_space {
            "has white space around it".to_owned()
        } else if let (Some(expiry), Some(now)) = (expiry, context.now)
            && expiry < now.timestamp()
        {
            format!(
                "is a token that expired {} minutes before the collection",
                (now.timestamp() - expiry) / 60
            )
        } else if shape.scheme.is_none() && failing.contains(&(object.namespace(), object.name())) {
            "has no scheme word (Bearer, Basic, token), and the server refuses it".to_owned()
        } else {
            continue;
        };
        let key = credential_key(object);
        findings
            .report(
                &CREDENTIAL_FORMAT,
                object,
                format!(
                    "The credential {key} in Secret {} of MCPServerRegistration {} {what}",
                    secret.full_name(),
                    object.full_name()
                ),
                shape_evidence(secret, key, format!("{} bytes; {what}", shape.len)),
                "Write the value again, with its scheme word and without white space around it.",
            )
            .object(secret.reference())
            .command(write_again(secret.namespace(), secret.name(), key))
            .verify(ready_command(object));
    }
}

/// Writes a credential anew from a file that holds `Bearer TOKEN` without a line break, so that the token stands
/// neither in the shell's history nor in the list of processes.
fn write_again(namespace: &str, name: &str, key: &str) -> Command {
    shell!("oc -n {} set data secret/{} --from-file={}=\"${{TOKEN_FILE}}\"", namespace, name, key)
}

declare_rule! {
    /// A server refuses the credential
    ///
    /// ## What it means
    /// The broker sends the registration's credential, and the server answers 401 or 403.
    ///
    /// ## How it is decided
    /// The class of the error that the broker shows for a server with `credentialRef`, in `/status` or,
    /// without it, in its log (as for MG417): 401 or 403, told by the words of the error.
    ///
    /// ## Causes
    /// A wrong, revoked or expired token (MG604), a token without the permissions needed, a missing scheme
    /// word, a Secret without label whose new token was not noticed (MG602).
    ///
    /// ## How to confirm
    /// Ask the server with the same token: `curl -i -H "Authorization: Bearer $TOKEN" URL`.
    ///
    /// ## How to fix
    /// Write a valid token into the Secret; the controller notices labelled Secrets by itself.
    ///
    /// ## When it may be a false alarm
    /// A 403 can be about something else than the token: a server that protects itself against DNS rebinding
    /// answers it to a Host or Origin header that it does not expect. A proxy in front of the server may also
    /// have answered.
    pub(super) static CREDENTIAL_REJECTED = {
        code: "MG605", name: "credential-rejected", severity: Error, section: "1.6",
        needs: ["broker /status", "broker log", "mcpgatewayextensions", "mcpserverregistrations", "pods"], since: "0.1.0",
        caused_by: ["MG601", "MG602", "MG603", "MG604"], check: credential_rejected,
    }
}

fn credential_rejected(context: &Context<'_>, findings: &mut Findings) {
    for failure in failures(context) {
        let object = failure.registration.object;
        if !matches!(failure.class, ErrorClass::Unauthorized | ErrorClass::Forbidden)
            || secret_name(object).is_empty()
        {
            continue;
        }
        let code = if failure.class == ErrorClass::Unauthorized { 401 } else { 403 };
        findings
            .report(
                &CREDENTIAL_REJECTED,
                object,
                format!(
                    "The server of MCPServerRegistration {} refuses the credential of Secret {} ({code})",
                    object.full_name(),
                    secret_name(object)
                ),
                failure.evidence,
                "Write a valid token with the permissions needed into the Secret.",
            )
            .evidence(object.evidence("/spec/credentialRef"))
            .object(failure.pod.reference())
            .command(write_again(object.namespace(), secret_name(object), credential_key(object)))
            .verify(shell!(
                "oc get --raw /api/v1/namespaces/{}/services/mcp-gateway:8080/proxy/status/{}",
                failure.pod.namespace(),
                object.full_name()
            ));
    }
}

declare_rule! {
    /// Nothing authenticates tool calls to a server that needs a credential
    ///
    /// ## What it means
    /// `credentialRef` is used by the broker only, to list tools. The user's `tools/call` goes through
    /// the Gateway without it: when the server demands a credential there too, calls get 401 although
    /// everything is ready.
    ///
    /// ## How it is decided
    /// Only when refused calls are seen: the router's log has calls to this server that ended with 401 or
    /// 403, the last within the hour before the collection. The registration is enabled and has
    /// `credentialRef`, the broker itself is not refused (MG605), and nothing could add a credential: no
    /// AuthPolicy for the route or its Gateway (whichever listener) sets headers under `response.success`,
    /// the route sets no `Authorization`, and the registration has no `tokenURLElicitation`.
    ///
    /// ## Causes
    /// The belief that `credentialRef` serves calls too.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/mcp-gateway | grep 'tool call'` shows `status=401` or `status=403`.
    ///
    /// ## How to fix
    /// Inject the credential with an AuthPolicy (`response.success.headers`), from Vault or by token
    /// exchange, or use URL elicitation.
    ///
    /// ## When it may be a false alarm
    /// When clients send a credential for the server themselves, and it was wrong.
    pub(super) static CREDENTIAL_SCOPE = {
        code: "MG606", name: "credential-scope", severity: Warning, section: "1.6",
        needs: ["broker log", "authpolicies", "httproutes", "mcpserverregistrations", "pods"], since: "0.1.0",
        caused_by: ["MG605"], versions: "every supported version; URL elicitation from 0.7.0 on",
        check: credential_scope,
    }
}

/// Whether the route sets the Authorization header itself.
fn sets_header(route: &Object) -> bool {
    let filters =
        route.array("/spec/rules").iter().filter_map(|rule| rule.get("filters")).filter_map(Value::as_array);
    filters.flatten().any(|filter| {
        ["set", "add"].iter().any(|how| {
            let list = filter.pointer(&format!("/requestHeaderModifier/{how}")).and_then(Value::as_array);
            list.into_iter().flatten().any(|header| {
                header
                    .get("name")
                    .and_then(Value::as_str)
                    .is_some_and(|name| name.eq_ignore_ascii_case("authorization"))
            })
        })
    })
}

/// Whether an AuthPolicy that affects the route adds headers to what it lets pass.
fn policy_adds(context: &Context<'_>, route: &Object) -> bool {
    let parents = crate::model::gateway_api::parent_refs(route);
    context.bundle.list(&kinds::AUTH_POLICY).any(|policy| {
        let (kind, name) = (policy.str("/spec/targetRef/kind"), policy.str("/spec/targetRef/name"));
        let targets = match kind {
            "HTTPRoute" => policy.namespace() == route.namespace() && name == route.name(),
            "Gateway" => parents.iter().any(|p| p.namespace == policy.namespace() && p.name == name),
            _ => false,
        };
        targets
            && ["/spec", "/spec/defaults", "/spec/overrides"].iter().any(|base| {
                let headers = policy.get(&format!("{base}/rules/response/success/headers"));
                headers.and_then(Value::as_object).is_some_and(|h| !h.is_empty())
            })
    })
}

fn credential_scope(context: &Context<'_>, findings: &mut Findings) {
    let failing = refused(context);
    let mut bad_calls: HashMap<&str, (&LogFile, &Record)> = HashMap::new();
    for (_, log) in context.workloads().component_logs(Component::Broker) {
        let calls = log.digest.of("router.tool-call");
        let bad = calls.filter(|r| matches!(r.field("status"), "401" | "403"));
        for record in bad.filter(|r| !evidence::is_past(context.now, r)) {
            bad_calls.entry(record.field("server")).or_insert((log, record));
        }
    }
    for registration in &context.chain().registrations {
        let object = registration.object;
        let Some(route) = registration.route else { continue };
        if secret_name(object).is_empty() || registration.is_disabled() {
            continue;
        }
        let elicits = object.get("/spec/tokenURLElicitation").is_some();
        if elicits
            || sets_header(route)
            || policy_adds(context, route)
            || failing.contains(&(object.namespace(), object.name()))
        {
            continue;
        }
        let name = object.full_name();
        if let Some((log, record)) = bad_calls.get(name.as_str()) {
            findings
                .report(
                    &CREDENTIAL_SCOPE,
                    object,
                    format!("Calls to MCPServerRegistration {name} are refused: its credential serves discovery only"),
                    crate::rules::evidence::record(log, record),
                    "Inject a credential for calls: an AuthPolicy with response.success.headers, or URL elicitation.",
                )
                .object(route.reference())
                .evidence(object.evidence("/spec/credentialRef"))
                .command("oc explain authpolicy.spec.rules.response.success.headers")
                .verify(shell!("oc -n {} logs {} --since=5m | grep 'tool call'", log.namespace, log.pod));
        }
    }
}
