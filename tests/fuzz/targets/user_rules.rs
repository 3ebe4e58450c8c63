//! Any text as a file of redaction rules: rules or one clear error, and rules that can be applied.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::redact::{Options, Redactor, UserRules};

fuzz_target!(|text: &str| {
    match UserRules::parse(text) {
        Ok(rules) => {
            let redactor = Redactor::new(Options { rules, ..Options::default() });
            let _ = redactor.drops(text);
            let _ = redactor.text(&redactor.path("fuzz.log"), text.as_bytes());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
