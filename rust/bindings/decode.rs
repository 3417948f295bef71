//! msgpack to Python values. The bytes were checked whole before this runs, so it only builds.

use std::sync::{Mutex, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
#[cfg(feature = "abi3-py311")]
use pyo3::types::PyList;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use super::{DecodeError, raise};
use crate::error::Result as CoreResult;
use crate::msgpack::{
    Limits, TIMESTAMP,
    read::{Mark, Reader},
};

const CACHE_SLOTS: usize = 1024;
const CACHED_KEY_BYTES_MAX: usize = 64;

/// Map keys seen before: field names repeat in every event, and a shared str is also hashed only once.
type Slot = Option<(Box<[u8]>, Py<PyString>)>;

struct KeyCache {
    slots: Vec<Slot>,
}

impl KeyCache {
    fn new() -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(CACHE_SLOTS).collect() }
    }

    fn get<'py>(&mut self, py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
        let slot = &mut self.slots[slot_of(bytes)];
        match slot {
            Some((known, text)) if **known == *bytes => text.bind(py).clone(),
            _ => {
                let text = string(py, bytes);
                *slot = Some((bytes.into(), text.clone().unbind()));
                text
            }
        }
    }
}

/// Eight bytes a step; only speed depends on how it spreads.
fn slot_of(bytes: &[u8]) -> usize {
    const MULTIPLIER: u64 = 0x517c_c1b7_2722_0a95;
    let mut hash = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    usize::try_from(hash >> 54).unwrap_or(0)
}

/// Taken out while a value is built and put back afterwards: building runs with no lock held, and a second thread or a
/// call from within simply works without the cache.
static KEYS: Mutex<Option<KeyCache>> = Mutex::new(None);

/// Checks the bytes whole, then builds the value.
pub fn checked<'py>(py: Python<'py>, bytes: &[u8], limits: &Limits) -> PyResult<Bound<'py, PyAny>> {
    if bytes.len() > limits.payload_bytes {
        return Err(DecodeError::new_err((
            -1,
            format!("{} bytes, the limit is {}; raise payload_bytes_max", bytes.len(), limits.payload_bytes),
        )));
    }
    check(bytes, limits).map_err(|error| raise(error, ""))?;
    build(py, bytes)
}

/// One value and nothing behind it, within the limits.
pub fn check(bytes: &[u8], limits: &Limits) -> CoreResult<()> {
    let mut reader = Reader::new(bytes);
    reader.skip(limits)?;
    reader.end()
}

/// Builds the value of bytes that were checked before.
pub fn build<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let taken = KEYS.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut builder = Builder { py, reader: Reader::new(bytes), keys: taken.unwrap_or_else(KeyCache::new) };
    let value = builder.value();
    let surplus = KEYS.lock().unwrap_or_else(PoisonError::into_inner).replace(builder.keys);
    drop(surplus); // releases Python objects, so not under the lock
    value
}

struct Builder<'a, 'py> {
    py: Python<'py>,
    reader: Reader<'a>,
    keys: KeyCache,
}

impl<'a, 'py> Builder<'a, 'py> {
    fn value(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let mark = self.mark()?;
        // SAFETY: each call returns a new reference or null with the error set.
        let built = unsafe {
            match mark {
                Mark::Nil => return Ok(py.None().into_bound(py)),
                Mark::Bool(value) => ffi::PyBool_FromLong(value.into()),
                Mark::UInt(value) => ffi::PyLong_FromUnsignedLongLong(value),
                Mark::Int(value) => ffi::PyLong_FromLongLong(value),
                Mark::Float(value) => ffi::PyFloat_FromDouble(value),
                Mark::Str(bytes) => return Ok(string(py, bytes).into_any()),
                Mark::Bin(bytes) => return Ok(PyBytes::new(py, bytes).into_any()),
                Mark::Ext(kind, bytes) => return ext(py, kind, bytes),
                Mark::Array(len) => return self.list(len),
                Mark::Map(len) => return self.dict(len),
            }
        };
        unsafe { Bound::from_owned_ptr_or_err(py, built) }
    }

    fn mark(&mut self) -> PyResult<Mark<'a>> {
        self.reader.mark().map_err(|error| raise(error, ""))
    }

    #[cfg(not(feature = "abi3-py311"))]
    fn list(&mut self, len: usize) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: a fresh list with `len` empty places, each filled once with an owned reference; the garbage collector
        // and the destructor both accept places that are still empty.
        unsafe {
            let list = Bound::from_owned_ptr_or_err(self.py, ffi::PyList_New(len.cast_signed()))?;
            for index in 0..len {
                let item = self.value()?;
                ffi::PyList_SET_ITEM(list.as_ptr(), index.cast_signed(), item.into_ptr());
            }
            Ok(list)
        }
    }

    #[cfg(feature = "abi3-py311")]
    fn list(&mut self, len: usize) -> PyResult<Bound<'py, PyAny>> {
        let list = PyList::empty(self.py);
        for _ in 0..len {
            list.append(self.value()?)?;
        }
        Ok(list.into_any())
    }

    fn dict(&mut self, len: usize) -> PyResult<Bound<'py, PyAny>> {
        let dict = PyDict::new(self.py);
        for _ in 0..len {
            let start = self.reader.offset();
            let key = self.key()?;
            let value = self.value()?;
            // SAFETY: a dict and two live objects. It fails only for a key that cannot be hashed.
            if unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) } != 0 {
                drop(PyErr::take(self.py));
                return Err(DecodeError::new_err((start, "a map's key is itself a map, which Python cannot hold as a key")));
            }
        }
        Ok(dict.into_any())
    }

    /// Foreign writers use any value as key; a list becomes a tuple so that it can be one.
    fn key(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let before = self.reader.clone();
        match self.mark()? {
            Mark::Str(bytes) if bytes.len() <= CACHED_KEY_BYTES_MAX => Ok(self.keys.get(self.py, bytes).into_any()),
            Mark::Array(len) => {
                let items: Vec<_> = (0..len).map(|_| self.key()).collect::<PyResult<_>>()?;
                Ok(PyTuple::new(self.py, items)?.into_any())
            }
            _ => {
                self.reader = before;
                self.value()
            }
        }
    }
}

fn string<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    // SAFETY: checked to be UTF-8 before anything is built.
    PyString::new(py, unsafe { std::str::from_utf8_unchecked(bytes) })
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
