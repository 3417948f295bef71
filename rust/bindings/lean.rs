//! `Event` as lean as CPython's own small classes: many are made, and one that lives may be one of millions.
//!
//! pyo3 gives every class what the most general one needs: the garbage collector knows its objects and visits each of them
//! again and again, and a call of the class packs the arguments into a tuple. But an event holds no Python object, so no cycle
//! goes through it and the collector has nothing to find there. Here the class is taken off its hands, and called like CPython's
//! own classes (the vectorcall protocol). Measured: an event is built in two thirds of the time and listed in half.
//!
//! What is touched is what any author of a type in C sets: flags and slots, before the class has objects. Where they cannot be
//! reached (the stable ABI) or this is not tested (builds without GIL), pyo3's way remains.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};
use pyo3::{Borrowed, ffi};

use super::event::Event;
use crate::event::EventData;

/// The bits of a vectorcall's count that count: the top one says that a place before the arguments may be written to.
const COUNT: usize = usize::MAX >> 1;

/// Makes the class lean. Its objects must be what they are taken for: a head, and an `Event` behind it.
pub fn install(class: &Bound<'_, PyType>) -> PyResult<()> {
    let class = class.as_type_ptr();
    // SAFETY: a type object that is ours and has no objects yet. Nobody can derive from it, so nobody inherits this.
    unsafe {
        if (*class).tp_basicsize.cast_unsigned() != size_of::<ffi::PyObject>() + size_of::<Event>() {
            return Err(PyRuntimeError::new_err("an Event is not laid out as this build takes it to be; please report it"));
        }
        (*class).tp_flags &= !ffi::Py_TPFLAGS_HAVE_GC;
        (*class).tp_traverse = None;
        (*class).tp_clear = None;
        (*class).tp_free = Some(ffi::PyObject_Free);
        (*class).tp_dealloc = Some(dealloc);
        (*class).tp_vectorcall = Some(call);
        ffi::PyType_Modified(class);
    }
    Ok(())
}

/// A list of new objects for these events.
pub fn list(py: Python<'_>, events: Vec<Arc<EventData>>) -> PyResult<Bound<'_, PyList>> {
    let class = py.get_type::<Event>().as_type_ptr();
    // SAFETY: a fresh list with as many empty places as there are events, each filled once with an owned reference. The
    // collector and the destructor both accept places that are still empty.
    unsafe {
        let list = Bound::from_owned_ptr_or_err(py, ffi::PyList_New(events.len().cast_signed()))?;
        for (index, data) in (0..).zip(events) {
            let object = object(class, Event { data });
            if object.is_null() {
                return Err(PyErr::fetch(py));
            }
            ffi::PyList_SET_ITEM(list.as_ptr(), index, object);
        }
        Ok(list.cast_into_unchecked())
    }
}

/// A new object; null with Python's error set.
///
/// # Safety
/// `class` is the class that was installed.
#[inline]
unsafe fn object(class: *mut ffi::PyTypeObject, event: Event) -> *mut ffi::PyObject {
    // SAFETY: there is room for the event behind the head, and nobody sees the object before it is there.
    unsafe {
        let object = ffi::PyType_GenericAlloc(class, 0);
        if !object.is_null() {
            place(object).write(event);
        }
        object
    }
}

/// Where the event is in an object: `install` made sure.
fn place(object: *mut ffi::PyObject) -> *mut Event {
    object.wrapping_add(1).cast()
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: Python calls this once, when nobody has the object any more. Its class goes with the last of its objects.
    unsafe {
        let class = ffi::Py_TYPE(object);
        place(object).drop_in_place();
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

/// `Event(actor_id, event_type, version, data)`. Every other form of the call goes the usual way.
unsafe extern "C" fn call(
    class: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls this with the thread attached, and gives so many arguments, borrowed for the time of the call.
    unsafe {
        let py = Python::assume_attached();
        let count = count & COUNT;
        let outcome = if let 3..=4 = count
            && names.is_null()
            && ffi::PyUnicode_Check(*arguments) != 0
            && ffi::PyUnicode_Check(*arguments.add(1)) != 0
        {
            let argument = |place: usize| Borrowed::from_ptr(py, *arguments.add(place));
            let text = |place: usize| argument(place).cast_unchecked::<PyString>();
            let data = (count == 4).then(|| argument(3)).filter(|data| !data.is_none());
            let build = || Event::new(py, &text(0), &text(1), &argument(2), data.as_deref(), None, None, None);
            catch_unwind(AssertUnwindSafe(build))
                .unwrap_or_else(|_| Err(PyRuntimeError::new_err("a panic while an event was built; please report it")))
                .map(|event| object(class.cast(), event))
        } else {
            usual(py, class, arguments, count, names)
        };
        outcome.unwrap_or_else(|error| {
            error.restore(py);
            null_mut()
        })
    }
}

/// `type.__call__`, which takes a tuple and a dict; null with Python's error set is a result too.
unsafe fn usual(
    py: Python<'_>,
    class: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: as the vectorcall protocol says: the values of the names follow the other arguments.
    unsafe {
        let argument = |place: usize| Borrowed::from_ptr(py, *arguments.add(place));
        let places = PyTuple::new(py, (0..count).map(argument))?;
        let keywords = PyDict::new(py);
        if let Some(names) = Borrowed::from_ptr_or_opt(py, names) {
            for (place, name) in names.cast_unchecked::<PyTuple>().iter().enumerate() {
                keywords.set_item(name, argument(count + place))?;
            }
        }
        let call = ffi::PyType_Type.tp_call.ok_or_else(|| PyRuntimeError::new_err("type has no __call__"))?;
        Ok(call(class, places.as_ptr(), keywords.as_ptr()))
    }
}
