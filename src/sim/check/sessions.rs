//! What visitors were told about their sessions, and what that must satisfy: S1, S3, S4, S5, S6.
//!
//! Every visit adds one to a counter in the session, only at the version that was read before, and with a token. So the counter is
//! the number of visits that were made: never less than those that were answered for, never more than those that may have been.

use std::collections::BTreeMap;

use super::{Guarantee, Ledger};
use crate::core::{Member, SessionAnswer};
use crate::types::{Code, Epoch, MemberTag, SessionId};

/// What is known of one session.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct History {
    /// Visits that were answered for, and those that may have been made or may still be.
    acked: u64,
    maybe: u64,
    /// The version of the last change that was answered for, and the newest epoch seen in an answer.
    version: u64,
    epoch: Epoch,
    /// The version that the last visit made which was answered for as the first of its token. A repeated one may be told of a
    /// later version.
    made: u64,
    /// The largest counter that a visitor was shown.
    shown: u64,
    /// The newest version that a process held which is gone: it was there when it was answered for.
    fallen: u64,
    /// Its making was answered for.
    exists: bool,
    /// Every holder of the newest version was lost at a time when nobody can be blamed for it.
    pub lost: bool,
    /// It was served in a view that is not fenced: S1 holds for what two members had, S3 and S5 do not (R21).
    unfenced: bool,
}

/// All sessions.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Histories {
    sessions: BTreeMap<SessionId, History>,
}

/// How an answer came about.
pub(crate) struct Circumstances {
    /// The view of the member that answered is fenced.
    pub fenced: bool,
    /// The member that answered acts in the primary view, or in one without fence.
    pub acting: bool,
    /// Processes that hold at least the version answered for.
    pub holders: usize,
    /// Changes are answered for before a second member has them.
    pub asynchronous: bool,
    /// Who answered for the session last is not in the view of the member that answered.
    pub owner_gone: bool,
}

/// What a visitor remembers of a read that it asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    /// The largest counter that was shown or answered for.
    acked: u64,
    version: u64,
}

impl Histories {
    pub fn get(&self, id: SessionId) -> Option<&History> {
        self.sessions.get(&id)
    }

    /// Sessions that were made and must still be there.
    pub fn living(&self) -> Vec<SessionId> {
        self.sessions.iter().filter(|(_, h)| h.exists && !h.lost).map(|(id, _)| *id).collect()
    }

    /// The last version that was answered for of each session that must be there, and in which epoch.
    pub fn owed(&self) -> impl Iterator<Item = (SessionId, u64, Epoch)> {
        self.sessions.iter().filter(|(_, h)| h.exists && !h.lost).map(|(id, h)| (*id, h.version, h.epoch))
    }

    /// All that could hold a session are gone, one after the other, before another copy could be made.
    fn lose(&mut self, id: SessionId) {
        self.sessions.entry(id).or_default().lost = true;
    }

    /// A process that held this is gone, or has forgotten it.
    pub fn fall(&mut self, id: SessionId, version: u64) {
        let history = self.sessions.entry(id).or_default();
        history.fallen = history.fallen.max(version);
    }

    /// A process ends, or forgets what it holds: what nobody else holds is lost, and nobody is to blame.
    pub fn process_ends(&mut self, gone: &Member, others: &[&Member]) -> Vec<SessionId> {
        gone.sessions_held().for_each(|(id, _, _, version)| self.fall(id, version));
        let owed: Vec<(SessionId, u64, Epoch)> = self.owed().collect();
        let kept =
            |(id, version, epoch): &(SessionId, u64, Epoch)| others.iter().any(|m| holds(m, *id, *version, *epoch));
        let lost: Vec<SessionId> = owed.iter().filter(|session| !kept(session)).map(|(id, ..)| *id).collect();
        lost.iter().for_each(|id| self.lose(*id));
        lost
    }

    /// A visit is on its way: it may be made from now on.
    pub fn begin_visit(&mut self, id: SessionId) {
        self.sessions.entry(id).or_default().maybe += 1;
    }

    /// A visit was refused for certain.
    pub fn visit_refused(&mut self, id: SessionId) {
        self.sessions.entry(id).or_default().maybe -= 1;
    }

    /// Who answered for it last.
    pub fn owner(&self, id: SessionId) -> MemberTag {
        self.sessions.get(&id).map_or(MemberTag::NONE, |history| history.epoch.owner)
    }

    pub fn before(&self, id: SessionId) -> Before {
        self.sessions
            .get(&id)
            .map_or_else(Before::default, |h| Before { acked: h.acked.max(h.shown), version: h.version })
    }
}

