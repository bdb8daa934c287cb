"""Published faults T21 to T49: secrets, access, text, availability, and what is in DICOM."""

from tests.attacks.published_row import Published, named

OF_ACCESS: tuple[Published, ...] = (
    Published(
        "T21",
        "croc CVE-2023-43621",
        "secrets in the list of processes",
        named(
            "the_system_shows_no_secret_of_a_process"
            " a_passphrase_in_the_environment_is_not_looked_at"
        ),
    ),
    Published(
        "T22",
        "croc CVE-2023-43617 (#596)",
        "an id of a transfer from which its secret can be guessed",
        named("t22_t23_ids_cannot_be_guessed_and_follow_from_no_secret"),
        "There are no codes: secrets of a parcel are random, and sealed to public keys.",
    ),
    Published(
        "T23",
        "croc #366; magic-wormhole's codes of 16 bits",
        "guessing at a short code on the line",
        named(
            "t22_t23_ids_cannot_be_guessed_and_follow_from_no_secret"
            " wrong_passphrases_are_counted_and_slow_down who_is_not_enrolled_is_refused_unread"
        ),
        "There are no codes to guess.",
    ),
    Published(
        "T24",
        "croc CVE-2023-43618 (#597)",
        "names and addresses in the clear before anybody is authenticated",
        named("t24_t48_the_line_shows_no_name nothing_public_holds_a_name"),
    ),
    Published(
        "T25",
        "rclone CVE-2020-28924",
        "keys from a generator that can be repeated",
        named(
            "t25_no_key_comes_from_a_generator_that_can_be_repeated"
            " fresh_nonces_are_asked_of_the_source_given every_drawn_secret_is_valid"
        ),
    ),
    Published(
        "T26",
        "Crypt4GH debug log; croc's redaction",
        "secrets in logs, tracebacks and events",
        named(
            "passphrase_and_patient_are_nowhere secret_keys_are_nowhere_in_the_clear"
            " a_traceback_shows_no_values a_bug_does_not_spill_what_it_handled"
            " no_representation_shows_a_secret the_log_names_no_names"
        ),
    ),
    Published(
        "T27",
        "age GHSA-32gq-x56h-299c; rage GHSA-4fg7-vxc8-qx5w",
        "a module to load, named in what others wrote",
        named(
            "a_module_path_is_refused_outside_the_configuration"
            " a_keystore_takes_no_module_from_a_uri a_module_that_others_could_write_is_not_loaded"
        ),
    ),
    Published(
        "T28",
        "rclone CVE-2026-41176, CVE-2026-41179, CVE-2026-49980",
        "a control endpoint without authentication",
        named(
            "an_unsigned_request_is_refused_unread"
            " paths_and_methods_outside_the_protocol_are_refused"
            " every_route_has_its_handler plain_http_is_for_this_machine_alone"
        ),
        "A relay obeys its operator's files and commands alone; a station listens to nobody.",
    ),
    Published(
        "T29",
        "rclone's leaks on redirects; LocalSend",
        "a relay that redirects to another host, or to plain HTTP",
        named("no_redirect_is_followed a_redirect_is_an_answer"),
    ),
    Published(
        "T30",
        "rsync-ssl CVE-2026-70454; dcm4che `--disableTM`",
        "a certificate that is not checked, or a switch to turn that off",
        named(
            "there_is_no_insecure_switch a_certificate_of_somebody_else_is_refused"
            " a_certificate_that_is_not_trusted_is_not_tried_again old_tls_is_refused"
        ),
    ),
    Published(
        "T31",
        "rclone serve ftp GHSA-mfvx",
        "a secret that is found by timing",
        named(
            "secrets_are_compared_by_compare_digest_alone"
            " signatures_tags_and_codes_are_compared_where_they_should_be"
        ),
        "Requests are signed; there are neither bearer tokens nor one-time codes.",
    ),
    Published(
        "T32",
        "downgrade",
        "a weaker suite, or half of the signatures",
        named(
            "t32_a_suite_is_part_of_what_is_signed t32_nobody_falls_back_to_one_algorithm"
            " t32_signatures_are_neither_stripped_nor_added the_command_line_keeps_families_apart"
        ),
    ),
    Published(
        "T33",
        "signature wrapping, SM2 without user id, points off the curve",
        "a signature that is good for something else, or for two messages",
        named(
            "t33_a_signature_is_good_for_one_purpose signatures_are_not_malleable"
            " a_der_signature_is_not_accepted bad_verification_keys_are_refused"
            " a_token_never_sees_a_point_off_the_curve keys_of_small_order_are_refused"
        ),
    ),
    Published(
        "T34",
        "restic #320",
        "keys that go on working when they were revoked, a rotation that breaks in the midst",
        named(
            "a_revoked_doctor_is_refused_from_then_on keys_that_were_revoked_sign_nothing"
            " a_relay_refuses_requests_signed_by_a_revoked_generation"
            " killed_at_any_step_the_next_run_completes_it"
            " a_compromised_tier_key_opens_nothing_any_more"
        ),
    ),
    Published(
        "T35",
        "rclone CVE-2026-59733; DCMTK CVE-2026-52868",
        "a station that reaches what is another's",
        named(
            "roles there_is_no_oracle the_inbox_holds_nothing_of_others"
            " only_its_sender_announces_a_parcel the_sender_removes_a_parcel_and_nobody_else"
        ),
    ),
    Published(
        "T36",
        "croc CVE-2023-43620; magic-wormhole #476; scp CVE-2019-6109",
        "control characters and marks of direction in names, on a terminal",
        named(
            "what_others_wrote_cannot_command_the_terminal nothing_unsafe_is_ever_shown"
            " a_refusal_cannot_command_the_terminal a_relay_cannot_write_on_the_terminal"
            " a_hostile_name_cannot_move_the_cursor json_is_plain_ascii_on_one_line"
        ),
    ),
    Published(
        "T37",
        "LocalSend CVE-2026-25154; Syncthing CVE-2022-46165",
        "names in a page for a browser",
        named(
            "t37_nothing_is_written_as_a_page_for_a_browser the_assets_are_part_of_the_package"
            " nothing_that_a_browser_would_run_is_called_so"
            " nothing_may_be_stored_or_loaded_from_elsewhere"
        ),
        "The page of `medshare view` is one file; what others wrote reaches it as text alone.",
    ),
    Published(
        "T38",
        "rclone CVE-2026-71311, CVE-2026-71312",
        "names that reach a shell, SQL or a spreadsheet",
        named("t38_no_text_reaches_an_interpreter a_command_is_not_given_to_a_shell"),
        "Nothing writes tables for spreadsheets; ruff's S608 checks that SQL texts hold no input.",
    ),
    Published(
        "T39",
        "injection into logs",
        "a line end that makes an entry of its own",
        named(
            "a_line_of_the_base_cannot_be_forged a_label_has_no_room_for_a_name"
            " no_other_octets_read_as_the_same_entry a_header_cannot_carry_a_second_request"
        ),
    ),
    Published(
        "T40",
        "tampering with an audit log",
        "entries removed, moved, cut off, a log put back or forked",
        named(
            "any_changed_octet_is_located a_cut_end_is_found a_fork_is_found"
            " a_record_put_back_to_an_earlier_state_is_found a_clock_that_went_back_is_noted"
            " a_segment_that_is_gone_or_doubled_is_found"
        ),
    ),
    Published(
        "T41",
        "Syncthing CVE-2021-21404; rsync CVE-2026-53792",
        "negative, absent and extreme lengths, heads that never end",
        named(
            "reserved_bits_are_refused a_head_that_stops_coming_is_given_up"
            " a_body_that_stops_coming_is_given_up"
            " a_flood_of_headers_is_cut_off a_huge_length_allocates_nothing"
            " damaged_input_is_refused_in_a_documented_way"
        ),
    ),
    Published(
        "T42",
        "OnionShare CVE-2022-21689; KDE Connect CVE-2020-26164",
        "strangers who fill places, rooms and disks",
        named(
            "unsigned_requests_cost_nothing one_station_does_not_use_up_the_relay"
            " the_rooms_of_a_relay idle_connections_do_not_keep_others_out"
            " one_station_cannot_fill_the_memory_of_others an_anonymous_card_is_bounded"
        ),
    ),
    Published(
        "T43",
        "OnionShare CVE-2026-54707",
        "octets written to a transfer that is closed or expired",
        named(
            "after_the_seal_only_the_sealed_chunk_is_taken an_expired_parcel_is_gone_at_once"
            " a_removed_parcel_is_gone_for_good envelope_and_seal_are_for_good"
        ),
    ),
    Published(
        "T44",
        "OnionShare #2062; LocalSend #2440 and #722",
        "a target that is read-only, full, or has no room left",
        named(
            "a_read_only_target a_small_disk space_is_asked_for_before_anything_is_made"
            " a_full_disk_stops_it_and_it_goes_on_later a_full_disk_leaves_nothing_half_stored"
            " a_disk_that_fills_up_stops_and_goes_on_later"
        ),
    ),
    Published(
        "T45",
        "rclone GHSA-6jcg, GHSA-3x6r",
        "input that ends a program with a traceback",
        named(
            "damaged_input_is_refused_in_a_documented_way a_planted_bug_is_found"
            " no_octets_break_the_decoders any_named_octets_are_refused_with_a_code"
        ),
        "`make fuzz` gives every decoder more time.",
    ),
    Published(
        "T46",
        "CVE-2019-11687",
        "a DICOM file that is a program as well",
        named("t46_a_file_that_is_also_a_program_arrives_as_it_is_and_does_not_run"),
        "It is neither flagged nor changed: medshare gives back every byte as it was signed, and "
        "never makes a received file executable. What opens it has to judge its preamble.",
    ),
    Published(
        "T47",
        "Orthanc CVE-2026-5437 to CVE-2026-5445 (VU#536588)",
        "decoders of pixels that read beyond their buffers",
        named(
            "t47_no_decoder_of_images_is_part_of_medshare any_encoded_octets_end_in_a_coded_error"
            " runs_that_do_not_fit_are_refused a_raster_larger_than_the_buffers_is_refused"
            " pictures_that_are_none_are_refused showing_anything_ends_well"
        ),
        "Pixels inside DICOM are decoded for `medshare view` alone, an extra, and bounded before; "
        "our own codec for transport checks every size.",
    ),
    Published(
        "T48",
        "metadata in names, sizes and logs",
        "names of patients or files on the line, or at the relay",
        named(
            "t24_t48_the_line_shows_no_name the_relay_says_and_keeps_no_name"
            " a_station_keeps_names_in_its_journals_and_receipts_alone"
        ),
        "Sizes and times are seen; see the threat model, what is not promised.",
    ),
    Published(
        "T49",
        "ADIT: a study date that was changed on the way",
        "content that does not arrive byte for byte",
        named(
            "t49_every_kind_of_study_arrives_byte_for_byte real_images_come_back"
            " any_octets_come_back a_study_travels"
        ),
    ),
)
