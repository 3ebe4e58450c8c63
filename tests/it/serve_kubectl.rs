//! The real `kubectl` against `serve`, over TLS: what people and scripts do with a bundle.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::demo::{self, Installation, Refused};
use oc_mcpgw::serve::{Background, Cluster};

/// A served installation and a `kubectl` that leads there.
struct Session {
    _server: Background,
    home: tempfile::TempDir,
}

impl Session {
    fn new(installation: &Installation) -> Self {
        let files = Memory(installation.files(&Refused::default()));
        let cluster = Cluster::new(installation.bundle(), Arc::new(files));
        let server = Background::start(cluster, 0).expect("loopback");
        let home = tempfile::tempdir().expect("a directory");
        server.write_kubeconfig(&home.path().join("config")).expect("a kubeconfig");
        Self { _server: server, home }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("config")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).env("HOME", self.home.path());
        for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "KUBECACHEDIR"] {
            command.env_remove(variable);
        }
        command
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        match self.command(arguments).output() {
            Ok(output) => output,
            Err(error) => panic!(
                "cannot run kubectl ({error}): these tests need the real one, install `kubernetes-client`"
            ),
        }
    }

    /// Standard output of a command that must succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "kubectl {}: {}{}",
            arguments.join(" "),
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// The code and standard error of a command that must fail.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.kubectl(arguments);
        assert!(!output.status.success(), "kubectl {} must fail", arguments.join(" "));
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// The words of the line that begins with these, so that column widths do not matter.
fn row(text: &str, begins: &[&str]) -> String {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let found = text
        .lines()
        .map(words)
        .find(|words| words.starts_with(&begins.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()));
    found.unwrap_or_else(|| panic!("no line begins with {begins:?} in:\n{text}")).join(" ")
}

#[test]
fn everything_is_listed() {
    let session = Session::new(&demo::healthy());
    let resources = session.ok(&["api-resources"]);
    for expected in [
        "pods po v1 true Pod",
        "mcpserverregistrations mcpsr mcp.kuadrant.io/v1 true MCPServerRegistration",
        "gatewayclasses gc gateway.networking.k8s.io/v1 false GatewayClass",
        "selfsubjectreviews authentication.k8s.io/v1 false SelfSubjectReview",
    ] {
        assert_eq!(row(&resources, &[expected.split(' ').next().expect("a word")]), expected);
    }

    let all = session.ok(&["get", "all", "-A"]);
    assert!(row(&all, &["team-weather", "deployment.apps/weather"]).ends_with("1/1 1 1 20d"), "{all}");
    assert!(all.contains("replicaset.apps/weather-") && all.contains("service/istiod"), "{all}");

    let ours = session.ok(&["get", "mcpsr,mcpge,gateway,httproute", "-A"]);
    assert_eq!(
        row(&ours, &["team-weather", "mcpserverregistration.mcp.kuadrant.io/weather"]),
        "team-weather mcpserverregistration.mcp.kuadrant.io/weather weather_ weather /mcp True [\"forecasts\"] 20d"
    );
    assert_eq!(
        row(&ours, &["gateway-system", "gateway.gateway.networking.k8s.io/mcp-gateway"]),
        "gateway-system gateway.gateway.networking.k8s.io/mcp-gateway istio 198.51.100.20 True 25d"
    );
    assert!(row(&ours, &["NAMESPACE", "NAME", "PREFIX"]).ends_with("PATH READY CATEGORY CREDENTIALS AGE"));

    let paged = session.ok(&["get", "pods", "-A", "--chunk-size=2", "-o", "name"]);
    assert_eq!(paged, session.ok(&["get", "pods", "-A", "-o", "name"]));
    assert!(paged.lines().count() > 8, "{paged}");
}

