//! From a field of an object back to the line of its file, for evidence that points.
//!
//! One walk over the bundle; only files that evidence names are parsed, each once for all of its
//! fields, up to a size. A field that is absent is located at the nearest parent that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use super::read::{Source, Visit};
use crate::report::Report;

mod json;
mod yaml;

/// The largest file that is parsed again for lines.
const FILE_LIMIT: u64 = 32 << 20;
/// How much is parsed for lines in all.
const TOTAL_LIMIT: u64 = 256 << 20;

/// One step of a field path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A key of a mapping.
    Key(String),
    /// `[3]`: a position, or a key of a mapping that looks like a number.
    Index(usize),
}

/// The steps that are wanted from here on, as a tree, so that a file is walked once.
#[derive(Debug, Default)]
struct Wanted {
    next: BTreeMap<Step, Self>,
    /// The line, once it is known.
    line: Option<u64>,
    /// The line in a file of several documents, where `items[n]` names the n-th document.
    document_line: Option<u64>,
}

impl Wanted {
    fn add(&mut self, steps: &[Step]) {
        let mut node = self;
        for step in steps {
            node = node.next.entry(step.clone()).or_default();
        }
    }

    fn child(&mut self, key: &str) -> Option<&mut Self> {
        if self.next.is_empty() {
            return None;
        }
        let step = Step::Key(key.to_owned());
        if self.next.contains_key(&step) {
            return self.next.get_mut(&step);
        }
        self.next.get_mut(&Step::Index(key.parse().ok()?))
    }

    fn item(&mut self, index: usize) -> Option<&mut Self> {
        self.next.get_mut(&Step::Index(index))
    }

    /// The line of the deepest step that the file has.
    fn line(&self, steps: &[Step]) -> Option<u64> {
        let items = Step::Key("items".to_owned());
        let documents =
            steps.first() == Some(&items) && self.next.get(&items).is_some_and(|items| items.line.is_none());
        let mut node = self;
        let mut line = node.line;
        for (depth, step) in steps.iter().enumerate() {
            node = node.next.get(step)?;
            let found = if documents { node.document_line } else { node.line };
            match found {
                Some(found) => line = Some(found),
                // The step `items` itself has no line where the documents are the items.
                None if documents && depth == 0 => line = None,
                None => break,
            }
        }
        line
    }
}

/// Fills in the `line` of every piece of evidence that names a field, as far as its file can be read.
pub fn fill_lines(report: &mut Report, source: &dyn Source) {
    let mut files: BTreeMap<String, BTreeSet<Vec<Step>>> = BTreeMap::new();
    for evidence in report.findings.iter().flat_map(|finding| &finding.evidence) {
        if let (None, Some(path)) = (evidence.line, &evidence.path) {
            files.entry(evidence.file.clone()).or_default().insert(steps(path));
        }
    }
    if files.is_empty() {
        return;
    }
    let mut located: BTreeMap<String, Wanted> = BTreeMap::new();
    let mut total = 0;
    // What cannot be read was already said when the bundle was loaded; here it only means no line.
    let _ = source.walk(&mut |entry, reader| {
        if let Some(paths) = files.get(&entry.path)
            && entry.bytes <= FILE_LIMIT
            && total + entry.bytes <= TOTAL_LIMIT
        {
            total += entry.bytes;
            let mut text = Vec::new();
            if reader.take(FILE_LIMIT).read_to_end(&mut text).is_ok() {
                located.insert(entry.path.clone(), locate(&text, paths));
            }
        }
        if located.len() == files.len() { Visit::Stop } else { Visit::Next }
    });
    for evidence in report.findings.iter_mut().flat_map(|finding| &mut finding.evidence) {
        if let (None, Some(path)) = (evidence.line, &evidence.path)
            && let Some(wanted) = located.get(&evidence.file)
        {
            evidence.line = wanted.line(&steps(path));
        }
    }
}

