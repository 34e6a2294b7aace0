//! The timeline: one line per fact, in seconds since the start.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::clock;
use crate::control::error_line::error_line;

use super::wait::Failure;

/// The width of the column that says whom a fact is about.
const SUBJECT_COLUMNS: usize = 12;

/// Writes the facts as they come, and counts those that were checked.
pub struct Timeline<W> {
    out: W,
    colour: bool,
    started: Instant,
    checks: usize,
}

/// How a piece of text looks on a terminal: an SGR code.
#[derive(Clone, Copy)]
enum Look {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
}

impl<W: Write> Timeline<W> {
    /// Starts now. `colour`: `out` is a terminal.
    pub fn new(out: W, colour: bool) -> Self {
        Self { out, colour, started: clock::now(), checks: 0 }
    }

    /// A line outside the timeline.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Opens a chapter: what happens, and what to look for.
    pub(super) fn chapter(&mut self, title: &str, about: &str) -> io::Result<()> {
        let (title, about) = (self.paint(Look::Bold, title), self.paint(Look::Dim, about));
        writeln!(self.out, "\n{title}\n{about}")
    }

    /// Something that was done.
    pub(super) fn fact(&mut self, subject: &str, text: &str) -> io::Result<()> {
        self.line(" ", subject, text)
    }

    /// Something that was checked and is as it must be.
    pub(super) fn check(&mut self, subject: &str, text: &str) -> io::Result<()> {
        self.checks += 1;
        let mark = self.paint(Look::Green, "✓");
        self.line(&mark, subject, text)
    }

    /// The step that did not go as it must, or what kept the script from going on.
    pub(super) fn failed(&mut self, error: &anyhow::Error) -> io::Result<()> {
        let mark = self.paint(Look::Red, "✗");
        match error.downcast_ref::<Failure>() {
            Some(failure) => {
                self.line(&mark, "expected", &failure.expected)?;
                self.line(" ", "seen", &failure.seen)?;
            }
            None => self.line(&mark, "error", &error_line(error.as_ref()))?,
        }
        let summary = format!("Failed after {} checks and {}.", self.checks, seconds(self.elapsed()));
        let summary = self.paint(Look::Red, &summary);
        writeln!(self.out, "\n{summary}")
    }

    /// The end of a script that went as it must.
    pub(super) fn passed(&mut self) -> io::Result<()> {
        let summary = format!("{} checks passed in {}.", self.checks, seconds(self.elapsed()));
        let summary = self.paint(Look::Green, &summary);
        writeln!(self.out, "\n{summary}")
    }

    fn line(&mut self, mark: &str, subject: &str, text: &str) -> io::Result<()> {
        let time = self.paint(Look::Dim, &format!("{:>6.2}", self.elapsed().as_secs_f64()));
        // Further lines of a text stand under its first.
        let margin = format!("\n{:width$}", "", width = "  0.00 ✓ ".chars().count() + SUBJECT_COLUMNS + 1);
        let text = text.replace('\n', &margin);
        writeln!(self.out, "{time} {mark} {subject:<SUBJECT_COLUMNS$} {text}")
    }

    fn elapsed(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }

    fn paint(&self, look: Look, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", look as u8) } else { text.to_owned() }
    }
}

/// A measured time: `3.04s`.
pub(super) fn seconds(span: Duration) -> String {
    format!("{:.2}s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn facts_are_aligned_and_checks_are_counted() {
        let mut out = Vec::new();
        let mut timeline = Timeline::new(&mut out, false);
        let script = |timeline: &mut Timeline<&mut Vec<u8>>| -> io::Result<()> {
            timeline.chapter("1. One", "What it is about.")?;
            timeline.fact("eu-1", "its last beat")?;
            timeline.check("/prioritize", "first line\nsecond line")
        };
        script(&mut timeline).expect("a Vec takes every write");
        tokio::time::advance(Duration::from_millis(12_340)).await;
        let failure = Failure { expected: "this".to_owned(), seen: "that".to_owned() };
        timeline.failed(&failure.into()).expect("a Vec takes every write");
        let expected = "
1. One
What it is about.
  0.00   eu-1         its last beat
  0.00 ✓ /prioritize  first line
                      second line
 12.34 ✗ expected     this
 12.34   seen         that

Failed after 1 checks and 12.34s.
";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn colour_is_for_terminals() {
        let (mut plain, mut coloured) = (Vec::new(), Vec::new());
        for (out, colour) in [(&mut plain, false), (&mut coloured, true)] {
            let mut timeline = Timeline::new(out, colour);
            timeline.check("a", "b").and_then(|()| timeline.passed()).expect("a Vec takes every write");
        }
        assert!(!plain.contains(&b'\x1b'), "{}", String::from_utf8_lossy(&plain));
        assert!(coloured.contains(&b'\x1b'), "{}", String::from_utf8_lossy(&coloured));
    }
}
