//! Any bytes in any pieces: the result does not depend on the pieces, and memory stays bounded. The first
//! byte chooses the size of the pieces; the rest is repeated, so that a small input fills several blocks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::redact::{Options, Redactor};

fuzz_target!(|input: &[u8]| {
    let Some((size, unit)) = input.split_first() else { return };
    let mut text = unit.to_vec();
    while !unit.is_empty() && text.len() < 600 * 1024 {
        text.push(b'\n');
        text.extend_from_slice(unit);
    }
    let redactor = Redactor::new(Options::default());
    let file = redactor.path("fuzz.log");
    let mut stream = redactor.stream(&file);
    let mut out = Vec::new();
    for piece in text.chunks(usize::from(*size) * 97 + 1) {
        out.extend_from_slice(stream.push(piece).as_bytes());
    }
    out.extend_from_slice(stream.finish().as_bytes());
    assert!(out.len() <= 16 * text.len() + 1024, "the output is longer than the bound");
});
