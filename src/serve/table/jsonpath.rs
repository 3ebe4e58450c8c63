//! The JSONPath of printer columns, as far as client-go understands it: fields, indices, slices,
//! wildcards, unions, recursive descent and filters with one comparison.

use crate::model::json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Fields(Vec<String>),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Descend,
    Filter(JsonPath, Option<(Operator, Value)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How deep filters may stand in filters.
const DEPTH: usize = 8;

impl JsonPath {
    /// Parses a path, with or without braces; `None` when client-go would refuse it as well.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        Self::steps(text.strip_prefix(['$', '@']).unwrap_or(text), DEPTH)
    }

    fn steps(mut rest: &str, depth: usize) -> Option<Self> {
        let mut steps = Vec::new();
        while let Some(first) = rest.chars().next() {
            match first {
                '.' if rest.starts_with("..") => {
                    steps.push(Step::Descend);
                    rest = &rest[1..];
                    if rest[1..].starts_with('[') {
                        rest = &rest[1..];
                    }
                }
                '.' => {
                    let (name, length) = field(&rest[1..]);
                    if name == "*" {
                        steps.push(Step::All);
                    } else if !name.is_empty() {
                        steps.push(Step::Fields(vec![name]));
                    }
                    rest = &rest[1 + length..];
                }
                '[' => {
                    let end = closing(rest)?;
                    steps.push(bracket(rest[1..end].trim(), depth)?);
                    rest = &rest[end + 1..];
                }
                _ if steps.is_empty() => {
                    let (name, length) = field(rest);
                    steps.push(Step::Fields(vec![name]));
                    rest = &rest[length..];
                }
                _ => return None,
            }
        }
        Some(Self(steps))
    }

    /// All values that the path leads to; what is missing is left out.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }
}

/// Reads a field's name up to the next `.` or `[`; `\` takes the next character as it is.
fn field(text: &str) -> (String, usize) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, at),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, text.len())
}

/// The position of the bracket that closes the first one, past quotes and inner brackets.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
    }
    None
}

fn unquote(text: &str) -> Option<&str> {
    let text = text.trim();
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"'))
}

fn bracket(text: &str, depth: usize) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return self::filter(filter.trim(), depth.checked_sub(1)?);
    }
    if text.starts_with(['\'', '"']) {
        let names: Option<Vec<String>> =
            text.split(',').map(|name| unquote(name).map(str::to_owned)).collect();
        return names.map(Step::Fields);
    }
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    };
    match text.split_once(':') {
        Some((from, to)) => Some(Step::Slice(number(from)?, number(to)?)),
        None => text.parse().ok().map(Step::Index),
    }
}

fn filter(text: &str, depth: usize) -> Option<Step> {
    let operators = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    let path = |text: &str| JsonPath::steps(text.trim().strip_prefix(['@', '$'])?, depth);
    let found = operators.iter().filter_map(|(sign, operator)| Some((text.find(sign)?, *sign, *operator)));
    // The first one counts, and of two that begin there the longer.
    let Some((at, sign, operator)) = found.min_by_key(|(at, sign, _)| (*at, 2 - sign.len())) else {
        return Some(Step::Filter(path(text)?, None));
    };
    let right = text[at + sign.len()..].trim();
    let literal = match unquote(right) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(right).ok()?,
    };
    Some(Step::Filter(path(&text[..at])?, Some((operator, literal))))
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let items = value.as_array().unwrap_or_default();
        match self {
            Self::Fields(names) => names.iter().filter_map(|name| value.get(name)).collect(),
            Self::Index(index) => {
                position(*index, items.len()).and_then(|i| items.get(i)).into_iter().collect()
            }
            Self::Slice(from, to) => {
                let bound = |bound: i64| {
                    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                    let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
                    usize::try_from(bound.clamp(0, length)).unwrap_or_default()
                };
                let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
                items.get(from..to.max(from)).unwrap_or_default().iter().collect()
            }
            Self::All => children(value),
            Self::Descend => {
                let (mut found, mut next) = (Vec::new(), vec![value]);
                while let Some(value) = next.pop() {
                    found.push(value);
                    next.extend(children(value).into_iter().rev());
                }
                found
            }
            Self::Filter(path, comparison) => {
                let holds = |item: &&Value| match (path.find(item).first(), comparison) {
                    (found, None) => found.is_some(),
                    (Some(found), Some((operator, literal))) => operator.holds(found, literal),
                    (None, Some(_)) => false,
                };
                items.iter().filter(holds).collect()
            }
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

impl Operator {
    fn holds(self, left: &Value, right: &Value) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = match (left, right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) => (a == b).then_some(Equal),
        };
        match self {
            Self::Equal => order == Some(Equal),
            Self::NotEqual => order != Some(Equal),
            Self::Less => order == Some(Less),
            Self::LessOrEqual => matches!(order, Some(Less | Equal)),
            Self::Greater => order == Some(Greater),
            Self::GreaterOrEqual => matches!(order, Some(Greater | Equal)),
        }
    }
}

/// A value as text: strings bare, everything else as JSON.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;
    use proptest::prelude::*;

    #[test]
    fn paths_of_printer_columns() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "l"}},
            "spec": {"hostnames": ["h1", "h2"], "n": 3},
            "status": {
                "addresses": [{"value": "10.0.0.1"}, {"value": "10.0.0.2"}],
                "conditions": [{"type": "Accepted", "status": "False"}, {"type": "Ready", "status": "True", "n": 2}],
            },
        });
        for (path, expected) in [
            (".spec.n", "3"),
            ("{.spec.n}", "3"),
            (".spec.hostnames", r#"["h1","h2"]"#),
            (".spec.hostnames[0]", "h1"),
            (".spec.hostnames[-1]", "h2"),
            (".spec.hostnames[0:1]", "h1"),
            (".spec.hostnames[*]", "h1 h2"),
            (".status.addresses[*].value", "10.0.0.1 10.0.0.2"),
            (".status.conditions[?(@.type=='Ready')].status", "True"),
            (r#".status.conditions[?(@.type == "Accepted")].status"#, "False"),
            (".status.conditions[?(@.type!='Ready')].type", "Accepted"),
            (".status.conditions[?(@.n>1)].type", "Ready"),
            (".status.conditions[?(@.n)].type", "Ready"),
            (r".metadata.labels.a\.b/c", "l"),
            (".metadata.labels['a.b/c']", "l"),
            ("..value", "10.0.0.1 10.0.0.2"),
            (".spec.missing.more", ""),
            (".spec.hostnames.length()", ""),
        ] {
            let parsed = JsonPath::parse(path).expect(path);
            let found: Vec<String> = parsed.find(&object).into_iter().map(text).collect();
            assert_eq!(found.join(" "), expected, "{path}");
        }
        for broken in [".a[", ".a[?(@.b==)]", ".a[x]", ".a]"] {
            let found = JsonPath::parse(broken);
            assert!(found.is_none() || found.is_some_and(|p| p.find(&object).is_empty()), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "[.@$a\\[\\]?()'\"=<>*:0-9\\\\ü-]{0,30}") {
            let value = json!({"a": [{"a": 1}, [2, 3], "x"]});
            let _ = JsonPath::parse(&path).map(|path| path.find(&value).len());
        }
    }
}
