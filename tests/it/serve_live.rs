//! Port-forwards and the pod proxy of `serve`, over TLS with the client that gather uses.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Error};
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::demo::{self, Refused};
use oc_mcpgw::serve::{Cluster, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A document that is larger than all buffers on its way.
const LARGE: usize = 3 << 20;

/// The healthy installation behind a server, a client of it, and the pods of gateway and broker.
async fn session() -> (Server, Client, String, String) {
    let mut installation = demo::healthy();
    let gateway = installation.pod_of("gateway-system", "mcp-gateway-istio");
    let broker = installation.pod_of("mcp-system", "mcp-gateway");
    let file = |name: &str| oc_mcpgw::archive::path::envoy("gateway-system", &gateway, name);
    installation.set_extra(&file("config_dump.json"), "x".repeat(LARGE).as_bytes());
    installation.set_extra(&file("ready.txt"), b"LIVE\n");
    let status = oc_mcpgw::archive::path::broker("mcp-system", &broker, "status.json");
    installation.set_extra(&status, b"{\"servers\":[]}");
    let files = Memory(installation.files(&Refused::default()));
    let cluster = Cluster::new(installation.bundle(), Arc::new(files));
    let server = Server::start(cluster, 0).await.expect("loopback");
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig()).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("one");
    // A refused connection stays refused: nothing is won by asking again for minutes.
    config.default_retry = false;
    (server, Client::try_from(config).expect("a client"), gateway, broker)
}

/// Asks a pod for a path through a port-forward; the whole answer.
async fn ask(client: &Client, namespace: &str, pod: &str, port: u16, path: &str) -> String {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut forward = pods.portforward(pod, &[port]).await.expect("a port-forward");
    let mut stream = forward.take_stream(port).expect("a stream");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    forward.abort();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_answer_what_they_answered_then() {
    let (server, client, gateway, broker) = session().await;
    let ready = ask(&client, "gateway-system", &gateway, 15000, "/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200 OK") && ready.contains("LIVE\n"), "{ready}");
    let dump = ask(&client, "gateway-system", &gateway, 15000, "/config_dump?include_eds").await;
    assert!(dump.matches('x').count() >= LARGE, "{} bytes of the dump", dump.len());
    let listeners = ask(&client, "gateway-system", &gateway, 15000, "/listeners?format=json").await;
    assert!(listeners.contains("application/json"), "{listeners}");
    let text = ask(&client, "gateway-system", &gateway, 15000, "/listeners").await;
    assert!(text.starts_with("HTTP/1.1 404"), "only the JSON form is in a bundle: {text}");
    let status = ask(&client, "mcp-system", &broker, 8080, "/status").await;
    assert!(status.contains("{\"servers\":[]}"), "{status}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_without_an_answer_refuse_the_connection() {
    let (server, client, gateway, _) = session().await;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "gateway-system");
    let mut forward = pods.portforward(&gateway, &[9999]).await.expect("a port-forward");
    let why = forward.take_error(9999).expect("the error channel").await.expect("an error");
    assert!(why.contains("connection refused"), "{why}");
    let missing = pods.portforward("gone", &[15000]).await.map(|_| ());
    assert!(matches!(missing, Err(Error::UpgradeConnection(_) | Error::Api(_))), "{missing:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_of_the_api_server_leads_to_the_same_answers() {
    let (server, client, gateway, _) = session().await;
    let get = async |port: u16, path: &str| {
        let uri = format!("/api/v1/namespaces/gateway-system/pods/{gateway}:{port}/proxy{path}");
        client.request_text(http::Request::get(uri).body(Vec::new()).expect("a request")).await
    };
    assert_eq!(get(15000, "/ready").await.expect("an answer"), "LIVE\n");
    let Err(Error::Api(refused)) = get(9999, "/").await else { panic!("must be refused") };
    assert!(refused.code == 503 && refused.message.contains("connection refused"), "{refused:?}");
    server.stop().await;
}
