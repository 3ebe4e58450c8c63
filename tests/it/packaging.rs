//! How it is installed: the scripts of the must-gather image, krew, CLI Manager, plugin discovery,
//! completion, and that the documents say what is true.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use regex::Regex;
use serde_json::Value;

use crate::fixture::Fixture;
use crate::gather::Served;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn script(path: &str) -> Command {
    let mut command = Command::new("bash");
    command.arg(repository().join(path));
    command
}

fn executable(path: &Path, content: &str) {
    std::fs::write(path, content).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}

fn out(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether a program is on the path; says so when it is not, because then something is not tested.
fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "not tested: {program} is not installed").expect("standard error");
    }
    found
}

#[test]
fn scripts_are_clean() {
    let scripts = [
        ".ci/run",
        "gather-scripts/gather",
        "gather-scripts/gather_mcpgw",
        "krew/render",
        "plugin-manifest/kubectl_complete-mcpgw",
    ];
    for script in scripts {
        let mode = std::fs::metadata(repository().join(script)).expect("a script").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is executable");
        let output = Command::new("bash").arg("-n").arg(repository().join(script)).output().expect("bash");
        assert!(output.status.success(), "{script}: {}", out(&output));
        assert!(text(".ci/run").contains(script), ".ci/run checks {script}");
    }
    if has("shellcheck") {
        let output =
            Command::new("shellcheck").args(scripts).current_dir(repository()).output().expect("shellcheck");
        assert!(output.status.success(), "{}", out(&output));
    }
}

/// The contract of `oc adm must-gather` with the image, in plain folders.
#[test]
fn the_must_gather_script_passes_on_what_it_is_told() {
    let place = tempfile::tempdir().expect("a directory");
    let bin = place.path().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    for name in ["gather", "gather_mcpgw"] {
        std::fs::copy(repository().join("gather-scripts").join(name), bin.join(name)).expect("a copy");
    }
    executable(
        &bin.join("oc-mcpgw"),
        "#!/bin/bash\nprintf '%s\\n' \"$@\" >\"$RECORD\"\nexit \"${CODE:-0}\"\n",
    );
    let destination = place.path().join("must-gather");
    let record = place.path().join("record");
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        Command::new(bin.join("gather"))
            .args(arguments)
            .env("BASE_COLLECTION_PATH", &destination)
            .env("RECORD", &record)
            .env("NODE_NAME", "worker-1")
            .env("POD_NAME", "must-gather-x7k2p")
            .envs(environment.iter().copied())
            .output()
            .expect("the script runs")
    };
    let recorded = || std::fs::read_to_string(&record).expect("the program was called");

    let output = run(&[], &[]);
    assert!(output.status.success(), "{}", out(&output));
    assert_eq!(recorded(), format!("gather\n--must-gather\n--output\n{}\n", destination.display()));

    run(&["--namespace", "mcp-system"], &[("MCPGW_TIMEOUT", "90s"), ("MCPGW_MAX_LOG_BYTES", "1MiB")]);
    let expected = "--timeout\n90s\n--max-log-bytes\n1MiB\n--namespace\nmcp-system\n";
    assert!(recorded().ends_with(expected), "{}", recorded());

    // Not all evidence is no failure; a cluster that cannot be used is, and the reader is told.
    assert_eq!(run(&[], &[("CODE", "4")]).status.code(), Some(4));
    assert!(!destination.join("gather.logs").exists());
    assert_eq!(run(&[], &[("CODE", "3")]).status.code(), Some(3));
    let log = std::fs::read_to_string(destination.join("gather.logs")).expect("a log");
    assert!(log.contains("exit code 3"), "{log}");
    assert!(
        std::fs::read_to_string(destination.join("version"))
            .expect("a version")
            .starts_with("mcpgw-gather\n")
    );
}

