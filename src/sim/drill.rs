//! Drills: short sequences of faults that chance alone puts together too seldom. Some seeds have one; until it is over, nothing
//! else disturbs the cluster, so that what is seen has one cause.

use std::ops::Range;

use super::faults::FaultKind;
use super::load::Load;
use super::network::Conditions;
use super::random::Random;
use super::swarm::Profile;
use super::world::World;
use crate::core::{MinorityPolicy, ReadyPolicy, Setup};
use crate::types::{Micros, Name, View, millis};
use crate::wire::session::Role;

/// Seeds of a thousand that begin with a drill.
const SHARE: u32 = 150;
/// Seeds of a thousand, among the others, that begin with the last voter.
const LAST_VOTER_SHARE: u32 = 25;
/// Keeps these draws apart from all others of the seed.
const SALT: u64 = 0xd255;
const LAST_VOTER_SALT: u64 = 0x6c61_7374;
/// When a drill begins, and when the last one is over.
const BEGIN: Micros = millis(6_000);
pub(super) const END: Micros = millis(30_000);

/// Under load without pauses, all members together send once in so long on average.
const BUSY_EVERY_US: u64 = 2_000;

/// One kind of drill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Drill {
    /// A leader and one of its members do not hear each other for a little longer than the bearable silence.
    LoneAccuser,
    /// One member does not hear the coordinator, which hears it: for long.
    DeafMember,
    /// A member hears nobody of its group, but the coordinator; it is cut off from all when it is removed for that.
    DeafGroup,
    /// Most voters crash, and come back where the one that stayed cannot see it.
    Comeback,
    /// The coordinator is cut off at the moment at which it installs a view: nobody else has heard of the decision.
    LoneDecision,
    /// Under a load without pauses one leader after the other dies and comes back.
    BusyChanges,
    /// A joiner that is not ready stands still again and again, for less than the bearable silence.
    StumblingJoiner,
    /// A member leaves and hears nobody meanwhile, and one whose sessions it holds copies of crashes.
    DeafLeaver,
    /// Of three voters two crash that upheld the lease of a coordinator which is none; the third one, which hears only them, is left.
    LastVoter,
}

impl Drill {
    /// Those that are drawn with equal chances.
    const ALL: [Drill; 8] = [
        Drill::LoneAccuser,
        Drill::DeafMember,
        Drill::DeafGroup,
        Drill::Comeback,
        Drill::LoneDecision,
        Drill::BusyChanges,
        Drill::StumblingJoiner,
        Drill::DeafLeaver,
    ];

    /// The drill of a seed, if it has one.
    pub fn of(seed: u64, profile: &Profile) -> Option<Drill> {
        let mut random = Random::new(seed ^ SALT);
        let last_voter = || Random::new(seed ^ LAST_VOTER_SALT).chance(LAST_VOTER_SHARE).then_some(Drill::LastVoter);
        let drawn = if random.chance(SHARE) { Some(*random.pick(&Drill::ALL)) } else { last_voter() };
        drawn.filter(|_| profile.name == "lan")
    }

    /// How many members it needs.
    pub fn least_members(self) -> usize {
        match self {
            Drill::DeafGroup => 5,
            Drill::DeafLeaver
            | Drill::LoneDecision
            | Drill::BusyChanges
            | Drill::StumblingJoiner
            | Drill::LastVoter => 4,
            _ => 3,
        }
    }

    /// What the network must be like.
    pub fn adjust_conditions(self, conditions: &mut Conditions) {
        if matches!(self, Drill::LoneAccuser | Drill::DeafGroup | Drill::StumblingJoiner | Drill::LastVoter) {
            conditions.loss = 0;
        }
    }

    /// What all members must have in common.
    pub fn adjust(self, setup: &mut Setup) {
        let vote = |setup: &mut Setup, voters: Range<usize>| {
            setup.voters = voters.map(|n| Name::new(&format!("n{n}"))).collect();
            setup.minority = MinorityPolicy::ReadOnly;
        };
        match self {
            Drill::LoneAccuser | Drill::DeafMember | Drill::BusyChanges => {}
            Drill::DeafGroup => {
                setup.group_size = 2 + setup.group_size % 2;
                vote(setup, 0..3);
            }
            Drill::Comeback => {
                setup.refusal_proves_death = true;
                vote(setup, 0..3);
            }
            Drill::LastVoter => {
                setup.refusal_proves_death = true;
                vote(setup, 1..4);
            }
            Drill::LoneDecision | Drill::DeafLeaver => vote(setup, 0..3),
            Drill::StumblingJoiner => setup.stable_events = true,
        }
    }

