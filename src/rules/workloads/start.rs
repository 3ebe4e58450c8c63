//! MG101, MG102, MG104: containers that do not start or do not stay up.

use chrono::TimeDelta;

use super::{PodFault, report_faults, say_what_is_missing, wait_command};
use crate::declare_rule;
use crate::model::logs::Denial;
use crate::model::workloads::container::IMAGE_REASONS;
use crate::model::workloads::{Container, ContainerKind, Workloads, containers};
use crate::model::{Missing, Object};
use crate::report::ObjectRef;
use crate::rules::evidence::{self, oc, resource, short};
use crate::rules::{Context, Findings};
use crate::shell::{Command, shell};

declare_rule! {
    /// A container image cannot be pulled
    ///
    /// ## What it means
    /// The kubelet cannot get the image of a container that the MCP gateway needs, so the container
    /// never starts. While it is the broker's, nothing that uses the gateway's listener port works.
    ///
    /// ## How it is decided
    /// A container (init containers too) of a pod that the MCP gateway needs waits with
    /// `ErrImagePull`, `ImagePullBackOff`, `InvalidImageName`, `ErrImageNeverPull`,
    /// `ImageInspectError`, `RegistryUnavailable` or `SignatureValidationFailed`. The kubelet's
    /// message tells the causes apart.
    ///
    /// ## Causes
    /// - No or wrong credentials: `unauthorized`, `denied`, `authentication required`.
    /// - A wrong name or tag: `not found`, `manifest unknown`, `InvalidImageName`.
    /// - The registry cannot be reached from the node: DNS, timeout, refused, proxy, mirror.
    /// - The registry's certificate is not trusted: `x509`.
    /// - The image exists, but not for the node's architecture: `no matching manifest`.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe pod POD` shows the event with the registry's answer.
    ///
    /// ## How to fix
    /// Give the pod's service account a pull secret for the registry, correct the image, or add a
    /// mirror (`ImageDigestMirrorSet`). The image of the broker comes from the controller's variable
    /// `RELATED_IMAGE_ROUTER_BROKER`; change it there (or in the operator's Subscription), because
    /// the controller writes the broker's Deployment again.
    ///
    /// ## When it may be a false alarm
    /// The registry was down for a moment and the next try succeeds by itself.
    pub(super) static IMAGE_PULL = {
        code: "MG101", name: "image-pull", severity: Error, section: "1.1",
        needs: ["pods", "events", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: ["MG109"],
        check: image_pull,
    }
}

fn image_pull(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &IMAGE_PULL, findings);
    let workloads = context.workloads();
    for subject in context.subjects() {
        let mut faults = Vec::new();
        for pod in subject.pods.iter().copied() {
            for container in containers(pod) {
                let Some((reason, message)) = container.waiting() else { continue };
                if !IMAGE_REASONS.contains(&reason) {
                    continue;
                }
                let events = workloads.events_of(&pod.reference());
                let event = evidence::latest(&events, &["Failed", "InspectFailed", "ErrImageNeverPull"]);
                let said = format!("{message} {}", event.map(|e| e.str("/message")).unwrap_or_default());
                let namespace = pod.namespace();
                let account = Some(pod.str("/spec/serviceAccountName")).filter(|a| !a.is_empty());
                let account = account.unwrap_or("default");
                let image = container.image();
                let (why, remedy, command) = explain_pull(reason, &said, namespace, account, image);
                let mut commands = vec![command];
                if why == DENIED {
                    commands = pull_secret(&subject.owner, namespace, account, image);
                }
                let mut shown = super::waits(pod, &container);
                if !container.spec_pointer.is_empty() {
                    shown.push(pod.evidence(&format!("{}/image", container.spec_pointer)));
                }
                shown.extend(event.map(evidence::event));
                faults.push(PodFault {
                    pod,
                    key: format!("{} {image} {why}", container.name),
                    what: format!("{} cannot pull {} ({why})", container.describe(), short(image, 80)),
                    evidence: shown,
                    remedy,
                    commands: std::iter::once(shell!("oc -n {} describe pod {}", namespace, pod.name()))
                        .chain(commands)
                        .collect(),
                });
            }
        }
        report_faults(&IMAGE_PULL, subject, faults, findings, |draft, _| {
            draft.verify(wait_command(&subject.owner));
        });
    }
}

/// The registry wants credentials, or others.
const DENIED: &str = "access is denied";

