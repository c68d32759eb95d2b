//! Outputs that are complete or absent: written beside their final name, then renamed.

use super::{failed, file_error};
use crate::Result;
use std::path::{Path, PathBuf};

/// What to do when the output exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Fail.
    #[default]
    Refuse,
    /// Replace it once the new one is complete.
    Overwrite,
    /// Continue what an interrupted run has written (training sets only; others treat it as [`Existing::Refuse`]).
    Resume,
}

/// An output that appears under its name only when it is complete.
///
/// Dropping it without [`OutputFile::commit`] removes what was written.
#[derive(Debug)]
pub struct OutputFile {
    target: PathBuf,
    temporary: tempfile::TempPath,
    overwrite: bool,
}

impl OutputFile {
    /// Starts an output.
    ///
    /// # Errors
    /// When `target` exists and may not be overwritten, is a directory, or its folder is missing or not writable.
    pub fn create(target: &Path, existing: Existing) -> Result<Self> {
        let overwrite = existing == Existing::Overwrite;
        check_target(target, overwrite)?;
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut builder = tempfile::Builder::new();
        // Not private as temporary files are by default: the umask decides, as for any output.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let temporary = builder
            .prefix(&format!(".{name}."))
            .suffix(".tmp")
            .tempfile_in(folder(target))
            .map_err(|error| failed(target, "cannot be written", &error))?
            .into_temp_path();
        Ok(Self { target: target.to_owned(), temporary, overwrite })
    }

    /// Checks that `target` can be written, before the work that makes it.
    ///
    /// # Errors
    /// As [`OutputFile::create`].
    pub fn check(target: &Path, existing: Existing) -> Result<()> {
        check_target(target, existing == Existing::Overwrite)
    }

    /// Where to write: a file beside the final one.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// The final name.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes the output durable and gives it its final name.
    ///
    /// # Errors
    /// When the disk fails, or the output has meanwhile been created by someone else.
    pub fn commit(self) -> Result<()> {
        let Self { target, temporary, overwrite } = self;
        let failed = |error: &dyn std::fmt::Display| failed(&target, "cannot be written", error);
        std::fs::File::open(&temporary).and_then(|file| file.sync_all()).map_err(|error| failed(&error))?;
        if overwrite {
            temporary.persist(&target).map_err(|error| failed(&error.error))?;
        } else {
            temporary.persist_noclobber(&target).map_err(|error| failed(&error.error))?;
        }
        // The rename itself survives a power cut only once the folder is on disk; not every file system can do that.
        let _ = std::fs::File::open(folder(&target)).and_then(|folder| folder.sync_all());
        Ok(())
    }

    /// Writes a whole file at once.
    ///
    /// # Errors
    /// As [`OutputFile::create`] and [`OutputFile::commit`].
    pub fn write(target: &Path, existing: Existing, bytes: &[u8]) -> Result<()> {
        let output = Self::create(target, existing)?;
        std::fs::write(output.path(), bytes).map_err(|error| failed(target, "cannot be written", &error))?;
        output.commit()
    }
}

/// The folder a file is in.
pub(super) fn folder(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks that `target` can become an output.
pub(super) fn check_target(target: &Path, overwrite: bool) -> Result<()> {
    if target.file_name().is_none() || target.is_dir() {
        return Err(file_error(target, "is a directory; give the name of a file to write"));
    }
    if !folder(target).is_dir() {
        return Err(file_error(
            target,
            format!("its folder {} does not exist; create it first", folder(target).display()),
        ));
    }
    if !overwrite && target.symlink_metadata().is_ok() {
        return Err(file_error(target, "exists already; give another name, or --force to replace it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appears_only_when_committed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.h5");
        let output = OutputFile::create(&target, Existing::Refuse).unwrap();
        std::fs::write(output.path(), b"abc").unwrap();
        assert!(!target.exists());
        output.commit().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"abc");

        let dropped = OutputFile::create(&target, Existing::Overwrite).unwrap();
        std::fs::write(dropped.path(), b"partial").unwrap();
        drop(dropped);
        assert_eq!(std::fs::read(&target).unwrap(), b"abc");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "temporary files are removed");
    }

    #[test]
    fn refuses_existing_missing_folder_and_directory() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.h5");
        std::fs::write(&target, b"abc").unwrap();
        let message = OutputFile::create(&target, Existing::Refuse).unwrap_err().to_string();
        assert!(message.contains("--force"), "{message}");
        let message = OutputFile::create(&folder.path().join("no/out.h5"), Existing::Refuse).unwrap_err().to_string();
        assert!(message.contains("does not exist"), "{message}");
        let message = OutputFile::create(folder.path(), Existing::Overwrite).unwrap_err().to_string();
        assert!(message.contains("is a directory"), "{message}");
    }

    #[test]
    fn does_not_replace_what_appeared_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.h5");
        let output = OutputFile::create(&target, Existing::Refuse).unwrap();
        std::fs::write(&target, b"theirs").unwrap();
        assert!(output.commit().is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"theirs");
    }
}
