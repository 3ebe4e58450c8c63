//! Any bytes as a text: no panic, the output is bounded, and what is redacted stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::redact::{Options, Redactor};

fuzz_target!(|text: &[u8]| {
    let redactor = Redactor::new(Options::default());
    let file = redactor.path("fuzz.log");
    let once = redactor.text(&file, text);
    assert!(once.len() <= 16 * text.len() + 1024, "the output is longer than the bound");
    let twice = redactor.text(&file, once.as_bytes());
    assert!(twice.len() <= 16 * once.len() + 1024);
});
