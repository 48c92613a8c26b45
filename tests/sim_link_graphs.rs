//! Who is in the view when not every link works, in the simulator: members that hear nobody, parts that are cut off, parts that do
//! not know of each other's coordinator, and random graphs of links, also in one direction only (R15, V4, V7, V8).

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::available_parallelism;

use decurion::core::Event;
use decurion::sim::{Random, Settings, World};
use decurion::types::{Micros, View};

const SECOND: Micros = 1_000_000;
/// So many graphs are drawn, unless `DECURION_GRAPHS` says how many.
const GRAPHS: u64 = 200;
/// After this time the view is what the links allow, and stays so for that time.
const SETTLED: Micros = 30 * SECOND;
const LASTS: Micros = 10 * SECOND;
/// At most one of so many graphs has no primary view though some member could lead a majority.
const UNSERVED_PART: u64 = 20;

/// A formed cluster of `count` members that all vote, or none of them.
fn formed(seed: u64, count: usize, votes: bool, group_size: usize) -> World {
    let mut world = World::cluster(Settings::new(seed, count), count, if votes { count } else { 0 }, |_, setup| {
        setup.group_size = group_size;
    });
    world.start_all();
    assert!(world.run_until(20 * SECOND, World::is_converged), "seed {seed}: {}", world.describe_views());
    world.run_for(2 * SECOND);
    world
}

fn without(count: usize, gone: &[usize]) -> Vec<usize> {
    (0..count).filter(|node| !gone.contains(node)).collect()
}

/// The node of a position in the view that `node` has installed.
fn node_at(world: &World, view: &View, index: usize) -> usize {
    let count = world.nodes().len();
    let is = |node: &usize| {
        world.node(*node).member().is_some_and(|member| member.incarnation() == view.members[index].incarnation)
    };
    (0..count).find(is).expect("every member of the view runs")
}

fn coordinator(world: &World) -> usize {
    let view = world.view(0).expect("it has formed").clone();
    node_at(world, &view, view.coordinator())
}

fn was_removed(world: &World, node: usize) -> bool {
    world.node(node).seen().iter().any(|(_, event)| matches!(event, Event::Expelled { .. }))
}

/// Nothing arrives at `node` any more; what it sends does.
fn deafen(world: &mut World, node: usize) {
    for other in without(world.nodes().len(), &[node]) {
        world.cut(other, node);
    }
}

#[test]
fn who_hears_nobody_goes_at_once_and_nobody_in_its_place() {
    let mut slowest = 0;
    for count in 3..=9 {
        for deaf in 0..count {
            let group_size = [0, 2, 3][(count + deaf) % 3];
            let mut world = formed((count * 10 + deaf) as u64, count, true, group_size);
            let others = without(count, &[deaf]);
            let (cut_at, leads) = (world.now_us(), coordinator(&world) == deaf);
            deafen(&mut world, deaf);
            let on = world.run_until(6 * SECOND, |world| world.is_converged_among(&others));
            let what = format!("n{deaf} of {count} in groups of {group_size} is deaf (coordinator: {leads})");
            assert!(on, "{what}: {}", world.describe_views());
            slowest = slowest.max(world.now_us() - cut_at);
            world.run_for(5 * SECOND);
            assert!(world.is_converged_among(&others), "{what}, and then: {}", world.describe_views());
            for other in others {
                assert!(!was_removed(&world, other), "{what}: n{other} went in its place");
            }
            world.mend_all();
            assert!(world.run_until(10 * SECOND, World::is_converged), "{what}, heard: {}", world.describe_views());
            assert!(world.violations().is_empty(), "{what}: {:?}", world.violations());
        }
    }
    println!("the others are in a primary view after {} ms at the latest", slowest / 1_000);
}

#[test]
fn two_that_are_cut_off_from_sixteen_seniors_soon_have_a_view() {
    const COUNT: usize = 18;
    for seed in 0..4 {
        let mut world = formed(seed, COUNT, false, 0);
        let view = world.view(0).expect("it has formed").clone();
        let last: Vec<usize> = [COUNT - 2, COUNT - 1].map(|index| node_at(&world, &view, index)).to_vec();
        world.split(&[&without(COUNT, &last), &last]);
        let cut_at = world.now_us();
        let on = world.run_until(10 * SECOND, |world| world.is_converged_among(&last));
        assert!(on, "seed {seed}: {last:?}: {}", world.describe_views());
        println!("seed {seed}: a view of {last:?} after {} ms", (world.now_us() - cut_at) / 1_000);
        assert!(world.violations().is_empty(), "seed {seed}: {:?}", world.violations());
    }
}

fn await_view(world: &mut World, nodes: &[usize]) {
    let there = world.run_until(20 * SECOND, |world| world.is_converged_among(nodes));
    assert!(there, "{nodes:?}: {}", world.describe_views());
}

#[test]
fn parts_merge_that_know_only_an_ordinary_member_of_each_other() {
    for seed in 0..8 {
        // Everybody knows the address of n0 and no other.
        let mut world = World::cluster(Settings::new(seed, 5), 5, 0, |_, setup| setup.seeds.truncate(1));
        [0, 1, 2, 4].into_iter().for_each(|node| world.start(node));
        await_view(&mut world, &[0, 1, 2, 4]);
        world.leave(0);
        await_view(&mut world, &[1, 2, 4]);
        world.run_for(SECOND);
        world.split(&[&[1, 2, 4], &[0, 3]]);
        [0, 3].into_iter().for_each(|node| world.start(node));
        await_view(&mut world, &[0, 3]);
        world.crash(0);
        await_view(&mut world, &[3]);
        world.start(0);
        // From here on n3 coordinates, which nobody of the others has ever heard of.
        await_view(&mut world, &[0, 3]);
        assert_eq!(coordinator(&world), 3);
        world.mend_all();
        let merged = world.run_until(10 * SECOND, World::is_converged);
        assert!(merged, "seed {seed}: {}", world.describe_views());
        assert!(world.violations().is_empty(), "seed {seed}: {:?}", world.violations());
    }
}

