use super::*;

fn kinds(source: &str, environment: Environment) -> Vec<ProblemKind> {
    let evaluators = Evaluators {
        metadata: Some(BTreeSet::from(["user-info"])),
        authorization: Some(BTreeSet::from(["opa"])),
    };
    check(source, environment, &evaluators).into_iter().map(|p| p.kind).collect()
}

#[test]
fn expressions_are_judged_in_their_environment() {
    use Environment::{Authorino, Operator};
    use ProblemKind::*;
    let cases: &[(&str, Environment, &[ProblemKind])] = &[
        ("!request.path.contains('/.well-known')", Operator, &[]),
        (
            "('tool:' + request.headers['x-mcp-toolname']) in (has(auth.identity.resource_access) && auth.identity.resource_access.exists(p, p == request.headers['x-mcp-servername']) ? auth.identity.resource_access[request.headers['x-mcp-servername']].roles : [])",
            Authorino,
            &[],
        ),
        (
            "auth.identity.groups.exists(g, g == 'admin') || auth.identity.?email.orValue('') == 'x'",
            Authorino,
            &[],
        ),
        ("request.method == 'POST' && requestBodyJSON('/method') == 'tools/call'", Operator, &[]),
        ("request.headers.x-mcp-toolname in auth.identity.tools", Authorino, &[HeaderDash]),
        ("request.headers['X-Mcp-Toolname'] == 'a'", Authorino, &[HeaderCase]),
        ("identity.groups == []", Authorino, &[UnknownName]),
        ("requestBodyJSON('/a') == 1", Authorino, &[UnknownFunction]),
        ("auth.identitty.sub != ''", Authorino, &[UnknownField]),
        ("auth.authorization.gone == true", Authorino, &[UnknownEvaluator]),
        ("auth.authorization.opa && auth.metadata['user-info'].x", Authorino, &[]),
        ("request.path.lowerAscii().split('/').size() > 2", Authorino, &[]),
        ("request.path.matches('^/mcp(/|$)')", Operator, &[]),
        ("request.path.matches('^/mcp(')", Operator, &[InvalidRegex]),
        ("request.path.matches('(?=mcp)')", Authorino, &[InvalidRegex]),
        ("has(auth.identity.email) == 'a@example.com'", Authorino, &[HasMisuse]),
        ("has(auth.identity.email) == true", Authorino, &[]),
        ("has(auth.identity) && auth.identity.sub != ''", Authorino, &[HasMisuse]),
        ("true", Operator, &[Constant]),
        ("1 == 2", Authorino, &[Constant]),
        ("['a', 'b'].exists(x, x == 'a')", Authorino, &[Constant]),
        ("'/mcp'", Operator, &[NotBoolean]),
        ("'tool:' + request.method", Authorino, &[NotBoolean]),
        ("auth.identity.groups.filter(g, g == 'a')", Authorino, &[NotBoolean]),
        ("size(request.path) + 1", Authorino, &[NotBoolean]),
        ("request.path == '/a' ? 'yes' : 'no'", Authorino, &[NotBoolean]),
        ("request.path == '/a' ? auth.identity.admin : false", Authorino, &[]),
        ("auth.identity.admin", Authorino, &[]),
        ("auth.identity.groups.exists_one(g, g == 'a')", Authorino, &[]),
        ("request.path.startsWith('/a', '/b')", Operator, &[UnknownFunction]),
        ("size(auth.identity.groups, 2) > 1", Authorino, &[UnknownFunction]),
        ("request.path.indexOf('a', 2) > 1 && request.path.size() > 2", Authorino, &[]),
        ("request.headers.Authorization != ''", Authorino, &[HeaderCase]),
        ("request.headers.authorization != ''", Authorino, &[]),
    ];
    for (source, environment, expected) in cases {
        assert_eq!(&kinds(source, *environment), expected, "{source}");
    }
    for broken in [
        "auth.identity.a == 'x' and true",
        "request.path.contains('a'",
        "a = b",
        "'\\.'",
        "",
        "has(request.headers['x-a'])",
    ] {
        let found = kinds(broken, Authorino);
        assert!(!found.is_empty() && found.iter().all(|k| *k == Syntax), "{broken}: {found:?}");
    }
}

#[test]
fn a_caret_stands_under_the_place() {
    let problems = check("auth.identity.a == 'x' and true", Environment::Authorino, &Evaluators::default());
    assert_eq!(problems[0].excerpt, "auth.identity.a == 'x' and true\n                       ^");
    assert!(problems[0].message.contains("CEL writes &&"));
    let under = |source: &str| {
        let problems = check(source, Environment::Authorino, &Evaluators::default());
        let (text, caret) = problems[0].excerpt.split_once('\n').expect("two lines");
        let at = caret.chars().count() - 1;
        assert!(text.chars().count() <= EXCERPT && at <= BEFORE, "{text}\n{caret}");
        (text.to_owned(), text.chars().skip(at).collect::<String>())
    };
    // In the middle of a long line the window moves with the place.
    let long = format!(
        "{} && identitty.x == 'é' && {}",
        "auth.identity.a == 'x'",
        "request.path != '/a' && ".repeat(9) + "true"
    );
    let (text, at) = under(&format!("request.host != 'a.example.com' && request.method != 'GET' && {long}"));
    assert!(text.starts_with('…') && text.ends_with('…') && at.starts_with("identitty.x == 'é'"), "{text}");
    // What is missing at the end is missing behind the last character, not in the empty line behind it.
    let (text, at) = under("((request.path == '/a') &&\n  request.method == 'GET'\n\n");
    assert_eq!((text.as_str(), at.as_str()), ("  request.method == 'GET'", ""));
}

#[test]
fn hostile_expressions_are_refused_before_parsing() {
    for hostile in
        ["(".repeat(5000), "[".repeat(5000), "!".repeat(4000), "a".repeat(9000), "1?2:".repeat(500)]
    {
        let problems = check(&hostile, Environment::Authorino, &Evaluators::default());
        assert_eq!(problems[0].kind, ProblemKind::TooComplex);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_expression_panics(source in "([a-z.()\\[\\]'\"!&|?:+ -]|request|headers|has){0,40}") {
        let _ = check(&source, Environment::Authorino, &Evaluators::default());
    }
}
