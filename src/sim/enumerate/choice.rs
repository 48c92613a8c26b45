//! What can happen next in a small cluster, by name, and how it happens.

use std::fmt;

use super::carrier::Unit;
use super::cases::{Case, Faults};
use super::cluster::{Cluster, NODES, Touched, begin};
use crate::core::Event;
use crate::sim::payload::Token;
use crate::wire::batch;
use crate::wire::control::{self, Control};

/// A frame of progress without entries: the header, the tag, and a count of none.
const EMPTY_PROGRESS_BYTES: usize = control::HEADER_BYTES + 8 + 4;

/// What may still be done to a cluster from outside.
#[derive(Clone, Copy, Hash, Debug, Default)]
pub(super) struct Todo {
    /// What the case is about has not begun.
    pub trigger: bool,
    /// Nodes whose hosts have a message to send.
    pub sends: [bool; NODES],
    /// Nodes whose hosts have a change of the session to make.
    pub visits: [bool; NODES],
    /// Faults that may still be made.
    pub faults: Faults,
    /// Who was asked to leave.
    pub left: Option<usize>,
}

/// One thing that can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// The next unit of `pipe` reaches `end`; the ordinal tells it from others of the same pair.
    Deliver { pipe: u8, end: u8, from: u8, to: u8, ordinal: u8 },
    /// The first datagram arrives, or is lost.
    Datagram { arrives: bool },
    /// A connection breaks, with all that is under way.
    Cut { pipe: u8, ends: [u8; 2], ordinal: u8 },
    /// A process ends.
    Crash(u8),
    /// A host sends.
    Send(u8),
    /// A host changes the session.
    Visit(u8),
    /// What the case is about begins.
    Begin,
    /// Nothing happens until a member wakes.
    Time,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbered = |text: String, ordinal: u8| match ordinal {
            0 => f.write_str(&text),
            more => write!(f, "{text}#{}", more + 1),
        };
        match self {
            Choice::Deliver { from, to, ordinal, .. } => numbered(format!("n{from}>n{to}"), *ordinal),
            Choice::Cut { ends: [a, b], ordinal, .. } => numbered(format!("cut:n{a}-n{b}"), *ordinal),
            Choice::Datagram { arrives: true } => f.write_str("datagram"),
            Choice::Datagram { arrives: false } => f.write_str("lose"),
            Choice::Crash(node) => write!(f, "crash:n{node}"),
            Choice::Send(node) => write!(f, "send:n{node}"),
            Choice::Visit(node) => write!(f, "visit:n{node}"),
            Choice::Begin => f.write_str("begin"),
            Choice::Time => f.write_str("time"),
        }
    }
}

impl Cluster {
    /// Everything that can happen next. Nothing is left when the case is over.
    ///
    /// Datagrams arrive before anything else, in the order sent; time passes when nothing is under way. What is done from outside
    /// to a process or a connection that the last step did not touch could have been done before that step: it is tried there.
    pub fn choices(&self) -> Vec<Choice> {
        let Faults { crashes, cuts, losses } = self.todo.faults;
        if !self.datagrams.is_empty() {
            let mut choices = vec![Choice::Datagram { arrives: true }];
            choices.extend((losses > 0).then_some(Choice::Datagram { arrives: false }));
            return choices;
        }
        let mut choices = self.deliveries();
        let silent = choices.is_empty();
        choices.extend(self.todo.trigger.then_some(Choice::Begin));
        choices.extend((0..NODES as u8).filter(|at| self.can_send(usize::from(*at))).map(Choice::Send));
        choices.extend((0..NODES as u8).filter(|at| self.can_visit(usize::from(*at))).map(Choice::Visit));
        let acts = choices.len();
        if crashes > 0 {
            let touched = |at: &u8| self.touched.all || self.touched.nodes[usize::from(*at)];
            let living = (0..NODES as u8).filter(|at| self.member(usize::from(*at)).is_some()).filter(touched);
            choices.extend(living.map(Choice::Crash));
        }
        if cuts > 0 {
            choices.extend(self.cuts());
        }
        let over = self.is_over();
        if silent && over && acts == 0 {
            return Vec::new();
        }
        if silent && !over && !self.todo.trigger {
            choices.push(Choice::Time);
        }
        choices
    }

    fn can_send(&self, at: usize) -> bool {
        self.todo.sends[at] && self.member(at).is_some_and(|member| member.view().is_some())
    }

    fn can_visit(&self, at: usize) -> bool {
        self.todo.visits[at] && self.member(at).is_some_and(|member| member.view().is_some())
    }

    /// What the case is about has been brought to its end: all that run are in one view.
    pub fn is_over(&self) -> bool {
        let gone = self.todo.left.is_none_or(|at| self.member(at).is_none());
        let nobody = (0..NODES).all(|at| self.member(at).is_none());
        !self.todo.trigger && gone && !self.awaits_answers() && (nobody || self.common_view().is_some())
    }

    /// Where a frame that says nothing, the progress of no stream, is at the front.
    fn idle_talk(&self) -> Option<(usize, usize)> {
        let says_nothing = |unit: &Unit| match unit {
            Unit::Frame(bytes) if bytes.len() == EMPTY_PROGRESS_BYTES => match Control::decode(bytes) {
                Ok(Control::Progress(progress) | Control::Stable(progress)) => progress.entries.is_empty(),
                _ => false,
            },
            _ => false,
        };
        self.pipes
            .iter()
            .enumerate()
            .find_map(|(pipe, p)| Some((pipe, p.ways.iter().position(|way| way.front().is_some_and(says_nothing))?)))
    }

