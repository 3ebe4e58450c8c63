//! `mcpgw/redaction-report.json`: how often which rule hit in which file, and what was kept on
//! purpose. Never a value.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::Inner;

/// The version of the report's form.
pub const SCHEMA_VERSION: &str = "mcpgw.redaction/v1";

/// Counts per file and rule.
pub(super) type Counts = BTreeMap<String, BTreeMap<&'static str, u64>>;

/// The redaction report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedactionReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// All redactions, by rule.
    pub totals: BTreeMap<String, u64>,
    /// How many values of Secrets were known and searched for.
    pub learned_values: usize,
    /// Redactions by file and rule.
    pub files: BTreeMap<String, BTreeMap<String, u64>>,
    /// What stays readable on purpose, and why.
    pub kept: Vec<String>,
    /// How many names of each kind have pseudonyms.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub obfuscated: BTreeMap<String, u64>,
    /// What the second look before publishing has cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_look: Option<SecondLook>,
}

/// The cost of the scan of the finished archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondLook {
    /// How many files were looked through.
    pub files: u64,
    /// How many bytes there are in them.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

impl RedactionReport {
    /// How many values were redacted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.totals.values().sum()
    }

    /// This report and one of an earlier redaction of the same bundle.
    #[must_use]
    pub fn and_before(mut self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        for (rule, count) in before.totals {
            *self.totals.entry(rule).or_default() += count;
        }
        for (file, counts) in before.files {
            let of_file = self.files.entry(file).or_default();
            for (rule, count) in counts {
                *of_file.entry(rule).or_default() += count;
            }
        }
        self.learned_values = self.learned_values.max(before.learned_values);
        for (kind, count) in before.obfuscated {
            *self.obfuscated.entry(kind).or_default() += count;
        }
        self
    }
}

/// What redaction leaves on purpose.
const KEPT: &[&str] = &[
    "Secrets: key names, lengths, and shape facts (white space around, scheme word, PEM labels, facts of certificates)",
    "JSON web tokens: alg, typ, iss, aud, azp, scope, exp, iat, nbf and the names of the claims",
    "equality: equal secrets have equal placeholders within this archive, under a key that was thrown away",
    "URLs: scheme, host, port and path; certificates and public keys",
    "names of objects, namespaces, nodes and hosts, addresses, UIDs, image references and digests (see --obfuscate)",
    "values of Secrets shorter than 6 bytes or too common to tell apart (true, admin, …) where nothing around them says that they are secret",
];

impl Inner {
    pub(super) fn count(&self, file: &str, rule: &'static str) {
        self.count_all(file, &BTreeMap::from([(rule, 1)]));
    }

    pub(super) fn count_all(&self, file: &str, counts: &BTreeMap<&'static str, u64>) {
        if counts.is_empty() {
            return;
        }
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(file) {
            all.insert(file.to_owned(), BTreeMap::new());
        }
        if let Some(of_file) = all.get_mut(file) {
            for (rule, count) in counts {
                *of_file.entry(rule).or_default() += count;
            }
        }
    }

    pub(super) fn report(&self) -> RedactionReport {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut totals: BTreeMap<String, u64> = BTreeMap::new();
        let mut files: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for (file, counts) in counts {
            for (rule, count) in &counts {
                *totals.entry((*rule).to_owned()).or_default() += count;
            }
            files.insert(file, counts.into_iter().map(|(rule, count)| (rule.to_owned(), count)).collect());
        }
        RedactionReport {
            schema_version: SCHEMA_VERSION.to_owned(),
            totals,
            learned_values: self.learned.len(),
            files,
            kept: KEPT.iter().map(|&kept| kept.to_owned()).collect(),
            obfuscated: BTreeMap::new(),
            second_look: None,
        }
    }
}
