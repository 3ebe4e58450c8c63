//! Errors the way a Kubernetes API server words them: a `Status` object with a reason and a code.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};

/// A refusal, as clients of Kubernetes understand it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Status {
    code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    /// 400: the request itself makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: no token, or not this run's.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized: use the kubeconfig that this run of serve wrote")
    }

    /// 403: the collection was refused, and so is the answer from it.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message)
    }

    /// 404 for a path that no API server with these kinds would serve.
    pub(crate) fn no_such_path() -> Self {
        let mut status = Self::new(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(json!({}));
        status
    }

    /// 404 with a message of its own.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "NotFound", message)
    }

    /// 404 for an object: `pods "x" not found`.
    pub(crate) fn no_such_object(group: &str, plural: &str, name: &str) -> Self {
        let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let mut status = Self::new(404, "NotFound", format!("{resource} \"{name}\" not found"));
        status.details = Some(json!({"name": name, "group": group, "kind": plural}));
        status
    }

    /// 405: writes, and verbs that a resource does not have.
    pub(crate) fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(405, "MethodNotAllowed", message)
    }

    /// 406: none of the accepted forms is one of ours.
    pub(crate) fn not_acceptable() -> Self {
        Self::new(406, "NotAcceptable", "only the following media types are accepted: application/json")
    }

    /// 410: a `continue` token that is not of this list.
    pub(crate) fn expired() -> Self {
        Self::new(
            410,
            "Expired",
            "The provided continue parameter is invalid or of another list. \
             You can start a new list without the continue parameter.",
        )
    }

    /// 500: the bundle cannot be read, or the collection failed with something else than a refusal.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// 501: what only a living cluster can do.
    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, "NotImplemented", message)
    }

    /// 503: a pod that cannot be reached.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// The `Status` object.
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            body["details"] = details.clone();
        }
        body
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let mut body = self.body().to_string();
        body.push('\n');
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            http::StatusCode::from_u16(self.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.code == 405 {
            response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}
