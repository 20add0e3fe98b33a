//! Tasks that wait for other tasks.

use targets::{leaf_below, spawn};
use tokio::sync::Notify;
use tokio::task::{spawn_blocking, JoinSet};

pub fn spawn_all() {
    spawn(1, join_handle());
    spawn(1, join_set());
    spawn(1, blocking());
}

async fn child() {
    let notify = Notify::new();
    leaf_below(&["Notify, in a child"]);
    notify.notified().await;
}

async fn join_handle() {
    let child = spawn(1, child());
    leaf_below(&["JoinHandle"]);
    child.await.unwrap();
}

async fn join_set() {
    let mut children = JoinSet::new();
    children.spawn(targets::expect(1, child()));
    children.spawn(targets::expect(1, child()));
    leaf_below(&["JoinSet join_next"]);
    children.join_next().await.unwrap().unwrap();
}

async fn blocking() {
    let (_sender, receiver) = std::sync::mpsc::channel::<u8>();
    leaf_below(&["spawn_blocking"]);
    spawn_blocking(move || receiver.recv()).await.unwrap().unwrap();
}
