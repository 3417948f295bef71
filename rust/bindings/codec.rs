//! `aether.codec`: encode, decode, and their limits.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::{decode as reading, encode as writing};
use crate::msgpack::{DEPTH_CEILING, Limits as Bounds};

/// A string's or a container's length is written in 32 bits at most.
const PAYLOAD_BYTES_CEILING: usize = u32::MAX as usize;

/// The limits that hold where none are given. Each holds by itself, so a call that comes while another thread sets them may
/// well see some of the old and some of the new: that needs no lock on every call.
struct Default {
    payload_bytes: AtomicUsize,
    depth: AtomicUsize,
    elements: AtomicUsize,
}

static DEFAULT: Default = Default {
    payload_bytes: AtomicUsize::new(Bounds::DEFAULT.payload_bytes),
    depth: AtomicUsize::new(Bounds::DEFAULT.depth),
    elements: AtomicUsize::new(Bounds::DEFAULT.elements),
};

pub fn default_limits() -> Bounds {
    let Default { payload_bytes, depth, elements } = &DEFAULT;
    Bounds { payload_bytes: payload_bytes.load(Relaxed), depth: depth.load(Relaxed), elements: elements.load(Relaxed) }
}

/// How large a payload may be. Checked while encoding, and before decoding makes any object.
///
/// Args:
///     payload_bytes_max: encoded bytes, 1 to 4,294,967,295.
///     depth_max: containers within containers, 0 (no container at all) to 512.
///     elements_max: items of all lists plus entries of all dicts, 0 to 4,294,967,295.
///
/// Raises:
///     TypeError: a limit that is no int.
///     ValueError: a limit out of its range.
#[pyclass(frozen, eq, hash, module = "aether.codec", from_py_object)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(clippy::struct_field_names)] // the names Python users read; the unit comes last
pub struct Limits {
    /// Encoded bytes.
    #[pyo3(get)]
    payload_bytes_max: usize,
    /// Containers within containers; a value that holds no other has depth 0.
    #[pyo3(get)]
    depth_max: usize,
    /// Items of all lists plus entries of all dicts.
    #[pyo3(get)]
    elements_max: usize,
}

impl Limits {
    fn bounds(&self) -> Bounds {
        Bounds { payload_bytes: self.payload_bytes_max, depth: self.depth_max, elements: self.elements_max }
    }
}

fn within(value: i128, what: &str, range: RangeInclusive<usize>) -> PyResult<usize> {
    let number = usize::try_from(value).ok().filter(|number| range.contains(number));
    number.ok_or_else(|| PyValueError::new_err(format!("{what} must be from {} to {}, not {value}", range.start(), range.end())))
}

#[pymethods]
impl Limits {
    #[new]
    #[pyo3(signature = (*, payload_bytes_max=1_000_000, depth_max=32, elements_max=100_000))]
    fn new(payload_bytes_max: i128, depth_max: i128, elements_max: i128) -> PyResult<Self> {
        Ok(Self {
            payload_bytes_max: within(payload_bytes_max, "payload_bytes_max", 1..=PAYLOAD_BYTES_CEILING)?,
            depth_max: within(depth_max, "depth_max", 0..=DEPTH_CEILING)?,
            elements_max: within(elements_max, "elements_max", 0..=PAYLOAD_BYTES_CEILING)?,
        })
    }

    /// What pickle and copy call.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let limits = PyDict::new(py);
        limits.set_item("payload_bytes_max", self.payload_bytes_max)?;
        limits.set_item("depth_max", self.depth_max)?;
        limits.set_item("elements_max", self.elements_max)?;
        Ok((PyTuple::empty(py), limits))
    }

    fn __repr__(&self) -> String {
        let Self { payload_bytes_max, depth_max, elements_max } = self;
        format!("Limits(payload_bytes_max={payload_bytes_max}, depth_max={depth_max}, elements_max={elements_max})")
    }
}

/// The limits that hold where a call gives none.
#[pyfunction]
pub fn get_default_limits() -> Limits {
    let Bounds { payload_bytes, depth, elements } = default_limits();
    Limits { payload_bytes_max: payload_bytes, depth_max: depth, elements_max: elements }
}

/// Sets the limits for every later call in this process that gives none, and for the data of every event and snapshot.
#[pyfunction]
#[pyo3(signature = (limits, /))]
pub fn set_default_limits(limits: &Limits) {
    DEFAULT.payload_bytes.store(limits.payload_bytes_max, Relaxed);
    DEFAULT.depth.store(limits.depth_max, Relaxed);
    DEFAULT.elements.store(limits.elements_max, Relaxed);
}

const SCRATCH_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// Where a value is encoded before its size is known; kept between calls so that most need no allocation.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs `use_bytes` on the encoded value. The scratch is taken out meanwhile, so encoding within encoding works.
pub fn with_encoded<T>(
    value: &Bound<'_, PyAny>,
    limits: &Bounds,
    root: &str,
    use_bytes: impl FnOnce(&[u8]) -> PyResult<T>,
) -> PyResult<T> {
    SCRATCH.with(|kept| {
        let mut scratch = kept.take();
        scratch.clear();
        let outcome = match writing::encode(value, &mut scratch, limits) {
            Ok(()) => use_bytes(&scratch),
            Err(failure) => Err(failure.raise(root)),
        };
        if scratch.capacity() <= SCRATCH_BYTES_MAX {
            kept.set(scratch);
        }
        outcome
    })
}

/// Plain data, or a typed value, as msgpack bytes: those of `msgpack.packb(value, datetime=True)` for all that both accept.
///
/// Args:
///     value: None, bool, int (-2**63 to 2**64 - 1), finite float, str, bytes, list, tuple, dict with str keys, aware datetime,
///         or a msgspec Struct, dataclass or pydantic model of these. Subclasses of str, int, float, list, tuple and dict
///         are written as what they are made of, so an `IntEnum` as its number and a `StrEnum` as its text.
///     limits: how large it may be; None: the default limits.
///
/// Raises:
///     EncodeError: a value that data may not hold, or a limit passed; `path` says where, as "data.items[3].price".
#[pyfunction]
#[pyo3(signature = (value, /, *, limits=None))]
pub fn encode<'py>(py: Python<'py>, value: &Bound<'py, PyAny>, limits: Option<&Limits>) -> PyResult<Bound<'py, PyBytes>> {
    let limits = limits.map_or_else(default_limits, Limits::bounds);
    with_encoded(value, &limits, "data", |bytes| Ok(PyBytes::new(py, bytes)))
}

/// The value of msgpack bytes that any library wrote: NaN, keys that are no str, and extensions included.
///
/// Timestamps become aware datetimes in UTC, cut to microseconds; those outside the years 1 to 9999 and other extensions
/// `msgspec.msgpack.Ext`; lists as keys tuples.
///
/// Args:
///     data: exactly one value.
///     limits: how large it may be, checked before any object is made; None: the default limits.
///
/// Raises:
///     DecodeError: bytes that are no msgpack, not exactly one value, or pass a limit; `offset` says where.
#[pyfunction]
#[pyo3(signature = (data, /, *, limits=None))]
pub fn decode<'py>(py: Python<'py>, data: &[u8], limits: Option<&Limits>) -> PyResult<Bound<'py, PyAny>> {
    reading::checked(py, data, &limits.map_or_else(default_limits, Limits::bounds))
}
