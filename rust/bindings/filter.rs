//! `EventFilter`: which events a reader wants.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString};

use super::names::name;
use crate::filter::{Filter, is_shard};

/// Which events of a namespace a reader wants. What is not given takes everything; what is given must all hold.
///
/// Args:
///     actor_id: this actor.
///     actor_prefix: actors whose id begins so.
///     shards: actors of these shards, 0 to 1020.
///     event_types: events of these types.
///
/// Raises:
///     InvalidIdError: what cannot be an id, the beginning of one, or a type.
///     TypeError: shards that are no ints, types that are no strings, or one string where several are expected.
///     ValueError: a shard that there is not.
#[pyclass(frozen, module = "aether._native")]
pub struct EventFilter {
    pub data: Filter,
}

#[pymethods]
impl EventFilter {
    #[new]
    #[pyo3(signature = (actor_id=None, actor_prefix=None, shards=None, event_types=None))]
    fn new(
        actor_id: Option<&Bound<'_, PyString>>,
        actor_prefix: Option<&Bound<'_, PyString>>,
        shards: Option<&Bound<'_, PyAny>>,
        event_types: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let owned = |what, value: Option<&Bound<'_, PyString>>| value.map(|text| name(what, text).map(str::to_owned)).transpose();
        let data = Filter::new(
            owned("actor_id", actor_id)?,
            owned("actor_prefix", actor_prefix)?,
            shards.map(|shards| shards.try_iter()?.map(|item| shard(&item?)).collect()).transpose()?,
            event_types.map(kinds).transpose()?,
        );
        Ok(Self { data })
    }
}

fn shard(item: &Bound<'_, PyAny>) -> PyResult<u32> {
    if item.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err("shards are ints, not bools"));
    }
    match item.extract::<i64>() {
        Ok(number) => u32::try_from(number)
            .ok()
            .filter(|&number| is_shard(number))
            .ok_or_else(|| PyValueError::new_err(format!("shards are 0 to 1020, not {number}"))),
        Err(error) => Err(PyTypeError::new_err(format!("shards are ints, 0 to 1020 ({error})"))),
    }
}

fn kinds(given: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if given.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!("event_types are several: event_types=[{}]", given.repr()?)));
    }
    let kind = |item: PyResult<Bound<'_, PyAny>>| {
        let item = item?;
        let text = item.cast::<PyString>().map_err(|error| PyTypeError::new_err(format!("event_types are strings ({error})")))?;
        name("event_type", text).map(str::to_owned)
    };
    given.try_iter()?.map(kind).collect()
}
