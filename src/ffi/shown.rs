//! What the host may still look at: the events of the last poll, and the rest of a run that did not fit into it.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::event::*;
use super::input;
use super::logging::{DCN_LOG_ERROR, DCN_LOG_INFO, DCN_LOG_WARN};
use super::view::Snapshot;
use crate::api::Cookie;
use crate::core::{Ended, Event, MemberRef, Messages};
use crate::types::{Code, Error, Name, Result, ViewId};
use crate::wire::batch::{Entries, Level};

/// Each engine numbers its events from another of these on, so that one engine's event is not taken for another's.
const TICKETS: u64 = 1 << 40;

/// Events on their way to the host, oldest first. The front may be shown already, the back not yet.
pub(super) struct Shown {
    items: VecDeque<Item>,
    last_ticket: u64,
    /// Whether this member acted in the primary view when the host last heard of it.
    primary: bool,
    /// The last name that was made readable for C: mostly the next one is the same.
    name: Option<(Name, Arc<CStr>)>,
}

/// One event of the core, kept alive while the host may look at it.
struct Item {
    /// All but what is particular to each message.
    event: dcn_event_t,
    content: Content,
    /// Keeps what `event.member` points to.
    _member: Option<Arc<CStr>>,
    /// Keeps what `event.text` points to.
    _text: Option<CString>,
    shown: bool,
}

enum Content {
    Nothing,
    View(Arc<Snapshot>),
    /// One payload that is a block of its own.
    Block(Bytes),
    /// Messages in a receive chunk, of which `left` begin at `at` and have not been shown.
    Run {
        area: Bytes,
        at: usize,
        left: u16,
    },
}

// SAFETY: the pointers in `event` lead into what the item itself owns, which any thread may own.
unsafe impl Send for Item {}

/// Bytes that the host wants to keep.
pub(super) struct Kept {
    /// They lie in `area`, beginning here.
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) area: Bytes,
    /// Whether they share a receive chunk with others.
    pub(super) in_chunk: bool,
}

impl Shown {
    pub(super) fn new() -> Shown {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let last_ticket = NEXT.fetch_add(TICKETS, Ordering::Relaxed);
        Shown { items: VecDeque::new(), last_ticket, primary: false, name: None }
    }

    /// The host is done with what it was shown.
    pub(super) fn retire(&mut self) {
        while self.items.front().is_some_and(|item| item.shown) {
            self.items.pop_front();
        }
    }

    /// Whether something waits that was not shown yet.
    pub(super) fn has_rest(&self) -> bool {
        self.items.back().is_some_and(|item| !item.shown)
    }

    /// Shows as much as there is room for, in order.
    pub(super) fn show(&mut self, places: &mut Places) {
        for item in self.items.iter_mut().filter(|item| !item.shown) {
            if places.room() == 0 {
                return;
            }
            item.show(places);
        }
    }

    /// The payload of a shown event, or an error for an event that is not there any more.
    pub(super) fn payload(&self, event: &dcn_event_t) -> Result<Kept> {
        let (area, in_chunk) = match &self.find(event.ticket)?.content {
            Content::Run { area, .. } => (area, true),
            Content::Block(payload) => (payload, false),
            Content::Nothing | Content::View(_) => return Err(input::invalid("this kind of event has no payload")),
        };
        let at = (event.data as usize).checked_sub(area.as_ptr() as usize);
        match at.filter(|at| at.checked_add(event.data_bytes).is_some_and(|end| end <= area.len())) {
            Some(at) => Ok(Kept { at, len: event.data_bytes, area: area.clone(), in_chunk }),
            None => Err(input::invalid("data and data_bytes of the event were changed")),
        }
    }

    /// The snapshot of a shown view event.
    pub(super) fn view(&self, ticket: u64) -> Result<Arc<Snapshot>> {
        match &self.find(ticket)?.content {
            Content::View(snapshot) => Ok(snapshot.clone()),
            _ => Err(input::invalid("only an event of the kind DCN_EVENT_VIEW has a view")),
        }
    }

