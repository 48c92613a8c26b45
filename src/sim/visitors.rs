//! Visitors of the hosts: each has a session, finds it again through any member, and counts its visits in it.

use super::check::{Before, Circumstances, Guarantee, holds};
use super::node::State;
use super::random::Random;
use super::world::World;
use crate::core::{Member, SessionAnswer, SessionOp, SessionRequest};
use crate::types::{Code, Epoch, MemberTag, SessionId, millis};
use crate::wire::session::{Attributes, Role};

/// The attribute that counts, and one that makes sessions larger.
const COUNT: &str = "visits";
const PAYLOAD: &str = "cart";
/// A request without an answer for so many times its timeout is one that nobody will ever answer.
const PATIENCE: u64 = 3;

/// What a visitor waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Create,
    Read,
    /// A visit that makes the counter this.
    Visit(u64),
}

/// A request under way.
#[derive(Clone, Debug)]
struct Pending {
    number: u64,
    node: usize,
    life: u32,
    asked: Asked,
    since: u64,
    before: Before,
}

/// Somebody with a cookie. Two of them may share one session, as two windows of one browser do.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    random: Random,
    every_us: u64,
    sticky: bool,
    id: SessionId,
    holders: [MemberTag; 2],
    /// Nothing has happened to the session that the cookie does not know of, as far as this visitor can tell.
    current: bool,
    /// The session was made, or its making was answered with what may mean that it was.
    made: bool,
    node: usize,
    pending: Option<Pending>,
    /// A visit whose outcome is unknown: token, version at which it was to be made, and the counter that it makes.
    unsure: Option<(u64, u64, u64)>,
    last_token: u64,
    shares: Option<usize>,
}

impl World {
    /// Visitors who are added from now on come every few milliseconds, each time to another host, and half of them share a session.
    pub(super) fn hurry_visitors(&mut self) {
        self.visitors_hurry = true;
    }

    /// Adds `count` visitors; some share the session of the one before.
    pub(super) fn add_visitors(&mut self, count: usize, random: &mut Random) {
        for at in 0..count {
            let shared = if self.visitors_hurry { 500 } else { 150 };
            let shares = (at > 0 && random.chance(shared))
                .then(|| at - 1)
                .filter(|other| self.visitors[*other].shares.is_none());
            let id = shares.map_or_else(|| SessionId(random.wide()), |other| self.visitors[other].id);
            let mut own = random.fork();
            let (mut every_us, mut sticky) = (own.between(10_000, 800_000), own.chance(400));
            if self.visitors_hurry {
                (every_us, sticky) = (every_us / 200, false);
            }
            self.visitors.push(Visitor {
                random: own,
                every_us,
                sticky,
                id,
                holders: [MemberTag::NONE; 2],
                current: true,
                made: false,
                node: 0,
                pending: None,
                unsure: None,
                last_token: 0,
                shares,
            });
            let begin = random.between(1_000_000, 5_000_000);
            self.after(begin, move |world| world.visit(at));
        }
    }

    /// A visitor's next step, again and again.
    fn visit(&mut self, at: usize) {
        if self.visitors_gone {
            return;
        }
        self.next_step(at);
        let visitor = &mut self.visitors[at];
        let pause = visitor.random.between(visitor.every_us / 4, visitor.every_us * 2);
        self.after(pause, move |world| world.visit(at));
    }

    fn next_step(&mut self, at: usize) {
        if let Some(pending) = self.visitors[at].pending.clone() {
            return self.wait_on(at, &pending);
        }
        let visitor = &mut self.visitors[at];
        let stays = visitor.sticky && visitor.random.chance(900);
        if !stays {
            visitor.node = visitor.random.below(self.nodes.len() as u64) as usize;
        }
        let shared = visitor.shares;
        if let Some(other) = shared {
            if !self.visitors[other].made {
                return;
            }
            let id = self.visitors[other].id;
            self.visitors[at].id = id;
            self.visitors[at].made = true;
        }
        let visitor = &self.visitors[at];
        let op = match (visitor.made, visitor.unsure) {
            (false, _) => {
                let cart = vec![7; 16 + self.visitors[at].random.below(3_000) as usize];
                let attributes = Attributes::new([(COUNT, &0u64.to_le_bytes()[..]), (PAYLOAD, &cart)]);
                (SessionOp::Create { ttl_s: 0, attributes }, Asked::Create)
            }
            (true, Some((token, version, count))) => (add_one(token, version, count), Asked::Visit(count)),
            (true, None) if self.visitors[at].random.chance(150) => (SessionOp::Peek, Asked::Read),
            (true, None) => (SessionOp::Read, Asked::Read),
        };
        self.ask(at, op.0, op.1);
    }

