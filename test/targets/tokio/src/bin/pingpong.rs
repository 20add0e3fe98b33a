//! Two tasks hand a number to and fro: nothing but polls. Arguments: rounds, multi or current.

use std::time::Instant;
use tokio::sync::mpsc::{channel, Receiver, Sender};

async fn answer(mut questions: Receiver<u64>, answers: Sender<u64>) {
    while let Some(n) = questions.recv().await {
        answers.send(n).await.unwrap();
    }
}

async fn ask(rounds: u64, questions: Sender<u64>, mut answers: Receiver<u64>) {
    for n in 0..rounds {
        questions.send(n).await.unwrap();
        assert_eq!(answers.recv().await, Some(n));
    }
}

async fn run(rounds: u64) {
    let (questions, to_answer) = channel(1);
    let (answers, to_check) = channel(1);
    tokio::spawn(answer(to_answer, answers));
    let asking = tokio::spawn(ask(rounds, questions, to_check));
    let start = Instant::now();
    asking.await.unwrap();
    println!("NS_PER_ROUND {:.1}", start.elapsed().as_nanos() as f64 / rounds as f64);
}

fn main() {
    let rounds = targets::argument(1).map_or(1_000_000, |n| n.parse().unwrap());
    targets::runtime(2).block_on(run(rounds));
}
