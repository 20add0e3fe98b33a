//! Tasks that end in every way but their own. Arguments: multi or current; before or after they do.

use futures::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use targets::{expect, leaf_below, spawn};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, Notify};
use tokio::task::{AbortHandle, JoinSet};

async fn panics(go: Arc<Notify>) {
    leaf_below(&["panics"]);
    go.notified().await;
    panic!("on purpose");
}

async fn resumes_unwinding(go: Arc<Notify>) {
    leaf_below(&["resume_unwind"]);
    go.notified().await;
    std::panic::resume_unwind(Box::new("on purpose"));
}

async fn is_aborted() {
    leaf_below(&["abort"]);
    Notify::new().notified().await;
}

async fn aborts_itself(me: oneshot::Receiver<AbortHandle>, go: Arc<Notify>) {
    let me = me.await.unwrap();
    leaf_below(&["aborts itself"]);
    go.notified().await;
    // Cancelled while it is polled; dropped when this poll is over.
    me.abort();
    pending().await
}

async fn loses_its_runtime() {
    leaf_below(&["runtime dropped"]);
    Notify::new().notified().await;
}

/// The waker that it forgets is not where it waits, and keeps it from counting as stuck.
async fn forgets_a_waker() {
    tokio::select! {
        _ = forget(&[]) => unreachable!(),
        _ = tokio::time::sleep(Duration::from_millis(1)) => {}
    }
    leaf_below(&["after a forgotten waker"]);
    Notify::new().notified().await;
}

async fn forgets_its_only_waker() {
    forget(&["forgotten waker"]).await;
}

fn forget(kinds: &'static [&'static str]) -> impl std::future::Future<Output = ()> {
    poll_fn(move |cx| {
        leaf_below(kinds);
        std::mem::forget(cx.waker().clone());
        Poll::Pending
    })
}

async fn is_forgotten() {
    leaf_below(&["forgotten JoinHandle"]);
    Notify::new().notified().await;
}

async fn everything(after: bool, doomed: Runtime, background: Runtime) {
    let go = Arc::new(Notify::new());
    let (sender, me) = oneshot::channel();
    let mut one_by_one = JoinSet::new();
    sender.send(one_by_one.spawn(expect(1, aborts_itself(me, go.clone())))).unwrap();
    let handle = one_by_one.spawn(expect(1, is_aborted()));
    let mut set = JoinSet::new();
    set.spawn(expect(1, is_aborted()));
    set.spawn(expect(1, is_aborted()));
    let aborted = spawn(1, is_aborted());
    let ends = vec![
        spawn(1, panics(go.clone())),
        spawn(1, resumes_unwinding(go.clone())),
        doomed.spawn(expect(1, loses_its_runtime())),
        background.spawn(expect(1, loses_its_runtime())),
    ];
    if after {
        tokio::task::spawn_blocking(targets::forget_settled).await.unwrap();
        go.notify_waiters();
        aborted.abort();
        handle.abort();
        set.abort_all();
        tokio::task::spawn_blocking(|| drop(doomed)).await.unwrap();
        background.shutdown_background();
        for end in ends.into_iter().chain([aborted]) {
            end.await.unwrap_err();
        }
        while set.join_next().await.is_some() || one_by_one.join_next().await.is_some() {}
    } else {
        std::mem::forget((doomed, background, aborted, ends, set, one_by_one));
    }
    spawn(1, forgets_a_waker());
    spawn(1, forgets_its_only_waker());
    std::mem::forget(spawn(1, is_forgotten()));
    // Nothing can wake it, whoever forgot its JoinHandle.
    std::mem::forget(tokio::spawn(pending::<()>()));
    let stuck = expect(1, async {
        leaf_below(&["block_on"]);
        Notify::new().notified().await;
    });
    targets::report_when_settled();
    stuck.await
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let after = match targets::argument(2).as_deref() {
        Some("before") => false,
        Some("after") => true,
        _ => panic!("before or after"),
    };
    let other = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (doomed, background) = (other(), other());
    println!("TASKS {}", if after { 4 } else { 13 });
    targets::runtime(1).block_on(everything(after, doomed, background));
}
