//! The integration tests, one binary: the real program as a process, whole bundles, the wire.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod analyze;
mod archive;
mod archive_damaged;
mod bad_input;
mod bundles;
mod cli;
mod commands;
mod controllers;
mod coverage;
mod demo;
mod dry_run;
mod envoy;
#[allow(dead_code)]
mod faults;
mod fixes;
// The fixture language offers more than each test of the moment uses.
#[allow(dead_code)]
mod fixture;
#[allow(dead_code)]
mod fixture_kinds;
mod fixture_variations;
mod gather;
mod gather_connect;
mod gather_end;
mod gather_faults;
mod gather_hostile;
mod gather_live;
mod gather_logs;
mod gather_matrix;
mod gather_peers;
mod kinds;
mod manifests;
mod obfuscate;
mod packaging;
mod pasted;
mod patches;
mod probe;
// Faults for whoever tests a client.
#[allow(dead_code)]
mod proxy;
mod rbac;
mod redact;
mod redact_canaries;
mod redact_rows;
mod redact_survives;
mod remedies;
mod removal;
mod render;
mod render_hostile;
mod roots;
mod serve;
mod serve_command;
mod serve_foreign;
mod serve_kubectl;
mod serve_live;
mod unusual;
