//! From the words of the command line to its meaning, or to the one line that says what is wrong.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use super::{Cli, Command};

/// What to print, and where, when the command line ends the program at once.
#[derive(Debug, PartialEq, Eq)]
pub struct Exit {
    /// The text.
    pub text: String,
    /// The exit code: 0 for help and version, 2 for a bad command line.
    pub code: u8,
}

/// Reads the command line.
///
/// # Errors
/// The text of help or version; or one line that names the flag, the value and what is allowed.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    let cli = read(args)?;
    if let Command::Serve(serve) = &cli.command
        && let Err(error) = serve.timing()
    {
        return Err(Exit { text: format!("error: {error}\n"), code: 2 });
    }
    Ok(cli)
}

fn read(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    let args: Vec<OsString> = args.into_iter().collect();
    Cli::try_parse_from(&args).map_err(|error| {
        let text = error.render().to_string();
        if !error.use_stderr() {
            return Exit { text, code: 0 };
        }
        if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Exit { text, code: 2 };
        }
        let noise = |line: &&str| !line.is_empty() && !line.starts_with("For more") && !line.starts_with("Usage:");
        let mut text = text.lines().map(str::trim).filter(noise).collect::<Vec<_>>().join(" ");
        if matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand) {
            text = format!("{text}; allowed: {}", allowed(args.get(1)));
        }
        Exit { text: text + "\n", code: 2 }
    })
}

/// The flags of a subcommand; the subcommands, where there is none of this name.
fn allowed(subcommand: Option<&OsString>) -> String {
    let mut program = Cli::command();
    program.build();
    let command = subcommand.and_then(|name| program.find_subcommand(name));
    let words: Vec<String> = match command {
        Some(command) => command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect(),
        None => program.get_subcommands().map(|command| command.get_name().to_owned()).collect(),
    };
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(extra: &[&str]) -> Result<Cli, Exit> {
        let base = ["sheetanchor", "serve", "--tls-cert-file=c", "--tls-private-key-file=k"];
        parse(base.iter().chain(extra).map(OsString::from))
    }

    #[test]
    fn a_bad_value_is_one_line_that_names_flag_value_and_what_is_allowed() {
        for (flag, value, allowed) in [
            ("--spare-policy", "sometimes", "Prefer, OnFailure, Reserve"),
            ("--binding-policy", "warn", "deny, audit"),
            ("--subscription-guard", "on", "full, never-empty, off"),
            ("--cluster-status-update-frequency", "3", "1s to 1h"),
            ("--cluster-status-update-frequency", "2h", "1s to 1h"),
            ("--leader-elect-lease-duration", "0s", "15s"),
            ("--heartbeat-grace-periods", "1", "2 to 100"),
            ("--heartbeat-grace-periods", "three", "2 to 100"),
            ("--unhealthy-cluster-threshold", "NaN", "above 0"),
            ("--taint-key", "a b", "qualified name"),
            ("--taint-key", "Foo.COM/x", "qualified name"),
            ("--taint-key", "a..b/x", "qualified name"),
            ("--node-cluster-label", "a b", "label's key"),
            ("--log-level", "bogus", "error, warn, info, debug, trace"),
            ("--log-level", "kube=loud", "error, warn, info, debug, trace"),
            ("--leader-elect-renew-deadline", "20s", "--leader-elect-lease-duration"),
            ("--secure-port", "70000", "0 to 65535"),
            ("--secure-port", "https", "0 to 65535"),
            ("--bind-address", "here", "IP"),
            ("--logging-format", "xml", "text, json"),
            ("--feature-gates", "Sticky=true", "FailOver=true|false"),
        ] {
            let exit = serve(&[&format!("{flag}={value}")]).expect_err(flag);
            assert_eq!((exit.code, exit.text.lines().count()), (2, 1), "{}", exit.text);
            for part in [flag, value, allowed] {
                assert!(exit.text.contains(part), "{part:?} is missing: {}", exit.text);
            }
        }
    }

    #[test]
    fn an_unknown_flag_and_a_missing_one_are_named_in_one_line() {
        for (args, named) in [(&["--spares=x"][..], "--spares"), (&["extra"][..], "extra")] {
            let exit = serve(args).expect_err(named);
            assert_eq!((exit.code, exit.text.lines().count()), (2, 1), "{}", exit.text);
            assert!(exit.text.contains(named), "{}", exit.text);
            assert!(exit.text.contains("; allowed: --kubeconfig, --bind-address, "), "{}", exit.text);
        }
        let exit = parse(["sheetanchor", "server"].map(OsString::from)).expect_err("no such subcommand");
        assert!(
            exit.text.contains("'server'") && exit.text.contains("allowed: serve, agent, demo, release"),
            "{}",
            exit.text
        );
        let exit = parse(["sheetanchor", "serve"].map(OsString::from)).expect_err("files are missing");
        assert!(exit.text.contains("--tls-cert-file") && exit.text.lines().count() == 1, "{}", exit.text);
    }

    #[test]
    fn the_demo_says_what_it_can_be_scaled_to() {
        for (flag, value, allowed) in [
            ("--clusters", "3", "4 to 1000"),
            ("--clusters", "many", "4 to 1000"),
            ("--period", "1500ms", "whole seconds"),
            ("--period", "2m", "1s to 1m"),
            ("--period", "often", "1s to 1m"),
        ] {
            let exit = parse(["sheetanchor", "demo", flag, value].map(OsString::from)).expect_err(value);
            assert_eq!((exit.code, exit.text.lines().count()), (2, 1), "{}", exit.text);
            assert!(exit.text.contains(flag) && exit.text.contains(allowed), "{}", exit.text);
        }
    }

    #[test]
    fn help_is_no_error() {
        assert_eq!(parse(["sheetanchor", "--help"].map(OsString::from)).expect_err("help").code, 0);
    }
}
