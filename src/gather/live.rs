//! What running parts say of themselves: Envoy's admin port of each gateway proxy, the broker's
//! status, health and metrics, health and metrics of the controller and of Authorino. Each answer is independent of the others, redacted by structure
//! while it arrives, and only reads: paths of the admin port that change anything are never asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use super::client::Refusal;
use super::cx::Cx;
use super::forward::{self, Port, Reply};
use super::pieces::{Part, Pieces};
use super::pods::Pod;
use super::work::heavy;
use crate::archive::path;
use crate::archive::write::WriteError;
use crate::model::bundle::Failure;
use crate::model::workloads::Component;
use crate::redact::{RedactedPath, TextStream};

/// Envoy's admin port in the proxies of Istio; it listens inside of the pod only.
const ENVOY_ADMIN: u16 = 15000;
/// The broker's port, and that of its metrics.
const BROKER: u16 = 8080;
const BROKER_METRICS: u16 = 9090;
/// How many answers are read side by side.
const LANES: usize = 4;
/// The most that is read of one answer.
const ANSWER_LIMIT: u64 = 512 << 20;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Lines.
    Text,
    /// JSON, taken apart at this nesting.
    Json(usize),
}

/// A question to a port.
#[derive(Debug, Clone, Copy)]
struct Question {
    /// The folder of the answer: the part that is asked.
    part: &'static str,
    port: u16,
    ask: &'static str,
    file: &'static str,
    form: Form,
    /// Whether rules miss it when it is not there.
    needed: bool,
    /// Whether it is a health check.
    health: bool,
}

const fn question(port: u16, ask: &'static str, file: &'static str, form: Form) -> Question {
    let part = if port == ENVOY_ADMIN { ENVOY_PART } else { BROKER_PART };
    Question { part, port, ask, file, form, needed: true, health: false }
}

const ENVOY_PART: &str = "envoy";
const BROKER_PART: &str = "broker";

static ENVOY: &[Question] = &[
    question(ENVOY_ADMIN, "/config_dump?include_eds", "config_dump.json", Form::Json(3)),
    question(ENVOY_ADMIN, "/listeners?format=json", "listeners.json", Form::Json(2)),
    question(ENVOY_ADMIN, "/clusters?format=json", "clusters.json", Form::Json(2)),
    question(ENVOY_ADMIN, "/stats", "stats.txt", Form::Text),
    question(ENVOY_ADMIN, "/certs", "certs.json", Form::Json(2)),
    question(ENVOY_ADMIN, "/server_info", "server_info.json", Form::Json(0)),
    Question { health: true, ..question(ENVOY_ADMIN, "/ready", "ready.txt", Form::Text) },
];

static BROKERS: &[Question] = &[
    question(BROKER, "/status", "status.json", Form::Json(0)),
    Question { health: true, ..question(BROKER, "/healthz", "healthz.txt", Form::Text) },
    Question { needed: false, health: true, ..question(BROKER, "/readyz", "readyz.txt", Form::Text) },
    Question { needed: false, ..question(BROKER_METRICS, "/metrics", "metrics.txt", Form::Text) },
];

/// What the controller and Authorino are asked; their ports depend on how they were started. No
/// rule misses an answer.
fn of_component(part: &'static str, pod: &Pod) -> Vec<Question> {
    let text = |port, ask, file, health| Question {
        part,
        needed: false,
        health,
        ..question(port, ask, file, Form::Text)
    };
    let mut questions = vec![
        text(pod.health_port, "/healthz", "healthz.txt", true),
        text(pod.health_port, "/readyz", "readyz.txt", true),
        text(pod.metrics_port, "/metrics", "metrics.txt", false),
    ];
    if part == "authorino" {
        // The numbers of the authorization service itself; the others are those of its controller.
        questions.push(text(pod.metrics_port, "/server-metrics", "server-metrics.txt", false));
    }
    questions.retain(|question| question.port != 0);
    questions
}

/// What is known of the ways to a pod in this run.
#[derive(Debug, Default)]
struct Ways {
    forward_refused: AtomicBool,
    proxy_refused: AtomicBool,
}

/// The ports of a pod that kept silent: each question costs its whole deadline.
#[derive(Debug, Default)]
struct Silence(BTreeMap<u16, u32>);