    fn find(&self, ticket: u64) -> Result<&Item> {
        // Tickets grow by one: the place follows from the first.
        let first = self.items.front().map_or(0, |item| item.event.ticket);
        let at = ticket.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.items.get(at)).ok_or_else(|| {
            Error::new(Code::BadHandle, "the event is from an earlier poll, another engine, or was never given out")
        })
    }

    /// Takes over an event of the core.
    pub(super) fn push(&mut self, event: Event) {
        let mut item = Item {
            event: dcn_event_t::new(kind(&event), self.last_ticket + 1),
            content: Content::Nothing,
            _member: None,
            _text: None,
            shown: false,
        };
        self.last_ticket += 1;
        match event {
            Event::Messages(run) => self.messages(&mut item, run),
            Event::Transition { view } | Event::Ready { view } => item.view(view),
            Event::View(change) => {
                item.view(change.view.id);
                item.event.detail = change.view.len() as u32;
                item.content = Content::View(Arc::new(Snapshot::of_change(change, self.primary)));
            }
            Event::Suspected { member, why } => {
                self.member(&mut item, &member);
                item.text(why);
            }
            Event::Slow { member, lag_bytes } => {
                self.member(&mut item, &member);
                item.event.number = lag_bytes;
            }
            Event::Stable { view, number } => {
                item.view(view);
                item.event.number = number;
            }
            Event::Returned { to, token, payload, why } => {
                to.iter().for_each(|member| self.member(&mut item, member));
                item.event.token = token;
                item.block(payload);
                item.text(why);
            }
            Event::Writable => {}
            Event::Primary { view, primary } => {
                self.primary = primary;
                item.view(view);
                item.event.detail = u32::from(primary);
            }
            Event::Expelled { view, why } => {
                item.view(view);
                item.text(&why);
            }
            Event::Fault { member, from, what } => {
                member.iter().for_each(|member| self.member(&mut item, member));
                match from {
                    Some(from) => item.text(&format!("{what} (from {from})")),
                    None => item.text(&what),
                }
            }
            Event::RefusedJoiner { name, from, why } => {
                item.member(input::c_string(&name).into(), 0);
                item.text(&format!("{why} (told to {from})"));
            }
            Event::Session(answer) => {
                item.event.detail = answer.code as i32 as u32;
                item.event.number = answer.version;
                item.event.token = answer.number;
                if answer.holders[0].is_some() {
                    item.text(&Cookie::from(&answer).to_string());
                }
                if let Some(attributes) = answer.attributes {
                    item.block(attributes.as_bytes().clone());
                }
            }
            Event::SessionConflict { id, kept, dropped } => {
                item.event.number = kept.1;
                item.event.token = dropped.1;
                item.text(&id.to_string());
            }
            Event::SessionExpired { id } => item.text(&id.to_string()),
            Event::RedundancyRestored { view, sessions } => {
                item.view(view);
                item.event.number = sessions;
            }
            Event::Note { level, text } => {
                item.event.detail = match level {
                    1 => DCN_LOG_ERROR,
                    2 => DCN_LOG_WARN,
                    _ => DCN_LOG_INFO,
                };
                item.text(&text);
            }
            Event::Closed { reason } => item.ended(&reason),
        }
        self.items.push_back(item);
    }

    fn messages(&mut self, item: &mut Item, run: Messages) {
        self.member(item, &run.sender);
        item.view(run.view);
        item.event.detail = match run.level {
            Level::Fifo | Level::Unreliable => {
                u32::from(run.direct) | if run.level == Level::Unreliable { DCN_MESSAGE_UNRELIABLE } else { 0 }
            }
            ordered => ordered as u32,
        };
        item.event.number = run.first;
        match run.into_parts() {
            (area, Some(left), _) => item.content = Content::Run { area, at: 0, left },
            (payload, None, token) => {
                item.event.token = token;
                item.block(payload);
            }
        }
    }

    fn member(&mut self, item: &mut Item, member: &MemberRef) {
        let name = match &self.name {
            Some((known, text)) if *known == member.name => text.clone(),
            _ => {
                let text: Arc<CStr> = input::c_string(member.name.as_str()).into();
                self.name = Some((member.name.clone(), text.clone()));
                text
            }
        };
        item.member(name, member.seat.0);
    }
}

