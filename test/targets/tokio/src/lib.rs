//! The ledger of truth: a program writes down each place where it is about to get stuck, and it reports
//! READY only once every one of these places has really returned Pending.

use std::future::Future;
use std::io::Read;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Condvar, Mutex};
use std::task::{Context, Poll};

/// Source file, line, kind.
pub type Leaf = (&'static str, u32, &'static str);

struct Ledger {
    leaves: Vec<Leaf>,
    expected: usize,
    settled: usize,
}

static LEDGER: Mutex<Ledger> = Mutex::new(Ledger { leaves: Vec::new(), expected: 0, settled: 0 });
static SETTLED: Condvar = Condvar::new();

thread_local! {
    static ANNOUNCED: std::cell::Cell<usize> = std::cell::Cell::new(0);
}

/// The line below this call is where the task gets stuck: one leaf for each kind.
#[track_caller]
pub fn leaf_below(kinds: &[&'static str]) {
    let here = Location::caller();
    let mut ledger = LEDGER.lock().unwrap();
    for kind in kinds {
        ledger.leaves.push((here.file(), here.line() + 1, kind));
    }
    ANNOUNCED.with(|n| n.set(n.get() + kinds.len()));
}

/// The outermost future of a task that ends up stuck in `leaves` places. They count as settled when a poll
/// that began after or with their announcement has returned Pending.
pub struct Expect<F> {
    future: Pin<Box<F>>,
    announced: usize,
}

pub fn expect<F: Future>(leaves: usize, future: F) -> Expect<F> {
    LEDGER.lock().unwrap().expected += leaves;
    Expect { future: Box::pin(future), announced: 0 }
}

impl<F: Future> Future for Expect<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let outer = ANNOUNCED.with(|n| n.replace(0));
        let result = self.future.as_mut().poll(cx);
        self.announced += ANNOUNCED.with(|n| n.replace(outer));
        assert!(result.is_pending(), "a task that should be stuck has ended");
        if self.announced > 0 {
            LEDGER.lock().unwrap().settled += std::mem::take(&mut self.announced);
            SETTLED.notify_all();
        }
        result
    }
}

pub fn spawn<F>(leaves: usize, future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(expect(leaves, future))
}

/// Blocks the calling thread until every expected leaf has settled. To be called after the first `expect`.
pub fn wait_until_settled() -> Vec<Leaf> {
    let ledger = LEDGER.lock().unwrap();
    let ledger = SETTLED.wait_while(ledger, |l| l.settled < l.expected).unwrap();
    assert_eq!(ledger.leaves.len(), ledger.expected);
    ledger.leaves.clone()
}

/// Waits for what is expected so far, and forgets it: what is reported later comes after it.
pub fn forget_settled() {
    wait_until_settled();
    *LEDGER.lock().unwrap() = Ledger { leaves: Vec::new(), expected: 0, settled: 0 };
}

/// Prints LEAF lines and READY once all is settled.
pub fn report() {
    let mut leaves = wait_until_settled();
    leaves.sort();
    for (file, line, kind) in leaves {
        println!("LEAF {file}:{line} {kind}");
    }
    ready();
}

/// The same, and ends the program at the end of stdin, on a thread of its own, because the main thread is
/// stuck as well.
pub fn report_when_settled() {
    std::thread::spawn(|| {
        report();
        exit_at_end_of_stdin();
    });
}

pub fn ready() {
    println!("READY {}", std::process::id());
}

pub fn exit_at_end_of_stdin() -> ! {
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
    std::process::exit(0);
}

pub fn argument(index: usize) -> Option<String> {
    std::env::args().nth(index)
}

/// The runtime that argument `index` names: `current`, or `multi` with two workers.
pub fn runtime(index: usize) -> tokio::runtime::Runtime {
    use tokio::runtime::Builder;
    let mut builder = match argument(index).as_deref() {
        Some("current") => Builder::new_current_thread(),
        Some("multi") | None => Builder::new_multi_thread(),
        Some(other) => panic!("runtime {other}: multi or current"),
    };
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// CPU time of this process so far, user and system.
pub fn cpu_time() -> std::time::Duration {
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|t| std::time::Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000))
        .sum()
}
