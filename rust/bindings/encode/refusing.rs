//! How a value is refused, with the path that leads to it.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::bindings::EncodeError;

/// Why a value was refused. The path grows from its end while the calls return, so it costs nothing when all goes well.
struct Refused {
    steps: Vec<Step>,
    reason: String,
}

pub enum Step {
    Key(String),
    Index(usize),
}

/// Boxed: so a result is one pointer, and comes back in a register.
pub struct Failure(Box<Reason>);

enum Reason {
    Refused(Refused),
    Python(PyErr),
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self(Box::new(Reason::Python(error)))
    }
}

impl Failure {
    #[cold]
    pub fn below(mut self, step: impl FnOnce() -> Step) -> Self {
        if let Reason::Refused(refused) = &mut *self.0 {
            refused.steps.push(step());
        }
        self
    }

    pub fn at(self, key: &Bound<'_, PyString>) -> Self {
        self.below(|| Step::Key(key.to_string_lossy().into_owned()))
    }

    /// The exception, its path starting at `root` ("data").
    pub fn raise(self, root: &str) -> PyErr {
        match *self.0 {
            Reason::Python(error) => error,
            Reason::Refused(Refused { steps, reason }) => {
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

#[cold]
pub fn refuse<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure(Box::new(Reason::Refused(Refused { steps: Vec::new(), reason: reason.into() }))))
}
