//! From the bytes of a file to the objects in it, saving what can be saved of a broken one.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::json::{Key, Map, Value};
use crate::model::yaml;

/// What a file held.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Its documents.
    pub(super) documents: Vec<Value>,
    /// What could not be read: the line, if known, and why.
    pub(super) problems: Vec<(Option<usize>, String)>,
}

/// Reads JSON (one or several values) or YAML (one or several documents); the content decides, not
/// the name.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let text = utf16(bytes);
    let bytes = text.as_ref().map_or(bytes, |text| text.as_bytes());
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let zeros = bytes.len() - end;
    let mut parsed = decoded(&bytes[..end]);
    if zeros > 0 {
        let line = memchr::memchr_iter(b'\n', &bytes[..end]).count() + 1;
        parsed.problems.push((Some(line), format!("{zeros} zero bytes stand where the end of the file was")));
    }
    parsed
}

/// A text in UTF-16, as PowerShell writes what is redirected into a file, by the mark at its beginning.
fn utf16(bytes: &[u8]) -> Option<String> {
    let unit = match bytes.first_chunk()? {
        [0xff, 0xfe] => u16::from_le_bytes,
        [0xfe, 0xff] => u16::from_be_bytes,
        _ => return None,
    };
    let (pairs, _) = bytes[2..].as_chunks();
    let units = pairs.iter().map(|pair| unit(*pair));
    Some(char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

fn decoded(bytes: &[u8]) -> Parsed {
    if matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')) {
        match json(bytes) {
            Ok(documents) => return Parsed { documents, problems: Vec::new() },
            Err(error) => {
                // YAML in flow style looks like JSON that is broken.
                let as_yaml = parse_yaml(bytes);
                if as_yaml.problems.is_empty() {
                    return as_yaml;
                }
                let documents = saved_json(bytes);
                return Parsed { documents, problems: vec![(Some(error.line()), without_place(&error))] };
            }
        }
    }
    parse_yaml(bytes)
}

fn json(bytes: &[u8]) -> serde_json::Result<Vec<Value>> {
    serde_json::Deserializer::from_slice(bytes).into_iter().collect()
}

fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn parse_yaml(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => std::borrow::Cow::Borrowed(text),
        Err(error) => {
            let line = memchr::memchr_iter(b'\n', &bytes[..error.valid_up_to()]).count() + 1;
            parsed.problems.push((Some(line), "invalid UTF-8".to_owned()));
            String::from_utf8_lossy(bytes)
        }
    };
    for document in documents(&text) {
        let (first_line, document) = document;
        match values(document) {
            Ok(values) => parsed.documents.extend(values),
            Err(error) => save(document, first_line, &error, &mut parsed),
        }
    }
    parsed
}

/// The documents of a stream with their first lines, parted at the lines `---`, which cannot stand
/// inside an object.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut from = 0;
    let mut first_line = 1;
    let mut at = 0;
    for (line, content) in (1..).zip(text.split_inclusive('\n')) {
        let marker = content.starts_with("---") && content[3..].trim_end().is_empty();
        if marker {
            found.push((first_line, &text[from..at]));
            from = at + content.len();
            first_line = line + 1;
        }
        at += content.len();
    }
    found.push((first_line, &text[from..]));
    found.retain(|(_, document)| !document.trim_ascii().is_empty());
    found
}

/// The values of a text: one, or several where [`documents`] saw no border.
fn values(text: &str) -> Result<Vec<Value>, serde_yaml::Error> {
    if let Some(value) = super::block::parse(text) {
        return Ok(vec![value]);
    }
    let some = |value: &Value| !value.is_null();
    match yaml::documents::<Value>(text) {
        Ok(values) => Ok(values.into_iter().filter(some).collect()),
        // A key that is a number or null: through YAML's own value, with keys as text.
        Err(error) => match yaml::documents::<serde_yaml::Value>(text) {
            Ok(values) => Ok(values.into_iter().map(to_json).filter(some).collect()),
            Err(_) => Err(error),
        },
    }
}

fn to_json(value: serde_yaml::Value) -> Value {
    use serde_yaml::Value as Yaml;
    match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(b) => Value::Bool(b),
        Yaml::Number(n) => serde_json::to_value(n).unwrap_or_default().into(),
        Yaml::String(text) => text.into(),
        Yaml::Sequence(list) => Value::Array(list.into_iter().map(to_json).collect()),
        Yaml::Mapping(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| {
                    let key = match to_json(key) {
                        Value::String(text) => Key::from(&*text),
                        other => other.to_string().into(),
                    };
                    (key, to_json(value))
                })
                .collect(),
        ),
        Yaml::Tagged(tagged) => to_json(tagged.value),
    }
}

