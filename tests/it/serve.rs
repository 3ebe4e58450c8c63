//! `serve` without a socket: `kube::Client` over the router, the way gather's tests use it.

use std::io::Read as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Request};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Error};
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::model::Object;
use oc_mcpgw::model::bundle::{Bundle, Collection, LogFile, Meta, Outcome};
use oc_mcpgw::serve::{Cluster, router};
use serde_json::{Value, json};

/// Builds a bundle from objects and logs.
#[derive(Default)]
struct Build {
    bundle: Bundle,
    files: Memory,
}

impl Build {
    fn new() -> Self {
        let now = DateTime::parse_from_rfc3339("2026-11-22T12:00:00Z").expect("a time");
        let collected_at = Some(now.with_timezone(&Utc));
        Self { bundle: Bundle::new(Meta { collected_at, ..Meta::default() }), files: Memory::default() }
    }

    fn object(mut self, value: Value) -> Self {
        self.bundle.add_object(Object::new(value, "objects.yaml".into(), None).expect("an object"));
        self
    }

    fn pod(self, namespace: &str, name: &str, containers: &[&str]) -> Self {
        let containers: Vec<Value> = containers.iter().map(|name| json!({"name": name})).collect();
        self.object(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
            "spec": {"containers": containers, "nodeName": "node-1"}, "status": {"phase": "Running"}}))
    }

    fn log(mut self, namespace: &str, pod: &str, container: &str, previous: bool, text: &str) -> Self {
        let file = oc_mcpgw::archive::path::log(namespace, pod, container, previous);
        self.files.0.insert(file.clone(), text.as_bytes().to_vec());
        self.bundle.add_log(LogFile {
            file,
            namespace: namespace.into(),
            pod: pod.into(),
            container: container.into(),
            previous,
            ..LogFile::default()
        });
        self
    }

    fn collection(mut self, resource: &str, kind: &str, outcome: Outcome, why: Option<&str>) -> Self {
        self.bundle.add_collection(Collection {
            group: String::new(),
            version: "v1".into(),
            kind: kind.into(),
            resource: resource.into(),
            namespace: None,
            outcome,
            items: 0,
            why: why.map(str::to_owned),
        });
        self
    }

    fn routes(self) -> Router {
        router(Cluster::new(self.bundle, Arc::new(self.files)))
    }

    fn client(self) -> Client {
        Client::new(self.routes(), "default")
    }
}

/// The answer to a plain request: status, headers, body.
async fn ask(routes: &mut Router, request: http::request::Builder) -> (u16, HeaderMap, Vec<u8>) {
    let request = request.body(Body::empty()).expect("a request");
    let Ok(response) = tower_service::Service::call(routes, request).await;
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    (parts.status.as_u16(), parts.headers, body.to_vec())
}

fn api(
    client: &Client,
    gvk: (&str, &str, &str),
    plural: &str,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(gvk.0, gvk.1, gvk.2);
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn pods(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    api(client, ("", "v1", "Pod"), "pods", namespace)
}

async fn names(api: &Api<DynamicObject>, params: &ListParams) -> Vec<String> {
    let list = api.list(params).await.expect("a list");
    list.items.into_iter().map(|object| object.metadata.name.expect("a name")).collect()
}

fn refusal<T>(answer: Result<T, Error>) -> (u16, String, String) {
    match answer {
        Err(Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        Err(other) => panic!("not a Status: {other}"),
        Ok(_) => panic!("must be refused"),
    }
}

#[tokio::test]
async fn discovery_names_what_the_bundle_has() {
    let client = Build::new()
        .object(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"namespace": "a", "name": "gw"}}))
        .client();
    let discovery = kube::Discovery::new(client.clone()).run_aggregated().await.expect("discovery");
    let group = discovery.get("gateway.networking.k8s.io").expect("the group");
    let (resource, capabilities) = group.recommended_kind("Gateway").expect("the kind");
    assert_eq!((resource.plural.as_str(), resource.version.as_str()), ("gateways", "v1"));
    assert!(capabilities.supports_operation("list") && !capabilities.supports_operation("create"));
    assert!(discovery.get("kuadrant.io").is_none(), "nothing tells that Kuadrant is installed");
    let legacy = kube::Discovery::new(client).run().await.expect("legacy discovery");
    assert_eq!(
        legacy.groups().map(|group| group.name().to_owned()).collect::<Vec<_>>().len(),
        discovery.groups().count()
    );
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let build = ["a", "b", "c", "d", "e"].iter().fold(Build::new(), |build, name| {
        let namespace = if *name == "e" { "two" } else { "one" };
        build.pod(namespace, name, &["main"])
    });
    let client = build.client();
    let all = pods(&client, None);
    assert_eq!(names(&all, &ListParams::default()).await, ["a", "b", "c", "d", "e"]);
    assert_eq!(names(&pods(&client, Some("two")), &ListParams::default()).await, ["e"]);
    assert_eq!(names(&all, &ListParams::default().labels("app in (b,d)")).await, ["b", "d"]);
    assert_eq!(names(&all, &ListParams::default().fields("metadata.namespace!=one")).await, ["e"]);

    let mut params = ListParams::default().limit(2);
    let mut pages = Vec::new();
    loop {
        let page = all.list(&params).await.expect("a page");
        pages.push(page.items.iter().map(kube::ResourceExt::name_any).collect::<Vec<_>>().join(""));
        match page.metadata.continue_ {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
    }
    assert_eq!(pages, ["ab", "cd", "e"]);

    let (code, reason, _) = refusal(all.list(&ListParams::default().continue_token("nonsense")).await);
    assert_eq!((code, reason.as_str()), (410, "Expired"));
    let (code, _, message) = refusal(all.list(&ListParams::default().fields("spec.odd=x")).await);
    assert!(code == 400 && message.contains("field label not supported: spec.odd"), "{message}");
}

