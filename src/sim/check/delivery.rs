//! D1, D2, D3 and D7: every message carries a token that says who accepted it, in which stream, and as which one.

use crate::core::{Messages, To};
use crate::sim::payload::{Token, payload};
use crate::sim::random::fold;
use crate::types::{Incarnation, ViewId};
use crate::wire::batch::Level;

use super::{Guarantee, Ledger, Life};

/// An accepted message.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) struct Sent {
    pub len: u32,
    /// The life in which it was accepted.
    pub life: u32,
    pub level: Level,
    pub returned: bool,
}

impl Sent {
    /// Whether the life that sent it must be given it as well.
    pub fn is_owed_to_its_sender(&self, life: u32) -> bool {
        self.level != Level::Fifo && !self.returned && self.life == life
    }
}

/// What one process accepted for one receiver, in order.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Stream {
    pub to: To,
    pub sent: Vec<Sent>,
}

/// How far a receiver is in one stream.
#[derive(Clone, Copy, Hash, Debug, Default)]
pub(crate) struct Received {
    /// The number that must come next; 0 before the first.
    next: u64,
    /// Place of the last message among those that the sending process accepted for this receiver.
    pub sequence: u32,
    /// Messages in the current view, and their fold.
    count: u64,
    hash: u64,
    /// A leader was lost since the last message.
    leader_lost: bool,
}

impl Received {
    /// What a view change compares: how many messages, the last one's number, and what they were.
    pub fn digest(&self) -> (u64, u64, u64) {
        if self.count == 0 { (0, 0, 0) } else { (self.count, self.next - 1, self.hash) }
    }

    pub fn enter_view(&mut self, leader_lost: bool) {
        self.count = 0;
        self.hash = 0;
        self.leader_lost |= leader_lost;
    }
}

impl Ledger {
    /// The token for the next message of a process to `to`; it counts only if it is accepted.
    pub fn next_token(&mut self, process: u16, to: To) -> Token {
        let streams = &mut self.processes[usize::from(process)];
        let stream = *streams.by_receiver.entry(to).or_insert_with(|| {
            streams.streams.push(Stream { to, sent: Vec::new() });
            streams.streams.len() as u16 - 1
        });
        let sequence = streams.streams[usize::from(stream)].sent.len() as u32 + 1;
        Token { process, stream, sequence }
    }

    /// The message with this token was accepted.
    pub fn accepted(&mut self, token: Token, level: Level, len: usize) {
        let process = &mut self.processes[usize::from(token.process)];
        let life = process.life.unwrap_or(u32::MAX);
        process.streams[usize::from(token.stream)].sent.push(Sent { len: len as u32, life, level, returned: false });
    }

    /// A host gets a run of messages.
    pub(super) fn delivered(&mut self, process: u16, run: &Messages) {
        let Some(receiver) = self.process(process).life else {
            return self.violate(Guarantee::D7, format!("n{} gets messages before a view", self.process(process).node));
        };
        if self.is_witness(receiver) {
            let text = format!("{} is a witness, and is given messages", self.name(receiver));
            return self.violate(Guarantee::D5, text);
        }
        let sender = self.life_of(run.sender.incarnation);
        self.check_view_of_run(receiver, sender, run);
        if run.level == Level::Unreliable {
            return self.delivered_loose(receiver, sender, run);
        }
        if run.level != Level::Fifo {
            self.ordered(receiver, sender, run);
        }
        if sender == receiver {
            return self.delivered_own(receiver, run);
        }
        let mut state = *slot(&mut self.lives[receiver as usize], sender, run.direct);
        if state.next == 0 {
            self.check_first(receiver, sender, run);
            state.next = run.first;
            if run.direct {
                // What the sending process accepted before it was removed may come in its next life; it goes on from there.
                state.sequence = self.sequence_of_earlier_lives(receiver, sender);
            }
        }
        for message in run {
            self.checks.note(Guarantee::D1);
            let holds = message.number == state.next;
            if !holds {
                let guarantee = if state.leader_lost { Guarantee::D2 } else { Guarantee::D1 };
                let expected = state.next;
                let text = self.describe(receiver, sender, run.direct);
                self.violate(guarantee, format!("{text}: number {} where {expected} must come", message.number));
            }
            state.next = message.number + 1;
            state.leader_lost = false;
            state.count += 1;
            state.hash = fold(fold(state.hash, message.number), message.token);
            let token = Token::unpack(message.token);
            self.check_message(receiver, sender, run, token, message.payload, state.sequence);
            state.sequence = token.sequence;
        }
        *slot(&mut self.lives[receiver as usize], sender, run.direct) = state;
    }

