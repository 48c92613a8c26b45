//! What the rounds come to: medians, ratios of the same round, and the blocks of the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use crate::RunArguments;
use crate::chart::{self, Line};
use crate::measure::{Figure, WINDOWS, Work, version, works};
use crate::ours::OURS;
use crate::page::Page;
use crate::peer::{Needs, Peer, Way};
use crate::shared::figures::median;

/// The title of plain sockets.
pub const RAW: &str = "plain sockets (raw)";

/// Whoever receives in each stream, and fewer messages a second than that are not the pace of `latency`.
const RECEIVERS: f64 = 9.0;
const SLOW: f64 = 950.0;

/// A row of a table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Row {
    /// Which way its messages go: which table.
    pub way: Way,
    /// Its name.
    pub title: &'static str,
}

impl From<&Peer> for Row {
    fn from(peer: &Peer) -> Row {
        Row { way: peer.way, title: peer.title }
    }
}

/// Outcomes by round.
type Rounds = BTreeMap<u32, Result<Figure, String>>;

/// All outcomes of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Who could not be measured, and why.
    pub missing: Vec<(&'static str, String)>,
    order: Vec<Row>,
    all: BTreeMap<(Row, Work), Rounds>,
}

impl Report {
    /// Notes an outcome.
    pub fn add(&mut self, round: u32, row: Row, work: Work, outcome: Result<Figure, String>) {
        if !self.order.contains(&row) {
            self.order.push(row);
        }
        self.all.entry((row, work)).or_default().insert(round, outcome);
    }

