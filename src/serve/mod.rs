//! A read-only Kubernetes API server over a bundle.