/// Makes a pull secret from a file of credentials, gives it to the service account, and starts the pods anew:
/// a pod takes over the pull secrets of its account when it is created.
fn pull_secret(owner: &ObjectRef, namespace: &str, account: &str, image: &str) -> Vec<Command> {
    let registry = image.split('/').next().filter(|r| r.contains(['.', ':'])).unwrap_or("docker.io");
    let name = format!("pull-{}", registry.replace([':', '_'], "-").to_ascii_lowercase());
    let mut commands = vec![
        shell!(
            "oc -n {} create secret generic {} --type=kubernetes.io/dockerconfigjson \
             --from-file=.dockerconfigjson=\"${{DOCKER_CONFIG_FILE}}\"",
            namespace,
            name
        ),
        shell!("oc -n {} secrets link {} {} --for=pull", namespace, account, name),
    ];
    if matches!(owner.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet") {
        commands.push(shell!("{} rollout restart {}", evidence::oc(owner), evidence::resource(owner)));
    }
    commands
}

/// Why an image cannot be pulled: the cause, what to do, and a command.
fn explain_pull(
    reason: &str,
    message: &str,
    namespace: &str,
    account: &str,
    image: &str,
) -> (&'static str, String, Command) {
    let lower = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let registry = image.split('/').next().filter(|r| r.contains(['.', ':'])).unwrap_or("the registry");
    let show_image = shell!(
        "oc -n {} get pods -o custom-columns=POD:.metadata.name,IMAGE:.spec.containers[*].image",
        namespace
    );
    if reason == "InvalidImageName" {
        return ("the name is invalid", format!("Correct the image name `{image}`."), show_image);
    }
    if reason == "ErrImageNeverPull" {
        return (
            "imagePullPolicy is Never and the node does not have it",
            "Set imagePullPolicy to IfNotPresent, or load the image onto the node.".to_owned(),
            show_image,
        );
    }
    if reason == "SignatureValidationFailed" || has(&["signature", "policy.json"]) {
        return (
            "the signature is not accepted",
            "Use a signed image, or add the signer to the cluster's image policy.".to_owned(),
            show_image,
        );
    }
    if has(&["no matching manifest", "no image found in manifest list", "exec format"]) {
        return (
            "it does not exist for the node's architecture",
            "Use an image built for the architecture of the nodes, or restrict the pod to fitting nodes."
                .to_owned(),
            "oc get nodes -L kubernetes.io/arch".into(),
        );
    }
    if has(&["unauthorized", "authentication required", "denied", "forbidden", "401", "403", "no basic auth"])
    {
        return (
            DENIED,
            format!("Give service account {account} a pull secret for {registry}."),
            shell!("oc -n {} get serviceaccount {} -o yaml", namespace, account),
        );
    }
    if has(&["manifest unknown", "not found", "does not exist", "name unknown", "404"]) {
        return (
            "it does not exist in the registry",
            format!("Correct repository and tag of `{image}`, or push it."),
            show_image,
        );
    }
    if has(&["x509", "certificate", "tls"]) {
        return (
            "the registry's certificate is not trusted",
            format!("Add the CA of {registry} to the cluster's trusted CAs."),
            "oc get image.config.openshift.io/cluster -o yaml".into(),
        );
    }
    if has(&[
        "no such host",
        "timeout",
        "deadline exceeded",
        "connection refused",
        "no route",
        "unreachable",
        "eof",
    ]) {
        return (
            "the registry is not reached",
            format!(
                "Make {registry} reachable from the nodes (DNS, proxy, firewall), or configure a mirror."
            ),
            "oc get imagedigestmirrorset,imagetagmirrorset".into(),
        );
    }
    if has(&["toomanyrequests", "rate limit"]) {
        return (
            "the registry limits the rate",
            format!("Use credentials for {registry}, or a mirror."),
            show_image,
        );
    }
    ("see the message", "Read the kubelet's message and event.".to_owned(), show_image)
}

