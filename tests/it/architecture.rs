//! Holds the house to its plan: floors import only downwards, and each stays what it is.

use std::fs;
use std::path::{Path, PathBuf};

/// A room of `src/`, what it may import of this crate, and the crates it must do without.
struct Room {
    name: &'static str,
    may_import: &'static [&'static str],
    does_without: &'static [&'static str],
}

/// What decides and what knows must be replayable: no clock, no I/O, no client, no log.
const PURE: &[&str] = &["kube", "k8s_openapi", "serde", "serde_json", "tokio", "tracing", "axum", "jiff", "futures"];
const MUTE: &[&str] = &["tokio", "tracing", "axum", "futures"];

const ROOMS: &[Room] = &[
    Room { name: "domain", may_import: &["domain"], does_without: PURE },
    Room { name: "clock", may_import: &[], does_without: &["kube", "axum"] },
    Room { name: "wire", may_import: &["domain", "wire"], does_without: MUTE },
    Room { name: "state", may_import: &["domain", "state"], does_without: PURE },
    Room { name: "metrics", may_import: &["domain", "state"], does_without: &["kube", "axum", "tokio"] },
    Room { name: "config", may_import: &["domain", "state"], does_without: &["kube", "axum", "tokio"] },
    Room { name: "telemetry", may_import: &["config"], does_without: &["kube", "axum", "tokio"] },
    // The doors answer from snapshots: they cannot even name a client.
    Room {
        name: "serve",
        may_import: &["domain", "clock", "wire", "state", "metrics", "serve"],
        does_without: &["kube"],
    },
    Room {
        name: "control",
        may_import: &["domain", "clock", "wire", "state", "metrics", "control"],
        does_without: &["axum", "hyper"],
    },
    Room {
        name: "app",
        may_import: &["domain", "clock", "wire", "state", "metrics", "config", "telemetry", "serve", "control"],
        does_without: &[],
    },
    Room {
        name: "cli",
        may_import: &["domain", "clock", "wire", "state", "config", "control", "app", "cli"],
        does_without: &["axum", "hyper"],
    },
    // A process of its own, in another cluster: it shares with `serve` how one logs in and stops.
    Room {
        name: "agent",
        may_import: &["domain", "clock", "wire", "config", "control", "app", "agent"],
        does_without: &["axum", "hyper"],
    },
    // Nobody may import it: it names everybody, and nobody names it.
    Room {
        name: "demo",
        may_import: &[
            "domain",
            "clock",
            "wire",
            "state",
            "metrics",
            "config",
            "telemetry",
            "serve",
            "control",
            "app",
            "demo",
        ],
        does_without: &[],
    },
];

const LONGEST_FILE: usize = 400;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file below `src/`: its path from there, and its text.
fn house() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths.sort();
    let name = |path: &Path| path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("is text"))).collect()
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let spoken = |line: &&str| !line.trim_start().starts_with("//");
    body.lines().filter(spoken).collect::<Vec<_>>().join("\n")
}

fn is_test(name: &str) -> bool {
    ["/tests", "testing", "/fake"].iter().any(|part| name.contains(part))
}

/// The words that follow `prefix` in the code, up to the next separator.
fn words_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let joined = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        let word = code[at + prefix.len()..].split(|c: char| !(c.is_alphanumeric() || c == '_')).next();
        word.filter(|word| !joined && !word.is_empty())
    })
}

fn room(name: &str) -> Option<&'static Room> {
    let first = name.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
    ROOMS.iter().find(|room| room.name == first)
}

#[test]
fn floors_import_only_downwards() {
    let mut wrong = Vec::new();
    for (name, text) in house() {
        if is_test(&name) || matches!(name.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        let Some(room) = room(&name) else {
            wrong.push(format!("{name} stands in no room of the plan"));
            continue;
        };
        let code = code(&text);
        for import in words_after(&code, "crate::") {
            if !room.may_import.contains(&import) {
                wrong.push(format!("{name} imports {import}, which {} may not", room.name));
            }
        }
        assert!(!code.contains("use crate::{"), "{name}: import each room by a line of its own");
        for needless in room.does_without {
            if words_after(&code, &format!("{needless}::")).next().is_some() {
                wrong.push(format!("{name} names {needless}, which {} does without", room.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_is_one_thing() {
    let long: Vec<String> = house()
        .into_iter()
        .filter_map(|(name, text)| {
            let lines = text.lines().count();
            (lines > LONGEST_FILE).then(|| format!("{name}: {lines} lines"))
        })
        .collect();
    assert!(long.is_empty(), "past {LONGEST_FILE} lines: {}", long.join(", "));
}

#[test]
fn the_plan_names_only_rooms_that_exist() {
    let house = house();
    for planned in ROOMS {
        assert!(
            house.iter().any(|(name, _)| room(name).is_some_and(|room| room.name == planned.name)),
            "{}",
            planned.name
        );
    }
}
