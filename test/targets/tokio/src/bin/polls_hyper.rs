//! `want`, under hyper's client, wakes the waker that it replaces. Counts the polls of a task in which
//! poll_ready() waits beside a timer until the connection is driven at last.

use futures::future::poll_fn;
use hyper::client::conn::{handshake, SendRequest};
use hyper::Body;
use std::future::Future;
use std::time::Duration;
use tokio::time::sleep;

const TIMER: Duration = Duration::from_millis(100);
const DRIVEN_AFTER: Duration = Duration::from_millis(300);

async fn wait_until_ready(mut sender: SendRequest<Body>) -> u32 {
    let both = async {
        tokio::join!(poll_fn(|cx| sender.poll_ready(cx)), sleep(TIMER)).0.unwrap();
    };
    tokio::pin!(both);
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        both.as_mut().poll(cx)
    })
    .await;
    polls
}

async fn run() -> u32 {
    let (ours, _theirs) = tokio::io::duplex(1024);
    let (sender, connection) = handshake(ours).await.unwrap();
    let waiting = tokio::spawn(wait_until_ready(sender));
    sleep(DRIVEN_AFTER).await;
    tokio::spawn(connection);
    waiting.await.unwrap()
}

fn main() {
    let polls = targets::runtime(1).block_on(run());
    println!("POLLS {polls}");
}
