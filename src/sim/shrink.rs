//! Makes a run that breaks a promise smaller, as long as it still breaks the same one: delta debugging over what the seed drew.

use std::collections::BTreeSet;

use super::run::{Outcome, run_trimmed};
use super::trim::{LessLoad, Trim};
use crate::core::Plant;

/// How large a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Members that are there.
    pub members: usize,
    /// Faults that are drawn and made.
    pub faults: usize,
    /// Visitors that come.
    pub visitors: usize,
    /// Events until the promise is broken.
    pub steps: u64,
    /// Virtual time until then, in milliseconds.
    pub ms: u64,
}

/// A run that was made smaller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shrunk {
    /// Its seed.
    pub seed: u64,
    /// The promise that it breaks.
    pub guarantee: &'static str,
    /// What is left of the seed.
    pub trim: Trim,
    /// How large it was.
    pub before: Size,
    /// How large it is.
    pub after: Size,
    /// Runs that were tried.
    pub tries: usize,
    /// What happens in it, in sentences.
    pub story: Vec<String>,
}

/// A trimmed run: what it came to, how large it was, and what a person would tell of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// What it came to.
    pub outcome: Outcome,
    /// How large it was.
    pub size: Size,
    /// Numbers of its faults, with the times at which they strike.
    pub faults: Vec<(u32, u64)>,
    /// Its sentences.
    pub story: Vec<String>,
}

/// Shrinks the first broken promise of a seed, for as long as `go_on` says so. `None` if the seed breaks none.
pub fn shrink(seed: u64, plant: Option<Plant>, go_on: &dyn Fn() -> bool) -> Option<Shrunk> {
    let first = run_trimmed(seed, plant, &Trim::default(), None);
    let guarantee = first.outcome.findings.first()?.guarantee;
    let whole = run_trimmed(seed, plant, &Trim::default(), Some(guarantee));
    let before = whole.size;
    let mut search = Search { seed, plant, guarantee, go_on, trim: Trim::default(), best: whole, tries: 0 };
    search.all();
    let Search { trim, best, tries, .. } = search;
    Some(Shrunk { seed, guarantee, trim, before, after: best.size, tries, story: best.story })
}

struct Search<'a> {
    seed: u64,
    plant: Option<Plant>,
    guarantee: &'static str,
    go_on: &'a dyn Fn() -> bool,
    trim: Trim,
    best: Told,
    tries: usize,
}

impl Search<'_> {
    fn all(&mut self) {
        loop {
            let before = self.trim.clone();
            self.change(|trim| trim.no_drill = true);
            self.fewer_faults();
            self.fewer_nodes();
            self.fewer_visitors();
            self.change(|trim| trim.plain_network = true);
            self.change(|trim| trim.load = Some(LessLoad::Nothing));
            if self.trim.load.is_none() {
                self.change(|trim| trim.load = Some(LessLoad::Little));
            }
            self.shorter();
            if self.trim == before || !(self.go_on)() {
                return;
            }
        }
    }

    /// Keeps a change if the same promise is broken with it. Says whether it is.
    fn change(&mut self, change: impl FnOnce(&mut Trim)) -> bool {
        let mut trim = self.trim.clone();
        change(&mut trim);
        if trim == self.trim || !(self.go_on)() {
            return false;
        }
        self.tries += 1;
        let told = run_trimmed(self.seed, self.plant, &trim, Some(self.guarantee));
        let same = told.outcome.findings.iter().any(|finding| finding.guarantee == self.guarantee);
        if same {
            (self.trim, self.best) = (trim, told);
        }
        same
    }

    fn fewer_faults(&mut self) {
        // What would strike later has no part in it.
        let end = self.best.size.ms * 1_000 + 1_000;
        let early: BTreeSet<u32> = self.best.faults.iter().filter(|(_, at)| *at <= end).map(|(n, _)| *n).collect();
        self.change(|trim| trim.faults = Some(early));
        let mut kept = self.best.faults.iter().map(|(number, _)| *number).collect();
        self.ddmin(&mut kept, |trim, faults| trim.faults = Some(faults));
    }

    fn fewer_nodes(&mut self) {
        let whole: BTreeSet<usize> = (0..self.best.outcome.members as usize).collect();
        let mut kept = self.trim.nodes.clone().unwrap_or(whole);
        self.ddmin(&mut kept, |trim, nodes| trim.nodes = Some(nodes));
    }

    fn fewer_visitors(&mut self) {
        while self.best.size.visitors > 0 {
            let count = self.best.size.visitors;
            let smaller = [0, count / 2, count - 1].into_iter().any(|less| self.change(|t| t.visitors = Some(less)));
            if !smaller {
                return;
            }
        }
        self.change(|trim| trim.visitors = Some(0));
    }

    /// A promise that is broken only after faults have stopped may need less time before that.
    fn shorter(&mut self) {
        let last = self.best.faults.iter().map(|(_, at)| *at).max().unwrap_or(0);
        for stop in [last + 1_000_000, last + 5_000_000, last + 15_000_000] {
            if stop < self.trim.stop_at.unwrap_or(u64::MAX)
                && stop < self.best.size.ms * 1_000
                && self.change(|trim| trim.stop_at = Some(stop))
            {
                return;
            }
        }
    }

    /// Leaves out ever smaller parts of a set, down to single ones.
    fn ddmin<T: Copy + Ord>(&mut self, kept: &mut BTreeSet<T>, put: impl Fn(&mut Trim, BTreeSet<T>) + Copy) {
        if self.change(|trim| put(trim, BTreeSet::new())) {
            return kept.clear();
        }
        let mut part = kept.len().div_ceil(2).max(1);
        loop {
            let items: Vec<T> = kept.iter().copied().collect();
            for without in items.chunks(part) {
                let rest: BTreeSet<T> = kept.iter().copied().filter(|item| !without.contains(item)).collect();
                if rest.len() < kept.len() && !rest.is_empty() && self.change(|trim| put(trim, rest.clone())) {
                    *kept = rest;
                }
            }
            if part == 1 || !(self.go_on)() {
                return;
            }
            part = part.div_ceil(2);
        }
    }
}
