//! The program `oc-mcpgw serve` as a process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::fixture::Fixture;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oc-mcpgw"));
    command.env_remove("KUBECONFIG").env("NO_COLOR", "1");
    command
}

fn bundle(directory: &Path) -> String {
    Fixture::healthy().write_dir(directory).display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(arguments: &[&str]) -> Output {
    program().arg("serve").args(arguments).output().expect("the program")
}

/// Reads what `serve` announces, up to the empty line before its last.
pub(crate) fn announcement(child: &mut Child) -> (String, BufReader<std::process::ChildStdout>) {
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut text = String::new();
    while !text.contains("Ctrl-C") {
        assert_ne!(output.read_line(&mut text).expect("a line"), 0, "ended early: {text}");
    }
    (text, output)
}

pub(crate) fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
}

#[test]
fn a_command_runs_against_the_bundle_and_its_code_is_ours() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = bundle(directory.path());
    let output = run(&[&bundle, "--", "kubectl", "get", "mcpsr", "-A", "-o", "name"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("mcpserverregistration.mcp.kuadrant.io/weather\n"));
    assert_eq!(text(&output.stderr), "");

    assert_eq!(run(&[&bundle, "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(run(&[&bundle, "--", "sh", "-c", "kill -TERM $$"]).status.code(), Some(143));
    let output = run(&[&bundle, "--", "no-such-command-here"]);
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(text(&output.stderr), "error: cannot run no-such-command-here: command not found\n");
}

#[test]
fn the_kubeconfig_is_private_and_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = bundle(directory.path());
    let script = r#"stat -c %a "$KUBECONFIG"; echo "$KUBECONFIG""#;
    let output = run(&[&bundle, "--", "sh", "-c", script]);
    let lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "600");
    assert!(lines[1].ends_with(".kubeconfig") && !Path::new(&lines[1]).exists(), "{lines:?}");
}

#[test]
fn a_foreign_kubeconfig_is_never_overwritten() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = bundle(&directory.path().join("bundle"));
    let config = directory.path().join("config");
    let path = config.display().to_string();
    for _ in 0..2 {
        let output = run(&[&bundle, "--kubeconfig", &path, "--", "true"]);
        assert!(output.status.success(), "our own may be: {}", text(&output.stderr));
    }
    std::fs::write(&config, "apiVersion: v1\n").expect("a file");
    let output = run(&[&bundle, "--kubeconfig", &path, "--", "true"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("exists and was not written by serve"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(&config).expect("the file"), "apiVersion: v1\n");
}

#[test]
fn it_serves_until_interrupted() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = bundle(directory.path());
    let mut child = program().args(["serve", &bundle]).stdout(Stdio::piped()).spawn().expect("the program");
    let (announced, mut output) = announcement(&mut child);
    assert!(announced.contains("read-only on https://127.0.0.1:"), "{announced}");
    let line = announced.lines().find_map(|line| line.trim().strip_prefix("export KUBECONFIG="));
    let config = line.expect("a line to paste").to_owned();
    let kubectl = Command::new("kubectl")
        .args(["get", "gateway", "-A", "-o", "name"])
        .env("KUBECONFIG", &config)
        .env("HOME", directory.path())
        .output()
        .expect("kubectl: install `kubernetes-client`");
    assert_eq!(text(&kubectl.stdout), "gateway.gateway.networking.k8s.io/mcp-gateway\n");
    interrupt(&child);
    let status = child.wait().expect("the end");
    assert_eq!(status.code(), Some(0));
    assert!(!Path::new(&config).exists(), "the temporary kubeconfig is gone");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "");
}

#[test]
fn signals_reach_the_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = bundle(directory.path());
    let script = "trap 'exit 9' INT TERM; echo ready; while :; do read -r line; done";
    let mut child = program()
        .args(["serve", &bundle, "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    interrupt(&child);
    assert_eq!(child.wait().expect("the end").code(), Some(9));
}

#[test]
fn what_cannot_be_served_is_said_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    let output = run(&[&missing.display().to_string()]);
    assert_eq!(output.status.code(), Some(3));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output = run(&[&bundle(directory.path()), "--port", &port]);
    assert_eq!(output.status.code(), Some(3));
    let message = text(&output.stderr);
    assert!(message.starts_with(&format!("error: cannot listen on 127.0.0.1:{port}")), "{message}");
    assert!(message.contains("hint: choose another --port"), "{message}");
}
