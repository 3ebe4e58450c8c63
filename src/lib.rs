//! `oc-mcpgw` collects, redacts and diagnoses an MCP gateway (Kuadrant/mcp-gateway).
//!
//! Two streams, each in one direction. Writing: the network enters in [`gather`], passes
//! [`redact`], leaves through [`archive::write`]; what the writer accepts can only be made by
//! the redactor. Reading: any archive becomes a [`model::Bundle`], then findings ([`rules`]),
//! then bytes ([`render`]). `ARCHITECTURE.md` has the picture.
//!
//! Reading order: [`cli`] and [`commands`] (what a person types), [`gather`] (the plan and the
//! collectors), [`redact`] (the gate), [`archive`] (the only place that knows a path of the
//! archive), [`model`] (what the objects mean), [`rules`] (what is wrong), [`report`] and
//! [`render`] (how it is said), [`serve`] (a read-only Kubernetes API server over a bundle),
//! [`demo`] (a built-in installation with faults).

pub mod archive;
pub mod cli;
pub mod commands;
pub mod demo;
pub mod error;
pub mod gather;
pub mod model;
pub mod redact;
pub mod render;
pub mod report;
pub mod rules;
pub mod serve;
pub mod shell;
pub mod term;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs the program with these arguments (the first is its name) and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match cli::parse(arguments) {
        Ok(cli) => commands::run(cli),
        Err(code) => return ExitCode::from(code),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            if error.kind() != error::ErrorKind::BrokenPipe {
                // A closed standard error must not turn into a panic, so nothing is checked here.
                let mut stderr = anstream::stderr().lock();
                let message = term::sanitize(&error.to_string()).into_owned();
                let _ = writeln!(stderr, "error: {message}");
                for hint in error.hints() {
                    let _ = writeln!(stderr, "  hint: {}", term::sanitize(hint));
                }
            }
            ExitCode::from(error.code())
        }
    }
}
