//! Questions from inside of existing pods, with what their image offers: `getent`, `nslookup`,
//! `curl`, `wget`, and Istio's `pilot-agent`, which a proxy's image has when it has nothing else. No pod is
//! made, no shell is run: a command is a fixed list of words with a checked host name in it, and what it prints
//! is bounded and kept only as the few facts below.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::super::client::{Api, Refusal, one_line};
use super::super::forward;
use crate::model::probes::{Fault, Probe, Purpose, Timings};

/// How long one command may take; the commands end earlier by themselves.
const COMMAND: Duration = Duration::from_secs(20);
/// How much of what a command prints is read.
const OUTPUT_LIMIT: u64 = 16 << 10;
/// What curl prints at the end, and nothing else. `%{…}` are its own words.
const CURL_FORMAT: &str =
    "mcpgw %{http_code} %{time_connect} %{time_appconnect} %{time_starttransfer} %{time_total}";

/// What stands for the address in [`PILOT_AGENT`].
const URL: &str = "URL";
/// Istio's agent waits until a GET of an address is answered with 200, and says at the end why not. Newer agents
/// ask once before the time is over, older ones, which ask before they wait, at most twice. It follows redirects,
/// tells neither timings nor the status of a redirect, and trusts what the proxy's image trusts.
const PILOT_AGENT: [&str; 10] = [
    "pilot-agent",
    "wait",
    "--periodMillis",
    "700",
    "--timeoutSeconds",
    "1",
    "--requestTimeoutMillis",
    "8000",
    "--url",
    URL,
];

