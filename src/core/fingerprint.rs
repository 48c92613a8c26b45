//! A number for what a member is between two turns: the simulator's enumeration tells states apart by it.
//!
//! Left out is what differs without making a difference: counters, what is fixed for the member's life, the numbers of
//! connections, and what is empty between turns. Members are taken apart field by field, so that a new field does not compile
//! before somebody has thought about it. Moments count as they are: only states of the same moment are compared.

use std::hash::{Hash, Hasher};

use super::links::{Conn, Links};
use super::member::Member;
use crate::types::ConnId;

impl Member {
    /// Hashes everything that what the member does next can depend on.
    #[rustfmt::skip]
    pub fn fingerprint<H: Hasher + Default>(&self) -> u64 {
        let Member {
            setup: _, plants: _, marks: _, rules: _, cluster_tag: _, stats: _, outputs: _, told_to_close: _, loopback: _, trims: _,
            spare_effects: _, spare_frames: _,
            now, remembers_since, random, incarnation, links, detector, suspicion, lease, was_primary, late, acceptor,
            attempt, attempt_after, seen_round, seen_number, changes, installed, installed_at, laggards, wanted_cut, history,
            seeking, leaving, ended, merged_from, host_ready, fanout, pool, slow, builder, direct, sessions, budget, backlog, hurry,
            told_ended, stable_told, group, loose, asked_replay, faults, hints, seeds, listed, ticks, tick_at,
            resolve_at,
        } = self;
        let mut state = H::default();
        (now, remembers_since, random, incarnation, was_primary, late, ticks, tick_at, resolve_at).hash(&mut state);
        (detector, suspicion, lease, slow, faults, group, loose).hash(&mut state);
        (acceptor, attempt, attempt_after, seen_round, seen_number, changes).hash(&mut state);
        (installed, installed_at, laggards, wanted_cut, history).hash(&mut state);
        (seeking, leaving, ended, merged_from, host_ready, told_ended, hints, seeds, listed).hash(&mut state);
        (fanout, pool, builder, direct, sessions, budget, backlog, hurry, stable_told, asked_replay).hash(&mut state);
        state.write_u64(links.fingerprint::<H>());
        state.finish()
    }

    /// The same for one of its connections. Two connections with the same number are the same in all that matters.
    pub fn connection_fingerprint<H: Hasher + Default>(&self, conn: ConnId) -> u64 {
        self.links.get(conn).map_or(0, |c| self.links.fingerprint_of::<H>(conn, c))
    }
}

impl Links {
    /// Connections are numbered as they come: their order says nothing, so their hashes are added up.
    fn fingerprint<H: Hasher + Default>(&self) -> u64 {
        self.iter().fold(0, |sum, (id, conn)| sum.wrapping_add(self.fingerprint_of::<H>(id, conn)))
    }

    fn fingerprint_of<H: Hasher + Default>(&self, id: ConnId, conn: &Conn) -> u64 {
        let link = conn.peer().is_some_and(|peer| self.link(peer.incarnation) == Some(id));
        let mut state = H::default();
        (conn, link).hash(&mut state);
        state.finish()
    }
}
