//! How a gather ends: signals, deadlines, every form and every place that it can go to.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use axum::response::Response;

use crate::fixture::Fixture;
use crate::gather::{Fault, Served, archive, files, gathered, json, left_behind, program, refused, text};
use crate::gather_faults::{names, nothing_secret};
use crate::gather_logs::noise;

#[test]
fn a_signal_closes_a_valid_archive() {
    let signals = [("-INT", "SIGINT"), ("-TERM", "SIGTERM"), ("-HUP", "SIGHUP")];
    // Under `nohup`, which the program inherits from the tests, the last one is ignored on purpose.
    let ignores_hang_up = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        ignored.is_some_and(|mask| mask.trim().ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']))
    });
    for (signal, name) in signals.into_iter().filter(|(_, name)| *name != "SIGHUP" || !ignores_hang_up) {
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

/// A log that begins with these lines and then says nothing more, ever.
fn log_that_hangs(content: String) -> Response {
    let begin = futures_util::stream::iter([Ok::<_, std::io::Error>(content)]);
    let never = futures_util::stream::pending();
    Response::new(axum::body::Body::from_stream(futures_util::StreamExt::chain(begin, never)))
}

/// An installation one of whose logs is so long that it does not stay in memory.
fn with_long_log() -> Fixture {
    let fixture = Fixture::healthy();
    let pod = fixture.pod_of("team-weather", "weather");
    fixture.log("team-weather", &pod, "server", false, &noise(6_000, 11))
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// Reads standard error until a line holds this.
fn wait_for(stderr: &mut impl std::io::BufRead, words: &str) {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert!(stderr.read_line(&mut line).expect("standard error") > 0, "it ended before {words:?}");
    }
}

fn verified(archive: &Path) {
    let output = program().arg("verify").arg(archive).output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// One line of error with a hint, and nothing left where the archive should be, nor beside it.
fn failed_cleanly(output: &Output, words: &str, place: &Path, there: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains(words), "{words}: {stderr}");
    assert!(stderr.contains("\n  hint: ") && !stderr.contains("panicked"), "{stderr}");
    assert_eq!(names(place), there, "{words}: nothing is left behind");
}

#[test]
fn the_second_signal_ends_at_once() {
    for format in ["tar.gz", "dir", "zip"] {
        let (asked, log_asked) = std::sync::mpsc::channel();
        let fault: Fault = Arc::new(move |path| {
            path.contains("/mcp-gateway-controller").then_some(())?;
            path.contains("/log?").then(|| {
                let _ = asked.send(());
                log_that_hangs(noise(6_000, 5))
            })
        });
        let served = Served::with(&with_long_log(), fault);
        let mut command = served.command();
        command.args(["-o", "x", "--format", format]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        log_asked.recv().expect("a request for a log");
        signal(&child, "-INT");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        wait_for(&mut stderr, "once more gives up");
        signal(&child, "-INT");
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).expect("standard error");
        let status = child.wait().expect("an end");
        assert_eq!(status.code(), Some(130), "{rest}");
        // Either it was given up, or the archive was closed before the second signal came.
        match names(served.directory.path()).as_slice() {
            [kubeconfig] => assert!(kubeconfig == "kubeconfig" && rest.contains("given up"), "{rest}"),
            [_, x] if x == "x" && !rest.contains("given up") => verified(&served.directory.path().join("x")),
            other => panic!("{other:?} after {rest}"),
        }
    }
}

/// The mapping of pseudonyms goes with the archive: whoever gets the one needs the other.
#[test]
fn the_mapping_is_there_exactly_when_the_archive_is() {
    for signals in [1, 2] {
        let (asked, log_asked) = std::sync::mpsc::channel();
        let fault: Fault = Arc::new(move |path| {
            path.contains("/log?").then(|| {
                let _ = asked.send(());
                log_that_hangs(noise(6_000, 5))
            })
        });
        let served = Served::with(&with_long_log(), fault);
        let mut command = served.command();
        command.args(["--obfuscate", "all", "--mapping-out", "m.json", "-o", "x.tar.gz", "--no-analyze"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        log_asked.recv().expect("a request for a log");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        signal(&child, "-INT");
        if signals == 2 {
            wait_for(&mut stderr, "once more gives up");
            signal(&child, "-INT");
        }
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).expect("standard error");
        assert_eq!(child.wait().expect("an end").code(), Some(130), "{rest}");
        let given_up = rest.contains("given up");
        assert!(signals == 2 || !given_up, "{rest}");
        let there = names(served.directory.path());
        if given_up {
            assert_eq!(there, ["kubeconfig"], "neither archive nor mapping");
            continue;
        }
        assert_eq!(there, ["kubeconfig", "m.json", "x.tar.gz"]);
        verified(&served.directory.path().join("x.tar.gz"));
        let mapping = std::fs::read(served.directory.path().join("m.json")).expect("a mapping");
        let mapping: Vec<serde_json::Value> = serde_json::from_slice(&mapping).expect("JSON");
        let of_weather = mapping.iter().find(|entry| entry["original"] == "team-weather").expect("an entry");
        let pseudonym = of_weather["pseudonym"].as_str().expect("a name");
        let files = files(&served.directory.path().join("x.tar.gz"));
        assert!(files.contains_key(&format!("namespaces/{pseudonym}/core/pods.yaml")), "{:?}", files.keys());
    }
}

/// Who follows the log of a pod sees life, even when the cluster says nothing at all.
#[test]
fn the_must_gather_script_is_never_silent() {
    let fault: Fault = Arc::new(|path| path.contains("/log?").then(|| log_that_hangs(noise(10, 5))));
    let served = Served::with(&Fixture::healthy(), fault);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("gather-scripts/gather_mcpgw");
    let output = Command::new("bash")
        .arg(script)
        .args(["--probe", "none", "--no-analyze", "--max-size", "1GiB"])
        .env("BASE_COLLECTION_PATH", served.directory.path().join("must-gather"))
        .env("MCPGW", env!("CARGO_BIN_EXE_oc-mcpgw"))
        .env("KUBECONFIG", served.directory.path().join("kubeconfig"))
        .env("MCPGW_PROGRESS", "200ms")
        .env("MCPGW_TIMEOUT", "4s")
        .output()
        .expect("the script runs");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    // By default it is ten seconds, which a unit test drives by a clock of its own.
    let lines = stderr.lines().filter(|line| line.starts_with("reading the logs of")).count();
    assert!(lines >= 5, "{lines} lines in some seconds in which no log said a word: {stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn two_signals_end_even_what_nobody_reads() {
    let served = Served::of(&with_long_log());
    let directory = served.directory.path();
    assert!(Command::new("mkfifo").arg(directory.join("pipe")).status().expect("mkfifo").success());
    // Nobody reads standard output, and nobody opens the pipe.
    for output in ["-", "pipe"] {
        let mut command = served.command();
        command.args(["-o", output, "--no-analyze"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        wait_for(&mut stderr, "redaction may have missed");
        signal(&child, "-TERM");
        wait_for(&mut stderr, "once more gives up");
        signal(&child, "-INT");
        wait_for(&mut stderr, "given up");
        assert_eq!(child.wait().expect("an end").code(), Some(130));
        assert_eq!(names(directory), ["kubeconfig", "pipe"]);
    }
}

#[test]
fn an_output_that_goes_away_leaves_nothing() {
    for (format, into) in
        [("tar.gz", false), ("tar.zst", false), ("zip", false), ("dir", false), ("dir", true)]
    {
        let place = tempfile::tempdir().expect("a directory");
        let out = place.path().join("out");
        std::fs::create_dir(&out).expect("a directory");
        let gone = out.clone();
        let fault: Fault = Arc::new(move |path| {
            if path.contains("/mcp-gateway-controller") && path.contains("/log?") {
                // A file that is made meanwhile keeps a folder from going the first time.
                while gone.exists() && std::fs::remove_dir_all(&gone).is_err() {}
            }
            None
        });
        let served = Served::with(&with_long_log(), fault);
        let mut command = served.command();
        match into {
            true => command.args(["--must-gather", "--max-size", "1GiB", "-o"]).arg(&out),
            false => command.args(["--format", format, "-o"]).arg(out.join("x")),
        };
        let output = command.output().expect("the program");
        failed_cleanly(&output, "cannot write", place.path(), &[]);
    }
}

#[test]
fn a_full_disk_leaves_nothing() {
    // A limit on the size of files is what every user can set; the writes fail as on a full disk.
    for (fixture, what) in [(Fixture::healthy(), "when it is joined"), (with_long_log(), "while it is made")]
    {
        let served = Served::of(&fixture);
        for format in ["tar.gz", "tar.zst", "zip", "dir"] {
            let mut command = Command::new("bash");
            let limited = served.command();
            command.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""]).arg(limited.get_program());
            command.args(limited.get_args()).args(["-o", "x", "--format", format]);
            command.current_dir(served.directory.path()).env("HOME", "/nonexistent");
            let output = command.output().expect("bash");
            assert_eq!(output.status.code(), Some(3), "{format} {what}: {}", text(&output.stderr));
            failed_cleanly(&output, "File too large", served.directory.path(), &["kubeconfig"]);
        }
    }
    if Path::new("/dev/full").exists() {
        let served = Served::of(&Fixture::healthy());
        let output = served.gather(&["-o", "/dev/full"]);
        failed_cleanly(&output, "No space left on device", served.directory.path(), &["kubeconfig"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn where_nobody_may_write_it_is_said_at_once() {
    let served = Served::of(&Fixture::healthy());
    // Not even root makes files there.
    let output = served.gather(&["-o", "/proc/x.tar.gz"]);
    failed_cleanly(&output, "cannot write /proc/x.tar.gz", served.directory.path(), &["kubeconfig"]);
    let requests = served.requests.lock().expect("no panic").clone();
    assert!(!requests.iter().any(|request| request.contains("/secrets")), "before anything is read");
}

#[test]
fn a_reader_that_leaves_is_no_success() {
    let served = Served::of(&with_long_log());
    let temporary = tempfile::tempdir().expect("a directory");
    let mut command = served.command();
    command.args(["-o", "-"]).env("TMPDIR", temporary.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    let mut first = [0];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("a byte");
    let output = child.wait_with_output().expect("an end");
    failed_cleanly(&output, "closed before the archive was whole", served.directory.path(), &["kubeconfig"]);
    assert_eq!(names(temporary.path()), Vec::<String>::new());
}

#[cfg(unix)]
#[test]
fn a_pipe_is_written_to() {
    let served = Served::of(&with_long_log());
    let directory = served.directory.path();
    let pipe = directory.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let reader = std::thread::spawn(move || std::fs::read(pipe).expect("an archive"));
    let output = served.gather(&["-o", "pipe", "--no-analyze"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    std::fs::write(directory.join("copy.tar.gz"), reader.join().expect("no panic")).expect("a file");
    verified(&directory.join("copy.tar.gz"));
    let output = served.gather(&["-o", "pipe", "--format", "dir"]);
    assert_eq!(output.status.code(), Some(3), "a directory cannot go there: {}", text(&output.stderr));
}

/// Everything that the process holds open, temporary files without a name included.
#[cfg(target_os = "linux")]
fn open_files(child: &Child) -> BTreeMap<String, Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", child.id())).expect("open files").flatten() {
        // What is closed meanwhile is as good as not there; the number may belong to a pipe by now,
        // so that opening must not wait (O_NONBLOCK), and what was opened decides.
        let opened = std::fs::File::options().read(true).custom_flags(0o4000).open(entry.path());
        let (Ok(mut file), Ok(name)) = (opened, std::fs::read_link(entry.path())) else { continue };
        let mut content = Vec::new();
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) && file.read_to_end(&mut content).is_ok()
        {
            files.insert(name.display().to_string(), content);
        }
    }
    files
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_plain_lies_anywhere_meanwhile() {
    let fixture = with_long_log();
    let pod = fixture.pod_of("team-weather", "weather");
    let line = noise(1, 11);
    for format in ["tar.gz", "dir"] {
        let (asked, log_asked) = std::sync::mpsc::channel();
        let fault: Fault = Arc::new(move |path| {
            (path.contains("/istiod") && path.contains("/log?")).then(|| {
                let _ = asked.send(());
                log_that_hangs("2026-09-14T10:00:00Z waits\n".to_owned())
            })
        });
        let served = Served::with(&fixture, fault);
        let mut command = served.command();
        command
            .args(["-o", "x", "--format", format, "--probe", "none"])
            .env("TMPDIR", served.directory.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program");
        log_asked.recv().expect("a request for a log");
        let mut lying = open_files(&child);
        // Logs of components come first, so that the long one comes when this one hangs already.
        let is_written = |lying: &BTreeMap<String, Vec<u8>>| match format {
            "dir" => lying.keys().any(|path| path.contains(&pod) && path.ends_with("current.log")),
            _ => lying.iter().any(|(path, file)| path.contains("(deleted)") && file.len() > 64 << 10),
        };
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !is_written(&lying) {
            assert!(std::time::Instant::now() < patience, "{:?}", lying.keys());
            std::thread::yield_now();
            lying = open_files(&child);
            for name in names(served.directory.path()).iter().filter(|name| name.contains(".partial-")) {
                walk(&served.directory.path().join(name), &mut lying);
            }
        }
        nothing_secret(&lying);
        if format == "tar.gz" {
            let plain = |file: &[u8]| memchr::memmem::find(file, line.trim_end().as_bytes()).is_some();
            assert!(!lying.values().any(|file| plain(file)), "what waits is compressed");
        }
        signal(&child, "-KILL");
        child.wait().expect("an end");
        assert!(!served.directory.path().join("x").exists(), "{format}: nothing under the final name");
    }
}

/// Reads every file below a directory; those that vanish meanwhile are as good as not there.
#[cfg(target_os = "linux")]
fn walk(directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            walk(&entry.path(), files);
        } else if let Ok(content) = std::fs::read(entry.path()) {
            files.insert(entry.path().display().to_string(), content);
        }
    }
}
