//! Running the program in a folder of its own.

#![allow(dead_code, reason = "each test file uses some of these")]

use assert_cmd::Command;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long a machine that does other work may take to start what a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so while a program runs. False where the program ends before it is seen to be so.
pub fn while_running(child: &mut Child, mut so: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !so() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Sends a signal (`-INT`); false where the program has ended.
pub fn signal(child: &Child, name: &str) -> bool {
    let kill = std::process::Command::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status();
    kill.unwrap().success()
}

/// The results of a study in its folder.
pub fn results(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap()
}

/// A temporary folder to run the program in.
pub struct Place(tempfile::TempDir);

impl Place {
    /// A new, empty folder.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The program with arguments, separated by spaces.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallsbi"));
        command.current_dir(self.path()).args(arguments.split_whitespace());
        // HDF5 opens files without close-on-exec: a process that another test starts at the wrong moment inherits a file
        // this one writes, and with it the lock.
        command.env("HDF5_USE_FILE_LOCKING", "FALSE");
        command
    }

    /// Starts it, deaf and mute.
    pub fn start(&self, arguments: &str) -> Child {
        std::process::Command::new(env!("CARGO_BIN_EXE_tallsbi"))
            .current_dir(self.path())
            .args(arguments.split_whitespace())
            .env("HDF5_USE_FILE_LOCKING", "FALSE")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs it; it must succeed. Returns standard output.
    pub fn run(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "tallsbi {arguments}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it; it must succeed. Returns standard error.
    pub fn log(&self, arguments: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "tallsbi {arguments}: {text}");
        text
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).unwrap();
    }

    /// Runs it with `--json`; it must succeed and print one JSON value.
    pub fn json(&self, arguments: &str) -> serde_json::Value {
        serde_json::from_str(&self.run(&format!("{arguments} --json"))).unwrap()
    }

    /// Digest of a file's contents.
    pub fn digest(&self, name: &str) -> String {
        self.json(&format!("inspect {name}"))["digest"].as_str().unwrap().to_owned()
    }

    /// Runs it with standard output on a full device; it must fail with an error that starts so.
    pub fn fails_on_full_stdout(&self, arguments: &str, expected: &str) {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tallsbi"));
        let output = command.current_dir(self.path()).args(arguments.split_whitespace()).stdout(full).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.starts_with(expected), "tallsbi {arguments}: {error}");
    }

    /// Runs it; it must fail with this exit code and one line of error that contains `expected`.
    pub fn fails(&self, arguments: &str, code: i32, expected: &str) {
        let output = self.command(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "tallsbi {arguments}: {error}");
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 1, "tallsbi {arguments}: {error}");
        assert!(lines[0].starts_with("error: ") && lines[0].contains(expected), "tallsbi {arguments}: {error}");
        assert!(output.stdout.is_empty(), "tallsbi {arguments}");
    }
}
