//! MG706, MG802, MG803, MG808: what a policy targets, and what its status says.

use serde_json::json;

use super::{behind, listener_names, say_what_is_missing};
use crate::declare_rule;
use crate::model::kuadrant::Policy;
use crate::model::workloads::Component;
use crate::model::{Missing, Object, Seen, kinds};
use crate::report::Severity;
use crate::rules::evidence::{resource, short};
use crate::rules::{Context, Findings, remedy, suggest};
use crate::shell::{Command, shell};

/// The command that shows a policy.
fn describe(policy: &Object) -> Command {
    shell!("oc -n {} describe {}", policy.namespace(), resource(&policy.reference()))
}

/// The command that waits for a condition of a policy.
fn wait(policy: &Object, condition: &str) -> Command {
    wait_in(policy.namespace(), policy, condition)
}

/// The same for its copy in another namespace.
fn wait_in(namespace: &str, policy: &Object, condition: &str) -> Command {
    shell!(
        "oc -n {} wait --for=condition={} {} --timeout=120s",
        namespace,
        condition,
        resource(&policy.reference())
    )
}

/// The object that a policy targets.
fn target<'a>(context: &Context<'a>, policy: &Policy<'_>) -> Option<Seen<'a>> {
    let kind = match policy.target_kind() {
        "Gateway" => &kinds::GATEWAY,
        "HTTPRoute" => &kinds::HTTP_ROUTE,
        _ => return None,
    };
    Some(context.bundle.find(kind, policy.object.namespace(), policy.target_name()))
}

declare_rule! {
    /// An AuthPolicy is not accepted
    ///
    /// ## What it means
    /// The Kuadrant operator does not take the policy: it has no effect, and what it should protect is open
    /// (or protected by a less specific policy only).
    ///
    /// ## How it is decided
    /// The condition `Accepted` of an AuthPolicy that concerns the MCP gateway is False. The reason is
    /// explained: `TargetNotFound` (MG802, MG803), `Conflicted` (of operators before 1.0, which took one
    /// policy per target: the older one is named), `MissingDependency`, or what the message says. The
    /// operator looks for what it depends on when it starts, so the times of its pod and of the
    /// CustomResourceDefinition tell whether a restart is enough.
    ///
    /// ## Causes
    /// A target or section that does not exist in the policy's own namespace; an older policy on the same
    /// target; Istio or Authorino installed after the operator was started.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe authpolicy NAME`
    ///
    /// ## How to fix
    /// Correct `spec.targetRef`, remove the conflicting policy, or restart the Kuadrant operator:
    /// `oc -n NAMESPACE rollout restart deployment/kuadrant-operator-controller-manager`.
    ///
    /// ## When it may be a false alarm
    /// A policy that is kept for later on purpose; for seconds after a change, as the age of the condition is
    /// not asked.
    pub(super) static AUTHPOLICY_NOT_ACCEPTED = {
        code: "MG706", name: "authpolicy-not-accepted", severity: Error, section: "1.7",
        needs: ["authpolicies", "mcpgatewayextensions"], since: "0.1.0", caused_by: ["MG802", "MG803", "MG804", "MG812"],
        check: authpolicy_not_accepted,
    }
}

fn authpolicy_not_accepted(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &AUTHPOLICY_NOT_ACCEPTED, findings);
    let all = context.policies();
    for policy in all.iter().filter(|p| p.object.kind() == "AuthPolicy") {
        let object = policy.object;
        let Some(condition) = object.condition("Accepted").filter(|c| c.is_false()) else { continue };
        let remedy = match condition.reason {
            "TargetNotFound" => {
                "Make spec.targetRef name a Gateway or HTTPRoute (and listener or rule) of the policy's own namespace."
            }
            "Conflicted" => "Keep one policy per target: delete or merge the newer one.",
            "MissingDependency" => "Install what the message names, then restart the Kuadrant operator.",
            _ => "Correct what the message names.",
        };
        let title = format!(
            "AuthPolicy {} is not accepted ({}): {}",
            object.full_name(),
            condition.reason,
            short(condition.message, 80)
        );
        let draft = findings.report(
            &AUTHPOLICY_NOT_ACCEPTED,
            object,
            title,
            object.evidence(&format!("/status/conditions/{}", condition.index)),
            remedy,
        );
        draft.evidence(object.evidence("/spec/targetRef"));
        draft.because_of(&["MG802", "MG803", "MG812"], object.reference());
        draft.command(describe(object));
        if condition.reason == "MissingDependency" {
            behind::missing_dependency(context, condition.message, draft);
        }
        if condition.reason == "Conflicted"
            && let Some(rival) = behind::rival(all, policy)
        {
            draft.object(rival.reference()).evidence(rival.evidence("/spec/targetRef"));
        }
        draft.verify(wait(object, "Accepted"));
    }
}

