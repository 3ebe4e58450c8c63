//! How pseudonyms are made: keyed, of the form of what they stand for, and never twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::vocabulary;
use crate::redact::placeholder::Key;

/// Letters and digits that are not taken for each other.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A code of `len` characters (at most 16) for a value.
fn code(key: &Key, purpose: &str, value: &str, attempt: u32, len: usize) -> String {
    let digest = key.digest(format!("{purpose}\0{attempt}\0{value}").as_bytes());
    digest.iter().take(len).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// Pseudonyms of the labels of hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    labels: Mutex<Labels>,
}

#[derive(Debug, Default)]
struct Labels {
    /// From a host (a label and all above it) to the pseudonym of its first label.
    of: HashMap<String, String>,
    /// Hosts that are pseudonyms.
    taken: HashSet<String>,
}

impl Hosts {
    /// The pseudonym of a host in lower case: every label by a keyed function of itself and all above it, so
    /// that hosts of one domain stay in one domain. Wildcards, service labels (`_tcp`), common top labels, and the
    /// label `mcp`, which the MCP gateway puts before the domain of a wildcard, stay.
    pub(super) fn map(&self, key: &Key, host: &str) -> String {
        let mut state = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mapped = String::new();
        let labels: Vec<&str> = host.split('.').collect();
        for (index, label) in labels.iter().enumerate().rev() {
            let suffix = labels[index..].join(".");
            let last = index + 1 == labels.len();
            let kept = label.is_empty()
                || *label == "*"
                || label.starts_with('_')
                || (!last && *label == "mcp")
                || (last && labels.len() > 1 && vocabulary::TOP.contains(label));
            let new = if kept {
                (*label).to_owned()
            } else if let Some(known) = state.of.get(&suffix) {
                known.clone()
            } else {
                let joined = |new: &str| if last { new.to_owned() } else { format!("{new}.{mapped}") };
                let mut attempt = 0;
                let new = loop {
                    let new = format!("h{}", code(key, "host", &suffix, attempt, 6));
                    if !state.taken.contains(&joined(&new)) {
                        break new;
                    }
                    attempt += 1;
                };
                let whole = joined(&new);
                state.taken.insert(whole);
                state.of.insert(suffix, new.clone());
                new
            };
            mapped = if last { new } else { format!("{new}.{mapped}") };
        }
        mapped
    }
}

/// How many hosts are compared with each other; beyond it typing errors are not looked for.
const COMPARED: usize = 400;

impl Hosts {
    /// Hosts that differ in a typing error get pseudonyms that differ in one, because the analysis looks for
    /// such pairs.
    pub(super) fn keep_typing_errors(&self, key: &Key, hosts: &BTreeSet<String>) {
        let mut sorted: Vec<&String> = hosts.iter().take(COMPARED).collect();
        // A host under a common top label is the one that is right.
        let common = |host: &str| vocabulary::TOP.contains(&host.rsplit('.').next().unwrap_or_default());
        sorted.sort_by_key(|host| (!common(host), host.as_str()));
        for (at, host) in sorted.iter().enumerate() {
            if let Some(right) = sorted[..at].iter().find(|right| is_typing_error(host, right)) {
                self.follow(key, host, right);
            }
        }
    }

    /// Gives the labels of a host the pseudonyms of another's, and the one that differs a similar one.
    fn follow(&self, key: &Key, host: &str, right: &str) {
        let mapped = self.map(key, right);
        let mut state = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let (labels, rights): (Vec<&str>, Vec<&str>) =
            (host.split('.').collect(), right.split('.').collect());
        let news: Vec<&str> = mapped.split('.').collect();
        let mut whole: Vec<String> = Vec::new();
        for index in (0..labels.len()).rev() {
            let (suffix, of_right) = (labels[index..].join("."), rights[index..].join("."));
            let mut new = news[index].to_owned();
            if labels[index] != rights[index] {
                // The last letter becomes another one.
                let last = new.pop().map_or('a', |c| if c == 'z' { 'y' } else { 'z' });
                new.push(last);
            }
            whole.insert(0, new.clone());
            if suffix != of_right && !state.taken.contains(&whole.join(".")) {
                state.taken.insert(whole.join("."));
                state.of.entry(suffix).or_insert(new);
            }
        }
    }
}

/// Whether two hosts differ in one label, and there by no more than a finger.
fn is_typing_error(host: &str, right: &str) -> bool {
    let (labels, rights): (Vec<&str>, Vec<&str>) = (host.split('.').collect(), right.split('.').collect());
    if labels.len() != rights.len() {
        return false;
    }
    let mut different = labels.iter().zip(&rights).filter(|(a, b)| a != b);
    let (Some((a, b)), None) = (different.next(), different.next()) else { return false };
    a.len() >= 4 && b.len() >= 4 && *a != "*" && strsim::damerau_levenshtein(a, b) <= 2
}

/// A pseudonym with a word in front that is not among these names.
fn free(key: &Key, word: &str, name: &str, taken: &BTreeSet<String>) -> String {
    let mut attempt = 0;
    loop {
        let new = format!("{word}-{}", code(key, word, name, attempt, 6));
        if !taken.contains(&new) {
            return new;
        }
        attempt += 1;
    }
}

/// The local part of an e-mail address.
pub(super) fn local_part(key: &Key, local: &str, domain: &str) -> String {
    format!("user-{}", code(key, "email", &format!("{local}@{domain}"), 0, 8))
}

