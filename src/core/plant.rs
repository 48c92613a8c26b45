//! Bugs that can be planted on purpose, so that the simulator can show that it catches them.
//!
//! Without the `sim` feature there are none: [`Plants::has`] is a constant `false`.

/// One planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // `Plant::ALL` says what each one does
pub enum Plant {
    DeliverBeyondCut,
    ForgetBeforeStable,
    ForgetAcceptedProposal,
    RelayOverGap,
    ReplayTwice,
    IgnoreLease,
    CountUnreadyJoiner,
    LeakCredit,
    TrustOneWayLink,
    RelyOnStaleProof,
    LeaseWithoutHold,
    DropAtViewEnd,
    OneObserverKills,
    KeepIdentityAfterRestart,
    AcknowledgeOutside,
    AnswerBeforeCopy,
    PromoteEarly,
    ForgetTokens,
    CopyWithoutTokens,
    NewInsteadOfUnreachable,
    SkipAdoption,
    SkipRelease,
    TakeBackUnasked,
    CountLostCopy,
    LeaveWithSessions,
    MoveWithoutRelease,
    LagWithoutBound,
    AgreedAtOnce,
    SafeAtOnce,
    NoTransition,
    QueueWithoutBound,
    BearTheSlow,
    ReturnNothing,
    DirectRepeat,
    GoOnInside,
    StableWhenSent,
    KeepOwnBack,
    OwnFirstAtTheEnd,
    SkipReplay,
    HalfDecides,
    GrantAlone,
    TakeAnyName,
    ForgetToTell,
    NeverMerge,
    BlindAfterPause,
    PromoteInPlace,
    AdoptAnything,
    SingleIsOk,
    EndHalf,
    KeepOldContent,
    ExpireEarly,
    CountWitness,
    CarryToWitness,
    CopyToWitness,
    MoveWithNewSeat,
    CastOverGap,
    RepairNothing,
    LooseTwice,
    BeginUnasked,
    KeepGrants,
    TrustDepartures,
}

