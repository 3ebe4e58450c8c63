//! MG806, MG807: the CEL expressions of policies and AuthConfigs.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::say_what_is_missing;
use crate::declare_rule;
use crate::model::cel::{self, Environment, Evaluators, Problem, ProblemKind};
use crate::model::object::field_path;
use crate::model::workloads::Component;
use crate::model::{Missing, Object};
use crate::report::{Evidence, Severity};
use crate::rules::evidence::{self, resource};
use crate::rules::{Context, Findings};
use crate::shell::{Command, shell};

declare_rule! {
    /// A CEL expression does not parse
    ///
    /// ## What it means
    /// A rule with a broken expression cannot be compiled. In `rules` Authorino refuses the AuthConfig: a new
    /// one answers 404 with `X-Ext-Auth-Reason: Service not found`, an edited one keeps the old rules. In
    /// `when` the operator drops the action: the path is not protected.
    ///
    /// ## How it is decided
    /// Every `predicate` and `expression` of every policy that concerns the MCP gateway is parsed with the
    /// parser of Kuadrant's data plane. The place is shown under the expression. One that is longer than 8
    /// KiB or nested deeper than 48 brackets is not parsed: what it says stays open (MG001).
    ///
    /// ## Causes
    /// `and`/`or`/`not` instead of `&&`/`||`/`!`, a single `=`, an unclosed bracket or quote, `\.` in a
    /// normal string (write `\\.` or a raw string), gjson modifiers such as `.@values`.
    ///
    /// ## How to confirm
    /// `oc get authconfigs -A`: Ready is False with the same message. For `when`:
    /// `oc -n NAMESPACE describe authpolicy NAME` says `InvalidCelExpression`.
    ///
    /// ## How to fix
    /// Correct the expression at the caret.
    ///
    /// ## When it may be a false alarm
    /// Syntax that is newer than this program's parser.
    pub(super) static CEL_SYNTAX = {
        code: "MG806", name: "cel-syntax", severity: Error, section: "1.8",
        needs: ["authpolicies", "ratelimitpolicies"], since: "0.1.0", caused_by: [],
        check: cel_syntax,
    }
}

declare_rule! {
    /// A CEL expression refers to something that does not exist
    ///
    /// ## What it means
    /// The expression parses, but a name, function or field in it does not exist where it is evaluated: it is
    /// refused at compile time, or every evaluation fails, and a failing evaluation denies.
    ///
    /// ## How it is decided
    /// Free names, functions and fields of `request` and `auth` are compared with what the environment
    /// offers: Authorino for `rules`, the operator and its filter for `when` and limits. `auth.metadata.X`
    /// and `auth.authorization.X` need a rule of that name in the policy (not asked with the strategy
    /// `merge`). A header name with `-` after a dot is a subtraction; one with capital letters never comes.
    ///
    /// The pattern of `matches` must be a regular expression, `has()` is not compared with a value and not
    /// asked of what is always there, functions take as many values as they are given. A predicate is true or
    /// false and depends on the request: `1 == 2` does not (`true` is for information only).
    ///
    /// Also reported: evaluation errors in Authorino's current log (`failed to evaluate CEL expression`,
    /// denials with `no such key`), the last within the hour before the collection.
    ///
    /// ## Causes
    /// `identity.…` instead of `auth.identity.…`, a renamed rule, `request.headers.x-name`, capital letters
    /// in a header name, a function of the other environment.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE logs deployment/authorino | grep -i -e cel -e 'no such key'`, and
    /// `oc get authconfigs -A -o yaml` for their status.
    ///
    /// ## How to fix
    /// Use the names that exist; the finding lists them.
    ///
    /// ## When it may be a false alarm
    /// A name that a newer Kuadrant offers. A line in the log of an Authorino that other applications use,
    /// too.
    pub(super) static CEL_REFERENCE = {
        code: "MG807", name: "cel-reference", severity: Warning, section: "1.8",
        needs: ["authpolicies", "ratelimitpolicies", "authorino log"], since: "0.1.0", caused_by: ["MG806"],
        check: cel_reference,
    }
}

