//! Label selectors: the equality form of Services, the full form of `LabelSelector`, and an index
//! of objects by label that finds what a selector picks without walking every object.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::object::Object;

/// Whether `labels` carries every pair of an equality selector (a Service's `spec.selector`, a
/// `matchLabels`, an EnvoyFilter's `workloadSelector.labels`). An empty selector matches all.
#[must_use]
pub fn contains(labels: Option<&Map<String, Value>>, selector: &Map<String, Value>) -> bool {
    selector.iter().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
}

/// Evaluates a full `LabelSelector` (`matchLabels` and `matchExpressions`). The empty selector
/// matches everything; an expression with an unknown operator matches nothing, as the API server
/// would have refused it.
#[must_use]
pub fn matches(selector: &Value, labels: &dyn Fn(&str) -> Option<String>) -> bool {
    let by_labels = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .is_none_or(|pairs| pairs.iter().all(|(key, value)| labels(key).as_deref() == value.as_str()));
    let by_expressions =
        selector.get("matchExpressions").and_then(Value::as_array).is_none_or(|expressions| {
            expressions.iter().all(|expression| {
                let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
                let values: Vec<&str> = expression
                    .get("values")
                    .and_then(Value::as_array)
                    .map(|list| list.iter().filter_map(Value::as_str).collect())
                    .unwrap_or_default();
                let actual = labels(key);
                match expression.get("operator").and_then(Value::as_str) {
                    Some("In") => actual.is_some_and(|v| values.contains(&v.as_str())),
                    Some("NotIn") => actual.is_none_or(|v| !values.contains(&v.as_str())),
                    Some("Exists") => actual.is_some(),
                    Some("DoesNotExist") => actual.is_none(),
                    _ => false,
                }
            })
        });
    by_labels && by_expressions
}

/// The selector written the way `oc get -l` takes it; empty for a selector without pairs.
#[must_use]
pub fn to_text(selector: &Map<String, Value>) -> String {
    let pairs: Vec<String> =
        selector.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

/// Objects by namespace and label pair.
#[derive(Debug, Default)]
pub struct LabelIndex<'a> {
    by_pair: HashMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    by_namespace: HashMap<&'a str, Vec<usize>>,
    objects: Vec<&'a Object>,
}

impl<'a> LabelIndex<'a> {
    /// Indexes these objects.
    #[must_use]
    pub fn new(objects: impl Iterator<Item = &'a Object>) -> Self {
        let mut index = Self::default();
        for object in objects {
            let at = index.objects.len();
            index.objects.push(object);
            index.by_namespace.entry(object.namespace()).or_default().push(at);
            for (key, value) in object.labels().into_iter().flatten() {
                let pair = (object.namespace(), key.as_str(), value.as_str().unwrap_or_default());
                index.by_pair.entry(pair).or_default().push(at);
            }
        }
        index
    }

    /// The objects of a namespace that an equality selector picks, in their order. An empty
    /// selector picks nothing here: a Service without selector has hand-made endpoints.
    #[must_use]
    pub fn select(&self, namespace: &str, selector: &Map<String, Value>) -> Vec<&'a Object> {
        let shortest = selector
            .iter()
            .map(|(key, value)| {
                self.by_pair
                    .get(&(namespace, key.as_str(), value.as_str().unwrap_or_default()))
                    .map_or(&[][..], Vec::as_slice)
            })
            .min_by_key(|list| list.len())
            .unwrap_or_default();
        shortest
            .iter()
            .map(|&at| self.objects[at])
            .filter(|object| contains(object.labels(), selector))
            .collect()
    }

    /// The objects of a namespace with this label pair.
    #[must_use]
    pub fn with_label(&self, namespace: &str, key: &str, value: &str) -> Vec<&'a Object> {
        self.pick(self.by_pair.get(&(namespace, key, value)))
    }

    /// All indexed objects of a namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<&'a Object> {
        self.pick(self.by_namespace.get(namespace))
    }

    fn pick(&self, positions: Option<&Vec<usize>>) -> Vec<&'a Object> {
        positions.into_iter().flatten().map(|&at| self.objects[at]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selector_table() {
        let table = [
            (json!({}), true),
            (json!({"matchLabels": {"team": "a"}}), true),
            (json!({"matchLabels": {"team": "b"}}), false),
            (json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}), true),
            (json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["b"]}]}), false),
            (json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]}), true),
            (json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["b"]}]}), true),
            (json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "none", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}), true),
            (json!({"matchExpressions": [{"key": "team", "operator": "Near", "values": ["a"]}]}), false),
            (
                json!({"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}),
                false,
            ),
        ];
        for (selector, expected) in table {
            let got = matches(&selector, &|key| (key == "team").then(|| "a".to_owned()));
            assert_eq!(got, expected, "{selector}");
        }
    }

    #[test]
    fn the_index_finds_what_a_walk_finds() {
        let pods: Vec<Object> = (0..20)
            .map(|i| {
                let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": format!("n{}", i % 2),
                    "name": format!("p{i}"), "labels": {"app": format!("a{}", i % 3), "tier": "web"}}});
                Object::new(value, "pods.yaml".into(), None).expect("an object")
            })
            .collect();
        let index = LabelIndex::new(pods.iter());
        let selector = json!({"app": "a1", "tier": "web"});
        let selector = selector.as_object().expect("a map");
        let found: Vec<&str> = index.select("n1", selector).iter().map(|o| o.name()).collect();
        assert_eq!(found, ["p1", "p7", "p13", "p19"]);
        assert!(index.select("n2", selector).is_empty());
    }
}
