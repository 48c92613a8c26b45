//! Sessions: state that a host keeps for its users, owned by the member that serves them and copied to a second one.
//!
//! A session has one *owner*, which answers for it, and one *secondary*, which holds the other copy. Who owns it is a chain of
//! epochs, each naming the one that it follows, and **the secondary's copy is the register on which the chain is kept**: an epoch
//! counts once the holder of the copy of the epoch before has adopted it, and it adopts only what follows its own. So of two that
//! claim a session after the same owner, one is refused, whatever was lost or late on the way:
//! - the owner hands over by giving its state away (*given*); whoever gets it is a *claimant* until the secondary has adopted its
//!   epoch and the giver has let go, and answers nothing before;
//! - the secondary takes over when the owner is not in the view any more, and the giver takes back when the claimant is not.
//!
//! An answer to a host that promises something is given only while this member acts in the primary view (S1, S5): a former owner
//! that was cut off gets no acknowledgement from a secondary that has gone on, and none from its lease either.
//!
//! The frames travel in streams of their own (`super::direct`), which are reliable and in order: an acknowledgement says that
//! everything before it was obeyed or objected to, and the objections come first.

mod active;
mod copies;
mod handover;
mod lag;
mod map;
mod merging;
mod peeking;
mod record;
mod requests;
mod retiring;
mod search;
mod store;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::direct::{Direct, Kind};
use super::io::Event;
use super::mark::{Mark, Marks};
use super::plant::{Plant, Plants};
use crate::types::{Code, Epoch, Incarnation, Index, MemberInfo, MemberTag, Micros, SessionId, Time, View, millis};
use crate::wire::session::{Attributes, Frame, Give, Here, Question, Role};
use active::{Begun, UnderWay, Waiting};
use copies::Restoring;
pub use lag::Asynchronous;
use lag::Lag;
use merging::Past;
pub use store::SessionCounts;
use store::Store;
use transport::{Encoder, Outlet};

/// How often requests that have waited too long are looked for.
const REVIEW: Micros = millis(50);
/// Answers to questions that wait for one member; beyond, they are not given.
const QUESTIONS_BYTES: usize = 4 * 1024 * 1024;

/// What a host wants of a session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum SessionOp {
    /// A new one with these attributes, which expires so many seconds after its last use (0: never).
    Create {
        /// Seconds.
        ttl_s: u32,
        /// Its first attributes.
        attributes: Attributes,
    },
    /// Its attributes. Counts as a use.
    Read,
    /// Its attributes, and who holds it, without becoming its owner. No use.
    Peek,
    /// A change.
    Write {
        /// The same change is made once, however often it is asked for with the same token (S4); 0 = no token. Tokens of one
        /// session grow.
        token: u64,
        /// Only if the session is at this version; 0 = at any.
        if_version: u64,
        /// Whether all attributes that are not set here go.
        whole: bool,
        /// Attributes to set.
        sets: Attributes,
        /// Names of attributes to remove; their values are empty.
        removes: Attributes,
    },
    /// A use that changes nothing.
    Touch,
    /// Its end.
    Remove,
}

/// A request of a host. Whichever member gets it becomes the owner of the session, if it is not yet; but for a look.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionRequest {
    /// Comes back with the answer.
    pub number: u64,
    /// Which session.
    pub id: SessionId,
    /// Who may hold it, as a cookie says: where to look first.
    pub holders: [MemberTag; 2],
    /// What to do.
    pub op: SessionOp,
}

impl SessionRequest {
    /// What it costs while it waits.
    pub fn bytes(&self) -> usize {
        128 + match &self.op {
            SessionOp::Create { attributes, .. } => attributes.as_bytes().len(),
            SessionOp::Write { sets, removes, .. } => sets.as_bytes().len() + removes.as_bytes().len(),
            _ => 0,
        }
    }
}

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionAnswer {
    /// The number of the request.
    pub number: u64,
    /// Which session.
    pub id: SessionId,
    /// What became of it.
    pub code: Code,
    /// Who owns the session since when, as of the answer.
    pub epoch: Epoch,
    /// The session's version, as of the answer; 0 if there is none.
    pub version: u64,
    /// Who owns it, and who holds the other copy: what a cookie should say.
    pub holders: [MemberTag; 2],
    /// Of a read that succeeded: the attributes.
    pub attributes: Option<Attributes>,
}

