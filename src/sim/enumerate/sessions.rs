//! One session in a small cluster: hosts change it, each once, and everybody reads it in the end.

use super::cluster::{Cluster, NODES};
use crate::core::{Member, SessionAnswer, SessionOp, SessionRequest};
use crate::sim::check::{Circumstances, Guarantee, holds};
use crate::types::{Code, MemberTag, SessionId, Time};
use crate::wire::session::{Attributes, Role};

/// Names that are tried for the session until chance puts its second copy where it is wanted.
const NAMES: u128 = 64;
/// Virtual time in which a request is answered once nothing is done to the cluster any more.
const ANSWER_US: u64 = 10_000_000;

/// What hosts have asked for, and what they were told.
#[derive(Clone, Hash, Debug)]
pub(super) struct Visits {
    id: SessionId,
    /// Hosts that wait for an answer.
    waiting: [bool; NODES],
    /// Changes that were answered for.
    acked: [bool; NODES],
    /// All changes have been made: hosts only look.
    reading: bool,
    /// What a host was shown at the end: the version, and who has made a change.
    shown: Option<(u64, [bool; NODES])>,
}

impl Cluster {
    /// A session that the first member owns and the second one holds a copy of. Each time from the cluster as it is now.
    pub fn with_session(&self) -> Cluster {
        let made = (1..=NAMES).map(|name| {
            let mut cluster = self.clone();
            let id = SessionId(name);
            let (waiting, acked) = ([false; NODES], [false; NODES]);
            cluster.visits = Some(Visits { id, waiting, acked, reading: false, shown: None });
            cluster.ask(0, SessionOp::Create { ttl_s: 0, attributes: Attributes::default() });
            cluster.run_until(cluster.now + ANSWER_US, |cluster| !cluster.awaits_answers());
            cluster
        });
        let second = |cluster: &Cluster| cluster.role(1) == Role::Secondary && cluster.role(0) == Role::Primary;
        made.into_iter().find(second).expect("chance is not that unkind")
    }

    fn role(&self, at: usize) -> Role {
        let held = self.member(at).and_then(|member| member.sessions_held().next());
        held.map_or(Role::None, |(_, role, ..)| role)
    }

    /// A host changes the session: it sets an attribute of its own.
    pub fn visit(&mut self, at: usize) {
        let Some(id) = self.visits.as_ref().map(|visits| visits.id) else { return };
        self.ledger().sessions.begin_visit(id);
        let sets = Attributes::new([(name(at).as_str(), &b"1"[..])]);
        let (token, removes) = (at as u64 + 1, Attributes::default());
        self.ask(at, SessionOp::Write { token, if_version: 0, whole: false, sets, removes });
    }

    fn ask(&mut self, at: usize, op: SessionOp) {
        let Some(visits) = &mut self.visits else { return };
        let request = SessionRequest { number: at as u64, id: visits.id, holders: [MemberTag::NONE; 2], op };
        let text = format!("n{at} asks: {:?}", request.op);
        let code = self.node(at).outbox.ask(request);
        if let Some(visits) = self.visits.as_mut().filter(|_| code == Code::Ok) {
            visits.waiting[at] = true;
        }
        self.tell(|| format!("{text}: {code:?}"));
        self.settle(at);
    }

    /// Whether a host whose process runs waits for an answer.
    pub fn awaits_answers(&self) -> bool {
        let waits = |at: usize| self.visits.as_ref().is_some_and(|visits| visits.waiting[at]);
        (0..NODES).any(|at| waits(at) && self.member(at).is_some())
    }

    /// A host got an answer.
    pub fn answered(&mut self, at: usize, answer: &SessionAnswer) {
        let holds_it = |m: &&Member| holds(m, answer.id, answer.version, answer.epoch);
        let how = Circumstances {
            fenced: true,
            acting: self.member(at).is_some_and(|member| member.is_primary(Time(self.now))),
            holders: (0..NODES).filter_map(|at| self.member(at)).filter(holds_it).count(),
            asynchronous: false,
            owner_gone: false,
        };
        let Some(visits) = &mut self.visits else { return };
        visits.waiting[at] = false;
        let done = matches!(answer.code, Code::Ok | Code::Unreplicated);
        if visits.reading {
            let made = |attributes: &Attributes| std::array::from_fn(|at| attributes.get(&name(at)).is_some());
            visits.shown = answer.attributes.as_ref().map(|attributes| (answer.version, made(attributes)));
            return;
        }
        if answer.version == 1 && done {
            return self.ledger().session_made(answer, &how);
        }
        visits.acked[at] |= done;
        match answer.code {
            _ if done => self.ledger().session_visited(answer, &how, false),
            Code::OutcomeUnknown => {}
            Code::NoSuchSession => self.ledger().session_denied(answer.id, true, &how),
            _ => self.ledger().sessions.visit_refused(answer.id),
        }
    }

    /// A process is about to end.
    pub fn note_lost_sessions(&mut self, at: usize) {
        let nodes = self.nodes.clone();
        let others = nodes.iter().enumerate().filter(|(other, _)| *other != at);
        let others: Vec<&Member> = others.filter_map(|(_, node)| node.member.as_deref()).collect();
        if let Some(gone) = nodes[at].member.as_deref().filter(|_| self.visits.is_some()) {
            self.ledger().sessions.process_ends(gone, &others);
        }
    }

    /// All is quiet: whoever runs reads the session, which shows every change that was answered for, each made once; and two
    /// members hold it.
    pub fn check_session_at_rest(&mut self) {
        let Some(id) = self.visits.as_ref().map(|visits| visits.id) else { return };
        let living: Vec<usize> = (0..NODES).filter(|at| self.member(*at).is_some()).collect();
        self.visits.iter_mut().for_each(|visits| visits.reading = true);
        for at in living.iter().copied() {
            self.ask(at, SessionOp::Read);
            let answered = self.run_until(self.now + ANSWER_US, |cluster| !cluster.awaits_answers());
            if !answered {
                return self.violate(Guarantee::S4, format!("n{at} is not answered"));
            }
            let visits = self.visits.as_mut().expect("looked at above");
            let (shown, acked) = (visits.shown.take(), visits.acked);
            if !self.ledger.sessions.living().contains(&id) {
                continue;
            }
            let Some((version, made)) = shown else {
                return self.violate(Guarantee::S1, format!("n{at} cannot read the session, which somebody holds"));
            };
            if acked.iter().zip(made).any(|(acked, made)| *acked && !made) {
                self.violate(Guarantee::S1, format!("{acked:?} were answered for, n{at} is shown {made:?}"));
            }
            if version != 1 + made.iter().filter(|made| **made).count() as u64 {
                self.violate(Guarantee::S4, format!("n{at} is shown {made:?} at version {version}"));
            }
        }
        let second = |cluster: &Cluster| living.iter().any(|at| cluster.role(*at) == Role::Secondary);
        let whole = living.len() < 2 || self.run_until(self.now + ANSWER_US, second);
        if !whole && self.ledger.sessions.living().contains(&id) {
            self.violate(Guarantee::S6, "there is no second copy".to_owned());
        }
    }
}

fn name(at: usize) -> String {
    format!("n{at}")
}
