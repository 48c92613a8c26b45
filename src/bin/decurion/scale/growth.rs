//! How cost grows with real processes: a fan-out among more members, more sessions of one owner, and members that rest.

use serde_json::json;

use super::figure::{Figure, digits, grouped};
use super::plot::{Axis, Series, svg};
use crate::arguments::ScaleArguments;
use crate::bench;
use crate::bench::idle::{mean, most};
use crate::output::{Failure, Output};

/// In so many groups members of this number come together by themselves, or nearly: groups and their sizes grow alike.
fn groups(members: usize) -> usize {
    let size = members.div_ceil((members as f64).sqrt().round() as usize);
    if members <= 5 { 1 } else { members.div_ceil(size) }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn list(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// One member sends 64 bytes as fast as it can, to more and more.
pub fn fanout(arguments: &ScaleArguments, output: &Output) -> Result<Figure, Failure> {
    let ScaleArguments { processes, seconds, .. } = arguments;
    let mut figure = Figure {
        name: "growth-fanout",
        command: format!("decurion scale growth --processes {} --seconds {seconds}", list(processes)),
        about: "Processes on the loopback address: the leader of the first group sends messages of 64 bytes as fast as it can, other leaders pass \
                on (`decurion bench fanout`). Raw: a tree of the same shape without a protocol. One pair each."
            .to_owned(),
        columns: vec![
            "members",
            "groups",
            "deliveries/s",
            "raw",
            "rate against raw",
            "CPU s per million",
            "raw",
            "system calls per 1,000",
        ],
        ..Figure::default()
    };
    let mut lines = [const { Vec::new() }; 2];
    for members in processes {
        output.say(&format!("a fan-out among {members} processes"));
        let groups = groups(*members);
        let line = format!("fanout --members {members} --groups {groups} --seconds {seconds} --pairs 1");
        let (ours, raw) = bench::measure(&words(&line))?;
        let [rate, raw_rate] = [&ours, &raw].map(bench::measure::Measured::rate);
        let [cpu, raw_cpu] = [&ours, &raw].map(bench::measure::Measured::cpu_per_million);
        let calls = ours.fields()["syscalls_per_1000"].as_f64().unwrap_or(0.0);
        figure.row(
            [grouped(*members as i64), groups.to_string()]
                .into_iter()
                .chain([rate, raw_rate, rate / raw_rate, cpu, raw_cpu, calls].map(digits))
                .collect(),
            json!({ "members": members, "groups": groups, "ours": ours.fields(), "raw": raw.fields() }),
        );
        lines.iter_mut().zip([rate, raw_rate]).for_each(|(line, rate)| line.push((*members as f64, rate)));
        if *members == 100 {
            figure.target(
                "100 processes: 0.9 of the raw tree or more",
                digits(rate / raw_rate),
                rate >= 0.9 * raw_rate,
            );
        }
    }
    figure.plot = Some(plot("members", "deliveries a second", ["ours", "raw"], lines));
    Ok(figure)
}

/// One owner changes its sessions in turn, and has more and more of them.
pub fn sessions(arguments: &ScaleArguments, output: &Output) -> Result<Figure, Failure> {
    let ScaleArguments { sessions, seconds, .. } = arguments;
    let mut figure = Figure {
        name: "growth-sessions",
        command: format!("decurion scale growth --sessions {} --seconds {seconds}", list(sessions)),
        about: "Two processes: one owns sessions of 2 KiB and changes them in turn, 64 changes under way, the other holds the second copies \
                (`decurion bench sessions`). Memory is the anonymous memory of the one that has more of it."
            .to_owned(),
        columns: vec!["sessions", "changes/s", "CPU s per million", "p50 us", "p99 us", "MB", "bytes a session"],
        ..Figure::default()
    };
    let mut lines = [const { Vec::new() }; 2];
    for count in sessions {
        output.say(&format!("{count} sessions"));
        let line = format!("sessions --sessions {count} --window 64 --seconds {seconds} --pairs 1");
        let (ours, _) = bench::measure(&words(&line))?;
        let fields = ours.fields();
        let quantiles = ["p50_us", "p99_us"].map(|key| fields[key].as_f64().unwrap_or(0.0));
        let memory = ours.rss_peak as f64;
        figure.row(
            [grouped(*count as i64)]
                .into_iter()
                .chain([ours.rate(), ours.cpu_per_million(), quantiles[0], quantiles[1], memory / 1e6].map(digits))
                .chain([digits(memory / *count as f64)])
                .collect(),
            json!({ "sessions": count, "ours": fields }),
        );
        lines.iter_mut().zip([ours.rate(), memory]).for_each(|(line, value)| line.push((*count as f64, value)));
    }
    figure.plot = Some(plot("sessions", "as the line says", ["changes a second", "bytes of memory"], lines));
    Ok(figure)
}

/// Members that have nothing to do.
pub fn idle(arguments: &ScaleArguments, output: &Output) -> Result<Figure, Failure> {
    let ScaleArguments { processes, seconds, .. } = arguments;
    let mut figure = Figure {
        name: "growth-idle",
        command: format!("decurion scale growth --processes {} --seconds {seconds}", list(processes)),
        about: "Processes on the loopback address that have nothing to do (`decurion bench idle`): of one member in the mean, and of the one that \
                has most."
            .to_owned(),
        columns: vec![
            "members",
            "groups",
            "CPU % of a core: mean",
            "most",
            "system calls/s",
            "RssAnon MB, most",
            "connections, most",
        ],
        ..Figure::default()
    };
    let mut lines = [const { Vec::new() }; 2];
    for members in processes {
        output.say(&format!("{members} processes that rest"));
        let groups = groups(*members);
        let line = format!("idle --members {members} --groups {groups} --seconds {seconds} --pairs 1");
        let (costs, ..) = bench::rest(&words(&line))?;
        let cpu = [mean(&costs, |cost| cost.cpu_percent), most(&costs, |cost| cost.cpu_percent)];
        let rest = [
            mean(&costs, |cost| cost.calls_per_s),
            most(&costs, |cost| cost.rss_bytes as f64) / 1e6,
            most(&costs, |cost| cost.connections as f64),
        ];
        figure.row(
            [grouped(*members as i64), groups.to_string()]
                .into_iter()
                .chain(cpu.into_iter().chain(rest).map(digits))
                .collect(),
            json!({ "members": members, "groups": groups, "cpu_percent": cpu[0], "cpu_percent_most": cpu[1],
                    "syscalls_per_s": rest[0], "rss_anon_mb_most": rest[1], "connections_most": rest[2] }),
        );
        lines.iter_mut().zip([cpu[0], cpu[1]]).for_each(|(line, value)| line.push((*members as f64, value)));
    }
    figure.plot = Some(plot("members", "CPU in % of a core", ["mean", "most"], lines));
    Ok(figure)
}

fn plot(across: &'static str, up: &'static str, names: [&str; 2], lines: [Vec<(f64, f64)>; 2]) -> String {
    let lines: Vec<Series> = names.into_iter().zip(lines).map(|(name, points)| Series::line(name, points)).collect();
    let axis = |text| Axis { text, logarithmic: true };
    svg(&axis(across), &axis(up), &lines)
}

#[cfg(test)]
mod tests {
    use super::groups;

    #[test]
    fn groups_are_full_and_grow_like_their_sizes() {
        assert_eq!([2, 5, 10, 20, 50, 100].map(groups), [1, 1, 3, 4, 7, 10]);
        for members in 2..=100_usize {
            let groups = groups(members);
            assert_eq!(members.div_ceil(members.div_ceil(groups)), groups, "{members}");
        }
    }
}