declare_rule! {
    /// A container crashes again and again
    ///
    /// ## What it means
    /// A container that the MCP gateway needs ends soon after its start, and the kubelet waits longer
    /// and longer before it tries again.
    ///
    /// ## How it is decided
    /// One of: the container waits with `CrashLoopBackOff`; it has ended with an error and was
    /// restarted before; it was restarted at least three times, the last time within ten minutes
    /// before the collection, and its last run ended with an error. The finding quotes how the last
    /// run ended and the last lines of its log, and names the crash when it is a known one (MG108).
    ///
    /// ## Causes
    /// The log of the previous run tells. Exit code 137 with `OOMKilled`: the memory limit. 1 or 2:
    /// the program gave up, commonly for a bad flag, a missing Secret or an unreachable dependency.
    /// 126/127: the command does not exist in the image. 139: a segmentation fault.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs POD -c CONTAINER --previous`
    ///
    /// ## How to fix
    /// Repair what the log names; MG108 has the remedy for known crashes.
    ///
    /// ## When it may be a false alarm
    /// Something the container needs came up late and the container has been running since.
    pub(super) static CRASH_LOOP = {
        code: "MG102", name: "crash-loop", severity: Error, section: "1.1",
        needs: ["pods", "previous logs", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: ["MG108", "MG109"],
        check: crash_loop,
    }
}

/// Whether a container that should keep running crashes again and again.
pub(super) fn is_crash_loop(container: &Container<'_>, context: &Context<'_>) -> bool {
    if container.waiting().is_some_and(|(reason, _)| reason == "CrashLoopBackOff") {
        return true;
    }
    if let Some(end) = container.terminated() {
        return container.restarts() > 0 && !end.succeeded();
    }
    let (Some(end), Some(now)) = (container.last_terminated(), context.now) else { return false };
    container.restarts() >= 3
        && !end.succeeded()
        && !container.is_ready()
        && end.finished.is_some_and(|at| now - at < TimeDelta::minutes(10))
}

fn crash_loop(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &CRASH_LOOP, findings);
    let workloads = context.workloads();
    for subject in context.subjects() {
        let mut faults = Vec::new();
        for pod in subject.pods.iter().copied() {
            for container in containers(pod) {
                let lives = matches!(container.kind, ContainerKind::Main | ContainerKind::Sidecar);
                if !lives || !is_crash_loop(&container, context) {
                    continue;
                }
                let mut shown = Vec::new();
                if container.waiting().is_some() {
                    shown.extend(super::waits(pod, &container));
                }
                let end = container.last_end();
                if let Some((end, pointer)) = &end {
                    shown.push(super::ended(pod, end, pointer));
                }
                shown.push(pod.evidence(&container.status_pointer("restartCount")));
                let (lines, missing) = crash_log(workloads, pod, &container);
                shown.extend(lines);
                if let Some(missing) = missing {
                    findings.cannot_tell(&CRASH_LOOP, missing);
                }
                let how = end.as_ref().map_or_else(|| "unknown reason".to_owned(), |(end, _)| end.describe());
                let memory = end.as_ref().is_some_and(|(end, _)| end.reason == "OOMKilled");
                let namespace = pod.namespace();
                faults.push(PodFault {
                    pod,
                    key: format!("{} {how}", container.name),
                    what: format!(
                        "{} crashes again and again ({how}, {} restarts)",
                        container.describe(),
                        container.restarts()
                    ),
                    evidence: shown,
                    remedy: if memory {
                        "Raise the container's memory limit; the kernel kills it for exceeding it.".to_owned()
                    } else {
                        "Repair what the last lines of the previous log name.".to_owned()
                    },
                    commands: std::iter::once(shell!(
                        "oc -n {} logs {} -c {} --previous --tail=50",
                        namespace,
                        pod.name(),
                        container.name
                    ))
                    .chain(super::raise_memory(&subject.owner, pod, container.name).filter(|_| memory))
                    .collect(),
                });
            }
        }
        report_faults(&CRASH_LOOP, subject, faults, findings, |draft, _| {
            draft.because_of(&["MG108"], subject.owner.clone());
            draft.verify(wait_command(&subject.owner));
        });
    }
}

/// The log that shows how a container ended: the previous run's, or the current one's while the
/// container does not run. Panics first, then the last lines; or what is missing.
pub(super) fn crash_log(
    workloads: &Workloads<'_>,
    pod: &Object,
    container: &Container<'_>,
) -> (Vec<crate::report::Evidence>, Option<Missing>) {
    let previous = workloads.log_of(pod, container.name, true);
    let current = workloads.log_of(pod, container.name, false).filter(|_| !container.is_running());
    let Some(log) = previous.or(current).filter(|log| log.lines > 0) else {
        return (
            Vec::new(),
            Some(Missing {
                what: format!(
                    "previous log of {} of pod {}: it is not in the bundle, so the reason of the crash is unknown",
                    container.describe(),
                    pod.full_name()
                ),
                how: shell!("oc -n {} logs {} -c {} --previous", pod.namespace(), pod.name(), container.name),
            }),
        );
    };
    let mut shown: Vec<_> = log
        .digest
        .records
        .iter()
        .filter(|r| r.template.starts_with("crash."))
        .map(|r| evidence::record(log, r))
        .collect();
    shown.extend(evidence::last_lines(log, if shown.is_empty() { 6 } else { 3 }));
    (shown, None)
}

