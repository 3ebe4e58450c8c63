//! What `gather` asks of running pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fixture::Fixture;
use crate::gather::{Fault, Served, differences, gathered, json, status, text};

/// The live answers of a set of files: path and content.
fn live(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<&str, &Vec<u8>> {
    let of_pods = |path: &&String| path.starts_with("mcpgw/envoy/") || path.starts_with("mcpgw/broker/");
    files.iter().filter(|(path, _)| of_pods(path)).map(|(path, content)| (path.as_str(), content)).collect()
}

#[test]
fn running_pods_are_asked() {
    let fixture = Fixture::healthy();
    let served = Served::of(&fixture);
    let files = gathered(&served, &[], 0);
    let originals = fixture.files();
    let (asked, there) = (live(&files), live(&originals));
    assert_eq!(asked.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>());
    assert!(asked.len() > 7);
    for (path, content) in there {
        if path.ends_with(".json") {
            let mut differ = Vec::new();
            differences(&json(&originals, path), &json(&files, path), "", &mut differ);
            assert_eq!(differ, Vec::<String>::new(), "{path}");
        } else {
            assert_eq!(text(content), text(asked[path]), "{path}");
        }
    }
    let changes = ["quitquitquit", "drain", "logging", "healthcheck", "reset_counters", "runtime_modify"];
    let requests = served.requests.lock().expect("no panic");
    assert!(!requests.iter().any(|request| changes.iter().any(|change| request.contains(change))));
}

#[test]
fn running_pods_are_left_alone_where_that_is_wanted() {
    let served = Served::of(&Fixture::healthy());
    let files = gathered(&served, &["--probe", "none"], 0);
    assert!(live(&files).is_empty());
    let requests = served.requests.lock().expect("no panic");
    assert!(!requests.iter().any(|request| request.contains("/portforward") || request.contains("/proxy/")));
}

#[test]
fn where_port_forward_is_refused_the_pod_proxy_answers() {
    let fault: Fault = Arc::new(|asked| {
        asked.contains("/portforward").then(|| status(403, "Forbidden", "you may not forward ports"))
    });
    let served = Served::with(&Fixture::healthy(), fault);
    let files = gathered(&served, &[], 4);
    let answers: Vec<&str> = live(&files).into_keys().collect();
    assert!(answers.iter().any(|path| path.ends_with("/status.json")), "{answers:?}");
    assert!(!answers.iter().any(|path| path.starts_with("mcpgw/envoy/")), "{answers:?}");
    let failures = text(&files["mcpgw/failures.json"]);
    assert!(failures.contains("what Envoy really runs is unknown"), "{failures}");
    let requests = served.requests.lock().expect("no panic");
    let forwards = requests.iter().filter(|request| request.contains("/portforward")).count();
    // Each of the four lanes may have a few under way when the first answer comes.
    assert!(forwards < 12, "a refusal is known after the first of each lane: {forwards}");
}
