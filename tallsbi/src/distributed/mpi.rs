//! The processes of an MPI job.
//!
//! There is one kind of communication: all give bytes to all. First a [`Header`] of each says where it is, then come the bytes. A process that leaves, be it
//! that it is done, failed or was asked to stop, takes part in one last such exchange, which answers the one that the others wait in: so every process hears
//! of the first failure at the first opportunity, and nobody waits for one that is gone. All calls are on the thread that joined.

use super::Leave;
use crate::{Error, Result};
use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tallsbi_data::{Cancelled, Team};

/// [`WORKING`] or how the process leaves, the number of bytes that follow, which exchange it is.
type Header = [u64; 3];

const WORKING: u64 = 0;
const DONE: u64 = 1;
const INTERRUPTED: u64 = 2;
const FAILED: u64 = 3;

/// Bytes of each process that are exchanged at a time: MPI counts those of all in 31 bits.
const ROUND_BYTES: usize = 1 << 28;

/// How long a process that failed or was asked to stop waits for the others to come to their next exchange.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between looks at an exchange that others have not come to, at first and at most.
const LOOKS: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(2)];

/// Exit code of a job that one of its processes ended.
const ABORTED: i32 = 1;

struct World {
    all: SimpleCommunicator,
    // Ends MPI when dropped.
    _universe: Universe,
}

