//! Metadata between a Python mapping and its encoded form.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple};

use super::{EncodeError, decode, raise, shown};
use crate::event::EventData;
use crate::metadata;

const META_BYTES_MAX: usize = 65_536;

pub fn encode(given: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let Ok(mapping) = given.cast::<PyMapping>() else {
        return Err(PyTypeError::new_err(format!("metadata must be a mapping of str to str, not {}", given.get_type().name()?)));
    };
    let items = mapping.items()?;
    let mut owned = Vec::with_capacity(items.len());
    for item in items.iter() {
        let pair = item.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let pair = pair.ok_or_else(|| PyTypeError::new_err("the items of metadata must be pairs of str and str"))?;
        let (key, value) = (pair.get_item(0)?, pair.get_item(1)?);
        owned.push((text(&key, &key)?, text(&value, &key)?));
    }
    let mut pairs: Vec<(&str, &str)> = owned.iter().map(|(key, value)| (&**key, &**value)).collect();
    let meta = metadata::encode(&mut pairs).ok_or_else(|| PyValueError::new_err("metadata has a key twice"))?;
    if meta.len() > META_BYTES_MAX {
        let reason = format!("{} bytes, the limit is {META_BYTES_MAX}; put it into data", meta.len());
        return Err(EncodeError::new_err(("metadata", reason)));
    }
    Ok(meta)
}

fn text(value: &Bound<'_, PyAny>, key: &Bound<'_, PyAny>) -> PyResult<String> {
    let reason = match value.cast::<PyString>().map(|text| text.to_str()) {
        Ok(Ok(text)) => return Ok(text.to_owned()),
        Ok(Err(_)) => "a str with a lone surrogate, which UTF-8 cannot hold; decode the text properly first",
        Err(_) => "metadata maps str to str; write str(value), or put it into data",
    };
    Err(EncodeError::new_err((format!("metadata[{}]", shown(key)), reason)))
}

pub fn all<'py>(py: Python<'py>, event: &EventData) -> PyResult<Bound<'py, PyAny>> {
    match event.parts().meta {
        [] => Ok(PyDict::new(py).into_any()),
        meta => decode::build(py, meta),
    }
}

/// An event's metadata with further entries, which win over its own.
pub fn merged(py: Python<'_>, event: &EventData, entries: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    encode(entries)?; // so that what is refused is what was given
    let whole = all(py, event)?;
    whole.call_method1("update", (entries,))?;
    encode(&whole)
}

/// One entry, without building the rest.
pub fn entry<'py>(py: Python<'py>, event: &EventData, key: &str) -> PyResult<Option<Bound<'py, PyString>>> {
    let found = metadata::entry(event.parts().meta, key).map_err(|error| raise(error, ""))?;
    Ok(found.map(|value| PyString::new(py, value)))
}
