//! The command line.

use std::process::ExitCode;

use clap::Parser;
use hairpin::control::cli::Cli;
use hairpin::control::log::Log;
use hairpin::server;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.answer() {
        Some(Ok(code)) => code,
        // Nobody reads on, or the system would not tell: the answer is not complete.
        Some(Err(error)) => failed(&error),
        None => serve(&cli),
    }
}

fn serve(cli: &Cli) -> ExitCode {
    let config = match cli.load() {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    let log = Log::start(&config.log.level, config.log.format);
    // The same file, and what the command line says instead of it.
    let again = cli.clone();
    match server::run(config, Box::new(move || again.load()), &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &impl std::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}
