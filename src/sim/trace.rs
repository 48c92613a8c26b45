//! What a run leaves behind: a hash over every step, and on request a line of text for each.

use std::fmt;

use super::random::fold;

/// The running hash of a run, and its lines if they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<String>,
}

impl Trace {
    /// Keeps lines from now on.
    pub fn keep_lines(&mut self) {
        self.lines.get_or_insert_default();
    }

    /// Folds one word of a step into the hash.
    pub fn word(&mut self, word: u64) {
        self.hash = fold(self.hash, word);
    }

    /// Writes a line, if lines are kept.
    pub fn line(&mut self, now: u64, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            use fmt::Write;
            let _ = writeln!(lines, "{:>5}.{:06} {}", now / 1_000_000, now % 1_000_000, text());
        }
    }

    /// The hash over all steps so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, if they were kept.
    pub fn lines(&self) -> &str {
        self.lines.as_deref().unwrap_or("")
    }
}
