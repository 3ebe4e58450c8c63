//! Container logs: current and previous, of init, regular and ephemeral containers, streamed
//! through the redactor. Of a log beyond the limit, head and tail are kept and the cut is marked.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant};

use super::client::{Patience, Refusal, segment};
use super::cx::Cx;
use super::pods::{LogName, Pod};
use super::room;
use super::units::human_bytes;
use super::work::heavy;
use crate::archive::path;
use crate::archive::write::{Member, WriteError};
use crate::model::bundle::Failure;
use crate::redact::{Redacted, RedactedPath, TextStream};

/// How much of a log is worked on at once.
const BATCH: usize = 256 << 10;
/// The most that the tail of one log holds in memory.
const TAIL_MOST: u64 = 4 << 20;
/// The most that the tails of all logs hold in memory, in KiB.
const TAILS_KIB: usize = 8 << 10;
/// What is kept at the end of a log whose head had to end early.
const LEAST_TAIL: u64 = 4 << 10;
/// How much of one log is read at most, whatever is kept of it: a stream without end must end.
const READ_LEAST: u64 = 1 << 30;
/// From when on logs are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long before now.
    Ago(Duration),
    /// Since this moment.
    Time(DateTime<Utc>),
}

/// The bounds that all logs share.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    /// How many logs are read side by side.
    streams: Arc<Semaphore>,
    /// The memory of the tails, in KiB.
    tails: Arc<Semaphore>,
    /// The room that their ends will need.
    promised: room::Promised,
}

impl Lanes {
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            streams: Arc::new(Semaphore::new(streams.max(1))),
            tails: Arc::new(Semaphore::new(TAILS_KIB)),
            promised: room::Promised::default(),
        }
    }

    /// Waits until one more log may be read. Whoever asks first gets the lane first.
    pub(crate) async fn lane(&self) -> Lane {
        // The semaphore is never closed.
        let permit = self.streams.clone().acquire_owned().await.ok();
        Lane { lanes: self.clone(), _permit: permit }
    }
}

