//! MG411, MG417: what the broker makes of the servers that are registered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta};

use crate::declare_rule;
use crate::model::broker_config::{self, BrokerConfig};
use crate::model::json::Value;
use crate::model::logs::ErrorClass;
use crate::model::mcp::Registration;
use crate::model::mcp::broker_status::{self, BrokerStatus, Server};
use crate::model::probes::{Purpose, Recorded};
use crate::model::workloads::Component;
use crate::model::{Missing, Object, kinds};
use crate::report::{Evidence, Severity};
use crate::rules::{Context, Findings, evidence};
use crate::shell::{Command, shell};
use crate::term::counted;

/// The statuses of the brokers of all extensions, with the namespace.
pub(in crate::rules) fn statuses<'a>(context: &Context<'a>) -> Vec<BrokerStatus<'a>> {
    let mut namespaces: Vec<&str> = context.chain().extensions.iter().map(|e| e.object.namespace()).collect();
    namespaces.dedup();
    namespaces
        .into_iter()
        .flat_map(|namespace| broker_status::read(context.bundle, context.workloads().broker_pods(namespace)))
        .collect()
}

/// The pods (namespace and name) whose status is known.
fn answered<'s>(statuses: &'s [BrokerStatus<'_>]) -> HashSet<(&'s str, &'s str)> {
    statuses.iter().map(|status| (status.pod.namespace(), status.pod.name())).collect()
}

/// The configuration that the controller wrote for the broker of a namespace.
pub(in crate::rules) struct Configured<'a> {
    /// The Secret.
    pub(in crate::rules) secret: &'a Object,
    /// Its content.
    pub(in crate::rules) config: BrokerConfig,
    by_name: HashMap<String, usize>,
}

impl Configured<'_> {
    /// The entry of a server, by `namespace/name` of its registration.
    pub(super) fn server(&self, name: &str) -> Option<&broker_config::Server> {
        self.by_name.get(name).map(|&at| &self.config.servers[at])
    }
}

/// The configurations of a bundle by their namespaces.
pub(in crate::rules) fn configurations<'a>(context: &Context<'a>) -> HashMap<&'a str, Configured<'a>> {
    let secrets = context.named(kinds::SECRET.kind, broker_config::NAME).iter();
    let read = |&secret: &&'a Object| {
        let config = broker_config::read(&secret.value().to_json())?;
        let mut by_name = HashMap::new();
        for (at, server) in config.servers.iter().enumerate() {
            by_name.entry(server.name.clone()).or_insert(at);
        }
        Some((secret.namespace(), Configured { secret, config, by_name }))
    };
    secrets.filter_map(read).collect()
}

declare_rule! {
    /// A server does not speak MCP properly
    ///
    /// ## What it means
    /// The broker reaches the server, but what it answers is not MCP as expected: another protocol
    /// version, an HTTP error on the path, tools that do not fit the schema.
    ///
    /// ## How it is decided
    /// For each server of the broker's `/status` that has a registration, the first of these that is true:
    /// `protocolValidation.isValid` is false; the server is not ready and its message is of the class
    /// protocol, 404, another 4xx (not 401, 403, 429) or 5xx; it has invalid tools or invalid prompts (a
    /// warning).
    ///
    /// Where a broker's `/status` was not collected, its log counts, for `invalid tools detected` within the
    /// hour before the collection (a warning). For servers of which neither says anything, what the server
    /// itself answered to `initialize` without credentials (`--probe mcp`,
    /// `mcpgw/probes/mcp-initialize.*.json`): no HTTP, another status than 2xx, 401, 403 and 429, an error of
    /// JSON-RPC, or no MCP.
    ///
    /// ## Causes
    /// A wrong `spec.path`, an old server, a server that is no MCP server, invalid tool schemas.
    ///
    /// ## How to confirm
    /// `oc mcpgw check --probe http,mcp --only MG411` asks the server; the broker's log:
    /// `oc -n NAMESPACE logs deployment/mcp-gateway | grep NAME`.
    ///
    /// ## How to fix
    /// Correct `spec.path`, update the server, or correct the schemas of its tools.
    ///
    /// ## When it may be a false alarm
    /// The class of an error is taken from its words: a 503 while the server starts, or a 404 or 5xx of
    /// something in front of the server, looks the same as an answer of the server.
    pub(super) static BACKEND_PROTOCOL = {
        code: "MG411", name: "backend-protocol", severity: Error, section: "1.4",
        needs: ["broker /status", "probes", "mcpgatewayextensions", "mcpserverregistrations", "pods"], since: "0.1.0",
        caused_by: ["MG405"], versions: "every supported version; the broker counts invalid tools from 0.6.0 on",
        check: backend_protocol,
    }
}

