//! Requests to the API server: a bound on how many run side by side, deadlines, own retries, and
//! refusals as values.
//!
//! `kube::Client` does TLS, credentials and impersonation; everything above that is here, because
//! its typed lists decode ten times slower than the network delivers, and its retries spend
//! minutes on one dead aggregated API.

mod clock;
mod gate;
mod refusal;
mod weight;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::clock::Clock;
use self::gate::{Gate, Pass};
pub(crate) use self::refusal::{
    CERTIFICATE, CREDENTIALS, CUT, Refusal, TOO_LARGE, classify, one_line, segment, status_refusal,
};
pub(crate) use self::weight::{WEIGHT_LIMIT, Weight};
use super::stop::Stop;

/// The largest answer that is held in memory as a whole.
const WHOLE_LIMIT: usize = super::split::ITEM_LIMIT;
/// What is held of an answer beyond this has to wait for one of [`LARGE_LANES`]: no API server sends many
/// objects of this size, but something hostile may send them to every request at once.
const LARGE: usize = 1 << 20;
/// How many large answers are held side by side.
const LARGE_LANES: usize = 2;
/// How often a request is made before it counts as failed.
const TRIES: u32 = 3;
/// How often a request is made that the server puts off each time: as often as client-go, as long as all
/// pauses together are no longer than one request may take.
const TRIES_WHEN_PUT_OFF: u32 = 10;
/// The longest pause that `Retry-After` can ask for: as long as an API server under load asks for
/// at most. Whoever asks for more is not there.
const RETRY_CAP: Duration = Duration::from_secs(32);

/// How the client behaves.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How many requests run side by side.
    pub(crate) concurrency: usize,
    /// How many requests are begun per second; `None` for no limit.
    pub(crate) qps: Option<f64>,
    /// How long one request may take; `None` for no limit.
    pub(crate) request: Option<Duration>,
    /// How long an answer may stay silent in the middle.
    pub(crate) idle: Duration,
    /// How long one log may take as a whole.
    pub(crate) stream: Duration,
}

/// How long one request may take unless something else is asked for.
const REQUEST: Duration = Duration::from_secs(60);
/// How long a stream may stay silent at most.
const IDLE: Duration = Duration::from_secs(30);
/// How many times longer than a request a stream may take.
const STREAM: u32 = 10;

impl Limits {
    /// The limits for what was asked for; a `request` of zero takes the bound from single requests,
    /// but never from streams: one that does not end would never let the run end.
    pub(crate) fn new(concurrency: usize, qps: Option<f64>, request: Option<Duration>) -> Self {
        let request = Some(request.unwrap_or(REQUEST)).filter(|limit| !limit.is_zero());
        Self {
            concurrency,
            qps,
            request,
            idle: request.map_or(IDLE, |limit| limit.min(IDLE)),
            stream: request.unwrap_or(REQUEST) * STREAM,
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
    large: Arc<Semaphore>,
    clock: Clock,
    stop: Stop,
    stats: Arc<Stats>,
}

/// An answer whose body is still to be read.
pub(crate) struct Answer {
    body: Body,
    content_type: String,
    deadline: Option<Instant>,
    idle: Duration,
    large: Arc<Semaphore>,
    large_lane: Option<OwnedSemaphorePermit>,
    stop: Stop,
    stats: Arc<Stats>,
    _pass: Pass,
}

/// A value that takes one of the few lanes for large ones, if it is large.
#[derive(Debug)]
pub(crate) struct Held {
    value: serde_json::Value,
    _lane: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// The value, without its lane.
    pub(crate) fn release(self) -> serde_json::Value {
        self.value
    }

    /// Works on the value, in its lane to the end.
    pub(crate) fn work<T>(self, work: impl FnOnce(serde_json::Value) -> T) -> T {
        work(self.value)
    }
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
            large: Arc::new(Semaphore::new(LARGE_LANES)),
            clock: Clock::default(),
            stop,
            stats: Arc::default(),
        }
    }

