//! Workloads: which pods stand behind a Service, a Gateway, a controller; what their status says.
