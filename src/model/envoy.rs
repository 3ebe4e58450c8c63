//! Envoy's admin output: listeners, filter chains, clusters, routes, error states.