/// The pseudonym of a cluster's name or identifier; an identifier keeps its form.
pub(super) fn cluster(key: &Key, name: &str) -> String {
    let is_uuid = name.len() == 36
        && name
            .bytes()
            .enumerate()
            .all(|(at, b)| if matches!(at, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() });
    if !is_uuid {
        return format!("cluster-{}", code(key, "cluster", name, 0, 6));
    }
    let digest = key.digest(format!("uuid\0{name}").as_bytes());
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    // Version 4, variant 1, as the original was.
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}

/// The pseudonym of a node without a domain.
pub(super) fn node(key: &Key, name: &str, taken: &BTreeSet<String>) -> String {
    free(key, "node", name, taken)
}

/// The pseudonyms of namespaces. They sort as their originals do, among each other and between the
/// namespaces that keep their names, because Gateway API lets the alphabet decide between routes and
/// policies of the same age.
pub(super) fn namespaces(names: &BTreeSet<String>) -> BTreeMap<String, String> {
    let kept: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| vocabulary::keeps_namespace(name)).collect();
    let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for name in names.iter().filter(|name| !vocabulary::keeps_namespace(name)) {
        let at = kept.partition_point(|kept| *kept < name.as_str());
        let low = at.checked_sub(1).map_or("", |at| kept[at]);
        let high = kept.get(at).copied().unwrap_or_default();
        groups.entry((low, high)).or_default().push(name);
    }
    let mut mapped = BTreeMap::new();
    for ((low, high), originals) in groups {
        let word = between(low, high);
        // As many random codes as names, in order.
        let mut codes = BTreeSet::new();
        let fresh = Key::random();
        let mut attempt = 0;
        while codes.len() < originals.len() {
            let new = format!("{word}-{}", code(&fresh, "namespace", word.as_str(), attempt, 6));
            if !names.contains(&new) {
                codes.insert(new);
            }
            attempt += 1;
        }
        mapped.extend(originals.iter().map(|name| (*name).to_owned()).zip(codes));
    }
    mapped
}

/// A word that, followed by a hyphen and a code, sorts between two names; `""` is no border.
fn between(low: &str, high: &str) -> String {
    let fits = |word: &str| {
        let (first, last) = (format!("{word}-2"), format!("{word}-zzzzzzzz"));
        low < first.as_str() && (high.is_empty() || last.as_str() < high)
    };
    if fits("ns") {
        return "ns".to_owned();
    }
    for len in 0..=low.len().max(high.len()) {
        for stem in [low, high] {
            let Some(stem) = stem.get(..len) else { continue };
            for letter in 'a'..='z' {
                let word = format!("{stem}{letter}");
                let named = format!("{word}ns");
                for word in [named, word] {
                    if fits(&word) && !vocabulary::keeps_namespace(&format!("{word}-2")) {
                        return word;
                    }
                }
            }
        }
    }
    // Two neighbours without any room between them.
    "ns".to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn namespaces_keep_their_order() {
        let names: BTreeSet<String> = [
            "acme",
            "beta-team",
            "default",
            "default-2",
            "foo",
            "gateway-system",
            "istio-system",
            "istio-system-2",
            "kube-system",
            "mcp-system",
            "mcp-test",
            "openshift-dns",
            "team-a",
            "team-b",
            "zoo",
        ]
        .map(str::to_owned)
        .into();
        let mapped = namespaces(&names);
        let after: Vec<String> = names.iter().map(|name| mapped.get(name).unwrap_or(name).clone()).collect();
        let mut sorted = after.clone();
        sorted.sort();
        assert_eq!(after, sorted);
        assert_eq!(mapped.len(), 9);
        for new in mapped.values() {
            assert!(!vocabulary::keeps_namespace(new), "{new}");
            assert!(
                new.len() < 40
                    && new.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[test]
    fn identifiers_keep_their_form() {
        let key = Key::random();
        let new = cluster(&key, "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");
        assert_eq!(new.len(), 36, "{new}");
        assert!(new.split('-').map(str::len).eq([8, 4, 4, 4, 12]), "{new}");
        assert!(cluster(&key, "prod").starts_with("cluster-"));
    }

    #[test]
    fn a_typing_error_stays_one() {
        let (key, hosts) = (Key::random(), Hosts::default());
        let names =
            ["tickets.vendor.example", "tickets.vendor.exmple", "api.acme-bank.com", "api.acme-bnak.com"];
        hosts.keep_typing_errors(&key, &names.map(str::to_owned).into());
        for (right, wrong) in [(names[0], names[1]), (names[2], names[3])] {
            let (right, wrong) = (hosts.map(&key, right), hosts.map(&key, wrong));
            assert_eq!(strsim::damerau_levenshtein(&right, &wrong), 1, "{right} {wrong}");
        }
    }

    fn label() -> impl Strategy<Value = String> {
        "[a-z][a-z0-9-]{0,10}[a-z0-9]"
    }

    proptest! {
        #[test]
        fn hosts_keep_labels_wildcards_and_suffixes(labels in prop::collection::vec(label(), 2..6), own in label(), other in label()) {
            let (key, hosts) = (Key::random(), Hosts::default());
            let domain = labels.join(".");
            let map = |host: &str| hosts.map(&key, host);
            let mapped = map(&domain);
            prop_assert_eq!(mapped.split('.').count(), labels.len());
            prop_assert_eq!(map(&format!("*.{domain}")), format!("*.{mapped}"));
            let below = map(&format!("{own}.{domain}"));
            let suffix = format!(".{mapped}");
            prop_assert!(below.ends_with(&suffix));
            prop_assert_eq!(&below, &map(&format!("{own}.{domain}")));
            prop_assert_eq!(own == other, below == map(&format!("{other}.{domain}")));
            for label in below.split('.') {
                prop_assert!(!label.is_empty() && label.len() <= 63);
                prop_assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{}", label);
            }
        }
    }
}
