//! Who is refused hears why, also when other things happen between the decision and the end of the connection (R3).

use std::net::SocketAddr;

use crate::support::hello;
use decurion::core::{Input, Member, Output, Setup};
use decurion::types::{ConnId, Incarnation, Time};
use decurion::wire::control::{Control, Purpose, RefusalCode};

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn greet(member: &mut Member, now: Time, cluster: &str, port: u16) -> ConnId {
    let conn = member.accept(now, address(port)).expect("a stranger is welcome");
    let hello = hello(cluster, "guest", (Incarnation(u128::from(port)), address(port)), Purpose::Join);
    let space = member.receive_space(conn).expect("it is open");
    space.extend_from_slice(&Control::Hello(hello).encode());
    member.handle(now, Input::Received(conn));
    conn
}

/// What is to be written to a connection.
pub fn waiting(member: &Member, conn: ConnId) -> Vec<u8> {
    let mut slices = Vec::new();
    member.to_write(conn, usize::MAX, &mut slices);
    slices.concat()
}

#[test]
fn each_of_many_refused_in_one_turn_hears_why() {
    let now = Time(1_000_000);
    let mut member = Member::new(Setup::new("here", "m", Incarnation(1), address(7_000)), now);
    // As a driver does that reads several connections before it takes what is to be done.
    let refused: Vec<ConnId> = (0..3).map(|n| greet(&mut member, now, "elsewhere", 20_000 + n)).collect();
    member.handle(now, Input::Wake);
    let mut told = Vec::new();
    while let Some(output) = member.poll() {
        let Output::Close(conn) = output else { continue };
        let words = waiting(&member, conn);
        let Ok(Control::Refuse(refuse)) = Control::decode(&words) else { panic!("no refusal for {conn:?}: {words:?}") };
        assert_eq!(refuse.code, RefusalCode::Cluster);
        member.wrote(now, conn, words.len());
        told.push(conn);
    }
    assert_eq!(told, refused);
    assert!(refused.iter().all(|conn| waiting(&member, *conn).is_empty()), "nothing is kept");
}

#[test]
fn what_could_not_be_said_is_forgotten_with_the_connection() {
    let now = Time(1_000_000);
    let mut member = Member::new(Setup::new("here", "m", Incarnation(1), address(7_000)), now);
    let conn = greet(&mut member, now, "elsewhere", 20_000);
    while member.poll().is_some() {}
    assert!(waiting(&member, conn).is_empty());
}
