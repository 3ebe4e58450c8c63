//! CEL expressions of policies: do they parse, and do the names in them exist?
//!
//! Parsed by the crate that Kuadrant's own data plane uses. There is no static type checker for Rust;
//! names, functions and fields are checked against what the two environments provide: Authorino's
//! (rules of an AuthPolicy) and the Kuadrant operator's (`when`, limits). Hostile expressions are
//! refused before they are parsed ([`MAX_LENGTH`], [`MAX_NESTING`]).

#[cfg(test)]
mod tests;

mod correct;
mod decide;
mod results;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::model::near;
use cel::Env;
use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo};

/// The longest expression that is parsed, in bytes.
pub const MAX_LENGTH: usize = 8 * 1024;
/// The deepest nesting of brackets, and the longest run of unary operators, that is parsed.
pub const MAX_NESTING: usize = 48;

/// Who compiles the expression, which decides what it may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Environment {
    /// `rules.*` of an AuthPolicy: Authorino.
    Authorino,
    /// `when` and limits: the Kuadrant operator and its filter in Envoy.
    Operator,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// It does not parse.
    Syntax,
    /// It is too long or too deep to be parsed here: nothing is known.
    TooComplex,
    /// A name that the environment does not have.
    UnknownName,
    /// A function that the environment does not have.
    UnknownFunction,
    /// A field that the root does not have.
    UnknownField,
    /// A header name with `-` after a dot, which reads as a subtraction.
    HeaderDash,
    /// A header name with capital letters: Envoy's are lower case.
    HeaderCase,
    /// A pattern of `matches` that is no regular expression (RE2).
    InvalidRegex,
    /// `has` asks whether a field is there; its result is compared with something else, or what it asks for is
    /// always there.
    HasMisuse,
    /// It names nothing of the request: the result is always the same.
    Constant,
    /// Its result is neither true nor false, which matters where it is a condition.
    NotBoolean,
    /// `auth.metadata.X` or `auth.authorization.X` without a rule of that name.
    UnknownEvaluator,
}

pub use correct::corrected;
pub use decide::{Asked, decide};

/// One problem, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub kind: ProblemKind,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, one line.
    pub message: String,
    /// The line of the expression with a caret under the place.
    pub excerpt: String,
    /// A name that is not defined, and the one that was most likely meant.
    pub meant: Option<(String, &'static str)>,
}

/// The names of the rules that an expression may refer to; `None` when they are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evaluators<'p> {
    /// The metadata rules.
    pub metadata: Option<BTreeSet<&'p str>>,
    /// The authorization rules.
    pub authorization: Option<BTreeSet<&'p str>>,
}

/// The standard library with optional syntax, as both environments have it.
static ENV: LazyLock<Env> = LazyLock::new(|| Env::stdlib().with_optional_support(true));

/// Names that CEL itself has.
const BUILT_IN: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "timestamp",
    "type",
    "uint",
    "dyn",
    "optional",
    "optional_type",
    "math",
    "strings",
    "google",
    "base64",
];

/// Functions of the standard library, the string extension and optional types.
const FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "duration",
    "timestamp",
    "type",
    "dyn",
    "has",
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "map",
    "filter",
    "transformList",
    "transformMap",
    "transformMapEntry",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "charAt",
    "indexOf",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "upperAscii",
    "replace",
    "split",
    "substring",
    "trim",
    "format",
    "quote",
    "reverse",
    "of",
    "ofNonZeroValue",
    "none",
    "hasValue",
    "value",
    "or",
    "orValue",
    "optMap",
    "optFlatMap",
    "unwrap",
    "unwrapOpt",
    "first",
    "last",
    "min",
    "max",
    "encode",
    "decode",
    "greatest",
    "least",
    "sort",
    "flatten",
    "distinct",
    "slice",
];

const OPERATOR_FUNCTIONS: &[&str] = &["requestBodyJSON", "responseBodyJSON", "queryMap"];

const REQUEST: &[&str] = &[
    "id",
    "time",
    "protocol",
    "scheme",
    "host",
    "method",
    "path",
    "url_path",
    "query",
    "headers",
    "referer",
    "user_agent",
    "useragent",
    "size",
    "body",
    "raw_body",
    "context_extensions",
    "grpc",
    "duration",
    "total_size",
];
const AUTH: &[&str] = &["identity", "metadata", "authorization", "response", "callbacks", "kuadrant"];

