//! How often the bytes of a message are copied on their way (R11), as valgrind's dhat sees it: it counts what every call of memcpy and its like
//! copies in the process, whoever calls. What the kernel copies is not seen, nor what the compiler copies without a call: up to some
//! tens of bytes of known length.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use decurion::{Code, Config, Engine, Event, Level, Mode, To};
use serde_json::Value;

/// What the process below is to do, in words: length and number of the messages, how they are sent, and who copies them once more.
const TASK: &str = "COPIES_TASK";
/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The leader, who relays and delivers, the sender, and one more receiver.
const MEMBERS: usize = 3;
const RECEIVERS: f64 = 2.0;
/// What one run sends in all: beside it, what is copied once (settings, greetings, the view) is nothing.
const SENT_BYTES: usize = 8 << 20;
/// Of a receive chunk a receiver copies the rest that is no whole batch yet. How much that is depends on how the kernel cuts the stream.
const TAILS: f64 = 0.45;
/// A block of packed messages that becomes longer than was guessed is copied into one twice as long. All that was copied of it then is less than
/// twice what it has in the end, with what stands before each message: near that if it ends just after it grew, 1.08 if it ends full. Memory that
/// grew by steps would be copied many times.
const GROWTH: f64 = 2.05;

/// Three members in this process, under dhat: the second one sends to everybody.
#[test]
fn a_cluster_that_the_tests_below_run() {
    let Ok(task) = std::env::var(TASK) else { return };
    let [bytes, count, how, planted] = task.split(' ').collect::<Vec<_>>()[..] else { panic!("{TASK}={task}") };
    let (bytes, count): (usize, usize) = (bytes.parse().expect("bytes"), count.parse().expect("a count"));
    let mut hosts = Host::cluster();
    let payload = vec![7; bytes];
    let mut sent = 0;
    let deadline = Instant::now() + PATIENCE;
    while hosts.iter().map(|host| host.got).sum::<usize>() < 2 * count {
        assert!(Instant::now() < deadline, "{sent} of {count} were sent");
        while sent < count && hosts[1].sends(&payload, how, planted == "sender") {
            sent += 1;
        }
        hosts.iter_mut().for_each(|host| host.pump(planted == "receivers"));
    }
}

struct Host {
    engine: Engine,
    members: usize,
    got: usize,
}

impl Host {
    /// Members in one view.
    fn cluster() -> Vec<Host> {
        let mut hosts: Vec<Host> = Vec::new();
        for at in 0..MEMBERS {
            let mut config = Config::new();
            let seed = hosts.first().map_or(String::new(), |first| first.engine.local_address().to_string());
            let name = format!("m{at}");
            let settings = [
                ("cluster.name", "copies"),
                ("node.name", name.as_str()),
                ("node.bind", "127.0.0.1:0"),
                ("cluster.seeds", seed.as_str()),
                // Under valgrind everything takes its time.
                ("detector.profile", "wan"),
            ];
            for (key, value) in settings {
                config.set(key, value).expect("a setting");
            }
            let engine = Engine::open(&config, Mode::Poll).expect("a port on loopback");
            hosts.push(Host { engine, members: 0, got: 0 });
            let deadline = Instant::now() + PATIENCE;
            while hosts.iter().any(|host| host.members != hosts.len()) {
                assert!(Instant::now() < deadline, "no view of {}", hosts.len());
                hosts.iter_mut().for_each(|host| host.pump(false));
            }
        }
        hosts
    }

    /// Whether the message was taken.
    fn sends(&self, payload: &[u8], how: &str, copies: bool) -> bool {
        let copy = copies.then(|| Bytes::copy_from_slice(black_box(payload)));
        let payload = copy.as_deref().unwrap_or(payload);
        let (to, level) = (To::Everybody, Level::Fifo);
        let sent = match how {
            "claim" => {
                self.engine.claim(to, level, 0, payload.len(), Duration::ZERO).and_then(|claimed| match claimed {
                    Ok(mut claim) => {
                        claim.room().put_slice(payload);
                        claim.commit()
                    }
                    Err(code) => Ok(code),
                })
            }
            "lend" => self.engine.send_bytes(to, level, 0, lent(payload), Duration::ZERO),
            _ => self.engine.send(to, level, 0, payload, Duration::ZERO),
        };
        let code = sent.expect("it is open");
        assert!(matches!(code, Code::Ok | Code::Again), "{code:?}");
        code == Code::Ok
    }