    /// Prints the tables, writes the page if there is to be one, and says how the command ends.
    pub fn finish(&self, arguments: &RunArguments, present: &[Peer]) -> io::Result<ExitCode> {
        let mut page = arguments.write.as_deref().map(Page::open).transpose()?;
        let made = made_by(arguments);
        for (name, way) in [("relayed", Way::Relayed), ("direct", Way::Direct)] {
            let streams: Vec<Work> =
                works(arguments, way).into_iter().filter(|work| matches!(work, Work::Stream(_))).collect();
            if self.rows(way).is_empty() || streams.is_empty() {
                continue;
            }
            let pictures = format!("![{name}](benchmarks/{name}.svg)\n\n![{name}, CPU](benchmarks/{name}_cpu.svg)");
            show(page.as_mut(), name, &format!("{}\n{pictures}\n\n{made}", self.rates(way, &streams)))?;
            let draw = |axis: &str, what: fn(&Figure) -> f64| {
                self.chart(way, axis, |row| self.values(row, &streams, what), &sizes(&streams))
            };
            picture(page.as_ref(), name, &draw("deliveries a second", |figure| figure.per_s))?;
            let cpu = draw("CPU seconds for a million deliveries", |figure| figure.cpu_s_per_million);
            picture(page.as_ref(), &format!("{name}_cpu"), &cpu)?;
        }
        if works(arguments, Way::Direct).contains(&Work::Latency) {
            let table = format!("{}\n![latency](benchmarks/latency.svg)\n\n{made}", self.latencies());
            show(page.as_mut(), "latency", &table)?;
            picture(page.as_ref(), "latency", &self.latency_chart())?;
        }
        let writes = works(arguments, Way::Written);
        if !writes.is_empty() && !self.rows(Way::Written).is_empty() {
            let table = format!("{}\n![writes](benchmarks/writes.svg)\n\n{made}", self.writes());
            show(page.as_mut(), "writes", &table)?;
            let names: Vec<String> = WINDOWS.iter().map(|window| format!("{window} under way")).collect();
            let chart = self.chart(
                Way::Written,
                "acknowledged writes a second",
                |row| self.values(row, &writes, |f| f.per_s),
                &names,
            );
            picture(page.as_ref(), "writes", &chart)?;
        }
        show(page.as_mut(), "failures", &self.failures())?;
        show(page.as_mut(), "settings", &settings(arguments, present))?;
        if let Some(page) = page {
            page.save()?;
        }
        let none =
            |row: &Row| self.all.iter().filter(|((of, _), _)| of == row).all(|(_, rounds)| good(rounds).is_empty());
        Ok(if self.order.iter().any(none) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn rows(&self, way: Way) -> Vec<Row> {
        self.order.iter().filter(|row| row.way == way).copied().collect()
    }

    fn rounds(&self, row: Row, work: Work) -> Option<&Rounds> {
        self.all.get(&(row, work))
    }

    /// The median over the rounds that went well.
    fn middle(&self, row: Row, work: Work, what: impl Fn(&Figure) -> f64) -> Option<f64> {
        median(&good(self.rounds(row, work)?).iter().map(|(_, figure)| what(figure)).collect::<Vec<_>>())
    }

    /// The median of ours by theirs, each of the same round.
    fn against(&self, row: Row, work: Work, what: impl Fn(&Figure) -> f64) -> Option<f64> {
        let ours = self.rounds(Row { title: OURS, ..row }, work)?;
        let theirs = good(self.rounds(row, work)?);
        let ratio = |(round, figure): &(u32, Figure)| {
            let ours = ours.get(round)?.as_ref().ok()?;
            (what(figure) > 0.0).then(|| what(ours) / what(figure))
        };
        median(&theirs.iter().filter_map(ratio).collect::<Vec<_>>())
    }

    fn values(&self, row: Row, works: &[Work], what: fn(&Figure) -> f64) -> Vec<Option<f64>> {
        works.iter().map(|work| self.middle(row, *work, what)).collect()
    }

    fn cell(&self, row: Row, work: Work, text: impl Fn(&Report) -> Option<String>) -> String {
        let Some(rounds) = self.rounds(row, work) else { return "–".to_owned() };
        let good = good(rounds).len();
        match text(self) {
            Some(text) if good == rounds.len() => text,
            Some(text) => format!("{text}, {good} of {} rounds", rounds.len()),
            None => "failed".to_owned(),
        }
    }

    fn rates(&self, way: Way, works: &[Work]) -> String {
        let heads = sizes(works);
        let mut text = "| deliveries/s (CPU s per million) |".to_owned();
        text.extend(heads.iter().map(|head| format!(" {head} |")));
        text.extend(heads.iter().map(|head| format!(" {head}: ours by it, rate; CPU |")));
        text.push_str(&rule(1 + 2 * heads.len()));
        for row in self.rows(way) {
            let _ = write!(text, "| {} |", row.title);
            for work in works {
                let cell = self.cell(row, *work, |report| {
                    let rate = report.middle(row, *work, |figure| figure.per_s)?;
                    let cpu = report.middle(row, *work, |figure| figure.cpu_s_per_million)?;
                    Some(format!("{} ({})", short(rate), digits(cpu)))
                });
                let _ = write!(text, " {cell} |");
            }
            for work in works {
                let _ = write!(text, " {} |", self.ratios(row, *work));
            }
            text.push('\n');
        }
        text
    }

    fn ratios(&self, row: Row, work: Work) -> String {
        let rate = self.against(row, work, |figure| figure.per_s);
        let cpu = self.against(row, work, |figure| figure.cpu_s_per_million);
        match (rate, cpu) {
            _ if row.title == OURS => "1".to_owned(),
            (Some(rate), Some(cpu)) => format!("{} ×; {} ×", digits(rate), digits(cpu)),
            _ => "–".to_owned(),
        }
    }

    fn latencies(&self) -> String {
        let mut text = "| one-way latency at 1,000 a second, µs | way | p50 | p99 | p99.9 | CPU s in 10 s | ours by it, p50; CPU |".to_owned();
        text.push_str(&rule(7));
        for way in [Way::Relayed, Way::Direct] {
            for row in self.rows(way) {
                let of = |what: fn(&Figure) -> f64| {
                    self.cell(row, Work::Latency, |report| report.middle(row, Work::Latency, what).map(digits))
                };
                // Who cannot keep the pace is measured at less load than the others, which the table says.
                let pace = self.middle(row, Work::Latency, |f| f.per_s / RECEIVERS).filter(|pace| *pace < SLOW);
                let slow = pace.map_or_else(String::new, |pace| format!(" (only {pace:.0} a second)"));
                let (p50, p99, p999) = (of(|f| f.p50_us), of(|f| f.p99_us), of(|f| f.p999_us));
                let cpu = of(|f| 10.0 * f.processors());
                let ratio = match (
                    self.against(row, Work::Latency, |f| f.p50_us),
                    self.against(row, Work::Latency, Figure::processors),
                ) {
                    _ if row.title == OURS => "1".to_owned(),
                    (Some(p50), Some(cpu)) => format!("{} ×; {} ×", digits(p50), digits(cpu)),
                    _ => "–".to_owned(),
                };
                let way = if way == Way::Relayed { "relayed" } else { "direct" };
                let _ = writeln!(text, "| {}{slow} | {way} | {p50} | {p99} | {p999} | {cpu} | {ratio} |", row.title);
            }
        }
        text
    }

    fn writes(&self) -> String {
        let mut text = "| 2 KiB acknowledged write |".to_owned();
        for window in WINDOWS {
            let _ =
                write!(text, " {window} under way: writes/s (CPU s per million) | p99 ms | ours by it, rate; CPU |");
        }
        text.push_str(&rule(1 + 3 * WINDOWS.len()));
        for row in self.rows(Way::Written) {
            let _ = write!(text, "| {} |", row.title);
            for work in WINDOWS.map(Work::Write) {
                let rate = self.cell(row, work, |report| {
                    let cpu = report.middle(row, work, |figure| figure.cpu_s_per_million)?;
                    Some(format!("{} ({})", short(report.middle(row, work, |figure| figure.per_s)?), digits(cpu)))
                });
                let p99 = self.middle(row, work, |figure| figure.p99_us / 1e3).map_or_else(|| "–".to_owned(), digits);
                let _ = write!(text, " {rate} | {p99} | {} |", self.ratios(row, work));
            }
            text.push('\n');
        }
        text
    }

    fn failures(&self) -> String {
        let mut text = String::new();
        for (title, why) in &self.missing {
            let _ = writeln!(text, "- {title}: not measured: {why}");
        }
        for ((row, work), rounds) in &self.all {
            for (round, outcome) in rounds {
                if let Err(why) = outcome {
                    let _ = writeln!(text, "- {}, {work:?}, round {}: {why}", row.title, round + 1);
                }
            }
        }
        if text.is_empty() {
            "No peer was missing, and no run failed: every receiver had every message once, in order.\n".to_owned()
        } else {
            text
        }
    }

    fn chart(&self, way: Way, axis: &str, values: impl Fn(Row) -> Vec<Option<f64>>, names: &[String]) -> String {
        let lines: Vec<Line> =
            self.rows(way).into_iter().map(|row| Line { name: plain(row.title), values: values(row) }).collect();
        chart::svg(axis, names, &lines)
    }

    fn latency_chart(&self) -> String {
        let names = ["p50", "p99", "p99.9"].map(str::to_owned);
        let mut lines = Vec::new();
        for (way, said) in [(Way::Relayed, "relayed"), (Way::Direct, "direct")] {
            for row in self.rows(way) {
                let of = |what: fn(&Figure) -> f64| self.middle(row, Work::Latency, what);
                let name = plain(row.title);
                let name = if [OURS, RAW].contains(&row.title) { format!("{name}, {said}") } else { name };
                lines.push(Line { name, values: vec![of(|f| f.p50_us), of(|f| f.p99_us), of(|f| f.p999_us)] });
            }
        }
        chart::svg("one-way latency, microseconds", &names, &lines)
    }
}

fn good(rounds: &Rounds) -> Vec<(u32, Figure)> {
    rounds.iter().filter_map(|(round, outcome)| Some((*round, *outcome.as_ref().ok()?))).collect()
}

fn plain(title: &str) -> String {
    title.replace('*', "")
}

fn show(page: Option<&mut Page>, name: &str, block: &str) -> io::Result<()> {
    eprintln!("\n{block}");
    page.map_or(Ok(()), |page| page.put(name, block))
}

fn picture(page: Option<&Page>, name: &str, svg: &str) -> io::Result<()> {
    page.map_or(Ok(()), |page| page.picture(name, svg))
}

fn sizes(works: &[Work]) -> Vec<String> {
    let name = |work: &Work| match work {
        Work::Stream(bytes) if bytes % 1_024 == 0 => format!("{} KiB", bytes / 1_024),
        Work::Stream(bytes) => format!("{bytes} B"),
        other => format!("{other:?}"),
    };
    works.iter().map(name).collect()
}

fn rule(columns: usize) -> String {
    format!("\n|{}\n", "---|".repeat(columns))
}

/// How each was set, with its version.
fn settings(arguments: &RunArguments, present: &[Peer]) -> String {
    let mut text = "| who | version | setting |\n|---|---|---|\n".to_owned();
    let ours = version(&format!("{} --version", arguments.decurion.display()));
    let _ = writeln!(
        text,
        "| {OURS} | {ours}, `{}` | The shipped defaults but for `group.size`, members in mode `handler`: `decurion bench` with one pair \
         a round; short messages are handed in 64 KiB at a time (`Engine::send_many`). By multicast: `--transport multicast`, datagrams of 61,504 bytes on the loopback device. |",
        arguments.decurion.display()
    );
    for peer in present {
        let server = peer.server.map_or_else(String::new, |server| format!(" `{}`.", server.command));
        let _ = writeln!(text, "| {} | {} | {}{server} |", peer.title, version_of(arguments, peer), peer.config);
    }
    if present.iter().any(|peer| peer.needs == Needs::Java) {
        let options = crate::fleet::JAVA_OPTIONS.iter().filter(|option| !option.starts_with("--"));
        let options = options.copied().collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "\nJava: {}, `{options}`.", version("java -version"));
    }
    text
}

fn version_of(arguments: &RunArguments, peer: &Peer) -> String {
    match peer.needs {
        Needs::Program(_) => peer.server.map_or_else(String::new, |server| version(server.version)),
        Needs::Feature("aeron") => "crate 0.2.16, Aeron 1.54.0".to_owned(),
        Needs::Feature(_) => version("pkg-config --modversion libzmq"),
        Needs::Java => {
            let jars = std::fs::read_dir(arguments.java.join("lib")).into_iter().flatten().flatten();
            let mut names = jars.filter_map(|jar| jar.file_name().into_string().ok());
            names.find(|name| name.contains(peer.name)).unwrap_or_default().trim_end_matches(".jar").to_owned()
        }
    }
}

fn made_by(arguments: &RunArguments) -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1.trim()));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "Rounds: {}, {} s each, on {processors} processors ({}), Linux {}, the loopback device; load average at the end {}.\n",
        arguments.rounds,
        arguments.seconds,
        model.unwrap_or("model not known"),
        kernel.trim(),
        load.split(' ').next().unwrap_or("not known"),
    )
}

