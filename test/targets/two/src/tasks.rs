use targets::{expect, leaf_below};
use self::tokio::runtime::{Builder, Runtime};
use self::tokio::sync::Notify;
use self::tokio::task::JoinHandle;

pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A task that has ended, and a handle that keeps its memory.
pub fn aborted(runtime: &Runtime) -> JoinHandle<()> {
    let handle = runtime.spawn(expect(1, async {
        leaf_below(&["aborted"]);
        Notify::new().notified().await;
    }));
    targets::forget_settled();
    handle.abort();
    while !handle.is_finished() {
        std::thread::yield_now();
    }
    handle
}

pub fn spawn_all(runtime: &Runtime) {
    let notified = runtime.spawn(expect(1, async {
        leaf_below(&["Notify"]);
        Notify::new().notified().await;
    }));
    runtime.spawn(expect(1, async {
        leaf_below(&["JoinHandle"]);
        notified.await.unwrap();
    }));
    runtime.spawn(expect(1, async {
        leaf_below(&["sleep"]);
        tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    }));
}