    fn pump(&mut self, copies: bool) {
        let mut events = Vec::new();
        self.engine.poll(&mut events, 256, Duration::from_millis(1)).expect("it is open");
        for event in events {
            match event {
                Event::View(change) => self.members = change.view.len(),
                Event::Messages(run) => {
                    for message in &run {
                        self.got += 1;
                        if copies {
                            black_box(Bytes::copy_from_slice(message.payload));
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// A host's memory that is handed over. Filling it is no copy that is counted.
fn lent(payload: &[u8]) -> Bytes {
    Bytes::from(vec![payload[0]; payload.len()])
}

/// Bytes that were copied for each byte that was sent: by blocks that grew, and by all else.
#[derive(Clone, Copy, Debug)]
struct Copies {
    growth: f64,
    rest: f64,
}

/// Runs the cluster above under dhat.
fn copies(bytes: usize, how: &str, planted: &str) -> Copies {
    let count = SENT_BYTES / bytes;
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("copies-{bytes}-{how}-{planted}.json"));
    let output = Command::new("valgrind")
        .args(["--tool=dhat", "--mode=copy", "--quiet"])
        .arg(format!("--dhat-out-file={}", report.display()))
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["a_cluster_that_the_tests_below_run", "--exact", "--nocapture"])
        .env(TASK, format!("{bytes} {count} {how} {planted}"))
        .output()
        .expect("valgrind is installed: `make tools`");
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&report).expect("dhat has written its report");
    let report: Value = serde_json::from_str(&text).expect("the report is JSON");
    assert_eq!(report["mode"], "copy");
    let sums = sums(&report);
    let [growth, rest] = sums.map(|sum| sum as f64 / (count * bytes) as f64);
    println!("{bytes} bytes by {how}, planted: {planted}: {rest:.3} copies, and {growth:.3} by blocks that grew");
    Copies { growth, rest }
}

/// Bytes that a report has, of blocks that grow and of all else.
fn sums(report: &Value) -> [u64; 2] {
    let frames = report["ftbl"].as_array().expect("a table of frames");
    let grows = |frame: &Value| {
        let text = frames[frame.as_u64().expect("an index") as usize].as_str().expect("a frame is text");
        text.contains("grow") && text.contains("packing")
    };
    report["pps"].as_array().expect("points of the program").iter().fold([0; 2], |[growth, rest], point| {
        let bytes = point["tb"].as_u64().expect("total bytes");
        match point["fs"].as_array().expect("a stack").iter().any(grows) {
            true => [growth + bytes, rest],
            false => [growth, rest + bytes],
        }
    })
}

/// What is wrong with what was copied, when the sender and each receiver may copy all of it so often, beside the tails.
fn complaint(copies: Copies, by_the_sender: f64, by_each_receiver: f64) -> Option<String> {
    let most = by_the_sender + RECEIVERS * (by_each_receiver + TAILS);
    // Whatever the library saves, the call that sends copies what it is lent: less, and nothing is seen at all.
    let seen = copies.rest >= 1.0;
    let good = seen && copies.rest <= most && copies.growth <= GROWTH;
    (!good).then(|| format!("{copies:?}: from 1 to {most} are allowed, and {GROWTH} by growth"))
}

#[test]
fn short_messages_are_copied_into_the_batch_and_at_the_ends_of_chunks() {
    assert_eq!(complaint(copies(1_024, "send", "nothing"), 1.0, 0.0), None);
}

#[test]
fn long_messages_are_copied_by_the_call_into_the_batch_and_by_each_receiver() {
    assert_eq!(complaint(copies(65_536, "send", "nothing"), 2.0, 1.0), None);
}

/// What the host writes is one copy of its own here; the call that sends makes it for the host.
#[test]
fn what_is_written_into_a_claim_or_sent_is_copied_no_more_if_it_fits_a_batch() {
    assert_eq!(complaint(copies(60_000, "claim", "nothing"), 1.0, 0.0), None);
    assert_eq!(complaint(copies(60_000, "send", "nothing"), 1.0, 0.0), None);
    assert_eq!(complaint(copies(65_536, "claim", "nothing"), 2.0, 1.0), None);
}

#[test]
fn what_is_handed_over_is_copied_into_the_batch_only() {
    assert_eq!(complaint(copies(65_536, "lend", "nothing"), 1.0, 1.0), None);
}

#[test]
fn a_copy_that_is_planted_is_noticed() {
    for planted in ["sender", "receivers"] {
        assert!(complaint(copies(1_024, "send", planted), 1.0, 0.0).is_some(), "1 KiB, once more by the {planted}");
        assert!(complaint(copies(65_536, "send", planted), 2.0, 1.0).is_some(), "64 KiB, once more by the {planted}");
    }
    assert!(
        complaint(copies(60_000, "claim", "sender"), 1.0, 0.0).is_some(),
        "60,000 bytes, once more before it is written"
    );
    assert!(
        complaint(copies(60_000, "send", "sender"), 1.0, 0.0).is_some(),
        "60,000 bytes, once more before they are sent"
    );
}
