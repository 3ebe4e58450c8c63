//! Rules of the user (`--redact-rules FILE`), added to ours; none of ours can be switched off.
//!
//! ```yaml
//! patterns:                 # regular expressions, searched for in every text
//! - name: ticket
//!   regex: 'TICKET-[0-9]+'  # the whole match goes, or the group named here:
//!   group: 0
//! fields:                   # fields of objects, by kind ("*" for any)
//! - kind: ConfigMap
//!   path: data.license
//! - kind: "*"
//!   path: spec.template.spec.containers[*].env[*].value
//! keys: [licenseKey]        # whatever stands behind these names, in objects and in text
//! drop: ['**/audit/**']     # files that are left out
//! literals: [ACME Corp]     # exact strings
//! ```

use aho_corasick::{AhoCorasick, MatchKind};
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::placeholder::{Kind, Style};
use super::text::Found;

/// Why a rule file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct RulesError {
    /// The line in the file, from 1.
    pub line: usize,
    /// What is wrong there.
    pub why: String,
}

/// The rules of the user, ready to use.
#[derive(Debug, Clone, Default)]
pub struct UserRules {
    patterns: Vec<Pattern>,
    fields: Vec<Field>,
    keys: Vec<String>,
    drop: Vec<Regex>,
    literals: Option<AhoCorasick>,
}

#[derive(Debug, Clone)]
struct Pattern {
    name: &'static str,
    regex: Regex,
    group: usize,
}

#[derive(Debug, Clone)]
struct Field {
    kind: String,
    path: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Any,
    Index(usize),
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "patterns, fields, keys, drop or literals, each with a list"
)]
#[derive(Default)]
struct File {
    patterns: Vec<PatternEntry>,
    fields: Vec<FieldEntry>,
    keys: Vec<String>,
    drop: Vec<String>,
    literals: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternEntry {
    name: String,
    regex: String,
    #[serde(default)]
    group: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldEntry {
    kind: String,
    path: String,
}

/// The largest compiled expression, in bytes.
const REGEX_SIZE: usize = 4 << 20;

impl UserRules {
    /// Reads a rule file.
    ///
    /// # Errors
    /// The first thing that is wrong with it, and its line.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let file: File = if text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            File::default()
        } else {
            serde_yaml::from_str(text).map_err(|error| RulesError {
                line: error.location().map_or(1, |at| at.line()),
                why: without_place(&error.to_string()),
            })?
        };
        let fail = |section: &str, needle: &str, why: String| RulesError {
            line: line_of(text, section, needle),
            why,
        };
        let mut rules = Self::default();
        for entry in &file.patterns {
            let valid = !entry.name.is_empty()
                && entry.name.len() <= 40
                && entry.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !valid {
                return Err(fail(
                    "patterns",
                    &entry.name,
                    format!("the name '{}' must be lower-case letters, digits and -", entry.name),
                ));
            }
            let regex = compile(&entry.regex)
                .map_err(|why| fail("patterns", &entry.regex, format!("pattern {}: {why}", entry.name)))?;
            if regex.is_match(b"") {
                return Err(fail(
                    "patterns",
                    &entry.regex,
                    format!("pattern {}: matches the empty text, so it would match everywhere", entry.name),
                ));
            }
            if entry.group >= regex.captures_len() {
                return Err(fail(
                    "patterns",
                    &entry.regex,
                    format!("pattern {}: has no group {}", entry.name, entry.group),
                ));
            }
            // Names of rules live as long as the program; there are as many as the file has.
            let name: &'static str = Box::leak(format!("user:{}", entry.name).into_boxed_str());
            rules.patterns.push(Pattern { name, regex, group: entry.group });
        }
        for entry in &file.fields {
            let path = steps(&entry.path).ok_or_else(|| {
                fail(
                    "fields",
                    &entry.path,
                    format!("the path '{}' must read like spec.containers[*].env[0].value", entry.path),
                )
            })?;
            rules.fields.push(Field { kind: entry.kind.clone(), path });
        }
        for key in &file.keys {
            if key.trim().len() < 2 {
                return Err(fail("keys", key, format!("the key '{key}' is too short")));
            }
            rules.keys.push(key.to_ascii_lowercase());
            let text = format!(
                r#"(?i)(?:^|[^A-Za-z0-9_]){}\\{{0,7}}["']?\s*[:=]\s*\\{{0,7}}["']?([^\s"'\\,;&}}\])]+)"#,
                regex::escape(key)
            );
            let regex = compile(&text).map_err(|why| fail("keys", key, why))?;
            rules.patterns.push(Pattern { name: "user:keys", regex, group: 1 });
        }
        for glob in &file.drop {
            rules.drop.push(
                compile(&glob_expression(glob))
                    .map_err(|why| fail("drop", glob, format!("file glob '{glob}': {why}")))?,
            );
        }
        if let Some(short) = file.literals.iter().find(|literal| literal.trim().len() < 3) {
            return Err(fail(
                "literals",
                short,
                format!("the literal '{short}' is too short: it would match everywhere"),
            ));
        }
        if !file.literals.is_empty() {
            let automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .ascii_case_insensitive(true)
                .build(&file.literals)
                .map_err(|error| fail("literals", "literals", error.to_string()))?;
            rules.literals = Some(automaton);
        }
        Ok(rules)
    }

