//! Any text as a file of objects: what is read, written and read again is the same.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::archive::load::load;
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::archive::yaml;

fuzz_target!(|bytes: &[u8]| {
    let files = Memory(BTreeMap::from([("input.yaml".to_owned(), bytes.to_vec())]));
    let Ok(bundle) = load(&files) else { return };
    assert!(!bundle.problems.iter().any(|problem| problem.contains("bug:")), "{:?}", bundle.problems);
    for object in bundle.objects() {
        let value = object.value().to_json();
        let mut text = String::new();
        yaml::emit(&value, 0, &mut text);
        let again: serde_json::Value = serde_yaml::from_str(&text).expect("what we write can be read");
        assert_eq!(again, value, "{text}");
    }
});
