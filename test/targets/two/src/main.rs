//! Two versions of tokio in one program: each has task tables and wakers of its own.

mod new {
    use ::tokio;
    include!("tasks.rs");
}

mod old {
    use tokio_old as tokio;
    include!("tasks.rs");
}

use targets::{expect, leaf_below};

fn main() {
    let new = new::runtime();
    let old = old::runtime();
    let _aborted = (new::aborted(&new), old::aborted(&old));
    new::spawn_all(&new);
    old::spawn_all(&old);
    new.spawn(expect(1, async {
        leaf_below(&["the old one's Notify in the new one"]);
        tokio_old::sync::Notify::new().notified().await;
    }));
    old.spawn(expect(1, async {
        leaf_below(&["the new one's Notify in the old one"]);
        tokio::sync::Notify::new().notified().await;
    }));
    targets::report_when_settled();
    std::thread::park();
}
