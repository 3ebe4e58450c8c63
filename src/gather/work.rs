//! Keeps parsing, redacting and compressing away from the threads that wait for the network.

/// Runs a piece of CPU-bound work without holding up other tasks of this thread.
pub(crate) fn off_reactor<T>(work: impl FnOnce() -> T) -> T {
    let multi = tokio::runtime::Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread);
    if multi { tokio::task::block_in_place(work) } else { work() }
}
