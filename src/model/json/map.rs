//! The fields of an object: a list in the order of their names.

use super::{Key, Value, exact};

/// Up to this many fields are looked through one after the other.
const FEW: usize = 32;

/// The fields of an object, each once, in the order of their names.
#[derive(Clone, PartialEq, Default)]
pub struct Map(Box<[(Key, Value)]>);

impl Map {
    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.position(name).map(|at| &self.0[at].1)
    }

    /// The value of a field, to be changed.
    #[must_use]
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.position(name).map(|at| &mut self.0[at].1)
    }

    fn position(&self, name: &str) -> Option<usize> {
        if self.0.len() <= FEW {
            let wanted = Key::lookup(name);
            return self.0.iter().position(|(key, _)| key.is(wanted, name));
        }
        self.0.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()
    }

    /// Whether there is such a field.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names and values, in the order of the names.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// The names, in order.
    #[must_use]
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// The values, in the order of their names.
    #[must_use]
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    /// Adds a field, or changes its value. Every field that is added costs a copy of the list.
    pub fn insert(&mut self, name: &str, value: Value) {
        if let Some(old) = self.get_mut(name) {
            *old = value;
            return;
        }
        let at = self.0.partition_point(|(key, _)| key.as_str() < name);
        let mut fields = std::mem::take(&mut self.0).into_vec();
        fields.reserve_exact(1);
        fields.insert(at, (Key::from(name), value));
        self.0 = exact(fields);
    }

    /// Drops the fields for which this is not so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Value) -> bool) {
        if self.0.iter().all(|(key, value)| keep(key.as_str(), value)) {
            return;
        }
        let mut fields = std::mem::take(&mut self.0).into_vec();
        fields.retain(|(key, value)| keep(key.as_str(), value));
        self.0 = exact(fields);
    }
}

/// Of fields with the same name the last counts, as in every common reader of JSON.
impl FromIterator<(Key, Value)> for Map {
    fn from_iter<T: IntoIterator<Item = (Key, Value)>>(fields: T) -> Self {
        let mut fields: Vec<(Key, Value)> = fields.into_iter().collect();
        if !fields.is_sorted_by(|(a, _), (b, _)| a.as_str() < b.as_str()) {
            fields.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
            fields.dedup_by(|later, first| {
                let same = first.0 == later.0;
                if same {
                    std::mem::swap(&mut first.1, &mut later.1);
                }
                same
            });
        }
        Self(exact(fields))
    }
}

/// The fields of a [`Map`].
#[derive(Clone)]
pub struct Iter<'a>(std::slice::Iter<'a, (Key, Value)>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key.as_str(), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back().map(|(key, value)| (key.as_str(), value))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a str, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
