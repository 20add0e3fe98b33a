//! Ways to combine futures. The leaves are plain; what lies between leaf and task is not.

use futures::future::{poll_fn, BoxFuture, FutureExt};
use futures::stream::{self, FuturesUnordered, StreamExt};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use targets::{leaf_below, spawn};
use tokio::sync::{mpsc, Notify};

pub fn spawn_all() {
    spawn(2, select_two());
    spawn(2, select_in_a_loop());
    spawn(2, select_over_functions());
    spawn(3, join());
    spawn(2, join_with_repolls());
    spawn(2, try_join());
    spawn(2, futures_join());
    spawn(1, nested());
    spawn(3, unordered());
    spawn(1, recursion(5));
    spawn(1, dyn_future(true));
    spawn(1, hand_written());
    spawn(1, poll_function());
    spawn(1, stream_of_unfold());
    spawn(1, futures_channel());
}

async fn forever() {
    let notify = Notify::new();
    leaf_below(&["Notify, shared function"]);
    notify.notified().await;
}

async fn receives() -> Result<u8, ()> {
    let (_sender, mut receiver) = mpsc::channel::<u8>(1);
    leaf_below(&["mpsc recv, shared function"]);
    receiver.recv().await.ok_or(())
}

async fn select_two() {
    let (_sender, mut receiver) = mpsc::channel::<u8>(1);
    let notify = Notify::new();
    leaf_below(&["select!: mpsc recv", "select!: Notify"]);
    tokio::select! { _ = receiver.recv() => {}, _ = notify.notified() => {} }
}

async fn select_in_a_loop() {
    let (sender, mut receiver) = mpsc::channel::<u8>(3);
    (0..3).for_each(|n| sender.try_send(n).unwrap());
    let notify = Notify::new();
    loop {
        let rest: &[_] = &["select! in a loop: mpsc recv", "select! in a loop: Notify"];
        leaf_below(if sender.capacity() == 3 { rest } else { &[] });
        tokio::select! { _ = receiver.recv() => {}, _ = notify.notified() => {} }
    }
}

async fn select_over_functions() {
    tokio::select! { _ = forever() => {}, _ = receives() => {} }
}

async fn join() {
    let _ = tokio::join!(forever(), receives(), nested());
}

async fn forever_after_yields() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    leaf_below(&["Notify, after 50 polls"]);
    Notify::new().notified().await;
}

async fn join_with_repolls() {
    tokio::join!(forever(), forever_after_yields());
}

async fn try_join() {
    let _ = tokio::try_join!(receives(), receives());
}

async fn futures_join() {
    let _ = futures::join!(forever(), receives());
}

async fn nested() {
    async { async { forever().await }.await }.await;
}

async fn unordered() {
    let mut group: FuturesUnordered<_> = (0..3).map(|_| receives()).collect();
    group.next().await;
}

fn recursion(depth: usize) -> BoxFuture<'static, ()> {
    async move {
        match depth {
            0 => forever().await,
            _ => recursion(depth - 1).await,
        }
    }
    .boxed()
}

async fn dyn_future(stuck: bool) {
    let future: Pin<Box<dyn Future<Output = ()> + Send>> =
        if stuck { Box::pin(forever()) } else { Box::pin(async {}) };
    future.await;
}

struct HandWritten {
    waker: Option<Waker>,
}

impl Future for HandWritten {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        leaf_below(&["hand-written future"]);
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

async fn hand_written() {
    HandWritten { waker: None }.await;
}

async fn poll_function() {
    let (_sender, mut receiver) = mpsc::channel::<u8>(1);
    let receive = poll_fn(|cx| {
        leaf_below(&["mpsc poll_recv"]);
        receiver.poll_recv(cx)
    });
    receive.await;
}

async fn stream_of_unfold() {
    let (_sender, receiver) = mpsc::channel::<u8>(1);
    let items = stream::unfold(receiver, |mut receiver| async move {
        leaf_below(&["mpsc recv, in a stream"]);
        receiver.recv().await.map(|item| (item, receiver))
    });
    Box::pin(items).next().await;
}

async fn futures_channel() {
    let (_sender, mut receiver) = futures::channel::mpsc::channel::<u8>(1);
    leaf_below(&["futures mpsc next"]);
    receiver.next().await;
}
