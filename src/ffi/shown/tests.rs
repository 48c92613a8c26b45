use std::net::SocketAddr;

use super::*;
use crate::core::ViewChange;
use crate::types::{Incarnation, MemberInfo, Seat, View};
use crate::wire::batch::{Entry, Level};

fn ann() -> MemberRef {
    MemberRef { name: Name::new("ann"), incarnation: Incarnation(7), seat: Seat(3) }
}

fn view_id(number: u64) -> ViewId {
    ViewId { number, ..ViewId::NONE }
}

/// A run of messages "0", "1", … with tokens from 100 on.
fn run(count: u16, first: u64) -> Messages {
    let mut area = Vec::new();
    for i in 0..count {
        let payload = i.to_string();
        Entry { level: Level::Fifo, token: 100 + u64::from(i), fragment: None, payload: payload.as_bytes() }
            .put(&mut area);
    }
    let cost = area.len();
    Messages::batch(Arc::new(ann()), view_id(5), true, first, Bytes::from(area), count, cost)
}

/// Shows what there is room for, as a host would see it.
fn look(shown: &mut Shown, capacity: usize) -> Vec<dcn_event_t> {
    let mut events = vec![dcn_event_t::new(0, 0); capacity];
    // SAFETY: the vector is as long as said.
    let mut places = unsafe { Places::new(events.as_mut_ptr(), size_of::<dcn_event_t>(), capacity) }.unwrap();
    shown.show(&mut places);
    events.truncate(places.written());
    events
}

fn payload(event: &dcn_event_t) -> &[u8] {
    // SAFETY: the tests look while the event is shown.
    unsafe { std::slice::from_raw_parts(event.data, event.data_bytes) }
}

fn text(pointer: *const std::ffi::c_char) -> Option<String> {
    // SAFETY: NULL, or a text of an event that is shown.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_owned())
}

#[test]
fn a_run_is_handed_out_in_parts() {
    let mut shown = Shown::new();
    shown.push(Event::Messages(run(5, 40)));
    let mut seen = 0;
    for capacity in [2, 1, 9] {
        shown.retire();
        for event in look(&mut shown, capacity) {
            assert_eq!(payload(&event), seen.to_string().as_bytes());
            assert_eq!((event.kind, event.number, event.token), (DCN_EVENT_MESSAGE, 40 + seen, 100 + seen));
            assert_eq!((event.view, event.view_tag, event.detail, event.seat), (5, view_id(5).tag(), 1, 3));
            assert_eq!(text(event.member).unwrap(), "ann");
            seen += 1;
        }
        assert_eq!(shown.has_rest(), seen < 5);
    }
    assert_eq!(seen, 5);
    shown.retire();
    assert!(shown.items.is_empty());
}

#[test]
fn an_event_of_another_engine_is_refused() {
    let [mut mine, mut theirs] = [(); 2].map(|()| Shown::new());
    let [own, foreign] = [&mut mine, &mut theirs].map(|shown| {
        shown.push(Event::Messages(run(1, 1)));
        look(shown, 1)[0]
    });
    assert!(mine.payload(&own).is_ok());
    assert_eq!(mine.payload(&foreign).err().unwrap().code(), Code::BadHandle);
    assert_eq!(theirs.view(own.ticket).err().unwrap().code(), Code::BadHandle);
}

#[test]
fn a_payload_is_found_while_it_is_shown_and_no_longer() {
    let mut shown = Shown::new();
    shown.push(Event::Messages(run(3, 1)));
    shown.push(Event::Messages(Messages::single(
        Arc::new(ann()),
        view_id(5),
        false,
        9,
        77,
        Bytes::from_static(b"block"),
        5,
    )));
    let events = look(&mut shown, 4);
    let kept = shown.payload(&events[1]).unwrap();
    assert_eq!(&kept.area[kept.at..kept.at + kept.len], b"1");
    assert!(kept.in_chunk);
    let kept = shown.payload(&events[3]).unwrap();
    assert_eq!((&kept.area[..], kept.in_chunk, events[3].token), (&b"block"[..], false, 77));
    for forge in [
        |e: &mut dcn_event_t| e.data_bytes += 1 << 20,
        |e: &mut dcn_event_t| e.data_bytes = usize::MAX,
        |e: &mut dcn_event_t| e.data = e.data.wrapping_sub(1 << 20),
        |e: &mut dcn_event_t| e.data = std::ptr::null(),
    ] {
        let mut forged = events[1];
        forge(&mut forged);
        assert_eq!(shown.payload(&forged).err().unwrap().code(), Code::InvalidArgument);
    }
    for ticket in [0, events[3].ticket + 1, u64::MAX] {
        let forged = dcn_event_t { ticket, ..events[1] };
        assert_eq!(shown.payload(&forged).err().unwrap().code(), Code::BadHandle);
    }
    shown.retire();
    for event in &events {
        assert_eq!(shown.payload(event).err().unwrap().code(), Code::BadHandle);
    }
    shown.push(Event::Writable);
    let writable = look(&mut shown, 1)[0];
    assert_eq!(shown.payload(&writable).err().unwrap().code(), Code::InvalidArgument);
}

