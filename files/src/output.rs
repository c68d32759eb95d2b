//! Outputs that are complete or absent: written beside their final name, then renamed.

use super::{failed, file_error};
use crate::{FileError, Result};
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
        remove_stale(target, &name);
        let mut builder = tempfile::Builder::new();
        // Not private as temporary files are by default: the umask decides, as for any output.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let temporary = builder
            .prefix(&format!(".{name}.{}-", machine_and_process(std::process::id())))
            .suffix(".tmp")
            .tempfile_in(folder(target))
            .map_err(|error| not_written(target, &error))?
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
        let failed = |error: &std::io::Error| not_written(&target, error);
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

    /// The same for an HDF5 or netCDF file that is complete, with a digest behind its end.
    ///
    /// # Errors
    /// As [`OutputFile::commit`].
    pub(super) fn commit_sealed(self) -> Result<()> {
        super::seal::seal(&self.temporary).map_err(|error| not_written(&self.target, &error))?;
        self.commit()
    }

    /// Writes a whole file at once.
    ///
    /// # Errors
    /// As [`OutputFile::create`] and [`OutputFile::commit`].
    pub fn write(target: &Path, existing: Existing, bytes: &[u8]) -> Result<()> {
        let output = Self::create(target, existing)?;
        std::fs::write(output.path(), bytes).map_err(|error| not_written(target, &error))?;
        output.commit()
    }
}

/// Room that a disk has which is not full, bytes.
const PROBE: usize = 1 << 20;

/// The error of a library that failed to write `target`, while what it wrote is still there: what such libraries say of a full disk may be
/// anything, so that the disk is asked.
pub fn not_written(target: &Path, error: &dyn std::fmt::Display) -> FileError {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let full = || {
        let mut probe = tempfile::tempfile_in(folder(target))?;
        std::io::Write::write_all(&mut probe, &vec![1; PROBE])?;
        probe.sync_all()
    };
    match full().map_err(|full| full.kind()) {
        Err(StorageFull) => file_error(target, "cannot be written: the disk is full; make room and run it again"),
        Err(QuotaExceeded) => {
            file_error(target, "cannot be written: your share of the disk is full; make room and run it again")
        }
        _ => failed(target, "cannot be written", error),
    }
}

/// Which process a temporary file belongs to: its machine and number.
fn machine_and_process(process: u32) -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain: String = name.trim().chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    format!("{plain}-{process}")
}

/// Removes temporary files of `name` that processes of this machine left when they were killed.
fn remove_stale(target: &Path, name: &str) {
    let Ok(entries) = std::fs::read_dir(folder(target)) else { return };
    let prefix = format!(".{name}.{}", machine_and_process(0).trim_end_matches('0'));
    for entry in entries.flatten() {
        let file = entry.file_name();
        let rest = file.to_str().and_then(|file| file.strip_prefix(&prefix)?.strip_suffix(".tmp"));
        let Some(process) = rest.and_then(|rest| rest.split_once('-')).and_then(|(id, _)| id.parse::<u32>().ok())
        else {
            continue;
        };
        // Where processes cannot be looked up, none counts as ended.
        let ended = Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{process}")).exists();
        if ended {
            let _ = std::fs::remove_file(entry.path());
        }
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
    if target.to_str().is_none() {
        return Err(file_error(target, "its name is not UTF-8 text, and could not be read back; give another name"));
    }
    if target.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(file_error(
            target,
            "is a device, a pipe or a socket, and would be replaced; give the name of a file",
        ));
    }
    if !folder(target).is_dir() {
        return Err(file_error(
            target,
            format!("its folder {} does not exist; create it first", folder(target).display()),
        ));
    }
    if !overwrite && target.symlink_metadata().is_ok() {
        return Err(FileError::Exists { path: target.to_owned() });
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
        assert!(message.contains("exists already"), "{message}");
        let message = OutputFile::create(&folder.path().join("no/out.h5"), Existing::Refuse).unwrap_err().to_string();
        assert!(message.contains("does not exist"), "{message}");
        let message = OutputFile::create(folder.path(), Existing::Overwrite).unwrap_err().to_string();
        assert!(message.contains("is a directory"), "{message}");
    }

    #[test]
    fn refuses_what_is_no_file_and_what_cannot_be_read_back() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for target in [&pipe, Path::new("/dev/null")] {
            let message = OutputFile::check(target, Existing::Overwrite).unwrap_err().to_string();
            assert!(message.contains("is a device, a pipe"), "{message}");
        }
        let name = folder.path().join(std::ffi::OsStr::from_bytes(b"a\xff.h5"));
        assert!(OutputFile::check(&name, Existing::Refuse).unwrap_err().to_string().contains("not UTF-8"));
    }

    /// Those of killed processes go, those of running ones and of other outputs stay.
    #[test]
    fn leftovers_of_killed_processes_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out.h5");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = child.id();
        child.wait().unwrap();
        let leave = |name: &str, process: u32| {
            let path = folder.path().join(format!(".{name}.{}-abcdef.tmp", machine_and_process(process)));
            std::fs::write(&path, b"left").unwrap();
            path
        };
        let (gone, other, running) =
            (leave("out.h5", ended), leave("other.h5", ended), leave("out.h5", std::process::id()));
        OutputFile::write(&target, Existing::Refuse, b"abc").unwrap();
        assert!(!gone.exists() && other.exists() && running.exists());
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
