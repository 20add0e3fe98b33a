//! async-io wakes the waker that it replaces. Counts the polls of a task that reads from an async-std socket
//! beside a timer until the peer writes at last. Argument: async-std (its own executor),
//! futures (its block_on) or tokio.

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

async fn run(executor: &str) -> u32 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut theirs, _) = listener.accept().await.unwrap();
    let write_at_last = async {
        task::sleep(WRITTEN_AFTER).await;
        theirs.write_all(b"x").await.unwrap();
    };
    if executor == "tokio" {
        let waiting = tokio::spawn(read_beside_a_timer(ours));
        write_at_last.await;
        waiting.await.unwrap()
    } else if executor == "futures" {
        let waiting = std::thread::spawn(|| futures::executor::block_on(read_beside_a_timer(ours)));
        write_at_last.await;
        waiting.join().unwrap()
    } else {
        let waiting = task::spawn(read_beside_a_timer(ours));
        write_at_last.await;
        waiting.await
    }
}

fn main() {
    let polls = match targets::argument(1).as_deref() {
        Some("tokio") => targets::runtime(2).block_on(run("tokio")),
        executor => task::block_on(run(executor.unwrap_or("async-std"))),
    };
    println!("POLLS {polls}");
}
