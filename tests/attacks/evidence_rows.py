"""Evidence for attacks that have a test of their own: name, family, tried, answer, tests."""

from typing import Final

from tests.attacks.published_row import named

Row = tuple[str, str, str, str, tuple[str, ...]]

_CRASH: Final = "killed at any call"
_POWER: Final = "without power"
_MACHINE: Final = "a machine that fails"
_AGAIN: Final = "retransmission"
_VERSIONS: Final = "several versions"
_FORMAT: Final = "the sealed format"
_ABUSE: Final = "abuse of the relay"
_SECRETS: Final = "secrets"

_AT: Final = "tests/attacks/test_crash.py::test_killed_at_a_call"
_SAME: Final = "the same command completes it; at most the chunks in flight move twice"


def _crash(role: str, case: str, calls: str) -> Row:
    return (
        f"kill -9 of {role}",
        _CRASH,
        f"before each {calls} in turn",
        _SAME,
        (f"{_AT}[{case}]",),
    )


CRASHES: Final[tuple[Row, ...]] = (
    _crash("the sender", "sender-8-50", "write, fsync, rename, send and receive"),
    _crash("the receiver", "receiver-15-90", "write, fsync, rename, syncfs, send and receive"),
    _crash("a sender that collects a receipt", "collector-8-20", "write, fsync, rename and send"),
    _crash("the relay", "relay-28-150", "write, fsync, rename, statement of SQLite, HTTP event"),
    ("kill -9 of all three", _CRASH, "at random moments, while they work together", _SAME,
     named("killed_at_random")),
    ("kill -9 of a station in the making", _CRASH, "at each change of the disk",
     "no station, or a whole one",
     named("killed_at_any_step_there_is_no_station_or_a_whole_one")),
    ("kill -9 of a rotation", _CRASH, "at each change of the disk",
     "the next run completes it with the same keys",
     named("killed_at_any_step_the_next_run_completes_it")),
    ("kill -9 of a keystore that is written", _CRASH, "at each change of the disk",
     "the old keystore or the new one", named("killed_at_any_step_of_a_change_nothing_is_lost")),
    ("kill -9 while files get their names", _CRASH, "at each change of the disk",
     "the next run moves the rest", named("a_crash_at_any_step_is_completed_by_the_next_run")),
)  # fmt: skip

POWER: Final[tuple[Row, ...]] = (
    ("no power at the receiver", _POWER,
     "after each change: all, nothing, names alone, octets alone, the journal alone, by chance",
     "no wrong file, no receipt too early; the same command completes it",
     named("a_receiver_without_power")),
    ("no power at the sender", _POWER, "after each change, in the same ways",
     "no second seal, no other chunk; the same command completes it",
     named("a_sender_without_power")),
    ("no power at the relay", _POWER, "after each change, in the same ways",
     "folder and database agree, and every answer that went out is still true",
     named("a_relay_without_power")),
    ("another boot", _POWER, "chunks that were claimed and not made durable",
     "they count as missing", named("after_a_reboot_only_synced_chunks_are_trusted")),
    ("a journal cut off anywhere", _POWER, "its end lost, octet by octet",
     "every whole record is kept, the rest cut away",
     named("a_file_cut_off_anywhere_keeps_every_whole_record")),
)  # fmt: skip

