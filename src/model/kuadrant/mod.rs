//! Kuadrant's policies: what they target, in which form their rules stand, which of them is in effect.
//!
//! A policy attaches only to objects of its own namespace. Its body stands bare, under `defaults` or
//! under `overrides`; older versions knew the bare form only. Every expression is found together with
//! the environment that compiles it.

use std::collections::{BTreeSet, HashMap};

use super::cel::{self, Asked, Environment, Evaluators};
use super::kinds::{self, Kind};
use super::{Bundle, Object};
use crate::model::json::Value;

/// The kinds of policies.
pub static POLICIES: &[&Kind] =
    &[&kinds::AUTH_POLICY, &kinds::RATE_LIMIT_POLICY, &kinds::TOKEN_RATE_LIMIT_POLICY];

/// A form in which the body of a policy can stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Directly under `spec`: the same as atomic defaults.
    Bare,
    /// Under `spec.defaults`.
    Defaults,
    /// Under `spec.overrides`.
    Overrides,
}

/// A policy.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// The object.
    pub object: &'a Object,
}

/// A CEL expression of a policy.
#[derive(Debug)]
pub struct Expression<'a> {
    /// Its JSON pointer.
    pub pointer: String,
    /// Its text.
    pub text: &'a str,
    /// Who compiles it.
    pub environment: Environment,
}

/// All AuthPolicies of a bundle.
pub fn auth_policies(bundle: &Bundle) -> impl Iterator<Item = Policy<'_>> {
    bundle.list(&kinds::AUTH_POLICY).map(|object| Policy { object })
}

