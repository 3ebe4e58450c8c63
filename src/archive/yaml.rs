//! The YAML emitter: block style, keys sorted, every string that a YAML 1.1 reader could take for
//! something else quoted. Libraries of the libyaml family write `yes` or `12:30` without quotes,
//! which readers in Go turn into booleans and numbers.
//!
//! The output looks like that of `oc get -o yaml`: sequences stand at the column of their key,
//! texts of several lines are literal blocks. A string is written plain only if no reader can
//! take it for anything else; in doubt it is quoted. What cannot stand in a literal block or in
//! single quotes unharmed (control characters, tabs, U+0085, U+FEFF, …) is escaped in double quotes.

use serde_json::{Number, Value};

/// How deep block style goes. Deeper values are written in flow style (JSON), without recursion.
/// The readers of YAML that we know stop at 128 levels or earlier.
const BLOCK_DEPTH: usize = 128;

/// The longest text that may stand as a key without `? `: YAML readers look 1024 characters ahead
/// for the colon, and an escape takes up to ten.
const SIMPLE_KEY: usize = 100;

/// Appends a value as a YAML document, indented by `indent` levels of two spaces.
pub fn emit(value: &Value, indent: usize, out: &mut String) {
    pad(indent, out);
    node(value, indent, 0, Place::Document, out);
}

/// Appends a value as an item of a sequence (`- …`).
pub fn emit_item(value: &Value, indent: usize, out: &mut String) {
    pad(indent, out);
    out.push('-');
    node(value, indent, 0, Place::Item, out);
}

/// What stands before a node on its line, which decides how it may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Only indentation.
    Document,
    /// The dash of a sequence.
    Item,
    /// A key and its colon.
    Value,
}

/// Writes a node and the end of its line. `indent` is the column (in levels) of the key or dash
/// that it belongs to, `depth` how many nodes it stands in.
fn node(value: &Value, indent: usize, depth: usize, place: Place, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() && depth < BLOCK_DEPTH => {
            // A mapping begins on the line of its dash, but below its key.
            let inner = match place {
                Place::Document => indent,
                Place::Item | Place::Value => indent + 1,
            };
            let mut same_line = match place {
                Place::Document => true,
                Place::Item => {
                    out.push(' ');
                    true
                }
                Place::Value => {
                    out.push('\n');
                    false
                }
            };
            for (key, value) in map {
                if !same_line {
                    pad(inner, out);
                }
                same_line = false;
                if key.len() <= SIMPLE_KEY {
                    scalar(key, out);
                } else {
                    out.push_str("? ");
                    scalar(key, out);
                    out.push('\n');
                    pad(inner, out);
                }
                out.push(':');
                node(value, inner, depth + 1, Place::Value, out);
            }
        }
        Value::Array(list) if !list.is_empty() && depth < BLOCK_DEPTH => {
            let inner = if place == Place::Item { indent + 1 } else { indent };
            let mut same_line = match place {
                Place::Document => true,
                Place::Item => {
                    out.push(' ');
                    true
                }
                Place::Value => {
                    out.push('\n');
                    false
                }
            };
            for item in list {
                if !same_line {
                    pad(inner, out);
                }
                same_line = false;
                out.push('-');
                node(item, inner, depth + 1, Place::Item, out);
            }
        }
        Value::String(text) if place != Place::Document && is_literal(text) => literal(text, indent + 1, out),
        _ => {
            if place != Place::Document {
                out.push(' ');
            }
            match value {
                Value::Null => out.push_str("null"),
                Value::Bool(true) => out.push_str("true"),
                Value::Bool(false) => out.push_str("false"),
                Value::Number(n) => number(n, out),
                Value::String(text) => scalar(text, out),
                Value::Array(_) | Value::Object(_) => flow(value, out),
            }
            out.push('\n');
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    const SPACES: &str = "                                                                ";
    let mut left = indent * 2;
    while left > 0 {
        let n = left.min(SPACES.len());
        out.push_str(&SPACES[..n]);
        left -= n;
    }
}

/// A number that YAML 1.1 readers take for one too: their exponents need a point and a sign.
fn number(number: &Number, out: &mut String) {
    let text = number.to_string();
    match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            out.push_str(mantissa);
            if !mantissa.contains('.') {
                out.push_str(".0");
            }
            out.push('e');
            if !exponent.starts_with(['-', '+']) {
                out.push('+');
            }
            out.push_str(exponent);
        }
        None => out.push_str(&text),
    }
}

/// A text on one line: plain, in single quotes, or escaped in double quotes.
fn scalar(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push_str(text);
    } else if text.contains(['"', '\\']) && text.chars().all(is_printable) {
        out.push('\'');
        for (n, part) in text.split('\'').enumerate() {
            if n > 0 {
                out.push_str("''");
            }
            out.push_str(part);
        }
        out.push('\'');
    } else {
        double_quoted(text, out);
    }
}

// The classes of bytes, as bits of a table.
/// May begin a plain scalar.
const FIRST: u8 = 1;
/// May stand inside a plain scalar.
const INNER: u8 = 2;
/// May stand inside a plain scalar, but a space before or after it decides.
const CAREFUL: u8 = 4;
/// Stands for itself in double quotes.
const QUOTED: u8 = 8;

