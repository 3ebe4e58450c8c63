//! What a JSON text takes in memory once it is parsed: two bytes of it may become a value of 32, and a
//! map of one field takes more than half a kilobyte.

/// The heaviest answer or item that is parsed, in bytes. The objects of a cluster weigh five to thirty times
/// their text, and etcd takes no text beyond a few MiB.
pub(crate) const WEIGHT_LIMIT: usize = 64 << 20;
/// Why something heavier is not.
pub(super) const REFUSED: &str = "the answer would take more than 64 MiB of memory";

/// What a value takes in a list or a map.
const VALUE: usize = 32;
/// What a map takes that is not empty: a node of its tree has room for eleven fields.
const MAP: usize = 640;
/// What a list takes beside its values, which have room for four at least.
const LIST: usize = 4 * VALUE;

/// The weight of a text that passes by, piece by piece.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    bytes: usize,
    /// The last byte that was no space.
    last: u8,
}

impl Weight {
    /// The weight of a whole text.
    pub(crate) fn of(text: &[u8]) -> usize {
        let mut weight = Self::default();
        let (mut in_string, mut at) = (false, 0);
        while at < text.len() {
            if in_string {
                match memchr::memchr2(b'"', b'\\', &text[at..]) {
                    None => break,
                    Some(offset) if text[at + offset] == b'"' => {
                        in_string = false;
                        at += offset + 1;
                    }
                    Some(offset) => at += offset + 2,
                }
                continue;
            }
            in_string = text[at] == b'"';
            weight.add(text[at]);
            at += 1;
        }
        weight.with(text.len())
    }

    /// Takes one byte outside of strings.
    pub(crate) fn add(&mut self, byte: u8) {
        match (self.last, byte) {
            (_, b'{') => self.bytes += MAP,
            (_, b'[') => self.bytes += LIST,
            // Without anything in them they take nothing.
            (b'{', b'}') => self.bytes -= MAP,
            (b'[', b']') => self.bytes -= LIST,
            // A list with many values grows by doubling.
            (_, b',') => self.bytes += 2 * VALUE,
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            self.last = byte;
        }
    }

    /// With the text itself, whose strings are kept.
    pub(crate) fn with(self, text: usize) -> usize {
        self.bytes.saturating_add(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_weigh_what_they_are() {
        let text = format!(r#"{{"a":"{}"}}"#, "{[,\\\"".repeat(1000));
        assert!(Weight::of(text.as_bytes()) < 8000);
        assert_eq!(Weight::of(b""), 0);
        assert_eq!(Weight::of(br#""open \"#), 7);
    }

    #[test]
    fn what_becomes_more_in_memory_weighs_more() {
        let weigh = |piece: &str| {
            let text = format!("[{}0]", format!("{piece},").repeat(1000));
            Weight::of(text.as_bytes()) / 1000
        };
        assert!(weigh("0") >= 2 * VALUE);
        assert!(weigh("[0]") >= 3 * VALUE);
        assert!(weigh(r#"{"a":0}"#) >= MAP);
    }

    /// Objects of clusters are far from the limit, whatever stands in them.
    #[test]
    fn objects_are_light() {
        let fields: String = (0..40).map(|n| format!(r#""f:field-{n:02}":{{}},"#)).collect();
        let managed = format!(r#"{{"f:metadata":{{{fields}"f:x":{{".":{{}}}}}}}}"#);
        let all = format!("[{}0]", format!("{managed},").repeat(1600));
        let weight = Weight::of(all.as_bytes());
        assert!(all.len() > 1 << 20 && weight < WEIGHT_LIMIT / 4, "{} weigh {weight}", all.len());
    }
}
