//! Leaves that another task of the program would have to end: every type of tokio::sync.

use std::sync::Arc;
use targets::{leaf_below, spawn};
use tokio::sync::{broadcast, mpsc, oneshot, watch, Barrier, Mutex, Notify, OnceCell, RwLock, Semaphore};

pub async fn spawn_all() {
    spawn(1, bounded_recv());
    spawn(1, bounded_send());
    spawn(1, reserve());
    spawn(1, unbounded_recv());
    spawn(1, closed());
    spawn(1, oneshot_recv());
    spawn(1, broadcast_recv());
    spawn(1, watch_changed());
    spawn(1, notified());
    spawn(1, mutex_lock());
    spawn(1, owned_lock());
    spawn(1, rwlock_read());
    spawn(1, rwlock_write());
    spawn(1, acquire());
    spawn(1, barrier_wait());
    let cell = Arc::new(OnceCell::new());
    let (begun, first_is_inside) = oneshot::channel();
    spawn(1, once_cell_first(cell.clone(), begun));
    first_is_inside.await.unwrap();
    spawn(1, once_cell_second(cell));
}

async fn bounded_recv() {
    let (_sender, mut receiver) = mpsc::channel::<u8>(1);
    leaf_below(&["mpsc recv"]);
    receiver.recv().await;
}

async fn bounded_send() {
    let (sender, _receiver) = mpsc::channel(1);
    sender.send(1).await.unwrap();
    leaf_below(&["mpsc send"]);
    sender.send(2).await.unwrap();
}

async fn reserve() {
    let (sender, _receiver) = mpsc::channel(1);
    sender.send(1).await.unwrap();
    leaf_below(&["mpsc reserve"]);
    sender.reserve().await.unwrap().send(2);
}

async fn unbounded_recv() {
    let (_sender, mut receiver) = mpsc::unbounded_channel::<u8>();
    leaf_below(&["mpsc unbounded recv"]);
    receiver.recv().await;
}

async fn closed() {
    let (sender, _receiver) = mpsc::channel::<u8>(1);
    leaf_below(&["mpsc closed"]);
    sender.closed().await;
}

async fn oneshot_recv() {
    let (_sender, receiver) = oneshot::channel::<u8>();
    leaf_below(&["oneshot"]);
    receiver.await.unwrap();
}

async fn broadcast_recv() {
    let (_sender, mut receiver) = broadcast::channel::<u8>(1);
    leaf_below(&["broadcast recv"]);
    receiver.recv().await.unwrap();
}

async fn watch_changed() {
    let (_sender, mut receiver) = watch::channel(0);
    leaf_below(&["watch changed"]);
    receiver.changed().await.unwrap();
}

async fn notified() {
    let notify = Notify::new();
    leaf_below(&["Notify"]);
    notify.notified().await;
}

async fn mutex_lock() {
    let mutex = Mutex::new(0);
    let _held = mutex.lock().await;
    leaf_below(&["Mutex lock"]);
    let _never = mutex.lock().await;
}

async fn owned_lock() {
    let mutex = Arc::new(Mutex::new(0));
    let _held = mutex.clone().lock_owned().await;
    leaf_below(&["Mutex lock_owned"]);
    mutex.lock_owned().await;
}

async fn rwlock_read() {
    let lock = RwLock::new(0);
    let _held = lock.write().await;
    leaf_below(&["RwLock read"]);
    let _never = lock.read().await;
}

async fn rwlock_write() {
    let lock = RwLock::new(0);
    let _held = lock.read().await;
    leaf_below(&["RwLock write"]);
    let _never = lock.write().await;
}

async fn acquire() {
    let semaphore = Semaphore::new(2);
    let _held = semaphore.acquire().await.unwrap();
    leaf_below(&["Semaphore acquire"]);
    let _never = semaphore.acquire_many(2).await.unwrap();
}

async fn barrier_wait() {
    let barrier = Barrier::new(2);
    leaf_below(&["Barrier wait"]);
    barrier.wait().await;
}

async fn once_cell_first(cell: Arc<OnceCell<u8>>, begun: oneshot::Sender<()>) {
    let notify = Notify::new();
    let init = || async {
        begun.send(()).unwrap();
        leaf_below(&["OnceCell init, Notify"]);
        notify.notified().await;
        0
    };
    cell.get_or_init(init).await;
}

async fn once_cell_second(cell: Arc<OnceCell<u8>>) {
    leaf_below(&["OnceCell get_or_init"]);
    cell.get_or_init(|| async { 0 }).await;
}