/// An expression with problems.
pub(in crate::rules) struct Wrong<'a> {
    object: &'a Object,
    pointer: String,
    environment: Environment,
    found: Vec<Problem>,
    /// The command that writes what was meant, or opens an editor where that cannot be told.
    command: Command,
}

/// What decides whether an expression has problems.
type Checked<'a> = (&'a str, Environment, Evaluators<'a>);

/// Every expression with its problems; rules ask the context, which keeps them. Policies are often copies of each other,
/// and to parse an expression takes longer than all the rest: each text is parsed once.
pub(in crate::rules) fn problems<'a>(context: &Context<'a>) -> Vec<Wrong<'a>> {
    let mut places: BTreeMap<Checked<'a>, Vec<(&'a Object, String)>> = BTreeMap::new();
    for policy in context.policies() {
        let evaluators = policy.evaluators();
        for expression in policy.expressions() {
            let checked = (expression.text, expression.environment, evaluators.clone());
            places.entry(checked).or_default().push((policy.object, expression.pointer));
        }
    }
    let places: Vec<_> = places.into_iter().collect();
    let mut wrong: Vec<Wrong<'a>> = places
        .into_par_iter()
        .flat_map_iter(|((text, environment, evaluators), places)| {
            let found = cel::check(text, environment, &evaluators);
            let places = if found.is_empty() { Vec::new() } else { places };
            let meant =
                if places.is_empty() { None } else { cel::corrected(text, &found, environment, &evaluators) };
            places.into_iter().map(move |(object, pointer)| {
                let rewrite = meant.as_ref().map(|meant| rewrite(object, &pointer, text, meant));
                let command = rewrite.unwrap_or_else(|| edit(object));
                Wrong { object, pointer, environment, found: found.clone(), command }
            })
        })
        .collect();
    wrong.sort_by_cached_key(|w| (w.object.kind().to_owned(), w.object.full_name(), w.pointer.clone()));
    wrong
}

fn shown(object: &Object, pointer: &str, problem: &Problem) -> Evidence {
    Evidence {
        note: Some(format!("{}:{}: {}", problem.line, problem.column, problem.message)),
        value: Some(problem.excerpt.clone()),
        ..object.evidence(pointer)
    }
}

fn edit(object: &Object) -> Command {
    shell!("oc -n {} edit {}", object.namespace(), resource(&object.reference()))
}

/// A patch that replaces an expression, unless it was changed since. Expressions hold both sorts of quotes, so
/// that the patch is no argument.
fn rewrite(object: &Object, pointer: &str, before: &str, after: &str) -> Command {
    let patch = serde_json::json!([
        {"op": "test", "path": pointer, "value": before},
        {"op": "replace", "path": pointer, "value": after},
    ]);
    let (namespace, resource) = (object.namespace(), resource(&object.reference()));
    shell!("oc -n {} patch {} --type=json --patch-file=/dev/stdin", namespace, resource)
        .reading(&patch.to_string())
}

fn cel_syntax(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &CEL_SYNTAX, findings);
    for Wrong { object, pointer, environment, found, command } in context.expressions() {
        let place = field_path(pointer);
        if found.iter().any(|p| p.kind == ProblemKind::TooComplex) {
            findings.cannot_tell(
                &CEL_SYNTAX,
                Missing {
                    what: format!(
                        "{place} of {} {}: the expression is too long or too deep",
                        object.kind(),
                        object.full_name()
                    ),
                    how: edit(object),
                },
            );
            continue;
        }
        let errors: Vec<&Problem> = found.iter().filter(|p| p.kind == ProblemKind::Syntax).collect();
        let Some(first) = errors.first() else { continue };
        let title = format!("{} {}: {place} is no valid CEL", object.kind(), object.full_name());
        let effect = match environment {
            Environment::Authorino => "Authorino refuses the whole AuthConfig until then.",
            Environment::Operator => "The policy does not protect its path until then.",
        };
        let remedy = format!("Correct the expression: {} {effect}", sentence(&first.message));
        let draft = findings.report(&CEL_SYNTAX, object, title, shown(object, pointer, first), remedy);
        // Nobody reads the expressions of a policy that is attached to nothing.
        draft.hidden_behind(&["MG802", "MG803"], object.reference());
        for error in &errors[1..] {
            draft.evidence(shown(object, pointer, error));
        }
        draft.command(command.clone());
        draft.verify(shell!(
            "oc -n {} wait --for=condition=Enforced {} --timeout=120s",
            object.namespace(),
            resource(&object.reference())
        ));
    }
}