const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let mut class = 0;
        if b.is_ascii_alphabetic() || b == b'/' {
            class |= FIRST;
        }
        if b.is_ascii_alphanumeric()
            || matches!(b, b'_' | b'.' | b'/' | b'+' | b'@' | b'(' | b')' | b'=' | b'-')
            || matches!(b, b',' | b';' | b'\'' | b'"' | b'*' | b'&' | b'!' | b'|' | b'>' | b'<' | b'%' | b'^')
            || matches!(b, b'$' | b'~' | b'\\' | b'`' | b'?' | b'[' | b']' | b'{' | b'}')
        {
            class |= INNER;
        }
        if matches!(b, b' ' | b':' | b'#') {
            class |= CAREFUL;
        }
        if b >= 0x20 && b < 0x7f && b != b'"' && b != b'\\' {
            class |= QUOTED;
        }
        table[byte] = class;
        byte += 1;
    }
    table
};

/// Whether every reader takes the text, written without quotes, for this very string.
fn is_plain(text: &str) -> bool {
    // `-v` and `--port=80` are common, and no number once a letter follows.
    let dashes = text.strip_prefix("--").or_else(|| text.strip_prefix('-'));
    let bytes = dashes.unwrap_or(text).as_bytes();
    let Some(first) = bytes.first() else { return false };
    if CLASS[usize::from(*first)] & FIRST == 0 {
        return false;
    }
    let mut before = *first;
    for (n, &byte) in bytes.iter().enumerate().skip(1) {
        let class = CLASS[usize::from(byte)];
        if class & INNER == 0 {
            let fine = match byte {
                // Not at the end, and not before a comment.
                b' ' => n + 1 < bytes.len(),
                // A colon ends a key when a space or nothing follows.
                b':' => n + 1 < bytes.len() && bytes[n + 1] != b' ',
                b'#' => before != b' ',
                _ => false,
            };
            if class & CAREFUL == 0 || !fine {
                return false;
            }
        }
        before = byte;
    }
    bytes.len() > 5 || !is_word(text)
}

/// Whether a YAML 1.1 or 1.2 reader takes the word for a boolean or null.
fn is_word(text: &str) -> bool {
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text))
}

/// Whether a character may stand unescaped in single quotes and literal blocks: YAML's printable
/// characters without tabs and without what some version of YAML takes for a line break.
fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\0'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        c => !matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff),
    }
}

/// Whether a text of several lines can be a literal block.
fn is_literal(text: &str) -> bool {
    if !text.contains('\n') {
        return false;
    }
    // A line of nothing but spaces is where readers differ; a text of nothing but line breaks too.
    let mut any = false;
    for line in text.split('\n') {
        if line.is_empty() {
            continue;
        }
        any = true;
        let printable = if line.is_ascii() {
            line.bytes().all(|b| (0x20..0x7f).contains(&b))
        } else {
            line.chars().all(is_printable)
        };
        if !printable || line.bytes().all(|b| b == b' ') {
            return false;
        }
    }
    any
}

/// Writes a literal block after its key or dash.
fn literal(text: &str, indent: usize, out: &mut String) {
    out.push_str(" |");
    if text.starts_with([' ', '\n']) {
        // The reader cannot guess the indentation from a first line like that.
        out.push('2');
    }
    let body = match text.strip_suffix('\n') {
        None => {
            out.push('-');
            text
        }
        Some(body) => {
            if body.ends_with('\n') {
                out.push('+');
            }
            body
        }
    };
    out.push('\n');
    for line in body.split('\n') {
        if !line.is_empty() {
            pad(indent, out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn double_quoted(text: &str, out: &mut String) {
    out.push('"');
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        if (c.is_ascii() && CLASS[c as usize] & QUOTED != 0) || (!c.is_ascii() && is_printable(c)) {
            continue;
        }
        out.push_str(&text[plain_from..at]);
        plain_from = at + c.len_utf8();
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

/// Writes a value in flow style on one line, with a stack of its own.
fn flow(value: &Value, out: &mut String) {
    enum Open<'a> {
        List(std::slice::Iter<'a, Value>),
        Map(serde_json::map::Iter<'a>),
    }
    let mut stack: Vec<(Open<'_>, bool)> = Vec::new();
    let mut next = Some(value);
    loop {
        match next.take() {
            Some(Value::Array(list)) => {
                out.push('[');
                stack.push((Open::List(list.iter()), true));
            }
            Some(Value::Object(map)) => {
                out.push('{');
                stack.push((Open::Map(map.iter()), true));
            }
            Some(Value::Null) => out.push_str("null"),
            Some(Value::Bool(b)) => out.push_str(if *b { "true" } else { "false" }),
            Some(Value::Number(n)) => number(n, out),
            Some(Value::String(text)) => double_quoted(text, out),
            None => {}
        }
        let Some((open, first)) = stack.last_mut() else { return };
        let comma = if std::mem::take(first) { "" } else { ", " };
        match open {
            Open::List(items) => match items.next() {
                Some(item) => {
                    out.push_str(comma);
                    next = Some(item);
                }
                None => {
                    out.push(']');
                    stack.pop();
                }
            },
            Open::Map(entries) => match entries.next() {
                Some((key, value)) => {
                    out.push_str(comma);
                    double_quoted(key, out);
                    out.push_str(": ");
                    next = Some(value);
                }
                None => {
                    out.push('}');
                    stack.pop();
                }
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
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
        let value =
            json!({ &key: {"a": [1, {"b": 2}]}, format!("{key}\n"): [1], format!("{key}2"): "a\nb\n" });
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
        let items =
            [json!({"a": {"b": "x\ny\n"}, "c": [1]}), json!("s"), json!([[1], {"d": null}]), json!({})];
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
}