fn locate(text: &[u8], paths: &BTreeSet<Vec<Step>>) -> Wanted {
    let mut wanted = Wanted::default();
    for path in paths {
        wanted.add(path);
    }
    match text.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{' | b'[') => json::locate(text, &mut wanted),
        Some(_) => yaml::locate(&String::from_utf8_lossy(text), &mut wanted),
        None => {}
    }
    wanted
}

/// Reads a field path: `items[3].spec.hostnames[0]`, `metadata.annotations['a.b/c']`, or a JSON
/// pointer (`/spec/hostnames/0`).
fn steps(path: &str) -> Vec<Step> {
    let key_or_index = |text: &str| match text.parse() {
        Ok(index) if !text.starts_with('+') => Step::Index(index),
        _ => Step::Key(text.to_owned()),
    };
    if let Some(pointer) = path.strip_prefix('/') {
        return pointer
            .split('/')
            .map(|token| key_or_index(&token.replace("~1", "/").replace("~0", "~")))
            .collect();
    }
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("['") {
            let Some(end) = quoted.find("']") else { break };
            steps.push(Step::Key(quoted[..end].to_owned()));
            rest = &quoted[end + 2..];
        } else if let Some(index) = rest.strip_prefix('[') {
            let Some(end) = index.find(']') else { break };
            steps.push(key_or_index(&index[..end]));
            rest = &index[end + 1..];
        } else {
            let key = rest.trim_start_matches('.');
            let end = key.find(['.', '[']).unwrap_or(key.len());
            if end == 0 {
                break;
            }
            steps.push(Step::Key(key[..end].to_owned()));
            rest = &key[end..];
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn line(text: &str, path: &str) -> Option<u64> {
        let steps = steps(path);
        locate(text.as_bytes(), &BTreeSet::from([steps.clone()])).line(&steps)
    }

    #[test]
    fn fields_of_an_object_are_found() {
        let text = "# a comment\napiVersion: v1\nkind: Service\nmetadata:\n  annotations:\n    a.b/c: x\n  \
                    labels: {app: web,\n    tier: front}\nspec:\n  ports:\n  - name: http\n    port: 80\n  - port: 81\n";
        for (path, expected) in [
            ("kind", Some(3)),
            ("metadata.annotations['a.b/c']", Some(6)),
            ("metadata.labels.tier", Some(8)),
            ("spec.ports[0].port", Some(12)),
            ("spec.ports[1]", Some(13)),
            ("spec.ports[1].port", Some(13)),
            ("/spec/ports/0/name", Some(11)),
            // What is absent is located at its parent.
            ("spec.ports[1].name", Some(13)),
            ("spec.selector.app", Some(9)),
            ("status", Some(2)),
        ] {
            assert_eq!(line(text, path), expected, "{path}");
        }
    }

    #[test]
    fn items_of_lists_and_documents_are_found() {
        let list = "apiVersion: v1\nitems:\n- kind: A\n  spec:\n    x: 1\n- kind: B\n  spec:\n    x: 2\n";
        assert_eq!(line(list, "items[1].spec.x"), Some(8));
        let documents = "kind: A\nspec: {x: 1}\n---\nkind: B\nspec:\n  x: 2\n";
        assert_eq!(line(documents, "spec.x"), Some(2));
        assert_eq!(line(documents, "items[1].spec.x"), Some(6));
    }

    #[test]
    fn json_is_found_too() {
        let text = "{\n  \"configs\": [\n    {\"a\": \"}]\\\"{\"},\n    {\n      \"b\": {\n        \"c\\u0041\": [1,\n 2]}}\n  ]\n}\n";
        for (path, expected) in [
            ("configs[0].a", Some(3)),
            ("configs[1].b", Some(5)),
            ("configs[1].b.cA[0]", Some(6)),
            ("configs[1].b.cA[1]", Some(7)),
            ("configs[1].z", Some(4)),
        ] {
            assert_eq!(line(text, path), expected, "{path}");
        }
    }

    #[test]
    fn broken_files_give_what_stands_before_the_break() {
        assert_eq!(line("kind: A\nspec:\n  x: 1\n bad\n\t: [", "spec.x"), Some(3));
        assert_eq!(line("{\"a\": {\n\"b\": 1", "a.b"), Some(2));
        assert_eq!(line("{\"a", "a.b"), Some(1));
        assert_eq!(line("", "a"), None);
        let deep = "[".repeat(100_000);
        assert_eq!(line(&deep, "[0][0]"), Some(1));
        assert_eq!(line(&format!("a: {deep}"), "a"), Some(1));
    }

    #[test]
    fn paths_are_read_as_they_are_written() {
        let key = |text: &str| Step::Key(text.to_owned());
        assert_eq!(
            steps("items[3].a['b.c/d'].e"),
            [key("items"), Step::Index(3), key("a"), key("b.c/d"), key("e")]
        );
        assert_eq!(steps("/a~1b/0"), [key("a/b"), Step::Index(0)]);
        assert_eq!(steps("a[unfinished"), [key("a")]);
    }

    /// Objects of the shapes that a bundle holds, with texts that the emitter must quote.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{1,12}".prop_map(Value::from),
            "(yes|12:30|- x|a: b|#c|'q|\"d|~|1e3)".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,6}([./-][a-z]{1,4})?", inner, 1..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Every scalar with its JSON pointer.
    fn scalars(value: &Value, pointer: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    scalars(
                        value,
                        &format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
                        found,
                    );
                }
            }
            Value::Array(items) => {
                for (at, value) in items.iter().enumerate() {
                    scalars(value, &format!("{pointer}/{at}"), found);
                }
            }
            Value::String(text) => found.push((pointer.to_owned(), text.clone())),
            other => found.push((pointer.to_owned(), other.to_string())),
        }
    }

    proptest! {
        #[test]
        fn the_line_of_a_field_holds_its_value(value in value().prop_filter("a field", Value::is_object)) {
            let mut found = Vec::new();
            scalars(&value, "", &mut found);
            let mut yaml = String::new();
            super::super::yaml::emit(&value, 0, &mut yaml);
            let json = serde_json::to_string_pretty(&value).expect("JSON");
            for text in [yaml, json] {
                let lines: Vec<&str> = text.lines().collect();
                for (pointer, scalar) in &found {
                    let at = line(&text, pointer).expect("a line");
                    let there = lines[usize::try_from(at).expect("small") - 1].replace("''", "'").replace("\\\"", "\"");
                    prop_assert!(there.contains(scalar.as_str()), "{pointer} is not in line {at}: {there}\n{text}");
                }
            }
        }
    }
}
