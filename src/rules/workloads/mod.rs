//! MG101-MG111: pods, containers, Deployments.
//!
//! Only workloads that the MCP gateway needs are judged ([`crate::model::workloads::interest`]),
//! and each is judged once: pods of one Deployment with the same fault make one finding.

mod admission;
mod crashes;
mod health;
mod placement;
mod start;

pub(super) use start::grant_commands;
use std::collections::BTreeMap;

use super::{Context, Draft, Findings, Rule};
use crate::model::json::Value;
use crate::model::workloads::container::Ended;
use crate::model::workloads::{Container, Role, Workloads, interest, is_over};
use crate::model::{Missing, Object, Seen, kinds};
use crate::report::{Evidence, ObjectRef};
use crate::shell::{Command, shell};

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &start::IMAGE_PULL,
    &start::CRASH_LOOP,
    &placement::PENDING,
    &start::INIT_CONTAINER_FAILURE,
    &health::RESTARTS,
    &health::NOT_READY,
    &health::NO_REPLICAS,
    &crashes::KNOWN_CRASH,
    &admission::NODE_TROUBLE,
    &admission::CONTAINER_CONFIG,
    &admission::ADMISSION_DENIED,
];

/// A workload that must run, with all the reasons why.
pub(super) struct Subject<'a> {
    /// What the workload does.
    pub(super) roles: Vec<Role>,
    /// The top of the owner chain.
    pub(super) owner: ObjectRef,
    /// Its object.
    pub(super) object: Option<&'a Object>,
    /// Its pods that should be running: neither completed nor being deleted.
    pub(super) pods: Vec<&'a Object>,
}

impl Subject<'_> {
    /// `MCP broker and router`, what the workload is in a sentence.
    pub(super) fn role(&self) -> String {
        self.roles.iter().map(Role::describe).collect::<Vec<_>>().join(", ")
    }
}

/// The workloads that must run, each once; rules ask the context, which keeps them.
pub(super) fn subjects<'a>(context: &Context<'a>) -> Vec<Subject<'a>> {
    let mut by_owner: BTreeMap<ObjectRef, Subject<'a>> = BTreeMap::new();
    for interest in context.workloads().interest() {
        let subject = by_owner.entry(interest.owner.clone()).or_insert_with(|| Subject {
            roles: Vec::new(),
            owner: interest.owner.clone(),
            object: interest.object,
            pods: Vec::new(),
        });
        if !subject.roles.contains(&interest.role) {
            subject.roles.push(interest.role.clone());
        }
        for pod in interest.pods.iter().filter(|pod| !is_over(pod)) {
            if !subject.pods.iter().any(|known| std::ptr::eq(*known, *pod)) {
                subject.pods.push(pod);
            }
        }
    }
    by_owner.into_values().collect()
}

/// Says for each gap in the evidence that leads to the workloads that the rule cannot tell.
pub(super) fn say_what_is_missing(context: &Context<'_>, rule: &'static Rule, findings: &mut Findings) {
    for missing in context.workload_gaps() {
        findings.cannot_tell(rule, missing.clone());
    }
}

/// The gaps in the chain registration → route → Service → pods, extension → Gateway → pods.
pub(super) fn gaps(workloads: &Workloads<'_>) -> Vec<Missing> {
    let bundle = workloads.bundle();
    let mut gaps = Vec::new();
    let mut namespaces = std::collections::BTreeSet::new();
    for kind in [&kinds::MCP_GATEWAY_EXTENSION, &kinds::MCP_SERVER_REGISTRATION] {
        if bundle.list(kind).next().is_none() {
            gaps.extend(bundle.collected(kind, None).err());
        }
    }
    for registration in bundle.list(&kinds::MCP_SERVER_REGISTRATION) {
        let name = registration.str("/spec/targetRef/name");
        if let Seen::Unknown(missing) = bundle.find(&kinds::HTTP_ROUTE, registration.namespace(), name) {
            gaps.push(missing);
        }
    }
    for (namespace, name) in interest::backend_services(workloads) {
        match bundle.find(&kinds::SERVICE, namespace, name) {
            Seen::Unknown(missing) => gaps.push(missing),
            Seen::Found(_) => {
                namespaces.insert(namespace);
            }
            Seen::Absent => {}
        }
    }
    for extension in bundle.list(&kinds::MCP_GATEWAY_EXTENSION) {
        namespaces.insert(extension.namespace());
        let namespace = Some(extension.str("/spec/targetRef/namespace")).filter(|ns| !ns.is_empty());
        let namespace = namespace.unwrap_or_else(|| extension.namespace());
        match bundle.find(&kinds::GATEWAY, namespace, extension.str("/spec/targetRef/name")) {
            Seen::Unknown(missing) => gaps.push(missing),
            Seen::Found(_) => {
                namespaces.insert(namespace);
            }
            Seen::Absent => {}
        }
    }
    for interest in workloads.interest() {
        if let Some(namespace) = interest.owner.namespace.as_deref() {
            namespaces.insert(namespace);
        }
    }
    for namespace in namespaces {
        gaps.extend(bundle.collected(&kinds::POD, Some(namespace)).err());
    }
    gaps.sort();
    gaps.dedup();
    gaps
}

