//! What the rules read of a configuration dump, taken while it streams by. A dump of a large mesh has
//! 60 MiB and more, nearly all of which (clusters as they are configured, routes, metadata) no rule looks at.
//!
//! Fields are dropped, items of lists never: evidence points at an item by its place.

use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;

use crate::model::json::{Key, Map, Value};

/// What is kept of a value; of a list, that of each item.
#[derive(Debug)]
enum Keep {
    /// All of it.
    All,
    /// These fields.
    Fields(&'static [(&'static str, Self)]),
}

const NAMED: Keep = Keep::Fields(&[("name", Keep::All)]);
const CLUSTERS: Keep = Keep::Fields(&[
    ("name", Keep::All),
    ("error_state", Keep::All),
    ("client_status", Keep::All),
    ("cluster", NAMED),
]);
const SECRETS: Keep = Keep::Fields(&[
    ("name", Keep::All),
    ("error_state", Keep::All),
    ("client_status", Keep::All),
    ("secret", NAMED),
]);
const ROUTES: Keep = Keep::Fields(&[
    ("name", Keep::All),
    ("error_state", Keep::All),
    ("client_status", Keep::All),
    (
        "route_config",
        Keep::Fields(&[
            ("name", Keep::All),
            ("virtual_hosts", Keep::Fields(&[("name", Keep::All), ("domains", Keep::All)])),
        ]),
    ),
]);
const ENDPOINTS: Keep = Keep::Fields(&[(
    "endpoint_config",
    Keep::Fields(&[
        ("cluster_name", Keep::All),
        (
            "endpoints",
            Keep::Fields(&[(
                "lb_endpoints",
                Keep::Fields(&[
                    ("health_status", Keep::All),
                    ("endpoint", Keep::Fields(&[("address", Keep::All)])),
                ]),
            )]),
        ),
    ]),
)]);

/// What is kept of a section, by the last part of its type; of one that is not here, only its type.
static SECTIONS: &[(&str, Keep)] = &[
    ("ListenersConfigDump", Keep::All),
    ("EcdsConfigDump", Keep::All),
    (
        "ClustersConfigDump",
        Keep::Fields(&[
            ("static_clusters", CLUSTERS),
            ("dynamic_active_clusters", CLUSTERS),
            ("dynamic_warming_clusters", CLUSTERS),
        ]),
    ),
    (
        "RoutesConfigDump",
        Keep::Fields(&[("static_route_configs", ROUTES), ("dynamic_route_configs", ROUTES)]),
    ),
    (
        "SecretsConfigDump",
        Keep::Fields(&[("dynamic_active_secrets", SECRETS), ("dynamic_warming_secrets", SECRETS)]),
    ),
    (
        "EndpointsConfigDump",
        Keep::Fields(&[("static_endpoint_configs", ENDPOINTS), ("dynamic_endpoint_configs", ENDPOINTS)]),
    ),
];

/// The sections that are whole, and whether the dump is.
pub(super) fn sections(content: &[u8]) -> (Vec<Value>, bool) {
    let mut sections = Vec::new();
    let whole = Configs(&mut sections).deserialize(&mut Deserializer::from_slice(content)).is_ok();
    (sections, whole)
}

/// A dump that says to [`super::Dump::parse`] what this one does, and has only what that reads; nothing
/// but the JSON `null` when it is no dump. Holds no more of it than it gives.
pub fn lean(content: &mut dyn Read) -> Vec<u8> {
    let mut sections = Vec::new();
    let reader = BufReader::with_capacity(64 << 10, content);
    let whole = Configs(&mut sections).deserialize(&mut Deserializer::from_reader(reader)).is_ok();
    if sections.is_empty() {
        return b"null".to_vec();
    }
    let mut text = String::from("{\"configs\":[");
    for (number, section) in sections.into_iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&section.to_string());
    }
    if whole {
        text.push_str("]}");
    }
    text.into_bytes()
}

impl<'de> DeserializeSeed<'de> for &'static Keep {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Keep::All => serde::Deserialize::deserialize(deserializer),
            Keep::Fields(_) => deserializer.deserialize_any(Part(self)),
        }
    }
}

/// Reads a value of which fields are kept.
struct Part(&'static Keep);

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let keep = match self.0 {
                Keep::All => Some(&Keep::All),
                Keep::Fields(fields) => fields.iter().find(|(name, _)| *name == key).map(|(_, keep)| keep),
            };
            match keep {
                Some(keep) => kept.push((Key::from(key), map.next_value_seed(keep)?)),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::from(Map::from_iter(kept)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = list.next_element_seed(self.0)? {
            kept.push(item);
        }
        Ok(Value::from(kept))
    }

    // Where fields should be stands something else: it is kept as it is.
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// Reads `{"configs": […]}` element by element, so that what stands before a cut is kept.
struct Configs<'c>(&'c mut Vec<Value>);

impl<'de> DeserializeSeed<'de> for Configs<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Configs<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an Envoy configuration dump")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "configs" {
                map.next_value_seed(Elements(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Elements<'c>(&'c mut Vec<Value>);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sections")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(section) = seq.next_element_seed(Section)? {
            self.0.push(section);
        }
        Ok(())
    }
}

/// Reads a section. Its type stands first in what Envoy prints; fields before it are kept whole.
struct Section;

impl<'de> DeserializeSeed<'de> for Section {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Section {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        let mut known: Option<&'static Keep> = Some(&Keep::All);
        while let Some(key) = map.next_key::<String>()? {
            if key == "@type" {
                let value: Value = map.next_value()?;
                let name = value.as_str().and_then(|name| name.rsplit('.').next()).unwrap_or_default();
                known = SECTIONS.iter().find(|(section, _)| *section == name).map(|(_, keep)| keep);
                kept.push((Key::from(key), value));
                continue;
            }
            let keep = match known {
                Some(Keep::Fields(fields)) => fields.iter().find(|(n, _)| *n == key).map(|(_, keep)| keep),
                other => other,
            };
            match keep {
                Some(keep) => kept.push((Key::from(key), map.next_value_seed(keep)?)),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::from(Map::from_iter(kept)))
    }

    // A section that is none keeps its place.
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }
}
