//! The command line of tallsbi: simulate, train, sample the tall posterior, validate, report.

mod choice;
mod cli;
mod commands;
mod context;
mod interrupt;
mod notes;
mod progress;
mod remedy;
#[cfg(test)]
mod tests;

use anyhow::Context as _;
use clap::Parser;
use cli::Cli;
use context::{Context, UsageError};
use interrupt::Interrupt;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::panic::UnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tallsbi::data::{Alone, Team};
use tallsbi::distributed::{Leave, Processes};

/// Runs the program with its arguments, of which the first is its own name, and returns its exit code. Once in a process: it has the
/// process's signals, panics, log and threads to itself.
pub fn main(arguments: &[OsString]) -> u8 {
    guarded(|| start(arguments))
}

/// Does the program's work and returns its exit code; a panic on any thread makes it that of a failure.
fn guarded(work: impl FnOnce() -> u8 + UnwindSafe) -> u8 {
    install_panic_hook();
    // The hook has told the user; here a panic only becomes an exit code. What a worker's panic stopped counts as failed too.
    let code = std::panic::catch_unwind(work).unwrap_or(FAILED);
    if PANICKED.load(Ordering::SeqCst) {
        Processes::abort();
    }
    // Nothing can be done about a closed pipe.
    let _ = std::io::stdout().flush();
    if PANICKED.load(Ordering::SeqCst) { FAILED } else { code }
}

/// Exit code of what failed.
const FAILED: u8 = 1;

/// Exit code of wrong usage.
const WRONG_USAGE: u8 = 2;

/// Whether a thread has panicked.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// How long other threads may go on after a panic of one.
const AFTER_PANIC: Duration = Duration::from_secs(2);

/// How long a process of a job that cannot join the others waits for the first one to say why: `mpirun` ends all as soon as one fails.
const FIRST_SPEAKS: Duration = Duration::from_secs(10);

fn start(arguments: &[OsString]) -> u8 {
    let worker = tallsbi::distributed::is_worker();
    let code = start_one(arguments, worker);
    if worker && code != 0 {
        std::thread::sleep(FIRST_SPEAKS);
    }
    code
}

fn start_one(arguments: &[OsString], worker: bool) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // All processes of a job have the same arguments: one says what is wrong with them.
        Err(error) if worker => return if error.use_stderr() { WRONG_USAGE } else { 0 },
        Err(error) => return usage_exit(&error),
    };
    if !worker {
        start_logging(&cli);
    }
    match run(cli, arguments) {
        Ok(()) => 0,
        Err(error) => {
            if !worker {
                progress::tell(&format!("error: {}", message(&error)));
            }
            exit_code(&error)
        }
    }
}

fn run(cli: Cli, arguments: &[OsString]) -> anyhow::Result<()> {
    if let Some(threads) = cli.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()?;
    }
    if cli.follow_links {
        tallsbi::files::follow_links();
    }
    if cfg!(feature = "mpi") && tallsbi::distributed::launched().is_some() && !cli.command.is_distributed() {
        return Err(context::usage(
            "only simulate, study, refine and diagnose run on several processes; start this command without mpirun",
        ));
    }
    let interrupt = Interrupt::install()?;
    let line = context::command_line(arguments);
    let processes = if cli.command.is_distributed() { join(&line)?.map(Arc::new) } else { None };
    let team: Arc<dyn Team + Send> = match &processes {
        Some(processes) => processes.clone(),
        None => Arc::new(Alone),
    };
    let rank = team.rank();
    let of_scratch = |scratch| Context {
        seed: cli.seed,
        json: cli.json,
        quiet: cli.quiet || tallsbi::distributed::is_worker(),
        command: line,
        interrupt,
        team,
        scratch,
    };
    let scratch = (rank > 0).then(tempfile::tempdir).transpose().context("no temporary folder can be made");
    let outcome = scratch.and_then(|scratch| cli.command.run(&of_scratch(scratch)));
    match processes {
        None => outcome,
        Some(processes) => leave(&processes, outcome),
    }
}