/// One fault of one pod, before pods of the same workload are put together.
pub(super) struct PodFault<'a> {
    /// The pod.
    pub(super) pod: &'a Object,
    /// Faults with equal keys are the same fault of different pods.
    pub(super) key: String,
    /// What is wrong, to stand after the owner's name in the title.
    pub(super) what: String,
    /// What was observed. Never empty.
    pub(super) evidence: Vec<Evidence>,
    /// What to do, in words.
    pub(super) remedy: String,
    /// What to do, to paste.
    pub(super) commands: Vec<Command>,
}

/// Reports the faults of a workload's pods, one finding per different fault.
pub(super) fn report_faults<'f>(
    rule: &'static Rule,
    subject: &Subject<'_>,
    faults: Vec<PodFault<'_>>,
    findings: &'f mut Findings,
    mut more: impl FnMut(&mut Draft, &PodFault<'_>),
) -> &'f mut Findings {
    let mut groups: BTreeMap<String, Vec<PodFault<'_>>> = BTreeMap::new();
    for fault in faults {
        groups.entry(fault.key.clone()).or_default().push(fault);
    }
    for group in groups.into_values() {
        let total = subject.pods.len();
        let first = &group[0];
        let pods = match (group.len(), total) {
            (1, 1) => String::new(),
            (some, all) => format!(" ({some} of {all} pods)"),
        };
        let title = format!("{}: {}{pods}", subject.owner, first.what);
        let remedy = format!("{} Affected: {}.", first.remedy, subject.role());
        let Some(evidence) = first.evidence.first().cloned() else { continue };
        let draft = findings.report_on(rule, subject.owner.clone(), title, evidence, remedy);
        for fault in &group {
            draft.object(fault.pod.reference());
            // The first pod shows everything, its siblings only where the same stands.
            let shown = if std::ptr::eq(fault, first) { fault.evidence.len() } else { 1 };
            for evidence in fault.evidence.iter().take(shown).cloned() {
                draft.evidence(evidence);
            }
        }
        for command in &first.commands {
            draft.command(command.clone());
        }
        more(draft, first);
    }
    findings
}

/// What a container waits for, field by field.
pub(super) fn waits(pod: &Object, container: &Container<'_>) -> Vec<Evidence> {
    let fields =
        ["state/waiting/reason", "state/waiting/message"].map(|field| container.status_pointer(field));
    let set = fields.iter().filter(|pointer| !pod.str(pointer).is_empty());
    let shown: Vec<Evidence> = set.map(|pointer| pod.evidence(pointer)).collect();
    if shown.is_empty() { vec![pod.evidence(&container.status_pointer("state/waiting"))] } else { shown }
}

/// How a container ended: the reason or the exit code, with the rest as the note.
pub(super) fn ended(pod: &Object, end: &Ended<'_>, pointer: &str) -> Evidence {
    let field = if end.reason.is_empty() { "exitCode" } else { "reason" };
    let mut note = end.describe();
    if let Some(at) = end.finished {
        note.push_str(&format!(", at {}", super::evidence::time(at)));
    }
    Evidence { note: Some(note), ..pod.evidence(&format!("{pointer}/{field}")) }
}

/// Doubles the memory limit of a container, where the workload's template can be changed.
pub(super) fn raise_memory(owner: &ObjectRef, pod: &Object, container: &str) -> Option<Command> {
    if !matches!(owner.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet") {
        return None;
    }
    let name = |c: &&Value| c.get("name").and_then(Value::as_str) == Some(container);
    let limit =
        pod.array("/spec/containers").iter().find(name)?.pointer("/resources/limits/memory")?.as_str()?;
    Some(shell!(
        "{} set resources {} -c {} --limits=memory={}",
        super::evidence::oc(owner),
        super::evidence::resource(owner),
        container,
        super::remedy::doubled(limit)?
    ))
}

/// The command that waits for the workload to be well again.
pub(super) fn wait_command(owner: &ObjectRef) -> Command {
    let namespace = owner.namespace.as_deref().unwrap_or_default();
    match owner.kind.as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" => {
            shell!("oc -n {} rollout status {} --timeout=120s", namespace, super::evidence::resource(owner))
        }
        _ => shell!(
            "oc -n {} wait --for=condition=Ready {} --timeout=120s",
            namespace,
            super::evidence::resource(owner)
        ),
    }
}
