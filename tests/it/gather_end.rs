//! How a gather ends: signals, deadlines, every form and every place that it can go to.

use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::response::Response;

use crate::fixture::Fixture;
use crate::gather::{Fault, Served, archive, files, gathered, json, left_behind, refused, text};

#[test]
fn a_signal_closes_a_valid_archive() {
    for (signal, name) in [("-INT", "SIGINT"), ("-TERM", "SIGTERM")] {
        let (asked, log_asked) = std::sync::mpsc::channel();
        let fault: Fault = Arc::new(move |path| {
            path.contains("/log?").then(|| {
                let _ = asked.send(());
                let pending = futures_util::stream::pending::<Result<String, std::io::Error>>();
                Response::new(axum::body::Body::from_stream(pending))
            })
        });
        let served = Served::with(&Fixture::healthy(), fault);
        let child =
            served.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        log_asked.recv().expect("a request for a log");
        assert!(
            Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill").success()
        );
        let output = child.wait_with_output().expect("an end");
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        let files = files(&archive(&output, served.directory.path()));
        assert_eq!(json(&files, "mcpgw/manifest.json")["cutShort"], name);
        assert!(text(&files["mcpgw/failures.json"]).contains("logs not read"));
        assert!(files.contains_key("namespaces/team-weather/core/pods.yaml"));
        assert_eq!(left_behind(served.directory.path()).len(), 1, "only the archive");
    }
}

#[test]
fn the_deadline_closes_a_valid_archive() {
    let fault: Fault = Arc::new(|path| {
        path.contains("/log?").then(|| {
            let pending = futures_util::stream::pending::<Result<String, std::io::Error>>();
            Response::new(axum::body::Body::from_stream(pending))
        })
    });
    let served = Served::with(&Fixture::healthy(), fault);
    let files = gathered(&served, &["--timeout", "3s"], 4);
    assert_eq!(json(&files, "mcpgw/manifest.json")["cutShort"], "the deadline of 3s");
}

#[test]
fn every_form_goes_where_it_is_wanted() {
    let served = Served::of(&Fixture::healthy());
    let directory = served.directory.path();
    let output = served.gather(&["-o", "-", "--no-analyze"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let piped = directory.join("piped.tar.gz");
    std::fs::write(&piped, &output.stdout).expect("a file");
    let expected = files(&piped);
    assert!(!expected.contains_key("mcpgw/analysis/report.json"));
    for (format, name) in [("tar.gz", "a.tgz"), ("tar.zst", "a.tar.zst"), ("zip", "a.zip"), ("dir", "a")] {
        let output = served.gather(&["-o", name, "--format", format, "--no-analyze"]);
        assert_eq!(output.status.code(), Some(0), "{format}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout).lines().next(), Some(name));
        let got = files(&directory.join(name));
        assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{format}");
    }
    std::fs::create_dir(directory.join("into")).expect("a directory");
    let output = served.gather(&["-o", "into", "--no-analyze"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let names = left_behind(&directory.join("into"));
    assert!(
        names.len() == 1 && names[0].starts_with("mcpgw-gather-") && names[0].ends_with(".tar.gz"),
        "{names:?}"
    );
}

#[test]
fn the_must_gather_image_fills_its_directory() {
    let served = Served::of(&Fixture::healthy());
    let directory = served.directory.path().join("must-gather");
    std::fs::create_dir(&directory).expect("a directory");
    let mut command = served.command();
    command.args(["--must-gather", "-o", "must-gather"]).env("MUST_GATHER_SINCE", "3h0m0s");
    // By default the room depends on how full the disk of the machine is.
    command.args(["--max-size", "1GiB"]);
    let output = command.output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&std::fs::read(directory.join("version")).expect("a version")).starts_with("mcpgw-gather\n")
    );
    let files = files(&directory);
    let options = &json(&files, "mcpgw/manifest.json")["options"];
    assert_eq!(options["since"], "3h");
    assert_eq!(options["timeout"], "8m30s");
    assert!(files.contains_key("namespaces/team-weather/core/pods.yaml"));
    let requests = served.requests.lock().expect("no panic").clone();
    assert!(requests.iter().any(|request| request.contains("sinceSeconds=10800")), "{requests:?}");

    let error = refused(served.command().args(["--must-gather", "-o", "nowhere"]), 3);
    assert!(error.contains("nowhere is no directory"), "{error}");
    let mut command = served.command();
    command.args(["--must-gather", "-o", "must-gather"]).env("MUST_GATHER_SINCE", "yesterday");
    let error = refused(&mut command, 2);
    assert!(error.contains("$MUST_GATHER_SINCE: `yesterday` is no duration"), "{error}");
}
