//! MG217: statuses that are older than their specs, or contradict them.

use super::{PARENT_CODES, gateway_reference};
use crate::declare_rule;
use crate::model::Object;
use crate::model::gateway_api::{Attachment, Outcome, Verdict, conflicts, status};
use crate::model::kuadrant::Policy;
use crate::model::workloads::Component;
use crate::rules::policies::{auth_policies, leads_nowhere};
use crate::rules::{Context, Draft, Findings};
use crate::shell::shell;

declare_rule! {
    /// A status is older than its spec, or contradicts it
    ///
    /// ## What it means
    /// The controller is not reconciling the object: what the status says is about an older spec, is missing,
    /// or does not follow from the specs as they are.
    ///
    /// ## How it is decided
    /// For objects of the MCP chain that are at least a minute old:
    ///
    /// - Gateways: no conditions at all, or `Accepted` or `Programmed` with an `observedGeneration` below
    ///   `metadata.generation`.
    /// - HTTPRoutes: a parentRef that the specs accept and that has no entry with the condition `Accepted` in
    ///   `status.parents` (entries of policy controllers have none); an `Accepted` of an older generation; an
    ///   entry `Accepted=True` of this generation for a parentRef that the specs refuse.
    /// - AuthPolicies: no conditions, a status or condition of an older generation, or `Accepted=True`
    ///   although the target or section does not exist.
    ///
    /// `ResolvedRefs` is not compared: istiod does not look whether a Service has the port.
    ///
    /// ## Causes
    /// istiod is down, of another revision, or cannot write statuses (MG209); for policies the Kuadrant
    /// operator (MG804); the change is seconds old.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get httproute NAME -o yaml`, and compare `metadata.generation` with each
    /// `observedGeneration`; `oc get deployments -A -l app=istiod`, and look at istiod's log.
    ///
    /// ## How to fix
    /// Bring the control plane back. A touched annotation makes it look again:
    /// `oc -n NAMESPACE annotate httproute NAME oc-mcpgw/touched="$(date -u +%s)" --overwrite`.
    ///
    /// ## When it may be a false alarm
    /// An older object that was changed within seconds of the collection, or a Gateway or namespace that
    /// decides about it.
    pub(super) static STATUS_STALE = {
        code: "MG217", name: "status-stale", severity: Warning, section: "1.2.2",
        needs: ["httproutes", "gateways", "namespaces", "mcpgatewayextensions", "authpolicies"], since: "0.1.0",
        caused_by: ["MG209", "MG201", "MG207", "MG102", "MG107", "MG804", "MG802", "MG803"], check: status_stale,
    }
}

fn status_stale(context: &Context<'_>, findings: &mut Findings) {
    for gateway in crate::rules::gateways::in_chain(context) {
        if context.is_younger(gateway, 60) {
            continue;
        }
        if gateway.get("/status/conditions").is_none() {
            stale(findings, gateway, "has no status", gateway.evidence("/status"));
            continue;
        }
        let old = ["Accepted", "Programmed"]
            .iter()
            .filter_map(|kind| gateway.condition(kind))
            .find(|condition| status::is_stale(gateway, condition));
        if let Some(condition) = old {
            let pointer = format!("/status/conditions/{}/observedGeneration", condition.index);
            let draft =
                stale(findings, gateway, "has a status of an older generation", gateway.evidence(&pointer));
            draft.evidence(gateway.evidence("/metadata/generation"));
        }
    }
    for policy in auth_policies(context) {
        stale_policy(context, findings, &policy);
    }
    for facts in context.chain().routes.values() {
        if context.is_younger(facts.object, 60) {
            continue;
        }
        for attachment in &facts.attachments {
            stale_route(findings, facts.object, attachment);
        }
    }
}

