//! `serve` over bundles that `gather` did not write: what it shows went through the gate.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oc_mcpgw::archive::gated;
use oc_mcpgw::archive::manifest::{FileEntry, Manifest, sha256};
use oc_mcpgw::archive::read::{Memory, Source as _};
use oc_mcpgw::redact::Redactor;
use serde_json::json;

use crate::fixture::Fixture;
use crate::gather::{Served, program};

/// Secrets of several sorts: in a Secret, behind a name, by their form, and learned ones that nothing announces.
const CANARIES: &[&str] = &[
    "Zq7LearnedValue0Xy9",
    "Zq7PasswordOfEnv81",
    "ghp_Zq7C7e42F292c6912E7710c838347Ae178B4",
    "Zq7BearerInLog5512",
];

/// The demo with secrets in it, as somebody else's tool would have stored it.
fn files() -> BTreeMap<String, Vec<u8>> {
    let [learned, password, token, bearer] = CANARIES else { unreachable!("four") };
    let encoded = BASE64_STANDARD.encode(learned);
    let fixture = Fixture::faulty();
    let pod = fixture.pod_of("team-weather", "weather");
    let log = format!(
        "upstream said {learned}\nAuthorization: Bearer {bearer}\nremote https://x:{token}@github.com/a\nencoded {encoded}\nlast line stays\n"
    );
    let mut files = fixture
        .edit("Pod", "team-weather", "weather", |pod| {
            let env =
                json!([{"name": "DB_PASSWORD", "value": password}, {"name": "GREETING", "value": learned}]);
            pod["spec"]["containers"][0]["env"] = env;
            pod["metadata"]["annotations"]["example/note"] = json!(format!("token {token}"));
        })
        .append_log("team-weather", &pod, "server", &log)
        .extra(
            "mcpgw/envoy/team-weather/x/config_dump.json",
            json!({"authorization": format!("Bearer {bearer}")}).to_string().as_bytes(),
        )
        .files();
    let secret = json!({"apiVersion": "v1", "kind": "SecretList", "items": [{"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "hidden", "namespace": "team-weather", "resourceVersion": "77"}, "data": {"greeting": encoded}}]});
    files
        .insert("namespaces/team-weather/core/more-secrets.json".to_owned(), secret.to_string().into_bytes());
    // A file whose name does not say what is in it.
    let hidden = "apiVersion: v1\nkind: Secret\nmetadata: {name: odd, namespace: team-weather}\nstringData: {a: Zq7LearnedValue0Xy9}\n";
    files.insert("dumps/odd".to_owned(), hidden.as_bytes().to_vec());
    files.remove("mcpgw/manifest.json");
    files
}

fn write(files: &BTreeMap<String, Vec<u8>>, directory: &Path) {
    for (path, content) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_clean(what: &str, output: &Output) -> String {
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    for canary in CANARIES {
        // Not even a part of it, in any wrapping.
        for part in
            [(*canary).to_owned(), canary[4..14].to_owned(), BASE64_STANDARD.encode(canary)[..12].to_owned()]
        {
            assert!(!all.contains(&part), "{what} shows {part} of {canary}");
        }
    }
    all
}

#[test]
fn nothing_secret_is_served_from_a_foreign_bundle() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = directory.path().join("bundle");
    write(&files(), &bundle);
    let script = r#"
        set -e
        kubectl get secrets,pods,configmaps -n team-weather -o yaml
        kubectl get secrets -A -o json
        kubectl get pods -A -o wide
        kubectl describe pods,secrets -n team-weather
        kubectl logs -n team-weather deploy/weather --all-containers || kubectl logs -n team-weather -l app=weather
        for pod in $(kubectl get pods -n team-weather -o name); do kubectl logs -n team-weather $pod --tail=5 --timestamps; done
        kubectl get --raw /api/v1/namespaces/team-weather/secrets/hidden
        kubectl get --raw /api/v1/namespaces/team-weather/pods
        kubectl get secret hidden -n team-weather -o jsonpath='{.metadata.resourceVersion}{"\n"}'
    "#;
    let output = program()
        .args(["serve"])
        .arg(&bundle)
        .args(["--", "sh", "-c", script])
        .env("HOME", directory.path())
        .output()
        .expect("the program");
    let all = assert_clean("kubectl", &output);
    assert_eq!(output.status.code(), Some(0), "{all}");
    // And it is still of use.
    for kept in ["hidden", "last line stays", "DB_PASSWORD", "<redacted:", "\n77\n", "Running"] {
        assert!(all.contains(kept), "{kept} is gone: {all}");
    }
}

#[test]
fn check_shows_no_secret_in_any_form() {
    let mut fixture = Fixture::faulty();
    let objects: Vec<serde_json::Value> = vec![
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": "hidden", "namespace": "team-weather"},
            "data": {"greeting": BASE64_STANDARD.encode(CANARIES[0])}}),
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x.1", "namespace": "team-weather"}, "type": "Warning",
            "reason": "BackOff", "message": format!("failed with {} and token={}", CANARIES[0], CANARIES[2]),
            "involvedObject": {"kind": "Pod", "namespace": "team-weather", "name": "x"}, "lastTimestamp": "2026-09-14T10:20:00Z"}),
    ];
    for object in &objects {
        fixture = fixture.add(&object.to_string());
    }
    let pod = fixture.pod_of("team-weather", "weather");
    let line = format!("panic: cannot log in with password={} as {}\n", CANARIES[1], CANARIES[0]);
    let served = Served::of(&fixture.append_log("team-weather", &pod, "server", &line));
    for form in ["text", "json", "yaml", "html", "markdown", "sarif", "junit"] {
        let output = program()
            .current_dir(served.directory.path())
            .args(["check", "--kubeconfig", "kubeconfig", "--fail-on", "never", "--verbose", "-o", form])
            .output()
            .expect("the program");
        assert_clean(form, &output);
        assert_eq!(output.status.code(), Some(0), "{form}: {}", text(&output.stderr));
        assert!(!output.stdout.is_empty());
    }
}

