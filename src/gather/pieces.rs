//! Takes a large JSON document apart while it arrives, so that each of its parts can be redacted by
//! structure without the whole being in memory. Envoy's configuration dump has hundreds of
//! megabytes on a large mesh, but each cluster, listener or route table in it is small.
//!
//! Objects at a given nesting become values; what is between them (names, brackets, scalars) stays
//! text. Put together again in order, text and values are the document.

use serde_json::Value;

/// The largest part that is taken apart from the rest; a larger one is left out.
const PART_LIMIT: usize = 16 << 20;

/// A part of the document.
#[derive(Debug, PartialEq)]
pub(crate) enum Part<'a> {
    /// Everything between objects; brackets, names, numbers, strings.
    Text(&'a [u8]),
    /// A whole object.
    Value(Value),
    /// An object that was too large or no JSON, and is left out.
    Lost,
}

/// A document on its way through.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// At how many open brackets an object is a part of its own.
    nesting: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// How many brackets are open around the part that is being taken.
    base: usize,
    part: Option<Vec<u8>>,
    lost: bool,
}

impl Pieces {
    /// `nesting`: how many brackets are open around the objects that become parts. A document like
    /// `{"list": [{…}, {…}]}` has its parts at 2.
    pub(crate) fn new(nesting: usize) -> Self {
        Self { nesting, depth: 0, in_string: false, escaped: false, base: 0, part: None, lost: false }
    }

    /// Takes the next piece of the document.
    pub(crate) fn push<E>(
        &mut self,
        piece: &[u8],
        each: &mut dyn FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = 0;
        for (at, byte) in piece.iter().enumerate() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                } else if *byte == b'\\' {
                    self.escaped = true;
                } else if *byte == b'"' {
                    self.in_string = false;
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    if *byte == b'{' && self.part.is_none() && self.depth >= self.nesting {
                        if at > from {
                            each(Part::Text(&piece[from..at]))?;
                        }
                        from = at;
                        self.part = Some(Vec::new());
                        self.lost = false;
                        self.base = self.depth;
                    }
                    self.depth += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == self.base
                        && let Some(mut part) = self.part.take()
                    {
                        let lost = self.lost || part.len() + (at + 1 - from) > PART_LIMIT;
                        if !lost {
                            part.extend_from_slice(&piece[from..=at]);
                        }
                        from = at + 1;
                        match serde_json::from_slice(&part) {
                            Ok(value) if !lost => each(Part::Value(value))?,
                            _ => each(Part::Lost)?,
                        }
                    }
                }
                _ => {}
            }
        }
        let rest = &piece[from..];
        match &mut self.part {
            Some(part) if part.len() + rest.len() > PART_LIMIT => {
                part.clear();
                self.lost = true;
            }
            Some(part) if !self.lost => part.extend_from_slice(rest),
            Some(_) => {}
            None if !rest.is_empty() => each(Part::Text(rest))?,
            None => {}
        }
        Ok(())
    }

    /// Ends the document; whether it ended where it should.
    pub(crate) fn finish(self) -> bool {
        self.depth == 0 && !self.in_string && self.part.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn again(document: &[u8], nesting: usize, pieces: usize) -> (Vec<u8>, usize, bool) {
        let mut out = Vec::new();
        let mut values = 0;
        let mut splitter = Pieces::new(nesting);
        for piece in document.chunks(pieces.max(1)) {
            let Ok(()) = splitter.push::<Infallible>(piece, &mut |part| {
                match part {
                    Part::Text(text) => out.extend_from_slice(text),
                    Part::Value(value) => {
                        values += 1;
                        out.extend_from_slice(value.to_string().as_bytes());
                    }
                    Part::Lost => out.extend_from_slice(b"null"),
                }
                Ok(())
            });
        }
        (out, values, splitter.finish())
    }

    #[test]
    fn parts_are_found_at_their_nesting() {
        let dump = json!({"configs": [
            {"@type": "a", "bootstrap": {"node": {"id": "x}"}}},
            {"@type": "b", "dynamic": [{"cluster": {"name": "]\""}}, {"cluster": {}}], "version": "1"},
        ]});
        for pieces in [1, 3, 1000] {
            let (out, values, whole) = again(dump.to_string().as_bytes(), 3, pieces);
            assert_eq!(serde_json::from_slice::<Value>(&out).expect("json"), dump);
            assert_eq!(values, 3, "the bootstrap and two clusters");
            assert!(whole);
        }
        assert!(!again(b"{\"a\": [{\"b\": ", 2, 4).2);
    }

    proptest! {
        #[test]
        fn the_document_stays_the_same(
            keys in prop::collection::vec("[a-z\"\\\\{}\\[\\]]{0,5}", 1..6),
            nesting in 0usize..4,
            pieces in 1usize..30,
        ) {
            let mut value = json!({"x": [1, "y", {"z": null}]});
            for key in &keys {
                value = json!({key: [value.clone(), {"k": value.clone()}], "s": key});
            }
            let (out, _, whole) = again(value.to_string().as_bytes(), nesting, pieces);
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).expect("json"), value);
            prop_assert!(whole);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), nesting in 0usize..4) {
            let _ = again(&bytes, nesting, 7);
        }
    }
}
