//! What a member holds of sessions: compact records, ordered by id, and how many of them have no second copy.

use std::collections::{BTreeMap, VecDeque};

use super::map::SessionMap;
use super::record::{Glance, Record, Session, Standing};
use crate::types::{Epoch, MemberTag, Micros, SessionId};
use crate::wire::session::Role;

/// How many sessions a member holds, and what for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[allow(missing_docs)] // the names say it
pub struct SessionCounts {
    /// Sessions that this member owns.
    pub primaries: u64,
    /// Sessions whose other copy it holds.
    pub secondaries: u64,
    /// Those without a second copy: owned ones, and those whose owner is gone.
    pub single: u64,
    /// Copies of another life, of which it is not known yet whether the others went on without them.
    pub orphans: u64,
    /// Memory that all of them take, in bytes.
    pub bytes: u64,
    /// Changes that were answered for and that no second member has yet: their bytes,
    pub lag_bytes: u64,
    /// and the age of the oldest.
    pub lag: Micros,
}
/// All sessions of a member.
#[derive(Clone, Hash, Default, Debug)]
pub(crate) struct Store {
    /// Whose it is.
    me: MemberTag,
    sessions: SessionMap<Record>,
    counts: SessionCounts,
    /// How many of them have their other copy at whom.
    others: BTreeMap<MemberTag, u64>,
    gone: Gone,
}

/// Sessions that were here and are not any more: the last ones.
#[derive(Clone, Hash, Default, Debug)]
struct Gone {
    /// In the order in which they went, each with the number of the view; one that came back and went again stands there more
    /// than once.
    order: VecDeque<(SessionId, u64)>,
    /// The last epoch of each, and how often it stands in `order`.
    epochs: BTreeMap<SessionId, (Epoch, u32)>,
    /// The number of the current view.
    view: u64,
    /// Of that view, and of earlier ones, not all are remembered any more.
    forgotten: u64,
}

impl Gone {
    /// How many are remembered.
    const MOST: usize = 16_384;

    fn add(&mut self, id: SessionId, epoch: Epoch) {
        if self.order.len() == Gone::MOST
            && let Some((oldest, view)) = self.order.pop_front()
            && let Some((_, times)) = self.epochs.get_mut(&oldest)
        {
            *times -= 1;
            if *times == 0 {
                self.epochs.remove(&oldest);
                self.forgotten = view;
            }
        }
        self.order.push_back((id, self.view));
        let (last, times) = self.epochs.entry(id).or_default();
        (*last, *times) = (epoch.max(*last), *times + 1);
    }
}

impl Store {
    pub(crate) fn new(me: MemberTag) -> Store {
        Store { me, ..Store::default() }
    }

    /// What follows is about this session.
    pub(crate) fn turn_to(&mut self, id: SessionId) {
        self.sessions.turn_to(id);
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Session<'_>> {
        self.sessions.get(&id).map(|record| record.session(self.me))
    }