    fn check_view_of_run(&mut self, receiver: u32, sender: u32, run: &Messages) {
        let current = self.life(receiver).view.as_ref().map_or(ViewId::NONE, |view| view.id);
        let named = run.view == current;
        let present = run.direct || self.life(receiver).members.contains(&sender);
        let text = || format!("a run of {:?} in {current:?} names {:?}", run.sender.incarnation, run.view);
        self.check(Guarantee::D7, named && present && !run.is_empty(), text);
    }

    fn sequence_of_earlier_lives(&self, receiver: u32, sender: u32) -> u32 {
        let process = self.life(sender).process;
        let streams = self.life(receiver).direct.iter().enumerate();
        let earlier = streams.filter(|(life, _)| process.is_some() && self.life(*life as u32).process == process);
        earlier.map(|(_, received)| received.sequence).max().unwrap_or(0)
    }

    /// Where a stream begins: a stream to one at 1, a stream to everybody at the same number for all of a view.
    fn check_first(&mut self, receiver: u32, sender: u32, run: &Messages) {
        if run.direct {
            let text = self.describe(receiver, sender, true);
            let first = run.first;
            return self.check(Guarantee::D1, first == 1, || format!("{text} begins at {first}"));
        }
        let start = *self.starts.entry((run.view, sender)).or_insert(run.first);
        let text = self.describe(receiver, sender, false);
        self.check(Guarantee::V5, start == run.first, || {
            format!("{text} begins at {} in {:?}, at {start} for others", run.first, run.view)
        });
    }

    /// What one message says of itself: from whom, for whom, which one; and that nothing was left out before it.
    fn check_message(&mut self, receiver: u32, sender: u32, run: &Messages, token: Token, bytes: &[u8], last: u32) {
        let direct = run.direct;
        let process = self.life(sender).process;
        let stream = self.stream(token);
        let to = if direct { To::Member(self.life(receiver).incarnation) } else { To::Everybody };
        let Some(stream) = stream.filter(|stream| stream.to == to && process == Some(token.process)) else {
            let text = self.describe(receiver, sender, direct);
            return self.violate(Guarantee::D1, format!("{text}: {token} is not for it"));
        };
        let Some(sent) = (token.sequence as usize).checked_sub(1).and_then(|at| stream.sent.get(at).copied()) else {
            let text = self.describe(receiver, sender, direct);
            return self.violate(Guarantee::D1, format!("{text}: {token} was never accepted"));
        };
        let skipped = last > 0 || direct;
        let hole = stream.sent[(last as usize).min(token.sequence as usize - 1)..token.sequence as usize - 1]
            .iter()
            .position(|before| skipped && !before.returned && before.life == sent.life);
        let whole = bytes == payload(token, sent.len as usize) && sent.level == run.level;
        let text = || self.describe(receiver, sender, direct);
        let problem = if token.sequence <= last {
            Some((Guarantee::D1, format!("{}: {token} after {last}", text())))
        } else if let Some(hole) = hole {
            let missing = last as usize + hole + 1;
            Some((Guarantee::D7, format!("{}: {token} comes, accepted {missing} never did", text())))
        } else if !whole {
            Some((Guarantee::D1, format!("{}: {token} was altered ({} of {} bytes)", text(), bytes.len(), sent.len)))
        } else {
            None
        };
        if let Some((guarantee, text)) = problem {
            self.violate(guarantee, text);
        }
    }

