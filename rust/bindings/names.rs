//! Ids, tokens, shards, subjects.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::text::utf8;
use super::{InvalidIdError, raise};
use crate::{shard, token};

/// The text of a name; `what` says which name it is in the error.
pub fn name<'a>(what: &'static str, value: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    let Some(text) = utf8(value) else {
        drop(PyErr::take(value.py()));
        let shown = value.to_string_lossy().into_owned();
        return Err(InvalidIdError::new_err((what, shown, "has a lone surrogate, which UTF-8 cannot hold")));
    };
    token::check_id(what, text).map_err(|error| raise(error, text))?;
    Ok(text)
}

/// Refuses what is no actor id.
///
/// Raises:
///     InvalidIdError: it is empty, longer than 255 UTF-8 bytes, or has a lone surrogate.
#[pyfunction]
#[pyo3(signature = (actor_id, /))]
pub fn check_actor_id(actor_id: &Bound<'_, PyString>) -> PyResult<()> {
    name("actor_id", actor_id).map(|_| ())
}

/// The subject token of an id: `[A-Za-z0-9_-]` stay, every other byte of its UTF-8 becomes `=XX`.
///
/// Raises:
///     InvalidIdError: this is no id.
#[pyfunction]
#[pyo3(signature = (id, /))]
pub fn token_encode(id: &Bound<'_, PyString>) -> PyResult<String> {
    name("id", id).map(token::encode)
}

/// The id whose token this is; None if it is the token of none.
#[pyfunction]
#[pyo3(signature = (token, /))]
pub fn token_decode(token: &Bound<'_, PyString>) -> Option<String> {
    token.to_str().ok().and_then(token::decode)
}

/// The shard of an actor, 0 to 1020: FNV-1a-32 of its token modulo 1021, as the server's `partition()` computes it.
///
/// Raises:
///     InvalidIdError: this is no id.
#[pyfunction]
#[pyo3(signature = (actor_id, /))]
pub fn shard_of(actor_id: &Bound<'_, PyString>) -> PyResult<u32> {
    name("actor_id", actor_id).map(shard::shard_of_id)
}

/// The subject of an actor's commits: `aether.<namespace>.<shard>.<token>`. The namespace is taken as it is.
///
/// Raises:
///     InvalidIdError: `actor_id` is no id.
#[pyfunction]
#[pyo3(signature = (namespace, actor_id, /))]
pub fn actor_subject(namespace: &str, actor_id: &Bound<'_, PyString>) -> PyResult<String> {
    let token = token::encode(name("actor_id", actor_id)?);
    Ok(format!("aether.{namespace}.{}.{token}", shard::shard_of(&token)))
}
