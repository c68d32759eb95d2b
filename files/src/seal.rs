//! A digest of our HDF5 files behind their end: what was damaged is refused before HDF5 sees it.
//!
//! HDF5 reads as far as a file's own header says, and cuts off what follows when it writes into the file: one that somebody changed on
//! purpose, or another program wrote, has no seal, and is read as it is.

use super::provenance::sha256_of;
use super::{failed, file_error};
use crate::Result;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What a seal begins with; the SHA-256 of all before it follows in hexadecimal, and a line's end.
const MARK: &[u8] = b"\ntallsbi-sha256 ";
const DIGITS: usize = 64;
const SEAL: usize = MARK.len() + DIGITS + 1;

/// Seals a file that is complete.
pub(super) fn seal(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let digest = sha256_of(&mut file)?;
    file.write_all(&[MARK, digest.as_bytes(), b"\n"].concat())
}

/// Fails where a file of `length` bytes has a seal that does not fit it.
pub(super) fn verify(path: &Path, length: u64) -> Result<()> {
    let Some(sealed) = length.checked_sub(SEAL as u64) else { return Ok(()) };
    let cannot = |error: std::io::Error| failed(path, "cannot be read", &error);
    let mut file = File::open(path).map_err(cannot)?;
    let mut seal = [0; SEAL];
    file.seek(SeekFrom::Start(sealed)).and_then(|_| file.read_exact(&mut seal)).map_err(cannot)?;
    let Some(rest) = seal.strip_prefix(MARK) else { return Ok(()) };
    file.seek(SeekFrom::Start(0)).map_err(cannot)?;
    let digest = sha256_of(file.take(sealed)).map_err(cannot)?;
    if rest[..DIGITS] == *digest.as_bytes() {
        return Ok(());
    }
    Err(file_error(path, "is damaged: it does not have the digest it was written with; make or copy it again"))
}
