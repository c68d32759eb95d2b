//! A running program: what it is told, what it answers, the last of what it complains.

use std::io::{Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of a read, and pieces that may wait to be taken: what a program that prints without end can fill.
const PIECE: usize = 64 * 1024;
const WAITING: usize = 16;
/// Bytes of standard error that are kept.
const TAIL: usize = 2048;
/// A wait is cut into pieces of this length, after which it is asked whether to stop.
const SLICE: Duration = Duration::from_millis(20);
/// How long a program may take to end when its input has ended, and its standard error after it.
const GRACE: Duration = Duration::from_secs(2);
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Why there is no more output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It did not come in time.
    TimedOut,
    /// Standard output was closed.
    Closed,
    /// Nobody wants it any more.
    Abandoned,
    /// More than was to be expected.
    TooMuch,
}

/// How long to wait, and what says that nobody waits any more.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    pub limit: Duration,
    pub abandoned: &'a AtomicBool,
}

/// A running program.
pub(super) struct Child {
    process: std::process::Child,
    /// To the thread that writes; `None` once the input has ended.
    input: Option<Sender<Vec<u8>>>,
    pieces: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were taken.
    taken: usize,
    complaints: Arc<Mutex<Vec<u8>>>,
    complaining: Option<JoinHandle<()>>,
    ended: bool,
}

impl Child {
    /// Starts a program. It is ended when this is dropped, and (on Linux) when the calling thread ends.
    pub fn start(mut command: Command) -> std::io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        isolate(&mut command);
        let mut process = command.spawn()?;
        let (input, to_write) = channel();
        let (piece, pieces) = sync_channel(WAITING);
        let complaints = Arc::new(Mutex::new(Vec::new()));
        if let Some(stdin) = process.stdin.take() {
            std::thread::spawn(move || write_all(stdin, &to_write));
        }
        if let Some(stdout) = process.stdout.take() {
            std::thread::spawn(move || read_pieces(stdout, &piece));
        }
        let complaining = process.stderr.take().map(|stderr| {
            let complaints = Arc::clone(&complaints);
            std::thread::spawn(move || read_tail(stderr, &complaints))
        });
        let (buffer, taken, ended) = (Vec::new(), 0, false);
        Ok(Self { process, input: Some(input), pieces, buffer, taken, complaints, complaining, ended })
    }

    /// Writes to standard input; what the program does not read is no error.
    pub fn send(&self, bytes: Vec<u8>) {
        if let Some(input) = &self.input {
            let _ = input.send(bytes);
        }
    }

    /// Ends standard input, after what was sent.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// The next line without its end; `most` bytes at most.
    pub fn line(&mut self, most: usize, patience: Patience<'_>) -> Result<&[u8], Silence> {
        let deadline = Instant::now() + patience.limit;
        let mut searched = self.taken;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let (start, end) = (self.taken, searched + at);
                self.taken = end + 1;
                return Ok(&self.buffer[start..end]);
            }
            if self.buffer.len() - self.taken > most {
                return Err(Silence::TooMuch);
            }
            let unread = self.buffer.len() - self.taken;
            self.more(deadline, patience.abandoned)?;
            searched = self.taken + unread;
        }
    }

    /// All that is still to come; `most` bytes at most.
    pub fn rest(&mut self, most: usize, patience: Patience<'_>) -> Result<&[u8], Silence> {
        let deadline = Instant::now() + patience.limit;
        loop {
            match self.more(deadline, patience.abandoned) {
                Ok(()) if self.buffer.len() - self.taken > most => return Err(Silence::TooMuch),
                Ok(()) => {}
                Err(Silence::Closed) => return Ok(&self.buffer[self.taken..]),
                Err(other) => return Err(other),
            }
        }
    }

    /// Whether the program says something that nobody asked for, within `wait`.
    pub fn babbles(&mut self, wait: Duration) -> bool {
        if self.taken == self.buffer.len()
            && let Ok(piece) = self.pieces.recv_timeout(wait)
        {
            self.buffer = piece;
            self.taken = 0;
        }
        self.taken < self.buffer.len()
    }

    /// Waits for a piece of output and appends it to the buffer.
    fn more(&mut self, deadline: Instant, abandoned: &AtomicBool) -> Result<(), Silence> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left.min(SLICE)) {
                Ok(piece) => {
                    self.buffer.drain(..self.taken);
                    self.taken = 0;
                    self.buffer.extend_from_slice(&piece);
                    return Ok(());
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Silence::Closed),
                Err(RecvTimeoutError::Timeout) if abandoned.load(Ordering::Relaxed) => return Err(Silence::Abandoned),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(Silence::TimedOut),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// How a program that closed its output ended; `None` if it does not.
    pub fn status(&mut self, within: Duration) -> Option<ExitStatus> {
        let (deadline, mut pause) = (Instant::now() + within, Duration::from_micros(200));
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(pause),
                _ => return None,
            }
            pause = (pause * 2).min(SLICE);
        }
    }

    /// Ends it at once. Returns the last of what it wrote to standard error.
    pub fn kill(mut self) -> String {
        self.stop();
        let deadline = Instant::now() + LAST_WORDS;
        if let Some(thread) = self.complaining.take() {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&complaints).trim().to_owned()
    }

    /// Ends its input and lets it end by itself, for a while.
    pub fn finish(mut self) {
        self.end_input();
        self.status(GRACE);
    }

    fn stop(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        end_group(&mut self.process);
        // Ended already, or now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::io::Read for Answer<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.child.taken == self.child.buffer.len()
            && let Err(silence) = self.child.more(self.deadline, self.patience.abandoned)
        {
            self.silence = Some(silence);
            return Ok(0);
        }
        let unread = &self.child.buffer[self.child.taken..];
        let count = unread.len().min(out.len());
        out[..count].copy_from_slice(&unread[..count]);
        self.child.taken += count;
        Ok(count)
    }
}

