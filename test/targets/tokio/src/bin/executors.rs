//! Executors that are neither tokio's nor async-task's, which a tool knows by their wakers alone. No other runtime is
//! linked in. Argument: which one.

use futures::channel::{mpsc, oneshot};
use futures::future::{join_all, FutureExt};
use futures::lock::Mutex;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::task::{LocalSpawnExt, SpawnExt};
use futures::SinkExt;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use targets::{expect, leaf_below};

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn receives() {
    let (_sender, mut receiver) = mpsc::channel::<u8>(1);
    leaf_below(&["futures mpsc recv"]);
    receiver.next().await;
}

async fn sends() {
    let (mut sender, _receiver) = mpsc::channel::<u8>(1);
    sender.send(1).await.unwrap();
    leaf_below(&["futures mpsc send"]);
    sender.send(2).await.unwrap();
}

async fn locks() {
    let mutex = Mutex::new(());
    let _guard = mutex.lock().await;
    leaf_below(&["futures Mutex lock"]);
    mutex.lock().await;
}

async fn waits_for_one() {
    let (_sender, receiver) = oneshot::channel::<u8>();
    leaf_below(&["futures oneshot recv"]);
    receiver.await.unwrap();
}

/// Two leaves of one task.
async fn joins() {
    let (_first, mut one) = mpsc::channel::<u8>(1);
    let (_second, mut other) = mpsc::channel::<u8>(1);
    leaf_below(&["join!", "join!"]);
    futures::join!(one.next(), other.next());
}

/// Its first waker outlives the await that it was for: only the second one is where it waits.
async fn goes_on() {
    let (_sender, mut receiver) = mpsc::channel::<u8>(1);
    let (_other_sender, mut other) = mpsc::channel::<u8>(1);
    let (soon, then) = oneshot::channel::<()>();
    std::thread::spawn(move || soon.send(()));
    futures::select_biased! { _ = receiver.next() => unreachable!(), _ = then.fuse() => {} }
    leaf_below(&["after select!"]);
    other.next().await;
    drop(receiver);
}

async fn several() {
    let (_first, one) = mpsc::channel::<u8>(1);
    let (_second, other) = mpsc::channel::<u8>(1);
    let mut children: FuturesUnordered<_> = [one, other]
        .into_iter()
        .map(|mut receiver| async move {
            leaf_below(&["in FuturesUnordered"]);
            receiver.next().await
        })
        .collect();
    children.next().await;
}

async fn many() {
    let channels: Vec<_> = (0..40).map(|_| mpsc::channel::<u8>(1)).collect();
    let (_senders, receivers): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
    join_all(receivers.into_iter().map(|mut receiver| async move {
        leaf_below(&["in join_all"]);
        receiver.next().await
    }))
    .await;
}

/// What every executor here gets. All of it waits for ever, but for what ends at once.
fn tasks() -> Vec<Boxed> {
    vec![
        expect(1, receives()).boxed(),
        expect(1, sends()).boxed(),
        async {}.boxed(),
        expect(1, locks()).boxed(),
        expect(1, waits_for_one()).boxed(),
        expect(2, joins()).boxed(),
        expect(1, goes_on()).boxed(),
        expect(2, several()).boxed(),
        expect(40, many()).boxed(),
    ]
}

fn local_pool() {
    let mut pool = futures::executor::LocalPool::new();
    for task in tasks() {
        pool.spawner().spawn_local(task).unwrap();
    }
    targets::report_when_settled();
    pool.run_until(expect(1, receives()));
}

fn thread_pool() {
    let pool = futures::executor::ThreadPool::builder().pool_size(2).create().unwrap();
    for task in tasks() {
        pool.spawn(task).unwrap();
    }
    targets::report_when_settled();
    std::thread::park();
}

fn block_on() {
    for task in tasks() {
        std::thread::spawn(|| futures::executor::block_on(task));
    }
    let stuck = expect(1, receives());
    targets::report_when_settled();
    futures::executor::block_on(stuck);
}

/// A queue of tasks that one thread polls.
struct Queue {
    ready: std::sync::Mutex<VecDeque<Arc<Task>>>,
    changed: Condvar,
}

struct Task {
    queue: Arc<Queue>,
    future: std::sync::Mutex<Option<Boxed>>,
}

impl Queue {
    fn push(&self, task: Arc<Task>) {
        self.ready.lock().unwrap().push_back(task);
        self.changed.notify_one();
    }

    fn run(self: Arc<Queue>, waker: fn(Arc<Task>) -> Waker) {
        for future in tasks() {
            self.push(Arc::new(Task { queue: self.clone(), future: std::sync::Mutex::new(Some(future)) }));
        }
        targets::report_when_settled();
        loop {
            let ready = self.ready.lock().unwrap();
            let task = self.changed.wait_while(ready, |ready| ready.is_empty()).unwrap().pop_front().unwrap();
            let waker = waker(task.clone());
            let mut future = task.future.lock().unwrap();
            let polled = future.as_mut().map(|future| future.as_mut().poll(&mut Context::from_waker(&waker)));
            if matches!(polled, Some(Poll::Ready(()))) {
                *future = None;
            }
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.queue.clone().push(self);
    }
}

/// The same by a table of its own.
static TABLE: RawWakerVTable = RawWakerVTable::new(
    |data| {
        unsafe { Arc::increment_strong_count(data.cast::<Task>()) };
        RawWaker::new(data, &TABLE)
    },
    |data| unsafe { Arc::from_raw(data.cast::<Task>()) }.wake(),
    |data| {
        unsafe { Arc::increment_strong_count(data.cast::<Task>()) };
        unsafe { Arc::from_raw(data.cast::<Task>()) }.wake()
    },
    |data| drop(unsafe { Arc::from_raw(data.cast::<Task>()) }),
);

fn own_table(task: Arc<Task>) -> Waker {
    unsafe { Waker::from_raw(RawWaker::new(Arc::into_raw(task).cast(), &TABLE)) }
}

fn main() {
    let queue = Arc::new(Queue { ready: Default::default(), changed: Condvar::new() });
    match targets::argument(1).as_deref() {
        Some("local_pool") => local_pool(),
        Some("thread_pool") => thread_pool(),
        Some("block_on") => block_on(),
        Some("own_table") => queue.run(own_table),
        Some("arc_wake") => queue.run(Waker::from),
        _ => panic!("local_pool, thread_pool, block_on, own_table or arc_wake"),
    }
}