/// A rate for people: three digits, and thousands or millions by letter.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", digits(v / 1e6)),
        v if v >= 1e4 => format!("{} k", digits(v / 1e3)),
        v => format!("{v:.0}"),
    }
}

/// Three digits that count, or in whole from a hundred on.
fn digits(value: f64) -> String {
    let magnitude = if value > 0.0 { value.log10().floor() } else { 0.0 };
    let places = (2.0 - magnitude).clamp(0.0, 6.0) as usize;
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Row = Row { way: Way::Relayed, title: "it" };
    const WORK: Work = Work::Stream(64);

    fn figure(per_s: f64) -> Result<Figure, String> {
        Ok(Figure { per_s, cpu_s_per_million: 100.0 / per_s, ..Figure::default() })
    }

    /// Three rounds in which the machine is slow, quick and middling.
    fn report() -> Report {
        let mut report = Report::default();
        for (round, (ours, theirs)) in [(100.0, 10.0), (900.0, 100.0), (400.0, 50.0)].into_iter().enumerate() {
            report.add(round as u32, Row { title: OURS, ..PEER }, WORK, figure(ours));
            report.add(round as u32, PEER, WORK, figure(theirs));
        }
        report
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let report = report();
        assert_eq!(report.middle(PEER, WORK, |f| f.per_s), Some(50.0));
        assert_eq!(report.against(PEER, WORK, |f| f.per_s), Some(9.0));
        assert_eq!(report.ratios(PEER, WORK), "9.00 ×; 0.111 ×");
        assert_eq!(report.ratios(Row { title: OURS, ..PEER }, WORK), "1");
    }

    #[test]
    fn a_round_that_failed_is_never_a_figure() {
        let mut report = report();
        report.add(1, PEER, WORK, Err("a receiver lost 7".to_owned()));
        let table = report.rates(Way::Relayed, &[WORK]);
        assert!(table.contains("| it | 30 (6.00), 2 of 3 rounds |"), "{table}");
        assert!(report.failures().contains("it, Stream(64), round 2: a receiver lost 7"));
        for round in [0, 2] {
            report.add(round, PEER, WORK, Err("lost".to_owned()));
        }
        assert!(
            report.rates(Way::Relayed, &[WORK]).contains("| it | failed | – |"),
            "{}",
            report.rates(Way::Relayed, &[WORK])
        );
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([29_123_456.0, 540_123.0, 7_654.0].map(short), ["29.1 M", "540 k", "7654"]);
        assert_eq!([0.0, 0.01234, 1.234, 123.4].map(digits), ["0.00", "0.0123", "1.23", "123"]);
    }
}