#[test]
fn every_form_of_output() {
    let session = Session::new(&demo::healthy());
    let weather = ["get", "mcpsr", "-n", "team-weather", "weather", "-o"];
    let get = |form: &str| session.ok(&[&weather[..], &[form]].concat());
    assert!(get("yaml").starts_with("apiVersion: mcp.kuadrant.io/v1\nkind: MCPServerRegistration\n"));
    let json: serde_json::Value = serde_json::from_str(&get("json")).expect("JSON");
    assert_eq!(json["spec"]["prefix"], "weather_");
    assert_eq!(get("name"), "mcpserverregistration.mcp.kuadrant.io/weather\n");
    assert_eq!(get("jsonpath={.spec.targetRef.name}"), "weather");
    assert_eq!(get("custom-columns=N:.metadata.name,P:.spec.path"), "N         P\nweather   /mcp\n");
    let wide = session.ok(&["get", "pods", "-n", "team-weather", "-o", "wide"]);
    assert!(
        wide.starts_with("NAME") && wide.contains("NOMINATED NODE") && wide.contains("worker-"),
        "{wide}"
    );
    let policies = session.ok(&["get", "authpolicy", "-A", "-o", "wide"]);
    assert!(row(&policies, &["NAMESPACE"]).contains("ACCEPTED ENFORCED TARGETKIND TARGETNAME"), "{policies}");
    let list = session.ok(&["get", "mcpsr", "-A", "-o", "jsonpath={.items[*].metadata.name}"]);
    assert!(list.split(' ').any(|name| name == "weather"), "{list}");
}

#[test]
fn people_look_closer() {
    let session = Session::new(&demo::healthy());
    let pod = session.ok(&["describe", "pod", "-n", "team-weather", "-l", "app=weather"]);
    assert!(pod.contains("Controlled By:  ReplicaSet/weather-") && pod.contains("Conditions:"), "{pod}");
    let gateway = session.ok(&["describe", "gateway", "-n", "gateway-system", "mcp-gateway"]);
    assert!(gateway.contains("Gateway Class Name:  istio") && gateway.contains("Events:"), "{gateway}");
    let registration = session.ok(&["describe", "mcpsr", "-n", "team-weather", "weather"]);
    assert!(registration.contains("Prefix:  weather_") || registration.contains("Prefix:"), "{registration}");
    let events = session.ok(&["get", "events", "-A", "--sort-by=.lastTimestamp"]);
    assert!(
        events.starts_with("NAMESPACE")
            && row(&events, &["NAMESPACE"]).contains("LAST SEEN TYPE REASON OBJECT")
    );
    let selected = session.ok(&["get", "pods", "-A", "-l", "app in (weather),!none", "-o", "name"]);
    assert!(selected.starts_with("pod/weather-") && selected.lines().count() == 1, "{selected}");
    let running = session.ok(&["get", "pods", "-A", "--field-selector=status.phase!=Running", "-o", "name"]);
    assert_eq!(running, "");
    session.ok(&[
        "wait",
        "-n",
        "team-weather",
        "pod",
        "-l",
        "app=weather",
        "--for=condition=Ready",
        "--timeout=5s",
    ]);
    session.ok(&["rollout", "status", "-n", "team-weather", "deploy/weather", "--timeout=5s"]);
    assert_eq!(session.ok(&["get", "--raw", "/readyz"]), "ok");
    let raw = session.ok(&["get", "--raw", "/apis/mcp.kuadrant.io/v1/mcpserverregistrations?limit=1"]);
    assert!(raw.contains("\"continue\":"), "{raw}");
}

#[test]
fn logs_are_read() {
    let mut installation = demo::healthy();
    let pod = installation.pod_of("team-weather", "weather");
    let stamped = "2026-09-14T10:20:00.000000001Z one\n2026-09-14T10:29:30.000000001Z two\n";
    installation.set_log("team-weather", &pod, "server", false, stamped);
    installation.set_log("team-weather", &pod, "server", true, "panic: before\n");
    let session = Session::new(&installation);
    let logs =
        |more: &[&str]| session.ok(&[&["logs", "-n", "team-weather", "deploy/weather"], more].concat());
    assert_eq!(logs(&[]), "one\ntwo\n");
    assert_eq!(logs(&["--timestamps"]), stamped);
    assert_eq!(logs(&["--tail=1"]), "two\n");
    assert_eq!(logs(&["--since=1m"]), "two\n");
    assert_eq!(logs(&["--since-time=2026-09-14T10:25:00Z"]), "two\n");
    assert_eq!(logs(&["-f"]), "one\ntwo\n", "a log of a bundle does not grow");
    assert_eq!(logs(&["-p", "-c", "server"]), "panic: before\n");
    let (_, why) = session.fails(&["logs", "-n", "team-weather", &pod, "-c", "other"]);
    assert!(why.contains("container other is not valid for pod"), "{why}");
    let (_, why) = session.fails(&["logs", "-p", "-n", "istio-system", "deploy/istiod"]);
    assert!(why.contains("previous terminated container"), "{why}");
}