MACHINE: Final[tuple[Row, ...]] = (
    ("a full disk at the receiver", _MACHINE, "a study larger than the room on a small disk",
     "exit 6 before the transfer; with room, complete", named("a_full_disk_at_the_receiver")),
    ("a disk full, over quota or failing in mid-transfer", _MACHINE, "ENOSPC, EDQUOT, EIO",
     "exit 6, what is here is kept; the rest follows",
     named("a_disk_that_fails_in_mid_transfer")),
    ("a full disk at the sender", _MACHINE, "no room in the outbox",
     "exit 6, nothing announced; with room, complete", named("a_full_disk_at_the_sender")),
    ("a full disk at the relay", _MACHINE, "no room in the relay's folder",
     "exit 4 (transfer.refused.full), nothing half stored", named("a_full_disk_at_the_relay")),
    ("a full disk in a rotation", _MACHINE, "ENOSPC in mid-rotation",
     "exit 6; the next run goes on",
     named("a_full_disk_stops_a_rotation_that_goes_on_later")),
    ("a read-only target", _MACHINE, "an output folder that cannot be written",
     "exit 6; not one chunk is fetched", named("a_read_only_target")),
    ("a file too large for the file system", _MACHINE, "EFBIG",
     "exit 6 before the transfer", named("a_file_larger_than_the_session_allows")),
    ("a clock that jumps at a station", _MACHINE, "an hour, ten years, forward and back",
     "exit 4 (access.denied.signature) or done; set right, complete",
     named("a_clock_that_jumps_at_the_station")),
    ("a clock that jumps at the relay", _MACHINE, "an hour forward and back",
     "exit 4 (access.denied.signature), nothing lost", named("a_clock_that_jumps_at_the_relay")),
    ("two sends of one study at once", _MACHINE, "three processes begin, or go on, together",
     "one sends, the others end with exit 6; one parcel", named("two_sends_of_one_study_at_once")),
    ("two receives of one parcel at once", _MACHINE, "three receive into one folder",
     "one receives, the others end with exit 6", named("two_receives_of_one_parcel_at_once")),
    ("one parcel into two folders at once", _MACHINE, "two receive into different folders",
     "one receives, the other ends with exit 2 or 6", named("one_parcel_into_two_folders_at_once")),
    ("a file that changes while it is read", _MACHINE, "it grows in mid-transfer",
     "a new parcel with what it became",
     named("a_source_that_changes_once_while_read_begins_anew")),
    ("a file that never stays the same", _MACHINE, "it changes with every chunk",
     "exit 6 (storage.source-changed), nothing is sealed",
     named("a_source_that_keeps_changing_is_given_up")),
)  # fmt: skip

AGAIN: Final[tuple[Row, ...]] = (
    ("a chunk is lost at the relay", _AGAIN, "rotten, cut, gone, or another one",
     "the waiting sender sends it again; the same parcel, one chunk",
     named("a_waiting_sender_mends_what_the_relay_has_lost")),
    ("a chunk is lost and the sender gone", _AGAIN, "damage that nobody mends",
     "exit 3 with the names of the files; later one chunk follows",
     named("without_the_sender_the_files_are_named_and_the_rest_is_kept")),
    ("damage on the way alone", _AGAIN, "two damaged arrivals of a good copy",
     "fetched again; the sender is not asked", named("the_relay_is_asked_before_the_sender")),
    ("a changed file cannot mend", _AGAIN, "the sender's file changed since",
     "a new parcel; the old one stays refused",
     named("a_sender_whose_file_has_changed_mends_nothing_with_it")),
    ("damage or a bad line", _AGAIN, "both, to the same receiver",
     "exit 3 for one, exit 5 for the other", named("damage_and_bad_lines_are_told_apart")),
    ("a stall", _AGAIN, "a sender that stops in the midst",
     "says for what it waits, and for how long", named("a_stall_says_what_it_waits_for")),
)  # fmt: skip

VERSIONS: Final[tuple[Row, ...]] = (
    ("another version for each reader", _VERSIONS, "one recipient is served foreign chunks",
     "exit 3 for that one, delivered to the other",
     named("each_reader_is_served_another_version")),
    ("a relay put back to yesterday", _VERSIONS, "all, the chunks, the seal or one chunk lost",
     "exit 3 or 5; the same send restores it",
     named("a_relay_that_is_rolled_back_is_filled_again")),
    ("two seals for one parcel", _VERSIONS, "a false sender seals two contents",
     "the receipts of the two readers show it",
     named("a_sender_with_two_seals_is_exposed_by_the_receipts")),
    ("a mixture of two versions", _VERSIONS, "chunks of one under the seal of the other",
     "exit 3 (integrity)", named("a_mixture_of_two_versions_is_refused")),
    ("a second seal before the receipt", _VERSIONS, "after files were verified under the first",
     "exit 3 (integrity), nothing is signed",
     named("what_was_verified_is_not_receipted_under_another_seal")),
    ("an inbox of inventions", _VERSIONS, "parcels that do not exist, or are for others",
     "none is listed as good",
     named("an_inbox_of_inventions_shows_nothing_as_verified")),
    ("a forged manifest in a listing", _VERSIONS, "a bit flipped before it is accepted",
     "listed as a fault, without a name",
     named("a_listing_with_a_forged_manifest_shows_the_fault")),
    ("an inbox without end", _VERSIONS, "pages that always name a next one",
     "at most 256 are read", named("an_inbox_without_end_ends")),
    ("redirects", _VERSIONS, "301, 302, 303, 307 and 308 to another server",
     "nobody calls there", named("no_redirect_is_followed")),
    ("a sentence for the terminal", _VERSIONS, "control characters in a refusal",
     "shown harmlessly", named("a_refusal_cannot_command_the_terminal")),
    ("one recipient signs for another", _VERSIONS, "Carol's genuine receipt, served as Bob's",
     "exit 3 (authenticity)", named("one_recipient_does_not_sign_for_another")),
)  # fmt: skip

