//! What the user may do, and the role that gives what is missing.
//!
//! The questions are reviews (SelfSubjectReview, SelfSubjectAccessReview): they are posted, because
//! that is how the API asks them, and store nothing in the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::client::{Api, Refusal, classify, one_line};
use crate::model::bundle::Failure;

/// How long one review may take.
const REVIEW: Duration = Duration::from_secs(15);
/// The name of the role that is printed.
const ROLE: &str = "mcpgw-gather-missing";

/// Something that gather needs to be allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Right {
    /// Where: a namespace, or everywhere for `None`.
    pub namespace: Option<String>,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, with its subresource: `pods/log`.
    pub resource: String,
    /// `get`, `list`, `create`.
    pub verb: String,
}

impl Right {
    pub(super) fn new(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Self {
        Self {
            namespace: namespace.map(str::to_owned),
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: verb.to_owned(),
        }
    }

    /// `list httproutes.gateway.networking.k8s.io`.
    #[must_use]
    pub fn what(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        format!("{} {}{group}", self.verb, self.resource)
    }

    /// The same with its place.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} in {}", self.what(), self.namespace.as_deref().unwrap_or("all namespaces"))
    }
}

/// Who asks.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Who {
    /// The name that the cluster knows the user by; `None` when it does not say.
    pub user: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
}

/// Posts a review and gives the answer.
async fn review(api: &Api, group: &str, plural: &str, body: &Value) -> Result<Value, Refusal> {
    let request = Request::post(format!("/apis/{group}/v1/{plural}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(body.to_string().into_bytes())
        .map_err(|error| Refusal::local("InvalidRequest", error.to_string()))?;
    api.stats().requests.fetch_add(1, Ordering::Relaxed);
    let stop = api.stop();
    let answer = tokio::select! {
        answer = tokio::time::timeout(REVIEW, api.kube().request::<Value>(request)) => answer,
        why = stop.wait() => return Err(Refusal::local(super::client::CUT, why)),
    };
    match answer {
        Err(_) => Err(Refusal::local("Timeout", "no answer to a review within 15 s")),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(Refusal {
            code: Some(status.code),
            reason: if status.reason.is_empty() { "Refused".to_owned() } else { status.reason.clone() },
            message: one_line(&status.message, 300),
        }),
        Ok(Err(other)) => Err(classify(&other)),
    }
}

/// Asks who the user is. Clusters before 1.28 cannot say.
pub(super) async fn who(api: &Api) -> Who {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let Ok(answer) = review(api, "authentication.k8s.io", "selfsubjectreviews", &body).await else {
        return Who::default();
    };
    let info = &answer["status"]["userInfo"];
    let groups = info["groups"].as_array().into_iter().flatten();
    Who {
        user: info["username"].as_str().map(str::to_owned),
        groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

/// Asks whether something is allowed: `None` when it is, else why not.
pub(super) async fn refused(api: &Api, right: &Right) -> Result<Option<String>, Refusal> {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
    let mut attributes =
        json!({"verb": right.verb, "group": right.group, "resource": resource, "version": "*"});
    if !subresource.is_empty() {
        attributes["subresource"] = json!(subresource);
    }
    if let Some(namespace) = &right.namespace {
        attributes["namespace"] = json!(namespace);
    }
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    });
    let answer = review(api, "authorization.k8s.io", "selfsubjectaccessreviews", &body).await?;
    if answer["status"]["allowed"] == true {
        return Ok(None);
    }
    let status = &answer["status"];
    let why = status["reason"].as_str().or_else(|| status["evaluationError"].as_str()).unwrap_or_default();
    Ok(Some(one_line(why, 200)))
}

/// The rights behind requests that were forbidden.
#[must_use]
pub fn of_failures(failures: &[Failure]) -> BTreeSet<Right> {
    let forbidden = failures.iter().filter(|failure| failure.code == Some(403));
    let mut rights: BTreeSet<Right> = forbidden
        .filter_map(|failure| {
            let named = failure.resource.as_deref()?;
            let namespace = failure.namespace.as_deref();
            if named.contains('/') {
                // A port-forward is a GET that is upgraded; servers from 1.35 on want `create`, too.
                let verbs: &[&str] = if named.ends_with("/log") { &["get"] } else { &["get", "create"] };
                return Some(
                    verbs.iter().map(|verb| Right::new(verb, "", named, namespace)).collect::<Vec<_>>(),
                );
            }
            let (resource, group) = named.split_once('.').unwrap_or((named, ""));
            let verb = if failure.what.starts_with("get ") { "get" } else { "list" };
            Some(vec![Right::new(verb, group, resource, namespace)])
        })
        .flatten()
        .collect();
    // Where pods could not be listed, nothing of them was asked for, which would be refused next.
    let blind = rights.iter().filter(|r| r.verb == "list" && r.resource == "pods" && r.group.is_empty());
    let next = [
        ("get", "pods/log"),
        ("get", "pods/portforward"),
        ("create", "pods/portforward"),
        ("get", "configmaps"),
    ];
    let follow: Vec<Right> = blind
        .flat_map(|blind| {
            next.map(|(verb, resource)| Right::new(verb, "", resource, blind.namespace.as_deref()))
        })
        .collect();
    rights.extend(follow);
    rights
}

/// A role with these rights and its binding to the user, as YAML to apply: a Role for what is needed
/// in a namespace, a ClusterRole for what is needed everywhere.
#[must_use]
pub fn role(who: &Who, missing: &BTreeSet<Right>) -> String {
    /// The resources of each group that want the same verbs.
    type Rules<'a> = BTreeMap<(&'a str, BTreeSet<&'a str>), BTreeSet<&'a str>>;
    let mut places: BTreeMap<Option<&str>, Rules<'_>> = BTreeMap::new();
    let everywhere = |right: &Right| {
        right.namespace.is_some() && missing.contains(&Right { namespace: None, ..right.clone() })
    };
    let mut verbs: BTreeMap<(Option<&str>, &str, &str), BTreeSet<&str>> = BTreeMap::new();
    for right in missing.iter().filter(|right| !everywhere(right)) {
        let key = (right.namespace.as_deref(), right.group.as_str(), right.resource.as_str());
        verbs.entry(key).or_default().insert(&right.verb);
    }
    for ((namespace, group, resource), verbs) in verbs {
        places.entry(namespace).or_default().entry((group, verbs)).or_default().insert(resource);
    }
    let subject = subject(who);
    let mut documents = Vec::new();
    for (namespace, rules) in places {
        let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
        let rules: Vec<Value> = rules
            .into_iter()
            .map(|((group, verbs), resources)| json!({"apiGroups": [group], "resources": resources, "verbs": verbs}))
            .collect();
        let mut metadata = json!({"name": ROLE});
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        let api_version = "rbac.authorization.k8s.io/v1";
        documents
            .push(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "rules": rules}));
        documents.push(json!({
            "apiVersion": api_version, "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": ROLE},
            "subjects": [subject],
        }));
    }
    let mut text = String::new();
    for document in &documents {
        text.push_str("---\n");
        crate::archive::yaml::emit(document, 0, &mut text);
    }
    text
}