declare_rule! {
    /// A policy targets something that does not exist
    ///
    /// ## What it means
    /// A policy attaches only to an object of its own namespace; `targetRef` has no namespace. Nothing is
    /// protected by it.
    ///
    /// ## How it is decided
    /// For AuthPolicies, rate-limit and token-rate-limit policies in the namespaces of the MCP gateway (those
    /// of its Gateways, routes and extensions): the Gateway or HTTPRoute that `spec.targetRef` names is not
    /// in the policy's namespace, although all of them were collected. When it exists in other namespaces,
    /// that is said. Other kinds of targets are not judged.
    ///
    /// ## Causes
    /// The policy was made in the MCP gateway's namespace and the Gateway is in another; a typing error.
    ///
    /// ## How to confirm
    /// `oc get gateways,httproutes -A`
    ///
    /// ## How to fix
    /// Move the policy into the target's namespace (with the Secrets that it names), or target the HTTPRoute
    /// of its own namespace.
    ///
    /// ## When it may be a false alarm
    /// The target is created later by another tool. A policy of another application in one of these
    /// namespaces is reported as well.
    pub(super) static AUTHPOLICY_TARGET_MISSING = {
        code: "MG802", name: "authpolicy-target-missing", severity: Error, section: "1.8",
        needs: ["authpolicies", "gateways", "httproutes", "mcpgatewayextensions"], since: "0.1.0", caused_by: ["MG201"],
        check: authpolicy_target_missing,
    }
}

/// The namespace to which a policy whose target is elsewhere belongs: the only one that has an object of the name, or
/// that of the Gateway which an extension of the policy's own namespace targets.
fn home<'n>(context: &Context<'_>, policy: &Object, name: &str, elsewhere: &[&'n str]) -> Option<&'n str> {
    let own = |namespace: &str| {
        let mut extensions = context.chain().extensions.iter();
        extensions.any(|e| e.object.namespace() == policy.namespace() && e.target() == (namespace, name))
    };
    match elsewhere {
        [one] => Some(*one),
        several => several.iter().copied().find(|namespace| own(namespace)),
    }
}

fn authpolicy_target_missing(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &AUTHPOLICY_TARGET_MISSING, findings);
    for policy in context.policies() {
        let object = policy.object;
        match target(context, policy) {
            Some(Seen::Absent) => {}
            Some(Seen::Unknown(missing)) => {
                findings.cannot_tell(&AUTHPOLICY_TARGET_MISSING, missing);
                continue;
            }
            _ => continue,
        }
        let (kind, name) = (policy.target_kind(), policy.target_name());
        let elsewhere: Vec<&str> = context.named(kind, name).iter().map(|o| o.namespace()).collect();
        let (hint, remedy) = match home(context, object, name, &elsewhere) {
            None if !elsewhere.is_empty() => (
                format!("; it exists in namespaces {}", suggest::some(&elsewhere, 5)),
                "Create the policy in the namespace of its target: a policy cannot target another namespace."
                    .to_owned(),
            ),
            Some(namespace) => (
                format!("; it exists in namespace {namespace}"),
                format!(
                    "Create the policy in namespace {namespace}: a policy cannot target another namespace."
                ),
            ),
            None => (String::new(), format!("Correct the name, or create {kind} {name}.")),
        };
        let title = format!(
            "{} {} targets {kind} {name}, which is not in its namespace{hint}",
            object.kind(),
            object.full_name()
        );
        let draft = findings.report(
            &AUTHPOLICY_TARGET_MISSING,
            object,
            title,
            object.evidence("/spec/targetRef"),
            remedy,
        );
        for other in context.named(kind, name).iter().take(3) {
            draft.object(other.reference());
            draft.evidence(other.evidence("/metadata/namespace"));
        }
        draft.command(shell!("oc get {} -A --field-selector metadata.name={}", kind.to_lowercase(), name));
        let home = home(context, object, name, &elsewhere);
        if let Some(namespace) = home {
            draft.commands(remedy::moved(object, namespace, &[]));
        }
        draft.verify(wait_in(home.unwrap_or(object.namespace()), object, "Accepted"));
    }
}

declare_rule! {
    /// A policy's sectionName names nothing
    ///
    /// ## What it means
    /// `sectionName` must be a listener of the Gateway, or a rule of the HTTPRoute. With a name that does not
    /// exist the policy attaches nowhere.
    ///
    /// ## How it is decided
    /// The target exists; `spec.targetRef.sectionName` is none of its listeners' names, and for an HTTPRoute
    /// neither the name of a rule nor `rule-N` with N from 1 to the number of rules.
    ///
    /// ## Causes
    /// The listener was renamed; the hostname or port was written instead of the name.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get gateway NAME -o jsonpath='{.spec.listeners[*].name}'`
    ///
    /// ## How to fix
    /// Use a name of the list. Without `sectionName` the policy covers all listeners of the Gateway (or all
    /// rules of the route): leave the field out only where that is meant.
    ///
    /// ## When it may be a false alarm
    /// None known: the names are compared in one object.
    pub(super) static AUTHPOLICY_SECTION = {
        code: "MG803", name: "authpolicy-section", severity: Error, section: "1.8",
        needs: ["authpolicies", "gateways", "httproutes"], since: "0.1.0", caused_by: [],
        check: authpolicy_section,
    }
}

