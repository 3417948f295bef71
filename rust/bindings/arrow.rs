//! `ArrowRows`, `ArrowBatch`, `ArrowTable`: events as columns, and how they leave through Arrow's C interface.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, RecordBatch, RecordBatchIterator, RecordBatchReader, StructArray, cast::AsArray};
use arrow_schema::{ArrowError, SchemaRef};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyIterator, PyTuple};

use super::codec::default_limits;
use crate::arrow::{BATCH_BYTES, Rows, schema};
use crate::event::EventData;

/// What the library refuses, as an error of Python's: none that an event could bring about.
fn refused(error: &ArrowError) -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err(format!("no record batch can be made: {error}"))
}

/// The columns of every batch, as `__arrow_c_schema__` gives them.
#[pyfunction]
pub fn batch_schema(py: Python<'_>) -> PyResult<Bound<'_, PyCapsule>> {
    let schema = FFI_ArrowSchema::try_from(schema().as_ref()).map_err(|error| refused(&error))?;
    PyCapsule::new_with_value(py, schema, c"arrow_schema")
}

fn stream(py: Python<'_>, reader: Box<dyn RecordBatchReader + Send>) -> PyResult<Bound<'_, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")
}

/// Takes the events of a read, and gives out record batches. Safe from many threads.
///
/// A batch has whole commits, ends with the one that brings it to 32 MiB, and has at most `batch_size` rows unless one commit
/// alone has more.
///
/// Args:
///     batch_size: how many rows a batch has at most.
#[pyclass(frozen, module = "aether._native")]
pub struct ArrowRows {
    rows: Mutex<Rows>,
}

impl ArrowRows {
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events while other threads run Python: data becomes JSON here, which is most of the work.
    pub fn push(&self, py: Python<'_>, events: &[(u64, Arc<EventData>)]) -> PyResult<()> {
        py.detach(|| self.lock().push(events)).map_err(|error| refused(&error))
    }
}

#[pymethods]
impl ArrowRows {
    #[new]
    #[pyo3(signature = (batch_size, /))]
    fn new(batch_size: usize) -> Self {
        Self { rows: Mutex::new(Rows::new(batch_size, BATCH_BYTES, default_limits())) }
    }

    /// The next batch that is full; None: there is none yet.
    fn full(&self) -> Option<ArrowBatch> {
        self.lock().full().map(ArrowBatch)
    }

    /// The next batch, full or not; None: nothing is left.
    fn rest(&self) -> PyResult<Option<ArrowBatch>> {
        let rest = self.lock().rest();
        rest.map(|batch| batch.map(ArrowBatch)).map_err(|error| refused(&error))
    }
}

/// Events of whole commits as an Arrow record batch: `polars.DataFrame(batch)`, `pyarrow.record_batch(batch)`.
///
/// Its columns: `position`, `actor_id`, `event_type`, `version`, `id`, `timestamp` (ns, UTC), `data` (msgpack, as it is stored),
/// `data_json` (null where JSON cannot say it), `metadata_json` (null where there is none).
#[pyclass(frozen, module = "aether")]
pub struct ArrowBatch(RecordBatch);

#[pymethods]
impl ArrowBatch {
    /// How many events it has.
    #[getter]
    fn num_rows(&self) -> usize {
        self.0.num_rows()
    }

    /// Everything wanted up to and with this position was read: `store.arrow(after=batch.position)` goes on behind it.
    #[getter]
    fn position(&self) -> u64 {
        let positions = self.0.column(0).as_primitive::<UInt64Type>();
        positions.values().last().copied().unwrap_or(0)
    }

    /// How many bytes its columns take.
    #[getter]
    fn nbytes(&self) -> usize {
        self.0.get_array_memory_size()
    }

    fn __len__(&self) -> usize {
        self.0.num_rows()
    }

    fn __repr__(&self) -> String {
        format!("<ArrowBatch: {} events up to position {}>", self.num_rows(), self.position())
    }

    /// Its columns as an "arrow_schema" capsule.
    #[allow(clippy::unused_self)] // a method in Python
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        batch_schema(py)
    }

    /// Itself as a pair of capsules, "arrow_schema" and "arrow_array"; another schema cannot be had.
    #[pyo3(signature = (requested_schema=None))]
    #[allow(unused_variables)] // a producer may ignore it, and callers check what they get
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let array = FFI_ArrowArray::new(&StructArray::from(self.0.clone()).to_data());
        (batch_schema(py)?, PyCapsule::new_with_value(py, array, c"arrow_array")?).into_pyobject(py)
    }

    /// Itself as an "arrow_array_stream" capsule of one batch; another schema cannot be had.
    #[pyo3(signature = (requested_schema=None))]
    #[allow(unused_variables)]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        stream(py, Box::new(RecordBatchIterator::new([Ok(self.0.clone())], schema())))
    }
}

