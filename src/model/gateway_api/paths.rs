//! Which requests the rules of a route take, by their paths.

use crate::model::Object;
use crate::model::json::Value;

/// The path of one match of a rule, defaults applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathMatch<'a> {
    /// `Exact`, `PathPrefix` or `RegularExpression`.
    pub kind: &'a str,
    /// The path, its beginning, or the expression.
    pub value: &'a str,
}

impl PathMatch<'_> {
    /// Whether it takes a path. An expression that nobody can read may take all.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        match self.kind {
            "Exact" => self.value == path,
            "RegularExpression" => {
                regex::Regex::new(&format!("^(?:{})$", self.value)).map_or(true, |e| e.is_match(path))
            }
            _ => {
                let prefix = self.value.trim_end_matches('/');
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

/// The path of one match; without one it is the prefix `/`.
#[must_use]
pub fn path_match(value: &Value) -> PathMatch<'_> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    PathMatch { kind: text("/path/type").unwrap_or("PathPrefix"), value: text("/path/value").unwrap_or("/") }
}

/// The matches of a rule; a rule without any has one that takes everything.
#[must_use]
pub fn matches(rule: &Value) -> &[Value] {
    static ALL: [Value; 1] = [Value::Null];
    match rule.get("matches").and_then(Value::as_array) {
        Some(matches) if !matches.is_empty() => matches,
        _ => &ALL,
    }
}

/// The paths that a rule matches.
#[must_use]
pub fn paths(rule: &Value) -> Vec<PathMatch<'_>> {
    matches(rule).iter().map(path_match).collect()
}

/// Whether a rule of a route takes a request of this method for the path. What headers and parameters it wants besides
/// is left out: a request may have them.
#[must_use]
pub fn takes(route: &Object, method: &str, path: &str) -> bool {
    let wanted = |m: &Value| m.get("method").and_then(Value::as_str).is_none_or(|m| m == method);
    let rules = route.array("/spec/rules").iter();
    rules.flat_map(matches).any(|m| wanted(m) && path_match(m).takes(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_by_whole_elements() {
        for (kind, value, path, expected) in [
            ("PathPrefix", "/mcp", "/mcp", true),
            ("PathPrefix", "/mcp", "/mcp/stateful", true),
            ("PathPrefix", "/mcp", "/mcps", false),
            ("PathPrefix", "/mcp/", "/mcp", true),
            ("PathPrefix", "/", "/anything", true),
            ("Exact", "/mcp", "/mcp/", false),
            ("Exact", "/mcp", "/mcp", true),
            ("RegularExpression", "/v[0-9]+/mcp", "/v2/mcp", true),
            ("RegularExpression", "/v[0-9]+/mcp", "/v2/mcp/more", false),
            ("RegularExpression", "/(", "/mcp", true),
        ] {
            assert_eq!(PathMatch { kind, value }.takes(path), expected, "{kind} {value} {path}");
        }
    }
}
