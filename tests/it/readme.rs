//! What the README says of the flags is what the program takes.
//!
//! `UPDATE_README=1 cargo test --test it readme` writes the tables anew.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use sheetanchor::config::Cli;

/// One row per flag, in the order of `--help`.
fn table(command: &Command) -> String {
    let mut table = "| flag | default | meaning |\n|---|---|---|\n".to_owned();
    for arg in command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())) {
        let name = arg.get_long().map(|flag| format!("--{flag}"));
        let name = name.unwrap_or_else(|| format!("<{}>…", arg.get_value_names().expect("a name")[0]));
        let help = arg.get_help().expect("every flag says what it means").to_string();
        let allowed = words(arg).map(|words| format!(": {words}")).unwrap_or_default();
        writeln!(table, "| `{name}` | {} | {} |", default(arg), (help + &allowed).replace('|', "\\|"))
            .expect("a string");
    }
    table
}

fn default(arg: &Arg) -> String {
    if arg.is_required_set() {
        return "required".to_owned();
    }
    let values: Vec<String> = arg.get_default_values().iter().map(|it| it.to_string_lossy().into_owned()).collect();
    let shown = values.iter().any(|value| !value.is_empty()) && arg.get_action().takes_values();
    if shown { format!("`{}`", values.join(",")) } else { String::new() }
}

/// The allowed words, where they are a closed set.
fn words(arg: &Arg) -> Option<String> {
    let words: Vec<String> = arg.get_possible_values().iter().map(|it| format!("`{}`", it.get_name())).collect();
    (!words.is_empty() && arg.get_action().takes_values()).then(|| words.join(", "))
}

#[test]
fn the_flags_in_the_readme_are_those_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let mut readme = std::fs::read_to_string(&path).unwrap();
    let program = Cli::command();
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let begin = format!("<!-- flags of {name} -->\n");
        let start =
            readme.find(&begin).unwrap_or_else(|| panic!("README.md has no \"{}\"", begin.trim())) + begin.len();
        let end = start + readme[start..].find("<!-- end -->").expect("the table's end");
        let wanted = table(command);
        if std::env::var_os("UPDATE_README").is_some() {
            readme.replace_range(start..end, &wanted);
            continue;
        }
        assert_eq!(readme[start..end], wanted, "UPDATE_README=1 cargo test --test it readme");
    }
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, readme).unwrap();
    }
}
