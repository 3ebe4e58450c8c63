//! MG313, MG317: the host over which the router calls back through the Gateway, and what comes of it.

use serde_json::json;

use crate::declare_rule;
use crate::model::gateway_api::listeners;
use crate::model::json::Value;
use crate::model::logs::{ErrorClass, Record};
use crate::model::mcp::Extension;
use crate::model::{Object, Seen, kinds};
use crate::report::Evidence;
use crate::rules::{Context, Findings, evidence, remedy};
use crate::shell::shell;

/// The host that the router calls back: from the spec, else from the broker's command.
fn private_host<'a>(context: &Context<'a>, extension: &Extension<'a>) -> Option<(String, Evidence)> {
    let object = extension.object;
    let spec = object.str("/spec/privateHost");
    if !spec.is_empty() {
        return Some((spec.to_owned(), object.evidence("/spec/privateHost")));
    }
    let deployment = context.workloads().broker_deployment(object.namespace())?;
    flag(deployment, "mcp-gateway-private-host")
        .map(|(value, pointer)| (value, deployment.evidence(&pointer)))
}

/// A flag of the broker's container, with the JSON pointer of the argument.
pub(in crate::rules) fn flag(deployment: &Object, name: &str) -> Option<(String, String)> {
    for (c, container) in deployment.array("/spec/template/spec/containers").iter().enumerate() {
        for list in ["command", "args"] {
            let arguments = container.get(list).and_then(Value::as_array);
            for (index, argument) in arguments.into_iter().flatten().enumerate() {
                let text = argument.as_str().unwrap_or_default().trim_start_matches('-');
                if let Some(value) = text
                    .strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix('=').or(rest.is_empty().then_some("")))
                {
                    let pointer = format!("/spec/template/spec/containers/{c}/{list}/{index}");
                    return Some((value.to_owned(), pointer));
                }
            }
        }
    }
    None
}

declare_rule! {
    /// The private host leads to no Service of the Gateway
    ///
    /// ## What it means
    /// For clients of the 2025 protocol the router sends an `initialize` back through the Gateway to
    /// `privateHost`. When that host is wrong, every first `tools/call` of a session fails with 500
    /// `failed to create session`.
    ///
    /// ## How it is decided
    /// `spec.privateHost`, or the value that the controller has put into the broker's command. A name of the
    /// form `SERVICE.NAMESPACE.svc…` must be that of a Service that exists, and that is the Gateway's own or
    /// selects one of its pods; the Service must have the port, if one is named; and `https://` must be there
    /// exactly where the listener on that port speaks HTTPS (where none has the port, the extension's
    /// listener counts). Other hosts are not judged, nor is any while the Gateway has no Service (MG208).
    /// Where the extension's target has a wrong name, the Gateway and listener that it most likely means
    /// count.
    ///
    /// ## Causes
    /// A wrong namespace or name; controllers before 0.8 always took the suffix `-istio`, which is wrong for
    /// other classes.
    ///
    /// ## How to confirm
    /// `oc -n GATEWAY_NAMESPACE get services`, and the broker's log for `failed to get remote session`.
    ///
    /// ## How to fix
    /// Remove `privateHost` (the default is right since 0.8), or correct it; the command writes the right
    /// value.
    ///
    /// ## When it may be a false alarm
    /// A Service made by hand that reaches the proxies without selecting them (a Service without selector, or
    /// one of another proxy in front).
    pub(super) static PRIVATE_HOST = {
        code: "MG313", name: "private-host", severity: Error, section: "1.3",
        needs: ["mcpgatewayextensions", "services", "deployments", "gateways"], since: "0.1.0",
        caused_by: ["MG310"],
        versions: "every supported version; until 0.7.1 the controller takes `-istio` for the end of the Service's name whatever the class",
        check: private_host_rule,
    }
}

fn private_host_rule(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let (Some(gateway), Some(listener)) = (extension.meant_gateway, extension.meant_listener) else {
            continue;
        };
        let Some((host, evidence)) = private_host(context, extension) else { continue };
        let https = host.starts_with("https://");
        let bare = host.rsplit("://").next().unwrap_or(&host);
        let (name, port) = bare.split_once(':').unwrap_or((bare, ""));
        let labels: Vec<&str> = name.split('.').collect();
        let [service, namespace, "svc", ..] = labels.as_slice() else { continue };
        let found = match context.bundle.find(&kinds::SERVICE, namespace, service) {
            Seen::Found(found) => Some(found),
            Seen::Absent => None,
            Seen::Unknown(missing) => {
                findings.cannot_tell(&PRIVATE_HOST, missing);
                continue;
            }
        };
        let own = context.workloads().gateway_service(gateway);
        // Without the Gateway's Service there is nothing to compare with; MG208 is about that.
        let Some(own) = own else { continue };
        let port: Option<i64> = port.parse().ok();
        let ports = found.map(|s| s.array("/spec/ports")).unwrap_or_default();
        let has_port =
            port.is_none_or(|port| ports.iter().any(|p| p.get("port").and_then(Value::as_i64) == Some(port)));
        let selects = |s: &Object| {
            let pods = context.workloads().gateway_pods(gateway);
            let selected = context.workloads().pods_of_service(s);
            pods.is_empty() || selected.iter().any(|pod| pods.iter().any(|p| std::ptr::eq(*p, *pod)))
        };
        // The way back may lead over another listener than the one that clients use.
        let all = listeners(gateway);
        let on_port = all.iter().filter(|l| port == Some(l.port)).map(|l| l.protocol);
        let mut protocols: Vec<&str> = on_port.collect();
        if protocols.is_empty() {
            protocols.push(listener.protocol);
        }
        protocols.dedup();
        let what = match found {
            None => format!("there is no Service {namespace}/{service}"),
            Some(s) if s.full_name() != own.full_name() && !selects(s) => {
                format!("Service {namespace}/{service} is not the Gateway's")
            }
            Some(_) if !has_port => {
                format!("Service {namespace}/{service} has no port {}", port.unwrap_or(0))
            }
            Some(_) if protocols.iter().all(|protocol| https != (*protocol == "HTTPS")) => {
                format!("the listener speaks {}", protocols.join(", "))
            }
            Some(_) => continue,
        };
        let object = extension.object;
        let scheme = if listener.protocol == "HTTPS" { "https://" } else { "" };
        let right = format!("{scheme}{}.{}.svc.cluster.local:{}", own.name(), own.namespace(), listener.port);
        let draft = findings.report(
            &PRIVATE_HOST,
            object,
            format!("The private host {host} of MCPGatewayExtension {} is wrong: {what}", object.full_name()),
            evidence,
            format!("The Gateway's Service is {right}; remove privateHost to take that default."),
        );
        if !object.str("/spec/privateHost").is_empty() {
            // What a person wrote is wrong whether the controller looks at it or not.
            draft.explains_itself();
        }
        draft
            .object(own.reference())
            .object(gateway.reference())
            .evidence(own.evidence("/spec/ports"))
            .command(remedy::merge(object, json!({"spec": {"privateHost": right}})))
            .verify(shell!("oc -n {} get service {}", own.namespace(), own.name()));
    }
}