/// Reads a broken list item by item.
fn save(document: &str, first_line: usize, error: &serde_yaml::Error, parsed: &mut Parsed) {
    let place = |error: &serde_yaml::Error| error.location().map_or(0, |l| l.line().saturating_sub(1));
    let Some((head, items)) = split_items(document) else {
        parsed.problems.push((Some(first_line + place(error)), reason(error)));
        return;
    };
    let mut list = match values(&head).map(|mut all| all.pop()) {
        Ok(Some(Value::Object(map))) => map,
        _ => Map::default(),
    };
    let mut saved = Vec::new();
    let mut problems = Vec::new();
    for (line, item) in items {
        match values(item) {
            Ok(some) => {
                for value in some {
                    if let Value::Array(one) = value {
                        saved.extend(one.into_vec());
                    }
                }
            }
            Err(error) => problems.push((Some(first_line + line + place(&error)), reason(&error))),
        }
    }
    if problems.is_empty() {
        // Every item is fine by itself, so something between them is not.
        problems.push((Some(first_line + place(error)), reason(error)));
    }
    parsed.problems.append(&mut problems);
    as_list(&mut list, saved);
    parsed.documents.push(Value::Object(list));
}

/// Makes a list of what was saved of one.
fn as_list(list: &mut Map, items: Vec<Value>) {
    for (field, value) in [("apiVersion", "v1"), ("kind", "List")] {
        if !list.contains_key(field) {
            list.insert(field, value.into());
        }
    }
    list.insert("items", items.into());
}