#[test]
fn kinds_with_a_crd_in_the_bundle_are_explained() {
    let session = Session::new(&demo::healthy());
    let page = session.ok(&["explain", "mcpsr.spec"]);
    assert!(page.contains("KIND:       MCPServerRegistration"), "{page}");
    assert!(page.contains("targetRef\t<Object>"), "{page}");
    // Built-in kinds are no part of a bundle.
    let (_, why) = session.fails(&["explain", "pods"]);
    assert!(why.contains("couldn't find resource"), "{why}");
}

#[test]
fn refusals_are_clear() {
    let session = Session::new(&demo::healthy());
    let whoami = session.ok(&["auth", "whoami"]);
    assert_eq!(row(&whoami, &["Username"]), "Username bundle-reader");
    assert_eq!(session.ok(&["auth", "can-i", "list", "pods"]), "yes\n");
    assert_eq!(session.kubectl(&["auth", "can-i", "delete", "pods"]).status.code(), Some(1));
    assert!(session.ok(&["auth", "can-i", "--list"]).contains("[get list watch]"));
    for (arguments, expected) in [
        (
            &["delete", "mcpsr", "-n", "team-weather", "weather"][..],
            "(MethodNotAllowed): this is a read-only view of a bundle",
        ),
        (&["get", "pods", "-n", "team-weather", "gone"], "(NotFound): pods \"gone\" not found"),
        (&["get", "nosuch"], "the server doesn't have a resource type \"nosuch\""),
        (&["get", "pods", "--field-selector=spec.x=y"], "field label not supported: spec.x"),
        (&["get", "--raw", "/nonsense"], "the server could not find the requested resource"),
        (&["get", "--raw", "/api/v1/pods?continue=bad"], "(Expired)"),
        (&["get", "pods", "--token=wrong"], "You must be logged in to the server"),
    ] {
        let (code, why) = session.fails(arguments);
        assert!(code == 1 && why.contains(expected), "kubectl {}: {why}", arguments.join(" "));
    }
}

#[test]
fn a_watch_says_what_there_is_and_then_nothing() {
    let session = Session::new(&demo::healthy());
    let get = ["get", "pods", "-n", "team-weather", "-o", "name"];
    let once = session.ok(&get);
    assert_eq!(session.ok(&[&get[..], &["--watch", "--request-timeout=1s"]].concat()), once);
    // When the server ends, watches end with it instead of hanging.
    let mut watching = session.command(&[&get[..], &["--watch"]].concat());
    let mut watching = watching.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl");
    let mut line = String::new();
    let mut output = BufReader::new(watching.stdout.take().expect("a pipe"));
    output.read_line(&mut line).expect("the first line");
    assert_eq!(line, once);
    drop(session);
    watching.wait().expect("the end of kubectl");
}

#[test]
fn port_forward_says_what_works_instead() {
    let session = Session::new(&demo::healthy());
    let pod = session.ok(&["get", "pods", "-n", "gateway-system", "-o", "name"]);
    let pod = pod.lines().next().expect("a pod");
    let (_, error) = session.fails(&["port-forward", "-n", "gateway-system", pod, "0:15000"]);
    assert!(error.contains("which kubectl does not use here"), "{error}");
    let (_, pod) = pod.split_once('/').expect("a kind and a name");
    let path = format!("/api/v1/namespaces/gateway-system/pods/{pod}:15000/proxy/ready");
    assert!(session.ok(&["get", "--raw", &path]).contains("LIVE"), "what the message names works");
}
