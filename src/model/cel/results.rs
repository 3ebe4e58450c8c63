//! What an expression comes to: the sort of its result, what its functions take, and the value of one that refers to
//! nothing.

use cel::common::ast::{Expr, IdedExpr, LiteralValue};

/// The sort of the result, where it can be told and is neither true nor false: fields may hold anything.
pub(super) fn not_boolean(at: &IdedExpr) -> Option<&'static str> {
    match &at.expr {
        Expr::Literal(literal) => match literal {
            LiteralValue::Boolean(_) => None,
            LiteralValue::String(_) => Some("a string"),
            LiteralValue::Bytes(_) => Some("bytes"),
            LiteralValue::Null => Some("null"),
            LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Some("a number"),
        },
        Expr::List(_) => Some("a list"),
        Expr::Map(_) => Some("a map"),
        Expr::Call(call) => match call.func_name.as_str() {
            // What is added decides: strings, numbers, lists.
            "_+_" => Some(call.args.iter().find_map(not_boolean).unwrap_or("a sum")),
            "_-_" | "_*_" | "_/_" | "_%_" | "-_" => Some("a number"),
            "_?_:_" => {
                let [_, yes, no] = call.args.as_slice() else { return None };
                not_boolean(yes).and(not_boolean(no))
            }
            "size" | "int" | "uint" | "double" | "indexOf" | "lastIndexOf" => Some("a number"),
            "string" | "lowerAscii" | "upperAscii" | "trim" | "replace" | "substring" | "join" | "charAt" => {
                Some("a string")
            }
            "split" => Some("a list"),
            "timestamp" => Some("a time"),
            "duration" => Some("a duration"),
            _ => None,
        },
        // `map` and `filter` gather a list; `all`, `exists` and `exists_one` do not.
        Expr::Comprehension(of) => matches!(of.accu_init.expr, Expr::List(_)).then_some("a list"),
        Expr::Unspecified | Expr::Ident(_) | Expr::Select(_) | Expr::Struct(_) => None,
    }
}

/// How many values a function takes at least and at most, with the one before the dot.
const TAKES: &[(&str, usize, usize)] = &[
    ("contains", 2, 2),
    ("startsWith", 2, 2),
    ("endsWith", 2, 2),
    ("matches", 2, 2),
    ("size", 1, 1),
    ("lowerAscii", 1, 1),
    ("upperAscii", 1, 1),
    ("trim", 1, 1),
    ("charAt", 2, 2),
    ("indexOf", 2, 3),
    ("lastIndexOf", 2, 3),
    ("replace", 3, 4),
    ("split", 2, 3),
    ("substring", 2, 3),
    ("join", 1, 2),
    ("hasValue", 1, 1),
    ("orValue", 2, 2),
    ("requestBodyJSON", 1, 1),
    ("responseBodyJSON", 1, 1),
    ("queryMap", 1, 2),
];

/// What is wrong with the number of values that a function is called with; `target` stands before the dot.
pub(super) fn wrong_count(name: &str, target: bool, arguments: usize) -> Option<String> {
    let (_, least, most) = TAKES.iter().find(|(known, ..)| *known == name)?;
    let before = usize::from(target);
    if (*least..=*most).contains(&(arguments + before)) {
        return None;
    }
    let (least, most) = (least.saturating_sub(before), most.saturating_sub(before));
    let takes = if least == most { least.to_string() } else { format!("{least} or {most}") };
    Some(format!("`{name}` takes {takes} in its brackets, not {arguments}"))
}

/// The result of an expression that refers to nothing, if it is a boolean. Short ones only: nobody writes long ones.
pub(super) fn constant(source: &str) -> Option<bool> {
    if source.len() > 200 {
        return None;
    }
    let program = cel::Program::compile(source).ok()?;
    match program.execute(&cel::Context::default()) {
        Ok(cel::Value::Bool(result)) => Some(result),
        _ => None,
    }
}
