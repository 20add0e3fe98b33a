//! Does what programs do that libraries inside them must live through, and says OK where nothing was disturbed.
//!   survivor descriptors    closes every descriptor but stdio, as daemons do, and then opens its own
//!   survivor errno          errno is the same after a poll as before
//!   survivor environment    prints its environment
//!   survivor loader-lock    suspends while another thread holds the dynamic loader's lock
//!   survivor signals        a signal handler that calls poll() interrupts it 5,000 times
//!   survivor processes      starts programs, waits for them, and counts how they end
//!   survivor panics         a panic that is caught below the runtime, and one that ends a task
//!   survivor threads N      N threads, four at a time, each with a runtime of its own; READY, then as the others
//!   survivor steady N       N turns of two tasks that wake each other

use futures::future::poll_fn;
use std::future::Future;
use std::io::{Read, Seek, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn number() -> usize {
    targets::argument(2).expect("survivor MODE N").parse().unwrap()
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// A new stack for each depth, so that none is known yet.
#[inline(never)]
fn clone_below(depth: usize, cx: &Context<'_>) -> Waker {
    if depth == 0 {
        return cx.waker().clone();
    }
    let waker = clone_below(depth - 1, cx);
    CALLS.fetch_add(1, Ordering::Relaxed); // or the recursion would become a loop
    waker
}

async fn suspend_at_many_depths() {
    for depth in 0..100 {
        let mut waker = None;
        poll_fn(|cx| match waker.take() {
            Some(_) => Poll::Ready(()),
            None => {
                waker = Some(clone_below(depth, cx));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
    }
}

fn descriptors() {
    assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, !0u32, 0) }, 0);
    let mut files: Vec<_> = (0..8).map(|_| tempfile()).collect();
    current_thread().block_on(async {
        tokio::spawn(suspend_at_many_depths()).await.unwrap();
        suspend_at_many_depths().await;
    });
    for (number, file) in files.iter_mut().enumerate() {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "mine", "file {number}");
    }
}

fn tempfile() -> std::fs::File {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.read(true).write(true).custom_flags(libc::O_TMPFILE).open("/tmp").unwrap();
    file.write_all(b"mine").unwrap();
    file
}

fn errno() {
    const MARK: i32 = 4242;
    let errno = unsafe { libc::__errno_location() };
    let mut tasks: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    for _ in 0..100 {
        tasks.push(Box::pin(suspend_at_many_depths()));
    }
    let mut polls = 0;
    current_thread().block_on(poll_fn(|cx| {
        tasks.retain_mut(|task| {
            unsafe { *errno = MARK };
            let result = task.as_mut().poll(cx);
            assert_eq!(unsafe { *errno }, MARK, "after {polls} polls");
            polls += 1;
            result.is_pending()
        });
        if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }));
    unsafe { *errno = MARK };
    assert_eq!(unsafe { libc::poll(std::ptr::null_mut(), 0, 0) }, 0);
    assert_eq!(unsafe { *errno }, MARK);
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    assert_eq!(unsafe { libc::epoll_wait(-1, &mut event, 1, 0) }, -1);
    assert_eq!(unsafe { *errno }, libc::EBADF);
}

fn environment() {
    let mut variables: Vec<_> = std::env::vars().collect();
    variables.sort();
    for (name, value) in variables {
        println!("VARIABLE {name}={value}");
    }
}

static LOCK_IS_HELD: AtomicBool = AtomicBool::new(false);
static LOCK_MAY_GO: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn hold_lock(_: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> libc::c_int {
    LOCK_IS_HELD.store(true, Ordering::Release);
    while !LOCK_MAY_GO.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    1
}

fn loader_lock() {
    let runtime = current_thread();
    let holder = std::thread::spawn(|| unsafe { libc::dl_iterate_phdr(Some(hold_lock), std::ptr::null_mut()) });
    while !LOCK_IS_HELD.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    runtime.block_on(async {
        tokio::spawn(suspend_at_many_depths()).await.unwrap();
        suspend_at_many_depths().await;
    });
    LOCK_MAY_GO.store(true, Ordering::Release);
    assert_eq!(holder.join().unwrap(), 1);
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    unsafe { libc::poll(std::ptr::null_mut(), 0, 0) };
    SIGNALS.fetch_add(1, Ordering::Release);
}

fn signals() {
    const WANTED: usize = 5_000;
    let interrupted = unsafe { libc::pthread_self() };
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    let sender = std::thread::spawn(move || {
        for sent in 0..WANTED {
            assert_eq!(unsafe { libc::pthread_kill(interrupted, libc::SIGUSR1) }, 0);
            while SIGNALS.load(Ordering::Acquire) <= sent {
                std::thread::yield_now();
            }
        }
    });
    while SIGNALS.load(Ordering::Acquire) < WANTED {
        steady(100);
        current_thread().block_on(async {
            tokio::spawn(suspend_at_many_depths()).await.unwrap();
        });
    }
    sender.join().unwrap();
}

async fn panic_after_suspending() {
    tokio::task::yield_now().await;
    panic!("on purpose");
}

fn processes() {
    let ended: i32 = current_thread().block_on(async {
        let mut codes = 0;
        for code in ["0", "1", "7"] {
            let running: Vec<_> = (0..8)
                .map(|_| tokio::process::Command::new("/bin/sh").args(["-c", &format!("exit {code}")]).spawn().unwrap())
                .collect();
            for mut process in running {
                codes += process.wait().await.unwrap().code().unwrap();
            }
        }
        codes
    });
    assert_eq!(ended, 8 * 8);
}

/// Catches what a future below it throws, as a web framework does.
struct Catch<F>(Pin<Box<F>>);

impl<F: Future> Future for Catch<F> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(_)) => Poll::Ready(false),
            Err(_) => Poll::Ready(true),
        }
    }
}