/// The section that a policy probably means: the name that comes closest, else the only one that no policy of the
/// same kind has.
fn section_meant<'n>(
    context: &Context<'_>,
    policy: &Policy<'_>,
    section: &str,
    names: &'n [String],
) -> Option<&'n str> {
    let target = |other: &Object| {
        ["/spec/targetRef/kind", "/spec/targetRef/name"].map(|pointer| other.str(pointer).to_owned())
    };
    let taken: Vec<&str> = context
        .bundle
        .list_dynamic(policy.object.group(), policy.object.kind())
        .filter(|other| {
            other.namespace() == policy.object.namespace() && target(other) == target(policy.object)
        })
        .map(|other| other.str("/spec/targetRef/sectionName"))
        .collect();
    let free = || names.iter().map(String::as_str).filter(|name| !taken.contains(name));
    let mut rest = free();
    match (suggest::closest(section, free().map(|n| (n, n))), rest.next(), rest.next()) {
        (Some(near), ..) | (None, Some(near), None) => Some(near),
        _ => None,
    }
}

/// The names that a `sectionName` may have: of a Gateway's listeners, or of a route's rules.
fn sections(target: &Object) -> Vec<String> {
    if target.kind() == "Gateway" {
        return listener_names(target).into_iter().map(str::to_owned).collect();
    }
    let rules = target.array("/spec/rules");
    let named = rules.iter().filter_map(|r| r.get("name")?.as_str()).map(str::to_owned);
    named.chain((1..=rules.len()).map(|n| format!("rule-{n}"))).collect()
}

/// Whether a policy is attached to nothing, as its target or its section does not exist.
pub(in crate::rules) fn leads_nowhere(context: &Context<'_>, policy: &Policy<'_>) -> bool {
    match target(context, policy) {
        Some(Seen::Absent) => true,
        Some(Seen::Found(target)) => {
            policy.section().is_some_and(|section| !sections(target).iter().any(|name| name == section))
        }
        _ => false,
    }
}

fn authpolicy_section(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &AUTHPOLICY_SECTION, findings);
    for policy in context.policies() {
        let Some(section) = policy.section() else { continue };
        let object = policy.object;
        let target = match target(context, policy) {
            Some(Seen::Found(target)) => target,
            Some(Seen::Unknown(missing)) => {
                findings.cannot_tell(&AUTHPOLICY_SECTION, missing);
                continue;
            }
            _ => continue,
        };
        let names = sections(target);
        if names.iter().any(|n| n == section) {
            continue;
        }
        let what = if target.kind() == "Gateway" { "listener" } else { "rule" };
        let title = format!(
            "{} {} targets {what} {section} of {} {}, which does not exist",
            object.kind(),
            object.full_name(),
            target.kind(),
            target.full_name()
        );
        let remedy = format!("Set sectionName to one of: {}.", names.join(", "));
        let draft = findings.report(
            &AUTHPOLICY_SECTION,
            object,
            title,
            object.evidence("/spec/targetRef/sectionName"),
            remedy,
        );
        draft.object(target.reference());
        let list = if target.kind() == "Gateway" { "/spec/listeners" } else { "/spec/rules" };
        for index in 0..target.array(list).len().min(5) {
            draft.evidence(target.evidence(&format!("{list}/{index}/name")));
        }
        if let Some(name) = section_meant(context, policy, section, &names) {
            draft.command(remedy::merge(object, json!({"spec": {"targetRef": {"sectionName": name}}})));
        }
        draft.verify(wait(object, "Accepted"));
    }
}

