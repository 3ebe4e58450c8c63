//! JSON values that take little room: what a bundle is made of.
//!
//! A bundle of a large installation holds a hundred thousand objects, which are read once and never
//! changed. [`serde_json::Value`] is made for change: each of its maps is a tree whose smallest node
//! takes more than 600 bytes, and each key is a text of its own. Here a map is a sorted list that is
//! as long as it must be, and the names of fields that Kubernetes uses everywhere are numbers.
//!
//! The methods have the names and the meaning of those of [`serde_json::Value`].

mod key;
mod map;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::Number;

pub use self::key::Key;
pub use self::map::Map;

/// A JSON value.
#[derive(Clone, PartialEq, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(Box<str>),
    /// A list.
    Array(Box<[Self]>),
    /// An object.
    Object(Map),
}

static NULL: Value = Value::Null;

impl Value {
    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Whether it is a text.
    #[must_use]
    pub fn is_string(&self) -> bool {
        matches!(self, Self::String(_))
    }

    /// Whether it is a number.
    #[must_use]
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// `true` or `false`, if it is one of them.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, if it is one that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The integer, if it is one that fits and is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(list) => Some(list),
            _ => None,
        }
    }

    /// The fields, if it is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Self::Object(map) => Some(map),
            _ => None,
        }
    }

    /// The items to be changed, if it is a list. Their number stays.
    #[must_use]
    pub fn as_array_mut(&mut self) -> Option<&mut [Self]> {
        match self {
            Self::Array(list) => Some(list),
            _ => None,
        }
    }

    /// The fields to be changed, if it is an object.
    #[must_use]
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        match self {
            Self::Object(map) => Some(map),
            _ => None,
        }
    }

    /// The fields of the object that is a field of this one, to be changed.
    #[must_use]
    pub fn field_mut(&mut self, name: &str) -> Option<&mut Map> {
        self.as_object_mut()?.get_mut(name)?.as_object_mut()
    }

    /// The value, of which `null` stays behind.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The field of this name, or the item at this position.
    #[must_use]
    pub fn get<I: Index>(&self, index: I) -> Option<&Self> {
        index.of(self)
    }

    /// The value at a JSON pointer. Copies no token that has no escape in it, and rules look up millions.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        let Some(path) = pointer.strip_prefix('/') else { return pointer.is_empty().then_some(self) };
        path.split('/').try_fold(self, |value, token| match value {
            Self::Object(map) if token.contains('~') => map.get(&token.replace("~1", "/").replace("~0", "~")),
            Self::Object(map) => map.get(token),
            Self::Array(list) => {
                let canonical = !token.starts_with('+') && (token == "0" || !token.starts_with('0'));
                list.get(token.parse::<usize>().ok().filter(|_| canonical)?)
            }
            _ => None,
        })
    }

    /// The same for whoever changes it, sends it, or needs a library that takes this type.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => serde_json::Value::Bool(*value),
            Self::Number(number) => serde_json::Value::Number(number.clone()),
            Self::String(text) => serde_json::Value::String(text.to_string()),
            Self::Array(list) => serde_json::Value::Array(list.iter().map(Self::to_json).collect()),
            Self::Object(map) => serde_json::Value::Object(
                map.iter().map(|(key, value)| (key.to_owned(), value.to_json())).collect(),
            ),
        }
    }
}

/// JSON without white space.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The items in a place of just their size. Shrinking a list leaves it where it is if that is not more than
/// twice as large as needed, and values are kept for long.
fn exact<T>(mut list: Vec<T>) -> Box<[T]> {
    if list.len() == list.capacity() {
        return list.into_boxed_slice();
    }
    let mut exact = Vec::with_capacity(list.len());
    exact.append(&mut list);
    exact.into_boxed_slice()
}

/// The same for a text.
fn exact_text(text: String) -> Box<str> {
    if text.len() == text.capacity() { text.into_boxed_str() } else { text.as_str().into() }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => Self::Number(number),
            serde_json::Value::String(text) => Self::String(exact_text(text)),
            serde_json::Value::Array(list) => Self::Array(list.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(map) => {
                Self::Object(map.into_iter().map(|(key, value)| (Key::from(key), value.into())).collect())
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(exact_text(text))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// Numbers of all sizes.
macro_rules! from_integers {
    ($($integer:ty),*) => { $(
        impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Number(value.into())
            }
        }
    )* };
}

from_integers!(u16, i32, u32, i64, u64, usize);

impl From<f64> for Value {
    /// `null` for what JSON has no number for.
    fn from(value: f64) -> Self {
        Number::from_f64(value).map_or(Self::Null, Self::Number)
    }
}

impl From<Vec<Self>> for Value {
    fn from(list: Vec<Self>) -> Self {
        Self::Array(exact(list))
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Object(map)
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        self.as_i64() == Some(*other)
    }
}

impl PartialEq<bool> for Value {
    fn eq(&self, other: &bool) -> bool {
        self.as_bool() == Some(*other)
    }
}

/// What a value can be asked for with: the name of a field, the position of an item.
pub trait Index {
    /// What is there.
    fn of(self, value: &Value) -> Option<&Value>;
}

impl Index for &&str {
    fn of(self, value: &Value) -> Option<&Value> {
        value.as_object()?.get(self)
    }
}

impl Index for &str {
    fn of(self, value: &Value) -> Option<&Value> {
        value.as_object()?.get(self)
    }
}

impl Index for &String {
    fn of(self, value: &Value) -> Option<&Value> {
        value.as_object()?.get(self)
    }
}

impl Index for usize {
    fn of(self, value: &Value) -> Option<&Value> {
        value.as_array()?.get(self)
    }
}

/// What is there, `null` where nothing is.
impl<I: Index> std::ops::Index<I> for Value {
    type Output = Self;

    fn index(&self, index: I) -> &Self {
        index.of(self).unwrap_or(&NULL)
    }
}

/// A value for tests, written as [`serde_json::json`] takes it.
#[cfg(test)]
macro_rules! json {
    ($($json:tt)+) => { $crate::model::json::Value::from(::serde_json::json!($($json)+)) };
}
#[cfg(test)]
pub(crate) use json;