    /// Whether a file is left out.
    #[must_use]
    pub fn drops(&self, path: &str) -> bool {
        self.drop.iter().any(|glob| glob.is_match(path.as_bytes()))
    }

    /// Whether a key of a map is named.
    pub(super) fn names(&self, key: &str) -> bool {
        !self.keys.is_empty() && self.keys.iter().any(|name| name.eq_ignore_ascii_case(key))
    }

    /// Finds what the patterns and literals match.
    pub(super) fn scan(&self, text: &[u8], found: &mut Vec<Found>) {
        let mut push = |context: usize, start: usize, end: usize, rule: &'static str| {
            if start < end && super::placeholder::covering(text, start, end).is_none() {
                let (kind, style) = (Kind::Custom, Style::Plain);
                found.push(Found { context, start, end, is_open: false, kind, style, rule });
            }
        };
        for pattern in &self.patterns {
            if pattern.group == 0 {
                for hit in pattern.regex.find_iter(text) {
                    push(hit.start(), hit.start(), hit.end(), pattern.name);
                }
            } else {
                for captures in pattern.regex.captures_iter(text) {
                    let context = captures.get(0).map_or(0, |whole| whole.start());
                    if let Some(group) = captures.get(pattern.group) {
                        push(context, group.start(), group.end(), pattern.name);
                    }
                }
            }
        }
        if let Some(literals) = &self.literals {
            for hit in literals.find_iter(text) {
                push(hit.start(), hit.start(), hit.end(), "user:literals");
            }
        }
    }

    /// Calls `each` for every value that a field rule names in an object.
    pub(super) fn fields(&self, object: &mut Value, each: &mut dyn FnMut(&mut Value)) {
        if self.fields.is_empty() {
            return;
        }
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        for field in
            self.fields.iter().filter(|field| field.kind == "*" || field.kind.eq_ignore_ascii_case(&kind))
        {
            follow(object, &field.path, each);
        }
    }
}

fn follow(value: &mut Value, path: &[Step], each: &mut dyn FnMut(&mut Value)) {
    let Some((first, rest)) = path.split_first() else {
        each(value);
        return;
    };
    match (first, value) {
        (Step::Key(key), Value::Object(map)) => {
            if let Some(inner) = map.get_mut(key) {
                follow(inner, rest, each);
            }
        }
        (Step::Any, Value::Object(map)) => map.values_mut().for_each(|inner| follow(inner, rest, each)),
        (Step::Any, Value::Array(items)) => items.iter_mut().for_each(|inner| follow(inner, rest, each)),
        (Step::Index(index), Value::Array(items)) => {
            if let Some(inner) = items.get_mut(*index) {
                follow(inner, rest, each);
            }
        }
        _ => {}
    }
}

