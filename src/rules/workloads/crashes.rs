//! MG108: crashes that are known, with their remedy.

use super::{PodFault, Subject, report_faults, say_what_is_missing, wait_command};
use crate::declare_rule;
use crate::model::bundle::LogFile;
use crate::model::logs::format::{self, Level};
use crate::model::logs::{ErrorClass, Record};
use crate::model::workloads::{Component, Container, ContainerKind, Role, containers};
use crate::rules::evidence::{self, oc, resource};
use crate::rules::extensions::settings::OBSOLETE_FLAGS;
use crate::rules::{Context, Findings};
use crate::shell::{Command, shell};

declare_rule! {
    /// A container ends with a known crash
    ///
    /// ## What it means
    /// The last words of a container's log are those of a crash whose cause is known.
    ///
    /// ## How it is decided
    /// A container that the MCP gateway needs has ended, and the log of that run holds, at the start of
    /// a line, one of the known last words of the MCP gateway's controller, its broker, or of a
    /// language runtime. For the broker also without a word: it ended with exit code 1 within 15 s and
    /// logged nothing above INFO, which is how older versions end at the node's inotify limit.
    ///
    /// ## Causes
    /// | last words | cause |
    /// |---|---|
    /// | `unable to start manager … no matches for kind "EnvoyFilter"` | Istio is not installed |
    /// | `invalid BROKER_ROUTER_LOG_LEVEL` | the controller's variable is no number |
    /// | `--mcp-gateway-public-host cannot be empty` | the broker's command was edited |
    /// | `failed to parse redis connection string` | the session store's Secret is malformed |
    /// | `failed to connect to redis` | the session store cannot be reached |
    /// | `GATEWAY_SIGNING_KEY … is required` | the signing key's Secret is missing |
    /// | `must be at least 32 bytes` | the signing key is too short |
    /// | `failed to build hairpin HTTP client pool` | the CA bundle cannot be read |
    /// | `failed to load initial config` | the config Secret holds broken YAML |
    /// | `flag provided but not defined` | a flag of another version |
    /// | `too many open files` from inotify | the node's limit of inotify instances |
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs POD -c CONTAINER --previous`
    ///
    /// ## How to fix
    /// The finding has the remedy of its cause.
    ///
    /// ## When it may be a false alarm
    /// A crash that happened once and was repaired since stays visible until the pod is replaced.
    pub(super) static KNOWN_CRASH = {
        code: "MG108", name: "known-crash", severity: Error, section: "1.1",
        needs: ["pods", "previous logs", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: ["MG003", "MG110", "MG309", "MG315"],
        check: known_crash,
    }
}

/// Shows the limit of the node on which it was reached.
fn inotify_command(node: &str) -> Command {
    let node = if node.is_empty() { "${NODE}" } else { node };
    shell!("oc debug node/{} -- chroot /host sysctl fs.inotify.max_user_instances", node)
}

/// What a crash means: what happened, what to do, and a command.
fn explain(record: &Record, namespace: &str, node: &str) -> Option<(String, String, Option<Command>)> {
    let class = ErrorClass::from_word(record.field("class")).unwrap_or(ErrorClass::Other);
    let (what, remedy, command): (String, &str, Option<Command>) = match record.template {
        "crash.envoyfilter-crd" => (
            "the cluster has no EnvoyFilter (Istio is not installed)".into(),
            "Install Istio (OpenShift Service Mesh 3); then the controller starts.",
            Some("oc get crd envoyfilters.networking.istio.io".into()),
        ),
        "crash.manager" => (
            "its manager cannot start".into(),
            "Repair what the line names: access to the API server, RBAC, a missing CustomResourceDefinition.",
            None,
        ),
        "crash.broker-log-level" => (
            "BROKER_ROUTER_LOG_LEVEL is no number".into(),
            "Set BROKER_ROUTER_LOG_LEVEL of the controller to -4, 0, 4 or 8, or remove it.",
            Some(shell!(
                "oc -n {} set env deployment/mcp-gateway-controller BROKER_ROUTER_LOG_LEVEL-",
                namespace
            )),
        ),
        "crash.public-host" => (
            "it is started without --mcp-gateway-public-host".into(),
            "Undo the edit of the Deployment's command: delete the Deployment, the controller writes it again.",
            Some(shell!("oc -n {} delete deployment mcp-gateway", namespace)),
        ),
        "crash.redis-url" => (
            "the connection string of the session store cannot be parsed".into(),
            "Correct CACHE_CONNECTION_STRING in the session store's Secret: redis://user:password@host:port/db.",
            Some(shell!(
                "oc -n {} get mcpgatewayextension -o jsonpath='{{.items[*].spec.sessionStore.secretName}}'",
                namespace
            )),
        ),
        "crash.redis" => (
            format!("the session store cannot be reached: {}", class.describe()),
            "Make the session store reachable from the broker (Service, NetworkPolicy, password), or remove spec.sessionStore.",
            Some(shell!(
                "oc -n {} get mcpgatewayextension -o jsonpath='{{.items[*].spec.sessionStore.secretName}}'",
                namespace
            )),
        ),
        "crash.session-cache" => (
            "the session cache cannot be set up".into(),
            "Repair the session store that the line names.",
            None,
        ),
        "crash.signing-key" => (
            "the session signing key is not set".into(),
            "Let the controller create Secret mcp-gateway-session-signing-key again, and start the broker anew.",
            Some(shell!("oc -n {} get secret mcp-gateway-session-signing-key", namespace)),
        ),
        "crash.signing-key-short" => (
            "the session signing key is shorter than 32 bytes".into(),
            "Delete Secret mcp-gateway-session-signing-key; the controller creates a good one. All sessions end.",
            Some(shell!("oc -n {} delete secret mcp-gateway-session-signing-key", namespace)),
        ),
        "crash.ca-bundle" => (
            "its CA bundle cannot be used".into(),
            "Correct the Secret of spec.caCertBundleRef: PEM certificates of CAs, nothing else.",
            Some(shell!(
                "oc -n {} get mcpgatewayextension -o jsonpath='{{.items[*].spec.caCertBundleRef}}'",
                namespace
            )),
        ),
        "crash.config" => (
            "its configuration cannot be read".into(),
            "Delete Secret mcp-gateway-config; the controller writes it anew from the registrations.",
            Some(shell!("oc -n {} delete secret mcp-gateway-config", namespace)),
        ),
        "crash.flag" => (
            format!("it does not know the flag {}", record.field("flag")),
            "Remove the flag from the Deployment's command; it belongs to another version.",
            Some(shell!(
                "oc -n {} get deployment -o jsonpath='{{.items[*].spec.template.spec.containers[*].command}}'",
                namespace
            )),
        ),
        "crash.inotify" => (
            "the node's limit of inotify instances is reached".into(),
            "Raise fs.inotify.max_user_instances on the nodes (512 or more).",
            Some(inotify_command(node)),
        ),
        "crash.panic" | "crash.fatal" => (
            "a Go program panics".into(),
            "Report it with this line to the program's makers; a newer version may be repaired.",
            None,
        ),
        "crash.python" => {
            ("a Python program ends with an exception".into(), "Repair what the traceback names.", None)
        }
        "crash.node" => (
            "a Node.js program lacks a module".into(),
            "Rebuild the image with all of its dependencies.",
            None,
        ),
        "crash.java" => {
            ("a Java program ends with an exception".into(), "Repair what the exception names.", None)
        }
        "crash.exec" => (
            "its program cannot be executed".into(),
            "Use an image for the node's architecture, with an executable entry point.",
            None,
        ),
        _ => return None,
    };
    Some((what, remedy.to_owned(), command))
}

/// The patch that takes a flag from a container's command or arguments, where the Deployment has it. Its value
/// goes with it, also where that is the next word.
fn without_flag(subject: &Subject<'_>, container: &str, flag: &str) -> Option<Command> {
    let object = subject.object?;
    let flag = flag.trim_start_matches('-');
    let containers = object.array("/spec/template/spec/containers");
    let at = containers.iter().position(|c| c.get("name").and_then(|n| n.as_str()) == Some(container))?;
    ["command", "args"].iter().find_map(|field| {
        let pointer = format!("/spec/template/spec/containers/{at}/{field}");
        let words: Vec<&str> = object.array(&pointer).iter().filter_map(|w| w.as_str()).collect();
        let is_flag = |word: &&str| {
            word.starts_with('-') && word.trim_start_matches('-').split('=').next() == Some(flag)
        };
        let place = words.iter().position(is_flag).filter(|_| !flag.is_empty())?;
        let value = !words[place].contains('=') && words.get(place + 1).is_some_and(|w| !w.starts_with('-'));
        let steps: Vec<_> = std::iter::once(place)
            .chain(value.then_some(place + 1))
            .rev()
            .flat_map(|index| {
                let path = format!("{pointer}/{index}");
                [
                    serde_json::json!({"op": "test", "path": path, "value": words[index]}),
                    serde_json::json!({"op": "remove", "path": path}),
                ]
            })
            .collect();
        // A quote would end the argument of the shell.
        let patch = serde_json::Value::from(steps).to_string().replace('\'', "\\u0027");
        Some(shell!(
            "{} patch {} --type=json -p {}",
            evidence::oc(&subject.owner),
            evidence::resource(&subject.owner),
            patch
        ))
    })
}

/// The crash that the log of a container's last run ends with.
fn last_words(log: &LogFile) -> Option<&Record> {
    // The specific ones stand before the general ones in the catalogue, but not in a log.
    let general = |r: &Record| matches!(r.template, "crash.panic" | "crash.fatal");
    let crashes = || log.digest.records.iter().filter(|r| r.template.starts_with("crash."));
    crashes().find(|r| !general(r)).or_else(|| crashes().next())
}

/// Whether the broker ended the way it does at the inotify limit: at once, without a word.
fn ended_silently(container: &Container<'_>, log: &LogFile) -> bool {
    let Some((end, _)) = container.last_end() else { return false };
    let short = match (end.started, end.finished) {
        (Some(started), Some(finished)) => (finished - started).num_seconds() <= 15,
        _ => false,
    };
    let quiet = log.tail.iter().all(|(_, line)| {
        line.trim().is_empty()
            || format::parse(line.as_bytes())
                .is_some_and(|p| p.time.is_some() && matches!(p.level, Level::Info | Level::Debug))
    });
    end.exit_code == Some(1) && short && quiet && log.lines > 0
}

fn known_crash(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &KNOWN_CRASH, findings);
    let workloads = context.workloads();
    for subject in context.subjects() {
        let mut faults = Vec::new();
        for pod in subject.pods.iter().copied() {
            for container in containers(pod) {
                if container.kind == ContainerKind::Ephemeral {
                    continue;
                }
                let failed = container.last_end().is_some_and(|(end, _)| !end.succeeded());
                if !failed {
                    continue;
                }
                // A crash of days ago that never came back is history.
                if let (Some(now), Some((end, _))) = (context.now, container.last_end())
                    && end.finished.is_some_and(|at| now - at > chrono::TimeDelta::hours(24))
                    && container.is_ready()
                {
                    continue;
                }
                let previous = workloads.log_of(pod, container.name, true);
                let current =
                    workloads.log_of(pod, container.name, false).filter(|_| !container.is_running());
                let Some(log) = current.or(previous).filter(|log| log.lines > 0) else { continue };
                let record = last_words(log).or_else(|| previous.and_then(last_words));
                let log =
                    if record.is_some() && last_words(log).is_none() { previous.unwrap_or(log) } else { log };
                let namespace = pod.namespace();
                let broker = subject.roles.contains(&Role::Component(Component::Broker));
                let (what, remedy, command, line) = match record {
                    Some(record) => {
                        let Some((what, remedy, command)) =
                            explain(record, namespace, pod.str("/spec/nodeName"))
                        else {
                            continue;
                        };
                        (what, remedy, command, Some(evidence::record(log, record)))
                    }
                    None if broker && ended_silently(&container, log) => (
                        "it ends at once without a word, as at the node's limit of inotify instances"
                            .to_owned(),
                        "Raise fs.inotify.max_user_instances on the nodes (512 or more).".to_owned(),
                        Some(inotify_command(pod.str("/spec/nodeName"))),
                        None,
                    ),
                    None => continue,
                };
                let removed = record
                    .filter(|record| record.template == "crash.flag")
                    .and_then(|record| without_flag(subject, container.name, record.field("flag")));
                let command = removed.or(command);
                let mut shown: Vec<_> = line.into_iter().collect();
                if let Some((end, pointer)) = container.last_end() {
                    shown.push(super::ended(pod, &end, &pointer));
                }
                shown.extend(evidence::last_lines(log, 2));
                faults.push(PodFault {
                    pod,
                    key: format!("{} {what}", container.name),
                    what: format!("{} crashes: {what}", container.describe()),
                    evidence: shown,
                    remedy,
                    commands: command.into_iter().collect(),
                });
            }
        }
        report_faults(&KNOWN_CRASH, subject, faults, findings, |draft, fault| {
            draft.command(shell!("{} describe {}", oc(&subject.owner), resource(&subject.owner)));
            draft.verify(wait_command(&subject.owner));
            if OBSOLETE_FLAGS.iter().any(|flag| fault.key.ends_with(&format!(" -{flag}"))) {
                draft.because_of(&["MG315"], subject.owner.clone());
            }
        });
    }
}