impl SessionAnswer {
    /// What it counts until the host has taken it.
    pub fn cost(&self) -> usize {
        128 + self.attributes.as_ref().map_or(0, |a| a.as_bytes().len())
    }
}

/// What a member is told about sessions when it starts.
#[derive(Clone, Debug)]
pub struct SessionRules {
    /// Members among which one chooses whoever holds the other copy.
    pub partners: usize,
    /// Longest session, names and values of its attributes together.
    pub session_bytes: usize,
    /// Memory for all sessions that a member holds.
    pub memory_bytes: usize,
    /// How long a request may take.
    pub timeout: Micros,
    /// Bytes a second at most for making second copies anew; a fifth of that while the host uses sessions.
    pub restore_bytes_per_s: usize,
    /// The replication group in which second copies are kept if possible.
    pub preferred_group: Option<String>,
    /// Whether changes are answered for before a second member has them, and within which bounds.
    pub asynchronous: Option<Asynchronous>,
}

impl Default for SessionRules {
    fn default() -> SessionRules {
        SessionRules {
            partners: 8,
            session_bytes: 256 * 1024,
            memory_bytes: 512 * 1024 * 1024,
            timeout: millis(10_000),
            restore_bytes_per_s: 32 * 1024 * 1024,
            preferred_group: None,
            asynchronous: None,
        }
    }
}

/// What a frame to another member brings about once it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    /// The copy there is at this version.
    Written(SessionId, u64),
    /// There is a whole copy there, at this version.
    Copied(SessionId, u64),
    /// There is a whole copy there, at this version, beside that of a member that leaves or has no room for it.
    Beside(SessionId, u64),
    /// There is no copy there any more, because another member has it.
    Moved(SessionId),
    /// The claim is agreed to.
    Claimed(SessionId, Epoch),
    /// There is no copy there any more, because the request of that number has ended the session.
    Ended(SessionId, u64),
}

impl Step {
    fn id(self) -> SessionId {
        match self {
            Step::Written(id, _) | Step::Copied(id, _) | Step::Beside(id, _) | Step::Ended(id, _) => id,
            Step::Claimed(id, _) | Step::Moved(id) => id,
        }
    }
}

/// All sessions of one member, and everything that is under way for them.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    rules: SessionRules,
    plants: Plants,
    marks: Marks,
    now: Time,
    incarnation: Incarnation,
    tag: MemberTag,
    view: Option<Arc<View>>,
    me: Index,
    /// Members of the view that can hold sessions, by their tags.
    present: BTreeMap<MemberTag, Incarnation>,
    /// Whether this member acts in the primary view now.
    primary: bool,
    store: Store,
    active: UnderWay,
    frames: Direct,
    objections: Direct,
    outlets: BTreeMap<Incarnation, Outlet>,
    /// To whom frames wait to go out.
    outbound: BTreeSet<Incarnation>,
    /// With whom something is under way: frames that bring something about once they are acknowledged.
    busy: BTreeSet<Incarnation>,
    encoder: Encoder,
    /// Where changed attributes are put together.
    merged: Vec<u8>,
    /// Members that can hold second copies of our sessions, and how far down in preference.
    partners: Vec<(u8, Incarnation)>,
    /// This member is about to leave.
    retired: bool,
    /// Others that are.
    retiring: BTreeSet<Incarnation>,
    /// Members that have no memory for copies, and until when that is believed.
    full: BTreeMap<Incarnation, Time>,
    restoring: Restoring,
    lag: Lag,
    past: Past,
    /// Sessions given to us in a view that we have not installed yet.
    early: Vec<(Incarnation, Give)>,
    questions: u64,
    review_at: Time,
    /// Something happened since the last turn.
    touched: bool,
    events: Vec<Event>,
    /// Members that sent what is no frame.
    faulty: Vec<(Incarnation, &'static str)>,
}

impl std::hash::Hash for Sessions {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let Sessions {
            store,
            active,
            frames,
            objections,
            outlets,
            full,
            restoring,
            past,
            early,
            questions,
            review_at,
            ..
        } = self;
        (store, active, frames, objections, outlets, full, past, early).hash(state);
        (&self.lag, restoring, questions, review_at, self.primary, self.retired, &self.retiring).hash(state);
    }
}