thread_local! {
    /// On the thread that joined.
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// The processes of a job, as one of them sees them.
#[derive(Debug)]
pub struct Processes {
    size: usize,
    rank: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Exchanges so far.
    exchanges: u64,
    /// Whether the last exchange has been: another process has left.
    over: bool,
    /// Why, if it is not that a process was asked to stop.
    reason: Option<Error>,
}

/// What a process said in an exchange.
struct Said {
    header: Header,
    bytes: Vec<u8>,
}

impl Processes {
    /// The processes `mpirun` started; none if there is this one alone. At most once in a process. `greeting` is what the program
    /// says of itself: all must say the same, of it and of their processors.
    ///
    /// # Errors
    /// When MPI does not start, or processes are of different kinds.
    pub fn join(greeting: &str) -> Result<Option<Self>> {
        if super::launched().is_none() {
            return Ok(None);
        }
        let failed = |message: String| Error::Input { origin: "MPI".into(), message };
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| failed("does not start: it was started before".into()))?;
        let all = universe.world();
        let (size, rank) = (all.size() as usize, all.rank() as usize);
        WORLD.set(Some(World { all, _universe: universe }));
        let processes = Self { size, rank, state: Mutex::default() };
        let greeting = format!("{greeting}, processor with {}", processor());
        let said = processes.exchange("start", greeting.into_bytes());
        match said.map(|said| said.iter().position(|other| *other != said[0])) {
            Ok(None) => Ok(Some(processes)),
            Ok(Some(other)) => {
                WORLD.take();
                Err(failed(format!(
                    "process {other} has another program, other arguments or another kind of processor than process 0, and would not compute \
                     the same; start the same on machines of one kind"
                )))
            }
            Err(Cancelled) => Err(failed("processes do not start the same program".into())),
        }
    }

    /// Ends the work of this process: waits until all others do, and returns what ended it if that was elsewhere. If they do not, although this one has
    /// something to end all for, `give_up` is called and all processes are ended.
    pub fn leave(&self, how: Leave<'_>, give_up: &dyn Fn()) -> Option<Error> {
        let (kind, message) = match how {
            Leave::Done => (DONE, ""),
            Leave::Interrupted => (INTERRUPTED, ""),
            Leave::Failed(message) => (FAILED, message),
        };
        if !self.state().over {
            let patience = (kind != DONE).then_some((PATIENCE, give_up));
            let said = self.all(kind, "end", message.as_bytes(), patience);
            self.understand(&said);
        }
        WORLD.take();
        self.state().reason.take()
    }

    /// Ends all processes at once, from the thread that joined.
    pub fn abort() {
        WORLD.with_borrow(|world| world.as_ref().map(|world| world.all.abort(ABORTED)));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all are where this process is, and work; else notes why the work is over.
    fn understand(&self, said: &[Said]) -> bool {
        let apart = said.iter().any(|other| other.header[2] != said[self.rank].header[2]);
        let kinds = || said.iter().map(|other| other.header[0]);
        let mut state = self.state();
        if kinds().all(|kind| kind == WORKING) && !apart {
            return true;
        }
        state.over = true;
        state.reason = match kinds().position(|kind| kind == FAILED) {
            Some(rank) => {
                Some(Error::Process { rank, message: String::from_utf8_lossy(&said[rank].bytes).into_owned() })
            }
            None if kinds().all(|kind| kind == DONE) || kinds().any(|kind| kind == INTERRUPTED) => None,
            None => Some(Error::Input {
                origin: "MPI".into(),
                message: "the processes do not do the same: do all machines see the same files?".into(),
            }),
        };
        false
    }

    /// What all say.
    fn all(&self, kind: u64, label: &str, own: &[u8], patience: Option<(Duration, &dyn Fn())>) -> Vec<Said> {
        let place = {
            let mut state = self.state();
            state.exchanges += 1;
            place(label, state.exchanges)
        };
        WORLD.with_borrow(|world| {
            let all = &world.as_ref().expect("on the thread that joined, before it left").all;
            let headers = headers(all, [kind, own.len() as u64, place], patience);
            let lengths: Vec<usize> = headers.iter().map(|header| header[1] as usize).collect();
            let bytes = contents(all, own, &lengths);
            headers.into_iter().zip(bytes).map(|(header, bytes)| Said { header, bytes }).collect()
        })
    }
}

impl Team for Processes {
    fn size(&self) -> usize {
        self.size
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn is_here(&self) -> bool {
        WORLD.with_borrow(Option::is_some)
    }

    fn exchange(&self, label: &str, own: Vec<u8>) -> std::result::Result<Vec<Vec<u8>>, Cancelled> {
        if self.state().over {
            return Err(Cancelled);
        }
        let said = self.all(WORKING, label, &own, None);
        if self.understand(&said) { Ok(said.into_iter().map(|said| said.bytes).collect()) } else { Err(Cancelled) }
    }
}

/// The headers of all. Looks now and then instead of waiting in MPI, which would keep a core busy that others compute on.
fn headers(all: &SimpleCommunicator, own: Header, patience: Option<(Duration, &dyn Fn())>) -> Vec<Header> {
    let mut flat = vec![0u64; own.len() * all.size() as usize];
    mpi::request::scope(|scope| {
        let started = Instant::now();
        let mut look = LOOKS[0];
        let mut request = all.immediate_all_gather_into(scope, &own[..], &mut flat[..]);
        while let Err(pending) = request.test() {
            request = pending;
            if let Some((_, give_up)) = patience.filter(|(patience, _)| started.elapsed() > *patience) {
                give_up();
                all.abort(ABORTED);
            }
            std::thread::sleep(look);
            look = (2 * look).min(LOOKS[1]);
        }
    });
    flat.chunks_exact(own.len()).map(|header| [header[0], header[1], header[2]]).collect()
}

/// The bytes of all, of which all know the lengths.
fn contents(all: &SimpleCommunicator, own: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let round_bytes = ROUND_BYTES / lengths.len();
    let most = lengths.iter().max().copied().unwrap_or(0);
    let mut contents: Vec<Vec<u8>> = lengths.iter().map(|&length| Vec::with_capacity(length)).collect();
    for start in (0..most).step_by(round_bytes) {
        let within = |length: usize| length.min(start)..length.min(start + round_bytes);
        let counts: Vec<i32> = lengths.iter().map(|&length| within(length).len() as i32).collect();
        let places: Vec<i32> = counts
            .iter()
            .scan(0, |end, count| {
                *end += count;
                Some(*end - count)
            })
            .collect();
        let mut round = vec![0u8; counts.iter().sum::<i32>() as usize];
        let mut partition = PartitionMut::new(&mut round[..], &counts[..], &places[..]);
        all.all_gather_varcount_into(&own[within(own.len())], &mut partition);
        for ((content, &count), &place) in contents.iter_mut().zip(&counts).zip(&places) {
            content.extend_from_slice(&round[place as usize..(place + count) as usize]);
        }
    }
    contents
}

/// A number for the exchange `number`, of this label: FNV-1a.
fn place(label: &str, number: u64) -> u64 {
    let bytes = label.bytes().chain(number.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What decides the rounding of this processor: kernels are chosen by it at run time.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let known = [
            ("sse4.1", is_x86_feature_detected!("sse4.1")),
            ("avx", is_x86_feature_detected!("avx")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512bw", is_x86_feature_detected!("avx512bw")),
            ("avx512cd", is_x86_feature_detected!("avx512cd")),
            ("avx512dq", is_x86_feature_detected!("avx512dq")),
            ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ];
        known.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH.into()
    }
}
