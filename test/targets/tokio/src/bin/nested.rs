//! Executors inside executors, and wakers inside wakers. Argument: tokio, or smol.

use futures::channel::oneshot;
use futures::future::pending;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::FutureExt;
use targets::{expect, leaf_below};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::task::{block_in_place, spawn_blocking, spawn_local, LocalSet};

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn in_local_set() {
    leaf_below(&["in a LocalSet"]);
    Notify::new().notified().await;
}

async fn in_block_in_place() {
    leaf_below(&["block_on in block_in_place"]);
    Notify::new().notified().await;
}

async fn in_spawn_blocking() {
    leaf_below(&["block_on in spawn_blocking"]);
    Notify::new().notified().await;
}

async fn in_foreign_block_on() {
    leaf_below(&["futures' block_on in spawn_blocking"]);
    Notify::new().notified().await;
}

async fn on_a_thread() {
    leaf_below(&["futures' block_on on a thread"]);
    Notify::new().notified().await;
}

async fn inner_task() {
    leaf_below(&["task of a nested runtime"]);
    Notify::new().notified().await;
}

async fn inner_block_on() {
    tokio::spawn(expect(1, inner_task()));
    leaf_below(&["block_on of a nested runtime"]);
    Notify::new().notified().await;
}

/// Children of which no waker is seen: as if the compiler had inlined the clone, whose table it may know here.
async fn unordered() {
    let mut children: FuturesUnordered<_> = [pending::<()>(), pending()].into_iter().collect();
    leaf_below(&["FuturesUnordered"]);
    children.next().await;
}

async fn buffered() {
    let (_sender, receiver) = oneshot::channel::<u8>();
    let mut children = futures::stream::iter([receiver]).buffer_unordered(2);
    leaf_below(&["buffer_unordered over oneshot"]);
    children.next().await;
}

async fn shared() {
    let (_sender, receiver) = oneshot::channel::<u8>();
    leaf_below(&["Shared over oneshot"]);
    receiver.shared().await.ok();
}

async fn shared_notify() {
    let child = async {
        leaf_below(&["in Shared"]);
        Notify::new().notified().await;
    };
    child.boxed().shared().await
}

async fn buffered_notifies() {
    let children = (0..3).map(|_| async {
        leaf_below(&["in buffer_unordered"]);
        Notify::new().notified().await;
    });
    futures::stream::iter(children).buffer_unordered(2).next().await;
}

async fn select_all() {
    let (_first, one) = oneshot::channel::<u8>();
    let (_second, other) = oneshot::channel::<u8>();
    leaf_below(&["select_all", "select_all"]);
    futures::future::select_all([one, other]).await.0.unwrap();
}

async fn everything() {
    let stuck = expect(1, in_block_in_place());
    tokio::spawn(async { block_in_place(|| Handle::current().block_on(stuck)) });
    let stuck = expect(1, inner_block_on());
    tokio::spawn(async { block_in_place(|| current_thread().block_on(stuck)) });
    let stuck = expect(1, in_spawn_blocking());
    spawn_blocking(|| Handle::current().block_on(stuck));
    let stuck = expect(1, inner_block_on());
    spawn_blocking(|| current_thread().block_on(stuck));
    let stuck = expect(1, in_foreign_block_on());
    spawn_blocking(|| futures::executor::block_on(stuck));
    let stuck = expect(1, on_a_thread());
    std::thread::spawn(|| futures::executor::block_on(stuck));
    tokio::spawn(expect(1, unordered()));
    tokio::spawn(expect(1, buffered()));
    tokio::spawn(expect(1, shared()));
    tokio::spawn(expect(1, shared_notify()));
    tokio::spawn(expect(2, buffered_notifies()));
    tokio::spawn(expect(2, select_all()));
    let local = LocalSet::new();
    let stuck = expect(1, async {
        spawn_local(expect(1, in_local_set()));
        leaf_below(&["LocalSet::run_until"]);
        Notify::new().notified().await;
    });
    targets::report_when_settled();
    local.run_until(stuck).await
}

async fn on_smol() {
    leaf_below(&["channel recv"]);
    smol::channel::bounded::<u8>(1).1.recv().await.ok();
}

async fn on_local_executor() {
    leaf_below(&["task of a LocalExecutor"]);
    smol::channel::bounded::<u8>(1).1.recv().await.ok();
}

fn smol_program() {
    smol::spawn(expect(1, on_smol())).detach();
    smol::spawn(async {}).detach();
    let executor = smol::LocalExecutor::new();
    executor.spawn(expect(1, on_local_executor())).detach();
    let stuck = expect(1, async {
        let mutex = smol::lock::Mutex::new(());
        let _guard = mutex.lock().await;
        leaf_below(&["Mutex lock"]);
        mutex.lock().await;
    });
    targets::report_when_settled();
    smol::block_on(executor.run(stuck));
}

fn main() {
    match targets::argument(1).as_deref() {
        Some("smol") => return smol_program(),
        Some("tokio") => (),
        _ => panic!("tokio or smol"),
    }
    Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap().block_on(everything());
}
