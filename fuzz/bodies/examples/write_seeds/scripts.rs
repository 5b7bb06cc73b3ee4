//! Seeds of the handshake machine: scripts that bring it into every state.

#[path = "resumption_scripts.rs"]
mod resumption_scripts;

use crate::Seeds;

/// Ways, and the second pair.
const TO_SERVER: u8 = 0x00;
const TO_CLIENT: u8 = 0x20;
const SECOND: u8 = 0x10;

/// What a script can do: the op's number, and behind it what it takes.
const DELIVER: u8 = 0;
const DROP: u8 = 1;
const COPY: u8 = 2;
const BEHIND: u8 = 3;
const PASS: u8 = 4;
const FLIP: u8 = 5;
const REPLAY: u8 = 6;
const PLAIN: u8 = 7;
const MESSAGE: u8 = 8;
const SWAP: u8 = 9;
const SAY: u8 = 10;
const CLOSE: u8 = 11;
const SPLIT: u8 = 12;
const JOIN: u8 = 13;
const RUN: u8 = 14;
const OVERWRITE: u8 = 15;

/// Bits of the configuration.
const NO_EMS_NEEDED: u8 = 0x04;
const SMALL: u8 = 0x08;
const WRONG_KEY: u8 = 0x10;
const UNKNOWN_IDENTITY: u8 = 0x20;
const NO_SUITE: u8 = 0x40;
const CONNECTION_IDS: u8 = 0x80;

/// Values and bits of the byte behind it.
const NO_RESUMPTION: u8 = 0;
const BY_TICKET: u8 = 1;
const BY_SESSION_ID: u8 = 2;
const MET_BEFORE: u8 = 4;
const RESTARTED: u8 = 8;

/// The datagrams up to the server's first flight, which is on its way then.
const TO_SERVER_HELLO: [u8; 3] = [
    DELIVER | TO_SERVER,
    DELIVER | TO_CLIENT,
    DELIVER | TO_SERVER,
];
/// The datagrams up to the client's Finished, which is on its way then.
const TO_FINISHED: [u8; 4] = [
    DELIVER | TO_SERVER,
    DELIVER | TO_CLIENT,
    DELIVER | TO_SERVER,
    DELIVER | TO_CLIENT,
];
const FATAL_ALERT: [u8; 6] = [0x15, 0, 9, 2, 2, 40];

