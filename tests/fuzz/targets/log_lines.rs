//! Any bytes as the lines of a log: no panic, and what is told apart stays bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::model::logs::errors::{Denial, ErrorClass};
use oc_mcpgw::model::logs::{Reader, format};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::default();
    let mut lines = 0;
    for line in bytes.split(|b| *b == b'\n') {
        lines += 1;
        reader.line(line);
        if let Some(parsed) = format::parse(line) {
            let _ = (parsed.error(), parsed.attribute("err"), parsed.json("object"));
        }
        if let Ok(text) = std::str::from_utf8(line) {
            let _ = (ErrorClass::of(text), Denial::parse(text), format::split_time(text));
        }
    }
    assert_eq!(reader.finish().0, lines);
});
