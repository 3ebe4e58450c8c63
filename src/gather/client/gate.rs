//! How many requests may be under way: fewer when the server has too much to do.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// After so many good answers in a row, one more request may run side by side again.
const RECOVER_AFTER: usize = 20;

/// A bound that gives way when the server asks for it: each 429 or 503 halves it, good answers
/// let it grow back one by one.
#[derive(Debug)]
pub(super) struct Gate {
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
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            permits: Arc::new(Semaphore::new(most)),
            most,
            state: std::sync::Mutex::new(GateState { now: most, debt: 0, good: 0 }),
        }
    }

    /// Waits for the right to have one request under way.
    pub(super) async fn acquire(self: &Arc<Self>) -> Pass {
        // The semaphore is never closed; without a permit the request is only not counted.
        let permit = self.permits.clone().acquire_owned().await.ok();
        Pass { gate: Arc::clone(self), permit }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The server has too much to do.
    pub(super) fn pushed_back(&self) {
        let mut state = self.state();
        let less = (state.now / 2).max(1);
        state.debt += state.now - less;
        state.now = less;
        state.good = 0;
    }

    /// The server answered.
    pub(super) fn answered(&self) {
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
pub(super) struct Pass {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
