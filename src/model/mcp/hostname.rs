//! The controller's hostname matching, narrower than the Gateway API's.

use crate::model::gateway_api::Listener;
use crate::model::gateway_api::ParentRef;

/// Whether a route's hostname matches a listener's for the controller: equal, or exactly one label
/// under the listener's wildcard. A wildcard of the route only matches the same wildcard.
#[must_use]
pub fn matches(route: &str, listener: &str) -> bool {
    if listener == route {
        return true;
    }
    listener.strip_prefix('*').filter(|suffix| suffix.starts_with('.')).is_some_and(|suffix| {
        route.strip_suffix(suffix).is_some_and(|label| !label.is_empty() && !label.contains('.'))
    })
}

/// Whether the controller regards a route as attached to the port of an extension's listener: by
/// the section name of the parentRef, else by hostname against the listeners of that port.
/// Listeners without hostname and the parentRef's port do not count.
#[must_use]
pub fn attaches(parent: &ParentRef<'_>, hosts: &[&str], listeners: &[Listener<'_>], port: i64) -> bool {
    let mut on_port = listeners.iter().filter(|l| l.port == port);
    match parent.section {
        Some(section) => on_port.any(|l| l.name == section),
        None => on_port
            .filter(|l| !l.hostname.is_empty())
            .any(|l| hosts.iter().any(|host| matches(host, l.hostname))),
    }
}

/// Why a text is no DNS name (RFC 1123), if it is none.
#[must_use]
pub fn fault(host: &str) -> Option<String> {
    if host.is_empty() || host.len() > 253 {
        return Some("a hostname has 1 to 253 characters".to_owned());
    }
    let bad = host.split('.').find(|label| {
        label.is_empty()
            || label.len() > 63
            || label.starts_with('-')
            || label.ends_with('-')
            || !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    })?;
    Some(format!("{bad:?} is not a label of a hostname (lower case letters, digits, '-')"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrower_than_the_gateway_api() {
        let table = [
            ("server1.mcp.local", "*.mcp.local", true),
            ("a.b.mcp.local", "*.mcp.local", false),
            ("mcp.local", "*.mcp.local", false),
            ("*.mcp.local", "srv.mcp.local", false),
            ("*.mcp.local", "*.mcp.local", true),
            ("srv.mcp.local", "srv.mcp.local", true),
            ("srv.mcp.local", "other.mcp.local", false),
            ("srvmcp.local", "*.mcp.local", false),
        ];
        for (route, listener, expected) in table {
            assert_eq!(matches(route, listener), expected, "{route} under {listener}");
        }
    }
}