/// The user as a subject of a binding.
fn subject(who: &Who) -> Value {
    let user = who.user.as_deref().unwrap_or("${USER}");
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}),
        None => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(what: &str, code: u16, resource: &str, namespace: Option<&str>) -> Failure {
        Failure {
            what: what.to_owned(),
            request: String::new(),
            code: Some(code),
            reason: String::new(),
            message: String::new(),
            consequence: String::new(),
            resource: Some(resource.to_owned()),
            namespace: namespace.map(str::to_owned),
        }
    }

    #[test]
    fn refusals_become_the_least_role() {
        let failures = [
            failure(
                "list gateways.gateway.networking.k8s.io",
                403,
                "gateways.gateway.networking.k8s.io",
                None,
            ),
            failure("list httproutes", 403, "httproutes.gateway.networking.k8s.io", None),
            failure("list httproutes", 403, "httproutes.gateway.networking.k8s.io", Some("a")),
            failure("list secrets in a", 403, "secrets", Some("a")),
            failure("get configmaps x", 403, "configmaps", Some("a")),
            failure("log of p", 403, "pods/log", Some("a")),
            failure("/status of p", 403, "pods/portforward", Some("b")),
            failure("list events in a", 500, "events", Some("a")),
            failure("list pods in c", 403, "pods", Some("c")),
        ];
        let missing = of_failures(&failures);
        let who = Who { user: Some("system:serviceaccount:ops:sam".into()), groups: Vec::new() };
        let text = role(&who, &missing);
        let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
        assert_eq!(
            kinds,
            [
                "ClusterRole",
                "ClusterRoleBinding",
                "Role",
                "RoleBinding",
                "Role",
                "RoleBinding",
                "Role",
                "RoleBinding"
            ]
        );
        // Who may not list pods has asked for nothing of what hangs on them yet.
        for (wanted, places) in [
            ("- gateways\n", 1),
            ("- httproutes\n", 1),
            ("- secrets\n", 1),
            ("- pods\n", 1),
            ("- configmaps\n", 2),
            ("- pods/log\n", 2),
            ("- pods/portforward\n", 2),
        ] {
            assert_eq!(text.matches(wanted).count(), places, "{wanted} in {text}");
        }
        assert!(!text.contains("events") && text.contains("kind: ServiceAccount"), "{text}");
        assert!(role(&Who::default(), &missing).contains("${USER}"));
    }
}
