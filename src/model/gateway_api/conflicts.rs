//! Listeners of a Gateway that cannot share their port.

use super::Listener;

/// A listener that gives way to an earlier one; both are positions in the list of listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The listener that stays.
    pub first: usize,
    /// The one that is refused.
    pub later: usize,
    /// Whether their protocols cannot share a port; else their hostnames are the same.
    pub protocol: bool,
}

/// What a port carries: protocols of different families never share one. UDP has ports of its own.
fn family(protocol: &str) -> &str {
    match protocol {
        "HTTPS" | "TLS" => "TLS",
        "HTTP" | "UDP" => protocol,
        _ => "TCP",
    }
}

/// Whether two listeners on one port conflict, and whether by their protocols.
fn clash(first: &Listener<'_>, later: &Listener<'_>) -> Option<bool> {
    let (one, other) = (family(first.protocol), family(later.protocol));
    if first.port != later.port || (one == "UDP") != (other == "UDP") {
        return None;
    }
    if one != other {
        return Some(true);
    }
    // Within TCP and UDP nothing tells one listener's connections from another's.
    let same = first.hostname.eq_ignore_ascii_case(later.hostname);
    (same || matches!(one, "TCP" | "UDP")).then_some(first.protocol != later.protocol)
}

/// The listeners that are refused. Who is refused takes nothing from those after it.
#[must_use]
pub fn conflicts(listeners: &[Listener<'_>]) -> Vec<Conflict> {
    let mut kept: Vec<usize> = Vec::new();
    let mut found = Vec::new();
    for (later, listener) in listeners.iter().enumerate() {
        let clash = kept.iter().find_map(|&first| Some((first, clash(&listeners[first], listener)?)));
        match clash {
            Some((first, protocol)) => found.push(Conflict { first, later, protocol }),
            None => kept.push(later),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    #[test]
    fn conflicts_table() {
        type Row = (&'static [(i64, &'static str, &'static str)], &'static [(usize, usize, bool)]);
        let table: &[Row] = &[
            (&[(80, "HTTP", "a.example"), (80, "HTTP", "b.example")], &[]),
            (&[(80, "HTTP", "a.example"), (81, "HTTP", "a.example")], &[]),
            (&[(80, "HTTP", "a.example"), (80, "HTTP", "A.example")], &[(0, 1, false)]),
            (&[(80, "HTTP", ""), (80, "HTTP", "")], &[(0, 1, false)]),
            (&[(443, "HTTPS", "a.example"), (443, "TLS", "b.example")], &[]),
            (&[(443, "HTTPS", "a.example"), (443, "TLS", "a.example")], &[(0, 1, true)]),
            // Envoy's port is either plain or TLS, whatever the hostnames.
            (&[(443, "HTTPS", "a.example"), (443, "HTTP", "b.example")], &[(0, 1, true)]),
            (&[(9000, "TCP", ""), (9000, "HTTP", "a.example")], &[(0, 1, true)]),
            (&[(9000, "TCP", ""), (9000, "TCP", "")], &[(0, 1, false)]),
            (&[(53, "TCP", ""), (53, "UDP", "")], &[]),
            (&[(53, "UDP", ""), (53, "UDP", "")], &[(0, 1, false)]),
            // The second is refused, and so is nobody's rival.
            (&[(80, "HTTP", "a.example"), (80, "TCP", ""), (80, "HTTP", "b.example")], &[(0, 1, true)]),
            (
                &[(80, "HTTP", "a.example"), (80, "HTTP", "a.example"), (80, "HTTP", "a.example")],
                &[(0, 1, false), (0, 2, false)],
            ),
        ];
        for (listeners, expected) in table {
            let nothing = json!({});
            let listeners: Vec<Listener<'_>> = listeners
                .iter()
                .enumerate()
                .map(|(index, &(port, protocol, hostname))| Listener {
                    index,
                    name: "l",
                    port,
                    protocol,
                    hostname,
                    value: &nothing,
                })
                .collect();
            let found: Vec<(usize, usize, bool)> =
                conflicts(&listeners).iter().map(|c| (c.first, c.later, c.protocol)).collect();
            assert_eq!(found, *expected, "{listeners:?}");
        }
    }
}
