//! msgpack to Python values. The bytes were checked whole before this runs, so it only builds.

use std::cell::Cell;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
#[cfg(Py_LIMITED_API)]
use pyo3::types::PyList;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use super::text::string;
use super::{DecodeError, raise};
use crate::error::Result as CoreResult;
use crate::msgpack::{
    Limits, TIMESTAMP,
    read::{Mark, Reader},
};

const UNHASHABLE: &str = "a map's key is a map or an extension, which Python cannot hold as a key";

const CACHE_SLOTS: usize = 1024;
const CACHED_KEY_BYTES_MAX: usize = 64;

/// Map keys seen before: field names repeat in every event, and a shared str is also hashed only once.
struct KeyCache {
    slots: Box<[Option<Known>]>,
}

struct Known {
    ends: Ends,
    bytes: [u8; CACHED_KEY_BYTES_MAX],
    text: Py<PyString>,
}

/// Length, first and last bytes of a key. For up to 16 bytes these are the whole key.
#[derive(PartialEq, Clone, Copy)]
struct Ends {
    len: usize,
    first: u64,
    last: u64,
}

impl Ends {
    const WHOLE: usize = 16;

    #[inline]
    fn of(key: &[u8]) -> Self {
        let (first, last) = if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
        } else {
            (key.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0)
        };
        Self { len: key.len(), first, last }
    }

    /// Only speed depends on how it spreads.
    #[inline]
    fn slot(self) -> usize {
        const MULTIPLIER: u64 = 0x517c_c1b7_2722_0a95;
        let mixed = (self.first ^ self.len as u64).wrapping_mul(MULTIPLIER).rotate_left(29) ^ self.last;
        usize::try_from(mixed.wrapping_mul(MULTIPLIER) >> 32).unwrap_or(0) % CACHE_SLOTS
    }
}

impl KeyCache {
    fn new() -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(CACHE_SLOTS).collect() }
    }

    /// The str of a key of at most `CACHED_KEY_BYTES_MAX` bytes; None with Python's error set.
    #[inline]
    fn get<'py>(&mut self, py: Python<'py>, key: &[u8]) -> Option<Bound<'py, PyString>> {
        let ends = Ends::of(key);
        let slot = &mut self.slots[ends.slot()];
        match slot {
            Some(known) if known.ends == ends && (key.len() <= Ends::WHOLE || known.bytes[..key.len()] == *key) => {
                Some(known.text.bind(py).clone())
            }
            _ => Self::learn(py, slot, ends, key),
        }
    }

    #[cold]
    fn learn<'py>(py: Python<'py>, slot: &mut Option<Known>, ends: Ends, key: &[u8]) -> Option<Bound<'py, PyString>> {
        let text = string(py, key, false)?;
        let mut bytes = [0; CACHED_KEY_BYTES_MAX];
        bytes[..key.len()].copy_from_slice(key);
        *slot = Some(Known { ends, bytes, text: text.clone().unbind() });
        Some(text)
    }
}

thread_local! {
    /// Taken out while a value is built and put back afterwards, so that a call from within simply works without it.
    static KEYS: Cell<Option<KeyCache>> = const { Cell::new(None) };
}

/// Checks the bytes whole, then builds the value.
pub fn checked<'py>(py: Python<'py>, bytes: &[u8], limits: &Limits) -> PyResult<Bound<'py, PyAny>> {
    if bytes.len() > limits.payload_bytes {
        return Err(DecodeError::new_err((
            -1,
            format!("{} bytes, the limit is {}; raise payload_bytes_max", bytes.len(), limits.payload_bytes),
        )));
    }
    let ascii = check(bytes, limits).map_err(|error| raise(error, ""))?;
    build_known(py, bytes, ascii)
}

/// One value and nothing behind it, within the limits; tells whether all its text is ASCII.
pub fn check(bytes: &[u8], limits: &Limits) -> CoreResult<bool> {
    let mut reader = Reader::new(bytes);
    reader.skip(limits)?;
    reader.end()?;
    Ok(reader.only_ascii())
}

/// Builds the value of bytes that were checked before.
pub fn build<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    build_known(py, bytes, false)
}

/// The same, `ascii` if all text is known to be.
fn build_known<'py>(py: Python<'py>, bytes: &[u8], ascii: bool) -> PyResult<Bound<'py, PyAny>> {
    KEYS.with(|kept| {
        let keys = kept.take().unwrap_or_else(KeyCache::new);
        let mut builder = Builder { py, reader: Reader::new(bytes), ascii, keys, failure: None };
        let value = builder.value();
        let outcome = value.ok_or_else(|| builder.reason());
        kept.set(Some(builder.keys));
        outcome
    })
}

/// Its functions return None with the reason in `failure` or set as Python's error: so a result is one pointer, and comes
/// back in a register.
struct Builder<'a, 'py> {
    py: Python<'py>,
    reader: Reader<'a>,
    ascii: bool,
    keys: KeyCache,
    failure: Option<PyErr>,
}

