//! Reads JSON the way Go's `encoding/json` does, as far as its callers rely on it: keys match in any
//! case, unknown keys are skipped, null is the same as nothing, and of a key given twice the last
//! counts (a repeated object replaces the first; Go would merge the two).
//!
//! Nothing is built that nobody asked for, and text is borrowed from the body.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A JSON string, borrowed from the body unless it was written with escapes.
///
/// Invariant: borrowed text stood between quotes without any escape, so it can be written back as
/// it is. Only the decoder makes one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// What the string says.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Writes it as a JSON string.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Cow::Borrowed(text) => {
                out.push(b'"');
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
            Cow::Owned(text) => write_scalar(out, text),
        }
    }
}

/// Writes text or a number, which JSON has a form for always.
pub fn write_scalar<T: Serialize + ?Sized>(out: &mut Vec<u8>, scalar: &T) {
    let written = serde_json::to_writer(out, scalar);
    debug_assert!(written.is_ok(), "a Vec takes every write");
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

struct TextVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
    type Value = Text<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'a>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

/// A value that is read from a JSON object, key by key.
pub(crate) trait Object<'de>: Default {
    /// What errors call it.
    const NAME: &'static str;

    /// Takes the value of `key` from `map`: one that it knows, compared with [`same`], or [`skip`]s it.
    fn read<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Whether a key is that name, in any case.
pub(crate) fn same(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name)
}

/// Passes over a value, however deep, without recursion.
pub(crate) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// The value at hand, its default when it is null.
pub(crate) fn value<'de, T: Deserialize<'de> + Default, A: MapAccess<'de>>(map: &mut A) -> Result<T, A::Error> {
    Ok(map.next_value::<Option<T>>()?.unwrap_or_default())
}

/// The object at hand, its default when it is null.
pub(crate) fn object<'de, T: Object<'de>, A: MapAccess<'de>>(map: &mut A) -> Result<T, A::Error> {
    Ok(map.next_value::<Option<Read<T>>>()?.map(|read| read.0).unwrap_or_default())
}

/// Makes an [`Object`] deserializable.
pub(crate) struct Read<T>(pub(crate) T);

impl<'de, T: Object<'de>> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(T::default())).map(Self)
    }
}

/// A list of at most `MAX` values. Small ones such as `{}` take dozens of times the memory that their
/// text took, so a limit on the body alone would not limit that.
pub(crate) struct Few<T, const MAX: usize>(pub(crate) Vec<T>);

impl<T, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor(PhantomData))
    }
}

struct FewVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for FewVisitor<T, MAX> {
    type Value = Few<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            if values.len() == MAX {
                return Err(A::Error::custom(format_args!("more than {MAX} entries in a list")));
            }
            values.push(value);
        }
        Ok(Few(values))
    }
}

struct ObjectVisitor<T>(T);

impl<'de, T: Object<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::NAME)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<T, A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            self.0.read(key.as_str(), &mut map)?;
        }
        Ok(self.0)
    }
}

/// `null` is as good as absent.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
