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