    fn ask(&mut self, at: usize, op: SessionOp, asked: Asked) {
        let node = self.visitors[at].node;
        let slot = &self.nodes[node];
        // Who has not taken earlier answers is refused (`runtime::desk`).
        if slot.state != State::Running || slot.unconsumed >= slot.setup.receive_queue_bytes {
            return;
        }
        self.requests += 1;
        let number = self.requests;
        let Visitor { id, holders, .. } = self.visitors[at];
        let code = self.nodes[node].outbox.ask(SessionRequest { number, id, holders, op: op.clone() });
        if code != Code::Ok {
            return;
        }
        self.trace.line(self.now, || format!("visitor {at} asks n{node} ({number}): {asked:?} of {id:?}"));
        if matches!(asked, Asked::Visit(_)) && self.visitors[at].unsure.is_none() {
            self.ledger.sessions.begin_visit(id);
        }
        if let (Asked::Visit(count), SessionOp::Write { token, if_version, .. }) = (asked, &op) {
            self.visitors[at].unsure = Some((*token, *if_version, count));
        }
        // Somebody else's cookie of the same session is out of date from now on.
        let others = self.visitors.iter_mut().enumerate().filter(|(other, v)| *other != at && v.id == id);
        others.for_each(|(_, other)| other.current = false);
        let before = self.ledger.sessions.before(id);
        let life = self.nodes[node].life;
        self.visitors[at].pending = Some(Pending { number, node, life, asked, since: self.now, before });
        self.settle(node);
    }

    /// A request that was not answered yet: its member may be gone, and then it never will be.
    fn wait_on(&mut self, at: usize, pending: &Pending) {
        let slot = &self.nodes[pending.node];
        if slot.life != pending.life || slot.state == State::Down {
            return self.unanswered(at, pending.asked);
        }
        let bound = slot.setup.sessions.timeout * PATIENCE;
        let hears = slot.state == State::Running && slot.polling && self.now > slot.disturbed_at + bound;
        let overdue = hears && self.now > pending.since + bound;
        self.ledger.check(Guarantee::S4, !overdue, || {
            format!(
                "request {} at n{} is not answered for {} ms",
                pending.number,
                pending.node,
                (self.now - pending.since) / 1_000
            )
        });
        if overdue {
            self.visitors[at].pending = None;
        }
    }

    /// The outcome is unknown: a visit will be repeated with its token, a making is given up.
    fn unanswered(&mut self, at: usize, asked: Asked) {
        let visitor = &mut self.visitors[at];
        visitor.pending = None;
        visitor.current = false;
        if asked == Asked::Create {
            visitor.id = SessionId(visitor.random.wide());
        }
    }

    /// A host got an answer about a session.
    pub(super) fn session_answer(&mut self, node: usize, answer: &SessionAnswer) {
        let waits = |v: &Visitor| v.pending.as_ref().is_some_and(|p| p.number == answer.number);
        let Some(at) = self.visitors.iter().position(waits) else { return };
        let pending = self.visitors[at].pending.take().expect("it waits");
        self.trace.line(self.now, || {
            let SessionAnswer { number, code, version, epoch, .. } = answer;
            format!("n{node} answers {number}: {code:?}, version {version} in {epoch:?}")
        });
        self.trace.word(answer.code as i32 as u64 ^ answer.version);
        let how = Circumstances {
            fenced: self.view(node).is_some_and(|view| view.fenced),
            acting: self.acts_or_did(node),
            holders: self.holders_of(answer.id, answer.version, answer.epoch),
            asynchronous: self.nodes[node].setup.sessions.asynchronous.is_some(),
            owner_gone: self.owner_is_gone(node, answer.id),
        };
        self.check_lag(node);
        if answer.holders[0].is_some() {
            self.visitors[at].holders = answer.holders;
            self.visitors[at].current = true;
        }
        match (pending.asked, answer.code) {
            (Asked::Create, Code::Ok | Code::Unreplicated) => {
                self.visitors[at].made = true;
                self.ledger.session_made(answer, &how);
            }
            (Asked::Read, Code::Ok) => self.counted(at, answer, pending.before, &how),
            (Asked::Visit(_), Code::Ok | Code::Unreplicated) => {
                let repeated =
                    self.visitors[at].unsure.take().is_some_and(|(_, version, _)| answer.version != version + 1);
                self.ledger.session_visited(answer, &how, repeated);
            }
            (Asked::Visit(_), Code::VersionConflict) => {
                // Somebody else was there first: this visit was not made, and never will be.
                self.visitors[at].unsure = None;
                self.ledger.sessions.visit_refused(answer.id);
            }
            // Nobody can say any more whether it was made.
            (Asked::Visit(_), Code::TokenExpired) => self.visitors[at].unsure = None,
            (asked, Code::OutcomeUnknown) => self.unanswered(at, asked),
            (_, Code::NoSuchSession) => self.denied(at, answer.id, &how),
            _ => {}
        }
    }

