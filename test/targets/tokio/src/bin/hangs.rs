//! Programs that hang, each in a way of its own, three that do not, and some that crash. Arguments: the
//! scenario, multi or current, and for `blocked` sleep, spin or epoll. Prints LEAF lines, and for what has no
//! leaf BLOCKED or CRASH with file:line. A line on stdin lets what is to crash do so; its end ends the program.

#[path = "../hangs_locks.rs"]
mod locks;

use futures::stream::{FuturesUnordered, StreamExt};
use std::future::Future;
use std::io::BufRead;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use targets::{expect, leaf_below, spawn};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, Barrier, Mutex, Notify};
use tokio::task::JoinHandle;

const HOUR: Duration = Duration::from_secs(3600);

static SPINNING: AtomicBool = AtomicBool::new(true);

fn here(word: &str, line: u32) {
    println!("{word} {}:{line} {}", file!(), unsafe { libc::gettid() });
}

/// Lets go of the only waker that it was given.
struct Forgetful;

impl Future for Forgetful {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        drop(cx.waker().clone());
        Poll::Pending
    }
}

/// Leaves its waker with somebody who will not wake it.
struct Deposit(Arc<std::sync::Mutex<Option<Waker>>>);

impl Future for Deposit {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.0.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }
}

async fn deposit(safe: Arc<std::sync::Mutex<Option<Waker>>>) {
    leaf_below(&["Deposit"]);
    Deposit(safe).await;
}

async fn forget() {
    leaf_below(&["Forgetful"]);
    Forgetful.await;
}

async fn forget_all() {
    let mut group: FuturesUnordered<_> = (0..2).map(|_| Forgetful).collect();
    leaf_below(&["Forgetful"]);
    group.next().await;
}

async fn forgetful_group() {
    spawn(1, forget_all());
    idle().await;
}

async fn join(task: JoinHandle<()>) {
    leaf_below(&["JoinHandle"]);
    task.await.unwrap();
}

async fn lost_wake() {
    let forgetting = spawn(1, forget());
    spawn(1, join(forgetting));
    let safe = Arc::default();
    spawn(1, deposit(Arc::clone(&safe)));
    while safe.lock().unwrap().take().is_none() {
        tokio::task::yield_now().await;
    }
    idle().await;
}

async fn idle() {
    leaf_below(&["Notify"]);
    Notify::new().notified().await;
}

async fn keep(_sender: mpsc::Sender<u32>) {
    idle().await;
}

async fn receive(mut receiver: mpsc::Receiver<u32>) {
    leaf_below(&["mpsc recv"]);
    receiver.recv().await;
}

async fn never_sent() {
    let (sender, receiver) = mpsc::channel(1);
    spawn(1, receive(receiver));
    spawn(1, keep(sender));
    idle().await;
}

async fn join_what_comes(handle: oneshot::Receiver<JoinHandle<()>>) {
    let other = handle.await.unwrap();
    leaf_below(&["JoinHandle"]);
    other.await.unwrap();
}

async fn join_cycle() {
    let (to_first, first) = oneshot::channel();
    let (to_second, second) = oneshot::channel();
    to_second.send(spawn(1, join_what_comes(first))).unwrap();
    to_first.send(spawn(1, join_what_comes(second))).unwrap();
    idle().await;
}

type Account = Arc<Mutex<i64>>;

async fn transfer(from: Account, to: Account, both_hold_one: Arc<Barrier>) {
    let mut source = from.lock().await;
    both_hold_one.wait().await;
    leaf_below(&["Mutex lock"]);
    let mut sink = to.lock().await;
    *sink += *source;
    *source = 0;
}

async fn mutex_deadlock() {
    let (a, b) = (Account::default(), Account::default());
    let barrier = Arc::new(Barrier::new(2));
    spawn(1, transfer(a.clone(), b.clone(), barrier.clone()));
    spawn(1, transfer(b, a, barrier));
    idle().await;
}

async fn serve(mut connection: TcpStream) {
    let mut request = [0; 512];
    leaf_below(&["TcpStream read"]);
    while connection.read(&mut request).await.unwrap_or(0) > 0 {}
}

async fn healthy_accept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        spawn(1, serve(listener.accept().await.unwrap().0));
    }
    leaf_below(&["TcpListener accept"]);
    while listener.accept().await.is_ok() {}
}

async fn healthy_interval() {
    let mut interval = tokio::time::interval(Duration::from_millis(20));
    interval.tick().await;
    leaf_below(&["interval"]);
    while interval.tick().await.elapsed() < HOUR {}
}

async fn healthy_ctrl_c() {
    leaf_below(&["ctrl_c"]);
    tokio::signal::ctrl_c().await.unwrap();
}

fn sleep_on() {
    here("BLOCKED", line!() + 2);
    targets::ready();
    std::thread::sleep(HOUR);
}

