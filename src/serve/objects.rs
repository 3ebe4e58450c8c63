//! Lists and objects: selectors, paging, the forms in which they are wanted, and watches.

use std::io::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde_json::{Value, json};

use super::catalog::Resource;
use super::request::{Form, Query};
use super::select::{Fields, Labels};
use super::status::Status;
use super::table::Printer;
use super::{Answer, Cluster};
use crate::model::Object;
use crate::model::bundle::Outcome;

/// Answers a list, or a watch of one.
pub(crate) fn list(
    cluster: &Cluster,
    resource: &Resource,
    version: &str,
    namespace: Option<&str>,
    query: &Query,
    accept: &str,
) -> Result<Answer, Status> {
    let form = Form::of(accept)?;
    let labels = Labels::parse(query.get("labelSelector").unwrap_or_default())?;
    let fields =
        Fields::parse(query.get("fieldSelector").unwrap_or_default(), &resource.group, &resource.kind)?;
    let selected = || {
        let all = cluster.bundle.list_dynamic(&resource.group, &resource.kind);
        let here = all.filter(move |o| namespace.is_none_or(|namespace| o.namespace() == namespace));
        here.filter(|o| labels.matches(o) && fields.matches(o))
    };
    if query.flag("watch") {
        let objects: Vec<&Object> = selected().collect();
        return watch(cluster, resource, version, &objects, query, form);
    }
    let warnings = completeness(cluster, resource, namespace, selected().next().is_some())?;

    let scope = format!("{}@{}", resource.full_name(), namespace.unwrap_or_default());
    let after = query.get("continue").map(|token| read_token(token, &scope)).transpose()?;
    let limit = match query.number("limit")? {
        None | Some(0) => usize::MAX,
        Some(limit) => {
            usize::try_from(limit).map_err(|_| Status::bad_request("limit must not be negative"))?
        }
    };
    let key = |object: &Object| (object.namespace().to_owned(), object.name().to_owned());
    let mut rest = selected().skip_while(|o| after.as_ref().is_some_and(|after| key(o) <= *after));
    let page: Vec<&Object> = rest.by_ref().take(limit).collect();
    let remaining = rest.count();

    let mut metadata = json!({"resourceVersion": cluster.resource_version});
    if let Some(last) = page.last()
        && remaining > 0
    {
        metadata["continue"] = token(&scope, last).into();
        if labels.is_empty() && fields.is_empty() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let document = match form {
        Form::Table(meta) => Printer::new(resource, version, query, meta, cluster.now)?
            .table(
                &metadata,
                page.iter().copied(),
                |object| in_version(object, resource, version),
                |object| partial(object, meta),
            )
            .to_string()
            .into_bytes(),
        Form::Plain => write_list(
            &resource.list_kind,
            &resource.api_version(version),
            &metadata,
            page.iter().map(|object| in_version(object, resource, version)),
        ),
        Form::Metadata(meta) => write_list(
            "PartialObjectMetadataList",
            &format!("meta.k8s.io/{meta}"),
            &metadata,
            page.iter().map(|object| partial(object, meta)),
        ),
    };
    Ok(Answer::Json(document, warnings))
}

/// Answers the read of one object.
pub(crate) fn get(
    cluster: &Cluster,
    resource: &Resource,
    version: &str,
    namespace: Option<&str>,
    name: &str,
    query: &Query,
    accept: &str,
) -> Result<Answer, Status> {
    let form = Form::of(accept)?;
    let namespace = namespace.unwrap_or_default();
    let found = cluster.bundle.get_dynamic(&resource.group, &resource.kind, namespace, name);
    let Some(object) = found else {
        completeness(cluster, resource, Some(namespace).filter(|ns| !ns.is_empty()), false)?;
        return Err(Status::no_such_object(&resource.group, &resource.plural, name));
    };
    let document = match form {
        Form::Table(meta) => Printer::new(resource, version, query, meta, cluster.now)?.table(
            &json!({"resourceVersion": object.str("/metadata/resourceVersion")}),
            std::iter::once(object),
            |object| in_version(object, resource, version),
            |object| partial(object, meta),
        ),
        Form::Plain => in_version(object, resource, version),
        Form::Metadata(meta) => partial(object, meta),
    };
    Ok(Answer::document(&document))
}

/// Whether an answer from the bundle is the truth about the cluster. Where the collection of a
/// kind failed and nothing of it is there, the answer is the refusal that the collector met; where
/// something is missing, a warning says so; nothing is said where all was collected.
fn completeness(
    cluster: &Cluster,
    resource: &Resource,
    namespace: Option<&str>,
    any: bool,
) -> Result<Vec<String>, Status> {
    let bundle = &cluster.bundle;
    let covering = || {
        bundle.collections().iter().filter(|c| {
            c.group == resource.group
                && c.kind == resource.kind
                && (c.namespace.is_none() || namespace.is_none() || c.namespace.as_deref() == namespace)
        })
    };
    let complete = covering().any(|c| {
        c.outcome == Outcome::Complete && (c.namespace.is_none() || c.namespace.as_deref() == namespace)
    });
    if complete {
        return Ok(Vec::new());
    }
    let place = match namespace {
        Some(namespace) => format!(" in namespace {namespace}"),
        None => String::new(),
    };
    let name = resource.full_name();
    let failed = covering().find(|c| c.outcome == Outcome::Failed);
    if let Some(failed) = failed
        && !any
        && (failed.namespace.is_none() || failed.namespace.as_deref() == namespace)
    {
        let why = failed.why.as_deref().unwrap_or("the request failed");
        let message = format!("{name}{place} were not collected: {why}");
        let code = bundle.meta.failures.iter().find(|f| {
            f.resource.as_deref() == Some(name.as_str())
                && f.namespace.as_deref() == failed.namespace.as_deref()
        });
        return Err(match code.and_then(|failure| failure.code) {
            Some(401 | 403) => Status::forbidden(message),
            None if why.contains("403") || why.contains("orbidden") => Status::forbidden(message),
            _ => Status::internal(message),
        });
    }
    let partly = covering().find(|c| c.outcome != Outcome::Complete && c.outcome != Outcome::NotInstalled);
    let warning = match (partly, any) {
        (Some(partly), _) => {
            let why = partly.why.as_deref().unwrap_or("not all of them were asked for");
            Some(format!("{name}{place} are not all in the bundle: {why}"))
        }
        // A list for some namespaces, and everything was asked for.
        (None, true) => None,
        (None, false) if covering().next().is_some() => None,
        (None, false) => Some(format!("{name}{place} were not collected: an empty list proves nothing")),
    };
    Ok(warning.into_iter().collect())
}

/// An object in a version of its kind. The conversion is the one of CRDs without a webhook: the
/// name of the version, nothing else.
fn in_version(object: &Object, resource: &Resource, version: &str) -> Value {
    let mut value = object.value().to_json();
    if object.version() != version {
        value["apiVersion"] = resource.api_version(version).into();
    }
    value
}

fn partial(object: &Object, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.get("/metadata"),
    })
}

