//! UTF-8 to Python strs and back. Most strs are ASCII, which Python keeps as it is in UTF-8.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The text of a str that is ASCII and nothing but a str, read in place: this cannot fail, and no Python code runs.
#[inline]
#[allow(clippy::missing_const_for_fn, unused_variables)] // where it takes a call anyway: the stable ABI, and 3.14 on
pub fn ascii<'a>(value: &'a Bound<'_, PyString>) -> Option<&'a str> {
    #[cfg(not(any(Py_LIMITED_API, Py_3_14)))]
    // SAFETY: an ASCII str keeps its characters behind its head, a byte each.
    unsafe {
        if ffi::PyUnicode_IS_COMPACT_ASCII(value.as_ptr()) != 0 {
            let len = ffi::PyUnicode_GET_LENGTH(value.as_ptr()).cast_unsigned();
            let bytes = std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(value.as_ptr()), len);
            return Some(std::str::from_utf8_unchecked(bytes));
        }
    }
    None
}

/// The UTF-8 of a str, which lives as long as it does; None with Python's error set if it has none.
#[inline]
pub fn utf8<'a>(value: &'a Bound<'_, PyString>) -> Option<&'a str> {
    if let Some(text) = ascii(value) {
        return Some(text);
    }
    let mut len = 0;
    // SAFETY: Python gives bytes of valid UTF-8 and how many there are, or null.
    unsafe {
        let bytes = ffi::PyUnicode_AsUTF8AndSize(value.as_ptr(), &raw mut len);
        (!bytes.is_null()).then(|| std::str::from_utf8_unchecked(std::slice::from_raw_parts(bytes.cast(), len.cast_unsigned())))
    }
}

/// A str of bytes that were checked to be UTF-8, `ascii` if known to be; None with Python's error set.
#[cfg(Py_LIMITED_API)]
#[allow(clippy::unnecessary_wraps)] // the other one can run out of memory
pub fn string<'py>(py: Python<'py>, bytes: &[u8], _ascii: bool) -> Option<Bound<'py, PyString>> {
    // SAFETY: checked before anything is built.
    Some(PyString::new(py, unsafe { std::str::from_utf8_unchecked(bytes) }))
}

#[cfg(not(Py_LIMITED_API))]
pub use direct::string;

/// Writes each character straight into the object where it stays, which the stable ABI does not offer. Python's own decoder
/// looks once more for the errors that were ruled out before.
#[cfg(not(Py_LIMITED_API))]
mod direct {
    use pyo3::ffi;
    use pyo3::prelude::*;
    use pyo3::types::PyString;

    use crate::msgpack::write::copy_short;

    /// A str of bytes that were checked to be UTF-8, `ascii` if known to be; None with Python's error set.
    #[inline]
    pub fn string<'py>(py: Python<'py>, bytes: &[u8], ascii: bool) -> Option<Bound<'py, PyString>> {
        // SAFETY: checked before anything is built.
        let text = unsafe { std::str::from_utf8_unchecked(bytes) };
        if bytes.len() < 2 {
            return Some(PyString::new(py, text)); // empty and one-letter strs are shared objects, so nobody may write to them
        }
        // SAFETY: each width holds the characters below the next lead byte, and `fill` writes one for each that was counted.
        unsafe {
            if ascii || is_ascii(bytes) {
                return filled(py, bytes.len(), 0x7f, |to| copy(bytes, to));
            }
            // CPython keeps every str in its narrowest form. The largest byte is the first of the largest character: it tells.
            match bytes.iter().fold(0, |largest, &byte| largest.max(byte)) {
                ..=0xc3 => filled::<u8>(py, text.chars().count(), 0xff, |to| widen(to, text)),
                0xc4..=0xef => filled::<u16>(py, text.chars().count(), 0xffff, |to| widen(to, text)),
                0xf0.. => filled::<u32>(py, text.chars().count(), 0x0010_ffff, |to| widen(to, text)),
            }
        }
    }

    /// A str of `len` characters that `fill` writes, all of them, none above `largest`.
    ///
    /// # Safety
    /// `len` is 1 or more, `T` is the width that a str gets with this largest character, one of them needs it.
    #[inline]
    unsafe fn filled<T>(py: Python<'_>, len: usize, largest: u32, fill: impl FnOnce(*mut T)) -> Option<Bound<'_, PyString>> {
        // SAFETY: a fresh str that nobody else has seen, with room for `len` characters as wide as `T`.
        unsafe {
            let text = Bound::from_owned_ptr_or_opt(py, ffi::PyUnicode_New(len.cast_signed(), largest))?;
            fill(ffi::PyUnicode_1BYTE_DATA(text.as_ptr()).cast());
            Some(text.cast_into_unchecked())
        }
    }

    #[inline]
    fn is_ascii(bytes: &[u8]) -> bool {
        let seen = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) if bytes.len() <= 16 => u64::from_ne_bytes(*first) | u64::from_ne_bytes(*last),
            (Some(_), _) => return bytes.is_ascii(),
            _ => bytes.iter().fold(0, |seen, &byte| seen | u64::from(byte)),
        };
        seen & HIGH_BITS == 0
    }

    /// # Safety
    /// There is room for `bytes` at `to`.
    #[inline]
    unsafe fn copy(bytes: &[u8], to: *mut u8) {
        unsafe {
            if bytes.len() <= 32 { copy_short(bytes, to) } else { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
        }
    }

    trait Unit: Copy {
        /// Whoever calls it has made sure that the character fits.
        fn of(character: u32) -> Self;
    }

    #[allow(clippy::cast_possible_truncation)]
    impl Unit for u8 {
        #[inline]
        fn of(character: u32) -> Self {
            character as Self
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    impl Unit for u16 {
        #[inline]
        fn of(character: u32) -> Self {
            character as Self
        }
    }

    impl Unit for u32 {
        #[inline]
        fn of(character: u32) -> Self {
            character
        }
    }

    /// Writes one unit a character, ASCII eight at a time.
    ///
    /// # Safety
    /// `to` has room for as many units as `text` has characters.
    unsafe fn widen<T: Unit>(to: *mut T, text: &str) {
        let (mut rest, mut to) = (text.as_bytes(), to);
        // SAFETY: `text` is UTF-8, so the bytes of a character are all there, and each character takes one place.
        unsafe {
            while let Some(&a) = rest.first() {
                let byte = |index: usize| u32::from(*rest.get_unchecked(index));
                let low = |index: usize| byte(index) & 0x3f;
                let (letter, len) = match a {
                    0..=0x7f => {
                        if let Some(block) = rest.first_chunk::<8>()
                            && u64::from_ne_bytes(*block) & HIGH_BITS == 0
                        {
                            to.cast::<[T; 8]>().write_unaligned(block.map(|byte| T::of(byte.into())));
                            (rest, to) = (rest.get_unchecked(8..), to.add(8));
                            continue;
                        }
                        (byte(0), 1)
                    }
                    0x80..=0xdf => ((byte(0) & 0x1f) << 6 | low(1), 2),
                    0xe0..=0xef => ((byte(0) & 0x0f) << 12 | low(1) << 6 | low(2), 3),
                    0xf0.. => ((byte(0) & 0x07) << 18 | low(1) << 12 | low(2) << 6 | low(3), 4),
                };
                to.write(T::of(letter));
                (rest, to) = (rest.get_unchecked(len..), to.add(1));
            }
        }
    }

    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
}
