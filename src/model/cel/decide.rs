//! What a predicate says of a request, where its method and path decide it: whose requests a policy is about.

use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use super::{ENV, too_complex};

/// A request, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// `request.method`.
    pub method: &'static str,
    /// `request.path` and `request.url_path`.
    pub path: &'static str,
}

impl Asked {
    /// What clients of the MCP gateway ask for with their tokens.
    pub const CALL: Self = Self { method: "POST", path: "/mcp" };
    /// What clients ask for before they have a token.
    pub const METADATA: Self = Self { method: "GET", path: "/.well-known/oauth-protected-resource" };
}

/// The result of a predicate for a request; `None` when it depends on anything else, or does not parse.
#[must_use]
pub fn decide(source: &str, asked: Asked) -> Option<bool> {
    if too_complex(source).is_some() {
        return None;
    }
    truth(&ENV.parser().parse(source).ok()?, asked)
}

fn truth(expression: &IdedExpr, asked: Asked) -> Option<bool> {
    let call = match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(value)) => return Some(*value.inner()),
        Expr::Call(call) => call,
        _ => return None,
    };
    let both = |of: &dyn Fn(&str, &str) -> bool| {
        let (Some(left), Some(right)) = (call.target.as_deref().or(call.args.first()), call.args.last())
        else {
            return None;
        };
        Some(of(text(left, asked)?, text(right, asked)?))
    };
    match (call.func_name.as_str(), call.args.as_slice()) {
        ("!_", [operand]) => truth(operand, asked).map(|value| !value),
        // One side may decide what the other leaves open.
        ("_&&_" | "_||_", [left, right]) => {
            let decisive = call.func_name == "_||_";
            match (truth(left, asked), truth(right, asked)) {
                (Some(value), _) | (_, Some(value)) if value == decisive => Some(decisive),
                (Some(_), Some(_)) => Some(!decisive),
                _ => None,
            }
        }
        ("_==_", [_, _]) => both(&|left, right| left == right),
        ("_!=_", [_, _]) => both(&|left, right| left != right),
        ("startsWith", [_]) => both(&|text, start| text.starts_with(start)),
        ("endsWith", [_]) => both(&|text, end| text.ends_with(end)),
        ("contains", [_]) => both(&|text, part| text.contains(part)),
        ("@in", [item, list]) => {
            let Expr::List(list) = &list.expr else { return None };
            let item = text(item, asked)?;
            let items: Option<Vec<&str>> = list.elements.iter().map(|element| text(element, asked)).collect();
            items.map(|items| items.contains(&item))
        }
        _ => None,
    }
}

fn text(expression: &IdedExpr, asked: Asked) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(value)) => Some(value.inner()),
        Expr::Select(select) if !select.test => match &select.operand.expr {
            Expr::Ident(root) if root == "request" => match select.field.as_str() {
                "method" => Some(asked.method),
                "path" | "url_path" => Some(asked.path),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_and_path_decide_what_they_can() {
        for (source, expected) in [
            ("request.path.startsWith('/a2a/')", Some(false)),
            ("request.url_path == '/mcp'", Some(true)),
            ("request.path != \"/mcp\"", Some(false)),
            ("!request.path.contains('/.well-known')", Some(true)),
            ("request.path.endsWith('cp') && request.method in ['GET', 'POST']", Some(true)),
            ("request.method in ['GET', request.host]", None),
            ("request.method == 'GET' && request.headers.exists(h, h == 'x')", Some(false)),
            ("request.method == 'POST' && request.headers.exists(h, h == 'x')", None),
            ("request.headers['x'] == 'y' || request.method == 'POST'", Some(true)),
            ("request.headers['x'] == 'y' || request.method == 'GET'", None),
            ("request.path.matches('^/mcp')", None),
            ("request.host == 'mcp.example.com'", None),
            ("true", Some(true)),
            ("not CEL (", None),
        ] {
            assert_eq!(decide(source, Asked::CALL), expected, "{source}");
        }
        assert_eq!(decide(&"!".repeat(5000), Asked::CALL), None);
    }
}
