//! Tells the bindings which Python they are built for, as pyo3 sees it: `Py_LIMITED_API`, `Py_3_14` and the like.

fn main() {
    #[cfg(feature = "python")]
    pyo3_build_config::use_pyo3_cfgs();
}