/// The right to read one log.
#[derive(Debug)]
pub(crate) struct Lane {
    lanes: Lanes,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The request for a log.
fn url(pod: &Pod, log: &LogName, since: Option<Since>) -> String {
    let mut url = format!(
        "/api/v1/namespaces/{}/pods/{}/log?container={}&timestamps=true",
        segment(&pod.namespace),
        segment(&pod.name),
        segment(&log.container)
    );
    if log.previous {
        url.push_str("&previous=true");
    }
    match since {
        Some(Since::Ago(ago)) => url.push_str(&format!("&sinceSeconds={}", ago.as_secs().max(1))),
        Some(Since::Time(time)) => {
            let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
            url.push_str(&format!("&sinceTime={}", time.replace(':', "%3A")));
        }
        None => {}
    }
    url
}

/// Reads one log into the archive. A refusal is an entry of the journal.
pub(crate) async fn collect(cx: &Cx, lane: Lane, pod: &Pod, log: &LogName) -> Result<(), WriteError> {
    let lanes = &lane.lanes;
    if cx.stop.is_cut() {
        cx.journal.not_begun("logs");
        return Ok(());
    }
    let url = url(pod, log, cx.options.since);
    let failed = |refusal: &Refusal| failure(pod, log, &url, refusal);
    if cx.journal.is_dead(&pod.node) {
        let refusal =
            Refusal::local("NodeDoesNotAnswer", format!("the kubelet of {} did not answer before", pod.node));
        cx.journal.failure(failed(&refusal));
        return Ok(());
    }
    if room::is_used_up(cx, log.previous) {
        cx.journal.failure(failed(&room::none()));
        return Ok(());
    }
    let mut answer = match cx.api.open(&url, "*/*", Patience::Stream).await {
        Ok(answer) => {
            cx.journal.node_answers(&pod.node);
            answer
        }
        Err(refusal) if refusal.is_cut() => {
            cx.journal.not_begun("logs");
            return Ok(());
        }
        // Restarted or deleted since the pod was read: there is no such log (any more).
        Err(refusal) if refusal.is_not_found() || refusal.code == Some(400) => {
            cx.journal.line(format!(
                "no log: {}/{} {}: {}",
                pod.namespace,
                pod.name,
                log.container,
                refusal.line()
            ));
            return Ok(());
        }
        Err(refusal) => {
            cx.journal.node_refuses(&pod.node, &refusal);
            cx.journal.failure(failed(&refusal));
            return Ok(());
        }
    };
    if answer.content_type().starts_with("text/html") {
        // A proxy's login or error page is no log, whatever its status says.
        let refusal = Refusal::local("InvalidAnswer", "the answer is a page of HTML, not a log");
        cx.journal.failure(failed(&refusal));
        return Ok(());
    }
    let place = cx.out.redactor.path(&path::log(&pod.namespace, &pod.name, &log.container, log.previous));
    let mut share = lanes.promised.share();
    let mut keep = Keep::new(cx, place, format!("GET {url}"), cx.options.max_log_bytes);
    let limit = cx.api.limits().stream;
    let deadline = Instant::now() + limit;
    let read_most = READ_LEAST.max(cx.options.max_log_bytes.saturating_mul(4));
    let mut batch: Vec<u8> = Vec::new();
    let mut broke: Option<Refusal> = None;
    let mut end = false;
    while !end {
        match answer.chunk().await {
            Ok(Some(piece)) => batch.extend_from_slice(&piece),
            Ok(None) => end = true,
            Err(refusal) => {
                broke = Some(refusal);
                end = true;
            }
        }
        if !end && Instant::now() > deadline {
            let limit = super::units::human_duration(limit);
            broke = Some(Refusal::local("Timeout", format!("the log did not end within {limit}")));
            end = true;
        }
        if !end && keep.read > read_most {
            let most = human_bytes(read_most);
            broke = Some(Refusal::local("TooLarge", format!("the log did not end after {most}")));
            end = true;
        }
        if batch.len() >= BATCH || end {
            keep.prepare(lanes, batch.len()).await;
            heavy(|| keep.push(&batch)).await?;
            cx.progress.bytes(batch.len());
            batch.clear();
            if keep.head_left > 0 && !share.is_there(cx, log.previous, keep.progress()) {
                keep.end_head();
            }
        }
    }
    drop(answer);
    let truncated = broke.is_some();
    heavy(|| keep.finish(truncated)).await?;
    drop(share);
    room::settle(cx);
    cx.progress.log();
    if let Some(refusal) = broke {
        cx.journal.failure(failed(&refusal));
    }
    Ok(())
}

fn failure(pod: &Pod, log: &LogName, url: &str, refusal: &Refusal) -> Failure {
    let which = if log.previous { "previous log" } else { "log" };
    Failure {
        what: format!("{which} of {} in {}/{}", log.container, pod.namespace, pod.name),
        request: format!("GET {url}"),
        code: refusal.code,
        reason: refusal.reason.clone(),
        message: refusal.message.clone(),
        consequence: "what only this log tells is unknown".to_owned(),
        resource: Some("pods/log".to_owned()),
        namespace: Some(pod.namespace.clone()),
    }
}

/// Keeps the head of a log as it comes and the tail in a bounded ring, both redacted: what is
/// left out has gone through the redactor, too, so that a key that begins in the gap is known.
struct Keep {
    place: RedactedPath,
    redactor: crate::redact::Redactor,
    stream: Option<TextStream>,
    member: Option<Member>,
    head_left: u64,
    tail_most: u64,
    tail: VecDeque<Redacted>,
    tail_bytes: u64,
    left_out: u64,
    read: u64,
    /// The option that would keep more.
    bound: &'static str,
    tail_memory: Option<OwnedSemaphorePermit>,
}

impl Keep {
    fn new(cx: &Cx, place: RedactedPath, source: String, most: u64) -> Self {
        let tail_most = (most / 4).min(TAIL_MOST);
        Self {
            redactor: cx.out.redactor.clone(),
            stream: Some(cx.out.redactor.stream(&place)),
            member: Some(cx.out.writer.member(place.clone(), source)),
            place,
            head_left: most - tail_most,
            tail_most,
            tail: VecDeque::new(),
            tail_bytes: 0,
            left_out: 0,
            read: 0,
            bound: "--max-log-bytes",
            tail_memory: None,
        }
    }