    /// Whether the drill itself starts the last node.
    pub fn starts_last(self) -> bool {
        self == Drill::StumblingJoiner
    }

    /// Schedules it. The nodes are there; none is started.
    pub fn unleash(self, world: &mut World) {
        for node in 0..world.nodes.len() {
            world.nodes[node].lag_us = 0;
        }
        if self == Drill::StumblingJoiner {
            return stumble(world);
        }
        world.after(BEGIN, move |world| match self {
            Drill::LoneAccuser => lone_accuser(world),
            Drill::DeafMember => deaf_member(world),
            Drill::DeafGroup => deaf_group(world),
            Drill::Comeback => comeback(world),
            Drill::LoneDecision => lone_decision(world),
            Drill::BusyChanges => busy_changes(world),
            Drill::DeafLeaver => deaf_leaver(world),
            Drill::LastVoter => last_voter(world),
            Drill::StumblingJoiner => {}
        });
    }
}

/// The newest view of all, and the node of each of its members.
pub(super) fn newest_view(world: &World) -> Option<(View, Vec<usize>)> {
    let views = (0..world.nodes.len()).filter_map(|node| world.view(node));
    let view = View::clone(views.max_by_key(|view| view.id)?);
    let node_of = |name: &Name| world.nodes.iter().position(|slot| slot.setup.name == *name);
    let nodes = view.members.iter().map(|member| node_of(&member.name)).collect::<Option<Vec<usize>>>()?;
    Some((view, nodes))
}

/// Cuts these directions, for so long.
fn cut_for(world: &mut World, kind: FaultKind, pairs: Vec<(usize, usize)>, span: Micros) {
    world.faults.note(kind);
    pairs.iter().for_each(|(from, to)| world.cut(*from, *to));
    world.after(span, move |world| pairs.iter().for_each(|(from, to)| world.mend(*from, *to)));
}

fn both_ways(a: usize, others: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    others.flat_map(|b| [(a, b), (b, a)]).collect()
}

fn lone_accuser(world: &mut World) {
    let Some((view, nodes)) = newest_view(world) else { return };
    let pairs = view.groups.iter().flat_map(|g| g.members.iter().skip(1).map(|member| (g.leader(), *member)));
    let pairs: Vec<(usize, usize)> = pairs.collect();
    if pairs.is_empty() {
        return;
    }
    let (leader, member) = *world.random.pick(&pairs);
    let span = millis(world.random.between(2_100, 2_500));
    cut_for(world, FaultKind::MissingLink, both_ways(nodes[leader], [nodes[member]].into_iter()), span);
}

fn deaf_member(world: &mut World) {
    let Some((view, nodes)) = newest_view(world) else { return };
    let coordinator = view.coordinator();
    let Some(member) = view.group(coordinator).members.iter().copied().rfind(|m| *m != coordinator) else {
        return;
    };
    cut_for(world, FaultKind::OneWay, vec![(nodes[coordinator], nodes[member])], millis(22_000));
}

fn deaf_group(world: &mut World) {
    let Some((view, nodes)) = newest_view(world) else { return };
    let mut others = view.groups.iter().filter(|group| group.leader() != view.coordinator());
    let Some(group) = others.rfind(|group| group.members.len() > 1) else { return };
    let member = *group.members.last().expect("it has more than one");
    let rest = group.members.iter().filter(|other| **other != member).map(|other| nodes[*other]);
    let rest = both_ways(nodes[member], rest);
    let member = nodes[member];
    cut_for(world, FaultKind::MissingLink, rest, millis(9_000));
    world.ambush = Some(Box::new(move |world, _| isolate(world, member)));
}

/// Cuts a node off from all others for a while.
pub(super) fn isolate(world: &mut World, node: usize) {
    let rest: Vec<usize> = (0..world.nodes.len()).filter(|other| *other != node).collect();
    world.split(&[&[node], &rest]);
    world.after(millis(8_000), move |world| world.heal(&[&[node], &rest]));
}

fn comeback(world: &mut World) {
    let Some((_, nodes)) = newest_view(world) else { return };
    let stays = world.random.below(3) as usize;
    let voters: Vec<usize> = (0..3).filter(|voter| *voter != stays).collect();
    let rest: Vec<usize> = nodes.into_iter().filter(|node| !voters.contains(node)).collect();
    voters.iter().for_each(|voter| world.crash(*voter));
    world.after(millis(5_000), move |world| {
        world.split(&[&voters, &rest]);
        for voter in voters.clone() {
            world.start(voter);
        }
        world.after(millis(8_000), move |world| world.heal(&[&voters, &rest]));
    });
}

