//! An append-only log that survives its writer being killed at any moment.
//!
//! HDF5 files are unreadable when their writer dies, so rows are first staged here. The log is a header followed by frames,
//! each with a checksum of its own: what was cut off or torn (also by a power cut) fails its checksum, and reopening drops
//! it and everything after it. Frame i always holds the same rows, so a resumed run writes what an uninterrupted one would.
//!
//! Layout, little-endian: `MAGIC`, length and CRC-32 of the header (u32 each), the header (JSON); then a frame: CRC-32 of all
//! that follows in it (u32), index, number of invalid rows, lengths of its `PARTS` parts (u32 each), the parts.

use super::output::not_written;
use super::{failed, file_error};
use crate::{FileError, Result};
use flate2::Crc;
use serde_json::Value;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MAGIC: &[u8; 16] = b"tallsbi-staging1";

/// Parts of a frame: theta, x, valid.
pub(super) const PARTS: usize = 3;

/// Bytes before the parts of a frame.
const FRAME_HEADER: usize = 4 * (3 + PARTS);

/// Frames are forced to disk at most this often: a power cut loses no more work than this, and `fsync` costs nothing.
const SYNC_INTERVAL: Duration = Duration::from_secs(2);

/// Where a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    offset: u64,
    lengths: [u32; PARTS],
    /// Invalid rows in it.
    pub(super) invalid: u32,
}

/// The log.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    file: File,
    frames: Vec<Frame>,
    end: u64,
    synced: Instant,
}

impl Staging {
    /// Starts a log, replacing what was there.
    pub(super) fn create(path: &Path, header: &Value) -> Result<Self> {
        let mut file = lock(path, true)?;
        let json = header.to_string();
        let write = |file: &mut File| -> io::Result<u64> {
            file.set_len(0)?;
            file.write_all(MAGIC)?;
            file.write_all(&(json.len() as u32).to_le_bytes())?;
            file.write_all(&checksum(json.as_bytes()).to_le_bytes())?;
            file.write_all(json.as_bytes())?;
            file.sync_all()?;
            file.stream_position()
        };
        let end = write(&mut file).map_err(|error| {
            let error = not_written(path, &error);
            // Without a header nothing of it can be used.
            let _ = std::fs::remove_file(path);
            error
        })?;
        Ok(Self { path: path.to_owned(), file, frames: Vec::new(), end, synced: Instant::now() })
    }

    /// Reopens a log after its last complete frame, with its header; `None` where not even the header is complete.
    pub(super) fn open(path: &Path) -> Result<Option<(Self, Value)>> {
        let mut file = lock(path, false)?;
        let length = file.metadata().map_err(|error| failed(path, "cannot be read", &error))?.len();
        let Some((header, start)) = read_header(&mut file, length) else { return Ok(None) };
        let mut frames = Vec::new();
        let mut end = start;
        let mut buffer = Vec::new();
        while let Ok(Some(frame)) = read_frame(&mut file, end, length, frames.len(), &mut buffer) {
            end = frame.offset + frame.lengths.iter().map(|&l| u64::from(l)).sum::<u64>();
            frames.push(frame);
        }
        file.set_len(end).map_err(|error| failed(path, "cannot be truncated to its last complete rows", &error))?;
        Ok(Some((Self { path: path.to_owned(), file, frames, end, synced: Instant::now() }, header)))
    }

    /// The complete frames.
    pub(super) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Appends a frame.
    pub(super) fn append(&mut self, parts: [&[u8]; PARTS], invalid: u32) -> Result<()> {
        let lengths = parts.map(|part| part.len() as u32);
        let mut head = Vec::with_capacity(FRAME_HEADER - 4);
        head.extend((self.frames.len() as u32).to_le_bytes());
        head.extend(invalid.to_le_bytes());
        lengths.iter().for_each(|length| head.extend(length.to_le_bytes()));
        let mut crc = Crc::new();
        crc.update(&head);
        parts.iter().for_each(|part| crc.update(part));
        let mut write = || -> io::Result<u64> {
            self.file.seek(SeekFrom::Start(self.end))?;
            self.file.write_all(&crc.sum().to_le_bytes())?;
            self.file.write_all(&head)?;
            parts.iter().try_for_each(|part| self.file.write_all(part))?;
            self.file.stream_position()
        };
        let end = write().map_err(|error| self.write_error(&error))?;
        self.frames.push(Frame { offset: self.end + FRAME_HEADER as u64, lengths, invalid });
        self.end = end;
        if self.synced.elapsed() > SYNC_INTERVAL { self.sync() } else { Ok(()) }
    }

