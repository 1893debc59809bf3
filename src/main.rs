//! The `lerianctl` binary: arguments in, exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    lerianctl::cli::main(std::env::args_os())
}
