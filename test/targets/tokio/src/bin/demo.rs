//! A shop that hangs. Its checkouts wait for the payment desk, the desk for a lock, the audit that holds the
//! lock for a bank that never answers. Beside them: idle connections, a report that joins two queries, and
//! a task whose waker got lost.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, Mutex, Notify};
use tokio::time::sleep;

type Cash = Arc<Mutex<u64>>;

struct Order {
    price: u64,
    receipt: oneshot::Sender<u64>,
}

async fn checkout(desk: mpsc::Sender<Order>, price: u64) -> u64 {
    let (receipt, paid) = oneshot::channel();
    desk.send(Order { price, receipt }).await.ok();
    paid.await.unwrap_or(0)
}

async fn payment_desk(mut orders: mpsc::Receiver<Order>, cash: Cash) {
    while let Some(order) = orders.recv().await {
        *cash.lock().await += order.price;
        order.receipt.send(order.price).ok();
    }
}

async fn ask_bank(mut bank: TcpStream) -> std::io::Result<u64> {
    bank.write_all(b"balance?").await?;
    bank.read_u64().await
}

async fn audit(cash: Cash, bank: TcpStream, counting: oneshot::Sender<()>) {
    let mut counted = cash.lock().await;
    counting.send(()).ok();
    *counted = ask_bank(bank).await.unwrap_or(0);
}

async fn handle_connection(mut connection: TcpStream) {
    let mut request = [0; 512];
    while connection.read(&mut request).await.unwrap_or(0) > 0 {}
}

async fn query_stock(shipment: Arc<Notify>) {
    shipment.notified().await;
}

async fn query_sales() {
    sleep(Duration::from_secs(3600)).await;
}

async fn report(shipment: Arc<Notify>) {
    tokio::join!(query_stock(shipment), query_sales());
}

/// Returns Pending and forgets to keep the waker: nothing can ever wake its task.
struct ForgetfulTicket;

impl Future for ForgetfulTicket {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

async fn print_ticket() {
    ForgetfulTicket.await;
}

#[tokio::main(worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let cash = Arc::new(Mutex::new(0));
    let bank = TcpListener::bind("127.0.0.1:0").await?;
    let to_bank = TcpStream::connect(bank.local_addr()?).await?;
    let (counting, audit_has_begun) = oneshot::channel();
    tokio::spawn(audit(cash.clone(), to_bank, counting));
    audit_has_begun.await.ok();

    let (desk, orders) = mpsc::channel(2);
    tokio::spawn(payment_desk(orders, cash));
    for price in [5, 7, 11, 13, 17] {
        tokio::spawn(checkout(desk.clone(), price));
    }
    tokio::spawn(report(Arc::new(Notify::new())));
    tokio::spawn(print_ticket());

    let door = TcpListener::bind("127.0.0.1:0").await?;
    let mut customers = Vec::new();
    for _ in 0..20 {
        customers.push(TcpStream::connect(door.local_addr()?).await?);
        tokio::spawn(handle_connection(door.accept().await?.0));
    }
    println!("the shop is open");
    loop {
        let (connection, _) = door.accept().await?;
        tokio::spawn(handle_connection(connection));
    }
}
