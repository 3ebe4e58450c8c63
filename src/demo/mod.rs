//! A built-in installation with faults, for `demo` and for learning.