/// The output as a stream, which ends where nothing comes in time.
pub(super) struct Answer<'a> {
    child: &'a mut Child,
    patience: Patience<'a>,
    deadline: Instant,
    /// Why it ended.
    pub silence: Option<Silence>,
}

impl<'a> Answer<'a> {
    pub fn new(child: &'a mut Child, patience: Patience<'a>) -> Self {
        Self { child, patience, deadline: Instant::now() + patience.limit, silence: None }
    }
}

fn write_all(mut stdin: ChildStdin, to_write: &Receiver<Vec<u8>>) {
    while let Ok(bytes) = to_write.recv() {
        // A program that does not read has ended, or will.
        if stdin.write_all(&bytes).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn read_pieces(mut stdout: ChildStdout, piece: &SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = stdout.read(&mut buffer) {
        if piece.send(buffer[..count].to_vec()).is_err() {
            return;
        }
    }
}

fn read_tail(mut stderr: ChildStderr, tail: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; TAIL];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(&buffer[..count]);
        let excess = tail.len().saturating_sub(TAIL);
        tail.drain(..excess);
    }
}

/// A process group of its own: Ctrl-C is for us, and what it starts ends with it. On Linux it also ends when we are killed.
#[cfg(unix)]
fn isolate(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    #[cfg(target_os = "linux")]
    // SAFETY: the closure makes one system call and neither allocates nor locks.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?));
    }
}

#[cfg(not(unix))]
fn isolate(_: &mut Command) {}

/// Ends the program and all that it started.
#[cfg(unix)]
fn end_group(process: &mut std::process::Child) {
    // Not once it was waited for: its number may be another's then.
    if matches!(process.try_wait(), Ok(None)) {
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(process),
            rustix::process::Signal::KILL,
        );
    }
}

#[cfg(not(unix))]
fn end_group(_: &mut std::process::Child) {}
