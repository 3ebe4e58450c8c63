//! Gateway API semantics: parentRefs, hostnames, listeners, allowedRoutes, ReferenceGrants, backendRefs, as the specification and as Istio decide them.
