//! The program `tallsbi`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    ExitCode::from(tallsbi_cli::main(&arguments))
}