    pub(crate) fn glance(&self, id: SessionId) -> Option<Glance<'_>> {
        self.sessions.get(&id).map(|record| Glance { record, me: self.me })
    }

    /// Whether a session is ours and nobody is known to have the newest version of it.
    pub(crate) fn is_single(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|record| record.role() == Role::Primary && !record.is_copied())
    }

    pub(crate) fn role(&self, id: SessionId) -> Role {
        self.sessions.get(&id).map_or(Role::None, Record::role)
    }

    /// Changes a session, if it is there.
    pub(crate) fn update<T>(&mut self, id: SessionId, change: impl FnOnce(&mut Session<'_>) -> T) -> Option<T> {
        self.change(id, None, change)
    }

    /// The same; from now on its attributes are these.
    pub(crate) fn rewrite(&mut self, id: SessionId, attributes: &[u8], change: impl FnOnce(&mut Session<'_>)) {
        self.change(id, Some(attributes), change);
    }

    fn change<T>(
        &mut self, id: SessionId, attributes: Option<&[u8]>, change: impl FnOnce(&mut Session<'_>) -> T,
    ) -> Option<T> {
        let (before, after, answer) = self.sessions.get_mut(&id)?.change(self.me, attributes, change);
        if before != after {
            self.count(&after);
            self.discount(&before);
        }
        Some(answer)
    }

    /// Puts a session in, in the place of an older one.
    pub(crate) fn insert(&mut self, id: SessionId, session: &Session<'_>) {
        let record = Record::new(session, self.me);
        self.count(&session.standing(record.0.len()));
        if let Some(before) = self.sessions.insert(id, record) {
            self.discount(&before.session(self.me).standing(before.0.len()));
        }
    }

    /// Takes a session out; answers who owned it since when, and its partner.
    pub(crate) fn remove(&mut self, id: SessionId) -> Option<(Epoch, MemberTag)> {
        let record = self.sessions.remove(&id)?;
        let session = record.session(self.me);
        let (epoch, partner) = (session.epoch, session.partner);
        self.discount(&session.standing(record.0.len()));
        self.gone.add(id, epoch);
        Some((epoch, partner))
    }

    /// The last epoch of a session that was here not long ago.
    pub(crate) fn had(&self, id: SessionId) -> Option<Epoch> {
        self.gone.epochs.get(&id).map(|(epoch, _)| *epoch)
    }

    /// Of the view of this number, and of earlier ones, not all sessions that were here are remembered.
    pub(crate) fn forgotten(&self) -> u64 {
        self.gone.forgotten
    }

    /// What goes from now on goes in this view.
    pub(crate) fn enter_view(&mut self, number: u64) {
        self.gone.view = number;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many there are that are no copies of another life.
    pub(crate) fn live(&self) -> usize {
        self.sessions.len() - self.counts.orphans as usize
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// What is there, if the members are there for which `present` says so: where the other copy was with anybody else it is lost,
    /// also as long as nobody has looked at that session since.
    pub(crate) fn counts(&self, present: impl Fn(MemberTag) -> bool) -> SessionCounts {
        let lost: u64 = self.others.iter().filter(|(who, _)| !present(**who)).map(|(_, count)| count).sum();
        SessionCounts { single: self.counts.single + lost, ..self.counts }
    }

    /// The memory that all of them take.
    pub(crate) fn bytes(&self) -> usize {
        self.counts.bytes as usize
    }

    fn count(&mut self, session: &Standing) {
        self.counts.add(session);
        if session.other.is_some() {
            *self.others.entry(session.other).or_default() += 1;
        }
    }

    fn discount(&mut self, session: &Standing) {
        self.counts.take(session);
        if let Some(count) = self.others.get_mut(&session.other) {
            *count -= 1;
            if *count == 0 {
                self.others.remove(&session.other);
            }
        }
    }

    /// The next sessions after one, in order.
    pub(crate) fn after(&self, id: Option<SessionId>) -> impl Iterator<Item = (SessionId, Glance<'_>)> {
        self.sessions.after(id).map(|(id, record)| (id, Glance { record, me: self.me }))
    }

    /// The member begins another life as `me`: everything in it becomes a copy of the one before.
    pub(crate) fn orphan(&mut self, me: MemberTag, now_s: u32) {
        let before = std::mem::replace(&mut self.me, me);
        self.counts = SessionCounts::default();
        self.others.clear();
        for record in self.sessions.values_mut() {
            let mut session = record.session(before);
            (session.role, session.used_s) = (Role::Orphan, now_s);
            *record = Record::new(&session, me);
            self.counts.add(&record.session(me).standing(record.0.len()));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, Session<'_>)> {
        self.sessions.iter().map(|(id, record)| (id, record.session(self.me)))
    }
}

impl SessionCounts {
    fn add(&mut self, session: &Standing) {
        self.primaries += u64::from(session.role == Role::Primary);
        self.secondaries += u64::from(session.role == Role::Secondary);
        self.single += u64::from(session.single);
        self.orphans += u64::from(session.role == Role::Orphan);
        self.bytes += session.bytes as u64;
    }

    fn take(&mut self, session: &Standing) {
        assert!(self.bytes >= session.bytes as u64, "a session goes that was not counted");
        self.primaries -= u64::from(session.role == Role::Primary);
        self.secondaries -= u64::from(session.role == Role::Secondary);
        self.single -= u64::from(session.single);
        self.orphans -= u64::from(session.role == Role::Orphan);
        self.bytes -= session.bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::types::limits;
    use crate::wire::session::Attributes;

    const ME: MemberTag = MemberTag(77);
    const OTHER: MemberTag = MemberTag(u64::MAX);

    fn roles() -> impl Strategy<Value = Role> {
        prop::sample::select(vec![Role::Primary, Role::Secondary, Role::Given, Role::Claimant, Role::Orphan])
    }

    fn tags() -> impl Strategy<Value = MemberTag> {
        prop::sample::select(vec![MemberTag::NONE, ME, OTHER])
    }

    fn epochs() -> impl Strategy<Value = Epoch> {
        (any::<u64>(), any::<u32>(), tags()).prop_map(|(view, counter, owner)| Epoch {
            view: view >> (counter % 64),
            counter,
            owner,
        })
    }

    prop_compose! {
        fn sessions()(
            role in roles(), epoch in epochs(), version in any::<u64>(), partner in tags(),
            times in any::<(u32, u32)>(), copied in any::<bool>(),
            tokens in prop::collection::vec(any::<u64>(), 0..10), attributes in prop::collection::vec(any::<u8>(), 0..100),
        ) -> Session<'static> {
            let mut session = Session::new(role, epoch, version, times.0, &tokens, &[]);
            session.attributes = Cow::Owned(attributes);
            (session.partner, session.used_s, session.copied) = (partner, times.1, copied);
            session
        }
    }

    type Whole = (Epoch, u64, MemberTag, (u32, u32), Role, bool, Vec<u64>, Vec<u8>);

    fn whole(s: &Session<'_>) -> Whole {
        let (times, content) = ((s.used_s, s.ttl_s), s.attributes.to_vec());
        (s.epoch, s.version, s.partner, times, s.role, s.copied, s.tokens().collect(), content)
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_and_is_counted(all in prop::collection::vec((0_u128..8, sessions()), 1..30)) {
            let mut store = Store::new(ME);
            for (n, (id, session)) in all.iter().enumerate() {
                let id = SessionId(*id);
                if n % 3 == 0 || store.get(id).is_none() {
                    store.insert(id, session);
                } else {
                    store.update(id, |s| *s = session.clone());
                }
                prop_assert_eq!(whole(&store.get(id).expect("put in")), whole(session));
                let glance = store.glance(id).expect("put in");
                prop_assert_eq!((glance.role(), glance.is_copied()), (session.role, session.copied));
                prop_assert_eq!((glance.owner(), glance.partner()), (session.epoch.owner, session.partner));
                prop_assert_eq!(glance.expiry(u32::MAX), (session.ttl_s, u32::MAX - session.used_s));
                store.update(id, |s| (s.version, s.partner, s.epoch.owner) = (1, MemberTag::NONE, ME));
                let mut expected = session.clone();
                (expected.version, expected.partner, expected.epoch.owner) = (1, MemberTag::NONE, ME);
                prop_assert_eq!(whole(&store.get(id).expect("put in")), whole(&expected));
            }
            let mut counts = SessionCounts::default();
            store.iter().for_each(|(id, s)| counts.add(&s.standing(store.sessions.get(&id).expect("it is there").0.len())));
            prop_assert_eq!(store.counts(|_| true), counts);
            let without = |gone: MemberTag| {
                let held = |s: &Session<'_>| s.role == Role::Secondary && s.epoch.owner == gone;
                let shared = |s: &Session<'_>| s.role == Role::Primary && s.copied && s.partner == gone;
                store.iter().filter(|(_, s)| held(s) || shared(s)).count() as u64
            };
            prop_assert_eq!(store.counts(|who| who == ME).single, counts.single + without(OTHER));
            store.orphan(OTHER, 9);
            prop_assert!(store.iter().all(|(_, s)| s.role == Role::Orphan && s.epoch.owner == ME));
            prop_assert_eq!(store.counts(|_| true).orphans as usize, store.sessions.len());
            let ids: Vec<SessionId> = store.sessions.ids().collect();
            ids.into_iter().for_each(|id| { store.remove(id); });
            prop_assert_eq!(store.counts(|_| false), SessionCounts::default());
        }

        #[test]
        fn a_change_that_fits_into_its_block_stays_there_and_leaves_no_trace(
            session in sessions(), used_s in any::<u32>(),
        ) {
            let mut store = Store::new(ME);
            store.insert(SessionId(1), &session);
            let at = store.sessions.get(&SessionId(1)).expect("it is there").0.as_ptr();
            store.update(SessionId(1), |s| s.used_s = used_s);
            prop_assert_eq!(store.sessions.get(&SessionId(1)).expect("it is there").0.as_ptr(), at);
            let mut expected = session.clone();
            expected.used_s = used_s;
            prop_assert_eq!(&store.sessions.get(&SessionId(1)).expect("it is there").0, &Record::new(&expected, ME).0);
        }
    }

    #[test]
    fn a_session_of_two_kibibytes_leaves_room_under_the_target() {
        let attributes = vec![0; 2_048];
        let epoch = Epoch { view: 300, counter: 300, owner: OTHER };
        let mut session = Session::new(Role::Secondary, epoch, 300, 86_400, &[], &attributes);
        session.used_s = u32::MAX;
        let mut store = Store::new(ME);
        store.insert(SessionId(1), &session);
        assert!(store.bytes() <= 2_160, "{}", store.bytes());
        assert!(store.bytes() <= session.bytes(), "what is asked for before is enough");
        let at = store.sessions.get(&SessionId(1)).expect("it is there").0.as_ptr();
        let tokens: Vec<u64> = (0..12).map(|n| 1_000_000 + n * 7).collect();
        for many in 1..=tokens.len() {
            store.rewrite(SessionId(1), &attributes, |s| s.add_token(tokens[many - 1]));
        }
        let after: Vec<u64> = store.get(SessionId(1)).expect("it is there").tokens().collect();
        assert_eq!(after, tokens[tokens.len() - limits::TOKENS..]);
        assert_eq!(
            store.sessions.get(&SessionId(1)).expect("it is there").0.as_ptr(),
            at,
            "changes leave it where it is"
        );
    }

    #[test]
    fn changes_set_and_remove_in_the_order_of_names() {
        let of = |pairs: &[&'static str]| {
            Attributes::new(pairs.iter().map(|pair| pair.split_at(1)).map(|(n, v)| (n, v.as_bytes())))
        };
        let before = of(&["b1", "d1", "f1"]);
        let session = Session::new(Role::Primary, Epoch::default(), 1, 0, &[], before.as_bytes());
        let mut raw = vec![7; 99];
        for (whole, sets, removes, after) in [
            (false, &[][..], &[][..], &["b1", "d1", "f1"][..]),
            (false, &["a2", "d2", "g2"], &[], &["a2", "b1", "d2", "f1", "g2"]),
            (false, &["c2"], &["a", "b", "e", "f", "z"], &["c2", "d1"]),
            (false, &["b2"], &["b", "d"], &["b2", "f1"]),
            (true, &["c2"], &["c"], &["c2"]),
            (true, &[], &[], &[]),
        ] {
            let changed = session.changed(whole, &of(sets), &of(removes), &mut raw).to_vec();
            assert_eq!(changed, of(after).as_bytes()[..], "{sets:?} {removes:?}");
        }
    }

    #[test]
    fn what_went_is_remembered_up_to_a_bound_and_found_without_looking_at_all_of_it() {
        let mut store = Store::new(ME);
        let epoch = |view| Epoch { view, counter: 1, owner: ME };
        store.enter_view(7);
        let mut come_and_go = |id: u128, view| {
            store.insert(SessionId(id), &Session::new(Role::Primary, epoch(view), 1, 0, &[], &[]));
            store.remove(SessionId(id));
            store.had(SessionId(id))
        };
        assert_eq!(come_and_go(1, 5), Some(epoch(5)));
        assert_eq!(come_and_go(1, 4), Some(epoch(5)), "the greatest epoch counts");
        store.enter_view(8);
        for id in 2..Gone::MOST as u128 {
            store.insert(SessionId(id), &Session::new(Role::Primary, epoch(1), 1, 0, &[], &[]));
            store.remove(SessionId(id));
        }
        assert_eq!(store.forgotten(), 0);
        store.enter_view(9);
        assert_eq!((store.had(SessionId(1)), store.gone.order.len()), (Some(epoch(5)), Gone::MOST));
        store.gone.add(SessionId(2), epoch(7));
        assert_eq!((store.had(SessionId(1)), store.had(SessionId(2))), (Some(epoch(5)), Some(epoch(7))));
        store.gone.add(SessionId(2), epoch(6));
        assert_eq!(
            (store.had(SessionId(1)), store.had(SessionId(2))),
            (None, Some(epoch(7))),
            "both times are forgotten"
        );
        assert_eq!(store.gone.order.len(), Gone::MOST);
        assert_eq!(store.gone.epochs.len(), Gone::MOST - 2);
        assert_eq!(store.forgotten(), 7, "the view in which it went");
        store.gone.add(SessionId(0), epoch(1));
        assert_eq!(store.forgotten(), 7, "this one went again later");
        store.gone.add(SessionId(0), epoch(1));
        assert_eq!(store.forgotten(), 8);
    }

    #[test]
    fn a_session_is_single_while_it_is_ours_and_nobody_else_is_known_to_have_it() {
        let mut store = Store::new(ME);
        let id = SessionId(1);
        assert!(!store.is_single(id));
        for role in [Role::Secondary, Role::Given, Role::Claimant, Role::Orphan, Role::Primary] {
            store.insert(id, &Session::new(role, Epoch::default(), 1, 0, &[], &[]));
            assert_eq!(store.is_single(id), role == Role::Primary, "{role:?}");
        }
        store.update(id, |s| (s.partner, s.copied) = (OTHER, true));
        assert!(!store.is_single(id));
    }

    #[test]
    fn copies_of_another_life_are_there_and_are_no_sessions_to_be_handed_over() {
        let mut store = Store::new(ME);
        assert!(store.is_empty());
        let session = |owner, copied| {
            let mut session = Session::new(Role::Primary, Epoch { view: 3, counter: 1, owner }, 1, 0, &[], &[]);
            (session.partner, session.copied) = (MemberTag(5), copied);
            session
        };
        (1..=3).for_each(|id| store.insert(SessionId(id), &session(ME, true)));
        assert_eq!((store.live(), store.len(), store.is_empty()), (3, 3, false));
        store.orphan(OTHER, 0);
        assert_eq!((store.live(), store.len(), store.is_empty()), (0, 3, false));
        assert_eq!(store.counts(|_| false).single, 0, "who has the other copy does not matter any more");
        store.insert(SessionId(9), &session(OTHER, false));
        assert_eq!((store.live(), store.len(), store.counts(|_| true).single), (1, 4, 1));
        // They may be replaced by copies of this life, and are counted no more.
        store.insert(SessionId(1), &session(OTHER, true));
        let counts = store.counts(|_| true);
        assert_eq!((counts.orphans, counts.primaries, store.live()), (2, 2, 2));
    }
}
