//! `EpochRecord`: what says that a node has taken a shard.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::names::name;
use super::raise;
use super::reading::hash_of;
use crate::epoch::EpochRecord as RecordData;

/// Says that a node has taken a shard; the stream sequence of the record is the epoch.
#[pyclass(frozen, eq, module = "aether._native")]
#[derive(Debug, Clone, PartialEq)]
pub struct EpochRecord {
    pub data: RecordData,
}

#[pymethods]
impl EpochRecord {
    /// The record of a message's body.
    ///
    /// Raises:
    ///     DecodeError: these bytes are no record of an epoch; `offset` says where that was noticed.
    #[staticmethod]
    #[pyo3(signature = (body, /))]
    fn decode(body: &[u8]) -> PyResult<Self> {
        let data = RecordData::decode(body).map_err(|error| raise(error, ""))?;
        Ok(Self { data })
    }

    /// The node that has taken the shard.
    #[getter]
    fn node<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &self.data.node)
    }

    /// Which life of the node, from 1: the stream sequence of its lease's first write.
    #[getter]
    fn incarnation(&self) -> u64 {
        self.data.incarnation
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.data)
    }

    fn __repr__(&self) -> String {
        format!("<EpochRecord of {:?}, incarnation {}>", self.data.node, self.data.incarnation)
    }
}

/// The body of the record that a node has taken a shard.
///
/// Args:
///     node: the node's name, any string of 1 to 255 UTF-8 bytes.
///     incarnation: which life of the node, from 1 to 2**64 - 1.
///
/// Raises:
///     InvalidIdError: `node` is empty, too long or no UTF-8.
///     OverflowError: an incarnation below 0 or above 2**64 - 1.
///     ValueError: incarnation 0.
#[pyfunction]
pub fn encode_epoch<'py>(node: &Bound<'py, PyString>, incarnation: u64) -> PyResult<Bound<'py, PyBytes>> {
    let record = RecordData::new(name("node", node)?, incarnation).map_err(|error| raise(error, ""))?;
    Ok(PyBytes::new(node.py(), &record.encode()))
}