impl<'a> Policy<'a> {
    /// The kind of the target.
    #[must_use]
    pub fn target_kind(&self) -> &'a str {
        self.object.str("/spec/targetRef/kind")
    }

    /// The name of the target, always in the policy's namespace.
    #[must_use]
    pub fn target_name(&self) -> &'a str {
        self.object.str("/spec/targetRef/name")
    }

    /// The listener or rule of the target, if it names one.
    #[must_use]
    pub fn section(&self) -> Option<&'a str> {
        Some(self.object.str("/spec/targetRef/sectionName")).filter(|s| !s.is_empty())
    }

    /// Whether it targets this object.
    #[must_use]
    pub fn targets(&self, object: &Object) -> bool {
        self.target_kind() == object.kind()
            && self.target_name() == object.name()
            && self.object.namespace() == object.namespace()
    }

    /// Whether it can be in effect at all: it says something, is not being deleted, and no older one has its place.
    fn is_in_force(&self) -> bool {
        let accepted = self.object.condition("Accepted");
        let conflicted = accepted.is_some_and(|c| c.is_false() && c.reason == "Conflicted");
        !self.object.is_deleting() && !self.bodies().is_empty() && !conflicted
    }

    /// The bodies that are present, with their JSON pointers.
    #[must_use]
    pub fn bodies(&self) -> Vec<(Form, &'static str, &'a Value)> {
        [(Form::Bare, "/spec"), (Form::Defaults, "/spec/defaults"), (Form::Overrides, "/spec/overrides")]
            .into_iter()
            .filter_map(|(form, pointer)| {
                let body = self.object.get(pointer)?;
                let used = form != Form::Bare
                    || ["rules", "when", "patterns", "limits", "response"]
                        .iter()
                        .any(|k| body.get(k).is_some());
                used.then_some((form, pointer, body))
            })
            .collect()
    }

    /// Whether the strategy of its defaults or overrides is `merge`.
    #[must_use]
    pub fn merges(&self) -> bool {
        ["/spec/defaults/strategy", "/spec/overrides/strategy"].iter().any(|p| self.object.str(p) == "merge")
    }

    /// Whether it overrides more specific policies.
    #[must_use]
    pub fn overrides(&self) -> bool {
        self.object.get("/spec/overrides").is_some()
    }

    /// Whether it decides nothing: then it gives way also to a less specific policy. Conditions alone decide nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.bodies().iter().any(|(_, _, body)| ["rules", "limits"].iter().any(|k| body.get(k).is_some()))
    }

    /// The names under which its parts are merged with those of other policies.
    #[must_use]
    pub fn parts(&self) -> BTreeSet<String> {
        const NAMED: [&str; 9] = [
            "/rules/authentication",
            "/rules/metadata",
            "/rules/authorization",
            "/rules/callbacks",
            "/rules/response/success/headers",
            "/rules/response/success/filters",
            "/rules/response/success/dynamicMetadata",
            "/patterns",
            "/limits",
        ];
        const SINGLE: [&str; 3] =
            ["/rules/response/unauthenticated", "/rules/response/unauthorized", "/when"];
        let mut found = BTreeSet::new();
        for (_, _, body) in self.bodies() {
            for place in NAMED {
                let names = body.pointer(place).and_then(Value::as_object).into_iter().flat_map(|m| m.keys());
                found.extend(names.map(|name| format!("{place}/{name}")));
            }
            found.extend(SINGLE.iter().filter(|p| body.pointer(p).is_some()).map(|p| (*p).to_owned()));
        }
        found
    }

    /// The rules of one kind (`authentication`, `authorization`, `metadata`), by name.
    #[must_use]
    pub fn rules(&self, kind: &str) -> Vec<(&'a str, String, &'a Value)> {
        let mut found = Vec::new();
        for (_, pointer, body) in self.bodies() {
            let rules = body.get("rules").and_then(|r| r.get(kind)).and_then(Value::as_object);
            for (name, rule) in rules.into_iter().flatten() {
                found.push((name, format!("{pointer}/rules/{kind}/{}", escape(name)), rule));
            }
        }
        found
    }

    /// Whether it demands credentials of clients of the MCP gateway.
    #[must_use]
    pub fn authenticates(&self) -> bool {
        self.demands(Asked::CALL)
    }

    /// Whether it demands credentials for a request: authentication rules count, and none of them is anonymous access.
    #[must_use]
    pub fn demands(&self, asked: Asked) -> bool {
        let rules = self.rules("authentication");
        let mut counting = rules.iter().filter(|(_, pointer, _)| self.counts(pointer, asked)).peekable();
        // One rule that lets everybody in is enough.
        counting.peek().is_some() && counting.all(|(_, _, rule)| rule.get("anonymous").is_none())
    }

    /// Whether no `when`, of the rule or of the policy, keeps a request away from the rule at this pointer.
    fn counts(&self, rule: &str, asked: Asked) -> bool {
        let body = rule.split("/rules/").next().unwrap_or_default();
        [rule, body].into_iter().all(|at| self.object.get(at).is_none_or(|holder| !spares(holder, asked)))
    }

    /// Whether one of its rules takes tokens of an authorization server.
    #[must_use]
    pub fn takes_tokens(&self) -> bool {
        self.rules("authentication")
            .iter()
            .any(|(_, _, rule)| rule.get("jwt").is_some() || rule.get("oauth2Introspection").is_some())
    }

    /// The issuers of its JWT rules, with their pointers.
    #[must_use]
    pub fn issuers(&self) -> Vec<(&'a str, String)> {
        self.rules("authentication")
            .into_iter()
            .filter_map(|(_, pointer, rule)| {
                let issuer = rule.pointer("/jwt/issuerUrl")?.as_str()?;
                Some((issuer, format!("{pointer}/jwt/issuerUrl")))
            })
            .collect()
    }

    /// The issuers of the JWT rules that count for a request, with their pointers.
    #[must_use]
    pub fn issuers_for(&self, asked: Asked) -> Vec<(&'a str, String)> {
        let mut issuers = self.issuers();
        issuers.retain(|(_, pointer)| self.counts(pointer.trim_end_matches("/jwt/issuerUrl"), asked));
        issuers
    }

    /// The pointer of a condition that lets the policy take the OAuth metadata and not calls: written the wrong way
    /// round.
    #[must_use]
    pub fn takes_metadata_only(&self) -> Option<String> {
        self.bodies().into_iter().find_map(|(_, pointer, body)| {
            let when = body.get("when").and_then(Value::as_array)?;
            let at = when.iter().position(|condition| {
                let holds = |asked| condition.get("predicate")?.as_str().and_then(|c| cel::decide(c, asked));
                holds(Asked::METADATA) == Some(true) && holds(Asked::CALL) == Some(false)
            })?;
            Some(format!("{pointer}/when/{at}/predicate"))
        })
    }

    /// The `WWW-Authenticate` header of the unauthenticated response: its pointer and value, wherever
    /// a version puts it.
    #[must_use]
    pub fn www_authenticate(&self) -> Option<(String, &'a Value)> {
        ["/spec/rules", "/spec/defaults/rules", "/spec/overrides/rules", "/spec"].iter().find_map(|base| {
            let pointer = format!("{base}/response/unauthenticated/headers");
            let headers = self.object.get(&pointer)?.as_object()?;
            let (name, value) =
                headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"))?;
            Some((format!("{pointer}/{}", escape(name)), value))
        })
    }

    /// Whether its success response sets this header for the gateway's filters.
    #[must_use]
    pub fn sets_header(&self, header: &str) -> bool {
        self.bodies().iter().any(|(_, _, body)| {
            let success =
                body.pointer("/rules/response/success").or_else(|| body.pointer("/response/success"));
            let headers = success.and_then(|s| s.get("headers")).and_then(Value::as_object);
            headers.is_some_and(|h| {
                h.iter().any(|(name, value)| {
                    name.eq_ignore_ascii_case(header)
                        || value
                            .get("key")
                            .and_then(Value::as_str)
                            .is_some_and(|k| k.eq_ignore_ascii_case(header))
                })
            })
        })
    }

    /// The names that expressions may refer to.
    #[must_use]
    pub fn evaluators(&self) -> Evaluators<'a> {
        let names =
            |kind: &str| self.rules(kind).into_iter().map(|(name, _, _)| name).collect::<BTreeSet<_>>();
        // Under a merge strategy rules of other policies join in, whose names are not known here.
        if self.merges() {
            return Evaluators::default();
        }
        Evaluators { metadata: Some(names("metadata")), authorization: Some(names("authorization")) }
    }

    /// Every CEL expression.
    #[must_use]
    pub fn expressions(&self) -> Vec<Expression<'a>> {
        let mut found = Vec::new();
        let auth = self.object.kind() == "AuthPolicy";
        for (form, pointer, body) in self.bodies() {
            let Some(fields) = body.as_object() else { continue };
            for (key, value) in fields {
                if form == Form::Bare && matches!(key, "defaults" | "overrides" | "targetRef") {
                    continue;
                }
                let environment =
                    if auth && key != "when" { Environment::Authorino } else { Environment::Operator };
                collect(value, format!("{pointer}/{}", escape(key)), environment, 0, &mut found);
            }
        }
        found
    }
}

