//! Python values to msgpack. Types are told apart by pointer first, because almost every value is exactly a str, int or dict.

mod refusing;

use pyo3::Borrowed;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyBytes, PyDateTime, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::EncodeError;
use super::clock::since_epoch;
use super::shown;
use super::text::{ascii, utf8};
use crate::msgpack::{DEPTH_CEILING, Limits, write};
use refusing::{Failure, Step, refuse};

const LIST_CHANGED: &str = "the list changed while it was encoded";

type Outcome = Result<(), Failure>;

/// Appends `value` to `out`.
pub fn encode(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, limits: &Limits) -> Outcome {
    let start = out.len();
    let mut encoder = Encoder { out, limits, bytes_max: start.saturating_add(limits.payload_bytes), elements: limits.elements };
    encoder.value(value, limits.depth.min(DEPTH_CEILING))?;
    encoder.fits(0)
}

struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    limits: &'a Limits,
    bytes_max: usize,
    elements: usize,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        self.leaf(value).unwrap_or_else(|| self.branch(value, depth))
    }

    /// Writes a plain value that holds no other. No Python code runs, so a borrowed reference will do. None: it is no such
    /// value, or may be refused by an error of Python's: making one can run the garbage collector, and so anybody's code.
    #[inline]
    fn leaf(&mut self, value: &Bound<'_, PyAny>) -> Option<Outcome> {
        let kind = value.get_type_ptr();
        // SAFETY: the addresses of static type objects; each cast below is to the very type just compared.
        unsafe {
            if kind == &raw mut ffi::PyUnicode_Type {
                return ascii(value.cast_unchecked()).map(|text| self.text(text));
            } else if kind == &raw mut ffi::PyLong_Type {
                write::int(self.out, small_int(value.cast_unchecked())?);
            } else if kind == &raw mut ffi::PyFloat_Type {
                return Some(self.float(value.cast_unchecked()));
            } else if value.is_none() {
                write::nil(self.out);
            } else if kind == &raw mut ffi::PyBool_Type {
                write::bool(self.out, value.as_ptr() == ffi::Py_True());
            } else {
                return None;
            }
        }
        Some(Ok(()))
    }

    /// Writes what holds other values, or has to be asked what it is. Other code may run meanwhile, so the caller owns it.
    fn branch(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        let kind = value.get_type_ptr();
        // SAFETY: as above.
        unsafe {
            if kind == &raw mut ffi::PyDict_Type {
                self.dict(value.cast_unchecked(), depth)
            } else if kind == &raw mut ffi::PyList_Type {
                self.list(value.cast_unchecked(), depth)
            } else if kind == &raw mut ffi::PyUnicode_Type {
                self.str(value.cast_unchecked(), "a str")
            } else {
                self.other(value, depth)
            }
        }
    }

    /// Tuples, bytes, datetimes, subclasses of plain types, and typed payloads.
    #[cold]
    fn other(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        if let Ok(tuple) = value.cast::<PyTuple>() {
            self.tuple(tuple, depth)
        } else if let Ok(bytes) = value.cast::<PyBytes>() {
            let bytes = bytes.as_bytes();
            self.fits(bytes.len())?;
            write::bin(self.out, bytes);
            Ok(())
        } else if let Ok(text) = value.cast::<PyString>() {
            self.str(text, "a str")
        } else if let Ok(number) = value.cast::<PyInt>() {
            self.int(number)
        } else if let Ok(number) = value.cast::<PyFloat>() {
            self.float(number)
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.dict_subclass(dict, depth)
        } else if let Ok(list) = value.cast::<PyList>() {
            self.list(list, depth)
        } else if let Ok(moment) = value.cast::<PyDateTime>() {
            self.datetime(moment)
        } else {
            self.typed(value, depth)
        }
    }

    #[inline]
    fn fits(&self, more: usize) -> Outcome {
        if self.out.len() + more > self.bytes_max { self.too_large() } else { Ok(()) }
    }

    #[cold]
    fn too_large(&self) -> Outcome {
        refuse(format!(
            "the payload passes its limit of {} bytes; keep large blobs elsewhere and store their address, or raise payload_bytes_max",
            self.limits.payload_bytes
        ))
    }

    fn str(&mut self, value: &Bound<'_, PyString>, what: &str) -> Outcome {
        let Some(text) = utf8(value) else {
            drop(PyErr::take(value.py()));
            return refuse(format!("{what} with a lone surrogate, which UTF-8 cannot hold; decode the text properly first"));
        };
        self.text(text)
    }

    #[inline]
    fn text(&mut self, text: &str) -> Outcome {
        self.fits(text.len())?;
        write::str(self.out, text);
        Ok(())
    }

    fn int(&mut self, value: &Bound<'_, PyInt>) -> Outcome {
        if let Some(number) = small_int(value) {
            write::int(self.out, number);
        } else if let Ok(number) = value.extract::<u64>() {
            write::uint(self.out, number);
        } else {
            return refuse("an int outside -2**63 to 2**64 - 1; store it as a str");
        }
        Ok(())
    }

    fn float(&mut self, value: &Bound<'_, PyFloat>) -> Outcome {
        let number = value.value();
        if !number.is_finite() {
            return refuse(format!("the float {number}, which compares to nothing; store None, or say it in words"));
        }
        write::float(self.out, number);
        Ok(())
    }

    /// Each element takes a byte or more, so many of them are too large before any is written.
    #[inline]
    fn enter(&mut self, len: usize, depth: usize) -> Outcome {
        self.fits(len)?;
        match self.elements.checked_sub(len) {
            Some(left) if depth > 0 => {
                self.elements = left;
                Ok(())
            }
            _ => self.too_many(depth),
        }
    }

    #[cold]
    fn too_many(&self, depth: usize) -> Outcome {
        refuse(if depth == 0 {
            format!("nested deeper than {} levels, or a container that holds itself", self.limits.depth.min(DEPTH_CEILING))
        } else {
            format!("more than {} elements in all; save several events, or raise elements_max", self.limits.elements)
        })
    }

    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>, depth: usize) -> Outcome {
        self.enter(tuple.len(), depth)?;
        write::array(self.out, tuple.len());
        for (index, item) in tuple.iter().enumerate() {
            self.value(&item, depth - 1).map_err(|failure| failure.below(|| Step::Index(index)))?;
        }
        Ok(())
    }

    fn list(&mut self, list: &Bound<'_, PyList>, depth: usize) -> Outcome {
        with_critical_section(list, || {
            let (py, len) = (list.py(), list.len());
            self.enter(len, depth)?;
            write::array(self.out, len);
            for index in 0..len {
                // SAFETY: null past the end; else borrowed from the list, which is alive and locked. It is made our own before
                // anything runs that could change the list.
                let item = unsafe { Borrowed::from_ptr_or_opt(py, list_item(list, index)) };
                let Some(item) = item else { return refuse(LIST_CHANGED) };
                let outcome = self.leaf(&item).unwrap_or_else(|| self.branch(&item.to_owned(), depth - 1));
                outcome.map_err(|failure| failure.below(|| Step::Index(index)))?;
            }
            if list.len() == len { Ok(()) } else { refuse(LIST_CHANGED) }
        })
    }

    fn dict(&mut self, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome {
        with_critical_section(dict, || {
            let (py, len) = (dict.py(), dict.len());
            self.enter(len, depth)?;
            write::map(self.out, len);
            let (mut position, mut written) = (0, 0);
            let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: the dict is alive and locked; both results are borrowed from it and made our own before anything runs
            // that could change it. A change of its size is noticed by the count.
            while unsafe { ffi::PyDict_Next(dict.as_ptr(), &raw mut position, &raw mut key, &raw mut value) } != 0 {
                let (key, value) = unsafe { (Borrowed::from_ptr(py, key), Borrowed::from_ptr(py, value)) };
                let Ok(name) = key.cast::<PyString>() else { return Self::no_str(&key.to_owned()) };
                self.str(&name, "a key")?;
                if let Some(outcome) = self.leaf(&value) {
                    outcome.map_err(|failure| failure.at(&name))?;
                } else {
                    let (name, value) = (name.to_owned(), value.to_owned());
                    self.branch(&value, depth - 1).map_err(|failure| failure.at(&name))?;
                }
                written += 1;
            }
            if written == len { Ok(()) } else { refuse("the dict changed while it was encoded") }
        })
    }

    /// A subclass may have an order of its own, as OrderedDict has, or make up its items: it is asked.
    #[cold]
    fn dict_subclass(&mut self, dict: &Bound<'_, PyDict>, depth: usize) -> Outcome {
        let items = dict.as_mapping().items()?;
        self.enter(items.len(), depth)?;
        write::map(self.out, items.len());
        for item in PyTuple::new(dict.py(), items)? {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let Ok(name) = key.cast::<PyString>() else { return Self::no_str(&key) };
            self.str(name, "a key")?;
            self.value(&value, depth - 1).map_err(|failure| failure.at(name))?;
        }
        Ok(())
    }

    #[cold]
    fn no_str(key: &Bound<'_, PyAny>) -> Outcome {
        refuse(format!("the key {} is not a str; write str(key), or use a list of pairs", shown(key)))
    }

    fn datetime(&mut self, value: &Bound<'_, PyDateTime>) -> Outcome {
        let Some((seconds, nanoseconds)) = since_epoch(value)? else {
            return refuse("a naive datetime; say which zone it means: datetime.now(UTC) or value.replace(tzinfo=UTC)");
        };
        write::timestamp(self.out, seconds, nanoseconds);
        Ok(())
    }

    /// A msgspec Struct, dataclass or pydantic model becomes its fields; anything else is refused with what to use instead.
    fn typed(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        static FIELDS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = value.py();
        let fields = FIELDS.import(py, "aether.payload", "fields")?;
        let plain = match fields.call1((value,)) {
            Err(error) if error.is_instance_of::<EncodeError>(py) => {
                return refuse(error.value(py).getattr(intern!(py, "reason"))?.extract::<String>()?);
            }
            outcome => outcome?,
        };
        if plain.is_instance_of::<PyDict>() || plain.is_instance_of::<PyList>() {
            return self.value(&plain, depth);
        }
        let reason = py.import(intern!(py, "aether.payload"))?.call_method1(intern!(py, "remedy"), (value,))?;
        refuse(reason.extract::<String>()?)
    }
}

/// An int within -2**63 to 2**63 - 1. No error is made for others, so no Python code runs.
#[inline]
fn small_int(value: &Bound<'_, PyInt>) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: `value` is an int, so this cannot fail but by overflow, which it reports.
    let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(value.as_ptr(), &raw mut overflow) };
    (overflow == 0).then_some(number)
}

/// A borrowed reference to an item, null past the end.
#[inline]
fn list_item(list: &Bound<'_, PyList>, index: usize) -> *mut ffi::PyObject {
    if index >= list.len() {
        return std::ptr::null_mut();
    }
    // SAFETY: a list, and an index within it.
    #[cfg(not(Py_LIMITED_API))]
    return unsafe { ffi::PyList_GET_ITEM(list.as_ptr(), index.cast_signed()) };
    #[cfg(Py_LIMITED_API)]
    return unsafe { ffi::PyList_GetItem(list.as_ptr(), index.cast_signed()) };
}
