//! A program on one thread that forks, or execs itself, in the middle of a poll. Says FORKING, CHILD or EXECING and
//! waits for a line on stdin before it goes on. Arguments: fork, exec or (what exec becomes) wait.
//!   fork: the child goes on with the runtime it inherited; the parent blocks until the child has ended.

use std::os::unix::process::CommandExt;
use targets::{expect, leaf_below, report_when_settled, spawn};
use tokio::sync::Notify;

const TASKS: usize = 3;
const TURNS: usize = 1000;

/// Unbuffered: parent and child read from the same stdin.
fn wait_for_line() {
    let mut byte = 0u8;
    while unsafe { libc::read(0, (&mut byte as *mut u8).cast(), 1) } == 1 && byte != b'\n' {}
}

fn say(word: &str) {
    println!("{word} {}", std::process::id());
}

async fn wait_since_before() {
    leaf_below(&["Notify, before"]);
    Notify::new().notified().await;
}

async fn wait_since_after() {
    leaf_below(&["Notify, after"]);
    Notify::new().notified().await;
}

/// So many polls of a task beside this one.
async fn turn_over() {
    let turning = tokio::spawn(async {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    });
    turning.await.unwrap();
}

async fn run_child() {
    say("CHILD");
    wait_for_line();
    for _ in 0..TASKS {
        spawn(1, wait_since_after());
    }
    turn_over().await;
    report_when_settled();
    leaf_below(&["block_on of the child"]);
    Notify::new().notified().await;
}

async fn fork() {
    for _ in 0..TASKS {
        spawn(1, wait_since_before());
    }
    turn_over().await;
    say("FORKING");
    wait_for_line();
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        return run_child().await;
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    turn_over().await;
    println!("CHILD_STATUS {status}");
    std::process::exit(0);
}

async fn exec() {
    spawn(1, wait_since_before());
    turn_over().await;
    say("EXECING");
    wait_for_line();
    let error = std::process::Command::new("/proc/self/exe").arg("wait").exec();
    panic!("exec: {error}");
}

async fn wait() {
    spawn(1, wait_since_after());
    report_when_settled();
    leaf_below(&["block_on after exec"]);
    Notify::new().notified().await;
}

fn main() {
    // No drivers: what the kernel keeps of them would be shared with the child.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match targets::argument(1).as_deref() {
        Some("fork") => runtime.block_on(expect(1, fork())),
        Some("exec") => runtime.block_on(expect(1, exec())),
        Some("wait") => runtime.block_on(expect(1, wait())),
        _ => panic!("forks fork|exec|wait"),
    }
}
