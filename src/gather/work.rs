//! Keeps parsing, redacting and compressing away from the threads that wait for the network.

use std::sync::LazyLock;

use tokio::sync::Semaphore;

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