impl Environment {
    fn roots(self) -> &'static [&'static str] {
        match self {
            Self::Authorino => &["request", "auth", "source", "destination", "metadata", "context"],
            Self::Operator => &[
                "request",
                "response",
                "auth",
                "source",
                "destination",
                "connection",
                "ratelimit",
                "upstream",
                "metadata",
                "filter_state",
                "descriptors",
                "limit",
                "plugin_name",
                "plugin_root_id",
                "xds",
                "node",
            ],
        }
    }
}

/// Checks an expression.
#[must_use]
pub fn check(source: &str, environment: Environment, evaluators: &Evaluators<'_>) -> Vec<Problem> {
    if let Some(problem) = too_complex(source) {
        return vec![problem];
    }
    let (expression, info) = match ENV.parser().parse_with_source_info(source) {
        Ok(parsed) => parsed,
        Err(errors) => {
            return errors
                .errors
                .iter()
                .take(4)
                .map(|error| {
                    let line = usize::try_from(error.pos.0).unwrap_or(0).max(1);
                    let column = usize::try_from(error.pos.1).unwrap_or(0).max(1);
                    let hint = hint(source);
                    problem(source, ProblemKind::Syntax, line, column, format!("{}{hint}", error.msg))
                })
                .collect();
        }
    };
    let mut walk =
        Walk { source, environment, evaluators, info: &info, bound: Vec::new(), names: 0, found: Vec::new() };
    walk.dashes();
    walk.expression(&expression);
    let names = walk.names;
    let mut found = walk.found;
    if names == 0
        && found.is_empty()
        && let Some(result) = results::constant(source)
    {
        let message = format!("the result is always {result}, whatever the request is");
        found.push(problem(source, ProblemKind::Constant, 1, 1, message));
    }
    // Where something is misread, the result is no news.
    if found.is_empty()
        && let Some(sort) = results::not_boolean(&expression)
    {
        let message = format!("the result is {sort}, and a condition is true or false");
        found.push(problem(source, ProblemKind::NotBoolean, 1, 1, message));
    }
    found.sort_by_key(|p| (p.line, p.column, p.kind));
    found.dedup();
    found
}

/// Words that people bring from other languages.
fn hint(source: &str) -> &'static str {
    let has = |word: &str| source.contains(word);
    if has(" and ") || has(" or ") || has(" not ") {
        "; CEL writes &&, ||, !"
    } else if has("===") || (has(" = ") && !has(" == ")) {
        "; CEL compares with =="
    } else if has(".@") {
        "; this is a gjson modifier, not CEL"
    } else {
        ""
    }
}

/// Refuses what could cost more than it tells, before any parser sees it.
fn too_complex(source: &str) -> Option<Problem> {
    let refuse = |what: &str| {
        Some(problem(
            source,
            ProblemKind::TooComplex,
            1,
            1,
            format!("the expression is {what} to be checked"),
        ))
    };
    if source.len() > MAX_LENGTH {
        return refuse("too long");
    }
    let (mut depth, mut unary, mut ternary): (usize, usize, usize) = (0, 0, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'?' => ternary += 1,
            _ => {}
        }
        unary = if matches!(byte, b'!' | b'-') {
            unary + 1
        } else if byte.is_ascii_whitespace() {
            unary
        } else {
            0
        };
        if depth > MAX_NESTING || unary > MAX_NESTING || ternary > 2 * MAX_NESTING {
            return refuse("nested too deeply");
        }
    }
    None
}

/// How much of a line is shown, in characters.
const EXCERPT: usize = 72;
/// How much of it stands before the place: little enough for the caret to be seen on narrow terminals.
const BEFORE: usize = 32;

fn problem(source: &str, kind: ProblemKind, line: usize, column: usize, message: String) -> Problem {
    let message: String = message.lines().next().unwrap_or_default().chars().take(300).collect();
    let (line, column) = place(source, line, column);
    let text: Vec<char> = source.lines().nth(line - 1).unwrap_or_default().chars().collect();
    let at = (column - 1).min(text.len());
    // What stands before and behind the window is an ellipsis, one character wide.
    let from = at.saturating_sub(BEFORE);
    let end = text.len().min(from + EXCERPT);
    let mut shown: Vec<char> = text[from..end].to_vec();
    if from > 0 {
        shown[0] = '…';
    }
    if let (Some(last), true) = (shown.last_mut(), end < text.len()) {
        *last = '…';
    }
    let excerpt = format!("{}\n{}^", shown.iter().collect::<String>(), " ".repeat(at - from));
    Problem { kind, line, column, message, excerpt, meant: None }
}

