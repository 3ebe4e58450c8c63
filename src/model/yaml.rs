//! YAML by a library, behind a look at what would take it too long.

use serde::Deserialize;

/// How many brackets may be open at a time. No value of such a depth is read anyway (serde stops at 128), but
/// libyaml has looked at every open bracket for every token before that is known.
const BRACKETS: usize = 256;

/// Reads each document of a text.
///
/// # Errors
/// Those of the library, and for brackets that are nested or left open more than 256 times. These are counted
/// wherever they stand: also those of a text within the text.
pub(crate) fn documents<T: for<'de> Deserialize<'de>>(text: &str) -> Result<Vec<T>, serde_yaml::Error> {
    if is_too_deep(text.as_bytes()) {
        return Err(serde::de::Error::custom("too many brackets are open at a time"));
    }
    serde_yaml::Deserializer::from_str(text).map(T::deserialize).collect()
}

/// Reads the only document of a text.
///
/// # Errors
/// Those of [`documents`].
pub(crate) fn document<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, serde_yaml::Error> {
    if is_too_deep(bytes) {
        return Err(serde::de::Error::custom("too many brackets are open at a time"));
    }
    serde_yaml::from_slice(bytes)
}

/// Whether more brackets than [`BRACKETS`] are open anywhere.
fn is_too_deep(text: &[u8]) -> bool {
    let mut open = 0_usize;
    text.iter().any(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > BRACKETS
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn brackets_are_counted_where_they_are_open() {
        let nested = |n: usize| format!("a: {}{}", "[".repeat(n), "]".repeat(n));
        assert!(document::<Value>(nested(100).as_bytes()).is_ok());
        let many: String = (0..5_000).map(|n| format!("k{n}: [{{}}]\n")).collect();
        assert!(document::<Value>(many.as_bytes()).is_ok());
        for text in [nested(1_000_000), format!("a: {}", "[".repeat(1_000_000)), "{a: ".repeat(500_000)] {
            let error = documents::<Value>(&text).expect_err("too deep").to_string();
            assert!(error.contains("too many brackets"), "{error}");
        }
    }
}
