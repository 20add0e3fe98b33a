//! N tasks that wait for ever, half of them on a Notify and half in a sleep, beside a ticker. Each line on
//! stdin prints the ticker's longest gap since the last one. Arguments: tasks, multi or current.

use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use targets::{expect, leaf_below, spawn};
use tokio::sync::Notify;
use tokio::time::{interval, sleep};

const HOUR: Duration = Duration::from_secs(3600);

static LONGEST_GAP_NS: AtomicU64 = AtomicU64::new(0);

async fn wait_for_notify(notify: Arc<Notify>) {
    leaf_below(&["Notify"]);
    notify.notified().await;
}

async fn wait_for_sleep() {
    leaf_below(&["sleep"]);
    sleep(HOUR).await;
}

async fn tick() {
    let mut every_ms = interval(Duration::from_millis(1));
    let mut last = Instant::now();
    loop {
        every_ms.tick().await;
        let gap = last.elapsed().as_nanos() as u64;
        LONGEST_GAP_NS.fetch_max(gap, Ordering::Relaxed);
        last = Instant::now();
    }
}

fn answer_lines_on_stdin() -> ! {
    targets::wait_until_settled();
    targets::ready();
    for _ in std::io::stdin().lock().lines() {
        println!("LONGEST_GAP_US {}", LONGEST_GAP_NS.swap(0, Ordering::Relaxed) / 1000);
    }
    std::process::exit(0);
}

async fn run(tasks: usize) {
    let notify = Arc::new(Notify::new());
    for task in 0..tasks {
        match task % 2 {
            0 => drop(spawn(1, wait_for_notify(notify.clone()))),
            _ => drop(spawn(1, wait_for_sleep())),
        }
    }
    tokio::spawn(tick());
    leaf_below(&["block_on, Notify"]);
    Notify::new().notified().await;
}

fn main() {
    let tasks = targets::argument(1).map_or(1000, |n| n.parse().unwrap());
    let run = expect(1, run(tasks));
    std::thread::spawn(|| answer_lines_on_stdin());
    targets::runtime(2).block_on(run);
}
