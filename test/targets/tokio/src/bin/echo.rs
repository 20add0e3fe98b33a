//! A TCP echo on loopback at full load.
//!   echo serve CONNECTIONS              prints PORT, serves so many connections, prints its CPU per request
//!   echo load PORT CONNECTIONS REQUESTS  makes REQUESTS requests on each connection

use targets::argument;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const SIZE: usize = 64;

fn number(index: usize) -> usize {
    argument(index).expect("too few arguments").parse().unwrap()
}

async fn connection(mut stream: TcpStream) -> u64 {
    let mut buffer = [0; SIZE];
    let mut requests = 0;
    while stream.read_exact(&mut buffer).await.is_ok() {
        stream.write_all(&buffer).await.unwrap();
        requests += 1;
    }
    requests
}

async fn serve(connections: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("PORT {}", listener.local_addr().unwrap().port());
    let mut open = JoinSet::new();
    for _ in 0..connections {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        open.spawn(connection(stream));
    }
    let mut requests = 0;
    while let Some(served) = open.join_next().await {
        requests += served.unwrap();
    }
    println!("REQUESTS {requests}");
    println!("CPU_NS_PER_REQUEST {}", targets::cpu_time().as_nanos() as u64 / requests.max(1));
}

async fn client(port: u16, requests: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = [7; SIZE];
    for _ in 0..requests {
        stream.write_all(&buffer).await.unwrap();
        stream.read_exact(&mut buffer).await.unwrap();
    }
}

async fn load(port: u16, connections: usize, requests: usize) {
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(port, requests));
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match argument(1).as_deref() {
        Some("serve") => runtime.block_on(serve(number(2))),
        Some("load") => runtime.block_on(load(number(2) as u16, number(3), number(4))),
        _ => panic!("echo serve|load"),
    }
}
