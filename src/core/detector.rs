//! Who is heard (R30). Any byte over either transport is a sign of life; a link is up only when both ends hear each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::plant::{Plant, Plants};
use crate::types::{Incarnation, Micros, Time, millis};
use crate::wire::datagram::Heartbeat;

/// One member that this member watches: a leader, a deputy, or a member of its group.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Watched {
    pub(crate) address: SocketAddr,
    pub(crate) heard: Time,
    /// When the peer last said that it hears us.
    heard_by: Time,
    /// The peer's clock in its newest heartbeat, and when that came.
    echo: Option<(u64, Time)>,
    pub(crate) rtt: Micros,
    /// What has been said of its silence already.
    told: Told,
    told_at: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Hash, Debug)]
enum Told {
    Nothing,
    Check,
    Silent,
}

/// After a pause of our own, nobody is looked at with suspicion for so long.
const LOOK_FIRST: Micros = millis(20);

/// What the detector found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// Two thirds of the bearable silence have passed: begin to check.
    Check(Incarnation, Micros),
    /// Silent for longer than is borne; said again while it lasts.
    Silent(Incarnation, Micros),
}

/// All that is watched.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Detector {
    pub(crate) watched: BTreeMap<Incarnation, Watched>,
    silence: Micros,
    heartbeat: Micros,
    /// Until then nothing is found: we have just come back from a pause.
    quiet_until: Time,
    plants: Plants,
}

impl Detector {
    pub(crate) fn new(silence: Micros, heartbeat: Micros, plants: Plants) -> Detector {
        Detector { watched: BTreeMap::new(), silence, heartbeat, quiet_until: Time::ZERO, plants }
    }

    /// Watches exactly these from now on. Who is new counts as heard now.
    pub(crate) fn watch(&mut self, now: Time, whom: impl Iterator<Item = (Incarnation, SocketAddr)>) {
        let mut before = std::mem::take(&mut self.watched);
        for (incarnation, address) in whom {
            let watched = before.remove(&incarnation).unwrap_or(Watched {
                address,
                heard: now,
                heard_by: now,
                echo: None,
                rtt: 0,
                told: Told::Nothing,
                told_at: now,
            });
            self.watched.insert(incarnation, watched);
        }
    }

    /// A sign of life.
    pub(crate) fn heard(&mut self, now: Time, whom: Incarnation) {
        if let Some(w) = self.watched.get_mut(&whom) {
            w.heard = now;
        }
    }

    pub(crate) fn on_heartbeat(&mut self, now: Time, from: Incarnation, beat: &Heartbeat) {
        let trusting = self.plants.has(Plant::TrustOneWayLink);
        let Some(w) = self.watched.get_mut(&from) else { return };
        w.heard = now;
        w.echo = Some((beat.sent_us, now));
        // It tells since when it has not heard us. For so long that it looks into that, it counts from there, and both ends find at one
        // time that the link is down. For less it says nothing: what is lost in one direction must not add to the other.
        let unheard = Micros::from(beat.heard_ms) * 1_000;
        let unheard = if trusting || unheard < self.silence / 3 * 2 { 0 } else { unheard };
        w.heard_by = w.heard_by.max(Time(now.0.saturating_sub(unheard)));
        let sent = Time(beat.echo_us);
        if beat.echo_us > 0 && sent <= now {
            let rtt = now.since(sent).saturating_sub(beat.echo_age_us);
            w.rtt = if w.rtt == 0 { rtt } else { (w.rtt * 7 + rtt) / 8 };
        }
    }

    /// The heartbeat for a watched member.
    pub(crate) fn heartbeat_for(
        &self, now: Time, to: Incarnation, view: (u64, u64), late: Micros,
    ) -> Option<Heartbeat> {
        let w = self.watched.get(&to)?;
        let (echo_us, echo_age_us) = w.echo.map_or((0, 0), |(clock, at)| (clock, now.since(at)));
        Some(Heartbeat {
            view_number: view.0,
            view_tag: view.1,
            sent_us: now.0,
            echo_us,
            echo_age_us,
            heard_ms: (now.since(w.heard) / 1_000).min(u64::from(u32::MAX)) as u32,
            late_ms: (late / 1_000) as u32,
        })
    }

    /// Our own process stood still: nobody is accused on clocks that ran meanwhile, nor before what lies in the kernel has
    /// been looked at (V6).
    pub(crate) fn forgive(&mut self, now: Time, pause: Micros) {
        for w in self.watched.values_mut() {
            w.heard = (w.heard + pause).min(now);
            w.heard_by = (w.heard_by + pause).min(now);
        }
        // Not again and again: a loop that is always late must still notice who is dead.
        if now.since(self.quiet_until) > self.silence / 3 {
            self.quiet_until = now + LOOK_FIRST;
        }
    }

    /// How long a link has not been up in both directions.
    fn silent_for(&self, now: Time, w: &Watched) -> Micros {
        now.since(w.heard.min(w.heard_by))
    }

    /// Whether the link to a member is up: heard, and heard by it.
    pub(crate) fn is_up(&self, now: Time, whom: Incarnation) -> bool {
        self.watched.get(&whom).is_some_and(|w| self.silent_for(now, w) < self.silence)
    }

    /// How long the link to a member has not been up in both directions; `None` if it is not watched.
    pub(crate) fn unlinked_for(&self, now: Time, whom: Incarnation) -> Option<Micros> {
        self.watched.get(&whom).map(|w| self.silent_for(now, w))
    }

    /// Looks for silence.
    pub(crate) fn findings(&mut self, now: Time) -> Vec<Finding> {
        let mut found = Vec::new();
        if now < self.quiet_until {
            return found;
        }
        for (whom, w) in &mut self.watched {
            let silent = now.since(w.heard.min(w.heard_by));
            if silent < self.silence / 3 * 2 {
                w.told = Told::Nothing;
            } else if silent >= self.silence && (w.told < Told::Silent || now.since(w.told_at) >= self.heartbeat) {
                w.told = Told::Silent;
                w.told_at = now;
                found.push(Finding::Silent(*whom, silent));
            } else if w.told < Told::Check {
                w.told = Told::Check;
                found.push(Finding::Check(*whom, silent));
            }
        }
        found
    }

    /// When the next finding can come.
    pub(crate) fn deadline(&self) -> Time {
        let next = |w: &Watched| {
            let since = w.heard.min(w.heard_by);
            match w.told {
                Told::Nothing => since + self.silence / 3 * 2,
                Told::Check => since + self.silence,
                Told::Silent => (w.told_at + self.heartbeat).max(since + self.silence),
            }
        };
        self.watched.values().map(next).min().unwrap_or(Time::NEVER).max(self.quiet_until)
    }
}
