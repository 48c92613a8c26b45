//! The ways of batches through a view: each member computes the same tree for each sender (R6).

use crate::types::{Index, View};

/// The next hops of a sender's batches from `me`. Witnesses are given none.
pub(super) fn targets(view: &View, me: Index, sender: Index) -> Vec<Index> {
    let mut hops = all(view, me, sender);
    hops.retain(|hop| !view.members[*hop].witness);
    hops
}

/// The way of a sender's batches from `me` to all members: a tree computed from the view (R6).
pub(super) fn all(view: &View, me: Index, sender: Index) -> Vec<Index> {
    let group = view.group(me);
    if !view.is_leader(me) {
        return if sender == me { vec![group.leader()] } else { Vec::new() };
    }
    let down = group.members.iter().copied().filter(|m| *m != me && *m != sender);
    if view.group_at(sender) == view.group_at(me) {
        down.chain(view.groups.iter().map(|g| g.leader()).filter(|l| *l != me)).collect()
    } else {
        down.collect()
    }
}

/// Who gives us a sender's batches.
pub(super) fn upstream(view: &View, me: Index, sender: Index) -> Option<Index> {
    let mine = view.group(me);
    match (sender == me, view.is_leader(me)) {
        (true, _) => None,
        (_, false) => Some(mine.leader()),
        (_, true) if view.group_at(sender) == view.group_at(me) => Some(sender),
        (_, true) => Some(view.leader_of(sender)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::types::{Incarnation, MemberInfo, Name, Seat, ViewId};

    /// The member of this number, which is ready.
    pub(crate) fn member(number: usize, group: u16) -> MemberInfo {
        MemberInfo {
            name: Name::new(&format!("m{number}")),
            incarnation: Incarnation(number as u128 + 1),
            address: ([127, 0, 0, 1], 7000 + number as u16).into(),
            seat: Seat(number as u32 + 1),
            admitted: 1,
            group,
            grouped: 1,
            ready: true,
            witness: false,
            tags: Default::default(),
        }
    }

    /// Members in these groups.
    pub(crate) fn view(groups: &[u16]) -> View {
        let members = groups.iter().enumerate().map(|(number, group)| member(number, *group));
        View::new(ViewId::NONE, members.collect(), true)
    }

    #[test]
    fn every_batch_reaches_every_member_exactly_once() {
        let view = view(&[0, 1, 2, 0, 1, 2, 0, 1, 0]);
        for sender in 0..view.len() {
            let mut got = vec![0; view.len()];
            let mut at = vec![sender];
            while let Some(member) = at.pop() {
                for next in targets(&view, member, sender) {
                    assert_eq!(upstream(&view, next, sender), Some(member));
                    got[next] += 1;
                    at.push(next);
                }
            }
            got[sender] += 1;
            assert!(got.iter().all(|n| *n == 1), "{sender}: {got:?}");
        }
    }
}
