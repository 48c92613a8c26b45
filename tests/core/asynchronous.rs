//! Asynchronous mode (S2): what is answered for before the second copy has it has bounds, and travels together, and soon.

use crate::fellows::{Fellows, ID, NOBODY, create, write};
use crate::stage::{ME, PEER, THIRD};
use decurion::core::{Asynchronous, SessionOp};
use decurion::types::{Code, SessionId, millis};
use decurion::wire::session::{Frame, Question};

const BOUNDS: Asynchronous =
    Asynchronous { window_bytes: 1_000, window: millis(40), batch_bytes: 10_000, batch: millis(10) };

/// `PEER` holds the other copy of `ID`.
fn asynchronous() -> Fellows {
    let mut fellows = Fellows::with(&[PEER, ME], |setup| setup.sessions.asynchronous = Some(BOUNDS));
    fellows.create();
    fellows
}

/// How many changes `PEER` was sent since the last look.
fn changes(fellows: &mut Fellows) -> usize {
    fellows.heard(PEER).iter().filter(|frame| matches!(frame, Frame::Change(_))).count()
}

/// Bytes that were answered for and that nobody else has, and for how many milliseconds the oldest has waited.
fn lag(fellows: &Fellows) -> (u64, u64) {
    let counts = fellows.stage.member.session_counts();
    (counts.lag_bytes, counts.lag / 1_000)
}

#[test]
fn changes_are_answered_for_at_once_and_wait_for_each_other_for_a_while() {
    let mut fellows = asynchronous();
    assert_eq!(lag(&fellows), (0, 0));
    let numbers = ["2", "3"].map(|count| fellows.ask(write(count)));
    assert_eq!(numbers.map(|number| fellows.code(number)), [Some(Code::Ok); 2]);
    fellows.pass(millis(9));
    assert_eq!(changes(&mut fellows), 0);
    fellows.pass(millis(1));
    assert_eq!(changes(&mut fellows), 2);
    let (bytes, age) = lag(&fellows);
    assert!(bytes > 2 * 128 && age == 10, "{bytes} {age}");
    fellows.agree(PEER);
    assert_eq!(lag(&fellows), (0, 0));
}

/// Who held its second copy is lost: the changes before the end could count for ever.
#[test]
fn what_was_answered_for_ends_with_its_session() {
    let mut fellows = asynchronous();
    fellows.ask(write("2"));
    assert!(lag(&fellows).0 > 0);
    fellows.ask(SessionOp::Remove);
    fellows.install(12, &[ME, THIRD]);
    assert_eq!(lag(&fellows), (0, 0));
    fellows.pass(millis(100));
    let number = fellows.ask(create());
    assert_eq!(fellows.code(number), Some(Code::Ok), "nobody has agreed to anything");
}

#[test]
fn a_new_session_is_answered_for_at_once_and_its_copy_does_not_wait() {
    let mut fellows = asynchronous();
    let number = fellows.ask_about(SessionId(9), [NOBODY; 2], create());
    assert_eq!(fellows.code(number), Some(Code::Ok));
    assert_eq!(fellows.copied_to(SessionId(9)), Some(PEER));
}

#[test]
fn what_would_leave_the_window_waits_for_the_second_copy_and_lets_nothing_else_wait() {
    let mut fellows = asynchronous();
    let mut answered = 0;
    let late = loop {
        let number = fellows.ask(write("2"));
        if fellows.code(number).is_none() {
            break number;
        }
        answered += 1;
    };
    let (bytes, _) = lag(&fellows);
    assert!(answered > 1 && bytes <= BOUNDS.window_bytes as u64, "{answered} {bytes}");
    assert_eq!(changes(&mut fellows), answered + 1);
    fellows.agree(PEER);
    assert_eq!((fellows.code(late), lag(&fellows)), (Some(Code::Ok), (0, 0)));
}

/// Else it would come before them, or wait with them.
#[test]
fn what_is_no_change_takes_the_changes_before_it_along_at_once() {
    let mut fellows = asynchronous();
    fellows.ask(write("2"));
    assert_eq!(fellows.heard(PEER), []);
    fellows.say(PEER, &Frame::Where(Question { id: ID, asked: 1 }));
    assert!(matches!(fellows.heard(PEER)[..], [Frame::Change(_), Frame::Here(_)]));
}