impl Ledger {
    /// A session was made.
    pub fn session_made(&mut self, answer: &SessionAnswer, how: &Circumstances) {
        self.check_copies(answer, how);
        let history = self.sessions.sessions.entry(answer.id).or_default();
        history.exists = true;
        history.unfenced |= !how.fenced;
        (history.version, history.made, history.epoch) = (answer.version, answer.version, answer.epoch);
    }

    /// A visit was answered for: it was made, once.
    pub fn session_visited(&mut self, answer: &SessionAnswer, how: &Circumstances, repeated: bool) {
        self.check_copies(answer, how);
        let history = self.sessions.sessions.entry(answer.id).or_default();
        history.maybe -= 1;
        history.acked += 1;
        history.unfenced |= !how.fenced;
        forgive_lag(history, answer, how);
        let (id, before) = (answer.id, history.clone());
        history.version = history.version.max(answer.version);
        if !repeated {
            history.made = history.made.max(answer.version);
        }
        history.epoch = history.epoch.max(answer.epoch);
        if before.unfenced || before.lost {
            return;
        }
        let newer = answer.version > before.made || repeated;
        self.check(Guarantee::S5, newer, || {
            format!("{id:?}: version {} is answered for, after version {} was", answer.version, before.made)
        });
        let epoch = answer.epoch >= before.epoch || repeated;
        self.check(Guarantee::S3, epoch, || {
            format!("{id:?}: answered for in {:?}, after it was in {:?}", answer.epoch, before.epoch)
        });
    }

    /// OK: a second member has it. UNREPLICATED: this one has.
    fn check_copies(&mut self, answer: &SessionAnswer, how: &Circumstances) {
        self.check(Guarantee::S5, how.acting, || {
            format!("{:?}: {:?} by a member that does not act in the primary view", answer.id, answer.code)
        });
        let needed = if answer.code == Code::Ok && !how.asynchronous { 2 } else { 1 };
        let fallen = self.sessions.get(answer.id).is_some_and(|h| h.fallen >= answer.version);
        let holders = how.holders + usize::from(fallen);
        self.check(Guarantee::S1, holders >= needed, || {
            let SessionAnswer { id, code, version, .. } = answer;
            format!("{id:?}: {code:?} for version {version}, which {holders} members hold")
        });
    }

    /// A visitor was shown its counter.
    pub fn session_read(&mut self, answer: &SessionAnswer, count: u64, before: Before, how: &Circumstances) {
        let history = self.sessions.sessions.entry(answer.id).or_default();
        history.unfenced |= !how.fenced;
        forgive_lag(history, answer, how);
        history.shown = history.shown.max(count);
        let (id, history) = (answer.id, history.clone());
        if history.unfenced || history.lost {
            return;
        }
        self.check(Guarantee::S1, count >= before.acked && answer.version >= before.version, || {
            let Before { acked, version } = before;
            format!(
                "{id:?}: shows {count} visits at version {}, {acked} up to {version} were shown or answered for",
                answer.version
            )
        });
        let most = history.acked + history.maybe;
        self.check(Guarantee::S4, count <= most, || {
            format!(
                "{id:?}: shows {count} visits, of which {} were answered for and {} may have been made",
                history.acked, history.maybe
            )
        });
    }

    /// A visitor was told that its session does not exist.
    pub fn session_denied(&mut self, id: SessionId, cookie_is_current: bool, how: &Circumstances) {
        let Some(history) = self.sessions.sessions.get_mut(&id) else { return };
        history.lost |= how.asynchronous && how.owner_gone;
        let owed = history.exists && !history.lost && !history.unfenced && cookie_is_current;
        self.check(Guarantee::S5, !owed, || format!("{id:?} is said not to exist"));
    }

    /// At the end, with all quiet: who holds a session is one owner and one other, at the same version.
    pub fn session_at_rest(&mut self, id: SessionId, holders: &[String], even: bool) {
        self.check(Guarantee::S6, even, || format!("{id:?} is held by {holders:?} when all is quiet"));
    }
}

/// Whether a member has a copy of a session that is as new as this, in this epoch or one that follows.
pub(crate) fn holds(member: &Member, id: SessionId, version: u64, epoch: Epoch) -> bool {
    member.sessions_held().any(|(held, _, in_epoch, at)| held == id && at >= version && in_epoch >= epoch)
}

