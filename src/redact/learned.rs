//! Values that were read from Secrets, found again wherever they stand, in every encoding.

use std::sync::{Arc, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::placeholder::{Kind, Style};
use super::text::Found;

/// The shortest value that is searched for; shorter ones would hit by chance and are only redacted
/// where the structure shows them.
pub(super) const MIN_LEN: usize = 6;

/// Values that are too common to be searched for.
const COMMON: &[&str] = &[
    "true",
    "false",
    "admin",
    "default",
    "username",
    "password",
    "secret",
    "token",
    "example",
    "localhost",
    "kubernetes",
    "openshift",
    "cluster",
    "changeme",
    "Bearer",
    "mcp-gateway",
    "redis",
    "postgres",
    "keycloak",
    "service",
    "system",
    "enabled",
    "disabled",
];

/// What has been learned so far.
#[derive(Debug, Default)]
pub(super) struct Learned {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    values: std::collections::BTreeSet<Vec<u8>>,
    automaton: Option<Arc<AhoCorasick>>,
    dirty: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} values)", self.values.len())
    }
}

impl Learned {
    /// Learns one value.
    pub(super) fn learn(&self, value: &[u8]) {
        let value = value.trim_ascii();
        if value.len() < MIN_LEN || COMMON.iter().any(|common| value.eq_ignore_ascii_case(common.as_bytes()))
        {
            return;
        }
        let mut state = self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.values.insert(value.to_vec()) {
            state.dirty = true;
        }
    }

    /// How many values are known.
    pub(super) fn len(&self) -> usize {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner).values.len()
    }

    fn automaton(&self) -> Option<Arc<AhoCorasick>> {
        {
            let state = self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !state.dirty {
                return state.automaton.clone();
            }
        }
        let mut state = self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.dirty {
            let needles: std::collections::BTreeSet<Vec<u8>> =
                state.values.iter().flat_map(|value| forms(value)).collect();
            state.automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(needles)
                .ok()
                .map(Arc::new);
            state.dirty = false;
        }
        state.automaton.clone()
    }

    /// Finds learned values in a text.
    pub(super) fn scan(&self, text: &[u8], found: &mut Vec<Found>) {
        let Some(automaton) = self.automaton() else { return };
        for hit in automaton.find_iter(text) {
            found.push(Found {
                context: hit.start(),
                start: hit.start(),
                end: hit.end(),
                kind: Kind::Learned,
                style: Style::Plain,
                rule: "learned",
            });
        }
    }
}

/// A value in every encoding that is searched for.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec()];
    for shift in 0..3usize {
        let mut padded = vec![0u8; shift];
        padded.extend_from_slice(value);
        let encoded = BASE64_STANDARD.encode(&padded);
        // Only the characters that no neighbour of the value has a part in.
        let core = &encoded[(shift * 8).div_ceil(6)..(padded.len() * 8) / 6];
        forms.push(core.as_bytes().to_vec());
        forms.push(core.replace('+', "-").replace('/', "_").into_bytes());
    }
    if let Ok(text) = std::str::from_utf8(value) {
        let url = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        forms.push(url.to_lowercase().into_bytes());
        forms.push(url.into_bytes());
        if let Ok(json) = serde_json::to_string(text) {
            forms.push(json.as_bytes()[1..json.len() - 1].to_vec());
        }
    }
    forms
}
