//! D4: what is agreed comes at every member in one order, also to its sender; what is safe comes where everybody who goes on has it.

use std::collections::BTreeMap;

use crate::core::{Messages, To};
use crate::sim::payload::{Token, payload};
use crate::sim::random::fold;
use crate::types::ViewId;
use crate::wire::batch::Level;

use super::{Guarantee, Ledger};

/// What one life was given in the order of all, in its current view.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Ordered {
    messages: Vec<u64>,
    /// So many of them were compared with what was safe.
    compared: usize,
    /// The last of its own: number, and place among those that the process accepted.
    own: (u64, u32),
}

/// The order of one view, as far as it is binding.
#[derive(Clone, Hash, Debug, Default)]
pub(crate) struct Binding {
    /// The beginning that ends with a message which somebody was given as safe before the view ended.
    safe: Vec<u64>,
    /// Of each next view: the whole order of those who went on to it, and who said so first.
    whole: BTreeMap<ViewId, (Vec<u64>, u32)>,
}

impl Ledger {
    /// Messages that have their place in the order of all.
    pub(super) fn ordered(&mut self, receiver: u32, sender: u32, run: &Messages) {
        let ids = run.iter().map(|message| fold(fold(u64::from(sender), message.number), message.token));
        self.lives[receiver as usize].ordered.messages.extend(ids);
        let life = self.life(receiver);
        let ready = life
            .members
            .iter()
            .position(|member| *member == receiver)
            .is_some_and(|me| life.view.as_ref().is_some_and(|view| view.members[me].ready));
        if run.level == Level::Safe && !life.transition && ready {
            self.bind(receiver);
        }
    }

    /// Everything that a life was given up to now is safe in this place.
    fn bind(&mut self, receiver: u32) {
        let Some(view) = self.life(receiver).view.as_ref().map(|view| view.id) else { return };
        let Ordered { messages, compared, .. } = &mut self.lives[receiver as usize].ordered;
        let (messages, compared) = (std::mem::take(messages), *compared);
        let binding = self.bindings.entry(view).or_default();
        let mut holds = true;
        for (at, message) in messages.iter().enumerate().skip(compared) {
            match binding.safe.get(at) {
                Some(known) => holds &= known == message,
                None => binding.safe.push(*message),
            }
            holds &= binding.whole.values().all(|(whole, _)| whole.get(at) == Some(message));
        }
        let text = self.name(receiver);
        self.check(Guarantee::D4, holds, || format!("{text} was given as safe in {view:?} what others have elsewhere"));
        let ordered = &mut self.lives[receiver as usize].ordered;
        (ordered.compared, ordered.messages) = (messages.len(), messages);
    }

    /// A life goes on to the next view: who goes with it has the same order, and all have what was safe.
    pub(super) fn pass_order(&mut self, life: u32, from: ViewId, next: ViewId, ready: bool) {
        let ordered = &mut self.lives[life as usize].ordered;
        let messages = std::mem::take(&mut ordered.messages);
        ordered.compared = 0;
        let binding = self.bindings.entry(from).or_default();
        let safe = !ready || messages.starts_with(&binding.safe);
        let (whole, other) = binding.whole.entry(next).or_insert_with(|| (messages.clone(), life));
        let (same, other) = (*whole == messages, *other);
        let (a, b) = (self.name(life), self.name(other));
        self.check(Guarantee::D4, safe, || {
            format!("{a} goes on from {from:?} without what was safe there, in its place")
        });
        self.check(Guarantee::D4, same, || format!("{a} and {b} have different orders in {from:?}"));
    }

    /// A life is given messages of its own, in their place.
    pub(super) fn delivered_own(&mut self, life: u32, run: &Messages) {
        for message in run {
            let (number, sequence) = self.life(life).ordered.own;
            let token = Token::unpack(message.token);
            let process = self.life(life).process;
            let streams = process.map(|process| &self.process(process).streams);
            let stream = streams.and_then(|streams| streams.get(usize::from(token.stream)));
            let stream = stream.filter(|stream| stream.to == To::Everybody && process == Some(token.process));
            let sent = stream.and_then(|stream| stream.sent.get((token.sequence as usize).wrapping_sub(1)));
            let whole = sent
                .is_some_and(|sent| sent.level == run.level && message.payload == payload(token, sent.len as usize));
            let skipped = stream.is_some_and(|stream| {
                let between = sequence as usize..(token.sequence as usize).saturating_sub(1);
                let between = stream.sent.get(between).unwrap_or_default();
                between.iter().any(|sent| sent.is_owed_to_its_sender(life))
            });
            let holds = whole && !skipped && message.number > number && run.level != Level::Fifo;
            let text = self.name(life);
            self.check(Guarantee::D4, holds, || {
                format!("{text} gets {token} of its own as number {} after {number}, {sequence}", message.number)
            });
            self.lives[life as usize].ordered.own = (message.number, token.sequence);
        }
    }

    /// Whether a life was given all of its own that has a place in the order.
    pub(super) fn has_its_own(&self, process: u16, life: u32) -> bool {
        let (_, sequence) = self.life(life).ordered.own;
        let everybody = self.process(process).streams.iter().find(|stream| stream.to == To::Everybody);
        let rest = everybody.and_then(|stream| stream.sent.get(sequence as usize..)).unwrap_or_default();
        !rest.iter().any(|sent| sent.is_owed_to_its_sender(life))
    }
}
