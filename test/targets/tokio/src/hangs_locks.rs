//! Locks that are waited for: in circles, by tasks that will get them, and where it cannot be told.

use super::{idle, transfer, Account, HOUR};
use std::sync::Arc;
use targets::{leaf_below, spawn};
use tokio::sync::{oneshot, Barrier, RwLock, Semaphore};

pub async fn three_mutexes() {
    let accounts: Vec<Account> = (0..3).map(|_| Account::default()).collect();
    let barrier = Arc::new(Barrier::new(3));
    for i in 0..3 {
        spawn(1, transfer(accounts[i].clone(), accounts[(i + 1) % 3].clone(), barrier.clone()));
    }
    idle().await;
}

type Price = Arc<RwLock<i64>>;

async fn writes_both(first: Price, second: Price, both_hold_one: Arc<Barrier>) {
    let mut one = first.write().await;
    both_hold_one.wait().await;
    leaf_below(&["RwLock write"]);
    let mut other = second.write().await;
    std::mem::swap(&mut *one, &mut *other);
}

async fn reads_both(first: Price, second: Price, both_hold_one: Arc<Barrier>) -> i64 {
    let one = first.read().await;
    both_hold_one.wait().await;
    leaf_below(&["RwLock read"]);
    let other = second.read().await;
    *one + *other
}

pub async fn rwlock_deadlock() {
    let (a, b) = (Price::default(), Price::default());
    let barrier = Arc::new(Barrier::new(2));
    spawn(1, writes_both(a.clone(), b.clone(), barrier.clone()));
    spawn(1, reads_both(b, a, barrier));
    idle().await;
}

async fn takes_both(first: Arc<Semaphore>, second: Arc<Semaphore>, both_hold_one: Arc<Barrier>) {
    let _one = first.acquire().await.unwrap();
    both_hold_one.wait().await;
    leaf_below(&["Semaphore acquire"]);
    let _other = second.acquire().await.unwrap();
}

pub async fn semaphores() {
    let (a, b) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
    let barrier = Arc::new(Barrier::new(2));
    spawn(1, takes_both(a.clone(), b.clone(), barrier.clone()));
    spawn(1, takes_both(b, a, barrier));
    idle().await;
}

async fn holds_and_sleeps(account: Account, held: oneshot::Sender<()>) {
    let mut money = account.lock().await;
    held.send(()).unwrap();
    leaf_below(&["sleep"]);
    tokio::time::sleep(HOUR).await;
    *money += 1;
}

async fn deposit(account: Account) {
    leaf_below(&["Mutex lock"]);
    *account.lock().await += 1;
}

pub async fn healthy_lock() {
    let account = Account::default();
    let (held, is_held) = oneshot::channel();
    spawn(1, holds_and_sleeps(account.clone(), held));
    is_held.await.unwrap();
    spawn(1, deposit(account));
    idle().await;
}

/// The guard was borrowed, so that its bytes stay in the task after it is gone.
async fn lets_go(first: Account, second: Account, gone: oneshot::Sender<()>, second_is_held: Arc<Barrier>) {
    let mut money = first.lock().await;
    *money += 1;
    drop(money);
    gone.send(()).unwrap();
    second_is_held.wait().await;
    leaf_below(&["Mutex lock"]);
    *second.lock().await += 1;
}

pub async fn dropped_guard() {
    let (first, second) = (Account::default(), Account::default());
    let (gone, is_gone) = oneshot::channel();
    let barrier = Arc::new(Barrier::new(2));
    spawn(1, lets_go(first.clone(), second.clone(), gone, barrier.clone()));
    is_gone.await.unwrap();
    let _held = first.lock().await;
    spawn(1, transfer(second, first.clone(), barrier));
    idle().await;
}
