//! A peer that asks and never reads costs a bounded amount of memory, then its connection (M1).

use std::net::SocketAddr;

use crate::support::hello;
use decurion::core::{Event, Input, Member, Output, Seed, Setup};
use decurion::types::{ConnId, Incarnation, Time, limits};
use decurion::wire::control::{Control, Purpose};

/// More than any peer may have waiting: the bound follows from the default window and receive queue.
const FAR_TOO_MUCH_BYTES: usize = 64 * 1024 * 1024;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Bytes that a connection has waiting.
fn waiting(member: &Member, conn: ConnId) -> usize {
    let mut slices = Vec::new();
    member.to_write(conn, usize::MAX, &mut slices);
    slices.iter().map(|slice| slice.len()).sum()
}

/// Hands the member bytes of a connection; false once it has closed it.
fn feed(member: &mut Member, now: Time, conn: ConnId, mut bytes: &[u8], faults: &mut Vec<String>) -> bool {
    while !bytes.is_empty() {
        let Some(space) = member.receive_space(conn) else { return false };
        let (first, rest) = bytes.split_at((space.capacity() - space.len()).min(bytes.len()));
        space.extend_from_slice(first);
        bytes = rest;
        member.handle(now, Input::Received(conn));
        while let Some(output) = member.poll() {
            match output {
                Output::Close(closed) if closed == conn => bytes = &[],
                Output::Event(Event::Fault { what, .. }) => faults.push(what),
                _ => {}
            }
        }
    }
    member.receive_space(conn).is_some()
}

#[test]
fn who_asks_without_reading_is_cut_off() {
    let now = Time(1_000_000);
    // It looks for others and is in no view: to a member, somebody who asks and is none of its view is worth no answer.
    let mut setup = Setup::new("test", "asked", Incarnation(1), address(7_000));
    setup.seeds = vec![Seed { name: None, host: "127.0.0.1".to_owned(), port: 7_001 }];
    let mut member = Member::new(setup, now);
    let conn = member.accept(now, address(20_000)).expect("one stranger is welcome");
    let hello = hello("test", "deaf", (Incarnation(2), address(20_000)), Purpose::Link);
    let mut faults = Vec::new();
    assert!(feed(&mut member, now, conn, &Control::Hello(hello).encode(), &mut faults), "it is greeted");
    let questions = Control::Ping(7).encode().repeat(limits::CHUNK_BYTES / 32);
    let mut asked = 0;
    while feed(&mut member, now, conn, &questions, &mut faults) {
        asked += questions.len();
        let waiting = waiting(&member, conn);
        assert!(waiting < FAR_TOO_MUCH_BYTES, "{waiting} bytes wait after {asked} were asked");
        assert!(asked < 4 * FAR_TOO_MUCH_BYTES, "{asked} bytes were asked: the test does not reach the bound");
    }
    assert_eq!(faults, ["asks for more than it reads"]);
}
