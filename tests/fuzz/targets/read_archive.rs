//! Any bytes as a bundle on standard input: an answer or one clear error, never a panic, and no
//! file that was left out because its reader failed in an unforeseen way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::archive::{load::load, read};

fuzz_target!(|bytes: &[u8]| {
    let input = Box::new(std::io::Cursor::new(bytes.to_vec()));
    if let Ok(bundle) = read::stream("input", input).and_then(|source| load(&*source)) {
        assert!(!bundle.problems.iter().any(|problem| problem.contains("bug:")), "{:?}", bundle.problems);
    }
});