    /// A host gets an accepted message back.
    pub(super) fn returned(&mut self, process: u16, to: Option<Incarnation>, token: u64, bytes: &[u8]) {
        let token = Token::unpack(token);
        let node = self.process(process).node;
        let sent = self
            .stream(token)
            .filter(|stream| token.process == process && to.is_none_or(|receiver| stream.to == To::Member(receiver)));
        let sent = sent.and_then(|stream| stream.sent.get(token.sequence as usize - 1)).copied();
        let holds = sent.is_some_and(|sent| !sent.returned && bytes == payload(token, sent.len as usize));
        self.check(Guarantee::D7, holds, || format!("n{node} is given back {token}, which it does not wait for"));
        if holds {
            let streams = &mut self.processes[usize::from(process)].streams;
            streams[usize::from(token.stream)].sent[token.sequence as usize - 1].returned = true;
        }
    }

    /// A sender is told that all hold its messages up to `number`.
    pub(super) fn stable(&mut self, process: u16, view: ViewId, number: u64) {
        let Some(sender) = self.process(process).life else { return };
        if self.life(sender).view.as_ref().is_none_or(|current| current.id != view) {
            return;
        }
        self.lives[sender as usize].stable = number;
        let members = self.life(sender).members.clone();
        let ready: Vec<bool> =
            self.life(sender).view.as_ref().expect("just seen").members.iter().map(|m| m.counts()).collect();
        for (receiver, ready) in members.into_iter().zip(ready) {
            if receiver == sender || !ready {
                continue;
            }
            // Who has not installed this view yet holds what it still owes its host of the one before, and shows it then.
            let behind = self.life(receiver).view.as_ref().is_none_or(|theirs| theirs.id.number < view.number);
            match behind {
                true => self.lives[receiver as usize].owed.push((view, sender, number)),
                false => self.check_stable(receiver, sender, number),
            }
        }
    }

    /// A receiver has delivered what a sender was told that it holds.
    fn check_stable(&mut self, receiver: u32, sender: u32, number: u64) {
        let next = self.life(receiver).received.get(sender as usize).map_or(0, |received| received.next);
        if next > 0 {
            let text = self.describe(receiver, sender, false);
            self.check(Guarantee::D7, next > number, || {
                format!("{text}: said to be stable up to {number}, waits for {next}")
            });
        }
    }

    /// A receiver installs a view: what senders were told about it meanwhile must be true by now.
    pub(super) fn check_owed(&mut self, receiver: u32, view: ViewId) {
        for (said_in, sender, number) in std::mem::take(&mut self.lives[receiver as usize].owed) {
            if said_in == view {
                self.check_stable(receiver, sender, number);
            }
        }
    }

    /// In a view with a member that does not count: the number up to which all that do have a process's messages to everybody,
    /// and the lower one up to which those are said to be stable.
    pub fn held_up(&self, process: u16) -> Option<(u64, u64)> {
        let sender = self.process(process).life?;
        // Its own host may be the one that has not taken something yet.
        if !self.has_its_own(process, sender) {
            return None;
        }
        let Life { view, members, stable, .. } = self.life(sender);
        let view = view.as_ref().filter(|view| view.members.iter().any(|member| !member.counts()))?;
        let ready = members.iter().zip(&view.members).filter(|(life, member)| **life != sender && member.counts());
        let next = |life: u32| self.life(life).received.get(sender as usize).map_or(0, |received| received.next);
        let taken = ready.map(|(life, _)| next(*life).saturating_sub(1)).min()?;
        (taken > *stable).then_some((taken, *stable))
    }

