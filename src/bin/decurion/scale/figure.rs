//! What a measurement hands over: rows for people, fields for programs, targets, and a picture.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// A target and what was measured against it.
#[derive(Clone, Debug)]
pub struct Target {
    /// What is asked.
    pub text: String,
    /// What was measured.
    pub measured: String,
    /// Whether it is met.
    pub met: bool,
}

/// The outcome of one measurement.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    /// Its name: of the block in the page, of the file with the picture, and on the command line.
    pub name: &'static str,
    /// The command that measures it again.
    pub command: String,
    /// What the rows are about, in a sentence or two.
    pub about: String,
    /// Heads of the columns.
    pub columns: Vec<&'static str>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
    /// The same and more for programs: one object for each row.
    pub values: Vec<Value>,
    /// What was to be reached.
    pub targets: Vec<Target>,
    /// A picture as SVG.
    pub plot: Option<String>,
}

impl Figure {
    /// Adds a row and its values.
    pub fn row(&mut self, cells: Vec<String>, values: Value) {
        self.rows.push(cells);
        self.values.push(values);
    }

    /// Adds a target.
    pub fn target(&mut self, text: &str, measured: String, met: bool) {
        self.targets.push(Target { text: text.to_owned(), measured, met });
    }

    /// The block of the page: table, picture, targets, command.
    pub fn markdown(&self, machine: &str) -> String {
        let mut text =
            format!("{}\n\n| {} |\n|{}\n", self.about, self.columns.join(" | "), "---|".repeat(self.columns.len()));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        if self.plot.is_some() {
            let _ = writeln!(text, "\n![{0}](scale/{0}.svg)", self.name);
        }
        if !self.targets.is_empty() {
            text.push_str("\n| target | measured | |\n|---|---|---|\n");
            for target in &self.targets {
                let met = if target.met { "met" } else { "**not met**" };
                let _ = writeln!(text, "| {} | {} | {met} |", target.text, target.measured);
            }
        }
        let _ = writeln!(text, "\nMade by `{}` on {machine}.", self.command);
        text
    }

    /// The targets as values.
    pub fn target_values(&self) -> Vec<Value> {
        let value = |t: &Target| json!({ "figure": self.name, "target": t.text, "measured": t.measured, "met": t.met });
        self.targets.iter().map(value).collect()
    }
}

/// The value below which `part` of the sorted values lie.
pub fn quantile(sorted: &[u64], part: f64) -> u64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// Microseconds as milliseconds, with a decimal where they are few.
pub fn ms(us: u64) -> String {
    let value = us as f64 / 1e3;
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// A number with three digits that count, or in whole from a hundred on.
pub fn digits(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v.abs() >= 100.0 => grouped(v.round() as i64),
        v if v.abs() >= 10.0 => format!("{v:.1}"),
        v if v.abs() >= 1.0 => format!("{v:.2}"),
        v => {
            let places = (2.0 - v.abs().log10().floor()).max(0.0) as usize;
            format!("{v:.places$}")
        }
    }
}

/// With commas between thousands.
pub fn grouped(number: i64) -> String {
    let plain = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// The exact 95 % bounds of a Poisson mean of which `count` events were seen.
pub fn poisson_bounds(count: u64) -> (f64, f64) {
    let low = if count == 0 { 0.0 } else { solve(|mean| 1.0 - at_most(count - 1, mean) - 0.025, count) };
    (low, solve(|mean| 0.025 - at_most(count, mean), count))
}

/// Where a growing function crosses zero, of means near `count`.
fn solve(grows: impl Fn(f64) -> f64, count: u64) -> f64 {
    let (mut low, mut high) = (0.0, count as f64 + 10.0 * (count as f64).sqrt() + 10.0);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if grows(middle) < 0.0 { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The probability of at most `count` events where `mean` are expected.
fn at_most(count: u64, mean: f64) -> f64 {
    if mean <= 0.0 {
        return 1.0;
    }
    let mut log_term = -mean;
    let mut sum = log_term.exp();
    for n in 1..=count {
        log_term += mean.ln() - (n as f64).ln();
        sum += log_term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Garwood's exact bounds for 0, 1, 10 and 100 events.
        for (count, low, high) in [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.390), (100, 81.36, 121.63)] {
            let (l, h) = poisson_bounds(count);
            assert!((l - low).abs() < 0.01 && (h - high).abs() < 0.01, "{count}: {l} {h}");
        }
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!([0.5, 0.9, 0.99, 1.0].map(|part| quantile(&sorted, part)), [50, 90, 99, 100]);
        assert_eq!((quantile(&[7], 0.99), quantile(&[], 0.5)), (7, 0));
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [0.0, 0.01234, 1.234, 12.34, 1234.4, 1234567.0].map(digits),
            ["0", "0.0123", "1.23", "12.3", "1,234", "1,234,567"]
        );
        assert_eq!((ms(1_234), ms(1_234_567)), ("1.2".to_owned(), "1235".to_owned()));
    }
}