declare_rule! {
    /// An init container fails or does not end
    ///
    /// ## What it means
    /// The containers of the pod do not start before every init container has ended with success.
    ///
    /// ## How it is decided
    /// An init container has ended with an error, waits with `CrashLoopBackOff`, or has been running
    /// for more than five minutes. Its log is searched for answers of the API server such as
    /// `User "system:serviceaccount:NS:NAME" cannot get resource "…"`, and the missing permission is
    /// named.
    ///
    /// ## Causes
    /// - The service account lacks a permission (RBAC).
    /// - A security context constraint does not allow what the container does.
    /// - What the container waits for (a database, a Service, a Secret) is not there.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs POD -c INIT-CONTAINER`, and `oc auth can-i VERB RESOURCE --as=system:serviceaccount:NS:NAME`.
    ///
    /// ## How to fix
    /// Grant the missing permission, or repair what the log names.
    ///
    /// ## When it may be a false alarm
    /// An init container whose work really takes longer than five minutes, such as a big migration.
    pub(super) static INIT_CONTAINER_FAILURE = {
        code: "MG104", name: "init-container-failure", severity: Error, section: "1.1",
        needs: ["pods", "logs", "mcpserverregistrations", "mcpgatewayextensions", "gateways", "httproutes", "services"], since: "0.1.0", caused_by: ["MG108", "MG109"],
        check: init_container_failure,
    }
}

/// How long an init container may run before it counts as stuck.
const INIT_LIMIT: TimeDelta = TimeDelta::minutes(5);

fn init_container_failure(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &INIT_CONTAINER_FAILURE, findings);
    let workloads = context.workloads();
    for subject in context.subjects() {
        let mut faults = Vec::new();
        for pod in subject.pods.iter().copied() {
            for container in containers(pod) {
                if container.kind != ContainerKind::Init {
                    continue;
                }
                let looping = container.waiting().is_some_and(|(reason, _)| reason == "CrashLoopBackOff");
                let failed = container.terminated().filter(|end| !end.succeeded());
                let stuck = match (container.running_since(), context.now) {
                    (Some(since), Some(now)) if now - since > INIT_LIMIT => Some(now - since),
                    _ => None,
                };
                if !looping && failed.is_none() && stuck.is_none() {
                    continue;
                }
                let mut shown = match container.running_since() {
                    Some(_) => vec![pod.evidence(&container.status_pointer("state/running/startedAt"))],
                    None if container.waiting().is_some() => super::waits(pod, &container),
                    None => Vec::new(),
                };
                if let Some((end, pointer)) = container.last_end() {
                    shown.push(super::ended(pod, &end, &pointer));
                }
                if shown.is_empty() {
                    shown.push(pod.evidence(&container.status_pointer("state")));
                }
                let what = match (stuck, container.last_end()) {
                    (Some(time), _) => format!("has not ended after {}", evidence::duration(time)),
                    (None, Some((end, _))) => format!("fails with {}", end.describe()),
                    (None, None) => "fails".to_owned(),
                };
                let logs: Vec<_> = [true, false]
                    .iter()
                    .filter_map(|previous| workloads.log_of(pod, container.name, *previous))
                    .filter(|log| log.lines > 0)
                    .collect();
                if logs.is_empty() {
                    findings.cannot_tell(
                        &INIT_CONTAINER_FAILURE,
                        Missing {
                            what: format!(
                                "log of {} of pod {}: it is not in the bundle, so why it fails is unknown",
                                container.describe(),
                                pod.full_name()
                            ),
                            how: shell!(
                                "oc -n {} logs {} -c {}",
                                pod.namespace(),
                                pod.name(),
                                container.name
                            ),
                        },
                    );
                }
                let mut remedy = "Repair what the log of the init container names.".to_owned();
                let mut commands =
                    vec![shell!("oc -n {} logs {} -c {}", pod.namespace(), pod.name(), container.name)];
                let denial = logs.iter().find_map(|log| {
                    let (line, text, denial) =
                        log.tail.iter().find_map(|(line, text)| Some((line, text, Denial::parse(text)?)))?;
                    Some((evidence::log_line(log, line, text, Some("the API server refuses")), denial))
                });
                let mut denied = String::new();
                if let Some((line, denial)) = denial {
                    shown.push(line);
                    denied = format!(": RBAC denies {} {} to {}", denial.verb, denial.resource, denial.user);
                    remedy = format!(
                        "Grant {} the permission to {} {}.",
                        denial.user, denial.verb, denial.resource
                    );
                    commands.extend(grant_commands(&denial));
                } else {
                    shown.extend(logs.first().into_iter().flat_map(|log| evidence::last_lines(log, 5)));
                }
                faults.push(PodFault {
                    pod,
                    key: format!("{} {what}", container.name),
                    what: format!("{} {what}{denied}", container.describe()),
                    evidence: shown,
                    remedy,
                    commands,
                });
            }
        }
        report_faults(&INIT_CONTAINER_FAILURE, subject, faults, findings, |draft, _| {
            draft.because_of(&["MG108"], subject.owner.clone());
            draft.command(shell!("{} describe {}", oc(&subject.owner), resource(&subject.owner)));
            draft.verify(wait_command(&subject.owner));
        });
    }
}