FORMAT: Final[tuple[Row, ...]] = (
    ("a recipient exchanged", _FORMAT, "the relay's key in the place of a recipient's",
     "exit 3 (authenticity.signature)", named("t14_a_relay_exchanges_a_recipient")),
    ("a recipient added", _FORMAT, "a stanza for the relay", "exit 3 (authenticity.signature)",
     named("t14_a_relay_adds_itself")),
    ("a recipient removed", _FORMAT, "a stanza taken away", "exit 3 (authenticity.signature)",
     named("t14_a_relay_removes_a_recipient")),
    ("surreptitious forwarding", _FORMAT, "B re-seals A's parcel for C as if from A",
     "exit 3 or 4, in each of three ways", named("a_recipient_cannot_forward_in_the_senders_name")),
    ("a stanza spliced in", _FORMAT, "A's stanza for B, of another parcel",
     "exit 3 (integrity)", named("a_stanza_of_another_parcel_does_not_open")),
    ("signatures stripped or added", _FORMAT, "one of two, doubled, reordered",
     "exit 3 (authenticity.signature)", named("t32_signatures_are_neither_stripped_nor_added")),
    ("fall back to one algorithm", _FORMAT, "keys without their post-quantum half",
     "exit 3 (format.version)", named("t32_nobody_falls_back_to_one_algorithm")),
    ("another suite", _FORMAT, "the suite exchanged in the envelope", "exit 3",
     named("t32_a_suite_is_part_of_what_is_signed")),
    ("a signature for another purpose", _FORMAT, "that of a seal on an envelope",
     "exit 3 (authenticity.signature)", named("t33_a_signature_is_good_for_one_purpose")),
    ("chunks deleted, doubled, swapped, spliced", _FORMAT, "19 arrangements", "exit 3",
     named("t11_chunks_are_not_removed_swapped_or_spliced")),
    ("a chunk relabelled", _FORMAT, "the ids of another parcel's chunk exchanged", "exit 3",
     named("t11_relabelling_a_chunk_breaks_it")),
    ("one key for two parcels", _FORMAT, "a faulty sender uses a key twice", "nothing can be moved",
     named("one_key_for_two_parcels_does_not_mix_them")),
    ("an invisible salamander", _FORMAT, "one ciphertext for two keys, to two recipients",
     "exit 3 (integrity.digest) for the second",
     named("t16_two_recipients_cannot_be_given_two_keys")),
    ("a chunk of before a change", _FORMAT, "signed, but not sealed", "exit 3 (integrity.digest)",
     named("t19_a_chunk_from_before_a_change_is_refused")),
    ("two states mixed", _FORMAT, "envelope, manifest or seal of an earlier state", "exit 3",
     named("t19_two_states_of_a_parcel_do_not_mix")),
    ("one nonce for two messages", _FORMAT, "resumed, changed, in any order, twice at once",
     "does not happen", named("no_nonce_serves_two_messages")),
    ("one bit flipped in any octet", _FORMAT, "every octet of a parcel in turn", "exit 3",
     named("one_flipped_bit_in_any_octet_is_noticed")),
    ("every bit of a chunk flipped", _FORMAT, "against signature and tag", "exit 3, twice",
     named("every_flipped_bit_of_a_chunk_is_noticed_twice")),
    ("every bit of a manifest flipped", _FORMAT, "every bit", "exit 3",
     named("every_flipped_bit_of_the_manifest_is_noticed")),
    ("truncation anywhere", _FORMAT, "each object cut at steps and boundaries", "exit 3",
     named("truncation_anywhere_is_noticed")),
    ("truncation at every chunk", _FORMAT, "a parcel that ends early",
     "exit 3 (integrity.incomplete)",
     named("truncation_at_every_chunk_is_noticed")),
    ("a bomb", _FORMAT, "ratios beyond reason in manifest, chunk and receipt",
     "exit 3, in little memory", named("t20_a_bomb_costs_little_memory")),
    ("sizes that tell", _FORMAT, "the sizes of padded parcels of like contents", "they look alike",
     named("t17_padded_parcels_of_like_contents_look_alike")),
    ("odd CBOR", _FORMAT, "double keys, indefinite lengths, long integers, nesting, huge lengths",
     "exit 3 (format)", named("reading_ends_as_stated huge_lengths_allocate_nothing")),
)  # fmt: skip

