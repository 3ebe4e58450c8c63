//! The dependencies between objects: requires, creates, selects, enforces, routes to.