impl Sessions {
    pub(crate) fn new(
        rules: SessionRules, (plants, marks): (Plants, Marks), me: Incarnation, window: usize,
    ) -> Sessions {
        Sessions {
            rules,
            plants,
            marks,
            now: Time::ZERO,
            incarnation: me,
            tag: me.into(),
            view: None,
            me: 0,
            present: BTreeMap::new(),
            primary: false,
            store: Store::new(me.into()),
            active: UnderWay::default(),
            frames: Direct::new(Kind::Sessions, me, window, Plants::default()),
            objections: Direct::new(Kind::Objections, me, window, Plants::default()),
            outlets: BTreeMap::new(),
            outbound: BTreeSet::new(),
            busy: BTreeSet::new(),
            encoder: Encoder::new(),
            merged: Vec::new(),
            partners: Vec::new(),
            retired: false,
            retiring: BTreeSet::new(),
            full: BTreeMap::new(),
            restoring: Restoring::default(),
            lag: Lag::default(),
            past: Past::default(),
            early: Vec::new(),
            questions: 0,
            review_at: Time::NEVER,
            touched: true,
            events: Vec::new(),
            faulty: Vec::new(),
        }
    }

    /// How many there are.
    pub(crate) fn counts(&self) -> SessionCounts {
        SessionCounts {
            lag_bytes: self.lag.bytes(),
            lag: self.lag.age(self.now),
            ..self.store.counts(|who| self.present.contains_key(&who))
        }
    }

    /// The role, epoch and version of every session held here: for checkers.
    #[cfg(feature = "sim")]
    pub(crate) fn held(&self) -> impl Iterator<Item = (SessionId, Role, Epoch, u64)> {
        self.store.iter().map(|(id, s)| (id, s.role, s.epoch, s.version))
    }

    /// A view was installed.
    pub(crate) fn installed(&mut self, now: Time, view: &Arc<View>, me: Index) {
        // Whether this member acts in it is known at the end of the turn.
        (self.now, self.primary, self.touched) = (now, false, true);
        let before = self.view.replace(Arc::clone(view));
        self.me = me;
        self.store.enter_view(view.id.number);
        // A witness holds no sessions: to them it is not there.
        let holds = |m: &&MemberInfo| !m.witness || self.plants.has(Plant::CopyToWitness);
        self.present = view.members.iter().filter(holds).map(|m| (m.incarnation.into(), m.incarnation)).collect();
        let present = |i: Incarnation| view.index_of(i).is_some();
        self.full.retain(|i, _| present(*i));
        self.retiring.retain(|i| present(*i));
        self.rank_partners();
        for streams in [&mut self.frames, &mut self.objections] {
            streams.keep_only(present);
            streams.retry_now(now);
        }
        self.follow_departures(before.as_deref(), view);
        self.tell_newcomers(before.as_deref(), view);
        let lost = before.is_some_and(|b| b.members.iter().any(|m| !present(m.incarnation)));
        self.restoring.view_changed(now, lost);
        self.lose_members();
        self.take_early_gifts();
        let ids: Vec<SessionId> = self.active.ids().collect();
        for id in ids {
            if let Some(active) = self.active.get_mut(&id) {
                active.wanted.retain(|(who, _)| present(*who));
                active.lookers.retain(|(who, _)| present(*who));
            }
            self.search_again(id);
            self.advance(id);
        }
    }

    /// What was on its way to members that are gone comes to its end here.
    fn lose_members(&mut self) {
        let Some(view) = self.view.clone() else { return };
        let gone: Vec<Incarnation> = self.outlets.keys().copied().filter(|i| view.index_of(*i).is_none()).collect();
        for peer in gone {
            let steps = self.outlets.remove(&peer).unwrap_or_default().steps;
            self.outbound.remove(&peer);
            self.busy.remove(&peer);
            for (_, step) in steps {
                self.step_lost(peer, step);
            }
        }
    }

    /// This member was removed, and joins again as somebody else: what it held are copies of another life, and nothing that was
    /// begun is known to be done.
    pub(crate) fn expelled(&mut self, now: Time, incarnation: Incarnation) {
        self.now = now;
        let past = Past::of(self);
        for (id, active) in std::mem::take(&mut self.active).into_all() {
            active.begun.iter().for_each(|begun| self.answer_begun(id, begun, Code::OutcomeUnknown));
            active.waiting.iter().for_each(|w| self.answer(w.request.number, id, Code::NotPrimary));
            active.ending.iter().for_each(|e| self.answer(e.number, id, Code::OutcomeUnknown));
        }
        let window = self.frames.window();
        let mut fresh = Sessions::new(self.rules.clone(), (self.plants, self.marks.clone()), incarnation, window);
        fresh.events = std::mem::take(&mut self.events);
        fresh.store = std::mem::take(&mut self.store);
        fresh.store.orphan(fresh.tag, self.seconds());
        self.marks.reach_if(!fresh.store.is_empty(), Mark::SessionOrphaned);
        fresh.past = past;
        *self = fresh;
    }

