//! Python values to msgpack. Types are told apart by pointer first, because almost every value is exactly a str, int or dict.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyBytes, PyDateTime, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::EncodeError;
use super::clock::since_epoch;
use crate::msgpack::{DEPTH_CEILING, Limits, write};

/// Why a value was refused. The path grows from its end while the calls return, so it costs nothing when all goes well.
pub struct Refused {
    steps: Vec<Step>,
    reason: String,
}

enum Step {
    Key(String),
    Index(usize),
}

pub enum Failure {
    Refused(Refused),
    Python(PyErr),
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl Failure {
    fn below(self, step: impl FnOnce() -> Step) -> Self {
        match self {
            Self::Refused(mut refused) => {
                refused.steps.push(step());
                Self::Refused(refused)
            }
            python @ Self::Python(_) => python,
        }
    }

    /// The exception, its path starting at `root` ("data").
    pub fn raise(self, root: &str) -> PyErr {
        match self {
            Self::Python(error) => error,
            Self::Refused(Refused { steps, reason }) => {
                let path = steps.iter().rev().fold(root.to_owned(), |path, step| match step {
                    Step::Index(index) => format!("{path}[{index}]"),
                    Step::Key(key) if is_name(key) => format!("{path}.{key}"),
                    Step::Key(key) => format!("{path}[{key:?}]"),
                });
                EncodeError::new_err((path, reason))
            }
        }
    }
}

fn is_name(key: &str) -> bool {
    !key.is_empty() && !key.starts_with(|c: char| c.is_ascii_digit()) && key.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Refused(Refused { steps: Vec::new(), reason: reason.into() }))
}

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
    #[inline]
    fn value(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        let kind = value.get_type_ptr();
        // SAFETY: the addresses of static type objects; each cast below is to the very type just compared.
        unsafe {
            if kind == &raw mut ffi::PyUnicode_Type {
                self.str(value.cast_unchecked())
            } else if kind == &raw mut ffi::PyLong_Type {
                self.int(value.cast_unchecked())
            } else if kind == &raw mut ffi::PyDict_Type {
                self.dict(value.cast_unchecked(), depth)
            } else if kind == &raw mut ffi::PyList_Type {
                let list: &Bound<'_, PyList> = value.cast_unchecked();
                self.items(list.len(), list.iter(), depth)
            } else if kind == &raw mut ffi::PyFloat_Type {
                self.float(value.cast_unchecked())
            } else if value.is_none() {
                write::nil(self.out);
                Ok(())
            } else if kind == &raw mut ffi::PyBool_Type {
                write::bool(self.out, value.as_ptr() == ffi::Py_True());
                Ok(())
            } else {
                self.other(value, depth)
            }
        }
    }

    /// Tuples, bytes, datetimes, subclasses of plain types, and typed payloads.
    #[cold]
    fn other(&mut self, value: &Bound<'_, PyAny>, depth: usize) -> Outcome {
        if let Ok(tuple) = value.cast::<PyTuple>() {
            self.items(tuple.len(), tuple.iter(), depth)
        } else if let Ok(bytes) = value.cast::<PyBytes>() {
            let bytes = bytes.as_bytes();
            self.fits(bytes.len())?;
            write::bin(self.out, bytes);
            Ok(())
        } else if let Ok(text) = value.cast::<PyString>() {
            self.str(text)
        } else if let Ok(number) = value.cast::<PyInt>() {
            self.int(number)
        } else if let Ok(number) = value.cast::<PyFloat>() {
            self.float(number)
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.dict(dict, depth)
        } else if let Ok(list) = value.cast::<PyList>() {
            self.items(list.len(), list.iter(), depth)
        } else if let Ok(moment) = value.cast::<PyDateTime>() {
            self.datetime(moment)
        } else {
            self.typed(value, depth)
        }
    }

    fn fits(&self, more: usize) -> Outcome {
        if self.out.len() + more > self.bytes_max {
            return refuse(format!(
                "the payload passes its limit of {} bytes; keep large blobs elsewhere and store their address, or raise payload_bytes_max",
                self.limits.payload_bytes
            ));
        }
        Ok(())
    }

    fn str(&mut self, value: &Bound<'_, PyString>) -> Outcome {
        let Ok(text) = value.to_str() else {
            return refuse("a str with a lone surrogate, which UTF-8 cannot hold; decode the text properly first");
        };
        self.fits(text.len())?;
        write::str(self.out, text);
        Ok(())
    }

    fn int(&mut self, value: &Bound<'_, PyInt>) -> Outcome {
        let mut overflow = 0;
        // SAFETY: `value` is an int, so this cannot fail but by overflow, which it reports.
        let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(value.as_ptr(), &raw mut overflow) };
        if overflow == 0 {
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

    fn enter(&mut self, len: usize, depth: usize) -> Outcome {
        if depth == 0 {
            return refuse(format!(
                "nested deeper than {} levels, or a container that holds itself",
                self.limits.depth.min(DEPTH_CEILING)
            ));
        }
        let Some(left) = self.elements.checked_sub(len) else {
            return refuse(format!(
                "more than {} elements in all; save several events, or raise elements_max",
                self.limits.elements
            ));
        };
        self.elements = left;
        Ok(())
    }

    fn items<'py>(&mut self, len: usize, items: impl Iterator<Item = Bound<'py, PyAny>>, depth: usize) -> Outcome {
        self.enter(len, depth)?;
        write::array(self.out, len);
        let mut written = 0;
        for item in items {
            self.value(&item, depth - 1).map_err(|failure| failure.below(|| Step::Index(written)))?;
            written += 1;
        }
        if written == len { Ok(()) } else { refuse("the list changed while it was encoded") }
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
                let (key, value) = unsafe { (Bound::from_borrowed_ptr(py, key), Bound::from_borrowed_ptr(py, value)) };
                let Ok(name) = key.cast::<PyString>() else {
                    return refuse(format!("the key {} is not a str; write str(key), or use a list of pairs", shown(&key)));
                };
                self.str(name)?;
                self.value(&value, depth - 1)
                    .map_err(|failure| failure.below(|| Step::Key(name.to_string_lossy().into_owned())))?;
                written += 1;
            }
            if written == len { Ok(()) } else { refuse("the dict changed while it was encoded") }
        })
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
        let plain = fields.call1((value,))?;
        if plain.is_instance_of::<PyDict>() || plain.is_instance_of::<PyList>() {
            return self.value(&plain, depth);
        }
        let reason = py.import(intern!(py, "aether.payload"))?.call_method1(intern!(py, "remedy"), (value,))?;
        refuse(reason.extract::<String>()?)
    }
}

fn shown(value: &Bound<'_, PyAny>) -> String {
    let text = value.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().into_owned());
    text.chars().take(40).collect()
}
