//! What Istio does with its own objects: [`envoy_filter`] selection and revision, visibility.

pub mod envoy_filter;
pub mod visibility;
