//! Text: finds everything that has a pseudonym, wherever it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};

use super::address::Addresses;
use super::{Inner, What, context, pseudonym, tokens, vocabulary};

/// How deep base64 is looked into.
const DEPTH: usize = 2;
/// The longest host.
const HOST: usize = 253;

/// What is searched for by its letters.
#[derive(Debug)]
pub(super) enum Needle {
    /// A domain, written with this between its labels.
    Zone { letters: String, separator: &'static str },
    /// A name.
    Name { kind: What, name: String, distinctive: bool },
}

impl Needle {
    fn letters(&self) -> &str {
        match self {
            Self::Zone { letters, .. } => letters,
            Self::Name { name, .. } => name,
        }
    }
}

/// What is replaced.
struct Hit {
    start: usize,
    end: usize,
    new: Vec<u8>,
}

/// How a domain is written: plainly, in regular expressions, in those within JSON, in names that are made of it.
const SEPARATORS: &[&str] = &[".", "\\.", "\\\\.", "\\\\\\\\.", "-", "_"];

/// The part of a host that belongs to its owner: the last two labels, or three under a country's second level.
pub(super) fn zone(host: &str) -> &str {
    let labels: Vec<&str> = host.split('.').collect();
    let Some(top) = labels.last() else { return host };
    let second = labels.len().checked_sub(2).map_or("", |at| labels[at]);
    let wanted = if labels.len() > 2 && top.len() == 2 && second.len() <= 3 { 3 } else { 2 };
    let skip: usize = labels[..labels.len().saturating_sub(wanted)].iter().map(|label| label.len() + 1).sum();
    &host[skip..]
}

/// Everything that is searched for by its letters.
pub(super) fn needles(
    zones: &BTreeSet<String>,
    namespaces: &BTreeMap<String, String>,
    nodes: &BTreeMap<String, String>,
    clusters: &BTreeMap<String, String>,
) -> Vec<Needle> {
    let mut needles = Vec::new();
    for zone in zones {
        for separator in SEPARATORS {
            needles.push(Needle::Zone { letters: zone.replace('.', separator), separator });
        }
    }
    for (kind, names) in [(What::Namespace, namespaces), (What::Node, nodes), (What::Cluster, clusters)] {
        for name in names.keys() {
            let distinctive = vocabulary::is_distinctive(name);
            needles.push(Needle::Name { kind, name: name.clone(), distinctive });
        }
    }
    needles
}

/// The automaton of all needles; `None` when there are none.
pub(super) fn search(needles: &[Needle]) -> Option<AhoCorasick> {
    if needles.is_empty() {
        return None;
    }
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .build(needles.iter().map(Needle::letters))
        .ok()
}

impl Inner {
    /// The text with pseudonyms; `None` when nothing in it has one.
    pub(super) fn text(&self, text: &[u8], depth: usize) -> Option<Vec<u8>> {
        let mut hits = Vec::new();
        self.certificates(text, &mut hits);
        if depth < DEPTH {
            self.encoded(text, depth, &mut hits);
        }
        if self.wants(What::Email) {
            self.emails(text, &mut hits);
        }
        if self.wants(What::Ip) {
            let mut each = |token| self.address(&token, &mut hits);
            tokens::ipv4(text, &mut each);
            tokens::ipv6(text, &mut each);
        }
        self.letters(text, &mut hits);
        if hits.is_empty() {
            return None;
        }
        // What begins first wins, of those the longest.
        hits.sort_by(|a, b| (a.start, b.end).cmp(&(b.start, a.end)));
        let mut out = Vec::with_capacity(text.len() + 64);
        let mut done = 0;
        for hit in hits {
            if hit.start >= done {
                out.extend_from_slice(&text[done..hit.start]);
                out.extend_from_slice(&hit.new);
                done = hit.end;
            }
        }
        out.extend_from_slice(&text[done..]);
        Some(out)
    }

