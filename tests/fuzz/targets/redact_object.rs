//! Any JSON as an object: no panic, and no value of a Secret in what comes out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::redact::{Options, Redactor};
use serde_json::{Value, json};

fuzz_target!(|input: &[u8]| {
    let redactor = Redactor::new(Options::default());
    let file = redactor.path("fuzz.yaml");
    if let Ok(value) = serde_json::from_slice::<Value>(input) {
        redactor.learn_secret(&value);
        let redacted = redactor.object(&file, value);
        let _ = redacted.to_yaml();
    }
    let text = String::from_utf8_lossy(input).into_owned();
    if text.len() >= 8 {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"k": format!("\u{1}{text}\u{1}")}});
        let out = redactor.object(&file, secret).value().to_string();
        assert!(!out.contains(&format!("\u{1}{text}\u{1}")), "a value of a Secret came out");
    }
});
