//! A waker may outlive its await: in each case the loser of the first await keeps the task's waker alive
//! while the task waits somewhere else. Argument: multi or current.

use std::time::Duration;
use targets::{leaf_below, spawn};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, Notify};
use tokio::time::{interval, sleep, timeout};

const SOON: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

async fn after_timeout() {
    let (_sender, mut receiver) = mpsc::channel::<u8>(1);
    timeout(SOON, receiver.recv()).await.unwrap_err();
    leaf_below(&["after timeout(recv): Notify"]);
    Notify::new().notified().await;
    receiver.close();
}

async fn after_read() {
    let (mut ours, _theirs) = UnixStream::pair().unwrap();
    let mut buffer = [0; 16];
    tokio::select! { _ = ours.read(&mut buffer) => unreachable!(), _ = sleep(SOON) => {} }
    leaf_below(&["after select!{read, sleep}: Notify"]);
    Notify::new().notified().await;
    drop(ours);
}

async fn child() {
    leaf_below(&["the child: Notify"]);
    Notify::new().notified().await;
}

async fn after_join_handle() {
    let mut child = spawn(1, child());
    tokio::select! { _ = &mut child => unreachable!(), _ = sleep(SOON) => {} }
    leaf_below(&["after select!{&mut join_handle, sleep}: Notify"]);
    Notify::new().notified().await;
    drop(child);
}

async fn after_interval() {
    let mut hourly = interval(HOUR);
    hourly.tick().await;
    tokio::select! { _ = hourly.tick() => unreachable!(), _ = sleep(SOON) => {} }
    leaf_below(&["after select!{interval.tick(), sleep}: Notify"]);
    Notify::new().notified().await;
    drop(hourly);
}

async fn everything() {
    spawn(1, after_timeout());
    spawn(1, after_read());
    spawn(1, after_join_handle());
    spawn(1, after_interval());
    leaf_below(&["block_on, Notify"]);
    Notify::new().notified().await;
}

fn main() {
    let everything = targets::expect(1, everything());
    targets::report_when_settled();
    targets::runtime(1).block_on(everything);
}