/// Voters start again until somebody else coordinates; then it is played.
fn last_voter(world: &mut World) {
    const VOTERS: [usize; 3] = [1, 2, 3];
    let [one, other, last] = VOTERS;
    VOTERS.iter().for_each(|voter| world.start(*voter));
    let Some((view, nodes)) = newest_view(world) else { return };
    let coordinator = nodes[view.coordinator()];
    let all_there = VOTERS.iter().all(|voter| nodes.contains(voter));
    if world.now > millis(20_000) {
        return;
    }
    if !all_there || VOTERS.contains(&coordinator) {
        if all_there {
            world.crash(coordinator);
        }
        return world.after(millis(3_000), last_voter);
    }
    let others = (0..world.nodes.len()).filter(|node| !VOTERS.contains(node));
    cut_for(world, FaultKind::MissingLink, both_ways(last, others), millis(6_000));
    let die = millis(world.random.between(1_800, 2_950));
    world.after(die, move |world| [one, other].iter().for_each(|voter| world.crash(*voter)));
    world.after(millis(7_000), move |world| [one, other].iter().for_each(|voter| world.start(*voter)));
}

fn lone_decision(world: &mut World) {
    let Some((view, nodes)) = newest_view(world) else { return };
    let coordinator = nodes[view.coordinator()];
    let Some(last) = nodes.iter().copied().filter(|node| *node >= 3 && *node != coordinator).max() else { return };
    world.ambush = Some(Box::new(isolate));
    world.crash(last);
    world.after(millis(15_000), move |world| world.start(last));
}

fn busy_changes(world: &mut World) {
    let every_us = BUSY_EVERY_US * world.nodes.len() as u64;
    for node in 0..world.nodes.len() {
        let before = world.nodes[node].load;
        world.set_load(node, Some(Load { every_us, ..Load::STEADY }));
        world.after(millis(13_000), move |world| world.set_load(node, before));
    }
    for time in 0..4 {
        world.after(millis(1_000 + 3_000 * time), |world| {
            let Some((view, nodes)) = newest_view(world) else { return };
            let leader = nodes[world.random.pick(&view.groups).leader()];
            world.crash(leader);
            world.after(millis(1_000), move |world| world.start(leader));
        });
    }
}

/// A member that holds the second copy of a session, and its owner; any two if there is no session.
fn holder_and_owner(world: &mut World, nodes: &[usize]) -> Option<(usize, usize)> {
    let has = |node: &usize, role: Role| {
        let held = world.nodes[*node].member.as_deref().into_iter().flat_map(|member| member.sessions_held());
        held.filter(|(_, is, ..)| *is == role).map(|(id, ..)| id).collect::<Vec<_>>()
    };
    for owner in nodes {
        let owned = has(owner, Role::Primary);
        let holds = |node: &&usize| has(node, Role::Secondary).iter().any(|id| owned.contains(id));
        if let Some(holder) = nodes.iter().find(holds) {
            return Some((*holder, *owner));
        }
    }
    let first = world.random.below(nodes.len() as u64) as usize;
    (nodes.len() > 1).then(|| (nodes[first], nodes[(first + 1) % nodes.len()]))
}

fn deaf_leaver(world: &mut World) {
    for time in 0..3 {
        world.after(millis(6_000) * time, |world| {
            let Some((_, nodes)) = newest_view(world) else { return };
            let Some((leaver, dies)) = holder_and_owner(world, &nodes) else { return };
            let others: Vec<usize> = nodes.into_iter().filter(|node| *node != leaver).collect();
            world.leave(leaver);
            let deaf = others.iter().map(|other| (*other, leaver)).collect();
            cut_for(world, FaultKind::OneWay, deaf, millis(700));
            let later = world.random.between(50_000, 600_000);
            world.after(later, move |world| world.crash(dies));
            world.after(millis(3_500), move |world| [leaver, dies].iter().for_each(|node| world.start(*node)));
        });
    }
}

/// The last node comes late, needs long to be ready, and stands still now and then meanwhile.
fn stumble(world: &mut World) {
    let node = world.nodes.len() - 1;
    let slot = &mut world.nodes[node];
    slot.setup.ready = ReadyPolicy::Host;
    slot.ready_after_us = Some(millis(15_000));
    world.after(BEGIN, move |world| {
        world.faults.note(FaultKind::Join);
        world.start(node);
    });
    for time in 0..3 {
        world.after(BEGIN + millis(3_000) + millis(4_000) * time, move |world| {
            let life = world.nodes[node].life;
            world.pause(node);
            world.after(millis(1_300), move |world| {
                if world.nodes[node].life == life {
                    world.resume(node);
                }
            });
        });
    }
}
