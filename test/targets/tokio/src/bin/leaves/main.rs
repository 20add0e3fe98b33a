//! Stuck in every kind of leaf; prints where. Argument: multi or current.

mod io;
mod shapes;
mod sync;
mod tasks;

use targets::leaf_below;
use tokio::sync::Notify;

async fn everything() {
    io::spawn_all().await;
    sync::spawn_all().await;
    tasks::spawn_all();
    shapes::spawn_all();
    let never = Notify::new();
    leaf_below(&["block_on, Notify"]);
    never.notified().await;
}

fn main() {
    let everything = targets::expect(1, everything());
    targets::report_when_settled();
    targets::runtime(1).block_on(everything);
}
