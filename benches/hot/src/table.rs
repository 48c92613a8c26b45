//! Tables that are kept beside the sources: a figure for each piece, and what they were measured with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A figure for each piece.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Table {
    /// What it was measured with.
    pub about: String,
    pub figures: BTreeMap<String, f64>,
}

/// How a piece compares with its table.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    /// Within the bound.
    Kept,
    /// Better by more than the bound: bless the table, or what was won can be lost again unseen.
    Better,
    /// Worse by more than the bound.
    Worse,
    /// Not in the table.
    Unknown,
}

impl Table {
    /// Where a table lies.
    pub fn path(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    /// Reads one; empty if there is none.
    pub fn read(name: &str) -> Table {
        fs::read_to_string(Table::path(name)).map_or_else(|_| Table::default(), |text| Table::parse(&text))
    }

    /// Reads lines of a name and a figure; the first one says what they were measured with.
    pub fn parse(text: &str) -> Table {
        let about = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or("").to_owned();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pair = |line: &str| {
            let (name, figure) = line.split_once('\t')?;
            Some((name.to_owned(), figure.trim().parse().ok()?))
        };
        Table { about, figures: lines.filter_map(pair).collect() }
    }

    /// Writes it in the order of names.
    pub fn write(&self, name: &str) {
        let mut text = format!("# {}\n", self.about);
        for (piece, figure) in &self.figures {
            writeln!(text, "{piece}\t{figure:.2}").expect("a string takes everything");
        }
        fs::write(Table::path(name), text).expect("the table can be written");
    }

    /// Compares a figure; `bound`: 0.03 is three of a hundred.
    pub fn judge(&self, piece: &str, now: f64, bound: f64) -> Verdict {
        match self.figures.get(piece) {
            None => Verdict::Unknown,
            Some(before) if now > before * (1.0 + bound) => Verdict::Worse,
            Some(before) if now < before / (1.0 + bound) => Verdict::Better,
            Some(_) => Verdict::Kept,
        }
    }

    /// A line for people: piece, before, now, ratio, verdict.
    pub fn line(&self, piece: &str, of: &str, now: f64, bound: f64) -> String {
        let before = self.figures.get(piece);
        let text = before.map_or("-".to_owned(), |before| format!("{before:.2}"));
        let ratio = before.map_or("-".to_owned(), |before| format!("{:.3}", now / before));
        let verdict = match self.judge(piece, now, bound) {
            Verdict::Kept => "",
            Verdict::Better => "better",
            Verdict::Worse => "WORSE",
            Verdict::Unknown => "NOT IN THE TABLE",
        };
        format!("{piece:<24} {of:<10} {text:>16} {now:>16.2} {ratio:>8}  {verdict}")
    }

    /// The heads of those columns.
    pub fn head(unit: &str) -> String {
        format!("{:<24} {:<10} {:>16} {:>16} {:>8}", "piece", "per", format!("{unit} before"), "now", "ratio")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let table = Table::parse("# a machine\nrelay\t12.50\n# a note\nwalk\t3\nnonsense\n");
        assert_eq!((table.about.as_str(), table.figures.len()), ("a machine", 2));
        assert_eq!((table.figures["relay"], table.figures["walk"]), (12.5, 3.0));
    }

    #[test]
    fn what_is_out_of_bounds_is_told_apart() {
        let table = Table { about: String::new(), figures: [("relay".to_owned(), 1_000.0)].into() };
        let judge = |now: f64| table.judge("relay", now, 0.03);
        assert_eq!([judge(1_000.0), judge(1_030.0), judge(971.0)], [Verdict::Kept; 3]);
        assert_eq!([judge(1_030.1), judge(2_000.0)], [Verdict::Worse; 2]);
        assert_eq!(judge(970.0), Verdict::Better);
        assert_eq!(table.judge("new", 1.0, 0.03), Verdict::Unknown);
        assert!(table.line("relay", "message", 2_000.0, 0.03).contains("WORSE"));
        assert!(table.line("new", "message", 1.0, 0.03).contains("NOT IN"));
    }
}