impl Item {
    fn view(&mut self, view: ViewId) {
        self.event.view = view.number;
        self.event.view_tag = view.tag();
    }

    fn member(&mut self, name: Arc<CStr>, seat: u32) {
        self.event.member = name.as_ptr();
        self.event.seat = seat;
        self._member = Some(name);
    }

    fn text(&mut self, text: &str) {
        let text = input::c_string(text);
        self.event.text = text.as_ptr();
        self._text = Some(text);
    }

    fn block(&mut self, payload: Bytes) {
        self.event.data = payload.as_ptr();
        self.event.data_bytes = payload.len();
        self.content = Content::Block(payload);
    }

    fn ended(&mut self, reason: &Ended) {
        let (detail, text) = match reason {
            Ended::Left => (DCN_ENDED_LEFT, "left, and the cluster knows"),
            Ended::LeftUnheard => (DCN_ENDED_LEFT_UNHEARD, "left, but nobody could be told in time"),
            Ended::Refused(why) => (DCN_ENDED_REFUSED, why.as_str()),
            Ended::HostNotPolling => (DCN_ENDED_HOST_NOT_POLLING, "the host did not take events for window.slow_ms"),
            Ended::JoinTimeout(why) => (DCN_ENDED_JOIN_TIMEOUT, why.as_str()),
            Ended::Failed(why) => (DCN_ENDED_FAILED, why.as_str()),
        };
        self.event.detail = detail;
        self.text(text);
    }

    fn show(&mut self, places: &mut Places) {
        let Content::Run { area, at, left } = &mut self.content else {
            places.put(self.event);
            self.shown = true;
            return;
        };
        // The area was checked when the batch was accepted; a walk that ends early would end the run.
        let mut entries = Entries::new(&area[*at..], *left);
        while places.room() > 0 && *left > 0 {
            let Some(Ok(entry)) = entries.next() else {
                *left = 0;
                break;
            };
            places.put(dcn_event_t {
                data: entry.payload.as_ptr(),
                data_bytes: entry.payload.len(),
                token: entry.token,
                ..self.event
            });
            self.event.number += 1;
            *left -= 1;
            // A payload is the last part of its entry.
            *at = entry.payload.as_ptr() as usize + entry.payload.len() - area.as_ptr() as usize;
        }
        self.shown = *left == 0;
    }
}

fn kind(event: &Event) -> u32 {
    match event {
        Event::Messages(_) => DCN_EVENT_MESSAGE,
        Event::Transition { .. } => DCN_EVENT_TRANSITION,
        Event::View(_) => DCN_EVENT_VIEW,
        Event::Ready { .. } => DCN_EVENT_READY,
        Event::Suspected { .. } => DCN_EVENT_SUSPECTED,
        Event::Slow { .. } => DCN_EVENT_SLOW,
        Event::Stable { .. } => DCN_EVENT_STABLE,
        Event::Returned { .. } => DCN_EVENT_RETURNED,
        Event::Writable => DCN_EVENT_WRITABLE,
        Event::Primary { .. } => DCN_EVENT_PRIMARY,
        Event::Expelled { .. } => DCN_EVENT_EXPELLED,
        Event::Fault { .. } => DCN_EVENT_FAULT,
        Event::RefusedJoiner { .. } => DCN_EVENT_REFUSED_JOINER,
        Event::Session(_) => DCN_EVENT_SESSION,
        Event::SessionConflict { .. } => DCN_EVENT_SESSION_CONFLICT,
        Event::SessionExpired { .. } => DCN_EVENT_SESSION_EXPIRED,
        Event::RedundancyRestored { .. } => DCN_EVENT_REDUNDANCY_RESTORED,
        Event::Note { .. } => DCN_EVENT_NOTE,
        Event::Closed { .. } => DCN_EVENT_CLOSED,
    }
}

#[cfg(test)]
mod tests;
