//! Connections are spread evenly over the shards, and follow what they ask for.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_net::{Limits, Listener, ListenerOptions, Net};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

use crate::support::{Client, Toy};

#[test]
fn each_shard_gets_as_many_connections_as_the_others() {
    with_shards(3, async |_, shards, address| {
        let mut clients = Vec::new();
        for _ in 0..6 {
            let mut client = Client(TcpStream::connect(address).await.unwrap());
            client.ask("e").await;
            clients.push(client);
        }
        let served: Vec<usize> = shards.iter().map(|toy| toy.served.borrow().len()).collect();
        assert_eq!(served, [2, 2, 2]);
    });
}

#[test]
fn a_connection_whose_requests_wake_another_shard_moves_there_with_what_has_arrived() {
    with_shards(2, async |net, shards, address| {
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        for _ in 0..7 {
            client.ask("s").await;
        }
        assert_eq!(shards[1].served.borrow().len(), 0, "not before it is clear");
        // The 8th request, and the begin of another one.
        client.0.write_all(b"\0\0\0\x01s\0\0\0\x03xy").await.unwrap();
        assert_eq!(client.receive().await, "s");
        client.0.write_all(b"z").await.unwrap();
        assert_eq!(client.receive().await, "xyz");
        assert_eq!(client.ask("e").await, "e");
        assert_eq!(shards[1].served(), ["xyz", "e"]);

        // The place that it left is the next to be taken.
        let mut other = Client(TcpStream::connect(address).await.unwrap());
        other.ask("e").await;
        assert_eq!(shards[0].served.borrow().len(), 9);
        drop((client, other));
        net.shut_down(std::time::Duration::ZERO);
    });
}

/// Runs a test beside so many shards, all in one thread.
fn with_shards(shards: usize, test: impl AsyncFnOnce(Arc<Net>, Vec<Rc<Toy>>, SocketAddr)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (net, inboxes) = Net::new(Limits::default(), shards);
        let mut toys = Vec::new();
        for inbox in inboxes {
            let toy = Rc::new(Toy::default());
            spawn_local(inbox.serve(toy.clone()));
            toys.push(toy);
        }
        let options = ListenerOptions::plaintext("TEST", "127.0.0.1", 0);
        let listener = Listener::bind(&options).unwrap();
        let address = listener.local_addr();
        tokio::spawn(net.clone().accept(listener));
        test(net, toys, address).await;
    });
}