declare_rule! {
    /// The router cannot open sessions through the Gateway
    ///
    /// ## What it means
    /// For clients of the 2025 protocol the router sends an `initialize` for each server back through the
    /// Gateway, before the first `tools/call` of a session. That fails: tools are listed, and calling them
    /// ends with 500 `failed to create session for mcp server`.
    ///
    /// ## How it is decided
    /// The log of a broker pod (of the present run) has `failed to get remote session` at least three times
    /// for one server with the same kind of error, the last within the hour before the collection (without
    /// times it counts as recent).
    ///
    /// ## Causes
    /// - The private host does not resolve or speaks another protocol (MG313), or its certificate is not
    ///   trusted (MG206).
    /// - The Gateway's proxy is down or has no listener (MG208, MG225), or the router is unreachable from it
    ///   (MG224, MG232).
    /// - An AuthPolicy on the host of the server demands credentials of the router's own `initialize` (401,
    ///   403).
    /// - The server fails or rejects its credentials (MG417, MG411, MG605).
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/mcp-gateway | grep 'failed to get remote session'`
    ///
    /// ## How to fix
    /// By the error that the finding names: correct the private host; or let the policies on the hosts of
    /// servers pass the `initialize` of the router, which has the header `router-key`. Do not let every
    /// request with that header pass: clients can send it too.
    ///
    /// ## When it may be a false alarm
    /// A short outage within the last hour; the finding gives first and last time.
    pub(super) static HAIRPIN_FAILING = {
        code: "MG317", name: "hairpin-failing", severity: Error, section: "1.3",
        needs: ["broker log", "mcpgatewayextensions", "pods"], since: "0.1.0",
        caused_by: ["MG313", "MG417", "MG411", "MG605", "MG206", "MG208", "MG225", "MG228", "MG224", "MG232"],
        versions: "every supported version; clients of the 2026 protocol have no sessions",
        check: hairpin_failing,
    }
}

fn hairpin_failing(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let object = extension.object;
        for pod in context.workloads().broker_pods(object.namespace()) {
            for log in context.workloads().logs_of(pod).iter().filter(|log| !log.previous) {
                let lasts = |r: &&Record| r.count >= 3 && !evidence::is_past(context.now, r);
                for record in log.digest.of("router.hairpin-failed").filter(lasts) {
                    let class = ErrorClass::from_word(record.field("class")).unwrap_or(ErrorClass::Other);
                    let server = Some(record.field("server")).filter(|s| !s.is_empty()).unwrap_or("a server");
                    let remedy = match class {
                        ErrorClass::Unauthorized | ErrorClass::Forbidden => {
                            "Let the AuthPolicy on the server's host pass the router's own initialize."
                        }
                        _ => "Make the private host lead to the Gateway, by name, port and protocol.",
                    };
                    let draft = findings.report(
                        &HAIRPIN_FAILING,
                        object,
                        format!(
                            "The router cannot open sessions with {server} through the Gateway: {}",
                            class.describe()
                        ),
                        evidence::record(log, record),
                        remedy,
                    );
                    if let Some((_, shown)) = private_host(context, extension) {
                        draft.evidence(shown);
                    }
                    draft.object(pod.reference());
                    draft.because_of(&["MG313", "MG206", "MG224", "MG232"], object.reference());
                    if let Some(gateway) = extension.gateway {
                        draft.because_of(&["MG208", "MG225"], gateway.reference());
                    }
                    if let Some(registration) = context.chain().server(server) {
                        let codes = &["MG417", "MG411", "MG605"];
                        draft.object(registration.object.reference());
                        draft.because_of(codes, registration.object.reference());
                    }
                    draft.command(match class {
                        ErrorClass::Unauthorized | ErrorClass::Forbidden => {
                            shell!("oc get authpolicies -A -o yaml")
                        }
                        _ => shell!(
                            "oc -n {} get mcpgatewayextension {} -o jsonpath='{{.spec.privateHost}}'",
                            object.namespace(),
                            object.name()
                        ),
                    });
                    draft.verify(shell!(
                        "oc -n {} logs {} --since=5m | grep -c 'failed to get remote session'",
                        pod.namespace(),
                        pod.name()
                    ));
                }
            }
        }
    }
}
