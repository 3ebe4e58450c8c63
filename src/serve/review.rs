//! The reviews of one's own rights, which clients post without writing anything.

use serde_json::{Value, json};

use super::Cluster;
use super::protobuf;
use super::status::Status;
use crate::model::bundle::Outcome;

/// The user whom this server makes of everyone who holds its token.
const USER: &str = "bundle-reader";

/// Answers a posted review.
pub(crate) fn answer(
    cluster: &Cluster,
    group: &str,
    plural: &str,
    body: &[u8],
) -> Option<Result<Value, Status>> {
    let review = if protobuf::is(body) {
        protobuf::review(body, plural).ok_or_else(|| "not a review in protobuf".to_owned())
    } else {
        serde_json::from_slice::<Value>(body).map_err(|error| format!("not JSON: {error}"))
    };
    let review = match review {
        Ok(review) => review,
        Err(why) => return Some(Err(Status::bad_request(format!("the body cannot be read: {why}")))),
    };
    let spec = review.get("spec").cloned().unwrap_or_else(|| json!({}));
    let answer = |kind: &str, status: Value| {
        Some(Ok(json!({
            "kind": kind, "apiVersion": format!("{group}/v1"), "metadata": {"creationTimestamp": null},
            "spec": spec, "status": status,
        })))
    };
    match (group, plural) {
        ("authentication.k8s.io", "selfsubjectreviews") => {
            let mut review = answer(
                "SelfSubjectReview",
                json!({"userInfo": {"username": USER, "groups": ["system:authenticated"]}}),
            );
            if let Some(Ok(review)) = &mut review
                && let Some(fields) = review.as_object_mut()
            {
                fields.remove("spec");
            }
            review
        }
        ("authorization.k8s.io", "selfsubjectaccessreviews") => {
            answer("SelfSubjectAccessReview", access(cluster, &spec))
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews") => answer(
            "SelfSubjectRulesReview",
            json!({
                "resourceRules": [{"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
                "incomplete": false,
            }),
        ),
        _ => None,
    }
}

/// Reading is allowed, except where the collection was refused everywhere: whoever asks this
/// server what it may do learns what the bundle's collector was allowed to do.
fn access(cluster: &Cluster, spec: &Value) -> Value {
    let denied = |why: String| json!({"allowed": false, "reason": why});
    let field = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if spec.get("nonResourceAttributes").is_some() {
        return match field("/nonResourceAttributes/verb") {
            "get" | "head" => json!({"allowed": true}),
            verb => denied(format!("a bundle is read-only: no {verb}")),
        };
    }
    let verb = field("/resourceAttributes/verb");
    let subresource = field("/resourceAttributes/subresource");
    let streams = (["portforward", "proxy"].contains(&subresource) && cluster.has_streams())
        || (subresource == "exec" && super::exec::any(cluster.bundle()));
    if streams && ["get", "create"].contains(&verb) {
        return json!({"allowed": true});
    }
    if !["get", "list", "watch"].contains(&verb) || !["", "log", "status"].contains(&subresource) {
        let what = if subresource.is_empty() { String::new() } else { format!(" of /{subresource}") };
        return denied(format!("a bundle is read-only: no {verb}{what}"));
    }
    let (group, resource) = (field("/resourceAttributes/group"), field("/resourceAttributes/resource"));
    let namespace = field("/resourceAttributes/namespace");
    let refused = cluster.bundle().collections().iter().find(|c| {
        c.outcome == Outcome::Failed
            && c.group == group
            && c.resource == resource
            && c.namespace.as_deref().unwrap_or_default() == namespace
    });
    match refused {
        Some(refused) => denied(refused.why.clone().unwrap_or_else(|| "was not collected".to_owned())),
        None => json!({"allowed": true}),
    }
}
