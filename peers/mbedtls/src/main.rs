//! Mbed TLS as a client and server with pre-shared keys over DTLS 1.2, with connection IDs (RFC 9146)
//! where they are asked for.
//!
//! It reads jobs from standard input, one a line, and ends with it:
//!
//! ```text
//! NUMBER client|server dtls PORT SUITE GROUP IDENTITY KEY [CID [move]]
//! ```
//!
//! `SUITE` and `GROUP` are code points and `KEY` is bytes, all in hexadecimal. `CID` is the connection
//! ID that this end wants to receive, in hexadecimal too; `0` asks for the extension with an empty
//! one, and `-` or nothing leaves the extension out. With `move` a client goes on from another port
//! once data went both ways.
//!
//! What comes of a job is printed in lines that begin with its number: `listening` (servers),
//! `established suite=S cid=OWN/PEER`, `heard TEXT`, `moved` and at the end `done` or `failed REASON`.

mod association;
mod job;
mod link;
mod timer;

use std::io::{self, BufRead as _};
use std::thread;

use job::{Job, Say};

fn main() {
    let version = String::from_utf8_lossy(mbedtls_rs_sys::MBEDTLS_VERSION_STRING_FULL);
    println!("peer {}", version.trim_end_matches('\0'));
    let jobs: Vec<_> = io::stdin()
        .lock()
        .lines()
        .map_while(Result::ok)
        .map(|line| {
            thread::spawn(move || match Job::parse(&line) {
                Ok(job) => {
                    let say = Say::new(&job.number);
                    match job.run(&say) {
                        Ok(()) => say.line("done"),
                        Err(error) => say.line(&format!("failed {error}")),
                    }
                }
                Err(error) => println!("0 failed {error}: {line}"),
            })
        })
        .collect();
    for job in jobs {
        let _ = job.join();
    }
}