/// A place behind the end, as parsers name it where something is missing, is behind the last character: a text of
/// several lines ends with a line break.
fn place(source: &str, line: usize, column: usize) -> (usize, usize) {
    let is_behind = source.lines().skip(line - 1).all(|rest| rest.trim().is_empty());
    let last = source.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()).last();
    match last {
        Some((at, text)) if is_behind => (at + 1, text.trim_end().chars().count() + 1),
        _ => (line, column),
    }
}

struct Walk<'w> {
    source: &'w str,
    environment: Environment,
    evaluators: &'w Evaluators<'w>,
    info: &'w SourceInfo,
    bound: Vec<String>,
    /// How many names of the environment were met.
    names: usize,
    found: Vec<Problem>,
}

impl Walk<'_> {
    fn add(&mut self, kind: ProblemKind, id: u64, message: String) {
        let offset = self.info.offset_for(id).map_or(0, |(start, _)| start as usize);
        self.add_at(kind, offset, message);
    }

    fn add_at(&mut self, kind: ProblemKind, offset: usize, message: String) {
        let mut end = offset.min(self.source.len());
        while !self.source.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.source[..end];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.found.push(problem(self.source, kind, line, column, message));
    }

    /// `request.headers.x-mcp-toolname`: a dotted header name with `-` in it.
    fn dashes(&mut self) {
        let mut from = 0;
        while let Some(at) = self.source[from..].find("headers.") {
            let start = from + at + "headers.".len();
            let rest = &self.source[start..];
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
                .unwrap_or(rest.len());
            let name = &rest[..end];
            if name.contains('-') && !name.starts_with('-') && !name.ends_with('-') {
                let message =
                    format!("'-' is minus in CEL: write headers['{name}'] instead of headers.{name}");
                self.add_at(ProblemKind::HeaderDash, start, message);
            }
            from = start + end;
        }
    }

    /// Whether the names at this place belong to a header name that was already reported.
    fn within_header(&self, name: &str) -> bool {
        self.found
            .iter()
            .any(|p| p.kind == ProblemKind::HeaderDash && p.message.contains(&format!("-{name}")))
    }

    fn expression(&mut self, at: &IdedExpr) {
        match &at.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.name(at.id, name),
            Expr::Select(select) => {
                self.field(at.id, select);
                self.expression(&select.operand);
            }
            Expr::Call(call) => {
                self.call(at.id, call);
                if let Some(target) = &call.target {
                    self.expression(target);
                }
                call.args.iter().for_each(|a| self.expression(a));
            }
            Expr::List(list) => list.elements.iter().for_each(|e| self.expression(e)),
            Expr::Map(map) => map.entries.iter().for_each(|e| self.entry(&e.expr)),
            Expr::Struct(of) => of.entries.iter().for_each(|e| self.entry(&e.expr)),
            Expr::Comprehension(comprehension) => {
                self.expression(&comprehension.iter_range);
                self.expression(&comprehension.accu_init);
                let before = self.bound.len();
                self.bound.push(comprehension.iter_var.clone());
                self.bound.extend(comprehension.iter_var2.clone());
                self.bound.push(comprehension.accu_var.clone());
                self.expression(&comprehension.loop_cond);
                self.expression(&comprehension.loop_step);
                self.expression(&comprehension.result);
                self.bound.truncate(before);
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr) {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key);
                self.expression(&entry.value);
            }
        }
    }

    fn name(&mut self, id: u64, name: &str) {
        let known = self.bound.iter().any(|b| b == name)
            || name.starts_with('@')
            || name.starts_with("__")
            || BUILT_IN.contains(&name)
            || self.environment.roots().contains(&name);
        if !self.bound.iter().any(|b| b == name) && !name.starts_with('@') && !name.starts_with("__") {
            self.names += 1;
        }
        if !known && !self.within_header(name) {
            let roots = self.environment.roots();
            let there = roots[..5].join(", ");
            self.add(
                ProblemKind::UnknownName,
                id,
                format!("`{name}` is not defined here; there are {there}"),
            );
            self.name_meant(name, roots);
        }
    }

    /// Adds to the last problem which of the known names was most likely meant.
    fn name_meant(&mut self, name: &str, known: &[&'static str]) {
        let right = near::closest(name, known.iter().map(|known| (*known, *known)));
        if let (Some(right), Some(problem)) = (right, self.found.last_mut()) {
            problem.message = format!("`{name}` is not defined here; did you mean `{right}`?");
            problem.meant = Some((name.to_owned(), right));
        }
    }

    fn field(&mut self, id: u64, select: &cel::common::ast::SelectExpr) {
        let field = select.field.as_str();
        match &select.operand.expr {
            Expr::Ident(root) if !self.bound.contains(root) => {
                let fields = match root.as_str() {
                    "request" => REQUEST,
                    "auth" => AUTH,
                    _ => return,
                };
                if select.test
                    && (root == "request" || matches!(field, "identity" | "metadata" | "authorization"))
                {
                    let message = format!("`{root}.{field}` is always there: ask has() about a field in it");
                    self.add(ProblemKind::HasMisuse, id, message);
                } else if !fields.contains(&field) {
                    self.add(
                        ProblemKind::UnknownField,
                        id,
                        format!("`{root}` has no field `{field}`; there are {}", fields.join(", ")),
                    );
                    self.name_meant(field, fields);
                }
            }
            Expr::Select(outer) => {
                let Expr::Ident(root) = &outer.operand.expr else { return };
                if root == "request" && outer.field == "headers" {
                    self.header(id, field);
                    return;
                }
                if root != "auth" || self.bound.contains(root) || self.environment != Environment::Authorino {
                    return;
                }
                let names = match outer.field.as_str() {
                    "metadata" => &self.evaluators.metadata,
                    "authorization" => &self.evaluators.authorization,
                    _ => return,
                };
                if names.as_ref().is_some_and(|names| !names.contains(field)) && !select.test {
                    let kind = outer.field.clone();
                    self.add(
                        ProblemKind::UnknownEvaluator,
                        id,
                        format!("the policy has no {kind} rule named `{field}`"),
                    );
                }
            }
            _ => {}
        }
    }

    fn header(&mut self, id: u64, name: &str) {
        if name.chars().any(|c| c.is_ascii_uppercase()) {
            let message = format!("header names are lower case: write '{}'", name.to_ascii_lowercase());
            self.add(ProblemKind::HeaderCase, id, message);
        }
    }

    fn call(&mut self, id: u64, call: &cel::common::ast::CallExpr) {
        let name = call.func_name.as_str();
        if name == "_[_]" || name == "_[?_]" {
            if let [operand, index] = call.args.as_slice()
                && let (Expr::Select(select), Expr::Literal(LiteralValue::String(key))) =
                    (&operand.expr, &index.expr)
                && select.field == "headers"
            {
                self.header(index.id, key.inner());
            }
            return;
        }
        if matches!(name, "_==_" | "_!=_") {
            let tested = |e: &IdedExpr| matches!(&e.expr, Expr::Select(select) if select.test);
            let other = |e: &IdedExpr| matches!(&e.expr, Expr::Literal(literal) if !matches!(literal, LiteralValue::Boolean(_)));
            if call.args.iter().any(tested) && call.args.iter().any(other) {
                let message = "has(…) is true or false, it is not the field's value: compare the field itself, \
                               behind has(…) &&";
                self.add(ProblemKind::HasMisuse, id, message.to_owned());
            }
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return;
        }
        if name == "matches"
            && let Some(argument) = call.args.last()
            && let Expr::Literal(LiteralValue::String(pattern)) = &argument.expr
            && let Err(error) = regex::RegexBuilder::new(pattern.inner()).size_limit(1 << 20).build()
        {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            self.add(
                ProblemKind::InvalidRegex,
                argument.id,
                format!("the pattern is no regular expression: {why}"),
            );
        }
        let known = FUNCTIONS.contains(&name)
            || (self.environment == Environment::Operator && OPERATOR_FUNCTIONS.contains(&name));
        if !known && !self.within_header(name) {
            self.add(ProblemKind::UnknownFunction, id, format!("there is no function `{name}`"));
        }
        if let Some(message) = results::wrong_count(name, call.target.is_some(), call.args.len()) {
            self.add(ProblemKind::UnknownFunction, id, message);
        }
    }
}