    /// The member has ended: whatever waits is answered.
    pub(crate) fn end(&mut self) {
        for (id, active) in std::mem::take(&mut self.active).into_all() {
            active.begun.iter().for_each(|begun| self.answer_begun(id, begun, Code::OutcomeUnknown));
            active.waiting.iter().for_each(|w| self.answer(w.request.number, id, Code::Closed));
            active.ending.iter().for_each(|e| self.answer(e.number, id, Code::OutcomeUnknown));
        }
    }

    /// Whether a turn would do nothing: nothing came, nothing waits, and no time has passed that somebody waited for.
    pub(crate) fn is_at_rest(&self, now: Time, primary: bool) -> bool {
        let arrived = self.frames.has_arrivals() || self.objections.has_arrivals();
        let leaves = !(self.outbound.is_empty() && self.events.is_empty() && self.faulty.is_empty());
        !(self.touched || arrived || leaves) && self.primary == primary && now < self.deadline()
    }

    /// One turn: takes what has come, and goes on where time has passed. `lapsed`: this member had every chance to get a lease.
    pub(crate) fn turn(&mut self, now: Time, primary: bool, lapsed: bool) {
        (self.now, self.touched) = (now, false);
        let before = std::mem::replace(&mut self.primary, primary);
        self.receive();
        if primary && !before {
            let ids: Vec<SessionId> = self.active.ids().collect();
            ids.into_iter().for_each(|id| self.advance(id));
        }
        if self.view.is_some() && !self.store.is_empty() {
            self.restoring.begin(now);
        }
        self.restore();
        if now >= self.review_at {
            self.review(lapsed);
        }
    }

    /// When to come back at the latest.
    pub(crate) fn deadline(&self) -> Time {
        self.review_at.min(self.restoring.deadline()).min(self.next_transmission())
    }

    /// Events for the host, in order.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Who sent what is no frame, since the last look.
    pub(crate) fn take_faulty(&mut self) -> Vec<(Incarnation, &'static str)> {
        std::mem::take(&mut self.faulty)
    }

    /// Tells what this member has of a session.
    fn tell(&mut self, to: Incarnation, question: &Question) {
        if self.outlets.get(&to).is_some_and(|outlet| outlet.queue.bytes() > QUESTIONS_BYTES) {
            return;
        }
        self.settle(question.id);
        let given = self.active.get(&question.id).and_then(|a| a.given);
        let held = self.store.get(question.id).map(|s| (s.role, s.epoch, s.version));
        let (role, epoch, version) = held.unwrap_or((Role::None, Epoch::default(), self.store.forgotten()));
        let owner = given.map_or(epoch.owner, |(to, _)| to.into());
        let (&Question { id, asked }, lives) = (question, self.past.lives());
        let nobody = (MemberTag::NONE, MemberTag::NONE);
        let (epoch, (was, others)) = match (role, self.store.had(id)) {
            (Role::Orphan, _) => (epoch, self.past.orphan(id)),
            (Role::None, Some(had)) => (had, (self.tag, nobody)),
            _ => (epoch, (MemberTag::NONE, nobody)),
        };
        let here = Here { id, asked, role, epoch, version, owner, was, others, lives };
        self.send(to, &Frame::Here(here), None);
    }

    /// Whether a member is in the view, by its tag.
    fn present(&self, tag: MemberTag) -> Option<Incarnation> {
        self.present.get(&tag).copied()
    }

    fn view_number(&self) -> u64 {
        self.view.as_ref().map_or(0, |v| v.id.number)
    }

    fn seconds(&self) -> u32 {
        (self.now.0 / 1_000_000).min(u64::from(u32::MAX)) as u32
    }

    /// Goes on with a session as far as it can go now.
    fn advance(&mut self, id: SessionId) {
        self.active.turn_to(id);
        self.settle(id);
        match self.store.role(id) {
            Role::Primary => self.serve(id),
            Role::Claimant => {}
            Role::None | Role::Secondary | Role::Given | Role::Orphan => {
                self.turn_away(id);
                self.look_for(id);
            }
        }
        self.active.leave_if_idle(id);
    }
}
