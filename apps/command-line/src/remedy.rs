//! Errors of the libraries know no options; what to do about them on a command line stands here.

use crate::context::RESUME;
use tallsbi::files::FileError;

/// What the user can do about an error, in the options of the command line.
pub fn remedy(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref::<tallsbi::Error>() {
        Some(error) => of(error),
        None => of_file(cause.downcast_ref()?),
    })
}

fn of(error: &tallsbi::Error) -> Option<String> {
    match error {
        tallsbi::Error::File(error) => of_file(error),
        tallsbi::Error::About { source, .. } => of(source),
        tallsbi::Error::FewPairs { .. } => Some("simulate more or raise --pairs".into()),
        tallsbi::Error::OtherCount { given, .. } => Some(format!("use --n-obs {given}")),
        _ => None,
    }
}

fn of_file(error: &FileError) -> Option<String> {
    match error {
        FileError::Exists { .. } => Some("give another name, or --force to replace it".into()),
        FileError::Interrupted { .. } => Some("add --resume to continue it, or --force to start over".into()),
        FileError::OtherRun { .. } => Some("give the same options, or --force to start over".into()),
        FileError::Stopped { .. } => Some(format!("make room and {RESUME}")),
        _ => None,
    }
}
