//! Scripts of pairs that take part in resumption.

use super::{
    BEHIND, BY_SESSION_ID, BY_TICKET, CLOSE, CONNECTION_IDS, COPY, DELIVER, DROP, MESSAGE,
    MET_BEFORE, NO_EMS_NEEDED, OVERWRITE, PASS, RESTARTED, RUN, SAY, SECOND, SMALL, SPLIT, SWAP,
    Seeds, TO_CLIENT, TO_FINISHED, TO_SERVER_HELLO,
};

pub(super) fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: &str, config: u8, resumption: u8, parts: &[&[u8]]| {
        let mut input = vec![config, resumption];
        input.extend(parts.concat());
        seeds.push((name.to_owned(), input));
    };
    let again = BY_TICKET | MET_BEFORE;
    let again_by_id = BY_SESSION_ID | MET_BEFORE;
    let talk: &[u8] = &[RUN, SAY, 20, SAY | TO_CLIENT, 9, RUN, CLOSE, RUN];
    for (suite, name) in ["ccm_8", "ccm", "gcm", "chacha"].into_iter().enumerate() {
        let suite = u8::try_from(suite).unwrap();
        add(&format!("ticket_{name}"), suite, BY_TICKET, &[talk]);
    }
    add("ticket_resumed", 0, again, &[talk]);
    add("ticket_resumed_small", SMALL, again, &[talk]);
    add("ticket_after_restart", 1, again | RESTARTED, &[talk]);
    add("session_id", 0, BY_SESSION_ID, &[talk]);
    add("session_id_resumed", 2, again_by_id, &[talk]);
    add(
        "session_id_after_restart",
        0,
        again_by_id | RESTARTED,
        &[talk],
    );
    add(
        "session_id_resumed_connection_ids",
        CONNECTION_IDS,
        again_by_id,
        &[talk],
    );

    // Of an abbreviated handshake the client sends the last flight.
    let deliver = [
        DELIVER,
        DELIVER | TO_CLIENT,
        DELIVER,
        DELIVER | TO_CLIENT,
        DELIVER,
    ];
    for (number, &lost) in deliver.iter().enumerate() {
        add(
            &format!("ticket_resumed_datagram_{number}_lost"),
            0,
            again,
            &[&deliver[..number], &[lost | DROP, PASS, 0], talk],
        );
    }
    add(
        "session_id_resumed_last_flight_lost",
        0,
        again_by_id,
        &[&TO_FINISHED, &[DROP, PASS, 0, PASS, 0], talk],
    );
    add(
        "ticket_resumed_server_flight_twice",
        0,
        again,
        &[
            &TO_SERVER_HELLO,
            &[COPY | TO_CLIENT, COPY | TO_CLIENT, DELIVER | TO_CLIENT],
            talk,
        ],
    );
    add(
        "ticket_resumed_nothing_but_time",
        0,
        again,
        &[&[PASS, 0, PASS, 255, PASS, 255]],
    );
    add(
        "ticket_resumed_client_gone",
        0,
        again,
        &[&TO_SERVER_HELLO, &[DROP | TO_CLIENT, PASS, 255, PASS, 255]],
    );
    add(
        "ticket_resumed_pairs_swapped",
        0,
        again,
        &[
            &[DELIVER, DELIVER | TO_CLIENT],
            &[DELIVER | SECOND, DELIVER | TO_CLIENT | SECOND],
            &[SWAP, DELIVER, DELIVER | SECOND, SWAP | TO_CLIENT],
            talk,
            &[RUN | SECOND],
        ],
    );
    // Without the extension the hello doesn't fit the session it names (RFC 7627 §5.3).
    for (name, resumption, place) in [
        ("ticket_extended_master_secret_stripped", again, 79),
        (
            "session_id_extended_master_secret_stripped",
            again_by_id,
            87,
        ),
    ] {
        let strip = |at: u8| [OVERWRITE, 0, at, 0x99];
        add(
            name,
            NO_EMS_NEEDED,
            resumption,
            &[
                &strip(place),
                &[DELIVER, DELIVER | TO_CLIENT],
                &strip(place + 16),
                &[RUN],
            ],
        );
    }
    // The client has keys here while it still takes messages in clear.
    add(
        "ticket_plain_message_to_client_with_server_established",
        0,
        BY_TICKET,
        &[
            &TO_FINISHED,
            &[DELIVER, DROP | TO_CLIENT, MESSAGE | TO_CLIENT, 14, 3, 0],
        ],
    );
    add(
        "ticket_client_closes_before_server_has_finished",
        0,
        again,
        &[&TO_FINISHED, &[CLOSE, SPLIT, DELIVER, BEHIND, RUN, RUN]],
    );
    seeds
}
