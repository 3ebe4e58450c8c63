//! Logs in `gather`: what is kept of long ones, and of many when room is scarce.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fixture::Fixture;
use crate::gather::{Served, files, gathered, json, text};

#[test]
fn long_logs_keep_head_and_tail() {
    let line = |i: usize| format!("2026-09-14T09:50:{:02}Z line {i:06} of the log\n", i % 60);
    let long: String = (0..4000).map(line).collect();
    let fixture = Fixture::healthy();
    let pod = fixture.pod_of("team-weather", "weather");
    let served = Served::of(&fixture.log("team-weather", &pod, "server", false, &long));
    let files = gathered(&served, &["--max-log-bytes", "16KiB"], 0);
    let path = oc_mcpgw::archive::path::log("team-weather", &pod, "server", false);
    let kept = text(&files[&path]);
    assert!(kept.len() < 17 << 10, "{}", kept.len());
    assert!(kept.starts_with(&line(0)) && kept.ends_with(&line(3999)));
    let whole = |line: &str| line.starts_with("2026-") && line.ends_with(" of the log");
    let others: Vec<&str> = kept.lines().filter(|line| !whole(line)).collect();
    assert_eq!(others.len(), 1, "{others:?}");
    let missing = long.len() - (kept.len() - others[0].len() - 1);
    assert!(others[0].starts_with(&format!("--- oc-mcpgw left out {missing} bytes")), "{}", others[0]);
    let manifest = json(&files, "mcpgw/manifest.json");
    let entry = manifest["files"].as_array().expect("files").iter().find(|f| f["path"] == path.as_str());
    assert_eq!(entry.expect("the log")["truncated"], true);
}

/// Lines of digits without pattern, which compress to about half.
pub fn noise(lines: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    for line in 0..lines {
        text.push_str(&format!("2026-09-14T09:50:{:02}Z", line % 60));
        for _ in 0..8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(&format!(" {:05}", state % 100_000));
        }
        text.push('\n');
    }
    text
}

/// The logs of a set of files: path and plain size.
fn logs(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, usize> {
    let logs = files.iter().filter(|(path, _)| path.ends_with(".log"));
    logs.map(|(path, content)| (path.clone(), content.len())).collect()
}

#[test]
fn scarce_room_goes_to_what_matters_most() {
    let restarted = |pod: &mut Value| {
        pod["status"]["containerStatuses"][0]["lastState"] =
            serde_json::json!({"terminated": {"exitCode": 1}});
    };
    let mut fixture = Fixture::healthy().edit("Pod", "team-weather", "weather", restarted);
    fixture = fixture.edit("Pod", "team-commerce", "orders", restarted);
    let (weather, orders) =
        (fixture.pod_of("team-weather", "weather"), fixture.pod_of("team-commerce", "orders"));
    let served = Served::of(
        &fixture
            .log("team-weather", &weather, "server", true, &noise(3_000, 1))
            .log("team-weather", &weather, "server", false, &noise(30_000, 2))
            .log("team-commerce", &orders, "server", true, &noise(9_000, 3))
            .log("team-commerce", &orders, "server", false, &noise(40_000, 4)),
    );
    let all = gathered(&served, &["-o", "all.tar.gz"], 0);
    let everything = logs(&all);
    let whole = std::fs::metadata(served.directory.path().join("all.tar.gz")).expect("a file").len();
    let long = |path: &str| path.ends_with("current.log") && everything[path] > 1 << 20;
    let previous = |path: &str| path.ends_with("previous.log");
    // Who goes first: long logs, logs of previous runs, short logs.
    let turn = |path: &str| {
        if long(path) {
            0
        } else if previous(path) {
            1
        } else {
            2
        }
    };
    assert_eq!((everything.keys().filter(|p| long(p)).count(), whole > 2 << 20), (2, true), "{whole}");

    let mut seen = [0; 3];
    for (number, limit) in (1..=8).map(|part| whole * part / 6).enumerate() {
        let name = format!("{number}.tar.gz");
        let limit_text = limit.to_string();
        let arguments = ["-o", &name, "--max-size", &limit_text, "--no-analyze"];
        let output = served.gather(&arguments);
        assert!(matches!(output.status.code(), Some(0 | 4)), "{}", text(&output.stderr));
        let files = files(&served.directory.path().join(&name));
        let size = std::fs::metadata(served.directory.path().join(&name)).expect("a file").len();
        assert!(size <= limit, "{size} bytes with --max-size {limit}");
        let objects = |files: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
            files.keys().filter(|p| !p.ends_with(".log") && !p.contains("analysis")).cloned().collect()
        };
        assert_eq!(objects(&files), objects(&all), "objects stay whatever the room");

        let kept = logs(&files);
        let failures = json(&files, "mcpgw/failures.json");
        let failures = failures.as_array().expect("a list");
        let listed = |path: &str| {
            let mut parts = path.split('/').skip(1);
            let (namespace, _, pod) = (parts.next(), parts.next(), parts.next());
            let which = if previous(path) { "previous log of " } else { "log of " };
            let place = format!(" in {}/{}", namespace.unwrap_or_default(), pod.unwrap_or_default());
            failures.iter().any(|failure| {
                let what = failure["what"].as_str().unwrap_or_default();
                let not_begun = what.starts_with(which) && what.ends_with(&place);
                failure["reason"] == "NoRoom" && (not_begun || what.ends_with(path))
            })
        };
        for path in everything.keys().filter(|path| !kept.contains_key(*path)) {
            assert!(listed(path), "{path} is missing and nothing says so: {failures:#?}");
            seen[turn(path)] += 1;
            let lower: usize =
                kept.iter().filter(|(other, _)| turn(other) < turn(path)).map(|(_, size)| size).sum();
            let size = everything[path].min(1 << 20);
            assert!(lower < size, "{path} ({size}) was left out for {kept:?} with --max-size {limit}");
        }
        for (path, size) in kept.iter().filter(|(path, size)| **size < everything[*path]) {
            let marks = text(&files[path]).matches("; --max-size keeps more ---\n").count();
            assert_eq!(marks, 1, "{path}: {size} of {}", everything[path]);
            let last =
                |files: &BTreeMap<String, Vec<u8>>| text(&files[path]).lines().last().map(str::to_owned);
            assert_eq!(last(&files), last(&all), "the end of {path} is kept");
        }
        if number == 7 {
            assert!(kept.len() == everything.len(), "with room for all, all are there: {failures:#?}");
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_log_is_cut_where_the_room_ends() {
    let fixture = Fixture::healthy();
    let pod = fixture.pod_of("team-weather", "weather");
    let content = noise(60_000, 7);
    let served = Served::of(&fixture.log("team-weather", &pod, "server", false, &content));
    let files = gathered(&served, &["--max-size", "1MiB", "-o", "x.tar.gz", "--no-analyze"], 0);
    let size = std::fs::metadata(served.directory.path().join("x.tar.gz")).expect("a file").len();
    assert!((512 << 10..=1 << 20).contains(&size), "{size}: the room is used, and no more");
    let kept = text(&files[&oc_mcpgw::archive::path::log("team-weather", &pod, "server", false)]);
    let (head, tail) = kept.split_once("--- oc-mcpgw left out ").expect("a mark");
    let (mark, tail) = tail.split_once('\n').expect("a line");
    assert!(mark.ends_with("; --max-size keeps more ---"), "{mark}");
    assert!(content.starts_with(head) && content.ends_with(tail) && tail.len() > 1000);
}
