//! Label selectors in their full form (`LabelSelector`), and written for a command line.

use super::json::{Map, Value};

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
pub fn to_text(selector: &Map) -> String {
    let pairs: Vec<String> =
        selector.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

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
}