/// Whether the `when` of a policy's body or rule keeps a request out: all of its conditions must hold. One that
/// depends on more than method and path is believed when it speaks of the well-known path that is asked for.
fn spares(holder: &Value, asked: Asked) -> bool {
    let when = holder.get("when").and_then(Value::as_array).unwrap_or_default();
    when.iter().any(|condition| {
        let text = |key: &str| condition.get(key).and_then(Value::as_str);
        let mentions = || {
            let texts = ["predicate", "value", "selector"].into_iter().filter_map(text);
            asked.path == Asked::METADATA.path && texts.into_iter().any(|t| t.contains("well-known"))
        };
        text("predicate").and_then(|p| cel::decide(p, asked)).map_or_else(mentions, |holds| !holds)
    })
}

/// Finds `predicate` and `expression` fields at any depth.
fn collect<'a>(
    value: &'a Value,
    pointer: String,
    environment: Environment,
    depth: usize,
    found: &mut Vec<Expression<'a>>,
) {
    if depth > 24 || found.len() > 2000 {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let pointer = format!("{pointer}/{}", escape(key));
                match value {
                    Value::String(text) if key == "predicate" || key == "expression" => {
                        found.push(Expression { pointer, text, environment });
                    }
                    _ => collect(value, pointer, environment, depth + 1, found),
                }
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                collect(value, format!("{pointer}/{index}"), environment, depth + 1, found);
            }
        }
        _ => {}
    }
}

