//! Probes: what a client would see, asked through port-forward, recorded as one file each.
//!
//! [`known`] keeps the objects that say whom to ask, [`plan`] makes questions of them, [`wire`] asks,
//! [`mcp`] speaks the protocol of the servers, [`exec`] asks from inside of pods. Each probe has a deadline of its own and none waits
//! for another's answer; what cannot be asked is said in its record. Nothing is sent that
//! authenticates, nothing is kept of a body but its shape, and every record goes through the redactor.

pub(crate) mod exec;
mod known;
mod mcp;
mod plan;
mod shape;
mod wire;

pub(crate) use known::{Known, Tap};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use chrono::SecondsFormat;
use http::{HeaderMap, HeaderValue, Method, header};
use tokio::sync::Semaphore;

use super::client::{Refusal, one_line};
use super::cx::Cx;
use super::forward::Port;
use super::pods::Pod;
use crate::model::Bundle;
use crate::model::bundle::Failure;
use crate::model::probes::{Fault, Probe, Purpose};

/// How many probes are made side by side.
const LANES: usize = 4;
/// How many headers are kept, and how much of each.
const HEADERS: usize = 48;
const HEADER_LIMIT: usize = 1024;

/// What running pods are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probes {
    /// Envoy's admin ports, the status of brokers, and the gateways as clients see them.
    pub http: bool,
    /// The registered servers, in their own protocol.
    pub mcp: bool,
    /// Names and hosts from inside of existing pods.
    pub exec: bool,
}

impl Default for Probes {
    fn default() -> Self {
        Self { http: true, mcp: false, exec: false }
    }
}

impl Probes {
    /// No question at all.
    pub const NONE: Self = Self { http: false, mcp: false, exec: false };

    /// Whether anything is asked.
    #[must_use]
    pub fn any(self) -> bool {
        self.http || self.mcp || self.exec
    }

    /// As `--probe` says it.
    #[must_use]
    pub fn words(self) -> String {
        let all = [(self.http, "http"), (self.mcp, "mcp"), (self.exec, "exec")];
        let words: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(",") }
    }
}

/// What the probes of one run share.
struct Run {
    cx: Arc<Cx>,
    lanes: Semaphore,
    /// Whether a port-forward was refused: the next would be, too.
    refused: AtomicBool,
    /// The same for commands in pods.
    exec_refused: AtomicBool,
}

/// The questions that would be asked of an installation, for whoever plays it; `pods` as the API
/// server gives them.
pub(crate) fn questions(bundle: &Bundle, pods: &[serde_json::Value], probes: Probes) -> Vec<Probe> {
    let pods: Vec<Pod> = pods.iter().filter_map(Pod::read).collect();
    planned(bundle, &pods, probes)
}

fn planned(bundle: &Bundle, pods: &[Pod], wanted: Probes) -> Vec<Probe> {
    let mut probes = Vec::new();
    if wanted.http {
        probes.extend(plan::gateways(bundle, pods));
    }
    if wanted.mcp {
        probes.extend(plan::servers(bundle, pods));
    }
    if wanted.exec {
        probes.extend(plan::inside(bundle, pods));
    }
    probes
}

/// Makes all probes that were asked for.
pub(crate) async fn collect(cx: &Arc<Cx>, pods: &[Pod]) {
    let wanted = cx.options.probes;
    if !wanted.any() {
        return;
    }
    let mut probes = planned(&cx.known.bundle(), pods, wanted);
    if !cx.served.port_forward {
        for probe in probes.iter_mut().filter(|probe| probe.request.via.way != plan::EXEC) {
            probe.skipped.get_or_insert_with(|| "the API server offers no pods/portforward".to_owned());
        }
    }
    let run = Arc::new(Run {
        cx: cx.clone(),
        lanes: Semaphore::new(LANES),
        refused: AtomicBool::new(false),
        exec_refused: AtomicBool::new(false),
    });
    let mut tasks = cx.crew();
    for probe in probes {
        if probe.skipped.is_some() {
            run.write(&probe);
            continue;
        }
        let run = run.clone();
        tasks
            .begin(async move {
                let Ok(_lane) = run.lanes.acquire().await else { return };
                if run.cx.stop.is_cut() {
                    run.cx.journal.not_begun("probes");
                    return;
                }
                match probe.purpose {
                    Purpose::McpInitialize | Purpose::McpTools => mcp::talk(&run, probe).await,
                    Purpose::Dns | Purpose::Https => run.inside(probe).await,
                    _ => {
                        let probe = run.make(probe, Vec::new()).await.0;
                        run.write(&probe);
                    }
                }
            })
            .await;
    }
    tasks.end().await;
}