/// Writes a list item by item, so that it stands in memory once.
fn write_list(
    kind: &str,
    api_version: &str,
    metadata: &Value,
    items: impl Iterator<Item = Value>,
) -> Vec<u8> {
    let mut out = format!("{{\"kind\":{},\"apiVersion\":{},", json!(kind), json!(api_version)).into_bytes();
    // Writing to a vector cannot fail.
    let _ = write!(out, "\"metadata\":{metadata},\"items\":[");
    for (position, item) in items.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        let _ = serde_json::to_writer(&mut out, &item);
    }
    out.extend_from_slice(b"]}");
    out
}

/// The token of the next page: which list, and after which object it goes on. A bundle does not
/// change, so a token stays good, in other runs as well.
fn token(scope: &str, last: &Object) -> String {
    URL_SAFE_NO_PAD.encode(json!([1, scope, last.namespace(), last.name()]).to_string())
}

fn read_token(token: &str, scope: &str) -> Result<(String, String), Status> {
    let decoded = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|_| Status::expired())?;
    match serde_json::from_slice::<(u8, String, String, String)>(&decoded) {
        Ok((1, of, namespace, name)) if of == scope => Ok((namespace, name)),
        _ => Err(Status::expired()),
    }
}

/// Answers a watch: what there is (if the client has not listed it before), then silence until
/// the client's time is over or it goes, for nothing ever changes in a bundle.
fn watch(
    cluster: &Cluster,
    resource: &Resource,
    version: &str,
    objects: &[&Object],
    query: &Query,
    form: Form,
) -> Result<Answer, Status> {
    let initial = query.flag("sendInitialEvents")
        || query.get("resourceVersion").is_none_or(|resource_version| resource_version == "0");
    let seconds = query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
    let printer = match form {
        Form::Table(meta) => Some(Printer::new(resource, version, query, meta, cluster.now)?),
        Form::Plain | Form::Metadata(_) => None,
    };
    let shape = |object: &Object| match (form, &printer) {
        (Form::Metadata(meta), _) => partial(object, meta),
        (Form::Table(meta), Some(printer)) => printer.table(
            &json!({"resourceVersion": object.str("/metadata/resourceVersion")}),
            std::iter::once(object),
            |object| in_version(object, resource, version),
            |object| partial(object, meta),
        ),
        _ => in_version(object, resource, version),
    };
    let mut events = Vec::new();
    if initial {
        for object in objects {
            let _ = writeln!(events, "{}", json!({"type": "ADDED", "object": shape(object)}));
        }
    }
    if query.flag("allowWatchBookmarks") && query.flag("sendInitialEvents") {
        let bookmark = json!({"type": "BOOKMARK", "object": {
            "kind": resource.kind, "apiVersion": resource.api_version(version),
            "metadata": {
                "resourceVersion": cluster.resource_version,
                "annotations": {"k8s.io/initial-events-end": "true"},
            },
        }});
        let _ = writeln!(events, "{bookmark}");
    }
    let mut ended = cluster.ended.subscribe();
    let silence = async move {
        let over = async {
            // The sender lives as long as the cluster; if it is gone, so is the server.
            let _ = ended.wait_for(|ended| *ended).await;
        };
        match seconds {
            Some(seconds) => {
                let _ = tokio::time::timeout(Duration::from_secs(seconds), over).await;
            }
            None => over.await,
        }
        Ok::<_, std::io::Error>(Bytes::new())
    };
    let first = futures_util::stream::once(async move { Ok::<_, std::io::Error>(Bytes::from(events)) });
    let rest = futures_util::stream::once(silence);
    let body = Body::from_stream(futures_util::StreamExt::chain(first, rest));
    Ok(Answer::Stream(body, "application/json", Vec::new()))
}

/// From this size on an answer is compressed, as API servers do.
const COMPRESS_FROM: usize = 128 * 1024;

/// Whether the client takes gzip.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(http::header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip")
            && !parts
                .any(|p| p.starts_with("q=0") && !p.contains(['1', '2', '3', '4', '5', '6', '7', '8', '9']))
    })
}

/// The compressed form of an answer, where that is worth it.
pub(crate) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < COMPRESS_FROM {
        return None;
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}
