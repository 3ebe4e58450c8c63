//! Hostname intersection of listeners and routes, as the Gateway API defines it.
//!
//! A wildcard `*.` stands for one *or more* labels, an absent hostname for all, and the match works
//! in both directions. (The MCP controller is narrower: see [`crate::model::mcp::hostname`].)

/// Whether a concrete or wildcard hostname lies under a wildcard: `a.b.example.com` and
/// `*.foo.example.com` lie under `*.example.com`, `example.com` does not.
fn under(host: &str, wildcard: &str) -> bool {
    wildcard.strip_prefix('*').is_some_and(|suffix| {
        let host = host.strip_prefix('*').unwrap_or(host);
        host.len() > suffix.len() && host.ends_with(suffix) || host == suffix
    }) && host != wildcard.strip_prefix("*.").unwrap_or(wildcard)
}

/// The hostname on which a listener and one hostname of a route meet: the more specific of the
/// two. `None` when they do not meet.
#[must_use]
pub fn intersection(listener: &str, route: &str) -> Option<String> {
    let (listener, route) = (listener.to_ascii_lowercase(), route.to_ascii_lowercase());
    if listener.is_empty() || listener == route {
        return Some(route);
    }
    if route.is_empty() {
        return Some(listener);
    }
    if under(&route, &listener) {
        return Some(route);
    }
    under(&listener, &route).then_some(listener)
}

/// The hostnames on which a listener serves a route. An empty listener hostname and an empty list
/// of route hostnames match all, which is written `*`. An empty result: the route does not attach.
#[must_use]
pub fn effective(listener: &str, route: &[&str]) -> Vec<String> {
    if route.is_empty() {
        return vec![if listener.is_empty() { "*".to_owned() } else { listener.to_ascii_lowercase() }];
    }
    route.iter().filter_map(|host| intersection(listener, host)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intersection_table() {
        // The Gateway API's documentation and its conformance tests.
        let table: &[(&str, &[&str], &[&str])] = &[
            ("", &[], &["*"]),
            ("", &["a.com"], &["a.com"]),
            ("test.example.com", &["*.example.com"], &["test.example.com"]),
            ("*.example.com", &["foo.test.example.com"], &["foo.test.example.com"]),
            ("*.example.com", &["example.com"], &[]),
            ("example.com", &["*.example.com"], &[]),
            ("*.example.com", &["*.example.com"], &["*.example.com"]),
            ("*.example.com", &["*.foo.example.com"], &["*.foo.example.com"]),
            ("*.foo.example.com", &["*.example.com"], &["*.foo.example.com"]),
            ("very.specific.com", &["non.matching.com", "*.specific.com"], &["very.specific.com"]),
            ("very.specific.com", &["specific.but.wrong.com", "wildcard.io"], &[]),
            ("*.example.com", &["badexample.com"], &[]),
            ("*.Example.com", &["A.example.COM"], &["a.example.com"]),
            ("mcp.example.com", &[], &["mcp.example.com"]),
        ];
        for (listener, route, expected) in table {
            assert_eq!(effective(listener, route), *expected, "{listener} with {route:?}");
        }
    }
}
