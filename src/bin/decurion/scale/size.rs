//! Large simulated clusters: how they come together, what a member costs, and what a change costs.

use decurion::sim::scale::Large;
use serde_json::json;

use super::figure::{Figure, digits, grouped, ms};
use super::plot::{Axis, Series, svg};

/// How far starts lie apart: the power is back, and a supervisor that starts one after the other.
const SPREADS_US: [u64; 2] = [10_000, 1_000_000];
const IDLE_US: u64 = 10_000_000;
const CRASHES: usize = 10;
/// Of a thousand packets to and from those behind bad links.
const BAD_LOSS: u32 = 800;
const BAD_US: u64 = 60_000_000;
/// Two views with the least and the greatest size are always there.
const MOST_SIZES: usize = 10;

/// Boots `members`, kills ten at one moment, and gives one of a hundred bad links.
pub fn boot(members: usize) -> Figure {
    let mut figure = Figure {
        name: "boot",
        command: format!("decurion scale boot --members {members}"),
        about: format!(
            "{} simulated members, profile `lan`, five of them well-known voters: all start, ten die at one moment and are started \
             again, then everything to and from one of a hundred is lost at 80 % for a minute.",
            grouped(members as i64)
        ),
        columns: vec![
            "what happens",
            "until all have the view, ms",
            "views",
            "view sizes seen",
            "messages",
            "MB",
            "CPU s",
        ],
        ..Figure::default()
    };
    let mut large = None;
    for spread in SPREADS_US {
        large = Some(start(&mut figure, members, spread));
    }
    let mut large = large.expect("there are spreads");
    large.idle(IDLE_US);
    crash(&mut figure, &mut large);
    deafen(&mut figure, &mut large, members / 100);
    figure
}

fn start(figure: &mut Figure, members: usize, spread: u64) -> Large {
    let (before, mut large) = (super::cpu_seconds(), Large::new(1, members));
    let boot = large.boot(spread);
    let (cpu, sizes) = (super::cpu_seconds() - before, boot.sizes.len());
    let what = format!("all start within {} ms", spread / 1_000);
    let time = if boot.whole { ms(boot.virtual_us) } else { "never".to_owned() };
    let numbers = [boot.views as i64, sizes as i64, boot.traffic.messages() as i64].map(grouped);
    let megabytes = digits(boot.traffic.bytes() as f64 / 1e6);
    figure.row(
        [what.clone(), time].into_iter().chain(numbers).chain([megabytes, digits(cpu)]).collect(),
        json!({ "event": "boot", "members": members, "spread_ms": spread / 1_000, "whole": boot.whole,
                "virtual_ms": boot.virtual_us / 1_000, "views": boot.views, "view_sizes": boot.sizes,
                "messages": boot.traffic.messages(), "bytes": boot.traffic.bytes(), "steps": boot.steps, "cpu_s": cpu }),
    );
    let met = boot.whole && sizes <= MOST_SIZES;
    figure.target(&format!("{what}: at most {MOST_SIZES} sizes of views"), sizes.to_string(), met);
    large
}

fn crash(figure: &mut Figure, large: &mut Large) {
    for again in [false, true] {
        let before = super::cpu_seconds();
        let change = if again { large.start_again() } else { large.crash(CRASHES) };
        let what = if again { "the ten start again" } else { "ten die at one moment" };
        let time = if change.done { ms(change.virtual_us) } else { "never".to_owned() };
        let cpu = super::cpu_seconds() - before;
        figure.row(
            vec![
                what.to_owned(),
                time,
                change.views.to_string(),
                String::new(),
                digits(change.messages),
                digits(change.bytes / 1e6),
                digits(cpu),
            ],
            json!({ "event": if again { "start_again" } else { "crash" }, "members": CRASHES, "done": change.done,
                    "virtual_ms": change.virtual_us / 1_000, "views": change.views, "messages": change.messages,
                    "bytes": change.bytes, "cpu_s": cpu }),
        );
        if !again {
            let met = change.done && change.views == 1;
            figure.target("ten die at one moment: one change of the view", change.views.to_string(), met);
        }
    }
}

