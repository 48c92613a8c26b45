//! Members that greet each other. In one terminal `cargo run --example hello`; it prints its address. In others
//! `cargo run --example hello -- ADDRESS`. End one with Ctrl-C and see how the rest notice.

use std::time::Duration;

use decurion::{Config, Engine, Event, Level, Mode, Result, To};

fn main() -> Result<()> {
    let mut config = Config::new();
    config.set("node.bind", "127.0.0.1:0")?;
    if let Some(seed) = std::env::args().nth(1) {
        config.set("cluster.seeds", &seed)?;
    }
    let engine = Engine::open(&config, Mode::Poll)?;
    println!("{} listens at {}", engine.name(), engine.local_address());

    let mut events = Vec::new();
    loop {
        engine.poll(&mut events, 64, Duration::MAX)?;
        for event in events.drain(..) {
            match event {
                Event::View(change) => {
                    let names: Vec<_> = change.view.members.iter().map(|m| m.name.as_str()).collect();
                    println!("view {}: {}", change.view.id.number, names.join(", "));
                    let hello = format!("hello from {}", engine.name());
                    engine.send(To::Everybody, Level::Fifo, 0, hello.as_bytes(), Duration::from_secs(1))?;
                }
                Event::Messages(run) => {
                    for message in &run {
                        println!("{}: {}", run.sender.name, String::from_utf8_lossy(message.payload));
                    }
                }
                Event::Closed { reason } => println!("closed: {reason:?}"),
                _ => {}
            }
        }
    }
}
