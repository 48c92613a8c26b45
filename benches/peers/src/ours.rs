//! Ours, and plain sockets over the same links: by `decurion bench`, one pair a round.

use std::io;
use std::process::Command;

use serde_json::Value;

use crate::fleet::Stage;
use crate::measure::{Figure, WRITE_BYTES, Work, works};
use crate::peer::Way;
use crate::process::{Heard, Process, Source};
use crate::report::{RAW, Row};

/// The title of our rows.
pub const OURS: &str = "**Decurion**";

/// The same by multicast, in datagrams that hold a batch each.
pub const OURS_BY_MULTICAST: &str = "**Decurion**, multicast";

/// Measures all workloads once, each beside plain sockets.
pub fn measure(
    stage: &Stage, fleets: &mut u32, mut take: impl FnMut(Row, Work, Result<Figure, String>),
) -> io::Result<()> {
    for way in [Way::Relayed, Way::Direct, Way::Written] {
        for work in works(&stage.arguments, way) {
            *fleets += 1;
            let words = words(way, work);
            let (ours, raw) = match pair(stage, *fleets, &words)? {
                Ok(pair) => (figure(&pair["ours"]), figure(&pair["raw"])),
                Err(why) => (Err(why.clone()), Err(why)),
            };
            take(Row { title: OURS, way }, work, ours);
            take(Row { title: RAW, way }, work, raw);
        }
    }
    for work in works(&stage.arguments, Way::Direct).into_iter().filter(|work| matches!(work, Work::Stream(_))) {
        *fleets += 1;
        let mut words = words(Way::Direct, work);
        words.extend(["--transport", "multicast"].map(str::to_owned));
        let ours = pair(stage, *fleets, &words)?.and_then(|pair| figure(&pair["ours"]));
        take(Row { title: OURS_BY_MULTICAST, way: Way::Direct }, work, ours);
    }
    Ok(())
}

/// What is asked of `decurion bench`.
fn words(way: Way, work: Work) -> Vec<String> {
    let text = match (way, work) {
        (Way::Relayed, Work::Stream(bytes)) => format!("relay --bytes {bytes}"),
        (_, Work::Stream(bytes)) => format!("fanout --bytes {bytes}"),
        (Way::Relayed, Work::Latency) => "latency".to_owned(),
        (_, Work::Latency) => "latency --direct".to_owned(),
        (_, Work::Write(window)) => format!("sessions --bytes {WRITE_BYTES} --window {window}"),
    };
    text.split(' ').map(str::to_owned).collect()
}

/// Runs it: the outer error means that the whole run is to end.
fn pair(stage: &Stage, number: u32, words: &[String]) -> io::Result<Result<Value, String>> {
    let arguments = &stage.arguments;
    let mut command = Command::new(&arguments.decurion);
    command.arg("bench").args(words).args(["--pairs", "1", "--json", "--seconds"]).arg(arguments.seconds.to_string());
    let source = Source { fleet: number, process: 0 };
    let _process = Process::start(command, source, &stage.to_run)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", arguments.decurion.display())))?;
    let mut pair = Err("it said nothing".to_owned());
    loop {
        // The command itself has a bound, and ends.
        match stage.heard.recv().map_err(io::Error::other)? {
            Heard::Signal => return Err(io::ErrorKind::Interrupted.into()),
            Heard::Gone(from) if from == source => return Ok(pair),
            Heard::Line(from, line) if from == source => match serde_json::from_str::<Value>(&line) {
                Ok(value) if value["ours"].is_object() => pair = Ok(value),
                Err(_) if pair.is_err() => pair = Err(line),
                _ => {}
            },
            _ => {}
        }
    }
}

/// The figures of one side. What was lost or disordered is no figure.
fn figure(side: &Value) -> Result<Figure, String> {
    let field = |key: &str| side[key].as_f64().unwrap_or(0.0);
    for key in ["lost", "duplicated", "out_of_order"] {
        if side[key].as_u64() != Some(0) {
            return Err(format!("{key}: {}", side[key]));
        }
    }
    Ok(Figure {
        per_s: field("deliveries_per_s"),
        cpu_s_per_million: field("cpu_s_per_million"),
        p50_us: field("p50_us"),
        p99_us: field("p99_us"),
        p999_us: field("p999_us"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_that_lost_is_no_figure() {
        let side = |lost: u64| {
            serde_json::json!({
                "deliveries_per_s": 10.0, "cpu_s_per_million": 2.0, "p50_us": 5, "lost": lost, "duplicated": 0, "out_of_order": 0
            })
        };
        let sound = figure(&side(0)).expect("nothing was lost");
        assert!((sound.per_s - 10.0).abs() < 1e-9 && (sound.p50_us - 5.0).abs() < 1e-9);
        assert!(figure(&side(1)).is_err());
        assert!(figure(&Value::Null).is_err());
    }
}