/// Whether an error means that the server was reached and does not answer as MCP.
fn is_protocol(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Protocol | ErrorClass::NotFound | ErrorClass::ClientError | ErrorClass::ServerError
    )
}

/// What the answer of a server to `initialize` shows that is not MCP: in words, and the evidence.
fn not_mcp(probe: &Recorded<'_>) -> Option<(String, Evidence)> {
    let record = &probe.probe;
    if let Some(fault) = record.error.as_ref().filter(|fault| fault.reason == "NotHttp") {
        return Some((format!("does not speak HTTP: {}", fault.message), probe.error_evidence()));
    }
    let (status, body) = (record.status?, record.body.clone().unwrap_or_default());
    match status {
        200..=299 if body.server.as_ref().is_some_and(|s| !s.protocol_version.is_empty()) => None,
        200..=299 => Some(match &body.rpc_error {
            Some(error) => (
                format!("refuses initialize: {} {}", error.code, error.message),
                probe.evidence("body.rpcError.code", error.code.to_string()),
            ),
            None => (
                format!("answers initialize with {status}, but not as an MCP server"),
                probe.evidence("body.contentType", body.content_type),
            ),
        }),
        // Without credentials that is an answer, not a fault; too many requests are none either.
        401 | 403 | 429 => None,
        // A redirect is not followed by the broker's POST.
        _ => Some((format!("answers initialize with {status}"), probe.status_evidence())),
    }
}

fn backend_protocol(context: &Context<'_>, findings: &mut Findings) {
    let chain = context.chain();
    let mut reported: BTreeSet<String> = BTreeSet::new();
    let statuses = statuses(context);
    for status in &statuses {
        for server in &status.servers {
            let Some(registration) = chain.server(&server.name) else { continue };
            let object = registration.object;
            let class = ErrorClass::of(&server.message);
            let (what, evidence, severity) = if let Some((found, expected)) = &server.protocol {
                (
                    format!("speaks protocol {found}, {expected} is expected"),
                    status.evidence(server, "protocolValidation.supportedVersion", found.clone()),
                    Severity::Error,
                )
            } else if !server.ready && is_protocol(class) {
                (
                    format!("does not answer as an MCP server: {}", class.describe()),
                    status.evidence(server, "message", server.message.clone()),
                    Severity::Error,
                )
            } else if server.invalid_tools > 0 {
                (
                    format!("offers {}", counted(server.invalid_tools, "invalid tool")),
                    status.evidence(server, "invalidTools", server.invalid_tools.to_string()),
                    Severity::Warning,
                )
            } else if server.invalid_prompts > 0 {
                (
                    format!("offers {} invalid prompt(s)", server.invalid_prompts),
                    status.evidence(server, "invalidPrompts", server.invalid_prompts.to_string()),
                    Severity::Warning,
                )
            } else {
                continue;
            };
            reported.insert(server.name.clone());
            findings
                .report(
                    &BACKEND_PROTOCOL,
                    object,
                    format!("The server of MCPServerRegistration {} {what}", server.name),
                    evidence,
                    "Check the path of the registration and the server's MCP version and tool schemas.",
                )
                .severity(severity)
                .object(status.pod.reference())
                .evidence(object.evidence("/spec/path"))
                .command(shell!("oc -n {} logs {} --tail=100", status.pod.namespace(), status.pod.name()))
                .verify(status_command(status, &server.name));
        }
    }
    let answered = answered(&statuses);
    for (pod, log) in context.workloads().component_logs(Component::Broker) {
        if log.previous || answered.contains(&(pod.namespace(), pod.name())) {
            continue;
        }
        for record in log.digest.of("broker.invalid-tools").filter(|r| !evidence::is_past(context.now, r)) {
            let name = record.field("server");
            let Some(registration) = chain.server(name).filter(|_| reported.insert(name.to_owned())) else {
                continue;
            };
            findings
                .report(
                    &BACKEND_PROTOCOL,
                    registration.object,
                    format!("The server of MCPServerRegistration {name} offers invalid tools"),
                    evidence::record(log, record),
                    "Correct the schemas of the server's tools.",
                )
                .severity(Severity::Warning)
                .object(pod.reference())
                .command(shell!("oc -n {} logs {} | grep 'invalid tool'", pod.namespace(), pod.name()))
                .verify(shell!("oc -n {} logs {} --since=5m", pod.namespace(), pod.name()));
        }
    }
    for registration in &chain.registrations {
        let object = registration.object;
        let Some(probe) = context.probe(Purpose::McpInitialize, object) else { continue };
        let name = object.full_name();
        if reported.contains(&name) {
            continue;
        }
        if let Some(missing) = probe.missing() {
            findings.cannot_tell(&BACKEND_PROTOCOL, missing);
        }
        let Some((what, evidence)) = not_mcp(probe) else { continue };
        let via = &probe.probe.request.via;
        findings
            .report(
                &BACKEND_PROTOCOL,
                object,
                format!("The server of MCPServerRegistration {name} {what}"),
                evidence,
                "Check the path of the registration and whether the server is an MCP server of streamable HTTP.",
            )
            .evidence(object.evidence("/spec/path"))
            .command(shell!("oc -n {} logs {} --tail=100", via.namespace, via.pod))
            .verify("oc mcpgw check --probe http,mcp --only MG411");
    }
}

