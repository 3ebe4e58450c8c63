//! Whatever a cluster puts into names and messages, every form stays well-formed and harmless.

use oc_mcpgw::redact::{Options, RedactedReport, Redactor};
use oc_mcpgw::render::{self, TextOptions};
use oc_mcpgw::report::*;
use proptest::prelude::*;
use quick_xml::events::Event;

/// What has broken renderers before.
const PIECES: &[&str] = &[
    "weather",
    "<script>alert(1)</script>",
    "</title></style></script>",
    "]]>",
    "<!--",
    "-->",
    "<![CDATA[",
    "&",
    "&amp;",
    "&#0;",
    "\"",
    "'",
    "`",
    "```\n",
    "\n# heading\n",
    "| a | b |",
    "[x](javascript:alert(1))",
    "@team",
    "\u{1b}[2J\u{1b}]8;;http://x\u{1b}\\",
    "\u{0}",
    "\u{7f}",
    "\u{9b}31m",
    "\u{202e}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{feff}",
    "\u{2028}",
    "日本語",
    "{{ 7*7 }}",
    "{% raw %}",
    "\r\n",
    "\t",
    "%s%n",
    "\\",
    "\" onload=\"x",
];

fn hostile() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![prop::sample::select(PIECES).prop_map(str::to_owned), any::<String>()],
        0..6,
    )
    .prop_map(|pieces| pieces.concat())
}

fn report_of(words: &[String]) -> RedactedReport {
    let word = |at: usize| words[at % words.len()].clone();
    let object = |at: usize| ObjectRef {
        api_version: word(at),
        kind: word(at + 1),
        namespace: Some(word(at + 2)),
        name: word(at + 3),
    };
    let finding = |id: &str, caused_by: Vec<String>, at: usize| Finding {
        id: id.to_owned(),
        code: "MG101".to_owned(),
        name: "image-pull".to_owned(),
        severity: Severity::Error,
        title: word(at),
        objects: vec![object(at), object(at + 1)],
        evidence: vec![
            Evidence {
                file: word(at + 1),
                path: Some(word(at + 2)),
                line: Some(3),
                value: Some(word(at + 3)),
                note: Some(word(at + 4)),
            },
            Evidence {
                file: word(at),
                path: None,
                line: None,
                value: Some(format!("{}\n{}", word(at + 1), word(at))),
                note: None,
            },
        ],
        remedy: Remedy { text: word(at), commands: vec![word(at + 1)], verify: vec![word(at + 2)] },
        caused_by,
        hidden_behind: Vec::new(),
        section: "1.1".to_owned(),
        docs: "explain MG101".to_owned(),
    };
    let mut report = Report {
        schema_version: SCHEMA_VERSION.to_owned(),
        tool: Tool { name: "oc-mcpgw".to_owned(), version: "0.1.0".to_owned() },
        bundle: BundleInfo {
            cluster: Some(word(0)),
            collected_at: Some("2026-07-21T09:14:03Z".to_owned()),
            source: "files".to_owned(),
        },
        summary: Summary::default(),
        findings: vec![finding("R1", Vec::new(), 0), finding("S1", vec!["R1".to_owned()], 1)],
        unknown: vec![Unknown {
            rule: "image-pull".to_owned(),
            codes: vec!["MG102".to_owned()],
            missing: word(2),
            how_to_gather: word(3),
        }],
        coverage: Coverage {
            rules_decided: 1,
            objects: [(word(1), 3)].into(),
            skipped: vec![word(4)],
            ..Coverage::default()
        },
        suppressions: Vec::new(),
        topology: Some(Topology {
            nodes: (0..4)
                .map(|at| TopologyNode {
                    object: object(at),
                    present: at != 1,
                    findings: vec!["R1".to_owned()],
                })
                .collect(),
            edges: vec![
                TopologyEdge { from: 0, to: 1, kind: "requires".to_owned() },
                TopologyEdge { from: 2, to: 99, kind: word(1) },
            ],
            omitted: 0,
        }),
        timeline: (0..3)
            .map(|at| Moment {
                time: "2026-07-21T09:00:00Z".to_owned(),
                kind: MomentKind::Event,
                object: object(at),
                text: word(at),
                file: word(at + 1),
                line: Some(1),
            })
            .collect(),
    };
    report.count();
    Redactor::new(Options::default()).report(report)
}

