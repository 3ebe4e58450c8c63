//! How commands change an object: labels and annotations, merge patches, JSON patches, and a little of jq.

use serde_json::{Value, json};

use crate::commands::split;
use crate::fixture::field;

/// Labels or annotations: `key=value` sets, `key-` removes.
pub fn mark(object: &mut Value, place: &str, pairs: &[&str], overwrite: bool) -> Result<(), String> {
    let marks = field(object, &format!("/metadata/{place}"));
    if !marks.is_object() {
        *marks = json!({});
    }
    let marks = marks.as_object_mut().expect("an object");
    for pair in pairs {
        if let Some(key) = pair.strip_suffix('-').filter(|_| !pair.contains('=')) {
            marks.remove(key).ok_or_else(|| format!("{key} is not there"))?;
            continue;
        }
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair} is no pair"))?;
        if !overwrite && marks.get(key).is_some_and(|before| before != value) {
            return Err(format!("{key} has a value, --overwrite is missing"));
        }
        marks.insert(key.to_owned(), json!(value));
    }
    Ok(())
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().expect("an object");
    for (key, value) in fields {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// RFC 6902, as far as remedies use it. Unlike [`field`] it makes nothing on the way.
pub fn json_patch(object: &mut Value, patch: &Value) -> Result<(), String> {
    for step in patch.as_array().ok_or("a JSON patch is a list")? {
        let path = step["path"].as_str().ok_or("no path")?;
        let (parent, last) = path.rsplit_once('/').ok_or("the path is no pointer")?;
        let last = last.replace("~1", "/").replace("~0", "~");
        let place = object.pointer_mut(parent).ok_or_else(|| format!("{parent} does not exist"))?;
        let value = step["value"].clone();
        match (step["op"].as_str().unwrap_or_default(), place) {
            ("add", Value::Array(items)) if last == "-" => items.push(value),
            ("add", Value::Array(items)) => {
                let at: usize = last.parse().map_err(|_| format!("{last} is no index"))?;
                if at > items.len() {
                    return Err(format!("{path} is beyond the end"));
                }
                items.insert(at, value);
            }
            ("replace", Value::Array(items)) => {
                let at: usize = last.parse().map_err(|_| format!("{last} is no index"))?;
                *items.get_mut(at).ok_or_else(|| format!("{path} does not exist"))? = value;
            }
            ("remove", Value::Array(items)) => {
                let at: usize = last.parse().map_err(|_| format!("{last} is no index"))?;
                if at >= items.len() {
                    return Err(format!("{path} does not exist"));
                }
                items.remove(at);
            }
            ("test", Value::Array(items)) => {
                let there = last.parse::<usize>().ok().and_then(|at| items.get(at));
                if there != Some(&value) {
                    return Err(format!("{path} is {there:?}, not {value}"));
                }
            }
            ("test", Value::Object(fields)) => {
                if fields.get(&last) != Some(&value) {
                    return Err(format!("{path} is {:?}, not {value}", fields.get(&last)));
                }
            }
            ("add", Value::Object(fields)) => drop(fields.insert(last, value)),
            ("replace", Value::Object(fields)) => {
                *fields.get_mut(&last).ok_or_else(|| format!("{path} does not exist"))? = value;
            }
            ("remove", Value::Object(fields)) => {
                fields.remove(&last).ok_or_else(|| format!("{path} does not exist"))?;
            }
            (operation, _) => return Err(format!("{operation} at {path}")),
        }
    }
    Ok(())
}

/// `del(.a.b,.c) | .d.e="text"`: all that remedies need of jq.
pub fn jq(filter: &str, input: &str) -> Result<String, String> {
    let mut object: Value = serde_json::from_str(input).map_err(|error| error.to_string())?;
    for step in split(filter, "|") {
        let step = step.trim();
        let pointer = |path: &str| path.trim().replace('.', "/");
        if let Some(paths) = step.strip_prefix("del(").and_then(|rest| rest.strip_suffix(')')) {
            for path in paths.split(',').map(pointer) {
                let (parent, last) = path.rsplit_once('/').ok_or("del without a path")?;
                if let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
                    fields.remove(last);
                }
            }
        } else if let Some((path, value)) = step.split_once('=') {
            let value: Value = serde_json::from_str(value.trim()).map_err(|error| error.to_string())?;
            *field(&mut object, &pointer(path)) = value;
        } else {
            return Err(format!("jq {step}"));
        }
    }
    Ok(object.to_string())
}