/// The files with a manifest that holds for all of them.
fn with_manifest(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    files.insert("mcpgw/redaction-report.json".to_owned(), b"{}".to_vec());
    let mut manifest = Manifest::new("demo", oc_mcpgw::demo::reference_time());
    let entry = |(path, content): (&String, &Vec<u8>)| FileEntry {
        path: path.clone(),
        bytes: content.len() as u64,
        sha256: sha256(content),
        source: String::new(),
        truncated: false,
    };
    manifest.files = files.iter().map(entry).collect();
    files.insert("mcpgw/manifest.json".to_owned(), serde_json::to_vec(&manifest).expect("JSON"));
    files
}

#[test]
fn a_manifest_is_believed_as_far_as_it_holds() {
    let ours = |files: BTreeMap<String, Vec<u8>>| {
        let redactor = || Redactor::new(oc_mcpgw::redact::Options::default());
        gated::open(Box::new(Memory(files)), redactor).expect("a bundle").2
    };
    let mut clean = files();
    clean.retain(|path, _| !path.contains("secret") && path != "dumps/odd");
    let clean = with_manifest(clean);
    assert!(ours(clean.clone()), "every sum holds, and no Secret has a payload");

    let mut added = clean.clone();
    added.insert("namespaces/team-weather/core/new.yaml".to_owned(), b"kind: ConfigMap\n".to_vec());
    assert!(!ours(added), "a file was added");
    let mut changed = clean.clone();
    changed.values_mut().next().expect("a file").push(b'\n');
    assert!(!ours(changed), "a file was changed");
    let mut lost = clean.clone();
    lost.pop_first();
    assert!(!ours(lost), "a file is missing");
    assert!(!ours(with_manifest(files())), "the sums hold, but a Secret has a payload");
    let mut without = clean;
    without.remove("mcpgw/manifest.json");
    assert!(!ours(without), "there is no manifest");
}

#[test]
fn what_the_gate_shows_can_be_read_in_every_way() {
    let source = Box::new(Memory(files()));
    let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
    let gated = gated::Gated::new(source, redactor).expect("a bundle");
    let mut walked = BTreeMap::new();
    gated
        .walk(&mut |entry, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).expect("memory");
            walked.insert(entry.path.clone(), bytes);
            oc_mcpgw::archive::read::Visit::Next
        })
        .expect("a bundle");
    for (path, content) in &walked {
        let read = gated.read(path, u64::MAX).expect("a bundle").expect("the file");
        assert_eq!(text(&read), text(content), "{path}");
        for canary in CANARIES {
            assert!(!text(content).contains(canary), "{path} holds {canary}");
        }
    }
}

#[test]
fn a_compressed_log_is_shown_unpacked() {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, b"password=Zq7PasswordOfEnv81\nnext\n").expect("memory");
    let path = "namespaces/a/pods/p/c/c/logs/rotated/0.log.20260101-000000.gz";
    let files = BTreeMap::from([(path.to_owned(), gz.finish().expect("memory"))]);
    let redactor = Redactor::new(oc_mcpgw::redact::Options::default());
    let gated = gated::Gated::new(Box::new(Memory(files)), redactor).expect("a bundle");
    let shown = text(&gated.read(path, u64::MAX).expect("a bundle").expect("the file"));
    assert!(shown.starts_with("password=<redacted:") && shown.ends_with("\nnext\n"), "{shown}");
}