    /// Whether the last message that each of `members` sent to everybody, and all that they sent to each other, has come.
    pub fn is_even(&mut self, members: &[u16]) -> bool {
        let present: Vec<(u16, u32)> =
            members.iter().filter_map(|process| Some((*process, self.process(*process).life?))).collect();
        for &(process, sender) in &present {
            if !self.has_its_own(process, sender) {
                return false;
            }
            for at in 0..self.process(process).streams.len() {
                let stream = &self.process(process).streams[at];
                let last = stream.sent.iter().rposition(|sent| !sent.returned && sent.life == sender);
                let Some(last) = last.map(|at| at as u32 + 1) else { continue };
                let to = stream.to;
                let behind = present.iter().any(|&(_, receiver)| {
                    let concerned = match to {
                        To::Everybody => receiver != sender && !self.is_witness(receiver),
                        To::Member(incarnation) => self.life(receiver).incarnation == incarnation,
                    };
                    let direct = to != To::Everybody;
                    concerned && slot(&mut self.lives[receiver as usize], sender, direct).sequence < last
                });
                if behind {
                    return false;
                }
            }
        }
        true
    }

    /// At the end, with all quiet: everything that `members` accepted in this life has come to all of them, or back.
    pub fn finish(&mut self, members: &[u16]) {
        let present: Vec<(u16, u32)> =
            members.iter().filter_map(|process| Some((*process, self.process(*process).life?))).collect();
        for &(process, sender) in &present {
            let own = self.has_its_own(process, sender);
            let text = self.name(sender);
            self.check(Guarantee::D4, own, || format!("{text} was not given all of its own that is agreed or safe"));
            for stream in 0..self.process(process).streams.len() {
                match self.process(process).streams[stream].to {
                    To::Everybody => {
                        for &(_, receiver) in present.iter().filter(|(_, receiver)| *receiver != sender) {
                            if self.is_witness(receiver) {
                                continue;
                            }
                            self.check_end(process, stream, sender, receiver, false);
                        }
                    }
                    To::Member(incarnation) => {
                        let receiver = self.life_of(incarnation);
                        self.check_end(process, stream, sender, receiver, true);
                    }
                }
            }
        }
    }

    fn check_end(&mut self, process: u16, stream: usize, sender: u32, receiver: u32, direct: bool) {
        let sequence = slot(&mut self.lives[receiver as usize], sender, direct).sequence as usize;
        let sent = &self.process(process).streams[stream].sent;
        // A receiver that joined late is owed the last message, which all send at the end, and nothing before its first one.
        let from = if sequence == 0 && !direct { sent.len().saturating_sub(1) } else { sequence.min(sent.len()) };
        let lost = sent[from..].iter().position(|sent| !sent.returned && sent.life == sender);
        let total = sent.len();
        let text = self.describe(receiver, sender, direct);
        self.check(Guarantee::D7, lost.is_none(), || {
            format!("{text}: {} of {total} accepted is neither delivered nor returned", from + lost.unwrap_or(0) + 1)
        });
    }

    /// Whether a life carries no messages.
    pub(super) fn is_witness(&self, life: u32) -> bool {
        let Life { view, incarnation, .. } = self.life(life);
        let me = view.as_ref().and_then(|view| Some(&view.members[view.index_of(*incarnation)?]));
        me.is_some_and(|me| me.witness)
    }

    fn stream(&self, token: Token) -> Option<&Stream> {
        self.processes.get(usize::from(token.process))?.streams.get(usize::from(token.stream))
    }

    fn describe(&self, receiver: u32, sender: u32, direct: bool) -> String {
        let kind = if direct { "to one" } else { "to everybody" };
        format!("stream {kind} of {} at {}", self.name(sender), self.name(receiver))
    }
}

fn slot(life: &mut Life, sender: u32, direct: bool) -> &mut Received {
    let all = if direct { &mut life.direct } else { &mut life.received };
    if all.len() <= sender as usize {
        all.resize(sender as usize + 1, Received::default());
    }
    &mut all[sender as usize]
}
