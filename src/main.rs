//! The `sheetanchor` binary: reads the command line and hands over.

use std::process::ExitCode;

use sheetanchor::config::{self, AgentArgs, Command, LoggingFormat, ServeArgs};
use sheetanchor::control::error_line::error_line;
use sheetanchor::{agent, app, cli, demo, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(exit) => return say(&exit.text, exit.code),
    };
    let ended = match cli.command {
        Command::Serve(args) => serve(*args).await,
        Command::Agent(args) => agent(args).await.map(|()| 0),
        Command::Demo(args) => demo::run(&args).await,
        Command::Release(args) => cli::release::run(&args, &mut std::io::stdout()).await,
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => say(&format!("error: {}\n", error_line(error.as_ref())), 1),
    }
}

/// The exit code, or what is yet to be said.
async fn serve(args: ServeArgs) -> anyhow::Result<u8> {
    let format = args.logging_format;
    telemetry::init(format, &args.log_level).map_err(anyhow::Error::msg)?;
    match (app::serve(args).await, format) {
        // Whoever reads JSON can read nothing else.
        (Err(error), LoggingFormat::Json) => {
            tracing::error!("{}", error_line(error.as_ref()));
            Ok(1)
        }
        (ended, _) => ended.map(|()| 0),
    }
}

async fn agent(args: AgentArgs) -> anyhow::Result<()> {
    telemetry::init(args.logging_format, &args.log_level).map_err(anyhow::Error::msg)?;
    agent::run(args).await
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