/// The processes that `mpirun` started, where they are of the same program.
fn join(line: &str) -> anyhow::Result<Option<Processes>> {
    if tallsbi::distributed::launched().is_none() {
        return Ok(None);
    }
    let program = std::env::current_exe().context("this program's file is not known")?;
    let greeting = format!("{} {} {line}", env!("CARGO_PKG_VERSION"), tallsbi::files::sha256_file(&program)?);
    Ok(Processes::join(&greeting)?)
}

/// Ends the work of one of several processes: all hear of what went wrong in one of them, and the first tells it.
fn leave(processes: &Processes, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    let message = outcome.as_ref().err().map(message);
    let how = match (&outcome, &message) {
        (Err(error), _) if context::is_cancelled(error) => Leave::Interrupted,
        (_, Some(message)) => Leave::Failed(message),
        _ => Leave::Done,
    };
    let give_up = || message.iter().for_each(|message| progress::tell(&format!("error: {message}")));
    let reason = processes.leave(how, &give_up);
    if processes.rank() > 0 {
        return Ok(());
    }
    match (outcome, reason) {
        (Err(error), Some(reason)) if context::is_cancelled(&error) => Err(reason.into()),
        (Ok(()), Some(reason)) => Err(reason.into()),
        (outcome, _) => outcome,
    }
}

/// An error on one line, with what to do about it.
fn message(error: &anyhow::Error) -> String {
    let remedy = remedy::remedy(error).map(|remedy| format!("; {remedy}")).unwrap_or_default();
    format!("{}{remedy}", context::printable(&tallsbi::one_line(error.as_ref())))
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let wrong_usage = error.chain().any(|cause| cause.is::<UsageError>() || tallsbi::is_usage(cause));
    match (context::is_cancelled(error), wrong_usage) {
        (true, _) => interrupt::EXIT_CODE,
        (false, true) => WRONG_USAGE,
        (false, false) => FAILED,
    }
}

/// Help and version as clap prints them; its errors on one line.
fn usage_exit(error: &clap::Error) -> u8 {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nothing can be done about a closed pipe.
            let _ = error.print();
            0
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            WRONG_USAGE
        }
        _ => {
            let text = error.to_string();
            let lines: Vec<&str> = text
                .lines()
                .map(str::trim)
                .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
                .filter(|line| !line.is_empty())
                .collect();
            progress::tell(&format!("{}; see --help", lines.join(" ")));
            WRONG_USAGE
        }
    }
}

fn start_logging(cli: &Cli) {
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "error",
        (false, 0) => {
            "warn,tallsbi=info,tallsbi_studies=info,tallsbi_files=info,tallsbi::data=info,tallsbi::simulators=info,tallsbi::inference=info,tallsbi::diagnostics=info"
        }
        (false, 1) => {
            "info,tallsbi=debug,tallsbi_studies=debug,tallsbi_files=debug,tallsbi::data=debug,tallsbi::simulators=debug,tallsbi::inference=debug,tallsbi::diagnostics=debug"
        }
        (false, _) => "trace",
    };
    let terminal = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_target(cli.verbose > 0)
        .with_ansi(terminal)
        .with_writer(|| progress::LogWriter);
    if terminal { subscriber.without_time().init() } else { subscriber.init() }
}

/// A panic is a bug of ours: one line that says so, whatever thread it is on, and the end of the process: other threads stop at the
/// next safe place, or are stopped a little later.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        if PANICKED.swap(true, Ordering::SeqCst) {
            return;
        }
        let message = panic.payload_as_str().unwrap_or("no message").lines().next().unwrap_or_default();
        let place = panic.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        // Not above the progress bars: this thread may be in the middle of drawing one.
        let _ = writeln!(
            std::io::stderr(),
            "error: internal error ({message}, at {place}); this is a bug, please report it with the command at {}",
            env!("CARGO_PKG_REPOSITORY")
        );
        interrupt::stop();
        std::thread::spawn(|| {
            std::thread::sleep(AFTER_PANIC);
            std::process::exit(FAILED.into());
        });
    }));
}
