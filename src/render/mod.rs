//! From a report to bytes, one file per form; nothing is computed here.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
