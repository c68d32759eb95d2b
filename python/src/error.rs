//! Errors as Python's exceptions: `ValueError` for what was given, `tallsbi.Error` for the rest, each with the library's one line.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError, PyValueError};
use pyo3::{PyErr, Python};
use tallsbi::diagnostics::DiagnosticsError;
use tallsbi::inference::InferenceError;
use tallsbi::recordings::RecordingError;
use tallsbi::simulators::SimulatorError;
use tallsbi::{Error as LibraryError, one_line};

create_exception!(tallsbi, Error, PyException, "What tallsbi could not do, in one line.");

/// The exception of an error.
pub fn exception(error: LibraryError) -> PyErr {
    if let LibraryError::Inference(InferenceError::Caller(caller)) = &error
        && let Some(raised) = caller.downcast_ref::<PyErr>()
    {
        // Python's own, from a function that it gave.
        return Python::attach(|py| raised.clone_ref(py));
    }
    let line = one_line(&error);
    if matches!(error, LibraryError::Recording(RecordingError::File { .. })) {
        return PyOSError::new_err(line);
    }
    if is_about_input(&error) { PyValueError::new_err(line) } else { Error::new_err(line) }
}

fn is_about_input(error: &LibraryError) -> bool {
    match error {
        LibraryError::Shape { .. } | LibraryError::Input { .. } | LibraryError::Data(_) => true,
        LibraryError::NoLikelihood { .. } | LibraryError::Recording(_) => true,
        LibraryError::Simulator(error) => !matches!(error, SimulatorError::Failed(_) | SimulatorError::Program { .. }),
        LibraryError::Inference(error) => matches!(
            error,
            InferenceError::Option { .. }
                | InferenceError::Shape { .. }
                | InferenceError::ObservationNotFinite { .. }
                | InferenceError::ObservationNotWhole { .. }
                | InferenceError::TrainingSet(_)
                | InferenceError::Data(_)
        ),
        LibraryError::Diagnostics(error) => !matches!(error, DiagnosticsError::Cancelled(_)),
        LibraryError::About { source, .. } => is_about_input(source),
        _ => false,
    }
}

/// A `ValueError` of options that are not what they should be.
pub fn invalid(what: &str, error: &serde_json::Error) -> PyErr {
    let text = error.to_string();
    // Where in the JSON it is says nothing to those who wrote Python.
    let text = text.split(" at line ").next().unwrap_or(&text);
    PyValueError::new_err(format!("{what}: {text}"))
}
