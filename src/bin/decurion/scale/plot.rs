//! Small plots as SVG: points with lines and error bars, on axes that are linear or logarithmic.

use std::fmt::Write as _;

use super::figure::digits;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;
/// Told apart in print and by people who see few colours.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#555555"];

/// An axis: what it shows, and whether it is logarithmic.
#[derive(Clone, Debug)]
pub struct Axis {
    pub text: &'static str,
    pub logarithmic: bool,
}

/// A line of points, each with the lower and upper end of what is uncertain.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    pub bars: Vec<(f64, f64, f64)>,
}

impl Series {
    /// Points without error bars.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.into(), points, bars: Vec::new() }
    }
}

/// How values become places along one axis.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, axis: &Axis, from: f64, to: f64) -> Scale {
        let usable = values.filter(|v| v.is_finite() && (!axis.logarithmic || *v > 0.0));
        let (low, high) = usable.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = match axis.logarithmic {
            _ if low > high => (1.0, 10.0),
            true => {
                let least = low.log10().floor();
                (10f64.powf(least), 10f64.powf(high.log10().ceil().max(least + 1.0)))
            }
            false => (low.min(0.0), high.max(1e-9) * 1.05),
        };
        Scale { low, high, logarithmic: axis.logarithmic, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.max(self.low).log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let (low, high) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
            return (low..=high).map(|power| 10f64.powi(power)).collect();
        }
        let raw = (self.high - self.low) / 5.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= raw).unwrap_or(raw);
        (0..).map(|n| self.low + f64::from(n) * step).take_while(|v| *v <= self.high).collect()
    }
}

/// The picture.
pub fn svg(across: &Axis, up: &Axis, all: &[Series]) -> String {
    let points = || all.iter().flat_map(|series| series.points.iter());
    let bars = || all.iter().flat_map(|series| series.bars.iter());
    let x = Scale::new(points().map(|p| p.0), across, LEFT, WIDTH - RIGHT);
    let heights = points().map(|p| p.1).chain(bars().flat_map(|(_, low, high)| [*low, *high]));
    let y = Scale::new(heights, up, HEIGHT - BOTTOM, TOP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for tick in x.ticks() {
        let at = x.place(tick);
        let _ = writeln!(
            text,
            "<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#dddddd\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
            digits(tick)
        );
    }
    for tick in y.ticks() {
        let at = y.place(tick);
        let _ = writeln!(
            text,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#dddddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            digits(tick)
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 12.0,
        across.text
    );
    let _ = writeln!(
        text,
        "<text transform=\"translate(14 {:.0}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        HEIGHT / 2.0,
        up.text
    );
    for (at, series) in all.iter().enumerate() {
        draw(&mut text, series, COLOURS[at % COLOURS.len()], at, &x, &y);
    }
    text.push_str("</svg>\n");
    text
}

fn draw(text: &mut String, series: &Series, colour: &str, at: usize, x: &Scale, y: &Scale) {
    let place = |(across, up): &(f64, f64)| format!("{:.1},{:.1}", x.place(*across), y.place(*up));
    let line: Vec<String> = series.points.iter().map(place).collect();
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        line.join(" ")
    );
    for (across, low, high) in &series.bars {
        let _ = writeln!(
            text,
            "<path d=\"M{0:.1} {1:.1}V{2:.1}\" stroke=\"{colour}\"/>",
            x.place(*across),
            y.place(*low),
            y.place(*high)
        );
    }
    // Marks where there are few points: a distribution is a line.
    for (across, up) in series.points.iter().filter(|_| series.points.len() <= 20) {
        let _ = writeln!(
            text,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
            x.place(*across),
            y.place(*up)
        );
    }
    let height = TOP + 14.0 + 16.0 * at as f64;
    let _ = writeln!(text, "<text x=\"{:.0}\" y=\"{height:.0}\" fill=\"{colour}\">{}</text>", LEFT + 10.0, series.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_axis_and_the_picture_is_whole() {
        let axis = |logarithmic| Axis { text: "members", logarithmic };
        let scale = Scale::new([10.0, 1_000.0].into_iter(), &axis(true), 0.0, 300.0);
        assert!((scale.place(100.0) - 150.0).abs() < 1.0 && scale.ticks() == [10.0, 100.0, 1_000.0]);
        let linear = Scale::new([0.0, 40.0].into_iter(), &axis(false), 0.0, 42.0);
        assert!((linear.place(21.0) - 21.0).abs() < 0.1 && linear.ticks() == [0.0, 10.0, 20.0, 30.0, 40.0]);
        let series = Series { bars: vec![(10.0, 1.0, 3.0)], ..Series::line("a", vec![(10.0, 2.0), (20.0, 0.0)]) };
        let picture = svg(&axis(true), &axis(true), &[series]);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n") && !picture.contains("NaN"), "{picture}");
        assert_eq!(picture.matches("<circle").count(), 2);
    }
}
