//! What one member costs in a large view whose other members are played: sizes of which no whole cluster fits a machine.

use decurion::sim::scale::{Alone, Meter, Role};
use serde_json::json;

use super::figure::{Figure, digits, grouped};
use crate::clock::thread_ns;

const IDLE_US: u64 = 10_000_000;

/// One member of each role in views of these sizes.
pub fn cost(sizes: &[usize]) -> Figure {
    let words: Vec<String> = sizes.iter().map(usize::to_string).collect();
    let mut figure = Figure {
        name: "cost-alone",
        command: format!("decurion scale cost --alone {}", words.join(",")),
        about: "One member, all others played: it is the very core, the others greet, answer and confirm what it needs, at once and one by \
                one. What it sends itself: idle, and when one dies (of the coordinator's own group; of another one, where the coordinator is \
                played). What waits for one link is the most that it had to write to one connection at one moment. Its state is measured after \
                the change, its CPU time is that of the change, without what is played."
            .to_owned(),
        columns: vec![
            "members",
            "role",
            "connections",
            "idle bytes/s",
            "messages/s",
            "messages when one dies",
            "MB when one dies",
            "MB that wait for one link",
            "KB of its state",
            "CPU ms for the change",
        ],
        ..Figure::default()
    };
    for size in sizes {
        Role::ALL.into_iter().for_each(|role| measure(&mut figure, *size, role));
    }
    figure
}

fn measure(figure: &mut Figure, size: usize, role: Role) {
    let mut alone = Alone::in_role(size, role);
    let rest = alone.rest(IDLE_US);
    let mut stopwatch = Stopwatch::default();
    let death = alone.lose(&mut stopwatch);
    let cpu_ms = stopwatch.nanoseconds as f64 / 1e6;
    let (most, fault) = (alone.most_waiting(), alone.fault().map(str::to_owned));
    // In a box, as a host keeps it, so that all of it is on the heap.
    let member = Box::new(alone.into_member());
    let full = super::heap_bytes();
    drop(member);
    let state = full.zip(super::heap_bytes()).map(|(full, empty)| full.saturating_sub(empty) as f64);
    let outcome = match &fault {
        Some(why) => format!(" (it closed links: {why})"),
        None if death.done => String::new(),
        None => " (the view did not change)".to_owned(),
    };
    figure.row(
        vec![
            grouped(size as i64),
            format!("{}{outcome}", role.name()),
            rest.connections.to_string(),
            digits(rest.bytes_per_s),
            digits(rest.messages_per_s),
            digits(death.messages),
            digits(death.bytes / 1e6),
            digits(most as f64 / 1e6),
            state.map_or("not known".to_owned(), |state| digits(state / 1e3)),
            digits(cpu_ms),
        ],
        json!({ "members": size, "role": role.name(), "done": death.done, "fault": fault, "connections": rest.connections,
                "idle_bytes_per_s": rest.bytes_per_s, "idle_messages_per_s": rest.messages_per_s,
                "death_messages": death.messages, "death_bytes": death.bytes, "death_virtual_us": death.virtual_us,
                "most_waiting_bytes": most, "state_bytes": state, "cpu_ms": cpu_ms }),
    );
}

/// Adds up the processor time of what is measured.
#[derive(Debug, Default)]
struct Stopwatch {
    nanoseconds: u64,
}

impl Meter for Stopwatch {
    fn inside<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = thread_ns();
        let result = work();
        self.nanoseconds += thread_ns() - began;
        result
    }
}
