//! The integration tests, one binary: the real program as a process, whole bundles, the wire.