pub(super) fn status_command(status: &BrokerStatus<'_>, server: &str) -> Command {
    shell!(
        "oc get --raw /api/v1/namespaces/{}/services/mcp-gateway:8080/proxy/status/{}",
        status.pod.namespace(),
        server
    )
}

declare_rule! {
    /// The broker cannot use a server
    ///
    /// ## What it means
    /// The registration may be `Ready` (since 0.8 that only says that the configuration was written),
    /// but the broker does not reach the server, and its tools are missing.
    ///
    /// ## How it is decided
    /// The broker's `/status`: a server that is not ready, with the class of its error (DNS, refused, TLS,
    /// 401, plain HTTP on a TLS port, timeout, …). A ready server with no tools, valid or invalid, is a
    /// warning, unless its tools are listed per user.
    ///
    /// Of a broker without `/status` the current log counts: three failures of one kind of one server, its
    /// tools removed after such failures (`failure threshold reached`), or a manager that could not be made
    /// (`failed to create manager`) and was not started since. A failure that has not come back for three
    /// checks and one minute is over, as a success leaves no line: with the usual `--mcp-check-interval` of
    /// 60 seconds these are four minutes.
    ///
    /// ## Causes
    /// The server's pods or Service (MG405-MG410), its credential (MG601-MG605), DNS or egress for
    /// servers outside the cluster (MG509-MG511), a server that does not speak MCP (MG411).
    ///
    /// ## How to confirm
    /// `oc get --raw /api/v1/namespaces/NAMESPACE/services/mcp-gateway:8080/proxy/status`.
    ///
    /// ## How to fix
    /// Repair the cause; the broker tries again every minute.
    ///
    /// ## When it may be a false alarm
    /// `/status` tells the last check only: a server that is just being restarted fails there, too. A server
    /// that offers nothing but prompts or resources has no tools.
    pub(super) static BROKER_UPSTREAM_FAILING = {
        code: "MG417", name: "broker-upstream-failing", severity: Error, section: "1.4",
        needs: ["broker /status", "broker log", "mcpgatewayextensions", "mcpserverregistrations", "pods"], since: "0.1.0",
        caused_by: [
            "MG605", "MG411", "MG509", "MG510", "MG604", "MG601", "MG602", "MG603", "MG215", "MG406", "MG408",
            "MG409", "MG410", "MG405", "MG420", "MG501", "MG502", "MG503", "MG511", "MG101", "MG102", "MG103",
            "MG104", "MG106", "MG107", "MG108", "MG110", "MG111", "MG232",
        ],
        versions: "every supported version; until 0.7.1 the registration's condition says it, too, later only the broker",
        check: broker_upstream_failing,
    }
}

/// A server that the broker cannot use: its registration, the class, the observation.
pub(in crate::rules) struct Failure<'c, 'a> {
    pub(in crate::rules) registration: &'c Registration<'a>,
    pub(in crate::rules) class: ErrorClass,
    pub(in crate::rules) evidence: crate::report::Evidence,
    pub(in crate::rules) pod: &'a Object,
}

/// How often a broker tries its servers: `--mcp-check-interval` in seconds, 60 unless told. After a
/// failure it tries again sooner, never later.
fn check_interval(pod: &Object) -> TimeDelta {
    let words =
        crate::model::workloads::containers(pod).into_iter().filter_map(|c| c.spec).flat_map(|spec| {
            let lists = ["command", "args"].into_iter().filter_map(|list| spec.get(list)?.as_array());
            lists.flatten().filter_map(Value::as_str)
        });
    let told = words.filter_map(|word| word.trim_start_matches('-').strip_prefix("mcp-check-interval="));
    TimeDelta::seconds(told.filter_map(|n| n.parse().ok()).find(|n| (1..86_400).contains(n)).unwrap_or(60))
}

