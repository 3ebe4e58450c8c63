//! The server's clock: how far it is from ours, by the `Date` of its first answer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, header};
use tokio::time::Instant;

/// Up to here clocks are taken to agree: `Date` tells whole seconds, and answers take their time.
const AGREE: i64 = 10;
/// An answer that was longer under way says nothing about clocks.
const PROMPT: Duration = Duration::from_secs(5);

/// What is known of the server's clock. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    /// Seconds by which the server is ahead of us.
    ahead: Arc<OnceLock<i64>>,
}

impl Clock {
    /// Learns from an answer to a request that was sent at this moment.
    pub(super) fn read(&self, headers: &HeaderMap, sent: Instant) {
        if self.ahead.get().is_none() && sent.elapsed() <= PROMPT {
            let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
            if let Some(ahead) = date.and_then(|date| ahead(date, Utc::now())) {
                // Whoever comes second has read the same.
                let _ = self.ahead.set(ahead);
            }
        }
    }

    /// How many seconds the server is ahead of this machine; `None` where the clocks agree, or where
    /// nothing is known.
    pub(crate) fn ahead(&self) -> Option<i64> {
        self.ahead.get().copied().filter(|ahead| ahead.abs() > AGREE)
    }

    /// A moment of ours as the server's clock had it.
    pub(crate) fn there(&self, here: DateTime<Utc>) -> DateTime<Utc> {
        let ahead = self.ahead().and_then(TimeDelta::try_seconds).unwrap_or_default();
        here.checked_add_signed(ahead).unwrap_or(here)
    }

    /// Now, as the server's clock has it.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.there(Utc::now())
    }
}

fn ahead(date: &str, now: DateTime<Utc>) -> Option<i64> {
    let there = DateTime::parse_from_rfc2822(date.trim()).ok()?;
    Some((there.to_utc() - now).num_seconds())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_date_tells_how_far_clocks_are_apart() {
        let now = "2026-11-05T10:00:00Z".parse().expect("a time");
        assert_eq!(ahead("Thu, 05 Nov 2026 11:00:00 GMT", now), Some(3600));
        assert_eq!(ahead("Thu, 05 Nov 2026 09:59:57 GMT", now), Some(-3));
        assert_eq!(ahead("yesterday", now), None);
    }

    #[test]
    fn the_first_prompt_answer_counts_and_small_differences_do_not() {
        let headers = |seconds: i64| {
            let date = (Utc::now() + TimeDelta::seconds(seconds)).format("%a, %d %b %Y %H:%M:%S GMT");
            let date = HeaderValue::from_str(&date.to_string()).expect("a header");
            HeaderMap::from_iter([(header::DATE, date)])
        };
        let clock = Clock::default();
        clock.read(&HeaderMap::new(), Instant::now());
        assert_eq!((clock.ahead(), clock.there(DateTime::UNIX_EPOCH)), (None, DateTime::UNIX_EPOCH));
        clock.read(&headers(-7200), Instant::now());
        clock.read(&headers(500), Instant::now());
        let ahead = clock.ahead().expect("a difference");
        assert!((-7202..=-7198).contains(&ahead), "{ahead}");
        assert_eq!(clock.there(DateTime::UNIX_EPOCH).timestamp(), ahead);
        let agrees = Clock::default();
        agrees.read(&headers(5), Instant::now());
        assert_eq!(agrees.ahead(), None);
    }
}
