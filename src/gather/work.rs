//! Keeps parsing, redacting and compressing away from the threads that wait for the network.

use std::sync::LazyLock;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

/// As many pieces of work at once as there are cores: more would not be faster, but each has
/// buffers of its own.
static CORES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(cores()));

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get).min(16)
}

/// How many threads the runtime of a collection has: one for each core that works, and one that
/// always waits for the network. More threads would not be faster, but the allocator keeps memory
/// for each.
pub(crate) fn threads() -> usize {
    cores() + 1
}

/// Runs a short piece of CPU-bound work when a core is free for it. It stays on its thread: of
/// [`threads`], one is left for the network.
pub(crate) async fn heavy<T>(work: impl FnOnce() -> T) -> T {
    // The semaphore is never closed; without it the work is still right.
    let _core = CORES.acquire().await;
    work()
}

/// Runs a piece of CPU-bound work at once.
pub(crate) fn off_reactor<T>(work: impl FnOnce() -> T) -> T {
    let multi = tokio::runtime::Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread);
    if multi { tokio::task::block_in_place(work) } else { work() }
}

/// Tasks side by side, at most so many at the same time: one that waits for its turn, or that has ended
/// and was not looked at, still takes kilobytes, and a large cluster has thousands of them.
#[derive(Debug)]
pub(crate) struct Crew<T> {
    tasks: JoinSet<T>,
    most: usize,
    done: Vec<T>,
}

impl<T: Send + 'static> Crew<T> {
    /// No task yet, and never more than this.
    pub(crate) fn new(most: usize) -> Self {
        Self { tasks: JoinSet::new(), most: most.max(1), done: Vec::new() }
    }

    /// Begins a task as soon as there is room for it.
    pub(crate) async fn begin(&mut self, task: impl Future<Output = T> + Send + 'static) {
        while self.tasks.len() >= self.most
            && let Some(joined) = self.tasks.join_next().await
        {
            self.done.extend(outcome(joined));
        }
        self.tasks.spawn(task);
    }

    /// Waits for all of them and gives what came of each, in no order.
    pub(crate) async fn end(mut self) -> Vec<T> {
        while let Some(joined) = self.tasks.join_next().await {
            self.done.extend(outcome(joined));
        }
        self.done
    }
}

/// What a task gave. A panic goes on; one that was cancelled has nothing to give.
fn outcome<T>(joined: Result<T, JoinError>) -> Option<T> {
    match joined {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Crew;

    #[tokio::test]
    async fn a_crew_is_bounded_and_loses_nothing() {
        let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut crew = Crew::new(3);
        for number in 0..20 {
            let (now, peak) = (now.clone(), peak.clone());
            crew.begin(async move {
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                number
            })
            .await;
            assert!(crew.tasks.len() <= 3);
        }
        let mut all = crew.end().await;
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert!(peak.load(Ordering::SeqCst) <= 3);
    }
}
