//! What stands on both sides of the gateway and writes everything down. It shows other addresses of its own,
//! as a NAT does.

#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::support::loopback;

/// Bytes of a way in order: of a TCP connection, or a datagram.
pub type Recording = Arc<Mutex<Vec<Vec<u8>>>>;

/// Connects each that comes with the gateway, and keeps both ways of it.
pub struct TcpRelay {
    pub address: SocketAddr,
    pub recording: Recording,
}

impl TcpRelay {
    pub fn start(runtime: &Runtime, to: SocketAddr) -> Self {
        Self::start_at(runtime, loopback(), to)
    }

    pub fn start_at(runtime: &Runtime, at: SocketAddr, to: SocketAddr) -> Self {
        let listener = runtime.block_on(TcpListener::bind(at)).unwrap();
        let address = listener.local_addr().unwrap();
        let recording = Recording::default();
        let kept = Arc::clone(&recording);
        runtime.spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(to).await.unwrap();
                let ((near_reads, near_writes), (far_reads, far_writes)) =
                    (near.into_split(), far.into_split());
                for (mut reads, mut writes) in [(near_reads, far_writes), (far_reads, near_writes)]
                {
                    let kept = Arc::clone(&kept);
                    let place = {
                        let mut kept = kept.lock().unwrap();
                        kept.push(Vec::new());
                        kept.len() - 1
                    };
                    tokio::spawn(async move {
                        let mut part = vec![0; 4_096];
                        while let Ok(len @ 1..) = reads.read(&mut part).await {
                            kept.lock().unwrap()[place].extend(&part[..len]);
                            if writes.write_all(&part[..len]).await.is_err() {
                                break;
                            }
                        }
                        let _ = writes.shutdown().await;
                    });
                }
            }
        });
        Self { address, recording }
    }
}

/// Who sent a datagram of a flow: who begins it, such as the gateway that calls a device, or who is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client,
    Server,
}

/// The datagrams between one socket and who is reached.
pub type Flow = Vec<(Sender, Vec<u8>)>;

/// Leads datagrams to one who is reached and back, keeps them, and lets no more pass on the way back than it is
/// told.
pub struct UdpRelay {
    pub address: SocketAddr,
    flows: Arc<Mutex<BTreeMap<SocketAddr, Flow>>>,
    gate: Arc<Gate>,
}

/// How many datagrams may pass, and how many wait; and how often the addresses have changed.
struct Gate {
    passing: Semaphore,
    waiting: AtomicUsize,
    rebound: AtomicUsize,
}

impl UdpRelay {
    pub fn start(runtime: &Runtime, to: SocketAddr) -> Self {
        Self::start_at(runtime, loopback(), to)
    }

    pub fn start_at(runtime: &Runtime, at: SocketAddr, to: SocketAddr) -> Self {
        let socket = Arc::new(runtime.block_on(UdpSocket::bind(at)).unwrap());
        let address = socket.local_addr().unwrap();
        let flows = Arc::<Mutex<BTreeMap<SocketAddr, Flow>>>::default();
        let gate = Arc::new(Gate {
            passing: Semaphore::new(MANY),
            waiting: AtomicUsize::new(0),
            rebound: AtomicUsize::new(0),
        });
        let (kept, gated) = (Arc::clone(&flows), Arc::clone(&gate));
        runtime.spawn(async move {
            let (mut sockets, mut rebound) = (BTreeMap::new(), 0);
            let mut datagram = vec![0; 65_536];
            loop {
                let (len, from) = socket.recv_from(&mut datagram).await.unwrap();
                let keep = move |kept: &Mutex<BTreeMap<_, Flow>>, sender, datagram: &[u8]| {
                    let mut kept = kept.lock().unwrap();
                    kept.entry(from)
                        .or_default()
                        .push((sender, datagram.to_vec()));
                };
                keep(&kept, Sender::Client, &datagram[..len]);
                let now = gated.rebound.load(Ordering::SeqCst);
                if now != rebound {
                    sockets.clear();
                    rebound = now;
                }
                if let Entry::Vacant(place) = sockets.entry(from) {
                    let far = UdpSocket::bind(loopback()).await.unwrap();
                    far.connect(to).await.unwrap();
                    let far = Arc::new(far);
                    place.insert(Arc::clone(&far));
                    let (near, kept, gate) =
                        (Arc::clone(&socket), Arc::clone(&kept), Arc::clone(&gated));
                    tokio::spawn(async move {
                        let mut datagram = vec![0; 65_536];
                        while let Ok(len) = far.recv(&mut datagram).await {
                            // What comes to an earlier address comes to nobody.
                            if gate.rebound.load(Ordering::SeqCst) != now {
                                break;
                            }
                            gate.waiting.fetch_add(1, Ordering::SeqCst);
                            gate.passing.acquire().await.unwrap().forget();
                            gate.waiting.fetch_sub(1, Ordering::SeqCst);
                            keep(&kept, Sender::Server, &datagram[..len]);
                            let _ = near.send_to(&datagram[..len], from).await;
                        }
                    });
                }
                let _ = sockets[&from].send(&datagram[..len]).await;
            }
        });
        Self {
            address,
            flows,
            gate,
        }
    }

    pub fn flows(&self) -> Vec<Flow> {
        self.flows.lock().unwrap().values().cloned().collect()
    }

    /// Shows new addresses from now on; what comes to the old ones is lost.
    pub fn rebind(&self) {
        self.gate.rebound.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets this many datagrams pass on the way back, and no more.
    pub fn let_pass(&self, count: usize) {
        self.gate.passing.forget_permits(usize::MAX);
        self.gate.passing.add_permits(count);
    }

    pub fn open(&self) {
        self.gate.passing.add_permits(MANY);
    }

    /// Waits until a datagram waits on the way back.
    pub fn wait_until_full(&self) {
        let is_full = || {
            let is_used_up = self.gate.passing.available_permits() == 0;
            is_used_up && self.gate.waiting.load(Ordering::SeqCst) > 0
        };
        for _ in 0..4_000 {
            if is_full() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("nothing comes back");
    }
}

const MANY: usize = 1 << 20;