pub(crate) fn handshake_machine() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: &str, config: u8, parts: &[&[u8]]| {
        let mut input = vec![config, NO_RESUMPTION];
        input.extend(parts.concat());
        seeds.push((name.to_owned(), input));
    };
    let talk: &[u8] = &[SAY, 20, SAY | TO_CLIENT, 9, RUN];
    for (suite, name) in ["ccm_8", "ccm", "gcm", "chacha"].into_iter().enumerate() {
        let suite = u8::try_from(suite).unwrap();
        add(name, suite, &[&[RUN], talk, &[CLOSE, RUN]]);
        add(
            &format!("{name}_small"),
            suite | SMALL,
            &[&[RUN], talk, &[CLOSE | TO_CLIENT, RUN]],
        );
    }
    add(
        "connection_ids",
        CONNECTION_IDS,
        &[&[RUN], talk, &[CLOSE, RUN]],
    );
    add(
        "connection_ids_small_last_flight_lost",
        CONNECTION_IDS | SMALL,
        &[
            &TO_FINISHED,
            &[DELIVER, DROP | TO_CLIENT, PASS, 0, RUN],
            talk,
        ],
    );
    add(
        "connection_ids_forged_and_replayed",
        CONNECTION_IDS,
        &[
            &[RUN, SAY, 20, COPY, FLIP, 0, 96, DELIVER],
            &[SAY, 20, REPLAY, 0, DELIVER, SWAP, SWAP | TO_CLIENT, RUN],
        ],
    );
    add("no_ems_needed", NO_EMS_NEEDED, &[&[RUN], talk]);
    add("nothing_but_time", 0, &[]);
    add("wrong_key", WRONG_KEY, &[&[RUN]]);
    add("unknown_identity", UNKNOWN_IDENTITY, &[&[RUN]]);
    add("no_suite_in_common", NO_SUITE, &[&[RUN]]);

    let lose: [&[u8]; 5] = [
        &[DROP, PASS, 0],
        &[DELIVER, DROP | TO_CLIENT, PASS, 0],
        &[DELIVER, DELIVER | TO_CLIENT, DROP, PASS, 0],
        &[
            DELIVER,
            DELIVER | TO_CLIENT,
            DELIVER,
            DROP | TO_CLIENT,
            PASS,
            0,
        ],
        &[
            DELIVER,
            DELIVER | TO_CLIENT,
            DELIVER,
            DELIVER | TO_CLIENT,
            DROP,
            PASS,
            0,
        ],
    ];
    for (number, script) in lose.into_iter().enumerate() {
        add(
            &format!("datagram_{number}_lost"),
            0,
            &[script, &[RUN], talk],
        );
    }
    add(
        "last_flight_lost",
        0,
        &[
            &TO_FINISHED,
            &[DELIVER, DROP | TO_CLIENT, PASS, 0, DELIVER, RUN],
            talk,
        ],
    );
    add("server_not_there", 0, &[&[DROP, PASS, 0].repeat(6)]);
    add(
        "client_gone_after_cookie",
        0,
        &[&TO_SERVER_HELLO, &[PLAIN | TO_CLIENT], &FATAL_ALERT],
    );
    add(
        "alert_in_clear_to_server",
        0,
        &[&TO_SERVER_HELLO, &[PLAIN], &FATAL_ALERT, &[RUN], talk],
    );
    add(
        "hint",
        0,
        &[
            &TO_SERVER_HELLO,
            &[
                SPLIT | TO_CLIENT,
                DELIVER | TO_CLIENT,
                MESSAGE | TO_CLIENT,
                12,
                2,
                2,
                0,
                0,
                RUN,
            ],
        ],
    );
    add(
        "message_without_a_place_to_client",
        0,
        &[&[MESSAGE | TO_CLIENT, 14, 0, 0, RUN]],
    );
    add(
        "message_without_a_place_to_server",
        0,
        &[&TO_SERVER_HELLO, &[MESSAGE, 20, 2, 0, RUN]],
    );
    add(
        "server_closes_before_client_has_finished",
        0,
        &[
            &TO_FINISHED,
            &[
                DELIVER,
                SPLIT | TO_CLIENT,
                DELIVER | TO_CLIENT,
                DROP | TO_CLIENT,
            ],
            &[CLOSE | TO_CLIENT, DELIVER | TO_CLIENT],
        ],
    );
    add(
        "plain_message_to_client_before_its_finished_arrives",
        0,
        &[
            &TO_FINISHED,
            &[
                SPLIT,
                DELIVER,
                DELIVER,
                DROP,
                MESSAGE | TO_CLIENT,
                14,
                3,
                0,
                DELIVER,
            ],
        ],
    );
    add(
        "plain_message_to_client_with_server_established",
        0,
        &[
            &TO_FINISHED,
            &[
                DELIVER,
                DROP | TO_CLIENT,
                MESSAGE | TO_CLIENT,
                14,
                3,
                0,
                DELIVER,
            ],
        ],
    );
    add(
        "finished_before_its_keys",
        0,
        &[
            &TO_FINISHED,
            &[SPLIT, BEHIND, BEHIND, DELIVER, DELIVER, DELIVER, RUN],
        ],
    );
    add(
        "forged_and_replayed_data",
        0,
        &[
            &[
                RUN,
                SAY,
                20,
                COPY,
                FLIP,
                0,
                200,
                DELIVER,
                SAY | TO_CLIENT,
                4,
                COPY | TO_CLIENT,
                RUN,
            ],
            &[
                REPLAY | TO_CLIENT,
                0,
                REPLAY,
                0,
                REPLAY,
                1,
                REPLAY | SECOND,
                2,
            ],
            talk,
        ],
    );
    add(
        "everything_replayed",
        0,
        &[
            &[RUN],
            &(0..12)
                .flat_map(|back| [REPLAY, back, REPLAY | TO_CLIENT, back])
                .collect::<Vec<u8>>(),
            talk,
        ],
    );
    add(
        "pairs_swapped",
        0,
        &[
            &[
                SWAP,
                DELIVER,
                DELIVER | SECOND,
                SWAP | TO_CLIENT,
                RUN,
                RUN | SECOND,
            ],
            talk,
            &[SAY, 3, SAY | SECOND, 3, SWAP, RUN, RUN | SECOND],
        ],
    );
    add(
        "hello_changed",
        0,
        &[&[
            DELIVER,
            DELIVER | TO_CLIENT,
            OVERWRITE,
            0,
            18,
            7,
            DELIVER,
            OVERWRITE,
            0,
            18,
            7,
            RUN,
        ]],
    );
    add(
        "joined_datagrams",
        SMALL,
        &[&TO_FINISHED, &[JOIN, JOIN | TO_CLIENT, RUN], talk],
    );
    // Both hellos lose the extension, so that the keys don't depend on them: Finished alone does.
    add(
        "extended_master_secret_stripped",
        NO_EMS_NEEDED,
        &[&[
            OVERWRITE,
            0,
            72,
            0x99,
            DELIVER,
            DELIVER | TO_CLIENT,
            OVERWRITE,
            0,
            88,
            0x99,
            RUN,
        ]],
    );
    // The hello's record number is all ones, or leaves three: the server's records go on from it.
    let number = |last: u8| -> Vec<u8> {
        let place = |place: u8, value: u8| [OVERWRITE, 0, place, value];
        (5..10)
            .flat_map(|at| place(at, 0xff))
            .chain(place(10, last))
            .collect()
    };
    let to_second_hello: &[u8] = &[DELIVER, DELIVER | TO_CLIENT];
    add(
        "no_record_number_left",
        0,
        &[to_second_hello, &number(0xff), &[RUN], talk],
    );
    add(
        "three_record_numbers_left",
        0,
        &[
            to_second_hello,
            &number(0xfd),
            &[
                DELIVER,
                DELIVER | TO_CLIENT,
                DELIVER,
                DROP | TO_CLIENT,
                PASS,
                0,
                DELIVER,
                RUN,
            ],
            talk,
        ],
    );
    add(
        "deadline",
        0,
        &[&TO_FINISHED, &[DROP, PASS, 255, DROP, PASS, 60, RUN]],
    );
    seeds.extend(resumption_scripts::seeds());
    seeds
}
