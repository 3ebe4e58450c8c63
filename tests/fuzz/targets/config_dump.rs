//! Any bytes as Envoy's config_dump, cut off or not: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oc_mcpgw::model::envoy::Dump;

fuzz_target!(|bytes: &[u8]| {
    if let Some(dump) = Dump::parse("config_dump.json", bytes) {
        for name in ["ListenersConfigDump", "ClustersConfigDump", "RoutesConfigDump", "EcdsConfigDump"] {
            let _ = dump.section(name);
        }
        let _ = dump.rejections();
    }
});