/// The inner runtime's poll throws through the outer one's.
async fn nested_runtime() {
    let inner = std::thread::spawn(|| {
        let runtime = current_thread();
        catch_unwind(AssertUnwindSafe(|| runtime.block_on(panic_after_suspending()))).is_err()
    });
    assert!(inner.join().unwrap());
}

fn panics() {
    std::panic::set_hook(Box::new(|_| {}));
    current_thread().block_on(async {
        for _ in 0..100 {
            assert!(tokio::spawn(panic_after_suspending()).await.unwrap_err().is_panic());
            assert!(Catch(Box::pin(panic_after_suspending())).await);
            tokio::spawn(nested_runtime()).await.unwrap();
        }
        suspend_at_many_depths().await;
    });
}

fn threads(count: usize) {
    for _ in 0..count / 4 {
        let four: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    current_thread().block_on(async {
                        tokio::spawn(tokio::task::yield_now()).await.unwrap();
                        tokio::time::sleep(std::time::Duration::ZERO).await;
                    })
                })
            })
            .collect();
        four.into_iter().for_each(|thread| thread.join().unwrap());
    }
    targets::ready();
    targets::exit_at_end_of_stdin();
}

async fn answer(mine: Arc<Notify>, other: Arc<Notify>, turns: usize) {
    for _ in 0..turns {
        mine.notified().await;
        other.notify_one();
    }
}

fn steady(turns: usize) {
    let (one, two) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    current_thread().block_on(async {
        let answering = tokio::spawn(answer(one.clone(), two.clone(), turns));
        one.notify_one();
        answer(two, one, turns - 1).await;
        answering.await.unwrap();
    });
}

fn main() {
    match targets::argument(1).as_deref() {
        Some("descriptors") => descriptors(),
        Some("errno") => errno(),
        Some("environment") => environment(),
        Some("loader-lock") => loader_lock(),
        Some("panics") => panics(),
        Some("processes") => processes(),
        Some("signals") => signals(),
        Some("threads") => threads(number()),
        Some("steady") => steady(number()),
        _ => panic!("see the top of src/bin/survivor.rs"),
    }
    println!("OK");
}
