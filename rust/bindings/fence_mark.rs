//! `FenceMark`: what the writer of a shard's owner and its pipelines share of the shard's fence.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::pending::Mark;

/// Where a shard's fence stands, shared by the owner's writer and its pipelines. Safe from many threads.
///
/// Attributes:
///     last: the position of the shard's last message, as the owner knows it.
///     key: under which name heads are remembered that may be written on.
///     is_open: writes are taken.
#[pyclass(frozen, module = "aether._native")]
pub struct FenceMark {
    pub mark: Arc<Mark>,
}

#[pymethods]
impl FenceMark {
    #[new]
    fn new(last: u64, key: u64) -> Self {
        let mark = Mark::default();
        mark.set_last(last);
        mark.set_key(key);
        Self { mark: Arc::new(mark) }
    }

    #[getter]
    fn last(&self) -> u64 {
        self.mark.last()
    }

    #[setter]
    fn set_last(&self, position: u64) {
        self.mark.set_last(position);
    }

    #[getter]
    fn key(&self) -> u64 {
        self.mark.key()
    }

    #[setter]
    fn set_key(&self, key: u64) {
        self.mark.set_key(key);
    }

    #[getter]
    fn is_open(&self) -> bool {
        self.mark.is_open()
    }

    #[setter]
    fn set_is_open(&self, is_open: bool) {
        self.mark.set_open(is_open);
    }
}