/// The real program through the script, in the place of the image.
#[test]
fn the_must_gather_script_fills_the_directory() {
    let served = Served::of(&Fixture::faulty());
    let destination = served.directory.path().join("must-gather");
    let run = |environment: &[(&str, &str)]| {
        script("gather-scripts/gather_mcpgw")
            .env("BASE_COLLECTION_PATH", &destination)
            .env("MCPGW", env!("CARGO_BIN_EXE_oc-mcpgw"))
            .env("KUBECONFIG", served.directory.path().join("kubeconfig"))
            .envs(environment.iter().copied())
            // By default the room depends on how full the disk of the machine is.
            .args(["--probe", "none", "--max-size", "1GiB"])
            .output()
            .expect("the script runs")
    };
    let output = run(&[("MUST_GATHER_SINCE", "3h0m0s")]);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", out(&output));
    for file in [
        "version",
        "gather.logs",
        "timestamp",
        "mcpgw/manifest.json",
        "mcpgw/analysis/report.json",
        "namespaces/mcp-system/core/pods.yaml",
    ] {
        assert!(destination.join(file).is_file(), "{file} is missing: {}", out(&output));
    }
    let asked = served.requests.lock().expect("no panic").clone();
    assert!(asked.iter().any(|r| r.contains("/log?") && r.contains("sinceSeconds=10800")), "{asked:#?}");

    let output = run(&[("MUST_GATHER_SINCE_TIME", "yesterday")]);
    assert_eq!(output.status.code(), Some(2), "{}", out(&output));
    assert!(out(&output).contains("MUST_GATHER_SINCE_TIME"), "{}", out(&output));
}

#[test]
fn the_containerfiles_have_what_must_gather_needs() {
    let file = text("gather-scripts/Containerfile");
    for package in ["bash", "tar", "coreutils", "gawk", "procps", "util-linux"] {
        assert!(file.contains(package), "{package}");
    }
    let copied = Regex::new(r"(?m)^COPY (?:--from=\S+ )?(.+) \S+$").expect("an expression");
    for file in ["gather-scripts/Containerfile", "plugin-manifest/Containerfile"] {
        for sources in copied.captures_iter(&text(file)) {
            for source in sources[1].split_whitespace() {
                let made = source.starts_with("/src/target/") || source.starts_with("dist/");
                assert!(made || repository().join(source).exists(), "{file} copies {source}");
            }
        }
    }
}

/// The rules that krew's index applies to a manifest.
#[test]
fn the_krew_manifest_is_valid() {
    let manifest = yaml("krew/mcpgw.yaml");
    assert_krew(&manifest, "v0.1.0");
    let platforms = manifest["spec"]["platforms"].as_array().expect("platforms");
    let covered: BTreeSet<(&str, &str)> = platforms
        .iter()
        .map(|p| {
            let labels = &p["selector"]["matchLabels"];
            (labels["os"].as_str().expect("os"), labels["arch"].as_str().expect("arch"))
        })
        .collect();
    let wanted = [
        ("linux", "amd64"),
        ("linux", "arm64"),
        ("darwin", "amd64"),
        ("darwin", "arm64"),
        ("windows", "amd64"),
    ];
    assert_eq!(covered, wanted.into_iter().collect(), "each platform once");
    assert_eq!(platforms.len(), wanted.len());
}

fn assert_krew(manifest: &Value, version: &str) {
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(manifest["kind"], "Plugin");
    assert_eq!(manifest["metadata"]["name"], "mcpgw", "as the file is called");
    let spec = &manifest["spec"];
    assert_keys(spec, &["version", "homepage", "shortDescription", "description", "caveats", "platforms"]);
    assert_eq!(spec["version"], version);
    let short = spec["shortDescription"].as_str().expect("a short description");
    assert!(!short.is_empty() && !short.contains(['\n', '\r']) && short.len() <= 50, "{short}");
    let sum = Regex::new("^[a-f0-9]{64}$").expect("an expression");
    for platform in spec["platforms"].as_array().expect("platforms") {
        assert_keys(platform, &["selector", "uri", "sha256", "bin", "files"]);
        assert_keys(&platform["selector"], &["matchLabels", "matchExpressions"]);
        assert_keys(&platform["selector"]["matchLabels"], &["os", "arch"]);
        assert!(sum.is_match(platform["sha256"].as_str().expect("a checksum")), "{platform}");
        let uri = platform["uri"].as_str().expect("an address");
        assert!(uri.starts_with("https://") && uri.matches(version).count() == 2, "{uri}");
        assert!(uri.ends_with(".tar.gz") || uri.ends_with(".zip"), "{uri}");
        let bin = platform["bin"].as_str().expect("a program");
        let files = platform["files"].as_array().expect("files");
        assert!(
            files.iter().any(|f| f["from"] == bin) && files.iter().any(|f| f["from"] == "LICENSE"),
            "{platform}"
        );
        assert!(files.iter().all(|f| f["to"].as_str().is_some_and(|to| !to.is_empty())), "{platform}");
    }
}