#[tokio::test]
async fn metadata_alone_leaves_the_rest_out() {
    let client = Build::new().pod("one", "a", &["main"]).client();
    let list = pods(&client, None).list_metadata(&ListParams::default()).await.expect("metadata");
    assert_eq!(list.items[0].metadata.name.as_deref(), Some("a"));
    let one = pods(&client, Some("one")).get_metadata("a").await.expect("metadata");
    assert_eq!(one.metadata.namespace.as_deref(), Some("one"));
}

#[tokio::test]
async fn what_failed_to_be_collected_is_refused_again() {
    let client = Build::new()
        .collection("secrets", "Secret", Outcome::Failed, Some("403 Forbidden: secrets is forbidden"))
        .client();
    let secrets = api(&client, ("", "v1", "Secret"), "secrets", None);
    let (code, reason, message) = refusal(secrets.list(&ListParams::default()).await);
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert!(message.contains("were not collected: 403 Forbidden"), "{message}");
}

#[tokio::test]
async fn nothing_can_be_written() {
    let client = Build::new().pod("one", "a", &["main"]).client();
    let pods = pods(&client, Some("one"));
    let (code, reason, message) = refusal(pods.delete("a", &kube::api::DeleteParams::default()).await);
    assert_eq!((code, reason.as_str()), (405, "MethodNotAllowed"));
    assert!(message.contains("read-only view of a bundle collected at 2026-11-22T12:00:00Z"), "{message}");
}

#[tokio::test]
async fn unknown_things_are_not_found() {
    let client = Build::new().pod("one", "a", &["main"]).client();
    let (code, _, message) = refusal(pods(&client, Some("one")).get("b").await);
    assert_eq!((code, message.as_str()), (404, "pods \"b\" not found"));
    let odd = api(&client, ("odd.io", "v1", "Odd"), "odds", None);
    let (code, _, message) = refusal(odd.list(&ListParams::default()).await);
    assert_eq!((code, message.as_str()), (404, "the server could not find the requested resource"));
}

