//! Coverage marks: one for each transition of the machines that decide views, leases, multicast and sessions, so that the simulator can show
//! that its seeds reach the rare ones too.
//!
//! Without the `sim` feature there are none: [`Marks::reach`] does nothing.

#[cfg(feature = "sim")]
use std::sync::Arc;
#[cfg(feature = "sim")]
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes the marks out of a table: each one, its name in reports, and when it is reached.
macro_rules! marks {
    ($($mark:ident $name:literal $about:literal,)*) => {
        /// One transition.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Mark {
            $(#[doc = $about] $mark,)*
        }

        impl Mark {
            /// Every mark, its name in reports, and when it is reached.
            pub const ALL: &'static [(Mark, &'static str, &'static str)] = &[$((Mark::$mark, $name, $about),)*];
        }
    };
}

#[rustfmt::skip]
marks! {
    // Views: changes, joining, leaving, suspicion, quorums, merges.
    ChangePrepared "view-change-prepared" "the coordinator of a view begins a change: Prepare goes out",
    FirstViewPrepared "view-first-view-prepared" "starters begin to form the first view together",
    Promised "view-promised" "a member promises, and takes no more part in its view",
    PromisedAgain "view-promised-again" "a member that has promised already promises a later attempt",
    PromisedAsJoiner "view-promised-as-joiner" "a starter promises as one that comes",
    PromiseRefused "view-promise-refused" "a promise is refused: a higher ballot has it",
    PrepareOfRemoved "view-prepare-of-removed" "who prepares was removed, and is told so",
    PrepareBehind "view-prepare-behind" "who prepares is behind: it is told what was installed since",
    PrepareOtherView "view-prepare-other-view" "who prepares follows a view that is not the acceptor's, and not one before it",
    PrepareBeforeInstall "view-prepare-before-install" "a member is asked to promise before it has heard of its view",
    LogForgotten "view-log-forgotten" "a joiner is admitted to another log than the one that it remembers",
    CutSent "view-cut-sent" "all have promised: the cut goes out",
    CutHeld "view-cut-held" "a survivor holds the cut",
    CutFetched "view-cut-fetched" "a survivor asks a holder for what it lacks of the cut",
    CutFetchedDirectly "view-cut-fetched-directly" "a survivor asks again, over a connection of its own",
    FetchServed "view-fetch-served" "a holder sends what another one lacks of the cut",
    FetchForgotten "view-fetch-forgotten" "what is asked for of the cut is forgotten: the asker did not count for stability",
    CutUnavailable "view-cut-unavailable" "a member lacks what the others have forgotten, and starts again",
    EarlierTakenUp "view-earlier-taken-up" "a proposal that may have been accepted is proposed again",
    EarlierLeft "view-earlier-left" "a fenced proposal is left to its own voters by those who can decide an unfenced view only",
    Proposed "view-proposed" "the next view is proposed",
    Accepted "view-accepted" "a proposal is accepted",
    AcceptedInstalled "view-accepted-installed" "a proposal is accepted again by a member that has installed it",
    AcceptRefused "view-accept-refused" "a proposal is not accepted: a higher ballot has the promise",
    DecidedFenced "view-decided-fenced" "a fenced view is decided",
    DecidedUnfenced "view-decided-unfenced" "an unfenced view is decided",
    FencedAgain "view-fenced-again" "a fenced view follows an unfenced one",
    UnfencedAfterFenced "view-unfenced-after-fenced" "an unfenced view follows a fenced one",
    Installed "view-installed" "a view is installed after another one",
    InstalledFirst "view-installed-first" "a view is installed by a member that had none",
    DecidedUnknown "view-decided-unknown" "a decision is told to a member that has not accepted it: it asks for the view",
    InstallKnown "view-install-known" "an installation is told to one that has it",
    InstallElsewhere "view-install-elsewhere" "an installation comes that does not follow the member's view",
    DecidedWithout "view-decided-without" "a starter hears of a view that was decided without it",
    RemovedByView "view-removed-by-view" "a member hears of the view that follows without it",
    InstallRepeated "view-install-repeated" "the coordinator tells a member the installation again",
    LaggardGivenUp "view-laggard-given-up" "the coordinator gives up to tell a member",
    LaggardInRejection "view-laggard-in-rejection" "a member that refuses has not heard of the view: it is told",
    InstalledByRejection "view-installed-by-rejection" "a coordinator hears in a refusal of a view that it does not know",
    Outbid "view-outbid" "an attempt ends because another ballot has a promise",
    AttemptHopeless "view-attempt-hopeless" "an attempt ends because an answer stays away for too long",
    ParticipantRemoved "view-participant-removed" "an attempt ends because somebody who takes part was removed",
    SurvivorSilent "view-survivor-silent" "a survivor that does not answer the coordinator is looked into",
    NoMajority "view-no-majority" "a change cannot begin: no majority of the voters is there",
    NoMajorityPromised "view-no-majority-promised" "all have promised, and no majority of the voters is among them",
    NoMajorityProposed "view-no-majority-proposed" "there is no majority any more when the view would be proposed",
    StuckTold "view-stuck-told" "a member that is frozen for long tells whoever coordinates now",
    StuckHeard "view-stuck-heard" "the coordinator hears of a member that is frozen by an attempt that nobody finishes",
    StuckTakenOver "view-stuck-taken-over" "a change begins because nobody finishes an earlier attempt",
    ReadyHeard "view-ready-heard" "the coordinator hears that a host is ready",
    AdmissionAsked "view-admission-asked" "a starter asks for admission",
    AdmissionPutOff "view-admission-put-off" "a process does not ask before its host has taken most of what it was given",
    EntranceLost "view-entrance-lost" "who was asked for admission is gone",
    EntranceVain "view-entrance-vain" "admission was asked for in vain: the starter looks for another way in",
    EntrancePassedOver "view-entrance-passed-over" "the view that was asked in vain is passed over once",
    RefusedForNow "view-refused-for-now" "a starter is refused for now, and asks anew",
    RefusedForGood "view-refused-for-good" "a starter is refused for good, and ends",
    SearchTimedOut "view-search-timed-out" "a starter finds nobody in its time, and ends",
    FormingLeft "view-forming-left" "a starter leaves it to a smaller name to form the first view",
    StarterInView "view-starter-in-view" "a starter hears that another one has got into a view",
    ViewHeard "view-view-heard" "a starter is looked for by somebody who is in a view",
    JoinersGatheredLonger "view-joiners-gathered-longer" "newcomers keep coming: they are gathered for longer",
    JoinHeard "view-join-heard" "the coordinator hears a request for admission",
    JoinPassedOn "view-join-passed-on" "a member passes a request for admission on to the coordinator",
    JoinerIsCoordinator "view-joiner-is-coordinator" "a newcomer has the address of the coordinator, which is looked into",
    JoinerToldAgain "view-joiner-told-again" "a joiner that was admitted asks again, and is told the view",
    JoinerReplaces "view-joiner-replaces" "a newcomer takes the name of a member that goes",
    JoinerNameTaken "view-joiner-name-taken" "a newcomer is refused: its name belongs to a living member",
    JoinerSilent "view-joiner-silent" "a joiner that does not answer the coordinator is left out",
    JoinerElsewhere "view-joiner-elsewhere" "a joiner has got into another view",
    JoinerUnplaceable "view-joiner-unplaceable" "a joiner is refused: it hears no leader that could take it",
    LeaveBegun "view-leave-begun" "a member begins to leave",
    LeftWithoutView "view-left-without-view" "a member without a view leaves",
    GoodbyeSettled "view-goodbye-settled" "a leaver says so when nothing is left to do",
    GoodbyeLate "view-goodbye-late" "a leaver says so although something is left to do: half of its time is over",
    LeaverReleased "view-leaver-released" "a leaver hears that the others agree",
    LeaverGone "view-leaver-gone" "a leaver ends as agreed",
    LeftLast "view-left-last" "a leaver ends because nobody stays",
    LeftUnheard "view-left-unheard" "a leaver ends because its time is over",
    LeaverRemoved "view-leaver-removed" "a leaver is removed before it is released",
    HeartbeatAsked "view-heartbeat-asked" "a member whose heartbeat is overdue is asked for one",
    HeartbeatAnswered "view-heartbeat-answered" "a member answers one that has not heard it for too long",
    SilenceNoticed "view-silence-noticed" "silence raises a suspicion",
    SilenceUnbearable "view-silence-unbearable" "silence is longer than what is borne",
    PauseNoticed "view-pause-noticed" "a member notices that it stood still, and forgives the others",
    CheckedAlive "view-checked-alive" "a suspect answers",
    CheckedSilent "view-checked-silent" "a suspect does not answer",
    CheckedDead "view-checked-dead" "a suspect is proven dead",
    SilentButLinked "view-silent-but-linked" "a suspect that does not answer is spared: each end has just heard the other",
    AnsweredByAnother "view-answered-by-another" "another incarnation answers at the address of a suspect",
    PortRefused "view-port-refused" "the port of a suspect is refused",
    OthersAsked "view-others-asked" "the coordinator asks others about a suspect",
    AskedByAnother "view-asked-by-another" "a member is asked about a suspect",
    NextChecked "view-next-checked" "a coordinator or leader is lost: those who may come next are looked at",
    VoterCheckedAgain "view-voter-checked-again" "a voter is looked at again because it is missing for a majority",
    LinkMadeAnew "view-link-made-anew" "a member that answers has a silent link, which is made anew",
    RemovalPutOff "view-removal-put-off" "a removal waits for those who listen: they have heard the member more lately",
    RemovalTakenBack "view-removal-taken-back" "a silent member is heard before the change, and stays",
    RemovalProven "view-removal-proven" "a member is removed that is proven dead",
    RemovalSilent "view-removal-silent" "a member is removed that is silent to two",
    RemovalByOne "view-removal-by-one" "a member is removed on the word of the only one who can say",
    RemovalUnlinked "view-removal-unlinked" "a member is removed because it and one that it must hear do not hear each other",
    MemberMoved "view-member-moved" "a member moves to a group whose leader it hears",
    ActingResigned "view-acting-resigned" "who acts has no majority, and asks the others to pass it over",
    SurvivorUnreached "view-survivor-unreached" "a survivor that the coordinator does not reach is removed",
    CheckRepeated "view-check-repeated" "a dial that was closed unanswered is repeated at once",
    PairDeaf "view-pair-deaf" "two living members do not hear each other",
    JudgeCutOff "view-judge-cut-off" "the coordinator does not judge links: it is cut off itself",
    QuorumRemembers "view-quorum-remembers" "most voters are there and remember what they promised",
    QuorumComplete "view-quorum-complete" "all voters are there or proven dead",
    QuorumRested "view-quorum-rested" "most voters are there and have been up for longer than a lease",
    QuorumMissing "view-quorum-missing" "voters are missing for a fenced view",
    QuorumVoterless "view-quorum-voterless" "there are no voters: those present decide",
    QuorumOfTwo "view-quorum-of-two" "one of two voters goes on alone, unfenced",
    QuorumMinority "view-quorum-minority" "a minority that is allowed to serve decides, unfenced",
    LostLookedFor "view-lost-looked-for" "the coordinator looks for a member that was lost",
    RemovedTold "view-removed-told" "a removed member is told so",
    Expelled "view-expelled" "a removed member hears that it is",
    CutOffMet "view-cut-off-met" "a fenced part without a lease meets the one that went on, and restarts",
    GoneOver "view-gone-over" "a member of the view has gone over to another one",
    LaggardMet "view-laggard-met" "a member is met that lags behind: it is told the view",
    PartMet "view-part-met" "another part of the cluster is met",
    MergeWon "view-merge-won" "another part is met that has to give way",
    MergeToFenced "view-merge-to-fenced" "a part gives way to a fenced one",
    MergeToLarger "view-merge-to-larger" "an unfenced part gives way to a larger one",
    MergeToEqual "view-merge-to-equal" "of two equal unfenced parts one gives way",

    // Multicast.
    MulticastSilent "multicast-silent" "nobody is heard by multicast",
    MulticastHeard "multicast-heard" "somebody is heard by multicast again",
    MulticastGivenUp "multicast-given-up" "too much is lost of what comes by multicast: all is taken over connections for a while",
    MulticastFull "multicast-full" "no more is taken until it is known what all have taken",
    MulticastNarrowed "multicast-narrowed" "another member takes shorter datagrams only",
    MulticastMet "multicast-met" "a member of another part is heard by multicast",
    CarriageAsked "multicast-carriage-asked" "a stream is wanted over a connection",
    CarriageEnded "multicast-carriage-ended" "a stream is taken by multicast",
    RepairAsked "multicast-repair-asked" "a member asks for what it has lost",
    RepairServed "multicast-repair-served" "what was lost is sent again",
    RepairLate "multicast-repair-late" "what somebody asked for is sent on when it comes",
    RepairCapped "multicast-repair-capped" "the bucket has nothing left for what somebody asks for",
    LooseTaken "multicast-loose-taken" "a message outside of streams is taken",
    LooseRepeated "multicast-loose-repeated" "a message outside of streams comes again, and is not taken",
    // Leases.
    LeaseGranted "lease-granted" "a member gets a lease",
    LeaseRenewed "lease-renewed" "a lease is renewed",
    LeaseTooLate "lease-too-late" "a grant comes when what it grants is over",
    LeaseUpheld "lease-upheld" "a round is complete, and counts",
    LeaseRanOut "lease-ran-out" "a lease runs out",
    LeaseGivenUp "lease-given-up" "a lease is given up for a promise or at an end",
    LeaseAsked "lease-asked" "a member asks for its first lease",
    LeaseWanted "lease-wanted" "a member has told its clock, and no round has brought it back yet",
    LeaseRoundBetween "lease-round-between" "a round begins between two heartbeats",
    LeaseBaseless "lease-baseless" "a member cannot be granted a round that brought it no clock of its own",
    PrimaryBegun "lease-primary-begun" "a member begins to act as primary",
    HoldBegun "lease-hold-begun" "the first lease of a view has to wait",
    HoldWaited "lease-hold-waited" "a round is complete while the first lease has to wait",
    HoldOver "lease-hold-over" "the hold is over, and the newest complete round counts",
    HoldKept "lease-hold-kept" "a hold of an earlier view goes on in the next one",
    HoldSetAside "lease-hold-set-aside" "a newcomer to the log sets its own hold aside",
    HoldByGrants "lease-hold-by-grants" "a hold is bounded by what the old coordinator says that it granted",
    HoldByFences "lease-hold-by-fences" "a hold is bounded by what the voters have answered",
    HoldForTheDead "lease-hold-for-the-dead" "too few voters that live know who may hold an older lease",
    HoldWithoutNewcomers "lease-hold-without-newcomers" "what newcomers answered in a former life does not count for the hold",
    ProofAsked "lease-proof-asked" "a voter that is not in the view is dialled for a proof of death",
    ProofGood "lease-proof-good" "a round is complete because all voters that are missing are proven dead",
    ProofOutdated "lease-proof-outdated" "a proof is older than a round that is open: a new one is asked for",

    // Sessions.
    SessionCreated "session-created" "a session is made",
    SessionCreatedTwice "session-created-twice" "a session is to be made that is there already",
    SessionCreateWaits "session-create-waits" "a session is to be made outside the primary view: it waits",
    SessionCreateTooLarge "session-create-too-large" "a session is not made: it would be too large",
    SessionCreateFull "session-create-full" "a session is not made for want of memory",
    SessionRead "session-read" "a session is read or touched by its owner",
    SessionPeekedHere "session-peeked-here" "a session is looked at by its owner's host",
    SessionWritten "session-written" "a session is changed",
    SessionWriteConflicts "session-write-conflicts" "a change is refused: the session is at another version",
    SessionWriteFull "session-write-full" "a change is refused for want of memory",
    SessionWriteTooLarge "session-write-too-large" "a change is refused: the session would be too large",
    SessionTokenRepeated "session-token-repeated" "a change is asked for again under its token, and not made again",
    SessionTokenSingle "session-token-single" "a repeated change has no second copy yet",
    SessionTokenForgotten "session-token-forgotten" "a token is older than those that are remembered",
    SessionRequestWaits "session-request-waits" "a request waits until changes before it are answered for",
    SessionRequestLapsed "session-request-lapsed" "a request is given up outside the primary view",
    SessionRequestTimedOut "session-request-timed-out" "a request has waited for too long",
    SessionOutcomeUnknown "session-outcome-unknown" "a change is given up, and its outcome is unknown",
    SessionEndUnknown "session-end-unknown" "an end is given up, as the other holder has not let go in time",
    SessionAnsweredCopied "session-answered-copied" "a change is answered for because a second member has it",
    SessionAnsweredLate "session-answered-late" "a copied change is answered for when its owner acts in the primary view again",
    SessionAnsweredSingle "session-answered-single" "a change is answered for although no second member can take it",
    SessionAnsweredEarly "session-answered-early" "a change is answered for before a second member has it",
    SessionEarlyRefused "session-early-refused" "the window of asynchronous mode is full",
    SessionCorked "session-corked" "changes wait for more on their way",
    SessionExpired "session-expired" "a session expires",
    SessionEnded "session-ended" "a session is removed",
    SessionEndedAtHolder "session-ended-at-holder" "the second copy of a session that has ended goes",
    SessionEndRefused "session-end-refused" "a session is to end that has gone on elsewhere",
    SessionGiveEarly "session-give-early" "a session is given in a view that its receiver has not installed yet",
    SessionCopySent "session-copy-sent" "an owner sends a whole second copy",
    SessionCopyTaken "session-copy-taken" "a second copy is taken",
    SessionCopyRefused "session-copy-refused" "a second copy is refused: the session is in another epoch",
    SessionCopyFull "session-copy-full" "a second copy is refused for want of memory",
    SessionCopyLeaving "session-copy-leaving" "a second copy is refused by a member that leaves",
    SessionCopyConfirmed "session-copy-confirmed" "an owner hears that its second copy is there",
    SessionChangeTaken "session-change-taken" "a second copy follows a change",
    SessionChangeRefused "session-change-refused" "a second copy cannot follow a change",
    SessionChangeFull "session-change-full" "a change is refused for want of memory: the holder keeps the version before",
    SessionHolderFull "session-holder-full" "the holder of a second copy has no room for a change: its owner looks for another one",
    SessionHolderLost "session-holder-lost" "the holder of a second copy is gone",
    SessionHolderObjected "session-holder-objected" "the holder of a second copy does not follow: the owner looks for another one",
    SessionOwnerSuperseded "session-owner-superseded" "an owner hears that the session has gone on elsewhere",
    SessionRedundancyRestored "session-redundancy-restored" "all sessions have second copies again",
    SessionPromoted "session-promoted" "the holder of the second copy takes over, because the owner is gone",
    SessionWanted "session-wanted" "a session is asked for where it may be",
    SessionRedirected "session-redirected" "who was asked for a session says who has it",
    SessionSearchPaused "session-search-paused" "a session is on its way: it is looked for a little later",
    SessionSoughtEverywhere "session-sought-everywhere" "a session is looked for at all members",
    SessionFoundEverywhere "session-found-everywhere" "a session is found by asking all members",
    SessionAbsent "session-absent" "a session is nowhere",
    SessionUnreachable "session-unreachable" "a session is nowhere, and members that may have it are away",
    SessionGiven "session-given" "an owner gives a session away",
    SessionSentOn "session-sent-on" "who wants a session that has gone elsewhere is told where",
    SessionGiveTaken "session-give-taken" "a session is taken by whoever it was given to",
    SessionGiveRefused "session-give-refused" "a session is not taken by whoever it was given to: it is in another epoch",
    SessionGiveFull "session-give-full" "a session is not taken for want of memory",
    SessionClaimMade "session-claim-made" "a claim asks the holder of the other copy",
    SessionClaimUnasked "session-claim-unasked" "a claim has nobody to ask",
    SessionAdopted "session-adopted" "the holder of the second copy follows a new owner",
    SessionAdoptedByGiver "session-adopted-by-giver" "the giver becomes the holder of the second copy",
    SessionAdoptRefused "session-adopt-refused" "a claim is refused",
    SessionReleaseAsked "session-release-asked" "the giver is asked to let go",
    SessionReleased "session-released" "a copy that is not needed any more goes",
    SessionEstablished "session-established" "a claimant becomes the owner",
    SessionClaimRefused "session-claim-refused" "a claimant gives up",
    SessionClaimVoiceReplaced "session-claim-voice-replaced" "who was asked is gone: the giver is asked",
    SessionClaimVoiceLost "session-claim-voice-lost" "who was asked is gone, and with it what it could claim",
    SessionSetAside "session-set-aside" "a claim or a copy counts no more: others may have gone on without us",
    SessionTakenBack "session-taken-back" "a giver takes a session back",
    SessionPeekAsked "session-peek-asked" "the owner shows a session to another member",
    SessionPeekShown "session-peek-shown" "a member sees a session that is not its own",
    SessionLookerSentOn "session-looker-sent-on" "who wants to look at a session that has gone elsewhere is told where",
    SessionRetired "session-retired" "a member hands everything over before it leaves",
    SessionRetiringHeard "session-retiring-heard" "a member hears that another one is about to leave",
    SessionRetiringToldLater "session-retiring-told-later" "a newcomer is told that a member is about to leave",
    SessionBequeathed "session-bequeathed" "a leaver leaves a session to the holder of its second copy",
    SessionInherited "session-inherited" "the holder of the second copy claims what was left to it",
    SessionInheritRefused "session-inherit-refused" "a session is left to a member that holds no such copy",
    SessionMoveBegun "session-move-begun" "a second copy is sent elsewhere because its holder leaves",
    SessionMoveReleasing "session-move-releasing" "the new holder has the copy: the old one is asked to let go",
    SessionMoved "session-moved" "the second copy has moved",
    SessionMoveLost "session-move-lost" "the new holder is gone before the copy has moved",
    SessionMoveRefused "session-move-refused" "the new holder does not take the copy",
    SessionMoveCalledOff "session-move-called-off" "a session has gone on elsewhere while its second copy moved",
    SessionOutliveAsked "session-outlive-asked" "a copy that was to replace another one has lost the owner: the other holder is asked",
    SessionOutliveGranted "session-outlive-granted" "the other holder has let go",
    SessionOutliveDenied "session-outlive-denied" "the other holder has the session",
    SessionOrphaned "session-orphaned" "what a removed member held becomes a copy of another life",
    SessionOrphanDropped "session-orphan-dropped" "a copy of another life goes: the others went on",
    SessionOrphanYields "session-orphan-yields" "a copy of another life waits for a better one",
    SessionOrphanKept "session-orphan-kept" "a copy of another life stays: somebody may have gone on with it",
    SessionOrphanStale "session-orphan-stale" "a copy of another life goes: its session would have expired",
    SessionRevived "session-revived" "a copy of another life is the session again",
    SessionConflict "session-conflict" "a copy of another life had what the others' session has not",
    SessionDepartedTold "session-departed-told" "newcomers are told who is gone",
}

