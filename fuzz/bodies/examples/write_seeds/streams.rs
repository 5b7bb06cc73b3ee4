//! Seeds of the TLS machine: scripts that bring it into every state.

use crate::Seeds;

const TO_SERVER: u8 = 0x00;
const TO_CLIENT: u8 = 0x10;

/// What a script can do: the op's number, and behind it what it takes.
const DELIVER: u8 = 0;
const PART: u8 = 1;
const DROP: u8 = 2;
const FLIP: u8 = 3;
const PLAIN: u8 = 4;
const MESSAGE: u8 = 5;
const COPY: u8 = 6;
const SWAP: u8 = 7;
const SAY: u8 = 8;
const CLOSE: u8 = 9;
const END: u8 = 10;
const PASS: u8 = 11;
const RUN: u8 = 12;
const OVERWRITE: u8 = 13;
const CUT: u8 = 14;

/// The first suites of plain PSK, of ECDHE_PSK and of ECDHE_ECDSA.
const PSK: u8 = 0;
const ECDHE_PSK: u8 = 4;
const ECDHE_ECDSA: u8 = 8;

/// Bits of the configuration.
const WRONG_KEY: u8 = 0x10;
const NO_SUITE: u8 = 0x20;
const ASKS_NOBODY: u8 = 0x40;
const NO_EMS_NEEDED: u8 = 0x80;

const FATAL_ALERT: [u8; 4] = [0x15, 2, 2, 40];

pub(crate) fn tls_machine() -> Seeds {
    let mut seeds = Seeds::new();
    let mut add = |name: &str, config: u8, parts: &[&[u8]]| {
        let mut input = vec![config];
        input.extend(parts.concat());
        seeds.push((name.to_owned(), input));
    };
    let talk: &[u8] = &[SAY, 20, SAY | TO_CLIENT, 9, RUN];
    for suite in 0..11 {
        add(&format!("suite_{suite}"), suite, &[&[RUN], talk]);
    }
    for suite in [PSK, ECDHE_PSK, ECDHE_ECDSA] {
        let bytewise = [PART, 1].repeat(60);
        add(&format!("bytes_{suite}"), suite, &[&bytewise, &[RUN], talk]);
        let cut = [CUT, 3, DELIVER, CUT | TO_CLIENT, 7, DELIVER | TO_CLIENT];
        add(
            &format!("cut_{suite}"),
            suite,
            &[&cut.repeat(2), &[RUN], talk],
        );
        add(&format!("wrong_key_{suite}"), suite | WRONG_KEY, &[&[RUN]]);
        add(&format!("no_suite_{suite}"), suite | NO_SUITE, &[&[RUN]]);
    }
    for flights in 0..4 {
        let before: Vec<u8> = [DELIVER | TO_SERVER, DELIVER | TO_CLIENT]
            .into_iter()
            .cycle()
            .take(flights)
            .collect();
        for way in [TO_SERVER, TO_CLIENT] {
            let end = if way == TO_SERVER { "s" } else { "c" };
            let name = |what: &str| format!("{what}_{flights}{end}");
            let alert = [&[PLAIN | way][..], &FATAL_ALERT, &[DELIVER | way]].concat();
            add(&name("alert"), PSK, &[&before, &alert, &[RUN]]);
            add(&name("end"), PSK, &[&before, &[END | way], &[RUN]]);
            add(&name("flip"), PSK, &[&before, &[FLIP | way, 1, 77], &[RUN]]);
            add(
                &name("flip_signed"),
                ECDHE_ECDSA,
                &[&before, &[FLIP | way, 1, 77], &[RUN]],
            );
        }
        add(
            &format!("time_{flights}"),
            PSK,
            &[&before, &[PASS, 255, PASS, 255], &[RUN]],
        );
    }
    let nobody = ECDHE_ECDSA | ASKS_NOBODY;
    add("asks_nobody", nobody, &[&[RUN], talk]);
    add("asks_nobody_wrong_key", nobody | WRONG_KEY, &[&[RUN], talk]);
    add("old_peer", ECDHE_PSK | NO_EMS_NEEDED, &[&[RUN], talk]);
    let early = [MESSAGE | TO_CLIENT, 14, 0, DELIVER | TO_CLIENT];
    add("early_done", PSK, &[&[DELIVER], &early, &[RUN]]);
    add(
        "hello_request",
        PSK,
        &[&[RUN, MESSAGE | TO_CLIENT, 0, 0, RUN]],
    );
    add("swapped", PSK, &[&[DELIVER, SWAP | TO_CLIENT, RUN]]);
    add("copied", PSK, &[&[DELIVER, COPY | TO_CLIENT, RUN]]);
    add("dropped", PSK, &[&[DELIVER, DROP | TO_CLIENT, RUN]]);
    add("overwritten", PSK, &[&[OVERWRITE, 0, 0, 99, RUN]]);
    add("replayed", PSK, &[&[RUN, SAY, 5, COPY, RUN]]);
    add(
        "closed",
        PSK,
        &[&[RUN], talk, &[CLOSE, RUN, END | TO_CLIENT]],
    );
    add("closed_by_server", PSK, &[&[RUN, CLOSE | TO_CLIENT, RUN]]);
    add("cut_off", PSK, &[&[RUN], talk, &[END, END | TO_CLIENT]]);
    add("in_parts", PSK, &[&[RUN, SAY, 200, PART, 40, PART, 1, RUN]]);
    seeds
}