/// Events as Arrow record batches in memory: `polars.DataFrame(table)`, `pyarrow.table(table)`, its name in DuckDB's SQL.
///
/// Its columns are those of `ArrowBatch`.
///
/// Args:
///     batches: what it has.
///
/// Raises:
///     TypeError: an item that is no `ArrowBatch`.
#[pyclass(frozen, module = "aether")]
pub struct ArrowTable(Vec<RecordBatch>);

#[pymethods]
impl ArrowTable {
    #[new]
    #[pyo3(signature = (batches, /))]
    fn new(batches: &Bound<'_, PyAny>) -> PyResult<Self> {
        let batches = batches.try_iter()?.map(|item| Ok(item?.cast::<ArrowBatch>()?.get().0.clone()));
        batches.collect::<PyResult<_>>().map(Self)
    }

    /// How many events it has.
    #[getter]
    fn num_rows(&self) -> usize {
        self.0.iter().map(RecordBatch::num_rows).sum()
    }

    /// How many bytes its columns take.
    #[getter]
    fn nbytes(&self) -> usize {
        self.0.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    fn __len__(&self) -> usize {
        self.num_rows()
    }

    fn __repr__(&self) -> String {
        format!("<ArrowTable: {} events in {} batches>", self.num_rows(), self.0.len())
    }

    /// Its columns as an "arrow_schema" capsule.
    #[allow(clippy::unused_self)] // a method in Python
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        batch_schema(py)
    }

    /// Itself as an "arrow_array_stream" capsule; another schema cannot be had.
    #[pyo3(signature = (requested_schema=None))]
    #[allow(unused_variables)]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let batches: Vec<_> = self.0.iter().cloned().map(Ok).collect();
        stream(py, Box::new(RecordBatchIterator::new(batches, schema())))
    }
}

/// A stream, as an "arrow_array_stream" capsule, that takes each `ArrowBatch` from a Python iterator when it is asked for.
///
/// It may be asked in any thread. What the iterator raises ends the stream, and is its last error, as text.
#[pyfunction]
#[pyo3(signature = (iterator, /))]
pub fn arrow_stream<'py>(py: Python<'py>, iterator: &Bound<'py, PyIterator>) -> PyResult<Bound<'py, PyCapsule>> {
    stream(py, Box::new(Pull { iterator: Some(iterator.clone().unbind()), failed: None }))
}

/// The one place where the crate calls Python: a consumer in C asks for the next batch, and only Python can fetch it.
struct Pull {
    iterator: Option<Py<PyIterator>>,
    /// Said again to whoever asks on: an end without an error would pass for the whole.
    failed: Option<String>,
}

impl Pull {
    fn pull(&self) -> Option<Result<RecordBatch, String>> {
        let iterator = self.iterator.as_ref()?;
        let pulled = Python::try_attach(|py| {
            let next = iterator.bind(py).clone().next()?.and_then(|item| Ok(item.cast::<ArrowBatch>()?.get().0.clone()));
            Some(next.map_err(|error| error.to_string()))
        });
        pulled.unwrap_or_else(|| Some(Err("the interpreter has ended".to_owned())))
    }

    /// Lets go of the iterator, and so of the read behind it, wherever this is.
    fn close(&mut self) {
        if let Some(iterator) = self.iterator.take() {
            Python::try_attach(|_| drop(iterator));
        }
    }
}

impl Iterator for Pull {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed.is_none() {
            match self.pull() {
                Some(Ok(batch)) => return Some(Ok(batch)),
                Some(Err(text)) => self.failed = Some(text),
                None => {}
            }
            self.close();
        }
        let failed = self.failed.clone()?;
        Some(Err(ArrowError::ExternalError(failed.into())))
    }
}

impl RecordBatchReader for Pull {
    fn schema(&self) -> SchemaRef {
        schema()
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.close();
    }
}
