//! The one switch that ends a collection early: a signal, the deadline, a full disk.
//!
//! Whoever waits for the network also waits for the switch; once it is thrown, every request that
//! is under way or would be made ends at once with a refusal that says why, and the archive is
//! closed with what is there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// The switch. Clones share it.
#[derive(Debug, Clone)]
pub struct Stop {
    state: Arc<watch::Sender<Option<String>>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(None)) }
    }
}

impl Stop {
    /// Throws the switch; the first reason stays.
    pub fn cut(&self, why: &str) {
        self.state.send_if_modified(|state| {
            let first = state.is_none();
            if first {
                *state = Some(why.to_owned());
            }
            first
        });
    }

    /// Why the collection was cut short, if it was.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        self.state.borrow().clone()
    }

    /// Whether the switch was thrown.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state.borrow().is_some()
    }

    /// Returns when the switch is thrown, with the reason.
    pub async fn wait(&self) -> String {
        let mut state = self.state.subscribe();
        loop {
            if let Some(why) = state.borrow_and_update().clone() {
                return why;
            }
            if state.changed().await.is_err() {
                // The sender lives in `self`, so this cannot be reached; waiting for ever is harmless.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Throws the switch after this time.
    pub fn after(&self, limit: Duration, why: String) {
        let stop = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            stop.cut(&why);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Stop;

    #[tokio::test]
    async fn the_first_reason_stays() {
        let stop = Stop::default();
        assert!(!stop.is_cut());
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.wait().await }
        });
        stop.cut("SIGINT");
        stop.cut("the deadline of 1m");
        assert_eq!(waiting.await.expect("no panic"), "SIGINT");
        assert_eq!(stop.wait().await, "SIGINT");
        assert_eq!(stop.why().as_deref(), Some("SIGINT"));
    }
}