declare_rule! {
    /// A policy is accepted, but not enforced
    ///
    /// ## What it means
    /// The policy is valid and yet nothing enforces it.
    ///
    /// ## How it is decided
    /// The condition `Enforced` of a policy that concerns the MCP gateway is False, and `Accepted` is not
    /// (that is MG706). The reason is told apart: `Overridden` by another policy; `Unknown` with "not in the
    /// path to any existing routes", with "waiting for the following components to sync", or with issues;
    /// `MissingResource` (no Kuadrant resource); `MissingDependency`; `InvalidCelExpression`.
    ///
    /// A policy of a Gateway that is `Overridden` while no other policy has `overrides` has given way to more
    /// specific ones, as defaults do: that is for information only. A policy that is enforced in part says
    /// True, and is not reported.
    ///
    /// ## Causes
    /// No accepted route on the target; an AuthConfig that Authorino refuses, mostly for its CEL (MG806,
    /// MG813); Authorino or the operator down; a Kuadrant resource that does not exist.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE describe authpolicy NAME`, `oc get authconfigs -A`
    ///
    /// ## How to fix
    /// As the reason asks for: merge the two policies; attach a route to the target; repair the component
    /// that is waited for; create the Kuadrant resource; install the dependency, then restart the operator;
    /// correct the expression.
    ///
    /// ## When it may be a false alarm
    /// For seconds after a change, as the age of the condition is not asked.
    pub(super) static POLICY_NOT_ENFORCED = {
        code: "MG808", name: "policy-not-enforced", severity: Error, section: "1.8",
        needs: ["authpolicies", "authconfigs"], since: "0.1.0",
        caused_by: ["MG806", "MG807", "MG813", "MG804", "MG805", "MG812", "MG210", "MG212", "MG213", "MG214"],
        check: policy_not_enforced,
    }
}

fn policy_not_enforced(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &POLICY_NOT_ENFORCED, findings);
    let overriding: Vec<_> = context.policies().iter().filter(|policy| policy.overrides()).collect();
    for policy in context.policies() {
        let object = policy.object;
        if object.condition("Accepted").is_some_and(|c| c.is_false()) {
            continue;
        }
        let Some(condition) = object.condition("Enforced").filter(|c| c.is_false()) else { continue };
        let message = condition.message;
        let (why, remedy) = if condition.reason == "Overridden" {
            (
                "another policy overrides it",
                "Merge the two policies, or remove the overrides of the other one.",
            )
        } else if message.contains("not in the path to any existing routes") {
            (
                "no accepted route is on its target",
                "Attach an HTTPRoute to the target, or repair why none is accepted.",
            )
        } else if message.contains("waiting for the following components to sync") {
            (
                "its configuration is not taken over yet",
                "Repair the component that the message names; an AuthConfig that stays is refused by Authorino, mostly for a CEL error.",
            )
        } else if condition.reason == "MissingResource" {
            (
                "a resource is missing",
                "Create the Kuadrant resource: kuadrant.io/v1beta1, kind Kuadrant, in the operator's namespace.",
            )
        } else if condition.reason == "MissingDependency" {
            ("a dependency is missing", "Install what the message names, then restart the Kuadrant operator.")
        } else if condition.reason == "InvalidCelExpression" {
            (
                "a `when` does not compile; the path is not protected meanwhile",
                "Correct the expression; an invalid `when` drops the protection.",
            )
        } else {
            ("see the message", "Repair what the message names.")
        };
        // Defaults are made to give way to policies that are more specific.
        let gives_way = condition.reason == "Overridden"
            && policy.target_kind() == "Gateway"
            && overriding.iter().all(|other| std::ptr::eq(other.object, object));
        let title =
            format!("{} {} is not enforced: {why} ({})", object.kind(), object.full_name(), condition.reason);
        let draft = findings.report(
            &POLICY_NOT_ENFORCED,
            object,
            title,
            object.evidence(&format!("/status/conditions/{}", condition.index)),
            remedy,
        );
        draft.evidence(object.evidence("/spec/targetRef"));
        draft.because_of(&["MG806", "MG807"], object.reference());
        if gives_way {
            draft.severity(Severity::Info);
        }
        for config in context.bundle.list(&kinds::AUTH_CONFIG) {
            if message.contains(config.name()) {
                draft.object(config.reference());
                draft.because_of(&["MG813"], config.reference());
            }
        }
        draft.command(describe(object));
        if condition.reason == "MissingDependency" {
            behind::missing_dependency(context, message, draft);
        }
        if message.contains("not in the path to any existing routes") {
            behind::no_routes(context, policy, draft);
        }
        if condition.reason == "MissingResource" && context.bundle.list(&kinds::KUADRANT).next().is_none() {
            let namespace = context
                .workloads()
                .deployments_of(Component::KuadrantOperator)
                .first()
                .map_or("kuadrant-system", |d| d.namespace());
            let kuadrant = json!({"apiVersion": "kuadrant.io/v1beta1", "kind": "Kuadrant",
                "metadata": {"name": "kuadrant", "namespace": namespace}});
            draft.command(Command::from("oc apply -f -").reading(&kuadrant.to_string()));
        }
        draft.verify(wait(object, "Enforced"));
    }
    if context.policies().is_empty() {
        return;
    }
    if let Err(missing) = context.bundle.collected(&kinds::AUTH_CONFIG, None)
        && context.bundle.list(&kinds::AUTH_CONFIG).next().is_none()
    {
        findings.cannot_tell(&POLICY_NOT_ENFORCED, Missing { what: missing.what, how: missing.how });
    }
}