    fn address(&self, token: &tokens::Token<tokens::Address>, hits: &mut Vec<Hit>) {
        let tokens::Address { ip, network, separator } = token.value;
        let net = network.and_then(|len| Some((len, Addresses::network(&self.key, ip, len)?)));
        let (original, mapped) = match (net, network) {
            (Some((len, mapped)), _) => (format!("{ip}/{len}"), format!("{mapped}/{len}")),
            (None, Some(len)) => {
                let mapped = self.addresses.map(&self.key, ip);
                self.record(What::Ip, &ip.to_string(), &mapped.to_string());
                (format!("{ip}/{len}"), format!("{mapped}/{len}"))
            }
            (None, None) => (ip.to_string(), self.addresses.map(&self.key, ip).to_string()),
        };
        if original == mapped {
            // It stays as it is written, and nothing else may take a part of it.
            return;
        }
        self.record(What::Ip, &original, &mapped);
        let new = match (separator, ip) {
            (b'-', IpAddr::V4(_)) => mapped.replace('.', "-"),
            _ => mapped,
        };
        hits.push(Hit { start: token.start, end: token.end, new: new.into_bytes() });
    }

    fn emails(&self, text: &[u8], hits: &mut Vec<Hit>) {
        tokens::emails(text, &mut |token| {
            let whole = &text[token.start..token.end];
            let domain = String::from_utf8_lossy(&text[token.value..token.end]).to_ascii_lowercase();
            let sign = if text[token.value - 1] == b'@' { 1 } else { 3 };
            let local = String::from_utf8_lossy(&text[token.start..token.value - sign]).into_owned();
            let new_local = pseudonym::local_part(&self.key, &local.to_ascii_lowercase(), &domain);
            let internal = domain.ends_with(".local") || domain.ends_with(".svc");
            let new_domain = if internal { domain.clone() } else { self.hosts.map(&self.key, &domain) };
            let sign = &text[token.value - sign..token.value];
            let mut new = new_local.clone().into_bytes();
            new.extend_from_slice(sign);
            new.extend_from_slice(new_domain.as_bytes());
            if !whole.is_empty() {
                self.record(What::Email, &format!("{local}@{domain}"), &format!("{new_local}@{new_domain}"));
            }
            hits.push(Hit { start: token.start, end: token.end, new });
        });
    }

    /// Domains and names.
    fn letters(&self, text: &[u8], hits: &mut Vec<Hit>) {
        let Some(search) = &self.search else { return };
        for found in search.find_overlapping_iter(text) {
            let (start, end) = (found.start(), found.end());
            match &self.needles[found.pattern().as_usize()] {
                Needle::Zone { separator, .. } => {
                    if let Some(hit) = self.host(text, start, end, separator) {
                        hits.push(hit);
                    }
                }
                Needle::Name { kind, name, distinctive } => {
                    let after = text.get(end).is_some_and(u8::is_ascii_alphanumeric);
                    let here = if *distinctive {
                        !after && tokens::begins(text, start)
                    } else {
                        context::is_name(text, start, end, *kind, name, &self.pairs)
                    };
                    if here && let Some(new) = self.named(*kind, name) {
                        hits.push(Hit { start, end, new: new.into_bytes() });
                    }
                }
            }
        }
    }

    /// A host: the domain at `start..end`, with all labels before it.
    fn host(&self, text: &[u8], start: usize, end: usize, separator: &str) -> Option<Hit> {
        if text.get(end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-') {
            return None;
        }
        let mut begin = start;
        let joined = |at: usize| text[..at].ends_with(separator.as_bytes());
        // Names that are made of a host are replaced in the domain's part only: what stands before it
        // may be anything.
        let in_labels = separator.ends_with('.');
        let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        while in_labels && joined(begin) && end - begin < HOST {
            let from = begin - separator.len();
            let label = tokens::word_start(text, from, 63, is_part);
            if label == from {
                break;
            }
            begin = label;
        }
        if !tokens::begins(text, begin) || (begin > 0 && text[begin - 1] == b'-' && in_labels) {
            return None;
        }
        let written = String::from_utf8_lossy(&text[begin..end]).to_ascii_lowercase();
        let plain = written.replace(separator, ".");
        if vocabulary::is_public(&plain) {
            return None;
        }
        let mapped = self.hosts.map(&self.key, &plain);
        let new = mapped.replace('.', separator);
        if in_labels {
            self.record(What::Host, &plain, &mapped);
        } else {
            self.record(What::Host, &written, &new);
        }
        Some(Hit { start: begin, end, new: new.into_bytes() })
    }

