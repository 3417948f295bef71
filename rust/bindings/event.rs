//! `Event` and `NewEvent`: frozen, their data encoded once when they are made.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyInt, PyMapping, PyString, PyTuple};
use uuid::Uuid;

use super::codec::{default_limits, with_encoded};
use super::names::name;
use super::{EncodeError, clock, decode, raise};
use crate::commit::write_meta;
use crate::event::{EventData, Id, Parts};
use crate::msgpack::{Limits, read::Reader};

const META_BYTES_MAX: usize = 65_536;
const REPR_DATA_CHARS: usize = 200;

#[pyclass(frozen, eq, module = "aether")]
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub data: Arc<EventData>,
}

#[pyclass(frozen, eq, module = "aether")]
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Without actor and version, which the store gives it.
    pub data: Arc<EventData>,
}

/// A version as given: an int from 1.
pub fn version(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    if !value.is_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!("version must be an int, not {}", value.get_type().name()?)));
    }
    match value.extract::<u64>() {
        Ok(version @ 1..) => Ok(version),
        _ => Err(PyValueError::new_err(format!("version must be an int from 1 to 2**64 - 1, not {value}"))),
    }
}

/// The optional parts as Python gave them.
struct Given<'a, 'py> {
    id: Option<&'a Bound<'py, PyAny>>,
    timestamp: Option<&'a Bound<'py, PyAny>>,
    metadata: Option<&'a Bound<'py, PyAny>>,
}

fn make(
    py: Python<'_>,
    (actor, kind, version): (&str, &str, u64),
    data: Option<&Bound<'_, PyAny>>,
    given: &Given<'_, '_>,
) -> PyResult<Arc<EventData>> {
    let time_ns = clock::time_ns(py, given.timestamp)?;
    let text;
    let id = match given.id {
        None => Id::Uuid(clock::fresh_id(if given.timestamp.is_none() { time_ns } else { clock::now_ns(py)? })?),
        Some(id) => {
            text = id_text(id)?;
            Id::parse(name("id", &text)?)
        }
    };
    let meta = given.metadata.map(encode_metadata).transpose()?.unwrap_or_default();
    let build = |payload: &[u8]| {
        let parts = Parts { id, actor, kind, version, time_ns, payload, meta: &meta, extra: &[], extra_pairs: 0 };
        Ok(Arc::new(EventData::new(&parts)))
    };
    match data {
        None => build(&[0xc0]),
        Some(data) => with_encoded(data, &default_limits(), "data", build),
    }
}

fn id_text<'py>(id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    static UUID: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Ok(text) = id.cast::<PyString>() {
        return Ok(text.clone());
    }
    if id.is_instance(UUID.import(id.py(), "uuid", "UUID")?)? {
        return id.str();
    }
    Err(PyTypeError::new_err(format!("id must be a str or a uuid.UUID, not {}", id.get_type().name()?)))
}

fn encode_metadata(metadata: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let Ok(mapping) = metadata.cast::<PyMapping>() else {
        return Err(PyTypeError::new_err(format!(
            "metadata must be a mapping of str to str, not {}",
            metadata.get_type().name()?
        )));
    };
    let items = mapping.items()?;
    let mut owned = Vec::with_capacity(items.len());
    for item in items.iter() {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let text = |what: &Bound<'_, PyAny>| {
            let text = what.cast::<PyString>().ok().and_then(|text| text.to_str().ok().map(str::to_owned));
            text.ok_or_else(|| {
                let path =
                    format!("metadata[{}]", key.repr().map_or_else(|_| "?".into(), |key| key.to_string_lossy().into_owned()));
                EncodeError::new_err((path, "metadata maps str to str; write str(value), or put it into data"))
            })
        };
        owned.push((text(&key)?, text(&value)?));
    }
    let mut pairs: Vec<(&str, &str)> = owned.iter().map(|(key, value)| (&**key, &**value)).collect();
    let meta = write_meta(&mut pairs).ok_or_else(|| PyValueError::new_err("metadata has a key twice"))?;
    if meta.len() > META_BYTES_MAX {
        return Err(EncodeError::new_err((
            "metadata",
            format!("{} bytes, the limit is {META_BYTES_MAX}; put it into data", meta.len()),
        )));
    }
    Ok(meta)
}

fn id_of<'py>(py: Python<'py>, data: &EventData) -> Bound<'py, PyString> {
    match data.parts().id {
        Id::Uuid(uuid) => PyString::new(py, Uuid::from_bytes(uuid).hyphenated().encode_lower(&mut Uuid::encode_buffer())),
        Id::Text(text) => PyString::new(py, text),
    }
}

fn metadata_of<'py>(py: Python<'py>, data: &EventData) -> PyResult<Bound<'py, PyAny>> {
    match data.parts().meta {
        [] => Ok(PyDict::new(py).into_any()),
        meta => decode::build(py, meta),
    }
}

