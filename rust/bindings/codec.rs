//! `aether.codec`: encode, decode, and their limits.

use std::cell::RefCell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{decode as reading, encode as writing};
use crate::msgpack::{DEPTH_CEILING, Limits as Bounds};

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

#[pyclass(frozen, eq, hash, module = "aether.codec", from_py_object)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(clippy::struct_field_names)] // the names Python users read; the unit comes last
pub struct Limits {
    #[pyo3(get)]
    payload_bytes_max: usize,
    #[pyo3(get)]
    depth_max: usize,
    #[pyo3(get)]
    elements_max: usize,
}

impl Limits {
    fn bounds(&self) -> Bounds {
        Bounds { payload_bytes: self.payload_bytes_max, depth: self.depth_max, elements: self.elements_max }
    }
}

#[pymethods]
impl Limits {
    #[new]
    #[pyo3(signature = (*, payload_bytes_max=1_000_000, depth_max=32, elements_max=100_000))]
    fn new(payload_bytes_max: usize, depth_max: usize, elements_max: usize) -> PyResult<Self> {
        if payload_bytes_max == 0 || u32::try_from(payload_bytes_max).is_err() {
            return Err(PyValueError::new_err("payload_bytes_max must be 1 to 4,294,967,295"));
        }
        if depth_max > DEPTH_CEILING {
            return Err(PyValueError::new_err(format!("depth_max must be at most {DEPTH_CEILING}: a thread's stack is bounded")));
        }
        Ok(Self { payload_bytes_max, depth_max, elements_max })
    }

    fn __repr__(&self) -> String {
        let Self { payload_bytes_max, depth_max, elements_max } = self;
        format!("Limits(payload_bytes_max={payload_bytes_max}, depth_max={depth_max}, elements_max={elements_max})")
    }
}

#[pyfunction]
pub fn get_default_limits() -> Limits {
    let Bounds { payload_bytes, depth, elements } = default_limits();
    Limits { payload_bytes_max: payload_bytes, depth_max: depth, elements_max: elements }
}

#[pyfunction]
pub fn set_default_limits(limits: &Limits) {
    DEFAULT.payload_bytes.store(limits.payload_bytes_max, Relaxed);
    DEFAULT.depth.store(limits.depth_max, Relaxed);
    DEFAULT.elements.store(limits.elements_max, Relaxed);
}

const SCRATCH_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// Where a value is encoded before its size is known; kept between calls so that most need no allocation.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `use_bytes` on the encoded value. The scratch is taken out meanwhile, so encoding within encoding works.
pub fn with_encoded<T>(
    value: &Bound<'_, PyAny>,
    limits: &Bounds,
    root: &str,
    use_bytes: impl FnOnce(&[u8]) -> PyResult<T>,
) -> PyResult<T> {
    let mut scratch = SCRATCH.with(RefCell::take);
    scratch.clear();
    let outcome = match writing::encode(value, &mut scratch, limits) {
        Ok(()) => use_bytes(&scratch),
        Err(failure) => Err(failure.raise(root)),
    };
    if scratch.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.with(|kept| kept.replace(scratch));
    }
    outcome
}

#[pyfunction]
#[pyo3(signature = (value, *, limits=None))]
pub fn encode<'py>(py: Python<'py>, value: &Bound<'py, PyAny>, limits: Option<&Limits>) -> PyResult<Bound<'py, PyBytes>> {
    let limits = limits.map_or_else(default_limits, Limits::bounds);
    with_encoded(value, &limits, "data", |bytes| Ok(PyBytes::new(py, bytes)))
}

#[pyfunction]
#[pyo3(signature = (data, *, limits=None))]
pub fn decode<'py>(py: Python<'py>, data: &[u8], limits: Option<&Limits>) -> PyResult<Bound<'py, PyAny>> {
    reading::checked(py, data, &limits.map_or_else(default_limits, Limits::bounds))
}