    fn denied(&mut self, at: usize, id: SessionId, how: &Circumstances) {
        let current = self.visitors[at].current && self.visitors[at].holders[0].is_some();
        self.ledger.session_denied(id, current, how);
        // It begins anew.
        let lost = self.ledger.sessions.get(id).is_none_or(|h| h.lost);
        if lost && self.visitors[at].shares.is_none() {
            let visitor = &mut self.visitors[at];
            visitor.id = SessionId(visitor.random.wide());
            (visitor.made, visitor.unsure, visitor.holders) = (false, None, [MemberTag::NONE; 2]);
        }
    }

    /// A visitor sees its counter, and adds one.
    fn counted(&mut self, at: usize, answer: &SessionAnswer, before: Before, how: &Circumstances) {
        let shown = answer.attributes.as_ref().and_then(|a| a.get(COUNT)).and_then(|raw| raw.try_into().ok());
        let count = shown.map_or(0, u64::from_le_bytes);
        self.ledger.check(Guarantee::S1, shown.is_some(), || format!("{:?} has lost its counter", answer.id));
        self.ledger.session_read(answer, count, before, how);
        if self.visitors_gone || self.visitors[at].unsure.is_some() {
            return;
        }
        self.tokens += 1;
        self.visitors[at].last_token = self.tokens;
        let (token, version) = (self.tokens, answer.version);
        self.after(0, move |world| {
            if world.visitors[at].pending.is_none() && world.visitors[at].unsure.is_none() {
                world.ask(at, add_one(token, version, count + 1), Asked::Visit(count + 1));
            }
        });
    }

    /// The last visits are over: what everybody has must be even, and each visitor looks at its session once more.
    pub(super) fn end_visits(&mut self) {
        self.visitors_gone = true;
        if self.visitors.is_empty() {
            return;
        }
        self.run_for(millis(3_000));
        self.check_sessions_at_rest();
        for at in 0..self.visitors.len() {
            if self.visitors[at].made && self.visitors[at].pending.is_none() {
                self.visitors[at].unsure = None;
                self.next_step(at);
            }
        }
        // A lease may have run out in between, where heartbeats are rare.
        let patience = self.nodes.iter().map(|slot| slot.setup.heartbeat * 3).max().unwrap_or(0);
        self.run_for(patience.max(millis(3_000)));
        self.check_sessions_at_rest();
        let living = self.ledger.sessions.living();
        for at in 0..self.visitors.len() {
            let Visitor { id, made, pending, .. } = &self.visitors[at];
            let (waits, text) =
                (pending.is_some() && *made && living.contains(id), format!("{id:?} cannot be read: {pending:?}"));
            self.ledger.check(Guarantee::S4, !waits, || text);
        }
    }

    /// Whether the member that answered for a session last is not in this one's view.
    fn owner_is_gone(&self, node: usize, id: SessionId) -> bool {
        let owner = self.ledger.sessions.owner(id);
        let here = |view: &std::sync::Arc<crate::types::View>| {
            view.members.iter().any(|member| MemberTag::from(member.incarnation) == owner)
        };
        !self.view(node).is_some_and(here)
    }

    /// What a member has answered for early is within its bounds, as far as it says itself.
    fn check_lag(&mut self, node: usize) {
        let slot = &self.nodes[node];
        let (Some(bounds), Some(member)) = (slot.setup.sessions.asynchronous, slot.member.as_deref()) else { return };
        let counts = member.session_counts();
        let holds = counts.lag_bytes <= bounds.window_bytes as u64;
        self.ledger.check(Guarantee::S2, holds, || {
            format!(
                "n{node} has answered for {} bytes that nobody else has, of {}",
                counts.lag_bytes, bounds.window_bytes
            )
        });
    }

