//! Leaves that something outside the program ends: sockets, timers, signals.

use std::time::Duration;
use targets::{leaf_below, spawn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use tokio::time::{interval, sleep, timeout};

const HOUR: Duration = Duration::from_secs(3600);

pub async fn spawn_all() {
    spawn(1, tcp_accept(TcpListener::bind("127.0.0.1:0").await.unwrap()));
    let (ours, theirs) = tcp_pair().await;
    spawn(1, tcp_read(ours, theirs));
    let (ours, theirs) = tcp_pair().await;
    spawn(1, tcp_write(ours, theirs));
    spawn(1, udp_recv(UdpSocket::bind("127.0.0.1:0").await.unwrap()));
    let (ours, theirs) = UnixStream::pair().unwrap();
    spawn(1, unix_read(ours, theirs));
    spawn(1, unix_accept());
    spawn(1, readable());
    spawn(1, plain_sleep());
    spawn(1, second_tick());
    spawn(1, timeout_of_never());
    spawn(2, timeout_of_read());
    spawn(1, ctrl_c());
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (ours, listener.accept().await.unwrap().0)
}

async fn tcp_accept(listener: TcpListener) {
    leaf_below(&["TcpListener accept"]);
    listener.accept().await.unwrap();
}

async fn tcp_read(mut ours: TcpStream, _theirs: TcpStream) {
    let mut buffer = [0; 16];
    leaf_below(&["TcpStream read"]);
    ours.read(&mut buffer).await.unwrap();
}

async fn tcp_write(mut ours: TcpStream, _theirs: TcpStream) {
    let more_than_any_socket_buffer = vec![0; 64 << 20];
    leaf_below(&["TcpStream write"]);
    ours.write_all(&more_than_any_socket_buffer).await.unwrap();
}

async fn udp_recv(socket: UdpSocket) {
    let mut buffer = [0; 16];
    leaf_below(&["UdpSocket recv"]);
    socket.recv_from(&mut buffer).await.unwrap();
}

async fn unix_read(mut ours: UnixStream, _theirs: UnixStream) {
    let mut buffer = [0; 16];
    leaf_below(&["UnixStream read"]);
    ours.read_exact(&mut buffer).await.unwrap();
}

async fn unix_accept() {
    let path = std::env::temp_dir().join(format!("leaves.{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    leaf_below(&["UnixListener accept"]);
    listener.accept().await.unwrap();
}

async fn readable() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    leaf_below(&["UnixStream readable"]);
    ours.readable().await.unwrap();
}

async fn plain_sleep() {
    leaf_below(&["sleep"]);
    sleep(HOUR).await;
}

async fn second_tick() {
    let mut hourly = interval(HOUR);
    hourly.tick().await;
    leaf_below(&["interval"]);
    hourly.tick().await;
}

async fn timeout_of_never() {
    leaf_below(&["timeout"]);
    timeout(HOUR, std::future::pending::<()>()).await.unwrap();
}

async fn timeout_of_read() {
    let (mut ours, _theirs) = UnixStream::pair().unwrap();
    let mut buffer = [0; 16];
    leaf_below(&["UnixStream read", "timeout"]);
    let _ = timeout(HOUR, ours.read(&mut buffer)).await;
}

async fn ctrl_c() {
    leaf_below(&["ctrl_c"]);
    tokio::signal::ctrl_c().await.unwrap();
}
