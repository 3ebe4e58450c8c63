//! The configuration dump as a whole: its sections, and what Envoy has rejected.

use super::keep;
use crate::model::json::{Key, Map, Value};

/// A configuration dump.
#[derive(Debug)]
pub struct Dump {
    /// The file in the bundle.
    pub file: String,
    /// Whether the file ends in the middle; the sections are those before the cut.
    pub truncated: bool,
    /// `{"configs": […]}` with what the rules read of the sections that are whole.
    pub value: Value,
}

/// Something that Envoy was told and did not take.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// `listener`, `cluster`, `route`, `secret`, `filter`.
    pub kind: &'static str,
    /// The name of the resource.
    pub name: String,
    /// Envoy's reason.
    pub details: String,
    /// When, RFC 3339.
    pub last_attempt: String,
    /// The JSON pointer of the error.
    pub pointer: String,
}

/// Envoy's reason without the text of the resource that it puts before or behind it.
fn reason(details: &str) -> String {
    const RESOURCE: &str = "goo.gle/debug";
    const INVALID: &str = "Proto constraint validation failed";
    let from = details.find(INVALID).unwrap_or(0);
    let details = &details[from..];
    let text = match details.find(RESOURCE) {
        Some(0) => details.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(details),
        Some(at) => &details[..at],
        None => details,
    };
    text.trim().trim_start_matches("}:").trim_end_matches(':').trim().to_owned()
}

impl Dump {
    /// Reads a dump; one that is cut off gives the sections before the cut. `None` when it is
    /// something else.
    #[must_use]
    pub fn parse(file: &str, content: &[u8]) -> Option<Self> {
        let (configs, whole) = keep::sections(content);
        if configs.is_empty() {
            return None;
        }
        let value = Value::from(Map::from_iter([(Key::from("configs"), Value::from(configs))]));
        Some(Self { file: file.to_owned(), truncated: !whole, value })
    }

    /// The section of this type (the last one wins, as with istioctl) and its position.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<(usize, &Value)> {
        items(&self.value, "configs")
            .iter()
            .enumerate()
            .rev()
            .find(|(_, section)| type_of(section).rsplit('.').next() == Some(name))
    }

    /// All sections of a type: there are several for filters that are discovered (ECDS).
    pub(super) fn sections<'d>(&'d self, name: &'d str) -> impl Iterator<Item = (usize, &'d Value)> {
        items(&self.value, "configs")
            .iter()
            .enumerate()
            .filter(move |(_, section)| type_of(section).rsplit('.').next() == Some(name))
    }

    /// Everything that carries an error state.
    #[must_use]
    pub fn rejections(&self) -> Vec<Rejection> {
        const LISTS: &[(&str, &str, &str)] = &[
            ("ListenersConfigDump", "dynamic_listeners", "listener"),
            ("ClustersConfigDump", "dynamic_active_clusters", "cluster"),
            ("ClustersConfigDump", "dynamic_warming_clusters", "cluster"),
            ("RoutesConfigDump", "dynamic_route_configs", "route"),
            ("SecretsConfigDump", "dynamic_active_secrets", "secret"),
            ("SecretsConfigDump", "dynamic_warming_secrets", "secret"),
            ("EcdsConfigDump", "ecds_filters", "filter"),
        ];
        let mut found = Vec::new();
        for (section_name, list, kind) in LISTS {
            for (at, section) in self.sections(section_name) {
                for (index, entry) in items(section, list).iter().enumerate() {
                    let error = entry.get("error_state").filter(|e| e.is_object());
                    let nacked = text(entry, "client_status") == "NACKED";
                    if error.is_none() && !nacked {
                        continue;
                    }
                    let name = [text(entry, "name")]
                        .into_iter()
                        .chain(
                            ["cluster", "route_config", "secret", "ecds_filter"]
                                .iter()
                                .map(|k| entry.get(*k).map(|v| text(v, "name")).unwrap_or_default()),
                        )
                        .find(|n| !n.is_empty())
                        .unwrap_or_default();
                    let field = if error.is_some() { "error_state" } else { "client_status" };
                    found.push(Rejection {
                        kind,
                        name: name.to_owned(),
                        details: error.map(|e| reason(text(e, "details"))).unwrap_or_default(),
                        last_attempt: error
                            .map(|e| text(e, "last_update_attempt"))
                            .unwrap_or_default()
                            .to_owned(),
                        pointer: format!("/configs/{at}/{list}/{index}/{field}"),
                    });
                }
            }
        }
        found
    }
}

/// The elements of an array field.
pub(super) fn items<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).unwrap_or_default()
}

/// A string field, empty without one.
pub(super) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The type URL of a message.
pub(super) fn type_of(value: &Value) -> &str {
    text(value, "@type")
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_reason_stands_alone() {
        for (details, wanted) in [
            ("Error: unknown filter", "Error: unknown filter"),
            (
                "Didn't find a registered implementation for 'x'",
                "Didn't find a registered implementation for 'x'",
            ),
            (
                "Proto constraint validation failed (A.B: value out of range): goo.gle/debugproto  \nname: \"x\"\n",
                "Proto constraint validation failed (A.B: value out of range)",
            ),
            (
                "goo.gle/debugstr \nname: \"x\"\n: Proto constraint validation failed (A.B: value out of range)",
                "Proto constraint validation failed (A.B: value out of range)",
            ),
            ("goo.gle/debugstr \nname: \"x\"\n}: it is not right\n", "it is not right"),
        ] {
            assert_eq!(reason(details), wanted);
        }
    }
}
