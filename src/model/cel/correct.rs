//! Corrections of the mistakes in CEL expressions that have one right answer.
//!
//! A correction is only given when the checker has nothing left to say about it.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{Environment, Evaluators, Problem, ProblemKind, check};

macro_rules! expression {
    ($name:ident, $pattern:literal) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).expect("bug: a constant expression is not valid"));
    };
}

expression!(AND, r"\band\b");
expression!(OR, r"\bor\b");
expression!(NOT, r"\bnot\s*\(");
expression!(EQUALS, r"\s=\s");
expression!(TWO_DOTS, r"(\w)\.\.(\w)");
expression!(WORD, r"[A-Za-z_]\w*");
expression!(DASHED, r"\bheaders\.([A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)+)");
expression!(HEADER, r#"\bheaders\[(?:'([^'"\\]*)'|"([^'"\\]*)")\]"#);
// A whole path, so that nothing before it belongs to what is compared.
expression!(
    COMPARED_HAS,
    r#"(^|[(\s&|])has\(([A-Za-z_][\w.]*)\)\s*(==|!=)\s*('[^'\\]*'|"[^"\\]*"|-?\d+(?:\.\d+)?)"#
);
// `^(?!text)`: what does not begin with the text. Only a plain text has this one meaning.
expression!(
    NOT_BEFORE,
    r#"(^|[(\s&|])([A-Za-z_][\w.]*(?:\['[^'\\]*'\])?)\.matches\((?:'\^\(\?!([\w/-]+)\)(?:\.\*\$?)?'|"\^\(\?!([\w/-]+)\)(?:\.\*\$?)?")\)"#
);

/// The expression as it was meant, where that can be told from these problems: `and` for `&&`, a name that comes
/// close to one that there is, a header's name behind a dot or in capitals, a value compared with `has()`, a
/// look-ahead that RE2 lacks. `None` when nothing
/// is known to help, or something else stays wrong.
#[must_use]
pub fn corrected(
    source: &str,
    found: &[Problem],
    environment: Environment,
    evaluators: &Evaluators<'_>,
) -> Option<String> {
    let has = |kind: ProblemKind| found.iter().any(|p| p.kind == kind);
    if has(ProblemKind::TooComplex) || source.contains("//") || source.contains("'''") {
        return None;
    }
    let mut text = source.to_owned();
    // `not (…)` parses, as a call of a function that there is not.
    if has(ProblemKind::Syntax) || has(ProblemKind::UnknownFunction) {
        text = outside_strings(&text, |part| {
            let part = AND.replace_all(part, "&&");
            let part = OR.replace_all(&part, "||");
            let part = NOT.replace_all(&part, "!(");
            let part = EQUALS.replace_all(&part, " == ");
            let part = TWO_DOTS.replace_all(&part, "$1.$2");
            part.replace("!==", "!=").replace("===", "==")
        });
    }
    for (wrong, right) in found.iter().filter_map(|problem| problem.meant.as_ref()) {
        text = outside_strings(&text, |part| {
            let word = |found: &Captures<'_>| {
                if &found[0] == wrong { (*right).to_owned() } else { found[0].to_owned() }
            };
            WORD.replace_all(part, word).into_owned()
        });
    }
    text = outside_strings(&text, |part| {
        let lower = |found: &Captures<'_>| format!("headers['{}']", found[1].to_ascii_lowercase());
        DASHED.replace_all(part, lower).into_owned()
    });
    let either = |found: &Captures<'_>, one: usize, other: usize| {
        found.get(one).or_else(|| found.get(other)).map(|m| m.as_str().to_owned()).unwrap_or_default()
    };
    text = HEADER
        .replace_all(&text, |found: &Captures<'_>| {
            let name = either(found, 1, 2);
            let lower = name.to_ascii_lowercase();
            if lower == name { found[0].to_owned() } else { format!("headers['{lower}']") }
        })
        .into_owned();
    if has(ProblemKind::HasMisuse) {
        text = COMPARED_HAS.replace_all(&text, "$1(has($2) && $2 $3 $4)").into_owned();
    }
    if has(ProblemKind::InvalidRegex) {
        text = NOT_BEFORE
            .replace_all(&text, |found: &Captures<'_>| {
                format!("{}!{}.matches('^{}')", &found[1], &found[2], either(found, 3, 4))
            })
            .into_owned();
    }
    // Whether it must be true or false is decided by where it stands.
    let fine = |p: &Problem| p.kind == ProblemKind::NotBoolean;
    (text != source && check(&text, environment, evaluators).iter().all(fine)).then_some(text)
}

/// Applies a change to what stands outside string literals.
fn outside_strings(source: &str, change: impl Fn(&str) -> String) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find(['\'', '"']) {
        let quote = rest.as_bytes()[start];
        let raw = rest[..start].ends_with(['r', 'R']);
        result.push_str(&change(&rest[..start]));
        let mut end = start + 1;
        let bytes = rest.as_bytes();
        while end < bytes.len() && bytes[end] != quote {
            end += if bytes[end] == b'\\' && !raw { 2 } else { 1 };
        }
        // A literal without end, or one that ends within a letter, is left as it is.
        let end = (end + 1).min(rest.len());
        let end = (end..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        result.push_str(&rest[start..end]);
        rest = &rest[end..];
    }
    result.push_str(&change(rest));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_one_right_answer_is_corrected_and_nothing_else_is() {
        let cases = [
            ("a.x and b", None),
            (
                "request.method == 'and' and request.path == '/or'",
                Some("request.method == 'and' && request.path == '/or'"),
            ),
            ("not (request.path == '/a')", Some("!(request.path == '/a')")),
            // `!` binds closer than `in`: what was meant cannot be told.
            ("not request.path in ['/a']", None),
            ("request.method = 'GET'", Some("request.method == 'GET'")),
            ("request.headers.x-mcp-method == 'a-b'", Some("request.headers['x-mcp-method'] == 'a-b'")),
            ("request.headers[\"X-Mcp\"] == 'X-Mcp'", Some("request.headers['x-mcp'] == 'X-Mcp'")),
            ("has(auth.identity.sub) == 'a'", Some("(has(auth.identity.sub) && auth.identity.sub == 'a')")),
            ("!has(auth.identity.sub) == 'a'", None),
            ("request.path.matches('^(?!/admin)')", Some("!request.path.matches('^/admin')")),
            ("request.path.matches('^(?!/a|/b)')", None),
            ("request.path == '/é", None),
            ("request.path == \"\\", None),
            ("request.path == '/fine'", None),
            ("requests.path == '/requests'", Some("request.path == '/requests'")),
            (
                "request.pth == '/a' && auth.identity.sub != ''",
                Some("request.path == '/a' && auth.identity.sub != ''"),
            ),
            ("auth.identity..sub != 'a..b'", Some("auth.identity.sub != 'a..b'")),
            ("x.requests == '/a'", None),
            ("'tool:' + request.headers.x-mcp-toolname", Some("'tool:' + request.headers['x-mcp-toolname']")),
            ("no_such_name && request.headers['X-A'] == '1'", None),
        ];
        for (source, expected) in cases {
            let evaluators = Evaluators::default();
            let found = check(source, Environment::Authorino, &evaluators);
            let result = corrected(source, &found, Environment::Authorino, &evaluators);
            assert_eq!(result.as_deref(), expected, "{source}");
        }
    }
}
