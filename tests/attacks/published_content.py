"""Published faults T01 to T20: paths on arrival, and chunks, manifests and their keys."""

from tests.attacks.published_row import Published, named

OF_CONTENT: tuple[Published, ...] = (
    Published(
        "T01",
        "croc CVE-2023-43616, CVE-2023-43619, GHSA-8c8w-f7wp-2jr2, GHSA-ppjh-xp5v-46wc",
        "a manifest names `../x`, `/etc/x`, `~/.ssh/authorized_keys`",
        named("t01_t02_t03_no_way_in_takes_a_hostile_name any_text_is_an_id_or_refused"),
        "A name that begins with a dot is refused; `~` is a character like others, never expanded.",
    ),
    Published(
        "T02",
        "magic-wormhole CVE-2026-32116, CVE-2026-42448",
        "a check of names that one of several ways in forgot",
        named("t01_t02_t03_no_way_in_takes_a_hostile_name writer_and_reader_agree_on_paths"),
    ),
    Published(
        "T03",
        "restic #1445, rclone CVE-2026-71313",
        "names that some other system takes for a path, a device or another name",
        named(
            "t01_t02_t03_no_way_in_takes_a_hostile_name"
            " t03_names_that_some_system_takes_for_one"
            " t03_a_file_system_that_folds_case_overwrites_nothing"
            " devices_of_windows_are_refused paths_that_look_alike_collide"
        ),
    ),
    Published(
        "T04",
        "Warpinator CVE-2022-42725 and CVE-2023-29380; rsync CVE-2024-12087, CVE-2024-12088, "
        "CVE-2024-12747; rclone CVE-2026-54572, CVE-2024-52522",
        "links that are planted, or swapped in while a file is placed or cleaned up",
        named(
            "a_planted_link_is_never_followed a_folder_swapped_for_a_link_in_the_midst"
            " a_hard_link_is_not_written_through a_planted_part_folder_is_not_used"
            " cleaning_up_deletes_what_was_made_and_nothing_else"
            " a_link_in_a_parcel_folder_is_not_followed verify_follows_no_link"
        ),
    ),
    Published(
        "T05",
        "pydicom CVE-2026-32711 (GHSA-v856-2rf8-9f28); Weasis #911; pynetdicom #1086",
        "a DICOMDIR that makes the sender read outside the study",
        named("t05_a_name_inside_a_file_is_never_followed versions_with_known_faults_are_excluded"),
        "No content is interpreted when a study is sent.",
    ),
    Published(
        "T06",
        "DCMTK CVE-2022-2119, CVE-2022-2120, CVE-2026-50003",
        "identifiers inside DICOM used as file names",
        named("t06_names_on_disk_come_from_our_own_ids"),
    ),
    Published(
        "T07",
        "tuspyserver #93; tus-java-server PR #89; rclone CVE-2026-71309, CVE-2026-59733",
        "an id of an upload that is a path",
        named(
            "t07_ids_have_one_spelling t07_t09_ids_are_encoded_in_file_names"
            " a_path_has_one_spelling ids_have_no_other_spelling any_path_is_answered_or_refused"
        ),
    ),
    Published(
        "T08",
        "zip slip: croc CVE-2023-43616; rclone CVE-2026-59732; DICOMweb zip",
        "an archive that is unpacked on arrival",
        named("t08_no_archive_is_ever_unpacked"),
        "No archive is ever unpacked; a zip file is a file like any other.",
    ),
    Published(
        "T09",
        "python-tuf CVE-2021-41131",
        "the name of a role or a key used as a file name",
        named("t07_t09_ids_are_encoded_in_file_names a_key_id_never_names_another_file"),
    ),
    Published(
        "T10",
        "rclone GHSA-945v-v9p3-v5xw; scp CVE-2026-35385",
        "set-user-id bits, owners and attributes that travel",
        named(
            "t10_special_bits_do_not_exist_on_arrival"
            " what_is_received_is_writable_by_its_user_alone"
        ),
    ),
    Published(
        "T11",
        "Crypt4GH, section 5",
        "blocks that are removed, doubled, swapped, appended, or taken from another file",
        named(
            "t11_chunks_are_not_removed_swapped_or_spliced t11_relabelling_a_chunk_breaks_it"
            " no_other_order_of_chunks_opens one_key_for_two_parcels_does_not_mix_them"
        ),
    ),
    Published(
        "T12",
        "rclone crypt format",
        "truncation where a block ends",
        named("truncation_at_every_chunk_is_noticed truncation_anywhere_is_noticed"),
    ),
    Published(
        "T13",
        "age specification",
        "an empty last chunk, one too many, data after the end",
        named(
            "only_the_last_chunk_may_be_short octets_after_the_end_are_refused"
            " reading_ends_as_stated public_checks_end_as_stated"
        ),
    ),
    Published(
        "T14",
        "eprint 2024/1616 and 2024/546",
        "a relay that adds or exchanges recipients, edits names, or serves an older version",
        named(
            "t14_a_relay_adds_itself t14_a_relay_removes_a_recipient"
            " t14_a_relay_exchanges_a_recipient each_reader_is_served_another_version"
            " every_flipped_bit_of_the_manifest_is_noticed"
        ),
    ),
    Published(
        "T15",
        "croc (xxhash), Orthanc (MD5)",
        "a hash of the whole file that can be forged",
        named("the_hash_is_blake3 the_hash_is_sm3 other_hashes_have_no_name_here"),
    ),
    Published(
        "T16",
        "key commitment: FLOE, C2SP",
        "one ciphertext that opens to two contents under two keys",
        named(
            "t16_two_recipients_cannot_be_given_two_keys t16_gcm_alone_does_not_commit_to_a_key"
            " the_key_must_match_the_commitment two_keys_never_share_a_commitment"
        ),
    ),
    Published(
        "T17",
        "restic, eprint 2025/532",
        "sizes of chunks that tell which study it is",
        named("t17_padded_parcels_of_like_contents_look_alike padded_sizes_are_few"),
        "Boundaries do not follow from content; compressed sizes are seen unless `--pad` is given.",
    ),
    Published(
        "T18",
        "reuse of a nonce when a transfer is resumed",
        "two plaintexts under one key and nonce",
        named(
            "no_nonce_serves_two_messages two_encodings_of_one_plaintext_share_no_nonce"
            " a_source_that_changes_once_while_read_begins_anew"
            " a_change_of_one_bit_changes_the_nonce"
        ),
    ),
    Published(
        "T19",
        "TUF: rollback, freeze, fast-forward, mix and match, endless data",
        "old lists, expired lists, versions from the future, mixtures, bodies without end",
        named(
            "t19_two_states_of_a_parcel_do_not_mix t19_a_chunk_from_before_a_change_is_refused"
            " a_list_that_goes_back_stands_still_or_forks_is_refused"
            " an_older_card_does_not_come_back a_mixture_of_two_versions_is_refused"
            " floods_are_not_taken"
        ),
    ),
    Published(
        "T20",
        "Orthanc CVE-2026-5438, CVE-2026-5439, CVE-2026-5440; rsync with zstd",
        "bombs, announced sizes that are not true, nesting without end",
        named(
            "t20_a_bomb_costs_little_memory a_bomb_is_refused_before_it_unpacks"
            " huge_lengths_allocate_nothing what_claims_much_gets_little"
            " too_deep_and_too_long_are_refused"
            " more_than_was_promised_is_left_alone_and_ends_the_connection"
        ),
    ),
)
