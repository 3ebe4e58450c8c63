//! Label and field selectors, with the grammar and the words of the API server.

use super::status::Status;
use crate::model::Object;
use crate::model::json::Value;

/// A requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    /// Also holds where the label is missing.
    NotIn(String, Vec<String>),
    Greater(String, i64),
    Less(String, i64),
}

/// A label selector; the empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
    Open,
    Close,
    Comma,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, length) = match first {
            '!' if rest.starts_with("!=") => (Token::NotEqual, 2),
            '=' if rest.starts_with("==") => (Token::Equal, 2),
            '!' => (Token::Not, 1),
            '=' => (Token::Equal, 1),
            '>' => (Token::Greater, 1),
            '<' => (Token::Less, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            _ => {
                let end =
                    rest.find(|c: char| c.is_whitespace() || "!=<>(),".contains(c)).unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), end)
            }
        };
        if let Token::Word(word) = &token
            && !word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        {
            return Err(format!("invalid name or value: {word:?}"));
        }
        tokens.push(token);
        rest = &rest[length..];
    }
}

impl Labels {
    /// Parses `a=b,c in (d,e),!f,g!=h`.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        Self::requirements(text)
            .map(Self)
            .map_err(|why| Status::bad_request(format!("unable to parse requirement: {why}")))
    }

    fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
        let tokens = tokens(text)?;
        let mut tokens = tokens.into_iter().peekable();
        let mut requirements = Vec::new();
        if tokens.peek().is_none() {
            return Ok(requirements);
        }
        loop {
            requirements.push(Self::requirement(&mut tokens)?);
            match tokens.next() {
                None => return Ok(requirements),
                Some(Token::Comma) => {}
                Some(other) => return Err(format!("found {other:?}, expected: ',' or end of text")),
            }
        }
    }

    fn requirement(
        tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>,
    ) -> Result<Requirement, String> {
        let negated = tokens.next_if_eq(&Token::Not).is_some();
        let key = match tokens.next() {
            Some(Token::Word(key)) => key,
            other => return Err(format!("found {other:?}, expected: a label's name")),
        };
        if negated {
            return Ok(Requirement::Missing(key));
        }
        let value = |tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>| {
            // `a=` selects the empty value.
            tokens.next_if(|t| matches!(t, Token::Word(_))).map_or(String::new(), |t| match t {
                Token::Word(word) => word,
                _ => String::new(),
            })
        };
        match tokens.peek() {
            None | Some(Token::Comma) => return Ok(Requirement::Exists(key)),
            _ => {}
        }
        let number = |text: String| {
            text.parse::<i64>()
                .map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer, not {text:?}"))
        };
        match tokens.next() {
            Some(Token::Equal) => Ok(Requirement::In(key, vec![value(tokens)])),
            Some(Token::NotEqual) => Ok(Requirement::NotIn(key, vec![value(tokens)])),
            Some(Token::Greater) => Ok(Requirement::Greater(key, number(value(tokens))?)),
            Some(Token::Less) => Ok(Requirement::Less(key, number(value(tokens))?)),
            Some(Token::Word(word)) if word == "in" || word == "notin" => {
                let values = Self::values(tokens)?;
                Ok(if word == "in" { Requirement::In(key, values) } else { Requirement::NotIn(key, values) })
            }
            other => Err(format!("found {other:?}, expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn values(tokens: &mut std::iter::Peekable<std::vec::IntoIter<Token>>) -> Result<Vec<String>, String> {
        if tokens.next() != Some(Token::Open) {
            return Err("expected: '('".to_owned());
        }
        let mut values = vec![String::new()];
        loop {
            match tokens.next() {
                Some(Token::Word(word)) => match values.last_mut() {
                    Some(last) if last.is_empty() => *last = word,
                    _ => return Err(format!("found {word:?}, expected: ',' or ')'")),
                },
                Some(Token::Comma) => values.push(String::new()),
                Some(Token::Close) => return Ok(values),
                other => return Err(format!("found {other:?}, expected: ',' or ')'")),
            }
        }
    }

    /// Whether nothing is required.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object's labels satisfy all requirements.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        let number = |key: &str| object.label(key).and_then(|value| value.parse::<i64>().ok());
        self.0.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => object.label(key).is_some(),
            Requirement::Missing(key) => object.label(key).is_none(),
            Requirement::In(key, values) => object.label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => {
                !object.label(key).is_some_and(|v| values.iter().any(|w| w == v))
            }
            Requirement::Greater(key, than) => number(key).is_some_and(|n| n > *than),
            Requirement::Less(key, than) => number(key).is_some_and(|n| n < *than),
        })
    }
}

/// A field selector; the empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