fn deafen(figure: &mut Figure, large: &mut Large, count: usize) {
    let before = super::cpu_seconds();
    let deaf = large.deafen(count, BAD_LOSS, BAD_US);
    let cpu = super::cpu_seconds() - before;
    let empty = String::new;
    figure.row(
        vec![
            format!("80 % loss at {count}: {} of them go, and {} others", deaf.bad_removed, deaf.well_removed),
            empty(),
            deaf.views.to_string(),
            empty(),
            empty(),
            empty(),
            digits(cpu),
        ],
        json!({ "event": "bad_links", "bad": deaf.bad, "bad_removed": deaf.bad_removed, "well_removed": deaf.well_removed,
                "views": deaf.views, "cpu_s": cpu }),
    );
    let measured = format!("{} of {}, and {} others", deaf.bad_removed, deaf.bad, deaf.well_removed);
    figure.target(
        "80 % loss at one of a hundred: exactly those go",
        measured,
        deaf.bad == deaf.bad_removed && deaf.well_removed == 0,
    );
}

/// What a member costs in clusters of these sizes.
pub fn cost(sizes: &[usize]) -> Figure {
    let words: Vec<String> = sizes.iter().map(usize::to_string).collect();
    let mut figure = Figure {
        name: "cost",
        command: format!("decurion scale cost --sizes {}", words.join(",")),
        about: "Simulated members, profile `lan`, groups as the cluster makes them by itself. Idle: ten seconds in which nothing \
                happens. A message is a datagram, or what is written to a connection at once; bytes are without the headers of UDP, TCP and IP. \
                Memory is what the heap gives back when the members' state is dropped, without buffers of the kernel."
            .to_owned(),
        columns: vec![
            "members",
            "groups",
            "connections: mean",
            "of a leader, at most",
            "idle bytes/s: mean",
            "of the busiest",
            "messages when one dies",
            "MB when one dies",
            "when one joins",
            "KB of state per member",
            "CPU s",
        ],
        ..Figure::default()
    };
    let mut lines = [const { Vec::new() }; 4];
    for size in sizes {
        measure(&mut figure, &mut lines, *size);
    }
    let names = [
        "idle bytes/s of a member, mean",
        "idle bytes/s of the busiest",
        "messages when one dies",
        "bytes of state per member",
    ];
    let lines: Vec<Series> = names.into_iter().zip(lines).map(|(name, points)| Series::line(name, points)).collect();
    let axis = |text| Axis { text, logarithmic: true };
    figure.plot = Some(svg(&axis("members"), &axis("as the line says"), &lines));
    figure
}

fn measure(figure: &mut Figure, lines: &mut [Vec<(f64, f64)>; 4], size: usize) {
    let before = super::cpu_seconds();
    let mut large = Large::new(1, size);
    let boot = large.boot(SPREADS_US[0]);
    let idle = large.idle(IDLE_US);
    let (death, join) = (large.crash(1), large.start_again());
    let full = super::heap_bytes();
    let dropped = large.drop_members();
    let state =
        full.zip(super::heap_bytes()).map(|(full, empty)| full.saturating_sub(empty) as f64 / dropped.max(1) as f64);
    let cpu = super::cpu_seconds() - before;
    let whole = boot.whole && death.done && join.done;
    figure.row(
        vec![
            format!("{}{}", grouped(size as i64), if whole { "" } else { " (did not come together)" }),
            idle.groups.to_string(),
            digits(idle.connections.mean),
            idle.connections.leader_most.to_string(),
            digits(idle.bytes_per_s),
            digits(idle.most_bytes_per_s),
            digits(death.messages),
            digits(death.bytes / 1e6),
            digits(join.messages),
            state.map_or("not known".to_owned(), |state| digits(state / 1e3)),
            digits(cpu),
        ],
        json!({ "members": size, "whole": whole, "groups": idle.groups, "connections_mean": idle.connections.mean,
                "connections_leader_most": idle.connections.leader_most, "connections_coordinator": idle.connections.coordinator,
                "idle_bytes_per_s": idle.bytes_per_s, "idle_bytes_per_s_most": idle.most_bytes_per_s,
                "idle_messages_per_s": idle.messages_per_s, "death_messages": death.messages, "death_bytes": death.bytes,
                "join_messages": join.messages, "join_bytes": join.bytes, "state_bytes": state, "steps": large.steps(), "cpu_s": cpu }),
    );
    let members = size as f64;
    let values = [idle.bytes_per_s, idle.most_bytes_per_s, death.messages, state.unwrap_or(f64::NAN)];
    lines
        .iter_mut()
        .zip(values)
        .filter(|(_, value)| value.is_finite())
        .for_each(|(line, value)| line.push((members, value)));
}