fn spin_on() {
    here("BLOCKED", line!() + 2);
    targets::ready();
    while SPINNING.load(Ordering::Relaxed) {}
}

fn wait_on() {
    let mut event: libc::epoll_event = unsafe { std::mem::zeroed() };
    let epoll = unsafe { libc::epoll_create1(0) };
    here("BLOCKED", line!() + 2);
    targets::ready();
    unsafe { libc::epoll_wait(epoll, &mut event, 1, -1) };
    println!("INTERRUPTED {}", std::io::Error::last_os_error());
    std::process::exit(1);
}

async fn wait_for(turn: Arc<Notify>) {
    turn.notified().await;
}

async fn block(how: fn(), queue: Vec<Arc<Notify>>) {
    // Everything that is about to stand behind this task has been polled before.
    tokio::task::yield_now().await;
    queue.iter().for_each(|turn| turn.notify_one());
    how();
}

/// Four tasks are woken by a task that then blocks its thread. Beside it block threads that may.
async fn blocked() {
    let queue: Vec<_> = (0..4).map(|_| Arc::new(Notify::new())).collect();
    queue.iter().for_each(|turn| drop(tokio::spawn(wait_for(turn.clone()))));
    tokio::task::spawn_blocking(|| std::thread::sleep(HOUR));
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || runtime.block_on(async { std::thread::sleep(HOUR) }));
    if targets::argument(2).as_deref() != Some("current") {
        tokio::spawn(async { tokio::task::block_in_place(|| std::thread::sleep(HOUR)) });
    }
    let how = match targets::argument(3).as_deref() {
        Some("spin") => spin_on,
        Some("epoll") => wait_on,
        _ => sleep_on,
    };
    tokio::spawn(block(how, queue));
    Notify::new().notified().await;
}

async fn panic_in_task(go: Arc<Notify>) {
    here("CRASH", line!() + 3);
    leaf_below(&["Notify"]);
    go.notified().await;
    panic!("as asked");
}

async fn abort_in_task(go: Arc<Notify>) {
    here("CRASH", line!() + 3);
    leaf_below(&["Notify"]);
    go.notified().await;
    std::process::abort();
}

async fn segfault_in_task(go: Arc<Notify>) {
    here("CRASH", line!() + 3);
    leaf_below(&["Notify"]);
    go.notified().await;
    unsafe { std::ptr::null_mut::<u32>().write_volatile(1) };
}

/// As the kernel does it when memory runs out.
async fn oom_standin(go: Arc<Notify>) {
    leaf_below(&["Notify"]);
    go.notified().await;
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    idle().await;
}

async fn beside<F: Future<Output = ()> + Send + 'static>(crash: F) {
    spawn(1, crash);
    never_sent().await;
}

fn main() {
    let go = Arc::new(Notify::new());
    let crash_now = go.clone();
    let scenario = targets::argument(1).expect("a scenario");
    let reports_itself = scenario == "blocked";
    let future: Pin<Box<dyn Future<Output = ()>>> = match scenario.as_str() {
        "lost_wake" => Box::pin(expect(1, lost_wake())),
        "forgetful_group" => Box::pin(expect(1, forgetful_group())),
        "never_sent" => Box::pin(expect(1, never_sent())),
        "join_cycle" => Box::pin(expect(1, join_cycle())),
        "mutex_deadlock" => Box::pin(expect(1, mutex_deadlock())),
        "three_mutexes" => Box::pin(expect(1, locks::three_mutexes())),
        "rwlock_deadlock" => Box::pin(expect(1, locks::rwlock_deadlock())),
        "semaphores" => Box::pin(expect(1, locks::semaphores())),
        "dropped_guard" => Box::pin(expect(1, locks::dropped_guard())),
        "healthy_lock" => Box::pin(expect(1, locks::healthy_lock())),
        "healthy_accept" => Box::pin(expect(1, healthy_accept())),
        "healthy_interval" => Box::pin(expect(1, healthy_interval())),
        "healthy_ctrl_c" => Box::pin(expect(1, healthy_ctrl_c())),
        "panic_in_task" => Box::pin(expect(1, beside(panic_in_task(go)))),
        "abort_in_task" => Box::pin(expect(1, beside(abort_in_task(go)))),
        "segfault_in_task" => Box::pin(expect(1, beside(segfault_in_task(go)))),
        "oom_standin" => Box::pin(expect(1, beside(oom_standin(go)))),
        "blocked" => Box::pin(blocked()),
        other => panic!("{other}: no such scenario"),
    };
    std::thread::spawn(move || {
        if !reports_itself {
            targets::report();
        }
        std::io::stdin().lock().lines().for_each(|_| crash_now.notify_one());
        std::process::exit(0);
    });
    targets::runtime(2).block_on(future);
}
