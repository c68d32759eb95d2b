//! The command line, for the script that the wheel installs.

use pyo3::prelude::*;
use std::ffi::OsString;

/// Runs the command line with `arguments`, of which the first is the program's name, and returns its exit code. Once in a process, which it has to
/// itself: its signal handlers take the place of Python's.
#[pyfunction]
pub fn command_line(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| tallsbi_cli::main(&arguments))
}
