//! Takes a list answer apart while it arrives: each element of `items` becomes one piece, the rest
//! (kind, version, continue token) stays as a small envelope. Memory is bounded by one item,
//! whatever the length of the list, and an item is parsed once.

use serde_json::Value;

use super::client::{WEIGHT_LIMIT, Weight};

/// The largest item that is taken. etcd refuses objects beyond a few MiB, so anything larger is
/// no Kubernetes object.
pub(crate) const ITEM_LIMIT: usize = 16 << 20;
/// The largest envelope.
const ENVELOPE_LIMIT: usize = 1 << 20;

/// Where in the answer we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Outside of `items`.
    Envelope,
    /// Between two items.
    Between,
    /// In an item.
    Item,
}

/// A list answer on its way through.
#[derive(Debug)]
pub(crate) struct Splitter {
    place: Place,
    /// Nesting of brackets: in the envelope from the root, in an item from the item.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The string that ended last at depth 1 of the envelope, to see the key `items`.
    key: Vec<u8>,
    /// Whether `key` was followed by a colon.
    colon: bool,
    envelope: Vec<u8>,
    item: Vec<u8>,
    weight: Weight,
    items: usize,
}

/// Why an answer cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SplitError {
    /// Broken JSON, or an answer that ended early.
    #[error("the answer is no list: {0}")]
    Broken(String),
    /// Something too large.
    #[error("the answer holds an item larger than {}", super::units::human_bytes(ITEM_LIMIT as u64))]
    TooLarge,
    /// Something that would become too large in memory.
    #[error("the answer holds an item that would take more than {} of memory", super::units::human_bytes(WEIGHT_LIMIT as u64))]
    TooHeavy,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Envelope,
            depth: 0,
            in_string: false,
            escaped: false,
            key: Vec::new(),
            colon: false,
            envelope: Vec::new(),
            item: Vec::new(),
            weight: Weight::default(),
            items: 0,
        }
    }

    /// What the item that waits for its rest will take in memory, as far as it is there.
    pub(crate) fn held(&self) -> usize {
        self.weight.with(self.item.len())
    }

    /// Takes the next piece of the answer and gives each item that it completes.
    pub(crate) fn push(
        &mut self,
        piece: &[u8],
        each: &mut dyn FnMut(Value) -> Result<(), SplitError>,
    ) -> Result<(), SplitError> {
        let mut at = 0;
        while at < piece.len() {
            at = match self.place {
                Place::Envelope => self.envelope_byte(piece, at)?,
                Place::Between => self.between_byte(piece, at)?,
                Place::Item => self.item_bytes(piece, at, each)?,
            };
        }
        Ok(())
    }

    fn envelope_byte(&mut self, piece: &[u8], at: usize) -> Result<usize, SplitError> {
        let byte = piece[at];
        if self.envelope.len() >= ENVELOPE_LIMIT {
            return Err(SplitError::TooLarge);
        }
        self.envelope.push(byte);
        if self.in_string {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_string = false;
                return Ok(at + 1);
            }
            if self.depth == 1 && self.key.len() < 8 {
                self.key.push(byte);
            }
            return Ok(at + 1);
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.key.clear();
                self.colon = false;
            }
            b':' => self.colon = true,
            b'{' => self.depth += 1,
            b'[' => {
                if self.depth == 1 && self.colon && self.key == b"items" {
                    self.place = Place::Between;
                    return Ok(at + 1);
                }
                self.depth += 1;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' => self.colon = false,
            _ => {}
        }
        Ok(at + 1)
    }

    fn between_byte(&mut self, piece: &[u8], at: usize) -> Result<usize, SplitError> {
        match piece[at] {
            b']' => {
                self.envelope.push(b']');
                self.place = Place::Envelope;
                self.colon = false;
                Ok(at + 1)
            }
            b'{' => {
                self.place = Place::Item;
                self.depth = 0;
                Ok(at)
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' => Ok(at + 1),
            other => {
                let shown = char::from(other);
                Err(SplitError::Broken(format!("`{shown}` where an item is expected")))
            }
        }
    }

    fn item_bytes(
        &mut self,
        piece: &[u8],
        from: usize,
        each: &mut dyn FnMut(Value) -> Result<(), SplitError>,
    ) -> Result<usize, SplitError> {
        let mut at = from;
        while at < piece.len() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                    at += 1;
                    continue;
                }
                match memchr::memchr2(b'"', b'\\', &piece[at..]) {
                    None => {
                        at = piece.len();
                        break;
                    }
                    Some(offset) => {
                        if piece[at + offset] == b'"' {
                            self.in_string = false;
                        } else {
                            self.escaped = true;
                        }
                        at += offset + 1;
                        continue;
                    }
                }
            }
            self.weight.add(piece[at]);
            match piece[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        at += 1;
                        let whole = &piece[from..at];
                        let weight = std::mem::take(&mut self.weight);
                        if weight.with(self.item.len() + whole.len()) > WEIGHT_LIMIT {
                            return Err(SplitError::TooHeavy);
                        }
                        let value = if self.item.is_empty() {
                            serde_json::from_slice(whole)
                        } else {
                            self.item.extend_from_slice(whole);
                            serde_json::from_slice(&self.item)
                        };
                        self.item.clear();
                        // The room of one large item is not kept for all that follow.
                        self.item.shrink_to(1 << 20);
                        self.place = Place::Between;
                        self.depth = 1;
                        self.items += 1;
                        let value = value.map_err(|error| {
                            SplitError::Broken(format!("item {} is no JSON: {error}", self.items))
                        })?;
                        each(value)?;
                        return Ok(at);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        if self.item.len() + (at - from) > ITEM_LIMIT {
            return Err(SplitError::TooLarge);
        }
        if self.held() > WEIGHT_LIMIT {
            return Err(SplitError::TooHeavy);
        }
        self.item.extend_from_slice(&piece[from..at]);
        Ok(at)
    }

    /// Ends the answer and gives its envelope, with `items` empty.
    pub(crate) fn finish(self) -> Result<Value, SplitError> {
        if self.place != Place::Envelope {
            return Err(SplitError::Broken("it ends in the middle".to_owned()));
        }
        serde_json::from_slice(&self.envelope).map_err(|error| SplitError::Broken(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn split(bytes: &[u8], pieces: usize) -> Result<(Vec<Value>, Value), SplitError> {
        let mut splitter = Splitter::new();
        let mut items = Vec::new();
        for piece in bytes.chunks(pieces.max(1)) {
            splitter.push(piece, &mut |item| {
                items.push(item);
                Ok(())
            })?;
        }
        Ok((items, splitter.finish()?))
    }

    #[test]
    fn items_and_envelope() {
        let list = json!({"apiVersion": "v1", "items": [{"a": "]}\\\""}, {"b": [1, {"items": []}]}], "kind": "PodList",
            "metadata": {"continue": "x,\"items\":[", "resourceVersion": "7"}});
        for pieces in [1, 2, 3, 7, 1000] {
            let (items, envelope) = split(list.to_string().as_bytes(), pieces).expect("a list");
            assert_eq!(items, *list["items"].as_array().expect("items"));
            assert_eq!(envelope["metadata"], list["metadata"]);
            assert_eq!(envelope["kind"], "PodList");
        }
    }

    #[test]
    fn null_items_are_an_empty_list() {
        let (items, envelope) =
            split(br#"{"kind":"PodList","items":null,"metadata":{}}"#, 4).expect("a list");
        assert!(items.is_empty());
        assert_eq!(envelope["kind"], "PodList");
    }

    #[test]
    fn broken_answers_are_said_to_be_broken() {
        for text in
            ["", "{", r#"{"items":[{"a":1}"#, r#"{"items":[{"a":1},3]}"#, r#"{"items":[{"a":}]}"#, "<html>"]
        {
            assert!(split(text.as_bytes(), 5).is_err(), "{text}");
        }
    }

    #[test]
    fn what_would_fill_the_memory_is_not_parsed() {
        let heavy = format!(r#"{{"items":[{{"a":[{}0]}}]}}"#, r#"{"a":0},"#.repeat(200_000));
        for pieces in [64 << 10, usize::MAX] {
            assert!(matches!(split(heavy.as_bytes(), pieces), Err(SplitError::TooHeavy)));
        }
        let many = format!(r#"{{"items":[{}{{}}]}}"#, r#"{"a":0},"#.repeat(200_000));
        assert_eq!(split(many.as_bytes(), 64 << 10).expect("each is light").0.len(), 200_001);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("(items|[a-z\"\\\\]{0,6})", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_list_comes_apart(
            items in prop::collection::vec(prop::collection::btree_map("[a-z]{1,5}", any_json(), 0..4), 0..5),
            metadata in any_json(),
            pieces in 1usize..40,
            pretty in any::<bool>(),
        ) {
            let list = json!({"items": items, "metadata": metadata, "a": {"items": [1]}});
            let text = if pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) };
            let (got, envelope) = split(text.expect("json").as_bytes(), pieces).expect("a list");
            prop_assert_eq!(&Value::from(got), &list["items"]);
            prop_assert_eq!(&envelope["metadata"], &list["metadata"]);
        }

        #[test]
        fn no_answer_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), pieces in 1usize..20) {
            let _ = split(&bytes, pieces);
        }

        #[test]
        fn no_json_like_answer_makes_it_panic(text in "[\\[\\]{}\",:a-i\\\\ ]{0,60}", pieces in 1usize..20) {
            let _ = split(text.as_bytes(), pieces);
            let _ = split(format!("{{\"items\":[{text}").as_bytes(), pieces);
        }
    }
}