/// Commands that prove a refusal and grant the permission.
pub(in crate::rules) fn grant_commands(denial: &Denial) -> Vec<Command> {
    let Denial { user, verb, resource, namespace } = denial;
    let oc = namespace.as_ref().map_or(Command::from("oc"), |ns| shell!("oc -n {}", ns));
    let mut commands = vec![shell!("{} auth can-i {} {} --as={}", oc, verb, resource, user)];
    if let Some(account) = user.strip_prefix("system:serviceaccount:") {
        let subject = shell!("--serviceaccount={}", account);
        let name = format!("allow-{verb}-{}", resource.split('.').next().unwrap_or(resource));
        match namespace {
            Some(ns) => {
                commands.push(shell!(
                    "oc -n {} create role {} --verb={} --resource={}",
                    ns,
                    name,
                    verb,
                    resource
                ));
                commands.push(shell!("oc -n {} create rolebinding {} --role={} {}", ns, name, name, subject));
            }
            None => {
                commands.push(shell!(
                    "oc create clusterrole {} --verb={} --resource={}",
                    name,
                    verb,
                    resource
                ));
                commands.push(shell!(
                    "oc create clusterrolebinding {} --clusterrole={} {}",
                    name,
                    name,
                    subject
                ));
            }
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rbac_denials_are_read_in_plain_and_escaped_text() {
        let plain = r#"secrets is forbidden: User "system:serviceaccount:a:sa" cannot list resource "secrets" in API group "" in the namespace "a""#;
        let denial = Denial::parse(plain).expect("a denial");
        assert_eq!((denial.verb.as_str(), denial.resource.as_str()), ("list", "secrets"));
        assert_eq!(denial.namespace.as_deref(), Some("a"));
        assert!(grant_commands(&denial)[1].text().contains("create role allow-list-secrets"));
        let escaped = r#"level=ERROR msg="x" err="User \"u\" cannot create resource \"envoyfilters\" in API group \"networking.istio.io\" at the cluster scope""#;
        let denial = Denial::parse(escaped).expect("a denial");
        assert_eq!(denial.resource, "envoyfilters.networking.istio.io");
        assert!(denial.namespace.is_none());
        assert!(Denial::parse("you cannot do that").is_none());
    }

    #[test]
    fn the_cause_of_a_failed_pull_is_decided_from_the_message() {
        let cases = [
            (
                "ErrImagePull",
                "unauthorized: access to the requested resource is not authorized",
                "access is denied",
            ),
            (
                "ImagePullBackOff",
                "reading manifest v9 in quay.io/a/b: manifest unknown",
                "it does not exist in the registry",
            ),
            ("ErrImagePull", "dial tcp: lookup quay.io: no such host", "the registry is not reached"),
            (
                "ErrImagePull",
                "x509: certificate signed by unknown authority",
                "the registry's certificate is not trusted",
            ),
            ("InvalidImageName", "", "the name is invalid"),
        ];
        for (reason, message, expected) in cases {
            assert_eq!(explain_pull(reason, message, "n", "sa", "quay.io/a/b:v9").0, expected, "{message}");
        }
    }
}