/// The servers that brokers cannot use, from `/status`, else from the log.
///
/// A success leaves no line in the log, but a failure comes back at every check: one that has not
/// come back for three checks and a minute is over.
pub(in crate::rules) fn failures<'c, 'a>(context: &'c Context<'a>) -> Vec<Failure<'c, 'a>> {
    let chain = context.chain();
    let mut found = Vec::new();
    let statuses = statuses(context);
    let answered = answered(&statuses);
    for status in &statuses {
        for server in status.servers.iter().filter(|s| !s.ready) {
            if let Some(registration) = chain.server(&server.name) {
                found.push(Failure {
                    registration,
                    class: ErrorClass::of(&server.message),
                    evidence: status.evidence(server, "message", server.message.clone()),
                    pod: status.pod,
                });
            }
        }
    }
    for (pod, log) in context.workloads().component_logs(Component::Broker) {
        if answered.contains(&(pod.namespace(), pod.name())) || log.previous {
            continue;
        }
        let recent = check_interval(pod) * 3 + TimeDelta::minutes(1);
        let is_over = |record: &crate::model::logs::Record| {
            let last = record.last_time.as_deref().and_then(|t| DateTime::parse_from_rfc3339(t).ok());
            context.now.zip(last).is_some_and(|(now, last)| now - last.to_utc() > recent)
        };
        let mut last: BTreeMap<&str, &crate::model::logs::Record> = BTreeMap::new();
        let failed = ["broker.upstream-failed", "broker.list-failed"];
        let failed = failed.into_iter().flat_map(|template| log.digest.of(template));
        for record in failed.filter(|record| !is_over(record)) {
            let slot = last.entry(record.field("server")).or_insert(record);
            if record.last_time > slot.last_time {
                *slot = record;
            }
        }
        // A manager is made once for a configuration, and stays away until the next.
        for record in log.digest.of("broker.manager-failed") {
            let server = record.field("server");
            let made = log.digest.of("broker.manager-start").filter(|r| r.field("server") == server);
            if made.filter_map(|r| r.last_time.as_ref()).max() <= record.last_time.as_ref() {
                last.insert(server, record);
            }
        }
        for (server, record) in last {
            // One failure is retried within a minute and proves nothing.
            // Nor does one failure of the list, which the next check asks for again.
            let removed = log.digest.of("broker.upstream-removed").any(|r| r.field("server") == server);
            let lasting = record.count >= 3 || record.template == "broker.manager-failed";
            let Some(registration) = chain.server(server).filter(|_| removed || lasting) else {
                continue;
            };
            found.push(Failure {
                registration,
                class: ErrorClass::from_word(record.field("class")).unwrap_or(ErrorClass::Other),
                evidence: evidence::record(log, record),
                pod,
            });
        }
    }
    found
}

fn broker_upstream_failing(context: &Context<'_>, findings: &mut Findings) {
    let brokers_known =
        context.chain().extensions.iter().flat_map(|e| context.workloads().broker_pods(e.object.namespace()));
    for pod in brokers_known {
        let file = format!("mcpgw/broker/{}/{}/status.json", pod.namespace(), pod.name());
        let logged = context.workloads().logs_of(pod).iter().any(|l| !l.previous);
        let running = pod.str("/status/phase") == "Running"
            && !pod.is_deleting()
            && !crate::model::workloads::containers(pod).iter().any(|c| c.waiting().is_some());
        if running && context.bundle.extra(&file).is_none() && !logged {
            findings.cannot_tell(
                &BROKER_UPSTREAM_FAILING,
                Missing {
                    what: format!("the status or log of broker {}", pod.full_name()),
                    how: shell!("oc -n {} logs {}", pod.namespace(), pod.name()),
                },
            );
        }
    }
    for failure in failures(context) {
        let object = failure.registration.object;
        findings
            .report(
                &BROKER_UPSTREAM_FAILING,
                object,
                format!(
                    "The broker cannot use the server of MCPServerRegistration {}: {}",
                    object.full_name(),
                    failure.class.describe()
                ),
                failure.evidence,
                "Repair the cause; the broker tries again every minute.",
            )
            .object(failure.pod.reference())
            .command(shell!("oc -n {} logs {} --tail=100", failure.pod.namespace(), failure.pod.name()))
            .verify(shell!(
                "oc get --raw /api/v1/namespaces/{}/services/mcp-gateway:8080/proxy/status/{}",
                failure.pod.namespace(),
                object.full_name()
            ));
    }
    for status in statuses(context) {
        let empty = |s: &&Server| s.ready && s.tools == Some(0) && s.invalid_tools == 0;
        for server in status.servers.iter().filter(empty) {
            let Some(registration) = context.chain().server(&server.name) else { continue };
            let object = registration.object;
            if object.str("/spec/userSpecificList") == "Enabled" || server.message.contains("per user") {
                continue;
            }
            findings
                .report(
                    &BROKER_UPSTREAM_FAILING,
                    object,
                    format!("The server of MCPServerRegistration {} offers no tools", server.name),
                    status.evidence(server, "totalTools", "0"),
                    "Ask the server for tools/list: it is reachable, but offers nothing.",
                )
                .severity(Severity::Warning)
                .object(status.pod.reference())
                .command(shell!("oc -n {} logs {} --tail=100", status.pod.namespace(), status.pod.name()))
                .verify(status_command(&status, &server.name));
        }
    }
}