    /// Whether a member acts in the primary view, or did at the end of one of its last turns: it may have stopped after it answered.
    fn acts_or_did(&self, node: usize) -> bool {
        let slot = &self.nodes[node];
        let acts = slot.member().is_some_and(|member| member.is_primary(slot.clock(self.now)));
        acts || slot.acted_at.is_some_and(|at| self.now - at <= slot.setup.heartbeat)
    }

    /// Processes that hold what was answered for, or something later.
    fn holders_of(&self, id: SessionId, version: u64, epoch: Epoch) -> usize {
        self.nodes.iter().filter_map(|slot| slot.member.as_deref()).filter(|m| holds(m, id, version, epoch)).count()
    }

    /// A process is about to end, or to forget what it holds: what nobody else holds is lost, and nobody is to blame.
    pub(super) fn note_lost_sessions(&mut self, node: usize) {
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != node);
        let others: Vec<&Member> = others.filter_map(|(_, slot)| slot.member.as_deref()).collect();
        let Some(gone) = self.nodes[node].member.as_deref() else { return };
        for id in self.ledger.sessions.process_ends(gone, &others) {
            self.trace.line(self.now, || format!("n{node} had the only copy of {id:?}"));
        }
    }

    /// A member has left in order, and not because its time was over: whoever stays in its view has all that it held.
    pub(super) fn check_handed_over(&mut self, node: usize) {
        let slot = &self.nodes[node];
        let (Some(since), Some(member)) = (slot.leaving, slot.member.as_deref()) else { return };
        let Some(view) = self.view(node) else { return };
        let stays = |other: &crate::types::MemberInfo| {
            let other = self.node_of(other.incarnation).filter(|_| !other.witness);
            other.is_some_and(|other| other != node && self.nodes[other].leaving.is_none())
        };
        if self.now - since >= slot.setup.leave_timeout / 2 || !view.members.iter().any(stays) {
            return;
        }
        let left: Vec<SessionId> =
            member.sessions_held().filter(|(_, role, ..)| *role != Role::Orphan).map(|(id, ..)| id).collect();
        self.ledger.check(Guarantee::S6, left.is_empty(), || format!("n{node} has left, and {left:?} went with it"));
    }

    /// All is quiet: each session has one owner and one other holder, at the same version; and is what it should be.
    pub(super) fn check_sessions_at_rest(&mut self) {
        let members = self.nodes.iter().filter(|slot| slot.state == State::Running && !slot.setup.witness).count();
        for id in self.ledger.sessions.living() {
            let mut holders = Vec::new();
            for (node, slot) in self.nodes.iter().enumerate() {
                let Some(member) = slot.member.as_deref().filter(|_| slot.state == State::Running) else { continue };
                holders.extend(
                    member
                        .sessions_held()
                        .filter(|(held, ..)| *held == id)
                        .map(|(_, role, epoch, at)| (node, role, epoch, at)),
                );
            }
            let owners = holders.iter().filter(|(_, role, ..)| *role == Role::Primary).count();
            let even = holders.windows(2).all(|w| (w[0].2, w[0].3) == (w[1].2, w[1].3));
            // With little memory there may be no room for a second copy.
            let tight = self.nodes[0].setup.sessions.memory_bytes < 1_000_000;
            let copies = holders.len() == members.min(2) || (tight && holders.len() == 1);
            // Copies from other lives, where nobody is left who remembers whether others went on: they are left alone.
            let alone = !holders.is_empty() && holders.iter().all(|(_, role, ..)| *role == Role::Orphan);
            let fine = (owners == 1 && copies && even) || alone;
            let names: Vec<String> =
                holders.iter().map(|(node, role, epoch, at)| format!("n{node} {role:?} {epoch:?} {at}")).collect();
            self.ledger.session_at_rest(id, &names, fine);
        }
    }
}

fn add_one(token: u64, if_version: u64, count: u64) -> SessionOp {
    let sets = Attributes::new([(COUNT, &count.to_le_bytes()[..])]);
    SessionOp::Write { token, if_version, whole: false, sets, removes: Attributes::default() }
}
