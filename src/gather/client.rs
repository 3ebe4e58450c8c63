//! Requests to the API server: a bound on how many run side by side, deadlines, own retries, and
//! refusals as values.
//!
//! `kube::Client` does TLS, credentials and impersonation; everything above that is here, because
//! its typed lists decode ten times slower than the network delivers, and its retries spend
//! minutes on one dead aggregated API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::stop::Stop;

/// The largest answer that is held in memory as a whole.
pub(crate) const WHOLE_LIMIT: usize = 64 << 20;
/// How often a request is made before it counts as failed.
const TRIES: u32 = 3;
/// The longest pause that `Retry-After` can ask for.
const RETRY_CAP: Duration = Duration::from_secs(5);
/// After so many good answers in a row, one more request may run side by side again.
const RECOVER_AFTER: usize = 20;

/// Why a request was not answered with what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The HTTP status, if there was an answer.
    pub(crate) code: Option<u16>,
    /// A stable word: the `reason` of the server's Status, or our own (`Timeout`, `TlsError`, …).
    pub(crate) reason: String,
    /// The message of the server or of the client, one line.
    pub(crate) message: String,
}

impl Refusal {
    /// A refusal without an answer of the server.
    pub(crate) fn local(reason: &str, message: impl Into<String>) -> Self {
        Self { code: None, reason: reason.to_owned(), message: message.into() }
    }

    /// Whether the user may not do this.
    #[must_use]
    pub(crate) fn is_forbidden(&self) -> bool {
        self.code == Some(403)
    }

    /// Whether it does not exist.
    #[must_use]
    pub(crate) fn is_not_found(&self) -> bool {
        self.code == Some(404)
    }

    /// Whether the collection as a whole was ended.
    #[must_use]
    pub(crate) fn is_cut(&self) -> bool {
        self.reason == CUT
    }

    /// `403 Forbidden: …` in one line.
    #[must_use]
    pub(crate) fn line(&self) -> String {
        match self.code {
            Some(code) => format!("{code} {}: {}", self.reason, self.message),
            None => format!("{}: {}", self.reason, self.message),
        }
    }
}

/// The reason of a request that was not made, or not ended, because the collection was cut short.
pub(crate) const CUT: &str = "CutShort";

/// How the client behaves.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How many requests run side by side.
    pub(crate) concurrency: usize,
    /// How many requests are begun per second; `None` for no limit.
    pub(crate) qps: Option<f64>,
    /// How long one request may take; `None` for no limit.
    pub(crate) request: Option<Duration>,
    /// How long a log stream may stay silent in the middle.
    pub(crate) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrency: 16,
            qps: None,
            request: Some(Duration::from_secs(60)),
            idle: Duration::from_secs(30),
        }
    }
}

/// What was asked so far.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Requests that were sent, retries included.
    pub(crate) requests: AtomicU64,
    /// Bytes of answers, as they arrive after decompression.
    pub(crate) bytes: AtomicU64,
    /// Requests that were sent a second or third time.
    pub(crate) retries: AtomicU64,
}

/// The API server, seen through the bounds of this run. Clones share the bounds.
#[derive(Clone)]
pub(crate) struct Api {
    client: kube::Client,
    limits: Arc<Limits>,
    gate: Arc<Gate>,
    pace: Arc<Mutex<Instant>>,
    stop: Stop,
    stats: Arc<Stats>,
}

/// A bound that gives way when the server asks for it: each 429 or 503 halves it, good answers
/// let it grow back one by one.
#[derive(Debug)]
struct Gate {
    permits: Arc<Semaphore>,
    most: usize,
    state: std::sync::Mutex<GateState>,
}

#[derive(Debug)]
struct GateState {
    /// How many may run now.
    now: usize,
    /// How many permits are to be taken away as they come back.
    debt: usize,
    /// Good answers since the last change.
    good: usize,
}

impl Gate {
    fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            permits: Arc::new(Semaphore::new(most)),
            most,
            state: std::sync::Mutex::new(GateState { now: most, debt: 0, good: 0 }),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn pushed_back(&self) {
        let mut state = self.state();
        let less = (state.now / 2).max(1);
        state.debt += state.now - less;
        state.now = less;
        state.good = 0;
    }

