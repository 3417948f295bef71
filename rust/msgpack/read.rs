//! Reading: a cursor over bytes that nobody vouches for. Every length is checked against what is left before it is used.

use crate::error::{Error, Result};

/// One mark, with its length or value; containers are only announced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mark<'a> {
    Nil,
    Bool(bool),
    UInt(u64),
    /// Always negative.
    Int(i64),
    Float(f64),
    /// Not yet checked to be UTF-8.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    Ext(i8, &'a [u8]),
    Array(usize),
    Map(usize),
}

#[derive(Debug, Clone)]
pub struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) ascii: bool,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, ascii: true }
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Whether all text that `skip` stepped over was ASCII.
    pub fn only_ascii(&self) -> bool {
        self.ascii
    }

    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes from the cursor to `end`.
    pub fn ahead(&self, end: usize) -> &'a [u8] {
        &self.bytes[self.at..end]
    }

    /// The bytes from `start` to the cursor.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    pub fn end(&self) -> Result<()> {
        match self.left() {
            0 => Ok(()),
            left => Err(Error::decode(self.at, format!("{left} bytes follow the value"))),
        }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some(taken) = self.bytes.get(self.at..).and_then(|rest| rest.get(..len)) else { return Err(self.short(len)) };
        self.at += len;
        Ok(taken)
    }

    #[cold]
    fn short(&self, len: usize) -> Error {
        Error::decode(self.at, format!("{len} bytes announced, {} are left", self.left()))
    }

    #[inline]
    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    #[inline]
    fn length<const N: usize>(&mut self) -> Result<usize> {
        Ok(self.number::<N>()?.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)))
    }

    fn ext(&mut self, len: usize) -> Result<Mark<'a>> {
        let [kind] = self.number::<1>()?;
        Ok(Mark::Ext(kind.cast_signed(), self.take(len)?))
    }

    /// A container's length, which needs at least `each` more bytes an item to be true.
    #[inline]
    fn announced(&self, len: usize, each: usize) -> Result<usize> {
        if len > self.left() / each {
            return Err(self.too_many(len));
        }
        Ok(len)
    }

    #[cold]
    fn too_many(&self, len: usize) -> Error {
        Error::decode(self.at, format!("{len} items announced, {} bytes are left", self.left()))
    }

    #[inline]
    fn array_of(&self, len: usize) -> Result<Mark<'a>> {
        Ok(Mark::Array(self.announced(len, 1)?))
    }

    #[inline]
    fn map_of(&self, len: usize) -> Result<Mark<'a>> {
        Ok(Mark::Map(self.announced(len, 2)?))
    }

    fn signed(value: i64) -> Mark<'a> {
        u64::try_from(value).map_or(Mark::Int(value), Mark::UInt)
    }

    /// The next value if it is a string of up to 31 bytes; otherwise nothing is read. Most keys and many values are.
    #[inline]
    pub fn short_str(&mut self) -> Option<&'a [u8]> {
        let (&mark, rest) = self.bytes.get(self.at..)?.split_first()?;
        let text = rest.get(..usize::from(mark & !STR_MARK)).filter(|_| mark & STR_MARK == SHORT_STR)?;
        self.at += 1 + text.len();
        Some(text)
    }

    /// The next value if it is a number of up to 127; otherwise nothing is read.
    #[inline]
    pub fn short_uint(&mut self) -> Option<u8> {
        let mark = *self.bytes.get(self.at).filter(|&&mark| mark < 0x80)?;
        self.at += 1;
        Some(mark)
    }

    /// Reads one mark. The caller reads the items of a container itself.
    #[inline]
    pub fn mark(&mut self) -> Result<Mark<'a>> {
        let start = self.at;
        let [mark] = self.number::<1>()?;
        Ok(match mark {
            0x00..=0x7f => Mark::UInt(u64::from(mark)),
            0x80..=0x8f => self.map_of(usize::from(mark & 15))?,
            0x90..=0x9f => self.array_of(usize::from(mark & 15))?,
            0xa0..=0xbf => Mark::Str(self.take(usize::from(mark & 31))?),
            0xc0 => Mark::Nil,
            0xc1 => return Err(Error::decode(start, "0xc1 is no msgpack mark")),
            0xc2 | 0xc3 => Mark::Bool(mark == 0xc3),
            0xc4..=0xc6 => {
                let len = self.sized(mark - 0xc4)?;
                Mark::Bin(self.take(len)?)
            }
            0xc7..=0xc9 => {
                let len = self.sized(mark - 0xc7)?;
                self.ext(len)?
            }
            0xca => Mark::Float(f64::from(f32::from_be_bytes(self.number()?))),
            0xcb => Mark::Float(f64::from_be_bytes(self.number()?)),
            0xcc => Mark::UInt(u64::from(u8::from_be_bytes(self.number()?))),
            0xcd => Mark::UInt(u64::from(u16::from_be_bytes(self.number()?))),
            0xce => Mark::UInt(u64::from(u32::from_be_bytes(self.number()?))),
            0xcf => Mark::UInt(u64::from_be_bytes(self.number()?)),
            0xd0 => Self::signed(i64::from(i8::from_be_bytes(self.number()?))),
            0xd1 => Self::signed(i64::from(i16::from_be_bytes(self.number()?))),
            0xd2 => Self::signed(i64::from(i32::from_be_bytes(self.number()?))),
            0xd3 => Self::signed(i64::from_be_bytes(self.number()?)),
            0xd4..=0xd8 => self.ext(1 << (mark - 0xd4))?,
            0xd9..=0xdb => {
                let len = self.sized(mark - 0xd9)?;
                Mark::Str(self.take(len)?)
            }
            0xdc => {
                let len = self.length::<2>()?;
                self.array_of(len)?
            }
            0xdd => {
                let len = self.length::<4>()?;
                self.array_of(len)?
            }
            0xde => {
                let len = self.length::<2>()?;
                self.map_of(len)?
            }
            0xdf => {
                let len = self.length::<4>()?;
                self.map_of(len)?
            }
            0xe0..=0xff => Mark::Int(i64::from(mark.cast_signed())),
        })
    }

    /// A length of 1, 2 or 4 bytes.
    fn sized(&mut self, width: u8) -> Result<usize> {
        match width {
            0 => self.length::<1>(),
            1 => self.length::<2>(),
            _ => self.length::<4>(),
        }
    }

    pub fn str(&mut self) -> Result<&'a str> {
        if let Some(short) = self.short_str() {
            return text(short, self.at - short.len());
        }
        let start = self.at;
        match self.mark()? {
            Mark::Str(bytes) => text(bytes, self.at - bytes.len()),
            other => Err(expected(start, "a string", other)),
        }
    }

    pub fn uint(&mut self) -> Result<u64> {
        let start = self.at;
        match self.mark()? {
            Mark::UInt(value) => Ok(value),
            other => Err(expected(start, "a number from 0", other)),
        }
    }

    pub fn int(&mut self) -> Result<i64> {
        let start = self.at;
        match self.mark()? {
            Mark::Int(value) => Ok(value),
            Mark::UInt(value) => {
                i64::try_from(value).map_err(|_| Error::decode(start, "the number does not fit 64 bits with a sign"))
            }
            other => Err(expected(start, "a whole number", other)),
        }
    }

    pub fn array(&mut self) -> Result<usize> {
        let start = self.at;
        match self.mark()? {
            Mark::Array(len) => Ok(len),
            other => Err(expected(start, "a list", other)),
        }
    }

    pub fn map(&mut self) -> Result<usize> {
        let start = self.at;
        match self.mark()? {
            Mark::Map(len) => Ok(len),
            other => Err(expected(start, "a map", other)),
        }
    }
}

