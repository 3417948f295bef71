//! JSON to msgpack, just as the encoder writes what Python's decoder makes of the same text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::msgpack::write;

/// From here on a JSON number that came as a float may have been an int, of more than 64 bits.
const WHOLE: f64 = 9_223_372_036_854_775_808.0;
/// Up to so many keys are compared each with each.
const FEW_KEYS: usize = 12;

/// Writes one value; an error means only that Python has to judge the line.
pub struct Data<'w> {
    pub out: &'w mut Vec<u8>,
    /// Where the keys of the maps around it stand in `out`.
    pub keys: &'w mut Vec<(usize, usize)>,
    /// How many elements may come yet.
    pub left: &'w mut usize,
    /// How many containers may be within each other from here on.
    pub depth: usize,
}

impl Data<'_> {
    /// The same for a value within this one.
    fn inner(&mut self) -> Data<'_> {
        Data { out: self.out, keys: self.keys, left: self.left, depth: self.depth - 1 }
    }

    fn enter<E: Error>(&self) -> Result<usize, E> {
        if self.depth == 0 { Err(E::custom("depth")) } else { Ok(self.out.len()) }
    }

    fn take<E: Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("elements"))?;
        Ok(())
    }

    /// Puts a container's mark before it, which is known once its items are counted. Most marks are a byte, which was kept free.
    fn mark(&mut self, start: usize, len: usize, mark: impl Fn(&mut Vec<u8>, usize)) {
        let mut bytes = Vec::new();
        if len <= 15 {
            mark(&mut bytes, len);
            self.out[start] = bytes[0];
        } else {
            mark(&mut bytes, len);
            self.out.splice(start..=start, bytes);
        }
    }

    fn is_twice(&mut self, first: usize) -> bool {
        let Self { out, keys, .. } = self;
        let keys = &mut keys[first..];
        if keys.len() <= FEW_KEYS {
            let same = |&(a, a_end): &(usize, usize), &(b, b_end): &(usize, usize)| out[a..a_end] == out[b..b_end];
            return keys.iter().enumerate().any(|(index, key)| keys[..index].iter().any(|other| same(key, other)));
        }
        let text = |&(start, end): &(usize, usize)| &out[start..end];
        keys.sort_unstable_by(|one, other| text(one).cmp(text(other)));
        keys.windows(2).any(|two| text(&two[0]) == text(&two[1]))
    }
}

impl<'a> DeserializeSeed<'a> for Data<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Data<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        write::nil(self.out);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        write::bool(self.out, value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        write::int(self.out, value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        write::uint(self.out, value);
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        // An int of many digits comes as a float too, and so does -0.
        if value.abs() >= WHOLE || (value == 0.0 && value.is_sign_negative()) {
            return Err(E::custom("number"));
        }
        write::float(self.out, value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        write::str(self.out, value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut items: A) -> Result<(), A::Error> {
        let start = self.enter()?;
        self.out.push(0);
        let mut len = 0;
        while items.next_element_seed(self.inner())?.is_some() {
            self.take()?;
            len += 1;
        }
        self.mark(start, len, write::array);
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut items: A) -> Result<(), A::Error> {
        let (start, first) = (self.enter()?, self.keys.len());
        self.out.push(0);
        let mut len = 0;
        while items.next_key_seed(Key(&mut self))?.is_some() {
            self.take()?;
            items.next_value_seed(self.inner())?;
            len += 1;
        }
        let twice = self.is_twice(first);
        self.keys.truncate(first);
        if twice {
            return Err(A::Error::custom("twice"));
        }
        self.mark(start, len, write::map);
        Ok(())
    }
}

/// Writes a key and notes where it stands.
struct Key<'k, 'w>(&'k mut Data<'w>);

impl<'a> DeserializeSeed<'a> for Key<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<(), E> {
        write::str(self.0.out, key);
        let end = self.0.out.len();
        self.0.keys.push((end - key.len(), end));
        Ok(())
    }
}