fn cel_reference(context: &Context<'_>, findings: &mut Findings) {
    say_what_is_missing(context, &CEL_REFERENCE, findings);
    for Wrong { object, pointer, found, command, .. } in context.expressions() {
        let predicate = pointer.ends_with("/predicate");
        let wrong: Vec<&Problem> = found
            .iter()
            .filter(|p| !matches!(p.kind, ProblemKind::Syntax | ProblemKind::TooComplex))
            // Other expressions than conditions may well be constants, and have any result.
            .filter(|p| !matches!(p.kind, ProblemKind::Constant | ProblemKind::NotBoolean) || predicate)
            .collect();
        let Some(first) = wrong.first() else { continue };
        let constant = first.kind == ProblemKind::Constant;
        let effect = if constant { "decides nothing" } else { "cannot be evaluated" };
        let title = format!(
            "{} {}: {} {effect}: {}",
            object.kind(),
            object.full_name(),
            field_path(pointer),
            evidence::short(&first.message, 80)
        );
        let remedy = format!("Correct the expression: {}", sentence(&first.message));
        let draft = findings.report(&CEL_REFERENCE, object, title, shown(object, pointer, first), remedy);
        draft.hidden_behind(&["MG802", "MG803"], object.reference());
        if constant && first.message.contains("always true") {
            // Often written on purpose, as a place for a condition to come.
            draft.severity(Severity::Info);
        }
        for problem in &wrong[1..] {
            draft.evidence(shown(object, pointer, problem));
        }
        draft.command(command.clone());
        draft.verify(shell!(
            "oc -n {} wait --for=condition=Enforced {} --timeout=120s",
            object.namespace(),
            resource(&object.reference())
        ));
    }
    for (pod, log) in
        context.workloads().component_logs(Component::Authorino).filter(|(_, log)| !log.previous)
    {
        let records: Vec<_> = log
            .digest
            .records
            .iter()
            .filter(|r| !evidence::is_past(context.now, r))
            .filter(|r| {
                r.template == "authorino.cel"
                    || (r.template == "authorino.denied" && r.field("reason").contains("no such key"))
            })
            .collect();
        let Some(first) = records.first() else { continue };
        let what = [first.field("reason"), first.field("error")]
            .into_iter()
            .find(|t| !t.is_empty())
            .unwrap_or("see the line");
        let title = format!("Authorino cannot evaluate a CEL expression: {}", evidence::short(what, 90));
        let draft = findings.report(
            &CEL_REFERENCE,
            pod,
            title,
            evidence::record(log, first),
            "Guard optional claims with has(), or correct the field; a failing evaluation denies the request.",
        );
        for record in records.iter().skip(1).take(4) {
            draft.evidence(evidence::record(log, record));
        }
        for policy in context.policies().iter().filter(|p| p.object.kind() == "AuthPolicy") {
            draft.object(policy.object.reference());
        }
        draft.command(shell!("oc -n {} logs {} | grep -i cel", pod.namespace(), pod.name()));
        draft.verify(shell!("oc -n {} logs {} --since=5m", pod.namespace(), pod.name()));
    }
}

/// A message with the stop at its end that it lacks.
fn sentence(message: &str) -> String {
    let stop = if message.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{message}{stop}")
}