ABUSE: Final[tuple[Row, ...]] = (
    ("thousands of idle connections", _ABUSE, "ten times as many as there are places",
     "the silent are closed, others are served", named("thousands_of_idle_connections")),
    ("slowloris", _ABUSE, "heads octet by octet, on every place", "cut off, others are served",
     named("heads_in_drops a_head_that_stops_coming_is_given_up")),
    ("bodies that stop", _ABUSE, "half a chunk, then nothing", "408, nothing is kept",
     named("a_client_that_dawdles_is_given_up")),
    ("oversized headers", _ABUSE, "a mebibyte, ten thousand fields", "431 or closed",
     named("a_flood_of_headers_is_cut_off")),
    ("unauthenticated floods", _ABUSE, "a gibibyte of unsigned uploads", "401, unread",
     named("a_flood_of_unsigned_bodies unsigned_requests_cost_nothing")),
    ("anonymous cards", _ABUSE, "160 forged cards of a mebibyte at once", "401 or 429",
     named("a_flood_of_anonymous_bodies an_anonymous_card_is_bounded")),
    ("replayed signatures", _ABUSE, "one signed request 300 times", "204 once, 401 otherwise",
     named("replayed_signatures what_must_not_be_repeated_is_remembered_over_a_restart")),
    ("quota exhaustion", _ABUSE, "one station fills its room", "507 for it, room for others",
     named("one_sender_does_not_use_up_the_room_of_another the_rooms_of_a_relay")),
    ("all requests by one station", _ABUSE, "more at once than allowed", "429 for it alone",
     named("one_station_does_not_use_up_the_relay traffic_is_bounded_for_each_and_for_all")),
    ("an answer that nobody takes", _ABUSE, "a client that stops reading", "given up",
     named("an_answer_that_nobody_takes_is_given_up")),
    ("smuggled requests", _ABUSE, "two lengths, chunked, spaces and NUL in a head", "400 or 411",
     named("a_spoilt_head_is_refused")),
    ("looking for others' parcels", _ABUSE, "every request, as every role", "404, the same for all",
     named("there_is_no_oracle roles")),
)  # fmt: skip

SECRETS: Final[tuple[Row, ...]] = (
    ("passphrase and patient", _SECRETS, "markers, searched in every file and output of a full run",
     "found nowhere", named("passphrase_and_patient_are_nowhere")),
    ("secret keys", _SECRETS, "every seed of every generation, in any form", "found nowhere",
     named("secret_keys_are_nowhere_in_the_clear")),
    ("names at the relay", _SECRETS, "files, folders, notes, in log, database and parcels",
     "found nowhere", named("the_relay_says_and_keeps_no_name")),
    ("the list of processes", _SECRETS, "command lines and environments while they run",
     "no passphrase, no name, no note", named("the_system_shows_no_secret_of_a_process")),
    ("names on the line", _SECRETS, "every octet on the wire", "found nowhere",
     named("t24_t48_the_line_shows_no_name")),
    ("files open to others", _SECRETS, "a full run with umask 0", "0600 and 0700 throughout",
     named("nothing_that_was_made_is_open_to_others")),
    ("timing", _SECRETS, "every comparison in the source", "secrets by compare_digest alone",
     named("secrets_are_compared_by_compare_digest_alone")),
    ("tracebacks", _SECRETS, "bugs and errors with -vv", "no values",
     named("a_traceback_shows_no_values")),
)  # fmt: skip

ROWS: Final = (*CRASHES, *POWER, *MACHINE, *AGAIN, *VERSIONS, *FORMAT, *ABUSE, *SECRETS)
