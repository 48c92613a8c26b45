//! A view that is proposed, as a whole and as what it changes of the one before.

use std::net::SocketAddr;

use super::Malformed;
use super::codec::{Sparse, wire_struct};
use crate::types::{Incarnation, MemberInfo, Name, Seat, Tags, ViewId, limits};

/// A proposed membership: the next entry of the log of views.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proposal {
    /// Its identity: number and the ballot that first proposed it.
    pub id: ViewId,
    /// The view it follows; [`ViewId::NONE`] when it is the first.
    pub previous: ViewId,
    /// Who is in it, by seat.
    pub members: Vec<MemberInfo>,
    /// Whether a quorum of voters decides it.
    pub fenced: bool,
    /// The next seat to give.
    pub next_seat: u32,
    /// Last batch of each member of the previous view that is delivered in that view.
    pub cut: Sparse<u64>,
}

/// A proposal for those who have the view before it: what it costs to tell grows with what changes, not with the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Successor {
    /// As of the proposal.
    pub id: ViewId,
    /// The view that it changes.
    pub previous: ViewId,
    /// Seats of those who are not in it any more, ascending.
    pub gone: Vec<Seat>,
    /// Who comes, and whose entry is another one than before, by seat.
    pub changed: Vec<MemberInfo>,
    /// As of the proposal.
    pub fenced: bool,
    /// As of the proposal.
    pub next_seat: u32,
    /// As of the proposal.
    pub cut: Sparse<u64>,
}

impl Proposal {
    /// What changes of `previous`; `None` where this does not follow it.
    pub fn successor_of(&self, previous: &Proposal) -> Option<Successor> {
        if self.previous != previous.id {
            return None;
        }
        let at = |proposal: &Proposal, seat: Seat| proposal.members.binary_search_by_key(&seat, |m| m.seat).ok();
        let stays = |m: &MemberInfo| at(previous, m.seat).is_some_and(|old| previous.members[old] == *m);
        Some(Successor {
            id: self.id,
            previous: self.previous,
            gone: previous.members.iter().map(|m| m.seat).filter(|seat| at(self, *seat).is_none()).collect(),
            changed: self.members.iter().filter(|m| !stays(m)).cloned().collect(),
            fenced: self.fenced,
            next_seat: self.next_seat,
            cut: self.cut.clone(),
        })
    }

    /// A proposal is checked as a whole: positions must be usable without further checks.
    fn checked(self) -> Result<Proposal, Malformed> {
        let members = &self.members;
        if members.is_empty() {
            return Err(Malformed("a view without members"));
        }
        if members.len() > limits::MEMBERS {
            return Err(Malformed("more members than a view can have"));
        }
        if members.windows(2).any(|w| w[0].seat >= w[1].seat) {
            return Err(Malformed("members of a view are not in the order of their seats"));
        }
        if members.iter().any(|m| m.seat == Seat::EVERYBODY || m.seat.0 >= self.next_seat) {
            return Err(Malformed("a seat is zero or was not given yet"));
        }
        if self.id.number <= self.previous.number {
            return Err(Malformed("a view does not follow the one it names"));
        }
        Ok(self)
    }
}

impl Successor {
    /// The whole proposal, made of `previous` and the changes; refused where that is another view than the one that it changes,
    /// or what comes of it is no proposal.
    pub fn applied_to(&self, previous: &Proposal) -> Result<Proposal, Malformed> {
        if self.previous != previous.id {
            return Err(Malformed("changes of another view"));
        }
        let goes = |seat: Seat| self.gone.binary_search(&seat).is_ok();
        let changes = |seat: Seat| self.changed.binary_search_by_key(&seat, |m| m.seat).is_ok();
        let stay = previous.members.iter().filter(|m| !goes(m.seat) && !changes(m.seat));
        let mut members: Vec<MemberInfo> = stay.chain(&self.changed).cloned().collect();
        members.sort_by_key(|m| m.seat);
        let Successor { id, previous, fenced, next_seat, .. } = *self;
        Proposal { id, previous, members, fenced, next_seat, cut: self.cut.clone() }.checked()
    }

    fn checked(self) -> Result<Successor, Malformed> {
        let ascending =
            self.gone.windows(2).all(|w| w[0] < w[1]) && self.changed.windows(2).all(|w| w[0].seat < w[1].seat);
        if ascending { Ok(self) } else { Err(Malformed("changes of a view are not in the order of their seats")) }
    }
}

wire_struct! {
    MemberInfo { name: Name, incarnation: Incarnation, address: SocketAddr, seat: Seat, admitted: u64, group: u16, grouped: u64, ready: bool, witness: bool, tags: Tags }
    Proposal { id: ViewId, previous: ViewId, members: Vec<MemberInfo>, fenced: bool, next_seat: u32, cut: Sparse<u64> } => checked
    Successor { id: ViewId, previous: ViewId, gone: Vec<Seat>, changed: Vec<MemberInfo>, fenced: bool, next_seat: u32, cut: Sparse<u64> } => checked
}
