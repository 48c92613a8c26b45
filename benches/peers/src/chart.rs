//! A picture as SVG: a line for each peer, with a mark for each value on a logarithmic axis.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 34.0;
const STEP: f64 = 24.0;
const BOTTOM: f64 = 46.0;
/// Told apart in print and by people who see few colours.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

/// What is drawn of one peer.
#[derive(Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// A value for each name of the picture.
    pub values: Vec<Option<f64>>,
}

/// The picture.
pub fn svg(axis: &str, names: &[String], lines: &[Line]) -> String {
    let usable = lines.iter().flat_map(|line| line.values.iter().flatten()).filter(|value| **value > 0.0);
    let (low, high) = usable.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
    let low = low.log10().floor();
    let high = high.log10().ceil().max(low + 1.0);
    let place = |value: f64| LEFT + (value.log10() - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let foot = TOP + STEP * lines.len() as f64;
    let height = foot + BOTTOM;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for power in low as i32..=high as i32 {
        let at = place(10f64.powi(power));
        let _ = writeln!(
            text,
            "<path d=\"M{at:.1} {TOP}V{foot}\" stroke=\"#dddddd\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            foot + 16.0,
            amount(power)
        );
    }
    for (at, name) in names.iter().enumerate() {
        let (x, colour) = (LEFT + 110.0 * at as f64, COLOURS[at % COLOURS.len()]);
        let _ = writeln!(
            text,
            "<circle cx=\"{x}\" cy=\"16\" r=\"5\" fill=\"{colour}\"/><text x=\"{}\" y=\"20\">{name}</text>",
            x + 10.0
        );
    }
    for (at, line) in lines.iter().enumerate() {
        let y = TOP + STEP * (at as f64 + 0.5);
        let weight = if line.name.starts_with("Decurion") { " font-weight=\"bold\"" } else { "" };
        let _ = writeln!(
            text,
            "<path d=\"M{LEFT} {y}H{}\" stroke=\"#eeeeee\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\"{weight}>{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            line.name
        );
        for (of, value) in line.values.iter().enumerate().filter_map(|(of, value)| Some((of, (*value)?))) {
            if value > 0.0 {
                let colour = COLOURS[of % COLOURS.len()];
                let _ = writeln!(text, "<circle cx=\"{:.1}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"/>", place(value));
            }
        }
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    let _ = writeln!(text, "<text x=\"{middle:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{axis}</text>", height - 8.0);
    text.push_str("</svg>\n");
    text
}

fn amount(power: i32) -> String {
    match power {
        6.. => format!("{} M", 10i64.pow(power as u32 - 6)),
        3..=5 => format!("{} k", 10i64.pow(power as u32 - 3)),
        0..=2 => 10i64.pow(power as u32).to_string(),
        _ => format!("{}", 10f64.powi(power)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_place() {
        let line = |name: &str, values: &[Option<f64>]| Line { name: name.to_owned(), values: values.to_vec() };
        let names = ["64 B".to_owned(), "1 KiB".to_owned()];
        let picture =
            svg("a second", &names, &[line("a", &[Some(10.0), Some(1_000.0)]), line("b", &[None, Some(100.0)])]);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n") && !picture.contains("NaN"), "{picture}");
        assert_eq!(picture.matches("<circle").count(), 2 + 3);
        // Ten is the low end of the axis, a thousand the high one, and a hundred lies between.
        for x in [LEFT, WIDTH - RIGHT, f64::midpoint(LEFT, WIDTH - RIGHT)] {
            assert!(picture.contains(&format!("cx=\"{x:.1}\"")), "{x}: {picture}");
        }
        assert!(!svg("a second", &names, &[]).contains("NaN"));
    }
}