/// A key as a token of a JSON pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Kind, namespace and name of a target.
type Target<'a> = (&'a str, &'a str, &'a str);

/// The policies of one kind, found by their targets.
#[derive(Debug, Default)]
pub struct Policies<'a> {
    /// Of each target the oldest first.
    by_target: HashMap<Target<'a>, Vec<Policy<'a>>>,
}

impl<'a> Policies<'a> {
    /// Sorts the policies by their targets.
    #[must_use]
    pub fn new(mut policies: Vec<Policy<'a>>) -> Self {
        policies
            .sort_by_cached_key(|p| (p.object.created().is_none(), p.object.created(), p.object.full_name()));
        let mut by_target: HashMap<_, Vec<_>> = HashMap::new();
        for policy in policies {
            let target = (policy.target_kind(), policy.object.namespace(), policy.target_name());
            by_target.entry(target).or_default().push(policy);
        }
        Self { by_target }
    }

    /// The policies that target what has this kind, namespace and name, whether or not it exists.
    #[must_use]
    pub fn named(&self, kind: &'a str, namespace: &'a str, name: &'a str) -> &[Policy<'a>] {
        self.by_target.get(&(kind, namespace, name)).map_or(&[], Vec::as_slice)
    }

    /// The policies that target an object.
    #[must_use]
    pub fn on(&self, object: &'a Object) -> &[Policy<'a>] {
        self.named(object.kind(), object.namespace(), object.name())
    }

