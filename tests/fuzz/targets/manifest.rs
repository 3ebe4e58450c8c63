//! Any bytes as the manifest of an archive: it is read or said to be broken, never trusted with a path.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::archive::load::load;
use oc_mcpgw::archive::path;
use oc_mcpgw::archive::read::Memory;

fuzz_target!(|bytes: &[u8]| {
    let files = Memory(BTreeMap::from([
        (path::MANIFEST.to_owned(), bytes.to_vec()),
        (path::FAILURES.to_owned(), bytes.to_vec()),
        (path::REDACTION_REPORT.to_owned(), bytes.to_vec()),
    ]));
    if let Ok(bundle) = load(&files) {
        assert!(!bundle.problems.iter().any(|problem| problem.contains("bug:")), "{:?}", bundle.problems);
    }
});
