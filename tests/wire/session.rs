//! Frames of sessions: what is written is read back, and nothing else is read.

use bytes::Bytes;
use decurion::types::{Epoch, MemberTag, SessionId, limits};
use decurion::wire::session::{
    About, Adopt, Attributes, Change, Copy, Departed, Frame, Give, Here, Move, Objection, Question, Refused, Role,
};
use proptest::prelude::*;

fn id() -> impl Strategy<Value = SessionId> {
    any::<u128>().prop_map(SessionId)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    (any::<u64>(), any::<u32>(), any::<u64>()).prop_map(|(view, counter, owner)| Epoch {
        view,
        counter,
        owner: MemberTag(owner),
    })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    prop::collection::vec(("[a-zä]{1,9}", prop::collection::vec(any::<u8>(), 0..40)), 0..6)
        .prop_map(|pairs| Attributes::new(pairs.iter().map(|(name, value)| (name.as_str(), value.as_slice()))))
}

fn copy() -> impl Strategy<Value = Copy> {
    (id(), epoch(), epoch(), any::<u64>(), any::<u32>(), prop::collection::vec(any::<u64>(), 0..9), attributes())
        .prop_map(|(id, epoch, follows, version, ttl_s, tokens, attributes)| Copy {
            id,
            epoch,
            follows,
            version,
            ttl_s,
            tokens,
            attributes,
        })
}

fn question() -> impl Strategy<Value = Question> {
    (id(), any::<u64>()).prop_map(|(id, asked)| Question { id, asked })
}

fn about() -> impl Strategy<Value = About> {
    (id(), epoch()).prop_map(|(id, epoch)| About { id, epoch })
}

fn adopt() -> impl Strategy<Value = Adopt> {
    (id(), epoch(), epoch(), any::<u64>()).prop_map(|(id, epoch, follows, version)| Adopt {
        id,
        epoch,
        follows,
        version,
    })
}

fn give() -> impl Strategy<Value = Give> {
    let made = |(asked, copy, tag)| Give { asked, view: asked / 3, copy, secondary: MemberTag(tag) };
    (any::<u64>(), copy(), any::<u64>()).prop_map(made)
}

fn frame() -> impl Strategy<Value = Frame> {
    let objection = prop::sample::select(vec![Objection::Epoch, Objection::Missing, Objection::Full]);
    let role = prop::sample::select(vec![
        Role::None,
        Role::Primary,
        Role::Secondary,
        Role::Given,
        Role::Claimant,
        Role::Orphan,
    ]);
    prop_oneof![
        copy().prop_map(Frame::Copy),
        (id(), epoch(), any::<u64>(), any::<u64>(), any::<bool>(), attributes(), attributes()).prop_map(
            |(id, epoch, version, token, whole, sets, removes)| Frame::Change(Change {
                id,
                epoch,
                version,
                token,
                whole,
                sets,
                removes
            })
        ),
        adopt().prop_map(Frame::Adopt),
        about().prop_map(Frame::Release),
        about().prop_map(Frame::End),
        (id(), epoch(), any::<u64>(), epoch(), objection)
            .prop_map(|(id, epoch, version, held, why)| Frame::Refused(Refused { id, epoch, version, held, why })),
        question().prop_map(Frame::Want),
        give().prop_map(Frame::Give),
        question().prop_map(Frame::Where),
        (id(), any::<u64>(), role, epoch(), any::<u64>(), any::<[u64; 4]>(), prop::collection::vec(any::<u64>(), 0..4))
            .prop_map(|(id, asked, role, epoch, version, who, lives)| {
                let [owner, was, one, other] = who.map(MemberTag);
                let (others, lives) = ((one, other), lives.into_iter().map(MemberTag).collect());
                Frame::Here(Here { id, asked, role, epoch, version, owner, was, others, lives })
            }),
        prop::collection::vec((any::<u64>().prop_map(MemberTag), any::<u64>()), 0..9)
            .prop_map(|members| Frame::Departed(Departed { members })),
        (copy(), any::<u64>()).prop_map(|(copy, tag)| Frame::Move(Move { copy, beside: MemberTag(tag) })),
        about().prop_map(Frame::Outlive),
        adopt().prop_map(Frame::Inherit),
        Just(Frame::Retiring(())),
        question().prop_map(Frame::Fetch),
        give().prop_map(Frame::Shown),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(frame in frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(Frame::decode(&bytes), Ok(frame));
    }

    #[test]
    fn a_frame_that_is_cut_or_goes_on_is_refused(frame in frame(), at in any::<prop::sample::Index>()) {
        let mut bytes = frame.encode().to_vec();
        prop_assert!(Frame::decode(&bytes[..at.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(Frame::decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = Frame::decode(&bytes) {
            prop_assert_eq!(&frame.encode()[..], &bytes[..]);
        }
    }
}

/// One attribute as it stands on the wire.
fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    let (name_len, value_len) = ((name.len() as u16).to_le_bytes(), (value.len() as u32).to_le_bytes());
    [&name_len[..], name, &value_len[..], value].concat()
}

fn checked(raw: Vec<u8>) -> Result<Attributes, &'static str> {
    Attributes::checked(Bytes::from(raw)).map_err(|bad| bad.0)
}

#[test]
fn names_of_attributes_are_not_empty_nor_long_and_are_text() {
    assert!(checked(pair(b"", b"x")).is_err());
    assert!(checked(pair(&[b'a'; limits::ATTRIBUTE_NAME_BYTES + 1], b"x")).is_err());
    assert!(checked(pair(&[0xff, 0xfe], b"x")).is_err());
    assert!(checked(pair(&[b'a'; limits::ATTRIBUTE_NAME_BYTES], b"x")).is_ok());
}

#[test]
fn attributes_stand_in_the_order_of_their_names_each_once() {
    assert!(checked([pair(b"b", b"1"), pair(b"a", b"2")].concat()).is_err());
    assert!(checked([pair(b"a", b"1"), pair(b"a", b"2")].concat()).is_err());
    let attributes = checked([pair(b"a", b"1"), pair(b"b", b"2")].concat()).expect("legal");
    assert_eq!(attributes, Attributes::new([("b", &b"2"[..]), ("a", &b"0"[..]), ("a", &b"1"[..])]));
    let orders = [[("a", &b"1"[..]), ("b", b"2")], [("b", b"2"), ("a", b"1")]];
    assert!(orders.into_iter().all(|pairs| Attributes::new(pairs) == attributes));
    assert_eq!(attributes, Attributes::new([("a", &b"0"[..]), ("a", b"1"), ("b", b"2")]), "the later one counts");
    assert_eq!(attributes.get("b"), Some(&b"2"[..]));
    assert_eq!(attributes.get("c"), None);
}
