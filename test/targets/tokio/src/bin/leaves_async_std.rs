//! The kinds of leaf of an async-std program, on async-task's executor. Prints the line of every await that it is
//! stuck in; tasks that end at once, or panic, must be gone from the dump.

use async_std::channel;
use async_std::io::ReadExt;
use async_std::net::{TcpListener, TcpStream};
use async_std::sync::{Arc, Mutex};
use async_std::task;
use targets::{expect, leaf_below};

async fn receives(messages: channel::Receiver<u32>) {
    leaf_below(&["channel recv"]);
    messages.recv().await.ok();
}

async fn sends(messages: channel::Sender<u32>) {
    messages.send(1).await.unwrap();
    leaf_below(&["channel send"]);
    messages.send(2).await.ok();
}

async fn accepts(listener: TcpListener) {
    leaf_below(&["TcpListener accept"]);
    listener.accept().await.ok();
}

async fn reads(mut stream: TcpStream) {
    let mut buffer = [0; 4];
    leaf_below(&["TcpStream read"]);
    stream.read(&mut buffer).await.ok();
}

async fn locks(mutex: Arc<Mutex<u32>>) {
    leaf_below(&["Mutex lock"]);
    mutex.lock().await;
}

async fn joins(other: task::JoinHandle<()>) {
    leaf_below(&["JoinHandle"]);
    other.await
}

async fn ends() {}

async fn panics() {
    panic!("on purpose");
}

async fn everything() {
    let mutex = Arc::new(Mutex::new(0));
    let _guard = mutex.lock().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_theirs, _) = listener.accept().await.unwrap();
    let (_full, to_receive) = channel::bounded(1);
    let (to_send, _never_read) = channel::bounded(1);
    for _ in 0..10 {
        task::spawn(ends()).await;
    }
    task::spawn(panics());
    task::spawn(expect(1, receives(to_receive)));
    task::spawn(expect(1, sends(to_send)));
    task::spawn(expect(1, accepts(listener)));
    task::spawn(expect(1, reads(ours)));
    task::spawn(expect(1, locks(mutex.clone())));
    let (_kept, nothing) = channel::bounded(1);
    task::spawn(expect(1, joins(task::spawn(expect(1, receives(nothing))))));
    let (_also_kept, nothing_either) = channel::bounded::<u32>(1);
    leaf_below(&["block_on"]);
    nothing_either.recv().await.ok();
}

fn main() {
    // A panic unwinds through the executor's thread, which catches it and goes on.
    std::panic::set_hook(Box::new(|_| {}));
    let stuck = expect(1, everything());
    targets::report_when_settled();
    task::block_on(stuck);
}
