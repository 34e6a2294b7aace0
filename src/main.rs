//! The `sheetanchor` binary: reads the command line and hands over.

use std::process::ExitCode;

use sheetanchor::config::{self, Command, LoggingFormat};
use sheetanchor::control::error_line::error_line;
use sheetanchor::{app, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(exit) => return say(&exit.text, exit.code),
    };
    let Command::Serve(args) = cli.command;
    let format = args.logging_format;
    if let Err(error) = telemetry::init(format, &args.log_level) {
        return say(&format!("error: {error}\n"), 1);
    }
    let Err(error) = app::serve(*args).await else { return ExitCode::SUCCESS };
    let line = error_line(error.as_ref());
    match format {
        LoggingFormat::Text => say(&format!("error: {line}\n"), 1),
        // Whoever reads JSON can read nothing else.
        LoggingFormat::Json => {
            tracing::error!("{line}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what ends the program: help to standard output, errors to standard error.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place that speaks to the terminal")]
fn say(text: &str, code: u8) -> ExitCode {
    if code == 0 {
        print!("{text}");
    } else {
        eprint!("{text}");
    }
    ExitCode::from(code)
}
