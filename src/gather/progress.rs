//! Tells the person who waits what is going on: a bar on a terminal, plain lines elsewhere, at
//! least one every 30 seconds.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::units::{human_bytes, human_duration};

/// How long plain output is silent at most unless something else is asked for.
pub const SILENCE: Duration = Duration::from_secs(10);
/// How often somebody looks whether it is time for a line.
const LOOK: Duration = Duration::from_secs(1);

/// The progress of one collection. Clones share it.
#[derive(Debug, Clone)]
pub struct Progress {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bar: Option<ProgressBar>,
    plain: bool,
    started: Instant,
    phase: Mutex<String>,
    rhythm: Mutex<Rhythm>,
    objects: AtomicU64,
    logs: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    done: AtomicBool,
}

/// When plain output says something.
#[derive(Debug)]
struct Rhythm {
    silence: Duration,
    last: Instant,
}

impl Rhythm {
    /// Whether a line is due; it is taken for written then.
    fn is_due(&mut self, now: Instant, at_once: bool) -> bool {
        let due = at_once || now.saturating_duration_since(self.last) >= self.silence;
        if due {
            self.last = now;
        }
        due
    }

    /// How long to wait until somebody looks again: never so long that a line would be late by more
    /// than [`LOOK`].
    fn look(&self) -> Duration {
        self.silence.clamp(Duration::from_millis(50), LOOK)
    }
}

impl Progress {
    /// Says nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self::make(None, false, SILENCE)
    }

    /// Writes to standard error: a bar if that is a terminal, else lines, with at most this silence.
    #[must_use]
    pub fn stderr(silence: Duration) -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            Self::make(Some(bar), false, silence)
        } else {
            Self::make(None, true, silence)
        }
    }

    fn make(bar: Option<ProgressBar>, plain: bool, silence: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                bar,
                plain,
                started: Instant::now(),
                phase: Mutex::default(),
                rhythm: Mutex::new(Rhythm { silence, last: Instant::now() }),
                objects: AtomicU64::new(0),
                logs: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                done: AtomicBool::new(false),
            }),
        }
    }

    /// Begins another part of the work.
    pub fn phase(&self, phase: &str) {
        phase.clone_into(&mut lock(&self.inner.phase));
        self.show(true);
    }

    /// Prints one line that stays, above the bar.
    pub fn note(&self, line: &str) {
        let line = crate::term::sanitize(line);
        match &self.inner.bar {
            Some(bar) => bar.suspend(|| write_line(&line)),
            None if self.inner.plain => write_line(&line),
            None => {}
        }
    }

    /// Counts an object.
    pub(crate) fn object(&self) {
        self.inner.objects.fetch_add(1, Ordering::Relaxed);
        self.show(false);
    }

    /// Counts a log that was read.
    pub(crate) fn log(&self) {
        self.inner.logs.fetch_add(1, Ordering::Relaxed);
        self.show(false);
    }

    /// Counts bytes of a log.
    pub(crate) fn bytes(&self, bytes: usize) {
        self.inner.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.show(false);
    }

    /// Counts a request that failed.
    pub(crate) fn failed(&self) {
        self.inner.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How many objects and logs there were.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.inner.objects.load(Ordering::Relaxed), self.inner.logs.load(Ordering::Relaxed))
    }

    /// Writes a line now and then even when nothing else does, so that whoever follows the output
    /// (the log of a pod, a CI job) sees life. Ends with [`Progress::finish`].
    pub(crate) fn keep_alive(&self) {
        let progress = self.clone();
        let look = lock(&self.inner.rhythm).look();
        tokio::spawn(async move {
            while !progress.inner.done.load(Ordering::Relaxed) {
                tokio::time::sleep(look).await;
                progress.show(false);
            }
        });
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.inner.done.store(true, Ordering::Relaxed);
        if let Some(bar) = &self.inner.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&self, now: bool) {
        let inner = &self.inner;
        if inner.bar.is_none() && !inner.plain {
            return;
        }
        if inner.plain && !lock(&inner.rhythm).is_due(Instant::now(), now) {
            return;
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut line = lock(&inner.phase).clone();
        let (objects, logs, failures) = (count(&inner.objects), count(&inner.logs), count(&inner.failures));
        if objects > 0 {
            line.push_str(&format!(", {objects} objects"));
        }
        if count(&inner.bytes) > 0 {
            line.push_str(&format!(", {logs} logs ({})", human_bytes(count(&inner.bytes))));
        }
        if failures > 0 {
            line.push_str(&format!(", {failures} refused or failed"));
        }
        let elapsed = inner.started.elapsed();
        if elapsed.as_secs() > 0 {
            line.push_str(&format!(", {}", human_duration(elapsed)));
        }
        match &inner.bar {
            Some(bar) => bar.set_message(line),
            None => write_line(&line),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A closed standard error is nobody's loss.
fn write_line(line: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `oc adm must-gather` and whoever follows a job take a collection for dead that is silent for
    /// longer than half a minute.
    #[test]
    fn nobody_waits_half_a_minute_for_a_line() {
        for silence in [SILENCE, Duration::from_millis(100), Duration::from_secs(25)] {
            let begin = Instant::now();
            let mut rhythm = Rhythm { silence, last: begin };
            let (mut now, mut last, mut lines) = (begin, begin, 0_u32);
            while now < begin + Duration::from_secs(300) {
                now += rhythm.look();
                if rhythm.is_due(now, false) {
                    assert!(now - last <= silence + LOOK, "{silence:?}: silent for {:?}", now - last);
                    (last, lines) = (now, lines + 1);
                }
            }
            assert!(lines >= 10, "{silence:?}: {lines} lines in five minutes");
        }
        assert!(SILENCE + LOOK < Duration::from_secs(30));
    }
}