    /// Waits for the memory of a tail before it is needed; who has it never waits for more.
    async fn prepare(&mut self, lanes: &Lanes, next: usize) {
        if self.tail_memory.is_none() && (next as u64).saturating_add(BATCH as u64) > self.head_left {
            let kib = u32::try_from(self.tail_most >> 10).unwrap_or(u32::MAX).max(1);
            self.tail_memory = lanes.tails.clone().acquire_many_owned(kib).await.ok();
        }
    }

    /// Ends the head here, because the archive has no room for more of it.
    fn end_head(&mut self) {
        self.tail_most = self.tail_if_cut();
        self.head_left = 0;
        self.bound = "--max-size";
    }

    fn progress(&self) -> room::Progress {
        room::Progress {
            read: self.read,
            taken: self.member.as_ref().map_or(0, Member::size),
            density: self.member.as_ref().map_or(1.0, Member::density),
            tail: self.tail_if_cut(),
        }
    }

    /// How much of the end is kept if the head ends here.
    fn tail_if_cut(&self) -> u64 {
        self.tail_most.min(self.read / 3).max(LEAST_TAIL)
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), WriteError> {
        self.read += piece.len() as u64;
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let ready = stream.push(piece);
        self.take(ready)
    }

    fn take(&mut self, ready: Redacted) -> Result<(), WriteError> {
        if ready.is_empty() {
            return Ok(());
        }
        let len = ready.len() as u64;
        if self.head_left > 0 && len <= self.head_left {
            self.head_left -= len;
            return self.write(&ready);
        }
        let mut rest = if self.head_left > 0 {
            // The head ends with the last whole line that fits.
            let room = usize::try_from(self.head_left).unwrap_or(usize::MAX);
            let at = memchr::memrchr(b'\n', &ready.as_bytes()[..room]).map_or(room, |at| at + 1);
            self.head_left = 0;
            let (head, rest) = ready.split_at(at);
            self.write(&head)?;
            rest
        } else {
            ready
        };
        rest.shrink();
        self.tail_bytes += rest.len() as u64;
        self.tail.push_back(rest);
        while self.tail_bytes > self.tail_most {
            let Some(first) = self.tail.pop_front() else { break };
            let over = usize::try_from(self.tail_bytes - self.tail_most).unwrap_or(usize::MAX);
            let at = memchr::memchr(b'\n', &first.as_bytes()[over.min(first.len())..])
                .map_or(first.len(), |at| over + at + 1);
            let (gone, kept) = first.split_at(at);
            self.left_out += gone.len() as u64;
            self.tail_bytes -= gone.len() as u64;
            if !kept.is_empty() {
                self.tail.push_front(kept);
            }
        }
        Ok(())
    }

    fn write(&mut self, text: &Redacted) -> Result<(), WriteError> {
        match &mut self.member {
            Some(member) => member.write(text),
            None => Ok(()),
        }
    }

    fn finish(mut self, truncated: bool) -> Result<(), WriteError> {
        if let Some(stream) = self.stream.take() {
            let rest = stream.finish();
            self.take(rest)?;
        }
        if self.left_out > 0 {
            let marker = format!(
                "--- oc-mcpgw left out {} bytes ({}) here; {} keeps more ---\n",
                self.left_out,
                human_bytes(self.left_out),
                self.bound
            );
            let marker = self.redactor.text(&self.place, marker.as_bytes());
            self.write(&marker)?;
        }
        for part in std::mem::take(&mut self.tail) {
            self.write(&part)?;
        }
        match self.member.take() {
            Some(member) => member.finish(truncated || self.left_out > 0),
            None => Ok(()),
        }
    }
}