/// Whether a text is a host name or an address, and nothing that a command could take for an option.
pub(super) fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && !text.starts_with(['-', '.'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

/// The commands that answer a probe, best first.
pub(crate) fn commands(probe: &Probe) -> Vec<Vec<String>> {
    let host = probe.request.host.as_str();
    if !is_host(host) {
        return Vec::new();
    }
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match probe.purpose {
        Purpose::Dns => vec![words(&["getent", "ahosts", host]), words(&["nslookup", host])],
        Purpose::Https => {
            let url = probe.request.line.trim_start_matches("GET ");
            vec![
                words(&[
                    "curl",
                    "-sS",
                    "-o",
                    "/dev/null",
                    "--connect-timeout",
                    "5",
                    "--max-time",
                    "10",
                    "-w",
                    CURL_FORMAT,
                    url,
                ]),
                words(&["wget", "-q", "-O", "/dev/null", "-T", "8", url]),
                words(&PILOT_AGENT.map(|word| if word == URL { url } else { word })),
            ]
        }
        _ => Vec::new(),
    }
}

/// What a command printed, and how it ended.
#[derive(Debug, Default)]
struct Ran {
    stdout: String,
    stderr: String,
    exit: i64,
}

/// What came of running a command.
enum Outcome {
    Ran(Ran),
    /// The image does not have it.
    NotThere,
    Failed(Refusal),
}

/// Runs the commands of a probe until one is there; gives the refusal where none may be run.
pub(super) async fn ask(api: &Api, probe: &mut Probe) -> Option<Refusal> {
    let via = probe.request.via.clone();
    let container = via.container.clone().unwrap_or_default();
    let mut names = Vec::new();
    for command in commands(probe) {
        names.push(command[0].clone());
        probe.request.via.command.clone_from(&command);
        let start = tokio::time::Instant::now();
        let outcome = run(api, &via.namespace, &via.pod, &container, &command).await;
        probe.timings.total_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Outcome::NotThere => {}
            Outcome::Ran(ran) => {
                read(probe, &command[0], &ran);
                return None;
            }
            Outcome::Failed(refusal) => {
                let Refusal { reason, message, .. } = refusal.clone();
                probe.error = Some(Fault { reason, message });
                return refusal.is_forbidden().then_some(refusal);
            }
        }
    }
    probe.request.via.command.clear();
    probe.skipped = Some(format!("container {container} has none of {}", names.join(", ")));
    None
}

async fn run(api: &Api, namespace: &str, pod: &str, container: &str, command: &[String]) -> Outcome {
    let pods: kube::Api<Pod> = kube::Api::namespaced(api.kube().clone(), namespace);
    let params =
        AttachParams::default().container(container).stdin(false).stdout(true).stderr(true).tty(false);
    let running = async {
        let mut process = match pods.exec(pod, command, &params).await {
            Ok(process) => process,
            Err(error) => return Outcome::Failed(forward::refused(&error)),
        };
        let status = process.take_status();
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let (stdout, stderr) = tokio::join!(text(stdout), text(stderr));
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        match status {
            Some(status) => ended(status, stdout, stderr),
            None => Outcome::Failed(Refusal::local("Exec", "the command ended without a status")),
        }
    };
    let stop = api.stop().clone();
    tokio::select! {
        outcome = tokio::time::timeout(COMMAND, running) => outcome.unwrap_or_else(|_| {
            let message = format!("the command did not end within {} s", COMMAND.as_secs());
            Outcome::Failed(Refusal::local("Timeout", message))
        }),
        why = stop.wait() => Outcome::Failed(Refusal::local(super::super::client::CUT, why)),
    }
}

async fn text(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read before an error is all there is.
        let _ = stream.take(OUTPUT_LIMIT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the status with which the kubelet ends a command.
fn ended(status: Status, stdout: String, stderr: String) -> Outcome {
    let message = status.message.unwrap_or_default();
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse::<i64>().ok());
    let exit = match (status.status.as_deref(), code) {
        (Some("Success"), _) => 0,
        (_, Some(code)) => code,
        _ if is_not_there(&message) => return Outcome::NotThere,
        _ => return Outcome::Failed(Refusal::local("Exec", one_line(&message, 300))),
    };
    // Some runtimes start, fail and say so as a shell does.
    if matches!(exit, 126 | 127) && stdout.is_empty() {
        return Outcome::NotThere;
    }
    Outcome::Ran(Ran { stdout, stderr, exit })
}

fn is_not_there(message: &str) -> bool {
    ["executable file not found", "no such file or directory", "permission denied"]
        .iter()
        .any(|text| message.contains(text))
}

/// Puts what a command said into the record.
fn read(probe: &mut Probe, command: &str, ran: &Ran) {
    let fault = match command {
        "getent" => getent(probe, ran),
        "nslookup" => nslookup(probe, ran),
        "curl" => curl(probe, ran),
        "pilot-agent" => pilot_agent(probe, ran),
        _ => wget(probe, ran),
    };
    probe.error = fault.map(|(reason, fallback)| Fault {
        reason: reason.to_owned(),
        message: match one_line(last_error(ran).unwrap_or(&ran.stderr).trim(), 200) {
            text if text.is_empty() => fallback.to_owned(),
            text => text,
        },
    });
}

type Said = Option<(&'static str, &'static str)>;

fn addresses<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for address in words.filter_map(|word| word.parse::<IpAddr>().ok()) {
        let address = address.to_string();
        if !found.contains(&address) && found.len() < 16 {
            found.push(address);
        }
    }
    found
}

fn getent(probe: &mut Probe, ran: &Ran) -> Said {
    probe.addresses = addresses(ran.stdout.lines().filter_map(|line| line.split_whitespace().next()));
    match (ran.exit, probe.addresses.is_empty()) {
        (0, false) => None,
        (2, _) => Some(("UnknownHost", "the name does not resolve")),
        _ => Some(("Exec", "getent failed")),
    }
}

fn nslookup(probe: &mut Probe, ran: &Ran) -> Said {
    // The first address is that of the DNS server itself.
    let answer = ran.stdout.split_once("Name:").map(|(_, answer)| answer).unwrap_or_default();
    let lines = answer.lines().filter_map(|line| line.trim().strip_prefix("Address"));
    probe.addresses = addresses(lines.flat_map(str::split_whitespace));
    let said = format!("{} {}", ran.stdout, ran.stderr).to_ascii_lowercase();
    let unknown = ["nxdomain", "can't find", "can't resolve", "servfail", "no servers could be reached"];
    if !probe.addresses.is_empty() {
        None
    } else if unknown.iter().any(|text| said.contains(text)) {
        Some(("UnknownHost", "the name does not resolve"))
    } else {
        Some(("Exec", "nslookup failed"))
    }
}

fn curl(probe: &mut Probe, ran: &Ran) -> Said {
    let mut words = ran.stdout.trim().strip_prefix("mcpgw ").unwrap_or_default().split(' ');
    let status = words.next().and_then(|word| word.parse::<u16>().ok());
    let mut seconds = || words.next().and_then(|word| word.parse::<f64>().ok()).filter(|s| *s > 0.0);
    let steps = [seconds(), seconds(), seconds(), seconds()];
    let ms = |seconds: f64| (seconds * 1000.0).round() as u64;
    let step = |at: usize, before: usize| Some(ms((steps[at]? - steps[before].unwrap_or(0.0)).max(0.0)));
    probe.status = status.filter(|status| *status >= 100);
    probe.timings = Timings {
        connect_ms: steps[0].map(ms),
        tls_ms: step(1, 0),
        first_byte_ms: step(2, if steps[1].is_some() { 1 } else { 0 }),
        ..probe.timings
    };
    // The exit codes of curl(1).
    match ran.exit {
        0 => None,
        5 | 6 => Some(("UnknownHost", "the name does not resolve")),
        7 => Some(("ConnectionRefused", "no connection")),
        28 => Some(("ConnectTimeout", "no answer in time")),
        35 => Some(("TlsError", "the TLS handshake failed")),
        51 | 58 | 60 | 77 => {
            Some(("CertificateNotTrusted", "the certificate is not trusted in this container"))
        }
        52 | 56 => Some(("ConnectionClosed", "the connection was closed without an answer")),
        _ => Some(("Exec", "curl failed")),
    }
}

fn wget(probe: &mut Probe, ran: &Ran) -> Said {
    let said = ran.stderr.to_ascii_lowercase();
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    let word = |before: &str| said.split_once(before)?.1.split_whitespace().next()?.parse::<u16>().ok();
    probe.status =
        word("server returned error: http/1.1 ").or_else(|| word("server returned error: http/1.0 "));
    match ran.exit {
        0 => {
            probe.status = Some(200);
            None
        }
        _ if probe.status.is_some() => None,
        // GNU wget: the server answered with an error.
        8 => None,
        _ if has(&["bad address", "unable to resolve"]) => Some(("UnknownHost", "the name does not resolve")),
        _ if has(&["refused"]) => Some(("ConnectionRefused", "no connection")),
        _ if has(&["timed out", "timeout"]) => Some(("ConnectTimeout", "no answer in time")),
        _ if has(&["certificate", "cert "]) => {
            Some(("CertificateNotTrusted", "the certificate is not trusted in this container"))
        }
        _ if has(&["tls", "ssl"]) => Some(("TlsError", "the TLS handshake failed")),
        _ if has(&["no route", "unreachable", "can't connect"]) => {
            Some(("Unreachable", "no way to the host"))
        }
        _ => Some(("Exec", "wget failed")),
    }
}

/// What `pilot-agent wait` says at its end of the last request.
fn last_error(ran: &Ran) -> Option<&str> {
    let said = [&ran.stderr, &ran.stdout].into_iter().find_map(|text| text.split_once("Last error: "))?;
    said.1.lines().next()
}

fn pilot_agent(probe: &mut Probe, ran: &Ran) -> Said {
    if ran.exit == 0 {
        probe.status = Some(200);
        return None;
    }
    // An older agent, a flag that it does not know, or a time that was over before the request.
    let Some(said) = last_error(ran).filter(|said| *said != "<nil>") else {
        return Some(("Exec", "pilot-agent failed"));
    };
    probe.status = said.strip_prefix("HTTP status code ").and_then(|code| code.trim().parse().ok());
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    // The words of Go's resolver, network and TLS.
    match () {
        () if probe.status.is_some() => None,
        () if has(&["no such host", "server misbehaving"]) => {
            Some(("UnknownHost", "the name does not resolve"))
        }
        () if has(&["connection refused"]) => Some(("ConnectionRefused", "no connection")),
        () if has(&["no route to host", "network is unreachable"]) => {
            Some(("Unreachable", "no way to the host"))
        }
        () if has(&["Client.Timeout", "i/o timeout", "deadline exceeded"]) => {
            Some(("ConnectTimeout", "no answer in time"))
        }
        () if has(&["x509:", "failed to verify certificate"]) => {
            Some(("CertificateNotTrusted", "the certificate is not trusted in this container"))
        }
        () if has(&["tls:", "HTTP response to HTTPS client", "handshake"]) => {
            Some(("TlsError", "the TLS handshake failed"))
        }
        () if said.ends_with("EOF") || has(&["connection reset"]) => {
            Some(("ConnectionClosed", "the connection was closed without an answer"))
        }
        () => Some(("Exec", "pilot-agent failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::probes::{Request, Subject};

    fn probe(purpose: Purpose, host: &str) -> Probe {
        let line = format!("GET https://{host}/");
        Probe::new(purpose, Subject::default(), Request { line, host: host.to_owned(), ..Request::default() })
    }

    #[test]
    fn nothing_but_a_host_name_becomes_part_of_a_command() {
        for host in
            ["a;reboot", "$(id)", "-oProxyCommand=x", "a b", "", "../x", "a/b", "a\nb", "`id`", "{a,b}"]
        {
            assert!(!is_host(host), "{host}");
            assert!(commands(&probe(Purpose::Dns, host)).is_empty());
            assert!(commands(&probe(Purpose::Https, host)).is_empty());
        }
        for host in ["api.example.com", "10.0.0.1", "x"] {
            let all = commands(&probe(Purpose::Https, host));
            assert_eq!(all.len(), 3);
            assert!(all.iter().all(|command| command.last() == Some(&format!("https://{host}/"))));
            assert!(all.iter().flatten().all(|word| word != "sh" && word != "-c"));
        }
    }

    #[test]
    fn what_the_commands_say() {
        /// Command, exit code, what it printed on both streams; status and reason that are read.
        type Row = (&'static str, i64, &'static str, &'static str, Option<u16>, &'static str);
        let table: &[Row] = &[
            ("getent", 0, "10.0.0.7   STREAM x\n10.0.0.7   DGRAM\nfd00::7 STREAM\n", "", None, ""),
            ("getent", 2, "", "", None, "UnknownHost"),
            (
                "nslookup",
                0,
                "Server: 10.96.0.10\nAddress: 10.96.0.10:53\n\nName: x\nAddress 1: 10.0.0.7 x\n",
                "",
                None,
                "",
            ),
            (
                "nslookup",
                1,
                "Server: 10.96.0.10\n\n** server can't find x: NXDOMAIN\n",
                "",
                None,
                "UnknownHost",
            ),
            ("curl", 0, "mcpgw 302 0.010 0.030 0.040 0.050", "", Some(302), ""),
            ("curl", 6, "mcpgw 000 0 0 0 0.01", "curl: (6) Could not resolve host: x", None, "UnknownHost"),
            ("curl", 7, "", "curl: (7) Failed to connect", None, "ConnectionRefused"),
            ("curl", 60, "mcpgw 000 0.1 0 0 0.2", "", None, "CertificateNotTrusted"),
            ("curl", 3, "", "curl: (3) URL malformed", None, "Exec"),
            ("wget", 0, "", "", Some(200), ""),
            ("wget", 1, "", "wget: server returned error: HTTP/1.1 404 Not Found", Some(404), ""),
            ("wget", 1, "", "wget: bad address 'x'", None, "UnknownHost"),
            (
                "wget",
                1,
                "",
                "wget: can't connect to remote host (10.0.0.7): Connection refused",
                None,
                "ConnectionRefused",
            ),
            ("wget", 1, "", "wget: download timed out", None, "ConnectTimeout"),
            ("wget", 1, "", "wget: TLS error from peer (alert code 40): handshake failure", None, "TlsError"),
            ("pilot-agent", 0, "info\tEnvoy is ready!\n", "", Some(200), ""),
            ("pilot-agent", 1, "", "Error: unknown flag: --url\nUsage:", None, "Exec"),
            ("pilot-agent", 255, "", "Error: timeout waiting. Last error: <nil>\n", None, "Exec"),
            (
                "pilot-agent",
                255,
                "",
                "Error: timeout waiting. Last error: HTTP status code 404\n",
                Some(404),
                "",
            ),
            (
                "pilot-agent",
                255,
                "",
                "Error: timeout waiting. Last error: Get \"https://x/\": dial tcp: lookup x on 10.96.0.10:53: no such host\n",
                None,
                "UnknownHost",
            ),
            (
                "pilot-agent",
                255,
                "",
                "Error: timeout waiting. Last error: Get \"https://x/\": dial tcp 10.0.0.7:443: connect: connection refused",
                None,
                "ConnectionRefused",
            ),
            (
                "pilot-agent",
                255,
                "",
                "Last error: Get \"https://x/\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
                None,
                "CertificateNotTrusted",
            ),
            (
                "pilot-agent",
                255,
                "",
                "Last error: Get \"https://x/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                None,
                "ConnectTimeout",
            ),
            ("pilot-agent", 255, "", "Last error: Get \"https://x/\": EOF\n", None, "ConnectionClosed"),
        ];
        for (command, exit, stdout, stderr, status, reason) in table {
            let mut probe = probe(Purpose::Https, "x");
            let ran = Ran { stdout: (*stdout).to_owned(), stderr: (*stderr).to_owned(), exit: *exit };
            read(&mut probe, command, &ran);
            assert_eq!(probe.status, *status, "{command} {stderr}");
            let said = probe.error.map(|fault| fault.reason).unwrap_or_default();
            assert_eq!(said, *reason, "{command} {exit} {stderr}");
            if *exit == 0 && matches!(*command, "getent" | "nslookup") {
                assert_eq!(probe.addresses[0], "10.0.0.7");
            }
        }
    }

    #[test]
    fn how_commands_end() {
        let status = |json: serde_json::Value| serde_json::from_value::<Status>(json).expect("a status");
        let end = |json| ended(status(json), String::new(), String::new());
        assert!(matches!(end(serde_json::json!({"status": "Success"})), Outcome::Ran(Ran { exit: 0, .. })));
        let code = |code: &str| {
            serde_json::json!({"status": "Failure", "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code}]}})
        };
        assert!(matches!(end(code("6")), Outcome::Ran(Ran { exit: 6, .. })));
        assert!(matches!(end(code("127")), Outcome::NotThere));
        let missing = "OCI runtime exec failed: exec: \"curl\": executable file not found in $PATH: unknown";
        assert!(matches!(
            end(serde_json::json!({"status": "Failure", "message": missing})),
            Outcome::NotThere
        ));
        let other = serde_json::json!({"status": "Failure", "message": "container not found"});
        assert!(matches!(end(other), Outcome::Failed(_)));
    }
}