impl Run {
    /// Makes one probe, with these headers beside those that its purpose needs; gives also the
    /// headers of the answer as they came.
    async fn make(&self, mut probe: Probe, headers: Vec<(&'static str, HeaderValue)>) -> (Probe, HeaderMap) {
        probe.time = self.cx.api.clock().now().to_rfc3339_opts(SecondsFormat::Millis, true);
        if self.refused.load(Ordering::Relaxed) {
            probe.error = Some(Fault {
                reason: "Forbidden".to_owned(),
                message: "pods/portforward was refused before".to_owned(),
            });
            return (probe, HeaderMap::new());
        }
        let via = probe.request.via.clone();
        let port = Port { namespace: &via.namespace, pod: &via.pod, port: via.port.unwrap_or_default() };
        let mut all = headers;
        let body = match probe.request.rpc.as_deref() {
            None => {
                all.push(("accept", HeaderValue::from_static("application/json, */*;q=0.1")));
                Bytes::new()
            }
            Some(rpc) => {
                all.push(("accept", HeaderValue::from_static("application/json, text/event-stream")));
                all.push((header::CONTENT_TYPE.as_str(), HeaderValue::from_static("application/json")));
                mcp::message(rpc)
            }
        };
        let ask = wire::Ask {
            method: probe.request.method.parse().unwrap_or(Method::GET),
            path: probe.request.path.clone(),
            host: probe.request.host.clone(),
            sni: probe.request.sni.clone(),
            headers: all,
            body,
            now: self.cx.api.clock().now(),
            enough: shape::has_answer,
        };
        let answer = wire::ask(&self.cx.api, port, ask).await;
        self.cx.progress.bytes(answer.body.len());
        probe.timings = answer.timings;
        probe.tls = answer.tls;
        probe.error = answer.fault;
        if let Some(refusal) = &answer.refused {
            self.way_is_shut(port, refusal);
        }
        let Some((status, headers)) = answer.head else { return (probe, HeaderMap::new()) };
        self.learn(&headers);
        probe.status = Some(status.as_u16());
        for (name, value) in headers.iter().take(HEADERS) {
            let value = one_line(&String::from_utf8_lossy(value.as_bytes()), HEADER_LIMIT);
            let entry = probe.headers.entry(name.as_str().to_owned()).or_default();
            if !entry.is_empty() {
                entry.push_str(", ");
            }
            entry.push_str(&value);
        }
        probe.body = Some(shape::of(&headers, &answer.body, answer.truncated, probe.purpose));
        (probe, headers)
    }

    /// Asks from inside of a pod and writes what came of it.
    async fn inside(&self, mut probe: Probe) {
        probe.time = self.cx.api.clock().now().to_rfc3339_opts(SecondsFormat::Millis, true);
        if self.exec_refused.load(Ordering::Relaxed) {
            let message = "pods/exec was refused before".to_owned();
            probe.error = Some(Fault { reason: "Forbidden".to_owned(), message });
        } else if let Some(refusal) = exec::ask(&self.cx.api, &mut probe).await
            && !self.exec_refused.swap(true, Ordering::Relaxed)
        {
            let via = &probe.request.via;
            self.cx.journal.failure(Failure {
                what: format!("probes inside of {}/{}", via.namespace, via.pod),
                request: format!("exec {}/{}", via.namespace, via.pod),
                code: refusal.code,
                reason: refusal.reason.clone(),
                message: refusal.message.clone(),
                consequence:
                    "what can be reached from inside the cluster is unknown (MG218, MG509, MG510, MG810)"
                        .to_owned(),
                resource: Some("pods/exec".to_owned()),
                namespace: Some(via.namespace.clone()),
            });
        }
        self.write(&probe);
    }

    /// Teaches the redactor what a session is known by: it is as good as a password while it lasts.
    fn learn(&self, headers: &HeaderMap) {
        for name in ["mcp-session-id", "set-cookie", "authorization", "x-api-key"] {
            for value in headers.get_all(name) {
                self.cx.out.redactor.learn(value.as_bytes());
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                let cookie = text.split(';').next().and_then(|pair| pair.split_once('='));
                if let Some((_, value)) = cookie {
                    self.cx.out.redactor.learn(value.trim().as_bytes());
                }
            }
        }
    }

    /// Records once that no port-forward is possible, and what that means.
    fn way_is_shut(&self, port: Port<'_>, refusal: &Refusal) {
        if refusal.is_cut() {
            self.cx.journal.not_begun("probes");
            return;
        }
        let forbidden = refusal.is_forbidden() || refusal.reason == "NoWebSocket";
        if !forbidden || self.refused.swap(true, Ordering::Relaxed) {
            return;
        }
        self.cx.journal.failure(Failure {
            what: format!("probes through {port}"),
            request: format!("port-forward {port}"),
            code: refusal.code,
            reason: refusal.reason.clone(),
            message: refusal.message.clone(),
            consequence: "what clients see of the gateway is unknown (MG702, MG703, MG709)".to_owned(),
            resource: Some("pods/portforward".to_owned()),
            namespace: Some(port.namespace.to_owned()),
        });
    }

    /// Writes the record of a probe.
    fn write(&self, probe: &Probe) {
        let said = match (&probe.skipped, &probe.error, probe.status) {
            (Some(why), _, _) => format!("not made: {why}"),
            (_, Some(fault), _) => format!("{}: {}", fault.reason, fault.message),
            (_, _, Some(status)) => status.to_string(),
            _ => "done".to_owned(),
        };
        let about = &probe.subject;
        let purpose = probe.purpose.as_str();
        self.cx
            .journal
            .line(format!("probe {purpose} for {} {}/{}: {said}", about.kind, about.namespace, about.name));
        let source = match &probe.skipped {
            Some(_) => "not made".to_owned(),
            None => format!(
                "{} through {} to {}",
                probe.request.line, probe.request.via.way, probe.request.via.pod
            ),
        };
        self.cx.check(self.cx.out.json(&probe.file(), &source, probe));
    }
}