/// An AuthPolicy that the Kuadrant operator has not looked at since it was changed.
fn stale_policy(context: &Context<'_>, findings: &mut Findings, policy: &Policy<'_>) {
    let attached_to_nothing = leads_nowhere(context, policy);
    let policy = policy.object;
    if context.is_younger(policy, 60) || policy.is_manifest() {
        return;
    }
    let name = policy.full_name();
    let old = policy.conditions().find(|condition| status::is_stale(policy, condition));
    let observed = policy.int("/status/observedGeneration").zip(policy.generation());
    let (what, evidence) = if policy.conditions().next().is_none() {
        ("has no status", policy.evidence("/status/conditions"))
    } else if observed.is_some_and(|(observed, generation)| observed < generation) {
        ("has a status of an older generation", policy.evidence("/status/observedGeneration"))
    } else if let Some(condition) = old {
        let pointer = format!("/status/conditions/{}/observedGeneration", condition.index);
        ("has a status of an older generation", policy.evidence(&pointer))
    } else if let Some(accepted) = policy.condition("Accepted").filter(|c| c.is_true() && attached_to_nothing)
    {
        let pointer = format!("/status/conditions/{}", accepted.index);
        ("says accepted, but is attached to nothing", policy.evidence(&pointer))
    } else {
        return;
    };
    let draft = findings.report(
        &STATUS_STALE,
        policy,
        format!("AuthPolicy {name} {what}"),
        evidence,
        "The Kuadrant operator has not looked at the policy since: see whether it runs and what it logs.",
    );
    draft.evidence(policy.evidence("/metadata/generation"));
    if attached_to_nothing {
        draft.because_of(&["MG802", "MG803"], policy.reference());
    }
    for operator in context.workloads().deployments_of(Component::KuadrantOperator) {
        draft.because_of(&["MG804"], operator.reference()).command(shell!(
            "oc -n {} logs deployment/{} --tail=50",
            operator.namespace(),
            operator.name()
        ));
    }
    draft.verify(shell!(
        "oc -n {} get authpolicy {} -o jsonpath='{{.metadata.generation}} {{.status.observedGeneration}}'",
        policy.namespace(),
        policy.name()
    ));
}

fn stale_route(findings: &mut Findings, route: &Object, attachment: &Attachment<'_>) {
    let outcome = attachment.outcome();
    let parent = format!("Gateway {}/{}", attachment.parent.namespace, attachment.parent.name);
    // Other controllers (Kuadrant's policies) have entries of their own, which say nothing of acceptance.
    let entries: Vec<_> = status::of_parent(route, &attachment.parent)
        .filter_map(|entry| Some((entry.condition("Accepted")?, entry)))
        .collect();
    if entries.is_empty() {
        if outcome == Outcome::Accepted {
            let what = format!("has no status for its parent {parent}, although the specs fit");
            let draft = stale(findings, route, &what, route.evidence("/status/parents"));
            draft.object(gateway_reference(attachment));
            // Nothing attaches to a listener that gives way to another.
            if meets_refused_listeners_only(attachment) {
                draft.because_of(&["MG207"], gateway_reference(attachment));
            }
        }
        return;
    }
    for (condition, entry) in entries {
        let pointer = entry.pointer(&condition);
        if status::is_stale(route, &condition) {
            let evidence = route.evidence(&format!("{pointer}/observedGeneration"));
            stale(findings, route, &format!("has a status of an older generation for {parent}"), evidence)
                .evidence(route.evidence("/metadata/generation"));
            continue;
        }
        let refused = match outcome {
            Outcome::NoGateway | Outcome::NoListener | Outcome::NoHostname | Outcome::NotAllowed => true,
            Outcome::Accepted | Outcome::Foreign | Outcome::Unknown(_) => false,
        };
        if refused && condition.is_true() {
            let what = format!("says accepted by {parent}, but the specs do not fit");
            stale(findings, route, &what, route.evidence(&pointer))
                .object(gateway_reference(attachment))
                .because_of(PARENT_CODES, route.reference());
        }
    }
}

/// Whether the listeners that would take a route are all refused for a conflict with others.
fn meets_refused_listeners_only(attachment: &Attachment<'_>) -> bool {
    let listeners: Vec<_> = attachment.listeners.iter().map(|(listener, _)| *listener).collect();
    let refused = conflicts(&listeners);
    let taking = attachment.listeners.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Accepts(_)));
    let mut all = taking.map(|(listener, _)| refused.iter().any(|c| c.later == listener.index)).peekable();
    all.peek().is_some() && all.all(|refused| refused)
}

fn stale<'f>(
    findings: &'f mut Findings,
    object: &Object,
    what: &str,
    evidence: crate::report::Evidence,
) -> &'f mut Draft {
    let (namespace, name, kind) = (object.namespace(), object.name(), object.kind());
    let draft = findings.report(
        &STATUS_STALE,
        object,
        format!("{kind} {namespace}/{name} {what}"),
        evidence,
        "The controller that should write this status does not: check istiod (is it running, is it of the \
         revision of this Gateway, may it write statuses), then touch the object to make it look again.",
    );
    let touch = shell!(
        "oc -n {} annotate {} {} oc-mcpgw/touched=\"$(date -u +%s)\" --overwrite",
        namespace,
        kind.to_lowercase(),
        name
    );
    draft.command("oc get deployments -A -l app=istiod").command(touch).verify(shell!(
        "oc -n {} get {} {} -o jsonpath='{{.metadata.generation}} {{.status}}'",
        namespace,
        kind.to_lowercase(),
        name
    ));
    draft
}