fn assert_keys(object: &Value, known: &[&str]) {
    for key in object.as_object().expect("an object").keys() {
        assert!(known.contains(&key.as_str()), "{key} is no field of {object}");
    }
}

#[test]
fn a_release_fills_the_krew_manifest() {
    let place = tempfile::tempdir().expect("a directory");
    let checksums = place.path().join("checksums.txt");
    let names = [
        "linux-amd64.tar.gz",
        "linux-arm64.tar.gz",
        "darwin-amd64.tar.gz",
        "darwin-arm64.tar.gz",
        "windows-amd64.zip",
    ];
    let lines: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(n, name)| format!("{n:064x}  dist/oc-mcpgw-v1.2.3-rc.1-{name}\n"))
        .collect();
    std::fs::write(&checksums, lines.concat()).expect("a file");
    let output = script("krew/render")
        .arg("v1.2.3-rc.1")
        .arg(&checksums)
        .arg("example/plugins")
        .output()
        .expect("bash");
    assert!(output.status.success(), "{}", out(&output));
    let manifest: Value = serde_yaml::from_slice(&output.stdout).expect("YAML");
    assert_krew(&manifest, "v1.2.3-rc.1");
    for (n, platform) in manifest["spec"]["platforms"].as_array().expect("platforms").iter().enumerate() {
        assert_eq!(platform["sha256"], format!("{n:064x}"));
        assert!(
            platform["uri"].as_str().is_some_and(|uri| uri.contains("github.com/example/plugins/")),
            "{platform}"
        );
    }

    std::fs::write(&checksums, lines[1..].concat()).expect("a file");
    let output = script("krew/render").arg("v1.2.3-rc.1").arg(&checksums).output().expect("bash");
    assert_eq!(output.status.code(), Some(3));
    assert!(
        out(&output).contains("no checksum of oc-mcpgw-v1.2.3-rc.1-linux-amd64.tar.gz"),
        "{}",
        out(&output)
    );
    let output = script("krew/render").arg("1.2").arg(&checksums).output().expect("bash");
    assert_eq!(output.status.code(), Some(2), "{}", out(&output));
}

#[test]
fn the_plugin_of_cli_manager_is_valid() {
    let plugin = yaml("plugin-manifest/mcpgw.yaml");
    assert_eq!(plugin["apiVersion"], "config.openshift.io/v1alpha1");
    assert_eq!(plugin["kind"], "Plugin");
    assert_keys(
        &plugin["spec"],
        &["shortDescription", "description", "caveats", "homepage", "version", "platforms"],
    );
    let container = text("plugin-manifest/Containerfile");
    for platform in plugin["spec"]["platforms"].as_array().expect("platforms") {
        assert_keys(platform, &["platform", "image", "imagePullSecret", "files", "bin"]);
        let bin = platform["bin"].as_str().expect("a program");
        let files = platform["files"].as_array().expect("files");
        for file in files {
            let from = file["from"].as_str().expect("a path in the image");
            assert!(
                from.starts_with('/') && container.contains(&format!(" {from}\n")),
                "{from} is in the image"
            );
        }
        assert!(
            files.iter().any(|f| f["from"].as_str().is_some_and(|from| from.ends_with(&format!("/{bin}")))),
            "{platform}"
        );
    }
    let release = yaml("krew/mcpgw.yaml");
    assert_eq!(plugin["spec"]["version"], release["spec"]["version"]);
    assert_eq!(plugin["spec"]["version"], format!("v{}", env!("CARGO_PKG_VERSION")));
}