    /// The time, as the server's clock has it.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The client below, for what needs WebSockets.
    pub(crate) fn kube(&self) -> &kube::Client {
        &self.client
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Reads an answer as a whole, and keeps its lane if it is large.
    async fn get(&self, path: &str, accept: &str) -> Result<(Bytes, Answer), Refusal> {
        let mut try_number = 0;
        loop {
            try_number += 1;
            let mut answer = self.open(path, accept, Patience::Whole).await?;
            match answer.whole(WHOLE_LIMIT).await {
                Ok(bytes) => return Ok((bytes, answer)),
                Err(refusal) if try_number < TRIES && !refusal.is_cut() && refusal.reason != TOO_LARGE => {
                    self.stats.retries.fetch_add(1, Ordering::Relaxed);
                    drop(answer);
                    self.pause(backoff(try_number, None)).await?;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Reads an answer as JSON; what is none may be, the second time.
    pub(crate) async fn get_json(&self, path: &str, accept: &str) -> Result<serde_json::Value, Refusal> {
        self.get_held(path, accept).await.map(Held::release)
    }

    /// The same for what may be large: as long as it is held, few others are.
    pub(crate) async fn get_held(&self, path: &str, accept: &str) -> Result<Held, Refusal> {
        let mut try_number = 0;
        loop {
            try_number += 1;
            let (bytes, mut answer) = self.get(path, accept).await?;
            let weight = Weight::of(&bytes);
            if weight > WEIGHT_LIMIT {
                return Err(Refusal::local(TOO_LARGE, weight::REFUSED));
            }
            answer.hold(bytes.len().max(weight)).await?;
            let parsed = serde_json::from_slice(&bytes);
            drop(bytes);
            match parsed {
                Ok(value) => return Ok(Held { value, _lane: answer.large_lane.take() }),
                Err(error) if try_number >= TRIES => {
                    let message = format!("the answer to {path} is no JSON: {error}");
                    return Err(Refusal::local("InvalidAnswer", message));
                }
                Err(_) => {
                    drop(answer);
                    self.stats.retries.fetch_add(1, Ordering::Relaxed);
                    self.pause(backoff(try_number, None)).await?;
                }
            }
        }
    }

    /// Opens a stream to a pod (port-forward, command), paced like any other request and tried again where
    /// the server is too busy for it. Other errors are the pod's or its kubelet's, and stay.
    pub(crate) async fn stream<T, F>(&self, mut open: impl FnMut() -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let mut try_number = 0;
        loop {
            try_number += 1;
            // Only for the opening: what is opened lives long, and has lanes of its own.
            let pass = self.pass().await?;
            self.stats.requests.fetch_add(1, Ordering::Relaxed);
            let opened = open().await;
            drop(pass);
            match opened {
                Err(refusal) if matches!(refusal.code, Some(429 | 502 | 503)) && try_number < TRIES => {
                    self.stats.retries.fetch_add(1, Ordering::Relaxed);
                    self.pause(backoff(try_number, None)).await?;
                }
                opened => return opened,
            }
        }
    }

    /// How long a conversation with a pod may take that by itself may take so long.
    pub(crate) fn at_most(&self, limit: Duration) -> Duration {
        self.limits.request.map_or(limit, |request| request.min(limit))
    }

    /// Sends a request and gives the answer once its status says that it is one. Tries again where
    /// that can help: too many requests, a server that is not there for a moment, a reset.
    pub(crate) async fn open(&self, path: &str, accept: &str, patience: Patience) -> Result<Answer, Refusal> {
        let mut try_number = 0;
        let mut put_off = Duration::ZERO;
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
            if let Some(wait) = wait.filter(|wait| *wait > RETRY_CAP) {
                let wait = super::units::human_duration(wait);
                let message = format!("{} (come again after {wait}, it says)", refusal.message);
                return Err(Refusal { message, ..refusal });
            }
            let again = match refusal.code {
                Some(code) => matches!(code, 429 | 500 | 502 | 503 | 504),
                None => matches!(
                    refusal.reason.as_str(),
                    "ConnectionReset" | "ConnectionRefused" | "ConnectionClosed" | "NetworkError"
                ),
            };
            let pause = backoff(try_number, wait);
            let tries = match (refusal.code, wait) {
                // It is there, and says when to come back.
                (Some(429), Some(_)) if put_off + pause <= self.limits.request.unwrap_or(REQUEST) => {
                    TRIES_WHEN_PUT_OFF
                }
                _ => TRIES,
            };
            if !again || try_number >= tries {
                return Err(refusal);
            }
            self.stats.retries.fetch_add(1, Ordering::Relaxed);
            self.pause(pause).await?;
            put_off += pause;
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
        let sent_at = Instant::now();
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
        self.clock.read(response.headers(), sent_at);
        let wait = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| retry_after(value.to_str().ok()?, chrono::Utc::now()));
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
            large: self.large.clone(),
            large_lane: None,
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
        tokio::select! {
            pass = self.gate.acquire() => Ok(pass),
            why = self.stop.wait() => Err(Refusal::local(CUT, why)),
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

    /// Waits until so many bytes of the answer may be held in memory. That is not the server's time: the
    /// deadline moves.
    pub(crate) async fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes <= LARGE {
            self.large_lane = None;
            return Ok(());
        }
        if self.large_lane.is_some() {
            return Ok(());
        }
        let begin = Instant::now();
        tokio::select! {
            // The semaphore is never closed.
            lane = self.large.clone().acquire_owned() => self.large_lane = lane.ok(),
            why = self.stop.wait() => return Err(Refusal::local(CUT, why)),
        }
        self.deadline = self.deadline.map(|deadline| deadline + begin.elapsed());
        Ok(())
    }

    /// The rest of the body, up to a limit.
    pub(crate) async fn whole(&mut self, limit: usize) -> Result<Bytes, Refusal> {
        let mut all = Vec::new();
        while let Some(piece) = self.chunk().await? {
            if all.len() + piece.len() > limit {
                let limit = super::units::human_bytes(limit as u64);
                return Err(Refusal::local(TOO_LARGE, format!("the answer is larger than {limit}")));
            }
            all.extend_from_slice(&piece);
            self.hold(all.len()).await?;
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

/// Reads `Retry-After`: seconds, as API servers send it, or a date, as proxies may.
fn retry_after(text: &str, now: chrono::DateTime<chrono::Utc>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.with_timezone(&chrono::Utc) - now).to_std().unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_in_seconds_or_by_date_when_to_come_back() {
        let now = "2026-11-05T10:00:00Z".parse().expect("a time");
        let seconds = |text: &str| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds(" 7 "), Some(7));
        assert_eq!(seconds("Thu, 05 Nov 2026 10:00:09 GMT"), Some(9));
        assert_eq!(seconds("Thu, 05 Nov 2026 09:00:00 GMT"), Some(0), "in the past");
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn pauses_are_bounded() {
        assert!(backoff(1, Some(Duration::from_secs(3600))) <= RETRY_CAP.mul_f64(1.5));
        assert!(backoff(1, None) >= Duration::from_millis(200));
        assert!(backoff(2, None) >= Duration::from_millis(600));
    }
}