/// Which ordered pairs of nodes hear: `hears[a][b]` if a packet from a arrives at b.
type Graph = Vec<Vec<bool>>;

fn draw(random: &mut Random, count: usize) -> Graph {
    let mut hears = vec![vec![true; count]; count];
    let broken = 5 + random.below(40);
    for (a, b) in (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))) {
        if random.below(100) < broken {
            match random.below(4) {
                0 => hears[a][b] = false,
                1 => hears[b][a] = false,
                _ => (hears[a][b], hears[b][a]) = (false, false),
            }
        }
    }
    hears
}

fn linked(graph: &Graph, a: usize, b: usize) -> bool {
    graph[a][b] && graph[b][a]
}

/// Whether a node has links with so many others that they are a majority with it: they could all be one group that it leads.
fn could_lead(graph: &Graph, node: usize) -> bool {
    (0..graph.len()).filter(|other| linked(graph, node, *other)).count() * 2 > graph.len()
}

/// What is wrong with the primary view of a world whose links are these. `first` coordinated before they failed.
fn wrong_with(world: &World, graph: &Graph, first: usize, unserved: &AtomicU64) -> Option<String> {
    let count = graph.len();
    let Some(one) = (0..count).find(|node| world.is_primary(*node)) else {
        if could_lead(graph, first) {
            return Some(format!("there is no primary view, and the coordinator n{first} hears a majority"));
        }
        unserved.fetch_add(u64::from((0..count).any(|node| could_lead(graph, node))), Relaxed);
        return None;
    };
    let view = world.view(one).expect("it is primary").clone();
    let nodes: Vec<usize> = (0..view.len()).map(|index| node_at(world, &view, index)).collect();
    let leaders: BTreeSet<usize> = view.groups.iter().map(|group| nodes[group.leader()]).collect();
    for (index, node) in nodes.iter().enumerate() {
        let leader = nodes[view.leader_of(index)];
        if !linked(graph, *node, leader) {
            return Some(format!("n{node} does not hear its leader n{leader}"));
        }
    }
    if let Some((a, b)) =
        leaders.iter().flat_map(|a| leaders.iter().map(move |b| (*a, *b))).find(|(a, b)| !linked(graph, *a, *b))
    {
        return Some(format!("the leaders n{a} and n{b} do not hear each other"));
    }
    // A newcomer, or one that is moved, is told so by the coordinator itself.
    let told_by = nodes[view.coordinator()];
    let out = (0..count).filter(|node| !nodes.contains(node) && linked(graph, *node, told_by));
    let place = |node: &usize| leaders.iter().find(|leader| linked(graph, *node, **leader));
    out.filter_map(|node| Some((node, place(&node)?)))
        .next()
        .map(|(node, leader)| format!("n{node} is out and hears the leader n{leader}"))
}

/// Plays one graph: a formed cluster, the links of the graph, time to find its view, and time in which that must last.
fn play(seed: u64, unserved: &AtomicU64) -> Option<String> {
    let mut random = Random::new(seed);
    let count = random.between(3, 9) as usize;
    let group_size = random.below(4) as usize;
    let mut world = formed(seed, count, true, group_size);
    let graph = draw(&mut random, count);
    let leads = coordinator(&world);
    let broken = (0..count).flat_map(|a| (0..count).map(move |b| (a, b))).filter(|(a, b)| !graph[*a][*b]);
    broken.for_each(|(a, b)| world.cut(a, b));
    world.run_for(SETTLED);
    let what = |wrong: String| {
        format!("seed {seed}, {count} members in groups of {group_size}: {wrong}; {}", world.describe_views())
    };
    let wrong = wrong_with(&world, &graph, leads, unserved).map(what);
    let before: Vec<_> = (0..count).map(|node| world.view(node).map(|view| view.id)).collect();
    let first =
        |world: &World| (0..count).find(|node| world.is_primary(*node)).and_then(|node| world.view(node)).map(|v| v.id);
    let had = first(&world);
    world.run_for(LASTS);
    let lasted = had.is_none() || had == first(&world);
    let unstable = || format!("seed {seed}: {had:?} did not last: {before:?}, {}", world.describe_views());
    let broken = world.violations().first().map(|violation| format!("seed {seed}: {violation:?}"));
    let wrong = wrong.or(broken).or_else(|| (!lasted).then(unstable));
    wrong.or_else(|| {
        world.mend_all();
        let whole = world.run_until(20 * SECOND, World::is_converged);
        (!whole).then(|| format!("seed {seed}: mended, and not whole: {}", world.describe_views()))
    })
}

#[test]
fn the_view_is_what_the_links_allow() {
    let seeds = std::env::var("DECURION_GRAPHS").ok().map_or(GRAPHS, |n| n.parse().expect("a number"));
    let (next, unserved) = (AtomicU64::new(0), AtomicU64::new(0));
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Relaxed)).filter(|seed| *seed < seeds) {
                    wrong.lock().expect("nobody panics with it").extend(play(seed, &unserved));
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("all threads have ended");
    let unserved = unserved.into_inner();
    println!("{unserved} of {seeds} graphs have no primary view, and a member that could lead a majority");
    // Where that is another one than the coordinator, whom the others keep on the way may cost the majority: seldom.
    assert!(unserved * UNSERVED_PART <= seeds, "{unserved} of {seeds} graphs have no primary view");
    assert!(wrong.is_empty(), "{} of {seeds} graphs:\n{}", wrong.len(), wrong.join("\n"));
}