    fn answered(&self) {
        let mut state = self.state();
        state.good += 1;
        if state.good >= RECOVER_AFTER && state.now < self.most {
            state.good = 0;
            state.now += 1;
            if state.debt > 0 {
                state.debt -= 1;
            } else {
                self.permits.add_permits(1);
            }
        }
    }

    fn give_back(&self, permit: OwnedSemaphorePermit) {
        let mut state = self.state();
        if state.debt > 0 {
            state.debt -= 1;
            permit.forget();
        }
    }
}

/// The right to have one request under way.
#[derive(Debug)]
struct Pass {
    gate: Arc<Gate>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.gate.give_back(permit);
        }
    }
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    body: Body,
    content_type: String,
    deadline: Option<Instant>,
    idle: Duration,
    stop: Stop,
    stats: Arc<Stats>,
    _pass: Pass,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What is asked for, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// The whole answer within the deadline of a request.
    Whole,
    /// The head within that deadline; the body may go on as long as it moves.
    Stream,
}

impl Api {
    pub(crate) fn new(client: kube::Client, limits: Limits, stop: Stop) -> Self {
        Self {
            client,
            gate: Arc::new(Gate::new(limits.concurrency)),
            limits: Arc::new(limits),
            pace: Arc::new(Mutex::new(Instant::now())),
            stop,
            stats: Arc::default(),
        }
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The client below, for what needs WebSockets.
    pub(crate) fn kube(&self) -> &kube::Client {
        &self.client
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Reads a small answer as a whole.
    pub(crate) async fn get(&self, path: &str, accept: &str) -> Result<Bytes, Refusal> {
        let mut try_number = 0;
        loop {
            try_number += 1;
            let mut answer = self.open(path, accept, Patience::Whole).await?;
            match answer.whole(WHOLE_LIMIT).await {
                Ok(bytes) => return Ok(bytes),
                Err(refusal) if try_number < TRIES && !refusal.is_cut() => {
                    self.stats.retries.fetch_add(1, Ordering::Relaxed);
                    drop(answer);
                    self.pause(backoff(try_number, None)).await?;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Reads a small answer as JSON.
    pub(crate) async fn get_json(&self, path: &str, accept: &str) -> Result<serde_json::Value, Refusal> {
        let bytes = self.get(path, accept).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Refusal::local("InvalidAnswer", format!("the answer to {path} is no JSON: {error}"))
        })
    }

    /// Sends a request and gives the answer once its status says that it is one. Tries again where
    /// that can help: too many requests, a server that is not there for a moment, a reset.
    pub(crate) async fn open(&self, path: &str, accept: &str, patience: Patience) -> Result<Answer, Refusal> {
        let mut try_number = 0;
        loop {
            try_number += 1;
            let pass = self.pass().await?;
            let (refusal, wait) = match self.once(path, accept, patience, pass).await {
                Ok(answer) => {
                    self.gate.answered();
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            if matches!(refusal.code, Some(429 | 503)) {
                self.gate.pushed_back();
            }
            let again = match refusal.code {
                Some(code) => matches!(code, 429 | 500 | 502 | 503 | 504),
                None => matches!(
                    refusal.reason.as_str(),
                    "ConnectionReset" | "ConnectionRefused" | "ConnectionClosed" | "NetworkError"
                ),
            };
            if !again || try_number >= TRIES {
                return Err(refusal);
            }
            self.stats.retries.fetch_add(1, Ordering::Relaxed);
            self.pause(backoff(try_number, wait)).await?;
        }
    }

    async fn once(
        &self,
        path: &str,
        accept: &str,
        patience: Patience,
        pass: Pass,
    ) -> Result<Answer, (Refusal, Option<Duration>)> {
        let request = Request::get(path)
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .map_err(|error| (Refusal::local("InvalidRequest", format!("{path}: {error}")), None))?;
        let deadline = self.limits.request.map(|limit| Instant::now() + limit);
        self.stats.requests.fetch_add(1, Ordering::Relaxed);
        let sent = tokio::select! {
            sent = before(deadline, self.client.send(request)) => sent,
            why = self.stop.wait() => return Err((Refusal::local(CUT, why), None)),
        };
        let response = match sent {
            None => {
                let limit = self.limits.request.unwrap_or_default();
                let message = format!("no answer within {}", super::units::human_duration(limit));
                return Err((Refusal::local("Timeout", message), None));
            }
            Some(Err(error)) => return Err((classify(&error), None)),
            Some(Ok(response)) => response,
        };
        let status = response.status();
        let wait = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
            .map(Duration::from_secs);
        let content_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let mut answer = Answer {
            body: response.into_body(),
            content_type,
            deadline: if patience == Patience::Whole || !status.is_success() { deadline } else { None },
            idle: self.limits.idle,
            stop: self.stop.clone(),
            stats: self.stats.clone(),
            _pass: pass,
        };
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.whole(1 << 20).await.unwrap_or_default();
        Err((status_refusal(status, &body), wait))
    }

    /// Waits for the turn of one request.
    async fn pass(&self) -> Result<Pass, Refusal> {
        if let Some(qps) = self.limits.qps {
            let mut next = self.pace.lock().await;
            let now = Instant::now();
            let turn = (*next).max(now);
            *next = turn + Duration::from_secs_f64(1.0 / qps);
            drop(next);
            self.pause(turn - now).await?;
        }
        let permit = tokio::select! {
            permit = self.gate.permits.clone().acquire_owned() => permit,
            why = self.stop.wait() => return Err(Refusal::local(CUT, why)),
        };
        match permit {
            Ok(permit) => Ok(Pass { gate: self.gate.clone(), permit: Some(permit) }),
            // The semaphore is never closed.
            Err(_) => Err(Refusal::local(CUT, "the client is closed")),
        }
    }

    async fn pause(&self, time: Duration) -> Result<(), Refusal> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            why = self.stop.wait() => Err(Refusal::local(CUT, why)),
        }
    }
}

impl Answer {
    /// The media type that the server gave.
    pub(crate) fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        let idle = Instant::now() + self.idle;
        let deadline = self.deadline.map_or(idle, |deadline| deadline.min(idle));
        loop {
            let frame = tokio::select! {
                frame = before(Some(deadline), self.body.frame()) => frame,
                why = self.stop.wait() => return Err(Refusal::local(CUT, why)),
            };
            match frame {
                None => return Err(Refusal::local("Timeout", "the answer came to a halt")),
                Some(None) => return Ok(None),
                Some(Some(Err(error))) => {
                    let refusal = classify(&error);
                    let message = format!("the answer broke off: {}", refusal.message);
                    return Err(Refusal::local("ConnectionClosed", message));
                }
                Some(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.stats.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The rest of the body, up to a limit.
    pub(crate) async fn whole(&mut self, limit: usize) -> Result<Bytes, Refusal> {
        let mut all = Vec::new();
        while let Some(piece) = self.chunk().await? {
            if all.len() + piece.len() > limit {
                let limit = super::units::human_bytes(limit as u64);
                return Err(Refusal::local("TooLarge", format!("the answer is larger than {limit}")));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }
}

/// Runs a future until a moment; `None` when it came.
async fn before<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

/// How long to wait before the next try: what the server asked for up to a cap, else a doubling
/// pause; with up to half as much again at random, so that many clients do not come back at once.
fn backoff(try_number: u32, asked: Option<Duration>) -> Duration {
    let base = asked.unwrap_or(Duration::from_millis(200) * 3u32.pow(try_number.saturating_sub(1)));
    let mut random = [0u8; 1];
    // Without randomness the pause is only less well spread.
    let _ = getrandom::fill(&mut random);
    let base = base.min(RETRY_CAP);
    base + base.mul_f64(f64::from(random[0]) / 512.0)
}

/// Reads the server's Status object, or whatever a proxy on the way said instead.
fn status_refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let field = |key: &str| {
        let text = parsed.as_ref()?.get(key)?.as_str()?.trim();
        (!text.is_empty()).then(|| one_line(text, 500))
    };
    let is_status = parsed.as_ref().is_some_and(|value| value["kind"] == "Status");
    let canonical = status.canonical_reason().unwrap_or("Error").replace(' ', "");
    let (reason, message) = if is_status {
        (field("reason"), field("message"))
    } else {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let shown = if text.starts_with('<') { String::new() } else { one_line(text, 200) };
        (None, Some(shown).filter(|text| !text.is_empty()))
    };
    Refusal {
        code: Some(status.as_u16()),
        reason: reason.unwrap_or(canonical),
        message: message.unwrap_or_else(|| "the server gave no reason".to_owned()),
    }
}

/// Foreign text as one bounded line.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > limit {
        let cut = (0..=limit).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// Gives an error of the client a stable word and one line.
pub(crate) fn classify(error: &(dyn std::error::Error + 'static)) -> Refusal {
    let mut chain: Vec<&(dyn std::error::Error + 'static)> = vec![error];
    while chain.len() < 16 {
        let last = chain[chain.len() - 1];
        // The source of an I/O error is the source of what it wraps; the wrapped error itself would
        // be skipped.
        let wrapped = last.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match wrapped.map(|inner| -> &(dyn std::error::Error + 'static) { inner }).or_else(|| last.source()) {
            Some(next) => chain.push(next),
            None => break,
        }
    }
    if let Some(kube::Error::Auth(auth)) = chain.iter().find_map(|e| e.downcast_ref::<kube::Error>()) {
        let message = match auth {
            kube::client::AuthError::AuthExecRun { out, .. } => {
                format!("the plugin failed with {}", out.status)
            }
            kube::client::AuthError::AuthExecParse(_) => "the plugin printed no ExecCredential".to_owned(),
            other => one_line(&other.to_string(), 300),
        };
        return Refusal::local("Credentials", message);
    }
    for cause in &chain {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Refusal::local("TlsError", one_line(&tls.to_string(), 300));
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind;
            let reason = match io.kind() {
                ErrorKind::ConnectionRefused => "ConnectionRefused",
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "ConnectionReset",
                ErrorKind::ConnectionAborted | ErrorKind::UnexpectedEof => "ConnectionClosed",
                ErrorKind::TimedOut => "Timeout",
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "Unreachable",
                _ if io.to_string().contains("lookup address") => "UnknownHost",
                _ => continue,
            };
            return Refusal::local(reason, one_line(&io.to_string(), 300));
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled())
        {
            return Refusal::local("ConnectionClosed", one_line(&hyper.to_string(), 300));
        }
    }
    let last = chain[chain.len() - 1].to_string();
    Refusal::local("NetworkError", one_line(&last, 300))
}

/// One part of a URL path.
pub(crate) fn segment(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEEP: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
    // A name that is nothing but dots would climb in the path.
    if text.chars().all(|c| c == '.') {
        return text.replace('.', "%2E");
    }
    utf8_percent_encode(text, KEEP).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_object_speaks_for_itself() {
        let body = br#"{"kind":"Status","reason":"Forbidden","message":"pods is\nforbidden","code":403}"#;
        let refusal = status_refusal(StatusCode::FORBIDDEN, body);
        assert_eq!(refusal.line(), "403 Forbidden: pods is forbidden");
        let html = status_refusal(StatusCode::BAD_GATEWAY, b"<html><h1>Bad</h1></html>");
        assert_eq!(html.line(), "502 BadGateway: the server gave no reason");
        let text = status_refusal(StatusCode::NOT_FOUND, b"404 page not found\n");
        assert_eq!(text.line(), "404 NotFound: 404 page not found");
    }

    #[test]
    fn the_gate_gives_way_and_comes_back() {
        let gate = Arc::new(Gate::new(8));
        let take = || {
            let permit = gate.permits.clone().try_acquire_owned().ok();
            permit.map(|permit| Pass { gate: gate.clone(), permit: Some(permit) })
        };
        let all: Vec<_> = std::iter::from_fn(take).collect();
        assert_eq!(all.len(), 8);
        gate.pushed_back();
        gate.pushed_back();
        drop(all);
        let fewer: Vec<_> = std::iter::from_fn(take).collect();
        assert_eq!(fewer.len(), 2);
        for _ in 0..RECOVER_AFTER {
            gate.answered();
        }
        assert!(take().is_some(), "one more is allowed again");
        drop(fewer);
        for _ in 0..RECOVER_AFTER * 20 {
            gate.answered();
        }
        assert_eq!(gate.state().now, 8);
        assert_eq!(gate.permits.available_permits(), 8);
    }

    #[test]
    fn pauses_are_bounded() {
        assert!(backoff(1, Some(Duration::from_secs(3600))) <= RETRY_CAP.mul_f64(1.5));
        assert!(backoff(1, None) >= Duration::from_millis(200));
        assert!(backoff(2, None) >= Duration::from_millis(600));
    }

    #[test]
    fn names_cannot_leave_their_part_of_the_path() {
        assert_eq!(segment("a/../b?x"), "a%2F..%2Fb%3Fx");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("mcp-gateway.v1"), "mcp-gateway.v1");
    }
}