/// A path on which the program has the names under which `oc` and `kubectl` look for it.
fn plugin_path(place: &Path) -> String {
    for name in ["oc-mcpgw", "kubectl-mcpgw"] {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_oc-mcpgw"), place.join(name)).expect("a link");
    }
    let complete = place.join("kubectl_complete-mcpgw");
    std::fs::copy(repository().join("plugin-manifest/kubectl_complete-mcpgw"), complete).expect("a copy");
    format!("{}:{}", place.display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn kubectl_finds_the_plugin() {
    if !has("kubectl") {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let path = plugin_path(place.path());
    let kubectl = |arguments: &[&str]| {
        Command::new("kubectl")
            .args(arguments)
            .env("PATH", &path)
            .env("HOME", place.path())
            .output()
            .expect("kubectl")
    };
    let output = kubectl(&["plugin", "list"]);
    assert!(out(&output).contains("/kubectl-mcpgw"), "{}", out(&output));
    let output = kubectl(&["mcpgw", "explain", "MG101"]);
    assert!(output.status.success() && out(&output).contains("MG101"), "{}", out(&output));
}

#[test]
fn arguments_are_completed() {
    let place = tempfile::tempdir().expect("a directory");
    let path = plugin_path(place.path());
    let complete = |words: &[&str]| -> Vec<String> {
        let output = script("plugin-manifest/kubectl_complete-mcpgw")
            .args(words)
            .env("PATH", &path)
            .output()
            .expect("bash");
        assert!(output.status.success(), "{}", out(&output));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    };
    let commands = complete(&[""]);
    for command in ["gather", "analyze", "serve", "demo", "explain"] {
        assert!(commands.iter().any(|c| c == command), "{commands:?}");
    }
    assert_eq!(complete(&["an"]), ["analyze", ":4"]);
    assert_eq!(complete(&["gather", "--since-t"]), ["--since-time", ":4"]);
    assert_eq!(complete(&["gather", "--format", "z"]), ["zip", ":4"]);
    // A bundle is a file, which the shell completes.
    assert_eq!(complete(&["analyze", ""]).last().map(String::as_str), Some(":0"));
}

#[test]
fn every_command_has_a_manual_page_with_its_options() {
    let place = tempfile::tempdir().expect("a directory");
    let pages = place.path().join("man1");
    let program = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_oc-mcpgw")).arg("man").args(arguments).output().expect("the program")
    };
    let output = program(&["--output-dir", pages.to_str().expect("a path")]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", out(&output));
    let date = Regex::new(r" \d{4}-\d{2}-\d{2} ").expect("an expression");
    for command in oc_mcpgw::cli::command().get_subcommands() {
        let name = command.get_name();
        let page = std::fs::read_to_string(pages.join(format!("oc-mcpgw-{name}.1"))).expect(name);
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            let spelled = format!(r"\-\-{}", option.replace('-', r"\-"));
            assert!(page.contains(&spelled), "the page of {name} lacks --{option}");
        }
        assert_eq!(String::from_utf8_lossy(&program(&[name]).stdout), page, "printed as written");
        // What `mandoc -T lint` warns of.
        let title = page.lines().find(|line| line.starts_with(".TH ")).expect("a title");
        assert!(date.is_match(title), "{title}");
        assert!(page.lines().all(|line| line == line.trim_end()), "{name}");
        for pair in [".br\n.br", ".br\n.sp", ".sp\n.br", ".br\n\n"] {
            assert!(!page.contains(pair), "{name}: {pair:?}");
        }
    }
    let overview = std::fs::read_to_string(pages.join("oc-mcpgw.1")).expect("the program's page");
    assert!(overview.contains(r"oc\-mcpgw\-gather(1)"), "{overview}");

    let output = program(&["gahter"]);
    assert_eq!(output.status.code(), Some(2), "{}", out(&output));
    let file = place.path().join("a file");
    std::fs::write(&file, "").expect("a file");
    let output = program(&["--output-dir", file.join("man1").to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(3), "{}", out(&output));
}

#[test]
fn the_readme_says_what_is_true() {
    let readme = text("README.md");
    // The test command of the README is the one that counts.
    let commands: Vec<&str> = readme.lines().filter(|line| line.starts_with("cargo test ")).collect();
    assert_eq!(commands, ["cargo test --locked"]);
    assert!(text(".ci/run").contains("README.md"));
    // Every command is named, and every named command exists.
    let command = oc_mcpgw::cli::command();
    let exist: BTreeSet<&str> =
        command.get_subcommands().map(clap::Command::get_name).filter(|n| *n != "help").collect();
    let row = Regex::new(r"(?m)^\| `([a-z]+)[^|]*\|").expect("an expression");
    let table =
        readme.split("## Commands").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the table");
    let mut named: BTreeSet<String> = row.captures_iter(table).map(|c| c[1].to_owned()).collect();
    let more = Regex::new(r"(?m)^\|[^|]*, `([a-z]+)`").expect("an expression");
    named.extend(more.captures_iter(table).map(|c| c[1].to_owned()));
    assert_eq!(named, exist.iter().map(|n| (*n).to_owned()).collect());
    // Files that the documents point to exist.
    let link = Regex::new(r"\]\(([^)#]+)\)").expect("an expression");
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "krew/README.md",
        "plugin-manifest/README.md",
        "gather-scripts/README.md",
    ] {
        let folder: PathBuf = repository().join(document).parent().expect("a folder").to_owned();
        for target in link.captures_iter(&text(document)) {
            assert!(
                target[1].starts_with("https://") || folder.join(&target[1]).exists(),
                "{document} points to {}",
                &target[1]
            );
        }
    }
}

/// The rule file of the README is one that can be used, and does what its comments say.
#[test]
fn the_rules_of_the_readme_work() {
    let readme = text("README.md");
    let (_, rest) = readme.split_once("### Rules of your own").expect("the section");
    let (_, rest) = rest.split_once("```yaml\n").expect("a rule file");
    let (rules, _) = rest.split_once("```").expect("its end");
    let place = tempfile::tempdir().expect("a directory");
    std::fs::write(place.path().join("rules.yaml"), rules).expect("a file");
    let sample = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata:\n  license: L0-free-text\n  \
                  text: see TICKET-4711 of acme corp, licenseKey=ZX81ZX81, kept\n";
    std::fs::write(place.path().join("sample.yaml"), sample).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_oc-mcpgw"))
        .args(["redact", "--test", "sample.yaml", "--redact-rules", "rules.yaml"])
        .current_dir(place.path())
        .output()
        .expect("the program");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", out(&output));
    for gone in ["4711", "acme corp", "ZX81", "L0-free"] {
        assert!(!shown.contains(gone), "{gone} is left:\n{shown}");
    }
    for kept in ["TICKET-", "notes", "kept"] {
        assert!(shown.contains(kept), "{kept} is gone:\n{shown}");
    }
}

/// With the role of the documents nothing is refused.
#[test]
fn the_least_role_covers_every_request() {
    let role = yaml("gather-scripts/rbac.yaml");
    let rules = role["rules"].as_array().expect("rules");
    let allows = |group: &str, resource: &str, verb: &str| {
        let has = |rule: &Value, key: &str, word: &str| {
            rule[key].as_array().is_some_and(|l| l.iter().any(|v| v == word))
        };
        rules
            .iter()
            .any(|r| has(r, "apiGroups", group) && has(r, "resources", resource) && has(r, "verbs", verb))
    };
    for kind in oc_mcpgw::model::kinds::ALL {
        assert!(allows(kind.group, kind.plural, "list"), "{}", kind.resource());
    }
    for rule in rules {
        for verb in rule["verbs"].as_array().expect("verbs") {
            let forward = rule["resources"] == serde_json::json!(["pods/portforward"]);
            assert!(verb == "get" || verb == "list" || forward, "the role changes something: {rule}");
        }
    }
    let served = Served::of(&Fixture::faulty());
    let output = served.gather(&["-o", "role.tar.gz", "--probe", "none"]);
    assert!(output.status.success(), "{}", out(&output));
    for request in served.requests.lock().expect("no panic").iter() {
        let path = request.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let parts =
            parts.iter().position(|p| *p == "api" || *p == "apis").map_or(&parts[..], |at| &parts[at..]);
        let (group, rest) = match parts {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => continue,
        };
        let (resource, verb) = match rest {
            [] => continue, // discovery, which everybody may
            ["namespaces", _, resource] => ((*resource).to_owned(), "list"),
            ["namespaces", _, resource, _] => ((*resource).to_owned(), "get"),
            ["namespaces", _, resource, _, sub] => (format!("{resource}/{sub}"), "get"),
            [resource] => ((*resource).to_owned(), "list"),
            [resource, _] => ((*resource).to_owned(), "get"),
            _ => panic!("{request}"),
        };
        assert!(allows(group, &resource, verb), "{verb} {resource}.{group} for {request}");
    }
}
