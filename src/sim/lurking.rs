//! A crash that waits for its moment: a view that ends, one that was just installed, or a session that changes hands. By chance alone
//! processes die seldom in these milliseconds, in which most is at stake.

use super::drill::newest_view;
use super::faults::FaultKind;
use super::mischief::{absence, later, victim};
use super::random::Random;
use super::world::World;
use crate::core::Event;
use crate::wire::session::Role;

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// A member takes no more part in its view, because a change of it has begun.
    Ending,
    /// A member installs a view.
    Installed,
    /// A member claims a session: it was given to it, or its owner is gone.
    Claimed,
}

/// A crash that waits.
#[derive(Clone, Debug)]
pub(crate) struct Lurking {
    moment: Moment,
    random: Random,
}

/// Begins to wait.
pub(super) fn lurk(world: &mut World, random: &mut Random) {
    let moments = [Moment::Ending, Moment::Installed, Moment::Claimed];
    let moments = if world.visitors.is_empty() { &moments[..2] } else { &moments };
    world.lurking = Some(Lurking { moment: *random.pick(moments), random: random.fork() });
}

impl World {
    /// A host is shown an event: perhaps it is the moment.
    pub(super) fn spring_at_event(&mut self, node: usize, event: &Event) {
        let moment = match event {
            Event::Transition { .. } => Moment::Ending,
            Event::View(_) => Moment::Installed,
            _ => return,
        };
        self.spring(node, moment);
    }

    /// A member has ended a turn: perhaps it has begun to claim a session.
    pub(super) fn spring_at_claim(&mut self, node: usize) {
        let waits = self.lurking.as_ref().is_some_and(|lurking| lurking.moment == Moment::Claimed);
        let claims = |node: usize| {
            self.nodes[node].member().is_some_and(|m| m.sessions_held().any(|(_, role, ..)| role == Role::Claimant))
        };
        if waits && claims(node) {
            self.spring(node, Moment::Claimed);
        }
    }

    /// Somebody dies at once or within the next milliseconds: who is in the middle of it, the coordinator, or anybody.
    fn spring(&mut self, node: usize, moment: Moment) {
        let Some(Lurking { mut random, .. }) = self.lurking.take_if(|lurking| lurking.moment == moment) else { return };
        if self.calm {
            return;
        }
        let coordinator = newest_view(self).map(|(view, nodes)| nodes[view.coordinator()]);
        let dies = match random.below(3) {
            0 => Some(node),
            1 => coordinator,
            _ => victim(self, &mut random),
        };
        let Some(dies) = dies else { return };
        let soon = *random.pick(&[0, 0, 300, 2_000, 15_000]);
        later(self, random.between(0, soon), move |world| {
            if world.node(dies).is_running() {
                world.faults.note(FaultKind::CrashInChange);
                world.crash(dies);
                later(world, absence(&mut random), move |world| world.start(dies));
            }
        });
    }
}
