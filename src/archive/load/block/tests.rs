//! The fast reader against the complete one.

use super::*;
use crate::archive::yaml;
use crate::archive::yaml::tests::{TORTURE, any_json};
use crate::model::json::json;
use proptest::prelude::*;
use serde::Deserialize as _;

/// What the complete reader says of a text with one document.
fn complete(text: &str) -> Option<Value> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let value = Value::deserialize(documents.next()?).ok()?;
    documents.next().is_none().then_some(value)
}

fn emitted(value: &serde_json::Value) -> String {
    let mut text = String::new();
    yaml::emit(value, 0, &mut text);
    text
}

#[test]
fn reads_what_go_writes() {
    let text = "\
apiVersion: v1
items:
- apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {\"apiVersion\":\"v1\"}
      note: 'it''s: fine'
    labels: {}
    managedFields:
    - fieldsV1:
        f:metadata:
          f:ownerReferences:
            .: {}
            k:{\"uid\":\"1b8a\"}: {}
      time: \"2026-11-22T10:00:00Z\"
  spec:
    ip: 10.128.2.1
    memory: 128Mi
    port: 8080
    ratio: 0.5
    args: [ ]
    list:
    - - a
      - b
    -
      c: d
    - -v=2
    - \"quoted\": yes
    nothing:
  status:
    message: 'containers with unready status: [web
      proxy] and

      more'
    plain: a long message that is folded
      over two lines

      and a paragraph
    double: \"a \\\"b\\\" \\u00e4 \\
      \\ c\"
    empty: \"\"
kind: List
";
    // An empty list with a space in it is unusual; without it, everything is fine.
    assert_eq!(parse(text), None);
    let text = text.replace("[ ]", "[]");
    let value = parse(&text).expect("nothing unusual");
    assert_eq!(Some(&value), complete(&text).as_ref());
    assert_eq!(
        value["items"][0]["status"]["message"],
        "containers with unready status: [web proxy] and\nmore"
    );
    assert_eq!(value["items"][0]["spec"]["list"], json!([["a", "b"], {"c": "d"}, "-v=2", {"quoted": "yes"}]));
}

#[test]
fn agrees_on_every_troublesome_scalar() {
    for scalar in TORTURE.iter().copied().chain([
        "1e5",
        "1.",
        "00.5",
        "1e400",
        "123456789012345678901234567890",
        "-5",
        "--5",
        "+5",
        "-.5",
        "0x",
        "-0x1",
        "a:",
        "? a",
        "a: b: c",
        "'a' b",
        "\"a\" b",
        "'a'#b",
        "'a' #b",
        "a\tb",
        "{}",
        "{} ",
        "[]x",
        "|x",
        "|2\n    a",
        "|\n   a\n  b",
        ">-\n a",
        "a\n  b\n\n  c",
        "a\n  b: c",
        "a\n  - b",
        "a\n # b",
        "'a\n\n  b'",
        "'a\nb'",
        "\"a \\\n  b\"",
        "\"\\x4\"",
        "\"\\ud800\"",
        "\"a\n  b",
        "|-\n  a\n\n\n",
        "|+\n  a\n\n\n",
        "|\n\n  a\n",
        "|\n    \n  a\n",
        "|\n  a\n     \n  b\n",
        "|",
        "|\n",
        "!!str a",
        "&a b",
        "*a",
        "<<",
        "=",
        "\u{e4}",
        "a\u{85}b",
        "null ",
        "~x",
        ".5",
        ".a",
        "...",
        "---",
    ]) {
        for text in [
            format!("a: {scalar}\n"),
            format!("- {scalar}\n"),
            format!("a:\n- {scalar}\nb: 1\n"),
            format!("- a: {scalar}\n  b: 1\n"),
            format!("{scalar}: 1\n"),
            format!("- - {scalar}\n"),
        ] {
            if let Some(value) = parse(&text) {
                assert_eq!(Some(value), complete(&text), "{text}");
            }
        }
    }
}

proptest! {
    #[test]
    fn reads_all_that_we_write(value in any_json()) {
        let text = emitted(&value);
        let value = Value::from(value);
        match &value {
            Value::Object(map) if !map.is_empty() => prop_assert_eq!(parse(&text), Some(value), "{}", text),
            Value::Array(list) if !list.is_empty() => prop_assert_eq!(parse(&text), Some(value), "{}", text),
            _ => prop_assert_eq!(parse(&text), None),
        }
    }

    #[test]
    fn agrees_on_what_others_write(value in any_json()) {
        let text = serde_yaml::to_string(&value).expect("YAML");
        if let Some(read) = parse(&text) {
            prop_assert_eq!(read, Value::from(value), "{}", text);
        }
    }

    #[test]
    fn agrees_on_folded_scalars(
        quote in proptest::sample::select(&["", "'", "\"", "|\n    ", "|-\n    ", "|2+\n    "][..]),
        parts in proptest::collection::vec(
            proptest::sample::select(&[
                "a", "1", "''", "\\\"", "\\n", "\\ ", ": ", "b:", "#", " #", " ", "-", "- ", "\n", "\n    ", "\n  ",
                "\n   ", "\n\n    ", "\n     \n    ", " \n    ", "\\\n    ", "\n\t", "\t",
            ][..]),
            0..8
        ),
    ) {
        let scalar = format!("{quote}{}{}", parts.concat(), quote.chars().next().filter(|c| *c != '|').map_or(String::new(), String::from));
        for text in [format!("a:\n- b: {scalar}\n  c: 1\n"), format!("a: {scalar}\n"), format!("a:\n- {scalar}\nc: 1\n")] {
            if let Some(read) = parse(&text) {
                prop_assert_eq!(Some(read), complete(&text), "{}", text);
            }
        }
    }

    #[test]
    fn agrees_on_damaged_texts(
        value in any_json(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), proptest::sample::select(&[
            "\n", " ", "  ", "-", "- ", ":", ": ", "'", "\"", "\\", "#", " #", "a", "1", "|", "\t", "{", "[", "\n\n", "\n- ", "&", "!", "\n  ",
        ][..]), any::<bool>()), 1..4),
    ) {
        let mut text = emitted(&value);
        for (at, insert, cut) in damage {
            let mut at = at.index(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            if cut && at < text.len() {
                text.remove(at);
            } else {
                text.insert_str(at, insert);
            }
        }
        if let Some(read) = parse(&text) {
            prop_assert_eq!(Some(read), complete(&text), "{}", text);
        }
    }
}