/// A text that is shorter is looked at faster than a checker of long ones is called.
const SHORT_TEXT: usize = 32;

/// Checked UTF-8; `offset` is where the bytes start.
#[inline]
pub fn text(bytes: &[u8], offset: usize) -> Result<&str> {
    if bytes.len() < SHORT_TEXT && bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    simdutf8::basic::from_utf8(bytes).or_else(|_| {
        std::str::from_utf8(bytes).map_err(|error| Error::decode(offset + error.valid_up_to(), "the string is not UTF-8"))
    })
}

/// The mark of a string of up to 31 bytes, whose length is in the other bits.
pub(super) const SHORT_STR: u8 = 0xa0;
pub(super) const STR_MARK: u8 = 0xe0;

fn expected(offset: usize, what: &str, found: Mark<'_>) -> Error {
    let found = match found {
        Mark::Nil => "nil",
        Mark::Bool(_) => "a bool",
        Mark::UInt(_) | Mark::Int(_) => "a number",
        Mark::Float(_) => "a float",
        Mark::Str(_) => "a string",
        Mark::Bin(_) => "bytes",
        Mark::Ext(..) => "an extension",
        Mark::Array(_) => "a list",
        Mark::Map(_) => "a map",
    };
    Error::decode(offset, format!("{what} was expected, not {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::write;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: i64) {
            let mut out = Vec::new();
            write::int(&mut out, value);
            prop_assert_eq!(Reader::new(&out).int(), Ok(value));
        }

        #[test]
        fn strings_come_back(value in ".{0,300}") {
            let mut out = Vec::new();
            write::str(&mut out, &value);
            prop_assert_eq!(Reader::new(&out).str(), Ok(value.as_str()));
        }
    }

    #[test]
    fn a_length_that_cannot_be_true_is_refused_at_once() {
        assert!(Reader::new(&[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0]).mark().is_err());
        assert!(Reader::new(&[0xdb, 0xff, 0xff, 0xff, 0xff, b'a']).mark().is_err());
    }
}
