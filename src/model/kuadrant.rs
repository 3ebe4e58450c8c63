//! Kuadrant semantics: policy targets, effective policies, AuthConfigs.
