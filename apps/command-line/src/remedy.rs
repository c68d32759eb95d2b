//! Errors of the libraries know no options; what to do about them on a command line stands here.

use crate::context::RESUME;
use tallsbi::files::FileError;

/// What the user can do about an error, in the options of the command line.
pub fn remedy(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref::<tallsbi::Error>() {
        Some(error) => of(innermost(error)?),
        None => of(cause.downcast_ref()?),
    })
}

fn of(error: &FileError) -> Option<String> {
    match error {
        FileError::Exists { .. } => Some("give another name, or --force to replace it".into()),
        FileError::Interrupted { .. } => Some("add --resume to continue it, or --force to start over".into()),
        FileError::OtherRun { .. } => Some("give the same options, or --force to start over".into()),
        FileError::Stopped { .. } => Some(format!("make room and {RESUME}")),
        _ => None,
    }
}

fn innermost(error: &tallsbi::Error) -> Option<&FileError> {
    match error {
        tallsbi::Error::File(error) => Some(error),
        tallsbi::Error::About { source, .. } => innermost(source),
        _ => None,
    }
}