/// One entry of the metadata, without building the rest.
fn metadata_entry<'py>(py: Python<'py>, data: &EventData, wanted: &str) -> PyResult<Option<Bound<'py, PyString>>> {
    let meta = data.parts().meta;
    if meta.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(meta);
    let find = |reader: &mut Reader<'_>| {
        for _ in 0..reader.map()? {
            let (key, value) = (reader.str()?.to_owned(), reader.str()?.to_owned());
            if key == wanted {
                return Ok(Some(value));
            }
        }
        Ok(None)
    };
    let found = find(&mut reader).map_err(|error| raise(error, ""))?;
    Ok(found.map(|value| PyString::new(py, &value)))
}

fn decode_as<'py>(py: Python<'py>, payload: &[u8], into: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static DECODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    DECODE.import(py, "aether.payload", "decode")?.call1((PyBytes::new(py, payload), into))
}

fn hash_of(data: &EventData) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

fn shown_data(py: Python<'_>, payload: &[u8]) -> PyResult<String> {
    let text = decode::build(py, payload)?.repr()?.to_string_lossy().into_owned();
    if text.chars().count() <= REPR_DATA_CHARS {
        return Ok(text);
    }
    Ok(text.chars().take(REPR_DATA_CHARS).chain("...".chars()).collect())
}

/// What pickle needs to build the same object again.
type Restore<'py> = (Bound<'py, PyAny>, Bound<'py, PyTuple>);

fn restore<'py>(py: Python<'py>, class: &Bound<'py, PyAny>, data: &EventData) -> PyResult<Restore<'py>> {
    let parts = data.parts();
    let actor = Some(parts.actor).filter(|actor| !actor.is_empty());
    let arguments = (
        actor,
        parts.kind,
        parts.version,
        PyBytes::new(py, parts.payload),
        id_of(py, data),
        parts.time_ns,
        PyBytes::new(py, parts.meta),
        (PyBytes::new(py, parts.extra), parts.extra_pairs),
    );
    Ok((class.getattr(intern!(py, "_restore"))?, arguments.into_pyobject(py)?))
}

type Extra<'a> = (&'a [u8], u16);

/// The inverse of `restore`; a pickle is input like any other, so everything is checked again.
fn restored(
    actor: &str,
    kind: &Bound<'_, PyString>,
    version: u64,
    payload: &[u8],
    id: &Bound<'_, PyString>,
    (time_ns, meta, (extra, extra_pairs)): (i64, &[u8], Extra<'_>),
) -> PyResult<Arc<EventData>> {
    let check = |bytes: &[u8]| decode::check(bytes, &Limits::STORED).map_err(|error| raise(error, ""));
    check(payload)?;
    if !meta.is_empty() {
        check(meta)?;
    }
    let mut reader = Reader::new(extra);
    for _ in 0..2 * u32::from(extra_pairs) {
        reader.skip(&Limits::STORED).map_err(|error| raise(error, ""))?;
    }
    reader.end().map_err(|error| raise(error, ""))?;
    let id = Id::parse(name("id", id)?);
    let kind = name("event_type", kind)?;
    Ok(Arc::new(EventData::new(&Parts { id, actor, kind, version, time_ns, payload, meta, extra, extra_pairs })))
}

#[pymethods]
impl Event {
    #[new]
    #[allow(clippy::too_many_arguments)] // Python gives them by keyword
    #[pyo3(signature = (actor_id, event_type, version, data=None, *, id=None, timestamp=None, metadata=None))]
    fn new(
        py: Python<'_>,
        actor_id: &Bound<'_, PyString>,
        event_type: &Bound<'_, PyString>,
        version: &Bound<'_, PyAny>,
        data: Option<&Bound<'_, PyAny>>,
        id: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let actor = name("actor_id", actor_id)?;
        let kind = name("event_type", event_type)?;
        let version = self::version(version)?;
        Ok(Self { data: make(py, (actor, kind, version), data, &Given { id, timestamp, metadata })? })
    }

    #[staticmethod]
    #[allow(clippy::too_many_arguments)] // a pickle's tuple
    fn _restore(
        actor_id: &Bound<'_, PyString>,
        event_type: &Bound<'_, PyString>,
        version: &Bound<'_, PyAny>,
        payload: &[u8],
        id: &Bound<'_, PyString>,
        time_ns: i64,
        meta: &[u8],
        extra: Extra<'_>,
    ) -> PyResult<Self> {
        let actor = name("actor_id", actor_id)?;
        let version = self::version(version)?;
        Ok(Self { data: restored(actor, event_type, version, payload, id, (time_ns, meta, extra))? })
    }

    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        id_of(py, &self.data)
    }

    #[getter]
    fn actor_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, self.data.actor())
    }

    #[getter]
    fn event_type<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, self.data.parts().kind)
    }

    #[getter]
    fn version(&self) -> u64 {
        self.data.version()
    }

    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decode::build(py, self.data.payload())
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.data.payload())
    }

    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        clock::datetime_of_ns(py, self.data.time_ns())
    }

    #[getter]
    fn time_ns(&self) -> i64 {
        self.data.time_ns()
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        metadata_of(py, &self.data)
    }

    #[getter]
    fn correlation_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        metadata_entry(py, &self.data, "correlation_id")
    }

    #[getter]
    fn causation_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        metadata_entry(py, &self.data, "causation_id")
    }

    #[getter]
    fn command_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        metadata_entry(py, &self.data, "command_id")
    }

    #[pyo3(signature = (r#type, /))]
    fn decode<'py>(&self, py: Python<'py>, r#type: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        decode_as(py, self.data.payload(), r#type)
    }

    /// The same event as a `NewEvent`, without actor and version.
    fn _draft(&self) -> NewEvent {
        NewEvent { data: Arc::new(self.data.draft()) }
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.data)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let parts = self.data.parts();
        let (actor, kind, id) =
            (PyString::new(py, parts.actor).repr()?, PyString::new(py, parts.kind).repr()?, id_of(py, &self.data).repr()?);
        let data = shown_data(py, parts.payload)?;
        Ok(format!("Event({actor}, {kind}, {}, {data}, id={id})", parts.version))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Restore<'py>> {
        restore(slf.py(), slf.get_type().as_any(), &slf.get().data)
    }
}

