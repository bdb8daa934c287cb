"""Evidence for attacks on rights, quorums and signing in: name, family, tried, answer, tests."""

from typing import Final

from tests.attacks.published_row import named

_RIGHTS: Final = "rights"
_QUORUM: Final = "a quorum"
_SIGN_IN: Final = "signing in"

RIGHTS: Final = (
    ("an act that was not granted", _RIGHTS, "a share or amendment by whom no grant allows it",
     "exit 3 (grant.act)", named("whoever_was_not_granted_it_is_refused")),
    ("more passed on than one has", _RIGHTS,
     "permissions, end, openings and purpose beyond the signer's own",
     "exit 3 (grant.wider)", named("nobody_passes_on_more_than_he_has")),
    ("rights by many steps", _RIGHTS, "any sequence of acts, as chance has it",
     "nobody gets what no grant gave",
     named("no_sequence_of_acts_gives_anyone_what_no_grant_gave")),
    ("a grant that outlives its parcel", _RIGHTS, "a share without end of a parcel with one",
     "exit 3 (grant.wider)", named("the_end_of_the_parcel_ends_its_grants")),
    ("an act after the end", _RIGHTS, "a share made once the own grant had ended",
     "exit 3 (grant.late)", named("an_act_after_the_end_is_refused")),
    ("a forged lineage", _RIGHTS, "parent, digest, root, count or proof changed",
     "exit 3 (grant.lineage)",
     named("a_lie_about_what_was_before_is_refused a_forged_proof_is_refused")),
    ("a lineage without end", _RIGHTS, "more ancestors than allowed, or one that is its own",
     "exit 3 (grant.lineage)", named("a_chain_has_an_end no_parcel_comes_after_itself")),
    ("a grant changed on the way", _RIGHTS, "one octet of a grant", "exit 3",
     named("a_changed_grant_breaks_the_signature")),
)  # fmt: skip

QUORUM: Final = (
    ("one administrator alone", _QUORUM, "a proposal without a second approval",
     "nothing is done", named("the_proposer_alone_is_no_quorum")),
    ("an outsider", _QUORUM, "proposals and votes of other stations", "403",
     named("nobody_but_an_administrator_is_heard")),
    ("a proposal for elsewhere", _QUORUM, "another relay's, or of an earlier charter", "refused",
     named("a_proposal_for_another_relay_or_charter_is_refused")),
    ("a vote in another's name", _QUORUM, "a stranger's approval under an administrator's path",
     "refused", named("an_approval_of_a_stranger_does_not_travel_under_another_name")),
    ("a vote for another proposal", _QUORUM, "a genuine approval, handed in for another one",
     "refused", named("a_vote_for_one_proposal_serves_for_no_other")),
    ("a proposal once more", _QUORUM, "carried, and handed in again with all its votes",
     "not carried out again", named("a_carried_proposal_is_not_carried_out_again")),
    ("approvals of last month", _QUORUM, "votes after the proposal expired", "refused",
     named("approvals_expire_with_the_proposal")),
    ("an old key of an administrator", _QUORUM, "a vote signed before a rotation", "refused",
     named("an_old_key_of_an_administrator_approves_nothing")),
    ("a minority past a rejection", _QUORUM, "votes after too many have rejected",
     "it is over", named("a_rejection_is_final_and_too_many_end_it")),
    ("around the quorum", _QUORUM, "the operator's commands on the machine itself", "refused",
     named("nobody_acts_alone_at_the_machine_any_more")),
    ("too many open proposals", _QUORUM, "one administrator fills his room", "others still propose",
     named("one_administrator_cannot_keep_the_others_from_proposing")),
)  # fmt: skip

SIGN_IN: Final = (
    ("a key without its person", _SIGN_IN, "every request without a session", "403",
     named("a_person_without_session_gets_nothing_but_the_hint")),
    ("a code twice", _SIGN_IN, "in its window, and the one of the step before", "403",
     named("a_code_is_accepted_once")),
    ("a code twice around a crash", _SIGN_IN, "the relay dies after it was accepted", "403",
     named("what_was_accepted_is_used_up_even_if_the_relay_dies")),
    ("guessing codes", _SIGN_IN, "one code after the other",
     "slower after each, and locked after ten",
     named("failures_are_answered_more_and_more_slowly "
           "a_station_is_locked_after_too_many_failures")),
    ("locking others out", _SIGN_IN, "failures of another station, or with another key",
     "not counted", named("nobody_else_can_lock_a_station")),
    ("a recovery code twice", _SIGN_IN, "and one of before new ones were made", "403",
     named("each_recovery_code_works_once new_recovery_codes_take_the_place_of_the_old")),
    ("a factor of one's own", _SIGN_IN, "without the operator's secret, or with a used one", "403",
     named("a_factor_is_not_added_without_the_operators_secret")),
    ("secrets in the database", _SIGN_IN, "every secret, searched in the file", "found nowhere",
     named("no_secret_lies_in_the_database")),
    ("the database of factors deleted", _SIGN_IN, "so that nobody would have one",
     "nobody is let in", named("a_lost_database_lets_nobody_in")),
)  # fmt: skip

ROWS: Final = (*RIGHTS, *QUORUM, *SIGN_IN)