/// In asynchronous mode, what a member answered for last may be lost with it.
fn forgive_lag(history: &mut History, answer: &SessionAnswer, how: &Circumstances) {
    history.lost |= how.asynchronous && how.owner_gone && answer.version <= history.version;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId(7);
    const FINE: Circumstances =
        Circumstances { fenced: true, acting: true, holders: 2, asynchronous: false, owner_gone: false };

    fn answer(code: Code, version: u64, counter: u32) -> SessionAnswer {
        let epoch = Epoch { view: 1, counter, owner: MemberTag(1) };
        SessionAnswer { number: 1, id: ID, code, epoch, version, holders: [MemberTag(1); 2], attributes: None }
    }

    /// A session that was made and visited once, by what is promised.
    fn visited() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.session_made(&answer(Code::Ok, 1, 1), &FINE);
        visit(&mut ledger, 2, 1, &FINE);
        assert_eq!(ledger.violations, []);
        ledger
    }

    fn visit(ledger: &mut Ledger, version: u64, counter: u32, how: &Circumstances) {
        ledger.sessions.begin_visit(ID);
        ledger.session_visited(&answer(Code::Ok, version, counter), how, false);
    }

    fn broken(ledger: &Ledger) -> Vec<Guarantee> {
        ledger.violations.iter().map(|violation| violation.guarantee).collect()
    }

    #[test]
    fn ok_for_what_one_member_holds_breaks_s1() {
        let mut ledger = visited();
        visit(&mut ledger, 3, 1, &Circumstances { holders: 1, ..FINE });
        assert_eq!(broken(&ledger), [Guarantee::S1]);
    }

    #[test]
    fn ok_for_what_a_member_held_that_is_gone_meanwhile_breaks_nothing() {
        let mut ledger = visited();
        ledger.sessions.fall(ID, 3);
        visit(&mut ledger, 3, 1, &Circumstances { holders: 1, ..FINE });
        assert_eq!(broken(&ledger), []);
    }

    #[test]
    fn a_read_that_lacks_a_visit_breaks_s1() {
        let mut ledger = visited();
        let before = ledger.sessions.before(ID);
        ledger.session_read(&answer(Code::Ok, 2, 1), 0, before, &FINE);
        assert_eq!(broken(&ledger), [Guarantee::S1]);
    }

    #[test]
    fn an_older_epoch_breaks_s3_and_a_visit_counted_twice_s4() {
        let mut ledger = visited();
        visit(&mut ledger, 3, 2, &FINE);
        visit(&mut ledger, 4, 1, &FINE);
        assert_eq!(broken(&ledger), [Guarantee::S3]);
        let before = ledger.sessions.before(ID);
        ledger.session_read(&answer(Code::Ok, 4, 2), 4, before, &FINE);
        assert_eq!(broken(&ledger), [Guarantee::S3, Guarantee::S4]);
    }

    #[test]
    fn two_answers_for_one_version_and_one_from_outside_break_s5() {
        let mut ledger = visited();
        visit(&mut ledger, 2, 1, &FINE);
        visit(&mut ledger, 3, 1, &Circumstances { acting: false, ..FINE });
        assert_eq!(broken(&ledger), [Guarantee::S5, Guarantee::S5]);
    }

    #[test]
    fn a_session_that_is_owed_and_denied_breaks_s5_and_one_that_was_lost_does_not() {
        let mut ledger = visited();
        ledger.session_denied(ID, false, &FINE);
        assert_eq!(broken(&ledger), [], "the cookie may be out of date");
        ledger.session_denied(ID, true, &FINE);
        assert_eq!(broken(&ledger), [Guarantee::S5]);
        ledger.sessions.lose(ID);
        ledger.session_denied(ID, true, &FINE);
        assert_eq!(broken(&ledger), [Guarantee::S5]);
    }

    #[test]
    fn in_asynchronous_mode_a_change_may_go_with_its_owner_and_not_otherwise() {
        let late = Circumstances { holders: 1, asynchronous: true, ..FINE };
        for owner_gone in [true, false] {
            let mut ledger = visited();
            visit(&mut ledger, 3, 1, &late);
            let before = ledger.sessions.before(ID);
            ledger.session_read(&answer(Code::Ok, 2, 2), 1, before, &Circumstances { owner_gone, ..late });
            assert_eq!(broken(&ledger).is_empty(), owner_gone);
        }
    }

    #[test]
    fn without_a_fence_two_may_answer() {
        let mut ledger = visited();
        let unfenced = Circumstances { fenced: false, ..FINE };
        visit(&mut ledger, 3, 1, &unfenced);
        visit(&mut ledger, 3, 1, &unfenced);
        assert_eq!(broken(&ledger), []);
    }
}