#[pymethods]
impl NewEvent {
    #[new]
    #[pyo3(signature = (event_type, data=None, *, id=None, timestamp=None, metadata=None))]
    fn new(
        py: Python<'_>,
        event_type: &Bound<'_, PyString>,
        data: Option<&Bound<'_, PyAny>>,
        id: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let kind = name("event_type", event_type)?;
        Ok(Self { data: make(py, ("", kind, 0), data, &Given { id, timestamp, metadata })? })
    }

    #[staticmethod]
    #[allow(clippy::too_many_arguments)] // a pickle's tuple
    fn _restore(
        _actor: Option<&str>,
        event_type: &Bound<'_, PyString>,
        _version: u64,
        payload: &[u8],
        id: &Bound<'_, PyString>,
        time_ns: i64,
        meta: &[u8],
        extra: Extra<'_>,
    ) -> PyResult<Self> {
        Ok(Self { data: restored("", event_type, 0, payload, id, (time_ns, meta, extra))? })
    }

    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        id_of(py, &self.data)
    }

    #[getter]
    fn event_type<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, self.data.parts().kind)
    }

    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decode::build(py, self.data.payload())
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.data.payload())
    }

    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        clock::datetime_of_ns(py, self.data.time_ns())
    }

    #[getter]
    fn time_ns(&self) -> i64 {
        self.data.time_ns()
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        metadata_of(py, &self.data)
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.data)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (kind, id) = (self.event_type(py).repr()?, self.id(py).repr()?);
        Ok(format!("NewEvent({kind}, {}, id={id})", shown_data(py, self.data.payload())?))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Restore<'py>> {
        restore(slf.py(), slf.get_type().as_any(), &slf.get().data)
    }
}

/// The handles of an iterable of events.
pub fn handles(events: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<EventData>>> {
    let collect = |item: PyResult<Bound<'_, PyAny>>| match item?.cast::<Event>() {
        Ok(event) => Ok(Arc::clone(&event.get().data)),
        Err(error) => Err(PyTypeError::new_err(format!("events must be Event objects ({error})"))),
    };
    events.try_iter()?.map(collect).collect()
}

/// The handles of one `NewEvent` or an iterable of them.
pub fn drafts(events: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<EventData>>> {
    if let Ok(one) = events.cast::<NewEvent>() {
        return Ok(vec![Arc::clone(&one.get().data)]);
    }
    let collect = |item: PyResult<Bound<'_, PyAny>>| match item?.cast::<NewEvent>() {
        Ok(event) => Ok(Arc::clone(&event.get().data)),
        Err(error) => Err(PyTypeError::new_err(format!(
            "append takes NewEvent objects, which the store numbers; an Event has its version, save it ({error})"
        ))),
    };
    events.try_iter()?.map(collect).collect()
}

/// A list of `Event` objects for these handles.
pub fn events_of(py: Python<'_>, handles: Vec<Arc<EventData>>) -> PyResult<Bound<'_, pyo3::types::PyList>> {
    let events: Vec<Bound<'_, Event>> =
        handles.into_iter().map(|data| Bound::new(py, Event { data })).collect::<PyResult<_>>()?;
    pyo3::types::PyList::new(py, events)
}