impl Silence {
    /// How often a port keeps silent before it counts as dead; once may be one large answer in the making.
    const DEAD: u32 = 2;

    fn note(&mut self, port: u16, refusal: &Refusal) {
        if refusal.reason == "Timeout" {
            *self.0.entry(port).or_default() += 1;
        }
    }

    fn is_dead(&self, port: u16) -> bool {
        self.0.get(&port).is_some_and(|silent| *silent >= Self::DEAD)
    }
}

/// Asks every gateway proxy and every broker that runs.
pub(crate) async fn collect(cx: &Arc<Cx>, pods: &[Pod]) {
    if !cx.served.port_forward {
        // Discovery says so; to try would be to ask what is known.
        cx.journal.line("the API server offers no pods/portforward: nothing is asked of running pods");
        return;
    }
    let (ways, lanes) = (Arc::new(Ways::default()), Arc::new(Semaphore::new(LANES)));
    let mut tasks = cx.crew();
    for pod in pods.iter().filter(|pod| pod.running) {
        let questions = match pod.component {
            _ if pod.gateway.is_some() => ENVOY.to_vec(),
            Some(Component::Broker) => BROKERS.to_vec(),
            Some(Component::Controller) => of_component("controller", pod),
            Some(Component::Authorino) => of_component("authorino", pod),
            _ => continue,
        };
        let (cx, pod, ways, lanes) = (cx.clone(), pod.clone(), ways.clone(), lanes.clone());
        tasks
            .begin(async move {
                let mut silence = Silence::default();
                for question in &questions {
                    let Ok(_lane) = lanes.acquire().await else { return };
                    if cx.stop.is_cut() {
                        cx.journal.not_begun("answers of running pods");
                        continue;
                    }
                    let gone_on = one(&cx, &pod, question, &ways, &mut silence).await;
                    let failed = gone_on.is_err();
                    cx.check(gone_on.map(drop));
                    if failed {
                        return;
                    }
                }
            })
            .await;
    }
    tasks.end().await;
}

/// Asks one question and writes the answer.
async fn one(
    cx: &Cx,
    pod: &Pod,
    question: &Question,
    ways: &Ways,
    silence: &mut Silence,
) -> Result<(), WriteError> {
    let port = Port { namespace: &pod.namespace, pod: &pod.name, port: question.port };
    let place = path::component(question.part, &pod.namespace, &pod.name, question.file);
    if silence.is_dead(question.port) {
        let refusal = Refusal::local("PortDoesNotAnswer", "this port kept silent before");
        fail(cx, port, question, &refusal);
        return Ok(());
    }
    let mut reply = match ask(cx, port, question, ways).await {
        Ok(reply) => reply,
        Err(refusal) => {
            silence.note(question.port, &refusal);
            fail(cx, port, question, &refusal);
            return Ok(());
        }
    };
    // A health check that fails answers 503, and that is the evidence.
    let answered = question.health && reply.status == http::StatusCode::SERVICE_UNAVAILABLE;
    if !reply.status.is_success() && !answered {
        let status = reply.status;
        let reason = status.canonical_reason().unwrap_or("Error").replace(' ', "");
        let message = format!("the pod answered {status}");
        fail(cx, port, question, &Refusal { code: Some(status.as_u16()), reason, message });
        return Ok(());
    }
    let place = cx.out.redactor.path(&place);
    let source = format!("GET {} through port-forward to {port}", question.ask);
    let mut answer = Writing {
        redactor: cx.out.redactor.clone(),
        member: cx.out.writer.member(place.clone(), source),
        place,
        pieces: match question.form {
            Form::Json(nesting) => Some(Pieces::new(nesting)),
            Form::Text => None,
        },
        text: None,
        lost: false,
    };
    let mut read: u64 = 0;
    let broke = loop {
        match reply.chunk().await {
            Ok(Some(piece)) => {
                read += piece.len() as u64;
                heavy(|| answer.push(&piece)).await?;
                cx.progress.bytes(piece.len());
                if read > ANSWER_LIMIT {
                    break Some(Refusal::local("TooLarge", "the answer did not end after 512 MiB"));
                }
            }
            Ok(None) => break None,
            Err(refusal) => break Some(refusal),
        }
    };
    if let Some(refusal) = &broke {
        fail(cx, port, question, refusal);
    }
    heavy(|| answer.finish(broke.is_some())).await
}