impl<'a, 'py> Builder<'a, 'py> {
    fn value(&mut self) -> Option<Bound<'py, PyAny>> {
        if let Some(bytes) = self.reader.short_str() {
            return string(self.py, bytes, self.ascii).map(Bound::into_any);
        }
        if let Some(value) = self.reader.short_uint() {
            // SAFETY: a new reference, or null with the error set.
            return unsafe { Bound::from_owned_ptr_or_opt(self.py, ffi::PyLong_FromLong(value.into())) };
        }
        self.any_value()
    }

    fn any_value(&mut self) -> Option<Bound<'py, PyAny>> {
        let py = self.py;
        // SAFETY: each call returns a new reference, or null with the error set.
        let built = unsafe {
            match self.mark()? {
                Mark::Str(bytes) => return string(py, bytes, self.ascii).map(Bound::into_any),
                Mark::UInt(value) => ffi::PyLong_FromUnsignedLongLong(value),
                Mark::Int(value) => ffi::PyLong_FromLongLong(value),
                Mark::Float(value) => ffi::PyFloat_FromDouble(value),
                Mark::Nil => return Some(py.None().into_bound(py)),
                Mark::Bool(value) => ffi::PyBool_FromLong(value.into()),
                Mark::Map(len) => return self.dict(len),
                Mark::Array(len) => return self.list(len),
                Mark::Bin(bytes) => return Some(PyBytes::new(py, bytes).into_any()),
                Mark::Ext(kind, bytes) => return self.kept(ext(py, kind, bytes)),
            }
        };
        unsafe { Bound::from_owned_ptr_or_opt(py, built) }
    }

    #[inline]
    fn mark(&mut self) -> Option<Mark<'a>> {
        match self.reader.mark() {
            Ok(mark) => Some(mark),
            Err(error) => self.kept(Err(raise(error, ""))),
        }
    }

    #[cold]
    fn reason(&mut self) -> PyErr {
        self.failure.take().unwrap_or_else(|| PyErr::fetch(self.py))
    }

    #[cold]
    fn failed<T>(&mut self, error: PyErr) -> Option<T> {
        self.failure = Some(error);
        None
    }

    #[inline]
    fn kept<T>(&mut self, outcome: PyResult<T>) -> Option<T> {
        outcome.map_or_else(|error| self.failed(error), Some)
    }

    #[cfg(not(Py_LIMITED_API))]
    fn list(&mut self, len: usize) -> Option<Bound<'py, PyAny>> {
        // SAFETY: a fresh list with `len` empty places, each filled once with an owned reference; the garbage collector
        // and the destructor both accept places that are still empty.
        unsafe {
            let list = Bound::from_owned_ptr_or_opt(self.py, ffi::PyList_New(len.cast_signed()))?;
            for index in 0..len {
                let item = self.value()?;
                ffi::PyList_SET_ITEM(list.as_ptr(), index.cast_signed(), item.into_ptr());
            }
            Some(list)
        }
    }

    #[cfg(Py_LIMITED_API)]
    fn list(&mut self, len: usize) -> Option<Bound<'py, PyAny>> {
        let list = PyList::empty(self.py);
        for _ in 0..len {
            let item = self.value()?;
            self.kept(list.append(item))?;
        }
        Some(list.into_any())
    }

    fn dict(&mut self, len: usize) -> Option<Bound<'py, PyAny>> {
        let dict = PyDict::new(self.py);
        for _ in 0..len {
            let start = self.reader.offset();
            let key = self.key()?;
            let value = self.value()?;
            // SAFETY: a dict and two live objects.
            if unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) } != 0 {
                return self.no_key(start);
            }
        }
        Some(dict.into_any())
    }

    /// Takes Python's error: a key that cannot be hashed, or no memory.
    #[cold]
    fn no_key<T>(&mut self, start: usize) -> Option<T> {
        let error = PyErr::fetch(self.py);
        let unhashable = error.is_instance_of::<PyTypeError>(self.py);
        self.failed(if unhashable { DecodeError::new_err((start, UNHASHABLE)) } else { error })
    }

    /// Foreign writers use any value as key; a list becomes a tuple so that it can be one.
    #[inline]
    fn key(&mut self) -> Option<Bound<'py, PyAny>> {
        match self.reader.short_str() {
            Some(bytes) => self.keys.get(self.py, bytes).map(Bound::into_any),
            None => self.any_key(),
        }
    }

    #[cold]
    fn any_key(&mut self) -> Option<Bound<'py, PyAny>> {
        let before = self.reader.clone();
        match self.mark()? {
            Mark::Str(bytes) if bytes.len() <= CACHED_KEY_BYTES_MAX => self.keys.get(self.py, bytes).map(Bound::into_any),
            Mark::Array(len) => {
                let items: Vec<_> = (0..len).map(|_| self.key()).collect::<Option<_>>()?;
                let tuple = PyTuple::new(self.py, items);
                self.kept(tuple).map(Bound::into_any)
            }
            _ => {
                self.reader = before;
                self.value()
            }
        }
    }
}

/// A timestamp becomes a datetime where one can hold it; every other extension stays what it is, as `msgspec.msgpack.Ext`.
fn ext<'py>(py: Python<'py>, kind: i8, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    static EXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if kind == TIMESTAMP
        && let Some((seconds, nanoseconds)) = moment(bytes)
        && let Some(value) = super::clock::datetime(py, seconds, nanoseconds)?
    {
        return Ok(value);
    }
    EXT.import(py, "msgspec.msgpack", "Ext")?.call1((kind, PyBytes::new(py, bytes)))
}

fn moment(bytes: &[u8]) -> Option<(i64, u32)> {
    let (seconds, nanoseconds) = match *bytes {
        [_, _, _, _] => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        [_, _, _, _, _, _, _, _] => {
            let packed = u64::from_be_bytes(bytes.try_into().ok()?);
            ((packed & 0x3_ffff_ffff).cast_signed(), u32::try_from(packed >> 34).ok()?)
        }
        [a, b, c, d, ref seconds @ ..] if seconds.len() == 8 => {
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes([a, b, c, d]))
        }
        _ => return None,
    };
    (nanoseconds < 1_000_000_000).then_some((seconds, nanoseconds))
}
