//! Base64 within text: finding runs of it, and looking into them.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The shortest run that is looked into.
pub(super) const MIN_RUN: usize = 16;
/// The longest; longer runs are looked into in part.
const MAX_RUN: usize = super::value::REACH;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Whether a byte belongs to either alphabet.
pub(super) fn is_character(byte: u8) -> bool {
    CHARACTER[usize::from(byte)]
}

const CHARACTER: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 256")]
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
        byte += 1;
    }
    table
};

/// The runs of at least [`MIN_RUN`] characters, with the padding behind them. Steps over the text in strides
/// of that length, so that ordinary text costs one look per stride.
pub(super) fn runs(text: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let probe = at + MIN_RUN - 1;
            if probe >= text.len() {
                return None;
            }
            if !CHARACTER[usize::from(text[probe])] {
                at = probe + 1;
                continue;
            }
            let mut start = probe;
            while start > at && CHARACTER[usize::from(text[start - 1])] {
                start -= 1;
            }
            let limit = text.len().min(start + MAX_RUN);
            let mut end = probe + 1;
            while end < limit && CHARACTER[usize::from(text[end])] {
                end += 1;
            }
            at = end.max(start + 1);
            if end - start >= MIN_RUN {
                let mut padded = end;
                while padded < text.len() && padded < end + 2 && text[padded] == b'=' {
                    padded += 1;
                }
                at = padded;
                return Some((start, padded));
            }
            at = at.max(end);
        }
    })
}

/// Decodes base64 of either alphabet, with or without padding, cut off or not.
pub(super) fn decode(run: &[u8]) -> Option<Vec<u8>> {
    let bare = run.len() - run.iter().rev().take_while(|b| **b == b'=').count();
    let bare = if bare % 4 == 1 { bare - 1 } else { bare };
    STANDARD.decode(&run[..bare]).or_else(|_| URL.decode(&run[..bare])).ok()
}

/// Decodes a run if what it holds is text, wherever in the run's first four characters it begins.
pub(super) fn decode_text(run: &[u8]) -> Option<Vec<u8>> {
    // Names, hexadecimal digests and numbers are no base64 of text: that mixes cases.
    let head = &run[..run.len().min(64)];
    let (mut upper, mut lower) = (0u8, 0u8);
    for byte in head {
        upper += u8::from(byte.is_ascii_uppercase());
        lower += u8::from(byte.is_ascii_lowercase());
    }
    if upper < 2 || lower < 2 {
        return None;
    }
    let bare = run.len() - run.iter().rev().take(2).take_while(|b| **b == b'=').count();
    for skip in 0..4 {
        let sample = run.get(skip..bare)?;
        let sample = &sample[..sample.len().min(16)];
        // Less than eight bytes are text by chance.
        if sample.len() >= 11 && begins_text(sample) {
            return decode(&run[skip..]);
        }
    }
    None
}

/// Whether whole groups of four characters, of either alphabet, are text.
fn begins_text(sample: &[u8]) -> bool {
    sample.chunks_exact(4).all(|group| {
        let bits = group.iter().fold(0u32, |bits, c| bits << 6 | u32::from(SIX_BITS[usize::from(*c)]));
        let [_, bytes @ ..] = bits.to_be_bytes();
        bytes.iter().all(|b| (32..127).contains(b) || matches!(b, b'\n' | b'\t' | b'\r'))
    })
}

/// What a character of either alphabet stands for.
const SIX_BITS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut table = [0; 256];
    let mut bits = 0;
    while bits < alphabet.len() {
        #[expect(clippy::cast_possible_truncation, reason = "there are 62 characters")]
        let value = bits as u8;
        table[alphabet[bits] as usize] = value;
        bits += 1;
    }
    table[b'+' as usize] = 62;
    table[b'-' as usize] = 62;
    table[b'/' as usize] = 63;
    table[b'_' as usize] = 63;
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_wherever_they_stand() {
        let text = b"a b0123456789abcdefgh== c dGhlIHF1aWNrIGJyb3duIGZveA xx";
        let found: Vec<_> =
            runs(text).map(|(s, e)| std::str::from_utf8(&text[s..e]).expect("ASCII")).collect();
        assert_eq!(found, ["b0123456789abcdefgh==", "dGhlIHF1aWNrIGJyb3duIGZveA"]);
    }

    #[test]
    fn text_is_found_at_any_alignment() {
        let whole = STANDARD.encode("password=hunter2 and more of it");
        for cut in 0..4 {
            assert!(decode_text(&whole.as_bytes()[cut..]).is_some(), "{cut}");
        }
        assert!(decode_text(b"0123456789abcdef0123456789abcdef").is_none());
        assert!(decode_text(b"mcp-gateway-7c9d8b5f6d-x2x4v").is_none());
    }
}