/// Finds a way to the pod: a port-forward, else the pod proxy.
async fn ask(cx: &Cx, port: Port<'_>, question: &Question, ways: &Ways) -> Result<Reply, Refusal> {
    let forbidden = "pods/portforward was refused before";
    let first = if ways.forward_refused.load(Ordering::Relaxed) {
        Refusal { code: Some(403), reason: "Forbidden".to_owned(), message: forbidden.to_owned() }
    } else {
        match forward::forward(&cx.api, port, question.ask, "localhost").await {
            Ok(reply) => return Ok(reply),
            Err(refusal) => refusal,
        }
    };
    let refused = first.is_forbidden() || first.reason == "NoWebSocket";
    if first.is_forbidden() {
        ways.forward_refused.store(true, Ordering::Relaxed);
    }
    // Envoy's admin port listens on the pod's loopback, which the proxy of the API server cannot reach.
    if !refused || question.port == ENVOY_ADMIN || ways.proxy_refused.load(Ordering::Relaxed) {
        return Err(first);
    }
    forward::proxy(&cx.api, port, question.ask).await.map_err(|second| {
        if second.is_forbidden() {
            ways.proxy_refused.store(true, Ordering::Relaxed);
        }
        Refusal { message: format!("{}; and by the pod proxy: {}", first.message, second.message), ..first }
    })
}

/// Records what was not answered; where nothing depends on it, as a line only.
fn fail(cx: &Cx, port: Port<'_>, question: &Question, refusal: &Refusal) {
    let not_offered = refusal.is_not_found();
    if !question.needed || not_offered {
        cx.journal.line(format!("no {} of {port}: {}", question.ask, refusal.line()));
        return;
    }
    if refusal.is_cut() {
        cx.journal.not_begun("answers of running pods");
        return;
    }
    let consequence = if question.port == ENVOY_ADMIN {
        "what Envoy really runs is unknown (MG223-MG231, MG814)"
    } else {
        "what the broker thinks of its servers is unknown (MG411, MG416, MG417)"
    };
    cx.journal.failure(Failure {
        what: format!("{} of {port}", question.ask),
        request: format!("port-forward {port} GET {}", question.ask),
        code: refusal.code,
        reason: refusal.reason.clone(),
        message: refusal.message.clone(),
        consequence: consequence.to_owned(),
        resource: Some("pods/portforward".to_owned()),
        namespace: Some(port.namespace.to_owned()),
    });
}

/// An answer on its way into the archive.
struct Writing {
    redactor: crate::redact::Redactor,
    place: RedactedPath,
    member: crate::archive::write::Member,
    pieces: Option<Pieces>,
    text: Option<TextStream>,
    lost: bool,
}

impl Writing {
    fn push(&mut self, piece: &[u8]) -> Result<(), WriteError> {
        let Some(mut pieces) = self.pieces.take() else { return self.text(piece) };
        let done = pieces.push(piece, &mut |part| match part {
            Part::Text(text) => self.text(text),
            Part::Value(value) => {
                self.end_text()?;
                let value = self.redactor.json(&self.place, &value);
                self.member.write(&value)
            }
            Part::Lost => {
                self.lost = true;
                self.text(b"null")
            }
        });
        self.pieces = Some(pieces);
        done
    }

    fn text(&mut self, piece: &[u8]) -> Result<(), WriteError> {
        let (redactor, place) = (&self.redactor, &self.place);
        let ready = self.text.get_or_insert_with(|| redactor.stream(place)).push(piece);
        self.member.write(&ready)
    }

    fn end_text(&mut self) -> Result<(), WriteError> {
        match self.text.take() {
            Some(stream) => self.member.write(&stream.finish()),
            None => Ok(()),
        }
    }

    fn finish(mut self, truncated: bool) -> Result<(), WriteError> {
        self.end_text()?;
        let whole = self.pieces.take().is_none_or(Pieces::finish);
        self.member.finish(truncated || self.lost || !whole)
    }
}
