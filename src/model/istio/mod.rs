//! Istio semantics: EnvoyFilter selection, revisions, ServiceEntry and DestinationRule visibility.
