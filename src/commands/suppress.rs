//! The suppression file (`--suppress FILE`): findings that somebody has decided to live with, why,
//! and until when.
//!
//! ```yaml
//! suppressions:
//! - code: MG418
//!   object: team-a/weather       # or a name alone, or "HTTPRoute team-a/weather"
//!   reason: switched off while the server moves
//!   expires: 2026-12-31
//! ```

use std::path::Path;

use chrono::NaiveDate;
use serde::Deserialize;

use crate::commands::filter::Ignored;
use crate::error::CommandError;

/// The largest suppression file.
const LIMIT: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with the list `suppressions`")]
struct File {
    suppressions: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an entry with code and reason")]
struct Entry {
    code: String,
    #[serde(default)]
    object: Option<String>,
    reason: String,
    #[serde(default)]
    expires: Option<String>,
}

/// Reads a suppression file.
///
/// # Errors
/// A usage error that says which entry is wrong and how.
pub(crate) fn read(path: &Path) -> Result<Vec<Ignored>, CommandError> {
    let text = std::fs::read(path).map_err(|error| {
        CommandError::usage(
            anyhow::Error::new(error).context(format!("cannot read the suppressions in {}", path.display())),
        )
    })?;
    parse(&text).map_err(|error| error.within(&path.display().to_string()))
}

fn parse(text: &[u8]) -> Result<Vec<Ignored>, CommandError> {
    let example = "`suppressions:` is a list; an entry has code, reason, and optionally object (namespace/name) and expires (2026-12-31)";
    if text.len() > LIMIT {
        return Err(CommandError::usage_message("it is larger than 1 MiB"));
    }
    let file: File =
        serde_yaml::from_slice(text).map_err(|error| CommandError::usage(error).hint(example))?;
    let mut suppressions = Vec::with_capacity(file.suppressions.len());
    for (at, entry) in file.suppressions.into_iter().enumerate() {
        let number = at + 1;
        let refused = |error: CommandError| error.within(&format!("entry {number}"));
        if entry.reason.trim().is_empty() {
            return Err(refused(CommandError::usage_message("the reason is empty")));
        }
        let typed = match &entry.object {
            Some(object) => format!("{}@{object}", entry.code),
            None => entry.code.clone(),
        };
        let expires = match &entry.expires {
            Some(date) => Some(NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| {
                refused(
                    CommandError::usage_message(format!("\"{date}\" is no date")).hint("write 2026-12-31"),
                )
            })?),
            None => None,
        };
        let ignored = Ignored::new(&typed).map_err(refused)?;
        suppressions.push(ignored.because(entry.reason.trim().to_owned(), expires));
    }
    Ok(suppressions)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (text, expected) in [
            ("suppressions: [{code: MG101}]", "missing field `reason`"),
            ("suppressions: [{code: MG101, reason: ''}]", "entry 1: the reason is empty"),
            ("suppressions: [{code: ZZ9, reason: x}]", "entry 1: no finding code begins with \"ZZ9\""),
            ("suppressions: [{code: MG101, reason: x, expires: soon}]", "entry 1: \"soon\" is no date"),
            ("suppressions: [{code: MG101, reason: x, until: 2026-12-31}]", "unknown field `until`"),
            ("suppressions: [{code: MG101, reason: x, object: a/b/c}]", "entry 1: \"a/b/c\" names no object"),
            ("just text", "invalid type"),
        ] {
            let error = parse(text.as_bytes()).expect_err("it is wrong");
            assert!(error.to_string().contains(expected), "{error} instead of {expected}");
            assert_eq!(error.code(), 2);
        }
    }

    #[test]
    fn a_file_is_read() {
        let text = "suppressions:\n- {code: MG1, reason: x}\n- {code: image-pull, object: Pod a/b, reason: y, expires: 2026-12-31}\n";
        assert_eq!(parse(text.as_bytes()).expect("it is right").len(), 2);
    }
}
