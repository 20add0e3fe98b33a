//! For an agent that comes late. Argument 1: what it does.
//! again: tasks that wait from before; at a line on stdin half of them go on to another wait, which is told.
//! load: tasks that hand numbers to and fro for ever; a line on stdin prints how many.

use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use targets::{expect, leaf_below, spawn};
use tokio::sync::mpsc::channel;
use tokio::sync::Notify;

const TASKS: usize = 50;

static HANDED_OVER: AtomicU64 = AtomicU64::new(0);

fn lines() -> impl Iterator<Item = std::io::Result<String>> {
    std::io::stdin().lock().lines()
}

async fn inner(second: Arc<Notify>) {
    leaf_below(&["Notify"]);
    second.notified().await;
}

async fn goes_on(first: Arc<Notify>, second: Arc<Notify>) {
    leaf_below(&["Notify"]);
    first.notified().await;
    inner(second).await;
}

async fn stays() {
    leaf_below(&["Notify"]);
    Notify::new().notified().await;
}

async fn again() {
    let (first, second) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    for _ in 0..TASKS {
        spawn(1, goes_on(first.clone(), second.clone()));
        spawn(1, stays());
    }
    std::thread::spawn(move || {
        targets::forget_settled();
        println!("WAITING {}", std::process::id());
        lines().next();
        drop(expect(TASKS, std::future::ready(())));
        first.notify_waiters();
        targets::report();
        targets::exit_at_end_of_stdin();
    });
    std::future::pending::<()>().await;
}

async fn load() {
    for _ in 0..4 {
        let (questions, mut to_answer) = channel(1);
        let (answers, mut to_check) = channel(1);
        tokio::spawn(async move {
            while let Some(n) = to_answer.recv().await {
                answers.send(n).await.unwrap();
            }
        });
        tokio::spawn(async move {
            for n in 0u64.. {
                questions.send(n).await.unwrap();
                assert_eq!(to_check.recv().await, Some(n));
                HANDED_OVER.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    std::thread::spawn(|| {
        targets::ready();
        for _ in lines() {
            println!("HANDED_OVER {}", HANDED_OVER.load(Ordering::Relaxed));
        }
        std::process::exit(0);
    });
    std::future::pending::<()>().await;
}

fn main() {
    let runtime = targets::runtime(2);
    match targets::argument(1).as_deref() {
        Some("again") => runtime.block_on(again()),
        Some("load") => runtime.block_on(load()),
        _ => panic!("what?"),
    }
}
