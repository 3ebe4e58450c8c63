//! What bundles of every make tell, and what they do not.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::load;
use crate::archive::manifest::{FileEntry, Manifest};
use crate::archive::read::{Memory, ReadError};
use crate::model::bundle::{Collection, Outcome};
use crate::model::kinds::{self, Kind};
use crate::model::{Bundle, Seen};

fn memory(files: &[(&str, &str)]) -> Memory {
    Memory(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect())
}

fn bundle(files: &[(&str, &str)]) -> Bundle {
    load(&memory(files)).expect("a bundle")
}

/// `found`, `absent`, or why it is not known.
fn seen(bundle: &Bundle, kind: &Kind, namespace: &str, name: &str) -> String {
    match bundle.find(kind, namespace, name) {
        Seen::Found(_) => "found".to_owned(),
        Seen::Absent => "absent".to_owned(),
        Seen::Unknown(missing) => missing.what,
    }
}

fn object(kind: &Kind, namespace: &str, name: &str) -> Value {
    let api_version = match kind.group {
        "" => "v1".to_owned(),
        group => format!("{group}/{}", kind.versions[0]),
    };
    let mut value = json!({"apiVersion": api_version, "kind": kind.kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        value["metadata"]["namespace"] = namespace.into();
    }
    value
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

const NAMESPACE_A: (&str, &str) =
    ("namespaces/a/a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n");

#[test]
fn a_list_file_of_a_must_gather_is_complete_even_when_empty() {
    let pods = list(&[object(&kinds::POD, "a", "p")]);
    let bundle = bundle(&[
        NAMESPACE_A,
        ("namespaces/a/core/pods.yaml", &pods),
        ("namespaces/a/core/services.yaml", "apiVersion: v1\nkind: ServiceList\nitems: []\n"),
        ("namespaces/a/core/configmaps.yaml", "apiVersion: v1\nitems: []\nkind: List\n"),
        ("timestamp", "2026-04-22 10:00:00.5 +0000 UTC m=+0.1\n2026-04-22 10:01:00 +0200 CEST m=+60.1\n"),
    ]);
    assert_eq!(bundle.meta.origin.as_str(), "must-gather");
    assert_eq!(
        bundle.meta.collected_at.map(|t| t.to_rfc3339()).as_deref(),
        Some("2026-04-22T08:01:00+00:00")
    );
    assert_eq!(seen(&bundle, &kinds::POD, "a", "p"), "found");
    assert_eq!(seen(&bundle, &kinds::POD, "a", "q"), "absent");
    assert_eq!(seen(&bundle, &kinds::SERVICE, "a", "s"), "absent");
    assert_eq!(seen(&bundle, &kinds::CONFIG_MAP, "a", "c"), "absent");
    for (kind, namespace) in [(&kinds::POD, "b"), (&kinds::SECRET, "a"), (&kinds::HTTP_ROUTE, "a")] {
        assert!(seen(&bundle, kind, namespace, "x").contains("holds no list"), "{}", kind.kind);
    }
    assert_eq!(seen(&bundle, &kinds::NAMESPACE, "", "a"), "found");
    assert!(seen(&bundle, &kinds::NAMESPACE, "", "b").contains("single objects"));
}

#[test]
fn one_file_per_object_is_complete_for_custom_resources_only() {
    let file = |kind: &Kind, namespace: &str, name: &str| {
        (crate::archive::path::object(kind, namespace, name), object(kind, namespace, name).to_string())
    };
    let files = [
        file(&kinds::HTTP_ROUTE, "a", "r"),
        file(&kinds::HTTP_ROUTE, "b", "r"),
        file(&kinds::GATEWAY, "a", "g"),
        file(&kinds::SECRET, "a", "s"),
        file(&kinds::GATEWAY_CLASS, "", "istio"),
        ("namespaces/c/c.yaml".to_owned(), object(&kinds::NAMESPACE, "", "c").to_string()),
        ("namespaces/c/core/pods.yaml".to_owned(), list(&[])),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let bundle = bundle(&files);
    assert_eq!(seen(&bundle, &kinds::HTTP_ROUTE, "a", "x"), "absent");
    // Seen in two namespaces: asked for in all of them.
    assert_eq!(seen(&bundle, &kinds::HTTP_ROUTE, "c", "x"), "absent");
    assert!(seen(&bundle, &kinds::HTTP_ROUTE, "elsewhere", "x").contains("holds no list"));
    assert_eq!(seen(&bundle, &kinds::GATEWAY, "a", "x"), "absent");
    assert!(seen(&bundle, &kinds::GATEWAY, "c", "x").contains("holds no list"));
    assert!(seen(&bundle, &kinds::SECRET, "a", "x").contains("single objects"));
    assert_eq!(seen(&bundle, &kinds::GATEWAY_CLASS, "", "x"), "absent");
}

#[test]
fn a_broken_file_proves_no_absence() {
    let bundle = bundle(&[
        NAMESPACE_A,
        (
            "namespaces/a/core/pods.yaml",
            "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: p, namespace: a}\n- x: [\nkind: List\n",
        ),
        ("namespaces/a/core/services.yaml", "items: [\n"),
        ("etcd_info/health.json", "not { json"),
    ]);
    assert_eq!(seen(&bundle, &kinds::POD, "a", "p"), "found");
    assert!(seen(&bundle, &kinds::POD, "a", "q").contains("could not be parsed"));
    assert!(seen(&bundle, &kinds::SERVICE, "a", "q").contains("could not be parsed"));
    assert_eq!(bundle.problems.len(), 2, "{:?}", bundle.problems);
    assert!(bundle.problems[0].starts_with("namespaces/a/core/pods.yaml: line 7: "), "{:?}", bundle.problems);
}

#[test]
fn loose_lists_speak_for_the_namespaces_they_show() {
    let everywhere = list(&[
        object(&kinds::HTTP_ROUTE, "a", "r"),
        object(&kinds::HTTP_ROUTE, "b", "r"),
        object(&kinds::GATEWAY, "a", "g"),
    ]);
    let one = list(&[object(&kinds::SERVICE, "a", "s")]);
    let single = object(&kinds::POD, "a", "p").to_string();
    let bundle = bundle(&[("all.yaml", &everywhere), ("services.json", &one), ("pod.yaml", &single)]);
    assert_eq!(bundle.meta.origin.as_str(), "files");
    assert_eq!(seen(&bundle, &kinds::HTTP_ROUTE, "c", "x"), "absent");
    assert_eq!(seen(&bundle, &kinds::GATEWAY, "b", "x"), "absent");
    assert_eq!(seen(&bundle, &kinds::SERVICE, "a", "x"), "absent");
    assert!(seen(&bundle, &kinds::SERVICE, "b", "x").contains("holds no list"));
    assert_eq!(seen(&bundle, &kinds::POD, "a", "p"), "found");
    assert!(seen(&bundle, &kinds::POD, "a", "q").contains("holds no list"));
}

#[test]
fn what_the_server_does_not_announce_is_not_installed() {
    let group = |name: &str, freshness: &str, resources: &[&str]| {
        let resources: Vec<_> = resources.iter().map(|r| json!({"resource": r})).collect();
        json!({"metadata": {"name": name}, "versions": [{"version": "v1", "freshness": freshness, "resources": resources}]})
    };
    let discovery = json!({"kind": "APIGroupDiscoveryList", "items": [
        group("gateway.networking.k8s.io", "Current", &["gateways", "httproutes"]),
        group("kuadrant.io", "Stale", &[]),
    ]});
    let bundle = bundle(&[NAMESPACE_A, ("aggregated-discovery-apis.yaml", &discovery.to_string())]);
    assert!(bundle.not_installed(&kinds::MCP_SERVER_REGISTRATION));
    assert!(bundle.not_installed(&kinds::GRPC_ROUTE));
    assert_eq!(seen(&bundle, &kinds::MCP_SERVER_REGISTRATION, "a", "x"), "absent");
    for kind in [&kinds::GATEWAY, &kinds::AUTH_POLICY, &kinds::POD] {
        assert!(!bundle.not_installed(kind), "{}", kind.kind);
    }
}

#[test]
fn without_discovery_all_definitions_tell_what_is_not_installed() {
    let definition = |n: usize, kind: &Kind| match n {
        0 => kind.resource(),
        n => format!("things{n}.example.com"),
    };
    for (count, expected) in [(30, true), (5, false)] {
        let files: Vec<(String, String)> = (0..count)
            .map(|n| {
                let name = definition(n, &kinds::GATEWAY);
                let object = object(&kinds::CUSTOM_RESOURCE_DEFINITION, "", &name).to_string();
                (crate::archive::path::object(&kinds::CUSTOM_RESOURCE_DEFINITION, "", &name), object)
            })
            .collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let bundle = bundle(&files);
        assert_eq!(bundle.not_installed(&kinds::MCP_SERVER_REGISTRATION), expected);
        for kind in [&kinds::GATEWAY, &kinds::POD, &kinds::DEPLOYMENT, &kinds::ROUTE] {
            assert!(!bundle.not_installed(kind), "{}", kind.kind);
        }
    }
}

#[test]
fn logs_are_read_whatever_is_in_them() {
    let mut long = "x".repeat(3 << 20);
    long.push_str("\nlast");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, b"one\ntwo\n").expect("memory");
    let gz = gz.finish().expect("memory");
    let mut files = memory(&[("namespaces/a/pods/p/c/c/logs/current.log", &long)]);
    for (name, content) in [
        ("namespaces/a/pods/p/c/c/logs/previous.log", b"a\0\xff\nb\n".to_vec()),
        ("namespaces/a/pods/p/c/c/logs/rotated/0.log.20260101-000000.gz", gz.clone()),
        ("namespaces/a/pods/p/d/d/logs/current.log", gz[..gz.len() - 9].to_vec()),
        ("namespaces/a/pods/p/e/e/logs/current.log", Vec::new()),
    ] {
        files.0.insert(name.to_owned(), content);
    }
    let bundle = load(&files).expect("a bundle");
    let mut shown = String::new();
    for log in bundle.logs_of("a", "p") {
        let last = log.tail.iter().next_back().map(|(_, line)| line).unwrap_or_default();
        let name = log.file.rsplit('/').next().unwrap_or_default();
        writeln!(shown, "{} {name} previous={} {} {last:?}", log.container, log.previous, log.lines)
            .expect("text");
    }
    insta::assert_snapshot!(shown, @r#"
    c current.log previous=false 2 "last"
    c previous.log previous=true 2 "b"
    c 0.log.20260101-000000.gz previous=false 2 "two"
    d current.log previous=false 2 "two"
    e current.log previous=false 0 ""
    "#);
    assert_eq!(bundle.problems.len(), 1, "{:?}", bundle.problems);
    assert!(bundle.problems[0].starts_with("namespaces/a/pods/p/d/d/logs/current.log: cannot be inflated"));
}

/// An archive of ours with two collections of objects and a log.
fn ours(change: impl FnOnce(&mut Memory)) -> Bundle {
    let route = object(&kinds::HTTP_ROUTE, "a", "r").to_string();
    let mut files = memory(&[
        ("namespaces/a/gateway.networking.k8s.io/httproutes/r.yaml", route.as_str()),
        ("namespaces/a/core/pods.yaml", "apiVersion: v1\nitems: []\nkind: PodList\n"),
        ("namespaces/a/pods/p/c/c/logs/current.log", "one\n"),
        ("mcpgw/failures.json", "[]"),
    ]);
    let entries = files.0.iter().map(|(path, content)| FileEntry {
        path: path.clone(),
        bytes: content.len() as u64,
        sha256: crate::archive::manifest::sha256(content),
        source: String::new(),
        truncated: false,
    });
    let collection = |kind: &Kind| Collection {
        group: kind.group.to_owned(),
        version: "v1".to_owned(),
        kind: kind.kind.to_owned(),
        resource: kind.plural.to_owned(),
        namespace: Some("a".to_owned()),
        outcome: Outcome::Complete,
        items: 0,
        why: None,
    };
    let mut manifest = Manifest::new("east", "2026-11-22T10:00:00Z".parse().expect("a time"));
    manifest.collections = vec![collection(&kinds::HTTP_ROUTE), collection(&kinds::POD)];
    manifest.close(entries.collect(), "2026-11-22T10:05:00Z".parse().expect("a time"));
    let text = serde_json::to_vec(&manifest).expect("JSON");
    files.0.insert(crate::archive::path::MANIFEST.to_owned(), text);
    change(&mut files);
    load(&files).expect("a bundle")
}

#[test]
fn the_manifest_says_what_was_collected() {
    let bundle = ours(|_| {});
    assert_eq!(bundle.problems, Vec::<String>::new());
    assert_eq!(bundle.meta.origin.as_str(), "gather");
    assert_eq!(bundle.meta.cluster.as_deref(), Some("east"));
    assert_eq!(
        bundle.meta.collected_at.map(|t| t.to_rfc3339()).as_deref(),
        Some("2026-11-22T10:05:00+00:00")
    );
    assert_eq!(seen(&bundle, &kinds::HTTP_ROUTE, "a", "x"), "absent");
    assert!(seen(&bundle, &kinds::HTTP_ROUTE, "b", "x").contains("not asked for"));
}

#[test]
fn a_lost_file_is_a_problem_and_its_objects_are_not_absent() {
    const ROUTE: &str = "namespaces/a/gateway.networking.k8s.io/httproutes/r.yaml";
    type Change = fn(&mut Memory);
    let changes: [(&str, Change); 3] = [
        ("is named in the manifest, but missing", |files| {
            files.0.remove(ROUTE);
        }),
        ("but the manifest says", |files| files.0.entry(ROUTE.to_owned()).or_default().push(b'\n')),
        ("its checksum is not", |files| {
            let content = files.0.entry(ROUTE.to_owned()).or_default();
            *content = String::from_utf8_lossy(content).replace("\"r\"", "\"s\"").into_bytes();
        }),
    ];
    for (why, change) in changes {
        let bundle = ours(change);
        assert_eq!(bundle.problems.len(), 1, "{:?}", bundle.problems);
        assert!(
            bundle.problems[0].starts_with(ROUTE) && bundle.problems[0].contains(why),
            "{:?}",
            bundle.problems
        );
        assert!(seen(&bundle, &kinds::HTTP_ROUTE, "a", "x").contains(ROUTE));
        assert_eq!(seen(&bundle, &kinds::POD, "a", "x"), "absent");
    }
    let bundle = ours(|files| {
        files.0.remove("namespaces/a/pods/p/c/c/logs/current.log");
    });
    assert_eq!(bundle.problems.len(), 1);
    assert_eq!(seen(&bundle, &kinds::HTTP_ROUTE, "a", "x"), "absent");
}

#[test]
fn a_manifest_that_cannot_be_read_is_a_problem() {
    let bundle = ours(|files| {
        files.0.insert(crate::archive::path::MANIFEST.to_owned(), b"{\"schemaVersion\": 1".to_vec());
    });
    assert_eq!(bundle.problems.len(), 1, "{:?}", bundle.problems);
    assert_eq!(seen(&bundle, &kinds::HTTP_ROUTE, "a", "r"), "found");
}

#[test]
fn an_input_without_evidence_is_no_bundle() {
    for files in [&[][..], &[("a.yaml", "text")], &[("version", "1")], &[("x.yaml", "a: [")]] {
        assert!(matches!(load(&memory(files)), Err(ReadError::NotABundle { .. })), "{files:?}");
    }
}

#[test]
fn the_bundle_does_not_depend_on_threads() {
    let mut files = Memory::default();
    for n in 0..200 {
        // The same object in many files: the one that stands first is kept.
        let mut pod = object(&kinds::POD, "a", "p");
        pod["metadata"]["labels"] = json!({"n": n.to_string(), "filler": "x".repeat((200 - n) * 50)});
        files.0.insert(format!("namespaces/a/core/pods/{n:03}.yaml"), pod.to_string().into_bytes());
        files.0.insert(format!("namespaces/a/core/pods/{n:03}-broken.yaml"), b"a: [".to_vec());
    }
    for _ in 0..5 {
        let bundle = load(&files).expect("a bundle");
        assert_eq!(bundle.get(&kinds::POD, "a", "p").and_then(|pod| pod.label("n")), Some("0"));
        assert!(bundle.problems.is_sorted() && bundle.problems.len() == 200);
    }
}
