//! Any text as a CEL expression of a policy: problems or none, never a panic or a stack that overflows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::model::cel::{Environment, Evaluators, check};

fuzz_target!(|source: &str| {
    for environment in [Environment::Authorino, Environment::Operator] {
        let _ = check(source, environment, &Evaluators::default());
    }
});