    /// Forces all frames to disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.synced = Instant::now();
        self.file.sync_data().map_err(|error| self.write_error(&error))
    }

    /// The parts of frame `index`.
    pub(super) fn read(&mut self, index: usize) -> Result<[Vec<u8>; PARTS]> {
        let frame = self.frames[index];
        let mut parts = frame.lengths.map(|length| vec![0; length as usize]);
        let mut read = || -> io::Result<()> {
            self.file.seek(SeekFrom::Start(frame.offset))?;
            parts.iter_mut().try_for_each(|part| self.file.read_exact(part))
        };
        read().map_err(|error| failed(&self.path, "cannot be read back", &error))?;
        Ok(parts)
    }

    /// Removes the log.
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|error| failed(&self.path, "cannot be removed", &error))
    }

    fn write_error(&self, error: &io::Error) -> FileError {
        let what = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full".to_owned(),
            _ => error.to_string(),
        };
        FileError::Stopped {
            path: self.path.clone(),
            message: format!("cannot be written: {what}"),
            kept: self.path.clone(),
        }
    }
}

/// Opens and locks the log: two writers of one output would destroy each other's work.
fn lock(path: &Path, create: bool) -> Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .open(path)
        .map_err(|error| failed(path, "cannot be opened", &error))?;
    match file.try_lock() {
        // Some network file systems have no locks; work there unprotected.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(file_error(path, "is being written by another run; wait for it or stop it"))
        }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[4 * index..4 * index + 4]);
    u32::from_le_bytes(word)
}

/// The header and where frames start.
fn read_header(file: &mut File, length: u64) -> Option<(Value, u64)> {
    let mut fixed = [0; MAGIC.len() + 8];
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_exact(&mut fixed).ok()?;
    if &fixed[..MAGIC.len()] != MAGIC {
        return None;
    }
    let numbers = &fixed[MAGIC.len()..];
    let size = u64::from(word(numbers, 0));
    let start = fixed.len() as u64 + size;
    if start > length {
        return None;
    }
    let mut json = vec![0; size as usize];
    file.read_exact(&mut json).ok()?;
    if checksum(&json) != word(numbers, 1) {
        return None;
    }
    Some((serde_json::from_slice(&json).ok()?, start))
}

/// The frame at `at`, if it is complete, unharmed and number `index`.
fn read_frame(file: &mut File, at: u64, length: u64, index: usize, buffer: &mut Vec<u8>) -> io::Result<Option<Frame>> {
    if at + FRAME_HEADER as u64 > length {
        return Ok(None);
    }
    let mut head = [0; FRAME_HEADER];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut head)?;
    let lengths: [u32; PARTS] = std::array::from_fn(|part| word(&head, 3 + part));
    let size: u64 = lengths.iter().map(|&l| u64::from(l)).sum();
    let offset = at + FRAME_HEADER as u64;
    if word(&head, 1) as usize != index || offset + size > length {
        return Ok(None);
    }
    buffer.resize(size as usize, 0);
    file.read_exact(buffer)?;
    let mut crc = Crc::new();
    crc.update(&head[4..]);
    crc.update(buffer);
    Ok((crc.sum() == word(&head, 0)).then_some(Frame { offset, lengths, invalid: word(&head, 2) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn log(path: &Path, frames: usize) -> Vec<u64> {
        let mut staging = Staging::create(path, &json!({"seed": 3})).unwrap();
        let mut ends = vec![staging.end];
        for i in 0..frames {
            staging.append([&[i as u8; 50], &[7; 30], &[1; 5]], i as u32).unwrap();
            ends.push(staging.end);
        }
        ends
    }

    /// Cut anywhere, exactly the complete frames come back, and appending goes on from there.
    #[test]
    fn truncation_keeps_complete_frames() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let ends = log(&path, 4);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let complete = ends.iter().filter(|&&end| end <= cut as u64).count();
            match Staging::open(&path).unwrap() {
                None => assert_eq!(complete, 0),
                Some((staging, header)) => {
                    assert_eq!(header["seed"], 3);
                    assert_eq!(staging.frames().len() + 1, complete);
                }
            }
        }
    }

    /// A flipped bit anywhere is noticed.
    #[test]
    fn damage_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let ends = log(&path, 4);
        let bytes = std::fs::read(&path).unwrap();
        for at in ends[2] as usize..ends[3] as usize {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(Staging::open(&path).unwrap().unwrap().0.frames().len(), 2, "byte {at}");
        }
    }

    #[test]
    fn reads_back_and_continues() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        log(&path, 2);
        let (mut staging, _) = Staging::open(&path).unwrap().unwrap();
        staging.append([b"abc", b"", b"z"], 9).unwrap();
        assert_eq!(staging.read(1).unwrap()[0], [1; 50]);
        assert_eq!(staging.read(2).unwrap(), [b"abc".to_vec(), Vec::new(), b"z".to_vec()]);
        assert_eq!(staging.frames()[2].invalid, 9);
        let message = Staging::open(&path).unwrap_err().to_string();
        assert!(message.contains("another run"), "{message}");
    }
}