    /// Certificates hold names in a form that nothing else is found in; their facts stand elsewhere in a bundle.
    fn certificates(&self, text: &[u8], hits: &mut Vec<Hit>) {
        let mut from = 0;
        while let Some(n) = memchr::memmem::find(&text[from..], b"-----BEGIN CERT") {
            let Some(body) =
                memchr::memmem::find(&text[from + n + 10..], b"-----").map(|m| from + n + 10 + m + 5)
            else {
                return;
            };
            let rest = &text[body..];
            let end = memchr::memmem::find(rest, b"-----END").unwrap_or_else(|| {
                rest.iter().take_while(|b| b.is_ascii_alphanumeric() || b"+/=\r\n \\".contains(b)).count()
            });
            from = body + end;
            if end < 64 || rest[..end].contains(&b'<') {
                continue;
            }
            // Line breaks stay, so that what is written around it stays valid.
            let inner = &rest[..end];
            let lead =
                inner.iter().take_while(|b| matches!(b, b'\n' | b'\r' | b'\\' | b'n' | b'r' | b' ')).count();
            let trail =
                inner.iter().rev().take_while(|b| matches!(b, b'\n' | b'\r' | b'\\' | b'n' | b' ')).count();
            let (lead, trail) = if lead + trail < end { (lead, trail) } else { (0, 0) };
            hits.push(Hit {
                start: body + lead,
                end: body + end - trail,
                new: b"<obfuscated certificate>".to_vec(),
            });
        }
    }

    /// Text wrapped in base64, and certificates without a frame.
    fn encoded(&self, text: &[u8], depth: usize, hits: &mut Vec<Hit>) {
        tokens::base64(text, &mut |start, end| {
            let run = &text[start..end];
            let padded = run.ends_with(b"=");
            let body = run.strip_suffix(b"==").or_else(|| run.strip_suffix(b"=")).unwrap_or(run);
            // The first bytes tell whether it is worth it.
            let head = &body[..body.len().min(24) / 4 * 4];
            let url = body.iter().any(|b| matches!(b, b'-' | b'_'));
            if url && body.iter().any(|b| matches!(b, b'+' | b'/')) {
                return;
            }
            let decode = |bytes: &[u8]| {
                if url {
                    BASE64_URL_SAFE_NO_PAD.decode(bytes).ok()
                } else {
                    BASE64_STANDARD_NO_PAD.decode(bytes).ok()
                }
            };
            let Some(first) = decode(head) else { return };
            let is_der = first.starts_with(&[0x30, 0x82]);
            let printable =
                |bytes: &[u8]| bytes.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 32..=126 | 128..));
            if is_der && body.len() > 200 {
                hits.push(Hit { start, end, new: b"obfuscated-certificate".to_vec() });
                return;
            }
            if !printable(&first) {
                return;
            }
            let Some(decoded) = decode(body).filter(|d| printable(d) && std::str::from_utf8(d).is_ok())
            else {
                return;
            };
            let Some(new) = self.text(&decoded, depth + 1) else { return };
            let new = match (url, padded) {
                (true, true) => BASE64_URL_SAFE.encode(new),
                (true, false) => BASE64_URL_SAFE_NO_PAD.encode(new),
                (false, true) => BASE64_STANDARD.encode(new),
                // Whether padding was due before or is now, cannot be told from what is not there.
                (false, false) if body.len().is_multiple_of(4) => BASE64_STANDARD.encode(new),
                (false, false) => BASE64_STANDARD_NO_PAD.encode(new),
            };
            hits.push(Hit { start, end, new: new.into_bytes() });
        });
    }
}
