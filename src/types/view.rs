//! A view: who is in the cluster, in which groups, as of one decision. Immutable once installed.

use std::net::SocketAddr;

use super::{Incarnation, Name, Seat, Tags, ViewId};

/// A member's position in one view, in the order of admission.
pub type Index = usize;

/// What a view says of one member.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MemberInfo {
    /// Its configured name.
    pub name: Name,
    /// This life of it.
    pub incarnation: Incarnation,
    /// Where it is reached (TCP and UDP, the same port).
    pub address: SocketAddr,
    /// Its place in the order of admission.
    pub seat: Seat,
    /// Number of the view that admitted it (V2).
    pub admitted: u64,
    /// Its group, a label that stays with it until it moves to another one.
    pub group: u16,
    /// Number of the view that brought it into its group: the one that admitted it, or one that moved it (R15). Its seniority counts from there.
    pub grouped: u64,
    /// Whether it counts for stability and windows (V5, R24).
    pub ready: bool,
    /// Whether it votes only, and carries no messages.
    pub witness: bool,
    /// What its operator says of it.
    pub tags: Tags,
}

impl MemberInfo {
    /// Whether what is sent to everybody waits for it: it is ready, and takes messages at all.
    pub fn counts(&self) -> bool {
        self.ready && !self.witness
    }
}

/// One group of a view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The label that its members carry.
    pub label: u16,
    /// Positions of its members, by seniority, witnesses last: the first leads, the second is the deputy (R13).
    pub members: Vec<Index>,
    /// How many of them are no witnesses.
    carriers: usize,
}

impl Group {
    /// Who leads.
    pub fn leader(&self) -> Index {
        self.members[0]
    }

    /// Who takes over, if there is a second member that can. Among witnesses there is nothing to take over.
    pub fn deputy(&self) -> Option<Index> {
        self.members.get(1).filter(|_| self.carriers > 1).copied()
    }
}

/// An installed view of the membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Its identity.
    pub id: ViewId,
    /// The members in the order of admission (ascending seat).
    pub members: Vec<MemberInfo>,
    /// The groups, by the seniority of their leaders: the first one's leader coordinates.
    pub groups: Vec<Group>,
    /// Whether at most one such view can be primary at any moment (V3); false means that nobody has said
    /// who must agree, or too little of it, and V3 and S5 do not hold.
    pub fenced: bool,
    tag: u64,
    group_of: Vec<usize>,
    by_seniority: Vec<u32>,
    /// Positions in the order of incarnations: whoever compares two views of thousands looks for all of them.
    by_incarnation: Vec<u32>,
}

impl std::hash::Hash for View {
    /// The identity stands for everything in it (V1).
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl View {
    /// Builds a view from its decided parts. `members` must be ordered by ascending seat.
    ///
    /// Groups are made by those who carry messages. A witness whose group has none of them any more is in the first one: it has
    /// nothing to move, and nobody may depend on it.
    pub fn new(id: ViewId, mut members: Vec<MemberInfo>, fenced: bool) -> View {
        debug_assert!(members.windows(2).all(|w| w[0].seat < w[1].seat));
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = vec![0; members.len()];
        let mut by_seniority: Vec<u32> = (0..members.len() as u32).collect();
        by_seniority.sort_by_key(|at| (members[*at as usize].witness, members[*at as usize].grouped));
        for index in by_seniority.iter().map(|at| *at as usize) {
            let (label, witness) = (members[index].group, members[index].witness);
            let at = match groups.iter().position(|g| g.label == label) {
                Some(at) => at,
                None if witness && !groups.is_empty() => 0,
                None => {
                    groups.push(Group { label, members: Vec::new(), carriers: 0 });
                    groups.len() - 1
                }
            };
            groups[at].members.push(index);
            groups[at].carriers += usize::from(!witness);
            group_of[index] = at;
            members[index].group = groups[at].label;
        }
        let mut by_incarnation: Vec<u32> = (0..members.len() as u32).collect();
        by_incarnation.sort_by_key(|at| members[*at as usize].incarnation);
        by_seniority.sort_by_key(|at| groups[group_of[*at as usize]].leader() != *at as usize);
        View { id, members, groups, fenced, tag: id.tag(), group_of, by_seniority, by_incarnation }
    }

    /// 64 bits that stand for this view in batch headers.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// How many of its members carry messages.
    pub fn carriers(&self) -> usize {
        self.groups.iter().map(|group| group.carriers).sum()
    }

    /// Whether it has no member: only the state before the first view.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Position of a seat, if that member is in the view.
    pub fn index_of_seat(&self, seat: Seat) -> Option<Index> {
        self.members.binary_search_by_key(&seat, |m| m.seat).ok()
    }

    /// Position of an incarnation, if it is in the view.
    pub fn index_of(&self, incarnation: Incarnation) -> Option<Index> {
        let of = |at: u32| self.members[at as usize].incarnation;
        let first = self.by_incarnation.partition_point(|at| of(*at) < incarnation);
        self.by_incarnation.get(first).filter(|at| of(**at) == incarnation).map(|at| *at as usize)
    }

    /// Position of a name, if it is in the view.
    pub fn index_of_name(&self, name: &str) -> Option<Index> {
        self.members.iter().position(|m| m.name.as_str() == name)
    }

    /// The position in [`View::groups`] of a member's group.
    pub fn group_at(&self, member: Index) -> usize {
        self.group_of[member]
    }

    /// A member's group.
    pub fn group(&self, member: Index) -> &Group {
        &self.groups[self.group_of[member]]
    }

    /// A member's leader (itself, if it leads).
    pub fn leader_of(&self, member: Index) -> Index {
        self.group(member).leader()
    }

    /// Whether a member leads its group.
    pub fn is_leader(&self, member: Index) -> bool {
        self.leader_of(member) == member
    }

    /// "leader", "deputy" or "member".
    pub fn role_of(&self, member: Index) -> &'static str {
        let group = self.group(member);
        match (group.leader() == member, group.deputy() == Some(member)) {
            (true, _) => "leader",
            (_, true) => "deputy",
            _ => "member",
        }
    }

    /// In which order members come to coordinate: the leaders, then the others, and witnesses last; of each those before that have been longer
    /// in their groups.
    pub fn by_seniority(&self) -> impl Iterator<Item = Index> {
        self.by_seniority.iter().map(|at| *at as Index)
    }

    /// Who coordinates: the most senior member that carries messages, who always leads its group. A witness only where there are
    /// none but witnesses: somebody must let the others in again.
    pub fn coordinator(&self) -> Index {
        self.groups.first().map_or(0, Group::leader)
    }
}