/// The message without the place, which stands in front of it.
fn reason(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    let end = text.find(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// Splits a list in block style into what stands around its items and the items, each with the
/// number of lines before it. A line of an item never stands as far left as its dash.
pub(super) fn split_items(document: &str) -> Option<(String, Vec<(usize, &str)>)> {
    let mut head = String::new();
    let mut items = Vec::new();
    let mut dash: Option<usize> = None;
    let mut inside = false;
    let mut start: Option<(usize, usize)> = None;
    let mut at = 0;
    for (number, line) in document.split_inclusive('\n').enumerate() {
        let here = at;
        at += line.len();
        let indent = line.len() - line.trim_start_matches(' ').len();
        let is_dash = line[indent..].starts_with("- ") || line[indent..].trim_end() == "-";
        if inside {
            if is_dash && *dash.get_or_insert(indent) == indent {
                if let Some((line, from)) = start.replace((number, here)) {
                    items.push((line, &document[from..here]));
                }
                continue;
            }
            let blank = line.trim_ascii().is_empty();
            if blank || dash.is_some_and(|dash| indent > dash) {
                continue;
            }
            if let Some((line, from)) = start.take() {
                items.push((line, &document[from..here]));
            }
            inside = false;
        }
        if line.trim_end() == "items:" && dash.is_none() {
            inside = true;
        } else {
            head.push_str(line);
        }
    }
    if let Some((line, from)) = start {
        items.push((line, &document[from..]));
    }
    (!items.is_empty()).then_some((head, items))
}

/// The items of a JSON list up to where it breaks off.
fn saved_json(bytes: &[u8]) -> Vec<Value> {
    let mut saved = Saved::default();
    // The error is known already.
    let _ = saved.deserialize_from(bytes);
    if saved.items.is_empty() {
        return Vec::new();
    }
    let mut list = saved.head;
    as_list(&mut list, saved.items);
    vec![Value::Object(list)]
}

#[derive(Default)]
struct Saved {
    head: Map,
    items: Vec<Value>,
}

impl Saved {
    fn deserialize_from(&mut self, bytes: &[u8]) -> serde_json::Result<()> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        (&mut deserializer).deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Saved {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "items" => map.next_value_seed(Items(&mut self.items))?,
                "kind" | "apiVersion" => {
                    let value = map.next_value()?;
                    self.head.insert(&key, value);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Items<'a>(&'a mut Vec<Value>);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the items of a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(item) = list.next_element()? {
            self.0.push(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    fn problems(parsed: &Parsed) -> Vec<String> {
        parsed.problems.iter().map(|(line, why)| format!("{}: {why}", line.unwrap_or(0))).collect()
    }

    #[test]
    fn what_power_shell_redirects_is_read() {
        let text = "a: 1\n---\nb: \u{1f600}é\n";
        let units: Vec<u16> = std::iter::once(0xfeff).chain(text.encode_utf16()).collect();
        for bytes in [
            units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>(),
            units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
        ] {
            let parsed = parse(&bytes);
            assert_eq!(parsed.documents, vec![json!({"a": 1}), json!({"b": "\u{1f600}é"})]);
            assert_eq!(problems(&parsed), [""; 0]);
        }
        // Cut within a letter.
        assert_eq!(parse(b"\xff\xfea\0:\0 \0\x31").documents, vec![json!({"a": null})]);
    }

    #[test]
    fn zeros_of_a_file_system_that_crashed_cost_only_the_end() {
        let parsed = parse(b"a: 1\n---\nb: 2\n\0\0\0\0");
        assert_eq!(parsed.documents, vec![json!({"a": 1}), json!({"b": 2})]);
        assert_eq!(problems(&parsed), ["4: 4 zero bytes stand where the end of the file was"]);
        assert_eq!(problems(&parse(&[0; 9])), ["1: 9 zero bytes stand where the end of the file was"]);
    }

    #[test]
    fn the_content_decides_not_the_name() {
        for (text, expected) in [
            ("a: 1\n", vec![json!({"a": 1})]),
            ("{\"a\": 1}", vec![json!({"a": 1})]),
            ("{\"a\": 1}\n{\"b\": 2}\n", vec![json!({"a": 1}), json!({"b": 2})]),
            ("[1]", vec![json!([1])]),
            ("{a: 1}", vec![json!({"a": 1})]),
            (
                "---\na: 1\n---\n# nothing\n---\nb: |\n  x\n  ---\n  y\n...\n",
                vec![json!({"a": 1}), json!({"b": "x\n---\ny\n"})],
            ),
            ("\u{feff}a: 1", vec![json!({"a": 1})]),
            ("1: 2\ntrue: x\n", vec![json!({"1": 2, "true": "x"})]),
            ("", vec![]),
            ("a: !tag {b: .nan}\n", vec![json!({"a": {"b": null}})]),
        ] {
            let parsed = parse(text.as_bytes());
            assert_eq!((parsed.documents, parsed.problems.len()), (expected, 0), "{text}");
        }
    }

    #[test]
    fn other_items_of_a_broken_list_are_saved() {
        let text =
            "apiVersion: v1\nitems:\n- a: 1\n  b:\n  - x\n- a: [1\n- a: 3\n  t: |\n    - no\nkind: PodList\n";
        let parsed = parse(text.as_bytes());
        assert_eq!(
            parsed.documents,
            [
                json!({"apiVersion": "v1", "kind": "PodList", "items": [{"a": 1, "b": ["x"]}, {"a": 3, "t": "- no\n"}]})
            ]
        );
        assert_eq!(problems(&parsed), ["7: did not find expected ',' or ']'"]);
    }

    #[test]
    fn what_stands_before_a_cut_is_saved() {
        let yaml = "apiVersion: v1\nitems:\n- a: 1\n- a: 2\n- \"a";
        let json = r#"{"kind": "PodList", "items": [{"a": 1}, {"a": 2}, {"a"#;
        for text in [yaml, json] {
            let parsed = parse(text.as_bytes());
            assert_eq!(parsed.documents[0]["items"], json!([{"a": 1}, {"a": 2}]), "{text}");
            assert_eq!(parsed.problems.len(), 1);
        }
    }

    #[test]
    fn hostile_documents_end_in_a_problem() {
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        let deep_block: String = (0..3000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..12 {
            let last = n - 1;
            bomb.push_str(&format!(
                "a{n}: &a{n} [*a{last},*a{last},*a{last},*a{last},*a{last},*a{last},*a{last},*a{last}]\n"
            ));
        }
        for text in [
            deep.as_str(),
            &deep_block,
            &bomb,
            "\"\\",
            "a: \"x\\",
            "a: *nobody\n",
            "a: b: c\n",
            "\u{0}\u{1}",
            "%YAML 9\n---\n",
        ] {
            let parsed = parse(text.as_bytes());
            assert_eq!(
                parsed.problems.len(),
                1,
                "{:?} {:?}",
                &text[..20.min(text.len())],
                parsed.documents.len()
            );
        }
        let parsed = parse(b"a: \xff\nb: 2\n");
        assert_eq!(problems(&parsed), ["1: invalid UTF-8"]);
        assert_eq!(parsed.documents[0]["b"], 2);
    }
}
