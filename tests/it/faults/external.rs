//! Faults of servers outside the cluster.

use super::Fault;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[];
