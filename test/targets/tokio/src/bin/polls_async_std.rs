//! async-io wakes the waker that it replaces. Counts the polls of an async-std task that reads beside a
//! timer until the peer writes at last, and the CPU time.

use async_std::io::{ReadExt, WriteExt};
use async_std::net::{TcpListener, TcpStream};
use async_std::task;
use futures::future::poll_fn;
use std::future::Future;
use std::time::Duration;

const TIMER: Duration = Duration::from_millis(100);
const WRITTEN_AFTER: Duration = Duration::from_millis(300);

async fn read_beside_a_timer(mut stream: TcpStream) -> u32 {
    let mut buffer = [0; 16];
    let mut both = Box::pin(async {
        futures::join!(stream.read(&mut buffer), task::sleep(TIMER)).0.unwrap();
    });
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        both.as_mut().poll(cx)
    })
    .await;
    polls
}

async fn run() -> u32 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut theirs, _) = listener.accept().await.unwrap();
    let waiting = task::spawn(read_beside_a_timer(ours));
    task::sleep(WRITTEN_AFTER).await;
    theirs.write_all(b"x").await.unwrap();
    waiting.await
}

fn main() {
    let polls = task::block_on(run());
    println!("POLLS {polls}");
    println!("CPU_US {}", targets::cpu_time().as_micros());
}
