//! Input that is broken or makes no sense: the rest is analyzed, and what was skipped is said.

use oc_mcpgw::archive::load;
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::report::Report;
use oc_mcpgw::rules;
use serde_json::json;

use crate::fixture::Fixture;

/// How the bad part is told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    /// Named among what was skipped.
    Skipped,
    /// Named among what stays undecided.
    Undecided,
    /// It is no loss: nothing is said.
    NotAtAll,
}

fn nested(depth: usize, open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

/// A bundle with three roots, and the file with this content in it.
fn analyzed(path: &str, content: Vec<u8>) -> Report {
    let fixture = Fixture::faulty();
    let mut files = fixture.files();
    files.insert(path.to_owned(), content);
    let files = fixture.installation.sealed(fixture.refusals(), files);
    rules::analyze(&load::load(&Memory(files)).expect("the rest is a bundle"))
}

fn config_dump() -> (String, Vec<u8>) {
    let files = Fixture::healthy().files();
    let (path, content) = files.iter().find(|(path, _)| path.ends_with("config_dump.json")).expect("a dump");
    (path.clone(), content[..content.len() / 2].to_vec())
}

#[test]
fn what_is_broken_costs_only_itself() {
    let route = |version: &str, generation: i64, host: &str| {
        json!({"apiVersion": format!("gateway.networking.k8s.io/{version}"), "kind": "HTTPRoute",
            "metadata": {"namespace": "team-commerce", "name": "orders", "generation": generation},
            "spec": {"hostnames": [host], "parentRefs": []}})
    };
    let list = |items: &[serde_json::Value]| {
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string().into_bytes()
    };
    let routes = "namespaces/team-commerce/gateway.networking.k8s.io/httproutes";
    let fixture = Fixture::healthy();
    let pod = fixture.pod_of("team-weather", "weather");
    let log = format!("namespaces/team-weather/pods/{pod}/server/server/logs/current.log");
    let mut endless = vec![b'x'; 64 << 20];
    endless.extend_from_slice(b"\nlast line\n");
    let mut binary = b"{\"level\":\"error\",\"msg\":\"".to_vec();
    binary.extend_from_slice(&[0xff, 0xfe, 0x80, 0x00, 0xc3, 0x28]);
    binary.extend_from_slice(b"\"}\nplain text\n");
    let (dump, half) = config_dump();
    let table: Vec<(&str, String, Vec<u8>, Told)> = vec![
        (
            "YAML that is no object",
            format!("{routes}/numbers.yaml"),
            b"- 1\n- 2\n- {a: b}\n".to_vec(),
            Told::Skipped,
        ),
        ("not even YAML", format!("{routes}/broken.yaml"), b"a: [unclosed\n b: {".to_vec(), Told::Skipped),
        ("bytes", format!("{routes}/bytes.yaml"), vec![0, 159, 146, 150, 255, 0, 1], Told::Skipped),
        (
            "an object without a name",
            format!("{routes}/nameless.yaml"),
            b"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {namespace: team-commerce}\n".to_vec(),
            Told::Skipped,
        ),
        (
            "an object twice, with another content than it has",
            format!("{routes}/twice.yaml"),
            list(&[route("v1", 1, "orders.mcp.local"), route("v1", 1, "orders.mcp.local")]),
            Told::Skipped,
        ),
        (
            "an older state of an object in an older version",
            format!("{routes}/older.yaml"),
            list(&[route("v1beta1", 0, "else.example.com")]),
            Told::NotAtAll,
        ),
        // Libyaml takes a minute for either, as its time grows with the square of the depth.
        (
            "JSON of 100,000 levels",
            format!("{routes}/deepest.json"),
            nested(100_000, "[", "]").into_bytes(),
            Told::Skipped,
        ),
        (
            "YAML of 100,000 open brackets",
            format!("{routes}/open.yaml"),
            format!("a: {}\n", "[".repeat(100_000)).into_bytes(),
            Told::Skipped,
        ),
        ("JSON of 200 levels", format!("{routes}/deep.yaml"), nested(200, "[", "]").into_bytes(), Told::Skipped),
        (
            "YAML of 200 levels",
            format!("{routes}/deeper.yaml"),
            (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>().into_bytes(),
            Told::Skipped,
        ),
        ("a log that is no UTF-8", log.clone(), binary, Told::NotAtAll),
        ("a line of 64 MiB", log, endless, Told::NotAtAll),
        ("half a configuration dump", dump, half, Told::Undecided),
    ];
    let mut wrong = Vec::new();
    for (what, path, content, told) in table {
        let report = analyzed(&path, content);
        let mut roots: Vec<&str> =
            report.findings.iter().filter(|f| f.caused_by.is_empty()).map(|f| f.code.as_str()).collect();
        roots.sort_unstable();
        // What could not be read is itself a finding about the bundle.
        let others: Vec<&str> = roots.iter().copied().filter(|code| *code != "MG002").collect();
        if others != ["MG101", "MG213", "MG602"] {
            wrong.push(format!("{what}: the roots are {roots:?}"));
        }
        let file = path.rsplit('/').next().expect("a file");
        let skipped = report.coverage.skipped.iter().any(|line| line.contains(file));
        let undecided = report.unknown.iter().any(|u| u.missing.contains(file));
        let seen = if skipped {
            Told::Skipped
        } else if undecided {
            Told::Undecided
        } else {
            Told::NotAtAll
        };
        if seen != told {
            wrong.push(format!("{what}: {seen:?}, {:?} {:?}", report.coverage.skipped, report.unknown));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