    /// The policies in effect on a path of a Gateway: listener, route, rule of the route. The less specific policy
    /// decides: its overrides win, its defaults give way to a more specific policy, and with `merge` both count, each
    /// with the parts that the other does not have, too. Of policies with the same target the older one is the less
    /// specific. One that is `Conflicted` has no effect.
    #[must_use]
    pub fn effective(
        &self,
        gateway: &'a Object,
        listener: &str,
        route: Option<(&'a Object, &str)>,
    ) -> Vec<Policy<'a>> {
        let here = |object: &'a Object, section: Option<&str>| {
            let all = self.on(object).iter().copied().filter(|p| p.is_in_force() && p.section() == section);
            all.collect::<Vec<_>>()
        };
        let mut levels = vec![here(gateway, None), here(gateway, Some(listener))];
        if let Some((route, rule)) = route {
            levels.extend([here(route, None), here(route, Some(rule))]);
        }
        let mut result: Vec<Policy<'a>> = Vec::new();
        // From the most specific to the least: each less specific policy decides over what is below it.
        for policy in levels.into_iter().flatten().rev() {
            let parts = policy.parts();
            if policy.merges() && policy.overrides() {
                result.retain(|below| !below.parts().is_subset(&parts));
                result.push(policy);
            } else if policy.merges() {
                let below: BTreeSet<String> = result.iter().flat_map(Policy::parts).collect();
                if !parts.is_subset(&below) {
                    result.push(policy);
                }
            } else if policy.overrides() || result.iter().all(Policy::is_empty) {
                result = vec![policy];
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    fn object(kind: &str, name: &str, spec: Value) -> Object {
        let value = json!({"apiVersion": "kuadrant.io/v1", "kind": kind, "metadata": {"namespace": "g", "name": name}, "spec": spec});
        Object::new(value, "f".into(), None).expect("an object")
    }

    fn policy(name: &str, target: (&str, &str, Option<&str>), body: Value) -> Object {
        let mut spec = body.to_json();
        spec["targetRef"] = serde_json::json!({"kind": target.0, "name": target.1, "sectionName": target.2});
        object("AuthPolicy", name, spec.into())
    }

    #[test]
    fn the_less_specific_policy_decides() {
        let rules = || json!({"rules": {"authentication": {"a": {"jwt": {}}}}});
        let merge =
            |name: &str| json!({"strategy": "merge", "rules": {"authentication": {name: {"jwt": {}}}}});
        let on = |name: &str, body: Value| policy(name, ("Gateway", "gw", None), body);
        let on_route = |name: &str, body: Value| policy(name, ("HTTPRoute", "r", None), body);
        let on_listener = |name: &str, section: &str| {
            policy(name, ("Gateway", "gw", Some(section)), json!({"defaults": rules()}))
        };
        let gateway = object("Gateway", "gw", json!({}));
        let route = object("HTTPRoute", "r", json!({}));
        let gate = || on("gate", rules());
        let forced = |name: &str| on(name, json!({"overrides": rules()}));
        let table = [
            (vec![gate()], vec!["gate"]),
            (vec![gate(), on_listener("listener", "l"), on_listener("other", "x")], vec!["listener"]),
            (vec![gate(), on_listener("listener", "l"), on_route("route", rules())], vec!["route"]),
            (vec![on_route("route", rules()), forced("forced")], vec!["forced"]),
            (vec![on_listener("other", "x")], vec![]),
            // Conditions alone do not take the place of the Gateway's rules; an empty set of rules does.
            (vec![gate(), on_route("route", json!({"when": [{"predicate": "true"}]}))], vec!["gate"]),
            (vec![gate(), on_route("route", json!({"rules": {}}))], vec!["route"]),
            // With `merge` both count, unless one has nothing that the other lacks.
            (
                vec![on_route("route", rules()), on("merged", json!({"defaults": merge("b")}))],
                vec!["route", "merged"],
            ),
            (vec![on_route("route", rules()), on("merged", json!({"defaults": merge("a")}))], vec!["route"]),
            (
                vec![on_route("route", rules()), on("merged", json!({"overrides": merge("b")}))],
                vec!["route", "merged"],
            ),
            (
                vec![on_route("route", rules()), on("merged", json!({"overrides": merge("a")}))],
                vec!["merged"],
            ),
            // Of two with one target the older is less specific: it gives way, unless it overrides. They have no time
            // here, so that their names decide.
            (vec![on("a-old", rules()), on("b-new", rules())], vec!["b-new"]),
            (vec![forced("a-old"), forced("b-new")], vec!["a-old"]),
            (vec![on("a-old", rules()), forced("b-new")], vec!["b-new"]),
        ];
        for (objects, expected) in table {
            let policies: Vec<Policy<'_>> = objects.iter().map(|object| Policy { object }).collect();
            let found = Policies::new(policies).effective(&gateway, "l", Some((&route, "rule-1")));
            let names: Vec<&str> = found.iter().map(|p| p.object.name()).collect();
            assert_eq!(names, expected, "{:?}", objects.iter().map(Object::value).collect::<Vec<_>>());
        }
    }

    #[test]
    fn headers_exclusions_and_expressions_are_found_in_every_form() {
        for base in ["", "defaults", "overrides"] {
            let body = json!({"when": [{"predicate": "!request.path.contains('/.well-known')"}],
                "rules": {"authentication": {"a": {"jwt": {"issuerUrl": "https://sso"}}},
                    "authorization": {"b": {"patternMatching": {"patterns": [{"predicate": "true"}]}}},
                    "response": {"unauthenticated": {"headers": {"www-authenticate": {"value": "Bearer"}}}}}});
            let spec = if base.is_empty() { body } else { json!({ base: body }) };
            let object = policy("p", ("Gateway", "gw", None), spec);
            let policy = Policy { object: &object };
            assert!(policy.authenticates() && !policy.demands(Asked::METADATA), "{base}");
            assert!(policy.www_authenticate().is_some_and(|(pointer, _)| object.get(&pointer).is_some()));
            let environments: Vec<_> = policy
                .expressions()
                .iter()
                .map(|e| (e.environment, object.get(&e.pointer).is_some()))
                .collect();
            assert_eq!(environments.len(), 2);
            assert!(
                environments.contains(&(Environment::Authorino, true))
                    && environments.contains(&(Environment::Operator, true))
            );
        }
    }
}
