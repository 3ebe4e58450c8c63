//! Text that arrives in pieces: pseudonyms are looked for in whole lines.

use super::Obfuscator;

/// How much is collected before it is looked through.
const BLOCK: usize = 64 * 1024;
/// A line longer than this is cut at a space, or anywhere.
const LONG: usize = 1024 * 1024;
/// How much of a certificate's text is waited for.
const CERTIFICATE: usize = 64 * 1024;

/// The last stage of a text on its way out; without an obfuscator it passes everything on.
#[derive(Debug, Default)]
pub(crate) struct Veil {
    obfuscator: Option<Obfuscator>,
    buffer: Vec<u8>,
}

impl Veil {
    pub(crate) fn new(obfuscator: Option<Obfuscator>) -> Self {
        Self { obfuscator, buffer: Vec::new() }
    }

    /// Takes what the redactor let through, and gives what is ready.
    pub(crate) fn push(&mut self, piece: Vec<u8>) -> Vec<u8> {
        let Some(obfuscator) = &self.obfuscator else { return piece };
        self.buffer.extend_from_slice(&piece);
        if self.buffer.len() < BLOCK {
            return Vec::new();
        }
        let Some(cut) = cut(&self.buffer) else { return Vec::new() };
        let rest = self.buffer.split_off(cut);
        let ready = std::mem::replace(&mut self.buffer, rest);
        obfuscator.text(&ready).unwrap_or(ready)
    }

    /// Ends the text.
    pub(crate) fn finish(&mut self, piece: Vec<u8>) -> Vec<u8> {
        let Some(obfuscator) = &self.obfuscator else { return piece };
        let mut rest = std::mem::take(&mut self.buffer);
        rest.extend_from_slice(&piece);
        obfuscator.text(&rest).unwrap_or(rest)
    }
}

/// Where the text may be cut: behind its last line, but not within a certificate.
fn cut(text: &[u8]) -> Option<usize> {
    let line = match memchr::memrchr(b'\n', text) {
        Some(at) => at + 1,
        None if text.len() < LONG => return None,
        None => memchr::memrchr2(b' ', b'"', text).filter(|at| *at > 0).unwrap_or(text.len()),
    };
    let low = line.saturating_sub(CERTIFICATE);
    let open = memchr::memmem::rfind(&text[low..line], b"-----BEGIN CERT");
    match open {
        Some(at) if memchr::memmem::find(&text[low + at..line], b"-----END CERT").is_none() => {
            let begin = memchr::memrchr(b'\n', &text[..low + at]).map_or(0, |at| at + 1);
            (begin > 0).then_some(begin)
        }
        _ => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Names, What};
    use super::*;

    #[test]
    fn the_borders_of_pieces_do_not_matter() {
        let mut names = Names::new(What::ALL.into());
        names.namespace("acme-prod");
        names.host("https://mcp.acme.net");
        let obfuscator = names.obfuscator();
        let certificate =
            format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", "MIIBacme\n".repeat(200));
        let mut text = "10.1.2.3 acme-prod says a.mcp.acme.net 10.1.0.0/16\n".repeat(3_000);
        text.push_str(&certificate);
        text.push_str(&"acme-prod 10.1.2.3 ".repeat(70_000));
        let whole = obfuscator.text(text.as_bytes()).expect("names");
        assert!(memchr::memmem::find(&whole, b"acme").is_none());
        for size in [999, 65_536, 2_000_000] {
            let mut veil = Veil::new(Some(obfuscator.clone()));
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                out.extend(veil.push(piece.to_vec()));
            }
            out.extend(veil.finish(Vec::new()));
            assert!(out == whole, "pieces of {size}");
        }
    }
}
