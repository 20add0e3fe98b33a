//! A library with a runtime inside, for programs in other languages.

use std::time::Duration;
use targets::{leaf_below, spawn};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, Notify};

async fn notified() {
    leaf_below(&["Notify"]);
    Notify::new().notified().await;
}

async fn sleeps() {
    leaf_below(&["sleep"]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
}

async fn receives() {
    let (sender, mut receiver) = mpsc::channel::<u8>(1);
    leaf_below(&["mpsc recv"]);
    receiver.recv().await;
    drop(sender);
}

async fn answers(mut questions: mpsc::Receiver<u8>, answers: mpsc::Sender<u8>) {
    while let Some(question) = questions.recv().await { // may wait for a moment
        let _ = answers.send(question).await; // may wait for a moment
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Three tasks that are stuck when it returns; with `tell` their LEAF lines are printed.
#[no_mangle]
pub extern "C" fn plugin_start(tell: bool) -> *mut Runtime {
    let runtime = runtime();
    let guard = runtime.enter();
    spawn(1, notified());
    spawn(1, sleeps());
    spawn(1, receives());
    drop(guard);
    let mut leaves = targets::wait_until_settled();
    leaves.sort();
    for (file, line, kind) in leaves.iter().filter(|_| tell) {
        println!("LEAF {file}:{line} {kind}");
    }
    Box::into_raw(Box::new(runtime))
}

/// Two tasks that keep each other busy.
#[no_mangle]
pub extern "C" fn plugin_play() -> *mut Runtime {
    let runtime = runtime();
    let (to_right, from_left) = mpsc::channel(1);
    let (to_left, from_right) = mpsc::channel(1);
    to_right.try_send(1).unwrap();
    runtime.spawn(answers(from_left, to_left));
    runtime.spawn(answers(from_right, to_right));
    Box::into_raw(Box::new(runtime))
}

/// # Safety
/// `runtime` comes from one of the functions above, and only once.
#[no_mangle]
pub unsafe extern "C" fn plugin_stop(runtime: *mut Runtime) {
    drop(Box::from_raw(runtime)); // may wait for a moment
}
