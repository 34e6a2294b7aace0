//! The `sheetanchor` binary: reads the command line and hands over.

use std::process::ExitCode;

use sheetanchor::config::{self, Command, ServeArgs};
use sheetanchor::{app, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(exit) => return say(&exit.text, exit.code),
    };
    let Command::Serve(args) = cli.command;
    match serve(*args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("error: {}\n", one_line(&error)), 1),
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    telemetry::init(args.logging_format, &args.log_level).map_err(anyhow::Error::msg)?;
    app::serve(args).await
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

/// An error and its causes, each said once.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}
