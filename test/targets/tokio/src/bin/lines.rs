//! Task i may only ever wait on the line of lane i % 64, and every task is always under way: the two of a
//! pair hand one turn to and fro for ever. A dump may never show a task on another lane's line. The task's
//! type names its lane independently of where it waits. Arguments: tasks, multi or current.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::yield_now;

static ENTERED: AtomicUsize = AtomicUsize::new(0);

struct Link {
    me: Arc<Notify>,
    peer: Arc<Notify>,
    line: AtomicU32,
}

impl Link {
    // Each lane passes another number, or the compiler would merge their functions into one.
    fn enter(&self, line: u32) {
        if self.line.swap(line, Ordering::Relaxed) == 0 {
            ENTERED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Lane {
    name: &'static str,
    line: u32,
    spawn: fn(Link),
}

// The caller writes the awaits: one that a macro writes would be on the line of the macro's call. Without the
// yield a pair would keep its worker for itself.
macro_rules! lanes {
    ($($name:ident: |$link:ident| $line:expr, $wait:expr, $yield:expr;)*) => {
        $(async fn $name($link: Link) {
            loop {
                $link.enter($line);
                $wait;
                $yield;
                $link.peer.notify_one();
            }
        })*
        const LANES: &[Lane] = &[$(Lane {
            name: stringify!($name),
            line: $line,
            spawn: |link| drop(tokio::spawn($name(link))),
        }),*];
    };
}

lanes! {
    lane_00: |link| line!(), link.me.notified().await, yield_now().await;
    lane_01: |link| line!(), link.me.notified().await, yield_now().await;
    lane_02: |link| line!(), link.me.notified().await, yield_now().await;
    lane_03: |link| line!(), link.me.notified().await, yield_now().await;
    lane_04: |link| line!(), link.me.notified().await, yield_now().await;
    lane_05: |link| line!(), link.me.notified().await, yield_now().await;
    lane_06: |link| line!(), link.me.notified().await, yield_now().await;
    lane_07: |link| line!(), link.me.notified().await, yield_now().await;
    lane_08: |link| line!(), link.me.notified().await, yield_now().await;
    lane_09: |link| line!(), link.me.notified().await, yield_now().await;
    lane_10: |link| line!(), link.me.notified().await, yield_now().await;
    lane_11: |link| line!(), link.me.notified().await, yield_now().await;
    lane_12: |link| line!(), link.me.notified().await, yield_now().await;
    lane_13: |link| line!(), link.me.notified().await, yield_now().await;
    lane_14: |link| line!(), link.me.notified().await, yield_now().await;
    lane_15: |link| line!(), link.me.notified().await, yield_now().await;
    lane_16: |link| line!(), link.me.notified().await, yield_now().await;
    lane_17: |link| line!(), link.me.notified().await, yield_now().await;
    lane_18: |link| line!(), link.me.notified().await, yield_now().await;
    lane_19: |link| line!(), link.me.notified().await, yield_now().await;
    lane_20: |link| line!(), link.me.notified().await, yield_now().await;
    lane_21: |link| line!(), link.me.notified().await, yield_now().await;
    lane_22: |link| line!(), link.me.notified().await, yield_now().await;
    lane_23: |link| line!(), link.me.notified().await, yield_now().await;
    lane_24: |link| line!(), link.me.notified().await, yield_now().await;
    lane_25: |link| line!(), link.me.notified().await, yield_now().await;
    lane_26: |link| line!(), link.me.notified().await, yield_now().await;
    lane_27: |link| line!(), link.me.notified().await, yield_now().await;
    lane_28: |link| line!(), link.me.notified().await, yield_now().await;
    lane_29: |link| line!(), link.me.notified().await, yield_now().await;
    lane_30: |link| line!(), link.me.notified().await, yield_now().await;
    lane_31: |link| line!(), link.me.notified().await, yield_now().await;
    lane_32: |link| line!(), link.me.notified().await, yield_now().await;
    lane_33: |link| line!(), link.me.notified().await, yield_now().await;
    lane_34: |link| line!(), link.me.notified().await, yield_now().await;
    lane_35: |link| line!(), link.me.notified().await, yield_now().await;
    lane_36: |link| line!(), link.me.notified().await, yield_now().await;
    lane_37: |link| line!(), link.me.notified().await, yield_now().await;
    lane_38: |link| line!(), link.me.notified().await, yield_now().await;
    lane_39: |link| line!(), link.me.notified().await, yield_now().await;
    lane_40: |link| line!(), link.me.notified().await, yield_now().await;
    lane_41: |link| line!(), link.me.notified().await, yield_now().await;
    lane_42: |link| line!(), link.me.notified().await, yield_now().await;
    lane_43: |link| line!(), link.me.notified().await, yield_now().await;
    lane_44: |link| line!(), link.me.notified().await, yield_now().await;
    lane_45: |link| line!(), link.me.notified().await, yield_now().await;
    lane_46: |link| line!(), link.me.notified().await, yield_now().await;
    lane_47: |link| line!(), link.me.notified().await, yield_now().await;
    lane_48: |link| line!(), link.me.notified().await, yield_now().await;
    lane_49: |link| line!(), link.me.notified().await, yield_now().await;
    lane_50: |link| line!(), link.me.notified().await, yield_now().await;
    lane_51: |link| line!(), link.me.notified().await, yield_now().await;
    lane_52: |link| line!(), link.me.notified().await, yield_now().await;
    lane_53: |link| line!(), link.me.notified().await, yield_now().await;
    lane_54: |link| line!(), link.me.notified().await, yield_now().await;
    lane_55: |link| line!(), link.me.notified().await, yield_now().await;
    lane_56: |link| line!(), link.me.notified().await, yield_now().await;
    lane_57: |link| line!(), link.me.notified().await, yield_now().await;
    lane_58: |link| line!(), link.me.notified().await, yield_now().await;
    lane_59: |link| line!(), link.me.notified().await, yield_now().await;
    lane_60: |link| line!(), link.me.notified().await, yield_now().await;
    lane_61: |link| line!(), link.me.notified().await, yield_now().await;
    lane_62: |link| line!(), link.me.notified().await, yield_now().await;
    lane_63: |link| line!(), link.me.notified().await, yield_now().await;
}

async fn run(tasks: usize) {
    let turns: Vec<_> = (0..tasks).map(|_| Arc::new(Notify::new())).collect();
    for task in 0..tasks {
        let lane = &LANES[task % LANES.len()];
        let (me, peer) = (turns[task].clone(), turns[task ^ 1].clone());
        (lane.spawn)(Link { me, peer, line: AtomicU32::new(0) });
        if task % 2 == 0 {
            turns[task].notify_one();
        }
        println!("TASKLINE {task} {} {}", lane.line, lane.name);
    }
    while ENTERED.load(Ordering::Relaxed) < tasks {
        yield_now().await;
    }
    targets::ready();
    std::future::pending().await
}

fn main() {
    let tasks: usize = targets::argument(1).map_or(2000, |n| n.parse().unwrap());
    assert!(tasks % 2 == 0, "tasks come in pairs");
    targets::runtime(2).block_on(run(tasks));
}