/// The fields that API servers select by, besides `metadata.name` and `metadata.namespace`.
fn selectable(group: &str, kind: &str) -> &'static [&'static str] {
    match (group, kind) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("", "ReplicationController") | ("apps", "ReplicaSet") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        _ => &[],
    }
}

impl Fields {
    /// Parses `a=b,c!=d`; `\` escapes `\`, `,` and `=` in values.
    pub(crate) fn parse(text: &str, group: &str, kind: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for term in split_escaped(text) {
            if term.is_empty() {
                continue;
            }
            let parsed = [("!=", false), ("==", true), ("=", true)]
                .into_iter()
                .filter_map(|(operator, equal)| term.find(operator).map(|at| (at, operator, equal)))
                .min_by_key(|(at, operator, _)| (*at, usize::MAX - operator.len()));
            let Some((at, operator, equal)) = parsed else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                )));
            };
            let (field, value) = (&term[..at], unescape(&term[at + operator.len()..]));
            let known = ["metadata.name", "metadata.namespace"].contains(&field)
                || selectable(group, kind).contains(&field);
            if !known {
                return Err(Status::bad_request(format!("field label not supported: {field}")));
            }
            terms.push(Term { field: field.to_owned(), equal, value });
        }
        Ok(Self(terms))
    }

    /// Whether nothing is required.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object satisfies all terms.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|term| {
            let value = match term.field.as_str() {
                "reportingComponent" => text(object, "/reportingComponent"),
                // An event's source is its component; newer events only have the reporter.
                "source" => match text(object, "/source/component") {
                    empty if empty.is_empty() => text(object, "/reportingComponent"),
                    component => component,
                },
                "status.successful" => text(object, "/status/succeeded"),
                "spec.unschedulable" | "spec.hostNetwork" => {
                    let value = text(object, &pointer(&term.field));
                    if value.is_empty() { "false".to_owned() } else { value }
                }
                field => text(object, &pointer(field)),
            };
            (value == term.value) == term.equal
        })
    }
}

fn pointer(field: &str) -> String {
    format!("/{}", field.replace('.', "/"))
}

fn text(object: &Object, pointer: &str) -> String {
    match object.get(pointer) {
        Some(Value::String(text)) => text.to_string(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn split_escaped(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        if c == ',' && !escaped {
            terms.push(&text[start..at]);
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    terms.push(&text[start..]);
    terms
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;
    use proptest::prelude::*;

    fn pod() -> Object {
        let value = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n", "labels": {"app": "web", "tier": "", "n": "5", "x.io/a": "b"}},
            "spec": {"nodeName": "node-1"}, "status": {"phase": "Running"}});
        Object::new(value, "f".into(), None).expect("an object")
    }

    #[test]
    fn label_selectors() {
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier=", true),
            ("app!=web", false),
            ("none!=web", true),
            ("app", true),
            ("!app", false),
            ("!none", true),
            ("x.io/a in (b, c)", true),
            ("app in (api)", false),
            ("app notin (api,db)", true),
            ("none notin (a)", true),
            ("none in (a)", false),
            ("tier in (,x)", true),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app=web,none", false),
        ] {
            assert_eq!(Labels::parse(selector).expect(selector).matches(&pod()), expected, "{selector}");
        }
        for broken in ["app in", "app in (a", "=b", "a b", "a=b=c", "a in (b c)", ",", "n>x", "a=ü", "!a=b"]
        {
            assert!(Labels::parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn field_selectors() {
        for (selector, expected) in [
            ("", true),
            ("metadata.name=p", true),
            ("metadata.name==p,metadata.namespace!=m", true),
            ("status.phase!=Running", false),
            ("spec.nodeName=node-1,status.phase=Running", true),
            ("spec.hostNetwork=false", true),
            (r"metadata.name=p\,q", false),
        ] {
            let fields = Fields::parse(selector, "", "Pod").expect(selector);
            assert_eq!(fields.matches(&pod()), expected, "{selector}");
        }
        for broken in ["spec.unknown=x", "metadata.name", "reason=x"] {
            assert!(Fields::parse(broken, "", "Pod").is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,40}") {
            let _ = Labels::parse(&text).map(|labels| labels.matches(&pod()));
            let _ = Fields::parse(&text, "", "Pod").map(|fields| fields.matches(&pod()));
        }

        #[test]
        fn grammar_shaped_text_makes_no_panic(text in "([a-c]|[!=<>(), ]|in |notin ){0,20}") {
            let _ = Labels::parse(&text).map(|labels| labels.matches(&pod()));
            let _ = Fields::parse(&text, "", "Pod").map(|fields| fields.matches(&pod()));
        }
    }
}