#[tokio::test]
async fn logs_of_containers() {
    let text = "2026-11-22T11:58:00.000000001Z one\n2026-11-22T11:59:30.000000001Z two\n";
    let client = Build::new()
        .pod("one", "a", &["main"])
        .pod("one", "b", &["x", "y"])
        .log("one", "a", "main", false, text)
        .log("one", "a", "main", true, "before\n")
        .log("one", "b", "y", false, "y\n")
        .client();
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client, "one");
    let params = LogParams::default;
    assert_eq!(pods.logs("a", &params()).await.expect("a log"), "one\ntwo\n");
    let stamped = LogParams { timestamps: true, ..params() };
    assert_eq!(pods.logs("a", &stamped).await.expect("a log"), text);
    let tail = LogParams { tail_lines: Some(1), ..params() };
    assert_eq!(pods.logs("a", &tail).await.expect("a log"), "two\n");
    let since = LogParams { since_seconds: Some(60), ..params() };
    assert_eq!(pods.logs("a", &since).await.expect("a log"), "two\n", "seconds before the collection");
    let previous = LogParams { previous: true, ..params() };
    assert_eq!(pods.logs("a", &previous).await.expect("a log"), "before\n");
    let limited = LogParams { limit_bytes: Some(5), ..params() };
    assert_eq!(pods.logs("a", &limited).await.expect("a log"), "one\nt");

    let (code, _, message) = refusal(pods.logs("b", &params()).await);
    assert_eq!(
        (code, message.as_str()),
        (400, "a container name must be specified for pod b, choose one of: [x y]")
    );
    let container = |name: &str| LogParams { container: Some(name.into()), ..params() };
    assert_eq!(pods.logs("b", &container("y")).await.expect("a log"), "y\n");
    let (code, _, message) = refusal(pods.logs("b", &container("x")).await);
    assert!(code == 404 && message.contains("was not collected"), "{message}");
    let (code, _, message) = refusal(pods.logs("b", &container("z")).await);
    assert_eq!((code, message.as_str()), (400, "container z is not valid for pod b"));
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_can() {
    let build =
        (0..400).fold(Build::new(), |build, n| build.pod("one", &format!("{}{n}", "p".repeat(200)), &["m"]));
    let mut routes = build.routes();
    let plain = ask(&mut routes, Request::get("/api/v1/pods")).await;
    assert!(!plain.1.contains_key("content-encoding"));
    let (_, headers, body) =
        ask(&mut routes, Request::get("/api/v1/pods").header("accept-encoding", "gzip, br")).await;
    assert_eq!(headers["content-encoding"], "gzip");
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut unpacked).expect("gzip");
    assert!(unpacked == plain.2 && body.len() < plain.2.len() / 4);
    let (_, headers, _) = ask(&mut routes, Request::get("/healthz").header("accept-encoding", "gzip")).await;
    assert!(!headers.contains_key("content-encoding"), "not worth it");
}

#[tokio::test]
async fn what_was_not_collected_is_warned_about() {
    let mut routes = Build::new().pod("one", "a", &["m"]).routes();
    let (code, headers, _) = ask(&mut routes, Request::get("/api/v1/secrets")).await;
    assert_eq!(code, 200);
    assert_eq!(headers["warning"], "299 - \"secrets were not collected: an empty list proves nothing\"");
    let (_, headers, _) = ask(&mut routes, Request::get("/api/v1/pods")).await;
    assert!(!headers.contains_key("warning"));

    let partly =
        Build::new().pod("one", "a", &["m"]).collection("pods", "Pod", Outcome::Partial, Some("page 2: 500"));
    let (_, headers, _) = ask(&mut partly.routes(), Request::get("/api/v1/pods")).await;
    assert_eq!(headers["warning"], "299 - \"pods are not all in the bundle: page 2: 500\"");
}

#[tokio::test]
async fn tables_have_the_version_that_was_asked_for() {
    let mut routes = Build::new().pod("one", "a", &["m"]).routes();
    let accept = "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    let uri = "/api/v1/namespaces/one/pods?includeObject=None";
    let (_, _, body) = ask(&mut routes, Request::get(uri).header("accept", accept)).await;
    let table: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1beta1")));
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert!(table["rows"][0].get("object").is_none());
    let protobuf = Request::get("/api/v1/pods").header("accept", "application/vnd.kubernetes.protobuf");
    assert_eq!(ask(&mut routes, protobuf).await.0, 406);
}

#[tokio::test]
async fn reviews_tell_what_can_be_read() {
    let client =
        Build::new().collection("secrets", "Secret", Outcome::Failed, Some("403 Forbidden")).client();
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
    for (verb, resource, allowed) in
        [("list", "pods", true), ("get", "pods", true), ("delete", "pods", false), ("list", "secrets", false)]
    {
        let review = serde_json::from_value(json!({"apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview", "metadata": {},
            "spec": {"resourceAttributes": {"verb": verb, "resource": resource}}}));
        let review: SelfSubjectAccessReview = review.expect("a review");
        let answer = reviews.create(&kube::api::PostParams::default(), &review).await.expect("an answer");
        assert_eq!(answer.status.map(|status| status.allowed), Some(allowed), "{verb} {resource}");
    }
}

#[tokio::test]
async fn a_watch_begins_with_what_there_is() {
    use futures_util::StreamExt as _;
    let client = Build::new().pod("one", "a", &["m"]).pod("one", "b", &["m"]).client();
    let params = kube::api::WatchParams::default().timeout(1);
    let events = pods(&client, Some("one")).watch(&params, "0").await.expect("a watch");
    let events: Vec<_> = events.collect().await;
    let names: Vec<String> = events
        .into_iter()
        .map(|event| match event.expect("an event") {
            kube::core::WatchEvent::Added(object) => kube::ResourceExt::name_any(&object),
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(names, ["a", "b"], "and then it ends at its timeout");
}
