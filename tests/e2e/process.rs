//! Child processes that cannot outlive the test that started them.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;

/// How many lines of its log a process shows when its test fails.
const LOG_TAIL_LINES: usize = 40;

/// Whether a program ends by itself when its stdin closes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndsWithStdin {
    /// It was built for these tests and does.
    Yes,
    /// It does not know; a watcher beside it ends it.
    No,
}

/// A running program. Dropping it kills it and waits, on a panic too; and when this very process
/// is killed, the pipes it holds close, which ends the children.
pub(crate) struct Process {
    name: String,
    child: Child,
    watcher: Option<Child>,
    reaped: bool,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output appended to `<dir>/<name>.log`.
    pub(crate) fn spawn(name: &str, mut command: Command, dir: &Path, ends: EndsWithStdin) -> Self {
        let log = dir.join(format!("{name}.log"));
        let output = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command
            .env("SHEETANCHOR_DIE_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let watcher = (ends == EndsWithStdin::No).then(|| watch(child.id()));
        Self { name: name.to_owned(), child, watcher, reaped: false, log }
    }

    /// The number that the kernel knows it by.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // After the wait the kernel may give the number to any other process.
        assert!(!self.reaped, "{} has already ended", self.name);
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {} ({pid:?}): {error}", self.name));
    }

    /// Asks it to stop, as a kubelet does.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Freezes it: sockets stay open, nothing answers.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused process run again.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, as the kernel does when memory runs out, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        // Watcher first, for the same reason.
        if let Some(mut watcher) = self.watcher.take() {
            let _ = watcher.kill();
            let _ = watcher.wait();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.reaped = true;
    }

    /// Lets go of the pipes, as the death of this test process would.
    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
        drop(self.watcher.as_mut().and_then(|watcher| watcher.stdin.take()));
    }

    /// How it ended, if it has.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap();
        self.reaped |= status.is_some();
        status
    }

    /// Waits for it to end by itself.
    pub(crate) async fn wait_for_exit(&mut self, timeout: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually(&what, timeout, async || self.exit_status()).await
    }

    /// All that it has written to stdout and stderr.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of its log, under its name.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        format!("--- the end of the log of {}\n{tail}\n", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

/// Starts the watcher of `pid`: it ends the process when our end of its stdin closes.
fn watch(pid: u32) -> Child {
    Command::new("sh")
        .args(["-c", r#"cat >/dev/null; kill -9 "$0""#, &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cannot start sh")
}