/// Reads a text as XML to its end: names match, references exist, characters are allowed.
fn well_formed(text: &str) {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert_eq!(text.chars().find(|c| !allowed(*c)), None, "a character that XML does not know");
    let mut reader = quick_xml::Reader::from_str(text);
    let mut depth = 0;
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(start) => {
                depth += 1;
                for attribute in start.attributes() {
                    let name = attribute.expect("an attribute").key;
                    assert!(!name.as_ref().starts_with(b"on"), "a handler got in");
                }
            }
            Event::Empty(start) => {
                for attribute in start.attributes() {
                    let name = attribute.expect("an attribute").key;
                    assert!(!name.as_ref().starts_with(b"on"), "a handler got in");
                }
            }
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "every element is closed");
}

/// The page without the style sheet and the script, which are ours and not XML.
fn without_own_code(page: &str) -> String {
    let mut page = page.to_owned();
    for (from, to) in [("<style>", "</style>"), ("<script>", "</script>")] {
        let start = page.find(from).expect("it is there") + from.len();
        let end = start + page[start..].find(to).expect("it ends");
        page.replace_range(start..end, "");
    }
    page
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_form_survives_hostile_text(words in prop::collection::vec(hostile(), 5..6)) {
        let report = report_of(&words);

        let page = without_own_code(&render::html(&report));
        well_formed(&page);
        prop_assert_eq!(page.matches("<script").count(), 1, "only our own script");
        prop_assert_eq!(page.matches("<style").count(), 1);

        well_formed(&render::junit(&report, Some(Severity::Error)));

        let sarif: serde_json::Value = serde_json::from_str(&render::sarif(&report)).expect("JSON");
        for result in sarif["runs"][0]["results"].as_array().expect("results") {
            let uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().expect("a uri");
            prop_assert!(uri.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\^`{|}".contains(&b)), "{}", uri);
        }

        let json: Report = serde_json::from_str(&render::json(&report)).expect("JSON");
        prop_assert_eq!(&json, &*report);

        let markdown = render::markdown(&report);
        prop_assert!(markdown.lines().count() <= 60);

        for text in [
            render::text(&report, &TextOptions::default()),
            render::text(&report, &TextOptions { full: true, width: 40, ..TextOptions::default() }),
            render::roots(&report, &TextOptions::default()),
            markdown,
        ] {
            let bad = text.chars().find(|c| (c.is_control() && *c != '\n' && *c != '\t') || *c == '\u{202e}');
            prop_assert_eq!(bad, None, "control characters do not reach the terminal");
        }
    }
}

#[test]
fn a_megabyte_in_a_name_is_cut_where_people_read() {
    let report = report_of(&["x".repeat(1 << 20)]);
    for (form, text) in [
        ("text", render::text(&report, &TextOptions::default())),
        ("markdown", render::markdown(&report)),
        ("html", render::html(&report)),
    ] {
        assert!(text.len() < 200_000, "the {form} form has {} bytes", text.len());
    }
    well_formed(&render::junit(&report, None));
}

#[test]
fn the_page_needs_no_network_and_allows_only_its_own_code() {
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};

    let page = render::html(&report_of(&["weather".to_owned()]));
    let policy = page
        .split("Content-Security-Policy\" content=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a policy")
        .replace("&#x27;", "'")
        .replace("&#x2f;", "/");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for (from, to, directive) in
        [("<style>", "</style>", "style-src"), ("<script>", "</script>", "script-src")]
    {
        let code = page.split(from).nth(1).and_then(|rest| rest.split(to).next()).expect("the code");
        let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(code.as_bytes()));
        assert!(policy.contains(&format!("{directive} 'sha256-{digest}'")), "{policy}");
    }
    for outside in ["http:", "https:", "src=", "url(", "@import", " style=", " onclick="] {
        assert!(!page.contains(outside), "the page contains {outside}");
    }
}