/// `spec.containers[*].env[0].value`, `metadata.annotations['a.b/c']`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path.trim();
    rest = rest.strip_prefix('.').unwrap_or(rest);
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (inside, after) = inner.split_once(']')?;
            steps.push(match inside.trim_matches(['\'', '"']) {
                "*" => Step::Any,
                name if name != inside => Step::Key(name.to_owned()),
                index => Step::Index(index.parse().ok()?),
            });
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let name = &rest[..end];
            if name.is_empty() {
                return None;
            }
            steps.push(if name == "*" { Step::Any } else { Step::Key(name.to_owned()) });
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            if after.is_empty() {
                return None;
            }
            rest = after;
        }
    }
    (!steps.is_empty()).then_some(steps)
}

/// `**` any folders, `*` anything within a name, `?` one character. A glob without a slash is matched against the
/// name of the file alone.
fn glob_expression(glob: &str) -> String {
    let mut out = String::from(if glob.contains('/') { "^" } else { "(?:^|/)" });
    let mut rest = glob.strip_prefix('/').unwrap_or(glob);
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            out.push_str("(?:.*/)?");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("**") {
            out.push_str(".*");
            rest = after;
        } else {
            match c {
                '*' => out.push_str("[^/]*"),
                '?' => out.push_str("[^/]"),
                c => out.push_str(&regex::escape(&c.to_string())),
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    out.push('$');
    out
}

fn compile(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression).size_limit(REGEX_SIZE).build().map_err(|error| match error {
        regex::Error::Syntax(text) => {
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            last.trim().trim_start_matches("error: ").to_owned()
        }
        regex::Error::CompiledTooBig(limit) => format!("is larger than {} MiB when compiled", limit >> 20),
        other => other.to_string(),
    })
}

fn without_place(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

/// The line on which something stands in a section of the file, from 1.
fn line_of(text: &str, section: &str, needle: &str) -> usize {
    let from = text.lines().position(|line| line.trim_start().starts_with(section)).unwrap_or(0);
    text.lines().skip(from).position(|line| line.contains(needle)).map_or(from, |n| from + n) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, line, why) in [
            ("patterns:\n- name: x\n  regex: '('\n", 3, "unclosed group"),
            ("patterns:\n- name: x\n  regex: 'a*'\n", 3, "matches the empty text"),
            ("patterns:\n- name: X y\n  regex: 'ab'\n", 2, "lower-case"),
            ("keys: [a]\n", 1, "too short"),
            ("\nliterals: [ab]\n", 2, "too short"),
            ("fields:\n- kind: Pod\n  path: 'spec..x'\n", 3, "must read like"),
            ("patern: []\n", 1, "unknown field"),
            ("patterns:\n- name: x\n  regex: 'xx'\nkeys: [x]\n", 4, "too short"),
            ("- keys\n", 1, "expected patterns, fields"),
            ("patterns:\n- name: x\n  regex: 'a(b)'\n  group: 2\n", 3, "no group 2"),
        ] {
            let error = UserRules::parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.why.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn globs_match_paths() {
        let rules =
            UserRules::parse("drop: ['**/audit/**', '*.core', 'namespaces/a*/core/*.yaml']").expect("rules");
        for path in ["x/audit/y/z.log", "audit/z.log", "a/b/c.core", "namespaces/ab/core/pods.yaml"] {
            assert!(rules.drops(path), "{path}");
        }
        for path in
            ["x/auditing/z.log", "c.core.txt", "namespaces/b/core/pods.yaml", "namespaces/a/core/x/pods.yaml"]
        {
            assert!(!rules.drops(path), "{path}");
        }
    }
}