/// What a host sees of an event: kind, detail, view, number, token, payload, member, seat, text.
type Seen = (u32, u32, u64, u64, u64, &'static [u8], Option<&'static str>, u32, Option<&'static str>);

#[test]
fn every_kind_of_event_has_its_fields() {
    let from: SocketAddr = "10.0.0.7:7100".parse().unwrap();
    let member = ann();
    let stop = |reason| Event::Closed { reason };
    let table: Vec<(Event, Seen)> = vec![
        (Event::Transition { view: view_id(4) }, (2, 0, 4, 0, 0, b"", None, 0, None)),
        (Event::Ready { view: view_id(4) }, (4, 0, 4, 0, 0, b"", None, 0, None)),
        (
            Event::Suspected { member: member.clone(), why: "silent" },
            (5, 0, 0, 0, 0, b"", Some("ann"), 3, Some("silent")),
        ),
        (Event::Slow { member: member.clone(), lag_bytes: 12 }, (6, 0, 0, 12, 0, b"", Some("ann"), 3, None)),
        (Event::Stable { view: view_id(4), number: 8 }, (7, 0, 4, 8, 0, b"", None, 0, None)),
        (
            Event::Returned { to: Some(member.clone()), token: 6, payload: Bytes::from_static(b"back"), why: "gone" },
            (8, 0, 0, 0, 6, b"back", Some("ann"), 3, Some("gone")),
        ),
        (
            Event::Returned { to: None, token: 6, payload: Bytes::new(), why: "none" },
            (8, 0, 0, 0, 6, b"", None, 0, Some("none")),
        ),
        (Event::Writable, (9, 0, 0, 0, 0, b"", None, 0, None)),
        (Event::Primary { view: view_id(4), primary: true }, (10, 1, 4, 0, 0, b"", None, 0, None)),
        (Event::Primary { view: view_id(4), primary: false }, (10, 0, 4, 0, 0, b"", None, 0, None)),
        (Event::Expelled { view: view_id(4), why: "silent".into() }, (11, 0, 4, 0, 0, b"", None, 0, Some("silent"))),
        (
            Event::Fault { member: Some(member.clone()), from: Some(from), what: "a bad prefix".into() },
            (12, 0, 0, 0, 0, b"", Some("ann"), 3, Some("a bad prefix (from 10.0.0.7:7100)")),
        ),
        (
            Event::Fault { member: None, from: None, what: "a bad prefix".into() },
            (12, 0, 0, 0, 0, b"", None, 0, Some("a bad prefix")),
        ),
        (
            // What a stranger says of itself is cut where C would end it.
            Event::RefusedJoiner { name: "bob\0x".into(), from, why: "wrong cluster".into() },
            (13, 0, 0, 0, 0, b"", Some("bob"), 0, Some("wrong cluster (told to 10.0.0.7:7100)")),
        ),
        (Event::Note { level: 2, text: "beware".into() }, (14, 2, 0, 0, 0, b"", None, 0, Some("beware"))),
        (stop(Ended::Left), (15, 1, 0, 0, 0, b"", None, 0, Some("left, and the cluster knows"))),
        (stop(Ended::LeftUnheard), (15, 2, 0, 0, 0, b"", None, 0, Some("left, but nobody could be told in time"))),
        (stop(Ended::Refused("by ann".into())), (15, 3, 0, 0, 0, b"", None, 0, Some("by ann"))),
        (
            stop(Ended::HostNotPolling),
            (15, 4, 0, 0, 0, b"", None, 0, Some("the host did not take events for window.slow_ms")),
        ),
        (stop(Ended::JoinTimeout("no seed".into())), (15, 5, 0, 0, 0, b"", None, 0, Some("no seed"))),
        (stop(Ended::Failed("a bug".into())), (15, 6, 0, 0, 0, b"", None, 0, Some("a bug"))),
    ];
    let mut shown = Shown::new();
    for (event, expected) in table {
        let what = format!("{event:?}");
        shown.retire();
        shown.push(event);
        let events = look(&mut shown, 2);
        assert_eq!(events.len(), 1, "{what}");
        let e = &events[0];
        let bytes = if e.data.is_null() { b"" } else { payload(e) };
        let (member, text) = (text(e.member), text(e.text));
        let seen = (e.kind, e.detail, e.view, e.number, e.token, bytes, member.as_deref(), e.seat, text.as_deref());
        assert_eq!(seen, expected, "{what}");
        assert_eq!((e.struct_size, e.reserved), (size_of::<dcn_event_t>(), 0));
    }
}

#[test]
fn a_view_event_keeps_its_snapshot() {
    let member = |name: &str, seat: u32| MemberInfo {
        name: Name::new(name),
        incarnation: Incarnation(seat.into()),
        address: "127.0.0.1:7100".parse().unwrap(),
        seat: Seat(seat),
        admitted: 1,
        group: 0,
        grouped: 1,
        ready: true,
        witness: false,
        tags: Default::default(),
    };
    let view = Arc::new(View::new(view_id(6), vec![member("ann", 3), member("bob", 4)], true));
    let change = ViewChange {
        view: view.clone(),
        me: 1,
        joined: vec![(&view.members[1]).into()],
        left: vec![],
        merged_from: None,
    };
    let mut shown = Shown::new();
    shown.push(Event::Primary { view: view_id(5), primary: true });
    shown.push(Event::View(change));
    let events = look(&mut shown, 2);
    assert_eq!((events[1].kind, events[1].detail, events[1].view), (DCN_EVENT_VIEW, 2, 6));
    assert_eq!(shown.view(events[0].ticket).err().unwrap().code(), Code::InvalidArgument);
    let snapshot = shown.view(events[1].ticket).unwrap();
    shown.retire();
    assert_eq!(shown.view(events[1].ticket).err().unwrap().code(), Code::BadHandle);
    assert_eq!(Arc::strong_count(&snapshot), 1, "the host's is the last one");
}