impl Mark {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        Mark::ALL[self as usize].1
    }
}

/// How often each mark was reached. Clones count together: all members of one simulated world share theirs. Counting changes
/// nothing that a member does.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "sim"), derive(Default))]
pub struct Marks {
    #[cfg(feature = "sim")]
    counts: Arc<[AtomicU64]>,
}

#[cfg(feature = "sim")]
impl Default for Marks {
    fn default() -> Marks {
        Marks { counts: Mark::ALL.iter().map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Marks {
    /// This transition happens.
    #[inline]
    pub(crate) fn reach(&self, mark: Mark) {
        #[cfg(feature = "sim")]
        self.counts[mark as usize].fetch_add(1, Ordering::Relaxed);
        #[cfg(not(feature = "sim"))]
        let _ = mark;
    }

    /// This transition happens if that is so.
    #[inline]
    pub(crate) fn reach_if(&self, so: bool, mark: Mark) {
        if so {
            self.reach(mark);
        }
    }

    /// How often each mark was reached, in the order of [`Mark::ALL`].
    #[cfg(feature = "sim")]
    pub fn counts(&self) -> Vec<u64> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_say_to_which_machine_a_mark_belongs() {
        let names: BTreeSet<&str> = Mark::ALL.iter().map(|(_, name, _)| *name).collect();
        assert_eq!(names.len(), Mark::ALL.len());
        for (mark, name, about) in Mark::ALL {
            assert_eq!(mark.name(), *name);
            assert!(
                ["view-", "lease-", "multicast-", "session-"].iter().any(|machine| name.starts_with(machine)),
                "{name}"
            );
            assert!(!about.is_empty());
        }
    }

    #[test]
    fn clones_count_together() {
        let marks = Marks::default();
        marks.clone().reach(Mark::Promised);
        marks.reach_if(true, Mark::Promised);
        marks.reach_if(false, Mark::Proposed);
        assert_eq!(marks.counts()[Mark::Promised as usize], 2);
        assert_eq!(marks.counts().iter().sum::<u64>(), 2);
    }
}