impl Plant {
    /// Every bug, its name for the command, the promise that it breaks, and what it does.
    #[rustfmt::skip]
    pub const ALL: &'static [(Plant, &'static str, &'static str, &'static str)] = &[
        (Plant::DeliverBeyondCut, "deliver-beyond-cut", "D3", "takes batches after its promise, and delivers them in the old view"),
        (Plant::ForgetBeforeStable, "forget-before-stable", "D7", "drops retained batches as soon as it has delivered them"),
        (Plant::ForgetAcceptedProposal, "forget-accepted-proposal", "V1", "reports no accepted proposal in its promises"),
        (Plant::RelayOverGap, "relay-over-gap", "D1", "accepts and relays a batch that is not the next one"),
        (Plant::ReplayTwice, "replay-twice", "D1", "accepts a repeated batch again"),
        (Plant::IgnoreLease, "ignore-lease", "V3", "acts as primary although its lease has run out"),
        (Plant::CountUnreadyJoiner, "count-unready-joiner", "V5", "lets a joiner that is not ready hold up stability"),
        (Plant::LeakCredit, "leak-credit", "D5", "does not put returned credit back into the pool"),
        (Plant::TrustOneWayLink, "trust-one-way-link", "V8", "takes a link for up though the other end does not hear it"),
        (Plant::RelyOnStaleProof, "rely-on-stale-proof", "V3", "uses a proof of death however old it is"),
        (Plant::LeaseWithoutHold, "lease-without-hold", "V3", "grants the first lease of a view at once"),
        (Plant::DropAtViewEnd, "drop-at-view-end", "D7", "drops accepted sends without a batch when a view ends"),
        (Plant::OneObserverKills, "one-observer-kills", "V7", "removes a member on the word of one observer"),
        (Plant::KeepIdentityAfterRestart, "keep-identity-after-restart", "V2", "starts again with the incarnation it had before"),
        (Plant::AcknowledgeOutside, "acknowledge-outside", "S5", "answers OK for a session although it is not in the primary view"),
        (Plant::AnswerBeforeCopy, "answer-before-copy", "S1", "answers OK for a change before a second member has it"),
        (Plant::PromoteEarly, "promote-early", "S5", "takes a session over when somebody wants it, though its owner is there"),
        (Plant::ForgetTokens, "forget-tokens", "S4", "makes a change again that it has made under the same token"),
        (Plant::CopyWithoutTokens, "copy-without-tokens", "S4", "leaves the tokens out when it gives a session away or copies it"),
        (Plant::NewInsteadOfUnreachable, "new-instead-of-unreachable", "S5", "says that there is no such session though its holders are away"),
        (Plant::SkipAdoption, "skip-adoption", "S5", "serves a session that was given to it before the other holder follows"),
        (Plant::SkipRelease, "skip-release", "S6", "serves a session that was given to it before the giver has let go"),
        (Plant::TakeBackUnasked, "take-back-unasked", "S5", "takes a session back that it gave without asking the other holder"),
        (Plant::CountLostCopy, "count-lost-copy", "S1", "answers OK for a change whose second holder is gone"),
        (Plant::LeaveWithSessions, "leave-with-sessions", "S6", "leaves in order without handing its sessions over"),
        (Plant::MoveWithoutRelease, "move-without-release", "S5", "moves a second copy without waiting until the old holder has let go"),
        (Plant::LagWithoutBound, "lag-without-bound", "S2", "answers for changes early however many have no second copy"),
        (Plant::AgreedAtOnce, "agreed-at-once", "D4", "delivers what needs a place in the order without waiting for one"),
        (Plant::SafeAtOnce, "safe-at-once", "D4", "delivers what is safe before all hold it"),
        (Plant::NoTransition, "no-transition", "D3", "lets a view end without a transition event"),
        (Plant::QueueWithoutBound, "queue-without-bound", "D5", "hands its host messages however many it has not taken"),
        (Plant::BearTheSlow, "bear-the-slow", "D5", "bears for ever who takes nothing, its own host included"),
        (Plant::ReturnNothing, "return-nothing", "D7", "drops what a member that is gone has not acknowledged"),
        (Plant::DirectRepeat, "direct-repeat", "D1", "takes a repeated batch of a stream to one member again"),
        (Plant::GoOnInside, "go-on-inside", "D7", "goes on in the middle of a long message in the next view"),
        (Plant::StableWhenSent, "stable-when-sent", "D7", "says of what it has sent that all hold it"),
        (Plant::KeepOwnBack, "keep-own-back", "D4", "does not give its host its own messages in their place"),
        (Plant::OwnFirstAtTheEnd, "own-first-at-the-end", "D4", "begins with its own stream when a view ends, in what has no place"),
        (Plant::SkipReplay, "skip-replay", "D7", "replays nothing when a link comes up again"),
        (Plant::HalfDecides, "half-decides", "V3", "takes half of the voters for a majority"),
        (Plant::GrantAlone, "grant-alone", "V3", "grants leases although nobody answers"),
        (Plant::TakeAnyName, "take-any-name", "V2", "admits a joiner whose name belongs to a living member"),
        (Plant::ForgetToTell, "forget-to-tell", "V6", "joins again as somebody new without a word to its host"),
        (Plant::NeverMerge, "never-merge", "V4", "looks for no other part of the cluster"),
        (Plant::BlindAfterPause, "blind-after-pause", "V6", "does not notice that its own process stood still"),
        (Plant::PromoteInPlace, "promote-in-place", "S3", "takes a session over without a later epoch"),
        (Plant::AdoptAnything, "adopt-anything", "S6", "agrees to every claim"),
        (Plant::SingleIsOk, "single-is-ok", "S1", "answers OK for a change that no second member can take"),
        (Plant::EndHalf, "end-half", "S5", "ends a session at its owner only"),
        (Plant::KeepOldContent, "keep-old-content", "S1", "counts a change at the second copy and does not make it"),
        (Plant::ExpireEarly, "expire-early", "S5", "ends a session after a tenth of its time"),
        (Plant::CountWitness, "count-witness", "V5", "waits for a witness, which takes no messages, before it calls anything stable"),
        (Plant::CarryToWitness, "carry-to-witness", "D5", "sends messages to witnesses, too"),
        (Plant::CopyToWitness, "copy-to-witness", "S1", "lets a witness hold the second copy of a session"),
        (Plant::MoveWithNewSeat, "move-with-new-seat", "D7", "gives a member that moves to another group a new seat"),
        (Plant::CastOverGap, "cast-over-gap", "D1", "goes on after what was lost on its way by multicast"),
        (Plant::RepairNothing, "repair-nothing", "D7", "sends nothing of what others have lost on its way by multicast"),
        (Plant::LooseTwice, "loose-twice", "D4", "takes a message outside of streams as often as it comes"),
        (Plant::BeginUnasked, "begin-unasked", "V4", "begins long messages before it is its turn"),
        (Plant::KeepGrants, "keep-grants", "D7", "as the coordinator never takes room for a long message back"),
        (Plant::TrustDepartures, "trust-departures", "S1", "uses a copy of another life again though whoever else had one came back and went on"),
    ];

    /// Finds a plant by its name.
    pub fn by_name(name: &str) -> Option<Plant> {
        Plant::ALL.iter().find(|(_, n, ..)| *n == name).map(|(p, ..)| *p)
    }

    /// Its name for the command.
    pub fn name(self) -> &'static str {
        Plant::ALL[self as usize].1
    }

    /// The promise that it breaks.
    pub fn guarantee(self) -> &'static str {
        Plant::ALL[self as usize].2
    }
}

/// The planted bug of one member, if any.
#[derive(Clone, Copy, Hash, Debug, Default)]
pub(crate) struct Plants {
    #[cfg(feature = "sim")]
    plant: Option<Plant>,
}

impl Plants {
    #[cfg(feature = "sim")]
    pub(crate) fn new(plant: Option<Plant>) -> Plants {
        Plants { plant }
    }

    /// Whether this bug is planted here.
    #[inline]
    pub(crate) fn has(&self, plant: Plant) -> bool {
        #[cfg(feature = "sim")]
        return self.plant == Some(plant);
        #[cfg(not(feature = "sim"))]
        {
            let _ = plant;
            false
        }
    }
}
