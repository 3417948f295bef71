//! Time and randomness, which the core takes as arguments: Python's clock (so that a test which moves it moves these too),
//! the operating system's randomness.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyAttributeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDateTime, PyDelta, PyDict, PyModule, PyTzInfo};

use crate::ids::{Generator, RANDOM_BYTES};

const POOL_BYTES: usize = 256 * RANDOM_BYTES;

/// The id generator with a pool of random bytes, so that the system is asked once in some hundred ids.
struct Source {
    generator: Generator,
    pool: [u8; POOL_BYTES],
    left: usize,
}

static SOURCE: Mutex<Source> = Mutex::new(Source { generator: Generator::new(), pool: [0; POOL_BYTES], left: 0 });

/// Nanoseconds since 1970, by `time.time_ns`.
pub fn now_ns(py: Python<'_>) -> PyResult<i64> {
    // The module's dict is what a test that moves the clock writes to, and half the cost of asking the module.
    static TIME: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let time = TIME.get_or_try_init(py, || py.import(intern!(py, "time")).map(|time| time.dict().unbind()))?;
    let name = intern!(py, "time_ns");
    let clock = time.bind(py).get_item(name)?.ok_or_else(|| PyAttributeError::new_err("module 'time' has no 'time_ns'"))?;
    clock.call0()?.extract()
}

/// A fresh `UUIDv7` for this moment.
pub fn fresh_id(now_ns: i64) -> PyResult<[u8; 16]> {
    let unix_ms = u64::try_from(now_ns / 1_000_000).unwrap_or(0);
    let mut source = SOURCE.lock().unwrap_or_else(PoisonError::into_inner);
    let source = &mut *source;
    if source.left < RANDOM_BYTES {
        getrandom::fill(&mut source.pool).map_err(|error| PyValueError::new_err(format!("no randomness: {error}")))?;
        source.left = POOL_BYTES;
    }
    let mut random = [0; RANDOM_BYTES];
    random.copy_from_slice(&source.pool[source.left - RANDOM_BYTES..source.left]);
    let (id, used) = source.generator.next(unix_ms, &random);
    source.left -= used;
    Ok(id)
}

/// A forked child has the parent's pool and would make the parent's next ids: it throws the pool away.
pub fn reseed_after_fork(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let os = py.import("os")?;
    if !os.hasattr("register_at_fork")? {
        return Ok(()); // a system without fork
    }
    let kwargs = pyo3::types::PyDict::new(py);
    kwargs.set_item("after_in_child", wrap_pyfunction!(reseed, module)?)?;
    os.call_method("register_at_fork", (), Some(&kwargs))?;
    Ok(())
}

#[pyfunction]
fn reseed() {
    // Ids are made under the GIL and forking needs it, so the lock is free here. In a build without GIL another thread may
    // have held it, and a lock whose holder did not come along never opens: such a child must not fork from threads at all.
    let mut source = match SOURCE.try_lock() {
        Ok(source) => source,
        Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(std::sync::TryLockError::WouldBlock) => return,
    };
    source.left = 0;
    source.generator = Generator::new();
}

fn epoch(py: Python<'_>) -> PyResult<&Bound<'_, PyDateTime>> {
    static EPOCH: PyOnceLock<Py<PyDateTime>> = PyOnceLock::new();
    let make = || -> PyResult<Py<PyDateTime>> {
        let utc = PyTzInfo::utc(py)?;
        Ok(PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&*utc))?.unbind())
    };
    Ok(EPOCH.get_or_try_init(py, make)?.bind(py))
}

/// Seconds and nanoseconds since 1970 of an aware datetime; None if it is naive.
pub fn since_epoch(value: &Bound<'_, PyDateTime>) -> PyResult<Option<(i64, u32)>> {
    let py = value.py();
    if value.call_method0(intern!(py, "utcoffset"))?.is_none() {
        return Ok(None);
    }
    let delta = value.sub(epoch(py)?)?;
    let days: i64 = delta.getattr(intern!(py, "days"))?.extract()?;
    let seconds: i64 = delta.getattr(intern!(py, "seconds"))?.extract()?;
    let microseconds: u32 = delta.getattr(intern!(py, "microseconds"))?.extract()?;
    Ok(Some((days * 86_400 + seconds, microseconds * 1000)))
}

/// An event's time as given: an aware datetime within 1677 to 2262, or None for now.
pub fn time_ns(py: Python<'_>, timestamp: Option<&Bound<'_, PyAny>>) -> PyResult<i64> {
    let Some(timestamp) = timestamp else { return now_ns(py) };
    let Ok(timestamp) = timestamp.cast::<PyDateTime>() else {
        return Err(pyo3::exceptions::PyTypeError::new_err(format!(
            "timestamp must be an aware datetime, not {}",
            timestamp.get_type().name()?
        )));
    };
    let Some((seconds, nanoseconds)) = since_epoch(timestamp)? else {
        return Err(PyValueError::new_err(
            "timestamp is a naive datetime; say which zone it means: datetime.now(UTC) or value.replace(tzinfo=UTC)",
        ));
    };
    // In 128 bits: the first second of the range lies outside it, but for its last part.
    let ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let outside = "timestamp is outside the years 1677 to 2262 that 64 bits of nanoseconds hold";
    i64::try_from(ns).map_err(|_| PyValueError::new_err(outside))
}

/// An aware datetime in UTC, cut to microseconds; None where datetime's years (1 to 9999) end.
pub fn datetime(py: Python<'_>, seconds: i64, nanoseconds: u32) -> PyResult<Option<Bound<'_, PyAny>>> {
    let days = seconds.div_euclid(86_400);
    let (Ok(days), Ok(rest)) = (i32::try_from(days), i32::try_from(seconds.rem_euclid(86_400))) else { return Ok(None) };
    if !(-719_162..=2_932_896).contains(&days) {
        return Ok(None);
    }
    let microseconds = i32::try_from(nanoseconds / 1000).unwrap_or(0);
    let delta = PyDelta::new(py, days, rest, microseconds, false)?;
    epoch(py)?.add(delta).map(Some)
}

/// The same for an event's time, which always fits.
pub fn datetime_of_ns(py: Python<'_>, ns: i64) -> PyResult<Bound<'_, PyAny>> {
    let nanoseconds = u32::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or(0);
    let value = datetime(py, ns.div_euclid(1_000_000_000), nanoseconds)?;
    value.ok_or_else(|| PyValueError::new_err("time is out of range"))
}
