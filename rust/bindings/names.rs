//! Ids, tokens, shards, subjects.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{InvalidIdError, raise};
use crate::{shard, token};

/// The text of a name; `what` says which name it is in the error.
pub fn name<'a>(what: &'static str, value: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    let Ok(text) = value.to_str() else {
        let shown = value.to_string_lossy().into_owned();
        return Err(InvalidIdError::new_err((what, shown, "has a lone surrogate, which UTF-8 cannot hold")));
    };
    token::check_id(what, text).map_err(|error| raise(error, text))?;
    Ok(text)
}

#[pyfunction]
pub fn check_actor_id(actor_id: &Bound<'_, PyString>) -> PyResult<()> {
    name("actor_id", actor_id).map(|_| ())
}

#[pyfunction]
pub fn token_encode(id: &Bound<'_, PyString>) -> PyResult<String> {
    name("id", id).map(token::encode)
}

#[pyfunction]
pub fn token_decode(token: &str) -> Option<String> {
    token::decode(token)
}

#[pyfunction]
pub fn shard_of(actor_id: &Bound<'_, PyString>) -> PyResult<u32> {
    name("actor_id", actor_id).map(|id| shard::shard_of(&token::encode(id)))
}

/// `<prefix>.<namespace>.<shard>.<token>`
#[pyfunction]
pub fn actor_subject(namespace: &str, actor_id: &Bound<'_, PyString>) -> PyResult<String> {
    let token = token::encode(name("actor_id", actor_id)?);
    Ok(format!("aether.{namespace}.{}.{token}", shard::shard_of(&token)))
}
