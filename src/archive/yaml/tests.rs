//! What is written comes back, whatever it is.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn yaml(value: &Value) -> String {
    let mut out = String::new();
    emit(value, 0, &mut out);
    out
}

fn back(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{e} in\n{text}"))
}

#[test]
fn looks_like_the_output_of_oc() {
    let value = json!({
        "apiVersion": "v1", "kind": "List",
        "items": [
            {"metadata": {"name": "a", "labels": {"yes": "no", "app.kubernetes.io/name": "12:30"}}, "empty": {}},
            {"args": ["--port=80", "-v", []], "text": "one\n  two\n\nthree\n", "m": 1.5, "none": null}
        ]
    });
    insta::assert_snapshot!(yaml(&value), @r#"
    apiVersion: v1
    items:
    - empty: {}
      metadata:
        labels:
          app.kubernetes.io/name: "12:30"
          "yes": "no"
        name: a
    - args:
      - --port=80
      - -v
      - []
      m: 1.5
      none: null
      text: |
        one
          two

        three
    kind: List
    "#);
}

/// What readers of YAML 1.1 or 1.2 take for something else when it stands without quotes.
pub(in crate::archive) const TORTURE: &[&str] = &[
    "",
    " ",
    "y",
    "Y",
    "n",
    "N",
    "yes",
    "Yes",
    "YES",
    "no",
    "on",
    "Off",
    "true",
    "TRUE",
    "False",
    "null",
    "Null",
    "~",
    "1",
    "-1",
    "+1",
    "0777",
    "0o17",
    "0x1F",
    "0b1",
    "1_000",
    "1.5",
    ".5",
    "1e3",
    "1.0e+3",
    "840e282012",
    ".inf",
    "-.INF",
    ".nan",
    "1:30",
    "12:30:45",
    "190:20:30",
    "2026-11-22",
    "2026-11-22T10:00:00Z",
    "=",
    "<<",
    "-",
    "--",
    "---",
    "...",
    "- a",
    "? a",
    "?",
    ":",
    "a:",
    "a: b",
    "a:b",
    "::",
    "#",
    "#a",
    "a #b",
    "a#b",
    "&a",
    "*a",
    "!a",
    "!!str a",
    "|",
    ">",
    "%a",
    "@a",
    "`a",
    "'",
    "\"",
    "'a'",
    "\"a\"",
    "it's",
    "a\\b",
    "[",
    "[a]",
    "a]",
    "{",
    "{a}",
    "{}",
    "a, b",
    " a",
    "a ",
    "a  b",
    "\t",
    "a\tb",
    "\n",
    "\n\n",
    "a\n",
    "a\n\n",
    "a\n\n\n",
    "\na",
    "\n\na\n",
    " a\nb",
    "a\n b",
    "a\n  \nb",
    "a\n ",
    "  \na",
    "a\r\nb",
    "a\rb",
    "\r",
    "\u{0}",
    "\u{7}",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{85}",
    "a\u{85}b",
    "\u{a0}",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}",
    "\u{feff}a",
    "\u{fffe}",
    "\u{ffff}",
    "ä",
    "日本",
    "a\u{1f600}",
    "\u{1f600}\nb",
    "a\nb\tc",
    "a\n# b",
    "# a\nb",
    "a\n---\nb",
    "---\na",
    "...\na",
    "a: |\n b",
    "null\n",
    "0",
    "00",
    "-0",
    "0.",
    "1,000",
    "1__0",
    "+",
    "+.inf",
    "0x",
    "e1",
    "NaN",
    "Infinity",
    "/a",
    "a/b:c",
    "http://h:80/p?q=1#f",
    "a=b",
    "=a",
    "%",
    "a%",
    "a:\n",
    "-\n",
    "? ",
    "- ",
];

#[test]
fn every_troublesome_string_comes_back_as_itself() {
    for text in TORTURE {
        for value in [
            json!(text),
            json!([text]),
            json!({ *text: text }),
            json!([[text, text], {"a": text, "b": [text]}]),
            json!({"a": {"b": text}, "c": [{"d": text, "e": text}, text]}),
        ] {
            let written = yaml(&value);
            assert_eq!(back(&written), value, "{text:?} as\n{written}");
        }
    }
}

#[test]
fn numbers_keep_their_value_and_stay_numbers_for_old_readers() {
    assert_eq!(yaml(&json!(1e100)), "1.0e+100\n");
    assert_eq!(yaml(&json!(1.5e-9)), "1.5e-9\n");
    for value in
        [json!(0), json!(-1), json!(u64::MAX), json!(i64::MIN), json!(0.1), json!(1e300), json!(5e-324)]
    {
        assert_eq!(back(&yaml(&value)), value);
    }
}

#[test]
fn long_keys_use_the_explicit_form() {
    let key = "k".repeat(3000);
    let value = json!({ &key: {"a": [1, {"b": 2}]}, format!("{key}\n"): [1], format!("{key}2"): "a\nb\n" });
    assert_eq!(back(&yaml(&value)), value);
}

#[test]
fn depth_does_not_exhaust_the_stack() {
    let mut value = json!("end");
    for n in 0..5_000 {
        value = if n % 2 == 0 {
            Value::Array(vec![value])
        } else {
            Value::Object(std::iter::once(("k".to_owned(), value)).collect())
        };
    }
    let written = yaml(&value);
    assert!(written.contains("{\"k\": ["), "{}", written.len());
    // Taken apart level by level: dropping such a value would recurse.
    while let Value::Array(mut inner) = value {
        let Some(Value::Object(mut map)) = inner.pop() else { break };
        value = map.remove("k").unwrap_or_default();
    }
}

#[test]
fn an_item_stands_in_a_list_that_is_written_piece_by_piece() {
    let items = [json!({"a": {"b": "x\ny\n"}, "c": [1]}), json!("s"), json!([[1], {"d": null}]), json!({})];
    let mut text = "apiVersion: v1\nitems:\n".to_owned();
    for item in &items {
        emit_item(item, 0, &mut text);
    }
    text.push_str("kind: List\n");
    assert_eq!(back(&text), json!({"apiVersion": "v1", "items": items, "kind": "List"}));
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -~]{0,12}",
        3 => proptest::collection::vec(
            prop_oneof![
                Just("\n".to_owned()), Just(" ".to_owned()), Just(": ".to_owned()), Just(" #".to_owned()),
                Just("-".to_owned()), Just("'".to_owned()), Just("\"".to_owned()), Just("\\".to_owned()),
                Just("\t".to_owned()), "[a-zA-Z0-9]{1,4}",
            ],
            0..8
        ).prop_map(|parts| parts.concat()),
        2 => any::<String>(),
        1 => proptest::sample::select(TORTURE).prop_map(str::to_owned),
    ]
}

pub(in crate::archive) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |f| f.is_finite()).prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(any_text(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_comes_back(value in any_json(), indent in 0usize..3) {
        let written = yaml(&value);
        prop_assert_eq!(&back(&written), &value, "as\n{}", written);
        let mut item = "  ".repeat(indent) + "- 0\n";
        emit_item(&value, indent, &mut item);
        prop_assert_eq!(back(&item), json!([0, value]), "as\n{}", item);
    }
}
