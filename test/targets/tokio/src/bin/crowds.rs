//! Many processes, threads and wakes, and little stack. Says OK where all went as it should.
//!   crowds forks N       8 threads fork N times each, while a runtime works: children that end at once, execute
//!                        another program, or run a runtime of their own; then the same by vfork and posix_spawn
//!   crowds stacks N      N threads with the smallest stack there is, each polling and waking
//!   crowds handler N     N wakes by a signal handler on an alternate stack, in the middle of a poll
//!   crowds traffic N M   N tasks, woken and freed by other threads than made them: WARM; M times as many: DONE.
//!                        After each word it waits for a line

use futures::future::poll_fn;
use std::ffi::CString;
use std::io::BufRead;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::task::{Poll, Waker};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, Notify};

fn number(index: usize) -> usize {
    targets::argument(index).expect("crowds MODE N").parse().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn work() {
    tokio::spawn(tokio::task::yield_now()).await.unwrap();
    tokio::time::sleep(std::time::Duration::ZERO).await;
}

fn status_of(child: libc::pid_t) -> i32 {
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "child {child} ended with {status:#x}");
    libc::WEXITSTATUS(status)
}

fn arguments() -> (CString, [*const libc::c_char; 2]) {
    let path = CString::new("/bin/false").unwrap();
    let argv = [path.as_ptr(), std::ptr::null()];
    (path, argv)
}

fn fork_and_wait(turn: usize) {
    let (path, argv) = arguments();
    let child = unsafe { libc::fork() };
    if child == 0 {
        match turn % 3 {
            0 => unsafe { libc::_exit(7) },
            1 => drop(unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) }),
            _ => current_thread().block_on(work()),
        }
        unsafe { libc::_exit(9) };
    }
    assert!(child > 0);
    assert_eq!(status_of(child), [7, 1, 9][turn % 3]);
}

fn vfork_and_spawn() {
    let (path, argv) = arguments();
    let mut child = 0;
    let null = std::ptr::null();
    let spawned = unsafe {
        libc::posix_spawn(&mut child, path.as_ptr(), null as _, null as _, argv.as_ptr() as _, null as _)
    };
    assert_eq!(spawned, 0);
    assert_eq!(status_of(child), 1);
    // The child runs on our stack until it executes something: as little of Rust as can be.
    #[allow(deprecated)]
    let child = unsafe { libc::vfork() };
    if child == 0 {
        unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) };
        unsafe { libc::_exit(9) };
    }
    assert_eq!(status_of(child), 1);
}

fn forks(count: usize) {
    let runtime = two_workers();
    let busy = runtime.spawn(async {
        loop {
            work().await;
        }
    });
    let forking: Vec<_> =
        (0..8).map(|_| std::thread::spawn(move || (0..count).for_each(fork_and_wait))).collect();
    forking.into_iter().for_each(|thread| thread.join().unwrap());
    (0..count).for_each(|_| vfork_and_spawn());
    busy.abort();
    assert!(runtime.block_on(busy).unwrap_err().is_cancelled());
}

fn stacks(count: usize) {
    for _ in 0..count {
        let thread = std::thread::Builder::new().stack_size(libc::PTHREAD_STACK_MIN).spawn(|| {
            let waker = futures::executor::block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
            waker.wake();
            current_thread().block_on(work());
        });
        thread.unwrap().join().unwrap();
    }
}

static WAKER: Mutex<Option<Waker>> = Mutex::new(None);
static WAKES: AtomicUsize = AtomicUsize::new(0);

extern "C" fn wake(_: libc::c_int) {
    if let Some(waker) = WAKER.lock().unwrap().as_ref() {
        waker.wake_by_ref();
        WAKES.fetch_add(1, Ordering::Relaxed);
    }
}

fn handler(count: usize) {
    let mut stack = vec![0u8; 64 << 10];
    unsafe {
        let alternate = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        assert_eq!(libc::sigaltstack(&alternate, std::ptr::null_mut()), 0);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = wake as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    current_thread().block_on(async move {
        let mut polls = 0;
        tokio::spawn(poll_fn(move |cx| {
            polls += 1;
            *WAKER.lock().unwrap() = Some(cx.waker().clone());
            unsafe { libc::raise(libc::SIGUSR1) };
            if polls < count { Poll::Pending } else { Poll::Ready(()) }
        }))
        .await
        .unwrap();
    });
    *WAKER.lock().unwrap() = None;
    assert_eq!(WAKES.load(Ordering::Relaxed), count);
    drop(stack);
}

async fn wait_for(answer: oneshot::Receiver<()>, done: Arc<Notify>) {
    answer.await.unwrap();
    done.notify_one();
}

/// Batches of tasks made by one worker, woken by threads that are no workers.
fn traffic_of(runtime: &Runtime, count: usize) {
    const BATCH: usize = 500;
    let (requests, work) = mpsc::channel::<oneshot::Sender<()>>();
    let work = Arc::new(Mutex::new(work));
    let wakers: Vec<_> = (0..3)
        .map(|_| {
            let work = work.clone();
            std::thread::spawn(move || loop {
                let next = work.lock().unwrap().recv();
                match next {
                    Ok(sender) => sender.send(()).unwrap(),
                    Err(_) => return,
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for _ in 0..count / BATCH {
            let mut batch = Vec::new();
            let done = Arc::new(Notify::new());
            for _ in 0..BATCH {
                let (sender, receiver) = oneshot::channel();
                batch.push(tokio::spawn(wait_for(receiver, done.clone())));
                requests.send(sender).unwrap();
            }
            done.notified().await;
            for task in batch {
                task.await.unwrap();
            }
        }
    });
    drop(requests);
    wakers.into_iter().for_each(|thread| thread.join().unwrap());
}

fn traffic(count: usize, times: usize) {
    let mut lines = std::io::stdin().lock().lines();
    let runtime = two_workers();
    traffic_of(&runtime, count);
    println!("WARM {}", std::process::id());
    lines.next();
    (0..times).for_each(|_| traffic_of(&runtime, count));
    println!("DONE {}", std::process::id());
    lines.next();
}

fn main() {
    match targets::argument(1).as_deref() {
        Some("forks") => forks(number(2)),
        Some("stacks") => stacks(number(2)),
        Some("handler") => handler(number(2)),
        Some("traffic") => traffic(number(2), number(3)),
        _ => panic!("see the top of src/bin/crowds.rs"),
    }
    println!("OK");
}