    fn deliveries(&self) -> Vec<Choice> {
        let mut seen = [[0; NODES]; NODES];
        let mut choices = Vec::new();
        for (pipe, p) in self.pipes.iter().enumerate() {
            for end in (0..2).filter(|end| !p.ways[*end].is_empty()) {
                let (from, to) = (p.ends[1 - end].node, p.ends[end].node);
                let ordinal = seen[from][to];
                seen[from][to] += 1;
                let (from, to) = (from as u8, to as u8);
                choices.push(Choice::Deliver { pipe: pipe as u8, end: end as u8, from, to, ordinal });
            }
        }
        choices.sort_by_key(|choice| (self.is_slow(choice), choice.to_string()));
        choices
    }

    fn is_slow(&self, choice: &Choice) -> bool {
        matches!(choice, Choice::Deliver { pipe, end, .. } if self.pipes[usize::from(*pipe)].slow[usize::from(*end)])
    }

    /// What was passed over in the fixed order is slow from now on.
    pub fn slow_down(&mut self, passed_over: &[Choice]) {
        for choice in passed_over {
            if let Choice::Deliver { pipe, end, .. } = choice {
                self.pipes[usize::from(*pipe)].slow[usize::from(*end)] = true;
            }
        }
    }

    fn cuts(&self) -> Vec<Choice> {
        let mut seen = [[0; NODES]; NODES];
        let mut choices = Vec::new();
        for (pipe, p) in self.pipes.iter().enumerate().filter(|(_, p)| p.carries() && (p.touched || self.touched.all)) {
            let (a, b) = (p.ends[0].node.min(p.ends[1].node), p.ends[0].node.max(p.ends[1].node));
            let ordinal = seen[a][b];
            seen[a][b] += 1;
            choices.push(Choice::Cut { pipe: pipe as u8, ends: [a as u8, b as u8], ordinal });
        }
        choices
    }

    /// Makes one thing happen. A frame that says nothing arrives with what came before it.
    pub fn apply(&mut self, case: &Case, choice: Choice) {
        self.touched = Touched::default();
        self.pipes.iter_mut().for_each(|pipe| pipe.touched = false);
        self.apply_one(case, choice);
        while let Some((pipe, end)) = self.idle_talk() {
            self.deliver(pipe, end);
        }
    }

    fn apply_one(&mut self, case: &Case, choice: Choice) {
        match choice {
            Choice::Deliver { pipe, end, .. } => self.deliver(usize::from(pipe), usize::from(end)),
            Choice::Datagram { arrives: true } => self.deliver_datagram(),
            Choice::Datagram { arrives: false } => {
                self.todo.faults.losses -= 1;
                let lost = self.datagrams.pop_front();
                self.tell(|| format!("a datagram is lost: {lost:?}"));
            }
            Choice::Cut { pipe, .. } => {
                self.todo.faults.cuts -= 1;
                let pipe = &mut self.pipes[usize::from(pipe)];
                let text = format!("the connection of n{} and n{} breaks", pipe.ends[0].node, pipe.ends[1].node);
                pipe.cut();
                self.tell(|| text);
            }
            Choice::Crash(node) => {
                self.todo.faults.crashes -= 1;
                self.tell(|| format!("n{node} crashes"));
                self.crash(usize::from(node));
            }
            Choice::Send(node) => {
                self.todo.sends[usize::from(node)] = false;
                self.send(usize::from(node));
            }
            Choice::Visit(node) => {
                self.todo.visits[usize::from(node)] = false;
                self.visit(usize::from(node));
            }
            Choice::Begin => {
                self.todo.trigger = false;
                begin(self, case);
            }
            Choice::Time => self.pass_time(),
        }
    }
}

/// A unit, for people.
pub(super) fn describe(unit: &Unit) -> String {
    match unit {
        Unit::Connected => "its dial is answered".to_owned(),
        Unit::Gone(cause) => format!("the connection is gone ({cause:?})"),
        Unit::Frame(bytes) => {
            let header = bytes.first_chunk().map(batch::Header::decode);
            match (bytes.first(), header) {
                (Some(&crate::wire::BATCH_TYPE), Some(Ok(header))) => {
                    format!("batch {} of seat {}, {} bytes", header.batch, header.sender.0, bytes.len())
                }
                _ => Control::decode(bytes).map_or_else(|bad| bad.0.to_owned(), |control| format!("{control:?}")),
            }
        }
    }
}

/// An event, for people.
pub(super) fn describe_event(event: &Event) -> String {
    match event {
        Event::Messages(run) => {
            let tokens: Vec<String> = run.iter().map(|m| Token::unpack(m.token).to_string()).collect();
            format!("gets {} from {} in {:?}", tokens.join(", "), run.sender.name, run.view)
        }
        Event::View(change) => {
            let names: Vec<&str> = change.view.members.iter().map(|m| m.name.as_str()).collect();
            format!("installs {:?} [{}]", change.view.id, names.join(" "))
        }
        other => format!("{other:?}"),
    }
}
